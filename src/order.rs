//! The one order of all changes, for a store that is to survive its process.
//!
//! A queue of records in which each takes its place exactly once, whoever puts it there, *before* anybody can see the change
//! that it stands for. So the queue's order is a linearization of all changes, and what is written to disk from its front is
//! always a prefix of history. It is the queue of Michael and Scott (1996), but for one thing: the record is allocated by the
//! operation, may be met half-way by others, and any number of them may append it at once. Knows nothing of what a record
//! says.
//!
//! # Invariants
//! 1. A record is in the queue at most once. A helper loads the tail, then finds the record without a place, then exchanges
//!    the tail's empty `next`. Had the record been appended meanwhile, the tail it loaded would not be the last any more; had
//!    it been appended before that load, the tail could have come to it, or passed it, only after it was given its place.
//! 2. Places count up by one from record to record; a record has its place before the tail passes on to it.
//! 3. A record is freed when its last holder has given it up, through the epoch: the queue holds it until it was consumed and
//!    another is in front of it, whoever can meet it half-way for as long as that can happen.

#[cfg(memfs_loom)]
#[path = "model/order.rs"]
pub mod model;

use crate::{
    arena::{Arena, Magazine},
    epoch::Guard,
    failpoint::pass,
    sync::{Arc, AtomicPtr, AtomicU32, AtomicU64, Ordering::*},
};
use crossbeam_utils::CachePadded;
use std::{
    alloc::{self, Layout},
    ptr::{self, NonNull},
};

/// What a change says, and its place among all others.
#[repr(C, align(16))]
pub(crate) struct Record {
    next: AtomicPtr<Record>,
    /// Its place, from `FIRST` up; 0: none yet.
    place: AtomicU64,
    holders: AtomicU32,
    /// Which floor's, and what: theirs to say.
    kind: u16,
    backing: Backing,
    /// For who completes the change: 0 at first.
    pub(crate) mark: AtomicU64,
    /// The bytes it carries: behind it in memory, or, if there are many, elsewhere.
    bytes: NonNull<u8>,
    len_bytes: usize,
}

/// Where a record's memory is from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backing {
    Arena,
    /// Of the arena, and twice as much as it needs: what it pays for is there for another like it, which must not fail.
    Double,
    /// Of the heap, paid for by one that is `Double`.
    Spare,
}

const HEADER_BYTES: usize = size_of::<Record>();
/// Most bytes that are behind their record; more (a long file written whole) have memory of their own.
const INNER_BYTES: usize = if cfg!(memfs_loom) { 128 } else { 4096 };

/// The queue. One [`Consumer`] takes from it.
pub(crate) struct Order {
    tail: CachePadded<AtomicPtr<Record>>,
    arena: Arc<Arena>,
}

/// The one who takes records from the front.
pub(crate) struct Consumer {
    /// The last record taken; the queue goes on after it.
    last: NonNull<Record>,
}

// SAFETY: a record is atomics and bytes that are not changed once it is shared; who may free it is counted.
unsafe impl Send for Consumer {}

/// A record that is held.
pub(crate) struct Taken(NonNull<Record>);

// SAFETY: as above.
unsafe impl Send for Taken {}

impl Taken {
    /// The record, alive until it is given to [`Order::release`].
    pub(crate) fn record(&self) -> &Record {
        // SAFETY: held by the queue's holder, which `take` handed over.
        unsafe { self.0.as_ref() }
    }
}

impl Record {
    pub(crate) fn kind(&self) -> u16 {
        self.kind
    }

    /// Whether it has paid for another like it: see [`Order::record_and_spare`].
    pub(crate) fn has_spare(&self) -> bool {
        self.backing == Backing::Double
    }

    /// The place among all changes, from 1; 0 if it has none yet.
    pub(crate) fn place(&self) -> u64 {
        self.raw_place().saturating_sub(FIRST)
    }

    fn raw_place(&self) -> u64 {
        // Acquire: pairs with the Release of `advance`.
        self.place.load(Acquire)
    }

    /// What it says.
    pub(crate) fn bytes(&self) -> &[u8] {
        #[cfg(memfs_loom)]
        crate::model::touch(ptr::from_ref(self).addr());
        // SAFETY: allocated with so many bytes, which were written before it was shared.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr(), self.len_bytes) }
    }
}

