//! Names for places on disk: [`ExtentRef`], 56 bits, and the [`Layout`] of a store that says how they are split.
//!
//! ```text
//!  bit 55                                             0
//!  | segment | offset in units | length in bytes |        lengths 0..=chunk_bytes, units 1..=units of a segment
//! ```
//!
//! # Invariants
//! 1. Unit 0 of every segment belongs to the segment itself: no extent starts there, so no `ExtentRef` is zero.
//! 2. A segment has at most [`MAX_UNITS`] units; units are larger than 256 bytes only in segments beyond 256 MiB.

use crate::{
    error::{Error, Result},
    map::{PAGE_BYTES, page_ceil},
};

/// Bits of an [`ExtentRef`], so that a content word has a byte left for its tag.
pub(super) const EXTENT_BITS: u32 = 56;

/// Smallest granule of space in a segment.
pub(super) const MIN_UNIT_SHIFT: u32 = 8;

/// Most units in a segment: what a field of the state word can count.
pub(super) const MAX_UNITS: u32 = 1 << 20;

/// The unit that belongs to the segment itself; extents start after it.
pub(super) const FIRST_UNIT: u32 = 1;

/// Most segments a store ever names, so that the table of them stays small, and six digits are enough for a file's name.
const MAX_SEGMENTS: u64 = 1_000_000;

/// How many segments a storage limit is cut into at least, so that space can be recycled under it.
const SEGMENTS_PER_LIMIT: u64 = 8;

/// Place and length of bytes on disk, packed in 56 bits; never zero. What the bits say depends on the store's layout.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ExtentRef(u64);

impl ExtentRef {
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// From what [`bits`](Self::bits) gave, in the same store.
    pub(crate) fn from_bits(bits: u64) -> Self {
        debug_assert!(bits != 0 && bits >> EXTENT_BITS == 0, "{bits:#x} was not made by a store");
        Self(bits)
    }

    /// From bits that may have come to harm on a disk; `None` if no store can have made them.
    pub(crate) fn try_from_bits(bits: u64) -> Option<Self> {
        (bits != 0 && bits >> EXTENT_BITS == 0).then_some(Self(bits))
    }
}

/// An [`ExtentRef`], taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) unit: u32,
    pub(super) len_bytes: usize,
}

/// The sizes of a store's records and segments. What the bits of an [`ExtentRef`] mean is fixed when a store is made; in what
/// lengths it makes segments, each time it is opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Of the segments it makes.
    pub(super) segment_bytes: u64,
    pub(super) chunk_bytes: usize,
    /// The smallest file that can be a segment: it holds the largest record, or is all the limit allows.
    pub(super) min_segment_bytes: u64,
    pub(super) unit_shift: u32,
    pub(super) len_bits: u32,
    pub(super) unit_bits: u32,
}

impl Layout {
    /// Of a store that ends with its process: the bits fit its segments. Those fit the limit: `segment_bytes` or an eighth of
    /// it, but a record must fit if it can.
    pub(super) fn new(
        segment_bytes: u64,
        chunk_bytes: usize,
        limit_bytes: Option<u64>,
        header_bytes: usize,
    ) -> Result<Self> {
        let len_bits = check_sizes(segment_bytes, chunk_bytes)?;
        let sizes = Sizes::fit(segment_bytes, chunk_bytes, limit_bytes, header_bytes, None);
        let units = (sizes.segment_bytes >> sizes.unit_shift).max(2);
        let unit_bits = u64::BITS - (units - 1).leading_zeros();
        Ok(Self::of(sizes, chunk_bytes, len_bits, unit_bits))
    }

    /// Of a new store that lasts: its bits name the largest segment that its units allow, so that later ones may be larger.
    /// An eighth of the limit is left for what is not segments.
    pub(super) fn lasting(
        segment_bytes: u64,
        chunk_bytes: usize,
        limit_bytes: Option<u64>,
        header_bytes: usize,
    ) -> Result<Self> {
        let len_bits = check_sizes(segment_bytes, chunk_bytes)?;
        let sizes =
            Sizes::fit(segment_bytes, chunk_bytes, limit_bytes.map(less_an_eighth), header_bytes, None);
        Ok(Self::of(sizes, chunk_bytes, len_bits, MAX_UNITS.ilog2()))
    }

