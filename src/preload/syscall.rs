//! `syscall(2)` by number. [`crate::sys::arch`] jumps to libc for every call that does not concern the
//! library. This file handles the others.

use super::affinity::{self, Style, Thread};
use super::environment::settings;
use super::{calls, hidden_cpus, identity, open, seccomp};
use crate::runtime::cache;
use crate::sys::arch;
use crate::sys::link::{Name, Next};
use core::ffi::{c_int, c_long, c_uint, c_ulong};
use libc::{cpu_set_t, pid_t};

/// libc's own `syscall`.
static NEXT: Next = Next::new();

/// Finds libc's own `syscall` for the jump.
extern "C" fn resolve() -> *mut () {
    NEXT.address(const { Name::of(c"syscall") })
}

arch::define_syscall!(slot = NEXT, resolve = resolve, intercept = asked);

/// The system calls that read a value of the machine, open or describe a file, set CPUs or confine the program.
///
/// # Safety
/// As for `syscall(2)`.
unsafe extern "C" fn asked(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
) -> c_long {
    type Syscall = unsafe extern "C" fn(c_long, usize, usize, usize, usize, usize) -> c_long;
    let address = resolve();
    if address.is_null() {
        return -1;
    }
    // SAFETY: libc's `syscall` has this type.
    let syscall = unsafe { core::mem::transmute::<*mut (), Syscall>(address) };
    // SAFETY: libc's `syscall` gets the program's own arguments.
    let next = || unsafe { syscall(number, a, b, c, d, e) };
    // SAFETY: as above, with a mask that belongs to the library.
    let with_mask = |size, mask| unsafe { syscall(number, a, size, mask, d, e) as c_int };
    match number {
        arch::SYS_OPEN => {
            let fd = next() as c_int;
            // SAFETY: open(path, flags, mode).
            c_long::from(unsafe { open::after_open(fd, libc::AT_FDCWD, a as *const _, b as c_int) })
        }
        libc::SYS_openat => {
            let fd = next() as c_int;
            // SAFETY: openat(dir, path, flags, mode).
            c_long::from(unsafe { open::after_open(fd, a as c_int, b as *const _, c as c_int) })
        }
        libc::SYS_openat2 => {
            let fd = next() as c_int;
            if fd < 0 {
                return c_long::from(fd);
            }
            // SAFETY: openat2(dir, path, how, size). The kernel accepted `how`, which begins with the flags
            // as 64 bits.
            c_long::from(unsafe {
                let flags = (c as *const u64).read_unaligned();
                open::after_open(fd, a as c_int, b as *const _, flags as c_int)
            })
        }
        // libuv makes this call for each `stat` and `fstat` of Node.js.
        libc::SYS_statx => {
            let (dir, path, status) = (a as c_int, b as *const _, e as *mut _);
            // SAFETY: statx(dir, path, flags, mask, status).
            c_long::from(unsafe {
                let result = hidden_cpus::after_access(next() as c_int, dir, path);
                identity::after_statx(result, dir, path, c as c_int, d as c_uint, status)
            })
        }
        libc::SYS_sched_getaffinity => {
            let thread = Thread::Id(a as pid_t);
            let next = |size, mask: *mut cpu_set_t| with_mask(size, mask as usize);
            // SAFETY: sched_getaffinity(pid, size, mask).
            c_long::from(unsafe { affinity::read(Style::Raw, thread, b, c as *mut _, &next) })
        }
        libc::SYS_sched_setaffinity => {
            let thread = Thread::Id(a as pid_t);
            let next = |size, mask: *const cpu_set_t| with_mask(size, mask as usize);
            // SAFETY: sched_setaffinity(pid, size, mask).
            c_long::from(unsafe { affinity::set(Style::Raw, thread, b, c as *const _, &next) })
        }
        libc::SYS_bpf | libc::SYS_perf_event_open => {
            cache::watch_cpus();
            next()
        }
        // SAFETY: seccomp(operation, flags, argument).
        libc::SYS_seccomp => unsafe { seccomp::after_seccomp(next(), a, c) },
        libc::SYS_prctl => {
            // SAFETY: prctl(option, mode, argument).
            let after = |result| unsafe {
                seccomp::after_prctl(result, a as c_int, b as c_ulong, c as c_ulong)
            };
            c_long::from(after(next() as c_int))
        }
        // SAFETY: sysinfo(info), which the kernel has filled if the call succeeded.
        libc::SYS_sysinfo => unsafe { c_long::from(calls::sysinfo(next() as c_int, a as *mut _)) },
        // Reads through a ring call no function that could be hooked. Programs with another way of reading
        // then use that.
        libc::SYS_io_uring_setup if settings().on && !settings().io_uring => {
            super::errno::set_errno(libc::ENOSYS);
            -1
        }
        _ => next(),
    }
}
