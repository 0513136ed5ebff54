//! Makes the stores that the targets harm, and the seeds of those that are files' bytes. Stores of the first format were made by
//! earlier versions, and stay.

use memfs::Durability;
use memfs_fuzz::{
    ALONE, CALLED, KINDS, PADDED, SAVED, SEALED, SECOND, Target, USED, open_for, sample, steps,
};
use std::{fs, path::Path};

const TARGETS: [Target; 4] = [Target::Journal, Target::Checkpoint, Target::Segment, Target::Front];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let stores = Path::new(env!("CARGO_MANIFEST_DIR")).join("stores");
    make(&stores.join("closed-2"), true, Durability::OnClose)?;
    make(&stores.join("killed-2"), false, Durability::Sync)?;
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for target in TARGETS {
        let dir = seeds.join(target.name());
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir)?;
    }
    for number in 0..KINDS.len() as u8 {
        for target in TARGETS {
            let files = sample(number).files.iter().filter(|(name, _)| target.is_of(name));
            for (index, (name, contents)) in (0..).zip(files) {
                let used = contents.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                for flags in [PADDED, SEALED | CALLED | USED, SEALED | CALLED | ALONE | SAVED] {
                    let number_bits = number & 1 | if number > 1 { SECOND } else { 0 };
                    let input = [&[number_bits | flags, index][..], &contents[..used]].concat();
                    fs::write(seeds.join(target.name()).join(format!("{number}-{name}-{flags}")), input)?;
                }
            }
        }
    }
    Ok(())
}

/// A session for each step, as far as the checkpoint that comes of so many; then two for the rest.
fn make(to: &Path, is_closed: bool, durability: Durability) -> Result<(), Box<dyn std::error::Error>> {
    let home = std::env::temp_dir().join(format!("memfs-fuzz-stores-{}", std::process::id()));
    let new = memfs::MemFs::builder().mode(memfs::StorageMode::Persist).storage_path(&home).chunk_size(1024);
    new.memory_limit_bytes(512 << 10).segment_size(8 << 10).worker_threads(0).build()?.close()?;
    let mut step = 0;
    let mut store = open_for(&home, durability)?;
    while steps(&store, step) {
        store.sync()?;
        step += 1;
        // As many sessions as lead to a checkpoint, and two more.
        if home.join("checkpoint-0000000000000001").exists() && step < 84 && step > 16
            || [10, 84, 87].contains(&step)
        {
            store.close()?;
            store = open_for(&home, durability)?;
        }
    }
    if is_closed {
        store.close()?;
    }
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(&home)?.collect::<Result<Vec<_>, _>>()? {
        if entry.file_name() != "lock" {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    store.close()?;
    fs::remove_dir_all(&home)?;
    Ok(())
}
