//! Reading. A resident content is read under a guard, in place, and nothing is written; what is on disk is held, loaded
//! without a guard, and then is the bytes of the version that was found, whatever became of the file meanwhile.
//!
//! The instant of a read is the load of the content word, at which the name was still the file's (`Spot::still`).

use super::{
    core::{At, Core, Spot, raw_word},
    ground::{Held, HeldBlock, OWNER},
    heat,
    local::Local,
    room::PATIENCE,
    swap::{Loaded, Scratch},
    tree::Tree,
    word::{Content, Word},
};
use crate::{
    arena::{BlockRef, Charge},
    config::Priority,
    epoch::Guard,
    error::{Error, Result},
    map::{PAGE_BYTES, Reservation, page_ceil},
    segment::SegmentHold,
    sync::Ordering::*,
};
use std::ops::Range;

/// One version of a file, held: nothing that becomes of the file changes it.
pub(crate) struct Version {
    pub(crate) len: u64,
    /// Chunks that are not holes, ascending.
    parts: Vec<(u64, Word, Held)>,
    /// Whether it is one content (its only part then), not chunks.
    single: bool,
    pub(crate) priority: Priority,
}

impl Version {
    /// Whether it is one content, not chunks.
    pub(crate) fn is_single(&self) -> bool {
        self.single
    }

    pub(crate) fn into_parts(self) -> Vec<(u64, Word, Held)> {
        self.parts
    }
}

/// A long file built as one piece, charged to the budget apart from contents.
pub(crate) struct OnePiece {
    memory: Reservation,
    len: usize,
    /// The end of the last page that was written; holes are passed over, and neither touched nor charged.
    touched_end: usize,
    charge: Charge,
}

impl OnePiece {
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the reservation is at least `len` long, and written only before it was shared.
        unsafe { std::slice::from_raw_parts(self.memory.ptr().as_ptr(), self.len) }
    }
}

impl OnePiece {
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the reservation is at least `len` long, and this is the one reference to it.
        unsafe { std::slice::from_raw_parts_mut(self.memory.ptr().as_ptr(), self.len) }
    }
}

