//! A process that kills itself between any two things that it asks of the disk, in the middle of a write, or at a step inside
//! the engine. A SIGKILL leaves what the system was told until then, so these places, each named, are all the states there are.
//! What is found is a prefix of what the process had done, with all that was durable; also when the next one is killed while
//! it recovers.

use super::*;
use crate::{
    failpoint::testing::on_every_pass,
    map::FileMap,
    segment::{Disk, DiskFile, RealDisk},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    os::unix::fs::FileExt,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Mutex, OnceLock},
    time::Duration,
};

/// Kills in an ordinary run; `MEMFS_NAMED_KILLS` sets another number.
const KILLS: u64 = 50;
/// Steps of history before a process closes its store, if it is not killed.
const STEPS: u64 = 120;
const ROOT: &str = "/t";

/// Where the process is to end, and how often every place was passed.
#[derive(Default)]
struct Killer {
    end: Option<(String, u64)>,
    passed: Mutex<BTreeMap<String, u64>>,
}

static KILLER: OnceLock<Killer> = OnceLock::new();

fn is_end(name: &str) -> bool {
    let Some(killer) = KILLER.get() else { return false };
    let mut passed = killer.passed.lock().expect("no panic inside");
    let count = passed.entry(name.to_owned()).or_default();
    *count += 1;
    killer.end.as_ref().is_some_and(|(end, nth)| end == name && nth == count)
}

fn pass(name: &str) {
    if is_end(name) {
        die();
    }
}

fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    unreachable!("the signal cannot be held up")
}

/// The kind of a file, by its name.
fn kind(path: &Path) -> &'static str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        _ if name.ends_with(".seg") => "segment",
        _ if name.starts_with("journal") => "journal",
        _ if name.starts_with("checkpoint") => "checkpoint",
        _ if name.starts_with("front") => "front",
        _ => "directory",
    }
}

/// The local disk, with a place before and after everything that is asked of it.
struct KillDisk;

