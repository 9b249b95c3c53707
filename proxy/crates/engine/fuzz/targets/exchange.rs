//! Invariant: a connection's requests are answered and forwarded alike, in whatever pieces they arrive.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: spanway_fuzz::write_seeds("exchange"),
    |bytes: &[u8]| spanway_fuzz::exchange_in_pieces(bytes)
);
