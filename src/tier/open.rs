//! Opening a store that survived: what its journal says becomes names and contents on disk. Bytes are not read.

use super::{
    core::Core,
    ground::OWNER,
    heat,
    local::Local,
    tree::{MAX_LEN, NoMemory, TreeMemory, rebuild},
    word::Word,
};
use crate::{
    config::{Config, Priority},
    error::{Error, Result},
    failpoint::pass,
    index::{IndexError, Loading, NodeId, NodeInit},
    journal::{Contents, Journal, NodeView, Recovery, StoreParams},
    segment::{Disk, ExtentRef, StorageKind},
};
use std::{path::Path, sync::Arc};

impl Core {
    /// Opens, or begins, the store in the configured directory.
    pub(super) fn open_lasting(mut config: Config, disk: Arc<dyn Disk>) -> Result<Arc<Core>> {
        let dir = config.storage_path.clone().unwrap_or_else(super::default_dir);
        let Some(opened) = Journal::open(disk.clone(), &dir)? else {
            let segments = Self::open_segments(&config, StorageKind::Persist { params: None }, disk.clone())?;
            let chunk_bytes = config.chunk_bytes as u64;
            let params = StoreParams { store_id: fresh_id(), chunk_bytes, opaque: segments.params() };
            let journal = Journal::create(disk, &dir, &params)?;
            let core = Self::assemble(config, segments, Some(journal))?;
            core.ground.segments.recovered();
            return Ok(core);
        };
        let chunk_bytes = opened.params.chunk_bytes as usize;
        if config.chunk_bytes_asked && config.chunk_bytes != chunk_bytes {
            let expected = format!("{chunk_bytes}, which the store was made with");
            return Err(Error::argument("chunk_size", expected, config.chunk_bytes));
        }
        config.chunk_bytes = chunk_bytes;
        let kind = StorageKind::Persist { params: Some(opened.params.opaque) };
        let segments = Self::open_segments(&config, kind, disk)?;
        let core = Self::assemble(config, segments, Some(opened.journal))?;
        let loaded = core.load_store(&core.local(), &dir, opened.recovery, &opened.contents);
        if let Err(error) = loaded {
            // What was loaded is given up; on disk everything stays as it was, for the next opening has to find it.
            core.forsake_journal();
            core.shut();
            let _ = core.tear_down(&core.local());
            return Err(error);
        }
        pass("recovery: names read, segments as they were");
        if core.is_unsettled() {
            // A failure is met again by the first change, or `sync`; what was found can be read meanwhile.
            let _ = core.settle(&core.local());
        } else {
            core.ground.segments.recovered();
        }
        Ok(core)
    }

    /// `contents` are bytes that may not be in their places. What the journal led to is not charged while it is read: it goes
    /// again, and for its sake no store is to be refused whose names fit.
    fn load_store(
        &self,
        local: &Local,
        dir: &Path,
        mut recovery: Recovery,
        contents: &Contents,
    ) -> Result<()> {
        let loading = self.index.load();
        let mut names = Vec::new();
        recovery.visit_directories(|node| {
            names.push((node.id, node.parent, node.name.to_owned()));
            let guard = local.pin();
            let init = self.loaded(node, Word::EMPTY);
            let id = NodeId::new(node.id);
            loading
                .directory(id, &init, &self.cx(local, &guard))
                .map_err(|error| self.loading_error(dir, error))
        })?;
        for (id, parent, name) in names {
            let guard = local.pin();
            loading
                .name_directory(NodeId::new(id), NodeId::new(parent), &name, &self.cx(local, &guard))
                .map_err(|error| self.loading_error(dir, error))?;
        }
        let load = |node: &NodeView<'_>| self.load_file(local, dir, &loading, (node, contents));
        // Without workers everything is done by who asks for it.
        #[cfg(not(memfs_loom))]
        super::ahead::visit_files(&mut recovery, self.config.worker_threads > 0, load)?;
        #[cfg(memfs_loom)]
        recovery.visit_files(load)?;
        loading.finish(&self.cx(local, &local.pin())).map_err(|error| self.loading_error(dir, error))
    }

