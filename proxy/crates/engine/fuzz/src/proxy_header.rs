//! PROXY protocol headers.

use spanway_engine::limits::PROXY_HEADER_BYTES_MAX;
use spanway_engine::proxy_protocol::{Parsed, parse, put_v1, put_v2};

/// A header is bounded, none of its prefixes is one, what is refused stays refused, and what it
/// announces is read again from what we would write.
pub fn proxy_header(bytes: &[u8]) {
    let parsed = parse(bytes);
    match parsed {
        Ok(Parsed::Complete {
            announced,
            header_bytes,
        }) => {
            assert!(header_bytes <= bytes.len().min(PROXY_HEADER_BYTES_MAX));
            for end in 0..header_bytes {
                assert_eq!(parse(&bytes[..end]), Ok(Parsed::Incomplete), "until {end}");
            }
            for put in [put_v1, put_v2] {
                let Some(announced) = announced else { continue };
                let mut written = Vec::new();
                put(&mut written, announced);
                let Ok(Parsed::Complete {
                    announced: Some(read),
                    header_bytes,
                }) = parse(&written)
                else {
                    panic!("what we write is refused: {written:?}");
                };
                assert_eq!(header_bytes, written.len());
                assert_eq!(read.canonical(), announced.canonical());
            }
        }
        Ok(Parsed::Incomplete) => assert!(bytes.len() < PROXY_HEADER_BYTES_MAX),
        Err(_) => {
            let with_tail = [bytes, b"\r\n\0"].concat();
            assert!(parse(&with_tail).is_err());
        }
    }
}
