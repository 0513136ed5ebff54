//! A thread that works through rounds: everything that is not the engine's is made before the clock starts.

use super::{Churn, Measured, Round, Work};
use crate::{
    content::{self, Contents},
    data::{self, Dataset, Key},
    engine::{Engine, Outcome, Session},
    histogram::Histogram,
    requests::{self, Rng, Spread},
};
use std::{
    collections::HashMap,
    sync::Barrier,
    time::{Duration, Instant},
};

/// How many operations go by for one that is timed: two readings of the clock cost each operation under a nanosecond.
pub(crate) const SAMPLE_EVERY: u32 = 64;
/// How far ahead of its use a path is fetched into the cache.
const AHEAD: usize = 8;

/// The glob row's pattern: an eighth of the files, all over.
const PATTERN: &str = "/**/*.webp";

/// Requests, and how far they were worked through.
struct Queue {
    ids: Vec<u32>,
    at: usize,
}

impl Queue {
    #[inline]
    fn next(&mut self, data: &Dataset) -> u32 {
        let mask = self.ids.len() - 1;
        data.prefetch(self.ids[(self.at + AHEAD) & mask]);
        let id = self.ids[self.at & mask];
        self.at += 1;
        id
    }
}

/// One thread's state, kept between rounds.
pub(crate) struct Worker {
    thread: usize,
    data: &'static Dataset,
    contents: Contents,
    buffer: Vec<u8>,
    queues: HashMap<Spread, Queue>,
    churn: Churn,
    version: u64,
}

enum Did {
    Read,
    Write,
}

/// What went wrong with a thread's reads.
#[derive(Default)]
struct Faults {
    missing: u64,
    wrong: u64,
}

impl Faults {
    #[inline]
    fn note(&mut self, right: Option<bool>) {
        match right {
            Some(true) => {}
            Some(false) => self.wrong += 1,
            None => self.missing += 1,
        }
    }
}

impl Worker {
    pub(crate) fn new(thread: usize, data: &'static Dataset) -> Self {
        Self {
            thread,
            data,
            contents: Contents::new(data.lengths.most()),
            buffer: Vec::with_capacity(data.lengths.most()),
            queues: HashMap::new(),
            churn: Churn::new(thread),
            version: thread as u64 + 1,
        }
    }

    /// Works through `round` with all others that wait at `start`.
    pub(crate) fn run<E: Engine>(&mut self, engine: &E, round: Round, start: &Barrier) -> Outcome<Measured> {
        let prepared = self.prepare(round);
        let session = engine.session(self.thread);
        start.wait();
        let (mut queue, mut session) = (prepared, session?);
        let mut faults = Faults::default();
        let span = Duration::from_millis(round.millis);
        let mut measured = match round.work {
            Work::Touch(_) => self.touch(&mut session, &mut queue, span, &mut faults),
            Work::Copy(_) => self.mix(&mut session, &mut queue, 0, span, &mut faults),
            Work::Mix { writes_percent, .. } => {
                self.mix(&mut session, &mut queue, writes_percent, span, &mut faults)
            }
            Work::Churn => self.churn(&mut session, span, &mut faults),
            Work::Once { .. } => self.once(&mut session, &queue.ids, &mut faults),
            Work::List => self.list(&mut session, &mut faults),
            Work::Glob => self.glob(&mut session, &mut faults),
        }?;
        measured.missing += faults.missing;
        measured.wrong += faults.wrong;
        if let Work::Touch(spread) | Work::Copy(spread) | Work::Mix { spread, .. } = round.work {
            self.queues.insert(spread, queue);
        }
        Ok(measured)
    }

    fn prepare(&mut self, round: Round) -> Queue {
        match round.work {
            Work::Touch(spread) | Work::Copy(spread) | Work::Mix { spread, .. } => {
                self.queues.remove(&spread).unwrap_or_else(|| Queue {
                    ids: requests::sequence(spread, self.data.files(), 0x7265_7100 + self.thread as u64),
                    at: 0,
                })
            }
            Work::Once { .. } => {
                let mut ids: Vec<u32> = self.data.ids().collect();
                Rng::new(0x6f6e_6365).shuffle(&mut ids);
                let mine = ids.into_iter().skip(self.thread).step_by(round.threads).collect();
                Queue { ids: mine, at: 0 }
            }
            Work::Churn | Work::List | Work::Glob => Queue { ids: Vec::new(), at: 0 },
        }
    }

    fn touch<S: Session>(
        &mut self,
        session: &mut S,
        queue: &mut Queue,
        span: Duration,
        faults: &mut Faults,
    ) -> Outcome<Measured> {
        for_a_while(span, || {
            let id = queue.next(self.data);
            faults.note(session.touch(self.data.key(id), |bytes| content::is_stamped(bytes, id))?);
            Ok(Did::Read)
        })
    }

