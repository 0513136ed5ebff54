//! Segments: space is used again when nobody writes, reads or keeps what is in it, and by one thread.
#![cfg(memfs_loom)]

use memfs::model::segment::{Kept, Record, Space, Store, StoreUser, Synced};
use memfs_loom_tests::{Bounds, Kind, Mutation, breaks, explored, fails, model, model_within};

const STATE: &str = "src/segment/state.rs";
const DURABLE: &str = "src/segment/durable.rs";
const RACE: &[&str] = &["Causality violation"];

// ---------------------------------------------------------------- the state word

/// One segment, and how often somebody was told that it is empty.
struct Seg {
    space: Space,
    emptied: std::sync::atomic::AtomicU32,
}

fn told(seg: &Seg, is_empty: bool) {
    if is_empty {
        seg.emptied.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Writes all of the space, which the checker holds against every use that nothing orders before it.
        seg.space.recycle();
    }
}

fn open() -> Seg {
    Seg { space: Space::new(2), emptied: std::sync::atomic::AtomicU32::new(0) }
}

fn one_record() -> Seg {
    let seg = open();
    assert_eq!(seg.space.append(7), Some(1));
    seg
}

fn emptied_once(seg: Seg) {
    let emptied = seg.emptied.into_inner();
    assert_eq!(emptied, 1, "told {emptied} times that it is empty");
    assert_eq!(seg.space.counts(), (0, 0));
}

fn append_and_kill(seg: &Seg) {
    if let Some(unit) = seg.space.append(9) {
        assert_eq!(seg.space.read(unit), 9, "space had by two");
        told(seg, seg.space.kill());
    }
}

fn kill(seg: &Seg) {
    assert_eq!(seg.space.read(1), 7);
    told(seg, seg.space.kill());
}

fn hold_and_read(seg: &Seg) {
    if seg.space.hold() {
        // Whoever holds need not know that the record is live; what it reads is the record's or a later one's.
        seg.space.read(1);
        told(seg, seg.space.release());
    }
}

fn seal(seg: &Seg) {
    told(seg, seg.space.seal());
}

#[test]
fn records_reserved_at_once_do_not_overlap() {
    fn append(seg: &Seg) {
        let unit = seg.space.append(9).expect("room for both");
        assert_eq!(seg.space.read(unit), 9, "space had by two");
    }
    model(open, [append, append], |seg, _| assert_eq!(seg.space.counts(), (2, 0)));
}

#[test]
fn broken_reservation_in_two_steps_overlaps() {
    let mutation = || Mutation::at(STATE, "match self.0.compare_exchange_weak(from.0, to", Kind::Torn);
    breaks(mutation, &["Causality violation", "left == right", "space had by two"], || {
        fn append(seg: &Seg) {
            let unit = seg.space.append(9).expect("room for both");
            assert_eq!(seg.space.read(unit), 9, "space had by two");
        }
        model(open, [append, append], |seg, _| assert_eq!(seg.space.counts(), (2, 0)));
    });
}

fn last_record_dies_while_sealed() {
    model(one_record, [kill, seal], |seg, _| emptied_once(seg));
}

#[test]
fn a_segment_is_emptied_by_its_seal_or_its_last_record() {
    last_record_dies_while_sealed();
}

fn appended_sealed_and_killed() {
    model(one_record, [append_and_kill, seal, kill], |seg, _| emptied_once(seg));
}

#[test]
fn a_record_in_the_making_keeps_a_segment_that_is_sealed() {
    appended_sealed_and_killed();
}

fn held_sealed_and_killed() {
    model(one_record, [hold_and_read, seal, kill], |seg, _| emptied_once(seg));
}

#[test]
fn a_holder_keeps_a_segment_that_is_sealed_and_dead() {
    held_sealed_and_killed();
}

#[test]
fn two_holders_and_a_death() {
    fn sealed() -> Seg {
        let seg = one_record();
        assert!(!seg.space.seal());
        seg
    }
    model(sealed, [hold_and_read, hold_and_read, kill], |seg, _| emptied_once(seg));
}

#[test]
fn broken_release_of_a_hold_without_ordering_recycles_under_it() {
    let mutation = || Mutation::at(STATE, "self.0.fetch_sub(amount, Ordering::AcqRel)", Kind::Relaxed);
    breaks(mutation, RACE, held_sealed_and_killed);
}

#[test]
fn broken_death_in_two_steps_is_told_twice_or_never() {
    let mutation = || Mutation::at(STATE, "self.0.fetch_sub(amount, Ordering::AcqRel)", Kind::Torn);
    breaks(mutation, &["times that it is empty", "Causality violation", "panicked"], held_sealed_and_killed);
}

