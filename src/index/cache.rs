//! The path cache: from a path as it was written to the node it led to last time.
//!
//! A hint, never the truth: what it says is verified by the caller, and what it does not say is looked up. Eight ways of
//! `[tag 32 | node 32]` to a cache line, the line chosen by the hash of the whole path; and beside it a line that says for each
//! way where the node's name and content were last, so that all three can be fetched at once. It grows with the number of
//! nodes, by replacement: the new array starts empty, and whoever notes a path afterwards carries over a little of the one
//! before, until nothing of that is left. The tag holds all bits of the hash that choose a line in a larger array.
//!
//! # Invariants
//! 1. An entry is a hint about an id, whatever the slot of that id has become.
//! 2. A table is freed through the epoch: after another took its place, and its own place as the one before was given up or is
//!    freed itself. Each of its lines is carried over once at most.

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
/// Sets of the table before that are carried over with each path noted. All are long before the next growth, which comes with
/// as many new paths as there are nodes: more than there are sets.
const CARRIED_AT_ONCE: u64 = if cfg!(memfs_loom) { 1 } else { 4 };

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
    /// The table before, half as large, or null. Set before this one is published, and taken once.
    before: AtomicPtr<Ways>,
    /// How many sets of that were given out to be carried over.
    carried: AtomicU64,
}

pub(super) struct Cache {
    ways: AtomicPtr<Ways>,
    memory: Arc<Memory>,
}

/// The hash of a path, divided among its uses.
#[derive(Clone, Copy)]
pub(super) struct PathHash(pub(super) u64);

impl PathHash {
    /// The lowest bits, which choose a set even of the smallest table, are not among the tag's.
    const TAG_FROM: u32 = FIRST_SETS.trailing_zeros();

    fn tag(self) -> u64 {
        self.0 >> Self::TAG_FROM & u64::from(u32::MAX)
    }

    fn first_way(self) -> usize {
        (self.0 >> 61) as usize
    }

    /// Which half of a table with twice as many sets as `sets` the path of an entry belongs to.
    fn is_in_upper_half(entry: u64, sets: usize) -> bool {
        entry >> 32 >> (sets.trailing_zeros() - Self::TAG_FROM) & 1 == 1
    }
}

const _: () = assert!(WAYS == 1 << 3, "a way is chosen by three bits");
const _: () = assert!(MOST_SETS.trailing_zeros() <= PathHash::TAG_FROM + 32 || cfg!(memfs_loom));

impl Set {
    fn holds(&self, tag: u64) -> bool {
        self.ways.iter().any(|way| way.load(Ordering::Relaxed) >> 32 == tag)
    }
}

impl Ways {
    fn new(memory: &Memory, sets: usize, before: *mut Ways) -> Result<Box<Self>> {
        debug_assert!(sets.is_power_of_two());
        let (before, carried) = (AtomicPtr::new(before), AtomicU64::new(0));
        Ok(Box::new(Self { sets: Charged::new(memory, sets)?, mask: sets - 1, before, carried }))
    }

    fn len(&self) -> usize {
        self.mask + 1
    }

