//! Places where it matters what others do while a thread is stopped there.

/// In test builds, lets other threads run now and then, and a test hold this one still; nothing otherwise.
#[inline(always)]
#[cfg_attr(test, track_caller)]
pub(super) fn may_stop_here() {
    crate::failpoint::pass("index");
    #[cfg(all(test, not(memfs_loom)))]
    if super::cache::draw().is_multiple_of(16) {
        std::thread::yield_now();
    }
}