    fn load_file(
        &self,
        local: &Local,
        dir: &Path,
        loading: &Loading<'_>,
        (node, contents): (&NodeView<'_>, &Contents),
    ) -> Result<()> {
        let word = self.load_content(local, dir, node, contents)?;
        let guard = local.pin();
        let (id, parent) = (NodeId::new(node.id), NodeId::new(node.parent));
        let init = self.loaded(node, word);
        loading
            .file(id, parent, node.name, &init, &self.cx(local, &guard))
            .map_err(|error| self.loading_error(dir, error))
    }

    fn load_content(
        &self,
        local: &Local,
        dir: &Path,
        node: &NodeView<'_>,
        contents: &Contents,
    ) -> Result<Word> {
        if node.len > MAX_LEN {
            return Err(no_chunks_of_a_file(node, format!("{} bytes", node.len)));
        }
        let changes = match node.chunks {
            [] if node.len == 0 => return Ok(Word::EMPTY),
            // Nearly every file.
            [only @ (0, _)] => {
                let word = self.adopt(node, only, contents)?;
                if self.ground.len_of(word, &local.pin()) == Some(node.len) {
                    return Ok(word);
                }
                vec![(0, word)]
            }
            chunks => {
                let adopted = chunks.iter().map(|chunk| Ok((chunk.0, self.adopt(node, chunk, contents)?)));
                adopted.collect::<Result<Vec<_>>>()?
            }
        };
        let memory = TreeMemory { arena: &self.ground.arena, magazine: &local.magazine };
        let rebuilt = rebuild(&memory, None, &changes, node.len, self.config.chunk_bytes.trailing_zeros());
        let rebuilt = rebuilt.map_err(|NoMemory(bytes)| self.memory_limit(&dir.to_string_lossy(), bytes))?;
        Ok(Word::tree(rebuilt.tree))
    }

    /// Counts the bytes of one chunk live, and puts them in their place if they may not be there.
    fn adopt(&self, node: &NodeView<'_>, (chunk, bits): &(u64, u64), contents: &Contents) -> Result<Word> {
        let chunk_bytes = self.config.chunk_bytes as u64;
        let extent = ExtentRef::try_from_bits(*bits).filter(|_| *chunk < node.len.div_ceil(chunk_bytes));
        let extent =
            extent.ok_or_else(|| no_chunks_of_a_file(node, format!("chunk {chunk} at {bits:#x}")))?;
        let segments = &self.ground.segments;
        segments.adopt(extent).map_err(|error| error.about(node.name))?;
        if let Some(bytes) = contents.get(bits) {
            segments.put_back(extent, OWNER, bytes).map_err(|error| error.about(node.name))?;
            self.note_put_back(extent);
        }
        Ok(Word::disk(extent))
    }

    /// What a node of the store starts with.
    fn loaded(&self, node: &NodeView<'_>, content: Word) -> NodeInit<'static> {
        NodeInit {
            content: content.bits(),
            reads: 0,
            heat: heat::fresh(Priority::from_level(node.priority)),
            age: self.clock.epoch(),
            accessed: (node.modified_ns / 1_000_000_000) as u32,
            created: node.created_ns,
            modified: node.modified_ns,
            note: &[],
        }
    }

    fn loading_error(&self, dir: &Path, error: IndexError) -> Error {
        match error {
            IndexError::Invalid { reason, .. } => Error::Corrupt {
                path: dir.to_string_lossy().into_owned(),
                segment: Error::NO_SEGMENT,
                offset: 0,
                expected: "a tree of names".to_owned(),
                found: reason.to_owned(),
            },
            other => self.index_error(other),
        }
    }
}

fn no_chunks_of_a_file(node: &NodeView<'_>, found: String) -> Error {
    Error::Corrupt {
        path: node.name.to_owned(),
        segment: Error::NO_SEGMENT,
        offset: 0,
        expected: "a file's chunks".to_owned(),
        found,
    }
}

/// So that files of one store are not taken for another's.
fn fresh_id() -> u64 {
    // The model checker wants every run to be the same.
    if cfg!(memfs_loom) {
        return 1;
    }
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
