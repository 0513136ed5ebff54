//! Which pages of one region are free and which are resident, for contents of two pages and more: a content of n pages is a run
//! of n pages in a row. Knows nothing of what is in a page, nor where it is.
//!
//! ```text
//! pages     |used used used|ready ready|bare|ready|used used|bare bare bare|     never opened ...
//! free       0    0    0    1     1     1    1     0    0    1    1    1          0
//! resident   1    1    1    1     1     0    1     1    1    0    0    0          0
//! ready      1 (a bit a word of those: has pages that are free and resident)      0
//! ```
//!
//! What a content leaves stays resident, whatever the size of the next: so pages pass from one size to another without a visit to
//! the system. A run is looked for where pages were freed lately (`recent`), then among the words that have ready pages, for
//! the place that lacks fewest; then among bare pages; then the region is opened further. Every search is bounded.
//!
//! # Invariants
//! 1. Who cleared the `free` bits of pages has them, and alone changes their `resident` bits. A run is claimed whole or not at all.
//! 2. A page is charged before it is resident, refunded after it went back; `resident` says which are charged. Who has a run that
//!    was backed has resident pages only.
//! 3. When nothing is under way, a word with pages that are free and resident has its bit in `ready`, and `ready_pages` is their
//!    number. (`ready` may have more: who finds nothing there clears it, and looks again.)
//! 4. Below `opened` every page is in a run, free, or in the hands of a thread; above, no bit was ever set. Bitmaps and headers
//!    of what is opened are charged, for good.
//!
//! Why a run can be had as long as the budget has room: address space is a multiple of the limit, and runs of which pages are
//! missing are as good as others, but for the time it takes. What is used and what lies in pieces too small was less than one and a
//! half times what is used in all that was measured. (There is no proof of a bound for this choice of places; for the first that
//! fits Robson's is log2(n) for runs of up to n pages.) When the region's end is reached, all of it is searched.

mod search;
#[cfg(all(test, not(memfs_loom)))]
mod tests;

use super::{
    bitmap::{Bitmap, FULL, WORD_BITS, WORD_SHIFT},
    budget::Budget,
    recent::{Look, Recent},
};
use crate::{
    failpoint::pass,
    map::Zeroed,
    sync::{AtomicU64, AtomicUsize, Ordering},
};
use crossbeam_utils::CachePadded;
use std::{io, ops::Range};

/// Words with ready pages, and places in them, that a search looks at.
const READY_LOOKS: usize = 128;
/// Words that a search for bare pages looks at, unless the whole region is opened.
const BARE_LOOKS: usize = 2048;
/// How often a run is looked for, if others are faster.
const ATTEMPTS: usize = 8;
/// Most pages that one trim holds in its hands, out of reach of everybody, while it gives them back.
const TRIM_PAGES: usize = 512;

/// Sizes and counts of a region of runs, fixed at its making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) page_bytes: usize,
    /// How many pages there can be: a multiple of a group.
    pub(super) pages: usize,
    /// The region is opened by so many pages: a multiple of a word.
    pub(super) group_pages: usize,
    /// What bitmaps and headers of a group cost once and for all.
    pub(super) overhead_bytes: u64,
    /// What a charge must leave of the budget.
    pub(super) leave_bytes: u64,
    /// Whether a group becomes resident at once where there is much room (`Runs::wants_row`).
    pub(super) rows: bool,
}

/// Pages in a row, in the hands of one thread, and how many of them are not resident yet.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) pages: Range<usize>,
    pub(super) missing: usize,
}

/// Why there is no run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// The budget has no room for the overhead of opening more of the region, or others were always faster.
    Room,
    /// The region has no such run, whatever the budget.
    Place,
}

