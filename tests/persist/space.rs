//! What a store takes on disk stays in proportion to what lives in it, whatever was overwritten and removed on the way.

use super::*;
use memfs::{Builder, Durability, MemFs, StorageMode};
use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

const SEGMENT: u64 = 1 << 20;
/// Names, a checkpoint beside the next one, and a journal that is not worth a checkpoint yet.
const METADATA: u64 = 3 << 20;

fn builder(home: &Path, durability: Durability) -> Builder {
    MemFs::builder()
        .mode(StorageMode::Persist)
        .storage_path(home)
        .memory_limit_bytes(8 << 20)
        .segment_size(SEGMENT)
        .durability(durability)
}

/// What each file in `home` takes, preallocated space included.
fn listed(home: &Path) -> Vec<(String, u64)> {
    let files = std::fs::read_dir(home).unwrap().map(Result::unwrap);
    let taken = |file: &std::fs::DirEntry| file.metadata().map(|found| found.blocks() * 512);
    // What was removed since it was listed takes nothing.
    files.filter_map(|file| Some((file.file_name().into_string().unwrap(), taken(&file).ok()?))).collect()
}

fn on_disk(home: &Path) -> u64 {
    listed(home).iter().map(|(_, bytes)| bytes).sum()
}

/// Overwrites and removes files of mixed sizes. Now and then what the store takes is compared with twice what lives in it and a
/// segment; at the end every file is read.
fn churn(fs: &MemFs, home: &Path, seed: u64, operations: u64) {
    let mut random = seed;
    let mut live = std::collections::HashMap::new();
    for operation in 0..operations {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let (file, dice) = (random >> 33, random >> 60);
        let path = format!("/d{}/f{}", file % 10, file % 600);
        if dice < 3 {
            if live.remove(&path).is_some() {
                fs.remove_file(&path).unwrap();
            }
        } else {
            // Most are small; the sizes drift, so that no free place fits for long.
            let len = (1 + (random >> 20) % (1000 + operation % 20_000)) as usize;
            fs.write(&path, bytes(operation, len)).unwrap();
            live.insert(path, (operation, len));
        }
        if operation % 2_000 == 1_999 {
            fs.sync().unwrap();
            let lives: usize = live.values().map(|(_, len)| len).sum();
            let excess = settled(|| on_disk(home).saturating_sub(2 * lives as u64 + SEGMENT));
            assert!(
                excess <= METADATA,
                "{excess} bytes too many on disk for {lives} after {operation}: {:?}",
                listed(home)
            );
        }
    }
    for (path, (operation, len)) in live {
        assert!(fs.read(&path).unwrap() == bytes(operation, len), "{path}");
    }
}

/// The figure when it is small enough, or has had a minute: what tidies up does so in the background, once a second.
fn settled(figure: impl Fn() -> u64) -> u64 {
    let began = Instant::now();
    loop {
        let now = figure();
        if now <= METADATA || began.elapsed() > Duration::from_secs(60) {
            return now;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_store_takes_twice_what_lives_in_it_and_a_segment() {
    let periodic = Durability::Periodic(Duration::from_millis(5));
    for (seed, durability, operations) in
        [(1, periodic, 40_000), (2, Durability::OnClose, 40_000), (3, Durability::Sync, 4_000)]
    {
        let home = tempfile::tempdir().unwrap();
        let fs = builder(home.path(), durability).build().unwrap();
        churn(&fs, home.path(), seed, operations);
        fs.close().unwrap();
    }
}

#[test]
fn what_replaces_itself_between_two_syncs_is_written_once() {
    let home = tempfile::tempdir().unwrap();
    let fs = builder(home.path(), Durability::OnClose).build().unwrap();
    for round in 0..5_000 {
        fs.write("/counter", bytes(round, 100)).unwrap();
    }
    fs.close().unwrap();
    let journal = std::fs::read_dir(home.path()).unwrap().map(Result::unwrap);
    let journal = journal.filter(|file| file.file_name().to_string_lossy().starts_with("journal"));
    let written: usize = journal.map(|file| trimmed(&std::fs::read(file.path()).unwrap())).sum();
    assert!((1..16 << 10).contains(&written), "{written} bytes of journal for one small file");
}

/// The length without the zeros at the end.
fn trimmed(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[test]
fn a_store_of_small_files_takes_little_and_one_that_grows_gets_long_segments() {
    let home = tempfile::tempdir().unwrap();
    let fs =
        MemFs::builder().mode(StorageMode::Persist).storage_path(home.path()).memory_limit_bytes(64 << 20);
    let fs = fs.segment_size(16 << 20).build().unwrap();
    (0..3).for_each(|file| fs.write(format!("/{file}"), bytes(file, 1_000)).unwrap());
    fs.sync().unwrap();
    let small = on_disk(home.path());
    assert!(small <= 5 << 20, "{small} bytes for three files of 1,000");
    (0..40).for_each(|file| fs.write(format!("/long{file}"), bytes(file, 1 << 20)).unwrap());
    fs.sync().unwrap();
    let grown = on_disk(home.path());
    assert!(grown <= 2 * (40 << 20) + (16 << 20) + METADATA, "{grown} bytes for 40 MiB");
    fs.close().unwrap();
    let segments = std::fs::read_dir(home.path()).unwrap().map(|file| file.unwrap());
    let mut lens: Vec<_> = segments
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "seg"))
        .map(|file| file.metadata().unwrap().len() >> 20)
        .collect();
    lens.sort_unstable();
    assert!(lens.len() <= 8 && lens.last() == Some(&16), "{lens:?} MiB");
    let fs = open(home.path());
    assert!((0..40).all(|file| fs.read(format!("/long{file}")).unwrap() == bytes(file, 1 << 20)));
}
