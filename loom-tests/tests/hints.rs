//! What the index remembers of paths: whoever finds it sees it whole, and nothing of it is freed under a reader.
#![cfg(memfs_loom)]

use memfs::model::hints::{HintUser, Hints};
use memfs_loom_tests::{Kind, Mutation, breaks, fails, model};

const PREFIX: &str = "src/index/prefix.rs";
const CACHE: &str = "src/index/cache.rs";

const RACE: &[&str] = &["Causality violation", "used after its end"];
const TWICE: &[&str] =
    &["freed twice", "memory was lost", "bytes were lost", "Causality violation", "used after"];

fn with<R>(hints: &Hints, run: impl FnOnce(&HintUser<'_>) -> R) -> R {
    run(&hints.user())
}

type Found = Option<u32>;

// ---------------------------------------------------------------- prefixes

/// One way, with what was true at stamp 1.
fn noted() -> Hints {
    let hints = Hints::new();
    with(&hints, |user| user.note("/d", 1, 2, 0));
    hints
}

fn find(hints: &Hints) -> Found {
    with(hints, |user| user.noted("/d", 1, 2))
}

/// What holds at stamp 2, in the same way.
fn fill(hints: &Hints) -> Found {
    with(hints, |user| {
        user.note("/d", 2, 3, 0);
        user.collect();
    });
    None
}

fn filled_and_found(fill: fn(&Hints) -> Found) {
    fn find_both(hints: &Hints) -> Found {
        with(hints, |user| {
            let new = user.noted("/d", 2, 3);
            new.or(user.noted("/d", 1, 2))
        })
    }
    model(noted, [fill, find_both], |hints, [_, found]| {
        assert!([None, Some(2), Some(3)].contains(&found), "{found:?}");
        with(&hints, |user| {
            assert_eq!(user.noted("/d", 2, 3), Some(3), "what was noted is lost");
            assert_eq!(user.noted("/d", 1, 2), None, "what was replaced");
            assert_eq!(user.noted("/d", 1, 3), None, "what holds at another stamp");
        });
        hints.finish();
    });
}

#[test]
fn a_prefix_is_found_whole_while_it_is_replaced() {
    filled_and_found(fill);
}

#[test]
fn broken_replacement_that_frees_at_once_is_seen_by_a_reader() {
    fails(RACE, || {
        filled_and_found(|hints| {
            hints.reckless_user().note("/d", 2, 3, 0);
            None
        });
    });
}

#[test]
fn broken_fill_published_relaxed_shows_an_entry_unwritten() {
    let mutation = || Mutation::at(PREFIX, "match way.compare_exchange(seen, new", Kind::Relaxed);
    breaks(mutation, RACE, || filled_and_found(fill));
}

#[test]
fn broken_find_without_acquire_reads_an_entry_unwritten() {
    let mutation = || Mutation::at(PREFIX, "let way = way.load(Ordering::Acquire);", Kind::Relaxed);
    breaks(mutation, RACE, || filled_and_found(fill));
}

fn filled_twice() {
    model(noted, [fill, fill], |hints, _| {
        with(&hints, |user| assert_eq!(user.noted("/d", 2, 3), Some(3), "what was noted is lost"));
        hints.finish();
    });
}

/// The loser's entry was nobody else's, the winner's takes the place of one that the loser is looking at.
#[test]
fn two_fill_one_way() {
    filled_twice();
}

#[test]
fn broken_fill_in_two_steps_frees_an_entry_twice() {
    let mutation = || Mutation::at(PREFIX, "match way.compare_exchange(seen, new", Kind::Torn);
    breaks(mutation, TWICE, filled_twice);
}

#[test]
fn broken_choice_of_a_way_without_acquire_reads_an_entry_unwritten() {
    let mutation =
        || Mutation::at(PREFIX, "set.iter().map(|way| (way, way.load(Ordering::Acquire)))", Kind::Relaxed);
    breaks(mutation, RACE, filled_twice);
}

/// A second directory: there are to be two sets.
fn grow(hints: &Hints) -> Found {
    with(hints, |user| {
        user.note("/e", 1, 3, 1);
        user.collect();
    });
    None
}

fn grown_and_found(grow: fn(&Hints) -> Found) {
    model(noted, [grow, find], |hints, [_, found]| {
        assert!([None, Some(2)].contains(&found), "{found:?}");
        with(&hints, |user| {
            assert_eq!(user.noted("/e", 1, 3), Some(3), "what was noted is lost");
            user.note("/d", 1, 2, 1);
            assert_eq!(user.noted("/d", 1, 2), Some(2), "nothing is noted any more");
        });
        hints.finish();
    });
}

#[test]
fn a_prefix_is_looked_for_while_the_sets_grow() {
    grown_and_found(grow);
}

#[test]
fn broken_growth_of_the_sets_that_frees_at_once_is_seen() {
    fails(RACE, || {
        grown_and_found(|hints| {
            hints.reckless_user().note("/e", 1, 3, 1);
            None
        });
    });
}

#[test]
fn broken_growth_of_the_sets_published_relaxed_shows_them_unmade() {
    let mutation =
        || Mutation::at(PREFIX, "self.sets.compare_exchange(from, new, Ordering::Release", Kind::Relaxed);
    breaks(mutation, RACE, || grown_and_found(grow));
}

/// Who fills a set that has been replaced meanwhile fills it for nobody, and its entry goes with the set.
fn filled_while_grown() {
    fn fill(hints: &Hints) -> Found {
        with(hints, |user| user.note("/d", 2, 3, 0));
        None
    }
    model(noted, [grow, fill], |hints, _| {
        with(&hints, |user| {
            assert_eq!(user.noted("/d", 2, 2), None, "what held at another stamp");
        });
        hints.finish();
    });
}

#[test]
fn a_prefix_is_replaced_while_the_sets_grow() {
    filled_while_grown();
}

fn grown_twice() {
    fn grow_as_well(hints: &Hints) -> Found {
        with(hints, |user| user.note("/e", 1, 3, 1));
        None
    }
    model(noted, [grow, grow_as_well], |hints, _| {
        with(&hints, |user| assert_eq!(user.noted("/e", 1, 3), Some(3), "what was noted is lost"));
        hints.finish();
    });
}

#[test]
fn two_let_the_sets_grow() {
    grown_twice();
}

#[test]
fn broken_growth_of_the_sets_in_two_steps_frees_them_twice() {
    let mutation =
        || Mutation::at(PREFIX, "self.sets.compare_exchange(from, new, Ordering::Release", Kind::Torn);
    breaks(mutation, TWICE, grown_twice);
}

// ---------------------------------------------------------------- the path cache

fn cached() -> Hints {
    let hints = Hints::new();
    with(&hints, |user| user.cache("/a", 2));
    hints
}

/// The same after it has grown once, and nothing is left of what was before.
fn cached_at_large() -> Hints {
    let hints = Hints::new();
    with(&hints, |user| {
        user.grow_cache();
        user.cache("/a", 2);
        (0..3).for_each(|_| user.collect());
    });
    hints
}

/// It has just grown to four sets: two are to be carried over, by one who notes a path each.
fn cached_and_growing() -> Hints {
    let hints = cached_at_large();
    with(&hints, |user| user.grow_cache());
    hints
}

fn look_up(hints: &Hints) -> Found {
    with(hints, |user| user.cached("/a"))
}

fn remember(hints: &Hints) -> Found {
    with(hints, |user| user.cache("/b", 3));
    None
}

fn grow_cache(hints: &Hints) -> Found {
    with(hints, |user| {
        user.grow_cache();
        user.collect();
    });
    None
}

fn shrink_cache(hints: &Hints) -> Found {
    with(hints, |user| {
        user.shrink_cache();
        user.collect();
    });
    None
}

/// An answer is the right one, or none; the cache goes on working, and nothing of it is lost.
fn over<const N: usize>(hints: Hints, found: [Found; N]) {
    assert!(found.iter().flatten().all(|id| *id == 2), "{found:?}");
    with(&hints, |user| {
        user.cache("/a", 2);
        assert_eq!(user.cached("/a"), Some(2), "nothing is noted any more");
    });
    hints.finish();
}

fn found_while_grown(grow: fn(&Hints) -> Found) {
    model(cached, [grow, look_up], over);
}

#[test]
fn a_path_is_found_while_the_cache_grows() {
    found_while_grown(grow_cache);
}

#[test]
fn a_path_is_found_while_the_cache_shrinks() {
    model(cached_at_large, [shrink_cache, look_up], over);
}

#[test]
fn a_path_is_noted_while_the_cache_grows() {
    model(cached, [grow_cache, remember], over);
}

#[test]
fn a_path_is_noted_while_the_cache_shrinks() {
    model(cached_at_large, [shrink_cache, remember], over);
}

#[test]
fn two_let_the_cache_grow() {
    model(cached, [grow_cache, grow_cache], over);
}

fn grown_and_shrunk() {
    fn grow(hints: &Hints) -> Found {
        with(hints, |user| user.grow_cache());
        None
    }
    model(cached_at_large, [grow, shrink_cache], over);
}

#[test]
fn the_cache_grows_while_it_shrinks() {
    grown_and_shrunk();
}

#[test]
fn broken_shrinking_of_the_cache_that_frees_at_once_is_seen() {
    fails(RACE, || {
        model(
            cached_at_large,
            [
                |hints| {
                    hints.reckless_user().shrink_cache();
                    None
                },
                look_up,
            ],
            over,
        );
    });
}

#[test]
fn broken_growth_of_the_cache_published_relaxed_shows_it_unmade() {
    let mutation =
        || Mutation::at(CACHE, "self.ways.compare_exchange(old, new, Ordering::Release", Kind::Relaxed);
    breaks(mutation, RACE, || found_while_grown(grow_cache));
}

#[test]
fn broken_growth_of_the_cache_in_two_steps_frees_it_twice() {
    let mutation =
        || Mutation::at(CACHE, "self.ways.compare_exchange(old, new, Ordering::Release", Kind::Torn);
    breaks(mutation, TWICE, grown_and_shrunk);
}

fn carried(remember: fn(&Hints) -> Found, remember_as_well: fn(&Hints) -> Found) {
    model(cached_and_growing, [remember, remember_as_well], |hints, found| {
        with(&hints, |user| {
            assert_eq!(user.cached("/a"), Some(2), "what was noted before it grew is lost");
            assert_eq!(user.cached("/b"), Some(3), "what was noted since is lost");
        });
        over(hints, found);
    });
}

#[test]
fn two_carry_over_what_was_noted() {
    carried(remember, remember);
}

#[test]
fn a_path_is_found_while_it_is_carried_over() {
    fn look_up_carrying(hints: &Hints) -> Found {
        with(hints, |user| {
            user.cache("/b", 3);
            user.cached("/a")
        })
    }
    carried(look_up_carrying, remember);
}

#[test]
fn the_cache_grows_again_while_it_is_carried_over() {
    model(cached_and_growing, [grow_cache, remember], over);
}

#[test]
fn the_cache_shrinks_while_it_is_carried_over() {
    model(cached_and_growing, [shrink_cache, remember], over);
}

#[test]
fn broken_carrying_that_frees_at_once_is_seen() {
    fn remember_recklessly(hints: &Hints) -> Found {
        hints.reckless_user().cache("/b", 3);
        None
    }
    fails(RACE, || carried(remember, remember_recklessly));
}

#[test]
fn what_is_carried_over_is_given_up_meanwhile() {
    fn give_up(hints: &Hints) -> Found {
        with(hints, |user| {
            user.trim_cache();
            user.collect();
        });
        None
    }
    model(cached_and_growing, [give_up, remember], over);
}

/// Both take it out, and both let it go.
#[test]
fn broken_giving_up_in_two_steps_frees_it_twice() {
    let mutation = || Mutation::at(CACHE, "self.before.swap(std::ptr::null_mut()", Kind::Torn);
    breaks(mutation, TWICE, || {
        fn give_up(hints: &Hints) -> Found {
            with(hints, |user| user.trim_cache());
            None
        }
        model(cached_and_growing, [give_up, give_up], over);
    });
}
