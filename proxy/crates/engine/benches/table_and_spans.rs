//! What a request pays for its route and its spans, and what a change of the table costs.
//!
//! `cargo bench -p spanway-engine --bench table_and_spans`; the best of some rounds each, in
//! nanoseconds, since that is what the code costs when nothing else runs.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/wire_json/mod.rs"]
mod wire_json;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use spanway_engine::Instant;
use spanway_engine::message::Fields;
use spanway_engine::table::{Backend, ListenerKind, Route, SpanDetail, Table, normalise, wire};
use spanway_engine::trace::{
    Anchor, Attempt, Balance, Baselines, Blocked, By, Choice, Ids, Judgement, Observed, Recorder,
    Resource, Segment, SpanQueue, Timeline, context,
};
use spanway_engine::{Asker, Balancer, Finding};

const HOST_COUNT: usize = 10_000;
const ROUTES_PER_HOST: usize = 10;
const ROUNDS: usize = 7;

fn main() {
    let mut table = Table::empty();
    let first = whole_update();
    measure_once("decode and apply 10,000 hosts, 100,000 routes", || {
        let update = wire::Update::decode(&first).unwrap();
        table = table.apply(&update).unwrap().0;
    });
    measure_route(&table);
    measure_apply(&mut table);
    measure_record(&table);
    measure_pick();
    let traceparent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    measure("parse_traceparent", 1_000_000, |_| {
        black_box(context::parse_traceparent(black_box(traceparent)).is_ok());
    });
}

fn measure_route(table: &Table) {
    let mut random = fastrand::Rng::with_seed(1);
    let requests: Vec<_> = (0..4096)
        .map(|_| {
            let (host, route) = (random.usize(..HOST_COUNT), random.usize(..ROUTES_PER_HOST));
            (
                format!("host-{host}.shop.example"),
                format!("/api/v1/part-{route}/items/42"),
            )
        })
        .collect();
    let plain = |(host, path): &(String, String)| {
        let path = normalise(path.as_bytes()).unwrap();
        black_box(table.route(host.as_bytes(), &path).unwrap());
    };
    measure(
        "normalise and route, one host again and again",
        1_000_000,
        |_| plain(&requests[0]),
    );
    measure(
        "normalise and route, 10,000 hosts at random",
        1_000_000,
        |index| {
            plain(&requests[index % 4096]);
        },
    );
    measure("route of a host that does not exist", 1_000_000, |_| {
        black_box(
            table
                .route(black_box(b"nowhere.example.org"), b"/api/v1")
                .is_none(),
        );
    });
    let slashes = vec![b'/'; 60_000];
    measure("route of 60,000 slashes", 10_000, |_| {
        black_box(
            table
                .route(black_box(b"host-1.shop.example"), &slashes)
                .is_none(),
        );
    });
}

fn measure_apply(table: &mut Table) {
    let change = |table: &Table, index: usize| {
        update(table.generation, &[], &[backend(index, 5)]).to_string()
    };
    let mut durations = Vec::new();
    for index in 0..200 {
        let json = change(table, index);
        let start = Instant::now();
        let update = wire::Update::decode(json.as_bytes()).unwrap();
        *table = table.apply(&update).unwrap().0;
        durations.push(start.elapsed());
    }
    durations.sort();
    println!(
        "{:>12.1?}  one changed backend among 10,000, old table dropped",
        durations[100]
    );
}

