//! Every bound of the engine in one place: a unit, the precedent for the value, and what happens
//! when it is reached.

use std::time::Duration;

/// Start line and fields of a request together, with their line ends. Over it: 431.
///
/// nginx allows 4 x 8 KiB, Envoy 60 KiB.
pub const REQUEST_HEAD_BYTES_MAX: usize = 64 * 1024;

/// Method, target and version with the line end. Over it: 414.
///
/// RFC 9112 section 3 asks for at least 8000; nginx allows 8 KiB; `HAProxy` and Node 16 KiB for the
/// whole head.
pub const REQUEST_LINE_BYTES_MAX: usize = 16 * 1024;

/// A method's name. Over it: 501, which RFC 9112 section 3 asks for.
///
/// The longest registered one, UPDATEREDIRECTREF, has 17 bytes.
pub const METHOD_BYTES_MAX: usize = 32;

/// Status line and fields of a response together. Over it the upstream is at fault: 502.
///
/// Envoy takes 60 KiB from upstream; ingress-nginx users raise `proxy-buffer-size` to 16 or 32 KiB.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 64 * 1024;

/// Fields of one head. Over it: 431 for a request, 502 for a response.
///
/// Envoy and Apache httpd allow 100.
pub const HEAD_FIELDS_MAX: usize = 100;

/// Names in all `Connection` fields of one head, where it names a field: each field of the head is looked for
/// among them, and 30,000 of them cost 12 ms a request. Over it: 431 for a request, 502 for a response. There
/// are seven fields that belong there (RFC 9110 section 7.6.1).
pub const CONNECTION_OPTIONS_MAX: usize = 32;

/// A host without its port. Over it: 400.
///
/// A name in the DNS has at most 253 characters (RFC 1035 section 2.3.4, written with dots).
pub const HOST_BYTES_MAX: usize = 253;

/// The extensions of one chunk; they are validated and dropped. Over it: 400.
///
/// Go allows 4 KiB a line, but also counts them over the whole body; nobody sends any.
pub const CHUNK_EXTENSION_BYTES_MAX: u32 = 256;

/// The extensions of all chunks of one body, so that a body is not made of them. Over it: 400.
///
/// Go closes when they outweigh the data by 16 KiB.
pub const BODY_EXTENSION_BYTES_MAX: u32 = 16 * 1024;

/// The trailer section of one body. Over it: 431.
///
/// nginx allows one field of 8 KiB.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// A connection's read buffer, while it holds bytes. It has room for more than the longest head, so that a
/// head that is too long is seen, and for a response of 64 KiB with its head, so that this comes in one
/// read. Full means that the connection is not read: back-pressure. nginx: 1 KiB for a head, 8 KiB for a
/// body; hyper: 8 to 408 KiB.
pub const READ_BUFFER_BYTES: usize = 128 * 1024;

/// Read buffers that a worker keeps for others; more are freed.
pub const SPARE_READ_BUFFERS_MAX: usize = 64;

/// Bodies up to this length are copied behind their head, so that both leave in one plain send;
/// above it they are sent from where they are.
pub const COALESCE_BYTES_MAX: usize = 16 * 1024;

/// From the first byte of a request to the end of its head. nginx `client_header_timeout`: 60 s.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two requests on a connection. nginx `keepalive_timeout`: 75 s.
pub const DOWNSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Between two reads of a request's body and two writes of its response, while the client is who
/// we wait for, unless its route's policy says otherwise. nginx `client_body_timeout` and `send_timeout`:
/// 60 s.
pub const DOWNSTREAM_STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes a second that a client must send of a body and take of a response, while it is waited for and
/// beyond the above, unless its route's policy says otherwise: who sends a byte a minute would
/// occupy an app for ever. Below it: 408, or the response ends. Kestrel `MinRequestBodyDataRate` and
/// `MinResponseDataRate`: 240; Apache httpd `RequestReadTimeout` `MinRate`: 500.
pub const CLIENT_BYTES_PER_S_MIN: u64 = 240;

/// How long a connection that we close may go on sending before it is cut off, so that the
/// response reaches the client. nginx `lingering_timeout`: 5 s.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// How much is read and thrown away while lingering.
pub const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// An idle upstream connection is closed after this. nginx upstream `keepalive_timeout`: 60 s.
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Idle upstream connections per endpoint and worker; beyond it they are closed after use.
/// ingress-nginx `upstream-keepalive-connections`: 320 per worker.
pub const UPSTREAM_IDLE_CONNECTIONS_MAX: usize = 320;

