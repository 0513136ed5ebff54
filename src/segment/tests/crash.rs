//! Whatever a crash leaves of what was not synced: what a sync made last is there.

use super::{
    super::{Disk, DiskFile, ExtentRef, SegmentConfig, Segments, StorageKind},
    store::{Over, Random, bytes},
};
use crate::{
    map::FileMap,
    sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, thread},
};
use std::{
    collections::HashMap,
    io::{self, IoSlice, IoSliceMut},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const PAGE: usize = 4096;

/// A disk in memory that loses what was not synced, when told to, and now and then fails a sync: then half of what it had
/// to write counts as written and is not, as on Linux.
pub(super) struct CrashDisk {
    names: Mutex<Names>,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Names {
    now: HashMap<PathBuf, Arc<Mutex<Content>>>,
    lasting: HashMap<PathBuf, Arc<Mutex<Content>>>,
}

/// A file as the process sees it, and what of it is on the disk, in pages.
#[derive(Default)]
struct Content {
    now: Vec<u8>,
    lasting: Vec<u8>,
    is_dirty: Vec<bool>,
}

struct Faults {
    /// One sync in so many fails; 0 for none.
    one_in: AtomicU64,
    random: Mutex<Random>,
}

impl Faults {
    fn coin(&self) -> bool {
        self.random.lock().unwrap().below(2) == 0
    }

    fn strikes(&self) -> bool {
        match self.one_in.load(Ordering::SeqCst) {
            0 => false,
            one_in => self.random.lock().unwrap().below(one_in as usize) == 0,
        }
    }
}

impl Content {
    fn resize(&mut self, len: usize) {
        self.now.resize(len, 0);
        self.is_dirty.resize(len.div_ceil(PAGE), true);
    }

    fn write_back(&mut self, page: usize) {
        self.lasting.resize(self.now.len(), 0);
        let range = page * PAGE..self.now.len().min((page + 1) * PAGE);
        self.lasting[range.clone()].copy_from_slice(&self.now[range]);
    }

    /// Writes dirty pages back, those that `is_chosen`; all are clean then.
    fn write_dirty(&mut self, mut is_chosen: impl FnMut() -> bool) {
        for page in 0..self.is_dirty.len() {
            if std::mem::take(&mut self.is_dirty[page]) && is_chosen() {
                self.write_back(page);
            }
        }
    }
}

impl CrashDisk {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let faults = Faults { one_in: AtomicU64::new(0), random: Mutex::new(Random(seed)) };
        Arc::new(Self { names: Mutex::default(), faults: Arc::new(faults) })
    }

    pub(super) fn fail_one_sync_in(&self, one_in: u64) {
        self.faults.one_in.store(one_in, Ordering::SeqCst);
    }

    /// The machine stops and starts again. Of names and pages that were not synced some are there, some are not.
    pub(super) fn crash(&self) {
        let mut names = self.names.lock().unwrap();
        let mut left = std::mem::take(&mut names.lasting);
        for (path, content) in std::mem::take(&mut names.now) {
            if self.faults.coin() {
                left.insert(path, content);
            }
        }
        for content in left.values() {
            let mut content = content.lock().unwrap();
            content.write_dirty(|| self.faults.coin());
            content.now = content.lasting.clone();
            let pages = content.now.len().div_ceil(PAGE);
            content.is_dirty = vec![false; pages];
        }
        names.now.clone_from(&left);
        names.lasting = left;
    }

    fn file(&self, content: &Arc<Mutex<Content>>) -> Box<dyn DiskFile> {
        Box::new(CrashFile { content: content.clone(), faults: self.faults.clone() })
    }
}

impl Disk for CrashDisk {
    fn create_temp(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut names = self.names.lock().unwrap();
        if names.now.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = Arc::default();
        names.now.insert(path.to_path_buf(), Arc::clone(&content));
        Ok(self.file(&content))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let names = self.names.lock().unwrap();
        names.now.get(path).map(|content| self.file(content)).ok_or(io::ErrorKind::NotFound.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        let names = self.names.lock().unwrap();
        Ok(names.now.keys().map(|path| path.file_name().unwrap().to_str().unwrap().into()).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.names.lock().unwrap();
        let content = names.now.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.now.insert(to.to_path_buf(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.names.lock().unwrap().now.remove(path);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        if self.faults.strikes() {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let mut names = self.names.lock().unwrap();
        names.lasting = names.now.clone();
        Ok(())
    }

    fn capacity_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(0)
    }
}

struct CrashFile {
    content: Arc<Mutex<Content>>,
    faults: Arc<Faults>,
}

impl DiskFile for CrashFile {
    fn allocate(&self, len_bytes: u64) -> io::Result<()> {
        self.set_len(len_bytes)
    }

    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut content = self.content.lock().unwrap();
        let mut at = offset as usize;
        for part in parts {
            let end = at + part.len();
            if content.now.len() < end {
                content.resize(end);
            }
            content.now[at..end].copy_from_slice(part);
            content.is_dirty[at / PAGE..end.div_ceil(PAGE)].fill(true);
            at = end;
        }
        Ok(())
    }

    fn read_at(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        let content = self.content.lock().unwrap();
        let start = (offset as usize).min(content.now.len());
        let mut at = start;
        for part in parts {
            let len = part.len().min(content.now.len() - at);
            part[..len].copy_from_slice(&content.now[at..at + len]);
            at += len;
        }
        Ok(at - start)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().unwrap().now.len() as u64)
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        self.content.lock().unwrap().resize(len_bytes as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut content = self.content.lock().unwrap();
        if self.faults.strikes() {
            content.write_dirty(|| self.faults.coin());
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        content.write_dirty(|| true);
        Ok(())
    }

    fn map(&self, _: usize) -> io::Result<Option<FileMap>> {
        Ok(None)
    }
}

const CHUNK: usize = 4096;
const SEGMENT: u64 = 32 << 10;

fn open(disk: &Arc<CrashDisk>, params: Option<[u8; 64]>) -> Segments {
    let config = SegmentConfig {
        dir: "/store".into(),
        kind: StorageKind::Persist { params },
        segment_bytes: SEGMENT,
        chunk_bytes: CHUNK,
        storage_limit_bytes: None,
    };
    Segments::open(config, disk.clone()).unwrap()
}

#[track_caller]
fn assert_holds(segments: &Segments, owner: u64, extent: ExtentRef) {
    let mut found = vec![0; segments.len(extent)];
    segments.read(extent, owner, &mut found).unwrap();
    assert!(found == bytes(owner, found.len()));
}

/// Appends for ever, until told to stop; what it appended is in `appended` as soon as the append has returned.
fn append_until(
    segments: &Segments,
    worker: u64,
    is_over: &AtomicBool,
    appended: &Mutex<Vec<(u64, ExtentRef)>>,
) {
    let mut random = Random(worker);
    for count in 0.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        if appended.lock().unwrap().len() > 100 {
            thread::yield_now();
            continue;
        }
        let owner = worker << 32 | count;
        let extent = segments.append(owner, &bytes(owner, random.below(CHUNK))).unwrap();
        appended.lock().unwrap().push((owner, extent));
    }
}

/// Syncs as the journal does, while others append; what must be there after a crash is in `lasting` in the end.
fn sync_often(
    segments: &Segments,
    random: &mut Random,
    appended: &Mutex<Vec<(u64, ExtentRef)>>,
    lasting: &mut HashMap<u64, ExtentRef>,
) -> usize {
    let mut failures = 0;
    for _ in 0..30 {
        // With something to sync, however late the others get a processor.
        let deadline = Instant::now() + Duration::from_secs(60);
        while appended.lock().unwrap().is_empty() {
            assert!(Instant::now() < deadline, "nobody appends");
            thread::yield_now();
        }
        let batch = std::mem::take(&mut *appended.lock().unwrap());
        let synced = segments.sync();
        failures += usize::from(synced.is_err());
        for (owner, extent) in batch {
            if segments.is_trusted(extent) {
                lasting.insert(owner, extent);
            } else {
                // Into the next batch; no reference is left to the first one.
                let again = segments.append(owner, &bytes(owner, segments.len(extent))).unwrap();
                appended.lock().unwrap().push((owner, again));
                kill(segments, extent);
            }
        }
        // The journal would say so first.
        while lasting.len() > 40 {
            let owner = *lasting.keys().nth(random.below(lasting.len())).unwrap();
            kill(segments, lasting.remove(&owner).unwrap());
        }
        thread::yield_now();
    }
    failures
}

fn kill(segments: &Segments, extent: ExtentRef) {
    // SAFETY: killed once: it was taken out of the one place that had it.
    unsafe { segments.kill(extent) };
}

#[test]
fn what_was_synced_and_is_trusted_outlasts_any_crash() {
    let (mut failures, mut recycled) = (0, 0);
    for seed in 0..12 {
        let disk = CrashDisk::new(seed);
        let mut random = Random(seed);
        let mut segments = open(&disk, None);
        let params = segments.params();
        segments.recovered();
        let mut lasting = HashMap::new();
        for round in 0..4u64 {
            let (is_over, appended) = (AtomicBool::new(false), Mutex::new(Vec::new()));
            disk.fail_one_sync_in([0, 7, 20][seed as usize % 3]);
            thread::scope(|scope| {
                let handles: Vec<_> = (0..2)
                    .map(|worker| {
                        let (segments, is_over, appended) = (&segments, &is_over, &appended);
                        let worker = 1 + seed * 100 + round * 10 + worker;
                        scope.spawn(move || append_until(segments, worker, is_over, appended))
                    })
                    .collect();
                let over = Over(&is_over);
                failures += sync_often(&segments, &mut random, &appended, &mut lasting);
                drop(over);
                handles.into_iter().for_each(|handle| handle.join().unwrap());
            });
            recycled += segments.stats().compactions;
            segments.validate(None);
            drop(segments);
            disk.crash();
            disk.fail_one_sync_in(0);
            segments = open(&disk, Some(params));
            lasting.values().for_each(|extent| segments.adopt(*extent).unwrap());
            let live =
                lasting.values().map(|extent| (segments.len(*extent) as u64 + 32).next_multiple_of(256));
            segments.validate(Some(live.sum()));
            segments.recovered();
            segments.validate(None);
            lasting.iter().for_each(|(owner, extent)| assert_holds(&segments, *owner, *extent));
        }
    }
    assert!(failures > 50 && recycled > 500, "{failures} syncs failed, {recycled} segments were recycled");
}
