//! Bytes that are not what was written: told, or harmless, and never more lost in silence than the last operation.

use super::{
    super::{Batch, Entry, Harm, Journal, Opened, Redo, fsck},
    histories::{bytes_of, dir, params},
    world::{Rng, State, World, node_of, visited},
};
use crate::{
    error::{Error, Result},
    segment::crash::CrashDisk,
};
use std::{path::PathBuf, sync::Arc};

/// A store with a checkpoint, several batches after it, and the state before each operation.
struct Store {
    disk: CrashDisk,
    journal: Journal,
    world: World,
    states: Vec<State>,
    rng: Rng,
}

impl Store {
    fn new(seed: u64) -> Self {
        let disk = CrashDisk::new();
        let journal = Journal::create(Arc::new(disk.clone()), dir(), &params()).unwrap();
        let (world, states) = (World::default(), vec![State::new(); 2]);
        let mut store = Self { disk, journal, world, states, rng: Rng(seed) };
        store.append(40);
        store.append(10);
        store.journal.checkpoint().unwrap();
        for operations in [12, 1, 30, 9] {
            store.append(operations);
        }
        store
    }

    fn append(&mut self, operations: u64) {
        let batch = self.batch(operations);
        self.journal.append(&batch).unwrap();
    }

    fn batch(&mut self, operations: u64) -> Batch {
        let mut batch = Batch::new(self.journal.next_seq());
        for _ in 0..operations {
            self.world.step(&mut self.rng).push_to(&mut batch);
            self.states.push(self.world.nodes.clone());
        }
        batch
    }

    /// Some operations into the front, with the bytes of an extent, if there is room.
    fn append_ahead(&mut self, operations: u64) -> bool {
        let (states, world) = (self.states.len(), self.world.clone());
        let batch = self.batch(operations);
        let extent = 1 << 50 | self.journal.next_seq();
        let mut redo = Redo::new(1 << 20);
        redo.restart();
        redo.push(extent, &bytes_of(extent));
        let done = self.journal.append_ahead(&batch, &redo, 8 << 10);
        if !done {
            self.states.truncate(states);
            self.world = world;
        }
        done
    }

    /// With batches in a front, under which there are older ones.
    fn with_front(seed: u64) -> Self {
        let mut store = Self::new(seed);
        while store.append_ahead(4) {}
        store.append(3);
        for operations in [7, 2, 5] {
            assert!(store.append_ahead(operations));
        }
        store
    }

    fn last(&self) -> &State {
        self.states.last().unwrap()
    }

    /// As a crash leaves it that takes what was written last and not synced: the mark.
    fn without_mark(&self) -> CrashDisk {
        let disk = self.disk.image();
        let path = journal_path(&disk);
        let mut bytes = disk.contents(&path).unwrap();
        let mark = bytes.windows(8).rposition(|window| window == b"\x01synced\x02").expect("a mark");
        bytes[mark..mark + 64].fill(0);
        disk.put(&path, bytes);
        disk
    }
}

fn files(disk: &CrashDisk) -> Vec<PathBuf> {
    use crate::segment::Disk;
    disk.list(dir()).unwrap().into_iter().map(|name| dir().join(name)).collect()
}

fn journal_path(disk: &CrashDisk) -> PathBuf {
    files(disk).pop().expect("the journal's name comes last")
}

fn open(disk: &CrashDisk) -> Result<(Opened, State)> {
    let disk = Arc::new(disk.image());
    let mut opened = Journal::open(disk, dir())?.unwrap_or_else(|| panic!("no store any more"));
    let state = visited(&mut opened)?;
    Ok((opened, state))
}

/// Opens a store of which one thing was changed, and checks it; what became of it.
fn judge(store: &Store, disk: &CrashDisk, what: &str) -> &'static str {
    let last = store.states.len() - 1;
    let opened = match open(disk) {
        Ok((opened, state)) => {
            let next = opened.journal.next_seq() as usize;
            assert!(next + 1 >= last, "{what}: {} operations are lost in silence", last - next);
            assert!(state == store.states[next], "{what}: another state");
            assert!(opened.contents.iter().all(|(extent, bytes)| *bytes == bytes_of(*extent)), "{what}");
            true
        }
        Err(Error::Corrupt { path, .. }) => {
            assert!(path.contains("/store/"), "{what}: {path} is no file");
            false
        }
        Err(error) => panic!("{what}: {error}"),
    };
    let fsck = fsck(disk, dir()).unwrap().expect("there is a store");
    assert_eq!(fsck.is_sound(), opened, "{what}: {:#?}", fsck.findings);
    let nodes: State = fsck.nodes().map(|node| (node.id, node_of(&node))).collect();
    assert!(!opened || nodes == *store.last() || fsck.next_seq as usize == last - 1, "{what}");
    if opened { "opened" } else { "refused" }
}

