//! Bytes on disk that outlive their extent, and as a slice of the mapping.
//!
//! What a slice makes resident counts as this process's memory, so each use adds to an estimate, and when the estimate passes
//! [`MAPPED_BOUND_BYTES`] the mappings' pages are dropped from the process (the page cache keeps them, and slices in use
//! fault them in again).

use super::{
    extent::{ExtentRef, Place},
    fault::Tolerant,
    read::ReadError,
    record::{self, HEADER_BYTES, Mismatch},
    segment::Segment,
    segments::Shared,
};
use crate::{
    map::FileMap,
    sync::{Arc, AtomicBool, Ordering},
};

/// How much of the mappings may be resident before it is dropped: small beside the 16 MiB that a process may have over its
/// limit, and large enough that 64 uses of short extents share the cost of one drop.
pub(super) const MAPPED_BOUND_BYTES: u64 = 4 << 20;

/// The kernel maps cached neighbours along with a page, aligned to this.
const FAULT_AROUND_BYTES: u64 = 64 << 10;

/// How much is verified at a time.
const PIECE_BYTES: usize = 4096;

/// Keeps a segment's bytes where they are, over the death of the extent and the end of the store.
pub(crate) struct SegmentHold {
    shared: Arc<Shared>,
    segment: Arc<Segment>,
    extent: ExtentRef,
    is_verified: AtomicBool,
}

impl SegmentHold {
    /// Takes over one count of the segment's holders.
    pub(super) fn new(shared: Arc<Shared>, segment: Arc<Segment>, extent: ExtentRef) -> Self {
        debug_assert!(segment.state.load().holds() > 0);
        Self { shared, segment, extent, is_verified: AtomicBool::new(false) }
    }

    pub(crate) fn extent(&self) -> ExtentRef {
        self.extent
    }

    pub(crate) fn len(&self) -> usize {
        self.place().len_bytes
    }

    /// Lets the disk begin, if it will be waited for, while the caller sees to a place for the bytes.
    pub(crate) fn expect_read(&self) {
        self.segment.expect_read(&self.shared.layout, self.place());
    }

    /// As [`Segments::read`](super::Segments::read).
    pub(crate) fn read(&self, owner: u64, dst: &mut [u8]) -> Result<(), ReadError> {
        let place = self.place();
        assert_eq!(dst.len(), place.len_bytes, "the destination has the extent's length");
        self.segment.read(&self.shared.layout, place, owner, dst)
    }

    /// The bytes where they are, verified by the first call; `None` where they cannot be had as memory, and must be read.
    ///
    /// The bytes can be trusted as far as the file: on a disk that fails later a load from the slice is a fault that the
    /// process does not survive. Who cannot accept that reads. Files that have a name could be truncated by it behind the
    /// store's back: of a store that lasts there are no slices.
    ///
    /// # Safety
    /// The extent was seen to be current after it was held, or it was held by a caller that was protected against its
    /// death. (In the place of one that was dead a write may be under way, behind the slice.)
    pub(crate) unsafe fn slice(&self, owner: u64) -> Result<Option<&[u8]>, ReadError> {
        if self.segment.durable.is_some() {
            return Ok(None);
        }
        let Some(tolerant) = Tolerant::get() else { return Ok(None) };
        let Some(map) = self.segment.map() else { return Ok(None) };
        let place = self.place();
        let start = self.shared.layout.offset(place.unit) as usize;
        let end = start + HEADER_BYTES + place.len_bytes;
        if end > map.len_bytes() {
            return Err(ReadError::cut_short(
                place,
                start as u64,
                end - start,
                map.len_bytes().saturating_sub(start),
            ));
        }
        self.count_mapped(start as u64, end as u64);
        // Acquire: pairs with the Release below.
        if !self.is_verified.load(Ordering::Acquire) {
            map.will_need(start..end);
            self.verify(tolerant, map, place, owner)?;
            self.is_verified.store(true, Ordering::Release);
        }
        // SAFETY: in bounds (checked above); the mapping lives as long as the segment, which `self` keeps; nobody writes
        // there: the extent was live when it was held (caller), so its record is complete, and its space is not used
        // again before the segment is empty, while `self` is a holder.
        Ok(Some(unsafe { std::slice::from_raw_parts(map.ptr().add(start + HEADER_BYTES), place.len_bytes) }))
    }

    fn verify(&self, tolerant: Tolerant, map: &FileMap, place: Place, owner: u64) -> Result<(), ReadError> {
        let offset = self.shared.layout.offset(place.unit);
        let whole = HEADER_BYTES + place.len_bytes;
        let copy = |dst: &mut [u8], from: usize| {
            let unread = tolerant.copy(map, offset as usize + from, dst);
            if unread == 0 {
                Ok(())
            } else {
                Err(ReadError::cut_short(place, offset, whole, from + dst.len() - unread))
            }
        };
        let corrupt = |Mismatch { expected, found }| ReadError::corrupt(place, offset, expected, found);
        let mut header = [0; HEADER_BYTES];
        copy(&mut header, 0)?;
        let mut crc = record::check_header(&header, owner, place.len_bytes).map_err(corrupt)?;
        let mut piece = [0; PIECE_BYTES];
        for from in (HEADER_BYTES..whole).step_by(PIECE_BYTES) {
            let piece = &mut piece[..PIECE_BYTES.min(whole - from)];
            copy(piece, from)?;
            crc = crc32c::crc32c_append(crc, piece);
        }
        record::check_crc(&header, crc).map_err(corrupt)
    }

    /// Adds what a use of `start..end` may make resident, and drops all that was if that is too much.
    fn count_mapped(&self, start: u64, end: u64) {
        let around =
            end.next_multiple_of(FAULT_AROUND_BYTES) - start / FAULT_AROUND_BYTES * FAULT_AROUND_BYTES;
        // Relaxed, all: an estimate.
        self.segment.mapped_bytes.fetch_add(around, Ordering::Relaxed);
        let sum = self.shared.mapped_bytes.fetch_add(around, Ordering::Relaxed) + around;
        if sum <= MAPPED_BOUND_BYTES {
            return;
        }
        let table = self.shared.table.load();
        // This one too, where it outlives its store and is in no table.
        let all = table.iter().flatten().chain([&self.segment]);
        let dropped: u64 = all.map(|segment| segment.drop_resident()).sum();
        self.shared.mapped_bytes.fetch_sub(dropped, Ordering::Relaxed);
    }

    fn place(&self) -> Place {
        self.shared.layout.unpack(self.extent)
    }
}

impl Drop for SegmentHold {
    fn drop(&mut self) {
        if self.segment.state.release_hold() {
            self.shared.emptied(self.place().segment, &self.segment);
        }
    }
}
