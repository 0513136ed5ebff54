//! The path cache: from a path as it was written to the node it led to last time.
//!
//! A hint, never the truth: what it says is verified by the caller, and what it does not say is looked up. Eight ways of
//! `[tag 32 | node 32]` to a cache line, the line chosen by the hash of the whole path; and beside it a line that says for each
//! way where the node's name and content were last, so that all three can be fetched at once. It grows with the number of
//! nodes, by replacement: the new array starts empty and fills as paths are looked up.
//!
//! # Invariants
//! 1. An entry is a hint about an id, whatever the slot of that id has become.
//! 2. A table is freed through the epoch, after another took its place.

use super::{
    error::Result,
    memory::{Charged, Memory},
};
use crate::{
    epoch::Guard,
    map::Zeroable,
    sync::{Arc, AtomicPtr, AtomicU64, Ordering},
};

use super::node::NodeId;

const WAYS: usize = 8;
const FIRST_SETS: usize = if cfg!(memfs_loom) { 1 } else { 64 };
const MOST_SETS: usize = 1 << 28;
/// A full set gives up an entry for one new path in this many: paths that fight for a set do not write on every look-up.
const REPLACE_ONE_IN: u32 = 8;

#[repr(C, align(128))]
struct Set {
    ways: [AtomicU64; WAYS],
    /// What the caller wants to find beside each way; only as good as the last who wrote it.
    hints: [AtomicU64; WAYS],
}

// SAFETY: integer atomics only; zero is an empty entry.
unsafe impl Zeroable for Set {
    #[cfg(memfs_loom)]
    fn zeroed() -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { ways: zeros(), hints: zeros() }
    }
}

struct Ways {
    sets: Charged<Set>,
    mask: usize,
}

pub(super) struct Cache {
    ways: AtomicPtr<Ways>,
    memory: Arc<Memory>,
}

/// The hash of a path, divided among its uses.
#[derive(Clone, Copy)]
pub(super) struct PathHash(pub(super) u64);

impl PathHash {
    fn tag(self) -> u64 {
        self.0 >> 32
    }

    fn first_way(self) -> usize {
        (self.0 >> 28) as usize % WAYS
    }
}

impl Ways {
    fn new(memory: &Memory, sets: usize) -> Result<Box<Self>> {
        debug_assert!(sets.is_power_of_two());
        Ok(Box::new(Self { sets: Charged::new(memory, sets)?, mask: sets - 1 }))
    }

    #[inline]
    fn set(&self, hash: PathHash) -> &Set {
        self.sets.get(hash.0 as usize & self.mask)
    }
}

impl Cache {
    pub(super) fn new(memory: Arc<Memory>) -> Result<Self> {
        let ways = Box::into_raw(Ways::new(&memory, FIRST_SETS)?);
        #[cfg(memfs_loom)]
        crate::model::born(ways.addr());
        Ok(Self { ways: AtomicPtr::new(ways), memory })
    }