fn each_flip(store: &Store, disk: &CrashDisk) {
    for path in files(disk) {
        let bytes = disk.contents(&path).unwrap();
        // All of what is in use, and some of the zeros that follow.
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let zeros = (used..bytes.len()).step_by(61);
        let mut refused = 0;
        for at in (0..used).chain(zeros) {
            let flips = if at % 3 == 0 { [1u8 << (at % 8), bytes[at]] } else { [0xff, 0] };
            for flip in flips.into_iter().filter(|flip| *flip != 0) {
                let mut bad = bytes.clone();
                bad[at] ^= flip;
                let disk = disk.image();
                disk.put(&path, bad);
                let verdict =
                    judge(store, &disk, &format!("{} byte {at} of {used} by {flip:#x}", path.display()));
                refused += u64::from(verdict == "refused");
            }
        }
        assert!(refused * 2 > used as u64, "{}: {refused} of {used} seen", path.display());
    }
}

#[test]
fn a_flipped_byte_after_a_close_is_harmless_or_told() {
    let store = Store::new(1);
    let (disk, journal) = (store.disk.clone(), store.journal);
    journal.close().unwrap();
    let disk = disk.image();
    let journal = Journal::create(Arc::new(CrashDisk::new()), dir(), &params()).unwrap();
    let store = Store { journal, ..store };
    assert!(open(&disk).unwrap().0.recovery.clean);
    each_flip(&store, &disk);
}

#[test]
fn a_flipped_byte_after_a_kill_is_harmless_or_told() {
    let store = Store::new(2);
    let disk = store.disk.image();
    assert!(!open(&disk).unwrap().0.recovery.clean);
    each_flip(&store, &disk);
}

#[test]
fn a_flipped_byte_in_a_last_batch_without_a_mark_is_not_taken_for_a_torn_tail() {
    let store = Store::new(3);
    let disk = store.without_mark();
    assert_eq!(judge(&store, &disk, "as it is"), "opened");
    each_flip(&store, &disk);
}

#[test]
fn a_file_cut_to_any_length_is_whole_or_told() {
    let store = Store::new(4);
    for disk in [store.disk.image(), store.without_mark()] {
        for path in files(&disk) {
            let bytes = disk.contents(&path).unwrap();
            for len in 0..bytes.len() {
                // Around the edges of sectors; what is between is alike.
                if len % 512 > 2 && len % 512 < 510 && len % 97 != 0 {
                    continue;
                }
                let disk = disk.image();
                disk.put(&path, bytes[..len].to_vec());
                let what = format!("{} cut to {len} of {}", path.display(), bytes.len());
                assert_eq!(judge(&store, &disk, &what), "refused", "{what}");
            }
            let disk = disk.image();
            disk.take(&path);
            assert!(open_missing(&disk).is_err(), "{} is gone", path.display());
        }
    }
}

fn front_path(disk: &CrashDisk) -> PathBuf {
    files(disk).into_iter().find(|path| path.to_str().unwrap().contains("front")).expect("a front")
}

#[test]
fn a_flipped_byte_in_a_front_is_harmless_or_told() {
    let store = Store::with_front(10);
    let disk = store.disk.image();
    let path = front_path(&disk);
    let bytes = disk.contents(&path).unwrap();
    let (mut refused, opened) = (0, open(&disk).unwrap());
    assert!(opened.0.contents.len() == 3 && opened.1 == *store.last());
    for at in 0..bytes.len() {
        for flip in [1 << (at % 8), 0xff] {
            let mut bad = bytes.clone();
            bad[at] ^= flip;
            let disk = disk.image();
            disk.put(&path, bad);
            let what = format!("byte {at} by {flip:#x}");
            let verdict = judge(&store, &disk, &what);
            assert!(verdict == "refused" || open(&disk).unwrap().1 == *store.last(), "{what}");
            refused += u64::from(verdict == "refused");
        }
    }
    assert!(refused > 2000, "{refused} seen");
}

