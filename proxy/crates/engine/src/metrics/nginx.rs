//! What ingress-nginx counts by route, under its names, so that its dashboards go on working.
//!
//! Source: ingress-nginx 1.13, `internal/ingress/metric/collectors/socket.go`, and its dashboards in
//! `deploy/grafana`. `docs/METRICS.md` says what differs.

use super::histogram::{DURATIONS, Histogram, SIZES};
use super::page::{Kind, Page, method_text, put_label, status_text};
use super::store::{Counts, Labels, Snapshot};

/// `le` of [`super::histogram::SIZE_BOUNDS`].
const SIZE_LE: [&str; SIZES] = [
    "10.0",
    "100.0",
    "1000.0",
    "10000.0",
    "100000.0",
    "1000000.0",
    "10000000.0",
    "+Inf",
];

/// Every family; `constant` are the labels that every sample has.
pub(super) fn put_nginx(page: &mut Page, snapshot: &Snapshot, constant: &[(String, String)]) {
    let shown: Vec<(String, &Counts)> = snapshot
        .series
        .iter()
        .flat_map(|(labels, series)| series.counts.iter().map(move |counts| (labels, counts)))
        .map(|(labels, counts)| (labels_text(constant, labels, counts), counts))
        .collect();
    let name = "nginx_ingress_controller_requests";
    page.family(name, Kind::CounterOfOldName, "Client requests.");
    for (labels, counts) in &shown {
        page.labelled(name, "", labels, &[], counts.duration.total());
    }
    let durations: [Of<DURATIONS>; 2] = [
        (
            "nginx_ingress_controller_request_duration_seconds",
            "Time that requests took, with what the client's network took.",
            |counts| &counts.duration,
        ),
        (
            "nginx_ingress_controller_response_duration_seconds",
            "Time that attempts at endpoints took.",
            |counts| &counts.upstream,
        ),
    ];
    for (name, help, of) in durations {
        page.family(name, Kind::Histogram, help);
        for (labels, counts) in &shown {
            page.durations(name, labels, of(counts), None);
        }
    }
    let sizes: [Of<SIZES>; 3] = [
        (
            "nginx_ingress_controller_request_size",
            "Heads and bodies of requests, in bytes.",
            |counts| &counts.request_size,
        ),
        (
            "nginx_ingress_controller_response_size",
            "Bodies of responses, in bytes.",
            |counts| &counts.response_size,
        ),
        (
            "nginx_ingress_controller_bytes_sent",
            "As response_size, which replaces it.",
            |counts| &counts.response_size,
        ),
    ];
    for (name, help, of) in sizes {
        page.family(name, Kind::Histogram, help);
        for (labels, counts) in &shown {
            put_sizes(page, name, labels, of(counts));
        }
    }
}

/// A family: name, help, and which histogram it is.
type Of<const N: usize> = (&'static str, &'static str, fn(&Counts) -> &Histogram<N>);

fn put_sizes(page: &mut Page, name: &str, labels: &str, histogram: &Histogram<SIZES>) {
    let mut seen = 0;
    for (le, count) in SIZE_LE.iter().zip(histogram.buckets) {
        seen += count;
        page.labelled(name, "_bucket", labels, &[("le", le)], seen);
    }
    page.labelled(name, "_sum", labels, &[], histogram.sum);
    page.labelled(name, "_count", labels, &[], seen);
}

fn labels_text(constant: &[(String, String)], labels: &Labels, counts: &Counts) -> String {
    let mut text = String::new();
    for (name, value) in constant {
        put_label(&mut text, name, value);
    }
    let status = status_text(counts.status);
    let own = [
        ("namespace", &*labels.namespace),
        ("ingress", &*labels.ingress),
        ("service", &*labels.service),
        ("canary", ""),
        ("host", &*labels.host),
        ("path", &*labels.path),
        ("method", method_text(counts.method)),
        ("status", &*status),
    ];
    for (name, value) in own {
        put_label(&mut text, name, value);
    }
    text
}
