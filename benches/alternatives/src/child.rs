//! One engine in a process of its own, which does what it is told on standard input and answers on standard output, a line of
//! JSON each. So an engine's memory is its process's, its allocator is its own, and what it does wrong ends only itself.

use crate::{
    content::{self, Contents},
    data::Dataset,
    engine::{Engine, Outcome, Session, Setup},
    machine,
    work::{Measured, Round, Worker},
};
use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead, Write},
    sync::{Arc, Barrier, mpsc},
    thread::Scope,
    time::Instant,
};

/// What the first line says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Scene {
    pub(crate) setup: Setup,
    /// Whether to store all files before anything else. If not they are there, and opening ends when one was read.
    pub(crate) fill: bool,
    /// Whether what is filled is worth a full check at the end.
    pub(crate) check_all: bool,
}

/// What later lines say.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    Round(Round),
    /// Everything out of RAM; cold: out of the page cache, too.
    Evict {
        cold: bool,
    },
    Sync,
    Check,
    /// Closes in order and ends.
    Close,
}

/// Memory before the engine was opened, and now.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) rss_before: u64,
    pub(crate) rss: u64,
    pub(crate) anonymous_before: u64,
    pub(crate) anonymous: u64,
}

impl Memory {
    fn start() -> Self {
        let (rss, anonymous) = machine::resident_bytes();
        Self { rss_before: rss, rss, anonymous_before: anonymous, anonymous }
    }

    fn now(self) -> Self {
        let (rss, anonymous) = machine::resident_bytes();
        Self { rss, anonymous, ..self }
    }
}

/// Answers to orders.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Opened, and filled if wanted.
    Ready {
        memory: Memory,
        open_seconds: f64,
        fill_seconds: f64,
        data_bytes: u64,
    },
    Measured {
        measured: Measured,
        memory: Memory,
    },
    Checked {
        missing: u64,
        wrong: u64,
        figures: serde_json::Value,
        memory: Memory,
    },
    Done,
    Failed(String),
}

/// Serves one engine to whoever is at the other end of standard input.
pub(crate) fn serve<E: Engine>() -> Outcome<()> {
    // Who drives says it to the user, with the engine's name.
    try_serve::<E>().or_else(|failure| answer(&Answer::Failed(failure.to_string())))
}

fn try_serve<E: Engine>() -> Outcome<()> {
    let mut lines = std::io::stdin().lock().lines();
    let mut next = || lines.next().transpose();
    let Some(first) = next()? else { return Ok(()) };
    let scene: Scene = serde_json::from_str(&first)?;
    let data: &'static Dataset =
        Box::leak(Box::new(Dataset::new(scene.setup.files, scene.setup.lengths, scene.setup.layout)));
    let mut contents = Contents::new(data.lengths.most());
    let data_bytes = data.total_bytes();
    let memory = Memory::start();

    let began = Instant::now();
    let mut engine = E::open(&scene.setup)?;
    if !scene.fill {
        let key = data.key(data.files() / 2);
        let is_right = engine.session(0)?.touch(key, |bytes| content::is_stamped(bytes, key.id))?;
        if is_right != Some(true) {
            return Err(format!("{} is not there any more", key.path).into());
        }
    }
    let open_seconds = began.elapsed().as_secs_f64();
    let began = Instant::now();
    if scene.fill {
        engine.fill(data, &mut contents)?;
    }
    let fill_seconds = began.elapsed().as_secs_f64();
    drop(contents);
    answer(&Answer::Ready { memory: memory.now(), open_seconds, fill_seconds, data_bytes })?;

    std::thread::scope(|scope| -> Outcome<()> {
        let engine = &engine;
        let staff = (0..scene.setup.threads).map(|i| Hand::hire(scope, engine, i, data)).collect();
        let staff = Staff { hands: staff };
        while let Some(line) = next()? {
            let order: Order = serde_json::from_str(&line)?;
            if matches!(order, Order::Close) {
                break;
            }
            let reply = staff.obey(engine, &scene, order, memory);
            answer(&reply.unwrap_or_else(|failure| Answer::Failed(failure.to_string())))?;
        }
        Ok(())
    })?;
    engine.close()?;
    answer(&Answer::Done)
}

/// What a thread is told.
enum Job {
    Round(Round, Arc<Barrier>),
    Check { everything: bool },
}

/// What it says then.
enum Reply {
    Measured(Outcome<Measured>),
    Checked(Outcome<(u64, u64)>),
}

/// A thread that lives as long as the scene: engines keep things per thread, and a user's threads do not come and go either.
struct Hand {
    jobs: mpsc::Sender<Job>,
    replies: mpsc::Receiver<Reply>,
}

impl Hand {
    fn hire<'scope, E: Engine>(
        scope: &'scope Scope<'scope, '_>,
        engine: &'scope E,
        thread: usize,
        data: &'static Dataset,
    ) -> Self {
        let (jobs, inbox) = mpsc::channel();
        let (outbox, replies) = mpsc::channel();
        scope.spawn(move || {
            let mut worker = Worker::new(thread, data);
            for job in inbox {
                let reply = match job {
                    Job::Round(round, start) => Reply::Measured(worker.run(engine, round, &start)),
                    Job::Check { everything } => Reply::Checked(worker.check(engine, everything)),
                };
                if outbox.send(reply).is_err() {
                    return;
                }
            }
        });
        Self { jobs, replies }
    }
}

/// All threads of a scene.
struct Staff {
    hands: Vec<Hand>,
}

impl Staff {
    fn obey<E: Engine>(&self, engine: &E, scene: &Scene, order: Order, memory: Memory) -> Outcome<Answer> {
        match order {
            Order::Round(round) => {
                Ok(Answer::Measured { measured: self.round(round)?, memory: memory.now() })
            }
            Order::Evict { cold } => {
                engine.evict()?;
                if cold {
                    engine.sync()?;
                    machine::drop_cached_pages(&[&scene.setup.directory])?;
                }
                Ok(Answer::Done)
            }
            Order::Sync => engine.sync().map(|()| Answer::Done),
            Order::Check => {
                let (missing, wrong) = self.check(scene.check_all)?;
                Ok(Answer::Checked { missing, wrong, figures: engine.figures(), memory: memory.now() })
            }
            Order::Close => Ok(Answer::Done),
        }
    }

    fn round(&self, round: Round) -> Outcome<Measured> {
        let start = Arc::new(Barrier::new(round.threads));
        let hands = self.hands.get(..round.threads).ok_or("more threads than the scene has")?;
        for hand in hands {
            hand.jobs.send(Job::Round(round, start.clone()))?;
        }
        let mut all = Measured::default();
        for hand in hands {
            match hand.replies.recv()? {
                Reply::Measured(one) => all.join(&one?),
                Reply::Checked(_) => return Err("a check in place of a round".into()),
            }
        }
        Ok(all)
    }

    /// (missing, wrong) of all files, and of what each thread has created and not deleted.
    fn check(&self, everything: bool) -> Outcome<(u64, u64)> {
        let (mut missing, mut wrong) = (0, 0);
        for (thread, hand) in self.hands.iter().enumerate() {
            hand.jobs.send(Job::Check { everything: everything && thread == 0 })?;
            match hand.replies.recv()? {
                Reply::Checked(faults) => {
                    let (is_missing, is_wrong) = faults?;
                    missing += is_missing;
                    wrong += is_wrong;
                }
                Reply::Measured(_) => return Err("a round in place of a check".into()),
            }
        }
        Ok((missing, wrong))
    }
}

fn answer(answer: &Answer) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, answer)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}
