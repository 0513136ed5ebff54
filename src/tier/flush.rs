//! Making durable what the order of changes holds: bytes into segments, then one frame into the journal, then what was freed
//! is free.
//!
//! # Invariants
//! 1. One thread flushes at a time, behind a lock that only those take who wait for the disk anyway.
//! 2. A frame is written after all bytes that it refers to were synced, and is itself synced before the next is begun, so what
//!    is on disk is a prefix of the order.
//! 3. An extent is killed only when the change that freed it is durable: it was put into limbo after that change had its
//!    place, and limbo is emptied before the batch is cut.
//! 4. Of several contents of a file in one batch only the last is written: a batch is applied whole or not at all.
//! 5. After a failure everything stays as it was, to be tried again: records, what they hold, limbo.

use super::{
    core::Core,
    limbo::Freed,
    local::Local,
    log::{ContentChange, read_note},
    word::{Content, Word},
};
use crate::{
    config::Durability,
    epoch::Guard,
    error::{Error, Result},
    index::{Kind, NameChange, NodeId},
    journal::{self, Batch, CheckpointJob, Entry, Journal},
    order::{Consumer, Order, Record, Taken},
    segment::ExtentRef,
    sync::{Arc, AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering::*},
};
use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

/// Operations that wait at most before the flusher is woken.
const MOST_WAITING: u64 = 64 << 10;
/// Times that bytes are written anew after a segment could not be synced.
const REWRITES: usize = 3;

/// What a store that is to survive keeps beside the others' state.
pub(crate) struct Log {
    pub(crate) order: Arc<Order>,
    durability: Durability,
    /// All changes up to this place are durable.
    durable: AtomicU64,
    /// Beyond this the flusher is woken.
    most_unflushed: i64,
    flusher: Mutex<Flusher>,
    /// Whether the flusher's thread has something to do before its time.
    nudged: AtomicBool,
    sleeping: Mutex<()>,
    wake: Condvar,
    opened: Instant,
    /// Milliseconds from `opened` to the last flush.
    flushed_at: AtomicU64,
}

/// Who writes.
struct Flusher {
    consumer: Option<Consumer>,
    journal: Option<Journal>,
    /// Taken from the order and not durable yet.
    taken: Vec<Taken>,
    /// Whether limbo keeps blocks for this.
    begun: bool,
    /// Freed by changes that are in the order.
    dead: Vec<Freed>,
    batch: Batch,
    /// Bytes of journal and checkpoint that are charged to the storage limit.
    charged: u64,
}

impl Log {
    pub(crate) fn new(
        (order, consumer): (Order, Consumer),
        journal: Journal,
        durability: Durability,
        limit_bytes: u64,
    ) -> Self {
        let batch = Batch::new(journal.next_seq());
        let flusher = Flusher {
            consumer: Some(consumer),
            journal: Some(journal),
            taken: Vec::new(),
            begun: false,
            dead: Vec::new(),
            batch,
            charged: 0,
        };
        Self {
            order: Arc::new(order),
            durability,
            durable: AtomicU64::new(0),
            most_unflushed: (limit_bytes / 8) as i64,
            flusher: Mutex::new(flusher),
            nudged: AtomicBool::new(false),
            sleeping: Mutex::new(()),
            wake: Condvar::new(),
            opened: Instant::now(),
            flushed_at: AtomicU64::new(0),
        }
    }

