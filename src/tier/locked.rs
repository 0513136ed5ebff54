//! How much of RAM locked files take. What is locked leaves only by an explicit gc, so it must not take all: names, long
//! files' tables and everybody else's files in flight need some.
//!
//! The figure is kept by who moves locked contents, each with one addition. A priority that changes while its file does can
//! make it drift; so nobody is refused on its word alone: it is counted anew first.

use super::{core::Core, heat, local::Local, word::Word};
use crate::{
    config::Priority,
    epoch::Guard,
    index::{Node, NodeId},
    sync::Ordering::*,
};

/// What locked files leave to all else, at least: spans begun in a few size classes.
const LEAST_REST: u64 = 192 << 10;

impl Core {
    /// What a word of this file counts for: its blocks' bytes if the file is locked.
    pub(crate) fn locked_bytes(&self, node: &Node, word: Word, guard: &Guard) -> i64 {
        if heat::priority(node).is_locked() { self.presence(word, guard).block_bytes as i64 } else { 0 }
    }

    /// A content of the file in this slot left RAM.
    pub(crate) fn locked_left(&self, id: NodeId, word: Word) {
        if let super::word::Content::Ram(block) = word.content()
            && self.file(id).is_some_and(|node| heat::priority(node).is_locked())
        {
            // Relaxed, here and elsewhere: a figure, ordering nothing.
            self.locked.fetch_sub(self.ground.arena.capacity(block) as i64, Relaxed);
        }
    }

    /// Gives a file another priority.
    pub(crate) fn prioritise(&self, node: &Node, to: Priority, guard: &Guard) {
        let word = Word::from_bits(node.content.load(Acquire));
        let before = self.locked_bytes(node, word, guard);
        heat::set_priority(self, node, to);
        self.locked.fetch_add(self.locked_bytes(node, word, guard) - before, Relaxed);
        self.note_priority(to);
    }

    /// Whether locked files may take a block of `capacity` more: up to what an eighth of the limit and the index leave.
    pub(crate) fn may_lock(&self, local: &Local, capacity: usize) -> bool {
        let limit = self.config.memory_limit_bytes;
        let rest = (limit / 8).max(LEAST_REST.min(limit / 2)) + self.index.size_bytes(&local.pin());
        let most = limit.saturating_sub(rest) as i64;
        let fits = |locked: i64| locked.saturating_add(capacity as i64) <= most;
        fits(self.locked.load(Relaxed)) || fits(self.recount_locked(local))
    }

    fn recount_locked(&self, local: &Local) -> i64 {
        let mut sum = 0;
        for slot in 0..self.index.bound() {
            let guard = local.pin();
            if let Some(node) = self.file(NodeId::new(slot)) {
                sum += self.locked_bytes(node, Word::from_bits(node.content.load(Acquire)), &guard);
            }
        }
        self.locked.store(sum, Relaxed);
        sum
    }
}
