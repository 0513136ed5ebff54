//! New bytes, staged where nobody sees them: in a block, or on disk where RAM is full of better files.
//!
//! # Invariants
//! 1. Staged words are owned by their `Staged` until an exchange of the content word publishes them, and by the node from then
//!    on.
//! 2. What is staged is out of the hand's reach, so all that is staged of long files is at most a quarter of the limit.

use super::{
    core::Core,
    ground::Held,
    local::Local,
    swap::FreshBlock,
    tree::{NoMemory, Rebuilt, TreeMemory, rebuild},
    word::{Content, Word},
};
use crate::{config::Priority, error::Result, sync::Ordering::*};

/// A content nobody has seen yet; given up on drop unless it is published.
pub(super) struct Staged<'c> {
    core: &'c Core,
    local: &'c Local,
    pub(super) word: Word,
    priority: Priority,
}

impl Staged<'_> {
    /// The word is in a node now.
    pub(super) fn publish(self) {
        if let Content::Ram(block) = self.word.content() {
            self.core.note_resident(self.local, self.priority, self.core.ground.arena.capacity(block));
        } else if matches!(self.word.content(), Content::Disk(_)) {
            self.local.counters.swaps_out.add(1);
        }
        std::mem::forget(self);
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        let ground = &self.core.ground;
        match self.word.content() {
            // SAFETY: never published: the one reference is this one's.
            Content::Ram(block) => drop(unsafe { ground.arena.release(block) }),
            // SAFETY: never published.
            Content::Disk(extent) => unsafe { ground.segments.kill(extent) },
            _ => {}
        }
    }
}

/// A whole content, staged: one word, or a tree and its chunks' words.
pub(super) struct Whole<'c> {
    pub(super) staged: Vec<Staged<'c>>,
    pub(super) rebuilt: Option<Rebuilt>,
    /// The chunks that are there, and their words.
    pub(super) chunks: Vec<(u64, Word)>,
    pub(super) len: u64,
}

impl<'c> Whole<'c> {
    pub(super) fn single(staged: Staged<'c>, len: u64) -> Self {
        let chunks = if staged.word == Word::EMPTY { Vec::new() } else { vec![(0, staged.word)] };
        Self { staged: vec![staged], rebuilt: None, chunks, len }
    }

    pub(super) fn word(&self) -> Word {
        self.rebuilt.as_ref().map_or_else(|| self.staged[0].word, |rebuilt| Word::tree(rebuilt.tree))
    }
}

/// What one operation has taken of the RAM for staged chunks; given back when it is done.
pub(super) struct StagingShare<'c> {
    core: &'c Core,
    taken: u64,
}

impl<'c> StagingShare<'c> {
    pub(super) fn new(core: &'c Core) -> Self {
        Self { core, taken: 0 }
    }

    fn take(&mut self, bytes: u64) -> bool {
        // Relaxed: a count.
        let before = self.core.staging.fetch_add(bytes, Relaxed);
        if before.saturating_add(bytes) > self.core.config.memory_limit_bytes / 4 {
            self.core.staging.fetch_sub(bytes, Relaxed);
            return false;
        }
        self.taken += bytes;
        true
    }
}

impl Drop for StagingShare<'_> {
    fn drop(&mut self) {
        self.core.staging.fetch_sub(self.taken, Relaxed);
    }
}

