//! The page: a summary, then a table and a chart for each group of rows, then how it was done.

use super::{chart_file, groups, show_value};
use crate::{
    engines,
    results::{Results, Row, Score, Unit},
    statistics::Summary,
};
use std::fmt::Write;

/// All of README.md.
pub(crate) fn page(results: &Results) -> String {
    let mut out = String::new();
    out.push_str("# Benchmarks\n\n");
    summary(&mut out, results);
    for (name, rows) in groups(results) {
        group(&mut out, name, &rows);
    }
    out
}

fn show_ratio(ratio: Option<Summary>) -> String {
    ratio.map_or_else(
        || "-".to_owned(),
        |r| format!("{:.2} ({:.2}-{:.2})", r.median, r.lower_quartile, r.upper_quartile),
    )
}

fn summary(out: &mut String, results: &Results) {
    out.push_str("| work | MemFS | best alternative | MemFS is | of the bare map |\n|---|---|---|---|---|\n");
    for row in &results.rows {
        let Some(ours) = row.score("memfs").filter(|score| score.is_sound()) else { continue };
        let best = row.best_alternative();
        let bare = row.score("bare_map").or_else(|| row.score("bare_map_owned"));
        let _ = writeln!(
            out,
            "| {}: {} | {} | {} | {} | {} |",
            row.group,
            row.title,
            shown(row, ours),
            best.map_or_else(|| "-".to_owned(), |best| format!("{} {}", best.engine, shown(row, best))),
            show_ratio(best.and_then(|best| row.advantage(ours, best))),
            show_ratio(bare.and_then(|bare| row.advantage(ours, bare))),
        );
    }
    out.push('\n');
}

fn shown(row: &Row, score: &Score) -> String {
    score.summary().map_or_else(|| "-".to_owned(), |summary| show_value(row.unit, summary.median))
}

fn group(out: &mut String, name: &str, rows: &[&Row]) {
    let _ = writeln!(out, "## {name}\n\n![{name}]({})\n", chart_file(name));
    let names = engines::all().map(|entry| entry.about.name);
    let _ =
        writeln!(out, "| | {} |", rows.iter().map(|row| row.title.as_str()).collect::<Vec<_>>().join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(rows.len()));
    for engine in names.filter(|name| rows.iter().any(|row| row.score(name).is_some())) {
        let cells: Vec<String> = rows
            .iter()
            .map(|row| row.score(engine).map_or_else(String::new, |score| shown(row, score)))
            .collect();
        let _ = writeln!(out, "| {engine} | {} |", cells.join(" | "));
    }
    out.push('\n');
    latencies(out, rows);
}

/// Of rows in which some engine had enough samples of writes: p50, p99 and p99.9.
fn latencies(out: &mut String, rows: &[&Row]) {
    for row in
        rows.iter().filter(|row| row.scores.iter().any(|score| score.writes_ns.percentile(0.999).is_some()))
    {
        let _ = writeln!(
            out,
            "Latency, {}:\n\n| | read p50 | p99 | p99.9 | write p50 | p99 | p99.9 |\n|---|---|---|---|---|---|---|",
            row.title
        );
        for score in row.ranked() {
            let mut cells = Vec::new();
            for histogram in [&score.reads_ns, &score.writes_ns] {
                for share in [0.5, 0.99, 0.999] {
                    let shown =
                        histogram.percentile(share).map(|ns| show_value(Unit::Seconds, ns as f64 * 1e-9));
                    cells.push(shown.unwrap_or_default());
                }
            }
            let _ = writeln!(out, "| {} | {} |", score.engine, cells.join(" | "));
        }
        out.push('\n');
    }
}
