//! What is behind the handles: the core, its threads, the directory's lock; and who shares a store that lasts.

use super::oplog::OperationLog;
use crate::{
    config::{Config, StorageMode},
    error::{Error, Result},
    segment::DirLock,
    sync::{AtomicBool, AtomicU64, Ordering},
    tier::{Core, default_dir},
};
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, Weak},
    thread::{self, JoinHandle},
    time::Duration,
};

/// What one call of `build` has of a store. Several share a store that lasts; the last one to close closes it.
pub(super) struct Opener {
    /// The store's: one step less on the way of every call.
    pub(super) core: Arc<Core>,
    closed: AtomicBool,
    store: Arc<Store>,
}

impl Opener {
    pub(super) fn new(config: Config) -> Result<Self> {
        let store = match config.mode {
            StorageMode::Temp => {
                let lock = config.storage_path.as_deref().map(DirLock::acquire).transpose()?;
                Arc::new(Store::open(config, lock)?)
            }
            StorageMode::Persist => share(config)?,
        };
        Ok(Self::of(store))
    }

    fn of(store: Arc<Store>) -> Self {
        Self { core: store.core.clone(), closed: AtomicBool::new(false), store }
    }

    /// One over another disk, that nobody shares and no lock protects.
    #[cfg(test)]
    pub(super) fn over(config: Config, disk: Arc<dyn crate::segment::Disk>) -> Result<Self> {
        Ok(Self::of(Arc::new(Store::of(Core::with_disk(config, disk)?, None, None)?)))
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    #[inline]
    pub(super) fn has_closed(&self) -> bool {
        // Acquire: pairs with `close`.
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) || !self.store.leave() {
            return Ok(());
        }
        self.store.close()
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        // Who wants to know closes the store by name.
        let _ = self.close();
    }
}

/// The core, its threads, and what ends with it.
pub(super) struct Store {
    core: Arc<Core>,
    /// How many have it open.
    openers: AtomicU64,
    workers: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<DirLock>>,
    pub(super) log: Option<OperationLog>,
}

impl Store {
    fn open(mut config: Config, lock: Option<DirLock>) -> Result<Self> {
        let log = config.operation_log.as_deref().map(OperationLog::open).transpose()?;
        config.storage_path.get_or_insert_with(default_dir);
        Self::of(Core::new(config)?, lock, log)
    }

    fn of(core: Arc<Core>, lock: Option<DirLock>, log: Option<OperationLog>) -> Result<Self> {
        let store = Self {
            core,
            openers: AtomicU64::new(1),
            workers: Mutex::new(Vec::new()),
            lock: Mutex::new(lock),
            log,
        };
        match store.start_threads() {
            Ok(()) => Ok(store),
            Err(error) => {
                let _ = store.close();
                Err(error)
            }
        }
    }

    fn start_threads(&self) -> Result<()> {
        let count = self.core.config.worker_threads;
        for number in 0..count {
            let core = self.core.clone();
            self.start(format!("memfs-{number}"), move || core.work(number))?;
        }
        if count > 0 && self.core.log.is_some() {
            let core = self.core.clone();
            self.start("memfs-flush".to_owned(), move || core.keep_flushing())?;
        }
        Ok(())
    }

    fn start(&self, name: String, run: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = thread::Builder::new().name(name).spawn(run);
        let thread = thread.map_err(|source| Error::io("", "starting a worker thread", source))?;
        unpoisoned(&self.workers).push(thread);
        Ok(())
    }

    /// One more opener, unless the last one has left.
    fn enter(&self) -> bool {
        let more = |openers| (openers > 0).then_some(openers + 1);
        self.openers.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).is_ok()
    }

    /// One less; whether it was the last.
    fn leave(&self) -> bool {
        self.openers.fetch_sub(1, Ordering::AcqRel) == 1
    }

    fn close(&self) -> Result<()> {
        if !self.core.shut() {
            return Ok(());
        }
        let local = self.core.local();
        self.core.cancel_preloads(&local);
        if let Some(log) = &self.core.log {
            log.wake_to_end();
        }
        for worker in std::mem::take(&mut *unpoisoned(&self.workers)) {
            // A worker that drops the last handle, in a waker, say, cannot wait for itself.
            if worker.thread().id() != thread::current().id() {
                let _ = worker.join();
            }
        }
        let finished = self.core.tear_down(&local);
        *unpoisoned(&self.lock) = None;
        finished
    }
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The stores of this process that last, by directory.
static SHARED: Mutex<Option<HashMap<PathBuf, Weak<Store>>>> = Mutex::new(None);
/// How long a directory may still be held by an instance of this process that is being closed, in steps.
const CLOSING_STEPS: u32 = 1000;
const CLOSING_STEP: Duration = Duration::from_millis(10);

/// The store in the configured directory: the one that this process has open already, or opened now.
fn share(mut config: Config) -> Result<Arc<Store>> {
    let dir = config.storage_path.take().unwrap_or_else(|| PathBuf::from("memfs_data"));
    for _ in 0..CLOSING_STEPS {
        let mut shared = unpoisoned(&SHARED);
        let stores = shared.get_or_insert_default();
        stores.retain(|_, store| store.strong_count() > 0);
        if let Some(store) = known(stores, &dir)? {
            return Ok(store);
        }
        match DirLock::acquire_lasting(&dir) {
            // An instance of this process that is about to let go of it.
            Err(Error::Locked { pid, .. }) if pid == std::process::id() => {
                drop(shared);
                thread::sleep(CLOSING_STEP);
            }
            Err(error) => return Err(error),
            Ok(lock) => {
                let dir = canonical(&dir)?;
                config.storage_path = Some(dir.clone());
                let store = Arc::new(Store::open(config, Some(lock))?);
                stores.insert(dir, Arc::downgrade(&store));
                return Ok(store);
            }
        }
    }
    Err(Error::Locked { path: dir, pid: std::process::id() })
}

fn known(stores: &HashMap<PathBuf, Weak<Store>>, dir: &Path) -> Result<Option<Arc<Store>>> {
    if !dir.exists() {
        return Ok(None);
    }
    let store = stores.get(&canonical(dir)?).and_then(Weak::upgrade);
    Ok(store.filter(|store| store.enter()))
}

fn canonical(dir: &Path) -> Result<PathBuf> {
    let failed =
        |source: io::Error| Error::io(dir.display().to_string(), "resolve the storage directory", source);
    dir.canonicalize().map_err(failed)
}
