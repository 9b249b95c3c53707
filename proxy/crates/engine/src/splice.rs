//! Bytes that go from one socket to another without passing through our memory: the kernel moves
//! their pages into a pipe, and from there to the other socket.
//!
//! What is moved so is not looked at. It costs two system calls for up to [`PIPE_BYTES`], and half of
//! what copying costs from some hundred KiB on.
//!
//! Source: splice(2).

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use crate::limits::{PIPE_BYTES, PIPES_MAX, SPARE_PIPES_MAX};

/// A pipe of this thread's, empty when it is taken. One that is dropped with bytes in it is closed.
pub struct Pipe {
    /// `None` once it was given back.
    ends: Option<Ends>,
    held: usize,
}

struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// Those of a thread: each of them runs one worker.
#[derive(Default)]
struct Pipes {
    spare: Vec<Ends>,
    taken: usize,
}

thread_local! {
    static PIPES: RefCell<Pipes> = RefCell::default();
}

impl Pipe {
    /// `None` where there are too many, or no more file descriptors.
    pub fn take() -> Option<Self> {
        PIPES.with_borrow_mut(|pipes| {
            if pipes.taken >= PIPES_MAX {
                return None;
            }
            let ends = match pipes.spare.pop() {
                Some(ends) => ends,
                None => Ends::open().ok()?,
            };
            pipes.taken += 1;
            Some(Self {
                ends: Some(ends),
                held: 0,
            })
        })
    }

    /// How many bytes are in it.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves up to `bytes` from a socket into the empty pipe. Returns how many, 0 at the end of the stream.
    ///
    /// # Errors
    /// Those of splice(2); `WouldBlock` says that the socket has none, since the pipe is not full.
    pub fn fill(&mut self, socket: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
        debug_assert_eq!(self.held, 0, "a full pipe and an empty socket look alike");
        let moved = splice(socket, None, self.ends()?.write.as_fd(), None, bytes, FLAGS)?;
        self.held = moved;
        Ok(moved)
    }

    /// Moves what is in it to a socket. Returns how much.
    ///
    /// # Errors
    /// Those of splice(2); `WouldBlock` says that the socket takes none.
    pub fn pour(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let moved = splice(
            self.ends()?.read.as_fd(),
            None,
            socket,
            None,
            self.held,
            FLAGS,
        )?;
        self.held -= moved;
        Ok(moved)
    }

    fn ends(&self) -> io::Result<&Ends> {
        self.ends.as_ref().ok_or(io::ErrorKind::BrokenPipe.into())
    }
}

/// Neither waits for the sockets, which do not block, nor for the pipe.
const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

impl Drop for Pipe {
    fn drop(&mut self) {
        let ends = self.ends.take().filter(|_| self.held == 0);
        // A thread that ends has closed its own already.
        let _ = PIPES.try_with(|pipes| {
            let mut pipes = pipes.borrow_mut();
            pipes.taken -= 1;
            if pipes.spare.len() < SPARE_PIPES_MAX {
                pipes.spare.extend(ends);
            }
        });
    }
}

impl Ends {
    fn open() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused beyond what one user may have of such; it is then one of 64 KiB.
        let _ = fcntl_setpipe_size(&write, PIPE_BYTES);
        Ok(Self { read, write })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        (client, server)
    }

    #[test]
    fn bytes_go_from_one_socket_to_the_other() {
        let (mut client, ours) = connected();
        let (to_endpoint, mut endpoint) = connected();
        client.write_all(b"hello").unwrap();
        let mut pipe = Pipe::take().unwrap();

        assert_eq!(pipe.fill(ours.as_fd(), 4).unwrap(), 4);
        assert_eq!(pipe.pour(to_endpoint.as_fd()).unwrap(), 4);

        let mut received = [0; 4];
        endpoint.read_exact(&mut received).unwrap();
        assert_eq!((&received, pipe.held()), (b"hell", 0));
    }

    #[test]
    fn a_pipe_with_bytes_in_it_is_nobodys_next_one() {
        let (mut client, ours) = connected();
        let (to_endpoint, endpoint) = connected();
        client.write_all(b"of another").unwrap();
        let mut pipe = Pipe::take().unwrap();
        assert_eq!(pipe.fill(ours.as_fd(), 10).unwrap(), 10);
        drop(pipe);

        client.write_all(b"own").unwrap();
        let mut pipe = Pipe::take().unwrap();
        assert_eq!(pipe.fill(ours.as_fd(), 10).unwrap(), 3);
        assert_eq!(pipe.pour(to_endpoint.as_fd()).unwrap(), 3);
        drop(to_endpoint);

        let mut received = String::new();
        (&endpoint).read_to_string(&mut received).unwrap();
        assert_eq!(received, "own");
    }

    #[test]
    fn a_worker_has_so_many_pipes_and_no_more() {
        let pipes: Vec<_> = std::iter::from_fn(Pipe::take).collect();
        assert_eq!(pipes.len(), PIPES_MAX);
        drop(pipes);
        assert!(Pipe::take().is_some());
        PIPES.with_borrow(|pipes| assert_eq!(pipes.spare.len(), SPARE_PIPES_MAX));
    }
}
