//! What a request leaves behind, read back with an independent decoder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod otlp;

mod wire_json;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use otlp::{Request, Span, Value};
use serde_json::json;
use spanway_engine::Instant;
use spanway_engine::limits::{CAPTURED_VALUES_MAX, VALUE_BYTES_MAX};
use spanway_engine::message::Fields;
use spanway_engine::table::{
    Backend, CapturedHeader, ListenerKind, Place, Route, SpanDetail, Table, wire,
};
use spanway_engine::trace::context::parse_traceparent;
use spanway_engine::trace::segment::{Fault, Stay};
use spanway_engine::trace::tail;
use spanway_engine::trace::{
    Anchor, Attempt, Balance, Baselines, Blocked, By, Call, Choice, Flag, GrpcStatus, Ids,
    Judgement, Messages, Net, Observed, PhaseSpans, Recorder, Resource, RetryDenied, Segment,
    SpanId, SpanQueue, Timeline, TlsSession, TraceId, Tunnel, Verdict, ends_attributes,
};

const START_UNIX_NS: u64 = 1_700_000_000_000_000_000;
const SERVER: u64 = 2;
const INTERNAL: u64 = 1;
const CLIENT: u64 = 3;
const ERROR: u64 = 2;

/// A table with one route, and a moment when its requests begin.
struct World {
    route: Arc<Route>,
    backend: Arc<Backend>,
    gone: Arc<Backend>,
    detail: SpanDetail,
    fields: Fields,
    start: Instant,
    balance: Balance,
}

impl World {
    fn new() -> Self {
        let backend = |service: &str, endpoints: &[serde_json::Value], missing: &str| {
            let changes = json!({
                "port": "http", "changed_unix_ms": 1_699_999_999_000_i64,
                "balance": "least_request", "missing": missing,
            });
            wire_json::backend(service, endpoints, &changes)
        };
        let endpoints = [
            wire_json::endpoint(
                "10.0.0.7",
                8080,
                &json!({"pod": "api-1", "node": "n1", "zone": "z1"}),
            ),
            wire_json::endpoint("fd00::7", 8080, &json!({})),
        ];
        let rule = json!({"rule": "spec.rules[0].http.paths[1]"});
        let route = wire_json::route("prefix", "/api", "shop/api:http", &rule);
        let changes = json!({
            "generation": 7,
            "hosts_upsert": [wire_json::host("shop.example", &[route])],
            "backends_upsert": [
                backend("api", &endpoints, ""),
                backend("gone", &[], "the Service shop/gone does not exist"),
            ],
        });
        let update = wire_json::update(0, &changes);
        let update = wire::Update::decode(update.to_string().as_bytes()).unwrap();
        let (table, rejected) = Table::empty().apply(&update).unwrap();
        assert_eq!(rejected, []);
        let start = Instant::now();
        let balance = Balance {
            id: span_id(2),
            start: start + Duration::from_micros(110),
            end: start + Duration::from_micros(900),
            queue: Duration::from_micros(5),
            retry_denied: None,
            choice: Choice::default(),
        };
        Self {
            route: Arc::clone(table.route(b"shop.example", b"/api/x").unwrap().route),
            backend: Arc::clone(table.backend("shop/api:http").unwrap()),
            gone: Arc::clone(table.backend("shop/gone:http").unwrap()),
            detail: SpanDetail::default(),
            fields: Fields::default(),
            start,
            balance,
        }
    }

    fn at(&self, microseconds: u64) -> Instant {
        self.start + Duration::from_micros(microseconds)
    }

    fn attempt(&self) -> Attempt<'_> {
        Attempt {
            id: span_id(3),
            endpoint: &self.backend.endpoints[0],
            started: self.at(120),
            queued: Duration::ZERO,
            handshake_started: None,
            connected: self.at(220),
            sent: self.at(230),
            first_byte: Some(self.at(730)),
            end: self.at(900),
            status: Some(200),
            grpc_status: None,
            error: None,
            reason: None,
            tls: None,
            http_version: "1.1",
            reused: true,
            resend_count: 0,
            ahead: 0,
            blocked: Blocked::default(),
            net: &Observed::Off,
        }
    }

    fn segment<'a>(&'a self, attempts: &'a [Attempt<'a>]) -> Segment<'a> {
        Segment {
            clock: Anchor::at(self.start, UNIX_EPOCH + Duration::from_nanos(START_UNIX_NS)),
            trace_id: TraceId::from_bytes([9; 16]).unwrap(),
            root: span_id(1),
            parent: None,
            link: None,
            publisher: None,
            trace_state: b"",
            sampled_flags: 1,
            sampled_by: By::All,
            method: b"GET",
            known_method: Some("GET"),
            path: b"/api/x",
            query: None,
            scheme: "http",
            tls_attributes: b"",
            host: b"shop.example",
            user_agent: Some(b"curl/8"),
            http_version: "1.1",
            client: "192.0.2.1:40000".parse().unwrap(),
            network_peer: "192.0.2.1:40000".parse().unwrap(),
            server: "[::ffff:192.0.2.2]:80".parse().unwrap(),
            ends_attributes: None,
            listener: ListenerKind::Ingress,
            route: Some(&self.route),
            rewritten_path: None,
            backend: Some(&self.backend),
            generation: 7,
            status: 200,
            flag: None,
            call: None,
            request_id: b"r-1",
            detail: &self.detail,
            request_fields: &self.fields,
            response_fields: None,
            phase_id: None,
            tunnel: None,
            request_body_bytes: 0,
            response_body_bytes: 1024,
            arrived: None,
            client_net: None,
            client_end: None,
            start: self.start,
            head_read: self.at(100),
            end: self.at(1000),
            delivered: None,
            first_response: Some(self.at(740)),
            balance: Some(&self.balance),
            attempts,
            judgement: Judgement::default(),
        }
    }
}

fn span_id(byte: u8) -> SpanId {
    SpanId::from_bytes([byte; 8]).unwrap()
}

/// The one batch that a recorder of its own makes of `segment`.
fn recorded(segment: &Segment<'_>) -> Request {
    let queue = Arc::new(SpanQueue::new(1 << 20).unwrap());
    let resource = Resource {
        attributes: vec![("service.name".to_owned(), "spanway".to_owned())],
    };
    let mut recorder = Recorder::new(&resource, Arc::clone(&queue));
    recorder.record(segment, &Timeline::new(segment));
    recorder.flush();
    let [batch] = &queue.take(10)[..] else {
        panic!("not one batch")
    };
    let request = otlp::read(&batch.otlp);
    assert_eq!(request.spans.len(), batch.span_count);
    request
}

fn judge(baselines: &mut Baselines, segment: &Segment<'_>) -> Judgement {
    baselines.judge(segment, &Timeline::new(segment))
}

fn spans(segment: &Segment<'_>) -> Vec<Span> {
    recorded(segment).spans
}

