//! Nodes gathered from what verifies, whatever is missing between: the part of a damaged store that can be had again.
//!
//! Unlike recovery it holds the whole directory in memory, and takes any entry as well as it can be taken.

use super::{
    entry::{Entry, Kind, ROOT},
    view::NodeView,
};
use std::collections::{HashMap, HashSet};

/// A node, as what verifies says it was last.
pub(super) struct Saved {
    parent: u32,
    kind: Kind,
    name: String,
    created_ns: u64,
    modified_ns: u64,
    priority: u8,
    len: u64,
    chunks: Vec<(u64, u64)>,
    /// The operation, or an earlier one of the same batch, that gave it its name; of two that claim one, the later has it.
    named_at: u64,
}

/// What lies deeper has no path, or is within itself.
const MAX_DEPTH: usize = 2048;

type IdSet = HashSet<u32, foldhash::fast::RandomState>;
type Children = HashMap<u32, Vec<u32>, foldhash::fast::RandomState>;

pub(super) struct Salvage {
    chunk_bytes: u64,
    nodes: HashMap<u32, Saved, foldhash::fast::RandomState>,
    /// Those that lead up to the root: directories, parents first, then files.
    reachable: Vec<u32>,
}

/// What is wrong with the nodes together.
pub(super) struct Fault {
    pub(super) path: String,
    pub(super) what: String,
}

impl Salvage {
    pub(super) fn new(chunk_bytes: u64) -> Self {
        Self { chunk_bytes: chunk_bytes.max(1), nodes: HashMap::default(), reachable: Vec::new() }
    }

    /// A checkpoint's node.
    ///
    /// # Errors
    /// There is one of this number.
    pub(super) fn add(&mut self, view: &NodeView<'_>) -> Result<(), String> {
        let saved = Saved {
            parent: view.parent,
            kind: view.kind,
            name: view.name.to_owned(),
            created_ns: view.created_ns,
            modified_ns: view.modified_ns,
            priority: view.priority,
            len: view.len,
            chunks: view.chunks.to_vec(),
            named_at: 0,
        };
        match self.nodes.insert(view.id, saved) {
            None => Ok(()),
            Some(_) => Err(format!("two nodes {}", view.id)),
        }
    }

