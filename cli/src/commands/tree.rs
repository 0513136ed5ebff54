//! Writing files below a directory of this machine and never elsewhere, whatever lies there: names are looked up one by one,
//! from a descriptor of the directory, and no symbolic link is followed.

use super::source::Inode;
use rustix::{
    fs::{AtFlags, Mode, OFlags, RenameFlags, mkdirat, openat, renameat, renameat_with, statat, unlinkat},
    io::Errno,
};
use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

/// The directory that all goes to.
pub(crate) struct Tree {
    root: OwnedFd,
    /// A directory that is not entered.
    store: Option<Inode>,
    /// Whether what is there is replaced.
    replaces: bool,
}

/// A directory in it.
pub(crate) struct Place<'t> {
    dir: OwnedFd,
    tree: &'t Tree,
}

/// A file that is being written, under a name that is not the one it will have.
pub(crate) struct Unnamed<'p> {
    place: &'p Place<'p>,
    /// Empty once it has its own.
    part: String,
    pub(crate) file: File,
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

impl Tree {
    pub(crate) fn new(root: &Path, store: Option<Inode>, replaces: bool) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        Ok(Self { root: rustix::fs::open(root, DIRECTORY, Mode::empty())?, store, replaces })
    }

    /// The directory at a store's path, made if it is not there.
    pub(crate) fn place(&self, path: &str) -> io::Result<Place<'_>> {
        let mut dir = self.root.try_clone()?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            check(name)?;
            match mkdirat(&dir, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            dir = openat(&dir, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        }
        let found = File::from(dir.try_clone()?).metadata()?;
        if self.store == Some(Inode::of(&found)) {
            return Err(io::Error::other("the store's own directory"));
        }
        Ok(Place { dir, tree: self })
    }
}

impl Place<'_> {
    /// Begins a file that is to be called `name`.
    pub(crate) fn begin(&self, name: &str) -> io::Result<Unnamed<'_>> {
        check(name)?;
        if !self.tree.replaces {
            self.check_free(name)?;
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let process = std::process::id();
        for number in 0u32.. {
            let part = format!(".memfs-part-{process}-{number}");
            match openat(&self.dir, &part, flags, Mode::from_raw_mode(0o666)) {
                Ok(file) => return Ok(Unnamed { place: self, part, file: file.into() }),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn check_free(&self, name: &str) -> io::Result<()> {
        match statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(()),
            Ok(_) => Err(taken()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Unnamed<'_> {
    /// Gives the file its name, in one instant.
    pub(crate) fn finish(mut self, name: &str) -> io::Result<()> {
        let dir = self.place.dir.as_fd();
        if self.place.tree.replaces {
            renameat(dir, &self.part, dir, name)?;
        } else {
            match renameat_with(dir, &self.part, dir, name, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => return Err(taken()),
                // A file system that cannot look and rename at once.
                Err(Errno::INVAL | Errno::NOSYS) => {
                    self.place.check_free(name)?;
                    renameat(dir, &self.part, dir, name)?;
                }
                renamed => renamed?,
            }
        }
        self.part.clear();
        Ok(())
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if !self.part.is_empty() {
            let _ = unlinkat(&self.place.dir, &self.part, AtFlags::empty());
        }
    }
}

fn taken() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "is there already; --force replaces it")
}

/// A name as a store has them, once more: this is what keeps the writing below the directory.
fn check(name: &str) -> io::Result<()> {
    let is_name = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
    if is_name { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "not a name")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write, os::unix::fs::symlink};

    #[test]
    fn what_is_no_name_writes_nowhere() {
        let home = tempfile::tempdir().expect("a directory");
        let tree = Tree::new(&home.path().join("a/b"), None, true).expect("a tree");
        let place = tree.place("/").expect("the top");
        for name in ["..", ".", "", "../x", "/x", "x/y", "a\0b"] {
            assert!(place.begin(name).is_err(), "{name:?}");
        }
        for path in ["/..", "/x/../../y", "/."] {
            assert!(tree.place(path).is_err(), "{path}");
        }
        assert_eq!(fs::read_dir(home.path().join("a")).expect("it is there").count(), 1);
        assert!(!home.path().join("a/y").exists());
    }

    #[test]
    fn links_are_not_followed() {
        let (home, elsewhere) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("another"));
        let victim = elsewhere.path().join("victim");
        fs::write(&victim, "untouched").expect("a file");
        symlink(elsewhere.path(), home.path().join("dir")).expect("a link");
        symlink(&victim, home.path().join("file")).expect("a link");
        for replaces in [false, true] {
            let tree = Tree::new(home.path(), None, replaces).expect("a tree");
            assert!(tree.place("/dir").is_err());
            let place = tree.place("/").expect("the top");
            let done = place.begin("file").and_then(|mut file| {
                file.file.write_all(b"new")?;
                file.finish("file")
            });
            assert_eq!(done.is_ok(), replaces, "{done:?}");
        }
        assert_eq!(fs::read(&victim).expect("it is there"), b"untouched");
        assert_eq!(fs::read(home.path().join("file")).expect("it is there"), b"new");
        assert!(fs::symlink_metadata(home.path().join("file")).expect("it is there").is_file());
    }

    #[test]
    fn a_file_that_is_not_finished_leaves_nothing() {
        let home = tempfile::tempdir().expect("a directory");
        let tree = Tree::new(home.path(), None, false).expect("a tree");
        let place = tree.place("/").expect("the top");
        drop(place.begin("file").expect("begun"));
        let late = place.begin("file").expect("begun");
        fs::write(home.path().join("file"), "somebody else's").expect("a file");
        assert_eq!(late.finish("file").expect_err("taken").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(home.path()).expect("it is there").count(), 1);
    }
}
