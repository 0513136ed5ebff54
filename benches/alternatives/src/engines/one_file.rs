//! The limits of reading from disk, or from the page cache: all contents in one file, found by number.

use crate::{
    content::Contents,
    data::{Dataset, Key},
    engine::{About, Can, Engine, Outcome, Session, Setup},
};
use memmap2::Mmap;
use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, Write},
    os::unix::fs::FileExt,
};

/// All files in a row in one.
struct OneFile {
    file: File,
    starts: Vec<u64>,
}

impl OneFile {
    fn open(setup: &Setup) -> Outcome<Self> {
        let path = setup.directory.join("everything");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Self { file, starts: vec![0] })
    }

    fn fill(&mut self, data: &'static Dataset, contents: &mut Contents) -> Outcome<()> {
        let mut out = BufWriter::with_capacity(1 << 20, &self.file);
        let mut end = 0;
        for id in data.ids() {
            contents.with(id, 0, data.lengths.of(id), |bytes| out.write_all(bytes))?;
            end += data.lengths.of(id) as u64;
            self.starts.push(end);
        }
        Ok(out.flush()?)
    }

    #[inline]
    fn range(&self, id: u32) -> std::ops::Range<u64> {
        self.starts[id as usize]..self.starts[id as usize + 1]
    }
}

const CAN: Can = Can { overflow: true, limit: true, ..Can::READ_ONLY };

/// By a system call each.
pub(crate) struct Pread(OneFile);

impl Engine for Pread {
    const ABOUT: About = About {
        name: "pread",
        package: None,
        fairness: "One file, always open, one pread for each read, where its number says: no names, no checksums. Read-only.",
        can: CAN,
    };
    type Session<'a> = PreadSession<'a>;

    fn open(setup: &Setup) -> Outcome<Self> {
        OneFile::open(setup).map(Self)
    }

    fn session(&self, _: usize) -> Outcome<PreadSession<'_>> {
        Ok(PreadSession { store: &self.0, scratch: Vec::new() })
    }

    fn fill(&mut self, data: &'static Dataset, contents: &mut Contents) -> Outcome<()> {
        self.0.fill(data, contents)
    }

    fn evict(&self) -> Outcome<()> {
        Ok(())
    }
}

pub(crate) struct PreadSession<'a> {
    store: &'a OneFile,
    scratch: Vec<u8>,
}

impl Session for PreadSession<'_> {
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.copy(key, &mut scratch)?;
        let looked = look(&scratch);
        self.scratch = scratch;
        Ok(Some(looked))
    }

    fn copy(&mut self, key: Key<'_>, into: &mut Vec<u8>) -> Outcome<bool> {
        let range = self.store.range(key.id);
        into.resize((range.end - range.start) as usize, 0);
        self.store.file.read_exact_at(into, range.start)?;
        Ok(true)
    }
}

/// By loads from a mapping.
pub(crate) struct Mapping {
    store: OneFile,
    map: Option<Mmap>,
}

impl Engine for Mapping {
    const ABOUT: About = About {
        name: "mapping",
        package: None,
        fairness: "One file, mapped once, read where its number says: no names, no checksums. Read-only; whoever truncates the \
                   file kills the process.",
        can: CAN,
    };
    type Session<'a> = &'a Mapping;

    fn open(setup: &Setup) -> Outcome<Self> {
        Ok(Self { store: OneFile::open(setup)?, map: None })
    }

    fn session(&self, _: usize) -> Outcome<&Mapping> {
        Ok(self)
    }

    fn fill(&mut self, data: &'static Dataset, contents: &mut Contents) -> Outcome<()> {
        self.store.fill(data, contents)?;
        // SAFETY: the file is in this process's own directory, and nobody writes to it from now on.
        self.map = Some(unsafe { Mmap::map(&self.store.file)? });
        Ok(())
    }

    fn evict(&self) -> Outcome<()> {
        Ok(())
    }
}

impl Session for &Mapping {
    #[inline]
    fn touch<R>(&mut self, key: Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Outcome<Option<R>> {
        let range = self.store.range(key.id);
        let map = self.map.as_deref().ok_or("nothing was filled in")?;
        Ok(Some(look(&map[range.start as usize..range.end as usize])))
    }
}
