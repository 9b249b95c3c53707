//! Invariant: what any format of trace context reads is read again from what goes on with it.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: spanway_fuzz::write_seeds("propagators"),
    |bytes: &[u8]| spanway_fuzz::propagators(bytes)
);
