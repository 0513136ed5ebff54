//! Reading everything, believing nothing: what is wrong with a store's directory, and what of it can be had all the same.

use super::{
    batch::Entries,
    checkpoint::{CheckpointReader, StoreParams},
    entry::{self, Entry},
    files::{CHECKPOINT, FRONT, Inventory, JOURNAL, Reader, corrupt, file_name},
    frame::{FrameHeader, HEADER_BYTES, SECTOR, frame_bytes, read_params},
    front_reader::{Contents, FrontFrame, FrontReader},
    log_reader::LogReader,
    recovery::choose,
    salvage::Salvage,
    view::NodeView,
    wire::Malformed,
};
use crate::{
    error::{Error, Result},
    segment::Disk,
};
use std::path::{Path, PathBuf};

/// Whether a finding keeps the store from being what it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Harm {
    /// What a crash leaves: nothing that counted is touched.
    None,
    Damage,
}

/// Something that is not as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// Its name in the storage directory.
    pub(crate) file: String,
    /// In bytes.
    pub(crate) offset: u64,
    /// The virtual path concerned, as far as it is known.
    pub(crate) path: Option<String>,
    pub(crate) what: String,
    pub(crate) harm: Harm,
}

/// What [`fsck`] found.
pub(crate) struct Fsck {
    pub(crate) findings: Vec<Finding>,
    /// `None`: neither a checkpoint nor a journal says what the store is, and nothing of it can be had.
    pub(crate) params: Option<StoreParams>,
    /// Number of the operation after the last that verifies.
    #[cfg(test)]
    pub(crate) next_seq: u64,
    /// Bytes that count instead of what is in their places.
    pub(crate) contents: Contents,
    salvage: Salvage,
}

impl Fsck {
    /// Whether the store is whole: it opens, and all that was synced is there.
    #[cfg(test)]
    pub(crate) fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.harm == Harm::None)
    }

    /// What verifies and can be reached from the root: directories, parents first, then files. Of a sound store that is all;
    /// of a damaged one it may be a mixture of states.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.salvage.reachable()
    }

    /// The virtual path of one of the [`nodes`](Self::nodes).
    pub(crate) fn path(&self, id: u32) -> String {
        self.salvage.path(id)
    }
}

/// Checks the store in `dir`, which nobody has open; changes nothing. `None` if there is no store.
///
/// # Errors
/// `Io` if the directory cannot be listed. Whatever is wrong with a file is a finding.
pub(crate) fn fsck(disk: &dyn Disk, dir: &Path) -> Result<Option<Fsck>> {
    let found = Inventory::take(disk, dir)?;
    if found.checkpoints.is_empty() && found.journals.is_empty() {
        return Ok(None);
    }
    let mut check = Check {
        disk,
        dir,
        findings: Vec::new(),
        salvage: Salvage::new(1),
        params: None,
        seq: 0,
        chain: None,
        contents: Contents::default(),
        concerned: Vec::new(),
    };
    let base = match choose(disk, dir, &found) {
        Ok(None) => return Ok(None),
        Ok(Some(base)) => Some(base),
        Err(error) => {
            check.damage(error);
            None
        }
    };
    check.params = base.as_ref().map(|base| base.header.params).or_else(|| any_params(disk, dir, &found));
    let Some(params) = check.params else {
        return Ok(Some(check.finish(&found, 0)));
    };
    check.salvage = Salvage::new(params.chunk_bytes);
    let newest = found.checkpoints.last().copied();
    let base_seq = base.as_ref().map(|base| base.header.seq).or(newest).unwrap_or(super::FIRST_SEQ);
    let whole = base.is_some();
    let base = base.map_or_else(|| CheckpointReader::without_header(disk, dir, base_seq, params), Ok);
    if let Some(base) = base.ok().filter(|_| newest.is_some()) {
        check.chain = whole.then_some(base.header.chain);
        check.checkpoint(base, whole);
    }
    check.journals(&found, base_seq);
    for &start in &found.fronts {
        check.front(start, &params);
    }
    Ok(Some(check.finish(&found, base_seq)))
}

/// What the store is, from whichever file says so.
fn any_params(disk: &dyn Disk, dir: &Path, found: &Inventory) -> Option<StoreParams> {
    let checkpoints = found.checkpoints.iter().rev().map(|seq| file_name(CHECKPOINT, *seq));
    let mut names = checkpoints.chain(found.journals.iter().rev().map(|seq| file_name(JOURNAL, *seq)));
    names.find_map(|name| {
        let mut file = Reader::open(disk, dir.join(name)).ok()??;
        read_params(file.get(0, SECTOR).ok()?)
    })
}

struct Check<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    findings: Vec<Finding>,
    salvage: Salvage,
    params: Option<StoreParams>,
    seq: u64,
    /// The journal's chain so far, where all before is whole.
    chain: Option<u32>,
    contents: Contents,
    /// Findings about a node, which has a path when all is read.
    concerned: Vec<(usize, u32)>,
}

