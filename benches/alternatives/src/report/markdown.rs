//! The page: how it was done, a summary, a table and a chart for each group of rows, who took part.

use super::{chart_file, groups, show_value};
use crate::{
    engines,
    results::{Replayed, Results, Row, Score, Unit},
    statistics::Summary,
};
use std::fmt::Write;

/// All of README.md.
pub(crate) fn page(results: &Results) -> String {
    let mut out = String::from(
        "# MemFS beside the alternatives\n\nMade by `alternatives report` from `results.json`; not to be edited by hand.\n\n",
    );
    conditions(&mut out, results);
    summary(&mut out, results);
    scaling(&mut out, results);
    for (name, rows) in groups(results) {
        group(&mut out, name, &rows);
    }
    replays(&mut out, &results.replays);
    out.push_str(METHOD);
    participants(&mut out, results);
    out
}

const METHOD: &str = "\
## How it was measured

```sh
cd benches/alternatives && cargo build --release && cd ../..
benches/alternatives/target/release/alternatives run                    # all rows; --only, --rounds, --round-ms, --max-files
benches/alternatives/target/release/alternatives replay --traces DIR    # the request traces
```

- **Turns.** Each engine has a process of its own. In each round every engine works for a moment, one after the other, and
  each round begins with another one. A turn begins with half a turn that does not count, for the caches to be the engine's
  own; the first round does not count at all. What is shown is the median of the rounds; ratios are medians of the ratios of
  the same round.
- **Contents say whose they are.** A touch compares the first words with the file's number; a copy compares head, tail and length; at
  the end every byte of every file is read and compared. An engine that was wrong once is out of the row.
- **Touch** is a look at the file's first cache line where it lies, if the engine allows that, else in the copy it makes.
  **Copy** is into a buffer that is used again.
- **Paths** have 30 to 50 bytes, 64 files to a directory. The path of a request is in the cache, as for who has just
  made it; the engine's own copy of the name is not.
- **Requests** are drawn before the clock starts. Zipf has the exponent 0.99, the popular files lie anywhere and are the same for all
  threads.
- **Latencies** are those of one operation in 64, with the cost of one reading of the clock in them.
- **Allocator**: jemalloc, for all. MemFS has its own memory for contents.
- **Memory limit**: four times the contents where all is to fit. Caches count contents and names; MemFS its whole footprint.
- **Capped** rows hold each engine's process, page cache included, within 1.25 times the limit and 48 MiB, by a control group. Who is
  killed there is told half of the limit, and half of that; the tables of memory say what each was told.
- **Killed** stores lose their process, not the machine: what had reached the page cache is still there.
- **Cold** means that the engine's files were dropped from the page cache. The disk is a virtual one: what its host caches is not known.
- **Replays**: all files of a trace are written and swapped out, then each request is a read, a miss if the bytes were not in RAM. The
  simulated caches hold contents only; MemFS's limit covers names and tables as well, so a limit is looked for under which
  contents in RAM are the capacity on average. Two threads share the objects and stay within 64 requests of each other.

";

fn conditions(out: &mut String, results: &Results) {
    let machine = &results.machine;
    let busiest = results.rows.iter().map(|row| row.others_busy).fold(0.0, f64::max);
    let dates = results.rows.iter().map(|row| row.taken.as_str());
    let (first, last) = (dates.clone().min().unwrap_or("never"), dates.max().unwrap_or("never"));
    let _ = writeln!(
        out,
        "{} ({} processors, {} GiB), Linux {}, {}; one reading of the clock {:.0} ns. Taken from {first} to {last}.\n",
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        machine.compiler,
        machine.clock_ns
    );
    if busiest > 0.1 {
        let _ = writeln!(
            out,
            "**The machine was not idle**: other processes took up to {busiest:.1} of its {} processors while this was measured. \
             Ratios between engines suffer less from that than figures, and rows of one thread less than rows of two.\n",
            machine.cores
        );
    }
}

