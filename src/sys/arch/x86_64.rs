//! x86-64. The comments here hold for the same items of the other processors.

use core::arch::asm;
#[cfg(feature = "preload")]
use core::arch::{global_asm, naked_asm};

/// The directory of this processor's libraries on Debian and Ubuntu, relative to the root or `/usr`.
pub const MULTIARCH_DIRECTORY: &str = "lib/x86_64-linux-gnu";

/// `EM_X86_64`: the machine field of this processor's ELF files.
pub const ELF_MACHINE: u16 = 62;

/// `AUDIT_ARCH_X86_64` of linux/audit.h: this processor in a system call filter.
pub const AUDIT_ARCH: u32 = 0xc000_003e;

/// The number of `open(2)`; -1 on a processor that has only `openat(2)`.
pub const SYS_OPEN: libc::c_long = libc::SYS_open;

/// x32 programs have the same [`AUDIT_ARCH`]. Their system call numbers begin here (`__X32_SYSCALL_BIT`).
pub const FIRST_FOREIGN_CALL: Option<u32> = Some(0x4000_0000);

/// The vDSO's name of `clock_gettime` (vdso(7)).
#[cfg(feature = "preload")]
pub const VDSO_CLOCK_GETTIME: &core::ffi::CStr = c"__vdso_clock_gettime";

/// Makes a system call. Returns what the kernel returned: -4095 to -1 is a negated errno.
///
/// # Safety
/// `a` must hold what system call `number` takes. The caller must own all memory that the call may write.
#[inline(always)]
pub unsafe fn syscall6(number: usize, a: [usize; 6]) -> isize {
    let [a0, a1, a2, a3, a4, a5] = a;
    let result: isize;
    // SAFETY: the kernel's convention for x86-64: the call overwrites rcx and r11 and keeps the other
    // registers. The caller vouches for the memory that the call reads and writes.
    unsafe {
        asm!("syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a0, in("rsi") a1, in("rdx") a2, in("r10") a3, in("r8") a4, in("r9") a5,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// The thread pointer, which identifies a thread of libc.
#[inline(always)]
pub fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: the psABI stores the thread pointer in the word that the thread pointer points to.
    unsafe {
        asm!("mov {0}, fs:[0]", out(reg) pointer, options(nostack, preserves_flags, readonly));
    }
    pointer
}

/// True if valgrind runs this program.
pub fn is_in_valgrind() -> bool {
    const RUNNING_ON_VALGRIND: usize = 0x1001;
    let request = [RUNNING_ON_VALGRIND, 0, 0, 0, 0, 0];
    let mut answer = 0usize;
    // SAFETY: four rotations by 128 bits in all, and an exchange of a register with itself. Only valgrind takes
    // them for a request, reads `request` and changes `answer`.
    unsafe {
        asm!("rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") request.as_ptr(), inout("rdx") answer, options(nostack));
    }
    answer != 0
}

/// The addresses of glibc's `_r_debug`, of musl's `_dl_debug_addr` (a pointer to the same structure), and of
/// this object's dynamic section. The address of a symbol that this libc lacks is 0.
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
            "mov {0}, qword ptr [rip + _r_debug@GOTPCREL]",
            "mov {1}, qword ptr [rip + _dl_debug_addr@GOTPCREL]",
            "lea {2}, [rip + _DYNAMIC]",
            out(reg) glibc, out(reg) musl, out(reg) own, options(nostack, readonly, preserves_flags));
    }
    (glibc, musl, own)
}

