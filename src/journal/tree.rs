//! Whether nodes that come in a stream can be a tree: no number twice, each parent a directory, no directory in itself.
//!
//! Takes a bit for each node, and eight bytes for each directory until all are known.

use super::{entry::ROOT, id_set::IdSet};

#[derive(Default)]
pub(super) struct Tree {
    ids: IdSet,
    directories: IdSet,
    parents: Vec<(u32, u32)>,
}

impl Tree {
    pub(super) fn directory(&mut self, id: u32, parent: u32) -> Result<(), String> {
        if !self.ids.insert(id) {
            return Err(format!("two nodes {id}"));
        }
        if id != ROOT {
            self.directories.insert(id);
            self.parents.push((id, parent));
        }
        Ok(())
    }

    /// All directories are known: each must lead up to the root.
    pub(super) fn all_directories(&mut self) -> Result<(), String> {
        self.directories.insert(ROOT);
        let mut parents = std::mem::take(&mut self.parents);
        parents.sort_unstable();
        let parent_of = |id: u32| parents.binary_search_by_key(&id, |(id, _)| *id).map(|at| parents[at].1);
        let mut leads_up = IdSet::default();
        leads_up.insert(ROOT);
        let mut path = Vec::new();
        for &(start, _) in &parents {
            let mut id = start;
            while !leads_up.contains(id) {
                let parent = parent_of(id);
                path.push(id);
                if path.len() > parents.len() {
                    return Err(format!("directory {start} within itself"));
                }
                id = parent.map_err(|_| format!("a directory in {id}, and {id} is no directory"))?;
            }
            for id in path.drain(..) {
                leads_up.insert(id);
            }
        }
        Ok(())
    }

    pub(super) fn file(&mut self, id: u32, parent: u32) -> Result<(), String> {
        if id == ROOT || !self.ids.insert(id) {
            return Err(format!("two nodes {id}"));
        }
        if !self.directories.contains(parent) {
            return Err(format!("file {id} in {parent}, and {parent} is no directory"));
        }
        Ok(())
    }
}
