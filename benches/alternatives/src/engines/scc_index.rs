//! scc's HashIndex: reads without locks, writes that replace through an epoch.

use super::sorted_below;
use crate::{
    data::Key,
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use foldhash::fast::RandomState;
use scc::{HashIndex, hash_index::Entry};

pub(crate) struct SccIndex {
    map: HashIndex<Box<str>, Box<[u8]>, RandomState>,
}

impl Engine for SccIndex {
    const ABOUT: About = About {
        name: "scc_index",
        package: Some("scc"),
        fairness: "scc::HashIndex, Box<str> to Box<[u8]>, foldhash. It is made for reading: an update replaces the entry, name \
                   and all.",
        can: Can::MAP,
    };
    type Session<'a> = &'a SccIndex;

    fn open(_: &Setup) -> Outcome<Self> {
        Ok(Self { map: HashIndex::with_hasher(RandomState::default()) })
    }

    fn session(&self, _: usize) -> Outcome<&SccIndex> {
        Ok(self)
    }
}

impl Session for &SccIndex {
    #[inline]
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        Ok(self.map.peek_with(key.path, |_, bytes| look(bytes)))
    }

    #[inline]
    fn put(&mut self, key: Key<'_>, bytes: &[u8]) -> Outcome<()> {
        let new = bytes.into();
        // Spares the name's allocation where there is one already; another comes with the update.
        if let Some(mut entry) = self.map.get_sync(key.path) {
            entry.update(new);
            return Ok(());
        }
        match self.map.entry_sync(key.path.into()) {
            Entry::Occupied(mut entry) => entry.update(new),
            Entry::Vacant(entry) => drop(entry.insert_entry(new)),
        }
        Ok(())
    }

    #[inline]
    fn remove(&mut self, key: Key<'_>) -> Outcome<bool> {
        Ok(self.map.remove_sync(key.path))
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
