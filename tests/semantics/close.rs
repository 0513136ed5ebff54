//! close and what follows.

use crate::{
    assert_fails,
    common::{
        kind::{Fails, Kind},
        rng::bytes,
        stores::{on_each, tiny},
    },
};
use memfs::{OpenOptions, Priority, WriteOptions};

#[test]
fn close_can_be_called_again_and_by_any_clone() {
    on_each(|fs| {
        let other = fs.clone();
        fs.write("/f", "x").unwrap();
        fs.close().unwrap();
        other.close().unwrap();
        fs.close().unwrap();
    });
}

#[test]
fn every_call_after_close_says_closed() {
    on_each(|fs| {
        fs.write("/d/f", bytes(1, 9000)).unwrap();
        fs.close().unwrap();
        assert!(!fs.exists("/d/f") && !fs.exists("/"));
        assert_fails!(fs.write("/f", "x"), Closed);
        assert_fails!(fs.write_with("/f", "x", &WriteOptions::new()), Closed);
        assert_fails!(fs.read("/d/f"), Closed);
        assert_fails!(fs.read_to_string("/d/f"), Closed);
        assert_fails!(fs.get("/d/f"), Closed);
        assert_fails!(fs.read_with("/d/f", |_| ()), Closed);
        assert_fails!(fs.read_bytes("/d/f"), Closed);
        assert_fails!(fs.read_at("/d/f", &mut [0], 0), Closed);
        assert_fails!(fs.write_at("/d/f", b"x", 0), Closed);
        assert_fails!(fs.append("/d/f", b"x"), Closed);
        assert_fails!(fs.set_len("/d/f", 0), Closed);
        assert_fails!(fs.remove_file("/d/f"), Closed);
        assert_fails!(fs.rename("/d/f", "/g"), Closed);
        assert_fails!(fs.copy("/d/f", "/g"), Closed);
        assert_fails!(fs.metadata("/d/f"), Closed);
        assert_fails!(fs.open("/d/f"), Closed);
        assert_fails!(fs.create("/g"), Closed);
        assert_fails!(fs.open_with("/d/f", OpenOptions::new().read(true)), Closed);
        assert_fails!(fs.create_dir("/e"), Closed);
        assert_fails!(fs.create_dir_all("/e"), Closed);
        assert_fails!(fs.remove_dir("/d"), Closed);
        assert_fails!(fs.remove_dir_all("/d"), Closed);
        assert_fails!(fs.read_dir("/d"), Closed);
        assert_fails!(fs.glob("/*"), Closed);
        assert_fails!(fs.walk("/"), Closed);
        assert_fails!(fs.set_priority("/d/f", Priority::LOW), Closed);
        assert_fails!(fs.priority("/d/f"), Closed);
        assert_fails!(fs.preload("/d/f"), Closed);
        assert_fails!(fs.gc(0.5), Closed);
        assert_fails!(fs.sync(), Closed);
        assert!(fs.memory_map().is_empty());
        fs.stats();
    });
}

#[test]
fn what_is_held_outlives_close_and_the_store() {
    on_each(|fs| {
        for len in [1, 4096, 60_000] {
            fs.write(format!("/{len}"), bytes(1, len)).unwrap();
        }
        fs.gc(0.0).unwrap();
        let held: Vec<_> = [1, 4096, 60_000]
            .map(|len| (len, fs.get(format!("/{len}")).unwrap(), fs.read_bytes(format!("/{len}")).unwrap()))
            .into();
        fs.close().unwrap();
        for (len, held, shared) in &held {
            assert!(**held == bytes(1, *len)[..] && *shared == bytes(1, *len));
        }
    });
    let (held, shared) = {
        let fs = crate::common::stores::tiny_with_workers().build().unwrap();
        fs.write("/f", bytes(1, 100_000)).unwrap();
        (fs.get("/f").unwrap(), fs.read_bytes("/f").unwrap())
    };
    std::thread::spawn(move || assert!(*held == bytes(1, 100_000)[..] && shared == bytes(1, 100_000)))
        .join()
        .unwrap();
}

#[test]
fn the_store_can_be_closed_within_a_read() {
    on_each(|fs| {
        fs.write("/f", bytes(1, 3000)).unwrap();
        let same = fs
            .read_with("/f", |found| {
                fs.close().unwrap();
                found == bytes(1, 3000)
            })
            .unwrap();
        assert!(same);
        assert_fails!(fs.read("/f"), Closed);
    });
}

#[test]
fn close_while_others_work_gives_them_closed_and_nothing_worse() {
    for round in 0..10 {
        let fs = crate::common::stores::tiny_with_workers().build().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..3u64 {
                let fs = &fs;
                scope.spawn(move || {
                    for i in 0.. {
                        let (path, content) = (format!("/{thread}/{}", i % 30), bytes(i, 9000));
                        if let Err(error) = fs.write(&path, &content).and_then(|()| {
                            let found = fs.read(&path)?;
                            assert!(found == content);
                            Ok(())
                        }) {
                            assert!(matches!(error, memfs::Error::Closed), "{error}");
                            return;
                        }
                    }
                });
            }
            std::thread::sleep(std::time::Duration::from_millis(5 * round));
            fs.close().unwrap();
        });
    }
}

#[test]
fn sync_of_a_temp_store_is_fine() {
    on_each(|fs| {
        fs.write("/f", "x").unwrap();
        fs.sync().unwrap();
    });
}

/// A close beside other calls used to show in their answers: an error about the store's own directory, a length of 0.
#[test]
fn calls_beside_a_close_finish_or_say_closed() {
    for round in 0..60 {
        let fs = tiny().build().unwrap();
        let file = fs.create("/f").unwrap();
        file.write_at(&bytes(1, 8000), 0).unwrap();
        std::thread::scope(|scope| {
            let (fs, file) = (&fs, &file);
            scope.spawn(move || {
                let error = loop {
                    match file.metadata() {
                        Ok(metadata) => assert_eq!(metadata.len(), 8000),
                        Err(error) => break error,
                    }
                };
                assert_eq!(error.variant(), Kind::Closed, "{error}");
            });
            scope.spawn(move || {
                let error = (0..).find_map(|i: u64| {
                    fs.write(format!("/{i}"), bytes(i, 40_000)).and_then(|()| fs.gc(0.0)).err()
                });
                let error = error.expect("it ends");
                assert_eq!(error.variant(), Kind::Closed, "{error}");
            });
            std::thread::sleep(std::time::Duration::from_millis(1 + round % 10));
            fs.close().unwrap();
        });
    }
}
