//! What is counted of every request, sampled or not, by route.
//!
//! A worker counts into cells of its own ([`tally::Tally`]): no lock, nothing shared. When somebody
//! asks, when the table has changed, or when it has many cells, it adds them to the one [`Store`]
//! and begins anew. So memory does not grow with the workers, and a scrape costs a worker some
//! microseconds. [`page`] writes what the store holds.
//!
//! Rules: labels come from the table and closed vocabularies, never from a client. A label set is
//! either exposed and never goes backwards, or not exposed.

mod histogram;
mod nginx;
pub mod page;
mod store;
#[cfg(test)]
mod store_tests;
mod tally;

pub use page::{Format, Page};
pub use store::Store;
pub(crate) use tally::{Observed, Tally};
