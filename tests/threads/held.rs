//! What one thread holds stays as it was whatever the others do, over close, too.

use crate::common::{
    alarm::Alarm,
    rng::Rng,
    stores::validate,
    ways,
    words::{Run, image, runs_of},
};
use memfs::{FileRef, MemFs};
use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
};

const FILES: u64 = 16;
const WORDS: u64 = 700;

enum Held {
    Ref(FileRef),
    Bytes(bytes::Bytes),
    Part(bytes::Bytes, u64),
}

impl Held {
    fn runs(&self, id: u64) -> Vec<Run> {
        match self {
            Held::Ref(held) => {
                let one_piece = runs_of(id, 0, held);
                assert_eq!(runs_of(id, 0, &ways::chunks(held)), one_piece);
                one_piece
            }
            Held::Bytes(held) => runs_of(id, 0, held),
            Held::Part(held, offset) => runs_of(id, *offset, held),
        }
    }
}

fn take(fs: &MemFs, id: u64, rng: &mut Rng) -> Option<(u64, Held, Vec<Run>)> {
    let path = format!("/{id}");
    let held = match rng.below(3) {
        0 => Held::Ref(fs.get(&path).ok()?),
        1 => Held::Bytes(fs.read_bytes(&path).ok()?),
        _ => {
            let whole = fs.read_bytes(&path).ok()?;
            let from = (rng.below(whole.len() as u64 / 8 + 1) * 8) as usize;
            Held::Part(whole.slice(from..), from as u64)
        }
    };
    let runs = held.runs(id);
    assert!(runs.len() <= 1, "a mixture: {runs:?}");
    Some((id, held, runs))
}

fn change(fs: &MemFs, version: u64, rng: &mut Rng) {
    let id = 1 + rng.below(FILES);
    let path = format!("/{id}");
    match rng.below(8) {
        0 => drop(fs.remove_file(&path)),
        1 => drop(fs.gc(rng.below(5) as f64 / 10.0)),
        2 => drop(fs.write_at(&path, &image(id, version, 0, 2 * WORDS), 0)),
        _ => {
            let words = 1 + rng.below(2 * WORDS);
            drop(fs.write(&path, image(id, version, 0, words)));
        }
    }
}

fn hold_on(fs: &MemFs, seed: u64, rounds: usize, alarm: &Alarm) -> Vec<(u64, Held, Vec<Run>)> {
    let mut rng = Rng::varied(seed);
    let mut held = Vec::new();
    let mut round = 0;
    // The writers may come late on a busy machine: until then there is nothing to hold.
    while !alarm.is_raised() && (round < rounds || held.is_empty() && round < 1000 * rounds) {
        round += 1;
        held.extend(take(fs, 1 + rng.below(FILES), &mut rng));
        if held.len() > 12 {
            let (id, old, runs) = held.swap_remove(rng.below(12) as usize);
            assert_eq!(old.runs(id), runs, "what was held of file {id} changed");
        }
        if round % 40 == 0 {
            for (id, old, runs) in &held {
                assert_eq!(old.runs(*id), *runs, "what is held of file {id} changed");
            }
        }
    }
    held
}

#[test]
fn held_references_stay_unchanged_over_overwrite_remove_eviction_and_close() {
    for (chunk, workers) in [(4096, 0), (64 << 10, 2)] {
        let fs = MemFs::builder()
            .memory_limit_bytes(768 << 10)
            .chunk_size(chunk)
            .segment_size(256 << 10)
            .worker_threads(workers)
            .build()
            .unwrap();
        let (alarm, holding) = (Alarm::default(), AtomicUsize::new(2));
        let held: Vec<_> = thread::scope(|scope| {
            let (fs, alarm, holding) = (&fs, &alarm, &holding);
            for writer in 0..2u64 {
                scope.spawn(move || {
                    let _guard = alarm.guard();
                    let mut rng = Rng::varied(50 + writer);
                    for version in 1.. {
                        if holding.load(SeqCst) == 0 || alarm.is_raised() {
                            return;
                        }
                        // A file has one writer at a time: one takes even versions, one odd.
                        change(fs, 2 * version + writer, &mut rng);
                    }
                });
            }
            let holders: Vec<_> = (0..2)
                .map(|holder| {
                    scope.spawn(move || {
                        let _guard = alarm.guard();
                        let held = hold_on(fs, holder, 1500, alarm);
                        holding.fetch_sub(1, SeqCst);
                        held
                    })
                })
                .collect();
            holders.into_iter().flat_map(|holder| holder.join().unwrap()).collect()
        });
        assert!(!held.is_empty());
        assert!(fs.stats().memory.peak_usage <= fs.stats().memory.limit);
        if workers > 0 {
            // The structures are checked when nobody holds anything; else the store is closed before.
            drop(held);
            validate(&fs);
            continue;
        }
        fs.close().unwrap();
        drop(fs);
        for (id, old, runs) in &held {
            assert_eq!(old.runs(*id), *runs, "what is held of file {id} changed with the close");
        }
    }
}
