//! Threads stopped at a chosen point: what others find there, and that they get on.

use super::*;
use crate::{
    index::{
        CONTENT_MASK, Settled,
        descriptor::{Descriptor, Plan, Status},
        lookup::Bound,
        word,
    },
    sync::{AtomicBool, AtomicU64, Ordering},
};
use std::thread;

/// A descriptor for renaming a file, made and not yet run.
fn stopped_rename<'g>(index: &'g Index, from: &str, to: &str, cx: &Cx<'g>) -> &'g Descriptor {
    let source = index.lookup(from, cx.guard).expect("there");
    let (parent, name) = crate::path::split(to).expect("not the root");
    let parent = index.lookup(parent, cx.guard).expect("there");
    let reserved = index.reserve(&parent, name, cx).expect("room").expect("open");
    let plan = Plan {
        source: Some(source.dentry.expect("not the root")),
        moved: source.target(),
        destination: Some((reserved.dentry, reserved.target)),
        closing: reserved.target.filter(|target| target.is_dir()).map(|target| index.body(target, cx.guard)),
        moves: source.is_dir().then(|| (&index.moves.word, index.settled_moves(cx.guard))),
        record: None,
    };
    Descriptor::new(&plan, &index.memory, cx.magazine, cx.guard).expect("room").expect("alive")
}

fn install(descriptor: &Descriptor, words: usize) {
    for entry in descriptor.entries().take(words) {
        let ours = word::of_descriptor(descriptor);
        // SAFETY: the maker has not left.
        let place = unsafe { &*entry.word };
        place.compare_exchange(entry.expected, ours, Ordering::SeqCst, Ordering::SeqCst).expect("untouched");
    }
}

#[test]
fn a_rename_stopped_before_its_decision_reads_as_before_and_is_completed_by_whoever_meets_it() {
    for words in 1..=2 {
        let store = Store::new();
        let (stopped, other) = (store.worker(), store.worker());
        let (one, two) = (stopped.put("/one"), stopped.put("/two"));
        stopped.with(|index, cx| {
            let descriptor = stopped_rename(index, "/one", "/two", cx);
            install(descriptor, words);
            assert_eq!(other.lookup("/one"), Ok((one, Kind::File)));
            assert_eq!(other.lookup("/two"), Ok((two, Kind::File)));
            assert_eq!(other.names("/"), ["one", "two"]);
            let destination = descriptor.destination().expect("a rename");
            if word::descriptor(destination.word.load(Ordering::SeqCst)).is_some() {
                // The remover meets the rename, completes it, and removes what it has brought.
                assert_eq!(other.remove_file("/two"), Ok(one));
                assert_eq!(index.execute(descriptor, cx.guard), Status::Succeeded);
                // What is left to its maker: the name that died, and the file that was replaced.
                index.table.bury(descriptor.source().expect("a rename"), cx.guard);
                index.count_down(Kind::File, cx);
                assert!(index.release(two));
                index.retire(two, cx);
                assert_eq!(other.names("/"), [""; 0]);
            } else {
                // The remover is faster: the rename finds its destination changed.
                assert_eq!(other.remove_file("/two"), Ok(two));
                assert_eq!(index.execute(descriptor, cx.guard), Status::Disturbed);
                assert_eq!(other.names("/"), ["one"]);
            }
        });
    }
}

#[test]
fn a_directory_move_stopped_half_way_stops_no_look_up_and_no_other_move() {
    let store = Store::new();
    let (stopped, other) = (store.worker(), store.worker());
    let id = stopped.put("/a/f");
    stopped.mkdir("/b");
    let moved = stopped.lookup("/a").expect("there").0;
    stopped.with(|index, cx| {
        let descriptor = stopped_rename(index, "/a", "/b/a", cx);
        install(descriptor, usize::MAX);
        assert_eq!(other.lookup("/a/f"), Ok((id, Kind::File)));
        assert_eq!(other.path_of(id).as_deref(), Some("/a/f"));
        // Another move completes it first.
        other.mkdir("/c");
        assert_eq!(other.rename("/c", "/d"), Ok(None));
        assert_eq!(other.lookup("/b/a"), Ok((moved, Kind::Directory)));
        assert_eq!(other.lookup("/b/a/f"), Ok((id, Kind::File)));
        assert!(other.lookup("/a/f").is_err());
        assert_eq!(index.execute(descriptor, cx.guard), Status::Succeeded);
        index.table.bury(descriptor.source().expect("a rename"), cx.guard);
    });
}

