//! The runs of an arena with their address space and headers: contents of two pages and more.
//!
//! ```text
//! region    |r0 r0 r0|r3 r3|  |r6 r6 r6 r6 ..|             a run: pages in a row
//! headers   |h0 n0 - |h3 n3|  |h6 n6 - -  ..|             one a page; of a run, the first is its header,
//!                                                          the second has how many pages it has
//! windows   |      class 56          |      class 57          | ..    as many pages as fit into a reference; all the same
//! ```
//!
//! A reference is a class, which says which window of the region, and a page in it. Where contents may be long, their length takes
//! many bits of a reference and few are left for the page: so there can be several windows.
//!
//! # Invariants
//! 1. A run has two pages at least, and so a second header, which nobody knows but this file. It is written before the run's
//!    reference leaves, and not again.
//! 2. Pages that `Runs` says are not resident went back to the system, or were never touched.

use super::{
    block::{BLOCK_REF_BITS, CLASS_BITS, HEADER_BYTES, Header, SHAPES, Shape},
    budget::Budget,
    class::{HUGE_GRANULE, PAGE_GRANULE, Region, metadata_reserve, region_bytes, wants_rows},
    runs::{Lack, Plan, Run, Runs},
    sizes::{MAX_CLASSES, pages_for},
};
use crate::{
    map::{PAGE_BYTES, Zeroed, prefetch_to_write},
    sync::Ordering,
};
use std::io;

/// How much address space there is: this many times the limit, and this many of the longest runs.
const SPACE_PART: usize = 16;
/// Most address space: four times what one class of small contents has.
const SPACE_MAX_BYTES: usize = 1 << 40;
/// A group where there are no huge pages.
const HEADERS_IN_PAGE: usize = PAGE_BYTES / HEADER_BYTES;
/// As many as there are numbers of classes left. (288 GiB, where chunks are of 64 MiB, the longest.)
const MAX_WINDOWS: usize = SHAPES - MAX_CLASSES;

pub(super) struct Pages {
    pub(super) runs: Runs,
    region: Region,
    headers: Zeroed<Header>,
    /// Bits of a page's number inside of its window.
    window_shift: u32,
    longest_pages: usize,
    /// How many bits a length has.
    len_bits: u32,
}

impl Pages {
    /// For contents of up to `longest_bytes`.
    pub(super) fn new(longest_bytes: usize, limit_bytes: u64, huge_pages: bool) -> io::Result<Self> {
        let longest_pages = longest_bytes.div_ceil(PAGE_BYTES);
        let rows = wants_rows(HUGE_GRANULE, limit_bytes, huge_pages);
        let is_huge = rows || huge_pages && longest_bytes >= HUGE_GRANULE;
        let group_pages = if is_huge { HUGE_GRANULE / PAGE_BYTES } else { HEADERS_IN_PAGE };
        let space_bytes = (region_bytes(limit_bytes).saturating_mul(SPACE_PART)).min(SPACE_MAX_BYTES);
        let len_bits = (longest_pages * PAGE_BYTES).ilog2() + 1;
        let slot_bits = BLOCK_REF_BITS - CLASS_BITS - len_bits;
        let pages = space_bytes / PAGE_BYTES + SPACE_PART * longest_pages;
        let pages = pages.next_multiple_of(group_pages).min(MAX_WINDOWS << slot_bits);
        // Two bits a page (free, resident), and summaries.
        let overhead_bytes =
            (group_pages * HEADER_BYTES + group_pages.div_ceil(7) + group_pages / 8 + 1) as u64;
        let leave_bytes = metadata_reserve(limit_bytes);
        let plan = Plan { page_bytes: PAGE_BYTES, pages, group_pages, overhead_bytes, leave_bytes, rows };
        let headers = Zeroed::new(pages)?;
        headers.refuse_huge();
        let align_bytes = if is_huge { HUGE_GRANULE } else { PAGE_GRANULE };
        let region = Region::aligned(pages * PAGE_BYTES, PAGE_BYTES, PAGE_GRANULE, align_bytes)?;
        let window_shift = slot_bits.min(pages.next_power_of_two().ilog2());
        Ok(Self { runs: Runs::new(plan)?, region, headers, window_shift, longest_pages, len_bits })
    }

