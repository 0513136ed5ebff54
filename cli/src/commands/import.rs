//! `memfs import`: a directory into a store.

use super::{
    pieces::{Failed, Pieces, is_fatal},
    source::{self, Found, Inode, Source},
    store::{self, Store, refuse_inside},
};
use crate::{
    failures::Failures,
    output::Output,
    progress::{Unit, with_bar},
    size::{count, show},
    trouble::Trouble,
};
use indicatif::ProgressBar;
use memfs::MemFs;
use serde_json::json;
use std::{
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    time::Instant,
};

/// Copy all that is in a directory to the top of a store
///
/// Makes the store if it is not there. A file of the same path is replaced and
/// keeps its priority; other files of the store stay. Contents and names are
/// copied: the store knows no owners, modes or links, and its modification times
/// are those of the import. Symbolic links and special files are passed over and
/// counted; what cannot be read or have its name in a store is said, passed over,
/// and makes for exit code 1. A long file goes in by way of /.memfs-part-N, which
/// stays behind if the import is killed.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// What to copy
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    store: Store,
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
    special: u64,
}

pub(crate) fn run(options: &Options, out: &mut Output) -> Result<bool, Trouble> {
    let at = |error: io::Error| Trouble(format!("{}: {error}", options.dir.display()));
    fs::read_dir(&options.dir).map_err(at)?;
    refuse_inside(&options.dir, options.store.dir())?;
    options.store.open_or_make(|fs, failures| {
        let started = Instant::now();
        let store = fs::metadata(options.store.dir()).ok().map(|metadata| Inode::of(&metadata));
        let total = if io::stderr().is_terminal() { total(&options.dir, store) } else { 0 };
        let done = with_bar("import", total, Unit::Bytes, |bar| {
            failures.above(Some(bar));
            let source = Source::new(&options.dir, store).map_err(at)?;
            let done = Import { fs, failures, bar, pieces: Pieces::new(), done: Done::default() }.run(source);
            failures.above(None);
            Ok::<_, Trouble>(done)
        })?;
        store::sync(fs, failures);
        report(&done, options, failures, started.elapsed().as_secs_f64(), out)
    })
}

/// Bytes to come, for the bar.
fn total(dir: &Path, store: Option<Inode>) -> u64 {
    let len = |found| if let Found::File { len_bytes, .. } = found { len_bytes } else { 0 };
    Source::new(dir, store).map_or(0, |source| source.map(len).sum())
}

struct Import<'a> {
    fs: &'a MemFs,
    failures: &'a mut Failures,
    bar: &'a ProgressBar,
    pieces: Pieces,
    done: Done,
}

impl Import<'_> {
    fn run(mut self, mut source: Source) -> Done {
        while let Some(found) = source.next() {
            let goes_on = match found {
                Found::Special => {
                    self.done.special += 1;
                    true
                }
                Found::Bad { real, reason } => {
                    let real = real.display();
                    self.failures.add(&real, format_args!("{real}: {reason}"));
                    true
                }
                Found::Directory { path } => match self.fs.create_dir_all(&path) {
                    Ok(()) => {
                        self.done.directories += 1;
                        true
                    }
                    Err(error) => {
                        source.leave_out();
                        self.refused(&path, &error)
                    }
                },
                Found::File { real, path, .. } => self.file(&real, &path),
            };
            if !goes_on {
                break;
            }
        }
        self.done
    }

    /// Takes one file in; whether to go on.
    fn file(&mut self, real: &Path, path: &str) -> bool {
        let Self { fs, bar, pieces, .. } = self;
        let taken = source::open(real)
            .map_err(Failed::Source)
            .and_then(|mut file| pieces.take_in(fs, path, None, &mut file, |bytes| bar.inc(bytes)));
        match taken {
            Ok(bytes) => {
                self.done.files += 1;
                self.done.bytes += bytes;
                true
            }
            Err(Failed::Source(error)) => {
                let real = real.display();
                self.failures.add(&real, format_args!("{real}: {error}"));
                true
            }
            Err(Failed::Store(error)) => self.refused(path, &error),
        }
    }

    /// Says what the store refused; whether to go on.
    fn refused(&mut self, path: &str, error: &memfs::Error) -> bool {
        self.failures.add_store(path, error);
        !is_fatal(error)
    }
}

fn report(
    done: &Done,
    options: &Options,
    failures: &Failures,
    seconds: f64,
    out: &mut Output,
) -> Result<(), Trouble> {
    let Done { files, directories, bytes, special } = *done;
    if options.json {
        let report = json!({
            "files": files,
            "directories": directories,
            "bytes": bytes,
            "skipped_special": special,
            "failed": failures.count(),
            "failures": failures.json(),
            "seconds": seconds,
        });
        return out.text(format_args!("{report}\n"));
    }
    let (files, directories, bytes) = (count(files), count(directories), show(bytes));
    out.text(format_args!(
        "imported {files} files in {directories} directories, {bytes}, in {seconds:.1} s\n"
    ))?;
    match special {
        0 => Ok(()),
        special => out.text(format_args!("passed over {} links and special files\n", count(special))),
    }
}
