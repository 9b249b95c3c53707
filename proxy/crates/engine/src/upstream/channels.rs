//! One worker's HTTP/2 connections to one endpoint: those that are there, those that are being
//! opened, and who waits.
//!
//! A connection is opened by a task of its own, which then moves its frames. It belongs to nobody:
//! who waits gets a place on whichever has one first, in turn, and who leaves leaves it to the
//! others. As many are being opened as those who wait need, up to [`UPSTREAM_OPENING_MAX`]; who needs
//! more than these is in a queue until it is the turn of those before.
//!
//! Rules: whoever is told something is told it while nothing is borrowed, since what is dropped on
//! the way may come back here. Who waits no longer is not among those who wait: it hears what it is told.
//!
//! Source: Envoy's `ConnPoolImplBase`, where streams wait for connections in the same way.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout_at;

use super::connect::{ConnectError, Dial, Opened, Steps};
use super::http2::{Channel, Moving, Seat};
use super::{Counted, Full};
use crate::instant::Instant;
use crate::limits::{
    HTTP2_UPSTREAM_IDLE_CONNECTIONS_MAX, HTTP2_UPSTREAM_STREAMS_MAX, UPSTREAM_OPENING_MAX,
};
use crate::live::{Phase, Slot};
use crate::proxy_protocol::Announced;
use crate::stats::WorkerStats;
use crate::stream::Stream;
use crate::table::{Backend, Destination};
use crate::trace::Flag;

/// The connections to one endpoint that requests may share, if they are of HTTP/2.
pub struct Channels {
    destination: Destination,
    stats: Arc<WorkerStats>,
    state: RefCell<State>,
}

struct State {
    open: Vec<Channel>,
    opening: Vec<Rc<Opening>>,
    /// By their number: the lowest has waited for the longest.
    waiting: BTreeMap<u64, Waiting>,
    numbers: u64,
    /// Requests that a connection which is being opened will take: as many as the last one did.
    expected: usize,
    /// Whether the last connection was not one of HTTP/2.
    is_http1: bool,
    /// When somebody who waited got a place.
    served_at: Option<Instant>,
}

struct Waiting {
    told: oneshot::Sender<Told>,
    since: Instant,
    /// By whose terms a connection would be opened.
    backend: Arc<Backend>,
    announced: Announced,
    /// Where it is noted when its turn comes.
    live: Rc<Slot>,
}

/// A connection that is being opened.
#[derive(Debug, Default)]
pub struct Opening {
    /// How far it has come.
    pub steps: Steps,
    /// Whether somebody who waited for it has told that it could not be made, or not in time.
    pub is_told: Cell<bool>,
    task: OnceCell<AbortHandle>,
}

/// What somebody who waits gets.
pub enum Told {
    /// A place; on a connection that was opened meanwhile, or where another request has ended.
    Seat(Seat, Option<Rc<Opening>>),
    /// A connection for one request at a time.
    Http1(Stream, Option<Counted>, Rc<Opening>),
    /// There are no others of this kind: a connection of its own is to be opened.
    Alone,
    /// None.
    Failed(ConnectError),
}

impl Channels {
    /// None yet.
    pub fn new(destination: Destination, stats: Arc<WorkerStats>) -> Rc<Self> {
        Rc::new(Self {
            destination,
            stats,
            state: RefCell::new(State {
                open: Vec::new(),
                opening: Vec::new(),
                waiting: BTreeMap::new(),
                numbers: 0,
                expected: HTTP2_UPSTREAM_STREAMS_MAX,
                is_http1: false,
                served_at: None,
            }),
        })
    }

    /// Whether connections turned out to be for one request each.
    pub fn are_http1(&self) -> bool {
        self.state.borrow().is_http1
    }

    /// A place on a connection that is there; nobody is overtaken.
    #[must_use]
    pub fn seat(&self) -> Option<Seat> {
        let state = self.state.borrow();
        if state.waiting.is_empty() {
            state.seat()
        } else {
            None
        }
    }

    /// Waits for a connection; not beyond `dial.until`. While nothing is being opened for it, since as
    /// much is being opened as may be, `live` is [queued](Slot::queue).
    ///
    /// # Cancel safety
    /// A dropped call leaves its turn, and what is being opened, to the others.
    pub async fn wait(self: &Rc<Self>, dial: &Dial<'_>, live: &Rc<Slot>) -> Told {
        let (told, telling) = oneshot::channel();
        let _turn = Turn::new(self, dial, told, Rc::clone(live));
        self.open_more();
        if self.state.borrow().surplus() > 0 {
            self.stats.queued.add(1);
            live.queue(Instant::now());
        }
        let told = match dial.until {
            None => telling.await,
            Some(until) => match timeout_at(until.into(), telling).await {
                Ok(told) => told,
                Err(_) if live.is_queued() => {
                    self.stats.queue_refused.add(1);
                    return Told::Failed(Flag::QueueTimeout.into());
                }
                Err(_) => return Told::Failed(self.too_late()),
            },
        };
        // Who is told nothing has nobody to wait for.
        told.unwrap_or(Told::Alone)
    }

