//! Which traces are kept, as the request comes: the parent's word, else rules, a rate and a ratio.
//!
//! Rules: pure but for the buckets of rates; nothing here allocates. What is decided when a request
//! is over is in `tail.rs`. `docs/SAMPLING.md` says it in words and numbers.
//!
//! Source: OpenTelemetry, `ParentBased` and "`TraceState`: Probability Sampling"; Jaeger, "Sampling".

use crate::instant::Instant;

use serde::Deserialize;

use super::bucket::Bucket;
use super::context::{FLAG_RANDOM, FLAG_SAMPLED};
use super::id::TraceId;
use super::probability::{Threshold, randomness};
use crate::message::RequestHead;

/// What is done about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Tracing is off: no span, and the client's trace context passes through as it came.
    Off,
    /// No span here, but a trace context is passed on with the flag down.
    Unsampled,
    /// Spans are recorded, and upstream is told so.
    Sampled(By),
}

impl Decision {
    /// Whether spans are recorded and upstream is told so.
    #[must_use]
    pub fn is_sampled(self) -> bool {
        matches!(self, Self::Sampled(_))
    }

    /// The W3C trace flags to pass on; `is_random`: the trace's id is, as far as is known.
    #[must_use]
    pub fn flags(self, is_random: bool) -> u8 {
        let flag = |flag, is_set| if is_set { flag } else { 0 };
        flag(FLAG_SAMPLED, self.is_sampled()) | flag(FLAG_RANDOM, is_random)
    }
}

/// Why a trace is kept: a closed vocabulary, listed in `docs/SPANS.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// Every trace is.
    All,
    /// The parent was.
    Parent,
    /// The policy's ratio.
    Ratio,
    /// The ratio of one of the policy's rules.
    Rule,
    /// A rate: how many traces stand behind it is not known.
    Rate,
    /// What a remote sampler said, be it a ratio or a rate.
    Remote,
    /// Somebody who may has asked for it.
    Debug,
    /// The request failed.
    TailError,
    /// The request was slower than nearly all of its route.
    TailSlow,
    /// Somebody made the request slower than usual.
    TailVerdict,
}

impl By {
    /// The name in spans; empty where there is nothing to say.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "",
            Self::Parent => "parent",
            Self::Ratio => "ratio",
            Self::Rule => "rule",
            Self::Rate => "rate",
            Self::Remote => "remote",
            Self::Debug => "debug",
            Self::TailError => "tail_error",
            Self::TailSlow => "tail_slow",
            Self::TailVerdict => "tail_verdict",
        }
    }
}

/// How the requests of some routes are traced: `proxy/table.py` says what each part means.
#[derive(Debug, PartialEq, Eq)]
pub struct TracingPolicy {
    /// Whether a parent's flag decides.
    pub is_parent_based: bool,
    /// The first that matches decides.
    pub rules: Vec<Rule>,
    /// The share where none does.
    pub share: Share,
    /// No more traces in a second.
    pub limit: Option<Bucket>,
    /// Spans in a second of requests that were not sampled and failed or were slow.
    pub tail: Option<Bucket>,
    /// Which of the recorded ones have their phases as spans.
    pub phase_spans: PhaseSpans,
    /// Whether a remote sampler has made it.
    pub is_remote: bool,
}

impl Default for TracingPolicy {
    /// What applies where nothing is said: the defaults of `TracingPolicy` in `proxy/table.py`.
    fn default() -> Self {
        Self {
            is_parent_based: true,
            rules: Vec::new(),
            share: Share::of(1.0),
            limit: None,
            tail: None,
            phase_spans: PhaseSpans::Slow,
            is_remote: false,
        }
    }
}

/// Which requests have their phases as spans, besides as attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseSpans {
    /// None.
    Never,
    /// Those that failed, and those that were slow.
    Slow,
    /// All.
    Always,
}

/// A share of traces, and how many there are at least.
#[derive(Debug, PartialEq, Eq)]
pub struct Share {
    /// By the trace's random bits.
    pub threshold: Threshold,
    /// In a second, of those that the threshold rejects.
    pub floor: Option<Bucket>,
}

