//! Upkeep: what keeps memory and disk from silting up. Live extents leave sparse segments, live blocks leave sparse spans.

use super::{
    core::{Core, exchange},
    ground::{HeldBlock, OWNER},
    local::Local,
    swap::{FreshBlock, Place},
    tree::Tree,
    word::{Content, Word},
};
use crate::{
    arena::{BlockRef, SparseSpans},
    epoch::Guard,
    error::{Error, Result},
    failpoint::pass,
    index::NodeId,
    segment::{ExtentRef, SparseSegments},
    sync::Ordering::*,
};

impl Core {
    /// What must be done now and then: garbage of threads that went idle, sparse segments, sparse spans.
    pub(crate) fn upkeep(&self, local: &Local) {
        self.collect(local);
        // Where an order is kept the flusher does it: what is moved is free only when the moves are durable.
        if self.log.is_none()
            && let Some(sparse) = self.ground.segments.sparse()
        {
            let _ = self.compact(local, &sparse);
        }
        self.evacuate(local);
    }

    /// Puts bytes into a segment. A full disk is compacted first: the error is for when that did not help.
    pub(crate) fn store(&self, local: &Local, bytes: &[u8]) -> Result<ExtentRef> {
        let full = match self.ground.append(bytes) {
            Err(full @ Error::StorageFull { .. }) => full,
            other => return other,
        };
        // What is dead but was freed a moment ago becomes free first; then what is scattered is gathered.
        self.flush(local)?;
        self.collect(local);
        if let Ok(extent) = self.ground.append(bytes) {
            return Ok(extent);
        }
        let Some(sparse) = self.ground.segments.sparse() else { return Err(full) };
        self.compact(local, &sparse)?;
        self.flush(local)?;
        self.collect(local);
        self.ground.append(bytes)
    }

    /// Moves what is live in sparse segments elsewhere, so that they can be used again. An error (a full disk, say) ends it;
    /// nothing was lost.
    pub(crate) fn compact(&self, local: &Local, sparse: &SparseSegments) -> Result<()> {
        for slot in 0..self.index.bound() {
            let id = NodeId::new(slot);
            let mut places = Vec::new();
            {
                let guard = local.pin();
                self.each_place(id, &guard, |place, word| {
                    if !place.is_frozen(word)
                        && self.extent_in(word).is_some_and(|extent| sparse.contains(extent))
                    {
                        places.push((place, word));
                    }
                });
            }
            for (place, word) in places {
                self.move_extent(local, place, word)?;
            }
            if self.is_closed() {
                break;
            }
        }
        self.collect(local);
        Ok(())
    }

    /// Moves small blocks out of spans that are mostly empty, so that their pages can serve another size.
    pub(crate) fn evacuate(&self, local: &Local) {
        if self.budget().charged() < self.config.memory_limit_bytes / 4 * 3 {
            return;
        }
        let Some(sparse) = self.ground.arena.sparse_spans() else { return };
        for slot in 0..self.index.bound() {
            let id = NodeId::new(slot);
            let guard = local.pin();
            let mut moves = Vec::new();
            self.each_place(id, &guard, |place, word| {
                if let Content::Ram(block) = word.content()
                    && !place.is_frozen(word)
                    && sparse.contains(block)
                {
                    moves.push((place, word));
                }
            });
            for (place, word) in moves {
                self.move_block(local, &guard, place, word, &sparse);
            }
        }
        self.collect(local);
        sparse.finish();
    }

    /// Visits every content word of a file.
    pub(crate) fn each_place(&self, id: NodeId, guard: &Guard, mut visit: impl FnMut(Place, Word)) {
        let Some(node) = self.file(id) else { return };
        let word = self.word_of(node, guard);
        match word.content() {
            // SAFETY: loaded under the guard.
            Content::Tree(tree) => unsafe { Tree::deref(tree) }.visit(0..u64::MAX, |chunk, slot| {
                visit(Place { id, chunk: Some(chunk) }, Word::from_bits(slot.load(Acquire)));
                true
            }),
            _ => visit(Place { id, chunk: None }, word),
        }
    }

    /// The extent a word's bytes have on disk, if they have one.
    fn extent_in(&self, word: Word) -> Option<ExtentRef> {
        match word.content() {
            Content::Disk(extent) => Some(extent),
            Content::Ram(block) => self.ground.extent_of(block),
            _ => None,
        }
    }

