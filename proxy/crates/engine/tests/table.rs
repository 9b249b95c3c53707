//! Updates become tables; what is wrong with one entry leaves the rest alone.

#![allow(clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value)]

mod wire_json;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use spanway_engine::table::{BalancePolicy, ListenerKind, Rejected, Table, wire};
use spanway_engine::trace::sampler::Share;
use wire_json::{host, update};

fn apply(table: &Table, parts: Value) -> (Table, Vec<Rejected>) {
    let update = update(table.generation, &parts);
    table
        .apply(&wire::Update::decode(update.to_string().as_bytes()).unwrap())
        .unwrap()
}

/// Applies an update of which nothing is rejected.
fn applied(table: &Table, parts: Value) -> Table {
    let (table, rejected) = apply(table, parts);
    assert_eq!(rejected, []);
    table
}

fn endpoint(address: &str, port: i64) -> Value {
    wire_json::endpoint(address, port, &json!({}))
}

fn backend(service: &str, endpoints: &[Value]) -> Value {
    wire_json::backend(service, endpoints, &json!({}))
}

fn route(kind: &str, path: &str, service: &str) -> Value {
    wire_json::route(kind, path, &format!("shop/{service}:80"), &json!({}))
}

fn listener(address: &str, kind: &str, backend: &str) -> Value {
    wire_json::listener(address, kind, backend, &json!({}))
}

/// Backends a and b, each with one endpoint, and the host shop.example with / to a.
fn shop() -> Table {
    applied(
        &Table::empty(),
        json!({
            "backends_upsert": [
                backend("a", &[endpoint("10.0.0.1", 80)]),
                backend("b", &[endpoint("10.0.0.2", 80)]),
            ],
            "hosts_upsert": [host("shop.example", &[route("prefix", "/", "a")])],
        }),
    )
}

fn answer<'a>(table: &'a Table, host: &str, path: &str) -> Option<&'a str> {
    let matched = table.route(host.as_bytes(), path.as_bytes())?;
    Some(&matched.route.backend)
}

#[test]
fn an_update_carries_everything_over() {
    let mut of_a = backend(
        "a",
        &[endpoint("10.0.0.1", 80), endpoint("fd00::1", 65_535)],
    );
    of_a["balance"] = json!("least_request");
    of_a["missing"] = json!("why");
    let mut public = listener("[::]:80", "ingress", "");
    public["forwarded"] = json!(true);
    let table = applied(
        &Table::empty(),
        json!({
            "backends_upsert": [of_a],
            "hosts_upsert": [host("Shop.Example", &[route("exact", "/x", "a")])],
            "listeners": [public, listener("127.0.0.1:8081", "service", "shop/a:80")],
            "tracing": wire_json::tracing(&json!({"ratio": 0.25})),
        }),
    );
    assert_eq!(table.generation, 1);
    let backend = table.backend("shop/a:80").unwrap();
    assert_eq!(
        (&*backend.namespace, &*backend.service, &*backend.port),
        ("shop", "a", "80")
    );
    assert_eq!((&*backend.key, &*backend.missing), ("shop/a:80", "why"));
    assert_eq!(backend.balance, BalancePolicy::LeastRequest);
    assert_eq!(backend.connect_timeout, Duration::from_secs(5));
    assert_eq!(backend.changed_unix_ms, 5);
    let addresses: Vec<_> = backend
        .endpoints
        .iter()
        .map(|one| one.address.to_string())
        .collect();
    assert_eq!(addresses, ["10.0.0.1:80", "[fd00::1]:65535"]);
    let matched = table.route(b"shop.example", b"/x").unwrap();
    assert_eq!(
        (&*matched.host.name, &*matched.route.ingress),
        ("shop.example", "web")
    );
    let [public, service] = &table.listeners[..] else {
        panic!("not two listeners")
    };
    assert!(public.forwarded && public.kind == ListenerKind::Ingress && public.backend.is_none());
    assert_eq!(service.backend.as_deref(), Some("shop/a:80"));
    assert_eq!(table.tracing.policy.share, Share::of(0.25));
}

