//! One run: a store of a shape, its threads, and what has to be true in the end.

use super::{
    everybody::{Everybody, Held, Record},
    mine::{Kept, Mine},
    plan::{Op, plan},
};
use crate::common::{alarm::Alarm, kind::Fails, kind::Kind, rng::Rng, stores::validate};
use memfs::{Builder, Durability, FileKind, MemFs, StorageMode};
use std::{
    collections::BTreeMap,
    io::Write,
    panic,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

/// After this even a loaded machine is through with a run.
const GIVE_UP: Duration = Duration::from_secs(180);

#[derive(Clone, Copy, Debug)]
struct Shape {
    threads: u64,
    ops_each: usize,
    limit_bytes: u64,
    chunk_bytes: usize,
    workers: usize,
    max_words: u64,
    durability: Option<Durability>,
    /// Whether the first thread that is done closes the store, whatever the others are at.
    abrupt: bool,
}

impl Shape {
    fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let periodic = Durability::Periodic(Duration::from_millis(5));
        let limit_bytes = *rng.pick(&[768 << 10, 1 << 20, 2 << 20]);
        Self {
            threads: 3 + rng.below(6),
            ops_each: 600,
            limit_bytes,
            chunk_bytes: *rng.pick(&[4096, 16 << 10, 64 << 10]),
            workers: *rng.pick(&[0, 0, 1, 3]),
            max_words: *rng.pick(&[64, limit_bytes / 2048, limit_bytes / 512]),
            durability: *rng.pick(&[None, None, Some(periodic), Some(Durability::OnClose)]),
            abrupt: rng.one_in(3),
        }
    }

    fn builder(&self, dir: &std::path::Path) -> Builder {
        let builder = MemFs::builder()
            .memory_limit_bytes(self.limit_bytes)
            .chunk_size(self.chunk_bytes)
            .segment_size(256 << 10)
            .worker_threads(self.workers)
            .priority_boost_threshold(3)
            .storage_path(dir.join("store"));
        match self.durability {
            Some(durability) => builder.mode(StorageMode::Persist).durability(durability),
            None => builder,
        }
    }
}

/// Says how to repeat a run as soon as anything in it fails; ends the process if the run does not end.
struct Watch(Option<Sender<()>>);

impl Watch {
    fn new(seed: u64, shape: Shape) -> Self {
        let (over, ended) = channel::<()>();
        thread::spawn(move || {
            if ended.recv_timeout(GIVE_UP) == Err(RecvTimeoutError::Timeout) {
                say(&format!("MEMFS_STRESS_SEED={seed:#x} hangs: {shape:?}"));
                std::process::abort();
            }
        });
        // Before anything unwinds: a failure may end the process.
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            say(&format!("repeat with MEMFS_STRESS_SEED={seed:#x} MEMFS_STRESS_RUNS=20: {shape:?}"));
            say(&info.to_string());
            usual(info);
        }));
        Self(Some(over))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.0.take());
        if !thread::panicking() {
            drop(panic::take_hook());
        }
    }
}

/// To where the test harness does not withhold it.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

pub(crate) fn run(seed: u64) {
    let shape = Shape::of(seed);
    let _watch = Watch::new(seed, shape);
    let home = tempfile::tempdir().unwrap();
    let fs = shape.builder(home.path()).build().unwrap();
    let plans = (0..shape.threads)
        .map(|thread| plan(seed, thread, shape.threads, shape.ops_each, shape.max_words))
        .collect();
    let record = Record::new(plans);
    let mut ends = act(&fs, &record, shape);
    assert!(ends.iter().map(|end| end.verified).sum::<u64>() > 20, "hardly a read was verified");
    ends.iter().flat_map(|end| &end.held).for_each(Held::check);
    ends.iter_mut().for_each(|end| end.held.clear());
    if shape.abrupt {
        assert!(fs.read("/steady/0").is_err_and(|error| error.variant() == Kind::Closed));
    } else {
        check(&fs, &record, &ends);
    }
    if shape.durability.is_none() {
        fs.close().unwrap();
        return;
    }
    let before = (!shape.abrupt).then(|| dump(&fs));
    fs.close().unwrap();
    drop(fs);
    let fs = shape.builder(home.path()).build().unwrap();
    let after = dump(&fs);
    if let Some(before) = before {
        assert!(before == after, "closed with {:?}, opened with {:?}", before.keys(), after.keys());
    }
    check(&fs, &record, &ends);
    fs.close().unwrap();
}

