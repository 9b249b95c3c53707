//! What all workers together know of one backend's load. It changes while the table does not.
//!
//! A backend keeps it from one table to the next, by its key; one that is removed and added again
//! begins anew, while what was begun before ends with the old one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use super::{Budget, Full, Slots};
use crate::instant::Instant;
use crate::table::Backend;
use crate::trace::baseline::unique_id;
use crate::trace::tail::Latencies;

/// The load of one backend.
#[derive(Debug)]
pub struct Load {
    /// As no other backend or compiled route has it.
    pub id: u64,
    /// Its retries.
    pub budget: Budget,
    /// Its requests; used where they have a limit.
    pub slots: Slots,
    /// Its connections; used where they have a limit.
    connections: Mutex<Connections>,
    /// Of its requests that came by no route and were not sampled, where that is asked for.
    pub latencies: Latencies,
}

#[derive(Debug, Default)]
struct Connections {
    open: FxHashMap<SocketAddr, u32>,
    /// Of each endpoint, as the latest request saw it.
    max: u32,
}

/// A connection that counts until it is closed.
#[derive(Debug)]
pub struct Counted {
    load: Arc<Load>,
    endpoint: SocketAddr,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            id: unique_id(),
            budget: Budget::new(Instant::now()),
            slots: Slots::default(),
            connections: Mutex::default(),
            latencies: Latencies::default(),
        }
    }
}

impl Load {
    /// Counts a new connection to `endpoint`; `None` if it has as many as it may have. The latest
    /// `connections_max` is that of all connections.
    #[must_use]
    pub fn connection(
        self: &Arc<Self>,
        endpoint: SocketAddr,
        connections_max: u32,
    ) -> Option<Counted> {
        let mut connections = self.lock();
        connections.max = connections_max;
        let open = connections.open.entry(endpoint).or_default();
        if *open >= connections_max {
            return None;
        }
        *open += 1;
        Some(Counted {
            load: Arc::clone(self),
            endpoint,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        let locked = self.connections.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    /// Counts a connection that is about to be opened, where the backend bounds them.
    ///
    /// # Errors
    /// The endpoint has as many as it may have.
    pub fn begin(backend: &Backend, endpoint: SocketAddr) -> Result<Option<Self>, Full> {
        let connections_max = backend.limits.connections_max;
        if connections_max == 0 {
            return Ok(None);
        }
        let counted = backend.load.connection(endpoint, connections_max);
        counted.map(Some).ok_or(Full)
    }

    /// Whether it is one of the last that may be: kept idle, it could keep other workers out.
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        let connections = self.load.lock();
        let open = connections.open.get(&self.endpoint).copied().unwrap_or(0);
        open >= connections.max
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let open = &mut self.load.lock().open;
        if let Some(count) = open.get_mut(&self.endpoint) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.endpoint);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_bounded_by_endpoint_and_a_closed_one_makes_room() {
        let load = Arc::new(Load::default());
        let (one, other) = ("192.0.2.1:80", "192.0.2.2:80");
        let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
        let first = load.connection(one, 2).expect("there is room");
        assert!(!first.is_scarce());
        let second = load.connection(one, 2).expect("there is room");
        assert!(first.is_scarce() && second.is_scarce());
        assert!(load.connection(one, 2).is_none());
        assert!(load.connection(other, 3).is_some());
        assert!(!second.is_scarce(), "there may be more now");
        drop(first);
        assert!(load.connection(one, 2).is_some());
    }
}
