//! aarch64. `x86_64.rs` documents each item.

use core::arch::asm;
#[cfg(feature = "preload")]
use core::arch::{global_asm, naked_asm};

/// The directory of this processor's libraries on Debian and Ubuntu, relative to the root or `/usr`.
pub const MULTIARCH_DIRECTORY: &str = "lib/aarch64-linux-gnu";

/// `EM_AARCH64`: the machine field of this processor's ELF files.
pub const ELF_MACHINE: u16 = 183;

/// `AUDIT_ARCH_AARCH64` of linux/audit.h: this processor in a system call filter.
pub const AUDIT_ARCH: u32 = 0xc000_00b7;

/// This processor has no `open(2)`, only `openat(2)`.
pub const SYS_OPEN: libc::c_long = -1;

/// Only one ABI has this [`AUDIT_ARCH`], so every system call number belongs to it.
pub const FIRST_FOREIGN_CALL: Option<u32> = None;

/// The vDSO's name of `clock_gettime` (vdso(7)).
#[cfg(feature = "preload")]
pub const VDSO_CLOCK_GETTIME: &core::ffi::CStr = c"__kernel_clock_gettime";

/// Makes a system call.
///
/// # Safety
/// `a` must hold what system call `number` takes. The caller must own all memory that the call may write.
#[inline(always)]
pub unsafe fn syscall6(number: usize, a: [usize; 6]) -> isize {
    let [a0, a1, a2, a3, a4, a5] = a;
    let result: isize;
    // SAFETY: the kernel's convention for aarch64: the call keeps all registers but x0. The caller
    // vouches for the memory that the call reads and writes.
    unsafe {
        asm!("svc 0", in("x8") number,
            inlateout("x0") a0 as isize => result,
            in("x1") a1, in("x2") a2, in("x3") a3, in("x4") a4, in("x5") a5, options(nostack));
    }
    result
}

/// The thread pointer, which identifies a thread of libc.
#[inline(always)]
pub fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe {
        asm!("mrs {0}, tpidr_el0", out(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    pointer
}

/// True if valgrind runs this program.
pub fn is_in_valgrind() -> bool {
    const RUNNING_ON_VALGRIND: usize = 0x1001;
    let request = [RUNNING_ON_VALGRIND, 0, 0, 0, 0, 0];
    let mut answer = 0usize;
    // SAFETY: four rotations by 128 bits in all, and a move of a register to itself. Only valgrind takes
    // them for a request, reads `request` and changes `answer`.
    unsafe {
        asm!("ror x12, x12, #3", "ror x12, x12, #13", "ror x12, x12, #51", "ror x12, x12, #61",
            "orr x10, x10, x10",
            in("x4") request.as_ptr(), inout("x3") answer, options(nostack));
    }
    answer != 0
}

/// The addresses of glibc's `_r_debug`, musl's `_dl_debug_addr` and this object's dynamic section.
#[cfg(feature = "preload")]
pub fn linker_symbols() -> (usize, usize, usize) {
    let (glibc, musl, own): (usize, usize, usize);
    // SAFETY: reads two slots of this object's global offset table and computes one address. Both
    // symbols are weak: the dynamic linker leaves 0 in the slot of a symbol that it does not find.
    unsafe {
        asm!(
            ".weak _r_debug",
            ".weak _dl_debug_addr",
            ".hidden _DYNAMIC",
            "adrp {0}, :got:_r_debug", "ldr {0}, [{0}, :got_lo12:_r_debug]",
            "adrp {1}, :got:_dl_debug_addr", "ldr {1}, [{1}, :got_lo12:_dl_debug_addr]",
            "adrp {2}, _DYNAMIC", "add {2}, {2}, :lo12:_DYNAMIC",
            out(reg) glibc, out(reg) musl, out(reg) own, options(nostack, readonly, preserves_flags));
    }
    (glibc, musl, own)
}

/// Defines `long syscall(long number, ...)`.
#[cfg(feature = "preload")]
macro_rules! define_syscall {
    (slot = $slot:path, resolve = $resolve:path, intercept = $intercept:path) => {
        /// # Safety
        /// As for `syscall(2)`.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn syscall() {
            core::arch::naked_asm!(
                "cmp x0, #{openat}", "b.eq 2f",
                "cmp x0, #{openat2}", "b.eq 2f",
                "cmp x0, #{affinity}", "b.eq 2f",
                "cmp x0, #{set_affinity}", "b.eq 2f",
                "cmp x0, #{bpf}", "b.eq 2f",
                "cmp x0, #{perf}", "b.eq 2f",
                "cmp x0, #{sysinfo}", "b.eq 2f",
                "cmp x0, #{uring}", "b.eq 2f",
                "cmp x0, #{seccomp}", "b.eq 2f",
                "cmp x0, #{prctl}", "b.eq 2f",
                "cmp x0, #{statx}", "b.eq 2f",
                "adrp x16, {slot}", "ldr x16, [x16, :lo12:{slot}]",
                "cbz x16, 4f",
                "br x16",
                // The first call finds libc's function and preserves every argument register.
                "4: stp x29, x30, [sp, #-80]!", "stp x0, x1, [sp, #16]", "stp x2, x3, [sp, #32]",
                "stp x4, x5, [sp, #48]", "stp x6, x7, [sp, #64]",
                "bl {resolve}",
                "mov x16, x0",
                "ldp x0, x1, [sp, #16]", "ldp x2, x3, [sp, #32]", "ldp x4, x5, [sp, #48]",
                "ldp x6, x7, [sp, #64]", "ldp x29, x30, [sp], #80",
                "cbz x16, 5f",
                "br x16",
                "5: mov x0, #-1", "ret",
                "2: b {intercept}",
                openat = const libc::SYS_openat, openat2 = const libc::SYS_openat2,
                affinity = const libc::SYS_sched_getaffinity, sysinfo = const libc::SYS_sysinfo,
                set_affinity = const libc::SYS_sched_setaffinity,
                bpf = const libc::SYS_bpf, perf = const libc::SYS_perf_event_open,
                uring = const libc::SYS_io_uring_setup,
                seccomp = const libc::SYS_seccomp, prctl = const libc::SYS_prctl, statx = const libc::SYS_statx,
                slot = sym $slot, resolve = sym $resolve, intercept = sym $intercept,
            )
        }
    };
}
#[cfg(feature = "preload")]
pub(crate) use define_syscall;

/// The version of `struct stat` that `__fxstat` of glibc takes.
#[cfg(feature = "preload")]
pub const STAT_VERSION: core::ffi::c_int = 0;

/// Defines `dlsym`.
#[cfg(feature = "preload")]
macro_rules! define_dlsym {
    ($choose:path) => {
        /// See `dlsym(3)`.
        ///
        /// # Safety
        /// As for `dlsym(3)`.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn dlsym() {
            core::arch::naked_asm!(
                "stp x29, x30, [sp, #-32]!", "stp x0, x1, [sp, #16]",
                "bl {choose}",
                "mov x16, x0", "mov x17, x1",
                "ldp x0, x1, [sp, #16]", "ldp x29, x30, [sp], #32",
                "cbz x16, 2f",
                "br x16",
                "2: mov x0, x17", "ret",
                choose = sym $choose,
            )
        }
    };
}
#[cfg(feature = "preload")]
pub(crate) use define_dlsym;

