//! The page that is scraped: Prometheus text 0.0.4, or `OpenMetrics` 1.0 with exemplars.
//!
//! It is written here and not in Python because it is long: 512 routes are about a hundred thousand
//! lines, which `prometheus_client` writes at some 10 µs each, with the interpreter's lock.
//!
//! Source: Prometheus, "Exposition formats"; the `OpenMetrics` specification 1.0.

use std::fmt::Write as _;
use std::io::Write as _;

use super::histogram::{DURATIONS, Histogram, PHASES};
use super::nginx::put_nginx;
use super::store::{Counts, Labels, Series, Snapshot};
use super::tally::{Exemplar, PhaseDurations};
use crate::message::Method;
use crate::trace::{Flag, Phases, Verdict};

/// What the scraper asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// `OpenMetrics` 1.0, whose `# EOF` is left to who joins pages.
    OpenMetrics,
}

/// What a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its samples end in `_total`.
    Counter,
    /// A counter whose name cannot end in `_total`, which `OpenMetrics` does not allow.
    CounterOfOldName,
    Gauge,
    Histogram,
}

/// `le` of [`super::histogram::DURATION_BOUNDS_US`] in seconds.
pub(super) const DURATION_LE: [&str; DURATIONS] = [
    "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0",
    "2.5", "5.0", "10.0", "30.0", "60.0", "+Inf",
];

/// `le` of [`super::histogram::PHASE_BOUNDS_US`] in seconds.
const PHASE_LE: [&str; PHASES] = [
    "5e-05", "0.00025", "0.001", "0.005", "0.025", "0.1", "0.5", "2.5", "10.0", "+Inf",
];

/// A page in the making.
pub struct Page {
    out: Vec<u8>,
    format: Format,
}

