//! The journal of an open store: appending, and checkpoints beside that.

use super::frame::SECTOR;
use super::{
    batch::Batch,
    checkpoint::{CheckpointReader, Header, StoreParams, Writer},
    delta::Delta,
    files::{CHECKPOINT, FRONT, Inventory, JOURNAL, file_name},
    front::{Front, Redo},
    front_reader::{Contents, read_ahead},
    log_file::{LogFile, Unnamed},
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
/// What an entry takes when it is read, apart from the name in it: a change and its place in a table.
const MEMORY_BYTES_PER_ENTRY: u64 = 72;
/// More files than this are not left behind, however little is in them.
const MANY_FILES: usize = 64;
/// What a front has at least.
const MIN_FRONT_BYTES: u64 = 128 << 10;
/// Batches that have to do without a front after one could not be made.
const FRONT_PAUSE: u32 = 1 << 10;

/// A store's history from here on. Has one owner, who appends; a checkpoint is made beside it by whoever runs its job.
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    params: StoreParams,
    /// What follows the last frame; in the front there may be more.
    next_seq: u64,
    chain: u32,
    /// What is in the front and follows operation `next_seq`: part of the next frame.
    ahead: Batch,
    /// Small batches are written here; `None` before the first, and after one that failed.
    front: Option<Front>,
    /// How long the next front is to be.
    front_bytes: u64,
    front_pause: u32,
    /// Fronts of an earlier process, until the journal has what is in them.
    found_fronts: Vec<String>,
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
    /// What may not be in its place: to be put there before it is read.
    pub(crate) contents: Contents,
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
        let current = LogFile::prepare(&*disk, dir, (params, seq, chain), None)?.name(&*disk, dir)?;
        let checkpoint = Writer::create(&*disk, dir, Header::new(*params, seq, chain))?.finish()?;
        Ok(Self {
            disk,
            dir: dir.to_path_buf(),
            params: *params,
            next_seq: seq,
            chain,
            ahead: Batch::new(seq),
            front: None,
            front_bytes: MIN_FRONT_BYTES,
            front_pause: 0,
            found_fronts: Vec::new(),
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
        let place = (replayed.next_seq, replayed.chain);
        let ahead = read_ahead(&*disk, dir, &params, &found.fronts, place, &mut delta)?;
        let recovery = Recovery::new(Merge::new(base, delta, dir), &replayed.ending);
        // What is in a front was written after all of the journal was synced.
        let unproven = replayed.unproven.filter(|_| !ahead.proves_journal);
        let mut journal = Self {
            disk,
            dir: dir.to_path_buf(),
            params,
            next_seq: replayed.next_seq,
            chain: replayed.chain,
            ahead: ahead.batch,
            front: None,
            front_bytes: MIN_FRONT_BYTES,
            front_pause: 0,
            found_fronts: found.fronts.iter().map(|start| file_name(FRONT, *start)).collect(),
            current: None,
            closed: replayed.logs,
            unproven,
            checkpoint,
            job_out: false,
            leftovers: superseded(&found, checkpoint.seq),
        };
        for name in &found.unfinished {
            let _ = journal.disk.remove(&dir.join(name));
        }
        // A failure is met again by the first append; what was found can be read meanwhile.
        let _ = journal.settle();
        journal.remove_leftovers();
        Ok(Some(Opened { params, recovery, journal, contents: ahead.contents }))
    }

    /// Number of the next operation.
    pub(crate) fn next_seq(&self) -> u64 {
        self.ahead.next_seq()
    }

    /// Whether something that was found is not known to be durable, or not in the journal.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.unproven.is_some() || self.has_ahead()
    }

    /// Whether something is in a front, and not in the journal.
    pub(crate) fn has_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// What the front has that the next frame of the journal takes over.
    pub(crate) fn ahead_bytes(&self) -> u64 {
        self.ahead.len_bytes() as u64
    }

    /// How many bytes more the front would take, were it to be made, or made anew, by the next batch that comes for it.
    pub(crate) fn front_growth_bytes(&self, most_bytes: u64) -> u64 {
        let now = self.front.as_ref().map_or(0, |front| front.file_bytes);
        if self.has_ahead() { 0 } else { self.front_bytes.min(most_bytes).saturating_sub(now) }
    }

    /// Makes durable what [`open`](Self::open) found, as far as nothing proves that it is: the last frame, after a crash. It
    /// may be in the page cache only, and marked clean there by a sync that failed; so it is written once more.
    /// `open` has done it, unless the disk did not let it.
    ///
    /// # Errors
    /// `StorageFull`, `Io`.
    pub(crate) fn settle(&mut self) -> Result<()> {
        if let Some((batch, chain)) = &self.unproven {
            let place = (&self.params, batch.first_seq, *chain);
            let file = LogFile::prepare(&*self.disk, &self.dir, place, Some(batch))?;
            self.switch_to(file)?;
            self.unproven = None;
        }
        // Not before: the last frame may be the one that took over what they have.
        if !self.has_ahead() {
            self.leave_found_fronts();
        }
        Ok(())
    }

    /// Writes to `file` from here on, and to the one before no more, whether this succeeds or not.
    fn switch_to(&mut self, file: Unnamed) -> Result<()> {
        self.retire();
        let file = file.name(&*self.disk, &self.dir)?;
        // One of the same number held nothing that counts, and is no more.
        self.closed.retain(|log| log.start_seq != file.start_seq);
        self.chain = file.chain;
        self.current = Some(file);
        Ok(())
    }

    /// Writes `batch` into the front, of `most_bytes` at most, with the bytes of the extents that it names, and returns when
    /// both are durable. `false`: there is no front for it, or it failed, and the batch is for [`append`](Self::append).
    ///
    /// The caller sees to it that those bytes are written in their places, and synced before `append`.
    pub(crate) fn append_ahead(&mut self, batch: &Batch, redo: &Redo, most_bytes: u64) -> bool {
        debug_assert!(redo.is_whole() && batch.first_seq() == self.next_seq());
        // A file that failed must not count any further: the front follows what the journal ends with.
        if self.writable().is_err() || !self.bring_front(batch, redo, most_bytes) {
            return false;
        }
        let Some(front) = &mut self.front else { return false };
        if front.append(batch, redo).is_err() {
            return false;
        }
        self.ahead.extend(batch);
        true
    }

    /// Sees to a front that has room for a batch.
    fn bring_front(&mut self, batch: &Batch, redo: &Redo, most_bytes: u64) -> bool {
        let has_ahead = self.has_ahead();
        let usable = self.front.as_mut().filter(|front| !front.is_spoilt());
        if has_ahead {
            let has_room = usable.as_ref().is_some_and(|front| front.has_room(batch, redo));
            if usable.is_some() && !has_room {
                self.front_bytes = most_bytes.min(2 * self.front_bytes);
            }
            return has_room;
        }
        if let Some(front) = usable.filter(|front| front.file_bytes >= self.front_bytes.min(most_bytes)) {
            front.start_over(self.next_seq, self.chain);
            return front.has_room(batch, redo);
        }
        if self.front_pause > 0 {
            self.front_pause -= 1;
            return false;
        }
        // What failed may be there after a crash, and would count beside what is written from now on.
        if !self.remove_front() {
            return false;
        }
        let file_bytes = self.front_bytes.min(most_bytes).next_multiple_of(SECTOR as u64);
        let made = Front::make(&*self.disk, &self.dir, self.params.store_id, self.next_seq, file_bytes);
        let Ok(mut front) = made else {
            self.front_pause = FRONT_PAUSE;
            return false;
        };
        front.start_over(self.next_seq, self.chain);
        // It may have got the name of one that was left.
        self.leftovers.retain(|name| *name != front.name);
        let has_room = front.has_room(batch, redo);
        self.front = Some(front);
        has_room
    }

    /// Removes the front; all that it has is in the journal. Whether there is none now.
    fn remove_front(&mut self) -> bool {
        debug_assert!(!self.has_ahead());
        let Self { disk, dir, front, .. } = self;
        if let Some(old) = front
            && disk
                .remove(&dir.join(&old.name))
                .is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound)
        {
            return false;
        }
        *front = None;
        true
    }

    /// The journal has what was found in fronts.
    fn leave_found_fronts(&mut self) {
        self.leftovers.append(&mut self.found_fronts);
    }

    /// Writes `batch`, after what is in the front, and returns when it is durable. Nothing at all is nothing.
    ///
    /// # Errors
    /// `StorageFull`, `Io`: then it is not known to be durable, and has to be given again, or a longer one that begins with
    /// the same operations. `InvalidArgument` if it does not begin at [`next_seq`](Self::next_seq).
    pub(crate) fn append(&mut self, batch: &Batch) -> Result<()> {
        if batch.is_empty() && self.ahead.is_empty() {
            return self.settle();
        }
        if batch.first_seq() != self.next_seq() {
            let expected = format!("operation {}", self.next_seq());
            return Err(Error::argument("batch", expected, batch.first_seq()));
        }
        self.writable()?;
        let Self { current: Some(file), ahead, .. } = self else { return Ok(()) };
        let appended = file.append([ahead, batch]);
        let (next_seq, chain, spoilt) = (file.next_seq, file.chain, file.is_spoilt());
        if appended.is_ok() {
            (self.next_seq, self.chain) = (next_seq, chain);
            self.ahead.restart(next_seq);
            self.leave_found_fronts();
            self.remove_leftovers();
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
            let file = self.next_file()?;
            self.switch_to(file)?;
        }
        Ok(self.current.as_mut().expect("made if it was not there"))
    }

    fn next_file(&self) -> Result<Unnamed> {
        LogFile::prepare(&*self.disk, &self.dir, (&self.params, self.next_seq, self.chain), None)
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
        if let Some(file) = self.current.take() {
            file.close()?;
        }
        if !self.has_ahead() {
            self.remove_front();
            self.remove_leftovers();
        }
        Ok(())
    }

    /// What checkpoint and journal take on disk; not what a job is writing.
    pub(crate) fn bytes(&self) -> u64 {
        let current = self.current.as_ref().map_or(0, |file| file.file_bytes);
        let front = self.front.as_ref().map_or(0, |front| front.file_bytes);
        self.checkpoint.file_bytes
            + front
            + current
            + self.closed.iter().map(|log| log.file_bytes).sum::<u64>()
    }

    /// What is in use of the journal: what opening has to read.
    pub(crate) fn journal_bytes(&self) -> u64 {
        let current = self.current.as_ref().map_or(0, LogFile::used_bytes);
        current + self.closed.iter().map(|log| log.used_bytes).sum::<u64>()
    }

    /// About the most memory that making a checkpoint takes now, and the next opening.
    pub(crate) fn checkpoint_memory_bytes(&self) -> u64 {
        let current = self.current.as_ref().map_or(0, |file| file.entries);
        let entries = current + self.closed.iter().map(|log| log.entries).sum::<u64>();
        self.journal_bytes() + entries * MEMORY_BYTES_PER_ENTRY
    }

    /// The checkpoint's length.
    #[cfg(test)]
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
        if self.current.as_ref().is_none_or(|file| !file.is_empty()) {
            // Where there is no room for a new file, the old one may have some.
            let file = self.next_file()?;
            self.switch_to(file)?;
        }
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
    #[cfg(test)]
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
    Log {
        start_seq: file.start_seq,
        used_bytes: file.used_bytes(),
        file_bytes: file.file_bytes,
        entries: file.entries,
    }
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
