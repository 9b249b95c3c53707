//! How long an exchange may wait, and for whom.
//!
//! One deadline for both directions, moved whenever a byte is. How far depends on who is waited
//! for when it comes, which is not known before: so it is set to the earliest that it can be, and
//! looked at again when it comes.

use std::cell::Cell;
use std::time::Duration;

use crate::instant::Instant;
use crate::limits::DOWNSTREAM_STALL_TIMEOUT;
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
    /// Between two bytes in either direction of an upgraded connection.
    pub tunnel: Duration,
    /// The end of the whole request.
    pub request: Option<Instant>,
    /// When the first byte of the response must be there.
    pub first_byte: Option<Instant>,
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
        let pace = Self {
            at,
            bounds,
            live,
            moved: Cell::new(now),
            upload: Cell::new(Some(Side::Upstream)),
            download: Cell::new(Side::Upstream),
            awaits_continue: Cell::new(false),
            has_answer: Cell::new(false),
            is_tunnel: Cell::new(false),
        };
        pace.moved_at(now);
        pace
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
        self.moved();
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
        let request = self.bounds.request.map(|at| late(at, Flag::RequestTimeout));
        let first_byte = self.bounds.first_byte.filter(|_| !self.has_answer.get());
        let first_byte = first_byte.map(|at| late(at, Flag::UpstreamTimeout));
        let all = [Some(silent), request, first_byte];
        let soonest = all.into_iter().flatten().min_by_key(|(at, _)| *at);
        let (at, expired) = soonest.unwrap_or(silent);
        self.at.set(at);
        (at <= Instant::now()).then_some(expired)
    }

    fn moved_at(&self, now: Instant) {
        self.moved.set(now);
        let bounds = &self.bounds;
        let mut at = now
            + if self.is_tunnel() {
                bounds.tunnel
            } else {
                bounds.read.min(bounds.send).min(DOWNSTREAM_STALL_TIMEOUT)
            };
        for hard in [bounds.request, bounds.first_byte].into_iter().flatten() {
            at = at.min(hard);
        }
        self.at.set(at);
    }

    /// Whoever has to do something before anything can move: how long it may take, and what it is
    /// called when it was waited for in vain.
    fn waits_for(&self) -> (Duration, Flag) {
        let upload = self.upload.get().filter(|_| !self.awaits_continue.get());
        if self.download.get() == Side::Client || upload == Some(Side::Client) {
            (DOWNSTREAM_STALL_TIMEOUT, Flag::ClientTimeout)
        } else if upload == Some(Side::Upstream) {
            (self.bounds.send, Flag::UpstreamTimeout)
        } else {
            (self.bounds.read, Flag::UpstreamTimeout)
        }
    }
}