    /// The same bits, and new segments as this opening of the store wants them.
    pub(super) fn with_segments(
        self,
        segment_bytes: u64,
        limit_bytes: Option<u64>,
        header_bytes: usize,
    ) -> Result<Self> {
        check_sizes(segment_bytes, self.chunk_bytes)?;
        let limit_bytes = limit_bytes.map(less_an_eighth);
        let sizes =
            Sizes::fit(segment_bytes, self.chunk_bytes, limit_bytes, header_bytes, Some(self.unit_shift));
        Ok(Self::of(sizes, self.chunk_bytes, self.len_bits, self.unit_bits))
    }

    fn of(sizes: Sizes, chunk_bytes: usize, len_bits: u32, unit_bits: u32) -> Self {
        let Sizes { segment_bytes, min_segment_bytes, unit_shift } = sizes;
        debug_assert!(segment_bytes >> unit_shift <= 1 << unit_bits);
        Self { segment_bytes, chunk_bytes, min_segment_bytes, unit_shift, len_bits, unit_bits }
    }

    /// Length of the largest segment that its bits can name.
    pub(super) fn max_segment_bytes(&self) -> u64 {
        1 << (self.unit_bits + self.unit_shift)
    }

    pub(super) fn unit_bytes(&self) -> u64 {
        1 << self.unit_shift
    }

    /// How many units a run of `bytes` takes.
    pub(super) fn units(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(self.unit_bytes())).unwrap_or(u32::MAX)
    }

    /// How many whole units a file of `bytes` has.
    pub(super) fn capacity_units(&self, bytes: u64) -> u32 {
        debug_assert!(bytes <= self.max_segment_bytes());
        (bytes >> self.unit_shift) as u32
    }

    /// Most segments this store can name.
    pub(super) fn max_segments(&self) -> u64 {
        (1u64 << (EXTENT_BITS - self.len_bits - self.unit_bits)).min(MAX_SEGMENTS)
    }

    pub(super) fn pack(&self, place: Place) -> ExtentRef {
        let Place { segment, unit, len_bytes } = place;
        debug_assert!(u64::from(segment) < self.max_segments());
        debug_assert!(
            unit >= FIRST_UNIT && u64::from(unit) >> self.unit_bits == 0 && len_bytes <= self.chunk_bytes
        );
        ExtentRef(
            (u64::from(segment) << self.unit_bits | u64::from(unit)) << self.len_bits | len_bytes as u64,
        )
    }

    pub(super) fn unpack(&self, extent: ExtentRef) -> Place {
        let field = |shift: u32, bits: u32| (extent.0 >> shift) & ((1u64 << bits) - 1);
        Place {
            segment: (extent.0 >> (self.len_bits + self.unit_bits)) as u32,
            unit: field(self.len_bits, self.unit_bits) as u32,
            len_bytes: field(0, self.len_bits) as usize,
        }
    }

    /// Where `unit` begins, in bytes from the start of the segment.
    pub(super) fn offset(&self, unit: u32) -> u64 {
        u64::from(unit) << self.unit_shift
    }
}

/// Units of 64 KiB at most.
pub(super) const MAX_UNIT_SHIFT: u32 = 16;

/// How long segments are, and their units.
struct Sizes {
    segment_bytes: u64,
    min_segment_bytes: u64,
    unit_shift: u32,
}

impl Sizes {
    fn fit(
        segment_bytes: u64,
        chunk_bytes: usize,
        limit_bytes: Option<u64>,
        header_bytes: usize,
        fixed_shift: Option<u32>,
    ) -> Self {
        let shift_of = |bytes| fixed_shift.unwrap_or_else(|| unit_shift_of(bytes));
        let mut bytes = segment_bytes.min(u64::from(MAX_UNITS) << fixed_shift.unwrap_or(MAX_UNIT_SHIFT));
        if let Some(limit) = limit_bytes {
            bytes = bytes.min(floor_power_of_two(limit / SEGMENTS_PER_LIMIT));
        }
        // The unit depends on the segment's size and the room for a record on the unit: one step of growth settles it.
        let largest_record = |bytes: u64| {
            let unit = 1u64 << shift_of(bytes);
            (chunk_bytes as u64 + header_bytes as u64).next_multiple_of(unit) + unit
        };
        let mut smallest = page_ceil_u64(largest_record(bytes));
        bytes = page_ceil_u64(bytes.max(smallest).max(largest_record(smallest)));
        if let Some(limit) = limit_bytes {
            bytes = bytes.min(limit / PAGE_BYTES as u64 * PAGE_BYTES as u64);
        }
        smallest = smallest.min(bytes);
        Self { segment_bytes: bytes, min_segment_bytes: smallest, unit_shift: shift_of(bytes) }
    }
}

