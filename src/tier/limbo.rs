//! Limbo: what left a content word before the change that replaced it was durable.
//!
//! # Invariants
//! 1. What is put here was unlinked by a change that has its place in the order. Whoever takes all of limbo and then a batch
//!    from the order therefore has, or had before, every change that freed it.
//! 2. A block is kept here if a flush may be about to read it: while one is under way, whether the block is on disk or not, for
//!    what was written may have to be written again; and one whose end has no place in the order until the next is through.

use crate::{
    arena::BlockRef,
    failpoint::pass,
    segment::ExtentRef,
    sync::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, Ordering::*, fence},
};
use std::ptr;

/// What was freed by changes that may not be durable yet: extents, and blocks that a flush under way may want to read. A stack
/// that is only pushed to, and taken whole.
pub(crate) struct Limbo {
    head: AtomicPtr<Dead>,
    /// One while records have been taken from the order and are not durable yet; one more when the store is being closed.
    flushing: AtomicU32,
    /// What is given up from now on only leaves RAM: the store is being closed.
    closed: AtomicBool,
    /// Bytes of blocks in content words that are not on disk yet. A block whose extent is in somebody's hands while it is
    /// replaced is counted off twice; so the figure may be a little low, even below zero.
    pub(super) unflushed: AtomicI64,
}

struct Dead {
    what: Freed,
    next: *mut Dead,
}

#[derive(Clone, Copy)]
pub(super) enum Freed {
    Extent(ExtentRef),
    Block(BlockRef),
    /// One that was counted as unflushed until now.
    Ended(BlockRef),
}

impl Limbo {
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
            flushing: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            unflushed: AtomicI64::new(0),
        }
    }

    /// From now on nothing is freed on disk by what becomes of contents in RAM, and the last flush may want all of it.
    pub(crate) fn close(&self) {
        self.begin();
        // Release: pairs with the Acquire in `push`.
        self.closed.store(true, Release);
    }

    /// Takes an extent whose end has its place in the order. Lock-free; nothing is ever popped, so there is no ABA.
    pub(crate) fn push_extent(&self, extent: ExtentRef) {
        if !self.closed.load(Acquire) {
            self.push(Freed::Extent(extent));
        }
    }

    /// Takes a block that left its content word, if a flush may want to read it.
    ///
    /// What replaced it has its place in the order. SeqCst here and in `begin`: if this does not see that a flush has begun,
    /// that flush sees the replacement, and does not need the block.
    pub(crate) fn keeps(&self, block: BlockRef, bytes: i64, is_on_disk: bool) -> bool {
        if !is_on_disk {
            // Relaxed: a figure.
            self.unflushed.fetch_sub(bytes, Relaxed);
        }
        fence(SeqCst);
        let keeps = self.flushing.load(SeqCst) > 0;
        if keeps {
            self.push(Freed::Block(block));
        }
        keeps
    }

    /// Takes a block whose end has no place in the order, that of a file without a name: a change of it may be in the order
    /// still, or in a batch, so the block stays until a flush that began after this is through.
    pub(crate) fn keep_ended(&self, block: BlockRef, bytes: i64, is_on_disk: bool) {
        if is_on_disk {
            // What is counted off in the end.
            self.unflushed.fetch_add(bytes, Relaxed);
        }
        self.push(Freed::Ended(block));
    }

    /// Records are about to be taken from the order.
    pub(super) fn begin(&self) {
        self.flushing.fetch_add(1, SeqCst);
        fence(SeqCst);
    }

    /// All that was taken is durable.
    pub(super) fn end(&self) {
        self.flushing.fetch_sub(1, Release);
    }

    fn push(&self, what: Freed) {
        pass("limbo: not in yet");
        let dead = Box::into_raw(Box::new(Dead { what, next: self.head.load(Relaxed) }));
        loop {
            // SAFETY: not shared before the exchange succeeds.
            let next = unsafe { (*dead).next };
            // Release: pairs with the Acquire of `take`.
            match self.head.compare_exchange(next, dead, Release, Relaxed) {
                Ok(_) => return,
                // SAFETY: as above.
                Err(now) => unsafe { (*dead).next = now },
            }
        }
    }

    pub(super) fn take(&self, into: &mut Vec<Freed>) {
        let mut at = self.head.swap(ptr::null_mut(), Acquire);
        while !at.is_null() {
            // SAFETY: from `Box::into_raw`, taken out by the swap: nobody else has it.
            let dead = unsafe { Box::from_raw(at) };
            into.push(dead.what);
            at = dead.next;
        }
    }
}

impl Drop for Limbo {
    fn drop(&mut self) {
        self.take(&mut Vec::new());
    }
}
