//! Who waits for his change to be durable: one flushes for all, the others are told; nobody is told too early, and nobody is
//! forgotten. What is durable is asked of the disk: what it would have, were the power to go at that instant, is opened.
#![cfg(memfs_loom)]

use memfs::model::tier::{Bytes, FileUser, Files, Kept};
use memfs_loom_tests::{Kind, Mutation, breaks, model};

/// Where the lead is, and the line that ends it.
const LEAD: &str = "src/tier/lead.rs";
const WAKE: &str = "self.0.ended.notify_one();";

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

/// A change is made and waited for by each: it is in the batch that is under way, or in the next.
fn two_write_and_sync() {
    fn made() -> Files {
        let files = two_unsynced();
        with(&files, |user| user.flush());
        files
    }
    fn write(files: &Files, path: &str) -> Synced {
        with(files, |user| user.write(path, 3, 40).expect("room"));
        sync(files)
    }
    model(made, [|files| write(files, "/a"), |files| write(files, "/b")], |files, synced| {
        const NEW: Option<Bytes> = Some(Bytes { value: 3, len: 40 });
        files.reopened(|user| assert_eq!(found(user), [NEW, NEW]));
        for (number, (good, kept)) in synced.into_iter().enumerate() {
            assert!(good, "the disk does not fail");
            let found = kept.opened(found);
            assert!(found[number] == NEW, "acknowledged, and not durable: {found:?}");
        }
    });
}

#[test]
fn who_writes_and_syncs_is_told_when_his_write_is_durable() {
    two_write_and_sync();
}

/// Closing makes durable what has its place; who syncs meanwhile is told that it is, or that the store is closed.
#[test]
fn who_syncs_while_the_store_is_closed_is_not_left_waiting() {
    fn close(files: &Files) -> Synced {
        with(files, |user| user.close());
        (true, files.after_power_loss())
    }
    model(two_unsynced, [close, sync], |files, synced| over(files, synced));
}

// ---------------------------------------------------------------- a disk that fails

/// The one who led is told, or has written what could not be synced elsewhere; who relied on him leads in his turn.
fn one_sync_fails() {
    fn refusing_one() -> Files {
        let files = two_unsynced();
        files.refuse_syncs(1);
        files
    }
    model(refusing_one, [sync, sync], |files, synced| over(files, synced));
}

#[test]
fn a_sync_that_fails_is_no_acknowledgement_to_anybody() {
    one_sync_fails();
}

/// Nobody is told that his change is durable while every sync that `refuse` names fails, and all are when they do not any more.
fn syncs_go_on_failing(refuse: fn() -> Files) {
    model(refuse, [sync, sync], |files, synced| {
        assert!(synced.iter().all(|(good, _)| !good), "acknowledged, and not durable");
        files.refuse_syncs(0);
        with(&files, |user| user.sync().expect("the disk does not fail any more"));
        let after = files.after_power_loss();
        over(files, synced.into_iter().chain([(true, after)]));
    });
}

#[test]
fn syncs_that_go_on_failing_are_told_to_all_who_waited() {
    syncs_go_on_failing(|| {
        let files = two_unsynced();
        files.refuse_syncs_of_the_journal(u32::MAX);
        files
    });
}

/// What was moved out of a segment that failed into one that failed as well is written a third time; the move names nothing then.
#[test]
fn after_many_syncs_that_failed_one_that_does_not_is_an_acknowledgement() {
    syncs_go_on_failing(|| {
        let files = two_unsynced();
        files.refuse_syncs(u32::MAX);
        files
    });
}

// ---------------------------------------------------------------- broken

const EARLY: &[&str] = &["acknowledged, and not durable"];

#[test]
fn broken_end_of_a_lead_that_wakes_nobody_leaves_one_waiting() {
    let mutation = || Mutation::at(LEAD, WAKE, Kind::Skipped);
    breaks(mutation, &["deadlock"], two_write_and_sync);
}

#[test]
fn broken_wait_that_does_not_look_what_is_durable_acknowledges_early() {
    let mutation = || Mutation::at(LEAD, "while log.durable.load(Acquire) < target {", Kind::Sees(u64::MAX));
    breaks(mutation, EARLY, two_sync);
}

#[test]
fn broken_commit_that_does_not_say_how_far_leaves_one_flushing_for_ever() {
    let mutation = || Mutation::at("src/tier/commit.rs", "log.durable.store(last, Release)", Kind::Skipped);
    breaks(mutation, &["exceeded"], two_sync);
}

#[test]
fn broken_segment_that_is_trusted_after_a_failed_sync_is_an_acknowledgement() {
    let mutation = || {
        Mutation::at(
            "src/segment/durable.rs",
            "self.is_failed.store(true, Ordering::Release);",
            Kind::Skipped,
        )
    };
    breaks(mutation, &["Corrupt {", EARLY[0]], one_sync_fails);
}
