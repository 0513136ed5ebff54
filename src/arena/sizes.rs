//! Which sizes there are: content classes and raw classes, as pure functions. Knows nothing of memory.
//!
//! ```text
//! content, below a page:  64 80 96 112 | 128 160 192 224 | 256 ..        3584 | four to a doubling
//! content, in pages:       1  2  3   4 |   5   6   7   8 |  10 12 14 16 | 20 .. four to a doubling; the last one exact
//! raw:              32 48 64 80 96 112 | 128 160 ..                       8192 | four to a doubling from 64 on
//! ```
//!
//! Invariants:
//! 1. A class is the smallest that holds the size; from 64 bytes on it is less than a quarter larger than need be
//!    (and from a page on, less than a quarter or a page).
//! 2. Every size is a multiple of 16; from a page on, of a page.

use crate::map::PAGE_BYTES;

/// The largest raw size.
pub(super) const RAW_MAX_BYTES: usize = if cfg!(memfs_loom) { 256 } else { 8192 };
/// How many raw classes there are.
pub(super) const RAW_CLASSES: usize = raw_class(RAW_MAX_BYTES) + 1;
/// The largest chunk an arena is made for.
pub(super) const CHUNK_MAX_BYTES: usize = 64 << 20;
/// The most classes an arena can have, of both kinds.
pub(super) const MAX_CLASSES: usize = content_class(CHUNK_MAX_BYTES) + 1 + RAW_CLASSES;

const SMALLEST: usize = 64;
/// The first class of whole pages.
const PAGE_CLASS: usize = small_class(PAGE_BYTES);

/// Four sizes to a doubling, from `SMALLEST` on: the class of a size.
const fn small_class(len_bytes: usize) -> usize {
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

/// The class that holds `len_bytes` of content.
#[inline]
pub(super) const fn content_class(len_bytes: usize) -> usize {
    if len_bytes <= PAGE_BYTES {
        return small_class(len_bytes);
    }
    let pages = len_bytes.div_ceil(PAGE_BYTES);
    if pages <= 4 {
        return PAGE_CLASS + pages - 1;
    }
    let top = (pages - 1).ilog2() as usize;
    PAGE_CLASS + 4 + (top - 2) * 4 + (((pages - 1) >> (top - 2)) & 3)
}

/// The slot size of a content class, before the last one is cut to the chunk.
const fn content_size(class: usize) -> usize {
    if class < PAGE_CLASS {
        return small_size(class);
    }
    let step = class - PAGE_CLASS;
    if step < 4 {
        return (step + 1) * PAGE_BYTES;
    }
    ((4 + (step - 3) % 4) << ((step - 3) / 4)) * PAGE_BYTES
}

/// The slot sizes of an arena for chunks of up to `chunk_bytes`, smallest first.
pub(super) fn content_sizes(chunk_bytes: usize) -> Vec<usize> {
    let last = content_class(chunk_bytes);
    let mut sizes: Vec<usize> = (0..=last).map(content_size).collect();
    if last >= PAGE_CLASS {
        sizes[last] = chunk_bytes.next_multiple_of(PAGE_BYTES);
    }
    sizes
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
        let edges = sizes.iter().flat_map(|&size| [size - 1, size, size + 1]);
        for len in (1..=70_000).chain(edges.filter(|&len| len <= CHUNK_MAX_BYTES)) {
            let class = content_class(len);
            assert!(sizes[class] >= len, "{len} does not fit class {class}");
            assert!(class == 0 || sizes[class - 1] < len, "{len} would fit a smaller class than {class}");
        }
    }

    #[test]
    fn sizes_are_what_the_design_says() {
        let sizes = content_sizes(CHUNK_MAX_BYTES);
        assert_eq!(sizes[..9], [64, 80, 96, 112, 128, 160, 192, 224, 256]);
        let pages: Vec<usize> = sizes.iter().filter(|&&s| s >= 4096).map(|s| s / 4096).collect();
        assert_eq!(pages[..14], [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24]);
        assert_eq!(*pages.last().expect("many"), 16384);
        for pair in sizes.windows(2) {
            assert!(pair[1] - pair[0] <= (pair[0] / 4).max(4096), "{pair:?} are too far apart");
            assert!(pair[0] >= 4096 || pair[1] - pair[0] <= pair[0] / 4);
        }
    }

    #[test]
    fn the_last_class_is_exactly_the_chunk() {
        for (chunk, last) in
            [(512, 512), (4096, 4096), (9 * 4096, 9 * 4096), (9 * 4096 + 1, 10 * 4096), (1 << 20, 1 << 20)]
        {
            let sizes = content_sizes(chunk);
            assert_eq!(*sizes.last().expect("one"), last);
            assert_eq!(content_class(chunk), sizes.len() - 1);
            assert!(sizes.is_sorted_by(|a, b| a < b));
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
