//! Where a request's time went, and who took more of it than usual: the verdict.
//!
//! Rules: pure functions of a segment and of what is usual for its route ([`super::Baselines`]).
//! Every microsecond of the request is in exactly one contributor's time; `docs/SPANS.md` says
//! whose each phase is, and what each verdict means.

use std::time::Duration;

use super::net::Observed;
use super::segment::{Attempt, Segment};
use super::timing::{AttemptLine, Interval, Phases, Timeline};
use crate::instant::microseconds;
use crate::limits::{RETRANSMISSION_US_MIN, VERDICT_EXCESS_SHARE, VERDICT_EXCESS_US_MIN};

/// Who made a request slower than usual: a closed vocabulary, in spans, metrics and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Verdict {
    /// It was not slower than usual, or it is not known yet what is usual.
    #[default]
    None,
    /// The client, or the network to it.
    ClientNetwork,
    /// Spanway itself, or the node that it runs on.
    Proxy,
    /// The network between Spanway and the endpoint.
    ClusterNetwork,
    /// The endpoint's application.
    App,
    /// The endpoint's application had other requests to answer first.
    AppQueue,
}

impl Verdict {
    /// Every verdict, in the order of `docs/SPANS.md`.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::ClientNetwork,
        Self::Proxy,
        Self::ClusterNetwork,
        Self::App,
        Self::AppQueue,
    ];

    /// The name in spans, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientNetwork => "client-network",
            Self::Proxy => "proxy",
            Self::ClusterNetwork => "cluster-network",
            Self::App => "app",
            Self::AppQueue => "app-queue",
        }
    }
}

/// Whose the microseconds of a request were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// The client's and its network's.
    pub client_network: u64,
    /// Spanway's own.
    pub proxy: u64,
    /// The network's to the endpoints.
    pub cluster_network: u64,
    /// The application's. [`judge`] moves what is a queue's to the next one.
    pub app: u64,
    /// The waiting's for others that were there before.
    pub app_queue: u64,
    /// How many requests were at the endpoint already.
    pub ahead: u64,
    /// Whether the network has lost something of late.
    pub is_lossy: bool,
}

/// What is usual for the requests of one route, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usual {
    /// As in [`Times`].
    pub client_network: u64,
    /// As in [`Times`].
    pub proxy: u64,
    /// As in [`Times`].
    pub cluster_network: u64,
    /// Of requests that had [`Self::ahead`] others before them.
    pub app: u64,
    /// 0 where some were alone at their endpoint.
    pub ahead: u64,
    /// How much longer the application takes for each request that was there before.
    pub app_by_ahead: u64,
}

/// What is said of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Judgement {
    /// Who took the most beyond what is usual.
    pub verdict: Verdict,
    /// How many microseconds beyond; 0 without a verdict.
    pub excess_us: u64,
    /// Whose the time was.
    pub times: Times,
}

impl Times {
    /// Whose the time of `segment` was; `timeline` is its.
    #[must_use]
    pub fn of(segment: &Segment<'_>, timeline: &Timeline) -> Self {
        let mut times = Self::by_phase(&timeline.phases, segment);
        for (attempt, line) in segment.attempts.iter().zip(&timeline.attempts) {
            times.ahead = times.ahead.max(u64::from(attempt.ahead));
            times.observe(attempt, line);
        }
        times.proxy += segment.wake_up_us().unwrap_or(0);
        times
    }

