//! What all workers together know of one backend's load. It changes while the table does not.
//!
//! A backend keeps it from one table to the next, by its key; one that is removed and added again
//! begins anew, while what was begun before ends with the old one.

use std::time::Instant;

use super::Budget;

/// The load of one backend.
#[derive(Debug)]
pub struct Load {
    /// Its retries.
    pub budget: Budget,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            budget: Budget::new(Instant::now()),
        }
    }
}
