//! Invariant: a rewritten path is one that a client may send; a location stays on its host and in
//! its line.

#![no_main]

use spanway_engine::fuzzing::policy_text;

libfuzzer_sys::fuzz_target!(
    init: spanway_fuzz::write_seeds_of("policy_text", &policy_text::seeds()),
    |bytes: &[u8]| policy_text::check(bytes)
);
