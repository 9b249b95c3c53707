//! What comes back: rows of some live requests, and counts of all that the question is about.
//!
//! Rules: each worker makes an answer of its own, and they are added up. While slots are looked at
//! only their places are kept, up to the question's limit; rows are made of those that are left.
//! Text is cut.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::query::Query;
use super::view::{Target, View, shown_host, us};
use super::{PHASES, Phase, Slot};
use crate::limits::{LIVE_GROUPS_MAX, LIVE_ROWS_SLICE, LIVE_SPARE_SHARE, VALUE_BYTES_MAX};
use crate::message::RequestHead;
use crate::table::{ListenerKind, Route};
use crate::trace::Anchor;

/// One live request: `proxy.live.Row` documents the fields.
#[derive(Serialize)]
struct Row<'a> {
    id: String,
    trace_id: String,
    kind: &'static str,
    namespace: &'a str,
    method: Cow<'a, str>,
    host: Cow<'a, str>,
    path: Cow<'a, str>,
    route: String,
    ingress: String,
    rule: &'a str,
    service: &'a str,
    endpoint: String,
    pod: &'a str,
    node: &'a str,
    zone: &'a str,
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
    client: SocketAddr,
    scheme: &'static str,
    protocol: &'static str,
    listener: &'static str,
    generation: u64,
    instance: &'a str,
}

/// A number for each phase, by its name; those that have none are left out.
#[derive(Clone, Copy)]
struct Phases([Option<u64>; PHASES]);

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

/// Requests that go to the same place. It holds what its key points to, or another thing might come to
/// that address.
struct Alike {
    target: Target,
    /// By its index in the backend.
    endpoint: Option<usize>,
    group: Group,
}

/// Route, backend and endpoint by address: no text has to be made for each request.
type What = (usize, usize, usize);

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    count: u64,
    age_max_us: u64,
    phases: Phases,
}

/// The groups of one kind, by name.
#[derive(Default)]
struct Groups<'a>(FxHashMap<Cow<'a, str>, Group>);

impl<'a> Groups<'a> {
    fn add(&mut self, name: impl Into<Cow<'a, str>>, group: &Group) {
        self.0.entry(name.into()).or_default().add(group);
    }
}

/// The largest ones, in falling order.
impl Serialize for Groups<'_> {
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

/// One worker's answer, or all of them together.
#[derive(Default)]
pub struct Answer {
    /// All that are live, whatever was asked for.
    live: u64,
    /// Those that the question is about, by where they go.
    alike: FxHashMap<What, Alike>,
    rows: Vec<Kept<Box<RawValue>>>,
    /// Workers that did not answer in time; theirs are missing.
    pub workers_silent: usize,
}

/// An answer as it is told: `proxy.live.Live` documents the fields.
#[derive(Serialize)]
struct Told<'a> {
    live: u64,
    matched: u64,
    phases: Phases,
    routes: Groups<'a>,
    services: Groups<'a>,
    nodes: Groups<'a>,
    requests: &'a [Kept<Box<RawValue>>],
    workers_silent: usize,
}

impl Serialize for Answer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = Group::default();
        let [mut routes, mut services, mut nodes] = <[Groups<'_>; 3]>::default();
        for Alike {
            target,
            endpoint,
            group,
        } in self.alike.values()
        {
            let (route, backend) = (target.route.as_deref(), target.backend.as_deref());
            let endpoint = backend.and_then(|it| it.endpoints.get((*endpoint)?));
            all.add(group);
            routes.add(route.map(shown).unwrap_or_default(), group);
            services.add(backend.map_or("", |it| &it.key), group);
            nodes.add(endpoint.map_or("", |it| &it.node), group);
        }
        let told = Told {
            live: self.live,
            matched: all.count,
            phases: Phases(all.phases.map(Some)),
            routes,
            services,
            nodes,
            requests: &self.rows,
            workers_silent: self.workers_silent,
        };
        told.serialize(serializer)
    }
}

/// Something and its place: the larger, the earlier in the answer.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Kept<T> {
    #[serde(skip)]
    pub key: Key,
    pub of: T,
}

/// A request's place: what is asked for; of those that are alike in it the older one first. Its id is
/// the last part.
pub type Key = (u64, Reverse<(u64, [u8; 8])>);

impl<T> PartialEq for Kept<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<T> Eq for Kept<T> {}

impl<T> PartialOrd for Kept<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Kept<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl Answer {
    /// Adds the row of a request that was kept; not of one that is over, or that the question is not
    /// about any more.
    pub fn show(&mut self, key: Key, view: &View<'_>, query: &Query, anchor: Anchor) {
        let Reverse((_, id)) = key.1;
        if *view.subject.id.as_bytes() == id
            && view.fits(query)
            && let Ok(row) = to_raw_value(&row(view, anchor, &query.instance))
        {
            self.rows.push(Kept { key, of: row });
        }
    }

    /// Whether it has as many rows as are asked for.
    pub fn is_full(&self, query: &Query) -> bool {
        self.rows.len() >= query.limit
    }

