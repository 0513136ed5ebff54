//! The set of segments: appending, dying, recycling.
//!
//! Each stream of records has one *active* segment, which takes them until one does not fit. Then whoever noticed brings
//! another: a spare, or a new file. Whoever swings the active word to it seals the old one; whoever comes too late leaves
//! its own among the spares. Nobody waits, so several threads may make a file at the same moment, and one be used.
//!
//! # Invariants
//! 1. A segment is sealed after it was displaced from its active word, by who displaced it: once per incarnation.
//! 2. A segment is in at most one of: an active word, a slot of the spares, one thread's hands. Open segments are in one of
//!    them; sealed ones are in none, or empty and spare, or empty and in the hands of who emptied them.
//! 3. A thread that reserves in a segment which is not active any more, or not yet, gets space of its present incarnation:
//!    one word decides, and a segment that is empty refuses.

use super::{
    cell::Cell,
    extent::{ExtentRef, FIRST_UNIT, Layout},
    hold::SegmentHold,
    io::{Disk, is_full},
    lasting::Lasting,
    ledger::{Ledger, Stream},
    params::PARAMS_BYTES,
    read::ReadError,
    record::HEADER_BYTES,
    recover,
    segment::Segment,
};
use crate::{
    error::{Error, Result},
    sync::{Arc, AtomicBool, AtomicU32, AtomicU64, Ordering, thread},
};
use std::{io, path::PathBuf};

/// What becomes of segment files when the process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StorageKind {
    /// They have no name and are gone.
    Temp,
    /// They are there when the store is opened again. `params` are what [`Segments::params`] said of the store when it was
    /// made, which the floor above keeps; none for a store that is new. (A new store does not look at segments that
    /// another one has left in the directory.)
    Persist { params: Option<[u8; PARAMS_BYTES]> },
}

/// How a store uses the disk.
#[derive(Clone, Debug)]
pub(crate) struct SegmentConfig {
    /// Where the files are; must exist.
    pub(crate) dir: PathBuf,
    pub(crate) kind: StorageKind,
    /// Smaller when the limit is; larger when a chunk would not fit.
    pub(crate) segment_bytes: u64,
    pub(crate) chunk_bytes: usize,
    /// Most bytes of all files together.
    pub(crate) storage_limit_bytes: Option<u64>,
}

/// What the disk floor has to show.
#[derive(Clone, Debug)]
pub(crate) struct SegmentStats {
    pub(crate) segments: u64,
    pub(crate) preallocated_bytes: u64,
    /// On disk besides: what [`Segments::charge_other`] was told of, and segments that have come to harm.
    pub(crate) other_bytes: u64,
    /// Space of live extents, headers and rounding included.
    pub(crate) live_bytes: u64,
    /// Segments emptied and used again, or given back.
    pub(crate) compactions: u64,
    pub(crate) checksum_failures: u64,
    /// The limit, or the file system's size if that is less; 0 if the system does not say.
    pub(crate) capacity_bytes: u64,
    pub(crate) dir: PathBuf,
}

/// How many empty segments are kept for the next need; further ones are given back to the system.
const SPARES: usize = 2;

/// How often a thread looks again for space that others hold for a moment: over some 15 ms.
pub(super) const PATIENCE: u32 = if cfg!(memfs_loom) { 1 } else { 200 };

/// The same while another thread is known to be bringing a segment. It waits for the disk, or for a processor: some 2 s.
const LONG_PATIENCE: u32 = if cfg!(memfs_loom) { 1 } else { 2500 };

/// A segment's number and the segment.
pub(super) type Numbered = (u32, Arc<Segment>);

/// Segments by number; numbers are reused.
pub(super) type Table = Vec<Option<Arc<Segment>>>;

/// The disk floor of one store.
pub(crate) struct Segments {
    pub(super) shared: Arc<Shared>,
}

