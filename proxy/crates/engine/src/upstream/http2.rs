//! HTTP/2 connections to endpoints: each carries many requests at once.
//!
//! Rules: the h2 crate owns the frames; one task per connection moves them. Who needs a connection
//! while one is being opened waits for that one.

use std::cell::Cell;
use std::future::poll_fn;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::Request;
use spanway_kernel::Statistics;
use tokio::sync::Notify;

use super::Counted;
use crate::buffer::Buffer;
use crate::gathered::Gathered;
use crate::instant::Instant;
use crate::limits::{
    HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_SEND_BUFFER_BYTES, HTTP2_STREAM_WINDOW_BYTES,
    HTTP2_UPSTREAM_STREAMS_MAX, RESPONSE_HEAD_BYTES_MAX, UPSTREAM_IDLE_TIMEOUT,
};
use crate::stream::Stream;
use crate::trace::{Net, Observed, TlsSession};

/// One connection to an endpoint.
#[derive(Clone)]
pub struct Channel {
    /// The TLS session below; `None` without one.
    pub tls: Option<TlsSession>,
    send: SendRequest<Bytes>,
    state: Rc<State>,
}

struct State {
    is_closed: Cell<bool>,
    streams: Cell<usize>,
    /// When the last stream ended.
    since: Cell<Instant>,
    /// The socket, to be asked how the connection is; the h2 crate has the stream.
    socket: Option<OwnedFd>,
    /// The answer of the last time.
    known: Cell<Statistics>,
    /// Its count, where the backend bounds its connections.
    _counted: Option<Counted>,
}

/// A request on a channel: it counts until this is dropped.
pub struct ChannelStream(Rc<State>);

impl Drop for ChannelStream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.since.set(Instant::now());
    }
}

impl Channel {
    /// Speaks HTTP/2 on a new connection.
    ///
    /// # Errors
    /// The endpoint is gone already.
    pub async fn open(stream: Stream, counted: Option<Counted>) -> Result<Self, h2::Error> {
        let tls = stream.tls();
        let socket = stream.socket().tcp().as_fd().try_clone_to_owned().ok();
        let io = Gathered::new(stream, Buffer::default());
        let (send, connection) = settings().handshake(io.clone()).await?;
        let state = Rc::new(State {
            is_closed: Cell::new(false),
            streams: Cell::new(0),
            since: Cell::new(Instant::now()),
            socket,
            known: Cell::default(),
            _counted: counted,
        });
        let state_of_task = Rc::clone(&state);
        tokio::task::spawn_local(async move {
            let mut connection = pin!(connection);
            let ended = poll_fn(|context| {
                io.poll_with(context, |context| connection.as_mut().poll(context))
            });
            // How it ended, its streams have been told, or are when it is dropped.
            drop(ended.await);
            state_of_task.is_closed.set(true);
        });
        Ok(Self { tls, send, state })
    }

    /// Begins a request.
    ///
    /// # Errors
    /// The endpoint takes no more on this connection; nothing was sent.
    pub async fn begin(
        &mut self,
        head: Request<()>,
        is_end: bool,
    ) -> Result<(ChannelStream, ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.state.streams.set(self.state.streams.get() + 1);
        let stream = ChannelStream(Rc::clone(&self.state));
        let begun = match poll_fn(|context| self.send.poll_ready(context)).await {
            Ok(()) => self.send.send_request(head, is_end),
            Err(err) => Err(err),
        };
        let (answer, send) = begun.inspect_err(|_| self.state.is_closed.set(true))?;
        Ok((stream, answer, send))
    }

    /// The connection as it is now, against when it was looked at last.
    #[must_use]
    pub fn look(&self) -> Observed {
        let state = &self.state;
        let now = state
            .socket
            .as_ref()
            .and_then(|socket| spanway_kernel::statistics(socket.as_fd()).ok());
        let Some(now) = now else {
            return Observed::Refused;
        };
        let before = state.known.replace(now);
        Observed::Told(Net {
            is_shared: true,
            ..Net::between(&before, &now)
        })
    }

    fn has_room(&self) -> bool {
        let streams_max = self.send.current_max_send_streams();
        !self.state.is_closed.get()
            && self.state.streams.get() < streams_max.min(HTTP2_UPSTREAM_STREAMS_MAX)
    }
}

fn settings() -> client::Builder {
    let mut settings = client::Builder::new();
    settings
        .enable_push(false)
        .initial_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_header_list_size(RESPONSE_HEAD_BYTES_MAX as u32)
        .max_send_buffer_size(HTTP2_SEND_BUFFER_BYTES);
    settings
}

/// Whether the endpoint said that it did not look at the request, so that it may be sent again.
///
/// Source: RFC 9113, section 8.7.
#[must_use]
pub fn is_unprocessed(err: &h2::Error) -> bool {
    err.reason() == Some(Reason::REFUSED_STREAM) || (err.is_go_away() && err.is_remote())
}

/// The connections to one endpoint.
#[derive(Default)]
pub struct Channels {
    open: Vec<Channel>,
    opening: Option<Rc<Notify>>,
}

/// What somebody who needs a connection is to do.
pub enum Turn {
    /// Use this one.
    Use(Channel),
    /// Wait for the one that is being opened, then ask again.
    Wait(Rc<Notify>),
    /// Open one; the others wait until [`Channels::opened`].
    Open,
}

impl Channels {
    /// A connection with room, or what to do to get one.
    pub fn turn(&mut self) -> Turn {
        self.open.retain(|channel| !channel.state.is_closed.get());
        if let Some(channel) = self.open.iter().find(|channel| channel.has_room()) {
            return Turn::Use(channel.clone());
        }
        if let Some(opening) = &self.opening {
            return Turn::Wait(Rc::clone(opening));
        }
        self.opening = Some(Rc::default());
        Turn::Open
    }

    /// Ends what [`Turn::Open`] began.
    pub fn opened(&mut self, channel: Option<Channel>) {
        self.open.extend(channel);
        if let Some(opening) = self.opening.take() {
            opening.notify_waiters();
        }
    }

    /// Closes what nobody has used for too long; returns whether anything is left.
    pub fn sweep(&mut self, now: Instant, is_known: bool) -> bool {
        self.open.retain(|Channel { state, .. }| {
            let is_fresh = now.saturating_duration_since(state.since.get()) < UPSTREAM_IDLE_TIMEOUT;
            !state.is_closed.get() && (state.streams.get() > 0 || (is_known && is_fresh))
        });
        !self.open.is_empty() || self.opening.is_some()
    }
}
