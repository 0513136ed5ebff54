//! feoxdb: a key-value store in memory with write-behind to disk; here in memory only.

use crate::{
    data::Key,
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use feoxdb::{FeoxError, FeoxStore};

pub(crate) struct Feox {
    store: FeoxStore,
}

impl Engine for Feox {
    const ABOUT: About = About {
        name: "feoxdb",
        package: Some("feoxdb"),
        fairness: "In memory only, no memory limit; get_bytes (a counted pointer) to read, insert to write.",
        can: Can::MAP,
    };
    type Session<'a> = &'a Feox;

    fn open(_: &Setup) -> Outcome<Self> {
        Ok(Self { store: FeoxStore::builder().no_memory_limit().build()? })
    }

    fn session(&self, _: usize) -> Outcome<&Feox> {
        Ok(self)
    }
}

impl Session for &Feox {
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        match self.store.get_bytes(key.path.as_bytes()) {
            Ok(bytes) => Ok(Some(look(&bytes))),
            Err(FeoxError::KeyNotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn put(&mut self, key: Key<'_>, bytes: &[u8]) -> Outcome<()> {
        match self.store.insert(key.path.as_bytes(), bytes) {
            // Another thread's write of the same clock reading or a later one won, as if it had come after this.
            Ok(_) | Err(FeoxError::OlderTimestamp) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn remove(&mut self, key: Key<'_>) -> Outcome<bool> {
        match self.store.delete(key.path.as_bytes()) {
            Ok(()) => Ok(true),
            Err(FeoxError::KeyNotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Copies values, too: that is what it has.
    fn list(&mut self, directory: &str) -> Outcome<Vec<String>> {
        let mut end = directory.as_bytes().to_vec();
        end.push(0xff);
        let below = self.store.range_query(directory.as_bytes(), &end, usize::MAX)?;
        below.into_iter().map(|(path, _)| Ok(String::from_utf8(path)?)).collect()
    }
}
