//! The limit of writing by name: a map per thread that owns what is in it.

use crate::{
    content::Contents,
    data::{Dataset, Key},
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use foldhash::fast::RandomState;
use std::{collections::HashMap, sync::Mutex, sync::MutexGuard};

type Map = HashMap<Box<str>, Box<[u8]>, RandomState>;

/// `HashMap<Box<str>, Box<[u8]>>`, one per thread: nothing that one writes is seen by another.
pub(crate) struct BareMapOwned {
    maps: Vec<Mutex<Map>>,
}

impl Engine for BareMapOwned {
    const ABOUT: About = About {
        name: "bare_map_owned",
        package: None,
        fairness: "std's HashMap<Box<str>, Box<[u8]>> with foldhash, one per thread with all files in each: what a thread writes \
                   no other sees. An overwrite allocates anew and frees the old, as any store must that readers may look into.",
        can: Can { limit: true, ..Can::MAP },
    };
    type Session<'a> = MapSession<'a>;

    fn open(setup: &Setup) -> Outcome<Self> {
        Ok(Self { maps: (0..setup.threads).map(|_| Mutex::new(Map::default())).collect() })
    }

    fn session(&self, thread: usize) -> Outcome<MapSession<'_>> {
        Ok(MapSession { map: self.maps[thread].lock().map_err(|_| "a thread died")? })
    }

    fn fill(&mut self, data: &'static Dataset, contents: &mut Contents) -> Outcome<()> {
        for thread in 0..self.maps.len() {
            let mut session = self.session(thread)?;
            for id in data.ids() {
                contents.with(id, 0, data.lengths.of(id), |bytes| session.put(data.key(id), bytes))?;
            }
        }
        Ok(())
    }
}

pub(crate) struct MapSession<'a> {
    map: MutexGuard<'a, Map>,
}

impl Session for MapSession<'_> {
    #[inline]
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        Ok(self.map.get(key.path).map(|bytes| look(bytes)))
    }

    #[inline]
    fn put(&mut self, key: Key<'_>, bytes: &[u8]) -> Outcome<()> {
        match self.map.get_mut(key.path) {
            Some(old) => *old = bytes.into(),
            None => drop(self.map.insert(key.path.into(), bytes.into())),
        }
        Ok(())
    }

    #[inline]
    fn remove(&mut self, key: Key<'_>) -> Outcome<bool> {
        Ok(self.map.remove(key.path).is_some())
    }

    fn list(&mut self, directory: &str) -> Outcome<Vec<String>> {
        let below = self.map.keys().filter(|path| path.starts_with(directory));
        let mut paths: Vec<String> = below.map(|path| path.to_string()).collect();
        paths.sort_unstable();
        Ok(paths)
    }
}
