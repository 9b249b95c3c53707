//! Bodies of HTTP/2: DATA frames of one stream, under its flow control.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};

use super::{Gone, ReadError};
use crate::http1::Malformed;
use crate::message::{Fields, Framing, Name, NameSet};
use crate::pace::Pace;

/// The sending side of one stream, ours to write and to be told that the other side gave it up.
#[derive(Default)]
pub struct Http2Stream {
    /// Towards a client, before the head of the response.
    pub respond: Option<h2::server::SendResponse<Bytes>>,
    /// After the head.
    pub send: Option<SendStream<Bytes>>,
}

impl Http2Stream {
    /// Ready when the other side has reset the stream, or the connection is lost.
    pub fn poll_reset(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let polled = match (&mut self.send, &mut self.respond) {
            (Some(send), _) => send.poll_reset(context),
            (None, Some(respond)) => respond.poll_reset(context),
            (None, None) => return Poll::Pending,
        };
        polled.map(drop)
    }

    /// Whether it is so now.
    pub fn is_reset(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.poll_reset(&mut context).is_ready()
    }

    /// Gives the stream up.
    pub fn reset(&mut self, reason: Reason) {
        match (&mut self.send, &mut self.respond) {
            (Some(send), _) => send.send_reset(reason),
            (None, Some(respond)) => respond.send_reset(reason),
            (None, None) => {}
        }
    }

    /// Sends the head that is due.
    fn send_head(&mut self, head: Response<()>, is_end: bool) -> Result<(), Gone> {
        let respond = self.respond.as_mut().ok_or(Gone)?;
        self.send = Some(respond.send_response(head, is_end).map_err(|_| Gone)?);
        Ok(())
    }
}

/// A body that is received on a stream.
pub struct Http2Source<'a> {
    /// Set once the head was received.
    receive: &'a mut Option<RecvStream>,
    /// A response that is being waited for.
    pub(crate) answer: Option<h2::client::ResponseFuture>,
    piece: Bytes,
    is_lent: bool,
    is_done: bool,
    /// No byte may come: behind a 204 of HTTP/1 it would be the client's next response.
    is_empty: bool,
    trailers: Option<Fields>,
    /// The stream's other direction, which is told when the client leaves.
    send: Option<&'a RefCell<Http2Stream>>,
}

impl<'a> Http2Source<'a> {
    /// The body of a request.
    pub fn of_request(
        receive: &'a mut Option<RecvStream>,
        send: &'a RefCell<Http2Stream>,
        framing: Framing,
    ) -> Self {
        Self {
            // What follows a request without body belongs to the tunnel that it asks for.
            is_done: framing == Framing::None,
            send: Some(send),
            ..Self::of_response(receive, None)
        }
    }

    /// The body of a response whose head is to come.
    pub fn of_response(
        receive: &'a mut Option<RecvStream>,
        answer: Option<h2::client::ResponseFuture>,
    ) -> Self {
        Self {
            receive,
            answer,
            piece: Bytes::new(),
            is_lent: false,
            is_done: false,
            is_empty: false,
            trailers: None,
            send: None,
        }
    }

    /// Begins the body of the response whose head has come.
    pub(crate) fn begin(&mut self, receive: RecvStream, framing: Framing) {
        self.is_done = receive.is_end_stream();
        self.is_empty = framing == Framing::None;
        *self.receive = Some(receive);
    }

    pub(super) fn next(&mut self) -> Option<&[u8]> {
        if self.is_lent {
            let bytes = self.piece.len();
            self.piece.clear();
            self.is_lent = false;
            if let Some(receive) = self.receive {
                // It fails for a stream that is gone, which the next read tells.
                drop(receive.flow_control().release_capacity(bytes));
            }
        }
        self.is_lent = !self.piece.is_empty();
        self.is_lent.then_some(&self.piece)
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done && self.piece.is_empty()
    }

    pub(super) fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_ref()
    }

    pub(super) async fn fill(&mut self) -> Result<(), ReadError> {
        let receive = self.receive.as_mut().ok_or(ReadError::Ended)?;
        match poll_fn(|context| receive.poll_data(context)).await {
            Some(Ok(piece)) if self.is_empty && !piece.is_empty() => {
                Err(ReadError::Malformed(Malformed::BodyForbidden))
            }
            Some(Ok(piece)) => {
                self.piece = piece;
                self.is_done = receive.is_end_stream();
                Ok(())
            }
            Some(Err(err)) => Err(read_error(err)),
            None => {
                let trailers = poll_fn(|context| receive.poll_trailers(context)).await;
                if let Some(trailers) = trailers.map_err(read_error)? {
                    self.trailers = Some(received_trailers(&trailers)?);
                }
                self.is_done = true;
                Ok(())
            }
        }
    }

    pub(super) async fn gone(&mut self) {
        match self.send {
            Some(send) => poll_fn(|context| send.borrow_mut().poll_reset(context)).await,
            None => pending().await,
        }
    }
}

impl Http2Source<'_> {
    pub(super) fn open_tunnel(&mut self) {
        self.is_done = false;
    }
}

fn read_error(err: h2::Error) -> ReadError {
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    ReadError::Io(err.into_io().unwrap_or_else(reset))
}

