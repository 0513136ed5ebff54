//! A lasting store's segments, found again.
//!
//! What is found starts as sealed, with nothing live in it, and held once, so that it does not count as empty. The floor
//! above [adopts](Segments::adopt) the extents that its journal knows, and then ends those holds
//! ([`Segments::recovered`]): what nothing is live in becomes a spare, or is given back.
//!
//! # Invariants
//! 1. Before `recovered` no byte of a segment that was found is written, but for extents that are put back, and no file
//!    removed.
//! 2. A file that is no segment of this store is never written or removed, but for one of zeros only (a segment that was
//!    being made when the process ended), if no extent was looked for in it.

use super::{
    durable::Durable,
    extent::{ExtentRef, FIRST_UNIT, Layout},
    header::{NoSegment, SEGMENT_HEADER_BYTES, SegmentHeader, file_name, number_of},
    io::{Disk, DiskFile},
    lasting::{Lasting, Stranger},
    ledger::{Charge, Ledger, Stream},
    params::{PARAMS_BYTES, Params},
    record::{self, HEADER_BYTES, Mismatch},
    segment::Segment,
    segments::{SegmentConfig, Segments, Shared, Table, find},
    state::State,
    stock::with_entry,
};
use crate::{
    error::{Error, Result},
    sync::{Arc, AtomicBool, Ordering},
};
use std::{
    collections::{BTreeMap, hash_map::RandomState},
    hash::{BuildHasher, Hasher},
    io::{self, IoSliceMut},
    time::{SystemTime, UNIX_EPOCH},
};

/// Further than records come to be written between the making of two segments.
const SEQUENCE_LEAP: u64 = 1 << 32;

/// What was found in a directory.
pub(super) struct Found {
    pub(super) table: Table,
    pub(super) lasting: Lasting,
    /// Above that of every record written before.
    pub(super) sequence: u64,
}

/// The identity and layout of a lasting store: as its parameters say, or new.
pub(super) fn settle(config: &SegmentConfig, params: Option<[u8; PARAMS_BYTES]>) -> Result<(Params, Layout)> {
    let &SegmentConfig { segment_bytes, chunk_bytes, storage_limit_bytes: limit, .. } = config;
    let Some(params) = params else {
        let layout = Layout::lasting(segment_bytes, chunk_bytes, limit, HEADER_BYTES)?;
        // The model checker wants every run to be the same.
        let store_id = if cfg!(memfs_loom) { 1 } else { RandomState::new().build_hasher().finish() };
        return Ok((Params::new(store_id, &layout), layout));
    };
    let params = Params::decode(&params).map_err(|error| error.about(&config.dir.display().to_string()))?;
    if params.chunk_bytes != chunk_bytes {
        let expected = format!("{} bytes, as the store was made with", params.chunk_bytes);
        return Err(Error::argument("chunk_size", expected, chunk_bytes));
    }
    let layout = params.layout().with_segments(segment_bytes, limit, HEADER_BYTES)?;
    Ok((params, layout))
}

/// Looks through the directory.
pub(super) fn look(
    config: &SegmentConfig,
    io: &dyn Disk,
    params: &Params,
    layout: &Layout,
    ledger: &Arc<Ledger>,
) -> Result<Found> {
    let failed = |name: &str, doing| {
        let path = config.dir.join(name).display().to_string();
        move |source| Error::io(path, doing, source)
    };
    let (mut table, mut strangers, mut sequence) = (Table::new(), BTreeMap::new(), 0);
    for name in io.list(&config.dir).map_err(failed("", "list the storage directory"))? {
        let Some(number) = number_of(&name).filter(|number| u64::from(*number) < layout.max_segments())
        else {
            continue;
        };
        let file = match io.open(&config.dir.join(&name)) {
            Ok(file) => file,
            // Not a file.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => continue,
            Err(error) => return Err(failed(&name, "open a segment")(error)),
        };
        let len_bytes = file.len().map_err(failed(&name, "open a segment"))?;
        let header = read_header(&*file)
            .and_then(|header| SegmentHeader::decode(&header, params.store_id, number, layout));
        match header {
            Ok(header) => {
                sequence = sequence.max(header.first_sequence);
                let segment = Arc::new(found_segment(file, len_bytes, &header, layout, ledger));
                table = with_entry(&table, number, Some(segment));
            }
            Err(why) => {
                if !matches!(why, NoSegment::Foreign(_)) {
                    ledger.count_other(len_bytes);
                }
                strangers.insert(number, Stranger { why, len_bytes, is_wanted: AtomicBool::new(false) });
            }
        }
    }
    Ok(Found { table, lasting: Lasting::new(params.store_id, strangers), sequence: first_sequence(sequence) })
}

