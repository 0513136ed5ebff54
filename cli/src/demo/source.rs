//! Which real files the demo takes: chooses a directory and lists its regular files. Reads names and lengths only, never
//! contents; follows no symbolic link and enters no file system that is not made of files.

use super::table::{NAME_MAX, OWN_NAMES, PATH_MAX, ROOT, Table};
use crate::{mounts::Mounts, trouble::Trouble};
use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Most files the demo takes: its list has to stay small beside the limit.
const FILES_MAX: u32 = 1_000_000;

/// The directory to load from: the one asked for, or a good one of this machine.
pub(crate) fn choose(asked: Option<&Path>) -> Result<PathBuf, Trouble> {
    if let Some(dir) = asked {
        let at = |error: io::Error| Trouble(format!("{}: {error}", dir.display()));
        if !fs::metadata(dir).map_err(at)?.is_dir() {
            return Err(Trouble(format!("{}: expected a directory, found something else", dir.display())));
        }
        return dir.canonicalize().map_err(at);
    }
    candidates().find(|dir| dir.is_dir()).ok_or_else(|| {
        Trouble("found no Rust toolchain and no /usr on this machine: choose a directory with --dir".into())
    })
}

/// Best first, each looked up only if the ones before it will not do.
fn candidates() -> impl Iterator<Item = PathBuf> {
    let variable = |name| move || std::env::var_os(name).map(PathBuf::from);
    let home = |below| move || std::env::var_os("HOME").map(|home| Path::new(&home).join(below));
    let ways: [Box<dyn Fn() -> Option<PathBuf>>; 6] = [
        Box::new(sysroot),
        Box::new(variable("RUSTUP_HOME")),
        Box::new(home(".rustup")),
        Box::new(variable("CARGO_HOME")),
        Box::new(home(".cargo")),
        Box::new(|| Some("/usr".into())),
    ];
    ways.into_iter().filter_map(|way| way())
}

fn sysroot() -> Option<PathBuf> {
    let mut rustc = Command::new("rustc");
    let asked =
        rustc.args(["--print", "sysroot"]).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let path = String::from_utf8(asked.stdout).ok()?;
    (asked.status.success() && !path.trim().is_empty()).then(|| path.trim().into())
}

/// What the scan found.
pub(crate) struct Scan {
    pub(crate) table: Table,
    /// The sum of the lengths.
    pub(crate) bytes: u64,
    pub(crate) skipped: Skipped,
    /// Whether there was more than was asked for.
    pub(crate) more: bool,
}

/// What the scan passed over.
#[derive(Default)]
pub(crate) struct Skipped {
    /// Files and directories that may not be looked at, or that vanished.
    pub(crate) unreadable: u64,
    /// Names that are no virtual paths (not UTF-8, with a backslash, too long) or look like the demo's own.
    pub(crate) names: u64,
    /// Symbolic links, devices, pipes, sockets, and mounts of what is not files.
    pub(crate) special: u64,
}

/// Lists regular files below `root`, in order of their names, until they add up to `max_bytes`; the last one is cut to
/// fit.
pub(crate) fn scan(root: &Path, max_bytes: u64) -> Result<Scan, Trouble> {
    let table = Table::new(root);
    let mut scan = Scanner {
        scan: Scan { table, bytes: 0, skipped: Skipped::default(), more: false },
        max_bytes,
        mounts: Mounts::default(),
        pending: Vec::new(),
    };
    let at = |error: io::Error| Trouble(format!("{}: {error}", root.display()));
    let device = fs::metadata(root).map_err(at)?.dev();
    if !scan.mounts.hold_files(device, root) {
        return Err(Trouble(format!("{}: not a file system of regular files", root.display())));
    }
    // The top directory has to be readable; below it, what cannot be read is counted and passed over.
    fs::read_dir(root).map_err(at)?;
    scan.pending.push(Pending { real: root.to_owned(), index: ROOT, path_len: 0 });
    while let Some(dir) = scan.pending.pop() {
        if !scan.list(&dir) {
            scan.scan.more = true;
            break;
        }
    }
    Ok(scan.scan)
}

