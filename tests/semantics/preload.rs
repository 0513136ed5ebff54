//! preload: waited for, asked, and awaited.

use crate::{
    assert_fails,
    common::{
        rng::bytes,
        stores::{on_each, tiny_with_workers, validate},
    },
};
use memfs::{Location, Preload};
use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What an executor does, with one future.
fn block_on(preload: Preload) -> memfs::Result<()> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(preload);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park_timeout(Duration::from_secs(20)),
        }
    }
}

#[test]
fn a_preloaded_file_is_in_memory_when_waited_for() {
    on_each(|fs| {
        for len in [0, 100, 4096, 50_000] {
            fs.write("/f", bytes(1, len)).unwrap();
            fs.gc(0.0).unwrap();
            let before = fs.stats().cache.preloads;
            fs.preload("/f").unwrap().wait().unwrap();
            assert_ne!(fs.metadata("/f").unwrap().location(), Location::Disk);
            assert!(fs.stats().cache.preloads > before || len == 0);
            let misses = fs.stats().cache.misses;
            assert!(fs.read("/f").unwrap() == bytes(1, len));
            assert_eq!(fs.stats().cache.misses, misses, "a preloaded file was a miss");
        }
    });
}

#[test]
fn a_preload_is_a_future() {
    on_each(|fs| {
        fs.write("/f", bytes(1, 50_000)).unwrap();
        fs.gc(0.0).unwrap();
        block_on(fs.preload("/f").unwrap()).unwrap();
        assert_ne!(fs.metadata("/f").unwrap().location(), Location::Disk);
        // What is resident already is done at once or soon.
        block_on(fs.preload("/f").unwrap()).unwrap();
    });
}

#[test]
fn is_done_becomes_true_by_itself_where_there_are_workers() {
    let fs = tiny_with_workers().build().unwrap();
    fs.write("/f", bytes(1, 50_000)).unwrap();
    fs.gc(0.0).unwrap();
    let preload = fs.preload("/f").unwrap();
    let mut polls = 0;
    while !preload.is_done() {
        thread::sleep(Duration::from_millis(1));
        polls += 1;
        assert!(polls < 20_000, "not done after 20 s");
    }
    preload.wait().unwrap();
    assert_ne!(fs.metadata("/f").unwrap().location(), Location::Disk);
    validate(&fs);
}

#[test]
fn a_preload_nobody_waits_for_does_no_harm() {
    on_each(|fs| {
        for i in 0..50 {
            fs.write(format!("/d/{i}"), bytes(i, 5000)).unwrap();
        }
        fs.gc(0.0).unwrap();
        for i in 0..50 {
            drop(fs.preload(format!("/d/{i}")).unwrap());
        }
        for i in 0..50 {
            let preload = fs.preload(format!("/d/{i}")).unwrap();
            fs.write(format!("/d/{i}"), bytes(i + 100, 5000)).unwrap();
            if i % 2 == 0 {
                preload.wait().unwrap();
            }
        }
        for i in 0..50 {
            assert!(fs.read(format!("/d/{i}")).unwrap() == bytes(i + 100, 5000));
        }
    });
}

#[test]
fn preloads_of_what_is_no_file_fail() {
    on_each(|fs| {
        fs.create_dir("/d").unwrap();
        assert_fails!(fs.preload("/nothing"), NotFound);
        assert_fails!(fs.preload("/d"), IsADirectory);
    });
}

#[test]
fn a_waiter_is_woken_when_the_store_closes() {
    on_each(|fs| {
        for i in 0..20 {
            fs.write(format!("/d/{i}"), bytes(i, 20_000)).unwrap();
        }
        fs.gc(0.0).unwrap();
        let preloads: Vec<Preload> = (0..20).map(|i| fs.preload(format!("/d/{i}")).unwrap()).collect();
        fs.close().unwrap();
        for preload in preloads {
            // Done before, or given up: what matters is that the call returns.
            if let Err(error) = preload.wait() {
                assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::Other);
            }
        }
    });
}
