//! redb: copy-on-write B-trees in one file.

use super::reopen::Reopen;
use crate::{
    content::Contents,
    data::{Dataset, Key},
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use redb::{Builder, Database, Durability, ReadableDatabase, TableDefinition};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

const FILES: TableDefinition<&str, &[u8]> = TableDefinition::new("files");
/// What is written, at most, before a commit that is durable: until then redb keeps it in RAM, and space that was freed cannot
/// be used again.
const DURABLE_EVERY_BYTES: u64 = 8 << 20;
/// What a write costs besides its bytes: the pages of the tree above it.
const PAGES_BYTES: u64 = 8 << 10;

pub(crate) struct Redb {
    store: Reopen<Database>,
    path: PathBuf,
    cache_bytes: usize,
    /// Bytes written, durable or not.
    written: AtomicU64,
}

fn open(path: &PathBuf, cache_bytes: usize) -> Outcome<Database> {
    Ok(Builder::new().set_cache_size(cache_bytes).create(path)?)
}

impl Engine for Redb {
    const ABOUT: About = About {
        name: "redb",
        package: Some("redb"),
        fairness: "One table, cache as large as the limit, a transaction per operation. Writes are not made durable one by one \
                   (Durability::None), as MemFS's are not, but every 8 MiB: without that file and memory only grow.",
        can: Can::STORE,
    };
    type Session<'a> = RedbSession<'a>;

    fn open(setup: &Setup) -> Outcome<Self> {
        let (path, cache_bytes) = (setup.directory.join("files.redb"), setup.limit_bytes as usize);
        let database = open(&path, cache_bytes)?;
        let transaction = database.begin_write()?;
        transaction.open_table(FILES)?;
        transaction.commit()?;
        Ok(Self { store: Reopen::new(database), path, cache_bytes, written: AtomicU64::new(0) })
    }

    fn session(&self, _: usize) -> Outcome<RedbSession<'_>> {
        Ok(RedbSession { database: self.store.get()?, written: &self.written })
    }

    fn fill(&mut self, data: &'static Dataset, contents: &mut Contents) -> Outcome<()> {
        let database = self.store.get()?;
        for batch in super::batches(data) {
            let transaction = database.begin_write()?;
            {
                let mut table = transaction.open_table(FILES)?;
                for id in batch {
                    contents.with(id, 0, data.lengths.of(id), |bytes| -> Outcome<()> {
                        table.insert(data.key(id).path, bytes)?;
                        Ok(())
                    })?;
                }
            }
            transaction.commit()?;
        }
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.store.get()?.begin_write()?.commit()?)
    }

    fn evict(&self) -> Outcome<()> {
        self.store.again(|| open(&self.path, self.cache_bytes))
    }

    fn close(self) -> Outcome<()> {
        Ok(self.store.into_inner()?.close()?)
    }
}

pub(crate) struct RedbSession<'a> {
    database: Arc<Database>,
    written: &'a AtomicU64,
}

impl RedbSession<'_> {
    fn write(
        &self,
        bytes: usize,
        change: impl FnOnce(&mut redb::Table<'_, &str, &[u8]>) -> Outcome<bool>,
    ) -> Outcome<bool> {
        let mut transaction = self.database.begin_write()?;
        let more = bytes as u64 + PAGES_BYTES;
        // Relaxed: it counts.
        let before = self.written.fetch_add(more, Ordering::Relaxed);
        if before / DURABLE_EVERY_BYTES == (before + more) / DURABLE_EVERY_BYTES {
            transaction.set_durability(Durability::None)?;
        }
        let changed = change(&mut transaction.open_table(FILES)?)?;
        transaction.commit()?;
        Ok(changed)
    }
}

impl Session for RedbSession<'_> {
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        let table = self.database.begin_read()?.open_table(FILES)?;
        Ok(table.get(key.path)?.map(|bytes| look(bytes.value())))
    }

    fn put(&mut self, key: Key<'_>, bytes: &[u8]) -> Outcome<()> {
        self.write(bytes.len(), |table| Ok(table.insert(key.path, bytes)?.is_some())).map(drop)
    }

    fn remove(&mut self, key: Key<'_>) -> Outcome<bool> {
        self.write(0, |table| Ok(table.remove(key.path)?.is_some()))
    }

    fn list(&mut self, directory: &str) -> Outcome<Vec<String>> {
        let table = self.database.begin_read()?.open_table(FILES)?;
        let mut paths = Vec::new();
        for entry in table.range(directory..)? {
            let (path, _) = entry?;
            if !path.value().starts_with(directory) {
                break;
            }
            paths.push(path.value().to_owned());
        }
        Ok(paths)
    }
}
