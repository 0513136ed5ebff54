//! Threads work on the same few paths while a further one keeps pushing everything out to disk.

use crate::{
    common::{
        alarm::Alarm,
        kind::{Fails, Kind},
        linear::{Event, order_of, overlaps},
        rng::Rng,
        stores::validate,
    },
    files::{Answer, BLOCK, Call, Files, Op, PATHS},
};
use memfs::{Builder, MemFs, WriteOptions};
use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

fn path_of(round: usize, path: usize) -> String {
    // Fresh names for every history, in two directories.
    if path == 0 { format!("/{round}.0") } else { format!("/{round}/{path}") }
}

fn block(tags: &[u16]) -> Vec<u8> {
    tags.iter().flat_map(|tag| tag.to_le_bytes().repeat(BLOCK / 2)).collect()
}

/// Contents as tags; whatever is no whole uniform block is an error of its own.
fn tags(bytes: &[u8]) -> Vec<u16> {
    assert_eq!(bytes.len() % BLOCK, 0, "a length that nobody made");
    bytes
        .chunks(BLOCK)
        .map(|block| {
            assert!(block[2..] == block[..BLOCK - 2], "a torn block");
            u16::from_le_bytes([block[0], block[1]])
        })
        .collect()
}

fn random_op(rng: &mut Rng, tag: u16) -> Op {
    let path = rng.below(PATHS as u64) as usize;
    let blocks = [0, 1, 2, 5][rng.below(4) as usize];
    let at = rng.below(4) as usize;
    match rng.below(16) {
        0 | 1 => Op::Write { path, tag, blocks },
        2 => Op::CreateNew { path, tag, blocks },
        3 | 4 => Op::Append { path, tag, blocks: blocks.max(1) },
        5 => Op::WriteAt { path, tag, at, blocks: blocks.max(1) },
        6 => Op::SetLen { path, blocks },
        7..=9 => Op::Read { path },
        10 => Op::ReadAt { path, at, blocks: blocks.max(1) },
        11 => Op::Len { path },
        12 => Op::Exists { path },
        13 => Op::Remove { path },
        _ => Op::Rename { from: path, to: rng.below(PATHS as u64) as usize },
    }
}

fn answer<T>(result: memfs::Result<T>, ok: impl FnOnce(T) -> Answer) -> Answer {
    match result {
        Ok(value) => ok(value),
        Err(error) => match error.variant() {
            Kind::NotFound => Answer::Missing,
            Kind::AlreadyExists => Answer::Taken,
            _ => panic!("{error}"),
        },
    }
}

fn perform(fs: &MemFs, round: usize, op: &Op) -> Answer {
    let name = |path| path_of(round, path);
    let done = |()| Answer::Done;
    match *op {
        Op::Write { path, tag, blocks } => answer(fs.write(name(path), block(&vec![tag; blocks])), done),
        Op::CreateNew { path, tag, blocks } => {
            let options = WriteOptions::new().create_new(true);
            answer(fs.write_with(name(path), block(&vec![tag; blocks]), &options), done)
        }
        Op::Append { path, tag, blocks } => answer(fs.append(name(path), block(&vec![tag; blocks])), done),
        Op::WriteAt { path, tag, at, blocks } => {
            let bytes = block(&vec![tag; blocks]);
            answer(fs.write_at(name(path), &bytes, (at * BLOCK) as u64), |written| {
                assert_eq!(written, bytes.len());
                Answer::Done
            })
        }
        Op::SetLen { path, blocks } => answer(fs.set_len(name(path), (blocks * BLOCK) as u64), done),
        Op::Read { path } => match path {
            0 => answer(fs.read(name(path)), |bytes| Answer::Content(tags(&bytes))),
            1 => answer(fs.read_with(name(path), tags), Answer::Content),
            _ => answer(fs.get(name(path)), |bytes| Answer::Content(tags(&bytes))),
        },
        Op::ReadAt { path, at, blocks } => {
            let mut buf = vec![0xEE; blocks * BLOCK];
            answer(fs.read_at(name(path), &mut buf, (at * BLOCK) as u64), |n| {
                Answer::Content(tags(&buf[..n]))
            })
        }
        Op::Len { path } => answer(fs.metadata(name(path)), |metadata| {
            assert_eq!(metadata.len() % BLOCK as u64, 0, "a length that nobody made");
            Answer::Blocks(metadata.len() as usize / BLOCK)
        }),
        Op::Exists { path } => Answer::Is(fs.exists(name(path))),
        Op::Remove { path } => answer(fs.remove_file(name(path)), done),
        Op::Rename { from, to } => answer(fs.rename(name(from), name(to)), done),
    }
}

struct Race {
    threads: usize,
    ops_each: usize,
    rounds: usize,
    seed: u64,
}

/// Records histories and has them explained, with other seeds until operations have overlapped in some: on a busy machine the
/// threads may have come one after the other, and all histories were easily explained.
fn run(builder: &dyn Fn() -> Builder, race: &Race) {
    let deadline = Instant::now() + Duration::from_secs(120);
    for seed in race.seed.. {
        if record(builder(), &Race { seed, ..*race }) > 0 {
            return;
        }
        assert!(Instant::now() < deadline, "no two operations overlapped");
    }
}