    /// Adds a connection: `opening` is over, unless somebody has opened it for himself.
    pub fn add(&self, channel: Channel, opening: Option<&Rc<Opening>>) {
        let mut state = self.state.borrow_mut();
        state.expected = channel.streams_max().max(1);
        state.is_http1 = false;
        state.open.push(channel);
        drop(state);
        self.hand_out(opening);
    }

    /// Gives what room there is to those who wait. `opening` is what they have waited for, if it was
    /// a connection.
    pub fn hand_out(&self, opening: Option<&Rc<Opening>>) {
        while let Some((told, seat)) = self.next_served() {
            let _ = told.send(Told::Seat(seat, opening.cloned()));
        }
    }

    /// Whether more connections are idle than are kept.
    pub fn has_too_many_idle(&self) -> bool {
        let open = &self.state.borrow().open;
        let idle = open.iter().filter(|channel| !channel.has_requests());
        open.len() > HTTP2_UPSTREAM_IDLE_CONNECTIONS_MAX
            && idle.count() > HTTP2_UPSTREAM_IDLE_CONNECTIONS_MAX
    }

    /// Forgets connections that have ended.
    pub fn forget_closed(&self) {
        let mut state = self.state.borrow_mut();
        state.open.retain(|channel| !channel.is_closed());
    }

    /// Closes what nobody has used for too long, and all that nobody uses if the endpoint is no
    /// longer known; returns whether anything is left.
    pub fn sweep(&self, now: Instant, is_known: bool) -> bool {
        let mut state = self.state.borrow_mut();
        state.open.retain(|channel| {
            let is_kept = is_known || channel.has_requests();
            is_kept && !channel.is_closed() && !channel.is_stale(now)
        });
        if !is_known && state.waiting.is_empty() {
            state.opening.drain(..).for_each(|opening| opening.abort());
        }
        !(state.open.is_empty() && state.opening.is_empty() && state.waiting.is_empty())
    }

    /// Begins to open as many connections as those who wait need beside those that are being opened.
    fn open_more(self: &Rc<Self>) {
        while let Some((backend, announced)) = self.next_to_open() {
            match Counted::begin(&backend, self.destination.address) {
                Ok(counted) => self.begin(backend, announced, counted),
                Err(Full) => return self.tell_surplus(|| Told::Failed(Full.into())),
            }
        }
    }

    /// By whose terms another connection is to be opened; `None` if there is no need.
    fn next_to_open(&self) -> Option<(Arc<Backend>, Announced)> {
        let state = self.state.borrow();
        let needed = state.waiting.len().div_ceil(state.expected);
        if state.opening.len() >= needed.min(UPSTREAM_OPENING_MAX) {
            return None;
        }
        let (_, first) = state.waiting.first_key_value()?;
        Some((Arc::clone(&first.backend), first.announced))
    }

    /// Opens a connection in a task of its own, which then moves its frames.
    fn begin(
        self: &Rc<Self>,
        backend: Arc<Backend>,
        announced: Announced,
        counted: Option<Counted>,
    ) {
        self.stats.upstream_connects.add(1);
        let opening = Rc::<Opening>::default();
        self.state.borrow_mut().opening.push(Rc::clone(&opening));
        let begun = Begun {
            channels: Rc::clone(self),
            opening: Rc::clone(&opening),
        };
        let task = tokio::task::spawn_local(async move {
            let dial = Dial {
                backend: &backend,
                endpoint: begun.channels.destination.address,
                announced,
                until: None,
            };
            if let Some(moving) = begun.end(dial, counted).await {
                drop(backend);
                moving.run().await;
            }
        });
        opening.task.get_or_init(|| task.abort_handle());
    }

    fn next_served(&self) -> Option<(oneshot::Sender<Told>, Seat)> {
        let mut state = self.state.borrow_mut();
        if state.waiting.is_empty() {
            return None;
        }
        let seat = state.seat()?;
        let (_, first) = state.waiting.pop_first()?;
        state.served_at = Some(Instant::now());
        Some((first.told, seat))
    }

    /// Tells those that have queued and whom what is being opened will serve that it is their turn.
    fn call(&self) {
        let state = self.state.borrow();
        let now = Instant::now();
        let served = state.waiting.values().take(state.served());
        for queued in served.filter(|waiting| waiting.live.is_queued()) {
            queued.live.enter(Phase::Connect, now);
        }
    }

    /// Tells those whom what is being opened will not serve, because they came too late.
    fn tell_surplus(&self, what: impl Fn() -> Told) {
        let next = || {
            let mut state = self.state.borrow_mut();
            let is_surplus = state.surplus() > 0;
            is_surplus.then(|| state.waiting.pop_last()).flatten()
        };
        while let Some((_, last)) = next() {
            let _ = last.told.send(what());
        }
    }