/// Edits of one head that a policy may make. Gateway API: 16 of each kind. Over it the policy is
/// refused.
pub const HEADER_EDITS_MAX: usize = 64;

/// Text with variables: a header's value, the location of a redirect. nginx: 4 KiB a directive.
/// Over it the policy is refused.
pub const TEMPLATE_BYTES_MAX: usize = 4 * 1024;

/// Variables in one text, each of which may become as long as a request's head. Over it the policy
/// is refused.
pub const TEMPLATE_VARIABLES_MAX: usize = 16;

/// The pattern, or the replacement, of a rewrite. nginx: 4 KiB a directive. Over it the policy is
/// refused. What a rewrite makes may be as long as a request line.
pub const REWRITE_BYTES_MAX: usize = 4 * 1024;

/// A rewrite's compiled regular expression. Over it the policy is refused: who may write an Ingress must
/// not have a request of a stranger hold a worker up, and the time for a match grows with this times
/// the path. With 256 KiB and a path of 16 KB it was up to 37 s, with this and
/// [`REWRITE_PATH_BYTES_MAX`] a millisecond. Usual ones take 600 bytes to 4 KiB; PCRE, as nginx has
/// it, allows 64 KiB; the `regex` crate 10 MiB.
pub const REWRITE_REGEX_BYTES_MAX: usize = 16 * 1024;

/// A path that is to be rewritten, without its query. Over it: 400. Browsers and sitemaps stop at
/// 2,048 for the whole address; a route's path has at most 4 KiB, too.
pub const REWRITE_PATH_BYTES_MAX: usize = 4 * 1024;

/// What a regular expression may remember per thread to be fast; full, it begins anew. The `regex`
/// crate: 2 MiB.
pub const REWRITE_CACHE_BYTES_MAX: usize = 256 * 1024;

/// Networks in one allow or deny list. nginx has no bound; a country has some ten thousand. Over it
/// the policy is refused.
pub const NETWORKS_MAX: usize = 64 * 1024;

/// An endpoint's weight; above it its backend is rejected. `HAProxy`: 256; Envoy: 128 by default.
pub const ENDPOINT_WEIGHT_MAX: u32 = 1000;

/// Attempts of one request that a policy may ask for; Envoy has no bound, nginx neither.
pub const ATTEMPTS_MAX: u32 = 10;

/// How far back a backend's requests and retries are counted. Finagle and linkerd: 10 s.
pub const RETRY_WINDOW_S: u32 = 10;

/// Retries that a backend may always get, so that one with few requests is retried at all; beyond
/// these and its share the failure is passed on. Finagle: 10 a second; Envoy: 3 at a time.
pub const RETRIES_PER_SECOND_MIN: u64 = 3;

/// Requests that a table lets wait for one backend. Envoy `max_pending_requests`: 1024 unless set;
/// a table that asks for more is refused that backend.
pub const QUEUE_MAX: u32 = 1_000_000;

/// How long a request may wait for its backend where the table says no bound. nginx
/// `proxy_read_timeout` in ingress-nginx's advice for long polls: 3600 s.
pub const QUEUE_TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// What clients that were shed are told to wait, in seconds. The shortest that the field can say:
/// overload of this kind passes as soon as requests end.
pub const RETRY_AFTER_S: u32 = 1;

/// Interim (1xx) responses that one request may get. Go net/http: 5.
pub const INTERIM_RESPONSES_MAX: u32 = 5;

/// Streams that an HTTP/2 client may have open at once; more are refused. nginx
/// `http2_max_concurrent_streams`: 128; RFC 9113 section 6.5.2 asks for at least 100.
pub const HTTP2_STREAMS_MAX: u32 = 128;

/// Tasks that a client's HTTP/2 connection keeps for its next streams, some 7 KiB each; more end with
/// their stream.
pub const HTTP2_SPARE_TASKS_MAX: usize = 16;

/// Requests at once on one HTTP/2 connection to an endpoint, if it allows as many; for more another
/// one is opened. nginx `http2_max_concurrent_streams`: 128; Go: 100.
pub const HTTP2_UPSTREAM_STREAMS_MAX: usize = 100;

/// Idle HTTP/2 connections per endpoint and worker, which may carry 3,200 requests; beyond it they are
/// closed after use. Each holds tens of KiB, and one of HTTP/1 next to nothing:
/// [`UPSTREAM_IDLE_CONNECTIONS_MAX`]. nginx upstream `keepalive`, since 1.29.7: 32.
pub const HTTP2_UPSTREAM_IDLE_CONNECTIONS_MAX: usize = 32;

