//! Random damage to real bytes: what the fuzz targets check holds. A short run of the same checks;
//! `make fuzz` is the long one.

use fastrand::Rng;

#[path = "../fuzz/src/lib.rs"]
mod invariants;

const ROUNDS: usize = 5_000;

/// Bytes that mean something to one parser or another.
const SHARP: &[u8] = b"\r\n\r\n :;,=\"\\/?#%.*[]{}@_-\t\0\x0b\x7f\x80\xff0159afx";

/// A seed that a failure prints; `SPANWAY_TEST_SEED` repeats it.
fn seeded() -> Rng {
    let given = std::env::var("SPANWAY_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("SPANWAY_TEST_SEED={seed}");
    Rng::with_seed(seed)
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Rng) {
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(..=bytes.len());
        let sharp = SHARP[random.usize(..SHARP.len())];
        match random.u8(..6) {
            0 => bytes.insert(at, sharp),
            1 if at < bytes.len() => bytes[at] = sharp,
            2 if at < bytes.len() => bytes[at] = random.u8(..),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => bytes.truncate(at.max(1)),
            _ => {
                let from = random.usize(..=other.len());
                let to = random.usize(from..=other.len().min(from + 40));
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
}

/// Checks each seed, then mutants of them.
fn check(name: &str) {
    let mut targets = invariants::TARGETS.iter();
    let Some(target) = targets.find(|target| target.name == name) else {
        unreachable!("{name} is listed");
    };
    let seeds = (target.seeds)();
    for seed in &seeds {
        (target.check)(seed);
    }
    let mut random = seeded();
    for _ in 0..ROUNDS {
        let mut bytes = seeds[random.usize(..seeds.len())].clone();
        mutate(&mut bytes, &seeds[random.usize(..seeds.len())], &mut random);
        (target.check)(&bytes);
    }
}

macro_rules! claims {
    ($($claim:ident: $target:literal,)*) => {
        $(
            #[test]
            fn $claim() {
                check($target);
            }
        )*

        #[test]
        fn every_target_is_checked() {
            let names = invariants::TARGETS.map(|target| target.name);
            assert_eq!(names, [$($target),*]);
        }
    };
}

claims! {
    a_request_head_is_the_same_with_a_tail_and_no_prefix_is_one: "request_head",
    a_response_head_is_clean_and_no_prefix_is_one: "response_head",
    requests_say_the_same_in_pieces: "exchange",
    a_chunked_body_is_the_same_at_every_split: "chunked_body",
    hosts_and_paths_have_one_form: "target",
    trace_context_is_written_as_it_is_read: "trace_context",
    every_format_of_trace_context_goes_on_as_it_is_read: "propagators",
    a_proxy_header_is_bounded_and_written_as_it_is_read: "proxy_header",
    no_value_of_http2_ends_a_line: "http2_request",
    a_table_never_panics: "table",
    the_longest_match_is_that_of_comparing_with_each: "routing",
}
