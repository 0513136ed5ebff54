//! Models of the set of segments: segments of sixteen units, records of five; `loom-tests/tests/cases.rs` runs them.

use super::{
    super::{ExtentRef, SegmentConfig, Segments, StorageKind},
    MemoryDisk,
};
use crate::sync::{Arc, AtomicU64, Ordering, thread};

const LEN: usize = 5 * 256 - 32;

fn store(segments: u64) -> Arc<Segments> {
    let config = SegmentConfig {
        dir: "".into(),
        kind: StorageKind::Temp,
        segment_bytes: 4096,
        chunk_bytes: LEN,
        storage_limit_bytes: Some(segments * 4096),
    };
    Arc::new(Segments::open(config, std::sync::Arc::new(MemoryDisk::default())).unwrap())
}

fn append(store: &Segments, owner: u8) -> ExtentRef {
    store.append(owner.into(), &[owner; LEN]).unwrap()
}

fn assert_holds(store: &Segments, owner: u8, extent: ExtentRef) {
    let mut dst = [0; LEN];
    store.read(extent, owner.into(), &mut dst).unwrap();
    assert_eq!(dst, [owner; LEN]);
}

fn kill(store: &Segments, extent: ExtentRef) {
    // SAFETY: each model kills what it appended, once.
    unsafe { store.kill(extent) };
}

/// The segment is nearly full: one thread fits in, or both bring another, and one of those is put back.
pub fn appends_over_the_end_of_a_segment_keep_what_they_stored() {
    crate::model::explore(|| {
        loom::stop_exploring();
        let store = store(3);
        let first = [append(&store, 1), append(&store, 2)];
        loom::explore();
        let other = thread::spawn({
            let store = store.clone();
            move || append(&store, 3)
        });
        let mine = append(&store, 4);
        let theirs = other.join().unwrap();
        loom::stop_exploring();
        for (owner, extent) in [(1, first[0]), (2, first[1]), (3, theirs), (4, mine)] {
            assert_holds(&store, owner, extent);
        }
        store.validate(Some(4 * 5 * 256));
    });
}

/// One thread displaces the segment while another kills all that is in it: it is recycled once, by whoever is last.
pub fn a_segment_that_dies_as_it_is_sealed_is_recycled_once() {
    crate::model::explore(|| {
        loom::stop_exploring();
        let store = store(3);
        let dying = [append(&store, 1), append(&store, 2), append(&store, 3)];
        kill(&store, dying[0]);
        kill(&store, dying[1]);
        loom::explore();
        let killer = thread::spawn({
            let store = store.clone();
            move || kill(&store, dying[2])
        });
        let mine = append(&store, 4);
        killer.join().unwrap();
        loom::stop_exploring();
        assert_holds(&store, 4, mine);
        store.validate(Some(5 * 256));
        assert_eq!(store.stats().compactions, 1);
    });
}

/// What is held, and was seen to be current then, is not written over while its extent dies and another thread wants the
/// space.
pub fn a_hold_outlasts_death_and_recycling() {
    crate::model::explore(|| {
        loom::stop_exploring();
        let store = store(2);
        let full: Vec<_> = (0..3).map(|owner| append(&store, owner)).collect();
        kill(&store, full[1]);
        kill(&store, full[2]);
        append(&store, 9);
        let dying = full[0];
        let word = Arc::new(AtomicU64::new(dying.bits()));
        loom::explore();
        let writer = thread::spawn({
            let (store, word) = (store.clone(), word.clone());
            move || {
                word.store(0, Ordering::Release);
                kill(&store, dying);
                let stored = (10..13).filter_map(|owner| store.append(owner, &[owner as u8; LEN]).ok());
                stored.count()
            }
        });
        let hold = store.hold(dying);
        if word.load(Ordering::Acquire) == dying.bits() {
            let hold = hold.expect("current, so it can be held");
            let mut dst = [0; LEN];
            hold.read(0, &mut dst).unwrap();
            assert_eq!(dst, [0; LEN]);
        }
        let stored = writer.join().unwrap();
        loom::stop_exploring();
        assert!((2..=3).contains(&stored), "{stored}");
        store.validate(Some((1 + stored as u64) * 5 * 256));
    });
}
