//! HTTP/2 connections to endpoints: each carries many requests at once.
//!
//! Rules: the h2 crate owns the frames; one task per connection moves them.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::Request;
use spanway_kernel::Statistics;

use super::Counted;
use super::channels::Channels;
use super::connect::Failure;
use crate::buffer::Buffer;
use crate::gathered::Gathered;
use crate::instant::Instant;
use crate::limits::{
    HTTP2_SEND_BUFFER_BYTES, HTTP2_STREAM_WINDOW_BYTES, HTTP2_UPSTREAM_STREAMS_MAX,
    HTTP2_UPSTREAM_WINDOW_BYTES, RESPONSE_HEAD_BYTES_MAX, UPSTREAM_IDLE_TIMEOUT,
};
use crate::stream::Stream;
use crate::trace::{Net, Observed, TlsSession};

/// One connection to an endpoint.
pub struct Channel {
    send: SendRequest<Bytes>,
    state: Rc<State>,
}

struct State {
    /// The TLS session below; `None` without one.
    tls: Option<TlsSession>,
    is_closed: Cell<bool>,
    is_used: Cell<bool>,
    streams: Cell<usize>,
    /// How many there may be: what is usual, until the endpoint has said it.
    streams_max: Cell<usize>,
    is_settled: Cell<bool>,
    /// How many bytes have come from the endpoint.
    received: Cell<u64>,
    /// When the last stream ended.
    since: Cell<Instant>,
    /// The socket, to be asked how the connection is; the h2 crate has the stream.
    socket: Option<OwnedFd>,
    /// The answer of the last time.
    known: Cell<Statistics>,
    /// Its count, where the backend bounds its connections.
    counted: Option<Counted>,
    /// Where others wait for what a stream leaves.
    channels: Weak<Channels>,
}

/// A request's place on a channel: it counts until this is dropped.
pub struct Seat {
    /// Whether another request was there before.
    pub is_reused: bool,
    /// What had come on the channel before.
    received: u64,
    send: SendRequest<Bytes>,
    state: Rc<State>,
}

/// Moves a channel's frames.
pub struct Moving {
    io: Gathered,
    connection: client::Connection<Gathered, Bytes>,
    state: Rc<State>,
}

impl Channel {
    /// Speaks HTTP/2 on a new connection.
    ///
    /// # Errors
    /// The endpoint is gone already.
    pub async fn open(
        stream: Stream,
        counted: Option<Counted>,
        channels: Weak<Channels>,
    ) -> Result<(Self, Moving), h2::Error> {
        let tls = stream.tls();
        let socket = stream.socket().tcp().as_fd().try_clone_to_owned().ok();
        let io = Gathered::new(stream, Buffer::default());
        let (send, connection) = settings().handshake(io.clone()).await?;
        let state = Rc::new(State {
            tls,
            is_closed: Cell::new(false),
            is_used: Cell::new(false),
            streams: Cell::new(0),
            streams_max: Cell::new(HTTP2_UPSTREAM_STREAMS_MAX),
            is_settled: Cell::new(false),
            received: Cell::new(0),
            since: Cell::new(Instant::now()),
            socket,
            known: Cell::default(),
            counted,
            channels,
        });
        let moving = Moving {
            io,
            connection,
            state: Rc::clone(&state),
        };
        Ok((Self { send, state }, moving))
    }

    /// A place for a request, if there is room.
    #[must_use]
    pub fn seat(&self) -> Option<Seat> {
        let state = &self.state;
        let streams = state.streams.get();
        if state.is_closed.get() || streams >= state.streams_max.get() {
            return None;
        }
        let mut send = self.send.clone();
        if !takes_more(&mut send) {
            state.is_closed.set(true);
            return None;
        }
        state.streams.set(streams + 1);
        Some(Seat {
            is_reused: state.is_used.replace(true),
            received: state.received.get(),
            send,
            state: Rc::clone(state),
        })
    }

    /// Whether the endpoint takes requests on it, as far as it has said.
    pub fn is_open(&mut self) -> bool {
        !self.state.is_closed.get() && takes_more(&mut self.send)
    }

    /// So many requests the endpoint takes at once.
    #[must_use]
    pub fn streams_max(&self) -> usize {
        self.state.streams_max.get()
    }