    /// A panic elsewhere leaves records taken and not released: they are tried again.
    fn lock(&self) -> MutexGuard<'_, Flusher> {
        self.flusher.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Lets nobody flush before the guard is dropped.
    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub(crate) fn at_rest(&self) -> impl Sized + '_ {
        self.lock()
    }

    /// Now and then, as places are taken, looks to it that not too many wait.
    pub(crate) fn appended(&self, place: u64) {
        if place.is_multiple_of(MOST_WAITING) {
            self.nudge();
        }
    }

    /// Wakes the flusher's thread. One that misses it looks again when its time has come.
    pub(crate) fn nudge(&self) {
        self.nudged.store(true, Relaxed);
        self.wake.notify_one();
    }

    /// The same for a store that is being closed: the thread does not miss it, however long its period.
    pub(crate) fn wake_to_end(&self) {
        // It looks whether the store is closed, and begins to wait, under this lock.
        let _sleeping = self.sleeping.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.wake.notify_one();
    }

    /// Whether something is in the order that is not durable yet.
    pub(crate) fn has_unflushed(&self, guard: &Guard) -> bool {
        self.waiting(guard) > 0
    }

    fn waiting(&self, guard: &Guard) -> u64 {
        self.order.last_place(guard).saturating_sub(self.durable.load(Relaxed))
    }

    fn millis(&self) -> u64 {
        self.opened.elapsed().as_millis() as u64
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(consumer) = self.lock().consumer.take() {
            // SAFETY: the store drops its collector before its log, and nobody else is left; what was taken was let go by
            // `finish_log`.
            unsafe { self.order.tear_down(consumer) };
        }
    }
}

/// What later records of a batch make of a file's earlier ones.
#[derive(Default)]
struct Later {
    /// All that came before is of no account.
    all: bool,
    first: bool,
    others: HashSet<u64>,
}

impl Later {
    fn needs(&self, chunk: u64) -> bool {
        let changed = if chunk == 0 { self.first } else { self.others.contains(&chunk) };
        !self.all && !changed
    }

    fn changes(&mut self, chunk: u64) {
        if chunk == 0 {
            self.first = true;
        } else {
            self.others.insert(chunk);
        }
    }
}

