//! Trace context in, spans out: what one request leaves behind as a record.
//!
//! Rules: nothing here allocates per request.

pub mod attribute;
pub mod clock;
pub mod context;
pub mod id;
pub mod sampler;

pub use clock::{Anchor, Clock};
pub use id::{Ids, SpanId, TraceId};
pub use sampler::{Decision, Sampler};
