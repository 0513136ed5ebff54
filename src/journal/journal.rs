//! The journal of an open store: appending, and checkpoints beside that.

use super::{
    batch::Batch,
    checkpoint::{CheckpointReader, Header, StoreParams, Writer},
    delta::Delta,
    files::{CHECKPOINT, Inventory, JOURNAL, file_name},
    log_file::LogFile,
    merge::Merge,
    recovery::{Log, Recovery, choose, replay},
};
use crate::{
    error::{Error, Result},
    segment::Disk,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Below this a journal is not worth a checkpoint.
const SMALL_JOURNAL_BYTES: u64 = 1 << 20;
/// Beyond this it takes too long to read.
const LARGE_JOURNAL_BYTES: u64 = 64 << 20;
/// More files than this are not left behind, however little is in them.
const MANY_FILES: usize = 64;

/// A store's history from here on. Has one owner, who appends; a checkpoint is made beside it by whoever runs its job.
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    params: StoreParams,
    next_seq: u64,
    chain: u32,
    /// What is written to; `None` before the first append, and after one that failed.
    current: Option<LogFile>,
    /// Files since the checkpoint that are not written to any more, in order.
    closed: Vec<Log>,
    /// The last frame that was found, of which nothing proves that it is on disk, and the chain before it.
    unproven: Option<(Batch, u32)>,
    checkpoint: Header,
    job_out: bool,
    /// Files that do not count any more and could not be removed.
    leftovers: Vec<String>,
}

/// A store that was found.
pub(crate) struct Opened {
    pub(crate) params: StoreParams,
    pub(crate) recovery: Recovery,
    pub(crate) journal: Journal,
}

impl Journal {
    /// Makes a store in `dir`, which must be there and hold none; its first operation will be number 1.
    ///
    /// # Errors
    /// `StorageFull`, `Io`. Nothing is left then that would be taken for a store.
    pub(crate) fn create(disk: Arc<dyn Disk>, dir: &Path, params: &StoreParams) -> Result<Self> {
        if params.chunk_bytes == 0 {
            return Err(Error::argument("chunk_size", "at least 1 byte", 0));
        }
        let seq = super::FIRST_SEQ;
        let chain = crc32c::crc32c(&params.store_id.to_le_bytes());
        // First this, then what makes it a store: a checkpoint without its journal would be damage.
        let current = LogFile::create(&*disk, dir, (params, seq, chain), None)?;
        let checkpoint = Writer::create(&*disk, dir, Header::new(*params, seq, chain))?.finish()?;
        Ok(Self {
            disk,
            dir: dir.to_path_buf(),
            params: *params,
            next_seq: seq,
            chain,
            current: Some(current),
            closed: Vec::new(),
            unproven: None,
            checkpoint,
            job_out: false,
            leftovers: Vec::new(),
        })
    }

