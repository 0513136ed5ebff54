//! What is to be written of a batch of changes, and writing it: bytes into segments, entries into the journal's batch.
//!
//! # Invariants
//! 1. A batch is applied whole or not at all. So of several contents of a file in one batch only the last is written, and
//!    what others replace has no entry: its bytes may be gone.
//! 2. The bytes that are written are those of blocks that were held when they were in their content word, or in limbo: a flush
//!    had begun, and had taken the records since (`limbo`, invariant 2).

use super::{
    core::Core,
    ground::{HeldBlock, OWNER},
    local::Local,
    log::{Chunks, ContentChange, read_note},
    swap::Place,
    word::{Content, Word},
};
use crate::{
    arena::BlockRef,
    epoch::Guard,
    error::{Error, Result},
    index::{Kind, NameChange, NodeId},
    journal::{self, Batch, Entry, Redo},
    order::{Record, Taken},
    segment::ExtentRef,
    sync::Ordering::*,
};
use std::collections::{HashMap, HashSet, VecDeque};

/// Contents that are written to a segment at once, and their bytes: about. Few in tests, so that batches fail half-way.
const MOST_AT_ONCE: usize = if cfg!(test) { 2 } else { 64 };
const MOST_BYTES_AT_ONCE: usize = 256 << 10;

/// Where an attempt at a batch has put the bytes: of each record, by its place, and each of its chunks. For the next attempt,
/// if this one fails: with a copy on disk a block is free to leave RAM.
pub(super) type Placed = HashMap<(u64, u64), ExtentRef, foldhash::fast::RandomState>;

/// What a batch comes to.
pub(super) struct Encoded {
    pub(super) batch: Batch,
    /// Those that the entries name.
    pub(super) extents: Vec<ExtentRef>,
    /// Their bytes, if they are few.
    pub(super) redo: Redo,
}

impl Encoded {
    pub(super) fn new(first_seq: u64, most_redo_bytes: usize) -> Self {
        Self { batch: Batch::new(first_seq), extents: Vec::new(), redo: Redo::new(most_redo_bytes) }
    }
}

