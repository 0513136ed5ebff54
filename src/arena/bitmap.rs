//! A lock-free set of small numbers that finds its lowest or highest member through summaries.
//!
//! ```text
//! level 2            [ 0010 ]                      a bit: the word below may have members
//! level 1      [0000] [0000] [1001] [0000]
//! level 0   ....          [0100] [0000] [0000] [1110]      a bit: a member
//! ```
//!
//! Knows nothing of slots, spans or memory. There is no list and no pointer in it, hence no ABA: a member is taken by
//! the read-modify-write that clears its bit, whatever happened in between.
//!
//! # Invariants
//! 1. A bit of level 0 is cleared only by a claim, set only by who holds the member.
//! 2. When no operation is under way, a word that is not zero has its bit set in the level above. (A set summary bit
//!    over a zero word is harmless: whoever meets it clears it.)
//!
//! Why 2 holds: whoever turns a word from zero to something (`announce`) does a read-modify-write on the bit above
//! *after* it; whoever clears a bit above (`withdraw`) looks at the word *after* it and announces again if it is not
//! zero. Suppose the bit ends up clear over a word that ends up not zero. The announcer's write to the bit then came
//! before the last clearing of it; both are read-modify-writes of one word, so the clearing (Acquire) synchronises with
//! the announcing (Release, carried on by every read-modify-write between them) and its look at the word sees the word
//! as the announcer left it or later: not zero. So it announced again: a contradiction.
//!
//! Between `withdraw`'s two steps members can be out of sight. That is a `None` where there was something, never a
//! member lost; and every later `set` in the same region repairs the path to the root, so that a thread paused just
//! there hides little and not for long.

use crate::{
    failpoint::pass,
    map::Zeroed,
    sync::{AtomicU64, Ordering},
};
use std::io;

/// A word has `1 << WORD_SHIFT` bits: 64, or 4 under the model checker, so that small sets have several levels there.
pub(super) const WORD_SHIFT: u32 = if cfg!(memfs_loom) { 2 } else { 6 };
/// Members per leaf word.
pub(super) const WORD_BITS: usize = 1 << WORD_SHIFT;
/// A leaf word with all its members.
pub(super) const FULL: u64 = u64::MAX >> (64 - WORD_BITS);

const MAX_LEVELS: usize = 11;

/// Which member first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Low,
    High,
}

/// Members taken from one leaf word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    /// Index of the leaf word: the first member it can have is `word * WORD_BITS`.
    pub(super) word: usize,
    /// Its members that were taken.
    pub(super) mask: u64,
}

impl Claim {
    pub(super) fn one(member: usize) -> Self {
        Self { word: member >> WORD_SHIFT, mask: 1 << (member % WORD_BITS) }
    }

    /// The lowest member; of an empty claim, the first of its word.
    pub(super) fn first(self) -> usize {
        self.word * WORD_BITS + self.mask.trailing_zeros() as usize % WORD_BITS
    }

    /// Takes the lowest member out of the claim.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<usize> {
        if self.mask == 0 {
            return None;
        }
        let bit = self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(self.word * WORD_BITS + bit)
    }
}

/// The `count` lowest or highest bits of `word`, or all it has.
pub(super) fn pick(word: u64, end: End, count: u32) -> u64 {
    if word.count_ones() <= count {
        return word;
    }
    let mut rest = word;
    for _ in 0..count {
        match end {
            End::Low => rest &= rest - 1,
            End::High => rest ^= 1 << rest.ilog2(),
        }
    }
    word ^ rest
}

/// A set of the numbers below a bound fixed at the start.
pub(super) struct Bitmap {
    words: Zeroed<AtomicU64>,
    /// Where each level begins in `words`: the root first, so that a sparse set touches few pages; level 0 last.
    starts: [usize; MAX_LEVELS],
    levels: usize,
}

impl Bitmap {
    pub(super) fn new(members: usize) -> io::Result<Self> {
        let mut sizes = vec![members.div_ceil(WORD_BITS).max(1)];
        while sizes[sizes.len() - 1] > 1 {
            sizes.push(sizes[sizes.len() - 1].div_ceil(WORD_BITS));
        }
        let mut starts = [0; MAX_LEVELS];
        let mut total = 0;
        for level in (0..sizes.len()).rev() {
            starts[level] = total;
            total += sizes[level];
        }
        let words = Zeroed::new(total)?;
        words.refuse_huge();
        Ok(Self { words, starts, levels: sizes.len() })
    }

