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
    sync::{AtomicU32, AtomicU64, Ordering},
};
use std::ptr::NonNull;

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
}

/// One word's part.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) word: *const AtomicU64,
    pub(super) expected: u64,
    pub(super) new: u64,
}

const MOST_ENTRIES: usize = 4;

/// What an operation does, in terms of names; shared by all its helpers.
pub(super) struct Plan<'g> {
    /// The dentry that dies.
    pub(super) source: DentryRef<'g>,
    /// What it stands for.
    pub(super) moved: Target,
    /// The dentry that takes over, and what it stands for before; `None` to remove.
    pub(super) destination: Option<(DentryRef<'g>, Option<Target>)>,
    /// The body of the directory that ends by this: the one removed or replaced.
    pub(super) closing: Option<&'g Body>,
    /// The `moves` word and its value, if a directory moves.
    pub(super) moves: Option<(&'g AtomicU64, u64)>,
}

#[repr(C, align(16))]
pub(super) struct Descriptor {
    status: AtomicU32,
    helpers: AtomicU32,
    count: u32,
    moved: Target,
    replaced: Option<Target>,
    entries: [Entry; MOST_ENTRIES],
    source: *const Dentry,
    destination: *const Dentry,
    closing: *const Body,
}

impl Descriptor {
    /// Makes a descriptor with its maker inside; `None` if a dentry or body has gone meanwhile.
    pub(super) fn new<'g>(
        plan: &Plan<'g>,
        memory: &Memory,
        magazine: &Magazine,
        guard: &'g Guard,
    ) -> Result<Option<&'g Descriptor>> {
        let ptr = memory.alloc(magazine, size_of::<Descriptor>())?.cast::<Descriptor>();
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
        Ok(None)
    }

    fn of(plan: &Plan<'_>) -> Self {
        let unused = Entry { word: std::ptr::null(), expected: 0, new: 0 };
        let mut entries = [unused; MOST_ENTRIES];
        let mut count = 0;
        for entry in plan.entries().into_iter().flatten() {
            entries[count] = entry;
            count += 1;
        }
        entries[..count].sort_unstable_by_key(|entry| entry.word.addr());
        Self {
            status: AtomicU32::new(Status::Undecided as u32),
            helpers: AtomicU32::new(1),
            count: count as u32,
            moved: plan.moved,
            replaced: plan.destination.and_then(|(_, replaced)| replaced),
            entries,
            source: plan.source.as_ptr(),
            destination: plan.destination.map_or(std::ptr::null(), |(dentry, _)| dentry.as_ptr()),
            closing: plan.closing.map_or(std::ptr::null(), std::ptr::from_ref),
        }
    }

    /// In the order of their addresses, in which they are taken: so that no two operations wait for each other.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries[..self.count as usize]
    }

    pub(super) fn moved(&self) -> Target {
        self.moved
    }

    pub(super) fn replaced(&self) -> Option<Target> {
        self.replaced
    }

    /// For those inside.
    pub(super) fn source(&self) -> DentryRef<'_> {
        // SAFETY: held until the last one leaves (invariant 3).
        unsafe { DentryRef::from_address(self.source.expose_provenance() as u64) }
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
        match self.status.load(Ordering::SeqCst) {
            0 => Status::Undecided,
            1 => Status::Succeeded,
            2 => Status::Disturbed,
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

    pub(super) fn enter(&self) -> bool {
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
        if self.helpers.fetch_sub(1, Ordering::SeqCst) > 1 {
            return;
        }
        // SAFETY: the descriptor's own holds, taken by `hold_all`, given back once: by the last.
        unsafe {
            self.source().unhold(memory, guard);
            if let Some(destination) = self.destination() {
                destination.unhold(memory, guard);
            }
            if let Some(body) = self.closing() {
                body.unhold(memory, guard);
            }
        }
        // SAFETY: no word holds it (invariant 2), so no thread that pins later can find it.
        unsafe { memory.retire(NonNull::from(self).cast(), size_of::<Descriptor>(), guard) };
    }

    /// What `word`, which holds this, reads as.
    fn value_of(&self, word: *const AtomicU64) -> u64 {
        let entry = self.entries().iter().find(|entry| entry.word == word);
        let entry = entry.expect("a descriptor stands in its own words only");
        if self.status() == Status::Succeeded { entry.new } else { entry.expected }
    }
}

impl<'g> Plan<'g> {
    fn entries(&self) -> [Option<Entry>; MOST_ENTRIES] {
        let entry = |word: &AtomicU64, expected, new| Entry { word: std::ptr::from_ref(word), expected, new };
        let moved = word::bound(self.moved);
        [
            Some(entry(&self.source.word, moved, word::DEAD)),
            self.destination.as_ref().map(|(dentry, replaced)| {
                entry(&dentry.word, replaced.map_or(word::NONE, word::bound), moved)
            }),
            self.closing.map(|body| entry(&body.state, word::OPEN, word::CLOSED)),
            self.moves.map(|(moves, value)| entry(moves, value, word::next_move(value))),
        ]
    }

    fn hold_all(&self, memory: &Memory, guard: &'g Guard) -> bool {
        if !self.source.hold() {
            return false;
        }
        let destination = self.destination.map(|(dentry, _)| dentry);
        if destination.is_none_or(DentryRef::hold) {
            if self.closing.is_none_or(Body::hold) {
                return true;
            }
            if let Some(dentry) = destination {
                // SAFETY: held just above.
                unsafe { dentry.unhold(memory, guard) };
            }
        }
        // SAFETY: held just above.
        unsafe { self.source.unhold(memory, guard) };
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