#[test]
fn an_update_of_another_generation_is_refused_whole() {
    let table = shop();
    for (base, generation) in [(0, 2), (2, 3), (1, 1), (1, 0)] {
        let mut update = update(base, &json!({}));
        update["generation"] = json!(generation);
        let update = wire::Update::decode(update.to_string().as_bytes()).unwrap();
        assert_eq!(table.apply(&update).unwrap_err().kind, "table");
    }
}

#[test]
fn an_update_that_cannot_be_read_says_where() {
    let mut missing = update(0, &json!({}));
    missing.as_object_mut().unwrap().remove("hosts_remove");
    let unknown = update(0, &json!({"certificates": []}));
    let kind = update(0, &json!({"listeners": [listener("[::]:80", "tcp", "")]}));
    for (json, part) in [
        (missing.to_string(), "hosts_remove"),
        (unknown.to_string(), "certificates"),
        (kind.to_string(), "tcp"),
        (String::new(), "EOF"),
        ("[1]".to_owned(), "line 1"),
    ] {
        let rejected = wire::Update::decode(json.as_bytes()).unwrap_err();
        assert_eq!(rejected.kind, "table");
        assert!(rejected.message.contains(part), "{}", rejected.message);
    }
}

#[test]
fn a_bad_backend_stays_as_it_was_and_the_rest_is_applied() {
    let old = shop();
    for (bad, part) in [
        (backend("a", &[endpoint("10.0.0.300", 80)]), "10.0.0.300:80"),
        (
            backend("a", &[endpoint("10.0.0.3", 80), endpoint("pod.local", 80)]),
            "pod.local",
        ),
        (backend("a", &[endpoint("10.0.0.3", 0)]), "port"),
        (backend("a", &[endpoint("10.0.0.3", 65_536)]), "port"),
        (backend("a", &[endpoint("10.0.0.3", -1)]), "port"),
        (
            with(backend("a", &[]), "connect_timeout_ms", &json!(0)),
            "connect_timeout_ms",
        ),
    ] {
        let (new, rejected) = apply(
            &old,
            json!({"backends_upsert": [bad, backend("b", &[]), backend("c", &[])]}),
        );
        let [rejected] = &rejected[..] else {
            panic!("{rejected:?}")
        };
        assert_eq!(
            (rejected.kind, rejected.subject.as_str()),
            ("backend", "shop/a:80")
        );
        assert!(rejected.message.contains(part), "{}", rejected.message);
        assert_eq!(new.backend("shop/a:80").unwrap().endpoints.len(), 1);
        assert_eq!(new.backend("shop/b:80").unwrap().endpoints.len(), 0);
        assert!(new.backend("shop/c:80").is_some());
    }
}

fn with(mut value: Value, key: &str, part: &Value) -> Value {
    value[key] = part.clone();
    value
}

#[test]
fn a_bad_host_stays_as_it_was_and_the_rest_is_applied() {
    let old = shop();
    let long = format!("/{}", "x".repeat(4096));
    for (routes, part) in [
        (
            [route("prefix", "/new", "b"), route("prefix", "api", "b")],
            "rule of api",
        ),
        (
            [route("prefix", "/new", "b"), route("prefix", "", "b")],
            "slash",
        ),
        (
            [route("prefix", "/new", "b"), route("exact", "/../x", "b")],
            "above the root",
        ),
        (
            [route("prefix", "/new", "b"), route("exact", "/%x", "b")],
            "hex",
        ),
        (
            [route("prefix", "/new", "b"), route("exact", &long, "b")],
            "4096",
        ),
        (
            [
                route("prefix", "/new", "b"),
                route("prefix", "/x", "nowhere"),
            ],
            "shop/nowhere:80",
        ),
    ] {
        let other = host("other.example", &[route("prefix", "/", "b")]);
        let parts = json!({"hosts_upsert": [host("shop.example", &routes), other]});
        let (new, rejected) = apply(&old, parts);
        let [rejected] = &rejected[..] else {
            panic!("{rejected:?}")
        };
        assert_eq!(
            (rejected.kind, rejected.subject.as_str()),
            ("host", "shop.example")
        );
        assert!(rejected.message.contains(part), "{}", rejected.message);
        assert_eq!(answer(&new, "shop.example", "/new"), Some("shop/a:80"));
        assert_eq!(answer(&new, "other.example", "/"), Some("shop/b:80"));
    }
}

