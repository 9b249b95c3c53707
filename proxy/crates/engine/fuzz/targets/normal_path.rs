//! Invariant: a path has one normal form: its own, without dot segments, and of whatever means the
//! same.

#![no_main]

use spanway_engine::fuzzing::normal_path;

libfuzzer_sys::fuzz_target!(
    init: spanway_fuzz::write_seeds_of("normal_path", &normal_path::seeds()),
    |bytes: &[u8]| normal_path::check(bytes)
);