#[test]
fn a_front_cut_to_any_length_is_told() {
    let store = Store::with_front(11);
    let disk = store.disk.image();
    let path = front_path(&disk);
    let bytes = disk.contents(&path).unwrap();
    for len in (0..bytes.len()).step_by(37) {
        disk.put(&path, bytes[..len].to_vec());
        assert_eq!(judge(&store, &disk, &format!("cut to {len}")), "refused");
    }
}

#[test]
fn a_torn_frame_of_a_front_is_cut_whatever_was_there_before() {
    let mut store = Store::with_front(12);
    let path = front_path(&store.disk);
    let before = store.disk.contents(&path).unwrap();
    let next = store.journal.next_seq();
    assert!(store.append_ahead(6));
    let after = store.disk.contents(&path).unwrap();
    let changed: Vec<usize> =
        (0..after.len() / 512).filter(|at| after[at * 512..][..512] != before[at * 512..][..512]).collect();
    assert!((2..12).contains(&changed.len()), "{} sectors", changed.len());
    for subset in 0..(1 << changed.len()) - 1 {
        let mut bytes = before.clone();
        let kept = changed.iter().enumerate().filter(|(bit, _)| subset >> bit & 1 == 1);
        for (_, sector) in kept {
            bytes[sector * 512..][..512].copy_from_slice(&after[sector * 512..][..512]);
        }
        let disk = store.disk.image();
        disk.put(&path, bytes);
        let opened = open(&disk).unwrap_or_else(|error| panic!("sectors {subset:#b}: {error}"));
        assert_eq!(opened.0.journal.next_seq(), next, "sectors {subset:#b}");
        assert!(opened.1 == store.states[next as usize] && fsck(&disk, dir()).unwrap().unwrap().is_sound());
    }
    // A process may be killed within a write.
    let (from, to) = (changed[0] * 512, (changed[changed.len() - 1] + 1) * 512);
    for cut in from..to {
        let disk = store.disk.image();
        disk.put(&path, [&after[..cut], &before[cut..]].concat());
        let opened = open(&disk).unwrap_or_else(|error| panic!("up to {cut} of {to}: {error}"));
        let found = opened.0.journal.next_seq();
        // Without the end of the last stamp all that counts is there.
        assert!(found == next || cut + 512 > to, "up to {cut} of {to}");
        assert!(opened.1 == store.states[found as usize], "up to {cut}");
    }
}

fn open_missing(disk: &CrashDisk) -> Result<()> {
    Journal::open(Arc::new(disk.image()), dir()).map(drop)
}

#[test]
fn bytes_after_the_end_are_harmless_or_told() {
    let store = Store::new(5);
    let disk = store.disk.image();
    for path in files(&disk) {
        let bytes = disk.contents(&path).unwrap();
        let frame = bytes[512.min(bytes.len() / 2)..].to_vec();
        let mut rng = Rng(9);
        let random: Vec<u8> = (0..3000).map(|_| rng.below(256) as u8).collect();
        for garbage in [vec![0], vec![0; 5000], vec![0xff; 700], random, frame, bytes.clone()] {
            let disk = disk.image();
            disk.put(&path, [bytes.clone(), garbage].concat());
            judge(&store, &disk, &format!("{} with more", path.display()));
        }
    }
}

#[test]
fn an_older_beginning_over_a_newer_state_is_refused() {
    let mut store = Store::new(6);
    let older = store.disk.image();
    let path = journal_path(&older);
    let old = older.contents(&path).unwrap();
    let used = old.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    store.append(3);
    store.append(3);
    let disk = store.disk.image();
    let mut bytes = disk.contents(&path).unwrap();
    // Over the beginning: the old mark, and after it what was written later.
    bytes[..used.next_multiple_of(512)].copy_from_slice(&old[..used.next_multiple_of(512)]);
    disk.put(&path, bytes);
    assert_eq!(judge(&store, &disk, "an old beginning"), "refused");

    // A whole old file, when a checkpoint has gone past it.
    store.journal.checkpoint().unwrap();
    store.append(2);
    let disk = store.disk.image();
    let newer = journal_path(&disk);
    disk.put(&newer, old.clone());
    assert_eq!(judge(&store, &disk, "an old file under a new name"), "refused");
    let disk = store.disk.image();
    for old_file in files(&older) {
        disk.put(&old_file, older.contents(&old_file).unwrap());
    }
    assert_eq!(judge(&store, &disk, "the old files beside the new"), "opened");
    disk.take(&newer);
    assert_eq!(judge(&store, &disk, "the old files and a new checkpoint"), "refused");
}

