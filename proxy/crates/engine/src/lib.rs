//! The data plane of Spanway: bytes in, bytes out, and spans of what happened.
//!
//! A request's life is in `forward.rs`; everything else is a part that it uses. This crate knows
//! nothing of Python or Kubernetes: a table comes in, span batches go out.

#![forbid(unsafe_code)]

pub mod access_log;
mod admission;
mod attempt;
mod body;
mod buffer;
mod downstream;
mod editor;
mod engine;
mod exchange;
mod failure;
mod forward;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gathered;
mod grpc;
mod headers;
mod health;
pub mod http1;
mod instant;
mod ip_text;
pub mod limits;
mod live;
pub mod message;
pub mod metrics;
mod origin;
mod pace;
mod passthrough;
mod propagation;
pub mod proxy_protocol;
mod queueing;
mod retry;
mod server_timing;
mod socket;
mod splice;
mod stable_hash;
mod stats;
mod stream;
pub mod table;
mod timer;
pub mod tls;
pub mod trace;
mod upstream;
mod websocket;
mod worker;

pub use engine::{EndpointHealth, Engine, Explained, Options};
pub use headers::FieldSink;
pub use health::Finding;
pub use instant::Instant;
pub use upstream::{Asker, Balancer, Earlier, Picked};

/// For fuzzing, which has to get at it from outside.
#[doc(hidden)]
pub use downstream::request_text as http2_request_text;
