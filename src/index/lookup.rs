//! Finding the node of a path.
//!
//! The hot way: hash of the text as written → cache → node → its name is the end of the text, and the rest of the text is the path
//! of the directory it is in. That is known of directories that were asked for before (`prefix`), or found by going up,
//! comparing names from the end of the text: when the root is reached with nothing left, the text was canonical and led here.
//! (A separator at its beginning is of no account: with it or without, a text is the same to the cache.)
//! The cold way: canonicalise, walk down the table, from the last directory on if the cache knows that one.
//!
//! All read the stamp of `moves` before and after. A directory that stands is where it was as long as that is the same, and
//! cannot go while something in it is bound; so if each name on the way was seen bound, the whole path was at the instant the
//! last (going down) or the first (going up) was seen.
//!
//! A hit is a chain of cache misses: the set of the cache, then node, name and content. Where the latter two were last stands
//! beside the former, so that all but the first come at once.

use super::{
    Index, IndexError, Kind,
    cache::PathHash,
    chaos::may_stop_here,
    dentry::DentryRef,
    error::Result,
    memory::Memory,
    node::{GONE, Node, NodeId},
    table::Key,
    word::{self, Target},
};
use crate::{
    arena::Near,
    epoch::Guard,
    map::prefetch,
    path::{self, Canonical},
    sync::{AtomicU64, Ordering},
};
use std::hash::{BuildHasher, Hasher};

/// A name that was bound to a node at some instant of the look-up.
#[derive(Clone, Copy)]
pub(crate) struct Bound<'g> {
    pub(crate) id: NodeId,
    pub(crate) node: &'g Node,
    kind: Kind,
    /// `None` for the root.
    pub(super) dentry: Option<DentryRef<'g>>,
    /// The stamp of `moves`.
    pub(super) moves: u64,
}

/// Whether a writer may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The name is bound to the node, and nothing is under way that would change that.
    Yes,
    /// Look the path up again: it may be bound to another node, or to none.
    Retry,
}

impl<'g> Bound<'g> {
    #[cfg(any(test, memfs_loom))]
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind == Kind::Directory
    }

    pub(super) fn target(&self) -> Target {
        Target { id: self.id, kind: self.kind }
    }

    /// For readers, after loading the content: whether the path still leads to the node, and hence did at the load.
    #[inline]
    pub(crate) fn still(&self, index: &Index) -> bool {
        self.dentry.is_none_or(|dentry| dentry.is_bound_to(self.target())) && index.moves_now() == self.moves
    }

    /// For writers, between loading the content word and the compare-and-swap on it. If the answer is `Yes` and the
    /// compare-and-swap succeeds, the name was bound to the node at that instant: whoever changes the name marks it first, then
    /// bumps the word's binding count, then changes it.
    #[inline]
    pub(crate) fn settled(&self, index: &Index, guard: &Guard) -> Settled {
        let Some(dentry) = self.dentry else { return Settled::Yes };
        // Acquire: pairs with the AcqRel of `bump_binding`: a content word loaded after a bump shows the mark here.
        let plain = dentry.word.load(Ordering::Acquire) == word::bound(self.target());
        if plain && index.moves_now() == self.moves {
            return Settled::Yes;
        }
        index.settle(dentry, guard);
        Settled::Retry
    }
}

/// From where a dentry begins to its last byte that is touched of a name of usual length.
const DENTRY_FETCH_BYTES: usize = 56;

/// A text as it is looked up: without its first separator, and its hash.
#[derive(Clone, Copy)]
pub(crate) struct Spelled<'t> {
    text: &'t [u8],
    pub(super) hash: PathHash,
}

impl Spelled<'_> {
    pub(super) fn ends_with(&self, name: &[u8]) -> bool {
        path::above(self.text, name).is_some()
    }
}

/// A file that a reader found by the cache, and what that said to fetch.
#[derive(Clone, Copy)]
pub(crate) struct Glimpse<'g> {
    pub(crate) id: NodeId,
    pub(crate) node: &'g Node,
    dentry: DentryRef<'g>,
    moves: u64,
    hint: &'g AtomicU64,
    /// What was fetched.
    name: *const u8,
    content: *const u8,
}