pub(super) struct Runs {
    pub(super) plan: Plan,
    free: Bitmap,
    resident: Zeroed<AtomicU64>,
    /// Words of `free` that have pages which are resident.
    ready: Bitmap,
    /// How many pages are free and resident: a figure, at no time too small.
    ready_pages: CachePadded<AtomicUsize>,
    /// How many pages are charged.
    backed_pages: AtomicUsize,
    /// The first page that was never opened.
    opened: AtomicUsize,
    /// Where the last search among ready words ended.
    ready_from: AtomicUsize,
    /// The word where bare pages were found last, or opened: the next ones are there.
    bare_from: AtomicUsize,
    /// The word where searches go on that come to the end of what is opened.
    bare_again: AtomicUsize,
    recent: Recent,
}

/// The words of a range of pages, and the part of each that is the range's.
fn words(pages: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let covered = pages.start >> WORD_SHIFT..pages.end.div_ceil(WORD_BITS);
    let covered = if pages.is_empty() { 0..0 } else { covered };
    covered.map(move |word| {
        let from = pages.start.max(word << WORD_SHIFT) % WORD_BITS;
        let to = (pages.end - (word << WORD_SHIFT)).min(WORD_BITS);
        (word, FULL >> (WORD_BITS - to) & FULL << from)
    })
}

impl Runs {
    pub(super) fn new(plan: Plan) -> io::Result<Self> {
        assert!(plan.group_pages.is_multiple_of(WORD_BITS) && plan.pages.is_multiple_of(plan.group_pages));
        let words = plan.pages >> WORD_SHIFT;
        let resident = Zeroed::new(words)?;
        resident.refuse_huge();
        Ok(Self {
            plan,
            free: Bitmap::new(plan.pages)?,
            resident,
            ready: Bitmap::new(words)?,
            ready_pages: CachePadded::new(AtomicUsize::new(0)),
            backed_pages: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            ready_from: AtomicUsize::new(0),
            bare_from: AtomicUsize::new(0),
            bare_again: AtomicUsize::new(0),
            recent: Recent::new(),
        })
    }

    /// A run of `pages` pages, with as few missing as can be found in bounded time.
    pub(super) fn claim(
        &self,
        budget: &Budget,
        pages: usize,
        back: impl Fn(Range<usize>),
    ) -> Result<Run, Lack> {
        for _ in 0..ATTEMPTS {
            if let Some(run) = self.claim_recent(pages) {
                return Ok(run);
            }
            let found = self.survey(pages);
            if found.is_none_or(|(missing, _)| missing > 0)
                && self.wants_row(budget, pages)
                && let Some(run) = self.claim_row(budget, pages, &back)
            {
                return Ok(run);
            }
            let found = found.map(|(_, first)| first).or_else(|| self.find_bare(pages, BARE_LOOKS));
            let first = match found {
                Some(first) => first,
                None => match self.open(budget, pages) {
                    // At the region's end the whole of it is searched.
                    Err(Lack::Place) => self.find_bare(pages, usize::MAX).ok_or(Lack::Place)?,
                    opened => return opened,
                },
            };
            if let Some(run) = self.take(first..first + pages) {
                return Ok(run);
            }
        }
        Err(Lack::Room)
    }

    /// Charges for the pages of `run` that are missing, has `back` make each gap of them resident, and says whether the budget had
    /// room for that; the run is the caller's either way.
    pub(super) fn back(&self, budget: &Budget, run: &mut Run, back: impl Fn(Range<usize>)) -> bool {
        if run.missing == 0 {
            return true;
        }
        if !budget.try_charge_leaving(self.bytes(run.missing), self.plan.leave_bytes) {
            return false;
        }
        let mut at = run.pages.start;
        while at < run.pages.end {
            let here = self.length_above(at, run.pages.end - at, |word| self.resident_in(word));
            let gap = at + here..run.pages.end;
            let gap_pages = self.length_above(gap.start, gap.len(), |word| !self.resident_in(word) & FULL);
            let gap = gap.start..gap.start + gap_pages;
            if !gap.is_empty() {
                pass("claim a run: charged, not resident");
                back(gap.clone());
                self.note_resident(gap.clone());
            }
            at = gap.end;
        }
        run.missing = 0;
        true
    }

