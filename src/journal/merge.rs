//! A checkpoint and what came after it, as one stream of nodes: directories, then files.

use super::{
    checkpoint::CheckpointReader,
    delta::Delta,
    entry::Kind,
    files::{JOURNAL, corrupt, file_name},
    view::NodeView,
    wire::Malformed,
};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

pub(super) struct Merge {
    pub(super) base: CheckpointReader,
    pub(super) delta: Delta,
    /// The first of the journal files that the changes are from.
    journal: PathBuf,
    directories: u64,
    files: u64,
}

impl Merge {
    pub(super) fn new(base: CheckpointReader, delta: Delta, dir: &Path) -> Self {
        let journal = dir.join(file_name(JOURNAL, base.header.seq));
        Self { base, delta, journal, directories: 0, files: 0 }
    }

    /// All directories. `chunks` is for the merge alone.
    pub(super) fn directories(&mut self, mut visit: impl FnMut(&NodeView<'_>) -> Result<()>) -> Result<()> {
        debug_assert_eq!(self.base.index, 0, "directories come first, and once");
        self.directories = self.section(Kind::Directory, &mut visit)?;
        self.made(Kind::Directory, &mut visit)
    }

    /// All files, when the directories are done.
    pub(super) fn files(&mut self, mut visit: impl FnMut(&NodeView<'_>) -> Result<()>) -> Result<()> {
        self.files = self.section(Kind::File, &mut visit)?;
        if self.base.next_kind()?.is_some() {
            let path = &self.base.file.path;
            return Err(corrupt(path, self.base.at, "files after directories", "a directory after a file"));
        }
        self.base.check_end(self.directories, self.files)?;
        self.made(Kind::File, &mut visit)
    }

    /// The checkpoint's nodes of one kind, as they are now; how many there were.
    fn section(&mut self, kind: Kind, visit: &mut impl FnMut(&NodeView<'_>) -> Result<()>) -> Result<u64> {
        let Self { base, delta, journal, .. } = self;
        let path = base.file.path.clone();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let mut count = 0;
        while base.next_kind()? == Some(kind) {
            let at = base.at;
            let mut block = base.next()?;
            let bad = |Malformed(found)| corrupt(&path, at, "a block of nodes", found);
            while let Some(node) = block.nodes.next(&mut before).map_err(bad)? {
                count += 1;
                let node = if delta.is_empty() { Ok(Some(node)) } else { delta.update(node, &mut after) };
                if let Some(node) = node.map_err(|malformed| impossible(journal, malformed))? {
                    visit(&node)?;
                }
            }
        }
        Ok(count)
    }

    fn made(&self, kind: Kind, visit: &mut impl FnMut(&NodeView<'_>) -> Result<()>) -> Result<()> {
        let mut chunks = Vec::new();
        for made in self.delta.made(kind) {
            let node = self.delta.view(made, &mut chunks);
            visit(&node.map_err(|malformed| impossible(&self.journal, malformed))?)?;
        }
        Ok(())
    }
}

/// The journal says what cannot be, given the checkpoint.
fn impossible(journal: &Path, Malformed(found): Malformed) -> Error {
    corrupt(journal, 0, "changes that can follow the checkpoint", found)
}
