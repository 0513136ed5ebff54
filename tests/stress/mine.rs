//! What one thread alone changes: it knows the answer to everything it asks. Others move the directories above its kept
//! file, remove its name, and push everything out to disk.

use super::plan::{Own, What};
use crate::common::{
    kind::{Fails, Kind},
    ways,
    words::{Run, clip, image, overlay, runs_of},
};
use memfs::{Error, File, MemFs, Result};
use std::io::{Read, Seek, SeekFrom};

/// Contents as the owner knows them.
type Runs = Vec<Run>;

fn end_of(runs: &[Run]) -> u64 {
    runs.last().map_or(0, |run| run.to)
}

fn written(runs: &[Run], from: u64, words: u64, version: u64) -> Runs {
    overlay(runs, from, from + words, Some(version))
}

fn cut(runs: &[Run], words: u64) -> Runs {
    let end = end_of(runs);
    if words < end { clip(runs, 0, words) } else { overlay(runs, end, words, None) }
}

/// A thread's directory: three names, two of them in a directory that has one of two names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Names {
    moved: bool,
    files: [Option<Runs>; 3],
}

pub(crate) struct Mine {
    pub(crate) id: u64,
    home: String,
    /// What the store has to hold.
    names: Names,
    /// What it may hold instead, after an operation that met the close of the store.
    instead: Option<Names>,
}

impl Mine {
    pub(crate) fn new(fs: &MemFs, thread: u64) -> Self {
        let home = format!("/own/{thread}");
        fs.create_dir_all(format!("{home}/d")).unwrap();
        let names = Names { moved: false, files: [const { None }; 3] };
        Self { id: 1 + thread, home, names, instead: None }
    }

    fn dir(&self, names: &Names) -> String {
        format!("{}/{}", self.home, if names.moved { "e" } else { "d" })
    }

    fn path(&self, names: &Names, file: usize) -> String {
        if file == 2 { format!("{}/r", self.home) } else { format!("{}/{file}", self.dir(names)) }
    }

    /// # Errors
    /// [`Error::Closed`]; any other that is not due is a panic.
    pub(crate) fn apply(&mut self, fs: &MemFs, own: Own, version: u64) -> Result<()> {
        let file = (own.file % 3) as usize;
        let (next, refused) = self.next(file, own.what, version);
        match self.perform(fs, file, own.what, version) {
            Ok(()) => assert!(!refused, "{own:?} succeeded though there is no such file: {:?}", self.names),
            Err(Error::Closed) => {
                self.instead = Some(next);
                return Err(Error::Closed);
            }
            Err(error) => assert!(refused && error.variant() == Kind::NotFound, "{own:?}: {error}"),
        }
        self.names = next;
        Ok(())
    }

    /// What comes of an operation, and whether it has to be refused.
    fn next(&self, file: usize, what: What, version: u64) -> (Names, bool) {
        let mut next = self.names.clone();
        let files = &mut next.files;
        let there = files[file].clone();
        match (what, there) {
            (What::Write { words }, _) => files[file] = Some(written(&[], 0, words, version)),
            (What::Append { words }, there) => {
                let runs = there.unwrap_or_default();
                files[file] = Some(written(&runs, end_of(&runs), words, version));
            }
            (What::MoveDir, _) => next.moved = !next.moved,
            (What::List, _) => {}
            (_, None) => return (next, true),
            (What::WriteAt { from, words }, Some(runs)) => {
                files[file] = Some(written(&runs, from, words, version))
            }
            (What::SetLen { words }, Some(runs)) => files[file] = Some(cut(&runs, words)),
            (What::Rename { to }, Some(runs)) => {
                files[file] = None;
                files[(to % 3) as usize] = Some(runs);
            }
            (What::Copy { to }, Some(runs)) => files[(to % 3) as usize] = Some(runs),
            (What::Remove, Some(_)) => files[file] = None,
            (What::Read { .. }, Some(_)) => {}
        }
        (next, false)
    }

    fn perform(&self, fs: &MemFs, file: usize, what: What, version: u64) -> Result<()> {
        let path = self.path(&self.names, file);
        let runs = self.names.files[file].as_deref().unwrap_or_default();
        match what {
            What::Write { words } => fs.write(path, image(self.id, version, 0, words)),
            What::WriteAt { from, words } => {
                fs.write_at(path, &image(self.id, version, from, from + words), from * 8).map(drop)
            }
            What::Append { words } => {
                fs.append(path, image(self.id, version, end_of(runs), end_of(runs) + words))
            }
            What::SetLen { words } => fs.set_len(path, words * 8),
            What::Rename { to } => fs.rename(path, self.path(&self.names, (to % 3) as usize)),
            What::MoveDir => {
                let moved = Names { moved: !self.names.moved, ..self.names.clone() };
                fs.rename(self.dir(&self.names), self.dir(&moved))
            }
            What::Copy { to } => {
                let copied = fs.copy(path, self.path(&self.names, (to % 3) as usize))?;
                assert_eq!(copied, end_of(runs) * 8);
                Ok(())
            }
            What::Remove => fs.remove_file(path),
            What::Read { way, from, words } => {
                let found = ways::read(fs, &path, way, from, words as usize)?;
                let (from, to) = (found.offset / 8, (found.offset + found.bytes.len() as u64) / 8);
                let seen = runs_of(self.id, found.offset, &found.bytes);
                assert_eq!(seen, clip(runs, from, to), "way {way}: {path}");
                let complete = !found.to_the_end || to >= end_of(runs);
                assert!(complete, "way {way}: {path} ends at {to}, not at {}", end_of(runs));
                Ok(())
            }
            What::List => self.list(fs, &self.names),
        }
    }

