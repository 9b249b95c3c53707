//! Which endpoint gets a request, by every policy: shares, movement and health, in virtual time.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

mod wire_json;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use spanway_engine::Instant;
use spanway_engine::message::Fields;
use spanway_engine::table::{Backend, Table, wire};
use spanway_engine::{Asker, Balancer, Earlier, Finding};

const POLICIES: [&str; 4] = ["round_robin", "least_request", "ewma", "hash"];
const MS: Duration = Duration::from_millis(1);
const WELL: Finding = Finding::Well(MS);
const FAILED: Finding = Finding::Failed(MS);

/// One worker, the backend that it picks from, and a clock that only the test moves.
struct World {
    table: Table,
    balancer: Balancer,
    fields: Fields,
    now: Instant,
}

impl World {
    fn new(endpoints: &[Value], changes: &Value) -> Self {
        let mut world = Self {
            table: Table::empty(),
            balancer: Balancer::default(),
            fields: Fields::default(),
            now: Instant::now(),
        };
        world.publish(endpoints, changes);
        world
    }

    /// With endpoints of these weights.
    fn weighing(weights: &[i64], changes: &Value) -> Self {
        Self::new(&endpoints(weights), changes)
    }

    fn publish(&mut self, endpoints: &[Value], changes: &Value) {
        let backend = wire_json::backend("a", endpoints, changes);
        self.apply(&json!({"backends_upsert": [backend]}));
    }

    fn apply(&mut self, changes: &Value) {
        let update = wire_json::update(self.table.generation, changes);
        let update = wire::Update::decode(update.to_string().as_bytes()).unwrap();
        let (table, rejected) = self.table.apply(&update).unwrap();
        assert_eq!(rejected, []);
        self.table = table;
    }

    fn backend(&self) -> Arc<Backend> {
        Arc::clone(self.table.backend("shop/a:80").unwrap())
    }

    /// Picks for a client, reports, and says which one it was.
    fn attempt(&mut self, client: u32, finding: Finding) -> Option<usize> {
        let asker = Asker {
            client: IpAddr::from(client.to_be_bytes()),
            fields: &self.fields,
        };
        let backend = Arc::clone(self.table.backend("shop/a:80").unwrap());
        let picked = self.balancer.pick(&backend, &asker, &[], self.now)?;
        let _ = picked.report(&backend, finding, self.now);
        Some(picked.endpoint)
    }

    fn endpoint_of(&mut self, client: u32) -> usize {
        self.attempt(client, WELL).unwrap()
    }

    /// Picks by endpoint, each for another client.
    fn shares(&mut self, pick_count: u32) -> BTreeMap<usize, f64> {
        let mut shares = BTreeMap::new();
        for client in 0..pick_count {
            *shares.entry(self.endpoint_of(client)).or_default() += 1.0 / f64::from(pick_count);
        }
        shares
    }

    /// Lets attempts fail that can only go there.
    fn eject(&mut self, endpoint: usize) {
        let backend = self.backend();
        let others = (0..backend.endpoints.len()).filter(|other| *other != endpoint);
        let others: Vec<_> = others
            .map(|endpoint| Earlier {
                endpoint,
                has_failed: true,
            })
            .collect();
        let asker = Asker {
            client: IpAddr::from([10, 0, 0, 1]),
            fields: &self.fields,
        };
        let ejections = (0..5).map(|_| {
            let picked = self.balancer.pick(&backend, &asker, &others, self.now);
            picked.unwrap().report(&backend, FAILED, self.now)
        });
        assert_eq!(
            ejections.collect::<Vec<_>>(),
            [false, false, false, false, true]
        );
    }
}

fn endpoints(weights: &[i64]) -> Vec<Value> {
    (1..)
        .zip(weights)
        .map(|(last, weight)| endpoint(last, &json!({"weight": weight})))
        .collect()
}

fn endpoint(last: u32, changes: &Value) -> Value {
    wire_json::endpoint(&format!("10.0.{}.{}", last / 250, last % 250), 80, changes)
}

fn by(policy: &str) -> Value {
    json!({"balance": policy})
}

#[test]
fn every_policy_gives_each_endpoint_its_share() {
    fastrand::seed(1);
    for policy in POLICIES {
        for weights in [&[1; 5][..], &[1, 2, 3, 4], &[1000, 500, 100]] {
            let mut world = World::weighing(weights, &by(policy));
            let shares = world.shares(20_000);
            let sum: i64 = weights.iter().sum();
            for (index, weight) in weights.iter().enumerate() {
                let (share, due) = (shares[&index], *weight as f64 / sum as f64);
                assert!(
                    (share - due).abs() < 0.02,
                    "{policy} {weights:?} {index}: {share} {due}"
                );
            }
        }
    }
}

