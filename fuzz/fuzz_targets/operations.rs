//! Sequences of operations, under the tightest limits there are, against a plain model.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use memfs::{Error, FileRef, MemFs, Priority};
use std::collections::BTreeMap;

const NAMES: [&str; 8] = ["/a", "/b", "/c", "/d/a", "/d/b", "/d/e/a", "/f", "/g"];
const MOST_FILES_BYTES: usize = 2 << 20;

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Name(u8);

impl Name {
    fn text(self) -> &'static str {
        NAMES[self.0 as usize % NAMES.len()]
    }
}

#[derive(Arbitrary, Debug)]
enum Op {
    Write(Name, u16, u8),
    WriteLong(Name, u8, u8),
    Append(Name, u16, u8),
    WriteAt(Name, u32, u16, u8),
    SetLen(Name, u32),
    Read(Name),
    ReadAt(Name, u32, u16),
    Get(Name),
    ReadWith(Name),
    Remove(Name),
    Rename(Name, Name),
    Copy(Name, Name),
    Gc(u8),
    SetPriority(Name, u8),
    Drop,
}

/// Seven bytes of a kind, and so on. By slices here and in `is`: what goes byte by byte is instrumented byte by byte.
fn pattern(len: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for (at, run) in bytes.chunks_mut(7).enumerate() {
        run.fill(seed.wrapping_add(at as u8));
    }
    bytes
}

/// Whether that is what is held.
fn is(file: &FileRef, expected: &[u8]) -> bool {
    let mut rest = expected;
    file.chunks().all(|chunk| rest.split_off(..chunk.len()).is_some_and(|first| first == chunk))
        && rest.is_empty()
}

type Model = BTreeMap<&'static str, Vec<u8>>;

/// The answer is the model's; RAM, which files of another kind may fill, is the one excuse, and then nothing happened.
fn agree<T: PartialEq + std::fmt::Debug>(got: Result<T, Error>, expected: Option<T>, what: &Op) -> bool {
    match (got, expected) {
        (Ok(got), Some(expected)) => {
            assert!(got == expected, "{what:?}: another answer");
            true
        }
        (Err(Error::NotFound { .. }), None) => false,
        (Err(Error::MemoryLimit { .. }), _) => false,
        (got, expected) => panic!("{what:?}: {got:?} in place of {expected:?}"),
    }
}

fn run(fs: &MemFs, model: &mut Model, held: &mut Vec<(FileRef, Vec<u8>)>, op: &Op) {
    match *op {
        Op::Write(name, len, seed) => {
            let data = pattern(len as usize, seed);
            if agree(fs.write(name.text(), &data), Some(()), op) {
                model.insert(name.text(), data);
            }
        }
        Op::WriteLong(name, pages, seed) => {
            let data = pattern(pages as usize * 2048, seed);
            if agree(fs.write(name.text(), &data), Some(()), op) {
                model.insert(name.text(), data);
            }
        }
        Op::Append(name, len, seed) => {
            let data = pattern(len as usize % 9000, seed);
            if agree(fs.append(name.text(), &data), Some(()), op) {
                model.entry(name.text()).or_default().extend(data);
            }
        }
        Op::WriteAt(name, offset, len, seed) => {
            let (offset, data) = (offset as usize % 300_000, pattern(len as usize % 9000, seed));
            let file = model.get_mut(name.text());
            let expected = file.is_some().then_some(data.len());
            if agree(fs.write_at(name.text(), &data, offset as u64), expected, op)
                && let Some(file) = file
                && !data.is_empty()
            {
                file.resize(file.len().max(offset + data.len()), 0);
                file[offset..offset + data.len()].copy_from_slice(&data);
            }
        }
        Op::SetLen(name, len) => {
            let len = len as usize % 300_000;
            let file = model.get_mut(name.text());
            if agree(fs.set_len(name.text(), len as u64), file.is_some().then_some(()), op)
                && let Some(file) = file
            {
                file.resize(len, 0);
            }
        }
        Op::Read(name) => _ = agree(fs.read(name.text()), model.get(name.text()).cloned(), op),
        Op::ReadAt(name, offset, len) => {
            let (offset, mut buffer) = (offset as usize % 300_000, vec![0xEE; len as usize % 20_000]);
            let expected = model.get(name.text()).map(|file| {
                let from = offset.min(file.len());
                file[from..file.len().min(from + buffer.len())].to_vec()
            });
            let got = fs.read_at(name.text(), &mut buffer, offset as u64);
            agree(got.map(|n| buffer[..n].to_vec()), expected, op);
        }
        Op::Get(name) => match fs.get(name.text()) {
            Ok(file) => {
                let expected = model[name.text()].clone();
                assert!(is(&file, &expected), "{op:?}: another answer");
                if held.len() < 8 {
                    held.push((file, expected));
                }
            }
            Err(error) => _ = agree(Err::<Vec<u8>, _>(error), model.get(name.text()).cloned(), op),
        },
        Op::ReadWith(name) => {
            let expected = model.get(name.text()).cloned();
            agree(fs.read_with(name.text(), <[u8]>::to_vec), expected, op);
        }
        Op::Remove(name) => {
            let expected = model.contains_key(name.text()).then_some(());
            if agree(fs.remove_file(name.text()), expected, op) {
                model.remove(name.text());
            }
        }
        Op::Rename(from, to) => rename(fs, model, from, to, op),
        Op::Copy(from, to) => {
            let file = model.get(from.text()).cloned();
            if agree(fs.copy(from.text(), to.text()), file.as_ref().map(|file| file.len() as u64), op)
                && let Some(file) = file
            {
                model.insert(to.text(), file);
            }
        }
        Op::Gc(target) => _ = fs.gc(f64::from(target) / 255.0).expect("a target"),
        Op::SetPriority(name, level) => {
            // Not the locked ones: files that fill the limit for good are another contract.
            let priority = Priority::new(level % 9).expect("a level");
            agree(fs.set_priority(name.text(), priority), model.contains_key(name.text()).then_some(()), op);
        }
        Op::Drop => held.clear(),
    }
}

fn rename(fs: &MemFs, model: &mut Model, from: Name, to: Name, op: &Op) {
    let parent = &to.text()[..to.text().rfind('/').expect("absolute")];
    let possible = model.contains_key(from.text()) && (parent.is_empty() || fs.exists(parent));
    if agree(fs.rename(from.text(), to.text()), possible.then_some(()), op)
        && let Some(file) = model.remove(from.text())
    {
        model.insert(to.text(), file);
    }
}

fuzz_target!(|ops: Vec<Op>| {
    let fs = MemFs::builder()
        .memory_limit_bytes(256 << 10)
        .chunk_size(4096)
        .segment_size(64 << 10)
        .worker_threads(0)
        .build()
        .expect("a store");
    let (mut model, mut held) = (Model::new(), Vec::new());
    for op in ops.iter().take(60) {
        run(&fs, &mut model, &mut held, op);
        if model.values().map(Vec::len).sum::<usize>() > MOST_FILES_BYTES {
            break;
        }
    }
    for (file, expected) in &held {
        assert!(is(file, expected), "what is held has changed");
    }
    for (name, expected) in &model {
        let last = Op::Read(Name(0));
        assert!(agree(fs.read(name), Some(expected.clone()), &last), "{name} is lost");
    }
    fs.validate();
});
