//! The names of a store's files, and reading them in large pieces.

use crate::{
    error::{Error, Result},
    segment::{Disk, DiskFile},
};
use std::{
    io::{self, IoSliceMut},
    path::{Path, PathBuf},
};

pub(super) const CHECKPOINT: &str = "checkpoint-";
pub(super) const JOURNAL: &str = "journal-";
pub(super) const FRONT: &str = "front-";
const TMP: &str = ".tmp";

pub(super) fn file_name(kind: &str, seq: u64) -> String {
    format!("{kind}{seq:016x}")
}

pub(super) fn tmp_name(kind: &str, seq: u64) -> String {
    format!("{kind}{seq:016x}{TMP}")
}

/// What files there are, by the numbers in their names, ascending.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) checkpoints: Vec<u64>,
    pub(super) journals: Vec<u64>,
    pub(super) fronts: Vec<u64>,
    /// Begun, and never given their names.
    pub(super) unfinished: Vec<String>,
}

impl Inventory {
    pub(super) fn take(disk: &dyn Disk, dir: &Path) -> Result<Self> {
        let names =
            disk.list(dir).map_err(|error| Error::io(shown(dir), "list the storage directory", error))?;
        let mut found = Self::default();
        for name in names {
            if let Some(seq) = number(&name, CHECKPOINT) {
                found.checkpoints.push(seq);
            } else if let Some(seq) = number(&name, JOURNAL) {
                found.journals.push(seq);
            } else if let Some(seq) = number(&name, FRONT) {
                found.fronts.push(seq);
            } else if let Some(stem) = name.strip_suffix(TMP)
                && [CHECKPOINT, JOURNAL, FRONT].iter().any(|kind| number(stem, kind).is_some())
            {
                found.unfinished.push(name);
            }
        }
        found.checkpoints.sort_unstable();
        found.journals.sort_unstable();
        found.fronts.sort_unstable();
        found.unfinished.sort_unstable();
        Ok(found)
    }
}

/// Exactly 16 digits, as they are written: another spelling of a number is another file.
fn number(name: &str, kind: &str) -> Option<u64> {
    let digits = name.strip_prefix(kind)?;
    let seq = u64::from_str_radix(digits, 16).ok()?;
    (file_name(kind, seq) == name).then_some(seq)
}

pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Bytes of `path` at `offset` are not what was written.
pub(super) fn corrupt(
    path: &Path,
    offset: u64,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> Error {
    let (expected, found) = (expected.into(), found.into());
    Error::Corrupt { path: shown(path), segment: Error::NO_SEGMENT, offset, expected, found }
}

/// The system refused; a full disk is told apart.
pub(super) fn refused(path: &Path, doing: &'static str, needed_bytes: u64, error: io::Error) -> Error {
    if is_full(&error) {
        return Error::StorageFull { path: shown(path), needed_bytes, used_bytes: 0 };
    }
    Error::io(shown(path), doing, error)
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A new file in place of any that has this name: such a one was never finished.
pub(super) fn create_over(disk: &dyn Disk, path: &Path) -> io::Result<Box<dyn DiskFile>> {
    match disk.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(path)?;
            disk.create(path)
        }
        created => created,
    }
}

/// What is read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// A file, read mostly forwards.
pub(super) struct Reader {
    pub(super) path: PathBuf,
    file: Box<dyn DiskFile>,
    pub(super) len: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Reader {
    /// `None` if there is no such file.
    pub(super) fn open(disk: &dyn Disk, path: PathBuf) -> Result<Option<Self>> {
        let failed = |error| Error::io(shown(&path), "open", error);
        let file = match disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let len = file.len().map_err(failed)?;
        Ok(Some(Self { path, file, len, window: Vec::new(), window_at: 0 }))
    }

    /// The bytes at `at`: `len` of them, or as many as the file has.
    pub(super) fn get(&mut self, at: u64, len: usize) -> Result<&[u8]> {
        let len = len.min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX));
        let inside = |window_at: u64, window: &[u8]| {
            let skip = usize::try_from(at.checked_sub(window_at)?).ok()?;
            (window.len().checked_sub(skip)? >= len).then_some(skip)
        };
        let skip = match inside(self.window_at, &self.window) {
            Some(skip) => skip,
            None => {
                self.fill(at, len.max(WINDOW_BYTES))?;
                0
            }
        };
        match self.window.get(skip..skip + len) {
            Some(bytes) => Ok(bytes),
            None => {
                let end = self.window_at + self.window.len() as u64;
                Err(corrupt(&self.path, end, format!("a file of {} bytes", self.len), "its end"))
            }
        }
    }

    fn fill(&mut self, at: u64, len: usize) -> Result<()> {
        let len = len.min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX));
        self.window.resize(len, 0);
        self.window_at = at;
        let read = self.file.read_at(&mut [IoSliceMut::new(&mut self.window)], at);
        let filled = read.as_ref().map_or(0, |filled| *filled);
        self.window.truncate(filled);
        read.map(drop).map_err(|error| Error::io(shown(&self.path), "read", error))
    }
}
