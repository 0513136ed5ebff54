//! Making room: what an allocation does when the budget is spent, and the hand that chooses who leaves.
//!
//! In this order: give back pages nobody uses; let better files keep their place and swap out the worst of a sample; help
//! reclamation along. It never waits: what cannot be had now is `None`, and the caller goes to disk.

use super::{
    core::Core,
    heat,
    local::Local,
    swap::{FreshBlock, Place},
    tree::Tree,
    word::{Content, Word},
};
use crate::{
    arena::metadata_reserve,
    config::Priority,
    epoch::Guard,
    index::{Kind, Node, NodeId},
    scorer::{Band, Sample, age, score},
    sync::Ordering::*,
};
use std::time::Duration;

/// Nodes the hand looks at for one victim, if it has found any by then; and in vain, for who can do without.
const LOOKS: u32 = 1024;
/// Searches for a file of the first band that may fail in a row before the hand stops going out of its way for one.
const LOW_SEARCHES: u32 = 64;
/// Without workers, one in so many rounds of making room does the upkeep, too.
const UPKEEP_EVERY: u64 = 64;
/// Milliseconds that what can be nowhere but in RAM (metadata, a long file in one piece) waits for a stopped reader, or for
/// bytes that others hold for a moment, before it is refused.
pub(crate) const PATIENCE: u32 = 100;
/// One of these milliseconds. Where one thread alone uses a store it waits in vain, and a fuzzer for most of its time.
const MOMENT: Duration = Duration::from_millis(if cfg!(fuzzing) { 0 } else { 1 });
/// Rounds of making room before an allocation gives up.
const ROUNDS: usize = 8;

/// How often somebody will still wait: see `PATIENCE`.
pub(crate) struct Patience(u32);

impl Patience {
    pub(crate) fn new() -> Self {
        Self(PATIENCE)
    }
}

/// Who leaves.
pub(crate) struct Victim {
    place: Place,
    word: Word,
}

