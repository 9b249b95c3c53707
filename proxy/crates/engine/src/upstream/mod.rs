//! The backend's side: which endpoint, and a connection to it.

pub mod answer;
mod balance;
mod budget;
mod channels;
mod connect;
pub mod http2;
mod load;
mod pool;
mod slots;

pub use balance::{Asker, Balancer, Earlier, Picked};
pub use budget::Budget;
pub use connect::{ConnectError, Dial, Full, Steps};
pub use load::{Counted, Load};
pub use pool::{Connection, Freshness, Lease, Pool};
pub use slots::{Entry, Place, Slots};