fn attributes<const N: usize>(pairs: [(&str, Value); N]) -> otlp::Attributes {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

#[test]
fn a_batch_names_its_resource_and_scope() {
    let world = World::new();
    let request = recorded(&world.segment(&[]));
    assert_eq!(
        request.resource,
        attributes([("service.name", text("spanway"))])
    );
    assert_eq!(request.scope_name, "spanway");
    assert_eq!(request.scope_version, env!("CARGO_PKG_VERSION"));
    assert!(
        request
            .schema_url
            .starts_with("https://opentelemetry.io/schemas/")
    );
}

#[test]
fn a_server_span_has_every_attribute_of_a_plain_request() {
    let world = World::new();
    let attempts = [world.attempt()];
    let server = &spans(&world.segment(&attempts))[0];
    assert_eq!(server.name, "GET /api");
    assert_eq!(server.kind, SERVER);
    assert_eq!(server.trace_id, [9; 16]);
    assert_eq!(server.span_id, [1; 8]);
    assert!(server.parent_span_id.is_empty());
    assert_eq!(server.flags, 0x101);
    assert_eq!(server.start_unix_ns, START_UNIX_NS);
    assert_eq!(server.end_unix_ns, START_UNIX_NS + 1_000_000);
    assert_eq!(
        (server.status_code, server.status_message.as_str()),
        (0, "")
    );
    assert_eq!(
        server.attributes,
        attributes([
            ("http.request.method", text("GET")),
            ("url.scheme", text("http")),
            ("url.path", text("/api/x")),
            ("server.address", text("shop.example")),
            ("server.port", Value::Int(80)),
            ("client.address", text("192.0.2.1")),
            ("client.port", Value::Int(40_000)),
            ("network.protocol.version", text("1.1")),
            ("user_agent.original", text("curl/8")),
            ("spanway.request.id", text("r-1")),
            ("spanway.listener", text("ingress")),
            ("spanway.table.generation", Value::Int(7)),
            ("http.route", text("/api")),
            ("k8s.namespace.name", text("shop")),
            ("spanway.ingress.name", text("web")),
            ("spanway.route", text("spec.rules[0].http.paths[1]")),
            (
                "spanway.endpoints.changed_unix_ms",
                Value::Int(1_699_999_999_000)
            ),
            ("http.response.status_code", Value::Int(200)),
            ("http.response.body.size", Value::Int(1024)),
            ("spanway.phase.head_us", Value::Int(100)),
            ("spanway.phase.route_us", Value::Int(15)),
            ("spanway.phase.queue_us", Value::Int(5)),
            ("spanway.phase.connect_us", Value::Int(100)),
            ("spanway.phase.send_us", Value::Int(10)),
            ("spanway.phase.wait_us", Value::Int(500)),
            ("spanway.phase.receive_us", Value::Int(170)),
            ("spanway.phase.respond_us", Value::Int(100)),
            ("spanway.verdict", text("none")),
        ])
    );
}

#[test]
fn a_server_span_says_whose_the_time_was_and_who_took_more_than_usual() {
    let world = World::new();
    let mut baselines = Baselines::default();
    let quick = [world.attempt()];
    let quick = world.segment(&quick);
    let judgements: Vec<_> = (0..30).map(|_| judge(&mut baselines, &quick)).collect();
    assert!(judgements.iter().all(|it| it.verdict == Verdict::None));
    let slow = [Attempt {
        first_byte: Some(world.at(20_730)),
        end: world.at(20_900),
        ..world.attempt()
    }];
    let mut slow = Segment {
        balance: Some(&Balance {
            end: world.at(20_900),
            ..world.balance
        }),
        end: world.at(21_000),
        ..world.segment(&slow)
    };
    slow.judgement = judge(&mut baselines, &slow);
    let server = &spans(&slow)[0];
    assert_eq!(server.text("spanway.verdict"), Some("app"));
    assert_eq!(server.int("spanway.verdict.excess_us"), Some(20_000));
    assert_eq!(server.int("spanway.time.app_us"), Some(20_670));
    assert_eq!(server.int("spanway.time.app_queue_us"), Some(5));
    assert_eq!(server.int("spanway.time.client_network_us"), Some(100));
    assert_eq!(server.int("spanway.time.cluster_network_us"), Some(100));
    assert_eq!(server.int("spanway.time.proxy_us"), Some(125));
}

#[test]
fn a_failed_request_is_judged_but_nothing_is_learnt_from_it() {
    let world = World::new();
    let mut baselines = Baselines::default();
    let attempts = [world.attempt()];
    let failed = Segment {
        status: 502,
        flag: Some(Flag::UpstreamReset),
        ..world.segment(&attempts)
    };
    for _ in 0..100 {
        judge(&mut baselines, &failed);
    }
    let slow = Segment {
        end: world.at(50_000),
        ..world.segment(&attempts)
    };
    assert_eq!(judge(&mut baselines, &slow).verdict, Verdict::None);
}

#[test]
fn the_time_that_a_response_waits_for_its_client_is_the_clients() {
    let world = World::new();
    let attempts = [Attempt {
        blocked: Blocked {
            by_client: Duration::from_micros(250),
            ..Blocked::default()
        },
        ..world.attempt()
    }];
    let times = judge(&mut Baselines::default(), &world.segment(&attempts)).times;
    // All of `respond`, the rest in `receive`, which is the app's otherwise.
    assert_eq!(times.client_network, 100 + 250);
    assert_eq!(times.app, 500 + 20);
}

#[test]
fn a_balance_span_has_every_attribute_of_a_plain_request() {
    let world = World::new();
    let attempts = [world.attempt()];
    let balance = &spans(&world.segment(&attempts))[1];
    assert_eq!(balance.name, "balance shop/api:http");
    assert_eq!(balance.kind, INTERNAL);
    assert_eq!(
        (&balance.span_id[..], &balance.parent_span_id[..]),
        (&[2; 8][..], &[1; 8][..])
    );
    assert_eq!(balance.flags, 0x101);
    assert_eq!(balance.start_unix_ns, START_UNIX_NS + 110_000);
    assert_eq!(balance.end_unix_ns, START_UNIX_NS + 900_000);
    assert_eq!(balance.status_code, 0);
    assert_eq!(
        balance.attributes,
        attributes([
            ("k8s.namespace.name", text("shop")),
            ("k8s.service.name", text("api")),
            ("spanway.lb.policy", text("least_request")),
            ("spanway.lb.endpoints_ready", Value::Int(2)),
            ("spanway.lb.queue_us", Value::Int(5)),
            ("spanway.lb.attempts", Value::Int(1)),
        ])
    );
}

#[test]
fn a_client_span_has_every_attribute_of_a_plain_request() {
    let world = World::new();
    let attempts = [world.attempt()];
    let client = &spans(&world.segment(&attempts))[2];
    assert_eq!(client.name, "GET");
    assert_eq!(client.kind, CLIENT);
    assert_eq!(
        (&client.span_id[..], &client.parent_span_id[..]),
        (&[3; 8][..], &[2; 8][..])
    );
    assert_eq!(client.start_unix_ns, START_UNIX_NS + 120_000);
    assert_eq!(client.end_unix_ns, START_UNIX_NS + 900_000);
    assert_eq!(client.status_code, 0);
    assert_eq!(
        client.attributes,
        attributes([
            ("http.request.method", text("GET")),
            ("server.address", text("10.0.0.7")),
            ("server.port", Value::Int(8080)),
            ("network.peer.address", text("10.0.0.7")),
            ("network.peer.port", Value::Int(8080)),
            ("k8s.pod.name", text("api-1")),
            ("k8s.node.name", text("n1")),
            ("cloud.availability_zone", text("z1")),
            ("network.protocol.version", text("1.1")),
            ("spanway.connection.reused", Value::Bool(true)),
            ("http.response.status_code", Value::Int(200)),
            ("spanway.phase.connect_us", Value::Int(100)),
            ("spanway.phase.send_us", Value::Int(10)),
            ("spanway.phase.wait_us", Value::Int(500)),
            ("spanway.phase.receive_us", Value::Int(170)),
        ])
    );
}

#[test]
fn a_clients_context_is_continued_on_every_span() {
    let world = World::new();
    let attempts = [world.attempt()];
    let spans = spans(&Segment {
        parent: Some(span_id(8)),
        link: None,
        publisher: None,
        trace_state: b"vendor=1",
        sampled_flags: 3,
        ..world.segment(&attempts)
    });
    assert_eq!(spans[0].parent_span_id, [8; 8]);
    assert_eq!(spans[0].flags, 0x303);
    assert_eq!(spans[1].flags, 0x103);
    assert!(spans.iter().all(|span| span.trace_state == "vendor=1"));
}

#[test]
fn a_span_of_a_stranger_is_linked_to_from_the_server_span_alone() {
    let world = World::new();
    let attempts = [world.attempt()];
    let stranger = TraceId::from_bytes([7; 16]).unwrap();
    let spans = spans(&Segment {
        link: Some((stranger, span_id(8), 3)),
        ..world.segment(&attempts)
    });
    let link = otlp::Link {
        trace_id: vec![7; 16],
        span_id: vec![8; 8],
        flags: 0x303,
    };
    assert_eq!(spans[0].links, [link]);
    assert!(spans[0].parent_span_id.is_empty());
    assert!(spans[1..].iter().all(|span| span.links.is_empty()));
}

#[test]
fn the_span_that_published_the_table_is_linked_to_from_the_server_span_alone() {
    let world = World::new();
    let attempts = [world.attempt()];
    let said = format!("00-{}-{}-01", "07".repeat(16), "08".repeat(8));
    let spans = spans(&Segment {
        publisher: parse_traceparent(said.as_bytes()).ok(),
        ..world.segment(&attempts)
    });
    let link = otlp::Link {
        trace_id: vec![7; 16],
        span_id: vec![8; 8],
        flags: 0x101,
    };
    assert_eq!(spans[0].links, [link]);
    assert!(spans[1..].iter().all(|span| span.links.is_empty()));
}

#[test]
fn a_retried_request_has_one_client_span_per_attempt() {
    let world = World::new();
    let refused = Attempt {
        connected: world.at(150),
        sent: world.at(150),
        first_byte: None,
        end: world.at(150),
        status: None,
        error: Some(Flag::ConnectRefused),
        http_version: "",
        reused: false,
        endpoint: &world.backend.endpoints[1],
        ..world.attempt()
    };
    let second = Attempt {
        id: span_id(4),
        started: world.at(160),
        resend_count: 1,
        ..world.attempt()
    };
    let attempts = [refused, second];
    let spans = spans(&world.segment(&attempts));
    let [server, balance, first, second] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert_eq!(balance.int("spanway.lb.attempts"), Some(2));
    assert_eq!(
        (first.status_code, first.text("error.type")),
        (ERROR, Some("connect_refused"))
    );
    assert_eq!(first.text("network.peer.address"), Some("fd00::7"));
    assert_eq!(first.text("k8s.pod.name"), None);
    assert_eq!(first.int("spanway.phase.connect_us"), Some(30));
    assert_eq!(
        (second.status_code, second.int("http.request.resend_count")),
        (0, Some(1))
    );
    assert_eq!(server.status_code, 0);
    assert_eq!(server.int("spanway.phase.connect_us"), Some(30 + 60));
    assert_eq!(server.int("spanway.phase.route_us"), Some(15 + 10));
    assert_eq!(server.int("spanway.phase.queue_us"), Some(5));
}

#[test]
fn the_balance_span_says_why_an_attempt_was_not_repeated() {
    let world = World::new();
    for (denied, text) in [
        (None, None),
        (Some(RetryDenied::Budget), Some("budget")),
        (Some(RetryDenied::Unsafe), Some("unsafe")),
        (Some(RetryDenied::Attempts), Some("attempts")),
    ] {
        let balance = Balance {
            retry_denied: denied,
            ..world.balance
        };
        let attempts = [world.attempt()];
        let spans = spans(&Segment {
            balance: Some(&balance),
            ..world.segment(&attempts)
        });
        assert_eq!(spans[1].text("spanway.retry.denied"), text);
    }
}

#[test]
fn an_attempt_that_waits_for_its_turn_is_in_the_queue_until_then() {
    let world = World::new();
    let attempts = [Attempt {
        started: world.at(160),
        queued: Duration::from_micros(40),
        ..world.attempt()
    }];
    let spans = spans(&Segment {
        phase_id: Some(span_id(0x80)),
        ..world.segment(&attempts)
    });
    assert_eq!(spans[0].int("spanway.phase.queue_us"), Some(5 + 40));
    assert_eq!(spans[0].int("spanway.phase.connect_us"), Some(60));
    assert_eq!(spans[1].int("spanway.lb.queue_us"), Some(5 + 40));
    assert_eq!(spans[2].int("spanway.phase.connect_us"), Some(60));
    let waits = phases_by_name(&spans)
        .into_iter()
        .filter(|(_, phase, ..)| *phase == "queue");
    let balance = [2; 8];
    assert!(waits.eq([5, 40].map(|us| ("HTTP wait_for_connection", "queue", balance, us))));
}

#[test]
fn an_attempt_whose_turn_does_not_come_fails_in_the_queue() {
    let world = World::new();
    let flag = Some(Flag::QueueTimeout);
    let at = world.at(900);
    let attempts = [Attempt {
        started: at,
        queued: Duration::from_micros(780),
        connected: at,
        sent: at,
        first_byte: None,
        end: at,
        status: None,
        error: flag,
        ..world.attempt()
    }];
    let spans = spans(&Segment {
        status: 503,
        flag,
        phase_id: Some(span_id(0x80)),
        balance: Some(&Balance {
            queue: Duration::ZERO,
            ..world.balance
        }),
        ..world.segment(&attempts)
    });
    let failed = spans.iter().filter(|span| span.phase().is_some());
    let failed = failed.filter(|span| span.text("error.type").is_some());
    let names: Vec<_> = failed.filter_map(Span::phase).collect();
    assert_eq!(names, ["queue"]);
}

#[test]
fn a_request_that_did_not_wait_has_no_queue_phase() {
    let world = World::new();
    let balance = Balance {
        queue: Duration::ZERO,
        ..world.balance
    };
    let attempts = [world.attempt()];
    let spans = spans(&Segment {
        balance: Some(&balance),
        ..world.segment(&attempts)
    });
    assert_eq!(spans[0].int("spanway.phase.queue_us"), None);
    assert_eq!(spans[0].int("spanway.phase.route_us"), Some(20));
}

#[test]
fn a_handshake_is_a_phase_of_its_own_and_its_session_is_told() {
    let world = World::new();
    let attempts = [Attempt {
        handshake_started: Some(world.at(150)),
        http_version: "2",
        reused: false,
        tls: Some(TlsSession {
            version: "1.3",
            is_resumed: true,
        }),
        ..world.attempt()
    }];
    let spans = spans(&world.segment(&attempts));
    for span in [&spans[0], &spans[2]] {
        assert_eq!(span.int("spanway.phase.connect_us"), Some(30));
        assert_eq!(span.int("spanway.phase.tls_us"), Some(70));
        assert_eq!(span.phases_us(), total_us(span));
    }
    assert_eq!(spans[2].text("network.protocol.version"), Some("2"));
    assert_eq!(spans[2].text("tls.protocol.version"), Some("1.3"));
    assert_eq!(spans[2].attributes["tls.resumed"], Value::Bool(true));
}

#[test]
fn without_a_handshake_nothing_is_said_of_tls() {
    let world = World::new();
    let attempts = [world.attempt()];
    for span in spans(&world.segment(&attempts)) {
        assert_eq!(span.int("spanway.phase.tls_us"), None);
        assert_eq!(span.text("tls.protocol.version"), None);
    }
}

#[test]
fn a_failed_handshake_says_in_words_why() {
    let world = World::new();
    let attempts = [Attempt {
        handshake_started: Some(world.at(150)),
        connected: world.at(900),
        sent: world.at(900),
        first_byte: None,
        status: None,
        error: Some(Flag::UpstreamTls),
        reason: Some("invalid peer certificate: Expired"),
        ..world.attempt()
    }];
    let client = &spans(&world.segment(&attempts))[2];
    assert_eq!(client.text("error.type"), Some("upstream_tls"));
    assert_eq!(client.status_code, ERROR);
    assert_eq!(client.status_message, "invalid peer certificate: Expired");
    assert_eq!(client.int("spanway.phase.tls_us"), Some(750));
}

#[test]
fn the_peer_is_told_where_it_is_not_the_client() {
    let world = World::new();
    let segment = Segment {
        client: "198.51.100.9:0".parse().unwrap(),
        ..world.segment(&[])
    };
    let server = &spans(&segment)[0];
    assert_eq!(server.text("client.address"), Some("198.51.100.9"));
    assert_eq!(server.int("client.port"), None);
    assert_eq!(server.text("network.peer.address"), Some("192.0.2.1"));
    assert_eq!(server.int("network.peer.port"), Some(40_000));
    let itself = &spans(&world.segment(&[]))[0];
    assert_eq!(itself.text("network.peer.address"), None);
}

#[test]
fn the_ends_of_a_connection_are_told_alike_whether_or_not_they_were_encoded_with_it() {
    let world = World::new();
    for peer in ["192.0.2.1:40000", "10.0.0.1:50000"] {
        let segment = Segment {
            network_peer: peer.parse().unwrap(),
            ..world.segment(&[])
        };
        let encoded = ends_attributes(segment.client, segment.network_peer, segment.server);
        let same = Segment {
            ends_attributes: Some(&encoded),
            ..segment.clone()
        };
        assert_eq!(spans(&same)[0].attributes, spans(&segment)[0].attributes);
    }
}

#[test]
fn an_unknown_method_names_no_span() {
    let world = World::new();
    let attempts = [world.attempt()];
    let segment = Segment {
        method: b"FROBNICATE",
        known_method: None,
        ..world.segment(&attempts)
    };
    let spans = spans(&segment);
    assert_eq!(spans[0].name, "HTTP /api");
    assert_eq!(spans[2].name, "HTTP");
    for span in [&spans[0], &spans[2]] {
        assert_eq!(span.text("http.request.method"), Some("_OTHER"));
        assert_eq!(
            span.text("http.request.method_original"),
            Some("FROBNICATE")
        );
    }
}

#[test]
fn a_service_listeners_span_is_named_by_its_method_and_has_the_namespace() {
    let world = World::new();
    let attempts = [world.attempt()];
    let segment = Segment {
        listener: ListenerKind::Service,
        route: None,
        ..world.segment(&attempts)
    };
    let server = &spans(&segment)[0];
    assert_eq!(server.name, "GET");
    assert_eq!(server.text("spanway.listener"), Some("service"));
    assert_eq!(server.text("k8s.namespace.name"), Some("shop"));
    assert_eq!(server.text("http.route"), None);
}

#[test]
fn a_404_of_ours_is_no_error_of_the_server() {
    let world = World::new();
    let segment = Segment {
        route: None,
        backend: None,
        balance: None,
        status: 404,
        flag: Some(Flag::NoRoute),
        ..world.segment(&[])
    };
    let [server] = &spans(&segment)[..] else {
        panic!("more than one span")
    };
    assert_eq!(server.status_code, 0);
    assert_eq!(server.text("spanway.flags"), Some("no_route"));
    assert_eq!(server.text("error.type"), None);
    assert_eq!(server.int("spanway.phase.route_us"), Some(640));
    assert_eq!(server.int("spanway.phase.respond_us"), Some(260));
}

#[test]
fn a_balance_span_says_what_decided_the_choice() {
    let world = World::new();
    let balance = Balance {
        choice: Choice {
            endpoints_ejected: 3,
            affinity: Some(Stay::Moved),
            place: Some(Place::Zone),
        },
        ..world.balance
    };
    let segment = Segment {
        balance: Some(&balance),
        ..world.segment(&[])
    };
    let balance = &spans(&segment)[1];
    assert_eq!(balance.int("spanway.lb.endpoints_ejected"), Some(3));
    assert_eq!(balance.text("spanway.lb.affinity"), Some("miss"));
    assert_eq!(balance.text("spanway.lb.locality"), Some("zone"));
}

#[test]
fn a_missing_service_is_named_on_the_balance_span() {
    let world = World::new();
    let segment = Segment {
        backend: Some(&world.gone),
        status: 503,
        flag: Some(Flag::NoEndpoints),
        ..world.segment(&[])
    };
    let [server, balance] = &spans(&segment)[..] else {
        panic!("not two spans")
    };
    assert_eq!(
        (server.status_code, server.text("error.type")),
        (ERROR, Some("503"))
    );
    assert_eq!(server.text("spanway.flags"), Some("no_endpoints"));
    assert_eq!(
        (balance.status_code, balance.text("error.type")),
        (ERROR, Some("no_endpoints"))
    );
    assert_eq!(
        balance.status_message,
        "the Service shop/gone does not exist"
    );
}

#[test]
fn an_upstreams_status_is_an_error_of_the_client_from_400_and_of_the_server_from_500() {
    let world = World::new();
    for (status, server_code, client_code) in [(302, 0, 0), (404, 0, ERROR), (500, ERROR, ERROR)] {
        let attempts = [Attempt {
            status: Some(status),
            ..world.attempt()
        }];
        let spans = spans(&Segment {
            status,
            ..world.segment(&attempts)
        });
        assert_eq!(
            (spans[0].status_code, spans[2].status_code),
            (server_code, client_code)
        );
        let error_type = |code| (code == ERROR).then(|| status.to_string());
        assert_eq!(
            spans[0].text("error.type"),
            error_type(server_code).as_deref()
        );
        assert_eq!(
            spans[2].text("error.type"),
            error_type(client_code).as_deref()
        );
    }
}

#[test]
fn a_response_that_upstream_cut_short_is_an_error_in_spite_of_its_status() {
    let world = World::new();
    let attempts = [Attempt {
        error: Some(Flag::UpstreamReset),
        ..world.attempt()
    }];
    let segment = Segment {
        flag: Some(Flag::UpstreamReset),
        ..world.segment(&attempts)
    };
    for span in spans(&segment) {
        assert_eq!(
            (span.status_code, span.text("error.type")),
            (ERROR, Some("upstream_reset"))
        );
    }
}

#[test]
fn a_client_that_left_is_no_error() {
    let world = World::new();
    let attempts = [Attempt {
        status: None,
        first_byte: None,
        error: Some(Flag::ClientGone),
        ..world.attempt()
    }];
    let segment = Segment {
        status: 0,
        flag: Some(Flag::ClientGone),
        ..world.segment(&attempts)
    };
    let spans = spans(&segment);
    assert!(spans.iter().all(|span| span.status_code == 0));
    assert_eq!(spans[0].text("error.type"), Some("client_gone"));
    assert_eq!(spans[0].int("http.response.status_code"), None);
    assert_eq!(spans[0].int("http.response.body.size"), None);
}

#[test]
fn values_from_the_wire_are_cut_and_made_valid() {
    let world = World::new();
    let path = vec![b'p'; 70_000];
    let segment = Segment {
        path: &path,
        user_agent: Some(b"\xff\xfe"),
        host: b"\xc3\x28",
        client: SocketAddr::from(([0xff; 16], 1)),
        ..world.segment(&[])
    };
    let server = &spans(&segment)[0];
    assert_eq!(server.text("url.path").map(str::len), Some(VALUE_BYTES_MAX));
    assert_eq!(server.text("user_agent.original"), Some("\u{fffd}\u{fffd}"));
    assert_eq!(server.text("server.address"), Some("\u{fffd}("));
    let client = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    assert_eq!(server.text("client.address"), Some(client));
}

#[test]
fn numbers_beyond_what_otlp_can_say_are_capped() {
    let world = World::new();
    let segment = Segment {
        generation: u64::MAX,
        request_body_bytes: u64::MAX,
        ..world.segment(&[])
    };
    let server = &spans(&segment)[0];
    assert_eq!(server.int("spanway.table.generation"), Some(i64::MAX));
    assert_eq!(server.int("http.request.body.size"), Some(i64::MAX));
}

#[test]
fn an_early_response_ends_the_send_phase() {
    let world = World::new();
    let attempts = [Attempt {
        sent: world.at(880),
        ..world.attempt()
    }];
    let client = &spans(&world.segment(&attempts))[2];
    assert_eq!(client.int("spanway.phase.send_us"), Some(510));
    assert_eq!(client.int("spanway.phase.wait_us"), Some(0));
    assert_eq!(client.int("spanway.phase.receive_us"), Some(170));
}

/// A request that was sent at 230 µs and whose answer was read at 730 µs.
fn layer(world: &World, net: Net) -> Vec<(String, u64, u64)> {
    let attempts = [Attempt {
        net: &Observed::Told(net),
        ..world.attempt()
    }];
    let spans = spans(&world.segment(&attempts));
    let at = |unix_ns| (unix_ns - START_UNIX_NS) / 1_000;
    let below = spans
        .iter()
        .filter(|span| span.parent_span_id == [3; 8])
        .map(|span| {
            (
                span.name.clone(),
                at(span.start_unix_ns),
                at(span.end_unix_ns),
            )
        });
    below.collect()
}

fn parts(delivered: u64, arrived: u64) -> Vec<(String, u64, u64)> {
    vec![
        ("net.deliver".to_owned(), 230, delivered),
        ("app.respond".to_owned(), delivered, arrived),
        ("net.return".to_owned(), arrived, 730),
    ]
}

#[test]
fn a_request_has_arrived_when_it_is_acknowledged_at_the_latest() {
    let world = World::new();
    let net = Net {
        acknowledged: Some(world.at(330)),
        arrived: Some(world.at(700)),
        round_trip_us: 200,
        ..Net::default()
    };
    assert_eq!(layer(&world, net), parts(330, 700));
}

#[test]
fn an_acknowledgement_that_the_answer_brought_counts_as_a_round_trip() {
    let world = World::new();
    let net = Net {
        acknowledged: Some(world.at(703)),
        arrived: Some(world.at(700)),
        round_trip_us: 20,
        ..Net::default()
    };
    assert_eq!(layer(&world, net), parts(250, 700));
    let without = Net {
        acknowledged: None,
        ..net
    };
    assert_eq!(layer(&world, without), parts(250, 700));
}

#[test]
fn bytes_that_were_sent_again_are_the_networks_whenever_they_arrived() {
    let world = World::new();
    let net = Net {
        acknowledged: Some(world.at(650)),
        arrived: Some(world.at(640)),
        round_trip_us: 20,
        retransmits: 1,
        ..Net::default()
    };
    assert_eq!(layer(&world, net), parts(640, 640));
}

/// The endpoint's kernel waits for its application, or for its timer.
#[test]
fn what_an_acknowledgement_was_held_back_for_is_the_apps() {
    let world = World::new();
    let net = Net {
        acknowledged: Some(world.at(600)),
        arrived: Some(world.at(700)),
        round_trip_us: 20,
        ..Net::default()
    };
    assert_eq!(layer(&world, net), parts(250, 700));
}

#[test]
fn requests_that_share_a_connection_have_its_numbers_and_no_parts() {
    let world = World::new();
    let net = Net {
        is_shared: true,
        rtt_us: 70,
        retransmits: 2,
        arrived: Some(world.at(700)),
        ..Net::default()
    };
    assert_eq!(layer(&world, net), []);
    let attempts = [Attempt {
        net: &Observed::Told(net),
        ..world.attempt()
    }];
    let client = &spans(&world.segment(&attempts))[2];
    assert_eq!(client.text("spanway.net.correlation"), Some("connection"));
    assert_eq!(client.int("tcp.rtt_us"), Some(70));
    assert_eq!(client.int("tcp.retransmits"), Some(2));
}

#[test]
fn a_kernel_that_refuses_is_said_to_and_nothing_is_made_up() {
    let world = World::new();
    let attempts = [Attempt {
        net: &Observed::Refused,
        ..world.attempt()
    }];
    let spans = spans(&world.segment(&attempts));
    assert_eq!(spans.len(), 3);
    assert_eq!(spans[2].text("spanway.net.source"), Some("none"));
    assert_eq!(spans[2].int("tcp.rtt_us"), None);
}

#[test]
fn the_kernel_gives_network_and_waking_up_what_is_theirs_of_the_wait() {
    let world = World::new();
    let attempts = [Attempt {
        net: &Observed::Told(Net {
            acknowledged: Some(world.at(330)),
            arrived: Some(world.at(700)),
            round_trip_us: 100,
            ..Net::default()
        }),
        ..world.attempt()
    }];
    let segment = Segment {
        arrived: Some(world.start - Duration::from_micros(40)),
        ..world.segment(&attempts)
    };
    let times = judge(&mut Baselines::default(), &segment).times;
    assert_eq!(times.cluster_network, 100 + 100);
    assert_eq!(times.app, 370 + 170);
    assert_eq!(times.proxy, 15 + 10 + 100 + 30 + 40);
    let server = &spans(&segment)[0];
    assert_eq!(server.int("spanway.net.wakeup_us"), Some(40));
}

#[test]
fn a_response_that_is_under_way_is_the_clients_network_and_its_span_below_the_root() {
    let world = World::new();
    let attempts = [world.attempt()];
    let segment = Segment {
        delivered: Some(world.at(1_700)),
        ..world.segment(&attempts)
    };
    let times = Baselines::default()
        .judge(&segment, &Timeline::new(&segment))
        .times;
    let spans = spans(&segment);
    let (server, deliver) = (&spans[0], &spans[3]);
    assert_eq!((&*deliver.name, total_us(deliver)), ("client.deliver", 700));
    assert_eq!(deliver.parent_span_id, server.span_id);
    assert_eq!(total_us(server), 1_700);
    assert_eq!(server.int("spanway.phase.respond_us"), Some(800));
    assert_eq!(times.client_network, 100 + 700);
}

/// Whatever the instants: children lie in their parents, nothing is negative, and the phases are
/// the whole of their span.
#[test]
fn parents_enclose_children_and_phases_sum_to_their_span() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let (world, mut random) = (World::new(), fastrand::Rng::with_seed(seed));
    for _ in 0..3_000 {
        let attempts = random_attempts(&world, &mut random);
        let mut segment = random_segment(&world, &attempts, &mut random);
        segment.judgement = judge(&mut Baselines::default(), &segment);
        let spans = spans(&segment);
        let woken_us = spans[0].int("spanway.net.wakeup_us").unwrap_or(0);
        let told_us = total_us(&spans[0]) + u64::try_from(woken_us).unwrap();
        assert_eq!(segment.judgement.times.total(), told_us);
        assert_eq!(spans[0].phases_us(), total_us(&spans[0]));
        assert_phases_fill_attempts(&spans);
        for span in &spans {
            assert!(span.start_unix_ns <= span.end_unix_ns);
            let Some(parent) = spans.iter().find(|one| one.span_id == span.parent_span_id) else {
                assert_eq!(span.kind, SERVER);
                continue;
            };
            assert!(parent.start_unix_ns <= span.start_unix_ns);
            assert!(span.end_unix_ns <= parent.end_unix_ns);
            if span.kind == CLIENT {
                assert_eq!(span.phases_us(), total_us(span));
            }
        }
    }
}

