//! Where the files are, by priority and by size. Asked file by file, so that no list of all metadata is ever held.

use super::table::Table;
use crate::trouble::Trouble;
use memfs::{Location, MemFs};

/// Upper bounds of the size classes, in bytes; the last class has none.
pub(crate) const SIZE_BOUNDS: [u64; 4] = [1 << 10, 16 << 10, 128 << 10, 1 << 20];
/// Priorities are 0 to 10.
const LEVELS: usize = 11;

/// Files and bytes of one group.
#[derive(Clone, Copy, Default)]
pub(crate) struct Group {
    /// In RAM only.
    pub(crate) memory: Sum,
    /// In RAM and on disk; of a file of several chunks perhaps only some chunks are in RAM.
    pub(crate) both: Sum,
    /// On disk only.
    pub(crate) disk: Sum,
}

/// A number of files and the sum of their lengths.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Sum {
    fn plus(self, other: Sum) -> Sum {
        Sum { files: self.files + other.files, bytes: self.bytes + other.bytes }
    }
}

impl Group {
    pub(crate) fn all(&self) -> Sum {
        self.memory.plus(self.both).plus(self.disk)
    }

    /// The part of the files that is in RAM, or has chunks there.
    pub(crate) fn resident_part(&self) -> f64 {
        self.memory.plus(self.both).files as f64 / self.all().files.max(1) as f64
    }

    fn plus(&self, other: &Group) -> Group {
        Group {
            memory: self.memory.plus(other.memory),
            both: self.both.plus(other.both),
            disk: self.disk.plus(other.disk),
        }
    }
}

/// The store at one time.
#[derive(Default)]
pub(crate) struct Placement {
    pub(crate) by_priority: [Group; LEVELS],
    pub(crate) by_size: [Group; SIZE_BOUNDS.len() + 1],
    /// Contents in RAM; of a long file, its chunks there.
    pub(crate) resident_bytes: u64,
}

impl Placement {
    pub(crate) fn total(&self) -> Group {
        self.by_size.iter().fold(Group::default(), |sum, group| sum.plus(group))
    }
}

/// Asks the store about every file.
pub(crate) fn placement(fs: &MemFs, table: &Table) -> Result<Placement, Trouble> {
    let resident_bytes = fs.stats().memory.total_size;
    let mut placement = Placement { resident_bytes, ..Placement::default() };
    let mut path = String::new();
    for (id, file) in table.loaded() {
        let location = fs.metadata(table.path(id, &mut path))?.location();
        let bytes = file.len_bytes();
        let size = SIZE_BOUNDS.partition_point(|bound| *bound < bytes);
        for group in [&mut placement.by_priority[usize::from(file.priority())], &mut placement.by_size[size]]
        {
            let sum = match location {
                Location::Memory => &mut group.memory,
                Location::Both => &mut group.both,
                Location::Disk => &mut group.disk,
            };
            *sum = sum.plus(Sum { files: 1, bytes });
        }
    }
    Ok(placement)
}
