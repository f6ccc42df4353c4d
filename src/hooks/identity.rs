//! Functions that tell which file a descriptor is: of a virtual one they tell what the kernel says
//! of its own file, so that `cp`, `install` and `tail -f` see nothing exchanged. What is no file
//! without a name, and that is all but a few, has been answered by the time these are called.

use super::set_errno;
use crate::descriptor;
use crate::sys;
use crate::sys::memory::terminated;
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

/// After `stat`, `fstatat` and their like: an empty path means the descriptor itself, and a link of `/proc`
/// leads to a file without a name too.
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
        if result == 0 && descriptor::could_be_virtual((*status).st_nlink == 0, (*status).st_mode) {
            tell_real_at(dir, path, flags, &mut *status);
        }
    }
    result
}

/// # Safety
/// As [`told_at`].
#[cold]
#[inline(never)]
unsafe fn tell_real_at(dir: c_int, path: *const c_char, flags: c_int, status: &mut stat) {
    // SAFETY: the caller's.
    unsafe { with_reached(dir, path, flags, |fd| descriptor::tell_real(fd, status)) };
}

/// Calls `tell` with a descriptor of what `path` leads to, if that could be virtual.
///
/// # Safety
/// As [`told_at`].
unsafe fn with_reached(dir: c_int, path: *const c_char, flags: c_int, tell: impl FnOnce(c_int)) {
    // SAFETY: the caller's; a path that is not empty is a C string.
    unsafe {
        if is_empty(path, flags) {
            tell(dir);
        } else if let Some(file) = descriptor::reached_by(dir, terminated(path)) {
            tell(file.raw());
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
        if result == 0
            && descriptor::could_be_virtual((*status).stx_nlink == 0, u32::from((*status).stx_mode))
        {
            tell_real_extended(dir, path, flags, mask, &mut *status);
        }
    }
    result
}

/// # Safety
/// As [`told_extended`].
#[cold]
#[inline(never)]
unsafe fn tell_real_extended(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    status: &mut statx,
) {
    // SAFETY: the caller's.
    unsafe {
        with_reached(dir, path, flags, |fd| {
            let flags = flags & !(libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW);
            let real = descriptor::stands_for(fd, &mut [0; 64])
                .and_then(|path| sys::extended_status_of(path, flags, mask).ok());
            if let Some(real) = real {
                *status = real;
            }
        });
    }
}

/// # Safety
/// `path` must be what the kernel took: a C string, or null with AT_EMPTY_PATH (Linux 6.11).
unsafe fn is_empty(path: *const c_char, flags: c_int) -> bool {
    // SAFETY: the caller's.
    flags & libc::AT_EMPTY_PATH != 0 && (path.is_null() || unsafe { *path } == 0)
}

/// Instead of `mmap`. A virtual descriptor can be mapped, where the kernel's own file cannot. But a
/// program that maps as much as `fstat` told it, which is nothing (memmap2 and so ripgrep ask for one
/// byte then), would take the file for empty: it is refused as the kernel would, and reads instead. What
/// the kernel refuses before it looks at the file is left to it.
#[inline(always)]
pub fn mapped(
    fd: c_int,
    size: usize,
    protection: c_int,
    flags: c_int,
    offset: i64,
    map: impl FnOnce() -> *mut c_void,
) -> *mut c_void {
    /// Of the smallest pages.
    const IN_PAGE: i64 = 4095;
    let may_be = match flags & libc::MAP_TYPE {
        libc::MAP_PRIVATE => true,
        libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE => protection & libc::PROT_WRITE == 0,
        _ => false,
    };
    if size == 1
        && fd >= 0
        && flags & libc::MAP_ANONYMOUS == 0
        && offset & IN_PAGE == 0
        && may_be
        && let Some(refusal) = descriptor::refuses_to_be_mapped(fd)
    {
        set_errno(refusal.0);
        return libc::MAP_FAILED;
    }
    map()
}
