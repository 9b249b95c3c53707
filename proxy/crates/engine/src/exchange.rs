//! One request and its response over one upstream connection or stream, both directions at once.
//!
//! The request's body flows to the endpoint while the response flows to the client: either may be
//! longer than any buffer, and either side may wait for the other. Each direction holds at most
//! one read buffer and one write buffer; when its writer is slow, its reader is not read.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::body::{ReadError, Relay, RelayError, Sink, Source, Waiting};
use crate::downstream::reply;
use crate::editor::Editor;
use crate::grpc;
use crate::http1::Malformed;
use crate::instant::Instant;
use crate::limits::INTERIM_RESPONSES_MAX;
use crate::live::Slot;
use crate::message::{Fields, RequestHead, ResponseHead};
use crate::pace::{Bounds, Expired, Pace, Side};
use crate::table::{Affinity, HeaderEdits, OverTls};
use crate::timer::Timer;
use crate::trace::{Flag, Messages, Tunnel};
use crate::upstream::answer;
use crate::websocket::{Conversation, Frames, is_websocket};

/// Everything that one exchange uses. Sources and sinks are lent: they are large, and this is moved.
pub struct Exchange<'a, 's> {
    pub request: &'a RequestHead,
    pub response: &'a mut ResponseHead,
    /// The request's body.
    pub from_client: &'a mut Source<'s>,
    /// Begins with the head of the request.
    pub to_upstream: &'a mut Sink<'s>,
    pub from_upstream: &'a mut Source<'s>,
    pub to_client: &'a mut Sink<'s>,
    pub timer: &'a mut Timer,
    pub bounds: Bounds,
    /// Where it is noted how far it has come.
    pub live: &'a Slot,
    /// No more bytes of the request's body than that.
    pub body_bytes_max: u64,
    /// What the route's policy changes of the request.
    pub request_edits: Option<&'a HeaderEdits>,
    /// Whether a response of that status, which has come at that time, is not passed on, because
    /// another attempt will be made.
    pub is_held_back: &'a dyn Fn(u16, Instant) -> bool,
    /// What the route's policy changes of a final response.
    pub editor: Option<&'a Editor<'a>>,
    /// When the upstream connection was there.
    pub connected: Instant,
    /// Whether the client's connection is to be closed after the response; asked when it begins.
    pub is_draining: &'a Cell<bool>,
    /// What the response tells the client about its endpoint.
    pub stay: Option<StayWith<'a>>,
    /// Adds what the response tells the client about its trace.
    pub disclose: Option<&'a Disclose<'a>>,
}

/// Adds what a client is told to the fields of its response; the marks say what is known by then.
pub type Disclose<'a> = dyn Fn(&mut Fields, &Marks) + 'a;

/// The endpoint that a client is to stay with.
#[derive(Clone, Copy)]
pub struct StayWith<'a> {
    pub affinity: &'a Affinity,
    pub endpoint: usize,
    pub over_tls: OverTls,
}

/// What happened when. Filled in as the exchange goes, whatever its end.
#[derive(Default)]
pub struct Marks {
    /// The last byte of the request left.
    pub sent: Cell<Option<Instant>>,
    /// The first byte of the response was there.
    pub first_byte: Cell<Option<Instant>>,
    /// … and when it had arrived in our kernel, where that tells.
    pub arrived: Cell<Option<Instant>>,
    /// The first byte of the response left for the client; from here on there is no way back.
    pub first_response: Cell<Option<Instant>>,
    /// The response's status, once its head was read.
    pub status: Cell<u16>,
    /// How a gRPC call ended, by what the endpoint said at its end.
    pub grpc_status: Cell<Option<grpc::Status>>,
    /// How long the response stood still because the client took no more of it.
    pub blocked_by_client: Cell<Duration>,
    /// How long the request did, because of the endpoint.
    pub blocked_by_endpoint: Cell<Duration>,
    /// What was said on the connection, once it was upgraded to `WebSocket`.
    pub websocket: OnceCell<Box<Conversation>>,
    /// What is wrong with the request's body.
    pub malformed: Cell<Option<Malformed>>,
    /// The endpoint said that it did not look at the request.
    pub is_unprocessed: Cell<bool>,
}

impl Marks {
    /// What went through the connection after it was upgraded, if it was.
    pub fn tunnel(&self) -> Option<Tunnel> {
        let messages = self.websocket.get().map(|both| Messages {
            received: both.received.borrow().messages(),
            sent: both.sent.borrow().messages(),
        });
        (self.status.get() == 101).then_some(Tunnel { messages })
    }
}

/// An exchange that came to its end.
#[derive(Clone, Copy)]
pub enum Finished {
    /// The response was delivered.
    Delivered {
        /// The client's connection may serve another request.
        keep_client: bool,
        /// The endpoint's connection may serve another request.
        keep_upstream: bool,
    },
    /// The response's status is one of those that are held back; the client got nothing.
    HeldBack,
}

