//! The sketch: counts and ageing at once neither tear a counter nor spill into its neighbours.
#![cfg(memfs_loom)]

use memfs::model::scorer::Counts;
use memfs_loom_tests::{Kind, Mutation, breaks, fails, model};

const SKETCH: &str = "src/scorer/sketch.rs";

fn counted(times: u8) -> Counts {
    let counts = Counts::new();
    (0..times).for_each(|_| assert!(counts.user().record(1)));
    counts
}

fn record(counts: &Counts) {
    counts.user().record(1);
}

fn halve(counts: &Counts) {
    counts.user().halve();
}

fn counted_and_aged() {
    model(
        || counted(4),
        [record, halve],
        |counts, _| {
            let estimate = counts.user().estimate(1);
            // Before the halving, or after, or lost to it.
            assert!((2..=3).contains(&estimate), "{estimate} is no count of 4 and 1, halved");
        },
    );
}

#[test]
fn an_increment_meets_ageing() {
    counted_and_aged();
}

/// Two batches that together pay for one halving.
fn two_pay_for_one_halving() {
    fn pay_half(counts: &Counts) {
        counts.user().pay(20);
    }
    model(
        || counted(8),
        [pay_half, pay_half],
        |counts, _| {
            assert_eq!(counts.user().estimate(1), 4, "halved once, by whoever paid last");
        },
    );
}

#[test]
fn two_batches_pay_for_one_halving() {
    two_pay_for_one_halving();
}

#[test]
fn broken_payment_in_two_steps_is_lost() {
    let mutation = || Mutation::at(SKETCH, "self.owed.fetch_add(increments, Relaxed)", Kind::Torn);
    breaks(mutation, &["halved once"], two_pay_for_one_halving);
}

#[test]
fn broken_payment_that_is_not_taken_off_is_used_twice() {
    let mutation = || Mutation::at(SKETCH, "self.owed.compare_exchange(owed, rest", Kind::Skipped);
    breaks(mutation, &["halved once"], || {
        fn pay(counts: &Counts) {
            counts.user().pay(40);
        }
        fn pay_nothing(counts: &Counts) {
            counts.user().pay(0);
        }
        model(
            || counted(8),
            [pay, pay_nothing],
            |counts, _| {
                assert_eq!(counts.user().estimate(1), 4, "halved once, by whoever paid last");
            },
        );
    });
}

#[test]
fn two_increments_count_at_least_one() {
    model(
        || counted(4),
        [record, record],
        |counts, _| {
            let estimate = counts.user().estimate(1);
            assert!((5..=6).contains(&estimate), "{estimate}");
        },
    );
}

#[test]
fn a_counter_that_is_nearly_full_does_not_spill() {
    model(|| counted(14), [record, record], |counts, _| assert_eq!(counts.user().estimate(1), 15));
}

fn counted_while_growing(grow: fn(&Counts)) {
    model(
        || counted(4),
        [record, grow],
        |counts, _| {
            let estimate = counts.user().estimate(1);
            assert!((4..=5).contains(&estimate), "growing keeps what was counted: {estimate}");
            drop(counts);
            assert_eq!(memfs::model::living(), 0, "a table is lost");
        },
    );
}

#[test]
fn growing_keeps_what_was_counted() {
    counted_while_growing(|counts| {
        let user = counts.user();
        user.grow();
        user.collect();
    });
}

#[test]
fn two_grow_at_once() {
    fn grow(counts: &Counts) {
        counts.user().grow();
    }
    model(
        || counted(4),
        [grow, grow],
        |counts, _| {
            assert_eq!(counts.user().estimate(1), 4);
            drop(counts);
            assert_eq!(memfs::model::living(), 0, "a table is lost");
        },
    );
}

#[test]
fn broken_growth_published_relaxed_shows_a_table_unfilled() {
    let mutation =
        || Mutation::at(SKETCH, "self.table.compare_exchange(old, new, AcqRel, Acquire)", Kind::Relaxed);
    breaks(mutation, &["Causality violation", "panicked"], || {
        counted_while_growing(|counts| _ = counts.user().grow());
    });
}

#[test]
fn broken_growth_that_frees_at_once_is_seen() {
    fails(&["used after its end", "Causality violation"], || {
        counted_while_growing(|counts| _ = counts.user().grow_recklessly());
    });
}
