//! Files of a store that is opened, read ahead: while this thread gives them their names, another one reads, verifies and
//! decodes those that come next.
//!
//! Owns the batches in which they go from one to the other, and how many of those there are: memory is bounded by
//! [`BATCH_BYTES`], however large the store. It must never know what becomes of a node.

use crate::{
    error::{Error, Result},
    journal::{Kind, NodeView, Recovery},
    sync::thread,
};
use std::{mem::take, sync::mpsc};

/// Stores of fewer nodes are read by one thread: it would take the other one longer to begin.
const WORTH_NODES: u64 = if cfg!(test) { 16 } else { 16 << 10 };
/// What a batch has, or little more; of a file with a long list of chunks as much as that takes.
const BATCH_BYTES: usize = if cfg!(test) { 1 << 10 } else { 64 << 10 };
/// Batches that may wait; two more are in hand. Few, for one with a long list of chunks is as large as that.
const WAITING: usize = 1;

/// A node whose name and chunks are in its batch.
struct Entry {
    id: u32,
    parent: u32,
    kind: Kind,
    name_end: u32,
    chunks_end: u32,
    priority: u8,
    created_ns: u64,
    modified_ns: u64,
    len: u64,
}

/// Nodes, each beginning where the one before ends.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    names: String,
    chunks: Vec<(u64, u64)>,
}

impl Batch {
    fn push(&mut self, node: &NodeView<'_>) {
        self.names.push_str(node.name);
        self.chunks.extend_from_slice(node.chunks);
        self.entries.push(Entry {
            id: node.id,
            parent: node.parent,
            kind: node.kind,
            name_end: self.names.len() as u32,
            chunks_end: self.chunks.len() as u32,
            priority: node.priority,
            created_ns: node.created_ns,
            modified_ns: node.modified_ns,
            len: node.len,
        });
    }

    fn is_full(&self) -> bool {
        let chunk_bytes = self.chunks.len() * size_of::<(u64, u64)>();
        self.entries.len() * size_of::<Entry>() + self.names.len() + chunk_bytes >= BATCH_BYTES
    }

    fn for_each(&self, mut visit: impl FnMut(&NodeView<'_>) -> Result<()>) -> Result<()> {
        let (mut name_at, mut chunks_at) = (0, 0);
        for entry in &self.entries {
            let (name_end, chunks_end) = (entry.name_end as usize, entry.chunks_end as usize);
            visit(&NodeView {
                id: entry.id,
                parent: entry.parent,
                kind: entry.kind,
                name: &self.names[name_at..name_end],
                created_ns: entry.created_ns,
                modified_ns: entry.modified_ns,
                priority: entry.priority,
                len: entry.len,
                chunks: &self.chunks[chunks_at..chunks_end],
            })?;
            (name_at, chunks_at) = (name_end, chunks_end);
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.names.clear();
        self.chunks.clear();
        self.chunks.shrink_to(BATCH_BYTES / size_of::<(u64, u64)>());
    }
}

/// Visits all files, as [`Recovery::visit_files`] does; reads ahead of the visits if the store is large, it `may` be done, and
/// the system has a thread for it.
pub(super) fn visit_files(
    recovery: &mut Recovery,
    may: bool,
    mut visit: impl FnMut(&NodeView<'_>) -> Result<()>,
) -> Result<()> {
    if !may || recovery.nodes() < WORTH_NODES {
        return recovery.visit_files(visit);
    }
    thread::scope(|scope| {
        let (full, filled) = mpsc::sync_channel(WAITING);
        let (empty, emptied) = mpsc::channel();
        // So that it is still here if there is no thread for it.
        let reading = &mut *recovery;
        let reader = thread::Builder::new()
            .name("memfs-open".to_owned())
            .spawn_scoped(scope, move || read(reading, &full, &emptied));
        let Ok(reader) = reader else { return None };
        let mut visited = Ok(());
        for mut batch in filled {
            visited = Batch::for_each(&batch, &mut visit);
            if visited.is_err() {
                break;
            }
            batch.clear();
            // It may have read all there is.
            let _ = empty.send(batch);
        }
        // Of both errors the one that was met first; a reader that nobody listens to any more has none of its own.
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Some(visited.and(read))
    })
    .unwrap_or_else(|| recovery.visit_files(visit))
}

/// Reads all files, as long as somebody takes them.
fn read(
    recovery: &mut Recovery,
    full: &mpsc::SyncSender<Batch>,
    emptied: &mpsc::Receiver<Batch>,
) -> Result<()> {
    let mut batch = Batch::default();
    recovery.visit_files(|node| {
        batch.push(node);
        if batch.is_full() {
            full.send(take(&mut batch)).map_err(|_| Error::Closed)?;
            batch = emptied.try_recv().unwrap_or_default();
        }
        Ok(())
    })?;
    full.send(batch).map_err(|_| Error::Closed)
}

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn nodes_come_out_of_a_batch_as_they_went_in() {
        let node = |id: u32, name: &'static str, chunks: &'static [(u64, u64)]| NodeView {
            id,
            parent: 1,
            kind: Kind::File,
            name,
            created_ns: u64::from(id) + 10,
            modified_ns: u64::from(id) + 20,
            priority: (id % 11) as u8,
            len: u64::from(id) * 1000,
            chunks,
        };
        let nodes =
            [node(2, "a", &[(0, 7)]), node(3, "without-bytes", &[]), node(9, "ä", &[(0, 1), (5, 2), (6, 3)])];
        let mut batch = Batch::default();
        for round in 0..2 {
            nodes.iter().for_each(|node| batch.push(node));
            let mut rest = &nodes[..];
            let visited = batch.for_each(|node| {
                assert_eq!(node, &rest[0], "in round {round}");
                rest = &rest[1..];
                Ok(())
            });
            assert!(visited.is_ok() && rest.is_empty());
            batch.clear();
        }
    }

    #[test]
    fn a_batch_with_a_long_list_of_chunks_is_full() {
        let chunks: Vec<_> = (0..BATCH_BYTES as u64 / 16).map(|chunk| (chunk, 1)).collect();
        let mut batch = Batch::default();
        assert!(!batch.is_full());
        batch.push(&NodeView {
            id: 2,
            parent: 1,
            kind: Kind::File,
            name: "f",
            created_ns: 0,
            modified_ns: 0,
            priority: 5,
            len: 0,
            chunks: &chunks,
        });
        assert!(batch.is_full());
    }
}
