//! A TCP connection in numbers, from either of the two forms in which the kernel tells them.
//!
//! Rules: any bytes are read without a panic; what is not there is 0.
//!
//! Source: include/uapi/linux/tcp.h, `struct tcp_info` and `TCP_NLA_*`.

/// What of the connection is told. Times are in microseconds, counts since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// The smoothed round trip. Where the peer's acknowledgements wait for its answers, their
    /// waiting is part of it.
    pub rtt_us: u32,
    /// The shortest round trip of the last five minutes: the network's own, without waiting. Absent
    /// while there was none.
    pub rtt_min_us: Option<u32>,
    /// Segments that were sent again; those of the handshake count.
    pub retransmits: u32,
    /// How long there were bytes that the peer had not acknowledged.
    pub busy_us: u64,
    /// How much of it nothing could be sent because the peer's buffer was full.
    pub peer_full_us: u64,
    /// How much of it nothing could be sent because ours was.
    pub send_buffer_full_us: u64,
}

/// `struct tcp_info` up to the last field that is read.
pub(crate) const TCP_INFO_BYTES: usize = 192;

/// Where a field of `struct tcp_info` begins.
mod info {
    pub const RTT: usize = 68;
    pub const TOTAL_RETRANS: usize = 100;
    pub const MIN_RTT: usize = 148;
    pub const BUSY_TIME: usize = 168;
    pub const RWND_LIMITED: usize = 176;
    pub const SNDBUF_LIMITED: usize = 184;
}

/// The type of an attribute.
mod attribute {
    pub const BUSY: u16 = 1;
    pub const RWND_LIMITED: u16 = 2;
    pub const SNDBUF_LIMITED: u16 = 3;
    pub const TOTAL_RETRANS: u16 = 5;
    pub const MIN_RTT: u16 = 10;
    pub const SRTT: u16 = 22;
}

impl Statistics {
    /// Of a new connection: how long its handshake took; `None` where a part of it was sent again.
    #[must_use]
    pub fn handshake_us(&self) -> Option<u32> {
        self.rtt_min_us.filter(|_| self.retransmits == 0)
    }

    pub(crate) fn of_tcp_info(bytes: &[u8]) -> Self {
        Self {
            rtt_us: u32_at(bytes, info::RTT),
            rtt_min_us: round_trip(u32_at(bytes, info::MIN_RTT)),
            retransmits: u32_at(bytes, info::TOTAL_RETRANS),
            busy_us: u64_at(bytes, info::BUSY_TIME),
            peer_full_us: u64_at(bytes, info::RWND_LIMITED),
            send_buffer_full_us: u64_at(bytes, info::SNDBUF_LIMITED),
        }
    }

    /// From netlink attributes: length and type, two bytes each, then the value, padded to four. There
    /// are 27 of them with each answer, most of which are passed over.
    pub(crate) fn of_attributes(mut bytes: &[u8]) -> Self {
        let mut statistics = Self::default();
        while let Some(&[length_0, length_1, kind_0, kind_1]) = bytes.first_chunk() {
            let length = usize::from(u16::from_ne_bytes([length_0, length_1])).max(4);
            let kind = u16::from_ne_bytes([kind_0, kind_1]);
            let value = || bytes.get(4..length).unwrap_or_default();
            match kind {
                attribute::SRTT => statistics.rtt_us = u32_at(value(), 0),
                attribute::MIN_RTT => statistics.rtt_min_us = round_trip(u32_at(value(), 0)),
                attribute::TOTAL_RETRANS => statistics.retransmits = u32_at(value(), 0),
                attribute::BUSY => statistics.busy_us = u64_at(value(), 0),
                attribute::RWND_LIMITED => statistics.peer_full_us = u64_at(value(), 0),
                attribute::SNDBUF_LIMITED => statistics.send_buffer_full_us = u64_at(value(), 0),
                _ => {}
            }
            bytes = bytes.get((length + 3) & !3..).unwrap_or_default();
        }
        statistics
    }
}

/// The kernel's word for one that it has not seen yet is the largest number.
fn round_trip(us: u32) -> Option<u32> {
    (us != u32::MAX).then_some(us)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.copied().unwrap_or([0; N])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(array_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = 4 + value.len() as u16;
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn attributes_are_found_among_others_of_any_length() {
        let bytes = [
            attribute(99, &[1, 2, 3]),
            attribute(attribute::SRTT, &1_500_u32.to_ne_bytes()),
            attribute(27, &[64]),
            attribute(attribute::BUSY, &7_u64.to_ne_bytes()),
        ];
        let read = Statistics::of_attributes(&bytes.concat());
        let want = Statistics {
            rtt_us: 1_500,
            busy_us: 7,
            ..Statistics::default()
        };
        assert_eq!(read, want);
    }

    #[test]
    fn any_bytes_are_read_to_their_end() {
        for length in 0..64 {
            for byte in [0, 1, 3, 4, 5, 0xff] {
                let bytes = vec![byte; length];
                Statistics::of_attributes(&bytes);
                Statistics::of_tcp_info(&bytes);
            }
        }
    }
}
