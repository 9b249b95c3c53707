//! One timer per connection, moved without touching the timer wheel.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::instant::Instant;
use tokio::time::Sleep;

/// A deadline that moves often and expires seldom.
///
/// Moving it is a store. The runtime's timer is armed for the deadline at the time somebody first
/// waits; when it fires early, because the deadline has moved since, it is armed again. So a
/// keep-alive connection costs the timer wheel one entry per timeout, not one per request.
pub struct Timer {
    deadline: Cell<Instant>,
    sleep: Pin<Box<Sleep>>,
}

impl Timer {
    /// A timer that expires `after` from now. Must be called within the worker's runtime.
    #[must_use]
    pub fn new(after: Duration) -> Self {
        let deadline = Instant::now() + after;
        Self {
            deadline: Cell::new(deadline),
            sleep: Box::pin(tokio::time::sleep_until(deadline.into())),
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
                sleep: &mut self.sleep,
            },
        )
    }

    /// Runs `work` until the deadline; `None` when that came first.
    ///
    /// # Cancel safety
    /// As that of `work`.
    pub async fn limit<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let (_, mut expiry) = self.parts();
        let mut work = std::pin::pin!(work);
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
    sleep: &'a mut Pin<Box<Sleep>>,
}

impl Expiry<'_> {
    /// Ready when the deadline, as it is now, has passed.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline.get().into();
        if self.sleep.deadline() > deadline {
            self.sleep.as_mut().reset(deadline);
        }
        while self.sleep.as_mut().poll(context).is_ready() {
            if self.sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
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