    /// Tells those whom the connection would have served that it could not be made, and whoever has
    /// seen for as long as one may take that nobody was served: an endpoint that takes connections
    /// slowly is not given up while it does, one that takes none is.
    fn fail(&self, error: &ConnectError) {
        let now = Instant::now();
        let mut served = 0;
        let mut next = || {
            let mut state = self.state.borrow_mut();
            let (_, first) = state.waiting.first_key_value()?;
            let since = state
                .served_at
                .map_or(first.since, |at| at.max(first.since));
            let waited = now.saturating_duration_since(since);
            served += 1;
            let is_told = served <= state.expected || waited >= first.backend.connect_timeout;
            is_told.then(|| state.waiting.pop_first()).flatten()
        };
        while let Some((_, first)) = next() {
            let _ = first.told.send(Told::Failed(error.clone()));
        }
    }

    /// Why somebody who can wait no longer has no connection: the one that is being opened for the
    /// longest, of those that nobody has told of, is the one that did not come.
    fn too_late(&self) -> ConnectError {
        let state = self.state.borrow();
        let mut untold = state.opening.iter().filter(|one| !one.is_told.get());
        let opening = untold.next().or(state.opening.first()).cloned();
        let error = match &opening {
            Some(opening) => ConnectError::timeout(&opening.steps),
            None => Flag::ConnectTimeout.into(),
        };
        ConnectError { opening, ..error }
    }
}

impl State {
    /// So many of those who wait will be served by what is being opened.
    fn served(&self) -> usize {
        self.opening.len() * self.expected
    }

    /// … and so many will not.
    fn surplus(&self) -> usize {
        self.waiting.len().saturating_sub(self.served())
    }

    fn seat(&self) -> Option<Seat> {
        self.open.iter().find_map(Channel::seat)
    }
}

/// A task's hold on what it opens; dropped before that has ended, it will not be there.
struct Begun {
    channels: Rc<Channels>,
    opening: Rc<Opening>,
}

impl Begun {
    /// Opens the connection, and tells those who wait what has come of it. Returns what is still to be
    /// moved.
    async fn end(self, dial: Dial<'_>, counted: Option<Counted>) -> Option<Box<Moving>> {
        let Self { channels, opening } = &self;
        let weak = Rc::downgrade(channels);
        let opened = dial
            .open(channels.destination, weak, counted, &opening.steps)
            .await;
        channels.forget(opening);
        let moving = match opened {
            Ok(Opened::Http2(channel, moving)) => {
                channels.add(channel, Some(opening));
                Some(moving)
            }
            Ok(Opened::Http1(stream, counted)) => {
                channels.hand_on(stream, counted, opening);
                None
            }
            Err(error) => {
                channels.fail(&ConnectError {
                    opening: Some(Rc::clone(opening)),
                    ..error
                });
                None
            }
        };
        channels.open_more();
        channels.call();
        moving
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.channels.forget(&self.opening) {
            self.channels.fail(&Flag::ConnectFailed.into());
        }
    }
}

impl Channels {
    /// Gives a connection for one request to who waits for the longest; closes it if nobody does. The
    /// others have to open connections for themselves, but for those who get one of those that are
    /// being opened.
    fn hand_on(&self, stream: Stream, counted: Option<Counted>, opening: &Rc<Opening>) {
        let first = {
            let mut state = self.state.borrow_mut();
            (state.is_http1, state.expected) = (true, 1);
            state.waiting.pop_first()
        };
        if let Some((_, first)) = first {
            let _ = first
                .told
                .send(Told::Http1(stream, counted, Rc::clone(opening)));
        }
        self.tell_surplus(|| Told::Alone);
    }

    /// Whether it was being opened until now.
    fn forget(&self, opening: &Rc<Opening>) -> bool {
        let opening_now = &mut self.state.borrow_mut().opening;
        let index = opening_now.iter().position(|one| Rc::ptr_eq(one, opening));
        index.map(|index| opening_now.remove(index)).is_some()
    }
}

impl Opening {
    fn abort(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// A turn among those who wait; left when it is dropped.
struct Turn<'a> {
    channels: &'a Channels,
    number: u64,
}

impl<'a> Turn<'a> {
    fn new(
        channels: &'a Channels,
        dial: &Dial<'_>,
        told: oneshot::Sender<Told>,
        live: Rc<Slot>,
    ) -> Self {
        let mut state = channels.state.borrow_mut();
        let number = state.numbers;
        state.numbers += 1;
        let waiting = Waiting {
            told,
            since: Instant::now(),
            backend: Arc::clone(dial.backend),
            announced: dial.announced,
            live,
        };
        state.waiting.insert(number, waiting);
        drop(state);
        Self { channels, number }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let left = self
            .channels
            .state
            .borrow_mut()
            .waiting
            .remove(&self.number);
        drop(left);
    }
}