#[test]
fn weighted_turns_are_exact_to_one_and_never_bunched() {
    for seed in 0..20 {
        fastrand::seed(seed);
        let mut world = World::weighing(&[5, 3, 2], &by("round_robin"));
        let mut counts = [0_i32; 3];
        for turn in 1..=200 {
            counts[world.endpoint_of(0)] += 1;
            for (count, weight) in counts.iter().zip([5, 3, 2]) {
                assert!(
                    (count * 10 - turn * weight).abs() <= 20,
                    "seed {seed}: {counts:?} of {turn}"
                );
            }
        }
    }
}

#[test]
fn weight_0_is_used_only_when_no_other_can_be() {
    for policy in POLICIES {
        let mut world = World::weighing(&[0, 1, 1], &by(policy));
        assert_eq!(
            world.shares(300).keys().copied().collect::<Vec<_>>(),
            [1, 2],
            "{policy}"
        );
        let backend = world.backend();
        let failed = [1, 2].map(|endpoint| Earlier {
            endpoint,
            has_failed: true,
        });
        let asker = Asker {
            client: IpAddr::from([10, 0, 0, 1]),
            fields: &Fields::default(),
        };
        let picked = world.balancer.pick(&backend, &asker, &failed, world.now);
        assert_eq!(picked.map(|picked| picked.endpoint), Some(0), "{policy}");
    }
}

#[test]
fn an_attempt_goes_where_none_went_before_and_never_where_one_failed() {
    for policy in POLICIES {
        let mut world = World::weighing(&[1, 1, 4], &by(policy));
        let asker = Asker {
            client: IpAddr::from([10, 0, 0, 1]),
            fields: &Fields::default(),
        };
        let backend = world.backend();
        let mut next = |earlier: &[Earlier]| {
            let picked = world.balancer.pick(&backend, &asker, earlier, world.now);
            picked.map(|picked| picked.endpoint)
        };
        let mut earlier = Vec::new();
        for turn in 0..3 {
            let endpoint = next(&earlier).unwrap();
            assert!(
                earlier.iter().all(|one: &Earlier| one.endpoint != endpoint),
                "{policy}"
            );
            let has_failed = turn != 1;
            earlier.push(Earlier {
                endpoint,
                has_failed,
            });
        }
        assert_eq!(next(&earlier), Some(earlier[1].endpoint), "{policy}");
        earlier[1].has_failed = true;
        assert_eq!(next(&earlier), None, "{policy}");
    }
}

#[test]
fn least_request_compares_requests_in_flight_by_weight() {
    fastrand::seed(3);
    let mut world = World::weighing(&[1, 3], &by("least_request"));
    let (backend, fields) = (world.backend(), Fields::default());
    let asker = Asker {
        client: IpAddr::from([10, 0, 0, 1]),
        fields: &fields,
    };
    let mut pick = || {
        world
            .balancer
            .pick(&backend, &asker, &[], world.now)
            .unwrap()
    };
    let held: Vec<_> = (0..400).map(|_| pick()).collect();
    let of_first = held.iter().filter(|picked| picked.endpoint == 0).count();
    assert!((95..=105).contains(&of_first), "{of_first} of 400");
}

#[test]
fn ewma_leaves_the_slow_endpoint_and_comes_back_when_time_has_passed() {
    fastrand::seed(4);
    let mut world = World::weighing(&[1, 1, 1], &by("ewma"));
    let (backend, fields) = (world.backend(), Fields::default());
    let asker = Asker {
        client: IpAddr::from([10, 0, 0, 1]),
        fields: &fields,
    };
    for _ in 0..50 {
        let picked = world
            .balancer
            .pick(&backend, &asker, &[], world.now)
            .unwrap();
        let latency = if picked.endpoint == 0 { 200 * MS } else { MS };
        let _ = picked.report(&backend, Finding::Well(latency), world.now);
    }
    assert!(world.shares(500).get(&0).copied().unwrap_or_default() < 0.05);
    world.now += Duration::from_secs(100);
    // What it was slow at is forgotten, and it answers as fast as the others now.
    let mut count = 0;
    for _ in 0..3000 {
        world.now += 10 * MS;
        count += u32::from(world.endpoint_of(0) == 0);
    }
    assert!(count > 600, "{count} of 3000");
}

