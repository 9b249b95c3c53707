//! Route matching beside the simplest that could be right.

use serde_json::{Value, json};
use spanway_engine::message::{normalise, without_empty_segments};
use spanway_engine::table::{Table, wire};

#[path = "../../tests/wire_json/mod.rs"]
mod wire_json;

const ROUTES_MAX: usize = 16;

/// The route that answers is the one that a comparison with each route of the host finds: an exact
/// one, else the longest prefix by elements.
///
/// The bytes are lines: the path that is asked for, then routes, `=` before the path of an exact one.
pub fn routing(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut lines = text.split('\n');
    let asked = lines.next().unwrap_or_default();
    let Ok(asked) = normalise(asked.as_bytes()) else {
        return;
    };
    let asked = without_empty_segments(&asked);
    let routes = routes(lines);
    let Some(table) = table(&routes) else { return };
    let got = table
        .route(b"shop.example", &asked)
        .map(|matched| (matched.route.kind, matched.route.path.to_string()));
    let compiled = table.host("shop.example").unwrap();
    let best = compiled
        .routes()
        .map(|route| {
            (
                format!("{:?}", route.kind) == "Exact",
                &*route.path,
                route.kind,
            )
        })
        .filter(|(is_exact, path, _)| matches(*is_exact, path.as_bytes(), &asked))
        .max_by_key(|(is_exact, path, _)| (*is_exact, path.trim_end_matches('/').len()));
    let want = best.map(|(_, path, kind)| (kind, path.to_owned()));
    assert_eq!(got, want, "{asked:?} of {routes:?}");
}

/// The definition of the Ingress API, word for word: element by element, split by slashes.
fn matches(is_exact: bool, path: &[u8], asked: &[u8]) -> bool {
    if is_exact {
        return path == asked;
    }
    let elements = |path: &[u8]| -> Vec<Vec<u8>> {
        let parts = path.split(|&byte| byte == b'/');
        parts
            .filter(|part| !part.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    };
    elements(asked).starts_with(&elements(path))
}

fn routes<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<(&'static str, &'a str)> {
    let kinds = lines.map(|line| match line.strip_prefix('=') {
        Some(path) => ("exact", path),
        None => ("prefix", line),
    });
    kinds.take(ROUTES_MAX).collect()
}

/// `None` where the host is refused.
fn table(routes: &[(&str, &str)]) -> Option<Table> {
    let routes: Vec<Value> = routes
        .iter()
        .map(|(kind, path)| wire_json::route(kind, path, "shop/api:80", &json!({})))
        .collect();
    let changes = json!({
        "hosts_upsert": [wire_json::host("shop.example", &routes)],
        "backends_upsert": [wire_json::backend("api", &[], &json!({}))],
    });
    let update = wire_json::update(0, &changes).to_string();
    let update = wire::Update::decode(update.as_bytes()).unwrap();
    let (table, _) = Table::empty().apply(&update).unwrap();
    table.host("shop.example").is_some().then_some(table)
}
