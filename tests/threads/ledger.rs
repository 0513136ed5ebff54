//! What each version of a file was, noted by its one writer before the store hears of it.

use crate::common::words::{Run, clip};
use std::sync::{
    RwLock,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

/// Contents as stretches of versions: as long as they say.
pub(crate) type Runs = Vec<Run>;

pub(crate) fn words_of(runs: &[Run]) -> u64 {
    runs.last().map_or(0, |run| run.to)
}

/// Every state that a file has had, in order.
#[derive(Default)]
pub(crate) struct Ledger {
    states: RwLock<Vec<Runs>>,
    /// How many of them the store has acknowledged.
    acknowledged: AtomicUsize,
}

impl Ledger {
    /// Notes the next state.
    pub(crate) fn push(&self, runs: Runs) {
        self.states.write().unwrap().push(runs);
    }

    /// The store has acknowledged all states noted so far.
    pub(crate) fn acknowledge(&self) {
        self.acknowledged.store(self.states.read().unwrap().len(), SeqCst);
    }

    /// The number of the latest state that the store has acknowledged: no later read can see an earlier one.
    pub(crate) fn least(&self) -> usize {
        self.acknowledged.load(SeqCst).saturating_sub(1)
    }

    /// The latest state whose words `from..to` are `seen`, as a number that grows with time; `full` if the read asked for
    /// more than it got, so that the state has to end at `to`.
    pub(crate) fn state_of(&self, seen: &[Run], from: u64, to: u64, full: bool) -> Option<usize> {
        let states = self.states.read().unwrap();
        let fits = |runs: &Runs| {
            let end = words_of(runs);
            (if full { end == to || (end <= from && from == to) } else { end >= to })
                && clip(runs, from, to) == seen
        };
        states.iter().rposition(fits)
    }

    /// Whether state number `state` is `seen`, `to` words long.
    pub(crate) fn is(&self, state: usize, seen: &[Run], to: u64) -> bool {
        let states = self.states.read().unwrap();
        words_of(&states[state]) == to && states[state] == seen
    }
}
