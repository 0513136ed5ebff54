//! Who waits for his change to be durable: one flushes for all, the others are told; nobody is told too early, and nobody is
//! forgotten. What is durable is asked of the disk: what it would have, were the power to go at that instant, is opened.
#![cfg(memfs_loom)]

use memfs::model::tier::{Bytes, FileUser, Files, Kept};
use memfs_loom_tests::{Kind, Mutation, breaks, model};

const FLUSH: &str = "src/tier/flush.rs";

fn with<R>(files: &Files, run: impl FnOnce(&FileUser<'_>) -> R) -> R {
    run(&files.user())
}

/// Whether a sync was good, and what the disk had made last when it ended.
type Synced = (bool, Kept);

fn sync(files: &Files) -> Synced {
    let good = with(files, |user| user.sync().is_ok());
    (good, files.after_power_loss())
}

/// Two files, that have their places and are on no disk.
fn two_unsynced() -> Files {
    let files = Files::lasting();
    with(&files, |user| {
        user.flush();
        user.write("/a", 1, 40).expect("room");
        user.write("/b", 2, 48).expect("room");
    });
    files
}

fn found(user: &FileUser<'_>) -> [Option<Bytes>; 2] {
    ["/a", "/b"].map(|path| user.read(path).ok())
}

const A: Option<Bytes> = Some(Bytes { value: 1, len: 40 });
const B: Option<Bytes> = Some(Bytes { value: 2, len: 48 });

/// Both files are there after a good sync, and in the end.
fn over(files: Files, synced: impl IntoIterator<Item = Synced>) {
    files.reopened(|user| assert_eq!(found(user), [A, B]));
    for (good, kept) in synced {
        let found = kept.opened(found);
        assert!(!good || found == [A, B], "acknowledged, and not durable: {found:?}");
    }
}

fn two_sync() {
    model(two_unsynced, [sync, sync], |files, synced| {
        assert!(synced.iter().all(|(good, _)| *good), "the disk does not fail");
        over(files, synced);
    });
}

#[test]
fn one_flushes_for_both_and_the_other_is_told() {
    two_sync();
}
