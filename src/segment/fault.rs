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
}