/// The first bytes of a file, zeros where it ends before.
fn read_header(file: &dyn DiskFile) -> Result<[u8; SEGMENT_HEADER_BYTES], NoSegment> {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    match file.read_at(&mut [IoSliceMut::new(&mut header)], 0) {
        Ok(_) => Ok(header),
        Err(error) => Err(NoSegment::Damaged(Mismatch {
            expected: "a segment header".into(),
            found: format!("an unreadable file: {error}"),
        })),
    }
}

fn found_segment(
    file: Box<dyn DiskFile>,
    len_bytes: u64,
    header: &SegmentHeader,
    layout: &Layout,
    ledger: &Arc<Ledger>,
) -> Segment {
    file.expect_random_reads();
    let charge = Charge::of_found(ledger, header.segment_bytes);
    let capacity_units = layout.capacity_units(header.segment_bytes);
    let is_sound = len_bytes >= header.segment_bytes && header.segment_bytes >= layout.min_segment_bytes;
    let durable = Durable::of_found(capacity_units, is_sound);
    Segment::new(file, layout, charge, State::found(capacity_units), Some(durable))
}

/// Where to go on counting records. Nobody wrote down the highest number; but a counter that starts at the clock, in
/// nanoseconds, is behind the clock of any later opening, and should the clock have been set back, the headers know better.
fn first_sequence(highest_in_headers: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let clock = if cfg!(memfs_loom) { 1 } else { u64::try_from(now.as_nanos()).unwrap_or(u64::MAX) };
    if highest_in_headers < clock { clock } else { highest_in_headers.saturating_add(SEQUENCE_LEAP) }
}

impl Segments {
    /// What a lasting store must find again, for the floor above to keep: see `params`.
    pub(crate) fn params(&self) -> [u8; PARAMS_BYTES] {
        let store_id = self.shared.lasting.as_ref().map_or(0, |lasting| lasting.store_id);
        Params::new(store_id, &self.shared.layout).encode()
    }

    /// Counts an extent live that the floor above knows of from before; each once, between `open` and
    /// [`recovered`](Self::recovered), by any threads. Its bytes are not looked at.
    ///
    /// # Errors
    /// `Corrupt`, naming the segment's file, if that is not there or is not one, or the extent does not lie in it.
    pub(crate) fn adopt(&self, extent: ExtentRef) -> Result<()> {
        let shared = &self.shared;
        let place = shared.layout.unpack(extent);
        let corrupt = |expected: String, found: String| Error::Corrupt {
            path: shared.path(place.segment).display().to_string(),
            segment: place.segment.into(),
            offset: shared.layout.offset(place.unit),
            expected,
            found,
        };
        let table = shared.table.load();
        let found =
            find(&table, place.segment).and_then(|segment| Some((segment, segment.durable.as_ref()?)));
        let Some((segment, durable)) = found else {
            let Mismatch { expected, found } = shared.why_missing(place.segment);
            return Err(corrupt(expected, found));
        };
        let (units, capacity) = (shared.units_of(place.len_bytes), segment.capacity_units);
        if place.unit < FIRST_UNIT
            || place.len_bytes > shared.layout.chunk_bytes
            || u64::from(place.unit) + u64::from(units) > capacity.into()
        {
            let expected = format!("an extent within {} bytes", segment.charge.bytes());
            return Err(corrupt(expected, format!("{} bytes at this offset", place.len_bytes)));
        }
        // Relaxed: opening and recovering is one thread's, or ordered by its caller.
        if !durable.is_recovering.load(Ordering::Relaxed) || !segment.state.adopt(units, capacity) {
            let expected = "extents that lie apart";
            return Err(corrupt(expected.into(), "more of them than there is space".into()));
        }
        // Relaxed: read by `recovered`, after its caller has joined who adopts.
        durable.adopted_end.fetch_max(place.unit + units, Ordering::Relaxed);
        Ok(())
    }

