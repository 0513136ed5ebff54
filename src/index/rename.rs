//! Changing a node's name, as rename(2) does.

use super::{
    Cx, Index, IndexError, Kind, NodeId,
    create::Reserved,
    dentry::DentryRef,
    descriptor::{Descriptor, Plan, Status},
    error::Result,
    lookup::Bound,
    word::{Target, Word},
};
use crate::path::Canonical;

/// What one attempt came to.
enum Attempt {
    Done(Option<NodeId>),
    /// Something changed meanwhile.
    Again,
}

impl Index {
    /// Renames at one instant. A file that was replaced is returned: its name's reference is the caller's from now on.
    ///
    /// # Errors
    /// `NotFound` for the source, or with its path for a missing parent; `NotADirectory`, `IsADirectory`, `NotEmpty` for what
    /// cannot be replaced; `IntoItself`; `Memory`.
    pub(crate) fn rename(
        &self,
        from: &Canonical<'_>,
        to: &Canonical<'_>,
        cx: &Cx<'_>,
    ) -> Result<Option<NodeId>> {
        loop {
            if let Attempt::Done(replaced) = self.try_rename(from, to, cx)? {
                return Ok(replaced);
            }
        }
    }

    fn try_rename(&self, from: &Canonical<'_>, to: &Canonical<'_>, cx: &Cx<'_>) -> Result<Attempt> {
        let moves_word = self.settled_moves(cx.guard);
        let moves = self.moves.stamp_at(moves_word);
        let source = self.find(from, cx.guard)?;
        let parent = match to.split() {
            Some((parent, name)) => Some((self.find_directory(parent, cx.guard)?, name)),
            None => None,
        };
        if to.names_directory() && !source.is_dir() && !to.is_root() {
            return Err(IndexError::NotADirectory(to.text().to_owned()));
        }
        if from.text() == to.text() {
            return Ok(Attempt::Done(None));
        }
        if source.is_dir() && to.is_below(from) {
            return Err(IndexError::IntoItself { from: from.text().to_owned(), to: to.text().to_owned() });
        }
        let Some((parent, name)) = parent else { return Err(over_an_ancestor(&source, to)) };
        if source.moves != moves || parent.moves != moves {
            return Ok(Attempt::Again);
        }
        let Some(reserved) = self.reserve(&parent, name, cx)? else { return Ok(Attempt::Again) };
        let attempt = self.rename_onto(&source, &parent, &reserved, moves_word, to, cx);
        if reserved.target.is_none() && !matches!(attempt, Ok(Attempt::Done(_))) {
            self.abandon(reserved.dentry, cx);
        }
        attempt
    }

    fn rename_onto<'g>(
        &'g self,
        source: &Bound<'g>,
        parent: &Bound<'g>,
        reserved: &Reserved<'g>,
        moves_word: u64,
        to: &Canonical<'_>,
        cx: &Cx<'g>,
    ) -> Result<Attempt> {
        let moved = source.target();
        let source_dentry = source.dentry.expect("the root is an ancestor of every destination");
        // The source was bound before the destination was read; if it is now, it was then.
        if self.settle(source_dentry, cx.guard) != Word::Bound(moved) {
            return Ok(Attempt::Again);
        }
        let closing = match reserved.target {
            Some(replaced) => self.check_replaceable(moved, replaced, to, cx)?,
            None => None,
        };
        if !self.may_bind(self.body(parent.target(), cx.guard), cx.guard) || self.moves_now() != source.moves
        {
            return Ok(Attempt::Again);
        }
        let record = self.memory.record_rename(
            cx.magazine,
            moved.id,
            parent.id,
            reserved.dentry.name_str(),
            reserved.target,
        )?;
        let plan = Plan {
            source: Some(source_dentry),
            moved,
            destination: Some((reserved.dentry, reserved.target)),
            closing: closing.map(|replaced| self.body(replaced, cx.guard)),
            moves: moved.is_dir().then_some((&self.moves.word, moves_word)),
            record,
        };
        let Some(descriptor) = Descriptor::new(&plan, &self.memory, cx.magazine, cx.guard)? else {
            return Ok(Attempt::Again);
        };
        match self.execute(descriptor, cx.guard) {
            Status::Succeeded => Ok(Attempt::Done(self.after_rename(&plan, source_dentry, cx))),
            Status::NotEmpty => Err(IndexError::NotEmpty(to.text().to_owned())),
            _ => Ok(Attempt::Again),
        }
    }

    /// Whether rename(2) would let `moved` take the place of `replaced`; the directory that ends by it.
    fn check_replaceable(
        &self,
        moved: Target,
        replaced: Target,
        to: &Canonical<'_>,
        cx: &Cx<'_>,
    ) -> Result<Option<Target>> {
        match (moved.kind, replaced.kind) {
            (Kind::File, Kind::File) => Ok(None),
            (Kind::File, Kind::Directory) => Err(IndexError::IsADirectory(to.text().to_owned())),
            (Kind::Directory, Kind::File) => Err(IndexError::NotADirectory(to.text().to_owned())),
            (Kind::Directory, Kind::Directory) if self.body(replaced, cx.guard).has_entry(cx.guard) => {
                Err(IndexError::NotEmpty(to.text().to_owned()))
            }
            (Kind::Directory, Kind::Directory) => Ok(Some(replaced)),
        }
    }

    fn after_rename(&self, plan: &Plan<'_>, source: DentryRef<'_>, cx: &Cx<'_>) -> Option<NodeId> {
        self.table.bury(source, cx.guard);
        let (_, replaced) = plan.destination?;
        let replaced = replaced?;
        if replaced.is_dir() {
            self.drop_directory(replaced.id, cx);
            return None;
        }
        self.count_down(Kind::File, cx);
        Some(replaced.id)
    }
}

/// The root has been found to be the destination of something else.
fn over_an_ancestor(source: &Bound<'_>, to: &Canonical<'_>) -> IndexError {
    let path = to.text().to_owned();
    if source.is_dir() { IndexError::NotEmpty(path) } else { IndexError::IsADirectory(path) }
}
