//! Random histories on a disk that fails, crashes and fills up: what is found again is what was, up to a batch, and no less
//! than was acknowledged.

use super::{
    super::{Batch, Contents, Journal, Opened, Redo, StoreParams, fsck},
    world::{CHUNK_BYTES, Rng, State, World, node_of, visited},
};
use crate::{
    error::Error,
    segment::crash::{CrashDisk, Fault},
};
use std::{collections::BTreeSet, path::Path, sync::Arc};

pub(super) fn dir() -> &'static Path {
    Path::new("/store")
}

pub(super) fn params() -> StoreParams {
    StoreParams { store_id: 0x1234_5678_9abc_def0, chunk_bytes: CHUNK_BYTES, opaque: [7; 64] }
}

/// A store, and what it should be.
struct Run {
    disk: CrashDisk,
    journal: Option<Journal>,
    world: World,
    /// The state before each operation, by its number; the last is the present one.
    states: Vec<State>,
    /// Numbers of the first operations of all batches ever given, and of the one after.
    boundaries: BTreeSet<u64>,
    /// All before this one are durable.
    acknowledged: u64,
    /// What was not, and has to be given again.
    batch: Batch,
    /// What is in the front beside operations that are not in the journal.
    contents: Contents,
    created: bool,
    rng: Rng,
}

impl Run {
    fn new(seed: u64) -> Self {
        Self {
            disk: CrashDisk::new(),
            journal: None,
            world: World::default(),
            states: vec![State::new(); 2],
            boundaries: BTreeSet::from([1]),
            acknowledged: 1,
            batch: Batch::new(1),
            contents: Contents::default(),
            created: false,
            rng: Rng(seed),
        }
    }

    /// Opens or makes the store; errors of a failing disk leave it as it is.
    fn open(&mut self) {
        let disk = Arc::new(self.disk.clone());
        let opened = match Journal::open(disk.clone(), dir()) {
            Ok(opened) => opened,
            Err(error) => return assert!(is_of_the_disk(&error), "{error}"),
        };
        match opened {
            Some(mut opened) => match visited(&mut opened) {
                Ok(state) => self.found(opened, state),
                Err(error) => assert!(is_of_the_disk(&error), "{error}"),
            },
            None => {
                assert!(!self.created, "the store is gone");
                match Journal::create(disk, dir(), &params()) {
                    Ok(journal) => {
                        self.journal = Some(journal);
                        self.created = true;
                    }
                    Err(error) => assert!(is_of_the_disk(&error), "{error}"),
                }
            }
        }
    }

    fn found(&mut self, opened: Opened, state: State) {
        let next = opened.journal.next_seq();
        assert_eq!(opened.params, params());
        assert!(next >= self.acknowledged, "operation {next}, and {} were durable", self.acknowledged);
        assert!(self.boundaries.contains(&next), "{next} is within a batch: {:?}", self.boundaries);
        assert_eq!(state, self.states[next as usize], "before operation {next}");
        // A batch that was not acknowledged may have brought some, too.
        for (extent, bytes) in opened.contents.iter().filter(|_| opened.journal.has_ahead()) {
            assert!(*bytes == bytes_of(*extent), "extent {extent:#x}");
        }
        let is_found = |extent: &u64| opened.contents.contains_key(extent);
        assert!(!opened.journal.has_ahead() || self.contents.keys().all(is_found), "bytes are missing");
        // What was found is durable by now, if nothing failed.
        self.states.truncate(next as usize + 1);
        self.world = World::of(state, next);
        self.batch.restart(next);
        self.boundaries.retain(|boundary| *boundary <= next);
        self.journal = Some(opened.journal);
        self.created = true;
        self.settle();
    }

    /// Has all that was found in the journal, if the disk lets it.
    fn settle(&mut self) {
        self.settled(|journal| journal.append(&Batch::new(journal.next_seq())));
    }

    /// What `call` makes durable, if it can.
    fn settled(&mut self, call: impl FnOnce(&mut Journal) -> crate::Result<()>) {
        let Some(journal) = &mut self.journal else { return };
        match call(journal) {
            Ok(()) => {
                self.acknowledged = self.acknowledged.max(journal.next_seq());
                self.contents.clear();
            }
            Err(error) => assert!(is_of_the_disk(&error), "{error}"),
        }
    }

