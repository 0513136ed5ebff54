//! The whole of a store's directory in one file, as it was before an operation.
//!
//! ```text
//!  sector 0      the header, written last
//!  then blocks   header (32) | nodes | zeros to the end of a sector       directories first, then files
//! ```
//! A checkpoint gets its name when all of it is synced; one whose header verifies was whole.

use super::{
    entry::Kind,
    files::{CHECKPOINT, Reader, corrupt, create_over, file_name, refused, tmp_name},
    frame::{CHECKPOINT_MAGIC, SECTOR, VERSION, check_sealed, params_at, seal},
    view::NodeView,
    wire::{Cursor, Malformed, u32_at, u64_at},
};
use crate::{
    error::Result,
    segment::{Disk, DiskFile},
};
use std::{
    io::IoSlice,
    path::{Path, PathBuf},
};

const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"MFSb");
pub(super) const BLOCK_HEADER_BYTES: usize = 32;

/// A block is ended by the node with which it reaches this.
const BLOCK_BYTES: usize = 64 << 10;

/// What a store is, from its first day to its last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StoreParams {
    pub(crate) store_id: u64,
    /// Files are cut into chunks of this.
    pub(crate) chunk_bytes: u64,
    /// What the floors above want to find again.
    pub(crate) opaque: [u8; 64],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) params: StoreParams,
    /// Number of the first operation that is not in it.
    pub(super) seq: u64,
    /// The journal's chain up to there.
    pub(super) chain: u32,
    pub(super) blocks: u32,
    pub(super) file_bytes: u64,
    pub(super) directories: u64,
    pub(super) files: u64,
    /// Over the checksums of all blocks.
    pub(super) blocks_crc: u32,
}

impl Header {
    pub(super) fn new(params: StoreParams, seq: u64, chain: u32) -> Self {
        let file_bytes = SECTOR as u64;
        Self { params, seq, chain, blocks: 0, file_bytes, directories: 0, files: 0, blocks_crc: 0 }
    }

    fn encode(&self) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        sector[0..8].copy_from_slice(CHECKPOINT_MAGIC);
        sector[8..10].copy_from_slice(&VERSION.to_le_bytes());
        sector[12..16].copy_from_slice(&self.blocks.to_le_bytes());
        sector[16..24].copy_from_slice(&self.params.store_id.to_le_bytes());
        sector[24..32].copy_from_slice(&self.seq.to_le_bytes());
        sector[32..40].copy_from_slice(&self.params.chunk_bytes.to_le_bytes());
        sector[40..48].copy_from_slice(&self.file_bytes.to_le_bytes());
        sector[48..56].copy_from_slice(&self.directories.to_le_bytes());
        sector[56..64].copy_from_slice(&self.files.to_le_bytes());
        sector[64..128].copy_from_slice(&self.params.opaque);
        sector[128..132].copy_from_slice(&self.chain.to_le_bytes());
        sector[132..136].copy_from_slice(&self.blocks_crc.to_le_bytes());
        seal(&mut sector);
        sector
    }

    fn decode(sector: &[u8]) -> Result<Self, String> {
        check_sealed(sector, CHECKPOINT_MAGIC, VERSION)?;
        Ok(Self {
            params: params_at(sector),
            blocks: u32_at(sector, 12),
            seq: u64_at(sector, 24),
            file_bytes: u64_at(sector, 40),
            directories: u64_at(sector, 48),
            files: u64_at(sector, 56),
            chain: u32_at(sector, 128),
            blocks_crc: u32_at(sector, 132),
        })
    }

    /// Binds a block to its checkpoint and its place there.
    fn block_seed(&self, index: u32) -> u32 {
        let mut bytes = [0; 20];
        bytes[0..8].copy_from_slice(&self.params.store_id.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.seq.to_le_bytes());
        bytes[16..20].copy_from_slice(&index.to_le_bytes());
        crc32c::crc32c(&bytes)
    }
}

