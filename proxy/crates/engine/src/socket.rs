//! A TCP socket that can be asked when its bytes came, and when the peer had them.
//!
//! While nothing is asked it is tokio's socket, which itself is asked only whether it is ready. Once
//! [`Socket::observe`] was called, what is written may carry a question for the kernel, whose answer is
//! read from the socket's error queue.
//!
//! **An answer looks like a closed pipe to tokio**: an entry in the error queue raises
//! `EPOLLERR | EPOLLOUT`, which mio 1.2 calls *write closed*, and tokio never takes that back. Its
//! `poll_write` would then be told that the socket is ready again and again while the kernel says
//! that it is full. So an observed socket is written to without asking tokio, and where it is full,
//! [`Observed::poll_send`] waits on a registration of its own that begins with nothing known.

use std::cell::{Cell, OnceCell, RefCell};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::BufMut;
use smallvec::SmallVec;
use spanway_kernel::{SinceEpoch, Statistics};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::instant::Instant;
use crate::limits::{
    CLOCKS_AGE_MAX, DELIVERY_ASKED_BYTES_MIN, DELIVERY_TAIL_BYTES, KERNEL_ANSWERS_MAX,
    LOOK_INTERVAL,
};
use crate::splice::Pipe;
use crate::trace::Net;

/// A connected socket.
pub struct Socket {
    tcp: TcpStream,
    /// In a box of its own: most connections never have one, or are idle.
    observed: OnceCell<Option<Box<Observed>>>,
}

/// What was asked of the kernel, and what it has answered.
#[derive(Default)]
struct Observed {
    /// Bytes since the kernel counts them, modulo 2^32, as it does.
    sent: Cell<u32>,
    /// What is asked about of what is written.
    asking: Cell<Ask>,
    /// How much was written since then without a question.
    unasked: Cell<usize>,
    /// The last byte that was asked about.
    asked: Cell<Option<u32>>,
    /// Whether what is read is to be told the arrival of.
    is_noting: Cell<bool>,
    arrived: Cell<Option<SinceEpoch>>,
    /// The connection, when it was last told.
    known: Cell<Statistics>,
    /// When it was asked for last.
    looked: Cell<Option<Instant>>,
    /// The same socket, where somebody waits until the kernel takes more.
    room: RefCell<Option<TcpStream>>,
}

/// Of which bytes the kernel is asked when the peer has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ask {
    /// Of none.
    #[default]
    Nothing,
    /// Of the last one that is written.
    Last,
    /// Of most of what is written, if that is much: a peer's kernel acknowledges these bytes at once,
    /// since more follow, and holds back the acknowledgement of the last ones.
    Most,
}

/// What became of the bytes that were asked about.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// When the peer's kernel had acknowledged them; `None` if it has not.
    pub acknowledged: Option<Instant>,
    /// The connection at that moment, else now.
    pub now: Statistics,
    /// The connection when it was told before.
    pub before: Statistics,
}

impl From<TcpStream> for Socket {
    fn from(tcp: TcpStream) -> Self {
        Self {
            tcp,
            observed: OnceCell::new(),
        }
    }
}

impl Socket {
    /// Tokio's socket. It must not be waited for to become writable.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Has the kernel observe the connection from now on. Returns whether it does: a sandbox may
    /// refuse. Costs system calls the first time only.
    pub fn observe(&self) -> bool {
        let observed = self.observed.get_or_init(|| {
            let socket = self.tcp.as_fd();
            spanway_kernel::timestamping(socket).ok()?;
            let observed = Box::<Observed>::default();
            observed
                .known
                .set(spanway_kernel::statistics(socket).unwrap_or_default());
            Some(observed)
        });
        observed.is_some()
    }

    /// How long the handshake of an observed connection took that is new; `None` where a part of it had
    /// to be sent again.
    #[must_use]
    pub fn handshake_us(&self) -> Option<u32> {
        self.observed()?.known.get().handshake_us()
    }

    /// The connection as it is at `at`, which is now, against when it was looked at last; within
    /// [`LOOK_INTERVAL`] of that, as it was then.
    #[must_use]
    pub fn look(&self, at: Instant) -> Net {
        let Some(observed) = self.observed() else {
            return Net::default();
        };
        let before = observed.known.get();
        let looked = observed.looked.get();
        let is_due = looked.is_none_or(|it| at.saturating_duration_since(it) >= LOOK_INTERVAL);
        let mut now = before;
        if is_due {
            now = spanway_kernel::statistics(self.tcp.as_fd()).unwrap_or(before);
            observed.known.set(now);
            observed.looked.set(Some(at));
        }
        Net {
            window_us: 0,
            ..Net::between(&before, &now)
        }
    }

