//! The client's side: listeners, and the connections that they accept.

mod connection;
mod listener;

pub use connection::{Client, serve};
pub use listener::{accept, bind};
