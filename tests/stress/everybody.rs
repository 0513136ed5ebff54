//! Operations on what all threads change: which of the due answers comes is open, but what is read has to be explicable.

use super::{
    lineage::{Origin, Origins, Seen, contradiction},
    plan::Op,
};
use crate::common::{
    kind::{Fails, Kind},
    ways,
    words::{decoded, image, runs_of},
};
use memfs::{Error, FileRef, MemFs, OpenOptions, Priority, Result, WriteOptions};
use std::{
    collections::BTreeSet,
    io::Write,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::Instant,
};

const WRITERS: u64 = 1000;
const STEADY: u64 = 200;
/// How many things a thread holds.
const HELD_EACH: usize = 3;
/// What all threads hold is together at most this part of the limit.
const HELD_AT_MOST: usize = 8;
const NOT_YET: u64 = u64::MAX;

/// When an operation ran.
struct When {
    called: AtomicU64,
    returned: AtomicU64,
}

/// What all threads of a run know of each other.
pub(crate) struct Record {
    pub(crate) plans: Vec<Vec<Op>>,
    when: Vec<Vec<When>>,
    /// The latest version of each thread's steady file that the store has acknowledged.
    steady: Vec<AtomicU64>,
    begun: Instant,
}

impl Record {
    pub(crate) fn new(plans: Vec<Vec<Op>>) -> Self {
        let never = || When { called: AtomicU64::new(NOT_YET), returned: AtomicU64::new(NOT_YET) };
        let when = plans.iter().map(|plan| plan.iter().map(|_| never()).collect()).collect();
        let steady = plans.iter().map(|_| AtomicU64::new(0)).collect();
        Self { plans, when, steady, begun: Instant::now() }
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    pub(crate) fn calls(&self, thread: usize, index: usize) {
        self.when[thread][index].called.store(self.now(), SeqCst);
    }

    pub(crate) fn returned(&self, thread: usize, index: usize) {
        self.when[thread][index].returned.store(self.now(), SeqCst);
    }
}

impl Origins for Record {
    fn origin(&self, id: u64, version: u64) -> Option<Origin> {
        let (thread, index) = (id.checked_sub(WRITERS)? as usize, version.checked_sub(1)? as usize);
        let when = self.when.get(thread)?.get(index)?;
        let called = when.called.load(SeqCst);
        let (place, words) = self.plans[thread][index].writes().filter(|_| called != NOT_YET)?;
        Some(Origin { place, words, called, returned: when.returned.load(SeqCst) })
    }

    fn was_cut(&self, words: u64, after: u64) -> bool {
        let cuts = |op: &Op| op.cuts_to().is_some_and(|to| to <= words);
        let ran = |when: &When| when.called.load(SeqCst) != NOT_YET && when.returned.load(SeqCst) >= after;
        self.plans
            .iter()
            .zip(&self.when)
            .any(|(plan, when)| plan.iter().zip(when).any(|(op, when)| cuts(op) && ran(when)))
    }
}

/// Something read that is kept, and what it has to go on saying.
pub(crate) enum Held {
    Ref(FileRef, Vec<u8>),
    Bytes(bytes::Bytes, Vec<u8>),
}

impl Held {
    pub(crate) fn check(&self) {
        match self {
            Held::Ref(held, said) => assert!(ways::chunks(held) == *said, "a held FileRef changed"),
            Held::Bytes(held, said) => assert!(held == said, "held Bytes changed"),
        }
    }
}

/// One thread's view of what everybody changes.
pub(crate) struct Everybody<'a> {
    pub(crate) fs: &'a MemFs,
    pub(crate) record: &'a Record,
    pub(crate) thread: usize,
    pub(crate) held: Vec<Held>,
    pub(crate) verified: u64,
    /// The longest that is held, so that all that is held leaves room.
    longest_held: usize,
}