    /// Whether it takes no more requests.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.is_closed.get()
    }

    /// Whether it has no request, and is to be closed: it had none for too long, or keeps other workers
    /// out.
    #[must_use]
    pub fn is_stale(&self, now: Instant) -> bool {
        let is_old =
            || now.saturating_duration_since(self.state.since.get()) >= UPSTREAM_IDLE_TIMEOUT;
        !self.has_requests() && (is_old() || self.state.is_scarce())
    }

    /// Whether it has a request.
    #[must_use]
    pub fn has_requests(&self) -> bool {
        self.state.streams.get() > 0
    }
}

/// Whether a request may be begun; not after the endpoint's GOAWAY.
fn takes_more(send: &mut SendRequest<Bytes>) -> bool {
    // What a handle that has begun nothing waits for, there is not.
    let ready = send.poll_ready(&mut Context::from_waker(Waker::noop()));
    !matches!(ready, Poll::Ready(Err(_)))
}

impl Seat {
    /// Begins the request.
    ///
    /// # Errors
    /// The endpoint takes no more on this connection; nothing was sent.
    pub fn begin(
        &mut self,
        head: Request<()>,
        is_end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let begun = self.send.send_request(head, is_end);
        begun.inspect_err(|_| self.state.is_closed.set(true))
    }

    /// The TLS session below; `None` without one.
    #[must_use]
    pub fn tls(&self) -> Option<TlsSession> {
        self.state.tls
    }

    /// The request was not answered in time. If nothing else came either, nobody may be there any more:
    /// the next requests are to have another connection, as they have after one of HTTP/1.
    pub fn timed_out(&self) {
        if self.state.received.get() == self.received {
            self.state.close();
        }
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
}

impl Drop for Seat {
    fn drop(&mut self) {
        let state = &self.state;
        state.streams.set(state.streams.get() - 1);
        state.since.set(Instant::now());
        state.tell();
        let channels = || state.channels.upgrade();
        let is_too_many = || channels().is_some_and(|channels| channels.has_too_many_idle());
        if state.streams.get() == 0 && (state.is_scarce() || is_too_many()) {
            state.close();
        }
    }
}

impl State {
    /// So many streams the endpoint allows; 0 also while it has not said anything.
    fn allow(&self, streams_max: usize) {
        let is_settled = self.is_settled.get() || streams_max > 0;
        self.is_settled.set(is_settled);
        let streams_max = streams_max.min(HTTP2_UPSTREAM_STREAMS_MAX);
        if is_settled && self.streams_max.replace(streams_max) < streams_max {
            self.tell();
        }
    }

    /// Whether it is one of the last that may be: idle here, it would keep other workers out.
    fn is_scarce(&self) -> bool {
        self.counted.as_ref().is_some_and(Counted::is_scarce)
    }

    /// No request is to be begun on it any more; it ends with its last one.
    fn close(&self) {
        self.is_closed.set(true);
        if let Some(channels) = self.channels.upgrade() {
            channels.forget_closed();
        }
    }

    /// There may be room for those who wait.
    fn tell(&self) {
        if let Some(channels) = self.channels.upgrade() {
            channels.hand_out(None);
        }
    }
}

impl Moving {
    /// Waits until the endpoint has said how many requests it takes at once.
    ///
    /// # Errors
    /// The connection has ended.
    ///
    /// # Cancel safety
    /// It can be called again, and [`Self::run`] can.
    pub async fn settle(&mut self) -> Result<(), Failure> {
        poll_fn(|context| match self.poll(context) {
            Poll::Ready(Ok(())) => {
                let lost = io::ErrorKind::ConnectionReset.into();
                Poll::Ready(Err(Failure::Tcp(lost)))
            }
            Poll::Ready(Err(failure)) => Poll::Ready(Err(failure)),
            Poll::Pending if self.state.is_settled.get() => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Until the connection ends.
    pub async fn run(mut self) {
        // How it ended, its streams have been told, or are when it is dropped.
        drop(poll_fn(|context| self.poll(context)).await);
        self.state.close();
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Self { io, connection, .. } = self;
        let moved = io.poll_with(context, |context| Pin::new(&mut *connection).poll(context));
        self.state.received.set(io.received());
        self.state.allow(connection.max_concurrent_send_streams());
        moved.map(|ended| Ok(ended??))
    }
}

fn settings() -> client::Builder {
    let mut settings = client::Builder::new();
    settings
        .enable_push(false)
        // None until its own settings are there: see [`State::allow`].
        .initial_max_send_streams(0)
        .initial_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_UPSTREAM_WINDOW_BYTES)
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
