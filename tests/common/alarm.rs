//! When one thread of a test fails, the others have to end instead of waiting for it.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

#[derive(Default)]
pub(crate) struct Alarm(AtomicBool);

impl Alarm {
    /// Raised for good once a thread that holds the guard panics.
    pub(crate) fn guard(&self) -> Guard<'_> {
        Guard(self)
    }

    pub(crate) fn raise(&self) {
        self.0.store(true, SeqCst);
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(SeqCst)
    }
}

pub(crate) struct Guard<'a>(&'a Alarm);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.raise();
        }
    }
}
