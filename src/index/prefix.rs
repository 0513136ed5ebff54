//! The path of a directory, beside its number: what all files in it have in common is compared at once, in one place, where going
//! up from a file takes a node and a dentry for each directory above it.
//!
//! A hint with a stamp: four ways to a set, chosen by the directory's number; an entry is written once, and replaced whole. Texts
//! stand here without their first separator, as look-ups compare them.
//!
//! # Invariants
//! 1. An entry's text led to its directory at an instant when the stamp was the entry's. So as long as the stamp is that
//!    (`moves`, invariant 1), and the directory has a name, which it has while anything in it is bound, the text leads to it.
//!    That the stamp is still that has to be asked after the entry was found: before, the reader may not have seen of the two
//!    counts what the entry's maker had (`moves`, invariant 2).
//! 2. Entries and tables are freed through the epoch, after something else took their place.

use super::{
    cache::draw,
    error::{IndexError, Result},
    memory::Memory,
    node::NodeId,
};
use crate::{
    arena::{Budget, Charge},
    epoch::Guard,
    path,
    sync::{Arc, AtomicPtr, AtomicU64, Ordering},
};

const WAYS: usize = if cfg!(memfs_loom) { 1 } else { 4 };
const FIRST_SETS: usize = if cfg!(memfs_loom) { 1 } else { 16 };
/// What of the limit all this may take.
const PART_OF_LIMIT: usize = 256;
/// Paths of directories that are longer are compared name by name.
const TEXT_BYTES: usize = 115;
/// See [`Prefixes::room`].
const REPLACE_ONE_IN: u32 = 8;

/// Two cache lines.
#[repr(C, align(64))]
struct Prefix {
    stamp: u64,
    directory: NodeId,
    len: u8,
    text: [u8; TEXT_BYTES],
}

const _: () = assert!(size_of::<Prefix>() == 128);

impl Prefix {
    fn text(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }
}

/// Addresses of entries, or 0, each with some bits of its directory's hash in those that are free. Low ones, so that whoever looks for
/// lost memory sees what leads to it.
#[repr(C, align(32))]
struct Set([AtomicU64; WAYS]);

const TAG_MASK: u64 = align_of::<Prefix>() as u64 - 1;

