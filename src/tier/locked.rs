//! How much of RAM locked files take. What is locked leaves only by an explicit gc, so it must not take all: names, long
//! files' tables and everybody else's files in flight need some.
//!
//! # Invariants
//! 1. For want of room a content leaves RAM only if its file's priority, looked at after the word was found in its place, allows it.
//! 2. Who locks a file sets its priority, and then changes what such an exchange expects: the count in the content word, and, in a
//!    long file, the slots (they are frozen, and their leaves copied). So an eviction that has not seen the priority comes before
//!    the lock is acknowledged, or not at all. It costs who locks, and nobody else.
//!
//! The figure is kept by who moves locked contents, each with one addition. A priority that changes while its file does can
//! make it drift; so nobody is refused on its word alone: it is counted anew first.

use super::{
    core::{At, Core},
    heat,
    local::Local,
    log::Revision,
    tree::Tree,
    word::{Content, Word},
};
use crate::{
    config::Priority,
    epoch::Guard,
    error::Result,
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
        if let Content::Ram(block) = word.content()
            && self.file(id).is_some_and(|node| heat::priority(node).is_locked())
        {
            // Relaxed: as above.
            self.locked.fetch_sub(self.ground.arena.capacity(block) as i64, Relaxed);
        }
    }

    /// Of a long file that was given a priority that locks: the rest of what `heat::set_priority` began (invariant 2).
    pub(crate) fn disturb_chunks(&self, local: &Local, id: NodeId, node: &Node, guard: &Guard) {
        if !heat::priority(node).is_locked() {
            return;
        }
        // After the count in the content word was changed (Acquire): trees that are published later are found by who sees the priority.
        let Content::Tree(tree) = self.word_of(node, guard).content() else { return };
        // SAFETY: loaded under the guard.
        let tree = unsafe { Tree::deref(tree) };
        tree.freeze();
        // One that stays frozen, for want of memory or because another change came first, is mended by the next change, or by who
        // reads of it from disk.
        let chunks = tree.len().div_ceil(self.config.chunk_bytes as u64);
        tree.visit(0..chunks, |chunk, _| self.thaw(local, id, chunk).is_ok());
    }

    /// Leaves a long file's leaves frozen, as one who gave up would.
    #[cfg(all(test, not(memfs_loom)))]
    pub(crate) fn freeze(self: &std::sync::Arc<Self>, path: &str) {
        let local = self.local();
        let guard = local.pin();
        let bound = self.index.lookup(path, &guard).expect("a file");
        let Content::Tree(tree) = self.word_of(bound.node, &guard).content() else {
            panic!("{path} is short")
        };
        // SAFETY: loaded under the guard.
        unsafe { Tree::deref(tree) }.freeze();
    }

    /// Gives a file another priority.
    pub(crate) fn prioritise(&self, local: &Local, at: At<'_>, to: Priority) -> Result<()> {
        let revision = Revision { reset: false, priority: Some(to), chunks: &[], appends: false };
        let mut preparation = self.prepare(local, revision)?;
        loop {
            self.check_open()?;
            let guard = local.pin();
            let spot = self.resolve(at, &guard)?;
            let word = spot.word(self, &guard);
            let before = self.locked_bytes(spot.node, word, &guard);
            if self.log.is_none() {
                heat::set_priority(self, spot.node, to);
            } else {
                let Some(len) = self.ground.len_of(word, &guard) else {
                    if spot.still(self) {
                        return Err(self.gone(at));
                    }
                    continue;
                };
                if word.is_bare() {
                    self.give_bare_record(local, &spot, &guard);
                    continue;
                }
                let settled = spot.settled(self, &guard);
                if !settled || !self.swing(&guard, &spot, (word, word), len, &mut preparation) {
                    continue;
                }
            }
            self.disturb_chunks(local, spot.id, spot.node, &guard);
            // Relaxed, here and elsewhere: a figure, ordering nothing.
            self.locked.fetch_add(self.locked_bytes(spot.node, word, &guard) - before, Relaxed);
            self.note_priority(to);
            return Ok(());
        }
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
                sum += self.locked_bytes(node, self.word_of(node, &guard), &guard);
            }
        }
        self.locked.store(sum, Relaxed);
        sum
    }
}
