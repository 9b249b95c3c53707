//! Baggage: what an application hands along with a trace, passed on unread within its bounds.
//!
//! Source: <https://www.w3.org/TR/baggage/>.

use crate::limits::{BAGGAGE_BYTES_MAX, BAGGAGE_MEMBERS_MAX};

/// Whether the `baggage` fields of a request are passed on; if not, all are dropped and counted.
///
/// Nothing is parsed: up to its limits the specification asks to pass on what cannot be read, too.
#[must_use]
pub fn is_baggage_kept<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let (mut bytes, mut member_count) = (0_usize, 0_usize);
    for field in fields {
        bytes += field.len() + 1;
        if bytes > BAGGAGE_BYTES_MAX + 1 {
            return false;
        }
        member_count += 1 + memchr::memchr_iter(b',', field).count();
    }
    member_count <= BAGGAGE_MEMBERS_MAX
}

/// Whether a field is baggage of a format other than W3C's: `uberctx-*` and `jaeger-baggage` of
/// Jaeger, `ot-baggage-*` of `OpenTracing`; or `jaeger-debug-id`, which makes an application record.
#[must_use]
pub fn is_foreign_baggage(name: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 4] = [
        b"uberctx-",
        b"ot-baggage-",
        b"jaeger-baggage",
        b"jaeger-debug-id",
    ];
    let begins = |with: &&[u8]| {
        let begin = name.get(..with.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(with))
    };
    BEGINNINGS.iter().any(begins)
}