/// Connections that a worker opens at once to one endpoint for requests that will share them; what
/// those who wait need beyond that follows, so that a crowd does not overrun the endpoint's backlog.
/// `MongoDB` drivers `maxConnecting`: 2; Envoy: as many as are needed.
pub const UPSTREAM_OPENING_MAX: usize = 16;

/// Streams that a client resets before they were looked at, or that are still remembered after a
/// reset: more end the connection (rapid reset, CVE-2023-44487). The h2 crate's own bound is 20.
pub const HTTP2_RESET_STREAMS_MAX: usize = 20;

/// How soon after its beginning a reset stream counts as one that was never meant, whose request an
/// endpoint may have by then. Envoy `premature_reset_min_stream_lifetime_seconds`: 1 s.
pub const HTTP2_PREMATURE_RESET: Duration = Duration::from_secs(1);

/// Streams of one connection that may be reset so soon, as long as more are served; beyond it the
/// connection ends. A client that waits until its request is forwarded gets around
/// [`HTTP2_RESET_STREAMS_MAX`], and each reset costs an endpoint a connection. Envoy
/// `premature_reset_total_stream_count`: 500, half of which may be.
pub const HTTP2_PREMATURE_RESETS_MAX: u32 = 250;

/// What one HTTP/2 stream may send ahead of who takes it. nginx: 64 KiB; Go: 1 MiB.
pub const HTTP2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// The same for all streams of one client's connection together. Go: 1 MiB.
pub const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// The same for all streams of one connection to an endpoint together: all that they may. They are of
/// many clients, and what the slow ones have not taken must not hold up the others. Go: 1 GiB.
pub const HTTP2_UPSTREAM_WINDOW_BYTES: u32 =
    HTTP2_UPSTREAM_STREAMS_MAX as u32 * HTTP2_STREAM_WINDOW_BYTES;

/// What is held for one HTTP/2 stream until the connection takes it; then its source is not read.
pub const HTTP2_SEND_BUFFER_BYTES: usize = 256 * 1024;

/// What is gathered of an HTTP/2 connection's frames before it is sent: full, it is sent at once, and
/// what the kernel does not take holds the connection up. nginx `http2_chunk_size`: 8 KiB a frame;
/// Go: 4 KiB.
pub const HTTP2_GATHERED_BYTES_MAX: usize = 64 * 1024;

/// Connections of one worker, unless the engine is started with another number. Beyond it those give way
/// that have waited for a request the longest, and where none does, accepting pauses. nginx
/// `worker_connections` as ingress-nginx sets it: 16384.
pub const CONNECTIONS_PER_WORKER_MAX: usize = 16_384;

/// Connections that give way at once, since to find them all are looked at; but no more than an eighth of
/// those that wait. nginx (`ngx_drain_connections`) has the same numbers.
pub const CONNECTIONS_GIVING_WAY_MAX: usize = 32;

/// Connections that wait in the kernel to be accepted, per listener and worker. nginx: 511; the
/// kernel cuts it to `net.core.somaxconn`.
pub const LISTEN_BACKLOG: i32 = 4096;

/// Workspaces (head, write buffers) a worker keeps for its next requests; more are freed.
pub const SPARE_WORKSPACES_MAX: usize = 256;

/// What each write buffer of a spare workspace keeps of its memory.
pub const SPARE_BYTES_MAX: usize = 16 * 1024;

/// How often a worker hands its spans over and looks after idle connections.
pub const TICK: Duration = Duration::from_millis(200);

/// How long the event loop is let look at its sockets before idle connections are closed: the
/// shortest time that it can wait for.
pub const EVENT_LOOP_TURN: Duration = Duration::from_millis(1);

/// Commands from the control plane that wait for one worker; a publisher then waits.
pub const WORKER_COMMANDS_MAX: usize = 64;

/// A batch is sealed when it is this long: some 60 requests. Larger ones took an exporter on a
/// worker's core so long that the p99 showed it.
pub const BATCH_BYTES: usize = 96 * 1024;

/// Used buffers kept for the workers, so that they need not fault in new pages: one per worker.
pub const SPARE_BUFFERS_MAX: usize = 16;

/// How much slower than usual a request must be for somebody to be blamed: this, in microseconds …
///
/// A scheduler's turn and a queue of small packets are below it.
pub const VERDICT_EXCESS_US_MIN: u64 = 1_000;

