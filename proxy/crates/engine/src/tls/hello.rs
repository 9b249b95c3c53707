//! What a connection on a TLS port begins with: a `ClientHello`, kept as it came, or something else.
//!
//! The bytes are kept because the connection may be handed on whole. A connection that has sent
//! nothing yet holds no buffer.

use std::future::poll_fn;
use std::io;

use rustls::AlertDescription;
use rustls::server::{Accepted, Acceptor};
use tokio::net::TcpStream;

use super::alert;
use crate::limits::CLIENT_HELLO_BYTES_MAX;

/// `ContentType.handshake`: what a TLS connection begins with (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// One read; a `ClientHello` has some 500 bytes, with post-quantum key shares 1,800.
const READ_BYTES: usize = 4096;

/// What a connection begins with.
pub enum Opening {
    /// A whole `ClientHello`.
    Hello(Box<Accepted>),
    /// A request without TLS.
    PlainHttp,
    /// Something else; the alert that says so, in its record.
    Wrong(Vec<u8>),
    /// The client left. It may have sent something before.
    Gone,
}

/// Reads until it is clear what the connection begins with; all that was read is in `input`, which
/// may already hold its first bytes.
///
/// # Cancel safety
/// A dropped call leaves in `input` what was read.
pub async fn read_opening(stream: &TcpStream, input: &mut Vec<u8>) -> Opening {
    let mut acceptor = Acceptor::default();
    let mut taken = 0;
    loop {
        if let Some(opening) = look(&mut acceptor, input, &mut taken) {
            return opening;
        }
        if !matches!(read_some(stream, input).await, Ok(1..)) {
            return Opening::Gone;
        }
    }
}

/// What the bytes so far begin, once that is clear.
pub(crate) fn look(acceptor: &mut Acceptor, input: &[u8], taken: &mut usize) -> Option<Opening> {
    let wrong = || Opening::Wrong(alert(AlertDescription::UnexpectedMessage));
    match *input.first()? {
        HANDSHAKE => {}
        // Methods are made of upper case letters, as far as they are known.
        b'A'..=b'Z' => return Some(Opening::PlainHttp),
        _ => return Some(wrong()),
    }
    let mut rest = &input[*taken..];
    while !rest.is_empty() {
        // Reading from a slice does not fail; that the acceptor has enough of it may.
        if !matches!(acceptor.read_tls(&mut rest), Ok(1..)) {
            return Some(wrong());
        }
    }
    *taken = input.len();
    match acceptor.accept() {
        Ok(Some(accepted)) => Some(Opening::Hello(Box::new(accepted))),
        Ok(None) if input.len() > CLIENT_HELLO_BYTES_MAX => Some(wrong()),
        Ok(None) => None,
        Err((_, mut alert)) => {
            let mut record = Vec::new();
            // Writing to a Vec cannot fail.
            drop(alert.write_all(&mut record));
            Some(if record.is_empty() {
                wrong()
            } else {
                Opening::Wrong(record)
            })
        }
    }
}

/// Waits for input and appends it; 0 at the end of the stream.
async fn read_some(stream: &TcpStream, input: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        poll_fn(|context| stream.poll_read_ready(context)).await?;
        match try_read(stream, input) {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

/// Not async, so that its buffer is on the stack for as long as the read takes.
fn try_read(stream: &TcpStream, input: &mut Vec<u8>) -> io::Result<usize> {
    let mut bytes = [0; READ_BYTES];
    let read = stream.try_read(&mut bytes)?;
    input.extend_from_slice(&bytes[..read]);
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(input: &[u8]) -> Option<Opening> {
        look(&mut Acceptor::default(), input, &mut 0)
    }

    #[test]
    fn a_request_is_told_from_a_handshake_by_its_first_byte() {
        assert!(matches!(looked(b"G"), Some(Opening::PlainHttp)));
        assert!(matches!(
            looked(b"PRI * HTTP/2.0"),
            Some(Opening::PlainHttp)
        ));
        assert!(matches!(looked(b"\0"), Some(Opening::Wrong(_))));
        assert!(looked(b"\x16").is_none());
        assert!(looked(b"").is_none());
    }

    #[test]
    fn a_hello_without_end_is_given_up_at_its_bound() {
        // Records of 100 bytes, of one handshake message that announces 60,000.
        let mut input = Vec::new();
        let (mut acceptor, mut taken) = (Acceptor::default(), 0);
        let mut fragment = vec![1, 0, 0xea, 0x60];
        loop {
            fragment.resize(100, 0);
            input.extend_from_slice(&[HANDSHAKE, 3, 1, 0, 100]);
            input.append(&mut fragment);
            if look(&mut acceptor, &input, &mut taken).is_some() {
                break;
            }
        }
        assert!(input.len() > CLIENT_HELLO_BYTES_MAX);
        assert!(input.len() < CLIENT_HELLO_BYTES_MAX + READ_BYTES);
    }
}
