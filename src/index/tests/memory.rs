//! At the end of memory, and giving it back.

use super::*;

/// Charges the budget until `left_bytes` are left of it.
fn fill_up(store: &Store, limit_bytes: u64, left_bytes: u64) -> u64 {
    let ballast = limit_bytes - store.budget.charged() - left_bytes;
    assert!(store.budget.try_charge(ballast));
    ballast
}

#[test]
fn an_operation_that_finds_no_memory_changes_nothing() {
    const LIMIT: u64 = 1 << 22;
    let store = Store::with_limit(LIMIT);
    let worker = store.worker();
    let file = worker.put("/d/f");
    let dir = worker.mkdir("/e");
    let mut refused = 0;
    // From nothing to spare to enough for everything, each allocation in turn is the one that fails.
    for left_bytes in (0..4096).step_by(16) {
        worker.quiesce();
        let ballast = fill_up(&store, LIMIT, left_bytes);
        let created = worker.create("/x/y/z/f", Kind::File, true);
        let renamed = worker.rename("/d/f", "/e/g");
        store.budget.refund(ballast);
        match created {
            Ok((new, _)) => {
                assert!(new);
                worker.remove_file("/x/y/z/f").expect("made");
                for text in ["/x/y/z", "/x/y", "/x"] {
                    worker.remove_dir(text).expect("empty");
                }
            }
            Err(error) => {
                assert!(matches!(error, IndexError::Memory(1..=4096)), "{error:?}");
                refused += 1;
            }
        }
        match renamed {
            Ok(_) => assert_eq!(worker.rename("/e/g", "/d/f"), Ok(None)),
            Err(error) => assert!(matches!(error, IndexError::Memory(_)), "{error:?}"),
        }
        assert_eq!(worker.names("/"), ["d", "e"]);
        assert_eq!(worker.children("/d"), [("f".to_owned(), file, Kind::File)]);
        assert_eq!(worker.lookup("/e"), Ok((dir, Kind::Directory)));
        store.index.validate(&worker.handle.pin());
    }
    assert!((8..250).contains(&refused), "{refused} refused: the sweep covers both ends");
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
    live.iter().for_each(|&n| drop(worker.put(&name(n))));
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
    (0..100_000).for_each(|n| drop(worker.put(&format!("/dir{:02}/file{n:08}", n % 100))));
    let guard = worker.handle.pin();
    let each = store.index.size_bytes(&guard) as f64 / 100_000.0;
    assert!(each < 180.0, "{each} bytes a file");
}
