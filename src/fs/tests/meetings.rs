//! One thread stands still at a step of what it does, another does something from beginning to end, the first goes on: every pair,
//! at every step. What comes of it is what comes of one order of both.

use super::*;
use crate::{
    Priority,
    failpoint::testing::{Gate, Seen, Where, standing_still},
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    thread,
};

/// An operation; what it answered.
type Op = fn(&MemFs) -> String;

fn told<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        // What it is about is the same in any order.
        Err(error) => format!("{error:?}").split(' ').next().expect("a name").to_owned(),
    }
}

fn contents(result: Result<Vec<u8>>) -> String {
    told(result.map(|bytes| {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        (bytes.len(), hasher.finish())
    }))
}

fn evict(fs: &MemFs) -> String {
    fs.gc(0.0).expect("a disk that works");
    String::new()
}

/// So many that the number, the slot, the block of what is gone are somebody else's.
fn many(fs: &MemFs) -> String {
    for i in 0..40 {
        fs.create_dir_all(format!("/many/{i}")).expect("room");
        fs.write(format!("/many/{i}/f"), [i; 3000]).expect("room");
    }
    String::new()
}

const OPS: &[(&str, Op)] = &[
    ("write", |fs| told(fs.write("/a", [1; 3000]))),
    ("write long", |fs| told(fs.write("/long", [1; 9000]))),
    ("write a part", |fs| told(fs.write_at("/long", &[2; 1000], 5000))),
    ("write beside it", |fs| told(fs.write_at("/long", &[3; 1000], 7000))),
    ("append", |fs| told(fs.append("/a", [4; 50]))),
    ("append long", |fs| told(fs.append("/long", [5; 50]))),
    ("cut", |fs| told(fs.set_len("/long", 6000))),
    ("remove", |fs| told(fs.remove_file("/a"))),
    ("rename", |fs| told(fs.rename("/a", "/b"))),
    ("rename back", |fs| told(fs.rename("/b", "/a"))),
    ("move directory", |fs| told(fs.rename("/d", "/e"))),
    ("make", |fs| told(fs.write("/empty/new", [6; 100]))),
    ("remove directory", |fs| told(fs.remove_dir("/empty"))),
    ("read", |fs| contents(fs.read("/a"))),
    ("read long", |fs| contents(fs.read("/long"))),
    ("prioritise", |fs| told(fs.set_priority("/a", Priority::HIGH))),
    ("evict", evict),
];

/// One pair in so many meets.
const SHARE: usize = if cfg!(memfs_asan) { 3 } else { 1 };

/// What another does meanwhile, when it is more than one of those.
const SCRIPTS: &[&[Op]] = &[
    &[|fs| told(fs.remove_file("/a")), many],
    &[evict, |fs| contents(fs.read("/a")), |fs| contents(fs.read("/long"))],
    &[|fs| told(fs.write("/a", [7; 3000])), evict, |fs| told(fs.write("/a", [8; 3000]))],
];

fn set_up(fs: &MemFs) {
    fs.write("/a", [0x61; 3000]).expect("room");
    fs.write("/b", [0x62; 2000]).expect("room");
    fs.write("/long", bytes(1, 10_000)).expect("room");
    fs.write("/d/x", [0x63; 10]).expect("room");
    fs.create_dir("/empty").expect("room");
}

/// What was answered, the first thread's first, and what there is in the end.
type Outcome = (Vec<String>, Dump);

/// What comes of it if the first thread's `op` is done before step `at` of the other's.
fn one_after_the_other(fs: &MemFs, op: Op, script: &[Op], at: usize) -> Outcome {
    clear(fs);
    set_up(fs);
    let mut own = String::new();
    let mut told = Vec::new();
    for step in 0..=script.len() {
        if step == at {
            own = op(fs);
        }
        told.extend(script.get(step).map(|op| op(fs)));
    }
    told.insert(0, own);
    (told, dump(fs, ""))
}

/// Stores are many system calls to make: one serves many meetings.
fn clear(fs: &MemFs) {
    for entry in fs.read_dir("/").expect("it is there") {
        let removed = match entry.kind() {
            crate::FileKind::File => fs.remove_file(entry.path()),
            crate::FileKind::Directory => fs.remove_dir_all(entry.path()),
        };
        removed.expect("nobody else removes it");
    }
}

