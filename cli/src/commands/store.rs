//! The store that a command works on: found or made, opened, closed again.

use crate::{failures::Failures, size, trouble::Trouble};
use memfs::{Durability, MemFs, StorageMode};
use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

/// The store, and how to open it.
#[derive(clap::Args)]
pub(crate) struct Store {
    /// The store's directory
    #[arg(value_name = "STORE")]
    store: PathBuf,
    #[command(flatten)]
    limit: Limit,
}

/// Memory for a store.
#[derive(clap::Args)]
pub(crate) struct Limit {
    /// Most memory to use [default: 0.8 of what this process may use]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    memory_limit: Option<u64>,
}

/// What a directory holds.
enum Holds {
    Store,
    /// Nothing, or no such directory: a place for a store.
    Nothing,
    Other,
}

impl Store {
    pub(crate) fn dir(&self) -> &Path {
        &self.store
    }

    /// Runs `work` on the store, which must be there, and closes it; good if nothing failed.
    pub(crate) fn open(
        &self,
        work: impl FnOnce(&MemFs, &mut Failures) -> Result<(), Trouble>,
    ) -> Result<bool, Trouble> {
        match look(&self.store)? {
            Holds::Store => self.limit.open(Some(&self.store), work),
            Holds::Nothing | Holds::Other => {
                Err(Trouble(format!("{}: there is no store", self.store.display())))
            }
        }
    }

    /// The same, but makes the store if there is none.
    pub(crate) fn open_or_make(
        &self,
        work: impl FnOnce(&MemFs, &mut Failures) -> Result<(), Trouble>,
    ) -> Result<bool, Trouble> {
        check_place(&self.store)?;
        self.limit.open(Some(&self.store), work)
    }
}

/// Refuses a directory with other people's files: that is no place for a store.
pub(crate) fn check_place(dir: &Path) -> Result<(), Trouble> {
    match look(dir)? {
        Holds::Store | Holds::Nothing => Ok(()),
        Holds::Other => {
            let dir = dir.display();
            Err(Trouble(format!("{dir}: expected a store or an empty directory, found other files")))
        }
    }
}

/// The library opens what is there and makes what is not, so whoever only looks has to ask before.
fn look(dir: &Path) -> Result<Holds, Trouble> {
    let at = |error: io::Error| Trouble(format!("{}: {error}", dir.display()));
    let names = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holds::Nothing),
        names => names.map_err(at)?,
    };
    let mut holds = Holds::Nothing;
    for name in names {
        match kind(&name.map_err(at)?.file_name()) {
            Holds::Store => return Ok(Holds::Store),
            Holds::Other => holds = Holds::Other,
            Holds::Nothing => {}
        }
    }
    Ok(holds)
}

/// What a file of this name tells of its directory.
fn kind(name: &OsStr) -> Holds {
    let name = name.to_string_lossy();
    let is_number =
        |digits: &str| digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let is_history = |name: &str| {
        ["checkpoint-", "journal-"].iter().any(|kind| name.strip_prefix(kind).is_some_and(is_number))
    };
    match &*name {
        // What the making of a store begins with, and what every new file system has.
        "lock" | "lost+found" => Holds::Nothing,
        name if is_history(name) => Holds::Store,
        name if name.strip_suffix(".tmp").is_some_and(is_history) => Holds::Nothing,
        _ => Holds::Other,
    }
}

impl Limit {
    /// Runs `work` on the store in `dir`, or on one that leaves nothing behind, and closes it; good if nothing failed.
    pub(crate) fn open(
        &self,
        dir: Option<&Path>,
        work: impl FnOnce(&MemFs, &mut Failures) -> Result<(), Trouble>,
    ) -> Result<bool, Trouble> {
        let mut builder = MemFs::builder();
        if let Some(dir) = dir {
            // A command is done when the store is closed; until then nobody has been promised anything.
            builder = builder.mode(StorageMode::Persist).storage_path(dir).durability(Durability::OnClose);
        }
        if let Some(bytes) = self.memory_limit {
            builder = builder.memory_limit_bytes(bytes);
        }
        let fs = builder.build()?;
        let mut failures = Failures::default();
        let done = work(&fs, &mut failures);
        if let Err(error) = fs.close() {
            failures.add(dir.unwrap_or(Path::new("")).display(), format_args!("closing the store: {error}"));
        }
        done.map(|()| failures.count() == 0)
    }
}

/// Makes all changes durable, or says why that failed.
pub(crate) fn sync(fs: &MemFs, failures: &mut Failures) {
    if let Err(error) = fs.sync() {
        failures.add("", format_args!("making the changes durable: {error}"));
    }
}

/// Refuses a directory that is the store's own or lies in it.
pub(crate) fn refuse_inside(dir: &Path, store: &Path) -> Result<(), Trouble> {
    let Ok(store) = store.canonicalize() else { return Ok(()) };
    // Of a path that is still to be made, the part that is there decides.
    let there = dir.ancestors().find_map(|part| {
        let part = if part.as_os_str().is_empty() { Path::new(".") } else { part };
        part.canonicalize().ok()
    });
    match there {
        Some(there) if there.starts_with(&store) => {
            Err(Trouble(format!("{}: lies in the store's own directory", dir.display())))
        }
        _ => Ok(()),
    }
}
