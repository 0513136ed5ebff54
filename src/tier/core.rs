//! The store itself: everything but its threads and its public face.

use super::{
    flush::Log,
    ground::Ground,
    limbo::Limbo,
    local::{Local, Registry},
    word::{Content, Word},
    worker::Jobs,
};
use crate::{
    arena::{Arena, Budget},
    config::{Config, StorageMode},
    epoch::{Collector, Guard},
    error::{Error, Result},
    index::{Bound, Cx, Index, IndexError, Kind, Node, NodeId, Settled},
    journal::Journal,
    order::Order,
    path::canonical_name,
    scorer::{Hand, RequestClock, Sketch},
    segment::{Disk, RealDisk, SegmentConfig, Segments, StorageKind},
    sync::{Arc, AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::*, fence},
};
use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Files the sketch is made for at first.
const FIRST_SKETCH_FILES: usize = if cfg!(memfs_loom) { 1 } else { 1024 };
/// A file that was not read for so many epochs, two turns of all resident files, has its time of access noted at once. (With much
/// room, where they pass many at once, that may be four turns.)
const LONG_EPOCHS: u32 = 16;
/// With this part of the limit free nothing has to leave soon.
const ROOMY_PART: u64 = 4;

/// As many nodes as their slots alone fill the limit: address space for more would never be used.
fn most_nodes(limit_bytes: u64) -> u32 {
    if cfg!(memfs_loom) {
        return (limit_bytes >> 14).clamp(8, 64) as u32;
    }
    (limit_bytes / size_of::<Node>() as u64).clamp(64, u64::from(u32::MAX - 1)) as u32
}

/// One store. Fields are dropped in order: the threads' handles, then the collector, whose last garbage may still touch the
/// ground and the index, then these.
pub(crate) struct Core {
    pub(crate) id: u64,
    pub(crate) registry: Registry,
    collector: Collector,
    pub(crate) index: Index,
    pub(crate) sketch: Sketch,
    pub(crate) ground: Box<Ground>,
    pub(crate) config: Config,
    pub(crate) clock: RequestClock,
    pub(crate) jobs: Jobs,
    pub(crate) hand: Hand,
    closed: AtomicBool,
    /// Searches left in which the hand goes out of its way to find a file of the first band; see `room`.
    pub(crate) low_searches: AtomicU32,
    /// Bytes in RAM of locked files, as far as is known: see `locked`.
    pub(crate) locked: AtomicI64,
    /// Bytes of blocks staged for long files: until they are published the hand cannot take them.
    pub(crate) staging: AtomicU64,
    pub(crate) opened: Instant,
    /// Where an order of changes is kept: in a store that is to survive its process.
    pub(crate) log: Option<Log>,
}

/// Which file an operation is about.
#[derive(Clone, Copy)]
pub(crate) enum At<'p> {
    /// Whatever file has this path at that instant.
    Path(&'p str),
    /// The file of an open handle, or of another reference that the caller has; named or not.
    Node(NodeId),
}

/// A file as found under a guard.
pub(crate) struct Spot<'g> {
    pub(crate) id: NodeId,
    pub(crate) node: &'g Node,
    bound: Option<Bound<'g>>,
}

impl<'g> Spot<'g> {
    #[inline]
    pub(crate) fn of(bound: Bound<'g>) -> Self {
        Spot { id: bound.id, node: bound.node, bound: Some(bound) }
    }

    /// The file of a reference that the caller has.
    #[inline]
    pub(crate) fn held(id: NodeId, node: &'g Node) -> Self {
        Spot { id, node, bound: None }
    }

    /// The content word as it is: perhaps taken by a change, which is to be completed before anything is made of it.
    #[inline]
    pub(crate) fn raw_word(&self) -> Word {
        raw_word(self.node)
    }

    #[inline]
    pub(crate) fn word(&self, core: &Core, guard: &Guard) -> Word {
        core.word_of(self.node, guard)
    }

    /// Whether the file still has the name it was found by: then what was loaded from it belongs to that name.
    #[inline]
    pub(crate) fn still(&self, core: &Core) -> bool {
        self.bound.as_ref().is_none_or(|bound| bound.still(&core.index))
    }

    /// Whether an exchange of the word loaded before this call will happen before any rename or removal commits.
    pub(crate) fn settled(&self, core: &Core, guard: &Guard) -> bool {
        self.bound.as_ref().is_none_or(|bound| bound.settled(&core.index, guard) == Settled::Yes)
    }

    /// Takes a reference to the file, for a handle; false if it is being freed, or lost its name.
    pub(crate) fn acquire(&self, core: &Core) -> bool {
        self.bound.as_ref().is_some_and(|bound| core.index.acquire(bound))
    }
}

