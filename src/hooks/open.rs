//! Functions that open a file. The kernel has answered when these are called: a path that it
//! refused was never looked at, so `EFAULT` stays `EFAULT`.

use super::environment::settings;
use super::{cpu_directory, set_errno};
use crate::descriptor;
use crate::files;
use crate::sys::link::{Name, Next};
use crate::sys::memory::terminated;
use crate::sys::{self, Fd};
use core::ffi::{c_char, c_int};
use libc::FILE;

/// After `open` and its like, which gave back `fd` for `path`, seen from the directory `dir`.
///
/// # Safety
/// Where `fd` is a descriptor, `path` is the C string that it was opened by.
#[inline(never)]
#[unsafe(link_section = ".text.near")]
pub unsafe fn opened(fd: c_int, dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    if fd < 0 {
        return fd;
    }
    // SAFETY: the caller's.
    unsafe {
        if cpu_directory::is_hidden(dir, path) {
            drop(Fd::owned(fd));
            return -1;
        }
        look(fd, path, flags);
    }
    fd
}

/// After `fopen` and its like. The stream has read nothing yet: it keeps its descriptor's number
/// and finds another file behind it.
///
/// # Safety
/// As those functions; where `stream` is not null, `mode` is a C string and `path` one or null.
#[inline(never)]
#[unsafe(link_section = ".text.near")]
pub unsafe fn stream(stream: *mut FILE, path: *const c_char, mode: *const c_char) -> *mut FILE {
    if stream.is_null() || path.is_null() {
        return stream;
    }
    // SAFETY: the caller's; a stream that is closed here nobody has got yet.
    unsafe {
        if cpu_directory::is_hidden(libc::AT_FDCWD, path) {
            close(stream);
            set_errno(libc::ENOENT);
            return core::ptr::null_mut();
        }
        look_at_stream(stream, path, mode);
    }
    stream
}

/// After `freopen` and its like. For a CPU that the container does not have, libc fails once more, at a
/// path that nobody has: whether the program's stream is still to be closed then is libc's matter.
///
/// # Safety
/// As [`stream`]; `next` is libc's, and `mode` a C string.
#[inline(never)]
pub unsafe fn reopened(
    next: unsafe extern "C" fn(*const c_char, *const c_char, *mut FILE) -> *mut FILE,
    path: *const c_char,
    mode: *const c_char,
    given: *mut FILE,
) -> *mut FILE {
    // SAFETY: the caller's.
    unsafe {
        let opened = next(path, mode, given);
        if opened.is_null() || path.is_null() {
            return opened;
        }
        if cpu_directory::is_hidden(libc::AT_FDCWD, path) {
            return next(c"".as_ptr(), mode, opened);
        }
        look_at_stream(opened, path, mode);
        opened
    }
}

/// # Safety
/// `stream` must be open and nobody's.
unsafe fn close(stream: *mut FILE) {
    static FCLOSE: Next = Next::new();
    let fclose = FCLOSE.address(const { Name::of(c"fclose") });
    if !fclose.is_null() {
        // SAFETY: the C standard's fclose; the caller's.
        unsafe {
            core::mem::transmute::<*mut (), unsafe extern "C" fn(*mut FILE) -> c_int>(fclose)(
                stream,
            )
        };
    }
}

/// # Safety
/// As [`opened`], and `path` must not be null.
#[inline(always)]
unsafe fn look(fd: c_int, path: *const c_char, flags: c_int) {
    if flags & (libc::O_PATH | libc::O_DIRECTORY) != 0 {
        return;
    }
    // SAFETY: the kernel has read the path to its end.
    let path = unsafe { terminated(path) }.to_bytes();
    if files::could_be(path) {
        if flags & libc::O_ACCMODE == libc::O_RDONLY {
            descriptor::swap(fd, path, flags, settings);
        } else {
            descriptor::redirect(fd, path, flags, settings);
        }
    }
}

/// # Safety
/// As [`stream`].
#[inline]
unsafe fn look_at_stream(stream: *mut FILE, path: *const c_char, mode: *const c_char) {
    // SAFETY: the caller's.
    let (path, mode) = unsafe { (terminated(path).to_bytes(), terminated(mode).to_bytes()) };
    if !files::could_be(path) || mode.first() != Some(&b'r') || mode.contains(&b'+') {
        return;
    }
    // SAFETY: the stream is open.
    if let Some(fd) = unsafe { number(stream) } {
        // How much of the mode libc looks at for an `e` is its own matter.
        let close = sys::descriptor_flags(fd, libc::F_GETFD).unwrap_or(0) & libc::FD_CLOEXEC;
        let flags = if close != 0 { libc::O_CLOEXEC } else { 0 };
        descriptor::swap(fd, path, flags, settings);
    }
}

/// The descriptor of a stream, as libc tells it.
///
/// # Safety
/// `stream` must be open.
pub unsafe fn number(stream: *mut FILE) -> Option<c_int> {
    static FILENO: Next = Next::new();
    let fileno = FILENO.address(const { Name::of(c"fileno") });
    if fileno.is_null() {
        return None;
    }
    // SAFETY: POSIX's fileno; the stream is open.
    let fd = unsafe {
        core::mem::transmute::<*mut (), unsafe extern "C" fn(*mut FILE) -> c_int>(fileno)(stream)
    };
    (fd >= 0).then_some(fd)
}
