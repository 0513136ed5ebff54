//! Changes that the store has to get right: overwrites with contents of the demo's own, renames, moves, removals, and
//! one directory renamed with all that is in it. The table is told of each, so that the verification knows.

use super::{
    table::{MOVED_DIR, NAME_MAX, PATH_MAX, Place, ROOT, Record, SUFFIX, State, Table},
    workers::on_each_file,
};
use crate::{digest::Digest, random::Random, trouble::Trouble};
use indicatif::ProgressBar;
use memfs::MemFs;
use std::io::Write;

/// New contents are made and written in such pieces, and are at most [`NEW_MAX_BYTES`] long.
const PIECE_BYTES: usize = 64 << 10;
const NEW_MAX_BYTES: u64 = 8 << 20;

/// How many of each.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) overwritten: u64,
    pub(crate) renamed: u64,
    pub(crate) moved: u64,
    pub(crate) removed: u64,
    pub(crate) dirs_renamed: u64,
}

#[derive(Default)]
struct Changer {
    done: Changes,
    path: String,
    other: String,
    piece: Vec<u8>,
}

/// Changes some of the files, on `threads` threads, and then the name of one directory.
pub(crate) fn change(
    fs: &MemFs,
    table: &Table,
    threads: usize,
    seed: u64,
    progress: &ProgressBar,
) -> Result<Changes, Trouble> {
    fs.create_dir_all(MOVED_DIR)?;
    let changers = on_each_file(table, threads, Changer::default, |changer, id| {
        progress.inc(1);
        changer.change(fs, table, id, seed)
    })?;
    let mut all = changers.into_iter().fold(Changes::default(), |sum, Changer { done, .. }| Changes {
        overwritten: sum.overwritten + done.overwritten,
        renamed: sum.renamed + done.renamed,
        moved: sum.moved + done.moved,
        removed: sum.removed + done.removed,
        dirs_renamed: 0,
    });
    all.dirs_renamed = rename_a_dir(fs, table)?;
    Ok(all)
}

impl Changer {
    fn change(&mut self, fs: &MemFs, table: &Table, id: u32, seed: u64) -> Result<(), Trouble> {
        let file = table.file(id);
        if file.state() != State::Loaded {
            return Ok(());
        }
        let mut random = Random::new(seed, (1 << 40) + u64::from(id));
        let dice = random.next();
        if dice.is_multiple_of(16) {
            table.path(id, &mut self.path);
            self.overwrite(fs, file, &mut random, (dice >> 4) % 3)?;
            self.done.overwritten += 1;
        }
        match (dice >> 16) % 64 {
            0 | 1 => self.done.renamed += u64::from(self.relocate(fs, table, id, Place::Suffixed)?),
            2 | 3 => self.done.moved += u64::from(self.relocate(fs, table, id, Place::Moved)?),
            4 => {
                fs.remove_file(table.path(id, &mut self.path))?;
                file.set_removed();
                self.done.removed += 1;
            }
            _ => {}
        }
        Ok(())
    }

    /// New contents, of another length, in one of three ways: whole; truncated and streamed; in place, backwards.
    fn overwrite(&mut self, fs: &MemFs, file: &Record, random: &mut Random, way: u64) -> Result<(), Trouble> {
        let longest = file.len_bytes().clamp(2048, NEW_MAX_BYTES / 2) * 2;
        let made = Made { seed: random.next(), len_bytes: random.below(longest) + 1 };
        let mut hash = Digest::default();
        if way == 0 && made.len_bytes <= PIECE_BYTES as u64 {
            let piece = made.piece(0, &mut self.piece);
            hash.update(piece);
            fs.write(&self.path, piece)?;
        } else if way == 1 {
            let mut sink = fs.create(&self.path)?;
            for index in 0..made.pieces() {
                let piece = made.piece(index, &mut self.piece);
                hash.update(piece);
                sink.write_all(piece).map_err(|error| Trouble(format!("store: {error}")))?;
            }
        } else {
            (0..made.pieces()).for_each(|index| hash.update(made.piece(index, &mut self.piece)));
            if made.len_bytes < file.len_bytes() {
                fs.set_len(&self.path, made.len_bytes)?;
            }
            for index in (0..made.pieces()).rev() {
                let piece = made.piece(index, &mut self.piece);
                let written = fs.write_at(&self.path, piece, index * PIECE_BYTES as u64)?;
                if written != piece.len() {
                    return Err(Trouble(format!("store: {}: wrote {written} of {}", self.path, piece.len())));
                }
            }
        }
        file.set_contents(hash.len_bytes(), hash.finish());
        Ok(())
    }

    /// Renames the file, unless the new name would be too long. It cannot be taken: see `OWN_NAMES`.
    fn relocate(&mut self, fs: &MemFs, table: &Table, id: u32, place: Place) -> Result<bool, Trouble> {
        let file = table.file(id);
        let from = table.path(id, &mut self.path);
        let to = table.path_at(id, place, &mut self.other);
        if file.name_len() + SUFFIX.len() > NAME_MAX || to.len() > PATH_MAX {
            return Ok(false);
        }
        fs.rename(from, to)?;
        file.set_place(place);
        Ok(true)
    }
}

/// Contents that can be made again from a seed, piece by piece in any order.
struct Made {
    seed: u64,
    len_bytes: u64,
}

impl Made {
    fn pieces(&self) -> u64 {
        self.len_bytes.div_ceil(PIECE_BYTES as u64)
    }

    fn piece<'b>(&self, index: u64, buf: &'b mut Vec<u8>) -> &'b [u8] {
        let len = (self.len_bytes - index * PIECE_BYTES as u64).min(PIECE_BYTES as u64) as usize;
        buf.resize(len, 0);
        Random::new(self.seed, index).fill(buf);
        buf
    }
}

/// Renames the directory that holds the most files, up to a quarter of all, counting what is below it.
fn rename_a_dir(fs: &MemFs, table: &Table) -> Result<u64, Trouble> {
    let mut below = vec![0u32; table.dir_count() as usize];
    let mut longest = 0;
    let mut path = String::new();
    for (id, file) in table.loaded() {
        longest = longest.max(table.path(id, &mut path).len());
        let mut dir = if file.place() == Place::Moved { ROOT } else { file.dir() };
        while dir != ROOT {
            below[dir as usize] += 1;
            dir = table.parent(dir);
        }
    }
    let quarter = (table.len() / 4).max(1);
    let best = (0..table.dir_count())
        .filter(|dir| (1..=quarter).contains(&below[*dir as usize]))
        .max_by_key(|dir| below[*dir as usize]);
    let Some(dir) = best else { return Ok(0) };
    let from = table.dir_path(dir, &mut path);
    let to = format!("{from}{SUFFIX}");
    let name_len = to.len() - to.rfind('/').unwrap_or(0);
    if name_len > NAME_MAX || longest + SUFFIX.len() > PATH_MAX {
        return Ok(0);
    }
    fs.rename(from, &to)?;
    table.set_dir_renamed(dir);
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_contents_are_the_same_in_any_order() {
        let made = Made { seed: 5, len_bytes: 150_000 };
        let mut buf = Vec::new();
        let forwards: Vec<_> = (0..made.pieces()).map(|index| made.piece(index, &mut buf).to_vec()).collect();
        let backwards: Vec<_> =
            (0..made.pieces()).rev().map(|index| made.piece(index, &mut buf).to_vec()).collect();
        assert!(forwards.iter().eq(backwards.iter().rev()));
        assert_eq!(forwards.concat().len(), 150_000);
        assert_ne!(forwards[0], forwards[1]);
    }
}
