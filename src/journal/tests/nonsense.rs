//! Bytes whose checksums are right and that say what cannot be: an error, and never a panic, a hang, or a tree that is none.

use super::{
    super::{
        Batch, Entry, Journal, Kind, NodeView,
        checkpoint::{Header, Writer},
        fsck,
    },
    histories::{dir, params},
    world::{Rng, visited},
};
use crate::{
    error::{Error, Result},
    segment::crash::CrashDisk,
};
use std::sync::Arc;

fn store() -> (CrashDisk, Journal) {
    let disk = CrashDisk::new();
    let journal = Journal::create(Arc::new(disk.clone()), dir(), &params()).unwrap();
    (disk, journal)
}

/// Opens what is there, and checks it; whether it opened.
fn judge(disk: &CrashDisk) -> bool {
    let found = fsck(disk, dir()).unwrap().expect("there is a store");
    let opened = Journal::open(Arc::new(disk.image()), dir())
        .and_then(|opened| visited(&mut opened.expect("there is a store")));
    match opened {
        Ok(_) => true,
        Err(Error::Corrupt { .. }) => {
            assert!(!found.is_sound(), "it cannot be opened, and nothing is wrong");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

fn make(id: u32, parent: u32, kind: Kind, name: &str) -> Entry<'_> {
    Entry::Make { id, parent, kind, name, created_ns: 1, modified_ns: 1, priority: 5 }
}

fn opens_with(entries: &[Entry<'_>], in_checkpoint: bool) -> bool {
    let (disk, mut journal) = store();
    let mut batch = Batch::new(1);
    for (index, entry) in entries.iter().enumerate() {
        batch.push(entry);
        batch.end_operation();
        if in_checkpoint && index == 0 {
            journal.append(&batch).unwrap();
            journal.checkpoint().unwrap();
            batch.restart(2);
        }
    }
    journal.append(&batch).unwrap();
    judge(&disk)
}

#[test]
fn what_is_no_tree_is_refused() {
    use Kind::{Directory, File};
    let content = Entry::Content { id: 2, modified_ns: 1, len: 5, reset: true, chunks: &[(0, 9)] };
    let into = |id, parent| Entry::Rename { id, parent, name: "n", replaced: None };
    for in_checkpoint in [false, true] {
        assert!(opens_with(&[make(2, 1, Directory, "a"), make(3, 2, File, "b")], in_checkpoint));
        assert!(opens_with(&[make(2, 1, File, "a"), content], in_checkpoint));
        for wrong in [
            &[make(2, 1, File, "a"), make(2, 1, File, "b")][..],
            &[make(2, 1, File, "a"), make(3, 2, File, "b")],
            &[make(2, 1, File, "a"), make(3, 2, Directory, "b")],
            &[make(2, 1, Directory, "a"), content],
            &[make(2, 1, Directory, "a"), make(3, 2, File, "b"), Entry::Remove { id: 2 }],
            &[make(2, 1, Directory, "a"), make(3, 2, Directory, "b"), into(2, 3)],
            &[make(3, 7, File, "b")],
            &[make(3, 7, Directory, "b")],
        ] {
            assert!(!opens_with(wrong, in_checkpoint), "{wrong:?}");
        }
        // What has no name counts for nothing.
        let nameless = [
            make(2, 1, File, "a"),
            Entry::Remove { id: 2 },
            content,
            into(2, 1),
            Entry::Priority { id: 9, priority: 3 },
        ];
        assert!(opens_with(&nameless, in_checkpoint));
    }
}

#[test]
fn any_entries_lead_to_a_tree_or_an_error() {
    let mut rng = Rng(77);
    let mut opened = 0;
    for _ in 0..600 {
        let (disk, mut journal) = store();
        for _ in 0..3 {
            let mut batch = Batch::new(journal.next_seq());
            for _ in 0..1 + rng.below(4) {
                let (id, parent) = (2 + rng.below(4) as u32, 1 + rng.below(5) as u32);
                let parent = if parent == id { 1 } else { parent };
                let kind = if rng.one_in(2) { Kind::File } else { Kind::Directory };
                let chunks = [(rng.below(3), rng.below(3)), (3 + rng.below(1 << 60), rng.next())];
                let len = if rng.one_in(3) { 0 } else { rng.below(200) };
                let listed = if len == 0 { &chunks[..0] } else { &chunks[..] };
                let replaced = Some(9 + rng.below(3) as u32).filter(|_| rng.one_in(2));
                let entry = match rng.below(6) {
                    0..3 => make(id, parent, kind, ["a", "b", "c"][rng.below(3) as usize]),
                    3 => Entry::Rename { id, parent, name: "d", replaced },
                    4 => Entry::Remove { id },
                    _ => Entry::Content { id, modified_ns: 1, len, reset: rng.one_in(2), chunks: listed },
                };
                batch.push(&entry);
            }
            batch.end_operation();
            journal.append(&batch).unwrap();
            if rng.one_in(2) {
                // What cannot be opened may not be made a checkpoint of either; nothing else is asked here.
                let _ = journal.checkpoint();
            }
        }
        opened += u64::from(judge(&disk));
    }
    assert!((30..570).contains(&opened), "{opened} of 600 opened");
}

#[test]
fn any_bytes_with_the_right_checksums_are_an_error() {
    let mut rng = Rng(78);
    for _ in 0..2000 {
        let (disk, mut journal) = store();
        let mut batch = Batch::new(1);
        batch.push(&make(2, 1, Kind::Directory, "a"));
        batch.push(&make(3, 2, Kind::File, "b"));
        batch.push(&Entry::Content {
            id: 3,
            modified_ns: 1,
            len: 30,
            reset: true,
            chunks: &[(0, 9), (1, 5)],
        });
        let mut payload = batch.payload.clone();
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(payload.len() as u64) as usize;
            payload[at] = rng.next() as u8;
        }
        payload.truncate(payload.len() - (rng.below(3) * rng.below(3)) as usize);
        let bad = Batch::from_disk(1, 1, rng.below(4) as u32, payload);
        journal.append(&bad).unwrap();
        judge(&disk);
    }
}

fn checkpoint_of(nodes: &[NodeView<'_>]) -> Result<CrashDisk> {
    let (disk, journal) = store();
    journal.close()?;
    let chain = crc32c::crc32c(&params().store_id.to_le_bytes());
    let mut writer = Writer::create(&disk, dir(), Header::new(params(), 1, chain))?;
    for node in nodes {
        writer.push(node)?;
    }
    writer.finish()?;
    Ok(disk)
}

#[test]
fn a_checkpoint_of_what_is_no_tree_is_refused() {
    let node = |id, parent, kind, chunks| NodeView {
        id,
        parent,
        kind,
        name: "n",
        created_ns: 1,
        modified_ns: 1,
        priority: 5,
        len: 0,
        chunks,
    };
    let directory = |id, parent| node(id, parent, Kind::Directory, &[]);
    let file = |id, parent| node(id, parent, Kind::File, &[]);
    assert!(judge(&checkpoint_of(&[directory(5, 4), directory(4, 1), file(6, 5)]).unwrap()));
    for wrong in [
        &[directory(4, 5), directory(5, 4)][..],
        &[directory(4, 5), directory(5, 6), directory(6, 5), directory(7, 1)],
        &[directory(4, 9)],
        &[directory(4, 1), directory(4, 1)],
        &[directory(4, 1), file(4, 1)],
        &[directory(4, 1), file(5, 1), file(6, 5)],
        &[file(6, 7)],
        &[node(6, 1, Kind::File, &[(0, 0)])],
    ] {
        assert!(!judge(&checkpoint_of(wrong).unwrap()), "{wrong:?}");
    }
}