/// What holds keep too, beyond the store's end.
pub(super) struct Shared {
    pub(super) config: SegmentConfig,
    pub(super) io: std::sync::Arc<dyn Disk>,
    pub(super) layout: Layout,
    pub(super) ledger: Arc<Ledger>,
    /// Of a store that outlives the process.
    pub(super) lasting: Option<Lasting>,
    pub(super) table: Cell<Table>,
    /// By stream: version in the upper half, segment number + 1 in the lower, 0 for none.
    pub(super) active: [AtomicU64; 2],
    /// Segment number + 1, or 0.
    pub(super) spares: [AtomicU32; SPARES],
    /// Threads that are bringing a segment: between needing one and having installed it, put it back or failed.
    bringing: AtomicU32,
    /// The disk refused the last file that was asked of it.
    pub(super) is_disk_full: AtomicBool,
    pub(super) sequence: AtomicU64,
    pub(super) emptied: AtomicU64,
    checksum_failures: AtomicU64,
    /// Sum of the segments' estimates, see `hold`.
    pub(super) mapped_bytes: AtomicU64,
}

impl Segments {
    /// Makes no file yet: the first append does. Segments of a lasting store that are there are found, and wait for
    /// [`recovered`](Self::recovered).
    ///
    /// # Errors
    /// `InvalidArgument`: sizes that cannot be, or another chunk size than the store has. `Corrupt`: parameters that are none.
    /// `Io`: the directory or a segment in it could not be opened; one that has come to harm is no error.
    pub(crate) fn open(config: SegmentConfig, io: std::sync::Arc<dyn Disk>) -> Result<Self> {
        let &SegmentConfig { segment_bytes, chunk_bytes, storage_limit_bytes: limit, .. } = &config;
        let (layout, ledger, found) = match config.kind {
            StorageKind::Temp => {
                let layout = Layout::new(segment_bytes, chunk_bytes, limit, HEADER_BYTES)?;
                (layout, Arc::new(Ledger::new(limit, layout.segment_bytes)), None)
            }
            StorageKind::Persist { params } => {
                let (params, layout) = recover::settle(&config, params)?;
                let ledger = Arc::new(Ledger::new(limit, layout.segment_bytes));
                let found = recover::look(&config, &*io, &params, &layout, &ledger)?;
                (layout, ledger, Some(found))
            }
        };
        let (table, lasting, sequence) = match found {
            Some(found) => (found.table, Some(found.lasting), found.sequence),
            None => (Table::new(), None, 0),
        };
        let shared = Shared {
            config,
            io,
            layout,
            ledger,
            lasting,
            table: Cell::new(table),
            active: [AtomicU64::new(0), AtomicU64::new(0)],
            spares: std::array::from_fn(|_| AtomicU32::new(0)),
            bringing: AtomicU32::new(0),
            is_disk_full: AtomicBool::new(false),
            sequence: AtomicU64::new(sequence),
            emptied: AtomicU64::new(0),
            checksum_failures: AtomicU64::new(0),
            mapped_bytes: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Stores `bytes` (at most a chunk). The extent is live until it is [`kill`](Self::kill)ed.
    ///
    /// # Errors
    /// `StorageFull`, `Io`, with an empty path. Nothing is stored then.
    pub(crate) fn append(&self, owner: u64, bytes: &[u8]) -> Result<ExtentRef> {
        self.shared.append(Stream::Fresh, owner, bytes)
    }

    /// The same for bytes that are being moved out of a [`sparse`](Self::sparse) segment: may use the space that is kept
    /// for this, so that a store at its limit can be compacted.
    pub(crate) fn append_moved(&self, owner: u64, bytes: &[u8]) -> Result<ExtentRef> {
        self.shared.append(Stream::Moved, owner, bytes)
    }

    /// Stores several, in one write where they find room together; their extents are added to `to`.
    ///
    /// # Errors
    /// As of [`append`](Self::append); those that were added before are stored.
    pub(crate) fn append_all(&self, owner: u64, all: &[&[u8]], to: &mut Vec<ExtentRef>) -> Result<()> {
        if all.len() > 1
            && let Some(written) = self.shared.append_together(owner, all, to)
        {
            return written;
        }
        all.iter().try_for_each(|bytes| self.append(owner, bytes).map(|extent| to.push(extent)))
    }

    /// How many bytes the extent has.
    pub(crate) fn len(&self, extent: ExtentRef) -> usize {
        self.shared.layout.unpack(extent).len_bytes
    }

    #[cfg(any(test, memfs_loom))]
    /// Where the extent's record begins: segment and offset in bytes.
    pub(crate) fn location(&self, extent: ExtentRef) -> (u64, u64) {
        let place = self.shared.layout.unpack(extent);
        (place.segment.into(), self.shared.layout.offset(place.unit))
    }

    #[cfg(any(test, memfs_loom))]
    /// Reads the whole extent into `dst`, which has its length, and verifies header and checksum.
    ///
    /// Needs no protection: if the extent dies meanwhile, and its space is used again, `dst` holds anything and the answer
    /// is an error, or `Ok` if a record of the same owner and length stands in the same place. The caller looks at its own
    /// word again afterwards; while that says `extent`, the answer holds.
    pub(crate) fn read(&self, extent: ExtentRef, owner: u64, dst: &mut [u8]) -> Result<(), ReadError> {
        let layout = &self.shared.layout;
        let place = layout.unpack(extent);
        assert_eq!(dst.len(), place.len_bytes, "the destination has the extent's length");
        let table = self.shared.table.load();
        match find(&table, place.segment) {
            Some(segment) => {
                let read = segment.read(layout, place, owner, dst);
                // Acquire: whoever wrote what was read here changed the caller's word before: the caller's second look,
                // which comes after this, sees it. Pairs with the changes of the segment's state between the two.
                crate::sync::fence(Ordering::Acquire);
                read
            }
            None => Err(ReadError::Gone { segment: place.segment.into(), offset: layout.offset(place.unit) }),
        }
    }

    /// The error for what a read found, once the caller knows that the extent was current; counts bad checksums.
    pub(crate) fn report(&self, error: ReadError) -> Error {
        if !matches!(error, ReadError::Io { .. }) {
            // Relaxed: a figure to report.
            self.shared.checksum_failures.fetch_add(1, Ordering::Relaxed);
        }
        error.into()
    }

    /// Keeps the extent's bytes on disk beyond its death. `None` if its segment is being reused, so that the extent was
    /// dead already, or cannot count more holders; the caller then reads a copy. Holding proves nothing about the
    /// extent: a caller that is not protected against its death looks at its own word again.
    pub(crate) fn hold(&self, extent: ExtentRef) -> Option<SegmentHold> {
        let place = self.shared.layout.unpack(extent);
        let table = self.shared.table.load();
        let segment = find(&table, place.segment)?;
        segment.state.hold().then(|| SegmentHold::new(self.shared.clone(), segment.clone(), extent))
    }

    /// The extent is dead: its space counts as free, and is used again when its whole segment is.
    ///
    /// # Safety
    /// - `extent` came from this store's `append`, or was adopted, and is killed once.
    /// - No thread reads it under a pin or finds it any more: the caller defers this call through the epoch. (Reads that
    ///   check their word afterwards, and holders, need no such protection.)
    pub(crate) unsafe fn kill(&self, extent: ExtentRef) {
        let place = self.shared.layout.unpack(extent);
        let units = self.shared.units_of(place.len_bytes);
        let table = self.shared.table.load();
        let segment = find(&table, place.segment);
        debug_assert!(segment.is_some(), "{place:?} was killed twice");
        if let Some(segment) = segment {
            self.shared.release(place.segment, segment, units);
        }
    }

    /// Gives back the disk that nothing live is on, spare segments included: for a store that is closed. Later appends find
    /// no segment and make one.
    pub(crate) fn shrink(&self) {
        for stream in [Stream::Fresh, Stream::Moved] {
            let (seen, segment) = self.shared.active(stream);
            if segment.is_some() {
                self.shared.displace(stream, seen, None);
            }
        }
        // Who takes a spare holds a ticket for it; the file gives it back when it goes.
        while self.shared.ledger.take_ticket(Stream::Moved) {
            let Some((number, segment)) = self.shared.take_spare() else {
                self.shared.ledger.give_ticket();
                break;
            };
            if segment.state.seal() {
                self.shared.forget(number, &segment);
            }
        }
    }

    pub(crate) fn stats(&self) -> SegmentStats {
        let shared = &self.shared;
        let table = shared.table.load();
        let live_units: u64 =
            table.iter().flatten().map(|segment| u64::from(segment.state.load().live_units())).sum();
        let disk = shared.io.capacity_bytes(&shared.config.dir).unwrap_or(0);
        let limit = shared.config.storage_limit_bytes;
        SegmentStats {
            segments: table.iter().flatten().count() as u64,
            preallocated_bytes: shared.ledger.charged_bytes().saturating_sub(shared.ledger.other_bytes()),
            other_bytes: shared.ledger.other_bytes(),
            live_bytes: live_units * shared.layout.unit_bytes(),
            // Relaxed, both: figures to report.
            compactions: shared.emptied.load(Ordering::Relaxed),
            checksum_failures: shared.checksum_failures.load(Ordering::Relaxed),
            capacity_bytes: limit.map_or(disk, |limit| if disk == 0 { limit } else { limit.min(disk) }),
            dir: shared.config.dir.clone(),
        }
    }
}

impl Drop for Segments {
    /// Closes the files; those that are held live on with their holders.
    fn drop(&mut self) {
        self.shared.table.update(|_| (Table::new(), ()));
    }
}

/// The segment of a number.
pub(super) fn find(table: &Table, segment: u32) -> Option<&Arc<Segment>> {
    table.get(segment as usize)?.as_ref()
}

/// The active word that follows `seen`: another version, so that a thread which found the segment of `seen` full does not
/// displace the same segment when it has come back empty.
fn successor(seen: u64, segment: Option<u32>) -> u64 {
    ((seen >> 32) + 1) << 32 | segment.map_or(0, |segment| u64::from(segment) + 1)
}

fn number_in(active: u64) -> Option<u32> {
    (active as u32).checked_sub(1)
}

impl Shared {
    pub(super) fn units_of(&self, len_bytes: usize) -> u32 {
        self.layout.units((HEADER_BYTES + len_bytes) as u64)
    }

    /// The active word, and the segment it names.
    pub(super) fn active(&self, stream: Stream) -> (u64, Option<Numbered>) {
        // Acquire: pairs with the Release of the exchange in `displace`, so that the table has the segment.
        let seen = self.active[stream as usize].load(Ordering::Acquire);
        let table = self.table.load();
        let segment = number_in(seen).and_then(|number| Some((number, find(&table, number)?.clone())));
        (seen, segment)
    }

    /// Swings the active word from `seen` to `next` and seals what was there; `false` if another thread did already.
    pub(super) fn displace(&self, stream: Stream, seen: u64, next: Option<u32>) -> bool {
        // AcqRel: Release publishes what is in the table for `next`; Acquire pairs with that of who installed `seen`.
        // Relaxed on failure: nothing is read.
        let swung = self.active[stream as usize].compare_exchange(
            seen,
            successor(seen, next),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if swung.is_err() {
            return false;
        }
        if let Some(number) = number_in(seen) {
            // Looked up only now: until we seal it, it is not empty, so it stays in the table.
            let segment = find(&self.table.load(), number).cloned();
            debug_assert!(segment.is_some(), "an active segment that is not in the table");
            if let Some(segment) = segment
                && segment.state.seal()
            {
                self.emptied(number, &segment);
            }
        }
        true
    }

    /// Brings a segment in place of the one that `seen` names, unless another thread was faster.
    pub(super) fn advance(&self, stream: Stream, seen: u64) -> Result<(), Shortage> {
        // Relaxed, and AcqRel below: the subtraction's Release pairs with the Acquire in `space_comes`.
        self.bringing.fetch_add(1, Ordering::Relaxed);
        let brought = self.bring(stream, seen);
        self.bringing.fetch_sub(1, Ordering::AcqRel);
        match brought {
            Err(shortage)
                if shortage.is_full()
                    && (self.give_up_dead() || self.space_comes(stream, seen, &shortage)) =>
            {
                Ok(())
            }
            brought => brought,
        }
    }

    fn bring(&self, stream: Stream, seen: u64) -> Result<(), Shortage> {
        if self.is_superseded(stream, seen) {
            return Ok(());
        }
        let (number, segment) = self.obtain(stream)?;
        if !self.displace(stream, seen, Some(number)) {
            self.put_back(number, &segment);
        }
        Ok(())
    }

    /// A segment in hand, open.
    fn obtain(&self, stream: Stream) -> Result<Numbered, Shortage> {
        if !self.ledger.take_ticket(stream) {
            return Err(Shortage::Limit);
        }
        loop {
            if let Some(spare) = self.take_spare() {
                return Ok(spare);
            }
            match self.create() {
                Ok(Some(created)) => return Ok(created),
                // More is promised than the limit, so the ticket stands for nothing.
                Ok(None) if self.ledger.is_overdrawn() => {
                    self.ledger.give_ticket();
                    return Err(Shortage::Limit);
                }
                // No room for a file: then the ticket stands for a spare (ledger, invariant 2). It was put in a slot
                // behind our eyes, by a thread that made progress.
                Ok(None) => {}
                Err(error) => {
                    self.ledger.give_ticket();
                    return Err(Shortage::Disk(error));
                }
            }
        }
    }

    /// With no space left, an active segment of which nothing is live is worth more empty. Whether one was given up.
    pub(super) fn give_up_dead(&self) -> bool {
        let mut any = false;
        for stream in [Stream::Fresh, Stream::Moved] {
            let (seen, segment) = self.active(stream);
            any |= segment.is_some_and(|(_, segment)| {
                let now = segment.state.load();
                now.live_units() == 0 && now.tail_units() > FIRST_UNIT && self.displace(stream, seen, None)
            });
        }
        any
    }

    /// Whether another thread has installed a segment in place of `seen`.
    fn is_superseded(&self, stream: Stream, seen: u64) -> bool {
        // Acquire: as in `active`.
        self.active[stream as usize].load(Ordering::Acquire) != seen
    }

    /// Whether it is worth trying again after a shortage: there is space now, or there comes to be within a bounded time,
    /// in which another thread installs, or puts back, the segment that is missing here.
    fn space_comes(&self, stream: Stream, seen: u64, shortage: &Shortage) -> bool {
        for attempt in 0..LONG_PATIENCE {
            // Acquire: pairs with the Release in `advance`; who is counted no more has done all there is to see below.
            let bringing = self.bringing.load(Ordering::Acquire);
            // Acquire: only to keep the order; the attempt that follows decides.
            let has_spare = || self.spares.iter().any(|slot| slot.load(Ordering::Acquire) != 0);
            let is_found = self.ledger.free_tickets(stream) > 0
                && match shortage {
                    Shortage::Limit => true,
                    Shortage::Disk(_) => has_spare(),
                };
            if is_found || self.is_superseded(stream, seen) {
                return true;
            }
            if bringing == 0 {
                return false;
            }
            wait_a_little(attempt);
        }
        false
    }
}

/// Why there is no segment to be had.
pub(super) enum Shortage {
    /// All that the limit allows are in use.
    Limit,
    /// The disk refused a file.
    Disk(io::Error),
}

impl Shortage {
    fn is_full(&self) -> bool {
        match self {
            Shortage::Limit => true,
            Shortage::Disk(error) => is_full(error),
        }
    }
}

pub(super) fn wait_a_little(attempt: u32) {
    #[cfg(not(memfs_loom))]
    if attempt > PATIENCE / 2 {
        return thread::sleep(std::time::Duration::from_micros(attempt.min(1000).into()));
    }
    let _ = attempt;
    thread::yield_now();
}
