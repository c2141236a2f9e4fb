//! What reading user agents costs: time of one, and memory with many threads that read at once.
//!
//!     cargo bench --no-default-features --bench user_agents
//!
//! Made-up variations of real user agents, none twice unless said; medians of five rounds.

use std::fs;
use std::hint::black_box;
use std::time::Instant;

use token_registry::client_info::{self, Reading};

const SAMPLE: &str = include_str!("../tests/data/user_agents_sample.jsonl");
const ROUNDS: usize = 5;
const EACH: usize = 2_000;
const THREADS: usize = 16;

fn main() {
    let sample: Vec<String> = SAMPLE
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .map(|line| line["user_agent"].as_str().expect("a text").to_owned())
        .collect();
    // A number at the end makes it another user agent, of the same length as far as that matters.
    let varied = |n: usize| format!("{} {n}", sample[n % sample.len()]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");

    println!("{:<58}{:>10}", "resident memory at the start", memory());
    let begun = Instant::now();
    black_box(runtime.block_on(client_info::read("")));
    println!(
        "{:<58}{:>7.0} ms",
        "the first one, which builds the rules",
        begun.elapsed().as_secs_f64() * 1e3
    );
    println!("{:<58}{:>10}", "resident memory then", memory());

    let mut next = 0;
    let mut fresh = || {
        next += EACH;
        (next - EACH..next).map(varied).collect::<Vec<_>>()
    };
    print("read for the first time, by the thread for it", || {
        let texts = fresh();
        time(texts.len(), || {
            for text in &texts {
                assert!(matches!(runtime.block_on(client_info::read(text)), Reading::Read(_)));
            }
        })
    });
    for text in &sample {
        runtime.block_on(client_info::read(text));
    }
    print("remembered", || {
        time(EACH * 10, || {
            for n in 0..EACH * 10 {
                let reading = runtime.block_on(client_info::read(&sample[n % sample.len()]));
                assert!(matches!(reading, Reading::Remembered(_)));
            }
        })
    });
    let long = "Mozilla/5.0 (Linux; Android 14; ".to_owned() + &"x; ".repeat(3_400);
    print("10 kB, each for the first time", || {
        let texts: Vec<_> = (0..100)
            .map(|_| {
                next += 1;
                format!("{next} {long}")
            })
            .collect();
        time(texts.len(), || {
            for text in &texts {
                black_box(runtime.block_on(client_info::read(text)));
            }
        })
    });
    println!("{:<58}{:>10}", "resident memory then", memory());
    let from_threads = |what: &str, first: usize, read: &(dyn Fn(&str) + Sync)| {
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || {
                    for n in 0..EACH {
                        read(&varied(first + thread * EACH + n));
                    }
                });
            }
        });
        println!("{what:<58}{:>10}", memory());
    };
    let handle = runtime.handle().clone();
    from_threads("resident memory after 16 threads read through it", 1_000_000, &|text| {
        black_box(handle.block_on(client_info::read(text)));
    });
    from_threads("resident memory after 16 threads parsed for themselves", 2_000_000, &|text| {
        black_box(client_info::parse(text));
    });
}

/// Microseconds for each of so many.
fn time(count: usize, work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let count = count as f64;
    begun.elapsed().as_secs_f64() * 1e6 / count
}

fn print(what: &str, mut round: impl FnMut() -> f64) {
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    rounds.sort_by(f64::total_cmp);
    let (least, median, most) = (rounds[0], rounds[ROUNDS / 2], rounds[ROUNDS - 1]);
    println!("{what:<58}{median:>7.2} µs ({least:.2} to {most:.2})");
}

/// Resident memory of this process, where the system tells it.
fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
    kilobytes
        .and_then(|text| text.parse::<u64>().ok())
        .map_or("?".to_owned(), |kb| format!("{} MB", kb / 1024))
}
