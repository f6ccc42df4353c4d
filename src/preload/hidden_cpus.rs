//! Functions that list or look up `cpuN` in the directories of CPUs: they show only the CPUs that the
//! container has. They run after the kernel has completed the call. They examine only two things: a path
//! with a component `cpuN` that can lead into sysfs, and a directory entry with such a name. The examination blocks
//! signals: it may open a directory, and it takes the process's cache.

use super::calls::shows_cpu;
use super::environment::{settings, settings_if_on};
use super::errno::{errno_place, set_errno};
use crate::procfs::cpu_directory;
use crate::procfs::files::FileSystem;
use crate::runtime::cache;
use crate::sys::c_string::terminated;
use crate::sys::link::{self, Name, Next};
use crate::sys::{self, signals};
use crate::text::Out;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};
use libc::{DIR, dirent, glob_t};

/// After a function that found a file at `path`. Returns true if it is a CPU that the container does not
/// have, and sets `errno` to ENOENT.
///
/// # Safety
/// `path` must be the C string that libc accepted.
#[inline(always)]
pub unsafe fn is_hidden(dir: c_int, path: *const c_char) -> bool {
    // SAFETY: the caller guarantees it.
    unsafe { could_be(path) && look(dir, path) }
}

/// After `stat`, `access` and similar functions, which returned `result`.
///
/// # Safety
/// As for [`is_hidden`] if `result` is 0.
#[inline(always)]
pub unsafe fn after_access(result: c_int, dir: c_int, path: *const c_char) -> c_int {
    // SAFETY: the caller guarantees it.
    if result == 0 && unsafe { is_hidden(dir, path) } {
        -1
    } else {
        result
    }
}

/// After `opendir`.
///
/// # Safety
/// As for `opendir(3)`.
#[inline(always)]
pub unsafe fn after_opendir(directory: *mut DIR, path: *const c_char) -> *mut DIR {
    static CLOSEDIR: Next = Next::new();
    // SAFETY: the caller guarantees it. The directory has just been opened, and nothing else uses it.
    unsafe {
        if directory.is_null() {
            return directory;
        }
        note_event_sources(path);
        if !is_hidden(libc::AT_FDCWD, path) {
            return directory;
        }
        let close = CLOSEDIR.address(const { Name::of(c"closedir") });
        if !close.is_null() {
            core::mem::transmute::<*mut (), unsafe extern "C" fn(*mut DIR) -> c_int>(close)(
                directory,
            );
        }
        set_errno(libc::ENOENT);
    }
    null_mut()
}

/// After a function that opened a directory. A program that opens the directory of the kernel's event
/// sources is about to monitor CPUs: perf reads the list of CPUs before its first `perf_event_open`.
///
/// # Safety
/// `path` must be the C string that libc accepted.
#[inline(always)]
pub unsafe fn note_event_sources(path: *const c_char) {
    /// Checks whether the C string is a path of that directory.
    #[cold]
    #[inline(never)]
    unsafe fn look(path: *const c_char) {
        // SAFETY: the caller guarantees it.
        let path = unsafe { terminated(path) }.to_bytes();
        if cpu_directory::is_event_sources(path) {
            cache::watch_cpus();
        }
    }
    // SAFETY: the caller guarantees it.
    unsafe {
        if begins(path, cpu_directory::SYSFS_START) {
            look(path);
        }
    }
}

/// `readdir` and similar functions: returns the next entry that the container has.
///
/// # Safety
/// As for `readdir(3)`; `next` is libc's.
#[inline(always)]
pub unsafe fn readdir(
    next: unsafe extern "C" fn(*mut DIR) -> *mut dirent,
    directory: *mut DIR,
) -> *mut dirent {
    loop {
        // SAFETY: the caller guarantees it.
        unsafe {
            let entry = next(directory);
            if entry.is_null() || !is_hidden_entry(directory, entry) {
                return entry;
            }
        }
    }
}