/// What can be answered where others change the same names.
fn is_due(error: &Error) -> bool {
    use Kind::*;
    let due = [NotFound, AlreadyExists, IsADirectory, NotADirectory, DirectoryNotEmpty];
    due.contains(&error.variant())
        // A directory into itself; the root.
        || error.variant() == InvalidArgument
        // Locked files and what is held leave no room for more of their kind.
        || error.variant() == MemoryLimit
}

impl<'a> Everybody<'a> {
    pub(crate) fn new(fs: &'a MemFs, record: &'a Record, thread: usize) -> Self {
        let longest_held = fs.stats().memory.limit as usize / HELD_AT_MOST / HELD_EACH / record.plans.len();
        Self { fs, record, thread, held: Vec::new(), verified: 0, longest_held }
    }

    /// Operation number `index` of this thread's plan.
    ///
    /// # Errors
    /// [`Error::Closed`]; any other that is not due is a panic.
    pub(crate) fn apply(&mut self, index: usize) -> Result<()> {
        let op = self.record.plans[self.thread][index];
        match self.perform(op, index as u64 + 1) {
            Err(error) if error.variant() == Kind::Closed => Err(error),
            Err(error) => {
                assert!(is_due(&error), "{op:?}: {error}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn id(&self) -> u64 {
        WRITERS + self.thread as u64
    }

    fn perform(&mut self, op: Op, version: u64) -> Result<()> {
        let (fs, id) = (self.fs, self.id());
        match op {
            Op::Write { at, words, new, priority } => {
                let mut options = WriteOptions::new().create_new(new);
                if let Some(level) = priority {
                    options = options.priority(Priority::new(level)?);
                }
                fs.write_with(at, image(id, version, 0, words), &options)
            }
            Op::WriteAt { at, from, words, opened } => {
                let bytes = image(id, version, 0, words);
                let n = if opened {
                    fs.open_with(at, OpenOptions::new().write(true))?.write_at(&bytes, from * 8)?
                } else {
                    fs.write_at(at, &bytes, from * 8)?
                };
                assert_eq!(n, bytes.len());
                Ok(())
            }
            Op::Append { at, words, opened } => {
                let bytes = image(id, version, 0, words);
                if !opened {
                    return fs.append(at, bytes);
                }
                let mut file = fs.open_with(at, OpenOptions::new().append(true).create(true))?;
                file.write_all(&bytes).map_err(ways::unwrapped)
            }
            Op::SetLen { at, words, opened } if opened => {
                fs.open_with(at, OpenOptions::new().write(true))?.set_len(words * 8)
            }
            Op::SetLen { at, words, .. } => fs.set_len(at, words * 8),
            Op::Create { at } => fs.create(at).map(drop),
            Op::Remove { at } => fs.remove_file(at),
            Op::Rename { from, to } => fs.rename(from, to),
            Op::Copy { from, to } => fs.copy(from, to).map(drop),
            Op::Read { at, way, from, words } => {
                let found = ways::read(fs, at, way, from, words as usize)?;
                self.explain(at, found.offset, &found.bytes, found.to_the_end);
                Ok(())
            }
            Op::Hold { at, bytes } => self.hold(at, bytes),
            Op::MakeDir { at, all } => {
                if all {
                    fs.create_dir_all(at)
                } else {
                    fs.create_dir(at)
                }
            }
            Op::RemoveDir { at, all } => {
                if all {
                    fs.remove_dir_all(at)
                } else {
                    fs.remove_dir(at)
                }
            }
            Op::List { .. } | Op::Walk { .. } | Op::Glob { .. } => self.list(op),
            Op::Priority { at, level } => fs.set_priority(at, Priority::new(level)?),
            Op::Preload { at, wait } => {
                let preload = fs.preload(at)?;
                if wait { preload.wait() } else { Ok(()) }
            }
            Op::Collect { tenths } => fs.gc(tenths as f64 / 10.0).map(drop),
            Op::Map => {
                fs.memory_map().iter().for_each(|metadata| assert_eq!(metadata.len() % 8, 0));
                let memory = fs.stats().memory;
                assert!(memory.current_usage <= memory.limit, "{memory:?}");
                Ok(())
            }
            Op::Sync => fs.sync(),
            Op::Steady { words } => {
                let path = format!("/steady/{}", self.thread);
                let result = fs.write(path, image(STEADY + self.thread as u64, version, 0, words));
                if result.is_ok() {
                    self.record.steady[self.thread].store(version, SeqCst);
                }
                result.inspect_err(|error| assert_eq!(error.variant(), Kind::Closed, "{error}"))
            }
            Op::ReadSteady { of, way } => self.read_steady(of, way),
            Op::Own(_) | Op::Kept(_) => unreachable!("another's part"),
        }
    }

    pub(crate) fn explain(&mut self, at: &str, offset: u64, bytes: &[u8], to_the_end: bool) {
        let seen = Seen { from: offset / 8, words: decoded(bytes).collect(), to_the_end };
        if let Some(why) = contradiction(&seen, self.record) {
            panic!("{at}: {why}");
        }
        self.verified += 1;
    }

    fn hold(&mut self, at: &str, bytes: bool) -> Result<()> {
        if self.held.len() == HELD_EACH {
            self.held.remove(0).check();
        }
        let held = if bytes {
            let held = self.fs.read_bytes(at)?;
            let said = held.to_vec();
            Held::Bytes(held, said)
        } else {
            let held = self.fs.get(at)?;
            let said = ways::chunks(&held);
            Held::Ref(held, said)
        };
        let (Held::Ref(_, said) | Held::Bytes(_, said)) = &held;
        let said = said.clone();
        self.explain(at, 0, &said, true);
        if said.len() <= self.longest_held {
            self.held.push(held);
        }
        Ok(())
    }

    /// A steady file is whole, and never older than what was acknowledged before the read began.
    pub(crate) fn read_steady(&mut self, of: u64, way: u64) -> Result<()> {
        let least = self.record.steady[of as usize].load(SeqCst);
        let found = ways::read(self.fs, &format!("/steady/{of}"), way, 0, 0)
            .inspect_err(|error| assert_eq!(error.variant(), Kind::Closed, "a steady file: {error}"))?;
        let runs = runs_of(STEADY + of, 0, &found.bytes);
        let version = match runs[..] {
            [] => 0,
            [run] => run.version.expect("a hole in a steady file"),
            _ => panic!("a mixture in steady file {of}: {runs:?}"),
        };
        assert!(version >= least, "steady file {of} is at {version} after {least} was acknowledged");
        let plan = &self.record.plans[of as usize];
        let words = version.checked_sub(1).map_or(0, |index| match plan[index as usize] {
            Op::Steady { words } => words,
            other => panic!("{other:?} does not write steady files"),
        });
        assert_eq!(found.bytes.len() as u64, words * 8, "steady file {of}, version {version}");
        self.verified += 1;
        Ok(())
    }

    /// Nothing is listed twice; the steady files are always there.
    fn list(&self, op: Op) -> Result<()> {
        let (found, wants_steady): (Vec<String>, bool) = match op {
            Op::List { at } => {
                let found: Vec<_> = self.fs.read_dir(at)?.map(|entry| entry.path().to_owned()).collect();
                assert!(found.is_sorted(), "{at}: {found:?}");
                (found, at == "/steady")
            }
            Op::Walk { at } => {
                let found = self.fs.walk(at)?.map(|entry| entry.path().to_owned());
                (found.collect(), at == "/steady" || at == "/")
            }
            Op::Glob { pattern } => (self.fs.glob(pattern)?, pattern == "/**" || pattern == "/steady/*"),
            _ => unreachable!("no listing"),
        };
        // A listing during which the store is closed just ends.
        self.fs.metadata("/")?;
        let once: BTreeSet<_> = found.iter().filter(|path| path.starts_with("/steady/")).collect();
        let steady = found.iter().filter(|path| path.starts_with("/steady/")).count();
        assert_eq!(once.len(), steady, "{op:?} has a steady file twice: {found:?}");
        if wants_steady {
            assert_eq!(steady, self.record.plans.len(), "{op:?}: {found:?}");
        }
        Ok(())
    }
}
