//! What the disk does wrong is an error for the file it concerns: bytes that changed, a segment cut short, no more room.
//! The store's segments have no names, but their descriptors can be found, and opened again, under `/proc/self/fd`.

mod common;

use common::{
    kind::{Fails, Kind},
    rng::bytes,
    stores::{tiny, validate},
};
use memfs::{Error, MemFs};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    sync::{Mutex, MutexGuard},
};

/// Limits on the process concern every test of this binary, so there is one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The segment files of the one store that uses `dir`, opened once more.
fn segments(dir: &Path) -> Vec<File> {
    let dir = dir.canonicalize().unwrap();
    fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.unwrap().path();
            let target = fs::read_link(&entry).ok()?;
            let is_ours = target.starts_with(&dir) && fs::metadata(&entry).ok()?.is_file();
            is_ours.then(|| OpenOptions::new().read(true).write(true).open(&entry).unwrap())
        })
        .collect()
}

/// Where `needle` begins in one of the segments.
fn find(segments: &[File], needle: &[u8]) -> (usize, u64) {
    for (index, segment) in segments.iter().enumerate() {
        let mut whole = vec![0; segment.metadata().unwrap().len() as usize];
        segment.read_exact_at(&mut whole, 0).unwrap();
        if let Some(at) = whole.windows(64).position(|window| *window == needle[..64]) {
            return (index, at as u64);
        }
    }
    panic!("the bytes are in no segment")
}

#[test]
fn a_flipped_bit_on_disk_is_corrupt_and_concerns_its_file_alone() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    for len in [100, 4000, 20_000] {
        let store = tiny().storage_path(dir.path()).build().unwrap();
        for i in 0..10u64 {
            store.write(format!("/d/{i}"), bytes(i, len)).unwrap();
        }
        store.gc(0.0).unwrap();
        let segments = segments(dir.path());
        assert!(!segments.is_empty());
        let (segment, at) = find(&segments, &bytes(3, len));
        let mut byte = [0];
        segments[segment].read_exact_at(&mut byte, at + 50).unwrap();
        segments[segment].write_all_at(&[byte[0] ^ 4], at + 50).unwrap();
        corrupt_but_alone(&store, len);
        // What is written anew is read again.
        store.write("/d/3", bytes(33, len)).unwrap();
        assert!(store.read("/d/3").unwrap() == bytes(33, len));
        validate(&store);
        store.close().unwrap();
    }
}

fn corrupt_but_alone(store: &MemFs, len: usize) {
    let mut buf = vec![0; len];
    let reads = [
        store.read("/d/3").map(drop),
        store.get("/d/3").map(drop),
        store.read_bytes("/d/3").map(drop),
        store.read_with("/d/3", |_| ()),
        store.read_at("/d/3", &mut buf, 0).map(drop),
        store.copy("/d/3", "/copy").map(drop),
    ];
    for (way, read) in reads.into_iter().enumerate() {
        match read {
            Err(error @ Error::Corrupt { .. }) => {
                let text = error.to_string();
                assert!(
                    text.contains("/d/3") && text.contains("segment") && text.contains("offset"),
                    "{text}"
                );
            }
            other => panic!("way {way} of reading: {other:?}"),
        }
    }
    assert!(!store.exists("/copy"));
    assert!(store.stats().checksum_failures > 0);
    for i in (0..10u64).filter(|i| *i != 3) {
        assert!(store.read(format!("/d/{i}")).unwrap() == bytes(i, len), "file {i}");
    }
}

#[test]
fn a_segment_cut_short_gives_errors_and_no_signal() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let store = tiny().storage_path(dir.path()).build().unwrap();
    for i in 0..60u64 {
        store.write(format!("/d/{i}"), bytes(i, 15_000)).unwrap();
    }
    store.gc(0.3).unwrap();
    for segment in segments(dir.path()) {
        segment.set_len(5000).unwrap();
    }
    let mut lost = 0;
    for i in 0..60u64 {
        match store.read(format!("/d/{i}")) {
            Ok(found) => assert!(found == bytes(i, 15_000), "file {i}"),
            Err(error) => {
                assert!([Kind::Corrupt, Kind::Io].contains(&error.variant()), "{error}");
                lost += 1;
            }
        }
    }
    assert!(lost > 0, "the cut went unnoticed");
    // The store goes on.
    for i in 0..60u64 {
        store.write(format!("/d/{i}"), bytes(i + 100, 3000)).unwrap();
        assert!(store.read(format!("/d/{i}")).unwrap() == bytes(i + 100, 3000));
    }
    validate(&store);
}