#[test]
fn a_host_name_that_can_never_match_is_rejected() {
    let long = "x".repeat(254);
    for name in [
        "*.",
        "*",
        "a.*.example",
        "sh op",
        "shop/x",
        "bücher.example",
        &long,
    ] {
        let (_, rejected) = apply(&shop(), json!({"hosts_upsert": [host(name, &[])]}));
        assert_eq!(rejected.len(), 1, "{name}");
        assert_eq!(
            (rejected[0].kind, rejected[0].subject.as_str()),
            ("host", name)
        );
    }
}

#[test]
fn a_bad_listener_stays_as_it_was_and_the_rest_is_applied() {
    let old = applied(
        &shop(),
        json!({"listeners": [listener("127.0.0.1:80", "ingress", "")]}),
    );
    for (bad, part) in [
        (listener("127.0.0.1:80", "ingress", "shop/a:80"), "backend"),
        (listener("127.0.0.1:80", "service", ""), "no backend"),
        (
            listener("127.0.0.1:80", "service", "shop/nowhere:80"),
            "shop/nowhere:80",
        ),
    ] {
        let other = listener("127.0.0.1:81", "service", "shop/b:80");
        let (new, rejected) = apply(&old, json!({"listeners": [bad, other]}));
        let [rejected] = &rejected[..] else {
            panic!("{rejected:?}")
        };
        assert_eq!(
            (rejected.kind, rejected.subject.as_str()),
            ("listener", "127.0.0.1:80")
        );
        assert!(rejected.message.contains(part), "{}", rejected.message);
        assert_eq!(new.listeners.len(), 2);
        assert!(Arc::ptr_eq(&new.listeners[0], &old.listeners[0]));
    }
}

#[test]
fn a_listener_without_a_usable_address_is_rejected() {
    for address in [
        "",
        "80",
        "localhost:80",
        "127.0.0.1",
        "127.0.0.1:0",
        "127.0.0.1:65536",
    ] {
        let (new, rejected) = apply(
            &shop(),
            json!({"listeners": [listener(address, "ingress", "")]}),
        );
        assert_eq!((rejected.len(), new.listeners.len()), (1, 0), "{address}");
    }
}

#[test]
fn of_two_listeners_with_one_address_the_first_is_used() {
    let one = listener("127.0.0.1:80", "ingress", "");
    let other = listener("127.0.0.1:80", "service", "shop/a:80");
    let (new, rejected) = apply(&shop(), json!({"listeners": [one, other]}));
    assert_eq!((rejected.len(), new.listeners.len()), (1, 1));
    assert_eq!(new.listeners[0].kind, ListenerKind::Ingress);
}

#[test]
fn a_tracing_policy_that_is_wrong_leaves_tracing_as_it_was() {
    let half = wire_json::tracing(&json!({"ratio": 0.5}));
    let old = applied(&shop(), json!({"tracing": half}));
    let rule = |changes: Value| {
        let mut rule = json!({
            "ratio": 1.0, "header": "", "value": "", "method": "", "route": "",
            "traces_per_s_min": 0.0,
        });
        let changes = changes.as_object().unwrap().clone();
        rule.as_object_mut().unwrap().extend(changes);
        json!({"rules": [rule]})
    };
    for (changes, message) in [
        (
            json!({"ratio": -0.1}),
            "tracing.policy.ratio is -0.1, which is not from 0 to 1",
        ),
        (
            json!({"ratio": 1.1}),
            "tracing.policy.ratio is 1.1, which is not from 0 to 1",
        ),
        (
            json!({"traces_per_s_max": -1.0}),
            "tracing.policy.traces_per_s_max is -1, which is not from 0 to 1000000",
        ),
        (
            json!({"tail_spans_per_s": 1e7}),
            "tracing.policy.tail_spans_per_s is 10000000, which is not from 0 to 1000000",
        ),
        (
            rule(json!({"ratio": 2.0})),
            "tracing.policy.rules[0].ratio is 2, which is not from 0 to 1",
        ),
        (
            rule(json!({"value": "x"})),
            "tracing.policy.rules[0].value has no header that could have it",
        ),
    ] {
        let tracing = wire_json::tracing(&changes);
        let (new, rejected) = apply(&old, json!({"tracing": tracing}));
        assert_eq!(
            (rejected[0].kind, &*rejected[0].message),
            ("tracing", message)
        );
        assert_eq!(new.tracing.policy, old.tracing.policy);
    }
}