impl<'g> Glimpse<'g> {
    pub(crate) fn bound(&self) -> Bound<'g> {
        Bound { id: self.id, node: self.node, kind: Kind::File, dentry: Some(self.dentry), moves: self.moves }
    }

    /// As [`Bound::still`].
    #[inline(always)]
    pub(crate) fn still(&self, index: &Index) -> bool {
        // Acquire: as in `Bound::settled`.
        self.dentry.word.load(Ordering::Acquire) == word::bound(file(self.id))
            && index.moves_now() == self.moves
    }

    /// Whether something else than what it came to is fetched ahead for this path: its content is at `content`.
    #[inline(always)]
    pub(crate) fn is_misled(&self, content: *const u8) -> bool {
        self.content != content || self.name != self.dentry.as_ptr().cast()
    }
}

#[inline]
fn file(id: NodeId) -> Target {
    Target { id, kind: Kind::File }
}

fn name_hint(hint: u64) -> Near {
    Near((hint >> 32) as u32)
}

fn content_hint(hint: u64) -> Near {
    Near(hint as u32)
}

fn hint(name: Near, content: Near) -> u64 {
    u64::from(name.0) << 32 | u64::from(content.0)
}

/// How far a walk came.
pub(super) enum Walk<'g> {
    Found(Bound<'g>),
    /// The deepest directory there is, and where its path ends in the text.
    Missing(Bound<'g>, usize),
    /// A file where a directory was needed; its path ends there.
    NotADirectory(usize),
}

impl Index {
    /// The node of a path.
    #[inline]
    pub(crate) fn lookup<'g>(&'g self, path: &str, guard: &'g Guard) -> Result<Bound<'g>> {
        match self.lookup_if_any(path, guard) {
            Ok(Some(bound)) => Ok(bound),
            Ok(None) => Err(IndexError::NotFound(path::canonical_name(path))),
            Err(error) => Err(error),
        }
    }

    /// The node of a path; `None` if the last of its names, or a directory above it, is missing.
    #[inline]
    pub(crate) fn lookup_if_any<'g>(&'g self, path: &str, guard: &'g Guard) -> Result<Option<Bound<'g>>> {
        match self.cached(path, guard) {
            Some(bound) => Ok(Some(bound)),
            None => self.lookup_cold(path, guard),
        }
    }

    /// The file that the cache says a path leads to, for a reader, who asks [`Glimpse::still`] before relying on it: only then was
    /// the path bound to the file, from this call to the instant of that answer. Its content is being fetched, if it is where it
    /// was. `None` says nothing.
    #[inline(always)]
    pub(crate) fn glimpse<'g>(&'g self, path: Spelled<'_>, guard: &'g Guard) -> Option<Glimpse<'g>> {
        self.glimpse_expecting(path, guard, |memory, content| prefetch(memory.far(content)))
    }

    /// The same for a writer, who asks [`Bound::settled`]: what is written when the content is let go is being fetched.
    #[inline(always)]
    pub(crate) fn glimpse_to_replace<'g>(
        &'g self,
        path: Spelled<'_>,
        guard: &'g Guard,
    ) -> Option<Glimpse<'g>> {
        self.glimpse_expecting(path, guard, Memory::expect_release)
    }

    /// `expect` gets what it can of the content that may be met.
    #[inline(always)]
    fn glimpse_expecting<'g>(
        &'g self,
        path: Spelled<'_>,
        guard: &'g Guard,
        expect: impl FnOnce(&Memory, Near),
    ) -> Option<Glimpse<'g>> {
        let moves = self.moves_now();
        let Spelled { text, hash } = path;
        let (id, hint) = self.cache.find(hash, guard)?;
        let node = self.slot(id);
        // Relaxed: a guess at addresses that are only fetched.
        let seen = hint.load(Ordering::Relaxed);
        let name = self.fetch(node, seen);
        expect(&self.memory, content_hint(seen));
        let dentry = self.dentry_of(node, guard)?;
        // Acquire: pairs with the AcqRel of whatever bound the node, which was initialised before.
        if dentry.word.load(Ordering::Acquire) != word::bound(file(id)) {
            return None;
        }
        self.is_called(dentry, text, moves, guard).then_some(Glimpse {
            id,
            node,
            dentry,
            moves,
            hint,
            name,
            content: self.memory.far(content_hint(seen)),
        })
    }

    /// Notes for next time that its content is at `content`.
    #[inline(never)]
    pub(crate) fn lead(&self, glimpse: &Glimpse<'_>, content: Near) {
        // Relaxed, both: a hint.
        let before = glimpse.hint.load(Ordering::Relaxed);
        let is_named = glimpse.name == glimpse.dentry.as_ptr().cast();
        let name = if is_named { name_hint(before) } else { glimpse.dentry.near(&self.memory) };
        let now = hint(name, content);
        if now != before {
            glimpse.hint.store(now, Ordering::Relaxed);
        }
    }

    /// Starts to bring near what a look-up touches of a node: itself and its name, whose place this gives back.
    #[inline(always)]
    fn fetch(&self, node: &Node, hint: u64) -> *const u8 {
        prefetch(node);
        let name = self.memory.far(name_hint(hint));
        prefetch(name);
        prefetch(name.wrapping_add(DENTRY_FETCH_BYTES));
        name
    }

    #[cold]
    fn lookup_cold<'g>(&'g self, raw: &str, guard: &'g Guard) -> Result<Option<Bound<'g>>> {
        let path = Canonical::new(raw)
            .map_err(|invalid| IndexError::Invalid { path: raw.to_owned(), reason: invalid.reason })?;
        // The cache was asked for this spelling already.
        let walk = if path.text() == raw { self.walk(raw, guard) } else { self.locate(path.text(), guard) };
        Self::end_of(walk, &path)
    }

    /// The node of a canonical path.
    pub(super) fn find<'g>(&'g self, path: &Canonical<'_>, guard: &'g Guard) -> Result<Bound<'g>> {
        Self::end_of(self.locate(path.text(), guard), path)?
            .ok_or_else(|| IndexError::NotFound(path.text().to_owned()))
    }

    /// Where a walk along `path` led.
    fn end_of<'g>(walk: Walk<'g>, path: &Canonical<'_>) -> Result<Option<Bound<'g>>> {
        match walk {
            Walk::Found(bound) if path.names_directory() && !bound.is_dir() => {
                Err(IndexError::NotADirectory(path.text().to_owned()))
            }
            Walk::Found(bound) => Ok(Some(bound)),
            Walk::Missing(..) => Ok(None),
            Walk::NotADirectory(end) => Err(IndexError::NotADirectory(path.text()[..end].to_owned())),
        }
    }

    /// The directory of a canonical text.
    pub(super) fn find_directory<'g>(&'g self, text: &str, guard: &'g Guard) -> Result<Bound<'g>> {
        match self.locate(text, guard) {
            Walk::Found(bound) if bound.is_dir() => Ok(bound),
            Walk::Found(_) => Err(IndexError::NotADirectory(text.to_owned())),
            Walk::Missing(..) => Err(IndexError::NotFound(text.to_owned())),
            Walk::NotADirectory(end) => Err(IndexError::NotADirectory(text[..end].to_owned())),
        }
    }

    /// By the cache or by walking.
    pub(super) fn locate<'g>(&'g self, text: &str, guard: &'g Guard) -> Walk<'g> {
        match self.cached(text, guard) {
            Some(bound) => Walk::Found(bound),
            None => self.walk(text, guard),
        }
    }

    /// For [`glimpse`](Self::glimpse).
    #[inline(always)]
    pub(crate) fn spelled<'t>(&self, text: &'t str) -> Spelled<'t> {
        let text = text.as_bytes();
        let text = text.strip_prefix(b"/").unwrap_or(text);
        let mut hasher = self.hasher.build_hasher();
        hasher.write(text);
        Spelled { text, hash: PathHash(hasher.finish()) }
    }

    #[inline]
    pub(super) fn key<'k>(&self, parent: NodeId, name: &'k str) -> Key<'k> {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(parent.get());
        hasher.write(name.as_bytes());
        Key::new(hasher.finish() as u32, parent, name)
    }

    /// The stamp of `moves`; does not help.
    #[inline]
    pub(super) fn moves_now(&self) -> u64 {
        self.moves.stamp()
    }

    fn cached<'g>(&'g self, text: &str, guard: &'g Guard) -> Option<Bound<'g>> {
        self.by_cache(self.spelled(text), guard)
    }

    /// What the cache says a path leads to, if it does; `None` says nothing.
    #[inline(always)]
    pub(super) fn by_cache<'g>(&'g self, path: Spelled<'_>, guard: &'g Guard) -> Option<Bound<'g>> {
        let moves = self.moves_now();
        let Spelled { text, hash } = path;
        let (id, hint) = self.cache.find(hash, guard)?;
        let node = self.slot(id);
        self.fetch(node, hint.load(Ordering::Relaxed));
        let dentry = self.dentry_of(node, guard)?;
        let target = dentry.target().filter(|target| target.id == id)?;
        let leads = self.is_called(dentry, text, moves, guard) && self.moves_now() == moves;
        leads.then(|| self.bind(dentry, target, moves))
    }

    /// Whether the text, without its first separator, is the path of a name.
    #[inline(always)]
    fn is_called(&self, dentry: DentryRef<'_>, text: &[u8], moves: u64, guard: &Guard) -> bool {
        let Some(above) = path::above(text, dentry.name()) else { return false };
        let parent = dentry.parent();
        if above.is_empty() {
            return parent == NodeId::ROOT;
        }
        self.prefixes.leads(above, parent, moves, guard) || self.leads_to(above, parent, moves, guard)
    }

    /// Whether the text leads to `directory`: from there up to the root, consuming the text from its end. If so, that is noted.
    #[cold]
    #[inline(never)]
    fn leads_to(&self, text: &[u8], directory: NodeId, moves: u64, guard: &Guard) -> bool {
        let (mut at, mut rest) = (directory, text);
        while at != NodeId::ROOT {
            may_stop_here();
            let Some(dentry) = self.dentry_of(self.slot(at), guard) else { return false };
            let Some(above) = path::above(rest, dentry.name()) else { return false };
            if !dentry.is_bound_to(Target { id: at, kind: Kind::Directory }) {
                return false;
            }
            (at, rest) = (dentry.parent(), above);
        }
        let leads = rest.is_empty();
        // Each name was seen bound: if nothing has moved meanwhile, the whole was at the instant the first was seen.
        if leads && self.moves_now() == moves {
            self.prefixes.fill(text, directory, moves, self.dir_count(), guard);
        }
        leads
    }

    /// The dentry that a node points back to.
    #[inline]
    pub(super) fn dentry_of<'g>(&self, node: &Node, _guard: &'g Guard) -> Option<DentryRef<'g>> {
        // Acquire: pairs with the stores of the pointer, which come after the dentry was filled.
        let address = node.dentry.load(Ordering::Acquire);
        // SAFETY: not retired while a node points to it (`node`, invariant 1), hence readable under the guard.
        (address > GONE).then(|| unsafe { DentryRef::from_address(address) })
    }

    /// Down from the root, or from the last directory, if the cache knows that. Whatever it answers was so at one instant.
    pub(super) fn walk<'g>(&'g self, text: &str, guard: &'g Guard) -> Walk<'g> {
        let above = path::split(text).map_or("/", |(above, _)| above);
        loop {
            let moves = self.moves_now();
            // The root is never in the cache.
            let known = above.len() > 1;
            let parent = known.then(|| self.cached(above, guard)).flatten();
            let end = match parent.filter(|parent| parent.is_dir() && parent.moves == moves) {
                Some(parent) => match self.child(&parent, &text[above.len() + 1..], guard) {
                    Some(child) => Walk::Found(child),
                    None => Walk::Missing(parent, above.len()),
                },
                None => self.walk_once(text, moves, guard),
            };
            if self.moves_now() == moves {
                match &end {
                    Walk::Found(bound) => self.note(self.spelled(text), bound, guard),
                    Walk::Missing(bound, end) if *end == above.len() => {
                        self.note(self.spelled(above), bound, guard);
                    }
                    _ => {}
                }
                return end;
            }
        }
    }

    fn walk_once<'g>(&'g self, text: &str, moves: u64, guard: &'g Guard) -> Walk<'g> {
        let mut bound = self.root(moves);
        let mut reached = 0;
        for component in path::components(text) {
            if !bound.is_dir() {
                return Walk::NotADirectory(reached);
            }
            may_stop_here();
            match self.child(&bound, component.name, guard) {
                Some(child) => bound = child,
                None => return Walk::Missing(bound, reached),
            }
            reached = component.end;
        }
        Walk::Found(bound)
    }

    fn root(&self, moves: u64) -> Bound<'_> {
        let node = self.slot(NodeId::ROOT);
        Bound { id: NodeId::ROOT, node, kind: Kind::Directory, dentry: None, moves }
    }

    /// A directory that the cache knows, by its path without a separator at the end; `None` says nothing.
    #[inline(always)]
    pub(super) fn known_directory<'g>(&'g self, path: &str, guard: &'g Guard) -> Option<Bound<'g>> {
        if path.is_empty() {
            return Some(self.root(self.moves_now()));
        }
        self.by_cache(self.spelled(path), guard).filter(Bound::is_dir)
    }

    fn child<'g>(&'g self, parent: &Bound<'g>, name: &str, guard: &'g Guard) -> Option<Bound<'g>> {
        let dentry = self.table.lookup(self.key(parent.id, name), guard)?;
        let target = dentry.target()?;
        Some(self.bind(dentry, target, parent.moves))
    }

    pub(super) fn bind<'g>(&'g self, dentry: DentryRef<'g>, target: Target, moves: u64) -> Bound<'g> {
        Bound { id: target.id, node: self.slot(target.id), kind: target.kind, dentry: Some(dentry), moves }
    }

    /// Notes in the cache where a path led, and in the node under which name, should its creator not have come to that.
    pub(super) fn note(&self, path: Spelled<'_>, bound: &Bound<'_>, guard: &Guard) {
        let Some(dentry) = bound.dentry else { return };
        Self::point_back(bound.node, dentry);
        let hint = hint(dentry.near(&self.memory), Near::default());
        self.cache.fill(path.hash, bound.id, hint, guard, |id| {
            self.slot(id).dentry.load(Ordering::Relaxed) <= GONE
        });
    }

    /// Sets a new node's back pointer. It stays unset until the name is bound, for a name that never comes to be bound may be
    /// retired; and it is never 0 again, so that this cannot undo what a rename or removal has made of it.
    pub(super) fn point_back(node: &Node, dentry: DentryRef<'_>) {
        if node.dentry.load(Ordering::Relaxed) == 0 {
            let _ = node.dentry.compare_exchange(0, dentry.address(), Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Visits the entries of a directory; one that is there throughout, exactly once.
    pub(crate) fn for_each_child(
        &self,
        directory: &Bound<'_>,
        guard: &Guard,
        mut visit: impl FnMut(&str, NodeId, Kind),
    ) {
        self.body(directory.target(), guard).for_each(guard, |dentry| {
            if let Some(target) = dentry.target() {
                visit(dentry.name_str(), target.id, target.kind);
            }
            true
        });
    }

    #[cfg(any(test, memfs_loom))]
    /// The entries of a directory by name, each name once.
    pub(crate) fn children(&self, directory: &Bound<'_>, guard: &Guard) -> Vec<(String, NodeId, Kind)> {
        let mut entries = Vec::new();
        self.for_each_child(directory, guard, |name, id, kind| entries.push((name.to_owned(), id, kind)));
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        // A name that was removed and made again during the listing may have been met twice.
        entries.dedup_by(|a, b| a.0 == b.0);
        entries
    }

    /// The path of a node at some instant of the call; `None` if it has lost its name.
    pub(crate) fn path_of(&self, id: NodeId, guard: &Guard) -> Option<String> {
        loop {
            let moves = self.moves_now();
            let names = self.names_up(id, guard);
            if self.moves_now() == moves {
                let names = names?;
                let mut text = String::with_capacity(names.iter().map(|name| name.len() + 1).sum());
                for name in names.iter().rev() {
                    text.push('/');
                    text.push_str(name);
                }
                return Some(if text.is_empty() { "/".to_owned() } else { text });
            }
        }
    }

    fn names_up<'g>(&'g self, id: NodeId, guard: &'g Guard) -> Option<Vec<&'g str>> {
        let mut names = Vec::new();
        let mut at = id;
        while at != NodeId::ROOT {
            let dentry = self.current_dentry(at, guard)?;
            names.push(dentry.name_str());
            at = dentry.parent();
        }
        Some(names)
    }

    /// The dentry that stands for the node now. If the node has been renamed since its back pointer was read, or is being
    /// renamed and the pointer has not turned yet, it is read again.
    fn current_dentry<'g>(&'g self, id: NodeId, guard: &'g Guard) -> Option<DentryRef<'g>> {
        let node = self.slot(id);
        loop {
            let dentry = self.dentry_of(node, guard)?;
            if dentry.target().is_some_and(|target| target.id == id) {
                return Some(dentry);
            }
            self.settle(dentry, guard);
            if self.dentry_of(node, guard) == Some(dentry) {
                return None;
            }
        }
    }
}