/// … and at least this part of what is usual: one half. What takes 200 ms varies by more than what
/// takes 2 ms.
pub const VERDICT_EXCESS_SHARE: u64 = 2;

/// Routes of which one worker knows what is usual, some 100 bytes each. Requests of more routes get
/// no verdict.
pub const BASELINES_MAX: usize = 16_384;

/// Requests that must have been seen before something is usual.
pub const BASELINE_REQUESTS_MIN: u32 = 16;

/// Requests after which a baseline follows time, no longer each request.
pub const BASELINE_WARM_UP_REQUESTS: u32 = 64;

/// The time in which a baseline doubles at most: a route that slows down from 1 to 20 ms is told to
/// be slow for four minutes, then that is usual.
pub const BASELINE_DOUBLING: Duration = Duration::from_secs(60);

/// What is left of a body for which the kernel is asked to move it by itself (`splice.rs`): for less,
/// copying costs no more. `HAProxy`: what fills a buffer, 16 KiB.
pub const SPLICE_BYTES_MIN: u64 = 512 * 1024;

/// The end of such a body, which is read and written as others are.
pub const SPLICE_TAIL_BYTES: u64 = 128 * 1024;

/// What a pipe may hold; the kernel lets everybody have that much, `fs.pipe-max-size`. `HAProxy`: 64 KiB,
/// `tune.pipesize`.
pub const PIPE_BYTES: usize = 1024 * 1024;

/// Pipes of a worker in use; further bodies are copied. `HAProxy` `maxpipes`: a quarter of the connections.
pub const PIPES_MAX: usize = 256;

/// Pipes that a worker keeps for its next large bodies; more are closed.
pub const SPARE_PIPES_MAX: usize = 16;

/// Answers of the kernel that are taken from a socket at once: of one message there is one, and an
/// old one or two that nobody took.
pub const KERNEL_ANSWERS_MAX: usize = 16;

/// So long the distance between the clock of the kernel's timestamps and ours is taken to be the same. The
/// kernel lets a clock run faster or slower by 500 ppm at most (adjtimex(2)): 5 µs.
pub const CLOCKS_AGE_MAX: Duration = Duration::from_millis(10);

/// How old the numbers of a client's connection may be in the span of a request. Whatever takes longer is
/// looked at itself, and what is faster has no network to explain: the kernel waits for 200 ms before it
/// sends again what nothing was heard of (`TCP_RTO_MIN`).
pub const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A response from which on the kernel is asked when it was delivered: what is smaller leaves at once and
/// takes one trip. Linux: ten segments, `TCP_INIT_CWND`.
pub const DELIVERY_ASKED_BYTES_MIN: usize = 16 * 1024;

/// How near to its end a response must be for that: each question costs a system call.
pub const DELIVERY_ASKED_BYTES_MAX: u64 = 64 * 1024;

/// The end of a write that is not asked about: more than the two segments for which a client's kernel
/// waits before it acknowledges, or for up to 200 ms.
pub const DELIVERY_TAIL_BYTES: usize = 4 * 1024;

/// How long a request is kept open after its response was written, for the client's kernel to say that it
/// has it. As long as whoever reads spans waits for them: the Collector's tail sampling, 30 s.
pub const DELIVERY_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long a worker can be believed to have left bytes unread: longer ones are a clock that was set.
/// A node that is starved that much is not ready, by the kubelet's own measure (40 s), for long.
pub const WAKE_UP_MAX: Duration = Duration::from_secs(60);

/// How long it is believed of the path to an endpoint what a handshake or a loss has told, where
/// nothing newer does.
pub const PATH_AGE_MAX: Duration = Duration::from_secs(10);

/// The least by which something is late that had to be sent again. Linux: `TCP_RTO_MIN`, 200 ms.
pub const RETRANSMISSION_US_MIN: u64 = 200_000;

/// How often a worker makes a new connection although it has an idle one, to learn how long a handshake
/// takes now. 20 a second cost some 2 ms of CPU, 20 ms with TLS.
pub const ROUND_TRIP_RENEWAL: Duration = Duration::from_millis(50);

/// How old an anchor may get. Clocks slewed by NTP drift at most 500 ppm: 5 ms in ten seconds.
pub const ANCHOR_AGE_MAX: Duration = Duration::from_secs(10);

