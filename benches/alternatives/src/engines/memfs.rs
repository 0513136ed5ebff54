//! MemFS, in its two modes.

use crate::{
    data::Key,
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use memfs::{Error, MemFs, StorageMode};

/// Temp mode; what is not in RAM is in nameless files.
pub(crate) struct Temp(Store);

/// Persist mode; all of it survives.
pub(crate) struct Persist(Store);

struct Store {
    fs: MemFs,
}

impl Store {
    fn open(setup: &Setup, mode: StorageMode) -> Outcome<Self> {
        let builder = MemFs::builder().memory_limit_bytes(setup.limit_bytes).mode(mode);
        Ok(Self { fs: builder.storage_path(&setup.directory).build()? })
    }

    fn figures(&self) -> serde_json::Value {
        serde_json::to_value(self.fs.stats()).unwrap_or_default()
    }
}

macro_rules! engine {
    ($mode:ident, $storage:expr, $about:expr) => {
        impl Engine for $mode {
            const ABOUT: About = $about;
            type Session<'a> = StoreSession<'a>;

            fn open(setup: &Setup) -> Outcome<Self> {
                Store::open(setup, $storage).map(Self)
            }

            fn session(&self, _: usize) -> Outcome<StoreSession<'_>> {
                Ok(StoreSession { fs: &self.0.fs })
            }

            fn sync(&self) -> Outcome<()> {
                Ok(self.0.fs.sync()?)
            }

            fn evict(&self) -> Outcome<()> {
                self.0.fs.gc(0.0)?;
                Ok(())
            }

            fn figures(&self) -> serde_json::Value {
                self.0.figures()
            }

            fn close(self) -> Outcome<()> {
                Ok(self.0.fs.close()?)
            }
        }
    };
}

engine!(
    Temp,
    StorageMode::Temp,
    About {
        name: "memfs",
        package: Some("memfs-engine"),
        fairness: "Temp mode, all defaults but the limit. A touch is read_with, a copy is read_with and a copy into the buffer, a \
                   put is write. Directories, statistics, eviction and the limit are at work as always.",
        can: Can { reopen: false, ..Can::STORE },
    }
);

engine!(
    Persist,
    StorageMode::Persist,
    About {
        name: "memfs_persist",
        package: Some("memfs-engine"),
        fairness: "Persist mode, all defaults but the limit: durable every 100 ms.",
        can: Can::STORE,
    }
);

pub(crate) struct StoreSession<'a> {
    fs: &'a MemFs,
}

fn found<R>(result: memfs::Result<R>) -> Outcome<Option<R>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Session for StoreSession<'_> {
    #[inline]
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        found(self.fs.read_with(key.path, look))
    }

    #[inline]
    fn put(&mut self, key: Key<'_>, bytes: &[u8]) -> Outcome<()> {
        Ok(self.fs.write(key.path, bytes)?)
    }

    #[inline]
    fn remove(&mut self, key: Key<'_>) -> Outcome<bool> {
        Ok(found(self.fs.remove_file(key.path))?.is_some())
    }

    fn list(&mut self, directory: &str) -> Outcome<Vec<String>> {
        Ok(self.fs.read_dir(directory)?.map(memfs::DirEntry::into_path).collect())
    }

    fn glob(&mut self, _base: &str, pattern: &globset::GlobMatcher) -> Outcome<Vec<String>> {
        Ok(self.fs.glob(pattern.glob().glob())?)
    }
}
