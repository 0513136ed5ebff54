//! quick_cache: a small concurrent cache with a relative of Clock-PRO and S3-FIFO.

use crate::{
    data::Key,
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use foldhash::fast::RandomState;
use quick_cache::{
    Weighter,
    sync::{Cache, DefaultLifecycle},
};
use std::sync::Arc;

type Name = Box<str>;
type Bytes = Arc<[u8]>;

#[derive(Clone)]
pub(crate) struct ByBytes;

impl Weighter<Name, Bytes> for ByBytes {
    fn weight(&self, path: &Name, bytes: &Bytes) -> u64 {
        (path.len() + bytes.len()) as u64
    }
}

pub(crate) struct QuickCache {
    cache: Cache<Name, Bytes, ByBytes, RandomState>,
}

impl Engine for QuickCache {
    const ABOUT: About = About {
        name: "quick_cache",
        package: Some("quick_cache"),
        fairness: "quick_cache::sync::Cache, Box<str> to Arc<[u8]> (values are cloned by each read, so a pointer), foldhash, \
                   weighed by bytes, told how many such files would fill it, room for four times the files.",
        can: Can::CACHE,
    };
    type Session<'a> = &'a QuickCache;

    fn open(setup: &Setup) -> Outcome<Self> {
        // Estimated to be as many as would fill it, as its documentation asks for.
        let items = (setup.limit_bytes as f64 / setup.lengths.mean()) as usize;
        let lifecycle = DefaultLifecycle::default();
        Ok(Self { cache: Cache::with(items, setup.limit_bytes, ByBytes, RandomState::default(), lifecycle) })
    }

    fn session(&self, _: usize) -> Outcome<&QuickCache> {
        Ok(self)
    }
}

impl Session for &QuickCache {
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
