//! Functions after which a read may start at offset 0 again: what is read then is what is true
//! then.

use super::environment::settings;
use super::open::number;
use crate::descriptor;
use crate::sys::link::{Name, Next};
use core::ffi::{c_int, c_void};
use libc::FILE;

/// After `lseek`: `result` is where the offset is now. Asking where it is (Python does so after
/// each open) is not seeking.
#[inline(always)]
pub fn sought(result: i64, fd: c_int, offset: i64, whence: c_int) -> i64 {
    if result == 0 && !(whence == libc::SEEK_CUR && offset == 0) {
        descriptor::refresh(fd, settings);
    }
    result
}

/// Before `pread` and its like.
#[inline(always)]
pub fn reading(fd: c_int, offset: i64) {
    if offset == 0 && fd >= 0 {
        descriptor::refresh(fd, settings);
    }
}

/// Before `rewind`.
///
/// # Safety
/// `stream` must be open.
#[inline(always)]
pub unsafe fn rewinding(stream: *mut FILE) {
    // SAFETY: the caller's.
    unsafe { restart(stream) };
}

/// Before `fseek` and its like.
///
/// # Safety
/// `stream` must be open.
#[inline(always)]
pub unsafe fn seeking(stream: *mut FILE, offset: i64, whence: c_int) {
    if whence == libc::SEEK_SET && offset == 0 {
        // SAFETY: the caller's.
        unsafe { restart(stream) };
    }
}

/// Before `fsetpos`: in glibc and in musl a position begins with the offset.
///
/// # Safety
/// `stream` must be open and `position` one that `fgetpos` gave.
#[inline(always)]
pub unsafe fn positioning(stream: *mut FILE, position: *const i64) {
    // SAFETY: the caller's.
    unsafe {
        if !position.is_null() && position.read_unaligned() == 0 {
            restart(stream);
        }
    }
}

/// Gives a stream on a virtual descriptor its new text; libc's functions for that write `errno` where the
/// stream is one in memory, or has characters that were pushed back.
///
/// # Safety
/// `stream` must be open.
#[inline(never)]
unsafe fn restart(stream: *mut FILE) {
    let errno = super::errno_place();
    // SAFETY: the calling thread's errno, or null; and the caller's.
    unsafe {
        let before = errno.as_ref().copied();
        if !stream.is_null() {
            renew(stream);
        }
        if let (Some(errno), Some(before)) = (errno.as_mut(), before) {
            *errno = before;
        }
    }
}

/// What the stream has buffered of the old text is dropped first, or a pass would begin in one text and
/// end in the other.
///
/// # Safety
/// `stream` must be open.
unsafe fn renew(stream: *mut FILE) {
    static FFLUSH: Next = Next::new();
    // SAFETY: the caller's.
    let Some(fd) = (unsafe { number(stream) }) else {
        return;
    };
    if descriptor::recognise(fd).is_none() {
        return;
    }
    let fflush = FFLUSH.address(const { Name::of(c"fflush") });
    if !fflush.is_null() {
        // SAFETY: the C standard's fflush; the stream is open.
        unsafe {
            core::mem::transmute::<*mut (), unsafe extern "C" fn(*mut c_void) -> c_int>(fflush)(
                stream.cast(),
            )
        };
    }
    descriptor::refresh(fd, settings);
}
