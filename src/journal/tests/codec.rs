//! Entries as bytes.

use super::super::{
    Batch, Entry, Kind,
    batch::Entries,
    entry::{decode, encode},
};
use proptest::{collection::vec, prelude::*};

fn name() -> impl Strategy<Value = String> {
    "[^/\\\\\0]{1,60}".prop_filter("a path's own names", |name| name != "." && name != "..")
}

fn id() -> impl Strategy<Value = u32> {
    prop_oneof![2..300u32, 2..=u32::MAX]
}

/// Ascending, however the numbers came.
fn chunks() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let index = prop_oneof![0..300u64, 0..u64::MAX];
    vec((index, any::<u64>()), 0..40).prop_map(|mut chunks| {
        chunks.sort_unstable();
        chunks.dedup_by_key(|chunk| chunk.0);
        chunks
    })
}

fn round_trip(entry: &Entry<'_>) {
    let mut bytes = Vec::new();
    encode(entry, &mut bytes);
    let mut scratch = Vec::new();
    assert_eq!(decode(&bytes, &mut scratch).as_ref(), Ok(entry));
    for len in 0..bytes.len() {
        decode(&bytes[..len], &mut Vec::new()).expect_err("cut short");
    }
    bytes.push(0);
    decode(&bytes, &mut Vec::new()).expect_err("a byte too many");
}

proptest! {
    #[test]
    fn entries_come_back_whole_or_not_at_all(
        (id, parent, other) in (id(), id(), id()).prop_filter("three nodes", |(a, b, c)| a != b && a != c),
        name in name(),
        chunks in chunks(),
        (created_ns, modified_ns, len) in any::<(u64, u64, u64)>(),
        priority in 0..=10u8,
        (yes, extent) in any::<(bool, u64)>(),
    ) {
        let kind = if yes { Kind::File } else { Kind::Directory };
        let name = name.as_str();
        round_trip(&Entry::Make { id, parent, kind, name, created_ns, modified_ns, priority });
        round_trip(&Entry::Content { id, modified_ns, len, reset: yes, chunks: &chunks });
        round_trip(&Entry::Rename { id, parent, name, replaced: yes.then_some(other) });
        round_trip(&Entry::Remove { id });
        round_trip(&Entry::Priority { id, priority });
        round_trip(&Entry::Move { id, chunk: len, from: extent.max(1), to: modified_ns.max(1) });
    }

    #[test]
    fn any_bytes_are_an_entry_or_an_error_and_take_no_more_memory_than_they_are(
        bytes in vec(any::<u8>(), 0..300),
        tag in 0..12u8,
    ) {
        let mut chunks = Vec::new();
        let _ = decode(&bytes, &mut chunks);
        let _ = decode(&[&[tag, 2], &bytes[..]].concat(), &mut chunks);
        prop_assert!(chunks.capacity() <= bytes.len());
        for framed in Entries::new(&bytes, false) {
            let _ = framed.body.map(|body| decode(body, &mut Vec::new()).map(drop));
        }
    }
}

#[test]
fn what_no_node_can_be_is_refused() {
    let make = |id, parent, kind, name| {
        let mut bytes = Vec::new();
        encode(
            &Entry::Make { id, parent, kind, name, created_ns: 1, modified_ns: 1, priority: 5 },
            &mut bytes,
        );
        decode(&bytes, &mut Vec::new()).map(drop)
    };
    make(2, 1, Kind::File, "a").unwrap();
    make(1, 0, Kind::Directory, "").unwrap();
    make(1, 0, Kind::File, "").unwrap_err();
    make(1, 2, Kind::Directory, "a").unwrap_err();
    for (id, parent, name) in [(0, 1, "a"), (2, 0, "a"), (2, 2, "a"), (2, 1, "")] {
        make(id, parent, Kind::File, name).unwrap_err();
    }
    for name in [".", "..", "a/b", "a\\b", "a\0"] {
        make(2, 1, Kind::Directory, name).unwrap_err();
    }
}

#[test]
fn a_batch_lists_what_was_put_in() {
    let entries = [Entry::Remove { id: 9 }, Entry::Priority { id: 300, priority: 3 }];
    let mut batch = Batch::new(7);
    for entry in &entries {
        batch.push(entry);
        batch.end_operation();
    }
    assert_eq!((batch.first_seq(), batch.next_seq(), batch.is_empty()), (7, 9, false));
    let mut good = Vec::new();
    for framed in Entries::new(&batch.payload, true) {
        good.push(decode(framed.body.unwrap(), &mut Vec::new()).map(|entry| format!("{entry:?}")).unwrap());
    }
    assert_eq!(good, entries.map(|entry| format!("{entry:?}")));
    // One byte of the second: it alone is bad.
    let at = batch.payload.len() - 1;
    batch.payload[at] ^= 1;
    let verdicts: Vec<_> = Entries::new(&batch.payload, true).map(|framed| framed.body.is_ok()).collect();
    assert_eq!(verdicts, [true, false]);
    batch.restart(9);
    assert!(batch.is_empty() && batch.len_bytes() == 0);
}
