//! At the end of memory, and giving it back.

use super::*;
use crate::sync::Ordering;

#[test]
fn an_operation_that_finds_no_memory_changes_nothing() {
    let store = Store::new();
    let worker = store.worker();
    let file = worker.put("/d/f");
    let dir = worker.mkdir("/e");
    let (mut refused_creations, mut refused_renames) = (0, 0);
    // Each allocation in turn is the one that fails.
    for patience in 0..30 {
        let limited = |run: &dyn Fn() -> Result<(), IndexError>| {
            store.memory.patience.store(patience, Ordering::Relaxed);
            let result = run();
            store.memory.patience.store(u64::MAX, Ordering::Relaxed);
            result.map_err(|error| assert!(matches!(error, IndexError::Memory(1..)), "{error:?}"))
        };
        match limited(&|| worker.create("/x/y/z/f", Kind::File, true).map(|(new, _)| assert!(new))) {
            Ok(()) => {
                worker.remove_file("/x/y/z/f").expect("made");
                for text in ["/x/y/z", "/x/y", "/x"] {
                    worker.remove_dir(text).expect("empty");
                }
            }
            Err(()) => refused_creations += 1,
        }
        match limited(&|| worker.rename("/d/f", "/e/g").map(|replaced| assert_eq!(replaced, None))) {
            Ok(()) => assert_eq!(worker.rename("/e/g", "/d/f"), Ok(None)),
            Err(()) => refused_renames += 1,
        }
        assert_eq!(worker.names("/"), ["d", "e"]);
        assert_eq!(worker.children("/d"), [("f".to_owned(), file, Kind::File)]);
        assert_eq!(worker.lookup("/e"), Ok((dir, Kind::Directory)));
        store.index.validate(&worker.handle.pin());
    }
    // Four names, four nodes, three bodies, and a chunk for each new directory; a name and a descriptor, and a chunk once.
    assert_eq!((refused_creations, refused_renames), (14, 3));
}

#[test]
fn what_is_removed_is_given_back() {
    let store = Store::new();
    let worker = store.worker();
    worker.put("/warm");
    worker.quiesce();
    let before = store.index.memory.bytes();
    for round in 0..3 {
        for n in 0..2000 {
            worker.put(&format!("/r{round}/d{}/f{n}", n % 7));
        }
        for n in 0..2000 {
            worker.remove_file(&format!("/r{round}/d{}/f{n}", n % 7)).expect("there");
        }
        for n in 0..7 {
            worker.remove_dir(&format!("/r{round}/d{n}")).expect("empty");
        }
        worker.remove_dir(&format!("/r{round}")).expect("empty");
    }
    worker.quiesce();
    assert_eq!(store.index.memory.bytes(), before);
}

#[test]
fn churn_in_one_directory_reuses_its_slots() {
    let store = Store::new();
    let worker = store.worker();
    let mut live: Vec<usize> = (0..1000).collect();
    let name = |n: usize| format!("/d/{n:06}");
    for &n in &live {
        worker.put(&name(n));
    }
    worker.quiesce();
    let before = store.index.memory.bytes();
    for n in 1000..30_000 {
        // Anywhere in the directory, so that free slots are scattered.
        let old = std::mem::replace(&mut live[n * 7919 % 1000], n);
        worker.remove_file(&name(old)).expect("there");
        worker.put(&name(n));
    }
    worker.quiesce();
    let grown = store.index.memory.bytes() as f64 / before as f64;
    assert!(grown < 1.1, "{grown} times the memory for as many files");
}

#[test]
fn an_index_for_many_files_stays_within_two_hundred_bytes_each() {
    let store = Store::new();
    let worker = store.worker();
    for n in 0..100_000 {
        worker.put(&format!("/dir{:02}/file{n:08}", n % 100));
    }
    let guard = worker.handle.pin();
    let each = store.index.size_bytes(&guard) as f64 / 100_000.0;
    assert!(each < 180.0, "{each} bytes a file");
}
