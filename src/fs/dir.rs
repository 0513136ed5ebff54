//! Listing: `read_dir`, `walk`, `glob`. None is a snapshot; an entry that is there throughout is reported exactly once.

use super::{MemFs, glob::Pattern};
use crate::{
    error::{Error, Result},
    tier::FileKind,
};

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    path: String,
    name_start: usize,
    kind: FileKind,
}

impl DirEntry {
    /// The entry `name` of the directory `dir`, a canonical path.
    fn new(dir: &str, name: &str, kind: FileKind) -> Self {
        let dir = dir.trim_end_matches('/');
        Self { path: format!("{dir}/{name}"), name_start: dir.len() + 1, kind }
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        &self.path[self.name_start..]
    }

    /// The canonical path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// File or directory.
    pub fn kind(&self) -> FileKind {
        self.kind
    }
}

/// The entries of one directory, by name; from [`MemFs::read_dir`].
#[derive(Debug)]
pub struct ReadDir {
    entries: std::vec::IntoIter<DirEntry>,
}

impl Iterator for ReadDir {
    type Item = DirEntry;

    fn next(&mut self) -> Option<DirEntry> {
        self.entries.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl ExactSizeIterator for ReadDir {}

/// Everything below a directory, depth first, a directory before what is in it; from [`MemFs::walk`].
#[derive(Debug)]
pub struct Walk {
    fs: MemFs,
    open: Vec<ReadDir>,
    /// How many levels of directories to go down, if not all.
    max_depth: usize,
}

impl Walk {
    fn new(fs: &MemFs, path: &str, max_depth: usize) -> Result<Self> {
        Ok(Self { fs: fs.clone(), open: vec![fs.read_dir(path)?], max_depth })
    }
}

impl Iterator for Walk {
    type Item = DirEntry;

    fn next(&mut self) -> Option<DirEntry> {
        loop {
            let Some(entry) = self.open.last_mut()?.next() else {
                self.open.pop();
                continue;
            };
            if entry.kind == FileKind::Directory && self.open.len() < self.max_depth {
                // A directory that went away since it was listed has no entries.
                if let Ok(below) = self.fs.read_dir(entry.path()) {
                    self.open.push(below);
                }
            }
            return Some(entry);
        }
    }
}

impl MemFs {
    /// The entries of a directory, sorted by name. Costs O(entries); the list is made at once.
    ///
    /// Not a snapshot: an entry that is there from before the call until it returns is reported exactly once, one that comes
    /// or goes meanwhile may be or not.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotADirectory`], [`Error::InvalidPath`], [`Error::Closed`].
    ///
    /// ```
    /// # let fs = memfs::MemFs::builder().memory_limit_bytes(1 << 20).build()?;
    /// fs.write("/d/b", "")?;
    /// fs.write("/d/a", "")?;
    /// let names: Vec<_> = fs.read_dir("/d")?.map(|entry| entry.file_name().to_owned()).collect();
    /// assert_eq!(names, ["a", "b"]);
    /// # Ok::<(), memfs::Error>(())
    /// ```
    pub fn read_dir(&self, path: impl AsRef<str>) -> Result<ReadDir> {
        let path = path.as_ref();
        self.other(|core, local| {
            let mut entries = Vec::new();
            core.list(local, path, |dir, name, kind| entries.push(DirEntry::new(dir, name, kind)))?;
            // All entries have the directory's path in common: comparing paths is comparing names.
            entries.sort_unstable_by(|a, b| a.file_name().cmp(b.file_name()));
            // A name that was removed and made again during the listing may have been met twice.
            entries.dedup_by(|a, b| a.file_name() == b.file_name());
            Ok(ReadDir { entries: entries.into_iter() })
        })
    }

    /// Everything below a directory, depth first, each directory sorted by name and listed when it is reached.
    ///
    /// # Errors
    /// As [`read_dir`](MemFs::read_dir), for `path` itself; directories that vanish meanwhile are passed over.
    pub fn walk(&self, path: impl AsRef<str>) -> Result<Walk> {
        Walk::new(self, path.as_ref(), usize::MAX)
    }

    /// The full paths of the files (not directories) that match, sorted. `?` is a character of a name, `*` any number of them,
    /// `[..]` one of a class (`[!..]` one that is not in it), `{a,b}` a choice, which may hold others; `**` as a whole component is any
    /// number of directories, none included. A missing leading `/` is supplied.
    ///
    /// Costs a listing of the directories that the pattern's literal beginning leaves open, and matches each name in linear time.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the pattern is not one, or its choices multiply to very many; [`Error::Closed`].
    ///
    /// ```
    /// # let fs = memfs::MemFs::builder().memory_limit_bytes(1 << 20).build()?;
    /// fs.write("/src/lib.rs", "")?;
    /// fs.write("/src/fs/mod.rs", "")?;
    /// assert_eq!(fs.glob("/src/**/*.rs")?, ["/src/fs/mod.rs", "/src/lib.rs"]);
    /// # Ok::<(), memfs::Error>(())
    /// ```
    pub fn glob(&self, pattern: impl AsRef<str>) -> Result<Vec<String>> {
        self.check_open()?;
        let mut pattern = Pattern::new(pattern.as_ref())?;
        let walk = match Walk::new(self, pattern.base(), pattern.max_depth()) {
            Err(Error::NotFound { .. } | Error::NotADirectory { .. } | Error::InvalidPath { .. }) => {
                return Ok(Vec::new());
            }
            walk => walk?,
        };
        let mut found: Vec<String> = walk
            .filter(|entry| entry.kind == FileKind::File && pattern.is_match(&entry.path))
            .map(|entry| entry.path)
            .collect();
        found.sort_unstable();
        Ok(found)
    }
}