    /// Of what that is written from now on the kernel is asked.
    pub fn ask(&self, asking: Ask) {
        if let Some(observed) = self.observed()
            && observed.asking.replace(asking) != asking
        {
            observed.unasked.set(0);
        }
    }

    /// Whether there are bytes that were asked about.
    pub fn has_asked(&self) -> bool {
        self.observed().is_some_and(|it| it.asked.get().is_some())
    }

    /// The answer, if it is there; it is `now`.
    pub fn acknowledged(&self, now: Instant) -> Option<Answer> {
        self.observed()?.acknowledged(self.tcp.as_fd(), now)
    }

    /// The same socket, with a registration of its own, to wait until there is an answer or input.
    ///
    /// # Errors
    /// There are no more file descriptors.
    pub fn again(&self) -> io::Result<TcpStream> {
        again(&self.tcp)
    }

    /// Takes note of when bytes arrive, until [`Socket::arrived`] is called.
    pub fn note_arrivals(&self) {
        if let Some(observed) = self.observed() {
            observed.is_noting.set(true);
            observed.arrived.set(None);
        }
    }

    /// When the last bytes that were read had arrived; it is `now`.
    pub fn arrived(&self, now: Instant) -> Option<Instant> {
        let observed = self.observed()?;
        observed.is_noting.set(false);
        observed.arrived.take().map(|stamp| instant(stamp, now))
    }

    /// Moves up to `bytes` of what has arrived into an empty pipe. Ready with 0: the end of the stream.
    pub fn poll_fill(
        &self,
        context: &mut Context<'_>,
        pipe: &mut Pipe,
        bytes: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.tcp.poll_read_ready(context))?;
            let fill = || pipe.fill(self.tcp.as_fd(), bytes);
            match self.tcp.try_io(Interest::READABLE, fill) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                moved => return Poll::Ready(moved),
            }
        }
    }

    /// Sends what is in a pipe; ready when some of it was taken. Nothing is asked about it.
    pub fn poll_pour(&self, context: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        let mut pour = || pipe.pour(self.tcp.as_fd());
        if let Some(observed) = self.observed() {
            return observed.poll_send(&self.tcp, context, || {
                let moved = pour()?;
                observed.count(moved, false);
                Ok(moved)
            });
        }
        loop {
            ready!(self.tcp.poll_write_ready(context))?;
            match self.tcp.try_io(Interest::WRITABLE, &mut pour) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                moved => return Poll::Ready(moved),
            }
        }
    }

    /// Reads once, behind what `buffer` has; `WouldBlock` where nothing has come.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn try_read(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        let (socket, room) = (self.tcp.as_fd(), buffer.chunk_mut().len());
        self.try_move(Interest::READABLE, room, || match self.observed() {
            Some(observed) if observed.is_noting.get() => {
                let (received, arrived) = spanway_kernel::receive(socket, buffer)?;
                if arrived.is_some() {
                    observed.arrived.set(arrived);
                }
                Ok(received)
            }
            _ => spanway_kernel::read(socket, buffer),
        })
    }

    /// Does what moves up to `wanted` bytes, unless it is known that nothing can be moved. Where fewer
    /// were, that is so for now: tokio is told, and does not try again in vain.
    fn try_move(
        &self,
        interest: Interest,
        wanted: usize,
        work: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut moved = None;
        let all = self.tcp.try_io(interest, || match work()? {
            part if (1..wanted).contains(&part) => {
                moved = Some(part);
                Err(io::ErrorKind::WouldBlock.into())
            }
            all => Ok(all),
        });
        moved.map_or(all, Ok)
    }

    /// What became of the last bytes that were asked about; `None` if none were. It is `now`.
    pub fn answer(&self, now: Instant) -> Option<Answer> {
        let observed = self.observed()?;
        observed.answer(self.tcp.as_fd(), now)
    }

    fn observed(&self) -> Option<&Observed> {
        self.observed.get()?.as_deref()
    }
}

impl Observed {
    fn answer(&self, socket: BorrowedFd<'_>, at: Instant) -> Option<Answer> {
        if let Some(answer) = self.acknowledged(socket, at) {
            return Some(answer);
        }
        self.asked.take()?;
        let before = self.known.get();
        let now = spanway_kernel::statistics(socket).unwrap_or(before);
        self.known.set(now);
        Some(Answer {
            acknowledged: None,
            now,
            before,
        })
    }

