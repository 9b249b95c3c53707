//! The client's side: listeners, and the connections that they accept.

mod announced;
mod begin;
mod client;
mod connection;
mod http2;
mod listener;
mod listeners;
pub mod reply;
pub mod request_text;

pub use client::{Client, Origin, Side, Waited};
pub use connection::{linger, serve};
pub use listener::open;
pub use listeners::Listeners;
