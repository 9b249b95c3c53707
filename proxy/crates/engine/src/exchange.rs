//! One request and its response over one upstream connection, both directions at once.
//!
//! The request's body flows to the endpoint while the response flows to the client: either may be
//! longer than any buffer, and either side may wait for the other. Each direction holds at most
//! one read buffer and one write buffer; when its writer is slow, its reader is not read.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::buffer::Buffer;
use crate::headers::{Reply, encode_interim, encode_response};
use crate::http1::{BodyDecoder, Malformed, Parsed, encode, parse_response};
use crate::limits::{COALESCE_BYTES_MAX, DOWNSTREAM_STALL_TIMEOUT, INTERIM_RESPONSES_MAX};
use crate::message::{Framing, RequestHead, ResponseHead, Version};
use crate::stream::{Shared, Stream};
use crate::timer::Timer;
use crate::trace::Flag;

/// Everything that one exchange uses.
pub struct Exchange<'a> {
    pub client: &'a mut Stream,
    pub timer: &'a mut Timer,
    pub upstream: &'a mut Stream,
    pub request: &'a RequestHead,
    pub response: &'a mut ResponseHead,
    /// Bytes from the client: the beginning of the body, perhaps the next request.
    pub from_client: &'a mut Buffer,
    /// Bytes from the endpoint; empty at the start.
    pub from_upstream: &'a mut Buffer,
    /// Begins with the encoded head of the request.
    pub to_upstream: &'a mut Vec<u8>,
    /// Empty at the start.
    pub to_client: &'a mut Vec<u8>,
    pub response_timeout: Duration,
    /// When the upstream connection was there.
    pub connected: Instant,
    /// Whether the client's connection is to be closed after the response; asked when it begins.
    pub is_draining: &'a Cell<bool>,
}

/// What happened when. Filled in as the exchange goes, whatever its end.
#[derive(Default)]
pub struct Marks {
    /// The last byte of the request left.
    pub sent: Cell<Option<Instant>>,
    /// The first byte of the response was there.
    pub first_byte: Cell<Option<Instant>>,
    /// The first byte of the response left for the client; from here on there is no way back.
    pub first_response: Cell<Option<Instant>>,
    /// The response's status, once its head was read.
    pub status: Cell<u16>,
    pub request_body_bytes: Cell<u64>,
    pub response_body_bytes: Cell<u64>,
    /// What is wrong with the request's body.
    pub malformed: Cell<Option<Malformed>>,
    /// The client waits for an interim response before it sends the body.
    awaits_continue: Cell<bool>,
    upload_waits_for: Cell<Side>,
    download_waits_for: Cell<Side>,
}

/// Whom a direction waits for.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Side {
    Client,
    #[default]
    Upstream,
}

/// A response that was delivered to its end.
#[derive(Clone, Copy)]
pub struct Delivered {
    /// The client's connection may serve another request.
    pub keep_client: bool,
    /// The endpoint's connection may serve another request.
    pub keep_upstream: bool,
}

