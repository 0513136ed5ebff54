//! What an alternative has to be able to do, and what it says about itself. Engines know nothing of rounds, rows or clocks.

use crate::{
    content::Contents,
    data::{Dataset, Key, Layout, Lengths},
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What went wrong, in the engine's words.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
/// Of anything an engine does.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// What an engine is told before it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) files: u32,
    pub(crate) lengths: Lengths,
    pub(crate) layout: Layout,
    /// What the engine may use in RAM. Engines that cannot be bounded ignore it; the rows where it matters leave them out.
    pub(crate) limit_bytes: u64,
    /// An empty directory on disk, the engine's own. (std::fs on tmpfs has its own elsewhere.)
    pub(crate) directory: PathBuf,
    /// An empty directory on tmpfs.
    pub(crate) tmpfs: PathBuf,
    /// How many threads will have sessions: 0 to this, exclusively.
    pub(crate) threads: usize,
}

/// What an engine can do, so which rows it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Can {
    pub(crate) write: bool,
    pub(crate) remove: bool,
    pub(crate) list: bool,
    /// Holds more than `limit_bytes`, the rest on disk, and can be asked to drop what it has in RAM.
    pub(crate) overflow: bool,
    /// Finds its files again after close or kill.
    pub(crate) reopen: bool,
    /// May forget files when there are more than fit, by design.
    pub(crate) forget: bool,
    /// Not an alternative but a limit: it does less than the work asks for (no sharing between threads, no names, ...).
    pub(crate) limit: bool,
}

impl Can {
    pub(crate) const READ_ONLY: Can = Can {
        write: false,
        remove: false,
        list: false,
        overflow: false,
        reopen: false,
        forget: false,
        limit: false,
    };
    /// A map: everything in RAM.
    pub(crate) const MAP: Can = Can { write: true, remove: true, list: true, ..Can::READ_ONLY };
    /// A cache: a map that forgets.
    pub(crate) const CACHE: Can = Can { forget: true, list: false, ..Can::MAP };
    /// A database, or a file system.
    pub(crate) const STORE: Can = Can { overflow: true, reopen: true, ..Can::MAP };
}

/// What is printed beside an engine's figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    /// As given to `--engines`.
    pub(crate) name: &'static str,
    /// Whose versions are shown, as in Cargo.lock; none for what is the system's or std's.
    pub(crate) package: Option<&'static str>,
    /// The configuration, and why it is a fair one.
    pub(crate) fairness: &'static str,
    pub(crate) can: Can,
}

/// One store, cache, map or limit.
pub(crate) trait Engine: Sized + Sync {
    const ABOUT: About;
    /// What one thread works through: read handles, guards, scratch buffers.
    type Session<'a>: Session
    where
        Self: 'a;

    /// Opens it, empty or with what an earlier one left in the directory.
    fn open(setup: &Setup) -> Outcome<Self>;

    fn session(&self, thread: usize) -> Outcome<Self::Session<'_>>;

    /// Stores version 0 of every file.
    fn fill(&mut self, data: &'static Dataset, contents: &mut Contents) -> Outcome<()> {
        let mut session = self.session(0)?;
        for id in data.ids() {
            contents.with(id, 0, data.lengths.of(id), |bytes| session.put(data.key(id), bytes))?;
        }
        Ok(())
    }

    /// Makes what was written durable.
    fn sync(&self) -> Outcome<()> {
        Ok(())
    }

    /// Takes everything out of RAM that can be: the next read of each file has to get it from disk, or the page cache.
    fn evict(&self) -> Outcome<()> {
        Err("cannot evict".into())
    }

    /// Whatever figures it has of its own, for who looks into the results.
    fn figures(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Closes it in order.
    fn close(self) -> Outcome<()> {
        Ok(())
    }
}

/// One thread's use of an engine.
pub(crate) trait Session {
    /// Calls `look` with a file's bytes, where they lie if the engine has that, else in a copy that the engine makes in its
    /// own way. `None` if there is no such file.
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>>;

    /// Copies a file into a buffer that is used again and again. Whether there is one.
    #[inline]
    fn copy(&mut self, key: Key<'_>, into: &mut Vec<u8>) -> Outcome<bool> {
        let copied = self.touch(key, |bytes| {
            into.clear();
            into.extend_from_slice(bytes);
        })?;
        Ok(copied.is_some())
    }

    /// Creates or replaces a file; the engine copies the bytes.
    fn put(&mut self, _: Key<'_>, _bytes: &[u8]) -> Outcome<()> {
        Err("cannot write".into())
    }

    /// Removes a file; whether there was one.
    fn remove(&mut self, _: Key<'_>) -> Outcome<bool> {
        Err("cannot remove".into())
    }

    /// The paths of the files below `directory` (which ends in `/`), sorted.
    fn list(&mut self, _directory: &str) -> Outcome<Vec<String>> {
        Err("cannot list".into())
    }

    /// The sorted paths that match. Engines without globs list everything below `base` and match each path.
    fn glob(&mut self, base: &str, pattern: &globset::GlobMatcher) -> Outcome<Vec<String>> {
        let mut paths = self.list(base)?;
        paths.retain(|path| pattern.is_match(path));
        Ok(paths)
    }
}
