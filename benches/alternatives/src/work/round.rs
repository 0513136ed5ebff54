//! A round, and what comes of it.

use crate::{histogram::Histogram, requests::Spread};
use serde::{Deserialize, Serialize};

/// What is done over and over, or once through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Read files and look at the first line of each.
    Touch(Spread),
    /// Read files into a buffer.
    Copy(Spread),
    /// Write a share of the requests, copy the others.
    Mix { spread: Spread, writes_percent: u8 },
    /// Create a file and delete an older one, in directories that all threads use.
    Churn,
    /// Copy every file once, in random order, after everything went to disk.
    Once { cold: bool },
    /// List the directory that holds everything.
    List,
    /// Find some of all paths by a pattern.
    Glob,
}

impl Work {
    /// Whether a round is one pass and not a stretch of time.
    pub(crate) fn is_pass(self) -> bool {
        matches!(self, Work::Once { .. } | Work::List | Work::Glob)
    }
}

/// What to do, by how many, for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) work: Work,
    pub(crate) threads: usize,
    pub(crate) millis: u64,
}

/// What one thread, or all of a round, came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) operations: u64,
    /// Operations by second; of several threads, the sum of theirs.
    pub(crate) rate: f64,
    pub(crate) seconds: f64,
    /// Sampled, one operation in [`SAMPLE_EVERY`](super::thread::SAMPLE_EVERY); of passes, each.
    pub(crate) reads_ns: Histogram,
    pub(crate) writes_ns: Histogram,
    /// Reads that found no file.
    pub(crate) missing: u64,
    /// Reads that found something else than the file's bytes.
    pub(crate) wrong: u64,
}

impl Measured {
    /// Takes another thread's of the same round in.
    pub(crate) fn join(&mut self, other: &Measured) {
        self.operations += other.operations;
        self.rate += other.rate;
        self.seconds = self.seconds.max(other.seconds);
        self.reads_ns.add(&other.reads_ns);
        self.writes_ns.add(&other.writes_ns);
        self.missing += other.missing;
        self.wrong += other.wrong;
    }
}