    #[inline]
    fn word(&self, level: usize, index: usize) -> &AtomicU64 {
        self.words.get(self.starts[level] + index)
    }

    /// How many words `level` has.
    fn len(&self, level: usize) -> usize {
        let end = if level == 0 { self.words.len() } else { self.starts[level - 1] };
        end - self.starts[level]
    }

    /// The members of leaf word `word`, as they are at the moment or were.
    #[inline]
    pub(super) fn load(&self, word: usize) -> u64 {
        // Relaxed: a look, not a claim; who relies on it orders it by a fence (`Slab::note_whole`) or is quiescent.
        self.word(0, word).load(Ordering::Relaxed)
    }

    /// Whether there is nothing to find; as cheap as a look at one word.
    pub(super) fn looks_empty(&self) -> bool {
        // Relaxed: a hint.
        self.word(self.levels - 1, 0).load(Ordering::Relaxed) == 0
    }

    /// Adds `mask` to leaf word `word` and returns what was there before.
    #[inline]
    pub(super) fn set(&self, word: usize, mask: u64) -> u64 {
        debug_assert!(mask != 0 && (mask.ilog2() as usize) < WORD_BITS);
        // Release: what the caller did with the member happens before the next claim of it (Acquire).
        let before = self.word(0, word).fetch_or(mask, Ordering::AcqRel);
        pass("set: not announced");
        self.announce(0, word, before == 0);
        before
    }

    /// Makes the path from word `index` of `level` up to the root visible. `fresh`: the caller turned the word from zero
    /// to something, and answers for the bit above; otherwise this only repairs what a paused `withdraw` left.
    #[inline]
    fn announce(&self, level: usize, index: usize, fresh: bool) {
        let (mut index, mut must) = (index, fresh);
        for above in level + 1..self.levels {
            let bit = 1 << (index % WORD_BITS);
            index >>= WORD_SHIFT;
            let word = self.word(above, index);
            // Relaxed load: only for the repair. The duty itself is always a read-modify-write; AcqRel: its Release
            // pairs with the Acquire in `withdraw`.
            if must || word.load(Ordering::Relaxed) & bit == 0 {
                must = word.fetch_or(bit, Ordering::AcqRel) == 0;
            }
        }
    }

    /// Word `index` of `level` was seen zero: clears its bit above, and on upwards as words become zero by that.
    #[cold]
    fn withdraw(&self, level: usize, index: usize) {
        let mut index = index;
        for above in level + 1..self.levels {
            let bit = 1 << (index % WORD_BITS);
            // Acquire: pairs with the Release in `announce`: a bit put there before is cleared knowing its word.
            let before = self.word(above, index >> WORD_SHIFT).fetch_and(!bit, Ordering::AcqRel);
            pass("withdraw: not looked");
            if self.word(above - 1, index).load(Ordering::Acquire) != 0 {
                return self.announce(above - 1, index, true);
            }
            if before & !bit != 0 {
                return;
            }
            index >>= WORD_SHIFT;
        }
    }

