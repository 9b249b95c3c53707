//! Invariant: the data is the same, and ends at the same byte, at every split.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: spanway_fuzz::write_seeds("chunked_body"),
    |bytes: &[u8]| spanway_fuzz::chunked_body(bytes)
);
