//! A store that can be closed and opened again between rounds: the only way to have some of them drop what they cached.

use crate::engine::Outcome;
use std::sync::{Arc, Mutex};

pub(super) struct Reopen<T> {
    now: Mutex<Option<Arc<T>>>,
}

impl<T> Reopen<T> {
    pub(super) fn new(store: T) -> Self {
        Self { now: Mutex::new(Some(Arc::new(store))) }
    }

    /// For a session, which ends with its round.
    pub(super) fn get(&self) -> Outcome<Arc<T>> {
        let now = self.now.lock().map_err(|_| "a thread died")?;
        Ok(now.clone().ok_or("closed")?)
    }

    /// Closes it, and opens it by `open`. No session is there meanwhile.
    pub(super) fn again(&self, open: impl FnOnce() -> Outcome<T>) -> Outcome<()> {
        let mut now = self.now.lock().map_err(|_| "a thread died")?;
        drop(now.take().and_then(Arc::into_inner).ok_or("in use, or closed")?);
        *now = Some(Arc::new(open()?));
        Ok(())
    }

    /// Takes it out, to be closed.
    #[cfg_attr(not(feature = "redb"), expect(dead_code, reason = "for those who close in their own way"))]
    pub(super) fn into_inner(self) -> Outcome<T> {
        let now = self.now.into_inner().map_err(|_| "a thread died")?;
        Ok(now.and_then(Arc::into_inner).ok_or("in use, or closed")?)
    }
}
