//! `memfs export`: a store into a directory.

use super::{
    pieces::{Pieces, is_zero},
    source::Inode,
    store::{Store, refuse_inside},
    tree::{Place, Tree},
};
use crate::{
    failures::Failures,
    output::Output,
    progress::{Unit, with_bar},
    size::{count, show},
    trouble::Trouble,
};
use indicatif::ProgressBar;
use memfs::{DirEntry, FileKind, MemFs};
use rustix::io::Errno;
use serde_json::json;
use std::{fs, io, io::IsTerminal, os::unix::fs::FileExt, path::PathBuf, time::Instant};

/// Copy all that is in a store into a directory
///
/// Makes the directory if it is not there, and writes nowhere else: no symbolic
/// link is followed. A file that is there already stays, is said, and makes for
/// exit code 1, unless --force is given; either way each file appears whole, in
/// one instant. Modification times are those of the store.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(flatten)]
    store: Store,
    /// Where to copy to
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was done.
#[derive(Default)]
struct Done {
    files: u64,
    directories: u64,
    bytes: u64,
}

/// Which side failed.
enum Failed {
    Store(memfs::Error),
    Target(io::Error),
}

impl From<memfs::Error> for Failed {
    fn from(error: memfs::Error) -> Self {
        Failed::Store(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Failed::Target(error)
    }
}

pub(crate) fn run(options: &Options, out: &mut Output) -> Result<bool, Trouble> {
    refuse_inside(&options.dir, options.store.dir())?;
    options.store.open(|fs, failures| {
        let started = Instant::now();
        let store = fs::metadata(options.store.dir()).ok().map(|metadata| Inode::of(&metadata));
        let tree = Tree::new(&options.dir, store, options.force)
            .map_err(|error| Trouble(format!("{}: {error}", options.dir.display())))?;
        let total = if io::stderr().is_terminal() { total(fs)? } else { 0 };
        let done = with_bar("export", total, Unit::Bytes, |bar| {
            failures.above(Some(bar));
            let pieces = Pieces::new();
            let done =
                Export { fs, tree: &tree, options, failures, bar, pieces, done: Done::default() }.run();
            failures.above(None);
            done
        });
        report(&done, options, failures, started.elapsed().as_secs_f64(), out)
    })
}

/// Bytes to come, for the bar.
fn total(fs: &MemFs) -> Result<u64, Trouble> {
    let files = fs.walk("/")?.filter(|entry| entry.kind() == FileKind::File);
    Ok(files.map(|file| fs.metadata(file.path()).map_or(0, |metadata| metadata.len())).sum())
}

struct Export<'a> {
    fs: &'a MemFs,
    tree: &'a Tree,
    options: &'a Options,
    failures: &'a mut Failures,
    bar: &'a ProgressBar,
    pieces: Pieces,
    done: Done,
}

impl Export<'_> {
    fn run(mut self) -> Done {
        let mut pending = vec!["/".to_owned()];
        while let Some(dir) = pending.pop() {
            match self.directory(&dir) {
                Ok(below) => pending.extend(below.into_iter().rev()),
                Err(failed) => {
                    self.failed(&dir, &failed);
                    if is_fatal(&failed) {
                        break;
                    }
                }
            }
        }
        self.done
    }

    fn failed(&mut self, path: &str, failed: &Failed) {
        match failed {
            Failed::Store(error) => self.failures.add_store(path, error),
            Failed::Target(error) => {
                let target = self.options.dir.join(path.trim_start_matches('/'));
                self.failures.add(path, format_args!("{}: {error}", target.display()));
            }
        }
    }

    /// Copies the files of one directory; the directories in it are still to be done.
    fn directory(&mut self, dir: &str) -> Result<Vec<String>, Failed> {
        let tree = self.tree;
        let place = tree.place(dir)?;
        self.done.directories += u64::from(dir != "/");
        let mut below = Vec::new();
        for entry in self.fs.read_dir(dir)? {
            if entry.kind() == FileKind::Directory {
                below.push(entry.path().to_owned());
                continue;
            }
            match self.file(&place, &entry) {
                Ok(bytes) => {
                    self.done.files += 1;
                    self.done.bytes += bytes;
                }
                Err(failed) if is_fatal(&failed) => return Err(failed),
                Err(failed) => self.failed(entry.path(), &failed),
            }
        }
        Ok(below)
    }

    fn file(&mut self, place: &Place<'_>, entry: &DirEntry) -> Result<u64, Failed> {
        let modified = self.fs.metadata(entry.path())?.modified();
        let target = place.begin(entry.file_name())?;
        let mut len = 0;
        let bar = self.bar;
        self.pieces.give_out(self.fs, entry.path(), |at, piece| {
            len = at + piece.len() as u64;
            // Zeros become a hole, as they may have been one in the store.
            if !is_zero(piece) {
                target.file.write_all_at(piece, at)?;
            }
            bar.inc(piece.len() as u64);
            Ok::<_, Failed>(true)
        })?;
        target.file.set_len(len)?;
        target.file.set_modified(modified)?;
        target.finish(entry.file_name())?;
        Ok(len)
    }
}

/// Whether there is no point in going on with other files.
fn is_fatal(failed: &Failed) -> bool {
    let Failed::Target(error) = failed else { return false };
    let full = [Errno::NOSPC, Errno::DQUOT, Errno::ROFS].map(|errno| Some(errno.raw_os_error()));
    full.contains(&error.raw_os_error())
}

fn report(
    done: &Done,
    options: &Options,
    failures: &Failures,
    seconds: f64,
    out: &mut Output,
) -> Result<(), Trouble> {
    let Done { files, directories, bytes } = *done;
    if options.json {
        let report = json!({
            "files": files,
            "directories": directories,
            "bytes": bytes,
            "failed": failures.count(),
            "failures": failures.json(),
            "seconds": seconds,
        });
        return out.text(format_args!("{report}\n"));
    }
    let (files, directories, bytes) = (count(files), count(directories), show(bytes));
    out.text(format_args!(
        "exported {files} files in {directories} directories, {bytes}, in {seconds:.1} s\n"
    ))
}
