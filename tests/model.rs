//! Sequences of operations against a plain model: whatever the store answers, the model answers too.

mod common;

#[path = "model/apply.rs"]
mod apply;
#[path = "model/check.rs"]
mod check;
#[path = "model/ops.rs"]
mod ops;
#[path = "model/plain.rs"]
mod plain;

use common::stores::validate;
use memfs::MemFs;
use proptest::{
    prelude::*,
    test_runner::{Config, FileFailurePersistence},
};

/// The shapes of store that the sequences run on.
#[derive(Clone, Copy, Debug)]
struct Shape {
    limit_bytes: u64,
    chunk_bytes: usize,
    workers: usize,
}

fn shape() -> impl Strategy<Value = Shape> {
    let limits = prop_oneof![Just(512 << 10), Just(1 << 20), Just(2 << 20)];
    let chunks = prop_oneof![Just(4096), Just(16 << 10), Just(64 << 10)];
    (limits, chunks, prop_oneof![3 => Just(0), 1 => Just(2)])
        .prop_map(|(limit_bytes, chunk_bytes, workers)| Shape { limit_bytes, chunk_bytes, workers })
}

impl Shape {
    fn build(&self) -> MemFs {
        MemFs::builder()
            .memory_limit_bytes(self.limit_bytes)
            .chunk_size(self.chunk_bytes)
            .segment_size(256 << 10)
            .worker_threads(self.workers)
            .priority_boost_threshold(3)
            .build()
            .unwrap()
    }
}

fn run(shape: Shape, ops: &[ops::Op]) {
    let mut pair = apply::Pair::new(shape.build(), shape.limit_bytes);
    for op in ops {
        pair.apply(op);
    }
    check::all_agrees(&mut pair);
    if pair.held.is_empty() || ops.len().is_multiple_of(2) {
        // The structures are checked when nobody holds anything.
        pair.held.clear();
        validate(pair.fs());
    }
    check::closed_store_keeps_what_is_held(pair);
}

proptest! {
    #![proptest_config(Config {
        cases: 300,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..Config::default()
    })]

    #[test]
    fn the_store_and_a_plain_model_agree(
        (shape, ops) in shape().prop_flat_map(|shape| {
            (Just(shape), prop::collection::vec(ops::op(shape.chunk_bytes), 1..120))
        })
    ) {
        run(shape, &ops);
    }
}
