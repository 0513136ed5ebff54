//! Checking a store that nobody has open, and saving what can be saved of a damaged one.

use super::MemFs;
use crate::{
    config::{Builder, MIN_LIMIT_BYTES, Priority, StorageMode},
    error::{Error, Result},
    journal::{self, Harm, Kind, NodeView},
    segment::{DirLock, Disk, ExtentRef, RealDisk, SegmentConfig, Segments, StorageKind},
    tier::OWNER,
};
use serde::Serialize;
use std::{path::Path, sync::Arc};

/// Something in a store's directory that is not as it was written.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Its name in the store's directory.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// The virtual path concerned, as far as that is known.
    pub path: Option<String>,
    /// What is wrong.
    pub what: String,
    /// Whether anything was lost by it; what a crash leaves behind (a torn tail, say) is no damage.
    pub is_damage: bool,
}

/// What [`fsck`] found.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FsckReport {
    /// In the order in which they were found: names, then contents.
    pub findings: Vec<Finding>,
    /// Directories that verify and can be reached, the root not counted.
    pub directories: u64,
    /// Files that verify, names and contents.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files with names that verify and contents that do not.
    pub damaged_files: u64,
}

impl FsckReport {
    /// Whether nothing was lost: the store opens, and every file of it can be read.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| !finding.is_damage)
    }
}

/// Checks the store in `dir`, which nobody may have open, and changes nothing in it: every record of names, every byte of
/// contents. Takes memory by the number of files, and a chunk of contents.
///
/// # Errors
/// [`Error::NotFound`] if there is no store, [`Error::Locked`] or [`Error::InstanceConflict`] if somebody has it open,
/// [`Error::Io`]. Damage is no error: it is what the report is for.
///
/// ```
/// let home = tempfile::tempdir()?;
/// let dir = home.path().join("store");
/// memfs::MemFs::persistent(&dir)?.write("/a", "text")?;
/// let report = memfs::fsck(&dir)?;
/// assert!(report.is_sound() && report.files == 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn fsck(dir: impl AsRef<Path>) -> Result<FsckReport> {
    let found = Found::look(dir.as_ref())?;
    check(&found, &mut |_, _| Ok(()), &mut |_, _, _| Ok(()))
}

/// Checks the store in `dir` as [`fsck`] does, and writes all that verifies into a new store in `into`: directories, and files of
/// which every byte could be read, with their priorities. Times are those of the salvage.
///
/// # Errors
/// As [`fsck`]; [`Error::AlreadyExists`] if there is something in `into`; those of writing to the new store.
pub fn salvage(dir: impl AsRef<Path>, into: impl AsRef<Path>) -> Result<FsckReport> {
    let into = into.as_ref();
    if into.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::AlreadyExists { path: into.display().to_string() });
    }
    // What is not there, or somebody else's, is said before anything is made.
    let found = Found::look(dir.as_ref())?;
    let fs = Builder::default().mode(StorageMode::Persist).storage_path(into);
    let fs = fs.segment_size(segment_bytes_in(dir.as_ref())).build()?;
    let report = check(&found, &mut |path, _| fs.create_dir_all(path), &mut |path, node, contents| {
        write_file(&fs, path, node, contents)
    })?;
    fs.close()?;
    Ok(report)
}

/// About as long as the segments of the store in `dir`: one of a few files is not saved into one of 256 MiB.
fn segment_bytes_in(dir: &Path) -> u64 {
    let files = dir.read_dir().into_iter().flatten().flatten();
    let segments = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "seg"));
    let longest = segments.filter_map(|file| Some(file.metadata().ok()?.len())).max();
    longest.unwrap_or(0).clamp(1 << 20, 256 << 20)
}

fn write_file(fs: &MemFs, path: &str, node: &NodeView<'_>, contents: &Contents<'_>) -> Result<()> {
    fs.write(path, [])?;
    fs.set_priority(path, Priority::from_level(node.priority))?;
    contents.read(node, |offset, bytes| fs.write_at(path, bytes, offset).map(drop))?;
    if fs.metadata(path)?.len() == node.len { Ok(()) } else { fs.set_len(path, node.len) }
}

fn no_store(dir: &Path) -> Error {
    Error::NotFound { path: dir.display().to_string() }
}

/// A store's names, as far as they verify; nobody else opens it meanwhile.
struct Found<'d> {
    dir: &'d Path,
    disk: Arc<dyn Disk>,
    names: journal::Fsck,
    _lock: DirLock,
}

impl<'d> Found<'d> {
    fn look(dir: &'d Path) -> Result<Self> {
        if !dir.is_dir() {
            return Err(no_store(dir));
        }
        let lock = DirLock::acquire_to_look(dir)?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let names = journal::fsck(&*disk, dir)?.ok_or_else(|| no_store(dir))?;
        Ok(Self { dir, disk, names, _lock: lock })
    }
}

