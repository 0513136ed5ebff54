//! How slots group into spans: arithmetic only.
//!
//! A span is what becomes resident and goes back to the system as one: the smallest aligned power of two of slots whose
//! bytes are a whole number of granules (pages; huge pages where a class uses those).
//!
//! ```text
//! slot 5120 B (raw), 4 slots = 5 pages:   leaf word  |0..3|4..7|8..11| .. |60..63|     16 spans share a word
//! slot   80 B,     256 slots = 5 pages:   leaf words |--------|--------|--------|--------|     a span is 4 words
//! slot 4096 B and its multiples:          leaf word  |0|1|2|3| .. |63|     every slot is a span
//! ```
//!
//! Invariant: a span never shares a page with another, and never part of a leaf word with part of another word.

use super::bitmap::{FULL, WORD_BITS, WORD_SHIFT};
use std::ops::Range;

/// Sizes and counts of one class, fixed at its making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) slot_bytes: usize,
    /// Two to this power is the number of slots of a span.
    pub(super) span_shift: u32,
    /// Most spans there can be.
    pub(super) spans: usize,
    /// Bytes of bitmaps that a span costs once and for all.
    pub(super) overhead_bytes: usize,
}

impl Geometry {
    /// Slots of `slot_bytes` in spans of whole `granule_bytes` (a power of two), at least `region_bytes` of them; each slot
    /// with `slot_overhead_bytes` of other bitmaps.
    pub(super) fn new(
        slot_bytes: usize,
        granule_bytes: usize,
        region_bytes: usize,
        slot_overhead_bytes: usize,
    ) -> Self {
        debug_assert!(granule_bytes.is_power_of_two() && slot_bytes > 0);
        let span_shift = granule_bytes.ilog2().saturating_sub(slot_bytes.trailing_zeros());
        let span_slots = 1_usize << span_shift;
        let spans = region_bytes.div_ceil(slot_bytes * span_slots).max(1);
        // A bit a slot (ready), two a span (whole, bare), and their summaries.
        let overhead_bytes = span_slots * slot_overhead_bytes + span_slots.div_ceil(7) + 1;
        Self { slot_bytes, span_shift, spans, overhead_bytes }
    }

    pub(super) fn span_slots(&self) -> usize {
        1 << self.span_shift
    }

    pub(super) fn span_bytes(&self) -> usize {
        self.slot_bytes << self.span_shift
    }

    pub(super) fn slots(&self) -> usize {
        self.spans << self.span_shift
    }

    pub(super) fn region_bytes(&self) -> usize {
        self.spans * self.span_bytes()
    }

    pub(super) fn slots_of(&self, spans: Range<usize>) -> Range<usize> {
        spans.start << self.span_shift..spans.end << self.span_shift
    }

    /// The leaf words of a span, and the part of each that is the span's.
    #[inline]
    pub(super) fn words(&self, span: usize) -> (Range<usize>, u64) {
        let first_slot = span << self.span_shift;
        let first = first_slot >> WORD_SHIFT;
        match self.span_shift.checked_sub(WORD_SHIFT) {
            Some(shift) => (first..first + (1 << shift), FULL),
            None => (first..first + 1, ((1 << self.span_slots()) - 1) << (first_slot % WORD_BITS)),
        }
    }

    /// The leaf words that cover the first `spans` spans.
    pub(super) fn words_below(&self, spans: usize) -> usize {
        (spans << self.span_shift).div_ceil(WORD_BITS)
    }
}

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;
    use crate::{
        arena::sizes::{RAW_CLASSES, content_sizes, raw_size},
        map::PAGE_BYTES,
    };

    #[test]
    fn a_span_is_the_smallest_run_of_slots_in_whole_pages() {
        let sizes = content_sizes(64 << 20).into_iter().chain((0..RAW_CLASSES).map(raw_size));
        for (size, granule) in sizes.flat_map(|size| [(size, PAGE_BYTES), (size, 2 << 20)]) {
            let geometry = Geometry::new(size, granule, 1 << 30, 16);
            assert!(geometry.span_bytes().is_multiple_of(granule));
            assert!(geometry.span_shift == 0 || !(geometry.span_bytes() / 2).is_multiple_of(granule));
            assert!(geometry.region_bytes() >= 1 << 30);
        }
    }

    #[test]
    fn spans_divide_the_leaf_words_among_them() {
        for size in [80, 64, 128, 3584, 4096] {
            let geometry = Geometry::new(size, PAGE_BYTES, 1 << 20, 0);
            let mut seen = vec![0_u64; geometry.words_below(geometry.spans)];
            for span in 0..geometry.spans {
                let (words, mask) = geometry.words(span);
                for word in words {
                    assert_eq!(seen[word] & mask, 0, "size {size}: two spans have a slot");
                    seen[word] |= mask;
                }
            }
            let slots: u32 = seen.iter().map(|word| word.count_ones()).sum();
            assert_eq!(slots as usize, geometry.slots());
        }
    }
}