    fn mix<S: Session>(
        &mut self,
        session: &mut S,
        queue: &mut Queue,
        writes_percent: u8,
        span: Duration,
        faults: &mut Faults,
    ) -> Outcome<Measured> {
        let mut dice = Rng::new(queue.at as u64 ^ (self.thread as u64) << 48);
        for_a_while(span, || {
            let id = queue.next(self.data);
            let key = self.data.key(id);
            if dice.below(100) < u32::from(writes_percent) {
                self.version += 1;
                self.contents
                    .with(id, self.version, self.data.lengths.of(id), |bytes| session.put(key, bytes))?;
                return Ok(Did::Write);
            }
            let found = session.copy(key, &mut self.buffer)?;
            faults.note(found.then(|| content::is_framed(&self.buffer, id)));
            Ok(Did::Read)
        })
    }

    /// Counts the creation and the deletion as one operation each.
    fn churn<S: Session>(
        &mut self,
        session: &mut S,
        span: Duration,
        faults: &mut Faults,
    ) -> Outcome<Measured> {
        let len = self.data.lengths.most();
        let mut measured = for_a_while(span, || {
            let (id, path, version) = self.churn.comes();
            self.contents.with(id, version, len, |bytes| session.put(Key { id, path }, bytes))?;
            if let Some((id, path)) = self.churn.goes() {
                faults.note(session.remove(Key { id, path })?.then_some(true));
            }
            Ok(Did::Write)
        })?;
        measured.operations *= 2;
        measured.rate *= 2.0;
        Ok(measured)
    }

    fn once<S: Session>(&mut self, session: &mut S, ids: &[u32], faults: &mut Faults) -> Outcome<Measured> {
        let began = Instant::now();
        let mut measured = Measured::default();
        let mut before = began;
        for &id in ids {
            let found = session.copy(self.data.key(id), &mut self.buffer)?;
            faults.note(found.then(|| content::is_framed(&self.buffer, id)));
            let now = Instant::now();
            measured.reads_ns.record((now - before).as_nanos() as u64);
            before = now;
        }
        finish(&mut measured, ids.len() as u64, began);
        Ok(measured)
    }

    fn list<S: Session>(&mut self, session: &mut S, faults: &mut Faults) -> Outcome<Measured> {
        let mut measured = Measured::default();
        let began = Instant::now();
        let paths = session.list(data::FLAT_DIRECTORY)?;
        finish(&mut measured, 1, began);
        let is_right = paths.len() as u32 == self.data.files() && paths.is_sorted();
        faults.note(Some(is_right));
        Ok(measured)
    }

    fn glob<S: Session>(&mut self, session: &mut S, faults: &mut Faults) -> Outcome<Measured> {
        let matcher = globset::GlobBuilder::new(PATTERN).literal_separator(true).build()?.compile_matcher();
        let mut measured = Measured::default();
        let began = Instant::now();
        let paths = session.glob("/", &matcher)?;
        finish(&mut measured, 1, began);
        let want = self.data.ids().filter(|&id| self.data.key(id).path.ends_with(".webp")).count();
        faults.note(Some(paths.len() == want && paths.is_sorted()));
        Ok(measured)
    }

    /// Reads every file whole, and what churned; (missing, wrong).
    pub(crate) fn check<E: Engine>(&mut self, engine: &E, everything: bool) -> Outcome<(u64, u64)> {
        let mut session = engine.session(self.thread)?;
        let mut faults = Faults::default();
        let mut verify = |key: Key<'_>| -> Outcome<()> {
            let found = session.copy(key, &mut self.buffer)?;
            faults.note(found.then(|| self.contents.verify(&self.buffer, key.id)));
            Ok(())
        };
        if everything {
            self.data.ids().try_for_each(|id| verify(self.data.key(id)))?;
        }
        self.churn.alive().try_for_each(|(id, path)| verify(Key { id, path }))?;
        Ok((faults.missing, faults.wrong))
    }
}

/// Does `one` over and over for `span`, timing some; before that for half as long untimed, since the turn before this was
/// another's and the caches are full of what was his.
#[inline]
fn for_a_while(span: Duration, mut one: impl FnMut() -> Outcome<Did>) -> Outcome<Measured> {
    let warming = Instant::now();
    while warming.elapsed() < span / 2 {
        for _ in 0..SAMPLE_EVERY {
            one()?;
        }
    }
    let mut measured = Measured::default();
    let began = Instant::now();
    let mut operations = 0;
    loop {
        for _ in 1..SAMPLE_EVERY {
            one()?;
        }
        let before = Instant::now();
        let did = one()?;
        let after = Instant::now();
        let histogram: &mut Histogram = match did {
            Did::Read => &mut measured.reads_ns,
            Did::Write => &mut measured.writes_ns,
        };
        histogram.record((after - before).as_nanos() as u64);
        operations += u64::from(SAMPLE_EVERY);
        if after - began >= span {
            finish(&mut measured, operations, began);
            return Ok(measured);
        }
    }
}

fn finish(measured: &mut Measured, operations: u64, began: Instant) {
    measured.operations = operations;
    measured.seconds = began.elapsed().as_secs_f64();
    measured.rate = operations as f64 / measured.seconds;
}
