//! A client as a request sees it: its two directions, whatever the version of HTTP.

use std::cell::{OnceCell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http::Response;
use tokio::io::{AsyncWriteExt, Interest};

use crate::body::{Http1Sink, Http1Source, Http2Sink, Http2Source, Http2Stream, Sink, Source};
use crate::buffer::Buffer;
use crate::headers::{self, Ends, Refusal};
use crate::instant::Instant;
use crate::limits::DOWNSTREAM_STALL_TIMEOUT;
use crate::message::{Framing, RequestHead};
use crate::socket::{Answer, Ask, Socket};
use crate::stream::{End, Shared};
use crate::table::ClientTimes;
use crate::timer::Timer;
use crate::tls::Tls;
use crate::trace::{Net, ends_attributes};

/// The connection as a request sees it.
pub struct Client {
    pub side: Side,
    pub timer: Timer,
    pub origin: Rc<Origin>,
    /// What its listener allowed at the start; with HTTP/1, when the last request came.
    pub patience: ClientTimes,
    /// What the kernel is asked about responses.
    pub asks: Ask,
}

/// What is known of a client's connection, the same for all requests on it.
#[derive(Clone)]
pub struct Origin {
    /// As the connection itself tells them.
    pub ends: Ends,
    /// The listener that accepted it, by its address in the table.
    pub listener: SocketAddr,
    /// The TLS session, where there is one.
    pub tls: Option<Rc<Tls>>,
    /// What endpoints are told of it, and its part of each root span, once there was a request.
    told: OnceCell<Box<[u8]>>,
    attributes: OnceCell<Box<[u8]>>,
}

impl Origin {
    /// That of a connection without TLS, so far.
    pub fn new(ends: Ends, listener: SocketAddr) -> Self {
        Self {
            ends,
            listener,
            tls: None,
            told: OnceCell::new(),
            attributes: OnceCell::new(),
        }
    }

    /// Its TLS session, where there is one.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    /// What endpoints are told of it, as HTTP/1 has fields.
    pub fn told(&self) -> &[u8] {
        self.told.get_or_init(|| headers::origin_lines(&self.ends))
    }

    /// Its ends, as attributes of a span.
    pub fn attributes(&self) -> &[u8] {
        let Ends {
            client,
            network_peer,
            local,
            ..
        } = self.ends;
        let attributes = || ends_attributes(client, network_peer, local);
        self.attributes.get_or_init(attributes)
    }
}

/// What carries a request and its response.
pub enum Side {
    /// A connection, for one request at a time.
    Http1(Rc<Shared>),
    /// A stream of a connection.
    Http2 {
        /// The body of the request.
        receive: Option<RecvStream>,
        send: RefCell<Http2Stream>,
    },
}

impl Side {
    /// A stream that is over, or yet to come.
    pub fn no_stream() -> Self {
        Self::Http2 {
            receive: None,
            send: RefCell::default(),
        }
    }
}

impl Client {
    /// The request's body and the way of the response; `input` and `out` are the buffers of
    /// HTTP/1.
    pub fn open<'a>(
        &'a mut self,
        framing: Framing,
        input: &'a mut Buffer,
        out: &'a mut Vec<u8>,
    ) -> Open<'a> {
        let (body, reply) = match &mut self.side {
            Side::Http1(stream) => (
                Source::Http1(Http1Source::new(stream, input, framing)),
                Sink::Http1(Http1Sink::new(stream, out, Framing::None).asking(self.asks)),
            ),
            Side::Http2 { receive, send } => (
                Source::Http2(Http2Source::of_request(receive, send, framing)),
                Sink::Http2(Http2Sink::new(send)),
            ),
        };
        Open {
            body,
            reply,
            timer: &mut self.timer,
        }
    }

    /// Takes note of whether the client will send anything after `request`: not if it says so, nor if it
    /// was seen to stop while it waited for an earlier answer.
    pub fn note_last(&self, request: &RequestHead) {
        if let Side::Http1(stream) = &self.side {
            stream
                .is_last
                .set(!request.keep_alive || stream.ended.get().is_some());
        }
    }

    /// How the client has ended what it sends, if that was seen; of a stream it is not told.
    pub fn ended(&self) -> Option<End> {
        match &self.side {
            Side::Http1(stream) => stream.ended.get(),
            Side::Http2 { .. } => None,
        }
    }

    /// Has the kernel observe how the response gets on, where requests do not share the connection.
    pub fn observe(&mut self, is_observed: bool) {
        self.asks = match &self.side {
            Side::Http1(stream) if is_observed && stream.with_socket(Socket::observe) => Ask::Most,
            _ => Ask::Nothing,
        };
    }

    /// What the kernel knows of an observed connection at `at`, which is now.
    pub fn look(&self, at: Instant) -> Option<Net> {
        let Side::Http1(stream) = &self.side else {
            return None;
        };
        stream.with_socket(|socket| socket.observe().then(|| socket.look(at)))
    }

    /// Waits until the client's kernel has most of a large response, the client asks for something
    /// else, or leaves; at most for `patience`. Returns when that was, and how the connection is;
    /// `None` where there is nothing to wait for.
    ///
    /// # Cancel safety
    /// Nothing is lost but the answer.
    pub async fn delivered(&mut self, patience: Duration) -> Option<(Instant, Option<Net>)> {
        let Side::Http1(stream) = &self.side else {
            return None;
        };
        if !stream.with_socket(Socket::has_asked) {
            return None;
        }
        let now = Instant::now();
        self.timer.set(now + patience);
        let answer = match stream.with_socket(|socket| socket.acknowledged(now)) {
            Some(answer) => Some(answer),
            None => self.timer.limit(answer(stream)).await.flatten(),
        };
        let at = answer.and_then(|answer| answer.acknowledged);
        let net = answer.map(|Answer { now, before, .. }| Net {
            window_us: 0,
            ..Net::between(&before, &now)
        });
        Some((at.unwrap_or_else(Instant::now), net))
    }

    /// Runs `work` until it is done, `until` comes or the client leaves. Bytes that come meanwhile
    /// are kept in `input`.
    ///
    /// # Cancel safety
    /// As that of `work`.
    pub async fn wait<T>(
        &mut self,
        work: impl Future<Output = T>,
        until: Instant,
        input: &mut Buffer,
    ) -> Waited<T> {
        self.timer.set(until);
        let first = while_there(&self.side, work, input);
        match self.timer.limit(first).await {
            Some(Some(done)) => Waited::Done(done),
            Some(None) => Waited::Gone,
            None => Waited::Late,
        }
    }

    /// Runs `work` until it is done or the client leaves; `None` when that came first. Bytes that come
    /// meanwhile are kept in `input`.
    ///
    /// # Cancel safety
    /// As that of `work`.
    pub async fn while_there<T>(
        &self,
        work: impl Future<Output = T>,
        input: &mut Buffer,
    ) -> Option<T> {
        while_there(&self.side, work, input).await
    }

    /// Sends a whole response of ours; `out` is a buffer to work in. False when the client is
    /// gone, or takes nothing for [`DOWNSTREAM_STALL_TIMEOUT`].
    pub async fn refuse(
        &mut self,
        request: &RequestHead,
        refusal: &Refusal<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        self.timer.set(Instant::now() + DOWNSTREAM_STALL_TIMEOUT);
        let sent = match &self.side {
            Side::Http1(stream) => {
                out.clear();
                headers::encode_refusal(out, request, refusal);
                self.timer.limit(send_all(stream, out)).await
            }
            Side::Http2 { send, .. } => {
                let (head, body) = headers::refusal(request, refusal);
                self.timer.limit(send_whole(send, head, body)).await
            }
        };
        matches!(sent, Some(Ok(())))
    }
}