/// `readdir_r` and similar functions.
///
/// # Safety
/// As for `readdir_r(3)`; `next` is libc's.
#[inline(always)]
pub unsafe fn readdir_r(
    next: unsafe extern "C" fn(*mut DIR, *mut dirent, *mut *mut dirent) -> c_int,
    directory: *mut DIR,
    entry: *mut dirent,
    result: *mut *mut dirent,
) -> c_int {
    loop {
        // SAFETY: the caller guarantees it.
        unsafe {
            let error = next(directory, entry, result);
            if error != 0 || (*result).is_null() || !is_hidden_entry(directory, *result) {
                return error;
            }
        }
    }
}

/// After `scandir` and similar functions, which returned `count` entries in `list`.
///
/// # Safety
/// As for `scandirat(3)`.
#[inline(always)]
pub unsafe fn after_scandir(
    count: c_int,
    dir: c_int,
    path: *const c_char,
    list: *mut *mut *mut dirent,
) -> c_int {
    let Some(length) = usize::try_from(count).ok().filter(|n| *n > 0) else {
        return count;
    };
    // SAFETY: the caller guarantees an array of this many entries, each allocated with malloc.
    unsafe {
        let entries = core::slice::from_raw_parts_mut(*list, length);
        let is_cpu = |entry: &*mut dirent| cpu_directory::number(name(*entry)).is_some();
        if !entries.iter().any(is_cpu) {
            return count;
        }
        let _signals = signals::block();
        if !is_directory_of_cpus(dir, terminated(path).to_bytes()) {
            return count;
        }
        keep(entries, |entry| {
            let hidden = cpu_directory::number(name(*entry)).is_some_and(is_not_shown);
            if hidden {
                free((*entry).cast());
            }
            !hidden
        }) as c_int
    }
}

/// The type of libc's `glob`.
type Glob = unsafe extern "C" fn(*const c_char, c_int, *const c_void, *mut glob_t) -> c_int;

/// `glob`: leaves only the paths that the container has. `next` is libc's function.
///
/// # Safety
/// As for `glob(3)`.
#[inline(never)]
pub unsafe fn glob(
    next: Glob,
    pattern: *const c_char,
    flags: c_int,
    failed: *const c_void,
    found: *mut glob_t,
) -> c_int {
    // SAFETY: the caller guarantees it. `found` has gl_offs unused pointers, then gl_pathc paths, then a
    // null pointer. Before the call it is read only with GLOB_APPEND.
    unsafe {
        let before = match flags & libc::GLOB_APPEND {
            0 => 0,
            _ => (*found).gl_pathc,
        };
        let result = next(pattern, flags, failed, found);
        // With GLOB_ALTDIRFUNC the program looks up files itself.
        if result != 0 || flags & libc::GLOB_ALTDIRFUNC != 0 {
            return result;
        }
        let count = (*found).gl_pathc;
        let paths = (*found).gl_pathv.wrapping_add((*found).gl_offs);
        let paths = paths.wrapping_add(before);
        let list = core::slice::from_raw_parts_mut(paths, count.wrapping_sub(before));
        if !list.iter().any(|path| could_be(*path)) {
            return result;
        }
        let errno = errno_place();
        let errno_before = errno.as_ref().copied();
        let is_not_there = |path: &*mut c_char| is_hidden(libc::AT_FDCWD, *path);
        let Some(first) = list.iter().position(is_not_there) else {
            return result;
        };
        let mut removed = Removed::with_space(next, list.len());
        let rest = list.get_mut(first..).unwrap_or_default();
        let kept = keep(rest, |path| {
            let hidden = is_not_there(path);
            if hidden && let Some(removed) = &mut removed {
                removed.add(*path);
            }
            !hidden
        });
        let kept = first.wrapping_add(kept);
        (*found).gl_pathc = before.wrapping_add(kept);
        paths.wrapping_add(kept).write(null_mut());
        if let Some(removed) = removed {
            removed.free();
        }
        let result = if kept != 0 {
            result
        } else if flags & libc::GLOB_NOCHECK != 0 {
            add_pattern(next, pattern, flags, failed, found)
        } else {
            // Without a match there is no list that the program would have to free.
            if flags & (libc::GLOB_APPEND | libc::GLOB_DOOFFS) == 0
                && let Some(free) = globfree()
            {
                free(found);
            }
            libc::GLOB_NOMATCH
        };
        if let (Some(errno), Some(before)) = (errno.as_mut(), errno_before) {
            *errno = before;
        }
        result
    }
}

