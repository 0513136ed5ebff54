//! A count-min sketch of 4-bit counters (Cormode, Muthukrishnan 2005) with conservative update (Estan, Varghese 2002), one
//! 64-byte block per key, so that a look or an increment touches one cache line (the blocked layout of Putze, Sanders and
//! Singler 2007, as frequency sketches use it).
//!
//! A block is four rows of 32 counters, two words a row; a key owns one counter in each row. It ages by halving, a few blocks
//! at a time, so that no request pays for a whole pass.

use crate::{
    epoch::Guard,
    map::{Zeroable, Zeroed},
    sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::*},
};
use crossbeam_utils::CachePadded;
use std::io;

const WORDS_PER_BLOCK: usize = 8;
const ROWS: usize = 4;
/// A counter's largest value.
pub(crate) const SATURATED: u8 = 15;
/// Increments per resident file after which everything has been halved once.
const HALVING_INCREMENTS: u64 = 40;
/// See [`Sketch::era`].
const ERAS_PER_PASS: usize = 16;
/// Files one block serves: 128 counters, four a file.
const FILES_PER_BLOCK: usize = 32;

#[repr(C, align(64))]
struct Block([AtomicU64; WORDS_PER_BLOCK]);

// SAFETY: integer atomics only; zero is a block that has counted nothing.
unsafe impl Zeroable for Block {
    #[cfg(memfs_loom)]
    fn zeroed() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

struct Table {
    blocks: Zeroed<Block>,
    mask: usize,
}

impl Table {
    /// What a table twice as large takes.
    fn grown_bytes(&self) -> u64 {
        2 * self.blocks.size_bytes() as u64
    }

    fn new(blocks: usize) -> io::Result<Box<Self>> {
        debug_assert!(blocks.is_power_of_two());
        let mask = blocks - 1;
        let blocks = Zeroed::new(blocks)?;
        if blocks.size_bytes() >= 2 << 20 {
            blocks.advise_huge();
        }
        Ok(Box::new(Self { blocks, mask }))
    }

    fn len(&self) -> usize {
        self.mask + 1
    }

    /// A key's block, by the bottom of its hash.
    #[inline]
    fn block(&self, hash: u64) -> &Block {
        self.blocks.get(hash as usize & self.mask)
    }

    /// The words and shifts of a key's four counters.
    #[inline]
    fn counters(&self, hash: u64) -> [(&AtomicU64, u32); ROWS] {
        let block = self.block(hash);
        std::array::from_fn(|row| {
            // Five bits a row, from the top of the hash: the bottom chose the block.
            let counter = (hash >> (44 + 5 * row)) as usize & 31;
            (&block.0[2 * row + counter / 16], (counter % 16) as u32 * 4)
        })
    }
}

/// Estimates how often each key was used lately.
pub(crate) struct Sketch {
    table: AtomicPtr<Table>,
    /// Where halving goes on; counts blocks, and passes when divided by their number.
    hand: CachePadded<AtomicUsize>,
    /// Increments not yet turned into halved blocks.
    owed: CachePadded<AtomicU64>,
    passes: AtomicU64,
    /// Sixteenths of passes, as [`era`](Sketch::era) tells them.
    eras: AtomicU32,
}

/// Spreads a small key over 64 bits: the two halves of one long product (the mixing step of wyhash, Wang 2019).
#[inline]
fn spread(key: u64) -> u64 {
    let product = u128::from(key ^ 0x9e37_79b9_7f4a_7c15) * 0xbf58_476d_1ce4_e5b9;
    (product >> 64) as u64 ^ product as u64
}

impl Sketch {
    /// A sketch for at least `files` files.
    pub(crate) fn new(files: usize) -> io::Result<Self> {
        let table = Table::new(files.div_ceil(FILES_PER_BLOCK).next_power_of_two())?;
        #[cfg(memfs_loom)]
        crate::model::born((&raw const *table).addr());
        Ok(Self {
            table: AtomicPtr::new(Box::into_raw(table)),
            hand: CachePadded::new(AtomicUsize::new(0)),
            owed: CachePadded::new(AtomicU64::new(0)),
            passes: AtomicU64::new(0),
            eras: AtomicU32::new(1),
        })
    }

