//! `memfs bench`: how fast a store is on this machine, and whether it gives back what it was given.

use super::{
    pieces::PIECE_BYTES,
    store::{Limit, check_place},
};
use crate::{
    failures::Failures,
    histogram::Histogram,
    output::Output,
    progress::{Unit, with_bar},
    random::Random,
    size::{self, count, duration, show},
    trouble::Trouble,
};
use memfs::{Error, MemFs};
use serde_json::{Value, json};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A short self-check: rates of reads and writes on one thread, every byte compared
///
/// Without STORE in a store that leaves nothing behind. With it in a persistent
/// one, below /.memfs-bench, which must not be there and is removed at the end; a
/// STORE that was made for it is removed, too.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// A persistent store's directory
    #[arg(value_name = "STORE")]
    store: Option<PathBuf>,
    /// Bytes of small files, and of long ones
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size::parse)]
    bytes: u64,
    #[command(flatten)]
    limit: Limit,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const DIR: &str = "/.memfs-bench";
const SMALL_BYTES: usize = 4 << 10;
/// More files than this take long to name.
const FILES_MAX: u64 = 1 << 20;

pub(crate) fn run(options: &Options, out: &mut Output) -> Result<bool, Trouble> {
    let made = match &options.store {
        Some(dir) => make(dir)?,
        None => false,
    };
    let mut is_ours = false;
    let done = options.limit.open(options.store.as_deref(), |fs, failures| {
        is_ours = made && fs.read_dir("/")?.len() == 0;
        if fs.exists(DIR) {
            return Err(Trouble(format!(
                "{DIR}: is in the store already, perhaps from a bench that was killed"
            )));
        }
        let rows = with_bar("bench", 9, Unit::Files, |bar| {
            failures.above(Some(bar));
            let rows = Bench::new(fs, failures, options.bytes).run(|| bar.inc(1));
            failures.above(None);
            rows
        });
        // What was done so far is removed in any case.
        match fs.remove_dir_all(DIR) {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => failures.add_store(DIR, &error),
        }
        report(&rows?, options, failures, out)
    });
    if let Some(dir) = options.store.as_deref().filter(|_| made) {
        // Made by this process and nobody else's since: all that is in it is the bench's store.
        let removed = if is_ours { fs::remove_dir_all(dir) } else { fs::remove_dir(dir) };
        if let (Ok(_), Err(error)) = (&done, removed) {
            return Err(Trouble(format!("{}: {error}", dir.display())));
        }
    }
    done
}

/// Makes the store's directory if it is not there; whether it did.
fn make(dir: &Path) -> Result<bool, Trouble> {
    check_place(dir)?;
    match fs::create_dir(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Trouble(format!("{}: {error}", dir.display()))),
    }
}

/// One line of the report.
struct Row {
    name: &'static str,
    operations: u64,
    bytes: u64,
    took: Duration,
    latency: Histogram,
}

struct Bench<'a> {
    fs: &'a MemFs,
    failures: &'a mut Failures,
    /// What contents are cut from: where from tells one file from another.
    stock: Vec<u8>,
    small: u64,
    long: u64,
    random: Random,
    buf: Vec<u8>,
}

impl<'a> Bench<'a> {
    fn new(fs: &'a MemFs, failures: &'a mut Failures, bytes: u64) -> Self {
        let mut random = Random::new(1, 0);
        let mut stock = vec![0; 2 * PIECE_BYTES];
        random.fill(&mut stock);
        let small = (bytes / SMALL_BYTES as u64).clamp(1, FILES_MAX);
        let long = bytes.div_ceil(PIECE_BYTES as u64);
        Self { fs, failures, stock, small, long, random, buf: vec![0; PIECE_BYTES] }
    }

    fn run(mut self, done: impl Fn()) -> Result<Vec<Row>, Trouble> {
        let (small, long) = (self.small, self.long);
        let mut rows = Vec::new();
        let mut add = |row: Result<Row, Error>| {
            rows.push(row?);
            done();
            Ok::<_, Error>(())
        };
        add(self.write("write 4 KiB", SMALL_BYTES, small, 0))?;
        add(self.read("read 4 KiB", SMALL_BYTES, small, 0))?;
        add(self.write("overwrite 4 KiB", SMALL_BYTES, small, 1))?;
        add(self.write("write 1 MiB", PIECE_BYTES, long, 0))?;
        add(self.read("read 1 MiB", PIECE_BYTES, long, 0))?;
        add(self.once("sync", MemFs::sync))?;
        add(self.once("swap out all", |fs| fs.gc(0.0).map(drop)))?;
        add(self.read("read 4 KiB from disk", SMALL_BYTES, small, 1))?;
        add(self.read("read 1 MiB from disk", PIECE_BYTES, long, 0))?;
        Ok(rows)
    }

