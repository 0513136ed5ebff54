//! Places where it matters what others do while a thread is stopped there.

/// In test builds, lets other threads run now and then; nothing otherwise.
#[inline(always)]
pub(super) fn may_stop_here() {
    #[cfg(all(test, not(memfs_loom)))]
    if super::cache::draw().is_multiple_of(16) {
        std::thread::yield_now();
    }
}
