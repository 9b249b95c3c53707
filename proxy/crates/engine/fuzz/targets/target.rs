//! Invariant: a host is a lower-case name or an address; a path's normal form is its own.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: spanway_fuzz::write_seeds("target"),
    |bytes: &[u8]| spanway_fuzz::target(bytes)
);
