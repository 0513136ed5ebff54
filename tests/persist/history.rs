//! Random histories that a seed repeats, and what a store looks like.

use memfs::{FileKind, MemFs, Priority, Result, WriteOptions};
use std::hash::{DefaultHasher, Hash, Hasher};

pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        (self.next() >> 33) % sides
    }
}

/// What one step does to a store: always the same for the same history and number.
pub(crate) struct Step {
    dice: Dice,
    root: String,
}

impl Step {
    /// Step `number` of history `seed`, below the directory `root` ("" for the whole tree).
    pub(crate) fn new(seed: u64, number: u64, root: &str) -> Self {
        Self { dice: Dice::new(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95)), root: root.to_owned() }
    }

    fn dir(&mut self) -> String {
        match self.dice.roll(8) {
            0 => format!("{}/d0/e{}", self.root, self.dice.roll(2)),
            1 => format!("{}/d1/e0/x", self.root),
            n => format!("{}/d{}", self.root, n % 4),
        }
    }

    fn file(&mut self) -> String {
        format!("{}/f{}", self.dir(), self.dice.roll(6))
    }

    fn data(&mut self) -> Vec<u8> {
        let len = match self.dice.roll(12) {
            0 => 0,
            1..=5 => self.dice.roll(200),
            6..=9 => self.dice.roll(6_000),
            10 => self.dice.roll(40_000),
            _ => self.dice.roll(150_000),
        };
        super::bytes(self.dice.next(), len as usize)
    }

    /// What a store answers is not compared here: it depends on the state, which is.
    pub(crate) fn apply(mut self, fs: &MemFs) -> Result<()> {
        let file = self.file();
        match self.dice.roll(20) {
            0..=5 => fs.write(&file, self.data()),
            6 | 7 => fs.append(&file, self.data()),
            8 => fs.write_at(&file, &self.data(), self.dice.roll(100_000)).map(drop),
            9 => fs.set_len(&file, self.dice.roll(90_000)),
            10 | 11 => fs.remove_file(&file),
            12 | 13 => fs.rename(&file, self.file()),
            14 => fs.rename(self.dir(), self.dir()),
            15 => fs.create_dir_all(self.dir()),
            16 => fs.remove_dir(self.dir()),
            17 => fs.copy(&file, self.file()).map(drop),
            18 => fs.set_priority(&file, Priority::new(self.dice.roll(9) as u8)?),
            _ => {
                let options = WriteOptions::new().priority(Priority::new(self.dice.roll(9) as u8)?);
                fs.write_with(&file, self.data(), &options)
            }
        }
    }
}

/// Everything below `root` that is to survive: paths, kinds, priorities, contents.
pub(crate) fn dump(fs: &MemFs, root: &str) -> Vec<(String, FileKind, u8, u64, u64)> {
    let top = if root.is_empty() { "/" } else { root };
    if !fs.exists(top) {
        return Vec::new();
    }
    let mut all: Vec<_> = fs
        .walk(top)
        .expect("it is there")
        .map(|entry| {
            let path = entry.path().to_owned();
            if entry.kind() == FileKind::Directory {
                return (path, FileKind::Directory, 0, 0, 0);
            }
            let bytes = fs.read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            let priority = fs.priority(&path).expect("it is there").get();
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            (path, FileKind::File, priority, bytes.len() as u64, hasher.finish())
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}
