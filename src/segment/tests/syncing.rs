//! What a sync makes last, and what is not trusted after one failed.

use super::{
    super::{Disk, DiskFile, ExtentRef, RealDisk, Segments},
    reopen::{CHUNK, Lasting, SEGMENT, append, assert_holds, kill, live_bytes},
    store::{TestDisk, bytes},
};
use crate::{
    Error,
    map::FileMap,
    sync::{Arc, AtomicBool, AtomicU64, Ordering, thread},
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    path::Path,
};

/// Real files, whose syncs are only counted, and fail when told to, and whose writes of a byte can be made to wait.
struct Gate {
    fails: AtomicBool,
    name_fails: AtomicBool,
    removal_fails: AtomicBool,
    syncs: AtomicU64,
    name_syncs: AtomicU64,
    /// Syncs wait while this is set.
    sync_waits: AtomicBool,
    /// Writes that begin with a byte of 7, after their header, wait while this is set.
    waits: AtomicBool,
    waiting: AtomicU64,
}

struct GateDisk(Arc<Gate>);

struct GateFile(Box<dyn DiskFile>, Arc<Gate>);

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            fails: AtomicBool::new(false),
            name_fails: AtomicBool::new(false),
            removal_fails: AtomicBool::new(false),
            syncs: AtomicU64::new(0),
            name_syncs: AtomicU64::new(0),
            sync_waits: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            waiting: AtomicU64::new(0),
        })
    }

    fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    fn counts(&self) -> (u64, u64) {
        (self.syncs.load(Ordering::SeqCst), self.name_syncs.load(Ordering::SeqCst))
    }
}

/// Lets the calls go on that wait, also when the test fails.
struct Release<'a>(&'a Gate);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.waits.store(false, Ordering::SeqCst);
        self.0.sync_waits.store(false, Ordering::SeqCst);
    }
}

fn answer(fails: &AtomicBool) -> io::Result<()> {
    if fails.load(Ordering::SeqCst) { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
}

impl Disk for GateDisk {
    fn create_temp(&self, dir: &Path) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.create_temp(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(GateFile(RealDisk.create(path)?, self.0.clone())))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(GateFile(RealDisk.open(path)?, self.0.clone())))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        answer(&self.0.removal_fails)?;
        RealDisk.remove(path)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.0.name_syncs.fetch_add(1, Ordering::SeqCst);
        answer(&self.0.name_fails)
    }

    fn capacity_bytes(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.capacity_bytes(dir)
    }
}

