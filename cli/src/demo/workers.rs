//! Threads over the table: each file is claimed by one of them, and the first trouble stops all.

use super::table::Table;
use crate::trouble::Trouble;
use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    thread,
};

/// Runs `work` on `threads` threads; the results in order of the threads. The first error wins.
pub(crate) fn on_threads<T: Send>(
    threads: usize,
    work: impl Fn(usize) -> Result<T, Trouble> + Sync,
) -> Result<Vec<T>, Trouble> {
    on_threads_while(threads, work, || Ok(())).map(|(results, ())| results)
}

/// The same, with `meanwhile` on the calling thread.
pub(crate) fn on_threads_while<T: Send, M>(
    threads: usize,
    work: impl Fn(usize) -> Result<T, Trouble> + Sync,
    meanwhile: impl FnOnce() -> Result<M, Trouble>,
) -> Result<(Vec<T>, M), Trouble> {
    thread::scope(|scope| {
        let work = &work;
        let started: Result<Vec<_>, _> = (0..threads)
            .map(|index| {
                thread::Builder::new().name(format!("demo-{index}")).spawn_scoped(scope, move || work(index))
            })
            .collect();
        let started = started.map_err(|error| Trouble(format!("starting a thread: {error}")))?;
        let side = meanwhile();
        let results = started.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| Err(Trouble("a thread of the demo stopped unexpectedly".into())))
        });
        Ok((results.collect::<Result<Vec<T>, Trouble>>()?, side?))
    })
}

/// Gives every file of the table to one of `threads` threads, each with a state of its own from `state`.
pub(crate) fn on_each_file<S: Send>(
    table: &Table,
    threads: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, u32) -> Result<(), Trouble> + Sync,
) -> Result<Vec<S>, Trouble> {
    let next = AtomicU32::new(0);
    let stopped = AtomicBool::new(false);
    on_threads(threads, |_| {
        let mut state = state();
        // Relaxed: the claim itself is all that is shared; results are handed over by joining the threads.
        while !stopped.load(Relaxed) {
            let id = next.fetch_add(1, Relaxed);
            if id >= table.len() {
                break;
            }
            work(&mut state, id).inspect_err(|_| stopped.store(true, Relaxed))?;
        }
        Ok(state)
    })
}
