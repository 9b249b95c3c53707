//! A worker: one thread, one single-threaded runtime, and what the requests on it share.

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, TcpListener};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender};

use arc_swap::{ArcSwap, Cache};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

use crate::access_log::AccessLog;
use crate::buffer::Buffer;
use crate::downstream::Listeners;
use crate::instant::Instant;
use crate::limits::{
    CONNECTIONS_GIVING_WAY_MAX, EVENT_LOOP_TURN, SPARE_BYTES_MAX, SPARE_WORKSPACES_MAX, TICK,
};
use crate::live::{LiveRequests, Slot};
use crate::message::{RequestHead, ResponseHead};
use crate::metrics::Tally;
use crate::stats::WorkerStats;
use crate::table::Table;
use crate::trace::context::Traceparent;
use crate::trace::{Baselines, Clock, Ids, Recorder};
use crate::upstream::{Balancer, Pool};

/// What the control plane tells a worker.
pub enum Command {
    /// Accept connections on this socket, which is bound to this address.
    Listen(SocketAddr, TcpListener),
    /// Accept no more on this address; the sender is dropped once its socket is closed.
    Unlisten(SocketAddr, SyncSender<()>),
    /// Send a duplicate of each listening socket.
    Duplicate(Sender<(SocketAddr, TcpListener)>),
    /// Give what was counted to the store; the sender is dropped once that is done.
    Count(Sender<()>),
    /// Accept no more at all, finish what is being served, then end.
    Drain(Drain),
}

/// When what is still being served ends.
#[derive(Clone, Copy)]
pub struct Drain {
    /// Until then a connection without a request may still bring one.
    pub idle_until: Instant,
    /// Then everything is cut.
    pub until: Instant,
}

/// Where a worker writes what became of requests.
pub struct Writers {
    pub recorder: Recorder,
    pub metrics: Tally,
    pub access_log: Option<AccessLog>,
}

/// How much one worker takes on.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub requests_live_max: u64,
    pub connections_max: usize,
}

/// What the requests of one thread share. Nothing in it is shared with another thread but the
/// table pointer, the counters and the queue behind the recorder.
pub struct Worker {
    pub pool: Rc<Pool>,
    pub balancer: RefCell<Balancer>,
    pub recorder: RefCell<Recorder>,
    pub metrics: RefCell<Tally>,
    /// `None` where none is wanted.
    pub access_log: Option<RefCell<AccessLog>>,
    pub ids: RefCell<Ids>,
    pub clock: RefCell<Clock>,
    pub baselines: RefCell<Baselines>,
    pub stats: Arc<WorkerStats>,
    pub live: LiveRequests,
    published: RefCell<Cache<Arc<ArcSwap<Table>>, Arc<Table>>>,
    table: RefCell<Rc<Snapshot>>,
    generation_swept: Cell<u64>,
    #[expect(clippy::vec_box, reason = "it is moved in and out twice a request")]
    workspaces: RefCell<Vec<Box<Workspace>>>,
    connections: RefCell<FxHashMap<u64, Connection>>,
    connections_opened: Cell<u64>,
    connections_max: usize,
    /// Counts the ticks.
    ticks: Cell<u64>,
    connection_closed: Notify,
    /// Whether no connection is to be kept any more.
    pub is_draining: Cell<bool>,
    /// Tells connections of many requests that this begins.
    pub draining: Notify,
    /// Over it: 503, and the connection is closed. `proxy/engine.py` has the usual value.
    requests_live_max: u64,
    /// Whether a connection that has no request now is not to wait for one either.
    pub is_closing_idle: Cell<bool>,
}

/// A table as the requests of one worker hold it: holding it writes to no memory that another
/// thread reads.
pub struct Snapshot {
    table: Arc<Table>,
    publisher: Cell<Option<Traceparent>>,
}

impl Snapshot {
    fn new(table: Arc<Table>) -> Self {
        let publisher = Cell::new(table.published_by);
        Self { table, publisher }
    }

    /// The span that published the table, for the first who asks: one of the requests that the
    /// worker serves by it is to say where it comes from.
    pub fn take_publisher(&self) -> Option<Traceparent> {
        self.publisher.take()
    }
}

impl Deref for Snapshot {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.table
    }
}

/// The memory that one request works in, reused by the next one.
#[derive(Default)]
pub struct Workspace {
    /// Bytes read from the client and not yet used; may hold the beginning of the next request.
    pub input: Buffer,
    /// Shared with whoever looks at the live request; nobody else's when one is read into it.
    pub request: Rc<RequestHead>,
    /// What is shown of the request.
    pub live: Rc<Slot>,
    pub response: ResponseHead,
    /// What is being written to the endpoint.
    pub to_upstream: Vec<u8>,
    /// What is being written to the client.
    pub to_client: Vec<u8>,
    /// Bytes read from the endpoint and not yet used.
    pub from_upstream: Buffer,
}

