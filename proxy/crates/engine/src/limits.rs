//! Every bound of the engine in one place: a unit, the precedent for the value, and what happens
//! when it is reached.

/// Start line and fields of a request together, with their line ends. Over it: 431.
///
/// nginx allows 4 x 8 KiB, Envoy 60 KiB.
pub const REQUEST_HEAD_BYTES_MAX: usize = 64 * 1024;

/// Method, target and version with the line end. Over it: 414.
///
/// RFC 9112 section 3 asks for at least 8000; nginx allows 8 KiB; `HAProxy` and Node 16 KiB for the
/// whole head.
pub const REQUEST_LINE_BYTES_MAX: usize = 16 * 1024;

/// A method's name. Over it: 501, which RFC 9112 section 3 asks for.
///
/// The longest registered one, UPDATEREDIRECTREF, has 17 bytes.
pub const METHOD_BYTES_MAX: usize = 32;

/// Status line and fields of a response together. Over it the upstream is at fault: 502.
///
/// Envoy takes 60 KiB from upstream; ingress-nginx users raise `proxy-buffer-size` to 16 or 32 KiB.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 64 * 1024;

/// Fields of one head. Over it: 431 for a request, 502 for a response.
///
/// Envoy and Apache httpd allow 100.
pub const HEAD_FIELDS_MAX: usize = 100;

/// A host without its port. Over it: 400.
///
/// A name in the DNS has at most 253 characters (RFC 1035 section 2.3.4, written with dots).
pub const HOST_BYTES_MAX: usize = 253;

/// The extensions of one chunk; they are validated and dropped. Over it: 400.
///
/// Go allows 4 KiB a line, but also counts them over the whole body; nobody sends any.
pub const CHUNK_EXTENSION_BYTES_MAX: u32 = 256;

/// The extensions of all chunks of one body, so that a body is not made of them. Over it: 400.
///
/// Go closes when they outweigh the data by 16 KiB.
pub const BODY_EXTENSION_BYTES_MAX: u32 = 16 * 1024;

/// The trailer section of one body; it is validated and dropped. Over it: 431.
///
/// nginx allows one field of 8 KiB.
pub const TRAILER_BYTES_MAX: u32 = 8 * 1024;

const _: () = assert!(REQUEST_LINE_BYTES_MAX < REQUEST_HEAD_BYTES_MAX);
// A field's position in its head is kept as 32 bits.
const _: () = assert!(REQUEST_HEAD_BYTES_MAX < u32::MAX as usize / 2);
const _: () = assert!(RESPONSE_HEAD_BYTES_MAX < u32::MAX as usize / 2);
