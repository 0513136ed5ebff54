//! A disk in memory that forgets, fails and fills up: what a crash may leave of what was written, by a seed.
//!
//! Knows for every sector of 512 bytes what is synced and what was written since, and for every name what `sync_dir` made
//! last and what happened since. [`CrashDisk::crash`] keeps any of what was not synced, each sector and each change of a name for
//! itself. A call can be made to fail, once or from then on; a write that fails may have written a part; what a failed sync
//! did not sync is clean from then on: no later sync makes it last.
//!
//! # Invariants
//! 1. What was synced without error, and not written since, survives every crash.
//! 2. The same calls and seeds give the same bytes.

use super::io::{Disk, DiskFile};
use crate::{
    map::FileMap,
    sync::{Arc, Mutex, MutexGuard},
};
use std::{
    collections::{BTreeMap, HashMap},
    io::{self, IoSlice, IoSliceMut},
    path::{Path, PathBuf},
};

const SECTOR: usize = 512;
type Sector = [u8; SECTOR];

/// A disk; a clone is the same one.
#[derive(Clone)]
pub(crate) struct CrashDisk {
    state: Arc<Mutex<State>>,
}

/// When a call is to fail, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// Number of the call, from 0, counted since the plan was made.
    pub(crate) call: u64,
    pub(crate) errno: i32,
    /// All calls after it fail as well.
    pub(crate) lasting: bool,
}

#[derive(Default)]
struct State {
    inodes: HashMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names since their directory was synced.
    pending: Vec<Change>,
    calls: u64,
    fault: Option<Fault>,
    room_bytes: Option<u64>,
    /// The machine is off.
    dead: bool,
    rng: u64,
}

#[derive(Clone)]
enum Change {
    Link(PathBuf, u64),
    Rename(PathBuf, PathBuf, u64),
    Unlink(PathBuf, u64),
}

#[derive(Default, Clone)]
struct Inode {
    /// As a reader sees it.
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What a sector may be after a crash, besides what is durable of it.
    written: BTreeMap<usize, Written>,
    /// What the length may be, besides that of `durable`.
    lengths: Vec<usize>,
    allocated: usize,
}

#[derive(Default, Clone)]
struct Written {
    versions: Vec<Sector>,
    /// A sync failed on it: the next one does nothing for it.
    lost: bool,
}

impl CrashDisk {
    /// Empty; never fails.
    pub(crate) fn new() -> Self {
        Self { state: Arc::new(Mutex::new(State { rng: 1, ..State::default() })) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Calls so far, since the last plan.
    pub(crate) fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Plans a failure, or none; calls count from 0 again.
    pub(crate) fn plan(&self, fault: Option<Fault>) {
        let mut state = self.lock();
        (state.fault, state.calls) = (fault, 0);
    }

    /// From here on all files together have room for `bytes`.
    pub(crate) fn set_room(&self, bytes: Option<u64>) {
        self.lock().room_bytes = bytes;
    }

    /// Bytes of all files that have a name.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// The power goes: a disk with what it may have kept. Every call on the old one fails from now on.
    pub(crate) fn crash(&self, seed: u64) -> CrashDisk {
        let mut state = self.lock();
        let mut rng = Rng(seed);
        let mut names = state.durable_names.clone();
        // Everything, nothing, or anything between: each seed has its own mood.
        let mood = rng.below(5);
        let mut keeps = move || match mood {
            0 => false,
            1 => true,
            _ => rng.below(2) == 0,
        };
        for change in &state.pending {
            if keeps() {
                change.apply(&mut names);
            }
        }
        let mut after = State { next_inode: state.next_inode, rng: seed | 1, ..State::default() };
        let mut rng = Rng(seed ^ 0x9e37);
        for inode in names.values() {
            if let Some(before) = state.inodes.get(inode) {
                let survived = before.survive(mood, &mut rng);
                after.inodes.insert(*inode, survived);
            }
        }
        names.retain(|_, inode| after.inodes.contains_key(inode));
        (after.names, after.durable_names) = (names.clone(), names);
        state.dead = true;
        CrashDisk { state: Arc::new(Mutex::new(after)) }
    }

    /// The process is killed: a disk as this one is, page cache included. Every call on the old one fails from now on.
    pub(crate) fn kill(&self) -> CrashDisk {
        let mut state = self.lock();
        let after = State {
            inodes: state.inodes.clone(),
            next_inode: state.next_inode,
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            pending: state.pending.clone(),
            room_bytes: state.room_bytes,
            rng: state.rng,
            ..State::default()
        };
        state.dead = true;
        CrashDisk { state: Arc::new(Mutex::new(after)) }
    }

    /// A disk with the same bytes, all of them durable; this one goes on.
    pub(crate) fn image(&self) -> CrashDisk {
        let state = self.lock();
        let settle = |inode: &Inode| Inode {
            now: inode.now.clone(),
            durable: inode.now.clone(),
            allocated: inode.allocated,
            ..Inode::default()
        };
        let after = State {
            inodes: state.inodes.iter().map(|(number, inode)| (*number, settle(inode))).collect(),
            next_inode: state.next_inode,
            names: state.names.clone(),
            durable_names: state.names.clone(),
            rng: state.rng,
            ..State::default()
        };
        CrashDisk { state: Arc::new(Mutex::new(after)) }
    }

    /// A file's bytes as a reader sees them.
    pub(crate) fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock();
        Some(state.inodes[state.names.get(path)?].now.clone())
    }

    /// Puts a file there, durably, over any of that name.
    pub(crate) fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.lock();
        let inode = state.new_inode();
        let file = state.inodes.get_mut(&inode).expect("just made");
        (file.now, file.durable) = (bytes.clone(), bytes);
        state.names.insert(path.to_path_buf(), inode);
        state.durable_names.insert(path.to_path_buf(), inode);
    }

