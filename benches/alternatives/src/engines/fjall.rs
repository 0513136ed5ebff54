//! fjall: a log-structured merge tree.

use super::reopen::Reopen;
use crate::{
    data::Key,
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use std::sync::Arc;

pub(crate) struct Fjall {
    store: Reopen<Open>,
    setup: Setup,
}

pub(crate) struct Open {
    files: Keyspace,
    // After the keyspace in order of dropping.
    database: Database,
}

fn open(setup: &Setup) -> Outcome<Open> {
    let limit = setup.limit_bytes;
    let database = Database::builder(setup.directory.join("fjall")).cache_size(limit / 4 * 3).open()?;
    let options = || {
        let options =
            KeyspaceCreateOptions::default().max_memtable_size((limit / 8).clamp(4 << 20, 64 << 20));
        // As its documentation advises for values of more than about a KiB.
        let is_large = setup.lengths.mean() > 2048.0;
        options.with_kv_separation(is_large.then(KvSeparationOptions::default))
    };
    let files = database.keyspace("files", options)?;
    Ok(Open { files, database })
}

impl Engine for Fjall {
    const ABOUT: About = About {
        name: "fjall",
        package: Some("fjall"),
        fairness: "One keyspace, three quarters of the limit for its cache, memtables of an eighth (64 MiB at most), keys and values apart \
                   from 2 KiB on, compiled without compression (contents here are random). Writes reach the system's buffers, \
                   not the disk, as by default.",
        can: Can::STORE,
    };
    type Session<'a> = FjallSession;

    fn open(setup: &Setup) -> Outcome<Self> {
        Ok(Self { store: Reopen::new(open(setup)?), setup: setup.clone() })
    }

    fn session(&self, _: usize) -> Outcome<FjallSession> {
        Ok(FjallSession { open: self.store.get()? })
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.store.get()?.database.persist(PersistMode::SyncAll)?)
    }

    fn evict(&self) -> Outcome<()> {
        // What is in write buffers is not on disk in the form that is read.
        self.store.get()?.files.rotate_memtable_and_wait()?;
        self.store.again(|| open(&self.setup))
    }
}

pub(crate) struct FjallSession {
    open: Arc<Open>,
}

impl Session for FjallSession {
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        Ok(self.open.files.get(key.path)?.map(|bytes| look(&bytes)))
    }

    fn put(&mut self, key: Key<'_>, bytes: &[u8]) -> Outcome<()> {
        Ok(self.open.files.insert(key.path, bytes)?)
    }

    /// Whether there was one it does not say, and looking first would cost it what users need not pay.
    fn remove(&mut self, key: Key<'_>) -> Outcome<bool> {
        self.open.files.remove(key.path)?;
        Ok(true)
    }

    fn list(&mut self, directory: &str) -> Outcome<Vec<String>> {
        let below = self.open.files.prefix(directory);
        below.map(|entry| Ok(std::str::from_utf8(&entry.key()?)?.to_owned())).collect()
    }
}