/// How many bits a length takes, if these sizes can be had.
fn check_sizes(segment_bytes: u64, chunk_bytes: usize) -> Result<u32> {
    if segment_bytes == 0 {
        return Err(Error::argument("segment_size", "at least 1 byte", segment_bytes));
    }
    let len_bits = usize::BITS - chunk_bytes.leading_zeros();
    if chunk_bytes == 0 || len_bits > 28 {
        return Err(Error::argument("chunk_size", "1 to 268435455 bytes", chunk_bytes));
    }
    Ok(len_bits)
}

fn less_an_eighth(limit_bytes: u64) -> u64 {
    limit_bytes - limit_bytes / 8
}

fn unit_shift_of(segment_bytes: u64) -> u32 {
    let units = segment_bytes.div_ceil(u64::from(MAX_UNITS)).max(1);
    MIN_UNIT_SHIFT.max(u64::BITS - (units - 1).leading_zeros())
}

fn floor_power_of_two(value: u64) -> u64 {
    value.checked_ilog2().map_or(0, |log| 1 << log)
}

fn page_ceil_u64(bytes: u64) -> u64 {
    page_ceil(bytes as usize) as u64
}

const _: () =
    assert!(usize::BITS == 64, "page_ceil_u64 and the maps of whole segments want 64-bit addresses");

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(segment: u64, chunk: usize, limit: Option<u64>) -> Layout {
        Layout::new(segment, chunk, limit, 32).unwrap()
    }

    #[test]
    fn corners_survive_packing() {
        for (segment, chunk) in
            [(256 << 20, 1 << 20), (4096, 1), (1 << 30, 64 << 10), (1 << 20, (1 << 28) - 1)]
        {
            let l = layout(segment, chunk, None);
            let last_unit = l.capacity_units(l.segment_bytes) - 1;
            for segment in [0, 1, l.max_segments() as u32 - 1] {
                for unit in [FIRST_UNIT, last_unit] {
                    for len_bytes in [0, 1, chunk] {
                        let place = Place { segment, unit, len_bytes };
                        let extent = l.pack(place);
                        assert_eq!(l.unpack(extent), place, "{l:?}");
                        assert_eq!(ExtentRef::from_bits(extent.bits()), extent);
                    }
                }
            }
        }
    }

    #[test]
    fn a_record_of_a_whole_chunk_fits_the_smallest_segment() {
        for chunk in [1, 4064, 4096, 1 << 20, (1 << 28) - 1] {
            for segment in [1, 4096, 1 << 20, 256 << 20, 8 << 30, u64::MAX] {
                let l = layout(segment, chunk, None);
                assert!(
                    l.units(chunk as u64 + 32) + FIRST_UNIT <= l.capacity_units(l.min_segment_bytes),
                    "{l:?}"
                );
                assert!(l.capacity_units(l.segment_bytes) <= MAX_UNITS, "{l:?}");
            }
        }
    }

    #[test]
    fn segments_shrink_to_the_limit() {
        let l = layout(256 << 20, 64 << 10, Some(64 << 20));
        assert_eq!(l.segment_bytes, 8 << 20);
        let tight = layout(256 << 20, 1 << 20, Some(1 << 20));
        assert_eq!((tight.segment_bytes, tight.min_segment_bytes), (1 << 20, 1 << 20));
        assert_eq!(layout(256 << 20, 1 << 20, Some(4095)).segment_bytes, 0);
    }

    #[test]
    fn sizes_that_cannot_be_stored_are_refused() {
        assert!(Layout::new(0, 1, None, 32).is_err());
        assert!(Layout::new(1, 0, None, 32).is_err());
        assert!(Layout::new(1, 1 << 28, None, 32).is_err());
    }
}
