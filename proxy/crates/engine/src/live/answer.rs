//! What comes back: rows of some live requests, and counts of all that the question is about.
//!
//! Rules: each worker makes an answer of its own, and they are added up. Rows are kept up to the
//! question's limit while slots are looked at; text is cut.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::query::Query;
use super::view::{View, shown_host, us};
use super::{PHASES, Phase};
use crate::limits::{LIVE_GROUPS_MAX, VALUE_BYTES_MAX};
use crate::table::{ListenerKind, Route};
use crate::trace::Anchor;
use crate::worker::Snapshot;

/// One live request: `proxy.live.Row` documents the fields.
#[derive(Serialize)]
struct Row {
    id: String,
    trace_id: String,
    kind: &'static str,
    namespace: String,
    method: String,
    host: String,
    path: String,
    route: String,
    ingress: String,
    rule: String,
    service: String,
    endpoint: String,
    pod: String,
    node: String,
    zone: String,
    phase: Phase,
    phase_age_us: u64,
    phases_us: Phases,
    age_us: u64,
    start_unix_us: u64,
    start_ns: u64,
    received_bytes: u64,
    sent_bytes: u64,
    status: u16,
    attempts: u32,
    client: String,
    scheme: &'static str,
    protocol: &'static str,
    listener: &'static str,
    generation: u64,
}

/// A number for each phase, by its name; those that have none are left out.
#[derive(Clone, Copy, Default)]
struct Phases([Option<u64>; PHASES]);

impl Phases {
    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = Some(mine.unwrap_or(0) + theirs.unwrap_or(0));
        }
    }
}

impl Serialize for Phases {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = Phase::ALL.iter().zip(&self.0);
        serializer.collect_map(known.filter_map(|(phase, number)| Some((phase, (*number)?))))
    }
}

/// How many there are of something: `proxy.live.Group` documents the fields.
#[derive(Clone, Default)]
struct Group {
    count: u64,
    oldest: Duration,
    phases: [u64; PHASES],
}

impl Group {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.oldest = self.oldest.max(other.oldest);
        for (mine, theirs) in self.phases.iter_mut().zip(other.phases) {
            *mine += theirs;
        }
    }
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    count: u64,
    age_max_us: u64,
    phases: Phases,
}

/// The groups of one kind, by name.
#[derive(Default)]
struct Groups(FxHashMap<String, Group>);

impl Groups {
    fn add(&mut self, name: &str, group: &Group) {
        if let Some(known) = self.0.get_mut(name) {
            known.add(group);
        } else {
            self.0.insert(name.to_owned(), group.clone());
        }
    }

    fn merge(&mut self, other: &Self) {
        for (name, group) in &other.0 {
            self.add(name, group);
        }
    }
}

/// The largest ones, in falling order.
impl Serialize for Groups {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_unstable_by_key(|(name, group)| (Reverse(group.count), *name));
        serializer.collect_seq(all.iter().take(LIVE_GROUPS_MAX).map(|(name, group)| Named {
            name,
            count: group.count,
            age_max_us: us(group.oldest),
            phases: Phases(group.phases.map(|count| (count > 0).then_some(count))),
        }))
    }
}

/// One worker's answer, or all of them together: `proxy.live.Live` documents the fields.
#[derive(Default, Serialize)]
pub struct Answer {
    /// All that are live, whatever was asked for.
    live: u64,
    /// Those that the question is about.
    matched: u64,
    phases: Phases,
    routes: Groups,
    services: Groups,
    nodes: Groups,
    requests: Vec<Kept>,
    /// Workers that did not answer in time; theirs are missing.
    pub workers_silent: usize,
}

/// A row and its place: the larger, the earlier in the answer.
#[derive(Serialize)]
#[serde(transparent)]
struct Kept {
    #[serde(skip)]
    key: Key,
    /// In a place of its own, since it is moved about among others.
    row: Box<Row>,
}

/// A row's place: what is asked for; of those that are alike in it the older one first.
pub type Key = (u64, Reverse<(u64, [u8; 8])>);

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Kept {}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl Answer {
    /// Adds another worker's, and keeps the first `limit` rows of both.
    pub fn add(&mut self, other: Self, limit: usize) {
        self.live += other.live;
        self.matched += other.matched;
        self.phases.add(&other.phases);
        self.routes.merge(&other.routes);
        self.services.merge(&other.services);
        self.nodes.merge(&other.nodes);
        self.requests.extend(other.requests);
        self.requests.sort_unstable_by(|one, other| other.cmp(one));
        self.requests.truncate(limit);
    }

    /// The place that a row of another worker's must be before, once there are `limit` of them.
    pub fn floor(&self, limit: usize) -> Option<Key> {
        let least = limit.checked_sub(1)?;
        self.requests.get(least).map(|kept| kept.key)
    }
}

/// An answer while slots are looked at.
pub struct Gathering<'q> {
    query: &'q Query,
    /// No row behind this place will be in the whole answer.
    floor: Option<Key>,
    live: u64,
    groups: FxHashMap<What, (Names, Group)>,
    /// The least of them on top.
    rows: BinaryHeap<Reverse<Kept>>,
    /// By address. What the keys of `groups` point to must not go, or another might come to its place.
    tables: FxHashMap<usize, Rc<Snapshot>>,
}