    #[inline]
    fn ways<'g>(&self, _guard: &'g Guard) -> &'g Ways {
        let ways = self.ways.load(Ordering::Acquire);
        #[cfg(memfs_loom)]
        crate::model::touch(ways.addr());
        // SAFETY: never null; retired through the epoch after it was replaced (`resize`), and we are pinned. Acquire: pairs
        // with the exchange there.
        unsafe { &*ways }
    }

    pub(super) fn size_bytes(&self, guard: &Guard) -> u64 {
        self.ways(guard).sets.size_bytes()
    }

    /// The node that the path may lead to, and its hint.
    #[inline(always)]
    pub(super) fn find<'g>(&self, hash: PathHash, guard: &'g Guard) -> Option<(NodeId, &'g AtomicU64)> {
        let set = self.ways(guard).set(hash);
        let first = hash.first_way();
        let mut way = first;
        loop {
            // Relaxed: a hint; what it leads to is loaded and checked on its own.
            let entry = set.ways[way].load(Ordering::Relaxed);
            if entry >> 32 == hash.tag() && entry as u32 != 0 {
                return Some((NodeId::new(entry as u32), &set.hints[way]));
            }
            way = (way + 1) % WAYS;
            if way == first {
                return None;
            }
        }
    }

    /// Notes where a path led, and a hint. An entry that `is_stale` gives way; if none is, some other does now and then.
    pub(super) fn fill(
        &self,
        hash: PathHash,
        id: NodeId,
        hint: u64,
        guard: &Guard,
        is_stale: impl Fn(NodeId) -> bool,
    ) {
        let set = self.ways(guard).set(hash);
        let first = hash.first_way();
        let new = hash.tag() << 32 | u64::from(id.get());
        let mut room = None;
        for way in (0..WAYS).map(|step| (first + step) % WAYS) {
            let entry = set.ways[way].load(Ordering::Relaxed);
            if entry == new {
                return;
            }
            if entry >> 32 == hash.tag() || entry == 0 {
                room = Some(way);
                break;
            }
        }
        let stale = |way: &usize| is_stale(NodeId::new(set.ways[*way].load(Ordering::Relaxed) as u32));
        let room = room.or_else(|| (0..WAYS).find(stale)).or_else(|| {
            let draw = draw();
            draw.is_multiple_of(REPLACE_ONE_IN).then_some((draw / REPLACE_ONE_IN) as usize % WAYS)
        });
        if let Some(way) = room {
            set.hints[way].store(hint, Ordering::Relaxed);
            set.ways[way].store(new, Ordering::Relaxed);
        }
    }

    /// Doubles while there are fewer than three ways for two nodes. Without memory it stays as it is.
    pub(super) fn grow(&self, nodes: u64, guard: &Guard) {
        let old = self.ways(guard);
        let sets = old.mask + 1;
        if nodes * 3 / 2 > (sets * WAYS) as u64 && sets < MOST_SETS {
            self.resize(old, sets * 2, guard);
        }
    }

    /// Falls back to the size `nodes` ask for; what it gives up counts as free once the epoch has passed.
    pub(super) fn shrink(&self, nodes: u64, guard: &Guard) -> u64 {
        let old = self.ways(guard);
        let wanted = ((nodes * 3 / 2) as usize).div_ceil(WAYS).next_power_of_two().max(FIRST_SETS);
        let gain = old.sets.size_bytes().saturating_sub((wanted * size_of::<Set>()) as u64);
        if gain > 0 && self.resize(old, wanted, guard) { gain } else { 0 }
    }

    fn resize(&self, old: &Ways, sets: usize, guard: &Guard) -> bool {
        let Ok(new) = Ways::new(&self.memory, sets) else { return false };
        let (old, new) = (std::ptr::from_ref(old).cast_mut(), Box::into_raw(new));
        #[cfg(memfs_loom)]
        crate::model::born(new.addr());
        // Release: pairs with the Acquire in `ways`. No Acquire: the old one was loaded with it.
        let won = self.ways.compare_exchange(old, new, Ordering::Release, Ordering::Relaxed).is_ok();
        // SAFETY: the winner retires the old one, which no thread that pins later can load; the loser's new one was never
        // shared. Both came from `Box::into_raw`.
        unsafe {
            if won {
                guard.defer_unchecked(move || {
                    #[cfg(memfs_loom)]
                    crate::model::dies(old.addr());
                    drop(Box::from_raw(old));
                });
            } else {
                #[cfg(memfs_loom)]
                crate::model::dies(new.addr());
                drop(Box::from_raw(new));
            }
        }
        won
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        #[cfg(memfs_loom)]
        crate::model::dies(self.ways.load(Ordering::Relaxed).addr());
        // SAFETY: exclusive; made by `Box::into_raw`.
        drop(unsafe { Box::from_raw(self.ways.load(Ordering::Relaxed)) });
    }
}

/// A number from a thread's own sequence (xorshift); which one does not matter.
pub(super) fn draw() -> u32 {
    // The model checker wants every run to be the same.
    if cfg!(memfs_loom) {
        return 0;
    }
    thread_local! {
        static STATE: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }
    STATE.with(|state| {
        if state.get() == 0 {
            // Different from thread to thread: where its state lies.
            state.set(std::ptr::from_ref(state).addr() as u32 | 1);
        }
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        state.set(x);
        x
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        arena::{Arena, Budget},
        epoch::Collector,
    };

    fn cache(budget: &Arc<Budget>) -> Cache {
        let arena = Arena::new(budget.clone(), 1 << 10, false).expect("address space");
        Cache::new(Arc::new(Memory::new(Arc::new(arena), None))).expect("room")
    }

    #[test]
    fn what_was_filled_in_is_found_until_its_set_overflows() {
        let budget = Arc::new(Budget::new(1 << 20));
        let cache = cache(&budget);
        let collector = Collector::new();
        let handle = collector.register();
        let guard = handle.pin();
        let hash = |n: u64| PathHash(n << 32 | 5);
        let find = |n| cache.find(hash(n), &guard).map(|(id, hint)| (id, hint.load(Ordering::Relaxed)));
        for n in 1..=8 {
            cache.fill(hash(n), NodeId::new(n as u32), n, &guard, |_| false);
        }
        for n in 1..=8 {
            assert_eq!(find(n), Some((NodeId::new(n as u32), n)));
        }
        // A ninth finds no room unless an entry is stale, or luck.
        cache.fill(hash(9), NodeId::new(9), 90, &guard, |id| id == NodeId::new(3));
        assert_eq!(find(9), Some((NodeId::new(9), 90)));
        assert_eq!(find(3), None);
        // The same path again takes the place of its own entry.
        cache.fill(hash(9), NodeId::new(10), 100, &guard, |_| false);
        assert_eq!(find(9), Some((NodeId::new(10), 100)));
    }

    #[test]
    fn it_grows_and_shrinks_with_the_nodes_and_every_byte_is_refunded() {
        let budget = Arc::new(Budget::new(1 << 15));
        let cache = cache(&budget);
        let collector = Collector::new();
        {
            let handle = collector.register();
            let guard = handle.pin();
            assert_eq!(cache.size_bytes(&guard), 8192);
            cache.grow(341, &guard);
            assert_eq!(cache.size_bytes(&guard), 8192);
            cache.grow(342, &guard);
            assert_eq!(cache.size_bytes(&guard), 16384);
            // No room for the next size: it stays.
            cache.grow(10_000, &guard);
            assert_eq!(cache.size_bytes(&guard), 16384);
            assert_eq!(cache.shrink(10, &guard), 8192);
        }
        drop(collector);
        drop(cache);
        assert_eq!(budget.charged(), 0);
    }
}
