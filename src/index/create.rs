//! Making names, with or without the directories above them.
//!
//! Reserve (find the dentry, or register and insert one that says NONE) → check that the directory is open → bind by one
//! compare-and-swap. A chain of missing directories is built below the node of the topmost, out of everybody's reach, and
//! appears whole by binding that.

use super::{
    Cx, Index, IndexError, Kind, NodeInit,
    chaos::may_stop_here,
    children::{Body, Refused},
    dentry::DentryRef,
    descriptor::{Descriptor, Plan, Status},
    error::Result,
    lookup::{Bound, Spelled, Walk},
    node::{GONE, Node, NodeId},
    table::{Key, Position},
    word::{self, Target, Word},
};
use crate::{
    epoch::Guard,
    order::Record,
    path::{self, Canonical},
    sync::Ordering,
};

/// What a creation came to.
pub(crate) enum Created<'g> {
    New(Bound<'g>),
    /// The name was bound already, to a file or a directory.
    Exists(Bound<'g>),
}

/// A name that nothing stood for when it was looked up, in a directory that stood: where a file can be made.
pub(crate) struct Vacancy<'g, 'p> {
    directory: Bound<'g>,
    key: Key<'p>,
    position: Position<'g>,
    path: Spelled<'p>,
}

/// A name that is in the table and settled.
pub(super) struct Reserved<'g> {
    pub(super) dentry: DentryRef<'g>,
    /// `None`: nobody has bound it yet.
    pub(super) target: Option<Target>,
}

/// Nodes made for a creation that is not bound yet: the one to be bound, and what is below it, from the top down, each with
/// its name.
struct Chain<'g> {
    top: Target,
    below: Vec<(Target, DentryRef<'g>)>,
}

impl Chain<'_> {
    fn nodes(&self) -> impl Iterator<Item = Target> + Clone {
        std::iter::once(self.top).chain(self.below.iter().map(|(target, _)| *target))
    }

    fn last(&self) -> Target {
        self.below.last().map_or(self.top, |(target, _)| *target)
    }
}

