//! Between RAM and disk: one content at a time, without a lock and without a guard across the I/O.
//!
//! # Invariants
//! 1. A content leaves RAM by an exchange RAM → disk made after its bytes are in a segment.
//! 2. Across I/O the word's block or segment is held, not pinned; the place is found anew before the exchange, which succeeds
//!    only on the very word that was held.
//! 3. Who loses an exchange undoes only what is his: his extent, his block.

use super::{
    core::{At, Core, exchange},
    ground::{Held, HeldBlock},
    heat,
    local::Local,
    read::OnePiece,
    tree::{NoMemory, Tree, TreeMemory, rebuild},
    word::{Content, Word},
};
use crate::{
    arena::BlockRef,
    config::Priority,
    epoch::Guard,
    error::{Error, Result},
    failpoint::pass,
    index::{Node, NodeId},
    scorer::Band,
    segment::{ExtentRef, SegmentHold},
    sync::{AtomicU64, Ordering::*},
};
use std::ops::Deref;

/// Where a content word stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) id: NodeId,
    /// The chunk, in a long file.
    pub(crate) chunk: Option<u64>,
}

impl Place {
    /// Whether `word`, loaded from here, is a slot's that nobody may exchange any more. (The bit that says so is part of the
    /// binding count in a word that is not a slot's.)
    pub(crate) fn is_frozen(self, word: Word) -> bool {
        self.chunk.is_some() && word.is_frozen()
    }
}

/// The bytes of one content, in RAM for as long as this lives.
pub(crate) enum Loaded {
    /// A block: published, or private to the holder.
    Block(HeldBlock),
    /// A copy for the time of one call, where RAM is full of better files.
    Copy(Scratch),
}

/// Bytes of one content for the time of one call. Large ones are charged, and go back to the system at once.
pub(crate) enum Scratch {
    Small(Vec<u8>),
    Large(OnePiece),
}

/// What a thread may have on the heap beside the budget.
const SMALL_BYTES: usize = 32 << 10;

impl Scratch {
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Scratch::Small(bytes) => bytes,
            Scratch::Large(piece) => piece.bytes_mut(),
        }
    }
}

impl Deref for Scratch {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Scratch::Small(bytes) => bytes,
            Scratch::Large(piece) => piece.bytes(),
        }
    }
}

impl Deref for Loaded {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Loaded::Block(block) => block.bytes(),
            Loaded::Copy(scratch) => scratch,
        }
    }
}

/// A block nobody else knows; freed on drop unless it is released to a word.
pub(crate) struct FreshBlock<'c> {
    core: &'c Core,
    block: BlockRef,
}

impl<'c> FreshBlock<'c> {
    pub(crate) fn new(core: &'c Core, block: BlockRef) -> Self {
        Self { core, block }
    }

    pub(crate) fn block(&self) -> BlockRef {
        self.block
    }

    /// The first `len` bytes, to be written.
    pub(crate) fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        // SAFETY: bounds are checked by `slack_mut`; the block is fresh: nobody else has a reference to its bytes, and the
        // borrow of `self` keeps it so.
        unsafe { std::slice::from_raw_parts_mut(self.core.ground.arena.slack_mut(self.block, 0, len), len) }
    }

    /// The block with `len` bytes in it.
    pub(crate) fn set_len(&mut self, len: usize) {
        self.block = self.core.ground.arena.with_len(self.block, len);
        // Relaxed: published with the block, by the exchange of the word.
        self.core.ground.arena.header(self.block).tail.store(len as u32, Relaxed);
    }

    /// The caller publishes the block, and with it the reference.
    pub(crate) fn into_block(self) -> BlockRef {
        let block = self.block;
        std::mem::forget(self);
        block
    }
}

impl Drop for FreshBlock<'_> {
    fn drop(&mut self) {
        // SAFETY: the one reference is this one's.
        unsafe { self.core.ground.arena.release(self.block) };
    }
}

impl Core {
    /// Zeroed bytes for the time of one call. If even that cannot be charged (everything is locked), it is had all the same:
    /// a call that needs no RAM of the store must not fail for want of it.
    pub(crate) fn scratch(&self, local: &Local, len: usize) -> Result<Scratch> {
        if len <= SMALL_BYTES {
            return Ok(Scratch::Small(vec![0; len]));
        }
        self.scratch_piece(local, len).map(Scratch::Large)
    }

    /// The word at `place`, if there is one now.
    pub(crate) fn slot_at<'g>(&'g self, place: Place, guard: &'g Guard) -> Option<&'g AtomicU64> {
        let node = self.file(place.id)?;
        let Some(chunk) = place.chunk else { return Some(&node.content) };
        self.chunk_slot(&node.content, chunk, guard)
    }

