//! A store is checked and saved from outside.

use super::*;
use memfs::Error;
use std::os::unix::fs::FileExt;

#[test]
fn a_sound_store_is_found_sound_and_one_that_is_open_or_absent_is_refused() {
    let home = tempfile::tempdir().unwrap();
    assert!(matches!(memfs::fsck(home.path()), Err(Error::NotFound { .. })));
    assert!(matches!(memfs::fsck(home.path().join("nowhere")), Err(Error::NotFound { .. })));
    let fs = open(home.path());
    fs.write("/a/b", bytes(1, 200_000)).unwrap();
    fs.write("/empty", b"").unwrap();
    assert!(matches!(memfs::fsck(home.path()), Err(Error::Locked { .. })));
    fs.close().unwrap();
    let report = memfs::fsck(home.path()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.files, report.directories, report.bytes, report.damaged_files), (2, 1, 200_000, 0));
    assert!(open(home.path()).read("/a/b").unwrap() == bytes(1, 200_000), "nothing was changed");
}

#[test]
fn one_damaged_file_is_named_and_the_rest_is_saved() {
    let home = tempfile::tempdir().unwrap();
    let fs = builder(home.path()).chunk_size(4096).build().unwrap();
    let marked = [b"a place to find again".as_slice(), &bytes(2, 3000)].concat();
    fs.write("/d/bad", &marked).unwrap();
    fs.write("/d/good", bytes(3, 50_000)).unwrap();
    fs.write("/sparse", b"x").unwrap();
    fs.set_len("/sparse", 1_000_000).unwrap();
    fs.set_priority("/d/good", memfs::Priority::HIGH).unwrap();
    fs.close().unwrap();
    flip(home.path(), b"a place to find again");
    let into = tempfile::tempdir().unwrap();
    let report = memfs::salvage(home.path(), into.path()).unwrap();
    assert!(!report.is_sound());
    assert_eq!((report.files, report.damaged_files), (2, 1));
    assert!(report.findings.iter().any(|finding| finding.path.as_deref() == Some("/d/bad")), "{report:?}");
    let saved = open(into.path());
    assert!(saved.read("/d/good").unwrap() == bytes(3, 50_000));
    assert_eq!(saved.priority("/d/good").unwrap(), memfs::Priority::HIGH);
    assert!(saved.read("/sparse").unwrap()[1..].iter().all(|byte| *byte == 0));
    assert_eq!(saved.metadata("/sparse").unwrap().len(), 1_000_000);
    assert!(!saved.exists("/d/bad"));
    assert!(matches!(memfs::salvage(home.path(), into.path()), Err(Error::AlreadyExists { .. })));
}

/// Changes a byte of the one place in the segments that says this.
fn flip(dir: &Path, text: &[u8]) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let contents = std::fs::read(&path).unwrap();
            if let Some(at) = contents.windows(text.len()).position(|window| window == text) {
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                file.write_all_at(&[contents[at] ^ 1], at as u64).unwrap();
                return;
            }
        }
    }
    panic!("the text is in no segment");
}

/// A power cut takes what was not synced: here, of the segments, everything since the first commit.
#[test]
fn bytes_that_only_the_journal_s_front_has_are_checked_saved_and_put_back() {
    let home = tempfile::tempdir().unwrap();
    let [store, cut, saved] = ["store", "cut", "saved"].map(|name| home.path().join(name));
    let fs = builder(&store).durability(memfs::Durability::Sync).build().unwrap();
    fs.write("/first", bytes(1, 3000)).unwrap();
    let segment = std::fs::read(store.join("000000.seg")).unwrap();
    for file in 2..9 {
        fs.write(format!("/file{file}"), bytes(file, 5000)).unwrap();
    }
    fs.write("/file8", bytes(80, 5000)).unwrap();
    fs.remove_file("/file7").unwrap();
    std::fs::create_dir(&cut).unwrap();
    for file in std::fs::read_dir(&store).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), cut.join(file.file_name())).unwrap();
    }
    drop(fs);
    std::fs::write(cut.join("000000.seg"), segment).unwrap();
    let check = |fs: &MemFs| {
        for (file, seed) in [(2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (8, 80)] {
            assert!(fs.read(format!("/file{file}")).unwrap() == bytes(seed, 5000), "file {file}");
        }
        assert!(fs.read("/first").unwrap() == bytes(1, 3000) && !fs.exists("/file7"));
    };
    let report = memfs::fsck(&cut).unwrap();
    assert!(report.is_sound() && report.files == 7, "{report:#?}");
    assert!(memfs::salvage(&cut, &saved).unwrap().is_sound());
    check(&open(&saved));
    let fs = open(&cut);
    check(&fs);
    fs.close().unwrap();
    let left = std::fs::read_dir(&cut).unwrap().map(|file| file.unwrap().file_name());
    assert!(
        left.into_iter().all(|name| !name.to_string_lossy().starts_with("front")),
        "it is in the journal"
    );
    assert!(memfs::fsck(&cut).unwrap().is_sound());
    check(&open(&cut));
}

/// Names and contents of what is in a directory.
fn listing(dir: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let mut all: Vec<_> =
        entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect();
    all.sort();
    all
}

#[test]
fn a_check_leaves_no_trace_wherever_it_looks() {
    let home = tempfile::tempdir().unwrap();
    let (empty, foreign, store) =
        (home.path().join("empty"), home.path().join("foreign"), home.path().join("store"));
    std::fs::create_dir(&empty).unwrap();
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("letter"), "dear").unwrap();
    let fs = open(&store);
    fs.write("/f", bytes(1, 10_000)).unwrap();
    fs.sync().unwrap();
    let live = listing(&store);
    assert!(matches!(memfs::fsck(&store), Err(Error::Locked { pid, .. }) if pid == std::process::id()));
    assert!(matches!(memfs::salvage(&store, &empty), Err(Error::Locked { .. })));
    assert!(listing(&store) == live, "a store that somebody has open");
    fs.close().unwrap();
    let closed = listing(&store);
    assert!(memfs::fsck(&store).unwrap().is_sound());
    assert!(listing(&store) == closed, "a closed store");
    for dir in [&empty, &foreign] {
        let before = listing(dir);
        assert!(matches!(memfs::fsck(dir), Err(Error::NotFound { .. })));
        let into = home.path().join("saved");
        assert!(matches!(memfs::salvage(dir, &into), Err(Error::NotFound { .. })));
        assert!(!into.exists());
        assert!(listing(dir) == before, "{}", dir.display());
    }
    let temp = MemFs::builder().memory_limit_bytes(1 << 20).storage_path(&foreign).build().unwrap();
    let before = listing(&foreign);
    assert!(matches!(memfs::fsck(&foreign), Err(Error::InstanceConflict { .. })));
    assert!(listing(&foreign) == before, "a temporary store's");
    temp.close().unwrap();
}

#[test]
fn opening_and_closing_changes_nothing_but_whose_it_is() {
    let home = tempfile::tempdir().unwrap();
    let fs = open(home.path());
    fs.write("/f", bytes(1, 100_000)).unwrap();
    fs.close().unwrap();
    let rest = || listing(home.path()).into_iter().filter(|(name, _)| name != "lock").collect::<Vec<_>>();
    let before = rest();
    let fs = open(home.path());
    assert!(fs.read("/f").unwrap() == bytes(1, 100_000));
    fs.close().unwrap();
    assert!(rest() == before);
}
