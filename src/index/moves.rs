//! When directories may have come to be elsewhere: a stamp that what is known of paths is good for.
//!
//! # Invariants
//! 1. As long as the stamp is the same, no directory has moved, and no number of a directory has become free: a directory that
//!    was found under a path, and still is one, is under that path.
//! 2. Both counts only grow, hence two sums of them that are equal are of the same two counts, if the second was made by who had
//!    seen what the first was made of: the same thread, or one that has something (Acquire) from who made it.

use super::{descriptor, word};
use crate::sync::{AtomicU64, Ordering};

/// Counts what makes paths of directories untrue.
#[repr(align(128))]
pub(super) struct Moves {
    /// How many directories have moved, or the descriptor of the move that is under way.
    pub(super) word: AtomicU64,
    /// How many numbers of directories have become free.
    freed: AtomicU64,
}

impl Moves {
    pub(super) fn new() -> Self {
        Self { word: AtomicU64::new(word::moves(0)), freed: AtomicU64::new(0) }
    }

    /// The stamp now; helps nobody.
    #[inline]
    pub(super) fn stamp(&self) -> u64 {
        // Acquire: pairs with the decision of a move: what was read before this of its effects comes with its count.
        let bits = self.word.load(Ordering::Acquire);
        self.stamp_at(descriptor::resolve(&self.word, bits))
    }

    /// The stamp when the word has the value `moves`.
    #[inline]
    pub(super) fn stamp_at(&self, moves: u64) -> u64 {
        // Relaxed: whoever has found a name (Acquire) in a directory whose number was another's comes after `number_freed`.
        moves.wrapping_add(self.freed.load(Ordering::Relaxed) << word::MOVES_SHIFT)
    }

    /// Before a directory's number can be had again. Relaxed: published by the bitmap that the number goes back to (Release),
    /// and by the name that its next directory is bound to.
    pub(super) fn number_freed(&self) {
        self.freed.fetch_add(1, Ordering::Relaxed);
    }
}
