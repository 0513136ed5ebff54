//! A flush that fails and is tried again, whatever becomes of its contents in between; and one that has to make room.

use super::*;
use std::{sync::mpsc, thread, time::Duration};

type Op = fn(&MemFs);

/// So many that what is free by now is somebody else's.
fn many(fs: &MemFs) {
    for i in 0..40 {
        fs.write(format!("/many/{i}"), [i; 3000]).expect("room");
    }
}

/// What happens to `/a`, one block, and `/long`, several, between the flush that failed and the next.
const MEANWHILE: &[(&str, Op)] = &[
    ("nothing", |_| ()),
    ("evicted", |fs| _ = fs.gc(0.0)),
    ("evicted, and read again", |fs| {
        let _ = fs.gc(0.0);
        fs.read("/a").expect("it is there");
        fs.read("/long").expect("it is there");
    }),
    ("replaced", |fs| {
        fs.write("/a", [7; 2000]).expect("room");
        fs.write("/long", [8; 20_000]).expect("room");
    }),
    ("appended to", |fs| {
        fs.append("/a", [7; 40]).expect("room");
        fs.append("/long", [8; 40]).expect("room");
    }),
    ("made long", |fs| _ = fs.write_at("/a", &[7; 100], 40_000).expect("room")),
    ("changed in the middle", |fs| _ = fs.write_at("/long", &[7; 100], 20_000).expect("room")),
    ("cut", |fs| {
        fs.set_len("/a", 100).expect("room");
        fs.set_len("/long", 17_000).expect("room");
    }),
    ("removed", |fs| {
        fs.remove_file("/a").expect("it is there");
        fs.remove_file("/long").expect("it is there");
    }),
    ("renamed over", |fs| fs.rename("/a", "/long").expect("they are there")),
];

/// Fails at call number `call` of a flush; whether it came to that.
fn fail_and_retry(call: u64, again: u64, what: &str, meanwhile: Op) -> bool {
    let disk = CrashDisk::new();
    let store = open(&disk, builder()).expect("a disk that works");
    store.write("/old", bytes(1, 5000)).expect("room");
    store.sync().expect("a disk that works");
    store.write("/a", bytes(2, 3000)).expect("room");
    store.write("/long", bytes(3, 40_000)).expect("room");
    store.write("/old", bytes(4, 5000)).expect("room");
    for i in 5..11 {
        store.write(format!("/beside/{i}"), bytes(i, 1000)).expect("room");
    }
    disk.plan(Some(Fault { call, errno: libc::EIO, lasting: false }));
    let came_to_it = store.sync().is_err();
    disk.plan(None);
    meanwhile(&store);
    many(&store);
    // The retry fails, too; of what comes after that nothing may rely on either.
    disk.plan(Some(Fault { call: again, errno: libc::EIO, lasting: false }));
    let _ = store.sync();
    disk.plan(None);
    let _ = store.gc(0.0);
    many(&store);
    let now = dump(&store, "");
    store.sync().unwrap_or_else(|error| panic!("call {call}, {again}, {what}: {error}"));
    // What was freed by the changes is used again.
    many(&store);
    store.sync().unwrap_or_else(|error| panic!("call {call}, {again}, {what}: {error}"));
    assert!(dump(&store, "") == now, "call {call}, {again}, {what}: changed by a flush");
    store.validate();
    let after = disk.crash(call);
    std::mem::forget(store);
    let store =
        open(&after, builder()).unwrap_or_else(|error| panic!("call {call}, {again}, {what}: {error}"));
    assert!(dump(&store, "") == now, "call {call}, {again}, {what}: not what was synced");
    store.close().expect("a disk that works");
    came_to_it
}

#[test]
fn what_becomes_of_a_content_between_two_flushes_of_it_is_not_lost() {
    for (what, meanwhile) in MEANWHILE {
        // All calls of the flush, and some behind: a write for every two contents, a segment's sync, which is made good by
        // writing elsewhere, and those of the front, in whose place the journal takes the batch: no errors, both.
        let mut failed = 0;
        for call in 0..10 {
            failed += u64::from(fail_and_retry(call, call / 2, what, *meanwhile));
        }
        assert!(failed >= 5, "{what}: a flush of {failed} calls");
    }
}

/// RAM is full of what cannot leave it, and segments are to be emptied under the flusher's lock, which takes a buffer.
fn flush_in_a_full_store() {
    const LIMIT: u64 = 4 << 20;
    // A 32nd of the limit is kept for what is not contents: a file's buffer does not fit into that.
    const LEN: usize = 200 << 10;
    let sizes = builder().memory_limit_bytes(LIMIT).chunk_size(256 << 10).segment_size(1 << 20);
    let store = open(&CrashDisk::new(), sizes).expect("a disk that works");
    for i in 0..64 {
        store.write(format!("/{i}"), bytes(i, LEN)).expect("room");
        if i % 4 == 3 {
            store.sync().expect("a disk that works");
            store.gc(0.0).expect("a disk that works");
        }
    }
    // A reference keeps the bytes where they are, whatever becomes of the file.
    let mut held = Vec::new();
    for len in [LEN, 16 << 10] {
        while store.stats().memory.current_usage + len as u64 + LIMIT / 32 < LIMIT {
            store.write("/held", bytes(100, len)).expect("room");
            held.push(store.get("/held").expect("it is there"));
            store.remove_file("/held").expect("it is there");
        }
    }
    for i in (0..64).filter(|i| i % 4 > 0) {
        store.remove_file(format!("/{i}")).expect("it is there");
    }
    let before = store.stats().segments.compactions;
    // What is freed by one is free when the next one begins.
    for i in 0..4 {
        store.create_dir(format!("/d{i}")).expect("room");
        store.sync().expect("a disk that works");
    }
    assert!(store.stats().segments.compactions > before, "nothing was emptied");
    drop(held);
    for i in (0..64).step_by(4) {
        assert!(store.read(format!("/{i}")).expect("it is there") == bytes(i, LEN));
    }
    store.close().expect("a disk that works");
}

#[test]
fn a_flush_that_has_to_make_room_does_not_wait_for_itself() {
    let (done, ended) = mpsc::channel();
    // Not joined: it would be waited for.
    thread::spawn(move || {
        flush_in_a_full_store();
        let _ = done.send(());
    });
    ended.recv_timeout(Duration::from_secs(60)).expect("it comes to an end, and well");
}

/// A batch that the journal had, but not the limit room for the journal's own growth, was an error, and was written again.
#[test]
fn a_sync_that_meets_the_storage_limit_has_written_nothing() {
    let (mut met, mut passed) = (0, 0);
    for limit in (16..120).map(|kib| kib << 10) {
        let disk = CrashDisk::new();
        let Ok(store) = open(&disk, builder().storage_limit_bytes(limit)) else { continue };
        let mut durable = 0;
        for number in 0..200 {
            let name = |number| format!("/{number:0200}");
            store.create_dir(name(number)).expect("room in RAM");
            if store.sync().is_err() {
                met += 1;
                let found = open(&disk.kill(), builder()).expect("a disk that works");
                assert!(!found.exists(name(number)), "limit {limit}: an error, and {number} is durable");
                break;
            }
            durable = number + 1;
        }
        passed += durable;
        store.validate();
        std::mem::forget(store);
    }
    assert!(met > 20 && passed > 100, "{met} limits met, {passed} syncs");
}
