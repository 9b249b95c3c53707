//! A client's HTTP/2 connection: its streams are requests, each served in a task of its own.
//!
//! Rules: the h2 crate owns the frames; what a request may look like is decided by the parser of
//! HTTP/1, to which each one is shown as it would be written there. So nothing can pass here that
//! is refused there, and nothing that an HTTP/1 endpoint gets was not looked at as it is.
//!
//! Source: RFC 9113; RFC 8441 for `WebSocket`.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::sync::Notify;

use super::request_text;
use super::{Client, Origin, Side};
use crate::body::Http2Stream;
use crate::buffer::Buffer;
use crate::forward::{After, Arrival, forward};
use crate::gathered::Gathered;
use crate::headers::Refusal;
use crate::http1::{Malformed, Parsed, parse_request};
use crate::instant::Instant;
use crate::limits::{
    HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_PREMATURE_RESET, HTTP2_PREMATURE_RESETS_MAX,
    HTTP2_RESET_STREAMS_MAX, HTTP2_SEND_BUFFER_BYTES, HTTP2_SPARE_TASKS_MAX,
    HTTP2_STREAM_WINDOW_BYTES, HTTP2_STREAMS_MAX, REQUEST_HEAD_BYTES_MAX,
};
use crate::message::{Framing, RequestHead, Version};
use crate::socket::Ask;
use crate::stream::{Shared, Stream};
use crate::table::ClientTimes;
use crate::timer::Timer;
use crate::trace::Flag;
use crate::worker::{Stage, Worker, Workspace};

/// What an HTTP/2 client sends first. Source: RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether the connection whose first bytes are in `input` is one of HTTP/2 by prior knowledge;
/// reads on where the bytes are the beginning of either.
pub async fn has_preface(stream: &Shared, client: &mut Client, input: &mut Buffer) -> bool {
    let Client {
        timer, patience, ..
    } = client;
    timer.set(Instant::now() + patience.head);
    loop {
        if let Some(is_http2) = is_preface(input.unread()) {
            return is_http2;
        }
        match timer.limit(input.fill(stream)).await {
            Some(Ok(1..)) => {}
            _ => return false,
        }
    }
}

fn is_preface(bytes: &[u8]) -> Option<bool> {
    let length = bytes.len().min(PREFACE.len());
    match bytes.get(..length) == PREFACE.get(..length) {
        false => Some(false),
        true if length == PREFACE.len() => Some(true),
        true => None,
    }
}

/// Serves a connection until either side closes it. `read` holds what was read from it already.
pub async fn serve_http2(
    worker: Rc<Worker>,
    stream: Stream,
    read: Buffer,
    (origin, patience): (Rc<Origin>, ClientTimes),
    stage: Rc<Cell<Stage>>,
) {
    let mut timer = Timer::new(patience.head);
    let io = Gathered::new(stream, read);
    let mut handshake = pin!(settings().handshake(io.clone()));
    let handshake =
        poll_fn(|context| io.poll_with(context, |context| handshake.as_mut().poll(context)));
    let Some(Ok(Ok(connection))) = timer.limit(handshake).await else {
        return;
    };
    Served {
        worker,
        connection,
        io,
        origin,
        patience,
        stage,
        streams: Rc::default(),
    }
    .run(&mut timer)
    .await;
}

