//! Several threads at the same few names; what must hold at every instant, and the structure afterwards.

use super::*;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use std::thread;

const THREADS: usize = 4;

fn rounds() -> usize {
    std::env::var("MEMFS_STRESS_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000)
}

/// A small generator, so that a seed repeats a thread's decisions.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }
}

/// Tells the others to stop, also when the one who holds it panics.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Repeats `step` for the rounds of a stress test, and on until `enough`: on a busy machine the other threads may come late.
fn repeat(rounds: usize, enough: impl Fn() -> bool, mut step: impl FnMut()) {
    let start = std::time::Instant::now();
    let mut round = 0;
    while round < rounds || !enough() {
        assert!(start.elapsed().as_secs() < 120, "the other threads have not got anywhere");
        step();
        round += 1;
    }
}

fn each_thread(store: &Store, run: impl Fn(usize, &Worker<'_>, &mut Dice) + Sync) {
    thread::scope(|scope| {
        for number in 0..THREADS {
            let run = &run;
            scope.spawn(move || {
                let worker = store.worker();
                run(number, &worker, &mut Dice(0x9E37_79B9_7F4A_7C15 ^ (number as u64 + 1) << 40));
            });
        }
    });
}

#[test]
fn everything_at_once_leaves_a_sound_structure() {
    let store = Store::new();
    each_thread(&store, |_, worker, dice| {
        const PATHS: [&str; 12] = [
            "/a", "/b", "/a/a", "/a/b", "/b/a", "/b/b", "/a/a/a", "/a/b/a", "/b/a/b", "/c", "/c/a", "/c/a/b",
        ];
        for _ in 0..rounds() {
            let (one, two) = (PATHS[dice.roll(PATHS.len())], PATHS[dice.roll(PATHS.len())]);
            match dice.roll(9) {
                0 | 1 => drop(worker.create(one, Kind::File, true)),
                2 => drop(worker.create(one, Kind::Directory, dice.roll(2) == 0)),
                3 => drop(worker.remove_file(one)),
                4 => drop(worker.remove_dir(one)),
                // Not to a greater depth, which could go on for ever.
                5 | 6 if two.len() <= one.len() => drop(worker.rename(one, two)),
                6 | 7 => drop(worker.lookup(one)),
                _ => worker.with(|index, cx| {
                    if let Ok(bound) = index.lookup(one, cx.guard) {
                        if bound.is_dir() {
                            index.children(&bound, cx.guard);
                        }
                        if let Some(text) = index.path_of(bound.id, cx.guard) {
                            assert!(text.starts_with('/') && text.len() <= 6, "{text}");
                        }
                    }
                }),
            }
        }
    });
}

#[test]
fn a_name_is_created_and_removed_by_exactly_one_thread_at_a_time() {
    let store = Store::new();
    let balance: [AtomicU64; 4] = std::array::from_fn(|_| AtomicU64::new(0));
    each_thread(&store, |_, worker, dice| {
        for _ in 0..rounds() {
            let n = dice.roll(4);
            let text = format!("/d/{n}");
            if dice.roll(2) == 0 {
                if worker.create(&text, Kind::File, true).is_ok_and(|(new, _)| new) {
                    balance[n].fetch_add(1, Ordering::SeqCst);
                }
            } else if worker.remove_file(&text).is_ok() {
                balance[n].fetch_sub(1, Ordering::SeqCst);
            }
        }
    });
    let worker = store.worker();
    for (n, balance) in balance.iter().enumerate() {
        let there = u64::from(worker.lookup(&format!("/d/{n}")).is_ok());
        assert_eq!(balance.load(Ordering::SeqCst), there, "creations less removals of name {n}");
    }
}

#[test]
fn files_passed_around_by_rename_are_neither_lost_nor_doubled() {
    let store = Store::new();
    let worker = store.worker();
    let ids: Vec<NodeId> = (0..3).map(|n| worker.put(&format!("/d{n}/f{n}"))).collect();
    let found = AtomicU64::new(0);
    each_thread(&store, |_, worker, dice| {
        for _ in 0..rounds() {
            // Onto free names only, seen from this thread: what is replaced is put back under another name.
            let (from, to) = (dice.roll(3) * 3 + dice.roll(3), dice.roll(9));
            let text = |n: usize| format!("/d{}/f{}", n / 3, n % 3);
            worker.with(|index, cx| {
                let replaced = index.rename(&path(&text(from)), &path(&text(to)), cx);
                if let Ok(Some(id)) = replaced {
                    found.fetch_add(1, Ordering::SeqCst);
                    if index.release(id) {
                        index.retire(id, cx);
                    }
                    let init = NodeInit::default();
                    while !matches!(
                        index.create(&path(&text(dice.roll(9))), Kind::File, false, &init, cx),
                        Ok(Created::New(_))
                    ) {}
                }
            });
        }
    });
    assert!(found.load(Ordering::SeqCst) > 0, "renames did meet");
    let total: usize = (0..3).map(|n| worker.names(&format!("/d{n}")).len()).sum();
    assert_eq!(total, ids.len());
    assert_eq!(store.index.file_count(), 3);
}

#[test]
fn a_file_that_goes_to_and_fro_between_two_names_is_never_missed() {
    let store = Store::new();
    let worker = store.worker();
    let id = worker.put("/d/here");
    worker.mkdir("/e");
    let done = AtomicBool::new(false);
    let seen: [AtomicU64; 2] = std::array::from_fn(|_| AtomicU64::new(0));
    // Counted before and after each rename, so that a reader can tell how many it may have met.
    let (begun, ended) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let worker = store.worker();
                while !done.load(Ordering::SeqCst) {
                    // At the old name before and after the new one: missing at all three means that it was nowhere, or
                    // has moved twice.
                    let before = ended.load(Ordering::SeqCst);
                    let found = ["/d/here", "/e/there", "/d/here"].map(|text| worker.lookup(text).is_ok());
                    let after = begun.load(Ordering::SeqCst);
                    assert!(after - before > 1 || found.contains(&true), "the file was nowhere");
                    for (count, found) in seen.iter().zip(found) {
                        count.fetch_add(u64::from(found), Ordering::SeqCst);
                    }
                    let text = worker.path_of(id).expect("it always has a name");
                    assert!(text == "/d/here" || text == "/e/there", "{text}");
                }
            });
        }
        let _stop = StopAtEnd(&done);
        let enough = || seen.iter().all(|count| count.load(Ordering::SeqCst) > 100);
        repeat(rounds(), enough, || {
            for (from, to) in [("/d/here", "/e/there"), ("/e/there", "/d/here")] {
                begun.fetch_add(1, Ordering::SeqCst);
                worker.rename(from, to).expect("it is where it was put");
                ended.fetch_add(1, Ordering::SeqCst);
            }
        });
    });
}

