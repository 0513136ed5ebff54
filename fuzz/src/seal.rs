//! Checksums and names put right in any bytes, so that what is behind them is looked at. Written from `docs/format.md`.

const SECTOR: usize = 512;

/// Whose bytes they are to be.
#[derive(Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) version: [u8; 2],
    pub(crate) store_id: [u8; 8],
    /// The number in the file's name.
    pub(crate) number: u64,
    pub(crate) chunk_bytes: [u8; 8],
    pub(crate) params: [u8; 64],
    pub(crate) chain: [u8; 4],
}

impl Identity {
    /// As the first sector of a journal or checkpoint has it.
    pub(crate) fn of(sector: &[u8]) -> Self {
        Self {
            version: array(sector, 8),
            store_id: array(sector, 16),
            number: u64::from_le_bytes(array(sector, 24)),
            chunk_bytes: array(sector, 32),
            params: array(sector, 64),
            chain: array(sector, 128),
        }
    }

    fn stamp(&self, sector: &mut [u8], magic: &[u8; 8]) {
        put(sector, 0, magic);
        put(sector, 8, &self.version);
        put(sector, 16, &self.store_id);
        put(sector, 24, &self.number.to_le_bytes());
        put(sector, 32, &self.chunk_bytes);
        put(sector, 64, &self.params);
        put(sector, 128, &self.chain);
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("as many")
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    bytes[at..at + what.len()].copy_from_slice(what);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn crc(parts: &[&[u8]]) -> [u8; 4] {
    parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part)).to_le_bytes()
}

fn seal_sector(sector: &mut [u8]) {
    let sum = crc(&[&sector[..SECTOR - 4]]);
    put(sector, SECTOR - 4, &sum);
}

/// Puts the checksums of a journal file right: the header's, and those of frames that follow each other, of their entries, and
/// of the mark; with `identity`, also all else by which it is known.
pub(crate) fn seal_journal(bytes: &mut Vec<u8>, identity: Option<&Identity>) {
    bytes.resize(bytes.len().max(2 * SECTOR).next_multiple_of(SECTOR), 0);
    let len = bytes.len() as u64;
    if let Some(identity) = identity {
        identity.stamp(&mut bytes[..SECTOR], b"MFSjourn");
        put(bytes, 40, &len.to_le_bytes());
    }
    seal_sector(&mut bytes[..SECTOR]);
    let (mut at, mut chain) = (SECTOR, array::<4>(bytes, 128));
    let mut operation = u64_at(bytes, 24);
    while at + 64 <= bytes.len() {
        let Some(frame_len) = seal_frame(bytes, at, &mut chain, identity, &mut operation) else { break };
        at += frame_len;
    }
    if at + SECTOR <= bytes.len() && bytes[at] == 1 {
        if let Some(identity) = identity {
            put(bytes, at, b"\x01synced\x02\x01\0");
            put(bytes, at + 16, &identity.store_id);
            put(bytes, at + 24, &operation.to_le_bytes());
            put(bytes, at + 32, &len.to_le_bytes());
        }
        put(bytes, at + 40, &chain);
        let sum = crc(&[&bytes[at..at + 44], &(at as u64).to_le_bytes()]);
        put(bytes, at + 44, &sum);
    }
}

/// How long the frame at `at` is, if there is one.
fn seal_frame(
    bytes: &mut [u8],
    at: usize,
    chain: &mut [u8; 4],
    identity: Option<&Identity>,
    operation: &mut u64,
) -> Option<usize> {
    if bytes[at..at + 4] != *b"MFSf" {
        return None;
    }
    let entries_len = usize::try_from(u64_at(bytes, at + 40)).ok()?;
    let frame_len = entries_len.checked_add(64 + 8)?.checked_next_multiple_of(SECTOR)?;
    if frame_len > bytes.len() - at {
        return None;
    }
    let count = seal_entries(&mut bytes[at + 64..][..entries_len]);
    if let Some(identity) = identity {
        let len = bytes.len() as u64;
        put(bytes, at, b"MFSframe\x01\0");
        put(bytes, at + 16, &identity.store_id);
        put(bytes, at + 24, &operation.to_le_bytes());
        put(bytes, at + 32, &len.to_le_bytes());
        put(bytes, at + 48, &count.to_le_bytes());
        bytes[at + 64 + entries_len..at + frame_len].fill(0xff);
        put(bytes, at + frame_len - 8, b"frameEND");
    }
    *operation = operation.wrapping_add(u32_at(bytes, at + 12).into());
    put(bytes, at + 52, chain);
    let sum = crc(&[&bytes[at + 64..][..entries_len]]);
    put(bytes, at + 56, &sum);
    *chain = crc(&[&bytes[at..at + 60], &(at as u64).to_le_bytes()]);
    put(bytes, at + 60, &chain[..]);
    Some(frame_len)
}

/// What of a front's sector is a frame's; a stamp is behind it.
const SHARE: usize = SECTOR - 8;

