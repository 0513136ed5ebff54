//! One operation on the store and on the model, and the comparison of their answers.

use super::{
    ops::{Data, GLOBS, Op, Opening, Way, Whence},
    plain::{Answer, FileId, Node, Plain, Refused, part, put_at},
};
use crate::common::{
    kind::{Fails, Kind},
    rng,
};
use memfs::{File, FileKind, FileRef, Location, MemFs, OpenOptions, Priority, WriteOptions};
use std::io::{Read, Seek, SeekFrom, Write};

pub(crate) struct Handle {
    pub(crate) file: File,
    pub(crate) id: FileId,
    pub(crate) opening: Opening,
    position: u64,
}

/// Something read and kept, with what it has to go on saying.
pub(crate) enum Held {
    Ref(FileRef, Vec<u8>),
    Bytes(bytes::Bytes, Vec<u8>),
}

impl Held {
    pub(crate) fn check(&self) {
        match self {
            Held::Ref(held, expected) => {
                assert_eq!(held.chunks().map(<[u8]>::len).sum::<usize>(), expected.len());
                let mut rest = &expected[..];
                for chunk in held.chunks() {
                    assert!(chunk == &rest[..chunk.len()], "a held FileRef changed");
                    rest = &rest[chunk.len()..];
                }
            }
            Held::Bytes(held, expected) => assert!(held == expected, "held Bytes changed"),
        }
    }

    fn len(&self) -> usize {
        match self {
            Held::Ref(_, expected) | Held::Bytes(_, expected) => expected.len(),
        }
    }
}

pub(crate) struct Pair {
    pub(crate) fs: MemFs,
    pub(crate) plain: Plain,
    pub(crate) handles: [Option<Handle>; 4],
    pub(crate) held: Vec<Held>,
    limit_bytes: u64,
    applied: usize,
}

pub(crate) fn bytes_of(data: Data) -> Vec<u8> {
    // Every fourth is text.
    if data.seed % 4 == 0 {
        vec![b'a' + (data.seed / 4 % 26) as u8; data.len]
    } else {
        rng::bytes(data.seed, data.len)
    }
}

#[track_caller]
fn refused<T, E: Fails>(result: Result<T, E>, expected: Refused) {
    match result {
        Ok(_) => panic!("succeeded, expected {expected:?}"),
        Err(error) => {
            assert!(expected.contains(&error.variant()), "{error:?}, expected {expected:?}");
        }
    }
}

/// Both fail alike, or both succeed; then their values.
#[track_caller]
fn both<T, U, E: Fails>(store: Result<T, E>, model: Answer<U>) -> Option<(T, U)> {
    match (store, model) {
        (Ok(store), Ok(model)) => Some((store, model)),
        (Err(error), Ok(_)) => panic!("{error:?}, expected success"),
        (store, Err(expected)) => {
            refused(store, expected);
            None
        }
    }
}

#[track_caller]
fn same(store: &[u8], model: &[u8]) {
    if store != model {
        let at = store.iter().zip(model).position(|(a, b)| a != b).unwrap_or(store.len().min(model.len()));
        panic!("{} bytes, expected {}; the first that differs is {at}", store.len(), model.len());
    }
}

impl Pair {
    pub(crate) fn new(fs: MemFs, limit_bytes: u64) -> Self {
        let handles = [const { None }; 4];
        Self { fs, plain: Plain::default(), handles, held: Vec::new(), limit_bytes, applied: 0 }
    }

    pub(crate) fn fs(&self) -> &MemFs {
        &self.fs
    }

    /// Whether `needed` further bytes in RAM may be more than there is room for beside what cannot be moved: only then is
    /// `MemoryLimit` an answer.
    pub(crate) fn tight(&self, needed: usize) -> bool {
        let held: usize = self.held.iter().map(Held::len).sum();
        (self.plain.locked_bytes() + 2 * held + needed) as u64 > self.limit_bytes / 2
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        self.on_files(op);
        self.applied += 1;
        if self.applied.is_multiple_of(8) {
            let memory = self.fs.stats().memory;
            assert!(memory.current_usage <= memory.limit && memory.peak_usage <= memory.limit, "{memory:?}");
        }
    }

