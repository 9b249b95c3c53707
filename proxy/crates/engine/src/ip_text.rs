//! IP addresses as text: every request has some, and `Display` takes longer than a whole span.

use std::io::Write as _;
use std::net::IpAddr;

/// The longest IPv6 address as text.
const IP_TEXT_BYTES: usize = 45;

/// Each octet in decimal digits and a dot, and how many bytes that is.
static OCTETS: [([u8; 4], u8); 256] = octets();

/// The text of one address.
pub struct IpText {
    bytes: [u8; IP_TEXT_BYTES],
    length: usize,
}

impl IpText {
    /// As `Display` has it.
    pub fn of(ip: IpAddr) -> Self {
        let mut bytes = [0; IP_TEXT_BYTES];
        let length = match ip {
            IpAddr::V4(ip) => write_ipv4(&mut bytes, ip.octets()),
            IpAddr::V6(ip) => {
                let mut rest = &mut bytes[..];
                // An address always fits, and a slice has no other error.
                let _ = write!(rest, "{ip}");
                IP_TEXT_BYTES - rest.len()
            }
        };
        Self { bytes, length }
    }

    /// ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn write_ipv4(bytes: &mut [u8; IP_TEXT_BYTES], octets: [u8; 4]) -> usize {
    let mut length = 0;
    for octet in octets {
        let (text, text_bytes) = &OCTETS[usize::from(octet)];
        // What is behind the dot is written over by the next octet.
        bytes[length..length + text.len()].copy_from_slice(text);
        length += usize::from(*text_bytes);
    }
    length - 1 // The last dot.
}

const fn octets() -> [([u8; 4], u8); 256] {
    let mut all = [([0; 4], 0); 256];
    let mut octet = 0;
    while octet < all.len() {
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let skipped = if octet < 10 {
            2
        } else if octet < 100 {
            1
        } else {
            0
        };
        let mut text = [0; 4];
        let mut index = skipped;
        while index < digits.len() {
            text[index - skipped] = b'0' + digits[index] as u8;
            index += 1;
        }
        text[index - skipped] = b'.';
        all[octet] = (text, (index - skipped + 1) as u8);
        octet += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ip: IpAddr) -> String {
        String::from_utf8_lossy(IpText::of(ip).as_bytes()).into_owned()
    }

    #[test]
    fn every_octet_is_written_as_std_does_it_at_every_place() {
        for octet in 0..=255 {
            for octets in [[octet, 0, 10, 200], [255, 1, 99, octet]] {
                let ip = IpAddr::from(octets);
                assert_eq!(text(ip), ip.to_string());
            }
        }
    }

    #[test]
    fn the_longest_ipv6_address_fits() {
        let longest = IpAddr::from([0xffff_u16; 8]);
        let mapped = IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0xffff, 0xffff_u16]);
        for ip in [longest, mapped, IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16])] {
            assert_eq!(text(ip), ip.to_string());
        }
    }
}
