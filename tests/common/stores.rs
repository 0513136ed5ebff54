//! Stores of different shapes, so that one test covers every way its bytes can lie.

use memfs::{Builder, MemFs};
use std::time::Duration;

/// A limit so low that a few files do not fit, in chunks so short that most files have several.
pub(crate) fn tiny() -> Builder {
    MemFs::builder().memory_limit_bytes(512 << 10).chunk_size(4096).segment_size(256 << 10).worker_threads(0)
}

/// The same with background workers and chunks that hold most files whole.
pub(crate) fn tiny_with_workers() -> Builder {
    MemFs::builder()
        .memory_limit_bytes(1 << 20)
        .chunk_size(64 << 10)
        .segment_size(256 << 10)
        .worker_threads(2)
}

/// What everybody gets, below a limit that leaves the machine alone.
pub(crate) fn roomy() -> Builder {
    MemFs::builder().memory_limit_bytes(64 << 20)
}

/// Runs `test` on a fresh store of each shape and checks the structures afterwards.
pub(crate) fn on_each(test: impl Fn(&MemFs)) {
    for (shape, builder) in [("tiny", tiny()), ("tiny with workers", tiny_with_workers()), ("roomy", roomy())]
    {
        let fs = builder.build().unwrap_or_else(|error| panic!("{shape}: {error}"));
        test(&fs);
        validate(&fs);
    }
}

/// Panics if the store's structures disagree. Nobody else may be using the store, or hold anything of it.
pub(crate) fn validate(fs: &MemFs) {
    settle(fs);
    #[cfg(any(debug_assertions, feature = "validate"))]
    fs.validate();
    #[cfg(not(any(debug_assertions, feature = "validate")))]
    let _ = fs;
}

/// Returns when background workers, if there are any, have nothing left to do.
fn settle(fs: &MemFs) {
    if !has_workers() {
        return;
    }
    let figures = || {
        let stats = fs.stats();
        (
            stats.memory.current_usage,
            stats.disk.current_usage,
            stats.cache.swaps_out,
            stats.segments.compactions,
        )
    };
    let (mut last, mut quiet) = (figures(), 0);
    for _ in 0..1000 {
        std::thread::sleep(Duration::from_millis(2));
        let now = figures();
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
        if quiet == 10 {
            return;
        }
    }
}

/// Whether any thread of this process is a worker of some store.
fn has_workers() -> bool {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return true };
    tasks.flatten().any(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("memfs"))
    })
}
