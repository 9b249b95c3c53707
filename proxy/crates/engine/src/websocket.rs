//! Counts the messages of a `WebSocket` connection as its bytes pass.
//!
//! Rules: this file sees bytes and changes none: whatever they are, the tunnel goes on. Only frame
//! headers are looked at, so a frame costs the same whatever its length; compressed messages
//! (permessage-deflate) have the same headers.
//!
//! Source: RFC 6455, section 5.2.

use std::cell::RefCell;

use crate::message::RequestHead;

const FIN: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
/// Control frames are those from here on.
const CLOSE: u8 = 8;
const PONG: u8 = 10;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_IN_2: u8 = 126;
const LENGTH_IN_8: u8 = 127;
/// Two bytes, eight of a length, four of a mask.
const HEADER_BYTES_MAX: usize = 14;

/// Whether the protocol that the request asks for is `WebSocket`.
#[must_use]
pub fn is_websocket(request: &RequestHead) -> bool {
    let protocol = request.upgrade();
    protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
}

/// Both directions of a connection.
#[derive(Debug, Default)]
pub struct Conversation {
    /// From the client.
    pub received: RefCell<Frames>,
    /// From the endpoint.
    pub sent: RefCell<Frames>,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Frames {
    /// Messages whose last frame has begun.
    messages: u64,
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    /// Bytes of the frame's payload that are to come.
    payload_left: u64,
    /// These are no frames: nothing more is counted.
    is_lost: bool,
}

impl Frames {
    /// Messages so far.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Looks at the next bytes, however they were cut.
    ///
    /// # Panics
    /// Never, for any bytes.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !self.is_lost && !bytes.is_empty() {
            if self.payload_left > 0 {
                let skipped = self.payload_left.min(bytes.len() as u64);
                self.payload_left -= skipped;
                bytes = &bytes[skipped as usize..];
                continue;
            }
            let missing = self.header_missing();
            let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
            self.header[self.header_bytes..][..taken.len()].copy_from_slice(taken);
            self.header_bytes += taken.len();
            bytes = rest;
            if self.header_missing() == 0 {
                self.begin_frame();
            }
        }
    }

    /// Bytes of the header that are not here, as far as can be told from those that are.
    fn header_missing(&self) -> usize {
        let length_bytes = match self.header[1] & LENGTH {
            _ if self.header_bytes < 2 => return 2 - self.header_bytes,
            LENGTH_IN_2 => 2,
            LENGTH_IN_8 => 8,
            _ => 0,
        };
        let mask_bytes = if self.header[1] & MASKED == 0 { 0 } else { 4 };
        2 + length_bytes + mask_bytes - self.header_bytes
    }

    fn begin_frame(&mut self) {
        let [first, second, long @ ..] = self.header;
        let extended = |bytes: usize| {
            let digits = long[..bytes].iter();
            digits.fold(0, |length, byte| length << 8 | u64::from(*byte))
        };
        self.header_bytes = 0;
        self.payload_left = match second & LENGTH {
            LENGTH_IN_2 => extended(2),
            LENGTH_IN_8 => extended(8),
            length => u64::from(length),
        };
        let is_final = first & FIN != 0;
        match first & OPCODE {
            CONTINUATION..=BINARY if is_final => self.messages += 1,
            CONTINUATION..=BINARY | CLOSE..=PONG => {}
            _ => self.is_lost = true,
        }
        self.is_lost |= self.payload_left > i64::MAX as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload_bytes: usize, is_masked: bool) -> Vec<u8> {
        let mask = if is_masked { MASKED } else { 0 };
        let mut frame = vec![first];
        match payload_bytes {
            0..126 => frame.push(mask | payload_bytes as u8),
            126..0x1_0000 => {
                frame.push(mask | LENGTH_IN_2);
                frame.extend_from_slice(&(payload_bytes as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | LENGTH_IN_8);
                frame.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
            }
        }
        frame.extend(is_masked.then_some([0x81; 4]).into_iter().flatten());
        frame.resize(frame.len() + payload_bytes, 0x81);
        frame
    }

    fn counted<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> (u64, bool) {
        let mut frames = Frames::default();
        pieces.into_iter().for_each(|piece| frames.pass(piece));
        (frames.messages(), frames.is_lost)
    }

    /// Four messages, one of them of three frames with a ping between.
    fn conversation() -> Vec<u8> {
        [
            frame(0x81, 5, true),
            frame(0x02, 200, true),
            frame(0x89, 0, true),
            frame(0x00, 0, false),
            frame(0x80, 70_000, true),
            frame(0x82, 125, false),
            frame(0xc1, 126, true), // Compressed.
            frame(0x88, 2, true),
        ]
        .concat()
    }

    #[test]
    fn messages_are_counted_the_same_at_every_split() {
        let bytes = conversation();
        assert_eq!(counted([&bytes[..]]), (4, false));
        assert_eq!(counted(bytes.chunks(1)), (4, false));
        for at in (0..300).chain(bytes.len() - 300..bytes.len()) {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(counted([head, tail]), (4, false), "split at {at}");
        }
    }

    #[test]
    fn what_are_no_frames_stops_the_count_and_nothing_else() {
        let reserved = [conversation(), frame(0x83, 1, true), conversation()].concat();
        assert_eq!(counted([&reserved[..]]), (4, true));
        let endless = [&[0x82, LENGTH_IN_8][..], &[0xff; 8], &conversation()].concat();
        assert_eq!(counted([&endless[..]]), (1, true));
    }

    /// Whatever the bytes and however they are cut: no panic, and one piece at a time counts as all
    /// at once.
    #[test]
    fn mutated_bytes_count_the_same_however_they_are_cut() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let original = conversation();
        for _ in 0..2_000 {
            let mut bytes = original.clone();
            for _ in 0..random.usize(1..8) {
                let at = random.usize(..400);
                bytes[at] = random.u8(..);
            }
            let piece_bytes = random.usize(1..64);
            assert_eq!(counted(bytes.chunks(piece_bytes)), counted([&bytes[..]]));
        }
    }
}
