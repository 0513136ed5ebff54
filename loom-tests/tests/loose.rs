//! Changes without a record of their own: none is lost, and what a flush makes durable has all that was before it.
#![cfg(memfs_loom)]

use memfs::model::tier::{Bytes, FileUser, Files, Kept};
use memfs_loom_tests::{Kind, Mutation, breaks, model};

const ONE: Bytes = Bytes { value: 1, len: 40 };
const TWO: Bytes = Bytes { value: 2, len: 48 };
const THREE: Bytes = Bytes { value: 3, len: 56 };

const LOOSE: &str = "src/tier/loose.rs";

fn with<R>(files: &Files, run: impl FnOnce(&FileUser<'_>) -> R) -> R {
    run(&files.user())
}

fn put(user: &FileUser<'_>, path: &str, bytes: Bytes) {
    user.write(path, bytes.value, bytes.len).expect("room");
}

/// `/a` and `/b`, on disk, which the order knows all of.
fn firm() -> Files {
    let files = Files::loose();
    with(&files, |user| {
        for path in ["/a", "/b"] {
            put(user, path, ONE);
            user.make_hot(path);
        }
        user.flush();
        (0..3).for_each(|_| user.collect());
    });
    files
}

/// The same, `/a` replaced by what has a record that is not taken yet.
fn loose() -> Files {
    let files = firm();
    with(&files, |user| {
        let before = user.placed();
        put(user, "/a", TWO);
        assert_eq!(user.placed(), before + 1);
    });
    files
}

/// The same, replaced once more, by what has none.
fn bare() -> Files {
    let files = loose();
    with(&files, |user| {
        let before = user.placed();
        put(user, "/a", THREE);
        assert_eq!(user.placed(), before, "a record that is not needed");
    });
    files
}

type Left = Option<Kept>;

fn flush(files: &Files) -> Left {
    with(files, |user| user.flush());
    Some(files.after_power_loss())
}

fn write_three(files: &Files) -> Left {
    with(files, |user| put(user, "/a", THREE));
    None
}

/// One after the other.
fn write_both(files: &Files) -> Left {
    with(files, |user| {
        put(user, "/a", THREE);
        put(user, "/b", TWO);
    });
    None
}

fn found(user: &FileUser<'_>) -> [Bytes; 2] {
    ["/a", "/b"].map(|path| user.read(path).expect("a file"))
}

/// What a crash would have left is one of `then`; what there is now is `now`, has one copy on disk when all is flushed, and is the
/// same when the store is opened again.
fn over(files: Files, left: impl IntoIterator<Item = Left>, then: &[[Bytes; 2]], now: &[[Bytes; 2]]) {
    let is = with(&files, found);
    assert!(now.contains(&is), "a write is lost: {is:?}");
    files.check_disk(2);
    assert_eq!(files.reopened(found), is, "the order says otherwise");
    for left in left.into_iter().flatten() {
        let left = left.opened(found);
        assert!(then.contains(&left), "no prefix: {left:?}");
    }
}

#[test]
fn a_loose_content_is_replaced_while_it_is_flushed() {
    model(loose, [flush, write_three], |files, left| {
        over(files, left, &[[TWO, ONE], [THREE, ONE]], &[[THREE, ONE]]);
    });
}

#[test]
fn a_bare_content_is_replaced_while_it_is_flushed() {
    fn write_one(files: &Files) -> Left {
        with(files, |user| put(user, "/a", ONE));
        None
    }
    model(bare, [flush, write_one], |files, left| {
        over(files, left, &[[THREE, ONE], [ONE, ONE]], &[[ONE, ONE]]);
    });
}

const BOTH: &[[Bytes; 2]] = &[[TWO, ONE], [THREE, ONE], [THREE, TWO]];

#[test]
fn what_is_flushed_has_the_change_without_a_record_that_came_before() {
    model(loose, [flush, write_both], |files, left| over(files, left, BOTH, &[[THREE, TWO]]));
}

#[test]
fn a_content_is_made_loose_while_the_flusher_looks_for_those_that_are() {
    fn write_two_of_both(files: &Files) -> Left {
        with(files, |user| ["/a", "/b"].into_iter().for_each(|path| put(user, path, TWO)));
        None
    }
    model(firm, [flush, write_two_of_both], |files, left| {
        over(files, left, &[[ONE, ONE], [TWO, ONE], [TWO, TWO]], &[[TWO, TWO]]);
    });
}

/// The same, and replaced without a record if it is. For broken variants: as it is, it comes to an assertion of loom's about the
/// order of its own stores.
fn made_loose_and_replaced_while_flushed() {
    fn write_all(files: &Files) -> Left {
        with(files, |user| put(user, "/a", TWO));
        write_both(files)
    }
    model(firm, [flush, write_all], |files, left| {
        let then = [&[[ONE, ONE]], BOTH].concat();
        over(files, left, &then, &[[THREE, TWO]]);
    });
}

#[test]
fn two_replace_a_loose_content_and_one_flushes() {
    fn write_two(files: &Files) -> Left {
        with(files, |user| put(user, "/b", TWO));
        None
    }
    model(loose, [flush, write_three, write_two], |files, left| {
        over(files, left, &[[TWO, ONE], [THREE, ONE], [TWO, TWO], [THREE, TWO]], &[[THREE, TWO]]);
    });
}

fn write_three_and_sync(files: &Files) -> Left {
    write_three(files);
    with(files, |user| user.sync().expect("the disk does not fail"));
    Some(files.after_power_loss())
}

/// Beside a flush whose outcome is of no account.
fn is_durable(from: fn() -> Files, write_and_sync: fn(&Files) -> Left) {
    fn just_flush(files: &Files) -> Left {
        flush(files);
        None
    }
    model(from, [write_and_sync, just_flush], |files, left| {
        over(files, left, &[[THREE, ONE]], &[[THREE, ONE]]);
    });
}

#[test]
fn a_change_without_a_record_is_durable_after_a_sync() {
    is_durable(loose, write_three_and_sync);
}

/// What made the content loose may be durable by the time that it does.
fn made_loose_replaced_and_synced_while_flushed() {
    fn write_twice_and_sync(files: &Files) -> Left {
        with(files, |user| put(user, "/a", TWO));
        write_three_and_sync(files)
    }
    is_durable(firm, write_twice_and_sync);
}

#[test]
fn a_change_is_durable_after_a_sync_whatever_became_of_the_record_before_it() {
    made_loose_replaced_and_synced_while_flushed();
}

#[test]
fn a_bare_content_is_appended_to_while_it_is_flushed() {
    const LONGER: Bytes = Bytes { value: 3, len: 64 };
    fn append(files: &Files) -> Left {
        with(files, |user| user.append("/a", 3, 8).expect("room"));
        None
    }
    model(bare, [flush, append], |files, left| {
        over(files, left, &[[THREE, ONE], [LONGER, ONE]], &[[LONGER, ONE]]);
    });
}

#[test]
fn a_bare_content_is_given_a_priority_while_it_is_flushed() {
    fn lock(files: &Files) -> Left {
        with(files, |user| user.set_priority("/a", 9).expect("a file"));
        None
    }
    model(bare, [flush, lock], |files, left| over(files, left, &[[THREE, ONE]], &[[THREE, ONE]]));
}

#[test]
fn a_bare_content_leaves_ram_as_soon_as_it_is_flushed() {
    fn swap_out(files: &Files) -> Left {
        with(files, |user| user.swap_out("/a", None));
        None
    }
    model(bare, [flush, swap_out], |files, left| over(files, left, &[[THREE, ONE]], &[[THREE, ONE]]));
}

#[test]
fn a_file_with_a_bare_content_is_removed_while_it_is_flushed() {
    fn remove(files: &Files) {
        with(files, |user| user.remove("/a").expect("a file"));
    }
    model(bare, [|files| _ = flush(files), remove], |files, _| {
        files.check_disk(1);
        assert!(files.reopened(|user| user.read("/a").is_err()), "the order says otherwise");
    });
}

#[test]
fn a_file_with_a_bare_content_is_renamed_over_another_while_it_is_flushed() {
    const BEFORE: [Option<Bytes>; 2] = [Some(THREE), Some(ONE)];
    const AFTER: [Option<Bytes>; 2] = [None, Some(THREE)];
    fn rename(files: &Files) -> Left {
        with(files, |user| user.rename("/a", "/b").expect("a file"));
        None
    }
    fn both(user: &FileUser<'_>) -> [Option<Bytes>; 2] {
        ["/a", "/b"].map(|path| user.read(path).ok())
    }
    model(bare, [flush, rename], |files, left| {
        files.check_disk(1);
        assert_eq!(files.reopened(both), AFTER, "the order says otherwise");
        for left in left.into_iter().flatten() {
            let left = left.opened(both);
            assert!([BEFORE, AFTER].contains(&left), "no prefix: {left:?}");
        }
    });
}

#[test]
fn a_bare_content_is_replaced_while_what_made_it_loose_is_taken() {
    fn condense(files: &Files) -> Left {
        with(files, |user| user.condense());
        None
    }
    fn write_one_and_flush(files: &Files) -> Left {
        with(files, |user| put(user, "/a", ONE));
        flush(files)
    }
    model(bare, [condense, write_one_and_flush], |files, left| {
        over(files, left, &[[ONE, ONE]], &[[ONE, ONE]]);
    });
}

#[test]
fn a_store_is_closed_while_a_loose_content_is_replaced() {
    fn close(files: &Files) -> bool {
        with(files, |user| user.close());
        true
    }
    fn write(files: &Files) -> bool {
        with(files, |user| user.write("/a", THREE.value, THREE.len).is_ok())
    }
    model(loose, [close, write], |files, [_, written]| {
        let found = files.reopened(|user| user.read("/a").expect("a file"));
        assert_eq!(found, if written { THREE } else { TWO }, "the order says otherwise");
    });
}

const LOST: &[&str] = &["no prefix", "a write is lost", "the order says otherwise", "used after its end"];

#[test]
fn broken_prohibition_that_is_not_heeded_loses_a_change() {
    let mutation = || Mutation::at(LOOSE, "self.now.load(Acquire)", Kind::Sees(1));
    breaks(mutation, LOST, made_loose_and_replaced_while_flushed);
}

#[test]
fn broken_prohibition_that_is_not_said_loses_a_change() {
    let mutation = || Mutation::at(LOOSE, "self.now.store(false, Relaxed)", Kind::Skipped);
    breaks(mutation, LOST, made_loose_and_replaced_while_flushed);
}

#[test]
fn broken_note_of_what_is_loose_that_is_not_taken_loses_a_change() {
    const NOTED: &str = "log.looseness.any.store(!self.loose.is_empty(), Release)";
    breaks(|| Mutation::at(LOOSE, NOTED, Kind::Skipped), LOST, made_loose_replaced_and_synced_while_flushed);
}
