//! What a client is told when a request fails: the one place where a flag becomes a status.

use crate::limits::RETRY_AFTER_S;
use crate::trace::Flag;

/// The status of our response to a request that failed for this reason.
///
/// Source: RFC 9110, section 15. 499, as nginx and Envoy log it, is never sent: nobody is there.
#[must_use]
pub const fn status(flag: Flag) -> u16 {
    match flag {
        Flag::BadRequest => 400,
        Flag::Denied => 403,
        Flag::NoRoute => 404,
        Flag::ClientTimeout => 408,
        Flag::BodyTooLarge => 413,
        Flag::Misdirected => 421,
        Flag::HeadTooLarge => 431,
        Flag::ClientGone => 499,
        Flag::Internal | Flag::BadRewrite => 500,
        Flag::ConnectRefused
        | Flag::ConnectFailed
        | Flag::UpstreamTls
        | Flag::UpstreamReset
        | Flag::UpstreamClosed
        | Flag::UpstreamStatus
        | Flag::UpstreamHeadTooLarge
        | Flag::UpstreamProtocolError => 502,
        Flag::BadPolicy
        | Flag::NoBackend
        | Flag::NoEndpoints
        | Flag::Overload
        | Flag::QueueFull
        | Flag::ConnectionsFull
        | Flag::QueueTimeout
        | Flag::Shutdown => 503,
        Flag::ConnectTimeout | Flag::UpstreamTimeout | Flag::RequestTimeout => 504,
    }
}

/// What a redirect says to who reads it.
pub const MOVED: &str = "the resource is elsewhere";

/// Seconds after which another try is worth while, where the reason is one that passes.
///
/// Source: RFC 9110, section 10.2.3.
#[must_use]
pub const fn retry_after_s(flag: Flag) -> Option<u32> {
    match flag {
        Flag::Overload | Flag::QueueFull | Flag::ConnectionsFull | Flag::QueueTimeout => {
            Some(RETRY_AFTER_S)
        }
        _ => None,
    }
}

/// The same in a sentence. It tells a stranger nothing about the inside; the trace does that.
#[must_use]
pub const fn sentence(flag: Flag) -> &'static str {
    match flag {
        Flag::BadRequest => "the request is malformed",
        Flag::Denied => "this address may not use this route",
        Flag::HeadTooLarge => "the request's head is larger than this route allows",
        Flag::BadPolicy => "the policy of this route cannot be applied",
        Flag::BadRewrite => "the route's rewrite does not make a path of this one",
        Flag::Misdirected => "this host must be asked for over a connection of its own",
        Flag::NoRoute => "no route for this host and path",
        Flag::ClientTimeout => "the request took too long to arrive",
        Flag::BodyTooLarge => "the request's body is larger than this route allows",
        Flag::UpstreamStatus => "the service's endpoints answer that they cannot serve",
        Flag::RequestTimeout => "the request took longer than this route allows",
        Flag::ClientGone => "the client closed the connection",
        Flag::Internal => "the proxy failed; this is a bug",
        Flag::ConnectRefused => "the service's endpoint refused the connection",
        Flag::ConnectFailed => "the service's endpoint could not be reached",
        Flag::UpstreamTls => "the TLS connection to the service's endpoint could not be made",
        Flag::UpstreamReset => "the service's endpoint reset the connection",
        Flag::UpstreamClosed => {
            "the service's endpoint closed the connection before it had answered"
        }
        Flag::UpstreamHeadTooLarge => "the head of the response is larger than is passed on",
        Flag::UpstreamProtocolError => "the service's endpoint sent a malformed response",
        Flag::NoBackend => {
            "the service of this route, its port or its external name cannot be found"
        }
        Flag::NoEndpoints => "the service has no ready endpoint",
        Flag::Overload => "the proxy is at its limit",
        Flag::QueueFull => "the service has no room for the request",
        Flag::ConnectionsFull => "the service's endpoints have no room for another connection",
        Flag::QueueTimeout => "the service had no room for the request in time",
        Flag::Shutdown => "the proxy is shutting down",
        Flag::ConnectTimeout => "the service's endpoint did not accept the connection in time",
        Flag::UpstreamTimeout => "the service's endpoint did not answer in time",
    }
}
