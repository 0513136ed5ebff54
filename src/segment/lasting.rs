//! Making segments last: [`Segments::sync`], and which extents can be trusted after one failed.

use super::{
    durable::Durable,
    extent::ExtentRef,
    header::NoSegment,
    ledger::Stream,
    segment::Segment,
    segments::{Segments, Shared, find},
};
use crate::{
    error::{Error, Result},
    sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering},
};
use std::{collections::BTreeMap, io, path::Path, sync::PoisonError};

/// What a store has besides, whose segments outlive the process.
pub(super) struct Lasting {
    pub(super) store_id: u64,
    /// Files with a segment's name that are none of this store's, by number.
    pub(super) strangers: BTreeMap<u32, Stranger>,
    /// Records written, of all segments, and how many of them were when the last good sync began.
    pub(super) written: AtomicU64,
    synced: AtomicU64,
    /// Segments that ever failed.
    failures: AtomicU64,
    /// One sync at a time (`durable`, invariant 2).
    syncing: Mutex<()>,
}

/// A file with a segment's name that is none of this store's.
pub(super) struct Stranger {
    pub(super) why: NoSegment,
    pub(super) len_bytes: u64,
    /// An extent was looked for in it: it may be what is left of a segment, and stays.
    pub(super) is_wanted: AtomicBool,
}

impl Lasting {
    pub(super) fn new(store_id: u64, strangers: BTreeMap<u32, Stranger>) -> Self {
        Self {
            store_id,
            strangers,
            written: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            syncing: Mutex::new(()),
        }
    }
}

impl Segments {
    /// Makes the bytes of every append last that returned before this call. Others may append meanwhile; what they write may
    /// last or not. One call at a time does it; others wait for it, and then for what is left.
    ///
    /// If a segment cannot be synced, nobody knows what of it is on the disk, and a second try would say "good" of bytes that
    /// are not: the segment is given up. Nothing more goes into it, it is never used again, and what was appended to it
    /// since its last good sync [is not trusted](Self::is_trusted). The other segments are synced all the same.
    ///
    /// An append that was under way in a segment that failed may return afterwards. So the caller asks [`is_trusted`]
    /// of every extent it relies on after **every** sync; what is trusted then, and was appended before the call, lasts.
    ///
    /// # Errors
    /// `Io`, of the first file, or of the directory, that could not be synced. The caller writes what is not trusted once more,
    /// and tries again.
    ///
    /// [`is_trusted`]: Self::is_trusted
    pub(crate) fn sync(&self) -> Result<()> {
        let shared = &self.shared;
        let Some(lasting) = &shared.lasting else { return Ok(()) };
        let _alone = lasting.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        // Acquire: pairs with the Release in `Shared::write`.
        let written = lasting.written.load(Ordering::Acquire);
        // Relaxed, here and below: ordered by the lock.
        if written == lasting.synced.load(Ordering::Relaxed) {
            return Ok(());
        }
        let bytes = shared.sync_bytes(lasting);
        let names = shared.sync_names(lasting);
        bytes.and(names)?;
        lasting.synced.store(written, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the extent is where a sync makes it last: `false` if its segment failed to be synced, and its bytes were not
    /// covered by a good sync before.
    pub(crate) fn is_trusted(&self, extent: ExtentRef) -> bool {
        let shared = &self.shared;
        // Acquire: pairs with the Release in `give_up`.
        let any_failed =
            shared.lasting.as_ref().is_some_and(|lasting| lasting.failures.load(Ordering::Acquire) > 0);
        if !any_failed {
            return true;
        }
        let place = shared.layout.unpack(extent);
        let end = place.unit + shared.units_of(place.len_bytes);
        let table = shared.table.load();
        let durable = find(&table, place.segment).and_then(|segment| segment.durable.as_ref());
        durable.is_some_and(|durable| !durable.is_failed() || durable.is_safe(end))
    }

    /// Whether a crash leaves the file of the extent's segment, though perhaps not the extent's bytes: those can be put back.
    pub(crate) fn is_founded(&self, extent: ExtentRef) -> bool {
        let table = self.shared.table.load();
        let segment = find(&table, self.shared.layout.unpack(extent).segment);
        segment.and_then(|segment| segment.durable.as_ref()).is_some_and(Durable::is_founded)
    }

    /// Counts bytes on disk that are not in segments (journal, checkpoint) against the storage limit, before they are there.
    /// They may use what is kept for moving.
    ///
    /// # Errors
    /// `StorageFull`, with an empty path; then nothing is counted.
    pub(crate) fn charge_other(&self, bytes: u64) -> Result<()> {
        if self.shared.charge_other(bytes) {
            return Ok(());
        }
        let used_bytes = self.shared.ledger.charged_bytes();
        Err(Error::StorageFull { path: String::new(), needed_bytes: bytes, used_bytes })
    }

    /// Takes back what was charged, once it is not on the disk any more.
    pub(crate) fn refund_other(&self, bytes: u64) {
        self.shared.ledger.refund_other(bytes);
    }
}

impl Shared {
    /// Syncs each segment that was written to; the first error.
    fn sync_bytes(&self, lasting: &Lasting) -> Result<()> {
        let mut result = Ok(());
        let table = self.table.load();
        for (number, segment) in (0..).zip(table.iter()) {
            let Some(segment) = segment else { continue };
            let Some(durable) = &segment.durable else { continue };
            if durable.is_failed() {
                continue;
            }
            let Some(point) = durable.begin(&segment.state) else { continue };
            match segment.sync() {
                Ok(()) => durable.finish(&point),
                Err(source) => {
                    self.give_up(lasting, segment);
                    result = result.and(Err(failed(&self.path(number), "sync a segment", source)));
                }
            }
        }
        result
    }

    /// Makes the names of new segments last. If that fails, those segments might vanish whole.
    fn sync_names(&self, lasting: &Lasting) -> Result<()> {
        let table = self.table.load();
        let wants_name = |segment: &Segment| {
            segment.durable.as_ref().is_some_and(|durable| !durable.is_failed() && durable.wants_name())
        };
        let unnamed: Vec<&Arc<Segment>> = table.iter().flatten().filter(|s| wants_name(s)).collect();
        if unnamed.is_empty() {
            return Ok(());
        }
        let synced = self.io.sync_dir(&self.config.dir);
        for segment in unnamed {
            match (&synced, &segment.durable) {
                (Ok(()), Some(durable)) => durable.name(),
                _ => self.give_up(lasting, segment),
            }
        }
        synced.map_err(|source| failed(&self.config.dir, "sync the storage directory", source))
    }

    /// A segment is not trusted any more: nothing more goes into it.
    fn give_up(&self, lasting: &Lasting, segment: &Arc<Segment>) {
        let Some(durable) = &segment.durable else { return };
        durable.fail();
        // AcqRel: Release pairs with the Acquire in `is_trusted`, which then sees which segment it was.
        lasting.failures.fetch_add(1, Ordering::AcqRel);
        for stream in [Stream::Fresh, Stream::Moved] {
            let (seen, active) = self.active(stream);
            if active.is_some_and(|(_, active)| Arc::ptr_eq(&active, segment)) {
                self.displace(stream, seen, None);
            }
        }
    }
}

fn failed(path: &Path, doing: &'static str, source: io::Error) -> Error {
    Error::io(path.display().to_string(), doing, source)
}