#[test]
fn a_removal_stopped_half_way_reads_as_bound_and_is_completed_by_the_next_creator() {
    let store = Store::new();
    let (stopped, other) = (store.worker(), store.worker());
    let id = stopped.put("/d/f");
    stopped.with(|index, cx| {
        let bound = index.lookup("/d/f", cx.guard).expect("there");
        let target = bound.target();
        let dentry = bound.dentry.expect("not the root");
        let content = bound.node.content.load(Ordering::SeqCst);
        dentry
            .word
            .compare_exchange(
                word::bound(target),
                word::unbinding(target),
                Ordering::SeqCst,
                Ordering::SeqCst,
            )
            .expect("untouched");
        assert_eq!(other.lookup("/d/f"), Ok((id, Kind::File)));
        assert!(bound.still(index));
        assert_eq!(other.names("/d"), ["f"]);
        let (new, second) = other.create("/d/f", Kind::File, false).expect("room");
        assert!(new && second != id);
        assert!(!bound.still(index));
        assert_eq!(bound.settled(index, cx.guard), Settled::Retry);
        assert_ne!(bound.node.content.load(Ordering::SeqCst), content, "a writer stopped before it fails");
        // What the remover has left to do.
        index.finish_unbinding(dentry, target);
        index.table.bury(dentry, cx.guard);
        index.count_down(Kind::File, cx);
        assert!(index.release(id));
        index.retire(id, cx);
        assert_eq!(other.lookup("/d/f"), Ok((second, Kind::File)));
    });
}

#[test]
fn a_creator_stopped_before_it_binds_does_not_keep_its_directory_alive() {
    let store = Store::new();
    let (stopped, other) = (store.worker(), store.worker());
    stopped.mkdir("/d");
    stopped.with(|index, cx| {
        let parent = index.lookup("/d", cx.guard).expect("there");
        let reserved = index.reserve(&parent, "f", cx).expect("room").expect("open");
        assert_eq!(other.names("/d"), [""; 0]);
        assert_eq!(other.remove_dir("/d"), Ok(()));
        assert!(!index.may_bind(index.body(parent.target(), cx.guard), cx.guard));
        assert_eq!(reserved.dentry.word.load(Ordering::SeqCst), word::DEAD);
        index.abandon(reserved.dentry, cx);
        // Nor is a name left that a later directory of the same id would inherit.
        assert!(index.table.lookup(index.key(parent.id, "f"), cx.guard).is_none());
    });
}

#[test]
fn a_rename_into_a_directory_that_is_being_removed_gives_way() {
    let store = Store::new();
    let (stopped, other) = (store.worker(), store.worker());
    let id = stopped.put("/f");
    stopped.mkdir("/d");
    stopped.with(|index, cx| {
        let descriptor = stopped_rename(index, "/f", "/d/g", cx);
        // Taken: only the word in the directory, so that the scan meets it undecided.
        let destination = descriptor.destination().expect("a rename");
        let ours = word::of_descriptor(descriptor);
        destination
            .word
            .compare_exchange(word::NONE, ours, Ordering::SeqCst, Ordering::SeqCst)
            .expect("untouched");
        assert_eq!(other.remove_dir("/d"), Ok(()));
        assert_eq!(index.execute(descriptor, cx.guard), Status::Disturbed);
        assert_eq!(other.lookup("/f"), Ok((id, Kind::File)));
        assert_eq!(other.names("/"), ["f"]);
    });
}

#[test]
fn a_failed_descriptor_put_back_by_a_late_helper_changes_nothing() {
    let store = Store::new();
    let (stopped, other) = (store.worker(), store.worker());
    let (one, two) = (stopped.put("/one"), stopped.put("/two"));
    stopped.with(|index, cx| {
        let descriptor = stopped_rename(index, "/one", "/two", cx);
        assert!(descriptor.enter(), "a second helper");
        descriptor.decide(Status::Disturbed);
        assert_eq!(index.execute(descriptor, cx.guard), Status::Disturbed);
        // The second helper slept between its look at the status and its compare-and-swap.
        install(descriptor, 2);
        assert_eq!(other.lookup("/one"), Ok((one, Kind::File)));
        assert_eq!(other.lookup("/two"), Ok((two, Kind::File)));
        assert_eq!(other.rename("/one", "/three"), Ok(None));
        assert_eq!(other.names("/"), ["three", "two"]);
        assert_eq!(index.execute(descriptor, cx.guard), Status::Disturbed);
        assert!(!descriptor.enter(), "nobody comes in after the last has left");
    });
}

