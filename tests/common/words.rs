//! Contents that describe themselves: each 8-byte word says which file it belongs to, which version of the file it was
//! written by, and where in the file it stands. So every range of a file can be checked on its own, and a mixture of
//! versions, of files or of places shows. A zero word is a hole.

const VERSION_BITS: u32 = 28;
const PLACE_BITS: u32 = 22;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Word {
    pub(crate) id: u64,
    pub(crate) version: u64,
    pub(crate) place: u64,
}

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
const ODD_INVERSE: u64 = {
    // Newton: each step doubles the correct low bits.
    let mut inverse = ODD;
    let mut step = 0;
    while step < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(ODD.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
};

fn encode(word: Word) -> u64 {
    debug_assert!(word.id > 0 && word.id < 1 << (64 - VERSION_BITS - PLACE_BITS));
    debug_assert!(word.version < 1 << VERSION_BITS && word.place < 1 << PLACE_BITS);
    let plain = (((word.id << VERSION_BITS) | word.version) << PLACE_BITS) | word.place;
    let mixed = plain.wrapping_mul(ODD);
    mixed ^ (mixed >> 32)
}

fn decode(bits: u64) -> Word {
    let plain = (bits ^ (bits >> 32)).wrapping_mul(ODD_INVERSE);
    Word {
        id: plain >> (VERSION_BITS + PLACE_BITS),
        version: (plain >> PLACE_BITS) & ((1 << VERSION_BITS) - 1),
        place: plain & ((1 << PLACE_BITS) - 1),
    }
}

/// The words of contents; `None` is a hole.
pub(crate) fn decoded(bytes: &[u8]) -> impl Iterator<Item = Option<Word>> {
    assert_eq!(bytes.len() % 8, 0, "{} bytes", bytes.len());
    bytes.chunks_exact(8).map(|word| match u64::from_le_bytes(word.try_into().unwrap()) {
        0 => None,
        bits => Some(decode(bits)),
    })
}

/// Words `from_word..to_word` of file `id` as `version` writes them.
pub(crate) fn image(id: u64, version: u64, from_word: u64, to_word: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(((to_word - from_word) * 8) as usize);
    for place in from_word..to_word {
        out.extend_from_slice(&encode(Word { id, version, place }).to_le_bytes());
    }
    out
}

/// A stretch of one version: words `from..to`; `None` is a hole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) struct Run {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) version: Option<u64>,
}

/// What a read of file `id` at `offset` found, as stretches of versions.
///
/// # Panics
/// Where a word belongs to another file or to another place.
#[track_caller]
pub(crate) fn runs_of(id: u64, offset: u64, bytes: &[u8]) -> Vec<Run> {
    assert_eq!((offset % 8, bytes.len() % 8), (0, 0), "file {id}: {} bytes at {offset}", bytes.len());
    let mut runs: Vec<Run> = Vec::new();
    for (index, word) in decoded(bytes).enumerate() {
        let place = offset / 8 + index as u64;
        let version = word.map(|word| {
            assert_eq!((word.id, word.place), (id, place), "a foreign word in a read at {offset}: {word:?}");
            word.version
        });
        match runs.last_mut() {
            Some(last) if last.version == version => last.to = place + 1,
            _ => runs.push(Run { from: place, to: place + 1, version }),
        }
    }
    runs
}

/// The part of `runs` within words `from..to`.
pub(crate) fn clip(runs: &[Run], from: u64, to: u64) -> Vec<Run> {
    runs.iter()
        .map(|run| Run { from: run.from.max(from), to: run.to.min(to), version: run.version })
        .filter(|run| run.from < run.to)
        .collect()
}

/// Writes `version` (or a hole) over words `from..to`; what lies between the old end and `from` becomes a hole.
pub(crate) fn overlay(runs: &[Run], from: u64, to: u64, version: Option<u64>) -> Vec<Run> {
    let end = runs.last().map_or(0, |run| run.to);
    let mut out = clip(runs, 0, from);
    if end < from {
        out.push(Run { from: end, to: from, version: None });
    }
    out.push(Run { from, to, version });
    out.extend(clip(runs, to, u64::MAX));
    out.retain(|run| run.from < run.to);
    out.dedup_by(|next, last| {
        let one = next.version == last.version;
        if one {
            last.to = next.to;
        }
        one
    });
    out
}

/// Bytes as lower-case hexadecimal text, for reads that want UTF-8.
pub(crate) fn to_text(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

#[track_caller]
pub(crate) fn from_text(text: &[u8]) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).expect("a hexadecimal digit") as u8;
    text.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
