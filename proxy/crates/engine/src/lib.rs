//! The data plane of Spanway: bytes in, bytes out, and spans of what happened.
//!
//! A request's life is in `forward.rs`; everything else is a part that it uses. This crate knows
//! nothing of Python or Kubernetes: a table comes in, span batches go out.

#![forbid(unsafe_code)]

pub mod http1;
pub mod limits;
pub mod message;
pub mod table;
pub mod trace;