#[test]
fn a_rename_makes_prepared_writes_to_both_files_fail() {
    let store = Store::new();
    let worker = store.worker();
    let (one, two) = (worker.put("/one"), worker.put("/two"));
    worker.with(|index, cx| {
        let content = |id| index.node(id).expect("there").content.load(Ordering::SeqCst);
        let before = [content(one), content(two)];
        assert_eq!(index.rename(&path("/one"), &path("/two"), cx), Ok(Some(two)));
        let after = [content(one), content(two)];
        assert!(before[0] != after[0] && before[1] != after[1], "a compare-and-swap would succeed");
        assert_eq!(before.map(|word| word & CONTENT_MASK), after.map(|word| word & CONTENT_MASK));
        assert!(index.release(two));
        index.retire(two, cx);
    });
}

#[test]
fn a_writer_that_finds_its_name_marked_completes_what_is_under_way_and_looks_again() {
    let store = Store::new();
    let (stopped, writer) = (store.worker(), store.worker());
    let (one, two) = (stopped.put("/one"), stopped.put("/two"));
    stopped.with(|index, cx| {
        let bound = index.lookup("/two", cx.guard).expect("there");
        let target = bound.target();
        let dentry = bound.dentry.expect("not the root");
        let marked = word::unbinding(target);
        dentry
            .word
            .compare_exchange(word::bound(target), marked, Ordering::SeqCst, Ordering::SeqCst)
            .expect("untouched");
        assert!(bound.still(index), "it reads as bound");
        assert_eq!(writer.with(|index, cx| bound.settled(index, cx.guard)), Settled::Retry);
        assert!(writer.lookup("/two").is_err());
        index.table.bury(dentry, cx.guard);
        index.count_down(Kind::File, cx);
        assert!(index.release(two));
        index.retire(two, cx);

        let bound = index.lookup("/one", cx.guard).expect("there");
        let descriptor = stopped_rename(index, "/one", "/three", cx);
        install(descriptor, 2);
        assert!(bound.still(index), "it reads as bound");
        assert_eq!(writer.with(|index, cx| bound.settled(index, cx.guard)), Settled::Retry);
        assert_eq!(writer.lookup("/three"), Ok((one, Kind::File)));
        assert_eq!(index.execute(descriptor, cx.guard), Status::Succeeded);
        index.table.bury(descriptor.source().expect("a rename"), cx.guard);
    });
}

#[test]
fn what_a_descriptor_refers_to_outlives_its_removal_until_the_last_helper_has_left() {
    let store = Store::new();
    let worker = store.worker();
    worker.put("/kept");
    worker.quiesce();
    let before = store.index.memory.bytes();
    worker.put("/one");
    worker.put("/two");
    let descriptor: *const Descriptor = worker.with(|index, cx| {
        let descriptor = stopped_rename(index, "/one", "/two", cx);
        assert!(descriptor.enter(), "a second helper");
        descriptor.decide(Status::Disturbed);
        index.execute(descriptor, cx.guard);
        std::ptr::from_ref(descriptor)
    });
    worker.remove_file("/one").expect("there");
    worker.remove_file("/two").expect("there");
    worker.quiesce();
    let held = store.index.memory.bytes() - before;
    assert!(held as usize > size_of::<Descriptor>(), "{held} bytes: not both names and the descriptor");
    worker.with(|index, cx| {
        // SAFETY: the second helper is inside, so it is not retired; nor is what it refers to.
        let descriptor = unsafe { &*descriptor };
        assert_eq!(descriptor.source().expect("a rename").name(), b"one");
        assert_eq!(index.execute(descriptor, cx.guard), Status::Disturbed);
    });
    worker.quiesce();
    assert_eq!(store.index.memory.bytes(), before);
}

