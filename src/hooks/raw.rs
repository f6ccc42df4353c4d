//! `syscall(2)` by number. The jump over everything that does not concern us is in
//! [`crate::sys::arch`]; here is the rest.

use super::environment::settings;
use super::{open, values};
use crate::sys::link::{Name, Next};
use core::ffi::{c_int, c_long};

/// libc's own `syscall`.
pub static NEXT: Next = Next::new();

/// Finds libc's own `syscall`, for the jump.
pub extern "C" fn resolve() -> *mut () {
    NEXT.address(const { Name::of(c"syscall") })
}

/// The calls that ask about the machine.
///
/// # Safety
/// As `syscall(2)`.
pub unsafe extern "C" fn asked(
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
    // SAFETY: libc's `syscall` takes what it was given.
    let next =
        || unsafe { core::mem::transmute::<*mut (), Syscall>(address)(number, a, b, c, d, e) };
    match number {
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => {
            let fd = next() as c_int;
            // SAFETY: open(path, flags, mode).
            c_long::from(unsafe { open::opened(fd, libc::AT_FDCWD, a as *const _, b as c_int) })
        }
        libc::SYS_openat => {
            let fd = next() as c_int;
            // SAFETY: openat(dir, path, flags, mode).
            c_long::from(unsafe { open::opened(fd, a as c_int, b as *const _, c as c_int) })
        }
        libc::SYS_openat2 => {
            let fd = next() as c_int;
            if fd < 0 {
                return c_long::from(fd);
            }
            // SAFETY: openat2(dir, path, how, size); the kernel took `how`, which begins with the
            // flags as 64 bits.
            c_long::from(unsafe {
                let flags = (c as *const u64).read_unaligned();
                open::opened(fd, a as c_int, b as *const _, flags as c_int)
            })
        }
        libc::SYS_sched_getaffinity => {
            // The raw call gives back how many bytes of the mask it wrote.
            let written = next();
            if written > 0 {
                // SAFETY: sched_getaffinity(pid, size, mask): the kernel wrote so many bytes there.
                unsafe { values::affinity(0, c as *mut _, written as usize) };
            }
            written
        }
        // SAFETY: sysinfo(info), which the kernel filled if it says so.
        libc::SYS_sysinfo => unsafe { c_long::from(values::sysinfo(next() as c_int, a as *mut _)) },
        // A ring's reads pass no function that could be hooked; programs fall back to those that do.
        libc::SYS_io_uring_setup if settings().on && !settings().io_uring => {
            super::set_errno(libc::ENOSYS);
            -1
        }
        _ => next(),
    }
}