    /// Writes the bytes of an extent that was adopted to its place, where a crash may have lost them. They last after the next
    /// sync. Between `adopt` and [`recovered`](Self::recovered).
    ///
    /// # Errors
    /// `Io`; `Corrupt` if the extent has another length.
    pub(crate) fn put_back(&self, extent: ExtentRef, owner: u64, bytes: &[u8]) -> Result<()> {
        let shared = &self.shared;
        let place = shared.layout.unpack(extent);
        let offset = shared.layout.offset(place.unit);
        let table = shared.table.load();
        let found = find(&table, place.segment).filter(|_| place.len_bytes == bytes.len());
        let Some((segment, durable)) = found.and_then(|segment| Some((segment, segment.durable.as_ref()?)))
        else {
            return Err(Error::Corrupt {
                path: shared.path(place.segment).display().to_string(),
                segment: place.segment.into(),
                offset,
                expected: format!("{} bytes at this offset", place.len_bytes),
                found: format!("{} bytes to be put there", bytes.len()),
            });
        };
        // Relaxed: only distinct numbers are wanted.
        let sequence = shared.sequence.fetch_add(1, Ordering::Relaxed);
        let written = segment.write(offset, &record::header(owner, sequence, bytes), bytes);
        written.map_err(|source| {
            Error::io(shared.path(place.segment).display().to_string(), "write a segment", source)
        })?;
        durable.put_back(place.unit);
        if let Some(lasting) = &shared.lasting {
            // AcqRel: Release pairs with the Acquire in `sync`; after the segment's own count.
            lasting.written.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }

    /// All that is live was adopted: segments without any of it are free for use, or given back, and appends go on in
    /// the one that has most room after its last extent.
    pub(crate) fn recovered(&self) {
        let shared = &self.shared;
        let Some(lasting) = &shared.lasting else { return };
        shared.resume_roomiest();
        let table = shared.table.load();
        for (number, segment) in (0..).zip(table.iter()) {
            let Some(segment) = segment else { continue };
            if ends_recovery(segment) && segment.state.release_hold() {
                shared.keep_or_forget(number, segment);
            }
        }
        for (number, stranger) in &lasting.strangers {
            shared.remove_blank(*number, stranger);
        }
    }
}

/// Whether the segment was found, and is held for that; not any more from now on.
fn ends_recovery(segment: &Segment) -> bool {
    // AcqRel: of two callers, one ends the hold.
    segment.durable.as_ref().is_some_and(|durable| durable.is_recovering.swap(false, Ordering::AcqRel))
}

impl Shared {
    fn why_missing(&self, number: u32) -> Mismatch {
        let stranger = self.lasting.as_ref().and_then(|lasting| lasting.strangers.get(&number));
        let Some(stranger) = stranger else {
            return Mismatch { expected: format!("a file {}", file_name(number)), found: "none".into() };
        };
        // Relaxed: as `adopted_end`.
        stranger.is_wanted.store(true, Ordering::Relaxed);
        match &stranger.why {
            NoSegment::Blank => {
                Mismatch { expected: "a segment header".into(), found: "zeros, or nothing".into() }
            }
            NoSegment::Foreign(why) | NoSegment::Damaged(why) => why.clone(),
        }
    }

    /// Appends go on in the found segment that has most room after its last extent, if that is an eighth of it at least:
    /// otherwise each opening of a store would begin another.
    fn resume_roomiest(&self) {
        let table = self.table.load();
        let room = |segment: &Segment| {
            let durable = segment.durable.as_ref().filter(|durable| durable.is_reusable())?;
            // Relaxed, both: as in `adopt`.
            let is_found = durable.is_recovering.load(Ordering::Relaxed);
            let room = segment.capacity_units - durable.adopted_end.load(Ordering::Relaxed);
            (is_found && segment.state.load().live_units() > 0 && room >= segment.capacity_units / 8)
                .then_some(room)
        };
        let roomiest = (0..)
            .zip(table.iter())
            .filter_map(|(number, segment)| Some((room(segment.as_ref()?)?, number, segment.as_ref()?)))
            .max_by_key(|(room, number, _)| (*room, *number));
        let (seen, active) = self.active(Stream::Fresh);
        let (Some((_, number, segment)), None) = (roomiest, active) else { return };
        let Some(durable) = &segment.durable else { return };
        let end = durable.adopted_end.load(Ordering::Relaxed);
        durable.resume(end);
        if !ends_recovery(segment) {
            return;
        }
        if !segment.state.resume(end) {
            if segment.state.release_hold() {
                self.keep_or_forget(number, segment);
            }
        } else if !self.displace(Stream::Fresh, seen, Some(number)) {
            self.put_back(number, segment);
        }
    }

    /// Removes a file that was being made when the process ended.
    fn remove_blank(&self, number: u32, stranger: &Stranger) {
        // Relaxed: as in `why_missing`.
        if !matches!(stranger.why, NoSegment::Blank) || stranger.is_wanted.load(Ordering::Relaxed) {
            return;
        }
        if self.io.remove(&self.path(number)).is_ok() {
            self.ledger.refund_other(stranger.len_bytes);
        }
    }
}
