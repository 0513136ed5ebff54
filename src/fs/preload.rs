//! The public side of a preload.

use crate::{error::Result, tier::Preloading};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// A preload under way: a future, or something to [`wait`](Preload::wait) for. Dropping it does not stop the preload.
///
/// ```
/// # let fs = memfs::MemFs::builder().memory_limit_bytes(1 << 20).build()?;
/// # fs.write("/model", vec![7; 1000])?;
/// fs.preload("/model")?.wait()?;
/// # Ok::<(), memfs::Error>(())
/// ```
#[must_use = "wait for it, poll it, or drop it explicitly"]
pub struct Preload {
    pub(crate) preloading: Arc<Preloading>,
}

impl Preload {
    /// Waits until the file is in RAM, or as much of it as files that are not better made room for.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) or [`Error::Io`](crate::Error::Io) if it could not be read,
    /// [`Error::Closed`](crate::Error::Closed) if the store was closed first.
    pub fn wait(self) -> Result<()> {
        self.preloading.wait()
    }

    /// Whether it has ended, well or not.
    pub fn is_done(&self) -> bool {
        self.preloading.is_done()
    }
}

impl Future for Preload {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match self.preloading.poll(context.waker()) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }
}

impl std::fmt::Debug for Preload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preload").field("is_done", &self.is_done()).finish()
    }
}
