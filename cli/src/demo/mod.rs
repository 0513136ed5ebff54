//! `memfs demo`: real files of this machine under a small memory limit, read, changed, verified, reported.
//!
//! The phases, in order: [`source`] lists files, [`load`] puts them in, [`rank`] gives priorities, [`read`] reads,
//! [`placement`] looks where everything is, [`change`] changes some, [`verify`] checks every byte, [`report`] tells.
//! [`table`] is what the demo knows; [`monitor`] watches the memory meanwhile.

mod change;
mod chart;
mod load;
mod monitor;
mod placement;
mod progress;
mod rank;
mod read;
mod report;
mod source;
mod table;
mod verify;
mod workers;

use crate::{Outcome, size, trouble::Trouble};
use memfs::MemFs;
use progress::{Unit, with_bar};
use report::{Run, Seconds};
use std::{path::PathBuf, thread, time::Duration, time::Instant};

/// A limit nobody asked for is at least this, and [`LIMIT_FILE_BYTES`] for every file: the index has to fit too.
const LIMIT_MIN_BYTES: u64 = 8 << 20;
const LIMIT_FILE_BYTES: u64 = 512;
/// And this part of the bytes.
const LIMIT_PART: u64 = 4;

/// Options of `memfs demo`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to load [default: the Rust toolchain, or /usr]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Most bytes to load
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size::parse)]
    max_bytes: u64,
    /// Memory limit [default: a quarter of the bytes]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    limit: Option<u64>,
    /// How long to read
    #[arg(long, value_name = "SECONDS", default_value = "8", value_parser = seconds)]
    seconds: Duration,
    /// Threads to work with [default: one per core]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to swap to [default: the temporary directory]
    #[arg(long, value_name = "DIR")]
    storage: Option<PathBuf>,
    /// Print one JSON object instead of the report
    #[arg(long)]
    json: bool,
}

/// Seconds as a decimal number, up to a day.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected a number of seconds from 0 to 86400".into())
}

/// Runs the demo; good unless something did not verify.
pub(crate) fn run(options: &Options) -> Result<Outcome, Trouble> {
    Ok(outcome(&demo(options)?, options.json))
}

fn outcome(run: &Run, json: bool) -> Outcome {
    let text = if json { report::json(run) } else { report::text(run) };
    Outcome { text, good: run.verdict.mismatches == 0 }
}

/// Seconds since `since`, which moves to now.
fn lap(since: &mut Instant) -> f64 {
    let now = Instant::now();
    let took = now.duration_since(*since).as_secs_f64();
    *since = now;
    took
}

fn demo(options: &Options) -> Result<Run, Trouble> {
    let started = Instant::now();
    let root = source::choose(options.dir.as_deref())?;
    let scan = source::scan(&root, options.max_bytes)?;
    if scan.table.len() == 0 {
        return Err(Trouble(format!("{}: expected regular files in it, found none to load", root.display())));
    }
    let scan_seconds = started.elapsed().as_secs_f64();
    let least = (u64::from(scan.table.len()) * LIMIT_FILE_BYTES).max(LIMIT_MIN_BYTES);
    let limit_bytes = options.limit.unwrap_or_else(|| (scan.bytes / LIMIT_PART).max(least));

    let start_rss = monitor::rss();
    let mut builder = MemFs::builder().memory_limit_bytes(limit_bytes);
    if let Some(dir) = &options.storage {
        builder = builder.storage_path(dir);
    }
    let fs = builder.build()?;
    let (run, peaks) = monitor::watched(&fs, || phases(&fs, &scan, options, limit_bytes));
    let mut run = run?;
    run.source = root.display().to_string();
    (run.skipped, run.more) = (scan.skipped, scan.more);
    (run.start_rss, run.peaks) = (start_rss, peaks);
    fs.close()?;
    run.seconds.scan = scan_seconds;
    run.seconds.all = started.elapsed().as_secs_f64();
    Ok(run)
}

/// Everything between building the store and closing it.
fn phases(fs: &MemFs, scan: &source::Scan, options: &Options, limit_bytes: u64) -> Result<Run, Trouble> {
    let threads = match options.threads {
        Some(threads) => usize::from(threads),
        None => thread::available_parallelism().map_or(1, usize::from),
    };
    let (table, seed) = (&scan.table, options.seed);
    let mut since = Instant::now();
    let mut seconds = Seconds::default();

    let loaded = with_bar("load", scan.bytes, Unit::Bytes, |bar| load::load(fs, table, threads, bar))?;
    if loaded.files == 0 {
        return Err(Trouble(format!("none of the {} files found could be read", loaded.unreadable)));
    }
    rank::assign(fs, table, limit_bytes)?;
    seconds.load = lap(&mut since);

    let mut readings = with_bar("read", options.seconds.as_millis() as u64, Unit::Time, |bar| {
        read::read(fs, table, threads, options.seconds, seed, bar)
    })?;
    let placement = placement::placement(fs, table)?;
    lap(&mut since);

    let changes = with_bar("change", u64::from(table.len()), Unit::Files, |bar| {
        change::change(fs, table, threads, seed, bar)
    })?;
    seconds.change = lap(&mut since);

    let length = table.loaded().map(|(_, file)| file.len_bytes()).sum();
    let mut verdict = with_bar("verify", length, Unit::Bytes, |bar| verify::verify(fs, table, threads, bar))?;
    seconds.verify = lap(&mut since);
    readings.findings.drain(..).for_each(|finding| verdict.add(finding));

    Ok(Run {
        source: String::new(),
        threads,
        seed,
        limit_bytes,
        dirs: u64::from(table.dir_count()),
        skipped: source::Skipped::default(),
        more: false,
        loaded,
        readings,
        placement,
        changes,
        verdict,
        peaks: monitor::Peaks::default(),
        start_rss: None,
        stats: fs.stats(),
        seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatch_is_told_and_is_not_good() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("file"), b"contents").expect("a file");
        let options = Options {
            dir: Some(dir.path().to_owned()),
            max_bytes: 1 << 20,
            limit: None,
            seconds: Duration::ZERO,
            threads: Some(1),
            seed: 1,
            storage: None,
            json: false,
        };
        let mut run = demo(&options).expect("a run");
        assert!(outcome(&run, false).good && outcome(&run, true).good);
        for number in 0..30 {
            let path = format!("/{number}/{}", "long".repeat(50));
            run.verdict.add(verify::Finding { path, reason: "expected one, found another".into() });
        }
        let Outcome { text, good } = outcome(&run, false);
        assert!(!good && text.contains("30 mismatches") && text.contains("and 10 more"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let Outcome { text, good } = outcome(&run, true);
        let report: serde_json::Value = serde_json::from_str(&text).expect("one object");
        assert!(!good && report["mismatches"] == 30, "{text}");
        assert_eq!(report["findings"].as_array().map(Vec::len), Some(20));
    }
}
