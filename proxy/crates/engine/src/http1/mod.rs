//! A strict HTTP/1.1 codec without I/O: bytes in; heads, body data and bytes out.
//!
//! Rules:
//! - What is ambiguous is refused; what is forwarded is written anew from what was understood.
//! - httparse splits a head into its parts; everything that it is lenient about is checked here.
//! - Nothing panics, whatever the bytes; nothing allocates once the buffers have grown.
//!
//! Sources: RFC 9110 (semantics), RFC 9112 (HTTP/1.1). Where this is stricter than they ask for,
//! the place says why.

mod authority;
mod body;
mod body_table;
pub mod encode;
mod framing;
mod head;
mod malformed;
mod request;
mod response;
mod target;

pub(crate) use authority::is_authority;
pub use body::{BodyDecoder, Step};
pub use malformed::Malformed;
pub use request::parse_request;
pub use response::parse_response;
pub(crate) use target::check_path;

/// What a buffer holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// The beginning of a head, or nothing; read more and parse again from the same start.
    Incomplete,
    /// A head of that many bytes; the body starts after them.
    Complete {
        /// Length of the head, with the empty line before and after it.
        head_bytes: usize,
    },
}
