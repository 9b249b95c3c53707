//! Live requests: what is inside a worker now, and how far it has come.
//!
//! Each request writes into a [`Slot`], whose memory is its workspace's; the worker lists the slots
//! in use. Rules: one thread writes and reads them, so there is no lock, and what a request pays is
//! a few stores; nothing is copied that it holds anyway, since a slot shares its head and its table.
//! Who asks is answered by the worker, between requests and a slice at a time (`answering.rs`).

mod answer;
mod answering;
mod query;
mod view;

use serde::{Deserialize, Serialize};
use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;

pub use answer::Answer;
pub use answering::{Ask, answer_all};
pub use query::Query;
pub use view::Target;

use crate::downstream::Origin;
use crate::forward::Arrival;
use crate::headers::Ends;
use crate::instant::Instant;
use crate::limits::LIVE_LISTED_MAX;
use crate::message::RequestHead;
use crate::propagation::Trace;
use crate::stats::WorkerStats;
use crate::trace::{Decision, SpanId, TraceId};
use crate::worker::{Snapshot, Worker, Workspace};

/// What a live request is waiting for, in the order in which it comes to them. As far as they are
/// the same they have the names of the phases in `docs/SPANS.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The rest of its head.
    #[default]
    Head,
    /// A decision of ours. Also where time went that earlier attempts took.
    Route,
    /// Its turn at the backend.
    Queue,
    /// A connection to the endpoint.
    Connect,
    /// The rest of its body, or the endpoint to take it.
    Send,
    /// The first byte of the response.
    Wait,
    /// More of the response; where both sides switched protocols, more from either.
    Stream,
    /// The client to take the end of the response.
    Respond,
}

/// How many phases there are.
const PHASES: usize = 8;

/// What a slot is about.
pub struct Subject {
    /// Names it among those of this engine: the id of its SERVER span, whether one is made or not.
    pub id: SpanId,
    /// `None` where nothing is traced.
    pub trace_id: Option<TraceId>,
    pub client: SocketAddr,
    pub scheme: &'static str,
    /// By its address in the table.
    pub listener: SocketAddr,
    pub table: Rc<Snapshot>,
    pub kind: Kind,
    /// Where it goes; of a request it is found when somebody asks for the first time.
    pub target: OnceCell<Target>,
}

/// What is live.
pub enum Kind {
    /// A request of which a part of the head is there.
    Arriving,
    Request(Rc<RequestHead>),
    /// A connection that is handed on as it is, by the name in its TLS handshake.
    Connection(Box<str>),
}

/// What is known of one live request. Everything but the subject is written while it is served.
#[derive(Default)]
pub struct Slot {
    subject: RefCell<Option<Subject>>,
    /// Where it stands in the worker's list.
    index: Cell<usize>,
    /// The last question that it was looked at for.
    asked: Cell<u64>,
    phase: Cell<Phase>,
    /// When it came to each phase; of the attempts the last one counts.
    entered: [Cell<Option<Instant>>; PHASES],
    /// Of the attempts made the last one's, by its index in the backend.
    endpoint: Cell<usize>,
    attempts: Cell<u32>,
    /// The response's status, once it is on its way.
    pub status: Cell<u16>,
    is_upgraded: Cell<bool>,
    /// Bytes of the body from the client, without framing.
    pub received: Cell<u64>,
    /// Bytes of the body to the client, without framing.
    pub sent: Cell<u64>,
}

impl Slot {
    /// It waits for something else from now on.
    pub fn enter(&self, phase: Phase, now: Instant) {
        self.phase.set(phase);
        self.entered[phase as usize].set(Some(now));
    }

    /// An attempt at that endpoint begins.
    pub fn attempt(&self, endpoint: usize, now: Instant) {
        let earlier = self.attempts.get();
        if earlier > 0 {
            self.forget_from(Phase::Queue);
        }
        self.attempts.set(earlier + 1);
        self.endpoint.set(endpoint);
        self.enter(Phase::Connect, now);
    }

    /// The attempt has to wait for its turn, until it [enters](Self::enter) [`Phase::Connect`] again.
    pub fn queue(&self, now: Instant) {
        self.entered[Phase::Connect as usize].set(None);
        self.enter(Phase::Queue, now);
    }

    /// Whether its turn has not come yet.
    pub fn is_queued(&self) -> bool {
        self.phase.get() == Phase::Queue
    }

    /// When its turn came that it has waited for since `started` or later: `now`, if it waits still.
    /// `None` if it did not have to wait.
    pub fn turn(&self, started: Instant, now: impl FnOnce() -> Instant) -> Option<Instant> {
        let queued = self.entered[Phase::Queue as usize].get();
        queued.filter(|at| *at >= started)?;
        let connecting = self.entered[Phase::Connect as usize].get();
        Some(connecting.unwrap_or_else(now))
    }