impl Order {
    /// An empty queue and its consumer; `None` without memory for one record.
    pub(crate) fn new(arena: Arc<Arena>) -> Option<(Self, Consumer)> {
        let magazine = Magazine::new();
        let first = allocate(&arena, &magazine, Backing::Arena, 0, 1, 0, |_| ())?;
        arena.drain(&magazine);
        // SAFETY: fresh. Of no change: the first one's place is 1.
        unsafe { first.as_ref() }.place.store(FIRST, Relaxed);
        let tail = CachePadded::new(AtomicPtr::new(first.as_ptr()));
        Some((Self { tail, arena }, Consumer { last: first }))
    }

    /// A record of `bytes` that nobody knows yet, held by the queue and by `holders` others.
    pub(crate) fn record<'g>(
        &self,
        magazine: &Magazine,
        kind: u16,
        holders: u32,
        len_bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Option<&'g Record> {
        let record = allocate(&self.arena, magazine, Backing::Arena, kind, holders + 1, len_bytes, fill)?;
        // SAFETY: fresh, and read alone until it is freed: after the caller, and the queue, have let go of it.
        Some(unsafe { record.as_ref() })
    }

    /// The same for the queue alone, and charged for two: so that a [`spare`](Self::spare) of so many bytes can be had later, whatever
    /// the room there is then.
    pub(crate) fn record_and_spare<'g>(
        &self,
        magazine: &Magazine,
        kind: u16,
        len_bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Option<&'g Record> {
        let record = allocate(&self.arena, magazine, Backing::Double, kind, 1, len_bytes, fill)?;
        // SAFETY: as in `record`.
        Some(unsafe { record.as_ref() })
    }

    /// A record for the queue that has been paid for.
    pub(crate) fn spare<'g>(
        &self,
        magazine: &Magazine,
        kind: u16,
        len_bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> &'g Record {
        let record = allocate(&self.arena, magazine, Backing::Spare, kind, 1, len_bytes, fill);
        // SAFETY: as in `record`.
        unsafe { record.expect("the heap does not refuse").as_ref() }
    }

    /// Writes over a part of what a record says.
    ///
    /// # Safety
    /// Nobody but the caller knows the record yet.
    pub(crate) unsafe fn amend(&self, record: &Record, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= record.len_bytes);
        // SAFETY: in bounds; the caller.
        unsafe { record.bytes.add(at).as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Gives the record its place, if nobody has, and tells it. Lock-free: who is stopped in here is completed by the next.
    pub(crate) fn append(&self, record: &Record, _guard: &Guard) -> u64 {
        #[cfg(memfs_loom)]
        crate::model::touch(ptr::from_ref(record).addr());
        loop {
            let tail_ptr = self.tail.load(Acquire);
            // After the load of the tail: invariant 1.
            if record.raw_place() != 0 {
                return record.place();
            }
            #[cfg(memfs_loom)]
            crate::model::touch(tail_ptr.addr());
            // SAFETY: the tail is not freed before the tail has passed it; loaded under the guard.
            let tail = unsafe { &*tail_ptr };
            let this = ptr::from_ref(record).cast_mut();
            // AcqRel: publishes what the record says, to the consumer that loads `next` with Acquire.
            let next = match tail.next.compare_exchange(ptr::null_mut(), this, AcqRel, Acquire) {
                Ok(_) => this,
                Err(next) => next,
            };
            pass("order: appended, no place yet");
            self.advance(tail, next);
        }
    }

    /// Gives `next`, which follows `tail`, its place and lets the tail pass on to it.
    fn advance(&self, tail: &Record, next: *mut Record) {
        // SAFETY: behind the tail, hence not consumed past; under the guard of the callers.
        let place = unsafe { &(*next).place };
        // Release: whoever finds the place finds the record in the queue. The same value by everybody who helps.
        place.store(tail.raw_place() + 1, Release);
        // Release: the place comes first (invariant 2).
        let _ = self.tail.compare_exchange(ptr::from_ref(tail).cast_mut(), next, AcqRel, Relaxed);
    }

    /// The place of the last record that has one. Every change that was visible before the call has a lower one, or this.
    pub(crate) fn last_place(&self, guard: &Guard) -> u64 {
        // Not the tail's, which may not have passed on yet to a record that has its place and was completed by somebody else.
        // SAFETY: was the tail, loaded under the guard.
        unsafe { &*self.cut(guard) }.place()
    }

    /// Takes all that is in the queue now, in order, appending it to `taken`; each is to be given to `release` later. Pins
    /// only where it has to, for the queue may be long.
    pub(crate) fn take(&self, consumer: &mut Consumer, taken: &mut Vec<Taken>, pin: impl Fn() -> Guard) {
        let before = consumer.last;
        let cut = self.cut(&pin());
        while consumer.last.as_ptr() != cut {
            // SAFETY: held: as the last one, or by what was taken; the records up to the cut have successors or are it.
            let next = unsafe { consumer.last.as_ref() }.next.load(Acquire);
            consumer.last = NonNull::new(next).expect("the queue goes on to the cut");
            taken.push(Taken(consumer.last));
        }
        if consumer.last != before {
            // The queue goes on from the cut: it is held once more, in place of the one before.
            // SAFETY: alive, as above.
            unsafe { consumer.last.as_ref() }.holders.fetch_add(1, Relaxed);
            // SAFETY: the consumer's own hold.
            unsafe { self.let_go(before, &pin()) };
        }
    }

    /// The last record that is in the queue now; it has its place when this returns.
    fn cut(&self, _guard: &Guard) -> *mut Record {
        loop {
            let tail_ptr = self.tail.load(Acquire);
            // SAFETY: as in `append`.
            let tail = unsafe { &*tail_ptr };
            let next = tail.next.load(Acquire);
            if next.is_null() {
                return tail_ptr;
            }
            self.advance(tail, next);
        }
    }

    /// Gives up the queue's hold on records that were taken. They are retired as one: what else waits for the epoch does not
    /// wait behind each of them.
    pub(crate) fn release(&self, taken: impl Iterator<Item = Taken>, guard: &Guard) {
        // SAFETY: the hold that `take` handed over.
        let last: Vec<_> = taken.filter(|taken| unsafe { Self::drop_hold(taken.0) }).collect();
        if !last.is_empty() {
            let arena: *const Arena = &*self.arena;
            // SAFETY: as in `retire`.
            unsafe { guard.defer_unchecked(move || last.iter().for_each(|taken| free(&*arena, taken.0))) };
        }
    }

    /// Gives up another holder's hold on a record.
    ///
    /// # Safety
    /// The caller has one, and with it gives up every way to meet the record.
    pub(crate) unsafe fn give_up(&self, record: &Record, guard: &Guard) {
        // SAFETY: the caller.
        unsafe { self.let_go(NonNull::from(record), guard) };
    }

    /// Frees a record that was never appended and never will be.
    ///
    /// # Safety
    /// Nobody appended it, and who could meet it half-way is pinned since before.
    pub(crate) unsafe fn discard(&self, record: &Record, guard: &Guard) {
        debug_assert_eq!(record.raw_place(), 0);
        // SAFETY: the caller.
        unsafe { self.retire(NonNull::from(record), guard) };
    }

    /// # Safety
    /// The caller has a hold and gives it up.
    unsafe fn let_go(&self, record: NonNull<Record>, guard: &Guard) {
        // SAFETY: the caller; if it was the last, no holder is left, and the tail has passed it.
        unsafe {
            if Self::drop_hold(record) {
                self.retire(record, guard);
            }
        }
    }

    /// Whether it was the last.
    ///
    /// # Safety
    /// The caller has a hold and gives it up.
    unsafe fn drop_hold(record: NonNull<Record>) -> bool {
        // SAFETY: held until the subtraction.
        // AcqRel: what every holder did with it comes before its end.
        unsafe { record.as_ref() }.holders.fetch_sub(1, AcqRel) == 1
    }

    /// # Safety
    /// No thread that pins later can reach the record.
    unsafe fn retire(&self, record: NonNull<Record>, guard: &Guard) {
        let arena: *const Arena = &*self.arena;
        // SAFETY: the arena outlives the collector (`epoch`, invariant 3); unreachable (caller).
        unsafe { guard.defer_unchecked(move || free(&*arena, record)) };
    }

    /// Frees what the consumer has not taken, and its own record.
    ///
    /// # Safety
    /// Nobody uses the queue any more; what was taken has been released, and the collector is gone.
    pub(crate) unsafe fn tear_down(&self, consumer: Consumer) {
        let mut at = consumer.last.as_ptr();
        while let Some(record) = NonNull::new(at) {
            // SAFETY: exclusive (caller).
            unsafe {
                at = record.as_ref().next.load(Relaxed);
                free(&self.arena, record);
            }
        }
    }
}

