//! Skewed reads from all cores for some seconds: few files are read often, most seldom (Zipf, exponent 1, over files in
//! random order). Each reader's first read and one in four is timed, one in 64 is checked by hash instead.

use super::{
    table::Table,
    verify::{Checker, Finding},
    workers::on_threads_while,
};
use crate::{
    histogram::Histogram,
    random::{Random, Zipf},
    trouble::Trouble,
};
use indicatif::ProgressBar;
use memfs::MemFs;
use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

/// Longer files are read in random ranges of [`RANGE_BYTES`]: one chunk of the store.
const WHOLE_MAX_BYTES: u64 = 1 << 20;
const RANGE_BYTES: usize = 64 << 10;
/// Longest file read into a buffer of its own: the demo's memory counts too.
const COPY_MAX_BYTES: u64 = 256 << 10;
/// Points of the hit rate's curve at most, and the time between two at least.
const POINTS_MAX: u32 = 240;
const POINT_MIN: Duration = Duration::from_millis(25);
/// Asking the store for its figures may cost it a look at every file: the time until the next question is at least so
/// many times what the last one took.
pub(crate) const QUIET: u32 = 25;

/// What the store had counted at an instant.
#[derive(Clone, Copy)]
pub(crate) struct Point {
    pub(crate) seconds: f64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

impl Point {
    /// Hits among hits and misses until `later`, in percent; `None` if there was neither. The store's figures are read
    /// while it works, so one may seem to step back.
    pub(crate) fn rate_until(&self, later: &Point) -> Option<f64> {
        let hits = later.hits.saturating_sub(self.hits);
        let misses = later.misses.saturating_sub(self.misses);
        (hits + misses > 0).then(|| hits as f64 * 100.0 / (hits + misses) as f64)
    }
}

/// What reading told.
pub(crate) struct Readings {
    pub(crate) reads: u64,
    pub(crate) bytes: u64,
    pub(crate) checked: u64,
    pub(crate) latency: Histogram,
    /// Cumulative, the first at the start and the last at the end.
    pub(crate) points: Vec<Point>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) seconds: f64,
}

impl Readings {
    /// Hits among hits and misses, in percent; `None` if there was neither.
    pub(crate) fn hit_rate(&self) -> Option<f64> {
        let (first, last) = (self.points.first()?, self.points.last()?);
        first.rate_until(last)
    }
}

/// Reads for `duration` on `threads` threads. The table has at least one loaded file.
pub(crate) fn read(
    fs: &MemFs,
    table: &Table,
    threads: usize,
    duration: Duration,
    seed: u64,
    progress: &ProgressBar,
) -> Result<Readings, Trouble> {
    let mut order: Vec<u32> = table.loaded().map(|(id, _)| id).collect();
    Random::new(seed, 0).shuffle(&mut order);
    let over = AtomicBool::new(false);
    let started = Instant::now();
    let (readers, points) = on_threads_while(
        threads,
        |index| Reader::new(fs, table, &order, seed, index as u64 + 1).run(&over),
        || {
            let points = watch(fs, started, duration, progress);
            over.store(true, Relaxed);
            Ok(points)
        },
    )?;
    let mut all = Readings {
        reads: 0,
        bytes: 0,
        checked: 0,
        latency: Histogram::new(),
        points,
        findings: Vec::new(),
        seconds: started.elapsed().as_secs_f64(),
    };
    all.points.push(point(fs, started));
    for reader in readers {
        all.reads += reader.reads;
        all.bytes += reader.bytes;
        all.checked += reader.checked;
        all.latency.merge(&reader.latency);
        all.findings.extend(reader.findings);
    }
    Ok(all)
}

fn point(fs: &MemFs, started: Instant) -> Point {
    let cache = fs.stats().cache;
    Point { seconds: started.elapsed().as_secs_f64(), hits: cache.hits, misses: cache.misses }
}

