//! Operations on names, with what they mean for contents: who loses his last name is freed once nobody has it open.

use super::{
    core::{At, Core, now_ns},
    heat,
    local::Local,
    preload::Preloading,
    word::Word,
};
use crate::{
    config::Priority,
    error::{Error, Result},
    index::{Created, Cx, Index, IndexError, Kind, NodeId, NodeInit},
    path::{Canonical, canonical_name},
    tier::FileKind,
};
use std::{borrow::Cow, sync::Arc};

impl Core {
    pub(crate) fn canonical<'p>(&self, path: &'p str) -> Result<Canonical<'p>> {
        Canonical::new(path)
            .map_err(|error| Error::InvalidPath { path: path.to_owned(), reason: error.reason })
    }

    /// Runs an operation of the index, making room for its memory when it asks.
    fn on_index<T>(
        &self,
        local: &Local,
        path: &str,
        run: impl Fn(&Index, &Cx<'_>) -> Result<T, IndexError>,
    ) -> Result<T> {
        self.check_open()?;
        let done = self.with_room(local, || {
            let guard = local.pin();
            match run(&self.index, &self.cx(local, &guard)) {
                Err(IndexError::Memory(bytes)) => Err(bytes),
                other => Ok(other),
            }
        });
        match done {
            Ok(result) => result.map_err(|error| self.index_error(error)),
            Err(bytes) => Err(self.memory_limit(&canonical_name(path), bytes)),
        }
    }

    pub(crate) fn remove_file(&self, local: &Local, path: &str) -> Result<()> {
        self.on_index(local, path, |index, cx| {
            let id = index.remove_file(path, cx)?;
            self.release(local, cx, id);
            Ok(())
        })
    }

    pub(crate) fn remove_dir(&self, local: &Local, path: &str) -> Result<()> {
        let path = self.canonical(path)?;
        if path.is_root() {
            return Err(root_stays());
        }
        self.on_index(local, path.text(), |index, cx| index.remove_dir(&path, cx))
    }

    pub(crate) fn rename(&self, local: &Local, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.canonical(from)?, self.canonical(to)?);
        let replaced = self.on_index(local, from.text(), |index, cx| index.rename(&from, &to, cx))?;
        if let Some(id) = replaced {
            self.drop_ref(local, id);
        }
        Ok(())
    }

    /// Makes a directory; false if there is one of this name already.
    pub(crate) fn create_dir(&self, local: &Local, path: &str, parents: bool) -> Result<bool> {
        let path = self.canonical(path)?;
        if path.is_root() {
            return Ok(false);
        }
        let made = self.on_index(local, path.text(), |index, cx| {
            let init = self.init(Word::EMPTY, Priority::NORMAL);
            Ok(match index.create(&path, Kind::Directory, parents, &init, cx)? {
                Created::New(_) => Some(true),
                Created::Exists(bound) => bound.is_dir().then_some(false),
            })
        })?;
        made.ok_or_else(|| Error::AlreadyExists { path: path.text().to_owned() })
    }

    /// What a new node starts with.
    pub(crate) fn init(&self, content: Word, priority: Priority) -> NodeInit<'static> {
        let now = now_ns();
        NodeInit {
            content: content.bits(),
            reads: 0,
            heat: heat::fresh(priority),
            age: self.clock.epoch(),
            accessed: (now / 1_000_000_000) as u32,
            created: now,
            modified: now,
            note: &[],
        }
    }

    /// Calls `entry(name, kind)` for the entries of a directory, in no order; its canonical path.
    pub(crate) fn list<'p>(
        &self,
        local: &Local,
        path: &'p str,
        mut entry: impl FnMut(&str, FileKind),
    ) -> Result<Cow<'p, str>> {
        self.check_open()?;
        let canonical = self.canonical(path)?;
        let guard = local.pin();
        let bound = self.index.lookup(canonical.text(), &guard).map_err(|error| self.index_error(error))?;
        if !bound.is_dir() {
            return Err(Error::NotADirectory { path: canonical.text().to_owned() });
        }
        self.index.for_each_child(&bound, &guard, |name, _, kind| {
            let kind = match kind {
                Kind::File => FileKind::File,
                Kind::Directory => FileKind::Directory,
            };
            entry(name, kind);
        });
        Ok(canonical.into_text())
    }

    pub(crate) fn exists(&self, local: &Local, path: &str) -> bool {
        !self.is_closed() && self.index.lookup(path, &local.pin()).is_ok()
    }

    pub(crate) fn set_priority(&self, local: &Local, path: &str, to: Priority) -> Result<()> {
        self.prioritise(local, At::Path(path), to)
    }

    /// The file of this name with a reference for a handle, if there is one.
    pub(crate) fn open(&self, local: &Local, path: &str) -> Result<NodeId> {
        loop {
            self.check_open()?;
            let guard = local.pin();
            let spot = self.resolve(At::Path(path), &guard)?;
            if spot.acquire(self) {
                return Ok(spot.id);
            }
        }
    }

    /// Opens a file, and makes it, empty, if `opening` says so.
    pub(crate) fn open_or_create(&self, local: &Local, path: &str, opening: Opening) -> Result<NodeId> {
        let create = || {
            let priority = opening.priority.unwrap_or_default();
            self.create(local, path, (Word::EMPTY, 0, &[]), priority, true)
        };
        loop {
            self.check_open()?;
            if opening.create_new {
                return create()?.ok_or_else(|| Error::AlreadyExists { path: canonical_name(path) });
            }
            match self.open(local, path) {
                Err(Error::NotFound { .. }) if opening.create => {}
                other => return other,
            }
            if let Some(id) = create()? {
                return Ok(id);
            }
        }
    }

    /// Starts a preload; by a worker if there are any, else it is done when this returns.
    pub(crate) fn preload(self: &Arc<Self>, local: &Local, path: &str) -> Result<Arc<Preloading>> {
        let id = self.open(local, path)?;
        let preloading = Preloading::new(id, canonical_name(path));
        if self.config.worker_threads == 0 {
            preloading.run(self, local);
        } else {
            self.jobs.enqueue(preloading.clone());
            // Closed meanwhile: nobody may be left to run it.
            if self.is_closed() {
                self.cancel_preloads(local);
            }
        }
        Ok(preloading)
    }

    /// Ends the preloads that no worker has taken.
    pub(crate) fn cancel_preloads(&self, local: &Local) {
        for preloading in self.jobs.stop() {
            preloading.cancel(self, local);
        }
    }

    /// Sets the priority of an open file.
    pub(crate) fn set_file_priority(&self, local: &Local, id: NodeId, to: Priority) -> Result<()> {
        self.prioritise(local, At::Node(id), to)
    }
}

/// Whether opening makes a file.
#[derive(Clone, Copy)]
pub(crate) struct Opening {
    pub(crate) create: bool,
    pub(crate) create_new: bool,
    pub(crate) priority: Option<Priority>,
}

pub(crate) fn root_stays() -> Error {
    Error::InvalidArgument {
        path: "/".to_owned(),
        argument: "path",
        expected: "a directory below the root".to_owned(),
        found: "/".to_owned(),
    }
}