fn settings() -> server::Builder {
    let mut settings = server::Builder::new();
    settings
        .initial_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(REQUEST_HEAD_BYTES_MAX as u32)
        .max_send_buffer_size(HTTP2_SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(HTTP2_RESET_STREAMS_MAX)
        .max_pending_accept_reset_streams(HTTP2_RESET_STREAMS_MAX)
        .enable_connect_protocol();
    settings
}

struct Served {
    worker: Rc<Worker>,
    connection: server::Connection<Gathered, Bytes>,
    /// The stream below, which is told when to send.
    io: Gathered,
    origin: Rc<Origin>,
    patience: ClientTimes,
    stage: Rc<Cell<Stage>>,
    streams: Rc<Streams>,
}

/// The streams that a connection is serving, and the tasks that wait for the next ones.
#[derive(Default)]
struct Streams {
    count: Cell<usize>,
    /// Those that the client has reset as soon as they had begun, and all others.
    reset_early: Cell<u32>,
    served: Cell<u32>,
    ended: Notify,
    waiting: RefCell<Vec<Rc<Seat>>>,
    is_over: Cell<bool>,
}

impl Streams {
    fn note(&self, end: StreamEnd) {
        let count = match end {
            StreamEnd::ResetEarly => &self.reset_early,
            StreamEnd::Other => &self.served,
        };
        count.set(count.get().saturating_add(1));
    }

    /// Whether the client begins requests only to give them up.
    fn are_abused(&self) -> bool {
        let reset_early = self.reset_early.get();
        reset_early > HTTP2_PREMATURE_RESETS_MAX && reset_early > self.served.get()
    }
}

/// How a stream ended.
#[derive(Clone, Copy, PartialEq)]
enum StreamEnd {
    /// By the client, within [`HTTP2_PREMATURE_RESET`].
    ResetEarly,
    Other,
}

impl Served {
    async fn run(mut self, timer: &mut Timer) {
        timer.set(Instant::now() + self.patience.idle);
        let mut is_going = false;
        loop {
            if self.worker.is_draining.get() && !is_going {
                is_going = true;
                self.connection.graceful_shutdown();
            }
            if self.streams.count.get() == 0 {
                self.stage.set(self.worker.beginning());
            }
            match self.event(timer, is_going).await {
                Event::Request(request, respond) => self.serve(*request, respond),
                Event::Closed => return,
                Event::Draining => {}
                Event::StreamEnded if self.streams.are_abused() => {
                    self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
                Event::StreamEnded => timer.set(Instant::now() + self.patience.idle),
                Event::TimeOut if self.streams.count.get() > 0 => {
                    timer.set(Instant::now() + self.patience.idle);
                }
                // Whoever does not take the goodbye is cut off.
                Event::TimeOut if is_going => return,
                Event::TimeOut => {
                    is_going = true;
                    self.connection.graceful_shutdown();
                    timer.set(Instant::now() + self.patience.head);
                }
            }
        }
    }

    /// Moves frames until something is to be done.
    async fn event(&mut self, timer: &mut Timer, is_going: bool) -> Event {
        let Self {
            worker,
            connection,
            io,
            streams,
            ..
        } = self;
        let mut draining = pin!(worker.draining.notified());
        let mut ended = pin!(streams.ended.notified());
        let work = poll_fn(|context| {
            match io.poll_with(context, |context| connection.poll_accept(context)) {
                Poll::Ready(Ok(Some(Ok((request, respond))))) => {
                    return Poll::Ready(Event::Request(Box::new(request), respond));
                }
                Poll::Ready(_) => return Poll::Ready(Event::Closed),
                Poll::Pending => {}
            }
            if !is_going && draining.as_mut().poll(context).is_ready() {
                return Poll::Ready(Event::Draining);
            }
            ended.as_mut().poll(context).map(|()| Event::StreamEnded)
        });
        timer.limit(work).await.unwrap_or(Event::TimeOut)
    }

    /// Has a task serve the request: one that waits for the next, or a new one.
    fn serve(&self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        self.stage.set(Stage::Serving);
        self.streams.count.set(self.streams.count.get() + 1);
        let job = Job { request, respond };
        if let Some(seat) = self.streams.waiting.borrow_mut().pop() {
            return seat.give(job);
        }
        let seat = Rc::new(Seat::default());
        seat.give(job);
        let (worker, streams) = (Rc::clone(&self.worker), Rc::clone(&self.streams));
        let client = Client {
            side: Side::no_stream(),
            timer: Timer::new(self.patience.idle),
            origin: Rc::clone(&self.origin),
            patience: self.patience,
            asks: Ask::Nothing,
        };
        tokio::task::spawn_local(serve_streams(worker, client, streams, seat));
    }
}

impl Served {
    /// Says which requests were looked at, as far as the kernel takes that at once: a connection that gives
    /// way to others is dropped while it waits, and so is one that the end of its worker cuts.
    /// Source: RFC 9113, section 6.8.
    fn say_goodbye(&mut self) {
        let Self { connection, io, .. } = self;
        connection.abrupt_shutdown(Reason::NO_ERROR);
        let mut nobody = Context::from_waker(Waker::noop());
        // Who is not there any more, or was told before, is told nothing.
        let _ = io.poll_with(&mut nobody, |context| connection.poll_closed(context));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.say_goodbye();
        self.streams.is_over.set(true);
        for seat in self.streams.waiting.borrow_mut().drain(..) {
            seat.told.notify_one();
        }
    }
}

enum Event {
    Request(Box<Request<RecvStream>>, SendResponse<Bytes>),
    /// The connection is over.
    Closed,
    /// The worker is to end.
    Draining,
    StreamEnded,
    TimeOut,
}

/// A request that came on a stream.
struct Job {
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
}

/// Where a task gets its next request. Tasks are kept, because making one for each request would
/// allocate and move its future's some thousand bytes each time.
#[derive(Default)]
struct Seat {
    job: Cell<Option<Job>>,
    told: Notify,
}

impl Seat {
    fn give(&self, job: Job) {
        self.job.set(Some(job));
        self.told.notify_one();
    }

    /// The next request; `None` when the connection is over.
    async fn next(&self) -> Option<Job> {
        self.told.notified().await;
        self.job.take()
    }
}

struct LiveStream<'a>(&'a Streams);

impl Drop for LiveStream<'_> {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        self.0.ended.notify_one();
    }
}