/// A record, taken apart.
enum Said<'r> {
    Content(ContentChange<'r>),
    Name(NameChange<'r>),
}

impl<'r> Said<'r> {
    fn by(record: &'r Record) -> Self {
        let content = ContentChange::of(record).map(Said::Content);
        content.unwrap_or_else(|| {
            Said::Name(NameChange::of(record).expect("a record of the index or of the tier"))
        })
    }

    /// The file whose content it gives, and the chunks it names.
    fn chunks(&self) -> Option<(NodeId, Chunks<'r>)> {
        match self {
            Said::Content(ContentChange::Content { id, chunks, .. }) => Some((*id, chunks.clone())),
            Said::Name(NameChange::Make { note, nodes, .. }) => {
                let (_, _, chunks) = read_note(note)?;
                Some((nodes.clone().last()?.0, chunks))
            }
            _ => None,
        }
    }
}

/// What later records of a batch make of a file's earlier ones.
#[derive(Default)]
struct Later {
    /// There is a later change of the content: an earlier one's record has left the content word.
    any: bool,
    /// All that came before is of no account.
    all: bool,
    first: bool,
    others: HashSet<u64>,
    /// Chunks from here on were cut off, if any were.
    end: Option<u64>,
}

impl Later {
    fn needs(&self, chunk: u64) -> bool {
        let changed = if chunk == 0 { self.first } else { self.others.contains(&chunk) };
        !self.all && !changed && self.end.is_none_or(|end| chunk < end)
    }

    /// The file ended before chunk `end`.
    fn ends(&mut self, end: u64) {
        self.end = Some(self.end.map_or(end, |before| before.min(end)));
    }

    fn changes(&mut self, chunk: u64) {
        if chunk == 0 {
            self.first = true;
        } else {
            self.others.insert(chunk);
        }
    }
}

/// Which parts of a batch count when it is applied (invariant 1).
#[derive(Default)]
pub(super) struct Digest {
    /// For each record: whether the content it gives was replaced whole within the batch.
    superseded: Vec<bool>,
    /// For each record: whether a later one shows that it is in no content word any more.
    settled: Vec<bool>,
    /// For each chunk that the others name, in order: whether its bytes are the last.
    needed: Vec<bool>,
}

impl Digest {
    pub(super) fn of(taken: &[Taken], chunk_bytes: u64) -> Self {
        let mut later: HashMap<NodeId, Later, foldhash::fast::RandomState> = HashMap::default();
        let mut digest = Self::default();
        // From the last to the first.
        for taken in taken.iter().rev() {
            let said = Said::by(taken.record());
            let (mut superseded, mut settled) = (false, false);
            match &said {
                Said::Content(ContentChange::Content { id, len, reset, same, chunks, .. }) => {
                    let later = later.entry(*id).or_default();
                    (superseded, settled) = (later.all, later.any);
                    later.any = true;
                    if !superseded {
                        digest.note(chunks.clone(), later);
                        if !same {
                            chunks.clone().for_each(|(chunk, _)| later.changes(chunk));
                            later.all |= reset;
                            later.ends(len.div_ceil(chunk_bytes));
                        }
                    }
                }
                Said::Name(NameChange::Make { .. }) => {
                    if let Some((id, chunks)) = said.chunks() {
                        digest.note(chunks, &later.remove(&id).unwrap_or_default());
                    }
                }
                Said::Name(NameChange::Rename { replaced: Some(id), .. } | NameChange::Remove { id }) => {
                    later.insert(*id, Later { all: true, ..Later::default() });
                }
                _ => {}
            }
            digest.superseded.push(superseded);
            digest.settled.push(settled);
        }
        digest.settled.reverse();
        digest.superseded.reverse();
        digest.needed.reverse();
        digest
    }

    /// Notes a record's chunks, the last one first, as all else.
    fn note(&mut self, chunks: Chunks<'_>, later: &Later) {
        let from = self.needed.len();
        self.needed.extend(chunks.map(|(chunk, _)| later.needs(chunk)));
        self.needed[from..].reverse();
    }

    /// Whether the record is in no content word any more: its file's next change was made when it had left.
    pub(super) fn is_settled(&self, record: usize) -> bool {
        self.settled[record]
    }
}

impl Core {
    /// Holds the blocks that are to be written, in the order of the chunks that the records name, so that all others need not
    /// be kept while that is done. None of those that an earlier attempt has placed: they may be gone.
    pub(super) fn hold_needed(
        &self,
        taken: &[Taken],
        digest: &Digest,
        placed: &Placed,
        local: &Local,
    ) -> Vec<Option<HeldBlock>> {
        let mut needed = digest.needed.iter();
        let mut held = Vec::with_capacity(needed.len());
        for (taken, superseded) in taken.iter().zip(&digest.superseded) {
            let record = taken.record();
            let chunks = if *superseded { None } else { Said::by(record).chunks() };
            for (chunk, word) in chunks.into_iter().flat_map(|(_, chunks)| chunks) {
                let is_needed = *needed.next().expect("one for each chunk");
                held.push(match word.content() {
                    Content::Ram(block) if is_needed && !placed.contains_key(&(record.place(), chunk)) => {
                        // SAFETY: in its content word, or in limbo while a flush reads (limbo, invariant 2).
                        Some(unsafe { HeldBlock::share(local, block) })
                    }
                    _ => None,
                });
            }
        }
        held
    }

    /// Encodes records as the journal's entries; the bytes they need go into segments, unless they are there. `held` are
    /// the blocks that have them.
    pub(super) fn encode(
        &self,
        taken: &[Taken],
        digest: &Digest,
        held: Vec<Option<HeldBlock>>,
        placed: &mut Placed,
        local: &Local,
        to: &mut Encoded,
    ) -> Result<()> {
        let Encoded { batch, extents, redo } = to;
        let mut needed = digest.needed.iter().copied();
        let mut written = Written { core: self, local, held, at: 0, run: VecDeque::new() };
        let mut on_disk = Vec::new();
        extents.clear();
        for (taken, superseded) in taken.iter().zip(&digest.superseded) {
            let said = Said::by(taken.record());
            on_disk.clear();
            if let Some((id, chunks)) = said.chunks().filter(|_| !superseded) {
                for (chunk, word) in chunks {
                    let key = (taken.record().place(), chunk);
                    let before = placed.get(&key).copied();
                    let is_needed = needed.next().expect("one for each chunk");
                    // Let go when its bytes are written.
                    let (_held, fresh) = written.next()?;
                    let before = Before { extent: before, fresh };
                    if is_needed && let Some(extent) = self.place(id, chunk, word, before, local)? {
                        match word.content() {
                            // SAFETY: held.
                            Content::Ram(block) if before.extent.is_none() => unsafe {
                                self.push_bytes(redo, extent, block);
                            },
                            _ => redo.give_up(),
                        }
                        placed.insert(key, extent);
                        extents.push(extent);
                        on_disk.push((chunk, extent.bits()));
                    }
                }
            }
            if let Said::Content(ContentChange::Move { from, to, .. }) = said {
                redo.give_up();
                // Whoever named it before ends with the other.
                if ExtentRef::try_from_bits(from).is_some_and(|from| !self.ground.segments.is_trusted(from)) {
                    extents.retain(|extent| extent.bits() != from);
                }
                extents.extend(ExtentRef::try_from_bits(to));
            }
            push(batch, said, *superseded, &on_disk);
            batch.end_operation();
        }
        Ok(())
    }

    /// Notes the bytes that were just written to an extent, or had been before.
    ///
    /// # Safety
    /// The block is alive: as in `place`.
    unsafe fn push_bytes(&self, redo: &mut Redo, extent: ExtentRef, block: BlockRef) {
        if !redo.is_whole() {
            return;
        }
        // SAFETY: the caller; bytes below a published length never change.
        let bytes = unsafe { self.ground.arena.bytes(block) };
        // There may be more of them since.
        match bytes.get(..self.ground.segments.len(extent)) {
            Some(bytes) => redo.push(extent.bits(), bytes),
            None => redo.give_up(),
        }
    }

    /// The extent that has a chunk's bytes: the one it has, or one that they are written to.
    fn place(
        &self,
        id: NodeId,
        chunk: u64,
        word: Word,
        before: Before,
        local: &Local,
    ) -> Result<Option<ExtentRef>> {
        let Before { extent: before, fresh } = before;
        let block = match word.content() {
            Content::Disk(extent) => return Ok(Some(extent)),
            Content::Ram(block) => block,
            _ => return Ok(None),
        };
        let place = Place { id, chunk: (chunk > 0).then_some(chunk) };
        let mut held = None;
        if let Some(extent) = before {
            let guard = local.pin();
            // With that copy on disk the block may have left RAM since. Then there is nothing else to write, and if the copy
            // is not to be trusted the batch has to fail.
            if self.ground.segments.is_trusted(extent) || !self.holds(place, word, &guard) {
                return Ok(Some(extent));
            }
            // SAFETY: in its word, looked at under the guard.
            held = Some(unsafe { HeldBlock::share(local, block) });
        }
        let extent = match fresh {
            Some(extent) => extent,
            None => {
                if let Some(extent) = self.copy_on_disk(block, local) {
                    return Ok(Some(extent));
                }
                // SAFETY: the block is held, by the caller or here (invariant 2); bytes below a published length never change.
                let bytes = unsafe { self.ground.arena.bytes(block) };
                self.append_for_flush(local, bytes)?
            }
        };
        let guard = local.pin();
        if !self.lend(local, block, extent, || self.holds(place, word, &guard)) {
            // What replaced the content has its place in the order already (`holds` has seen to that); when that is durable the
            // extent ends.
            if let Some(limbo) = &self.ground.limbo {
                limbo.push_extent(extent);
            }
            // Or nothing has: it left RAM by the copy of an earlier attempt, which somebody had in his hands while we looked for
            // one. That is not to be trusted; it is moved, or has been, and the next attempt finds that noted.
            if let Some(before) = before {
                drop(held);
                return Ok(Some(before));
            }
        }
        drop(held);
        Ok(Some(extent))
    }

    /// Makes an extent of all its bytes a block's copy on disk, if the block is still the content; else it is the caller's.
    fn lend(&self, local: &Local, block: BlockRef, extent: ExtentRef, is_current: impl Fn() -> bool) -> bool {
        let (ground, Some(limbo)) = (&self.ground, &self.ground.limbo) else { return false };
        if !is_current() {
            return false;
        }
        // There may be one of fewer bytes: who appends in place looks whether there is one before, and not once more after. Or
        // one that was in somebody's hands, and given back.
        let before = ground.arena.header(block).extent.swap(extent.bits(), AcqRel);
        if before != 0 {
            limbo.push_extent(ExtentRef::from_bits(before));
        }
        // Whoever replaces the content exchanges the word first and takes the extent then. If that came before our
        // exchange, we see the word it left (AcqRel on both); if it came after, it has taken ours.
        let lent = is_current() || ground.take_extent(block) != Some(extent);
        if lent && before == 0 {
            // Whoever replaces the block from now on finds it on disk.
            limbo.note_unflushed(local, -(ground.arena.capacity(block) as i64));
        }
        lent
    }

    /// Whether a file's first chunk, or the one of `place`, is `word` now.
    fn holds(&self, place: Place, word: Word, guard: &Guard) -> bool {
        self.content_at(place, guard).is_some_and(|now| now.value() == word.value())
    }

    /// What a file's first chunk, or the one of `place`, is now.
    fn content_at(&self, place: Place, guard: &Guard) -> Option<Word> {
        let node = self.index.held(place.id);
        // The file may have ended since its record was taken, and the number may be another's by now: a directory has no
        // content word, and another file has not this block in it.
        if !node.is_file() {
            return None;
        }
        self.word_at(node, place.chunk, guard)
    }

    /// The copy on disk that a block has already, of all its bytes. One that could not be synced is taken from it, and the
    /// bytes are written elsewhere.
    fn copy_on_disk(&self, block: BlockRef, local: &Local) -> Option<ExtentRef> {
        let (ground, segments) = (&self.ground, &self.ground.segments);
        let extent = ground.extent_of(block)?;
        if segments.is_trusted(extent) {
            return (segments.len(extent) == ground.arena.len(block)).then_some(extent);
        }
        let header = ground.arena.header(block);
        if header.extent.compare_exchange(extent.bits(), 0, AcqRel, Relaxed).is_ok()
            && let Some(limbo) = &ground.limbo
        {
            limbo.note_unflushed(local, ground.arena.capacity(block) as i64);
            limbo.push_extent(extent);
        }
        None
    }

    fn append_for_flush(&self, local: &Local, bytes: &[u8]) -> Result<ExtentRef> {
        match self.ground.append(bytes) {
            Err(full @ Error::StorageFull { .. }) => {
                self.collect(local);
                if let Ok(extent) = self.ground.append(bytes) {
                    return Ok(extent);
                }
                let Some(sparse) = self.ground.segments.sparse() else { return Err(full) };
                self.compact(local, &sparse)?;
                self.ground.append(bytes)
            }
            other => other,
        }
    }
}

/// What a chunk's bytes were written to.
#[derive(Clone, Copy)]
struct Before {
    /// By an earlier attempt at this batch.
    extent: Option<ExtentRef>,
    /// Just now, with others.
    fresh: Option<ExtentRef>,
}

/// The held blocks of a batch, in order, whose bytes are written some at a time.
struct Written<'c> {
    core: &'c Core,
    local: &'c Local,
    held: Vec<Option<HeldBlock>>,
    at: usize,
    /// Of those from `at` on: what they were written to, if they had to be.
    run: VecDeque<Option<ExtentRef>>,
}

