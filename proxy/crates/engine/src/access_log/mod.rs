//! The access log: a line for each request that is over, sampled or not.
//!
//! A worker writes lines into a buffer of its own and hands it over when it is full or 200 ms old.
//! One thread writes to the file ([`queue`], [`writer`]), so that a slow disk or a stuck pipe holds
//! no request up: what does not fit the bounded queue is dropped and counted.
//!
//! Rules: never a query string, a cookie or an authorization. Whatever a client sends is escaped
//! ([`text`]): it can forge neither a line nor a field.

mod format;
mod queue;
mod text;
mod time;
mod writer;

use std::sync::Arc;

pub use format::{Format, Line};
use queue::LogQueue;
pub use time::Clock;
pub use writer::{Destination, Log};

use crate::limits::LOG_CHUNK_BYTES;

/// One worker's end of the log.
pub(crate) struct AccessLog {
    format: Format,
    queue: Arc<LogQueue>,
    clock: Clock,
    lines: Vec<u8>,
    line_count: u64,
}

impl AccessLog {
    /// Appends a request's line.
    pub(crate) fn write(&mut self, line: &Line<'_>) {
        line.put(&mut self.lines, self.format, &mut self.clock);
        self.line_count += 1;
        if self.lines.len() >= LOG_CHUNK_BYTES {
            self.flush();
        }
    }

    /// Hands over what was written.
    pub(crate) fn flush(&mut self) {
        if self.line_count > 0 {
            let room = Vec::with_capacity(LOG_CHUNK_BYTES + LOG_CHUNK_BYTES / 4);
            let lines = std::mem::replace(&mut self.lines, room);
            self.queue.push(lines, std::mem::take(&mut self.line_count));
        }
    }
}
