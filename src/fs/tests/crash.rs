//! Failing calls and crashes at every place: an error, never a panic; and what is opened again is a prefix of history that has
//! all that was durable.

use super::*;
use crate::config::Priority;

/// What was done to a store, as far as a test knows it.
struct Run {
    /// Steps that were acknowledged before the last sync that returned.
    durable: u64,
    /// Steps that were tried.
    tried: u64,
}

/// Steps `from..to` of a history, a sync now and then; ends early when the store is of no more use.
fn run(fs: &MemFs, seed: u64, from: u64, to: u64) -> Run {
    run_as(fs, Durability::OnClose, seed, from, to)
}

/// The same, where what is acknowledged may be durable.
fn run_as(fs: &MemFs, durability: Durability, seed: u64, from: u64, to: u64) -> Run {
    let mut dice = Dice::new(seed ^ from);
    let mut between = Dice::new(!seed ^ from);
    let mut run = Run { durable: from, tried: from };
    for number in from..to {
        let done = Step::new(seed, number, "").apply(fs);
        // As the flusher's thread would, at any time.
        if between.roll(3) == 0 {
            fs.opener.core.condense(&fs.opener.core.local());
        }
        run.tried = number + 1;
        if done.is_ok() && durability == Durability::Sync || dice.roll(8) == 0 && fs.sync().is_ok() {
            run.durable = number + 1;
        }
    }
    run
}

/// Finds the prefix of history that a store shows, from what was durable to what was tried; the reference is left there.
fn find_prefix(found: &Dump, fs: &MemFs, seed: u64, run: &Run, from: u64, what: &str) -> u64 {
    let step = |number| drop(Step::new(seed, number, "").apply(fs));
    (from..run.durable).for_each(step);
    let mut number = run.durable;
    while dump(fs, "") != *found {
        assert!(
            number < run.tried,
            "{what}: no state from step {} to {} is that of the store",
            run.durable,
            run.tried
        );
        step(number);
        number += 1;
    }
    number
}

#[test]
fn what_a_crash_leaves_is_a_prefix_of_history() {
    for seed in 0..60 {
        histories(seed, builder(), Durability::OnClose);
    }
}

/// Under `Durability::Sync`, where most of it is in the journal's front: with all that was acknowledged.
#[test]
fn what_a_crash_leaves_has_all_that_was_acknowledged_as_durable() {
    for seed in 100..130 {
        histories(seed, builder().durability(Durability::Sync), Durability::Sync);
    }
}

