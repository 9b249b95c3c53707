//! The head of an endpoint's response, as each version of HTTP has it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use h2::RecvStream;

use super::http2::is_unprocessed;
use crate::body::{Http1Source, Http2Source, ReadError, Source};
use crate::exchange::Marks;
use crate::http1::{Malformed, Parsed, parse_response};
use crate::message::{Fields, Framing, Method, Name, RequestHead, ResponseHead, Version};
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
        Source::Http2(source) => read_http2(source, request, response, marks, pace).await,
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
            Flag::UpstreamHeadTooLarge
        }
        // An endpoint that wants another certificate says so after our side of the handshake.
        ReadError::Io(err) if is_tls(err) => Flag::UpstreamTls,
        ReadError::Io(_) => Flag::UpstreamReset,
    }
}

async fn read_http2(
    source: &mut Http2Source<'_>,
    request: &RequestHead,
    response: &mut ResponseHead,
    marks: &Marks,
    pace: &Pace<'_>,
) -> Result<(), Flag> {
    let future = source.answer.as_mut().ok_or(Flag::Internal)?;
    let next = poll_fn(|context| match future.poll_informational(context) {
        Poll::Ready(Some(interim)) => Poll::Ready(interim.map(|head| head.map(|()| None))),
        Poll::Ready(None) | Poll::Pending => {
            let answer = Pin::new(&mut *future).poll(context);
            answer.map_ok(|head| head.map(Some))
        }
    });
    let (head, receive) = match next.await {
        Ok(head) => head.into_parts(),
        Err(err) => {
            marks.is_unprocessed.set(is_unprocessed(&err));
            return Err(if err.is_io() {
                Flag::UpstreamClosed
            } else {
                Flag::UpstreamReset
            });
        }
    };
    let now = pace.moved();
    if marks.first_byte.get().is_none() {
        marks.first_byte.set(Some(now));
        pace.answered();
    }
    let is_over = receive.as_ref().is_some_and(RecvStream::is_end_stream);
    fill(response, &head, request, is_over)?;
    if let Some(receive) = receive {
        source.begin(receive, response.framing);
    }
    Ok(())
}

/// Makes the head that HTTP/1 has for this response.
fn fill(
    response: &mut ResponseHead,
    head: &http::response::Parts,
    request: &RequestHead,
    is_over: bool,
) -> Result<(), Flag> {
    response.fields.clear();
    for (name, value) in &head.headers {
        response
            .fields
            .push(name.as_str().as_bytes(), value.as_bytes());
    }
    response.version = Version::Http2;
    response.status = head.status.as_u16();
    response.keep_alive = true;
    response.reason = <_>::default();
    response.content_length = content_length(&response.fields)?;
    let is_bodiless =
        matches!(response.status, 100..=199 | 204 | 304) || request.method == Method::Head;
    response.framing = match response.content_length {
        _ if is_bodiless => Framing::None,
        Some(bytes) => Framing::Length(bytes),
        None if is_over => Framing::Length(0),
        None => Framing::UntilClose,
    };
    Ok(())
}

/// RFC 9110, section 8.6: digits, once.
fn content_length(fields: &Fields) -> Result<Option<u64>, Flag> {
    let mut values = fields.get_all(Name::ContentLength);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let digits = Some(value).filter(|value| value.iter().all(u8::is_ascii_digit));
    let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    match (number, values.next()) {
        (Some(number), None) => Ok(Some(number)),
        _ => Err(Flag::UpstreamProtocolError),
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
        match parsed.map_err(malformed)? {
            Parsed::Complete { head_bytes } => {
                source.buffer.consume(head_bytes);
                source.begin(response.framing);
                return Ok(());
            }
            Parsed::Incomplete => {}
        }
        match source.buffer.fill(source.stream).await {
            Ok(0) => return Err(Flag::UpstreamClosed),
            Ok(_) => {}
            Err(err) => return Err(failure(&ReadError::Io(err))),
        }
        let now = pace.moved();
        if marks.first_byte.get().is_none() {
            marks.first_byte.set(Some(now));
            let arrived = source.stream.with_socket(|socket| socket.arrived(now));
            marks.arrived.set(arrived);
            pace.answered();
        }
    }
}

fn malformed(rule: Malformed) -> Flag {
    match rule {
        Malformed::RequestLineLength | Malformed::HeadLength | Malformed::FieldCount => {
            Flag::UpstreamHeadTooLarge
        }
        _ => Flag::UpstreamProtocolError,
    }
}

fn is_tls(err: &std::io::Error) -> bool {
    let source = err.get_ref();
    source.is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
}
