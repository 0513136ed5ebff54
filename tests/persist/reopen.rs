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
    validate(&fs);
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
        validate(&fs);
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

#[test]
fn a_file_of_many_chunks_survives_with_its_holes() {
    let home = tempfile::tempdir().unwrap();
    let fs = builder(home.path()).chunk_size(4096).build().unwrap();
    // Written whole: a record of 500 chunks.
    fs.write("/whole", bytes(4, 2_000_000)).unwrap();
    fs.write("/sparse", b"head").unwrap();
    fs.write_at("/sparse", b"tail", 1_000_000_000).unwrap();
    fs.set_len("/whole", 1_999_000).unwrap();
    fs.close().unwrap();
    let fs = open(home.path());
    assert!(fs.read("/whole").unwrap() == bytes(4, 2_000_000)[..1_999_000]);
    assert_eq!(fs.metadata("/sparse").unwrap().len(), 1_000_000_004);
    let mut ends = [0; 8];
    assert_eq!(fs.read_at("/sparse", &mut ends[..4], 0).unwrap(), 4);
    assert_eq!(fs.read_at("/sparse", &mut ends[4..], 1_000_000_000).unwrap(), 4);
    assert_eq!(&ends, b"headtail");
    validate(&fs);
}

#[test]
fn an_open_file_that_lost_its_name_ends_with_the_store() {
    let home = tempfile::tempdir().unwrap();
    let fs = open(home.path());
    fs.write("/f", b"named").unwrap();
    let file = fs.open_with("/f", memfs::OpenOptions::new().read(true).write(true)).unwrap();
    fs.remove_file("/f").unwrap();
    file.write_at(b"nameless", 0).unwrap();
    fs.sync().unwrap();
    fs.write("/g", b"takes the number, perhaps").unwrap();
    file.sync_all().unwrap();
    drop(file);
    fs.write("/h", b"or this one").unwrap();
    fs.close().unwrap();
    let fs = open(home.path());
    assert!(!fs.exists("/f"));
    assert_eq!(fs.read("/g").unwrap(), b"takes the number, perhaps");
    assert_eq!(fs.read("/h").unwrap(), b"or this one");
    validate(&fs);
}

