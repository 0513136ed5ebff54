//! Changing part of a file, in one instant: what it will be is staged upon what it is, and one exchange of the content word
//! makes it so. An exchange that fails means that another one succeeded, and the change is made anew upon it.
//!
//! # Invariants
//! 1. What an exchange is based on (the old word, the old chunks) is held from when it was read to the exchange.
//! 2. Bytes below a published length are never written again. Bytes above it in the same block are written by the one append
//!    that claimed them by exchanging the header's `tail` from that very length.

use super::{
    core::{At, Core, Spot},
    ground::Held,
    heat,
    local::Local,
    log::{Preparation, Revision},
    room::Patience,
    stage::{Staged, StagingShare},
    tree::{MAX_LEN, NoMemory, Tree, TreeMemory, rebuild},
    word::{Content, Word},
    write::Naming,
};
use crate::{
    arena::BlockRef,
    config::Priority,
    epoch::Guard,
    error::{Error, Result},
    failpoint::pass,
    sync::Ordering::*,
};

/// A change of part of a file.
#[derive(Clone, Copy)]
pub(crate) enum Change<'d> {
    WriteAt { data: &'d [u8], offset: u64 },
    Append { data: &'d [u8] },
    SetLen(u64),
}

/// What a change comes to on a file of a certain length.
#[derive(Clone, Copy)]
struct Plan<'d> {
    data: &'d [u8],
    offset: u64,
    new_len: u64,
}

impl Plan<'_> {
    fn end(&self) -> u64 {
        self.offset + self.data.len() as u64
    }
}

impl<'d> Change<'d> {
    fn on(self, len: u64) -> Option<Plan<'d>> {
        let (data, offset) = match self {
            Change::WriteAt { data, offset } => (data, offset),
            Change::Append { data } => (data, len),
            Change::SetLen(new_len) => {
                return (new_len <= MAX_LEN).then_some(Plan { data: &[], offset: new_len, new_len });
            }
        };
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= MAX_LEN)?;
        Some(Plan { data, offset, new_len: end.max(len) })
    }
}

impl Core {
    /// Appends to a file, or creates it.
    pub(crate) fn append(&self, local: &Local, path: &str, data: &[u8]) -> Result<()> {
        loop {
            match self.update(local, At::Path(path), Change::Append { data }) {
                Err(Error::NotFound { .. }) => {}
                other => return other.map(drop),
            }
            match self.write(local, path, data, Naming { priority: None, create_new: true }) {
                Err(Error::AlreadyExists { .. }) => {}
                other => return other,
            }
        }
    }

    /// Makes a part of a file new, in one instant; where the data ends in it.
    pub(crate) fn update(&self, local: &Local, at: At<'_>, change: Change<'_>) -> Result<u64> {
        let mut patience = Patience::new();
        loop {
            self.check_open()?;
            let guard = local.pin();
            let spot = self.resolve(at, &guard)?;
            let word = spot.word(self, &guard);
            let Some(len) = self.ground.len_of(word, &guard) else {
                if spot.still(self) {
                    return Err(self.gone(at));
                }
                continue;
            };
            if word.is_bare() {
                self.give_bare_record(local, &spot, &guard);
                continue;
            }
            let plan = change.on(len).ok_or_else(|| too_long(at, change))?;
            let unchanged = match change {
                Change::SetLen(new_len) => new_len == len,
                _ => plan.data.is_empty(),
            };
            if unchanged && spot.still(self) {
                return Ok(plan.offset);
            }
            let tree = matches!(word.content(), Content::Tree(_));
            if self.append_in_place(local, &guard, &spot, word, &plan)
                || self.cut_in_place(local, &guard, &spot, word, &plan)
            {
                return Ok(plan.end());
            }
            let priority = heat::priority(spot.node);
            let base = Base { word, len, priority };
            let done = if plan.new_len > self.config.chunk_bytes as u64 || tree && !plan.data.is_empty() {
                let touched = self.touched_chunks(local, &base, &plan, &guard)?;
                drop(guard);
                self.update_chunks(local, at, &base, change, touched, &mut patience)?
            } else {
                // What stays of a long file that is cut to one chunk is in its first.
                let first = self.chunk_word(word, 0, &guard);
                // SAFETY: loaded under the guard.
                let held = unsafe { self.ground.hold(local, first, &guard) }?;
                drop(guard);
                self.update_single(local, at, &base, first, &held, plan)?
            };
            if done {
                return Ok(plan.end());
            }
        }
    }

