//! The stores that are harmed.

use crate::Files;
use memfs::{Durability, FileKind, MemFs, Priority, StorageMode};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// As a process left them that closed them, and one that was killed: in the first format, and in the second, where what was
/// last done is in the journal's front.
pub const KINDS: [&str; 4] = ["closed", "killed", "closed-2", "killed-2"];

/// A store's files, and every content that each path ever had.
pub struct Sample {
    pub files: Files,
    pub versions: BTreeMap<String, Vec<Vec<u8>>>,
}

/// One of [`KINDS`], by any number.
pub fn sample(number: u8) -> &'static Sample {
    static SAMPLES: OnceLock<Vec<Sample>> = OnceLock::new();
    let samples = SAMPLES.get_or_init(|| {
        let versions = versions();
        let load = |kind| Sample { files: load(kind), versions: versions.clone() };
        KINDS.into_iter().map(load).collect()
    });
    &samples[number as usize % samples.len()]
}

/// What is in a directory, by name.
pub(crate) fn get(dir: &Path) -> Files {
    let entries = fs::read_dir(dir).expect("it is there").map(|entry| entry.expect("readable"));
    let mut files: Files = entries
        .map(|entry| {
            (entry.file_name().into_string().expect("text"), fs::read(entry.path()).expect("readable"))
        })
        .collect();
    files.sort();
    files
}

fn load(kind: &str) -> Files {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("stores").join(kind);
    get(&dir)
}

fn versions() -> BTreeMap<String, Vec<Vec<u8>>> {
    let fs = MemFs::builder().memory_limit_bytes(16 << 20).worker_threads(0).build().expect("room");
    let mut versions = BTreeMap::<String, Vec<Vec<u8>>>::new();
    for step in 0.. {
        if !steps(&fs, step) {
            return versions;
        }
        for entry in fs.walk("/").expect("a root").filter(|entry| entry.kind() == FileKind::File) {
            let (contents, known) = (
                fs.read(entry.path()).expect("it is there"),
                versions.entry(entry.path().to_owned()).or_default(),
            );
            if !known.contains(&contents) {
                known.push(contents);
            }
        }
    }
    unreachable!("an end of the steps")
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    (0..len).map(|_| next()).collect()
}

/// What is done to a store, one change of one file at a time; whether there was a step of this number.
pub fn steps(fs: &MemFs, step: u64) -> bool {
    let done = match step {
        0..8 => fs.write(format!("/d{}/f{step}", step % 3), bytes(step, step as usize * 150)),
        8 => fs.write("/long", bytes(99, 6_000)),
        9 => fs.write_at("/long", &bytes(98, 700), 1_500).map(drop),
        10 => fs.rename("/d1/f1", "/d1/renamed"),
        11 => fs.remove_file("/d2/f2"),
        12 => fs.set_priority("/d0/f3", Priority::HIGH),
        13 => fs.create_dir_all("/empty/of/files"),
        14 => fs.append("/d1/f4", bytes(4, 900)),
        15 => fs.write("/sparse", b"head"),
        16 => fs.write_at("/sparse", b"tail", 20_000).map(drop),
        // Many small sessions lead to a checkpoint.
        17..84 => fs.write("/counter", step.to_string()),
        84 => fs.write("/d0/f0", bytes(7, 2_000)),
        85 => fs.rename("/d0/f6", "/d0/f3"),
        86 => fs.set_len("/long", 3_333),
        87 => fs.rename("/d0", "/moved"),
        88 => fs.write("/late", bytes(88, 1_200)),
        89 => fs.remove_dir("/empty/of/files"),
        _ => return false,
    };
    done.unwrap_or_else(|error| panic!("step {step}: {error}"));
    true
}

/// Opens the store in `dir`, in as little of everything as there can be.
pub fn open(dir: &Path) -> memfs::Result<MemFs> {
    open_for(dir, Durability::OnClose)
}

/// The same with another durability.
pub fn open_for(dir: &Path, durability: Durability) -> memfs::Result<MemFs> {
    MemFs::builder()
        .mode(StorageMode::Persist)
        .storage_path(dir)
        .memory_limit_bytes(512 << 10)
        .segment_size(8 << 10)
        .worker_threads(0)
        .durability(durability)
        .build()
}

/// A directory of this process, in memory where that can be had; those of processes that have ended are removed.
pub fn home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        const PREFIX: &str = "memfs-fuzz-";
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        for entry in fs::read_dir(&parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix(PREFIX).and_then(|pid| pid.parse::<u32>().ok());
            if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let home = parent.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&home).expect("a directory");
        home
    })
}
