//! A run of operations, encoded: what one frame of the journal carries, written whole or not at all.

use super::{
    entry::{self, Entry},
    wire::{Cursor, Malformed, put_varint},
};

/// Operations that follow each other, with their entries. Stays as it is when an append fails, to be given again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Batch {
    pub(super) first_seq: u64,
    pub(super) operations: u32,
    pub(super) entries: u32,
    pub(super) payload: Vec<u8>,
    body: Vec<u8>,
}

impl Batch {
    /// Nothing yet; the first operation will be number `first_seq`.
    pub(crate) fn new(first_seq: u64) -> Self {
        Self { first_seq, operations: 0, entries: 0, payload: Vec::new(), body: Vec::new() }
    }

    /// Nothing again, in the same memory.
    pub(crate) fn restart(&mut self, first_seq: u64) {
        self.payload.clear();
        (self.first_seq, self.operations, self.entries) = (first_seq, 0, 0);
    }

    /// Adds an entry to the operation that has not ended.
    pub(crate) fn push(&mut self, entry: &Entry<'_>) {
        self.body.clear();
        entry::encode(entry, &mut self.body);
        put_varint(&mut self.payload, self.body.len() as u64);
        self.payload.extend_from_slice(&crc32c::crc32c(&self.body).to_le_bytes());
        self.payload.extend_from_slice(&self.body);
        self.entries += 1;
    }

    /// Ends an operation: it counts one, with or without entries.
    pub(crate) fn end_operation(&mut self) {
        self.operations += 1;
    }

    /// Number of the first operation.
    pub(crate) fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// Number of the operation after the last.
    pub(crate) fn next_seq(&self) -> u64 {
        self.first_seq + u64::from(self.operations)
    }

    /// Whether no operation has ended.
    pub(crate) fn is_empty(&self) -> bool {
        self.operations == 0
    }

    /// What its entries take.
    pub(crate) fn len_bytes(&self) -> usize {
        self.payload.len()
    }

    /// Adds all of the batch that follows.
    pub(super) fn extend(&mut self, next: &Batch) {
        debug_assert_eq!(self.next_seq(), next.first_seq);
        self.operations += next.operations;
        self.entries += next.entries;
        self.payload.extend_from_slice(&next.payload);
    }

    /// As it came from the disk.
    pub(super) fn from_disk(first_seq: u64, operations: u32, entries: u32, payload: Vec<u8>) -> Self {
        Self { first_seq, operations, entries, payload, body: Vec::new() }
    }
}

/// An entry's place in its payload, and its body if the checksum is right.
pub(super) struct Framed<'a> {
    pub(super) at: usize,
    pub(super) body: Result<&'a [u8], Malformed>,
}

/// The entries of a payload, one after the other; ends after one whose length makes no sense.
pub(super) struct Entries<'a> {
    payload_len: usize,
    rest: Cursor<'a>,
    check: bool,
}

impl<'a> Entries<'a> {
    /// `check` each entry's own checksum: where the frame's has been found right, there is no need.
    pub(super) fn new(payload: &'a [u8], check: bool) -> Self {
        Self { payload_len: payload.len(), rest: Cursor::new(payload), check }
    }

    fn body(&mut self) -> Result<(&'a [u8], bool), Malformed> {
        let len = self.rest.varint()?;
        let crc = self.rest.u32()?;
        let len = usize::try_from(len).map_err(|_| Malformed("an entry cut short"))?;
        let body = self.rest.take(len)?;
        Ok((body, !self.check || crc32c::crc32c(body) == crc))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Framed<'a>;

    fn next(&mut self) -> Option<Framed<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let at = self.payload_len - self.rest.left();
        let body = match self.body() {
            Ok((body, true)) => Ok(body),
            Ok((_, false)) => Err(Malformed("an entry whose checksum is another")),
            Err(malformed) => {
                self.rest = Cursor::new(&[]);
                Err(malformed)
            }
        };
        Some(Framed { at, body })
    }
}