/// The spans of an attempt's phases lie end to end, but for what is too short to have one.
fn assert_phases_fill_attempts(spans: &[Span]) {
    let phases: Vec<_> = spans.iter().filter(|span| span.phase().is_some()).collect();
    for attempt in spans.iter().filter(|span| span.kind == CLIENT) {
        let below = phases
            .iter()
            .filter(|phase| phase.parent_span_id == attempt.span_id);
        let (mut at, mut short) = (attempt.start_unix_ns, 0);
        for phase in below {
            assert!(at <= phase.start_unix_ns);
            short += phase.start_unix_ns - at;
            at = phase.end_unix_ns;
        }
        short += attempt.end_unix_ns - at;
        assert!(
            phases.is_empty() || short < 5 * 1_000,
            "{short} ns have no span"
        );
    }
}

fn random_attempts<'a>(world: &'a World, random: &mut fastrand::Rng) -> Vec<Attempt<'a>> {
    let attempt_count = random.u8(..4);
    let attempt = |index| Attempt {
        id: span_id(0x10 + index),
        started: random_instant(world, random),
        queued: Duration::from_nanos(random.u64(..2_000_000)),
        handshake_started: random.bool().then(|| random_instant(world, random)),
        connected: random_instant(world, random),
        sent: random_instant(world, random),
        first_byte: random.bool().then(|| random_instant(world, random)),
        end: random_instant(world, random),
        net: Box::leak(Box::new(random_net(world, random))),
        ahead: random.u32(..3),
        blocked: Blocked {
            by_client: Duration::from_nanos(random.u64(..2_000_000)),
            by_endpoint: Duration::from_nanos(random.u64(..2_000_000)),
            unready: Duration::from_nanos(random.u64(..2_000_000)),
        },
        ..world.attempt()
    };
    (0..attempt_count).map(attempt).collect()
}