/// RFC 9113 section 8.1: trailers have no pseudo-header fields; RFC 9110 section 6.5.1 lists what
/// else they must not have.
fn received_trailers(map: &HeaderMap) -> Result<Fields, ReadError> {
    let mut fields = Fields::default();
    for (name, value) in map {
        if NameSet::NOT_IN_TRAILERS.contains(Name::of(name.as_str().as_bytes())) {
            return Err(ReadError::Malformed(Malformed::TrailerForbidden));
        }
        fields.push(name.as_str().as_bytes(), value.as_bytes());
    }
    Ok(fields)
}

/// A body that is sent on a stream.
pub struct Http2Sink<'a> {
    stream: &'a RefCell<Http2Stream>,
    /// The head of the response, which leaves with what comes next.
    pub(crate) head: Option<Response<()>>,
    /// The last piece: it may be the one that ends the stream.
    held: Bytes,
    /// How long the stream took nothing.
    pub(super) waited: Cell<Duration>,
    /// The head said that nothing follows.
    is_ended: bool,
}

impl<'a> Http2Sink<'a> {
    /// A body that is sent so.
    pub fn new(stream: &'a RefCell<Http2Stream>) -> Self {
        Self {
            stream,
            head: None,
            held: Bytes::new(),
            waited: Cell::default(),
            is_ended: false,
        }
    }

    /// The body of a request whose head was sent; with `is_ended` it has none.
    pub fn of_request(stream: &'a RefCell<Http2Stream>, is_ended: bool) -> Self {
        Self {
            is_ended,
            ..Self::new(stream)
        }
    }

    /// Sends the head and a body that needs no pace: it is small.
    pub(crate) async fn send_whole(&mut self, body: Bytes) -> Result<(), Gone> {
        self.send_head(body.is_empty())?;
        if body.is_empty() {
            return Ok(());
        }
        self.send(body, true, None).await
    }

    /// Sends an interim response at once.
    pub(crate) fn interim(&mut self, head: Response<()>) {
        if let Some(respond) = &mut self.stream.borrow_mut().respond {
            // It fails for a stream that is gone, which the final response tells.
            drop(respond.send_informational(head));
        }
    }

    pub(super) async fn put(&mut self, piece: &[u8], pace: &Pace<'_>) -> Result<(), Gone> {
        self.flush(pace).await?;
        self.held = Bytes::copy_from_slice(piece);
        Ok(())
    }

    pub(super) async fn flush(&mut self, pace: &Pace<'_>) -> Result<(), Gone> {
        self.send_head(false)?;
        let held = std::mem::take(&mut self.held);
        self.send(held, false, Some(pace)).await
    }

    pub(super) async fn end(
        &mut self,
        trailers: Option<&Fields>,
        pace: &Pace<'_>,
    ) -> Result<(), Gone> {
        if self.is_ended {
            return Ok(());
        }
        let is_bodiless = self.held.is_empty() && trailers.is_none();
        if self.send_head(is_bodiless)? && is_bodiless {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        let Some(trailers) = trailers else {
            return self.send(held, true, Some(pace)).await;
        };
        self.send(held, false, Some(pace)).await?;
        let trailers = crate::headers::header_map(trailers);
        let mut stream = self.stream.borrow_mut();
        let send = stream.send.as_mut().ok_or(Gone)?;
        send.send_trailers(trailers).map_err(|_| Gone)
    }

    /// Sends the head, if it is still due; returns whether it was.
    fn send_head(&mut self, is_end: bool) -> Result<bool, Gone> {
        let Some(head) = self.head.take() else {
            return Ok(false);
        };
        self.stream.borrow_mut().send_head(head, is_end)?;
        Ok(true)
    }

    /// Sends as the other side's flow control allows, and tells whenever it does.
    async fn send(
        &self,
        mut bytes: Bytes,
        is_end: bool,
        pace: Option<&Pace<'_>>,
    ) -> Result<(), Gone> {
        if bytes.is_empty() && !is_end {
            return Ok(());
        }
        while !bytes.is_empty() {
            let mut has_waited = false;
            let granted = poll_fn(|context| {
                let polled = self.poll_capacity(bytes.len(), context);
                has_waited |= polled.is_pending();
                polled
            });
            let granted = granted.await?;
            if let Some(pace) = pace.filter(|_| has_waited) {
                let before = pace.last_moved();
                let waited = pace.moved().saturating_duration_since(before);
                self.waited.set(self.waited.get() + waited);
            }
            let part = bytes.split_to(granted.min(bytes.len()));
            let is_last = is_end && bytes.is_empty();
            self.send_data(part, is_last)?;
            if is_last {
                return Ok(());
            }
            if let Some(pace) = pace {
                pace.moved();
            }
        }
        if is_end {
            self.send_data(bytes, true)?;
        }
        Ok(())
    }

    fn poll_capacity(&self, wanted: usize, context: &mut Context<'_>) -> Poll<Result<usize, Gone>> {
        let mut stream = self.stream.borrow_mut();
        let Some(send) = &mut stream.send else {
            return Poll::Ready(Err(Gone));
        };
        send.reserve_capacity(wanted);
        if send.capacity() > 0 {
            return Poll::Ready(Ok(send.capacity()));
        }
        match send.poll_capacity(context) {
            Poll::Ready(Some(Ok(granted))) if granted > 0 => Poll::Ready(Ok(granted)),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Err(_)) | None) => Poll::Ready(Err(Gone)),
        }
    }

    fn send_data(&self, bytes: Bytes, is_end: bool) -> Result<(), Gone> {
        let mut stream = self.stream.borrow_mut();
        let send = stream.send.as_mut().ok_or(Gone)?;
        send.send_data(bytes, is_end).map_err(|_| Gone)
    }
}
