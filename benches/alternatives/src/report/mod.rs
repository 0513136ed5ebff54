//! Tables and charts from results.

mod markdown;
mod svg;

use crate::{
    engine::Outcome,
    results::{Results, Unit},
};
use std::path::Path;

/// Writes README.md and the charts into `directory`.
pub(crate) fn write(results: &Results, directory: &Path) -> Outcome<()> {
    std::fs::create_dir_all(directory)?;
    std::fs::write(directory.join("README.md"), markdown::page(results))?;
    for (name, rows) in groups(results) {
        std::fs::write(directory.join(chart_file(name)), svg::chart(name, &rows))?;
    }
    Ok(())
}

/// Rows by group, in the order in which groups first appear.
fn groups(results: &Results) -> Vec<(&str, Vec<&crate::results::Row>)> {
    let mut groups: Vec<(&str, Vec<_>)> = Vec::new();
    for row in &results.rows {
        match groups.iter_mut().find(|(name, _)| *name == row.group) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((&row.group, vec![row])),
        }
    }
    groups
}

fn chart_file(group: &str) -> String {
    let mut name = String::new();
    for c in group.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' => name.push(c.to_ascii_lowercase()),
            _ if name.ends_with('-') || name.is_empty() => {}
            _ => name.push('-'),
        }
    }
    format!("{}.svg", name.trim_end_matches('-'))
}

/// Three figures and a unit.
pub(crate) fn show_value(unit: Unit, value: f64) -> String {
    let scaled = |units: [(f64, &str); 4]| {
        let (scale, name) = units.into_iter().find(|(scale, _)| value.abs() >= *scale).unwrap_or(units[3]);
        let scaled = value / scale;
        let digits = if scaled >= 99.95 { 0 } else { usize::from(scaled < 9.995) + 1 };
        format!("{scaled:.digits$} {name}")
    };
    match unit {
        Unit::Rate => scaled([(1e6, "M/s"), (1e3, "k/s"), (1.0, "/s"), (1.0, "/s")]),
        Unit::Seconds => scaled([(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")]),
        Unit::Bytes => {
            scaled([(f64::from(1 << 30), "GiB"), (f64::from(1 << 20), "MiB"), (1024.0, "KiB"), (1.0, "B")])
        }
    }
}