impl Core {
    /// Stages `len` bytes that `fill` writes, in a block of at least `capacity`, or on disk if RAM is full of better files.
    pub(super) fn stage<'c>(
        &'c self,
        local: &'c Local,
        priority: Priority,
        len: usize,
        capacity: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<Staged<'c>> {
        let staged = |word| Staged { core: self, local, word, priority };
        if len == 0 {
            return Ok(staged(Word::EMPTY));
        }
        if priority.is_locked() && !self.may_lock(local, len.max(capacity)) {
            return Err(self.memory_limit("", len as u64));
        }
        let roomy = (capacity > len).then(|| self.block(local, capacity, priority)).flatten();
        if let Some(mut fresh) = roomy.or_else(|| self.block(local, len, priority)) {
            fill(fresh.bytes_mut(len))?;
            fresh.set_len(len);
            return Ok(staged(Word::ram(fresh.into_block())));
        }
        if priority.is_locked() {
            return Err(self.memory_limit("", len as u64));
        }
        let mut scratch = self.scratch(local, len)?;
        fill(scratch.bytes_mut())?;
        Ok(staged(Word::disk(self.store(local, &scratch)?)))
    }

    /// Stages bytes as they are where that takes no making of room; so it may be done under a guard.
    #[inline]
    pub(super) fn stage_at_once<'c>(
        &'c self,
        local: &'c Local,
        priority: Priority,
        data: &[u8],
    ) -> Option<Staged<'c>> {
        let block = self.ground.arena.alloc(&local.magazine, data.len())?;
        let mut fresh = FreshBlock::new(self, block);
        fresh.bytes_mut(data.len()).copy_from_slice(data);
        let word = Word::ram(fresh.into_block());
        Some(Staged { core: self, local, word, priority })
    }

    /// Stages bytes as they are.
    pub(super) fn stage_bytes<'c>(
        &'c self,
        local: &'c Local,
        priority: Priority,
        data: &[u8],
    ) -> Result<Staged<'c>> {
        let copy = |to: &mut [u8]| {
            to.copy_from_slice(data);
            Ok(())
        };
        if data.is_empty() || priority.is_locked() {
            return self.stage(local, priority, data.len(), 0, copy);
        }
        match self.block(local, data.len(), priority) {
            Some(mut fresh) => {
                fresh.bytes_mut(data.len()).copy_from_slice(data);
                let word = Word::ram(fresh.into_block());
                Ok(Staged { core: self, local, word, priority })
            }
            None => self.stage_on_disk(local, priority, data),
        }
    }

    pub(super) fn stage_on_disk<'c>(
        &'c self,
        local: &'c Local,
        priority: Priority,
        data: &[u8],
    ) -> Result<Staged<'c>> {
        let word = Word::disk(self.store(local, data)?);
        Ok(Staged { core: self, local, word, priority })
    }

    /// Stages a chunk of a long file. What is staged is out of the hand's reach until it is published, so all such chunks
    /// together take at most a share of RAM, and go to disk beyond it.
    pub(super) fn stage_chunk<'c>(
        &'c self,
        local: &'c Local,
        priority: Priority,
        data: &[u8],
        share: &mut StagingShare<'c>,
    ) -> Result<Staged<'c>> {
        if priority.is_locked() || share.take(data.len() as u64) {
            self.stage_bytes(local, priority, data)
        } else {
            self.stage_on_disk(local, priority, data)
        }
    }

    /// Stages a whole content: one word, or a tree with its chunks.
    pub(super) fn stage_whole<'c>(
        &'c self,
        local: &'c Local,
        priority: Priority,
        data: &[u8],
    ) -> Result<Whole<'c>> {
        let chunk = self.config.chunk_bytes;
        let len = data.len() as u64;
        if data.len() <= chunk {
            return Ok(Whole::single(self.stage_bytes(local, priority, data)?, len));
        }
        let mut staged = Vec::with_capacity(data.len().div_ceil(chunk));
        let mut share = StagingShare::new(self);
        for piece in data.chunks(chunk) {
            staged.push(self.stage_chunk(local, priority, piece, &mut share)?);
        }
        let chunks: Vec<u64> = (0..staged.len() as u64).collect();
        self.stage_tree(local, staged, &chunks, len)
    }

    /// A tree of staged chunks.
    pub(super) fn stage_tree<'c>(
        &'c self,
        local: &'c Local,
        staged: Vec<Staged<'c>>,
        chunks: &[u64],
        len: u64,
    ) -> Result<Whole<'c>> {
        let words = staged.iter().map(|staged| staged.word);
        let changes: Vec<(u64, Word)> = chunks.iter().copied().zip(words).collect();
        let rebuilt = self
            .with_room(local, || {
                let memory = TreeMemory { arena: &self.ground.arena, magazine: &local.magazine };
                rebuild(&memory, None, &changes, len, self.chunk_shift()).map_err(|NoMemory(bytes)| bytes)
            })
            .map_err(|bytes| self.memory_limit("", bytes))?;
        Ok(Whole { staged, rebuilt: Some(rebuilt), chunks: changes, len })
    }

    pub(super) fn chunk_shift(&self) -> u32 {
        self.config.chunk_bytes.trailing_zeros()
    }

    /// How much to allocate for a content that is being appended to: half as much again, so that appending `n` bytes in small
    /// pieces copies O(n).
    pub(super) fn roomy(&self, len: usize, appends: bool) -> usize {
        if appends { (len + len / 2).min(self.config.chunk_bytes) } else { 0 }
    }

    /// Fills `to` with the held bytes, zeros, and `data` at `offset`.
    pub(super) fn compose(
        &self,
        local: &Local,
        held: &Held,
        offset: usize,
        data: &[u8],
        to: &mut [u8],
    ) -> Result<()> {
        let old = match held {
            Held::Nothing => 0,
            Held::Block(block) => {
                let bytes = block.bytes();
                let n = bytes.len().min(to.len());
                to[..n].copy_from_slice(&bytes[..n]);
                n
            }
            Held::Extent(hold) => {
                let len = hold.len();
                if len <= to.len() {
                    self.ground.read_extent(hold, &mut to[..len])?;
                    len
                } else {
                    let mut scratch = self.scratch(local, len)?;
                    self.ground.read_extent(hold, scratch.bytes_mut())?;
                    to.copy_from_slice(&scratch[..to.len()]);
                    to.len()
                }
            }
        };
        to[old..].fill(0);
        if !data.is_empty() {
            to[offset..offset + data.len()].copy_from_slice(data);
        }
        Ok(())
    }
}
