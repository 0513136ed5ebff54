//! Persist mode: the flusher reads blocks that its batch names, without a pin, while others replace them.
#![cfg(memfs_loom)]

use memfs::model::limbo::Replaced;
use memfs_loom_tests::{Kind, Mutation, breaks, model};

const LIMBO: &str = "src/tier/limbo.rs";

fn replaced_while_flushed() {
    fn replace(replaced: &Replaced) -> Option<u8> {
        replaced.replace();
        None
    }
    model(
        || Replaced::new(1),
        [Replaced::flush, replace],
        |replaced, [flushed, _]| {
            assert!(
                flushed == Some(0) || flushed == Some(1),
                "what was there, or what replaced it: {flushed:?}"
            );
            replaced.finish();
        },
    );
}

#[test]
fn what_a_flush_reads_is_there() {
    replaced_while_flushed();
}

#[test]
fn what_a_flush_reads_is_there_though_it_is_replaced_twice() {
    model(
        || Replaced::new(2),
        [
            |replaced: &Replaced| (replaced.flush(), replaced.flush()),
            |replaced| {
                replaced.replace();
                replaced.replace();
                (None, None)
            },
        ],
        |replaced, [flushed, _]| {
            let (first, second) = (flushed.0.expect("one is not durable"), flushed.1);
            assert!(second.is_none_or(|second| second > first), "contents in order: {flushed:?}");
            replaced.finish();
        },
    );
}

const FREED: [&str; 2] = ["is used after its end", "Causality violation"];

#[test]
fn broken_keeper_that_does_not_look_whether_there_is_a_flush_frees_what_it_reads() {
    let mutation = || Mutation::at(LIMBO, "let keeps = self.reading.load(SeqCst) > 0;", Kind::Sees(0));
    breaks(mutation, &FREED, replaced_while_flushed);
}

#[test]
fn broken_flush_that_does_not_say_that_it_began_reads_what_is_freed() {
    let mutation = || Mutation::at(LIMBO, "self.reading.fetch_add(1, SeqCst);", Kind::Skipped);
    breaks(mutation, &FREED, replaced_while_flushed);
}

#[test]
fn broken_keeper_without_its_fence_does_not_see_the_flush() {
    let mutation = || Mutation::nth(LIMBO, "fence(SeqCst);", 0, 2, Kind::Relaxed);
    breaks(mutation, &FREED, replaced_while_flushed);
}