#[test]
fn a_directory_that_moves_is_found_under_one_of_its_paths_with_all_below_it() {
    let store = Store::new();
    let worker = store.worker();
    let id = worker.put("/a/d/e/f");
    worker.mkdir("/b");
    let done = AtomicBool::new(false);
    let seen: [AtomicU64; 2] = std::array::from_fn(|_| AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let worker = store.worker();
                while !done.load(Ordering::SeqCst) {
                    for (count, text) in seen.iter().zip(["/a/d/e/f", "/b/c/e/f"]) {
                        if let Ok((found, _)) = worker.lookup(text) {
                            assert_eq!(found, id);
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    let text = worker.path_of(id).expect("always has a name");
                    assert!(text == "/a/d/e/f" || text == "/b/c/e/f", "{text}");
                    assert!(worker.lookup("/a/c").is_err() && worker.lookup("/b/d").is_err());
                }
            });
        }
        let _stop = StopAtEnd(&done);
        let enough = || seen.iter().all(|count| count.load(Ordering::SeqCst) > 100);
        repeat(rounds(), enough, || {
            worker.rename("/a/d", "/b/c").expect("it is here");
            worker.rename("/b/c", "/a/d").expect("it is there");
        });
    });
}

#[test]
fn entries_present_throughout_are_listed_exactly_once() {
    let store = Store::new();
    let worker = store.worker();
    let fixed: Vec<String> = (0..200).map(|n| format!("fixed{n:03}")).collect();
    for name in &fixed {
        worker.put(&format!("/d/{name}"));
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..2 {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                let worker = store.worker();
                let mut dice = Dice(77 + number);
                while !done.load(Ordering::SeqCst) {
                    let n = dice.roll(150);
                    worker.put(&format!("/d/t{n}"));
                    // A replacement: the fixed name is there throughout, with one node or another.
                    if dice.roll(4) == 0 {
                        drop(worker.rename(&format!("/d/t{n}"), &format!("/d/fixed{:03}", dice.roll(200))));
                    }
                    drop(worker.remove_file(&format!("/d/t{}", dice.roll(150))));
                }
            });
        }
        let _stop = StopAtEnd(&done);
        for _ in 0..rounds() / 20 {
            let mut listed = Vec::new();
            worker.with(|index, cx| {
                let bound = index.lookup("/d", cx.guard).expect("there");
                index.for_each_child(&bound, cx.guard, |name, _, _| listed.push(name.to_owned()));
            });
            listed.retain(|name| name.starts_with("fixed"));
            listed.sort_unstable();
            assert_eq!(listed, fixed);
        }
    });
}

