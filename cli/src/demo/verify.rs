//! Whether the store holds what the table says, every byte, through every way there is to read; and nothing else.
//!
//! A file that cannot be read is as wrong as one that reads wrong: both are findings, never a reason to stop.

use super::{
    table::{Place, State, Table},
    workers::on_each_file,
};
use crate::{
    digest::{Digest, digest},
    trouble::Trouble,
};
use indicatif::ProgressBar;
use memfs::{Error, FileKind, MemFs};
use std::io::Read;

/// Longer files are read in pieces: as one slice they would be a copy.
const WHOLE_MAX_BYTES: u64 = 1 << 20;
/// Longest file read into a buffer of its own: the demo's memory counts too.
const COPY_MAX_BYTES: u64 = 256 << 10;
const PIECE_BYTES: usize = 64 << 10;
/// Findings kept with their texts; all are counted.
const KEPT: usize = 20;

/// Something that is not as it has to be.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) reason: String,
}

/// The result.
#[derive(Default)]
pub(crate) struct Verdict {
    /// Files looked at, good and bad.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) mismatches: u64,
    /// The first of them.
    pub(crate) findings: Vec<Finding>,
}

impl Verdict {
    pub(crate) fn add(&mut self, finding: Finding) {
        self.mismatches += 1;
        if self.findings.len() < KEPT {
            self.findings.push(finding);
        }
    }
}

#[derive(Default)]
struct Verifier {
    verdict: Verdict,
    checker: Checker,
}

/// Verifies every file of the table on `threads` threads, then that the store lists nothing else.
pub(crate) fn verify(
    fs: &MemFs,
    table: &Table,
    threads: usize,
    progress: &ProgressBar,
) -> Result<Verdict, Trouble> {
    let verifiers = on_each_file(table, threads, Verifier::default, |verifier, id| {
        let file = table.file(id);
        match file.state() {
            State::Listed => {}
            State::Removed => {
                if let Err(finding) = verifier.checker.check_gone(fs, table, id, file.place()) {
                    verifier.verdict.add(finding);
                }
            }
            State::Loaded => {
                verifier.verify(fs, table, id);
                progress.inc(file.len_bytes());
            }
        }
        Ok(())
    })?;
    let mut all = Verdict::default();
    for Verifier { verdict, .. } in verifiers {
        all.files += verdict.files;
        all.bytes += verdict.bytes;
        let counted_only = verdict.mismatches - verdict.findings.len() as u64;
        verdict.findings.into_iter().for_each(|finding| all.add(finding));
        all.mismatches += counted_only;
    }
    let expected = table.loaded().count() as u64;
    match listed(fs) {
        Ok(found) if found == expected => {}
        Ok(found) => all.add(Finding {
            path: "/".into(),
            reason: format!("expected {expected} files listed, found {found}"),
        }),
        Err(error) => all.add(Finding { path: "/".into(), reason: format!("listing: {error}") }),
    }
    Ok(all)
}

/// Files that a walk over the whole store meets.
fn listed(fs: &MemFs) -> Result<u64, Error> {
    Ok(fs.walk("/")?.filter(|entry| entry.kind() == FileKind::File).count() as u64)
}

impl Verifier {
    fn verify(&mut self, fs: &MemFs, table: &Table, id: u32) {
        let file = table.file(id);
        self.verdict.files += 1;
        self.verdict.bytes += file.len_bytes();
        if let Err(finding) = self.checker.check(fs, table, id, u64::from(id)) {
            self.verdict.add(finding);
        }
        if file.place() != Place::Original
            && let Err(finding) = self.checker.check_gone(fs, table, id, Place::Original)
        {
            self.verdict.add(finding);
        }
    }
}

/// Checks single files; keeps its buffers.
#[derive(Default)]
pub(crate) struct Checker {
    path: String,
    piece: Vec<u8>,
}

impl Checker {
    /// Reads the file in the `way`-th of the ways that suit its length, and compares length and hash.
    pub(crate) fn check(&mut self, fs: &MemFs, table: &Table, id: u32, way: u64) -> Result<(), Finding> {
        let file = table.file(id);
        let expected = (file.len_bytes(), file.digest());
        table.path(id, &mut self.path);
        let reason = match self.contents(fs, file.len_bytes(), way) {
            Ok(found) if found == expected => match fs.metadata(&self.path) {
                Ok(metadata) if metadata.len() == expected.0 => return Ok(()),
                Ok(metadata) => {
                    format!("expected {} bytes in its metadata, found {}", expected.0, metadata.len())
                }
                Err(error) => error.to_string(),
            },
            Ok((len_bytes, _)) if len_bytes != expected.0 => {
                format!("expected {} bytes, found {len_bytes}", expected.0)
            }
            Ok((_, hash)) => format!("expected the hash {:016x}, found {hash:016x}", expected.1),
            Err(Trouble(error)) => error,
        };
        Err(Finding { path: self.path.clone(), reason })
    }

    /// Length and hash of the file at `self.path`.
    fn contents(&mut self, fs: &MemFs, len_bytes: u64, way: u64) -> Result<(u64, u64), Trouble> {
        let path = &self.path;
        let whole = |bytes: &[u8]| (bytes.len() as u64, digest(bytes));
        if len_bytes > WHOLE_MAX_BYTES {
            return match way % 2 {
                0 => self.streamed(fs),
                _ => self.by_offset(fs),
            };
        }
        Ok(match way % 6 {
            0 => fs.read_with(path, whole)?,
            1 if len_bytes <= COPY_MAX_BYTES => whole(&fs.get(path)?),
            1 => {
                let mut hash = Digest::default();
                fs.get(path)?.chunks().for_each(|chunk| hash.update(chunk));
                (hash.len_bytes(), hash.finish())
            }
            2 => whole(&fs.read_bytes(path)?),
            3 if len_bytes <= COPY_MAX_BYTES => whole(&fs.read(path)?),
            3 | 4 => self.streamed(fs)?,
            _ => self.by_offset(fs)?,
        })
    }

