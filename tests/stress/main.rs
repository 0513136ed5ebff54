//! Threads do everything that the public interface offers, at once, in stores with hardly any room. What each does is decided by
//! a seed beforehand; who comes first is up to the machine. See docs/testing.md for how to repeat and prolong it.

#[path = "../common/mod.rs"]
mod common;

mod everybody;
mod lineage;
mod mine;
mod plan;
mod run;

use common::rng::Rng;
use std::time::{Duration, Instant};

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(number.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

#[test]
fn threads_that_do_everything_at_once_find_what_they_may_find() {
    let seed = variable("MEMFS_STRESS_SEED");
    let runs = variable("MEMFS_STRESS_RUNS");
    let seconds = variable("MEMFS_STRESS_SECONDS").map(Duration::from_secs);
    let begun = Instant::now();
    let mut seeds = Rng::new(0x5eed);
    let mut run = 0;
    loop {
        let over = match (runs, seconds) {
            (_, Some(seconds)) => begun.elapsed() >= seconds,
            (Some(runs), None) => run >= runs,
            (None, None) => run >= if seed.is_some() { 1 } else { 16 },
        };
        if over {
            break;
        }
        run::run(seed.unwrap_or_else(|| seeds.next()));
        run += 1;
    }
    println!("{run} runs in {:.1} s", begun.elapsed().as_secs_f64());
}
