//! Random input into the fuzz targets, in this process. A broken promise is a panic, which says the seed.

use std::time::Instant;

use crate::requests::Requests;
use crate::targets::TARGETS;

/// So many inputs for each target, on two threads.
pub fn fuzz(seed: u64, inputs: u32) {
    println!("| target | inputs | seconds | a second |\n|---|---|---|---|");
    for (name, target) in TARGETS {
        let began = Instant::now();
        std::thread::scope(|scope| {
            for half in 0..2 {
                scope.spawn(move || {
                    let mut random = Requests::new(seed.wrapping_mul(2).wrapping_add(half));
                    for n in 0..inputs / 2 {
                        let bytes = random.bytes(*name == "requests");
                        let hit = std::panic::catch_unwind(|| target(&bytes));
                        if hit.is_err() {
                            eprintln!("{name}: input {n} of half {half}, seed {seed}: {bytes:?}");
                            std::process::exit(1);
                        }
                    }
                });
            }
        });
        let seconds = began.elapsed().as_secs_f64();
        println!("| {name} | {inputs} | {seconds:.1} | {:.0} |", f64::from(inputs) / seconds);
    }
}