fn random_segment<'a>(
    world: &'a World,
    attempts: &'a [Attempt<'a>],
    random: &mut fastrand::Rng,
) -> Segment<'a> {
    let balance = Balance {
        start: random_instant(world, random),
        end: random_instant(world, random),
        queue: Duration::from_nanos(random.u64(..2_000_000)),
        ..world.balance
    };
    Segment {
        arrived: random.bool().then(|| random_instant(world, random)),
        start: random_instant(world, random),
        head_read: random_instant(world, random),
        delivered: random.bool().then(|| random_instant(world, random)),
        first_response: random.bool().then(|| random_instant(world, random)),
        end: random_instant(world, random),
        balance: random.bool().then_some(Box::leak(Box::new(balance))),
        phase_id: random.bool().then_some(span_id(0x80)),
        ..world.segment(attempts)
    }
}

/// Whatever the kernel may tell: also times before the request, or in another decade, after a clock
/// was set.
fn random_net(world: &World, random: &mut fastrand::Rng) -> Observed {
    let day = Duration::from_secs(86_400);
    let told = |random: &mut fastrand::Rng| match random.u32(..6) {
        0 | 1 => None,
        2 => Some(world.start + day),
        3 => Some(world.start - day),
        _ => Some(random_instant(world, random)),
    };
    match random.u32(..8) {
        0 => Observed::Off,
        1 => Observed::Refused,
        _ => Observed::Told(Net {
            is_shared: random.u32(..8) == 0,
            acknowledged: told(random),
            arrived: told(random),
            rtt_us: random.u32(..),
            round_trip_us: random.u32(..3_000),
            retransmits: random.u32(..2),
            is_lossy: random.bool(),
            handshake_us: random.u32(..3_000),
            handshake_retransmits: random.u32(..2),
            peer_full_us: random.u64(..2_000),
            window_us: random.u64(..),
        }),
    }
}