/// Its files, and what they are.
struct KillFile(Box<dyn DiskFile>, &'static str);

fn around<R>(doing: &str, kind: &str, act: impl FnOnce() -> R) -> R {
    pass(&format!("before: {doing} {kind}"));
    let done = act();
    pass(&format!("after: {doing} {kind}"));
    done
}

fn file_of(path: &Path, file: io::Result<Box<dyn DiskFile>>) -> io::Result<Box<dyn DiskFile>> {
    Ok(Box::new(KillFile(file?, kind(path))))
}

impl Disk for KillDisk {
    fn create_temp(&self, dir: &Path) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.create_temp(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        file_of(path, around("create", kind(path), || RealDisk.create(path)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        file_of(path, around("open", kind(path), || RealDisk.open(path)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        around("name", kind(to), || RealDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        around("remove", kind(path), || RealDisk.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        around("sync", "directory", || RealDisk.sync_dir(dir))
    }

    fn capacity_bytes(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.capacity_bytes(dir)
    }
}

impl DiskFile for KillFile {
    fn allocate(&self, len_bytes: u64) -> io::Result<()> {
        around("allocate", self.1, || self.0.allocate(len_bytes))
    }

    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        if is_end(&format!("within: write {}", self.1)) {
            let whole: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
            let half = &whole[..whole.len() / 2];
            let _ = self.0.write_at(&mut [IoSlice::new(half)], offset);
            die();
        }
        around("write", self.1, || self.0.write_at(parts, offset))
    }

    fn read_at(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        self.0.read_at(parts, offset)
    }

    fn expect_read(&self, offset: u64, len_bytes: usize) {
        self.0.expect_read(offset, len_bytes);
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        self.0.set_len(len_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        around("sync", self.1, || self.0.sync())
    }

    fn expect_random_reads(&self) {
        self.0.expect_random_reads();
    }

    fn map(&self, len_bytes: usize) -> io::Result<Option<FileMap>> {
        self.0.map(len_bytes)
    }
}

/// Options that change from opening to opening.
fn options(dir: &Path, seed: u64) -> (Builder, Durability) {
    let mut dice = Dice::new(seed ^ 0x0971_0115);
    let durability = match dice.roll(6) {
        0 | 1 => Durability::Sync,
        2 => Durability::OnClose,
        3 => Durability::Periodic(Duration::from_millis(1)),
        _ => Durability::Periodic(Duration::from_millis(10)),
    };
    let builder = builder()
        .storage_path(dir)
        .memory_limit_bytes([1 << 20, 2 << 20, 8 << 20][dice.roll(3) as usize])
        .segment_size([64 << 10, 256 << 10, 1 << 20][dice.roll(3) as usize])
        .worker_threads([0, 1, 3][dice.roll(3) as usize])
        .durability(durability);
    (builder, durability)
}

fn open_at(builder: Builder, disk: Arc<dyn Disk>) -> Result<MemFs> {
    let config = builder.resolve()?;
    std::fs::create_dir_all(config.storage_path.as_deref().expect("given")).expect("room");
    Ok(MemFs { opener: Arc::new(Opener::over(config, disk)?) })
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The child: steps `from..to` of the history, until it comes to its end.
#[test]
fn child_that_kills_itself() {
    let Some(home) = std::env::var_os("MEMFS_NAMED_HOME").map(PathBuf::from) else { return };
    let number = |name| variable(name).expect("given with the home");
    let (seed, from, to) = (number("MEMFS_NAMED_SEED"), number("MEMFS_NAMED_FROM"), number("MEMFS_NAMED_TO"));
    let end = std::env::var("MEMFS_NAMED_END").ok().map(|end| (end, number("MEMFS_NAMED_NTH")));
    let killer = KILLER.get_or_init(|| Killer { end, ..Killer::default() });
    on_every_pass(|step| pass(&format!("inside: {step}")));
    let progress = File::options().write(true).open(home.join("progress")).expect("made by the parent");
    let note = |field: u64, value: u64| {
        progress.write_all_at(&value.to_le_bytes(), 8 * field).expect("room for a number");
    };
    let (builder, durability) = options(&home.join("store"), seed ^ from);
    let store = open_at(builder, Arc::new(KillDisk)).expect("a store that opens");
    let mut dice = Dice::new(seed ^ from);
    for step in from..to {
        note(0, step + 1);
        let _ = Step::new(seed, step, ROOT).apply(&store);
        if durability == Durability::Sync {
            note(1, step + 1);
        } else if dice.roll(10) == 0 {
            store.sync().expect("a disk that works");
            note(1, step + 1);
        } else if step % 60 == 30 {
            lengthen_journal(&store);
        }
    }
    store.close().expect("a disk that works");
    note(1, to);
    let passed = killer.passed.lock().expect("no panic inside");
    let lines: Vec<String> = passed.iter().map(|(name, count)| format!("{count} {name}\n")).collect();
    std::fs::write(home.join("passed"), lines.concat()).expect("room");
}

/// So that it is worth a checkpoint; leaves nothing.
fn lengthen_journal(store: &MemFs) {
    for number in 0..4_500 {
        let dir = format!("/{}{number:04}", "x".repeat(240));
        store.create_dir_all(&dir).and_then(|()| store.remove_dir(&dir)).expect("room for one");
    }
}

/// A child's task.
struct Life {
    seed: u64,
    from: u64,
    to: u64,
    end: Option<(String, u64)>,
}

/// Lets a child live; whether it was killed.
fn live(home: &Path, life: &Life) -> bool {
    let mut child = Command::new(std::env::current_exe().expect("this one"));
    child.args(["--exact", "fs::tests::kills::child_that_kills_itself", "--nocapture"]);
    child.env("MEMFS_NAMED_HOME", home).env("MEMFS_NAMED_SEED", life.seed.to_string());
    child.env("MEMFS_NAMED_FROM", life.from.to_string()).env("MEMFS_NAMED_TO", life.to.to_string());
    if let Some((end, nth)) = &life.end {
        child.env("MEMFS_NAMED_END", end).env("MEMFS_NAMED_NTH", nth.to_string());
    }
    let done = child.stdout(Stdio::null()).stderr(Stdio::piped()).output().expect("this program runs");
    let is_killed = std::os::unix::process::ExitStatusExt::signal(&done.status) == Some(libc::SIGKILL);
    assert!(
        is_killed || done.status.success(),
        "{:?}: {}\n{}",
        life.end,
        done.status,
        String::from_utf8_lossy(&done.stderr)
    );
    is_killed
}

fn progress(home: &Path) -> (u64, u64) {
    let bytes = std::fs::read(home.join("progress")).expect("it is there");
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    (number(0), number(8))
}

fn set_progress(home: &Path, at: u64) {
    let numbers = [at.to_le_bytes(), at.to_le_bytes()].concat();
    std::fs::write(home.join("progress"), numbers).expect("room");
}

/// Every place that a few children come to, and how often one does.
fn survey() -> Vec<(String, u64)> {
    let mut all = BTreeMap::<String, u64>::new();
    let home = tempfile::tempdir().expect("a directory");
    for life in 0..8 {
        set_progress(home.path(), life * STEPS);
        let (from, to) = (life * STEPS, (life + 1) * STEPS);
        assert!(!live(home.path(), &Life { seed: 3, from, to, end: None }));
        for line in std::fs::read_to_string(home.path().join("passed")).expect("written").lines() {
            let (count, name) = line.split_once(' ').expect("count and name");
            let most = all.entry(name.to_owned()).or_default();
            *most = (*most).max(count.parse().expect("a number"));
        }
    }
    all.into_iter().collect()
}

#[test]
fn what_a_process_killed_at_any_named_place_leaves_is_a_prefix_of_what_it_did() {
    let places = survey();
    let names: Vec<&str> = places.iter().map(|(name, _)| name.as_str()).collect();
    for expected in EXPECTED {
        assert!(names.contains(expected), "no child came to {expected:?}, only to {names:#?}");
    }
    let kills = variable("MEMFS_NAMED_KILLS").unwrap_or(KILLS);
    let seed = variable("MEMFS_NAMED_FIRST").unwrap_or(1);
    let mut dice = Dice::new(seed);
    let home = tempfile::tempdir().expect("a directory");
    let (mut fs, mut at, mut killed) = (reference(), 0, 0);
    for kill in 0..kills {
        let (name, count) = &places[(seed + kill) as usize % places.len()];
        // Early ones fall into recovery.
        let nth = 1 + if dice.roll(3) == 0 { dice.roll(3) } else { dice.roll(*count) };
        let what = format!("kill {kill} of seed {seed}, {name:?} for the {nth}. time");
        set_progress(home.path(), at);
        let end = Some((name.clone(), nth));
        killed += u64::from(live(home.path(), &Life { seed, from: at, to: at + STEPS, end }));
        let (tried, durable) = progress(home.path());
        // Killed again by the next one, which only opens and closes.
        while dice.roll(3) == 0 {
            let (name, _) = &places[dice.roll(places.len() as u64) as usize];
            let end = Some((name.clone(), 1 + dice.roll(2)));
            killed += u64::from(live(home.path(), &Life { seed, from: tried, to: tried, end }));
        }
        let (builder, _) = options(&home.path().join("store"), dice.next());
        let store = open_at(builder, Arc::new(RealDisk)).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = dump(&store, ROOT);
        let step = |number| drop(Step::new(seed, number, ROOT).apply(&fs));
        (at..durable).for_each(step);
        let mut number = at.max(durable);
        while dump(&fs, ROOT) != found {
            assert!(number < tried, "{what}: no state from step {durable} to {tried} is that of the store");
            step(number);
            number += 1;
        }
        store.validate();
        store.close().unwrap_or_else(|error| panic!("{what}: {error}"));
        at = tried;
        if found.len() > 60 || dice.roll(40) == 0 {
            std::fs::remove_dir_all(home.path().join("store")).expect("ours");
            fs = reference();
        }
    }
    println!("{killed} of {kills} children were killed, at {} places", places.len());
    assert!(killed * 4 > kills, "only {killed} of {kills} children were killed");
}

/// Places that some child must come to, whatever else there is.
const EXPECTED: &[&str] = &[
    "after: allocate front",
    "after: allocate journal",
    "after: allocate segment",
    "after: create segment",
    "after: name checkpoint",
    "after: name front",
    "after: name journal",
    "after: remove checkpoint",
    "after: remove front",
    "after: remove journal",
    "after: remove segment",
    "after: sync checkpoint",
    "after: sync directory",
    "after: sync front",
    "after: sync journal",
    "after: sync segment",
    "after: write checkpoint",
    "after: write front",
    "after: write journal",
    "after: write segment",
    "before: open segment",
    "before: sync segment",
    "inside: close: flushed, not marked",
    "inside: compaction: moved, not noted",
    "inside: flush: committed, nothing freed",
    "inside: recovery: names read, segments as they were",
    "within: write checkpoint",
    "within: write front",
    "within: write journal",
    "within: write segment",
];
