//! Message bodies: which of the bytes after a head are data, and where the body ends.
//!
//! Rules: bytes are consumed as they come, none has to be kept for the next call. Chunk extensions
//! are validated and dropped, as a recipient may (RFC 9112 section 7.1.1); trailers are kept.

use super::Malformed;
use super::body_table::{State, fault, next};
use crate::limits::{BODY_EXTENSION_BYTES_MAX, CHUNK_EXTENSION_BYTES_MAX, TRAILER_BYTES_MAX};
use crate::message::{Fields, Framing, Name, NameSet};
use std::ops::Range;

/// One run of data within the bytes that were given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// How many of the bytes are done with, the data included.
    pub consumed: usize,
    /// Which of them are data; may be empty.
    pub data: Range<usize>,
    /// The body ended with what was consumed; what follows belongs to the next message.
    pub is_done: bool,
}

/// Decodes one body. Make another for the next message.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// Data bytes to come: of the body with a length, of the chunk otherwise.
    remaining: u64,
    size_digits: u8,
    chunk_extension_bytes: u32,
    body_extension_bytes: u32,
    trailer_name: TrailerName,
    /// The trailer section as it came, without its last line.
    trailer: Vec<u8>,
    trailers: Option<Fields>,
}

impl BodyDecoder {
    /// A decoder at the start of a body.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let (state, remaining) = match framing {
            Framing::None | Framing::Length(0) => (State::Done, 0),
            Framing::Length(bytes) => (State::Length, bytes),
            Framing::Chunked => (State::SizeStart, 0),
            Framing::UntilClose => (State::UntilClose, 0),
        };
        Self {
            state,
            remaining,
            size_digits: 0,
            chunk_extension_bytes: 0,
            body_extension_bytes: 0,
            trailer_name: TrailerName::default(),
            trailer: Vec::new(),
            trailers: None,
        }
    }

    /// Finds the next run of data. Call it again with the bytes after `consumed`; it consumes
    /// something unless there are no bytes or the body is done.
    ///
    /// # Errors
    /// [`Malformed`] names the rule. The body's end is lost; close the connection.
    ///
    /// # Panics
    /// Never, for any bytes.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Step, Malformed> {
        let mut consumed = 0;
        while let Some(&byte) = bytes.get(consumed) {
            match self.state {
                State::Length | State::Data | State::UntilClose => {
                    return Ok(self.data_run(consumed, bytes.len()));
                }
                State::Done => break,
                _ => self.frame(byte)?,
            }
            consumed += 1;
        }
        Ok(Step {
            consumed,
            data: consumed..consumed,
            is_done: self.is_done(),
        })
    }

    /// [`BodyDecoder::decode`] as an iterator would be: the next data in `bytes`, which is moved
    /// past it; `None` when more bytes are needed or the body is done.
    ///
    /// # Errors
    /// As `decode`.
    pub fn next_data<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<Option<&'b [u8]>, Malformed> {
        let step = self.decode(bytes)?;
        let (before, after) = bytes.split_at(step.consumed);
        *bytes = after;
        Ok(before.get(step.data).filter(|data| !data.is_empty()))
    }

    /// Whether the body has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer fields, once the body has ended with some.
    #[must_use]
    pub fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_ref()
    }

    /// Takes note that the connection has ended.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when the body has not ended by that.
    pub fn end_of_input(&mut self) -> Result<(), Malformed> {
        match self.state {
            State::UntilClose | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Malformed::Truncated),
        }
    }

    /// How many data bytes are to come, where that is known.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        matches!(self.state, State::Length | State::Done).then_some(self.remaining)
    }

    /// Goes on behind `bytes` that somebody else has moved, fewer than [`BodyDecoder::remaining`].
    pub fn skip(&mut self, bytes: u64) {
        debug_assert!(
            self.state == State::Length && bytes < self.remaining,
            "the end of a body is decoded"
        );
        self.remaining -= bytes;
    }

    fn data_run(&mut self, start: usize, end: usize) -> Step {
        if self.state == State::UntilClose {
            return Step {
                consumed: end,
                data: start..end,
                is_done: false,
            };
        }
        // The smaller of the two fits into usize, as `end - start` does.
        let run = self.remaining.min((end - start) as u64);
        self.remaining -= run;
        if self.remaining == 0 {
            self.state = if self.state == State::Length {
                State::Done
            } else {
                State::DataCr
            };
        }
        let consumed = start + run as usize;
        Step {
            consumed,
            data: start..consumed,
            is_done: self.is_done(),
        }
    }

    /// One byte of the chunked coding that is not data.
    fn frame(&mut self, byte: u8) -> Result<(), Malformed> {
        let before = self.state;
        self.state = next(before, byte);
        match self.state {
            State::Refused => Err(fault(before)),
            State::Size => self.add_digit(byte),
            State::Data => {
                self.start_chunk();
                Ok(())
            }
            State::ExtensionStart
            | State::ExtensionName
            | State::ExtensionValueStart
            | State::ExtensionValue
            | State::ExtensionQuoted
            | State::ExtensionEscape
            | State::ExtensionQuotedEnd => self.count_extension(),
            State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLf => {
                self.add_trailer(before, byte)
            }
            State::Done if !self.trailer.is_empty() => {
                self.trailers = Some(trailer_fields(&self.trailer));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn add_digit(&mut self, byte: u8) -> Result<(), Malformed> {
        const DIGITS_MAX: u8 = 16;
        if self.size_digits == DIGITS_MAX {
            return Err(Malformed::ChunkSize);
        }
        self.size_digits += 1;
        // 16 digits fill the 64 bits, so that none is shifted out.
        self.remaining = self.remaining << 4 | hex_digit(byte);
        Ok(())
    }

    /// After the line with the size: data, or the trailer after the last chunk.
    fn start_chunk(&mut self) {
        self.size_digits = 0;
        self.chunk_extension_bytes = 0;
        if self.remaining == 0 {
            self.state = State::TrailerStart;
        }
    }

    fn count_extension(&mut self) -> Result<(), Malformed> {
        self.chunk_extension_bytes += 1;
        self.body_extension_bytes += 1;
        let is_too_long = self.chunk_extension_bytes > CHUNK_EXTENSION_BYTES_MAX
            || self.body_extension_bytes > BODY_EXTENSION_BYTES_MAX;
        if is_too_long {
            Err(Malformed::ChunkExtensionLength)
        } else {
            Ok(())
        }
    }

    fn add_trailer(&mut self, before: State, byte: u8) -> Result<(), Malformed> {
        if self.trailer.len() >= TRAILER_BYTES_MAX {
            return Err(Malformed::TrailerLength);
        }
        self.trailer.push(byte);
        match (before, self.state) {
            (State::TrailerStart, _) => self.trailer_name = TrailerName::starting_with(byte),
            (_, State::TrailerName) => self.trailer_name.push(byte),
            (State::TrailerName, _) if self.trailer_name.is_forbidden() => {
                return Err(Malformed::TrailerForbidden);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The fields of a trailer section that the state machine let through: each line has a colon behind
/// its name.
fn trailer_fields(section: &[u8]) -> Fields {
    let mut fields = Fields::default();
    for line in section.split(|&byte| byte == b'\n') {
        if let Some(colon) = memchr::memchr(b':', line) {
            fields.push(&line[..colon], line[colon + 1..].trim_ascii());
        }
    }
    fields
}

/// The value of a byte of the class of hex digits.
const fn hex_digit(byte: u8) -> u64 {
    match byte {
        b'0'..=b'9' => (byte - b'0') as u64,
        _ => ((byte | 0x20) - b'a') as u64 + 10,
    }
}

/// The start of a trailer's name: enough to know whether it is a [`Name`].
#[derive(Clone, Copy, Default, Debug)]
struct TrailerName {
    bytes: [u8; Self::BYTES_MAX],
    /// Counts on past the room, so that a longer name is not taken for its start.
    length: u32,
}

impl TrailerName {
    /// Longer than any known name.
    const BYTES_MAX: usize = 24;

    fn starting_with(byte: u8) -> Self {
        let mut name = Self::default();
        name.push(byte);
        name
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.length as usize) {
            *slot = byte;
        }
        self.length += 1;
    }

    fn is_forbidden(&self) -> bool {
        let known = self
            .bytes
            .get(..self.length as usize)
            .map_or(Name::Other, |name| {
                Name::imitated_by(name).unwrap_or_else(|| Name::of(name))
            });
        NameSet::NOT_IN_TRAILERS.contains(known)
    }
}