/// A checkpoint being written.
pub(super) struct Writer<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    tmp: PathBuf,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    header: Header,
    kind: Kind,
    records: u32,
    /// The block that is being filled, its header included.
    block: Vec<u8>,
    named: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn create(disk: &'a dyn Disk, dir: &'a Path, header: Header) -> Result<Self> {
        let (tmp, path) =
            (dir.join(tmp_name(CHECKPOINT, header.seq)), dir.join(file_name(CHECKPOINT, header.seq)));
        let file = create_over(disk, &tmp)
            .map_err(|error| refused(&path, "make the checkpoint", BLOCK_BYTES as u64, error))?;
        let block = vec![0; BLOCK_HEADER_BYTES];
        let kind = Kind::Directory;
        Ok(Self { disk, dir, tmp, path, file, header, kind, records: 0, block, named: false })
    }

    /// Directories come first.
    pub(super) fn push(&mut self, node: &NodeView<'_>) -> Result<()> {
        if node.kind != self.kind {
            debug_assert_eq!(self.kind, Kind::Directory, "a directory after a file");
            self.end_block()?;
            self.kind = node.kind;
        }
        node.encode(&mut self.block);
        self.records += 1;
        match node.kind {
            Kind::Directory => self.header.directories += 1,
            Kind::File => self.header.files += 1,
        }
        if self.block.len() >= BLOCK_BYTES { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> Result<()> {
        if self.records == 0 {
            return Ok(());
        }
        let payload_bytes = (self.block.len() - BLOCK_HEADER_BYTES) as u32;
        let head = [BLOCK_MAGIC, kind_code(self.kind), self.header.blocks, self.records, payload_bytes, 0, 0];
        for (at, value) in head.iter().enumerate() {
            self.block[4 * at..4 * at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let crc = block_crc(&self.header, self.header.blocks, &self.block);
        self.block[28..32].copy_from_slice(&crc.to_le_bytes());
        self.block.resize(self.block.len().next_multiple_of(SECTOR), 0);
        let write = self.file.write_at(&mut [IoSlice::new(&self.block)], self.header.file_bytes);
        write.map_err(|error| refused(&self.path, "write the checkpoint", self.block.len() as u64, error))?;
        self.header.blocks_crc = crc32c::crc32c_append(self.header.blocks_crc, &crc.to_le_bytes());
        self.header.blocks += 1;
        self.header.file_bytes += self.block.len() as u64;
        self.block.truncate(BLOCK_HEADER_BYTES);
        // One long list of chunks does not hold its memory to the end.
        self.block.shrink_to(2 * BLOCK_BYTES);
        self.records = 0;
        Ok(())
    }

    /// Makes it last, and gives it its name.
    pub(super) fn finish(mut self) -> Result<Header> {
        self.end_block()?;
        let failed = |doing| {
            let path = &self.path;
            move |error| refused(path, doing, SECTOR as u64, error)
        };
        let write = self.file.write_at(&mut [IoSlice::new(&self.header.encode())], 0);
        write.map_err(failed("write the checkpoint"))?;
        self.file.sync().map_err(failed("sync the checkpoint"))?;
        self.disk.rename(&self.tmp, &self.path).map_err(failed("name the checkpoint"))?;
        self.named = true;
        self.disk.sync_dir(self.dir).map_err(failed("sync the storage directory"))?;
        Ok(self.header)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if !self.named {
            let _ = self.disk.remove(&self.tmp);
        }
    }
}

fn kind_code(kind: Kind) -> u32 {
    match kind {
        Kind::Directory => 1,
        Kind::File => 2,
    }
}

fn block_crc(header: &Header, index: u32, block: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(header.block_seed(index), &block[..28]);
    crc32c::crc32c_append(crc, &block[BLOCK_HEADER_BYTES..])
}

/// A block that verifies.
pub(super) struct Block<'a> {
    pub(super) nodes: Nodes<'a>,
}

/// The nodes of a block.
pub(super) struct Nodes<'a> {
    kind: Kind,
    rest: Cursor<'a>,
    left: u32,
}

impl<'a> Nodes<'a> {
    #[inline]
    pub(super) fn next<'b>(
        &mut self,
        chunks: &'b mut Vec<(u64, u64)>,
    ) -> Result<Option<NodeView<'b>>, Malformed>
    where
        'a: 'b,
    {
        if self.left == 0 {
            return self.rest.end().map(|()| None);
        }
        self.left -= 1;
        NodeView::decode(&mut self.rest, self.kind, chunks).map(Some)
    }
}

/// A checkpoint being read, from its beginning.
pub(super) struct CheckpointReader {
    pub(super) file: Reader,
    pub(super) header: Header,
    pub(super) at: u64,
    pub(super) index: u32,
    crc: u32,
}

impl CheckpointReader {
    /// Opens `checkpoint-<seq>` and checks its header.
    pub(super) fn open(disk: &dyn Disk, dir: &Path, seq: u64) -> Result<Self> {
        let path = dir.join(file_name(CHECKPOINT, seq));
        let wanted = || format!("the header of the checkpoint before operation {seq}");
        let Some(mut file) = Reader::open(disk, path.clone())? else {
            return Err(corrupt(&path, 0, wanted(), "no such file"));
        };
        let header =
            Header::decode(file.get(0, SECTOR)?).map_err(|found| corrupt(&path, 0, wanted(), found))?;
        if header.seq != seq || header.params.chunk_bytes == 0 {
            let found =
                format!("one before operation {} with chunks of {}", header.seq, header.params.chunk_bytes);
            return Err(corrupt(&path, 0, wanted(), found));
        }
        Ok(Self { file, header, at: SECTOR as u64, index: 0, crc: 0 })
    }

