//! What must hold for any bytes of what cannot be reached from outside of the crate, for the fuzzer
//! (`fuzz/targets`) and for ordinary tests. What can be reached has its checks in `fuzz/src`.
//!
//! Rules: a check panics exactly when its invariant, the first line of its file, is broken. It is
//! compiled for tests and under `cfg(fuzzing)`, never into the engine.

#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a check that panics has found something; its file's first line is its documentation"
)]

pub mod certificate_names;
pub mod client_hello;
#[cfg(test)]
mod corpus;
pub mod forwarded;
pub mod normal_path;
mod pieces;
pub mod policy_text;
mod vectors;

/// A test over mutants of its seeds for each check.
#[cfg(test)]
macro_rules! checks {
    ($($name:ident: $rounds:expr;)*) => {
        mod mutants {
            use super::corpus;

            $(#[test]
            fn $name() {
                corpus::check_mutants(&super::$name::seeds(), super::$name::check, $rounds);
            })*
        }
    };
}

// The rounds are as many as an unoptimised build does in a fraction of a second.
#[cfg(test)]
checks! {
    certificate_names: 20_000;
    client_hello: 500;
    forwarded: 10_000;
    normal_path: 5_000;
    policy_text: 1_000;
}
