//! A store to test, over a disk that can be told to fail; and what it keeps as long as nothing fails.

use super::super::{
    Disk, DiskFile, ExtentRef, ReadError, SegmentConfig, SegmentHold, Segments, StorageKind,
    io::{RealDisk, RealFile},
};
use crate::{
    map::FileMap,
    sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, thread},
};
use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    path::Path,
    time::Duration,
};

/// A disk whose files can be got at, and that fails when told to.
pub(super) struct TestDisk {
    /// All files ever made, in the order of making.
    pub(super) files: Mutex<Vec<File>>,
    plan: Arc<Plan>,
}

/// When to fail.
struct Plan {
    calls: AtomicU64,
    fail_at: AtomicU64,
    errno: i32,
    room_bytes: AtomicU64,
    /// What an allocation takes.
    delay_ms: AtomicU64,
}

impl TestDisk {
    /// Never fails.
    pub(super) fn new() -> Arc<Self> {
        Self::failing(u64::MAX, 0)
    }

    /// Fails its call number `fail_at`, from 0, with `errno`.
    pub(super) fn failing(fail_at: u64, errno: i32) -> Arc<Self> {
        let plan = Plan {
            calls: AtomicU64::new(0),
            fail_at: AtomicU64::new(fail_at),
            errno,
            room_bytes: AtomicU64::new(u64::MAX),
            delay_ms: AtomicU64::new(0),
        };
        Arc::new(Self { files: Mutex::new(Vec::new()), plan: Arc::new(plan) })
    }

    /// Has room for `room_bytes` of files.
    pub(super) fn small(room_bytes: u64) -> Arc<Self> {
        let disk = Self::new();
        disk.plan.room_bytes.store(room_bytes, Ordering::SeqCst);
        disk
    }

    /// Takes `delay_ms` for each allocation.
    pub(super) fn slow(delay_ms: u64) -> Arc<Self> {
        let disk = Self::new();
        disk.plan.delay_ms.store(delay_ms, Ordering::SeqCst);
        disk
    }

    pub(super) fn calls(&self) -> u64 {
        self.plan.calls.load(Ordering::SeqCst)
    }
}

impl TestDisk {
    fn file(&self, file: File) -> Box<dyn DiskFile> {
        let allocated_bytes = AtomicU64::new(0);
        Box::new(TestFile { real: RealFile::new(file), plan: self.plan.clone(), allocated_bytes })
    }
}

impl Plan {
    fn call(&self) -> io::Result<()> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if call == self.fail_at.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(self.errno));
        }
        Ok(())
    }
}

impl Disk for TestDisk {
    fn create_temp(&self, dir: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.plan.call()?;
        let file = tempfile::tempfile_in(dir)?;
        self.files.lock().unwrap().push(file.try_clone()?);
        Ok(self.file(file))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.plan.call()?;
        Ok(self.file(File::options().read(true).write(true).create_new(true).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.plan.call()?;
        Ok(self.file(File::options().read(true).write(true).open(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.plan.call()?;
        RealDisk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plan.call()?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.plan.call()?;
        RealDisk.remove(path)
    }

    /// Answers only: no test of these stops the machine.
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.plan.call()
    }

    fn capacity_bytes(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.capacity_bytes(dir)
    }
}

struct TestFile {
    real: RealFile,
    plan: Arc<Plan>,
    allocated_bytes: AtomicU64,
}

impl DiskFile for TestFile {
    fn allocate(&self, len_bytes: u64) -> io::Result<()> {
        self.plan.call()?;
        thread::sleep(Duration::from_millis(self.plan.delay_ms.load(Ordering::SeqCst)));
        let take = |room: u64| room.checked_sub(len_bytes);
        if self.plan.room_bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.allocated_bytes.store(len_bytes, Ordering::SeqCst);
        self.real.allocate(len_bytes)
    }

    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.plan.call()?;
        self.real.write_at(parts, offset)
    }

    fn read_at(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        self.plan.call()?;
        self.real.read_at(parts, offset)
    }

    fn expect_read(&self, offset: u64, len_bytes: usize) {
        self.real.expect_read(offset, len_bytes);
    }

    fn len(&self) -> io::Result<u64> {
        self.plan.call()?;
        self.real.len()
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        self.plan.call()?;
        self.real.set_len(len_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.plan.call()
    }

    fn map(&self, len_bytes: usize) -> io::Result<Option<FileMap>> {
        self.plan.call()?;
        self.real.map(len_bytes)
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        self.plan.room_bytes.fetch_add(self.allocated_bytes.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

/// A store with its directory, which is checked to be empty in the end.
pub(super) struct Store {
    pub(super) segments: Segments,
    pub(super) home: tempfile::TempDir,
}

impl Store {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        chunk_bytes: usize,
        limit: Option<u64>,
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = SegmentConfig {
            dir: home.path().to_path_buf(),
            kind: StorageKind::Temp,
            segment_bytes,
            chunk_bytes,
            storage_limit_bytes: limit,
        };
        Self { segments: Segments::open(config, disk).unwrap(), home }
    }

    pub(super) fn append(&self, owner: u64, len_bytes: usize) -> crate::Result<ExtentRef> {
        self.segments.append(owner, &bytes(owner, len_bytes))
    }

    /// Kills an extent that no other thread knows of.
    pub(super) fn kill(&self, extent: ExtentRef) {
        // SAFETY: the tests kill what they appended, once, and nobody relies on it without looking again.
        unsafe { self.segments.kill(extent) };
    }

    #[track_caller]
    pub(super) fn assert_holds(&self, owner: u64, extent: ExtentRef) {
        let mut found = vec![0xAA; self.segments.len(extent)];
        self.segments.read(extent, owner, &mut found).unwrap();
        assert!(found == bytes(owner, found.len()), "other bytes for owner {owner}");
    }

    /// What `lens` records of these lengths count as live.
    pub(super) fn live_bytes(lens: impl IntoIterator<Item = usize>) -> u64 {
        lens.into_iter().map(|len| (len as u64 + 32).next_multiple_of(256)).sum()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.segments.validate(None);
            assert_eq!(std::fs::read_dir(self.home.path()).unwrap().count(), 0, "something was left behind");
        }
    }
}

/// The slice of an extent that was live when it was held: all that the tests ask for are.
pub(super) fn slice(hold: &SegmentHold, owner: u64) -> Result<Option<&[u8]>, ReadError> {
    // SAFETY: as said above.
    unsafe { hold.slice(owner) }
}

/// The bytes that an owner's record of this length has in all tests.
pub(super) fn bytes(owner: u64, len_bytes: usize) -> Vec<u8> {
    let mut random = Random(owner ^ (len_bytes as u64) << 32);
    let mut bytes = Vec::with_capacity(len_bytes + 8);
    while bytes.len() < len_bytes {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes.truncate(len_bytes);
    bytes
}

/// Splitmix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Ends the other threads of a test, also when the test fails.
pub(super) struct Over<'a>(pub(super) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