#[test]
fn of_a_hash_only_the_keys_of_the_endpoint_that_goes_move() {
    for weights in [&[1; 10][..], &[1, 2, 3, 4, 1, 2, 3, 4, 1, 2]] {
        let all = endpoints(weights);
        let mut world = World::new(&all, &by("hash"));
        let before: Vec<_> = (0..5000).map(|key| world.endpoint_of(key)).collect();
        world.publish(&all[..9], &by("hash"));
        for (key, before) in (0..).zip(&before) {
            let after = world.endpoint_of(key);
            assert!(
                after == *before || *before == 9,
                "{key} moved from {before} to {after}"
            );
        }
        let mut turned: Vec<_> = all.clone();
        turned.reverse();
        world.publish(&turned, &by("hash"));
        let after: Vec<_> = (0..5000).map(|key| 9 - world.endpoint_of(key)).collect();
        assert!(after == before, "the order of endpoints matters");
    }
}

#[test]
fn of_a_hash_a_new_weight_moves_only_keys_to_or_from_its_endpoint() {
    let mut world = World::weighing(&[1, 1, 1, 1], &by("hash"));
    let before: Vec<_> = (0..5000).map(|key| world.endpoint_of(key)).collect();
    world.publish(&endpoints(&[1, 1, 1, 2]), &by("hash"));
    let moved = (0..).zip(&before).filter(|(key, before)| {
        let after = world.endpoint_of(*key);
        assert!(after == **before || after == 3);
        after != **before
    });
    let moved = moved.count();
    // From a quarter to two fifths.
    assert!((650..=850).contains(&moved), "{moved} of 5000");
}

#[test]
fn an_ejected_endpoint_gets_nothing_until_its_time_is_over() {
    fastrand::seed(5);
    for policy in POLICIES {
        for weights in [[1, 1, 1], [1, 2, 3]] {
            let mut world = World::weighing(&weights, &by(policy));
            world.eject(1);
            assert_eq!(
                world.shares(300).keys().copied().collect::<Vec<_>>(),
                [0, 2],
                "{policy}"
            );
            world.now += Duration::from_secs(31);
            assert_eq!(world.backend().ejected_count(world.now), 0, "{policy}");
            // By EWMA its failures count for a while as a long answer would.
            world.now += Duration::from_secs(200);
            assert!(world.shares(300).contains_key(&1), "{policy}");
        }
    }
}

#[test]
fn when_too_many_are_ejected_all_are_used() {
    for policy in POLICIES {
        let mut world = World::weighing(&[1; 4], &by(policy));
        world.eject(0);
        world.eject(1);
        assert_eq!(world.shares(400).len(), 2, "{policy}");
        world.eject(2);
        assert_eq!(world.backend().ejected_count(world.now), 3, "{policy}");
        let backend = world.backend();
        assert!(!backend.leaves_out(3), "{policy}");
        // A success would make one well again.
        let asked = (0..400).filter_map(|client| world.attempt(client, Finding::Nothing));
        assert_eq!(asked.collect::<BTreeSet<_>>().len(), 4, "{policy}");
    }
}

#[test]
fn health_lives_on_from_table_to_table_and_goes_with_the_endpoint() {
    let mut world = World::weighing(&[1; 3], &by("round_robin"));
    world.eject(0);
    world.publish(&endpoints(&[1; 4]), &by("least_request"));
    assert_eq!(world.backend().ejected_count(world.now), 1);
    world.publish(&endpoints(&[1; 4])[1..], &by("least_request"));
    world.publish(&endpoints(&[1; 4]), &by("least_request"));
    assert_eq!(world.backend().ejected_count(world.now), 0);
}

#[test]
fn workers_count_an_endpoint_together_also_if_one_has_missed_that_it_was_away() {
    let mut world = World::weighing(&[1], &json!({}));
    world.endpoint_of(1);
    let mut other = Balancer::default();
    world.publish(&[endpoint(9, &json!({}))], &json!({}));
    world.publish(&endpoints(&[1]), &json!({}));
    let (asker, backend) = (IpAddr::from([10, 0, 0, 1]), world.backend());
    let asker = Asker {
        client: asker,
        fields: &world.fields,
    };
    let first = world.balancer.pick(&backend, &asker, &[], world.now);
    let second = other.pick(&backend, &asker, &[], world.now);
    assert_eq!((first.unwrap().ahead, second.unwrap().ahead), (0, 1));
}

#[test]
fn without_health_nothing_is_ejected() {
    let never = json!({"health": {
        "errors_consecutive": 0, "ejection_ms": 1, "ejection_max_ms": 1, "ejected_percent_max": 100,
    }});
    let mut world = World::weighing(&[1; 3], &never);
    for _ in 0..100 {
        world.attempt(0, FAILED);
    }
    assert_eq!(world.backend().ejected_count(world.now), 0);
}

