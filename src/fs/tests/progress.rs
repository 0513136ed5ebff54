//! One thread stands still at a step of what it does; all others finish, within the limit. Every step in turn.

use super::*;
use crate::{
    Priority,
    failpoint::testing::{Gate, Seen, Step, Where, standing_still},
};
use std::{
    collections::BTreeSet,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

const LIMIT: u64 = 2 << 20;
/// Long after this even a loaded machine has done the others' work.
const GIVE_UP: Duration = Duration::from_secs(60);
const OTHERS: u64 = 2;

/// What the thread does that is to stand still.
struct Act {
    what: &'static str,
    prepare: fn(&MemFs),
    act: fn(&MemFs),
}

fn nothing(_: &MemFs) {}

fn swapped_out(fs: &MemFs) {
    fs.gc(0.0).expect("a disk that works");
}

const ACTS: &[Act] = &[
    Act { what: "make a file", prepare: nothing, act: |fs| allow(fs.write("/new/dir/file", [1; 3000])) },
    Act { what: "overwrite", prepare: nothing, act: |fs| allow(fs.write("/a", [1; 3000])) },
    Act { what: "overwrite a long file", prepare: nothing, act: |fs| allow(fs.write("/long", [1; 70_000])) },
    Act { what: "write a part", prepare: nothing, act: |fs| allow(fs.write_at("/long", &[1; 5000], 6000)) },
    Act {
        what: "append",
        prepare: |fs| fs.write("/log", [1; 100]).unwrap(),
        act: |fs| allow(fs.append("/log", [2; 9])),
    },
    Act { what: "cut", prepare: nothing, act: |fs| allow(fs.set_len("/long", 5000)) },
    Act { what: "remove", prepare: nothing, act: |fs| allow(fs.remove_file("/a")) },
    Act { what: "rename", prepare: nothing, act: |fs| allow(fs.rename("/a", "/c")) },
    Act { what: "rename over a file", prepare: nothing, act: |fs| allow(fs.rename("/a", "/b")) },
    Act { what: "move a directory", prepare: nothing, act: |fs| allow(fs.rename("/d", "/e")) },
    Act { what: "make a directory", prepare: nothing, act: |fs| allow(fs.create_dir("/dir")) },
    Act {
        what: "remove a directory",
        prepare: |fs| fs.create_dir("/dir").unwrap(),
        act: |fs| allow(fs.remove_dir("/dir")),
    },
    Act { what: "set a priority", prepare: nothing, act: |fs| allow(fs.set_priority("/a", Priority::HIGH)) },
    Act { what: "read", prepare: nothing, act: |fs| allow(fs.read_with("/a", |_| ())) },
];

/// Those that swap, which in a store that keeps an order is the flusher's business.
const SWAPS: &[Act] = &[
    Act { what: "swap out", prepare: nothing, act: |fs| _ = fs.gc(0.0).unwrap() },
    Act {
        what: "swap out again",
        prepare: |fs| {
            swapped_out(fs);
            fs.read("/a").unwrap();
        },
        act: |fs| _ = fs.gc(0.0).unwrap(),
    },
    Act { what: "swap in", prepare: swapped_out, act: |fs| allow(fs.read("/a")) },
    Act { what: "swap in to hold", prepare: swapped_out, act: |fs| allow(fs.get("/long")) },
    Act {
        what: "fill",
        prepare: nothing,
        act: |fs| (0..60).for_each(|i| fs.write(format!("/fill/{i}"), [1; 9000]).unwrap()),
    },
];

fn set_up(fs: &MemFs) {
    for name in ["/a", "/b", "/d/a", "/d/b"] {
        fs.write(name, [7; 3000]).unwrap();
    }
    fs.write("/long", [7; 50_000]).unwrap();
}

/// Of files that others overwrite, remove and rename: what is read is of one version.
fn uniform(read: Result<Vec<u8>>) {
    match read {
        Ok(bytes) => assert!(bytes.iter().all(|&byte| byte == bytes[0] || byte == 0), "a mixture"),
        Err(error) => assert!(matches!(error, Error::NotFound { .. }), "{error}"),
    }
}

fn allow<T>(result: Result<T>) {
    match result {
        Ok(_)
        | Err(Error::NotFound { .. } | Error::AlreadyExists { .. } | Error::DirectoryNotEmpty { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

/// What the others do: the same names, their own, and everything there is. `files` of their own, of `len` bytes.
fn work(fs: &MemFs, thread: u64, files: u64, len: usize, swaps: bool) {
    for i in 0..files {
        let own = format!("/own{thread}/{i}");
        fs.write(&own, vec![i as u8; len]).unwrap();
        uniform(fs.read("/a"));
        fs.write("/a", [i as u8; 3000]).unwrap();
        fs.append("/log", [1; 9]).unwrap();
        match (i + thread) % 8 {
            0 => allow(fs.rename("/a", "/b")),
            1 => allow(fs.rename("/b", "/c")),
            2 => allow(fs.remove_file("/c")),
            3 => allow(fs.write_at("/long", &[9; 5000], 2000)),
            4 => allow(fs.set_len("/long", 50_000)),
            5 => allow(fs.create_dir(format!("/own{thread}/dir"))),
            6 => allow(fs.remove_dir(format!("/own{thread}/dir"))),
            _ if swaps => drop(fs.gc(0.2).unwrap()),
            _ => allow(fs.set_priority("/b", Priority::LOW)),
        }
        uniform(fs.read("/b"));
        // Not in one piece: the thread that stands still may hold back all the RAM that would take.
        allow(fs.read("/long"));
        allow(fs.read_dir("/d").map(Iterator::count));
        assert!(fs.read(&own).unwrap() == vec![i as u8; len]);
        let memory = fs.stats().memory;
        assert!(memory.current_usage <= memory.limit, "{memory:?}");
    }
    for i in 0..files {
        assert!(fs.read(format!("/own{thread}/{i}")).unwrap() == vec![i as u8; len]);
    }
}

/// Has `act` stand still where it has not yet; where, or nothing if there is no such place left.
fn stand_once(fs: &MemFs, act: &Act, seen: &Arc<Seen>, files: u64, len: usize, swaps: bool) -> Option<Step> {
    set_up(fs);
    (act.prepare)(fs);
    let gate = Arc::new(Gate::default());
    let stands = thread::scope(|scope| {
        let standing = scope.spawn(|| standing_still(Where::Unseen(seen.clone()), &gate, || (act.act)(fs)));
        let Some(stands) = gate.wait() else {
            standing.join().expect("it ended");
            return None;
        };
        let (done, ends) = channel();
        let others: Vec<_> = (0..OTHERS)
            .map(|thread| {
                let done = done.clone();
                scope.spawn(move || {
                    work(fs, thread, files, len, swaps);
                    drop(done);
                })
            })
            .collect();
        drop(done);
        // Nothing is sent: the channel is closed when all have ended, by whatever end.
        let held_up = ends.recv_timeout(GIVE_UP) == Err::<(), _>(RecvTimeoutError::Timeout);
        gate.open();
        // Joined one by one: what a thread does at its end is over then.
        let ended = others.into_iter().all(|other| other.join().is_ok());
        let ended = standing.join().is_ok() && ended;
        assert!(!held_up && ended, "{} stands still at {stands:?}: held up: {held_up}", act.what);
        Some(stands)
    });
    fs.validate();
    stands
}

/// Every place of every act; the steps that were met.
fn stand_everywhere(
    acts: &[Act],
    open: impl Fn() -> MemFs,
    files: u64,
    len: usize,
    swaps: bool,
) -> BTreeSet<&'static str> {
    let mut met = BTreeSet::new();
    for act in acts {
        let seen = Arc::default();
        while stand_once(&open(), act, &seen, files, len, swaps).is_some() {}
        met.extend(seen.lock().unwrap().values());
    }
    met
}

#[test]
fn a_thread_that_stands_still_anywhere_holds_up_nobody() {
    let open = || {
        let builder = MemFs::builder().memory_limit_bytes(LIMIT).chunk_size(16 << 10).segment_size(256 << 10);
        builder.worker_threads(0).build().unwrap()
    };
    // More than the limit is written while it stands, so that the others have to swap. (Names and tables that are replaced
    // stay in RAM meanwhile: they are few.)
    let met = stand_everywhere(ACTS, open, 80, 15_000, true);
    let swaps = stand_everywhere(SWAPS, open, 80, 15_000, true);
    let met: Vec<_> = met.union(&swaps).copied().collect();
    let expected = [
        "allocate: run backed",
        "allocate: run claimed",
        "allocate: slots claimed",
        "append: space reserved",
        "append: written, not published",
        "change: made, nothing retired",
        "change: staged",
        "claim a run: a word of it is taken",
        "claim a run: charged, not resident",
        "free a run: free, not known to be ready",
        "free: nobody's, not ready",
        "free: ready, its span not noted",
        "free: run nobody's, not free",
        "index",
        "retire: unlinked",
        "set: not announced",
        "swap-in: exchanged",
        "swap-in: has a block",
        "swap-in: read",
        "swap-out: exchanged",
        "swap-out: extent taken",
        "swap-out: written",
        "trim: pages gone, spans not in the ground",
        "trim: run taken",
        "trim: run's pages gone, not free",
        "trim: spans taken",
        "withdraw: not looked",
    ];
    assert_eq!(met, expected);
}

#[test]
fn a_thread_that_stands_still_anywhere_holds_up_nobody_where_an_order_is_kept() {
    let open_one = || open(&CrashDisk::new(), builder()).unwrap();
    // So little that nobody needs the disk, for which one may have to wait.
    let met = stand_everywhere(ACTS, open_one, 10, 300, false);
    for step in [
        "change: has the word, no place yet",
        "change: has its place, no effect yet",
        "order: appended, no place yet",
    ] {
        assert!(met.contains(step), "{step}: {met:?}");
    }
}

/// Who freezes the leaves of a long file and then gives up leaves it readable, and who reads it mends it.
#[test]
fn a_leaf_that_stayed_frozen_is_mended_by_who_reads_or_preloads() {
    for preloads in [false, true] {
        let fs = MemFs::builder()
            .memory_limit_bytes(LIMIT)
            .chunk_size(16 << 10)
            .worker_threads(0)
            .build()
            .unwrap();
        let data = bytes(1, 5 * (16 << 10));
        fs.write("/long", &data).unwrap();
        swapped_out(&fs);
        fs.opener.core.freeze("/long");
        let before = fs.stats().cache.swaps_in;
        let read = || assert_eq!(fs.read("/long").unwrap(), data);
        if preloads {
            fs.preload("/long").unwrap().wait().unwrap();
        } else {
            read();
            read();
        }
        assert_eq!(fs.stats().cache.swaps_in - before, 5, "preloads: {preloads}");
        read();
        assert_eq!(fs.stats().cache.swaps_in - before, 5);
    }
}
