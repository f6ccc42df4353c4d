//! A spy that is loaded after the library: `LD_PRELOAD="libproclens.so libspy.so"`. It records what the
//! library fails to replace: a read of the host's real file, or a number that libc returned. It takes the
//! list of files from the library's own table, and finds out from the kernel which file a descriptor is.
//!
//! It writes to the file that `PROCLENS_SPY` names, one line each:
//!
//! - `watching PID PROGRAM`: the spy was loaded;
//! - `leak PID PROGRAM CALL WHAT`: the program got a value of the host.
//!
//! Calls inside libc (`qsort`, `malloc`) use no dynamic symbol, so the spy does not see them. Neither does
//! it see the library's own system calls: strace checks those (tests/clients).

use proclens::procfs::files::MachineFile;
use proclens::sys;
use std::ffi::{CStr, c_double, c_int, c_long, c_void};
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::OnceLock;

/// Which virtual file the kernel's own descriptor `fd` is. The same file has the same inode in every mount
/// of its file system.
fn host_file(fd: c_int) -> Option<MachineFile> {
    static INODES: OnceLock<Vec<(MachineFile, u64)>> = OnceLock::new();
    let file_system = sys::file_system(fd).ok()?;
    if !MachineFile::ALL
        .iter()
        .any(|file| file.file_system() as u64 == file_system)
    {
        return None;
    }
    let inode = sys::status(fd).ok()?.st_ino;
    let inodes = INODES.get_or_init(|| {
        let inode = |file: MachineFile| Some((file, sys::status_of(file.path()).ok()?.st_ino));
        MachineFile::ALL.iter().copied().filter_map(inode).collect()
    });
    inodes
        .iter()
        .find(|(file, known)| *known == inode && file.file_system() as u64 == file_system)
        .map(|(file, _)| *file)
}

/// Reports that `call` read `got` bytes from `fd`, if `fd` is a file of the host.
fn data(call: &str, fd: c_int, got: isize) {
    if got > 0
        && let Some(file) = host_file(fd)
    {
        report(
            "leak",
            &format!(" {call} {}", file.path().to_string_lossy()),
        );
    }
}

/// Before a descriptor is closed: reports what was read from it, by any call.
fn closing(call: &str, fd: c_int) {
    if fd >= 0 && host_file(fd).is_some() {
        // SAFETY: touches no memory.
        let offset = unsafe { sys::call(libc::SYS_lseek, [fd as usize, 0, 1, 0, 0, 0]) };
        data(call, fd, offset.unwrap_or(0) as isize);
    }
}

fn report(kind: &str, what: &str) {
    let Some(path) = std::env::var_os("PROCLENS_SPY") else {
        return;
    };
    let program = std::env::current_exe().unwrap_or_default();
    let program = program.file_name().unwrap_or_default().to_string_lossy();
    if let Ok(mut log) = OpenOptions::new().append(true).create(true).open(path) {
        // A single write, so that lines of several processes do not mix.
        let line = format!("{kind} {} {program}{what}\n", std::process::id());
        let _ = log.write_all(line.as_bytes());
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn() = {
    extern "C" fn loaded() {
        report("watching", "");
    }
    loaded
};

type Trace = unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int;
unsafe extern "C" {
    fn _Unwind_Backtrace(trace: Trace, argument: *mut c_void) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
}

/// The object that holds `address`.
fn object(address: *const c_void) -> Option<&'static CStr> {
    // SAFETY: `dladdr` fills the structure if it returns a number other than 0. The name of a loaded object
    // lives as long as the object, and none of the objects looked up here is unloaded.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        (libc::dladdr(address, &mut info) != 0 && !info.dli_fname.is_null())
            .then(|| CStr::from_ptr(info.dli_fname))
    }
}

/// True if the library made this call, false if the program did. The first stack frame outside this spy
/// decides.
fn library_asked() -> bool {
    unsafe extern "C" fn step(context: *mut c_void, result: *mut c_void) -> c_int {
        // SAFETY: the unwinder passes its context, and `result` is the option below.
        let (caller, result) = unsafe {
            (
                object(_Unwind_GetIP(context) as *const c_void),
                &mut *result.cast::<Option<bool>>(),
            )
        };
        if caller == object(step as *const c_void) {
            return 0;
        }
        *result = Some(caller.is_some_and(|name| {
            proclens::procfs::files::last_component(name.to_bytes()).starts_with(b"libproclens")
        }));
        5 // _URC_END_OF_STACK
    }
    let mut result: Option<bool> = None;
    // SAFETY: walks this thread's own stack; `step` gets the address of `result`.
    unsafe { _Unwind_Backtrace(step, (&raw mut result).cast()) };
    result == Some(true)
}

/// Reports a number of the host. Ignores calls by the library, which corrects the result.
fn value(call: &str) {
    if !library_asked() {
        report("leak", &format!(" {call} -"));
    }
}

/// Reports a call that the library should have handled without calling libc.
fn own_answer(call: &str) {
    report("leak", &format!(" {call} -"));
}

/// Calls that return how many bytes they read from a descriptor.
macro_rules! reads {
    ($(fn $name:ident = $inner:ident ($fd:ident: c_int $(, $a:ident: $t:ty)*);)*) => { $(
        redhook::hook! {
            unsafe fn $name($fd: c_int $(, $a: $t)*) -> isize => $inner {
                // SAFETY: libc's own function gets what the program passed.
                let got = unsafe { redhook::real!($name)($fd $(, $a)*) };
                data(stringify!($name), $fd, got);
                got
            }
        }
    )* };
}

