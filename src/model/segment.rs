//! Segments on a disk in memory, and the word that governs one segment's space, for the model tests.

#[path = "segment_cases.rs"]
pub mod cases;

use super::{
    Disk, ExtentRef, SegmentConfig, SegmentHold, Segments, StorageKind,
    durable::{Durable, Point},
    extent::FIRST_UNIT,
    io::DiskFile,
    segments::find,
    state::State,
};
use crate::{
    epoch::{Collector, Handle},
    map::FileMap,
    model::{Seats, pinned},
};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io::{self, IoSlice, IoSliceMut},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes that the checker looks at as one.
const UNIT_BYTES: usize = 256;

/// A disk that is memory; reads and writes of the same place that nothing orders are found by the checker. What its files'
/// names are is not looked into: only openings, flushes and closings use them, of which there is one at a time.
#[derive(Clone, Default)]
pub(crate) struct MemoryDisk {
    named: Arc<RefCell<Names>>,
    /// Names as of the last sync of the directory.
    lasting: Arc<RefCell<Names>>,
    refusals: Arc<Refusals>,
}

/// How many syncs are still to fail, and whether of segments, too.
#[derive(Default)]
struct Refusals {
    left: Cell<u32>,
    of_segments: Cell<bool>,
}

type Names = BTreeMap<PathBuf, Arc<MemoryFile>>;

/// What is on a disk: each file's bytes.
pub(crate) type Image = BTreeMap<PathBuf, Vec<u8>>;

// SAFETY: loom runs one thread at a time, and all on one.
unsafe impl Send for MemoryDisk {}
// SAFETY: as above.
unsafe impl Sync for MemoryDisk {}

#[derive(Default)]
struct MemoryFile {
    bytes: RefCell<Vec<u8>>,
    /// The same as of the last sync.
    synced: RefCell<Vec<u8>>,
    is_segment: bool,
    refusals: Arc<Refusals>,
    units: RefCell<Vec<loom::cell::UnsafeCell<()>>>,
}

// SAFETY: loom runs one thread at a time, and all on one.
unsafe impl Send for MemoryFile {}
// SAFETY: as above.
unsafe impl Sync for MemoryFile {}

impl Disk for MemoryDisk {
    fn create_temp(&self, _dir: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.file(Path::new(""))))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut named = self.named.borrow_mut();
        if named.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Box::new(named.entry(path.to_owned()).or_insert_with(|| self.file(path)).clone()))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.named.borrow().get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(file))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let named = self.named.borrow();
        let names = named.keys().filter_map(|path| path.strip_prefix(dir).ok()?.to_str().map(str::to_owned));
        Ok(names.collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut named = self.named.borrow_mut();
        let file = named.remove(from).ok_or(io::ErrorKind::NotFound)?;
        named.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.named.borrow_mut().remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        *self.lasting.borrow_mut() = self.named.borrow().clone();
        Ok(())
    }

    fn capacity_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(1 << 30)
    }
}

impl MemoryDisk {
    /// A disk that holds this.
    pub(crate) fn of(image: &Image) -> Self {
        let disk = Self::default();
        for (path, bytes) in image {
            let file = disk.file(path);
            file.allocate(bytes.len() as u64).expect("memory");
            file.bytes.borrow_mut().copy_from_slice(bytes);
            file.synced.borrow_mut().clone_from(bytes);
            disk.named.borrow_mut().insert(path.clone(), file);
        }
        *disk.lasting.borrow_mut() = disk.named.borrow().clone();
        disk
    }

    fn file(&self, path: &Path) -> Arc<MemoryFile> {
        let is_segment = path.extension().is_some_and(|extension| extension == "seg");
        Arc::new(MemoryFile { is_segment, refusals: self.refusals.clone(), ..MemoryFile::default() })
    }

    /// Lets the next `syncs` of files fail, perhaps `of_segments` as well: what they were to make last, they do not.
    pub(crate) fn refuse(&self, syncs: u32, of_segments: bool) {
        self.refusals.left.set(syncs);
        self.refusals.of_segments.set(of_segments);
    }

    /// What there is.
    pub(crate) fn image(&self) -> Image {
        Self::bytes(&self.named.borrow(), |file| &file.bytes)
    }

    /// What there would be, were the power to go now: of what nobody has synced, nothing.
    pub(crate) fn after_power_loss(&self) -> Image {
        Self::bytes(&self.lasting.borrow(), |file| &file.synced)
    }

    fn bytes(names: &Names, of: fn(&MemoryFile) -> &RefCell<Vec<u8>>) -> Image {
        names.iter().map(|(path, file)| (path.clone(), of(file).borrow().clone())).collect()
    }
}

impl MemoryFile {
    fn each_unit(&self, from: usize, to: usize, look: impl Fn(&loom::cell::UnsafeCell<()>)) {
        let units = self.units.borrow();
        (from / UNIT_BYTES..to.div_ceil(UNIT_BYTES)).for_each(|unit| look(&units[unit]));
    }
}

