//! What a store's directory should be: a plain model, and random histories of it.

use super::super::{Batch, Entry, Kind, NodeView, Opened};
use crate::error::Result;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const CHUNK_BYTES: u64 = 16;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Node {
    pub(super) parent: u32,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) created_ns: u64,
    pub(super) modified_ns: u64,
    pub(super) priority: u8,
    pub(super) len: u64,
    pub(super) chunks: BTreeMap<u64, u64>,
}

/// All nodes, by number.
pub(super) type State = BTreeMap<u32, Node>;

pub(super) fn node_of(view: &NodeView<'_>) -> Node {
    assert!(view.chunks.is_sorted_by(|a, b| a.0 < b.0) && view.chunks.iter().all(|chunk| chunk.1 != 0));
    Node {
        parent: view.parent,
        kind: view.kind,
        name: view.name.to_owned(),
        created_ns: view.created_ns,
        modified_ns: view.modified_ns,
        priority: view.priority,
        len: view.len,
        chunks: view.chunks.iter().copied().collect(),
    }
}

/// Everything that recovery visits.
pub(super) fn visited(opened: &mut Opened) -> Result<State> {
    let mut state = State::new();
    let mut visit = |kind, view: &NodeView<'_>| {
        assert_eq!(view.kind, kind, "directories first");
        assert!(state.insert(view.id, node_of(view)).is_none(), "visited twice: {}", view.id);
        Ok(())
    };
    opened.recovery.visit_directories(|view| visit(Kind::Directory, view))?;
    opened.recovery.visit_files(|view| visit(Kind::File, view))?;
    Ok(state)
}

/// SplitMix64.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: impl IntoIterator<Item = T>) -> Option<T> {
        let all: Vec<T> = from.into_iter().collect();
        if all.is_empty() { None } else { Some(all[self.below(all.len() as u64) as usize]) }
    }
}

/// A store as the floors above have it: also what has no name any more, but is still open.
#[derive(Clone, Default, Debug)]
pub(super) struct World {
    pub(super) nodes: State,
    nameless: BTreeSet<u32>,
    clock: u64,
}

/// The entries of an operation, apart from what they borrow.
#[derive(Default)]
pub(super) struct Operation {
    entries: Vec<Owned>,
}

enum Owned {
    Make(u32, Node),
    Content { id: u32, modified_ns: u64, len: u64, reset: bool, chunks: Vec<(u64, u64)> },
    Rename { id: u32, parent: u32, name: String, replaced: Option<u32> },
    Remove(u32),
    Priority(u32, u8),
    Move { id: u32, chunk: u64, from: u64, to: u64 },
}

impl Operation {
    pub(super) fn push_to(&self, batch: &mut Batch) {
        for entry in &self.entries {
            batch.push(&match entry {
                Owned::Make(id, node) => Entry::Make {
                    id: *id,
                    parent: node.parent,
                    kind: node.kind,
                    name: &node.name,
                    created_ns: node.created_ns,
                    modified_ns: node.modified_ns,
                    priority: node.priority,
                },
                Owned::Content { id, modified_ns, len, reset, chunks } => {
                    Entry::Content { id: *id, modified_ns: *modified_ns, len: *len, reset: *reset, chunks }
                }
                Owned::Rename { id, parent, name, replaced } => {
                    Entry::Rename { id: *id, parent: *parent, name, replaced: *replaced }
                }
                Owned::Remove(id) => Entry::Remove { id: *id },
                Owned::Priority(id, priority) => Entry::Priority { id: *id, priority: *priority },
                Owned::Move { id, chunk, from, to } => {
                    Entry::Move { id: *id, chunk: *chunk, from: *from, to: *to }
                }
            });
        }
        batch.end_operation();
    }
}

impl World {
    /// The world of a store that was opened: nothing is open there.
    pub(super) fn of(nodes: State, clock: u64) -> Self {
        Self { nodes, nameless: BTreeSet::new(), clock }
    }

