//! The HTTP/1.1 codec, from the outside: heads, bodies, what is written, hostile requests.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics has failed"
)]

#[path = "http1/body.rs"]
mod body;
#[path = "http1/encode.rs"]
mod encode;
#[path = "../fuzz/src/exchange.rs"]
mod exchange;
#[path = "http1/paths.rs"]
mod paths;
#[path = "http1/request.rs"]
mod request;
#[path = "http1/response.rs"]
mod response;
#[path = "http1/splits.rs"]
mod splits;
#[path = "http1/vectors.rs"]
mod vectors;
