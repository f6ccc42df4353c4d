//! `prctl` and `seccomp`: notices that the program confines itself, see [`crate::sys::confinement`].

use crate::sys::confinement::{confine, is_harmful};
use core::ffi::{c_int, c_long, c_ulong};
use libc::sock_fprog;

/// After `prctl(option, mode, argument)`, which returned `result`.
///
/// # Safety
/// The kernel must have accepted the arguments if `result` is 0.
#[inline(always)]
pub unsafe fn after_prctl(result: c_int, option: c_int, mode: c_ulong, argument: c_ulong) -> c_int {
    if option == libc::PR_SET_SECCOMP && result == 0 {
        let has_filter = mode == c_ulong::from(libc::SECCOMP_MODE_FILTER);
        // SAFETY: the caller guarantees it.
        unsafe { look(has_filter, argument as *const sock_fprog) };
    }
    result
}

/// After `seccomp(operation, flags, argument)`, which returned `result`.
///
/// # Safety
/// The kernel must have accepted the arguments if `result` is not negative.
pub unsafe fn after_seccomp(result: c_long, operation: usize, argument: usize) -> c_long {
    let has_filter = operation == libc::SECCOMP_SET_MODE_FILTER as usize;
    if result >= 0 && (has_filter || operation == libc::SECCOMP_SET_MODE_STRICT as usize) {
        // SAFETY: the caller guarantees it.
        unsafe { look(has_filter, argument as *const sock_fprog) };
    }
    result
}

/// Strict mode allows no call of the library.
///
/// # Safety
/// `program` must be a filter that the kernel has just read, if there is one.
#[cold]
#[inline(never)]
unsafe fn look(has_filter: bool, program: *const sock_fprog) {
    let is_harmless = has_filter && {
        // SAFETY: the caller guarantees it.
        let instructions = unsafe {
            let program = program.read_unaligned();
            core::slice::from_raw_parts(program.filter, program.len.into())
        };
        !is_harmful(instructions)
    };
    if !is_harmless {
        confine();
    }
}