/// Serves one request after the other, as the connection has them for this task. They share a timer:
/// it costs more to make and to arm than to move.
async fn serve_streams(
    worker: Rc<Worker>,
    mut client: Client,
    streams: Rc<Streams>,
    seat: Rc<Seat>,
) {
    while let Some(job) = seat.next().await {
        let live = LiveStream(&streams);
        streams.note(serve_stream(&worker, &mut client, job).await);
        client.side = Side::no_stream();
        drop(live);
        let mut waiting = streams.waiting.borrow_mut();
        if streams.is_over.get() || waiting.len() >= HTTP2_SPARE_TASKS_MAX {
            return;
        }
        waiting.push(Rc::clone(&seat));
    }
}

async fn serve_stream(worker: &Worker, client: &mut Client, job: Job) -> StreamEnd {
    let start = Instant::now();
    let mut workspace = worker.take_workspace();
    let Workspace {
        to_client, request, ..
    } = &mut *workspace;
    let (read, receive) = read_request(job.request, to_client, Rc::make_mut(request));
    client.side = Side::Http2 {
        receive: Some(receive),
        send: RefCell::new(Http2Stream {
            respond: Some(job.respond),
            send: None,
        }),
    };
    let after = match read {
        Ok(()) => {
            let head_read = Instant::now();
            forward(
                worker,
                client,
                &mut workspace,
                Arrival {
                    start,
                    head_read,
                    arrived: None,
                },
            )
            .await
        }
        Err(malformed) => refuse(worker, client, malformed).await,
    };
    let mut end = StreamEnd::Other;
    if let (After::Close, Side::Http2 { send, .. }) = (after, &client.side) {
        let mut send = send.borrow_mut();
        if send.is_reset() && start.elapsed() < HTTP2_PREMATURE_RESET {
            end = StreamEnd::ResetEarly;
        }
        send.reset(Reason::INTERNAL_ERROR);
    }
    worker.return_workspace(workspace);
    end
}

/// Makes the head that HTTP/1 has for this request, or says why there is none as
/// [`parse_request`] does; and gives its body. `text` is a buffer to work in.
fn read_request(
    request: Request<RecvStream>,
    text: &mut Vec<u8>,
    head: &mut RequestHead,
) -> (Result<(), Malformed>, RecvStream) {
    let (parts, receive) = request.into_parts();
    request_text::write(text, &parts);
    head.clear();
    let parsed = parse_request(text, head).and_then(|parsed| {
        let head_bytes = text.len();
        let is_whole = parsed == Parsed::Complete { head_bytes };
        is_whole.then_some(()).ok_or(Malformed::RequestLine)
    });
    text.clear();
    head.version = Version::Http2;
    head.is_connect = request_text::is_tunnel(&parts);
    if head.framing == Framing::None && !receive.is_end_stream() && !head.is_connect {
        head.framing = Framing::Chunked; // Its length is not known.
    }
    (parsed, receive)
}

async fn refuse(worker: &Worker, client: &mut Client, malformed: Malformed) -> After {
    worker.stats.malformed.add(1);
    let refusal = Refusal {
        status: malformed.status(),
        flag: Some(Flag::BadRequest),
        sentence: malformed.reason(),
        trace_id: None,
        location: None,
        editor: None,
        disclosed: None,
        retry_after_s: None,
        keep_alive: true,
    };
    let request = RequestHead::default();
    client.refuse(&request, &refusal, &mut Vec::new()).await;
    After::KeepAlive
}
