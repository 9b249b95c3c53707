//! Invariant: a head is clean, and none of its prefixes is one.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: spanway_fuzz::write_seeds("response_head"),
    |bytes: &[u8]| spanway_fuzz::response_head(bytes)
);