    fn on_files(&mut self, op: &Op) {
        match op {
            Op::Write(path, data) => self.write(path, *data, None, false),
            Op::WriteWith { path, data, priority, create_new } => {
                self.write(path, *data, *priority, *create_new);
            }
            Op::Read(path, way) => self.read(path, *way),
            Op::ReadToString(path) => self.read_to_string(path),
            Op::ReadAt { path, offset, len } => {
                let mut buf = vec![0xA5; *len];
                let result = self.fs.read_at(path, &mut buf, *offset);
                if let Some((n, id)) = both(result, self.plain.file(path)) {
                    same(&buf[..n], part(&self.plain.files[id].bytes, *offset, *len));
                    assert!(buf[n..].iter().all(|&b| b == 0xA5), "bytes past the answer were touched");
                }
            }
            Op::WriteAt { path, data, offset } => self.write_at(path, *data, *offset),
            Op::Append(path, data) => self.append(path, *data),
            Op::SetLen(path, len) => {
                let may = self.may_be_refused(self.plain.file(path).ok(), *len as usize);
                let result = self.fs.set_len(path, *len);
                if may && matches!(&result, Err(e) if e.variant() == Kind::MemoryLimit) {
                    return;
                }
                if let Some(((), id)) = both(result, self.plain.file(path)) {
                    self.plain.files[id].bytes.resize(*len as usize, 0);
                }
            }
            Op::Copy(from, to) => self.copy(from, to),
            Op::Metadata(path) => self.metadata(path),
            Op::Hold(path) => self.hold(path),
            Op::LetGo(which) => {
                if *which < self.held.len() {
                    self.held.swap_remove(*which).check();
                }
            }
            _ => self.on_handles(op),
        }
    }

    fn on_handles(&mut self, op: &Op) {
        match op {
            Op::Open(path, opening) => self.open(path, *opening),
            Op::HandleClose { handle } => self.handles[*handle] = None,
            Op::HandleRead { handle, len } => self.handle_read(*handle, *len),
            Op::HandleWrite { handle, data } => self.handle_write(*handle, *data),
            Op::HandleSeek { handle, to } => self.handle_seek(*handle, *to),
            Op::HandleReadAt { handle, offset, len } => self.handle_read_at(*handle, *offset, *len),
            Op::HandleWriteAt { handle, data, offset } => self.handle_write_at(*handle, *data, *offset),
            Op::HandleSetLen { handle, len } => self.handle_set_len(*handle, *len),
            Op::HandleMetadata { handle } => {
                if let Some(handle) = &self.handles[*handle] {
                    let metadata = handle.file.metadata().unwrap();
                    assert_eq!(metadata.len(), self.plain.files[handle.id].bytes.len() as u64);
                    assert_eq!(metadata.kind(), FileKind::File);
                }
            }
            _ => self.on_names(op),
        }
    }

    fn on_names(&mut self, op: &Op) {
        match op {
            Op::RemoveFile(path) => {
                both(self.fs.remove_file(path), self.plain.remove_file(path));
            }
            Op::Rename(from, to) => {
                both(self.fs.rename(from, to), self.plain.rename(from, to));
            }
            Op::CreateDir(path) => {
                both(self.fs.create_dir(path), self.plain.create_dir(path));
            }
            Op::CreateDirAll(path) => {
                both(self.fs.create_dir_all(path), self.plain.create_dir_all(path));
            }
            Op::RemoveDir(path) => {
                both(self.fs.remove_dir(path), self.plain.remove_dir(path));
            }
            Op::RemoveDirAll(path) => {
                both(self.fs.remove_dir_all(path), self.plain.remove_dir_all(path));
            }
            Op::ReadDir(path) => self.read_dir(path),
            Op::Walk(path) => self.walk(path),
            Op::Glob(which) => self.glob(*which),
            _ => self.on_tiers(op),
        }
    }