    /// What operation `seq`, or a later one of its batch, did.
    ///
    /// # Errors
    /// It cannot be, given what was before; it is taken all the same.
    pub(super) fn apply(&mut self, entry: &Entry<'_>, seq: u64) -> Result<(), String> {
        match *entry {
            Entry::Make { id, parent, kind, name, created_ns, modified_ns, priority } => {
                let (name, chunks) = (name.to_owned(), Vec::new());
                let made = Saved {
                    parent,
                    kind,
                    name,
                    created_ns,
                    modified_ns,
                    priority,
                    len: 0,
                    chunks,
                    named_at: seq,
                };
                if self.nodes.insert(id, made).is_some() {
                    return Err(format!("node {id} is made, and was there"));
                }
            }
            Entry::Content { id, modified_ns, len, reset, chunks } => {
                let end = len.div_ceil(self.chunk_bytes);
                let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
                node.modified_ns = modified_ns;
                if node.kind == Kind::Directory {
                    let empty = len == 0 && chunks.is_empty();
                    return if empty { Ok(()) } else { Err(format!("directory {id} is given bytes")) };
                }
                node.len = len;
                let listed = |index| chunks.binary_search_by_key(&index, |(index, _)| *index).is_ok();
                node.chunks.retain(|(index, _)| !reset && *index < end && !listed(*index));
                node.chunks.extend(chunks.iter().filter(|(index, extent)| *index < end && *extent != 0));
                node.chunks.sort_unstable();
            }
            Entry::Rename { id, parent, name, replaced } => {
                if let Some(replaced) = replaced {
                    self.nodes.remove(&replaced);
                }
                if let Some(node) = self.nodes.get_mut(&id) {
                    (node.parent, node.named_at) = (parent, seq);
                    name.clone_into(&mut node.name);
                }
            }
            Entry::Remove { id } => drop(self.nodes.remove(&id)),
            Entry::Priority { id, priority } => {
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.priority = priority;
                }
            }
            Entry::Move { id, chunk, from, to } => {
                let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
                if let Some(at) = node.chunks.iter_mut().find(|at| **at == (chunk, from)) {
                    at.1 = to;
                }
            }
        }
        Ok(())
    }

    /// Finds what leads up to the root, and what is wrong with the rest.
    pub(super) fn settle(&mut self) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.drop_doubles(&mut faults);
        self.drop_what_lies_past_the_end(&mut faults);
        let mut children = Children::default();
        for (&id, node) in self.nodes.iter().filter(|(id, _)| **id != ROOT) {
            children.entry(node.parent).or_default().push(id);
        }
        let mut lost: IdSet = self.nodes.keys().copied().collect();
        lost.remove(&ROOT);
        let mut files = Vec::new();
        let mut directories: Vec<u32> = self.nodes.contains_key(&ROOT).then_some(ROOT).into_iter().collect();
        let mut open = vec![ROOT];
        while let Some(directory) = open.pop() {
            let mut within = children.remove(&directory).unwrap_or_default();
            within.sort_unstable();
            for id in within {
                lost.remove(&id);
                match self.nodes[&id].kind {
                    Kind::File => files.push(id),
                    Kind::Directory => {
                        directories.push(id);
                        open.push(id);
                    }
                }
            }
        }
        self.reachable = directories;
        self.reachable.append(&mut files);
        self.report_lost(lost, &mut children, &mut faults);
        faults
    }

    /// One fault for each parent that is not there, not one for each node below it.
    fn report_lost(&self, mut lost: IdSet, children: &mut Children, faults: &mut Vec<Fault>) {
        let mut tops: Vec<u32> =
            lost.iter().copied().filter(|id| !lost.contains(&self.nodes[id].parent)).collect();
        tops.sort_unstable();
        for top in tops {
            let (mut below, mut open) = (0, vec![top]);
            while let Some(id) = open.pop() {
                below += u64::from(id != top);
                lost.remove(&id);
                open.append(&mut children.remove(&id).unwrap_or_default());
            }
            let parent = self.nodes[&top].parent;
            let is = if self.nodes.contains_key(&parent) { "is no directory" } else { "is lost" };
            let what = format!("lost, with {below} nodes below it: its parent, node {parent}, {is}");
            faults.push(Fault { path: self.path(top), what });
        }
        if !lost.is_empty() {
            faults.push(Fault {
                path: "/".to_owned(),
                what: format!("{} nodes within themselves", lost.len()),
            });
        }
    }

    fn drop_doubles(&mut self, faults: &mut Vec<Fault>) {
        let mut by_name: HashMap<(u32, &str), u32, foldhash::fast::RandomState> = HashMap::default();
        let mut doubles = Vec::new();
        let mut ids: Vec<u32> = self.nodes.keys().copied().filter(|id| *id != ROOT).collect();
        ids.sort_unstable();
        for id in ids {
            let node = &self.nodes[&id];
            let Some(other) = by_name.insert((node.parent, &node.name), id) else { continue };
            if self.nodes[&other].named_at > node.named_at {
                by_name.insert((node.parent, &node.name), other);
                doubles.push((id, other));
            } else {
                doubles.push((other, id));
            }
        }
        for (id, other) in doubles {
            faults
                .push(Fault { path: self.path(id), what: format!("nodes {id} and {other} have this name") });
            self.nodes.remove(&id);
        }
    }

    fn drop_what_lies_past_the_end(&mut self, faults: &mut Vec<Fault>) {
        let mut longer = Vec::new();
        for (id, node) in &mut self.nodes {
            let end = node.len.div_ceil(self.chunk_bytes);
            let before = node.chunks.len();
            node.chunks.retain(|(index, _)| *index < end);
            if node.chunks.len() < before {
                longer.push(*id);
            }
        }
        longer.sort_unstable();
        let fault = |id| Fault { path: self.path(id), what: "chunks past its end".to_owned() };
        faults.extend(longer.into_iter().map(fault));
    }

    /// As far up as is known.
    pub(super) fn path(&self, mut id: u32) -> String {
        let mut names = Vec::new();
        while id != ROOT && names.len() < MAX_DEPTH {
            let Some(node) = self.nodes.get(&id) else { break };
            names.push(node.name.as_str());
            id = node.parent;
        }
        let top = if id == ROOT { String::new() } else { format!("(node {id})") };
        names.iter().rev().fold(top, |path, name| path + "/" + name)
    }

    pub(super) fn knows(&self, id: u32) -> bool {
        self.nodes.contains_key(&id)
    }

    /// What leads up to the root: directories, parents first, then files.
    pub(super) fn reachable(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.reachable.iter().map(|id| {
            let node = &self.nodes[id];
            NodeView {
                id: *id,
                parent: node.parent,
                kind: node.kind,
                name: &node.name,
                created_ns: node.created_ns,
                modified_ns: node.modified_ns,
                priority: node.priority,
                len: node.len,
                chunks: &node.chunks,
            }
        })
    }
}
