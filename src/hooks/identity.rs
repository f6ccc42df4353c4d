//! Functions that tell which file a descriptor is: of a virtual one they tell what the kernel says
//! of its own file, so that `cp`, `install` and `tail -f` see nothing exchanged. What is no file
//! without a name, and that is all but a few, has been answered by the time these are called.

use super::set_errno;
use crate::descriptor;
use crate::sys;
use core::ffi::{c_char, c_int, c_uint, c_void};
use libc::{stat, statx};

/// After `fstat` and its like, which gave back `result`.
///
/// # Safety
/// Where `result` is 0, `status` is what libc filled.
#[inline(always)]
pub unsafe fn told(result: c_int, fd: c_int, status: *mut stat) -> c_int {
    if result == 0 {
        // SAFETY: the caller's.
        descriptor::tell_real(fd, unsafe { &mut *status });
    }
    result
}

/// After `fstatat` and its like: an empty path means the descriptor itself.
///
/// # Safety
/// As [`told`]; `path` is what the kernel took.
#[inline(always)]
pub unsafe fn told_at(
    result: c_int,
    dir: c_int,
    path: *const c_char,
    status: *mut stat,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        if result == 0 && is_empty(path, flags) {
            told(result, dir, status)
        } else {
            result
        }
    }
}

/// After `statx`.
///
/// # Safety
/// As [`told_at`].
#[inline(always)]
pub unsafe fn told_extended(
    result: c_int,
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    status: *mut statx,
) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        if result == 0 && is_empty(path, flags) {
            let status = &mut *status;
            let mut room = [0; 64];
            if descriptor::could_be_virtual(status.stx_nlink == 0, u32::from(status.stx_mode))
                && let Some(real) = descriptor::stands_for(dir, &mut room).and_then(|path| {
                    sys::extended_status_of(path, flags & !libc::AT_EMPTY_PATH, mask).ok()
                })
            {
                *status = real;
            }
        }
    }
    result
}

/// # Safety
/// `path` must be what the kernel took: a C string, or null with AT_EMPTY_PATH (Linux 6.11).
unsafe fn is_empty(path: *const c_char, flags: c_int) -> bool {
    // SAFETY: the caller's.
    flags & libc::AT_EMPTY_PATH != 0 && (path.is_null() || unsafe { *path } == 0)
}

/// Instead of `mmap`. A virtual descriptor can be mapped, where the kernel's own file cannot. But a
/// program that maps as much as `fstat` told it, which is nothing (memmap2 and so ripgrep ask for one
/// byte then), would take the file for empty: it is refused as the kernel would, and reads instead.
#[inline(always)]
pub fn mapped(
    fd: c_int,
    size: usize,
    flags: c_int,
    map: impl FnOnce() -> *mut c_void,
) -> *mut c_void {
    if size <= 1
        && fd >= 0
        && flags & libc::MAP_ANONYMOUS == 0
        && let Some(refusal) = descriptor::refuses_to_be_mapped(fd)
    {
        set_errno(refusal.0);
        return libc::MAP_FAILED;
    }
    map()
}