    #[inline]
    fn table<'g>(&self, _guard: &'g Guard) -> &'g Table {
        let table = self.table.load(Acquire);
        #[cfg(memfs_loom)]
        crate::model::touch(table.addr());
        // SAFETY: Acquire pairs with the AcqRel exchange in `grow`; a replaced table is retired through the epoch, and the
        // caller is pinned.
        unsafe { &*table }
    }

    /// A number that changes sixteen times in a pass, and is not 0: a counter that was seen saturated is, until it changes,
    /// either saturated or has lost at most a sixteenth of what it will count in the pass to come.
    #[inline]
    pub(crate) fn era(&self) -> u32 {
        self.eras.load(Relaxed)
    }

    /// Counts one use of `key`; says whether a counter was raised. Costs one cache line, and no write once the key's
    /// smallest counter is saturated.
    // Relaxed: counters order nothing. An increment that loses its race is dropped: the winner raised the same block.
    #[inline]
    pub(crate) fn record(&self, key: u64, guard: &Guard) -> bool {
        let counters = self.table(guard).counters(spread(key));
        let values = counters.map(|(word, shift)| (word.load(Relaxed) >> shift) as u8);
        // All four at 15, if all their bits are set.
        if values[0] & values[1] & values[2] & values[3] & SATURATED == SATURATED {
            return false;
        }
        Self::raise(counters, values.map(|value| value & SATURATED));
        true
    }

    /// Raises the smallest of a key's counters.
    fn raise(counters: [(&AtomicU64, u32); ROWS], values: [u8; ROWS]) {
        let least = values[0].min(values[1]).min(values[2]).min(values[3]);
        for ((word, shift), value) in counters.into_iter().zip(values) {
            if value == least {
                let now = word.load(Relaxed);
                if (now >> shift) as u8 & 15 == value {
                    let _ = word.compare_exchange(now, now + (1 << shift), Relaxed, Relaxed);
                }
            }
        }
    }

    /// How often `key` was used lately, 0 to 15.
    pub(crate) fn estimate(&self, key: u64, guard: &Guard) -> u8 {
        self.table(guard)
            .counters(spread(key))
            .into_iter()
            .map(|(word, shift)| (word.load(Relaxed) >> shift) as u8 & 15)
            .min()
            .unwrap_or(0)
    }

    /// Pays for `increments` that were performed: everything is halved once per 40 x `files` of them, a block at a time.
    pub(crate) fn age(&self, increments: u64, files: u64, guard: &Guard) {
        let table = self.table(guard);
        let blocks = table.len() as u64;
        let per_block = (HALVING_INCREMENTS * files.max(1)).div_ceil(blocks).max(1);
        let owed = self.owed.fetch_add(increments, Relaxed) + increments;
        let due = (owed / per_block).min(blocks);
        let rest = owed - due * per_block;
        // Lost the exchange: another batch came after, and pays for both.
        if due == 0 || self.owed.compare_exchange(owed, rest, Relaxed, Relaxed).is_err() {
            return;
        }
        let from = self.hand.fetch_add(due as usize, Relaxed);
        let era = (from + due as usize) * ERAS_PER_PASS / table.len();
        self.eras.store(era as u32 | 1 << 31, Relaxed);
        for turn in from..from + due as usize {
            Self::halve(table.block(turn as u64));
            if turn & table.mask == table.mask {
                self.passes.fetch_add(1, Relaxed);
            }
        }
    }

    fn halve(block: &Block) {
        for word in &block.0 {
            let mut now = word.load(Relaxed);
            while let Err(other) =
                word.compare_exchange_weak(now, (now >> 1) & 0x7777_7777_7777_7777, Relaxed, Relaxed)
            {
                now = other;
            }
        }
    }

    /// How many times everything has been halved: boosts fade with it.
    #[inline]
    pub(crate) fn passes(&self) -> u64 {
        self.passes.load(Relaxed)
    }

    /// What it takes to serve `files`, if the sketch is smaller than that: the bytes of a larger table.
    pub(crate) fn wants(&self, files: u64, guard: &Guard) -> Option<u64> {
        let table = self.table(guard);
        (files > (table.len() * FILES_PER_BLOCK) as u64).then(|| table.grown_bytes())
    }

    /// Bytes in use.
    pub(crate) fn size_bytes(&self, guard: &Guard) -> u64 {
        self.table(guard).blocks.size_bytes() as u64
    }

    /// Doubles the sketch, to `bytes`, as [`wants`](Self::wants) said; false if another thread did. Increments that race with the copy
    /// may be lost.
    pub(crate) fn grow(&self, bytes: u64, guard: &Guard) -> io::Result<bool> {
        let old = self.table.load(Acquire);
        // SAFETY: as in `table`.
        let from = unsafe { &*old };
        if bytes != from.grown_bytes() {
            return Ok(false);
        }
        let to = Table::new(from.len() * 2)?;
        for hash in 0..to.len() as u64 {
            for (from, to) in from.block(hash).0.iter().zip(&to.block(hash).0) {
                let value = from.load(Relaxed);
                if value != 0 {
                    to.store(value, Relaxed);
                }
            }
        }
        let new = Box::into_raw(to);
        #[cfg(memfs_loom)]
        crate::model::born(new.addr());
        // AcqRel: pairs with the Acquire in `table`; the new table is filled before it is seen.
        if self.table.compare_exchange(old, new, AcqRel, Acquire).is_err() {
            #[cfg(memfs_loom)]
            crate::model::dies(new.addr());
            // SAFETY: `new` was never shared.
            drop(unsafe { Box::from_raw(new) });
            return Ok(false);
        }
        // SAFETY: `old` was unlinked by the exchange above; who still reads it is pinned.
        unsafe {
            guard.defer_unchecked(move || {
                #[cfg(memfs_loom)]
                crate::model::dies(old.addr());
                drop(Box::from_raw(old));
            });
        }
        Ok(true)
    }
}