/// Runs the test `name` in a process of its own, whose output is a pipe: a limit on the sizes of files would concern the file
/// that this process may be writing its results to. True in that process.
fn is_child(name: &str) -> bool {
    const CHILD: &str = "MEMFS_DISK_FAULTS_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && told.contains("1 passed"),
        "{told}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    false
}

/// No file of this process can grow past `bytes`, until it is dropped.
struct FileSizeLimit {
    before: libc::rlimit,
}

impl FileSizeLimit {
    fn set(bytes: u64) -> Self {
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: plain calls on a struct that outlives them; ignoring SIGXFSZ makes writes past the limit fail instead.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            assert_eq!(libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut before), 0);
            let now = libc::rlimit { rlim_cur: bytes, ..before };
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const now), 0);
        }
        Self { before }
    }
}

impl Drop for FileSizeLimit {
    fn drop(&mut self) {
        // SAFETY: as in `set`.
        unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const self.before) };
    }
}

#[test]
fn a_disk_that_takes_no_more_is_reported_and_loses_nothing() {
    if !is_child("a_disk_that_takes_no_more_is_reported_and_loses_nothing") {
        return;
    }
    let _alone = alone();
    for len in [2000, 30_000] {
        let store = tiny().build().unwrap();
        let count = (300 << 10) / len as u64;
        for i in 0..count {
            store.write(format!("/before/{i}"), bytes(i, len)).unwrap();
        }
        let mut written = 0;
        let error = {
            let _limit = FileSizeLimit::set(4096);
            loop {
                match store.write(format!("/during/{written}"), bytes(1000 + written, len)) {
                    Ok(()) => written += 1,
                    Err(error) => break error,
                }
                assert!(written < 2000, "a full disk takes everything");
            }
        };
        assert!([Kind::Io, Kind::StorageFull].contains(&error.variant()), "{error}");
        for i in 0..count {
            assert!(
                store.read(format!("/before/{i}")).unwrap() == bytes(i, len),
                "file {i} of before: {len}"
            );
        }
        for i in 0..written {
            assert!(store.read(format!("/during/{i}")).unwrap() == bytes(1000 + i, len), "file {i}: {len}");
        }
        // With room again, everything works again.
        for i in 0..3 * count {
            store.write(format!("/after/{i}"), bytes(5000 + i, len)).unwrap();
        }
        for i in 0..3 * count {
            assert!(store.read(format!("/after/{i}")).unwrap() == bytes(5000 + i, len));
        }
        validate(&store);
    }
}

#[test]
fn gc_on_a_disk_that_takes_no_more_leaves_the_files_in_memory() {
    if !is_child("gc_on_a_disk_that_takes_no_more_leaves_the_files_in_memory") {
        return;
    }
    let _alone = alone();
    let store = tiny().build().unwrap();
    for i in 0..20u64 {
        store.write(format!("/{i}"), bytes(i, 5000)).unwrap();
    }
    let result = {
        let _limit = FileSizeLimit::set(4096);
        store.gc(0.0)
    };
    match result {
        Err(error) => assert!([Kind::Io, Kind::StorageFull].contains(&error.variant()), "{error}"),
        Ok(report) => panic!("nothing can have left, and nobody was told: {report:?}"),
    }
    assert_eq!(store.memory_map().len(), 20);
    for i in 0..20u64 {
        assert!(store.read(format!("/{i}")).unwrap() == bytes(i, 5000));
    }
    assert!(store.gc(0.0).unwrap().files_swapped_out >= 20);
    validate(&store);
}