    fn acknowledged(&self, socket: BorrowedFd<'_>, at: Instant) -> Option<Answer> {
        let asked = self.asked.get()?;
        let before = self.known.get();
        for _ in 0..KERNEL_ANSWERS_MAX {
            let told = spanway_kernel::acknowledgement(socket).ok().flatten()?;
            if told.byte == asked {
                let now = told.statistics.unwrap_or(before);
                self.known.set(now);
                self.asked.set(None);
                return Some(Answer {
                    acknowledged: Some(instant(told.at, at)),
                    now,
                    before,
                });
            }
        }
        None
    }

    /// As `poll_write_vectored`, by what `write` does.
    fn poll_send(
        &self,
        tcp: &TcpStream,
        context: &mut Context<'_>,
        mut write: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let mut room = self.room.borrow_mut();
        loop {
            if let Some(room) = &*room {
                // What it is ready for is seen by trying: an answer wakes it up, too.
                ready!(room.poll_write_ready(context))?;
            }
            *room = None;
            match write() {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    // An answer that nobody takes would wake us up at once, for ever.
                    drain(tcp.as_fd());
                    *room = Some(again(tcp)?);
                }
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn send(&self, socket: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let (sent, is_asked) = match self.asking.get() {
            Ask::Last => (spanway_kernel::send(socket, slices)?, true),
            Ask::Most
                if bytes > DELIVERY_TAIL_BYTES
                    && self.unasked.get() + bytes >= DELIVERY_ASKED_BYTES_MIN =>
            {
                let most = first_bytes(slices, bytes - DELIVERY_TAIL_BYTES);
                (spanway_kernel::send(socket, &most)?, true)
            }
            _ => (spanway_kernel::send_plain(socket, slices)?, false),
        };
        self.count(sent, is_asked);
        Ok(sent)
    }

    fn count(&self, sent: usize, is_asked: bool) {
        self.sent.set(self.sent.get().wrapping_add(sent as u32));
        if is_asked {
            self.asked.set(Some(self.sent.get().wrapping_sub(1)));
        } else {
            self.unasked.set(self.unasked.get() + sent);
        }
    }
}

fn again(tcp: &TcpStream) -> io::Result<TcpStream> {
    let same = std::net::TcpStream::from(tcp.as_fd().try_clone_to_owned()?);
    TcpStream::from_std(same)
}

/// The first `bytes` of them.
fn first_bytes<'a>(slices: &'a [IoSlice<'_>], mut bytes: usize) -> SmallVec<[IoSlice<'a>; 2]> {
    let parts = slices.iter().map(|slice| {
        let part = slice.len().min(bytes);
        bytes -= part;
        IoSlice::new(slice.get(..part).unwrap_or_default())
    });
    parts.collect()
}

thread_local! {
    /// A moment on our clock and on the kernel's stamps'.
    static CLOCKS: Cell<Option<(Instant, SinceEpoch)>> = const { Cell::new(None) };
}

/// A time of the kernel's on our clock, on which it is `now`. If the other clock was set meanwhile it is
/// wrong, and whoever compares it has to clamp it. Both clocks are read anew after [`CLOCKS_AGE_MAX`] only.
fn instant(stamp: SinceEpoch, now: Instant) -> Instant {
    let known = CLOCKS.get();
    let known = known.filter(|(at, _)| now.saturating_duration_since(*at) < CLOCKS_AGE_MAX);
    let (at, wall) = known.unwrap_or_else(|| {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let both = (Instant::now(), wall.unwrap_or_default());
        CLOCKS.set(Some(both));
        both
    });
    at + stamp.saturating_sub(wall) - wall.saturating_sub(stamp)
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.tcp.poll_read_ready(context))?;
            match self.try_read(buffer) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        match socket.observed.get() {
            Some(Some(observed)) => {
                let slices = [IoSlice::new(bytes)];
                observed.poll_send(&socket.tcp, context, || {
                    observed.send(socket.tcp.as_fd(), &slices)
                })
            }
            _ => loop {
                let write = || spanway_kernel::write(socket.tcp.as_fd(), bytes);
                match socket.try_move(Interest::WRITABLE, bytes.len(), write) {
                    Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                        ready!(socket.tcp.poll_write_ready(context))?;
                    }
                    written => return Poll::Ready(written),
                }
            },
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        match socket.observed.get() {
            Some(Some(observed)) => observed.poll_send(&socket.tcp, context, || {
                observed.send(socket.tcp.as_fd(), slices)
            }),
            _ => Pin::new(&mut socket.tcp).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(context)
    }

    /// The same for an observed socket: tokio ends its sending without waiting for anything.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(context)
    }
}

/// Throws away the answers that are there: who is still sending is asked about again.
fn drain(socket: BorrowedFd<'_>) {
    for _ in 0..KERNEL_ANSWERS_MAX {
        let told = spanway_kernel::acknowledgement(socket);
        if !matches!(told, Ok(Some(_))) {
            return;
        }
    }
}