    /// Takes a file away, durably.
    pub(crate) fn take(&self, path: &Path) {
        let mut state = self.lock();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    fn file(&self, inode: u64) -> Box<dyn DiskFile> {
        Box::new(CrashFile { disk: self.clone(), inode })
    }
}

impl State {
    /// Every call comes by here.
    fn call(&mut self) -> io::Result<()> {
        if self.dead {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let call = self.calls;
        self.calls += 1;
        match self.fault {
            Some(fault) if call == fault.call || fault.lasting && call > fault.call => {
                Err(io::Error::from_raw_os_error(fault.errno))
            }
            _ => Ok(()),
        }
    }

    fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.inodes.insert(self.next_inode, Inode::default());
        self.next_inode
    }

    fn used_bytes(&self) -> u64 {
        let live: std::collections::BTreeSet<_> = self.names.values().collect();
        live.iter().filter_map(|inode| self.inodes.get(inode)).map(Inode::space).sum()
    }

    /// What may be added to all files together.
    fn room(&self) -> u64 {
        self.room_bytes.map_or(u64::MAX, |room| room.saturating_sub(self.used_bytes()))
    }

    fn random(&mut self, bound: u64) -> u64 {
        let mut rng = Rng(self.rng);
        let value = rng.below(bound);
        self.rng = rng.0;
        value
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Change::Link(path, inode) => drop(names.insert(path.clone(), *inode)),
            Change::Rename(from, to, inode) => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            Change::Unlink(path, inode) => {
                if names.get(path) == Some(inode) {
                    names.remove(path);
                }
            }
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Change::Link(path, _) | Change::Unlink(path, _) | Change::Rename(_, path, _) => {
                path.parent() == Some(dir)
            }
        }
    }
}

impl Inode {
    fn space(&self) -> u64 {
        self.now.len().max(self.allocated) as u64
    }

    /// Notes what the sectors of `from..to` are now, as something that a crash may leave.
    fn note(&mut self, from: usize, to: usize) {
        for index in from / SECTOR..to.div_ceil(SECTOR) {
            let mut sector = [0; SECTOR];
            let end = self.now.len().min((index + 1) * SECTOR);
            let bytes = &self.now[(index * SECTOR).min(end)..end];
            sector[..bytes.len()].copy_from_slice(bytes);
            let written = self.written.entry(index).or_default();
            written.lost = false;
            written.versions.push(sector);
        }
    }

    fn set_len(&mut self, len: usize) {
        let before = self.now.len();
        self.now.resize(len, 0);
        if len < before {
            self.allocated = self.allocated.min(len);
            self.note(len, before);
        }
        self.lengths.push(len);
    }

    fn write(&mut self, bytes: &[u8], at: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        if end > self.now.len() {
            self.set_len(end);
        }
        self.now[at..end].copy_from_slice(bytes);
        self.note(at, end);
    }

    fn sync(&mut self) {
        let lost = std::mem::take(&mut self.written);
        let before = std::mem::replace(&mut self.durable, self.now.clone());
        self.lengths.clear();
        // What a failed sync gave up is not on its way any more: the disk still has what it had, or any version.
        for (index, written) in lost.into_iter().filter(|(_, written)| written.lost) {
            let range = index * SECTOR..((index + 1) * SECTOR).min(self.durable.len());
            if range.is_empty() {
                continue;
            }
            for at in range {
                self.durable[at] = before.get(at).copied().unwrap_or(0);
            }
            self.written.insert(index, written);
        }
    }

    fn fail_sync(&mut self) {
        self.written.values_mut().for_each(|written| written.lost = true);
    }