    fn streamed(&mut self, fs: &MemFs) -> Result<(u64, u64), Trouble> {
        self.piece.resize(PIECE_BYTES, 0);
        let (mut file, mut hash) = (fs.open(&self.path)?, Digest::default());
        loop {
            match file.read(&mut self.piece)? {
                0 => return Ok((hash.len_bytes(), hash.finish())),
                got => hash.update(&self.piece[..got]),
            }
        }
    }

    fn by_offset(&mut self, fs: &MemFs) -> Result<(u64, u64), Trouble> {
        self.piece.resize(PIECE_BYTES, 0);
        let mut hash = Digest::default();
        loop {
            match fs.read_at(&self.path, &mut self.piece, hash.len_bytes())? {
                0 => return Ok((hash.len_bytes(), hash.finish())),
                got => hash.update(&self.piece[..got]),
            }
        }
    }

    /// That nothing is where the file was.
    fn check_gone(&mut self, fs: &MemFs, table: &Table, id: u32, place: Place) -> Result<(), Finding> {
        let path = table.path_at(id, place, &mut self.path);
        match fs.metadata(path) {
            Err(Error::NotFound { .. }) if !fs.exists(path) => Ok(()),
            Err(Error::NotFound { .. }) => {
                Err(Finding { path: path.to_owned(), reason: "exists, but has no metadata".into() })
            }
            Err(error) => Err(Finding { path: path.to_owned(), reason: error.to_string() }),
            Ok(_) => {
                Err(Finding { path: path.to_owned(), reason: "expected nothing here, found a file".into() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{demo::table::ROOT, random::Random};
    use std::path::Path;

    /// A store with one file for every way of reading, short and long, and a table that says so.
    fn store() -> (MemFs, Table) {
        let fs = MemFs::builder().memory_limit_bytes(32 << 20).build().expect("a store");
        let mut table = Table::new(Path::new("/"));
        let lengths = [0, 1, 700, 5_000, 70_000, 300_000, 1 << 20, 300_001, 2_500_000, 2_500_001, 9, 10];
        for (index, len_bytes) in lengths.into_iter().enumerate() {
            let id = table.add_file(ROOT, &format!("f{index}"), len_bytes).expect("room");
            let mut bytes = vec![0; len_bytes as usize];
            Random::new(1, u64::from(id)).fill(&mut bytes);
            fs.write(format!("/f{index}"), &bytes).expect("a write");
            table.file(id).set_contents(len_bytes, digest(&bytes));
        }
        (fs, table)
    }

    fn verdict(fs: &MemFs, table: &Table) -> Verdict {
        verify(fs, table, 2, &ProgressBar::hidden()).expect("a verdict")
    }

    #[test]
    fn what_was_written_verifies_in_every_way() {
        let (fs, table) = store();
        let verdict = verdict(&fs, &table);
        assert_eq!((verdict.mismatches, verdict.files), (0, 12), "{:?}", verdict.findings);
        let mut checker = Checker::default();
        for (id, _) in table.files() {
            (0..6).for_each(|way| checker.check(&fs, &table, id, way).expect("as written"));
        }
    }

    #[test]
    fn a_wrong_hash_is_found_in_every_way() {
        let (fs, table) = store();
        let mut checker = Checker::default();
        for (id, file) in table.files() {
            file.set_contents(file.len_bytes(), file.digest() ^ 1);
            for way in 0..6 {
                let finding = checker.check(&fs, &table, id, way).expect_err("a wrong hash");
                assert!(finding.reason.contains("hash"), "{finding:?}");
            }
        }
        let verdict = verdict(&fs, &table);
        assert_eq!((verdict.mismatches, verdict.findings.len()), (12, 12));
    }

    #[test]
    fn one_wrong_byte_in_the_store_is_found() {
        let (fs, table) = store();
        fs.write_at("/f8", b"\0\0\0\0", 1_234_567).expect("a write");
        let verdict = verdict(&fs, &table);
        assert_eq!(verdict.mismatches, 1, "{:?}", verdict.findings);
        assert_eq!(verdict.findings[0].path, "/f8");
    }

    #[test]
    fn lost_kept_and_foreign_files_are_found() {
        let (fs, table) = store();
        fs.remove_file("/f3").expect("a removal");
        fs.write("/f2", b"shorter").expect("a write");
        table.file(4).set_removed();
        let reasons: Vec<_> = verdict(&fs, &table).findings.into_iter().map(|f| (f.path, f.reason)).collect();
        let says = |path: &str, text: &str| reasons.iter().any(|(p, r)| p == path && r.contains(text));
        assert!(says("/f3", "not found"), "{reasons:?}");
        assert!(says("/f2", "expected 700 bytes, found 7"), "{reasons:?}");
        assert!(says("/f4", "expected nothing"), "{reasons:?}");

        let (fs, table) = store();
        fs.write("/deep/stranger", b"?").expect("a write");
        let verdict = verdict(&fs, &table);
        assert_eq!(verdict.mismatches, 1);
        assert!(verdict.findings[0].reason.contains("expected 12 files listed, found 13"));
    }
}
