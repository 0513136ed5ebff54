//! Putting bytes into the active segment: one record, or several in one write.

use super::{
    durable::Durable,
    extent::{ExtentRef, FIRST_UNIT, Place},
    io::is_full,
    ledger::Stream,
    read::in_segment,
    record::{self, HEADER_BYTES},
    segment::{MOST_UNIT_BYTES, Segment},
    segments::{Shared, Shortage},
};
use crate::{
    error::{Error, Result},
    failpoint::pass,
    sync::{Arc, Ordering},
};

impl Shared {
    pub(super) fn append(&self, stream: Stream, owner: u64, bytes: &[u8]) -> Result<ExtentRef> {
        assert!(bytes.len() <= self.layout.chunk_bytes, "an extent is at most a chunk");
        let units = self.units_of(bytes.len());
        if units + FIRST_UNIT > self.layout.capacity_units(self.layout.segment_bytes) {
            return Err(self.full(bytes));
        }
        loop {
            let (seen, segment) = self.active(stream);
            if let Some((number, segment)) = segment
                && let Some(written) = self.append_to(number, &segment, owner, bytes)
            {
                return written;
            }
            match self.advance(stream, seen) {
                Ok(()) => {}
                Err(Shortage::Disk(source)) if !is_full(&source) => {
                    return Err(Error::Io { path: String::new(), doing: "make a segment", source });
                }
                Err(_) => return Err(self.full(bytes)),
            }
        }
    }

    /// One reservation and one write for all of them; `None` if the active segment has not as much room.
    pub(super) fn append_together(
        &self,
        owner: u64,
        all: &[&[u8]],
        to: &mut Vec<ExtentRef>,
    ) -> Option<Result<()>> {
        debug_assert!(all.iter().all(|bytes| bytes.len() <= self.layout.chunk_bytes));
        if self.layout.unit_bytes() > MOST_UNIT_BYTES as u64 {
            return None;
        }
        let (number, segment) = self.active(Stream::Fresh).1?;
        let flight = segment.durable.as_ref().map(Durable::enter);
        let units = all.iter().map(|bytes| self.units_of(bytes.len())).sum();
        let first = segment.state.reserve(units, segment.capacity_units)?;
        if segment.is_failed() {
            self.release(number, &segment, units);
            return None;
        }
        if let Some(flight) = &flight {
            flight.at(first);
        }
        pass("append: space reserved for several");
        let written = self.write_together((number, first), &segment, owner, all, to);
        if written.is_err() {
            self.release(number, &segment, units);
        } else if let (Some(flight), Some(lasting)) = (flight, &self.lasting) {
            flight.written();
            // AcqRel: as in `append_to`.
            lasting.written.fetch_add(1, Ordering::AcqRel);
        }
        Some(written)
    }

    /// Writes into reserved space, which is dead if that fails.
    fn write_together(
        &self,
        (number, first): (u32, u32),
        segment: &Segment,
        owner: u64,
        all: &[&[u8]],
        to: &mut Vec<ExtentRef>,
    ) -> Result<()> {
        // Relaxed: as in `write`.
        let sequence = self.sequence.fetch_add(all.len() as u64, Ordering::Relaxed);
        let headers: Vec<_> =
            (sequence..).zip(all).map(|(sequence, bytes)| record::header(owner, sequence, bytes)).collect();
        let records = headers.iter().zip(all).map(|(header, bytes)| (header, *bytes));
        let offset = self.layout.offset(first);
        if let Err(source) = segment.write_all(offset, self.layout.unit_bytes(), records) {
            if is_full(&source) {
                return Err(self.full(all[0]));
            }
            let source = in_segment(number, offset, source);
            return Err(Error::Io { path: String::new(), doing: "write a segment", source });
        }
        let mut unit = first;
        to.extend(all.iter().map(|bytes| {
            let place = Place { segment: number, unit, len_bytes: bytes.len() };
            unit += self.units_of(bytes.len());
            self.layout.pack(place)
        }));
        Ok(())
    }

    /// `None` if the segment takes no more of this length.
    fn append_to(
        &self,
        number: u32,
        segment: &Arc<Segment>,
        owner: u64,
        bytes: &[u8],
    ) -> Option<Result<ExtentRef>> {
        let flight = segment.durable.as_ref().map(Durable::enter);
        let units = self.units_of(bytes.len());
        let unit = segment.state.reserve(units, segment.capacity_units)?;
        if segment.is_failed() {
            self.release(number, segment, units);
            return None;
        }
        if let Some(flight) = &flight {
            flight.at(unit);
        }
        let place = Place { segment: number, unit, len_bytes: bytes.len() };
        pass("append: space reserved");
        let written = self.write(place, segment, owner, bytes);
        if let (Some(flight), Some(lasting), Ok(_)) = (flight, &self.lasting, &written) {
            flight.written();
            // AcqRel: Release pairs with the Acquire in `sync`; after the segment's own count.
            lasting.written.fetch_add(1, Ordering::AcqRel);
        }
        Some(written)
    }

    /// Units of a segment are not live any more.
    pub(super) fn release(&self, number: u32, segment: &Arc<Segment>, units: u32) {
        if segment.state.release_live(units) {
            self.emptied(number, segment);
        }
    }

    /// Writes into reserved space, which is dead if that fails.
    fn write(&self, place: Place, segment: &Arc<Segment>, owner: u64, bytes: &[u8]) -> Result<ExtentRef> {
        // Relaxed: only distinct numbers are wanted.
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let offset = self.layout.offset(place.unit);
        let Err(source) = segment.write(offset, &record::header(owner, sequence, bytes), bytes) else {
            return Ok(self.layout.pack(place));
        };
        self.release(place.segment, segment, self.units_of(bytes.len()));
        if is_full(&source) {
            return Err(self.full(bytes));
        }
        let source = in_segment(place.segment, offset, source);
        Err(Error::Io { path: String::new(), doing: "write a segment", source })
    }

    fn full(&self, bytes: &[u8]) -> Error {
        let used_bytes = self.ledger.charged_bytes();
        Error::StorageFull {
            path: String::new(),
            needed_bytes: (HEADER_BYTES + bytes.len()) as u64,
            used_bytes,
        }
    }
}
