//! Input in pieces: where to split it, and how to make several inputs of one.

/// Every split of short bytes is tried; of longer ones as many, spread evenly.
const SPLITS_MAX: usize = 128;

/// Positions within `bytes` to split it at; the first is 0.
pub fn splits(bytes: &[u8]) -> impl Iterator<Item = usize> + use<> {
    (0..bytes.len()).step_by(bytes.len() / SPLITS_MAX + 1)
}

/// The next line of `rest`, without its LF; empty once there is none.
pub fn line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    let (line, after) = rest.split_at(end);
    *rest = after.get(1..).unwrap_or_default();
    line
}