    /// Appends within the block that the file's last bytes are in, if nobody else claimed what is free in it.
    fn append_in_place(
        &self,
        local: &Local,
        guard: &Guard,
        spot: &Spot<'_>,
        word: Word,
        plan: &Plan<'_>,
    ) -> bool {
        if plan.data.is_empty() || plan.end() != plan.new_len {
            return false;
        }
        let chunk_bytes = self.config.chunk_bytes as u64;
        let (chunk, at) = (plan.offset / chunk_bytes, plan.offset % chunk_bytes);
        let tail = self.chunk_word(word, chunk, guard);
        let Content::Ram(block) = tail.content() else { return false };
        if self.ground.arena.len(block) as u64 != at {
            return false;
        }
        let Some(longer) = self.claim_slack(block, plan.data) else { return false };
        let chunks = [(chunk, Word::ram(longer))];
        let Ok(mut preparation) = self
            .try_prepare(local, Revision { reset: false, priority: None, chunks: &chunks, appends: true })
        else {
            return false;
        };
        // If this fails, what was claimed stays unused until the block is free.
        let longer = Word::ram(longer);
        spot.settled(self, guard)
            && match word.content() {
                Content::Tree(tree) => self.exchange_tail(
                    local,
                    guard,
                    spot,
                    word,
                    tree,
                    (chunk, tail, longer),
                    plan,
                    &mut preparation,
                ),
                _ => {
                    self.swing(guard, spot, (word, longer), plan.new_len, &mut preparation) && {
                        self.request(local, spot.id, spot.node, guard);
                        true
                    }
                }
            }
    }

    /// Exchanges a long file's tree for one whose chunk `tail` is `longer`, in the same block.
    #[expect(clippy::too_many_arguments, reason = "what `append_in_place` has found out")]
    fn exchange_tail(
        &self,
        local: &Local,
        guard: &Guard,
        spot: &Spot<'_>,
        word: Word,
        tree: *const Tree,
        (chunk, tail, longer): (u64, Word, Word),
        plan: &Plan<'_>,
        preparation: &mut Preparation<'_>,
    ) -> bool {
        let memory = TreeMemory { arena: &self.ground.arena, magazine: &local.magazine };
        // SAFETY: loaded under the guard.
        let tree = unsafe { Tree::deref(tree) };
        let changes = [(chunk, longer)];
        let Ok(mut rebuilt) = rebuild(&memory, Some(tree), &changes, plan.new_len, self.chunk_shift()) else {
            return false;
        };
        // The block must have been in the slot when it was frozen: else it was swapped out, and is on its way to be free.
        let swung = rebuilt.replaced == [tail]
            && self.swing(guard, spot, (word, Word::tree(rebuilt.tree)), plan.new_len, preparation);
        if !swung {
            // SAFETY: not published.
            unsafe { rebuilt.discard(&self.ground.arena) };
            return false;
        }
        self.request(local, spot.id, spot.node, guard);
        // SAFETY: unlinked by the exchange, under the guard. The word replaced was the same block's, which lives on.
        unsafe { self.ground.retire_pieces(local, guard, std::mem::take(&mut rebuilt.old)) };
        true
    }

