//! The system calls, and the control messages that go with them.
//!
//! Rules: every pointer that is passed is to a value that lives for the call, with its length;
//! control messages are made and read as bytes, in the alignment that the kernel gives them. What
//! every request calls is called directly: libc's functions for it are points where a thread may be
//! cancelled, and each call of one costs two locked instructions.

#![expect(
    unsafe_code,
    reason = "system calls for which there is no safe wrapper"
)]

use std::io::{self, IoSlice};
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

use bytes::BufMut;

use crate::{Acknowledgement, SinceEpoch, Statistics};

/// Arrivals alone.
pub const ARRIVALS: u32 = libc::SOF_TIMESTAMPING_SOFTWARE | libc::SOF_TIMESTAMPING_RX_SOFTWARE;
/// Timestamps are made by software and reported; sent bytes are numbered from now on; what comes
/// back of a sent message is its timestamp with the connection's statistics, not the message.
pub const ALL: u32 = ARRIVALS
    | libc::SOF_TIMESTAMPING_OPT_ID
    | libc::SOF_TIMESTAMPING_OPT_ID_TCP
    | libc::SOF_TIMESTAMPING_OPT_TSONLY
    | libc::SOF_TIMESTAMPING_OPT_STATS;
/// `SOF_TIMESTAMPING_TX_ACK`: of a message that is sent, when all of it was acknowledged.
const ACKNOWLEDGED: u32 = libc::SOF_TIMESTAMPING_TX_ACK;

/// A control message that is a number of 32 bits.
const NUMBER_BYTES: usize = cmsg_space(size_of::<u32>());
/// A timestamp: three `timespec`s, of which the first is used.
const TIMESTAMP_BYTES: usize = cmsg_space(3 * size_of::<libc::timespec>());
/// A timestamp, an error with an address behind it, statistics: 256 bytes in Linux 6.18, and some
/// room for what later kernels add. What does not fit is cut off by the kernel.
const ENTRY_BYTES: usize = TIMESTAMP_BYTES + cmsg_space(64) + cmsg_space(384);

/// `CMSG_SPACE`, as a constant.
const fn cmsg_space(bytes: usize) -> usize {
    size_of::<libc::cmsghdr>() + bytes.next_multiple_of(size_of::<usize>())
}

/// A buffer for control messages, aligned as their headers are.
#[repr(C, align(8))]
struct Control<const N: usize>([u8; N]);

#[derive(Clone, Copy)]
pub enum Stamp {
    None,
    Acknowledged,
}

pub fn set_timestamping(socket: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    // SAFETY: the pointer is to a `u32` that outlives the call, and the length is its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPING,
            ptr::from_ref(&flags).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    checked(result as isize).map(drop)
}

pub fn send(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>], stamp: Stamp) -> io::Result<usize> {
    let mut control = Control([0; NUMBER_BYTES]);
    let mut message = empty_message();
    // The kernel does not write to what is sent. `IoSlice` is an `iovec`, by its documentation.
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len() as _;
    if matches!(stamp, Stamp::Acknowledged) {
        put_number(&mut control.0, libc::SO_TIMESTAMPING, ACKNOWLEDGED);
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len() as _;
    }
    let (number, socket) = (libc::SYS_sendmsg, socket.as_raw_fd());
    // SAFETY: `message` points to `slices` and `control`, with their lengths; both outlive the call.
    called(unsafe { libc::syscall(number, socket, &raw const message, SEND_FLAGS) })
}

const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

pub fn write(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    const NOWHERE: *const libc::sockaddr = ptr::null();
    let (number, socket) = (libc::SYS_sendto, socket.as_raw_fd());
    let (from, length) = (bytes.as_ptr(), bytes.len());
    // SAFETY: the pointer is to `bytes`, with their length, which outlive the call.
    called(unsafe { libc::syscall(number, socket, from, length, SEND_FLAGS, NOWHERE, 0) })
}

pub fn read(socket: BorrowedFd<'_>, buffer: &mut impl BufMut) -> io::Result<usize> {
    const NOBODY: *mut libc::sockaddr = ptr::null_mut();
    const NOTHING: *mut libc::socklen_t = ptr::null_mut();
    let (number, socket) = (libc::SYS_recvfrom, socket.as_raw_fd());
    let (flags, room) = (libc::MSG_DONTWAIT, buffer.chunk_mut());
    let (to, length) = (room.as_mut_ptr(), room.len());
    // SAFETY: the pointer is to the room of `buffer`, with its length, which outlives the call.
    let received =
        called(unsafe { libc::syscall(number, socket, to, length, flags, NOBODY, NOTHING) })?;
    // SAFETY: the kernel has filled that much of the room, and no more than there is.
    unsafe { buffer.advance_mut(received) };
    Ok(received)
}

pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut impl BufMut,
) -> io::Result<(usize, Option<SinceEpoch>)> {
    let mut control = Control([0; TIMESTAMP_BYTES]);
    let room = buffer.chunk_mut();
    let mut slice = libc::iovec {
        iov_base: room.as_mut_ptr().cast(),
        iov_len: room.len(),
    };
    let mut message = empty_message();
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    // SAFETY: `message` points to the room of `buffer` and to `control`, with their lengths; both
    // outlive the call.
    let received = called(unsafe {
        libc::syscall(
            libc::SYS_recvmsg,
            socket.as_raw_fd(),
            &raw mut message,
            libc::MSG_DONTWAIT,
        )
    })?;
    // SAFETY: the kernel has filled that much of the room, and no more than there is.
    unsafe { buffer.advance_mut(received) };
    let arrived = messages(control.0.get(..message.msg_controllen)).find_map(timestamp);
    Ok((received, arrived))
}

