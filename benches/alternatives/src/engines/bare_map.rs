//! The limit of reading by name: what a map costs when it has nothing else to do.

use crate::{
    content::Contents,
    data::{Dataset, Key},
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use foldhash::fast::RandomState;
use std::{collections::HashMap, sync::Mutex, sync::MutexGuard};

type Map = HashMap<&'static str, &'static [u8], RandomState>;

/// `HashMap<&str, &[u8]>`, one per thread, over the same names and contents.
pub(crate) struct BareMap {
    maps: Vec<Mutex<Map>>,
}

impl Engine for BareMap {
    const ABOUT: About = About {
        name: "bare_map",
        package: None,
        fairness: "std's HashMap<&str, &[u8]> with foldhash, one per thread, nothing shared but what is never written: no \
                   synchronisation, no eviction, no names in a tree, no bookkeeping. Names and contents lie in one piece \
                   each, with no allocator's slack. Read-only.",
        can: Can { limit: true, ..Can::READ_ONLY },
    };
    type Session<'a> = MapSession<'a>;

    fn open(setup: &Setup) -> Outcome<Self> {
        let map =
            || Mutex::new(HashMap::with_capacity_and_hasher(setup.files as usize, RandomState::default()));
        Ok(Self { maps: (0..setup.threads).map(|_| map()).collect() })
    }

    fn session(&self, thread: usize) -> Outcome<MapSession<'_>> {
        // Taken once a round, by the only thread that ever takes it.
        Ok(MapSession { map: self.maps[thread].lock().map_err(|_| "a thread died")? })
    }

    fn fill(&mut self, data: &'static Dataset, contents: &mut Contents) -> Outcome<()> {
        // Names of its own: those of the requests are in the cache for having just been made, a map's are not.
        let names: String = data.ids().map(|id| data.key(id).path).collect();
        let mut bytes = Vec::with_capacity(data.total_bytes() as usize);
        for id in data.ids() {
            contents.with(id, 0, data.lengths.of(id), |file| bytes.extend_from_slice(file));
        }
        // Both live as long as the process, which is as long as the scene.
        let (mut names, mut bytes): (&'static str, &'static [u8]) = (names.leak(), bytes.leak());
        for id in data.ids() {
            let (name, other_names) = names.split_at(data.key(id).path.len());
            let (file, other_bytes) = bytes.split_at(data.lengths.of(id));
            for map in &mut self.maps {
                map.get_mut().map_err(|_| "a thread died")?.insert(name, file);
            }
            (names, bytes) = (other_names, other_bytes);
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
}