struct Scanner {
    scan: Scan,
    max_bytes: u64,
    mounts: Mounts,
    pending: Vec<Pending>,
}

/// A directory still to be listed.
struct Pending {
    real: PathBuf,
    index: u32,
    path_len: usize,
}

impl Scanner {
    /// Lists one directory; `false` once there is enough.
    fn list(&mut self, dir: &Pending) -> bool {
        let Ok(entries) = fs::read_dir(&dir.real) else {
            self.scan.skipped.unreadable += 1;
            return true;
        };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_unstable_by_key(fs::DirEntry::file_name);
        let dirs_before = self.pending.len();
        for entry in entries {
            let Ok(metadata) = entry.metadata() else {
                self.scan.skipped.unreadable += 1;
                continue;
            };
            if !metadata.is_file() && !metadata.is_dir() {
                self.scan.skipped.special += 1;
                continue;
            }
            let Some(name) = usable(entry.file_name(), dir.path_len) else {
                self.scan.skipped.names += 1;
                continue;
            };
            if metadata.is_file() {
                if !self.take(dir.index, &name, metadata.len()) {
                    return false;
                }
            } else if self.mounts.hold_files(metadata.dev(), &entry.path()) {
                let Some(index) = self.scan.table.add_dir(dir.index, &name) else { return false };
                let path_len = dir.path_len + 1 + name.len();
                self.pending.push(Pending { real: entry.path(), index, path_len });
            } else {
                self.scan.skipped.special += 1;
            }
        }
        self.pending[dirs_before..].reverse();
        true
    }

    /// Puts a file on the list; `false` if there was no room for all of it.
    fn take(&mut self, dir: u32, name: &str, len_bytes: u64) -> bool {
        let room = self.max_bytes - self.scan.bytes;
        if self.scan.table.len() >= FILES_MAX || (room == 0 && len_bytes > 0) {
            return false;
        }
        let taken = len_bytes.min(room);
        if self.scan.table.add_file(dir, name, taken).is_none() {
            return false;
        }
        self.scan.bytes += taken;
        taken == len_bytes
    }
}

/// The name as a component of a virtual path, if it can be one.
fn usable(name: OsString, dir_path_len: usize) -> Option<String> {
    let name = name.into_string().ok()?;
    let fits = name.len() <= NAME_MAX && dir_path_len + 1 + name.len() <= PATH_MAX;
    (fits && !name.contains('\\') && !name.contains(OWN_NAMES)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::{ffi::OsStringExt, fs::symlink};

    #[test]
    fn the_scan_takes_regular_files_and_counts_the_rest() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("b/c")).expect("directories");
        fs::write(at("b/c/deep"), [0; 10]).expect("a file");
        fs::write(at("a"), [0; 5]).expect("a file");
        fs::write(at("z\\y"), [0; 5]).expect("a file");
        fs::write(dir.path().join(OsString::from_vec(b"\xff".into())), [0; 5]).expect("a file");
        symlink("/", at("loop")).expect("a link");
        let scan = scan(dir.path(), 1 << 20).expect("a scan");
        let mut out = String::new();
        let paths: Vec<_> =
            scan.table.files().map(|(id, _)| scan.table.path(id, &mut out).to_owned()).collect();
        assert_eq!(paths, ["/a", "/b/c/deep"]);
        assert_eq!((scan.bytes, scan.more), (15, false));
        assert_eq!((scan.skipped.names, scan.skipped.special, scan.skipped.unreadable), (2, 1, 0));
    }

    #[test]
    fn the_scan_stops_at_the_bytes_asked_for() {
        let dir = tempfile::tempdir().expect("a directory");
        for index in 0..5 {
            fs::write(dir.path().join(index.to_string()), [0; 100]).expect("a file");
        }
        let scan = scan(dir.path(), 250).expect("a scan");
        let lengths: Vec<_> = scan.table.files().map(|(_, file)| file.len_bytes()).collect();
        assert_eq!((lengths, scan.bytes, scan.more), (vec![100, 100, 50], 250, true));
    }

    #[test]
    fn proc_is_no_source() {
        assert!(scan(Path::new("/proc"), 1 << 20).is_err());
    }
}