    /// A checkpoint whose header is lost, or says what cannot be: its blocks are bound to what is known of it otherwise.
    pub(super) fn without_header(disk: &dyn Disk, dir: &Path, seq: u64, params: StoreParams) -> Result<Self> {
        let path = dir.join(file_name(CHECKPOINT, seq));
        let Some(file) = Reader::open(disk, path.clone())? else {
            return Err(corrupt(&path, 0, "a checkpoint", "no such file"));
        };
        let header = Header { blocks: u32::MAX, ..Header::new(params, seq, 0) };
        Ok(Self { file, header, at: SECTOR as u64, index: 0, crc: 0 })
    }

    /// Whether the file is as long as its header says.
    pub(super) fn check_len(&self) -> Result<()> {
        if self.header.file_bytes == self.file.len {
            return Ok(());
        }
        let at = self.header.file_bytes.min(self.file.len);
        let (expected, found) = (self.header.file_bytes, self.file.len);
        Err(corrupt(&self.file.path, at, format!("a file of {expected} bytes"), format!("{found} bytes")))
    }

    /// What kind of nodes the next block has; `None` after the last block.
    pub(super) fn next_kind(&mut self) -> Result<Option<Kind>> {
        if self.index == self.header.blocks {
            return Ok(None);
        }
        Ok(Some(if u32_at(self.block_header()?, 4) == kind_code(Kind::Directory) {
            Kind::Directory
        } else {
            Kind::File
        }))
    }

    fn block_header(&mut self) -> Result<&[u8]> {
        let (at, path) = (self.at, self.file.path.clone());
        let header = self.file.get(at, BLOCK_HEADER_BYTES)?;
        if header.len() == BLOCK_HEADER_BYTES {
            return Ok(header);
        }
        Err(corrupt(&path, at, "a block of nodes", "the end of the file"))
    }

    /// The next block.
    pub(super) fn next(&mut self) -> Result<Block<'_>> {
        let (at, index) = (self.at, self.index);
        let path = self.file.path.clone();
        let bad = |found: &str| corrupt(&path, at, format!("block {index} of the checkpoint"), found);
        let header = self.header;
        let Some((kind, records, len)) = block_shape(self.block_header()?, index) else {
            return Err(bad("no header of a block"));
        };
        let block = self.file.get(at, len)?;
        if block.len() < len {
            return Err(bad("the end of the file"));
        }
        let crc = u32_at(block, 28);
        if block_crc(&header, index, block) != crc {
            return Err(bad("one whose bytes have another checksum"));
        }
        self.crc = crc32c::crc32c_append(self.crc, &crc.to_le_bytes());
        self.index += 1;
        self.at += len.next_multiple_of(SECTOR) as u64;
        // From the window.
        let block = self.file.get(at, len)?;
        let rest = Cursor::new(&block[BLOCK_HEADER_BYTES..]);
        Ok(Block { nodes: Nodes { kind, rest, left: records } })
    }

    /// Whether the blocks were those the header counts.
    pub(super) fn check_end(&self, directories: u64, files: u64) -> Result<()> {
        let found = (self.at, self.crc, directories, files);
        let header = &self.header;
        let expected = (header.file_bytes, header.blocks_crc, header.directories, header.files);
        if found == expected {
            return Ok(());
        }
        let show = |(at, crc, directories, files): (u64, u32, u64, u64)| {
            format!("{directories} directories and {files} files in {at} bytes of {crc:#010x}")
        };
        Err(corrupt(&self.file.path, self.at, show(expected), show(found)))
    }

    /// Goes on where the next block that verifies begins, behind one that does not; where that is.
    pub(super) fn skip(&mut self) -> Result<Option<u64>> {
        while self.at < self.file.len {
            self.at += SECTOR as u64;
            let header = self.file.get(self.at, BLOCK_HEADER_BYTES)?;
            if header.len() == BLOCK_HEADER_BYTES && u32_at(header, 0) == BLOCK_MAGIC {
                self.index = u32_at(header, 8);
                let at = self.at;
                if self.next().is_ok() {
                    self.at = at;
                    self.index -= 1;
                    return Ok(Some(at));
                }
            }
        }
        Ok(None)
    }
}

/// Kind, number of nodes and length of the block with this header.
fn block_shape(header: &[u8], index: u32) -> Option<(Kind, u32, usize)> {
    let kind = match u32_at(header, 4) {
        1 => Kind::Directory,
        2 => Kind::File,
        _ => return None,
    };
    let is_block = u32_at(header, 0) == BLOCK_MAGIC && u32_at(header, 8) == index;
    is_block.then(|| (kind, u32_at(header, 12), BLOCK_HEADER_BYTES + u32_at(header, 16) as usize))
}