#[test]
fn broken_seal_without_acquire_recycles_what_is_still_written() {
    let mutation = || Mutation::at(STATE, "self.0.fetch_or(SEALED, Ordering::AcqRel)", Kind::Relaxed);
    breaks(mutation, RACE, last_record_dies_while_sealed);
}

#[test]
fn broken_reopening_without_release_is_written_while_it_is_cleared() {
    let mutation =
        || Mutation::at(STATE, "self.0.store(u64::from(FIRST_UNIT), Ordering::Release)", Kind::Relaxed);
    breaks(mutation, RACE, || {
        fn sealed() -> Seg {
            let seg = one_record();
            assert!(!seg.space.seal());
            seg
        }
        fn append(seg: &Seg) {
            seg.space.append(9);
        }
        model(sealed, [kill, append], |_, _| ());
    });
}

// ---------------------------------------------------------------- whole segments

struct Disk {
    store: Store,
    record: Option<Record>,
}

fn with<R>(disk: &Disk, run: impl FnOnce(&StoreUser<'_>) -> R) -> R {
    run(&disk.store.user())
}

fn empty() -> Disk {
    Disk { store: Store::new(None), record: None }
}

/// One record, which leaves no room for another in its segment.
fn full() -> Disk {
    let store = Store::new(None);
    let record = store.user().append(1, false);
    Disk { store, record }
}

fn append(disk: &Disk, value: u8) -> Record {
    with(disk, |user| user.append(value, false).expect("no limit"))
}

#[test]
fn two_that_find_no_segment_bring_one_each_and_lose_none() {
    fn one(disk: &Disk) -> Record {
        append(disk, 1)
    }
    fn two(disk: &Disk) -> Record {
        append(disk, 2)
    }
    model(empty, [one, two], |disk, [one, two]| {
        with(&disk, |user| {
            assert_eq!(user.hold(&one).expect("live").read(), 1);
            assert_eq!(user.hold(&two).expect("live").read(), 2);
            assert_ne!(user.segment_of(&one), user.segment_of(&two));
            user.kill(one);
            user.kill(two);
        });
        disk.store.check();
    });
}

#[test]
fn a_segment_is_displaced_while_its_last_record_dies() {
    fn displace(disk: &Disk) -> Option<Record> {
        Some(append(disk, 2))
    }
    fn kill(disk: &Disk) -> Option<Record> {
        with(disk, |user| {
            user.retire(disk.record.as_ref().expect("one"));
            user.collect();
            user.collect();
        });
        None
    }
    model(full, [displace, kill], |disk, [new, _]| {
        with(&disk, |user| assert_eq!(user.hold(&new.expect("appended")).expect("live").read(), 2));
        (0..3).for_each(|_| with(&disk, |user| user.collect()));
        disk.store.check();
        assert!(disk.store.count() <= 2);
    });
}

/// A reader keeps a record while it dies and its segment is used again.
fn kept_while_recycled(kill: fn(&Disk) -> Option<Kept>) {
    fn keep(disk: &Disk) -> Option<Kept> {
        with(disk, |user| {
            let kept = user.hold(disk.record.as_ref().expect("one"))?;
            assert_eq!(kept.read(), 1, "the space was used again");
            Some(kept)
        })
    }
    /// Sealed, so that its death empties the segment.
    fn displaced() -> Disk {
        let disk = full();
        let next = append(&disk, 5);
        with(&disk, |user| user.kill(next));
        disk
    }
    model(displaced, [keep, kill], |disk, [kept, _]| {
        if let Some(kept) = kept {
            append(&disk, 8);
            assert_eq!(kept.read(), 1, "the space was used again");
        }
        (0..3).for_each(|_| with(&disk, |user| user.collect()));
        disk.store.check();
    });
}

#[test]
fn who_keeps_a_record_keeps_its_bytes() {
    kept_while_recycled(|disk| {
        with(disk, |user| {
            user.retire(disk.record.as_ref().expect("one"));
            user.collect();
            user.append(6, false);
            user.append(7, false);
        });
        None
    });
}

#[test]
fn broken_hold_that_is_not_counted_reads_what_was_written_over_it() {
    let mutation = || Mutation::at(STATE, "match self.0.compare_exchange_weak(from.0, to", Kind::Skipped);
    let _ = mutation;
    fails(&["Causality violation", "the space was used again", "released more", "panicked"], || {
        memfs::model::broken(
            // 1 << 21 | 14: open to its end, one unit live, whatever there is.
            Mutation::at(STATE, "Snapshot(self.0.load(Ordering::Acquire))", Kind::Sees(1 << 21 | 14)),
            held_sealed_and_killed,
        );
    });
}

#[test]
fn under_a_limit_space_that_dies_is_had_by_who_waits_for_it() {
    fn limited() -> Disk {
        let store = Store::new(Some(1));
        let record = store.user().append(1, false);
        Disk { store, record }
    }
    fn kill(disk: &Disk) -> Option<Record> {
        with(disk, |user| {
            // Nobody else reads it.
            user.retire(disk.record.as_ref().expect("one"));
            user.collect();
            user.collect();
        });
        None
    }
    fn append(disk: &Disk) -> Option<Record> {
        with(disk, |user| user.append(2, false))
    }
    model(limited, [append, kill], |disk, [record, _]| {
        (0..3).for_each(|_| with(&disk, |user| user.collect()));
        with(&disk, |user| {
            let record = record.or_else(|| user.append(3, false)).expect("the space is free by now");
            user.hold(&record).expect("live").read();
        });
        disk.store.check();
    });
}

// ---------------------------------------------------------------- what a sync makes last

/// A segment of three records, in which one append has a slot to say that it is under way, and others are counted only.
fn unsynced() -> Synced {
    Synced::new(3)
}

/// Syncs as often as that; what is called safe then was written when the sync began.
fn sync(space: &Synced, times: usize) {
    for _ in 0..times {
        if let Some((sync, found)) = space.begin() {
            assert!(found.iter().all(|value| *value > 0), "called safe, and not written: {found:?}");
            space.finish(&sync);
        }
    }
}

fn two_append_while_a_third_syncs() {
    // One preemption for each: who syncs waits until there is something, while both others are under way.
    model_within(
        Bounds { preemptions: 3, ..Bounds::default() },
        unsynced,
        [
            |space: &Synced| sync(space, 2),
            |space| _ = space.append(1).expect("room"),
            |space| _ = space.append(2).expect("room"),
        ],
        |space, _| {
            sync(&space, 1);
            assert!(space.is_safe(3) && space.begin().is_none(), "all is safe in the end");
        },
    );
}

#[test]
fn what_a_sync_calls_safe_was_written_when_it_began() {
    two_append_while_a_third_syncs();
}

const UNWRITTEN: &[&str] = &["Causality violation", "called safe, and not written"];

#[test]
fn broken_sync_that_does_not_look_who_is_under_way_calls_it_safe() {
    let mutation = || Mutation::at(DURABLE, "|slot| slot.load(Ordering::Acquire)", Kind::Sees(0));
    breaks(mutation, UNWRITTEN, two_append_while_a_third_syncs);
}

#[test]
fn broken_sync_that_does_not_look_how_many_are_under_way_calls_them_safe() {
    let mutation = || Mutation::at(DURABLE, "self.uncounted.load(Ordering::Acquire)", Kind::Sees(0));
    breaks(mutation, UNWRITTEN, two_append_while_a_third_syncs);
}

#[test]
fn broken_append_that_ends_without_release_is_synced_unwritten() {
    let mutation = || Mutation::at(DURABLE, "Some(slot) => slot.store(0, Ordering::Release)", Kind::Relaxed);
    breaks(mutation, UNWRITTEN, two_append_while_a_third_syncs);
}

/// The one record dies, and its space is used again, while a sync is under way.
fn starts_over_while_synced() {
    fn one_dead_soon() -> Synced {
        let space = unsynced();
        space.append(1).expect("room");
        space
    }
    fn sync(space: &Synced) -> bool {
        // The record of the first use may be written over while it is synced: that one is not looked at.
        let Some(sync) = space.begin_blindly() else { return false };
        let (incarnation, end) = sync.point();
        if incarnation == 1 && end > 1 {
            assert_eq!(space.read(1), 2, "called safe, and not written");
        }
        space.finish(&sync);
        incarnation == 1
    }
    fn start_over(space: &Synced) -> bool {
        space.start_over();
        space.append(2).is_some()
    }
    model(one_dead_soon, [sync, start_over], |space, [is_second, _]| {
        let is_safe = explored(|| space.is_safe(2));
        assert!(is_second || !is_safe, "safe by a sync of the use before");
    });
}

#[test]
fn space_that_starts_over_during_a_sync_is_not_called_safe_by_it() {
    starts_over_while_synced();
}

const WRONGLY_SAFE: &[&str] =
    &["safe by a sync of the use before", "called safe, and not written", "Causality"];

#[test]
fn broken_restart_that_keeps_its_number_is_safe_by_a_sync_of_the_use_before() {
    let mutation = || Mutation::at(DURABLE, "self.safe.swap(incarnation << 32", Kind::Skipped);
    breaks(mutation, WRONGLY_SAFE, starts_over_while_synced);
}

#[test]
fn broken_finish_in_two_steps_is_of_the_use_before() {
    let mutation =
        || Mutation::at(DURABLE, "fetch_update(Ordering::AcqRel, Ordering::Acquire, advance", Kind::Torn);
    breaks(mutation, WRONGLY_SAFE, starts_over_while_synced);
}
