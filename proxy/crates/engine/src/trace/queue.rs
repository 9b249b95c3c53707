//! Sealed batches on their way from the workers to whoever exports them.
//!
//! Rules: bounded in bytes; a worker never waits for room, it drops its batch and counts. The lock
//! is taken once per batch, not per request. The ready descriptor is readable exactly while the
//! queue is not empty, so that an event loop can wait for it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits::{BATCH_BYTES, SPARE_BUFFERS_MAX};

/// One complete `ExportTraceServiceRequest`.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// Protobuf, ready to be posted as it is.
    pub otlp: Vec<u8>,
    /// The spans in it.
    pub span_count: usize,
}

/// Spans since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanCounts {
    /// Spans that workers recorded, dropped ones included.
    pub recorded: u64,
    /// Spans that did not fit the queue.
    pub dropped: u64,
}

/// The queue between all workers and the exporter.
#[derive(Debug)]
pub struct SpanQueue {
    state: Mutex<State>,
    bytes_max: usize,
    /// A byte lies in it exactly while the queue is not empty.
    wake_sender: UnixStream,
    wake_receiver: UnixStream,
    recorded: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Batch>,
    bytes: usize,
    spares: Vec<Vec<u8>>,
}

impl SpanQueue {
    /// An empty queue for batches in `bytes_max` bytes of memory, see `proxy/spans.py`.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn new(bytes_max: usize) -> io::Result<Self> {
        let (wake_sender, wake_receiver) = UnixStream::pair()?;
        wake_sender.set_nonblocking(true)?;
        wake_receiver.set_nonblocking(true)?;
        Ok(Self {
            state: Mutex::default(),
            bytes_max,
            wake_sender,
            wake_receiver,
            recorded: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        })
    }

    /// Appends a batch, or drops it and counts its spans if there is no room: the oldest spans
    /// are the nearest to being exported, so the newest go. Returns whether it was kept.
    pub fn push(&self, batch: Batch) -> bool {
        let span_count = batch.span_count as u64;
        self.recorded.fetch_add(span_count, Ordering::Relaxed);
        let mut state = self.lock();
        let bytes = batch.otlp.capacity();
        if state.bytes + bytes > self.bytes_max {
            self.dropped.fetch_add(span_count, Ordering::Relaxed);
            state.keep_spare(batch.otlp);
            return false;
        }
        state.bytes += bytes;
        let was_empty = state.batches.is_empty();
        state.batches.push_back(batch);
        if was_empty {
            self.wake();
        }
        true
    }

    /// Takes the oldest batches, at most `batch_count_max` of them. Never waits for more.
    #[must_use]
    pub fn take(&self, batch_count_max: usize) -> Vec<Batch> {
        let mut state = self.lock();
        let count = batch_count_max.min(state.batches.len());
        let taken: Vec<Batch> = state.batches.drain(..count).collect();
        state.bytes -= taken
            .iter()
            .map(|batch| batch.otlp.capacity())
            .sum::<usize>();
        if count > 0 && state.batches.is_empty() {
            self.unwake();
        }
        taken
    }

    /// Gives the buffer of a batch that is done with back to the workers.
    pub fn recycle(&self, buffer: Vec<u8>) {
        self.lock().keep_spare(buffer);
    }

    /// An empty buffer with room for `bytes`, a recycled one if there is any.
    pub(super) fn buffer(&self, bytes: usize) -> Vec<u8> {
        let spare = self.lock().spares.pop();
        let mut buffer = spare.unwrap_or_default();
        buffer.reserve(bytes);
        buffer
    }

    /// A descriptor that is readable while the queue is not empty. It stays the queue's own: poll
    /// it, do not read or close it.
    #[must_use]
    pub fn ready_fd(&self) -> RawFd {
        self.wake_receiver.as_raw_fd()
    }

    /// The spans so far.
    #[must_use]
    pub fn counts(&self) -> SpanCounts {
        SpanCounts {
            recorded: self.recorded.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    /// Under the lock, as is `unwake`, so that there is never more than one byte on the way. If it
    /// cannot be written, the queue is found when it is polled next.
    fn wake(&self) {
        let _ = (&self.wake_sender).write(&[1]);
    }

    fn unwake(&self) {
        let _ = (&self.wake_receiver).read(&mut [0; 8]);
    }

    /// No code that holds the lock can panic half-way, so a poisoned state is a whole one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn keep_spare(&mut self, mut buffer: Vec<u8>) {
        let is_full_size = (BATCH_BYTES..4 * BATCH_BYTES).contains(&buffer.capacity());
        if is_full_size && self.spares.len() < SPARE_BUFFERS_MAX {
            buffer.clear();
            self.spares.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(bytes: usize) -> Batch {
        let (otlp, span_count) = (vec![0; bytes], 3);
        Batch { otlp, span_count }
    }

    /// Whether an event loop would be woken.
    fn is_ready(queue: &SpanQueue) -> bool {
        let socket = socket2::SockRef::from(&queue.wake_receiver);
        let mut byte = [std::mem::MaybeUninit::uninit(); 8];
        let peeked = socket.peek(&mut byte);
        peeked.is_ok_and(|count| {
            assert_eq!(count, 1, "never more than one byte");
            true
        })
    }

    #[test]
    fn the_descriptor_is_readable_exactly_while_there_are_batches() {
        let queue = SpanQueue::new(1000).unwrap();
        assert!(!is_ready(&queue));
        for _ in 0..3 {
            assert!(queue.push(batch(10)));
            assert!(is_ready(&queue));
        }
        assert_eq!(queue.take(2).len(), 2);
        assert!(is_ready(&queue));
        assert_eq!(queue.take(2).len(), 1);
        assert!(!is_ready(&queue));
        assert_eq!(queue.take(2).len(), 0);
        assert!(queue.push(batch(10)));
        assert!(is_ready(&queue));
    }

    #[test]
    fn a_full_queue_drops_the_new_batch_and_counts_its_spans() {
        let queue = SpanQueue::new(25).unwrap();
        assert!(queue.push(batch(10)));
        assert!(queue.push(batch(10)));
        assert!(!queue.push(batch(10)));
        let counts = SpanCounts {
            recorded: 9,
            dropped: 3,
        };
        assert_eq!(queue.counts(), counts);
        assert_eq!(queue.take(1), [batch(10)]);
        assert!(queue.push(batch(10)));
    }

    #[test]
    fn workers_and_an_exporter_lose_and_double_nothing() {
        let queue = SpanQueue::new(1024 * 1024).unwrap();
        let mut taken = 0;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| assert!(queue.push(batch(10)))));
            }
            while taken < 4_000 {
                taken += queue.take(7).len();
            }
        });
        assert_eq!(taken, 4_000);
        assert!(!is_ready(&queue));
        assert_eq!(queue.lock().bytes, 0);
    }

    #[test]
    fn used_buffers_come_back_empty() {
        let queue = SpanQueue::new(1000).unwrap();
        queue.recycle(vec![1; BATCH_BYTES]);
        queue.recycle(vec![1; 10]);
        let buffer = queue.buffer(BATCH_BYTES);
        assert!(buffer.is_empty() && buffer.capacity() >= BATCH_BYTES);
        assert!(queue.lock().spares.is_empty());
    }
}
