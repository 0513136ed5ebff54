//! The index: a name stands for one node, no name is an orphan, no instant shows a rename half done.
#![cfg(memfs_loom)]

use memfs::model::index::{NameUser, Names, Refusal};
use memfs_loom_tests::{Kind, Mutation, breaks, fails, model};

const MCAS: &str = "src/index/mcas.rs";
const TABLE: &str = "src/index/table.rs";

fn with<R>(names: &Names, run: impl FnOnce(&NameUser<'_>) -> R) -> R {
    run(&names.user())
}

fn empty() -> Names {
    Names::new()
}

/// Everything agrees, and everything is given back.
fn over(names: Names) {
    with(&names, |user| user.check());
    drop(names);
    assert_eq!(memfs::model::living(), 0, "memory was lost");
}

// ---------------------------------------------------------------- creation and removal

#[test]
fn of_two_who_make_one_name_one_does() {
    fn make(names: &Names) -> bool {
        with(names, |user| user.create_file("/a", 1).is_ok())
    }
    model(empty, [make, make], |names, made| {
        assert_eq!(made.iter().filter(|made| **made).count(), 1, "one makes the name, and one only");
        with(&names, |user| assert_eq!(user.read("/a"), Ok(1)));
        over(names);
    });
}

fn one_file() -> Names {
    let names = empty();
    with(&names, |user| user.create_file("/a", 1).expect("a free name"));
    names
}

fn made_and_removed() {
    fn remove(names: &Names) -> Result<u64, Refusal> {
        with(names, |user| user.remove_file("/a"))
    }
    fn make(names: &Names) -> Result<u64, Refusal> {
        with(names, |user| user.create_file("/a", 2).map(|_| 0))
    }
    model(one_file, [remove, make], |names, [removed, made]| {
        let now = with(&names, |user| user.read("/a"));
        match (removed, made) {
            (Ok(1), Ok(_)) => assert_eq!(now, Ok(2)),
            (Ok(1), Err(Refusal::AlreadyExists)) => assert_eq!(now, Err(Refusal::NotFound)),
            other => panic!("impossible: {other:?}"),
        }
        over(names);
    });
}

#[test]
fn a_name_is_made_while_it_is_removed() {
    made_and_removed();
}

/// A file that is removed when its creator has only just bound it.
fn removed_as_it_is_made() {
    fn make(names: &Names) -> Option<u64> {
        with(names, |user| user.create_file("/a", 7).expect("a free name"));
        None
    }
    fn remove(names: &Names) -> Option<u64> {
        with(names, |user| user.remove_file("/a").ok())
    }
    model(empty, [make, remove], |names, [_, removed]| {
        assert!(removed.is_none_or(|content| content == 7));
        over(names);
    });
}

#[test]
fn a_file_is_removed_as_soon_as_it_is_bound() {
    removed_as_it_is_made();
}

#[test]
fn a_file_is_opened_as_soon_as_it_is_bound() {
    fn make(names: &Names) {
        with(names, |user| user.create_file("/a", 7).expect("a free name"));
    }
    fn open(names: &Names) {
        let opened = with(names, |user| user.open("/a"));
        assert!([Ok(7), Err(Refusal::NotFound)].contains(&opened), "{opened:?}");
    }
    model(empty, [make, open], |names, _| over(names));
}

#[test]
fn a_name_is_looked_up_while_another_is_inserted_and_the_table_grows() {
    fn look(names: &Names) -> bool {
        with(names, |user| user.walk("/a").is_some())
    }
    fn insert(names: &Names) -> bool {
        with(names, |user| {
            user.grow();
            user.create_file("/b", 2).is_ok()
        })
    }
    model(one_file, [look, insert], |names, done| {
        assert_eq!(done, [true, true], "a name that is there is found");
        with(&names, |user| assert_eq!(user.read("/b"), Ok(2)));
        over(names);
    });
}

fn looked_up_and_removed(remove: fn(&Names) -> Result<u64, Refusal>) {
    fn read(names: &Names) -> Result<u64, Refusal> {
        with(names, |user| user.read("/a"))
    }
    model(one_file, [read, remove], |names, [read, removed]| {
        assert_eq!(removed, Ok(1));
        assert!([Ok(1), Err(Refusal::NotFound)].contains(&read), "{read:?}");
        over(names);
    });
}

#[test]
fn a_name_is_read_while_it_is_removed() {
    looked_up_and_removed(|names| {
        with(names, |user| {
            let removed = user.remove_file("/a");
            user.collect();
            removed
        })
    });
}

#[test]
fn broken_removal_that_frees_at_once_is_seen_by_a_reader() {
    fails(&["used after its end", "Causality violation"], || {
        looked_up_and_removed(|names| names.reckless_user().remove_file("/a"));
    });
}

#[test]
fn broken_insertion_published_relaxed_shows_a_dentry_unfilled() {
    let mutation =
        || Mutation::at(TABLE, "self.previous.next.compare_exchange(self.current, next", Kind::Relaxed);
    breaks(mutation, &["Causality violation", "used after", "panicked"], || {
        fn read(names: &Names) {
            with(names, |user| _ = user.walk("/a"));
        }
        fn make(names: &Names) {
            with(names, |user| _ = user.create_file("/a", 1));
        }
        model(empty, [read, make], |names, _| drop(names));
    });
}

#[test]
fn two_remove_one_name() {
    fn remove(names: &Names) -> bool {
        with(names, |user| user.remove_file("/a").is_ok())
    }
    model(one_file, [remove, remove], |names, removed| {
        assert_eq!(removed.iter().filter(|removed| **removed).count(), 1);
        over(names);
    });
}

// ---------------------------------------------------------------- directories

fn one_directory() -> Names {
    let names = empty();
    with(&names, |user| user.create_dir("/d").expect("a free name"));
    names
}

fn filled_and_removed() {
    fn fill(names: &Names) -> Result<(), Refusal> {
        with(names, |user| user.create_file("/d/a", 1).map(drop))
    }
    fn remove(names: &Names) -> Result<(), Refusal> {
        with(names, |user| user.remove_dir("/d"))
    }
    model(one_directory, [fill, remove], |names, done| {
        match done {
            [Ok(()), Err(Refusal::NotEmpty)] => {
                with(&names, |user| assert_eq!(user.read("/d/a"), Ok(1), "an orphan"));
            }
            [Err(Refusal::NotFound), Ok(())] => {
                with(&names, |user| assert_eq!(user.walk("/d"), None));
            }
            other => panic!("an orphan, or a directory that nobody removed: {other:?}"),
        }
        over(names);
    });
}

#[test]
fn a_directory_is_removed_or_filled_never_both() {
    filled_and_removed();
}

#[test]
fn broken_binding_without_a_look_at_the_directory_makes_an_orphan() {
    // 5 is OPEN.
    let mutation = || Mutation::at(MCAS, "let seen = body.state.load(Ordering::SeqCst);", Kind::Sees(5));
    breaks(mutation, &["orphan", "directory", "panicked"], filled_and_removed);
}

#[test]
fn broken_removal_without_its_fence_makes_an_orphan() {
    let mutation = || Mutation::nth(MCAS, "fence(Ordering::SeqCst);", 0, 2, Kind::Relaxed);
    breaks(mutation, &["orphan", "directory", "panicked"], filled_and_removed);
}

#[test]
fn parents_are_made_again_when_the_directory_goes() {
    fn fill(names: &Names) -> Result<(), Refusal> {
        with(names, |user| user.create_deep("/d/a", 1).map(drop))
    }
    fn remove(names: &Names) -> Result<(), Refusal> {
        with(names, |user| user.remove_dir("/d"))
    }
    model(one_directory, [fill, remove], |names, [filled, removed]| {
        assert_eq!(filled, Ok(()), "a write never finds its parent missing");
        assert!([Ok(()), Err(Refusal::NotEmpty)].contains(&removed));
        with(&names, |user| assert_eq!(user.read("/d/a"), Ok(1)));
        over(names);
    });
}

// ---------------------------------------------------------------- rename

fn renamed_and_looked_up() {
    fn rename(names: &Names) -> (Result<u64, Refusal>, Result<u64, Refusal>) {
        with(names, |user| user.rename("/a", "/b").expect("nothing in its way"));
        (Ok(1), Ok(1))
    }
    fn read(names: &Names) -> (Result<u64, Refusal>, Result<u64, Refusal>) {
        // The new name first: whoever finds it there, finds the old one gone.
        with(names, |user| {
            let new = user.read("/b");
            (new, user.read("/a"))
        })
    }
    model(one_file, [rename, read], |names, [_, (new, old)]| {
        match (new, old) {
            (Ok(1), Err(Refusal::NotFound)) | (Err(Refusal::NotFound), Ok(1) | Err(Refusal::NotFound)) => {}
            other => panic!("a rename half done: {other:?}"),
        }
        with(&names, |user| assert_eq!((user.read("/a"), user.read("/b")), (Err(Refusal::NotFound), Ok(1))));
        over(names);
    });
}

#[test]
fn a_rename_is_seen_whole() {
    renamed_and_looked_up();
}

#[test]
fn who_finds_the_old_name_gone_finds_the_new_one() {
    fn rename(names: &Names) -> (Result<u64, Refusal>, Result<u64, Refusal>) {
        with(names, |user| user.rename("/a", "/b").expect("nothing in its way"));
        (Ok(1), Ok(1))
    }
    fn read(names: &Names) -> (Result<u64, Refusal>, Result<u64, Refusal>) {
        with(names, |user| {
            let old = user.read("/a");
            (old, user.read("/b"))
        })
    }
    model(one_file, [rename, read], |names, [_, (old, new)]| {
        match (old, new) {
            (Ok(1), _) | (Err(Refusal::NotFound), Ok(1)) => {}
            other => panic!("a rename half done: {other:?}"),
        }
        over(names);
    });
}

#[test]
fn broken_rename_that_changes_one_name_before_it_is_decided_is_seen() {
    // The status is what both names are read by: read as undecided, the old name outlives the change.
    let mutation =
        || Mutation::at("src/index/descriptor.rs", "match self.status.load(Ordering::SeqCst)", Kind::Sees(0));
    breaks(mutation, &["half done", "panicked", "exceeded"], renamed_and_looked_up);
}

fn two_files() -> Names {
    let names = one_file();
    with(&names, |user| user.create_file("/b", 2).expect("a free name"));
    names
}

#[test]
fn two_renames_of_one_file_leave_it_one_name() {
    fn to_b(names: &Names) -> bool {
        with(names, |user| user.rename("/a", "/b").is_ok())
    }
    fn to_c(names: &Names) -> bool {
        with(names, |user| user.rename("/a", "/c").is_ok())
    }
    model(one_file, [to_b, to_c], |names, done| {
        assert_eq!(done.iter().filter(|done| **done).count(), 1, "a file has one name to lose");
        let found = with(&names, |user| (user.read("/b"), user.read("/c")));
        let expected =
            if done[0] { (Ok(1), Err(Refusal::NotFound)) } else { (Err(Refusal::NotFound), Ok(1)) };
        assert_eq!(found, expected);
        over(names);
    });
}

#[test]
fn renames_that_cross_happen_one_after_the_other() {
    fn there(names: &Names) -> Result<Option<u64>, Refusal> {
        with(names, |user| user.rename("/a", "/b"))
    }
    fn back(names: &Names) -> Result<Option<u64>, Refusal> {
        with(names, |user| user.rename("/b", "/a"))
    }
    model(two_files, [there, back], |names, done| {
        let now = with(&names, |user| (user.read("/a"), user.read("/b")));
        match done {
            // There, then back: /a over /b, and home again.
            [Ok(Some(2)), Ok(None)] => assert_eq!(now, (Ok(1), Err(Refusal::NotFound))),
            // Back, then there.
            [Ok(None), Ok(Some(1))] => assert_eq!(now, (Err(Refusal::NotFound), Ok(2))),
            // The model's memory is that of a few names: one that had to begin again may find none, and then changes nothing.
            [Ok(Some(2)), Err(Refusal::Memory)] => assert_eq!(now, (Err(Refusal::NotFound), Ok(1))),
            [Err(Refusal::Memory), Ok(Some(1))] => assert_eq!(now, (Ok(2), Err(Refusal::NotFound))),
            other => panic!("not one after the other: {other:?}"),
        }
        over(names);
    });
}

/// A file is replaced by a rename while it is written: what was written is gone with it, or it is what came after.
fn replaced_and_written(write: fn(&Names) -> u64) {
    fn rename(names: &Names) -> u64 {
        with(names, |user| user.rename("/a", "/b").expect("files").expect("one is replaced"))
    }
    model(two_files, [rename, write], |names, [gone, before]| {
        let now = with(&names, |user| user.read("/b")).expect("a file");
        match (gone, before, now) {
            // Written, then replaced.
            (9, 2, 1) => {}
            // Replaced, then written.
            (2, 1, 9) => {}
            other => panic!("the write is lost, or went to a file without the name: {other:?}"),
        }
        over(names);
    });
}

#[test]
fn a_write_to_a_name_that_is_renamed_over_comes_before_or_after() {
    replaced_and_written(|names| with(names, |user| user.write("/b", 9).expect("a file")));
}

#[test]
fn broken_write_that_does_not_ask_whether_the_name_is_settled_is_lost() {
    fails(&["the write is lost"], || {
        replaced_and_written(|names| with(names, |user| user.write_unsettled("/b", 9).expect("a file")));
    });
}

#[test]
fn broken_rename_that_does_not_warn_writers_loses_a_write() {
    let mutation =
        || Mutation::at("src/index/node.rs", "self.content.fetch_add(1 << BINDING_SHIFT", Kind::Skipped);
    breaks(mutation, &["the write is lost"], || {
        replaced_and_written(|names| with(names, |user| user.write("/b", 9).expect("a file")));
    });
}

#[test]
fn broken_warning_without_release_loses_a_write() {
    let mutation =
        || Mutation::at("src/index/node.rs", "self.content.fetch_add(1 << BINDING_SHIFT", Kind::Relaxed);
    breaks(mutation, &["the write is lost"], || {
        replaced_and_written(|names| with(names, |user| user.write("/b", 9).expect("a file")));
    });
}

#[test]
fn a_write_to_a_file_that_is_removed_comes_before_or_not_at_all() {
    fn write(names: &Names) -> Result<u64, Refusal> {
        with(names, |user| user.write("/a", 9))
    }
    fn remove(names: &Names) -> Result<u64, Refusal> {
        with(names, |user| user.remove_file("/a"))
    }
    model(one_file, [write, remove], |names, done| {
        match done {
            [Ok(1), Ok(9)] | [Err(Refusal::NotFound), Ok(1)] => {}
            other => panic!("a write to a file without a name: {other:?}"),
        }
        over(names);
    });
}

// ---------------------------------------------------------------- directories that move

fn directory_with_a_file() -> Names {
    let names = one_directory();
    with(&names, |user| user.create_file("/d/a", 1).expect("a free name"));
    names
}

#[test]
fn a_path_is_looked_up_while_its_directory_moves() {
    fn rename(names: &Names) -> (Result<u64, Refusal>, Result<u64, Refusal>) {
        with(names, |user| user.rename("/d", "/e").expect("nothing in its way"));
        (Ok(1), Ok(1))
    }
    fn read(names: &Names) -> (Result<u64, Refusal>, Result<u64, Refusal>) {
        with(names, |user| {
            let old = user.read("/d/a");
            (old, user.read("/e/a"))
        })
    }
    model(directory_with_a_file, [rename, read], |names, [_, (old, new)]| {
        match (old, new) {
            (Ok(1), _) | (Err(Refusal::NotFound), Ok(1)) => {}
            other => panic!("a move half done: {other:?}"),
        }
        with(&names, |user| assert_eq!(user.read("/e/a"), Ok(1)));
        over(names);
    });
}

#[test]
fn a_file_is_made_in_a_directory_that_moves() {
    fn rename(names: &Names) -> Result<(), Refusal> {
        with(names, |user| user.rename("/d", "/e").map(drop))
    }
    fn make(names: &Names) -> Result<(), Refusal> {
        with(names, |user| user.create_file("/d/b", 2).map(drop))
    }
    model(one_directory, [rename, make], |names, [moved, made]| {
        assert_eq!(moved, Ok(()));
        let found = with(&names, |user| user.read("/e/b"));
        match made {
            Ok(()) => assert_eq!(found, Ok(2)),
            Err(Refusal::NotFound) => assert_eq!(found, Err(Refusal::NotFound)),
            other => panic!("{other:?}"),
        }
        over(names);
    });
}

#[test]
fn a_listing_shows_what_is_there_throughout_once() {
    fn list(names: &Names) -> Vec<String> {
        with(names, |user| user.list("/").expect("the root"))
    }
    fn change(names: &Names) -> Vec<String> {
        with(names, |user| {
            user.create_file("/c", 3).expect("a free name");
            user.remove_file("/b").expect("a file");
        });
        Vec::new()
    }
    model(two_files, [list, change], |names, [listed, _]| {
        assert_eq!(listed.iter().filter(|name| *name == "a").count(), 1, "{listed:?}");
        over(names);
    });
}

// ---------------------------------------------------------------- numbers that are used again

const MOVES: &str = "src/index/moves.rs";

/// `/d` and `/d/a` have gone, and nobody is pinned: what they were called by is to be had again. That `/d` led to the directory was
/// noted.
fn gone() -> Names {
    let names = directory_with_a_file();
    with(&names, |user| {
        assert_eq!(user.read("/d/a"), Ok(1));
        remove_all(user);
        // The rest of the way is the model's.
        user.collect();
    });
    names
}

fn remove_all(user: &NameUser<'_>) {
    user.remove_file("/d/a").expect("a file");
    user.remove_dir("/d").expect("empty");
}

/// Another directory and a file of the same name in it; whether they are called by the old numbers.
fn use_again(user: &NameUser<'_>) -> bool {
    (0..2).for_each(|_| user.collect());
    let directory = user.create_dir("/e").expect("a free name");
    let file = user.create_file("/e/a", 9).expect("a free name");
    (directory, file) == NUMBERS
}

/// What the first directory and the first file are called by.
const NUMBERS: (u32, u32) = (2, 3);

/// By the cache the old path leads to the number of the new file, whose name is the same, in a directory that was noted for it.
fn looked_for_while_used_again() {
    // Where the other stands in the middle of his look, nothing is free, and it is other numbers.
    fn make(names: &Names) {
        with(names, |user| _ = use_again(user));
    }
    fn look(names: &Names) {
        let found = with(names, |user| user.read("/d/a"));
        assert_eq!(found, Err(Refusal::NotFound), "an answer for what the number was once");
    }
    model(gone, [make, look], |names, _| {
        look(&names);
        with(&names, |user| assert_eq!(user.read("/e/a"), Ok(9)));
        over(names);
    });
}

#[test]
fn a_path_is_looked_up_while_the_number_of_its_former_directory_is_used_again() {
    looked_for_while_used_again();
}

/// Who has gone up notes what he found, however late.
fn noted_while_removed() {
    fn look(names: &Names) {
        let found = with(names, |user| user.read("/d/a"));
        assert!([Ok(1), Err(Refusal::NotFound)].contains(&found), "{found:?}");
    }
    fn remove(names: &Names) {
        with(names, remove_all);
    }
    model(directory_with_a_file, [look, remove], |names, _| {
        // What was retired waits with the thread that did it.
        [names.user(), names.user(), names.user()].iter().for_each(NameUser::collect);
        with(&names, |user| {
            assert!(use_again(user), "other numbers: nothing was tried");
            let found = user.read("/d/a");
            assert_eq!(found, Err(Refusal::NotFound), "an answer for what the number was once");
            assert_eq!(user.read("/e/a"), Ok(9));
        });
        over(names);
    });
}

#[test]
fn where_a_directory_is_can_be_noted_while_it_is_removed() {
    noted_while_removed();
}

#[test]
fn broken_number_that_is_freed_without_a_new_stamp_answers_for_its_former_path() {
    let mutation = || Mutation::at(MOVES, "self.freed.fetch_add(1", Kind::Skipped);
    breaks(mutation, &["what the number was once"], looked_for_while_used_again);
}

#[test]
fn broken_stamp_of_moves_alone_lets_what_was_noted_late_answer() {
    let mutation = || Mutation::at(MOVES, "self.freed.load(Ordering::Relaxed)", Kind::Sees(0));
    breaks(mutation, &["what the number was once"], noted_while_removed);
}
