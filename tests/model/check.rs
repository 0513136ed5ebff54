//! What has to hold once a sequence is over.

use super::{
    apply::{Held, Pair},
    ops::{GLOBS, Way},
    plain::Node,
};
use crate::{assert_fails, common::kind::Fails};

/// Every path that a sequence can have touched.
fn all_paths() -> Vec<String> {
    let names = ["a", "b", "c"];
    let mut out: Vec<String> = Vec::new();
    for first in names {
        out.push(format!("/{first}"));
        for second in names {
            out.push(format!("/{first}/{second}"));
            out.extend(names.iter().map(|third| format!("/{first}/{second}/{third}")));
        }
    }
    out
}

/// Every name, every file by every way of reading, every handle and everything held.
pub(crate) fn all_agrees(pair: &mut Pair) {
    pair.held.iter().for_each(Held::check);
    for path in all_paths() {
        assert_eq!(pair.fs.exists(&path), pair.plain.node(&path).is_ok(), "{path}");
        pair.metadata(&path);
        pair.read_dir(&path);
        for way in [Way::Read, Way::ReadWith, Way::Get, Way::GetChunks, Way::ReadBytes] {
            pair.read(&path, way);
        }
    }
    pair.walk("");
    (0..GLOBS.len()).for_each(|which| pair.glob(which));
    for handle in pair.handles.iter().flatten().filter(|handle| handle.opening.read) {
        let expected = &pair.plain.files[handle.id].bytes;
        let mut buf = vec![0; expected.len() + 1];
        let n = handle.file.read_at(&mut buf, 0).unwrap();
        assert!(buf[..n] == expected[..], "a handle reads something else");
    }
    counts_agree(pair);
}

fn counts_agree(pair: &Pair) {
    let stats = pair.fs.stats();
    let files = pair.plain.names.values().filter(|node| matches!(node, Node::File(_))).count() as u64;
    assert!(stats.memory.file_count <= files + 4, "{files} files, {:?}", stats.memory);
    assert!(pair.fs.memory_map().len() as u64 <= files, "more files resident than there are");
}

/// Closing takes the store away from handles and names, not the bytes from those who hold them.
pub(crate) fn closed_store_keeps_what_is_held(mut pair: Pair) {
    pair.fs.close().unwrap();
    for path in all_paths() {
        assert!(!pair.fs.exists(&path));
        assert_fails!(pair.fs.read(&path), Closed);
    }
    for handle in pair.handles.iter().flatten() {
        let error = handle.file.metadata().expect_err("a handle outlives the store");
        assert_eq!(error.variant(), crate::common::kind::Kind::Closed);
    }
    pair.held.iter().for_each(Held::check);
    pair.held.clear();
}
