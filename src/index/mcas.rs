//! Changing several words at one instant: Harris, Fraser and Pratt's multi-word compare-and-swap (2002), simplified, with
//! two steps of this file system's own between the last word taken and the decision.
//!
//! Install (words in the order of their addresses) → warn writers off the file's content → if a directory is to end, find it
//! empty → decide → turn the node's back pointer → take the descriptor out, the destination's word last.
//!
//! The simplification: words are taken by a plain compare-and-swap. A helper that slept may so put a descriptor back into a
//! word after it was decided, but only one that failed, since after a success no word ever again has its expected value
//! (`word`, invariant 1); a failed descriptor reads as what it stands in for, and its helper takes it out before it leaves.

use super::{
    Index,
    chaos::may_stop_here,
    children::Body,
    dentry::DentryRef,
    descriptor::{self, Descriptor, Entry, Status},
    node::Kind,
    word::{self, Target, Word},
};
use crate::{
    epoch::Guard,
    sync::{Ordering, fence},
};

impl Index {
    /// Runs the maker's own descriptor to its end and leaves it.
    pub(super) fn execute(&self, descriptor: &Descriptor, guard: &Guard) -> Status {
        self.run(descriptor, guard);
        let status = descriptor.status();
        descriptor.leave(&self.memory, guard);
        status
    }

    /// Completes another thread's descriptor that was met in a word.
    pub(super) fn help(&self, descriptor: *const Descriptor, guard: &Guard) {
        // SAFETY: met in a word under this guard (callers): not retired before we pinned.
        let descriptor = unsafe { &*descriptor };
        if descriptor.enter() {
            self.run(descriptor, guard);
            descriptor.leave(&self.memory, guard);
        }
    }

    fn run(&self, descriptor: &Descriptor, guard: &Guard) {
        if self.install(descriptor, guard) {
            self.warn_writers(descriptor);
            // Pairs with the fence in `may_bind`: whoever bound or will bind a child without seeing the descriptor in the
            // state word has registered it where the scan sees it.
            fence(Ordering::SeqCst);
            may_stop_here();
            let empty = descriptor.closing().is_none_or(|body| self.is_empty_for_good(body, guard));
            may_stop_here();
            let won = if descriptor.record().is_some() { Status::Won } else { Status::Succeeded };
            descriptor.decide(if empty { won } else { Status::NotEmpty });
        }
        self.take_place(descriptor, guard);
        self.conclude(descriptor);
    }

    /// Where an order of changes is kept: a descriptor that has won takes its place in it, and only then effect. So nobody
    /// sees a change that has no place, and what depends on it comes after it.
    fn take_place(&self, descriptor: &Descriptor, guard: &Guard) {
        if descriptor.status() == Status::Won
            && let (Some(record), Some(order)) = (descriptor.record(), self.memory.order())
        {
            order.append(record, guard);
            may_stop_here();
            descriptor.succeed();
        }
    }

    /// Puts the descriptor into all its words; false if it was decided meanwhile. Every word was seen with the descriptor in
    /// it, so what it names was bound at an instant within the caller's pin.
    fn install(&self, descriptor: &Descriptor, guard: &Guard) -> bool {
        let ours = word::of_descriptor(descriptor);
        for entry in descriptor.entries() {
            // SAFETY: the words of a descriptor live until the last helper has left (its invariant 3); `moves` longer.
            let place = unsafe { &*entry.word };
            loop {
                if descriptor.status() != Status::Undecided {
                    return false;
                }
                let seen = place.load(Ordering::SeqCst);
                may_stop_here();
                if seen == ours {
                    break;
                }
                if let Some(other) = word::descriptor(seen) {
                    self.help(other, guard);
                } else if seen != entry.expected {
                    descriptor.decide(Status::Disturbed);
                } else if place
                    .compare_exchange(entry.expected, ours, Ordering::SeqCst, Ordering::SeqCst)
                    .is_ok()
                {
                    break;
                }
            }
        }
        true
    }

    /// Between the marking of a name and its change: a writer that checked the name before the mark and has not written yet
    /// will fail (see `Bound::settled`).
    fn warn_writers(&self, descriptor: &Descriptor) {
        for target in [Some(descriptor.moved()), descriptor.replaced()].into_iter().flatten() {
            if target.kind == Kind::File {
                self.slot(target.id).bump_binding();
            }
        }
    }

    fn conclude(&self, descriptor: &Descriptor) {
        let succeeded = descriptor.status() == Status::Succeeded;
        if succeeded {
            self.turn_back_pointers(descriptor);
        }
        let ours = word::of_descriptor(descriptor);
        let last = descriptor.destination().map(|dentry| std::ptr::from_ref(&dentry.word));
        let clear = |entry: Entry| {
            let value = if succeeded { entry.new } else { entry.expected };
            // SAFETY: as in `install`.
            let place = unsafe { &*entry.word };
            may_stop_here();
            let _ = place.compare_exchange(ours, value, Ordering::SeqCst, Ordering::SeqCst);
        };
        // The destination last: as long as any word shows the descriptor, the moved node cannot leave its new name, so a
        // helper that comes late does not meet its slot in another use.
        let is_last = |entry: &Entry| Some(entry.word) == last;
        descriptor.entries().filter(|entry| !is_last(entry)).for_each(clear);
        descriptor.entries().filter(is_last).for_each(clear);
    }