    /// Some more operations, and an append of all that is not durable yet.
    fn append(&mut self) {
        let most = if self.rng.one_in(8) { 200 } else { 6 };
        for _ in 0..1 + self.rng.below(most) {
            let operation = self.world.step(&mut self.rng);
            operation.push_to(&mut self.batch);
            self.states.push(self.world.nodes.clone());
        }
        let next = self.batch.next_seq();
        assert_eq!(next as usize, self.states.len() - 1);
        self.boundaries.insert(next);
        let Some(journal) = &mut self.journal else { return };
        if self.rng.one_in(2) {
            let (mut redo, mut contents) = (Redo::new(2000), Contents::default());
            redo.restart();
            for _ in 0..self.rng.below(3) {
                // None that the world makes up.
                let extent = 1 << 50 | self.rng.below(1 << 40);
                redo.push(extent, &bytes_of(extent));
                contents.insert(extent, bytes_of(extent));
            }
            let most_bytes = 4096 + self.rng.below(16 << 10);
            if redo.is_whole() && journal.append_ahead(&self.batch, &redo, most_bytes) {
                assert_eq!(journal.next_seq(), next);
                self.acknowledged = next;
                self.batch.restart(next);
                self.contents.extend(contents);
                return;
            }
        }
        match journal.append(&self.batch) {
            Ok(()) => {
                assert_eq!(journal.next_seq(), next);
                self.acknowledged = next;
                self.batch.restart(next);
                self.contents.clear();
            }
            Err(error) => assert!(is_of_the_disk(&error), "{error}"),
        }
    }

    /// A checkpoint, with appends while it is made.
    fn checkpoint(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        let job = match journal.begin_checkpoint() {
            Ok(Some(job)) => job,
            Ok(None) => return,
            Err(error) => return assert!(is_of_the_disk(&error), "{error}"),
        };
        for _ in 0..self.rng.below(3) {
            self.append();
        }
        let stop = self.rng.one_in(6);
        let done = job.run(&|| !stop);
        for _ in 0..self.rng.below(3) {
            self.append();
        }
        let journal = self.journal.as_mut().expect("as above");
        if let Err(error) = journal.finish_checkpoint(done) {
            assert!(is_of_the_disk(&error), "{error}");
        }
    }

    /// The process ends, one way or another, and the disk works again, for a while.
    fn restart(&mut self) {
        let seed = self.rng.next();
        if self.rng.one_in(4) {
            self.settle();
            if let Some(journal) = self.journal.take()
                && let Err(error) = journal.close()
            {
                assert!(is_of_the_disk(&error), "{error}");
            }
        }
        self.journal = None;
        self.disk = if self.rng.one_in(2) { self.disk.crash(seed) } else { self.disk.kill() };
    }

    fn step(&mut self) {
        match self.rng.below(10) {
            0 => self.checkpoint(),
            1 => self.restart(),
            _ => self.append(),
        }
        if self.journal.is_none() {
            self.open();
        }
    }

    /// With no more failures, everything is there.
    fn finish(mut self) {
        self.disk.plan(None);
        self.disk.set_room(None);
        if self.journal.is_none() {
            self.open();
        }
        self.append();
        assert_eq!(self.acknowledged, self.batch.first_seq());
        assert_eq!(self.acknowledged as usize, self.states.len() - 1);
        let seed = self.rng.next();
        self.disk = self.disk.crash(seed);
        let found = fsck(&self.disk, dir()).unwrap().expect("there is a store");
        assert!(found.is_sound(), "{:#?}", found.findings);
        assert_eq!(found.next_seq, self.acknowledged);
        let nodes: State = found.nodes().map(|node| (node.id, node_of(&node))).collect();
        assert_eq!(&nodes, self.states.last().expect("the present"));
        self.open();
        assert_eq!(self.journal.as_ref().map(Journal::next_seq), Some(self.acknowledged));
    }
}

