//! Mutants of seeds. The same ones each time: a test that fails must fail again.

use fastrand::Rng;

/// Bytes that mean something to one parser or another.
const SHARP: &[u8] = b"\r\n\r\n :;,=\"\\/?#%.*[]{}@_-$\t\0\x0b\x7f\x80\xff0159afx";

/// Runs `check` over the seeds and that many mutants of them. `SPANWAY_TEST_SEED` makes others.
pub fn check_mutants(seeds: &[Vec<u8>], check: fn(&[u8]), rounds: usize) {
    let given = std::env::var("SPANWAY_TEST_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("SPANWAY_TEST_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    for bytes in seeds {
        check_shown(check, bytes);
    }
    for _ in 0..rounds {
        let mut bytes = seeds[random.usize(..seeds.len())].clone();
        let other = &seeds[random.usize(..seeds.len())];
        mutate(&mut bytes, other, &mut random);
        check_shown(check, &bytes);
    }
}

/// A panic shows what it is about.
fn check_shown(check: fn(&[u8]), bytes: &[u8]) {
    struct Shown<'a>(&'a [u8]);
    impl Drop for Shown<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                println!("of b\"{}\"", self.0.escape_ascii());
            }
        }
    }
    let _shown = Shown(bytes);
    check(bytes);
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