/// Route, backend and endpoint by address: no text has to be made for each request.
type What = (usize, usize, usize);

struct Names {
    route: String,
    service: String,
    node: String,
}

impl<'q> Gathering<'q> {
    pub fn new(query: &'q Query, floor: Option<Key>) -> Self {
        Self {
            query,
            floor,
            live: 0,
            groups: FxHashMap::default(),
            rows: BinaryHeap::new(),
            tables: FxHashMap::default(),
        }
    }

    /// Looks at one live request.
    pub fn add(&mut self, view: &View<'_>, anchor: Anchor) {
        self.live += 1;
        if !view.fits(self.query) {
            return;
        }
        self.count(view);
        let key = self.key(view);
        if self.floor.is_some_and(|floor| key < floor) {
            return;
        }
        if self.rows.len() >= self.query.limit {
            match self.rows.peek() {
                Some(Reverse(least)) if key > least.key => self.rows.pop(),
                _ => return,
            };
        }
        let row = Box::new(row(view, anchor));
        self.rows.push(Reverse(Kept { key, row }));
    }

    pub fn finish(self) -> Answer {
        let mut answer = Answer {
            live: self.live,
            ..Answer::default()
        };
        let mut all = Group::default();
        for (names, group) in self.groups.values() {
            all.add(group);
            answer.routes.add(&names.route, group);
            answer.services.add(&names.service, group);
            answer.nodes.add(&names.node, group);
        }
        answer.matched = all.count;
        answer.phases = Phases(all.phases.map(Some));
        let rows = self.rows.into_iter();
        answer.requests = rows.map(|Reverse(kept)| kept).collect();
        answer
    }

    fn key(&self, view: &View<'_>) -> Key {
        let key = view.key(self.query.sort);
        let key = if self.query.ascending {
            u64::MAX - key
        } else {
            key
        };
        (key, Reverse((view.start_ns(), *view.subject.id.as_bytes())))
    }

    fn count(&mut self, view: &View<'_>) {
        let table = &view.subject.table;
        let known = self.tables.entry(address(&**table));
        known.or_insert_with(|| Rc::clone(table));
        let what = (
            view.route.map_or(0, address),
            view.backend.map_or(0, address),
            view.endpoint.map_or(0, address),
        );
        let (_, group) = self.groups.entry(what).or_insert_with(|| {
            let names = Names {
                route: view.route.map(shown).unwrap_or_default(),
                service: view.backend.map_or("", |it| &it.key).to_owned(),
                node: view.endpoint.map_or("", |it| &it.node).to_owned(),
            };
            (names, Group::default())
        });
        group.count += 1;
        group.oldest = group.oldest.max(view.age());
        group.phases[view.phase() as usize] += 1;
    }
}

fn address<T>(it: &T) -> usize {
    std::ptr::from_ref(it).addr()
}

/// A route's name: its host, `*` for any, and its path.
fn shown(route: &Route) -> String {
    format!("{}{}", shown_host(&route.host), route.path)
}

fn row(view: &View<'_>, anchor: Anchor) -> Row {
    let (subject, slot) = (view.subject, view.slot);
    let request = view.request();
    let of_endpoint = view.endpoint;
    let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let listener = subject.table.listener(subject.listener);
    Row {
        id: subject.id.to_string(),
        trace_id: subject
            .trace_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        kind: view.kind(),
        namespace: view.namespace().to_owned(),
        method: request
            .map(|it| text(it.method_bytes()))
            .unwrap_or_default(),
        host: text(view.host()),
        path: request.map(|it| text(it.path())).unwrap_or_default(),
        route: view.route.map(shown).unwrap_or_default(),
        ingress: view
            .route
            .map(|it| format!("{}/{}", it.namespace, it.ingress))
            .unwrap_or_default(),
        rule: owned(view.route.map(|it| &*it.rule)),
        service: owned(view.backend.map(|it| &*it.key)),
        endpoint: of_endpoint
            .map(|it| it.address.to_string())
            .unwrap_or_default(),
        pod: owned(of_endpoint.map(|it| &*it.pod)),
        node: owned(of_endpoint.map(|it| &*it.node)),
        zone: owned(of_endpoint.map(|it| &*it.zone)),
        phase: view.phase(),
        phase_age_us: us(view.phase_age()),
        phases_us: Phases(view.phases_us()),
        age_us: us(view.age()),
        start_unix_us: anchor.unix_ns(view.start) / 1_000,
        start_ns: view.start_ns(),
        received_bytes: slot.received.get(),
        sent_bytes: slot.sent.get(),
        status: slot.status.get(),
        attempts: slot.attempts.get(),
        client: subject.client.to_string(),
        scheme: subject.scheme,
        protocol: view.protocol(),
        listener: match listener.map(|listener| listener.kind) {
            Some(ListenerKind::Service) => "service",
            Some(ListenerKind::Ingress) | None => "ingress",
        },
        generation: subject.table.generation,
    }
}

/// As in spans: cut, and what is not valid UTF-8 replaced.
fn text(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(VALUE_BYTES_MAX)];
    String::from_utf8_lossy(cut).into_owned()
}
