//! Making durable what the order of changes holds: bytes into segments, then one frame into the journal, then what was freed
//! is free.
//!
//! # Invariants
//! 1. One thread flushes at a time, behind a lock that only those take who wait for the disk anyway.
//! 2. A frame is written after all bytes that it refers to were synced, and is itself synced before the next is begun, so what
//!    is on disk is a prefix of the order. A small batch that somebody waits for goes into the journal's front, with those bytes
//!    beside it; they are synced in their places before the journal takes over what is in the front.
//! 3. An extent is killed only when the change that freed it is durable: limbo is emptied first, then every change without a place
//!    is given one (`loose`), then the batch is cut.
//! 4. Blocks are held, to be read, only while limbo knows that a flush has begun. Whoever has to read them again begins anew, takes
//!    what came into the order meanwhile, and does not need what that has replaced.
//! 5. After a failure everything stays as it was, to be tried again: records, limbo.

use super::{
    core::Core,
    encode::{Digest, Encoded, Placed},
    lead::Led,
    limbo::{Freed, Limbo},
    local::Local,
    log::ContentChange,
    loose::Looseness,
    word::Word,
};
use crate::{
    config::Durability,
    epoch::Guard,
    error::{Error, Result},
    failpoint::pass,
    index::NodeId,
    journal::{CheckpointJob, Journal},
    order::{Consumer, Order, Record, Taken},
    segment::ExtentRef,
    sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering::*},
};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

/// About what a change takes in RAM while it waits.
const RECORD_BYTES: u64 = 192;
/// Rounds of compaction after a flush, at most.
const COMPACTIONS: usize = 2;
/// Records that are let go under one guard.
const LET_GO_AT_ONCE: usize = 256;
/// Bytes of contents that a batch for the journal's front has at most.
const MOST_REDO_BYTES: usize = 512 << 10;
/// What the front takes at most, and as a share of the limit.
const MOST_FRONT_BYTES: u64 = 4 << 20;
const FRONT_SHARE: u64 = 16;

/// What a flush is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// Somebody waits: a small batch may go into the journal's front.
    Soon,
    /// All goes into the journal.
    Plain,
    /// Also what is in the front, if there is nothing new.
    Settled,
}

/// What a store that is to survive keeps beside the others' state.
pub(crate) struct Log {
    pub(crate) order: Arc<Order>,
    durability: Durability,
    /// All changes up to this place are durable.
    pub(super) durable: AtomicU64,
    /// Something that was found is not known to be durable yet, or not in the journal.
    pub(super) unsettled: AtomicBool,
    pub(super) most_front_bytes: u64,
    /// Beyond these bytes the flusher is woken, and beyond these operations, a power of two.
    most_unflushed: i64,
    most_waiting: u64,
    flusher: Mutex<Flusher>,
    /// Whose turn to flush it is: the address of the thread's local, or 0.
    turn: AtomicUsize,
    pub(super) led: Led,
    pub(super) looseness: Looseness,
    /// Whether the flusher's thread has something to do before its time.
    nudged: AtomicBool,
    /// Whether there may be changes to let go of.
    crowded: AtomicBool,
    sleeping: Mutex<()>,
    wake: Condvar,
    opened: Instant,
    /// Milliseconds from `opened` to the last flush.
    flushed_at: AtomicU64,
}

/// One thread's turn to flush.
pub(super) struct Turn<'l> {
    pub(super) flusher: MutexGuard<'l, Flusher>,
    turn: &'l AtomicUsize,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // The lock is given back after this.
        self.turn.store(0, Relaxed);
    }
}

/// Who writes.
pub(super) struct Flusher {
    pub(super) consumer: Option<Consumer>,
    pub(super) journal: Option<Journal>,
    /// Taken from the order and not durable yet.
    pub(super) taken: Vec<Taken>,
    /// Files whose content may be loose, of records that were taken.
    pub(super) loose: HashSet<NodeId, foldhash::fast::RandomState>,
    /// They were, or may have been, written to disk in part: they keep their numbers.
    pub(super) tried: bool,
    /// Where their bytes are.
    pub(super) placed: Placed,
    /// Freed by changes that are in the order.
    pub(super) dead: Vec<Freed>,
    pub(super) encoded: Encoded,
    /// Extents that what is in the journal's front has named and not freed: not known to be synced.
    pub(super) ahead: HashSet<ExtentRef, foldhash::fast::RandomState>,
    /// Bytes of journal and checkpoint that are charged to the storage limit.
    pub(super) charged: u64,
}

