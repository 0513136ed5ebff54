//! The arena: no bit is lost, no slot is had twice, no block is read after its end.
#![cfg(memfs_loom)]

use memfs::model::arena::{Bits, BlockUser, Blocks, Place, Purse, Spans, Stretch, WORD_BITS};
use memfs_loom_tests::{Kind, Mutation, breaks, fails, model};
use std::ops::Range;

const BITMAP: &str = "src/arena/bitmap.rs";
/// What the tests say when a member is out of sight for good.
const LOST: &[&str] = &["not announced", "is lost"];
/// What loom says when nothing orders two uses.
const RACE: &[&str] = &["Causality violation"];

/// A set of three levels with one member.
fn one_member() -> Bits {
    let bits = Bits::new(WORD_BITS * WORD_BITS + 1);
    bits.set(0);
    bits
}

fn claim(bits: &Bits) -> Option<usize> {
    bits.claim()
}

fn put_second(bits: &Bits) -> Option<usize> {
    bits.set(1);
    None
}

/// Every member that is not in somebody's hands can be found.
fn all_are_found<const N: usize>(bits: Bits, taken: [Option<usize>; N], put: &[usize]) {
    bits.check(WORD_BITS + 1);
    let mut all: Vec<usize> = taken.into_iter().flatten().collect();
    while let Some(member) = bits.claim() {
        all.push(member);
    }
    all.sort_unstable();
    assert_eq!(all, put, "a member is lost, or was had twice");
}

fn last_is_claimed_while_another_is_put() {
    model(one_member, [claim, put_second], |bits, taken| all_are_found(bits, taken, &[0, 1]));
}

#[test]
fn the_last_of_a_word_is_claimed_while_another_is_put() {
    last_is_claimed_while_another_is_put();
}

fn two_claim_the_last_while_another_is_put() {
    model(one_member, [claim, claim, put_second], |bits, taken| all_are_found(bits, taken, &[0, 1]));
}

#[test]
fn two_claim_the_last_of_a_word_while_another_is_put() {
    two_claim_the_last_while_another_is_put();
}

/// The summaries are set over a word that is empty by now; two withdraw them while one announces.
fn withdrawal_meets_announcement() {
    fn stale() -> Bits {
        let bits = one_member();
        assert!(bits.claim_all(0, 1));
        bits
    }
    model(stale, [claim, claim, put_second], |bits, taken| all_are_found(bits, taken, &[1]));
}

#[test]
fn withdrawals_of_a_stale_summary_do_not_hide_what_is_put_meanwhile() {
    withdrawal_meets_announcement();
}

#[test]
fn broken_withdrawal_that_does_not_look_again_loses_a_member() {
    let mutation =
        || Mutation::at(BITMAP, "if self.word(above - 1, index).load(Ordering::Acquire) != 0", Kind::Sees(0));
    breaks(mutation, LOST, withdrawal_meets_announcement);
}

#[test]
fn broken_announcement_by_a_look_alone_loses_a_member() {
    let mutation = || Mutation::at(BITMAP, "must = word.fetch_or(bit, Ordering::AcqRel) == 0", Kind::Skipped);
    breaks(mutation, LOST, withdrawal_meets_announcement);
}

#[test]
fn broken_withdrawal_without_acquire_loses_a_member() {
    let mutation = || Mutation::at(BITMAP, ".fetch_and(!bit, Ordering::AcqRel)", Kind::Relaxed);
    breaks(mutation, LOST, withdrawal_meets_announcement);
}

#[test]
fn broken_claim_in_two_steps_gives_a_member_twice() {
    let mutation = || Mutation::at(BITMAP, ".fetch_and(!mask, Ordering::AcqRel) & mask", Kind::Torn);
    breaks(mutation, LOST, two_claim_the_last_while_another_is_put);
}

/// A member is handed on: what its former holder did happens before what the next one does.
struct Handed {
    bits: Bits,
    slot: loom::cell::UnsafeCell<u64>,
}

fn members_are_handed_on() {
    fn use_it(handed: &Handed) {
        if let Some(member) = handed.bits.claim() {
            // SAFETY: claimed, which the checker verifies.
            handed.slot.with_mut(|at| unsafe { *at += 1 });
            handed.bits.set(member);
        }
    }
    fn set_up() -> Handed {
        Handed { bits: one_member(), slot: loom::cell::UnsafeCell::new(0) }
    }
    model(set_up, [use_it, use_it], |handed, _| all_are_found(handed.bits, [], &[0]));
}

#[test]
fn what_a_holder_did_happens_before_what_the_next_one_does() {
    members_are_handed_on();
}

