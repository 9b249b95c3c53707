//! The head of an endpoint's response, as each version of HTTP has it.

use crate::body::{Http1Source, ReadError, Source};
use crate::exchange::Marks;
use crate::http1::{Parsed, parse_response};
use crate::message::{RequestHead, ResponseHead};
use crate::pace::Pace;
use crate::trace::Flag;

/// Reads the next head into `response`: an interim one or the final one, whose body then follows.
///
/// # Errors
/// Why there is none; the connection must be closed.
pub async fn read_head(
    source: &mut Source<'_>,
    request: &RequestHead,
    response: &mut ResponseHead,
    marks: &Marks,
    pace: &Pace<'_>,
) -> Result<(), Flag> {
    match source {
        Source::Http1(source) => read_http1(source, request, response, marks, pace).await,
        // No endpoint speaks it yet.
        Source::Http2(_) => Err(Flag::Internal),
    }
}

/// Whether the connection can serve another request: bytes behind the response would answer a
/// question that nobody asked.
pub fn is_over(source: &Source<'_>, response: &ResponseHead) -> bool {
    match source {
        Source::Http1(source) => response.keep_alive && source.buffer.is_empty(),
        Source::Http2(_) => true,
    }
}

/// What it means for the request that its response cannot be read on.
pub fn failure(error: &ReadError) -> Flag {
    match error {
        ReadError::Malformed(_) => Flag::UpstreamProtocolError,
        ReadError::Ended => Flag::UpstreamClosed,
        // The codec refuses a head that fills the buffer before it is full; this is the net.
        ReadError::Io(err) if err.kind() == std::io::ErrorKind::StorageFull => {
            Flag::UpstreamProtocolError
        }
        ReadError::Io(_) => Flag::UpstreamReset,
    }
}

async fn read_http1(
    source: &mut Http1Source<'_>,
    request: &RequestHead,
    response: &mut ResponseHead,
    marks: &Marks,
    pace: &Pace<'_>,
) -> Result<(), Flag> {
    loop {
        let parsed = parse_response(source.buffer.unread(), request.method, response);
        match parsed.map_err(|_| Flag::UpstreamProtocolError)? {
            Parsed::Complete { head_bytes } => {
                source.buffer.consume(head_bytes);
                source.begin(response.framing);
                return Ok(());
            }
            Parsed::Incomplete => {}
        }
        match source.buffer.fill(&mut &*source.stream).await {
            Ok(0) => return Err(Flag::UpstreamClosed),
            Ok(_) => {}
            Err(err) => return Err(failure(&ReadError::Io(err))),
        }
        let now = pace.moved();
        if marks.first_byte.get().is_none() {
            marks.first_byte.set(Some(now));
            pace.answered();
        }
    }
}
