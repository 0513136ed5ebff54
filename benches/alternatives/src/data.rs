//! The files of a scene: how many, their paths, their lengths. Paths are what people have: some directories deep, a word
//! and a number, an ending; 30 to 50 bytes.

use crate::requests::Rng;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Files to a directory.
const FAN_OUT: u32 = 64;

const PLACES: [&str; 8] = ["srv", "home", "data", "build", "media", "cache", "work", "www"];
const WORDS: [&str; 16] = [
    "photos", "render", "shaders", "module", "invoice", "texture", "reports", "session", "assets", "thumbs",
    "journal", "archive", "styles", "scripts", "samples", "exports",
];
const ENDINGS: [&str; 8] = ["json", "webp", "html", "rs", "css", "txt", "bin", "png"];

/// How long files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Lengths {
    Fixed(u32),
    /// As many from 4 to 8 KiB as from 128 to 256: the logarithm is uniform.
    LogUniform {
        least: u32,
        most: u32,
    },
}

impl Lengths {
    pub(crate) fn most(self) -> usize {
        match self {
            Lengths::Fixed(len) => len as usize,
            Lengths::LogUniform { most, .. } => most as usize,
        }
    }

    /// Of file `id`; every version of it has the same.
    #[inline]
    pub(crate) fn of(self, id: u32) -> usize {
        match self {
            Lengths::Fixed(len) => len as usize,
            Lengths::LogUniform { least, most } => {
                let share = Rng::new(u64::from(id) ^ 0x006c_656e).unit();
                (f64::from(least) * (f64::from(most) / f64::from(least)).powf(share)) as usize
            }
        }
    }

    pub(crate) fn mean(self) -> f64 {
        match self {
            Lengths::Fixed(len) => f64::from(len),
            Lengths::LogUniform { least, most } => {
                f64::from(most - least) / (f64::from(most) / f64::from(least)).ln()
            }
        }
    }
}

/// What a request names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    /// Only for the limits, which have no names.
    pub(crate) id: u32,
    pub(crate) path: &'a str,
}

/// The files' names, and their lengths.
pub(crate) struct Dataset {
    names: String,
    /// Where each path ends in `names`.
    ends: Vec<u32>,
    pub(crate) lengths: Lengths,
}

/// Appends the directory of file `id`.
pub(crate) fn push_directory(id: u32, out: &mut String) {
    let directory = id / FAN_OUT;
    let place = PLACES[directory as usize % PLACES.len()];
    let word = WORDS[(directory as usize / PLACES.len()) % WORDS.len()];
    let (upper, lower) = (directory / 100, directory % 100);
    write!(out, "/{place}/{word}/{upper:03}/{lower:02}").expect("strings take everything");
}

/// Appends the path of file `id`.
pub(crate) fn push_path(id: u32, out: &mut String) {
    push_directory(id, out);
    out.push('/');
    push_name(id, out);
}

fn push_name(id: u32, out: &mut String) {
    let word = WORDS[(id.wrapping_mul(0x9e37_79b9) >> 28) as usize];
    let ending = ENDINGS[(id.wrapping_mul(0x85eb_ca6b) >> 29) as usize];
    write!(out, "{word}-{id:06}.{ending}").expect("strings take everything");
}

/// How files are spread over directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Layout {
    /// 64 to a directory, four directories deep.
    Tree,
    /// All in one.
    Flat,
}

/// The one directory of [`Layout::Flat`].
pub(crate) const FLAT_DIRECTORY: &str = "/data/photos/";

impl Dataset {
    pub(crate) fn new(files: u32, lengths: Lengths, layout: Layout) -> Self {
        let (mut names, mut ends) = (String::new(), Vec::with_capacity(files as usize));
        for id in 0..files {
            match layout {
                Layout::Tree => push_path(id, &mut names),
                Layout::Flat => {
                    names.push_str(FLAT_DIRECTORY);
                    push_name(id, &mut names);
                }
            }
            ends.push(u32::try_from(names.len()).expect("names of all files are below 4 GiB"));
        }
        names.shrink_to_fit();
        Self { names, ends, lengths }
    }

    pub(crate) fn files(&self) -> u32 {
        self.ends.len() as u32
    }

    pub(crate) fn ids(&self) -> std::ops::Range<u32> {
        0..self.files()
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.ids().map(|id| self.lengths.of(id) as u64).sum()
    }

    #[inline]
    pub(crate) fn key(&self, id: u32) -> Key<'_> {
        let start = if id == 0 { 0 } else { self.ends[id as usize - 1] };
        Key { id, path: &self.names[start as usize..self.ends[id as usize] as usize] }
    }

    /// Asks the cache for a path that will be needed soon. Who looks a path up has usually just made it.
    #[inline]
    pub(crate) fn prefetch(&self, id: u32) {
        let start = if id == 0 { 0 } else { self.ends[id as usize - 1] };
        prefetch(self.names.as_bytes().as_ptr().wrapping_add(start as usize));
    }
}

#[inline]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint, it faults on no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch(at.cast(), std::arch::x86_64::_MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn paths_are_of_the_usual_length_and_differ() {
        let data = Dataset::new(200_000, Lengths::Fixed(1024), Layout::Tree);
        let paths: HashSet<&str> = data.ids().map(|id| data.key(id).path).collect();
        assert_eq!(paths.len(), 200_000);
        assert!(paths.iter().all(|path| (30..=50).contains(&path.len())));
    }

    #[test]
    fn lengths_have_the_mean_they_claim() {
        let lengths = Lengths::LogUniform { least: 4 << 10, most: 256 << 10 };
        let data = Dataset::new(50_000, lengths, Layout::Flat);
        let mean = data.total_bytes() as f64 / 50_000.0;
        assert!((mean / lengths.mean() - 1.0).abs() < 0.02, "{mean} of {}", lengths.mean());
    }
}
