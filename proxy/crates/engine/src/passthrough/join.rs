//! Two connections made one: what comes from either is sent to the other, as it is.
//!
//! Each direction ends by itself: an end of stream is passed on, and the other direction goes on.
//! A connection on which nothing moves holds no buffer. A slow receiver is waited for, and its
//! sender is not read meanwhile.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::instant::Instant;
use crate::limits::JOIN_READ_BYTES;
use crate::live::Slot;
use crate::timer::Timer;

/// One of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Client,
    Endpoint,
}

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parted {
    /// Both sides have said that they are done, or one has and takes no more.
    Done,
    /// The connection of one was lost.
    Lost(Side),
    /// Nothing moved for too long.
    Idle,
}

/// Joins two connections until both directions have ended, one connection is lost, or nothing has
/// moved for `idle`. The bytes moved are counted in `live`.
///
/// # Cancel safety
/// A dropped call loses what was read and not yet sent: both connections must be closed.
pub async fn join(
    client: &TcpStream,
    endpoint: &TcpStream,
    timer: &mut Timer,
    idle: Duration,
    live: &Slot,
) -> Parted {
    timer.set(Instant::now() + idle);
    let (deadline, mut expiry) = timer.parts();
    let extend = || deadline.set(Instant::now() + idle);
    let mut up = Way::new((client, Side::Client), (endpoint, Side::Endpoint));
    let mut down = Way::new((endpoint, Side::Endpoint), (client, Side::Client));
    poll_fn(|context| {
        let is_up_done = up.poll(context, &live.received, &extend);
        let is_down_done = down.poll(context, &live.sent, &extend);
        match (is_up_done, is_down_done) {
            (Poll::Ready(Err(lost)), _) | (_, Poll::Ready(Err(lost))) => {
                let way_from = match lost {
                    Side::Client => &up,
                    Side::Endpoint => &down,
                };
                // Who was done with sending may be done with receiving, too.
                Poll::Ready(if way_from.has_ended {
                    Parted::Done
                } else {
                    Parted::Lost(lost)
                })
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Parted::Done),
            _ => expiry.poll(context).map(|()| Parted::Idle),
        }
    })
    .await
}

/// One direction.
struct Way<'a> {
    from: (&'a TcpStream, Side),
    to: (&'a TcpStream, Side),
    /// Read, and not yet taken by the receiver.
    held: Vec<u8>,
    /// The sender is done.
    has_ended: bool,
    /// The receiver knows that, too.
    is_done: bool,
}

impl<'a> Way<'a> {
    fn new(from: (&'a TcpStream, Side), to: (&'a TcpStream, Side)) -> Self {
        Self {
            from,
            to,
            held: Vec::new(),
            has_ended: false,
            is_done: false,
        }
    }

    /// Moves what can be moved; ready when the direction has ended, or with the side that is lost.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        moved: &Cell<u64>,
        extend: &impl Fn(),
    ) -> Poll<Result<(), Side>> {
        while !self.is_done {
            let sent = ready!(self.poll_send(context)).map_err(|_| self.to.1)?;
            if self.has_ended {
                // Fails if the receiver has left by itself: then there is nobody to tell.
                let _ = SockRef::from(self.to.0).shutdown(Shutdown::Write);
                self.is_done = true;
                extend();
                break;
            }
            let read = ready!(self.poll_receive(context)).map_err(|_| self.from.1)?;
            self.has_ended = read == 0;
            moved.set(moved.get() + read as u64);
            if sent + read > 0 {
                extend();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends all that is held.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut sent = 0;
        while !self.held.is_empty() {
            ready!(self.to.0.poll_write_ready(context))?;
            let written = written(self.to.0.try_write(&self.held))?;
            self.held.drain(..written);
            sent += written;
        }
        self.held = Vec::new();
        Poll::Ready(Ok(sent))
    }

    /// Reads once, and sends of it what the receiver takes at once; 0 at the end of the stream.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [0; JOIN_READ_BYTES];
        loop {
            ready!(self.from.0.poll_read_ready(context))?;
            let read = match self.from.0.try_read(&mut bytes) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => continue,
                read => read?,
            };
            // An error of the receiver shows again when the rest is sent.
            let sent = written(self.to.0.try_write(&bytes[..read])).unwrap_or(0);
            self.held.extend_from_slice(&bytes[sent..read]);
            return Poll::Ready(Ok(read));
        }
    }
}

/// How much a receiver took, if it may take more later.
fn written(tried: io::Result<usize>) -> io::Result<usize> {
    match tried {
        Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(0),
        tried => tried,
    }
}
