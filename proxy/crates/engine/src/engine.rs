//! The engine: its threads, and the swap of the table under them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::rc::Rc;
use std::sync::mpsc::{RecvTimeoutError, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::access_log::Log;
use crate::downstream;
use crate::instant::Instant;
use crate::limits::{LIVE_ANSWER_TIMEOUT, LIVE_QUESTIONS_MAX, LIVE_TURN, WORKER_COMMANDS_MAX};
use crate::live::{Answer, Ask, Query, answer_all};
use crate::metrics::{Format, Page, Store, Tally};
use crate::stats::{Totals, WorkerStats};
use crate::table::wire::Update;
use crate::table::{Backend, PathKind, Rejected, Table, normalise};
use crate::trace::{Recorder, Resource, SpanQueue};
use crate::worker::{Bounds, Command, Drain, Worker, Writers};

/// A running data plane. Dropping it stops it at once; [`Engine::stop`] lets requests finish.
pub struct Engine {
    table: Arc<ArcSwap<Table>>,
    spans: Arc<SpanQueue>,
    metrics: Arc<Store>,
    access_log: Option<Log>,
    workers: Vec<WorkerHandle>,
    /// Addresses that are listened on. Also serialises publishing.
    listening: Mutex<FxHashSet<SocketAddr>>,
    /// Listening sockets of a process before, until the first table says which are wanted.
    adopted: Mutex<FxHashMap<SocketAddr, Vec<TcpListener>>>,
    started: Instant,
}

/// What an engine is started with.
pub struct Options {
    /// Threads that move requests.
    pub workers: usize,
    /// Whose spans it makes.
    pub resource: Resource,
    /// In so many bytes spans wait to be taken; the newest that do not fit are dropped and counted.
    pub span_queue_bytes: usize,
    /// So many requests one worker serves at once; what is above is refused.
    pub requests_live_max: u64,
    /// So many connections one worker has at once; then those that wait give way to new ones.
    pub connections_max: usize,
    /// So many routes have labels of their own in metrics.
    pub metrics_routes_max: usize,
    /// Where a line is written for each request.
    pub access_log: Option<Log>,
}

/// The route that answers a request: `proxy.engine.Match`.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Explained {
    pub host: String,
    pub kind: PathKind,
    pub path: String,
    pub backend: String,
    pub namespace: String,
    pub ingress: String,
    pub rule: String,
}

/// What is measured of an endpoint that is not well: `proxy.engine.EndpointHealth`.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "proxy/engine.py documents the fields")]
pub struct EndpointHealth {
    pub backend: String,
    pub endpoint: String,
    pub is_ejected: bool,
    pub errors_consecutive: u32,
    pub ejected_ms: u64,
}

struct WorkerHandle {
    commands: mpsc::Sender<Command>,
    /// Not commands, which a worker does not take any more when it drains.
    questions: mpsc::Sender<Ask>,
    stats: Arc<WorkerStats>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// Starts the threads. They listen on nothing until a table is published.
    ///
    /// # Errors
    /// When the kernel gives no thread, event loop or socket.
    pub fn start(options: Options) -> io::Result<Self> {
        let table = Arc::new(ArcSwap::from_pointee(Table::empty()));
        let spans = Arc::new(SpanQueue::new(options.span_queue_bytes)?);
        let metrics = Arc::new(Store::new(options.metrics_routes_max));
        let access_log = options.access_log;
        let workers = (0..options.workers)
            .map(|index| {
                let writers = Writers {
                    recorder: Recorder::new(&options.resource, Arc::clone(&spans)),
                    metrics: Tally::new(Arc::clone(&metrics)),
                    access_log: access_log.as_ref().map(Log::writer),
                };
                WorkerHandle::start(
                    index,
                    Arc::clone(&table),
                    writers,
                    Bounds {
                        requests_live_max: options.requests_live_max,
                        connections_max: options.connections_max,
                    },
                )
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            table,
            spans,
            metrics,
            access_log,
            workers,
            listening: Mutex::default(),
            adopted: Mutex::default(),
            started: Instant::now(),
        })
    }