fn show_ratio(ratio: Option<Summary>) -> String {
    ratio.map_or_else(String::new, |r| {
        format!("{:.2} x ({:.2}-{:.2})", r.median, r.lower_quartile, r.upper_quartile)
    })
}

/// The map that does nothing else, which either only reads or only writes.
fn bare_map(row: &Row) -> Option<&Score> {
    row.score("bare_map").or_else(|| row.score("bare_map_owned")).filter(|score| score.is_sound())
}

fn summary(out: &mut String, results: &Results) {
    out.push_str(
        "## Summary\n\nRatios above 1 are for MemFS: so many times the rate, or so many times less time or memory; the middle half of \
         the rounds in brackets. The bare map is a limit and no alternative: a `HashMap` per thread, without synchronisation.\n\n\
         | work | MemFS | best alternative | MemFS against it | against the bare map |\n|---|---|---|---|---|\n",
    );
    for row in &results.rows {
        let Some(ours) = row.ours() else { continue };
        let best = row.best_alternative();
        let _ = writeln!(
            out,
            "| {}: {} | {} | {} | {} | {} |",
            row.group,
            row.title,
            shown(row, ours),
            best.map_or_else(String::new, |best| format!("{} {}", best.engine, shown(row, best))),
            show_ratio(best.and_then(|best| row.advantage(ours, best))),
            show_ratio(bare_map(row).and_then(|bare| row.advantage(ours, bare))),
        );
    }
    out.push('\n');
}

/// Rows that differ only in the number of threads.
fn scaling(out: &mut String, results: &Results) {
    let pairs = results.rows.iter().filter_map(|one| {
        let stem = one.id.strip_suffix("-1t")?;
        let two = results.rows.iter().find(|row| row.id.strip_suffix("-2t") == Some(stem))?;
        (one.unit == Unit::Rate).then_some((one, two))
    });
    let scale = |one: &Row, two: &Row, name: &str| -> Option<f64> {
        let median = |row: &Row| Some(row.score(name).filter(|score| score.is_sound())?.summary()?.median);
        Some(median(two)? / median(one)?)
    };
    let show = |scale: Option<f64>| scale.map_or_else(String::new, |scale| format!("{scale:.2} x"));
    out.push_str(
        "## From one thread to two\n\n| work | MemFS | best alternative | bare map |\n|---|---|---|---|\n",
    );
    for (one, two) in pairs {
        let (Some(ours), best) = (two.ours(), two.best_alternative()) else { continue };
        let title = one.title.trim_end_matches(", 1 thread");
        let _ = writeln!(
            out,
            "| {}: {title} | {} | {} | {} |",
            one.group,
            show(scale(one, two, &ours.engine)),
            best.map_or_else(String::new, |best| format!(
                "{} {}",
                best.engine,
                show(scale(one, two, &best.engine))
            )),
            show(bare_map(two).and_then(|bare| scale(one, two, &bare.engine))),
        );
    }
    out.push('\n');
}

fn shown(row: &Row, score: &Score) -> String {
    score.summary().map_or_else(|| "-".to_owned(), |summary| show_value(row.unit, summary.median))
}

/// A table's cell: the median and the quartiles, and what is to be held against them.
fn cell(row: &Row, score: &Score) -> String {
    if let Some(failure) = &score.failure {
        return format!("failed: {}", failure.replace('|', "/").replace('\n', " "));
    }
    if score.wrong > 0 {
        return format!("{} wrong reads", score.wrong);
    }
    let Some(summary) = score.summary() else { return String::new() };
    let mut cell = show_value(row.unit, summary.median);
    if score.values.len() > 1 {
        let show = |value| show_value(row.unit, value);
        let _ = write!(cell, " ({}-{})", show(summary.lower_quartile), show(summary.upper_quartile));
    }
    if score.missing > 0 {
        let _ = write!(cell, ", {} reads found nothing", score.missing);
    }
    cell
}