/// The type of libc's `globfree`.
type Globfree = unsafe extern "C" fn(*mut glob_t);

fn globfree() -> Option<Globfree> {
    static GLOBFREE: Next = Next::new();
    let address = GLOBFREE.address(const { Name::of(c"globfree") });
    // SAFETY: libc's function of this name has this type.
    (!address.is_null()).then(|| unsafe { core::mem::transmute::<*mut (), Globfree>(address) })
}

/// Paths that were removed from the result of a `glob`. Only libc knows how it allocated them, so libc frees them,
/// as the paths of another result.
struct Removed {
    result: glob_t,
    count: usize,
    free: Globfree,
}

impl Removed {
    /// Space for `most` paths: the result of a `glob` with so many unused pointers in front of its one path. `None` if
    /// there is no memory; the paths then stay allocated.
    ///
    /// # Safety
    /// `next` must be libc's function.
    #[cold]
    unsafe fn with_space(next: Glob, most: usize) -> Option<Removed> {
        let free = globfree()?;
        let flags = libc::GLOB_NOCHECK | libc::GLOB_DOOFFS;
        // SAFETY: zeros are a valid `glob_t`, and the caller guarantees the function.
        unsafe {
            let mut result = core::mem::zeroed::<glob_t>();
            result.gl_offs = most;
            let is_one =
                next(c".".as_ptr(), flags, null(), &raw mut result) == 0 && result.gl_pathc == 1;
            is_one.then_some(Removed {
                result,
                count: 0,
                free,
            })
        }
    }

    /// Adds a path.
    fn add(&mut self, path: *mut c_char) {
        if self.count < self.result.gl_offs {
            // SAFETY: the list has `gl_offs` unused pointers.
            unsafe { self.result.gl_pathv.wrapping_add(self.count).write(path) };
            self.count = self.count.wrapping_add(1);
        }
    }

    /// Frees the paths.
    ///
    /// # Safety
    /// libc allocated each of them for a `glob`, and nothing else has them any more.
    unsafe fn free(mut self) {
        let paths = self.result.gl_pathv;
        // SAFETY: the list has `gl_offs` pointers and then its own path, which moves behind the others.
        unsafe {
            let own = paths.wrapping_add(self.result.gl_offs).read();
            paths.wrapping_add(self.count).write(own);
            self.result.gl_offs = 0;
            self.result.gl_pathc = self.count.wrapping_add(1);
            (self.free)(&raw mut self.result);
        }
    }
}

/// If no path is left, the program gets the pattern itself. Only libc can allocate it. So this calls libc
/// with a path of the same length that does not exist, and copies the pattern over it.
///
/// # Safety
/// As for [`glob`].
#[cold]
#[inline(never)]
unsafe fn add_pattern(
    next: Glob,
    pattern: *const c_char,
    flags: c_int,
    failed: *const c_void,
    found: *mut glob_t,
) -> c_int {
    // SAFETY: the caller guarantees it; the last path is as long as the path that was passed to `next`.
    unsafe {
        let pattern = terminated(pattern).to_bytes();
        let mut nowhere = [0u8; 512];
        let Some([path @ .., _]) = nowhere.get_mut(..=pattern.len()) else {
            return libc::GLOB_NOMATCH;
        };
        for (to, from) in path.iter_mut().zip(pattern) {
            *to = if *from == b'/' { b'/' } else { 1 };
        }
        let result = next(
            nowhere.as_ptr().cast(),
            flags | libc::GLOB_APPEND,
            failed,
            found,
        );
        let last = (*found)
            .gl_offs
            .wrapping_add((*found).gl_pathc)
            .wrapping_sub(1);
        if result == 0 {
            let path = (*(*found).gl_pathv.wrapping_add(last)).cast::<u8>();
            for (i, byte) in pattern.iter().enumerate() {
                *path.wrapping_add(i) = *byte;
            }
        }
        result
    }
}