impl Core {
    /// Makes durable all that was acknowledged before.
    pub(crate) fn sync(&self, local: &Local) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let target = log.order.last_place(&local.pin());
        while log.durable.load(Acquire) < target {
            self.flush(local)?;
        }
        if log.durability == Durability::Sync { Ok(()) } else { log.lock().settle() }
    }

    /// What an operation does before it is acknowledged. Waits for the disk under `Durability::Sync`; without a flusher's thread
    /// also when the period is over.
    pub(crate) fn acknowledge(&self, local: &Local) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        if self.is_closed() {
            // Acquire: pairs with the Release in `flush_taken`.
            let durable = log.durable.load(Acquire);
            return if durable < log.order.last_place(&local.pin()) { Err(Error::Closed) } else { Ok(()) };
        }
        match log.durability {
            Durability::Sync => self.sync(local),
            Durability::Periodic(period) if self.config.worker_threads == 0 => {
                let period = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
                let due = log.flushed_at.load(Relaxed).saturating_add(period);
                // A failure is told to who calls `sync`: this operation is acknowledged, not yet durable.
                if log.millis() >= due || self.is_pressed(log, &local.pin()) {
                    let _ = self.flush(local);
                }
                Ok(())
            }
            _ => {
                if self.config.worker_threads == 0 && self.is_pressed(log, &local.pin()) {
                    let _ = self.flush(local);
                }
                Ok(())
            }
        }
    }

    /// Writes and syncs all that is in the order now.
    pub(crate) fn flush(&self, local: &Local) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let mut flusher = log.lock();
        let flushed = self.flush_all(log, &mut flusher, local);
        log.flushed_at.store(log.millis(), Relaxed);
        drop(flusher);
        if flushed.is_ok() && self.config.worker_threads == 0 {
            self.checkpoint(local);
        }
        flushed
    }

    fn flush_all(&self, log: &Log, flusher: &mut Flusher, local: &Local) -> Result<()> {
        let Some(limbo) = &self.ground.limbo else { return Ok(()) };
        // Limbo first: what is in it was freed by changes that are in the order now (invariant 3).
        limbo.take(&mut flusher.dead);
        // Once closed nothing is written any more: who waits for what the last flush could not write is told so.
        let Flusher { consumer: Some(consumer), journal: Some(_), taken, begun, .. } = flusher else {
            return Err(Error::Closed);
        };
        if !*begun {
            limbo.begin();
            *begun = true;
        }
        log.order.take(consumer, taken, &local.pin());
        if !flusher.taken.is_empty() {
            self.flush_taken(log, flusher, local)?;
        }
        limbo.end();
        flusher.begun = false;
        let guard = local.pin();
        for freed in flusher.dead.drain(..) {
            // SAFETY: unlinked, put into limbo once, and what freed it is durable.
            unsafe { self.give_up_freed(freed, &guard) };
        }
        Ok(())
    }

    /// # Safety
    /// Unlinked, taken out of limbo, and what freed it is durable or never will be.
    unsafe fn give_up_freed(&self, freed: Freed, guard: &Guard) {
        match freed {
            // SAFETY: the caller.
            Freed::Extent(extent) => unsafe { self.ground.kill_after_grace(guard, extent) },
            // SAFETY: the caller.
            Freed::Block(block) => unsafe { self.ground.release_after_grace(guard, block) },
            Freed::Ended(block) => {
                if let Some(limbo) = &self.ground.limbo {
                    // Relaxed: a figure.
                    limbo.unflushed.fetch_sub(self.ground.arena.capacity(block) as i64, Relaxed);
                }
                // SAFETY: the caller.
                unsafe { self.ground.release_after_grace(guard, block) };
            }
        }
    }

    /// Whether so much of RAM is not on disk yet that the flusher should not wait for its time.
    fn is_pressed(&self, log: &Log, guard: &Guard) -> bool {
        // Relaxed: a figure.
        self.ground.limbo.as_ref().is_some_and(|limbo| limbo.unflushed.load(Relaxed) > log.most_unflushed)
            || log.waiting(guard) > MOST_WAITING
    }

    /// Takes note of blocks that were published and are not on disk.
    pub(crate) fn note_unflushed(&self, bytes: i64) {
        let (Some(log), Some(limbo)) = (&self.log, &self.ground.limbo) else { return };
        // Relaxed: a figure.
        let before = limbo.unflushed.fetch_add(bytes, Relaxed);
        if before <= log.most_unflushed && before + bytes > log.most_unflushed {
            log.nudge();
        }
    }

    /// All that was taken, in one frame: what was replaced within it may be gone (invariant 4).
    fn flush_taken(&self, log: &Log, flusher: &mut Flusher, local: &Local) -> Result<()> {
        let Flusher { journal: Some(journal), taken, batch, charged, .. } = flusher else {
            return Err(Error::Closed);
        };
        let slice = &taken[..];
        let needed = needed_chunks(slice);
        let mut trusted = false;
        for _ in 0..REWRITES {
            batch.restart(journal.next_seq());
            let mut extents = Vec::new();
            self.encode(slice, &needed, local, batch, &mut extents)?;
            let synced = self.ground.segments.sync();
            trusted = extents.iter().all(|extent| self.ground.segments.is_trusted(*extent));
            if trusted {
                break;
            }
            // What could not be synced is written elsewhere, once more.
            self.forget_untrusted(slice);
            if extents.is_empty() {
                synced?;
            }
        }
        if !trusted {
            return Err(Error::io("", "syncing a segment", std::io::ErrorKind::Other.into()));
        }
        self.charge_journal(journal.bytes() + batch.len_bytes() as u64, charged)?;
        journal.append(batch)?;
        self.charge_journal(journal.bytes(), charged)?;
        let last = slice.last().map_or(0, |taken| taken.record().place());
        // Release: pairs with the Acquire of who waits for a place.
        log.durable.store(last, Release);
        for taken in taken.drain(..) {
            self.let_go(log, taken, local);
        }
        Ok(())
    }

    /// Charges what journal and checkpoint take to the storage limit.
    fn charge_journal(&self, bytes: u64, charged: &mut u64) -> Result<()> {
        if bytes > *charged {
            self.ground.segments.charge_other(bytes - *charged)?;
        } else {
            self.ground.segments.refund_other(*charged - bytes);
        }
        *charged = bytes;
        Ok(())
    }

    /// A record is durable: it is taken out of its content word if it is still there.
    fn let_go(&self, log: &Log, taken: Taken, local: &Local) {
        let guard = local.pin();
        let record = taken.record();
        if let Some(ContentChange::Content { id, .. }) = ContentChange::of(record) {
            self.take_out(id, record, &guard);
        }
        log.order.release(taken, &guard);
    }

    /// Completes a record that its maker has left in the content word.
    fn take_out(&self, id: NodeId, record: &Record, guard: &Guard) {
        let node = self.index.held(id);
        if Word::from_bits(node.content.load(Acquire)).value() == Word::pending(record) {
            self.complete(node, record, guard);
        }
    }

    /// Encodes records as the journal's entries; the bytes they need go into segments, unless they are there.
    fn encode(
        &self,
        slice: &[Taken],
        needed: &[bool],
        local: &Local,
        batch: &mut Batch,
        extents: &mut Vec<ExtentRef>,
    ) -> Result<()> {
        let mut needed = needed.iter().copied();
        let mut chunks_on_disk = Vec::new();
        for taken in slice {
            let mut place = |id: NodeId, chunks: &mut dyn Iterator<Item = (u64, Word)>| {
                chunks_on_disk.clear();
                for (chunk, word) in chunks {
                    if needed.next().expect("one for each chunk")
                        && let Some(extent) = self.place(id, chunk, word, local)?
                    {
                        extents.push(extent);
                        chunks_on_disk.push((chunk, extent.bits()));
                    }
                }
                Ok::<_, Error>(())
            };
            match ContentChange::of(taken.record()) {
                Some(ContentChange::Content {
                    id, modified, len, reset, same, priority, mut chunks, ..
                }) => {
                    place(id, &mut chunks)?;
                    let id = id.get();
                    if !same {
                        let chunks = &chunks_on_disk;
                        batch.push(&Entry::Content { id, modified_ns: modified, len, reset, chunks });
                    }
                    if let Some(priority) = priority {
                        batch.push(&Entry::Priority { id, priority: priority.get() });
                    }
                }
                Some(ContentChange::Move { id, chunk, from, to }) => {
                    extents.extend(ExtentRef::try_from_bits(to));
                    batch.push(&Entry::Move { id: id.get(), chunk, from, to });
                }
                None => {
                    let change =
                        NameChange::of(taken.record()).expect("a record of the index or of the tier");
                    if let NameChange::Make { note, .. } = &change
                        && let Some((_, _, chunks)) = read_note(note)
                    {
                        let NameChange::Make { nodes, .. } =
                            NameChange::of(taken.record()).expect("as above")
                        else {
                            unreachable!("the same record")
                        };
                        let id = nodes.last().expect("a creation makes a node").0;
                        place(id, &mut chunks.into_iter())?;
                    }
                    push_names(batch, change, &chunks_on_disk);
                }
            }
            batch.end_operation();
        }
        Ok(())
    }

    /// The extent that has a chunk's bytes: the one it has, or one that they are written to now.
    fn place(&self, id: NodeId, chunk: u64, word: Word, local: &Local) -> Result<Option<ExtentRef>> {
        let block = match word.content() {
            Content::Disk(extent) => return Ok(Some(extent)),
            Content::Ram(block) => block,
            _ => return Ok(None),
        };
        let len = self.ground.arena.len(block);
        if let Some(extent) = self.ground.extent_of(block)
            && self.ground.segments.len(extent) == len
            && self.ground.segments.is_trusted(extent)
        {
            return Ok(Some(extent));
        }
        // SAFETY: the block is in its content word, or in limbo until the end of the flush (`log`, invariant 2); bytes below a
        // published length never change.
        let bytes = unsafe { self.ground.arena.bytes(block) };
        let extent = self.append_for_flush(local, bytes)?;
        let guard = local.pin();
        let is_current = || {
            let node = self.index.held(id);
            // The file may have ended since its record was taken, and the number may be another's by now: a directory has
            // no content word, and another file has not this block in it.
            if !node.is_file() {
                return false;
            }
            let content = self.word_of(node, &guard);
            let now = match content.content() {
                Content::Tree(_) => {
                    self.chunk_slot(&node.content, chunk, &guard).map(|slot| slot.load(Acquire))
                }
                _ if chunk == 0 => Some(content.bits()),
                _ => None,
            };
            now.is_some_and(|now| Word::from_bits(now).value() == word.value())
        };
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
                // Relaxed: a figure. Whoever replaces the block from now on finds it on disk.
                limbo.unflushed.fetch_sub(self.ground.arena.capacity(block) as i64, Relaxed);
            }
        }
        if !lent && let Some(limbo) = &self.ground.limbo {
            limbo.push_extent(extent);
        }
        Ok(Some(extent))
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

    /// Takes copies on disk that could not be synced from the blocks that have them.
    fn forget_untrusted(&self, slice: &[Taken]) {
        let forget = |word: Word| {
            if let Content::Ram(block) = word.content()
                && let Some(extent) = self.ground.extent_of(block)
                && !self.ground.segments.is_trusted(extent)
                && self
                    .ground
                    .arena
                    .header(block)
                    .extent
                    .compare_exchange(extent.bits(), 0, AcqRel, Relaxed)
                    .is_ok()
                && let Some(limbo) = &self.ground.limbo
            {
                limbo.push_extent(extent);
            }
        };
        for taken in slice {
            if let Some(ContentChange::Content { chunks, .. }) = ContentChange::of(taken.record()) {
                chunks.for_each(|(_, word)| forget(word));
            } else if let Some(NameChange::Make { note, .. }) = NameChange::of(taken.record())
                && let Some((_, _, chunks)) = read_note(&note)
            {
                chunks.into_iter().for_each(|(_, word)| forget(word));
            }
        }
    }

    /// Rewrites the namespace beside the old one, if it is time. Waits for the disk.
    fn checkpoint(&self, local: &Local) {
        let Some(log) = &self.log else { return };
        let memory_bytes = match &log.lock().journal {
            Some(journal) if journal.wants_checkpoint() => journal.checkpoint_memory_bytes(),
            _ => return,
        };
        // Put off where there is no room for it now.
        if !self.charge(local, memory_bytes, 0) {
            return;
        }
        let job = log.lock().journal.as_mut().and_then(|journal| {
            // A failure leaves the journal as it is, longer than it need be; it is tried again.
            journal.begin_checkpoint().ok().flatten()
        });
        if let Some(job) = job {
            self.run_checkpoint(log, job);
        }
        self.budget().refund(memory_bytes);
    }

    fn run_checkpoint(&self, log: &Log, job: CheckpointJob) {
        let done = job.run(&|| !self.is_closed());
        let mut flusher = log.lock();
        if let Flusher { journal: Some(journal), charged, .. } = &mut *flusher {
            let _ = journal.finish_checkpoint(done);
            let _ = self.charge_journal(journal.bytes(), charged);
        }
    }

    /// The flusher's life.
    pub(crate) fn keep_flushing(self: &std::sync::Arc<Self>) {
        let Some(log) = &self.log else { return };
        let local = self.local();
        while !self.is_closed() {
            let period = match log.durability {
                Durability::Periodic(period) => period,
                _ => Duration::from_secs(1),
            };
            let sleeping = log.sleeping.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if !log.nudged.swap(false, Relaxed) && !self.is_closed() {
                drop(log.wake.wait_timeout(sleeping, period));
            }
            if self.is_closed() {
                return;
            }
            if self.is_pressed(log, &local.pin()) || matches!(log.durability, Durability::Periodic(_)) {
                // A failure is told to who calls `sync`; it is tried again in time.
                let _ = self.flush(&local);
            }
            self.checkpoint(&local);
        }
    }

    /// The last flush, and the mark of a clean end. After this nothing is written any more.
    pub(crate) fn finish_log(&self, local: &Local) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let mut flusher = log.lock();
        let flushed = self.flush_all(log, &mut flusher, local);
        let closed = match (flushed, flusher.journal.take()) {
            (Ok(()), Some(journal)) => journal.close(),
            (flushed, _) => flushed,
        };
        // What could not be written is lost; its memory is not.
        for taken in std::mem::take(&mut flusher.taken) {
            self.let_go(log, taken, local);
        }
        if let Some(limbo) = &self.ground.limbo {
            limbo.take(&mut flusher.dead);
        }
        let guard = local.pin();
        for freed in flusher.dead.drain(..).filter(|freed| !matches!(freed, Freed::Extent(_))) {
            // SAFETY: unlinked; nothing will be flushed any more.
            unsafe { self.give_up_freed(freed, &guard) };
        }
        closed
    }
}