    /// Cuts a file that is one block in RAM by a shorter view of the same block: that needs no room.
    fn cut_in_place(
        &self,
        local: &Local,
        guard: &Guard,
        spot: &Spot<'_>,
        word: Word,
        plan: &Plan<'_>,
    ) -> bool {
        let Content::Ram(block) = word.content() else { return false };
        let len = self.ground.arena.len(block) as u64;
        if !plan.data.is_empty() || plan.new_len >= len || plan.new_len == 0 {
            return false;
        }
        // Where an order is kept, what is on disk is what a crash would leave until the change is there, too.
        if self.log.is_some() {
            return false;
        }
        // Its copy on disk is longer than what the file will be; without it the block counts as not yet written.
        if let Some(extent) = self.ground.take_extent(block) {
            // SAFETY: taken, so owned; readers of an older word may still look at it.
            unsafe { self.ground.retire_extent(guard, extent) };
        }
        let shorter = Word::ram(self.ground.arena.with_len(block, plan.new_len as usize));
        let nothing = &mut Preparation::default();
        spot.settled(self, guard) && self.swing(guard, spot, (word, shorter), plan.new_len, nothing) && {
            self.request(local, spot.id, spot.node, guard);
            true
        }
    }

    /// Puts `data` behind the bytes of a block that has no copy on disk; `None` if it does not fit or is claimed already.
    fn claim_slack(&self, block: BlockRef, data: &[u8]) -> Option<BlockRef> {
        let arena = &self.ground.arena;
        let (len, header) = (arena.len(block), arena.header(block));
        let new_len = len + data.len();
        if new_len > arena.capacity(block).min(self.config.chunk_bytes)
            || self.ground.extent_of(block).is_some()
        {
            return None;
        }
        // Relaxed: the claim is exclusive by being an exchange; the bytes are published by the word.
        header.tail.compare_exchange(len as u32, new_len as u32, Relaxed, Relaxed).ok()?;
        // SAFETY: in bounds (checked by `slack_mut`); nobody reads beyond the published length, and nobody else writes there:
        // this thread claimed it (invariant 2). The caller is pinned since it loaded the block.
        unsafe {
            let slack = arena.slack_mut(block, len, data.len());
            #[cfg(memfs_loom)]
            crate::model::written(slack.addr());
            slack.copy_from_nonoverlapping(data.as_ptr(), data.len());
        }
        pass("append: written, not published");
        Some(arena.with_len(block, new_len))
    }

    /// A change that leaves the file one content. False: something came between, try again.
    fn update_single(
        &self,
        local: &Local,
        at: At<'_>,
        base: &Base,
        first: Word,
        held: &Held,
        plan: Plan<'_>,
    ) -> Result<bool> {
        let new_len = plan.new_len as usize;
        let appends = !plan.data.is_empty() && plan.offset > 0 && plan.end() == plan.new_len;
        let staged = self
            .stage(local, base.priority, new_len, self.roomy(new_len, appends), |to| {
                self.compose(local, held, plan.offset as usize, plan.data, to)
            })
            .map_err(|error| error.about(&Core::name_of(at)))?;
        let chunks = [(0, staged.word)];
        let chunks = if staged.word == Word::EMPTY { &[] } else { &chunks[..] };
        let mut preparation =
            self.prepare(local, Revision { reset: true, priority: None, chunks, appends: false })?;
        let guard = local.pin();
        let spot = self.resolve(at, &guard)?;
        // A tree is not held, and its address may be another's by now; the first chunk is, and with it and the length all that
        // this change is based on.
        let same = spot.word(self, &guard) == base.word
            && self.chunk_word(base.word, 0, &guard) == first
            && self.ground.len_of(base.word, &guard) == Some(base.len);
        let change = (base.word, staged.word);
        if !same || !self.replace(local, &guard, &spot, change, plan.new_len, &mut preparation) {
            return Ok(false);
        }
        staged.publish();
        Ok(true)
    }

