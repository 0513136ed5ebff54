//! The limit of reading at all: the bytes lie where the request's number says. Copying from it is memcpy.

use crate::{
    content::Contents,
    data::{Dataset, Key},
    engine::{About, Can, Engine, Outcome, Session, Setup},
};

/// All files in a row.
pub(crate) struct BareArray {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Engine for BareArray {
    const ABOUT: About = About {
        name: "bare_array",
        package: None,
        fairness: "All contents in one Vec, found by number and not by name: what the memory allows. Its copy is memcpy. Read-only.",
        can: Can { limit: true, ..Can::READ_ONLY },
    };
    type Session<'a> = &'a BareArray;

    fn open(_: &Setup) -> Outcome<Self> {
        Ok(Self { bytes: Vec::new(), starts: Vec::new() })
    }

    fn session(&self, _: usize) -> Outcome<&BareArray> {
        Ok(self)
    }

    fn fill(&mut self, data: &'static Dataset, contents: &mut Contents) -> Outcome<()> {
        self.bytes.reserve_exact(data.total_bytes() as usize);
        for id in data.ids() {
            self.starts.push(self.bytes.len());
            contents.with(id, 0, data.lengths.of(id), |file| self.bytes.extend_from_slice(file));
        }
        self.starts.push(self.bytes.len());
        Ok(())
    }
}

impl Session for &BareArray {
    #[inline]
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        let id = key.id as usize;
        Ok(Some(look(&self.bytes[self.starts[id]..self.starts[id + 1]])))
    }
}