    /// What the kernel tells beyond the phases.
    fn observe(&mut self, attempt: &Attempt<'_>, line: &AttemptLine) {
        let Observed::Told(net) = attempt.net else {
            return;
        };
        if let Some(parts) = line.net {
            let delivering = parts.deliver.microseconds();
            self.cluster_network += take(&mut self.app, delivering);
            let waking_up = parts.wake_up.map_or(0, Interval::microseconds);
            self.proxy += take(&mut self.app, waking_up);
        }
        // An upload stands still because of the network, but for what the endpoint did not take.
        let blocked = microseconds(attempt.blocked.by_endpoint);
        if blocked > net.peer_full_us {
            let by_network = (blocked - net.peer_full_us).min(line.phases().send);
            self.cluster_network += take(&mut self.app, by_network);
        }
        self.is_lossy |= net.is_lossy;
        // The endpoint has answered our SYN long before we knew.
        if net.handshake_us > 0 {
            let connecting = line.phases().connect;
            let waking_up = connecting.saturating_sub(u64::from(net.handshake_us));
            self.proxy += take(&mut self.cluster_network, waking_up);
        }
        // A SYN that has to be sent again although nothing else is lost did not fit the backlog.
        if net.handshake_retransmits > 0 && !net.is_lossy {
            let connecting = line.phases().connect;
            self.app_queue += take(&mut self.cluster_network, connecting);
        }
    }

    /// What the phases alone tell.
    fn by_phase(phases: &Phases, segment: &Segment<'_>) -> Self {
        let blocked = |by: fn(&Attempt<'_>) -> Duration| -> u64 {
            let attempts = segment.attempts.iter();
            attempts.map(|attempt| microseconds(by(attempt))).sum()
        };
        // A response that stands still because its client does not take it, or that is under way.
        let delivering = segment.over().nanoseconds_since(segment.end) / 1_000;
        let by_client = blocked(|attempt| attempt.blocked.by_client).saturating_add(delivering);
        let of_respond = by_client.min(phases.respond);
        let of_receive = (by_client - of_respond).min(phases.receive);
        // An upload that stands still because its endpoint does not take it, or no request yet.
        let by_endpoint =
            |attempt: &Attempt<'_>| attempt.blocked.by_endpoint + attempt.blocked.unready;
        let of_send = blocked(by_endpoint).min(phases.send);
        let sending = phases.send - of_send;
        let has_body = segment.request_body_bytes > 0;
        let (uploading, writing) = if has_body { (sending, 0) } else { (0, sending) };
        Self {
            client_network: phases.head + uploading + of_receive + of_respond,
            proxy: phases.route + writing + (phases.respond - of_respond),
            cluster_network: phases.connect + phases.tls,
            app: of_send + phases.wait + (phases.receive - of_receive),
            app_queue: phases.queue,
            ahead: 0,
            is_lossy: false,
        }
    }

    /// The whole time.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.client_network + self.proxy + self.cluster_network + self.app + self.app_queue
    }
}

/// As much of `from` as there is of `wanted`.
fn take(from: &mut u64, wanted: u64) -> u64 {
    let taken = wanted.min(*from);
    *from -= taken;
    taken
}

