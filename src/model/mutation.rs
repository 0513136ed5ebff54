//! Broken variants of the shipping code, made from outside of it.

use std::{cell::RefCell, panic::Location};

/// What is wrong with an atomic operation or a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its ordering is Relaxed; a fence is left out.
    Relaxed,
    /// A load that answers this, whatever there is.
    Sees(u64),
    /// A read-modify-write that is a load and, later, a store; a compare-and-swap that compares in between.
    Torn,
    /// A store or read-modify-write that changes nothing; a compare-and-swap that only says it did.
    Skipped,
}

/// One line of the shipping source, and what is wrong there.
#[derive(Clone, Copy, Debug)]
pub struct Mutation {
    file: &'static str,
    line: u32,
    kind: Kind,
}

impl Mutation {
    /// The one line of `file` (from `src/` on) that contains `text`.
    ///
    /// # Panics
    /// If there is no such line, or another: then the shipping code has changed and the test must follow it.
    pub fn at(file: &'static str, text: &str, kind: Kind) -> Self {
        Self::nth(file, text, 0, 1, kind)
    }

    /// Line number `which` of the `of` lines that contain `text`.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn nth(file: &'static str, text: &str, which: usize, of: usize, kind: Kind) -> Self {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let source = std::fs::read_to_string(&path).expect("the source the tests were built from");
        let lines: Vec<_> =
            source.lines().enumerate().filter(|(_, line)| line.contains(text)).map(|(at, _)| at).collect();
        assert_eq!(lines.len(), of, "lines of {file} with {text:?}");
        Self { file, line: lines[which] as u32 + 1, kind }
    }
}

thread_local! {
    static ACTIVE: RefCell<Option<(Mutation, u64)>> = const { RefCell::new(None) };
}

/// Runs `test` with the mutation in place.
///
/// # Panics
/// If `test` panics, as it should; and if it never came to the line.
pub fn broken<R>(mutation: Mutation, test: impl FnOnce() -> R) -> R {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            ACTIVE.set(None);
        }
    }
    let _reset = Reset;
    ACTIVE.set(Some((mutation, 0)));
    let done = test();
    println!("the mutated line was come to {} times", hits());
    done
}

/// How often the mutated line was come to.
fn hits() -> u64 {
    ACTIVE.with_borrow(|active| active.map_or(0, |(_, hits)| hits))
}

/// What is wrong at the caller's line, if anything.
#[track_caller]
pub(super) fn here() -> Option<Kind> {
    let caller = Location::caller();
    ACTIVE.with_borrow_mut(|active| {
        let (mutation, hits) = active.as_mut()?;
        let here = mutation.line == caller.line() && caller.file().ends_with(mutation.file);
        *hits += u64::from(here);
        here.then_some(mutation.kind)
    })
}
