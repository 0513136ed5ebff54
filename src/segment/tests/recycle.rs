//! Space that dies is used again, for ever, and never under anybody's eyes.

use super::{
    super::ExtentRef,
    store::{Over, Random, Store, TestDisk, bytes, slice},
};
use crate::sync::{AtomicBool, AtomicU64, Ordering, thread};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

const CHUNK: usize = 4096;
const SEGMENT: u64 = 16 << 10;

#[test]
fn endless_overwriting_takes_bounded_disk() {
    let store = Store::new(TestDisk::new(), SEGMENT, CHUNK, None);
    let most = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..3u64 {
            let (store, most) = (&store, &most);
            scope.spawn(move || {
                let mut kept = std::collections::VecDeque::new();
                for round in 0..3000 {
                    kept.push_back(store.append(thread, round % CHUNK).unwrap());
                    if kept.len() > 6 {
                        store.kill(kept.pop_front().unwrap());
                    }
                    most.fetch_max(store.segments.stats().preallocated_bytes, Ordering::SeqCst);
                }
                for extent in kept {
                    store.kill(extent);
                }
            });
        }
    });
    let most = most.into_inner() / SEGMENT;
    // 18 live records can keep 18 segments; each thread may hold one in its hands, and two are spare.
    assert!(most <= 26, "{most} segments at once");
    assert!(store.segments.stats().compactions > 500);
    assert!(store.segments.stats().segments <= 4, "{:?}", store.segments.stats());
}

#[test]
fn unprotected_reads_of_dying_extents_see_their_own_bytes_or_an_error() {
    // Each live extent and each that is held can keep a segment.
    let store = Store::new(TestDisk::new(), SEGMENT, CHUNK, Some(16 * SEGMENT));
    let words: Vec<AtomicU64> = (0..8).map(|_| AtomicU64::new(0)).collect();
    let (is_over, good) = (AtomicBool::new(false), AtomicU64::new(0));
    let (store, words, is_over, good) = (&store, &words, &is_over, &good);
    thread::scope(|scope| {
        let over = Over(is_over);
        let read = |reader| {
            move || {
                let mut random = Random(reader);
                while !is_over.load(Ordering::Acquire) {
                    let owner = random.below(words.len());
                    let bits = words[owner].load(Ordering::Acquire);
                    if bits == 0 {
                        continue;
                    }
                    let extent = ExtentRef::from_bits(bits);
                    let mut dst = vec![0; store.segments.len(extent)];
                    let read = store.segments.read(extent, owner as u64, &mut dst);
                    let held = store.segments.hold(extent);
                    let is_current = words[owner].load(Ordering::Acquire) == bits;
                    assert!(!is_current || read.is_ok(), "current, and {read:?}");
                    if read.is_ok() {
                        assert!(dst == bytes(owner as u64, dst.len()), "bytes of another");
                        good.fetch_add(1, Ordering::Relaxed);
                    }
                    assert!(!is_current || held.is_some(), "current, and cannot be held");
                    if let Some(held) = held.filter(|_| is_current)
                        && let Some(slice) = slice(&held, owner as u64).unwrap()
                    {
                        thread::yield_now();
                        assert!(*slice == bytes(owner as u64, slice.len()), "bytes of another, held");
                    }
                }
            }
        };
        (0..2).for_each(|reader| _ = scope.spawn(read(reader)));
        let (mut random, mut writes) = (Random(99), 0);
        // However late the readers get a processor.
        let deadline = Instant::now() + Duration::from_secs(60);
        let is_enough = || good.load(Ordering::Relaxed) > 100 || Instant::now() > deadline;
        while writes < 20_000 || !is_enough() {
            writes += 1;
            let owner = random.below(words.len());
            let extent = store.append(owner as u64, random.below(CHUNK)).unwrap();
            // Killed at once, without an epoch: readers are told to expect that.
            let before = words[owner].swap(extent.bits(), Ordering::AcqRel);
            if before != 0 {
                store.kill(ExtentRef::from_bits(before));
            }
        }
        drop(over);
    });
    assert!(good.load(Ordering::Relaxed) > 100, "no reader had a processor");
    for word in words {
        store.kill(ExtentRef::from_bits(word.load(Ordering::Acquire)));
    }
    store.segments.validate(Some(0));
}

