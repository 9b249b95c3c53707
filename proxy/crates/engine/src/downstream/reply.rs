//! The head of a response, as each version of HTTP tells it to the client.

use crate::body::Sink;
use crate::headers::{Reply, encode_interim, encode_response};
use crate::message::{RequestHead, ResponseHead, Version};

/// Begins a response; it leaves with what follows. Returns whether the client's connection may
/// serve another request after it.
pub fn head(
    sink: &mut Sink<'_>,
    request: &RequestHead,
    response: &ResponseHead,
    may_keep_alive: bool,
) -> bool {
    match sink {
        Sink::Http1(sink) => {
            let reply = Reply::to(request, response, may_keep_alive);
            encode_response(sink.out, request, response, reply);
            sink.frame(reply.framing);
            reply.keep_alive
        }
        // No client speaks it yet.
        Sink::Http2(_) => false,
    }
}

/// Adds an interim response, which the next flush sends.
pub fn interim(sink: &mut Sink<'_>, request: &RequestHead, response: &ResponseHead) {
    match sink {
        // RFC 9110, section 15.2: an HTTP/1.0 client must not get one.
        Sink::Http1(_) if request.version == Version::Http10 => {}
        Sink::Http1(sink) => encode_interim(sink.out, response),
        Sink::Http2(_) => {}
    }
}