#[test]
fn broken_set_without_release_hands_on_what_is_still_used() {
    let mutation = || Mutation::at(BITMAP, ".fetch_or(mask, Ordering::AcqRel)", Kind::Relaxed);
    breaks(mutation, RACE, members_are_handed_on);
}

#[test]
fn broken_claim_without_acquire_takes_what_is_still_used() {
    let mutation = || Mutation::at(BITMAP, ".fetch_and(!mask, Ordering::AcqRel) & mask", Kind::Relaxed);
    breaks(mutation, RACE, members_are_handed_on);
}

fn whole_span_against_single_slots() {
    fn span() -> Bits {
        let bits = Bits::new(WORD_BITS * 2);
        bits.set_all(0, 2);
        bits
    }
    fn take_whole(bits: &Bits) -> Vec<usize> {
        if bits.claim_all(0, 2) { vec![0, 1] } else { Vec::new() }
    }
    fn take_one(bits: &Bits) -> Vec<usize> {
        bits.claim().into_iter().collect()
    }
    fn hand_back(bits: &Bits) -> Vec<usize> {
        if let Some(member) = bits.claim() {
            bits.set(member);
        }
        Vec::new()
    }
    model(span, [take_whole, take_one, hand_back], |bits, taken| {
        bits.check(2);
        let mut all: Vec<usize> = taken.into_iter().flatten().collect();
        while let Some(member) = bits.claim() {
            all.push(member);
        }
        all.sort_unstable();
        assert_eq!(all, [0, 1], "a member is lost, or was had twice");
    });
}

#[test]
fn a_whole_span_is_claimed_whole_or_not_at_all() {
    whole_span_against_single_slots();
}

#[test]
fn broken_whole_claim_in_two_steps_takes_what_another_has() {
    let mutation = || Mutation::at(BITMAP, "match leaf.compare_exchange_weak(now, now & !mask", Kind::Torn);
    breaks(mutation, &["is lost", "left == right"], whole_span_against_single_slots);
}

// ---------------------------------------------------------------- budget

/// Two threads that charge what fits only once, one of them after a refund.
fn budget_holds() {
    fn charge(purse: &Purse) -> u64 {
        if purse.try_charge(6) { 6 } else { 0 }
    }
    fn charge_and_refund(purse: &Purse) -> u64 {
        if purse.try_charge(6) {
            assert!(purse.charged() <= 10, "charged past the limit");
            purse.refund(6);
        }
        0
    }
    fn set_up() -> Purse {
        Purse::new(10)
    }
    model(set_up, [charge, charge, charge_and_refund], |purse, kept| {
        let kept: u64 = kept.iter().sum();
        assert!(kept <= 10, "charged past the limit");
        assert_eq!(purse.charged(), kept, "a charge or a refund is lost");
    });
}

#[test]
fn charges_never_pass_the_limit_and_none_is_lost() {
    budget_holds();
}

#[test]
fn broken_charge_in_two_steps_passes_the_limit() {
    let mutation = || {
        Mutation::at("src/arena/budget.rs", "match self.charged.compare_exchange_weak(now, next", Kind::Torn)
    };
    breaks(mutation, &["charged past the limit", "is lost", "refunded"], budget_holds);
}

/// Pages that go back before they are charged again.
struct Pages {
    purse: Purse,
    page: loom::cell::UnsafeCell<u64>,
}

fn pages_change_hands() {
    fn set_up() -> Pages {
        Pages { purse: Purse::new(10), page: loom::cell::UnsafeCell::new(0) }
    }
    fn use_page(pages: &Pages) {
        if pages.purse.try_charge(10) {
            // SAFETY: charged, which the checker verifies.
            pages.page.with_mut(|at| unsafe { *at += 1 });
            pages.purse.refund(10);
        }
    }
    model(set_up, [use_page, use_page], |pages, _| assert_eq!(pages.purse.charged(), 0));
}

#[test]
fn what_was_given_back_is_gone_before_it_is_charged_again() {
    pages_change_hands();
}

#[test]
fn broken_refund_without_release_is_charged_while_in_use() {
    let mutation = || Mutation::at("src/arena/budget.rs", "self.charged.fetch_sub(bytes", Kind::Relaxed);
    breaks(mutation, RACE, pages_change_hands);
}

// ---------------------------------------------------------------- slab

/// Frees of the last two slots of a span, each in a word of its own, while a trim looks for whole spans.
fn span_becomes_whole() {
    fn long_span() -> Spans {
        let spans = Spans::new(2 * WORD_BITS, 1, 1);
        for slot in 0..2 * WORD_BITS {
            assert_eq!(spans.claim(), Some(slot));
        }
        // All but the first of each word.
        (0..2 * WORD_BITS).filter(|slot| slot % WORD_BITS != 0).for_each(|slot| spans.give(slot));
        spans
    }
    fn give_first(spans: &Spans) -> bool {
        spans.give(0);
        false
    }
    fn give_second(spans: &Spans) -> bool {
        spans.give(WORD_BITS);
        false
    }
    model(long_span, [give_first, give_second, Spans::trim], |spans, gone| {
        spans.check();
        assert!(gone[2] || spans.trim(), "a whole span is out of sight");
    });
}

