//! Figures for docs/design/journal.md, by hand:
//! `cargo test --release --lib journal::tests::measure -- --ignored --nocapture --test-threads 1`

use super::super::{Batch, Entry, Journal, Kind, StoreParams};
use crate::segment::RealDisk;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

const FILES: u32 = 1_000_000;

fn params() -> StoreParams {
    StoreParams { store_id: 1, chunk_bytes: 1 << 20, opaque: [0; 64] }
}

/// Appends the making of files `ids`, a thousand to a batch.
fn make_files(journal: &mut Journal, ids: std::ops::Range<u32>) {
    let mut batch = Batch::new(journal.next_seq());
    for id in ids {
        let name = format!("{id:0>100}");
        let (parent, kind) = (2 + id % 1000, Kind::File);
        let made =
            Entry::Make { id, parent, kind, name: &name, created_ns: 1, modified_ns: 1 << 60, priority: 5 };
        batch.push(&made);
        let chunks = [(0, u64::from(id) << 20 | 100)];
        batch.push(&Entry::Content { id, modified_ns: 1 << 60, len: 100, reset: true, chunks: &chunks });
        batch.end_operation();
        if id % 1000 == 999 {
            journal.append(&batch).unwrap();
            batch.restart(journal.next_seq());
        }
    }
    journal.append(&batch).unwrap();
}

fn make_directories(journal: &mut Journal) {
    let mut batch = Batch::new(journal.next_seq());
    for id in 2..1002 {
        let (name, kind) = (id.to_string(), Kind::Directory);
        batch.push(&Entry::Make {
            id,
            parent: 1,
            kind,
            name: &name,
            created_ns: 1,
            modified_ns: 1,
            priority: 5,
        });
        batch.end_operation();
    }
    journal.append(&batch).unwrap();
}

fn open(dir: &Path) -> (Journal, Duration, u64) {
    let start = Instant::now();
    let mut opened = Journal::open(Arc::new(RealDisk), dir).unwrap().unwrap();
    let mut sum = 0;
    opened.recovery.visit_directories(|node| Ok(sum += node.name.len() as u64)).unwrap();
    opened.recovery.visit_files(|node| Ok(sum += node.chunks.len() as u64)).unwrap();
    (opened.journal, start.elapsed(), sum)
}

#[test]
#[ignore = "a measurement: takes half a minute, and proves nothing"]
fn opening_and_checkpoints_of_a_million_files() {
    let home = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(Arc::new(RealDisk), home.path(), &params()).unwrap();
    make_directories(&mut journal);
    make_files(&mut journal, 2000..FILES);
    println!("journal of all: {} MiB", journal.journal_bytes() >> 20);
    journal.close().unwrap();
    let (mut journal, took, _) = open(home.path());
    println!("read from the journal alone in {took:?}");
    let start = Instant::now();
    journal.checkpoint().unwrap();
    println!("checkpoint of all in {:?}: {} MiB", start.elapsed(), journal.checkpoint_bytes() >> 20);
    journal.close().unwrap();
    for _ in 0..3 {
        let (journal, took, sum) = open(home.path());
        println!("read from the checkpoint in {took:?} ({sum})");
        journal.close().unwrap();
    }
    let (mut journal, ..) = open(home.path());
    make_files(&mut journal, FILES..FILES + FILES / 3);
    println!("journal of a third: {} MiB", journal.journal_bytes() >> 20);
    journal.close().unwrap();
    let (mut journal, took, _) = open(home.path());
    println!("read from checkpoint and journal in {took:?}");
    let start = Instant::now();
    journal.checkpoint().unwrap();
    println!("another checkpoint in {:?}: {} MiB", start.elapsed(), journal.checkpoint_bytes() >> 20);
}

#[test]
#[ignore = "a measurement: takes half a minute, and proves nothing"]
fn an_append_of_one_operation() {
    let home = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(Arc::new(RealDisk), home.path(), &params()).unwrap();
    let mut runs: Vec<Duration> = Vec::new();
    for seq in 1..1000 {
        let mut batch = Batch::new(seq);
        batch.push(&Entry::Content { id: 2, modified_ns: 1, len: 100, reset: true, chunks: &[(0, 9)] });
        batch.end_operation();
        let start = Instant::now();
        journal.append(&batch).unwrap();
        runs.push(start.elapsed());
    }
    runs.sort_unstable();
    println!("append: median {:?}, 99th percentile {:?}", runs[500], runs[990]);
}