impl Drop for Sketch {
    fn drop(&mut self) {
        #[cfg(memfs_loom)]
        crate::model::dies(self.table.load(Relaxed).addr());
        // SAFETY: exclusive; the current table is owned by the sketch alone.
        drop(unsafe { Box::from_raw(self.table.load(Relaxed)) });
    }
}

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;
    use crate::epoch::Collector;

    #[test]
    fn estimates_follow_use_and_saturate_without_further_writes() {
        let (sketch, handle) = (Sketch::new(1000).unwrap(), Collector::new().register());
        let guard = handle.pin();
        assert_eq!(sketch.estimate(7, &guard), 0);
        for n in 1..=15 {
            assert!(sketch.record(7, &guard));
            assert_eq!(sketch.estimate(7, &guard), n);
        }
        assert!(!sketch.record(7, &guard), "a saturated counter is only read");
    }

    #[test]
    fn few_of_many_keys_are_overestimated() {
        let (sketch, handle) = (Sketch::new(10_000).unwrap(), Collector::new().register());
        let guard = handle.pin();
        for key in 0..10_000 {
            sketch.record(key, &guard);
        }
        let over = (0..10_000).filter(|key| sketch.estimate(*key, &guard) > 1).count();
        assert!(over < 1500, "{over} of 10000 estimated above their one use");
        assert!((0..10_000).all(|key| sketch.estimate(key, &guard) >= 1));
    }

    #[test]
    fn everything_is_halved_once_in_forty_increments_a_file() {
        let (sketch, handle) = (Sketch::new(64).unwrap(), Collector::new().register());
        let guard = handle.pin();
        for _ in 0..8 {
            sketch.record(1, &guard);
        }
        for _ in 0..40 {
            sketch.age(64, 64, &guard);
        }
        assert_eq!((sketch.passes(), sketch.estimate(1, &guard)), (1, 4));
    }

    #[test]
    fn growing_keeps_every_estimate() {
        let (sketch, handle) = (Sketch::new(64).unwrap(), Collector::new().register());
        let guard = handle.pin();
        for key in 0..64 {
            for _ in 0..key % 9 {
                sketch.record(key, &guard);
            }
        }
        let before: Vec<u8> = (0..64).map(|key| sketch.estimate(key, &guard)).collect();
        assert_eq!(sketch.wants(64, &guard), None);
        assert!(sketch.wants(65, &guard).is_some());
        let bytes = sketch.wants(65, &guard).unwrap();
        assert!(!sketch.grow(2 * bytes, &guard).unwrap(), "asked of a table that is gone");
        assert!(sketch.grow(bytes, &guard).unwrap());
        let after: Vec<u8> = (0..64).map(|key| sketch.estimate(key, &guard)).collect();
        assert_eq!(before, after);
    }

    #[test]
    fn threads_that_count_one_key_reach_its_saturation() {
        let (sketch, collector) = (Sketch::new(64).unwrap(), Collector::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (sketch, collector) = (&sketch, collector.clone());
                scope.spawn(move || {
                    let handle = collector.register();
                    for _ in 0..100 {
                        sketch.record(3, &handle.pin());
                    }
                });
            }
        });
        assert_eq!(sketch.estimate(3, &collector.register().pin()), SATURATED);
    }
}