struct Connection {
    stage: Rc<Cell<Stage>>,
    task: AbortHandle,
}

/// What a connection is at; waiting has begun with a [`TICK`] of its worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// It has brought nothing yet, or nothing since its last request: it may be cut without harm, at
    /// any time.
    Idle(u64),
    /// It has brought a part of a request, or may bring one unless it is told goodbye.
    Beginning(u64),
    Serving,
}

impl Stage {
    /// Since when it waits for a request; `None` while it has one.
    const fn waits_since(self) -> Option<u64> {
        match self {
            Self::Idle(tick) | Self::Beginning(tick) => Some(tick),
            Self::Serving => None,
        }
    }
}

impl Worker {
    pub fn new(
        published: Arc<ArcSwap<Table>>,
        writers: Writers,
        stats: Arc<WorkerStats>,
        Bounds {
            requests_live_max,
            connections_max,
        }: Bounds,
    ) -> Rc<Self> {
        Rc::new(Self {
            pool: Pool::new(Arc::clone(&stats)),
            balancer: RefCell::default(),
            recorder: RefCell::new(writers.recorder),
            metrics: RefCell::new(writers.metrics),
            access_log: writers.access_log.map(RefCell::new),
            ids: RefCell::new(Ids::from_entropy()),
            clock: RefCell::new(Clock::new()),
            baselines: RefCell::default(),
            stats,
            live: LiveRequests::default(),
            table: RefCell::new(Rc::new(Snapshot::new(published.load_full()))),
            generation_swept: Cell::new(0),
            published: RefCell::new(Cache::new(published)),
            workspaces: RefCell::default(),
            connections: RefCell::default(),
            connections_opened: Cell::new(0),
            connections_max,
            ticks: Cell::new(0),
            connection_closed: Notify::new(),
            is_draining: Cell::new(false),
            draining: Notify::new(),
            requests_live_max,
            is_closing_idle: Cell::new(false),
        })
    }

    /// The latest table. A request calls this once and keeps what it got to its end.
    pub fn table(&self) -> Rc<Snapshot> {
        let mut published = self.published.borrow_mut();
        let latest = published.load();
        let mut mine = self.table.borrow_mut();
        if !Arc::ptr_eq(latest, &mine.table) {
            *mine = Rc::new(Snapshot::new(Arc::clone(latest)));
        }
        Rc::clone(&mine)
    }

    /// Whether as many requests are live, without the one that asks, as may be.
    pub fn is_full(&self) -> bool {
        self.stats.requests_live.get() >= self.requests_live_max
    }

    pub fn take_workspace(&self) -> Box<Workspace> {
        self.workspaces.borrow_mut().pop().unwrap_or_default()
    }

    /// A workspace for what was read from a client.
    pub fn workspace_of(&self, input: Buffer) -> Box<Workspace> {
        let mut workspace = self.take_workspace();
        workspace.input = input;
        workspace
    }

    pub fn return_workspace(&self, mut workspace: Box<Workspace>) {
        let mut spare = self.workspaces.borrow_mut();
        if spare.len() < SPARE_WORKSPACES_MAX {
            workspace.input.reset();
            workspace.from_upstream.reset();
            workspace.to_upstream.clear();
            workspace.to_upstream.shrink_to(SPARE_BYTES_MAX);
            workspace.to_client.clear();
            workspace.to_client.shrink_to(SPARE_BYTES_MAX);
            spare.push(workspace);
        }
    }