    fn on_tiers(&mut self, op: &Op) {
        match op {
            Op::SetPriority(path, level) => {
                let may = self.may_be_refused_at(self.plain.file(path).ok(), 0, *level);
                let result = self.fs.set_priority(path, Priority::new(*level).unwrap());
                if may && matches!(&result, Err(e) if e.variant() == Kind::MemoryLimit) {
                    return;
                }
                if let Some(((), id)) = both(result, self.plain.file(path)) {
                    self.plain.files[id].priority = *level;
                }
            }
            Op::Priority(path) => {
                if let Some((found, id)) = both(self.fs.priority(path), self.plain.file(path)) {
                    assert_eq!(found.get(), self.plain.files[id].priority);
                }
            }
            Op::Preload(path) => {
                if let Some((preload, _)) = both(self.fs.preload(path), self.plain.file(path)) {
                    match preload.wait() {
                        Err(error) => assert_eq!(error.variant(), Kind::MemoryLimit, "{error}"),
                        Ok(()) => {}
                    }
                }
            }
            Op::Gc(target) => {
                self.fs.gc(*target).unwrap();
            }
            Op::MemoryMap => self.memory_map(),
            other => unreachable!("{other:?} is dealt with above"),
        }
    }

    /// Whether a change to `len` more bytes of a file, locked already, may be refused.
    fn may_be_refused(&self, id: Option<FileId>, len: usize) -> bool {
        id.is_some_and(|id| self.may_be_refused_at(Some(id), len, self.plain.files[id].priority))
    }

    fn may_be_refused_at(&self, id: Option<FileId>, len: usize, level: u8) -> bool {
        let own = id.map_or(0, |id| self.plain.files[id].bytes.len());
        level >= 9 && self.tight(own + len)
    }

    fn write(&mut self, path: &str, data: Data, priority: Option<u8>, create_new: bool) {
        let bytes = bytes_of(data);
        let mut options = WriteOptions::new().create_new(create_new);
        if let Some(level) = priority {
            options = options.priority(Priority::new(level).unwrap());
        }
        let id = self.plain.file(path).ok();
        let level = priority.or(id.map(|id| self.plain.files[id].priority)).unwrap_or(5);
        let may = self.may_be_refused_at(id, bytes.len(), level);
        let plain_call = priority.is_none() && !create_new;
        let result =
            if plain_call { self.fs.write(path, &bytes) } else { self.fs.write_with(path, &bytes, &options) };
        if may && matches!(&result, Err(e) if e.variant() == Kind::MemoryLimit) {
            return;
        }
        if both(result, self.plain.can_write(path, create_new)).is_some() {
            let id = self.plain.file_or_new(path).unwrap();
            self.plain.files[id].bytes = bytes;
            self.plain.files[id].priority = level;
        }
    }

    fn append(&mut self, path: &str, data: Data) {
        let bytes = bytes_of(data);
        let may = self.may_be_refused(self.plain.file(path).ok(), bytes.len());
        let result = self.fs.append(path, &bytes);
        if may && matches!(&result, Err(e) if e.variant() == Kind::MemoryLimit) {
            return;
        }
        if both(result, self.plain.can_write(path, false)).is_some() {
            let id = self.plain.file_or_new(path).unwrap();
            self.plain.files[id].bytes.extend_from_slice(&bytes);
        }
    }

    fn write_at(&mut self, path: &str, data: Data, offset: u64) {
        let bytes = bytes_of(data);
        let may = self.may_be_refused(self.plain.file(path).ok(), bytes.len() + offset as usize);
        let result = self.fs.write_at(path, &bytes, offset);
        if may && matches!(&result, Err(e) if e.variant() == Kind::MemoryLimit) {
            return;
        }
        if let Some((n, id)) = both(result, self.plain.file(path)) {
            assert_eq!(n, bytes.len());
            put_at(&mut self.plain.files[id].bytes, &bytes, offset);
        }
    }

