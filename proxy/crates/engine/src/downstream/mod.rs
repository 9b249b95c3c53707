//! The client's side: listeners, and the connections that they accept.

mod client;
mod connection;
mod listener;
pub mod reply;

pub use client::{Client, Side};
pub use connection::serve;
pub use listener::{accept, bind};