    /// A change of a file in chunks, or one that makes it so. False: something came between, try again.
    fn update_chunks(
        &self,
        local: &Local,
        at: At<'_>,
        base: &Base,
        change: Change<'_>,
        touched: Vec<Touched<'_>>,
        patience: &mut Patience,
    ) -> Result<bool> {
        let mut staged = Vec::with_capacity(touched.len());
        let mut share = StagingShare::new(self);
        for part in touched.iter().filter(|part| part.changes) {
            let part_staged = self.stage_part(local, base.priority, part, &mut share);
            staged.push(part_staged.map_err(|error| error.about(&Core::name_of(at)))?);
        }
        let parts = touched.iter().filter(|part| part.changes).zip(&staged);
        let mut changes: Vec<(u64, Word)> = parts.map(|(part, staged)| (part.chunk, staged.word)).collect();
        let revision = Revision { reset: false, priority: None, chunks: &changes, appends: false };
        let mut preparation = self.prepare(local, revision)?;
        let guard = local.pin();
        let spot = self.resolve(at, &guard)?;
        let now = spot.word(self, &guard);
        let Some(new_len) = self.still_applies(now, base, &touched, change, &guard) else { return Ok(false) };
        let tree = match now.content() {
            // SAFETY: loaded under the guard.
            Content::Tree(tree) => Some(unsafe { Tree::deref(tree) }),
            _ => None,
        };
        // What was the file's one content becomes the first chunk, unless that is changed, too.
        let absorbed = tree.is_none() && changes.first().is_none_or(|(chunk, _)| *chunk > 0);
        if absorbed && now.value() != Word::EMPTY {
            changes.insert(0, (0, now.value()));
        }
        let memory = TreeMemory { arena: &self.ground.arena, magazine: &local.magazine };
        let mut rebuilt = match rebuild(&memory, tree, &changes, new_len, self.chunk_shift()) {
            Ok(rebuilt) => rebuilt,
            Err(NoMemory(bytes)) => {
                drop(guard);
                if !self.make_room_or_wait(local, bytes, patience) {
                    return Err(self.memory_limit(&Core::name_of(at), bytes));
                }
                return Ok(false);
            }
        };
        let swung = spot.settled(self, &guard)
            && self.swing(&guard, &spot, (now, Word::tree(rebuilt.tree)), new_len, &mut preparation);
        if !swung {
            // SAFETY: not published.
            unsafe { rebuilt.discard(&self.ground.arena) };
            return Ok(false);
        }
        staged.into_iter().for_each(Staged::publish);
        self.request(local, spot.id, spot.node, &guard);
        rebuilt.take_cut_apart();
        if tree.is_none() && !absorbed {
            rebuilt.replaced.push(now);
        }
        for old in rebuilt.replaced.drain(..) {
            self.locked.fetch_sub(self.locked_bytes(spot.node, old, &guard), Relaxed);
            // SAFETY: in the old tree (or word) and not in the new one; unlinked by the exchange, under the guard.
            unsafe { self.ground.retire(local, &guard, old) };
        }
        // SAFETY: as above.
        unsafe { self.ground.retire_pieces(local, &guard, std::mem::take(&mut rebuilt.old)) };
        Ok(true)
    }

