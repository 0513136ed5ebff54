//! object_store's in-memory store: a B-tree behind a readers-writer lock.

use crate::{
    data::Key,
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use bytes::Bytes;
use futures::{TryStreamExt, executor::block_on};
use object_store::{Error, ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};

pub(crate) struct Objects {
    store: InMemory,
}

impl Engine for Objects {
    const ABOUT: About = About {
        name: "object_store",
        package: Some("object_store"),
        fairness: "object_store::memory::InMemory. Asynchronous by its interface, never by what it does: block_on returns at once. \
                   A path is parsed for each call, as users have to.",
        can: Can::MAP,
    };
    type Session<'a> = &'a Objects;

    fn open(_: &Setup) -> Outcome<Self> {
        Ok(Self { store: InMemory::new() })
    }

    fn session(&self, _: usize) -> Outcome<&Objects> {
        Ok(self)
    }
}

fn found<T>(result: object_store::Result<T>) -> Outcome<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Session for &Objects {
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        let path = Path::from(key.path);
        let bytes = block_on(async { self.store.get(&path).await?.bytes().await });
        Ok(found(bytes)?.map(|bytes| look(&bytes)))
    }

    fn put(&mut self, key: Key<'_>, bytes: &[u8]) -> Outcome<()> {
        block_on(self.store.put(&Path::from(key.path), Bytes::copy_from_slice(bytes).into()))?;
        Ok(())
    }

    /// Whether there was one it does not say.
    fn remove(&mut self, key: Key<'_>) -> Outcome<bool> {
        Ok(found(block_on(self.store.delete(&Path::from(key.path))))?.is_some())
    }

    fn list(&mut self, directory: &str) -> Outcome<Vec<String>> {
        let prefix = Path::from(directory);
        let listed = self.store.list(Some(&prefix)).map_ok(|object| format!("/{}", object.location));
        let mut paths: Vec<String> = block_on(listed.try_collect())?;
        paths.sort_unstable();
        Ok(paths)
    }
}