impl Log {
    pub(crate) fn new(
        (order, consumer): (Order, Consumer),
        journal: Journal,
        durability: Durability,
        limit_bytes: u64,
    ) -> Self {
        let encoded = Encoded::new(journal.next_seq(), MOST_REDO_BYTES);
        let unsettled = AtomicBool::new(journal.is_unsettled());
        let flusher = Flusher {
            consumer: Some(consumer),
            journal: Some(journal),
            taken: Vec::new(),
            loose: HashSet::default(),
            tried: false,
            placed: Placed::default(),
            dead: Vec::new(),
            encoded,
            ahead: HashSet::default(),
            charged: 0,
        };
        Self {
            order: Arc::new(order),
            durability,
            durable: AtomicU64::new(0),
            unsettled,
            most_front_bytes: MOST_FRONT_BYTES.min(limit_bytes / FRONT_SHARE),
            most_unflushed: (limit_bytes / 8) as i64,
            most_waiting: (limit_bytes / 16 / RECORD_BYTES).next_power_of_two().clamp(1 << 10, 1 << 20),
            flusher: Mutex::new(flusher),
            turn: AtomicUsize::new(0),
            led: Led::new(),
            looseness: Looseness::new(durability),
            nudged: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
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

    /// The same for who flushes, and may come to need memory meanwhile: see `is_flushing`.
    pub(super) fn lock_to_flush(&self, local: &Local) -> Turn<'_> {
        let flusher = self.lock();
        // Relaxed: of account to this thread alone.
        self.turn.store(std::ptr::from_ref(local).addr(), Relaxed);
        Turn { flusher, turn: &self.turn }
    }

    /// Whether the calling thread is flushing: what it does then must not begin to flush, for it would wait for itself.
    pub(crate) fn is_flushing(&self, local: &Local) -> bool {
        self.turn.load(Relaxed) == std::ptr::from_ref(local).addr()
    }

    /// Lets nobody flush before the guard is dropped.
    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub(crate) fn at_rest(&self) -> impl Sized + '_ {
        self.lock()
    }

    /// Now and then, as places are taken, looks to it that not too many wait.
    pub(crate) fn appended(&self, place: u64) {
        if place & (self.most_waiting - 1) == 0 {
            self.nudge();
        } else if self.is_crowded_at(place) && !self.is_waited_for() {
            self.crowded.store(true, Relaxed);
            self.wake.notify_one();
        }
    }

    /// Whether each operation waits until it is durable.
    fn is_waited_for(&self) -> bool {
        self.durability == Durability::Sync
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
        self.waiting(guard) > 0 || self.looseness.has_any()
    }

