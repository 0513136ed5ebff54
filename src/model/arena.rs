//! The arena's mechanisms, for the model tests: bitmap, budget, slab, runs, blocks under an epoch.

#[path = "arena_cases.rs"]
pub mod cases;

use super::{
    Arena, BlockRef, Budget, Magazine,
    bitmap::{Bitmap, Claim, End},
    ground::Ground,
    runs::{Plan, Runs},
    slab::Slab,
    span::Geometry,
};
use crate::{
    epoch::{Collector, Handle},
    model::{Seats, pinned},
    sync::{Arc, Ordering},
};
use std::ops::Range;

/// Bits of a leaf word.
pub const WORD_BITS: usize = super::bitmap::WORD_BITS;

/// A bitmap.
pub struct Bits(Bitmap);

impl Bits {
    /// A set of numbers below `members`.
    pub fn new(members: usize) -> Self {
        Self(Bitmap::new(members).expect("small"))
    }

    /// Puts a member in; what its word had before.
    pub fn set(&self, member: usize) -> u64 {
        let claim = Claim::one(member);
        self.0.set(claim.word, claim.mask)
    }

    /// Takes the lowest member.
    pub fn claim(&self) -> Option<usize> {
        self.0.claim(End::Low, 1)?.pop()
    }

    /// Takes all of a word's first `count` members, or none.
    pub fn claim_all(&self, word: usize, count: usize) -> bool {
        self.0.claim_all(word, (1 << count) - 1)
    }

    /// Puts a word's first `count` members in.
    pub fn set_all(&self, word: usize, count: usize) {
        self.0.set(word, (1 << count) - 1);
    }

    /// Whether every member of the first `words` words can be found. With nobody else at work.
    pub fn check(&self, words: usize) {
        self.0.validate(words).expect("the summaries agree");
    }
}

/// A budget.
pub struct Purse(Arc<Budget>);

impl Purse {
    /// One of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self(Arc::new(Budget::new(limit)))
    }

    /// As [`Budget`]'s.
    pub fn try_charge(&self, bytes: u64) -> bool {
        self.0.try_charge(bytes)
    }

    /// As [`Budget`]'s.
    pub fn refund(&self, bytes: u64) {
        self.0.refund(bytes);
    }

    /// As [`Budget`]'s.
    pub fn charged(&self) -> u64 {
        self.0.charged()
    }
}

/// A slab of small slots, with its budget.
pub struct Spans {
    slab: Slab,
    budget: Budget,
    memory: loom::cell::UnsafeCell<()>,
}

impl Spans {
    /// Spans of `slots` (a power of two), `spans` of them, with room in the budget for `charged`.
    pub fn new(slots: usize, spans: usize, charged: usize) -> Self {
        let geometry = Geometry::new(64, slots * 64, slots * 64 * spans, 0);
        let slab = Slab::new(geometry, Ground::untouched(&geometry).expect("small")).expect("small");
        let first = slab.first_use_bytes() - geometry.span_bytes() as u64;
        let limit = charged as u64 * geometry.span_bytes() as u64 + first * spans as u64;
        Self { slab, budget: Budget::new(limit), memory: loom::cell::UnsafeCell::new(()) }
    }

    /// A slot.
    pub fn claim(&self) -> Option<usize> {
        let slot = self.slab.claim(&self.budget, 1)?.pop();
        self.memory.with(|_| ());
        slot
    }

    /// Gives it back.
    pub fn give(&self, slot: usize) {
        self.slab.give(Claim::one(slot));
    }

    /// Gives one whole span back to the system, if there is one.
    pub fn trim(&self) -> bool {
        self.slab.trim(&self.budget, 1, |_| ()) > 0
    }

    /// With nobody else at work: every structure agrees, and `whole` spans can be given back.
    pub fn check(&self) {
        self.slab.validate().expect("the structures agree");
        assert_eq!(self.slab.charged_bytes(), self.budget.charged());
    }
}

/// A region of eight pages, in two words, with its budget; each page's memory is watched for races.
pub struct Stretch {
    runs: Runs,
    budget: Budget,
    memory: Vec<loom::cell::UnsafeCell<()>>,
}

impl Stretch {
    const PAGES: usize = 8;
    const PAGE_BYTES: u64 = 256;

    /// With room in the budget for so many pages.
    pub fn new(pages: usize) -> Self {
        let plan = Plan {
            page_bytes: Self::PAGE_BYTES as usize,
            pages: Self::PAGES,
            group_pages: Self::PAGES,
            overhead_bytes: 1,
            leave_bytes: 0,
            rows: false,
        };
        let memory = (0..Self::PAGES).map(|_| loom::cell::UnsafeCell::new(())).collect();
        let budget = Budget::new(1 + pages as u64 * Self::PAGE_BYTES);
        Self { runs: Runs::new(plan).expect("small"), budget, memory }
    }

    fn touch(&self, pages: Range<usize>) {
        pages.for_each(|page| self.memory[page].with_mut(|_| ()));
    }

    /// A run of so many pages, written to.
    pub fn claim(&self, pages: usize) -> Option<Range<usize>> {
        let mut run = self.runs.claim(&self.budget, pages, |row| self.touch(row)).ok()?;
        if !self.runs.back(&self.budget, &mut run, |gap| self.touch(gap)) {
            self.runs.give(run.pages);
            return None;
        }
        self.touch(run.pages.clone());
        Some(run.pages)
    }

    /// Gives it back.
    pub fn give(&self, pages: Range<usize>) {
        self.touch(pages.clone());
        self.runs.give(pages);
    }

