//! Names where an order of changes is kept: the order, played back, gives the tree that there is; and nobody sees a change
//! that has no place in it, so whatever is based on a change comes after it.
#![cfg(memfs_loom)]

use memfs::model::index::{NameUser, Names, Refusal};
use memfs_loom_tests::{Kind, Mutation, breaks, model};

const ORDER: &str = "src/order.rs";
const DESCRIPTOR: &str = "src/index/descriptor.rs";

fn with<R>(names: &Names, run: impl FnOnce(&NameUser<'_>) -> R) -> R {
    run(&names.user())
}

/// The order says what there is, everything agrees, and everything is given back.
fn over(names: Names) {
    with(&names, |user| {
        user.check_order();
        user.check();
    });
    drop(names);
    assert_eq!(memfs::model::living(), 0, "memory was lost");
}

fn empty() -> Names {
    Names::in_order()
}

/// `/a`, in an order of one change.
fn one_file() -> Names {
    let names = empty();
    with(&names, |user| user.create_file("/a", 1).expect("a free name"));
    names
}

fn two_files() -> Names {
    let names = one_file();
    with(&names, |user| user.create_file("/b", 2).expect("a free name"));
    names
}

/// `/d`, an empty directory.
fn directory() -> Names {
    let names = empty();
    with(&names, |user| user.create_dir("/d").expect("a free name"));
    names
}

// ---------------------------------------------------------------- creation

fn two_make_one_name() {
    fn make(names: &Names) -> bool {
        with(names, |user| user.create_file("/a", 1).is_ok())
    }
    model(empty, [make, make], |names, made| {
        assert_eq!(made.iter().filter(|made| **made).count(), 1, "one makes the name, and one only");
        with(&names, |user| assert_eq!(user.placed(), 1, "one change, one place"));
        over(names);
    });
}

#[test]
fn of_two_who_make_one_name_one_has_a_place() {
    two_make_one_name();
}

/// One makes a name; the other, if it sees it, says so and makes another, which then has the later place.
fn seen_as_it_is_made() {
    fn make(names: &Names) {
        with(names, |user| _ = user.create_file("/a", 1).expect("a free name"));
    }
    fn look(names: &Names) {
        with(names, |user| {
            if user.lookup("/a").is_ok() {
                assert_eq!(user.placed(), 1, "seen, and without a place");
            }
        });
    }
    model(empty, [make, look], |names, _| over(names));
}

#[test]
fn who_sees_a_name_that_is_made_finds_it_in_the_order() {
    seen_as_it_is_made();
}

/// What is refused is based on what was seen, too.
fn refused_as_it_is_made() {
    fn make(names: &Names) -> Option<Refusal> {
        with(names, |user| user.create_dir("/d").expect("a free name"));
        None
    }
    fn make_below(names: &Names) -> Option<Refusal> {
        with(names, |user| user.create_file("/d/a", 1).err())
    }
    model(empty, [make, make_below], |names, [_, refused]| {
        assert!(refused.is_none_or(|refusal| refusal == Refusal::NotFound));
        over(names);
    });
}

#[test]
fn what_is_made_in_a_new_directory_comes_after_it() {
    refused_as_it_is_made();
}

/// A flusher takes the change, lets go of it, and frees what it can, while a second thread may still complete it.
fn flushed_as_it_is_made() {
    fn make(names: &Names) {
        with(names, |user| _ = user.create_file("/a", 1));
    }
    fn flush(names: &Names) {
        with(names, |user| {
            user.flush();
            user.collect();
        });
    }
    model(empty, [make, make, flush], |names, _| over(names));
}

#[test]
fn a_change_that_was_flushed_can_still_be_completed() {
    flushed_as_it_is_made();
}

// ---------------------------------------------------------------- removal

fn removed_and_made() {
    fn remove(names: &Names) -> bool {
        with(names, |user| user.remove_file("/a").is_ok())
    }
    fn make(names: &Names) -> bool {
        with(names, |user| user.create_file("/a", 2).is_ok())
    }
    model(one_file, [remove, make], |names, [removed, _]| {
        assert!(removed);
        over(names);
    });
}

#[test]
fn a_name_is_made_while_it_is_removed() {
    removed_and_made();
}

#[test]
fn of_two_who_remove_one_name_one_has_a_place() {
    fn remove(names: &Names) -> bool {
        with(names, |user| user.remove_file("/a").is_ok())
    }
    model(one_file, [remove, remove], |names, removed| {
        assert_eq!(removed.iter().filter(|removed| **removed).count(), 1);
        with(&names, |user| assert_eq!(user.placed(), 2, "one change, one place"));
        over(names);
    });
}

#[test]
fn of_two_who_remove_one_directory_one_has_a_place() {
    fn remove(names: &Names) -> bool {
        with(names, |user| user.remove_dir("/d").is_ok())
    }
    model(directory, [remove, remove], |names, removed| {
        assert_eq!(removed.iter().filter(|removed| **removed).count(), 1);
        with(&names, |user| assert_eq!(user.placed(), 2, "one change, one place"));
        over(names);
    });
}

fn directory_removed_or_filled() {
    fn remove(names: &Names) -> bool {
        with(names, |user| user.remove_dir("/d").is_ok())
    }
    fn fill(names: &Names) -> bool {
        with(names, |user| user.create_file("/d/a", 1).is_ok())
    }
    model(directory, [remove, fill], |names, [removed, filled]| {
        assert!(removed != filled, "removed and filled, or neither: {removed}");
        over(names);
    });
}

#[test]
fn a_directory_is_removed_or_filled_never_both() {
    directory_removed_or_filled();
}

// ---------------------------------------------------------------- rename

/// One renames; who sees the new name finds the change in the order, and what he does has the later place.
fn renamed_as_it_is_looked_up() {
    fn rename(names: &Names) -> bool {
        with(names, |user| user.rename("/a", "/b").is_ok())
    }
    fn look(names: &Names) -> bool {
        with(names, |user| {
            let is_new = user.lookup("/b").is_ok();
            if is_new {
                assert_eq!(user.placed(), 2, "seen, and without a place");
            }
            is_new
        })
    }
    model(one_file, [rename, look], |names, _| over(names));
}

#[test]
fn who_sees_the_new_name_finds_the_rename_in_the_order() {
    renamed_as_it_is_looked_up();
}

#[test]
fn who_finds_the_old_name_gone_finds_the_rename_in_the_order() {
    fn rename(names: &Names) {
        with(names, |user| _ = user.rename("/a", "/b").expect("a file"));
    }
    fn make_old(names: &Names) {
        // Succeeds only after the rename; the order, played, would find the name taken otherwise.
        with(names, |user| _ = user.create_file("/a", 2));
    }
    model(one_file, [rename, make_old], |names, _| over(names));
}

fn two_rename_one_file() {
    fn to_c(names: &Names) -> bool {
        with(names, |user| user.rename("/a", "/c").is_ok())
    }
    fn to_d(names: &Names) -> bool {
        with(names, |user| user.rename("/a", "/d").is_ok())
    }
    model(one_file, [to_c, to_d], |names, renamed| {
        assert_eq!(renamed.iter().filter(|renamed| **renamed).count(), 1, "the old name went once");
        with(&names, |user| assert_eq!(user.placed(), 2, "one change, one place"));
        over(names);
    });
}

#[test]
fn of_two_renames_of_one_file_one_has_a_place() {
    two_rename_one_file();
}

fn crossing_renames() {
    fn there(names: &Names) -> bool {
        with(names, |user| user.rename("/a", "/b").is_ok())
    }
    fn back(names: &Names) -> bool {
        with(names, |user| user.rename("/b", "/a").is_ok())
    }
    model(two_files, [there, back], |names, [there, back]| {
        assert!(there || back, "neither was first");
        with(&names, |user| assert_eq!(user.placed(), 2 + u64::from(there) + u64::from(back)));
        over(names);
    });
}

#[test]
fn renames_that_cross_have_places_one_after_the_other() {
    crossing_renames();
}

// ---------------------------------------------------------------- broken

const BROKEN: &[&str] =
    &["the order", "place", "exceeded", "used after its end", "Causality", "memory was lost"];

#[test]
fn broken_append_that_does_not_see_the_place_appends_a_change_twice() {
    let mutation = || Mutation::at(ORDER, "self.place.load(Acquire)", Kind::Sees(0));
    breaks(mutation, BROKEN, two_make_one_name);
}

#[test]
fn broken_append_in_two_steps_loses_a_change() {
    let mutation = || Mutation::at(ORDER, "let next = match tail.next.compare_exchange(", Kind::Torn);
    breaks(mutation, BROKEN, || {
        fn make_a(names: &Names) {
            with(names, |user| _ = user.create_file("/a", 1).expect("a free name"));
        }
        fn make_b(names: &Names) {
            with(names, |user| _ = user.create_file("/b", 1).expect("a free name"));
        }
        model(empty, [make_a, make_b], |names, _| over(names));
    });
}

#[test]
fn broken_decision_in_two_steps_is_taken_both_ways() {
    let mutation =
        || Mutation::at(DESCRIPTOR, "self.status.compare_exchange(undecided, status as u32", Kind::Torn);
    breaks(mutation, &["the order", "place", "removed and filled", "exceeded", "panicked"], || {
        directory_removed_or_filled();
        crossing_renames();
        two_make_one_name();
    });
}