/// What a thread leaves.
struct End {
    mine: Mine,
    held: Vec<Held>,
    verified: u64,
}

fn act(fs: &MemFs, record: &Record, shape: Shape) -> Vec<End> {
    for dir in ["/s/0/x", "/s/1/x", "/t/x"] {
        fs.create_dir_all(dir).unwrap();
    }
    for thread in 0..shape.threads {
        fs.write(format!("/steady/{thread}"), "").unwrap();
    }
    let mut all: Vec<_> =
        (0..shape.threads).map(|thread| (Mine::new(fs, thread), Kept::new(fs, thread))).collect();
    let alarm = Alarm::default();
    let ends = thread::scope(|scope| {
        let threads: Vec<_> = all
            .drain(..)
            .enumerate()
            .map(|(thread, (mine, kept))| {
                let alarm = &alarm;
                scope.spawn(move || {
                    let _guard = alarm.guard();
                    let end = follow(fs, record, thread, mine, kept, alarm);
                    if shape.abrupt {
                        fs.close().unwrap();
                    }
                    end
                })
            })
            .collect();
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        ends.into_iter().map(|end| end.expect("a thread failed")).collect()
    });
    let memory = fs.stats().memory;
    assert!(memory.peak_usage <= memory.limit, "{memory:?}");
    ends
}

/// Follows a thread's plan to its end, or until the store is closed.
fn follow(fs: &MemFs, record: &Record, thread: usize, mut mine: Mine, mut kept: Kept, alarm: &Alarm) -> End {
    let mut everybody = Everybody::new(fs, record, thread);
    for (index, op) in record.plans[thread].iter().enumerate() {
        if alarm.is_raised() {
            break;
        }
        let version = index as u64 + 1;
        record.calls(thread, index);
        let done = match *op {
            Op::Own(own) => mine.apply(fs, own, version),
            Op::Kept(own) => kept.apply(own, version),
            _ => everybody.apply(index),
        };
        if done.is_err() {
            break;
        }
        record.returned(thread, index);
    }
    End { mine, held: everybody.held, verified: everybody.verified }
}

/// What has to be true when all have come to their ends, and again when the store was closed and opened since.
fn check(fs: &MemFs, record: &Record, ends: &[End]) {
    ends.iter().for_each(|end| end.mine.check(fs));
    explain_all(fs, record);
    validate(fs);
}

/// Every file that everybody writes, as it is, and the steady ones.
fn explain_all(fs: &MemFs, record: &Record) {
    let mut everybody = Everybody::new(fs, record, 0);
    for path in fs.glob("/**").unwrap() {
        if path.starts_with("/own") || path.contains("kept") {
            continue;
        }
        match path.strip_prefix("/steady/") {
            Some(of) => everybody.read_steady(of.parse().unwrap(), 0).unwrap(),
            None => everybody.explain(&path, 0, &fs.read(&path).unwrap(), true),
        }
    }
}

/// Everything there is, by path.
fn dump(fs: &MemFs) -> BTreeMap<String, Option<(u8, Vec<u8>)>> {
    let there = fs.walk("/").unwrap().map(|entry| {
        let path = entry.path().to_owned();
        let file = (entry.kind() == FileKind::File)
            .then(|| (fs.priority(&path).unwrap().get(), fs.read(&path).unwrap()));
        (path, file)
    });
    there.collect()
}
