//! The descriptor of an operation on several words: what is to change, how far it has come, who is still at it.
//!
//! A word that holds a descriptor reads as `expected` until the status says SUCCEEDED, as `new` from then on.
//!
//! # Invariants
//! 1. Only `status` and `helpers` change. Status changes once, from UNDECIDED.
//! 2. A thread touches the words of a descriptor only between `enter` and `leave`, and takes the descriptor out of all of
//!    them before it leaves. `enter` fails once everyone has left: then no word holds the descriptor, nor will.
//! 3. Until the last one leaves, the descriptor holds the dentries and the body whose words it names.

use super::{
    children::Body,
    dentry::{Dentry, DentryRef},
    error::Result,
    memory::Memory,
    word::{self, Target},
};
use crate::{
    arena::Magazine,
    epoch::Guard,
    order::Record,
    sync::{AtomicU32, AtomicU64, Ordering},
};
use std::{mem::offset_of, ptr::NonNull};

/// How it ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Status {
    Undecided = 0,
    Succeeded = 1,
    /// A word was not as expected, or a directory scan needed this out of the way.
    Disturbed = 2,
    /// The directory to be closed has an entry.
    NotEmpty = 3,
    /// It will succeed, whatever comes, but it has no place in the order of changes yet; reads as before.
    Won = 4,
}

/// One word's part.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) word: *const AtomicU64,
    pub(super) expected: u64,
    pub(super) new: u64,
}

