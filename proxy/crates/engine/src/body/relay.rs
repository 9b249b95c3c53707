//! Moves one body from its source to its sink.

use std::cell::{Cell, RefCell};

use super::{Gone, ReadError, Sink, Source};
use crate::pace::Pace;
use crate::websocket::Frames;

/// One direction of an exchange.
pub struct Relay<'a, 's> {
    pub source: &'a mut Source<'s>,
    pub sink: &'a mut Sink<'s>,
    /// Counts the body's bytes, without framing.
    pub moved: &'a Cell<u64>,
    /// No more than that many of them.
    pub bytes_max: u64,
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
    pub async fn run(self) -> Result<(), RelayError> {
        let Self {
            source, sink, pace, ..
        } = self;
        loop {
            (self.waits)(Waiting::Sink);
            while let Some(piece) = source.next().map_err(RelayError::Read)? {
                let moved = self.moved.get() + piece.len() as u64;
                if moved > self.bytes_max {
                    return Err(RelayError::TooLarge);
                }
                self.moved.set(moved);
                if let Some(frames) = self.frames {
                    frames.borrow_mut().pass(piece);
                }
                sink.put(piece, pace).await?;
            }
            if source.is_done() {
                (self.waits)(Waiting::LastOfSink);
                return Ok(sink.end(source.trailers(), pace).await?);
            }
            sink.flush(pace).await?;
            (self.waits)(Waiting::Source);
            source.fill().await.map_err(RelayError::Read)?;
            pace.moved();
        }
    }
}
