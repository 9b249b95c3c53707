//! Whole values of the wire form, as `proxy/table.py` writes its defaults, with changes.

use serde_json::{Value, json};

/// `whole` with the members of `changes` in place of its own.
fn with(mut whole: Value, changes: &Value) -> Value {
    for (key, value) in changes.as_object().into_iter().flatten() {
        whole[key] = value.clone();
    }
    whole
}

/// An update from `base` to the next generation.
pub fn update(base: u64, changes: &Value) -> Value {
    let whole = json!({
        "base": base, "generation": base + 1, "listeners": [],
        "tracing": tracing(&json!({})),
        "locality": {"zone": "", "node": ""},
        "hosts_upsert": [], "hosts_remove": [], "backends_upsert": [], "backends_remove": [],
        "policies_upsert": [], "policies_remove": [],
        "certificates_upsert": [], "certificates_remove": [], "published_by": "",
    });
    with(whole, changes)
}

/// What is recorded, with changes of the policy.
pub fn tracing(changes: &Value) -> Value {
    json!({
        "policy": tracing_policy(changes), "enabled": true, "random_flag": true,
        "server_timing": "off", "debug_key": "", "detail": detail(&json!({})),
        "kernel_timestamps": "sampled",
    })
}

/// What spans say beyond what they always say.
pub fn detail(changes: &Value) -> Value {
    let whole = json!({
        "request_headers": [], "response_headers": [], "query_keys": null,
    });
    with(whole, changes)
}

/// How requests are traced where nothing is said.
pub fn tracing_policy(changes: &Value) -> Value {
    let whole = json!({
        "ratio": 1.0, "is_parent_based": true, "rules": [], "traces_per_s_min": 0.0,
        "traces_per_s_max": 0.0, "tail_spans_per_s": 0.0, "phase_spans": "slow",
        "is_remote": false,
    });
    with(whole, changes)
}

/// `shop/{service}:80`.
pub fn backend(service: &str, endpoints: &[Value], changes: &Value) -> Value {
    let whole = json!({
        "namespace": "shop", "service": service, "port": "80", "endpoints": endpoints,
        "changed_unix_ms": 5, "balance": "round_robin",
        "hash_key": {"on": "ip", "name": ""}, "affinity": null, "prefer": "any",
        "health": {
            "errors_consecutive": 5, "ejection_ms": 30000, "ejection_max_ms": 300_000,
            "ejected_percent_max": 50,
        },
        "slow_start_ms": 0,
        "limits": {
            "requests_max": 0, "connections_max": 0, "queue_max": 0, "queue_timeout_ms": 5000,
        },
        "protocol": "http1", "tls": null, "proxy_protocol": "off",
        "connect_timeout_ms": 5000, "missing": "",
    });
    with(whole, changes)
}

/// An endpoint.
#[allow(dead_code, reason = "not every test has one")]
pub fn endpoint(address: &str, port: i64, changes: &Value) -> Value {
    let whole = json!({
        "address": address, "port": port, "pod": "", "node": "", "zone": "", "weight": 1,
    });
    with(whole, changes)
}

/// A route of the Ingress shop/web to a backend's key.
#[allow(dead_code, reason = "not every test has one")]
pub fn route(kind: &str, path: &str, backend: &str, changes: &Value) -> Value {
    let whole = json!({
        "kind": kind, "path": path, "backend": backend, "namespace": "shop",
        "ingress": "web", "rule": format!("rule of {path}"), "policy": "",
    });
    with(whole, changes)
}

/// A host.
#[allow(dead_code, reason = "not every test has one")]
pub fn host(name: &str, routes: &[Value]) -> Value {
    json!({"name": name, "routes": routes, "tls": null})
}

/// A listener.
#[allow(dead_code, reason = "not every test has one")]
pub fn listener(address: &str, kind: &str, backend: &str, changes: &Value) -> Value {
    let whole = json!({
        "address": address, "kind": kind, "backend": backend, "forwarded": false, "policy": "",
        "tls": false, "certificate": "", "proxy_protocol": false, "trusted_proxies": [],
        "trusted_field": "x_forwarded_for",
        "extract": ["tracecontext"], "inject": ["tracecontext"], "trust_context": "all",
        "head_timeout_ms": 60000, "idle_timeout_ms": 75000,
    });
    with(whole, changes)
}

/// The policy that applies where none is named.
#[allow(dead_code, reason = "not every test has one")]
pub fn policy(changes: &Value) -> Value {
    let edits = json!({"remove": [], "set": [], "add": []});
    let whole = json!({
        "read_timeout_ms": 60000, "send_timeout_ms": 60000, "request_timeout_ms": 0,
        "client_timeout_ms": 60000, "client_bytes_per_s_min": 240,
        "tunnel_timeout_ms": 3_600_000,
        "retry": {
            "attempts": 3, "on": ["connect", "closed"], "per_try_timeout_ms": 0,
            "budget_percent": 20,
        },
        "request_body_bytes_max": 0, "request_head_bytes_max": 0,
        "request_headers": edits, "response_headers": edits, "rewrite": null, "redirect": null,
        "https_only": false, "allow": [], "deny": [], "server_timing": null, "inject": null, "tracing": null,
    });
    with(whole, changes)
}
