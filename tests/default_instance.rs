//! The process-wide default instance and its free functions; a binary of its own, since there is one per process.

mod common;

use common::{rng::bytes, stores::tiny};
use memfs::{FileKind, Priority};
use std::{
    io::{Read, Write},
    process::Command,
};

const CHILD: &str = "MEMFS_TEST_DEFAULT_CHILD";

#[test]
fn init_makes_the_default_instance_and_every_free_function_works_on_it() {
    let fs = memfs::init(tiny()).unwrap();
    assert_fails!(memfs::init(tiny()), InstanceConflict | AlreadyExists);
    let other = memfs::global().unwrap();
    memfs::write("/d/f", bytes(1, 9000)).unwrap();
    assert!(fs.read("/d/f").unwrap() == bytes(1, 9000) && other.exists("/d/f"));
    assert!(memfs::read("/d/f").unwrap() == bytes(1, 9000));
    assert!(memfs::exists("/d/f") && !memfs::exists("/d/g"));
    memfs::create_dir_all("/a/b").unwrap();
    assert!(memfs::read_dir("/").unwrap().map(|entry| entry.path().to_owned()).eq(["/a", "/d"]));
    assert_eq!(memfs::glob("/**/f").unwrap(), ["/d/f"]);
    memfs::create("/d/g").unwrap().write_all(b"text").unwrap();
    let mut text = String::new();
    memfs::open("/d/g").unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "text");
    memfs::set_priority("/d/f", Priority::HIGH).unwrap();
    assert_eq!(memfs::priority("/d/f").unwrap(), Priority::HIGH);
    assert!(memfs::gc(0.0).unwrap().files_swapped_out >= 2);
    memfs::preload("/d/f").unwrap().wait().unwrap();
    assert_eq!(memfs::metadata("/d/f").unwrap().kind(), FileKind::File);
    assert_eq!(memfs::stats().memory.limit, 512 << 10);
    memfs::remove_file("/d/f").unwrap();
    assert_fails!(memfs::read("/d/f"), NotFound);
    common::stores::validate(&fs);
}

/// Not a test of its own: what the child of the next one runs.
#[test]
fn child_that_uses_a_free_function_first() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    assert!(!memfs::exists("/f"));
    memfs::write("/f", "x").unwrap();
    assert_eq!(memfs::global().unwrap().read("/f").unwrap(), b"x");
    assert_fails!(memfs::init(tiny()), InstanceConflict | AlreadyExists);
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(|| memfs::read("/f").unwrap())).collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap() == b"x"));
}

#[test]
fn the_default_instance_is_made_on_first_use() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_uses_a_free_function_first"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}