    /// Both sides switched protocols.
    pub fn upgraded(&self) {
        self.is_upgraded.set(true);
    }

    #[inline]
    fn begin(&self, subject: Subject, start: Instant) {
        *self.subject.borrow_mut() = Some(subject);
        self.forget_from(Phase::Route);
        self.attempts.set(0);
        self.status.set(0);
        self.is_upgraded.set(false);
        self.received.set(0);
        self.sent.set(0);
        self.enter(Phase::Head, start);
    }

    fn forget_from(&self, first: Phase) {
        for entered in &self.entered[first as usize..] {
            entered.set(None);
        }
    }
}

/// The slots of one worker that are in use, in no order.
#[derive(Default)]
pub struct LiveRequests {
    listed: RefCell<Vec<Rc<Slot>>>,
    /// The question that slots are looked at for; 0 if nobody asks.
    question: Cell<u64>,
    /// Slots that came to another place before they were looked at for it.
    moved: RefCell<Vec<Rc<Slot>>>,
}

impl LiveRequests {
    fn list(&self, slot: &Rc<Slot>) {
        let mut listed = self.listed.borrow_mut();
        let index = listed.len();
        if index < LIVE_LISTED_MAX {
            slot.index.set(index);
            listed.push(Rc::clone(slot));
        } else {
            slot.index.set(usize::MAX);
        }
    }

    fn unlist(&self, slot: &Slot) {
        let index = slot.index.get();
        let mut listed = self.listed.borrow_mut();
        if index < listed.len() {
            listed.swap_remove(index);
            if let Some(moved) = listed.get(index) {
                moved.index.set(index);
                if self.question.get() > moved.asked.get() {
                    self.moved.borrow_mut().push(Rc::clone(moved));
                }
            }
        }
    }
}

/// A slot in use; dropping it ends that, however the request ends.
pub struct Live<'a> {
    slot: Rc<Slot>,
    worker: &'a Worker,
    /// Counted as a request, not only listed.
    is_request: bool,
}

impl<'a> Live<'a> {
    /// A request whose head has been read, in the counters too.
    pub fn request(
        worker: &'a Worker,
        workspace: &Workspace,
        table: &Rc<Snapshot>,
        trace: &Trace<'_>,
        (ends, listener): (&Ends, SocketAddr),
        arrival: Arrival,
    ) -> Self {
        let stats: &WorkerStats = &worker.stats;
        stats.requests.add(1);
        stats.requests_live.add(1);
        let subject = Subject {
            id: trace.root,
            trace_id: (trace.decision != Decision::Off).then_some(trace.id),
            client: ends.client,
            scheme: ends.scheme,
            listener,
            table: Rc::clone(table),
            kind: Kind::Request(Rc::clone(&workspace.request)),
            target: OnceCell::new(),
        };
        let slot = Rc::clone(&workspace.live);
        let live = Self::begin(worker, slot, subject, arrival.start, true);
        live.enter(Phase::Route, arrival.head_read);
        live
    }

    /// A request whose head is being waited for.
    pub fn arriving(worker: &'a Worker, slot: &Rc<Slot>, origin: &Origin, start: Instant) -> Self {
        let subject = Subject {
            id: worker.ids.borrow_mut().span_id(),
            trace_id: None,
            client: origin.ends.client,
            scheme: origin.ends.scheme,
            listener: origin.listener,
            table: worker.table(),
            kind: Kind::Arriving,
            target: OnceCell::new(),
        };
        Self::begin(worker, Rc::clone(slot), subject, start, false)
    }

    /// A connection that is handed on.
    pub fn connection(worker: &'a Worker, subject: Subject, start: Instant) -> Self {
        let live = Self::begin(worker, Rc::default(), subject, start, false);
        live.enter(Phase::Route, start);
        live
    }

    #[inline] // So that the subject is made where it stays.
    fn begin(
        worker: &'a Worker,
        slot: Rc<Slot>,
        subject: Subject,
        start: Instant,
        is_request: bool,
    ) -> Self {
        slot.begin(subject, start);
        slot.asked.set(worker.live.question.get()); // It came too late for this one.
        worker.live.list(&slot);
        Self {
            slot,
            worker,
            is_request,
        }
    }
}

impl Live<'_> {
    /// The slot itself, for who tells it what it waits for.
    pub fn slot(&self) -> &Rc<Slot> {
        &self.slot
    }

    /// The counters of its worker.
    pub fn stats(&self) -> &WorkerStats {
        &self.worker.stats
    }
}

impl Deref for Live<'_> {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        &self.slot
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.worker.live.unlist(&self.slot);
        // The head must be nobody else's when the next request is read into it.
        *self.slot.subject.borrow_mut() = None;
        if self.is_request {
            self.worker.stats.requests_live.sub_one();
        }
    }
}