    /// The caller's run, which was backed or not, is nobody's any more. Its pages stay resident.
    pub(super) fn give(&self, pages: Range<usize>) {
        // Before the pages can be had, so that the count does not fall below zero. Relaxed: a figure.
        self.ready_pages.fetch_add(self.count_resident(pages.clone()), Ordering::Relaxed);
        self.put(pages.clone());
        self.remember(pages.start);
    }

    /// Takes free resident pages from the top down until at least `want_bytes` are refunded or there are none. `decommit` gets pages
    /// that nobody can reach. Returns the bytes refunded.
    pub(super) fn trim(&self, budget: &Budget, want_bytes: u64, decommit: impl Fn(Range<usize>)) -> u64 {
        let mut refunded = 0;
        let mut run = 0..0;
        while refunded + self.bytes(run.len()) < want_bytes {
            let want = (want_bytes - refunded - self.bytes(run.len())).div_ceil(self.bytes(1));
            let want = usize::try_from(want).unwrap_or(usize::MAX);
            let Some(taken) = self.take_shortest(want).or_else(|| self.take_top(want)) else { break };
            if taken.end == run.start && run.len() + taken.len() <= TRIM_PAGES {
                run.start = taken.start;
            } else {
                refunded += self.give_back(budget, run, &decommit);
                run = taken;
            }
        }
        refunded + self.give_back(budget, run, &decommit)
    }

    /// The way of resident pages, which the caller has, back to the system. Returns the bytes refunded.
    fn give_back(&self, budget: &Budget, pages: Range<usize>, decommit: impl Fn(Range<usize>)) -> u64 {
        if pages.is_empty() {
            return 0;
        }
        pass("trim: run taken");
        decommit(pages.clone());
        pass("trim: run's pages gone, not free");
        for (word, mask) in words(pages.clone()) {
            // Relaxed: the bits are ours; the next who has them learns of it by the free bits (Release, Acquire).
            self.resident.get(word).fetch_and(!mask, Ordering::Relaxed);
        }
        self.backed_pages.fetch_sub(pages.len(), Ordering::Relaxed);
        let bytes = self.bytes(pages.len());
        budget.refund(bytes);
        self.put(pages);
        bytes
    }

    /// Takes the shortest of the runs of ready pages that were noted, or `most` pages of it.
    fn take_shortest(&self, most: usize) -> Option<Range<usize>> {
        self.recent.find(1, |page, step| {
            let ready = self.ready_at(page, step);
            if ready.is_empty() {
                return Look::Forget;
            }
            let len = ready.len().min(most).min(TRIM_PAGES);
            let Some(run) = self.take(ready.end - len..ready.end) else { return Look::Forget };
            if run.missing > 0 {
                self.give(run.pages);
                return Look::Forget;
            }
            self.remember(ready.start);
            Look::Taken(run.pages)
        })
    }

    /// Takes the highest pages that are free and resident and stand in a row in one word, `most` of them at most.
    fn take_top(&self, most: usize) -> Option<Range<usize>> {
        loop {
            let word = self.ready.last()?;
            let now = self.ready_in(word);
            if now == 0 {
                self.withdraw(word);
                continue;
            }
            let end = now.ilog2() as usize + 1;
            let len = most.min((now << (64 - end)).leading_ones() as usize);
            let end = (word << WORD_SHIFT) + end;
            let Some(run) = self.take(end - len..end) else { continue };
            if run.missing == 0 {
                return Some(run.pages);
            }
            // Somebody had trimmed some since the look.
            self.give(run.pages);
        }
    }