fn random_instant(world: &World, random: &mut fastrand::Rng) -> Instant {
    world.start + Duration::from_nanos(random.u64(..2_000_000))
}

fn total_us(span: &Span) -> u64 {
    (span.end_unix_ns - span.start_unix_ns) / 1_000
}

fn phases_by_name(spans: &[Span]) -> Vec<(&str, &str, [u8; 8], u64)> {
    let phases = spans.iter().filter_map(|span| {
        assert!(span.phase().is_none() || span.kind == INTERNAL);
        let phase = span.phase()?;
        let parent = span.parent_span_id[..].try_into().unwrap();
        Some((&*span.name, phase, parent, total_us(span)))
    });
    phases.collect()
}

#[test]
fn each_phase_has_a_span_under_the_one_whose_time_it_is() {
    let world = World::new();
    let attempts = [Attempt {
        handshake_started: Some(world.at(150)),
        reused: false,
        ..world.attempt()
    }];
    let spans = spans(&Segment {
        phase_id: Some(span_id(0x80)),
        ..world.segment(&attempts)
    });
    let [root, balance, attempt] = [1, 2, 3].map(|byte| [byte; 8]);
    assert_eq!(
        phases_by_name(&spans),
        [
            ("HTTP read_head", "head", root, 100),
            ("HTTP wait_for_connection", "queue", balance, 5),
            ("socket connect", "connect", attempt, 30),
            ("TLS client handshake", "tls", attempt, 70),
            ("HTTP send_request", "send", attempt, 10),
            ("HTTP wait_for_response", "wait", attempt, 500),
            ("HTTP receive_response", "receive", attempt, 170),
            ("HTTP send_response", "respond", root, 100),
        ]
    );
    let ids: std::collections::HashSet<_> = spans.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), spans.len());
    assert!(spans.iter().all(|span| span.status_code == 0));
}