    pub(super) fn waiting(&self, guard: &Guard) -> u64 {
        // Acquire: pairs with the Release in `committed`; what is loose by changes that are durable is known by then.
        self.order.last_place(guard).saturating_sub(self.durable.load(Acquire))
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

impl Core {
    /// Makes durable what was found when the store was opened, if it may not be.
    pub(super) fn settle(&self, local: &Local) -> Result<()> {
        if self.is_unsettled() { self.flush_for(local, Aim::Settled) } else { Ok(()) }
    }

    /// Whether what was found when the store was opened may not be durable.
    pub(super) fn is_unsettled(&self) -> bool {
        // Relaxed: set before the store is anybody's, and cleared when what was found is durable.
        self.log.as_ref().is_some_and(|log| log.unsettled.load(Relaxed))
    }

    /// Leaves the journal as it is from here on, whatever comes: the store could not be opened.
    pub(super) fn forsake_journal(&self) {
        if let Some(log) = &self.log {
            log.lock().journal = None;
        }
    }

    /// What the journal's front had when the store was opened names this extent, whose bytes were put back.
    pub(super) fn note_put_back(&self, extent: ExtentRef) {
        if let Some(log) = &self.log {
            log.lock().ahead.insert(extent);
        }
    }

    /// What an operation does before it is acknowledged. Waits for the disk under `Durability::Sync`; without a flusher's thread
    /// also when the period is over.
    #[inline]
    pub(crate) fn acknowledge(&self, local: &Local) -> Result<()> {
        self.log.as_ref().map_or(Ok(()), |log| self.acknowledge_in(log, local))
    }

    fn acknowledge_in(&self, log: &Log, local: &Local) -> Result<()> {
        if self.is_closed() {
            self.firm_up(local);
            // Acquire: pairs with the Release in `commit`.
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
        self.flush_for(local, Aim::Plain)
    }

    pub(super) fn flush_for(&self, local: &Local, aim: Aim) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let mut turn = log.lock_to_flush(local);
        let flushed = self.flush_all(log, &mut turn.flusher, aim, local);
        if flushed.is_ok() {
            self.keep_proportion(log, &mut turn.flusher, local);
        }
        log.flushed_at.store(log.millis(), Relaxed);
        drop(turn);
        if flushed.is_ok() && self.config.worker_threads == 0 {
            self.checkpoint(local);
        }
        flushed
    }

    fn flush_all(&self, log: &Log, flusher: &mut Flusher, aim: Aim, local: &Local) -> Result<()> {
        let Some(limbo) = &self.ground.limbo else { return Ok(()) };
        // Limbo first: what is in it was freed by changes that are in the order before the batch is cut (invariant 3).
        limbo.take_dead(&mut flusher.dead);
        // Once closed nothing is written any more: who waits for what the last flush could not write is told so.
        self.write_batch(log, flusher, aim, local)?;
        pass("flush: committed, nothing freed");
        let guard = local.pin();
        for freed in flusher.dead.drain(..) {
            if let Freed::Extent(extent) = freed {
                flusher.ahead.remove(&extent);
            }
            // SAFETY: unlinked, put into limbo once, and what freed it is durable.
            unsafe { self.give_up_freed(local, freed, &guard) };
        }
        // This thread may not come by again.
        guard.flush();
        Ok(())
    }

    /// Empties segments while the store takes too much disk for what lives in it. Here, where most of it is written, so that
    /// no churn outruns it.
    fn keep_proportion(&self, log: &Log, flusher: &mut Flusher, local: &Local) {
        for _ in 0..COMPACTIONS {
            if !self.ground.segments.give_back_surplus() {
                return;
            }
            // Some of what seems to live may only wait for its end.
            self.collect(local);
            if !self.tidy(log, flusher, local) {
                return;
            }
        }
        self.collect(local);
    }

    /// Empties sparse segments, if there are any, and makes the moves durable, for then what was moved is free; whether it did.
    /// A failure is met again by the next flush.
    fn tidy(&self, log: &Log, flusher: &mut Flusher, local: &Local) -> bool {
        let Some(sparse) = self.ground.segments.sparse() else { return false };
        self.compact(local, &sparse).is_ok() && self.flush_all(log, flusher, Aim::Plain, local).is_ok()
    }

    /// The same with no flush due: segments may have come to be empty since the last one, when a reader let go of what it looked at.
    fn tidy_up(&self, log: &Log, local: &Local) {
        let mut turn = log.lock_to_flush(local);
        self.tidy(log, &mut turn.flusher, local);
        self.keep_proportion(log, &mut turn.flusher, local);
    }

    /// # Safety
    /// Unlinked, taken out of limbo, and what freed it is durable or never will be.
    unsafe fn give_up_freed(&self, local: &Local, freed: Freed, guard: &Guard) {
        match freed {
            // SAFETY: the caller.
            Freed::Extent(extent) => unsafe { self.ground.kill_after_grace(guard, extent) },
            // SAFETY: the caller.
            Freed::Block(block) => unsafe { self.ground.release_after_grace(local, guard, block) },
        }
    }

    /// Whether so much of RAM is not on disk yet that the flusher should not wait for its time.
    fn is_pressed(&self, log: &Log, guard: &Guard) -> bool {
        self.ground.limbo.as_ref().is_some_and(|limbo| limbo.unflushed() > log.most_unflushed)
            || log.waiting(guard) > log.most_waiting
    }

    /// Takes note of blocks that were published and are not on disk.
    pub(crate) fn note_unflushed(&self, local: &Local, bytes: i64) {
        let (Some(log), Some(limbo)) = (&self.log, &self.ground.limbo) else { return };
        let before = limbo.note_unflushed(local, bytes);
        let share = Limbo::share(log.most_unflushed);
        let passes = before.div_euclid(share) < (before + bytes).div_euclid(share);
        if passes && limbo.unflushed() > log.most_unflushed {
            log.nudge();
        }
    }

    /// Takes what is in the order, and encodes all that is taken; the bytes go into segments (invariant 4).
    pub(super) fn encode_batch(&self, log: &Log, flusher: &mut Flusher, local: &Local) -> Result<Digest> {
        let Some(limbo) = &self.ground.limbo else { return Err(Error::Closed) };
        let firm = self.firm_up_all(log, flusher, local);
        let reading = limbo.begin();
        flusher.take(log, local);
        drop(firm);
        let Flusher { journal: Some(journal), taken, placed, encoded, .. } = flusher else {
            return Err(Error::Closed);
        };
        let digest = Digest::of(taken, self.config.chunk_bytes as u64);
        let held = self.hold_needed(taken, &digest, placed, local);
        // What is replaced from now on is not kept, and comes back while it is still in the caches of who writes.
        drop(reading);
        self.free_replaced(limbo, local);
        encoded.batch.restart(journal.next_seq());
        encoded.redo.restart();
        self.encode(taken, &digest, held, placed, local, encoded).map(|()| digest)
    }

    /// Frees blocks that a flush might have wanted to read; it has.
    fn free_replaced(&self, limbo: &Limbo, local: &Local) {
        let guard = local.pin();
        // SAFETY: unlinked, put into limbo once; no flush needs what was replaced before it begins (`limbo`, invariant 2).
        limbo.take_replaced(|block| unsafe { self.ground.release_after_grace(local, &guard, block) });
    }

    /// Records are durable, or never will be: each is taken out of its content word, unless it is known to have left it.
    pub(super) fn let_go(
        &self,
        log: &Log,
        taken: Vec<Taken>,
        has_left: impl Fn(usize) -> bool,
        local: &Local,
    ) {
        let mut taken = taken.into_iter().enumerate();
        while taken.len() > 0 {
            let guard = local.pin();
            let some = taken.by_ref().take(LET_GO_AT_ONCE).map(|(number, taken)| {
                if !has_left(number)
                    && let Some(ContentChange::Content { id, .. }) = ContentChange::of(taken.record())
                {
                    self.take_out(id, taken.record(), &guard);
                }
                taken
            });
            log.order.release(some, &guard);
            guard.flush();
        }
    }

    /// Completes a record that its maker has left in the content word.
    fn take_out(&self, id: NodeId, record: &Record, guard: &Guard) {
        let node = self.index.held(id);
        if Word::from_bits(node.content.load(Acquire)).value() == Word::pending(record) {
            self.complete(node, record, guard);
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
            let since = Instant::now();
            while !self.sleep(log, since) {
                self.condense(&local);
            }
            if self.is_closed() {
                return;
            }
            if self.is_pressed(log, &local.pin()) || matches!(log.durability, Durability::Periodic(_)) {
                // A failure is told to who calls `sync`; it is tried again in time.
                let _ = self.flush(&local);
            }
            self.tidy_up(log, &local);
            self.checkpoint(&local);
        }
    }

    /// Lets the flusher's thread wait, in its period that began at `since`; whether it is time to flush, or to end.
    fn sleep(&self, log: &Log, since: Instant) -> bool {
        let period = match log.durability {
            Durability::Periodic(period) => period,
            _ => Duration::from_secs(1),
        };
        let sleeping = log.sleeping.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let is_due = || log.nudged.swap(false, Relaxed) || self.is_closed();
        let left = period.saturating_sub(since.elapsed());
        if is_due() || left.is_zero() {
            return true;
        }
        if log.crowded.swap(false, Relaxed) {
            return false;
        }
        let waited = log.wake.wait_timeout(sleeping, left);
        let (_sleeping, waited) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        log.crowded.store(false, Relaxed);
        waited.timed_out() || is_due()
    }

    /// The last flush, and the mark of a clean end. After this nothing is written any more.
    pub(crate) fn finish_log(&self, local: &Local) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let mut turn = log.lock_to_flush(local);
        let flusher = &mut *turn.flusher;
        let flushed = self.flush_all(log, flusher, Aim::Settled, local);
        pass("close: flushed, not marked");
        let closed = match (flushed, flusher.journal.take()) {
            (Ok(()), Some(journal)) => journal.close(),
            (flushed, _) => flushed,
        };
        // What could not be written is lost; its memory is not.
        self.let_go(log, std::mem::take(&mut flusher.taken), |_| false, local);
        if let Some(limbo) = &self.ground.limbo {
            limbo.take_dead(&mut flusher.dead);
            self.free_replaced(limbo, local);
        }
        let guard = local.pin();
        for freed in flusher.dead.drain(..).filter(|freed| matches!(freed, Freed::Block(_))) {
            // SAFETY: unlinked; nothing will be flushed any more.
            unsafe { self.give_up_freed(local, freed, &guard) };
        }
        closed
    }
}

impl Flusher {
    /// Whether something of before is not in the journal, or not known to be durable.
    pub(super) fn has_to_settle(&self) -> bool {
        self.journal.as_ref().is_some_and(Journal::is_unsettled)
    }
}