/// Defines functions with a variable argument list.
#[cfg(feature = "preload")]
macro_rules! define_listed {
    ($($name:ident => $target:path,)*) => {$(
        /// # Safety
        /// As for `exec(3)`.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                "stp x29, x30, [sp, #-80]!",
                "str x1, [sp, #24]", "stp x2, x3, [sp, #32]", "stp x4, x5, [sp, #48]",
                "stp x6, x7, [sp, #64]",
                "add x1, sp, #24",
                "bl {target}",
                "ldp x29, x30, [sp], #80",
                "ret",
                target = sym $target,
            )
        }
    )*};
}
#[cfg(feature = "preload")]
pub(crate) use define_listed;

/// Defines `proclens_start`, which the dynamic linker runs before the program.
#[cfg(feature = "preload")]
macro_rules! define_start {
    ($start:path) => {
        core::arch::global_asm!(
            ".section .text.hot",
            ".globl proclens_start", ".hidden proclens_start", ".type proclens_start,@function",
            "proclens_start: b {start}",
            // musl ignores DT_INIT on this processor.
            ".section .init_array,\"aw\",@init_array",
            ".balign 8",
            ".xword proclens_start",
            ".text",
            start = sym $start,
        );
    };
}
#[cfg(feature = "preload")]
pub(crate) use define_start;

/// Defines `proclens_sampler`, the entry point of the library as a program.
#[cfg(feature = "preload")]
macro_rules! define_program_entry {
    ($main:path) => {
        core::arch::global_asm!(
            ".section .text.hot",
            ".globl proclens_sampler", ".hidden proclens_sampler", ".type proclens_sampler,@function",
            ".hidden __ehdr_start", ".hidden _DYNAMIC",
            "proclens_sampler: mov x29, #0", "mov x30, #0", "mov x0, sp",
            "adrp x1, __ehdr_start", "add x1, x1, :lo12:__ehdr_start",
            "adrp x2, _DYNAMIC", "add x2, x2, :lo12:_DYNAMIC",
            "bl {main}", "brk #1",
            main = sym $main,
        );
    };
}
#[cfg(feature = "preload")]
pub(crate) use define_program_entry;

/// Makes a child that calls `work(argument)` on a stack of its own.
///
/// # Safety
/// As for `clone(2)`. With `CLONE_VM` the child runs in the caller's memory.
#[cfg(feature = "preload")]
#[unsafe(naked)]
pub unsafe extern "C" fn clone_onto(
    flags: usize,
    stack_end: *mut u8,
    work: unsafe extern "C" fn(*mut ()) -> usize,
    argument: *mut (),
) -> isize {
    naked_asm!(
        "mov x9, x2", "mov x10, x3",
        "and x1, x1, #-16",
        "mov x2, #0", "mov x3, #0", "mov x4, #0",
        "mov x8, #{clone}", "svc 0",
        "cbnz x0, 2f",
        "mov x29, #0", "mov x30, #0", "mov x0, x10", "blr x9",
        "mov x8, #{exit}", "svc 0",
        "2: ret",
        clone = const libc::SYS_clone, exit = const libc::SYS_exit_group,
    )
}

/// `R_AARCH64_RELATIVE`: the word is an address within the object.
#[cfg(feature = "preload")]
pub const RELATIVE: u64 = 1027;

#[cfg(feature = "preload")]
global_asm!(include_str!("aarch64_memory.s"));