impl Check<'_> {
    fn note(&mut self, file: &Path, offset: u64, what: String, harm: Harm) {
        let file = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        self.findings.push(Finding { file, offset, path: None, what, harm });
    }

    fn damage(&mut self, error: Error) {
        match error {
            Error::Corrupt { path, offset, expected, found, .. } => {
                let what = format!("expected {expected}, found {found}");
                self.note(Path::new(&path), offset, what, Harm::Damage);
            }
            Error::Io { path, doing, source } => {
                self.note(Path::new(&path), 0, format!("{doing}: {source}"), Harm::Damage);
            }
            other => self.note(self.dir, 0, other.to_string(), Harm::Damage),
        }
    }

    /// All blocks that verify. `whole`: the header does.
    fn checkpoint(&mut self, mut base: CheckpointReader, whole: bool) {
        let path = base.file.path.clone();
        let (mut counts, mut bad) = ([0; 2], false);
        let mut chunks = Vec::new();
        while base.index < base.header.blocks && base.at < base.file.len {
            let at = base.at;
            let error = match base.next() {
                Ok(mut block) => loop {
                    match block.nodes.next(&mut chunks) {
                        Ok(None) => break None,
                        Ok(Some(node)) => {
                            counts[node.kind as usize] += 1;
                            if let Err(found) = self.salvage.add(&node) {
                                break Some(corrupt(&path, at, "one node of each number", found));
                            }
                        }
                        Err(Malformed(found)) => break Some(corrupt(&path, at, "a block of nodes", found)),
                    }
                },
                Err(error) => {
                    if !matches!(base.skip(), Ok(Some(_))) {
                        base.at = base.file.len;
                    }
                    Some(error)
                }
            };
            if let Some(error) = error {
                bad = true;
                self.damage(error);
            }
        }
        if whole && !bad {
            let [files, directories] = counts;
            base.check_end(directories, files).unwrap_or_else(|error| self.damage(error));
        }
    }

    fn journals(&mut self, found: &Inventory, from: u64) {
        let starts = &found.journals[found.journals.partition_point(|start| *start < from)..];
        self.seq = from;
        for (index, &start) in starts.iter().enumerate() {
            if start != self.seq && index > 0 {
                self.chain = None;
            }
            self.seq = start;
            let end = starts.get(index + 1).copied();
            match LogReader::open(self.disk, self.dir, start, self.params.as_ref()) {
                Ok(Some(log)) => self.journal(log, end),
                Ok(None) => {}
                Err(error) => {
                    self.damage(error);
                    self.chain = None;
                    let path = self.dir.join(file_name(JOURNAL, start));
                    if let Ok(Some(file)) = Reader::open(self.disk, path) {
                        self.leniently(file, SECTOR as u64, end);
                    }
                }
            }
        }
    }

    /// As recovery reads it, as far as that goes; then whatever verifies.
    fn journal(&mut self, mut log: LogReader, end: Option<u64>) {
        let path = log.file.path.clone();
        if self.chain.is_some_and(|chain| chain != log.header.chain) {
            let found = format!("one after {:#010x}", log.header.chain);
            self.damage(corrupt(&path, 0, "the journal that follows what is before", found));
        }
        while end.is_none_or(|end| log.seq < end) {
            let frame = match log.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    self.damage(error);
                    return self.leniently_from(log, end);
                }
            };
            let (at, header) = (frame.at, frame.header);
            self.entries(&path, at, frame.payload, &header);
        }
        let ends = match end {
            Some(end) => log.check_reaches(end),
            None => log.ending().map(|ending| {
                if ending.torn_bytes > 0 {
                    let what = format!("{} bytes of a batch that was not finished", ending.torn_bytes);
                    self.note(&path, log.at, what, Harm::None);
                }
            }),
        };
        if let Err(error) = ends {
            self.damage(error);
            return self.leniently_from(log, end);
        }
        (self.seq, self.chain) = (log.seq, Some(log.chain));
    }

    /// What follows the journal in a front, as far as it verifies.
    fn front(&mut self, start: u64, params: &StoreParams) {
        let place = (self.seq, self.chain.unwrap_or_default());
        let mut front = match FrontReader::open(self.disk, self.dir, start, params, place) {
            Ok(Some(front)) => front,
            Ok(None) => return,
            Err(error) => return self.damage(error),
        };
        if self.chain.is_none() {
            front.begin_anywhere();
        }
        loop {
            match front.next() {
                Ok(Some(frame)) => self.front_frame(&front.file.path.clone(), &frame),
                Ok(None) => break,
                Err(error) => {
                    self.damage(error);
                    if !front.skip() {
                        break;
                    }
                }
            }
        }
        if let Err(error) = front.check_rest() {
            self.damage(error);
            while front.skip() {
                if let Ok(Some(frame)) = front.next() {
                    self.front_frame(&front.file.path.clone(), &frame);
                }
            }
        }
        (self.seq, self.chain) = (front.seq, Some(front.chain));
    }

    fn front_frame(&mut self, path: &Path, frame: &FrontFrame) {
        let batch = frame.batch();
        let header = FrameHeader { entries: batch.entries, ..frame.header };
        self.entries(path, frame.at, &batch.payload, &header);
        if let Err((at, Malformed(found))) = frame.note_contents(&mut self.contents) {
            self.damage(corrupt(path, frame.at, format!("an entry at {at} of the frame"), found));
        }
    }

    fn leniently_from(&mut self, log: LogReader, end: Option<u64>) {
        self.seq = log.seq;
        self.chain = None;
        self.leniently(log.file, log.at, end);
    }

    /// Takes every frame, and of a damaged one every entry, that verifies, from `at` on.
    fn leniently(&mut self, mut file: Reader, mut at: u64, end: Option<u64>) {
        let path = file.path.clone();
        loop {
            let (here, header) = match find_header(&mut file, at) {
                Ok(Some(found)) => found,
                Ok(None) => return,
                Err(error) => return self.damage(error),
            };
            let len = frame_bytes(header.payload_bytes).filter(|len| here + len <= file.len);
            at = here + len.unwrap_or(SECTOR as u64);
            // What was written before a failure, and again into the next file, does not count here.
            let counts = header.first_seq >= self.seq && end.is_none_or(|end| header.next_seq() <= end);
            if !counts || self.params.is_none_or(|params| params.store_id != header.store_id) {
                continue;
            }
            let read = len.unwrap_or(file.len - here);
            let frame = match usize::try_from(read).map(|read| file.get(here, read)) {
                Ok(Ok(frame)) => frame,
                Ok(Err(error)) => return self.damage(error),
                Err(_) => return,
            };
            let payload_end = frame.len().min(HEADER_BYTES + header.payload_bytes as usize);
            let payload = frame[HEADER_BYTES.min(payload_end)..payload_end].to_vec();
            self.entries(&path, here, &payload, &header);
            self.seq = header.next_seq();
        }
    }

    /// The entries of a frame, each for itself.
    fn entries(&mut self, path: &Path, at: u64, payload: &[u8], header: &FrameHeader) {
        let mut chunks = Vec::new();
        let mut count = 0;
        for framed in Entries::new(payload, true) {
            let offset = at + (HEADER_BYTES + framed.at) as u64;
            count += 1;
            match framed.body.and_then(|body| entry::decode(body, &mut chunks)) {
                Ok(entry) => self.apply(path, offset, &entry, header.first_seq),
                Err(Malformed(found)) => self.damage(corrupt(path, offset, "an entry", found)),
            }
        }
        if count != header.entries {
            let (expected, found) = (format!("{} entries", header.entries), count.to_string());
            self.damage(corrupt(path, at, expected, found));
        }
    }

    fn apply(&mut self, path: &Path, offset: u64, entry: &Entry<'_>, seq: u64) {
        let Err(found) = self.salvage.apply(entry, seq) else { return };
        let (Entry::Make { id, .. } | Entry::Content { id, .. }) = *entry else { return };
        self.concerned.push((self.findings.len(), id));
        self.damage(corrupt(path, offset, "an entry that can follow those before", found));
    }

    fn finish(mut self, found: &Inventory, base_seq: u64) -> Fsck {
        let base: PathBuf = self.dir.join(file_name(CHECKPOINT, base_seq));
        for fault in self.salvage.settle() {
            self.note(&base, 0, fault.what, Harm::Damage);
            self.findings.last_mut().expect("just noted").path = Some(fault.path);
        }
        for (finding, id) in std::mem::take(&mut self.concerned) {
            if self.salvage.knows(id) {
                self.findings[finding].path = Some(self.salvage.path(id));
            }
        }
        let old = found.checkpoints.iter().filter(|seq| **seq != base_seq).map(|seq| (CHECKPOINT, *seq));
        let old = old.chain(found.journals.iter().filter(|seq| **seq < base_seq).map(|seq| (JOURNAL, *seq)));
        let old = old.map(|(kind, seq)| file_name(kind, seq));
        let none_ahead = self.contents.is_empty().then_some(&found.fronts);
        let fronts = none_ahead.into_iter().flatten().map(|seq| file_name(FRONT, *seq));
        for name in old.chain(fronts).chain(found.unfinished.iter().cloned()) {
            self.note(
                Path::new(&name),
                0,
                "left by a crash; the next opening removes it".to_owned(),
                Harm::None,
            );
        }
        Fsck {
            findings: self.findings,
            params: self.params,
            #[cfg(test)]
            next_seq: self.seq,
            contents: self.contents,
            salvage: self.salvage,
        }
    }
}

/// The next place at or after `at` where a frame's header verifies.
fn find_header(file: &mut Reader, mut at: u64) -> Result<Option<(u64, FrameHeader)>> {
    while at < file.len {
        if let Some(header) = FrameHeader::decode(file.get(at, HEADER_BYTES)?, at) {
            return Ok(Some((at, header)));
        }
        at += SECTOR as u64;
    }
    Ok(None)
}