/// The write protocol of the floor above, on a counter in the content word: an increment by path is one read and one
/// compare-and-swap, and must hit the node that the path means at that instant.
fn increment<'g>(index: &'g Index, text: &str, cx: &Cx<'g>) -> Option<Bound<'g>> {
    loop {
        let bound = index.lookup(text, cx.guard).ok()?;
        let seen = bound.node.content.load(Ordering::Acquire);
        if bound.settled(index, cx.guard) == Settled::Retry {
            continue;
        }
        crate::index::chaos::may_stop_here();
        let new = seen + 1;
        if bound.node.content.compare_exchange(seen, new, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return Some(bound);
        }
    }
}

#[test]
fn no_write_by_name_lands_after_the_name_has_gone() {
    let store = Store::new();
    let worker = store.worker();
    let rounds = 10_000;
    let done = AtomicBool::new(false);
    let writes = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let worker = store.worker();
                while !done.load(Ordering::SeqCst) {
                    if worker.with(|index, cx| increment(index, "/name", cx).is_some()) {
                        writes.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        for round in 0..rounds {
            let id = worker.put("/name");
            worker.with(|index, cx| {
                let node = index.node(id).expect("there");
                while round % 64 == 0 && node.content.load(Ordering::SeqCst) & crate::index::CONTENT_MASK == 7
                {
                }
                if round % 2 == 0 {
                    assert_eq!(index.remove_file("/name", cx), Ok(id));
                } else {
                    assert_eq!(index.rename(&path("/name"), &path("/aside"), cx), Ok(None));
                }
                // From here on nobody can write to it by name.
                let seen = node.content.load(Ordering::SeqCst);
                for _ in 0..5 {
                    thread::yield_now();
                    let again = node.content.load(Ordering::SeqCst);
                    assert_eq!(
                        again & CONTENT_MASK,
                        seen & CONTENT_MASK,
                        "a write landed after the name had gone"
                    );
                }
                if round % 2 == 1 {
                    assert_eq!(index.remove_file("/aside", cx), Ok(id));
                }
                if index.release(id) {
                    index.retire(id, cx);
                }
            });
        }
        done.store(true, Ordering::SeqCst);
    });
    assert!(writes.load(Ordering::SeqCst) > 0);
}

#[test]
fn a_vacancy_that_is_taken_meanwhile_is_left_alone() {
    let store = Store::new();
    let (stopped, other) = (store.worker(), store.worker());
    stopped.mkdir("/d");
    let init = NodeInit { content: 7, ..NodeInit::default() };
    stopped.with(|index, cx| {
        let vacancy = |text| index.vacancy(text, index.spelled(text), cx.guard);
        let seen = ["/d/f", "/d/g", "/d/h"].map(|text| vacancy(text).expect("nothing is there"));
        // Made by another; made and removed by another; and neighbours come between.
        let taken = other.put("/d/f");
        other.put("/d/g");
        other.remove_file("/d/g").expect("just made");
        for n in 0..2000 {
            other.put(&format!("/d/{n}"));
        }
        let made = seen.map(|vacancy| index.occupy(&vacancy, &init, cx).expect("room").map(|bound| bound.id));
        assert_eq!(made[0], None);
        assert_eq!(other.lookup("/d/f"), Ok((taken, Kind::File)));
        for (made, text) in [(made[1], "/d/g"), (made[2], "/d/h")] {
            assert_eq!(other.lookup(text), Ok((made.expect("nothing is there"), Kind::File)));
        }
        assert!(vacancy("/d/f").is_none() && vacancy("/d").is_none() && vacancy("/").is_none());
        assert!(vacancy("/none/f").is_none() && vacancy("/d/../f").is_none() && vacancy("/d/f2/").is_none());
    });
    stopped.with(|index, cx| {
        let empty = index.vacancy("/e", index.spelled("/e"), cx.guard).expect("nothing is there");
        assert!(index.occupy(&empty, &init, cx).expect("room").is_some());
        other.mkdir("/gone");
        // Where its line of the cache is full the directory comes in by chance, with one of its look-ups.
        let vacancy = loop {
            if let Some(vacancy) = index.vacancy("/gone/f", index.spelled("/gone/f"), cx.guard) {
                break vacancy;
            }
            other.lookup("/gone").expect("it was made");
        };
        other.remove_dir("/gone").expect("empty");
        assert!(index.occupy(&vacancy, &init, cx).expect("room").is_none(), "its directory is gone");
    });
}