/// One entry of the error queue; `None` if it is no acknowledgement.
pub fn take_error(socket: BorrowedFd<'_>) -> io::Result<Option<Acknowledgement>> {
    let mut control = Control([0; ENTRY_BYTES]);
    let mut message = empty_message();
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: `message` points to `control`, with its length, which outlives the call.
    called(unsafe {
        libc::syscall(
            libc::SYS_recvmsg,
            socket.as_raw_fd(),
            &raw mut message,
            flags,
        )
    })?;
    let (mut at, mut byte, mut statistics) = (None, None, None);
    for message in messages(control.0.get(..message.msg_controllen)) {
        match (message.level, message.kind) {
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPING) => at = timestamp(message),
            (libc::SOL_SOCKET, SCM_TIMESTAMPING_OPT_STATS) => {
                statistics = Some(Statistics::of_attributes(message.value));
            }
            (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR) => {
                byte = acknowledged_byte(message.value);
            }
            _ => {}
        }
    }
    Ok(at.zip(byte).map(|(at, byte)| Acknowledgement {
        at,
        byte,
        statistics,
    }))
}

/// Fills the front of `bytes` with as much of `struct tcp_info` as there is; returns how much.
pub fn tcp_info(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<usize> {
    let mut length = bytes.len() as libc::socklen_t;
    // SAFETY: the pointers are to `bytes` and its length, and outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    checked(result as isize)?;
    Ok(length as usize)
}

/// include/uapi/asm-generic/socket.h; the libc crate does not have it.
const SCM_TIMESTAMPING_OPT_STATS: libc::c_int = 54;

fn empty_message() -> libc::msghdr {
    // SAFETY: all zeroes are a valid `msghdr`: null pointers with lengths of 0.
    unsafe { std::mem::zeroed() }
}

fn called(result: libc::c_long) -> io::Result<usize> {
    checked(result as isize)
}

fn checked(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// A control message as it was received.
#[derive(Clone, Copy)]
struct Message<'a> {
    level: libc::c_int,
    kind: libc::c_int,
    value: &'a [u8],
}

/// The control messages in `bytes`: a length of 8 bytes that counts the header, level and type of 4
/// bytes each, the value, padding to 8.
fn messages(bytes: Option<&[u8]>) -> impl Iterator<Item = Message<'_>> {
    let mut bytes = bytes.unwrap_or_default();
    std::iter::from_fn(move || {
        const HEAD: usize = size_of::<libc::cmsghdr>();
        const WORD: usize = size_of::<usize>();
        let length = usize::from_ne_bytes(*bytes.first_chunk()?);
        let level = i32::from_ne_bytes(*bytes.get(WORD..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*bytes.get(WORD + 4..)?.first_chunk()?);
        let value = bytes.get(HEAD..length)?;
        bytes = bytes
            .get(length.next_multiple_of(WORD)..)
            .unwrap_or_default();
        Some(Message { level, kind, value })
    })
}

/// Writes a control message of `SOL_SOCKET`.
fn put_number(out: &mut [u8; NUMBER_BYTES], kind: libc::c_int, number: u32) {
    const HEAD: usize = size_of::<libc::cmsghdr>();
    const WORD: usize = size_of::<usize>();
    let length = HEAD + size_of::<u32>();
    out[..WORD].copy_from_slice(&length.to_ne_bytes());
    out[WORD..WORD + 4].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
    out[WORD + 4..HEAD].copy_from_slice(&kind.to_ne_bytes());
    out[HEAD..length].copy_from_slice(&number.to_ne_bytes());
}

/// The first `timespec` of `struct scm_timestamping`, which is that of the software.
fn timestamp(message: Message<'_>) -> Option<SinceEpoch> {
    if (message.level, message.kind) != (libc::SOL_SOCKET, libc::SO_TIMESTAMPING) {
        return None;
    }
    let seconds = i64::from_ne_bytes(*message.value.first_chunk()?);
    let nanoseconds = i64::from_ne_bytes(*message.value.get(8..)?.first_chunk()?);
    let at = Duration::new(
        u64::try_from(seconds).ok()?,
        u32::try_from(nanoseconds).ok()?,
    );
    (!at.is_zero()).then_some(at)
}

/// From a `struct sock_extended_err`: errno, origin, type, code, padding, info, data.
fn acknowledged_byte(value: &[u8]) -> Option<u32> {
    let error = u32::from_ne_bytes(*value.first_chunk()?);
    let origin = *value.get(4)?;
    let info = u32::from_ne_bytes(*value.get(8..)?.first_chunk()?);
    let data = u32::from_ne_bytes(*value.get(12..)?.first_chunk()?);
    let is_acknowledgement = error == libc::ENOMSG as u32
        && origin == libc::SO_EE_ORIGIN_TIMESTAMPING
        && info == SCM_TSTAMP_ACK;
    is_acknowledgement.then_some(data)
}

/// include/uapi/linux/errqueue.h.
const SCM_TSTAMP_ACK: u32 = 2;

// The layouts above are those of 64-bit Linux.
const _: () = assert!(size_of::<libc::cmsghdr>() == 16 && size_of::<usize>() == 8);
const _: () = assert!(size_of::<libc::timespec>() == 16);
