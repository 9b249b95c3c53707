//! One timer per connection, moved without touching the timer wheel.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::instant::Instant;
use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

/// A deadline that moves often and expires seldom.
///
/// Moving it is a store. The runtime's timer is armed for the deadline at the time somebody first
/// waits; when it fires early, because the deadline has moved since, it is armed again. So a
/// keep-alive connection costs the timer wheel one entry per timeout, not one per request.
pub struct Timer {
    deadline: Cell<Instant>,
    alarm: Alarm,
}

/// The runtime's timer.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// When it fires.
    at: Instant,
    /// Whom it wakes then.
    wakes: Option<Waker>,
}

impl Timer {
    /// A timer that expires `after` from now. Must be called within the worker's runtime.
    #[must_use]
    pub fn new(after: Duration) -> Self {
        let deadline = Instant::now() + after;
        Self {
            deadline: Cell::new(deadline),
            alarm: Alarm {
                sleep: Box::pin(tokio::time::sleep_until(deadline.into())),
                at: deadline,
                wakes: None,
            },
        }
    }

    /// Moves the deadline.
    pub fn set(&self, deadline: Instant) {
        self.deadline.set(deadline);
    }

    /// Splits into the part that moves the deadline and the part that waits for it.
    pub fn parts(&mut self) -> (&Cell<Instant>, Expiry<'_>) {
        (
            &self.deadline,
            Expiry {
                deadline: &self.deadline,
                alarm: &mut self.alarm,
            },
        )
    }

    /// Runs `work` until the deadline; `None` when that came first.
    ///
    /// # Cancel safety
    /// As that of `work`.
    pub async fn limit<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let (_, mut expiry) = self.parts();
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Poll::Ready(value) = work.as_mut().poll(context) {
                return Poll::Ready(Some(value));
            }
            expiry.poll(context).map(|()| None)
        })
        .await
    }
}

/// The waiting side of a [`Timer`].
pub struct Expiry<'a> {
    deadline: &'a Cell<Instant>,
    alarm: &'a mut Alarm,
}

impl Expiry<'_> {
    /// Ready when the deadline, as it is now, has passed.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline.get();
        let alarm = &mut *self.alarm;
        let is_armed = alarm.at <= deadline
            && !alarm.sleep.is_elapsed()
            && (alarm.wakes.as_ref()).is_some_and(|waker| waker.will_wake(context.waker()));
        if is_armed {
            return Poll::Pending; // As nearly always.
        }
        if alarm.at > deadline {
            alarm.set(deadline);
        }
        // Not as a part of what the task may do in a row: a poll that was put off would arm nothing.
        while pin!(unconstrained(alarm.sleep.as_mut()))
            .poll(context)
            .is_ready()
        {
            if alarm.at >= deadline {
                return Poll::Ready(());
            }
            alarm.set(deadline);
        }
        alarm.wakes = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Alarm {
    fn set(&mut self, at: Instant) {
        self.at = at;
        self.sleep.as_mut().reset(at.into());
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::coop::{consume_budget, has_budget_remaining};

    use super::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(work)
    }

    #[test]
    fn work_that_is_ready_wins_over_a_deadline_that_has_passed() {
        let got = run(async { Timer::new(Duration::ZERO).limit(async { 7 }).await });
        assert_eq!(got, Some(7));
    }

    #[test]
    fn whoever_waits_last_is_woken() {
        run(async {
            let mut timer = Timer::new(Duration::from_millis(5));
            let mut nobody = Context::from_waker(Waker::noop());
            assert!(timer.parts().1.poll(&mut nobody).is_pending());
            assert_eq!(timer.limit(std::future::pending::<()>()).await, None);
        });
    }

    #[test]
    fn it_expires_for_a_task_that_has_done_all_that_it_may_in_a_row() {
        run(async {
            let mut timer = Timer::new(Duration::from_millis(5));
            let mut nobody = Context::from_waker(Waker::noop());
            while has_budget_remaining() {
                let _ = pin!(consume_budget()).poll(&mut nobody);
            }
            assert_eq!(timer.limit(std::future::pending::<()>()).await, None);
        });
    }

    #[test]
    fn deadline_moved_later_is_kept_and_moved_earlier_is_kept_too() {
        run(async {
            let start = Instant::now();
            let mut timer = Timer::new(Duration::ZERO);
            timer.set(start + Duration::from_millis(20));
            assert_eq!(timer.limit(std::future::pending::<()>()).await, None);
            assert!(
                start.elapsed() >= Duration::from_millis(20),
                "it fired at its first deadline"
            );

            let mut timer = Timer::new(Duration::from_secs(3600));
            timer.set(Instant::now());
            assert_eq!(timer.limit(std::future::pending::<()>()).await, None);
        });
    }
}
