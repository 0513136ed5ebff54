//! The demo's own list of files: what the store has to hold. It owns names, lengths and hashes; it knows nothing of the
//! store. Compact, about 60 bytes a file, because it lives beside a memory limit that is being measured.
//!
//! Invariants:
//! 1. Names never change once scanned: what was renamed carries a mark, and its path is derived from it.
//! 2. A record is changed by one thread at a time (the one that claimed its file), and phases are separated by joining
//!    all threads: so every atomic here is `Relaxed`, and pairs with the join.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
};

/// Names with this in them are the demo's own: the scan takes none, so no rename can meet a taken name.
pub(crate) const OWN_NAMES: &str = "memfs-demo-";
/// What the name of a renamed file or directory gets appended.
pub(crate) const SUFFIX: &str = ".memfs-demo-renamed";
/// Where moved files go.
pub(crate) const MOVED_DIR: &str = "/memfs-demo-moved";
/// Longest name and path that the store accepts.
pub(crate) const NAME_MAX: usize = 255;
pub(crate) const PATH_MAX: usize = 4096;

/// Index of the top directory.
pub(crate) const ROOT: u32 = 0;

#[derive(Clone, Copy)]
struct Name {
    start: u32,
    len: u8,
}

struct Dir {
    parent: u32,
    name: Name,
    renamed: AtomicBool,
}

/// What is known of one file.
pub(crate) struct Record {
    len_bytes: AtomicU64,
    digest: AtomicU64,
    dir: u32,
    name: Name,
    state: AtomicU8,
    place: AtomicU8,
    priority: AtomicU8,
}

/// Whether the store has the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Seen by the scan; not in the store.
    Listed,
    /// In the store, with the length and the hash of the record.
    Loaded,
    /// Was in the store, and must not be there any more.
    Removed,
}

/// Where the file's path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Place {
    /// As in the source.
    Original,
    /// Beside it, with [`SUFFIX`].
    Suffixed,
    /// In [`MOVED_DIR`], by number.
    Moved,
}

impl Record {
    pub(crate) fn len_bytes(&self) -> u64 {
        self.len_bytes.load(Relaxed)
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest.load(Relaxed)
    }

    pub(crate) fn name_len(&self) -> usize {
        usize::from(self.name.len)
    }

    pub(crate) fn dir(&self) -> u32 {
        self.dir
    }

    /// What the store has from now on.
    pub(crate) fn set_contents(&self, len_bytes: u64, digest: u64) {
        self.len_bytes.store(len_bytes, Relaxed);
        self.digest.store(digest, Relaxed);
        self.state.store(State::Loaded as u8, Relaxed);
    }

    pub(crate) fn state(&self) -> State {
        match self.state.load(Relaxed) {
            0 => State::Listed,
            1 => State::Loaded,
            _ => State::Removed,
        }
    }

    pub(crate) fn set_removed(&self) {
        self.state.store(State::Removed as u8, Relaxed);
    }

    pub(crate) fn place(&self) -> Place {
        match self.place.load(Relaxed) {
            0 => Place::Original,
            1 => Place::Suffixed,
            _ => Place::Moved,
        }
    }

    pub(crate) fn set_place(&self, place: Place) {
        self.place.store(place as u8, Relaxed);
    }

    pub(crate) fn priority(&self) -> u8 {
        self.priority.load(Relaxed)
    }

    pub(crate) fn set_priority(&self, level: u8) {
        self.priority.store(level, Relaxed);
    }
}

/// All files and the directories they are in.
pub(crate) struct Table {
    root: PathBuf,
    names: String,
    dirs: Vec<Dir>,
    files: Vec<Record>,
}

impl Table {
    pub(crate) fn new(root: &Path) -> Self {
        let top = Dir { parent: ROOT, name: Name { start: 0, len: 0 }, renamed: AtomicBool::new(false) };
        Table { root: root.to_owned(), names: String::new(), dirs: vec![top], files: Vec::new() }
    }

    /// Takes the name in, unless it is too long or there are too many.
    fn intern(&mut self, name: &str) -> Option<Name> {
        let interned =
            Name { start: u32::try_from(self.names.len()).ok()?, len: u8::try_from(name.len()).ok()? };
        self.names.push_str(name);
        Some(interned)
    }

    /// Adds a directory; its index.
    pub(crate) fn add_dir(&mut self, parent: u32, name: &str) -> Option<u32> {
        let index = u32::try_from(self.dirs.len()).ok()?;
        let name = self.intern(name)?;
        self.dirs.push(Dir { parent, name, renamed: AtomicBool::new(false) });
        Some(index)
    }

