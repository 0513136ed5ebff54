//! Every way of reading a file.

use memfs::{FileRef, MemFs, Result};
use std::io::Read;

/// What a read found: words from `offset` on, and whether it asked for more than it got.
pub(crate) struct Found {
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) to_the_end: bool,
}

fn whole(bytes: Vec<u8>) -> Found {
    Found { offset: 0, bytes, to_the_end: true }
}

pub(crate) const WAYS: u64 = 9;

/// Reads `path` by one of the ways; `at_word` and `words` are for those that read a range.
pub(crate) fn read(fs: &MemFs, path: &str, way: u64, at_word: u64, words: usize) -> Result<Found> {
    let range = |read: &dyn Fn(&mut [u8], u64) -> Result<usize>| {
        let mut bytes = vec![0xEE; words * 8];
        let n = read(&mut bytes, at_word * 8)?;
        bytes.truncate(n);
        Ok(Found { offset: at_word * 8, to_the_end: n < words * 8, bytes })
    };
    match way % WAYS {
        0 => fs.read(path).map(whole),
        1 => fs.read_with(path, |bytes| whole(bytes.to_vec())),
        2 => fs.get(path).map(|held| whole(held.to_vec())),
        3 => fs.get(path).map(|held| whole(chunks(&held))),
        4 => fs.read_bytes(path).map(|bytes| whole(bytes.to_vec())),
        5 => range(&|buf, offset| fs.read_at(path, buf, offset)),
        6 => {
            let file = fs.open(path)?;
            range(&|buf, offset| file.read_at(buf, offset))
        }
        7 => {
            // One call of `read` is one version; it may give less than was asked for.
            let mut file = fs.open(path)?;
            let mut bytes = vec![0xEE; words * 8];
            let n = file.read(&mut bytes).map_err(unwrapped)?;
            bytes.truncate(n - n % 8);
            Ok(Found { offset: 0, bytes, to_the_end: false })
        }
        _ => {
            let metadata = fs.metadata(path)?;
            assert_eq!(metadata.len() % 8, 0, "a length that nobody made");
            range(&|buf, offset| fs.read_at(path, buf, offset))
        }
    }
}

pub(crate) fn chunks(held: &FileRef) -> Vec<u8> {
    let joined = held.chunks().collect::<Vec<_>>().concat();
    assert_eq!(joined.len(), held.len());
    joined
}

pub(crate) fn unwrapped(error: std::io::Error) -> memfs::Error {
    *error.into_inner().expect("an error of the store").downcast().expect("an error of the store")
}
