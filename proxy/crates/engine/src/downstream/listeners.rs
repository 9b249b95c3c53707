//! The listening sockets of one worker: taken into use, handed to another process, closed.

use std::io;
use std::net::{self, SocketAddr};
use std::rc::Rc;
use std::sync::mpsc::Sender;

use rustc_hash::FxHashMap;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::listener::{accept, serve_accepted};
use crate::limits::LISTEN_BACKLOG;
use crate::worker::Worker;

/// See the module. Several sockets may have one address: a process before had more workers.
pub struct Listeners {
    worker: Rc<Worker>,
    open: FxHashMap<SocketAddr, Vec<Listening>>,
}

struct Listening {
    socket: Rc<TcpListener>,
    accepting: JoinHandle<()>,
}

impl Listeners {
    /// None yet; connections will be those of `worker`.
    pub fn new(worker: Rc<Worker>) -> Self {
        Self {
            worker,
            open: FxHashMap::default(),
        }
    }

    /// Accepts on `socket`, which is bound to `address`.
    pub fn add(&mut self, address: SocketAddr, socket: net::TcpListener) {
        let Ok(socket) = TcpListener::from_std(socket) else {
            return;
        };
        let socket = Rc::new(socket);
        let accepting = accept(Rc::clone(&self.worker), Rc::clone(&socket), address);
        let accepting = tokio::task::spawn_local(accepting);
        let listening = Listening { socket, accepting };
        self.open.entry(address).or_default().push(listening);
    }

    /// Closes the sockets of `address`. Connections that wait in them are reset: the table has no
    /// listener for them any more.
    pub async fn close(&mut self, address: SocketAddr) {
        for listening in self.open.remove(&address).into_iter().flatten() {
            listening.stop().await;
        }
    }

    /// Sends a duplicate of each socket, as far as there are file descriptors.
    pub fn duplicate(&self, to: &Sender<(SocketAddr, net::TcpListener)>) {
        for (address, listening) in &self.open {
            for one in listening {
                if let Ok(duplicate) = SockRef::from(&*one.socket).try_clone() {
                    drop(to.send((*address, duplicate.into())));
                }
            }
        }
    }

    /// Closes all sockets, once the connections that wait in them are accepted: closing would
    /// reset them, and their clients take them for established.
    pub async fn close_all(&mut self) {
        for (address, listening) in self.open.drain() {
            for one in listening {
                if let Some(socket) = one.stop().await {
                    drop(accept_waiting(&self.worker, &socket, address));
                }
            }
        }
    }
}

impl Listening {
    /// Ends accepting; the socket, if the event loop gives it back.
    async fn stop(self) -> Option<net::TcpListener> {
        self.accepting.abort();
        // The task holds the socket, too; that it was aborted is no news.
        drop(self.accepting.await);
        Rc::into_inner(self.socket)?.into_std().ok()
    }
}

/// Serves what waits in the kernel, also what the event loop was not told of yet; at most a whole
/// backlog, since more may arrive without end.
fn accept_waiting(
    worker: &Rc<Worker>,
    socket: &net::TcpListener,
    address: SocketAddr,
) -> io::Result<()> {
    for _ in 0..LISTEN_BACKLOG {
        let (stream, peer) = socket.accept()?;
        stream.set_nonblocking(true)?;
        serve_accepted(worker, TcpStream::from_std(stream)?, peer, address);
    }
    Ok(())
}
