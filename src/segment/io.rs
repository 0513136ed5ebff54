//! All that this floor asks of the disk, as two small traits, so that tests can fail the N-th call; and the real thing.

use crate::{
    map::FileMap,
    sync::{AtomicBool, AtomicU32, Ordering},
};
use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    path::Path,
};

/// Where files come from.
pub(crate) trait Disk: Send + Sync {
    /// A new, empty file without a name: it is gone when it is dropped, however the process ends.
    fn create_temp(&self, dir: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// A new, empty file; `AlreadyExists` if there is one. Its name lasts once [`sync_dir`](Self::sync_dir) has returned.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// A file that exists.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// The names of the files in a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Gives a file another name, replacing what has it, at one instant; lasting once `sync_dir` has returned.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file's name; lasting once `sync_dir` has returned.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory last.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Size of the file system under `dir`.
    fn capacity_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// One file, written and read at given offsets from any thread.
pub(crate) trait DiskFile: Send + Sync {
    /// Makes the file `len_bytes` long with its blocks allocated, so that a full disk is found here.
    fn allocate(&self, len_bytes: u64) -> io::Result<()>;

    /// Writes all of `parts`, one after the other.
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Fills `parts`, one after the other; fewer bytes than asked for only at the end of the file.
    fn read_at(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize>;

    /// These bytes are read in a moment: where the last reads had to wait for the disk, it may begin to bring them.
    fn expect_read(&self, _offset: u64, _len_bytes: usize) {}

    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Cuts the file, or lengthens it by zeros without blocks.
    #[cfg(test)]
    fn set_len(&self, len_bytes: u64) -> io::Result<()>;

    /// Makes what was written before last (fdatasync). After an error nobody knows what of it does.
    fn sync(&self) -> io::Result<()>;

    /// Extents are read in no order. With this hint a read of what is not cached brings in its whole range at once, and no
    /// more; what read-ahead guesses would be wasted.
    fn expect_random_reads(&self) {}

    /// The file as memory; `None` where that cannot be.
    fn map(&self, len_bytes: usize) -> io::Result<Option<FileMap>>;
}

/// The local file system.
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn create_temp(&self, dir: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile::new(nameless(dir)?)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Box::new(RealFile::new(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile::new(File::options().read(true).write(true).open(path)?)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            // What is not text is no file of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn capacity_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
    }
}

fn nameless(dir: &Path) -> io::Result<File> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{Mode, OFlags};
        // EXCL: nobody can give it a name later.
        let flags = OFlags::TMPFILE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => return Ok(fd.into()),
            // These say that the file system, or the kernel, does not know the flag.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    unlinked(dir)
}

/// For file systems without nameless files: a name that lives for two system calls.
fn unlinked(dir: &Path) -> io::Result<File> {
    use std::{
        collections::hash_map::RandomState,
        hash::{BuildHasher, Hasher},
        os::unix::fs::OpenOptionsExt,
    };
    loop {
        let path = dir.join(format!(".memfs-{:016x}", RandomState::new().build_hasher().finish()));
        match File::options().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// A read of at least this much first asks whether it is cached, and if not, for its whole range at once: 1 MiB from the
/// disk then takes 0.5 ms, not 1.2; below this it makes no difference worth the second call.
const ASK_FIRST_BYTES: usize = 16 << 10;

/// A file of the local file system.
pub(crate) struct RealFile {
    file: File,
    /// Whether the file system can say "not cached"; cleared when it answers that it cannot.
    can_ask: AtomicBool,
    /// How many reads more are expected to wait for the disk.
    cold: AtomicU32,
}

/// So many reads after one that had to wait are expected to wait, too; then one asks again.
#[cfg(target_os = "linux")]
const COLD_READS: u32 = 8;

impl RealFile {
    pub(crate) fn new(file: File) -> Self {
        Self { file, can_ask: AtomicBool::new(cfg!(target_os = "linux")), cold: AtomicU32::new(0) }
    }

    /// Reads what is cached, and starts reading the rest; how much was there.
    #[cfg(target_os = "linux")]
    fn read_cached(&self, parts: &mut [IoSliceMut<'_>], offset: u64, total: usize) -> usize {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        let done = match preadv2(&self.file, parts, offset, ReadWriteFlags::NOWAIT) {
            Ok(done) => done,
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                // Relaxed: a hint, not a fact other memory depends on.
                self.can_ask.store(false, Ordering::Relaxed);
                return 0;
            }
            // "Not cached", or an error that the waiting read below will meet again and report.
            Err(_) => 0,
        };
        if done < total {
            // Relaxed: a hint.
            self.cold.store(COLD_READS, Ordering::Relaxed);
            self.bring(offset + done as u64, total - done);
        }
        done
    }

    /// Whether this read is expected to wait: then it need not be told so.
    fn is_cold(&self) -> bool {
        // Relaxed, both: a hint; of several changes at once one may get lost.
        let cold = self.cold.load(Ordering::Relaxed);
        if cold > 0 {
            self.cold.store(cold - 1, Ordering::Relaxed);
        }
        cold > 0
    }

    /// Starts to read a range into the cache.
    fn bring(&self, offset: u64, len_bytes: usize) {
        #[cfg(target_os = "linux")]
        if let Some(len_bytes) = std::num::NonZeroU64::new(len_bytes as u64) {
            let _ = rustix::fs::fadvise(&self.file, offset, Some(len_bytes), rustix::fs::Advice::WillNeed);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (offset, len_bytes);
    }

    #[cfg(not(target_os = "linux"))]
    fn read_cached(&self, _: &mut [IoSliceMut<'_>], _: u64, _: usize) -> usize {
        0
    }

    #[cfg(target_os = "linux")]
    fn read_some(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::preadv(&self.file, parts, offset)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn read_some(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        let part = parts.iter_mut().find(|part| !part.is_empty()).expect("asked for at least a byte");
        std::os::unix::fs::FileExt::read_at(&self.file, part, offset)
    }

    #[cfg(target_os = "linux")]
    fn write_some(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.file, parts, offset)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn write_some(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let part = parts.iter().find(|part| !part.is_empty()).expect("asked to write at least a byte");
        std::os::unix::fs::FileExt::write_at(&self.file, part, offset)
    }
}

impl DiskFile for RealFile {
    fn allocate(&self, len_bytes: u64) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        loop {
            use rustix::{fs::FallocateFlags, io::Errno};
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len_bytes) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => break,
                Err(error) => return Err(error.into()),
            }
        }
        // Blocks come with the writes then, and a full disk is found by them.
        self.file.set_len(len_bytes)
    }

    fn write_at(&self, mut parts: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        let mut left: usize = parts.iter().map(|part| part.len()).sum();
        while left > 0 {
            match self.write_some(parts, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(done) => {
                    IoSlice::advance_slices(&mut parts, done);
                    offset += done as u64;
                    left -= done;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_at(&self, mut parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let mut filled = 0;
        if total >= ASK_FIRST_BYTES {
            if self.is_cold() {
                // Hardly anything where it was brought already.
                self.bring(offset, total);
            // Relaxed: see `read_cached`.
            } else if self.can_ask.load(Ordering::Relaxed) {
                filled = self.read_cached(parts, offset, total);
                IoSliceMut::advance_slices(&mut parts, filled);
            }
        }
        while filled < total {
            match self.read_some(parts, offset + filled as u64) {
                Ok(0) => break,
                Ok(done) => {
                    IoSliceMut::advance_slices(&mut parts, done);
                    filled += done;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn expect_read(&self, offset: u64, len_bytes: usize) {
        // Relaxed: a hint.
        if len_bytes >= ASK_FIRST_BYTES && self.cold.load(Ordering::Relaxed) > 0 {
            self.bring(offset, len_bytes);
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    #[cfg(test)]
    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        self.file.set_len(len_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn expect_random_reads(&self) {
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::Random);
    }

    fn map(&self, len_bytes: usize) -> io::Result<Option<FileMap>> {
        if cfg!(memfs_loom) { Ok(None) } else { FileMap::new(&self.file, len_bytes).map(Some) }
    }
}

/// Whether the disk, or this user's share of it, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(all(test, target_os = "linux", not(memfs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_cold_is_read_as_any_other_and_asked_again_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..256 << 10).map(|at| (at * 7 % 251) as u8).collect();
        let path = dir.path().join("file");
        std::fs::write(&path, &bytes).unwrap();
        let file = RealFile::new(File::open(&path).unwrap());
        let (begin, len) = (1000, 100_000);
        let read = |at: u64, expected: usize| {
            let mut found = vec![0; len];
            let (head, rest) = found.split_at_mut(32);
            let parts = &mut [IoSliceMut::new(head), IoSliceMut::new(rest)];
            assert_eq!(file.read_at(parts, at).unwrap(), expected);
            assert!(found[..expected] == bytes[at as usize..][..expected]);
            file.cold.load(Ordering::Relaxed)
        };
        // What is behind the end is never cached: the file is cold then, unless its file system cannot be asked.
        let cold = read(bytes.len() as u64 - 500, 500);
        assert_eq!(cold, if file.can_ask.load(Ordering::Relaxed) { COLD_READS } else { 0 });
        file.cold.store(COLD_READS, Ordering::Relaxed);
        for left in (0..COLD_READS).rev() {
            rustix::fs::fadvise(&file.file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            file.expect_read(begin, len);
            // What lies behind the end is expected by nobody; it does no harm.
            file.expect_read(bytes.len() as u64, len);
            assert_eq!(read(begin, len), left);
        }
        // Now it is asked, and finds so again.
        assert_eq!(read(bytes.len() as u64 - 500, 500), cold);
    }
}