    /// The shapes of the windows.
    pub(super) fn shapes(&self) -> impl Iterator<Item = Shape> {
        let base = self.region.base();
        (0..self.runs.plan.pages.div_ceil(1 << self.window_shift)).map(move |window| {
            let first = window << self.window_shift;
            // SAFETY: a window begins inside of the region.
            let base = unsafe { base.add(first * PAGE_BYTES) };
            Shape::of_runs(base, PAGE_BYTES, self.len_bits)
        })
    }

    /// How many pages a content gets.
    pub(super) fn pages_for(&self, len_bytes: usize) -> usize {
        pages_for(len_bytes).min(self.longest_pages)
    }

    /// A page by its window, and its place there.
    #[inline]
    pub(super) fn page(&self, window: usize, slot: usize) -> usize {
        (window << self.window_shift) + slot
    }

    /// The reverse.
    pub(super) fn window(&self, page: usize) -> (usize, usize) {
        (page >> self.window_shift, page & ((1 << self.window_shift) - 1))
    }

    #[inline]
    pub(super) fn header(&self, page: usize) -> &Header {
        self.headers.get(page)
    }

    /// Starts to bring the header of a page near, to be written; whatever the numbers.
    #[inline]
    pub(super) fn prefetch_header(&self, window: usize, slot: usize) {
        prefetch_to_write(self.headers.address(self.page(window, slot)));
    }

    /// How many bytes the run has that begins with `page`.
    #[inline]
    pub(super) fn capacity(&self, page: usize) -> usize {
        self.length(page) * PAGE_BYTES
    }

    fn length(&self, page: usize) -> usize {
        // Relaxed: who has the reference has what was written before it left.
        self.headers.get(page + 1).tail.load(Ordering::Relaxed) as usize
    }

    /// As [`Runs::claim`].
    pub(super) fn claim(&self, budget: &Budget, pages: usize) -> Result<Run, Lack> {
        debug_assert!(pages > 1);
        self.runs.claim(budget, pages, |row| self.region.populate_row(row))
    }

    /// As [`Runs::back`]; then the run can be used.
    pub(super) fn back(&self, budget: &Budget, run: &mut Run) -> bool {
        let backed = self.runs.back(budget, run, |gap| self.region.populate_row(gap));
        if backed {
            // Relaxed: published with the reference.
            self.headers.get(run.pages.start + 1).tail.store(run.pages.len() as u32, Ordering::Relaxed);
        }
        backed
    }

    /// The run that begins with `page` is nobody's any more.
    pub(super) fn give(&self, page: usize) {
        self.runs.give(page..page + self.length(page));
    }

    /// As [`Runs::trim`].
    pub(super) fn trim(&self, budget: &Budget, want_bytes: u64) -> u64 {
        // SAFETY: `Runs::trim` took the pages: they are in no other hands.
        self.runs.trim(budget, want_bytes, |pages| unsafe { self.region.decommit(pages) })
    }
}

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;

    /// Chunks of 64 MiB leave a reference so few bits for the page that a window is 4 GiB.
    #[test]
    fn runs_of_several_windows_are_where_their_references_say() {
        let (longest, budget) = (64 << 20, Budget::new(16 << 30));
        let pages = Pages::new(longest, budget.limit(), false).expect("address space");
        let shapes: Vec<_> = pages.shapes().collect();
        assert!((2..=MAX_WINDOWS).contains(&shapes.len()), "{} windows", shapes.len());
        let mut windows = std::collections::HashSet::new();
        // Claimed and not made resident: that takes no memory.
        for _ in 0..150 {
            let run = pages.claim(&budget, longest / PAGE_BYTES).expect("room").pages;
            for page in [run.start, run.end - 1] {
                let (window, slot) = pages.window(page);
                assert_eq!(pages.page(window, slot), page);
                let distance = shapes[window].address(slot).addr() - shapes[0].address(0).addr();
                assert_eq!(distance, page * PAGE_BYTES, "page {page} in window {window}");
                windows.insert(window);
            }
        }
        assert!(windows.len() > 2, "{windows:?}");
    }
}
