//! Bars and curves out of block characters.

use super::read::Point;

const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const LYING: [char; 9] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// A lying bar, `fraction` of `width` filled, the rest dotted.
pub(crate) fn bar(fraction: f64, width: usize) -> String {
    let eighths = (fraction.clamp(0.0, 1.0) * (width * 8) as f64).round() as usize;
    (0..width)
        .map(|cell| match eighths.saturating_sub(cell * 8).min(8) {
            0 => '·',
            filled => LYING[filled],
        })
        .collect()
}

/// The hit rate between the points as percentages for `columns` equal stretches of time; `None` where nothing was read.
fn rates(points: &[Point], columns: usize) -> Vec<Option<f64>> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return vec![None; columns] };
    let edge = |column: usize| {
        let seconds = first.seconds + (last.seconds - first.seconds) * column as f64 / columns as f64;
        counts_at(points, seconds)
    };
    (0..columns)
        .map(|column| {
            let ((hits, misses), (hits_after, misses_after)) = (edge(column), edge(column + 1));
            let (hits, misses) = ((hits_after - hits).max(0.0), (misses_after - misses).max(0.0));
            (hits + misses >= 0.5).then(|| hits * 100.0 / (hits + misses))
        })
        .collect()
}

/// Hits and misses at a time, between two points in proportion. `points` is not empty.
fn counts_at(points: &[Point], seconds: f64) -> (f64, f64) {
    let after = points.partition_point(|point| point.seconds < seconds).clamp(1, points.len().max(2) - 1);
    let (Some(a), Some(b)) = (points.get(after - 1), points.get(after)) else {
        return (points[0].hits as f64, points[0].misses as f64);
    };
    let part = if b.seconds > a.seconds { (seconds - a.seconds) / (b.seconds - a.seconds) } else { 1.0 };
    let between = |from: u64, to: u64| from as f64 + (to as f64 - from as f64) * part.clamp(0.0, 1.0);
    (between(a.hits, b.hits), between(a.misses, b.misses))
}

/// The hit rate over time, `rows` lines high and at most 78 columns wide; the scale starts at the ten below the lowest.
pub(crate) fn hit_rate(points: &[Point], rows: usize) -> String {
    const COLUMNS: usize = 64;
    let rates = rates(points, COLUMNS);
    let lowest = rates.iter().flatten().fold(100.0f64, |low, rate| low.min(*rate));
    let floor = ((lowest - 1.0) / 10.0).floor().clamp(0.0, 9.0) * 10.0;
    let heights: Vec<usize> = rates
        .iter()
        .map(|rate| {
            rate.map_or(0, |rate| {
                (((rate - floor) / (100.0 - floor) * (rows * 8) as f64).round() as usize).max(1)
            })
        })
        .collect();
    let mut out = String::new();
    for row in (0..rows).rev() {
        let label = match row {
            row if row == rows - 1 => "100 %".into(),
            0 => format!("{floor:.0} %"),
            _ => String::new(),
        };
        let line: String =
            heights.iter().map(|height| EIGHTHS[height.saturating_sub(row * 8).min(8)]).collect();
        out += format!("  {label:>6} │{line}").trim_end();
        out.push('\n');
    }
    let seconds = points.last().map_or(0.0, |last| last.seconds);
    out += &format!("         └{}\n", "─".repeat(COLUMNS));
    out += &format!("          0 s{:>width$.1} s\n", seconds, width = COLUMNS - 5);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_asked() {
        assert_eq!(bar(0.0, 4), "····");
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(0.5, 4), "██··");
        assert_eq!(bar(0.53125, 4), "██▏·");
        assert_eq!(bar(7.0, 2), "██");
        assert_eq!(bar(f64::NAN, 2), "··");
    }

    #[test]
    fn the_curve_follows_the_points() {
        // Half hits in the first second, all hits in the second one.
        let point = |seconds, hits, misses| Point { seconds, hits, misses };
        let points = [point(0.0, 10, 10), point(1.0, 60, 60), point(2.0, 260, 60)];
        let rates = rates(&points, 8);
        for (column, rate) in rates.iter().enumerate() {
            let expected = if column < 4 { 50.0 } else { 100.0 };
            assert!((rate.expect("reads") - expected).abs() < 1e-6, "{column}: {rate:?}");
        }
        let chart = hit_rate(&points, 5);
        let lines: Vec<_> = chart.lines().collect();
        assert_eq!(lines.len(), 7);
        assert!(lines[0].starts_with("   100 % │") && lines[4].starts_with("    40 % │"), "{chart}");
        assert!(lines[0].ends_with('█') && lines[4].ends_with('█'), "{chart}");
        assert!(lines.iter().all(|line| line.chars().count() <= 78), "{chart}");
    }

    #[test]
    fn no_points_and_no_reads_draw_an_empty_chart() {
        let still = [Point { seconds: 0.0, hits: 5, misses: 5 }; 3];
        for points in [&still[..], &still[..1], &[]] {
            assert!(!hit_rate(points, 5).contains('█'));
        }
    }
}