fn group(out: &mut String, name: &str, rows: &[&Row]) {
    let _ = writeln!(out, "## {name}\n");
    for row in rows {
        if let Some(why) = &row.skipped {
            let _ = writeln!(out, "- {}: skipped, {why}", row.title);
        } else {
            let _ = writeln!(
                out,
                "- {}: {} files, {}; {}, `{}`; others took {:.1} processors",
                row.title,
                row.files,
                show_value(Unit::Bytes, row.data_bytes as f64),
                row.taken,
                row.command,
                row.others_busy
            );
        }
    }
    let rows: Vec<&Row> = rows.iter().copied().filter(|row| row.skipped.is_none()).collect();
    if rows.is_empty() {
        return;
    }
    let titles: Vec<&str> = rows.iter().map(|row| row.title.as_str()).collect();
    let _ = writeln!(out, "\n![{name}]({})\n\n| | {} |", chart_file(name), titles.join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(rows.len()));
    for about in engines::all().map(|entry| entry.about) {
        if rows.iter().any(|row| row.score(about.name).is_some()) {
            let score = |row: &&Row| row.score(about.name).map_or_else(String::new, |score| cell(row, score));
            let cells: Vec<String> = rows.iter().map(score).collect();
            let limit = if about.can.limit { " (limit)" } else { "" };
            let _ = writeln!(out, "| {}{limit} | {} |", about.name, cells.join(" | "));
        }
    }
    out.push('\n');
    rows.iter().for_each(|row| latencies(out, row));
    rows.iter().for_each(|row| footprints(out, row));
}

/// Where enough writes were timed: p50, p99 and p99.9.
fn latencies(out: &mut String, row: &Row) {
    if !row.scores.iter().any(|score| score.writes.p999.is_some()) {
        return;
    }
    let _ = writeln!(
        out,
        "Latency, {}:\n\n| | read p50 | p99 | p99.9 | write p50 | p99 | p99.9 |\n|---|---|---|---|---|---|---|",
        row.title
    );
    for score in row.ranked() {
        let mut cells = Vec::new();
        for latency in [score.reads, score.writes] {
            for percentile in [latency.p50, latency.p99, latency.p999] {
                let shown = percentile.map(|ns| show_value(Unit::Seconds, ns as f64 * 1e-9));
                cells.push(shown.unwrap_or_default());
            }
        }
        let _ = writeln!(out, "| {} | {} |", score.engine, cells.join(" | "));
    }
    out.push('\n');
}

/// Where not everything fits: how much memory each process took beside what it had been told.
fn footprints(out: &mut String, row: &Row) {
    if row.data_bytes <= row.limit_bytes || row.threads != 2 {
        return;
    }
    let show = |bytes: u64| show_value(Unit::Bytes, bytes as f64);
    let _ = writeln!(
        out,
        "Memory at the end, limit {}. Pages of mapped files count as resident, and can be taken back by the system.\n\n\
         | | told | process grew by | of what it was told | of that, not files |\n|---|---|---|---|---|",
        show(row.limit_bytes)
    );
    for score in row.ranked() {
        let memory = &score.memory;
        let grown = memory.rss.saturating_sub(memory.rss_before);
        let anonymous = memory.anonymous.saturating_sub(memory.anonymous_before);
        let percent = grown as f64 * 100.0 / score.told_bytes as f64;
        let (name, told, grown) = (&score.engine, show(score.told_bytes), show(grown));
        let _ = writeln!(out, "| {name} | {told} | {grown} | {percent:.0} % | {} |", show(anonymous));
    }
    out.push('\n');
}

/// Means of object and byte miss ratios over the same traces and sizes, from simulations of the policies alone.
const SIMULATED: [(&str, f64, f64); 9] = [
    ("offline (size x distance)", 0.303, 0.339),
    ("MemFS's rule, simulated", 0.409, 0.435),
    ("GDSF, exact heap", 0.415, 0.460),
    ("S3-FIFO (foyer)", 0.439, 0.437),
    ("W-TinyLFU (foyer)", 0.451, 0.447),
    ("moka", 0.452, 0.477),
    ("quick_cache", 0.453, 0.450),
    ("SIEVE", 0.459, 0.455),
    ("LRU", 0.468, 0.470),
];