impl Page {
    /// An empty one.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            out: Vec::new(),
            format,
        }
    }

    /// Everything that is counted by route; beside it what ingress-nginx calls the same, if the
    /// labels that it has everywhere are given.
    #[must_use]
    pub fn write(mut self, snapshot: &Snapshot, nginx: Option<&[(String, String)]>) -> Vec<u8> {
        let shown: Vec<Shown<'_>> = snapshot
            .series
            .iter()
            .map(|(labels, series)| Shown {
                labels: labels_text(labels),
                series,
            })
            .collect();
        self.put_requests(&shown);
        self.put_durations(&shown);
        self.put_phases(&shown);
        self.put_phase_durations(&snapshot.phases);
        self.put_sizes(&shown);
        let gauges = [
            (
                "spanway_metrics_routes",
                "Routes with label sets of their own.",
                snapshot.routes,
            ),
            (
                "spanway_metrics_routes_max",
                "How many there may be.",
                snapshot.routes_max,
            ),
        ];
        for (name, help, value) in gauges {
            self.family(name, Kind::Gauge, help);
            self.sample(name, "", &[], value as u64);
        }
        if let Some(constant) = nginx {
            put_nginx(&mut self, snapshot, constant);
        }
        self.out
    }

    fn put_requests(&mut self, shown: &[Shown<'_>]) {
        let name = "spanway_requests";
        self.family(name, Kind::Counter, "Requests that are over.");
        for Shown { labels, series } in shown {
            for counts in &series.counts {
                let (method, status) = (method_text(counts.method), status_text(counts.status));
                let kind = [("method", method), ("status", status.as_str())];
                self.labelled(name, "_total", labels, &kind, counts.duration.total());
            }
        }
        let name = "spanway_requests_failed";
        self.family(name, Kind::Counter, "Requests that failed, by flag.");
        for Shown { labels, series } in shown {
            for (flag, count) in Flag::ALL.iter().zip(series.flags) {
                if count > 0 {
                    let flag = [("flag", flag.as_str())];
                    self.labelled(name, "_total", labels, &flag, count);
                }
            }
        }
        let name = "spanway_request_verdicts";
        let help = "Requests by who made them slower than usual.";
        self.family(name, Kind::Counter, help);
        for Shown { labels, series } in shown {
            for (verdict, count) in Verdict::ALL.iter().zip(series.verdicts) {
                let verdict = [("verdict", verdict.as_str())];
                self.labelled(name, "_total", labels, &verdict, count);
            }
        }
        let name = "spanway_upstream_attempts";
        self.family(name, Kind::Counter, "Attempts at endpoints.");
        for Shown { labels, series } in shown {
            self.labelled(name, "_total", labels, &[], series.attempts);
        }
    }

    fn put_durations(&mut self, shown: &[Shown<'_>]) {
        let name = "spanway_request_duration_seconds";
        let help = "From the first byte of a request to the last of its response.";
        self.family(name, Kind::Histogram, help);
        for Shown { labels, series } in shown {
            let duration = sum_of(series, |counts| &counts.duration);
            self.durations(name, labels, &duration, Some(&series.exemplars));
        }
        let name = "spanway_upstream_duration_seconds";
        let help = "Of these, the time that attempts at endpoints took.";
        self.family(name, Kind::Histogram, help);
        for Shown { labels, series } in shown {
            let upstream = sum_of(series, |counts| &counts.upstream);
            self.durations(name, labels, &upstream, None);
        }
    }

    fn put_phases(&mut self, shown: &[Shown<'_>]) {
        let name = "spanway_request_phase_seconds";
        let help = "Where the time of requests went; the phases of docs/SPANS.md.";
        self.family(name, Kind::Counter, help);
        for Shown { labels, series } in shown {
            for (phase, sum_us) in Phases::NAMES.iter().zip(series.phases.values()) {
                self.name(name, "_total");
                self.labels(labels, &[("phase", phase)]);
                self.seconds(sum_us);
                self.out.push(b'\n');
            }
        }
    }

    fn put_phase_durations(&mut self, phases: &PhaseDurations) {
        let name = "spanway_phase_duration_seconds";
        let help = "How long the phases of requests take, of all routes together.";
        self.family(name, Kind::Histogram, help);
        for (phase, histogram) in Phases::NAMES.iter().zip(&phases.0) {
            let labels = format!("phase=\"{phase}\"");
            self.histogram(name, &labels, (histogram, &PHASE_LE), None);
        }
    }

    fn put_sizes(&mut self, shown: &[Shown<'_>]) {
        let name = "spanway_request_bytes";
        self.family(name, Kind::Counter, "Heads and bodies of requests.");
        for Shown { labels, series } in shown {
            let bytes = series.counts.iter().map(|counts| counts.request_size.sum);
            self.labelled(name, "_total", labels, &[], bytes.sum());
        }
        let name = "spanway_response_body_bytes";
        self.family(name, Kind::Counter, "Bodies of responses.");
        for Shown { labels, series } in shown {
            let bytes = series.counts.iter().map(|counts| counts.response_size.sum);
            self.labelled(name, "_total", labels, &[], bytes.sum());
        }
    }

    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let is_text = self.format == Format::Text;
        let suffix = if kind == Kind::Counter && is_text {
            "_total"
        } else {
            ""
        };
        let kind = match kind {
            Kind::CounterOfOldName if !is_text => "unknown",
            Kind::Counter | Kind::CounterOfOldName => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = write!(
            self.out,
            "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"
        );
    }

    /// A sample without the labels of a route.
    fn sample(&mut self, name: &str, suffix: &str, labels: &[(&str, &str)], value: u64) {
        self.labelled(name, suffix, "", labels, value);
    }

    /// A sample; `labels` are written already, `more` are safe as they are.
    pub(super) fn labelled(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &str,
        more: &[(&str, &str)],
        value: u64,
    ) {
        self.name(name, suffix);
        self.labels(labels, more);
        self.number(value);
        self.out.push(b'\n');
    }

    /// A histogram of durations, in seconds.
    pub(super) fn durations(
        &mut self,
        name: &str,
        labels: &str,
        histogram: &Histogram<DURATIONS>,
        exemplars: Option<&[Option<Exemplar>; DURATIONS]>,
    ) {
        self.histogram(name, labels, (histogram, &DURATION_LE), exemplars);
    }

    /// A histogram of microseconds and the bounds of its buckets, in seconds.
    fn histogram<const N: usize>(
        &mut self,
        name: &str,
        labels: &str,
        (histogram, bounds): (&Histogram<N>, &[&str; N]),
        exemplars: Option<&[Option<Exemplar>; N]>,
    ) {
        let mut seen = 0;
        for (index, (le, count)) in bounds.iter().zip(histogram.buckets).enumerate() {
            seen += count;
            self.name(name, "_bucket");
            self.labels(labels, &[("le", le)]);
            self.number(seen);
            let exemplar = exemplars.and_then(|each| each.get(index).copied().flatten());
            self.exemplar(exemplar.as_ref());
            self.out.push(b'\n');
        }
        self.name(name, "_sum");
        self.labels(labels, &[]);
        self.seconds(histogram.sum);
        self.out.push(b'\n');
        self.labelled(name, "_count", labels, &[], seen);
    }

    fn exemplar(&mut self, exemplar: Option<&Exemplar>) {
        let Some(exemplar) = exemplar.filter(|_| self.format == Format::OpenMetrics) else {
            return;
        };
        self.out.extend_from_slice(b" # {trace_id=\"");
        self.out.extend_from_slice(&exemplar.trace.to_hex());
        self.out.extend_from_slice(b"\"} ");
        self.seconds(exemplar.duration_us);
        self.out.push(b' ');
        self.seconds(exemplar.unix_ns / 1_000);
    }

    fn name(&mut self, name: &str, suffix: &str) {
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(suffix.as_bytes());
    }

    fn labels(&mut self, labels: &str, more: &[(&str, &str)]) {
        if labels.is_empty() && more.is_empty() {
            return self.out.push(b' ');
        }
        self.out.push(b'{');
        self.out.extend_from_slice(labels.as_bytes());
        for (index, (name, value)) in more.iter().enumerate() {
            if index > 0 || !labels.is_empty() {
                self.out.push(b',');
            }
            for part in [name, "=\"", value, "\""] {
                self.out.extend_from_slice(part.as_bytes());
            }
        }
        self.out.extend_from_slice(b"} ");
    }

    fn number(&mut self, value: u64) {
        let mut digits = itoa::Buffer::new();
        self.out.extend_from_slice(digits.format(value).as_bytes());
    }

    fn seconds(&mut self, microseconds: u64) {
        self.number(microseconds / 1_000_000);
        let _ = write!(self.out, ".{:06}", microseconds % 1_000_000);
    }
}

/// A series with its labels as text, without braces.
struct Shown<'a> {
    labels: String,
    series: &'a Series,
}

fn sum_of<const N: usize>(series: &Series, of: impl Fn(&Counts) -> &Histogram<N>) -> Histogram<N> {
    let mut sum = Histogram::default();
    for counts in &series.counts {
        sum += of(counts);
    }
    sum
}

fn labels_text(labels: &Labels) -> String {
    let mut text = String::new();
    let all = [
        ("namespace", &labels.namespace),
        ("ingress", &labels.ingress),
        ("service", &labels.service),
        ("host", &labels.host),
        ("path", &labels.path),
    ];
    for (name, value) in all {
        put_label(&mut text, name, value);
    }
    text
}

/// Appends a label to those before it, its value escaped.
pub(super) fn put_label(text: &mut String, name: &str, value: &str) {
    let comma = if text.is_empty() { "" } else { "," };
    let _ = write!(text, "{comma}{name}=\"");
    for sign in value.chars() {
        match sign {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            sign => text.push(sign),
        }
    }
    text.push('"');
}

pub(super) fn method_text(method: Method) -> &'static str {
    method.name().unwrap_or("_OTHER")
}

/// A status, or its class where it is one.
pub(super) fn status_text(status: u16) -> String {
    match status {
        ..10 => format!("{status}xx"),
        _ => status.to_string(),
    }
}
