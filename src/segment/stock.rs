//! Segments in hand: making files, keeping empty ones for the next need, giving them back.
//!
//! # Invariant
//! A number is free once its file is gone and, after that, its entry in the table. Of a lasting store's files the directory
//! says who has a number: who made the file. So two threads that make one never get the same, and a stranger's file
//! is in nobody's way.

use super::{
    durable::Durable,
    header::{SegmentHeader, file_name},
    io::{DiskFile, is_full},
    lasting::Lasting,
    ledger::Charge,
    segment::Segment,
    segments::{Numbered, PATIENCE, Shared, Table, find, wait_a_little},
    state::State,
};
use crate::sync::{Arc, Ordering};
use std::{
    io::{self, IoSlice},
    path::PathBuf,
};

/// Segments of a store that has none yet are no longer than this, if a record fits in.
const FIRST_BYTES: u64 = 1 << 20;

impl Shared {
    /// How long the next segment is to be. A lasting store begins small and takes as much again as it has: a few small files
    /// are not to take a whole segment of disk for good. Where a limit says what there is, segments are what it is cut into.
    fn next_len(&self) -> u64 {
        let most = self.layout.segment_bytes;
        if self.lasting.is_none() || self.config.storage_limit_bytes.is_some() {
            return most;
        }
        let there = self.ledger.charged_bytes().saturating_sub(self.ledger.other_bytes());
        there.next_power_of_two().max(FIRST_BYTES).max(self.layout.min_segment_bytes).min(most)
    }

