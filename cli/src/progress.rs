//! Progress on standard error, drawn only where that is a terminal. No colours, so nothing to switch off.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// How a phase counts.
pub(crate) enum Unit {
    Bytes,
    Files,
    /// Milliseconds, shown as seconds gone.
    Time,
}

/// Runs one phase under a bar of its own, which vanishes with the phase, however that ends.
pub(crate) fn with_bar<T>(
    label: &'static str,
    length: u64,
    unit: Unit,
    phase: impl FnOnce(&ProgressBar) -> T,
) -> T {
    let figures = match unit {
        Unit::Bytes => "{bytes:>11} of {total_bytes}",
        Unit::Files => "{pos:>11} of {len}",
        Unit::Time => "{elapsed:>11}",
    };
    let template = format!("{{msg:>8}} ▕{{bar:36}}▏ {figures}");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(length).with_style(style.progress_chars("█▉▊▋▌▍▎▏ ")).with_message(label);
    bar.enable_steady_tick(Duration::from_millis(100));
    let done = phase(&bar);
    bar.finish_and_clear();
    done
}
