//! What happened, one change after another, and how each stands in a batch.
//!
//! ```text
//!  body length (varint) | crc32c of the body (4) | body: tag (1), fields                              little endian
//! ```
//! Decoding is total: any bytes are an entry or [`Malformed`], and nothing is allocated beyond what the bytes justify.

use super::wire::{Cursor, Malformed, put_chunks, put_name, put_varint};

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    File,
    Directory,
}

/// The node that is there before anything is made, and has no name.
pub(super) const ROOT: u32 = 1;

/// A change of names or contents. Extents are opaque here; 0 is a hole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry<'a> {
    /// A new node of this name. The root may be made once, with parent 0 and no name, so that its times last.
    Make { id: u32, parent: u32, kind: Kind, name: &'a str, created_ns: u64, modified_ns: u64, priority: u8 },
    /// New contents. `reset`: chunks that are not listed are holes; otherwise they stay. What lies at or past the end is
    /// dropped. Indexes ascend. For a directory, with nothing listed and length 0, only the time counts.
    Content { id: u32, modified_ns: u64, len: u64, reset: bool, chunks: &'a [(u64, u64)] },
    /// The node has this name now; what had it, is gone.
    Rename { id: u32, parent: u32, name: &'a str, replaced: Option<u32> },
    /// The node's name is gone.
    Remove { id: u32 },
    /// Another priority.
    Priority { id: u32, priority: u8 },
    /// A chunk's bytes are elsewhere, if they are at `from` until now.
    Move { id: u32, chunk: u64, from: u64, to: u64 },
}

const MAKE_FILE: u8 = 1;
const MAKE_DIRECTORY: u8 = 2;
const CONTENT: u8 = 3;
const CONTENT_RESET: u8 = 4;
const RENAME: u8 = 5;
const RENAME_REPLACING: u8 = 6;
const REMOVE: u8 = 7;
const PRIORITY: u8 = 8;
const MOVE: u8 = 9;

/// Appends `entry`'s body to `out`.
pub(super) fn encode(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let start = |out: &mut Vec<u8>, tag: u8, id: u32| {
        out.push(tag);
        put_varint(out, id.into());
    };
    match *entry {
        Entry::Make { id, parent, kind, name, created_ns, modified_ns, priority } => {
            start(out, if kind == Kind::File { MAKE_FILE } else { MAKE_DIRECTORY }, id);
            put_varint(out, parent.into());
            put_name(out, name);
            out.extend_from_slice(&created_ns.to_le_bytes());
            out.extend_from_slice(&modified_ns.to_le_bytes());
            out.push(priority);
        }
        Entry::Content { id, modified_ns, len, reset, chunks } => {
            start(out, if reset { CONTENT_RESET } else { CONTENT }, id);
            out.extend_from_slice(&modified_ns.to_le_bytes());
            put_varint(out, len);
            put_chunks(out, chunks);
        }
        Entry::Rename { id, parent, name, replaced } => {
            start(out, if replaced.is_some() { RENAME_REPLACING } else { RENAME }, id);
            put_varint(out, parent.into());
            put_name(out, name);
            if let Some(replaced) = replaced {
                put_varint(out, replaced.into());
            }
        }
        Entry::Remove { id } => start(out, REMOVE, id),
        Entry::Priority { id, priority } => {
            start(out, PRIORITY, id);
            out.push(priority);
        }
        Entry::Move { id, chunk, from, to } => {
            start(out, MOVE, id);
            put_varint(out, chunk);
            out.extend_from_slice(&from.to_le_bytes());
            out.extend_from_slice(&to.to_le_bytes());
        }
    }
}

/// The entry of which `body` is all. `chunks` is where its chunks go, if it lists any.
pub(super) fn decode<'a>(body: &'a [u8], chunks: &'a mut Vec<(u64, u64)>) -> Result<Entry<'a>, Malformed> {
    let mut fields = Cursor::new(body);
    let tag = fields.u8()?;
    let id = fields.id()?;
    let entry = match tag {
        MAKE_FILE | MAKE_DIRECTORY => {
            let kind = if tag == MAKE_FILE { Kind::File } else { Kind::Directory };
            let (parent, name) = fields.place(id)?;
            if id == ROOT && kind == Kind::File {
                return Err(Malformed("the root as a file"));
            }
            let (created_ns, modified_ns, priority) = (fields.u64()?, fields.u64()?, fields.priority()?);
            Entry::Make { id, parent, kind, name, created_ns, modified_ns, priority }
        }
        CONTENT | CONTENT_RESET => {
            let (modified_ns, len) = (fields.u64()?, fields.varint()?);
            fields.chunks(chunks)?;
            Entry::Content { id, modified_ns, len, reset: tag == CONTENT_RESET, chunks }
        }
        RENAME | RENAME_REPLACING => {
            let (parent, name) = fields.place(id)?;
            let replaced = if tag == RENAME { None } else { Some(fields.id()?) };
            if id == ROOT || replaced.is_some_and(|replaced| replaced == ROOT || replaced == id) {
                return Err(Malformed("the root, or a node by itself, renamed or replaced"));
            }
            Entry::Rename { id, parent, name, replaced }
        }
        REMOVE if id == ROOT => return Err(Malformed("the root removed")),
        REMOVE => Entry::Remove { id },
        PRIORITY => Entry::Priority { id, priority: fields.priority()? },
        MOVE => {
            let (chunk, from, to) = (fields.varint()?, fields.u64()?, fields.u64()?);
            if from == 0 || to == 0 {
                return Err(Malformed("a hole moved"));
            }
            Entry::Move { id, chunk, from, to }
        }
        _ => return Err(Malformed("an unknown kind of entry")),
    };
    fields.end()?;
    Ok(entry)
}
