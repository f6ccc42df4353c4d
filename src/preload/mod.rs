//! The table of hooks: one line for each libc function that the library replaces. A line gives the C
//! signature and the action. The module of the function's family does the work: it converts arguments and
//! renders the values. This table names no virtual file, and neither does any module below it.
//!
//! Code that every program runs (the hooks, the look-up of libc's functions, the first check of a path, the
//! start) is in the section `.text.hot`. So a program that does not read values of the machine maps only
//! that part of the file: bash had two page faults fewer, and an exec of it took 13 µs less.
//!
//! To add a hook: write its line, and add the call to the table in README. A test checks the names that the
//! shared object exports, the README and the tests against [`NAMES`].

#[cfg(feature = "preload")]
mod affinity;
#[cfg(feature = "preload")]
mod calls;
#[cfg(feature = "preload")]
mod dlsym;
#[cfg(feature = "preload")]
mod environment;
#[cfg(feature = "preload")]
mod errno;
#[cfg(feature = "preload")]
mod exec;
#[cfg(feature = "preload")]
mod hidden_cpus;
#[cfg(feature = "preload")]
mod identity;
#[cfg(feature = "preload")]
mod open;
#[cfg(feature = "preload")]
mod sampler_entry;
#[cfg(feature = "preload")]
mod seccomp;
#[cfg(feature = "preload")]
mod seek;
#[cfg(feature = "preload")]
mod stand_in;
#[cfg(feature = "preload")]
mod start;
#[cfg(any(feature = "preload", test))]
mod start_environment;
#[cfg(feature = "preload")]
mod syscall;

/// What a hooked function is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Opens a file: the library may replace the descriptor.
    Open,
    /// Returns a number without a file.
    Value,
    /// Sets the CPUs of a thread.
    Affinity,
    /// May start reading at offset 0 again.
    Refresh,
    /// Starts a program: the library passes the preload on.
    Exec,
    /// Reports which file a descriptor or a path is.
    Identity,
    /// Lists or looks up the CPUs.
    CpuDirectory,
    /// May confine the program to some system calls.
    Confine,
    /// Makes a system call by number: any of the other groups.
    Raw,
    /// Looks up a function by its name: hooks of functions that libc lacks are hidden.
    LookUp,
}

/// How a hook finds libc's function, depending on its return type.
#[cfg(feature = "preload")]
trait Returned {
    const LOOK_UP: fn(&crate::sys::link::Next, &core::ffi::CStr, u32) -> *mut () =
        stand_in::look_up_number;
}
#[cfg(feature = "preload")]
impl Returned for core::ffi::c_int {}
#[cfg(feature = "preload")]
impl Returned for i64 {}
#[cfg(feature = "preload")]
impl Returned for isize {}
#[cfg(feature = "preload")]
impl Returned for () {}
#[cfg(feature = "preload")]
impl<T> Returned for *mut T {
    const LOOK_UP: fn(&crate::sys::link::Next, &core::ffi::CStr, u32) -> *mut () =
        stand_in::look_up_pointer;
}

/// The type that a function returns.
#[cfg(feature = "preload")]
macro_rules! returned {
    () => {
        ()
    };
    ($ret:ty) => {
        $ret
    };
}

