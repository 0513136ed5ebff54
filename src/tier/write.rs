//! Whole files: written, created, replaced, copied. The bytes are staged first; one exchange of the content word, or the
//! creation of the name, makes them the file's.

use super::{
    core::{At, Core, Spot},
    heat,
    local::Local,
    log::{self, Preparation, Revision},
    stage::{Staged, StagingShare, Whole},
    word::{Content, Word},
};
use crate::{
    config::Priority,
    epoch::Guard,
    error::{Error, Result},
    index::{Bound, Created, Glimpse, IndexError, Kind, NodeId, NodeInit, Vacancy},
    path::canonical_name,
    sync::Ordering::*,
};

/// Most bytes that are copied under a guard: some microseconds.
const AT_ONCE_BYTES: usize = 64 << 10;

/// How a whole-file write treats the name.
#[derive(Clone, Copy, Default)]
pub(crate) struct Naming {
    pub(crate) priority: Option<Priority>,
    pub(crate) create_new: bool,
}

impl Core {
    /// Replaces, or creates, the file `path` with `data`.
    pub(crate) fn write(&self, local: &Local, path: &str, data: &[u8], naming: Naming) -> Result<()> {
        if self.write_at_once(local, path, data, naming) {
            return Ok(());
        }
        let target = self.target(path, naming, &local.pin())?.map(|spot| heat::priority(spot.node));
        let priority = naming.priority.or(target).unwrap_or_default();
        let whole =
            self.stage_whole(local, priority, data).map_err(|error| error.about(&canonical_name(path)))?;
        self.put_staged(local, path, whole, naming, priority, target.is_some())
    }

    /// The file that is to be replaced; `None` if it is to be made.
    fn target<'g>(&'g self, path: &str, naming: Naming, guard: &'g Guard) -> Result<Option<Spot<'g>>> {
        match self.index.lookup_if_any(path, guard).map_err(|error| self.index_error(error))? {
            None => Ok(None),
            Some(_) if naming.create_new => Err(Error::AlreadyExists { path: canonical_name(path) }),
            Some(bound) if bound.is_dir() => Err(Error::IsADirectory { path: canonical_name(path) }),
            Some(bound) => Ok(Some(Spot::of(bound))),
        }
    }

    /// Replaces a file that the path cache knows by `data`, or makes one in a directory that is there, where there is room for
    /// it; false, with nothing done, asks for the long way. All of it under one guard: one look-up, and nothing that could wait.
    fn write_at_once(&self, local: &Local, path: &str, data: &[u8], naming: Naming) -> bool {
        if data.is_empty() || data.len() > AT_ONCE_BYTES.min(self.config.chunk_bytes) || self.is_closed() {
            return false;
        }
        let guard = local.pin();
        let spelled = self.index.spelled(path);
        let done = match self.index.glimpse_to_replace(spelled, &guard) {
            Some(found) => !naming.create_new && self.overwrite(local, &found, data, naming, &guard),
            None => {
                let vacancy = self.index.vacancy(path, spelled, &guard);
                vacancy.is_some_and(|vacancy| self.create_at_once(local, &vacancy, data, naming, &guard))
            }
        };
        drop(guard);
        if done {
            self.jobs.nudge(self.budget());
        }
        done
    }

    fn overwrite(
        &self,
        local: &Local,
        found: &Glimpse<'_>,
        data: &[u8],
        naming: Naming,
        guard: &Guard,
    ) -> bool {
        let spot = Spot::of(found.bound());
        let priority = naming.priority.unwrap_or_else(|| heat::priority(spot.node));
        if priority.is_locked() {
            return false;
        }
        let Some(staged) = self.stage_at_once(local, priority, data) else { return false };
        let chunks = [(0, staged.word)];
        let old = spot.word(self, guard);
        let bare = self.prepare_bare(local, old, staged.word).filter(|_| naming.priority.is_none());
        let revision = Revision { reset: true, priority: naming.priority, chunks: &chunks, appends: false };
        let Ok(mut preparation) = bare.map_or_else(|| self.try_prepare(local, revision), Ok) else {
            return false;
        };
        if !self.replace(local, guard, &spot, (old, staged.word), data.len() as u64, &mut preparation) {
            return false;
        }
        if let Some(priority) = naming.priority
            && self.log.is_none()
        {
            heat::set_priority(self, spot.node, priority);
        }
        if let Content::Ram(block) = staged.word.content() {
            self.index.lead(found, self.ground.arena.near(block));
        }
        staged.publish();
        true
    }

