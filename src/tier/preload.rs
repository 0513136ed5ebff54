//! Preloads: a file brought into RAM ahead of its reading, by a worker, or, where there is none, by who asked.

use super::{
    core::{At, Core},
    local::Local,
    swap::Place,
    word::{Content, Word},
};
use crate::{
    error::{Error, Result},
    index::NodeId,
    sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering::*},
};
use std::{sync::Arc, task::Waker};

/// One preload under way. It follows the file, not the name.
pub(crate) struct Preloading {
    id: NodeId,
    path: String,
    done: AtomicBool,
    state: Mutex<State>,
    finished: Condvar,
}

#[derive(Default)]
struct State {
    result: Option<Result<()>>,
    waker: Option<Waker>,
}

impl Preloading {
    /// A preload of the file behind `id`, of which the caller gives up one reference.
    pub(crate) fn new(id: NodeId, path: String) -> Arc<Self> {
        Arc::new(Self {
            id,
            path,
            done: AtomicBool::new(false),
            state: Mutex::new(State::default()),
            finished: Condvar::new(),
        })
    }

    /// Acquire: pairs with the Release in `finish`.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Acquire)
    }

    /// Brings the file in, drops the reference, and tells who waits.
    pub(crate) fn run(&self, core: &Core, local: &Local) {
        let result = core.bring_in(local, self.id).map_err(|error| error.about(&self.path));
        core.drop_ref(local, self.id);
        local.counters.preloads.add(u64::from(result.is_ok()));
        self.finish(result);
    }

    /// Ends a preload that nobody will run.
    pub(crate) fn cancel(&self, core: &Core, local: &Local) {
        core.drop_ref(local, self.id);
        self.finish(Err(Error::Closed));
    }

    fn finish(&self, result: Result<()>) {
        let mut state = self.lock();
        state.result = Some(result);
        self.done.store(true, Release);
        let waker = state.waker.take();
        drop(state);
        self.finished.notify_all();
        if let Some(waker) = waker {
            // A waker that panics is its owner's affair: the worker goes on.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| waker.wake()));
        }
    }

    /// A panic in a waker leaves the state as it was: sound.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits for the end; the result is taken by the first who asks.
    pub(crate) fn wait(&self) -> Result<()> {
        let mut state = self.lock();
        loop {
            if self.is_done() {
                return state.result.take().unwrap_or(Ok(()));
            }
            state = self.finished.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// The result if there is one; else `waker` is called when there is.
    pub(crate) fn poll(&self, waker: &Waker) -> Option<Result<()>> {
        let mut state = self.lock();
        if self.is_done() {
            return Some(state.result.take().unwrap_or(Ok(())));
        }
        state.waker = Some(waker.clone());
        None
    }
}

impl Core {
    /// Swaps in what of a file is on disk, as far as files that are not better give way.
    fn bring_in(&self, local: &Local, id: NodeId) -> Result<()> {
        let mut on_disk = Vec::new();
        {
            let guard = local.pin();
            self.each_place(id, &guard, |place, word| {
                if matches!(word.content(), Content::Disk(_)) {
                    on_disk.push((place, word.value()));
                }
            });
        }
        for (place, word) in on_disk {
            self.check_open()?;
            self.bring_in_one(local, place, word)?;
        }
        Ok(())
    }

    fn bring_in_one(&self, local: &Local, place: Place, word: Word) -> Result<()> {
        if let Some(chunk) = place.chunk {
            // Where its leaf stayed frozen. Without memory for that it stays on disk.
            let _ = self.thaw(local, place.id, chunk);
        }
        let guard = local.pin();
        let Some(slot) = self.slot_at(place, &guard) else { return Ok(()) };
        let now = Word::from_bits(slot.load(Acquire));
        if now.value() != word || place.is_frozen(now) {
            return Ok(());
        }
        // SAFETY: loaded under the guard.
        let held = unsafe { self.ground.hold(local, now, &guard) }?;
        let priority = self.file(place.id).map_or_else(Default::default, super::heat::priority);
        drop(guard);
        self.load(local, At::Node(place.id), place.chunk, now, held, priority).map(drop)
    }
}
