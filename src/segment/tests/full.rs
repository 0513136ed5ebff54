//! Limits, full disks and failing ones: errors come back, and nothing else breaks.

use super::store::{Store, TestDisk, slice};
use crate::{Error, sync::thread};
use std::os::unix::fs::MetadataExt;

const CHUNK: usize = 4096;

#[test]
fn the_limit_covers_all_files_and_is_used() {
    let limit = 256 << 10;
    let disk = TestDisk::new();
    let store = Store::new(disk.clone(), 256 << 20, CHUNK, Some(limit));
    let mut extents = Vec::new();
    let error = loop {
        match store.append(extents.len() as u64, 1000) {
            Ok(extent) => extents.push(extent),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::StorageFull { used_bytes, .. } if used_bytes <= limit), "{error:?}");
    let on_disk: u64 = disk.files.lock().unwrap().iter().map(|f| f.metadata().unwrap().blocks() * 512).sum();
    assert!(on_disk <= limit, "{on_disk} bytes on disk");
    // An eighth is kept for moving; ends of segments stay unused.
    assert!(Store::live_bytes(vec![1000; extents.len()]) >= limit * 3 / 4, "{} records", extents.len());
    for (owner, extent) in extents.iter().enumerate() {
        store.assert_holds(owner as u64, *extent);
    }
    for extent in extents {
        store.kill(extent);
    }
    store.segments.validate(Some(0));
    store.append(1, CHUNK).unwrap();
}

#[test]
fn a_limit_below_one_record_refuses_it_and_takes_smaller_ones() {
    let store = Store::new(TestDisk::new(), 256 << 20, 1 << 20, Some(1 << 20));
    assert!(matches!(store.append(1, 1 << 20), Err(Error::StorageFull { .. })));
    let extent = store.append(1, 512 << 10).unwrap();
    store.assert_holds(1, extent);
    let none = Store::new(TestDisk::new(), 256 << 20, 1 << 20, Some(1000));
    assert!(matches!(none.append(1, 0), Err(Error::StorageFull { .. })));
}

#[test]
fn the_only_segment_under_a_tiny_limit_is_reused_when_nothing_in_it_is_live() {
    let store = Store::new(TestDisk::new(), 256 << 20, 1 << 20, Some(1 << 20));
    for owner in 0..20 {
        let extent = store.append(owner, 700 << 10).unwrap();
        store.assert_holds(owner, extent);
        store.kill(extent);
    }
}

#[test]
fn a_nearly_full_disk_is_filled_with_smaller_segments() {
    let room = 300 << 10;
    let store = Store::new(TestDisk::small(room), 256 << 10, CHUNK, None);
    let mut extents = Vec::new();
    let error = loop {
        match store.append(extents.len() as u64, CHUNK) {
            Ok(extent) => extents.push(extent),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::StorageFull { .. }), "{error:?}");
    assert!(extents.len() * CHUNK >= 250 << 10, "{} records", extents.len());
    for (owner, extent) in extents.iter().enumerate() {
        store.assert_holds(owner as u64, *extent);
    }
    for extent in extents.drain(..) {
        store.kill(extent);
    }
    store.append(1, CHUNK).unwrap();
}

/// A little of everything; whatever fails is an error, and what was stored stays.
fn exercise(store: &Store) -> u32 {
    let mut failures = 0;
    let mut stored = Vec::new();
    for owner in 0..60 {
        match store.append(owner, 700 + 50 * owner as usize) {
            Ok(extent) => stored.push((owner, extent)),
            Err(error) => {
                assert!(matches!(error, Error::Io { .. } | Error::StorageFull { .. }), "{error:?}");
                failures += 1;
            }
        }
        if owner % 3 == 2 && stored.len() > 4 {
            store.kill(stored.remove(2).1);
        }
    }
    let lens = stored.iter().map(|(_, extent)| store.segments.len(*extent));
    store.segments.validate(Some(Store::live_bytes(lens)));
    for (owner, extent) in &stored {
        let mut dst = vec![0; store.segments.len(*extent)];
        if store.segments.read(*extent, *owner, &mut dst).is_err() {
            failures += 1;
            store.assert_holds(*owner, *extent);
        }
        let hold = store.segments.hold(*extent).unwrap();
        // A mapping that cannot be had leaves reading.
        slice(&hold, *owner).unwrap();
    }
    for (_, extent) in stored {
        store.kill(extent);
    }
    store.segments.validate(Some(0));
    failures
}

#[test]
fn any_one_call_may_fail() {
    for errno in [libc::EIO, libc::ENOSPC, libc::EDQUOT, libc::EMFILE] {
        let mut failed = 0;
        for call in 0.. {
            let disk = TestDisk::failing(call, errno);
            let store = Store::new(disk.clone(), 32 << 10, CHUNK, None);
            failed += exercise(&store);
            if disk.calls() <= call {
                break;
            }
        }
        assert!(failed > 50, "{failed} failures were seen");
    }
}

#[test]
fn no_thread_is_refused_while_another_brings_the_last_segment() {
    for round in 0..100 {
        three_threads_come_to_the_last_segment(TestDisk::new(), round);
    }
    // Nor if that takes longer than a thread is usually off its processor.
    three_threads_come_to_the_last_segment(TestDisk::slow(100), 100);
}

fn three_threads_come_to_the_last_segment(disk: std::sync::Arc<TestDisk>, round: u32) {
    const THREADS: u64 = 3;
    let store = Store::new(disk, 16 << 10, 12 << 10, Some(2 * (16 << 10)));
    // The first segment is nearly full; the other one takes what all threads have.
    for owner in 0..3 {
        store.append(owner, CHUNK).unwrap();
    }
    let start = std::sync::Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        for owner in 10..10 + THREADS {
            let (store, start) = (&store, &start);
            scope.spawn(move || {
                start.wait();
                match store.append(owner, CHUNK - 100) {
                    Ok(extent) => store.assert_holds(owner, extent),
                    Err(error) => panic!("refused in round {round}: {error}"),
                }
            });
        }
    });
}