/// Defines `long syscall(long number, ...)`. It jumps to libc's own function, except for the few numbers
/// that the library handles. It jumps instead of calling because a child made by `syscall(SYS_vfork)`
/// returns through our caller's frame before the parent does. A jump is also the cheapest way.
///
/// - `slot`: a static that holds the address of libc's `syscall`, or null before the first call;
/// - `resolve`: `extern "C" fn() -> *mut ()`, which fills the slot and returns the address or null;
/// - `intercept`: an `extern "C"` function that takes the arguments of `syscall` and handles those numbers.
#[cfg(feature = "preload")]
macro_rules! define_syscall {
    (slot = $slot:path, resolve = $resolve:path, intercept = $intercept:path) => {
        /// # Safety
        /// As for `syscall(2)`.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn syscall() {
            core::arch::naked_asm!(
                "cmp rdi, {open}", "je 2f",
                "cmp rdi, {openat}", "je 2f",
                "cmp rdi, {openat2}", "je 2f",
                "cmp rdi, {affinity}", "je 2f",
                "cmp rdi, {set_affinity}", "je 2f",
                "cmp rdi, {bpf}", "je 2f",
                "cmp rdi, {perf}", "je 2f",
                "cmp rdi, {sysinfo}", "je 2f",
                "cmp rdi, {uring}", "je 2f",
                "cmp rdi, {seccomp}", "je 2f",
                "cmp rdi, {prctl}", "je 2f",
                "cmp rdi, {statx}", "je 2f",
                "3: mov rax, qword ptr [rip + {slot}]",
                "test rax, rax", "jz 4f",
                "jmp rax",
                // The first call finds libc's function and preserves every argument register.
                "4: push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "sub rsp, 8",
                "call {resolve}",
                "add rsp, 8", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
                "test rax, rax", "jz 5f",
                "jmp rax",
                "5: mov rax, -1", "ret",
                // None of these system calls has a sixth argument, which would be on the stack.
                "2: jmp {intercept}",
                open = const libc::SYS_open, openat = const libc::SYS_openat,
                openat2 = const libc::SYS_openat2, affinity = const libc::SYS_sched_getaffinity,
                set_affinity = const libc::SYS_sched_setaffinity,
                bpf = const libc::SYS_bpf, perf = const libc::SYS_perf_event_open,
                sysinfo = const libc::SYS_sysinfo, uring = const libc::SYS_io_uring_setup,
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
pub const STAT_VERSION: core::ffi::c_int = 1;

/// Defines `dlsym`. `$choose(handle, name)` returns the address to jump to and, if that is null, the
/// result. A jump and not a call, because libc's `dlsym` examines its return address.
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
                "push rdi", "push rsi", "sub rsp, 8",
                "call {choose}",
                "add rsp, 8", "pop rsi", "pop rdi",
                "test rax, rax", "jz 2f",
                "jmp rax",
                "2: mov rax, rdx", "ret",
                choose = sym $choose,
            )
        }
    };
}
#[cfg(feature = "preload")]
pub(crate) use define_dlsym;

/// Defines functions with a variable argument list, which stable Rust cannot define. Each calls
/// `target(path, list of the other arguments)`. It pushes the arguments in registers below those on the
/// stack, so that all are one list of any length. The return address moves below the list.
#[cfg(feature = "preload")]
macro_rules! define_listed {
    ($($name:ident => $target:path,)*) => {$(
        /// # Safety
        /// As for `exec(3)`.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                "pop rax",
                "push r9", "push r8", "push rcx", "push rdx", "push rsi",
                "mov rsi, rsp",
                "push rax",
                "call {target}",
                "pop rdx",
                "add rsp, 40",
                "push rdx",
                "ret",
                target = sym $target,
            )
        }
    )*};
}
#[cfg(feature = "preload")]
pub(crate) use define_listed;

/// Defines `proclens_start`, which the dynamic linker runs before the program (DT_INIT). The symbol is
/// hidden: it is not a hook.
#[cfg(feature = "preload")]
macro_rules! define_start {
    ($start:path) => {
        core::arch::global_asm!(
            ".section .text.hot",
            ".globl proclens_start", ".hidden proclens_start", ".type proclens_start,@function",
            "proclens_start: jmp {start}",
            start = sym $start,
        );
    };
}
#[cfg(feature = "preload")]
pub(crate) use define_start;

/// Defines `proclens_sampler`, the entry point of the library as a program. It calls `main(stack, first
/// byte of the file's image, dynamic section)`. At this point nothing has relocated the library, and the
/// stack holds the number of arguments and the arguments.
#[cfg(feature = "preload")]
macro_rules! define_program_entry {
    ($main:path) => {
        core::arch::global_asm!(
            ".section .text.hot",
            ".globl proclens_sampler", ".hidden proclens_sampler", ".type proclens_sampler,@function",
            ".hidden __ehdr_start", ".hidden _DYNAMIC",
            "proclens_sampler: xor ebp, ebp", "mov rdi, rsp",
            "lea rsi, [rip + __ehdr_start]", "lea rdx, [rip + _DYNAMIC]",
            "and rsp, -16", "call {main}", "ud2",
            main = sym $main,
        );
    };
}
#[cfg(feature = "preload")]
pub(crate) use define_program_entry;

/// Makes a child with `flags` of `clone(2)`. The child calls `work(argument)` on the stack that ends at
/// `stack_end`, and exits with the result. Returns the child's process ID, or a negated errno.
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
        // The call preserves all registers except rax, rcx and r11.
        "mov r8, rdx", "mov r9, rcx",
        "and rsi, -16",
        "xor edx, edx", "xor r10d, r10d",
        "mov eax, {clone}", "syscall",
        "test rax, rax", "jnz 2f",
        "xor ebp, ebp", "mov rdi, r9", "call r8",
        "mov rdi, rax", "mov eax, {exit}", "syscall",
        "2: ret",
        clone = const libc::SYS_clone, exit = const libc::SYS_exit_group,
    )
}

/// `R_X86_64_RELATIVE`: the word is an address within the object.
#[cfg(feature = "preload")]
pub const RELATIVE: u64 = 8;

#[cfg(feature = "preload")]
global_asm!(include_str!("x86_64_memory.s"));