#[test]
fn whoever_frees_the_last_slot_of_a_span_lets_trim_know() {
    span_becomes_whole();
}

#[test]
fn broken_free_without_the_fence_hides_a_whole_span() {
    let mutation = || Mutation::at("src/arena/slab.rs", "fence(Ordering::SeqCst);", Kind::Relaxed);
    breaks(mutation, &["out of sight", "trim does not know"], span_becomes_whole);
}

/// A span of four slots: one thread trims, others allocate and free.
fn trim_against_use() {
    fn set_up() -> Spans {
        let spans = Spans::new(4, 2, 1);
        let slot = spans.claim().expect("room");
        spans.give(slot);
        spans
    }
    fn take_and_give(spans: &Spans) {
        if let Some(slot) = spans.claim() {
            spans.give(slot);
        }
    }
    fn trim(spans: &Spans) {
        spans.trim();
    }
    model(set_up, [take_and_give, take_and_give, trim], |spans, _| {
        spans.check();
    });
}

#[test]
fn a_span_is_trimmed_while_others_allocate_and_free_in_it() {
    trim_against_use();
}

// ---------------------------------------------------------------- runs

const RUNS: &str = "src/arena/runs.rs";

/// All eight pages ready, none used.
fn ready_stretch() -> Stretch {
    let stretch = Stretch::new(8);
    let all = stretch.claim(8).expect("room");
    stretch.give(all);
    stretch
}

fn take<const PAGES: usize>(stretch: &Stretch) -> Option<Range<usize>> {
    stretch.claim(PAGES).inspect(|run| assert_eq!(run.len(), PAGES))
}

/// What was taken and what can be given back is all there is.
fn all_is_there<const N: usize>(stretch: Stretch, taken: [Option<Range<usize>>; N]) {
    stretch.check(taken.iter().flatten().map(|run| run.len()).sum());
    taken.into_iter().flatten().for_each(|run| stretch.give(run));
    stretch.check(0);
}

/// Of two runs of five pages and more in eight, over two words, there can be one.
fn runs_that_overlap() {
    model(ready_stretch, [take::<5>, take::<6>], all_is_there);
}

#[test]
fn of_two_runs_that_overlap_one_is_had() {
    runs_that_overlap();
}

#[test]
fn broken_claim_of_a_run_in_two_steps_gives_a_page_twice() {
    let mutation = || Mutation::at(BITMAP, "match leaf.compare_exchange_weak(now, now & !mask", Kind::Torn);
    breaks(mutation, &["Causality violation", "freed twice", "concurrent"], runs_that_overlap);
}

/// A stretch, all of which is used.
struct Used(Stretch, Range<usize>);

fn used_stretch() -> Used {
    let stretch = ready_stretch();
    let all = stretch.claim(8).expect("all of it");
    Used(stretch, all)
}

fn free(used: &Used) -> Option<Range<usize>> {
    used.0.give(used.1.clone());
    None
}

/// A run is freed while another is looked for.
fn free_against_claim() {
    fn take(used: &Used) -> Option<Range<usize>> {
        used.0.claim(6)
    }
    model(used_stretch, [free, take], |used, taken| all_is_there(used.0, taken));
}

#[test]
fn a_run_is_freed_while_one_is_claimed() {
    free_against_claim();
}

#[test]
fn broken_claim_of_a_run_without_acquire_takes_what_is_still_used() {
    let mutation =
        || Mutation::at(BITMAP, "match leaf.compare_exchange_weak(now, now & !mask", Kind::Relaxed);
    breaks(mutation, RACE, free_against_claim);
}

/// A run is taken and written to while its pages go back to the system.
fn run_against_trim() {
    fn trim(stretch: &Stretch) -> Option<Range<usize>> {
        stretch.trim(3);
        None
    }
    model(ready_stretch, [take::<3>, trim], all_is_there);
}

#[test]
fn a_run_is_used_or_given_back_to_the_system_never_both() {
    run_against_trim();
}

#[test]
fn broken_trim_that_leaves_pages_called_resident_is_seen() {
    let mutation = || Mutation::at(RUNS, "self.resident.get(word).fetch_and(!mask", Kind::Skipped);
    breaks(mutation, &["the structures agree", "charged and not resident"], run_against_trim);
}

