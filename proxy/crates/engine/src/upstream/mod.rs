//! The backend's side: which endpoint, and a connection to it.

pub mod answer;
mod balance;
pub mod http2;
mod pool;

pub use balance::{Balancer, Earlier};
pub use pool::{ConnectError, Freshness, Lease, Pool};