    /// The slot of a chunk of the long file whose content word this is.
    pub(crate) fn chunk_slot<'g>(
        &'g self,
        content: &AtomicU64,
        chunk: u64,
        _guard: &'g Guard,
    ) -> Option<&'g AtomicU64> {
        // Acquire: pairs with the Release of the exchange that published the tree.
        match Word::from_bits(content.load(Acquire)).content() {
            // SAFETY: loaded under the guard.
            Content::Tree(tree) => unsafe { Tree::deref(tree) }.slot(chunk),
            _ => None,
        }
    }

    /// Swaps out the content at `place` if its word, which is not frozen, is still `word` and its band at most `up_to`; returns the bytes
    /// that will be free, 0 if it was changed meanwhile. On an error the file stays in RAM.
    pub(crate) fn swap_out(&self, local: &Local, place: Place, word: Word, up_to: Band) -> Result<u64> {
        let Content::Ram(block) = word.content() else { return Ok(0) };
        // The exchange would leave the bit where it is, and succeed.
        debug_assert!(!place.is_frozen(word), "{place:?}: a frozen slot is nobody's to change");
        let guard = local.pin();
        let Some(slot) = self.slot_at(place, &guard) else { return Ok(0) };
        // It may have been given a better priority since it was chosen. Asked after the word was found: see `locked`, invariant 2.
        let allowed = || self.file(place.id).is_some_and(|node| Band::of(heat::priority(node)) <= up_to);
        if slot.load(Acquire) != word.bits() || !allowed() {
            return Ok(0);
        }
        if let Some(extent) = self.ground.take_extent(block) {
            pass("swap-out: extent taken");
            // One of fewer bytes is about to be taken from the block again: see `encode::lend`.
            let whole = self.ground.segments.len(extent) == self.ground.arena.len(block);
            if whole && self.publish_disk(local, &guard, slot, word, extent) {
                self.locked_left(place.id, word);
                return Ok(self.ground.arena.capacity(block) as u64);
            }
            self.ground.give_back_extent(&guard, block, extent, || self.is_at(place, word, &guard));
            return Ok(0);
        }
        // Where changes are to be durable it is the flusher who writes them; until then the block is held anyway.
        if self.log.is_some() {
            return Ok(0);
        }
        // SAFETY: `word` is in the slot, loaded under the guard.
        let held = unsafe { HeldBlock::share(local, block) };
        drop(guard);
        let extent = self.store(local, held.bytes())?;
        pass("swap-out: written");
        let guard = local.pin();
        if let Some(slot) = self.slot_at(place, &guard)
            && allowed()
            && self.publish_disk(local, &guard, slot, word, extent)
        {
            self.locked_left(place.id, word);
            return Ok(self.ground.arena.capacity(block) as u64);
        }
        // SAFETY: the extent was never published.
        unsafe { self.ground.segments.kill(extent) };
        Ok(0)
    }

    /// Whether the content at `place` is what `word` says, frozen or not; in a file that has become a long one since, too.
    pub(crate) fn is_at(&self, place: Place, word: Word, guard: &Guard) -> bool {
        let now = self.file(place.id).and_then(|node| self.word_at(node, place.chunk, guard));
        now.is_some_and(|now| now.value() == word.value())
    }

    /// The word of a file's chunk, or of all there is of it. What was all of it is the first chunk when the file has become
    /// long.
    pub(crate) fn word_at(&self, node: &Node, chunk: Option<u64>, guard: &Guard) -> Option<Word> {
        let content = self.word_of(node, guard);
        match content.content() {
            // This tree, and not what has taken the node's word since: who replaces the tree looks at what is in it later than we.
            // SAFETY: loaded under the guard.
            Content::Tree(tree) => unsafe { Tree::deref(tree) }
                .slot(chunk.unwrap_or(0))
                .map(|slot| Word::from_bits(slot.load(Acquire))),
            _ if chunk.is_none() => Some(content),
            _ => None,
        }
    }

    /// The exchange RAM → disk.
    fn publish_disk(
        &self,
        local: &Local,
        guard: &Guard,
        slot: &AtomicU64,
        word: Word,
        extent: ExtentRef,
    ) -> bool {
        let Content::Ram(block) = word.content() else { return false };
        if !exchange(slot, word, Word::disk(extent).in_place_of(word)) {
            return false;
        }
        pass("swap-out: exchanged");
        local.counters.swaps_out.add(1);
        // SAFETY: unlinked by the exchange, under the guard; its extent was taken or never there.
        unsafe { self.ground.retire_block(local, guard, block, None) };
        true
    }

    /// The bytes of a content on disk. Puts them into RAM, where `at` (and `chunk`, in a long file) still has this `word`, if
    /// a file that is not better gives way; otherwise they are the caller's alone. `Err` gives the hold back: there is no room.
    pub(crate) fn swap_in(
        &self,
        local: &Local,
        at: At<'_>,
        chunk: Option<u64>,
        word: Word,
        hold: SegmentHold,
        priority: Priority,
    ) -> Result<Result<HeldBlock, SegmentHold>> {
        let len = hold.len();
        // Making room, and getting pages for it, takes about as long as a disk.
        hold.expect_read();
        let Some(mut fresh) = self.block(local, len, priority) else { return Ok(Err(hold)) };
        pass("swap-in: has a block");
        self.ground
            .read_extent(&hold, fresh.bytes_mut(len))
            .map_err(|error| error.about(&Core::name_of(at)))?;
        let guard = local.pin();
        if let Ok(spot) = self.resolve(at, &guard) {
            let slot = match chunk {
                None => Some(&spot.node.content),
                Some(chunk) => self.chunk_slot(&spot.node.content, chunk, &guard),
            };
            let block = fresh.block();
            let header = self.ground.arena.header(block);
            // Relaxed: published with the block.
            header.extent.store(hold.extent().bits(), Relaxed);
            pass("swap-in: read");
            if slot.is_some_and(|slot| exchange(slot, word, Word::ram(block).in_place_of(word))) {
                pass("swap-in: exchanged");
                local.counters.swaps_in.add(1);
                self.note_resident(
                    local,
                    heat::priority(spot.node),
                    self.ground.arena.capacity(fresh.block()),
                );
                let block = fresh.into_block();
                // SAFETY: published a moment ago, under the guard: the content's reference is there.
                return Ok(Ok(unsafe { HeldBlock::share(local, block) }));
            }
            header.extent.store(0, Relaxed);
            // Perhaps the leaf is frozen, and who froze it gave up: then it is mended, as memory allows, for who comes next.
            if let Some(chunk) = chunk {
                let _ = self.thaw(local, spot.id, chunk);
            }
        }
        // SAFETY: the block's one reference is handed over.
        Ok(Ok(unsafe { HeldBlock::adopt(local, fresh.into_block()) }))
    }

    /// The bytes of a word that is held: at once if they are in RAM, else by swapping in.
    pub(crate) fn load(
        &self,
        local: &Local,
        at: At<'_>,
        chunk: Option<u64>,
        word: Word,
        held: Held,
        priority: Priority,
    ) -> Result<Loaded> {
        match held {
            Held::Nothing => Ok(Loaded::Copy(Scratch::Small(Vec::new()))),
            Held::Block(block) => Ok(Loaded::Block(block)),
            Held::Extent(hold) => match self.swap_in(local, at, chunk, word, hold, priority)? {
                Ok(block) => Ok(Loaded::Block(block)),
                Err(hold) => {
                    let mut scratch = self.scratch(local, hold.len())?;
                    self.ground
                        .read_extent(&hold, scratch.bytes_mut())
                        .map_err(|error| error.about(&Core::name_of(at)))?;
                    Ok(Loaded::Copy(scratch))
                }
            },
        }
    }

    /// Replaces a frozen leaf by a copy that can change again: who froze it gave up, or is slow; nobody waits for him.
    ///
    /// # Errors
    /// There is no memory for the copy.
    pub(crate) fn thaw(&self, local: &Local, id: NodeId, chunk: u64) -> Result<(), NoMemory> {
        let guard = local.pin();
        let Some(node) = self.file(id) else { return Ok(()) };
        let word = self.word_of(node, &guard);
        let Content::Tree(tree) = word.content() else { return Ok(()) };
        // SAFETY: loaded under the guard.
        let tree = unsafe { Tree::deref(tree) };
        let slot = tree.slot(chunk).map(|slot| Word::from_bits(slot.load(Acquire)));
        let Some(slot) = slot.filter(|slot| slot.is_frozen()) else { return Ok(()) };
        let memory = TreeMemory { arena: &self.ground.arena, magazine: &local.magazine };
        let shift = self.config.chunk_bytes.trailing_zeros();
        let mut rebuilt = rebuild(&memory, Some(tree), &[(chunk, slot.value())], tree.len(), shift)?;
        // The one word that was "replaced" is the one put back.
        rebuilt.replaced.clear();
        if exchange(&node.content, word, Word::tree(rebuilt.tree).in_place_of(word)) {
            // SAFETY: unlinked by the exchange, under the guard.
            unsafe { self.ground.retire_pieces(local, &guard, std::mem::take(&mut rebuilt.old)) };
        } else {
            // SAFETY: not published.
            unsafe { rebuilt.discard(&self.ground.arena) };
        }
        Ok(())
    }
}

impl From<NoMemory> for Error {
    fn from(NoMemory(needed_bytes): NoMemory) -> Self {
        Error::MemoryLimit { path: String::new(), needed_bytes, limit_bytes: 0 }
    }
}