    pub(crate) fn read(&mut self, path: &str, way: Way) {
        let expected = self.plain.file(path).map(|id| &self.plain.files[id].bytes);
        let len = expected.map_or(0, Vec::len);
        let one_piece = match way {
            Way::Read => return self.compare(self.fs.read(path), path),
            Way::GetChunks => {
                let result = self.fs.get(path).map(|held| {
                    assert_eq!(held.len(), len);
                    held.chunks().flatten().copied().collect()
                });
                return self.compare(result, path);
            }
            // A long file beyond the limit has no slice.
            Way::Get if self.tight(len) => return,
            Way::Get => self.fs.get(path).map(|held| held.to_vec()),
            Way::ReadWith => self.fs.read_with(path, <[u8]>::to_vec),
            Way::ReadBytes => self.fs.read_bytes(path).map(|bytes| bytes.to_vec()),
        };
        if self.tight(len) && matches!(&one_piece, Err(e) if e.variant() == Kind::MemoryLimit) {
            return;
        }
        self.compare(one_piece, path);
    }

    fn compare(&self, result: memfs::Result<Vec<u8>>, path: &str) {
        if let Some((found, id)) = both(result, self.plain.file(path)) {
            same(&found, &self.plain.files[id].bytes);
        }
    }

    fn read_to_string(&self, path: &str) {
        let result = self.fs.read_to_string(path);
        match self.plain.file(path).map(|id| std::str::from_utf8(&self.plain.files[id].bytes)) {
            Ok(Ok(text)) => assert!(result.unwrap() == text),
            Ok(Err(_)) => assert!(result.is_err(), "not text, but read as a string"),
            Err(expected) => refused(result, expected),
        }
    }

    fn copy(&mut self, from: &str, to: &str) {
        let source = self.plain.file(from);
        let len = source.map_or(0, |id| self.plain.files[id].bytes.len());
        let may = self.may_be_refused(self.plain.file(to).ok(), len) || self.may_be_refused(source.ok(), len);
        let result = self.fs.copy(from, to);
        if may && matches!(&result, Err(e) if e.variant() == Kind::MemoryLimit) {
            return;
        }
        match (source, self.plain.can_write(to, false)) {
            (Err(a), Err(b)) => {
                let found = result.expect_err("both paths are wrong").variant();
                assert!(a.contains(&found) || b.contains(&found), "{found:?}, expected {a:?} or {b:?}");
            }
            (Err(expected), Ok(())) | (Ok(_), Err(expected)) => refused(result, expected),
            (Ok(source), Ok(())) => {
                let existed = self.plain.file(to).is_ok();
                let content = self.plain.files[source].clone();
                assert_eq!(result.unwrap(), content.bytes.len() as u64);
                let id = self.plain.file_or_new(to).unwrap();
                self.plain.files[id].bytes = content.bytes;
                if !existed {
                    let level = self.fs.priority(to).unwrap().get();
                    assert!(level == 5 || level == content.priority, "a copy of priority {level}");
                    self.plain.files[id].priority = level;
                }
            }
        }
    }

    pub(crate) fn metadata(&self, path: &str) {
        if let Some((found, node)) = both(self.fs.metadata(path), self.plain.node(path)) {
            assert_eq!(found.path(), path);
            match node {
                Node::Dir => assert_eq!(found.kind(), FileKind::Directory),
                Node::File(id) => {
                    let content = &self.plain.files[id];
                    assert_eq!((found.kind(), found.len()), (FileKind::File, content.bytes.len() as u64));
                    assert_eq!(found.priority().get(), content.priority);
                    assert!(found.effective_priority().get() >= content.priority);
                    assert!(found.created() <= found.modified());
                }
            }
        }
    }

    fn hold(&mut self, path: &str) {
        let Ok(id) = self.plain.file(path) else {
            return refused(self.fs.get(path), &[Kind::NotFound, Kind::NotADirectory, Kind::IsADirectory]);
        };
        let expected = self.plain.files[id].bytes.clone();
        if self.held.len() >= 4 || self.tight(2 * expected.len()) {
            return;
        }
        let held = if self.held.len().is_multiple_of(2) {
            Held::Ref(self.fs.get(path).unwrap(), expected)
        } else {
            Held::Bytes(self.fs.read_bytes(path).unwrap(), expected)
        };
        held.check();
        self.held.push(held);
    }

    fn memory_map(&self) {
        let mut seen = std::collections::BTreeSet::new();
        for resident in self.fs.memory_map() {
            let id = self.plain.file(resident.path()).unwrap_or_else(|_| panic!("no file {resident:?}"));
            assert_eq!(resident.len(), self.plain.files[id].bytes.len() as u64);
            assert_ne!(resident.location(), Location::Disk);
            assert!(seen.insert(resident.path().to_owned()), "{} is there twice", resident.path());
        }
    }