/// Who took more than usual. Without anything usual, nobody did.
///
/// An application that takes longer than usual while more requests than usual are before it is a
/// queue, up to the time that those take; what is beyond that is its own. An answer that was lost cannot
/// be told from one that took so long: where the network loses other things, it is the network's.
#[must_use]
pub fn judge(mut times: Times, usual: Option<&Usual>) -> Judgement {
    let Some(usual) = usual else {
        return Judgement {
            times,
            ..Judgement::default()
        };
    };
    let late = times.app.saturating_sub(usual.app);
    if times.is_lossy && late >= RETRANSMISSION_US_MIN {
        times.cluster_network += take(&mut times.app, late);
    }
    let more = times.ahead.saturating_sub(usual.ahead);
    let queued = times.app.saturating_sub(usual.app);
    let queued = queued.min(more.saturating_mul(usual.app_by_ahead));
    times.app -= queued;
    times.app_queue += queued;
    let beyond = |time: u64, usual: u64| time.saturating_sub(usual);
    let contributors = [
        (Verdict::App, beyond(times.app, usual.app)),
        (Verdict::AppQueue, times.app_queue),
        (
            Verdict::ClusterNetwork,
            beyond(times.cluster_network, usual.cluster_network),
        ),
        (Verdict::Proxy, beyond(times.proxy, usual.proxy)),
        (
            Verdict::ClientNetwork,
            beyond(times.client_network, usual.client_network),
        ),
    ];
    let usually = usual.client_network + usual.proxy + usual.cluster_network + usual.app;
    let margin = VERDICT_EXCESS_US_MIN.max(usually / VERDICT_EXCESS_SHARE);
    let mut judgement = Judgement {
        times,
        ..Judgement::default()
    };
    if times.total().saturating_sub(usually) < margin {
        return judgement;
    }
    for (verdict, excess_us) in contributors {
        if excess_us > judgement.excess_us {
            judgement.verdict = verdict;
            judgement.excess_us = excess_us;
        }
    }
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Usual = Usual {
        client_network: 10,
        proxy: 40,
        cluster_network: 150,
        app: 5_000,
        ahead: 0,
        app_by_ahead: 5_000,
    };
    const QUICK: Times = Times {
        client_network: 12,
        proxy: 38,
        cluster_network: 200,
        app: 5_100,
        app_queue: 0,
        ahead: 0,
        is_lossy: false,
    };

    fn verdict(times: Times) -> (Verdict, u64) {
        let judgement = judge(times, Some(&USUAL));
        assert_eq!(judgement.times.total(), times.total(), "no time is lost");
        (judgement.verdict, judgement.excess_us)
    }

    #[test]
    fn a_request_that_is_as_fast_as_usual_has_no_verdict() {
        assert_eq!(verdict(QUICK), (Verdict::None, 0));
    }

    #[test]
    fn a_little_slower_is_as_usual() {
        let app = USUAL.app + USUAL.app / VERDICT_EXCESS_SHARE - 300;
        assert_eq!(verdict(Times { app, ..QUICK }).0, Verdict::None);
    }

    #[test]
    fn the_largest_excess_wins_not_the_largest_time() {
        let slow = Times {
            cluster_network: 4_150,
            app: 5_900,
            ..QUICK
        };
        assert_eq!(verdict(slow), (Verdict::ClusterNetwork, 4_000));
    }

    #[test]
    fn each_contributor_can_be_to_blame() {
        let slow = |change: fn(&mut Times)| {
            let mut times = QUICK;
            change(&mut times);
            verdict(times).0
        };
        assert_eq!(
            slow(|it| it.client_network = 20_000),
            Verdict::ClientNetwork
        );
        assert_eq!(slow(|it| it.proxy = 20_000), Verdict::Proxy);
        assert_eq!(
            slow(|it| it.cluster_network = 20_000),
            Verdict::ClusterNetwork
        );
        assert_eq!(slow(|it| it.app = 20_000), Verdict::App);
        assert_eq!(slow(|it| it.app_queue = 20_000), Verdict::AppQueue);
    }

    #[test]
    fn an_app_is_queued_at_only_for_as_long_as_those_before_take() {
        let busy = Times {
            app: 15_000,
            ahead: 2,
            ..QUICK
        };
        assert_eq!(verdict(busy), (Verdict::AppQueue, 10_000));
        let slow = Times {
            app: 45_000,
            ahead: 2,
            ..QUICK
        };
        assert_eq!(verdict(slow), (Verdict::App, 30_000));
    }

    #[test]
    fn an_app_that_takes_many_at_once_has_no_queue() {
        let usual = Usual {
            ahead: 8,
            app_by_ahead: 0,
            ..USUAL
        };
        let slow = Times {
            app: 15_000,
            ahead: 20,
            ..QUICK
        };
        assert_eq!(judge(slow, Some(&usual)).verdict, Verdict::App);
    }

    #[test]
    fn an_answer_that_is_late_by_a_retransmission_was_lost_where_other_things_are() {
        let late = |app, is_lossy| {
            let late = Times {
                app,
                is_lossy,
                ..QUICK
            };
            verdict(late).0
        };
        assert_eq!(late(USUAL.app + 200_000, true), Verdict::ClusterNetwork);
        assert_eq!(late(USUAL.app + 199_000, true), Verdict::App);
        assert_eq!(late(USUAL.app + 200_000, false), Verdict::App);
    }

    #[test]
    fn nobody_is_to_blame_while_nothing_is_usual_yet() {
        let slow = Times {
            app: 1_000_000,
            ..QUICK
        };
        assert_eq!(judge(slow, None).verdict, Verdict::None);
    }
}