/// Notes the hit rate's curve until the time is over.
fn watch(fs: &MemFs, started: Instant, duration: Duration, progress: &ProgressBar) -> Vec<Point> {
    let least = (duration / POINTS_MAX).max(POINT_MIN);
    let mut points = Vec::new();
    loop {
        let asked = Instant::now();
        points.push(point(fs, started));
        let step = least.max(asked.elapsed() * QUIET);
        let left = duration.saturating_sub(started.elapsed());
        if left.is_zero() {
            return points;
        }
        thread::sleep(left.min(step));
        progress.set_position(started.elapsed().min(duration).as_millis() as u64);
    }
}

struct Reader<'a> {
    fs: &'a MemFs,
    table: &'a Table,
    order: &'a [u32],
    zipf: Zipf,
    random: Random,
    path: String,
    range: Vec<u8>,
    checker: Checker,
    reads: u64,
    bytes: u64,
    checked: u64,
    latency: Histogram,
    findings: Vec<Finding>,
}

impl<'a> Reader<'a> {
    fn new(fs: &'a MemFs, table: &'a Table, order: &'a [u32], seed: u64, stream: u64) -> Self {
        Reader {
            fs,
            table,
            order,
            zipf: Zipf::new(order.len() as u32),
            random: Random::new(seed, stream),
            path: String::new(),
            range: vec![0; RANGE_BYTES],
            checker: Checker::default(),
            reads: 0,
            bytes: 0,
            checked: 0,
            latency: Histogram::new(),
            findings: Vec::new(),
        }
    }

    fn run(mut self, over: &AtomicBool) -> Result<Self, Trouble> {
        // At least one read each, however short the time. Relaxed: the flag carries nothing but itself.
        loop {
            let id = self.order[self.zipf.rank(&mut self.random) as usize];
            let dice = self.random.next();
            if dice.is_multiple_of(64) && self.reads > 0 && self.table.file(id).len_bytes() <= WHOLE_MAX_BYTES
            {
                let way = dice >> 32;
                self.findings.extend(self.checker.check(self.fs, self.table, id, way).err());
                self.checked += 1;
            } else {
                self.read_one(id, dice >> 8);
            }
            self.reads += 1;
            if over.load(Relaxed) {
                return Ok(self);
            }
        }
    }

    /// One read of every cache line of the file, or of a range if it is long.
    fn read_one(&mut self, id: u32, dice: u64) {
        let len_bytes = self.table.file(id).len_bytes();
        let path = self.table.path(id, &mut self.path);
        let offset = self.random.below(len_bytes);
        let timed = (dice.is_multiple_of(4) || self.reads == 0).then(Instant::now);
        let got = if len_bytes > WHOLE_MAX_BYTES {
            self.fs.read_at(path, &mut self.range, offset).map(|got| touch(&self.range[..got]))
        } else {
            match (dice >> 8) % 10 {
                0 if len_bytes <= COPY_MAX_BYTES => self.fs.read(path).map(|bytes| touch(&bytes)),
                0 | 1 => self.fs.get(path).map(|bytes| bytes.chunks().map(touch).sum()),
                2 => self.fs.read_bytes(path).map(|bytes| touch(&bytes)),
                _ => self.fs.read_with(path, touch),
            }
        };
        if let Some(started) = timed {
            self.latency.add(started.elapsed());
        }
        let expected = if len_bytes > WHOLE_MAX_BYTES {
            (len_bytes - offset).min(RANGE_BYTES as u64)
        } else {
            len_bytes
        };
        match got {
            Ok(got) if got as u64 == expected => self.bytes += expected,
            Ok(got) => self.findings.push(Finding {
                path: path.to_owned(),
                reason: format!("expected {expected} bytes, found {got}"),
            }),
            Err(error) => self.findings.push(Finding { path: path.to_owned(), reason: error.to_string() }),
        }
    }
}

/// Looks at every cache line; the length.
fn touch(bytes: &[u8]) -> usize {
    black_box(bytes.iter().step_by(64).fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
    bytes.len()
}
