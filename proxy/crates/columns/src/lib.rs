//! Spans of OTLP as Arrow columns: what the trace store keeps and queries.
//!
//! In come export requests as they are on the wire, the engine's own and those of applications; out
//! come record batches of one schema ([`schema`]). No span becomes an object on the way.
//!
//! Rules: no I/O, no Python. A request that is malformed adds nothing; a span with an invalid id is
//! refused and counted. Nothing of a span is lost but what is beyond a bound below.

#![forbid(unsafe_code)]

mod any;
mod column;
mod protobuf;
mod recent;
mod request;
pub mod schema;
mod table;

use std::thread;

pub use protobuf::MalformedError;
pub use recent::RECENT_SPANS_MIN;
pub use table::{Added, Columns};

/// Bytes of one text, the JSON of left-over attributes among them; what is longer is cut. Jaeger and
/// Tempo keep 32 KiB at most of one tag, too.
pub const TEXT_BYTES_MAX: usize = 32 * 1024;

/// How deep lists and maps may be nested in an attribute. Protobuf's own parsers stop at 100.
pub const NESTING_MAX: usize = 16;

/// What a number in a column is at most, and a duration in units of 1,024 ns: in microseconds 50 days, in
/// bytes 4 TiB. A larger one, or one below 0, is no measurement, and a million of them could not be added
/// up; it is left among the other attributes. What lasted longer is cut.
pub const NUMBER_MAX: i64 = 1 << 42;

/// A duration, in nanoseconds.
const DURATION_NS_MAX: i64 = NUMBER_MAX << 10;

/// When a span began, so that its end is a time, too: in the year 2262.
const START_NS_MAX: i64 = i64::MAX - DURATION_NS_MAX;

/// Spans that are read, or rows that are filled, at a stretch: some 200 microseconds. Where all cores are
/// busy a turn comes once in some milliseconds, and 20,000 spans a second are to be kept there, too.
const SPANS_A_TURN: usize = 128;
/// Columns that become arrays at a stretch: each has up to thousands of rows.
const COLUMNS_A_TURN: usize = 8;

/// After `done` of what a turn has `of`: whoever else waits for the core has it between two turns. A worker
/// of the proxy that shares it would wait for as long as the scheduler lets a thread go on: milliseconds.
fn let_others_run(done: usize, of: usize) {
    if done.is_multiple_of(of) {
        thread::yield_now();
    }
}