impl Exchange<'_, '_> {
    /// Runs the exchange to its end.
    ///
    /// # Errors
    /// Why it failed; `marks` says how far it came.
    ///
    /// # Cancel safety
    /// None: both connections must be closed after a dropped call, both streams reset.
    pub async fn run(self, marks: &Marks) -> Result<Finished, Flag> {
        let (at, mut expiry) = self.timer.parts();
        let pace = Pace::new(at, self.bounds, self.live, self.connected);
        pace.awaits_continue.set(self.request.expects_continue);
        let mut upload = Upload {
            from_client: self.from_client,
            to_upstream: self.to_upstream,
            body_bytes_max: self.body_bytes_max,
            edits: self.request_edits,
            frames: None,
            marks,
            pace: &pace,
        };
        let mut download = Download {
            request: self.request,
            response: self.response,
            from_upstream: self.from_upstream,
            to_client: self.to_client,
            is_held_back: self.is_held_back,
            editor: self.editor,
            is_draining: self.is_draining,
            stay: self.stay,
            disclose: self.disclose,
            marks,
            pace: &pace,
        };
        let mut upload = pin!(upload.run());
        let mut download = pin!(download.run());
        let mut is_uploading = true;
        poll_fn(|context| {
            if let Poll::Ready(finished) = download.as_mut().poll(context) {
                return Poll::Ready(finished);
            }
            if is_uploading && let Poll::Ready(failure) = upload.as_mut().poll(context) {
                // The endpoint may have answered early and closed: the response decides.
                is_uploading = false;
                if let Some(flag) = failure {
                    return Poll::Ready(Err(flag));
                }
            }
            while expiry.poll(context).is_ready() {
                match pace.expired() {
                    Some(Expired::Failed(flag)) => return Poll::Ready(Err(flag)),
                    Some(Expired::Quiet) => return Poll::Ready(Ok(Finished::CLOSED)),
                    None => {}
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Finished {
    /// Delivered, and nothing can follow on either side.
    const CLOSED: Self = Self::Delivered {
        keep_client: false,
        keep_upstream: false,
    };
}

/// The request's way.
struct Upload<'a, 's> {
    from_client: &'a mut Source<'s>,
    to_upstream: &'a mut Sink<'s>,
    body_bytes_max: u64,
    edits: Option<&'a HeaderEdits>,
    frames: Option<&'a RefCell<Frames>>,
    marks: &'a Marks,
    pace: &'a Pace<'a>,
}

impl Upload<'_, '_> {
    /// Returns why the exchange cannot go on; `None` where the response may still come.
    async fn run(&mut self) -> Option<Flag> {
        if let Err(failure) = self.relay().await {
            return upload_failure(&failure, self.marks);
        }
        self.marks.sent.set(Some(self.pace.sent()));
        if self.until_tunnel().await.is_err() {
            return Some(Flag::ClientGone);
        }
        self.from_client.open_tunnel();
        self.to_upstream.open_tunnel();
        self.body_bytes_max = u64::MAX;
        self.frames = self.marks.websocket.get().map(|both| &both.received);
        let failure = self.relay().await.err()?;
        upload_failure(&failure, self.marks)
    }

    async fn relay(&mut self) -> Result<(), RelayError> {
        let pace = self.pace;
        let waits = |waiting| {
            pace.upload.set(Some(match waiting {
                Waiting::Source => Side::Client,
                Waiting::Sink | Waiting::LastOfSink => Side::Upstream,
            }));
        };
        let relay = Relay {
            source: self.from_client,
            sink: self.to_upstream,
            moved: &pace.live.received,
            bytes_max: self.body_bytes_max,
            edits: self.edits,
            frames: self.frames,
            pace,
            waits: &waits,
        };
        let relayed = relay.run().await;
        self.marks
            .blocked_by_endpoint
            .set(self.to_upstream.waited());
        relayed
    }

    /// Waits until the connection is upgraded; an error means that the client left instead. Both
    /// directions are polled together, so that no one has to be woken for it.
    async fn until_tunnel(&mut self) -> Result<(), ()> {
        let mut gone = pin!(self.from_client.gone());
        poll_fn(|context: &mut Context<'_>| {
            if self.pace.is_tunnel() {
                return Poll::Ready(Ok(()));
            }
            Pin::as_mut(&mut gone).poll(context).map(Err)
        })
        .await
    }
}

/// How a failed upload ends the exchange; `None` where the response may still come.
fn upload_failure(failure: &RelayError, marks: &Marks) -> Option<Flag> {
    match failure {
        RelayError::Write => None,
        RelayError::TooLarge => Some(Flag::BodyTooLarge),
        RelayError::Read(ReadError::Malformed(malformed)) => {
            marks.malformed.set(Some(*malformed));
            Some(Flag::BadRequest)
        }
        RelayError::Read(ReadError::Io(_) | ReadError::Ended) => Some(Flag::ClientGone),
    }
}

/// The response's way: head, perhaps interim heads before it, body.
struct Download<'a, 's> {
    request: &'a RequestHead,
    response: &'a mut ResponseHead,
    from_upstream: &'a mut Source<'s>,
    to_client: &'a mut Sink<'s>,
    is_held_back: &'a dyn Fn(u16, Instant) -> bool,
    editor: Option<&'a Editor<'a>>,
    is_draining: &'a Cell<bool>,
    stay: Option<StayWith<'a>>,
    disclose: Option<&'a Disclose<'a>>,
    marks: &'a Marks,
    pace: &'a Pace<'a>,
}

impl Download<'_, '_> {
    async fn run(&mut self) -> Result<Finished, Flag> {
        for _ in 0..=INTERIM_RESPONSES_MAX {
            let head = answer::read_head(
                self.from_upstream,
                self.request,
                self.response,
                self.marks,
                self.pace,
            );
            head.await?;
            match self.response.status {
                101 => return self.tunnel().await,
                100..200 => self.pass_interim().await?,
                // The head has just been read: that is now.
                status if (self.is_held_back)(status, self.pace.last_moved()) => {
                    self.marks.status.set(status);
                    return Ok(Finished::HeldBack);
                }
                // RFC 8441, section 5: passed on, it would be the answer of one that switched.
                200..300 if self.request.is_connect => return Err(Flag::UpstreamProtocolError),
                _ => return self.deliver().await,
            }
        }
        Err(Flag::UpstreamProtocolError)
    }

    async fn pass_interim(&mut self) -> Result<(), Flag> {
        self.pace.awaits_continue.set(false);
        reply::interim(self.to_client, self.request, self.response);
        self.pace.download.set(Side::Client);
        let flushed = self.to_client.flush(self.pace).await;
        flushed.map_err(|_| Flag::ClientGone)?;
        self.pace.download.set(Side::Upstream);
        Ok(())
    }

    async fn deliver(&mut self) -> Result<Finished, Flag> {
        let marks = self.marks;
        if let Some(stay) = self.stay {
            let fields = &mut self.response.fields;
            stay.affinity.set(fields, stay.endpoint, stay.over_tls);
        }
        if let Some(disclose) = self.disclose {
            disclose(&mut self.response.fields, marks);
        }
        let keep_alive = reply::head(
            self.to_client,
            self.request,
            self.response,
            !self.is_draining.get(),
            self.editor,
        );
        self.pace.live.status.set(self.response.status);
        marks.status.set(self.response.status);
        marks.first_response.set(Some(self.pace.last_moved()));
        self.relay().await?;
        if grpc::is_grpc(self.request) {
            let trailers = self.from_upstream.trailers();
            let status = grpc::ended(&self.response.fields, trailers);
            marks.grpc_status.set(status);
        }
        let is_request_done = marks.sent.get().is_some();
        Ok(Finished::Delivered {
            keep_client: keep_alive && is_request_done,
            keep_upstream: is_request_done && answer::is_over(self.from_upstream, self.response),
        })
    }

    /// Passes on that the endpoint switched protocols, then whatever it sends.
    async fn tunnel(&mut self) -> Result<Finished, Flag> {
        let is_asked_for = self.request.upgrade().is_some() && self.marks.sent.get().is_some();
        if !is_asked_for || self.response.upgrade().is_none() {
            return Err(Flag::UpstreamProtocolError); // Nobody may grant what nobody asked for.
        }
        if is_websocket(self.request) {
            self.marks.websocket.get_or_init(Box::default);
        }
        let told = reply::switch(self.to_client, self.response);
        self.pace.live.status.set(told);
        self.marks.status.set(self.response.status);
        self.marks.first_response.set(Some(self.pace.moved()));
        self.from_upstream.open_tunnel();
        self.to_client.open_tunnel();
        self.pace.open_tunnel();
        self.relay().await?;
        Ok(Finished::CLOSED)
    }

    async fn relay(&mut self) -> Result<(), Flag> {
        let pace = self.pace;
        let waits = |waiting| {
            pace.download.set(match waiting {
                Waiting::Source => Side::Upstream,
                Waiting::Sink | Waiting::LastOfSink => Side::Client,
            });
            if waiting == Waiting::LastOfSink {
                pace.received();
            }
        };
        let relay = Relay {
            source: self.from_upstream,
            sink: self.to_client,
            moved: &pace.live.sent,
            bytes_max: u64::MAX,
            edits: None,
            frames: self.marks.websocket.get().map(|both| &both.sent),
            pace,
            waits: &waits,
        };
        let relayed = relay.run().await;
        self.marks.blocked_by_client.set(self.to_client.waited());
        relayed.map_err(|failure| match failure {
            RelayError::Write | RelayError::TooLarge => Flag::ClientGone,
            RelayError::Read(error) => answer::failure(&error),
        })
    }
}