    /// Opens the store in `dir`, if there is one.
    ///
    /// # Errors
    /// `Corrupt`, naming file and offset, if what is there cannot be a prefix of the store's history that ends with the last
    /// batch but one at the earliest; `Io`.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Option<Opened>> {
        let found = Inventory::take(&*disk, dir)?;
        let Some(base) = choose(&*disk, dir, &found)? else { return Ok(None) };
        let checkpoint = base.header;
        let params = checkpoint.params;
        let starts = &found.journals[found.journals.partition_point(|start| *start < checkpoint.seq)..];
        let mut delta = Delta::new(params.chunk_bytes);
        let replayed = replay(&*disk, dir, (&params, checkpoint.chain), starts, None, &mut delta)?;
        let recovery = Recovery::new(Merge::new(base, delta, dir), &replayed.ending);
        let mut journal = Self {
            disk,
            dir: dir.to_path_buf(),
            params,
            next_seq: replayed.next_seq,
            chain: replayed.chain,
            current: None,
            closed: replayed.logs,
            unproven: replayed.unproven,
            checkpoint,
            job_out: false,
            leftovers: superseded(&found, checkpoint.seq),
        };
        for name in &found.unfinished {
            let _ = journal.disk.remove(&dir.join(name));
        }
        journal.remove_leftovers();
        // A failure is met again by the first append; what was found can be read meanwhile.
        let _ = journal.settle();
        Ok(Some(Opened { params, recovery, journal }))
    }

    /// Number of the next operation.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Makes durable what [`open`](Self::open) found, as far as nothing proves that it is: the last frame, after a crash. It
    /// may be in the page cache only, and marked clean there by a sync that failed; so it is written once more.
    /// `open` has done it, unless the disk did not let it.
    ///
    /// # Errors
    /// `StorageFull`, `Io`.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let Some((batch, chain)) = &self.unproven else { return Ok(()) };
        let place = (&self.params, batch.first_seq, *chain);
        let file = LogFile::create(&*self.disk, &self.dir, place, Some(batch))?;
        self.use_file(file);
        self.unproven = None;
        Ok(())
    }

    fn use_file(&mut self, file: LogFile) {
        // Of the file that was not to be trusted this one may have the name.
        self.closed.retain(|log| log.start_seq != file.start_seq);
        self.chain = file.chain;
        self.current = Some(file);
    }

    /// Writes `batch` and returns when it is durable. A batch without operations is nothing.
    ///
    /// # Errors
    /// `StorageFull`, `Io`: then it is not known to be durable, and has to be given again, or a longer one that begins with
    /// the same operations. `InvalidArgument` if it does not begin at [`next_seq`](Self::next_seq).
    pub(crate) fn append(&mut self, batch: &Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        if batch.first_seq() != self.next_seq {
            let expected = format!("operation {}", self.next_seq);
            return Err(Error::argument("batch", expected, batch.first_seq()));
        }
        let file = self.writable()?;
        let appended = file.append(batch);
        let (next_seq, chain, spoilt) = (file.next_seq, file.chain, file.is_spoilt());
        if appended.is_ok() {
            (self.next_seq, self.chain) = (next_seq, chain);
        }
        if spoilt {
            self.retire();
        }
        appended
    }

    /// The file to write to; a new one where there is none.
    fn writable(&mut self) -> Result<&mut LogFile> {
        self.settle()?;
        if self.current.is_none() {
            let place = (&self.params, self.next_seq, self.chain);
            let file = LogFile::create(&*self.disk, &self.dir, place, None)?;
            self.use_file(file);
        }
        Ok(self.current.as_mut().expect("made if it was not there"))
    }

    /// Writes to the current file no more.
    fn retire(&mut self) {
        if let Some(file) = self.current.take() {
            self.closed.push(log_of(&file));
        }
    }

    /// Says on disk that nothing was under way. Without it the store opens as well.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn close(mut self) -> Result<()> {
        self.settle()?;
        match self.current.take() {
            Some(file) => file.close(),
            None => Ok(()),
        }
    }

    /// What checkpoint and journal take on disk; not what a job is writing.
    pub(crate) fn bytes(&self) -> u64 {
        let current = self.current.as_ref().map_or(0, |file| file.file_bytes);
        self.checkpoint.file_bytes + current + self.closed.iter().map(|log| log.file_bytes).sum::<u64>()
    }

    /// What is in use of the journal: what opening has to read.
    pub(crate) fn journal_bytes(&self) -> u64 {
        let current = self.current.as_ref().map_or(0, LogFile::used_bytes);
        current + self.closed.iter().map(|log| log.used_bytes).sum::<u64>()
    }

    /// The checkpoint's length.
    pub(crate) fn checkpoint_bytes(&self) -> u64 {
        self.checkpoint.file_bytes
    }

    /// Whether the journal is long for what it leads to.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        let worth = SMALL_JOURNAL_BYTES.max(self.checkpoint.file_bytes / 2);
        !self.job_out
            && (self.journal_bytes() > worth.min(LARGE_JOURNAL_BYTES) || self.closed.len() >= MANY_FILES)
    }

    /// Begins a checkpoint of all that was appended so far: a few small writes. The job does the rest, on any thread, while
    /// appends go on. `None` if there is nothing new, or a job is out.
    ///
    /// # Errors
    /// `StorageFull`, `Io`.
    pub(crate) fn begin_checkpoint(&mut self) -> Result<Option<CheckpointJob>> {
        self.settle()?;
        if self.job_out || self.next_seq == self.checkpoint.seq {
            return Ok(None);
        }
        if self.current.as_ref().is_some_and(|file| !file.is_empty()) {
            // Before the new one is made: if that fails half way it may be there after a crash, and then this one counts up
            // to its beginning only.
            self.retire();
        }
        self.writable()?;
        self.job_out = true;
        Ok(Some(CheckpointJob {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            base: self.checkpoint,
            starts: self.closed.iter().map(|log| log.start_seq).collect(),
            until: self.next_seq,
            chain: self.chain,
        }))
    }

    /// Takes back what a job came to, whatever that is: after a success the old files are removed, after a failure they go
    /// on to count.
    ///
    /// # Errors
    /// The job's.
    pub(crate) fn finish_checkpoint(&mut self, done: Result<Option<CheckpointDone>>) -> Result<()> {
        self.job_out = false;
        let Some(CheckpointDone(checkpoint)) = done? else { return Ok(()) };
        self.leftovers.push(file_name(CHECKPOINT, self.checkpoint.seq));
        let old = self.closed.extract_if(.., |log| log.start_seq < checkpoint.seq);
        self.leftovers.extend(old.map(|log| file_name(JOURNAL, log.start_seq)));
        self.checkpoint = checkpoint;
        self.remove_leftovers();
        Ok(())
    }

    /// A checkpoint, made by the caller.
    ///
    /// # Errors
    /// `StorageFull`, `Io`; `Corrupt` if what was written cannot be read again.
    pub(crate) fn checkpoint(&mut self) -> Result<()> {
        let Some(job) = self.begin_checkpoint()? else { return Ok(()) };
        let done = job.run(&|| true);
        self.finish_checkpoint(done)
    }

    /// What cannot be removed now is tried again later; it does no harm but take space.
    fn remove_leftovers(&mut self) {
        let Self { disk, dir, leftovers, .. } = self;
        leftovers.retain(|name| {
            disk.remove(&dir.join(name)).is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound)
        });
    }
}

