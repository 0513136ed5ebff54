//! moka: a concurrent cache with W-TinyLFU.

use crate::{
    data::Key,
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use foldhash::fast::RandomState;
use moka::sync::Cache;
use std::sync::Arc;

type Name = Box<str>;
type Bytes = Arc<[u8]>;

pub(crate) struct Moka {
    cache: Cache<Name, Bytes, RandomState>,
}

impl Engine for Moka {
    const ABOUT: About = About {
        name: "moka",
        package: Some("moka"),
        fairness: "moka::sync::Cache, Box<str> to Arc<[u8]> (its documentation's advice for values that are dear to clone), \
                   foldhash, weighed by bytes, room for four times the files, default policy.",
        can: Can::CACHE,
    };
    type Session<'a> = &'a Moka;

    fn open(setup: &Setup) -> Outcome<Self> {
        let cache = Cache::builder()
            .max_capacity(setup.limit_bytes)
            .weigher(|path: &Name, bytes: &Bytes| (path.len() + bytes.len()) as u32)
            .build_with_hasher(RandomState::default());
        Ok(Self { cache })
    }

    fn session(&self, _: usize) -> Outcome<&Moka> {
        Ok(self)
    }
}

impl Session for &Moka {
    #[inline]
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        Ok(self.cache.get(key.path).map(|bytes| look(&bytes)))
    }

    #[inline]
    fn put(&mut self, key: Key<'_>, bytes: &[u8]) -> Outcome<()> {
        self.cache.insert(key.path.into(), bytes.into());
        Ok(())
    }

    #[inline]
    fn remove(&mut self, key: Key<'_>) -> Outcome<bool> {
        Ok(self.cache.remove(key.path).is_some())
    }
}