    fn open(&mut self, path: &str, opening: Opening) {
        let existed = self.plain.file(path).ok();
        let mut options = OpenOptions::new();
        options.read(opening.read).write(opening.write).append(opening.append).truncate(opening.truncate);
        options.create(opening.create).create_new(opening.create_new);
        if let Some(level) = opening.priority {
            options.priority(Priority::new(level).unwrap());
        }
        let level = opening.priority.unwrap_or(0);
        let may = self.may_be_refused_at(existed, 0, level);
        let result = self.fs.open_with(path, &options);
        if may && matches!(&result, Err(e) if e.variant() == Kind::MemoryLimit) {
            return;
        }
        let Some((file, id)) = both(result, self.plain.open(path, &opening)) else { return };
        if let (Some(level), Some(id)) = (opening.priority, existed) {
            // Whether opening a file that is there changes its priority is the store's to say.
            let found = self.fs.priority(path).unwrap().get();
            assert!(found == level || found == self.plain.files[id].priority);
            self.plain.files[id].priority = found;
        }
        let slot = self.handles.iter().position(Option::is_none).unwrap_or(id % 4);
        self.handles[slot] = Some(Handle { file, id, opening, position: 0 });
    }

    fn handle_read(&mut self, handle: usize, len: usize) {
        let Some(handle) = &mut self.handles[handle] else { return };
        let mut buf = vec![0; len];
        let result = handle.file.read(&mut buf);
        if !handle.opening.read {
            assert!(result.is_err(), "read through a handle not opened for it");
            return;
        }
        let expected = part(&self.plain.files[handle.id].bytes, handle.position, len);
        let n = result.unwrap();
        assert!(n > 0 || expected.is_empty(), "nothing read before the end");
        same(&buf[..n], &expected[..n]);
        handle.position += n as u64;
    }

    /// Whether a write through `handle` may be refused for want of room.
    fn handle_may(&self, handle: usize, extra: usize) -> bool {
        self.handles[handle].as_ref().is_some_and(|handle| self.may_be_refused(Some(handle.id), extra))
    }

    fn handle_write(&mut self, index: usize, data: Data) {
        let bytes = bytes_of(data);
        let may = self.handle_may(index, bytes.len());
        let Some(handle) = &mut self.handles[index] else { return };
        let result = handle.file.write(&bytes);
        if !handle.opening.write && !handle.opening.append {
            assert!(result.is_err() || bytes.is_empty(), "written through a handle not opened for it");
            return;
        }
        if may && matches!(&result, Err(e) if e.variant() == Kind::MemoryLimit) {
            return;
        }
        let n = result.unwrap();
        assert!(n > 0 || bytes.is_empty());
        let content = &mut self.plain.files[handle.id].bytes;
        if handle.opening.append {
            content.extend_from_slice(&bytes[..n]);
            handle.position = content.len() as u64;
        } else {
            put_at(content, &bytes[..n], handle.position);
            handle.position += n as u64;
        }
    }

    fn handle_seek(&mut self, handle: usize, to: Whence) {
        let Some(handle) = &mut self.handles[handle] else { return };
        let len = self.plain.files[handle.id].bytes.len() as i64;
        let (to, expected) = match to {
            Whence::Start(at) => (SeekFrom::Start(at), at as i64),
            Whence::End(by) => (SeekFrom::End(by), len + by),
            Whence::Current(by) => (SeekFrom::Current(by), handle.position as i64 + by),
        };
        match handle.file.seek(to) {
            Ok(at) => {
                assert_eq!(at as i64, expected);
                handle.position = at;
            }
            Err(error) => assert!(expected < 0, "{error}"),
        }
    }

    fn handle_read_at(&mut self, handle: usize, offset: u64, len: usize) {
        let Some(handle) = &self.handles[handle] else { return };
        let mut buf = vec![0; len];
        let result = handle.file.read_at(&mut buf, offset);
        if !handle.opening.read {
            assert!(result.is_err(), "read through a handle not opened for it");
            return;
        }
        same(&buf[..result.unwrap()], part(&self.plain.files[handle.id].bytes, offset, len));
    }

