//! What is written to disk while names and files come and go.

use super::*;
use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

/// The flusher took the number of a file that had been removed for that file's still: what had become a directory meanwhile
/// was read as a content.
#[test]
fn what_takes_the_place_of_a_removed_file_is_not_taken_for_it() {
    let home = tempfile::tempdir().unwrap();
    let fs = builder(home.path()).durability(memfs::Durability::OnClose).build().unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(SeqCst) {
                fs.sync().unwrap();
            }
        });
        for round in 0..400 {
            for i in 0..16 {
                fs.write(format!("/f{i}"), bytes(round + i, 100)).unwrap();
            }
            for i in 0..16 {
                fs.remove_file(format!("/f{i}")).unwrap();
                fs.create_dir(format!("/d{i}")).unwrap();
            }
            (0..16).for_each(|i| fs.remove_dir(format!("/d{i}")).unwrap());
        }
        over.store(true, SeqCst);
    });
    assert_eq!(fs.read_dir("/").unwrap().count(), 0);
    validate(&fs);
    fs.close().unwrap();
}

/// What was written through a handle after the file's removal was freed with the handle, before the flusher had come to it:
/// it wrote what had taken its place.
#[test]
fn a_file_without_a_name_may_end_before_it_is_flushed() {
    let home = tempfile::tempdir().unwrap();
    let fs = builder(home.path()).durability(memfs::Durability::OnClose).build().unwrap();
    for round in 0..50 {
        let files: Vec<_> = (0..8).map(|i| fs.create(format!("/f{i}")).unwrap()).collect();
        for (i, file) in files.into_iter().enumerate() {
            fs.remove_file(format!("/f{i}")).unwrap();
            file.write_at(&bytes(round, 60_000), 0).unwrap();
        }
        fs.gc(1.0).unwrap();
        fs.write("/kept", bytes(round, 60_000)).unwrap();
        fs.sync().unwrap();
        assert!(fs.stats().memory.total_size <= 60_000, "the ended are counted");
    }
    validate(&fs);
    fs.close().unwrap();
    assert!(open(home.path()).read("/kept").unwrap() == bytes(49, 60_000));
}