fn replays(out: &mut String, replays: &[Replayed]) {
    if replays.is_empty() {
        return;
    }
    out.push_str(
        "## Eviction\n\nMiss ratios of four public traces at 1, 5, 10 and 20 % of each trace's footprint, by MemFS through its public \
         interface, beside the figures of simulated policies at the same sizes (lower is better).\n\n\
         | mean over all | object misses | byte misses |\n|---|---|---|\n",
    );
    for threads in [1, 2] {
        let of: Vec<&Replayed> = replays.iter().filter(|replayed| replayed.threads == threads).collect();
        if of.len() == 16 {
            let mean =
                |ratio: fn(&Replayed) -> f64| of.iter().map(|replayed| ratio(replayed)).sum::<f64>() / 16.0;
            let (objects, bytes) = (mean(|r| r.object_miss_ratio), mean(|r| r.byte_miss_ratio));
            let _ = writeln!(
                out,
                "| **MemFS, {threads} thread{}** | **{objects:.4}** | **{bytes:.4}** |",
                if threads == 1 { "" } else { "s" }
            );
        }
    }
    for (policy, objects, bytes) in SIMULATED {
        let _ = writeln!(out, "| {policy} | {objects:.3} | {bytes:.3} |");
    }
    out.push_str(
        "\nThe rule's figures here are those of a cache that holds contents only and has exact counters (`src/simulate.rs`). \
         Where contents are a small part of what is in RAM (kv_tw52: 0.3 to 6 MB beside 28 MB of names), the capacity is met only \
         roughly: the last column says how nearly.\n\n\
         | trace | size | threads | object misses | by the rule | byte misses | by the rule | contents in RAM, mean and most, of the \
         capacity |\n|---|---|---|---|---|---|---|---|\n",
    );
    for replayed in replays {
        // Replays from before the simulation was made beside them have none.
        let rule = |ratio: f64| if ratio > 0.0 { format!("{ratio:.4}") } else { String::new() };
        let of_capacity = |bytes: u64| bytes as f64 / replayed.capacity_bytes as f64;
        let _ = writeln!(
            out,
            "| {} | {:.0} % | {} | {:.4} | {} | {:.4} | {} | {:.3}, {:.3} |",
            replayed.trace,
            replayed.share * 100.0,
            replayed.threads,
            replayed.object_miss_ratio,
            rule(replayed.rule_object_misses),
            replayed.byte_miss_ratio,
            rule(replayed.rule_byte_misses),
            of_capacity(replayed.resident_bytes),
            of_capacity(replayed.peak_bytes),
        );
    }
    out.push('\n');
}

fn participants(out: &mut String, results: &Results) {
    out.push_str("## Who took part, and how each is set up\n\n| | version | set up as |\n|---|---|---|\n");
    for about in engines::all().map(|entry| entry.about) {
        let version = about.package.and_then(|package| Some((package, results.versions.get(package)?)));
        let version = version.map_or_else(String::new, |(package, version)| format!("{package} {version}"));
        let _ = writeln!(out, "| {} | {version} | {} |", about.name, about.fairness);
    }
    out.push_str(LEFT_OUT);
}

const LEFT_OUT: &str = "
Left out:

- **rocksdb**: its binding needs libclang and builds RocksDB with a C++ compiler; the machine had no libclang.
- **feoxdb with a device**: it is compared in memory only.
- **std::fs on disk** where there are more than 100,000 small files: making and removing them takes longer than all the rest, and
  reads come from the page cache, as on tmpfs.
- **moka, quick_cache, foyer** are caches: they are in no listing row, and forget what does not fit, so they are in no row with
  more than fits. foyer's hybrid cache is in those, with the reads of files that it had lost.

A read that **found nothing** is one of a file that is there throughout: a cache had let it go, or a map's update is not one step for
readers (scc's HashIndex). An engine with such reads is not counted as the best alternative of the row.
";