/// The same store, after other changes each time that take as much space and as many operations.
fn fork(disk: &CrashDisk, priority: u8, checkpoint: bool) -> CrashDisk {
    let disk = disk.image();
    let mut journal = Journal::open(Arc::new(disk.clone()), dir()).unwrap().unwrap().journal;
    for _ in 0..2 {
        let mut batch = Batch::new(journal.next_seq());
        batch.push(&Entry::Priority { id: 2, priority });
        batch.end_operation();
        journal.append(&batch).unwrap();
    }
    if checkpoint {
        journal.checkpoint().unwrap();
    }
    disk
}

#[test]
fn pieces_of_two_histories_do_not_make_a_third() {
    let store = Store::new(9);
    let path = journal_path(&fork(&store.disk, 3, false));
    let [one, other] = [3, 4].map(|priority| fork(&store.disk, priority, false).contents(&path).unwrap());
    let disk = fork(&store.disk, 3, false);
    let opens = |disk: &CrashDisk| match open(disk) {
        Ok(_) => true,
        Err(Error::Corrupt { .. }) => false,
        Err(error) => panic!("{error}"),
    };
    assert!(opens(&disk));
    // The second batch of one after the first of the other.
    disk.put(&path, [&one[..1024], &other[1024..]].concat());
    assert!(!opens(&disk));
    // The journal that follows the one's checkpoint, with the other's.
    let [one, other] = [3, 4].map(|priority| fork(&store.disk, priority, true));
    let path = journal_path(&one);
    one.put(&path, other.contents(&path).unwrap());
    assert!(!opens(&one));
}

#[test]
fn an_old_checkpoint_stands_in_for_a_damaged_new_one_while_it_has_its_journal() {
    let store = Store::new(7);
    let mut store = store;
    let job = store.journal.begin_checkpoint().unwrap().unwrap();
    store.append(4);
    job.run(&|| true).unwrap().unwrap();
    // As if the process ended before the old files were removed.
    let disk = store.disk.image();
    let checkpoints: Vec<_> =
        files(&disk).into_iter().filter(|path| path.to_str().unwrap().contains("checkpoint")).collect();
    assert_eq!(checkpoints.len(), 2);
    for at in [20, 200, 600, 1500] {
        let disk = disk.image();
        let mut bytes = disk.contents(&checkpoints[1]).unwrap();
        bytes[at] ^= 4;
        disk.put(&checkpoints[1], bytes);
        assert_eq!(judge(&store, &disk, "the new checkpoint damaged"), "opened");
        assert_eq!(open(&disk).unwrap().1, *store.last());
    }
}

#[test]
fn what_verifies_in_a_damaged_store_is_salvaged() {
    let store = Store::new(8);
    let disk = store.disk.image();
    let path = journal_path(&disk);
    let bytes = disk.contents(&path).unwrap();
    // The first batch after the checkpoint, in its fifth entry or so.
    let mut bad = bytes.clone();
    bad[512 + 64 + 120] ^= 1;
    disk.put(&path, bad);
    let found = fsck(&disk, dir()).unwrap().unwrap();
    assert!(!found.is_sound());
    let damage: Vec<_> = found.findings.iter().filter(|finding| finding.harm == Harm::Damage).collect();
    assert!(
        damage.iter().all(|finding| path.ends_with(&finding.file) || finding.path.is_some()),
        "{damage:#?}"
    );
    assert!(damage.iter().any(|finding| (512..1536).contains(&finding.offset)), "{damage:#?}");
    let saved: State = found.nodes().map(|node| (node.id, node_of(&node))).collect();
    let same = saved.iter().filter(|(id, node)| store.last().get(id) == Some(node)).count();
    assert!(same * 10 > store.last().len() * 8, "{same} of {}", store.last().len());

    // The checkpoint's header: the journal knows what the store is.
    let disk = store.disk.image();
    let path = files(&disk).remove(0);
    let mut bytes = disk.contents(&path).unwrap();
    bytes[300] ^= 1;
    disk.put(&path, bytes);
    let found = fsck(&disk, dir()).unwrap().unwrap();
    assert!(!found.is_sound());
    assert_eq!(found.params, Some(params()));
    let saved: State = found.nodes().map(|node| (node.id, node_of(&node))).collect();
    assert_eq!(saved, *store.last());
}
