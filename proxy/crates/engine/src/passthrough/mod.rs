//! The life of a connection that is handed on as it is: an endpoint is chosen and reached, both
//! connections are joined, and a record is left.
//!
//! What the bytes are is not known here. The client's first ones were read already, to find out
//! where it wants to go; they are sent first.

mod join;

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use self::join::{Parted, Side, join};
use crate::downstream::Origin;
use crate::health::Finding;
use crate::instant::Instant;
use crate::limits::{PASSTHROUGH_ATTEMPTS_MAX, PASSTHROUGH_IDLE_TIMEOUT};
use crate::live::{Kind, Live, Phase, Slot, Subject, Target};
use crate::message::Fields;
use crate::proxy_protocol::Announced;
use crate::table::{Backend, ListenerKind};
use crate::timer::Timer;
use crate::trace::sampler::Question;
use crate::trace::{Connection, ConnectionAttempt, Decision, Flag, SpanId, TraceId};
use crate::upstream::{Asker, Dial, Earlier};
use crate::worker::Worker;

/// A connection that is to be handed on.
pub struct Passing {
    pub stream: TcpStream,
    /// What was read of it.
    pub first_bytes: Vec<u8>,
    /// The name that the client asked for; may be empty.
    pub server_name: String,
    /// The key of the backend that it goes to.
    pub backend: Arc<str>,
    pub origin: Origin,
}

/// Hands a connection on until it ends.
///
/// # Cancel safety
/// A dropped call closes both connections; the record says that they were cut.
pub async fn pass(worker: &Worker, passing: Passing, timer: &mut Timer) {
    worker.stats.connections_passed_through.add(1);
    let mut record = Record::begin(worker, &passing);
    let flag = match record.backend.clone() {
        Some(backend) => reach_and_join(worker, &backend, &passing, timer, &mut record).await,
        None => Some(Flag::NoBackend),
    };
    record.flag = flag;
}

/// Returns why it failed, if it did.
async fn reach_and_join(
    worker: &Worker,
    backend: &Arc<Backend>,
    passing: &Passing,
    timer: &mut Timer,
    record: &mut Record<'_>,
) -> Option<Flag> {
    let mut last = if backend.missing.is_empty() {
        Flag::NoEndpoints
    } else {
        Flag::NoBackend
    };
    let ends = &passing.origin.ends;
    let asker = Asker {
        client: ends.client.ip(),
        fields: &Fields::default(),
    };
    for _ in 0..PASSTHROUGH_ATTEMPTS_MAX {
        let earlier = record.earlier();
        let started = Instant::now();
        let picked = worker
            .balancer
            .borrow_mut()
            .pick(backend, &asker, &earlier, started);
        let Some(picked) = picked else { break };
        worker.stats.attempts.add(1);
        worker.stats.upstream_connects.add(1);
        record.begin_attempt(picked.endpoint);
        let dial = Dial {
            backend,
            endpoint: backend.endpoints[picked.endpoint].address,
            announced: Announced {
                source: ends.peer,
                destination: ends.local,
            },
            until: None,
        };
        let reached = dial.connect_raw().await;
        let (took, now) = (started.elapsed(), Instant::now());
        let finding = match &reached {
            Ok(_) => Finding::Well(took),
            Err(err) if err.flag == Flag::ConnectionsFull => Finding::Nothing,
            Err(_) => Finding::Failed(took),
        };
        if picked.report(backend, finding, now) {
            worker.stats.ejections.add(1);
        }
        let failed = match reached {
            Ok((endpoint, _counted)) => {
                record.connected();
                let flag = joined(endpoint, passing, timer, &record.live).await;
                record.end_attempt(flag);
                return flag;
            }
            Err(err) => err.flag,
        };
        record.end_attempt(Some(failed));
        last = failed;
    }
    Some(last)
}

async fn joined(
    mut endpoint: TcpStream,
    passing: &Passing,
    timer: &mut Timer,
    live: &Slot,
) -> Option<Flag> {
    let first_bytes = passing.first_bytes.as_slice();
    timer.set(Instant::now() + PASSTHROUGH_IDLE_TIMEOUT);
    let parted = match timer.limit(endpoint.write_all(first_bytes)).await {
        None => Parted::Idle,
        Some(Err(_)) => Parted::Lost(Side::Endpoint),
        Some(Ok(())) => {
            live.received.set(first_bytes.len() as u64);
            let idle = PASSTHROUGH_IDLE_TIMEOUT;
            join(&passing.stream, &endpoint, timer, idle, live).await
        }
    };
    match parted {
        // Nobody is to blame for silence.
        Parted::Done | Parted::Idle => None,
        Parted::Lost(Side::Client) => Some(Flag::ClientGone),
        Parted::Lost(Side::Endpoint) => Some(Flag::UpstreamReset),
    }
}

