//! A storage directory that one instance has for itself.
//!
//! The lock is on the directory's own descriptor, so it leaves nothing behind and ends with the process, however that ends. An
//! instance that lasts has a file in the directory locked, too, with its process id inside. That excludes nobody; it tells who
//! finds the directory locked what kind of instance has it, and whose.
//!
//! # Invariants
//! 1. While a `DirLock` lives, the directory at its path is the one that is locked, unless somebody else removed it.
//! 2. Nothing is written in a directory before it is locked, and the lock file is never removed.

use crate::error::{Error, Result};
use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    io::Errno,
};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

/// The file that says which process has a lasting store.
const LOCK_FILE: &str = "lock";

/// Ends with its drop; then the directories that it made are removed, if they are empty.
pub(crate) struct DirLock {
    /// Deepest first.
    made: Vec<PathBuf>,
    _dir: OwnedFd,
    _owner: Option<File>,
}

impl DirLock {
    /// Makes `dir` if it is not there, and locks it, for an instance that leaves nothing behind.
    ///
    /// # Errors
    /// `InstanceConflict` if another instance has it, in this process or another one; `Io`.
    pub(crate) fn acquire(dir: &Path) -> Result<Self> {
        Self::acquire_for(dir, false)
    }

    /// The same for an instance that lasts.
    ///
    /// # Errors
    /// `Locked` if another one that lasts has it, with its process (which may be this one), `InstanceConflict` if one that
    /// does not; `Io`.
    pub(crate) fn acquire_lasting(dir: &Path) -> Result<Self> {
        Self::acquire_for(dir, true)
    }

    /// Locks `dir`, which must be there, for who only looks at a store: nothing is written.
    ///
    /// # Errors
    /// As [`acquire_lasting`](Self::acquire_lasting).
    pub(crate) fn acquire_to_look(dir: &Path) -> Result<Self> {
        let failed =
            |error: Errno| Error::io(dir.display().to_string(), "lock the storage directory", error.into());
        loop {
            match lock(dir) {
                Ok(Some(fd)) => return Ok(Self { made: Vec::new(), _dir: fd, _owner: None }),
                Ok(None) => {}
                Err(Errno::WOULDBLOCK) => return Err(conflict(dir, true)),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn acquire_for(dir: &Path, lasts: bool) -> Result<Self> {
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
                Ok(Some(fd)) => {
                    let mut lock = Self { made, _dir: fd, _owner: None };
                    if lasts {
                        lock._owner = Some(sign(dir).map_err(failed("write the lock file"))?);
                    }
                    return Ok(lock);
                }
                Ok(None) => {}
                Err(error) => {
                    remove_all(&made);
                    return Err(match error {
                        Errno::WOULDBLOCK => conflict(dir, lasts),
                        other => failed("lock the storage directory")(other.into()),
                    });
                }
            }
        }
    }
}

/// Why a directory that is locked cannot be had.
fn conflict(dir: &Path, lasts: bool) -> Error {
    match lasts.then(|| owner_of(dir)).flatten() {
        Some(pid) => Error::Locked { path: dir.to_path_buf(), pid },
        None => Error::InstanceConflict {
            path: dir.to_path_buf(),
            expected: "a directory that no other instance uses",
            found: "a live instance",
        },
    }
}

/// Locks the lock file in `dir`, which is locked, and writes this process's id into it.
fn sign(dir: &Path) -> io::Result<File> {
    let open = File::options().write(true).create(true).truncate(false).mode(0o644).open(dir.join(LOCK_FILE));
    let mut file = open?;
    // Emptied before it is locked: who finds it locked does not read its last owner's.
    file.set_len(0)?;
    // Who looks at the lock has it shared, for a moment.
    for _ in 0..TRIES {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            locked => {
                locked?;
                break;
            }
        }
    }
    file.write_all(format!("{}\n", std::process::id()).as_bytes())?;
    Ok(file)
}

/// The process whose lasting instance has the directory, 0 if it does not say; `None` if no such instance has it. Waits a
/// little for one that has just locked it.
fn owner_of(dir: &Path) -> Option<u32> {
    let mut is_owned = false;
    for _ in 0..TRIES {
        if let Ok(mut file) = File::open(dir.join(LOCK_FILE)) {
            let looked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared);
            is_owned = looked == Err(Errno::WOULDBLOCK);
            let mut text = String::new();
            // A line that is not whole is being written.
            if is_owned
                && file.read_to_string(&mut text).is_ok()
                && let Some(Ok(pid)) = text.strip_suffix('\n').map(str::parse)
            {
                return Some(pid);
            }
        }
        std::thread::sleep(PAUSE);
    }
    is_owned.then_some(0)
}

impl Drop for DirLock {
    fn drop(&mut self) {
        remove_all(&self.made);
        // Not left to the closing of the descriptor: a process that another thread is just starting may have a copy of it.
        if let Some(owner) = &self._owner {
            let _ = rustix::fs::flock(owner, FlockOperation::Unlock);
        }
        let _ = rustix::fs::flock(&self._dir, FlockOperation::Unlock);
    }
}

/// How often what other instances do may be in the way, while they come and go, before it is believed to stay.
const TRIES: u32 = 640;

const PAUSE: Duration = Duration::from_micros(100);

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

    #[test]
    fn a_lasting_instance_names_its_process_and_a_passing_one_is_a_conflict() {
        let home = tempfile::tempdir().unwrap();
        let own = std::process::id();
        for round in 0..3 {
            let lasting = DirLock::acquire_lasting(home.path()).unwrap();
            assert!(
                matches!(DirLock::acquire_lasting(home.path()), Err(Error::Locked { pid, .. }) if pid == own)
            );
            assert!(matches!(DirLock::acquire(home.path()), Err(Error::InstanceConflict { .. })));
            drop(lasting);
            let passing = DirLock::acquire(home.path()).unwrap();
            let found = DirLock::acquire_lasting(home.path());
            assert!(matches!(found, Err(Error::InstanceConflict { .. })), "round {round}");
            drop(passing);
        }
    }

    #[test]
    fn a_lasting_instance_writes_nothing_into_the_directory_of_a_passing_one() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("store");
        let passing = DirLock::acquire(&dir).unwrap();
        assert!(DirLock::acquire_lasting(&dir).is_err());
        drop(passing);
        assert!(!dir.exists());
        drop(DirLock::acquire_lasting(&dir).unwrap());
        assert!(dir.is_dir(), "a store that lasts leaves its directory");
    }

    const OWNED: &str = "MEMFS_TEST_OWNED_DIR";

    /// Not a test of its own: the other process of the one below.
    #[test]
    fn owns_a_directory_until_it_is_killed() {
        let Some(dir) = std::env::var_os(OWNED) else { return };
        let _lock = DirLock::acquire_lasting(Path::new(&dir)).unwrap();
        println!("owned");
        std::thread::sleep(Duration::from_secs(60));
    }

    #[test]
    fn the_owner_in_another_process_is_named_and_its_lock_ends_with_a_kill() {
        use std::io::BufRead;
        let home = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["segment::dirlock::tests::owns_a_directory_until_it_is_killed", "--exact", "--nocapture"])
            .env(OWNED, home.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = io::BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("owned")));
        let found = DirLock::acquire_lasting(home.path());
        assert!(matches!(found, Err(Error::Locked { pid, .. }) if pid == child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        DirLock::acquire_lasting(home.path()).unwrap();
    }
}
