//! Bodies of HTTP/1: a decoder over a read buffer, and framing into a write buffer.

use std::future::{pending, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{Gone, ReadError};
use crate::buffer::Buffer;
use crate::http1::{BodyDecoder, Malformed, encode};
use crate::limits::{
    COALESCE_BYTES_MAX, DELIVERY_ASKED_BYTES_MAX, SPLICE_BYTES_MIN, SPLICE_TAIL_BYTES,
};
use crate::message::{Fields, Framing};
use crate::pace::Pace;
use crate::socket::Ask;
use crate::splice::Pipe;
use crate::stream::{End, Shared};

/// A body that is read from a connection.
pub struct Http1Source<'a> {
    pub(crate) stream: &'a Shared,
    /// Bytes that were read; what follows the body stays in it.
    pub(crate) buffer: &'a mut Buffer,
    body: BodyDecoder,
    /// How many bytes of the buffer the last piece was made of.
    lent: usize,
}

impl<'a> Http1Source<'a> {
    /// A body whose first bytes are in `buffer`.
    pub fn new(stream: &'a Shared, buffer: &'a mut Buffer, framing: Framing) -> Self {
        Self {
            stream,
            buffer,
            body: BodyDecoder::new(framing),
            lent: 0,
        }
    }

    /// Begins a body in place of this one.
    pub fn begin(&mut self, framing: Framing) {
        self.body = BodyDecoder::new(framing);
    }

    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Malformed> {
        self.buffer.consume(std::mem::take(&mut self.lent));
        while !self.body.is_done() && !self.buffer.is_empty() {
            let step = self.body.decode(self.buffer.unread())?;
            if step.consumed == 0 {
                break; // Part of a chunk's size: more must come.
            }
            if step.data.is_empty() {
                self.buffer.consume(step.consumed);
                continue;
            }
            self.lent = step.consumed;
            return Ok(self.buffer.unread().get(step.data));
        }
        Ok(None)
    }

    pub(super) fn is_done(&self) -> bool {
        self.body.is_done()
    }

    pub(super) fn trailers(&self) -> Option<&Fields> {
        self.body.trailers()
    }

    /// Moves up to `bytes` of the body into an empty pipe; fewer than are left.
    pub(super) async fn fill_pipe(&mut self, pipe: &mut Pipe, bytes: u64) -> io::Result<usize> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let filled = poll_fn(|context| {
            let stream = self.stream;
            stream.with_socket(|socket| socket.poll_fill(context, pipe, bytes))
        });
        let filled = filled.await?;
        self.body.skip(filled as u64);
        Ok(filled)
    }

    /// How much of the body need not be looked at on its way; 0 where all of it has to be.
    pub(super) fn unseen(&self) -> u64 {
        let is_plain = !self.stream.is_tls() && self.buffer.is_empty();
        match self.body.remaining() {
            Some(left) if left >= SPLICE_BYTES_MIN && is_plain => left - SPLICE_TAIL_BYTES,
            _ => 0,
        }
    }

    pub(super) async fn fill(&mut self) -> Result<(), ReadError> {
        if self.read().await.map_err(ReadError::Io)? == 0 {
            // Fine for a body that ends with its connection, and only for that.
            self.body.end_of_input().map_err(|_| ReadError::Ended)?;
        }
        Ok(())
    }

    /// Reads ahead, as far as the buffer goes, only to see the other side leave. The end of what it
    /// sends is that, unless it has said that it would send nothing more (RFC 9112, section 9.6), or has
    /// sent its next requests already and waits for all answers.
    pub(super) async fn gone(&mut self) {
        loop {
            match self.read().await {
                Ok(0) if self.stream.is_last.get() || !self.buffer.is_empty() => {
                    self.stream.reset().await;
                    return self.stream.ended.set(Some(End::Reset));
                }
                Ok(read) if read > 0 => {}
                Err(err) if err.kind() == io::ErrorKind::StorageFull => pending().await,
                _ => return,
            }
        }
    }

    /// Reads once, and notes the end.
    async fn read(&mut self) -> io::Result<usize> {
        let read = self.buffer.fill(self.stream).await;
        let end = match &read {
            Ok(0) => End::Closed,
            // TLS that was not ended (RFC 8446, section 6.1), by whose doing is not known.
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => End::Closed,
            Err(err) if err.kind() != io::ErrorKind::StorageFull => End::Reset,
            _ => return read,
        };
        self.stream.ended.set(Some(end));
        read
    }

    pub(super) fn open_tunnel(&mut self) {
        self.begin(Framing::UntilClose);
    }
}

/// A body that is written to a connection, behind a head that was encoded already.
pub struct Http1Sink<'a> {
    stream: &'a Shared,
    /// What is to be written; begins with the head.
    pub(crate) out: &'a mut Vec<u8>,
    framing: Framing,
    /// What is left of a body whose length is known.
    left: u64,
    /// What the kernel is asked about, when the end comes near.
    asks: Ask,
    /// How long the connection took nothing.
    pub(super) waited: Duration,
    /// The end of the body is the end of what is sent on the connection.
    is_tunnel: bool,
}

impl<'a> Http1Sink<'a> {
    /// A body that is framed so.
    pub fn new(stream: &'a Shared, out: &'a mut Vec<u8>, framing: Framing) -> Self {
        Self {
            stream,
            out,
            framing,
            left: length(framing),
            asks: Ask::Nothing,
            waited: Duration::ZERO,
            is_tunnel: false,
        }
    }