fn temporary() -> MemFs {
    let builder = MemFs::builder().memory_limit_bytes(1 << 20).chunk_size(4096).segment_size(256 << 10);
    builder.worker_threads(0).build().expect("room")
}

/// Every step at which `op` can stand while `script` is done; how many those were.
fn meet_everywhere(
    reference: &MemFs,
    what: &str,
    op: Op,
    script: &[Op],
    open: &dyn Fn() -> MemFs,
    last: &dyn Fn(MemFs) -> Dump,
) -> usize {
    let orders: Vec<Outcome> =
        (0..=script.len()).map(|at| one_after_the_other(reference, op, script, at)).collect();
    let seen: Arc<Seen> = Arc::default();
    loop {
        let fs = open();
        set_up(&fs);
        let gate = Arc::new(Gate::default());
        let (stood, told) = thread::scope(|scope| {
            let first = scope.spawn(|| standing_still(Where::Unseen(seen.clone()), &gate, || op(&fs)));
            let stood = gate.wait();
            let mut told: Vec<_> = script.iter().map(|op| op(&fs)).collect();
            gate.open();
            told.insert(0, first.join().expect("it ends"));
            (stood, told)
        });
        let Some(stood) = stood else { return seen.lock().expect("no panic inside").len() };
        let found = (told, dump(&fs, ""));
        assert!(
            orders.contains(&found),
            "{what}, standing at {stood:?}: {found:#?}, in no order: {orders:#?}"
        );
        fs.validate();
        assert!(last(fs) == found.1, "{what}, standing at {stood:?}: not what was closed");
    }
}

fn meet(open: &dyn Fn() -> MemFs, last: &dyn Fn(MemFs) -> Dump, is_allowed: fn(&str) -> bool) {
    let reference = &temporary();
    let mut met = 0;
    for (line, &(first, op)) in OPS.iter().enumerate().filter(|(_, (first, _))| is_allowed(first)) {
        for (column, &(second, other)) in OPS.iter().enumerate() {
            // The sanitizer, to which a store costs ten times as much, has every third pair.
            if !(line + column).is_multiple_of(SHARE) {
                continue;
            }
            met += meet_everywhere(reference, &format!("{first} and {second}"), op, &[other], open, last);
        }
        for (number, script) in SCRIPTS.iter().enumerate() {
            met +=
                meet_everywhere(reference, &format!("{first} and script {number}"), op, script, open, last);
        }
    }
    println!("{met} meetings");
    assert!(met > 1000 / SHARE, "only {met} meetings");
}

#[test]
fn two_that_meet_at_any_step_happen_one_after_the_other() {
    let fs = temporary();
    let emptied = || {
        clear(&fs);
        fs.clone()
    };
    meet(&emptied, &|fs| dump(&fs, ""), |_| true);
}

/// Who evicts there flushes, and who stands still in a flush holds up those who flush.
#[test]
fn two_that_meet_at_any_step_where_an_order_is_kept_happen_one_after_the_other() {
    let disk = std::cell::RefCell::new(CrashDisk::new());
    let shape = || builder().chunk_size(4096);
    let open_new = || {
        disk.replace(CrashDisk::new());
        open(&disk.borrow(), shape()).expect("a disk that works")
    };
    let last = |fs: MemFs| {
        fs.close().expect("a disk that works");
        dump(&open(&disk.borrow(), shape()).expect("what was closed"), "")
    };
    meet(&open_new, &last, |first| first != "evict");
}

/// While its bytes are on their way to disk, a block that was replaced must not come to be the file's again: the exchange
/// would succeed, and make the old bytes the file's.
#[test]
fn a_swap_out_that_is_held_up_undoes_nothing_that_was_written_since() {
    for writes in 1..80 {
        let fs = temporary();
        fs.write("/a", [0; 3000]).expect("room");
        let gate = Arc::new(Gate::default());
        thread::scope(|scope| {
            let evicting =
                scope.spawn(|| standing_still(Where::Step("swap-out: written"), &gate, || evict(&fs)));
            assert!(gate.wait().is_some(), "it does not come there");
            for i in 1..=writes {
                fs.write("/a", [i; 3000]).expect("room");
                // Lets go of what was retired.
                fs.read("/a").expect("it is there");
            }
            gate.open();
            evicting.join().expect("it ends");
        });
        assert!(fs.read("/a").expect("it is there") == [writes; 3000], "{writes} writes were undone");
        fs.validate();
    }
}
