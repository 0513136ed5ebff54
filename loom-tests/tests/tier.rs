//! A file's bytes: every exchange of the content word against every other, over a disk in memory.
#![cfg(memfs_loom)]

use memfs::model::tier::{Bytes, CHUNK_BYTES, FileUser, Files, Held, Wanted, Where};
use memfs_loom_tests::{Bounds, Kind, Mutation, breaks, model, model_within};

const RACE: &[&str] = &["Causality violation", "used after its end"];

const ONE: Bytes = Bytes { value: 1, len: 40 };
const TWO: Bytes = Bytes { value: 2, len: 48 };
const THREE: Bytes = Bytes { value: 3, len: 56 };

fn with<R>(files: &Files, run: impl FnOnce(&FileUser<'_>) -> R) -> R {
    run(&files.user())
}

fn put(user: &FileUser<'_>, bytes: Bytes) {
    user.write("/a", bytes.value, bytes.len).expect("room");
}

fn in_ram() -> Files {
    let files = Files::new();
    with(&files, |user| {
        put(user, ONE);
        user.make_hot("/a");
    });
    files
}

fn on_disk() -> Files {
    let files = in_ram();
    with(&files, |user| {
        assert!(user.swap_out("/a", None));
        assert_eq!(user.place("/a").expect("a file"), Where::Disk);
        (0..3).for_each(|_| user.collect());
    });
    files
}

/// In RAM, with its extent on disk: clean.
fn in_both() -> Files {
    let files = on_disk();
    with(&files, |user| {
        assert_eq!(user.read("/a").expect("a file"), ONE);
        assert_eq!(user.place("/a").expect("a file"), Where::Ram);
    });
    files
}

type Read = Option<Bytes>;

fn write_two(files: &Files) -> Read {
    with(files, |user| put(user, TWO));
    None
}

fn write_three(files: &Files) -> Read {
    with(files, |user| put(user, THREE));
    None
}

fn swap_out(files: &Files) -> Read {
    with(files, |user| user.swap_out("/a", None));
    None
}

/// Swapping in is what a read of what is on disk does.
fn read(files: &Files) -> Read {
    Some(with(files, |user| user.read("/a").expect("a file")))
}

/// Each read saw one of `versions`, the file is one of `last`, and nothing is lost or left.
fn over<const N: usize>(files: Files, reads: [Read; N], versions: &[Bytes], last: &[Bytes]) {
    for read in reads.into_iter().flatten() {
        assert!(versions.contains(&read), "no version of the file: {read:?}");
    }
    let now = with(&files, |user| user.read("/a").expect("a file"));
    assert!(last.contains(&now), "a write is lost: {now:?}");
    files.finish();
}

#[test]
fn write_and_write() {
    model(in_ram, [write_two, write_three], |files, reads| over(files, reads, &[], &[TWO, THREE]));
}

#[test]
fn write_and_swap_out() {
    model(in_ram, [write_two, swap_out], |files, reads| over(files, reads, &[], &[TWO]));
}

#[test]
fn write_and_swap_out_of_what_is_clean() {
    model(in_both, [write_two, swap_out], |files, reads| over(files, reads, &[], &[TWO]));
}

#[test]
fn write_and_swap_in() {
    model(on_disk, [write_two, read], |files, reads| over(files, reads, &[ONE, TWO], &[TWO]));
}

#[test]
fn swap_in_and_swap_in() {
    model(on_disk, [read, read], |files, reads| over(files, reads, &[ONE], &[ONE]));
}

#[test]
fn swap_out_and_swap_out() {
    model(in_ram, [swap_out, swap_out], |files, reads| over(files, reads, &[], &[ONE]));
}

#[test]
fn swap_out_and_swap_out_of_what_is_clean() {
    model(in_both, [swap_out, swap_out], |files, reads| over(files, reads, &[], &[ONE]));
}

#[test]
fn read_and_write() {
    model(in_ram, [read, write_two], |files, reads| over(files, reads, &[ONE, TWO], &[TWO]));
}

#[test]
fn read_and_swap_out() {
    model(in_ram, [read, swap_out], |files, reads| over(files, reads, &[ONE], &[ONE]));
}

#[test]
fn read_and_swap_out_of_what_is_clean() {
    model(in_both, [read, swap_out], |files, reads| over(files, reads, &[ONE], &[ONE]));
}

fn read_while_replaced_and_collected() {
    fn write_and_collect(files: &Files) -> Read {
        with(files, |user| {
            put(user, TWO);
            user.collect();
            user.collect();
        });
        None
    }
    model(in_ram, [read, write_and_collect], |files, reads| over(files, reads, &[ONE, TWO], &[TWO]));
}

#[test]
fn a_read_is_not_disturbed_by_reclamation() {
    read_while_replaced_and_collected();
}

#[test]
fn broken_retirement_at_once_is_seen_by_a_reader() {
    memfs_loom_tests::fails(RACE, || {
        fn write_recklessly(files: &Files) -> Read {
            with(files, |user| user.write_recklessly("/a", TWO.value, TWO.len));
            None
        }
        model(in_ram, [read, write_recklessly], |files, reads| over(files, reads, &[ONE, TWO], &[TWO]));
    });
}

#[test]
fn broken_exchange_in_two_steps_loses_a_write() {
    let mutation = || {
        Mutation::at("src/tier/core.rs", "word.compare_exchange(from.bits(), to.bits(), AcqRel", Kind::Torn)
    };
    breaks(mutation, &["a write is lost", "memory was lost", "twice", "used after", "Causality"], || {
        model(in_ram, [write_two, swap_out], |files, reads| over(files, reads, &[], &[TWO]));
    });
}

#[test]
fn broken_swap_out_that_leaves_the_extent_in_the_header_kills_it_twice() {
    let mutation = || {
        Mutation::at(
            "src/tier/ground.rs",
            "match self.arena.header(block).extent.swap(0, AcqRel)",
            Kind::Torn,
        )
    };
    breaks(mutation, &["twice", "released more", "panicked"], || {
        model(in_both, [write_two, swap_out], |files, reads| over(files, reads, &[], &[TWO]));
    });
}

// ---------------------------------------------------------------- references

#[test]
fn a_held_reference_outlives_an_overwrite() {
    fn hold(files: &Files) -> Option<Held> {
        with(files, |user| {
            let held = user.get("/a").expect("a file");
            user.collect();
            Some(held)
        })
    }
    fn overwrite(files: &Files) -> Option<Held> {
        with(files, |user| {
            put(user, TWO);
            user.collect();
            user.collect();
        });
        None
    }
    model(in_ram, [hold, overwrite], |files, [held, _]| {
        let held = held.expect("held");
        with(&files, |user| put(user, THREE));
        (0..3).for_each(|_| with(&files, |user| user.collect()));
        assert!([ONE, TWO].contains(&held.read()));
        drop(held);
        over(files, [None], &[], &[THREE]);
    });
}

#[test]
fn a_held_reference_outlives_swap_out() {
    fn hold(files: &Files) -> Option<Held> {
        with(files, |user| Some(user.get("/a").expect("a file")))
    }
    fn leave(files: &Files) -> Option<Held> {
        with(files, |user| {
            user.swap_out("/a", None);
            user.collect();
            user.collect();
        });
        None
    }
    model(in_ram, [hold, leave], |files, [held, _]| {
        assert_eq!(held.expect("held").read(), ONE);
        over(files, [None], &[], &[ONE]);
    });
}

// ---------------------------------------------------------------- appending in place

/// A file in a block with room behind it: 40 bytes of 64.
const APPENDED: usize = 8;

fn append(files: &Files) -> Read {
    with(files, |user| user.append("/a", 1, APPENDED).expect("room"));
    None
}

fn longer(files: Files, appended: usize) {
    let now = with(&files, |user| user.read("/a").expect("a file"));
    assert_eq!(now, Bytes { value: 1, len: ONE.len + appended }, "an append is lost");
    files.finish();
}

fn append_and_append() {
    model(in_ram, [append, append], |files, _| longer(files, 2 * APPENDED));
}

#[test]
fn append_in_place_and_append() {
    append_and_append();
}

#[test]
fn broken_claim_of_slack_in_two_steps_is_written_by_two() {
    let mutation = || Mutation::at("src/tier/edit.rs", "header.tail.compare_exchange(len as u32", Kind::Torn);
    breaks(mutation, &["two versions mixed", "Causality", "written by two", "panicked"], || {
        fn append_five(files: &Files) -> Read {
            with(files, |user| user.append("/a", 5, APPENDED).expect("room"));
            None
        }
        fn append_six(files: &Files) -> Read {
            with(files, |user| user.append("/a", 6, APPENDED).expect("room"));
            None
        }
        model(in_ram, [append_five, append_six], |files, _| {
            let all = with(&files, |user| user.read_all("/a").expect("a file"));
            let (first, second) = (&all[40..48], &all[48..]);
            assert!(
                first == [5; 8] && second == [6; 8] || first == [6; 8] && second == [5; 8],
                "written by two"
            );
            files.finish();
        });
    });
}

#[test]
fn append_in_place_and_swap_out() {
    model(in_ram, [append, swap_out], |files, _| longer(files, APPENDED));
}

#[test]
fn append_to_what_is_clean_and_swap_out() {
    model(in_both, [append, swap_out], |files, _| longer(files, APPENDED));
}

fn append_and_read() {
    model(in_ram, [append, read], |files, reads| {
        let read = reads[1].expect("read");
        assert!(read == ONE || read == Bytes { value: 1, len: ONE.len + APPENDED }, "{read:?}");
        longer(files, APPENDED);
    });
}

#[test]
fn append_in_place_and_read() {
    append_and_read();
}

/// A whole content is staged before its writer pins, and the pin's full fence publishes it as well; what is appended in
/// place is published by the exchange alone.
#[test]
fn broken_exchange_published_relaxed_shows_bytes_unwritten() {
    let mutation = || {
        Mutation::at(
            "src/tier/core.rs",
            "word.compare_exchange(from.bits(), to.bits(), AcqRel",
            Kind::Relaxed,
        )
    };
    breaks(mutation, RACE, append_and_read);
}

// ---------------------------------------------------------------- long files

const LONG: usize = CHUNK_BYTES + 40;

/// A file of two chunks, in the two slots of one leaf.
fn long() -> Files {
    let files = Files::new();
    with(&files, |user| {
        put(user, Bytes { value: 1, len: LONG });
        assert_eq!(user.place("/a").expect("a file"), Where::Tree);
        user.make_hot("/a");
    });
    files
}

/// The same with its second chunk on disk.
fn half_on_disk() -> Files {
    let files = long();
    with(&files, |user| {
        assert!(user.swap_out("/a", Some(1)));
        (0..3).for_each(|_| user.collect());
    });
    files
}

/// The leaf is frozen, and copied with another first chunk.
fn write_first(files: &Files) -> Read {
    with(files, |user| user.write_at("/a", 2, 8, 0).expect("room"));
    None
}

fn swap_out_second(files: &Files) -> Read {
    with(files, |user| user.swap_out("/a", Some(1)));
    None
}

fn read_second(files: &Files) -> Read {
    Some(with(files, |user| user.read_at("/a", 40, CHUNK_BYTES as u64).expect("a file")))
}

/// What was written to the first chunk is there, and the second is as it was.
fn first_written(files: Files) {
    let all = with(&files, |user| user.read_all("/a").expect("a file"));
    assert_eq!(all.len(), LONG);
    let is_right = all.iter().enumerate().all(|(at, byte)| *byte == if at < 8 { 2 } else { 1 });
    assert!(is_right, "a write is lost: {all:?}");
    files.finish();
}

fn leaf_copied_while_left() {
    model(long, [write_first, swap_out_second], |files, _| first_written(files));
}

#[test]
fn a_chunk_is_written_while_another_of_its_leaf_leaves_ram() {
    leaf_copied_while_left();
}

fn leaf_copied_while_filled() {
    model(half_on_disk, [write_first, read_second], |files, reads| {
        assert_eq!(reads[1], Some(ONE), "no version of the chunk");
        first_written(files);
    });
}

#[test]
fn a_chunk_is_written_while_another_of_its_leaf_comes_to_ram() {
    leaf_copied_while_filled();
}

#[test]
fn a_chunk_is_written_while_it_leaves_ram() {
    fn swap_out_first(files: &Files) -> Read {
        with(files, |user| user.swap_out("/a", Some(0)));
        None
    }
    model(long, [write_first, swap_out_first], |files, _| first_written(files));
}

#[test]
fn two_chunks_of_one_leaf_are_written_at_once() {
    fn write_second(files: &Files) -> Read {
        with(files, |user| user.write_at("/a", 1, 8, CHUNK_BYTES as u64).expect("room"));
        None
    }
    model(long, [write_first, write_second], |files, _| first_written(files));
}

fn long_replaced_while_left() {
    model(long, [write_two, swap_out_second], |files, reads| over(files, reads, &[], &[TWO]));
}

#[test]
fn a_long_file_is_replaced_while_a_chunk_leaves_ram() {
    long_replaced_while_left();
}

const FREEZE: &str = "slots[i].fetch_or(Word::FREEZE, AcqRel)";

/// What a block or an extent comes to that two own, or nobody.
const LOST: &[&str] =
    &["twice", "released more", "memory was lost", "used after", "Causality", "a write is lost"];

#[test]
fn broken_leaf_that_is_copied_without_being_frozen_has_a_chunk_that_left() {
    let mutation = || Mutation::at("src/tier/tree.rs", FREEZE, Kind::Skipped);
    breaks(mutation, LOST, leaf_copied_while_left);
}

#[test]
fn broken_leaf_that_is_copied_without_being_frozen_misses_a_chunk_that_came() {
    let mutation = || Mutation::at("src/tier/tree.rs", FREEZE, Kind::Skipped);
    breaks(mutation, LOST, leaf_copied_while_filled);
}

#[test]
fn broken_freezing_in_two_steps_undoes_a_swap_out() {
    let mutation = || Mutation::at("src/tier/tree.rs", FREEZE, Kind::Torn);
    breaks(mutation, LOST, leaf_copied_while_left);
}

#[test]
fn broken_tree_that_is_taken_apart_without_being_frozen_has_a_chunk_that_left() {
    let mutation = || Mutation::at("src/tier/tree.rs", FREEZE, Kind::Skipped);
    breaks(mutation, LOST, long_replaced_while_left);
}

// ---------------------------------------------------------------- names

#[test]
fn a_file_is_removed_as_soon_as_it_is_made() {
    fn make(files: &Files) {
        with(files, |user| user.write("/b", 2, 40).expect("room"));
    }
    fn remove(files: &Files) {
        with(files, |user| _ = user.remove("/b"));
    }
    model(in_ram, [make, remove], |files, _| files.finish());
}

#[test]
fn a_file_is_opened_as_soon_as_it_is_made() {
    fn make(files: &Files) {
        with(files, |user| user.write("/b", 2, 40).expect("room"));
    }
    fn open(files: &Files) {
        with(files, |user| match user.open_and_read("/b") {
            Ok(bytes) => assert_eq!(bytes, Bytes { value: 2, len: 40 }),
            Err(memfs::Error::NotFound { .. }) => {}
            Err(error) => panic!("an open file of an open store says: {error}"),
        });
    }
    model(in_ram, [make, open], |files, _| files.finish());
}

#[test]
fn a_file_is_removed_while_it_is_swapped_in() {
    fn remove(files: &Files) -> Read {
        with(files, |user| user.remove("/a").expect("a file"));
        None
    }
    fn read(files: &Files) -> Read {
        with(files, |user| user.read("/a").ok())
    }
    model(on_disk, [remove, read], |files, [_, read]| {
        assert!(read.is_none_or(|read| read == ONE));
        files.finish();
    });
}

#[test]
fn a_file_is_renamed_over_while_it_is_written() {
    fn two() -> Files {
        let files = in_ram();
        with(&files, |user| {
            user.write("/b", 3, 56).expect("room");
            user.make_hot("/b");
        });
        files
    }
    fn rename(files: &Files) -> Read {
        with(files, |user| user.rename("/b", "/a").expect("files"));
        None
    }
    model(two, [rename, write_two], |files, reads| over(files, reads, &[], &[TWO, THREE]));
}

// ---------------------------------------------------------------- priorities

/// A file that was read too seldom for its reads to cost nothing, and is lifted by each.
fn boosted() -> Files {
    let files = Files::boosting();
    with(&files, |user| put(user, ONE));
    files
}

fn priority_and_reads() {
    fn lower(files: &Files) {
        with(files, |user| user.set_priority("/a", 2).expect("a file"));
    }
    fn read_twice(files: &Files) {
        with(files, |user| (0..2).for_each(|_| assert_eq!(user.read("/a").expect("a file"), ONE)));
    }
    // In this order: the broken variant needs one preemption, and not two.
    model(boosted, [read_twice, lower], |files, _| {
        let now = with(&files, |user| user.priority("/a").expect("a file"));
        assert_eq!(now, 2, "a priority is lost");
        files.finish();
    });
}

#[test]
fn a_priority_outlasts_the_reads_that_it_meets() {
    priority_and_reads();
}

#[test]
fn broken_count_of_a_read_in_two_steps_loses_a_priority() {
    let mutation = || {
        Mutation::at("src/tier/heat.rs", "match word.compare_exchange_weak(heat, next, Relaxed", Kind::Torn)
    };
    breaks(mutation, &["a priority is lost"], priority_and_reads);
}

fn locked_and_evicted() {
    fn locked() -> Files {
        let files = in_ram();
        with(&files, |user| user.set_priority("/a", 9).expect("a file"));
        files
    }
    fn raise(files: &Files) {
        with(files, |user| user.set_priority("/a", 10).expect("a file"));
    }
    fn evict(files: &Files) {
        assert!(!with(files, |user| user.evict("/a", None)), "locked, and left RAM");
    }
    model(locked, [raise, evict], |files, _| {
        with(&files, |user| assert_eq!(user.priority("/a").expect("a file"), 10));
        over(files, [None], &[], &[ONE]);
    });
}

#[test]
fn what_is_locked_is_not_evicted_while_its_priority_changes() {
    locked_and_evicted();
}

#[test]
fn broken_look_at_the_priority_lets_what_is_locked_leave() {
    let mutation = || {
        Mutation::at("src/tier/heat.rs", "Priority::from_level(node.heat.load(Relaxed) as u8)", Kind::Sees(5))
    };
    breaks(mutation, &["locked, and left RAM"], locked_and_evicted);
}

/// Evicted or locked first: what was in RAM when it was locked stays there.
fn locked_while_evicted<const CHUNK: u64>(set_up: fn() -> Files) {
    fn chunk<const CHUNK: u64>() -> Option<u64> {
        (CHUNK > 0).then_some(CHUNK)
    }
    fn lock<const CHUNK: u64>(files: &Files) -> bool {
        with(files, |user| {
            user.set_priority("/a", 9).expect("a file");
            user.is_in_ram("/a", chunk::<CHUNK>())
        })
    }
    fn evict<const CHUNK: u64>(files: &Files) -> bool {
        with(files, |user| user.evict("/a", chunk::<CHUNK>()))
    }
    model(set_up, [lock::<CHUNK>, evict::<CHUNK>], |files, [was_in_ram, left]| {
        with(&files, |user| {
            assert_eq!(user.is_in_ram("/a", chunk::<CHUNK>()), was_in_ram, "locked, and left RAM");
            assert_eq!(left, !was_in_ram);
            assert_eq!(user.priority("/a").expect("a file"), 9);
            let all = user.read_all("/a").expect("a file");
            assert!(all.iter().all(|byte| *byte == 1), "{all:?}");
        });
        files.finish();
    });
}

#[test]
fn a_file_is_locked_while_it_is_evicted() {
    locked_while_evicted::<0>(in_ram);
}

#[test]
fn a_file_is_locked_while_it_is_evicted_clean() {
    locked_while_evicted::<0>(in_both);
}

#[test]
fn a_long_file_is_locked_while_a_chunk_is_evicted() {
    locked_while_evicted::<1>(long);
}

fn lock(files: &Files) -> Read {
    with(files, |user| user.set_priority("/a", 9).expect("a file"));
    None
}

/// The leaf is frozen by both, and copied by one for the other as well.
#[test]
fn a_long_file_is_locked_while_a_chunk_is_written() {
    model(long, [lock, write_first], |files, _| first_written(files));
}

#[test]
fn a_long_file_is_locked_while_a_chunk_comes_to_ram() {
    model(half_on_disk, [lock, read_second], |files, reads| {
        assert_eq!(reads[1], Some(ONE), "no version of the chunk");
        with(&files, |user| assert_eq!(user.read_all("/a").expect("a file"), [1; LONG]));
        files.finish();
    });
}

#[test]
fn a_file_is_replaced_and_locked_while_it_is_evicted() {
    fn replace(files: &Files) -> bool {
        with(files, |user| {
            user.write_with_priority("/a", TWO.value, TWO.len, 9).expect("room");
            user.is_in_ram("/a", None)
        })
    }
    fn evict(files: &Files) -> bool {
        with(files, |user| user.evict("/a", None))
    }
    model(in_ram, [replace, evict], |files, [was_in_ram, _]| {
        with(&files, |user| assert_eq!(user.is_in_ram("/a", None), was_in_ram, "locked, and left RAM"));
        over(files, [None], &[], &[TWO]);
    });
}

#[test]
fn broken_lock_that_leaves_the_content_word_as_it_is_comes_too_late() {
    let mutation =
        || Mutation::at("src/index/node.rs", "self.content.fetch_add(1 << BINDING_SHIFT", Kind::Skipped);
    breaks(mutation, &["locked, and left RAM"], || locked_while_evicted::<0>(in_both));
}

#[test]
fn broken_lock_that_leaves_the_slots_as_they_are_comes_too_late() {
    let mutation =
        || Mutation::at("src/tier/tree.rs", "            slot.fetch_or(Word::FREEZE", Kind::Skipped);
    breaks(mutation, &["locked, and left RAM"], || locked_while_evicted::<1>(long));
}

// ---------------------------------------------------------------- close

/// Whatever is under way ends, or says that the store is closed; what it held or wrote is given back. Giving everything up takes
/// many steps: one preemption less than elsewhere.
fn closed(set_up: fn() -> Files, other: fn(&Files)) {
    fn close(files: &Files) {
        with(files, |user| user.close());
    }
    let bounds = Bounds::default();
    let bounds = Bounds { preemptions: (bounds.preemptions - 1).max(1), ..bounds };
    model_within(bounds, set_up, [close, other], |files, _| files.finish());
}

fn unless_closed<T>(done: Result<T, memfs::Error>) -> Option<T> {
    match done {
        Ok(done) => Some(done),
        Err(memfs::Error::Closed) => None,
        Err(error) => panic!("neither done nor closed: {error}"),
    }
}

#[test]
fn close_and_write() {
    closed(in_ram, |files| _ = with(files, |user| unless_closed(user.write("/a", 2, 48))));
}

#[test]
fn close_and_create() {
    closed(in_ram, |files| _ = with(files, |user| unless_closed(user.write("/b", 2, 48))));
}

#[test]
fn close_and_read() {
    closed(in_ram, |files| {
        let read = with(files, |user| unless_closed(user.read("/a")));
        assert!(read.is_none_or(|read| read == ONE));
    });
}

#[test]
fn close_and_swap_in() {
    closed(on_disk, |files| {
        let read = with(files, |user| unless_closed(user.read("/a")));
        assert!(read.is_none_or(|read| read == ONE));
    });
}

#[test]
fn close_and_swap_out() {
    closed(in_ram, |files| _ = with(files, |user| user.swap_out("/a", None)));
}

#[test]
fn close_and_append() {
    closed(in_ram, |files| _ = with(files, |user| unless_closed(user.append("/a", 1, 8))));
}

#[test]
fn close_and_set_len() {
    closed(in_ram, |files| _ = with(files, |user| unless_closed(user.set_len("/a", 8))));
}

#[test]
fn close_and_remove() {
    closed(in_ram, |files| _ = with(files, |user| unless_closed(user.remove("/a"))));
}

#[test]
fn close_and_rename() {
    closed(in_ram, |files| _ = with(files, |user| unless_closed(user.rename("/a", "/b"))));
}

#[test]
fn close_and_open() {
    closed(in_ram, |files| {
        let read = with(files, |user| unless_closed(user.open_and_read("/a")));
        assert!(read.is_none_or(|read| read == ONE));
    });
}

#[test]
fn close_and_set_priority() {
    closed(in_ram, |files| _ = with(files, |user| unless_closed(user.set_priority("/a", 9))));
}

#[test]
fn close_and_hold() {
    fn close(files: &Files) -> Option<Held> {
        with(files, |user| user.close());
        None
    }
    fn hold(files: &Files) -> Option<Held> {
        with(files, |user| unless_closed(user.get("/a")))
    }
    let bounds = Bounds { preemptions: 1, ..Bounds::default() };
    model_within(bounds, in_ram, [close, hold], |files, [_, held]| {
        assert!(held.as_ref().is_none_or(|held| held.read() == ONE));
        drop(held);
        files.finish();
    });
}

#[test]
fn broken_close_that_nobody_sees_leaves_what_is_written_after_it() {
    // Who writes looks whether the store is closed.
    let mutation = || Mutation::at("src/tier/core.rs", "        self.closed.load(Acquire)", Kind::Sees(0));
    breaks(mutation, &["left in a closed store"], || {
        closed(in_ram, |files| _ = with(files, |user| unless_closed(user.write("/b", 2, 48))));
    });
}

// ---------------------------------------------------------------- preload

struct Preload {
    files: Files,
    wanted: Wanted,
}

fn preload() -> Preload {
    let files = on_disk();
    let wanted = with(&files, |user| user.want("/a"));
    Preload { files, wanted }
}

fn preloaded_and_awaited() {
    fn run(preload: &Preload) {
        with(&preload.files, |user| user.run(&preload.wanted));
    }
    fn wait(preload: &Preload) {
        preload.wanted.wait().expect("the file was brought in");
        assert!(preload.wanted.is_done());
        let place = with(&preload.files, |user| user.place("/a").expect("a file"));
        assert_eq!(place, Where::Ram, "done, and not there");
    }
    model(preload, [run, wait], |preload, _| {
        drop(preload.wanted);
        preload.files.finish();
    });
}

#[test]
fn who_waits_for_a_preload_is_told_and_finds_the_file() {
    preloaded_and_awaited();
}

#[test]
fn who_waits_for_a_preload_that_nobody_will_run_is_told() {
    fn cancel(preload: &Preload) {
        with(&preload.files, |user| user.cancel(&preload.wanted));
    }
    fn wait(preload: &Preload) {
        assert!(matches!(preload.wanted.wait(), Err(memfs::Error::Closed)));
    }
    model(preload, [cancel, wait], |preload, _| {
        drop(preload.wanted);
        preload.files.finish();
    });
}

#[test]
fn broken_completion_that_wakes_nobody_is_waited_for_for_ever() {
    let mutation = || Mutation::at("src/tier/preload.rs", "self.finished.notify_all();", Kind::Skipped);
    breaks(mutation, &["deadlock"], preloaded_and_awaited);
}

#[test]
fn broken_completion_that_is_not_noted_is_waited_for_for_ever() {
    let mutation = || Mutation::at("src/tier/preload.rs", "self.done.store(true, Release)", Kind::Skipped);
    breaks(mutation, &["deadlock", "panicked"], preloaded_and_awaited);
}