/// The place of the record that an empty queue begins with.
const FIRST: u64 = 1;

/// What a record has of the arena or of the heap.
fn layout(len_bytes: usize) -> Layout {
    let inner_bytes = if len_bytes <= INNER_BYTES { len_bytes } else { 0 };
    Layout::from_size_align(HEADER_BYTES + inner_bytes, align_of::<Record>()).expect("a page and a little")
}

/// The same of bytes that are elsewhere.
fn outer_bytes(len_bytes: usize) -> usize {
    if len_bytes <= INNER_BYTES { 0 } else { len_bytes }
}

/// A record that says what `fill` writes.
fn allocate(
    arena: &Arena,
    magazine: &Magazine,
    backing: Backing,
    kind: u16,
    holders: u32,
    len_bytes: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Option<NonNull<Record>> {
    let (layout, outer_bytes) = (layout(len_bytes), outer_bytes(len_bytes));
    assert!(backing == Backing::Arena || outer_bytes == 0, "only what is short has, or is, a spare");
    if outer_bytes > 0 && !arena.budget().try_charge(outer_bytes as u64) {
        return None;
    }
    let Some(ptr) = get_memory(arena, magazine, backing, layout) else {
        arena.budget().refund(outer_bytes as u64);
        return None;
    };
    let bytes = if outer_bytes > 0 {
        NonNull::from(Box::leak(vec![0_u8; len_bytes].into_boxed_slice())).cast()
    } else {
        // SAFETY: within the allocation, and zeroed, so that it may be lent as bytes.
        unsafe {
            let first = ptr.add(HEADER_BYTES);
            first.write_bytes(0, len_bytes);
            first
        }
    };
    // SAFETY: zeroed memory of that length, which nobody else knows.
    fill(unsafe { std::slice::from_raw_parts_mut(bytes.as_ptr(), len_bytes) });
    let ptr = ptr.cast::<Record>();
    let record = Record {
        next: AtomicPtr::new(ptr::null_mut()),
        place: AtomicU64::new(0),
        holders: AtomicU32::new(holders),
        kind,
        backing,
        mark: AtomicU64::new(0),
        bytes,
        len_bytes,
    };
    // SAFETY: fresh memory of this size, aligned to 16.
    unsafe { ptr.as_ptr().write(record) };
    Some(ptr)
}

fn get_memory(arena: &Arena, magazine: &Magazine, backing: Backing, layout: Layout) -> Option<NonNull<u8>> {
    match backing {
        Backing::Arena => arena.alloc_raw(magazine, layout.size()),
        Backing::Double => arena.alloc_raw(magazine, 2 * layout.size()),
        Backing::Spare => {
            // SAFETY: not of no size.
            let ptr = unsafe { alloc::alloc(layout) };
            let ptr = NonNull::new(ptr).unwrap_or_else(|| alloc::handle_alloc_error(layout));
            #[cfg(memfs_loom)]
            crate::model::born(ptr.addr().get());
            Some(ptr)
        }
    }
}

/// # Safety
/// From `allocate` with this arena; nobody can reach it.
unsafe fn free(arena: &Arena, record: NonNull<Record>) {
    // SAFETY: alive (caller).
    let Record { bytes, len_bytes, backing, .. } = *unsafe { record.as_ref() };
    let (layout, outer_bytes) = (layout(len_bytes), outer_bytes(len_bytes));
    if outer_bytes > 0 {
        // SAFETY: leaked from such a box in `allocate`.
        drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(bytes.as_ptr(), len_bytes)) });
        arena.budget().refund(outer_bytes as u64);
    }
    // SAFETY: the caller; as in `get_memory`.
    unsafe {
        match backing {
            Backing::Arena => arena.free_raw(record.cast(), layout.size()),
            Backing::Double => arena.free_raw(record.cast(), 2 * layout.size()),
            Backing::Spare => {
                #[cfg(memfs_loom)]
                crate::model::dies(record.addr().get());
                alloc::dealloc(record.as_ptr().cast(), layout);
            }
        }
    }
}

/// A field of a record: four bytes, little endian, at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The same of eight.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
