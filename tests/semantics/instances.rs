//! Several stores in one process.

use crate::{
    assert_fails,
    common::{
        rng::bytes,
        stores::{tiny, tiny_with_workers, validate},
    },
};
use memfs::MemFs;
use std::time::{Duration, Instant};

#[test]
fn stores_know_nothing_of_each_other() {
    let stores: Vec<MemFs> = (0..4).map(|_| tiny().build().unwrap()).collect();
    for (i, fs) in stores.iter().enumerate() {
        for j in 0..60 {
            fs.write(format!("/d/{j}"), bytes((i * 100 + j) as u64, 15_000)).unwrap();
        }
    }
    stores[0].remove_dir_all("/d").unwrap();
    stores[1].close().unwrap();
    assert_fails!(stores[1].read("/d/0"), Closed);
    assert_fails!(stores[0].read("/d/0"), NotFound);
    for (i, fs) in stores.iter().enumerate().skip(2) {
        for j in 0..60 {
            assert!(fs.read(format!("/d/{j}")).unwrap() == bytes((i * 100 + j) as u64, 15_000));
        }
        validate(fs);
    }
}

#[test]
fn clones_are_one_store() {
    let fs = tiny().build().unwrap();
    let other = fs.clone();
    fs.write("/f", "x").unwrap();
    assert_eq!(other.read("/f").unwrap(), b"x");
    drop(fs);
    other.write("/f", "y").unwrap();
    assert_eq!(other.read("/f").unwrap(), b"y");
    validate(&other);
}

#[test]
fn a_directory_in_use_is_refused_until_it_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let first = tiny().storage_path(dir.path()).build().unwrap();
    first.write("/f", bytes(1, 100_000)).unwrap();
    assert_fails!(tiny().storage_path(dir.path()).build(), InstanceConflict);
    assert_fails!(tiny().storage_path(dir.path().join(".")).build(), InstanceConflict);
    assert!(first.read("/f").unwrap() == bytes(1, 100_000));
    first.close().unwrap();
    let second = tiny().storage_path(dir.path()).build().unwrap();
    assert!(!second.exists("/f"));
    drop(second);
    tiny().storage_path(dir.path()).build().unwrap();
}

/// How many threads this process has.
fn threads() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
    threads.trim().parse().unwrap()
}

#[test]
fn many_stores_come_and_go() {
    // Other tests of this binary run beside this one, on each processor one, with workers of its own.
    let most = 40 + 10 * std::thread::available_parallelism().unwrap().get();
    for i in 0..4 * most {
        let fs = if i % 2 == 0 { tiny() } else { tiny_with_workers() }.build().unwrap();
        for j in 0..8 {
            fs.write(format!("/{j}"), bytes(j, 90_000)).unwrap();
        }
        assert!(fs.read("/0").unwrap() == bytes(0, 90_000));
        if i % 3 == 0 {
            fs.close().unwrap();
        }
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while threads() > most {
        assert!(Instant::now() < deadline, "workers of dropped stores live on: {}", threads());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_thread_uses_many_stores_and_a_store_many_threads() {
    let stores: Vec<MemFs> = (0..3).map(|_| tiny().build().unwrap()).collect();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let stores = &stores;
            scope.spawn(move || {
                for round in 0..60 {
                    for (i, fs) in stores.iter().enumerate() {
                        let path = format!("/{thread}/{}", round % 7);
                        let content = bytes(thread << 32 | round << 8 | i as u64, 7000);
                        fs.write(&path, &content).unwrap();
                        assert!(fs.read(&path).unwrap() == content);
                    }
                }
            });
        }
    });
    stores.iter().for_each(validate);
}

#[test]
fn threads_that_come_and_go_leave_nothing_behind() {
    let fs = tiny().build().unwrap();
    for round in 0..200u64 {
        std::thread::scope(|scope| {
            scope.spawn(|| fs.write(format!("/{}", round % 10), bytes(round, 6000)).unwrap());
        });
    }
    for round in 190..200u64 {
        assert!(fs.read(format!("/{}", round % 10)).unwrap() == bytes(round, 6000));
    }
    validate(&fs);
}
