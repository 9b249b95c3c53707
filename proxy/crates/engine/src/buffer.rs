//! Bytes read from a socket and not yet used: the front is consumed, the back is filled.
//!
//! A buffer has memory only while it holds bytes, and takes what another one of its thread gave back
//! last, which the processor's cache still has: many connections need no more of it than hold bytes at
//! the same time.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, ready};
use std::{io, mem};

use crate::limits::{READ_BUFFER_BYTES, SPARE_READ_BUFFERS_MAX};
use crate::stream::Shared;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A read buffer of up to [`READ_BUFFER_BYTES`].
#[derive(Default)]
pub struct Buffer {
    /// Without capacity while nothing is unread.
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// The bytes that were read and not yet consumed.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Whether nothing is waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Whether a read could not add anything: [`READ_BUFFER_BYTES`] are waiting.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.unread().len() >= READ_BUFFER_BYTES
    }

    /// Drops the first `count` unread bytes.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(
            self.start <= self.bytes.len(),
            "consumed what was never read"
        );
        if self.is_empty() {
            self.reset();
        }
    }

    /// Reads once; returns the number of bytes added, 0 at the end of the stream.
    ///
    /// # Errors
    /// What the socket said; [`io::ErrorKind::StorageFull`] when the buffer is full, since a read
    /// into nothing would look like the end of the stream.
    ///
    /// # Cancel safety
    /// A dropped call leaves the buffer as it was.
    pub async fn fill(&mut self, stream: &Shared) -> io::Result<usize> {
        if self.is_full() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        poll_fn(|context| {
            loop {
                ready!(stream.poll_read_ready(context))?;
                self.make_room();
                let read = stream.poll_read_into(context, &mut self.bytes);
                if self.is_empty() {
                    self.reset();
                }
                match read {
                    Poll::Ready(Err(err)) if err.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
            }
        })
        .await
    }

    /// Leaves room behind the unread bytes, moving them to the front if there is none.
    fn make_room(&mut self) {
        if self.bytes.capacity() == 0 {
            let spare = SPARE.with_borrow_mut(Vec::pop);
            self.bytes = spare.unwrap_or_else(|| Vec::with_capacity(READ_BUFFER_BYTES));
        } else if self.bytes.len() == self.bytes.capacity() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Forgets everything, and gives the memory to the next one.
    pub fn reset(&mut self) {
        self.start = 0;
        let mut bytes = mem::take(&mut self.bytes);
        if bytes.capacity() > 0 {
            bytes.clear();
            // A thread that ends has dropped its own already.
            let _ = SPARE.try_with(|spare| {
                let mut spare = spare.borrow_mut();
                if spare.len() < SPARE_READ_BUFFERS_MAX {
                    spare.push(bytes);
                }
            });
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.reset();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;
    use crate::stream::Stream;

    /// Runs `work` with a connection on which `sent` comes, and then its end.
    fn with<T>(sent: &[u8], work: impl AsyncFnOnce(&Shared) -> T) -> T {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ours = listener.accept().unwrap().0;
        ours.set_nonblocking(true).unwrap();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_io().build().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || theirs.write_all(sent).unwrap());
            runtime.block_on(async {
                let ours = tokio::net::TcpStream::from_std(ours).unwrap();
                work(&Shared::new(Stream::Plain(ours.into()))).await
            })
        })
    }

    #[test]
    fn unread_bytes_survive_a_move_to_the_front() {
        let sent: Vec<u8> = (0..READ_BUFFER_BYTES + 10)
            .map(|i| (i % 251) as u8)
            .collect();
        let mut buffer = Buffer::default();
        with(&sent, async |stream| {
            while !buffer.is_full() {
                buffer.fill(stream).await.unwrap();
            }
            buffer.consume(10);
            while !buffer.is_full() {
                buffer.fill(stream).await.unwrap();
            }
        });
        assert_eq!(buffer.unread(), &sent[10..]);
    }

    #[test]
    fn memory_goes_to_the_next_buffer_once_nothing_is_unread() {
        let (mut one, mut other) = (Buffer::default(), Buffer::default());
        with(b"one", async |stream| one.fill(stream).await).unwrap();
        let memory = one.bytes.as_ptr();
        one.consume(3);
        with(b"other", async |stream| other.fill(stream).await).unwrap();

        assert_eq!(other.bytes.as_ptr(), memory);
        assert_eq!(other.unread(), b"other");
        assert_eq!(one.bytes.capacity(), 0);
    }

    #[test]
    fn nothing_to_read_takes_no_memory() {
        let mut buffer = Buffer::default();
        let read = with(b"", async |stream| buffer.fill(stream).await);
        assert_eq!(read.unwrap(), 0);
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn full_buffer_refuses_to_read_instead_of_reporting_the_end() {
        let sent = vec![1; READ_BUFFER_BYTES + 1];
        let mut buffer = Buffer::default();
        let err = with(&sent, async |stream| {
            loop {
                if let Err(err) = buffer.fill(stream).await {
                    break err;
                }
            }
        });
        assert_eq!(err.kind(), io::ErrorKind::StorageFull);
        assert_eq!(buffer.unread().len(), READ_BUFFER_BYTES);
    }
}
