//! The one place that names `arc_swap`: a value that is replaced as a whole, read without waiting, and freed when its last
//! reader is done. Under the model checker, which does not know `arc_swap`, a mutex around an `Arc`.

use crate::sync::Arc;

#[cfg(not(memfs_loom))]
pub(super) struct Cell<T>(arc_swap::ArcSwap<T>);

#[cfg(not(memfs_loom))]
impl<T> Cell<T> {
    pub(super) fn new(value: T) -> Self {
        Self(arc_swap::ArcSwap::from_pointee(value))
    }

    /// The value of now; may be kept across I/O, it holds nobody back.
    pub(super) fn load(&self) -> impl std::ops::Deref<Target = Arc<T>> {
        self.0.load()
    }

    /// Replaces the value by what `change` makes of it; `change` runs again if another thread was faster.
    pub(super) fn update<R>(&self, mut change: impl FnMut(&T) -> (T, R)) -> R {
        let mut now = self.0.load();
        loop {
            let (next, result) = change(&now);
            let found = self.0.compare_and_swap(&*now, Arc::new(next));
            if Arc::ptr_eq(&found, &now) {
                return result;
            }
            now = found;
        }
    }
}

#[cfg(memfs_loom)]
pub(super) struct Cell<T>(crate::sync::Mutex<Arc<T>>);

#[cfg(memfs_loom)]
impl<T> Cell<T> {
    pub(super) fn new(value: T) -> Self {
        Self(crate::sync::Mutex::new(Arc::new(value)))
    }

    pub(super) fn load(&self) -> impl std::ops::Deref<Target = Arc<T>> {
        Box::new(self.0.lock().expect("no panics under the model").clone())
    }

    pub(super) fn update<R>(&self, mut change: impl FnMut(&T) -> (T, R)) -> R {
        let mut now = self.0.lock().expect("no panics under the model");
        let (next, result) = change(&now);
        *now = Arc::new(next);
        result
    }
}
