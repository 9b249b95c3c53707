//! The head of a response, as each version of HTTP tells it to the client.

use http::Response;

use crate::body::Sink;
use crate::editor::Editor;
use crate::headers::{self, Reply};
use crate::message::{RequestHead, ResponseHead, Version};

/// Begins a response; it leaves with what follows. Returns whether the client's connection may
/// serve another request after it.
pub fn head(
    sink: &mut Sink<'_>,
    request: &RequestHead,
    response: &ResponseHead,
    may_keep_alive: bool,
    editor: Option<&Editor<'_>>,
) -> bool {
    match sink {
        Sink::Http1(sink) => {
            let reply = Reply::to(request, response, may_keep_alive);
            headers::encode_response(sink.out, request, response, reply, editor);
            sink.frame(reply.framing);
            reply.keep_alive
        }
        Sink::Http2(sink) => {
            sink.head = Some(headers::response(request, response, editor));
            true
        }
    }
}

/// Adds an interim response, which the next flush sends.
pub fn interim(sink: &mut Sink<'_>, request: &RequestHead, response: &ResponseHead) {
    match sink {
        // RFC 9110, section 15.2: an HTTP/1.0 client must not get one.
        Sink::Http1(_) if request.version == Version::Http10 => {}
        Sink::Http1(sink) => headers::encode_interim(sink.out, response),
        Sink::Http2(sink) => sink.interim(headers::interim(response)),
    }
}

/// Tells that the endpoint switched protocols; returns the status that the client gets for it.
pub fn switch(sink: &mut Sink<'_>, response: &ResponseHead) -> u16 {
    match sink {
        Sink::Http1(sink) => {
            headers::encode_interim(sink.out, response);
            response.status
        }
        // RFC 8441, section 5: there it is a success like any other.
        Sink::Http2(sink) => {
            let mut head: Response<()> = headers::interim(response);
            *head.status_mut() = http::StatusCode::OK;
            head.headers_mut()
                .remove(http::header::SEC_WEBSOCKET_ACCEPT);
            sink.head = Some(head);
            200
        }
    }
}
