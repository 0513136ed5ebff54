//! The order of changes: whoever appends a record, it has one place, and the places are in the order in which they were taken.
#![cfg(memfs_loom)]

use memfs::model::order::Changes;
use memfs_loom_tests::{Kind, Mutation, breaks, model};

const ORDER: &str = "src/order.rs";

fn appended_by_two() {
    /// The record that both met, then one's own.
    fn shared_then(changes: &Changes, own: usize) -> [u64; 2] {
        let user = changes.user();
        [user.append(0), user.append(own)]
    }
    model(
        || Changes::new(3),
        [|changes| shared_then(changes, 1), |changes| shared_then(changes, 2)],
        |changes, [one, two]| {
            assert_eq!(one[0], two[0], "one record, one place");
            assert!(one[0] < one[1] && two[0] < two[1], "what comes after it has a later place");
            let order = changes.user().take();
            assert!(order == [0, 1, 2] || order == [0, 2, 1], "each once, in order: {order:?}");
            assert_eq!(order[one[1] as usize - 1], 1, "places are those of the queue");
            (0..3).for_each(|number| changes.user().give_up(number));
        },
    );
}

#[test]
fn a_record_that_two_append_has_one_place() {
    appended_by_two();
}

fn appended_while_taken() {
    fn append(changes: &Changes) -> Vec<u32> {
        let user = changes.user();
        assert!(user.append(0) < user.append(1));
        Vec::new()
    }
    fn take(changes: &Changes) -> Vec<u32> {
        let user = changes.user();
        let mut taken = user.take();
        taken.extend(user.take());
        user.collect();
        taken
    }
    model(
        || Changes::new(2),
        [append, take],
        |changes, [_, mut taken]| {
            taken.extend(changes.user().take());
            assert_eq!(taken, [0, 1], "all, once, in order");
            (0..2).for_each(|number| changes.user().give_up(number));
        },
    );
}

#[test]
fn records_are_taken_while_others_are_appended() {
    appended_while_taken();
}

fn made_while_taken() {
    fn make(changes: &Changes) -> Vec<u32> {
        changes.user().append_fresh(7);
        Vec::new()
    }
    fn take(changes: &Changes) -> Vec<u32> {
        changes.user().take()
    }
    model(
        || Changes::new(0),
        [make, take],
        |changes, [_, mut taken]| {
            taken.extend(changes.user().take());
            assert_eq!(taken, [7], "all, once, as it was written");
        },
    );
}

#[test]
fn a_record_is_taken_as_it_was_written() {
    made_while_taken();
}

fn helped_after_it_was_taken() {
    fn append_and_give_up(changes: &Changes) {
        let user = changes.user();
        user.append(0);
        user.take();
        user.append(1);
        user.take();
        user.collect();
    }
    fn help(changes: &Changes) {
        changes.user().append(0);
    }
    model(
        || Changes::new(2),
        [append_and_give_up, help],
        |changes, _| {
            assert!(changes.user().take().is_empty(), "a record that was taken does not come back");
            (0..2).for_each(|number| changes.user().give_up(number));
        },
    );
}

#[test]
fn a_record_can_be_helped_after_it_was_taken() {
    helped_after_it_was_taken();
}

/// What a queue that is no queue any more comes to.
const BROKEN: [&str; 7] = [
    "one place",
    "later place",
    "each once",
    "all, once",
    "does not come back",
    "Causality violation",
    "exceeded",
];

#[test]
fn broken_append_to_a_tail_that_is_not_compared_loses_a_record() {
    let mutation = || Mutation::at(ORDER, "let next = match tail.next.compare_exchange(", Kind::Torn);
    breaks(mutation, &BROKEN, appended_by_two);
}

#[test]
fn broken_append_published_relaxed_shows_a_record_unwritten() {
    let mutation = || Mutation::at(ORDER, "let next = match tail.next.compare_exchange(", Kind::Relaxed);
    breaks(mutation, &["Causality violation"], made_while_taken);
}

#[test]
fn broken_append_that_does_not_see_its_place_appends_twice() {
    let mutation = || Mutation::at(ORDER, "self.place.load(Acquire)", Kind::Sees(0));
    breaks(mutation, &BROKEN, helped_after_it_was_taken);
}