fn histories(seed: u64, builder: Builder, durability: Durability) {
    let mut dice = Dice::new(seed);
    let mut disk = CrashDisk::new();
    let fs = reference();
    let mut at = 0;
    for round in 0..6 {
        let store = open(&disk, builder.clone())
            .unwrap_or_else(|error| panic!("seed {seed}, round {round}: {error}"));
        let what = format!("seed {seed}, round {round}");
        // What was found in the round before is still there.
        assert!(dump(&store, "") == dump(&fs, ""), "{what}: another state than when it was opened last");
        let run = run_as(&store, durability, seed, at, at + 1 + dice.roll(60));
        disk = if dice.roll(4) == 0 { disk.kill() } else { disk.crash(dice.next()) };
        std::mem::forget(store);
        disk = open_half(disk, &builder, &mut dice);
        let store = open(&disk, builder.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
        at = find_prefix(&dump(&store, ""), &fs, seed, &run, at, &what);
        // Steps that were lost are not made again: their numbers are not those of others.
        at = at.max(run.tried);
        store.close().expect("the disk works");
    }
}

/// One of a history of few files, most of whose contents come without a record of their own.
fn hammer(fs: &MemFs, seed: u64, number: u64) -> Result<()> {
    let mut dice = Dice::new(seed << 32 ^ number);
    let [file, other] = [(); 2].map(|()| format!("/file{}", dice.roll(3)));
    let mut some = |most| bytes(number, 1 + dice.roll(most) as usize);
    match number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60 {
        0 => fs.append(&file, some(300)),
        1 => fs.set_priority(&file, Priority::from_level(number as u8 % 9)),
        2 => fs.rename(&file, &other),
        3 => fs.remove_file(&file),
        4 => fs.write(&file, some(40 << 10)),
        _ => fs.write(&file, some(900)),
    }
}

#[test]
fn what_a_crash_leaves_of_changes_without_records_is_a_prefix() {
    let mut bare = 0;
    for seed in 0..80 {
        let (mut dice, disk) = (Dice::new(seed), CrashDisk::new());
        let store = open(&disk, builder()).expect("a disk that works");
        let core = &store.opener.core;
        let (mut durable, steps) = (0, 1 + dice.roll(80));
        for number in 0..steps {
            let placed = || core.log.as_ref().map(|log| log.order.last_place(&core.local().pin()));
            let before = placed();
            let done = hammer(&store, seed, number);
            bare += u64::from(done.is_ok() && placed() == before);
            match dice.roll(12) {
                0 => core.condense(&core.local()),
                1 => {
                    store.sync().expect("a disk that works");
                    durable = number + 1;
                }
                // Read from disk, and replaced.
                2 => drop(store.gc(0.0)),
                _ => {}
            }
        }
        let closed = dice.roll(4) == 0;
        if closed {
            store.close().expect("a disk that works");
            durable = steps;
        }
        let left = disk.crash(seed);
        std::mem::forget(store);
        let found = open(&left, builder()).expect("a disk that works");
        let found = dump(&found, "");
        let fs = reference();
        let mut prefixes = (0..=steps).filter(|number| {
            let is_it = *number >= durable && dump(&fs, "") == found;
            drop(hammer(&fs, seed, *number));
            is_it
        });
        assert!(prefixes.next().is_some(), "seed {seed}: no state from step {durable} to {steps}");
    }
    assert!(bare > 500, "{bare} changes without a record");
}

/// What a killed process has written may be in the page cache alone. Who opens the store builds on it, and must not take away
/// what the power would need if it went then.
#[test]
fn what_a_kill_leaves_outlasts_power_cuts_while_it_is_opened() {
    let builder = builder().durability(Durability::Sync);
    // The disk ends at call `end`, in the middle of something; then the process does.
    let killed_at = |end: u64| {
        let disk = CrashDisk::new();
        disk.plan(Some(Fault { call: end, errno: libc::EIO, lasting: true }));
        let Ok(store) = open(&disk, builder.clone()) else { return (disk, None) };
        let run = run_as(&store, Durability::Sync, KILLED_SEED, 0, 60);
        let _ = store.close();
        (disk, Some(run))
    };
    let calls = killed_at(u64::MAX).0.calls();
    // Every call of the end, where the journal takes over what the front has, and some before.
    for end in (0..calls - 40).step_by(9).chain(calls - 40..calls) {
        let (killed, Some(run)) = killed_at(end) else { continue };
        for call in 0.. {
            let disk = killed.kill();
            disk.plan(Some(Fault { call, errno: libc::EIO, lasting: true }));
            let opened = open(&disk, builder.clone());
            let came_to = disk.calls();
            for cut in 0..2 {
                let disk = disk.kill().crash(end << 20 ^ call << 8 ^ cut);
                let what = format!("killed at call {end}, opened for {call} calls, power cut {cut}");
                let store = open(&disk, builder.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
                find_prefix(&dump(&store, ""), &reference(), KILLED_SEED, &run, 0, &what);
            }
            drop(opened);
            if came_to <= call {
                break;
            }
        }
    }
}

const KILLED_SEED: u64 = 200;

/// Bytes that only the journal's front has are put back by the opening that succeeds.
#[test]
fn an_opening_that_fails_leaves_everything_to_the_next() {
    for seed in 300..310 {
        let builder = builder().durability(Durability::Sync);
        let disk = CrashDisk::new();
        let store = open(&disk, builder.clone()).expect("a disk that works");
        let fs = reference();
        for file in 0..1800 {
            for fs in [&store, &fs] {
                fs.write(format!("/many/{file:060}"), []).expect("room");
            }
        }
        let run = run_as(&store, Durability::Sync, seed, 0, 40);
        let disk = disk.crash(seed);
        std::mem::forget(store);
        let small = builder.clone().memory_limit_bytes(crate::config::MIN_LIMIT_BYTES);
        let refused = open(&disk, small).map(drop);
        let disk = disk.crash(seed);
        let what = format!("seed {seed}, after an opening that came to {refused:?}");
        assert!(matches!(refused, Err(Error::MemoryLimit { .. })), "{what}");
        let store = open(&disk, builder.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
        find_prefix(&dump(&store, ""), &fs, seed, &run, 0, &what);
    }
}

/// Now and then the power goes again while the store is opened.
fn open_half(disk: CrashDisk, builder: &Builder, dice: &mut Dice) -> CrashDisk {
    if dice.roll(3) > 0 {
        return disk;
    }
    disk.plan(Some(Fault { call: dice.roll(40), errno: libc::EIO, lasting: true }));
    let opened = open(&disk, builder.clone());
    let after = disk.crash(dice.next());
    drop(opened);
    after
}

/// Steps of the history in which any call may fail.
const STEPS: u64 = 150;

#[test]
fn any_call_may_fail_once_or_for_ever() {
    any_call_may_fail(builder(), Durability::OnClose, 7);
}

/// Also the syncs of segments before what is in the journal's front goes into the journal.
#[test]
fn any_call_may_fail_under_a_store_whose_changes_are_durable_at_once() {
    any_call_may_fail(builder().durability(Durability::Sync), Durability::Sync, 17);
}

fn any_call_may_fail(builder: Builder, durability: Durability, step: usize) {
    let calls = {
        let disk = CrashDisk::new();
        let store = open(&disk, builder.clone()).expect("a disk that works");
        run(&store, 7, 0, STEPS);
        store.close().expect("a disk that works");
        disk.calls()
    };
    assert!(calls > 100, "{calls} calls");
    // Every call of the first hundred, then some.
    for call in (0..100).chain((100..calls).step_by(step)) {
        for lasts in [false, true] {
            fail_at(builder.clone(), durability, call, lasts);
        }
    }
}

fn fail_at(builder: Builder, durability: Durability, call: u64, lasts: bool) {
    let what = format!("call {call}, for ever: {lasts}");
    let disk = CrashDisk::new();
    disk.plan(Some(Fault { call, errno: libc::EIO, lasting: lasts }));
    let run = match open(&disk, builder.clone()) {
        Ok(store) => {
            let run = run_as(&store, durability, 7, 0, STEPS);
            // What is in RAM can be read all the same.
            let _ = readable(&store);
            let _ = store.close();
            run
        }
        Err(error) => {
            assert!(!matches!(error, Error::Corrupt { .. }), "{what}: {error}");
            Run { durable: 0, tried: 0 }
        }
    };
    let disk = disk.crash(call);
    let store = open(&disk, builder).unwrap_or_else(|error| panic!("{what}: {error}"));
    find_prefix(&dump(&store, ""), &reference(), 7, &run, 0, &what);
}

#[test]
fn a_disk_that_fills_up_loses_nothing_and_goes_on_when_there_is_room() {
    for room in [0, 4 << 10, 100 << 10, 300 << 10, 700 << 10, 1500 << 10] {
        let disk = CrashDisk::new();
        let Ok(store) = open(&disk, builder()) else { panic!("an empty store needs little") };
        disk.set_room(Some(disk.used_bytes() + room));
        let before = run(&store, 3, 0, 80);
        disk.set_room(None);
        store.sync().unwrap_or_else(|error| panic!("room {room}: {error}"));
        let now = dump(&store, "");
        let disk = disk.crash(room);
        std::mem::forget(store);
        let store = open(&disk, builder()).expect("a disk that works");
        assert!(dump(&store, "") == now, "room {room}: what was synced is there");
        assert_eq!(before.tried, 80);
    }
}

/// What went to disk at once, for want of RAM, was named by the batch where it was, for ever, though its segment could not be
/// synced.
#[test]
fn after_any_call_that_failed_once_a_sync_succeeds_and_everything_is_there() {
    // The long one has more bytes than there is RAM.
    let long = bytes(1, 3 << 20);
    let begin = || {
        let disk = CrashDisk::new();
        let store = open(&disk, builder()).expect("a disk that works");
        store.write("/short", bytes(2, 10_000)).and_then(|()| store.sync()).expect("a disk that works");
        disk.plan(None);
        (disk, store)
    };
    let calls = {
        let (disk, store) = begin();
        store.write("/long", &long).and_then(|()| store.sync()).expect("a disk that works");
        disk.calls()
    };
    // Some of those that write the chunks, and all that make them last.
    for call in (0..calls - 40).step_by(9).chain(calls - 40..calls) {
        let (disk, store) = begin();
        disk.plan(Some(Fault { call, errno: libc::EIO, lasting: false }));
        if let Err(first) = store.write("/long", &long) {
            store.write("/long", &long).unwrap_or_else(|error| panic!("call {call}: {error} after {first}"));
        }
        if let Err(first) = store.sync() {
            store.sync().unwrap_or_else(|error| panic!("call {call}: {error} after {first}"));
        }
        let disk = disk.crash(call);
        std::mem::forget(store);
        let store = open(&disk, builder()).unwrap_or_else(|error| panic!("call {call}: {error}"));
        assert!(store.read("/long").expect("readable") == long, "call {call}");
        assert!(store.read("/short").expect("readable") == bytes(2, 10_000), "call {call}");
        store.validate();
    }
}