    /// Adds another worker's, and keeps the first `limit` rows of both.
    pub fn add(&mut self, other: Self, limit: usize) {
        self.live += other.live;
        for (what, alike) in other.alike {
            let same = self.alike.entry(what);
            let same = same.and_modify(|same| same.group.add(&alike.group));
            same.or_insert(alike);
        }
        self.rows.extend(other.rows);
        self.rows.sort_unstable_by(|one, other| other.cmp(one));
        self.rows.truncate(limit);
    }

    /// The place that a row of another worker's must be before, once there are `limit` of them.
    pub fn floor(&self, limit: usize) -> Option<Key> {
        let least = limit.checked_sub(1)?;
        self.rows.get(least).map(|kept| kept.key)
    }
}

/// An answer while slots are looked at.
pub struct Gathering<'q> {
    query: &'q Query,
    /// No row behind this place will be in the whole answer.
    floor: Option<Key>,
    answer: Answer,
    /// What rows are to be made of; the least on top.
    kept: BinaryHeap<Reverse<Kept<Rc<Slot>>>>,
}

impl<'q> Gathering<'q> {
    pub fn new(query: &'q Query, floor: Option<Key>) -> Self {
        Self {
            query,
            floor,
            answer: Answer::default(),
            kept: BinaryHeap::new(),
        }
    }

    /// Looks at one live request.
    pub fn add(&mut self, slot: &Rc<Slot>, view: &View<'_>) {
        self.answer.live += 1;
        if !view.fits(self.query) {
            return;
        }
        self.count(view);
        let key = self.key(view);
        if self.floor.is_some_and(|floor| key < floor) {
            return;
        }
        if self.kept.len() >= places(self.query.limit) {
            match self.kept.peek() {
                Some(Reverse(least)) if key > least.key => self.kept.pop(),
                _ => return,
            };
        }
        let of = Rc::clone(slot);
        self.kept.push(Reverse(Kept { key, of }));
    }

    /// The answer, without rows, and what they are to be made of, the first one first.
    pub fn finish(self) -> (Answer, Vec<Kept<Rc<Slot>>>) {
        let kept = self.kept.into_sorted_vec();
        (
            self.answer,
            kept.into_iter().map(|Reverse(kept)| kept).collect(),
        )
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
        let what = (
            view.route.map_or(0, address),
            view.backend.map_or(0, address),
            view.endpoint.map_or(0, address),
        );
        let alike = self.answer.alike.entry(what).or_insert_with(|| Alike {
            target: view.target.clone(),
            endpoint: view.endpoint.map(|_| view.slot.endpoint.get()),
            group: Group::default(),
        });
        let group = &mut alike.group;
        group.count += 1;
        group.oldest = group.oldest.max(view.age());
        group.phases[view.phase() as usize] += 1;
    }
}

/// Places that are kept for so many rows: some requests will be over before theirs is made.
fn places(limit: usize) -> usize {
    match limit {
        0 => 0,
        rows => rows + rows / LIVE_SPARE_SHARE + LIVE_ROWS_SLICE,
    }
}

fn address<T>(it: &T) -> usize {
    std::ptr::from_ref(it).addr()
}

/// A route's name: its host, `*` for any, and its path.
fn shown(route: &Route) -> String {
    format!("{}{}", shown_host(&route.host), route.path)
}

fn row<'a>(view: &View<'a>, anchor: Anchor, instance: &'a str) -> Row<'a> {
    let (subject, slot) = (view.subject, view.slot);
    let request = view.request();
    let of_endpoint = view.endpoint;
    let listener = subject.table.listener(subject.listener);
    Row {
        id: subject.id.to_string(),
        trace_id: subject
            .trace_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        kind: view.kind(),
        namespace: view.namespace(),
        method: text(request.map_or(b"", RequestHead::method_bytes)),
        host: text(view.host()),
        path: text(request.map_or(b"", RequestHead::path)),
        route: view.route.map(shown).unwrap_or_default(),
        ingress: view
            .route
            .map(|it| format!("{}/{}", it.namespace, it.ingress))
            .unwrap_or_default(),
        rule: view.route.map_or("", |it| &it.rule),
        service: view.backend.map_or("", |it| &it.key),
        endpoint: of_endpoint
            .map(|it| it.address.to_string())
            .unwrap_or_default(),
        pod: of_endpoint.map_or("", |it| &it.pod),
        node: of_endpoint.map_or("", |it| &it.node),
        zone: of_endpoint.map_or("", |it| &it.zone),
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
        client: subject.client,
        scheme: subject.scheme,
        protocol: view.protocol(),
        listener: match listener.map(|listener| listener.kind) {
            Some(ListenerKind::Service) => "service",
            Some(ListenerKind::Ingress) | None => "ingress",
        },
        generation: subject.table.generation,
        instance,
    }
}

/// As in spans: cut, and what is not valid UTF-8 replaced.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(VALUE_BYTES_MAX)])
}
