//! What was in a store when it was closed is in it when it is opened again.

use super::*;
use memfs::{Error, Priority};

#[test]
fn names_contents_priorities_and_times_survive() {
    let home = tempfile::tempdir().unwrap();
    let fs = open(home.path());
    fs.write("/a/b/small", b"hello").unwrap();
    fs.write("/a/empty", b"").unwrap();
    fs.write("/long", bytes(1, 3 << 20)).unwrap();
    fs.set_priority("/a/b/small", Priority::HIGH).unwrap();
    fs.create_dir_all("/dirs/of/nothing").unwrap();
    fs.write("/gone", b"x").unwrap();
    fs.remove_file("/gone").unwrap();
    fs.rename("/a", "/moved").unwrap();
    fs.write_at("/long", &bytes(2, 1000), 1_000_000).unwrap();
    fs.append("/moved/b/small", b" world").unwrap();
    let before = fs.metadata("/moved/b/small").unwrap();
    fs.close().unwrap();
    assert!(matches!(fs.read("/long"), Err(Error::Closed)));

    let fs = open(home.path());
    assert_eq!(fs.read("/moved/b/small").unwrap(), b"hello world");
    assert_eq!(fs.read("/moved/empty").unwrap(), b"");
    let mut long = bytes(1, 3 << 20);
    long[1_000_000..1_001_000].copy_from_slice(&bytes(2, 1000));
    assert!(fs.read("/long").unwrap() == long);
    assert!(!fs.exists("/gone") && !fs.exists("/a"));
    assert!(fs.exists("/dirs/of/nothing"));
    let after = fs.metadata("/moved/b/small").unwrap();
    assert_eq!(after.priority(), Priority::HIGH);
    assert_eq!((after.created(), after.modified()), (before.created(), before.modified()));
    fs.validate();
    fs.close().unwrap();
}

#[test]
fn more_than_fits_in_memory_survives_many_sessions() {
    let home = tempfile::tempdir().unwrap();
    let len = |file: u64| 1 + (file as usize * 7919) % 60_000;
    for round in 0..4 {
        let fs = open(home.path());
        for file in 0..400 {
            let path = format!("/d{}/f{file}", file % 7);
            if round > 0 {
                let seed = file + 1000 * last_write(file, round - 1);
                assert!(fs.read(&path).unwrap() == bytes(seed, len(file)), "{path} in round {round}");
            }
            if last_write(file, round) == round {
                fs.write(&path, bytes(file + 1000 * round, len(file))).unwrap();
            }
        }
        if round % 2 == 0 {
            fs.sync().unwrap();
        }
        fs.validate();
        drop(fs);
    }
}

/// The last round up to `round` in which a file was written.
fn last_write(file: u64, round: u64) -> u64 {
    (0..=round).rev().find(|round| *round == 0 || (file + round).is_multiple_of(3)).unwrap()
}

#[test]
fn the_same_directory_is_the_same_store() {
    let home = tempfile::tempdir().unwrap();
    let one = open(home.path());
    let two = open(&home.path().join("."));
    one.write("/f", b"shared").unwrap();
    assert_eq!(two.read("/f").unwrap(), b"shared");
    one.close().unwrap();
    assert!(matches!(one.read("/f"), Err(Error::Closed)));
    assert_eq!(two.read("/f").unwrap(), b"shared");
    two.close().unwrap();
    assert_eq!(open(home.path()).read("/f").unwrap(), b"shared");
}

#[test]
fn a_store_keeps_its_chunk_size() {
    let home = tempfile::tempdir().unwrap();
    builder(home.path()).chunk_size(8192).build().unwrap().write("/f", bytes(3, 50_000)).unwrap();
    let refused = builder(home.path()).chunk_size(4096).build();
    assert!(matches!(refused, Err(Error::InvalidArgument { argument: "chunk_size", .. })), "{refused:?}");
    assert!(open(home.path()).read("/f").unwrap() == bytes(3, 50_000));
}
