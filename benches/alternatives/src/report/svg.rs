//! Horizontal bars, one panel a row: the length is the median, the line across its end the middle half of the rounds.

use super::show_value;
use crate::{
    engines,
    results::{Row, Score},
};
use std::fmt::Write;

const WIDTH: f64 = 860.0;
const LABELS: f64 = 150.0;
const BARS: f64 = 540.0;
const BAR: f64 = 15.0;
const STEP: f64 = 21.0;
const HEAD: f64 = 34.0;

// Readable on white and on black.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#444}.t{font-weight:600;font-size:15px}.m{font-weight:600}\
.n{text-anchor:end}.v{font-size:12px}.us{fill:#c2410c}.other{fill:#5b7ea3}.limit{fill:none;stroke:#999;stroke-dasharray:3 2}\
.q{stroke:#222;stroke-width:1.5}@media(prefers-color-scheme:dark){text{fill:#ccc}.q{stroke:#eee}}";

/// All rows of a group.
pub(crate) fn chart(group: &str, rows: &[&Row]) -> String {
    let height: f64 = rows.iter().map(|row| HEAD + STEP * row.ranked().len() as f64).sum::<f64>() + 40.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{group}\"><style>{STYLE}</style>\n<text class=\"t\" x=\"8\" y=\"22\">{group}</text>\n"
    );
    let mut top = 30.0;
    for row in rows {
        top = panel(&mut out, row, top);
    }
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, row: &Row, mut top: f64) -> f64 {
    let scores = row.ranked();
    let better = if row.unit.higher_is_better() { "longer is better" } else { "shorter is better" };
    let _ = writeln!(
        out,
        "<text class=\"m\" x=\"8\" y=\"{:.1}\">{} ({better})</text>",
        top + 20.0,
        escaped(&row.title)
    );
    top += HEAD;
    let most =
        scores.iter().filter_map(|score| score.summary()).map(|s| s.upper_quartile).fold(0.0, f64::max);
    for score in scores {
        bar(out, row, score, BARS / most, top);
        top += STEP;
    }
    top
}

fn bar(out: &mut String, row: &Row, score: &Score, scale: f64, top: f64) {
    let Some(summary) = score.summary() else { return };
    let is_limit = engines::find(&score.engine).is_ok_and(|entry| entry.about.can.limit);
    let class = match score.engine.as_str() {
        name if name.starts_with("memfs") => "us",
        _ if is_limit => "limit",
        _ => "other",
    };
    let length = summary.median * scale;
    let (from, to) = (LABELS + summary.lower_quartile * scale, LABELS + summary.upper_quartile * scale);
    let middle = top + BAR / 2.0;
    let lost = if score.missing > 0 { ", some reads found nothing" } else { "" };
    let _ = writeln!(
        out,
        "<text class=\"n\" x=\"{:.1}\" y=\"{:.1}\">{}</text><rect class=\"{class}\" x=\"{LABELS}\" y=\"{top:.1}\" \
         width=\"{length:.1}\" height=\"{BAR}\"/><line class=\"q\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle:.1}\" \
         y2=\"{middle:.1}\"/><text class=\"v\" x=\"{:.1}\" y=\"{:.1}\">{}{lost}</text>",
        LABELS - 8.0,
        top + 12.0,
        score.engine,
        LABELS + length.max(to - LABELS) + 6.0,
        top + 12.0,
        show_value(row.unit, summary.median),
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
