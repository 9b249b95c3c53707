//! What the kernel knows of a TCP connection: when bytes came, when the peer had them, and how the
//! network is.
//!
//! Three system calls, two of which take the place of those that move bytes anyway:
//! [`send`] asks for a timestamp of the acknowledgement of its last byte, [`receive`] also tells
//! when what it read had arrived, and [`acknowledgement`] reads from the socket's error queue.
//! [`read`] and [`write`] move bytes alone.
//!
//! Rules: nothing blocks, nothing is kept, nothing here knows of requests. `unsafe` is in
//! `system.rs` alone.
//!
//! Source: the kernel's Documentation/networking/timestamping.rst.

mod statistics;
mod system;

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use bytes::BufMut;

pub use statistics::Statistics;

/// Since 1970, by the clock that may be set (`CLOCK_REALTIME`): timestamps can be compared with
/// each other and, at the same moment, with that clock.
pub type SinceEpoch = Duration;

/// The peer's kernel has acknowledged all bytes up to one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledgement {
    /// When the acknowledgement came.
    pub at: SinceEpoch,
    /// The last byte of the message, counted from [`timestamping`] on, modulo 2^32.
    pub byte: u32,
    /// The connection at that moment; absent where the kernel does not tell.
    pub statistics: Option<Statistics>,
}

/// Has the kernel note when bytes arrive and count those that are sent. No timestamp of sending is
/// made but those that [`send`] asks for.
///
/// # Errors
/// The kernel refuses: it is older than 6.2, or a sandbox does not let us.
pub fn timestamping(socket: BorrowedFd<'_>) -> io::Result<()> {
    system::set_timestamping(socket, system::ALL)
}

/// Has the kernel note when bytes arrive, on a listening socket and all that it accepts. The first such
/// call on a machine takes effect a moment later.
///
/// # Errors
/// As [`timestamping`].
pub fn note_arrivals(listener: BorrowedFd<'_>) -> io::Result<()> {
    system::set_timestamping(listener, system::ARRIVALS)
}

/// Writes without blocking, and asks for a timestamp of when the peer has acknowledged all of what
/// was written. Returns the bytes written.
///
/// # Errors
/// Those of `sendmsg(2)`.
pub fn send(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    system::send(socket, slices, system::Stamp::Acknowledged)
}

/// Writes without blocking. Returns the bytes written.
///
/// # Errors
/// Those of `sendmsg(2)`.
pub fn send_plain(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    system::send(socket, slices, system::Stamp::None)
}

/// Writes without blocking, from one place. Returns the bytes written.
///
/// # Errors
/// Those of `send(2)`.
pub fn write(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    system::write(socket, bytes)
}

/// Reads once, behind what `buffer` has, without blocking. Returns how many bytes, 0 at the end of
/// the stream.
///
/// # Errors
/// Those of `recv(2)`.
pub fn read(socket: BorrowedFd<'_>, buffer: &mut impl BufMut) -> io::Result<usize> {
    system::read(socket, buffer)
}

/// [`read`], and when the last of what was read had arrived here.
///
/// # Errors
/// Those of `recvmsg(2)`.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut impl BufMut,
) -> io::Result<(usize, Option<SinceEpoch>)> {
    system::receive(socket, buffer)
}

/// Takes the next entry from the socket's error queue; `None` when there is none. An entry that is
/// no acknowledgement is skipped, at most [`ENTRIES_SKIPPED_MAX`] of them.
///
/// # Errors
/// Those of `recvmsg(2)`.
pub fn acknowledgement(socket: BorrowedFd<'_>) -> io::Result<Option<Acknowledgement>> {
    for _ in 0..=ENTRIES_SKIPPED_MAX {
        match system::take_error(socket) {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(err) => return Err(err),
        }
    }
    Ok(None)
}

/// Foreign entries of an error queue that one call skips. Nobody else makes any on a TCP socket
/// (ICMP errors are told otherwise); the bound is against endless loops.
pub const ENTRIES_SKIPPED_MAX: usize = 8;

/// The connection as it is now; fields that an old kernel does not have are 0.
///
/// # Errors
/// Those of `getsockopt(2)`.
pub fn statistics(socket: BorrowedFd<'_>) -> io::Result<Statistics> {
    let mut bytes = [0; statistics::TCP_INFO_BYTES];
    let length = system::tcp_info(socket, &mut bytes)?;
    Ok(Statistics::of_tcp_info(
        bytes.get(..length).unwrap_or_default(),
    ))
}
