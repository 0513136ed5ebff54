//! Changes of contents in the order of all changes, for a store that is to survive: one record each.
//!
//! ```text
//! CONTENT  id u32 │ flags u32 │ modified u64 │ word u64 │ len u64 │ (chunk u64 │ word u64) …
//! MOVE     id u32 │ 0 u32 │ chunk u64 │ from u64 │ to u64
//! ```
//! A change is made in three steps. The record takes the content word; it takes its place in the order; the word it names
//! takes the content word. Whoever meets a record in a content word does the last two before it goes on, so nobody sees a
//! content that has no place, and what is based on it comes after it.
//!
//! # Invariants
//! 1. A record is put into a content word once, by its maker, and appended by whoever meets it there. It is freed after it was
//!    consumed, and not consumed before it was taken out of the word (`Core::complete`).
//! 2. A record names blocks and does not hold them. A block whose bytes are not on disk yet stays in its content word: the hand
//!    and the evacuation leave it alone. One that is replaced is given up at once if no flush is reading, for then what
//!    replaced it will be in the same batch; else when the flush has read (`limbo`).
//! 3. A priority changes only while its record is in the content word, so such changes have one order. The count in the heat
//!    word tells a helper that comes late that it has been applied.
//!
//! Not every change has a record: see `loose`.

use super::{
    core::{Core, Spot, exchange, now_ns},
    flush::Log,
    heat,
    local::Local,
    word::{Content, Word},
};
use crate::{
    config::Priority,
    epoch::Guard,
    failpoint::pass,
    index::{Node, NodeId},
    order::{Record, u32_at, u64_at},
    segment::ExtentRef,
    sync::Ordering::*,
};
use std::mem::ManuallyDrop;

pub(crate) const CONTENT: u16 = 16;
pub(crate) const MOVE: u16 = 17;

const CONTENT_BYTES: usize = 32;
const CHUNK_BYTES: usize = 16;
const MOVE_BYTES: usize = 32;
/// A note's, before its chunks.
const NOTE_BYTES: usize = 16;

/// All chunks that are not named are gone.
const RESET: u32 = 1;
/// The content stays as it is.
const SAME: u32 = 2;
const HAS_PRIORITY: u32 = 4;
/// One block is all of the content from then on; that may be replaced without a record.
const LOOSENS: u32 = 8;
const PRIORITY_SHIFT: u32 = 8;

/// What a record of contents says.
pub(crate) enum ContentChange<'r> {
    Content {
        id: NodeId,
        modified: u64,
        word: Word,
        len: u64,
        reset: bool,
        same: bool,
        loosens: bool,
        priority: Option<Priority>,
        chunks: Chunks<'r>,
    },
    Move {
        id: NodeId,
        chunk: u64,
        from: u64,
        to: u64,
    },
}

/// Chunks and their words, as in a record.
#[derive(Clone)]
pub(crate) struct Chunks<'r>(std::slice::ChunksExact<'r, u8>);

impl Iterator for Chunks<'_> {
    type Item = (u64, Word);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.0.next()?;
        Some((u64_at(bytes, 0), Word::from_bits(u64_at(bytes, 8))))
    }
}

impl<'r> ContentChange<'r> {
    /// Takes a record of contents apart; `None` if it is another floor's.
    pub(crate) fn of(record: &'r Record) -> Option<Self> {
        let bytes = record.bytes();
        Some(match record.kind() {
            CONTENT => {
                let flags = u32_at(bytes, 4);
                let priority = Priority::from_level((flags >> PRIORITY_SHIFT) as u8);
                ContentChange::Content {
                    id: NodeId::new(u32_at(bytes, 0)),
                    modified: u64_at(bytes, 8),
                    word: Word::from_bits(u64_at(bytes, 16)),
                    len: u64_at(bytes, 24),
                    reset: flags & RESET != 0,
                    same: flags & SAME != 0,
                    loosens: flags & LOOSENS != 0,
                    priority: (flags & HAS_PRIORITY != 0).then_some(priority),
                    chunks: Chunks(bytes[CONTENT_BYTES..].chunks_exact(CHUNK_BYTES)),
                }
            }
            MOVE => ContentChange::Move {
                id: NodeId::new(u32_at(bytes, 0)),
                chunk: u64_at(bytes, 8),
                from: u64_at(bytes, 16),
                to: u64_at(bytes, 24),
            },
            _ => return None,
        })
    }
}