#[test]
fn a_detail_that_asks_for_a_secret_leaves_detail_as_it_was() {
    let named = json!({"request_headers": ["X-Tenant"], "query_keys": ["page"]});
    let tracing = |detail: &Value| {
        let mut tracing = wire_json::tracing(&json!({}));
        tracing["detail"] = wire_json::detail(detail);
        json!({"tracing": tracing})
    };
    let old = applied(&shop(), tracing(&named));
    assert_eq!(
        &*old.tracing.detail.request_headers[0].key,
        "http.request.header.x-tenant"
    );
    let many: Vec<_> = (0..17).map(|index| format!("x-{index}")).collect();
    for (changes, part) in [
        (json!({"request_headers": ["Cookie"]}), "request_headers"),
        (
            json!({"response_headers": ["Set-Cookie"]}),
            "response_headers",
        ),
        (json!({"query_keys": ["sig"]}), "query_keys"),
        (json!({"query_keys": ["a=b"]}), "query_keys"),
        (json!({"request_headers": ["two words"]}), "request_headers"),
        (json!({ "response_headers": many }), "response_headers"),
    ] {
        let (new, rejected) = apply(&old, tracing(&changes));
        assert!(
            rejected[0]
                .message
                .starts_with(&format!("tracing.detail.{part} has "))
        );
        assert_eq!(new.tracing.detail, old.tracing.detail);
    }
}

#[test]
fn a_rate_goes_on_where_a_policy_is_said_again_and_begins_anew_where_it_is_another() {
    let publish = |table: &Table, per_s: f64, timeout_ms: i64| {
        let policy = wire_json::tracing_policy(&json!({"traces_per_s_max": per_s}));
        let policy = wire_json::policy(&json!({
            "tracing": policy, "read_timeout_ms": timeout_ms,
        }));
        applied(
            table,
            json!({
                "tracing": wire_json::tracing(&json!({"traces_per_s_max": per_s})),
                "policies_upsert": [["p", policy]],
            }),
        )
    };
    let rates = |table: &Table| {
        let own = table.policy(Some("p")).tracing.clone();
        [table.tracing.policy.clone(), own.unwrap()]
    };
    let first = publish(&shop(), 5.0, 1);
    let same = publish(&first, 5.0, 2);
    let other = publish(&same, 6.0, 2);
    for index in 0..2 {
        assert!(Arc::ptr_eq(&rates(&first)[index], &rates(&same)[index]));
        assert!(!Arc::ptr_eq(&rates(&same)[index], &rates(&other)[index]));
    }
}

#[test]
fn the_key_of_debug_headers_is_never_shown() {
    let mut tracing = wire_json::tracing(&json!({}));
    tracing["debug_key"] = json!("quite-secret");
    let table = applied(&shop(), json!({"tracing": tracing.clone()}));
    let json = update(0, &json!({"tracing": tracing}));
    let update = wire::Update::decode(json.to_string().as_bytes()).unwrap();
    assert!(table.tracing.debug_key.is_some());
    assert!(!format!("{table:?} {update:?}").contains("quite-secret"));
}

#[test]
fn a_host_survives_the_rejection_of_its_new_backend() {
    let bad = backend("new", &[endpoint("nonsense", 80)]);
    let routes = [route("prefix", "/new", "new"), route("prefix", "/", "a")];
    let parts = json!({"backends_upsert": [bad], "hosts_upsert": [host("shop.example", &routes)]});
    let (table, rejected) = apply(&shop(), parts);
    assert_eq!(rejected.len(), 1);
    assert_eq!(answer(&table, "shop.example", "/x"), Some("shop/a:80"));
    assert_eq!(answer(&table, "shop.example", "/new"), Some("shop/new:80"));
    assert!(table.backend("shop/new:80").is_none());
}