impl DiskFile for Arc<MemoryFile> {
    fn allocate(&self, len_bytes: u64) -> io::Result<()> {
        let units = (len_bytes as usize).div_ceil(UNIT_BYTES);
        self.bytes.borrow_mut().resize(len_bytes as usize, 0);
        self.units.borrow_mut().resize_with(units, || loom::cell::UnsafeCell::new(()));
        Ok(())
    }

    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut at = offset as usize;
        if at + len > self.bytes.borrow().len() {
            self.allocate((at + len) as u64)?;
        }
        self.each_unit(at, at + len, |unit| unit.with_mut(|_| ()));
        let mut bytes = self.bytes.borrow_mut();
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }

    fn read_at(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.borrow();
        let (from, mut at) = (offset as usize, offset as usize);
        for part in parts {
            let len = part.len().min(bytes.len().saturating_sub(at));
            part[..len].copy_from_slice(&bytes[at..at + len]);
            at += len;
        }
        self.each_unit(from, at, |unit| unit.with(|_| ()));
        Ok(at - from)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.borrow().len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        let Refusals { left, of_segments } = &*self.refusals;
        if left.get() > 0 && (!self.is_segment || of_segments.get()) {
            left.set(left.get() - 1);
            return Err(io::Error::other("the disk was told to fail"));
        }
        self.synced.borrow_mut().clone_from(&self.bytes.borrow());
        Ok(())
    }

    fn map(&self, _len_bytes: usize) -> io::Result<Option<FileMap>> {
        Ok(None)
    }
}

/// Segments of one page on such a disk.
pub(crate) fn segments(chunk_bytes: usize, limit: Option<u64>) -> Segments {
    let config = SegmentConfig {
        dir: "/".into(),
        kind: StorageKind::Temp,
        segment_bytes: 4096,
        chunk_bytes,
        storage_limit_bytes: limit.map(|segments| segments * 4096),
    };
    Segments::open(config, Arc::new(MemoryDisk::default())).expect("a good configuration")
}

/// Records of which one fills a segment.
const LARGE: usize = 3000;

/// Segments and an epoch.
pub struct Store {
    seats: Seats<Handle>,
    collector: Collector,
    segments: Box<Segments>,
}

/// A thread's handle on a [`Store`].
pub struct StoreUser<'a> {
    store: &'a Store,
    handle: &'a Handle,
}

/// A record that is live.
pub struct Record(ExtentRef);

/// A record that is kept.
pub struct Kept(SegmentHold);

impl Store {
    /// Of `limit` segments at most.
    pub fn new(limit: Option<u64>) -> Self {
        let collector = Collector::new();
        let seats = Seats::new(|| collector.register());
        Self { seats, collector, segments: Box::new(segments(LARGE, limit)) }
    }

    /// For the calling thread.
    pub fn user(&self) -> StoreUser<'_> {
        StoreUser { store: self, handle: self.seats.take() }
    }

    /// With nobody else at work: every segment is where it should be.
    pub fn check(&self) {
        self.segments.validate(None);
    }

    /// How many segments there are.
    pub fn count(&self) -> u64 {
        self.segments.stats().segments
    }
}

impl StoreUser<'_> {
    /// Writes a record that fills most of a segment, or, if `small`, the least part of one.
    pub fn append(&self, value: u8, small: bool) -> Option<Record> {
        self.store.segments.append(0, &vec![value; if small { 100 } else { LARGE }]).ok().map(Record)
    }

    /// Kills a record at once; nobody else knows it.
    pub fn kill(&self, record: Record) {
        // SAFETY: the caller owns it, and no other thread has its name.
        unsafe { self.store.segments.kill(record.0) };
    }

    /// Kills a record that other threads may know.
    pub fn retire(&self, record: &Record) {
        let guard = pinned(self.handle);
        let (segments, extent): (*const Segments, _) = (&*self.store.segments, record.0);
        // SAFETY: killed once (models do); the segments outlive the collector.
        unsafe { guard.defer_unchecked(move || (*segments).kill(extent)) };
        guard.flush();
    }

    /// Lets the epoch advance, and frees what it can.
    pub fn collect(&self) {
        pinned(self.handle).flush();
    }

    /// Keeps a record whose name was just read; `None` if it is dead.
    pub fn hold(&self, record: &Record) -> Option<Kept> {
        let _guard = pinned(self.handle);
        self.store.segments.hold(record.0).map(Kept)
    }

    /// Which segment a record is in.
    pub fn segment_of(&self, record: &Record) -> u64 {
        let (segment, _) = self.store.segments.location(record.0);
        assert!(find(&self.store.segments.shared.table.load(), segment as u32).is_some());
        segment
    }
}

impl Drop for StoreUser<'_> {
    fn drop(&mut self) {
        self.store.seats.give(self.handle);
    }
}

