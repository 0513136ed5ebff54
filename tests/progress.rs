//! A thread that stops for ten seconds in the middle of a read stops nobody, and memory stays bounded meanwhile.

mod common;

use common::{
    alarm::Alarm,
    rng::{Rng, bytes},
    stores::validate,
};
use memfs::MemFs;
use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

const LIMIT: u64 = 8 << 20;
const STOPPED: Duration = Duration::from_secs(5);
/// Long after this even a loaded machine has done the work; a store that waits for the stopped thread never has.
const GIVE_UP: Duration = Duration::from_secs(240);
const WORKERS: usize = 3;

const FILES: u64 = 40;

/// Overwrites, creates, removes, renames, reads: ten times the limit in bytes. Changes of names are a part, not the most of
/// it: what they retire stays in RAM for as long as anybody stands still, as documented.
fn work(fs: &MemFs, thread: u64, alarm: &Alarm, deadline: Instant) {
    let mut rng = Rng::varied(thread);
    let mut written = 0;
    let mut expected: Vec<Option<u64>> = vec![None; FILES as usize];
    while written < 10 * LIMIT / WORKERS as u64 {
        assert!(Instant::now() < deadline, "thread {thread} is held up, {written} bytes written");
        if alarm.is_raised() {
            return;
        }
        let which = rng.below(FILES) as usize;
        let path = format!("/{thread}/{which}");
        match (rng.below(24), expected[which]) {
            (0, Some(_)) => {
                fs.remove_file(&path).unwrap();
                expected[which] = None;
            }
            (1, Some(_)) => {
                let seed = expected[which].take();
                let to = (which + 1) % FILES as usize;
                fs.rename(&path, format!("/{thread}/{to}")).unwrap();
                expected[to] = seed;
            }
            (2, _) => {
                fs.create_dir(format!("/{thread}/d")).unwrap();
                assert!(fs.read_dir(format!("/{thread}")).unwrap().count() >= 1);
                fs.remove_dir(format!("/{thread}/d")).unwrap();
            }
            (3, Some(seed)) => {
                fs.append(&path, b"more").unwrap();
                assert!(fs.read_bytes(&path).unwrap().starts_with(&bytes(seed, 100)));
            }
            (4..=6, Some(seed)) => assert!(fs.read(&path).unwrap().starts_with(&bytes(seed, 100))),
            (7..=9, Some(seed)) => {
                assert!(fs.read_with(&path, |found| found.starts_with(&bytes(seed, 100))).unwrap());
            }
            _ => {
                let (seed, len) = (rng.next(), 1000 + rng.below(60) * 1000);
                fs.write(&path, bytes(seed, len as usize)).unwrap();
                expected[which] = Some(seed);
                written += len;
            }
        }
        let memory = fs.stats().memory;
        assert!(memory.current_usage <= memory.limit, "{memory:?}");
    }
    for (which, seed) in expected.iter().enumerate() {
        if let Some(seed) = seed {
            assert!(fs.read(format!("/{thread}/{which}")).unwrap().starts_with(&bytes(*seed, 100)));
        }
    }
}

/// One thread stops inside `read_with` of a file of `len` bytes until the others are done and ten seconds are over.
fn others_finish(chunk: usize, workers: usize, len: usize) {
    let fs = MemFs::builder()
        .memory_limit_bytes(LIMIT)
        .chunk_size(chunk)
        .segment_size(1 << 20)
        .worker_threads(workers)
        .build()
        .unwrap();
    fs.write("/read", bytes(1, len)).unwrap();
    for thread in 0..WORKERS {
        fs.create_dir(format!("/{thread}")).unwrap();
    }
    let (inside, done, alarm) = (AtomicUsize::new(0), AtomicUsize::new(0), Alarm::default());
    let start = Instant::now();
    let deadline = start + GIVE_UP;
    thread::scope(|scope| {
        let (fs, inside, done, alarm) = (&fs, &inside, &done, &alarm);
        let stopped = scope.spawn(move || {
            let _guard = alarm.guard();
            fs.read_with("/read", |found| {
                inside.store(1, SeqCst);
                while (done.load(SeqCst) < WORKERS || start.elapsed() < STOPPED)
                    && !alarm.is_raised()
                    && Instant::now() < deadline
                {
                    thread::sleep(Duration::from_millis(10));
                }
                assert!(found == bytes(1, len), "the bytes changed under the reader");
                done.load(SeqCst)
            })
            .unwrap()
        });
        while inside.load(SeqCst) == 0 && !alarm.is_raised() {
            thread::yield_now();
        }
        // What is being read is itself overwritten and removed.
        fs.write("/read", bytes(2, len)).unwrap();
        assert!(fs.read("/read").unwrap() == bytes(2, len));
        fs.remove_file("/read").unwrap();
        for worker in 0..WORKERS {
            scope.spawn(move || {
                let _guard = alarm.guard();
                work(fs, worker as u64, alarm, deadline);
                done.fetch_add(1, SeqCst);
            });
        }
        assert_eq!(stopped.join().unwrap(), WORKERS, "the others did not finish while one stood still");
    });
    assert!(start.elapsed() >= STOPPED);
    assert!(fs.stats().memory.peak_usage <= LIMIT);
    // With the reader gone, what it held back comes free and is of use again.
    for i in 0..600u64 {
        fs.write(format!("/after/{}", i % 60), bytes(i, 20_000)).unwrap();
    }
    for i in 540..600u64 {
        assert!(fs.read(format!("/after/{}", i % 60)).unwrap() == bytes(i, 20_000));
    }
    validate(&fs);
}

#[test]
fn a_thread_stopped_while_it_reads_a_short_file_stops_nobody() {
    others_finish(64 << 10, 0, 5000);
}

#[test]
fn a_thread_stopped_while_it_reads_a_long_file_stops_nobody() {
    others_finish(4096, 0, 200_000);
}

#[test]
fn a_thread_stopped_while_it_reads_stops_no_worker() {
    others_finish(64 << 10, 2, 50_000);
}
