//! dashmap: a map of shards, each behind a readers-writer lock.

use super::sorted_below;
use crate::{
    data::Key,
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use dashmap::DashMap;
use foldhash::fast::RandomState;

pub(crate) struct Dash {
    map: DashMap<Box<str>, Box<[u8]>, RandomState>,
}

impl Engine for Dash {
    const ABOUT: About = About {
        name: "dashmap",
        package: Some("dashmap"),
        fairness: "Box<str> to Box<[u8]>, foldhash, default number of shards. Values are looked at in place, under the shard's \
                   lock. An overwrite allocates outside the lock.",
        can: Can::MAP,
    };
    type Session<'a> = &'a Dash;

    fn open(_: &Setup) -> Outcome<Self> {
        Ok(Self { map: DashMap::with_hasher(RandomState::default()) })
    }

    fn session(&self, _: usize) -> Outcome<&Dash> {
        Ok(self)
    }
}

impl Session for &Dash {
    #[inline]
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        Ok(self.map.get(key.path).map(|entry| look(entry.value())))
    }

    #[inline]
    fn put(&mut self, key: Key<'_>, bytes: &[u8]) -> Outcome<()> {
        let new: Box<[u8]> = bytes.into();
        // Spares the name's allocation where there is one already, which is what its users do.
        let old = match self.map.get_mut(key.path) {
            Some(mut entry) => Some(std::mem::replace(entry.value_mut(), new)),
            None => self.map.insert(key.path.into(), new),
        };
        drop(old);
        Ok(())
    }

    #[inline]
    fn remove(&mut self, key: Key<'_>) -> Outcome<bool> {
        Ok(self.map.remove(key.path).is_some())
    }

    fn list(&mut self, directory: &str) -> Outcome<Vec<String>> {
        Ok(sorted_below(directory, |see| self.map.iter().for_each(|entry| see(entry.key()))))
    }
}
