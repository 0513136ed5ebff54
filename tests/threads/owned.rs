//! Each file has one writer that uses every operation there is on it; readers check every read against what the file has
//! been, and that a file never goes back in time; a third kind of thread moves everything between the tiers.

use super::ledger::{Ledger, words_of};
use crate::common::{
    alarm::Alarm,
    kind::{Fails, Kind},
    rng::Rng,
    stores::validate,
    ways::{self, WAYS},
    words::{Run, image, overlay, runs_of},
};
use memfs::{Builder, MemFs, Priority, WriteOptions};
use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

/// A file and its two names, of which it has one at a time, or none.
struct Owned {
    id: u64,
    names: [String; 2],
    ledger: Ledger,
}

struct Plan {
    writers: u64,
    files_each: u64,
    readers: u64,
    ops_each: usize,
    max_words: u64,
}

fn set(plan: &Plan) -> Vec<Owned> {
    (1..=plan.writers * plan.files_each)
        .map(|id| Owned {
            id,
            names: [format!("/files/{id}"), format!("/moved/{}/{id}", id % 3)],
            ledger: Ledger::default(),
        })
        .collect()
}

/// The one writer of a file: it knows what the file is at each moment.
struct Writer<'a> {
    fs: &'a MemFs,
    file: &'a Owned,
    /// Which of its names it has.
    at: Option<usize>,
    runs: Vec<Run>,
    version: u64,
}

impl Writer<'_> {
    fn name(&self) -> &str {
        &self.file.names[self.at.expect("it has a name")]
    }

    /// Notes what the file is about to be.
    fn becomes(&mut self, runs: Vec<Run>) {
        self.runs = runs;
        self.file.ledger.push(self.runs.clone());
    }

    fn step(&mut self, rng: &mut Rng, max_words: u64) {
        self.version += 1;
        let (id, version, fs) = (self.file.id, self.version, self.fs);
        let sizes = [1, 3, 64, max_words / 8, max_words / 2, max_words];
        let bound = *rng.pick(&sizes);
        let words = 1 + rng.below(bound);
        let end = words_of(&self.runs);
        let choice = if self.at.is_none() { 0 } else { rng.below(12) };
        match choice {
            0..=3 => {
                self.at = self.at.or(Some(rng.below(2) as usize));
                self.becomes(overlay(&[], 0, words, Some(version)));
                let bytes = image(id, version, 0, words);
                if choice == 1 {
                    let options = WriteOptions::new().priority(Priority::new(rng.below(9) as u8).unwrap());
                    fs.write_with(self.name(), bytes, &options).unwrap();
                } else {
                    fs.write(self.name(), bytes).unwrap();
                }
            }
            4 | 5 if end < max_words => {
                self.becomes(overlay(&self.runs, end, end + words, Some(version)));
                fs.append(self.name(), image(id, version, end, end + words)).unwrap();
            }
            6 | 7 => {
                let from = rng.below(max_words);
                self.becomes(overlay(&self.runs, from, from + words, Some(version)));
                let bytes = image(id, version, from, from + words);
                assert_eq!(fs.write_at(self.name(), &bytes, from * 8).unwrap(), bytes.len());
            }
            8 if words < end => {
                self.becomes(crate::common::words::clip(&self.runs, 0, words));
                fs.set_len(self.name(), words * 8).unwrap();
            }
            8 => {
                self.becomes(overlay(&self.runs, end, words, None));
                fs.set_len(self.name(), words * 8).unwrap();
            }
            9 | 10 => {
                let to = 1 - self.at.unwrap();
                fs.rename(self.name(), &self.file.names[to]).unwrap();
                self.at = Some(to);
            }
            _ => {
                fs.remove_file(self.name()).unwrap();
                self.at = None;
            }
        }
        self.file.ledger.acknowledge();
    }
}

/// Reads that are to be verified before the writers may end, however late the readers get a processor.
const ENOUGH: u64 = 50;

/// Whether it came to its end before all was over.
fn write(
    fs: &MemFs,
    files: &[Owned],
    plan: &Plan,
    seed: u64,
    over: &dyn Fn() -> bool,
    verified: &AtomicU64,
) -> bool {
    let mut rng = Rng::varied(seed);
    let mut writers: Vec<Writer> =
        files.iter().map(|file| Writer { fs, file, at: None, runs: Vec::new(), version: 0 }).collect();
    let mut steps = 0;
    while steps < plan.ops_each || verified.load(SeqCst) <= ENOUGH {
        steps += 1;
        if over() {
            return false;
        }
        let which = rng.below(files.len() as u64) as usize;
        writers[which].step(&mut rng, plan.max_words);
    }
    for writer in &mut writers {
        // What the store has in the end is what was written last.
        if writer.at.is_some() {
            let found = fs.read(writer.name()).unwrap();
            assert_eq!(runs_of(writer.file.id, 0, &found), writer.runs, "file {}", writer.file.id);
        }
    }
    true
}