#[test]
fn a_phase_that_took_no_time_has_no_span() {
    let world = World::new();
    let attempts = [Attempt {
        connected: world.at(120),
        ..world.attempt()
    }];
    let spans = spans(&Segment {
        phase_id: Some(span_id(0x80)),
        balance: Some(&Balance {
            queue: Duration::ZERO,
            ..world.balance
        }),
        ..world.segment(&attempts)
    });
    let names: Vec<_> = spans.iter().filter_map(Span::phase).collect();
    assert_eq!(names, ["head", "send", "wait", "receive", "respond"]);
}

#[test]
fn an_attempt_fails_in_its_last_phase() {
    let world = World::new();
    let attempts = [Attempt {
        connected: world.at(900),
        sent: world.at(900),
        first_byte: None,
        status: None,
        error: Some(Flag::ConnectTimeout),
        ..world.attempt()
    }];
    let spans = spans(&Segment {
        status: 504,
        flag: Some(Flag::ConnectTimeout),
        phase_id: Some(span_id(0x80)),
        ..world.segment(&attempts)
    });
    for span in spans.iter().filter(|span| span.phase().is_some()) {
        let is_failed = span.phase() == Some("connect");
        let error = is_failed.then_some("connect_timeout");
        assert_eq!(
            (span.status_code == ERROR, span.text("error.type")),
            (is_failed, error)
        );
    }
}

