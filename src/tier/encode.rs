//! What is to be written of a batch of changes, and writing it: bytes into segments, entries into the journal's batch.
//!
//! # Invariants
//! 1. A batch is applied whole or not at all. So of several contents of a file in one batch only the last is written, and
//!    what others replace has no entry: its bytes may be gone.
//! 2. The bytes that are written are those of blocks in their content word, or in limbo until the batch is written: a flush
//!    has begun, and had taken the records since (`limbo`, invariant 2).

use super::{
    core::Core,
    ground::HeldBlock,
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
    journal::{self, Batch, Entry},
    order::{Record, Taken},
    segment::ExtentRef,
    sync::Ordering::*,
};
use std::collections::{HashMap, HashSet};

/// Where an attempt at a batch has put the bytes: of each record, by its place, and each of its chunks. For the next attempt,
/// if this one fails: with a copy on disk a block is free to leave RAM.
pub(super) type Placed = HashMap<(u64, u64), ExtentRef, ahash::RandomState>;

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
        let mut later: HashMap<NodeId, Later, ahash::RandomState> = HashMap::default();
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
    /// Encodes records as the journal's entries; the bytes they need go into segments, unless they are there. `extents` are
    /// those that the entries name.
    pub(super) fn encode(
        &self,
        taken: &[Taken],
        digest: &Digest,
        placed: &mut Placed,
        local: &Local,
        batch: &mut Batch,
        extents: &mut Vec<ExtentRef>,
    ) -> Result<()> {
        let mut needed = digest.needed.iter().copied();
        let mut on_disk = Vec::new();
        for (taken, superseded) in taken.iter().zip(&digest.superseded) {
            let said = Said::by(taken.record());
            on_disk.clear();
            if let Some((id, chunks)) = said.chunks().filter(|_| !superseded) {
                for (chunk, word) in chunks {
                    let key = (taken.record().place(), chunk);
                    let before = placed.get(&key).copied();
                    if needed.next().expect("one for each chunk")
                        && let Some(extent) = self.place(id, chunk, word, before, local)?
                    {
                        placed.insert(key, extent);
                        extents.push(extent);
                        on_disk.push((chunk, extent.bits()));
                    }
                }
            }
            if let Said::Content(ContentChange::Move { from, to, .. }) = said {
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

    /// The extent that has a chunk's bytes: the one it has, or one that they are written to now. `before` is what an earlier
    /// attempt at this batch came to.
    fn place(
        &self,
        id: NodeId,
        chunk: u64,
        word: Word,
        before: Option<ExtentRef>,
        local: &Local,
    ) -> Result<Option<ExtentRef>> {
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
        if let Some(extent) = self.copy_on_disk(block) {
            return Ok(Some(extent));
        }
        // SAFETY: the block is in its content word, or in limbo until the batch is written (invariant 2), or held; bytes below
        // a published length never change.
        let bytes = unsafe { self.ground.arena.bytes(block) };
        let extent = self.append_for_flush(local, bytes)?;
        let guard = local.pin();
        let is_current = || self.holds(place, word, &guard);
        let header = self.ground.arena.header(block);
        // The block gets it as its copy on disk, if it is still the content; else the extent ends when what replaced the
        // content is durable, which has its place in the order already: `is_current` has seen to that.
        let mut lent =
            is_current() && header.extent.compare_exchange(0, extent.bits(), AcqRel, Relaxed).is_ok();
        if lent {
            // Whoever replaces the content exchanges the word first and takes the extent then. If that came before our
            // exchange, we see the word it left (AcqRel on both); if it came after, it has taken ours.
            lent = is_current() || self.ground.take_extent(block) != Some(extent);
            if lent && let Some(limbo) = &self.ground.limbo {
                // Whoever replaces the block from now on finds it on disk.
                limbo.note_unflushed(-(self.ground.arena.capacity(block) as i64));
            }
        }
        if !lent && let Some(limbo) = &self.ground.limbo {
            limbo.push_extent(extent);
        }
        drop(held);
        Ok(Some(extent))
    }

    /// Whether a file's first chunk, or the one of `place`, is `word` now.
    fn holds(&self, place: Place, word: Word, guard: &Guard) -> bool {
        let node = self.index.held(place.id);
        // The file may have ended since its record was taken, and the number may be another's by now: a directory has no
        // content word, and another file has not this block in it.
        if !node.is_file() {
            return false;
        }
        let content = self.word_of(node, guard);
        let now = match content.content() {
            Content::Tree(_) => self
                .chunk_slot(&node.content, place.chunk.unwrap_or(0), guard)
                .map(|slot| Word::from_bits(slot.load(Acquire))),
            _ if place.chunk.is_none() => Some(content),
            _ => None,
        };
        now.is_some_and(|now| now.value() == word.value())
    }

    /// The copy on disk that a block has already, of all its bytes. One that could not be synced is taken from it, and the
    /// bytes are written elsewhere.
    fn copy_on_disk(&self, block: BlockRef) -> Option<ExtentRef> {
        let (ground, segments) = (&self.ground, &self.ground.segments);
        let extent = ground.extent_of(block)?;
        if segments.is_trusted(extent) {
            return (segments.len(extent) == ground.arena.len(block)).then_some(extent);
        }
        let header = ground.arena.header(block);
        if header.extent.compare_exchange(extent.bits(), 0, AcqRel, Relaxed).is_ok()
            && let Some(limbo) = &ground.limbo
        {
            limbo.note_unflushed(ground.arena.capacity(block) as i64);
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
