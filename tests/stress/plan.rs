//! What each thread does, decided before anything runs: a seed gives the same plan every time.

use super::lineage::Place;
use crate::common::{rng::Rng, ways::WAYS};

/// One of the names that everybody uses.
pub(crate) type Name = &'static str;

const DIRS: [Name; 7] = ["/s", "/s/0", "/s/1", "/s/0/x", "/s/1/x", "/t", "/t/x"];
const FILES: [Name; 8] = ["/f", "/s/f", "/s/0/f", "/s/0/g", "/s/0/x/f", "/s/1/f", "/s/1/x/f", "/t/x/f"];
const PATTERNS: [Name; 4] = ["/**", "/s/**/f", "/steady/*", "/{s,t}/?/[f-g]"];

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    // Upon names that everybody uses.
    Write { at: Name, words: u64, new: bool, priority: Option<u8> },
    WriteAt { at: Name, from: u64, words: u64, opened: bool },
    Append { at: Name, words: u64, opened: bool },
    SetLen { at: Name, words: u64, opened: bool },
    Create { at: Name },
    Remove { at: Name },
    Rename { from: Name, to: Name },
    Copy { from: Name, to: Name },
    Read { at: Name, way: u64, from: u64, words: u64 },
    Hold { at: Name, bytes: bool },
    MakeDir { at: Name, all: bool },
    RemoveDir { at: Name, all: bool },
    // Upon the whole store.
    List { at: Name },
    Walk { at: Name },
    Glob { pattern: Name },
    Priority { at: Name, level: u8 },
    Preload { at: Name, wait: bool },
    Collect { tenths: u64 },
    Map,
    Sync,
    // Upon what is one thread's, so that the answer is known: by name, or through a handle on a file whose name others move
    // and remove. Steady files are written by one thread, whole, and read by all.
    Own(Own),
    Kept(Own),
    Steady { words: u64 },
    ReadSteady { of: u64, way: u64 },
}

/// What one thread does to its own files; `file` is a number that the thread reduces to those it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub(crate) file: u64,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Write { words: u64 },
    WriteAt { from: u64, words: u64 },
    Append { words: u64 },
    SetLen { words: u64 },
    Rename { to: u64 },
    MoveDir,
    Copy { to: u64 },
    Remove,
    Read { way: u64, from: u64, words: u64 },
    List,
}

impl Op {
    /// Where the operation puts how many words; nothing for one that writes none, or to what is one thread's.
    pub(crate) fn writes(&self) -> Option<(Place, u64)> {
        match *self {
            Op::Write { words, .. } => Some((Place::All, words)),
            Op::WriteAt { from, words, .. } => Some((Place::From(from), words)),
            Op::Append { words, .. } => Some((Place::End, words)),
            _ => None,
        }
    }

    /// How long the operation leaves a file that was longer.
    pub(crate) fn cuts_to(&self) -> Option<u64> {
        match *self {
            Op::SetLen { words, .. } => Some(words),
            Op::Create { .. } => Some(0),
            _ => None,
        }
    }
}

/// What thread `thread` of `threads` does in a run of `seed`.
pub(crate) fn plan(seed: u64, thread: u64, threads: u64, ops: usize, max_words: u64) -> Vec<Op> {
    let mut rng = Rng::new(seed ^ (thread + 1) << 40);
    (0..ops).map(|_| op(&mut rng, threads, max_words)).collect()
}

fn op(rng: &mut Rng, threads: u64, max_words: u64) -> Op {
    match rng.below(10) {
        0..=4 => shared(rng, max_words),
        5 => whole(rng),
        6 | 7 => Op::Own(own(rng, max_words)),
        8 => Op::Kept(own(rng, max_words)),
        _ if rng.one_in(2) => Op::Steady { words: length(rng, max_words) },
        _ => Op::ReadSteady { of: rng.below(threads), way: rng.below(5) },
    }
}

fn one_of(rng: &mut Rng, names: &[Name]) -> Name {
    names[rng.below(names.len() as u64) as usize]
}

/// Mostly short.
fn length(rng: &mut Rng, max_words: u64) -> u64 {
    let most = *rng.pick(&[3, 64, max_words / 4, max_words]);
    1 + rng.below(most)
}

fn shared(rng: &mut Rng, max_words: u64) -> Op {
    let (at, to) = (one_of(rng, &FILES), one_of(rng, &FILES));
    let (dir, other) = (one_of(rng, &DIRS), one_of(rng, &DIRS));
    let (words, from, opened) = (length(rng, max_words), rng.below(max_words), rng.one_in(2));
    match rng.below(24) {
        0..=3 => {
            let priority = rng.one_in(3).then(|| rng.below(9) as u8);
            Op::Write { at, words, new: rng.one_in(5), priority }
        }
        4 | 5 => Op::WriteAt { at, from, words, opened },
        6 | 7 => Op::Append { at, words, opened },
        8 => Op::SetLen { at, words, opened },
        9 => Op::Create { at },
        10 => Op::Remove { at },
        11 | 12 => Op::Rename { from: at, to },
        13 => Op::Copy { from: at, to },
        14..=17 => Op::Read { at, way: rng.below(WAYS), from, words },
        18 => Op::Hold { at, bytes: opened },
        19 => Op::MakeDir { at: dir, all: rng.one_in(2) },
        20 => Op::RemoveDir { at: dir, all: rng.one_in(3) },
        21 | 22 => Op::Rename { from: dir, to: other },
        _ => Op::Rename { from: at, to: dir },
    }
}

fn whole(rng: &mut Rng) -> Op {
    let at = one_of(rng, &FILES);
    match rng.below(12) {
        0 => Op::List { at: one_of(rng, &["/", "/steady", "/s", "/s/0", "/t"]) },
        1 => Op::Walk { at: one_of(rng, &["/", "/steady", "/s"]) },
        2 => Op::Glob { pattern: one_of(rng, &PATTERNS) },
        3 | 4 => Op::Priority { at, level: rng.below(11) as u8 },
        5 | 6 => Op::Preload { at, wait: rng.one_in(2) },
        7 | 8 => Op::Collect { tenths: rng.below(10) },
        9 => Op::Map,
        _ => Op::Sync,
    }
}

fn own(rng: &mut Rng, max_words: u64) -> Own {
    let (words, from) = (length(rng, max_words), rng.below(max_words));
    let what = match rng.below(14) {
        0 | 1 => What::Write { words },
        2 | 3 => What::WriteAt { from, words },
        4 => What::Append { words },
        5 => What::SetLen { words },
        6 => What::Rename { to: rng.next() },
        7 => What::MoveDir,
        8 => What::Copy { to: rng.next() },
        9 => What::Remove,
        10 => What::List,
        _ => What::Read { way: rng.below(WAYS), from, words },
    };
    Own { file: rng.next(), what }
}