fn measure_record(table: &Table) {
    let queue = Arc::new(SpanQueue::new(64 * 1024 * 1024).unwrap());
    let mut recorder = Recorder::new(&Resource::default(), Arc::clone(&queue));
    let matched = table
        .route(b"host-1.shop.example", b"/api/v1/part-1")
        .unwrap();
    let backend = table.backend(&matched.route.backend).unwrap();
    let (mut ids, start, clock) = (Ids::from_entropy(), Instant::now(), Anchor::now());
    let (detail, fields) = (SpanDetail::default(), Fields::default());
    let mut bytes = 0;
    let mut drain = || {
        for batch in queue.take(usize::MAX) {
            bytes += batch.otlp.len();
            queue.recycle(batch.otlp);
        }
    };
    measure("three ids and record of three spans", 200_000, |index| {
        let attempts = [attempt(ids.span_id(), backend, start)];
        let balance = balance(ids.span_id(), start);
        let borrowed = (&detail, &fields, start, clock);
        let tried = (&balance, &attempts[..]);
        let segment = segment(&mut ids, matched.route, backend, tried, borrowed);
        recorder.record(&segment, &Timeline::new(&segment));
        if index % 1024 == 0 {
            drain();
        }
    });
    let mut baselines = Baselines::default();
    measure("the verdict of a segment", 200_000, |_| {
        let attempts = [attempt(ids.span_id(), backend, start)];
        let balance = balance(ids.span_id(), start);
        let borrowed = (&detail, &fields, start, clock);
        let tried = (&balance, &attempts[..]);
        let segment = segment(&mut ids, matched.route, backend, tried, borrowed);
        black_box(baselines.judge(&segment, &Timeline::new(&segment)));
    });
    recorder.flush();
    drain();
    let segment_count = queue.counts().recorded / 3;
    println!("{:>12}  bytes per segment", bytes as u64 / segment_count);
    assert_eq!(queue.counts().dropped, 0);
}

fn measure_pick() {
    let fields = Fields::default();
    let asker = Asker {
        client: [192, 0, 2, 1].into(),
        fields: &fields,
    };
    for policy in ["round_robin", "least_request", "ewma", "hash"] {
        for (count, weighs) in [
            (1, "1"),
            (10, "1"),
            (10, "1 to 3"),
            (1000, "1"),
            (1000, "1 to 3"),
        ] {
            let table = table_to_pick_from(policy, count, weighs == "1");
            let backend = table.backend("shop/picked:80").unwrap();
            let (mut balancer, now) = (Balancer::default(), Instant::now());
            let name = format!("pick by {policy} of {count} endpoints of weight {weighs}");
            measure(&name, 50_000, |_| {
                let picked = balancer.pick(backend, &asker, &[], now).unwrap();
                black_box(picked.report(backend, Finding::Well(Duration::from_millis(1)), now));
            });
        }
    }
}

fn table_to_pick_from(policy: &str, endpoint_count: usize, is_even: bool) -> Table {
    let endpoint = |index: usize| {
        let weight = if is_even { 1 } else { 1 + index % 3 };
        let address = format!("10.2.{}.{}", index / 250, index % 250);
        wire_json::endpoint(&address, 8080, &json!({"weight": weight}))
    };
    let endpoints: Vec<_> = (0..endpoint_count).map(endpoint).collect();
    let backend = wire_json::backend("picked", &endpoints, &json!({"balance": policy}));
    let update = update(0, &[], &[backend]).to_string();
    let update = wire::Update::decode(update.as_bytes()).unwrap();
    Table::empty().apply(&update).unwrap().0
}