/// The words in a creation's note: priority, length, then chunks and their words.
pub(crate) fn note(priority: Priority, len: u64, chunks: &[(u64, Word)]) -> Vec<u64> {
    let chunks = chunks.iter().flat_map(|(chunk, word)| [*chunk, word.value().bits()]);
    [u64::from(priority.get()), len].into_iter().chain(chunks).collect()
}

/// A creation's note: priority, length, chunks; `None` of a directory's.
pub(crate) fn read_note(note: &[u8]) -> Option<(Priority, u64, Chunks<'_>)> {
    let (fields, chunks) = note.split_at_checked(NOTE_BYTES)?;
    let priority = Priority::from_level(u64_at(fields, 0) as u8);
    Some((priority, u64_at(fields, 8), Chunks(chunks.chunks_exact(CHUNK_BYTES))))
}

/// What is to be noted of a change of a content.
#[derive(Clone, Copy)]
pub(crate) struct Revision<'e> {
    /// Chunks that are not named are gone.
    pub(crate) reset: bool,
    pub(crate) priority: Option<Priority>,
    /// The chunks that change, and what to.
    pub(crate) chunks: &'e [(u64, Word)],
    /// The blocks are those that were there, with more bytes in them.
    pub(crate) appends: bool,
}

impl Revision<'_> {
    fn len_bytes(&self) -> usize {
        CONTENT_BYTES + CHUNK_BYTES * self.chunks.len()
    }

    /// Whether one block is all of the content from then on.
    fn is_whole_block(&self) -> bool {
        self.reset && matches!(self.chunks, [(0, word)] if matches!(word.content(), Content::Ram(_)))
    }

    /// What a record says of it; the rest is written when the change is made (`describe`).
    fn write(&self, bytes: &mut [u8]) {
        let level = self.priority.map_or(0, |level| HAS_PRIORITY | u32::from(level.get()) << PRIORITY_SHIFT);
        let flags = level | if self.reset { RESET } else { 0 };
        bytes[4..8].copy_from_slice(&flags.to_le_bytes());
        for (to, (chunk, word)) in bytes[CONTENT_BYTES..].chunks_exact_mut(CHUNK_BYTES).zip(self.chunks) {
            to[..8].copy_from_slice(&chunk.to_le_bytes());
            to[8..].copy_from_slice(&word.value().bits().to_le_bytes());
        }
    }
}

/// A record that is not published yet, if one is needed; discarded on drop.
struct Prepared<'c> {
    core: &'c Core,
    local: &'c Local,
    record: Option<&'c Record>,
    /// Bytes of new blocks that it names.
    bytes: i64,
}

/// What a change is prepared with: in a store that keeps no order, nothing.
#[derive(Default)]
pub(crate) struct Preparation<'c>(Option<Prepared<'c>>);

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        if let (Some(log), Some(record)) = (&self.core.log, self.record) {
            // SAFETY: nobody else has seen it: who publishes it forgets this (`swing`).
            unsafe { log.order.discard(record, &self.local.pin()) };
        }
    }
}