/// Is told of a directory that verifies.
type OnDirectory<'v> = dyn FnMut(&str, &NodeView<'_>) -> Result<()> + 'v;
/// Is told of a file that verifies, and where its contents can be read.
type OnFile<'v> = dyn FnMut(&str, &NodeView<'_>, &Contents<'_>) -> Result<()> + 'v;

/// Visits what verifies: directories, parents first, then files.
fn check(found: &Found<'_>, directory: &mut OnDirectory<'_>, file: &mut OnFile<'_>) -> Result<FsckReport> {
    let names = &found.names;
    let findings = names.findings.iter().map(|finding| Finding {
        file: finding.file.clone(),
        offset: finding.offset,
        path: finding.path.clone(),
        what: finding.what.clone(),
        is_damage: finding.harm == Harm::Damage,
    });
    let mut report =
        FsckReport { findings: findings.collect(), directories: 0, files: 0, bytes: 0, damaged_files: 0 };
    let Some(params) = names.params else { return Ok(report) };
    let contents = Contents::open(found.dir, found.disk.clone(), &params, &names.contents);
    if let Err(error) = &contents {
        report.add("segments", 0, None, error.to_string());
    }
    for node in names.nodes() {
        let path = names.path(node.id);
        if node.kind == Kind::Directory {
            if path != "/" {
                report.directories += 1;
                directory(&path, &node)?;
            }
            continue;
        }
        let Ok(contents) = &contents else {
            report.damaged_files += 1;
            continue;
        };
        match contents.verify(&node) {
            Ok(()) => {
                report.files += 1;
                report.bytes += node.len;
                file(&path, &node, contents)?;
            }
            Err(error) => {
                report.damaged_files += 1;
                let (file, offset) = match &error {
                    Error::Corrupt { segment, offset, .. } if *segment != Error::NO_SEGMENT => {
                        (format!("{segment:06}.seg"), *offset)
                    }
                    _ => ("segments".to_owned(), 0),
                };
                report.add(&file, offset, Some(path), error.to_string());
            }
        }
    }
    Ok(report)
}

impl FsckReport {
    fn add(&mut self, file: &str, offset: u64, path: Option<String>, what: String) {
        self.findings.push(Finding { file: file.to_owned(), offset, path, what, is_damage: true });
    }
}

/// The segments of a store, to be read and not changed.
struct Contents<'j> {
    segments: Segments,
    chunk_bytes: u64,
    /// What the journal's front has of them.
    front: &'j journal::Contents,
}

impl<'j> Contents<'j> {
    fn open(
        dir: &Path,
        disk: Arc<dyn Disk>,
        params: &journal::StoreParams,
        front: &'j journal::Contents,
    ) -> Result<Self> {
        let config = SegmentConfig {
            dir: dir.to_owned(),
            kind: StorageKind::Persist { params: Some(params.opaque) },
            segment_bytes: MIN_LIMIT_BYTES,
            chunk_bytes: params.chunk_bytes as usize,
            storage_limit_bytes: None,
        };
        Ok(Self { segments: Segments::open(config, disk)?, chunk_bytes: params.chunk_bytes, front })
    }

    /// Takes a file's chunks into account, once, and reads them all.
    fn verify(&self, node: &NodeView<'_>) -> Result<()> {
        for (_, bits) in node.chunks {
            self.segments.adopt(extent_of(*bits)?)?;
        }
        self.read(node, |_, _| Ok(()))
    }

    /// Visits the chunks of a file that was verified, each with where it begins; holes left out.
    fn read(&self, node: &NodeView<'_>, mut visit: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let mut bytes = Vec::new();
        for (chunk, bits) in node.chunks {
            if let Some(bytes) = self.front.get(bits) {
                visit(chunk * self.chunk_bytes, bytes)?;
                continue;
            }
            let hold = self.segments.hold(extent_of(*bits)?);
            let hold = hold.ok_or_else(|| no_place("a segment that is not there".to_owned()))?;
            bytes.resize(hold.len(), 0);
            hold.read(OWNER, &mut bytes).map_err(|error| self.segments.report(error))?;
            visit(chunk * self.chunk_bytes, &bytes)?;
        }
        Ok(())
    }
}

fn extent_of(bits: u64) -> Result<ExtentRef> {
    ExtentRef::try_from_bits(bits).ok_or_else(|| no_place(format!("{bits:#x}")))
}

fn no_place(found: String) -> Error {
    Error::Corrupt {
        path: String::new(),
        segment: Error::NO_SEGMENT,
        offset: 0,
        expected: "a place in a segment".to_owned(),
        found,
    }
}