    fn survive(&self, mood: u64, rng: &mut Rng) -> Inode {
        let mut choices: Vec<usize> = vec![self.durable.len()];
        choices.extend(&self.lengths);
        let mut len = match mood {
            0 => self.durable.len(),
            1 => self.now.len(),
            _ => choices[rng.below(choices.len() as u64) as usize],
        };
        if mood == 4 && len > self.durable.len() {
            // Space may be added piece by piece.
            let pieces = (len - self.durable.len()) / SECTOR;
            len = self.durable.len() + rng.below(pieces as u64 + 1) as usize * SECTOR;
        }
        let mut bytes = self.durable.clone();
        bytes.resize(len, 0);
        for (index, written) in &self.written {
            let kept = match mood {
                0 => None,
                1 => written.versions.last(),
                _ => {
                    let choice = rng.below(written.versions.len() as u64 + 1) as usize;
                    choice.checked_sub(1).map(|choice| &written.versions[choice])
                }
            };
            let range = (index * SECTOR).min(len)..((index + 1) * SECTOR).min(len);
            if let Some(sector) = kept {
                let part = range.len();
                bytes[range].copy_from_slice(&sector[..part]);
            }
        }
        Inode { now: bytes.clone(), durable: bytes, allocated: self.allocated.min(len), ..Inode::default() }
    }
}

impl Disk for CrashDisk {
    fn create_temp(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        state.call()?;
        let inode = state.new_inode();
        Ok(self.file(inode))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        state.call()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.new_inode();
        state.names.insert(path.to_path_buf(), inode);
        state.pending.push(Change::Link(path.to_path_buf(), inode));
        Ok(self.file(inode))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        state.call()?;
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(inode))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.lock();
        state.call()?;
        let within = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(within.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.call()?;
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_path_buf(), inode);
        state.pending.push(Change::Rename(from.to_path_buf(), to.to_path_buf(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.call()?;
        let inode = state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.pending.push(Change::Unlink(path.to_path_buf(), inode));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.call()?;
        let State { pending, durable_names, .. } = &mut *state;
        for change in pending.extract_if(.., |change| change.is_in(dir)) {
            change.apply(durable_names);
        }
        Ok(())
    }

    fn capacity_bytes(&self, _: &Path) -> io::Result<u64> {
        let mut state = self.lock();
        state.call()?;
        Ok(state.room_bytes.unwrap_or(1 << 40))
    }
}

struct CrashFile {
    disk: CrashDisk,
    inode: u64,
}

impl CrashFile {
    fn with<R>(&self, f: impl FnOnce(&mut State, u64) -> io::Result<R>) -> io::Result<R> {
        f(&mut self.disk.lock(), self.inode)
    }
}

impl State {
    fn inode(&mut self, inode: u64) -> &mut Inode {
        self.inodes.get_mut(&inode).expect("inodes stay as long as their disk")
    }
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

impl DiskFile for CrashFile {
    fn allocate(&self, len_bytes: u64) -> io::Result<()> {
        self.with(|state, inode| {
            state.call()?;
            let room = state.room();
            let file = state.inode(inode);
            if len_bytes.saturating_sub(file.space()) > room {
                return Err(full());
            }
            let len = len_bytes as usize;
            file.allocated = file.allocated.max(len);
            if len > file.now.len() {
                file.set_len(len);
            }
            Ok(())
        })
    }

    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let at = offset as usize;
        self.with(|state, inode| {
            if let Err(error) = state.call() {
                if !state.dead {
                    // Some of it may be there.
                    let part = state.random(bytes.len() as u64 + 1) as usize;
                    let fits = state.room() >= part as u64;
                    if fits {
                        state.inode(inode).write(&bytes[..part], at);
                    }
                }
                return Err(error);
            }
            let room = state.room();
            let file = state.inode(inode);
            let more = ((at + bytes.len()) as u64).saturating_sub(file.space());
            if more > room {
                let part = bytes.len().saturating_sub((more - room) as usize);
                file.write(&bytes[..part], at);
                return Err(full());
            }
            file.write(&bytes, at);
            Ok(())
        })
    }

    fn read_at(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        self.with(|state, inode| {
            state.call()?;
            let bytes = &state.inode(inode).now;
            let mut rest = &bytes[(offset as usize).min(bytes.len())..];
            let mut filled = 0;
            for part in parts {
                let len = part.len().min(rest.len());
                part[..len].copy_from_slice(&rest[..len]);
                rest = &rest[len..];
                filled += len;
            }
            Ok(filled)
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|state, inode| {
            state.call()?;
            Ok(state.inode(inode).now.len() as u64)
        })
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        self.with(|state, inode| {
            state.call()?;
            state.inode(inode).set_len(len_bytes as usize);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state, inode| {
            let called = state.call();
            let file = state.inode(inode);
            if called.is_ok() {
                file.sync()
            } else {
                file.fail_sync()
            }
            called
        })
    }

    fn map(&self, _: usize) -> io::Result<Option<FileMap>> {
        Ok(None)
    }
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}
