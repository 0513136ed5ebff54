//! What opening a store finds: the newest checkpoint that counts, the journal files after it, and how the last one ends.

use super::{
    batch::{Batch, Entries},
    checkpoint::{CheckpointReader, StoreParams},
    delta::Delta,
    entry,
    files::{CHECKPOINT, Inventory, JOURNAL, corrupt, file_name},
    log_reader::{Ending, LogReader},
    merge::Merge,
    tree::Tree,
    view::NodeView,
    wire::Malformed,
};
use crate::{error::Result, segment::Disk};
use std::path::Path;

/// A store's directory, as the disk has it. To be visited once: all directories, then all files.
pub(crate) struct Recovery {
    merge: Merge,
    tree: Tree,
    /// The store was closed when it was last used.
    #[cfg(test)]
    pub(crate) clean: bool,
}

impl Recovery {
    pub(super) fn new(merge: Merge, ending: &Ending) -> Self {
        #[cfg(not(test))]
        let _ = ending;
        Self {
            merge,
            tree: Tree::default(),
            #[cfg(test)]
            clean: ending.clean,
        }
    }

    /// About how many nodes there are.
    #[cfg(not(memfs_loom))]
    pub(crate) fn nodes(&self) -> u64 {
        let header = &self.merge.base.header;
        header.directories.saturating_add(header.files).saturating_add(self.merge.delta.len() as u64)
    }