    /// The lowest or highest leaf word that had members when it was looked at.
    pub(super) fn find(&self, end: End) -> Option<usize> {
        'from_root: loop {
            let mut index = 0;
            for level in (0..self.levels).rev() {
                // Relaxed: the way to a word proves nothing; the claim there is a read-modify-write (Acquire).
                let word = self.word(level, index).load(Ordering::Relaxed);
                if word == 0 {
                    if level == self.levels - 1 {
                        return None;
                    }
                    self.withdraw(level, index);
                    continue 'from_root;
                }
                if level > 0 {
                    let bit = match end {
                        End::Low => word.trailing_zeros(),
                        End::High => word.ilog2(),
                    };
                    index = (index << WORD_SHIFT) + bit as usize;
                }
            }
            return Some(index);
        }
    }

    /// The lowest member from `from` on, as it is at the moment or was.
    pub(super) fn next(&self, from: usize) -> Option<usize> {
        // A bit of `level`, from which on there may be one that leads to the member.
        let (mut level, mut at) = (0, from);
        loop {
            let index = at >> WORD_SHIFT;
            if index >= self.len(level) {
                return None;
            }
            // Relaxed: as in `find`.
            let word = self.word(level, index).load(Ordering::Relaxed);
            let rest = word & FULL << (at % WORD_BITS) & FULL;
            if rest != 0 {
                let bit = (index << WORD_SHIFT) + rest.trailing_zeros() as usize;
                if level == 0 {
                    return Some(bit);
                }
                (level, at) = (level - 1, bit << WORD_SHIFT);
            } else if level + 1 == self.levels {
                return None;
            } else {
                (level, at) = (level + 1, index + 1);
            }
        }
    }

    /// The highest member, as it is at the moment or was.
    pub(super) fn last(&self) -> Option<usize> {
        loop {
            let word = self.find(End::High)?;
            if let Some(bit) = self.load(word).checked_ilog2() {
                return Some((word << WORD_SHIFT) + bit as usize);
            }
        }
    }

    /// Makes `member` one.
    pub(super) fn put(&self, member: usize) {
        let claim = Claim::one(member);
        self.set(claim.word, claim.mask);
    }

    /// Makes `member` none; whether it was one.
    pub(super) fn take(&self, member: usize) -> bool {
        let claim = Claim::one(member);
        self.claim_any(claim.word, claim.mask) != 0
    }

    /// Takes up to `count` members out of the first leaf word (from `end`) that has any.
    pub(super) fn claim(&self, end: End, count: u32) -> Option<Claim> {
        debug_assert!(count > 0);
        loop {
            let word = self.find(end)?;
            let mask = self.claim_any(word, pick(self.load(word), end, count));
            if mask != 0 {
                return Some(Claim { word, mask });
            }
        }
    }

    /// Takes those of `mask` that are members, and returns them.
    pub(super) fn claim_any(&self, word: usize, mask: u64) -> u64 {
        if mask == 0 {
            return 0;
        }
        // Acquire: pairs with the Release in `set`.
        self.word(0, word).fetch_and(!mask, Ordering::AcqRel) & mask
    }

    /// Takes all of `mask`, or nothing.
    pub(super) fn claim_all(&self, word: usize, mask: u64) -> bool {
        let leaf = self.word(0, word);
        let mut now = leaf.load(Ordering::Relaxed);
        while now & mask == mask {
            // Acquire: pairs with the Release in `set`.
            match leaf.compare_exchange_weak(now, now & !mask, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => now = other,
            }
        }
        false
    }

    /// How many members the first `words` leaf words have, about.
    pub(super) fn count(&self, words: usize) -> usize {
        (0..words).map(|word| self.load(word).count_ones() as usize).sum()
    }

    /// Whether `member` is one.
    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub(super) fn has(&self, member: usize) -> bool {
        self.load(member >> WORD_SHIFT) >> (member % WORD_BITS) & 1 == 1
    }

    /// One more than the highest member, or zero.
    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub(super) fn bound(&self) -> usize {
        self.find(End::High).map_or(0, |word| word * WORD_BITS + self.load(word).ilog2() as usize + 1)
    }

    /// Invariant 2 for the first `words` leaf words and all that is above them. The caller knows that nothing is under
    /// way.
    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub(super) fn validate(&self, words: usize) -> Result<(), String> {
        let mut words = words;
        for above in 1..self.levels {
            for index in 0..words {
                let below = self.word(above - 1, index).load(Ordering::Relaxed);
                let bit =
                    self.word(above, index >> WORD_SHIFT).load(Ordering::Relaxed) >> (index % WORD_BITS) & 1;
                if below != 0 && bit == 0 {
                    return Err(format!("level {} word {index} is {below:#x} and not announced", above - 1));
                }
            }
            words = words.div_ceil(WORD_BITS);
        }
        Ok(())
    }
}

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;
    use crate::sync::thread;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Clone, Debug)]
    enum Op {
        Set(usize),
        Claim { high: bool, count: u32 },
        ClaimAll { word: usize, mask: u64 },
        ClaimAny { word: usize, mask: u64 },
    }

    fn op(members: usize) -> impl Strategy<Value = Op> {
        let words = members / WORD_BITS;
        let mask = prop_oneof![any::<u64>(), (0..64u32, 1..4u32).prop_map(|(at, n)| ((1 << n) - 1) << at)];
        prop_oneof![
            6 => (0..members).prop_map(Op::Set),
            3 => (any::<bool>(), 1..17u32).prop_map(|(high, count)| Op::Claim { high, count }),
            1 => (0..words, mask.clone()).prop_map(|(word, mask)| Op::ClaimAll { word, mask }),
            1 => (0..words, mask).prop_map(|(word, mask)| Op::ClaimAny { word, mask }),
        ]
    }

    fn members(word: usize, mask: u64) -> Vec<usize> {
        let mut claim = Claim { word, mask };
        std::iter::from_fn(|| claim.pop()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn behaves_as_an_ordered_set(ops in proptest::collection::vec(op(64 * 64 * 3), 1..400)) {
            let bound = 64 * 64 * 3;
            let bitmap = Bitmap::new(bound).expect("address space");
            let mut model = BTreeSet::new();
            for op in ops {
                match op {
                    Op::Set(member) => {
                        let claim = Claim::one(member);
                        let before = bitmap.set(claim.word, claim.mask);
                        prop_assert_eq!(before & claim.mask == 0, model.insert(member));
                    }
                    Op::Claim { high, count } => {
                        let end = if high { End::High } else { End::Low };
                        let claim = bitmap.claim(end, count);
                        let edge = if high { model.last() } else { model.first() };
                        prop_assert_eq!(claim.map(|c| c.word), edge.map(|m| m / 64));
                        if let Some(claim) = claim {
                            let taken = members(claim.word, claim.mask);
                            let in_word = model.range(claim.word * 64..claim.word * 64 + 64).copied();
                            let mut expected: Vec<usize> = in_word.collect();
                            if high { expected.reverse(); }
                            expected.truncate(count as usize);
                            expected.sort_unstable();
                            prop_assert_eq!(&taken, &expected);
                            taken.iter().for_each(|m| { model.remove(m); });
                        }
                    }
                    Op::ClaimAll { word, mask } => {
                        let all = members(word, mask);
                        let there = all.iter().all(|m| model.contains(m));
                        prop_assert_eq!(bitmap.claim_all(word, mask), there);
                        if there { all.iter().for_each(|m| { model.remove(m); }); }
                    }
                    Op::ClaimAny { word, mask } => {
                        let taken = members(word, bitmap.claim_any(word, mask));
                        let expected: Vec<usize> =
                            members(word, mask).into_iter().filter(|m| model.remove(m)).collect();
                        prop_assert_eq!(taken, expected);
                    }
                }
                bitmap.validate(bound / 64).map_err(TestCaseError::fail)?;
                prop_assert_eq!(bitmap.count(bound / 64), model.len());
            }
        }
    }

    #[test]
    fn a_member_has_one_holder_and_none_is_lost() {
        const MEMBERS: usize = 3 * 64 * 64;
        let bitmap = Bitmap::new(MEMBERS).expect("address space");
        // Few members over many words: summaries turn from set to clear and back all the time.
        (0..MEMBERS).step_by(97).for_each(|m| _ = bitmap.set(m / 64, 1 << (m % 64)));
        let total = bitmap.count(MEMBERS / 64);
        let held: Vec<AtomicU64> = (0..MEMBERS).map(|_| AtomicU64::new(0)).collect();
        thread::scope(|scope| {
            for end in [End::Low, End::High, End::Low, End::High] {
                let (bitmap, held) = (&bitmap, &held);
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    for round in 0..30_000_usize {
                        if let Some(claim) = bitmap.claim(end, 1 + (round % 3) as u32) {
                            for member in members(claim.word, claim.mask) {
                                assert_eq!(held[member].fetch_add(1, Ordering::Relaxed), 0, "two holders");
                                mine.push(member);
                            }
                        }
                        while mine.len() > round % 60 {
                            let member = mine.swap_remove(round % mine.len());
                            assert_eq!(held[member].fetch_sub(1, Ordering::Relaxed), 1);
                            let claim = Claim::one(member);
                            assert_eq!(bitmap.set(claim.word, claim.mask) & claim.mask, 0, "set twice");
                        }
                    }
                    for member in mine {
                        assert_eq!(held[member].fetch_sub(1, Ordering::Relaxed), 1);
                        let claim = Claim::one(member);
                        bitmap.set(claim.word, claim.mask);
                    }
                });
            }
        });
        assert_eq!(bitmap.count(MEMBERS / 64), total);
        bitmap.validate(MEMBERS / 64).expect("announced");
        let mut found = 0;
        while let Some(claim) = bitmap.claim(End::Low, 64) {
            found += claim.mask.count_ones() as usize;
        }
        assert_eq!(found, total, "everything can be found again");
    }
}
