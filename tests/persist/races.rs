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
