//! A small store's files with any bytes of them changed, cut, gone: what is read is what was written, or an error.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use memfs_fuzz::{Files, examine, sample};

#[derive(Arbitrary, Debug)]
enum Edit {
    Flip {
        file: u8,
        at: u16,
        mask: u8,
    },
    Put {
        file: u8,
        at: u16,
        bytes: Vec<u8>,
    },
    Zero {
        file: u8,
        at: u16,
        len: u16,
    },
    Cut {
        file: u8,
        len: u16,
    },
    Append {
        file: u8,
        bytes: Vec<u8>,
    },
    Remove {
        file: u8,
    },
    /// One file under the name of another.
    Rename {
        file: u8,
        to: u8,
    },
    Add {
        kind: u8,
        number: u8,
        bytes: Vec<u8>,
    },
}

#[derive(Arbitrary, Debug)]
struct Harm {
    sample: u8,
    is_saved: bool,
    is_used: bool,
    edits: Vec<Edit>,
}

fn nth(files: &mut Files, number: u8) -> Option<&mut (String, Vec<u8>)> {
    let count = files.len().max(1);
    files.get_mut(number as usize % count)
}

fn apply(files: &mut Files, edit: Edit) -> Option<()> {
    match edit {
        Edit::Flip { file, at, mask } => *nth(files, file)?.1.get_mut(at as usize)? ^= mask,
        Edit::Put { file, at, bytes } => {
            let contents = nth(files, file)?.1.get_mut(at as usize..)?;
            contents.iter_mut().zip(bytes).for_each(|(byte, new)| *byte = new);
        }
        Edit::Zero { file, at, len } => {
            nth(files, file)?
                .1
                .get_mut(at as usize..)?
                .iter_mut()
                .take(len as usize)
                .for_each(|byte| *byte = 0);
        }
        Edit::Cut { file, len } => nth(files, file)?.1.truncate(len as usize),
        Edit::Append { file, bytes } => nth(files, file)?.1.extend(bytes),
        Edit::Remove { file } => {
            let name = nth(files, file)?.0.clone();
            files.retain(|(other, _)| *other != name);
        }
        Edit::Rename { file, to } => {
            let to = nth(files, to)?.0.clone();
            let contents = nth(files, file)?.1.clone();
            let from = nth(files, file)?.0.clone();
            files.retain(|(other, _)| *other != from && *other != to);
            files.push((to, contents));
        }
        Edit::Add { kind, number, bytes } => {
            let name = match kind % 7 {
                0 => format!("{number:06}.seg"),
                1 => format!("journal-{number:016x}"),
                2 => format!("checkpoint-{number:016x}"),
                3 => format!("journal-{number:016x}.tmp"),
                4 => format!("checkpoint-{number:016x}.tmp"),
                5 => format!("front-{number:016x}"),
                _ => format!("front-{number:016x}.tmp"),
            };
            files.retain(|(other, _)| *other != name);
            files.push((name, bytes));
        }
    }
    Some(())
}

fuzz_target!(|harm: Harm| {
    let good = sample(harm.sample);
    let mut files = good.files.clone();
    for edit in harm.edits.into_iter().take(8) {
        let _ = apply(&mut files, edit);
    }
    files.sort();
    examine(&files, Some(good), harm.is_saved, harm.is_used);
});
