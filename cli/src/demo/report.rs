//! What the demo found, for people (80 columns, no colour) and for machines (one JSON object).

use super::{
    change::Changes,
    chart,
    load::Loaded,
    monitor::{Peaks, Rss},
    placement::{Group, Placement, SIZE_BOUNDS},
    rank,
    read::Readings,
    source::Skipped,
    verify::{Finding, Verdict},
};
use crate::size::{count, duration, short, show};
use serde_json::{Value, json};
use std::fmt::Write;

const WIDTH: usize = 80;
/// What the tables have for the names of their lines.
pub(crate) const LABEL_WIDTH: usize = 25;
/// What the process may grow by beyond the limit: the contract's 2 % and 16 MiB.
const BEYOND_PART: u64 = 50;
const BEYOND_BYTES: u64 = 16 << 20;

/// Everything that one run of the demo found.
pub(crate) struct Run {
    pub(crate) source: String,
    pub(crate) threads: usize,
    pub(crate) seed: u64,
    pub(crate) limit_bytes: u64,
    pub(crate) dirs: u64,
    pub(crate) skipped: Skipped,
    pub(crate) more: bool,
    pub(crate) loaded: Loaded,
    pub(crate) readings: Readings,
    pub(crate) placement: Placement,
    pub(crate) changes: Changes,
    pub(crate) verdict: Verdict,
    pub(crate) peaks: Peaks,
    /// Resident memory just before the store was built.
    pub(crate) start_rss: Option<Rss>,
    pub(crate) stats: memfs::Stats,
    pub(crate) seconds: Seconds,
}

/// How long each phase took.
#[derive(Default)]
pub(crate) struct Seconds {
    pub(crate) scan: f64,
    pub(crate) load: f64,
    pub(crate) change: f64,
    pub(crate) verify: f64,
    pub(crate) all: f64,
}

impl Run {
    fn rss_growth(&self) -> Option<u64> {
        Some(self.peaks.rss?.peak.saturating_sub(self.start_rss?.total))
    }

    fn rss_allowed(&self) -> u64 {
        self.limit_bytes.saturating_add(self.limit_bytes / BEYOND_PART).saturating_add(BEYOND_BYTES)
    }
}

/// One JSON object on one line.
pub(crate) fn json(run: &Run) -> String {
    let mut object = serde_json::Map::new();
    for part in [json_load(run), json_memory(run), json_reads(run), json_verdict(run), json_seconds(run)] {
        if let Value::Object(part) = part {
            object.extend(part);
        }
    }
    format!("{}\n", Value::Object(object))
}

fn json_load(run: &Run) -> Value {
    json!({
        "source": run.source,
        "files": run.loaded.files,
        "bytes": run.loaded.bytes,
        "directories": run.dirs,
        "limit_bytes": run.limit_bytes,
        "threads": run.threads,
        "seed": run.seed,
        "skipped_unreadable": run.skipped.unreadable + run.loaded.unreadable,
        "skipped_names": run.skipped.names,
        "skipped_special": run.skipped.special,
        "source_has_more": run.more,
        "changed_while_loading": run.loaded.changed,
    })
}

fn json_memory(run: &Run) -> Value {
    let rss = run.peaks.rss;
    json!({
        "peak_footprint_bytes": run.peaks.footprint_bytes,
        "start_rss_bytes": run.start_rss.map(|rss| rss.total),
        "peak_rss_bytes": rss.map(|rss| rss.peak),
        "peak_rss_anonymous_bytes": rss.map(|rss| rss.anonymous),
        "peak_rss_file_bytes": rss.map(|rss| rss.file),
        "peak_rss_shared_bytes": rss.map(|rss| rss.shared),
        "swaps_out": run.stats.cache.swaps_out,
        "swaps_in": run.stats.cache.swaps_in,
        "stats": serde_json::to_value(&run.stats).unwrap_or(Value::Null),
    })
}

fn json_reads(run: &Run) -> Value {
    let latency = &run.readings.latency;
    let by_priority = by_priority(run).map(|(level, group)| json_group(group, "priority", json!(level)));
    let by_size = by_size(run).map(|(bound, group)| json_group(group, "up_to_bytes", json!(bound)));
    json!({
        "reads": run.readings.reads,
        "read_bytes": run.readings.bytes,
        "reads_checked": run.readings.checked,
        "reads_timed": latency.total(),
        "hit_rate": run.readings.hit_rate(),
        "hit_rate_over_time": over_time(run),
        "read_p50_ns": latency.quantile_ns(0.5),
        "read_p90_ns": latency.quantile_ns(0.9),
        "read_p99_ns": latency.quantile_ns(0.99),
        "read_p999_ns": latency.quantile_ns(0.999),
        "read_max_ns": latency.max_ns(),
        "resident_bytes": run.placement.resident_bytes,
        "by_priority": by_priority.collect::<Vec<_>>(),
        "by_size": by_size.collect::<Vec<_>>(),
    })
}

