//! Bodies on their way, the same for every version of HTTP: a source gives pieces, a sink takes
//! them, and [`Relay`] moves one body from the one to the other.
//!
//! Rules: a piece is lent, never kept. When a sink is slow, its source is not read. What a version
//! knows of framing stays in its file.

mod http1;
mod http2;
mod relay;

use std::io;
use std::time::Duration;

pub use http1::{Http1Sink, Http1Source};
pub use http2::{Http2Sink, Http2Source, Http2Stream};
pub use relay::{Relay, RelayError, Waiting};

use crate::http1::Malformed;
use crate::message::Fields;
use crate::pace::Pace;

/// Why a body cannot be read on.
#[derive(Debug)]
pub enum ReadError {
    /// The stream broke.
    Io(io::Error),
    /// The stream ended before the body did.
    Ended,
    /// What came is not a body.
    Malformed(Malformed),
}

/// Whoever is written to takes no more.
#[derive(Debug)]
pub struct Gone;

/// Where a body comes from.
pub enum Source<'a> {
    /// A connection of its own.
    Http1(Http1Source<'a>),
    /// One stream of many on a connection.
    Http2(Http2Source<'a>),
}

impl Source<'_> {
    /// The next piece that is here already. `None`: the body is done, or more must be read.
    pub fn next(&mut self) -> Result<Option<&[u8]>, ReadError> {
        match self {
            Self::Http1(source) => source.next().map_err(ReadError::Malformed),
            Self::Http2(source) => Ok(source.next()),
        }
    }

    /// Whether all of the body was given.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Http1(source) => source.is_done(),
            Self::Http2(source) => source.is_done(),
        }
    }

    /// Reads more.
    pub async fn fill(&mut self) -> Result<(), ReadError> {
        match self {
            Self::Http1(source) => source.fill().await,
            Self::Http2(source) => source.fill().await,
        }
    }

    /// What followed the body, once it is done.
    pub fn trailers(&self) -> Option<&Fields> {
        match self {
            Self::Http1(source) => source.trailers(),
            Self::Http2(source) => source.trailers(),
        }
    }

    /// Returns when whoever sends has left, although the body is done.
    pub async fn gone(&mut self) {
        match self {
            Self::Http1(source) => source.gone().await,
            Self::Http2(source) => source.gone().await,
        }
    }

    /// From here on there is no message any more, only bytes, to the end of the stream.
    pub fn open_tunnel(&mut self) {
        match self {
            Self::Http1(source) => source.open_tunnel(),
            Self::Http2(source) => source.open_tunnel(),
        }
    }
}

/// Where a body goes.
pub enum Sink<'a> {
    /// A connection of its own.
    Http1(Http1Sink<'a>),
    /// One stream of many on a connection.
    Http2(Http2Sink<'a>),
}

impl Sink<'_> {
    /// Takes a piece of the body; it may be held back until [`Sink::flush`] or [`Sink::end`].
    pub async fn put(&mut self, piece: &[u8], pace: &Pace<'_>) -> Result<(), Gone> {
        match self {
            Self::Http1(sink) => sink.put(piece, pace).await,
            Self::Http2(sink) => sink.put(piece, pace).await,
        }
    }

    /// Sends what was held back.
    pub async fn flush(&mut self, pace: &Pace<'_>) -> Result<(), Gone> {
        match self {
            Self::Http1(sink) => sink.flush(pace).await,
            Self::Http2(sink) => sink.flush(pace).await,
        }
    }

    /// Ends the body.
    pub async fn end(&mut self, trailers: Option<&Fields>, pace: &Pace<'_>) -> Result<(), Gone> {
        match self {
            Self::Http1(sink) => sink.end(trailers, pace).await,
            Self::Http2(sink) => sink.end(trailers, pace).await,
        }
    }

    /// How long bytes have waited, all in all, until the other side took them.
    pub fn waited(&self) -> Duration {
        match self {
            Self::Http1(sink) => sink.waited,
            Self::Http2(sink) => sink.waited.get(),
        }
    }

    /// As [`Source::open_tunnel`].
    pub fn open_tunnel(&mut self) {
        match self {
            Self::Http1(sink) => sink.open_tunnel(),
            Self::Http2(_) => {}
        }
    }
}
