//! Taking names away.
//!
//! A file: Bound → Unbinding (whoever does that has removed it) → binding count bumped → DEAD, the instant it is gone. A
//! directory: its name and its state change together, through a descriptor, if a scan finds it empty.

use super::{
    Cx, Index, IndexError, Kind, NodeId,
    chaos::may_stop_here,
    dentry::DentryRef,
    descriptor::{Descriptor, Plan, Status},
    error::Result,
    lookup::Bound,
    word::{self, Word},
};
use crate::{
    path::{Canonical, canonical_name},
    sync::Ordering,
};

impl Index {
    /// Removes a file's name. The name's reference to the node is the caller's from now on: to be released.
    pub(crate) fn remove_file(&self, path: &str, cx: &Cx<'_>) -> Result<NodeId> {
        let spelled = self.spelled(path);
        loop {
            let bound = match self.by_cache(spelled, cx.guard) {
                Some(bound) => bound,
                None => self.lookup(path, cx.guard)?,
            };
            let target = bound.target();
            let Some(dentry) = bound.dentry.filter(|_| !bound.is_dir()) else {
                return Err(IndexError::IsADirectory(canonical_name(path)));
            };
            if self.settle(dentry, cx.guard) != Word::Bound(target) || self.moves_now() != bound.moves {
                continue;
            }
            if self.memory.order().is_some() {
                if self.remove_in_order(&bound, dentry, cx)? {
                    return Ok(target.id);
                }
                continue;
            }
            let (plain, marked) = (word::bound(target), word::unbinding(target));
            if dentry.word.compare_exchange(plain, marked, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                may_stop_here();
                self.finish_unbinding(dentry, target);
                self.table.bury(dentry, cx.guard);
                self.count_down(Kind::File, cx);
                return Ok(target.id);
            }
        }
    }

    /// The same where an order of changes is kept: through a descriptor, which carries the record. False: try again.
    fn remove_in_order(&self, bound: &Bound<'_>, source: DentryRef<'_>, cx: &Cx<'_>) -> Result<bool> {
        let moved = bound.target();
        let record = self.memory.record_remove(cx.magazine, moved.id)?;
        let plan =
            Plan { source: Some(source), moved, destination: None, closing: None, moves: None, record };
        let Some(descriptor) = Descriptor::new(&plan, &self.memory, cx.magazine, cx.guard)? else {
            return Ok(false);
        };
        if self.execute(descriptor, cx.guard) != Status::Succeeded {
            return Ok(false);
        }
        self.table.bury(source, cx.guard);
        self.count_down(Kind::File, cx);
        Ok(true)
    }

    /// Removes an empty directory.
    pub(crate) fn remove_dir(&self, path: &Canonical<'_>, cx: &Cx<'_>) -> Result<()> {
        loop {
            let bound = self.find(path, cx.guard)?;
            if !bound.is_dir() {
                return Err(IndexError::NotADirectory(path.text().to_owned()));
            }
            match self.try_remove_dir(&bound, path, cx)? {
                Some(Status::Succeeded) => return Ok(()),
                Some(Status::NotEmpty) => return Err(IndexError::NotEmpty(path.text().to_owned())),
                _ => {}
            }
        }
    }

    fn try_remove_dir(&self, bound: &Bound<'_>, path: &Canonical<'_>, cx: &Cx<'_>) -> Result<Option<Status>> {
        let Some(source) = bound.dentry else {
            let reason = "the root cannot be removed";
            return Err(IndexError::Invalid { path: path.text().to_owned(), reason });
        };
        let moved = bound.target();
        if self.settle(source, cx.guard) != Word::Bound(moved) || self.moves_now() != bound.moves {
            return Ok(None);
        }
        let body = self.body(moved, cx.guard);
        if body.has_entry(cx.guard) {
            return Ok(Some(Status::NotEmpty));
        }
        let record = self.memory.record_remove(cx.magazine, moved.id)?;
        let plan =
            Plan { source: Some(source), moved, destination: None, closing: Some(body), moves: None, record };
        let Some(descriptor) = Descriptor::new(&plan, &self.memory, cx.magazine, cx.guard)? else {
            return Ok(None);
        };
        let status = self.execute(descriptor, cx.guard);
        if status == Status::Succeeded {
            self.table.bury(source, cx.guard);
            self.drop_directory(moved.id, cx);
        }
        Ok(Some(status))
    }

    /// What is owed to a directory that has lost its name.
    pub(super) fn drop_directory(&self, id: NodeId, cx: &Cx<'_>) {
        self.count_down(Kind::Directory, cx);
        if self.release(id) {
            self.retire(id, cx);
        }
    }
}