impl Core {
    /// Makes the record of a change, making room for it if need be. The words are staged, or the caller's otherwise.
    pub(crate) fn prepare<'c>(
        &'c self,
        local: &'c Local,
        revision: Revision<'_>,
    ) -> crate::error::Result<Preparation<'c>> {
        self.with_room(local, || self.try_prepare(local, revision))
            .map_err(|bytes| self.memory_limit("", bytes))
    }

    /// The same without making room; how many bytes are missing.
    #[inline]
    pub(crate) fn try_prepare<'c>(
        &'c self,
        local: &'c Local,
        revision: Revision<'_>,
    ) -> Result<Preparation<'c>, u64> {
        match &self.log {
            None => Ok(Preparation(None)),
            Some(log) => self.prepare_record(log, local, revision),
        }
    }

    fn prepare_record<'c>(
        &'c self,
        log: &Log,
        local: &'c Local,
        revision: Revision<'_>,
    ) -> Result<Preparation<'c>, u64> {
        let len_bytes = revision.len_bytes();
        let fill = |bytes: &mut [u8]| revision.write(bytes);
        let record = if log.looseness.is_ever() && revision.is_whole_block() {
            log.order.record_and_spare(&local.magazine, CONTENT, len_bytes, fill)
        } else {
            log.order.record(&local.magazine, CONTENT, 0, len_bytes, fill)
        };
        let record = record.ok_or(len_bytes as u64)?;
        let bytes = if revision.appends { 0 } else { self.block_bytes(revision.chunks) };
        Ok(Preparation(Some(Prepared { core: self, local, record: Some(record), bytes })))
    }

    /// What gives a content that is bare its record, paid for by the one that made it loose (`loose`, invariant 6).
    pub(crate) fn prepare_spare<'c>(&'c self, log: &Log, local: &'c Local, word: Word) -> Preparation<'c> {
        let chunks = [(0, word)];
        // Its block was counted when it came.
        let revision = Revision { reset: true, priority: None, chunks: &chunks, appends: true };
        let (len_bytes, fill) = (revision.len_bytes(), |bytes: &mut [u8]| revision.write(bytes));
        let record = log.order.spare(&local.magazine, CONTENT, len_bytes, fill);
        Preparation(Some(Prepared { core: self, local, record: Some(record), bytes: 0 }))
    }

    /// What a block needs to take the place of `from`, which was loaded from the file's word: nothing, if that is loose.
    #[inline]
    pub(crate) fn prepare_bare<'c>(
        &'c self,
        local: &'c Local,
        from: Word,
        block: Word,
    ) -> Option<Preparation<'c>> {
        from.is_loose().then(|| {
            let bytes = self.block_bytes(&[(0, block)]);
            Preparation(Some(Prepared { core: self, local, record: None, bytes }))
        })
    }

    /// Bytes of the blocks among these words.
    pub(crate) fn block_bytes(&self, chunks: &[(u64, Word)]) -> i64 {
        let bytes = |word: &Word| match word.content() {
            Content::Ram(block) => self.ground.arena.capacity(block) as i64,
            _ => 0,
        };
        chunks.iter().map(|(_, word)| bytes(word)).sum()
    }

    /// Exchanges a file's content, `from`, for `to`, which makes it `len` bytes long: at once, or, where an order is kept,
    /// through the prepared record. False: another exchange came first, and the preparation is as it was.
    pub(crate) fn swing(
        &self,
        guard: &Guard,
        spot: &Spot<'_>,
        (from, to): (Word, Word),
        len: u64,
        preparation: &mut Preparation<'_>,
    ) -> bool {
        let now = now_ns();
        pass("change: staged");
        let swung = match (&self.log, preparation.0.take()) {
            (Some(log), Some(prepared)) => {
                let done = match prepared.record {
                    Some(record) => {
                        describe(log, record, spot, (from, to), len, now)
                            && exchange(&spot.node.content, from, Word::pending(record).in_place_of(from))
                    }
                    None => exchange(&spot.node.content, from, to.bare().in_place_of(from)),
                };
                if done {
                    let Prepared { local, record, bytes, .. } = *ManuallyDrop::new(prepared);
                    self.note_unflushed(local, bytes);
                    if let Some(record) = record {
                        pass("change: has the word, no place yet");
                        self.complete(spot.node, record, guard);
                    }
                } else {
                    preparation.0 = Some(prepared);
                }
                done
            }
            _ => exchange(&spot.node.content, from, to.in_place_of(from)),
        };
        pass("change: made, nothing retired");
        if swung && from.value() != to.value() {
            spot.node.note_modified(now);
        }
        swung
    }

    /// A content word that is taken by no change, completing those that have it.
    #[cold]
    pub(crate) fn settled_word(&self, node: &Node, guard: &Guard) -> Word {
        loop {
            // Acquire: as in `word_of`.
            let word = Word::from_bits(node.content.load(Acquire));
            let Content::Pending(record) = word.content() else { return word };
            // SAFETY: met in the word under the guard: it is consumed, and then retired, only after it was taken out.
            self.complete(node, unsafe { &*record }, guard);
        }
    }

    /// The second and third step of a change: its place, then its effect. By its maker, by whoever meets it, and by the
    /// consumer before it lets the record go.
    pub(crate) fn complete(&self, node: &Node, record: &Record, guard: &Guard) {
        let Some(log) = &self.log else { return };
        log.appended(log.order.append(record, guard));
        let Some(ContentChange::Content { word: to, priority, loosens, .. }) = ContentChange::of(record)
        else {
            return;
        };
        let to = if loosens && log.looseness.is_allowed() { to.loose() } else { to };
        let pending = Word::pending(record);
        let taken = || {
            // Acquire: whoever sees it taken no more sees the priority applied.
            let now = Word::from_bits(node.content.load(Acquire));
            (now.value() == pending).then_some(now)
        };
        if let Some(priority) = priority
            && taken().is_some()
        {
            heat::apply_priority(self, node, priority, &record.mark);
        }
        pass("change: has its place, no effect yet");
        while let Some(now) = taken() {
            if exchange(&node.content, now, to.in_place_of(now)) {
                break;
            }
        }
    }

    /// Notes that a chunk's extent was moved, after the exchange that did. The record was made before it.
    pub(crate) fn note_move(&self, moved: Option<MoveRecord<'_>>, guard: &Guard) {
        if let (Some(log), Some(moved)) = (&self.log, moved) {
            log.order.append(moved.take(), guard);
        }
    }

    /// A record of a move from one extent to another; `Err` without memory for it.
    pub(crate) fn prepare_move<'c>(
        &'c self,
        local: &'c Local,
        id: NodeId,
        chunk: Option<u64>,
        from: ExtentRef,
        to: ExtentRef,
    ) -> Result<Option<MoveRecord<'c>>, u64> {
        let Some(log) = &self.log else { return Ok(None) };
        let record = log.order.record(&local.magazine, MOVE, 0, MOVE_BYTES, |bytes| {
            bytes[..4].copy_from_slice(&id.get().to_le_bytes());
            for (at, field) in [(8, chunk.unwrap_or(0)), (16, from.bits()), (24, to.bits())] {
                bytes[at..at + 8].copy_from_slice(&field.to_le_bytes());
            }
        });
        let record = record.ok_or(MOVE_BYTES as u64)?;
        Ok(Some(MoveRecord { core: self, local, record: Some(record) }))
    }
}

