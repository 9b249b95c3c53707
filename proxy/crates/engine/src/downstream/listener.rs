//! Listening sockets: one per worker and address, the kernel spreads connections over them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::Rc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::serve;
use crate::limits::{ACCEPT_PAUSE, LISTEN_BACKLOG};
use crate::table::KernelTimestamps;
use crate::worker::Worker;

/// Opens listening sockets on `address`, `count` or more, one per worker: all of them or none.
/// Those of `adopted` come first; they are open already, and none of them is left out, since
/// connections may wait in each.
///
/// # Errors
/// What the kernel says, most often that the address is in use or not ours.
pub fn open(
    address: SocketAddr,
    count: usize,
    adopted: Vec<std::net::TcpListener>,
) -> io::Result<Vec<std::net::TcpListener>> {
    if adopted.is_empty() {
        // With SO_REUSEPORT alone, another process of the same user that has it too would share
        // the address: a second Spanway started by mistake would get a part of the connections.
        drop(bound(address, Sharing::Refused)?);
    }
    let mut sockets = adopted;
    while sockets.len() < count {
        let socket = match (listening(address), sockets.first()) {
            (Ok(socket), _) => socket,
            // An address that may not be bound any more, as :80 without the privilege for it, is
            // shared by several workers.
            (Err(_), Some(shared)) => shared.try_clone()?,
            (Err(err), None) => return Err(err),
        };
        sockets.push(socket);
    }
    Ok(sockets)
}

fn listening(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = bound(address, Sharing::Allowed)?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket.into())
}

/// Whether an address may be that of other listening sockets, too.
#[derive(Clone, Copy, PartialEq)]
enum Sharing {
    Allowed,
    Refused,
}

fn bound(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // `[::]:80` and `0.0.0.0:80` are two listeners, as they are two addresses in the table.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::Allowed)?;
    // Accepted sockets inherit it: one system call less per connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Accepts connections and serves each in a task of its own, until this task is aborted.
pub async fn accept(worker: Rc<Worker>, listener: Rc<TcpListener>, address: SocketAddr) {
    if worker.table().tracing.kernel_timestamps != KernelTimestamps::Off {
        // Before the first connection, so that the kernel has begun with it by then. Where it refuses,
        // connections say so.
        drop(spanway_kernel::note_arrivals(listener.as_fd()));
    }
    loop {
        if worker.is_crowded() {
            if worker.make_room() {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            continue;
        }
        match listener.accept().await {
            Ok((stream, peer)) => serve_accepted(&worker, stream, peer, address),
            Err(err) if is_about_one_connection(&err) => {}
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Serves a connection that was accepted on `address` in a task of its own.
pub fn serve_accepted(
    worker: &Rc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    address: SocketAddr,
) {
    worker.spawn_connection(|registered| serve(registered, stream, peer, address));
}

/// Errors of `accept` that belong to the connection that was to be accepted.
/// Source: accept(2), "Error handling".
fn is_about_one_connection(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
