//! Lines on their way from the workers to the thread that writes them.
//!
//! Rules: bounded in bytes; a worker never waits for room. The lock is taken once per chunk of
//! lines.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::limits::LOG_QUEUE_BYTES_MAX;

/// Whole lines, and how many.
pub(super) struct Chunk {
    pub(super) lines: Vec<u8>,
    pub(super) line_count: u64,
}

/// What the writer has to do next.
pub(super) enum Work {
    Write(Vec<Chunk>),
    /// The file was renamed: open its name anew, then go on.
    Reopen,
    /// Nothing will follow.
    End,
}

#[derive(Default)]
pub(super) struct LogQueue {
    state: Mutex<State>,
    arrived: Condvar,
    written: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    is_renamed: bool,
    is_closed: bool,
}

impl LogQueue {
    /// Appends lines, or drops and counts them if there is no room.
    pub(super) fn push(&self, lines: Vec<u8>, line_count: u64) {
        let mut state = self.lock();
        if state.bytes + lines.len() > LOG_QUEUE_BYTES_MAX {
            drop(state);
            return self.lost(line_count);
        }
        state.bytes += lines.len();
        state.chunks.push_back(Chunk { lines, line_count });
        drop(state);
        self.arrived.notify_one();
    }

    /// Waits for something to do.
    pub(super) fn next(&self) -> Work {
        let mut state = self.lock();
        loop {
            if std::mem::take(&mut state.is_renamed) {
                return Work::Reopen;
            }
            if !state.chunks.is_empty() {
                state.bytes = 0;
                return Work::Write(state.chunks.drain(..).collect());
            }
            if state.is_closed {
                return Work::End;
            }
            let waited = self.arrived.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn reopen(&self) {
        self.lock().is_renamed = true;
        self.arrived.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_one();
    }

    pub(super) fn lost(&self, line_count: u64) {
        self.dropped.fetch_add(line_count, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self, line_count: u64) {
        self.written.fetch_add(line_count, Ordering::Relaxed);
    }

    /// Lines written and lost so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.written), of(&self.dropped))
    }

    /// No code that holds the lock can panic half-way, so a poisoned state is a whole one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_new_lines_and_counts_them() {
        let queue = LogQueue::default();
        queue.push(vec![b'x'; LOG_QUEUE_BYTES_MAX - 1], 7);
        queue.push(vec![b'x'; 2], 3);
        queue.push(vec![b'x'; 1], 1);
        assert_eq!(queue.counts(), (0, 3));
        let Work::Write(chunks) = queue.next() else {
            panic!("there are lines to write");
        };
        let counts: Vec<u64> = chunks.iter().map(|chunk| chunk.line_count).collect();
        assert_eq!(counts, [7, 1]);
        queue.close();
        assert!(matches!(queue.next(), Work::End));
    }
}
