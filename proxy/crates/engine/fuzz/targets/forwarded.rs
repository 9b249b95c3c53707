//! Invariant: what a stranger wrote before the first address that is not trusted decides nothing.

#![no_main]

use spanway_engine::fuzzing::forwarded;

libfuzzer_sys::fuzz_target!(
    init: spanway_fuzz::write_seeds_of("forwarded", &forwarded::seeds()),
    |bytes: &[u8]| forwarded::check(bytes)
);
