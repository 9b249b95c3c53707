//! Who has labels of its own, and for how long.

#![allow(clippy::unwrap_used)]

#[path = "../../tests/wire_json/mod.rs"]
mod wire_json;

use std::sync::Arc;

use serde_json::json;

use super::store::{Snapshot, Store};
use super::tally::{Observed, Tally};
use crate::instant::Instant;
use crate::limits::{METRICS_GONE_AFTER, METRICS_RANK_INTERVAL, TALLY_CELLS_MAX};
use crate::message::Method;
use crate::table::{Route, Table, wire};
use crate::trace::{Phases, Verdict};

/// The phases of requests that took no time.
const NO_PHASES: Phases = Phases {
    head: 0,
    route: 0,
    queue: 0,
    connect: 0,
    tls: 0,
    send: 0,
    wait: 0,
    receive: 0,
    respond: 0,
};

/// A table with a host for each of these names.
fn table(hosts: &[&str]) -> Table {
    let hosts: Vec<_> = hosts
        .iter()
        .map(|name| {
            let route = wire_json::route("prefix", "/", "shop/api:http", &json!({}));
            wire_json::host(name, &[route])
        })
        .collect();
    let backend = wire_json::backend("api", &[], &json!({"port": "http"}));
    let changes = json!({"generation": 1, "hosts_upsert": hosts, "backends_upsert": [backend]});
    let update = wire_json::update(0, &changes).to_string();
    let update = wire::Update::decode(update.as_bytes()).unwrap();
    let (table, rejected) = Table::empty().apply(&update).unwrap();
    assert_eq!(rejected, []);
    table
}

fn route<'a>(table: &'a Table, host: &str) -> &'a Arc<Route> {
    table.route(host.as_bytes(), b"/").unwrap().route
}

fn observed(route: &Arc<Route>, status: u16) -> Observed<'_> {
    Observed {
        route: Some(route),
        backend: None,
        method: Method::Get,
        status,
        flag: None,
        verdict: Verdict::None,
        phases: &NO_PHASES,
        request_bytes: 1,
        response_bytes: 1,
        attempts: 0,
        trace: None,
    }
}

/// A store for one route, and a worker's tally.
fn counting() -> (Arc<Store>, Tally) {
    let store = Arc::new(Store::new(1));
    (Arc::clone(&store), Tally::new(store))
}

fn count(tally: &mut Tally, route: &Arc<Route>, requests: usize) {
    for _ in 0..requests {
        tally.count(&observed(route, 200));
    }
    tally.flush();
}

/// Hosts and their requests.
fn told(snapshot: &Snapshot) -> Vec<(&str, u64)> {
    let total = |series: &super::store::Series| -> u64 {
        series.counts.iter().map(|each| each.duration.total()).sum()
    };
    let all = snapshot.series.iter();
    all.map(|(labels, series)| (&*labels.host, total(series)))
        .collect()
}

#[test]
fn a_busy_route_takes_the_place_of_a_quiet_one_whose_last_counts_were_told() {
    let (store, mut tally) = counting();
    let table = table(&["quiet", "busy"]);
    count(&mut tally, route(&table, "quiet"), 2);
    count(&mut tally, route(&table, "busy"), 5);
    let now = Instant::now();
    assert_eq!(told(&store.scrape(now)), [("_other", 5), ("quiet", 2)]);

    let later = now + METRICS_RANK_INTERVAL;
    assert_eq!(told(&store.scrape(later)), [("_other", 5), ("quiet", 2)]);
    count(&mut tally, route(&table, "busy"), 1);

    assert_eq!(told(&store.scrape(later)), [("_other", 5), ("busy", 1)]);
}

#[test]
fn routes_about_alike_do_not_take_turns() {
    let (store, mut tally) = counting();
    let table = table(&["first", "second"]);
    count(&mut tally, route(&table, "first"), 5);
    count(&mut tally, route(&table, "second"), 10);
    let later = Instant::now() + METRICS_RANK_INTERVAL;
    let _ = store.scrape(later);
    count(&mut tally, route(&table, "second"), 1);

    assert_eq!(told(&store.scrape(later)), [("_other", 11), ("first", 5)]);
}

#[test]
fn a_route_that_is_gone_makes_room_after_its_time() {
    let (store, mut tally) = counting();
    let before = table(&["gone"]);
    count(&mut tally, route(&before, "gone"), 1);
    drop(before);
    let soon = Instant::now() + METRICS_GONE_AFTER / 2;
    let late = soon + METRICS_GONE_AFTER;

    assert_eq!(told(&store.scrape(soon)), [("gone", 1)]);
    assert_eq!(told(&store.scrape(soon)), [("gone", 1)], "not for long");
    assert_eq!(told(&store.scrape(late)), [("gone", 1)], "a last time");

    assert_eq!(told(&store.scrape(late)), []);
}

#[test]
fn a_route_without_requests_stays_while_it_is_in_a_table() {
    let (store, mut tally) = counting();
    let table = table(&["idle"]);
    count(&mut tally, route(&table, "idle"), 1);
    let late = Instant::now() + 2 * METRICS_GONE_AFTER;

    let _ = store.scrape(late);

    assert_eq!(told(&store.scrape(late)), [("idle", 1)]);
}

#[test]
fn a_tally_that_is_full_loses_nothing() {
    let (store, mut tally) = counting();
    let table = table(&["shop"]);
    let requests = TALLY_CELLS_MAX as u64 + 7;
    for status in 0..requests {
        tally.count(&observed(route(&table, "shop"), status as u16 + 1));
    }
    tally.flush();

    assert_eq!(told(&store.scrape(Instant::now())), [("shop", requests)]);
}