reads! {
    fn read = spied_read(fd: c_int, buffer: *mut c_void, size: usize);
    fn __read_chk = spied_read_chk(fd: c_int, buffer: *mut c_void, size: usize, limit: usize);
    fn pread = spied_pread(fd: c_int, buffer: *mut c_void, size: usize, offset: i64);
    fn pread64 = spied_pread64(fd: c_int, buffer: *mut c_void, size: usize, offset: i64);
    fn __pread_chk = spied_pread_chk(fd: c_int, buffer: *mut c_void, size: usize, offset: i64, limit: usize);
    fn __pread64_chk = spied_pread64_chk(fd: c_int, buffer: *mut c_void, size: usize, offset: i64, limit: usize);
    fn readv = spied_readv(fd: c_int, pieces: *const libc::iovec, count: c_int);
    fn preadv = spied_preadv(fd: c_int, pieces: *const libc::iovec, count: c_int, offset: i64);
    fn preadv64 = spied_preadv64(fd: c_int, pieces: *const libc::iovec, count: c_int, offset: i64);
    fn preadv2 = spied_preadv2(fd: c_int, pieces: *const libc::iovec, count: c_int, offset: i64, flags: c_int);
    fn preadv64v2 = spied_preadv64v2(fd: c_int, pieces: *const libc::iovec, count: c_int, offset: i64, flags: c_int);
    fn copy_file_range = spied_copy(from: c_int, at: *mut i64, to: c_int, to_at: *mut i64, size: usize, flags: u32);
    fn splice = spied_splice(from: c_int, at: *mut i64, to: c_int, to_at: *mut i64, size: usize, flags: u32);
}

/// Calls that take the descriptor as their second argument.
macro_rules! sends {
    ($(fn $name:ident = $inner:ident;)*) => { $(
        redhook::hook! {
            unsafe fn $name(to: c_int, from: c_int, at: *mut i64, size: usize) -> isize => $inner {
                // SAFETY: libc's own function gets what the program passed.
                let got = unsafe { redhook::real!($name)(to, from, at, size) };
                data(stringify!($name), from, got);
                got
            }
        }
    )* };
}

sends! {
    fn sendfile = spied_sendfile;
    fn sendfile64 = spied_sendfile64;
}

/// Mappings of a file. A mapping without a file has descriptor -1.
macro_rules! maps {
    ($(fn $name:ident = $inner:ident;)*) => { $(
        redhook::hook! {
            unsafe fn $name(at: *mut c_void, size: usize, protection: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut c_void => $inner {
                // SAFETY: libc's own function gets what the program passed.
                let mapped = unsafe { redhook::real!($name)(at, size, protection, flags, fd, offset) };
                if mapped != libc::MAP_FAILED && fd >= 0 {
                    data(stringify!($name), fd, 1);
                }
                mapped
            }
        }
    )* };
}

maps! {
    fn mmap = spied_mmap;
    fn mmap64 = spied_mmap64;
}

redhook::hook! {
    unsafe fn close(fd: c_int) -> c_int => spied_close {
        closing("close", fd);
        // SAFETY: libc's own function gets what the program passed.
        unsafe { redhook::real!(close)(fd) }
    }
}

redhook::hook! {
    unsafe fn fclose(stream: *mut libc::FILE) -> c_int => spied_fclose {
        // stdio reads inside libc; the offset of the descriptor shows how much.
        if !stream.is_null() {
            // SAFETY: the program is about to close the stream, so it is open.
            closing("fclose", unsafe { libc::fileno(stream) });
        }
        // SAFETY: libc's own function gets what the program passed.
        unsafe { redhook::real!(fclose)(stream) }
    }
}

/// Calls whose result the library corrects, and calls that it handles without libc.
macro_rules! numbers {
    ($($how:ident fn $name:ident = $inner:ident ($($a:ident: $t:ty),*) -> $ret:ty $(, $asks:expr)?;)*) => { $(
        redhook::hook! {
            unsafe fn $name($($a: $t),*) -> $ret => $inner {
                if true $(&& $asks)? {
                    $how(stringify!($name));
                }
                // SAFETY: libc's own function gets what the program passed.
                unsafe { redhook::real!($name)($($a),*) }
            }
        }
    )* };
}

/// The `sysconf` names that concern CPUs and memory.
fn of_the_machine(name: c_int) -> bool {
    matches!(
        name,
        libc::_SC_NPROCESSORS_ONLN | libc::_SC_PHYS_PAGES | libc::_SC_AVPHYS_PAGES
    )
}

numbers! {
    value fn sysinfo = spied_sysinfo(info: *mut c_void) -> c_int;
    value fn sched_getaffinity = spied_affinity(pid: c_int, size: usize, mask: *mut c_void) -> c_int;
    value fn pthread_getaffinity_np = spied_thread_affinity(thread: usize, size: usize, mask: *mut c_void) -> c_int;
    own_answer fn sysconf = spied_sysconf(name: c_int) -> c_long, of_the_machine(name);
    own_answer fn __sysconf = spied_sysconf_twin(name: c_int) -> c_long, of_the_machine(name);
    own_answer fn get_nprocs = spied_nprocs() -> c_int;
    own_answer fn get_phys_pages = spied_phys_pages() -> c_long;
    own_answer fn get_avphys_pages = spied_avphys_pages() -> c_long;
    own_answer fn getloadavg = spied_loadavg(averages: *mut c_double, count: c_int) -> c_int;
}