/// Bytes of one string value, before invalid ones are replaced. Envoy cuts paths at 256
/// (`max_path_tag_length`); user agents of browsers are that long already.
pub const VALUE_BYTES_MAX: usize = 512;

/// Header fields of requests that are recorded on spans, those of responses, and keys of queries whose
/// values are, each. Over it: the table's part is rejected. The SDKs of OpenTelemetry have no bound
/// but 128 attributes a span.
pub const CAPTURED_NAMES_MAX: usize = 16;

/// Values of one such field; the rest is left out. Fields that are repeated at all are so two or
/// three times.
pub const CAPTURED_VALUES_MAX: usize = 8;

/// Bytes of the name of such a field or key. Over it: rejected. The longest name that IANA has
/// registered has 45.
pub const CAPTURED_NAME_BYTES_MAX: usize = 64;

/// From here on a request is slow while fewer than a hundred of its route are known: later, if it
/// takes longer than 99 of 100. One second is how long a person waits without losing the thread
/// (Nielsen, "Response Times"); slow query logs of databases begin at 0.1 to 10 s.
pub const SLOW_REQUEST: Duration = Duration::from_secs(1);

/// List members of one `tracestate`. Source: Trace Context, "tracestate Header Field Values".
pub const TRACESTATE_MEMBERS_MAX: usize = 32;

/// All `tracestate` fields together. The specification asks for at least 512.
pub const TRACESTATE_BYTES_MAX: usize = 512;

/// The value of one member of `tracestate`. Source: Trace Context, "value".
pub const TRACESTATE_VALUE_BYTES_MAX: usize = 256;

/// Sampling rules of one policy, each of which may be looked at for a request. Over it the policy is
/// refused. Gateway API: 16 rules of a route.
pub const SAMPLING_RULES_MAX: usize = 64;

/// Traces or spans in a second that a policy may name; more is no bound. Over it the policy is
/// refused.
pub const RATE_PER_S_MAX: f64 = 1e6;

/// How far ahead the expiry of a signed `X-Spanway-Debug` may be: a signature that is good for ever
/// is a key. Over it the field says nothing. AWS, signed URLs: 7 days.
pub const DEBUG_LIFE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// List members of all `baggage` fields together. Source: Baggage, "Limits".
pub const BAGGAGE_MEMBERS_MAX: usize = 64;

/// All `baggage` fields together. Source: Baggage, "Limits".
pub const BAGGAGE_BYTES_MAX: usize = 8192;

/// A field `X-Amzn-Trace-Id` whose further fields are passed on, beside ids and decision; of a longer
/// one they are dropped. AWS's own are at most about 200 bytes; as much as a `tracestate`.
pub const XRAY_FIELDS_BYTES_MAX: usize = 512;

/// Datadog's tags that are passed on with a trace, and its origin; longer ones are dropped. Its own
/// libraries: 512 (`DD_TRACE_X_DATADOG_TAGS_MAX_LENGTH`).
pub const DATADOG_TAGS_BYTES_MAX: usize = 512;

/// Cells that a worker counts in before it gives them to the store: at 1.3 KiB a cell, 1.3 MiB. A
/// scrape empties them, too.
pub const TALLY_CELLS_MAX: usize = 1024;

/// Methods and statuses that are told apart for one route; more are counted as method `_OTHER` and
/// by the class of their status, of which there are nine. ingress-nginx has no bound.
pub const METRICS_CELLS_PER_ROUTE: usize = 16;

/// Routes without a label set of their own whose requests are compared with those that have one;
/// more are not looked at until the next time.
pub const METRICS_CANDIDATES_MAX: usize = 16 * 1024;

/// How often a route with few requests loses its label set to one with many. Prometheus forgets a
/// series that is no longer there after 5 minutes at the latest.
pub const METRICS_RANK_INTERVAL: Duration = Duration::from_secs(300);

/// How long the label set of a route that is no longer in the table is exposed after its last
/// request: some scrapes, whatever their interval.
pub const METRICS_GONE_AFTER: Duration = Duration::from_secs(900);

/// Lines that a worker hands over at once, unless they are 200 ms old. nginx `access_log buffer`: 64 KiB
/// in most advice.
pub const LOG_CHUNK_BYTES: usize = 32 * 1024;

/// Lines that wait to be written: some 20,000. Full, new ones are dropped and counted.
pub const LOG_QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What is logged of one value of a client's. A path may be longer than what browsers send: 2,048.
pub const LOG_VALUE_BYTES_MAX: usize = 2048;

