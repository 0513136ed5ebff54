//! A temp store leaves nothing behind.

use crate::common::{
    rng::bytes,
    stores::{tiny, tiny_with_workers},
};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

const CHILD: &str = "MEMFS_TEST_TEMP_CHILD";

fn entries(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path().display().to_string()).collect()
}

#[test]
fn after_close_or_drop_the_directory_is_as_it_was() {
    for close in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine"), "kept").unwrap();
        let fs = tiny_with_workers().storage_path(dir.path()).build().unwrap();
        for i in 0..40 {
            fs.write(format!("/{i}"), bytes(i, 90_000)).unwrap();
        }
        assert!(fs.stats().cache.swaps_out > 0);
        if close {
            fs.close().unwrap();
        } else {
            drop(fs);
        }
        assert_eq!(entries(dir.path()), [dir.path().join("mine").display().to_string()]);
        assert_eq!(std::fs::read(dir.path().join("mine")).unwrap(), b"kept");
    }
}

#[test]
fn a_storage_path_that_is_not_there_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    let fs = tiny().storage_path(&path).build().unwrap();
    fs.write("/f", bytes(1, 2 << 20)).unwrap();
    assert!(fs.read("/f").unwrap() == bytes(1, 2 << 20));
    fs.close().unwrap();
    assert_eq!(entries(&path), [] as [String; 0]);
}

#[test]
fn a_storage_path_that_is_a_file_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(tiny().storage_path(file.path()).build().is_err());
}

/// Not a test of its own: what the children of the next one run.
#[test]
fn child_that_waits_to_be_killed() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let builder = if dir.is_empty() { tiny_with_workers() } else { tiny_with_workers().storage_path(dir) };
    let fs = builder.build().unwrap();
    for i in 0..40 {
        fs.write(format!("/{i}"), bytes(i, 90_000)).unwrap();
    }
    assert!(fs.stats().cache.swaps_out > 0);
    println!("ready");
    std::thread::sleep(std::time::Duration::from_secs(60));
}

#[test]
fn after_kill_9_nothing_is_left() {
    for given in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "temp::child_that_waits_to_be_killed", "--nocapture"])
            .env(CHILD, if given { dir.path().to_str().unwrap() } else { "" })
            .env("TMPDIR", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        assert!(output.lines().any(|line| line.unwrap().contains("ready")), "the child got nowhere");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(entries(dir.path()), [] as [String; 0], "storage path given: {given}");
        // And nobody is in the way of the next.
        tiny().storage_path(dir.path()).build().unwrap();
    }
}
