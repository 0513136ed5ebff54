//! Which of a store's locals is this thread's.
//!
//! A thread remembers the store it used last in one cell, and all it ever used in a list that it gives back when it ends.

#[cfg(not(memfs_loom))]
use std::{
    cell::{Cell, RefCell},
    sync::Weak,
};

use super::{core::Core, local::Local};
use std::{ops::Deref, sync::Arc};

/// A thread's local, for the time of one operation.
pub(crate) enum LocalRef<'c> {
    /// The thread keeps it for the next operation.
    Kept(&'c Local),
    /// The thread is ending and keeps nothing any more.
    Borrowed(&'c Core, &'c Local),
}

impl Deref for LocalRef<'_> {
    type Target = Local;
    #[inline]
    fn deref(&self) -> &Local {
        match self {
            LocalRef::Kept(local) | LocalRef::Borrowed(_, local) => local,
        }
    }
}

impl Drop for LocalRef<'_> {
    #[inline]
    fn drop(&mut self) {
        if let LocalRef::Borrowed(core, local) = self {
            // SAFETY: acquired by this thread in `Core::local`, and used no more.
            unsafe { core.return_local(local) };
        }
    }
}

impl Core {
    /// # Safety
    /// The calling thread owns `local` and uses it no more.
    unsafe fn return_local(&self, local: &Local) {
        self.ground.arena.drain(&local.magazine);
        self.index.drain(&local.nodes);
        local.pin().flush();
        // SAFETY: the caller.
        unsafe { self.registry.release(local) };
    }
}

#[cfg(memfs_loom)]
impl Core {
    pub(crate) fn local(self: &Arc<Self>) -> LocalRef<'_> {
        LocalRef::Borrowed(self, self.acquire_local())
    }
}

#[cfg(not(memfs_loom))]
struct Entry {
    core_id: u64,
    core: Weak<Core>,
    local: *const Local,
}

#[cfg(not(memfs_loom))]
struct Entries(RefCell<Vec<Entry>>);

#[cfg(not(memfs_loom))]
thread_local! {
    /// The store used last; valid while that store lives, which the caller's reference to it shows.
    static LAST: Cell<(u64, *const Local)> = const { Cell::new((0, std::ptr::null())) };
    static ENTRIES: Entries = const { Entries(RefCell::new(Vec::new())) };
}

#[cfg(not(memfs_loom))]
impl Drop for Entries {
    fn drop(&mut self) {
        LAST.set((0, std::ptr::null()));
        for entry in self.0.take() {
            if let Some(core) = entry.core.upgrade() {
                // SAFETY: acquired by this thread in `enter`, which is ending; alive as long as its core.
                unsafe { core.return_local(&*entry.local) };
            }
        }
    }
}

#[cfg(not(memfs_loom))]
impl Core {
    /// The calling thread's local of this store.
    #[inline]
    pub(crate) fn local(self: &Arc<Self>) -> LocalRef<'_> {
        let (id, local) = LAST.get();
        if id == self.id {
            // SAFETY: ids are never used twice, so this is a local of `self`, which is alive and with it its locals; this
            // thread owns it until it ends.
            return LocalRef::Kept(unsafe { &*local });
        }
        self.local_slow()
    }

    #[cold]
    fn local_slow(self: &Arc<Self>) -> LocalRef<'_> {
        let known = ENTRIES.try_with(|entries| self.enter(&mut entries.0.borrow_mut()));
        match known {
            Ok(local) => {
                LAST.set((self.id, local));
                LocalRef::Kept(local)
            }
            Err(_) => LocalRef::Borrowed(self, self.acquire_local()),
        }
    }

    fn enter(self: &Arc<Self>, entries: &mut Vec<Entry>) -> &Local {
        if let Some(entry) = entries.iter().find(|entry| entry.core_id == self.id) {
            // SAFETY: as in `local`.
            return unsafe { &*entry.local };
        }
        entries.retain(|entry| entry.core.strong_count() > 0);
        let local = self.acquire_local();
        entries.push(Entry { core_id: self.id, core: Arc::downgrade(self), local });
        local
    }
}