impl DiskFile for GateFile {
    fn allocate(&self, len_bytes: u64) -> io::Result<()> {
        self.0.allocate(len_bytes)
    }

    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        if parts.get(1).is_some_and(|bytes| bytes.first() == Some(&7)) {
            self.1.waiting.fetch_add(1, Ordering::SeqCst);
            while self.1.waits.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        }
        self.0.write_at(parts, offset)
    }

    fn read_at(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        self.0.read_at(parts, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        self.0.set_len(len_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.syncs.fetch_add(1, Ordering::SeqCst);
        while self.1.sync_waits.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        answer(&self.1.fails)
    }

    fn map(&self, len_bytes: usize) -> io::Result<Option<FileMap>> {
        self.0.map(len_bytes)
    }
}

fn open(store: &mut Lasting) -> (Arc<Gate>, Segments) {
    let gate = Gate::new();
    let segments = store.try_open(Arc::new(GateDisk(gate.clone())), CHUNK).unwrap();
    segments.recovered();
    (gate, segments)
}

fn trusted(segments: &Segments, extents: &[(u64, ExtentRef)]) -> Vec<u64> {
    extents.iter().filter(|(_, extent)| segments.is_trusted(*extent)).map(|(owner, _)| *owner).collect()
}

#[test]
fn a_sync_asks_the_disk_only_for_what_was_written() {
    let mut store = Lasting::new();
    let (gate, segments) = open(&mut store);
    segments.sync().unwrap();
    assert_eq!(gate.counts(), (0, 0));
    append(&segments, 1, 100);
    segments.sync().unwrap();
    segments.sync().unwrap();
    assert_eq!(gate.counts(), (1, 1));
    append(&segments, 2, 100);
    segments.sync().unwrap();
    assert_eq!(gate.counts(), (2, 1), "the name lasts already");
    let _: Vec<_> = (0..40).map(|owner| append(&segments, owner, CHUNK)).collect();
    segments.sync().unwrap();
    let files = store.files().len() as u64;
    assert_eq!(gate.counts(), (2 + files, 2), "each once, and the new names together");
    drop(segments);
    let (gate, segments) = open(&mut store);
    append(&segments, 1, 100);
    segments.sync().unwrap();
    assert_eq!(gate.counts(), (1, 1), "nobody knows whether the name lasts of a file that was found");
}

#[test]
fn a_segment_that_failed_once_is_trusted_no_further_and_never_used_again() {
    let mut store = Lasting::new();
    let (gate, segments) = open(&mut store);
    let synced = [append(&segments, 1, 1000), append(&segments, 2, 1000)];
    segments.sync().unwrap();
    let lost = [append(&segments, 3, 1000), append(&segments, 4, 0)];
    gate.fail(true);
    let found = segments.sync();
    let name = store.file(0).display().to_string();
    assert!(matches!(&found, Err(Error::Io { path, .. }) if *path == name), "{found:?}");
    gate.fail(false);
    assert_eq!((trusted(&segments, &synced), trusted(&segments, &lost)), (vec![1, 2], vec![]));
    segments.sync().unwrap();
    assert!(trusted(&segments, &lost).is_empty(), "a second sync says nothing of what the first one lost");

    let again = [append(&segments, 3, 1000), append(&segments, 4, 0)];
    assert!(again.iter().all(|(_, extent)| segments.location(*extent).0 == 1));
    segments.sync().unwrap();
    assert_eq!(trusted(&segments, &again), [3, 4]);
    assert!(segments.sparse().is_some_and(|sparse| sparse.contains(synced[0].1)), "better elsewhere");
    segments.validate(None);
    lost.iter().for_each(|(_, extent)| kill(&segments, *extent));
    assert_holds(&segments, &synced);
    synced.iter().for_each(|(_, extent)| kill(&segments, *extent));
    assert!(!store.file(0).exists(), "given back, not kept for use");
    segments.validate(Some(live_bytes(&segments, &again)));
    drop(segments);
    assert_holds(&store.reopen(&again), &again);
}

/// Runs `work` while a sync waits for the disk, which it then fails.
fn during_a_sync_that_fails<T>(gate: &Gate, segments: &Segments, work: impl FnOnce() -> T) -> T {
    gate.fail(true);
    gate.sync_waits.store(true, Ordering::SeqCst);
    let before = gate.counts().0;
    let done = thread::scope(|scope| {
        let release = Release(gate);
        let syncer = scope.spawn(|| segments.sync());
        while gate.counts().0 == before {
            thread::yield_now();
        }
        let done = work();
        drop(release);
        assert!(syncer.join().unwrap().is_err());
        done
    });
    gate.fail(false);
    done
}

#[test]
fn a_segment_that_is_emptied_while_its_sync_fails_is_no_spare() {
    let mut store = Lasting::new();
    let (gate, segments) = open(&mut store);
    let first: Vec<_> = (0..15).map(|owner| append(&segments, owner, CHUNK)).collect();
    let next = append(&segments, 20, CHUNK);
    let file = std::fs::File::open(store.file(0)).unwrap();
    let names = || std::os::unix::fs::MetadataExt::nlink(&file.metadata().unwrap());
    during_a_sync_that_fails(&gate, &segments, || {
        first.iter().for_each(|(_, extent)| kill(&segments, *extent));
        assert_eq!(names(), 1, "a spare");
    });
    // Fills what would be the second, and the spare.
    let fresh: Vec<_> = (30..60).map(|owner| append(&segments, owner, CHUNK)).collect();
    segments.sync().unwrap();
    assert_eq!((trusted(&segments, &fresh).len(), segments.is_trusted(next.1)), (30, false));
    assert_eq!(names(), 0);
    segments.validate(None);
}

#[test]
fn a_segment_that_is_used_again_while_its_sync_fails_is_given_up() {
    let mut store = Lasting::new();
    let (gate, segments) = open(&mut store);
    let first: Vec<_> = (0..15).map(|owner| append(&segments, owner, CHUNK)).collect();
    let during = during_a_sync_that_fails(&gate, &segments, || {
        let next: Vec<_> = (20..35).map(|owner| append(&segments, owner, CHUNK)).collect();
        first.iter().for_each(|(_, extent)| kill(&segments, *extent));
        let again = append(&segments, 40, CHUNK);
        assert_eq!((segments.location(next[0].1).0, segments.location(again.1).0), (1, 0));
        again
    });
    assert!(!segments.is_trusted(during.1));
    let fresh = append(&segments, 50, CHUNK);
    segments.sync().unwrap();
    assert!(segments.is_trusted(fresh.1) && !segments.is_trusted(during.1));
    segments.validate(None);
}

#[test]
fn a_segment_that_is_filled_further_after_reopening_trusts_what_it_had() {
    let mut store = Lasting::new();
    let segments = store.reopen(&[]);
    let old = [append(&segments, 1, CHUNK), append(&segments, 2, CHUNK)];
    segments.sync().unwrap();
    drop(segments);
    let gate = Gate::new();
    let segments = store.try_open(Arc::new(GateDisk(gate.clone())), CHUNK).unwrap();
    old.iter().for_each(|(_, extent)| segments.adopt(*extent).unwrap());
    segments.recovered();
    let synced = append(&segments, 3, 100);
    assert_eq!(segments.location(synced.1).0, 0);
    segments.sync().unwrap();
    let lost = append(&segments, 4, 100);
    gate.fail(true);
    segments.sync().unwrap_err();
    assert_eq!(trusted(&segments, &[old[0], old[1], synced, lost]), [1, 2, 3]);
}

#[test]
fn a_recycled_segment_trusts_nothing_of_its_last_use() {
    let mut store = Lasting::new();
    let (gate, segments) = open(&mut store);
    let old: Vec<_> = (0..15).map(|owner| append(&segments, owner, CHUNK)).collect();
    segments.sync().unwrap();
    let next = append(&segments, 20, CHUNK);
    old.iter().for_each(|(_, extent)| kill(&segments, *extent));
    // Fills the second one, and goes on in the first.
    let fresh: Vec<_> = (30..48).map(|owner| append(&segments, owner, CHUNK)).collect();
    assert!(fresh.iter().any(|(_, extent)| segments.location(*extent).0 == 0));
    gate.fail(true);
    segments.sync().unwrap_err();
    assert_eq!((trusted(&segments, &fresh), trusted(&segments, &[next])), (vec![], vec![]));
}

#[test]
fn a_slow_write_below_a_fast_one_is_not_taken_for_synced() {
    let mut store = Lasting::new();
    let (gate, segments) = open(&mut store);
    let first = append(&segments, 1, 100);
    gate.waits.store(true, Ordering::SeqCst);
    let (slow, fast) = thread::scope(|scope| {
        let release = Release(&gate);
        let slow = scope.spawn(|| segments.append(2, &[7; 100]).unwrap());
        while gate.waiting.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        let fast = append(&segments, 3, 100);
        // Does not wait for it.
        segments.sync().unwrap();
        drop(release);
        (slow.join().unwrap(), fast)
    });
    gate.fail(true);
    segments.sync().unwrap_err();
    assert!(segments.location(slow).1 < segments.location(fast.1).1);
    assert!(segments.is_trusted(first.1) && !segments.is_trusted(slow));
}

#[test]
fn more_writers_than_are_told_apart_are_safe_once_all_are_done() {
    let mut store = Lasting::new();
    store.segment_bytes = 1 << 20;
    let (gate, segments) = open(&mut store);
    gate.waits.store(true, Ordering::SeqCst);
    let slow: Vec<_> = thread::scope(|scope| {
        let release = Release(&gate);
        let writers: Vec<_> =
            (0..40).map(|owner| (owner, scope.spawn(|| segments.append(1, &[7; 100]).unwrap()))).collect();
        while gate.waiting.load(Ordering::SeqCst) < 40 {
            thread::yield_now();
        }
        append(&segments, 99, 100);
        segments.sync().unwrap();
        drop(release);
        writers.into_iter().map(|(owner, writer)| (owner, writer.join().unwrap())).collect()
    });
    segments.sync().unwrap();
    let late = append(&segments, 50, 100);
    gate.fail(true);
    segments.sync().unwrap_err();
    assert_eq!(trusted(&segments, &slow).len(), 40);
    assert!(!segments.is_trusted(late.1));
}

#[test]
fn segments_whose_names_may_not_last_are_not_trusted() {
    let mut store = Lasting::new();
    let (gate, segments) = open(&mut store);
    let old = append(&segments, 1, 100);
    segments.sync().unwrap();
    let live: Vec<_> = (10..40).map(|owner| append(&segments, owner, CHUNK)).collect();
    gate.name_fails.store(true, Ordering::SeqCst);
    let found = segments.sync();
    assert!(matches!(&found, Err(Error::Io { path, .. }) if path == store.home.path().to_str().unwrap()));
    gate.name_fails.store(false, Ordering::SeqCst);
    assert!(segments.is_trusted(old.1));
    for (_, extent) in &live {
        assert_eq!(segments.is_trusted(*extent), segments.location(*extent).0 == 0);
    }
    let again = append(&segments, 50, CHUNK);
    segments.sync().unwrap();
    assert!(segments.is_trusted(again.1));
}

#[test]
fn a_file_that_cannot_be_removed_stays_counted_and_its_number_is_left_out() {
    let mut store = Lasting::new();
    let (gate, segments) = open(&mut store);
    let live: Vec<_> = (0..100).map(|owner| append(&segments, owner, CHUNK)).collect();
    gate.removal_fails.store(true, Ordering::SeqCst);
    live.iter().for_each(|(_, extent)| kill(&segments, *extent));
    let stats = segments.stats();
    assert_eq!(stats.preallocated_bytes + stats.other_bytes, store.files().len() as u64 * SEGMENT);
    assert!(stats.other_bytes > 0);
    let live: Vec<_> = (0..100).map(|owner| append(&segments, owner, CHUNK)).collect();
    segments.sync().unwrap();
    assert_holds(&segments, &live);
    segments.validate(Some(live_bytes(&segments, &live)));
    drop(segments);
    assert_holds(&store.reopen(&live), &live);
}

/// A little of everything, as the floors above do it; what lasts according to a sync is in `lasting`.
fn exercise(segments: &Segments, lasting: &mut Vec<(u64, ExtentRef)>) -> u32 {
    let (mut failures, mut batch) = (0, Vec::new());
    for owner in 100..160 {
        match segments.append(owner, &bytes(owner, 10 + 50 * (owner - 100) as usize)) {
            Ok(extent) => batch.push((owner, extent)),
            Err(error) => {
                assert!(matches!(error, Error::Io { .. } | Error::StorageFull { .. }), "{error:?}");
                failures += 1;
            }
        }
        if owner % 6 == 5 {
            failures += u32::from(segments.sync().is_err());
            let (good, bad): (Vec<_>, Vec<_>) =
                batch.drain(..).partition(|(_, extent)| segments.is_trusted(*extent));
            lasting.extend(good);
            for (owner, extent) in bad {
                batch.extend(segments.append(owner, &bytes(owner, segments.len(extent))).map(|e| (owner, e)));
                kill(segments, extent);
            }
            for _ in 0..3 {
                kill(segments, lasting.remove(lasting.len() / 2).1);
            }
        }
    }
    segments.validate(None);
    failures
}

#[test]
fn any_one_call_may_fail_and_what_was_said_to_last_does() {
    for errno in [libc::EIO, libc::ENOSPC, libc::EMFILE] {
        let mut failed = 0;
        for call in 0.. {
            let mut store = Lasting::new();
            store.segment_bytes = 16 << 10;
            let segments = store.reopen(&[]);
            let mut lasting: Vec<_> = (0..20).map(|owner| append(&segments, owner, 1500)).collect();
            segments.sync().unwrap();
            drop(segments);
            let disk = TestDisk::failing(call, errno);
            match store.try_open(disk.clone(), CHUNK) {
                Ok(segments) => {
                    let adopted = lasting.iter().map(|(_, extent)| segments.adopt(*extent));
                    // A header that cannot be read is one that came to harm.
                    if adopted.collect::<Result<Vec<_>, _>>().is_ok() {
                        segments.recovered();
                        failed += exercise(&segments, &mut lasting);
                    }
                }
                Err(error) => assert!(matches!(error, Error::Io { .. }), "{error:?}"),
            }
            assert_holds(&store.reopen(&lasting), &lasting);
            if disk.calls() <= call {
                break;
            }
        }
        assert!(failed > 50, "{failed} failures were seen");
    }
}
