//! Invariant: no value ends its line or its head; what the parser accepts of the text is all of it.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: spanway_fuzz::write_seeds("http2_request"),
    |bytes: &[u8]| spanway_fuzz::http2_request(bytes)
);
