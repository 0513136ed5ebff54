//! Priorities 9 and 10.

use crate::{
    assert_fails,
    common::{
        kind::{Fails, Kind},
        rng::bytes,
        stores::{on_each, tiny, validate},
    },
};
use memfs::{Location, MemFs, Priority, WriteOptions};

fn locked() -> WriteOptions {
    WriteOptions::new().priority(Priority::LOCKED)
}

fn resident(fs: &MemFs, path: &str) -> bool {
    fs.metadata(path).unwrap().location() != Location::Disk
}

#[test]
fn locked_files_stay_in_memory_whatever_else_is_written_and_read() {
    on_each(|fs| {
        let limit = fs.stats().memory.limit.min(1 << 20);
        let each = 6000;
        let count = limit / 3 / each;
        for i in 0..count {
            fs.write_with(format!("/locked/{i}"), bytes(i, each as usize), &locked()).unwrap();
        }
        for i in 0..300 {
            fs.write(format!("/flood/{i}"), bytes(i, 9000)).unwrap();
            fs.read(format!("/flood/{}", i / 2)).unwrap();
        }
        for i in 0..count {
            assert!(resident(fs, &format!("/locked/{i}")), "locked file {i} left");
            assert!(fs.read(format!("/locked/{i}")).unwrap() == bytes(i, each as usize));
        }
    });
}

#[test]
fn an_explicit_gc_moves_locked_files_too() {
    on_each(|fs| {
        fs.write_with("/f", bytes(1, 6000), &locked()).unwrap();
        fs.gc(0.0).unwrap();
        assert!(!resident(fs, "/f"));
        assert!(fs.read("/f").unwrap() == bytes(1, 6000));
    });
}

#[test]
fn a_locked_file_that_cannot_fit_beside_the_others_is_refused_and_nothing_else_is() {
    let fs = tiny().build().unwrap();
    let each = 8000;
    let mut kept = 0;
    let error = loop {
        match fs.write_with(format!("/locked/{kept}"), bytes(kept, each), &locked()) {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 200, "{kept} locked files of {each} bytes under 512 KiB");
    };
    assert_eq!(error.variant(), Kind::MemoryLimit, "{error}");
    assert!(kept >= 10, "refused after {kept} files of {each} bytes");
    assert!(!fs.exists(format!("/locked/{kept}")), "refused, but there");
    for i in 0..kept {
        assert!(resident(&fs, &format!("/locked/{i}")));
        assert!(fs.read(format!("/locked/{i}")).unwrap() == bytes(i, each));
    }
    // Anything else goes to disk.
    let len = |i: u64| if i.is_multiple_of(5) { 9000 } else { 4000 };
    for i in 0..100 {
        fs.write(format!("/normal/{i}"), bytes(i, len(i))).unwrap();
    }
    for i in 0..100 {
        assert!(fs.read(format!("/normal/{i}")).unwrap() == bytes(i, len(i)));
    }
    fs.remove_file("/locked/0").unwrap();
    fs.remove_file("/locked/1").unwrap();
    fs.write_with("/locked/again", bytes(1, each), &locked()).unwrap();
    validate(&fs);
}

#[test]
fn a_refused_overwrite_of_a_locked_file_leaves_the_old_bytes() {
    let fs = tiny().build().unwrap();
    fs.write_with("/f", "old", &locked()).unwrap();
    assert_fails!(fs.write("/f", bytes(1, 2 << 20)), MemoryLimit);
    assert_fails!(fs.write_with("/f", bytes(1, 2 << 20), &locked()), MemoryLimit);
    assert_eq!(fs.read("/f").unwrap(), b"old");
    assert_eq!(fs.priority("/f").unwrap(), Priority::LOCKED);
    validate(&fs);
}