/// Moves the wanted entries to the front, in order. Returns their number.
fn keep<T: Copy>(list: &mut [T], mut wanted: impl FnMut(&T) -> bool) -> usize {
    let mut kept = 0usize;
    for i in 0..list.len() {
        let Some(item) = list.get(i).copied() else {
            break;
        };
        if wanted(&item)
            && let Some(slot) = list.get_mut(kept)
        {
            *slot = item;
            kept = kept.wrapping_add(1);
        }
    }
    kept
}

/// The first check, on the path alone: it is relative or can lead into sysfs, and it has a component that
/// begins with `cpu` and a digit.
///
/// # Safety
/// `path` must be a C string or null.
#[unsafe(link_section = ".text.hot")]
#[inline(never)]
unsafe fn could_be(path: *const c_char) -> bool {
    let mut at = path.cast::<u8>();
    // SAFETY: the caller guarantees it; no byte after the NUL is read.
    unsafe {
        // `/sys`, `/proc/self/cwd`, `//sys`, `/./sys`.
        if at.is_null() || *at == b'/' && !matches!(*at.wrapping_add(1), b's' | b'p' | b'/' | b'.')
        {
            return false;
        }
        loop {
            if begins(at.cast(), CPU) && (*at.wrapping_add(CPU.len())).is_ascii_digit() {
                return true;
            }
            while *at != b'/' {
                if *at == 0 {
                    return false;
                }
                at = at.wrapping_add(1);
            }
            at = at.wrapping_add(1);
        }
    }
}

/// The prefix of the names of CPUs.
const CPU: [u8; 3] = *b"cpu";

/// # Safety
/// `text` must be a C string: no byte after its NUL is read.
#[inline(always)]
unsafe fn begins(text: *const c_char, [a, b, c]: [u8; 3]) -> bool {
    let text = text.cast::<u8>();
    // SAFETY: the caller guarantees it. A byte is read only if the byte before it was not the NUL.
    unsafe { *text == a && *text.wrapping_add(1) == b && *text.wrapping_add(2) == c }
}

/// # Safety
/// `path` must be a C string.
#[cold]
#[inline(never)]
unsafe fn look(dir: c_int, path: *const c_char) -> bool {
    // SAFETY: the caller guarantees it.
    let path = unsafe { terminated(path) }.to_bytes();
    let is_hidden = |(cpu, directory): (u32, &[u8])| {
        let Some((_, _signals)) = settings_if_on() else {
            return false;
        };
        (cpu_directory::is_usual(directory) || is_directory_of_cpus(dir, directory))
            && is_not_shown(cpu)
    };
    let hidden = cpu_directory::components(path).any(is_hidden);
    if hidden {
        set_errno(libc::ENOENT);
    }
    hidden
}

fn is_not_shown(cpu: u32) -> bool {
    shows_cpu(cpu) == Some(false)
}

/// # Safety
/// Both must come from libc, and the directory must be open.
#[inline(always)]
unsafe fn is_hidden_entry(directory: *mut DIR, entry: *mut dirent) -> bool {
    // SAFETY: the caller guarantees it.
    unsafe { could_be_entry(entry) && look_at_entry(directory, entry) }
}

