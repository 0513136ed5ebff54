//! vfs's MemoryFS: a file system for tests.

use crate::{
    data::Key,
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use std::io::{Read, Write};
use vfs::{MemoryFS, VfsError, VfsPath, error::VfsErrorKind};

pub(crate) struct Vfs {
    root: VfsPath,
}

impl Engine for Vfs {
    const ABOUT: About = About {
        name: "vfs",
        package: Some("vfs"),
        fairness: "vfs::MemoryFS by VfsPath. Its interface is files that are opened and read, so each look at a file's bytes \
                   copies them. Parents are made when a file cannot be created without.",
        can: Can::MAP,
    };
    type Session<'a> = VfsSession<'a>;

    fn open(_: &Setup) -> Outcome<Self> {
        Ok(Self { root: VfsPath::new(MemoryFS::new()) })
    }

    fn session(&self, _: usize) -> Outcome<VfsSession<'_>> {
        Ok(VfsSession { root: &self.root, scratch: Vec::new() })
    }
}

pub(crate) struct VfsSession<'a> {
    root: &'a VfsPath,
    scratch: Vec<u8>,
}

fn found<T>(result: Result<T, VfsError>) -> Outcome<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), VfsErrorKind::FileNotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Session for VfsSession<'_> {
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let is_there = self.copy(key, &mut scratch)?;
        let looked = is_there.then(|| look(&scratch));
        self.scratch = scratch;
        Ok(looked)
    }

    fn copy(&mut self, key: Key<'_>, into: &mut Vec<u8>) -> Outcome<bool> {
        let Some(mut file) = found(self.root.join(key.path)?.open_file())? else { return Ok(false) };
        into.clear();
        file.read_to_end(into)?;
        Ok(true)
    }

    fn put(&mut self, key: Key<'_>, bytes: &[u8]) -> Outcome<()> {
        let path = self.root.join(key.path)?;
        let mut file = match path.create_file() {
            Ok(file) => file,
            Err(_) => {
                path.parent().create_dir_all()?;
                path.create_file()?
            }
        };
        Ok(file.write_all(bytes)?)
    }

    fn remove(&mut self, key: Key<'_>) -> Outcome<bool> {
        Ok(found(self.root.join(key.path)?.remove_file())?.is_some())
    }

    fn list(&mut self, directory: &str) -> Outcome<Vec<String>> {
        let listed = self.root.join(directory.trim_end_matches('/'))?;
        let mut paths = Vec::new();
        for path in listed.walk_dir()? {
            let path = path?;
            if path.is_file()? {
                paths.push(path.as_str().to_owned());
            }
        }
        paths.sort_unstable();
        Ok(paths)
    }
}
