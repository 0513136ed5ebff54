//! One segment: a file of fixed length, its space, and its bytes as memory where somebody asks for that.

use super::{
    durable::Durable,
    extent::{Layout, Place},
    io::DiskFile,
    ledger::Charge,
    read::ReadError,
    record::{self, HEADER_BYTES, Mismatch},
    state::State,
};
use crate::{
    map::FileMap,
    sync::{AtomicPtr, AtomicU64, Ordering},
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    ptr,
};

/// Units up to which several records are written at once.
pub(super) const MOST_UNIT_BYTES: usize = 4096;
/// For what lies between two of them: less than a unit.
static ZEROS: [u8; MOST_UNIT_BYTES] = [0; MOST_UNIT_BYTES];

pub(super) struct Segment {
    pub(super) state: State,
    /// Fits a file that is smaller than the store's segments, made when the disk was nearly full.
    pub(super) capacity_units: u32,
    /// What slices may have made resident since the mapping was last dropped; an estimate, see `hold`.
    pub(super) mapped_bytes: AtomicU64,
    /// Null, or a `FileMap` in a box: set once, by the first who wants it.
    map: AtomicPtr<FileMap>,
    file: Box<dyn DiskFile>,
    /// Of a segment that lasts.
    pub(super) durable: Option<Durable>,
    /// Last: refunded when the file is closed.
    pub(super) charge: Charge,
}

impl Segment {
    /// Of a file of as many bytes as were charged.
    pub(super) fn new(
        file: Box<dyn DiskFile>,
        layout: &Layout,
        charge: Charge,
        state: State,
        durable: Option<Durable>,
    ) -> Self {
        Self {
            state,
            capacity_units: layout.capacity_units(charge.bytes()),
            mapped_bytes: AtomicU64::new(0),
            map: AtomicPtr::new(ptr::null_mut()),
            file,
            durable,
            charge,
        }
    }

    /// Starts its space over; the caller owns it.
    pub(super) fn reopen(&self) {
        if let Some(durable) = &self.durable {
            durable.restart();
        }
        self.state.reopen();
    }

    /// A sync of it failed.
    pub(super) fn is_failed(&self) -> bool {
        self.durable.as_ref().is_some_and(Durable::is_failed)
    }

    /// Whether its space may be used again when it is empty.
    pub(super) fn is_reusable(&self) -> bool {
        self.durable.as_ref().is_none_or(Durable::is_reusable)
    }

    /// Makes what was written before last.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Writes a record into space that was reserved for it.
    pub(super) fn write(&self, offset: u64, header: &[u8; HEADER_BYTES], bytes: &[u8]) -> io::Result<()> {
        debug_assert!(offset + (HEADER_BYTES + bytes.len()) as u64 <= self.charge.bytes());
        self.file.write_at(&mut [IoSlice::new(header), IoSlice::new(bytes)], offset)
    }

    /// The same of several, each at the beginning of a unit behind the one before.
    pub(super) fn write_all<'b>(
        &self,
        offset: u64,
        unit_bytes: u64,
        records: impl Iterator<Item = (&'b [u8; HEADER_BYTES], &'b [u8])>,
    ) -> io::Result<()> {
        let mut parts = Vec::new();
        let mut gap = 0;
        for (header, bytes) in records {
            // What is behind a record, to the end of its unit, is nobody's.
            parts.extend([IoSlice::new(&ZEROS[..gap]), IoSlice::new(header), IoSlice::new(bytes)]);
            let len = HEADER_BYTES + bytes.len();
            gap = len.next_multiple_of(unit_bytes as usize) - len;
        }
        debug_assert!(
            offset + parts.iter().map(|part| part.len() as u64).sum::<u64>() <= self.charge.bytes()
        );
        self.file.write_at(&mut parts, offset)
    }

    /// The record at `place` is read in a moment.
    pub(super) fn expect_read(&self, layout: &Layout, place: Place) {
        self.file.expect_read(layout.offset(place.unit), HEADER_BYTES + place.len_bytes);
    }

    /// Reads the record at `place` into `dst` and verifies it. The space may have been reused meanwhile, if the caller is
    /// not protected: then `dst` holds anything, and the answer is an error or what this very place holds now.
    pub(super) fn read(
        &self,
        layout: &Layout,
        place: Place,
        owner: u64,
        dst: &mut [u8],
    ) -> Result<(), ReadError> {
        let offset = layout.offset(place.unit);
        let whole = HEADER_BYTES + place.len_bytes;
        let mut header = [0; HEADER_BYTES];
        let read = self.file.read_at(&mut [IoSliceMut::new(&mut header), IoSliceMut::new(dst)], offset);
        let read = read.map_err(|source| ReadError::io(place, offset, source))?;
        if read < whole {
            return Err(ReadError::cut_short(place, offset, whole, read));
        }
        let verify = |crc| record::check_crc(&header, crc32c::crc32c_append(crc, dst));
        record::check_header(&header, owner, place.len_bytes)
            .and_then(verify)
            .map_err(|Mismatch { expected, found }| ReadError::corrupt(place, offset, expected, found))
    }

    /// The segment as memory; `None` where it cannot be had.
    pub(super) fn map(&self) -> Option<&FileMap> {
        // Acquire: pairs with the Release of the exchange below.
        let mut map = self.map.load(Ordering::Acquire);
        if map.is_null() {
            let mine = Box::into_raw(Box::new(self.file.map(self.charge.bytes() as usize).ok()??));
            // AcqRel: publishes the map; Acquire on failure, to see the other's.
            map = match self.map.compare_exchange(ptr::null_mut(), mine, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => mine,
                Err(other) => {
                    // SAFETY: made by `Box::into_raw` above and not published.
                    drop(unsafe { Box::from_raw(mine) });
                    other
                }
            };
        }
        debug_assert!(!map.is_null());
        // SAFETY: not null (above), from a box, set once and freed in `drop` only, which excludes `&self`.
        Some(unsafe { &*map })
    }

    /// Takes the pages that slices made resident out of this process; how many bytes they were thought to be.
    pub(super) fn drop_resident(&self) -> u64 {
        // Relaxed: an estimate.
        let bytes = self.mapped_bytes.swap(0, Ordering::Relaxed);
        if bytes > 0
            && let Some(map) = self.map()
        {
            map.drop_resident();
        }
        bytes
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // Acquire: pairs with the Release in `map`.
        let map = self.map.load(Ordering::Acquire);
        if !map.is_null() {
            // SAFETY: from `Box::into_raw` in `map`; nobody else can reach it any more.
            drop(unsafe { Box::from_raw(map) });
        }
    }
}
