//! A backend's request limit, before its endpoints are asked: a place, a wait, or a refusal.

use std::time::Duration;

use crate::buffer::Buffer;
use crate::downstream::{Client, Waited};
use crate::instant::Instant;
use crate::live::{Live, Phase};
use crate::table::Backend;
use crate::trace::Flag;
use crate::upstream::{Entry, Place};

/// A request's place at its backend, and what it waited for it.
pub struct Queued<'a> {
    pub result: Result<Option<Place<'a>>, Flag>,
    pub queue: Duration,
}

impl<'a> Queued<'a> {
    /// Admits a request that came to `backend` at `start`, or lets it wait for its turn: until the
    /// backend's queue timeout, `deadline`, or the client's leaving. `input` is the client's.
    ///
    /// # Cancel safety
    /// A dropped call leaves the queue.
    pub async fn to(
        backend: &'a Backend,
        start: Instant,
        deadline: Option<Instant>,
        (client, input): (&mut Client, &mut Buffer),
        live: &Live<'_>,
    ) -> Self {
        let (limits, stats) = (&backend.limits, live.stats());
        if limits.requests_max == 0 {
            return Self::at_once(Ok(None));
        }
        let ticket = match backend.load.slots.enter(limits) {
            Entry::Admitted(place) => return Self::at_once(Ok(Some(place))),
            Entry::Full => {
                stats.queue_refused.add(1);
                return Self::at_once(Err(Flag::QueueFull));
            }
            Entry::Waits(ticket) => ticket,
        };
        stats.queued.add(1);
        live.enter(Phase::Queue, start);
        let queue_end = start + limits.queue_timeout;
        let until = deadline.map_or(queue_end, |deadline| deadline.min(queue_end));
        // On the heap, so that connections which never wait are not larger for it.
        let result = match Box::pin(client.wait(ticket, until, input)).await {
            Waited::Done(place) => Ok(Some(place)),
            Waited::Gone => Err(Flag::ClientGone),
            Waited::Late if until < queue_end => Err(Flag::RequestTimeout),
            Waited::Late => {
                stats.queue_refused.add(1);
                Err(Flag::QueueTimeout)
            }
        };
        Self {
            result,
            queue: start.elapsed(),
        }
    }

    fn at_once(result: Result<Option<Place<'a>>, Flag>) -> Self {
        Self {
            result,
            queue: Duration::ZERO,
        }
    }
}
