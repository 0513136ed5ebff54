//! LMDB through heed: copy-on-write B-tree in a mapped file.

use crate::{
    content::Contents,
    data::{Dataset, Key},
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use heed::{
    CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions,
    types::{Bytes, Str},
};

type Files = Database<'static, Str, Bytes>;

pub(crate) struct Lmdb {
    env: Env,
    files: Files,
}

impl Engine for Lmdb {
    const ABOUT: About = About {
        name: "lmdb",
        package: Some("heed"),
        fairness: "LMDB by heed, one database, MDB_NOSYNC and MDB_NOMETASYNC (writes are not made durable one by one, as \
                   MemFS's are not), MDB_NORDAHEAD where there is more than the limit (its manual's advice), a \
                   transaction per operation. It keeps nothing in RAM of its own: the page cache is its cache, without a limit \
                   of its own, and it checks no checksums.",
        can: Can::STORE,
    };
    type Session<'a> = &'a Lmdb;

    fn open(setup: &Setup) -> Outcome<Self> {
        let bytes = (setup.files as f64 * (setup.lengths.mean() + 8192.0)) as usize * 2;
        let mut flags = EnvFlags::NO_SYNC | EnvFlags::NO_META_SYNC;
        if setup.files as f64 * setup.lengths.mean() > setup.limit_bytes as f64 {
            flags |= EnvFlags::NO_READ_AHEAD;
        }
        let mut options = EnvOpenOptions::new();
        options.map_size((bytes + (1 << 30)).next_multiple_of(1 << 20));
        // SAFETY: without syncs a crash of the machine can corrupt the file; it is thrown away then. The file is changed by
        // nobody else: the directory is this process's own.
        let env = unsafe {
            options.flags(flags);
            options.open(&setup.directory)?
        };
        let create = env.create_databases_and_commit(env.write_txn()?, |open, transaction| {
            open.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
        });
        let files = create?.unwrap_commit();
        Ok(Self { env, files })
    }

    fn session(&self, _: usize) -> Outcome<&Lmdb> {
        Ok(self)
    }

    fn fill(&mut self, data: &'static Dataset, contents: &mut Contents) -> Outcome<()> {
        for batch in super::batches(data) {
            let mut transaction = self.env.write_txn()?;
            for id in batch {
                let put = |bytes: &[u8]| self.files.put(&mut transaction, data.key(id).path, bytes);
                contents.with(id, 0, data.lengths.of(id), put)?;
            }
            transaction.commit()?;
        }
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.env.force_sync()?)
    }

    /// There is nothing in RAM but the page cache.
    fn evict(&self) -> Outcome<()> {
        Ok(())
    }

    fn close(self) -> Outcome<()> {
        self.sync()
    }
}

impl Session for &Lmdb {
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        let transaction = self.env.read_txn()?;
        Ok(self.files.get(&transaction, key.path)?.map(look))
    }

    fn put(&mut self, key: Key<'_>, bytes: &[u8]) -> Outcome<()> {
        let mut transaction = self.env.write_txn()?;
        self.files.put(&mut transaction, key.path, bytes)?;
        Ok(transaction.commit()?)
    }

    fn remove(&mut self, key: Key<'_>) -> Outcome<bool> {
        let mut transaction = self.env.write_txn()?;
        let was_there = self.files.delete(&mut transaction, key.path)?;
        transaction.commit()?;
        Ok(was_there)
    }

    fn list(&mut self, directory: &str) -> Outcome<Vec<String>> {
        let transaction = self.env.read_txn()?;
        let below = self.files.prefix_iter(&transaction, directory)?;
        below.map(|entry| Ok(entry?.0.to_owned())).collect()
    }
}
