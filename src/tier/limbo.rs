//! Limbo: what left a content word before the change that replaced it was durable.
//!
//! # Invariants
//! 1. What is put here was unlinked by a change that has its place in the order, or (see `loose`) that the next flush gives
//!    one, after it has taken the dead and before it cuts its batch. Whoever takes the dead and then a batch from the order therefore has, or had before, every change that
//!    freed them.
//! 2. A block is kept here while a flush may want to hold it, to read it then, even if it is on disk: that may be the start of it only, or have
//!    to be written again. One that was replaced: until the flush that had begun by then has read; a later one sees the
//!    replacement. One that goes with its file: until the next flush is over, for nothing replaces it, and a change may have
//!    its place after the removal.

use super::local::Local;
use crate::{
    arena::BlockRef,
    failpoint::pass,
    segment::ExtentRef,
    sync::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, Ordering::*, fence},
};
use crossbeam_utils::CachePadded;
use std::ptr;

/// What was freed by changes that may not be durable yet.
pub(crate) struct Limbo {
    /// Extents, and blocks that went with their file: for the next flush, until it is over.
    dead: Stack<Freed>,
    /// Blocks that were replaced while a flush was reading: until it has read.
    replaced: Stack<BlockRef>,
    /// One while a flush reads bytes from RAM; one more when the store is being closed.
    reading: AtomicU32,
    /// What is given up from now on only leaves RAM: the store is being closed.
    closed: AtomicBool,
    /// Bytes of blocks, in content words or here, that are not on disk yet; the sum counts. A block whose extent is in
    /// somebody's hands while it is replaced is counted off twice; so the figure may be a little low, even below zero.
    unflushed: [CachePadded<AtomicI64>; STRIPES],
}

/// Threads that count without meeting each other; under the model, whose runs must be repeatable, none.
const STRIPES: usize = if cfg!(memfs_loom) { 1 } else { 16 };

#[derive(Clone, Copy)]
pub(super) enum Freed {
    Extent(ExtentRef),
    Block(BlockRef),
}

/// A flush that reads from RAM.
pub(super) struct Reading<'l>(&'l Limbo);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        // Release: the reading comes first.
        self.0.reading.fetch_sub(1, Release);
    }
}

impl Limbo {
    pub(crate) fn new() -> Self {
        Self {
            dead: Stack::new(),
            replaced: Stack::new(),
            reading: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            unflushed: std::array::from_fn(|_| CachePadded::new(AtomicI64::new(0))),
        }
    }

    /// From now on nothing is freed on disk by what becomes of contents in RAM, and the last flush may want all of it.
    pub(crate) fn close(&self) {
        std::mem::forget(self.begin());
        // Release: pairs with the Acquire in `push_extent`.
        self.closed.store(true, Release);
    }

    /// Takes an extent whose end has its place in the order (invariant 1).
    pub(crate) fn push_extent(&self, extent: ExtentRef) {
        if !self.closed.load(Acquire) {
            self.dead.push(Freed::Extent(extent));
        }
    }

    /// Takes a block that left its content word if a flush may want to read it (invariant 2); it `goes` with its file, or was
    /// replaced.
    ///
    /// What replaced it has its place in the order, or has it when a flush begins to read. SeqCst here and in `begin`: if this does not see that a flush has begun,
    /// that flush sees the replacement, and does not need the block.
    pub(crate) fn keeps(&self, block: BlockRef, goes: bool) -> bool {
        if goes {
            self.dead.push(Freed::Block(block));
            return true;
        }
        fence(SeqCst);
        let keeps = self.reading.load(SeqCst) > 0;
        if keeps {
            self.replaced.push(block);
        }
        keeps
    }

    /// Records are about to be taken from the order, and the bytes they name to be read until the answer is dropped.
    pub(super) fn begin(&self) -> Reading<'_> {
        self.reading.fetch_add(1, SeqCst);
        fence(SeqCst);
        Reading(self)
    }

    /// The dead; before the records are taken that are to be durable when they are freed.
    pub(super) fn take_dead(&self, into: &mut Vec<Freed>) {
        self.dead.take(|freed| into.push(freed));
    }

    /// Blocks that were replaced while a flush read; for when it has.
    pub(super) fn take_replaced(&self, each: impl FnMut(BlockRef)) {
        self.replaced.take(each);
    }

    /// Counts bytes in content words that are not on disk yet, or no more; what the caller's part of the sum was before.
    pub(super) fn note_unflushed(&self, local: &Local, bytes: i64) -> i64 {
        let at = std::ptr::from_ref(local).addr();
        // Relaxed: a figure.
        self.unflushed[(at >> 7 ^ at >> 12) % STRIPES].fetch_add(bytes, Relaxed)
    }

    pub(super) fn unflushed(&self) -> i64 {
        self.unflushed.iter().map(|part| part.load(Relaxed)).sum()
    }

    /// How much the sum grows at least, past a bound, before some part of it passes a multiple of this.
    pub(super) fn share(bound: i64) -> i64 {
        (bound / STRIPES as i64).max(1)
    }
}

/// A stack that is pushed to, lock-free, and taken whole: nothing is ever popped, so there is no ABA.
struct Stack<T> {
    head: AtomicPtr<Element<T>>,
}

struct Element<T> {
    value: T,
    next: *mut Element<T>,
}

impl<T> Stack<T> {
    fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    fn push(&self, value: T) {
        pass("limbo: not in yet");
        let element = Box::into_raw(Box::new(Element { value, next: self.head.load(Relaxed) }));
        loop {
            // SAFETY: not shared before the exchange succeeds.
            let next = unsafe { (*element).next };
            // Release: pairs with the Acquire of `take`.
            match self.head.compare_exchange(next, element, Release, Relaxed) {
                Ok(_) => return,
                // SAFETY: as above.
                Err(now) => unsafe { (*element).next = now },
            }
        }
    }

    fn take(&self, mut each: impl FnMut(T)) {
        let mut at = self.head.swap(ptr::null_mut(), Acquire);
        while !at.is_null() {
            // SAFETY: from `Box::into_raw`, taken out by the swap: nobody else has it.
            let element = unsafe { Box::from_raw(at) };
            each(element.value);
            at = element.next;
        }
    }
}

impl<T> Drop for Stack<T> {
    fn drop(&mut self) {
        self.take(drop);
    }
}
