//! Functions that list or look up `cpuN` in the directories of the CPUs: the container has
//! `cpu0 … cpu(n-1)`. The kernel has answered when these are called; an answer that begins with
//! `cpu` and a digit, or a path with such a component, is looked at, everything else is not.

use super::environment::settings;
use super::set_errno;
use super::values::recent_cpu_count;
use crate::cpu_directory::{self, Entry};
use crate::sys::link::{self, Name, Next};
use crate::sys::memory::terminated;
use crate::sys::{self, Fd};
use core::ffi::{c_char, c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};
use libc::{DIR, dirent, glob_t};

/// After a function that found something at `path`: true if it is a CPU that the container does
/// not have, and `errno` then says that there is none.
///
/// # Safety
/// `path` must be the C string that libc took.
#[inline(always)]
pub unsafe fn is_hidden(dir: c_int, path: *const c_char) -> bool {
    // SAFETY: the caller's.
    unsafe { could_be(path) && look(dir, path) }
}

/// After `stat`, `access` and their like, which gave back `result`.
///
/// # Safety
/// As [`is_hidden`] where `result` is 0.
#[inline(always)]
pub unsafe fn found(result: c_int, dir: c_int, path: *const c_char) -> c_int {
    // SAFETY: the caller's.
    if result == 0 && unsafe { is_hidden(dir, path) } {
        -1
    } else {
        result
    }
}

