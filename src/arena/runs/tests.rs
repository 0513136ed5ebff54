//! Runs against a plain model of pages, among threads, and at their limits.

use super::*;
use crate::{arena::bitmap::WORD_BITS, sync::thread};
use proptest::prelude::*;

const PAGE: u64 = 4096;

fn runs(pages: usize, rows: bool) -> Runs {
    let plan = Plan { page_bytes: 4096, pages, group_pages: 256, overhead_bytes: 4170, leave_bytes: 0, rows };
    Runs::new(plan).expect("address space")
}

/// A run of resident pages, as the arena takes one.
fn claim(runs: &Runs, budget: &Budget, pages: usize) -> Option<Range<usize>> {
    let mut run = loop {
        match runs.claim(budget, pages, |_| ()) {
            Ok(run) => break run,
            Err(Lack::Room) if runs.trim(budget, runs.plan.overhead_bytes, |_| ()) > 0 => {}
            Err(Lack::Room | Lack::Place) => return None,
        }
    };
    while !runs.back(budget, &mut run, |_| ()) {
        if runs.trim(budget, runs.bytes(run.missing), |_| ()) == 0 {
            runs.give(run.pages);
            return None;
        }
    }
    Some(run.pages)
}

#[derive(Clone, Debug)]
enum Op {
    Claim(usize),
    Give(usize),
    Trim(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let length = prop_oneof![2..6_usize, 2..70_usize, 2..700_usize];
    prop_oneof![
        5 => length.prop_map(Op::Claim),
        4 => any::<usize>().prop_map(Op::Give),
        1 => (0..300 * PAGE).prop_map(Op::Trim),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// The plain model: whose each page is, and whether it is resident.
    #[test]
    fn behaves_as_an_array_of_pages(ops in proptest::collection::vec(op(), 1..300)) {
        let (runs, budget) = (runs(16 * 1024, false), Budget::new(1100 * PAGE));
        let mut owner = vec![0_usize; runs.plan.pages];
        let mut held: Vec<(usize, Range<usize>)> = Vec::new();
        for (id, op) in (1..).zip(ops) {
            let used: usize = held.iter().map(|(_, run)| run.len()).sum();
            match op {
                Op::Claim(pages) => match claim(&runs, &budget, pages) {
                    Some(run) => {
                        prop_assert_eq!(run.len(), pages);
                        prop_assert!(owner[run.clone()].iter().all(|&owner| owner == 0), "two owners");
                        owner[run.clone()].fill(id);
                        held.push((id, run));
                    }
                    // A page of overhead for each group; none is lost to pieces.
                    None => prop_assert!(used + pages > 1100 - 80, "{pages} pages, {used} of 1100 are used"),
                },
                Op::Give(which) if !held.is_empty() => {
                    let (id, run) = held.swap_remove(which % held.len());
                    prop_assert!(owner[run.clone()].iter().all(|&owner| owner == id));
                    owner[run.clone()].fill(0);
                    runs.give(run);
                }
                Op::Give(_) => {}
                Op::Trim(bytes) => {
                    let ready = runs.ready_bytes();
                    let trimmed = runs.trim(&budget, bytes, |pages| {
                        assert!(owner[pages].iter().all(|&owner| owner == 0), "used pages are trimmed");
                    });
                    prop_assert_eq!(trimmed, ready.min(bytes.next_multiple_of(PAGE)));
                }
            }
            let used: usize = held.iter().map(|(_, run)| run.len()).sum();
            runs.validate().map_err(TestCaseError::fail)?;
            prop_assert_eq!(budget.charged(), runs.charged_bytes());
            prop_assert_eq!(runs.ready_bytes() + used as u64 * PAGE, runs.backed_pages() as u64 * PAGE);
        }
    }
}

#[test]
fn what_was_freed_is_used_again_before_anything_else() {
    let (runs, budget) = (runs(4096, false), Budget::new(1 << 30));
    let held: Vec<_> = (0..20).map(|at| claim(&runs, &budget, 4 + at).expect("room")).collect();
    let backed = runs.backed_pages();
    // Of several that would do, the one that fits.
    for at in [7, 3, 15] {
        runs.give(held[at].clone());
    }
    assert_eq!(claim(&runs, &budget, 7), Some(held[3].clone()));
    assert_eq!(claim(&runs, &budget, 10).map(|run| run.start), Some(held[7].start));
    assert_eq!(claim(&runs, &budget, 19), Some(held[15].clone()));
    assert_eq!(runs.backed_pages(), backed);
    runs.validate().expect("sound");
}

#[test]
fn a_run_takes_what_is_ready_and_gets_the_rest_anew() {
    let (runs, budget) = (runs(4096, false), Budget::new(1 << 30));
    let held: Vec<_> = (0..8).map(|_| claim(&runs, &budget, 32).expect("room")).collect();
    let next_to_each_other = held[3].start..held[4].end;
    assert_eq!(next_to_each_other.len(), 64);
    runs.give(held[3].clone());
    runs.trim(&budget, u64::MAX, |_| ());
    runs.give(held[4].clone());
    let mut gaps = Vec::new();
    let mut run = runs.claim(&budget, 50, |_| ()).expect("a place");
    assert!(run.pages.start >= next_to_each_other.start && run.pages.end <= next_to_each_other.end);
    assert_eq!(run.missing, 18);
    let gap = std::cell::RefCell::new(&mut gaps);
    assert!(runs.back(&budget, &mut run, |pages| gap.borrow_mut().push(pages)));
    assert_eq!((gaps.len(), gaps.pop()), (1, Some(run.pages.start..run.pages.start + 18)));
    runs.validate().expect("sound");
}

#[test]
fn trim_takes_short_runs_first() {
    let (runs, budget) = (runs(4096, false), Budget::new(1 << 30));
    let held: Vec<_> = (0..9).map(|at| claim(&runs, &budget, if at % 2 == 0 { 40 } else { 3 })).collect();
    for run in held.iter().flatten().skip(1).step_by(3) {
        runs.give(run.clone());
    }
    // 3, 40, 3 pages are free, and what was never used.
    let trimmed = std::cell::RefCell::new(Vec::new());
    runs.trim(&budget, 6 * PAGE, |pages| trimmed.borrow_mut().push(pages.len()));
    assert_eq!(trimmed.into_inner(), [3, 3]);
    runs.validate().expect("sound");
}

#[test]
fn pieces_that_fit_nobody_cost_no_room() {
    let (runs, budget) = (runs(16 * 1024, false), Budget::new(1030 * PAGE));
    // All memory in runs of two pages, of which every second is freed: 500 pages in pieces of two.
    let held: Vec<_> = std::iter::from_fn(|| claim(&runs, &budget, 2)).collect();
    assert!(held.len() >= 500);
    held.iter().step_by(2).for_each(|run| runs.give(run.clone()));
    let long = claim(&runs, &budget, 450).expect("they are as good as a run");
    assert_eq!(long.len(), 450);
    runs.validate().expect("sound");
}

#[test]
fn at_the_end_of_the_region_all_of_it_is_searched() {
    let (runs, budget) = (runs(8192, false), Budget::new(1 << 30));
    let mut held: Vec<_> = std::iter::from_fn(|| claim(&runs, &budget, 64)).collect();
    assert_eq!(held.len(), 128);
    for at in [127, 60, 61, 5] {
        runs.give(held.swap_remove(at));
        runs.trim(&budget, u64::MAX, |_| ());
    }
    assert_eq!(runs.claim(&budget, 129, |_| ()).map(|run| run.pages), Err(Lack::Place));
    assert_eq!([64, 64, 64, 64].iter().filter_map(|&pages| claim(&runs, &budget, pages)).count(), 4);
    assert!(claim(&runs, &budget, 2).is_none());
    runs.validate().expect("sound");
}

#[test]
fn rows_come_where_there_is_much_room_only() {
    let (runs, budget) = (runs(64 * 1024, true), Budget::new(16 * 1024 * PAGE));
    let mut most_at_once = 0;
    let mut held = Vec::new();
    while runs.backed_pages() < 10 * 1024 {
        let before = runs.backed_pages();
        held.push(claim(&runs, &budget, 5).expect("room"));
        let more = runs.backed_pages() - before;
        assert!(budget.charged() <= budget.limit() / 2 + 300 * PAGE || more <= 5, "{more}");
        most_at_once = most_at_once.max(more);
    }
    assert_eq!(most_at_once, 256);
    held.into_iter().for_each(|run| runs.give(run));
    runs.validate().expect("sound");
    runs.trim(&budget, u64::MAX, |_| ());
    assert_eq!(budget.charged(), runs.overhead_bytes());
    // What went back is used again, not what was never used.
    let opened = runs.opened();
    (0..500).for_each(|_| assert!(claim(&runs, &budget, 5).is_some()));
    assert_eq!(runs.opened(), opened);
}

/// What went back is found again behind more used pages than one search looks at.
#[test]
fn a_region_does_not_grow_while_there_are_bare_pages_beyond_many_used_ones() {
    for rows in [false, true] {
        let (runs, budget) = (runs(1 << 20, rows), Budget::new(1 << 40));
        let used = BARE_LOOKS * WORD_BITS + 9000;
        let _used: Vec<_> = (0..used / 500 + 1).map(|_| claim(&runs, &budget, 500).expect("room")).collect();
        let come_and_go = || {
            let held: Vec<_> = (0..1000).map(|_| claim(&runs, &budget, 16).expect("room")).collect();
            held.into_iter().for_each(|run| runs.give(run));
            runs.trim(&budget, u64::MAX, |_| ());
            runs.opened()
        };
        let opened = come_and_go();
        let later = (0..8).map(|_| come_and_go()).max();
        assert!(later <= Some(opened + 2 * 256), "{opened} pages, then {later:?}, rows: {rows}");
        runs.validate().expect("sound");
    }
}

#[test]
fn under_threads_a_page_has_one_owner_and_none_is_lost() {
    let (runs, budget) = (runs(16 * 1024, false), Budget::new(1500 * PAGE));
    let held: Vec<AtomicUsize> = (0..runs.plan.pages).map(|_| AtomicUsize::new(0)).collect();
    let own = |pages: Range<usize>| {
        held[pages].iter().for_each(|page| assert_eq!(page.fetch_add(1, Ordering::Relaxed), 0, "two owners"));
    };
    let disown = |pages: Range<usize>| held[pages].iter().for_each(|page| page.store(0, Ordering::Relaxed));
    thread::scope(|scope| {
        for seed in 1..=4_usize {
            let (runs, budget, own, disown) = (&runs, &budget, &own, &disown);
            scope.spawn(move || {
                let mut mine: Vec<Range<usize>> = Vec::new();
                let mut dice = seed * 7919;
                for round in 0..8000_usize {
                    dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let pages = 2 + (dice >> 33) % [6, 40, 300][round % 3];
                    if let Some(run) = claim(runs, budget, pages) {
                        own(run.clone());
                        mine.push(run);
                    }
                    assert!(budget.charged() <= budget.limit());
                    while mine.iter().map(Range::len).sum::<usize>() > 400 {
                        let run = mine.swap_remove((dice >> 40) % mine.len());
                        disown(run.clone());
                        runs.give(run);
                    }
                    if round % 97 == 0 {
                        runs.trim(budget, 100 * PAGE, |pages| {
                            own(pages.clone());
                            disown(pages);
                        });
                    }
                }
                for run in mine {
                    disown(run.clone());
                    runs.give(run);
                }
            });
        }
    });
    runs.validate().expect("sound");
    assert_eq!(budget.charged(), runs.charged_bytes());
    assert_eq!(runs.ready_bytes(), runs.backed_pages() as u64 * PAGE);
    runs.trim(&budget, u64::MAX, |_| ());
    assert_eq!((runs.ready_bytes(), budget.charged()), (0, runs.overhead_bytes()));
}

#[test]
fn words_cover_a_range() {
    for range in [0..1, 0..64, 3..64, 60..70, 64..128, 5..300, 7..7, 64..64] {
        let pages = |(word, mask): (usize, u64)| {
            (0..WORD_BITS).filter(move |bit| mask >> bit & 1 == 1).map(move |bit| word * WORD_BITS + bit)
        };
        assert!(words(range.clone()).all(|(_, mask)| mask != 0));
        assert!(words(range.clone()).flat_map(pages).eq(range));
    }
}