    /// The contents of a file, of a round of writing.
    fn contents(&self, len: usize, index: u64, round: u64) -> &[u8] {
        let at = ((index * 2 + round) * 61 % PIECE_BYTES as u64) as usize;
        &self.stock[at..at + len]
    }

    fn write(&self, name: &'static str, len: usize, files: u64, round: u64) -> Result<Row, Error> {
        let mut row = Row::new(name);
        for index in 0..files {
            let (path, contents) = (path(len, index), self.contents(len, index, round));
            let started = Instant::now();
            self.fs.write(&path, contents)?;
            row.add(started.elapsed(), len);
        }
        Ok(row)
    }

    /// Every file once, in an order of chance.
    fn read(&mut self, name: &'static str, len: usize, files: u64, round: u64) -> Result<Row, Error> {
        let mut order: Vec<u64> = (0..files).collect();
        self.random.shuffle(&mut order);
        let mut row = Row::new(name);
        for index in order {
            let path = path(len, index);
            let started = Instant::now();
            let got = self.fs.read_at(&path, &mut self.buf[..len], 0)?;
            row.add(started.elapsed(), len);
            if self.buf[..got] != *self.contents(len, index, round) {
                self.failures.add(&path, format_args!("{path}: read other bytes than were written"));
            }
        }
        Ok(row)
    }

    fn once(&self, name: &'static str, run: impl FnOnce(&MemFs) -> Result<(), Error>) -> Result<Row, Error> {
        let mut row = Row::new(name);
        let started = Instant::now();
        run(self.fs)?;
        row.add(started.elapsed(), 0);
        Ok(row)
    }
}

fn path(len: usize, index: u64) -> String {
    format!("{DIR}/{len}/{:02x}/{index:x}", index % 256)
}

impl Row {
    fn new(name: &'static str) -> Self {
        Row { name, operations: 0, bytes: 0, took: Duration::ZERO, latency: Histogram::new() }
    }

    fn add(&mut self, took: Duration, bytes: usize) {
        self.operations += 1;
        self.bytes += bytes as u64;
        self.took += took;
        self.latency.add(took);
    }

    fn per_second(&self, number: u64) -> f64 {
        number as f64 / self.took.as_secs_f64().max(1e-9)
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "operations": self.operations,
            "bytes": self.bytes,
            "seconds": self.took.as_secs_f64(),
            "operations_per_second": self.per_second(self.operations),
            "bytes_per_second": self.per_second(self.bytes),
            "p50_ns": self.latency.quantile_ns(0.5),
            "p99_ns": self.latency.quantile_ns(0.99),
            "max_ns": self.latency.max_ns(),
        })
    }
}

fn report(rows: &[Row], options: &Options, failures: &Failures, out: &mut Output) -> Result<(), Trouble> {
    if options.json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        let mode = if options.store.is_some() { "persist" } else { "temp" };
        let report = json!({ "mode": mode, "results": rows, "failures": failures.json() });
        return out.text(format_args!("{report}\n"));
    }
    let heads = ["", "times", "per second", "bytes/s", "p50", "p99", "max"];
    let mut line = |c: [&str; 7]| {
        let [name, times, rate, bytes, p50, p99, max] = c;
        let line = format!("{name:20} {times:>7} {rate:>10} {bytes:>9} {p50:>8} {p99:>8} {max:>8}");
        out.text(format_args!("{}\n", line.trim_end()))
    };
    line(heads)?;
    for row in rows {
        let took = [0.5, 0.99, 1.0].map(|share| duration(row.latency.quantile_ns(share)));
        let (times, max) = (count(row.operations), &took[2]);
        if row.bytes == 0 {
            line([row.name, &times, "", "", "", "", max])?;
            continue;
        }
        let (rate, bytes) =
            (count(row.per_second(row.operations) as u64), show(row.per_second(row.bytes) as u64));
        line([row.name, &times, &rate, &bytes, &took[0], &took[1], max])?;
    }
    Ok(())
}