    /// An operation at random, done here and now.
    pub(super) fn step(&mut self, rng: &mut Rng) -> Operation {
        let mut operation = Operation::default();
        self.clock += 1;
        match rng.below(20) {
            0..=5 => self.make(rng, &mut operation),
            6..=9 => self.content(rng, &mut operation),
            10..=12 => self.rename(rng, &mut operation),
            13..=15 => self.remove(rng, &mut operation),
            16 => self.priority(rng, &mut operation),
            17 | 18 => self.moved(rng, &mut operation),
            _ => {
                // Closed at last: the number is free again. An operation that leaves no trace.
                let nameless = rng.pick(self.nameless.iter().copied());
                nameless.map(|id| self.nameless.remove(&id));
            }
        }
        operation
    }

    fn free_id(&self, rng: &mut Rng) -> u32 {
        let taken = |id: u32| self.nodes.contains_key(&id) || self.nameless.contains(&id);
        let small = (2..).filter(|id| !taken(*id)).take(3);
        let large = if rng.one_in(30) { u32::MAX - rng.below(1000) as u32 } else { 2 };
        small.chain([large]).filter(|id| !taken(*id)).nth(rng.below(3) as usize).expect("three at least")
    }

    fn directory(&self, rng: &mut Rng) -> u32 {
        let all = self.nodes.iter().filter(|(_, node)| node.kind == Kind::Directory).map(|(id, _)| *id);
        rng.pick(all.chain([1])).expect("the root")
    }

    fn at(&self, parent: u32, name: &str) -> Option<u32> {
        self.nodes.iter().find(|(_, node)| node.parent == parent && node.name == name).map(|(id, _)| *id)
    }

    fn is_empty(&self, id: u32) -> bool {
        self.nodes.values().all(|node| node.parent != id)
    }

    fn name(rng: &mut Rng) -> String {
        let length = if rng.one_in(10) { rng.below(254) } else { rng.below(3) };
        let first = char::from(b'a' + rng.below(6) as u8);
        std::iter::once(first).chain((0..length).map(|_| 'x')).collect()
    }

    /// A file or directory; sometimes in a directory that is made with it.
    fn make(&mut self, rng: &mut Rng, operation: &mut Operation) {
        let mut parent = self.directory(rng);
        for kind in [Kind::Directory, if rng.one_in(4) { Kind::Directory } else { Kind::File }] {
            if kind == Kind::Directory && !rng.one_in(4) {
                continue;
            }
            let name = Self::name(rng);
            if self.at(parent, &name).is_some() {
                return;
            }
            let (id, now) = (self.free_id(rng), self.clock);
            let (priority, chunks) = (rng.below(11) as u8, BTreeMap::new());
            let node =
                Node { parent, kind, name, created_ns: now, modified_ns: now, priority, len: 0, chunks };
            operation.entries.push(Owned::Make(id, node.clone()));
            self.nodes.insert(id, node);
            parent = id;
            if kind == Kind::File && rng.below(4) > 0 {
                self.set(id, rng, operation);
            }
        }
    }

    fn file(&self, rng: &mut Rng) -> Option<u32> {
        let files = self.nodes.iter().filter(|(_, node)| node.kind == Kind::File).map(|(id, _)| *id);
        rng.pick(files.chain(self.nameless.iter().copied()))
    }

    fn content(&mut self, rng: &mut Rng, operation: &mut Operation) {
        if rng.one_in(12) {
            // The time of a directory.
            let directory = self.directory(rng);
            let (modified_ns, chunks) = (self.clock, Vec::new());
            if let Some(node) = self.nodes.get_mut(&directory) {
                node.modified_ns = modified_ns;
                let reset = rng.one_in(2);
                let entry = Owned::Content { id: directory, modified_ns, len: 0, reset, chunks };
                operation.entries.push(entry);
            }
        } else if let Some(id) = self.file(rng) {
            self.set(id, rng, operation);
        }
    }