/// Puts the checksums and stamps of a front right, where frames follow each other. With `is_called` the bytes are of the store
/// that `good` is the front of, and follow the same operation.
pub(crate) fn seal_front(bytes: &mut Vec<u8>, good: &[u8], is_called: bool) {
    bytes.resize(bytes.len().max(2 * SECTOR).next_multiple_of(SECTOR), 0);
    let len = bytes.len() as u64;
    if is_called {
        bytes[..SECTOR].copy_from_slice(&good[..SECTOR]);
        put(bytes, 40, &len.to_le_bytes());
    }
    seal_sector(&mut bytes[..SECTOR]);
    let store_id = array::<8>(bytes, 16);
    let first = if is_called { &good[SECTOR..] } else { &bytes[SECTOR..] };
    let (mut operation, mut chain) = (u64_at(first, 24), array::<4>(first, 52));
    let mut at = SECTOR;
    while at + 64 <= bytes.len() && bytes[at..at + 4] == *b"MFSf" {
        let Some(frame_len) = usize::try_from(u64_at(bytes, at + 40))
            .ok()
            .and_then(|payload_len| payload_len.checked_add(64))
            .and_then(|stream_len| stream_len.div_ceil(SHARE).checked_mul(SECTOR))
            .filter(|frame_len| *frame_len <= bytes.len() - at)
        else {
            break;
        };
        let frame = &mut bytes[at..at + frame_len];
        let mut stream: Vec<u8> =
            frame.chunks_exact(SECTOR).flat_map(|sector| sector[..SHARE].iter().copied()).collect();
        let payload_len = u64_at(&stream, 40) as usize;
        let count = seal_entries(&mut stream[64..64 + payload_len]);
        if is_called {
            put(&mut stream, 0, b"MFSframe\x01\0");
            put(&mut stream, 16, &store_id);
            put(&mut stream, 24, &operation.to_le_bytes());
            put(&mut stream, 32, &len.to_le_bytes());
            put(&mut stream, 48, &count.to_le_bytes());
        }
        let stamp = stamp(u64::from_le_bytes(store_id), u64_at(&stream, 24));
        operation = operation.wrapping_add(u32_at(&stream, 12).into());
        put(&mut stream, 52, &chain);
        let sum = crc(&[&stream[64..64 + payload_len]]);
        put(&mut stream, 56, &sum);
        chain = crc(&[&stream[..60], &(at as u64).to_le_bytes()]);
        put(&mut stream, 60, &chain);
        for (sector, share) in frame.chunks_exact_mut(SECTOR).zip(stream.chunks_exact(SHARE)) {
            sector[..SHARE].copy_from_slice(share);
            sector[SHARE..].copy_from_slice(&stamp);
        }
        at += frame_len;
    }
}

fn stamp(store_id: u64, operation: u64) -> [u8; 8] {
    let mut x = store_id.wrapping_add(operation.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ x >> 31).to_le_bytes()
}

/// How many there are.
fn seal_entries(entries: &mut [u8]) -> u32 {
    let (mut at, mut count) = (0, 0);
    while let Some((body_len, past)) = varint(&entries[at..]) {
        let body = at + past + 4;
        let Some(end) = body.checked_add(body_len).filter(|end| *end <= entries.len()) else { break };
        let sum = crc(&[&entries[body..end]]);
        put(entries, at + past, &sum);
        (at, count) = (end, count + 1);
    }
    count
}

fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0_usize;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        value |= ((byte & 0x7f) as usize) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// Puts the checksums of a checkpoint right: the header's and those of blocks that follow each other.
pub(crate) fn seal_checkpoint(bytes: &mut Vec<u8>, identity: Option<&Identity>) {
    bytes.resize(bytes.len().max(SECTOR).next_multiple_of(SECTOR), 0);
    let (mut at, mut index, mut sums) = (SECTOR, 0_u32, 0);
    let (mut directories, mut files) = (0_u64, 0_u64);
    while at + 32 <= bytes.len() && bytes[at..at + 4] == *b"MFSb" {
        if identity.is_some() {
            put(bytes, at + 8, &index.to_le_bytes());
        }
        let len = 32 + u32_at(bytes, at + 16) as usize;
        if len > bytes.len() - at {
            break;
        }
        let seed: [&[u8]; 5] = [
            &array::<8>(identity.map_or(&bytes[16..24], |identity| &identity.store_id), 0),
            &identity.map_or(array::<8>(bytes, 24), |identity| identity.number.to_le_bytes()),
            &array::<4>(bytes, at + 8),
            &bytes[at..at + 28],
            &bytes[at + 32..at + len],
        ];
        let sum = crc(&seed);
        put(bytes, at + 28, &sum);
        sums = crc32c::crc32c_append(sums, &sum);
        match u32_at(bytes, at + 4) {
            1 => directories += u64::from(u32_at(bytes, at + 12)),
            _ => files += u64::from(u32_at(bytes, at + 12)),
        }
        at += len.next_multiple_of(SECTOR);
        index += 1;
    }
    if let Some(identity) = identity {
        let len = bytes.len() as u64;
        identity.stamp(&mut bytes[..SECTOR], b"MFScheck");
        put(bytes, 12, &index.to_le_bytes());
        put(bytes, 40, &len.to_le_bytes());
        put(bytes, 48, &directories.to_le_bytes());
        put(bytes, 56, &files.to_le_bytes());
    }
    put(bytes, 132, &sums.to_le_bytes());
    seal_sector(&mut bytes[..SECTOR]);
}

/// Puts the checksums of a segment right: the header's and those of records at any unit.
pub(crate) fn seal_segment(bytes: &mut Vec<u8>, identity: Option<&Identity>) {
    bytes.resize(bytes.len().max(SECTOR), 0);
    if let Some(identity) = identity {
        put(bytes, 0, b"MFSs\x01\0\0\0");
        put(bytes, 8, &identity.params[8..16]);
        put(bytes, 16, &(identity.number as u32).to_le_bytes());
    }
    let sum = crc(&[&bytes[..60]]);
    put(bytes, 60, &sum);
    for at in (256..bytes.len().saturating_sub(32)).step_by(256) {
        let end = at + 32 + u32_at(bytes, at + 4) as usize;
        if bytes[at..at + 4] == *b"MFSx" && end <= bytes.len() {
            let sum = crc(&[&bytes[at..at + 28], &bytes[at + 32..end]]);
            put(bytes, at + 28, &sum);
        }
    }
}