/// How long the last lines may take to be written when the engine ends.
pub const LOG_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long accepting pauses when it cannot go on: no file descriptor is free, or the worker has
/// as many connections as it may. nginx: 500 ms.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of a route's path. Nginx refuses locations above 4 KiB as too long directives.
pub const ROUTE_PATH_BYTES_MAX: usize = 4 * 1024;

/// The PROXY protocol's line of text with its line end. Over it: the connection is closed.
///
/// Source: its specification, section 2.1, "the worst case".
pub const PROXY_LINE_BYTES_MAX: usize = 107;

/// The PROXY protocol's binary header with its additional fields. Over it: the connection is
/// closed. nginx: 4096; the specification asks for at least 536.
pub const PROXY_HEADER_BYTES_MAX: usize = 4096;

/// Proxies that a request may have come through for its client's address to be looked for behind
/// them. Beyond it the address of the last one counts. Cloud chains have 2 to 5; the Internet's own
/// bound on hops is 64 by default (IP TTL).
pub const FORWARDED_HOPS_MAX: usize = 64;

const _: () = assert!(PROXY_LINE_BYTES_MAX <= PROXY_HEADER_BYTES_MAX);

/// A TLS `ClientHello` with its records; at most one read more is held. Over it: the alert
/// `unexpected_message`, and the connection is closed. nginx `preread_buffer_size`: 16 KiB.
pub const CLIENT_HELLO_BYTES_MAX: usize = 16 * 1024;

/// How long both sides of a connection that is handed on as it is may be silent. Then it is closed.
///
/// Envoy `idle_timeout` of its TCP proxy: 1 h; nginx `proxy_timeout`: 10 min.
pub const PASSTHROUGH_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Endpoints that such a connection is offered to; then it is closed. nginx
/// `proxy_next_upstream_tries` as ingress-nginx sets it: 3.
pub const PASSTHROUGH_ATTEMPTS_MAX: u32 = 3;

/// One read of such a connection; it is on the stack while it lasts. nginx `proxy_buffer_size` of
/// its stream module: 16 KiB.
pub const JOIN_READ_BYTES: usize = 16 * 1024;

/// Live requests and connections that a worker lists; what is above is served and not listed. As many
/// as it may have requests and connections.
pub const LIVE_LISTED_MAX: usize = 2 * CONNECTIONS_PER_WORKER_MAX;

/// Live requests that a worker looks at before it serves others again: some tens of microseconds.
pub const LIVE_SLICE: usize = 128;

/// Rows that it makes of them before it serves others again: about as long.
pub const LIVE_ROWS_SLICE: usize = 8;

/// The part of the rows that are asked for, one quarter, which requests are kept for beside these: some are
/// over before theirs is made, and the next ones have it.
pub const LIVE_SPARE_SHARE: usize = 4;

/// Questions about live requests that wait for one worker; who asks more waits.
pub const LIVE_QUESTIONS_MAX: usize = 16;

/// How long workers have to answer such a question. The answer says how many did not.
pub const LIVE_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a worker may take before the next one is asked beside it: ten times what 16,384 requests take.
pub const LIVE_TURN: Duration = Duration::from_millis(50);

/// Live requests in one answer; the others are counted. A question for more is refused.
pub const LIVE_ROWS_MAX: usize = 10_000;

/// Conditions in one question about live requests; one with more is refused.
pub const LIVE_CONDITIONS_MAX: usize = 32;

/// Routes, services or nodes that live requests are counted by; the ones with the most are shown.
pub const LIVE_GROUPS_MAX: usize = 100;

const _: () = assert!(REQUEST_LINE_BYTES_MAX < REQUEST_HEAD_BYTES_MAX);
// The end of a body is long enough for what is asked of the kernel about it.
const _: () = assert!(SPLICE_TAIL_BYTES > DELIVERY_ASKED_BYTES_MAX);
const _: () = assert!(SPLICE_BYTES_MIN > SPLICE_TAIL_BYTES);
// A field's position in its head is kept as 32 bits.
const _: () = assert!(REQUEST_HEAD_BYTES_MAX < u32::MAX as usize / 2);
const _: () = assert!(RESPONSE_HEAD_BYTES_MAX < u32::MAX as usize / 2);
const _: () = assert!(READ_BUFFER_BYTES > REQUEST_HEAD_BYTES_MAX);
const _: () = assert!(READ_BUFFER_BYTES > RESPONSE_HEAD_BYTES_MAX);