    fn handle_write_at(&mut self, index: usize, data: Data, offset: u64) {
        let bytes = bytes_of(data);
        let may = self.handle_may(index, bytes.len() + offset as usize);
        let Some(handle) = &self.handles[index] else { return };
        if handle.opening.append {
            // POSIX and Linux differ.
            return;
        }
        let result = handle.file.write_at(&bytes, offset);
        if !handle.opening.write {
            assert!(result.is_err() || bytes.is_empty(), "written through a handle not opened for it");
            return;
        }
        if may && matches!(&result, Err(e) if e.variant() == Kind::MemoryLimit) {
            return;
        }
        let n = result.unwrap();
        put_at(&mut self.plain.files[handle.id].bytes, &bytes[..n], offset);
    }

    fn handle_set_len(&mut self, index: usize, len: u64) {
        let may = self.handle_may(index, len as usize);
        let Some(handle) = &self.handles[index] else { return };
        let result = handle.file.set_len(len);
        if !handle.opening.write && !handle.opening.append {
            assert!(result.is_err(), "length set through a handle not opened for it");
            return;
        }
        if may && matches!(&result, Err(e) if e.variant() == Kind::MemoryLimit) {
            return;
        }
        result.unwrap();
        self.plain.files[handle.id].bytes.resize(len as usize, 0);
    }

    pub(crate) fn read_dir(&self, path: &str) {
        let model = self.plain.dir(path).map(|()| self.plain.children(path));
        let store = self.fs.read_dir(path);
        if let Some((found, expected)) = both(store, model) {
            let found: Vec<_> = found
                .map(|entry| {
                    assert_eq!(entry.path(), format!("{path}/{}", entry.file_name()));
                    (entry.path().to_owned(), entry.kind())
                })
                .collect();
            let expected: Vec<_> = expected.into_iter().map(|(name, node)| (name, kind(node))).collect();
            assert_eq!(found, expected);
        }
    }

    pub(crate) fn walk(&self, path: &str) {
        let model = self.plain.dir(path).map(|()| self.plain.below(path));
        let start = if path.is_empty() { "/" } else { path };
        if let Ok(Node::File(_)) = self.plain.node(path) {
            // What a walk from a file gives is for the store to say.
            return;
        }
        if let Some((found, expected)) = both(self.fs.walk(start), model) {
            let mut found: Vec<_> = found
                .filter(|entry| entry.path() != start)
                .map(|entry| (entry.path().to_owned(), entry.kind()))
                .collect();
            depth_first(&found);
            found.sort_by(|a, b| a.0.cmp(&b.0));
            let expected: Vec<_> = expected.into_iter().map(|(name, node)| (name, kind(node))).collect();
            assert_eq!(found, expected);
        }
    }

    pub(crate) fn glob(&self, which: usize) {
        let (pattern, fits) = GLOBS[which];
        let expected: Vec<String> = self
            .plain
            .names
            .iter()
            .filter(|(name, node)| {
                matches!(node, Node::File(_)) && fits(&name[1..].split('/').collect::<Vec<_>>())
            })
            .map(|(name, _)| name.clone())
            .collect();
        assert_eq!(self.fs.glob(pattern).unwrap(), expected, "{pattern}");
    }
}

fn kind(node: Node) -> FileKind {
    match node {
        Node::Dir => FileKind::Directory,
        Node::File(_) => FileKind::File,
    }
}

/// Everything below a directory comes in one stretch, together with the directory itself.
fn depth_first(entries: &[(String, FileKind)]) {
    for (path, _) in entries {
        let within = |other: &str| other == path || other.starts_with(&format!("{path}/"));
        let places: Vec<usize> =
            entries.iter().enumerate().filter(|(_, (other, _))| within(other)).map(|(at, _)| at).collect();
        let (first, last) = (places[0], places[places.len() - 1]);
        assert_eq!(last - first + 1, places.len(), "not depth first at {path}: {entries:?}");
    }
}
