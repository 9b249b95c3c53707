//! Invariant: what a TLS connection begins with is told within a bound; a hello is one in pieces,
//! too.

#![no_main]

use spanway_engine::fuzzing::client_hello;

libfuzzer_sys::fuzz_target!(
    init: spanway_fuzz::write_seeds_of("client_hello", &client_hello::seeds()),
    |bytes: &[u8]| client_hello::check(bytes)
);
