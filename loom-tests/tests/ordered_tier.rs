//! Contents where an order of changes is kept: what is seen has its place, what the order says last is what there is, and
//! between the flusher and whoever replaces a content no extent and no block is lost, used too long, or given back twice.
#![cfg(memfs_loom)]

use memfs::model::tier::{Bytes, CHUNK_BYTES, FileUser, Files};
use memfs_loom_tests::{Kind, Mutation, breaks, model};

const ONE: Bytes = Bytes { value: 1, len: 40 };
const TWO: Bytes = Bytes { value: 2, len: 48 };
const THREE: Bytes = Bytes { value: 3, len: 56 };

const ENCODE: &str = "src/tier/encode.rs";
const GROUND: &str = "src/tier/ground.rs";
const CORE: &str = "src/tier/core.rs";

fn with<R>(files: &Files, run: impl FnOnce(&FileUser<'_>) -> R) -> R {
    run(&files.user())
}

fn put(user: &FileUser<'_>, bytes: Bytes) {
    user.write("/a", bytes.value, bytes.len).expect("room");
}

/// `/a`, whose creation is in the order and on no disk.
fn unflushed() -> Files {
    let files = Files::lasting();
    with(&files, |user| {
        put(user, ONE);
        user.make_hot("/a");
    });
    files
}

/// The same on disk as well.
fn flushed() -> Files {
    let files = unflushed();
    with(&files, |user| {
        user.flush();
        (0..3).for_each(|_| user.collect());
    });
    files
}

fn write_two(files: &Files) -> Vec<Bytes> {
    with(files, |user| put(user, TWO));
    Vec::new()
}

fn write_three(files: &Files) -> Vec<Bytes> {
    with(files, |user| put(user, THREE));
    Vec::new()
}

fn flush(files: &Files) -> Vec<Bytes> {
    with(files, |user| user.flush());
    Vec::new()
}

fn swap_out(files: &Files) -> Vec<Bytes> {
    with(files, |user| user.swap_out("/a", None));
    Vec::new()
}

/// The file is one of `last`, has one copy on disk when all is flushed, and is the same when the store is opened again.
fn over(files: Files, last: &[Bytes]) {
    let now = with(&files, |user| user.read("/a").expect("a file"));
    assert!(last.contains(&now), "a write is lost: {now:?}");
    files.check_disk(1);
    let then = files.reopened(|user| user.read("/a").expect("a file"));
    assert_eq!(then, now, "the order says otherwise");
}

// ---------------------------------------------------------------- a change and who sees it

fn two_write() {
    model(unflushed, [write_two, write_three], |files, _| {
        with(&files, |user| assert_eq!(user.placed(), 3, "a place each"));
        over(files, &[TWO, THREE]);
    });
}

#[test]
fn the_order_of_two_writes_is_that_of_their_effects() {
    two_write();
}

/// Who sees a write finds it in the order, and nothing that was before it afterwards.
fn read_while_written() {
    fn read_twice(files: &Files) -> Vec<Bytes> {
        with(files, |user| {
            let read = || {
                let read = user.read("/a").expect("a file");
                assert!(read == ONE || user.placed() == 2, "seen, and without a place");
                read
            };
            vec![read(), read()]
        })
    }
    model(unflushed, [write_two, read_twice], |files, [_, read]| {
        assert!([[ONE, ONE], [ONE, TWO], [TWO, TWO]].iter().any(|seen| read == seen), "back: {read:?}");
        over(files, &[TWO]);
    });
}

#[test]
fn who_sees_a_write_finds_it_in_the_order_and_nothing_before_it_again() {
    read_while_written();
}

/// Three changes, one of which may be completed by both others.
fn written_by_two_and_read() {
    fn read(files: &Files) -> Vec<Bytes> {
        with(files, |user| {
            let before = user.placed();
            let read = user.read("/a").expect("a file");
            assert!(read == ONE || user.placed() > 1, "seen, and without a place: {before}");
            vec![read]
        })
    }
    model(unflushed, [write_two, write_three, read], |files, _| over(files, &[TWO, THREE]));
}

#[test]
fn of_two_writes_who_sees_one_finds_it_in_the_order() {
    written_by_two_and_read();
}

#[test]
fn a_write_and_an_append_have_one_order() {
    fn append(files: &Files) -> Vec<Bytes> {
        with(files, |user| user.append("/a", 2, 8).expect("room"));
        Vec::new()
    }
    fn two() -> Files {
        let files = unflushed();
        with(&files, |user| put(user, TWO));
        files
    }
    fn write_longer(files: &Files) -> Vec<Bytes> {
        with(files, |user| user.write("/a", 2, 60).expect("room"));
        Vec::new()
    }
    // Appended to what was there before, and lost; or to what was written.
    model(two, [append, write_longer], |files, _| {
        over(files, &[Bytes { value: 2, len: 60 }, Bytes { value: 2, len: 68 }]);
    });
}

/// A priority that is set by a change is set once, whoever completes the change, and is not set again over a later one.
fn two_priorities() {
    fn high(files: &Files) {
        with(files, |user| user.write_with_priority("/a", TWO.value, TWO.len, 8).expect("room"));
    }
    fn low(files: &Files) {
        with(files, |user| {
            user.set_priority("/a", 2).expect("a file");
            let now = user.priority("/a").expect("a file");
            assert!(
                now == 2 || user.read("/a").expect("a file") == TWO,
                "a priority came before its content"
            );
        });
    }
    model(unflushed, [high, low], |files, _| {
        let now = with(&files, |user| user.priority("/a").expect("a file"));
        assert!([8, 2].contains(&now), "no priority that was set: {now}");
        let then =
            files.reopened(|user| (user.priority("/a").expect("a file"), user.read("/a").expect("a file")));
        assert_eq!(then, (now, TWO), "the order says otherwise");
    });
}

#[test]
fn the_order_of_two_priorities_is_that_of_their_effects() {
    two_priorities();
}

#[test]
fn broken_priority_that_is_set_in_two_steps_comes_back_over_a_later_one() {
    let mutation = || {
        Mutation::at("src/tier/heat.rs", "match node.heat.compare_exchange(heat, next, AcqRel", Kind::Torn)
    };
    breaks(mutation, &["the order says otherwise", "a priority came before"], two_priorities);
}

/// What has a copy on disk may leave at once: locked, it stays.
fn locked_while_evicted() {
    fn lock(files: &Files) -> bool {
        with(files, |user| {
            user.set_priority("/a", 9).expect("a file");
            user.is_in_ram("/a", None)
        })
    }
    fn evict(files: &Files) -> bool {
        with(files, |user| user.evict("/a", None))
    }
    model(flushed, [lock, evict], |files, [was_in_ram, left]| {
        with(&files, |user| assert_eq!(user.is_in_ram("/a", None), was_in_ram, "locked, and left RAM"));
        assert_eq!(left, !was_in_ram);
        let then = files.reopened(|user| user.priority("/a").expect("a file"));
        assert_eq!(then, 9, "the order says otherwise");
    });
}

#[test]
fn a_clean_file_is_locked_while_it_is_evicted() {
    locked_while_evicted();
}

#[test]
fn broken_lock_that_leaves_the_content_word_as_it_is_comes_too_late() {
    let mutation =
        || Mutation::at("src/index/node.rs", "self.content.fetch_add(1 << BINDING_SHIFT", Kind::Skipped);
    breaks(mutation, &["locked, and left RAM"], locked_while_evicted);
}

const DISORDER: &[&str] = &[
    "a write is lost",
    "the order says otherwise",
    "without a place",
    "a place each",
    "back: ",
    "memory was lost",
    "used after its end",
    "twice",
    "Causality",
    "goes on",
    "bytes count as not on disk",
    "left == right",
];

#[test]
fn broken_exchange_in_two_steps_loses_a_change() {
    let mutation = || Mutation::at(CORE, "word.compare_exchange(from.bits(), to.bits(), AcqRel", Kind::Torn);
    breaks(mutation, DISORDER, two_write);
}

#[test]
fn broken_append_that_does_not_see_its_place_appends_a_write_twice() {
    let mutation = || Mutation::at("src/order.rs", "self.place.load(Acquire)", Kind::Sees(0));
    breaks(mutation, &["exceeded", "place", "goes on", "the order"], two_write);
}

// ---------------------------------------------------------------- the flusher and who replaces

fn replaced_while_flushed() {
    model(unflushed, [flush, write_two], |files, _| over(files, &[TWO]));
}

#[test]
fn a_block_is_replaced_while_it_is_flushed() {
    replaced_while_flushed();
}

#[test]
fn a_block_is_replaced_twice_while_it_is_flushed() {
    fn both(files: &Files) -> Vec<Bytes> {
        write_two(files);
        write_three(files)
    }
    model(unflushed, [flush, both], |files, _| over(files, &[THREE]));
}

fn swapped_out_while_flushed() {
    model(unflushed, [flush, swap_out], |files, _| over(files, &[ONE]));
}

#[test]
fn a_block_leaves_ram_as_soon_as_it_is_flushed() {
    swapped_out_while_flushed();
}

fn replaced_and_swapped_out_when_clean() {
    model(flushed, [write_two, swap_out], |files, _| over(files, &[TWO]));
}

#[test]
fn a_clean_block_is_replaced_while_it_leaves_ram() {
    replaced_and_swapped_out_when_clean();
}

fn replaced_and_swapped_out_while_flushed() {
    model(unflushed, [flush, write_two, swap_out], |files, _| over(files, &[TWO]));
}

#[test]
fn a_block_is_replaced_and_leaves_ram_while_it_is_flushed() {
    replaced_and_swapped_out_while_flushed();
}

/// Who appends in place finds no copy on disk; then there is one, of fewer bytes.
fn appended_to_while_flushed() {
    fn append(files: &Files) -> Vec<Bytes> {
        with(files, |user| user.append("/a", 1, 8).expect("room"));
        Vec::new()
    }
    model(unflushed, [flush, append], |files, _| over(files, &[Bytes { value: 1, len: 48 }]));
}

#[test]
fn a_block_is_appended_to_while_it_is_flushed() {
    appended_to_while_flushed();
}

/// The one block of a file becomes its first chunk while somebody has its copy on disk in his hands.
#[test]
fn a_file_becomes_long_while_it_leaves_ram() {
    fn lengthen(files: &Files) -> Vec<Bytes> {
        with(files, |user| user.write_at("/a", 1, 8, CHUNK_BYTES as u64).expect("room"));
        Vec::new()
    }
    model(flushed, [swap_out, lengthen], |files, _| {
        let now = with(&files, |user| user.read_all("/a").expect("a file"));
        files.check_disk(2);
        let then = files.reopened(|user| user.read_all("/a").expect("a file"));
        assert_eq!(then, now, "the order says otherwise");
    });
}

#[test]
fn a_block_is_cut_while_it_is_flushed() {
    fn cut(files: &Files) -> Vec<Bytes> {
        with(files, |user| user.set_len("/a", 8).expect("room"));
        Vec::new()
    }
    model(unflushed, [flush, cut], |files, _| over(files, &[Bytes { value: 1, len: 8 }]));
}

#[test]
fn a_file_is_removed_while_it_is_flushed() {
    fn remove(files: &Files) -> Vec<Bytes> {
        with(files, |user| user.remove("/a").expect("a file"));
        Vec::new()
    }
    model(unflushed, [flush, remove], |files, _| {
        files.check_disk(0);
        assert!(files.reopened(|user| user.read("/a").is_err()), "the order says otherwise");
    });
}

// ---------------------------------------------------------------- what is let go of before it is flushed

/// `/a`, made and replaced so often that the flusher looks what it can do without.
fn crowded() -> Files {
    let files = unflushed();
    with(&files, |user| {
        [TWO, THREE, ONE].into_iter().for_each(|bytes| put(user, bytes));
        assert_eq!(user.placed(), 4);
    });
    files
}

fn write_and_collect(files: &Files) -> Vec<Bytes> {
    with(files, |user| {
        put(user, TWO);
        user.collect();
        user.collect();
    });
    Vec::new()
}

fn condense(files: &Files) -> Vec<Bytes> {
    with(files, |user| user.condense());
    Vec::new()
}

fn replaced_while_condensed() {
    model(crowded, [condense, write_two], |files, _| over(files, &[TWO]));
}

#[test]
fn a_block_is_replaced_while_changes_are_let_go_of() {
    replaced_while_condensed();
}

/// What is kept names a block that is replaced before a flush begins, while it reads, or after.
fn replaced_while_flushed_after_that(write: fn(&Files) -> Vec<Bytes>) {
    fn condensed() -> Files {
        let files = crowded();
        condense(&files);
        files
    }
    model(condensed, [flush, write], |files, _| over(files, &[TWO]));
}

#[test]
fn a_block_is_replaced_while_what_was_not_let_go_of_is_flushed() {
    replaced_while_flushed_after_that(write_two);
}

#[test]
fn changes_are_let_go_of_while_another_flushes() {
    model(crowded, [condense, flush], |files, _| over(files, &[ONE]));
}

#[test]
fn broken_append_published_relaxed_shows_who_lets_go_a_record_unwritten() {
    let mutation = || {
        Mutation::at("src/order.rs", "match tail.next.compare_exchange(ptr::null_mut(), this", Kind::Relaxed)
    };
    breaks(mutation, DISORDER, replaced_while_condensed);
}

#[test]
fn broken_limbo_that_keeps_nothing_frees_what_was_kept_and_is_flushed() {
    let mutation = || Mutation::at("src/tier/limbo.rs", "self.reading.load(SeqCst)", Kind::Sees(0));
    breaks(mutation, DISORDER, || replaced_while_flushed_after_that(write_and_collect));
}

/// What becomes of an extent that two have, or nobody.
const LOST: &[&str] = &[
    "left == right",
    "bytes count as not on disk",
    "twice",
    "released more",
    "used after its end",
    "memory was lost",
    "a write is lost",
    "the order says otherwise",
    "Causality",
    "panicked",
];

#[test]
fn broken_extent_that_is_put_into_the_header_in_two_steps_is_lost() {
    let mutation = || Mutation::at(ENCODE, "extent.swap(extent.bits(), AcqRel)", Kind::Torn);
    breaks(mutation, LOST, replaced_while_flushed);
}

#[test]
fn broken_extent_that_is_not_put_into_the_header_is_lost() {
    let mutation = || Mutation::at(ENCODE, "extent.swap(extent.bits(), AcqRel)", Kind::Skipped);
    breaks(mutation, LOST, replaced_while_flushed);
}

#[test]
fn broken_extent_that_is_taken_in_two_steps_has_two_owners() {
    let mutation =
        || Mutation::at(GROUND, "match self.arena.header(block).extent.swap(0, AcqRel)", Kind::Torn);
    breaks(mutation, LOST, || {
        replaced_and_swapped_out_when_clean();
        replaced_while_flushed();
    });
}

#[test]
fn broken_extent_that_is_not_given_back_is_lost() {
    let mutation = || Mutation::at(GROUND, "let given = header.extent.compare_exchange(0", Kind::Skipped);
    breaks(mutation, LOST, replaced_and_swapped_out_when_clean);
}
