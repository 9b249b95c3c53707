//! How many requests a backend is given at once, and who waits for a place.
//!
//! One queue for all workers, first come first served. A place that becomes free is handed to the
//! one who waits longest before anybody else can take it, so no one is overtaken and no wake-up is
//! lost; who leaves while waiting gives up the place, and hands on the one that was given to it.
//!
//! Rules: the lock is held for a few instructions, never while something is awaited or woken.
//! Nothing here is used where a backend has no limit.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use smallvec::SmallVec;

use crate::table::BackendLimits;

/// The places of one backend.
#[derive(Debug, Default)]
pub struct Slots(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    taken: u32,
    /// As the latest request saw it.
    requests_max: u32,
    next_ticket: u64,
    /// In the order of the tickets. Who is not in it has a place.
    waiting: VecDeque<(u64, Waker)>,
}

/// What a request that wants a place gets.
#[derive(Debug)]
pub enum Entry<'a> {
    /// A place.
    Admitted(Place<'a>),
    /// Its turn, later.
    Waits(Ticket<'a>),
    /// Nothing: as many are waiting as may.
    Full,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place<'a>(&'a Slots);

/// The turn of a request that waits: a future that gives its [`Place`].
///
/// # Cancel safety
/// Dropping it leaves the queue.
#[derive(Debug)]
pub struct Ticket<'a> {
    slots: &'a Slots,
    number: u64,
    is_used: bool,
}

impl Slots {
    /// Asks for a place. `limits` are those of the table that the request uses; the latest count.
    pub fn enter(&self, limits: &BackendLimits) -> Entry<'_> {
        let mut state = self.lock();
        state.requests_max = limits.requests_max;
        // There may be more places than before.
        let woken = state.hand_out();
        let entry = if state.waiting.is_empty() && state.taken < limits.requests_max {
            state.taken += 1;
            Entry::Admitted(Place(self))
        } else if state.waiting.len() < limits.queue_max as usize {
            let number = state.next_ticket;
            state.next_ticket += 1;
            state.waiting.push_back((number, Waker::noop().clone()));
            Entry::Waits(Ticket {
                slots: self,
                number,
                is_used: false,
            })
        } else {
            Entry::Full
        };
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        entry
    }

    fn leave(&self) {
        let mut state = self.lock();
        state.taken -= 1;
        let woken = state.hand_out();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives free places to those who wait longest.
    fn hand_out(&mut self) -> SmallVec<[Waker; 1]> {
        let mut woken = SmallVec::new();
        while self.taken < self.requests_max {
            let Some((_, waker)) = self.waiting.pop_front() else {
                break;
            };
            self.taken += 1;
            woken.push(waker);
        }
        woken
    }

    fn position(&self, number: u64) -> Option<usize> {
        let found = self
            .waiting
            .binary_search_by_key(&number, |(each, _)| *each);
        found.ok()
    }
}