    fn stage_part<'c>(
        &'c self,
        local: &'c Local,
        priority: Priority,
        part: &Touched<'_>,
        share: &mut StagingShare<'c>,
    ) -> Result<Staged<'c>> {
        if part.whole {
            return self.stage_chunk(local, priority, part.data, share);
        }
        let new_len = part.new_len;
        let appends =
            part.old != Word::EMPTY && !part.data.is_empty() && part.at + part.data.len() == new_len;
        self.stage(local, priority, new_len, self.roomy(new_len, appends), |to| {
            self.compose(local, &part.held, part.at, part.data, to)
        })
    }

    /// The chunks a plan changes, with what they are now, held.
    fn touched_chunks<'d>(
        &self,
        local: &Local,
        base: &Base,
        plan: &Plan<'d>,
        guard: &Guard,
    ) -> Result<Vec<Touched<'d>>> {
        let Base { word, len, .. } = *base;
        let chunk_bytes = self.config.chunk_bytes as u64;
        let chunks = if !plan.data.is_empty() {
            plan.offset / chunk_bytes..plan.end().div_ceil(chunk_bytes)
        } else if plan.new_len < len && !plan.new_len.is_multiple_of(chunk_bytes) {
            plan.new_len / chunk_bytes..plan.new_len / chunk_bytes + 1
        } else {
            0..0
        };
        chunks
            .map(|chunk| {
                let start = chunk * chunk_bytes;
                let from = plan.offset.max(start);
                let to = plan.end().min(start + chunk_bytes);
                let data = match plan.data.is_empty() {
                    true => &plan.data[..0],
                    false => &plan.data[(from - plan.offset) as usize..(to - plan.offset) as usize],
                };
                let at = (from - start) as usize;
                let old = self.chunk_word(word, chunk, guard);
                let old_len = self.ground.len_of(old, guard).unwrap_or(0) as usize;
                let new_len = if data.is_empty() { old_len.min(at) } else { old_len.max(at + data.len()) };
                // A truncation in a part that reads as zeros anyway changes nothing, provided that it stays so.
                let changes = !data.is_empty() || new_len != old_len;
                let covered = at == 0 && data.len() >= old_len;
                let held = match covered {
                    true => Held::Nothing,
                    // SAFETY: loaded under the guard.
                    false => unsafe { self.ground.hold(local, old, guard) }?,
                };
                let whole = at == 0 && data.len() as u64 == chunk_bytes;
                Ok(Touched { chunk, at, data, new_len, old, held, whole, changes })
            })
            .collect()
    }

    /// The word of a chunk of a content, be it in chunks or not.
    fn chunk_word(&self, word: Word, chunk: u64, _guard: &Guard) -> Word {
        match word.content() {
            // SAFETY: loaded under the guard.
            Content::Tree(tree) => unsafe { Tree::deref(tree) }
                .slot(chunk)
                .map_or(Word::EMPTY, |slot| Word::from_bits(slot.load(Acquire)).value()),
            _ if chunk == 0 => word.value(),
            _ => Word::EMPTY,
        }
    }

    /// Whether what was staged upon `before` is right upon `now`; the file's new length if so.
    fn still_applies(
        &self,
        now: Word,
        base: &Base,
        touched: &[Touched<'_>],
        change: Change<'_>,
        guard: &Guard,
    ) -> Option<u64> {
        let is_tree = |word: Word| matches!(word.content(), Content::Tree(_));
        if !(is_tree(now) && is_tree(base.word)) && now != base.word {
            return None;
        }
        let len = self.ground.len_of(now, guard)?;
        let plan = change.on(len)?;
        let same_place = match change {
            // Which chunk it cuts, if any, depends on what there was.
            Change::SetLen(_) => len == base.len,
            Change::Append { .. } => {
                let chunk = self.config.chunk_bytes as u64;
                touched.first().is_some_and(|part| plan.offset == part.chunk * chunk + part.at as u64)
            }
            _ => true,
        };
        let unchanged =
            touched.iter().all(|part| part.whole || self.chunk_word(now, part.chunk, guard) == part.old);
        (same_place && unchanged).then_some(plan.new_len)
    }
}

/// What a change was planned upon.
struct Base {
    word: Word,
    len: u64,
    priority: Priority,
}

/// A chunk that a change is about.
struct Touched<'d> {
    chunk: u64,
    /// Where in the chunk the data goes, or where a truncation cuts.
    at: usize,
    data: &'d [u8],
    new_len: usize,
    /// What the chunk was when this was planned.
    old: Word,
    /// Its bytes, where some of them stay.
    held: Held,
    /// The data is the whole chunk: whatever it was is of no account.
    whole: bool,
    /// Whether it becomes another; else it must only stay what it is.
    changes: bool,
}

fn too_long(at: At<'_>, change: Change<'_>) -> Error {
    let found = match change {
        Change::WriteAt { data, offset } => format!("offset {offset} and {} bytes", data.len()),
        Change::Append { data } => format!("{} bytes more", data.len()),
        Change::SetLen(len) => len.to_string(),
    };
    Error::InvalidArgument {
        path: Core::name_of(at),
        argument: "offset",
        expected: format!("a file of at most {MAX_LEN} bytes"),
        found,
    }
}
