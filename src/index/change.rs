//! What a change of names says to the order of changes: the index's records.
//!
//! ```text
//! MAKE    parent u32 │ nodes u32 │ directory u32 │ words u32 │ created u64 │ modified u64 │ words … │ (id u32 │ len u8 │ name) …
//! RENAME  id u32 │ parent u32 │ replaced u32, or 0 │ name
//! REMOVE  id u32
//! ```
//! All nodes of a MAKE but the last are directories, each in the one before it. The words are the floor above's.

use super::{
    Kind, NodeInit,
    error::{IndexError, Result},
    memory::Memory,
    node::NodeId,
    word::Target,
};
use crate::{
    arena::Magazine,
    order::{Record, u32_at, u64_at},
};

pub(crate) const MAKE: u16 = 1;
pub(crate) const RENAME: u16 = 2;
pub(crate) const REMOVE: u16 = 3;

const MAKE_BYTES: usize = 32;
const NODE_BYTES: usize = 5;
const RENAME_BYTES: usize = 12;

/// A record of the index, taken apart.
pub(crate) enum NameChange<'r> {
    /// A file or directory, and the directories above it that were missing.
    Make {
        parent: NodeId,
        kind: Kind,
        created: u64,
        modified: u64,
        /// The floor above's words, as they were given.
        note: &'r [u8],
        nodes: Nodes<'r>,
    },
    Rename {
        id: NodeId,
        parent: NodeId,
        name: &'r str,
        replaced: Option<NodeId>,
    },
    Remove {
        id: NodeId,
    },
}

/// The nodes that a creation made, from the top down.
#[derive(Clone)]
pub(crate) struct Nodes<'r>(&'r [u8]);

impl<'r> Iterator for Nodes<'r> {
    type Item = (NodeId, &'r str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let end = NODE_BYTES + usize::from(self.0[4]);
        let (node, rest) = self.0.split_at(end);
        self.0 = rest;
        Some((NodeId::new(u32_at(node, 0)), text(&node[NODE_BYTES..])))
    }
}

impl<'r> NameChange<'r> {
    /// Takes a record of the index apart; `None` if it is another floor's.
    pub(crate) fn of(record: &'r Record) -> Option<Self> {
        let bytes = record.bytes();
        Some(match record.kind() {
            MAKE => {
                let words = u32_at(bytes, 12) as usize * 8;
                let (note, nodes) = bytes[MAKE_BYTES..].split_at(words);
                NameChange::Make {
                    parent: NodeId::new(u32_at(bytes, 0)),
                    kind: if u32_at(bytes, 8) != 0 { Kind::Directory } else { Kind::File },
                    created: u64_at(bytes, 16),
                    modified: u64_at(bytes, 24),
                    note,
                    nodes: Nodes(nodes),
                }
            }
            RENAME => NameChange::Rename {
                id: NodeId::new(u32_at(bytes, 0)),
                parent: NodeId::new(u32_at(bytes, 4)),
                replaced: Some(NodeId::new(u32_at(bytes, 8))).filter(|id| *id != NodeId::NONE),
                name: text(&bytes[RENAME_BYTES..]),
            },
            REMOVE => NameChange::Remove { id: NodeId::new(u32_at(bytes, 0)) },
            _ => return None,
        })
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("written from a name")
}

/// Writes one field after another.
struct Pen<'b>(&'b mut [u8]);

impl Pen<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let (field, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        field.copy_from_slice(bytes);
        self.0 = rest;
    }
}

impl Memory {
    /// What the order is to be told of a creation; `None` where none is kept.
    pub(super) fn record_make<'g, 'n>(
        &self,
        magazine: &Magazine,
        parent: NodeId,
        nodes: impl Iterator<Item = (NodeId, &'n str)> + Clone,
        kind: Kind,
        init: &NodeInit<'_>,
    ) -> Result<Option<&'g Record>> {
        if self.order().is_none() {
            return Ok(None);
        }
        let names_bytes: usize = nodes.clone().map(|(_, name)| NODE_BYTES + name.len()).sum();
        let len_bytes = MAKE_BYTES + 8 * init.note.len() + names_bytes;
        let directory = kind == Kind::Directory;
        self.record(magazine, MAKE, len_bytes, |bytes| {
            let mut pen = Pen(bytes);
            let words = init.note.len() as u32;
            for field in [parent.get(), nodes.clone().count() as u32, u32::from(directory), words] {
                pen.put(&field.to_le_bytes());
            }
            for field in [init.created, init.modified].iter().chain(init.note) {
                pen.put(&field.to_le_bytes());
            }
            for (id, name) in nodes {
                pen.put(&id.get().to_le_bytes());
                pen.put(&[name.len() as u8]);
                pen.put(name.as_bytes());
            }
        })
    }

    /// The same of a rename.
    pub(super) fn record_rename<'g>(
        &self,
        magazine: &Magazine,
        id: NodeId,
        parent: NodeId,
        name: &str,
        replaced: Option<Target>,
    ) -> Result<Option<&'g Record>> {
        self.record(magazine, RENAME, RENAME_BYTES + name.len(), |bytes| {
            let mut pen = Pen(bytes);
            let replaced = replaced.map_or(NodeId::NONE, |target| target.id);
            for field in [id, parent, replaced] {
                pen.put(&field.get().to_le_bytes());
            }
            pen.put(name.as_bytes());
        })
    }

    /// The same of a removal.
    pub(super) fn record_remove<'g>(&self, magazine: &Magazine, id: NodeId) -> Result<Option<&'g Record>> {
        self.record(magazine, REMOVE, 4, |bytes| bytes.copy_from_slice(&id.get().to_le_bytes()))
    }

    /// Held by the descriptor that it is for, beside the queue.
    fn record<'g>(
        &self,
        magazine: &Magazine,
        kind: u16,
        len_bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Option<&'g Record>> {
        let Some(order) = self.order() else { return Ok(None) };
        self.admit(len_bytes)?;
        match order.record(magazine, kind, 1, len_bytes, fill) {
            Some(record) => Ok(Some(record)),
            None => Err(IndexError::Memory(len_bytes as u64)),
        }
    }
}