    /// The same on a connection that the kernel observes.
    #[must_use]
    pub fn asking(self, asks: Ask) -> Self {
        Self { asks, ..self }
    }

    /// Frames what follows so.
    pub fn frame(&mut self, framing: Framing) {
        self.stream.ends_message.set(framing == Framing::UntilClose);
        self.framing = framing;
        self.left = length(framing);
    }

    pub(super) async fn put(&mut self, piece: &[u8], pace: &Pace<'_>) -> Result<(), Gone> {
        if self.framing == Framing::Chunked {
            encode::chunk(self.out, piece);
        } else if piece.len() <= COALESCE_BYTES_MAX {
            self.left = self.left.saturating_sub(piece.len() as u64);
            self.out.extend_from_slice(piece);
        } else {
            self.left = self.left.saturating_sub(piece.len() as u64);
            self.ask_near_end();
            self.waited += write_all(self.stream, [self.out, piece], pace).await?;
            self.out.clear();
        }
        Ok(())
    }

    /// Whether the body's bytes are what is written to the socket.
    pub(super) fn is_verbatim(&self) -> bool {
        matches!(self.framing, Framing::Length(_)) && !self.stream.is_tls() && self.out.is_empty()
    }

    /// Sends what is in a pipe.
    pub(super) async fn pour(&mut self, pipe: &mut Pipe, pace: &Pace<'_>) -> Result<(), Gone> {
        while pipe.held() > 0 {
            let poll = |context: &mut Context<'_>| {
                let stream = self.stream;
                stream.with_socket(|socket| socket.poll_pour(context, pipe))
            };
            let (poured, waited) = timed(poll, pace).await;
            self.waited += waited;
            match poured {
                Err(_) | Ok(0) => return Err(gone(self.stream)),
                Ok(poured) => self.left = self.left.saturating_sub(poured as u64),
            }
        }
        Ok(())
    }

    pub(super) async fn flush(&mut self, pace: &Pace<'_>) -> Result<(), Gone> {
        if self.asks == Ask::Most {
            self.ask_near_end();
        }
        self.waited += write_all(self.stream, [self.out, &[]], pace).await?;
        self.out.clear();
        (&mut &*self.stream).flush().await.map_err(|_| Gone)
    }

    pub(super) async fn end(
        &mut self,
        trailers: Option<&Fields>,
        pace: &Pace<'_>,
    ) -> Result<(), Gone> {
        if self.framing == Framing::Chunked {
            encode::last_chunk(self.out, trailers);
        }
        self.ask(self.asks);
        self.flush(pace).await?;
        self.ask(Ask::Nothing);
        if self.is_tunnel {
            // The other side may have closed already, which is the same to us.
            drop((&mut &*self.stream).shutdown().await);
        }
        Ok(())
    }

    /// A body whose length is not known is asked about at its end alone.
    fn ask_near_end(&self) {
        let is_near = match self.asks {
            Ask::Nothing => false,
            Ask::Last => self.left == 0,
            Ask::Most => self.left < DELIVERY_ASKED_BYTES_MAX,
        };
        if is_near {
            self.ask(self.asks);
        }
    }

    fn ask(&self, asking: Ask) {
        if self.asks != Ask::Nothing {
            self.stream.with_socket(|socket| socket.ask(asking));
        }
    }

    pub(super) fn open_tunnel(&mut self) {
        self.framing = Framing::UntilClose;
        self.is_tunnel = true;
    }
}

/// The bytes of a body, where they are known; else more than there can be.
fn length(framing: Framing) -> u64 {
    match framing {
        Framing::Length(bytes) => bytes,
        _ => u64::MAX,
    }
}

/// Writes all of both, with one system call where the stream takes them at once, as nearly all do.
/// Returns how long it had to wait.
async fn write_all(
    mut stream: &Shared,
    [mut first, mut second]: [&[u8]; 2],
    pace: &Pace<'_>,
) -> Result<Duration, Gone> {
    let mut waited = Duration::ZERO;
    while !(first.is_empty() && second.is_empty()) {
        let poll = |context: &mut Context<'_>| {
            let stream = Pin::new(&mut stream);
            match (first, second) {
                (bytes, []) | ([], bytes) => stream.poll_write(context, bytes),
                (first, second) => {
                    let both = [IoSlice::new(first), IoSlice::new(second)];
                    stream.poll_write_vectored(context, &both)
                }
            }
        };
        let (written, this_time) = timed(poll, pace).await;
        waited += this_time;
        let written = match written {
            Err(_) | Ok(0) => return Err(gone(stream)),
            Ok(written) => written,
        };
        let of_first = written.min(first.len());
        (first, second) = (&first[of_first..], &second[written - of_first..]);
    }
    Ok(waited)
}

/// Whoever takes nothing more is not there any more.
fn gone(stream: &Shared) -> Gone {
    stream.ended.set(Some(End::Reset));
    Gone
}

/// Returns what is polled for, and how long that took; where it is there at once, that costs no look
/// at the clock.
async fn timed<T>(
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    pace: &Pace<'_>,
) -> (T, Duration) {
    let mut has_waited = false;
    let done = poll_fn(|context| {
        let polled = poll(context);
        has_waited |= polled.is_pending();
        polled
    });
    let done = done.await;
    if !has_waited {
        return (done, Duration::ZERO);
    }
    let before = pace.last_moved();
    (done, pace.moved().saturating_duration_since(before))
}
