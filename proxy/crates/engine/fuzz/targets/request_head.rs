//! Invariant: a head is the same whatever follows it, none of its prefixes is one, and what is
//! forwarded of it is clean.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: spanway_fuzz::write_seeds("request_head"),
    |bytes: &[u8]| spanway_fuzz::request_head(bytes)
);