    fn create_at_once<'g>(
        &'g self,
        local: &'g Local,
        vacancy: &Vacancy<'g, '_>,
        data: &[u8],
        naming: Naming,
        guard: &'g Guard,
    ) -> bool {
        let priority = naming.priority.unwrap_or_default();
        if priority.is_locked() {
            return false;
        }
        let Some(staged) = self.stage_at_once(local, priority, data) else { return false };
        let chunks = [(0, staged.word)];
        let note = self.note(priority, data.len() as u64, &chunks);
        let init = NodeInit { note: &note, ..self.init(staged.word, priority) };
        let Ok(Some(bound)) = self.index.occupy(vacancy, &init, &self.cx(local, guard)) else {
            return false;
        };
        self.has_come(local, &bound, &chunks, guard);
        staged.publish();
        true
    }

    /// Copies one version of a file to another name, chunk by chunk; its length.
    pub(crate) fn copy(&self, local: &Local, from: &str, to: &str) -> Result<u64> {
        let version = self.version(local, At::Path(from), 0..u64::MAX)?;
        let (len, single) = (version.len, version.is_single());
        let target = self.target(to, Naming::default(), &local.pin())?.map(|spot| heat::priority(spot.node));
        let priority = target.unwrap_or_default();
        let (mut chunks, mut staged, mut share) = (Vec::new(), Vec::new(), StagingShare::new(self));
        for (chunk, word, held) in version.into_parts() {
            let bytes = self.load(local, At::Path(from), (!single).then_some(chunk), word, held, priority)?;
            let copy = self.stage_chunk(local, priority, &bytes, &mut share);
            chunks.push(chunk);
            staged.push(copy.map_err(|error| error.about(&canonical_name(to)))?);
        }
        let whole = if single {
            let staged = match staged.pop() {
                Some(staged) => staged,
                None => self.stage(local, priority, 0, 0, |_| Ok(()))?,
            };
            Whole::single(staged, len)
        } else {
            self.stage_tree(local, staged, &chunks, len).map_err(|error| error.about(&canonical_name(to)))?
        };
        self.put_staged(local, to, whole, Naming::default(), priority, target.is_some())?;
        Ok(len)
    }

    fn put_staged(
        &self,
        local: &Local,
        path: &str,
        mut whole: Whole<'_>,
        naming: Naming,
        priority: Priority,
        exists: bool,
    ) -> Result<()> {
        let written = self.put(local, path, &whole, naming, priority, exists);
        if written.is_ok() {
            whole.staged.into_iter().for_each(Staged::publish);
        } else if let Some(rebuilt) = &mut whole.rebuilt {
            // SAFETY: not published; its chunks are given up with `staged`.
            unsafe { rebuilt.discard(&self.ground.arena) };
        }
        written
    }

    /// Makes `whole` the content of the file `path`, by creating it, or by an exchange if it `exists`, as far as is known.
    fn put(
        &self,
        local: &Local,
        path: &str,
        whole: &Whole<'_>,
        naming: Naming,
        priority: Priority,
        mut exists: bool,
    ) -> Result<()> {
        let mut preparation = None;
        loop {
            self.check_open()?;
            if !exists {
                let content = (whole.word(), whole.len, &whole.chunks[..]);
                if self.create(local, path, content, priority, false)?.is_some() {
                    return Ok(());
                }
                exists = true;
            }
            let guard = local.pin();
            let Some(spot) = self.target(path, naming, &guard)? else {
                exists = false;
                continue;
            };
            let Some(preparation) = &mut preparation else {
                drop(guard);
                let revision = Revision {
                    reset: true,
                    priority: naming.priority,
                    chunks: &whole.chunks,
                    appends: false,
                };
                preparation = Some(self.prepare(local, revision)?);
                continue;
            };
            let change = (spot.word(self, &guard), whole.word());
            if self.replace(local, &guard, &spot, change, whole.len, preparation) {
                if let Some(priority) = naming.priority
                    && self.log.is_none()
                {
                    heat::set_priority(self, spot.node, priority);
                }
                if naming.priority.is_some() {
                    self.disturb_chunks(local, spot.id, spot.node, &guard);
                }
                return Ok(());
            }
        }
    }

    /// Exchanges a file's content, `old`, for one of `len` bytes; false if another exchange, or a change of its name, came
    /// first.
    pub(super) fn replace(
        &self,
        local: &Local,
        guard: &Guard,
        spot: &Spot<'_>,
        (old, word): (Word, Word),
        len: u64,
        preparation: &mut Preparation<'_>,
    ) -> bool {
        if old.content() == Content::Gone || !spot.settled(self, guard) {
            return false;
        }
        let locked = self.locked_bytes(spot.node, old, guard);
        if !self.swing(guard, spot, (old, word), len, preparation) {
            return false;
        }
        if locked != 0 {
            self.locked.fetch_sub(locked, Relaxed);
        }
        self.request(local, spot.id, spot.node, guard);
        // SAFETY: unlinked by the exchange, under the guard.
        unsafe { self.ground.retire(local, guard, old) };
        true
    }

    /// Creates a file with this content, and its parents; `None` if there is one by now. With `hold`, a reference to it is
    /// the caller's.
    pub(crate) fn create(
        &self,
        local: &Local,
        path: &str,
        (word, len, chunks): (Word, u64, &[(u64, Word)]),
        priority: Priority,
        hold: bool,
    ) -> Result<Option<NodeId>> {
        let canonical = self.canonical(path)?;
        if canonical.names_directory() {
            return Err(Error::IsADirectory { path: canonical.text().to_owned() });
        }
        let note = self.note(priority, len, chunks);
        let made = self.with_room(local, || {
            let guard = local.pin();
            let init = NodeInit { note: &note, ..self.init(word, priority) };
            match self.index.create(&canonical, Kind::File, true, &init, &self.cx(local, &guard)) {
                Ok(Created::New(bound)) => {
                    // A file that is removed again before it is held is as if it had come and gone before.
                    let held = !hold || self.index.acquire(&bound);
                    self.has_come(local, &bound, chunks, &guard);
                    Ok(Ok(held.then_some(bound.id)))
                }
                Ok(Created::Exists(_)) => Ok(Ok(None)),
                Err(IndexError::Memory(bytes)) => Err(bytes),
                Err(error) => Ok(Err(self.index_error(error))),
            }
        });
        made.unwrap_or_else(|bytes| Err(self.memory_limit(canonical.text(), bytes)))
    }

    /// What the order of changes is told of a new file, if one is kept.
    fn note(&self, priority: Priority, len: u64, chunks: &[(u64, Word)]) -> Vec<u64> {
        if self.log.is_some() { log::note(priority, len, chunks) } else { Vec::new() }
    }

    /// What follows the creation of a file.
    fn has_come(&self, local: &Local, bound: &Bound<'_>, chunks: &[(u64, Word)], guard: &Guard) {
        if self.log.is_some() {
            self.note_unflushed(local, self.block_bytes(chunks));
        }
        self.request(local, bound.id, bound.node, guard);
        self.give_up_if_closed(local, guard, bound.node);
    }

    /// A file's own priority.
    pub(crate) fn priority_of(&self, local: &Local, at: At<'_>) -> Result<Priority> {
        let guard = local.pin();
        Ok(heat::priority(self.resolve(at, &guard)?.node))
    }
}