    pub fn connection_count(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Whether another connection would be one too many.
    pub fn is_crowded(&self) -> bool {
        self.connection_count() >= self.connections_max
    }

    /// Ends those connections that have waited for a request the longest, if any wait, by the next turn
    /// of the event loop. So whoever holds connections and asks for nothing, or never ends its
    /// request's head, keeps nobody out. Returns whether there were some.
    pub fn make_room(&self) -> bool {
        let connections = self.connections.borrow();
        let mut waiting: Vec<_> = connections
            .iter()
            .filter_map(|(id, connection)| Some((connection.stage.get().waits_since()?, *id)))
            .collect();
        let count = waiting.len().div_ceil(8).min(CONNECTIONS_GIVING_WAY_MAX);
        if count < waiting.len() {
            waiting.select_nth_unstable(count);
        }
        let longest = waiting.iter().take(count);
        for connection in longest.filter_map(|(_, id)| connections.get(id)) {
            connection.task.abort();
            connection.stage.set(Stage::Serving); // It is not to be found again.
        }
        self.stats.connections_crowded_out.add(count as u64);
        !waiting.is_empty()
    }

    /// The stage of a connection that begins to wait now.
    pub fn idle(&self) -> Stage {
        Stage::Idle(self.ticks.get())
    }

    /// The same of one that is not to be cut without need.
    pub fn beginning(&self) -> Stage {
        Stage::Beginning(self.ticks.get())
    }

    /// Runs a connection in a task of its own. What `serve` makes is the task, nothing is around it:
    /// a future that another one was given takes its room twice.
    pub fn spawn_connection<F>(self: &Rc<Self>, serve: impl FnOnce(Registered) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        let id = self.connections_opened.get();
        self.connections_opened.set(id + 1);
        self.stats.connections.add(1);
        self.stats.connections_open.add(1);
        let stage = Rc::new(Cell::new(self.idle()));
        let registered = Registered {
            id,
            worker: Rc::clone(self),
            stage: Rc::clone(&stage),
        };
        let task = tokio::task::spawn_local(serve(registered));
        let connection = Connection {
            stage,
            task: task.abort_handle(),
        };
        self.connections.borrow_mut().insert(id, connection);
    }

    /// Serves until told to drain and the last connection has ended.
    pub async fn run(self: Rc<Self>, mut commands: mpsc::Receiver<Command>) {
        let mut listeners = Listeners::new(Rc::clone(&self));
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let drain = loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Listen(address, socket)) => listeners.add(address, socket),
                    Some(Command::Unlisten(address, _closed)) => listeners.close(address).await,
                    Some(Command::Duplicate(to)) => listeners.duplicate(&to),
                    Some(Command::Count(_done)) => self.metrics.borrow_mut().flush(),
                    Some(Command::Drain(drain)) => break Some(drain),
                    None => break None,
                },
                _ = ticks.tick() => self.tick(),
            }
        };
        drop(commands); // Who publishes now must not wait for the drain.
        if let Some(drain) = drain {
            listeners.close_all().await;
            self.drain(drain).await;
        }
        self.hand_over();
        self.metrics.borrow_mut().flush();
    }

    /// Hands over what was written of requests.
    fn hand_over(&self) {
        self.recorder.borrow_mut().flush();
        if let Some(log) = &self.access_log {
            log.borrow_mut().flush();
        }
    }

    async fn drain(&self, drain: Drain) {
        self.is_draining.set(true);
        self.draining.notify_waiters();
        self.serve_until(drain.idle_until.min(drain.until)).await;
        self.close_idle().await;
        self.serve_until(drain.until).await;
    }

    /// Returns when no connection is left, at the latest at `until`.
    async fn serve_until(&self, until: Instant) {
        let mut ticks = tokio::time::interval(TICK);
        while self.connection_count() > 0 && Instant::now() < until {
            tokio::select! {
                () = self.connection_closed.notified() => {}
                _ = ticks.tick() => self.tick(),
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    /// Closes the connections without a request; one that is in the kernel by now is a request.
    async fn close_idle(&self) {
        // The event loop looks at its sockets while this waits; the tasks that it wakes are run
        // before the one that is spawned after them.
        tokio::time::sleep(EVENT_LOOP_TURN).await;
        drop(tokio::task::spawn_local(async {}).await);
        self.is_closing_idle.set(true);
        for connection in self.connections.borrow().values() {
            if matches!(connection.stage.get(), Stage::Idle(_)) {
                connection.task.abort();
            }
        }
    }

    fn tick(&self) {
        self.ticks.set(self.ticks.get() + 1);
        self.hand_over();
        let table = self.table();
        let is_new = self.generation_swept.replace(table.generation) != table.generation;
        if is_new || self.is_draining.get() {
            // Nobody asks a worker that drains; and cells hold on to what they are of.
            self.metrics.borrow_mut().flush();
        }
        if is_new {
            self.balancer.borrow_mut().retain(&table);
            self.baselines.borrow_mut().renew();
        }
        self.pool.sweep(Instant::now(), is_new.then_some(&**table));
    }
}

/// A connection's entry in the worker's list; it goes with the task, however that ends.
pub struct Registered {
    id: u64,
    pub worker: Rc<Worker>,
    pub stage: Rc<Cell<Stage>>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().remove(&self.id);
        self.worker.stats.connections_open.sub_one();
        self.worker.connection_closed.notify_one();
    }
}