/// A node's content word as it is. A directory's is the address of its body, which reads as no block.
#[inline]
pub(crate) fn raw_word(node: &Node) -> Word {
    // Acquire: pairs with the Release of the exchange that published the content.
    Word::from_bits(node.content.load(Acquire))
}

/// One exchange of a content word or slot. AcqRel: Release publishes the bytes to the Acquire loads of readers; Acquire
/// orders the retirement of what was there after its publication.
pub(crate) fn exchange(word: &AtomicU64, from: Word, to: Word) -> bool {
    word.compare_exchange(from.bits(), to.bits(), AcqRel, Acquire).is_ok()
}

impl Core {
    pub(crate) fn new(config: Config) -> Result<std::sync::Arc<Core>> {
        Self::with_disk(config, std::sync::Arc::new(RealDisk))
    }

    /// The same over another disk.
    pub(crate) fn with_disk(config: Config, disk: std::sync::Arc<dyn Disk>) -> Result<std::sync::Arc<Core>> {
        match config.mode {
            StorageMode::Temp => {
                let segments = Self::open_segments(&config, StorageKind::Temp, disk)?;
                Self::assemble(config, segments, None)
            }
            StorageMode::Persist => Self::open_lasting(config, disk),
        }
    }

    pub(super) fn open_segments(
        config: &Config,
        kind: StorageKind,
        disk: std::sync::Arc<dyn Disk>,
    ) -> Result<Segments> {
        let config = SegmentConfig {
            dir: config.storage_path.clone().unwrap_or_else(default_dir),
            kind,
            segment_bytes: config.segment_bytes,
            chunk_bytes: config.chunk_bytes,
            storage_limit_bytes: config.storage_limit_bytes,
        };
        Segments::open(config, disk)
    }

    /// A store of nothing but its root, over these segments; with a journal, one that keeps an order of changes.
    pub(super) fn assemble(
        config: Config,
        segments: Segments,
        journal: Option<Journal>,
    ) -> Result<std::sync::Arc<Core>> {
        let budget = Arc::new(Budget::new(config.memory_limit_bytes));
        let memory = |source| Error::io("", "reserving memory", source);
        let arena =
            Arc::new(Arena::new(budget.clone(), config.chunk_bytes, config.huge_pages).map_err(memory)?);
        let log = journal.map(|journal| {
            let order =
                Order::new(arena.clone()).ok_or_else(|| memory(std::io::ErrorKind::OutOfMemory.into()))?;
            Ok::<_, Error>(Log::new(order, journal, config.durability, config.memory_limit_bytes))
        });
        let log = log.transpose()?;
        let order = log.as_ref().map(|log| log.order.clone());
        let limbo = log.as_ref().map(|_| Limbo::new());
        let index =
            Index::new(arena.clone(), most_nodes(config.memory_limit_bytes), order).map_err(memory)?;
        let sketch = Sketch::new(FIRST_SKETCH_FILES).map_err(memory)?;
        let core = Core {
            id: next_id(),
            registry: Registry::new(),
            collector: Collector::new(),
            index,
            sketch,
            ground: Box::new(Ground::new(arena, segments, limbo)),
            clock: RequestClock::new(),
            jobs: Jobs::new(&config),
            hand: Hand::new(),
            closed: AtomicBool::new(false),
            low_searches: AtomicU32::new(0),
            locked: AtomicI64::new(0),
            staging: AtomicU64::new(0),
            opened: Instant::now(),
            log,
            config,
        };
        let core = std::sync::Arc::new(core);
        let bytes = core.sketch.size_bytes(&core.local().pin());
        if !budget.try_charge(bytes) {
            return Err(core.memory_limit("", bytes));
        }
        Ok(core)
    }

    pub(crate) fn budget(&self) -> &Budget {
        self.ground.arena.budget()
    }

    /// Registers a thread; see `Core::local` for the one at hand.
    pub(crate) fn acquire_local(&self) -> &Local {
        self.registry.acquire(&self.collector, &self.ground.arena)
    }

