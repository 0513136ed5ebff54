//! The alternatives, one file each, and the table that finds them by name.

mod bare_array;
mod bare_map;
mod bare_map_owned;
mod dashmap;
#[cfg(feature = "feoxdb")]
mod feoxdb;
#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "foyer")]
mod foyer;
#[cfg(feature = "heed")]
mod heed;
mod memfs;
#[cfg(feature = "moka")]
mod moka;
#[cfg(feature = "object_store")]
mod object_store;
mod one_file;
mod papaya;
mod quick_cache;
#[cfg(feature = "redb")]
mod redb;
#[cfg(any(feature = "fjall", feature = "redb", feature = "sled"))]
mod reopen;
mod scc_index;
mod scc_map;
#[cfg(feature = "sled")]
mod sled;
mod std_fs;
#[cfg(feature = "vfs")]
mod vfs;

#[cfg(any(feature = "redb", feature = "heed"))]
use crate::data::Dataset;
use crate::{
    child,
    engine::{About, Engine, Outcome},
};

/// An engine that is compiled in.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) about: About,
    /// Serves it on standard input and output.
    pub(crate) serve: fn() -> Outcome<()>,
}

const fn entry<E: Engine>() -> Entry {
    Entry { about: E::ABOUT, serve: child::serve::<E> }
}

/// MemFS first, then what it is compared with, then the limits.
const ENTRIES: &[Entry] = &[
    entry::<memfs::Temp>(),
    entry::<memfs::Persist>(),
    entry::<dashmap::Dash>(),
    entry::<papaya::Papaya>(),
    entry::<scc_map::SccMap>(),
    entry::<scc_index::SccIndex>(),
    #[cfg(feature = "moka")]
    entry::<moka::Moka>(),
    entry::<quick_cache::QuickCache>(),
    #[cfg(feature = "foyer")]
    entry::<foyer::Memory>(),
    #[cfg(feature = "foyer")]
    entry::<foyer::Hybrid>(),
    #[cfg(feature = "redb")]
    entry::<redb::Redb>(),
    #[cfg(feature = "heed")]
    entry::<heed::Lmdb>(),
    #[cfg(feature = "fjall")]
    entry::<fjall::Fjall>(),
    #[cfg(feature = "sled")]
    entry::<sled::Sled>(),
    #[cfg(feature = "feoxdb")]
    entry::<feoxdb::Feox>(),
    #[cfg(feature = "object_store")]
    entry::<object_store::Objects>(),
    #[cfg(feature = "vfs")]
    entry::<vfs::Vfs>(),
    entry::<std_fs::Tmpfs>(),
    entry::<std_fs::Disk>(),
    entry::<bare_map::BareMap>(),
    entry::<bare_map_owned::BareMapOwned>(),
    entry::<bare_array::BareArray>(),
    entry::<one_file::Pread>(),
    entry::<one_file::Mapping>(),
];

/// All that are compiled in.
pub(crate) fn all() -> impl Iterator<Item = Entry> {
    ENTRIES.iter().copied()
}

pub(crate) fn find(name: &str) -> Outcome<Entry> {
    let found = all().find(|entry| entry.about.name == name);
    found.ok_or_else(|| format!("no engine is called {name:?}; see `alternatives engines`").into())
}

/// All files, in groups that make a transaction of a reasonable size.
#[cfg(any(feature = "redb", feature = "heed"))]
fn batches(data: &Dataset) -> impl Iterator<Item = std::ops::Range<u32>> {
    const FILES: u32 = 4096;
    const BYTES: usize = 8 << 20;
    let mut next = 0;
    std::iter::from_fn(move || {
        let (first, mut bytes) = (next, 0);
        while next < data.files() && next - first < FILES && bytes < BYTES {
            bytes += data.lengths.of(next);
            next += 1;
        }
        (next > first).then_some(first..next)
    })
}

/// The paths below `directory` that `each` is shown, sorted: how a map lists.
fn sorted_below(directory: &str, each: impl FnOnce(&mut dyn FnMut(&str))) -> Vec<String> {
    let mut paths = Vec::new();
    each(&mut |path| {
        if path.starts_with(directory) {
            paths.push(path.to_owned());
        }
    });
    paths.sort_unstable();
    paths
}