/// The bytes of an extent that went into a front.
pub(super) fn bytes_of(extent: u64) -> Vec<u8> {
    let mut rng = Rng(extent);
    (0..rng.below(900)).map(|_| rng.next() as u8).collect()
}

/// The disk of these tests refuses with these; anything else is a fault of the journal's.
fn is_of_the_disk(error: &Error) -> bool {
    match error {
        Error::StorageFull { .. } => true,
        Error::Io { source, .. } => {
            matches!(source.raw_os_error(), Some(libc::EIO | libc::ENOSPC))
        }
        _ => false,
    }
}

#[test]
fn a_crash_leaves_a_prefix_of_history_with_all_that_was_durable() {
    for seed in 0..300 {
        let mut run = Run::new(seed);
        for _ in 0..30 {
            run.step();
        }
        run.finish();
    }
}

/// Opens, appends, makes checkpoints: always the same for one seed, as long as nothing fails.
fn some_work(run: &mut Run) {
    run.open();
    for step in 0..12 {
        if step % 5 == 3 {
            run.checkpoint();
        } else {
            run.append();
        }
    }
}

#[test]
fn the_power_may_go_at_any_call_and_again_while_the_store_is_opened() {
    let mut crashes = 0;
    for seed in 0..12 {
        for call in 0.. {
            let mut run = Run::new(seed);
            run.disk.plan(Some(Fault { call, errno: libc::EIO, lasting: true }));
            some_work(&mut run);
            if run.disk.calls() <= call {
                break;
            }
            crashes += 1;
            run.journal = None;
            let mut rng = Rng(seed << 32 | call);
            run.disk = run.disk.crash(rng.next());
            let again = Fault { call: rng.below(30), errno: libc::EIO, lasting: true };
            run.disk.plan(Some(again));
            run.open();
            run.journal = None;
            run.disk = run.disk.crash(rng.next());
            run.finish();
        }
    }
    assert!(crashes > 12 * 60, "{crashes} crashes");
}

#[test]
fn nothing_durable_is_lost_by_any_call_that_fails_once() {
    for seed in 0..12 {
        for call in 0..120 {
            let mut run = Run::new(seed);
            let errno = if call % 2 == 0 { libc::EIO } else { libc::ENOSPC };
            run.disk.plan(Some(Fault { call, errno, lasting: false }));
            for _ in 0..8 {
                run.step();
            }
            run.finish();
        }
    }
}

#[test]
fn failures_again_and_again_lose_nothing_durable() {
    for seed in 1000..1300 {
        let mut run = Run::new(seed);
        for _ in 0..30 {
            if run.rng.one_in(3) {
                let (call, lasting) = (run.rng.below(20), run.rng.one_in(3));
                let errno = if run.rng.one_in(3) { libc::ENOSPC } else { libc::EIO };
                run.disk.plan(Some(Fault { call, errno, lasting }));
            } else if run.rng.one_in(2) {
                run.disk.plan(None);
            }
            run.step();
        }
        run.finish();
    }
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    for seed in 2000..2100 {
        let mut run = Run::new(seed);
        for _ in 0..30 {
            if run.rng.one_in(4) {
                let room = run.disk.used_bytes() + run.rng.below(40_000);
                run.disk.set_room(Some(room));
            } else if run.rng.one_in(4) {
                run.disk.set_room(None);
            }
            run.step();
        }
        run.finish();
    }
}

#[test]
fn a_full_disk_still_takes_a_few_changes() {
    let mut run = Run::new(5);
    run.open();
    for _ in 0..20 {
        run.append();
    }
    let used = run.disk.used_bytes();
    run.disk.set_room(Some(used));
    let journal = run.journal.as_mut().unwrap();
    assert!(matches!(journal.begin_checkpoint().map(drop), Err(Error::StorageFull { .. })));
    for _ in 0..8 {
        let mut batch = Batch::new(journal.next_seq());
        batch.push(&crate::journal::Entry::Remove { id: 99 });
        batch.end_operation();
        journal.append(&batch).unwrap();
    }
    assert_eq!(run.disk.used_bytes(), used);
}
