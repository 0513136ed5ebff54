//! What is to be true of any files whatever in a store's directory.

use crate::{
    Sample, open,
    sample::{get, home},
};
use memfs::{Error, FileKind, MemFs};
use std::{collections::BTreeMap, fs, path::Path};

/// A directory: names and contents.
pub type Files = Vec<(String, Vec<u8>)>;

/// Longer files are read in part.
const MOST_READ_BYTES: u64 = 1 << 20;

type Found = BTreeMap<String, Option<Vec<u8>>>;

/// Opens, reads and checks what these files are; saves it, and goes on with it, where that is asked for. `known` are the
/// contents that may be found.
pub fn examine(files: &Files, known: Option<&Sample>, is_saved: bool, is_used: bool) {
    let (dir, saved) = (home().join("store"), home().join("saved"));
    put(&dir, files);
    let report = match memfs::fsck(&dir) {
        Ok(report) => Some(report),
        Err(Error::NotFound { .. }) => None,
        Err(error) => panic!("a check that fails: {error}"),
    };
    assert!(get(&dir) == *files, "a check changed the store");
    let is_sound = report.as_ref().is_some_and(|report| report.is_sound());
    if is_saved && let Some(report) = &report {
        save(&dir, &saved, report.files);
        assert!(get(&dir) == *files, "saving changed the store");
    }
    let store = match open(&dir) {
        Ok(store) => store,
        Err(error) => {
            assert!(!is_sound, "found sound, but does not open: {error}");
            return;
        }
    };
    let found = read(&store);
    if is_sound {
        let unreadable: Vec<_> = found.iter().filter(|(_, contents)| contents.is_none()).collect();
        assert!(unreadable.is_empty(), "found sound, but cannot be read: {unreadable:?}");
    }
    if let Some(known) = known {
        compare(&found, known, files);
    }
    if is_used {
        go_on(&dir, store, found);
    }
}

fn put(dir: &Path, files: &Files) {
    let _ = fs::create_dir(dir);
    for entry in fs::read_dir(dir).expect("made above") {
        fs::remove_file(entry.expect("readable").path()).expect("ours");
    }
    for (name, contents) in files {
        fs::write(dir.join(name), contents).expect("room");
    }
}

/// What is saved is a sound store of as many files.
fn save(dir: &Path, saved: &Path, count: u64) {
    let _ = fs::remove_dir_all(saved);
    match memfs::salvage(dir, saved) {
        Ok(_) => {
            let report = memfs::fsck(saved).expect("a store");
            assert!(report.is_sound() && report.files == count, "{count} files were to be saved: {report:?}");
        }
        // Of a file that is longer than a store's can be, say.
        Err(error) => drop(error.to_string()),
    }
}

/// What a store shows; `None` for what cannot be read.
fn read(store: &MemFs) -> Found {
    let files = store.walk("/").expect("a root").filter(|entry| entry.kind() == FileKind::File);
    files.map(|entry| (entry.path().to_owned(), contents(store, entry.path()))).collect()
}

fn contents(store: &MemFs, path: &str) -> Option<Vec<u8>> {
    let len = store.metadata(path).expect("it is listed").len();
    if len <= MOST_READ_BYTES {
        return store.read(path).map_err(|error| error.to_string()).ok();
    }
    let mut ends = vec![0; 2 << 10];
    let (first, last) = ends.split_at_mut(1 << 10);
    store.read_at(path, first, 0).ok()?;
    store.read_at(path, last, len - (1 << 10)).ok()?;
    Some(ends)
}

fn compare(found: &Found, known: &Sample, files: &Files) {
    for (path, contents) in found.iter().filter_map(|(path, contents)| Some((path, contents.as_ref()?))) {
        let is_known = known.versions.get(path).is_some_and(|versions| versions.contains(contents));
        assert!(is_known || forged(files, &known.files), "{path} reads wrong");
    }
}

/// Whether something in the harmed files has checksums that are right, and was not in this place before: what compares checksums
/// leads a fuzzer to making them, and nothing is promised of that.
fn forged(harmed: &Files, good: &Files) -> bool {
    harmed.iter().any(|(name, contents)| {
        let before = good.iter().find(|(other, _)| other == name).map_or(&[][..], |(_, contents)| contents);
        let step = if name.ends_with(".seg") { 256 } else { 512 };
        (0..contents.len()).step_by(step).any(|at| {
            verifies(&contents[at..], at as u64)
                .is_some_and(|len| before.get(at..at + len) != Some(&contents[at..at + len]))
        })
    })
}

/// How long what stands here is, if it has the checksum that it says, of itself or of a part of it.
fn verifies(bytes: &[u8], at: u64) -> Option<usize> {
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let crc = |parts: &[&[u8]]| parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
    match bytes.get(..4)? {
        b"MFSj" | b"MFSc" => (crc(&[bytes.get(..508)?]) == u32_at(508)?).then_some(512),
        b"MFSf" if bytes.get(..8)? == b"MFSfront" => {
            (crc(&[bytes.get(..508)?]) == u32_at(508)?).then_some(512)
        }
        b"MFSf" => {
            let len = bytes.get(64..64 + u32_at(40)? as usize)?.len();
            let is_header = crc(&[&bytes[..60], &at.to_le_bytes()]) == u32_at(60)?;
            (is_header || crc(&[&bytes[64..64 + len]]) == u32_at(56)?).then_some(64 + len)
        }
        b"\x01syn" => (crc(&[bytes.get(..44)?, &at.to_le_bytes()]) == u32_at(44)?).then_some(48),
        b"MFSs" => (crc(&[bytes.get(..60)?]) == u32_at(60)?).then_some(64),
        b"MFSx" => {
            let body = bytes.get(32..32 + u32_at(4)? as usize)?;
            (crc(&[&bytes[..28], body]) == u32_at(28)?).then_some(32 + body.len())
        }
        // A block's checksum needs the header's numbers; any that is not as it was may be one.
        b"MFSb" => Some(32),
        _ => None,
    }
}

/// What opened can be written, and opens again with all that it showed.
fn go_on(dir: &Path, store: MemFs, found: Found) {
    let written = store.write("/written", b"since").and_then(|()| store.sync());
    if store.close().is_err() || written.is_err() {
        return;
    }
    let store = open(dir).unwrap_or_else(|error| panic!("what opened does not open again: {error}"));
    let mut again = read(&store);
    assert_eq!(again.remove("/written").flatten().as_deref(), Some(&b"since"[..]));
    let mut found = found;
    found.remove("/written");
    assert!(again == found, "what opened shows something else the second time");
    store.validate();
    store.close().expect("a disk that works");
}
