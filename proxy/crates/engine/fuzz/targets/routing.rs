//! Invariant: the route that answers is the one that a comparison with each route finds.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: spanway_fuzz::write_seeds("routing"),
    |bytes: &[u8]| spanway_fuzz::routing(bytes)
);
