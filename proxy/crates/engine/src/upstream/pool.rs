//! Connections to endpoints: taken for one request, kept for the next.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::Counted;
use super::channels::{Channels, Told};
use super::connect::{ConnectError, Dial, Opened, Steps};
use super::http2::Seat;
use crate::instant::Instant;
use crate::limits::{
    PATH_AGE_MAX, ROUND_TRIP_RENEWAL, UPSTREAM_IDLE_CONNECTIONS_MAX, UPSTREAM_IDLE_TIMEOUT,
};
use crate::live;
use crate::message::Version;
use crate::stats::WorkerStats;
use crate::stream::{Farewell, Shared};
use crate::table::{Destination, Table};
use crate::trace::{Flag, TlsSession};

/// One worker's upstream connections, by where they lead and how they were made: one with TLS is
/// never taken for one without, nor one that was verified otherwise.
pub struct Pool {
    stats: Arc<WorkerStats>,
    endpoints: RefCell<FxHashMap<Destination, Rc<RefCell<Slot>>>>,
    /// When a connection was made because the round trip to some endpoint was doubted.
    renewed: Cell<Option<Instant>>,
    /// The generation of the table that was swept by last.
    swept: Cell<u64>,
}

/// What there is for one endpoint; each lease holds on to it.
#[derive(Default)]
struct Slot {
    /// That of the newest table which is known to have it.
    generation: u64,
    /// The most recently used last: it is taken first, so that the others can grow old and go.
    idle: Vec<Idle>,
    /// Where there may be any.
    channels: Option<Rc<Channels>>,
    /// The round trip that the last handshake took, in microseconds, and when that was.
    round_trip: Option<(u32, Instant)>,
    /// When something was sent again.
    lost: Option<Instant>,
    /// Somebody wants to know whether the round trip is still so.
    is_doubted: bool,
}

struct Idle {
    stream: Farewell,
    counted: Option<Counted>,
    since: Instant,
}

/// What carries a request to its endpoint.
pub enum Connection {
    /// A connection, for one request at a time.
    Http1(Rc<Shared>),
    /// A place on a connection for many.
    Http2(Seat),
}

impl Connection {
    /// As `network.protocol.version` has it.
    pub fn http_version(&self) -> &'static str {
        match self {
            Self::Http1(_) => Version::Http11.as_str(),
            Self::Http2(_) => Version::Http2.as_str(),
        }
    }

    /// Its TLS session; `None` without one.
    pub fn tls(&self) -> Option<TlsSession> {
        match self {
            Self::Http1(stream) => stream.tls(),
            Self::Http2(seat) => seat.tls(),
        }
    }
}

impl Pool {
    /// Without a connection yet.
    #[must_use]
    pub fn new(stats: Arc<WorkerStats>) -> Rc<Self> {
        Rc::new(Self {
            stats,
            endpoints: RefCell::default(),
            renewed: Cell::default(),
            swept: Cell::default(),
        })
    }

    /// Counts a request to `endpoint`, by the table of that `generation`, until the lease is dropped, and
    /// tries to get it a connection that is there already.
    #[must_use]
    pub fn lease(
        self: &Rc<Self>,
        endpoint: Destination,
        generation: u64,
        freshness: Freshness,
        now: Instant,
    ) -> Lease {
        let slot = Rc::clone(self.endpoints.borrow_mut().entry(endpoint).or_default());
        let mut there = slot.borrow_mut();
        there.generation = there.generation.max(generation);
        let (stream, counted) = match there.take_idle(freshness) {
            // Whoever was before it would like to know how long a handshake takes now.
            Some(_) if there.is_doubted && self.may_renew(now) => {
                there.is_doubted = false;
                (None, None)
            }
            Some(idle) => (Some(Rc::clone(&idle.stream.0)), idle.counted),
            None => (None, None),
        };
        drop(there);
        Lease {
            is_reused: stream.is_some(),
            has_waited: false,
            stream,
            counted,
            endpoint,
            slot,
            pool: Rc::clone(self),
        }
    }

    /// Whether a new connection may be made to tell how the network is.
    fn may_renew(&self, now: Instant) -> bool {
        let is_recent = |at| now.saturating_duration_since(at) < ROUND_TRIP_RENEWAL;
        let may = !self.renewed.get().is_some_and(is_recent);
        if may {
            self.renewed.set(Some(now));
        }
        may
    }