impl Core {
    /// A file's one block in RAM and its bytes, found without a walk and counted as a use; `None` asks for the long way, and says
    /// nothing.
    ///
    /// A hit is a chain of cache misses: what the path's entry in the cache leads to is fetched at once, all that the rest of this
    /// will touch. And it is short: what is seldom needed stands elsewhere, out of the way of the processor's look ahead.
    #[inline(always)]
    fn hot<'g>(&'g self, local: &Local, at: At<'_>, guard: &'g Guard) -> Option<(BlockRef, &'g [u8])> {
        let arena = &self.ground.arena;
        let (id, node, block, bytes) = match at {
            At::Path(path) => {
                let glimpse = self.index.glimpse(self.index.spelled(path), guard)?;
                let Content::Ram(block) = raw_word(glimpse.node).content() else { return None };
                if !glimpse.still(&self.index) {
                    return None;
                }
                // SAFETY: the word was loaded under the guard, which outlives the slice.
                let bytes = unsafe { arena.bytes(block) };
                if glimpse.is_misled(bytes.as_ptr()) {
                    self.index.lead(&glimpse, arena.near(block));
                }
                (glimpse.id, glimpse.node, block, bytes)
            }
            At::Node(id) => {
                let node = self.index.held(id);
                let Content::Ram(block) = raw_word(node).content() else { return None };
                // SAFETY: as above.
                (id, node, block, unsafe { arena.bytes(block) })
            }
        };
        local.counters.hits.add(1);
        self.touch(local, id, node, guard);
        Some((block, bytes))
    }

    /// Calls `read` with the bytes of a file in one piece.
    #[inline]
    pub(crate) fn read_with<R>(&self, local: &Local, at: At<'_>, read: impl FnOnce(&[u8]) -> R) -> Result<R> {
        {
            let guard = local.pin();
            if let Some((_, bytes)) = self.hot(local, at, &guard) {
                return Ok(read(bytes));
            }
        }
        self.read_with_cold(local, at, read)
    }

    #[cold]
    #[inline(never)]
    fn read_with_cold<R>(&self, local: &Local, at: At<'_>, read: impl FnOnce(&[u8]) -> R) -> Result<R> {
        loop {
            let guard = local.pin();
            let spot = self.resolve(at, &guard)?;
            let word = spot.raw_word();
            if !spot.still(self) {
                continue;
            }
            match word.content() {
                Content::Ram(block) => {
                    local.counters.hits.add(1);
                    self.touch(local, spot.id, spot.node, &guard);
                    // SAFETY: the word was loaded under the guard, which is held until `read` has returned.
                    return Ok(read(unsafe { self.ground.arena.bytes(block) }));
                }
                Content::Empty => {
                    local.counters.hits.add(1);
                    self.touch(local, spot.id, spot.node, &guard);
                    return Ok(read(&[]));
                }
                Content::Gone => return Err(self.gone(at)),
                Content::Pending(_) => {
                    spot.word(self, &guard);
                    continue;
                }
                Content::Disk(_) | Content::Tree(_) => {}
            }
            // SAFETY: loaded under the guard.
            let version = unsafe { self.hold_version(local, at, &spot, word, 0..u64::MAX, &guard) }?;
            drop(guard);
            return if version.single {
                let bytes = self.load_single(local, at, version)?;
                Ok(read(&bytes))
            } else {
                let piece = self.one_piece(local, at, version)?;
                Ok(read(piece.bytes()))
            };
        }
    }

    /// The version a file has now, its chunks within `bytes` held.
    pub(crate) fn version(&self, local: &Local, at: At<'_>, bytes: Range<u64>) -> Result<Version> {
        loop {
            let guard = local.pin();
            let spot = self.resolve(at, &guard)?;
            let word = spot.word(self, &guard);
            if spot.still(self) {
                // SAFETY: loaded under the guard.
                return unsafe { self.hold_version(local, at, &spot, word, bytes, &guard) };
            }
        }
    }

    /// # Safety
    /// `word` was loaded from `spot` under `guard`.
    unsafe fn hold_version(
        &self,
        local: &Local,
        at: At<'_>,
        spot: &Spot<'_>,
        word: Word,
        bytes: Range<u64>,
        guard: &Guard,
    ) -> Result<Version> {
        self.touch(local, spot.id, spot.node, guard);
        let priority = heat::priority(spot.node);
        let len = self.ground.len_of(word, guard).ok_or_else(|| self.gone(at))?;
        let (mut parts, mut refused) = (Vec::new(), None);
        let single = match word.content() {
            Content::Tree(tree) => {
                let chunk = self.config.chunk_bytes as u64;
                let end = bytes.end.min(len).div_ceil(chunk);
                // SAFETY: loaded under the guard.
                unsafe { Tree::deref(tree) }.visit(bytes.start / chunk..end, |chunk, slot| {
                    let word = Word::from_bits(slot.load(Acquire)).value();
                    if word == Word::EMPTY {
                        return true;
                    }
                    // SAFETY: loaded under the guard; the tree was in its node then.
                    match unsafe { self.ground.hold(local, word, guard) } {
                        Ok(held) => parts.push((chunk, word, held)),
                        Err(error) => refused = Some(error),
                    }
                    refused.is_none()
                });
                false
            }
            Content::Empty => true,
            _ => {
                // SAFETY: loaded under the guard (caller).
                parts.push((0, word, unsafe { self.ground.hold(local, word, guard) }?));
                true
            }
        };
        if let Some(error) = refused {
            return Err(error.about(&Core::name_of(at)));
        }
        let missed = parts.iter().any(|(_, _, held)| matches!(held, Held::Extent(..)));
        let counter = if missed { &local.counters.misses } else { &local.counters.hits };
        counter.add(1);
        Ok(Version { len, parts, single, priority })
    }

    /// The bytes of a version that is one content.
    fn load_single(&self, local: &Local, at: At<'_>, mut version: Version) -> Result<Loaded> {
        match version.parts.pop() {
            None => Ok(Loaded::Copy(Scratch::Small(Vec::new()))),
            Some((_, word, held)) => self.load(local, at, None, word, held, version.priority),
        }
    }

    /// Walks the pieces of a version within `bytes`, in order, holes left out, until `piece(offset, bytes)` says stop. Each is
    /// let go before the next is loaded.
    fn for_each_piece(
        &self,
        local: &Local,
        at: At<'_>,
        version: Version,
        bytes: Range<u64>,
        mut piece: impl FnMut(u64, &[u8]) -> bool,
    ) -> Result<()> {
        let chunk_bytes = self.config.chunk_bytes as u64;
        let single = version.single;
        for (chunk, word, held) in version.parts {
            let loaded = self.load(local, at, (!single).then_some(chunk), word, held, version.priority)?;
            let base = if single { 0 } else { chunk * chunk_bytes };
            let from = bytes.start.max(base);
            let to = bytes.end.min(version.len).min(base + loaded.len() as u64);
            if from < to && !piece(from, &loaded[(from - base) as usize..(to - base) as usize]) {
                break;
            }
        }
        Ok(())
    }

    /// A version in one piece, charged as it grows: what was copied can leave RAM while the rest is still to come, so that a
    /// file as long as the limit allows can be built. `MemoryLimit` if it cannot.
    pub(crate) fn one_piece(&self, local: &Local, at: At<'_>, version: Version) -> Result<OnePiece> {
        let mut piece = self.new_piece(&Core::name_of(at), version.len)?;
        let mut grown = Ok(());
        self.for_each_piece(local, at, version, 0..u64::MAX, |offset, bytes| {
            grown = self.grow_piece(local, &mut piece, offset as usize, bytes);
            grown.is_ok()
        })?;
        grown.map_err(|error| error.about(&Core::name_of(at)))?;
        Ok(piece)
    }

    /// Copies a whole file.
    pub(crate) fn read(&self, local: &Local, at: At<'_>) -> Result<Vec<u8>> {
        if let Some(bytes) = self.read_resident(local, at, <[u8]>::to_vec)? {
            return Ok(bytes);
        }
        let version = self.version(local, at, 0..u64::MAX)?;
        let mut out = Vec::new();
        let len = version.len;
        let absurd = len > self.config.memory_limit_bytes && len > crate::config::usable_memory_bytes();
        if absurd || out.try_reserve_exact(len as usize).is_err() {
            return Err(self.memory_limit(&Core::name_of(at), len));
        }
        self.for_each_piece(local, at, version, 0..u64::MAX, |offset, bytes| {
            out.resize(offset as usize, 0);
            out.extend_from_slice(bytes);
            true
        })?;
        out.resize(len as usize, 0);
        Ok(out)
    }

    /// Applies `read` to a file that is one resident content; `None` if it is not.
    #[inline]
    fn read_resident<R>(
        &self,
        local: &Local,
        at: At<'_>,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        {
            let guard = local.pin();
            if let Some((_, bytes)) = self.hot(local, at, &guard) {
                return Ok(Some(read(bytes)));
            }
        }
        loop {
            let guard = local.pin();
            let spot = self.resolve(at, &guard)?;
            let word = spot.raw_word();
            if !spot.still(self) {
                continue;
            }
            let bytes = match word.content() {
                // SAFETY: the word was loaded under the guard, which outlives the call of `read`.
                Content::Ram(block) => unsafe { self.ground.arena.bytes(block) },
                Content::Empty => &[],
                Content::Gone => return Err(self.gone(at)),
                _ => return Ok(None),
            };
            local.counters.hits.add(1);
            self.touch(local, spot.id, spot.node, &guard);
            return Ok(Some(read(bytes)));
        }
    }

    /// Fills `buf` from `offset`, up to the end of the file; how much was there.
    pub(crate) fn read_at(&self, local: &Local, at: At<'_>, buf: &mut [u8], offset: u64) -> Result<usize> {
        let copied = self.read_resident(local, at, |bytes| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let n = buf.len().min(bytes.len() - from);
            buf[..n].copy_from_slice(&bytes[from..from + n]);
            n
        })?;
        if let Some(n) = copied {
            return Ok(n);
        }
        let end = offset.saturating_add(buf.len() as u64);
        let version = self.version(local, at, offset..end)?;
        let n = end.min(version.len).saturating_sub(offset) as usize;
        let buf = &mut buf[..n];
        let mut filled = 0;
        self.for_each_piece(local, at, version, offset..end, |from, bytes| {
            let from = (from - offset) as usize;
            buf[filled..from].fill(0);
            buf[from..from + bytes.len()].copy_from_slice(bytes);
            filled = from + bytes.len();
            true
        })?;
        buf[filled..].fill(0);
        Ok(n)
    }

    /// A file's version as a value that can be kept: see `Keep`.
    pub(crate) fn keep(&self, local: &Local, at: At<'_>) -> Result<Keep> {
        {
            let guard = local.pin();
            if let Some((block, _)) = self.hot(local, at, &guard) {
                // SAFETY: loaded under the guard.
                return Ok(Keep::Block(unsafe { HeldBlock::share(local, block) }));
            }
        }
        loop {
            let guard = local.pin();
            let spot = self.resolve(at, &guard)?;
            let word = spot.word(self, &guard);
            if !spot.still(self) {
                continue;
            }
            if let Content::Ram(block) = word.content() {
                // SAFETY: loaded under the guard.
                let held = unsafe { HeldBlock::share(local, block) };
                local.counters.hits.add(1);
                self.touch(local, spot.id, spot.node, &guard);
                return Ok(Keep::Block(held));
            }
            // SAFETY: loaded under the guard.
            let version = unsafe { self.hold_version(local, at, &spot, word, 0..u64::MAX, &guard) }?;
            drop(guard);
            if !version.single {
                return self.keep_chunks(local, at, version);
            }
            if version.parts.is_empty() {
                return Ok(Keep::Empty);
            }
            let priority = version.priority;
            let (_, word, held) = version.parts.into_iter().next().expect("checked above");
            return Ok(match self.keep_one(local, at, None, word, held, priority)? {
                KeptChunk::Block(block) => Keep::Block(block),
                other => Keep::Other(other),
            });
        }
    }

    /// `len` bytes given in pieces, as one piece; `MemoryLimit` if it cannot fit.
    pub(crate) fn piece_of<'b>(
        &self,
        local: &Local,
        len: u64,
        pieces: impl Iterator<Item = &'b [u8]>,
    ) -> Result<OnePiece> {
        let mut piece = self.new_piece("", len)?;
        let mut at = 0;
        for bytes in pieces {
            self.grow_piece(local, &mut piece, at, bytes)?;
            at += bytes.len();
        }
        Ok(piece)
    }

    /// Address space for `len` bytes; nothing of it is charged or touched yet.
    fn new_piece(&self, path: &str, len: u64) -> Result<OnePiece> {
        if len > self.config.memory_limit_bytes {
            return Err(self.memory_limit(path, len));
        }
        let memory =
            Reservation::new(len as usize).map_err(|source| Error::io(path, "reserving memory", source))?;
        Ok(OnePiece {
            memory,
            len: len as usize,
            touched_end: 0,
            charge: Charge::of(self.ground.arena.budget(), 0),
        })
    }

    /// A piece for one call, charged if it can be.
    pub(crate) fn scratch_piece(&self, local: &Local, len: usize) -> Result<OnePiece> {
        let memory = Reservation::new(len).map_err(|source| Error::io("", "reserving memory", source))?;
        let charge = page_ceil(len) as u64;
        let charged = if self.charge(local, charge, 0) { charge } else { 0 };
        let charge = Charge::of(self.ground.arena.budget(), charged);
        Ok(OnePiece { memory, len, touched_end: page_ceil(len), charge })
    }

    /// Writes `bytes` into a piece at `offset`, charging for the pages they are the first to touch.
    fn grow_piece(&self, local: &Local, piece: &mut OnePiece, offset: usize, bytes: &[u8]) -> Result<()> {
        let end = offset.checked_add(bytes.len()).filter(|end| *end <= piece.len);
        let end = end.expect("no more bytes than were announced");
        // The first page may be the last one of the bytes before, and is charged then.
        let untouched = (offset / PAGE_BYTES * PAGE_BYTES).max(piece.touched_end);
        let charge = page_ceil(end).saturating_sub(untouched) as u64;
        if !self.charge(local, charge, PATIENCE) {
            return Err(self.memory_limit("", piece.len as u64));
        }
        piece.charge.add(charge);
        piece.touched_end = page_ceil(end);
        let start = piece.memory.ptr().as_ptr();
        // SAFETY: in bounds (checked above); the piece is not shared yet. Holes stay zero.
        unsafe { start.add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Keeps a chunk where it lies on disk, verified; where that is no memory, as a piece.
    fn keep_mapped(&self, local: &Local, at: At<'_>, hold: SegmentHold) -> Result<KeptChunk> {
        let report = |error| self.ground.segments.report(error).about(&Core::name_of(at));
        // SAFETY: extents are held while pinned and in a word (`Ground::hold`), or before they are killed (`banish`).
        if unsafe { hold.slice(OWNER) }.map_err(report)?.is_some() {
            return Ok(KeptChunk::Mapped(hold));
        }
        let mut piece = self.new_piece(&Core::name_of(at), hold.len() as u64)?;
        let charge = page_ceil(hold.len()) as u64;
        if !self.charge(local, charge, PATIENCE) {
            return Err(self.memory_limit(&Core::name_of(at), hold.len() as u64));
        }
        piece.charge.add(charge);
        self.ground.read_extent(&hold, piece.bytes_mut()).map_err(|error| error.about(&Core::name_of(at)))?;
        Ok(KeptChunk::Piece(piece))
    }

    /// Keeps one content: in RAM, or, where RAM has no room for it, on disk.
    fn keep_one(
        &self,
        local: &Local,
        at: At<'_>,
        chunk: Option<u64>,
        word: Word,
        held: Held,
        priority: Priority,
    ) -> Result<KeptChunk> {
        match held {
            Held::Block(block) => Ok(KeptChunk::Block(block)),
            Held::Extent(hold) => match self.swap_in(local, at, chunk, word, hold, priority)? {
                Ok(block) => Ok(KeptChunk::Block(block)),
                Err(hold) => self.keep_mapped(local, at, hold),
            },
            Held::Nothing => unreachable!("holes are not held"),
        }
    }

    /// Puts held bytes on disk, for their holder alone: the extent lives as long as the hold.
    fn banish(&self, local: &Local, at: At<'_>, block: &HeldBlock) -> Result<SegmentHold> {
        let extent = self.store(local, block.bytes()).map_err(|error| error.about(&Core::name_of(at)))?;
        let hold = self.ground.segments.hold(extent);
        // SAFETY: published nowhere; who holds its segment can read on.
        unsafe { self.ground.segments.kill(extent) };
        Ok(hold.expect("an extent not yet killed is live"))
    }

    /// Keeps the chunks of a long file: in RAM, or, of a file that would take more than a third of it, verified on disk, so that
    /// there is room to build it in one piece.
    fn keep_chunks(&self, local: &Local, at: At<'_>, version: Version) -> Result<Keep> {
        let mut chunks = Vec::with_capacity(version.parts.len());
        let fits = version.len <= self.config.memory_limit_bytes / 3;
        for (chunk, word, held) in version.parts {
            let kept = match held {
                held if fits => self.keep_one(local, at, Some(chunk), word, held, version.priority)?,
                Held::Extent(hold) => self.keep_mapped(local, at, hold)?,
                Held::Block(block) => {
                    let hold = self.banish(local, at, &block)?;
                    self.keep_mapped(local, at, hold)?
                }
                Held::Nothing => continue,
            };
            chunks.push((chunk, kept));
        }
        Ok(Keep::Chunks { len: version.len, chunk_bytes: self.config.chunk_bytes as u64, chunks })
    }
}

/// A version of a file for as long as somebody wants it.
pub(crate) enum Keep {
    Empty,
    /// One content, where it lies.
    Block(HeldBlock),
    /// One content that RAM has no room for.
    Other(KeptChunk),
    /// A long file's chunks, holes left out.
    Chunks {
        len: u64,
        chunk_bytes: u64,
        chunks: Vec<(u64, KeptChunk)>,
    },
}

/// One chunk of a kept version.
pub(crate) enum KeptChunk {
    Block(HeldBlock),
    Piece(OnePiece),
    /// In a segment that cannot be used again while this lives; verified when it was taken.
    Mapped(SegmentHold),
}

impl KeptChunk {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            KeptChunk::Block(block) => block.bytes(),
            KeptChunk::Piece(piece) => piece.bytes(),
            KeptChunk::Mapped(hold) => {
                // SAFETY: kept by `keep_mapped` only, for the reason given there.
                let bytes = unsafe { hold.slice(OWNER) }.ok().flatten();
                bytes.expect("a slice that was had once can be had again")
            }
        }
    }
}