    /// A new segment in the table; a smaller one if the disk has no more. `None` if the limit has no room.
    pub(super) fn create(&self) -> io::Result<Option<Numbered>> {
        let mut len_bytes = self.next_len();
        loop {
            let Some(charge) = Charge::try_new(&self.ledger, len_bytes) else { return Ok(None) };
            let made = match &self.lasting {
                None => self.make_nameless(charge),
                Some(lasting) => self.make_named(lasting, charge),
            };
            let is_refused = made.as_ref().is_err_and(is_full);
            // Relaxed: for judging pressure.
            self.is_disk_full.store(is_refused, Ordering::Relaxed);
            match made {
                Ok((number, segment)) => {
                    segment.charge.bind_ticket();
                    return Ok(Some((number, segment)));
                }
                Err(_) if is_refused && len_bytes > self.layout.min_segment_bytes => {
                    len_bytes = (len_bytes / 2).max(self.layout.min_segment_bytes);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn make_nameless(&self, charge: Charge) -> io::Result<Numbered> {
        let file = self.io.create_temp(&self.config.dir)?;
        file.allocate(charge.bytes())?;
        file.expect_random_reads();
        let segment = Arc::new(Segment::new(file, &self.layout, charge, State::new(), None));
        let number = self.table.update(|table| {
            let number = next_free(table, 0);
            match self.is_number(number) {
                true => (with_entry(table, number, Some(segment.clone())), Some(number)),
                false => (table.clone(), None),
            }
        });
        Ok((number.ok_or(io::ErrorKind::StorageFull)?, segment))
    }

    fn make_named(&self, lasting: &Lasting, charge: Charge) -> io::Result<Numbered> {
        let (number, file) = self.create_file()?;
        let header = SegmentHeader {
            store_id: lasting.store_id,
            number,
            segment_bytes: charge.bytes(),
            // Relaxed: what is written from now on, by who is told of this segment, has a higher one.
            first_sequence: self.sequence.load(Ordering::Relaxed),
        };
        let made = file
            .allocate(charge.bytes())
            .and_then(|()| file.write_at(&mut [IoSlice::new(&header.encode())], 0));
        if let Err(error) = made {
            self.remove_file(number, charge.bytes());
            return Err(error);
        }
        file.expect_random_reads();
        let segment = Segment::new(file, &self.layout, charge, State::new(), Some(Durable::new()));
        let segment = Arc::new(segment);
        self.table.update(|table| (with_entry(table, number, Some(segment.clone())), ()));
        Ok((number, segment))
    }

    /// A file of a number that nobody has.
    fn create_file(&self) -> io::Result<(u32, Box<dyn DiskFile>)> {
        let mut from = 0;
        loop {
            let number = next_free(&self.table.load(), from);
            if !self.is_number(number) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            match self.io.create(&self.path(number)) {
                Ok(file) => return Ok((number, file)),
                // Being made by another thread, or given back; or not ours.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => from = number + 1,
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn path(&self, number: u32) -> PathBuf {
        self.config.dir.join(file_name(number))
    }

    /// Takes the name of a file that is in nobody's use. If that cannot be, its bytes stay counted.
    fn remove_file(&self, number: u32, len_bytes: u64) {
        let removed = self.io.remove(&self.path(number));
        if removed.is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
            self.ledger.count_other(len_bytes);
        }
    }

    fn is_number(&self, number: u32) -> bool {
        u64::from(number) < self.layout.max_segments()
    }

    pub(super) fn take_spare(&self) -> Option<Numbered> {
        loop {
            let (number, segment) = self.unpark()?;
            if segment.is_reusable() {
                segment.charge.bind_ticket();
                if segment.state.load().is_sealed() {
                    segment.reopen();
                }
                return Some((number, segment));
            }
            self.discard(number, &segment);
        }
    }

    /// A spare, without a ticket.
    pub(super) fn unpark(&self) -> Option<Numbered> {
        let number = self.spares.iter().find_map(|slot| {
            // AcqRel: Acquire pairs with the Release in `park`: the segment is ours from here. Release is not needed, but
            // there is no Acquire-only exchange that would be cheaper.
            slot.swap(0, Ordering::AcqRel).checked_sub(1)
        })?;
        let segment = find(&self.table.load(), number).cloned();
        debug_assert!(segment.is_some(), "a spare segment that is not in the table");
        Some((number, segment?))
    }

    /// Gives back what `unpark` gave. Others may have reserved in it, if it was put back open: then it is in use.
    pub(super) fn discard(&self, number: u32, segment: &Segment) {
        segment.charge.force_ticket();
        if segment.state.load().is_sealed() || segment.state.seal() {
            self.forget(number, segment);
        }
    }

    /// Puts a segment in hand among the spares, if it is good for one and there is a free slot.
    pub(super) fn park(&self, number: u32, segment: &Segment) -> bool {
        if !segment.is_reusable() || self.ledger.is_over_limit() {
            return false;
        }
        segment.charge.unbind_ticket();
        let parked = self.spares.iter().any(|slot| {
            // Release: pairs with the Acquire in `unpark`. Relaxed on failure: nothing is read.
            slot.compare_exchange(0, number + 1, Ordering::Release, Ordering::Relaxed).is_ok()
        });
        if parked {
            self.ledger.give_ticket();
        } else {
            segment.charge.bind_ticket();
        }
        parked
    }

    /// Takes back an open segment that was not needed. Others may have reserved in it (`segments`, invariant 3).
    pub(super) fn put_back(&self, number: u32, segment: &Segment) {
        if !self.park(number, segment) && segment.state.seal() {
            self.forget(number, segment);
        }
    }

    /// The caller was told that the segment is empty, and owns it: keeps it for the next need, or gives it back.
    pub(super) fn emptied(&self, number: u32, segment: &Segment) {
        // Relaxed: a figure to report.
        self.emptied.fetch_add(1, Ordering::Relaxed);
        self.keep_or_forget(number, segment);
    }

    pub(super) fn keep_or_forget(&self, number: u32, segment: &Segment) {
        if !self.park(number, segment) {
            self.forget(number, segment);
        }
    }

    /// Drops an empty segment in hand; the file goes with its last reader.
    pub(super) fn forget(&self, number: u32, segment: &Segment) {
        // Relaxed: an estimate, which would keep the segment's share for ever.
        self.mapped_bytes.fetch_sub(segment.drop_resident(), Ordering::Relaxed);
        if self.lasting.is_some() {
            self.remove_file(number, segment.charge.bytes());
        }
        self.table.update(|table| (with_entry(table, number, None), ()));
    }

    /// Room for bytes that are no segment's, for which spares are given back if need be.
    pub(super) fn charge_other(&self, bytes: u64) -> bool {
        let promise = || self.ledger.promise_other(bytes);
        if !promise() && (!self.give_up_dead() || !promise()) {
            return false;
        }
        for attempt in 0..PATIENCE {
            if self.ledger.charge_other(bytes) {
                return true;
            }
            match self.unpark() {
                Some((number, segment)) => self.discard(number, &segment),
                // In the hands of another thread, or of a reader.
                None => wait_a_little(attempt),
            }
        }
        self.ledger.unpromise_other(bytes);
        false
    }
}

/// The lowest number from `from` on that the table has no segment for.
fn next_free(table: &Table, from: u32) -> u32 {
    let mut numbers = from..;
    numbers.find(|number| find(table, *number).is_none()).expect("a table is smaller than all numbers")
}

/// The table with another entry for `number`.
pub(super) fn with_entry(table: &Table, number: u32, entry: Option<Arc<Segment>>) -> Table {
    let mut next = table.clone();
    if next.len() <= number as usize {
        next.resize(number as usize + 1, None);
    }
    next[number as usize] = entry;
    next
}
