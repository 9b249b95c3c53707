//! Bytes read from a socket and not yet used: the front is consumed, the back is filled.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::{READ_BUFFER_BYTES, READ_BUFFER_BYTES_MAX};

/// A reusable read buffer; it grows from [`READ_BUFFER_BYTES`] to [`READ_BUFFER_BYTES_MAX`] when
/// the bytes waiting in it, or one read, fill it.
#[derive(Default)]
pub struct Buffer {
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

    /// Whether a read could not add anything: [`READ_BUFFER_BYTES_MAX`] are waiting.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.unread().len() >= READ_BUFFER_BYTES_MAX
    }

    /// Drops the first `count` unread bytes.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(
            self.start <= self.bytes.len(),
            "consumed what was never read"
        );
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
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
    pub async fn fill(&mut self, reader: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        if self.is_full() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.make_room();
        reader.read_buf(&mut self.bytes).await
    }

    /// Leaves spare capacity behind the unread bytes, moving them to the front if that is enough.
    fn make_room(&mut self) {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve_exact(READ_BUFFER_BYTES);
        }
        if self.bytes.len() < self.bytes.capacity() {
            return;
        }
        self.bytes.drain(..self.start);
        self.start = 0;
        if self.bytes.len() * 2 > self.bytes.capacity() {
            let wanted = (self.bytes.capacity() * 2).min(READ_BUFFER_BYTES_MAX);
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
    }

    /// Asks for the largest buffer: a long body is on its way. Called when nothing is unread.
    pub fn grow_for_body(&mut self) {
        if self.is_empty() && self.bytes.capacity() < READ_BUFFER_BYTES_MAX {
            self.bytes.reserve_exact(READ_BUFFER_BYTES_MAX);
        }
    }

    /// Forgets everything, and gives back memory beyond [`READ_BUFFER_BYTES`].
    pub fn reset(&mut self) {
        self.bytes.clear();
        self.start = 0;
        self.bytes.shrink_to(READ_BUFFER_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(work)
    }

    #[test]
    fn unread_bytes_survive_growth() {
        let sent: Vec<u8> = (0..READ_BUFFER_BYTES_MAX)
            .map(|i| (i % 251) as u8)
            .collect();
        let mut reader = &sent[..];
        let mut buffer = Buffer::default();
        run(async {
            while buffer.fill(&mut reader).await.unwrap_or(0) > 0 {
                if buffer.unread().len() == READ_BUFFER_BYTES {
                    buffer.consume(10);
                }
            }
        });
        assert_eq!(buffer.unread(), &sent[10..]);
    }

    #[test]
    fn full_buffer_refuses_to_read_instead_of_reporting_the_end() {
        let sent = vec![1; READ_BUFFER_BYTES_MAX + 1];
        let mut reader = &sent[..];
        let mut buffer = Buffer::default();
        let err = run(async {
            loop {
                if let Err(err) = buffer.fill(&mut reader).await {
                    break err;
                }
            }
        });
        assert_eq!(err.kind(), io::ErrorKind::StorageFull);
        assert_eq!(buffer.unread().len(), READ_BUFFER_BYTES_MAX);
    }
}
