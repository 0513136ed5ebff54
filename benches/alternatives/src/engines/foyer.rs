//! foyer: a cache in memory, and one over memory and disk.

use crate::{
    data::Key,
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use foldhash::fast::RandomState;
use foyer::{
    BlockEngineConfig, Cache, CacheBuilder, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy,
};
use tokio::runtime::Runtime;

type Name = Box<str>;
type Bytes = Box<[u8]>;

pub(crate) struct Memory {
    cache: Cache<Name, Bytes, RandomState>,
}

impl Engine for Memory {
    const ABOUT: About = About {
        name: "foyer",
        package: Some("foyer"),
        fairness: "foyer::Cache, Box<str> to Box<[u8]> (entries are counted, not cloned), foldhash, weighed by bytes, room for \
                   four times the files, default policy.",
        can: Can::CACHE,
    };
    type Session<'a> = &'a Memory;

    fn open(setup: &Setup) -> Outcome<Self> {
        let cache = CacheBuilder::new(setup.limit_bytes as usize)
            .with_weighter(|path: &Name, bytes: &Bytes| path.len() + bytes.len())
            .with_hash_builder(RandomState::default())
            .build();
        Ok(Self { cache })
    }

    fn session(&self, _: usize) -> Outcome<&Memory> {
        Ok(self)
    }
}

impl Session for &Memory {
    #[inline]
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        Ok(self.cache.get(key.path).map(|entry| look(entry.value())))
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

/// Over memory and disk.
pub(crate) struct Hybrid {
    cache: HybridCache<String, Vec<u8>>,
    runtime: Runtime,
}

impl Engine for Hybrid {
    const ABOUT: About = About {
        name: "foyer_hybrid",
        package: Some("foyer"),
        fairness: "foyer::HybridCache, String to Vec<u8>, weighed by bytes, memory as large as the limit, disk eight times the \
                   limit, written on eviction, default engines. Asynchronous: a reader waits by block_on where it has to. It \
                   is a cache: what does not get to disk in time is forgotten, and counted as missing.",
        can: Can { forget: true, list: false, remove: false, reopen: false, ..Can::STORE },
    };
    type Session<'a> = &'a Hybrid;

    fn open(setup: &Setup) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let disk = (8 * setup.limit_bytes).max(1 << 30) as usize;
        let device = FsDeviceBuilder::new(&setup.directory).with_capacity(disk).build()?;
        let builder = HybridCacheBuilder::new()
            .with_policy(HybridCachePolicy::WriteOnEviction)
            .memory(setup.limit_bytes as usize)
            .with_weighter(|path: &String, bytes: &Vec<u8>| path.len() + bytes.len())
            .storage()
            .with_engine_config(BlockEngineConfig::new(device));
        let cache = runtime.block_on(builder.build())?;
        Ok(Self { cache, runtime })
    }

    fn session(&self, _: usize) -> Outcome<&Hybrid> {
        Ok(self)
    }

    fn evict(&self) -> Outcome<()> {
        self.cache.memory().evict_all();
        self.runtime.block_on(self.cache.storage().wait());
        Ok(())
    }

    fn close(self) -> Outcome<()> {
        Ok(self.runtime.block_on(self.cache.close())?)
    }
}

impl Session for &Hybrid {
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        let _inside = self.runtime.enter();
        let entry = match self.cache.get(key.path).try_unwrap() {
            Ok(entry) => Some(entry),
            Err(not_in_memory) => self.runtime.block_on(not_in_memory)?,
        };
        Ok(entry.map(|entry| look(entry.value())))
    }

    fn put(&mut self, key: Key<'_>, bytes: &[u8]) -> Outcome<()> {
        let _inside = self.runtime.enter();
        self.cache.insert(key.path.to_owned(), bytes.to_vec());
        Ok(())
    }
}