fn attempt(id: spanway_engine::trace::SpanId, backend: &Backend, start: Instant) -> Attempt<'_> {
    let at = |microseconds| start + Duration::from_micros(microseconds);
    Attempt {
        id,
        endpoint: &backend.endpoints[0],
        started: at(25),
        queued: Duration::ZERO,
        handshake_started: None,
        connected: at(26),
        sent: at(40),
        first_byte: Some(at(740)),
        end: at(900),
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

fn balance(id: spanway_engine::trace::SpanId, start: Instant) -> Balance {
    let at = |microseconds| start + Duration::from_micros(microseconds);
    Balance {
        id,
        start: at(22),
        end: at(900),
        queue: Duration::ZERO,
        retry_denied: None,
        choice: Choice::default(),
    }
}

fn segment<'a>(
    ids: &mut Ids,
    route: &'a Route,
    backend: &'a Backend,
    (balance, attempts): (&'a Balance, &'a [Attempt<'a>]),
    (detail, fields, start, clock): (&'a SpanDetail, &'a Fields, Instant, Anchor),
) -> Segment<'a> {
    let at = |microseconds| start + Duration::from_micros(microseconds);
    Segment {
        clock,
        trace_id: ids.trace_id(),
        root: ids.span_id(),
        parent: None,
        link: None,
        publisher: None,
        trace_state: b"",
        sampled_flags: 1,
        sampled_by: By::All,
        method: b"GET",
        known_method: Some("GET"),
        path: b"/api/v1/part-1/items/42",
        query: None,
        scheme: "http",
        tls_attributes: b"",
        host: b"host-1.shop.example",
        user_agent: Some(b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        http_version: "1.1",
        client: ([192, 0, 2, 1], 40_000).into(),
        network_peer: ([192, 0, 2, 1], 40_000).into(),
        server: ([192, 0, 2, 2], 80).into(),
        ends_attributes: None,
        listener: ListenerKind::Ingress,
        route: Some(route),
        rewritten_path: None,
        backend: Some(backend),
        generation: 42,
        status: 200,
        flag: None,
        call: None,
        request_id: b"5f0c1ad2-77cb-4f39-a12c-0b7ad6b71692",
        detail,
        request_fields: fields,
        response_fields: None,
        phase_id: None,
        tunnel: None,
        request_body_bytes: 0,
        response_body_bytes: 1024,
        arrived: None,
        client_net: None,
        client_end: None,
        start,
        head_read: at(20),
        end: at(1000),
        delivered: None,
        first_response: Some(at(745)),
        balance: Some(balance),
        attempts,
        judgement: Judgement::default(),
    }
}

fn measure(name: &str, count: usize, mut work: impl FnMut(usize)) {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        (0..count).for_each(&mut work);
        best = best.min(start.elapsed());
    }
    let picoseconds = best.as_nanos() * 1_000 / count as u128;
    let (nanoseconds, tenth) = (picoseconds / 1_000, picoseconds % 1_000 / 100);
    println!("{nanoseconds:>7}.{tenth} ns  {name}");
}

fn measure_once(name: &str, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    println!("{:>12.1?}  {name}", start.elapsed());
}

fn whole_update() -> Vec<u8> {
    let hosts: Vec<_> = (0..HOST_COUNT).map(host).collect();
    let backends: Vec<_> = (0..HOST_COUNT).map(|index| backend(index, 3)).collect();
    update(0, &hosts, &backends).to_string().into_bytes()
}

fn update(base: u64, hosts: &[Value], backends: &[Value]) -> Value {
    let changes = json!({"hosts_upsert": hosts, "backends_upsert": backends});
    wire_json::update(base, &changes)
}

fn host(index: usize) -> Value {
    let routes: Vec<_> = (0..ROUTES_PER_HOST)
        .map(|route| {
            let backend = format!("shop/service-{index}:80");
            let rule = json!({"rule": format!("spec.rules[0].http.paths[{route}]")});
            wire_json::route("prefix", &format!("/api/v1/part-{route}"), &backend, &rule)
        })
        .collect();
    wire_json::host(&format!("host-{index}.shop.example"), &routes)
}

fn backend(index: usize, endpoint_count: usize) -> Value {
    let endpoint = |last| {
        let pod = json!({"pod": format!("service-{index}-7d9f8c-x2{last}"), "node": "node-17"});
        wire_json::endpoint(&format!("10.1.2.{last}"), 8080, &pod)
    };
    let endpoints: Vec<_> = (0..endpoint_count).map(endpoint).collect();
    let changed = json!({"changed_unix_ms": 1_700_000_000_000_i64});
    wire_json::backend(&format!("service-{index}"), &endpoints, &changed)
}
