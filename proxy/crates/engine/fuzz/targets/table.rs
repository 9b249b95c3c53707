//! Invariant: no bytes panic, and what is refused says why.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: spanway_fuzz::write_seeds("table"),
    |bytes: &[u8]| spanway_fuzz::table(bytes)
);
