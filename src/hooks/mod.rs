//! The table of hooks: every function of libc that the library stands in front of, in one line
//! each. A line says the C signature and what is done with it; the work is in the file of its
//! family, which converts arguments and asks. No file is named here and none below.
//!
//! What every program runs through (the hooks, how they find libc's functions, the first look at a
//! path, the start) stands together in the section `.text.near`, so that a program that does not ask
//! about the machine maps only that part of the file: bash did with two page faults less, and an exec of
//! it took 13 µs less.
//!
//! To add one: write the line; say in README's table what asks that way. The names exported by
//! the shared object, the README and the tests are checked against [`NAMES`].

#[cfg(feature = "preload")]
mod cpu_directory;
#[cfg(feature = "preload")]
mod environment;
#[cfg(feature = "preload")]
pub mod exec;
#[cfg(feature = "preload")]
mod identity;
#[cfg(feature = "preload")]
mod open;
#[cfg(feature = "preload")]
pub mod raw;
#[cfg(feature = "preload")]
mod refresh;
#[cfg(feature = "preload")]
pub mod start;
#[cfg(feature = "preload")]
mod values;

/// What a hooked function is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Opens a file: the descriptor may be swapped.
    Open,
    /// Answers a number by itself.
    Value,
    /// May start reading at offset 0 again.
    Refresh,
    /// Starts a program: the preload goes along.
    Exec,
    /// Tells which file a descriptor or a path is.
    Identity,
    /// Lists or looks up the CPUs.
    CpuDirectory,
    /// Makes a system call by number: any of the others.
    Raw,
}

/// What a hook answers where libc has no such function, with `ENOSYS`. A program can only get
/// there by a weak reference or by `dlsym`, and has another way.
#[cfg(feature = "preload")]
trait Absent {
    const ABSENT: Self;
}
#[cfg(feature = "preload")]
impl Absent for core::ffi::c_int {
    const ABSENT: Self = -1;
}
#[cfg(feature = "preload")]
impl Absent for i64 {
    const ABSENT: Self = -1;
}
#[cfg(feature = "preload")]
impl Absent for isize {
    const ABSENT: Self = -1;
}
#[cfg(feature = "preload")]
impl Absent for () {
    const ABSENT: Self = ();
}
#[cfg(feature = "preload")]
impl<T> Absent for *mut T {
    const ABSENT: Self = core::ptr::null_mut();
}

#[cfg(feature = "preload")]
#[cold]
#[inline(never)]
fn absent<T: Absent>() -> T {
    set_errno(libc::ENOSYS);
    T::ABSENT
}

/// Writes `errno`, where the library makes an error of its own.
#[cfg(feature = "preload")]
fn set_errno(value: core::ffi::c_int) {
    // SAFETY: the calling thread's errno, or null.
    if let Some(errno) = unsafe { errno_place().as_mut() } {
        *errno = value;
    }
}

/// Where the calling thread's `errno` is; null where libc does not tell.
#[cfg(feature = "preload")]
fn errno_place() -> *mut core::ffi::c_int {
    use crate::sys::link::{Name, Next};

    static LOCATION: Next = Next::new();
    let location = LOCATION.address(const { Name::of(c"__errno_location") });
    if location.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: glibc and musl both have this function; it gives the calling thread's errno.
    unsafe {
        core::mem::transmute::<*mut (), unsafe extern "C" fn() -> *mut core::ffi::c_int>(location)()
    }
}

macro_rules! hooks {
    ($($group:ident { $(fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? = |$next:ident| $body:expr;)* })*) => {
        /// The hooked functions. Those with any number of arguments are written in assembler, see
        /// [`crate::sys::arch`].
        pub const NAMES: &[(&str, Group)] = &[
            $($((stringify!($name), Group::$group),)*)*
            ("execl", Group::Exec),
            ("execlp", Group::Exec),
            ("execle", Group::Exec),
            ("syscall", Group::Raw),
        ];

        #[cfg(feature = "preload")]
        mod exported {
            use super::*;
            use crate::sys::link::{Name, Next};
            use core::ffi::{CStr, c_char, c_double, c_int, c_long, c_uint, c_void};
            use libc::{DIR, FILE, cpu_set_t, dirent, fpos64_t, fpos_t, glob_t, iovec, mode_t, off64_t, off_t, pid_t, pthread_t, size_t, ssize_t, stat as Status};

            $($(
                #[unsafe(link_section = ".text.near")]
                #[unsafe(no_mangle)]
                unsafe extern "C" fn $name($($arg: $ty),*) $(-> $ret)? {
                    static NEXT: Next = Next::new();
                    const NAME: Name =
                        match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                            Ok(name) => Name::of(name),
                            Err(_) => unreachable!(),
                        };
                    let address = NEXT.address(NAME);
                    if address.is_null() {
                        return absent();
                    }
                    // SAFETY: libc's function of this name has this type, by the C standard and POSIX; a
                    // variadic `open` takes its third argument in the register of a fixed one on
                    // x86-64 and aarch64. What the program passed is passed on as it is.
                    unsafe {
                        let $next = core::mem::transmute::<*mut (), unsafe extern "C" fn($($ty),*) $(-> $ret)?>(address);
                        $body
                    }
                }
            )*)*
        }
    };
}