impl Index {
    /// Makes a file or directory, and with `parents` whatever directories are missing above it, at one instant.
    ///
    /// # Errors
    /// `NotFound` with the parent's path if that is missing and `parents` is not set; `NotADirectory`; `IsADirectory` for a file
    /// with a trailing slash that does not exist; `Memory`.
    pub(crate) fn create<'g>(
        &'g self,
        path: &Canonical<'_>,
        kind: Kind,
        parents: bool,
        init: &NodeInit<'_>,
        cx: &Cx<'g>,
    ) -> Result<Created<'g>> {
        let Some((parent, name)) = path.split() else {
            return Ok(Created::Exists(self.find(path, cx.guard)?));
        };
        loop {
            let (directory, name, below) = match self.locate(parent, cx.guard) {
                Walk::Found(bound) if bound.is_dir() => (bound, name, ""),
                Walk::Found(_) => return Err(IndexError::NotADirectory(parent.to_owned())),
                Walk::NotADirectory(end) => {
                    return Err(IndexError::NotADirectory(parent[..end].to_owned()));
                }
                Walk::Missing(..) if !parents => return Err(IndexError::NotFound(parent.to_owned())),
                Walk::Missing(bound, end) => {
                    let names = path.text()[end..].trim_start_matches('/');
                    let (first, below) = names.split_once('/').unwrap_or((names, ""));
                    (bound, first, below)
                }
            };
            let Some(reserved) = self.reserve(&directory, name, cx)? else { continue };
            let done = match reserved.target {
                Some(target) => self.exists(&directory, reserved.dentry, target, below.is_empty(), path)?,
                None if kind == Kind::File && path.names_directory() => {
                    self.abandon(reserved.dentry, cx);
                    return Err(IndexError::IsADirectory(path.text().to_owned()));
                }
                None => {
                    let spelled = self.spelled(path.text());
                    let dentry = reserved.dentry;
                    let made = if below.is_empty() {
                        self.make(&directory, dentry, spelled, kind, init, cx)?
                    } else {
                        self.make_chain(&directory, dentry, below, spelled, kind, init, cx)?
                    };
                    made.map(Created::New)
                }
            };
            if let Some(done) = done {
                return Ok(done);
            }
        }
    }

    /// Where a file of this path can be made by [`occupy`](Self::occupy). `None` says nothing: something stands there, or there is
    /// no such directory or none that the cache knows, or the path is not spelled as it might be; [`create`](Self::create) is for those.
    ///
    /// What leads to a directory by the cache is canonical, so the last name is all that is looked at.
    #[inline]
    pub(crate) fn vacancy<'g, 'p>(
        &'g self,
        text: &'p str,
        path: Spelled<'p>,
        guard: &'g Guard,
    ) -> Option<Vacancy<'g, 'p>> {
        let (parent, name) = path::last_name(text)?;
        let directory = self.known_directory(parent, guard)?;
        let key = self.key(directory.id, name);
        let position = self.table.seek(key, guard);
        position.dentry().is_none().then_some(Vacancy { directory, key, position, path })
    }

    /// Makes a file where one can be made; `None`, and nothing done, if that has changed meanwhile.
    pub(crate) fn occupy<'g>(
        &'g self,
        vacancy: &Vacancy<'g, '_>,
        init: &NodeInit<'_>,
        cx: &Cx<'g>,
    ) -> Result<Option<Bound<'g>>> {
        let Vacancy { directory, key, position, path } = vacancy;
        match self.enter(directory, *key, position, cx)? {
            Some((dentry, true)) => self.make(directory, dentry, *path, Kind::File, init, cx),
            _ => Ok(None),
        }
    }

    /// Makes what a reserved name is to stand for; `None` if things have changed and the walk is to be taken again. The reservation
    /// has been given up then, or if this fails.
    fn make<'g>(
        &'g self,
        directory: &Bound<'g>,
        dentry: DentryRef<'g>,
        path: Spelled<'_>,
        kind: Kind,
        init: &NodeInit<'_>,
        cx: &Cx<'g>,
    ) -> Result<Option<Bound<'g>>> {
        let target = match self.make_node(kind, init, cx) {
            Ok(target) => target,
            Err(error) => {
                self.abandon(dentry, cx);
                return Err(error);
            }
        };
        let made = std::iter::once((target.id, dentry.name_str()));
        let record = self.memory.record_make(cx.magazine, directory.id, made, kind, init);
        let bound = record.and_then(|record| self.bind_made(directory, dentry, target, record, cx));
        if matches!(bound, Ok(true)) {
            let bound = self.bind(dentry, target, directory.moves);
            self.announce(&bound, path, cx);
            return Ok(Some(bound));
        }
        self.retire(target.id, cx);
        self.abandon(dentry, cx);
        bound.map(|_| None)
    }

    /// The same with what is `below` the name, a path from there.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "one step of one loop, split off to be read")]
    fn make_chain<'g>(
        &'g self,
        directory: &Bound<'g>,
        dentry: DentryRef<'g>,
        below: &str,
        path: Spelled<'_>,
        kind: Kind,
        init: &NodeInit<'_>,
        cx: &Cx<'g>,
    ) -> Result<Option<Bound<'g>>> {
        let chain = match self.build(below, kind, init, cx) {
            Ok(chain) => chain,
            Err(error) => {
                self.abandon(dentry, cx);
                return Err(error);
            }
        };
        let names = std::iter::once(dentry.name_str()).chain(below.split('/'));
        let made = chain.nodes().map(|target| target.id).zip(names);
        let record = self.memory.record_make(cx.magazine, directory.id, made, kind, init);
        let bound = record.and_then(|record| self.bind_made(directory, dentry, chain.top, record, cx));
        if matches!(bound, Ok(true)) {
            return Ok(Some(self.announce_chain(directory, dentry, &chain, path, cx)));
        }
        self.discard(&chain, cx);
        self.abandon(dentry, cx);
        bound.map(|_| None)
    }

    fn exists<'g>(
        &'g self,
        directory: &Bound<'g>,
        dentry: DentryRef<'g>,
        target: Target,
        is_last: bool,
        path: &Canonical<'_>,
    ) -> Result<Option<Created<'g>>> {
        if !is_last || self.moves_now() != directory.moves {
            return Ok(None);
        }
        if path.names_directory() && !target.is_dir() {
            return Err(IndexError::NotADirectory(path.text().to_owned()));
        }
        Ok(Some(Created::Exists(self.bind(dentry, target, directory.moves))))
    }

    /// The dentry of `name`, made and registered if there is none; `None` if the directory is gone.
    pub(super) fn reserve<'g>(
        &'g self,
        directory: &Bound<'g>,
        name: &str,
        cx: &Cx<'g>,
    ) -> Result<Option<Reserved<'g>>> {
        let key = self.key(directory.id, name);
        loop {
            let position = self.table.seek(key, cx.guard);
            let dentry = match position.dentry() {
                Some(dentry) => dentry,
                None => match self.enter(directory, key, &position, cx)? {
                    Some((dentry, _)) => dentry,
                    None => return Ok(None),
                },
            };
            match self.settle(dentry, cx.guard) {
                Word::Dead => self.table.bury(dentry, cx.guard),
                settled => return Ok(Some(Reserved { dentry, target: settled.target() })),
            }
        }
    }

    /// Registers a dentry for a name that had none and puts it into the table, and says that it is new; or gives the one that
    /// another has put there meanwhile. `None` if the directory is gone.
    fn enter<'g>(
        &'g self,
        directory: &Bound<'g>,
        key: Key<'_>,
        position: &Position<'g>,
        cx: &Cx<'g>,
    ) -> Result<Option<(DentryRef<'g>, bool)>> {
        let dentry = DentryRef::alloc(&self.memory, cx.magazine, key, word::NONE)?;
        if !self.register(dentry, self.body(directory.target(), cx.guard), cx)? {
            return Ok(None);
        }
        let entered = if position.put(dentry) { dentry } else { self.insert(dentry, cx) };
        Ok(Some((entered, entered == dentry)))
    }

    /// Registers a dentry that nobody can reach yet, or frees it.
    pub(super) fn register(&self, dentry: DentryRef<'_>, body: &Body, cx: &Cx<'_>) -> Result<bool> {
        match body.register(dentry, &self.memory, cx.magazine) {
            Ok(()) => Ok(true),
            Err(refused) => {
                // SAFETY: neither registered nor inserted.
                unsafe { dentry.free(&self.memory) };
                match refused {
                    Refused::Closed => Ok(false),
                    Refused::Memory(error) => Err(error),
                }
            }
        }
    }

    /// Inserts a registered dentry; if its name is there already, that one is returned and this one withdrawn.
    pub(super) fn insert<'g>(&'g self, dentry: DentryRef<'g>, cx: &Cx<'g>) -> DentryRef<'g> {
        match self.table.insert(dentry, cx.guard) {
            Ok(()) => dentry,
            Err(other) => {
                super::children::free_slot(dentry.slot(), &self.memory, cx.guard);
                // SAFETY: never in the table, so its hold is ours; no longer in a slot.
                unsafe { dentry.unhold(&self.memory, cx.guard) };
                other
            }
        }
    }

    /// Gives a reservation up, unless someone has bound it. Others who had it find it dead and make another.
    pub(super) fn abandon(&self, dentry: DentryRef<'_>, cx: &Cx<'_>) {
        let _ = dentry.word.compare_exchange(word::NONE, word::DEAD, Ordering::SeqCst, Ordering::SeqCst);
        if dentry.word.load(Ordering::SeqCst) == word::DEAD {
            self.table.bury(dentry, cx.guard);
        }
    }

    /// Binds a reserved name, if its directory still stands where it stood. The compare-and-swap is the instant of creation.
    fn bind_new(&self, directory: &Bound<'_>, dentry: DentryRef<'_>, target: Target, cx: &Cx<'_>) -> bool {
        if !self.may_bind(self.body(directory.target(), cx.guard), cx.guard)
            || self.moves_now() != directory.moves
        {
            return false;
        }
        may_stop_here();
        // Publishes the node, and what is below it. SeqCst for the scans of closing directories.
        dentry
            .word
            .compare_exchange(word::NONE, word::bound(target), Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// The same, with what the order of changes is to be told, if one is kept.
    fn bind_made(
        &self,
        directory: &Bound<'_>,
        dentry: DentryRef<'_>,
        target: Target,
        record: Option<&Record>,
        cx: &Cx<'_>,
    ) -> Result<bool> {
        match record {
            None => Ok(self.bind_new(directory, dentry, target, cx)),
            Some(record) => self.bind_in_order(directory, dentry, target, record, cx),
        }
    }

    /// Through a descriptor, which carries the record.
    fn bind_in_order(
        &self,
        directory: &Bound<'_>,
        dentry: DentryRef<'_>,
        moved: Target,
        record: &Record,
        cx: &Cx<'_>,
    ) -> Result<bool> {
        let plan = Plan {
            source: None,
            moved,
            destination: Some((dentry, None)),
            closing: None,
            moves: None,
            record: Some(record),
        };
        if !self.may_bind(self.body(directory.target(), cx.guard), cx.guard)
            || self.moves_now() != directory.moves
        {
            plan.drop_record(&self.memory, cx.guard);
            return Ok(false);
        }
        let descriptor = Descriptor::new(&plan, &self.memory, cx.magazine, cx.guard)?;
        Ok(descriptor.is_some_and(|descriptor| self.execute(descriptor, cx.guard) == Status::Succeeded))
    }

    /// Makes a node to be bound, and nodes for the names below it, linked to each other.
    fn build<'g>(&'g self, below: &str, kind: Kind, init: &NodeInit<'_>, cx: &Cx<'g>) -> Result<Chain<'g>> {
        let mut chain = Chain { top: self.make_node(Kind::Directory, init, cx)?, below: Vec::new() };
        let mut left = below;
        while !left.is_empty() {
            let (name, rest) = left.split_once('/').unwrap_or((left, ""));
            let kind = if rest.is_empty() { kind } else { Kind::Directory };
            if let Err(error) = self.extend(&mut chain, name, kind, init, cx) {
                self.discard(&chain, cx);
                return Err(error);
            }
            left = rest;
        }
        Ok(chain)
    }

    fn extend<'g>(
        &'g self,
        chain: &mut Chain<'g>,
        name: &str,
        kind: Kind,
        init: &NodeInit<'_>,
        cx: &Cx<'g>,
    ) -> Result<()> {
        let target = self.make_node(kind, init, cx)?;
        match self.link(chain.last(), name, target, cx) {
            Ok(dentry) => chain.below.push((target, dentry)),
            Err(error) => {
                self.retire(target.id, cx);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Names a node in a directory that nobody else can reach.
    fn link<'g>(&'g self, parent: Target, name: &str, target: Target, cx: &Cx<'g>) -> Result<DentryRef<'g>> {
        let key = self.key(parent.id, name);
        let dentry = DentryRef::alloc(&self.memory, cx.magazine, key, word::bound(target))?;
        let open = self.register(dentry, self.body(parent, cx.guard), cx)?;
        debug_assert!(open, "nobody else can reach the new directory");
        let inserted = self.insert(dentry, cx) == dentry;
        debug_assert!(inserted, "no other name has the new directory as its parent");
        // Release: the dentry is filled. Nobody will kill this name before the chain is bound, but for `discard`.
        self.slot(target.id).dentry.store(dentry.address(), Ordering::Release);
        Ok(dentry)
    }

    fn make_node(&self, kind: Kind, init: &NodeInit<'_>, cx: &Cx<'_>) -> Result<Target> {
        self.memory.admit(size_of::<Node>())?;
        let id = self.nodes.alloc(cx.nodes).ok_or(IndexError::Memory(size_of::<Node>() as u64))?;
        let target = Target { id: NodeId::new(id), kind };
        if kind == Kind::File {
            self.slot(target.id).initialise(kind, init);
            return Ok(target);
        }
        match Body::alloc(&self.memory, cx.magazine) {
            Ok(body) => {
                let content = body.as_ptr().expose_provenance() as u64;
                let (created, modified) = (init.created, init.modified);
                let init = NodeInit { content, created, modified, ..NodeInit::default() };
                self.slot(target.id).initialise(kind, &init);
                Ok(target)
            }
            Err(error) => {
                // SAFETY: taken above, never used.
                unsafe { self.nodes.free(id) };
                Err(error)
            }
        }
    }

    /// Unmakes what was never bound.
    fn discard(&self, chain: &Chain<'_>, cx: &Cx<'_>) {
        for (target, dentry) in &chain.below {
            self.slot(target.id).dentry.store(GONE, Ordering::SeqCst);
            dentry.word.store(word::DEAD, Ordering::SeqCst);
            self.table.bury(*dentry, cx.guard);
        }
        for target in chain.nodes() {
            self.retire(target.id, cx);
        }
    }

    /// What follows the binding: back pointer, counts, cache. A thread that stops before leaves nothing wrong, only slower.
    fn announce(&self, bound: &Bound<'_>, path: Spelled<'_>, cx: &Cx<'_>) {
        may_stop_here();
        if let Some(dentry) = bound.dentry {
            debug_assert!(path.ends_with(dentry.name()));
            Self::point_back(bound.node, dentry);
        }
        let target = bound.target();
        bound.node.set_live(target.kind);
        self.count_up(target, cx);
        self.note(path, bound, cx.guard);
    }

    fn announce_chain<'g>(
        &'g self,
        directory: &Bound<'g>,
        top: DentryRef<'g>,
        chain: &Chain<'g>,
        path: Spelled<'_>,
        cx: &Cx<'g>,
    ) -> Bound<'g> {
        may_stop_here();
        Self::point_back(self.slot(chain.top.id), top);
        let (last, dentry) =
            chain.below.last().map_or((chain.top, top), |&(target, dentry)| (target, dentry));
        for target in chain.nodes().filter(|target| *target != last) {
            self.slot(target.id).set_live(target.kind);
            self.count_up(target, cx);
        }
        let bound = self.bind(dentry, last, directory.moves);
        self.announce(&bound, path, cx);
        bound
    }
}
