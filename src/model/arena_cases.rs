//! Models of the arena's mechanisms that need more of them than the other files' wrappers show; `loom-tests/tests/cases.rs` runs
//! them. For each, a broken variant was seen to fail; they are listed in `docs/design/arena.md`.

use super::super::{
    bitmap::{Bitmap, Claim, End, WORD_BITS},
    budget::Budget,
    ground::Ground,
    heap::Arena,
    magazine::Magazine,
    pool::{Pool, PoolMagazine},
    slab::Slab,
    span::Geometry,
};
use crate::sync::{Arc, AtomicU64, Ordering, thread};
use loom::cell::UnsafeCell;

/// Plain memory, a cell per slot: what the checker watches for races.
struct Cells(Vec<UnsafeCell<u64>>);

// SAFETY: the checker reports every access that is not ordered, which is what the models are for.
unsafe impl Sync for Cells {}

impl Cells {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| UnsafeCell::new(0)).collect())
    }

    fn touch(&self, index: usize) {
        // SAFETY: exclusive by the protocol under test; the checker reports it if not.
        self.0[index].with_mut(|value| unsafe { *value += 1 });
    }
}

fn set(bitmap: &Bitmap, member: usize) {
    let claim = Claim::one(member);
    bitmap.set(claim.word, claim.mask);
}

fn found(bitmap: &Bitmap) -> u32 {
    std::iter::from_fn(|| bitmap.claim(End::Low, 4)).map(|claim| claim.mask.count_ones()).sum()
}

/// Three levels, with a way from the root that leads to an empty leaf.
fn stale_bitmap() -> Bitmap {
    let bitmap = Bitmap::new(64).expect("heap");
    set(&bitmap, 37);
    assert_eq!(bitmap.claim(End::Low, 1).and_then(|mut claim| claim.pop()), Some(37));
    bitmap
}

#[expect(missing_docs, reason = "named for what they hold")]
pub fn a_member_set_during_a_withdrawal_can_be_found() {
    crate::model::explore(|| {
        let bitmap = Arc::new(stale_bitmap());
        let setter = thread::spawn({
            let bitmap = bitmap.clone();
            move || set(&bitmap, 38)
        });
        let taken = bitmap.claim(End::Low, 1).is_some();
        setter.join().expect("no panic");
        bitmap.validate(64 / WORD_BITS).expect("announced");
        assert_eq!(found(&bitmap) + u32::from(taken), 1);
    });
}

#[expect(missing_docs, reason = "named for what they hold")]
pub fn two_withdrawals_and_a_set_elsewhere_below_the_same_word() {
    crate::model::explore(|| {
        let bitmap = Arc::new(stale_bitmap());
        let claimer = thread::spawn({
            let bitmap = bitmap.clone();
            move || bitmap.claim(End::High, 1).is_some()
        });
        let setter = thread::spawn({
            let bitmap = bitmap.clone();
            move || set(&bitmap, 42)
        });
        let mine = bitmap.claim(End::Low, 1).is_some();
        let theirs = claimer.join().expect("no panic");
        setter.join().expect("no panic");
        bitmap.validate(64 / WORD_BITS).expect("announced");
        assert_eq!(found(&bitmap) + u32::from(mine) + u32::from(theirs), 1);
    });
}

#[expect(missing_docs, reason = "named for what they hold")]
pub fn who_claims_a_member_sees_what_its_last_holder_did() {
    crate::model::explore(|| {
        let shared = Arc::new((Bitmap::new(8).expect("heap"), Cells::new(8)));
        set(&shared.0, 1);
        set(&shared.0, 2);
        let work = |(bitmap, cells): &(Bitmap, Cells)| {
            if let Some(member) = bitmap.claim(End::Low, 1).and_then(|mut claim| claim.pop()) {
                cells.touch(member);
                set(bitmap, member);
            }
        };
        let other = thread::spawn({
            let shared = shared.clone();
            move || (work(&shared), work(&shared))
        });
        work(&shared);
        other.join().expect("no panic");
        assert_eq!(found(&shared.0), 2);
    });
}

/// Two spans of `1 << span_shift` slots of 256 / that bytes.
fn slab(slot_bytes: usize) -> Slab {
    let geometry = Geometry::new(slot_bytes, 256, 512, 0);
    Slab::new(geometry, Ground::untouched(&geometry).expect("heap")).expect("heap")
}

#[expect(missing_docs, reason = "named for what they hold")]
pub fn of_two_threads_that_fill_a_span_one_notes_it() {
    crate::model::explore(|| {
        let (slab, budget) = (Arc::new(slab(32)), Budget::new(1 << 20));
        let words = [(); 2].map(|()| slab.claim(&budget, 4).expect("room").word);
        assert_eq!(words, [0, 1]);
        // All but the last slot of each word before: the last ones then touch no common summary word.
        words.into_iter().for_each(|word| slab.give(Claim { word, mask: 0b0111 }));
        let other = thread::spawn({
            let slab = slab.clone();
            move || slab.give(Claim { word: 0, mask: 0b1000 })
        });
        slab.give(Claim { word: 1, mask: 0b1000 });
        other.join().expect("no panic");
        slab.validate().expect("sound");
    });
}

