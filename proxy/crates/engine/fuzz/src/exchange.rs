//! One downstream connection as a proxy sees it, without I/O: what is answered, what is forwarded.

use spanway_engine::http1::{BodyDecoder, Malformed, Parsed, encode, parse_request};
use spanway_engine::message::{NameSet, RequestHead};

/// What became of the bytes of one connection.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
pub struct Exchange {
    /// 200 for each request that was read whole, then perhaps the status of the refusal.
    pub statuses: Vec<u16>,
    /// Heads as they would be forwarded, and bodies without framing.
    pub forwarded: Vec<(Vec<u8>, Vec<u8>)>,
    /// The bytes ended within a message.
    pub is_incomplete: bool,
    pub refusal: Option<Malformed>,
}

/// Reads requests until the bytes end, one is refused, or one ends the connection.
pub struct Connection {
    buffer: Vec<u8>,
    head: RequestHead,
    body: Option<(BodyDecoder, Vec<u8>)>,
    is_closed: bool,
    seen: Exchange,
}

impl Connection {
    pub fn new() -> Self {
        Self {
            buffer: Vec::new(),
            head: RequestHead::default(),
            body: None,
            is_closed: false,
            seen: Exchange::default(),
        }
    }

    pub fn receive(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        while !self.is_closed {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return,
                Err(refusal) => {
                    self.seen.statuses.push(refusal.status());
                    self.seen.refusal = Some(refusal);
                    self.is_closed = true;
                }
            }
        }
    }

    pub fn end(mut self) -> Exchange {
        let is_between = self.body.is_none() && self.buffer.is_empty();
        self.seen.is_incomplete = !self.is_closed && !is_between;
        self.seen
    }

    /// Whether there may be more to do with the bytes that are left.
    fn advance(&mut self) -> Result<bool, Malformed> {
        match self.body.take() {
            None => self.read_head(),
            Some((decoder, data)) => self.read_body(decoder, data),
        }
    }

    fn read_head(&mut self) -> Result<bool, Malformed> {
        let Parsed::Complete { head_bytes } = parse_request(&self.buffer, &mut self.head)? else {
            return Ok(false);
        };
        self.buffer.drain(..head_bytes);
        self.body = Some((BodyDecoder::new(self.head.framing), Vec::new()));
        Ok(true)
    }

    fn read_body(
        &mut self,
        mut decoder: BodyDecoder,
        mut data: Vec<u8>,
    ) -> Result<bool, Malformed> {
        let mut rest = &self.buffer[..];
        while let Some(run) = decoder.next_data(&mut rest)? {
            data.extend_from_slice(run);
        }
        let consumed = self.buffer.len() - rest.len();
        self.buffer.drain(..consumed);
        if !decoder.is_done() {
            self.body = Some((decoder, data));
            return Ok(false);
        }
        self.seen.statuses.push(200);
        self.seen.forwarded.push((forwarded_head(&self.head), data));
        self.is_closed = !self.head.keep_alive;
        Ok(true)
    }
}

/// The whole of `bytes` at once.
pub fn exchange(bytes: &[u8]) -> Exchange {
    let mut connection = Connection::new();
    connection.receive(bytes);
    connection.end()
}

/// A head as a proxy forwards it that adds nothing.
pub fn forwarded_head(head: &RequestHead) -> Vec<u8> {
    let mut out = Vec::new();
    encode::request_line(&mut out, head, head.target());
    for field in head.fields.end_to_end(NameSet::EMPTY) {
        encode::field(&mut out, field.name, field.value);
    }
    encode::framing(&mut out, head.framing);
    encode::end(&mut out);
    out
}
