//! Changes without a record of their own. Of all contents that a file has between two flushes only the last is written, so a
//! whole content that replaces another of the same batch needs none: the record that the file has in the queue tells the flusher
//! to look at the file, and the file says what it came to.
//!
//! ```text
//!  firm ──change with a record──► loose ──change without one──► bare ──again──► bare
//!    ▲                              │                             │
//!    └────────── the flusher, before it cuts its batch ───────────┘ with a record of what is there
//! ```
//! *Loose*: a record that gave this content is in the queue, or was taken, since words were last made firm. *Bare*: the content
//! came without one.
//!
//! # Invariants
//! 1. A word is made loose with its record's effect, by who found *after* the record had its place that words may be loose. The
//!    flusher forbids it *before* it looks what is in the queue (fences, both). So it finds the record, or the word stays firm.
//! 2. What is loose is, or was when it was made so, named by a record in the queue or by `Flusher::loose`.
//! 3. The flusher makes all of them firm, what is bare by a record of it, and cuts its batch before it allows the next. So every
//!    change that was before the cut has a record before the cut, or was replaced by one that has; and what a batch says is a state
//!    that the store was in, with all before it.
//! 4. Only a change that gives the whole content replaces a bare one: any other says what becomes of a content that the order
//!    would not know. Who has one gives it a record first.
//! 5. A block of a loose or bare content is as any other: without a copy on disk it stays where it is. One that has a copy is
//!    known to the order, for the copy was made by its record.
//! 6. A record that makes a content loose is charged for another beside itself (`Order::record_and_spare`): what gives a bare content its
//!    record allocates nothing from the arena and cannot fail. Else memory would be needed where often only a flush can free some, and
//!    a batch could not be cut, nor a store closed. (A thread that is late may make a word loose when its record has been let go: one
//!    spare a thread is not paid for then.)

use super::{
    core::{Core, Spot, exchange},
    flush::{Flusher, Log},
    local::Local,
    log::ContentChange,
};
use crate::{
    config::Durability,
    epoch::Guard,
    index::NodeId,
    order::Record,
    sync::{AtomicBool, Ordering::*, fence},
};

/// Whether words may be loose.
pub(super) struct Looseness {
    /// Ever: where nobody waits for each change.
    ever: bool,
    /// No more: the store is being closed.
    ended: AtomicBool,
    now: AtomicBool,
    /// Whether some may be whose record is durable.
    any: AtomicBool,
}

/// While it lives no word is made loose.
pub(super) struct Firm<'l>(&'l Looseness);

impl Drop for Firm<'_> {
    fn drop(&mut self) {
        let Looseness { ever, ended, now, .. } = self.0;
        // Release: pairs with the Acquire of `is_allowed`; who makes a word loose from now on does so after the cut. Relaxed:
        // stored by who flushes, as this is.
        now.store(*ever && !ended.load(Relaxed), Release);
    }
}

impl Looseness {
    pub(super) fn new(durability: Durability) -> Self {
        let ever = durability != Durability::Sync;
        let (ended, any) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { ever, ended, now: AtomicBool::new(ever), any }
    }

    /// Whether words are loose in this store at all.
    pub(super) fn is_ever(&self) -> bool {
        self.ever
    }

    /// Whether the word of a change that has its place may be loose (invariant 1).
    pub(super) fn is_allowed(&self) -> bool {
        self.ever && {
            // SeqCst: with the one of `forbid`.
            fence(SeqCst);
            self.now.load(Acquire)
        }
    }

    fn forbid(&self) -> Firm<'_> {
        // Relaxed: the fence orders it before the look into the queue.
        self.now.store(false, Relaxed);
        fence(SeqCst);
        Firm(self)
    }

    /// Whether something may be bare that no record waits for.
    pub(super) fn has_any(&self) -> bool {
        // Acquire: with the Release in `take`. Who reads there that nothing is bare any more has the flusher's records of what was in
        // sight, and so their places.
        self.any.load(Acquire)
    }
}

impl Flusher {
    /// Takes what is in the order, noting whose words it may have made loose. Nothing after the last flush: nobody would let go
    /// of it.
    pub(super) fn take(&mut self, log: &Log, local: &Local) {
        let (Some(consumer), Some(_)) = (&mut self.consumer, &self.journal) else { return };
        let before = self.taken.len();
        log.order.take(consumer, &mut self.taken, || local.pin());
        if !log.looseness.ever {
            return;
        }
        self.loose.extend(self.taken[before..].iter().filter_map(|taken| loosened_by(taken.record())));
        // Release: see `has_any`.
        log.looseness.any.store(!self.loose.is_empty(), Release);
    }
}

fn loosened_by(record: &Record) -> Option<NodeId> {
    match ContentChange::of(record)? {
        ContentChange::Content { id, loosens, .. } => loosens.then_some(id),
        ContentChange::Move { .. } => None,
    }
}

impl Core {
    /// Gives every change that was made before this a place in the order.
    pub(super) fn firm_up(&self, local: &Local) {
        let Some(log) = &self.log else { return };
        if log.looseness.ever && log.has_unflushed(&local.pin()) {
            drop(self.firm_up_all(log, &mut log.lock_to_flush(local).flusher, local));
        }
    }

    /// The same for a store that is being closed: from then on every change has a record.
    pub(super) fn firm_up_for_good(&self, local: &Local) {
        let Some(log) = &self.log else { return };
        let mut turn = log.lock_to_flush(local);
        log.looseness.ended.store(true, Relaxed);
        drop(self.firm_up_all(log, &mut turn.flusher, local));
    }

    /// The same for who flushes, and takes what is in the order before he drops the answer.
    pub(super) fn firm_up_all<'l>(&self, log: &'l Log, flusher: &mut Flusher, local: &Local) -> Firm<'l> {
        let firm = log.looseness.forbid();
        if log.looseness.ever {
            flusher.take(log, local);
        }
        // In the order of their nodes: as they lie in memory, and the same in every run of a model.
        let mut ids: Vec<NodeId> = flusher.loose.iter().copied().collect();
        ids.sort_unstable();
        ids.into_iter().for_each(|id| self.firm_up_one(log, local, id));
        flusher.loose.clear();
        firm
    }

    fn firm_up_one(&self, log: &Log, local: &Local, id: NodeId) {
        // One guard for all of it: the number of a file that has ended is not another's before it is dropped.
        let guard = local.pin();
        let node = self.index.held(id);
        // As in `content_at`.
        if !node.is_file() {
            return;
        }
        loop {
            let word = self.word_of(node, &guard);
            if word.is_bare() {
                self.give_record(log, local, &Spot::held(id, node), &guard);
            } else if !word.is_loose() || exchange(&node.content, word, word.value().in_place_of(word)) {
                return;
            }
        }
    }

    /// The same for one file, by who is to change a part of what it has.
    pub(super) fn give_bare_record(&self, local: &Local, spot: &Spot<'_>, guard: &Guard) {
        if let Some(log) = &self.log {
            self.give_record(log, local, spot, guard);
        }
    }

    /// Gives a content, if it is bare, a record (invariants 4 and 6).
    fn give_record(&self, log: &Log, local: &Local, spot: &Spot<'_>, guard: &Guard) {
        loop {
            let word = spot.word(self, guard);
            let Some(len) = self.ground.len_of(word, guard).filter(|_| word.is_bare()) else { return };
            let mut preparation = self.prepare_spare(log, local, word);
            if self.swing(guard, spot, (word, word.value()), len, &mut preparation) {
                return;
            }
        }
    }
}