    /// Before any word shows plainly what has become of it: so a dentry that is plainly DEAD has no node pointing to it, and
    /// a node that is plainly bound does not point to an earlier name.
    fn turn_back_pointers(&self, descriptor: &Descriptor) {
        let moved = self.slot(descriptor.moved().id);
        match descriptor.destination() {
            None => moved.unname(Ordering::SeqCst),
            Some(destination) => {
                let source = descriptor.source().map(DentryRef::address);
                // 0: its creator has not come to set it, and will find that it is set.
                for before in [Some(0), source].into_iter().flatten() {
                    let to = destination.address();
                    let _ = moved.dentry.compare_exchange(before, to, Ordering::SeqCst, Ordering::SeqCst);
                }
            }
        }
        if let Some(replaced) = descriptor.replaced() {
            self.slot(replaced.id).unname(Ordering::SeqCst);
        }
    }

    /// Whether the directory, whose state word holds a descriptor, has no entry and gets none before that is decided.
    ///
    /// Names that are reserved and not bound yet are killed: their creators find them dead, and see the descriptor when they
    /// try again. Those that come to be registered after the scan has passed are not bound without reading the state word.
    fn is_empty_for_good(&self, body: &Body, guard: &Guard) -> bool {
        body.for_each(guard, |dentry| self.is_unbound_for_good(dentry, guard))
    }

    fn is_unbound_for_good(&self, dentry: DentryRef<'_>, guard: &Guard) -> bool {
        loop {
            let seen = dentry.word.load(Ordering::SeqCst);
            may_stop_here();
            if let Some(other) = word::descriptor(seen) {
                match self.read_or_disturb(other, dentry, seen, guard) {
                    Word::None => continue,
                    value => return value == Word::Dead,
                }
            }
            match Word::decode(seen) {
                Word::Bound(_) => return false,
                Word::Dead => return true,
                Word::Unbinding(target) => self.finish_unbinding(dentry, target),
                Word::None => {
                    let dead = word::DEAD;
                    if dentry.word.compare_exchange(seen, dead, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                        return true;
                    }
                }
            }
        }
    }

    /// The last steps of a file's removal, by the remover or by whoever meets it: writers are warned off, the back pointer
    /// goes, then the name. Whoever is here has seen the word Unbinding under its pin, so the node's slot is still its own.
    pub(super) fn finish_unbinding(&self, dentry: DentryRef<'_>, target: Target) {
        debug_assert_eq!(target.kind, Kind::File);
        let node = self.slot(target.id);
        node.bump_binding();
        may_stop_here();
        // Release: published with DEAD.
        node.unname(Ordering::Release);
        let _ = dentry.word.compare_exchange(
            word::unbinding(target),
            word::DEAD,
            Ordering::SeqCst,
            Ordering::SeqCst,
        );
    }

    /// What the name says when nothing is under way on it: Bound, None or Dead. Helps what is.
    pub(super) fn settle(&self, dentry: DentryRef<'_>, guard: &Guard) -> Word {
        loop {
            let seen = dentry.word.load(Ordering::SeqCst);
            if let Some(other) = word::descriptor(seen) {
                self.help(other, guard);
                continue;
            }
            match Word::decode(seen) {
                Word::Unbinding(target) => self.finish_unbinding(dentry, target),
                settled => return settled,
            }
        }
    }

    /// The number of directory moves, when none is under way.
    pub(super) fn settled_moves(&self, guard: &Guard) -> u64 {
        loop {
            let seen = self.moves.word.load(Ordering::SeqCst);
            match word::descriptor(seen) {
                Some(other) => self.help(other, guard),
                None => return seen,
            }
        }
    }

    /// Whether a registered name may be bound in the directory now; false if the directory is gone.
    pub(super) fn may_bind(&self, body: &Body, guard: &Guard) -> bool {
        // Pairs with the fence in `run`: either the scan sees the name registered, or we see the descriptor.
        fence(Ordering::SeqCst);
        loop {
            let seen = body.state.load(Ordering::SeqCst);
            match word::descriptor(seen) {
                Some(other) => self.help(other, guard),
                None => return seen == word::OPEN,
            }
        }
    }

    /// For the scan of a directory that is to end: what a child's name reads as that holds a descriptor. If that is None, the
    /// descriptor has failed and is out of that word when this returns.
    ///
    /// It is not helped: it may be waiting for a word that the scanning descriptor has taken. What would bind a name here is made
    /// to fail instead, and its maker waits for the scan when it tries again. A descriptor that scans is never made to fail this
    /// way, because it binds no name that was free. One that has won has all its words, and only needs its place. One that
    /// has succeeded is left to its helpers, who have more to do.
    fn read_or_disturb(
        &self,
        descriptor: *const Descriptor,
        dentry: DentryRef<'_>,
        seen: u64,
        guard: &Guard,
    ) -> Word {
        let read = || Word::decode(descriptor::resolve(&dentry.word, seen));
        if read() == Word::None {
            // SAFETY: met in a word under the caller's guard.
            let descriptor = unsafe { &*descriptor };
            descriptor.decide(Status::Disturbed);
            self.take_place(descriptor, guard);
            if read() == Word::None {
                let _ = dentry.word.compare_exchange(seen, word::NONE, Ordering::SeqCst, Ordering::SeqCst);
            }
        }
        read()
    }
}