impl Exchange<'_> {
    /// Runs the exchange to its end.
    ///
    /// # Errors
    /// Why it failed; `marks` says how far it came.
    ///
    /// # Cancel safety
    /// None: both connections must be closed after a dropped call.
    pub async fn run(self, marks: &Marks) -> Result<Delivered, Flag> {
        let Self {
            request,
            response,
            from_client,
            ..
        } = self;
        let client = Shared::new(self.client);
        let upstream = Shared::new(self.upstream);
        let (deadline, mut expiry) = self.timer.parts();
        let deadline = Deadline::new(deadline, self.response_timeout, self.connected);

        marks.awaits_continue.set(request.expects_continue);

        let mut upload = pin!(async {
            let sending = Relay {
                body: BodyDecoder::new(request.framing),
                framing: request.framing,
                buffer: from_client,
                out: self.to_upstream,
                moved: &marks.request_body_bytes,
                waits_for: &marks.upload_waits_for,
                reader_side: Side::Client,
                deadline: &deadline,
            };
            if let Err(failure) = sending.run(&mut &client, &upstream).await {
                return upload_failure(&failure, marks);
            }
            marks.sent.set(Some(deadline.extend()));
            Some(wait_until_gone(from_client, &mut &client).await)
        });
        let download = Download {
            request,
            response,
            buffer: self.from_upstream,
            out: self.to_client,
            is_draining: self.is_draining,
            marks,
            deadline: &deadline,
        };
        let mut download = pin!(download.run(&upstream, &client));
        let mut is_uploading = true;
        poll_fn(|context| {
            if let Poll::Ready(delivered) = download.as_mut().poll(context) {
                return Poll::Ready(delivered);
            }
            if is_uploading && let Poll::Ready(failure) = upload.as_mut().poll(context) {
                // The endpoint may have answered early and closed: the response decides.
                is_uploading = false;
                if let Some(flag) = failure {
                    return Poll::Ready(Err(flag));
                }
            }
            while expiry.poll(context).is_ready() {
                let side = marks.waits_for();
                if deadline.is_over_for(side) {
                    return Poll::Ready(Err(side.timeout_flag()));
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Marks {
    /// Whoever has to do something before anything can move.
    fn waits_for(&self) -> Side {
        let is_sending = self.sent.get().is_none() && !self.awaits_continue.get();
        let is_client = self.download_waits_for.get() == Side::Client
            || (is_sending && self.upload_waits_for.get() == Side::Client);
        if is_client {
            Side::Client
        } else {
            Side::Upstream
        }
    }
}

/// How a failed upload ends the exchange; `None` where the response may still come.
fn upload_failure(failure: &RelayError, marks: &Marks) -> Option<Flag> {
    match failure {
        RelayError::Write => None,
        RelayError::Malformed(malformed) => {
            marks.malformed.set(Some(*malformed));
            Some(Flag::BadRequest)
        }
        RelayError::Read(_) | RelayError::Ended => Some(Flag::ClientGone),
    }
}

/// Reads ahead, as far as the buffer goes, only to see the client leave.
async fn wait_until_gone(buffer: &mut Buffer, reader: &mut (impl AsyncRead + Unpin)) -> Flag {
    loop {
        match buffer.fill(reader).await {
            Ok(read) if read > 0 => {}
            Err(err) if err.kind() == io::ErrorKind::StorageFull => pending().await,
            _ => return Flag::ClientGone,
        }
    }
}

/// The deadline of the whole exchange: it moves whenever a byte does. How far depends on who is
/// waited for when it comes, which is not known before.
struct Deadline<'a> {
    /// The earliest that it can be.
    at: &'a Cell<Instant>,
    moved: Cell<Instant>,
    response_timeout: Duration,
}

impl<'a> Deadline<'a> {
    fn new(at: &'a Cell<Instant>, response_timeout: Duration, now: Instant) -> Self {
        let new = Self {
            at,
            moved: Cell::new(now),
            response_timeout,
        };
        new.extend_from(now);
        new
    }

    /// To be called when something moved; returns the time.
    fn extend(&self) -> Instant {
        let now = Instant::now();
        self.extend_from(now);
        now
    }

    fn extend_from(&self, now: Instant) {
        self.moved.set(now);
        let soonest = self.response_timeout.min(DOWNSTREAM_STALL_TIMEOUT);
        self.at.set(now + soonest);
    }

    /// Whether it has really come; if not, it is moved to where it is.
    fn is_over_for(&self, side: Side) -> bool {
        let allowed = match side {
            Side::Client => DOWNSTREAM_STALL_TIMEOUT,
            Side::Upstream => self.response_timeout,
        };
        let at = self.moved.get() + allowed;
        self.at.set(at);
        at <= Instant::now()
    }
}

/// The response's way: head, perhaps interim heads before it, body.
struct Download<'a> {
    request: &'a RequestHead,
    response: &'a mut ResponseHead,
    buffer: &'a mut Buffer,
    out: &'a mut Vec<u8>,
    is_draining: &'a Cell<bool>,
    marks: &'a Marks,
    deadline: &'a Deadline<'a>,
}

impl Download<'_> {
    async fn run(
        mut self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
    ) -> Result<Delivered, Flag> {
        for _ in 0..=INTERIM_RESPONSES_MAX {
            self.read_head(&mut reader).await?;
            match self.response.status {
                // We never ask for an upgrade, so nobody may grant one.
                101 => return Err(Flag::UpstreamProtocolError),
                100..200 => self.pass_interim(&mut writer).await?,
                _ => return self.deliver(reader, writer).await,
            }
        }
        Err(Flag::UpstreamProtocolError)
    }

    async fn read_head(&mut self, reader: &mut (impl AsyncRead + Unpin)) -> Result<(), Flag> {
        loop {
            let parsed = parse_response(self.buffer.unread(), self.request.method, self.response);
            match parsed.map_err(|_| Flag::UpstreamProtocolError)? {
                Parsed::Complete { head_bytes } => {
                    self.buffer.consume(head_bytes);
                    return Ok(());
                }
                Parsed::Incomplete => {}
            }
            match self.buffer.fill(reader).await {
                Ok(0) => return Err(Flag::UpstreamClosed),
                Ok(_) => {}
                Err(err) => return Err(read_flag(&err)),
            }
            let now = self.deadline.extend();
            if self.marks.first_byte.get().is_none() {
                self.marks.first_byte.set(Some(now));
            }
        }
    }

    async fn pass_interim(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> Result<(), Flag> {
        if self.request.version == Version::Http10 {
            return Ok(()); // RFC 9110, section 15.2: an HTTP/1.0 client must not get one.
        }
        self.marks.awaits_continue.set(false);
        encode_interim(self.out, self.response);
        self.marks.download_waits_for.set(Side::Client);
        writer
            .write_all(self.out)
            .await
            .map_err(|_| Flag::ClientGone)?;
        self.marks.download_waits_for.set(Side::Upstream);
        self.out.clear();
        Ok(())
    }

    async fn deliver(
        self,
        mut reader: impl AsyncRead + Unpin,
        writer: impl AsyncWrite + Unpin,
    ) -> Result<Delivered, Flag> {
        let marks = self.marks;
        let reply = Reply::to(self.request, self.response, !self.is_draining.get());
        marks.status.set(self.response.status);
        encode_response(self.out, self.request, self.response, reply);
        marks.first_response.set(Some(self.deadline.extend()));
        let relay = Relay {
            body: BodyDecoder::new(self.response.framing),
            framing: reply.framing,
            buffer: &mut *self.buffer,
            out: self.out,
            moved: &marks.response_body_bytes,
            waits_for: &marks.download_waits_for,
            reader_side: Side::Upstream,
            deadline: self.deadline,
        };
        relay
            .run(&mut reader, writer)
            .await
            .map_err(|failure| match failure {
                RelayError::Write => Flag::ClientGone,
                RelayError::Malformed(_) => Flag::UpstreamProtocolError,
                RelayError::Ended => Flag::UpstreamClosed,
                RelayError::Read(err) => read_flag(&err),
            })?;
        let is_request_done = marks.sent.get().is_some();
        Ok(Delivered {
            keep_client: reply.keep_alive && is_request_done,
            // Bytes behind the response answer a question that nobody asked.
            keep_upstream: self.response.keep_alive && is_request_done && self.buffer.is_empty(),
        })
    }
}

fn read_flag(err: &io::Error) -> Flag {
    match err.kind() {
        // The codec refuses a head that fills the buffer before it is full; this is the net.
        io::ErrorKind::StorageFull => Flag::UpstreamProtocolError,
        _ => Flag::UpstreamReset,
    }
}

/// Moves one body from a reader to a writer, framed anew.
struct Relay<'a> {
    body: BodyDecoder,
    /// How the body is framed for the writer.
    framing: Framing,
    /// What was read and not yet decoded.
    buffer: &'a mut Buffer,
    /// What is to be written; begins with the head.
    out: &'a mut Vec<u8>,
    /// Counts the body's bytes, without framing.
    moved: &'a Cell<u64>,
    waits_for: &'a Cell<Side>,
    reader_side: Side,
    deadline: &'a Deadline<'a>,
}

enum RelayError {
    Read(io::Error),
    /// The stream ended before the body did.
    Ended,
    Malformed(Malformed),
    Write,
}

impl Relay<'_> {
    async fn run(
        mut self,
        reader: &mut (impl AsyncRead + Unpin),
        mut writer: impl AsyncWrite + Unpin,
    ) -> Result<(), RelayError> {
        loop {
            self.take_buffered(&mut writer).await?;
            if self.body.is_done() && self.framing == Framing::Chunked {
                encode::last_chunk(self.out);
            }
            self.flush(&mut writer).await?;
            if self.body.is_done() {
                return Ok(());
            }
            self.fill(reader).await?;
        }
    }

    /// Encodes all of the body that was read.
    async fn take_buffered(
        &mut self,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), RelayError> {
        while !self.body.is_done() && !self.buffer.is_empty() {
            let unread = self.buffer.unread();
            let step = self.body.decode(unread).map_err(RelayError::Malformed)?;
            if step.consumed == 0 {
                break; // Part of a chunk's size: more must come.
            }
            let data = &unread[step.data];
            self.moved.set(self.moved.get() + data.len() as u64);
            if self.framing == Framing::Chunked {
                encode::chunk(self.out, data);
            } else if data.len() <= COALESCE_BYTES_MAX {
                self.out.extend_from_slice(data);
            } else {
                self.write(writer, self.out).await?;
                self.out.clear();
                self.write(writer, data).await?;
            }
            self.buffer.consume(step.consumed);
        }
        Ok(())
    }

    async fn flush(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> Result<(), RelayError> {
        self.write(writer, self.out).await?;
        self.out.clear();
        writer.flush().await.map_err(|_| RelayError::Write)
    }

    /// Writes all of `bytes`. A writer that takes them at once, as nearly all do, costs no look at
    /// the clock.
    async fn write(
        &self,
        writer: &mut (impl AsyncWrite + Unpin),
        mut bytes: &[u8],
    ) -> Result<(), RelayError> {
        self.waits_for.set(self.reader_side.other());
        while !bytes.is_empty() {
            let mut has_waited = false;
            let written = poll_fn(|context| {
                let polled = Pin::new(&mut *writer).poll_write(context, bytes);
                has_waited |= polled.is_pending();
                polled
            });
            match written.await {
                Err(_) | Ok(0) => return Err(RelayError::Write),
                Ok(written) => bytes = &bytes[written..],
            }
            if has_waited {
                self.deadline.extend();
            }
        }
        self.waits_for.set(self.reader_side);
        Ok(())
    }

    async fn fill(&mut self, reader: &mut (impl AsyncRead + Unpin)) -> Result<(), RelayError> {
        if self
            .body
            .remaining()
            .is_none_or(|left| left > COALESCE_BYTES_MAX as u64)
        {
            self.buffer.grow_for_body();
        }
        let read = self.buffer.fill(reader).await.map_err(RelayError::Read)?;
        self.deadline.extend();
        if read == 0 {
            // Fine for a body that ends with its connection, and only for that.
            self.body.end_of_input().map_err(|_| RelayError::Ended)?;
        }
        Ok(())
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }

    /// What it is called when this side was waited for in vain.
    fn timeout_flag(self) -> Flag {
        match self {
            Self::Client => Flag::ClientTimeout,
            Self::Upstream => Flag::UpstreamTimeout,
        }
    }
}