    pub(crate) fn cx<'g>(&'g self, local: &'g Local, guard: &'g Guard) -> Cx<'g> {
        Cx { guard, magazine: &local.magazine, nodes: &local.nodes }
    }

    /// Acquire: pairs with the Release in `shut`.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(Error::Closed) } else { Ok(()) }
    }

    /// Closes; true for the one call that did.
    pub(crate) fn shut(&self) -> bool {
        let is_first = !self.closed.swap(true, AcqRel);
        // Pairs with the fence in `give_up_if_closed`.
        fence(SeqCst);
        is_first
    }

    /// For a file that has just been made: if the store was closed meanwhile, whoever gives up its contents may have passed by
    /// already. Either the store is seen closed here, or the file there.
    pub(super) fn give_up_if_closed(&self, local: &Local, guard: &Guard, node: &Node) {
        fence(SeqCst);
        if self.is_closed() {
            self.empty(local, guard, node);
        }
    }

    /// The file `at` is about.
    #[inline]
    pub(crate) fn resolve<'g>(&'g self, at: At<'_>, guard: &'g Guard) -> Result<Spot<'g>> {
        match at {
            At::Path(path) => {
                let bound = self.index.lookup(path, guard).map_err(|error| self.index_error(error))?;
                if bound.is_dir() {
                    return Err(Error::IsADirectory { path: canonical_name(path) });
                }
                Ok(Spot::of(bound))
            }
            At::Node(id) => Ok(Spot::held(id, self.index.held(id))),
        }
    }

    /// A file's content word. One that a change has taken is completed first, so that nobody sees what has no place in the
    /// order of changes.
    #[inline]
    pub(crate) fn word_of(&self, node: &Node, guard: &Guard) -> Word {
        let word = raw_word(node);
        if word.is_pending() { self.settled_word(node, guard) } else { word }
    }

    /// The node of a file that has a name, or is open.
    #[inline]
    pub(crate) fn file(&self, id: NodeId) -> Option<&Node> {
        self.index.node(id).filter(|node| node.live_kind() == Some(Kind::File))
    }

    /// The name an error is about, in canonical form; a handle's owner fills it in.
    pub(crate) fn name_of(at: At<'_>) -> String {
        match at {
            At::Path(path) => canonical_name(path),
            At::Node(_) => String::new(),
        }
    }

    pub(crate) fn index_error(&self, error: IndexError) -> Error {
        about_index(error, self.config.memory_limit_bytes)
    }

    pub(crate) fn memory_limit(&self, path: &str, needed_bytes: u64) -> Error {
        Error::MemoryLimit {
            path: path.to_owned(),
            needed_bytes,
            limit_bytes: self.config.memory_limit_bytes,
        }
    }

    /// What a word of a closed store or a file that is no more gives.
    pub(crate) fn gone(&self, at: At<'_>) -> Error {
        if self.is_closed() { Error::Closed } else { Error::NotFound { path: Self::name_of(at) } }
    }

    /// Contents in RAM, of all threads' counts.
    pub(crate) fn resident(&self) -> u64 {
        self.registry.level(|counters| counters.resident.get())
    }

    /// A use of a file: for the sketch, its age, its count of reads and its boost. A file that is hot and settled costs loads.
    #[inline(always)]
    pub(crate) fn touch(&self, local: &Local, id: NodeId, node: &Node, guard: &Guard) {
        self.request(local, id, node, guard);
        super::heat::read(self, local, node);
    }

    /// The scorer's share of a use.
    #[inline(always)]
    pub(crate) fn request(&self, local: &Local, id: NodeId, node: &Node, guard: &Guard) {
        // Relaxed, all: figures.
        let (era, epoch) = (self.sketch.era(), self.clock.epoch());
        if node.hottest.load(Relaxed) != era {
            self.raise(local, id, node, era, guard);
        }
        if node.age.load(Relaxed) != epoch {
            Self::renew(node, epoch);
        }
        if local.request() {
            self.report(local, guard);
        }
    }

    /// Counts a use of a file that was not seen to be counted as high as it can be in this era.
    #[inline(never)]
    fn raise(&self, local: &Local, id: NodeId, node: &Node, era: u32, guard: &Guard) {
        if self.sketch.record(u64::from(id.get()), guard) {
            local.raised();
        } else {
            node.hottest.store(era, Relaxed);
        }
    }

    /// Notes the epoch of a use.
    #[inline(never)]
    fn renew(node: &Node, epoch: u32) {
        let age = node.age.load(Relaxed);
        node.age.store(epoch, Relaxed);
        if crate::scorer::age(epoch, age) > LONG_EPOCHS {
            super::heat::note_access(node);
        }
    }

    #[cold]
    fn report(&self, local: &Local, guard: &Guard) {
        let (requests, increments) = local.take_requests();
        let resident = self.resident();
        let is_roomy = self.budget().charged() < self.budget().limit() / ROOMY_PART * (ROOMY_PART - 1);
        self.clock.advance(requests, resident, is_roomy);
        if increments > 0 {
            self.sketch.age(increments, resident, guard);
        }
        if let Some(bytes) = self.sketch.wants(self.index.file_count(), guard) {
            self.grow_sketch(bytes, guard);
        }
    }

    /// Doubles the sketch if the budget allows; else it stays as it is and estimates less well.
    fn grow_sketch(&self, bytes: u64, guard: &Guard) {
        if !self.budget().try_charge(bytes) {
            return;
        }
        let is_grown = matches!(self.sketch.grow(bytes, guard), Ok(true));
        // The old table, half of the new one, is freed within the grace period; until then its bytes are a thousandth of the new files'.
        self.budget().refund(if is_grown { bytes / 2 } else { bytes });
    }

    /// Lets the epoch advance as far as pinned threads allow, and frees what it can.
    pub(crate) fn collect(&self, local: &Local) {
        for _ in 0..4 {
            local.pin().flush();
        }
    }

    /// Bytes retired but not yet free.
    pub(crate) fn awaiting_reclamation(&self) -> u64 {
        self.registry.tally(|counters| counters.retired_bytes.get()).saturating_sub(self.ground.reclaimed())
    }

    /// Drops one reference to a file that was unlinked or closed; the last one gives up its content.
    pub(crate) fn drop_ref(&self, local: &Local, id: NodeId) {
        self.release(local, &self.cx(local, &local.pin()), id);
    }

    /// The same under a guard that is there.
    pub(crate) fn release(&self, local: &Local, cx: &Cx<'_>, id: NodeId) {
        if self.index.release(id) {
            self.empty(local, cx.guard, self.index.held(id));
            self.index.retire(id, cx);
        }
    }

    /// Takes a node's content for good.
    fn empty(&self, local: &Local, guard: &Guard, node: &Node) {
        let mut old = self.word_of(node, guard);
        while old.content() != Content::Gone {
            let bytes = self.locked_bytes(node, old, guard);
            if exchange(&node.content, old, Word::GONE.in_place_of(old)) {
                if bytes != 0 {
                    self.locked.fetch_sub(bytes, Relaxed);
                }
                // SAFETY: unlinked by the exchange, under the guard.
                unsafe { self.ground.retire_last(local, guard, old) };
                return;
            }
            old = self.word_of(node, guard);
        }
    }

    /// Gives up every file's content. Readers and writers in flight finish on what they hold, or find the store closed. In a
    /// store that is to survive, what is on disk stays, and what has its place in the order is written first.
    pub(crate) fn tear_down(&self, local: &Local) -> Result<()> {
        self.firm_up_for_good(local);
        if let Some(limbo) = &self.ground.limbo {
            limbo.close();
        }
        for slot in 0..self.index.bound() {
            let guard = local.pin();
            if let Some(node) = self.file(NodeId::new(slot)) {
                self.empty(local, &guard, node);
            }
        }
        let finished = self.finish_log(local);
        self.collect(local);
        self.ground.arena.drain(&local.magazine);
        self.ground.arena.trim(u64::MAX);
        self.ground.segments.shrink();
        finished
    }
}

