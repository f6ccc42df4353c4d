//! Functions that open a file. They run after the kernel has completed the call. So they never read a path
//! that the kernel refused, and `EFAULT` stays `EFAULT`.

use super::environment::{settings, settings_if_on};
use super::errno::set_errno;
use super::hidden_cpus;
use crate::procfs::files;
use crate::sys::c_string::terminated;
use crate::sys::link::{Name, Next};
use crate::sys::{self, Fd, ProgramFd};
use crate::virtual_file;
use core::ffi::{c_char, c_int};
use libc::FILE;

/// After `open` and similar functions, which returned `fd` for `path`, relative to the directory `dir`.
///
/// # Safety
/// If `fd` is a descriptor, `path` must be the C string that it was opened with.
#[inline(never)]
#[unsafe(link_section = ".text.hot")]
pub unsafe fn after_open(fd: c_int, dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    if fd < 0 {
        return fd;
    }
    // SAFETY: the caller guarantees it.
    unsafe {
        if hidden_cpus::is_hidden(dir, path) {
            // Close the descriptor: the program gets an error instead.
            drop(Fd::from_raw(fd));
            return -1;
        }
        if flags & libc::O_DIRECTORY != 0 {
            hidden_cpus::note_event_sources(path);
        }
        look(fd, path, flags);
    }
    fd
}

/// After `fopen` and similar functions. The stream has read nothing yet, so it can keep the number of its
/// descriptor when the file behind that number is replaced.
///
/// # Safety
/// As for those functions. If `stream` is not null, `mode` must be a C string, and `path` a C string or
/// null.
#[inline(never)]
#[unsafe(link_section = ".text.hot")]
pub unsafe fn after_fopen(
    stream: *mut FILE,
    path: *const c_char,
    mode: *const c_char,
) -> *mut FILE {
    if stream.is_null() || path.is_null() {
        return stream;
    }
    // SAFETY: the caller guarantees it. A stream that is closed here has not reached the program yet.
    unsafe {
        if hidden_cpus::is_hidden(libc::AT_FDCWD, path) {
            close(stream);
            set_errno(libc::ENOENT);
            return core::ptr::null_mut();
        }
        look_at_stream(stream, path, mode);
    }
    stream
}

/// After `freopen` and similar functions. For a CPU that the container does not have, this calls libc again
/// with a path that does not exist. libc then decides whether to close the program's stream.
///
/// # Safety
/// As for [`after_fopen`]; `next` must be libc's function, and `mode` a C string.
#[inline(never)]
pub unsafe fn freopen(
    next: unsafe extern "C" fn(*const c_char, *const c_char, *mut FILE) -> *mut FILE,
    path: *const c_char,
    mode: *const c_char,
    given: *mut FILE,
) -> *mut FILE {
    // SAFETY: the caller guarantees it.
    unsafe {
        let opened = next(path, mode, given);
        if opened.is_null() {
            return opened;
        }
        if path.is_null() {
            renew_at_start(opened);
            return opened;
        }
        if hidden_cpus::is_hidden(libc::AT_FDCWD, path) {
            return next(c"".as_ptr(), mode, opened);
        }
        look_at_stream(opened, path, mode);
        opened
    }
}

/// After `freopen` without a path. glibc has opened the stream's file again, and the program reads it from the start.
/// musl keeps the offset.
///
/// # Safety
/// `stream` must be open, with an empty buffer.
unsafe fn renew_at_start(stream: *mut FILE) {
    // SAFETY: the caller guarantees it.
    if let Some(fd) = unsafe { number(stream) }
        && virtual_file::recognise(fd).is_some()
        && sys::position(fd) == Ok(0)
    {
        // SAFETY: the program reads from the start of this descriptor.
        virtual_file::refresh(unsafe { ProgramFd::new(fd) }, settings);
    }
}

/// # Safety
/// `stream` must be open, and nothing else may use it.
unsafe fn close(stream: *mut FILE) {
    static FCLOSE: Next = Next::new();
    let fclose = FCLOSE.address(const { Name::of(c"fclose") });
    if !fclose.is_null() {
        // SAFETY: the type is that of the C standard's fclose; the caller guarantees the rest.
        unsafe {
            core::mem::transmute::<*mut (), unsafe extern "C" fn(*mut FILE) -> c_int>(fclose)(
                stream,
            )
        };
    }
}

/// # Safety
/// As for [`after_open`], and `path` must not be null.
#[inline(always)]
unsafe fn look(fd: c_int, path: *const c_char, flags: c_int) {
    if flags & (libc::O_PATH | libc::O_DIRECTORY) != 0 {
        return;
    }
    // SAFETY: the kernel has read the path to its end.
    let path = unsafe { terminated(path) }.to_bytes();
    if files::could_be(path) {
        // SAFETY: the program's call has just opened this descriptor.
        let fd = unsafe { ProgramFd::new(fd) };
        if flags & libc::O_ACCMODE == libc::O_RDONLY {
            virtual_file::replace_opened(fd, path, flags, settings_if_on);
        } else {
            virtual_file::redirect_pressure(fd, path, flags, settings_if_on);
        }
    }
}

/// # Safety
/// As for [`after_fopen`]; no argument may be null.
#[inline]
unsafe fn look_at_stream(stream: *mut FILE, path: *const c_char, mode: *const c_char) {
    // SAFETY: the caller guarantees it.
    let (path, mode) = unsafe { (terminated(path).to_bytes(), terminated(mode).to_bytes()) };
    if !files::could_be(path) || mode.first() != Some(&b'r') || mode.contains(&b'+') {
        return;
    }
    // SAFETY: the stream is open.
    if let Some(fd) = unsafe { number(stream) } {
        // libc decides how far it searches the mode for an `e`, so read the flag instead.
        let close = sys::descriptor_flags(fd, libc::F_GETFD).unwrap_or(0) & libc::FD_CLOEXEC;
        let flags = if close != 0 { libc::O_CLOEXEC } else { 0 };
        // SAFETY: the program's call has just opened this descriptor, and the stream has read nothing yet.
        let fd = unsafe { ProgramFd::new(fd) };
        virtual_file::replace_opened(fd, path, flags, settings_if_on);
    }
}

/// The descriptor of a stream, from libc's `fileno`.
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