impl<'a> Future for Ticket<'a> {
    type Output = Place<'a>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Place<'a>> {
        let mut state = self.slots.lock();
        if let Some(position) = state.position(self.number) {
            state.waiting[position].1.clone_from(context.waker());
            return Poll::Pending;
        }
        drop(state);
        self.is_used = true;
        Poll::Ready(Place(self.slots))
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.is_used {
            return;
        }
        let mut state = self.slots.lock();
        let Some(position) = state.position(self.number) else {
            drop(state);
            return self.slots.leave();
        };
        let removed = state.waiting.remove(position);
        drop(state);
        drop(removed);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    fn limits(requests_max: u32, queue_max: u32) -> BackendLimits {
        BackendLimits {
            requests_max,
            queue_max,
            connections_max: 0,
            queue_timeout: Duration::from_secs(5),
        }
    }

    fn admitted(entry: Entry<'_>) -> Place<'_> {
        match entry {
            Entry::Admitted(place) => place,
            other => panic!("no place: {other:?}"),
        }
    }

    fn waits(entry: Entry<'_>) -> Ticket<'_> {
        match entry {
            Entry::Waits(ticket) => ticket,
            other => panic!("it does not wait: {other:?}"),
        }
    }

    fn poll<'a>(ticket: &mut Ticket<'a>) -> Poll<Place<'a>> {
        Pin::new(ticket).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[derive(Default)]
    struct Wakes(AtomicU32);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn places_then_the_queue_then_nothing() {
        let slots = Slots::default();
        let limits = limits(2, 1);
        let _one = admitted(slots.enter(&limits));
        let _two = admitted(slots.enter(&limits));
        let _three = waits(slots.enter(&limits));
        assert!(matches!(slots.enter(&limits), Entry::Full));
    }

    #[test]
    fn first_come_is_first_served_and_nobody_overtakes() {
        let slots = Slots::default();
        let limits = limits(1, 9);
        let place = admitted(slots.enter(&limits));
        let (mut first, mut second) = (waits(slots.enter(&limits)), waits(slots.enter(&limits)));
        drop(place);
        let mut late = waits(slots.enter(&limits));
        assert!(poll(&mut second).is_pending());
        assert!(poll(&mut late).is_pending());
        let Poll::Ready(place) = poll(&mut first) else {
            panic!("the first has its turn");
        };
        assert!(poll(&mut second).is_pending());
        drop(place);
        assert!(poll(&mut late).is_pending());
        assert!(poll(&mut second).is_ready());
    }

    #[test]
    fn who_waits_is_woken_once_when_a_place_is_free() {
        let slots = Slots::default();
        let limits = limits(1, 9);
        let place = admitted(slots.enter(&limits));
        let count = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut ticket = waits(slots.enter(&limits));
        assert!(
            Pin::new(&mut ticket)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop(place);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(poll(&mut ticket).is_ready());
    }

    #[test]
    fn who_leaves_the_queue_makes_room_in_it() {
        let slots = Slots::default();
        let limits = limits(1, 1);
        let place = admitted(slots.enter(&limits));
        drop(waits(slots.enter(&limits)));
        let mut next = waits(slots.enter(&limits));
        drop(place);
        assert!(poll(&mut next).is_ready());
    }

    #[test]
    fn a_place_given_to_one_who_leaves_is_handed_on() {
        let slots = Slots::default();
        let limits = limits(1, 2);
        let place = admitted(slots.enter(&limits));
        let (leaving, mut next) = (waits(slots.enter(&limits)), waits(slots.enter(&limits)));
        drop(place);
        drop(leaving);
        assert!(poll(&mut next).is_ready());
        drop(next);
        admitted(slots.enter(&limits));
    }

    #[test]
    fn a_raised_limit_lets_those_who_wait_in_first() {
        let slots = Slots::default();
        let _place = admitted(slots.enter(&limits(1, 9)));
        let mut waiting = waits(slots.enter(&limits(1, 9)));
        let _later = admitted(slots.enter(&limits(3, 9)));
        assert!(poll(&mut waiting).is_ready());
    }

    #[test]
    fn a_lowered_limit_admits_nobody_until_enough_have_left() {
        let slots = Slots::default();
        let (one, two) = (
            admitted(slots.enter(&limits(2, 9))),
            admitted(slots.enter(&limits(2, 9))),
        );
        let mut waiting = waits(slots.enter(&limits(1, 9)));
        drop(one);
        assert!(poll(&mut waiting).is_pending());
        drop(two);
        assert!(poll(&mut waiting).is_ready());
    }

    #[test]
    fn threads_never_exceed_the_limit_and_all_are_served() {
        let slots = Slots::default();
        let (now, most, served) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        let serve = async || {
            let _place = match slots.enter(&limits(2, 100)) {
                Entry::Admitted(place) => place,
                Entry::Waits(ticket) => ticket.await,
                Entry::Full => panic!("the queue is longer than that"),
            };
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            served.fetch_add(1, Ordering::SeqCst);
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread();
                    let runtime = { runtime }.build().expect("a runtime");
                    (0..100).for_each(|_| runtime.block_on(serve()));
                });
            }
        });
        assert_eq!(served.load(Ordering::SeqCst), 800);
        assert!(most.load(Ordering::SeqCst) <= 2);
    }
}
