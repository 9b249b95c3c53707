//! What holds for any bytes: each function takes some and panics where it does not. Fuzzing looks
//! for such bytes (`fuzz/targets`), and so do ordinary tests with damaged ones (`tests/mutants.rs`).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::format_collect,
    clippy::missing_panics_doc,
    clippy::naive_bytecount,
    dead_code,
    missing_docs,
    reason = "a check that panics has found something; each target's first line says what it checks"
)]

use std::path::Path;

pub mod exchange;
mod http1;
mod http2;
mod matching;
mod proxy_header;
mod seeds;
mod table;
mod trace;

pub use http1::{chunked_body, exchange_in_pieces, request_head, response_head, target};
pub use http2::http2_request;
pub use matching::routing;
pub use proxy_header::proxy_header;
pub use table::table;
pub use trace::{propagators, trace_context};

/// A fuzz target: its name, what it checks, and bytes to begin with.
pub struct Target {
    pub name: &'static str,
    pub check: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Those of what the engine exports; `fuzz/targets` has one file for each.
pub const TARGETS: [Target; 11] = [
    of("request_head", request_head, seeds::requests),
    of("response_head", response_head, seeds::responses),
    of("exchange", exchange_in_pieces, seeds::requests),
    of("chunked_body", chunked_body, seeds::chunked),
    of("target", target, seeds::targets),
    of("trace_context", trace_context, seeds::trace_contexts),
    of("propagators", propagators, seeds::propagators),
    of("proxy_header", proxy_header, seeds::proxy_headers),
    of("http2_request", http2_request, seeds::http2_requests),
    of("table", table, seeds::tables),
    of("routing", routing, seeds::routings),
];

const fn of(name: &'static str, check: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, check, seeds }
}

/// Writes a target's seeds to `corpus/NAME/`, from where libFuzzer reads them next.
pub fn write_seeds(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    write_seeds_of(name, &(target.seeds)());
}

/// The same for a target whose check is in the engine (`src/fuzzing`), for what it does not export.
pub fn write_seeds_of(name: &str, seeds: &[Vec<u8>]) {
    let corpus = Path::new("corpus").join(name);
    std::fs::create_dir_all(&corpus).unwrap();
    for (index, seed) in seeds.iter().enumerate() {
        std::fs::write(corpus.join(format!("seed-{index}")), seed).unwrap();
    }
}

/// The parts between line feeds; the last of them has the rest.
fn lines<const N: usize>(bytes: &[u8]) -> [&[u8]; N] {
    let mut parts = bytes.splitn(N, |&byte| byte == b'\n');
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}