/// Records one history per round and has it explained; answers how many pairs of operations overlapped.
fn record(builder: Builder, race: &Race) -> usize {
    let fs = builder.build().unwrap();
    for i in 0..40 {
        fs.write(format!("/ballast/{i}"), vec![i; 16 << 10]).unwrap();
    }
    let arrived: Vec<AtomicUsize> = (0..race.rounds).map(|_| AtomicUsize::new(0)).collect();
    let histories: Vec<Mutex<Vec<Event<Call>>>> = (0..race.rounds).map(|_| Mutex::default()).collect();
    let (begun, over, failed) = (Alarm::default(), Alarm::default(), Alarm::default());
    let start = Instant::now();
    thread::scope(|scope| {
        let evictor = scope.spawn(|| keep_evicting(&fs, &begun, &over));
        let workers: Vec<_> = (0..race.threads)
            .map(|thread| {
                let (fs, arrived, histories) = (&fs, &arrived, &histories);
                let (begun, failed) = (&begun, &failed);
                scope.spawn(move || {
                    let _guard = failed.guard();
                    // With something swapped already.
                    while !begun.is_raised() {
                        thread::yield_now();
                    }
                    for round in 0..race.rounds {
                        let mut rng =
                            Rng::varied(race.seed ^ ((round as u64) << 20) ^ ((thread as u64) << 50));
                        if thread == 0 {
                            // A rename makes no parents.
                            fs.create_dir(format!("/{round}")).unwrap();
                        }
                        meet(&arrived[round], race.threads, failed);
                        if thread == 0 && round > 0 {
                            // Everybody is through with the round before.
                            drop(fs.remove_file(path_of(round - 1, 0)));
                            fs.remove_dir_all(format!("/{}", round - 1)).unwrap();
                        }
                        let mut mine = Vec::with_capacity(race.ops_each);
                        for index in 0..race.ops_each {
                            let tag = (1 + thread * race.ops_each + index) as u16;
                            let op = random_op(&mut rng, tag);
                            let called = start.elapsed().as_nanos() as u64;
                            let answer = perform(fs, round, &op);
                            let returned = start.elapsed().as_nanos() as u64;
                            mine.push(Event { thread, called, returned, call: Call { op, answer } });
                        }
                        histories[round].lock().unwrap().extend(mine);
                    }
                })
            })
            .collect();
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        over.raise();
        evictor.join().unwrap();
        assert!(results.iter().all(Result::is_ok), "seed {:#x}", race.seed);
    });
    let swaps = fs.stats().cache;
    assert!(swaps.swaps_out > 0 && swaps.swaps_in > 0, "nothing was swapped: {swaps:?}");
    validate(&fs);
    histories.into_iter().enumerate().map(|(round, history)| explain(race, round, history)).sum()
}

fn explain(race: &Race, round: usize, history: Mutex<Vec<Event<Call>>>) -> usize {
    let mut history = history.into_inner().unwrap();
    history.sort_by_key(|event| event.called);
    if order_of::<Files>(&history).is_none() {
        for event in &history {
            eprintln!("{:>9} {:>9} thread {} {:?}", event.called, event.returned, event.thread, event.call);
        }
        panic!("round {round} of seed {:#x} cannot be explained by any order", race.seed);
    }
    overlaps(&history)
}

/// Waits until all threads of a round have come, so that their operations overlap.
fn meet(arrived: &AtomicUsize, threads: usize, failed: &Alarm) {
    arrived.fetch_add(1, SeqCst);
    while arrived.load(SeqCst) < threads {
        assert!(!failed.is_raised(), "another thread failed");
        thread::yield_now();
    }
}

fn keep_evicting(fs: &MemFs, begun: &Alarm, over: &Alarm) {
    let _guard = begun.guard();
    let mut rng = Rng::varied(1);
    while !over.is_raised() {
        fs.gc(rng.below(4) as f64 / 10.0).unwrap();
        for _ in 0..4 {
            let i = rng.below(40) as u8;
            fs.read_with(format!("/ballast/{i}"), |bytes| assert!(bytes.iter().all(|&b| b == i))).unwrap();
        }
        begun.raise();
        thread::yield_now();
    }
}

fn small() -> Builder {
    MemFs::builder().memory_limit_bytes(512 << 10).segment_size(256 << 10)
}

#[test]
fn histories_over_files_of_one_chunk_have_an_order() {
    let race = Race { threads: 3, ops_each: 10, rounds: 1500, seed: 0x51 };
    run(&|| small().chunk_size(64 << 10).worker_threads(0), &race);
}

#[test]
fn histories_over_files_of_several_chunks_have_an_order() {
    let race = Race { threads: 3, ops_each: 10, rounds: 1000, seed: 0x52 };
    run(&|| small().chunk_size(4096).worker_threads(0), &race);
}

#[test]
fn histories_beside_background_workers_have_an_order() {
    let race = Race { threads: 4, ops_each: 8, rounds: 1000, seed: 0x53 };
    run(&|| small().chunk_size(4096).worker_threads(2), &race);
}
