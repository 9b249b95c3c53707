//! A connection's stream as the h2 crate uses it: what is written is gathered, and leaves in one
//! system call when the connection has nothing more to say for now.
//!
//! By itself the h2 crate flushes at each DATA frame of 1 KiB or more, and sends the frame's head
//! apart: two system calls, with TLS two records, for every small response.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffer::Buffer;
use crate::limits::{HTTP2_GATHERED_BYTES_MAX, SPARE_BYTES_MAX};
use crate::stream::Stream;

/// One is the h2 crate's; a clone of it is for whoever polls the connection.
///
/// Rule: every poll of the connection is one within [`Gathered::poll_with`], since nothing else
/// sends what was gathered.
#[derive(Clone)]
pub struct Gathered(Rc<RefCell<Gathering>>);

struct Gathering {
    stream: Stream,
    /// Bytes that were read before.
    read: Buffer,
    out: Vec<u8>,
    /// How many bytes of `out` were sent already.
    sent: usize,
    /// How many bytes have come.
    received: u64,
}

impl Gathered {
    /// Nothing is gathered yet. `read` holds what was read from the stream already.
    pub fn new(stream: Stream, read: Buffer) -> Self {
        Self(Rc::new(RefCell::new(Gathering {
            stream,
            read,
            out: Vec::new(),
            sent: 0,
            received: 0,
        })))
    }

    /// How many bytes have come; those that were read before are not among them.
    pub fn received(&self) -> u64 {
        self.0.borrow().received
    }

    /// Lets `work` move frames; when it cannot go on, sends what it wrote. What a poll wrote that
    /// ended `work` is sent by the next one.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn poll_with<T>(
        &self,
        context: &mut Context<'_>,
        work: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(value) = work(context) {
            return Poll::Ready(Ok(value));
        }
        match self.0.borrow_mut().poll_send(context) {
            Poll::Ready(Err(err)) => Poll::Ready(Err(err)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Gathering {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut stream = Pin::new(&mut self.stream);
        while self.sent < self.out.len() {
            match ready!(stream.as_mut().poll_write(context, &self.out[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        ready!(stream.poll_flush(context))?;
        self.out.clear();
        self.out.shrink_to(SPARE_BYTES_MAX);
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Gathered {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gathering = &mut *self.0.borrow_mut();
        let Gathering { stream, read, .. } = gathering;
        if read.is_empty() {
            let before = buffer.filled().len();
            let polled = Pin::new(stream).poll_read(context, buffer);
            gathering.received += (buffer.filled().len() - before) as u64;
            return polled;
        }
        let count = read.unread().len().min(buffer.remaining());
        buffer.put_slice(&read.unread()[..count]);
        read.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut gathering = self.0.borrow_mut();
        if gathering.out.len() >= HTTP2_GATHERED_BYTES_MAX {
            ready!(gathering.poll_send(context))?;
        }
        let room = HTTP2_GATHERED_BYTES_MAX - gathering.out.len();
        let taken = &bytes[..bytes.len().min(room)];
        gathering.out.extend_from_slice(taken);
        Poll::Ready(Ok(taken.len()))
    }

    /// Nothing: see [`Gathered::poll_with`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = self.0.borrow_mut();
        ready!(gathering.poll_send(context))?;
        Pin::new(&mut gathering.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A stream, and its other end.
    async fn pair() -> (Gathered, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let stream = Stream::Plain(near.unwrap().into());
        (
            Gathered::new(stream, Buffer::default()),
            accepted.unwrap().0,
        )
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap()
            .block_on(work)
    }

    #[test]
    fn what_is_written_and_flushed_leaves_when_the_connection_cannot_go_on() {
        run(async {
            let (near, mut far) = pair().await;
            for piece in [b"one,", b"two,"] {
                near.clone().write_all(piece).await.unwrap();
                near.clone().flush().await.unwrap();
            }
            let early = far.try_read(&mut [0; 1]).unwrap_err();
            assert_eq!(early.kind(), io::ErrorKind::WouldBlock);

            let mut read = [0; 8];
            let mut reading = std::pin::pin!(far.read_exact(&mut read));
            poll_fn(|context| {
                assert!(
                    near.poll_with(context, |_| Poll::<()>::Pending)
                        .is_pending()
                );
                reading.as_mut().poll(context).map(Result::unwrap)
            })
            .await;
            assert_eq!(&read, b"one,two,");
        });
    }

    #[test]
    fn peer_that_does_not_read_holds_the_writer_up_and_then_gets_every_byte() {
        run(async {
            let (mut near, mut far) = pair().await;
            let sent: Vec<u8> = (0_u32..32 << 20).map(|at| (at % 251) as u8).collect();
            let mut left = &sent[..];
            let mut write = async |until_held_up: bool| {
                poll_fn(|context| {
                    while !left.is_empty() {
                        match Pin::new(&mut near).poll_write(context, left) {
                            Poll::Ready(written) => left = &left[written.unwrap()..],
                            Poll::Pending if until_held_up => return Poll::Ready(()),
                            Poll::Pending => return Poll::Pending,
                        }
                    }
                    Pin::new(&mut near)
                        .poll_shutdown(context)
                        .map(Result::unwrap)
                })
                .await;
                left.len()
            };
            assert!(write(true).await > 0, "the kernel took all of it");
            let mut read = Vec::new();
            let (_, count) = tokio::join!(write(false), far.read_to_end(&mut read));
            assert_eq!(count.unwrap(), sent.len());
            assert!(read == sent, "bytes were lost or out of order");
        });
    }
}