impl Written<'_> {
    /// The next chunk's block, and what its bytes were written to: nothing, if they are on disk, or if there was no room for as
    /// much at once.
    fn next(&mut self) -> Result<(Option<HeldBlock>, Option<ExtentRef>)> {
        if self.run.is_empty() {
            self.write_some()?;
        }
        self.at += 1;
        Ok((self.held[self.at - 1].take(), self.run.pop_front().flatten()))
    }

    fn write_some(&mut self) -> Result<()> {
        let Self { core, local, held, at, run } = self;
        let (mut all, mut wanted, mut len_bytes) = (Vec::new(), Vec::new(), 0);
        for held in held[*at..].iter().take(MOST_AT_ONCE) {
            let bytes = held.as_ref().filter(|held| core.copy_on_disk(held.block(), local).is_none());
            let bytes = bytes.map(HeldBlock::bytes);
            len_bytes += bytes.map_or(0, <[u8]>::len);
            if len_bytes > MOST_BYTES_AT_ONCE && !wanted.is_empty() {
                break;
            }
            wanted.push(bytes.is_some());
            all.extend(bytes);
        }
        let mut extents = Vec::with_capacity(all.len());
        let appended = core.ground.segments.append_all(OWNER, &all, &mut extents);
        let mut extents = extents.into_iter();
        run.extend(wanted.into_iter().map(|wanted| if wanted { extents.next() } else { None }));
        match appended {
            // Who got none is written by itself, which makes room for it.
            Err(Error::StorageFull { .. }) => Ok(()),
            other => other,
        }
    }
}