macro_rules! hooks {
    ($($group:ident { $(fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? = |$next:ident| $body:expr;)* })*) => {
        /// The hooked functions. The variadic ones are written in assembler, see [`crate::sys::arch`].
        pub const NAMES: &[(&str, Group)] = &[
            $($((stringify!($name), Group::$group),)*)*
            ("execl", Group::Exec),
            ("execlp", Group::Exec),
            ("execle", Group::Exec),
            ("syscall", Group::Raw),
            ("dlsym", Group::LookUp),
        ];

        #[cfg(feature = "preload")]
        mod exported {
            use super::affinity::{Style, Thread};
            use super::*;
            use crate::sys::link::{Name, Next};
            use core::ffi::{CStr, c_char, c_double, c_int, c_long, c_uint, c_ulong, c_void};
            use libc::{DIR, FILE, cpu_set_t, dirent, fpos64_t, fpos_t, glob_t, iovec, mode_t, off64_t, off_t, pid_t, pthread_t, size_t, ssize_t, stat as Status};

            $($(
                #[unsafe(link_section = ".text.hot")]
                #[unsafe(no_mangle)]
                unsafe extern "C" fn $name($($arg: $ty),*) $(-> $ret)? {
                    static NEXT: Next = Next::new();
                    const NAME: Name =
                        match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                            Ok(name) => Name::of(name),
                            Err(_) => unreachable!(),
                        };
                    let address = NEXT.address_or(NAME, <returned!($($ret)?) as Returned>::LOOK_UP);
                    // SAFETY: libc's function of this name has this type, by the C standard and POSIX. A
                    // variadic `open` or `prctl` takes its arguments in the same registers as a fixed one
                    // on x86-64 and aarch64. The program's arguments are passed on unchanged.
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
        fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int = |next| open::after_open(next(path, flags, mode), libc::AT_FDCWD, path, flags);
        fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int = |next| open::after_open(next(path, flags, mode), libc::AT_FDCWD, path, flags);
        fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int = |next| open::after_open(next(dir, path, flags, mode), dir, path, flags);
        fn openat64(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int = |next| open::after_open(next(dir, path, flags, mode), dir, path, flags);
        fn __open_2(path: *const c_char, flags: c_int) -> c_int = |next| open::after_open(next(path, flags), libc::AT_FDCWD, path, flags);
        fn __open64_2(path: *const c_char, flags: c_int) -> c_int = |next| open::after_open(next(path, flags), libc::AT_FDCWD, path, flags);
        fn __openat_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int = |next| open::after_open(next(dir, path, flags), dir, path, flags);
        fn __openat64_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int = |next| open::after_open(next(dir, path, flags), dir, path, flags);
        fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE = |next| open::after_fopen(next(path, mode), path, mode);
        fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE = |next| open::after_fopen(next(path, mode), path, mode);
        fn freopen(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE = |next| open::freopen(next, path, mode, stream);
        fn freopen64(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE = |next| open::freopen(next, path, mode, stream);
    }
    Value {
        fn sysconf(name: c_int) -> c_long = |next| calls::sysconf(name).unwrap_or_else(|| next(name));
        fn __sysconf(name: c_int) -> c_long = |next| calls::sysconf(name).unwrap_or_else(|| next(name));
        fn get_nprocs() -> c_int = |next| calls::cpu_count().unwrap_or_else(|| next());
        fn get_phys_pages() -> c_long = |next| calls::sysconf(libc::_SC_PHYS_PAGES).unwrap_or_else(|| next());
        fn get_avphys_pages() -> c_long = |next| calls::sysconf(libc::_SC_AVPHYS_PAGES).unwrap_or_else(|| next());
        fn getloadavg(averages: *mut c_double, count: c_int) -> c_int = |next| calls::load(averages, count).unwrap_or_else(|| next(averages, count));
        fn sysinfo(info: *mut libc::sysinfo) -> c_int = |next| calls::sysinfo(next(info), info);
        fn sched_getaffinity(pid: pid_t, size: size_t, mask: *mut cpu_set_t) -> c_int = |next| affinity::read(Style::Errno, Thread::Id(pid), size, mask, &|size, mask| next(pid, size, mask));
        fn pthread_getaffinity_np(thread: pthread_t, size: size_t, mask: *mut cpu_set_t) -> c_int = |next| affinity::read(Style::Number, Thread::Handle(thread), size, mask, &|size, mask| next(thread, size, mask));
        fn pthread_attr_getaffinity_np(attributes: *const c_void, size: size_t, mask: *mut cpu_set_t) -> c_int = |next| affinity::read(Style::Number, Thread::Attribute, size, mask, &|size, mask| next(attributes, size, mask));
    }
    Affinity {
        fn sched_setaffinity(pid: pid_t, size: size_t, mask: *const cpu_set_t) -> c_int = |next| affinity::set(Style::Errno, Thread::Id(pid), size, mask, &|size, mask| next(pid, size, mask));
        fn pthread_setaffinity_np(thread: pthread_t, size: size_t, mask: *const cpu_set_t) -> c_int = |next| affinity::set(Style::Number, Thread::Handle(thread), size, mask, &|size, mask| next(thread, size, mask));
        fn pthread_attr_setaffinity_np(attributes: *mut c_void, size: size_t, mask: *const cpu_set_t) -> c_int = |next| affinity::set_attribute(size, mask, |size, mask| next(attributes, size, mask));
    }
    Refresh {
        fn lseek(fd: c_int, offset: off_t, whence: c_int) -> off_t = |next| seek::lseek(next, fd, offset, whence);
        fn lseek64(fd: c_int, offset: off64_t, whence: c_int) -> off64_t = |next| seek::lseek(next, fd, offset, whence);
        fn pread(fd: c_int, buffer: *mut c_void, size: size_t, offset: off_t) -> ssize_t = |next| { seek::before_pread(fd, offset); next(fd, buffer, size, offset) };
        fn pread64(fd: c_int, buffer: *mut c_void, size: size_t, offset: off64_t) -> ssize_t = |next| { seek::before_pread(fd, offset); next(fd, buffer, size, offset) };
        fn __pread_chk(fd: c_int, buffer: *mut c_void, size: size_t, offset: off_t, limit: size_t) -> ssize_t = |next| { seek::before_pread(fd, offset); next(fd, buffer, size, offset, limit) };
        fn __pread64_chk(fd: c_int, buffer: *mut c_void, size: size_t, offset: off64_t, limit: size_t) -> ssize_t = |next| { seek::before_pread(fd, offset); next(fd, buffer, size, offset, limit) };
        fn preadv(fd: c_int, pieces: *const iovec, count: c_int, offset: off_t) -> ssize_t = |next| { seek::before_pread(fd, offset); next(fd, pieces, count, offset) };
        fn preadv64(fd: c_int, pieces: *const iovec, count: c_int, offset: off64_t) -> ssize_t = |next| { seek::before_pread(fd, offset); next(fd, pieces, count, offset) };
        fn preadv2(fd: c_int, pieces: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t = |next| { seek::before_pread(fd, offset); next(fd, pieces, count, offset, flags) };
        fn preadv64v2(fd: c_int, pieces: *const iovec, count: c_int, offset: off64_t, flags: c_int) -> ssize_t = |next| { seek::before_pread(fd, offset); next(fd, pieces, count, offset, flags) };
        fn rewind(stream: *mut FILE) = |next| { seek::before_rewind(stream); next(stream) };
        fn fseek(stream: *mut FILE, offset: c_long, whence: c_int) -> c_int = |next| { seek::before_fseek(stream, offset, whence); next(stream, offset, whence) };
        fn fseeko(stream: *mut FILE, offset: off_t, whence: c_int) -> c_int = |next| { seek::before_fseek(stream, offset, whence); next(stream, offset, whence) };
        fn fseeko64(stream: *mut FILE, offset: off64_t, whence: c_int) -> c_int = |next| { seek::before_fseek(stream, offset, whence); next(stream, offset, whence) };
        fn fsetpos(stream: *mut FILE, position: *const fpos_t) -> c_int = |next| { seek::before_fsetpos(stream, position.cast()); next(stream, position) };
        fn fsetpos64(stream: *mut FILE, position: *const fpos64_t) -> c_int = |next| { seek::before_fsetpos(stream, position.cast()); next(stream, position) };
    }
    Exec {
        fn execve(path: *const c_char, arguments: *const *const c_char, environment: *const *const c_char) -> c_int = |next| exec::with_preload(environment, &mut |environment| next(path, arguments, environment));
        fn execv(path: *const c_char, arguments: *const *const c_char) -> c_int = |next| exec::execv(next, path, arguments);
        fn execvp(file: *const c_char, arguments: *const *const c_char) -> c_int = |next| exec::execvp(next, file, arguments);
        fn execvpe(file: *const c_char, arguments: *const *const c_char, environment: *const *const c_char) -> c_int = |next| exec::with_preload(environment, &mut |environment| next(file, arguments, environment));
        fn execveat(dir: c_int, path: *const c_char, arguments: *const *const c_char, environment: *const *const c_char, flags: c_int) -> c_int = |next| exec::with_preload(environment, &mut |environment| next(dir, path, arguments, environment, flags));
        fn fexecve(fd: c_int, arguments: *const *const c_char, environment: *const *const c_char) -> c_int = |next| exec::with_preload_unless_null(environment, &mut |environment| next(fd, arguments, environment));
        fn posix_spawn(pid: *mut pid_t, path: *const c_char, actions: *const c_void, attributes: *const c_void, arguments: *const *const c_char, environment: *const *const c_char) -> c_int = |next| exec::with_preload(environment, &mut |environment| next(pid, path, actions, attributes, arguments, environment));
        fn system(command: *const c_char) -> c_int = |next| { let mut result = -1; exec::with_exports(command, &mut |command| result = next(command)); result };
        fn popen(command: *const c_char, mode: *const c_char) -> *mut FILE = |next| { let mut stream = core::ptr::null_mut(); exec::with_exports(command, &mut |command| stream = next(command, mode)); stream };
        fn posix_spawnp(pid: *mut pid_t, file: *const c_char, actions: *const c_void, attributes: *const c_void, arguments: *const *const c_char, environment: *const *const c_char) -> c_int = |next| exec::with_preload(environment, &mut |environment| next(pid, file, actions, attributes, arguments, environment));
    }
    Identity {
        fn fstat(fd: c_int, status: *mut Status) -> c_int = |next| identity::after_fstat(next(fd, status), fd, status);
        fn fstat64(fd: c_int, status: *mut Status) -> c_int = |next| identity::after_fstat(next(fd, status), fd, status);
        fn __fxstat(version: c_int, fd: c_int, status: *mut Status) -> c_int = |next| identity::after_fstat(next(version, fd, status), fd, status);
        fn __fxstat64(version: c_int, fd: c_int, status: *mut Status) -> c_int = |next| identity::after_fstat(next(version, fd, status), fd, status);
        fn stat(path: *const c_char, status: *mut Status) -> c_int = |next| identity::after_stat(hidden_cpus::after_access(next(path, status), libc::AT_FDCWD, path), libc::AT_FDCWD, path, status, 0);
        fn stat64(path: *const c_char, status: *mut Status) -> c_int = |next| identity::after_stat(hidden_cpus::after_access(next(path, status), libc::AT_FDCWD, path), libc::AT_FDCWD, path, status, 0);
        fn __xstat(version: c_int, path: *const c_char, status: *mut Status) -> c_int = |next| identity::after_stat(hidden_cpus::after_access(next(version, path, status), libc::AT_FDCWD, path), libc::AT_FDCWD, path, status, 0);
        fn __xstat64(version: c_int, path: *const c_char, status: *mut Status) -> c_int = |next| identity::after_stat(hidden_cpus::after_access(next(version, path, status), libc::AT_FDCWD, path), libc::AT_FDCWD, path, status, 0);
        fn fstatat(dir: c_int, path: *const c_char, status: *mut Status, flags: c_int) -> c_int = |next| identity::after_stat(hidden_cpus::after_access(next(dir, path, status, flags), dir, path), dir, path, status, flags);
        fn fstatat64(dir: c_int, path: *const c_char, status: *mut Status, flags: c_int) -> c_int = |next| identity::after_stat(hidden_cpus::after_access(next(dir, path, status, flags), dir, path), dir, path, status, flags);
        fn __fxstatat(version: c_int, dir: c_int, path: *const c_char, status: *mut Status, flags: c_int) -> c_int = |next| identity::after_stat(hidden_cpus::after_access(next(version, dir, path, status, flags), dir, path), dir, path, status, flags);
        fn __fxstatat64(version: c_int, dir: c_int, path: *const c_char, status: *mut Status, flags: c_int) -> c_int = |next| identity::after_stat(hidden_cpus::after_access(next(version, dir, path, status, flags), dir, path), dir, path, status, flags);
        fn statx(dir: c_int, path: *const c_char, flags: c_int, mask: c_uint, status: *mut libc::statx) -> c_int = |next| identity::after_statx(hidden_cpus::after_access(next(dir, path, flags, mask, status), dir, path), dir, path, flags, mask, status);
        fn mmap(address: *mut c_void, size: size_t, protection: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void = |next| identity::mmap(fd, flags, |fd| next(address, size, protection, flags, fd, offset));
        fn mmap64(address: *mut c_void, size: size_t, protection: c_int, flags: c_int, fd: c_int, offset: off64_t) -> *mut c_void = |next| identity::mmap(fd, flags, |fd| next(address, size, protection, flags, fd, offset));
        fn fstatfs(fd: c_int, status: *mut c_void) -> c_int = |next| identity::on_kernel_file(fd, |fd| next(fd, status));
        fn fstatfs64(fd: c_int, status: *mut c_void) -> c_int = |next| identity::on_kernel_file(fd, |fd| next(fd, status));
        fn fstatvfs(fd: c_int, status: *mut c_void) -> c_int = |next| identity::on_kernel_file(fd, |fd| next(fd, status));
        fn fstatvfs64(fd: c_int, status: *mut c_void) -> c_int = |next| identity::on_kernel_file(fd, |fd| next(fd, status));
        fn fchmod(fd: c_int, mode: mode_t) -> c_int = |next| identity::on_kernel_file(fd, |fd| next(fd, mode));
        fn fchown(fd: c_int, owner: c_uint, group: c_uint) -> c_int = |next| identity::on_kernel_file(fd, |fd| next(fd, owner, group));
        fn fsync(fd: c_int) -> c_int = |next| identity::on_kernel_file(fd, |fd| next(fd));
        fn fdatasync(fd: c_int) -> c_int = |next| identity::on_kernel_file(fd, |fd| next(fd));
    }
    CpuDirectory {
        fn lstat(path: *const c_char, status: *mut c_void) -> c_int = |next| hidden_cpus::after_access(next(path, status), libc::AT_FDCWD, path);
        fn lstat64(path: *const c_char, status: *mut c_void) -> c_int = |next| hidden_cpus::after_access(next(path, status), libc::AT_FDCWD, path);
        fn __lxstat(version: c_int, path: *const c_char, status: *mut c_void) -> c_int = |next| hidden_cpus::after_access(next(version, path, status), libc::AT_FDCWD, path);
        fn __lxstat64(version: c_int, path: *const c_char, status: *mut c_void) -> c_int = |next| hidden_cpus::after_access(next(version, path, status), libc::AT_FDCWD, path);
        fn access(path: *const c_char, mode: c_int) -> c_int = |next| hidden_cpus::after_access(next(path, mode), libc::AT_FDCWD, path);
        fn eaccess(path: *const c_char, mode: c_int) -> c_int = |next| hidden_cpus::after_access(next(path, mode), libc::AT_FDCWD, path);
        fn euidaccess(path: *const c_char, mode: c_int) -> c_int = |next| hidden_cpus::after_access(next(path, mode), libc::AT_FDCWD, path);
        fn faccessat(dir: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int = |next| hidden_cpus::after_access(next(dir, path, mode, flags), dir, path);
        fn opendir(path: *const c_char) -> *mut DIR = |next| hidden_cpus::after_opendir(next(path), path);
        fn readdir(directory: *mut DIR) -> *mut dirent = |next| hidden_cpus::readdir(next, directory);
        fn readdir64(directory: *mut DIR) -> *mut dirent = |next| hidden_cpus::readdir(next, directory);
        fn readdir_r(directory: *mut DIR, entry: *mut dirent, result: *mut *mut dirent) -> c_int = |next| hidden_cpus::readdir_r(next, directory, entry, result);
        fn readdir64_r(directory: *mut DIR, entry: *mut dirent, result: *mut *mut dirent) -> c_int = |next| hidden_cpus::readdir_r(next, directory, entry, result);
        fn scandir(path: *const c_char, list: *mut *mut *mut dirent, filter: *const c_void, order: *const c_void) -> c_int = |next| hidden_cpus::after_scandir(next(path, list, filter, order), libc::AT_FDCWD, path, list);
        fn scandir64(path: *const c_char, list: *mut *mut *mut dirent, filter: *const c_void, order: *const c_void) -> c_int = |next| hidden_cpus::after_scandir(next(path, list, filter, order), libc::AT_FDCWD, path, list);
        fn scandirat(dir: c_int, path: *const c_char, list: *mut *mut *mut dirent, filter: *const c_void, order: *const c_void) -> c_int = |next| hidden_cpus::after_scandir(next(dir, path, list, filter, order), dir, path, list);
        fn scandirat64(dir: c_int, path: *const c_char, list: *mut *mut *mut dirent, filter: *const c_void, order: *const c_void) -> c_int = |next| hidden_cpus::after_scandir(next(dir, path, list, filter, order), dir, path, list);
        fn glob(pattern: *const c_char, flags: c_int, failed: *const c_void, found: *mut glob_t) -> c_int = |next| hidden_cpus::glob(next, pattern, flags, failed, found);
        fn glob64(pattern: *const c_char, flags: c_int, failed: *const c_void, found: *mut glob_t) -> c_int = |next| hidden_cpus::glob(next, pattern, flags, failed, found);
    }    Confine {
        fn prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int = |next| seccomp::after_prctl(next(option, a, b, c, d), option, a, b);
    }
}