/// What an operation does, in terms of names; shared by all its helpers.
pub(super) struct Plan<'g> {
    /// The dentry that dies; `None` to create.
    pub(super) source: Option<DentryRef<'g>>,
    /// What it stands for.
    pub(super) moved: Target,
    /// The dentry that takes over, and what it stands for before; `None` to remove.
    pub(super) destination: Option<(DentryRef<'g>, Option<Target>)>,
    /// The body of the directory that ends by this: the one removed or replaced.
    pub(super) closing: Option<&'g Body>,
    /// The `moves` word and its value, if a directory moves.
    pub(super) moves: Option<(&'g AtomicU64, u64)>,
    /// What the order of changes is told, in a store that is to survive.
    pub(super) record: Option<&'g Record>,
}

#[repr(C, align(16))]
pub(super) struct Descriptor {
    status: AtomicU32,
    helpers: AtomicU32,
    moved: Target,
    replaced: Option<Target>,
    /// Null in a creation.
    source: *const Dentry,
    /// Null in a removal.
    destination: *const Dentry,
    /// Null where no directory ends.
    closing: *const Body,
    /// Null where no directory moves.
    moves: *const AtomicU64,
    moves_before: u64,
    /// Null where no order is kept. Held until the last helper has left.
    record: *const Record,
}

impl Descriptor {
    /// Makes a descriptor with its maker inside; `None` if a dentry or body has gone meanwhile. The plan's record is its, or
    /// is no more.
    pub(super) fn new<'g>(
        plan: &Plan<'g>,
        memory: &Memory,
        magazine: &Magazine,
        guard: &'g Guard,
    ) -> Result<Option<&'g Descriptor>> {
        let ptr = match memory.alloc(magazine, size_of::<Descriptor>()) {
            Ok(ptr) => ptr.cast::<Descriptor>(),
            Err(error) => {
                plan.drop_record(memory, guard);
                return Err(error);
            }
        };
        // SAFETY: fresh memory of this size.
        let this = unsafe {
            ptr.as_ptr().write(Self::of(plan));
            ptr.as_ref()
        };
        if plan.hold_all(memory, guard) {
            return Ok(Some(this));
        }
        // SAFETY: never published.
        unsafe { memory.free(ptr.cast(), size_of::<Descriptor>()) };
        plan.drop_record(memory, guard);
        Ok(None)
    }

    fn of(plan: &Plan<'_>) -> Self {
        let (moves, moves_before) =
            plan.moves.map_or((std::ptr::null(), 0), |(word, value)| (&raw const *word, value));
        Self {
            status: AtomicU32::new(Status::Undecided as u32),
            helpers: AtomicU32::new(1),
            moved: plan.moved,
            replaced: plan.destination.and_then(|(_, replaced)| replaced),
            source: plan.source.map_or(std::ptr::null(), DentryRef::as_ptr),
            destination: plan.destination.map_or(std::ptr::null(), |(dentry, _)| dentry.as_ptr()),
            closing: plan.closing.map_or(std::ptr::null(), std::ptr::from_ref),
            moves,
            moves_before,
            record: plan.record.map_or(std::ptr::null(), std::ptr::from_ref),
        }
    }

    /// The words, in the order of their addresses, in which they are taken: so that no two operations wait for each other.
    /// For those inside.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + use<> {
        let word = |word: &AtomicU64| &raw const *word;
        let mut entries = [
            self.source().map(|dentry| self.source_entry(word(&dentry.word))),
            self.destination().map(|dentry| self.destination_entry(word(&dentry.word))),
            self.closing().map(|body| self.closing_entry(word(&body.state))),
            (!self.moves.is_null()).then(|| self.moves_entry()),
        ];
        entries.sort_unstable_by_key(|entry| entry.map(|entry| entry.word.addr()));
        entries.into_iter().flatten()
    }

    fn source_entry(&self, word: *const AtomicU64) -> Entry {
        Entry { word, expected: word::bound(self.moved), new: word::DEAD }
    }

    fn destination_entry(&self, word: *const AtomicU64) -> Entry {
        let expected = self.replaced.map_or(word::NONE, word::bound);
        Entry { word, expected, new: word::bound(self.moved) }
    }

    fn closing_entry(&self, word: *const AtomicU64) -> Entry {
        Entry { word, expected: word::OPEN, new: word::CLOSED }
    }

    fn moves_entry(&self) -> Entry {
        Entry { word: self.moves, expected: self.moves_before, new: word::next_move(self.moves_before) }
    }

    pub(super) fn moved(&self) -> Target {
        self.moved
    }

    pub(super) fn replaced(&self) -> Option<Target> {
        self.replaced
    }

    /// For those inside.
    pub(super) fn source(&self) -> Option<DentryRef<'_>> {
        // SAFETY: held until the last one leaves (invariant 3).
        (!self.source.is_null())
            .then(|| unsafe { DentryRef::from_address(self.source.expose_provenance() as u64) })
    }

    /// What is to be told to the order. For those inside, and those who met the descriptor under a guard.
    pub(super) fn record(&self) -> Option<&Record> {
        // SAFETY: held until the last one leaves; then given up through the epoch.
        unsafe { self.record.as_ref() }
    }

    /// For those inside.
    pub(super) fn destination(&self) -> Option<DentryRef<'_>> {
        // SAFETY: as above.
        (!self.destination.is_null())
            .then(|| unsafe { DentryRef::from_address(self.destination.expose_provenance() as u64) })
    }

    /// For those inside.
    pub(super) fn closing(&self) -> Option<&Body> {
        // SAFETY: as above.
        unsafe { self.closing.as_ref() }
    }

    pub(super) fn status(&self) -> Status {
        #[cfg(memfs_loom)]
        crate::model::touch(std::ptr::from_ref(self).addr());
        match self.status.load(Ordering::SeqCst) {
            0 => Status::Undecided,
            1 => Status::Succeeded,
            2 => Status::Disturbed,
            4 => Status::Won,
            other => {
                debug_assert_eq!(other, Status::NotEmpty as u32);
                Status::NotEmpty
            }
        }
    }

    /// Decides, if nobody has.
    pub(super) fn decide(&self, status: Status) {
        debug_assert_ne!(status, Status::Undecided);
        let undecided = Status::Undecided as u32;
        let _ = self.status.compare_exchange(undecided, status as u32, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// From won to succeeded: the instant at which it takes effect, where an order is kept.
    pub(super) fn succeed(&self) {
        let (won, succeeded) = (Status::Won as u32, Status::Succeeded as u32);
        let _ = self.status.compare_exchange(won, succeeded, Ordering::SeqCst, Ordering::SeqCst);
    }

    pub(super) fn enter(&self) -> bool {
        #[cfg(memfs_loom)]
        crate::model::touch(std::ptr::from_ref(self).addr());
        let mut helpers = self.helpers.load(Ordering::SeqCst);
        while helpers != 0 {
            match self.helpers.compare_exchange(helpers, helpers + 1, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(now) => helpers = now,
            }
        }
        false
    }

    /// The caller was inside and has taken the descriptor out of all words. The last one out retires it.
    pub(super) fn leave(&self, memory: &Memory, guard: &Guard) {
        #[cfg(memfs_loom)]
        crate::model::touch(std::ptr::from_ref(self).addr());
        if self.helpers.fetch_sub(1, Ordering::SeqCst) > 1 {
            return;
        }
        // SAFETY: the descriptor's own holds, taken by `hold_all`, given back once: by the last.
        unsafe {
            if let Some(source) = self.source() {
                source.unhold(memory, guard);
            }
            if let Some(destination) = self.destination() {
                destination.unhold(memory, guard);
            }
            if let Some(body) = self.closing() {
                body.unhold(memory, guard);
            }
            if let (Some(record), Some(order)) = (self.record(), memory.order()) {
                match self.status() {
                    Status::Succeeded => order.give_up(record, guard),
                    _ => order.discard(record, guard),
                }
            }
        }
        // SAFETY: no word holds it (invariant 2), so no thread that pins later can find it.
        unsafe { memory.retire(NonNull::from(self).cast(), size_of::<Descriptor>(), guard) };
    }

    /// What `word`, which holds this, reads as. By addresses alone: a reader is not inside, what they lead to may be gone.
    fn value_of(&self, word: *const AtomicU64) -> u64 {
        let is_of = |dentry: *const Dentry| {
            !dentry.is_null() && dentry.wrapping_byte_add(offset_of!(Dentry, word)).cast() == word
        };
        let entry = if is_of(self.source) {
            self.source_entry(word)
        } else if is_of(self.destination) {
            self.destination_entry(word)
        } else if self.moves == word {
            self.moves_entry()
        } else {
            debug_assert_eq!(self.closing.wrapping_byte_add(offset_of!(Body, state)).cast(), word);
            self.closing_entry(word)
        };
        if self.status() == Status::Succeeded { entry.new } else { entry.expected }
    }
}

impl<'g> Plan<'g> {
    /// Of a plan that comes to nothing.
    pub(super) fn drop_record(&self, memory: &Memory, guard: &Guard) {
        if let (Some(record), Some(order)) = (self.record, memory.order()) {
            // SAFETY: nobody else has seen it.
            unsafe { order.discard(record, guard) };
        }
    }

    fn hold_all(&self, memory: &Memory, guard: &'g Guard) -> bool {
        let dentries = [self.source, self.destination.map(|(dentry, _)| dentry)];
        let mut held = dentries.into_iter().flatten().take_while(|dentry| dentry.hold()).count();
        if held == dentries.iter().flatten().count() && self.closing.is_none_or(Body::hold) {
            return true;
        }
        for dentry in dentries.into_iter().flatten() {
            if held == 0 {
                break;
            }
            held -= 1;
            // SAFETY: held just above.
            unsafe { dentry.unhold(memory, guard) };
        }
        false
    }
}

/// What a word reads as, given what was loaded from it. Wait-free.
#[inline]
pub(super) fn resolve(word: &AtomicU64, bits: u64) -> u64 {
    match word::descriptor(bits) {
        None => bits,
        // SAFETY: loaded under the caller's pin from a word; a descriptor is retired after the last word has lost it.
        Some(descriptor) => unsafe { (*descriptor).value_of(word) },
    }
}