#[test]
fn a_new_endpoint_among_others_grows_to_its_share() {
    fastrand::seed(6);
    for policy in ["round_robin", "least_request", "ewma"] {
        let slow = json!({"balance": policy, "slow_start_ms": 10_000});
        let mut world = World::weighing(&[1, 1], &slow);
        assert!(
            (world.shares(1000)[&1] - 0.5).abs() < 0.1,
            "{policy}: both are new"
        );
        world.publish(&endpoints(&[1, 1, 1]), &slow);
        world.shares(100); // It is seen.
        let begin = world.now;
        for (seconds, share) in [(0, 0.1 / 2.1), (5, 0.55 / 2.55), (10, 1.0 / 3.0)] {
            world.now = begin + Duration::from_secs(seconds);
            let got = world.shares(6000)[&2];
            assert!(
                (got - share).abs() < 0.08,
                "{policy} after {seconds} s: {got}, not {share}"
            );
        }
    }
}

#[test]
fn a_new_endpoint_keeps_its_share_while_others_come_and_go() {
    fastrand::seed(7);
    let slow = json!({"balance": "round_robin", "slow_start_ms": 10_000});
    let mut world = World::weighing(&[1, 1], &slow);
    world.publish(&endpoints(&[1, 1, 1]), &slow);
    let mut picks = 0;
    for turn in 0..2000 {
        // Another one is weighed otherwise, which changes the backend.
        world.publish(&endpoints(&[1, 1 + turn % 2, 1]), &slow);
        picks += (0..3).filter(|_| world.endpoint_of(0) == 2).count();
    }
    let share = picks as f64 / 6000.0;
    assert!(share < 0.07, "{share}, not about 0.04");
}

#[test]
fn near_endpoints_come_first_and_others_when_none_of_them_can() {
    let places = [
        endpoint(1, &json!({"node": "n1", "zone": "z1"})),
        endpoint(2, &json!({"node": "n2", "zone": "z1"})),
        endpoint(3, &json!({"node": "n3", "zone": "z2"})),
        endpoint(4, &json!({})),
    ];
    let here = json!({"locality": {"zone": "z1", "node": "n1"}});
    for (prefer, tiers) in [
        ("any", vec![vec![0, 1, 2, 3]]),
        ("zone", vec![vec![0, 1], vec![2, 3]]),
        ("node", vec![vec![0], vec![1], vec![2, 3]]),
    ] {
        let mut world = World::new(&places, &json!({"prefer": prefer}));
        // The engine learns where it is after the backend came.
        world.apply(&here);
        let mut failed: Vec<Earlier> = Vec::new();
        for tier in tiers {
            let (backend, fields) = (world.backend(), Fields::default());
            let asker = Asker {
                client: IpAddr::from([10, 0, 0, 1]),
                fields: &fields,
            };
            let picks = (0..100).map(|_| {
                let picked = world.balancer.pick(&backend, &asker, &failed, world.now);
                picked.unwrap().endpoint
            });
            let mut picks: Vec<_> = picks.collect();
            picks.sort_unstable();
            picks.dedup();
            assert_eq!(picks, tier, "{prefer}");
            failed.extend(tier.into_iter().map(|endpoint| Earlier {
                endpoint,
                has_failed: true,
            }));
        }
    }
}

#[test]
fn what_cannot_be_balanced_by_is_rejected_with_its_reason() {
    let one = endpoints(&[1]);
    for (changes, reason) in [
        (
            json!({"hash_key": {"on": "header", "name": "a b"}}),
            "hash_key.name",
        ),
        (
            json!({"affinity": affinity(&json!({"cookie": "a=b"}))}),
            "affinity.cookie",
        ),
        (
            json!({"affinity": affinity(&json!({"path": "/;x"}))}),
            "affinity.path",
        ),
        (
            json!({"affinity": affinity(&json!({"max_age_s": -1}))}),
            "affinity.max_age_s",
        ),
        (json!({"slow_start_ms": -1}), "slow_start_ms"),
        (json!({"endpoints": endpoints(&[1001])}), "weight"),
        (json!({"endpoints": endpoints(&[-1])}), "weight"),
    ] {
        let backend = wire_json::backend("a", &one, &changes);
        let update = wire_json::update(0, &json!({"backends_upsert": [backend]}));
        let update = wire::Update::decode(update.to_string().as_bytes()).unwrap();
        let (_, rejected) = Table::empty().apply(&update).unwrap();
        assert!(
            rejected.len() == 1 && rejected[0].message.contains(reason),
            "{rejected:?}"
        );
    }
}

fn affinity(changes: &Value) -> Value {
    let mut whole = json!({"cookie": "stay", "max_age_s": 0, "path": "/", "is_secure": false});
    for (key, value) in changes.as_object().unwrap() {
        whole[key] = value.clone();
    }
    whole
}
