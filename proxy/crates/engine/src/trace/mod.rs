//! Trace context in, spans out: what one request leaves behind as a record.
//!
//! A worker reads the trace context ([`context`]), decides with the [`sampler`], and when the
//! request is over – and sampled, or worth it by its [`tail`] – hands a [`segment::Segment`] to its
//! [`recorder::Recorder`], which appends the
//! spans as OTLP protobuf to a batch. Sealed batches wait in the one [`queue::SpanQueue`].
//!
//! Rules: nothing here does I/O but the queue's wake-up byte; nothing here allocates per request.

pub mod attribute;
pub mod baseline;
pub mod bucket;
mod capture;
pub mod clock;
pub mod connection;
pub mod context;
pub mod debug;
pub mod id;
pub mod net;
mod otlp;
mod phases;
pub mod probability;
pub mod queue;
pub mod recorder;
mod rpc;
pub mod sampler;
pub mod segment;
pub mod tail;
mod timing;
pub mod verdict;

pub use crate::grpc::Status as GrpcStatus;
pub use baseline::Baselines;
pub use clock::{Anchor, Clock};
pub use connection::{Connection, ConnectionAttempt};
pub use context::RemoteParent;
pub use debug::DebugKey;
pub use id::{Ids, SpanId, TraceId};
pub use net::{Net, Observed};
pub use otlp::ends_attributes;
pub use queue::{Batch, SpanQueue};
pub use recorder::{Recorder, Resource};
pub use sampler::{By, Decision, PhaseSpans, TracingPolicy};
pub use segment::{
    Attempt, Balance, Blocked, Call, Choice, Flag, Messages, RetryDenied, Segment, TlsSession,
    Tunnel,
};
pub use timing::{Phases, Timeline};
pub use verdict::{Judgement, Verdict};
