//! Moves one body from its source to its sink.

use std::cell::{Cell, RefCell};
use std::io;

use super::{Gone, ReadError, Sink, Source};
use crate::http1::Malformed;
use crate::pace::Pace;
use crate::splice::Pipe;
use crate::table::HeaderEdits;
use crate::websocket::Frames;

/// One direction of an exchange.
pub struct Relay<'a, 's> {
    pub source: &'a mut Source<'s>,
    pub sink: &'a mut Sink<'s>,
    /// Counts the body's bytes, without framing.
    pub moved: &'a Cell<u64>,
    /// No more than that many of them.
    pub bytes_max: u64,
    /// Whose fields must not come back as trailers.
    pub edits: Option<&'a HeaderEdits>,
    /// Looks at the bytes of a `WebSocket` connection.
    pub frames: Option<&'a RefCell<Frames>>,
    pub pace: &'a Pace<'a>,
    /// To be told what is waited for.
    pub waits: &'a dyn Fn(Waiting),
}

/// What one direction waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// More of the body.
    Source,
    /// The other side to take it.
    Sink,
    /// The other side to take the end of it.
    LastOfSink,
}

/// Why a body was not moved to its end.
#[derive(Debug)]
pub enum RelayError {
    /// The source failed.
    Read(ReadError),
    /// The body is longer than it may be.
    TooLarge,
    /// The sink failed.
    Write,
}

impl From<Gone> for RelayError {
    fn from(_: Gone) -> Self {
        Self::Write
    }
}

impl Relay<'_, '_> {
    /// Runs to the end of the body. All that has arrived is put before anything is sent, so that
    /// a head and a small body leave together.
    pub async fn run(mut self) -> Result<(), RelayError> {
        let pace = self.pace;
        let mut may_splice = self.frames.is_none();
        loop {
            (self.waits)(Waiting::Sink);
            while let Some(piece) = self.source.next().map_err(RelayError::Read)? {
                let moved = self.moved.get() + piece.len() as u64;
                if moved > self.bytes_max {
                    return Err(RelayError::TooLarge);
                }
                self.moved.set(moved);
                if let Some(frames) = self.frames {
                    frames.borrow_mut().pass(piece);
                }
                self.sink.put(piece, pace).await?;
            }
            if self.source.is_done() {
                self.check_trailers()?;
                (self.waits)(Waiting::LastOfSink);
                return Ok(self.sink.end(self.source.trailers(), pace).await?);
            }
            self.sink.flush(pace).await?;
            if may_splice {
                may_splice = self.splice().await?;
            }
            (self.waits)(Waiting::Source);
            self.source.fill().await.map_err(RelayError::Read)?;
            pace.moved();
        }
    }

    /// A field that the policy leaves out of a head does not pass behind the body: some servers take
    /// trailers for fields of the head.
    fn check_trailers(&self) -> Result<(), RelayError> {
        let (Some(edits), Some(trailers)) = (self.edits, self.source.trailers()) else {
            return Ok(());
        };
        if trailers.iter().any(|field| edits.drops(field.name)) {
            return Err(RelayError::Read(ReadError::Malformed(
                Malformed::TrailerForbidden,
            )));
        }
        Ok(())
    }

    /// Has the kernel move what is far from the end of a long body, where nobody has to look at it.
    /// Returns whether that may be tried again.
    async fn splice(&mut self) -> Result<bool, RelayError> {
        let (Source::Http1(source), Sink::Http1(sink)) = (&mut *self.source, &mut *self.sink)
        else {
            return Ok(false);
        };
        let end = self.moved.get() + source.unseen();
        if end == self.moved.get() || end > self.bytes_max || !sink.is_verbatim() {
            return Ok(true);
        }
        let Some(mut pipe) = Pipe::take() else {
            return Ok(false);
        };
        while self.moved.get() < end {
            (self.waits)(Waiting::Source);
            let filled = source.fill_pipe(&mut pipe, end - self.moved.get()).await;
            let filled = match filled {
                Ok(0) => return Err(RelayError::Read(ReadError::Ended)),
                Ok(filled) => filled,
                Err(err) if is_refusal(&err) => return Ok(false),
                Err(err) => return Err(RelayError::Read(ReadError::Io(err))),
            };
            self.pace.moved();
            self.moved.set(self.moved.get() + filled as u64);
            (self.waits)(Waiting::Sink);
            sink.pour(&mut pipe, self.pace).await?;
        }
        Ok(true)
    }
}

/// Whether the kernel, or a sandbox, does not do it at all.
fn is_refusal(err: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(err.kind(), InvalidInput | PermissionDenied | Unsupported)
}