impl Kept {
    /// The value of its bytes, verified.
    pub fn read(&self) -> u8 {
        let mut bytes = vec![0; self.0.len()];
        self.0.read(0, &mut bytes).expect("a record that is kept stays as it is");
        assert!(bytes.iter().all(|byte| *byte == bytes[0]));
        bytes[0]
    }
}

/// The word of one segment, and its space as the checker sees it.
pub struct Space {
    state: State,
    units: Vec<loom::cell::UnsafeCell<u8>>,
}

// SAFETY: who may touch a unit is what the models check.
unsafe impl Sync for Space {}
// SAFETY: as above.
unsafe impl Send for Space {}

impl Space {
    /// Open, with `units` units after the first.
    pub fn new(units: usize) -> Self {
        let units = (0..=units).map(|_| loom::cell::UnsafeCell::new(0)).collect();
        Self { state: State::new(), units }
    }

    /// Reserves one unit and writes `value` into it.
    pub fn append(&self, value: u8) -> Option<u32> {
        let unit = self.state.reserve(1, self.units.len() as u32)?;
        // SAFETY: reserved: the caller's, which the checker verifies.
        self.units[unit as usize].with_mut(|at| unsafe { *at = value });
        Some(unit)
    }

    /// Reads a unit; the caller has it live, or is a holder.
    pub fn read(&self, unit: u32) -> u8 {
        // SAFETY: nobody writes it, which the checker verifies.
        self.units[unit as usize].with(|at| unsafe { *at })
    }

    /// A live unit dies; whether the segment is now empty.
    pub fn kill(&self) -> bool {
        self.state.release_live(1)
    }

    /// One more holder, unless the segment is on its way to be reused.
    pub fn hold(&self) -> bool {
        self.state.hold()
    }

    /// One holder less; whether the segment is now empty.
    pub fn release(&self) -> bool {
        self.state.release_hold()
    }

    /// Takes no more; whether the segment is now empty.
    pub fn seal(&self) -> bool {
        self.state.seal()
    }

    /// Starts over; the caller was told that it is empty. Writes all units, as whoever owns the space may.
    pub fn recycle(&self) {
        for unit in &self.units {
            // SAFETY: the caller owns the space, which the checker verifies.
            unit.with_mut(|at| unsafe { *at = 0 });
        }
        self.state.reopen();
    }

    /// Units that are live, and holders.
    pub fn counts(&self) -> (u32, u32) {
        let now = self.state.load();
        (now.live_units(), now.holds())
    }
}

/// What syncs make last of one segment's space, of records of one unit each.
pub struct Synced {
    space: Space,
    durable: Durable,
}

/// A sync that has begun.
pub struct Syncing(Point);

impl Syncing {
    /// Which use of the space it is of, and the end of what it is going to call safe.
    pub fn point(&self) -> (u64, u32) {
        (self.0.incarnation(), self.0.unit())
    }
}

impl Synced {
    /// Open, with `units` units after the first, in a file whose name lasts.
    pub fn new(units: usize) -> Self {
        let durable = Durable::new();
        durable.name();
        Self { space: Space::new(units), durable }
    }

    /// Reserves one unit and writes `value` into it, as an append does.
    pub fn append(&self, value: u8) -> Option<u32> {
        let flight = self.durable.enter();
        let unit = self.space.state.reserve(1, self.space.units.len() as u32)?;
        flight.at(unit);
        // SAFETY: reserved: the caller's, which the checker verifies.
        self.space.units[unit as usize].with_mut(|at| unsafe { *at = value });
        flight.written();
        Some(unit)
    }

    /// Begins a sync: the values of all units that it is going to call safe, as the disk takes them then.
    pub fn begin(&self) -> Option<(Syncing, Vec<u8>)> {
        let point = self.durable.begin(&self.space.state)?;
        let found = (FIRST_UNIT..point.unit()).map(|unit| self.space.read(unit)).collect();
        Some((Syncing(point), found))
    }

    /// The same, without looking at what there is.
    pub fn begin_blindly(&self) -> Option<Syncing> {
        self.durable.begin(&self.space.state).map(Syncing)
    }

    /// The sync was good.
    pub fn finish(&self, sync: &Syncing) {
        self.durable.finish(&sync.0);
    }

    /// Whether the unit before this one, and all before that, are called safe.
    pub fn is_safe(&self, end: u32) -> bool {
        self.durable.is_safe(end)
    }

    /// The value of a unit that is live.
    pub fn read(&self, unit: u32) -> u8 {
        self.space.read(unit)
    }

    /// Kills the one record, seals and starts over: the space is the caller's in between.
    pub fn start_over(&self) {
        let empty = [self.space.kill(), self.space.seal()];
        assert!(empty.contains(&true), "nothing else is live");
        self.durable.restart();
        self.space.recycle();
    }
}