#[test]
fn everything_acknowledged_survives_under_sync_without_a_close() {
    let home = tempfile::tempdir().unwrap();
    let fs = builder(home.path()).durability(memfs::Durability::Sync).build().unwrap();
    for n in 0..50_u64 {
        fs.write(format!("/d/{n}"), bytes(n, 1000)).unwrap();
    }
    // The directory as it is now, as a crash of the process would leave it.
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(home.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let later = open(copy.path());
    for n in 0..50_u64 {
        assert!(later.read(format!("/d/{n}")).unwrap() == bytes(n, 1000));
    }
    validate(&later);
}

#[test]
fn an_opening_that_fails_for_want_of_memory_harms_nothing() {
    let home = tempfile::tempdir().unwrap();
    let fs = builder(home.path()).chunk_size(4096).segment_size(64 << 10).build().unwrap();
    for n in 0..3000_u64 {
        fs.write(format!("/d{}/file-with-a-longer-name-{n}", n % 10), bytes(n, 300)).unwrap();
    }
    fs.close().unwrap();
    for _ in 0..2 {
        let small = builder(home.path()).memory_limit_bytes(256 << 10).build();
        assert!(matches!(small, Err(Error::MemoryLimit { .. })), "{small:?}");
    }
    let fs = open(home.path());
    for n in 0..3000_u64 {
        assert!(fs.read(format!("/d{}/file-with-a-longer-name-{n}", n % 10)).unwrap() == bytes(n, 300));
    }
    validate(&fs);
}

#[test]
fn a_store_with_an_endless_period_closes_at_once() {
    let home = tempfile::tempdir().unwrap();
    for workers in [0, 2] {
        for round in 0..20_u64 {
            let period = memfs::Durability::Periodic(std::time::Duration::MAX);
            let fs = builder(home.path()).durability(period).worker_threads(workers).build().unwrap();
            fs.write("/f", bytes(round, 100)).unwrap();
            fs.close().unwrap();
            assert!(open(home.path()).read("/f").unwrap() == bytes(round, 100));
        }
    }
}

/// Large enough for one thread to read ahead of the other.
#[test]
fn many_files_are_found_by_one_thread_and_by_two() {
    let home = tempfile::tempdir().unwrap();
    let builder = |workers| builder(home.path()).memory_limit_bytes(64 << 20).worker_threads(workers);
    let path = |file: u64| format!("/d{:02}/a-name-of-some-length-{file}", file % 50);
    let fs = builder(2).build().unwrap();
    for file in 0..20_000 {
        fs.write(path(file), file.to_le_bytes()).unwrap();
    }
    fs.close().unwrap();
    for workers in [0, 2] {
        let fs = builder(workers).build().unwrap();
        for file in 0..20_000_u64 {
            let here = workers == 0 || !file.is_multiple_of(10);
            assert_eq!(fs.read(path(file)).ok(), here.then(|| file.to_le_bytes().to_vec()), "{file}");
        }
        validate(&fs);
        // For the next opening there is a journal that takes from the checkpoint.
        (0..20_000).step_by(10).filter(|_| workers == 0).for_each(|file| fs.remove_file(path(file)).unwrap());
        fs.close().unwrap();
    }

    // A byte changed where one thread has been reading for a while is said in the same words by either.
    let largest = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path());
    let largest = largest.filter(|path| path.extension().is_none() && path.file_name().unwrap() != "lock");
    let largest = largest.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let at = bytes.len() / 3;
    bytes[at] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
    let said = [0, 2].map(|workers| {
        let refused = builder(workers).build();
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
        refused.unwrap_err().to_string()
    });
    assert_eq!(said[0], said[1]);
}

/// Many contents that replaced each other without a record, and no memory for records: they are synced and closed all the same. (With
/// records from the same memory the flusher asked for it for ever.)
#[test]
fn contents_are_synced_though_no_memory_is_left_for_their_records() {
    let home = tempfile::tempdir().unwrap();
    let builder = || {
        let builder = builder(home.path()).memory_limit_bytes(1 << 20).worker_threads(0);
        builder.durability(memfs::Durability::OnClose)
    };
    let fs = builder().build().unwrap();
    // Files that may not leave RAM, until there is room for no more.
    let lock = memfs::WriteOptions::new().priority(memfs::Priority::LOCKED);
    let locked = (0..200_u64)
        .take_while(|n| fs.write_with(format!("/locked/{n}"), bytes(*n, 8000), &lock).is_ok())
        .count() as u64;
    assert!((10..200).contains(&locked), "{locked}");
    let path = |n: u64| format!("/small/{n}");
    let small = (0..400_u64).take_while(|n| fs.write(path(*n), bytes(*n, 40)).is_ok()).count() as u64;
    assert!(small > 100, "{small}");
    fs.sync().unwrap();
    let mut last = vec![0; small as usize];
    for round in 1..=6_u64 {
        for n in 0..small {
            // Refused is refused, as long as nothing is lost or hangs.
            if fs.write(path(n), bytes(round * 1000 + n, 40)).is_ok() {
                last[n as usize] = round * 1000;
            }
        }
        if round == 2 {
            fs.sync().unwrap();
        }
    }
    fs.close().unwrap();
    let fs = builder().build().unwrap();
    for n in 0..small {
        assert!(fs.read(path(n)).unwrap() == bytes(last[n as usize] + n, 40), "{n}");
    }
    for n in 0..locked {
        assert!(fs.read(format!("/locked/{n}")).unwrap() == bytes(n, 8000), "{n}");
    }
    validate(&fs);
}
