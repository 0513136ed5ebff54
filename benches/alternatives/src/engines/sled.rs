//! sled: a Bw-tree's descendant over a log.

use super::reopen::Reopen;
use crate::{
    data::Key,
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use sled::{Config, Db, Mode};
use std::sync::Arc;

pub(crate) struct Sled {
    store: Reopen<Db>,
    setup: Setup,
}

fn open(setup: &Setup) -> Outcome<Db> {
    let config = Config::new().path(setup.directory.join("sled")).cache_capacity(setup.limit_bytes);
    Ok(config.mode(Mode::HighThroughput).flush_every_ms(Some(100)).open()?)
}

impl Engine for Sled {
    const ABOUT: About = About {
        name: "sled",
        package: Some("sled"),
        fairness: "The default tree, cache as large as the limit, high throughput mode, flushed every 100 ms as MemFS's persist \
                   mode is.",
        can: Can::STORE,
    };
    type Session<'a> = SledSession;

    fn open(setup: &Setup) -> Outcome<Self> {
        Ok(Self { store: Reopen::new(open(setup)?), setup: setup.clone() })
    }

    fn session(&self, _: usize) -> Outcome<SledSession> {
        Ok(SledSession { tree: self.store.get()? })
    }

    fn sync(&self) -> Outcome<()> {
        self.store.get()?.flush()?;
        Ok(())
    }

    fn evict(&self) -> Outcome<()> {
        self.sync()?;
        self.store.again(|| open(&self.setup))
    }

    fn close(self) -> Outcome<()> {
        self.sync()
    }
}

pub(crate) struct SledSession {
    tree: Arc<Db>,
}

impl Session for SledSession {
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        Ok(self.tree.get(key.path)?.map(|bytes| look(&bytes)))
    }

    fn put(&mut self, key: Key<'_>, bytes: &[u8]) -> Outcome<()> {
        self.tree.insert(key.path, bytes)?;
        Ok(())
    }

    fn remove(&mut self, key: Key<'_>) -> Outcome<bool> {
        Ok(self.tree.remove(key.path)?.is_some())
    }

    fn list(&mut self, directory: &str) -> Outcome<Vec<String>> {
        let below = self.tree.scan_prefix(directory).keys();
        below.map(|path| Ok(std::str::from_utf8(&path?)?.to_owned())).collect()
    }
}
