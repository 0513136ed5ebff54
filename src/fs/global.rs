//! One default instance for a process, made on first use, and functions over it.

use super::{File, MemFs, Preload, ReadDir};
use crate::{
    config::{Builder, Priority},
    error::{Error, Result},
    stats::Stats,
    tier::{GcReport, Metadata},
};
use std::{
    path::PathBuf,
    sync::{Mutex, OnceLock},
};

static DEFAULT: OnceLock<MemFs> = OnceLock::new();
/// Held while the default instance is made, so that it is made once.
static MAKING: Mutex<()> = Mutex::new(());

/// Makes the default instance as the builder says.
///
/// # Errors
/// As [`Builder::build`]; [`Error::InstanceConflict`] if there is a default instance already.
///
/// ```
/// memfs::init(memfs::MemFs::builder().memory_limit_bytes(8 << 20))?;
/// memfs::write("/a", "text")?;
/// assert_eq!(memfs::read("/a")?, b"text");
/// # Ok::<(), memfs::Error>(())
/// ```
pub fn init(builder: Builder) -> Result<MemFs> {
    let _making = MAKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if DEFAULT.get().is_some() {
        return Err(Error::InstanceConflict {
            path: PathBuf::from("the default instance"),
            expected: "none yet",
            found: "one made earlier",
        });
    }
    make(builder)
}

/// The default instance; made with all defaults on first use.
///
/// # Errors
/// As [`MemFs::new`].
pub fn global() -> Result<MemFs> {
    if let Some(fs) = DEFAULT.get() {
        return Ok(fs.clone());
    }
    let _making = MAKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    match DEFAULT.get() {
        Some(fs) => Ok(fs.clone()),
        None => make(MemFs::builder()),
    }
}

fn make(builder: Builder) -> Result<MemFs> {
    let fs = builder.build()?;
    Ok(DEFAULT.get_or_init(|| fs).clone())
}

macro_rules! over_the_default {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        #[doc = concat!("[`MemFs::", stringify!($name), "`] of the default instance.")]
        ///
        /// # Errors
        /// As the method; as [`global`], on first use.
        pub fn $name($($argument: $type),*) -> Result<$result> {
            global()?.$name($($argument),*)
        }
    )*};
}

over_the_default! {
    write(path: impl AsRef<str>, contents: impl AsRef<[u8]>) -> ();
    read(path: impl AsRef<str>) -> Vec<u8>;
    remove_file(path: impl AsRef<str>) -> ();
    create_dir_all(path: impl AsRef<str>) -> ();
    read_dir(path: impl AsRef<str>) -> ReadDir;
    glob(pattern: impl AsRef<str>) -> Vec<String>;
    open(path: impl AsRef<str>) -> File;
    create(path: impl AsRef<str>) -> File;
    set_priority(path: impl AsRef<str>, to: Priority) -> ();
    priority(path: impl AsRef<str>) -> Priority;
    preload(path: impl AsRef<str>) -> Preload;
    gc(target_usage: f64) -> GcReport;
    metadata(path: impl AsRef<str>) -> Metadata;
}

/// [`MemFs::exists`] of the default instance; false if it cannot be made.
pub fn exists(path: impl AsRef<str>) -> bool {
    global().is_ok_and(|fs| fs.exists(path))
}

/// [`MemFs::stats`] of the default instance; zeros if it cannot be made.
pub fn stats() -> Stats {
    global().map(|fs| fs.stats()).unwrap_or_default()
}
