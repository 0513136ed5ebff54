//! The alternatives, one file each, and the table that finds them by name.

mod bare_array;
mod bare_map;
mod bare_map_owned;
mod dashmap;
mod memfs;
#[cfg(feature = "moka")]
mod moka;
mod papaya;
mod quick_cache;
mod scc_index;
mod scc_map;

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
    entry::<bare_map::BareMap>(),
    entry::<bare_map_owned::BareMapOwned>(),
    entry::<bare_array::BareArray>(),
];

/// All that are compiled in.
pub(crate) fn all() -> impl Iterator<Item = Entry> {
    ENTRIES.iter().copied()
}

pub(crate) fn find(name: &str) -> Outcome<Entry> {
    let found = all().find(|entry| entry.about.name == name);
    found.ok_or_else(|| format!("no engine is called {name:?}; see `alternatives engines`").into())
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
