//! Letting go of changes that a later one in the same batch has made of no account, before the batch is flushed.
//!
//! A batch becomes durable whole or not at all, so of the contents that a file has had in it only the last counts. Of 100 ms
//! of overwrites in a few thousand files that is one change in forty; the others would wait in as many records, each of
//! memory that is out of every cache when it comes back.
//!
//! # Invariants
//! 1. Only a content that the same file's later one, in the batch, replaces whole; it left the content word when that came.
//!    Names, priorities, moves and partial contents stay.
//! 2. Nothing of a batch that was tried: its operations have numbers, in a frame that may be on disk.
//! 3. No bytes are read, and the blocks that the batch will want are found by the flush, as ever (`limbo`, invariant 2).

use super::{core::Core, flush::Log, local::Local, log::ContentChange};
use crate::{
    index::{NameChange, NodeId},
    order::{Record, Taken},
    sync::Ordering::*,
};
use std::collections::HashSet;

/// Changes between two looks. A power of two; their records should stay in the second cache.
const BETWEEN: u64 = if cfg!(any(test, memfs_loom)) { 4 } else { 4 << 10 };

impl Log {
    /// Whether, as this place was taken, so many changes have come that the flusher should look at them.
    pub(super) fn is_crowded_at(&self, place: u64) -> bool {
        place & (BETWEEN - 1) == 0
    }
}

impl Core {
    /// Takes what is in the order, and lets go of what is of no account.
    pub(crate) fn condense(&self, local: &Local) {
        let Some(log) = &self.log else { return };
        let mut turn = log.lock_to_flush(local);
        let flusher = &mut *turn.flusher;
        let last = flusher.taken.last().map_or(0, |taken| taken.record().place());
        let come = log.order.last_place(&local.pin()).saturating_sub(last.max(log.durable.load(Relaxed)));
        // What was kept is looked through again: so not before as much has come.
        if flusher.tried || come < BETWEEN.max(flusher.taken.len() as u64) {
            return;
        }
        flusher.take(log, local);
        let dropped = take_superseded(&mut flusher.taken);
        self.let_go(log, dropped, |_| true, local);
    }
}

/// Takes out what invariant 1 names.
fn take_superseded(taken: &mut Vec<Taken>) -> Vec<Taken> {
    // Files whose content a later change gives whole.
    let mut whole: HashSet<NodeId, foldhash::fast::RandomState> = HashSet::default();
    let mut is_dropped: Vec<bool> =
        taken.iter().rev().map(|taken| is_superseded(taken.record(), &mut whole)).collect();
    is_dropped.reverse();
    let mut is_dropped = is_dropped.into_iter();
    taken.extract_if(.., |_| is_dropped.next().expect("one for each")).collect()
}

/// Whether a record is of no account, `whole` being of those behind it; adds what it says itself.
fn is_superseded(record: &Record, whole: &mut HashSet<NodeId, foldhash::fast::RandomState>) -> bool {
    match ContentChange::of(record) {
        Some(ContentChange::Content { id, reset, same, priority, .. }) => {
            if whole.contains(&id) {
                return priority.is_none();
            }
            if reset && !same {
                whole.insert(id);
            }
        }
        Some(ContentChange::Move { .. }) => {}
        // Before a file was made its number was another's.
        None => {
            if let Some(NameChange::Make { nodes, .. }) = NameChange::of(record) {
                nodes.for_each(|(id, _)| _ = whole.remove(&id));
            }
        }
    }
    false
}
