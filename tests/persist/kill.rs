//! A process that is killed with SIGKILL, again and again; what is found is a prefix of what it had done.

use super::{
    history::{Dice, Step, dump},
    *,
};
use memfs::Durability;
use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::fs::FileExt,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Cycles in an ordinary run; `MEMFS_KILL_CYCLES` sets another number.
const CYCLES: u64 = 60;
const THREADS: u64 = 3;

/// Options that change from cycle to cycle.
fn options(dir: &Path, seed: u64) -> (Builder, Durability) {
    let mut dice = Dice::new(seed ^ 0x0971_0115);
    let durability = match dice.roll(5) {
        0 => Durability::Sync,
        1 => Durability::OnClose,
        2 => Durability::Periodic(Duration::from_millis(1)),
        3 => Durability::Periodic(Duration::from_millis(10)),
        _ => Durability::Periodic(Duration::from_millis(40)),
    };
    let builder = MemFs::builder()
        .mode(StorageMode::Persist)
        .storage_path(dir)
        .memory_limit_bytes([1 << 20, 2 << 20, 8 << 20][dice.roll(3) as usize])
        .worker_threads([0, 1, 3][dice.roll(3) as usize])
        .durability(durability);
    (builder, durability)
}

/// What the child has done: for each thread, steps acknowledged, and steps acknowledged when the last sync began.
struct Progress(File);

impl Progress {
    fn at(&self, thread: u64, field: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, 8 * (2 * thread + field)).expect("the progress is there");
        u64::from_le_bytes(bytes)
    }

    fn set(&self, thread: u64, field: u64, value: u64) {
        self.0.write_all_at(&value.to_le_bytes(), 8 * (2 * thread + field)).expect("room for a number");
    }
}

fn variable(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// The child: works until it is killed.
#[test]
fn child_that_is_killed() {
    let Some(home) = env::var_os("MEMFS_KILL_HOME").map(PathBuf::from) else { return };
    let seed = variable("MEMFS_KILL_SEED").expect("given with the home");
    let (builder, durability) = options(&home.join("store"), seed);
    let store = builder.build().expect("a store that opens");
    eprintln!("open");
    let file =
        File::options().read(true).write(true).open(home.join("progress")).expect("made by the parent");
    let progress = Progress(file);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, progress) = (&store, &progress);
            scope.spawn(move || {
                let mut dice = Dice::new(seed ^ thread);
                for step in 0.. {
                    // An answer is part of the state; what fails changes nothing.
                    let _ = Step::new(seed + thread, step, &format!("/t{thread}")).apply(store);
                    progress.set(thread, 0, step + 1);
                    if durability == Durability::Sync {
                        progress.set(thread, 1, step + 1);
                    } else if dice.roll(50) == 0 {
                        store.sync().expect("a disk that works");
                        progress.set(thread, 1, step + 1);
                    }
                }
            });
        }
    });
}

#[test]
fn what_a_killed_process_leaves_is_a_prefix_of_what_it_did() {
    let cycles = variable("MEMFS_KILL_CYCLES").unwrap_or(CYCLES);
    let first = variable("MEMFS_KILL_FIRST").unwrap_or(1);
    let home = tempfile::tempdir().unwrap();
    // The same steps, made on a store that is never killed.
    let reference = MemFs::builder().memory_limit_bytes(64 << 20).worker_threads(0).build().unwrap();
    let mut survived = 0;
    for cycle in first..first + cycles {
        let seed = cycle * 1000;
        let mut dice = Dice::new(seed ^ 77);
        File::create(home.path().join("progress")).unwrap().set_len(16 * THREADS).unwrap();
        let most = if dice.roll(4) == 0 { 2000 } else { 200 };
        let steps = 1 + dice.roll(most);
        run_and_kill(home.path(), seed, steps, Duration::from_micros(dice.roll(20_000)));
        let progress = Progress(File::open(home.path().join("progress")).unwrap());
        let (builder, _) = options(&home.path().join("store"), seed);
        let store = builder.build().unwrap_or_else(|error| panic!("cycle {cycle}: {error}"));
        for thread in 0..THREADS {
            let (acknowledged, durable) = (progress.at(thread, 0), progress.at(thread, 1));
            let root = format!("/t{thread}");
            let found = dump(&store, &root);
            let step = |number| drop(Step::new(seed + thread, number, &root).apply(&reference));
            (0..durable).for_each(step);
            let mut number = durable;
            // The step that was under way may be there, too.
            while dump(&reference, &root) != found {
                assert!(
                    number <= acknowledged,
                    "cycle {cycle}, {root}: no state from step {durable} to {acknowledged} is that of the store"
                );
                step(number);
                number += 1;
            }
            survived += number;
        }
        validate(&store);
        store.close().unwrap();
    }
    assert!(survived > 0, "steps did survive");
    let segments = fs::read_dir(home.path().join("store")).unwrap().count();
    assert!(segments < 100, "{segments} files were left");
}

fn run_and_kill(home: &Path, seed: u64, steps: u64, delay: Duration) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "kill::child_that_is_killed", "--nocapture"])
        .env("MEMFS_KILL_HOME", home)
        .env("MEMFS_KILL_SEED", seed.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let opened = lines.next().is_some_and(|line| line.is_ok_and(|line| line == "open"));
    let progress = Progress(File::open(home.join("progress")).unwrap());
    let began = Instant::now();
    while opened && progress.at(0, 0) < steps && began.elapsed() < Duration::from_secs(20) {
        if child.try_wait().unwrap().is_some() {
            break;
        }
        thread::sleep(Duration::from_micros(200));
    }
    thread::sleep(delay);
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(opened && ended.is_none(), "the child ended by itself: {ended:?}\n{}", rest.join("\n"));
}
