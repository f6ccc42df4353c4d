//! Functions that report which file a descriptor is, or act on the file itself. For a virtual descriptor
//! they return what they would return for the kernel's own file, so that `cp`, `install` and `tail -f` see
//! the same file. Only a file that has no name and the mode of a memory file can be virtual. For any other
//! file, libc's result is already correct.

use crate::sys;
use crate::sys::c_string::terminated;
use crate::virtual_file::{
    KernelFile, could_be_virtual, open_kernel_file, with_kernel_path, with_kernel_path_at,
};
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use libc::{stat, statx};

/// After `fstat` and similar functions, which returned `result`.
///
/// # Safety
/// If `result` is 0, libc must have filled `status`.
#[inline(always)]
pub unsafe fn after_fstat(result: c_int, fd: c_int, status: *mut stat) -> c_int {
    // SAFETY: the caller guarantees it.
    unsafe {
        if result == 0 && could_be_virtual((*status).st_nlink == 0, (*status).st_mode) {
            show_kernel_file(fd, &mut *status);
        }
    }
    result
}

#[cold]
#[inline(never)]
fn show_kernel_file(fd: c_int, status: &mut stat) {
    with_kernel_path(fd, status.st_uid, &mut |path| {
        if let Ok(of_kernel) = sys::status_of(path) {
            *status = of_kernel;
        }
    });
}

/// After `stat`, `fstatat` and similar functions. An empty path means the descriptor itself. A symbolic
/// link in `/proc` can also lead to a file without a name.
///
/// # Safety
/// As for [`after_fstat`]; `path` must be what the kernel accepted.
#[inline(always)]
pub unsafe fn after_stat(
    result: c_int,
    dir: c_int,
    path: *const c_char,
    status: *mut stat,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller guarantees it.
    unsafe {
        if result == 0 && could_be_virtual((*status).st_nlink == 0, (*status).st_mode) {
            show_kernel_file_at(dir, path, flags, &mut *status);
        }
    }
    result
}

/// # Safety
/// As for [`after_stat`].
#[cold]
#[inline(never)]
unsafe fn show_kernel_file_at(dir: c_int, path: *const c_char, flags: c_int, status: &mut stat) {
    let owner = status.st_uid;
    // SAFETY: the caller guarantees it.
    unsafe {
        with_kernel_path_of(dir, path, flags, owner, &mut |path| {
            if let Ok(of_kernel) = sys::status_of(path) {
                *status = of_kernel;
            }
        });
    }
}

/// Calls `with` with the path of the kernel's file, if `path`, relative to `dir`, leads to a virtual file
/// that belongs to `owner`.
///
/// # Safety
/// As for [`after_stat`].
unsafe fn with_kernel_path_of(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    owner: c_uint,
    with: &mut dyn FnMut(&CStr),
) {
    // SAFETY: the caller guarantees it; a path that is not empty is a C string.
    unsafe {
        if is_empty(path, flags) {
            with_kernel_path(dir, owner, with);
        } else {
            with_kernel_path_at(dir, terminated(path), with);
        }
    }
}

/// After `statx`.
///
/// # Safety
/// As for [`after_stat`].
#[inline(always)]
pub unsafe fn after_statx(
    result: c_int,
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    status: *mut statx,
) -> c_int {
    // SAFETY: the caller guarantees it.
    unsafe {
        if result == 0 && could_be_virtual((*status).stx_nlink == 0, u32::from((*status).stx_mode))
        {
            show_kernel_file_extended(dir, path, flags, mask, &mut *status);
        }
    }
    result
}

/// # Safety
/// As for [`after_statx`].
#[cold]
#[inline(never)]
unsafe fn show_kernel_file_extended(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    status: &mut statx,
) {
    let owner = status.stx_uid;
    // SAFETY: the caller guarantees it.
    unsafe {
        with_kernel_path_of(dir, path, flags, owner, &mut |path| {
            let flags = flags & !(libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW);
            if let Ok(of_kernel) = sys::extended_status_of(path, flags, mask) {
                *status = of_kernel;
            }
        });
    }
}

/// # Safety
/// `path` must be what the kernel accepted: a C string, or null with AT_EMPTY_PATH (Linux 6.11).
unsafe fn is_empty(path: *const c_char, flags: c_int) -> bool {
    // SAFETY: the caller guarantees it.
    flags & libc::AT_EMPTY_PATH != 0 && (path.is_null() || unsafe { *path } == 0)
}

/// Calls libc's function on `fd`, or on the kernel's own file if `fd` is virtual. Then the result and the
/// errno are the kernel's.
#[inline(always)]
pub fn on_kernel_file<T>(fd: c_int, function: impl FnOnce(c_int) -> T) -> T {
    on(open_kernel_file(fd), fd, function)
}

#[inline(always)]
fn on<T>(of_kernel: Option<KernelFile>, fd: c_int, function: impl FnOnce(c_int) -> T) -> T {
    let result = function(of_kernel.as_ref().map_or(fd, KernelFile::raw));
    if let Some(of_kernel) = of_kernel {
        close(of_kernel);
    }
    result
}

#[cold]
#[inline(never)]
fn close(of_kernel: KernelFile) {
    drop(of_kernel);
}

/// Instead of `mmap`. The kernel refuses to map any of these files, and programs then read them. A mapping
/// of the memory file would show zeros after its content, or nothing to a program that maps the size that
/// `fstat` reports. So this function maps the kernel's own file, which fails with the right errno.
#[inline(always)]
pub fn mmap(fd: c_int, flags: c_int, map: impl FnOnce(c_int) -> *mut c_void) -> *mut c_void {
    let of_kernel = if flags & libc::MAP_ANONYMOUS == 0 {
        open_kernel_file(fd)
    } else {
        None
    };
    on(of_kernel, fd, map)
}