    /// The table before, if it has not been given up.
    fn before<'g>(&self, _guard: &'g Guard) -> Option<&'g Ways> {
        // Relaxed: what it leads to was made before it was published itself, which is before this table was.
        let before = self.before.load(Ordering::Relaxed);
        #[cfg(memfs_loom)]
        if !before.is_null() {
            crate::model::touch(before.addr());
        }
        // SAFETY: null, or retired through the epoch by whoever takes it from here (`give_up_before`), or freed with this table, which is
        // readable as long as the guard (`Cache::ways`).
        unsafe { before.as_ref() }
    }

    /// Carries over a little of the table before, if there is one; who comes to its end lets it go.
    fn carry(&self, guard: &Guard) {
        let Some(old) = self.before(guard) else { return };
        // Relaxed: each set is given out once, that is all; what is in them are hints.
        let from = self.carried.fetch_add(CARRIED_AT_ONCE, Ordering::Relaxed) as usize;
        let to = (from + CARRIED_AT_ONCE as usize).min(old.len());
        for set in from..to {
            self.carry_set(old, set);
        }
        if from < to && to == old.len() {
            self.give_up_before(guard);
        }
    }

    /// Lets go of the table before, whatever is left to be carried over; how many bytes will be free when the epoch has passed.
    fn give_up_before(&self, guard: &Guard) -> u64 {
        // Others may be carrying it over: they are pinned, and it is retired only. Relaxed: as in `before`.
        let before = self.before.swap(std::ptr::null_mut(), Ordering::Relaxed);
        if before.is_null() {
            return 0;
        }
        // SAFETY: readable, for it is not retired yet. Made by `Box::into_raw`; who takes it out, and so alone, retires it; nobody who
        // pins later finds it here, nor elsewhere: it left `Cache::ways` before this table came there.
        unsafe {
            let bytes = (*before).size_bytes(guard);
            retire(before, guard);
            bytes
        }
    }

    fn carry_set(&self, old: &Ways, set: usize) {
        let from = old.sets.get(set);
        for way in 0..WAYS {
            let entry = from.ways[way].load(Ordering::Relaxed);
            if entry == 0 {
                continue;
            }
            let upper = if PathHash::is_in_upper_half(entry, old.len()) { old.len() } else { 0 };
            let to = self.sets.get(set + upper);
            if to.holds(entry >> 32) {
                continue;
            }
            let is_free = |way: &usize| to.ways[*way].load(Ordering::Relaxed) == 0;
            if let Some(free) = (way..WAYS).chain(0..way).find(is_free) {
                to.hints[free].store(from.hints[way].load(Ordering::Relaxed), Ordering::Relaxed);
                to.ways[free].store(entry, Ordering::Relaxed);
            }
        }
    }

    /// With what is still to be carried over.
    fn size_bytes(&self, guard: &Guard) -> u64 {
        self.sets.size_bytes() + self.before(guard).map_or(0, |before| before.size_bytes(guard))
    }

    #[inline]
    fn set(&self, hash: PathHash) -> &Set {
        self.sets.get(hash.0 as usize & self.mask)
    }
}

impl Drop for Ways {
    fn drop(&mut self) {
        let before = self.before.load(Ordering::Relaxed);
        if !before.is_null() {
            #[cfg(memfs_loom)]
            crate::model::dies(before.addr());
            // SAFETY: exclusive, and so is what only this table leads to.
            drop(unsafe { Box::from_raw(before) });
        }
    }
}

/// # Safety
/// `ways` was made by `Box::into_raw`, is retired once, and nobody who pins later can reach it.
unsafe fn retire(ways: *mut Ways, guard: &Guard) {
    // SAFETY: the caller's.
    unsafe {
        guard.defer_unchecked(move || {
            #[cfg(memfs_loom)]
            crate::model::dies(ways.addr());
            drop(Box::from_raw(ways));
        });
    }
}

impl Cache {
    pub(super) fn new(memory: Arc<Memory>) -> Result<Self> {
        let ways = Box::into_raw(Ways::new(&memory, FIRST_SETS, std::ptr::null_mut())?);
        #[cfg(memfs_loom)]
        crate::model::born(ways.addr());
        Ok(Self { ways: AtomicPtr::new(ways), memory })
    }