#[test]
fn phases_are_wanted_of_requests_that_were_slow_or_failed_or_are_debugged() {
    let world = World::new();
    let wanted = |phase_spans| {
        let segment = world.segment(&[]);
        let plain = segment.wants_phases(phase_spans, false);
        let slow = segment.wants_phases(phase_spans, true);
        let waited = Segment {
            flag: Some(Flag::QueueTimeout),
            ..segment.clone()
        };
        let refused = Segment {
            flag: Some(Flag::NoEndpoints),
            balance: None,
            status: 503,
            ..segment.clone()
        };
        let retried = [Attempt {
            error: Some(Flag::ConnectRefused),
            ..world.attempt()
        }];
        let retried = world.segment(&retried);
        let debugged = Segment {
            sampled_by: By::Debug,
            ..segment.clone()
        };
        let others = [&waited, &refused, &retried, &debugged];
        let others = others.map(|each| each.wants_phases(phase_spans, false));
        (plain, slow, others)
    };
    let debugged_alone = [false, false, false, true];
    assert_eq!(wanted(PhaseSpans::Never), (false, false, debugged_alone));
    let failed_too = [true, false, true, true];
    assert_eq!(wanted(PhaseSpans::Slow), (false, true, failed_too));
    assert_eq!(wanted(PhaseSpans::Always), (true, true, [true; 4]));
}

fn call(status: &[u8]) -> Call {
    Call {
        status: Some(GrpcStatus::parse(status)),
    }
}

/// The SERVER and the CLIENT span of a call that its endpoint ended with this status.
fn spans_of_call(status: &[u8]) -> [Span; 2] {
    let world = World::new();
    let call = call(status);
    let attempts = [Attempt {
        grpc_status: call.status,
        ..world.attempt()
    }];
    let spans = spans(&Segment {
        path: b"/shop.Cart/Add",
        call: Some(call),
        ..world.segment(&attempts)
    });
    let [server, _, client] = spans.try_into().unwrap();
    [server, client]
}

#[test]
fn a_call_is_told_with_its_method_and_how_it_ended() {
    for span in spans_of_call(b"0") {
        assert_eq!(span.text("rpc.system.name"), Some("grpc"));
        assert_eq!(span.text("rpc.method"), Some("shop.Cart/Add"));
        assert_eq!(span.text("rpc.method_original"), None);
        assert_eq!(span.text("rpc.response.status_code"), Some("OK"));
        assert_eq!((span.status_code, span.text("error.type")), (0, None));
    }
}

#[test]
fn a_method_that_no_endpoint_is_known_to_have_is_only_told_as_it_came() {
    for span in spans_of_call(b"12") {
        assert_eq!(span.text("rpc.method"), Some("_OTHER"));
        assert_eq!(span.text("rpc.method_original"), Some("shop.Cart/Add"));
        assert_eq!(span.text("rpc.response.status_code"), Some("UNIMPLEMENTED"));
    }
}

#[test]
fn a_calls_end_is_judged_by_whose_fault_it_is() {
    for (status, name, is_server_error) in [
        ("1", "CANCELLED", false),
        ("5", "NOT_FOUND", false),
        ("14", "UNAVAILABLE", true),
        ("99", "UNKNOWN", true),
    ] {
        let [server, client] = spans_of_call(status.as_bytes());
        let code = if is_server_error { ERROR } else { 0 };
        assert_eq!(server.status_code, code, "{name}");
        assert_eq!(server.text("error.type"), is_server_error.then_some(name));
        assert_eq!(
            (client.status_code, client.text("error.type")),
            (ERROR, Some(name))
        );
    }
}

#[test]
fn a_call_that_we_refuse_is_judged_by_its_flag() {
    let world = World::new();
    for (flag, status, code) in [(Flag::NoRoute, "12", 0), (Flag::NoEndpoints, "14", ERROR)] {
        let server = &spans(&Segment {
            flag: Some(flag),
            call: Some(call(status.as_bytes())),
            ..world.segment(&[])
        })[0];
        let error = (code == ERROR).then_some(flag.as_str());
        assert_eq!(
            (server.status_code, server.text("error.type")),
            (code, error)
        );
        assert_eq!(server.text("rpc.method"), Some("_OTHER"));
    }
}