/// How [`Client::wait`] ended.
pub enum Waited<T> {
    Done(T),
    /// The time was over first.
    Late,
    /// The client left first.
    Gone,
}

/// A request's two directions, as an exchange takes them.
pub struct Open<'a> {
    pub body: Source<'a>,
    pub reply: Sink<'a>,
    pub timer: &'a mut Timer,
}

/// A response that the other side's flow control lets through as it likes.
async fn send_whole(
    stream: &RefCell<Http2Stream>,
    head: Response<()>,
    body: Vec<u8>,
) -> io::Result<()> {
    let mut sink = Http2Sink::new(stream);
    sink.head = Some(head);
    let sent = sink.send_whole(Bytes::from(body)).await;
    sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
}

/// What became of the bytes that were asked about; `None` when something else came instead.
async fn answer(stream: &Shared) -> Option<Answer> {
    let watch = stream.with_socket(Socket::again).ok()?;
    loop {
        let ready = watch.ready(Interest::READABLE | Interest::ERROR).await;
        let has_input = ready.ok()?.is_readable();
        // What is known of the error queue is forgotten first: the next entry has to wake us up.
        let forgotten = || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into());
        drop(watch.try_io(Interest::ERROR, forgotten));
        let now = Instant::now();
        let answer = stream.with_socket(|socket| socket.acknowledged(now));
        if answer.is_some() || has_input {
            return answer;
        }
    }
}

/// Returns when the client has left.
async fn while_there<T>(
    side: &Side,
    work: impl Future<Output = T>,
    input: &mut Buffer,
) -> Option<T> {
    let mut work = pin!(work);
    let mut gone = pin!(gone(side, input));
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        gone.as_mut().poll(context).map(|()| None)
    })
    .await
}

async fn gone(side: &Side, input: &mut Buffer) {
    match side {
        Side::Http1(stream) => {
            let mut source = Source::Http1(Http1Source::new(stream, input, Framing::None));
            source.gone().await;
        }
        Side::Http2 { send, .. } => {
            poll_fn(|context| send.borrow_mut().poll_reset(context)).await;
        }
    }
}

async fn send_all(mut stream: &Shared, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