impl Drop for Written<'_> {
    fn drop(&mut self) {
        // After a failure: nothing names them, and they end with the batch at the latest.
        if let Some(limbo) = &self.core.ground.limbo {
            self.run.iter().flatten().for_each(|extent| limbo.push_extent(*extent));
        }
    }
}

/// The entries of one record; `chunks` are those whose bytes count, and where they are.
fn push(batch: &mut Batch, said: Said<'_>, superseded: bool, chunks: &[(u64, u64)]) {
    match said {
        Said::Content(ContentChange::Content { id, modified, len, reset, same, priority, .. }) => {
            let id = id.get();
            if !same && !superseded {
                batch.push(&Entry::Content { id, modified_ns: modified, len, reset, chunks });
            }
            if let Some(priority) = priority {
                batch.push(&Entry::Priority { id, priority: priority.get() });
            }
        }
        Said::Content(ContentChange::Move { id, chunk, from, to }) => {
            batch.push(&Entry::Move { id: id.get(), chunk, from, to });
        }
        Said::Name(NameChange::Make { parent, kind, created, modified, note, nodes }) => {
            let content = read_note(note);
            let mut parent = parent.get();
            let mut nodes = nodes.peekable();
            while let Some((id, name)) = nodes.next() {
                let is_file = nodes.peek().is_none() && kind == Kind::File;
                let content = content.as_ref().filter(|_| is_file);
                let priority = content.map_or(5, |(priority, ..)| priority.get());
                let kind = if is_file { journal::Kind::File } else { journal::Kind::Directory };
                let id = id.get();
                let (created_ns, modified_ns) = (created, modified);
                batch.push(&Entry::Make { id, parent, kind, name, created_ns, modified_ns, priority });
                if let Some((_, len, _)) = content.filter(|(_, len, _)| *len > 0) {
                    batch.push(&Entry::Content { id, modified_ns, len: *len, reset: true, chunks });
                }
                parent = id;
            }
        }
        Said::Name(NameChange::Rename { id, parent, name, replaced }) => batch.push(&Entry::Rename {
            id: id.get(),
            parent: parent.get(),
            name,
            replaced: replaced.map(NodeId::get),
        }),
        Said::Name(NameChange::Remove { id }) => batch.push(&Entry::Remove { id: id.get() }),
    }
}