    /// Nobody else changes these directories: their listings are exact.
    fn list(&self, fs: &MemFs, names: &Names) -> Result<()> {
        let dir = self.dir(names);
        let mut expected = vec![dir.clone()];
        expected
            .extend((0..3).filter(|&file| names.files[file].is_some()).map(|file| self.path(names, file)));
        expected.sort();
        let mut found: Vec<_> = fs.walk(&self.home)?.map(|entry| entry.path().to_owned()).collect();
        found.sort();
        let globbed = fs.glob(format!("{}/**", self.home))?;
        // A listing during which the store is closed just ends.
        fs.metadata("/")?;
        assert_eq!(found, expected, "walk");
        expected.retain(|path| *path != dir);
        assert_eq!(globbed, expected, "glob");
        Ok(())
    }

    /// Everything is as it was left.
    pub(crate) fn check(&self, fs: &MemFs) {
        let expected = [Some(&self.names), self.instead.as_ref()];
        assert!(
            expected.into_iter().flatten().any(|names| self.is(fs, names)),
            "{} is neither of {expected:?}: {:?}",
            self.home,
            fs.walk(&self.home).unwrap().map(|entry| entry.path().to_owned()).collect::<Vec<_>>()
        );
    }

    fn is(&self, fs: &MemFs, names: &Names) -> bool {
        let files = (0..3).all(|file| {
            let found = fs.read(self.path(names, file)).ok().map(|bytes| runs_of(self.id, 0, &bytes));
            found == names.files[file]
        });
        files && fs.exists(self.dir(names)) && {
            let count = names.files.iter().flatten().count() + 1;
            fs.walk(&self.home).is_ok_and(|walk| walk.count() == count)
        }
    }
}

/// A file that is its owner's through a handle, whatever becomes of its name.
pub(crate) struct Kept {
    id: u64,
    file: File,
    runs: Runs,
}

impl Kept {
    pub(crate) fn new(fs: &MemFs, thread: u64) -> Self {
        let path = format!("/s/{}/kept{thread}", thread % 2);
        let mut options = memfs::OpenOptions::new();
        let file = fs.open_with(path, options.read(true).write(true).create_new(true)).unwrap();
        Self { id: 300 + thread, file, runs: Runs::new() }
    }

    /// # Errors
    /// [`Error::Closed`]; any other is a panic.
    pub(crate) fn apply(&mut self, own: Own, version: u64) -> Result<()> {
        match self.perform(own.what, version) {
            Err(error) if error.variant() != Kind::Closed => panic!("{own:?} of the kept file: {error}"),
            done => done,
        }
    }

    fn write(&mut self, from: u64, words: u64, version: u64) -> Result<()> {
        let bytes = image(self.id, version, from, from + words);
        assert_eq!(self.file.write_at(&bytes, from * 8)?, bytes.len());
        self.runs = written(&self.runs, from, words, version);
        Ok(())
    }

    fn perform(&mut self, what: What, version: u64) -> Result<()> {
        match what {
            What::Write { words } => {
                self.file.set_len(0)?;
                self.runs.clear();
                self.write(0, words, version)
            }
            What::WriteAt { from, words } => self.write(from, words, version),
            What::Append { words } => self.write(end_of(&self.runs), words, version),
            What::SetLen { words } => {
                self.file.set_len(words * 8)?;
                self.runs = cut(&self.runs, words);
                Ok(())
            }
            What::Read { way, from, words } if way % 2 == 0 => self.read_at(from, words),
            What::Read { from, words, .. } => self.read(from, words),
            _ => {
                let len = self.file.metadata()?.len();
                assert_eq!(len, end_of(&self.runs) * 8);
                Ok(())
            }
        }
    }

    fn read_at(&self, from: u64, words: u64) -> Result<()> {
        let mut bytes = vec![0xEE; words as usize * 8];
        let n = self.file.read_at(&mut bytes, from * 8)?;
        self.compare(from, &bytes[..n], n == bytes.len());
        Ok(())
    }

    fn read(&mut self, from: u64, words: u64) -> Result<()> {
        let mut bytes = Vec::new();
        let read = self.file.seek(SeekFrom::Start(from * 8)).and_then(|_| {
            let mut part = Read::by_ref(&mut self.file).take(words * 8);
            part.read_to_end(&mut bytes)
        });
        if let Err(error) = read {
            assert_eq!(error.variant(), Kind::Closed, "{error}");
            return Err(Error::Closed);
        }
        self.compare(from, &bytes, bytes.len() as u64 == words * 8);
        Ok(())
    }

    fn compare(&self, from: u64, bytes: &[u8], full: bool) {
        let to = from + bytes.len() as u64 / 8;
        let seen = runs_of(self.id, from * 8, bytes);
        assert_eq!(seen, clip(&self.runs, from, to), "the kept file, {from}..{to}");
        assert!(full || to >= end_of(&self.runs), "the kept file ends at {to}: {:?}", self.runs);
    }
}