/// After `opendir`.
///
/// # Safety
/// As `opendir(3)`.
#[inline(always)]
pub unsafe fn opened(directory: *mut DIR, path: *const c_char) -> *mut DIR {
    static CLOSEDIR: Next = Next::new();
    // SAFETY: the caller's; the directory was opened just now and nobody else has it.
    unsafe {
        if directory.is_null() || !is_hidden(libc::AT_FDCWD, path) {
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

/// `readdir` and its like: the next entry that the container has.
///
/// # Safety
/// As `readdir(3)`; `next` is libc's.
#[inline(always)]
pub unsafe fn read(
    next: unsafe extern "C" fn(*mut DIR) -> *mut dirent,
    directory: *mut DIR,
) -> *mut dirent {
    loop {
        // SAFETY: the caller's.
        unsafe {
            let entry = next(directory);
            if entry.is_null() || !is_hidden_entry(directory, entry) {
                return entry;
            }
        }
    }
}

/// `readdir_r` and its like.
///
/// # Safety
/// As `readdir_r(3)`; `next` is libc's.
#[inline(always)]
pub unsafe fn read_into(
    next: unsafe extern "C" fn(*mut DIR, *mut dirent, *mut *mut dirent) -> c_int,
    directory: *mut DIR,
    entry: *mut dirent,
    result: *mut *mut dirent,
) -> c_int {
    loop {
        // SAFETY: the caller's.
        unsafe {
            let error = next(directory, entry, result);
            if error != 0 || (*result).is_null() || !is_hidden_entry(directory, *result) {
                return error;
            }
        }
    }
}

/// After `scandir` and its like, which gave back `count` entries in `list`.
///
/// # Safety
/// As `scandirat(3)`.
#[inline(always)]
pub unsafe fn scanned(
    count: c_int,
    dir: c_int,
    path: *const c_char,
    list: *mut *mut *mut dirent,
) -> c_int {
    let Some(length) = usize::try_from(count).ok().filter(|n| *n > 0) else {
        return count;
    };
    // SAFETY: the caller's: an array of so many entries, each of them from malloc.
    unsafe {
        let entries = core::slice::from_raw_parts_mut(*list, length);
        let is_cpu = |entry: &*mut dirent| Entry::parse(name(*entry)).is_some();
        if !entries.iter().any(is_cpu) || !is_directory_of_cpus(dir, path) {
            return count;
        }
        let Some(cpus) = recent_cpu_count() else {
            return count;
        };
        keep(entries, |entry| {
            let hidden = Entry::parse(name(*entry)).is_some_and(|cpu| cpu.number >= cpus);
            if hidden {
                free((*entry).cast());
            }
            !hidden
        }) as c_int
    }
}

/// libc's `glob`.
type Glob = unsafe extern "C" fn(*const c_char, c_int, *const c_void, *mut glob_t) -> c_int;

/// `glob`: the paths that the container has. `next` is libc's.
///
/// # Safety
/// As `glob(3)`.
#[inline(never)]
pub unsafe fn matched(
    next: Glob,
    pattern: *const c_char,
    flags: c_int,
    failed: *const c_void,
    found: *mut glob_t,
) -> c_int {
    // SAFETY: the caller's: gl_pathc paths behind gl_offs empty places, and a null at the end; before
    // the call only with GLOB_APPEND.
    unsafe {
        let before = match flags & libc::GLOB_APPEND {
            0 => 0,
            _ => (*found).gl_pathc,
        };
        let result = next(pattern, flags, failed, found);
        if result != 0 {
            return result;
        }
        let count = (*found).gl_pathc;
        let paths = (*found).gl_pathv.wrapping_add((*found).gl_offs);
        let paths = paths.wrapping_add(before);
        let list = core::slice::from_raw_parts_mut(paths, count.wrapping_sub(before));
        if !list.iter().any(|path| could_be(*path)) {
            return result;
        }
        // Only libc knows how it allocated a path: one that is taken out is not given back.
        let kept = keep(list, |path| !is_hidden(libc::AT_FDCWD, *path));
        if kept == list.len() {
            return result;
        }
        (*found).gl_pathc = before.wrapping_add(kept);
        paths.wrapping_add(kept).write(null_mut());
        if kept != 0 {
            result
        } else if flags & libc::GLOB_NOCHECK != 0 {
            add_pattern(next, pattern, flags, failed, found)
        } else {
            libc::GLOB_NOMATCH
        }
    }
}

/// Where nothing was found, the pattern itself is what the program gets. Only libc can allocate it: it is
/// asked for something as long that is nowhere.
///
/// # Safety
/// As [`matched`].
#[cold]
#[inline(never)]
unsafe fn add_pattern(
    next: Glob,
    pattern: *const c_char,
    flags: c_int,
    failed: *const c_void,
    found: *mut glob_t,
) -> c_int {
    // SAFETY: the caller's; the last path then is as long as what was asked for.
    unsafe {
        let pattern = terminated(pattern).to_bytes();
        let mut nowhere = [0u8; 512];
        let Some([place @ .., _]) = nowhere.get_mut(..=pattern.len()) else {
            return libc::GLOB_NOMATCH;
        };
        for (to, from) in place.iter_mut().zip(pattern) {
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

/// Moves what is to be kept to the front, in order; how many those are.
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

/// The first look, at the first bytes: a path of the CPUs from the root, or relative to them.
///
/// # Safety
/// `path` must be a C string or null.
#[inline(always)]
unsafe fn could_be(path: *const c_char) -> bool {
    let [relative, from_the_root] = cpu_directory::BEGINNINGS;
    // SAFETY: the caller's.
    !path.is_null() && unsafe { begins(path, relative) || begins(path, from_the_root) }
}

/// # Safety
/// `text` must be a C string: no byte behind its NUL is read.
#[inline(always)]
unsafe fn begins(text: *const c_char, [a, b, c]: [u8; 3]) -> bool {
    let text = text.cast::<u8>();
    // SAFETY: the caller's; a byte is read where the one before it was none of the NUL.
    unsafe { *text == a && *text.wrapping_add(1) == b && *text.wrapping_add(2) == c }
}

/// # Safety
/// `path` must be a C string.
#[cold]
#[inline(never)]
unsafe fn look(dir: c_int, path: *const c_char) -> bool {
    // SAFETY: the caller's.
    let path = unsafe { terminated(path) }.to_bytes();
    let Some(entry) = Entry::in_path(path) else {
        return false;
    };
    if entry.relative && !is_directory_of_cpus_at(dir) {
        return false;
    }
    let hidden = recent_cpu_count().is_some_and(|cpus| entry.number >= cpus);
    if hidden {
        set_errno(libc::ENOENT);
    }
    hidden
}

/// # Safety
/// Both must be libc's, and open.
#[inline(always)]
unsafe fn is_hidden_entry(directory: *mut DIR, entry: *mut dirent) -> bool {
    // SAFETY: the caller's.
    unsafe { could_be_entry(entry) && look_at_entry(directory, entry) }
}

/// # Safety
/// As [`is_hidden_entry`].
#[cold]
#[inline(never)]
unsafe fn look_at_entry(directory: *mut DIR, entry: *mut dirent) -> bool {
    static DIRFD: Next = Next::new();
    // SAFETY: the caller's.
    unsafe {
        let Some(cpu) = Entry::parse(name(entry)) else {
            return false;
        };
        let dirfd = DIRFD.address(const { Name::of(c"dirfd") });
        if dirfd.is_null() {
            return false;
        }
        let dirfd = core::mem::transmute::<*mut (), unsafe extern "C" fn(*mut DIR) -> c_int>(dirfd);
        is_directory_of_cpus_at(dirfd(directory))
            && recent_cpu_count().is_some_and(|cpus| cpu.number >= cpus)
    }
}

/// # Safety
/// `entry` must be libc's.
#[inline(always)]
unsafe fn could_be_entry(entry: *mut dirent) -> bool {
    let [relative, _] = cpu_directory::BEGINNINGS;
    // SAFETY: the caller's; names end with a NUL.
    unsafe { begins((&raw const (*entry).d_name).cast(), relative) }
}

/// The whole name of an entry that could be a CPU; of any other, none.
///
/// # Safety
/// `entry` must be libc's.
unsafe fn name<'e>(entry: *mut dirent) -> &'e [u8] {
    // SAFETY: the caller's; names end with a NUL.
    unsafe {
        if could_be_entry(entry) {
            terminated((&raw const (*entry).d_name).cast()).to_bytes()
        } else {
            b""
        }
    }
}

/// # Safety
/// `path` must be a C string.
unsafe fn is_directory_of_cpus(dir: c_int, path: *const c_char) -> bool {
    // SAFETY: the caller's.
    let path = unsafe { terminated(path) };
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    sys::open_at(dir, path, flags, 0).is_ok_and(|fd: Fd| is_directory_of_cpus_at(fd.raw()))
}

fn is_directory_of_cpus_at(dir: c_int) -> bool {
    let mut link = [0; 128];
    let path = if dir == libc::AT_FDCWD {
        sys::working_directory(&mut link)
    } else {
        sys::descriptor_path(dir, &mut link)
    };
    settings().on && path.is_ok_and(cpu_directory::is_one)
}

/// Gives back what libc allocated for the program: with the `free` that libc itself means, which may be
/// the program's own or that of an allocator in front of this library.
fn free(place: *mut c_void) {
    static FREE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
    let mut free = FREE.load(Ordering::Relaxed);
    if free.is_null() {
        free = link::find_first(const { Name::of(c"free") })
            .cast_mut()
            .cast();
        FREE.store(free, Ordering::Relaxed);
    }
    if !free.is_null() {
        // SAFETY: the program's free, of what the program's libc allocated and nobody has any more.
        unsafe {
            core::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void)>(free)(place);
        }
    }
}
