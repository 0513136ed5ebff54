//! scc's HashMap: a lock per bucket.

use super::sorted_below;
use crate::{
    data::Key,
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use foldhash::fast::RandomState;
use scc::HashMap;

pub(crate) struct SccMap {
    map: HashMap<Box<str>, Box<[u8]>, RandomState>,
}

impl Engine for SccMap {
    const ABOUT: About = About {
        name: "scc_map",
        package: Some("scc"),
        fairness: "scc::HashMap, Box<str> to Box<[u8]>, foldhash. Values are looked at in place, under the bucket's lock.",
        can: Can::MAP,
    };
    type Session<'a> = &'a SccMap;

    fn open(_: &Setup) -> Outcome<Self> {
        Ok(Self { map: HashMap::with_hasher(RandomState::default()) })
    }

    fn session(&self, _: usize) -> Outcome<&SccMap> {
        Ok(self)
    }
}

impl Session for &SccMap {
    #[inline]
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        Ok(self.map.read_sync(key.path, |_, bytes| look(bytes)))
    }

    #[inline]
    fn put(&mut self, key: Key<'_>, bytes: &[u8]) -> Outcome<()> {
        let mut new = Some(Box::<[u8]>::from(bytes));
        let swap = |_: &_, old: &mut Box<[u8]>| new.take().map(|new| std::mem::replace(old, new));
        let old = self.map.update_sync(key.path, swap);
        if let Some(new) = new {
            self.map.upsert_sync(key.path.into(), new);
        }
        drop(old);
        Ok(())
    }

    #[inline]
    fn remove(&mut self, key: Key<'_>) -> Outcome<bool> {
        Ok(self.map.remove_sync(key.path).is_some())
    }

    fn list(&mut self, directory: &str) -> Outcome<Vec<String>> {
        Ok(sorted_below(directory, |see| {
            self.map.iter_sync(|path, _| {
                see(path);
                true
            });
        }))
    }
}