#[test]
fn broken_trim_that_does_not_refund_is_seen() {
    let mutation = || Mutation::at("src/arena/budget.rs", "self.charged.fetch_sub(bytes", Kind::Skipped);
    breaks(mutation, &["charged and not resident"], run_against_trim);
}

/// Nothing is ready where `ready` says so; one thread finds that out while another frees a run there.
fn free_against_withdrawal() {
    fn trim(used: &Used) -> Option<Range<usize>> {
        used.0.trim(1);
        None
    }
    model(used_stretch, [free, trim], |used, taken| all_is_there(used.0, taken));
}

#[test]
fn a_run_that_is_freed_while_its_words_are_withdrawn_can_be_found() {
    free_against_withdrawal();
}

#[test]
fn broken_withdrawal_that_does_not_look_for_ready_pages_again_loses_them() {
    let mutation = || {
        Mutation::at(RUNS, "let resident = self.resident.get(word).load(Ordering::Relaxed);", Kind::Sees(0))
    };
    breaks(mutation, &["nobody knows", "out of sight"], free_against_withdrawal);
}

// ---------------------------------------------------------------- blocks

struct Shared {
    blocks: Blocks,
    place: Place,
}

fn shared() -> Shared {
    let blocks = Blocks::new();
    let place = blocks.user().place(1);
    Shared { blocks, place }
}

fn with<R>(shared: &Shared, run: impl FnOnce(&BlockUser<'_>, &Place) -> R) -> R {
    run(&shared.blocks.user(), &shared.place)
}

fn over(shared: Shared) {
    with(&shared, |user, place| user.clear(place));
    drop(shared);
    assert_eq!(memfs::model::living(), 0, "a block is lost");
}

fn replace_and_collect(shared: &Shared) -> u8 {
    with(shared, |user, place| {
        user.replace(place, 2, false);
        user.collect();
        user.collect();
        2
    })
}

fn replace_at_once(shared: &Shared) -> u8 {
    with(shared, |user, place| {
        user.replace(place, 2, true);
        2
    })
}

fn read(shared: &Shared) -> u8 {
    with(shared, |user, place| user.read(place))
}

fn hold_and_read(shared: &Shared) -> u8 {
    with(shared, |user, place| user.hold_and_read(place))
}

fn seen<const N: usize>(shared: Shared, seen: [u8; N]) {
    assert!(seen.iter().all(|value| [1, 2].contains(value)));
    over(shared);
}

#[test]
fn a_pinned_reader_keeps_a_retired_block() {
    model(shared, [replace_and_collect, read], seen);
}

#[test]
fn a_reference_keeps_a_retired_block_without_a_pin() {
    model(shared, [replace_and_collect, hold_and_read], seen);
}

#[test]
fn references_come_and_go_at_once() {
    model(shared, [hold_and_read, hold_and_read], seen);
}

/// Two references and nothing else that orders their holders: the later frees.
fn last_reference_frees() {
    fn held() -> Shared {
        let blocks = Blocks::new();
        let place = blocks.user().place_held(1);
        Shared { blocks, place }
    }
    fn let_go(shared: &Shared) -> u8 {
        with(shared, |user, place| user.read_and_release(place))
    }
    model(held, [let_go, let_go], |shared, _| {
        drop(shared);
        assert_eq!(memfs::model::living(), 0, "a block is lost");
    });
}

#[test]
fn the_last_reference_frees_what_no_other_still_reads() {
    last_reference_frees();
}

#[test]
fn broken_free_at_once_is_seen_by_a_pinned_reader() {
    fails(&["used after its end", "Causality violation", "torn"], || {
        model(shared, [replace_at_once, read], seen);
    });
}

#[test]
fn broken_free_at_once_is_seen_by_who_takes_a_reference() {
    fails(&["used after its end", "Causality violation", "torn", "a reference to a free block"], || {
        model(shared, [replace_at_once, hold_and_read], seen);
    });
}

#[test]
fn broken_release_without_its_ordering_frees_under_a_reader() {
    let mutation =
        || Mutation::at("src/arena/heap.rs", "refs.fetch_sub(1, Ordering::Release)", Kind::Relaxed);
    breaks(mutation, RACE, last_reference_frees);
}

#[test]
fn broken_free_without_its_fence_frees_under_a_reader() {
    let mutation = || Mutation::at("src/arena/heap.rs", "fence(Ordering::Acquire);", Kind::Relaxed);
    breaks(mutation, RACE, last_reference_frees);
}

#[test]
fn broken_look_for_other_references_without_its_ordering_frees_under_a_reader() {
    let mutation = || Mutation::at("src/arena/heap.rs", "refs.load(Ordering::Acquire) != 1", Kind::Relaxed);
    breaks(mutation, RACE, last_reference_frees);
}
