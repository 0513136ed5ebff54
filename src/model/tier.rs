//! A whole store over a disk in memory, without workers, for the model tests.

use super::{
    At, Change, Core, HeldBlock, Keep, Local, Naming, Preloading, core::Spot, swap::Place, word::Content,
};
use crate::{
    config::{Config, Durability, Priority, StorageMode},
    error::Error,
    index::NodeId,
    model::Seats,
    scorer::Band,
    segment::model::{Image, MemoryDisk},
    sync::Ordering,
};
use std::{any::Any, cell::RefCell, collections::HashMap, sync::Arc};

/// The longest content of one block.
pub const CHUNK_BYTES: usize = 128;

const LIMIT_BYTES: u64 = 1 << 17;

/// A store.
pub struct Files {
    seats: Seats<*const Local>,
    core: Arc<Core>,
    disk: MemoryDisk,
}

/// A thread's handle on a store.
pub struct FileUser<'a> {
    core: &'a Arc<Core>,
    local: &'a Local,
    files: &'a Files,
    seat: &'a *const Local,
}

/// A version of a file that is held.
pub struct Held(HeldBlock);

/// A preload under way.
pub struct Wanted(Arc<Preloading>);

/// What a file has: its first byte and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// What every byte is.
    pub value: u8,
    /// How many there are.
    pub len: usize,
}

/// Where a file's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as the content word")]
pub enum Where {
    Empty,
    Gone,
    Ram,
    Disk,
    Tree,
}

fn told(bytes: &[u8]) -> Bytes {
    let value = bytes.first().copied().unwrap_or(0);
    assert!(bytes.iter().all(|byte| *byte == value), "two versions mixed: {bytes:?}");
    Bytes { value, len: bytes.len() }
}

impl Files {
    /// An empty store.
    pub fn new() -> Self {
        Self::open(StorageMode::Temp, MemoryDisk::default(), LIMIT_BYTES, 0)
    }

    /// The same, where every read of a file lifts its priority.
    pub fn boosting() -> Self {
        Self::open(StorageMode::Temp, MemoryDisk::default(), LIMIT_BYTES, 1)
    }

    /// An empty store that keeps an order of changes, each with a record, and that nobody flushes but who calls `flush`.
    pub fn lasting() -> Self {
        Self::open(StorageMode::Persist, MemoryDisk::default(), LIMIT_BYTES, 0)
    }

    /// The same, where changes may have no record of their own.
    pub fn loose() -> Self {
        let (disk, durability) = (MemoryDisk::default(), Durability::OnClose);
        Self::open_as(StorageMode::Persist, disk, LIMIT_BYTES, 0, durability)
    }

    fn open(mode: StorageMode, disk: MemoryDisk, memory_limit_bytes: u64, boost_threshold: u32) -> Self {
        // Nobody acknowledges anything here, so nobody waits.
        Self::open_as(mode, disk, memory_limit_bytes, boost_threshold, Durability::Sync)
    }

    fn open_as(
        mode: StorageMode,
        disk: MemoryDisk,
        memory_limit_bytes: u64,
        boost_threshold: u32,
        durability: Durability,
    ) -> Self {
        let config = Config {
            memory_limit_bytes,
            mode,
            storage_path: Some("/".into()),
            storage_limit_bytes: None,
            segment_bytes: 4096,
            chunk_bytes: CHUNK_BYTES,
            worker_threads: 0,
            boost_threshold,
            huge_pages: false,
            operation_log: None,
            chunk_bytes_asked: false,
            durability,
        };
        let core = Core::with_disk(config, Arc::new(disk.clone())).expect("a small store");
        let seats = Seats::new(|| &raw const *core.acquire_local());
        Self { seats, core, disk }
    }