#[test]
fn an_upgraded_connection_is_told_with_what_went_through_it() {
    let world = World::new();
    let messages = Messages {
        received: 3,
        sent: 4,
    };
    for messages in [None, Some(messages)] {
        let server = &spans(&Segment {
            status: 101,
            tunnel: Some(Tunnel { messages }),
            request_body_bytes: 70,
            response_body_bytes: 80,
            ..world.segment(&[])
        })[0];
        assert_eq!(server.int("spanway.connection.received_bytes"), Some(70));
        assert_eq!(server.int("spanway.connection.sent_bytes"), Some(80));
        assert_eq!(server.int("http.response.body.size"), None);
        let received = server.int("spanway.websocket.messages_received");
        let sent = server.int("spanway.websocket.messages_sent");
        assert_eq!((received, sent), (messages.map(|_| 3), messages.map(|_| 4)));
    }
}

fn captured(name: &str, kind: &str) -> CapturedHeader {
    CapturedHeader {
        name: name.into(),
        key: format!("http.{kind}.header.{name}").into(),
    }
}

#[test]
fn captured_fields_are_arrays_and_bounded() {
    let mut world = World::new();
    world.fields.push(b"X-Tenant", b"blue");
    world.fields.push(b"cookie", b"secret");
    world.fields.push(b"x-tenant", &[b'x'; 600]);
    for _ in 0..10 {
        world.fields.push(b"X-Many", b"\xff");
    }
    world.detail.request_headers = ["x-tenant", "x-many", "x-absent"]
        .map(|name| captured(name, "request"))
        .to_vec();
    world.detail.response_headers = vec![captured("x-tenant", "response")];
    let server = &spans(&world.segment(&[]))[0];
    let texts = |texts: &[&str]| Value::Texts(texts.iter().map(ToString::to_string).collect());
    let captured: Vec<_> = server
        .attributes
        .iter()
        .filter(|(key, _)| key.contains(".header."))
        .collect();
    let long = "x".repeat(VALUE_BYTES_MAX);
    assert_eq!(
        captured,
        [
            (
                &"http.request.header.x-many".to_owned(),
                &texts(&["\u{fffd}"; CAPTURED_VALUES_MAX])
            ),
            (
                &"http.request.header.x-tenant".to_owned(),
                &texts(&["blue", &long])
            ),
        ]
    );
    let answered = Segment {
        response_fields: Some(&world.fields),
        ..world.segment(&[])
    };
    let server = &spans(&answered)[0];
    assert!(
        server
            .attributes
            .contains_key("http.response.header.x-tenant")
    );
}

#[test]
fn a_query_is_told_without_the_values_that_nobody_asked_for() {
    let mut world = World::new();
    let told = |world: &World, query: &str| {
        let segment = Segment {
            query: Some(query.as_bytes()),
            ..world.segment(&[])
        };
        spans(&segment)[0].text("url.query").map(str::to_owned)
    };
    assert_eq!(told(&world, "page=2"), None);
    world.detail.query_keys = Some(vec![b"page".as_slice().into()]);
    for (query, want) in [
        ("page=2&token=t&page=3", "page=2&token=REDACTED&page=3"),
        (
            "PAGE=2&p%61ge=3&a=b=c",
            "PAGE=REDACTED&p%61ge=REDACTED&a=REDACTED",
        ),
        ("eyJhbGciOi&page&&page=", "REDACTED&page&&page="),
        ("", ""),
    ] {
        assert_eq!(told(&world, query).as_deref(), Some(want));
    }
    let long = told(&world, &"a=1&".repeat(10_000)).unwrap();
    assert!(long.len() <= VALUE_BYTES_MAX && !long.contains('1'));
}

#[test]
fn a_full_batch_is_sealed_and_the_rest_is_flushed() {
    let world = World::new();
    let attempts = [world.attempt()];
    let queue = Arc::new(SpanQueue::new(1 << 24).unwrap());
    let mut recorder = Recorder::new(&Resource::default(), Arc::clone(&queue));
    let mut ids = Ids::from_seeds(1, 2);
    for _ in 0..200 {
        let segment = Segment {
            root: ids.span_id(),
            ..world.segment(&attempts)
        };
        recorder.record(&segment, &Timeline::new(&segment));
    }
    drop(recorder);
    let batches = queue.take(100);
    assert!(batches.len() > 1);
    let mut roots = std::collections::HashSet::new();
    for batch in &batches {
        let request = otlp::read(&batch.otlp);
        assert_eq!(request.spans.len(), batch.span_count);
        let servers = request.spans.into_iter().filter(|span| span.kind == SERVER);
        roots.extend(servers.map(|span| span.span_id));
    }
    assert_eq!(roots.len(), 200);
    assert_eq!(queue.counts().recorded, 600);
    assert_eq!(queue.counts().dropped, 0);
}

#[test]
fn an_empty_batch_is_never_sealed() {
    let queue = Arc::new(SpanQueue::new(1 << 20).unwrap());
    let mut recorder = Recorder::new(&Resource::default(), Arc::clone(&queue));
    recorder.flush();
    drop(recorder);
    assert_eq!(queue.take(1), []);
}

#[test]
fn the_verdicts_are_those_in_the_documentation() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/SPANS.md");
    let documentation = std::fs::read_to_string(path).unwrap();
    for verdict in Verdict::ALL {
        let row = format!("| `{}` | ", verdict.as_str());
        assert!(
            documentation.contains(&row),
            "docs/SPANS.md has no row {row}"
        );
    }
}

#[test]
fn the_flag_vocabulary_is_the_one_in_the_documentation() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/SPANS.md");
    let documentation = std::fs::read_to_string(path).unwrap();
    for flag in Flag::ALL {
        let fault = match flag.fault() {
            Fault::Client => "client",
            Fault::Proxy => "proxy",
            Fault::Upstream => "upstream",
        };
        let row = format!("| `{}` | {fault} |", flag.as_str());
        assert!(
            documentation.contains(&row),
            "docs/SPANS.md has no row {row}"
        );
    }
}

#[test]
fn failures_come_before_slowness_and_verdicts_and_a_clients_mistakes_are_none() {
    let world = World::new();
    let attempts = [world.attempt()];
    let usual = world.segment(&attempts);
    let judged = |verdict| Judgement {
        verdict,
        ..Judgement::default()
    };
    for (status, flag, verdict, is_slow, want) in [
        (200, None, Verdict::None, false, None),
        (404, Some(Flag::NoRoute), Verdict::None, false, None),
        (0, Some(Flag::ClientGone), Verdict::None, false, None),
        (503, None, Verdict::App, true, Some(By::TailError)),
        (
            200,
            Some(Flag::UpstreamReset),
            Verdict::None,
            false,
            Some(By::TailError),
        ),
        (200, None, Verdict::App, true, Some(By::TailSlow)),
        (200, None, Verdict::App, false, Some(By::TailVerdict)),
    ] {
        let segment = Segment {
            status,
            flag,
            judgement: judged(verdict),
            ..usual.clone()
        };
        assert_eq!(tail::reason(&segment, is_slow), want);
    }
}

#[test]
fn why_a_segment_is_recorded_is_on_its_server_span_unless_all_are() {
    let world = World::new();
    let said = |sampled_by| {
        let spans = spans(&Segment {
            sampled_by,
            ..world.segment(&[])
        });
        spans[0].attributes.get("spanway.sampled.by").cloned()
    };
    assert_eq!(said(By::All), None);
    assert_eq!(said(By::Ratio), Some(Value::Text("ratio".to_owned())));
}
