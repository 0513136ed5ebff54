//! Names that come and go.

use crate::requests::Rng;
use std::fmt::Write;

/// Files of a thread that are there at any time.
const ALIVE: usize = 4096;
/// Names of a thread, used in turn. More than are alive, so that a name's successor is not the file just deleted.
const NAMES: usize = 4 * ALIVE;
const DIRECTORIES: u32 = 64;

/// One thread's window of files: the oldest goes when a new one comes. All threads use the same directories.
pub(crate) struct Churn {
    names: Vec<String>,
    first_id: u32,
    created: usize,
}

impl Churn {
    pub(crate) fn new(thread: usize) -> Self {
        let first_id = 0x4000_0000 + (thread * NAMES) as u32;
        let mut rng = Rng::new(0x0063_6875_726e);
        let name = |i: usize| {
            let mut name = String::new();
            write!(name, "/scratch/jobs/{:02}/part-{thread}-{i:06}.tmp", rng.below(DIRECTORIES))
                .expect("strings take everything");
            name
        };
        Self { names: (0..NAMES).map(name).collect(), first_id, created: 0 }
    }

    fn named(&self, turn: usize) -> (u32, &str) {
        (self.first_id + (turn % NAMES) as u32, &self.names[turn % NAMES])
    }

    /// The file to make now, and its version.
    #[inline]
    pub(crate) fn comes(&mut self) -> (u32, &str, u64) {
        let turn = self.created;
        self.created += 1;
        let (id, name) = self.named(turn);
        (id, name, (turn / NAMES) as u64)
    }

    /// The file to delete after that, if so many are there.
    #[inline]
    pub(crate) fn goes(&self) -> Option<(u32, &str)> {
        Some(self.named(self.created.checked_sub(ALIVE + 1)?))
    }

    /// What is there now.
    pub(crate) fn alive(&self) -> impl Iterator<Item = (u32, &str)> {
        (self.created.saturating_sub(ALIVE)..self.created).map(|turn| self.named(turn))
    }
}
