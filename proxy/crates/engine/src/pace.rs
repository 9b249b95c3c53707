//! How long an exchange may wait, and for whom.
//!
//! One deadline for both directions, that is later whenever a byte has moved. How much depends on
//! who is waited for when it comes, which is not known before: so it is set to the earliest that it
//! can be, and looked at again when it comes.

use std::cell::Cell;
use std::time::Duration;

use crate::instant::Instant;
use crate::live::{Phase, Slot};
use crate::trace::Flag;

/// Whom a direction waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Side {
    /// The client.
    Client,
    /// The endpoint.
    #[default]
    Upstream,
}

/// How long an exchange may wait.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Between two bytes from the endpoint.
    pub read: Duration,
    /// Until the endpoint takes more of the request.
    pub send: Duration,
    /// Until the client sends more of the request, or takes more of the response.
    pub client: Duration,
    /// Bytes a second that it has to move, where it was waited for longer than that, all in all.
    pub client_bytes_per_s_min: Option<u64>,
    /// Whether the request is a stream, whose next part may wait for something that happens.
    pub is_stream: bool,
    /// Between two bytes in either direction of an upgraded connection.
    pub tunnel: Duration,
    /// The end of the whole request.
    pub request: Option<Instant>,
    /// When the first byte of the response must be there.
    pub first_byte: Option<Instant>,
}

impl Bounds {
    /// Whoever is waited for may take as long.
    fn shortest(&self) -> Duration {
        self.read.min(self.send).min(self.client)
    }
}

/// What it means that the deadline has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expired {
    /// Nobody wanted anything of an upgraded connection any more.
    Quiet,
    /// The exchange failed.
    Failed(Flag),
}

/// The deadline of one exchange, and what it depends on.
pub struct Pace<'a> {
    /// The earliest that it can be.
    at: &'a Cell<Instant>,
    bounds: Bounds,
    /// What whoever asks is shown of it.
    pub live: &'a Slot,
    moved: Cell<Instant>,
    /// How long the client was waited for until something moved, all in all.
    client_waited: Cell<Duration>,
    /// Whom the request's way waits for; `None` once it is sent.
    pub upload: Cell<Option<Side>>,
    /// Whom the response's way waits for.
    pub download: Cell<Side>,
    /// The client waits for an interim response before it sends the body.
    pub awaits_continue: Cell<bool>,
    has_answer: Cell<bool>,
    is_tunnel: Cell<bool>,
}

impl<'a> Pace<'a> {
    /// An exchange that begins `now`; `at` is the timer's deadline.
    pub fn new(at: &'a Cell<Instant>, bounds: Bounds, live: &'a Slot, now: Instant) -> Self {
        live.enter(Phase::Send, now);
        let hard = [bounds.request, bounds.first_byte].into_iter().flatten();
        at.set(hard.fold(now + bounds.shortest(), Instant::min));
        Self {
            at,
            bounds,
            live,
            moved: Cell::new(now),
            client_waited: Cell::default(),
            upload: Cell::new(Some(Side::Upstream)),
            download: Cell::new(Side::Upstream),
            awaits_continue: Cell::new(false),
            has_answer: Cell::new(false),
            is_tunnel: Cell::new(false),
        }
    }

    /// To be called when something moved; returns the time.
    pub fn moved(&self) -> Instant {
        let now = Instant::now();
        self.moved_at(now);
        now
    }

    /// When something moved last.
    pub fn last_moved(&self) -> Instant {
        self.moved.get()
    }

    /// The request was sent to its end; returns the time.
    pub fn sent(&self) -> Instant {
        let now = self.moved();
        self.upload.set(None);
        if !self.has_answer.get() {
            self.live.enter(Phase::Wait, now);
        }
        now
    }

    /// The endpoint began to answer.
    pub fn answered(&self) {
        self.has_answer.set(true);
        self.live.enter(Phase::Stream, self.moved.get());
    }

    /// The response was received to its end.
    pub fn received(&self) {
        self.live.enter(Phase::Respond, self.moved.get());
    }

    /// The connection was upgraded: both directions go on until both are silent.
    pub fn open_tunnel(&self) {
        self.is_tunnel.set(true);
        self.live.upgraded();
        let now = self.moved();
        self.at.set(self.at.get().min(now + self.bounds.tunnel));
    }

    /// Whether [`Pace::open_tunnel`] was called.
    pub fn is_tunnel(&self) -> bool {
        self.is_tunnel.get()
    }

