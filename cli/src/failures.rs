//! What went wrong with single paths while a command went on: said on standard error at once, kept for `--json`.

use crate::output::printable;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use std::{
    fmt,
    io::{self, Write},
};

/// More are counted and said, but not kept.
const KEPT: usize = if cfg!(test) { 3 } else { 1000 };

/// What failed so far.
#[derive(Default)]
pub(crate) struct Failures {
    count: u64,
    kept: Vec<(String, String)>,
    bar: Option<ProgressBar>,
}

impl Failures {
    /// While `bar` is drawn, failures are said above it.
    pub(crate) fn above(&mut self, bar: Option<&ProgressBar>) {
        self.bar = bar.cloned();
    }

    /// Says and counts one; `reason` names the path itself if it has to be named.
    pub(crate) fn add(&mut self, path: impl fmt::Display, reason: impl fmt::Display) {
        let reason = reason.to_string();
        match &self.bar {
            Some(bar) => bar.suspend(|| say(&reason)),
            None => say(&reason),
        }
        self.count += 1;
        if self.kept.len() < KEPT {
            self.kept.push((path.to_string(), reason));
        }
    }

    /// The same for what the store answered about `path`.
    pub(crate) fn add_store(&mut self, path: &str, error: &memfs::Error) {
        let reason = error.to_string();
        // It may name the part of a file instead, or nothing.
        if reason.contains(path) {
            self.add(path, reason)
        } else {
            self.add(path, format_args!("{path}: {reason}"))
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// For `--json`: the first of them.
    pub(crate) fn json(&self) -> Value {
        self.kept.iter().map(|(path, reason)| json!({ "path": path, "reason": reason })).collect()
    }
}

/// One line on standard error. That nobody reads it is no reason to fail.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "memfs: {}", printable(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_first_kept() {
        let mut failures = Failures::default();
        (0..KEPT + 5).for_each(|number| failures.add(number, format_args!("{number}: a failure of a test")));
        assert_eq!(failures.count(), KEPT as u64 + 5);
        let kept = failures.json();
        assert_eq!(kept.as_array().map(Vec::len), Some(KEPT));
        assert_eq!(kept[2], json!({ "path": "2", "reason": "2: a failure of a test" }));
    }
}
