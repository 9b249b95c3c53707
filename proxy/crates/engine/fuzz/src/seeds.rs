//! Bytes to begin with, from `tests/vectors` where there are some.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Longer ones are made of one repeated part.
const SEED_BYTES_MAX: usize = 500;

pub fn requests() -> Vec<Vec<u8>> {
    let cases = cases("hostile_requests");
    let texts = cases.iter().map(|case| latin1(&case["send"]));
    texts.filter(|text| text.len() < SEED_BYTES_MAX).collect()
}

pub fn responses() -> Vec<Vec<u8>> {
    let texts = [
        "\0HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 7\r\nConnection: close\r\n\r\nabcdefg",
        "\0HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b\r\n\r\n0\r\n\r\n",
        "\x01HTTP/1.0 404 Not Found\r\nDate: Mon, 23 Nov 2026 14:48:00 GMT\r\n\r\nhello",
        "\x02HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nX-A:\r\n\r\n",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

/// The bodies of the requests that have chunked ones.
pub fn chunked() -> Vec<Vec<u8>> {
    let bodies = requests().into_iter().filter_map(|request| {
        let end = request.windows(4).position(|four| four == b"\r\n\r\n")?;
        let is_chunked = request[..end].windows(7).any(|seven| seven == b"chunked");
        is_chunked.then(|| request[end + 4..].to_vec())
    });
    bodies.collect()
}

pub fn targets() -> Vec<Vec<u8>> {
    let cases = cases("routing");
    let asked = cases.iter().flat_map(|case| elements(&case["requests"]));
    let mut targets: Vec<_> = asked
        .map(|asked| format!("GET\n{}\n{}", text(&asked["path"]), text(&asked["host"])))
        .collect();
    targets.push("GET\nhttp://shop.example:80/a/%2e%2e/b;c//d?e=f\nSHOP.example".to_owned());
    targets.push("OPTIONS\n*\n[2001:db8::1]:8080".to_owned());
    targets.into_iter().map(String::into_bytes).collect()
}

pub fn trace_contexts() -> Vec<Vec<u8>> {
    const REST: &str = "\nrojo=00f067aa0ba902b7,tenant@vendor=1\ncongo=t61rcWkgMzE\na=1;b=2, c=%20";
    let cases = cases("traceparent");
    let given = cases.iter().map(|case| text(&case["given"]));
    given
        .map(|given| format!("{given}{REST}").into_bytes())
        .collect()
}

pub fn propagators() -> Vec<Vec<u8>> {
    let cases = cases("propagation");
    let heads = cases.iter().map(|case| {
        let fields = elements(&case["fields"]);
        let lines = fields.map(|field| format!("{}: {}", text(&field[0]), text(&field[1])));
        lines.collect::<Vec<_>>().join("\n").into_bytes()
    });
    heads.collect()
}

pub fn proxy_headers() -> Vec<Vec<u8>> {
    let cases = cases("proxy_protocol");
    cases.iter().map(|case| latin1(&case["given"])).collect()
}

pub fn http2_requests() -> Vec<Vec<u8>> {
    let texts = [
        "CONNECT\nhttps://shop.example/chat\nweb\rsocket\nsec-websocket-version:13",
        "GET\nhttps://shop.example/cart?a=b\n\naccept:*/*\ncookie:a=b\ncookie:c=d",
        "POST\n/upload\n\nhost:shop.example\ncontent-length:3\nexpect:100-continue",
        "CONNECT\nhttps://shop.example/chat\nwebsocket\nsec-websocket-version:13",
        "OPTIONS\n*\n\nhost:shop.example\nte:trailers\nx:\u{e9}",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

pub fn tables() -> Vec<Vec<u8>> {
    let cases = cases("routing");
    let updates = cases.iter().map(|case| {
        let routes: Vec<Value> = elements(&case["routes"])
            .map(|route| {
                json!({
                    "kind": route[1], "path": route[2], "backend": route[3], "namespace": "shop",
                    "ingress": "web", "rule": "", "policy": "",
                })
            })
            .collect();
        json!({
            "base": 0, "generation": 1, "listeners": [],
            "tracing": {
                "policy": {
                    "ratio": 1.0, "is_parent_based": true, "rules": [], "traces_per_s_min": 0.0,
                    "traces_per_s_max": 0.0, "tail_spans_per_s": 0.0, "phase_spans": "slow",
                    "is_remote": false,
                },
                "enabled": true, "random_flag": true, "server_timing": "off", "debug_key": "",
                "detail": {"request_headers": [], "response_headers": [], "query_keys": null},
                "kernel_timestamps": "sampled",
            },
            "locality": {"zone": "", "node": ""},
            "hosts_upsert": [{"name": "shop.example", "routes": routes, "tls": null}],
            "hosts_remove": [], "backends_upsert": [], "backends_remove": [],
            "policies_upsert": [], "policies_remove": [],
            "certificates_upsert": [], "certificates_remove": [], "published_by": "",
        })
        .to_string()
    });
    updates.map(String::into_bytes).collect()
}

pub fn routings() -> Vec<Vec<u8>> {
    let mut routings = Vec::new();
    for case in cases("routing") {
        let routes: String = elements(&case["routes"])
            .map(|route| {
                let mark = if route[1] == "exact" { "=" } else { "" };
                format!("\n{mark}{}", text(&route[2]))
            })
            .collect();
        for asked in elements(&case["requests"]) {
            routings.push(format!("{}{routes}", text(&asked["path"])).into_bytes());
        }
    }
    routings
}

fn cases(name: &str) -> Vec<Value> {
    let path = vectors().join(format!("{name}.json"));
    let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    elements(&vectors["cases"]).cloned().collect()
}

/// This crate is built in two places.
fn vectors() -> PathBuf {
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let root = above.find(|directory| directory.join("tests/vectors").is_dir());
    root.unwrap().join("tests/vectors")
}

fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A text, a repeated one, or a list of such; each character is one byte.
fn latin1(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.chars().map(|char| char as u8).collect(),
        Value::Array(parts) => parts.iter().flat_map(latin1).collect(),
        repeated => {
            let times = repeated["times"].as_u64().unwrap_or_default();
            latin1(&repeated["repeat"]).repeat(times as usize)
        }
    }
}
