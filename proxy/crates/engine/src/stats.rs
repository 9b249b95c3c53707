//! What a worker counts. One writer, any number of readers.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// A number that one worker writes and others read.
///
/// Adding is a load and a store, not a locked instruction: correct because only the owning worker
/// writes.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. Only for the worker that owns the counter.
    pub fn add(&self, count: u64) {
        self.0
            .store(self.get().wrapping_add(count), Ordering::Relaxed);
    }

    /// Takes one away, for gauges. Only for the worker that owns the counter.
    pub fn sub_one(&self) {
        self.0.store(self.get().wrapping_sub(1), Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One worker's counters.
#[derive(Default)]
pub struct WorkerStats {
    /// Connections accepted from clients.
    pub connections: Counter,
    /// Connections from clients that are open now.
    pub connections_open: Counter,
    /// Connections that were ended while they waited, for others to have room.
    pub connections_crowded_out: Counter,
    /// TLS handshakes with clients that were finished; of these, the ones that resumed a session.
    pub tls_handshakes: Counter,
    pub tls_resumed: Counter,
    /// Of the finished ones, those of TLS 1.3.
    pub tls13_handshakes: Counter,
    /// TLS handshakes that failed or took too long.
    pub tls_handshakes_failed: Counter,
    /// Connections that were handed on as they are.
    pub connections_passed_through: Counter,
    /// Requests whose head was read and legal.
    pub requests: Counter,
    /// Requests that are being served now.
    pub requests_live: Counter,
    /// Requests that were refused because they are malformed.
    pub malformed: Counter,
    /// Connections that were closed because no PROXY header could be read from them.
    pub proxy_headers_missing: Counter,
    /// Responses by the first digit of their status; 0 is "none was sent".
    pub responses: [Counter; 6],
    /// Attempts at endpoints.
    pub attempts: Counter,
    /// Attempts that were not the first of their request.
    pub retries: Counter,
    /// Attempts that the policy asked for and that were not made: unsafe, too many, no budget.
    pub retries_denied: Counter,
    /// Waits of requests for their turn: at their backend, or to be connected to an endpoint.
    pub queued: Counter,
    /// Requests that their backend had no place for: the queue was full, or took too long.
    pub queue_refused: Counter,
    /// Requests that the worker refused because it served as many as it may.
    pub shed: Counter,
    /// Connections opened to endpoints.
    pub upstream_connects: Counter,
    /// Endpoints that were left out because they failed in a row.
    pub ejections: Counter,
    /// Requests whose baggage was too long to be passed on.
    pub baggage_dropped: Counter,
    /// Traces that a policy's rate had no room for.
    pub traces_over_rate: Counter,
    /// Requests that were not sampled and were recorded for how they ended; those that the tail's
    /// rate had no room for.
    pub tail_kept: Counter,
    pub tail_over_rate: Counter,
}

/// The sum over the workers, as JSON for the control plane.
#[derive(Default, Serialize)]
pub struct Totals {
    connections: u64,
    connections_open: u64,
    connections_crowded_out: u64,
    tls_handshakes: u64,
    tls_resumed: u64,
    tls13_handshakes: u64,
    tls_handshakes_failed: u64,
    connections_passed_through: u64,
    requests: u64,
    requests_live: u64,
    malformed: u64,
    proxy_headers_missing: u64,
    responses_none: u64,
    responses_1xx: u64,
    responses_2xx: u64,
    responses_3xx: u64,
    responses_4xx: u64,
    responses_5xx: u64,
    attempts: u64,
    retries: u64,
    retries_denied: u64,
    queued: u64,
    queue_refused: u64,
    shed: u64,
    upstream_connects: u64,
    ejections: u64,
    /// Endpoints that are left out now.
    pub endpoints_ejected: u64,
    baggage_dropped: u64,
    traces_over_rate: u64,
    tail_kept: u64,
    tail_over_rate: u64,
    /// Spans made, and of these the ones for which the queue had no room.
    pub spans_recorded: u64,
    pub spans_dropped: u64,
    /// Lines of the access log that were written, and those that were lost.
    pub log_lines: u64,
    pub log_lines_dropped: u64,
}

impl Totals {
    /// Adds one worker's counters.
    pub fn add(&mut self, worker: &WorkerStats) {
        let [none, of_1xx, of_2xx, of_3xx, of_4xx, of_5xx] = &worker.responses;
        for (total, counter) in [
            (&mut self.connections, &worker.connections),
            (&mut self.connections_open, &worker.connections_open),
            (
                &mut self.connections_crowded_out,
                &worker.connections_crowded_out,
            ),
            (&mut self.tls_handshakes, &worker.tls_handshakes),
            (&mut self.tls_resumed, &worker.tls_resumed),
            (&mut self.tls13_handshakes, &worker.tls13_handshakes),
            (
                &mut self.tls_handshakes_failed,
                &worker.tls_handshakes_failed,
            ),
            (
                &mut self.connections_passed_through,
                &worker.connections_passed_through,
            ),
            (&mut self.requests, &worker.requests),
            (&mut self.requests_live, &worker.requests_live),
            (&mut self.malformed, &worker.malformed),
            (
                &mut self.proxy_headers_missing,
                &worker.proxy_headers_missing,
            ),
            (&mut self.responses_none, none),
            (&mut self.responses_1xx, of_1xx),
            (&mut self.responses_2xx, of_2xx),
            (&mut self.responses_3xx, of_3xx),
            (&mut self.responses_4xx, of_4xx),
            (&mut self.responses_5xx, of_5xx),
            (&mut self.attempts, &worker.attempts),
            (&mut self.retries, &worker.retries),
            (&mut self.retries_denied, &worker.retries_denied),
            (&mut self.queued, &worker.queued),
            (&mut self.queue_refused, &worker.queue_refused),
            (&mut self.shed, &worker.shed),
            (&mut self.upstream_connects, &worker.upstream_connects),
            (&mut self.ejections, &worker.ejections),
            (&mut self.baggage_dropped, &worker.baggage_dropped),
            (&mut self.traces_over_rate, &worker.traces_over_rate),
            (&mut self.tail_kept, &worker.tail_kept),
            (&mut self.tail_over_rate, &worker.tail_over_rate),
        ] {
            *total += counter.get();
        }
    }
}