    /// Visits all directories, in no order; to be called first, and once.
    ///
    /// # Errors
    /// What `visit` answers; `Corrupt`, possibly after all visits, if they are no tree.
    pub(crate) fn visit_directories(
        &mut self,
        mut visit: impl FnMut(&NodeView<'_>) -> Result<()>,
    ) -> Result<()> {
        let path = self.merge.base.file.path.clone();
        let no_tree = |found| corrupt(&path, 0, "a tree of directories, with what came after", found);
        let Self { merge, tree, .. } = self;
        merge.directories(|node| {
            tree.directory(node.id, node.parent).map_err(no_tree)?;
            visit(node)
        })?;
        tree.all_directories().map_err(no_tree)
    }

    /// Visits all files, in no order; to be called second, and once.
    ///
    /// # Errors
    /// As [`visit_directories`](Self::visit_directories).
    pub(crate) fn visit_files(&mut self, mut visit: impl FnMut(&NodeView<'_>) -> Result<()>) -> Result<()> {
        let path = self.merge.base.file.path.clone();
        let no_tree = |found| corrupt(&path, 0, "files in directories, with what came after", found);
        let Self { merge, tree, .. } = self;
        merge.files(|node| {
            tree.file(node.id, node.parent).map_err(no_tree)?;
            visit(node)
        })
    }
}

/// A journal file's part in what was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    pub(super) start_seq: u64,
    /// What is in use of it.
    pub(super) used_bytes: u64,
    pub(super) file_bytes: u64,
    pub(super) entries: u64,
}

/// What was read of a run of journal files.
pub(super) struct Replayed {
    pub(super) logs: Vec<Log>,
    pub(super) next_seq: u64,
    pub(super) chain: u32,
    pub(super) ending: Ending,
    /// The last frame, if nothing proves that it was synced, and the chain before it.
    pub(super) unproven: Option<(Batch, u32)>,
}

/// Reads the journal files that begin at `starts`, in order, into `delta`. `until`: the operation after the last, if that is
/// known; otherwise the last file is read to its end.
pub(super) fn replay(
    disk: &dyn Disk,
    dir: &Path,
    (params, mut chain): (&StoreParams, u32),
    starts: &[u64],
    until: Option<u64>,
    delta: &mut Delta,
) -> Result<Replayed> {
    let mut logs = Vec::new();
    let mut next_seq = starts[0];
    let (mut ending, mut unproven) = (Ending::default(), None);
    for (index, &start) in starts.iter().enumerate() {
        let Some(mut log) = LogReader::open(disk, dir, start, Some(params))? else {
            return Err(missing(dir, start));
        };
        if start != next_seq || log.header.chain != chain {
            let expected = format!("operation {next_seq} after {chain:#010x}");
            let found = format!("operation {start} after {:#010x}", log.header.chain);
            return Err(corrupt(&log.file.path, 0, expected, found));
        }
        let end = starts.get(index + 1).copied().or(until);
        let entries = read_log(&mut log, end, delta)?;
        match end {
            Some(end) => log.check_reaches(end)?,
            None => {
                ending = log.ending()?;
                unproven = if ending.proven { None } else { last_batch(&mut log)? };
            }
        }
        (next_seq, chain) = (log.seq, log.chain);
        logs.push(Log { start_seq: start, used_bytes: log.at, file_bytes: log.file.len, entries });
    }
    Ok(Replayed { logs, next_seq, chain, ending, unproven })
}

/// How many entries there were.
fn read_log(log: &mut LogReader, end: Option<u64>, delta: &mut Delta) -> Result<u64> {
    let path = log.file.path.clone();
    let mut chunks = Vec::new();
    let mut entries = 0;
    while end.is_none_or(|end| log.seq < end) {
        let Some(frame) = log.next()? else { break };
        let bad =
            |at: usize, Malformed(found): Malformed| corrupt(&path, frame.at + at as u64, "an entry", found);
        let mut count = 0;
        for framed in Entries::new(frame.payload, false) {
            let applied = framed.body.and_then(|body| delta.apply(&entry::decode(body, &mut chunks)?));
            applied.map_err(|malformed| bad(framed.at, malformed))?;
            count += 1;
        }
        if count != frame.header.entries {
            return Err(bad(frame.payload.len(), Malformed("another number of entries than the frame has")));
        }
        entries += u64::from(count);
    }
    Ok(entries)
}

fn last_batch(log: &mut LogReader) -> Result<Option<(Batch, u32)>> {
    let Some(last) = log.last else { return Ok(None) };
    let header = last.header;
    let frame = log.file.get(last.at, last.len as usize)?;
    let payload = &frame[super::frame::HEADER_BYTES..][..header.payload_bytes as usize];
    let batch = Batch::from_disk(header.first_seq, header.operations, header.entries, payload.to_vec());
    Ok(Some((batch, header.chain)))
}

fn missing(dir: &Path, start: u64) -> crate::error::Error {
    corrupt(
        &dir.join(file_name(JOURNAL, start)),
        0,
        format!("the journal from operation {start}"),
        "no such file",
    )
}

/// The checkpoint that counts, whose journal files are all there; `None` if there is no store.
///
/// If there are several, the newest must verify to its end before an older one is done without.
pub(super) fn choose(disk: &dyn Disk, dir: &Path, found: &Inventory) -> Result<Option<CheckpointReader>> {
    let Some((&newest, older)) = found.checkpoints.split_last() else {
        return no_store(disk, dir, found).map(|()| None);
    };
    // Without it an older checkpoint would lead to an older end, and nobody could tell.
    let journal = found.journals.binary_search(&newest).map_err(|_| missing(dir, newest));
    journal?;
    let verdict = try_checkpoint(disk, dir, found, newest, !older.is_empty());
    let Err(error) = verdict else { return verdict.map(Some) };
    for &seq in older.iter().rev() {
        if let Ok(reader) = try_checkpoint(disk, dir, found, seq, true) {
            return Ok(Some(reader));
        }
    }
    Err(error)
}

fn try_checkpoint(
    disk: &dyn Disk,
    dir: &Path,
    found: &Inventory,
    seq: u64,
    read_all: bool,
) -> Result<CheckpointReader> {
    if found.journals.binary_search(&seq).is_err() {
        return Err(missing(dir, seq));
    }
    let reader = CheckpointReader::open(disk, dir, seq)?;
    reader.check_len()?;
    if !read_all {
        return Ok(reader);
    }
    let chunk_bytes = reader.header.params.chunk_bytes;
    let mut merge = Merge::new(reader, Delta::new(chunk_bytes), dir);
    merge.directories(|_| Ok(()))?;
    merge.files(|_| Ok(()))?;
    CheckpointReader::open(disk, dir, seq)
}

/// A directory without a checkpoint is no store, if its making got no further than to the empty journal that comes first.
fn no_store(disk: &dyn Disk, dir: &Path, found: &Inventory) -> Result<()> {
    for &start in &found.journals {
        let Some(mut log) = LogReader::open(disk, dir, start, None)? else { continue };
        if start != super::FIRST_SEQ || log.next()?.is_some() || log.ending()?.torn_bytes > 0 {
            let path = dir.join(file_name(CHECKPOINT, start));
            return Err(corrupt(&path, 0, "the checkpoint before the journal", "no such file"));
        }
    }
    Ok(())
}