#[test]
fn of_two_equal_paths_the_first_is_used_and_the_other_is_reported() {
    let routes = [
        route("prefix", "/x", "a"),
        route("prefix", "/x/", "b"),
        route("exact", "/%7Eu", "a"),
        route("exact", "/~u", "b"),
    ];
    let (table, rejected) = apply(
        &shop(),
        json!({"hosts_upsert": [host("shop.example", &routes)]}),
    );
    assert_eq!(rejected.len(), 2);
    assert!(
        rejected[0].message.contains("rule of /x/"),
        "{}",
        rejected[0].message
    );
    assert!(
        rejected[1].message.contains("rule of /%7Eu"),
        "{}",
        rejected[1].message
    );
    assert_eq!(answer(&table, "shop.example", "/x"), Some("shop/a:80"));
    assert_eq!(answer(&table, "shop.example", "/~u"), Some("shop/a:80"));
}

#[test]
fn what_is_removed_is_gone_and_the_table_before_keeps_it() {
    let names = ["shop.example", "*.shop.example", ""];
    let hosts = names.map(|name| host(name, &[route("prefix", "/", "a")]));
    let old = applied(&shop(), json!({"hosts_upsert": hosts}));
    for (name, asked) in [
        ("Shop.example", "shop.example"),
        ("*.shop.example", "x.shop.example"),
    ] {
        let new = applied(&old, json!({"hosts_remove": [name]}));
        assert_eq!(new.hosts().count(), 2);
        assert_eq!(
            new.route(asked.as_bytes(), b"/").unwrap().host.name.len(),
            0
        );
        assert_eq!(
            &*old.route(asked.as_bytes(), b"/").unwrap().host.name,
            name.to_lowercase()
        );
    }
    let new = applied(
        &old,
        json!({"hosts_remove": [""], "backends_remove": ["shop/a:80"]}),
    );
    assert_eq!(answer(&new, "elsewhere.example", "/"), None);
    assert!(new.backend("shop/a:80").is_none() && old.backend("shop/a:80").is_some());
    assert!(new.host("shop.example").is_some() && new.host("").is_none());
}

#[test]
fn what_does_not_change_is_shared() {
    let old = applied(
        &shop(),
        json!({"listeners": [listener("127.0.0.1:80", "ingress", "")]}),
    );
    let parts = json!({
        "listeners": [listener("127.0.0.1:80", "ingress", "")],
        "backends_upsert": [backend("b", &[])],
    });
    let new = applied(&old, parts);
    let of = |table: &Table, key| Arc::as_ptr(table.backend(key).unwrap());
    assert_eq!(of(&old, "shop/a:80"), of(&new, "shop/a:80"));
    assert_ne!(of(&old, "shop/b:80"), of(&new, "shop/b:80"));
    assert!(Arc::ptr_eq(
        old.host("shop.example").unwrap(),
        new.host("shop.example").unwrap()
    ));
    assert!(Arc::ptr_eq(&old.listeners[0], &new.listeners[0]));
}

#[test]
fn a_wildcard_stands_for_exactly_one_label() {
    let table = applied(
        &shop(),
        json!({"hosts_upsert": [host("*.foo.com", &[route("prefix", "/", "b")])]}),
    );
    assert_eq!(answer(&table, "bar.foo.com", "/"), Some("shop/b:80"));
    for asked in [
        "foo.com",
        ".foo.com",
        "baz.bar.foo.com",
        "foo.com.",
        "bar.foo.com.evil",
        "",
    ] {
        assert_eq!(answer(&table, asked, "/"), None, "{asked}");
    }
}