/// Writes into a record what it is about, unless what it says is not enough to replace a bare content (`loose`, invariant 4):
/// whether it does.
fn describe(
    log: &Log,
    record: &Record,
    spot: &Spot<'_>,
    (from, to): (Word, Word),
    len: u64,
    now: u64,
) -> bool {
    let flags = u32_at(record.bytes(), 4) & !(SAME | LOOSENS);
    let stays = to.value() == from.value();
    let is_whole_block = record.has_spare() && matches!(to.content(), Content::Ram(_));
    let loosens = if is_whole_block && !stays { LOOSENS } else { 0 };
    let (same, modified) = match (stays, from.is_bare()) {
        (_, true) if flags & RESET == 0 => return false,
        // What is there, and was made then. Relaxed: who made it may not have come to that; what is in RAM is right in the end, and
        // on disk it is the time of the content before if there is a crash before the next change.
        (true, true) => (0, spot.node.modified.load(Relaxed)),
        (true, false) => (SAME, now),
        (false, _) => (0, now),
    };
    // SAFETY: the record is not shared yet.
    unsafe {
        let amend = |at, bytes: &[u8]| log.order.amend(record, at, bytes);
        amend(0, &spot.id.get().to_le_bytes());
        amend(4, &(flags | same | loosens).to_le_bytes());
        amend(8, &modified.to_le_bytes());
        amend(16, &to.value().bits().to_le_bytes());
        amend(24, &len.to_le_bytes());
    }
    true
}

/// A record of a move that is not made yet; discarded on drop.
pub(crate) struct MoveRecord<'c> {
    core: &'c Core,
    local: &'c Local,
    record: Option<&'c Record>,
}

impl<'c> MoveRecord<'c> {
    fn take(mut self) -> &'c Record {
        self.record.take().expect("taken once")
    }
}

impl Drop for MoveRecord<'_> {
    fn drop(&mut self) {
        if let (Some(log), Some(record)) = (&self.core.log, self.record.take()) {
            // SAFETY: nobody else has seen it.
            unsafe { log.order.discard(record, &self.local.pin()) };
        }
    }
}
