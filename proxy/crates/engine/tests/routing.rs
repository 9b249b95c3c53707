//! The routing vectors: the same routes and requests that drive the Python side.

#![allow(clippy::unwrap_used)]

mod wire_json;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};
use spanway_engine::table::{Table, normalise, wire};

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    /// Host, kind, path, backend.
    routes: Vec<[String; 4]>,
    requests: Vec<Request>,
}

#[derive(Deserialize)]
struct Request {
    host: String,
    path: String,
    want: Option<String>,
}

#[test]
fn requests_are_routed_as_the_vector_says() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../tests/vectors/routing.json"
    );
    let vectors: Vectors = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for case in vectors.cases {
        let table = table(&case.routes);
        for Request { host, path, want } in case.requests {
            let path = normalise(path.as_bytes()).unwrap_or(Cow::Borrowed(b""));
            let matched = table.route(host_name(&host).as_bytes(), &path);
            let got = matched.map(|matched| String::from(&*matched.route.backend));
            assert_eq!(got, want, "{}: {host} {path:?}", case.name);
        }
    }
}

/// What the codec makes of a Host field: lower case, without port.
fn host_name(field: &str) -> String {
    let end = match field.rfind(':') {
        Some(colon) if !field.ends_with(']') => colon,
        _ => field.len(),
    };
    field[..end].to_ascii_lowercase()
}

fn table(routes: &[[String; 4]]) -> Table {
    let mut hosts: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut backends = BTreeSet::new();
    for [host, kind, path, backend] in routes {
        let route = wire_json::route(kind, path, backend, &json!({}));
        hosts.entry(host).or_default().push(route);
        backends.insert(backend.as_str());
    }
    let hosts: Vec<_> = hosts
        .into_iter()
        .map(|(name, routes)| wire_json::host(name, &routes))
        .collect();
    let backends: Vec<_> = backends.into_iter().map(backend).collect();
    let changes = json!({"hosts_upsert": hosts, "backends_upsert": backends});
    let update = wire_json::update(0, &changes);
    let update = wire::Update::decode(update.to_string().as_bytes()).unwrap();
    let (table, rejected) = Table::empty().apply(&update).unwrap();
    assert_eq!(rejected, []);
    table
}

fn backend(key: &str) -> Value {
    let (namespace, rest) = key.split_once('/').unwrap();
    let (service, port) = rest.rsplit_once(':').unwrap();
    let changes = json!({"namespace": namespace, "port": port});
    wire_json::backend(service, &[], &changes)
}
