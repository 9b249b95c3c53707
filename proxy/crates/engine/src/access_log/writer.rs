//! The thread that writes lines, and the file that they go to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::queue::{Chunk, LogQueue, Work};
use super::{AccessLog, Clock, Format};
use crate::limits::LOG_CLOSE_TIMEOUT;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// The end of the file of that name, which is made where there is none.
    File(PathBuf),
}

impl Destination {
    fn open(&self) -> io::Result<File> {
        match self {
            Self::Stdout => io::stdout().as_fd().try_clone_to_owned().map(File::from),
            Self::File(path) => OpenOptions::new().append(true).create(true).open(path),
        }
    }
}

/// An open access log.
pub struct Log {
    format: Format,
    queue: Arc<LogQueue>,
    /// Disconnected when the thread has ended.
    ended: Mutex<Receiver<()>>,
}

impl Log {
    /// Opens it and starts the thread that writes.
    ///
    /// # Errors
    /// The file cannot be opened, or there is no thread.
    pub fn open(destination: Destination, format: Format) -> io::Result<Self> {
        let file = destination.open()?;
        let queue = Arc::new(LogQueue::default());
        let (alive, ended) = channel();
        let queue_of_thread = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("spanway-log".to_owned())
            .spawn(move || run(&destination, file, &queue_of_thread, &alive))?;
        Ok(Self {
            format,
            queue,
            ended: Mutex::new(ended),
        })
    }

    /// A worker's end.
    pub(crate) fn writer(&self) -> AccessLog {
        AccessLog {
            format: self.format,
            queue: Arc::clone(&self.queue),
            clock: Clock::default(),
            lines: Vec::new(),
            line_count: 0,
        }
    }

    /// Opens the file's name anew, so that a file that was renamed is not written to any more.
    pub fn reopen(&self) {
        self.queue.reopen();
    }

    /// Writes what was handed over and ends; a reader that takes nothing is not waited for.
    pub fn close(&self) {
        self.queue.close();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(LOG_CLOSE_TIMEOUT);
    }

    /// Lines written so far, and lines lost: the queue was full, or the file took none.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        self.queue.counts()
    }
}

fn run(destination: &Destination, mut file: File, queue: &LogQueue, _alive: &Sender<()>) {
    loop {
        match queue.next() {
            Work::Write(chunks) => chunks
                .iter()
                .for_each(|chunk| write(&mut file, chunk, queue)),
            // Where it cannot be opened the old file goes on: better there than nowhere.
            Work::Reopen => file = destination.open().unwrap_or(file),
            Work::End => return,
        }
    }
}

fn write(file: &mut File, chunk: &Chunk, queue: &LogQueue) {
    match file.write_all(&chunk.lines) {
        Ok(()) => queue.wrote(chunk.line_count),
        Err(_) => queue.lost(chunk.line_count),
    }
}