impl Flusher {
    fn settle(&mut self) -> Result<()> {
        self.journal.as_mut().map_or(Ok(()), Journal::settle)
    }
}

/// For each chunk named in the records, in order: whether its bytes are to be on disk when the batch is (invariant 4).
fn needed_chunks(slice: &[Taken]) -> Vec<bool> {
    let mut later: HashMap<NodeId, Later, ahash::RandomState> = HashMap::default();
    // From the last to the first.
    let mut needed = Vec::new();
    for taken in slice.iter().rev() {
        match ContentChange::of(taken.record()) {
            Some(ContentChange::Content { id, reset, same, chunks, .. }) => {
                let chunks: Vec<(u64, Word)> = chunks.collect();
                let later = later.entry(id).or_default();
                for (chunk, _) in chunks.iter().rev() {
                    needed.push(later.needs(*chunk));
                }
                if !same {
                    chunks.iter().for_each(|(chunk, _)| later.changes(*chunk));
                    later.all |= reset;
                }
            }
            Some(ContentChange::Move { .. }) => {}
            None => match NameChange::of(taken.record()) {
                Some(NameChange::Make { note, nodes, .. }) => {
                    let id = nodes.last().map_or(NodeId::NONE, |(id, _)| id);
                    let later = later.remove(&id).unwrap_or_default();
                    if let Some((_, _, chunks)) = read_note(&note) {
                        needed.extend(chunks.iter().rev().map(|(chunk, _)| later.needs(*chunk)));
                    }
                }
                Some(NameChange::Rename { replaced: Some(id), .. } | NameChange::Remove { id }) => {
                    later.insert(id, Later { all: true, ..Later::default() });
                }
                _ => {}
            },
        }
    }
    needed.reverse();
    needed
}