/// One round of what the floor above does; how many extents were moved.
fn compact(store: &Store, words: &mut HashMap<u64, ExtentRef>) -> usize {
    let Some(sparse) = store.segments.sparse() else { return 0 };
    assert!(sparse.count() > 0);
    let mut moved = 0;
    for (owner, word) in words.iter_mut().filter(|(_, word)| sparse.contains(**word)) {
        let mut dst = vec![0; store.segments.len(*word)];
        store.segments.read(*word, *owner, &mut dst).unwrap();
        let new = store.segments.append_moved(*owner, &dst).expect("space is kept for moving");
        store.kill(std::mem::replace(word, new));
        moved += 1;
    }
    assert!(moved > 0, "sparse segments without anything in them");
    moved
}

#[test]
fn sparse_segments_are_found_and_emptied() {
    let store = Store::new(TestDisk::new(), SEGMENT, CHUNK, None);
    let mut words: HashMap<u64, ExtentRef> =
        (0..400u64).map(|owner| (owner, store.append(owner, 700).unwrap())).collect();
    assert!(store.segments.sparse().is_none(), "all is live");
    for owner in (0..400).filter(|owner| owner % 4 != 0) {
        store.kill(words.remove(&owner).unwrap());
    }
    assert_eq!(store.segments.stats().segments, 20);
    assert!(compact(&store, &mut words) > 80);
    // What is live fills five; one takes fresh data, and two are spare.
    assert!(store.segments.stats().segments <= 8, "{:?}", store.segments.stats());
    assert!(store.segments.sparse().is_none(), "nothing left to gain");
    for (owner, extent) in &words {
        store.assert_holds(*owner, *extent);
    }
    store.segments.validate(Some(Store::live_bytes(vec![700; words.len()])));
}

#[test]
fn a_store_at_its_limit_is_compacted_out_of_every_corner() {
    let limit = 8 * SEGMENT;
    for seed in 0..8 {
        let store = Store::new(TestDisk::new(), SEGMENT, CHUNK, Some(limit));
        let (mut words, mut random, mut owners) = (HashMap::new(), Random(seed), 0..);
        let (mut appended, mut compacted) = (0, 0);
        while appended < 3000 {
            // Keep 60 % of the limit live, dying in no order.
            let live: u64 = Store::live_bytes(words.values().map(|extent| store.segments.len(*extent)));
            if live > limit * 6 / 10 {
                let victim = *words.keys().nth(random.below(words.len())).unwrap();
                store.kill(words.remove(&victim).unwrap());
                continue;
            }
            let owner: u64 = owners.next().unwrap();
            match store.append(owner, random.below(1500)) {
                Ok(extent) => {
                    words.insert(owner, extent);
                    appended += 1;
                }
                Err(_) => {
                    assert!(
                        compact(&store, &mut words) > 0,
                        "stuck with {live} of {limit} bytes live, seed {seed}"
                    );
                    compacted += 1;
                }
            }
        }
        assert!(compacted > 10, "{compacted} rounds of compaction, seed {seed}");
        assert!(store.segments.stats().preallocated_bytes <= limit);
        for (owner, extent) in &words {
            store.assert_holds(*owner, *extent);
        }
        store.segments.validate(Some(Store::live_bytes(words.values().map(|e| store.segments.len(*e)))));
    }
}

#[test]
fn shrinking_gives_back_all_that_nothing_lives_on() {
    let store = Store::new(TestDisk::new(), SEGMENT, CHUNK, Some(8 * SEGMENT));
    let mut extents: Vec<_> = (0..15).map(|owner| store.append(owner, CHUNK).unwrap()).collect();
    let kept = extents.remove(0);
    for extent in extents {
        store.kill(extent);
    }
    store.segments.shrink();
    assert_eq!(store.segments.stats().preallocated_bytes, SEGMENT);
    store.assert_holds(0, kept);
    store.segments.validate(Some(Store::live_bytes([CHUNK])));
    store.kill(kept);
    store.segments.shrink();
    assert_eq!(store.segments.stats().preallocated_bytes, 0);
    let again = store.append(1, CHUNK).unwrap();
    store.assert_holds(1, again);
}