    /// Takes free pages, all of them or none.
    fn take(&self, pages: Range<usize>) -> Option<Run> {
        for (word, mask) in words(pages.clone()) {
            if !self.free.claim_all(word, mask) {
                self.put(pages.start..pages.start.max(word << WORD_SHIFT));
                return None;
            }
            pass("claim a run: a word of it is taken");
        }
        let resident = self.count_resident(pages.clone());
        // Relaxed: a figure.
        self.ready_pages.fetch_sub(resident, Ordering::Relaxed);
        Some(Run { missing: pages.len() - resident, pages })
    }

    /// Lets go of pages that the caller has.
    fn put(&self, pages: Range<usize>) {
        for (word, mask) in words(pages) {
            let before = self.free.set(word, mask);
            assert!(before & mask == 0, "pages {:#x} of word {word} freed twice", before & mask);
            pass("free a run: free, not known to be ready");
            // After the free bits, always a read-modify-write: see `withdraw`.
            if self.resident_in(word) & mask != 0 {
                self.ready.put(word);
            }
        }
    }

    /// Nothing was ready in `word`: clears its bit in `ready`, and looks again. A page that becomes ready too late for the look has
    /// its bit set after ours was cleared: both are read-modify-writes of one word, and the look comes after the one, the page before
    /// the other.
    fn withdraw(&self, word: usize) {
        if self.ready.take(word) {
            // Relaxed: what was ready before its bit was set is seen, since the bit was taken with Acquire.
            let resident = self.resident.get(word).load(Ordering::Relaxed);
            if self.free.load(word) & resident != 0 {
                self.ready.put(word);
            }
        }
    }

    /// Notes that charged pages, which the caller has, are resident.
    fn note_resident(&self, pages: Range<usize>) {
        self.backed_pages.fetch_add(pages.len(), Ordering::Relaxed);
        for (word, mask) in words(pages) {
            // Relaxed: as in `give_back`.
            self.resident.get(word).fetch_or(mask, Ordering::Relaxed);
        }
    }

    /// Opens as much more of the region as the run needs; the rest of it is bare.
    fn open(&self, budget: &Budget, pages: usize) -> Result<Run, Lack> {
        let opened = self.open_groups(budget, pages.div_ceil(self.plan.group_pages))?;
        let run = opened.start..opened.start + pages;
        self.put(run.end..opened.end);
        // Relaxed: where to begin, no more.
        self.bare_from.store(run.end >> WORD_SHIFT, Ordering::Relaxed);
        Ok(Run { missing: pages, pages: run })
    }

    /// Groups that were never used, charged but for their pages.
    fn open_groups(&self, budget: &Budget, groups: usize) -> Result<Range<usize>, Lack> {
        let (pages, bytes) = (groups * self.plan.group_pages, groups as u64 * self.plan.overhead_bytes);
        let next = |opened: usize| Some(opened + pages).filter(|&end| end <= self.plan.pages);
        if next(self.opened()).is_none() {
            return Err(Lack::Place);
        }
        if !budget.try_charge(bytes) {
            return Err(Lack::Room);
        }
        // Relaxed: the number alone makes the pages ours; they have no past to be ordered after.
        let opened = self.opened.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        opened.map(|first| first..first + pages).map_err(|_| {
            budget.refund(bytes);
            Lack::Place
        })
    }

    /// Whether a whole group is to become resident, in huge pages: of a region that has come to use as much already, as long as
    /// nobody needs the room.
    fn wants_row(&self, budget: &Budget, pages: usize) -> bool {
        self.plan.rows
            && pages <= self.plan.group_pages
            && self.backed_pages() >= self.plan.group_pages
            && budget.charged() <= budget.limit() / super::class::ROW_CHARGED_PART
    }

