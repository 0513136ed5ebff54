//! A directory of this machine, listed for import: depth first, sorted by name, one directory at a time. Follows no
//! symbolic link and enters no file system that is not made of files.

use crate::mounts::Mounts;
use rustix::fs::OFlags;
use std::{
    fs::{self, DirEntry, File},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    vec,
};

/// What was found, with the path it gets in the store.
pub(crate) enum Found {
    /// What is in it comes next, unless [`Source::leave_out`] is called.
    Directory {
        path: String,
    },
    File {
        real: PathBuf,
        path: String,
        len_bytes: u64,
    },
    /// Neither file nor directory, or the store itself.
    Special,
    /// It cannot be looked at, or have its name in a store.
    Bad {
        real: PathBuf,
        reason: String,
    },
}

/// Identity of a file or directory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), number: metadata.ino() }
    }
}

/// An iterator over all that is below a directory.
pub(crate) struct Source {
    open: Vec<(String, vec::IntoIter<io::Result<DirEntry>>)>,
    /// A directory that was told of and is listed next.
    next: Option<(PathBuf, String)>,
    mounts: Mounts,
    store: Option<Inode>,
}

impl Source {
    /// All below `root` but the directory of the store.
    pub(crate) fn new(root: &Path, store: Option<Inode>) -> io::Result<Self> {
        let open = vec![(String::new(), list(root)?)];
        Ok(Self { open, next: None, mounts: Mounts::default(), store })
    }

    /// The directory just found is not listed.
    pub(crate) fn leave_out(&mut self) {
        self.next = None;
    }

    fn look(&mut self, above: &str, entry: io::Result<DirEntry>) -> Found {
        let bad = |real: PathBuf, reason: String| Found::Bad { real, reason };
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return bad(PathBuf::from(above), error.to_string()),
        };
        let real = entry.path();
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) => return bad(real, error.to_string()),
        };
        if !metadata.is_file() && !metadata.is_dir() {
            return Found::Special;
        }
        let Some(name) = entry.file_name().into_string().ok().filter(|name| !name.contains('\\')) else {
            return bad(real, "a name in a store is UTF-8 without a backslash".into());
        };
        let path = format!("{above}/{name}");
        if metadata.is_file() {
            return Found::File { real, path, len_bytes: metadata.len() };
        }
        if Some(Inode::of(&metadata)) == self.store || !self.mounts.hold_files(metadata.dev(), &real) {
            return Found::Special;
        }
        self.next = Some((real, path.clone()));
        Found::Directory { path }
    }
}

impl Iterator for Source {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if let Some((real, path)) = self.next.take() {
            match list(&real) {
                Ok(entries) => self.open.push((path, entries)),
                Err(error) => return Some(Found::Bad { real, reason: error.to_string() }),
            }
        }
        loop {
            let (above, entries) = self.open.last_mut()?;
            if let Some(entry) = entries.next() {
                let above = above.clone();
                return Some(self.look(&above, entry));
            }
            self.open.pop();
        }
    }
}

fn list(dir: &Path) -> io::Result<vec::IntoIter<io::Result<DirEntry>>> {
    let mut entries: Vec<_> = fs::read_dir(dir)?.collect();
    entries.sort_unstable_by_key(|entry| entry.as_ref().ok().map(DirEntry::file_name));
    Ok(entries.into_iter())
}

/// Opens a file without following a link and without waiting for a pipe that has taken its place.
pub(crate) fn open(real: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = File::options().read(true).custom_flags(flags as i32).open(real)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}