/// # Safety
/// As for [`is_hidden_entry`].
#[cold]
#[inline(never)]
unsafe fn look_at_entry(directory: *mut DIR, entry: *mut dirent) -> bool {
    static DIRFD: Next = Next::new();
    // SAFETY: the caller guarantees it.
    unsafe {
        let Some(cpu) = cpu_directory::number(name(entry)) else {
            return false;
        };
        let dirfd = DIRFD.address(const { Name::of(c"dirfd") });
        if dirfd.is_null() {
            return false;
        }
        let dirfd = core::mem::transmute::<*mut (), unsafe extern "C" fn(*mut DIR) -> c_int>(dirfd);
        let _signals = signals::block();
        is_directory_of_cpus_at(dirfd(directory)) && is_not_shown(cpu)
    }
}

/// # Safety
/// `entry` must come from libc.
#[inline(always)]
unsafe fn could_be_entry(entry: *mut dirent) -> bool {
    // SAFETY: the caller guarantees it; names end with a NUL.
    unsafe { begins((&raw const (*entry).d_name).cast(), CPU) }
}

/// The whole name of an entry that could be a CPU; an empty name for any other entry.
///
/// # Safety
/// `entry` must come from libc.
unsafe fn name<'e>(entry: *mut dirent) -> &'e [u8] {
    // SAFETY: the caller guarantees it; names end with a NUL.
    unsafe {
        if could_be_entry(entry) {
            terminated((&raw const (*entry).d_name).cast()).to_bytes()
        } else {
            b""
        }
    }
}

/// True if `path`, relative to the directory `dir`, leads to one of the directories of CPUs. False if the
/// path is too long.
fn is_directory_of_cpus(dir: c_int, path: &[u8]) -> bool {
    if path.is_empty() {
        return is_directory_of_cpus_at(dir);
    }
    let mut buffer = [0; 512];
    let mut terminated = Out::new(&mut buffer);
    terminated.bytes(path);
    terminated.byte(0);
    let path = terminated
        .finish()
        .and_then(|path| CStr::from_bytes_until_nul(path).ok());
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    path.and_then(|path| sys::open_at(dir, path, flags, 0).ok())
        .is_some_and(|directory| is_directory_of_cpus_at(directory.raw()))
}

/// As [`is_directory_of_cpus`] for a descriptor; `AT_FDCWD` means the working directory.
fn is_directory_of_cpus_at(dir: c_int) -> bool {
    if !settings().on {
        return false;
    }
    let mut link = [0; 256];
    if dir != libc::AT_FDCWD {
        return sys::descriptor_path(dir, &mut link).is_ok_and(|path| {
            cpu_directory::is_usual(path)
                || cpu_directory::could_be(path)
                    && sys::file_system(dir) == Ok(FileSystem::Sys as u64)
                    && is_of_this_machine(dir)
        });
    }
    sys::working_directory(&mut link).is_ok_and(cpu_directory::could_be)
        && is_directory_of_cpus(dir, b".")
}

/// True if the file system of `dir` is the machine's own sysfs. A monitoring agent may have the host's at another place.
fn is_of_this_machine(dir: c_int) -> bool {
    sys::status_of(cpu_directory::ROOT)
        .is_ok_and(|own| sys::status(dir).is_ok_and(|there| there.st_dev == own.st_dev))
}

/// Frees what libc allocated for the program. This calls the `free` that libc itself uses, which may be the
/// program's own or that of an allocator loaded before this library.
fn free(memory: *mut c_void) {
    static FREE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
    let mut free = FREE.load(Ordering::Relaxed);
    if free.is_null() {
        free = link::find_first(const { Name::of(c"free") })
            .cast_mut()
            .cast();
        FREE.store(free, Ordering::Relaxed);
    }
    if !free.is_null() {
        // SAFETY: calls the program's free. The program's libc allocated the memory, and nothing else has
        // it any more.
        unsafe {
            core::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void)>(free)(memory);
        }
    }
}
