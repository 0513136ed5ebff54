//! What a thread keeps of a store: its epoch handle, its claims of free slots, its counters.
//!
//! # Invariants
//! 1. A `Local` belongs to one thread at a time: to the one whose exchange set `in_use`. Giving it back is a Release store,
//!    taking it over an Acquire exchange, so all that is `!Sync` in it is handed over whole.
//! 2. Locals are freed with their registry only, so a reference lives as long as the store.
//! 3. The registry is dropped before the collector (see `Core`): handles go first.

use crate::{
    arena::{Arena, Magazine, PoolMagazine},
    epoch::{Collector, Guard, Handle},
    stats::Counters,
    sync::{Arc, AtomicBool, AtomicPtr, AtomicU64, Ordering::*},
};
use std::{cell::Cell, ptr};

/// Keeps the arena mapped for what outlives the store: `FileRef` and `Bytes`. One per thread, so that threads taking
/// references do not meet on one count.
pub(crate) struct Lease {
    pub(crate) arena: Arc<Arena>,
}

pub(crate) struct Local {
    in_use: AtomicBool,
    next: *mut Local,
    handle: Handle,
    pub(crate) magazine: Magazine,
    pub(crate) nodes: PoolMagazine,
    pub(crate) counters: Counters,
    lease: std::sync::Arc<Lease>,
    random: Cell<u64>,
    /// Retired since the last flush, in bytes and in blocks, and how many bytes there may be.
    retired: Cell<u64>,
    retired_blocks: Cell<u32>,
    retired_share: Arc<AtomicU64>,
    /// Requests and performed increments since the last report to the scorer.
    requests: Cell<u32>,
    increments: Cell<u32>,
    /// Calls of `is_drawn` until the next one that is.
    undrawn: Cell<u32>,
}

/// A thread flushes its garbage when this much of it waits, whatever its share.
const FLUSH_BYTES: u64 = 256 << 10;
/// Or when so many blocks wait that are so long together: whoever comes to free them, a reader as well, takes some 60 ns for each.
/// Flushing takes over a microsecond itself, so of short ones a whole bag of the collector's is let gather. And a bag, full or not, takes 2 KiB
/// that are charged to nobody: that is to be less than 2 % of what waits in it.
const FLUSH_BLOCKS: u32 = 32;
const FLUSH_BLOCKS_BYTES: u64 = 128 << 10;
/// How many requests a thread gathers before it tells the scorer.
pub(crate) const REQUEST_BATCH: u32 = 64;
/// See [`Local::is_drawn`].
pub(crate) const DRAW_ONE_IN: u32 = 32;

impl Local {
    #[inline]
    pub(crate) fn pin(&self) -> Guard {
        #[cfg(memfs_loom)]
        return crate::model::pinned(&self.handle);
        #[cfg(not(memfs_loom))]
        self.handle.pin()
    }

    pub(crate) fn arena(&self) -> &Arena {
        &self.lease.arena
    }

    pub(crate) fn lease(&self) -> std::sync::Arc<Lease> {
        self.lease.clone()
    }

