//! A connection over loopback, asked about itself.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use spanway_kernel::{
    Acknowledgement, SinceEpoch, acknowledgement, read, receive, send, send_plain, statistics,
    timestamping, write,
};

/// Both ends of a connection; the first one has timestamps.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let theirs = listener.accept().unwrap().0;
    ours.set_nodelay(true).unwrap();
    timestamping(ours.as_fd()).unwrap();
    (ours, theirs)
}

fn now() -> SinceEpoch {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// The next acknowledgement; loopback has it within microseconds.
fn awaited(socket: BorrowedFd<'_>) -> Acknowledgement {
    loop {
        if let Some(found) = acknowledgement(socket).unwrap() {
            return found;
        }
        std::thread::yield_now();
    }
}

#[test]
fn what_is_written_is_read_behind_what_was_read_before_and_then_there_is_nothing() {
    let (ours, theirs) = connection();
    assert_eq!(write(ours.as_fd(), b"more").unwrap(), 4);
    let mut bytes = b"some ".to_vec();
    bytes.reserve(16);
    // Loopback has delivered it by the end of the call.
    assert_eq!(read(theirs.as_fd(), &mut bytes).unwrap(), 4);
    assert_eq!(bytes, b"some more");
    let err = read(theirs.as_fd(), &mut bytes).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WouldBlock);
    drop(ours);
    assert_eq!(read(theirs.as_fd(), &mut bytes).unwrap(), 0);
}

#[test]
fn an_acknowledgement_names_the_last_byte_of_its_message_and_its_time() {
    let (ours, mut theirs) = connection();
    let before = now();
    assert_eq!(
        send(ours.as_fd(), &[IoSlice::new(b"one"), IoSlice::new(b"!")]).unwrap(),
        4
    );
    theirs.read_exact(&mut [0; 4]).unwrap();
    theirs.write_all(b"answer").unwrap();
    let first = awaited(ours.as_fd());
    assert_eq!(first.byte, 3);
    assert!(before <= first.at && first.at <= now());

    send_plain(ours.as_fd(), &[IoSlice::new(b"not asked for")]).unwrap();
    send(ours.as_fd(), &[IoSlice::new(b"two")]).unwrap();
    theirs.read_exact(&mut [0; 16]).unwrap();
    theirs.write_all(b"answer").unwrap();
    assert_eq!(awaited(ours.as_fd()).byte, 3 + 16);
    assert_eq!(acknowledgement(ours.as_fd()).unwrap(), None);
}

#[test]
fn statistics_come_with_an_acknowledgement_and_for_the_asking() {
    let (ours, mut theirs) = connection();
    send(ours.as_fd(), &[IoSlice::new(b"one")]).unwrap();
    theirs.write_all(b"answer").unwrap();
    let told = awaited(ours.as_fd()).statistics.unwrap();
    let asked = statistics(ours.as_fd()).unwrap();
    let is_known = |us: u32| us > 0 && us < 1_000_000;
    assert!(
        told.rtt_min_us.is_some_and(is_known) && is_known(told.rtt_us),
        "{told:?}"
    );
    assert!(
        asked.rtt_min_us.is_some_and(is_known) && is_known(asked.rtt_us),
        "{asked:?}"
    );
    assert_eq!((told.retransmits, asked.retransmits), (0, 0));
}

#[test]
fn what_arrived_has_the_time_of_its_arrival_not_of_its_reading() {
    let (ours, mut theirs) = connection();
    let mut buffer = Vec::with_capacity(64);
    // The first socket of a machine that wants such times turns them on, a little later.
    loop {
        theirs.write_all(b"?").unwrap();
        std::thread::sleep(Duration::from_millis(3));
        let read = now();
        match receive(ours.as_fd(), &mut buffer).unwrap() {
            (_, Some(arrived)) if arrived < read => break,
            _ => {}
        }
    }
    buffer.clear();
    let nothing = receive(ours.as_fd(), &mut buffer).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    let before = now();
    theirs.write_all(b"hello").unwrap();
    // Loopback delivers within the write.
    std::thread::sleep(Duration::from_millis(3));
    let read = now();
    let (received, arrived) = receive(ours.as_fd(), &mut buffer).unwrap();
    let arrived = arrived.unwrap();
    assert_eq!(received, 5);
    assert!(before <= arrived, "it arrived before it was sent");
    assert!(arrived < read, "that is when it was read");
    assert_eq!(buffer, b"hello");
    drop(theirs);
    while receive(ours.as_fd(), &mut buffer).is_err() {
        std::thread::yield_now();
    }
    assert_eq!(receive(ours.as_fd(), &mut buffer).unwrap(), (0, None));
}

#[test]
fn a_socket_without_tcp_has_no_statistics() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(statistics(socket.as_fd()).is_err());
}