    /// Closes what has been idle for too long, was closed by its endpoint, keeps other workers out, or
    /// leads where no backend of the newest table does any more, or was made otherwise than it would be
    /// now; also what a request of an older table has given back since. Only a table that is `new` is
    /// looked at.
    pub fn sweep(&self, now: Instant, new: Option<&Table>) {
        let known = new.map(|table| self.known(table)).unwrap_or_default();
        let newest = new.map_or(self.swept.get(), |table| table.generation);
        self.swept.set(newest);
        self.endpoints.borrow_mut().retain(|endpoint, slot| {
            let is_leased = Rc::strong_count(slot) > 1;
            let mut slot = slot.borrow_mut();
            if known.contains(endpoint) {
                slot.generation = newest;
            }
            let is_known = slot.generation >= newest;
            slot.idle.retain_mut(|idle| {
                is_known
                    && now.saturating_duration_since(idle.since) < UPSTREAM_IDLE_TIMEOUT
                    && !idle.counted.as_ref().is_some_and(Counted::is_scarce)
                    && idle.stream.0.is_quiet()
            });
            let channels = slot.channels.as_ref();
            let has_http2 = channels.is_some_and(|channels| channels.sweep(now, is_known));
            is_leased || !slot.idle.is_empty() || has_http2
        });
    }

    /// A request to `endpoint` that began at `since` was slow, and it is not known whether that is the
    /// network: the next one gets a new connection, whose handshake tells, unless one has told since
    /// then. A worker makes at most one each [`ROUND_TRIP_RENEWAL`].
    pub fn doubt(&self, endpoint: &Destination, since: Instant) {
        if let Some(slot) = self.endpoints.borrow().get(endpoint) {
            let mut slot = slot.borrow_mut();
            slot.is_doubted |= slot.round_trip.is_none_or(|(_, at)| at < since);
        }
    }

    /// Those of its destinations that `table` has. All of the table's are looked at, of which there may be
    /// many more, while requests wait: so no set is made of these.
    fn known(&self, table: &Table) -> FxHashSet<Destination> {
        let endpoints = self.endpoints.borrow();
        let all = table.backends().flat_map(|backend| backend.destinations());
        all.filter(|destination| endpoints.contains_key(destination))
            .collect()
    }
}

/// How sure one must be that a connection is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// Only a new connection will do: a kept one has just failed.
    New,
    /// What the event loop knows is enough: the request can be repeated.
    Known,
    /// Ask the kernel too (one more system call): the request cannot be repeated.
    Checked,
}

impl Slot {
    fn take_idle(&mut self, freshness: Freshness) -> Option<Idle> {
        if freshness == Freshness::New {
            return None;
        }
        while let Some(idle) = self.idle.pop() {
            let stream = &idle.stream.0;
            let is_open =
                stream.is_quiet() && (freshness == Freshness::Known || !stream.has_input());
            if is_open {
                stream.is_busy.set(true);
                return Some(idle);
            }
        }
        None
    }
}

/// One request's hold on an endpoint, with a connection once there is one.
pub struct Lease {
    /// The connection; taken out while it is in use.
    pub stream: Option<Rc<Shared>>,
    /// Whether the connection has served a request before.
    pub is_reused: bool,
    /// Whether it was not there at once.
    pub has_waited: bool,
    /// The connection's count, where its backend bounds them.
    pub counted: Option<Counted>,
    endpoint: Destination,
    slot: Rc<RefCell<Slot>>,
    pool: Rc<Pool>,
}

impl Lease {
    /// A connection that is there: a kept one, or one that others use, too.
    #[must_use]
    pub fn at_hand(&mut self) -> Option<Connection> {
        if let Some(stream) = self.stream.take() {
            return Some(Connection::Http1(stream));
        }
        let seat = self.channels()?.seat()?;
        Some(self.take(seat))
    }