    /// Moves a content's extent elsewhere. Of a content that is in RAM, too, the copy on disk is given up: it is written
    /// again when it leaves.
    fn move_extent(&self, local: &Local, place: Place, word: Word) -> Result<()> {
        let guard = local.pin();
        let Some(slot) = self.slot_at(place, &guard) else { return Ok(()) };
        if slot.load(Acquire) != word.bits() {
            return Ok(());
        }
        let extent = match word.content() {
            Content::Disk(extent) => extent,
            Content::Ram(block) if self.log.is_some() => return self.move_copy(local, guard, place, block),
            Content::Ram(block) => {
                if let Some(extent) = self.ground.take_extent(block) {
                    // SAFETY: taken, so owned; readers of an older word may still look at it.
                    unsafe { self.ground.retire_extent(&guard, extent) };
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        let Some(hold) = self.ground.segments.hold(extent) else { return Ok(()) };
        drop(guard);
        let mut scratch = self.scratch(local, hold.len())?;
        // What cannot be read stays where it is: whoever reads the file is told.
        if self.ground.read_extent(&hold, scratch.bytes_mut()).is_err() {
            return Ok(());
        }
        let moved = self.ground.segments.append_moved(OWNER, &scratch)?;
        let record = self.prepare_move(local, place.id, place.chunk, extent, moved);
        let guard = local.pin();
        let done = record.is_ok()
            && self
                .slot_at(place, &guard)
                .is_some_and(|slot| exchange(slot, word, Word::disk(moved).in_place_of(word)));
        pass("compaction: moved, not noted");
        // SAFETY: after the exchange the old extent is unlinked; without it the new one was never published.
        unsafe {
            if done {
                self.note_move(record.ok().flatten(), &guard);
                self.ground.retire_extent(&guard, extent);
            } else {
                self.ground.segments.kill(moved);
            }
        }
        Ok(())
    }

    /// Moves the copy on disk of a content that is in RAM, too, where what is on disk is what a crash would leave.
    fn move_copy(&self, local: &Local, guard: Guard, place: Place, block: BlockRef) -> Result<()> {
        let Some(extent) = self.ground.extent_of(block) else { return Ok(()) };
        if self.ground.segments.len(extent) != self.ground.arena.len(block) {
            return Ok(());
        }
        // SAFETY: in its slot, loaded under the guard.
        let held = unsafe { HeldBlock::share(local, block) };
        drop(guard);
        let moved = self.ground.segments.append_moved(OWNER, held.bytes())?;
        let record = self.prepare_move(local, place.id, place.chunk, extent, moved);
        let guard = local.pin();
        let header = self.ground.arena.header(block);
        let exchanged = || {
            // The block is held: its header is still its own, and as long as it has the extent nobody else does.
            header.extent.compare_exchange(extent.bits(), moved.bits(), AcqRel, Relaxed).is_ok()
        };
        match record {
            Ok(record) if exchanged() => {
                self.note_move(record, &guard);
                // SAFETY: taken out of the header by the exchange.
                unsafe { self.ground.retire_extent(&guard, extent) };
            }
            // SAFETY: never published.
            _ => unsafe { self.ground.segments.kill(moved) },
        }
        Ok(())
    }

    /// Copies a content's block to a denser span, and exchanges it.
    fn move_block(&self, local: &Local, guard: &Guard, place: Place, word: Word, sparse: &SparseSpans<'_>) {
        let Content::Ram(from) = word.content() else { return };
        let arena = &self.ground.arena;
        let Some(slot) = self.slot_at(place, guard) else { return };
        if slot.load(Acquire) != word.bits() {
            return;
        }
        // SAFETY: `word` is in its slot, loaded under the guard.
        let bytes = unsafe { arena.bytes(from) };
        // What the flusher is to write it looks for where it was.
        if self.log.is_some() && self.ground.extent_of(from).is_none() {
            return;
        }
        let Some(to) = arena.alloc_outside(&local.magazine, bytes.len(), sparse) else { return };
        let mut fresh = FreshBlock::new(self, to);
        fresh.bytes_mut(bytes.len()).copy_from_slice(bytes);
        let extent = self.ground.take_extent(from);
        // One of fewer bytes does not make it clean: see `encode::lend`.
        let whole = extent.is_some_and(|extent| self.ground.segments.len(extent) == bytes.len());
        if self.log.is_some() && !whole {
            if let Some(extent) = extent {
                self.ground.give_back_extent(guard, from, extent, || self.is_at(place, word, guard));
            }
            return;
        }
        // Relaxed: published with the block.
        arena.header(to).extent.store(extent.map_or(0, ExtentRef::bits), Relaxed);
        if exchange(slot, word, Word::ram(to).in_place_of(word)) {
            fresh.into_block();
            local.counters.resident.add(1);
            // SAFETY: unlinked by the exchange, under the guard; its extent went with the copy.
            unsafe { self.ground.retire_block(local, guard, from, None) };
        } else {
            arena.header(to).extent.store(0, Relaxed);
            if let Some(extent) = extent {
                self.ground.give_back_extent(guard, from, extent, || self.is_at(place, word, guard));
            }
        }
    }
}