fn about_index(error: IndexError, limit_bytes: u64) -> Error {
    match error {
        IndexError::NotFound(path) => Error::NotFound { path },
        IndexError::NotADirectory(path) => Error::NotADirectory { path },
        IndexError::IsADirectory(path) => Error::IsADirectory { path },
        IndexError::NotEmpty(path) => Error::DirectoryNotEmpty { path },
        IndexError::Invalid { path, reason } => Error::InvalidPath { path, reason },
        IndexError::IntoItself { from, to } => Error::InvalidArgument {
            path: from,
            argument: "to",
            expected: "a path outside the directory that is moved".to_owned(),
            found: to,
        },
        IndexError::Memory(needed_bytes) => {
            Error::MemoryLimit { path: String::new(), needed_bytes, limit_bytes }
        }
    }
}

/// Never used twice in a process, so that what a thread remembers of a store cannot be taken for another's.
fn next_id() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Now, in nanoseconds since 1970; as coarse as the kernel's tick, as times of files are in its own file systems, and a fifth
/// of the price of the exact time.
#[inline]
pub(crate) fn now_ns() -> u64 {
    // The model checker wants every run to be the same.
    if cfg!(memfs_loom) {
        return 0;
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    // Before 1970 a clock has not been set.
    now.tv_sec.max(0) as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Now, in seconds since 1970.
#[inline]
pub(crate) fn now_seconds() -> u32 {
    (now_ns() / 1_000_000_000) as u32
}

/// A time the store kept.
pub(crate) fn time_of(ns: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(ns)
}

/// Where segments go when nobody said.
pub(crate) fn default_dir() -> PathBuf {
    std::env::temp_dir()
}
