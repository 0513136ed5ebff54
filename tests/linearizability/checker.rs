//! The checker refuses what is not linearizable, and only that.

use crate::{
    common::linear::{Event, Object, order_of},
    files::{Answer, Call, Files, Op},
};

/// A register of one number.
struct Register;

#[derive(Debug)]
enum Access {
    Set(u8),
    Saw(u8),
}

impl Object for Register {
    type State = u8;
    type Call = Access;

    fn start() -> u8 {
        0
    }

    fn step(&state: &u8, call: &Access) -> Option<u8> {
        match *call {
            Access::Set(value) => Some(value),
            Access::Saw(value) => (value == state).then_some(state),
        }
    }
}

fn event<C>(thread: usize, called: u64, returned: u64, call: C) -> Event<C> {
    Event { thread, called, returned, call }
}

fn explained(history: Vec<Event<Access>>) -> bool {
    order_of::<Register>(&history).is_some()
}

#[test]
fn a_read_during_a_write_may_see_either_value() {
    for seen in [0, 1] {
        assert!(explained(vec![event(0, 1, 10, Access::Set(1)), event(1, 2, 3, Access::Saw(seen))]));
    }
}

#[test]
fn a_read_after_a_write_returned_sees_it() {
    assert!(!explained(vec![event(0, 1, 2, Access::Set(1)), event(1, 3, 4, Access::Saw(0))]));
}

#[test]
fn a_value_nobody_wrote_is_refused() {
    assert!(!explained(vec![event(0, 1, 10, Access::Set(1)), event(1, 2, 3, Access::Saw(2))]));
}

#[test]
fn two_readers_that_see_two_writes_in_opposite_orders_are_refused() {
    let history = vec![
        event(0, 1, 100, Access::Set(1)),
        event(1, 1, 100, Access::Set(2)),
        event(2, 10, 11, Access::Saw(1)),
        event(2, 12, 13, Access::Saw(2)),
        event(3, 10, 11, Access::Saw(2)),
        event(3, 12, 13, Access::Saw(1)),
    ];
    assert!(!explained(history));
}

#[test]
fn a_reader_that_goes_back_in_time_is_refused() {
    let history = vec![
        event(0, 1, 100, Access::Set(1)),
        event(1, 10, 11, Access::Saw(1)),
        event(2, 20, 21, Access::Saw(0)),
    ];
    assert!(!explained(history));
}

#[test]
fn an_order_is_found_that_respects_returns() {
    let history = vec![
        event(0, 1, 50, Access::Set(1)),
        event(1, 2, 60, Access::Set(2)),
        event(0, 70, 80, Access::Saw(1)),
    ];
    assert_eq!(order_of::<Register>(&history), Some(vec![1, 0, 2]));
}

#[test]
fn many_concurrent_writes_are_refused_in_a_moment() {
    // Without the memory of what was tried this takes 14! steps.
    let mut history: Vec<_> = (0..14).map(|i| event(i, 1, 1000, Access::Set((i % 3) as u8 + 1))).collect();
    history.push(event(99, 2000, 2001, Access::Saw(9)));
    assert!(!explained(history));
}

fn files(history: Vec<(u64, u64, Op, Answer)>) -> bool {
    let history: Vec<_> = history
        .into_iter()
        .map(|(called, returned, op, answer)| event(0, called, returned, Call { op, answer }))
        .collect();
    order_of::<Files>(&history).is_some()
}

const A: usize = 0;
const B: usize = 1;

#[test]
fn a_rename_seen_half_done_is_refused() {
    // The file is seen under neither name while it is being renamed.
    let base = |from_b: Answer| {
        vec![
            (1, 2, Op::Write { path: A, tag: 7, blocks: 2 }, Answer::Done),
            (10, 90, Op::Rename { from: A, to: B }, Answer::Done),
            (20, 21, Op::Read { path: A }, Answer::Missing),
            (30, 31, Op::Read { path: B }, from_b),
        ]
    };
    assert!(!files(base(Answer::Missing)));
    assert!(files(base(Answer::Content(vec![7, 7]))));
}

#[test]
fn a_file_seen_under_both_names_one_after_the_other_is_refused() {
    assert!(!files(vec![
        (1, 2, Op::Write { path: A, tag: 7, blocks: 1 }, Answer::Done),
        (10, 90, Op::Rename { from: A, to: B }, Answer::Done),
        (20, 21, Op::Read { path: B }, Answer::Content(vec![7])),
        (30, 31, Op::Exists { path: A }, Answer::Is(true)),
    ]));
}

#[test]
fn a_mixture_of_two_writes_is_refused() {
    assert!(!files(vec![
        (1, 50, Op::Write { path: A, tag: 7, blocks: 2 }, Answer::Done),
        (1, 50, Op::Write { path: A, tag: 8, blocks: 2 }, Answer::Done),
        (60, 61, Op::Read { path: A }, Answer::Content(vec![7, 8])),
    ]));
}

#[test]
fn a_lost_append_is_refused() {
    assert!(!files(vec![
        (1, 50, Op::Append { path: A, tag: 7, blocks: 1 }, Answer::Done),
        (1, 50, Op::Append { path: A, tag: 8, blocks: 1 }, Answer::Done),
        (60, 61, Op::Read { path: A }, Answer::Content(vec![8])),
    ]));
}

#[test]
fn two_successful_exclusive_creates_without_a_remove_are_refused() {
    let history = |second: Answer| {
        vec![
            (1, 50, Op::CreateNew { path: A, tag: 7, blocks: 1 }, Answer::Done),
            (1, 50, Op::CreateNew { path: A, tag: 8, blocks: 1 }, second),
        ]
    };
    assert!(!files(history(Answer::Done)));
    assert!(files(history(Answer::Taken)));
}
