//! Invariant: the names in a certificate are printable ASCII, whatever the certificate's bytes are.

#![no_main]

use spanway_engine::fuzzing::certificate_names;

libfuzzer_sys::fuzz_target!(
    init: spanway_fuzz::write_seeds_of("certificate_names", &certificate_names::seeds()),
    |bytes: &[u8]| certificate_names::check(bytes)
);
