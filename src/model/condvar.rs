//! Loom's condition variable, which forgets to wake where it is told to. See [`Mutation`](super::Mutation).

use super::mutation::{Kind, here};
use loom::sync::{Condvar as Inner, MutexGuard};
use std::{sync::LockResult, time::Duration};

/// As its namesake in [`std::sync`].
#[derive(Debug)]
pub struct Condvar(Inner);

#[expect(missing_docs, reason = "as in std")]
impl Condvar {
    #[expect(clippy::new_without_default, reason = "as loom's")]
    pub fn new() -> Self {
        Self(Inner::new())
    }

    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, loom::sync::WaitTimeoutResult)> {
        self.0.wait_timeout(guard, timeout)
    }

    #[track_caller]
    pub fn notify_one(&self) {
        if here() != Some(Kind::Skipped) {
            self.0.notify_one();
        }
    }

    #[track_caller]
    pub fn notify_all(&self) {
        if here() != Some(Kind::Skipped) {
            self.0.notify_all();
        }
    }
}
