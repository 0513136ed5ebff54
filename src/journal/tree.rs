//! Whether nodes that come in a stream can be a tree: no number twice, each parent a directory, no directory in itself.
//!
//! Takes a bit for each node, and eight bytes for each directory until all are known.

use super::entry::ROOT;
use std::collections::HashMap;

/// Numbers of nodes, a bit each, in pages so that a large number alone takes no more than a small one.
#[derive(Default)]
struct IdSet {
    pages: HashMap<u32, [u64; 4], foldhash::fast::RandomState>,
}

impl IdSet {
    /// Whether it was not there.
    fn insert(&mut self, id: u32) -> bool {
        let word = &mut self.pages.entry(id >> 8).or_default()[(id >> 6 & 3) as usize];
        let bit = 1 << (id & 63);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    fn contains(&self, id: u32) -> bool {
        self.pages.get(&(id >> 8)).is_some_and(|page| page[(id >> 6 & 3) as usize] >> (id & 63) & 1 == 1)
    }
}

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