    /// Gives so many ready pages back to the system, or all there are; how many.
    pub fn trim(&self, pages: usize) -> usize {
        let bytes = pages as u64 * Self::PAGE_BYTES;
        (self.runs.trim(&self.budget, bytes, |gone| self.touch(gone)) / Self::PAGE_BYTES) as usize
    }

    /// With nobody else at work: every structure agrees, and all that is not `used` can be given back.
    pub fn check(&self, used: usize) {
        self.runs.validate().expect("the structures agree");
        assert_eq!(self.runs.charged_bytes(), self.budget.charged(), "charged and not resident");
        self.trim(usize::MAX >> 8);
        self.runs.validate().expect("the structures agree");
        assert_eq!(self.runs.backed_pages(), used, "pages are out of sight");
    }
}

/// Blocks in a place that readers load from, retired through an epoch.
pub struct Blocks {
    seats: Seats<(Handle, Magazine)>,
    collector: Collector,
    arena: Arc<Arena>,
}

/// A thread's handle on [`Blocks`].
pub struct BlockUser<'a> {
    blocks: &'a Blocks,
    handle: &'a Handle,
    magazine: &'a Magazine,
    seat: &'a (Handle, Magazine),
}

/// The place: a word that names a block.
pub struct Place(crate::sync::AtomicU64);

impl Blocks {
    /// An arena for chunks of 64 bytes.
    pub fn new() -> Self {
        let budget = Arc::new(Budget::new(1 << 14));
        let collector = Collector::new();
        let seats = Seats::new(|| (collector.register(), Magazine::new()));
        Self { seats, collector, arena: Arc::new(Arena::new(budget, 64, false).expect("small")) }
    }

    /// For the calling thread.
    pub fn user(&self) -> BlockUser<'_> {
        let seat = self.seats.take();
        BlockUser { blocks: self, handle: &seat.0, magazine: &seat.1, seat }
    }

    /// With nobody else at work.
    pub fn check(&self) {
        self.arena.validate().expect("the structures agree");
    }
}

impl Default for Blocks {
    fn default() -> Self {
        Self::new()
    }
}

impl BlockUser<'_> {
    /// A block that says `value`, with one reference.
    fn block(&self, value: u8) -> BlockRef {
        let block = self.blocks.arena.alloc(self.magazine, 64).expect("room");
        // SAFETY: fresh.
        unsafe { self.blocks.arena.slack_mut(block, 0, 64).write_bytes(value, 64) };
        block
    }

    /// A place with a block in it.
    pub fn place(&self, value: u8) -> Place {
        Place(crate::sync::AtomicU64::new(self.block(value).bits()))
    }

    /// Puts a new block in, and drops the place's reference to the old one after the grace period; or, `at_once`, does
    /// not wait for that: the broken variant.
    pub fn replace(&self, place: &Place, value: u8, at_once: bool) {
        let new = self.block(value);
        let guard = pinned(self.handle);
        let old = BlockRef::from_bits(place.0.swap(new.bits(), Ordering::AcqRel));
        let arena: *const Arena = &*self.blocks.arena;
        if at_once {
            // SAFETY: none: this is the mistake.
            unsafe { (*arena).release(old) };
            return;
        }
        // SAFETY: unlinked by the swap; the arena outlives the collector.
        unsafe { guard.defer_unchecked(move || (*arena).release(old)) };
        guard.flush();
    }

    /// Lets the epoch advance, and frees what it can.
    pub fn collect(&self) {
        pinned(self.handle).flush();
    }

    /// Reads under a pin: all of one version.
    pub fn read(&self, place: &Place) -> u8 {
        let _guard = pinned(self.handle);
        let block = BlockRef::from_bits(place.0.load(Ordering::Acquire));
        // SAFETY: loaded under the guard.
        whole(unsafe { self.blocks.arena.bytes(block) })
    }

    /// Takes a reference under a pin, and reads through it when the pin is gone; then drops it.
    pub fn hold_and_read(&self, place: &Place) -> u8 {
        let guard = pinned(self.handle);
        let block = BlockRef::from_bits(place.0.load(Ordering::Acquire));
        // SAFETY: loaded under the guard.
        unsafe { self.blocks.arena.retain(block) };
        drop(guard);
        // SAFETY: referenced.
        let value = whole(unsafe { self.blocks.arena.bytes(block) });
        // SAFETY: retained above.
        unsafe { self.blocks.arena.release(block) };
        value
    }

    /// A place with a block in it that has a reference more.
    pub fn place_held(&self, value: u8) -> Place {
        let place = self.place(value);
        // SAFETY: the place's reference is there.
        unsafe { self.blocks.arena.retain(BlockRef::from_bits(place.0.load(Ordering::Relaxed))) };
        place
    }

    /// Reads through one of the references, and gives it up.
    pub fn read_and_release(&self, place: &Place) -> u8 {
        let block = BlockRef::from_bits(place.0.load(Ordering::Relaxed));
        // SAFETY: referenced; the reference is the caller's to give up.
        let value = whole(unsafe { self.blocks.arena.bytes(block) });
        // SAFETY: as above.
        unsafe { self.blocks.arena.release(block) };
        value
    }

    /// Gives back the block that is in the place. With nobody else at work.
    pub fn clear(&self, place: &Place) {
        let block = BlockRef::from_bits(place.0.load(Ordering::Acquire));
        // SAFETY: the place's reference.
        unsafe { self.blocks.arena.release(block) };
    }
}

impl Drop for BlockUser<'_> {
    fn drop(&mut self) {
        self.blocks.seats.give(self.seat);
    }
}

/// The value that all of `bytes` have.
fn whole(bytes: &[u8]) -> u8 {
    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "torn: {bytes:?}");
    bytes[0]
}