    /// Whether the deadline has really come; if not, it is moved to where it is.
    pub fn expired(&self) -> Option<Expired> {
        let (allowed, expired) = if self.is_tunnel() {
            (self.bounds.tunnel, Expired::Quiet)
        } else {
            let (allowed, flag) = self.waits_for();
            (allowed, Expired::Failed(flag))
        };
        let silent = (self.moved.get() + allowed, expired);
        let late = |at, flag| (at, Expired::Failed(flag));
        let slow = self.client_left().filter(|_| self.awaits_client());
        let slow = slow.map(|left| late(self.moved.get() + left, Flag::ClientTimeout));
        let request = self.bounds.request.map(|at| late(at, Flag::RequestTimeout));
        let first_byte = self.bounds.first_byte.filter(|_| !self.has_answer.get());
        let first_byte = first_byte.map(|at| late(at, Flag::UpstreamTimeout));
        let all = [Some(silent), slow, request, first_byte];
        let soonest = all.into_iter().flatten().min_by_key(|(at, _)| *at);
        let (at, expired) = soonest.unwrap_or(silent);
        let now = Instant::now();
        self.at.set(if self.is_tunnel() {
            at
        } else {
            at.min(now + self.bounds.shortest()) // Whoever is waited for next may have less.
        });
        (at <= now).then_some(expired)
    }

    /// The deadline stays where it is unless it has to be sooner: when it comes, it is looked at again.
    fn moved_at(&self, now: Instant) {
        let before = self.moved.replace(now);
        if self.awaits_client() {
            let waited = now.saturating_duration_since(before);
            self.client_waited.set(self.client_waited.get() + waited);
        }
        if let Some(left) = self.client_left() {
            self.at.set(self.at.get().min(now + left));
        }
    }

    /// Whoever has to do something before anything can move: how long it may take, and what it is
    /// called when it was waited for in vain.
    fn waits_for(&self) -> (Duration, Flag) {
        let bounds = &self.bounds;
        match self.upload.get().filter(|_| !self.awaits_continue.get()) {
            _ if self.awaits_client() => (bounds.client, Flag::ClientTimeout),
            // Either may speak next, and who has allowed the endpoint more has allowed both.
            Some(Side::Client) => (bounds.client.max(bounds.read), Flag::ClientTimeout),
            Some(Side::Upstream) => (bounds.send, Flag::UpstreamTimeout),
            None => (bounds.read, Flag::UpstreamTimeout),
        }
    }

    /// Whether the client has to do something before anything can move. Once the endpoint answers, what
    /// the client sends may wait for that.
    fn awaits_client(&self) -> bool {
        let may_wait = self.bounds.is_stream || self.has_answer.get() || self.awaits_continue.get();
        let is_sending = self.upload.get() == Some(Side::Client) && !may_wait;
        (is_sending || self.download.get() == Side::Client) && !self.is_tunnel()
    }

    /// How much longer the client may be waited for until something moves, after what it took and what
    /// has moved so far; `None` while it has moved all at once, or may be as slow as it likes.
    fn client_left(&self) -> Option<Duration> {
        let bytes_per_s = self.bounds.client_bytes_per_s_min?;
        let waited = Some(self.client_waited.get()).filter(|waited| !waited.is_zero())?;
        let bytes = self
            .live
            .received
            .get()
            .saturating_add(self.live.sent.get());
        let earned = Duration::from_millis(bytes.saturating_mul(1_000) / bytes_per_s);
        let allowed = self.bounds.client.saturating_add(earned);
        Some(allowed.saturating_sub(waited).min(self.bounds.client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn whoever_is_waited_for_after_somebody_patient_gets_no_more_time_for_it() {
        let bounds = Bounds {
            read: 60 * SECOND,
            send: 60 * SECOND,
            client: 10 * SECOND,
            client_bytes_per_s_min: None,
            is_stream: false,
            tunnel: 60 * SECOND,
            request: None,
            first_byte: None,
        };
        let (at, slot) = (Cell::new(Instant::now()), Slot::default());
        let begin = Instant::now() - 20 * SECOND;
        let pace = Pace::new(&at, bounds, &slot, begin);
        pace.upload.set(None);
        assert_eq!(at.get(), begin + 10 * SECOND);
        assert_eq!(pace.expired(), None, "the endpoint has 60 s");
        let moved = pace.moved();
        pace.download.set(Side::Client);
        assert!(at.get() <= moved + 10 * SECOND);
    }
}
