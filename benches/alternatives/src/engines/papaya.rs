//! papaya: a lock-free map with deferred reclamation.

use super::sorted_below;
use crate::{
    data::Key,
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use foldhash::fast::RandomState;
use papaya::HashMap;

pub(crate) struct Papaya {
    map: HashMap<Box<str>, Box<[u8]>, RandomState>,
}

impl Engine for Papaya {
    const ABOUT: About = About {
        name: "papaya",
        package: Some("papaya"),
        fairness: "Box<str> to Box<[u8]>, foldhash, incremental resizing as by default. Pinned once per operation: a pin held \
                   for longer would be faster, and would hold back all memory meanwhile.",
        can: Can::MAP,
    };
    type Session<'a> = &'a Papaya;

    fn open(_: &Setup) -> Outcome<Self> {
        Ok(Self { map: HashMap::with_hasher(RandomState::default()) })
    }

    fn session(&self, _: usize) -> Outcome<&Papaya> {
        Ok(self)
    }
}

impl Session for &Papaya {
    #[inline]
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        Ok(self.map.pin().get(key.path).map(|bytes| look(bytes)))
    }

    #[inline]
    fn put(&mut self, key: Key<'_>, bytes: &[u8]) -> Outcome<()> {
        self.map.pin().insert(key.path.into(), bytes.into());
        Ok(())
    }

    #[inline]
    fn remove(&mut self, key: Key<'_>) -> Outcome<bool> {
        Ok(self.map.pin().remove(key.path).is_some())
    }

    fn list(&mut self, directory: &str) -> Outcome<Vec<String>> {
        Ok(sorted_below(directory, |see| self.map.pin().keys().for_each(|path| see(path))))
    }
}
