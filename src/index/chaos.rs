//! Places where it matters what others do while a thread is stopped there.

/// How seldom a thread gives its processor away: where others are runnable it has it back some milliseconds later, and an
/// operation comes by here dozens of times.
#[cfg(all(test, not(memfs_loom)))]
const ONE_IN: u32 = 256;

/// In test builds, lets other threads run now and then, and a test hold this one still; nothing otherwise.
#[inline(always)]
#[cfg_attr(test, track_caller)]
pub(super) fn may_stop_here() {
    crate::failpoint::pass("index");
    #[cfg(all(test, not(memfs_loom)))]
    if super::cache::draw().is_multiple_of(ONE_IN) {
        std::thread::yield_now();
    }
}
