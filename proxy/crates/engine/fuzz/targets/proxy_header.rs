//! Invariant: a header is bounded, no prefix is one, refused stays refused, written is read as the same.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: spanway_fuzz::write_seeds("proxy_header"),
    |bytes: &[u8]| spanway_fuzz::proxy_header(bytes)
);
