//! Copying out of a mapped file without dying of it.
//!
//! A load from a page that the file does not have any more, or that the disk cannot give, is a SIGBUS. The copy routine here
//! is the only code that may meet one: it lies between two symbols, and a process-wide handler, installed with the first
//! use, sends a fault between them, on an address that was being read, to the routine's exit, which says how much was not
//! copied. Every other SIGBUS goes to whoever handled it before.
//!
//! On other systems than Linux on x86-64 there is no [`Tolerant`], and callers read by system call.

#[cfg(all(target_os = "linux", target_arch = "x86_64", not(memfs_loom)))]
pub(super) use tolerant::Tolerant;

/// Cannot be had here.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(memfs_loom))))]
#[derive(Clone, Copy)]
pub(super) enum Tolerant {}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(memfs_loom))))]
impl Tolerant {
    pub(super) fn get() -> Option<Self> {
        None
    }

    pub(super) fn copy(self, _: &crate::map::FileMap, _: usize, _: &mut [u8]) -> usize {
        match self {}
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64", not(memfs_loom)))]
mod tolerant {
    use crate::{
        map::{FileMap, PAGE_BYTES},
        sync::{AtomicPtr, AtomicU8, Ordering},
    };
    use libc::{c_int, c_void, siginfo_t};
    use std::{mem, ptr};

    // memfs_engine_0_1_fault_copy(dst: rdi, src: rsi, len: rdx) -> rax: 0, or how many bytes, at most, were not copied.
    // rdx always counts what is left, at least; rsi is where reading goes on. A leaf without a stack frame, so that the
    // handler can send it to its exit from anywhere. The version in the name keeps two releases in one program apart.
    std::arch::global_asm!(
        ".pushsection .text.memfs_engine_0_1_fault_copy,\"ax\",@progbits",
        ".globl memfs_engine_0_1_fault_copy",
        ".hidden memfs_engine_0_1_fault_copy",
        ".globl memfs_engine_0_1_fault_exit",
        ".hidden memfs_engine_0_1_fault_exit",
        ".type memfs_engine_0_1_fault_copy,@function",
        ".p2align 6",
        "memfs_engine_0_1_fault_copy:",
        "    cmp rdx, 64",
        "    jb 3f",
        "2:",
        "    movups xmm0, [rsi]",
        "    movups xmm1, [rsi + 16]",
        "    movups xmm2, [rsi + 32]",
        "    movups xmm3, [rsi + 48]",
        "    movups [rdi], xmm0",
        "    movups [rdi + 16], xmm1",
        "    movups [rdi + 32], xmm2",
        "    movups [rdi + 48], xmm3",
        "    add rsi, 64",
        "    add rdi, 64",
        "    sub rdx, 64",
        "    cmp rdx, 64",
        "    jae 2b",
        "3:",
        "    mov rcx, rdx",
        "    rep movsb",
        "    xor edx, edx",
        "memfs_engine_0_1_fault_exit:",
        "    mov rax, rdx",
        "    ret",
        ".size memfs_engine_0_1_fault_copy, . - memfs_engine_0_1_fault_copy",
        ".popsection",
    );

    unsafe extern "sysv64" {
        fn memfs_engine_0_1_fault_copy(dst: *mut u8, src: *const u8, len_bytes: usize) -> usize;
        static memfs_engine_0_1_fault_exit: u8;
    }

    /// Proof that the handler is installed.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Tolerant(());

    const NOT_INSTALLED: u8 = 0;
    const INSTALLING: u8 = 1;
    const INSTALLED: u8 = 2;
    const REFUSED: u8 = 3;

    static PROGRESS: AtomicU8 = AtomicU8::new(NOT_INSTALLED);

    /// What handled SIGBUS before: from a box that is never freed, since a handler may be reading it.
    static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

    impl Tolerant {
        /// `None` if the handler could not be installed, or another thread is just at it: nobody waits for that.
        pub(in super::super) fn get() -> Option<Self> {
            // Acquire: pairs with the Release below.
            if PROGRESS.load(Ordering::Acquire) == INSTALLED {
                return Some(Self(()));
            }
            // Relaxed, both: one thread gets to install, and reads nothing of the others'.
            PROGRESS
                .compare_exchange(NOT_INSTALLED, INSTALLING, Ordering::Relaxed, Ordering::Relaxed)
                .ok()?;
            let is_installed = install();
            PROGRESS.store(if is_installed { INSTALLED } else { REFUSED }, Ordering::Release);
            is_installed.then_some(Self(()))
        }

        /// Copies from the mapping at `offset` into `dst`: 0, or how many bytes, at most, are missing at the end of `dst`
        /// because the file could not give them.
        pub(in super::super) fn copy(self, map: &FileMap, offset: usize, dst: &mut [u8]) -> usize {
            assert!(
                offset <= map.len_bytes() && dst.len() <= map.len_bytes() - offset,
                "outside the mapping"
            );
            // SAFETY: both ranges are in bounds (asserted; a slice) and do not overlap: a mapping of a file is not memory
            // that anybody lends out mutably. The handler is installed (`self`).
            unsafe { memfs_engine_0_1_fault_copy(dst.as_mut_ptr(), map.ptr().add(offset), dst.len()) }
        }
    }

    fn install() -> bool {
        // SAFETY: a `sigaction` of zeros is a value; the pointers are to locals, and to a handler that is safe to run at
        // any point (it calls nothing but `sigaction` and `raise`, and whoever was there before).
        unsafe {
            let mut previous: libc::sigaction = mem::zeroed();
            if libc::sigaction(libc::SIGBUS, ptr::null(), &mut previous) != 0 {
                return false;
            }
            // Before ours can run, so that it always finds it. Release: pairs with the Acquire in `chain`.
            PREVIOUS.store(Box::into_raw(Box::new(previous)), Ordering::Release);
            let mut ours: libc::sigaction = mem::zeroed();
            let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_bus;
            ours.sa_sigaction = handler as usize;
            // As the previous handler wished to be called, since it may be.
            ours.sa_flags = libc::SA_SIGINFO
                | libc::SA_ONSTACK
                | previous.sa_flags & (libc::SA_NODEFER | libc::SA_RESTART);
            ours.sa_mask = previous.sa_mask;
            let mut replaced: libc::sigaction = mem::zeroed();
            if libc::sigaction(libc::SIGBUS, &ours, &mut replaced) != 0 {
                return false;
            }
            if replaced.sa_sigaction != previous.sa_sigaction {
                PREVIOUS.store(Box::into_raw(Box::new(replaced)), Ordering::Release);
            }
        }
        true
    }

    extern "C" fn on_bus(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
        // SAFETY: the kernel passes both to a SA_SIGINFO handler, and `context` is a `ucontext_t` that it reads back.
        unsafe {
            let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
            // A fault has a positive code; a signal that was sent has not, and says nothing about the copy it hit.
            if (*info).si_code > 0 && is_reading((*info).si_addr() as usize, registers) {
                registers[libc::REG_RIP as usize] = (&raw const memfs_engine_0_1_fault_exit) as i64;
                return;
            }
            chain(signal, info, context);
        }
    }

    /// Whether the copy routine was interrupted, and by a page that it reads: one that it writes is not ours to excuse.
    fn is_reading(address: usize, registers: &[libc::greg_t; 23]) -> bool {
        let start = memfs_engine_0_1_fault_copy as *const () as usize;
        let exit = (&raw const memfs_engine_0_1_fault_exit) as usize;
        let source = registers[libc::REG_RSI as usize] as usize;
        let left_bytes = registers[libc::REG_RDX as usize] as usize;
        let page = address / PAGE_BYTES;
        (start..exit).contains(&(registers[libc::REG_RIP as usize] as usize))
            && page >= source / PAGE_BYTES
            && page <= source.saturating_add(left_bytes).saturating_sub(1) / PAGE_BYTES
    }

    /// What would have happened without us.
    ///
    /// # Safety
    /// The arguments are those of a signal handler for SIGBUS that is running.
    unsafe fn chain(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
        // Acquire: pairs with the Release in `install`.
        let previous = PREVIOUS.load(Ordering::Acquire);
        debug_assert!(!previous.is_null(), "stored before the handler was installed");
        // SAFETY: from a box that is never freed; the handler in it is called as it was registered to be (its flags), with
        // what the kernel gave (caller).
        unsafe {
            let was_sent = (*info).si_code <= 0;
            match (*previous).sa_sigaction {
                libc::SIG_IGN if was_sent => {}
                // A fault cannot be ignored: the kernel kills then.
                libc::SIG_DFL | libc::SIG_IGN => {
                    let mut default: libc::sigaction = mem::zeroed();
                    default.sa_sigaction = libc::SIG_DFL;
                    libc::sigaction(signal, &default, ptr::null_mut());
                    // A fault comes again when we return; what was sent has to be sent again.
                    if was_sent {
                        libc::raise(signal);
                    }
                }
                handler if (*previous).sa_flags & libc::SA_SIGINFO != 0 => {
                    let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = mem::transmute(handler);
                    handler(signal, info, context);
                }
                handler => {
                    let handler: extern "C" fn(c_int) = mem::transmute(handler);
                    handler(signal);
                }
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::{
            fs::File,
            os::unix::process::ExitStatusExt,
            process::{Command, ExitStatus},
        };

        /// Three pages of which the file has lost two.
        fn cut_file() -> (File, FileMap) {
            let file = tempfile::tempfile().unwrap();
            file.set_len(3 * PAGE_BYTES as u64).unwrap();
            let map = FileMap::new(&file, 3 * PAGE_BYTES).unwrap();
            let bytes: Vec<u8> = (0..3 * PAGE_BYTES).map(pattern).collect();
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
            file.set_len(PAGE_BYTES as u64).unwrap();
            (file, map)
        }

        fn pattern(at: usize) -> u8 {
            (at % 251) as u8 + 1
        }

        #[test]
        fn a_copy_ends_where_the_file_does() {
            let tolerant = loop {
                // Another test's thread may be just installing.
                if let Some(tolerant) = Tolerant::get() {
                    break tolerant;
                }
            };
            let (_file, map) = cut_file();
            for start in (0..PAGE_BYTES).step_by(509).chain(PAGE_BYTES - 200..PAGE_BYTES + 2) {
                for len in [0, 1, 15, 63, 64, 65, 200, 1000, 5000] {
                    let mut dst = vec![0; len];
                    let unread = tolerant.copy(&map, start, &mut dst);
                    let there = len.min(PAGE_BYTES.saturating_sub(start));
                    assert_eq!(unread == 0, there == len, "{len} from {start}");
                    assert!(len - unread <= there, "{unread} of {len} unread from {start}");
                    assert!(there - (len - unread) <= 128, "{unread} of {len} unread from {start}");
                    assert!(
                        dst[..len - unread].iter().enumerate().all(|(i, byte)| *byte == pattern(start + i))
                    );
                }
            }
        }

        const CHILD: &str = "MEMFS_TEST_FAULT_CHILD";

        /// Runs `child_meets_a_fault` in a process of its own.
        fn child(scene: &str) -> ExitStatus {
            let name = "segment::fault::tolerant::tests::child_meets_a_fault";
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture", "--test-threads=1"])
                .env(CHILD, scene)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status()
                .unwrap()
        }

        extern "C" fn with_info(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
            // SAFETY: given by the kernel; `_exit` may be called from a handler.
            unsafe { libc::_exit(if (*info).si_addr().is_null() { 3 } else { 42 }) }
        }

        extern "C" fn without_info(_: c_int) {
            // SAFETY: `_exit` may be called from a handler.
            unsafe { libc::_exit(43) }
        }

        fn set_handler(handler: libc::sighandler_t, flags: c_int) {
            // SAFETY: zeros are a `sigaction`; the handlers are the two above.
            unsafe {
                let mut action: libc::sigaction = mem::zeroed();
                (action.sa_sigaction, action.sa_flags) = (handler, flags);
                assert_eq!(libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()), 0);
            }
        }

        /// The child's part: does nothing where it is run as a test.
        #[test]
        fn child_meets_a_fault() {
            let Ok(scene) = std::env::var(CHILD) else { return };
            let info: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = with_info;
            let plain: extern "C" fn(c_int) = without_info;
            match scene.split('.').next().unwrap() {
                "info" => set_handler(info as usize, libc::SA_SIGINFO),
                "plain" => set_handler(plain as usize, 0),
                "default" => set_handler(libc::SIG_DFL, 0),
                "ignore" => set_handler(libc::SIG_IGN, 0),
                _ => {}
            }
            let tolerant = Tolerant::get().unwrap();
            let (file, map) = cut_file();
            let mut dst = vec![0; PAGE_BYTES];
            assert_eq!(tolerant.copy(&map, PAGE_BYTES, &mut dst), PAGE_BYTES, "our own fault is ours");
            match scene.split('.').nth(1).unwrap() {
                // SAFETY: none: this is the fault that is wanted.
                "load" => _ = unsafe { map.ptr().add(PAGE_BYTES).read_volatile() },
                // A store by the copy routine to somebody's truncated mapping.
                "store" => {
                    file.set_len(3 * PAGE_BYTES as u64).unwrap();
                    let other = tempfile::tempfile().unwrap();
                    // SAFETY: a mapping of its own, of which a slice is made that the kernel refuses to be written.
                    let dst = unsafe {
                        use std::os::fd::AsRawFd;
                        let (protect, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
                        let page =
                            libc::mmap(ptr::null_mut(), PAGE_BYTES, protect, flags, other.as_raw_fd(), 0);
                        std::slice::from_raw_parts_mut(page.cast::<u8>(), PAGE_BYTES)
                    };
                    tolerant.copy(&map, 0, dst);
                }
                // SAFETY: sends a signal to itself.
                "sent" => _ = unsafe { libc::raise(libc::SIGBUS) },
                _ => {}
            }
            // SAFETY: ends this child.
            unsafe { libc::_exit(7) };
        }

        #[test]
        fn foreign_faults_go_to_the_handler_that_was_there() {
            for (scene, code) in [
                ("info.load", 42),
                ("info.store", 42),
                ("info.none", 7),
                ("plain.load", 43),
                ("plain.sent", 43),
                ("ignore.sent", 7),
                ("none.none", 7),
            ] {
                assert_eq!(child(scene).code(), Some(code), "{scene}");
            }
            for scene in ["default.load", "default.sent", "ignore.load", "none.load"] {
                assert_eq!(child(scene).signal(), Some(libc::SIGBUS), "{scene}");
            }
        }
    }
}