fn log_of(file: &LogFile) -> Log {
    Log { start_seq: file.start_seq, used_bytes: file.used_bytes(), file_bytes: file.file_bytes }
}

/// The names of what does not count, if the checkpoint before operation `seq` does.
fn superseded(found: &Inventory, seq: u64) -> Vec<String> {
    let checkpoints = found.checkpoints.iter().filter(|other| **other != seq);
    let journals = found.journals.iter().filter(|start| **start < seq);
    let checkpoints = checkpoints.map(|seq| file_name(CHECKPOINT, *seq));
    checkpoints.chain(journals.map(|start| file_name(JOURNAL, *start))).collect()
}

/// A checkpoint to be made: on any thread, once.
pub(crate) struct CheckpointJob {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    base: Header,
    starts: Vec<u64>,
    until: u64,
    chain: u32,
}

/// A checkpoint that was made; for [`Journal::finish_checkpoint`].
pub(crate) struct CheckpointDone(Header);

impl CheckpointJob {
    /// Reads the old checkpoint and the journal since, and writes the new one; `None` if `go_on`, which is asked often,
    /// answers no.
    ///
    /// # Errors
    /// `StorageFull`, `Io`; `Corrupt` if what was written cannot be read again.
    pub(crate) fn run(self, go_on: &dyn Fn() -> bool) -> Result<Option<CheckpointDone>> {
        let (disk, params) = (&*self.disk, self.base.params);
        let mut delta = Delta::new(params.chunk_bytes);
        let replayed =
            replay(disk, &self.dir, (&params, self.base.chain), &self.starts, Some(self.until), &mut delta)?;
        debug_assert_eq!(replayed.chain, self.chain);
        let base = CheckpointReader::open(disk, &self.dir, self.base.seq)?;
        base.check_len()?;
        let mut merge = Merge::new(base, delta, &self.dir);
        let mut writer = Writer::create(disk, &self.dir, Header::new(params, self.until, self.chain))?;
        let mut stopped = false;
        let mut count = 0u32;
        let mut push = |node: &super::NodeView<'_>| {
            count = count.wrapping_add(1);
            if count.is_multiple_of(ASK_EVERY) && !go_on() {
                stopped = true;
                return Err(Error::Closed);
            }
            writer.push(node)
        };
        let merged = merge.directories(&mut push).and_then(|()| merge.files(&mut push));
        if stopped {
            return Ok(None);
        }
        merged?;
        Ok(Some(CheckpointDone(writer.finish()?)))
    }
}

/// Nodes between two questions whether to go on.
const ASK_EVERY: u32 = 1024;