    /// For the calling thread.
    pub fn user(&self) -> FileUser<'_> {
        let seat = self.seats.take();
        // SAFETY: locals live as long as their store.
        FileUser { core: &self.core, local: unsafe { &**seat }, files: self, seat }
    }

    /// Closes the store and checks that nothing was lost or left: every piece of memory was given back.
    pub fn finish(self) {
        let user = self.user();
        let is_first = user.core.shut();
        if !is_first {
            user.check_given_up();
        }
        let done = user.core.tear_down(user.local);
        assert!(done.is_ok() || !is_first, "the disk does not fail: {done:?}");
        drop(user);
        drop(self);
        assert_eq!(crate::model::living(), 0, "memory was lost");
    }

    /// What `look` finds in a store that keeps an order when it was closed and is opened again: what its order says.
    pub fn reopened<T: Clone + 'static>(self, look: fn(&FileUser<'_>) -> T) -> T {
        let disk = self.disk.clone();
        self.finish();
        Kept(disk.image()).opened(look)
    }

    /// What a crash of the machine would leave of the store if it were now.
    pub fn after_power_loss(&self) -> Kept {
        Kept(self.disk.after_power_loss())
    }

    /// Lets the next so many syncs fail, of any file.
    pub fn refuse_syncs(&self, syncs: u32) {
        self.disk.refuse(syncs, true);
    }

    /// The same of the journal's files only.
    pub fn refuse_syncs_of_the_journal(&self, syncs: u32) {
        self.disk.refuse(syncs, false);
    }

    /// With nobody else at work: all is flushed, what was freed is free, and of the disk's units so many are in use.
    pub fn check_disk(&self, units: u64) {
        const UNIT_BYTES: u64 = 256;
        let user = self.user();
        // The second frees what the first found to be dead.
        (0..2).for_each(|_| user.flush());
        (0..4).for_each(|_| user.collect());
        self.core.ground.segments.validate(Some(units * UNIT_BYTES));
        let guard = user.local.pin();
        for id in (0..self.core.index.bound()).map(NodeId::new) {
            self.core.each_place(id, &guard, |place, word| {
                let Content::Ram(block) = word.content() else { return };
                let copy = self.core.ground.extent_of(block).map(|copy| self.core.ground.segments.len(copy));
                let len = self.core.ground.arena.len(block);
                assert_eq!(copy, Some(len), "{place:?}: flushed, and the copy on disk is another");
            });
        }
        drop(guard);
        let unflushed = self.core.ground.limbo.as_ref().map_or(0, super::limbo::Limbo::unflushed);
        assert!(unflushed <= 0, "{unflushed} bytes count as not on disk");
    }
}

/// What a store left on its disk.
#[derive(Clone, Debug)]
pub struct Kept(Image);

type Seen = HashMap<(usize, Image), Box<dyn Any>>;

thread_local! {
    static SEEN: RefCell<Seen> = RefCell::default();
}

impl Kept {
    /// What `look` finds in the store that opens on this. Nobody else is at work, so the same bytes give the same every time, and
    /// are opened once: most executions of a model end alike. Ends the execution.
    pub fn opened<T: Clone + 'static>(self, look: fn(&FileUser<'_>) -> T) -> T {
        let key = (look as usize, self.0);
        let known = SEEN.with_borrow(|seen| seen.get(&key)?.downcast_ref::<T>().cloned());
        known.unwrap_or_else(|| {
            // What was given back may be had again by what has no canary.
            crate::model::begin();
            // Numbers are claimed in steps: for that there have to be more.
            let files = Files::open(StorageMode::Persist, MemoryDisk::of(&key.1), 2 * LIMIT_BYTES, 0);
            let found = look(&files.user());
            files.finish();
            SEEN.with_borrow_mut(|seen| seen.insert(key, Box::new(found.clone())));
            found
        })
    }
}

impl Default for Files {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for FileUser<'_> {
    fn drop(&mut self) {
        self.files.seats.give(self.seat);
    }
}

