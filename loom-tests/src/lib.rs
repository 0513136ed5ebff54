//! How models are run, and how a broken variant is seen to fail.
//!
//! A model is a set-up, two or three bodies that run at once, and a look at what came of it. Set-up and look are not
//! explored: they run alone. `cd loom-tests && cargo test --release` runs them all.

#![cfg(memfs_loom)]

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

pub use memfs::model::{Kind, Mutation};

/// Bytes of stack of a model's threads.
const STACK_BYTES: usize = 1 << 20;

/// How a model is explored.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// Most times that a thread is interrupted where it could have gone on.
    pub preemptions: usize,
    /// When to give up; a model that is cut short says so.
    pub seconds: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        let preemptions =
            std::env::var("LOOM_MAX_PREEMPTIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
        let seconds = std::env::var("MEMFS_LOOM_SECONDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
        Self { preemptions, seconds }
    }
}

/// Explores `bodies` at once upon what `set_up` made; `look` gets that and what the bodies returned.
pub fn model<S: 'static, R: Send + 'static, const N: usize>(
    set_up: fn() -> S,
    bodies: [fn(&S) -> R; N],
    look: fn(S, [R; N]),
) {
    model_within(Bounds::default(), set_up, bodies, look);
}

/// The same within other bounds: with one preemption to the end, if the time is enough, then with more. Says how far it came.
pub fn model_within<S: 'static, R: Send + 'static, const N: usize>(
    bounds: Bounds,
    set_up: fn() -> S,
    bodies: [fn(&S) -> R; N],
    look: fn(S, [R; N]),
) {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    let begun = Instant::now();
    for preemptions in 1..=bounds.preemptions {
        let left = Duration::from_secs(bounds.seconds).saturating_sub(begun.elapsed());
        let (from, runs) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.max_duration = Some(left);
        builder.max_branches = 20_000;
        // At a checkpoint it looks how late it is.
        builder.checkpoint_interval = 20;
        let counted = runs.clone();
        builder.check(move || {
            memfs::model::begin();
            counted.fetch_add(1, Ordering::Relaxed);
            // The first thread's stack cannot be chosen.
            let director = big().spawn(move || direct(set_up, bodies, look));
            director.expect("loom spawns").join().expect("a panic ends the model");
        });
        let is_cut = from.elapsed() >= left;
        let how = if is_cut { "CUT SHORT" } else { "all" };
        let (runs, seconds) = (runs.load(Ordering::Relaxed), from.elapsed().as_secs_f64());
        println!("{name}: {how} of {preemptions} preemptions, {runs} executions, {seconds:.1} s");
        if is_cut {
            return;
        }
    }
}

fn big() -> loom::thread::Builder {
    loom::thread::Builder::new().stack_size(STACK_BYTES / size_of::<usize>())
}

fn direct<S: 'static, R: Send + 'static, const N: usize>(
    set_up: fn() -> S,
    bodies: [fn(&S) -> R; N],
    look: fn(S, [R; N]),
) {
    loom::stop_exploring();
    let state = Arc::new(Alone(set_up()));
    loom::explore();
    let others: Vec<_> = bodies[1..]
        .iter()
        .map(|&body| {
            let state = state.clone();
            big().spawn(move || body(&state.0)).expect("loom spawns")
        })
        .collect();
    let first = bodies[0](&state.0);
    let others = others.into_iter().map(|other| other.join().expect("a panic ends the model"));
    let results: Vec<R> = std::iter::once(first).chain(others).collect();
    loom::stop_exploring();
    let state = Arc::into_inner(state).expect("the bodies have ended").0;
    look(state, results.try_into().ok().expect("one of each"));
}

/// What a look does that may come out in several ways.
pub fn explored<R>(run: impl FnOnce() -> R) -> R {
    loom::explore();
    let done = run();
    loom::stop_exploring();
    done
}

struct Alone<S>(S);

// SAFETY: loom runs all its threads on one, one at a time.
unsafe impl<S> Send for Alone<S> {}
// SAFETY: as above.
unsafe impl<S> Sync for Alone<S> {}

const VARIABLE: &str = "MEMFS_LOOM_BROKEN";

/// Runs `model` with `mutation` in the shipping code, in a process of its own: it must fail, and say one of `expected`.
pub fn breaks(mutation: impl FnOnce() -> Mutation, expected: &[&str], model: impl FnOnce()) {
    fails(expected, || memfs::model::broken(mutation(), model));
}

/// Runs `model`, which is wrong in itself, in a process of its own: it must fail, and say one of `expected`.
pub fn fails(expected: &[&str], model: impl FnOnce()) {
    let name = std::thread::current().name().expect("libtest names its threads").to_owned();
    if std::env::var(VARIABLE).is_ok_and(|broken| broken == name) {
        model();
        println!("SURVIVED");
        return;
    }
    let run = Command::new(std::env::current_exe().expect("a test has a program"))
        .args([&name, "--exact", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, &name)
        // Ends when the mistake is seen, however short the others are cut.
        .env("MEMFS_LOOM_SECONDS", "600")
        .output()
        .expect("a test can be run");
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(!said.contains("SURVIVED"), "the broken variant went unnoticed:\n{said}");
    assert!(!run.status.success() && said.contains("panicked"), "{said}");
    assert!(expected.iter().any(|what| said.contains(what)), "failed in another way:\n{said}");
    let first = said.lines().skip_while(|line| !line.contains("panicked")).nth(1).unwrap_or_default();
    println!("{name}: {first}");
}
