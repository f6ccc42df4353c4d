//! Functions after which a read may start at offset 0 again. They renew the content, so that the read
//! returns the current values.

use super::environment::settings;
use super::identity;
use super::open::number;
use crate::sys::ProgramFd;
use crate::sys::link::{Name, Next};
use crate::virtual_file;
use core::ffi::{c_int, c_void};
use libc::FILE;

/// libc's `lseek`.
type Lseek = unsafe extern "C" fn(c_int, i64, c_int) -> i64;

/// Instead of `lseek`. A call that only returns the offset (Python makes one after each open) does not
/// renew the content.
///
/// # Safety
/// `next` must be libc's function.
#[inline(always)]
pub unsafe fn lseek(next: Lseek, fd: c_int, offset: i64, whence: c_int) -> i64 {
    /// The last offset that every file system has. The files in sysfs have none behind it.
    const LAST: i64 = i32::MAX as i64;
    let is_near = whence == libc::SEEK_CUR || whence == libc::SEEK_SET && offset <= LAST;
    if !is_near {
        // SAFETY: the caller guarantees it.
        return unsafe { lseek_far(next, fd, offset, whence) };
    }
    // SAFETY: the caller guarantees it; the call touches no memory but errno.
    let result = unsafe { next(fd, offset, whence) };
    if result == 0 && !(whence == libc::SEEK_CUR && offset == 0) {
        refresh(fd);
    }
    result
}

/// Makes the call on the kernel's own file, which defines where the end is (the files in `/proc` have none)
/// and how far an offset may be.
///
/// # Safety
/// As for [`lseek`].
#[cold]
#[inline(never)]
unsafe fn lseek_far(next: Lseek, fd: c_int, offset: i64, whence: c_int) -> i64 {
    // SAFETY: the caller guarantees it; the call touches no memory but errno.
    let (file, end) =
        identity::on_kernel_file(fd, |file| unsafe { (file, next(file, offset, whence)) });
    if file == fd || end < 0 {
        return end;
    }
    // SAFETY: as above.
    let result = unsafe { next(fd, end, libc::SEEK_SET) };
    if result == 0 {
        refresh(fd);
    }
    result
}

/// Before `pread` and similar functions.
#[inline(always)]
pub fn before_pread(fd: c_int, offset: i64) {
    if offset == 0 && fd >= 0 {
        refresh(fd);
    }
}

#[inline(always)]
fn refresh(fd: c_int) {
    // SAFETY: the program reads from the start of this descriptor.
    virtual_file::refresh(unsafe { ProgramFd::new(fd) }, settings);
}

/// Before `rewind`.
///
/// # Safety
/// `stream` must be open.
#[inline(always)]
pub unsafe fn before_rewind(stream: *mut FILE) {
    // SAFETY: the caller guarantees it.
    unsafe { restart(stream) };
}

/// Before `fseek` and similar functions.
///
/// # Safety
/// `stream` must be open.
#[inline(always)]
pub unsafe fn before_fseek(stream: *mut FILE, offset: i64, whence: c_int) {
    if whence == libc::SEEK_SET && offset == 0 {
        // SAFETY: the caller guarantees it.
        unsafe { restart(stream) };
    }
}

/// Before `fsetpos`. In glibc and in musl, a position begins with the offset.
///
/// # Safety
/// `stream` must be open, and `position` must come from `fgetpos`.
#[inline(always)]
pub unsafe fn before_fsetpos(stream: *mut FILE, position: *const i64) {
    // SAFETY: the caller guarantees it.
    unsafe {
        if !position.is_null() && position.read_unaligned() == 0 {
            restart(stream);
        }
    }
}

/// Renews the content of a stream on a virtual descriptor. Preserves `errno`, because libc's functions for
/// this write it if the stream is in memory or has characters that were pushed back.
///
/// # Safety
/// `stream` must be open.
#[inline(never)]
unsafe fn restart(stream: *mut FILE) {
    let errno = super::errno::errno_place();
    // SAFETY: the address of the calling thread's errno, or null. The caller vouches for the stream.
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

/// Discards what the stream has buffered of the old content before it renews the content. Otherwise a read
/// would begin in the old content and end in the new one.
///
/// # Safety
/// `stream` must be open.
unsafe fn renew(stream: *mut FILE) {
    static FFLUSH: Next = Next::new();
    // SAFETY: the caller guarantees it.
    let Some(fd) = (unsafe { number(stream) }) else {
        return;
    };
    if virtual_file::recognise(fd).is_none() {
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
    refresh(fd);
}