impl Share {
    /// A share of `ratio`, in \[0, 1\].
    #[must_use]
    pub fn of(ratio: f64) -> Self {
        Self {
            threshold: Threshold::new(ratio),
            floor: None,
        }
    }
}

/// A share of its own for some requests; an absent condition is met by all.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// A field that the request has.
    pub header: Option<HeaderMatch>,
    /// Its method.
    pub method: Option<Box<[u8]>>,
    /// The path of its route.
    pub route: Option<Box<str>>,
    /// What is kept of them.
    pub share: Share,
}

/// A field by its name, and its value unless any will do.
#[derive(Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// In any case of letters.
    pub name: Box<[u8]>,
    /// Byte by byte.
    pub value: Option<Box<[u8]>>,
}

impl Rule {
    fn matches(&self, asked: &Question<'_>) -> bool {
        let has_method = |method| asked.request.is_some_and(|it| it.method_bytes() == method);
        self.method.as_deref().is_none_or(has_method)
            && (self.route.is_none() || self.route.as_deref() == asked.route)
            && self
                .header
                .as_ref()
                .is_none_or(|HeaderMatch { name, value }| {
                    let fields = asked.request.into_iter().flat_map(|it| it.fields.iter());
                    let mut same = fields.filter(|field| field.name.eq_ignore_ascii_case(name));
                    same.any(|field| value.as_deref().is_none_or(|value| value == field.value))
                })
    }
}

/// What is to be decided about.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The parent's where there is a parent.
    pub trace_id: TraceId,
    /// What the parent has decided, if there is one that has.
    pub sampled: Option<bool>,
    /// The client's `tracestate`; may be empty.
    pub state: &'a [u8],
    /// `None` for a connection that is handed on.
    pub request: Option<&'a RequestHead>,
    /// The path of the route.
    pub route: Option<&'a str>,
    /// When the request came.
    pub now: Instant,
}

/// What was decided.
#[derive(Debug, Clone, Copy)]
pub struct Sampling<'a> {
    /// Never [`Decision::Off`].
    pub decision: Decision,
    /// What `tracestate` is to say of it.
    pub probability: Probability<'a>,
    /// Whether the trace would have been kept but for the policy's rate.
    pub is_over_rate: bool,
}

/// How likely it was that the trace is kept.
#[derive(Debug, Clone, Copy)]
pub enum Probability<'a> {
    /// As the client says.
    Told,
    /// Nobody knows.
    Unknown,
    /// As likely as that.
    Known(&'a Threshold),
}

impl TracingPolicy {
    /// The decision for a trace.
    #[must_use]
    pub fn decide(&self, asked: &Question<'_>) -> Sampling<'_> {
        if let Some(is_sampled) = asked.sampled.filter(|_| self.is_parent_based) {
            return Sampling {
                decision: if is_sampled {
                    Decision::Sampled(By::Parent)
                } else {
                    Decision::Unsampled
                },
                probability: Probability::Told,
                is_over_rate: false,
            };
        }
        let rule = self.rules.iter().find(|rule| rule.matches(asked));
        let share = rule.map_or(&self.share, |rule| &rule.share);
        let random = randomness(asked.state).unwrap_or_else(|| asked.trace_id.low_56_bits());
        let may_take = |bucket: &Option<Bucket>| bucket.as_ref().map(|it| it.take(1, asked.now));
        let (by, probability) = if share.threshold.keeps(random) {
            match may_take(&self.limit) {
                None => {
                    let by = match rule {
                        Some(_) => By::Rule,
                        None if share.threshold.keeps_all() => By::All,
                        None => By::Ratio,
                    };
                    (by, Probability::Known(&share.threshold))
                }
                Some(true) => (By::Rate, Probability::Unknown),
                Some(false) => return Sampling::rejected(true),
            }
        } else if may_take(&share.floor) == Some(true) {
            (By::Rate, Probability::Unknown)
        } else {
            return Sampling::rejected(false);
        };
        let by = if self.is_remote { By::Remote } else { by };
        Sampling {
            decision: Decision::Sampled(by),
            probability,
            is_over_rate: false,
        }
    }
}

impl Sampling<'_> {
    fn rejected(is_over_rate: bool) -> Self {
        Self {
            decision: Decision::Unsampled,
            probability: Probability::Unknown,
            is_over_rate,
        }
    }