#[test]
fn a_policy_that_was_rejected_admits_nothing_unless_there_was_one_before() {
    let policies =
        |changes: Value| json!({"policies_upsert": [["p", wire_json::policy(&changes)]]});
    let (table, rejected) = apply(&shop(), policies(json!({"allow": ["nowhere"]})));
    assert_eq!(rejected[0].kind, "policy");
    assert!(table.policy(Some("p")).is_unusable && !table.policy(Some("p")).admits_all);
    assert!(!table.policy(None).is_unusable && table.policy(None).admits_all);

    let table = applied(&table, policies(json!({"allow": ["10.0.0.0/8"]})));
    assert!(!table.policy(Some("p")).is_unusable);
    let (table, _) = apply(&table, policies(json!({"allow": ["nowhere"]})));
    let kept = table.policy(Some("p"));
    assert!(
        kept.access
            .as_ref()
            .unwrap()
            .admits("10.1.1.1".parse().unwrap())
    );
}

#[test]
fn a_policy_that_says_nothing_is_the_default() {
    let policies = json!({"policies_upsert": [["p", wire_json::policy(&json!({}))]]});
    let table = applied(&shop(), policies);
    assert_eq!(table.policy(Some("p")), table.policy(None));
}

#[test]
fn a_prefix_is_compared_element_by_element() {
    let routes = [
        route("prefix", "/foo/", "a"),
        route("prefix", "/foo/bar", "b"),
    ];
    let table = applied(&shop(), json!({"hosts_upsert": [host("x", &routes)]}));
    for (path, want) in [
        ("/foo", Some("shop/a:80")),
        ("/foo/", Some("shop/a:80")),
        ("/foo//", Some("shop/a:80")),
        ("/foo/ba", Some("shop/a:80")),
        ("/foo/barr", Some("shop/a:80")),
        ("/foo/bar", Some("shop/b:80")),
        ("/foo/bar/", Some("shop/b:80")),
        ("/foo/bar/x/y/z", Some("shop/b:80")),
        ("/foobar", None),
        ("/fo", None),
        ("//foo", Some("shop/a:80")),
        ("///foo//bar", Some("shop/b:80")),
        ("/", None),
        ("", None),
    ] {
        assert_eq!(answer(&table, "x", path), want, "{path}");
    }
}

/// The compiled match is the one that the definition gives, which looks at every route.
#[test]
fn matching_agrees_with_its_definition_on_random_tables() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..300 {
        let routes: Vec<_> = (0..random.usize(..12))
            .map(|_| (random_path(&mut random), random.bool(), random.usize(..2)))
            .collect();
        let wires: Vec<_> = routes
            .iter()
            .map(|(path, is_exact, backend)| {
                route(
                    if *is_exact { "exact" } else { "prefix" },
                    path,
                    ["a", "b"][*backend],
                )
            })
            .collect();
        let (table, _) = apply(&shop(), json!({"hosts_upsert": [host("x", &wires)]}));
        for _ in 0..100 {
            let path = random_path(&mut random);
            let want = defined_answer(&routes, &path);
            assert_eq!(answer(&table, "x", &path), want, "{path} in {routes:?}");
        }
    }
}

fn random_path(random: &mut fastrand::Rng) -> String {
    let segments = (0..=random.usize(..4)).map(|_| ["", "a", "b", "ab"][random.usize(..4)]);
    segments.fold(String::new(), |path, segment| format!("{path}/{segment}"))
}

/// Of slashes in a row one is left.
fn merged(path: &str) -> String {
    path.chars().fold(String::new(), |merged, next| {
        if merged.ends_with('/') && next == '/' {
            return merged;
        }
        merged + &next.to_string()
    })
}

fn defined_answer(routes: &[(String, bool, usize)], path: &str) -> Option<&'static str> {
    let backend = |index: usize| ["shop/a:80", "shop/b:80"][index];
    let path = &merged(path);
    let is_exact = |route: &&(String, bool, usize)| route.1 && merged(&route.0) == *path;
    if let Some(exact) = routes.iter().find(is_exact) {
        return Some(backend(exact.2));
    }
    let mut best: Option<(usize, usize)> = None;
    for (prefix, _, index) in routes.iter().filter(|route| !route.1) {
        let prefix = merged(prefix);
        let prefix = prefix.trim_end_matches('/');
        let is_match = path == prefix || path.starts_with(&format!("{prefix}/"));
        if is_match && best.is_none_or(|(length, _)| prefix.len() > length) {
            best = Some((prefix.len(), *index));
        }
    }
    best.map(|(_, index)| backend(index))
}
