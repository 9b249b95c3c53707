//! Invariant: what is read is read again from what is written, within its bounds.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: spanway_fuzz::write_seeds("trace_context"),
    |bytes: &[u8]| spanway_fuzz::trace_context(bytes)
);