    /// Uniform enough to sample with (xorshift64, Marsaglia 2003).
    #[inline]
    pub(crate) fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x
    }

    /// Adds to what was retired; true when so much waits with this thread that it should be flushed. A thread that goes idle
    /// keeps what it did not flush, so the bound is a share: of a 64th of the limit, among all threads.
    pub(crate) fn retire_bytes(&self, bytes: u64) -> bool {
        self.counters.retired_bytes.add(bytes);
        let sum = self.retired.get() + bytes;
        let count = self.retired_blocks.get() + 1;
        let is_burst = count >= FLUSH_BLOCKS && sum >= FLUSH_BLOCKS_BYTES;
        // Relaxed: how many threads there are is a matter of tuning.
        let is_due = is_burst || sum >= self.retired_share.load(Relaxed);
        self.retired.set(if is_due { 0 } else { sum });
        self.retired_blocks.set(if is_due { 0 } else { count });
        is_due
    }

    /// Notes a request; whether a batch is full, which is to be taken then.
    #[inline(always)]
    pub(crate) fn request(&self) -> bool {
        let requests = self.requests.get() + 1;
        self.requests.set(requests);
        requests >= REQUEST_BATCH
    }

    /// Notes that a counter was raised.
    pub(crate) fn raised(&self) {
        self.increments.set(self.increments.get() + 1);
    }

    /// Requests and performed increments since the last time.
    pub(crate) fn take_requests(&self) -> (u64, u64) {
        (self.requests.take().into(), self.increments.take().into())
    }

    /// Whether this one is drawn, of calls of which each has a chance of one in [`DRAW_ONE_IN`]: how many go by until the next
    /// one that is drawn is made up beforehand, so that a call counts down.
    #[inline(always)]
    pub(crate) fn is_drawn(&self) -> bool {
        let left = self.undrawn.get();
        if left > 0 {
            self.undrawn.set(left - 1);
            return false;
        }
        self.draw();
        true
    }

    /// By inversion: how often a chance of one in so many fails in a row is distributed geometrically (Devroye 1986, X.2).
    #[cold]
    fn draw(&self) {
        const MISS: f64 = 1.0 - 1.0 / DRAW_ONE_IN as f64;
        // Uniform in (0, 1].
        let uniform = ((self.random() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        self.undrawn.set((uniform.ln() / MISS.ln()) as u32);
    }
}

/// All the locals of one store: a list that only grows, and no longer than the threads that ever used the store at once.
pub(crate) struct Registry {
    head: AtomicPtr<Local>,
    threads: AtomicU64,
    /// What each thread may have retired before it flushes: see [`Local::retire_bytes`].
    retired_share: Arc<AtomicU64>,
}

// SAFETY: what is !Send and !Sync in a local is touched by its one owner only (invariant 1); others read its counters.
unsafe impl Send for Registry {}
// SAFETY: as above.
unsafe impl Sync for Registry {}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
            threads: AtomicU64::new(0),
            retired_share: Arc::new(AtomicU64::new(FLUSH_BYTES)),
        }
    }

    /// A local for the calling thread; lock-free.
    pub(crate) fn acquire(&self, collector: &Collector, arena: &Arc<Arena>) -> &Local {
        for local in self.iter() {
            // Acquire: pairs with the Release in `release`. Relaxed on failure: nothing is read.
            if !local.in_use.load(Relaxed)
                && local.in_use.compare_exchange(false, true, Acquire, Relaxed).is_ok()
            {
                return local;
            }
        }
        let new = Box::into_raw(Box::new(Local {
            in_use: AtomicBool::new(true),
            next: ptr::null_mut(),
            handle: collector.register(),
            magazine: Magazine::new(),
            nodes: PoolMagazine::new(),
            counters: Counters::default(),
            lease: std::sync::Arc::new(Lease { arena: arena.clone() }),
            random: Cell::new(0),
            retired: Cell::new(0),
            retired_blocks: Cell::new(0),
            retired_share: self.retired_share.clone(),
            requests: Cell::new(0),
            increments: Cell::new(0),
            undrawn: Cell::new(0),
        }));
        let threads = self.threads.fetch_add(1, Relaxed) + 1;
        let share = arena.budget().limit() / 64 / threads;
        let _ = self.retired_share.fetch_update(Relaxed, Relaxed, |now| (share < now).then_some(share));
        // SAFETY: just made, shared by nobody until the exchange below; a non-zero seed from its own address.
        unsafe {
            (*new).random.set(if cfg!(memfs_loom) { 1 } else { (new as u64) | 1 });
            (*new).draw();
        }
        loop {
            let head = self.head.load(Relaxed);
            // SAFETY: still unshared.
            unsafe { (*new).next = head };
            // Release: pairs with the Acquire in `iter`.
            if self.head.compare_exchange(head, new, Release, Relaxed).is_ok() {
                // SAFETY: never freed before the registry (invariant 2).
                return unsafe { &*new };
            }
        }
    }

    /// Gives a local back, with nothing of the store left in it.
    ///
    /// # Safety
    /// The calling thread owns `local` and uses it no more.
    pub(crate) unsafe fn release(&self, local: &Local) {
        // Release: pairs with the Acquire in `acquire`.
        local.in_use.store(false, Release);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Local> {
        // Acquire: pairs with the Release in `acquire`.
        let mut at = self.head.load(Acquire);
        std::iter::from_fn(move || {
            // SAFETY: pushed whole, never freed before the registry (invariant 2).
            let local = unsafe { at.as_ref()? };
            at = local.next;
            Some(local)
        })
    }

    /// The sum of one level over all threads, at least zero.
    pub(crate) fn level(&self, of: impl Fn(&Counters) -> i64) -> u64 {
        self.iter().map(|local| of(&local.counters)).sum::<i64>().max(0) as u64
    }

    /// The sum of one tally over all threads.
    pub(crate) fn tally(&self, of: impl Fn(&Counters) -> u64) -> u64 {
        self.iter().map(|local| of(&local.counters)).sum()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let mut at = self.head.load(Relaxed);
        while !at.is_null() {
            // SAFETY: exclusive; made by `Box::into_raw` in `acquire`.
            let local = unsafe { Box::from_raw(at) };
            at = local.next;
        }
    }
}