    fn set(&mut self, id: u32, rng: &mut Rng, operation: &mut Operation) {
        let len = match rng.below(6) {
            0 => 0,
            1..=3 => 1 + rng.below(CHUNK_BYTES),
            _ => rng.below(12 * CHUNK_BYTES),
        };
        let (reset, modified_ns) = (rng.one_in(2), self.clock);
        let mut chunks = Vec::new();
        for index in 0..len.div_ceil(CHUNK_BYTES) {
            if rng.below(3) > 0 {
                chunks.push((index, if rng.one_in(8) { 0 } else { 1 + rng.below(1 << 40) }));
            }
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            (node.len, node.modified_ns) = (len, modified_ns);
            node.chunks.retain(|index, _| !reset && index * CHUNK_BYTES < len);
            node.chunks.extend(chunks.iter().copied());
            node.chunks.retain(|_, extent| *extent != 0);
        }
        operation.entries.push(Owned::Content { id, modified_ns, len, reset, chunks });
    }

    fn rename(&mut self, rng: &mut Rng, operation: &mut Operation) {
        let (parent, name) = (self.directory(rng), Self::name(rng));
        let Some(id) = rng.pick(self.nodes.keys().copied()) else { return };
        let mut above = parent;
        while above != 1 && above != id {
            above = self.nodes[&above].parent;
        }
        let replaced = self.at(parent, &name);
        if above == id || replaced == Some(id) {
            return;
        }
        if let Some(replaced) = replaced {
            if self.nodes[&replaced].kind != self.nodes[&id].kind || !self.is_empty(replaced) {
                return;
            }
            self.lose(replaced, rng);
        }
        let node = self.nodes.get_mut(&id).expect("picked");
        (node.parent, node.name) = (parent, name.clone());
        operation.entries.push(Owned::Rename { id, parent, name, replaced });
    }

    /// A node loses its name; it may be open still.
    fn lose(&mut self, id: u32, rng: &mut Rng) {
        let node = self.nodes.remove(&id).expect("it has a name");
        if node.kind == Kind::File && rng.one_in(2) {
            self.nameless.insert(id);
        }
    }

    fn remove(&mut self, rng: &mut Rng, operation: &mut Operation) {
        if let Some(id) = rng.pick(self.nodes.keys().copied())
            && self.is_empty(id)
        {
            self.lose(id, rng);
            operation.entries.push(Owned::Remove(id));
        }
    }

    fn priority(&mut self, rng: &mut Rng, operation: &mut Operation) {
        let all = self.nodes.keys().chain(&self.nameless).copied();
        let Some(id) = rng.pick(all) else { return };
        let priority = rng.below(11) as u8;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.priority = priority;
        }
        operation.entries.push(Owned::Priority(id, priority));
    }

    /// A chunk is moved, twice perhaps; or it is not where it was thought to be.
    fn moved(&mut self, rng: &mut Rng, operation: &mut Operation) {
        let Some(id) = self.file(rng) else { return };
        let chunks = self.nodes.get(&id).map(|node| node.chunks.clone()).unwrap_or_default();
        let known = rng.pick(chunks.iter().map(|(index, extent)| (*index, *extent)));
        let (chunk, mut from) = known.unwrap_or((rng.below(4), 7));
        if rng.one_in(4) {
            from = 1 + rng.below(1 << 40);
        }
        for _ in 0..1 + rng.below(3) {
            // Extents come back: now and then the chunk goes where it has been.
            let elsewhere = 1 + rng.below(1 << 40);
            let to = rng.pick(chunks.values().copied().chain([elsewhere])).expect("one at least");
            if let Some(node) = self.nodes.get_mut(&id)
                && node.chunks.get(&chunk) == Some(&from)
            {
                node.chunks.insert(chunk, to);
            }
            operation.entries.push(Owned::Move { id, chunk, from, to });
            from = if rng.one_in(4) { from } else { to };
        }
    }
}