    /// Adds a file of (at most) that length, not yet loaded.
    pub(crate) fn add_file(&mut self, dir: u32, name: &str, len_bytes: u64) -> Option<u32> {
        let index = u32::try_from(self.files.len()).ok()?;
        let name = self.intern(name)?;
        self.files.push(Record {
            len_bytes: AtomicU64::new(len_bytes),
            digest: AtomicU64::new(0),
            dir,
            name,
            state: AtomicU8::new(State::Listed as u8),
            place: AtomicU8::new(Place::Original as u8),
            priority: AtomicU8::new(memfs::Priority::NORMAL.get()),
        });
        Some(index)
    }

    pub(crate) fn len(&self) -> u32 {
        self.files.len() as u32
    }

    pub(crate) fn dir_count(&self) -> u32 {
        self.dirs.len() as u32
    }

    pub(crate) fn file(&self, id: u32) -> &Record {
        &self.files[id as usize]
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = (u32, &Record)> {
        (0..).zip(&self.files)
    }

    /// Files that the store has.
    pub(crate) fn loaded(&self) -> impl Iterator<Item = (u32, &Record)> {
        self.files().filter(|(_, file)| file.state() == State::Loaded)
    }

    pub(crate) fn parent(&self, dir: u32) -> u32 {
        self.dirs[dir as usize].parent
    }

    pub(crate) fn set_dir_renamed(&self, dir: u32) {
        self.dirs[dir as usize].renamed.store(true, Relaxed);
    }

    fn text(&self, name: Name) -> &str {
        &self.names[name.start as usize..][..usize::from(name.len)]
    }

    pub(crate) fn file_name(&self, id: u32) -> &str {
        self.text(self.file(id).name)
    }

    fn push_dir(&self, dir: u32, renames: bool, out: &mut String) {
        if dir == ROOT {
            return;
        }
        let Dir { parent, name, renamed } = &self.dirs[dir as usize];
        self.push_dir(*parent, renames, out);
        out.push('/');
        out.push_str(self.text(*name));
        if renames && renamed.load(Relaxed) {
            out.push_str(SUFFIX);
        }
    }

    /// The directory's path in the store.
    pub(crate) fn dir_path<'a>(&self, dir: u32, out: &'a mut String) -> &'a str {
        out.clear();
        self.push_dir(dir, true, out);
        out
    }

    /// The file's path in the store.
    pub(crate) fn path<'a>(&self, id: u32, out: &'a mut String) -> &'a str {
        self.path_at(id, self.file(id).place(), out)
    }

    /// The path that the file has, or would have, at `place`.
    pub(crate) fn path_at<'a>(&self, id: u32, place: Place, out: &'a mut String) -> &'a str {
        use std::fmt::Write;
        out.clear();
        match place {
            Place::Moved => {
                let _ = write!(out, "{MOVED_DIR}/{id}");
            }
            Place::Original | Place::Suffixed => {
                self.push_dir(self.file(id).dir, true, out);
                out.push('/');
                out.push_str(self.file_name(id));
                if place == Place::Suffixed {
                    out.push_str(SUFFIX);
                }
            }
        }
        out
    }

    /// Where the file came from.
    pub(crate) fn source_path(&self, id: u32) -> PathBuf {
        let mut inner = String::new();
        self.push_dir(self.file(id).dir, false, &mut inner);
        inner.push('/');
        inner.push_str(self.file_name(id));
        self.root.join(&inner[1..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_renames_of_files_and_of_directories_above() {
        let mut table = Table::new(Path::new("/source"));
        let lib = table.add_dir(ROOT, "lib").expect("room");
        let deep = table.add_dir(lib, "deep").expect("room");
        let id = table.add_file(deep, "a.rs", 1).expect("room");
        let top = table.add_file(ROOT, "top", 1).expect("room");
        let mut out = String::new();
        assert_eq!(table.path(id, &mut out), "/lib/deep/a.rs");
        assert_eq!(table.path(top, &mut out), "/top");
        table.file(id).set_place(Place::Suffixed);
        table.set_dir_renamed(lib);
        assert_eq!(table.path(id, &mut out), format!("/lib{SUFFIX}/deep/a.rs{SUFFIX}"));
        assert_eq!(table.path_at(id, Place::Original, &mut out), format!("/lib{SUFFIX}/deep/a.rs"));
        table.file(id).set_place(Place::Moved);
        assert_eq!(table.path(id, &mut out), format!("{MOVED_DIR}/{id}"));
        assert_eq!(table.source_path(id), Path::new("/source/lib/deep/a.rs"));
        assert_eq!(table.source_path(top), Path::new("/source/top"));
    }

    #[test]
    fn a_record_is_compact() {
        assert!(size_of::<Record>() <= 32, "{}", size_of::<Record>());
    }
}
