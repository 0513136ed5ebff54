//! A node as the store's directory says it is.

use super::{
    entry::Kind,
    wire::{Cursor, Malformed, put_chunks, put_name, put_varint},
};

/// A file or directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NodeView<'a> {
    pub(crate) id: u32,
    pub(crate) parent: u32,
    pub(crate) kind: Kind,
    pub(crate) name: &'a str,
    pub(crate) created_ns: u64,
    pub(crate) modified_ns: u64,
    pub(crate) priority: u8,
    pub(crate) len: u64,
    /// Index and extent of each chunk that is no hole, ascending.
    pub(crate) chunks: &'a [(u64, u64)],
}

impl<'a> NodeView<'a> {
    /// Appends the node to a checkpoint's block; its kind is the block's.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.id.into());
        put_varint(out, self.parent.into());
        put_name(out, self.name);
        out.extend_from_slice(&self.created_ns.to_le_bytes());
        out.extend_from_slice(&self.modified_ns.to_le_bytes());
        out.push(self.priority);
        if self.kind == Kind::File {
            put_varint(out, self.len);
            put_chunks(out, self.chunks);
        }
    }

    #[inline]
    pub(super) fn decode<'b: 'a>(
        fields: &mut Cursor<'b>,
        kind: Kind,
        chunks: &'a mut Vec<(u64, u64)>,
    ) -> Result<Self, Malformed> {
        let id = fields.id()?;
        let (parent, name) = fields.place(id)?;
        let (created_ns, modified_ns, priority) = (fields.u64()?, fields.u64()?, fields.priority()?);
        let mut node =
            Self { id, parent, kind, name, created_ns, modified_ns, priority, len: 0, chunks: &[] };
        if kind == Kind::File {
            node.len = fields.varint()?;
            fields.chunks(chunks)?;
            if chunks.iter().any(|(_, extent)| *extent == 0) {
                return Err(Malformed("a hole among a file's chunks"));
            }
            node.chunks = chunks;
        }
        Ok(node)
    }
}