/// What becomes spans when it is dropped, so also when the connection is cut.
struct Record<'a> {
    worker: &'a Worker,
    trace_id: TraceId,
    root: SpanId,
    decision: Decision,
    flags: u8,
    generation: u64,
    listener: ListenerKind,
    server_name: String,
    origin: Origin,
    backend: Option<Arc<Backend>>,
    attempts: SmallVec<[ConnectionAttempt; 1]>,
    live: Live<'a>,
    start: Instant,
    flag: Option<Flag>,
}

impl<'a> Record<'a> {
    /// Takes what it needs of the table, which may change many times before the connection ends.
    fn begin(worker: &'a Worker, passing: &Passing) -> Self {
        let table = worker.table();
        let (trace_id, root) = {
            let mut ids = worker.ids.borrow_mut();
            (ids.trace_id(), ids.span_id())
        };
        let listener = table.listener(passing.origin.listener);
        let start = Instant::now();
        let decision = if table.tracing.enabled {
            let asked = Question {
                trace_id,
                sampled: None,
                state: b"",
                request: None,
                route: None,
                now: start,
            };
            table.tracing.policy.decide(&asked).decision
        } else {
            Decision::Off
        };
        let backend = table.backend(&passing.backend).map(Arc::clone);
        let subject = Subject {
            id: root,
            trace_id: (decision != Decision::Off).then_some(trace_id),
            client: passing.origin.ends.client,
            scheme: passing.origin.ends.scheme,
            listener: passing.origin.listener,
            table: Rc::clone(&table),
            kind: Kind::Connection(Box::from(passing.server_name.as_str())),
            target: OnceCell::from(Target {
                route: None,
                backend: backend.clone(),
            }),
        };
        let live = Live::connection(worker, subject, start);
        Self {
            worker,
            trace_id,
            root,
            decision,
            flags: decision.flags(table.tracing.random_flag),
            generation: table.generation,
            listener: listener.map_or(ListenerKind::Ingress, |listener| listener.kind),
            server_name: passing.server_name.clone(),
            origin: passing.origin.clone(),
            backend,
            attempts: SmallVec::new(),
            live,
            start,
            // Until it has an end of its own.
            flag: Some(Flag::Shutdown),
        }
    }

    fn begin_attempt(&mut self, endpoint: usize) {
        let now = Instant::now();
        self.live.attempt(endpoint, now);
        self.attempts.push(ConnectionAttempt {
            id: self.worker.ids.borrow_mut().span_id(),
            endpoint,
            started: now,
            connected: None,
            end: None,
            error: None,
        });
    }

    fn connected(&mut self) {
        if let Some(attempt) = self.attempts.last_mut() {
            let now = Instant::now();
            attempt.connected = Some(now);
            self.live.enter(Phase::Stream, now);
        }
    }

    fn end_attempt(&mut self, error: Option<Flag>) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.end = Some(Instant::now());
            attempt.error = error;
        }
    }

    fn earlier(&self) -> SmallVec<[Earlier; 3]> {
        let attempts = self.attempts.iter();
        attempts
            .map(|attempt| Earlier {
                endpoint: attempt.endpoint,
                has_failed: true,
            })
            .collect()
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if !self.decision.is_sampled() {
            return;
        }
        let end = Instant::now();
        let clock = self.worker.clock.borrow_mut().anchor(end);
        self.worker
            .recorder
            .borrow_mut()
            .record_connection(&Connection {
                clock,
                trace_id: self.trace_id,
                root: self.root,
                sampled_flags: self.flags,
                server_name: &self.server_name,
                client: self.origin.ends.client,
                server: self.origin.ends.local,
                listener: self.listener,
                backend: self.backend.as_deref(),
                generation: self.generation,
                flag: self.flag,
                received_bytes: self.live.received.get(),
                sent_bytes: self.live.sent.get(),
                start: self.start,
                end,
                attempts: &self.attempts,
            });
    }
}
