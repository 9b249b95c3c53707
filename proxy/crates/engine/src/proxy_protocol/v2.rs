//! Version 2, binary: a signature, version and command, family, length, addresses, and TLVs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Announced, Malformed, Parsed, has_all};
use crate::limits::PROXY_HEADER_BYTES_MAX;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const COMMAND_AT: usize = SIGNATURE.len();
const FAMILY_AT: usize = COMMAND_AT + 1;
const LENGTH_AT: usize = FAMILY_AT + 1;
const FIXED_BYTES: usize = LENGTH_AT + 2;

/// Version in the upper half, command in the lower one.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// Family in the upper half, transport in the lower one.
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const UDP4: u8 = 0x12;
const TCP6: u8 = 0x21;
const UDP6: u8 = 0x22;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;

const IPV4_BYTES: usize = 2 * (4 + 2);
const IPV6_BYTES: usize = 2 * (16 + 2);
const UNIX_BYTES: usize = 2 * 108;

/// Type, and length in two bytes.
const TLV_HEAD_BYTES: usize = 3;

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    if !has_all(bytes, SIGNATURE)? {
        return Ok(Parsed::Incomplete);
    }
    let command = bytes.get(COMMAND_AT).copied();
    if command.is_some_and(|command| !matches!(command, LOCAL | PROXY)) {
        return Err(Malformed::Command);
    }
    let Some(fixed) = bytes.first_chunk::<FIXED_BYTES>() else {
        return Ok(Parsed::Incomplete);
    };
    let length = u16::from_be_bytes([fixed[LENGTH_AT], fixed[LENGTH_AT + 1]]);
    let header_bytes = FIXED_BYTES + usize::from(length);
    if header_bytes > PROXY_HEADER_BYTES_MAX {
        return Err(Malformed::Length);
    }
    let Some(block) = bytes.get(FIXED_BYTES..header_bytes) else {
        return Ok(Parsed::Incomplete);
    };
    let announced = match fixed[COMMAND_AT] {
        // "the receiver [...] must discard the protocol block including the family"
        LOCAL => None,
        _ => parse_block(fixed[FAMILY_AT], block)?,
    };
    Ok(Parsed::Complete {
        announced,
        header_bytes,
    })
}

/// Addresses and TLVs. A family of no use here leaves the connection's own ends; one that is not
/// specified "must be rejected as invalid".
fn parse_block(family: u8, block: &[u8]) -> Result<Option<Announced>, Malformed> {
    let address_bytes = match family {
        UNSPECIFIED => return Ok(None),
        TCP4 | UDP4 => IPV4_BYTES,
        TCP6 | UDP6 => IPV6_BYTES,
        UNIX_STREAM | UNIX_DATAGRAM => UNIX_BYTES,
        _ => return Err(Malformed::Family),
    };
    let (addresses, tlvs) = block
        .split_at_checked(address_bytes)
        .ok_or(Malformed::Length)?;
    check_tlvs(tlvs)?;
    Ok(match family {
        TCP4 => read_addresses::<4>(addresses),
        TCP6 => read_addresses::<16>(addresses),
        _ => None,
    })
}

/// Two addresses of `N` bytes, then two ports.
fn read_addresses<const N: usize>(block: &[u8]) -> Option<Announced>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    let end = |ip: [u8; N], port| SocketAddr::new(IpAddr::from(ip), u16::from_be_bytes(port));
    Some(Announced {
        source: end(*source, *source_port),
        destination: end(*destination, *destination_port),
    })
}

/// Each says its own length, and together they must have that of the rest. None is of use here.
fn check_tlvs(mut tlvs: &[u8]) -> Result<(), Malformed> {
    while !tlvs.is_empty() {
        let [_, high, low] = *tlvs.first_chunk::<TLV_HEAD_BYTES>().ok_or(Malformed::Tlv)?;
        let tlv_bytes = TLV_HEAD_BYTES + usize::from(u16::from_be_bytes([high, low]));
        tlvs = tlvs.get(tlv_bytes..).ok_or(Malformed::Tlv)?;
    }
    Ok(())
}

/// Both addresses are of one family.
pub(super) fn put(out: &mut Vec<u8>, announced: Announced) {
    let Announced {
        source,
        destination,
    } = announced;
    out.extend_from_slice(SIGNATURE);
    let (family, length) = if source.is_ipv4() {
        (TCP4, IPV4_BYTES)
    } else {
        (TCP6, IPV6_BYTES)
    };
    out.extend_from_slice(&[PROXY, family]);
    out.extend_from_slice(&(length as u16).to_be_bytes());
    for end in [source, destination] {
        match end.ip() {
            IpAddr::V4(ip) => out.extend_from_slice(&Ipv4Addr::octets(&ip)),
            IpAddr::V6(ip) => out.extend_from_slice(&Ipv6Addr::octets(&ip)),
        }
    }
    for end in [source, destination] {
        out.extend_from_slice(&end.port().to_be_bytes());
    }
}
