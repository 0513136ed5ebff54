//! std::fs, on tmpfs and on disk.

use crate::{
    content::Contents,
    data::{Dataset, Key},
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use std::{
    fs::{self, File},
    io::{ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

/// On the file system that the system keeps in memory.
pub(crate) struct Tmpfs(PathBuf);

/// On disk.
pub(crate) struct Disk(PathBuf);

macro_rules! engine {
    ($where:ident, $root:ident, $about:expr) => {
        impl Engine for $where {
            const ABOUT: About = $about;
            type Session<'a> = FsSession;

            fn open(setup: &Setup) -> Outcome<Self> {
                let root = setup.$root.join("files");
                fs::create_dir_all(&root)?;
                Ok(Self(root))
            }

            fn session(&self, thread: usize) -> Outcome<FsSession> {
                Ok(FsSession::new(&self.0, thread))
            }

            fn fill(&mut self, data: &'static Dataset, contents: &mut Contents) -> Outcome<()> {
                let mut session = FsSession::new(&self.0, 0);
                for id in data.ids() {
                    // Nobody reads yet: without the detour that an overwrite takes.
                    contents.with(id, 0, data.lengths.of(id), |bytes| session.make(data.key(id), bytes))?;
                }
                Ok(())
            }

            /// There is nothing in RAM but the page cache.
            fn evict(&self) -> Outcome<()> {
                Ok(())
            }
        }
    };
}

engine!(
    Tmpfs,
    tmpfs,
    About {
        name: "std_fs_tmpfs",
        package: None,
        fairness: "std::fs on tmpfs. A read opens the file, asks for its length, reads it and closes it; a touch is a read. An \
                   overwrite writes another file and renames it over, as who must not show half a file has to.",
        can: Can { overflow: false, reopen: false, ..Can::STORE },
    }
);

engine!(
    Disk,
    directory,
    About {
        name: "std_fs_disk",
        package: None,
        fairness: "The same on the disk's file system, nothing synced. It keeps nothing in RAM of its own: the page cache is its \
                   cache, without a limit of its own.",
        can: Can { reopen: false, ..Can::STORE },
    }
);

pub(crate) struct FsSession {
    root: String,
    /// The root, and a path below it for as long as it is used.
    path: String,
    other: PathBuf,
    scratch: Vec<u8>,
}

fn found<T>(result: std::io::Result<T>) -> Outcome<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl FsSession {
    fn new(root: &Path, thread: usize) -> Self {
        let other = root.join(format!(".new-{thread}"));
        let root = root.to_string_lossy().into_owned();
        Self { path: root.clone(), root, other, scratch: Vec::new() }
    }

    /// The path on the real file system, in a buffer that is used again.
    fn real(&mut self, key: Key<'_>) -> &Path {
        self.path.truncate(self.root.len());
        self.path.push_str(key.path);
        Path::new(&self.path)
    }

    /// Creates a file, with its parents if it has none.
    fn make(&mut self, key: Key<'_>, bytes: &[u8]) -> Outcome<()> {
        let path = self.real(key);
        match fs::write(path, bytes) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(path.parent().unwrap_or(path))?;
                Ok(fs::write(path, bytes)?)
            }
            result => Ok(result?),
        }
    }
}

impl Session for FsSession {
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let is_there = self.copy(key, &mut scratch)?;
        let looked = is_there.then(|| look(&scratch));
        self.scratch = scratch;
        Ok(looked)
    }

    fn copy(&mut self, key: Key<'_>, into: &mut Vec<u8>) -> Outcome<bool> {
        let Some(mut file) = found(File::open(self.real(key)))? else { return Ok(false) };
        let len = file.metadata()?.len() as usize;
        into.resize(len, 0);
        file.read_exact(into)?;
        Ok(true)
    }

    fn put(&mut self, key: Key<'_>, bytes: &[u8]) -> Outcome<()> {
        let mut other = File::create(&self.other)?;
        other.write_all(bytes)?;
        drop(other);
        self.real(key);
        let path = Path::new(&self.path);
        match fs::rename(&self.other, path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(path.parent().unwrap_or(path))?;
                Ok(fs::rename(&self.other, path)?)
            }
            result => Ok(result?),
        }
    }

    fn remove(&mut self, key: Key<'_>) -> Outcome<bool> {
        Ok(found(fs::remove_file(self.real(key)))?.is_some())
    }

    fn list(&mut self, directory: &str) -> Outcome<Vec<String>> {
        let below = walkdir::WalkDir::new(self.real(Key { id: 0, path: directory }));
        let mut paths = Vec::new();
        for entry in below {
            let entry = entry?;
            if entry.file_type().is_file() {
                let path = entry.path().to_str().and_then(|path| path.strip_prefix(&self.root));
                paths.push(path.ok_or("a path that is not ours")?.to_owned());
            }
        }
        paths.sort_unstable();
        Ok(paths)
    }
}
