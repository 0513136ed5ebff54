//! A storage directory that one instance has for itself.
//!
//! The lock is on the directory's own descriptor, so it leaves nothing behind and ends with the process, however that ends.
//!
//! # Invariant
//! While a `DirLock` lives, the directory at its path is the one that is locked, unless somebody else removed it.

use crate::error::{Error, Result};
use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    io::Errno,
};
use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

/// Ends with its drop; then the directories that it made are removed, if they are empty.
pub(crate) struct DirLock {
    /// Deepest first.
    made: Vec<PathBuf>,
    _dir: OwnedFd,
}

impl DirLock {
    /// Makes `dir` if it is not there, and locks it.
    ///
    /// # Errors
    /// `InstanceConflict` if another instance has it, in this process or another one; `Io`.
    pub(crate) fn acquire(dir: &Path) -> Result<Self> {
        let failed = |doing| move |error: io::Error| Error::io(dir.display().to_string(), doing, error);
        let mut made = Vec::new();
        loop {
            // What was made is removed again if this fails: a lock's drop does it.
            make_all(dir, &mut made)
                .map_err(failed("make the storage directory"))
                .inspect_err(|_| remove_all(&made))?;
            let locked = match lock(dir) {
                // Removed since it was made, by an instance that had made it and ended.
                Err(Errno::NOENT) => continue,
                locked => locked,
            };
            match locked {
                Ok(Some(fd)) => return Ok(Self { made, _dir: fd }),
                Ok(None) => {}
                Err(error) => {
                    remove_all(&made);
                    return Err(match error {
                        Errno::WOULDBLOCK => Error::InstanceConflict {
                            path: dir.to_path_buf(),
                            expected: "a directory that no other instance uses",
                            found: "a live instance",
                        },
                        other => failed("lock the storage directory")(other.into()),
                    });
                }
            }
        }
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        remove_all(&self.made);
    }
}

/// How often a directory's parent may be found missing, while other instances come and go, before that is believed.
const TRIES: u32 = 64;

/// `create_dir_all` that remembers what it made.
fn make_all(dir: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    make_within(dir, made, &mut { TRIES })
}

fn make_within(dir: &Path, made: &mut Vec<PathBuf>, tries: &mut u32) -> io::Result<()> {
    match fs::create_dir(dir) {
        Ok(()) => {
            made.insert(0, dir.to_path_buf());
            Ok(())
        }
        // Some file systems say so, too, of a name that nobody can make in a directory that is there (/proc).
        Err(error) if error.kind() == io::ErrorKind::NotFound && *tries > 0 => {
            *tries -= 1;
            let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).ok_or(error)?;
            make_within(parent, made, tries)?;
            make_within(dir, made, tries)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::metadata(dir) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
            // Removed in between, by an instance that ended.
            Err(gone) if gone.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(dir).is_err() => {
                make_within(dir, made, tries)
            }
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Ignores what is not empty, or gone: then it is not ours any more.
fn remove_all(made: &[PathBuf]) {
    for dir in made {
        let _ = fs::remove_dir(dir);
    }
}

/// `None` if the directory was replaced between opening and locking it.
fn lock(dir: &Path) -> Result<Option<OwnedFd>, Errno> {
    let fd = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
    let locked = rustix::fs::fstat(&fd)?;
    let named = rustix::fs::stat(dir)?;
    Ok(((locked.st_dev, locked.st_ino) == (named.st_dev, named.st_ino)).then_some(fd))
}

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_instance_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(home.path()).unwrap();
        assert!(matches!(DirLock::acquire(home.path()), Err(Error::InstanceConflict { .. })));
        drop(lock);
        DirLock::acquire(home.path()).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn directories_it_made_go_and_others_stay() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/b");
        drop(DirLock::acquire(&dir).unwrap());
        assert!(!home.path().join("a").exists());
        let lock = DirLock::acquire(&dir).unwrap();
        fs::write(home.path().join("a/stranger"), "x").unwrap();
        drop(lock);
        assert!(home.path().join("a/stranger").exists() && !dir.exists());
    }

    #[test]
    fn a_conflict_leaves_the_owners_directory_alone() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("store");
        let _lock = DirLock::acquire(&dir).unwrap();
        assert!(DirLock::acquire(&dir).is_err());
        assert!(dir.is_dir());
    }

    #[test]
    fn what_is_no_directory_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(DirLock::acquire(&file), Err(Error::Io { .. })));
        assert!(matches!(DirLock::acquire(&file.join("below")), Err(Error::Io { .. })));
    }

    #[test]
    fn instances_that_come_and_go_at_once_never_share() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("some/store");
        let inside = crate::sync::AtomicU32::new(0);
        crate::sync::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let lock = match DirLock::acquire(&dir) {
                            Err(Error::InstanceConflict { .. }) => continue,
                            lock => lock.unwrap(),
                        };
                        let before = inside.fetch_add(1, crate::sync::Ordering::SeqCst);
                        assert_eq!(before, 0, "two owners of one directory");
                        inside.fetch_sub(1, crate::sync::Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(!dir.exists());
    }
}