#[expect(missing_docs, reason = "named for what they hold")]
pub fn a_span_that_becomes_whole_under_a_trim_is_not_forgotten() {
    crate::model::explore(|| {
        let shared = Arc::new((slab(128), Budget::new(1 << 20), Cells::new(2)));
        let (slab, budget, cells) = &*shared;
        let [mut one, mut two] = [(); 2].map(|()| slab.claim(budget, 1).expect("room"));
        assert_eq!((one.word, two.word), (0, 0));
        slab.give(one);
        slab.give(two);
        // The hint is there, and out of date.
        (one, two) = (slab.claim(budget, 1).expect("room"), slab.claim(budget, 1).expect("room"));
        let other = thread::spawn({
            let shared = shared.clone();
            move || {
                shared.2.touch(0);
                shared.0.give(one);
                shared.2.touch(1);
                shared.0.give(two);
            }
        });
        let early = slab.trim(budget, 1, |slots| slots.for_each(|slot| cells.touch(slot)));
        other.join().expect("no panic");
        slab.validate().expect("sound");
        let late = slab.trim(budget, 1, |slots| slots.for_each(|slot| cells.touch(slot)));
        assert_eq!(early + late, 256);
        assert_eq!(budget.charged(), slab.overhead_bytes());
    });
}

#[expect(missing_docs, reason = "named for what they hold")]
pub fn a_span_is_used_or_given_back_never_both() {
    crate::model::explore(|| {
        let shared = Arc::new((slab(128), Budget::new(1 << 20), Cells::new(4)));
        let (slab, budget, cells) = &*shared;
        let claim = slab.claim(budget, 2).expect("room");
        slab.give(claim);
        let other = thread::spawn({
            let shared = shared.clone();
            move || {
                let (slab, budget, cells) = &*shared;
                let claim = slab.claim(budget, 1).expect("room for all there is");
                cells.touch({ claim }.pop().expect("one"));
                slab.give(claim);
            }
        });
        slab.trim(budget, u64::MAX, |slots| slots.for_each(|slot| cells.touch(slot)));
        other.join().expect("no panic");
        slab.validate().expect("sound");
        slab.trim(budget, u64::MAX, |slots| slots.for_each(|slot| cells.touch(slot)));
        assert_eq!((budget.charged(), slab.backed_spans()), (slab.overhead_bytes(), 0));
    });
}

#[expect(missing_docs, reason = "named for what they hold")]
pub fn two_charges_of_one_rest() {
    crate::model::explore(|| {
        let budget = Arc::new(Budget::new(10));
        assert!(budget.try_charge(3));
        let other = thread::spawn({
            let budget = budget.clone();
            move || {
                budget.refund(3);
                budget.try_charge(6)
            }
        });
        let mine = budget.try_charge(6);
        let theirs = other.join().expect("no panic");
        assert!(mine || theirs);
        assert_eq!(budget.charged(), 6 * (u64::from(mine) + u64::from(theirs)));
        assert!(budget.charged() <= 10 && budget.peak() <= 10);
    });
}

#[expect(missing_docs, reason = "named for what they hold")]
pub fn the_last_of_several_references_frees_after_all_use() {
    crate::model::explore(|| {
        let arena = Arena::new(Arc::new(Budget::new(1 << 20)), 64, false).expect("heap");
        let shared = Arc::new((arena, Cells::new(16)));
        let (arena, cells) = &*shared;
        let mag = Magazine::new();
        let b = arena.alloc(&mag, 64).expect("room");
        // SAFETY: this thread owns the first reference, and gives the second away.
        unsafe { arena.retain(b) };
        let other = thread::spawn({
            let shared = shared.clone();
            move || {
                let (arena, cells) = &*shared;
                // A reader: it may run beside the other's.
                cells.0[0].with(|_| ());
                // SAFETY: the reference that was given to this thread.
                unsafe { arena.release(b) }
            }
        });
        cells.0[0].with(|_| ());
        // SAFETY: the first reference.
        let mine = unsafe { arena.release(b) };
        if mine {
            cells.touch(0);
        }
        assert!(mine ^ other.join().expect("no panic"));
        arena.drain(&mag);
        arena.validate().expect("sound");
    });
}

#[expect(missing_docs, reason = "named for what they hold")]
pub fn two_threads_and_room_for_one_span() {
    crate::model::explore(|| {
        // A span of four blocks and the headers of four spans, a few bytes of bitmaps.
        let arena = Arena::new(Arc::new(Budget::new(600)), 64, false).expect("heap");
        let shared = Arc::new((arena, Cells::new(16)));
        let work = |(arena, cells): &(Arena, Cells)| {
            let mag = Magazine::new();
            if let Some(b) = arena.alloc(&mag, 64) {
                cells.touch(arena.slot(b));
                // SAFETY: the only reference.
                assert!(unsafe { arena.release(b) });
            }
            arena.drain(&mag);
            arena.trim(1);
        };
        let other = thread::spawn({
            let shared = shared.clone();
            move || work(&shared)
        });
        work(&shared);
        other.join().expect("no panic");
        let (arena, _) = &*shared;
        arena.validate().expect("sound");
        arena.trim(u64::MAX);
        assert_eq!(arena.budget().charged(), arena.overhead_bytes());
    });
}

#[expect(missing_docs, reason = "named for what they hold")]
pub fn a_pool_slot_has_one_user() {
    crate::model::explore(|| {
        let pool: Pool<AtomicU64> = Pool::new(Arc::new(Budget::new(1 << 20)), 8, false).expect("heap");
        let shared = Arc::new(pool);
        let work = |pool: &Pool<AtomicU64>| {
            let mag = PoolMagazine::new();
            let index = pool.alloc(&mag).expect("room");
            assert_eq!(pool.get(index).fetch_add(1, Ordering::Relaxed), 0);
            assert_eq!(pool.get(index).fetch_sub(1, Ordering::Relaxed), 1);
            // SAFETY: this thread's own.
            unsafe { pool.free(index) };
            pool.drain(&mag);
        };
        let other = thread::spawn({
            let pool = shared.clone();
            move || work(&pool)
        });
        work(&shared);
        other.join().expect("no panic");
        shared.validate().expect("sound");
    });
}