    /// A connection that is not there yet. Notes its steps, as far as the request has waited for them,
    /// and in `live` whether it had to wait for its turn.
    ///
    /// # Errors
    /// [`ConnectError`]; nothing was sent, so another attempt is safe.
    ///
    /// # Cancel safety
    /// A dropped call closes a half-made connection that nobody else could use, and leaves others to
    /// who waits for them.
    pub async fn connection(
        &mut self,
        dial: &Dial<'_>,
        steps: &Steps,
        live: &Rc<live::Slot>,
    ) -> Result<Connection, ConnectError> {
        self.has_waited = true;
        let channels = self.channels();
        if let Some(channels) = channels.as_ref().filter(|channels| !channels.are_http1()) {
            let since = Instant::now();
            let told = channels.wait(dial, live).await;
            let now = Instant::now();
            if live.is_queued() && !matches!(told, Told::Failed(_)) {
                live.enter(live::Phase::Connect, now);
            }
            let since = live.turn(since, || now).unwrap_or(since);
            let opening = match &told {
                Told::Seat(_, opening) => opening.as_ref(),
                Told::Http1(_, _, opening) => Some(opening),
                Told::Failed(error) => error.opening.as_ref(),
                Told::Alone => None,
            };
            match opening {
                Some(opening) => steps.follow(&opening.steps, since),
                // Where another request has left a place, there was a connection all the time.
                None => steps.connected.set(Some(since)),
            }
            match told {
                Told::Seat(seat, _) => return Ok(self.take(seat)),
                Told::Http1(stream, counted, _) => {
                    self.counted = counted;
                    return Ok(Connection::Http1(Rc::new(Shared::new(stream))));
                }
                Told::Failed(error) => return Err(error),
                Told::Alone => {}
            }
        }
        self.open(dial, channels, steps).await
    }

    /// Opens a connection for this request; one of HTTP/2 is there for others, too, unless it is for
    /// one client.
    async fn open(
        &mut self,
        dial: &Dial<'_>,
        channels: Option<Rc<Channels>>,
        steps: &Steps,
    ) -> Result<Connection, ConnectError> {
        let counted = dial.count()?;
        self.pool.stats.upstream_connects.add(1);
        let others = channels.as_ref().map_or(Weak::new(), Rc::downgrade);
        let opened = dial.open(self.endpoint, others, counted, steps);
        match opened.await? {
            Opened::Http1(stream, counted) => {
                self.counted = counted;
                Ok(Connection::Http1(Rc::new(Shared::new(stream))))
            }
            Opened::Http2(channel, moving) => {
                let seat = channel.seat().ok_or(Flag::ConnectFailed)?;
                tokio::task::spawn_local(moving.run());
                if let Some(channels) = channels {
                    channels.add(channel, None);
                }
                Ok(self.take(seat))
            }
        }
    }

    fn take(&mut self, seat: Seat) -> Connection {
        self.is_reused = seat.is_reused;
        Connection::Http2(seat)
    }

    /// Where connections are that requests may share.
    fn channels(&self) -> Option<Rc<Channels>> {
        if !self.endpoint.may_be_shared() {
            return None;
        }
        let new = || Channels::new(self.endpoint, Arc::clone(&self.pool.stats));
        let mut slot = self.slot.borrow_mut();
        Some(Rc::clone(slot.channels.get_or_insert_with(new)))
    }

    /// Takes note of how long the handshake of a new connection took.
    pub fn note_round_trip(&self, round_trip_us: Option<u32>, now: Instant) {
        if let Some(us) = round_trip_us {
            self.slot.borrow_mut().round_trip = Some((us, now));
        }
    }

    /// Takes note that something had to be sent again.
    pub fn note_loss(&self, now: Instant) {
        self.slot.borrow_mut().lost = Some(now);
    }

    /// Whether that was so of late.
    pub fn is_lossy(&self, now: Instant) -> bool {
        let lost = self.slot.borrow().lost;
        lost.is_some_and(|at| now.saturating_duration_since(at) < PATH_AGE_MAX)
    }

    /// The network's round trip to the endpoint, if it is known of late.
    pub fn round_trip(&self, now: Instant) -> Option<u32> {
        let (round_trip_us, at) = self.slot.borrow().round_trip?;
        (now.saturating_duration_since(at) < PATH_AGE_MAX).then_some(round_trip_us)
    }

    /// Gives the connection back for the next request. Beyond
    /// [`UPSTREAM_IDLE_CONNECTIONS_MAX`] it is closed instead, and so is one that was made for one
    /// client, and one of the last that its endpoint may have: idle here, it would keep other
    /// workers out.
    pub fn keep(mut self, stream: Rc<Shared>, now: Instant) {
        stream.is_busy.set(false);
        let stream = Farewell(stream);
        let counted = self.counted.take();
        let mut slot = self.slot.borrow_mut();
        if !counted.as_ref().is_some_and(Counted::is_scarce)
            && !self.endpoint.is_for_one_client
            && slot.idle.len() < UPSTREAM_IDLE_CONNECTIONS_MAX
        {
            slot.idle.push(Idle {
                stream,
                counted,
                since: now,
            });
        }
    }
}