/// Spreads the numbers of directories, which have those of files between them (Knuth's multiplicative hashing).
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    #[inline]
    fn of(directory: NodeId) -> Self {
        Self(u64::from(directory.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// What tells most directories of one set apart.
    #[inline]
    fn tag(self) -> u64 {
        self.0 >> 26 & TAG_MASK
    }

    #[inline]
    fn set(self) -> usize {
        (self.0 >> 32) as usize
    }
}

struct Sets {
    /// On the heap, as what they lead to: who looks for lost memory there does not look into mappings.
    sets: Box<[Set]>,
    mask: usize,
    /// Ways that have an entry: none that has ever loses it, so this is written once for each. Relaxed throughout: a figure, and
    /// asked for by whoever needs much room, who should not have to go through all of them.
    taken: AtomicU64,
    charge: Charge,
}

impl Sets {
    fn new(memory: &Memory, sets: usize) -> Result<Box<Self>> {
        debug_assert!(sets.is_power_of_two());
        let size_bytes = (sets * size_of::<Set>()) as u64;
        if !memory.budget().try_charge(size_bytes) {
            return Err(IndexError::Memory(size_bytes));
        }
        let charge = Charge::of(memory.budget(), size_bytes);
        let mask = sets - 1;
        let sets = (0..sets).map(|_| Set(std::array::from_fn(|_| AtomicU64::new(0)))).collect();
        Ok(Box::new(Self { sets, mask, taken: AtomicU64::new(0), charge }))
    }

    fn size_bytes(&self) -> u64 {
        size_of_val(&*self.sets) as u64
    }

    #[inline]
    fn set(&self, hash: Hash) -> &[AtomicU64; WAYS] {
        &self.sets[hash.set() & self.mask].0
    }
}

impl Drop for Sets {
    /// By the collector, or by the last owner: nobody reads or fills any more.
    fn drop(&mut self) {
        for way in self.sets.iter().flat_map(|set| &set.0) {
            // SAFETY: an entry leaves its way only when it is replaced, and this one is in it.
            unsafe { discard(way.load(Ordering::Relaxed), self.charge.budget()) };
        }
    }
}

fn entry_at(way: u64, _guard: &Guard) -> Option<&Prefix> {
    let address = (way & !TAG_MASK) as usize;
    #[cfg(memfs_loom)]
    if address != 0 {
        crate::model::touch(address);
    }
    // SAFETY: loaded (Acquire) from a way under the guard (`leads`, `room`): written before it was put there (`fill`). It is freed
    // through the epoch, by who replaced it or with a table that was itself loaded under the guard.
    unsafe { std::ptr::with_exposed_provenance::<Prefix>(address).as_ref() }
}

/// # Safety
/// `way` is 0 or was made by `fill`, and nobody can reach its entry.
unsafe fn discard(way: u64, budget: &Budget) {
    let address = (way & !TAG_MASK) as usize;
    if address != 0 {
        #[cfg(memfs_loom)]
        crate::model::dies(address);
        // SAFETY: from `Box::into_raw` (caller).
        drop(unsafe { Box::from_raw(std::ptr::with_exposed_provenance_mut::<Prefix>(address)) });
        budget.refund(size_of::<Prefix>() as u64);
    }
}

pub(super) struct Prefixes {
    sets: AtomicPtr<Sets>,
    memory: Arc<Memory>,
}

impl Prefixes {
    pub(super) fn new(memory: Arc<Memory>) -> Result<Self> {
        let sets = Box::into_raw(Sets::new(&memory, FIRST_SETS)?);
        #[cfg(memfs_loom)]
        crate::model::born(sets.addr());
        Ok(Self { sets: AtomicPtr::new(sets), memory })
    }

    #[inline]
    fn sets<'g>(&self, _guard: &'g Guard) -> &'g Sets {
        let sets = self.sets.load(Ordering::Acquire);
        #[cfg(memfs_loom)]
        crate::model::touch(sets.addr());
        // SAFETY: never null; retired through the epoch after it was replaced (`grown`), and we are pinned. Acquire: pairs with
        // the exchange there.
        unsafe { &*sets }
    }

    /// Whether `text` is known to have led to `directory` when the stamp was `stamp`. The caller asks for the stamp again afterwards
    /// (invariant 1).
    #[inline(always)]
    pub(super) fn leads(&self, text: &[u8], directory: NodeId, stamp: u64, guard: &Guard) -> bool {
        let hash = Hash::of(directory);
        for way in self.sets(guard).set(hash) {
            // Acquire: pairs with the exchange in `fill`.
            let way = way.load(Ordering::Acquire);
            if way & TAG_MASK == hash.tag()
                && let Some(entry) = entry_at(way, guard)
                && entry.directory == directory
            {
                return entry.stamp == stamp && path::same(entry.text(), text);
            }
        }
        false
    }

    /// Notes where `text` led when the stamp was `stamp`, unless there is no memory for it. `directories`: how many there are.
    pub(super) fn fill(&self, text: &[u8], directory: NodeId, stamp: u64, directories: u64, guard: &Guard) {
        let hash = Hash::of(directory);
        let Some(len) = u8::try_from(text.len()).ok().filter(|_| text.len() <= TEXT_BYTES) else { return };
        let sets = self.grown(directories, guard);
        let Some((way, seen)) = Self::room(sets.set(hash), directory, stamp, guard) else { return };
        if !self.memory.budget().try_charge(size_of::<Prefix>() as u64) {
            return;
        }
        let mut entry = Box::new(Prefix { stamp, directory, len, text: [0; TEXT_BYTES] });
        entry.text[..text.len()].copy_from_slice(text);
        let address = Box::into_raw(entry).expose_provenance() as u64;
        debug_assert_eq!(address & TAG_MASK, 0);
        #[cfg(memfs_loom)]
        crate::model::born(address as usize);
        let new = address | hash.tag();
        // Release: pairs with the Acquire loads in `leads` and `room`: who sees the entry sees it written. No Acquire: what is taken
        // out was loaded with it, and is looked at no more.
        match way.compare_exchange(seen, new, Ordering::Release, Ordering::Relaxed) {
            Ok(0) => _ = sets.taken.fetch_add(1, Ordering::Relaxed),
            Ok(replaced) => {
                let budget = self.memory.budget().clone();
                // SAFETY: made here by somebody, and taken out of the one place that leads to it by our exchange alone; whoever
                // reads it loaded it under a guard. It has not been another entry meanwhile (ABA): our guard is older than `seen`.
                unsafe { guard.defer_unchecked(move || discard(replaced, &budget)) };
            }
            // SAFETY: from this call, and never shared.
            Err(_) => unsafe { discard(new, self.memory.budget()) },
        }
    }

    /// The way that a new entry takes, and what is in it now: one of this directory, an empty one, one that does not hold any more;
    /// else any. What is not empty is replaced one time in so many only, so that directories that fight for a set, or others that
    /// come and go, do not make every look-up write.
    fn room<'s>(
        set: &'s [AtomicU64; WAYS],
        directory: NodeId,
        stamp: u64,
        guard: &Guard,
    ) -> Option<(&'s AtomicU64, u64)> {
        // Acquire: pairs with the exchange in `fill`.
        let ways = || set.iter().map(|way| (way, way.load(Ordering::Acquire)));
        let entry = |way: u64| entry_at(way, guard);
        let same = ways().find(|(_, way)| entry(*way).is_some_and(|entry| entry.directory == directory));
        let empty = || ways().find(|(_, way)| *way == 0);
        let stale = || ways().find(|(_, way)| entry(*way).is_none_or(|entry| entry.stamp != stamp));
        let draw = draw();
        match same.or_else(empty).or_else(stale) {
            Some(empty @ (_, 0)) => Some(empty),
            _ if !draw.is_multiple_of(REPLACE_ONE_IN) => None,
            Some(taken) => Some(taken),
            None => ways().nth((draw / REPLACE_ONE_IN) as usize % WAYS),
        }
    }

    /// The sets, after they were doubled if there are fewer than two ways for each directory; the entries are filled in again as
    /// they are needed. Without memory they stay as they are.
    fn grown<'g>(&self, directories: u64, guard: &'g Guard) -> &'g Sets {
        let old = self.sets(guard);
        let sets = old.mask + 1;
        let most = self.memory.budget().limit() as usize / PART_OF_LIMIT / (WAYS * (size_of::<Prefix>() + 8));
        if directories * 2 <= (sets * WAYS) as u64 || sets * 2 > most {
            return old;
        }
        let Ok(new) = Sets::new(&self.memory, sets * 2) else { return old };
        let (from, new) = (std::ptr::from_ref(old).cast_mut(), Box::into_raw(new));
        #[cfg(memfs_loom)]
        crate::model::born(new.addr());
        // Release: pairs with the Acquire in `sets`. No Acquire: the old ones were loaded with it.
        let won = self.sets.compare_exchange(from, new, Ordering::Release, Ordering::Relaxed).is_ok();
        let lost = if won { from } else { new };
        let drop_it = move || {
            #[cfg(memfs_loom)]
            crate::model::dies(lost.addr());
            // SAFETY: from `Box::into_raw`. The old one was replaced by us alone, and who fills or reads it loaded it under a guard,
            // so nothing comes into it any more when this runs; the new one was never shared.
            drop(unsafe { Box::from_raw(lost) });
        };
        if won {
            // SAFETY: as above; no thread that pins later can load it.
            unsafe { guard.defer_unchecked(drop_it) };
        } else {
            drop_it();
        }
        self.sets(guard)
    }

    pub(super) fn size_bytes(&self, guard: &Guard) -> u64 {
        let sets = self.sets(guard);
        sets.size_bytes() + sets.taken.load(Ordering::Relaxed) * size_of::<Prefix>() as u64
    }
}

impl Drop for Prefixes {
    fn drop(&mut self) {
        let sets = self.sets.load(Ordering::Relaxed);
        #[cfg(memfs_loom)]
        crate::model::dies(sets.addr());
        // SAFETY: exclusive; made by `Box::into_raw`.
        drop(unsafe { Box::from_raw(sets) });
    }
}
