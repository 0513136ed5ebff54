//! Numbers, names and lists of chunks as bytes: little endian, varints of seven bits a byte, low bits first.

use super::entry::ROOT;

/// Bytes that verify, but are not what this version writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed(pub(super) &'static str);

/// Longest name of a file or directory.
const MAX_NAME_BYTES: usize = 255;

const MAX_PRIORITY: u8 = 10;

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_name(out: &mut Vec<u8>, name: &str) {
    assert!(name.len() <= MAX_NAME_BYTES, "a path was let in with a name too long: {name}");
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
}

/// A count, then for each chunk the distance from the one before (the first's index plus one) and its extent. No distance
/// is 0, so that no sector of a frame is all zeros.
pub(super) fn put_chunks(out: &mut Vec<u8>, chunks: &[(u64, u64)]) {
    debug_assert!(chunks.is_sorted_by(|a, b| a.0 < b.0), "indexes ascend");
    put_varint(out, chunks.len() as u64);
    let mut past = 0;
    for &(index, extent) in chunks {
        put_varint(out, index + 1 - past);
        out.extend_from_slice(&extent.to_le_bytes());
        past = index + 1;
    }
}

/// Fields, taken from the front.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("bytes after the last field")) }
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed("a field cut short"))?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes")))
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("a number beyond 64 bits"))
    }

    /// A node's number; 0 is none.
    #[inline]
    pub(super) fn id(&mut self) -> Result<u32, Malformed> {
        match self.varint()?.try_into() {
            Ok(0) | Err(_) => Err(Malformed("a node number of 0 or beyond 32 bits")),
            Ok(id) => Ok(id),
        }
    }

    #[inline]
    pub(super) fn priority(&mut self) -> Result<u8, Malformed> {
        match self.u8()? {
            priority @ 0..=MAX_PRIORITY => Ok(priority),
            _ => Err(Malformed("a priority beyond 10")),
        }
    }

    /// The parent and name of node `id`: the root has none, all others have both.
    #[inline]
    pub(super) fn place(&mut self, id: u32) -> Result<(u32, &'a str), Malformed> {
        let parent = self.varint()?.try_into().map_err(|_| Malformed("a parent's number beyond 32 bits"))?;
        let len = self.u8()?;
        let name =
            str::from_utf8(self.take(len.into())?).map_err(|_| Malformed("a name that is not UTF-8"))?;
        let named = parent != 0 && parent != id && is_name(name);
        if named && id != ROOT || id == ROOT && parent == 0 && name.is_empty() {
            return Ok((parent, name));
        }
        Err(Malformed("a name or parent that no node can have"))
    }

    /// Chunks as [`put_chunks`] writes them, into `chunks`.
    #[inline]
    pub(super) fn chunks(&mut self, chunks: &mut Vec<(u64, u64)>) -> Result<(), Malformed> {
        chunks.clear();
        let count = self.varint()?;
        // Each takes nine bytes at least.
        if count > self.left() as u64 / 9 {
            return Err(Malformed("a list of chunks cut short"));
        }
        chunks.reserve(count as usize);
        let mut past = 0u64;
        for _ in 0..count {
            let distance = self.varint()?;
            past = past.checked_add(distance).ok_or(Malformed("a chunk's index beyond 64 bits"))?;
            if distance == 0 {
                return Err(Malformed("a chunk listed twice"));
            }
            chunks.push((past - 1, self.u64()?));
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        // To the end in any case: many bytes at once.
        && !name.bytes().fold(false, |found, byte| found | matches!(byte, 0 | b'/' | b'\\'))
}

/// A fixed place in a header.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