impl FileUser<'_> {
    fn spot<R>(&self, path: &str, run: impl FnOnce(&Spot<'_>) -> R) -> Result<R, Error> {
        let guard = self.local.pin();
        Ok(run(&self.core.resolve(At::Path(path), &guard)?))
    }

    /// The scorer has seen the file so often that counting it costs no write, which keeps models small.
    pub fn make_hot(&self, path: &str) {
        self.spot(path, |spot| {
            for _ in 0..20 {
                self.core.sketch.record(u64::from(spot.id.get()), &self.local.pin());
            }
            spot.node.reads.store(1 << 20, Ordering::Relaxed);
        })
        .expect("a file");
    }

    /// Replaces or makes a file.
    pub fn write(&self, path: &str, value: u8, len: usize) -> Result<(), Error> {
        self.core.write(self.local, path, &vec![value; len], Naming::default())
    }

    /// Replaces a file's content and gives the old one up at once: the broken variant.
    pub fn write_recklessly(&self, path: &str, value: u8, len: usize) {
        let arena = &self.core.ground.arena;
        let block = arena.alloc(&self.local.magazine, len).expect("room");
        // SAFETY: fresh.
        unsafe { arena.slack_mut(block, 0, len).write_bytes(value, len) };
        self.spot(path, |spot| {
            let old = self.core.word_of(spot.node, &self.local.pin());
            let new = super::word::Word::ram(block).in_place_of(old);
            assert!(super::core::exchange(&spot.node.content, old, new), "nobody else writes");
            let Content::Ram(old) = old.content() else { panic!("the file was in RAM") };
            // SAFETY: none: this is the mistake.
            unsafe { arena.release(old) };
        })
        .expect("a file");
    }

    /// Appends, or makes a file.
    pub fn append(&self, path: &str, value: u8, len: usize) -> Result<(), Error> {
        self.core.append(self.local, path, &vec![value; len])
    }

    /// Cuts or lengthens a file.
    pub fn set_len(&self, path: &str, len: u64) -> Result<(), Error> {
        self.core.update(self.local, At::Path(path), Change::SetLen(len)).map(drop)
    }

    /// Writes part of a file.
    pub fn write_at(&self, path: &str, value: u8, len: usize, offset: u64) -> Result<(), Error> {
        let data = vec![value; len];
        self.core.update(self.local, At::Path(path), Change::WriteAt { data: &data, offset }).map(drop)
    }

    /// Reads a file in place: one version of it.
    pub fn read(&self, path: &str) -> Result<Bytes, Error> {
        self.core.read_with(self.local, At::Path(path), told)
    }

    /// Reads part of a file.
    pub fn read_at(&self, path: &str, len: usize, offset: u64) -> Result<Bytes, Error> {
        let mut bytes = vec![0; len];
        let read = self.core.read_at(self.local, At::Path(path), &mut bytes, offset)?;
        Ok(told(&bytes[..read]))
    }

    /// Copies a file whole.
    pub fn read_all(&self, path: &str) -> Result<Vec<u8>, Error> {
        self.core.read(self.local, At::Path(path))
    }

    /// Takes a reference to a file's version of now.
    pub fn get(&self, path: &str) -> Result<Held, Error> {
        match self.core.keep(self.local, At::Path(path))? {
            Keep::Block(block) => Ok(Held(block)),
            _ => panic!("models hold what is one block"),
        }
    }

    /// Where the file's bytes are.
    pub fn place(&self, path: &str) -> Result<Where, Error> {
        self.spot(path, |spot| match self.core.word_of(spot.node, &self.local.pin()).content() {
            Content::Empty => Where::Empty,
            Content::Gone | Content::Pending(_) => Where::Gone,
            Content::Ram(_) => Where::Ram,
            Content::Disk(_) => Where::Disk,
            Content::Tree(_) => Where::Tree,
        })
    }

    /// Swaps a file out, or its chunk, as the eviction hand does with what it found; whether it left.
    pub fn swap_out(&self, path: &str, chunk: Option<u64>) -> bool {
        self.swap_out_up_to(path, chunk, Band::Locked)
    }

    /// The same for want of room: what is locked stays.
    pub fn evict(&self, path: &str, chunk: Option<u64>) -> bool {
        self.swap_out_up_to(path, chunk, Band::Kept)
    }

    /// Whether a file, or its chunk, is in RAM.
    pub fn is_in_ram(&self, path: &str, chunk: Option<u64>) -> bool {
        let guard = self.local.pin();
        self.spot(path, |spot| {
            let word = self.core.word_at(spot.node, chunk, &guard);
            word.is_some_and(|word| matches!(word.content(), Content::Ram(_)))
        })
        .expect("a file")
    }

    fn swap_out_up_to(&self, path: &str, chunk: Option<u64>, up_to: Band) -> bool {
        let found = self.spot(path, |spot| {
            let place = Place { id: spot.id, chunk };
            let guard = self.local.pin();
            let word = self.core.slot_at(place, &guard).map(|slot| slot.load(Ordering::Acquire));
            word.map(|word| (place, super::word::Word::from_bits(word)))
        });
        let Ok(Some((place, word))) = found else { return false };
        // As the hand does where it finds nothing else.
        if let Some(chunk) = place.chunk.filter(|_| place.is_frozen(word)) {
            // Models have memory.
            let _ = self.core.thaw(self.local, place.id, chunk);
            return false;
        }
        self.core.swap_out(self.local, place, word, up_to).expect("memory does not fail") > 0
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) -> Result<(), Error> {
        self.core.remove_file(self.local, path)
    }

    /// Renames a file.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        self.core.rename(self.local, from, to)
    }

    /// Opens a file, reads it by its handle, and closes it.
    pub fn open_and_read(&self, path: &str) -> Result<Bytes, Error> {
        let id = self.core.open(self.local, path)?;
        let read = self.core.read_with(self.local, At::Node(id), told);
        self.core.drop_ref(self.local, id);
        read
    }

    /// Closes the store: every later call says so.
    pub fn close(&self) {
        if self.core.shut() {
            self.core.tear_down(self.local).expect("the disk does not fail");
        }
    }

    /// In a store that is closed, with nobody else at work: no file has a content.
    fn check_given_up(&self) {
        let guard = self.local.pin();
        for id in (0..self.core.index.bound()).map(NodeId::new) {
            let content = self.core.file(id).map(|node| self.core.word_of(node, &guard).content());
            assert!(
                content.is_none_or(|content| content == Content::Gone),
                "left in a closed store: {content:?}"
            );
        }
    }

    /// Begins a preload, for somebody to run.
    pub fn want(&self, path: &str) -> Wanted {
        let id: NodeId = self.core.open(self.local, path).expect("a file");
        Wanted(Preloading::new(id, path.to_owned()))
    }

    /// Runs a preload, as a worker does.
    pub fn run(&self, wanted: &Wanted) {
        wanted.0.run(self.core, self.local);
    }

    /// Ends a preload that nobody runs.
    pub fn cancel(&self, wanted: &Wanted) {
        wanted.0.cancel(self.core, self.local);
    }

    /// Makes durable what is in the order.
    pub fn flush(&self) {
        self.core.flush(self.local).expect("the disk does not fail");
    }

    /// Lets go of what later changes have made of no account, as the flusher does between two flushes.
    pub fn condense(&self) {
        self.core.condense(self.local);
    }

    /// Makes durable what was acknowledged, by the thread's own hands or another's.
    pub fn sync(&self) -> Result<(), Error> {
        self.core.sync(self.local)
    }

    /// The place of the last change that has one.
    pub fn placed(&self) -> u64 {
        self.core.log.as_ref().map_or(0, |log| log.order.last_place(&self.local.pin()))
    }

    /// Replaces a file and sets its priority, at one instant.
    pub fn write_with_priority(&self, path: &str, value: u8, len: usize, level: u8) -> Result<(), Error> {
        let priority = Some(Priority::from_level(level));
        self.core.write(self.local, path, &vec![value; len], Naming { priority, create_new: false })
    }

    /// Sets a file's priority.
    pub fn set_priority(&self, path: &str, level: u8) -> Result<(), Error> {
        self.core.set_priority(self.local, path, Priority::from_level(level))
    }

    /// A file's priority.
    pub fn priority(&self, path: &str) -> Result<u8, Error> {
        self.core.priority_of(self.local, At::Path(path)).map(Priority::get)
    }

    /// Lets the epoch advance, and frees what it can.
    pub fn collect(&self) {
        self.local.pin().flush();
    }
}

impl Wanted {
    /// Waits for the end of a preload.
    pub fn wait(&self) -> Result<(), Error> {
        self.0.wait()
    }

    /// Whether it has ended.
    pub fn is_done(&self) -> bool {
        self.0.is_done()
    }
}

impl Held {
    /// What is held.
    pub fn read(&self) -> Bytes {
        told(self.0.bytes())
    }
}