    /// Gives a listening socket of another process to the table that is published next: an
    /// address that it wants is not bound then, and what it does not want is closed.
    ///
    /// # Errors
    /// The socket is not bound to `address`.
    pub fn adopt(&self, address: SocketAddr, socket: TcpListener) -> io::Result<()> {
        if socket.local_addr()? != address {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        socket.set_nonblocking(true)?;
        locked(&self.adopted)
            .entry(address)
            .or_default()
            .push(socket);
        Ok(())
    }

    /// A duplicate of every socket that is listened on, by its address, for another process.
    #[must_use]
    pub fn listening(&self) -> Vec<(SocketAddr, TcpListener)> {
        let (duplicate, duplicates) = channel();
        self.tell_all(|| Command::Duplicate(duplicate.clone()));
        drop(duplicate);
        // It ends when the last worker has dropped its end.
        duplicates.iter().collect()
    }

    /// Applies an update in its wire form (JSON, see `proxy/table.py`) and opens and closes
    /// listeners accordingly. What cannot be done comes back; everything else is in force when
    /// this returns. Blocks for as long as building and closing listeners take, never a request.
    pub fn publish(&self, update: &[u8]) -> Vec<Rejected> {
        let mut listening = locked(&self.listening);
        let update: Update = match serde_json::from_slice(update) {
            Ok(update) => update,
            Err(err) => return vec![Rejected::table(format!("the update is unreadable: {err}"))],
        };
        let (table, mut rejected) = match self.table.load().apply(&update) {
            Ok(applied) => applied,
            Err(refused) => return vec![refused],
        };
        let wanted: FxHashSet<SocketAddr> = table.listeners.iter().map(|l| l.address).collect();
        // The table first: a connection that is accepted must find its listener in it.
        self.table.store(Arc::new(table));
        for address in listening.extract_if(|open| !wanted.contains(open)) {
            self.unlisten(address);
        }
        for address in wanted {
            if listening.contains(&address) {
                continue;
            }
            match self.listen(address) {
                Ok(()) => drop(listening.insert(address)),
                Err(err) => {
                    // The kind alone: a person has no use for the error's number.
                    let message = err.kind().to_string();
                    rejected.push(Rejected::listener(&address.to_string(), message));
                }
            }
        }
        locked(&self.adopted).clear();
        rejected
    }

    /// The table that new requests are served by.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// What answers a request for `path`, without query, on `host`, by the table of now. `None`
    /// where nothing does, or the path is not one.
    #[must_use]
    pub fn explain(&self, host: &str, path: &str) -> Option<Explained> {
        let table = self.table();
        let host = host.to_ascii_lowercase();
        let path = normalise(path.as_bytes()).ok()?;
        let matched = table.route(host.as_bytes(), &path)?;
        Some(Explained {
            host: matched.host.name.to_string(),
            kind: matched.route.kind,
            path: matched.route.path.to_string(),
            backend: matched.route.backend.to_string(),
            namespace: matched.route.namespace.to_string(),
            ingress: matched.route.ingress.to_string(),
            rule: matched.route.rule.to_string(),
        })
    }

    /// Where finished spans wait to be taken.
    #[must_use]
    pub fn spans(&self) -> &SpanQueue {
        &self.spans
    }

    /// The counters of all workers together.
    #[must_use]
    pub fn stats(&self) -> Totals {
        let mut totals = Totals::default();
        for worker in &self.workers {
            totals.add(&worker.stats);
        }
        let spans = self.spans.counts();
        totals.spans_recorded = spans.recorded;
        totals.spans_dropped = spans.dropped;
        if let Some(log) = &self.access_log {
            (totals.log_lines, totals.log_lines_dropped) = log.counts();
        }
        let (table, now) = (self.table(), Instant::now());
        let ejected = table.backends().map(|backend| backend.ejected_count(now));
        totals.endpoints_ejected = ejected.sum::<usize>() as u64;
        totals
    }

    /// Opens the access log's file anew, after it was renamed.
    pub fn reopen_access_log(&self) {
        if let Some(log) = &self.access_log {
            log.reopen();
        }
    }

    /// What was counted by route, as a page for a scraper; beside it what ingress-nginx calls the
    /// same, if the labels that it has everywhere are given. Blocks for as long as writing takes, no
    /// request.
    #[must_use]
    pub fn metrics(&self, format: Format, nginx: Option<&[(String, String)]>) -> Vec<u8> {
        let (counting, counted) = channel();
        self.tell_all(|| Command::Count(counting.clone()));
        drop(counting);
        // Nothing is ever sent: it ends when the last worker has dropped its end.
        let _ = counted.recv();
        Page::new(format).write(&self.metrics.scrape(Instant::now()), nginx)
    }

    /// The endpoints of the table of now that have failed since their last success, in no order.
    #[must_use]
    pub fn health(&self) -> Vec<EndpointHealth> {
        let (table, now) = (self.table(), Instant::now());
        let of_backend = |backend: &Backend| {
            let endpoints = backend.endpoints.iter();
            let ill = endpoints.filter_map(|endpoint| {
                let left = endpoint.vitals.ejected_for(now);
                let errors_consecutive = endpoint.vitals.errors();
                (left.is_some() || errors_consecutive > 0).then(|| EndpointHealth {
                    backend: backend.key.to_string(),
                    endpoint: endpoint.address.to_string(),
                    is_ejected: left.is_some(),
                    errors_consecutive,
                    ejected_ms: left.map_or(0, |left| left.as_millis() as u64),
                })
            });
            ill.collect::<Vec<_>>()
        };
        let backends = table.backends();
        backends.flat_map(|backend| of_backend(backend)).collect()
    }

    /// The live requests that a question (JSON, see `proxy/live.py`) is about. Blocks until every
    /// worker has answered between its requests, at most for [`LIVE_ANSWER_TIMEOUT`]. Half as many
    /// at once as there are cores, so that the others' requests have the other half.
    ///
    /// # Errors
    /// One sentence: the question cannot be read, or is over a bound.
    pub fn live(&self, query: &[u8]) -> Result<Answer, String> {
        let query = Arc::new(Query::decode(query)?);
        let now = Instant::now();
        let (answer, answers) = channel();
        let mut answer = Some(answer);
        let mut waiting = self.workers.iter();
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let (mut turns, mut answered) = ((cores / 2).max(1), 0);
        let mut all = Answer::default();
        loop {
            while turns > 0
                && let Some(answer) = &answer
                && let Some(worker) = waiting.next()
            {
                let ask = Ask {
                    query: Arc::clone(&query),
                    floor: all.floor(query.limit),
                    epoch: self.started,
                    now,
                    answer: answer.clone(),
                };
                // A worker that has ended has no requests.
                match worker.questions.blocking_send(ask) {
                    Ok(()) => turns -= 1,
                    Err(_) => answered += 1,
                }
            }
            let mut patience =
                (now + LIVE_ANSWER_TIMEOUT).saturating_duration_since(Instant::now());
            if waiting.len() == 0 {
                answer = None;
            } else {
                patience = patience.min(LIVE_TURN);
            }
            match answers.recv_timeout(patience) {
                Ok(one) => {
                    all.add(one, query.limit);
                    answered += 1;
                    turns += 1;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(all),
                Err(RecvTimeoutError::Timeout) if answer.is_some() => turns += 1,
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        all.workers_silent = self.workers.len() - answered;
        Ok(all)
    }

    /// Accepts no more, serves what was accepted and tells its clients to come anew. A connection
    /// without a request has `idle` from now to bring one, requests have until `deadline` from
    /// now; then they are cut. Blocks. Afterwards the last spans are in the queue. A second call
    /// returns at once.
    pub fn stop(&self, deadline: Duration, idle: Duration) {
        let now = Instant::now();
        let drain = Drain {
            idle_until: now + idle,
            until: now + deadline,
        };
        self.tell_all(|| Command::Drain(drain));
        for worker in &self.workers {
            let thread = locked(&worker.thread).take();
            // A worker that panicked has nothing left to wait for.
            thread.map(JoinHandle::join);
        }
        if let Some(log) = &self.access_log {
            log.close();
        }
    }

    /// Waits until every worker has closed its socket: the address may be wanted again at once.
    fn unlisten(&self, address: SocketAddr) {
        let (closing, closed) = sync_channel(0);
        self.tell_all(|| Command::Unlisten(address, closing.clone()));
        drop(closing);
        // Nothing is ever sent: it ends when the last worker has dropped its end.
        let _ = closed.recv();
    }

    /// Opens a socket per worker: all of them or none. A worker gets several where a process
    /// before had more.
    fn listen(&self, address: SocketAddr) -> io::Result<()> {
        let adopted = locked(&self.adopted).remove(&address).unwrap_or_default();
        let sockets = downstream::open(address, self.workers.len(), adopted)?;
        for (worker, socket) in self.workers.iter().cycle().zip(sockets) {
            worker.tell(Command::Listen(address, socket));
        }
        Ok(())
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            worker.tell(command());
        }
    }
}

/// A lock's value; a thread that panicked with it left it whole.
fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WorkerHandle {
    fn start(
        index: usize,
        table: Arc<ArcSwap<Table>>,
        writers: Writers,
        bounds: Bounds,
    ) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel(WORKER_COMMANDS_MAX);
        let (questions, asked) = mpsc::channel(LIVE_QUESTIONS_MAX);
        let stats = Arc::new(WorkerStats::default());
        let stats_of_worker = Arc::clone(&stats);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = thread::Builder::new()
            .name(format!("spanway-{index}"))
            .spawn(move || {
                let run = async {
                    let worker = Worker::new(table, writers, stats_of_worker, bounds);
                    tokio::task::spawn_local(answer_all(Rc::clone(&worker), asked));
                    worker.run(inbox).await;
                };
                LocalSet::new().block_on(&runtime, run);
            })?;
        Ok(Self {
            commands,
            questions,
            stats,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Never fails: a worker that has ended needs no commands.
    fn tell(&self, command: Command) {
        drop(self.commands.blocking_send(command));
    }
}