    #[inline]
    fn ways<'g>(&self, _guard: &'g Guard) -> &'g Ways {
        let ways = self.ways.load(Ordering::Acquire);
        #[cfg(memfs_loom)]
        crate::model::touch(ways.addr());
        // SAFETY: never null; retired through the epoch after it was replaced (`replace`), and we are pinned. Acquire: pairs
        // with the exchange there.
        unsafe { &*ways }
    }

    pub(super) fn size_bytes(&self, guard: &Guard) -> u64 {
        self.ways(guard).size_bytes(guard)
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
        let ways = self.ways(guard);
        ways.carry(guard);
        let set = ways.set(hash);
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
        let sets = old.len();
        if nodes * 3 / 2 > (sets * WAYS) as u64 && sets < MOST_SETS {
            let old = std::ptr::from_ref(old).cast_mut();
            self.replace(old, sets * 2, old, guard);
        }
    }

    /// Falls back to the size `nodes` ask for, and forgets all; if that is the one it has, it forgets what is not carried over yet.
    /// What it gives up counts as free once the epoch has passed.
    pub(super) fn shrink(&self, nodes: u64, guard: &Guard) -> u64 {
        let old = self.ways(guard);
        let wanted = ((nodes * 3 / 2) as usize).div_ceil(WAYS).next_power_of_two().max(FIRST_SETS);
        if wanted >= old.len() {
            return old.give_up_before(guard);
        }
        let gain = old.size_bytes(guard).saturating_sub((wanted * size_of::<Set>()) as u64);
        let is_smaller =
            self.replace(std::ptr::from_ref(old).cast_mut(), wanted, std::ptr::null_mut(), guard);
        if is_smaller { gain } else { 0 }
    }

    /// Puts a new table in place of `old`, which it either has for the one before or which is retired.
    fn replace(&self, old: *mut Ways, sets: usize, before: *mut Ways, guard: &Guard) -> bool {
        let Ok(new) = Ways::new(&self.memory, sets, before) else { return false };
        let new = Box::into_raw(new);
        #[cfg(memfs_loom)]
        crate::model::born(new.addr());
        // Release: pairs with the Acquire in `ways`. No Acquire: the old one was loaded with it.
        let won = self.ways.compare_exchange(old, new, Ordering::Release, Ordering::Relaxed).is_ok();
        if !won {
            #[cfg(memfs_loom)]
            crate::model::dies(new.addr());
            // SAFETY: the loser's new one was never shared, and what stands as the one before is not its own.
            drop(unsafe {
                (*new).before = AtomicPtr::new(std::ptr::null_mut());
                Box::from_raw(new)
            });
        } else if before.is_null() {
            // SAFETY: made by `Box::into_raw`; the winner retires it, and no thread that pins later can load it.
            unsafe { retire(old, guard) };
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
            // The one before is still to be carried over.
            assert_eq!(cache.size_bytes(&guard), 8192 + 16384);
            // No room for the next size: it stays.
            cache.grow(10_000, &guard);
            assert_eq!(cache.size_bytes(&guard), 8192 + 16384);
            // Of the right size, it can do without what is not carried over yet; and then needs no more.
            assert_eq!(cache.shrink(342, &guard), 8192);
            assert_eq!(cache.shrink(342, &guard), 0);
            assert_eq!(cache.size_bytes(&guard), 16384);
            assert_eq!(cache.shrink(10, &guard), 8192);
            assert_eq!(cache.size_bytes(&guard), 8192);
        }
        drop(collector);
        drop(cache);
        assert_eq!(budget.charged(), 0);
    }

    #[test]
    fn what_was_noted_is_found_after_it_has_grown_and_what_it_took_before_is_given_back() {
        let budget = Arc::new(Budget::new(1 << 20));
        let cache = cache(&budget);
        let collector = Collector::new();
        let hash = |n: u64| PathHash(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        {
            let handle = collector.register();
            let guard = handle.pin();
            let find =
                |n: u64| cache.find(hash(n), &guard).map(|(id, hint)| (id, hint.load(Ordering::Relaxed)));
            let right = |n: u64| Some((NodeId::new(n as u32), n));
            for n in 1..=100 {
                cache.fill(hash(n), NodeId::new(n as u32), n, &guard, |_| false);
            }
            assert!((1..=100).all(|n| find(n) == right(n)));
            // Twice, so that what is carried over has been carried over itself.
            for nodes in [342, 684] {
                cache.grow(nodes, &guard);
                let sets = cache.ways(&guard).len() as u64;
                let fills = sets / 2 / CARRIED_AT_ONCE;
                for n in 1..=fills {
                    assert!(
                        cache.size_bytes(&guard) > sets * size_of::<Set>() as u64,
                        "after {n} of {fills}"
                    );
                    cache.fill(hash(n), NodeId::new(n as u32), n, &guard, |_| false);
                }
                assert_eq!(cache.size_bytes(&guard), sets * size_of::<Set>() as u64);
                assert!((1..=100).all(|n| find(n) == right(n)), "{sets} sets");
            }
        }
        drop(collector);
        drop(cache);
        assert_eq!(budget.charged(), 0);
    }
}
