//! Connections to endpoints: taken for one request, kept for the next.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::net::TcpStream;

use super::Counted;
use super::http2::{Channel, Channels, Turn};
use crate::limits::{UPSTREAM_IDLE_CONNECTIONS_MAX, UPSTREAM_IDLE_TIMEOUT};
use crate::stream::Stream;
use crate::table::Table;

/// One worker's upstream connections, by endpoint.
#[derive(Default)]
pub struct Pool {
    endpoints: RefCell<FxHashMap<SocketAddr, Slot>>,
}

#[derive(Default)]
struct Slot {
    in_flight: u32,
    /// The most recently used last: it is taken first, so that the others can grow old and go.
    idle: Vec<Idle>,
    http2: Channels,
}

struct Idle {
    stream: Stream,
    counted: Option<Counted>,
    since: Instant,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// The endpoint has as many as it may have.
    Full,
    /// Not within the backend's connect timeout.
    Timeout,
    /// The kernel's answer: refused, unreachable, no more sockets …
    Io(io::Error),
}

impl Pool {
    /// Requests that this worker has at `endpoint` now.
    #[must_use]
    pub fn in_flight(&self, endpoint: SocketAddr) -> u32 {
        self.endpoints
            .borrow()
            .get(&endpoint)
            .map_or(0, |slot| slot.in_flight)
    }

    /// Counts a request to `endpoint` until the lease is dropped, and tries to get it a connection
    /// that is there already.
    #[must_use]
    pub fn lease(self: &Rc<Self>, endpoint: SocketAddr, freshness: Freshness) -> Lease {
        let mut endpoints = self.endpoints.borrow_mut();
        let slot = endpoints.entry(endpoint).or_default();
        slot.in_flight += 1;
        let (stream, counted) = match slot.take_idle(freshness) {
            Some(idle) => (Some(idle.stream), idle.counted),
            None => (None, None),
        };
        Lease {
            is_reused: stream.is_some(),
            stream,
            counted,
            endpoint,
            pool: Rc::clone(self),
        }
    }

    /// Closes what has been idle for too long, was closed by its endpoint, or leads to an endpoint
    /// that no backend of `table` has any more.
    pub fn sweep(&self, now: Instant, known: Option<&FxHashSet<SocketAddr>>) {
        self.endpoints.borrow_mut().retain(|endpoint, slot| {
            let is_known = known.is_none_or(|known| known.contains(endpoint));
            slot.idle.retain_mut(|idle| {
                is_known
                    && now.duration_since(idle.since) < UPSTREAM_IDLE_TIMEOUT
                    && idle.stream.is_quiet()
            });
            let has_http2 = slot.http2.sweep(now, is_known);
            slot.in_flight > 0 || !slot.idle.is_empty() || has_http2
        });
    }

    /// Every endpoint address of `table`, for [`Pool::sweep`].
    #[must_use]
    pub fn addresses(table: &Table) -> FxHashSet<SocketAddr> {
        table
            .backends()
            .flat_map(|backend| backend.endpoints.iter().map(|e| e.address))
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
        while let Some(mut idle) = self.idle.pop() {
            let is_open = idle.stream.is_quiet()
                && (freshness == Freshness::Known || !idle.stream.has_input());
            if is_open {
                return Some(idle);
            }
        }
        None
    }
}

/// One request's hold on an endpoint: counted in flight, with a connection once there is one.
pub struct Lease {
    /// The connection; taken out while it is in use.
    pub stream: Option<Stream>,
    /// Whether the connection has served a request before.
    pub is_reused: bool,
    /// The connection's count, where its backend bounds them.
    pub counted: Option<Counted>,
    endpoint: SocketAddr,
    pool: Rc<Pool>,
}

impl Lease {
    /// Opens a connection.
    ///
    /// # Errors
    /// [`ConnectError`]; nothing was sent, so another attempt is safe.
    ///
    /// # Cancel safety
    /// A dropped call closes the half-open socket.
    pub async fn connect(&self, timeout: Duration) -> Result<Stream, ConnectError> {
        let connecting = tokio::time::timeout(timeout, TcpStream::connect(self.endpoint));
        let stream = connecting
            .await
            .map_err(|_| ConnectError::Timeout)?
            .map_err(ConnectError::Io)?;
        stream.set_nodelay(true).map_err(ConnectError::Io)?;
        Ok(Stream::Plain(stream))
    }

    /// A connection of HTTP/2 with room for a request: one that is there, or a new one, which
    /// `count` allows.
    ///
    /// # Errors
    /// [`ConnectError`]; nothing was sent, so another attempt is safe.
    ///
    /// # Cancel safety
    /// A dropped call lets the next one that waits open the connection.
    pub async fn channel(
        &mut self,
        timeout: Duration,
        count: &dyn Fn() -> Result<Option<Counted>, ConnectError>,
    ) -> Result<Channel, ConnectError> {
        let getting = tokio::time::timeout(timeout, self.get_channel(timeout, count));
        getting.await.map_err(|_| ConnectError::Timeout)?
    }

    async fn get_channel(
        &mut self,
        timeout: Duration,
        count: &dyn Fn() -> Result<Option<Counted>, ConnectError>,
    ) -> Result<Channel, ConnectError> {
        loop {
            let turn = self.with_channels(Channels::turn);
            match turn {
                Some(Turn::Use(channel)) => {
                    self.is_reused = true;
                    return Ok(channel);
                }
                Some(Turn::Wait(opening)) => opening.notified().await,
                Some(Turn::Open) => {
                    let opening = Opening(self);
                    let counted = count()?;
                    let stream = opening.0.connect(timeout).await?;
                    let channel = Channel::open(stream, counted).await.map_err(|err| {
                        let lost = io::Error::from(io::ErrorKind::ConnectionReset);
                        ConnectError::Io(err.into_io().unwrap_or(lost))
                    })?;
                    opening
                        .0
                        .with_channels(|channels| channels.opened(Some(channel.clone())));
                    return Ok(channel);
                }
                None => return Err(ConnectError::Timeout),
            }
        }
    }

    /// The endpoint's channels; they are there as long as a lease is.
    fn with_channels<T>(&self, work: impl FnOnce(&mut Channels) -> T) -> Option<T> {
        let mut endpoints = self.pool.endpoints.borrow_mut();
        endpoints
            .get_mut(&self.endpoint)
            .map(|slot| work(&mut slot.http2))
    }

    /// Gives the connection back for the next request. Beyond
    /// [`UPSTREAM_IDLE_CONNECTIONS_MAX`] it is closed instead, and so is one of the last that its
    /// endpoint may have: idle here, it would keep other workers out.
    pub fn keep(mut self, stream: Stream, now: Instant) {
        let counted = self.counted.take();
        if counted.as_ref().is_some_and(Counted::is_scarce) {
            return;
        }
        let mut endpoints = self.pool.endpoints.borrow_mut();
        if let Some(slot) = endpoints.get_mut(&self.endpoint)
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

/// A connection that is being opened; dropped before it is there, the next one may try.
struct Opening<'a>(&'a Lease);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.with_channels(|channels| channels.opened(None));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(slot) = self.pool.endpoints.borrow_mut().get_mut(&self.endpoint) {
            slot.in_flight -= 1;
        }
    }
}
