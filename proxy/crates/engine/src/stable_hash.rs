//! A hash that is the same for all workers, replicas, versions and restarts: what a client's cookie
//! or a consistent choice rests on. It is no secret and keeps none.

/// FNV-1a over the parts one after the other, then [`mixed`].
///
/// Source: draft-eastlake-fnv, section 2.
pub fn stable_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let bytes = parts.into_iter().flatten();
    mixed(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}

/// Spreads every bit over all bits, one to one: FNV alone leaves the last bytes in the low ones.
///
/// Source: the 64-bit finaliser of `MurmurHash3`.
pub const fn mixed(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_earlier_versions() {
        // FNV-1a of "foobar" by its authors' test vectors, then mixed.
        assert_eq!(stable_hash([&b"foobar"[..]]), mixed(0x8594_4171_f739_67e8));
        assert_eq!(
            stable_hash([&b"foo"[..], b"bar"]),
            stable_hash([&b"foobar"[..]])
        );
    }

    #[test]
    fn one_bit_changes_half_of_the_others() {
        for bit in 0..64 {
            let changed = (mixed(0x1234_5678) ^ mixed(0x1234_5678 ^ 1 << bit)).count_ones();
            assert!((16..=48).contains(&changed), "bit {bit} changes {changed}");
        }
    }
}