impl Core {
    /// A block for `len` bytes of a file of `priority`, making room if need be; `None` if RAM is full of better files.
    pub(crate) fn block(&self, local: &Local, len: usize, priority: Priority) -> Option<FreshBlock<'_>> {
        debug_assert!(0 < len && len <= self.config.chunk_bytes);
        let block = match self.ground.arena.alloc(&local.magazine, len) {
            Some(block) => block,
            None => self.block_slow(local, len, priority)?,
        };
        self.jobs.nudge(self.budget());
        Some(FreshBlock::new(self, block))
    }

    #[cold]
    fn block_slow(&self, local: &Local, len: usize, priority: Priority) -> Option<crate::arena::BlockRef> {
        if len as u64 > self.config.memory_limit_bytes / 2 {
            return None;
        }
        for _ in 0..ROUNDS {
            let up_to = Band::of(priority).min(Band::Kept);
            // The arena has found nothing to trim, or it would not have refused.
            self.upkeep_at_times(local);
            let trimmed = self.index.trim(len as u64, &local.pin());
            // What leaves is not given back to the system at once: if it was as large as what comes, its pages are what is
            // wanted. If it was not, the arena gives back what it must.
            let progress = trimmed >= len as u64 || self.free(local, len as u64, up_to, LOOKS) || trimmed > 0;
            if let Some(block) = self.ground.arena.alloc(&local.magazine, len) {
                return Some(block);
            }
            if !progress {
                break;
            }
        }
        None
    }

    /// Runs `attempt` (which says how many bytes of metadata it lacks) until it succeeds, making room in between. `None` if
    /// there is none to be made. Here and in `charge` the engine waits for other threads, within bounds: see `PATIENCE`.
    pub(crate) fn with_room<T>(
        &self,
        local: &Local,
        mut attempt: impl FnMut() -> Result<T, u64>,
    ) -> Result<T, u64> {
        let mut patience = Patience::new();
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(bytes) if self.make_room_or_wait(local, bytes, &mut patience) => {}
                Err(bytes) => return Err(bytes),
            }
        }
    }

    /// Makes room for `bytes` of metadata, or waits a moment; false if neither is of use any more, and the caller gives up.
    pub(crate) fn make_room_or_wait(&self, local: &Local, bytes: u64, patience: &mut Patience) -> bool {
        if self.make_room(local, bytes, Band::Kept, u32::MAX) {
            return true;
        }
        // Metadata can be nowhere but in RAM. Where all that could be freed waits for a thread that was stopped while it
        // read, that is most likely over in a moment: better a little late than refused.
        let waits = patience.0 > 0 && self.awaiting_reclamation() > 0;
        if waits {
            patience.0 -= 1;
            std::thread::sleep(MOMENT);
        }
        waits
    }

    /// Charges `bytes` for something outside the arena, making room for them, and waiting for `patience` milliseconds at most
    /// where there is none to be made.
    pub(crate) fn charge(&self, local: &Local, bytes: u64, mut patience: u32) -> bool {
        let usable = self.config.memory_limit_bytes.saturating_sub(self.index.size_bytes(&local.pin()));
        if bytes > usable {
            return false;
        }
        for _ in 0..u64::from(PATIENCE) + bytes / (16 << 10) {
            if self.budget().try_charge(bytes) {
                return true;
            }
            let missing = bytes.saturating_sub(self.budget().limit() - self.budget().charged());
            if self.make_room(local, missing, Band::Kept, u32::MAX) {
                continue;
            }
            if patience == 0 {
                return false;
            }
            patience -= 1;
            std::thread::sleep(MOMENT);
        }
        false
    }

    /// One round of making room for `bytes` in the budget, in which the hand looks at `looks` files at most in vain: true if
    /// something was freed or is about to be.
    pub(crate) fn make_room(&self, local: &Local, bytes: u64, up_to: Band, looks: u32) -> bool {
        self.upkeep_at_times(local);
        let trimmed = self.ground.arena.trim(bytes) + self.index.trim(bytes, &local.pin());
        if trimmed >= bytes {
            return true;
        }
        let freed = self.free(local, bytes, up_to, looks);
        trimmed + self.ground.arena.trim(bytes) > 0 || freed
    }

    /// Without workers, upkeep is for who has to make room anyway, now and then.
    fn upkeep_at_times(&self, local: &Local) {
        if self.config.worker_threads == 0 && local.random().is_multiple_of(UPKEEP_EVERY) {
            self.upkeep(local);
        }
    }

    /// Frees `bytes` of blocks, which stay charged and resident, for whoever needs some of their sizes or trims; whether any are
    /// free now that were not, or about to be.
    fn free(&self, local: &Local, bytes: u64, up_to: Band, looks: u32) -> bool {
        let before = self.ground.reclaimed();
        let batch = (self.config.memory_limit_bytes / 256).clamp(8 << 10, 256 << 10);
        let want = bytes.max(batch);
        // A reader that is stuck holds back what was retired since: evicting more would only retire more.
        let bound = (self.config.memory_limit_bytes / 8).max(want * 2);
        let evicted =
            if self.awaiting_reclamation() < bound { self.evict(local, want, up_to, looks) } else { 0 };
        // What is to be written before it can leave, or is held until it is written.
        let flushed = evicted < want && self.flush_for_room(local);
        self.collect(local);
        flushed || evicted > 0 || self.ground.reclaimed() != before
    }

    /// Flushes if something in RAM waits for that; whether it did.
    fn flush_for_room(&self, local: &Local) -> bool {
        let wanted = |log: &super::flush::Log| !log.is_flushing(local) && log.has_unflushed(&local.pin());
        self.log.as_ref().is_some_and(wanted) && self.flush(local).is_ok()
    }

    /// Swaps out the worst until `want` bytes are on their way to be free; returns how many are.
    pub(crate) fn evict(&self, local: &Local, want: u64, up_to: Band, looks: u32) -> u64 {
        let (mut freed, mut failures) = (0, 0);
        while freed < want && failures < 8 {
            let Some(victim) = self.victim(local, up_to, looks) else { break };
            match self.swap_out(local, victim.place, victim.word, up_to) {
                Ok(0) => failures += 1,
                Ok(bytes) => {
                    freed += bytes;
                    local.counters.evictions.add(1);
                }
                Err(_) => {
                    local.counters.failed_swap_outs.add(1);
                    failures += 1;
                }
            }
        }
        freed
    }

    /// The worst of a sample at the hand, of the bands up to `up_to`.
    pub(crate) fn victim(&self, local: &Local, up_to: Band, most_looks: u32) -> Option<Victim> {
        let guard = local.pin();
        let low_searches = self.low_searches.load(Relaxed);
        let best = if low_searches > 0 { Band::First } else { Band::Normal };
        let epoch = self.clock.epoch();
        let mut lap = self.hand.lap(self.index.bound());
        let mut sample = Sample::new();
        let mut looks = 0;
        // Once around at most; a long search is cut short as soon as it has found anything.
        while looks < most_looks && (looks < LOOKS || sample.band().is_none()) {
            if sample.is_full() && sample.band().is_some_and(|band| band <= best) {
                break;
            }
            let Some(id) = lap.next().map(NodeId::new) else { break };
            looks += 1;
            self.index.prefetch(NodeId::new(lap.soon()));
            let node = self.index.held(id);
            // Relaxed: most files of a store that is larger than its memory are passed over by this; the others are looked at again.
            if Word::from_bits(node.content.load(Relaxed)).is_elsewhere() {
                continue;
            }
            if node.live_kind() == Some(Kind::File) {
                self.consider(local, &guard, &mut sample, id, node, epoch, up_to);
            }
        }
        self.remember(low_searches, sample.band());
        self.hand.rest(&lap);
        sample.into_worst()
    }

    /// Keeps up the search for files of the first band while it finds some, and for a while after.
    fn remember(&self, low_searches: u32, found: Option<Band>) {
        let next = match found {
            Some(Band::First) => LOW_SEARCHES,
            _ => low_searches.saturating_sub(1),
        };
        if next != low_searches {
            self.low_searches.store(next, Relaxed);
        }
    }

    /// Takes note that a content of a file of `priority` came to RAM.
    pub(crate) fn note_resident(&self, local: &Local, priority: Priority, capacity: usize) {
        local.counters.resident.add(1);
        self.note_priority(priority);
        if priority.is_locked() {
            self.locked.fetch_add(capacity as i64, Relaxed);
        }
    }

    /// Takes note that there is a file of `priority`, possibly in RAM.
    pub(crate) fn note_priority(&self, priority: Priority) {
        if Band::of(priority) == Band::First {
            self.remember(self.low_searches.load(Relaxed), Some(Band::First));
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one step of one loop, split off to be read")]
    fn consider(
        &self,
        local: &Local,
        guard: &Guard,
        sample: &mut Sample<Victim>,
        id: NodeId,
        node: &Node,
        epoch: u32,
        up_to: Band,
    ) {
        let band = Band::of(heat::priority(node));
        if band > up_to {
            return;
        }
        let Some((chunk, word)) = self.resident_word(local, guard, id, node) else { return };
        let Content::Ram(block) = word.content() else { return };
        // One that others hold would leave its file, but not RAM; one that the flusher has not written yet cannot.
        let unflushed = self.log.is_some() && self.ground.extent_of(block).is_none();
        if unflushed || self.ground.arena.is_shared(block) {
            return;
        }
        let frequency = self.sketch.estimate(u64::from(id.get()), guard);
        let age = age(epoch, node.age.load(Relaxed));
        let size = self.ground.arena.len(block) as u64;
        let score = score(frequency, heat::effective(self, node), size, age);
        sample.consider(band, score, Victim { place: Place { id, chunk }, word });
    }

    /// A word of the file that is in RAM: its own, or one of its chunks', from a random one on.
    fn resident_word(
        &self,
        local: &Local,
        guard: &Guard,
        id: NodeId,
        node: &Node,
    ) -> Option<(Option<u64>, Word)> {
        let word = self.word_of(node, guard);
        let tree = match word.content() {
            Content::Ram(_) => return Some((None, word)),
            // SAFETY: loaded under the guard.
            Content::Tree(tree) => unsafe { Tree::deref(tree) },
            _ => return None,
        };
        let chunks = tree.len().div_ceil(self.config.chunk_bytes as u64).max(1);
        let (mut found, mut frozen) = (None, None);
        let start = local.random() % chunks;
        for range in [start..chunks, 0..start] {
            tree.visit(range, |chunk, slot| {
                let word = Word::from_bits(slot.load(Acquire));
                if matches!(word.content(), Content::Ram(_)) {
                    if word.is_frozen() {
                        frozen = Some(chunk);
                    } else {
                        found = Some((Some(chunk), word));
                    }
                }
                found.is_none()
            });
            if found.is_some() {
                break;
            }
        }
        if found.is_none()
            && let Some(chunk) = frozen
        {
            // Without memory it stays as it is.
            let _ = self.thaw(local, id, chunk);
        }
        found
    }

    /// Bytes a new content could have: not charged and not left for metadata, or free, or about to be.
    pub(crate) fn headroom(&self) -> u64 {
        let limit = self.budget().limit();
        (limit - metadata_reserve(limit).min(limit))
            .saturating_sub(self.budget().charged())
            .saturating_add(self.ground.arena.free_resident_bytes())
            .saturating_add(self.awaiting_reclamation())
    }
}

impl Victim {
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    pub(crate) fn word(&self) -> Word {
        self.word
    }
}
