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
//! missing are as good as others, but for the time it takes. What is used and what lies in pieces too small is, for runs of up to
//! n pages placed at the first place that fits, at most about log2(n) times what is used (Robson), and less than one and a half
//! times in all that was measured; when the region's end is reached, all of it is searched.

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
    /// Where the last search among ready words ended, and among bare ones.
    ready_from: AtomicUsize,
    bare_from: AtomicUsize,
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
            recent: Recent::new(),
        })
    }

    /// A run of `pages` pages, with as few missing as can be found in bounded time. `None`: the budget has no room for the
    /// overhead of opening more, or the region has no such run, or others are always faster.
    pub(super) fn claim(&self, budget: &Budget, pages: usize, back: impl Fn(Range<usize>)) -> Option<Run> {
        for _ in 0..ATTEMPTS {
            if let Some(run) = self.claim_recent(pages) {
                return Some(run);
            }
            let found = self.survey(pages);
            if found.is_none_or(|(missing, _)| missing > 0)
                && self.wants_row(budget, pages)
                && let Some(run) = self.claim_row(budget, pages, &back)
            {
                return Some(run);
            }
            let first = found.map(|(_, first)| first).or_else(|| self.find_bare(pages, BARE_LOOKS));
            let Some(first) = first else { return self.open(budget, pages) };
            if let Some(run) = self.take(first..first + pages) {
                return Some(run);
            }
        }
        None
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

    /// A run where pages were freed lately, if one is large enough as it is: the shortest.
    fn claim_recent(&self, pages: usize) -> Option<Run> {
        self.recent.find(pages, |page, step| {
            let ready = self.ready_at(page, step);
            if ready.is_empty() {
                return Look::Forget;
            }
            if ready.len() < pages {
                return Look::Keep;
            }
            let Some(run) = self.take(ready.start..ready.start + pages) else { return Look::Forget };
            if run.pages.end < ready.end {
                self.remember(run.pages.end);
            }
            Look::Taken(run)
        })
    }

    /// The ready pages in a row around a place that was noted with this step; empty if they are more by now, or fewer.
    fn ready_at(&self, page: usize, step: usize) -> Range<usize> {
        let ready = self.ready_around(page, Recent::longest());
        if Recent::step(ready.len()) == step { ready } else { page..page }
    }

    /// Notes a page, if it is ready, and how many are in a row there.
    fn remember(&self, page: usize) {
        let ready = self.ready_around(page, Recent::longest());
        if !ready.is_empty() {
            self.recent.note(ready.start, ready.len());
        }
    }

    /// The ready pages in a row of which `page` is one, up to `reach` to either side; empty if it is none.
    fn ready_around(&self, page: usize, reach: usize) -> Range<usize> {
        let view = |word| self.ready_in(word);
        let above = if page < self.plan.pages { self.length_above(page, 2 * reach, view) } else { 0 };
        if above == 0 { page..page } else { page - self.length_below(page, reach, view)..page + above }
    }

    /// Of places for a run that have ready pages, the one that lacks fewest, of those that are looked at: how many, and where.
    fn survey(&self, pages: usize) -> Option<(usize, usize)> {
        // Relaxed: where to begin, no more.
        let from = self.ready_from.load(Ordering::Relaxed);
        let mut best = None;
        let (mut next, mut wrapped) = (from, false);
        let mut looks = 0;
        while looks < READY_LOOKS {
            let Some(word) = self.ready.next(next).filter(|&word| !wrapped || word < from) else {
                if wrapped || from == 0 {
                    break;
                }
                (next, wrapped) = (0, true);
                continue;
            };
            next = word + 1;
            let mut rest = self.ready_in(word);
            if rest == 0 {
                self.withdraw(word);
            }
            looks += 1;
            while rest != 0 {
                let bit = rest.trailing_zeros();
                let ones = (rest >> bit).trailing_ones();
                rest &= if bit + ones < 64 { u64::MAX << (bit + ones) } else { 0 };
                looks += 1;
                let found = self.weigh((word << WORD_SHIFT) + bit as usize, pages);
                if found.is_some_and(|(missing, _)| best.is_none_or(|(least, _)| missing < least)) {
                    best = found;
                }
                if best.is_some_and(|(missing, _)| missing == 0) {
                    self.ready_from.store(word, Ordering::Relaxed);
                    return best;
                }
            }
        }
        self.ready_from.store(next, Ordering::Relaxed);
        best
    }

    /// The place for a run of free pages around a ready one: how many it lacks, and where it begins.
    fn weigh(&self, page: usize, pages: usize) -> Option<(usize, usize)> {
        let free = |word| self.free.load(word);
        let start = page - self.length_below(page, pages, free);
        let end = page + self.length_above(page, pages, free);
        let last = end.checked_sub(pages).filter(|&last| last >= start)?;
        let ready = page - self.length_below(page, pages, |word| self.ready_in(word));
        let first = ready.clamp(start, last);
        Some((pages - self.count_resident(first..first + pages), first))
    }

    /// Where free pages stand in a row, ready or not, from where the last search ended, in `looks` words at most.
    fn find_bare(&self, pages: usize, looks: usize) -> Option<usize> {
        let words = self.opened() >> WORD_SHIFT;
        let mut word = self.bare_from.load(Ordering::Relaxed);
        let (mut row, mut looked) = (0, 0);
        while looked < looks.min(words + pages.div_ceil(WORD_BITS)) {
            if word >= words {
                (word, row) = (0, 0);
            }
            let free = self.free.load(word);
            let mut bit = 0;
            while bit < WORD_BITS {
                let ones = (free >> bit).trailing_ones() as usize;
                row += ones;
                bit += ones;
                if row >= pages {
                    self.bare_from.store(word, Ordering::Relaxed);
                    return Some((word << WORD_SHIFT) + bit - row);
                }
                if bit < WORD_BITS {
                    row = 0;
                    bit += ((free >> bit).trailing_zeros() as usize).min(WORD_BITS - bit);
                }
            }
            word += 1;
            looked += 1;
        }
        self.bare_from.store(word, Ordering::Relaxed);
        None
    }

    /// Opens as much more of the region as the run needs; the rest of it is bare. At the region's end the whole of it is
    /// searched for free pages.
    fn open(&self, budget: &Budget, pages: usize) -> Option<Run> {
        let groups = pages.div_ceil(self.plan.group_pages);
        if self.opened() + groups * self.plan.group_pages > self.plan.pages {
            let first = self.find_bare(pages, usize::MAX)?;
            return self.take(first..first + pages);
        }
        let opened = self.open_groups(budget, groups)?;
        let run = opened.start..opened.start + pages;
        self.put(run.end..opened.end);
        // Relaxed: where to begin, no more.
        self.bare_from.store(run.end >> WORD_SHIFT, Ordering::Relaxed);
        Some(Run { missing: pages, pages: run })
    }

    /// Groups that were never used, charged but for their pages.
    fn open_groups(&self, budget: &Budget, groups: usize) -> Option<Range<usize>> {
        let (pages, bytes) = (groups * self.plan.group_pages, groups as u64 * self.plan.overhead_bytes);
        if !budget.try_charge(bytes) {
            return None;
        }
        let next = |opened: usize| Some(opened + pages).filter(|&end| end <= self.plan.pages);
        // Relaxed: the number alone makes the pages ours; they have no past to be ordered after.
        let opened = self.opened.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok();
        if opened.is_none() {
            budget.refund(bytes);
        }
        opened.map(|first| first..first + pages)
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
            None => self.open_groups(budget, 1)?,
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

    /// A group whose pages are all free and bare, as far as a search goes.
    fn find_bare_group(&self) -> Option<Range<usize>> {
        let groups = self.opened() / self.plan.group_pages;
        let from = self.bare_from.load(Ordering::Relaxed) / (self.plan.group_pages >> WORD_SHIFT);
        let looks = (from..groups).chain(0..from.min(groups));
        let mut looks = looks.take(BARE_LOOKS / (self.plan.group_pages >> WORD_SHIFT));
        let is_bare = |group: &usize| {
            let pages = group * self.plan.group_pages..(group + 1) * self.plan.group_pages;
            words(pages).all(|(word, _)| self.free.load(word) == FULL && self.resident_in(word) == 0)
        };
        let group = looks.find(is_bare)?;
        Some(group * self.plan.group_pages..(group + 1) * self.plan.group_pages)
    }

    /// How many of the bits from `page` on are set without a gap, in what `view` shows of a word; counted up to `most`.
    fn length_above(&self, page: usize, most: usize, view: impl Fn(usize) -> u64) -> usize {
        let mut length = 0;
        while length < most && page + length < self.plan.pages {
            let at = page + length;
            let ones = (view(at >> WORD_SHIFT) >> (at % WORD_BITS)).trailing_ones() as usize;
            length += ones;
            if ones < WORD_BITS - at % WORD_BITS {
                break;
            }
        }
        length.min(most)
    }

    /// The same of the bits below `page`.
    fn length_below(&self, page: usize, most: usize, view: impl Fn(usize) -> u64) -> usize {
        let mut length = 0;
        while length < most && length < page {
            let at = page - length - 1;
            let bits = at % WORD_BITS + 1;
            let ones = (view(at >> WORD_SHIFT) << (64 - bits)).leading_ones() as usize;
            length += ones;
            if ones < bits {
                break;
            }
        }
        length.min(most)
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

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;
    use crate::{arena::bitmap::WORD_BITS, sync::thread};
    use proptest::prelude::*;

    const PAGE: u64 = 4096;

    fn runs(pages: usize, rows: bool) -> Runs {
        let plan =
            Plan { page_bytes: 4096, pages, group_pages: 256, overhead_bytes: 4170, leave_bytes: 0, rows };
        Runs::new(plan).expect("address space")
    }

    /// A run of resident pages, as the arena takes one.
    fn claim(runs: &Runs, budget: &Budget, pages: usize) -> Option<Range<usize>> {
        let mut run = loop {
            match runs.claim(budget, pages, |_| ()) {
                Some(run) => break run,
                None if runs.trim(budget, runs.plan.overhead_bytes, |_| ()) > 0 => {}
                None => return None,
            }
        };
        while !runs.back(budget, &mut run, |_| ()) {
            if runs.trim(budget, runs.bytes(run.missing), |_| ()) == 0 {
                runs.give(run.pages);
                return None;
            }
        }
        Some(run.pages)
    }

    #[derive(Clone, Debug)]
    enum Op {
        Claim(usize),
        Give(usize),
        Trim(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let length = prop_oneof![2..6_usize, 2..70_usize, 2..700_usize];
        prop_oneof![
            5 => length.prop_map(Op::Claim),
            4 => any::<usize>().prop_map(Op::Give),
            1 => (0..300 * PAGE).prop_map(Op::Trim),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// The plain model: whose each page is, and whether it is resident.
        #[test]
        fn behaves_as_an_array_of_pages(ops in proptest::collection::vec(op(), 1..300)) {
            let (runs, budget) = (runs(16 * 1024, false), Budget::new(1100 * PAGE));
            let mut owner = vec![0_usize; runs.plan.pages];
            let mut held: Vec<(usize, Range<usize>)> = Vec::new();
            for (id, op) in (1..).zip(ops) {
                let used: usize = held.iter().map(|(_, run)| run.len()).sum();
                match op {
                    Op::Claim(pages) => match claim(&runs, &budget, pages) {
                        Some(run) => {
                            prop_assert_eq!(run.len(), pages);
                            prop_assert!(owner[run.clone()].iter().all(|&owner| owner == 0), "two owners");
                            owner[run.clone()].fill(id);
                            held.push((id, run));
                        }
                        // A page of overhead for each group; none is lost to pieces.
                        None => prop_assert!(used + pages > 1100 - 80, "{pages} pages, {used} of 1100 are used"),
                    },
                    Op::Give(which) if !held.is_empty() => {
                        let (id, run) = held.swap_remove(which % held.len());
                        prop_assert!(owner[run.clone()].iter().all(|&owner| owner == id));
                        owner[run.clone()].fill(0);
                        runs.give(run);
                    }
                    Op::Give(_) => {}
                    Op::Trim(bytes) => {
                        let ready = runs.ready_bytes();
                        let trimmed = runs.trim(&budget, bytes, |pages| {
                            assert!(owner[pages].iter().all(|&owner| owner == 0), "used pages are trimmed");
                        });
                        prop_assert_eq!(trimmed, ready.min(bytes.next_multiple_of(PAGE)));
                    }
                }
                let used: usize = held.iter().map(|(_, run)| run.len()).sum();
                runs.validate().map_err(TestCaseError::fail)?;
                prop_assert_eq!(budget.charged(), runs.charged_bytes());
                prop_assert_eq!(runs.ready_bytes() + used as u64 * PAGE, runs.backed_pages() as u64 * PAGE);
            }
        }
    }

    #[test]
    fn what_was_freed_is_used_again_before_anything_else() {
        let (runs, budget) = (runs(4096, false), Budget::new(1 << 30));
        let held: Vec<_> = (0..20).map(|at| claim(&runs, &budget, 4 + at).expect("room")).collect();
        let backed = runs.backed_pages();
        // Of several that would do, the one that fits.
        for at in [7, 3, 15] {
            runs.give(held[at].clone());
        }
        assert_eq!(claim(&runs, &budget, 7), Some(held[3].clone()));
        assert_eq!(claim(&runs, &budget, 10).map(|run| run.start), Some(held[7].start));
        assert_eq!(claim(&runs, &budget, 19), Some(held[15].clone()));
        assert_eq!(runs.backed_pages(), backed);
        runs.validate().expect("sound");
    }

    #[test]
    fn a_run_takes_what_is_ready_and_gets_the_rest_anew() {
        let (runs, budget) = (runs(4096, false), Budget::new(1 << 30));
        let held: Vec<_> = (0..8).map(|_| claim(&runs, &budget, 32).expect("room")).collect();
        let next_to_each_other = held[3].start..held[4].end;
        assert_eq!(next_to_each_other.len(), 64);
        runs.give(held[3].clone());
        runs.trim(&budget, u64::MAX, |_| ());
        runs.give(held[4].clone());
        let mut gaps = Vec::new();
        let mut run = runs.claim(&budget, 50, |_| ()).expect("a place");
        assert!(run.pages.start >= next_to_each_other.start && run.pages.end <= next_to_each_other.end);
        assert_eq!(run.missing, 18);
        let gap = std::cell::RefCell::new(&mut gaps);
        assert!(runs.back(&budget, &mut run, |pages| gap.borrow_mut().push(pages)));
        assert_eq!((gaps.len(), gaps.pop()), (1, Some(run.pages.start..run.pages.start + 18)));
        runs.validate().expect("sound");
    }

    #[test]
    fn trim_takes_short_runs_first() {
        let (runs, budget) = (runs(4096, false), Budget::new(1 << 30));
        let held: Vec<_> = (0..9).map(|at| claim(&runs, &budget, if at % 2 == 0 { 40 } else { 3 })).collect();
        for run in held.iter().flatten().skip(1).step_by(3) {
            runs.give(run.clone());
        }
        // 3, 40, 3 pages are free, and what was never used.
        let trimmed = std::cell::RefCell::new(Vec::new());
        runs.trim(&budget, 6 * PAGE, |pages| trimmed.borrow_mut().push(pages.len()));
        assert_eq!(trimmed.into_inner(), [3, 3]);
        runs.validate().expect("sound");
    }

    #[test]
    fn pieces_that_fit_nobody_cost_no_room() {
        let (runs, budget) = (runs(16 * 1024, false), Budget::new(1030 * PAGE));
        // All memory in runs of two pages, of which every second is freed: 500 pages in pieces of two.
        let held: Vec<_> = std::iter::from_fn(|| claim(&runs, &budget, 2)).collect();
        assert!(held.len() >= 500);
        held.iter().step_by(2).for_each(|run| runs.give(run.clone()));
        let long = claim(&runs, &budget, 450).expect("they are as good as a run");
        assert_eq!(long.len(), 450);
        runs.validate().expect("sound");
    }

    #[test]
    fn at_the_end_of_the_region_all_of_it_is_searched() {
        let (runs, budget) = (runs(8192, false), Budget::new(1 << 30));
        let mut held: Vec<_> = std::iter::from_fn(|| claim(&runs, &budget, 64)).collect();
        assert_eq!(held.len(), 128);
        for at in [127, 60, 61, 5] {
            runs.give(held.swap_remove(at));
            runs.trim(&budget, u64::MAX, |_| ());
        }
        assert!(claim(&runs, &budget, 129).is_none());
        assert_eq!([64, 64, 64, 64].iter().filter_map(|&pages| claim(&runs, &budget, pages)).count(), 4);
        assert!(claim(&runs, &budget, 2).is_none());
        runs.validate().expect("sound");
    }

    #[test]
    fn rows_come_where_there_is_much_room_only() {
        let (runs, budget) = (runs(64 * 1024, true), Budget::new(16 * 1024 * PAGE));
        let mut most_at_once = 0;
        let mut held = Vec::new();
        while runs.backed_pages() < 10 * 1024 {
            let before = runs.backed_pages();
            held.push(claim(&runs, &budget, 5).expect("room"));
            let more = runs.backed_pages() - before;
            assert!(budget.charged() <= budget.limit() / 2 + 300 * PAGE || more <= 5, "{more}");
            most_at_once = most_at_once.max(more);
        }
        assert_eq!(most_at_once, 256);
        held.into_iter().for_each(|run| runs.give(run));
        runs.validate().expect("sound");
        runs.trim(&budget, u64::MAX, |_| ());
        assert_eq!(budget.charged(), runs.overhead_bytes());
        // What went back is used again, not what was never used.
        let opened = runs.opened();
        (0..500).for_each(|_| assert!(claim(&runs, &budget, 5).is_some()));
        assert_eq!(runs.opened(), opened);
    }

    #[test]
    fn under_threads_a_page_has_one_owner_and_none_is_lost() {
        let (runs, budget) = (runs(16 * 1024, false), Budget::new(1500 * PAGE));
        let held: Vec<AtomicUsize> = (0..runs.plan.pages).map(|_| AtomicUsize::new(0)).collect();
        let own = |pages: Range<usize>| {
            held[pages]
                .iter()
                .for_each(|page| assert_eq!(page.fetch_add(1, Ordering::Relaxed), 0, "two owners"));
        };
        let disown =
            |pages: Range<usize>| held[pages].iter().for_each(|page| page.store(0, Ordering::Relaxed));
        thread::scope(|scope| {
            for seed in 1..=4_usize {
                let (runs, budget, own, disown) = (&runs, &budget, &own, &disown);
                scope.spawn(move || {
                    let mut mine: Vec<Range<usize>> = Vec::new();
                    let mut dice = seed * 7919;
                    for round in 0..8000_usize {
                        dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                        let pages = 2 + (dice >> 33) % [6, 40, 300][round % 3];
                        if let Some(run) = claim(runs, budget, pages) {
                            own(run.clone());
                            mine.push(run);
                        }
                        assert!(budget.charged() <= budget.limit());
                        while mine.iter().map(Range::len).sum::<usize>() > 400 {
                            let run = mine.swap_remove((dice >> 40) % mine.len());
                            disown(run.clone());
                            runs.give(run);
                        }
                        if round % 97 == 0 {
                            runs.trim(budget, 100 * PAGE, |pages| {
                                own(pages.clone());
                                disown(pages);
                            });
                        }
                    }
                    for run in mine {
                        disown(run.clone());
                        runs.give(run);
                    }
                });
            }
        });
        runs.validate().expect("sound");
        assert_eq!(budget.charged(), runs.charged_bytes());
        assert_eq!(runs.ready_bytes(), runs.backed_pages() as u64 * PAGE);
        runs.trim(&budget, u64::MAX, |_| ());
        assert_eq!((runs.ready_bytes(), budget.charged()), (0, runs.overhead_bytes()));
    }

    #[test]
    fn words_cover_a_range() {
        for range in [0..1, 0..64, 3..64, 60..70, 64..128, 5..300, 7..7, 64..64] {
            let pages = |(word, mask): (usize, u64)| {
                (0..WORD_BITS).filter(move |bit| mask >> bit & 1 == 1).map(move |bit| word * WORD_BITS + bit)
            };
            assert!(words(range.clone()).all(|(_, mask)| mask != 0));
            assert!(words(range.clone()).flat_map(pages).eq(range));
        }
    }
}
