//! Where a run can be had: looks at the bits, and claims nothing but what was freed lately. What is found may be another's by the time
//! it is claimed.

use super::{BARE_LOOKS, READY_LOOKS, Run, Runs, words};
use crate::{
    arena::{
        bitmap::{FULL, WORD_BITS, WORD_SHIFT},
        recent::{Look, Recent},
    },
    sync::Ordering,
};
use std::ops::Range;

impl Runs {
    /// A run where pages were freed lately, if one is large enough as it is: the shortest.
    pub(super) fn claim_recent(&self, pages: usize) -> Option<Run> {
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
    pub(super) fn ready_at(&self, page: usize, step: usize) -> Range<usize> {
        let ready = self.ready_around(page, Recent::longest());
        if Recent::step(ready.len()) == step { ready } else { page..page }
    }

    /// Notes a page, if it is ready, and how many are in a row there.
    pub(super) fn remember(&self, page: usize) {
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
    pub(super) fn survey(&self, pages: usize) -> Option<(usize, usize)> {
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

    /// Where free pages stand in a row, ready or not, in `looks` words at most: from where some were found last up to the end, then
    /// from where the last search that came to the end left off, or else from the beginning.
    pub(super) fn find_bare(&self, pages: usize, looks: usize) -> Option<usize> {
        let words = self.opened() >> WORD_SHIFT;
        // Relaxed, here and below: where to begin, no more.
        let mut word = self.bare_from.load(Ordering::Relaxed);
        let mut again = if looks < words { self.bare_again.load(Ordering::Relaxed) } else { 0 };
        let (mut row, mut looked, mut wrapped) = (0, 0, false);
        while looked < looks.min(words + pages.div_ceil(WORD_BITS)) {
            if word >= words {
                (word, row) = (if again < words { again } else { 0 }, 0);
                (again, wrapped) = (0, true);
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
        let cursor = if wrapped { &self.bare_again } else { &self.bare_from };
        cursor.store(word, Ordering::Relaxed);
        None
    }

    /// A group whose pages are all free and bare, as far as a search goes.
    pub(super) fn find_bare_group(&self) -> Option<Range<usize>> {
        let (groups, group_words) =
            (self.opened() / self.plan.group_pages, self.plan.group_pages >> WORD_SHIFT);
        let from = self.bare_again.load(Ordering::Relaxed) / group_words;
        let mut looks = (from..groups).chain(0..from.min(groups)).take(BARE_LOOKS / group_words);
        let mut last = from;
        let is_bare = |group: &usize| {
            last = *group;
            let pages = group * self.plan.group_pages..(group + 1) * self.plan.group_pages;
            words(pages).all(|(word, _)| self.free.load(word) == FULL && self.resident_in(word) == 0)
        };
        let Some(group) = looks.find(is_bare) else {
            self.bare_again.store((last + 1) * group_words, Ordering::Relaxed);
            return None;
        };
        Some(group * self.plan.group_pages..(group + 1) * self.plan.group_pages)
    }

    /// How many of the bits from `page` on are set without a gap, in what `view` shows of a word; counted up to `most`.
    pub(super) fn length_above(&self, page: usize, most: usize, view: impl Fn(usize) -> u64) -> usize {
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
}
