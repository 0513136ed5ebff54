//! Listing: `read_dir`, `walk`, `glob`. None is a snapshot; an entry that is there throughout is reported exactly once.

use super::{MemFs, glob::Pattern};
use crate::{
    error::{Error, Result},
    map::prefetch,
    tier::FileKind,
};

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    path: String,
    name_start: usize,
    kind: FileKind,
}

impl DirEntry {
    /// The last component.
    pub fn file_name(&self) -> &str {
        &self.path[self.name_start..]
    }

    /// The canonical path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The canonical path, without a copy.
    pub fn into_path(self) -> String {
        self.path
    }

    /// File or directory.
    pub fn kind(&self) -> FileKind {
        self.kind
    }
}

/// The entries of one directory, by name; from [`MemFs::read_dir`].
#[derive(Debug)]
pub struct ReadDir {
    /// With a separator at its end.
    directory: String,
    /// The names, one after the other.
    names: String,
    entries: std::vec::IntoIter<Name>,
}

impl Iterator for ReadDir {
    type Item = DirEntry;

    fn next(&mut self) -> Option<DirEntry> {
        let entry = self.entries.next()?;
        // The names lie in the order in which they were met: each is a cache miss.
        if let Some(soon) = self.entries.as_slice().get(AHEAD) {
            prefetch(soon.text(&self.names).as_ptr());
        }
        let name = entry.text(&self.names);
        let mut path = String::with_capacity(self.directory.len() + name.len());
        path.push_str(&self.directory);
        path.push_str(name);
        Some(DirEntry { path, name_start: self.directory.len(), kind: entry.kind() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl ExactSizeIterator for ReadDir {}

/// How many entries ahead a name is fetched.
const AHEAD: usize = 8;
/// Fewer names than these are sorted by comparing them.
const FEW: usize = 8;

/// A name among those of its directory.
#[derive(Clone, Copy, Debug)]
struct Name {
    /// Eight bytes of it, as a number that is in the order of the names; zeros behind its end.
    key: u64,
    /// Where it begins | its length (8) | whether it is a directory's (8).
    place: u64,
}

const _: () = assert!(size_of::<Name>() == 16, "they are moved about in sorting");

impl Name {
    fn new(start: usize, len: u8, kind: FileKind) -> Self {
        debug_assert!(start < 1 << 48, "there is no memory for so many names");
        let is_directory = u64::from(kind == FileKind::Directory);
        Self { key: 0, place: (start as u64) << 16 | u64::from(len) << 8 | is_directory }
    }

    fn kind(self) -> FileKind {
        if self.place & 1 == 1 { FileKind::Directory } else { FileKind::File }
    }

    fn text(self, names: &str) -> &str {
        let start = (self.place >> 16) as usize;
        &names[start..start + (self.place >> 8 & 0xff) as usize]
    }

    /// Takes the key from byte `from` on.
    fn take_key(&mut self, names: &str, from: usize) {
        let rest = self.text(names).as_bytes().get(from..).unwrap_or_default();
        self.key = u64::from_be_bytes(rest.first_chunk().copied().unwrap_or_else(|| {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            last
        }));
    }
}

/// Sorts names that are the same up to byte `from`: by the next eight bytes, and where those are the same, by the eight after.
fn sort(entries: &mut [Name], names: &str, from: usize) {
    entries.iter_mut().for_each(|entry| entry.take_key(names, from));
    entries.sort_unstable_by_key(|entry| entry.key);
    for equal in entries.chunk_by_mut(|a, b| a.key == b.key).filter(|equal| equal.len() > 1) {
        // A name has no NUL: those that end within the key are one name.
        let is_one_name = equal[0].key as u8 == 0;
        match equal.len() {
            _ if is_one_name => {}
            ..FEW => equal.sort_unstable_by(|a, b| a.text(names).cmp(b.text(names))),
            _ => sort(equal, names, from + size_of::<u64>()),
        }
    }
}

/// Names as they are met: in one buffer, so that to list is not to allocate, and sorted by numbers, so that to sort is not to
/// wait for memory.
struct Listing {
    names: String,
    entries: Vec<Name>,
    /// Bytes that all names begin with.
    common: usize,
}

impl Listing {
    fn new() -> Self {
        Self { names: String::new(), entries: Vec::new(), common: usize::MAX }
    }

    fn push(&mut self, name: &str, kind: FileKind) {
        let first = self.entries.first().map_or(name, |first| first.text(&self.names));
        let most = self.common.min(first.len()).min(name.len());
        let (first, met) = (&first.as_bytes()[..most], &name.as_bytes()[..most]);
        if first != met {
            self.common = first.iter().zip(met).take_while(|(a, b)| a == b).count();
        } else {
            self.common = most;
        }
        let len = u8::try_from(name.len()).expect("a component has 255 bytes at most");
        self.entries.push(Name::new(self.names.len(), len, kind));
        self.names.push_str(name);
    }

    /// By name, each name once.
    fn sorted(mut self, directory: &str) -> ReadDir {
        let Self { names, entries, common } = &mut self;
        sort(entries, names, *common);
        // A name that was removed and made again during the listing may have been met twice.
        entries.dedup_by(|a, b| a.key == b.key && a.text(names) == b.text(names));
        let directory = format!("{}/", directory.trim_end_matches('/'));
        ReadDir { directory, names: self.names, entries: self.entries.into_iter() }
    }
}

/// Everything below a directory, depth first, a directory before what is in it; from [`MemFs::walk`].
#[derive(Debug)]
pub struct Walk {
    fs: MemFs,
    open: Vec<ReadDir>,
}

impl Iterator for Walk {
    type Item = DirEntry;

    fn next(&mut self) -> Option<DirEntry> {
        loop {
            let Some(entry) = self.open.last_mut()?.next() else {
                self.open.pop();
                continue;
            };
            if entry.kind == FileKind::Directory {
                // A directory that went away since it was listed has no entries.
                if let Ok(below) = self.fs.read_dir(entry.path()) {
                    self.open.push(below);
                }
            }
            return Some(entry);
        }
    }
}

impl MemFs {
    /// The entries of a directory, sorted by name. Costs O(entries); the list is made at once.
    ///
    /// Not a snapshot: an entry that is there from before the call until it returns is reported exactly once, one that comes
    /// or goes meanwhile may be or not.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotADirectory`], [`Error::InvalidPath`], [`Error::Closed`].
    ///
    /// ```
    /// # let fs = memfs::MemFs::builder().memory_limit_bytes(1 << 20).build()?;
    /// fs.write("/d/b", "")?;
    /// fs.write("/d/a", "")?;
    /// let names: Vec<_> = fs.read_dir("/d")?.map(|entry| entry.file_name().to_owned()).collect();
    /// assert_eq!(names, ["a", "b"]);
    /// # Ok::<(), memfs::Error>(())
    /// ```
    pub fn read_dir(&self, path: impl AsRef<str>) -> Result<ReadDir> {
        let path = path.as_ref();
        self.other(|core, local| {
            let mut listing = Listing::new();
            let directory = core.list(local, path, |name, kind| listing.push(name, kind))?;
            Ok(listing.sorted(&directory))
        })
    }

    /// Everything below a directory, depth first, each directory sorted by name and listed when it is reached.
    ///
    /// # Errors
    /// As [`read_dir`](MemFs::read_dir), for `path` itself; directories that vanish meanwhile are passed over.
    pub fn walk(&self, path: impl AsRef<str>) -> Result<Walk> {
        Ok(Walk { fs: self.clone(), open: vec![self.read_dir(path)?] })
    }

    /// The full paths of the files (not directories) that match, sorted. `?` is a character of a name, `*` any number of them,
    /// `[..]` one of a class (`[!..]` one that is not in it), `{a,b}` a choice, which may hold others; `**` as a whole component is any
    /// number of directories, none included. A missing leading `/` is supplied.
    ///
    /// Costs a listing of the directories that the pattern's literal beginning leaves open, and matches each name in linear time.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the pattern is not one, or its choices multiply to very many; [`Error::Closed`].
    ///
    /// ```
    /// # let fs = memfs::MemFs::builder().memory_limit_bytes(1 << 20).build()?;
    /// fs.write("/src/lib.rs", "")?;
    /// fs.write("/src/fs/mod.rs", "")?;
    /// assert_eq!(fs.glob("/src/**/*.rs")?, ["/src/fs/mod.rs", "/src/lib.rs"]);
    /// # Ok::<(), memfs::Error>(())
    /// ```
    pub fn glob(&self, pattern: impl AsRef<str>) -> Result<Vec<String>> {
        self.check_open()?;
        let mut pattern = Pattern::new(pattern.as_ref())?;
        let mut found = Vec::new();
        // Directories still to be listed, and how many levels down from there.
        let mut open = vec![(pattern.base().to_owned(), pattern.max_depth())];
        while let Some((directory, levels)) = open.pop() {
            let mut path = directory.trim_end_matches('/').to_owned() + "/";
            let above = path.len();
            // Matched after the listing, not during it: an intricate pattern takes its time, and would hold the epoch back.
            let mut met = Listing::new();
            let listed = self.other(|core, local| {
                core.list(local, &directory, |name, kind| met.push(name, kind)).map(drop)
            });
            for name in &met.entries {
                path.truncate(above);
                path.push_str(name.text(&met.names));
                match name.kind() {
                    FileKind::File if pattern.is_match(&path) => found.push(path.clone()),
                    FileKind::Directory if levels > 1 => open.push((path.clone(), levels - 1)),
                    _ => {}
                }
            }
            match listed {
                // A base that is no path, or not there, has nothing below it; nor has a directory that went away meanwhile.
                Err(Error::NotFound { .. } | Error::NotADirectory { .. } | Error::InvalidPath { .. }) => {}
                listed => listed?,
            }
        }
        found.sort_unstable();
        // As in a listing.
        found.dedup();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_listing_is_the_sorted_set_of_names(
            stem in "[ab]{0,12}",
            ends in prop::collection::vec("[ab\u{e4}.]{1,3}|a{7,9}[ab]{0,9}", 0..80),
        ) {
            let names: Vec<String> = ends.into_iter().map(|end| stem.clone() + &end).collect();
            let mut listing = Listing::new();
            names.iter().for_each(|name| listing.push(name, FileKind::File));
            let listed: Vec<String> = listing.sorted("/d").map(DirEntry::into_path).collect();
            let wanted: std::collections::BTreeSet<String> = names.iter().map(|name| format!("/d/{name}")).collect();
            prop_assert_eq!(listed, wanted.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_entry_of_the_root_has_one_separator() {
        let mut listing = Listing::new();
        listing.push("a", FileKind::Directory);
        let entry = listing.sorted("/").next().unwrap();
        assert_eq!((entry.path(), entry.file_name(), entry.kind()), ("/a", "a", FileKind::Directory));
    }
}