    /// A run at the beginning of a group of bare pages, all of which become resident at once.
    fn claim_row(&self, budget: &Budget, pages: usize, back: impl Fn(Range<usize>)) -> Option<Run> {
        let bare = self.find_bare_group().and_then(|group| self.take(group));
        let group = match bare {
            Some(run) if run.missing == run.pages.len() => run.pages,
            Some(run) => {
                self.give(run.pages);
                return None;
            }
            None => self.open_groups(budget, 1).ok()?,
        };
        if !budget.try_charge_leaving(self.bytes(group.len()), self.plan.leave_bytes) {
            self.put(group);
            return None;
        }
        pass("claim a row: charged, not resident");
        back(group.clone());
        self.note_resident(group.clone());
        let run = group.start..group.start + pages;
        if run.end < group.end {
            self.give(run.end..group.end);
        }
        Some(Run { missing: 0, pages: run })
    }

    fn bytes(&self, pages: usize) -> u64 {
        pages as u64 * self.plan.page_bytes as u64
    }

    #[inline]
    fn resident_in(&self, word: usize) -> u64 {
        // Relaxed: exact for who has the pages, a look for others.
        self.resident.get(word).load(Ordering::Relaxed)
    }

    #[inline]
    fn ready_in(&self, word: usize) -> u64 {
        self.free.load(word) & self.resident_in(word)
    }

    fn count_resident(&self, pages: Range<usize>) -> usize {
        words(pages).map(|(word, mask)| (self.resident_in(word) & mask).count_ones() as usize).sum()
    }

    /// Pages that were ever opened are below it.
    pub(super) fn opened(&self) -> usize {
        // Relaxed: a bound for scans.
        self.opened.load(Ordering::Relaxed)
    }

    pub(super) fn backed_pages(&self) -> usize {
        self.backed_pages.load(Ordering::Relaxed)
    }

    /// Bytes that are free and resident.
    pub(super) fn ready_bytes(&self) -> u64 {
        self.bytes(self.ready_pages.load(Ordering::Relaxed))
    }

    /// Whether a trim would find nothing; as cheap as a look at one word.
    pub(super) fn looks_untrimmable(&self) -> bool {
        self.ready.looks_empty()
    }

    /// What must be left of the budget for `missing` pages.
    pub(super) fn need_bytes(&self, missing: usize) -> u64 {
        self.plan.leave_bytes + self.plan.overhead_bytes + self.bytes(missing)
    }

    #[cfg(any(test, memfs_loom, debug_assertions, feature = "validate"))]
    pub(super) fn charged_bytes(&self) -> u64 {
        self.bytes(self.backed_pages()) + self.overhead_bytes()
    }

    /// What of that is never given back.
    #[cfg(any(test, memfs_loom, debug_assertions, feature = "validate"))]
    pub(super) fn overhead_bytes(&self) -> u64 {
        (self.opened() / self.plan.group_pages) as u64 * self.plan.overhead_bytes
    }
}

#[cfg(any(test, debug_assertions, feature = "validate"))]
impl Runs {
    /// The invariants at the head of this file. The caller knows that nothing is under way.
    pub(super) fn validate(&self) -> Result<(), String> {
        let words = self.opened() >> WORD_SHIFT;
        self.free.validate(words)?;
        self.ready.validate(words.div_ceil(WORD_BITS))?;
        if self.free.bound() > self.opened() {
            return Err(format!("page {} is free, {} are opened", self.free.bound() - 1, self.opened()));
        }
        let (mut ready, mut backed) = (0, 0);
        for word in 0..words {
            let (free, resident) = (self.free.load(word), self.resident_in(word));
            if !free & !resident & FULL != 0 {
                return Err(format!(
                    "pages of word {word} are used and not resident: {free:#x} {resident:#x}"
                ));
            }
            if free & resident != 0 && !self.ready.has(word) {
                return Err(format!("word {word} has ready pages and nobody knows"));
            }
            ready += (free & resident).count_ones() as usize;
            backed += resident.count_ones() as usize;
        }
        let counted = (self.ready_pages.load(Ordering::Relaxed), self.backed_pages());
        if counted != (ready, backed) {
            return Err(format!("{ready} pages are ready, {backed} backed; counted are {counted:?}"));
        }
        Ok(())
    }
}