fn push_names(batch: &mut Batch, change: NameChange<'_>, chunks: &[(u64, u64)]) {
    match change {
        NameChange::Make { parent, kind, created, modified, note, nodes } => {
            let content = read_note(&note);
            let mut parent = parent.get();
            let nodes: Vec<_> = nodes.collect();
            for (number, (id, name)) in nodes.iter().enumerate() {
                let last = number + 1 == nodes.len();
                let is_file = last && kind == Kind::File;
                let priority =
                    content.as_ref().filter(|_| is_file).map_or(5, |(priority, ..)| priority.get());
                let kind = if is_file { journal::Kind::File } else { journal::Kind::Directory };
                let id = id.get();
                let (created_ns, modified_ns) = (created, modified);
                batch.push(&Entry::Make { id, parent, kind, name, created_ns, modified_ns, priority });
                if let (true, Some((_, len, _))) = (is_file, &content)
                    && *len > 0
                {
                    batch.push(&Entry::Content { id, modified_ns, len: *len, reset: true, chunks });
                }
                parent = id;
            }
        }
        NameChange::Rename { id, parent, name, replaced } => batch.push(&Entry::Rename {
            id: id.get(),
            parent: parent.get(),
            name,
            replaced: replaced.map(NodeId::get),
        }),
        NameChange::Remove { id } => batch.push(&Entry::Remove { id: id.get() }),
    }
}