fn json_verdict(run: &Run) -> Value {
    let finding = |finding: &Finding| json!({ "path": finding.path, "reason": finding.reason });
    json!({
        "overwritten": run.changes.overwritten,
        "renamed": run.changes.renamed,
        "moved": run.changes.moved,
        "removed": run.changes.removed,
        "directories_renamed": run.changes.dirs_renamed,
        "verified_files": run.verdict.files,
        "verified_bytes": run.verdict.bytes,
        "mismatches": run.verdict.mismatches,
        "findings": run.verdict.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn json_seconds(run: &Run) -> Value {
    json!({
        "scan_seconds": run.seconds.scan,
        "load_seconds": run.seconds.load,
        "read_seconds": run.readings.seconds,
        "change_seconds": run.seconds.change,
        "verify_seconds": run.seconds.verify,
        "elapsed_seconds": run.seconds.all,
    })
}

/// The rate since the point before, at each point's seconds.
fn over_time(run: &Run) -> Vec<Value> {
    run.readings
        .points
        .windows(2)
        .map(|pair| json!([pair[1].seconds, pair[0].rate_until(&pair[1])]))
        .collect()
}

fn json_group(group: &Group, key: &str, value: Value) -> Value {
    json!({
        key: value,
        "files": group.all().files,
        "bytes": group.all().bytes,
        "memory_files": group.memory.files,
        "memory_bytes": group.memory.bytes,
        "both_files": group.both.files,
        "both_bytes": group.both.bytes,
        "disk_files": group.disk.files,
        "disk_bytes": group.disk.bytes,
    })
}

/// Levels that any file has, highest first.
fn by_priority(run: &Run) -> impl Iterator<Item = (u8, &Group)> {
    let levels = run.placement.by_priority.iter().enumerate().rev();
    levels.filter(|(_, group)| group.all().files > 0).map(|(level, group)| (level as u8, group))
}

/// Size classes that any file is in, with their upper bounds; the last has none.
fn by_size(run: &Run) -> impl Iterator<Item = (Option<u64>, &Group)> {
    let bounds = SIZE_BOUNDS.into_iter().map(Some).chain([None]);
    bounds.zip(&run.placement.by_size).filter(|(_, group)| group.all().files > 0)
}

/// The report for people.
pub(crate) fn text(run: &Run) -> String {
    let mut out = String::new();
    head(run, &mut out);
    work(run, &mut out);
    reads(run, &mut out);
    places(run, &mut out);
    memory(run, &mut out);
    verdict(run, &mut out);
    out
}

/// Appends one line. Writing to a `String` cannot fail.
macro_rules! line {
    ($out:expr) => { $out.push('\n') };
    ($out:expr, $($text:tt)+) => {{
        let _ = writeln!($out, $($text)+);
    }};
}

fn title(text: &str, out: &mut String) {
    line!(out);
    line!(out, "── {text} {}", "─".repeat(WIDTH.saturating_sub(4 + text.chars().count())));
}

/// `text` in at most `width` columns, its middle left out if need be.
fn fit(text: &str, width: usize) -> String {
    let chars: Vec<char> = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if chars.len() <= width {
        return chars.into_iter().collect();
    }
    let head = (width - 1) / 2;
    let tail = width - 1 - head;
    chars[..head].iter().chain(&['…']).chain(&chars[chars.len() - tail..]).collect()
}

fn head(run: &Run, out: &mut String) {
    let (files, bytes) = (count(run.loaded.files), show(run.loaded.bytes));
    line!(out, "MemFS demo: {files} files, {bytes}, under a limit of {}", show(run.limit_bytes));
    line!(out, "  from  {}", fit(&run.source, WIDTH - 8));
    line!(out, "  disk  {}", fit(&run.stats.disk.path, WIDTH - 8));
}

fn work(run: &Run, out: &mut String) {
    title("What was done", out);
    let rate = |bytes: u64, seconds: f64| show((bytes as f64 / seconds.max(1e-9)) as u64);
    let (seconds, readings, changes) = (&run.seconds, &run.readings, &run.changes);
    let more = if run.more { ", and there is more" } else { "" };
    let listed = run.loaded.files + run.loaded.unreadable;
    line!(
        out,
        "  scan   {:7.2} s   {} files in {} directories{more}",
        seconds.scan,
        count(listed),
        count(run.dirs)
    );
    let load_rate = rate(run.loaded.bytes, seconds.load);
    line!(
        out,
        "  load   {:7.2} s   {}, {load_rate}/s, {} threads",
        seconds.load,
        show(run.loaded.bytes),
        run.threads
    );
    let per_second = short((readings.reads as f64 / readings.seconds.max(1e-9)) as u64);
    let read_rate = rate(readings.bytes, readings.seconds);
    line!(
        out,
        "  read   {:7.2} s   {} reads, {per_second}/s, {read_rate}/s",
        readings.seconds,
        short(readings.reads)
    );
    line!(
        out,
        "  change {:7.2} s   {} overwritten, {} renamed, {} moved, {} removed",
        seconds.change,
        count(changes.overwritten),
        count(changes.renamed + changes.dirs_renamed),
        count(changes.moved),
        count(changes.removed)
    );
    let verify_rate = rate(run.verdict.bytes, seconds.verify);
    line!(out, "  verify {:7.2} s   {}, {verify_rate}/s", seconds.verify, show(run.verdict.bytes));
    let skipped = [
        (run.skipped.special, "links and special files"),
        (run.skipped.unreadable + run.loaded.unreadable, "unreadable"),
        (run.skipped.names, "unusable names"),
    ];
    let skipped: Vec<_> =
        skipped.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", short(*n))).collect();
    if !skipped.is_empty() {
        line!(out, "  passed over: {}", skipped.join(", "));
    }
}

fn reads(run: &Run, out: &mut String) {
    match run.readings.hit_rate() {
        Some(rate) => title(&format!("Hit rate while reading: {rate:.1} %"), out),
        None => title("Hit rate while reading: nothing was counted", out),
    }
    *out += &chart::hit_rate(&run.readings.points, 6);
    title("Latency of a read, every cache line of the file looked at", out);
    let latency = &run.readings.latency;
    line!(out, "  {:>12}{:>12}{:>12}{:>12}{:>12}{:>12}", "p50", "p90", "p99", "p99.9", "max", "timed");
    let quantile = |fraction| duration(latency.quantile_ns(fraction));
    line!(
        out,
        "  {:>12}{:>12}{:>12}{:>12}{:>12}{:>12}",
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        quantile(0.999),
        duration(latency.max_ns()),
        short(latency.total())
    );
}

fn places(run: &Run, out: &mut String) {
    title("Where the files were after reading", out);
    places_head("priority", out);
    for (level, group) in by_priority(run) {
        places_row(&format!("{level} {}", rank::kind(level)), group, out);
    }
    places_head("size", out);
    for (bound, group) in by_size(run) {
        match bound {
            Some(bound) => places_row(&format!("up to {} KiB", bound >> 10), group, out),
            None => places_row("larger", group, out),
        }
    }
    places_row("all", &run.placement.total(), out);
    let (resident, all) = (run.placement.resident_bytes, run.placement.total().all().bytes);
    line!(out, "  {} of {} of contents were in RAM.", show(resident), show(all));
}

fn places_head(what: &str, out: &mut String) {
    line!(
        out,
        "  {what:<LABEL_WIDTH$} {:>8} {:>9} {:>8} {:>8} {:>8} {:>6}",
        "files",
        "bytes",
        "RAM only",
        "RAM+disk",
        "disk",
        "in RAM"
    );
}

fn places_row(label: &str, group: &Group, out: &mut String) {
    let all = group.all();
    line!(
        out,
        "  {label:<LABEL_WIDTH$} {:>8} {:>9} {:>8} {:>8} {:>8} {}",
        short(all.files),
        show(all.bytes),
        short(group.memory.files),
        short(group.both.files),
        short(group.disk.files),
        chart::bar(group.resident_part(), 6)
    );
}

fn memory(run: &Run, out: &mut String) {
    title("Memory", out);
    let bar = |label: &str, bytes: u64, of: u64, of_what: &str, out: &mut String| {
        let part = bytes as f64 / of.max(1) as f64;
        let (bar, percent) = (chart::bar(part, 20), part * 100.0);
        line!(out, "  {label:<16} {:>9}  {bar} {percent:5.1} % of {} {of_what}", show(bytes), show(of));
    };
    bar("footprint, peak", run.peaks.footprint_bytes, run.limit_bytes, "limit", out);
    match run.rss_growth() {
        Some(grown) => bar("RSS, growth", grown, run.rss_allowed(), "allowed", out),
        None => line!(out, "  RSS              not known: no /proc/self/status"),
    }
    line!(
        out,
        "  swapped          {} out, {} in; {} on disk now",
        count(run.stats.cache.swaps_out),
        count(run.stats.cache.swaps_in),
        show(run.stats.disk.current_usage)
    );
    if run.stats.cache.swaps_out == 0 {
        line!(out, "  Nothing had to leave RAM: a smaller --limit shows more.");
    }
}

fn verdict(run: &Run, out: &mut String) {
    line!(out);
    let (files, bytes) = (count(run.verdict.files), show(run.verdict.bytes));
    if run.verdict.mismatches == 0 {
        line!(
            out,
            "✔ {files} files, {bytes}: every byte is what it has to be. {:.1} s in all.",
            run.seconds.all
        );
        return;
    }
    line!(out, "✘ {} mismatches in {files} files, {bytes}", count(run.verdict.mismatches));
    for finding in &run.verdict.findings {
        line!(out, "    {}", fit(&finding.path, WIDTH - 4));
        line!(out, "      {}", fit(&finding.reason, WIDTH - 6));
    }
    let untold = run.verdict.mismatches - run.verdict.findings.len() as u64;
    if untold > 0 {
        line!(out, "    and {} more", count(untold));
    }
}
