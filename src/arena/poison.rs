//! What the address sanitizer has to be told: which memory is nobody's. It knows the heap by itself, and nothing of what is
//! mapped. Does nothing but under `--cfg memfs_asan`, which goes with `-Zsanitizer=address` (docs/testing.md).

/// These bytes are nobody's from now on: to touch them is an error.
#[inline(always)]
pub(super) fn poison(start: *const u8, len_bytes: usize) {
    #[cfg(memfs_asan)]
    // SAFETY: marks shadow memory only; what is marked is reserved, and in nobody's hands.
    unsafe {
        __asan_poison_memory_region(start, len_bytes);
    }
    #[cfg(not(memfs_asan))]
    let _ = (start, len_bytes);
}

/// These bytes are somebody's from now on, or no longer this arena's.
#[inline(always)]
pub(super) fn unpoison(start: *const u8, len_bytes: usize) {
    #[cfg(memfs_asan)]
    // SAFETY: as above.
    unsafe {
        __asan_unpoison_memory_region(start, len_bytes);
    }
    #[cfg(not(memfs_asan))]
    let _ = (start, len_bytes);
}

#[cfg(memfs_asan)]
unsafe extern "C" {
    fn __asan_poison_memory_region(start: *const u8, len_bytes: usize);
    fn __asan_unpoison_memory_region(start: *const u8, len_bytes: usize);
}

#[cfg(all(test, memfs_asan))]
mod tests {
    use super::super::{Arena, Budget, Magazine};
    use crate::sync::Arc;

    /// Runs `bad` in a process of its own, which has to die of it with a word from the sanitizer.
    fn dies(name: &str, bad: impl FnOnce(&Arena, &Magazine)) {
        const CHILD: &str = "MEMFS_ASAN_CHILD";
        if std::env::var_os(CHILD).is_some_and(|child| child == name) {
            let arena = Arena::new(Arc::new(Budget::new(1 << 20)), 64 << 10, false).expect("address space");
            let magazine = Magazine::new();
            bad(&arena, &magazine);
            println!("SURVIVED");
            return;
        }
        let run = std::process::Command::new(std::env::current_exe().expect("a test has a program"))
            .args([&format!("arena::poison::tests::{name}"), "--exact", "--nocapture"])
            .env(CHILD, name)
            .output()
            .expect("a test can be run");
        let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
        assert!(!run.status.success() && !said.contains("SURVIVED"), "it went unnoticed:\n{said}");
        assert!(said.contains("use-after-poison"), "{said}");
    }

    #[test]
    fn a_read_of_a_freed_block_is_caught() {
        dies("a_read_of_a_freed_block_is_caught", |arena, magazine| {
            let block = arena.alloc(magazine, 100).expect("room");
            // SAFETY: fresh, its own, and long enough; freed once. The read after that is what is to be caught.
            unsafe {
                arena.slack_mut(block, 0, 100).write_bytes(7, 100);
                let bytes = arena.bytes(block);
                assert_eq!(std::hint::black_box(bytes)[99], 7);
                arena.release(block);
                std::hint::black_box(std::hint::black_box(bytes)[50]);
            }
        });
    }

    #[test]
    fn a_copy_into_a_freed_table_is_caught() {
        dies("a_copy_into_a_freed_table_is_caught", |arena, magazine| {
            let table = arena.alloc_raw(magazine, 512).expect("room");
            // SAFETY: its own; freed once. The write after that is what is to be caught.
            unsafe {
                table.write_bytes(1, 512);
                arena.free_raw(table, 512);
                table.write_bytes(2, std::hint::black_box(512));
            }
        });
    }
}