    /// Sampled whatever the policy says.
    #[must_use]
    pub fn forced() -> Self {
        Self {
            decision: Decision::Sampled(By::Debug),
            probability: Probability::Unknown,
            is_over_rate: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::id::Ids;
    use super::*;
    use Decision::{Sampled, Unsampled};

    fn ratio(ratio: f64) -> TracingPolicy {
        TracingPolicy {
            share: Share::of(ratio),
            ..TracingPolicy::default()
        }
    }

    fn root(trace_id: TraceId) -> Question<'static> {
        Question {
            trace_id,
            sampled: None,
            state: b"",
            request: None,
            route: None,
            now: Instant::now(),
        }
    }

    fn child(is_sampled: bool, state: &[u8]) -> Question<'_> {
        let trace_id = TraceId::from_bytes([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        Question {
            sampled: Some(is_sampled),
            state,
            ..root(trace_id.unwrap())
        }
    }

    #[test]
    fn the_parents_flag_decides_over_the_ratio() {
        let all = ratio(1.0).decide(&child(false, b"")).decision;
        let none = ratio(0.0).decide(&child(true, b"")).decision;
        assert_eq!((all, none), (Unsampled, Sampled(By::Parent)));
    }

    #[test]
    fn without_parents_the_ratio_decides_by_the_parents_trace_id_or_randomness() {
        let half = TracingPolicy {
            is_parent_based: false,
            ..ratio(0.5)
        };
        let decide = |is_sampled, state| half.decide(&child(is_sampled, state)).decision;
        assert_eq!(decide(true, b""), Unsampled);
        assert_eq!(decide(false, b"ot=rv:80000000000000"), Sampled(By::Ratio));
        assert_eq!(decide(false, b"ot=rv:7fffffffffffff"), Unsampled);
    }

    #[test]
    fn a_tenth_keeps_about_a_tenth() {
        let (mut ids, tenth) = (Ids::from_seeds(1, 2), ratio(0.1));
        let kept = (0..100_000)
            .filter(|_| tenth.decide(&root(ids.trace_id())).decision.is_sampled())
            .count();
        assert!((9_500..10_500).contains(&kept), "{kept}");
    }

    #[test]
    fn a_rate_bounds_what_the_ratio_keeps_and_says_that_it_did() {
        let now = Instant::now();
        let policy = TracingPolicy {
            limit: Some(Bucket::new(3.0, now)),
            ..ratio(1.0)
        };
        let mut ids = Ids::from_seeds(1, 2);
        let mut decide = || {
            policy.decide(&Question {
                now,
                ..root(ids.trace_id())
            })
        };
        for _ in 0..3 {
            assert_eq!(decide().decision, Sampled(By::Rate));
        }
        assert_eq!(decide().decision, Unsampled);
        assert!(decide().is_over_rate);
    }

    #[test]
    fn a_floor_keeps_some_of_what_the_ratio_rejects() {
        let start = Instant::now();
        let policy = TracingPolicy {
            share: Share {
                floor: Some(Bucket::new(1.0, start)),
                ..Share::of(0.0)
            },
            ..TracingPolicy::default()
        };
        let mut ids = Ids::from_seeds(1, 2);
        let kept = (0..100).filter(|tenth| {
            let now = start + Duration::from_millis(100 * tenth);
            let asked = Question {
                now,
                ..root(ids.trace_id())
            };
            policy.decide(&asked).decision == Sampled(By::Rate)
        });
        assert!((10..=11).contains(&kept.count()));
    }

    #[test]
    fn what_a_remote_sampler_keeps_is_kept_by_it() {
        let policy = TracingPolicy {
            is_remote: true,
            ..ratio(1.0)
        };
        let trace_id = Ids::from_seeds(1, 2).trace_id();
        assert_eq!(policy.decide(&root(trace_id)).decision, Sampled(By::Remote));
    }

    #[test]
    fn flags_say_what_was_decided_and_whether_the_id_is_random() {
        assert_eq!(Sampled(By::Parent).flags(true), 3);
        assert_eq!(Unsampled.flags(true), 2);
        assert_eq!(Sampled(By::Ratio).flags(false), 1);
        assert_eq!(Unsampled.flags(false), 0);
    }
}