fn read(fs: &MemFs, files: &[Owned], plan: &Plan, seed: u64, over: &dyn Fn() -> bool, verified: &AtomicU64) {
    let mut rng = Rng::varied(seed);
    let mut latest = vec![0; files.len()];
    while !over() {
        let which = rng.below(files.len() as u64) as usize;
        let file = &files[which];
        let way = rng.below(WAYS);
        let (at, words) = (rng.below(plan.max_words), 1 + rng.below(2 * plan.max_words) as usize);
        let name = &file.names[rng.below(2) as usize];
        let least = file.ledger.least().max(latest[which]);
        let found = match ways::read(fs, name, way, at, words) {
            Ok(found) => found,
            Err(error) if error.variant() == Kind::NotFound => continue,
            Err(error) => panic!("way {way}: {error}"),
        };
        let seen = runs_of(file.id, found.offset, &found.bytes);
        let (from, to) = (found.offset / 8, (found.offset + found.bytes.len() as u64) / 8);
        let state = file.ledger.state_of(&seen, from, to, found.to_the_end);
        let Some(state) = state else {
            panic!("way {way}: file {} was never {seen:?} (to its end: {})", file.id, found.to_the_end)
        };
        assert!(state >= least, "way {way}: file {} went back from {least} to {state}", file.id);
        // Contents that come again are told from their first coming by nothing: what is sure is the earliest.
        if found.offset == 0 && found.to_the_end {
            latest[which] =
                (least..=state).find(|&earlier| file.ledger.is(earlier, &seen, to)).unwrap_or(state);
        }
        verified.fetch_add(1, SeqCst);
    }
}

const BALLAST: u64 = 64;

/// Twice the limit in files that nobody changes, so that everything has to move.
fn load_ballast(fs: &MemFs) {
    let words = 2 * fs.stats().memory.limit / BALLAST / 8;
    for i in 0..BALLAST {
        fs.write(format!("/ballast/{i}"), image(1, i, 0, words)).unwrap();
    }
}

fn disturb(fs: &MemFs, files: &[Owned], seed: u64, over: &dyn Fn() -> bool) {
    let mut rng = Rng::varied(seed);
    while !over() {
        let name = &files[rng.below(files.len() as u64) as usize].names[rng.below(2) as usize];
        match rng.below(12) {
            0 => drop(fs.gc(rng.below(10) as f64 / 10.0).unwrap()),
            1 => drop(fs.set_priority(name, Priority::new(rng.below(9) as u8).unwrap())),
            2 => drop(fs.preload(name).map(|preload| preload.wait())),
            3 => drop(fs.memory_map()),
            4 => drop(fs.walk("/").unwrap().count()),
            5 => {
                let memory = fs.stats().memory;
                assert!(memory.current_usage <= memory.limit, "{memory:?}");
            }
            _ => {
                let i = rng.below(BALLAST);
                let found = fs.read(format!("/ballast/{i}")).unwrap();
                assert_eq!(runs_of(1, 0, &found).len(), 1);
            }
        }
        thread::yield_now();
    }
}

fn run(builder: Builder, plan: &Plan) {
    let fs = builder.build().unwrap();
    fs.create_dir_all("/moved/0").unwrap();
    fs.create_dir_all("/moved/1").unwrap();
    fs.create_dir_all("/moved/2").unwrap();
    fs.create_dir("/files").unwrap();
    load_ballast(&fs);
    let files = set(plan);
    let (alarm, writing) = (Alarm::default(), AtomicUsize::new(plan.writers as usize));
    let (deadline, verified) = (Instant::now() + Duration::from_secs(180), AtomicU64::new(0));
    let over = || writing.load(SeqCst) == 0 || alarm.is_raised() || Instant::now() > deadline;
    thread::scope(|scope| {
        let (over, verified) = (&over, &verified);
        for (writer, owned) in files.chunks(plan.files_each as usize).enumerate() {
            let (fs, alarm, writing) = (&fs, &alarm, &writing);
            scope.spawn(move || {
                let _guard = alarm.guard();
                if write(fs, owned, plan, 1000 + writer as u64, over, verified) {
                    writing.fetch_sub(1, SeqCst);
                }
            });
        }
        let (fs, files, alarm) = (&fs, &files, &alarm);
        scope.spawn(move || {
            let _guard = alarm.guard();
            disturb(fs, files, 77, over);
        });
        for reader in 0..plan.readers {
            scope.spawn(move || {
                let _guard = alarm.guard();
                read(fs, files, plan, 2000 + reader, over, verified);
            });
        }
    });
    assert_eq!(writing.load(SeqCst), 0, "the writers did not come to an end");
    let verified = verified.into_inner();
    assert!(verified > ENOUGH, "only {verified} reads were verified");
    let stats = fs.stats();
    assert!(stats.cache.swaps_out > 0, "nothing was swapped: {:?}", stats.cache);
    assert!(stats.memory.peak_usage <= stats.memory.limit, "{:?}", stats.memory);
    validate(&fs);
}

#[test]
fn every_way_of_reading_sees_whole_versions_in_order_in_many_chunks() {
    let builder = MemFs::builder()
        .memory_limit_bytes(768 << 10)
        .chunk_size(4096)
        .segment_size(256 << 10)
        .worker_threads(0);
    run(builder, &Plan { writers: 2, files_each: 12, readers: 2, ops_each: 1500, max_words: 4096 });
}

#[test]
fn every_way_of_reading_sees_whole_versions_in_order_beside_workers() {
    let builder = MemFs::builder()
        .memory_limit_bytes(1 << 20)
        .chunk_size(16 << 10)
        .segment_size(256 << 10)
        .worker_threads(2);
    run(builder, &Plan { writers: 2, files_each: 12, readers: 2, ops_each: 1500, max_words: 6144 });
}

#[test]
fn every_way_of_reading_sees_whole_versions_in_order_in_one_chunk() {
    let builder = MemFs::builder()
        .memory_limit_bytes(768 << 10)
        .chunk_size(64 << 10)
        .segment_size(256 << 10)
        .worker_threads(0);
    run(builder, &Plan { writers: 1, files_each: 40, readers: 3, ops_each: 3000, max_words: 2048 });
}