#[test]
fn a_write_below_a_directory_being_removed_never_answers_not_found() {
    let store = Store::new();
    each_thread(&store, |number, worker, dice| {
        for round in 0..rounds() {
            if number % 2 == 0 {
                let text = format!("/p/q/{number}");
                let (new, id) = worker.create(&text, Kind::File, true).expect("parents are made");
                assert!(new);
                // Nobody removes the directory over an entry, nor the entry.
                assert_eq!(worker.lookup(&text), Ok((id, Kind::File)));
                assert_eq!(worker.remove_file(&text), Ok(id));
            } else {
                match dice.roll(3) {
                    0 => _ = worker.remove_dir("/p/q"),
                    1 => drop(worker.remove_dir("/p")),
                    _ => match worker.create("/p/q/sub", Kind::Directory, round % 2 == 0) {
                        Ok(_) => drop(worker.remove_dir("/p/q/sub")),
                        Err(error) => assert!(matches!(error, IndexError::NotFound(_)), "{error:?}"),
                    },
                }
            }
        }
    });
}

#[test]
fn directories_moved_into_each_other_never_form_a_circle() {
    let store = Store::new();
    let worker = store.worker();
    for text in ["/x", "/y", "/z"] {
        worker.mkdir(text);
    }
    each_thread(&store, |_, worker, dice| {
        const NAMES: [&str; 3] = ["x", "y", "z"];
        for _ in 0..rounds() / 4 {
            let (one, two) = (NAMES[dice.roll(3)], NAMES[dice.roll(3)]);
            // Into the other and out again: two threads that do the opposite could close a circle.
            drop(worker.rename(&format!("/{one}"), &format!("/{two}/{one}")));
            drop(worker.rename(&format!("/{two}/{one}"), &format!("/{one}")));
        }
    });
    // The validator, when the store goes, asks that everything be reached from the root.
    assert_eq!(store.index.dir_count(), 3);
}

#[test]
fn a_directory_replaced_by_another_is_never_seen_missing_nor_replaced_while_it_has_entries() {
    let store = Store::new();
    let worker = store.worker();
    worker.mkdir("/target");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let worker = store.worker();
            while !done.load(Ordering::SeqCst) {
                assert!(worker.lookup("/target").is_ok_and(|(_, kind)| kind == Kind::Directory));
                if let Ok((true, id)) = worker.create("/target/entry", Kind::File, false) {
                    let text = worker.path_of(id).expect("it has a name");
                    assert_eq!(text, "/target/entry");
                    assert_eq!(worker.remove_file("/target/entry"), Ok(id));
                }
            }
        });
        let _stop = StopAtEnd(&done);
        let outcomes = std::cell::Cell::new((0, 0));
        let enough = || outcomes.get().0 > 100 && outcomes.get().1 > 10;
        repeat(rounds(), enough, || {
            worker.mkdir("/fresh");
            let (replaced, refused) = outcomes.get();
            match worker.rename("/fresh", "/target") {
                Ok(None) => outcomes.set((replaced + 1, refused)),
                other => {
                    assert_eq!(other, Err(IndexError::NotEmpty("/target".into())));
                    outcomes.set((replaced, refused + 1));
                }
            }
        });
    });
}
