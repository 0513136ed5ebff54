//! A set of node numbers.

use std::collections::HashMap;

/// Numbers of nodes, a bit each, in pages so that a large number alone takes no more than a small one.
#[derive(Default)]
pub(super) struct IdSet {
    pages: HashMap<u32, [u64; 4], foldhash::fast::RandomState>,
}

impl IdSet {
    /// Whether it was not there.
    #[inline]
    pub(super) fn insert(&mut self, id: u32) -> bool {
        let word = &mut self.pages.entry(id >> 8).or_default()[(id >> 6 & 3) as usize];
        let bit = 1 << (id & 63);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    #[inline]
    pub(super) fn contains(&self, id: u32) -> bool {
        self.pages.get(&(id >> 8)).is_some_and(|page| page[(id >> 6 & 3) as usize] >> (id & 63) & 1 == 1)
    }
}
