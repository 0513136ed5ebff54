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

/// What the files in `home` take, preallocated space included.
fn on_disk(home: &Path) -> u64 {
    let files = std::fs::read_dir(home).unwrap();
    // What was removed since it was listed takes nothing.
    files.filter_map(|file| file.unwrap().metadata().ok()).map(|file| file.blocks() * 512).sum()
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
            assert!(excess <= METADATA, "{excess} bytes too many on disk for {lives} after {operation}");
        }
    }
    for (path, (operation, len)) in live {
        assert!(fs.read(&path).unwrap() == bytes(operation, len), "{path}");
    }
}

/// The figure when it is small enough, or has had two seconds: what tidies up does so in the background.
fn settled(figure: impl Fn() -> u64) -> u64 {
    let began = Instant::now();
    loop {
        let now = figure();
        if now <= METADATA || began.elapsed() > Duration::from_secs(3) {
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
