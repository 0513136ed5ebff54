//! Which sizes there are: content classes and raw classes, as pure functions. Knows nothing of memory.
//!
//! ```text
//! content:                64 80 96 112 | 128 160 192 224 | 256 ..        4096 | four to a doubling; longer ones are runs of pages
//! raw:              32 48 64 80 96 112 | 128 160 ..                       8192 | four to a doubling from 64 on
//! ```
//!
//! Invariants:
//! 1. A class is the smallest that holds the size; from 64 bytes on it is less than a quarter larger than need be.
//! 2. Every size is a multiple of 16.

use crate::map::PAGE_BYTES;

/// The largest raw size.
pub(super) const RAW_MAX_BYTES: usize = if cfg!(memfs_loom) { 256 } else { 8192 };
/// How many raw classes there are.
pub(super) const RAW_CLASSES: usize = raw_class(RAW_MAX_BYTES) + 1;
/// The largest chunk an arena is made for.
pub(super) const CHUNK_MAX_BYTES: usize = 64 << 20;
/// The most classes an arena can have, of both kinds.
pub(super) const MAX_CLASSES: usize = small_class(PAGE_BYTES) + 1 + RAW_CLASSES;

const SMALLEST: usize = 64;

/// Four sizes to a doubling, from `SMALLEST` on: the class of a size; of a content, if it is a page at most.
#[inline]
pub(super) const fn small_class(len_bytes: usize) -> usize {
    if len_bytes <= SMALLEST {
        return 0;
    }
    let top = (len_bytes - 1).ilog2() as usize;
    (top - 6) * 4 + (((len_bytes - 1) >> (top - 2)) & 3) + 1
}

/// The reverse of `small_class`.
const fn small_size(class: usize) -> usize {
    (4 + class % 4) << (4 + class / 4)
}

/// The slot sizes of an arena for chunks of up to `chunk_bytes`, smallest first; longer ones than a page are runs.
pub(super) fn content_sizes(chunk_bytes: usize) -> Vec<usize> {
    (0..=small_class(chunk_bytes.min(PAGE_BYTES))).map(small_size).collect()
}

/// How many lengths of runs there are to a doubling.
pub(super) const RUN_STEPS: usize = 1 << RUN_SHIFT;
const RUN_SHIFT: u32 = 2;

/// Lengths of runs by steps, some to a doubling: the last step that is not above `pages` (at least one).
#[inline]
pub(super) const fn run_step(pages: usize) -> usize {
    if pages < RUN_STEPS {
        return pages;
    }
    let top = pages.ilog2() - RUN_SHIFT;
    ((top as usize + 1) << RUN_SHIFT) + (pages >> top & (RUN_STEPS - 1))
}

/// The reverse of `run_step`.
#[inline]
pub(super) const fn run_pages(step: usize) -> usize {
    if step < RUN_STEPS {
        return step;
    }
    (RUN_STEPS + step % RUN_STEPS) << (step / RUN_STEPS - 1)
}

/// How many pages a content of so many bytes gets: those it needs, and up to the next step, so that what one leaves fits others.
#[inline]
pub(super) const fn pages_for(len_bytes: usize) -> usize {
    let pages = len_bytes.div_ceil(PAGE_BYTES);
    let step = run_step(pages);
    if run_pages(step) == pages { pages } else { run_pages(step + 1) }
}

/// The class that holds a raw allocation of `size_bytes`.
#[inline]
pub(super) const fn raw_class(size_bytes: usize) -> usize {
    match size_bytes {
        0..=32 => 0,
        33..=48 => 1,
        _ => 2 + small_class(size_bytes),
    }
}

/// The slot size of a raw class.
pub(super) const fn raw_size(class: usize) -> usize {
    match class {
        0 => 32,
        1 => 48,
        _ => small_size(class - 2),
    }
}

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_length_gets_the_smallest_class_that_holds_it() {
        let sizes = content_sizes(CHUNK_MAX_BYTES);
        assert!(sizes.is_sorted_by(|a, b| a < b));
        for len in 1..=PAGE_BYTES {
            let class = small_class(len);
            assert!(sizes[class] >= len, "{len} does not fit class {class}");
            assert!(class == 0 || sizes[class - 1] < len, "{len} would fit a smaller class than {class}");
        }
    }

    #[test]
    fn sizes_are_what_the_design_says() {
        let sizes = content_sizes(CHUNK_MAX_BYTES);
        assert_eq!(sizes[..9], [64, 80, 96, 112, 128, 160, 192, 224, 256]);
        assert_eq!(sizes[sizes.len() - 2..], [3584, 4096]);
        for pair in sizes.windows(2) {
            assert!(pair[1] - pair[0] <= pair[0] / 4, "{pair:?} are too far apart");
        }
    }

    #[test]
    fn there_are_no_more_classes_than_the_chunk_needs() {
        for (chunk, last) in [(512, 512), (600, 640), (4096, 4096), (9 * 4096, 4096), (1 << 20, 4096)] {
            assert_eq!(content_sizes(chunk).last(), Some(&last));
        }
    }

    #[test]
    fn runs_have_four_lengths_to_a_doubling() {
        let lengths: Vec<usize> = (1..24).map(run_pages).collect();
        let expected = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112];
        assert_eq!(lengths, expected);
        for pages in 1..=CHUNK_MAX_BYTES / PAGE_BYTES {
            let step = run_step(pages);
            assert!(run_pages(step) <= pages && pages < run_pages(step + 1));
            let got = pages_for(pages * PAGE_BYTES);
            assert_eq!(got, pages_for(pages * PAGE_BYTES - PAGE_BYTES + 1));
            assert!(got >= pages && got <= pages + pages / 4 && run_pages(run_step(got)) == got);
        }
    }

    #[test]
    fn raw_sizes_follow_from_the_size_alone() {
        for size in 1..=RAW_MAX_BYTES {
            let class = raw_class(size);
            assert!(class < RAW_CLASSES && raw_size(class) >= size);
            assert!(class == 0 || raw_size(class - 1) < size);
            assert_eq!(raw_size(class) % 16, 0);
        }
    }
}
