//! Load at a fixed rate: `spanway-open-loop PORT RATE SECONDS CONNECTIONS HOST BODY_BYTES`.
//!
//! An open loop: a request is due when the schedule says so, whether or not the server has answered
//! the ones before. Its latency counts from when it was due, not from when it could be sent: what a
//! server delays by being slow is part of its latency (no "coordinated omission"). That this
//! program itself may be late is in there too, for every server alike, and is told as `late_us`.
//!
//! Arrivals are a Poisson process with a fixed seed: the same for every server, and unlike an even
//! beat never in step with anything. Each connection is a thread, which takes the next arrival,
//! sleeps until it is due, sends, and waits for the answer. Prints
//! `{"request_count": …, "latency_us": […], "late_us": […]}`, without the warm-up's.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SEED: u64 = 1;
const WARM_UP: Duration = Duration::from_millis(300);
/// From the start of the threads to the first arrival.
const HEAD_START: Duration = Duration::from_millis(50);
/// A server that answers nothing for so long has failed.
const STALL: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 16 * 1024;
const STATUS: &[u8] = b"HTTP/1.1 200";

/// What the command line asks for.
struct Load {
    port: u16,
    rate: f64,
    seconds: f64,
    connections: usize,
    host: String,
    body_bytes: usize,
}

/// One answered request, from when it was due.
struct Sample {
    late: Duration,
    latency: Duration,
}

fn main() -> ExitCode {
    match parse(env::args().skip(1)).and_then(|load| offer(&load)) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(err) => {
            eprintln!("{err}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Load, Box<dyn Error>> {
    let mut word = || words.next().ok_or("six arguments are needed");
    Ok(Load {
        port: word()?.parse()?,
        rate: word()?.parse()?,
        seconds: word()?.parse()?,
        connections: word()?.parse()?,
        host: word()?,
        body_bytes: word()?.parse()?,
    })
}

/// Runs the whole load; the result as JSON.
fn offer(load: &Load) -> Result<String, Box<dyn Error>> {
    let arrivals = arrivals(load.rate, WARM_UP + Duration::from_secs_f64(load.seconds));
    let streams = (0..load.connections)
        .map(|_| connect(load.port))
        .collect::<io::Result<Vec<_>>>()?;
    let next = AtomicUsize::new(0);
    let start = Instant::now() + HEAD_START;
    let samples = thread::scope(|scope| {
        let threads: Vec<_> = streams
            .into_iter()
            .map(|stream| scope.spawn(|| serve(stream, load, &arrivals, &next, start)))
            .collect();
        threads
            .into_iter()
            .map(|one| {
                one.join()
                    .map_err(|_| io::Error::other("a thread failed"))?
            })
            .collect::<io::Result<Vec<_>>>()
    })?;
    let samples: Vec<_> = samples.into_iter().flatten().collect();
    Ok(as_json(arrivals.len(), &samples))
}

/// One connection: takes arrivals until there are none.
fn serve(
    mut stream: TcpStream,
    load: &Load,
    arrivals: &[Duration],
    next: &AtomicUsize,
    start: Instant,
) -> io::Result<Vec<Sample>> {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nUser-Agent: open-loop\r\nAccept: */*\r\n\r\n",
        load.host
    );
    let mut samples = Vec::with_capacity(arrivals.len());
    let mut buffer = vec![0; READ_BYTES];
    while let Some(&arrival) = arrivals.get(next.fetch_add(1, Ordering::Relaxed)) {
        let due = start + arrival;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let late = due.elapsed();
        stream.write_all(request.as_bytes())?;
        read_answer(&mut stream, &mut buffer, load.body_bytes)?;
        if arrival >= WARM_UP {
            samples.push(Sample {
                late,
                latency: due.elapsed(),
            });
        }
    }
    Ok(samples)
}

/// Reads one response to its end.
fn read_answer(stream: &mut TcpStream, buffer: &mut [u8], body_bytes: usize) -> io::Result<()> {
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..])?;
        filled += count;
        let received = &buffer[..filled];
        if count == 0 || (filled >= STATUS.len() && !received.starts_with(STATUS)) {
            let said = String::from_utf8_lossy(&received[..filled.min(80)]);
            return Err(io::Error::other(format!("not the answer: {said:?}")));
        }
        let head = received.windows(4).position(|four| four == b"\r\n\r\n");
        if head.is_some_and(|at| filled >= at + 4 + body_bytes) {
            return Ok(());
        }
    }
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STALL))?;
    Ok(stream)
}

/// When requests are due, from the start: exponential gaps with a mean of `1 / rate` seconds.
fn arrivals(rate: f64, whole: Duration) -> Vec<Duration> {
    let mut state = SEED;
    let mut at = Duration::ZERO;
    let mut arrivals = Vec::new();
    loop {
        at += Duration::from_secs_f64(-unit(&mut state).ln() / rate);
        if at >= whole {
            return arrivals;
        }
        arrivals.push(at);
    }
}

/// The next random number in (0, 1]. Source: Steele et al., `SplitMix64`.
fn unit(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let parts = u32::try_from(mixed >> 32).unwrap_or(u32::MAX);
    (f64::from(parts) + 1.0) / (f64::from(u32::MAX) + 1.0)
}

fn as_json(request_count: usize, samples: &[Sample]) -> String {
    let list = |of: fn(&Sample) -> Duration| {
        let mut text = String::new();
        for sample in samples {
            let comma = if text.is_empty() { "" } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{comma}{:.1}", of(sample).as_secs_f64() * 1e6);
        }
        text
    };
    format!(
        r#"{{"request_count": {request_count}, "latency_us": [{}], "late_us": [{}]}}"#,
        list(|one| one.latency),
        list(|one| one.late)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_the_same_every_time_in_order_and_as_many_as_the_rate_says() {
        let whole = Duration::from_secs(10);
        let due = arrivals(5000.0, whole);
        assert_eq!(due, arrivals(5000.0, whole));
        assert!(due.is_sorted() && due.iter().all(|at| *at < whole));
        assert!((49_000..51_000).contains(&due.len()), "{}", due.len());
    }
}