hooks! {
    Open {
        fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int = |next| open::opened(next(path, flags, mode), libc::AT_FDCWD, path, flags);
        fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int = |next| open::opened(next(path, flags, mode), libc::AT_FDCWD, path, flags);
        fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int = |next| open::opened(next(dir, path, flags, mode), dir, path, flags);
        fn openat64(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int = |next| open::opened(next(dir, path, flags, mode), dir, path, flags);
        fn __open_2(path: *const c_char, flags: c_int) -> c_int = |next| open::opened(next(path, flags), libc::AT_FDCWD, path, flags);
        fn __open64_2(path: *const c_char, flags: c_int) -> c_int = |next| open::opened(next(path, flags), libc::AT_FDCWD, path, flags);
        fn __openat_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int = |next| open::opened(next(dir, path, flags), dir, path, flags);
        fn __openat64_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int = |next| open::opened(next(dir, path, flags), dir, path, flags);
        fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE = |next| open::stream(next(path, mode), path, mode);
        fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE = |next| open::stream(next(path, mode), path, mode);
        fn freopen(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE = |next| open::reopened(next, path, mode, stream);
        fn freopen64(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE = |next| open::reopened(next, path, mode, stream);
    }
    Value {
        fn sysconf(name: c_int) -> c_long = |next| values::sysconf(name).unwrap_or_else(|| next(name));
        fn __sysconf(name: c_int) -> c_long = |next| values::sysconf(name).unwrap_or_else(|| next(name));
        fn get_nprocs() -> c_int = |next| values::cpu_count().unwrap_or_else(|| next());
        fn get_nprocs_conf() -> c_int = |next| values::cpu_count().unwrap_or_else(|| next());
        fn get_phys_pages() -> c_long = |next| values::sysconf(libc::_SC_PHYS_PAGES).unwrap_or_else(|| next());
        fn get_avphys_pages() -> c_long = |next| values::sysconf(libc::_SC_AVPHYS_PAGES).unwrap_or_else(|| next());
        fn getloadavg(averages: *mut c_double, count: c_int) -> c_int = |next| values::load(averages, count).unwrap_or_else(|| next(averages, count));
        fn sysinfo(info: *mut libc::sysinfo) -> c_int = |next| values::sysinfo(next(info), info);
        fn sched_getaffinity(pid: pid_t, size: size_t, mask: *mut cpu_set_t) -> c_int = |next| values::affinity(next(pid, size, mask), mask, size);
        fn pthread_getaffinity_np(thread: pthread_t, size: size_t, mask: *mut cpu_set_t) -> c_int = |next| values::affinity(next(thread, size, mask), mask, size);
    }
    Refresh {
        fn lseek(fd: c_int, offset: off_t, whence: c_int) -> off_t = |next| refresh::sought(next(fd, offset, whence), fd, offset, whence);
        fn lseek64(fd: c_int, offset: off64_t, whence: c_int) -> off64_t = |next| refresh::sought(next(fd, offset, whence), fd, offset, whence);
        fn pread(fd: c_int, buffer: *mut c_void, size: size_t, offset: off_t) -> ssize_t = |next| { refresh::reading(fd, offset); next(fd, buffer, size, offset) };
        fn pread64(fd: c_int, buffer: *mut c_void, size: size_t, offset: off64_t) -> ssize_t = |next| { refresh::reading(fd, offset); next(fd, buffer, size, offset) };
        fn __pread_chk(fd: c_int, buffer: *mut c_void, size: size_t, offset: off_t, room: size_t) -> ssize_t = |next| { refresh::reading(fd, offset); next(fd, buffer, size, offset, room) };
        fn __pread64_chk(fd: c_int, buffer: *mut c_void, size: size_t, offset: off64_t, room: size_t) -> ssize_t = |next| { refresh::reading(fd, offset); next(fd, buffer, size, offset, room) };
        fn preadv(fd: c_int, pieces: *const iovec, count: c_int, offset: off_t) -> ssize_t = |next| { refresh::reading(fd, offset); next(fd, pieces, count, offset) };
        fn preadv64(fd: c_int, pieces: *const iovec, count: c_int, offset: off64_t) -> ssize_t = |next| { refresh::reading(fd, offset); next(fd, pieces, count, offset) };
        fn preadv2(fd: c_int, pieces: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t = |next| { refresh::reading(fd, offset); next(fd, pieces, count, offset, flags) };
        fn preadv64v2(fd: c_int, pieces: *const iovec, count: c_int, offset: off64_t, flags: c_int) -> ssize_t = |next| { refresh::reading(fd, offset); next(fd, pieces, count, offset, flags) };
        fn rewind(stream: *mut FILE) = |next| { refresh::rewinding(stream); next(stream) };
        fn fseek(stream: *mut FILE, offset: c_long, whence: c_int) -> c_int = |next| { refresh::seeking(stream, offset, whence); next(stream, offset, whence) };
        fn fseeko(stream: *mut FILE, offset: off_t, whence: c_int) -> c_int = |next| { refresh::seeking(stream, offset, whence); next(stream, offset, whence) };
        fn fseeko64(stream: *mut FILE, offset: off64_t, whence: c_int) -> c_int = |next| { refresh::seeking(stream, offset, whence); next(stream, offset, whence) };
        fn fsetpos(stream: *mut FILE, position: *const fpos_t) -> c_int = |next| { refresh::positioning(stream, position.cast()); next(stream, position) };
        fn fsetpos64(stream: *mut FILE, position: *const fpos64_t) -> c_int = |next| { refresh::positioning(stream, position.cast()); next(stream, position) };
    }
    Exec {
        fn execve(path: *const c_char, arguments: *const *const c_char, environment: *const *const c_char) -> c_int = |next| exec::with_preload(environment, &mut |environment| next(path, arguments, environment));
        fn execv(path: *const c_char, arguments: *const *const c_char) -> c_int = |next| exec::execv(next, path, arguments);
        fn execvp(file: *const c_char, arguments: *const *const c_char) -> c_int = |next| exec::execvp(next, file, arguments);
        fn execvpe(file: *const c_char, arguments: *const *const c_char, environment: *const *const c_char) -> c_int = |next| exec::with_preload(environment, &mut |environment| next(file, arguments, environment));
        fn execveat(dir: c_int, path: *const c_char, arguments: *const *const c_char, environment: *const *const c_char, flags: c_int) -> c_int = |next| exec::with_preload(environment, &mut |environment| next(dir, path, arguments, environment, flags));
        fn fexecve(fd: c_int, arguments: *const *const c_char, environment: *const *const c_char) -> c_int = |next| exec::with_preload_unless_null(environment, &mut |environment| next(fd, arguments, environment));
        fn posix_spawn(pid: *mut pid_t, path: *const c_char, actions: *const c_void, attributes: *const c_void, arguments: *const *const c_char, environment: *const *const c_char) -> c_int = |next| exec::with_preload(environment, &mut |environment| next(pid, path, actions, attributes, arguments, environment));
        fn posix_spawnp(pid: *mut pid_t, file: *const c_char, actions: *const c_void, attributes: *const c_void, arguments: *const *const c_char, environment: *const *const c_char) -> c_int = |next| exec::with_preload(environment, &mut |environment| next(pid, file, actions, attributes, arguments, environment));
    }
    Identity {
        fn fstat(fd: c_int, status: *mut Status) -> c_int = |next| identity::told(next(fd, status), fd, status);
        fn fstat64(fd: c_int, status: *mut Status) -> c_int = |next| identity::told(next(fd, status), fd, status);
        fn __fxstat(version: c_int, fd: c_int, status: *mut Status) -> c_int = |next| identity::told(next(version, fd, status), fd, status);
        fn __fxstat64(version: c_int, fd: c_int, status: *mut Status) -> c_int = |next| identity::told(next(version, fd, status), fd, status);
        fn stat(path: *const c_char, status: *mut Status) -> c_int = |next| identity::told_at(cpu_directory::found(next(path, status), libc::AT_FDCWD, path), libc::AT_FDCWD, path, status, 0);
        fn stat64(path: *const c_char, status: *mut Status) -> c_int = |next| identity::told_at(cpu_directory::found(next(path, status), libc::AT_FDCWD, path), libc::AT_FDCWD, path, status, 0);
        fn __xstat(version: c_int, path: *const c_char, status: *mut Status) -> c_int = |next| identity::told_at(cpu_directory::found(next(version, path, status), libc::AT_FDCWD, path), libc::AT_FDCWD, path, status, 0);
        fn __xstat64(version: c_int, path: *const c_char, status: *mut Status) -> c_int = |next| identity::told_at(cpu_directory::found(next(version, path, status), libc::AT_FDCWD, path), libc::AT_FDCWD, path, status, 0);
        fn fstatat(dir: c_int, path: *const c_char, status: *mut Status, flags: c_int) -> c_int = |next| identity::told_at(cpu_directory::found(next(dir, path, status, flags), dir, path), dir, path, status, flags);
        fn fstatat64(dir: c_int, path: *const c_char, status: *mut Status, flags: c_int) -> c_int = |next| identity::told_at(cpu_directory::found(next(dir, path, status, flags), dir, path), dir, path, status, flags);
        fn __fxstatat(version: c_int, dir: c_int, path: *const c_char, status: *mut Status, flags: c_int) -> c_int = |next| identity::told_at(cpu_directory::found(next(version, dir, path, status, flags), dir, path), dir, path, status, flags);
        fn __fxstatat64(version: c_int, dir: c_int, path: *const c_char, status: *mut Status, flags: c_int) -> c_int = |next| identity::told_at(cpu_directory::found(next(version, dir, path, status, flags), dir, path), dir, path, status, flags);
        fn statx(dir: c_int, path: *const c_char, flags: c_int, mask: c_uint, status: *mut libc::statx) -> c_int = |next| identity::told_extended(cpu_directory::found(next(dir, path, flags, mask, status), dir, path), dir, path, flags, mask, status);
        fn mmap(address: *mut c_void, size: size_t, protection: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void = |next| identity::mapped(fd, size, protection, flags, offset, || next(address, size, protection, flags, fd, offset));
        fn mmap64(address: *mut c_void, size: size_t, protection: c_int, flags: c_int, fd: c_int, offset: off64_t) -> *mut c_void = |next| identity::mapped(fd, size, protection, flags, offset, || next(address, size, protection, flags, fd, offset));
    }
    CpuDirectory {
        fn lstat(path: *const c_char, status: *mut c_void) -> c_int = |next| cpu_directory::found(next(path, status), libc::AT_FDCWD, path);
        fn lstat64(path: *const c_char, status: *mut c_void) -> c_int = |next| cpu_directory::found(next(path, status), libc::AT_FDCWD, path);
        fn __lxstat(version: c_int, path: *const c_char, status: *mut c_void) -> c_int = |next| cpu_directory::found(next(version, path, status), libc::AT_FDCWD, path);
        fn __lxstat64(version: c_int, path: *const c_char, status: *mut c_void) -> c_int = |next| cpu_directory::found(next(version, path, status), libc::AT_FDCWD, path);
        fn access(path: *const c_char, mode: c_int) -> c_int = |next| cpu_directory::found(next(path, mode), libc::AT_FDCWD, path);
        fn eaccess(path: *const c_char, mode: c_int) -> c_int = |next| cpu_directory::found(next(path, mode), libc::AT_FDCWD, path);
        fn euidaccess(path: *const c_char, mode: c_int) -> c_int = |next| cpu_directory::found(next(path, mode), libc::AT_FDCWD, path);
        fn faccessat(dir: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int = |next| cpu_directory::found(next(dir, path, mode, flags), dir, path);
        fn opendir(path: *const c_char) -> *mut DIR = |next| cpu_directory::opened(next(path), path);
        fn readdir(directory: *mut DIR) -> *mut dirent = |next| cpu_directory::read(next, directory);
        fn readdir64(directory: *mut DIR) -> *mut dirent = |next| cpu_directory::read(next, directory);
        fn readdir_r(directory: *mut DIR, entry: *mut dirent, result: *mut *mut dirent) -> c_int = |next| cpu_directory::read_into(next, directory, entry, result);
        fn readdir64_r(directory: *mut DIR, entry: *mut dirent, result: *mut *mut dirent) -> c_int = |next| cpu_directory::read_into(next, directory, entry, result);
        fn scandir(path: *const c_char, list: *mut *mut *mut dirent, filter: *const c_void, order: *const c_void) -> c_int = |next| cpu_directory::scanned(next(path, list, filter, order), libc::AT_FDCWD, path, list);
        fn scandir64(path: *const c_char, list: *mut *mut *mut dirent, filter: *const c_void, order: *const c_void) -> c_int = |next| cpu_directory::scanned(next(path, list, filter, order), libc::AT_FDCWD, path, list);
        fn scandirat(dir: c_int, path: *const c_char, list: *mut *mut *mut dirent, filter: *const c_void, order: *const c_void) -> c_int = |next| cpu_directory::scanned(next(dir, path, list, filter, order), dir, path, list);
        fn scandirat64(dir: c_int, path: *const c_char, list: *mut *mut *mut dirent, filter: *const c_void, order: *const c_void) -> c_int = |next| cpu_directory::scanned(next(dir, path, list, filter, order), dir, path, list);
        fn glob(pattern: *const c_char, flags: c_int, failed: *const c_void, found: *mut glob_t) -> c_int = |next| cpu_directory::matched(next, pattern, flags, failed, found);
        fn glob64(pattern: *const c_char, flags: c_int, failed: *const c_void, found: *mut glob_t) -> c_int = |next| cpu_directory::matched(next, pattern, flags, failed, found);
    }
}
