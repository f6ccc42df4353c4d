//! The program's `errno`, which libc keeps for each thread.

use crate::sys::link::{Name, Next};
use core::ffi::c_int;
use core::ptr::null_mut;

/// Writes `errno` for an error that the library itself reports.
pub fn set_errno(value: c_int) {
    // SAFETY: the calling thread's errno, or null.
    if let Some(errno) = unsafe { errno_place().as_mut() } {
        *errno = value;
    }
}

/// The address of the calling thread's `errno`; null if libc does not provide it.
pub fn errno_place() -> *mut c_int {
    static LOCATION: Next = Next::new();
    let location = LOCATION.address(const { Name::of(c"__errno_location") });
    if location.is_null() {
        return null_mut();
    }
    // SAFETY: glibc and musl both have this function; it returns the address of the calling thread's errno.
    unsafe { core::mem::transmute::<*mut (), unsafe extern "C" fn() -> *mut c_int>(location)() }
}
