//! What a hook calls if libc lacks its function. The hook then behaves as if it did not exist:
//! - musl from 1.2.4 on has dropped the names with 64. Its dynamic linker gives a program the function
//!   without 64 if no object has the name, and the hook is an object that has it.
//! - A weak reference or `dlsym` of a program (JDK 22 and later: `statx` on glibc before 2.28) finds the
//!   hook and takes it for libc's. The hook makes the system call.
//!
//! [`super::dlsym`] hides the hook from a program that checks whether libc has the function.

use super::errno::set_errno;
use crate::sys;
use crate::sys::link::{self, Name, Next};
use crate::text::Out;
use core::ffi::{CStr, c_long};

/// Finds what the hook with this name calls: libc's function or its stand-in. If there is neither, a
/// function that fails with ENOSYS.
#[cold]
#[inline(never)]
#[unsafe(link_section = ".text.hot")]
pub fn look_up_number(next: &Next, text: &CStr, gnu_hash: u32) -> *mut () {
    let found = look_up(next, text, gnu_hash);
    if found.is_null() {
        missing_number as *mut ()
    } else {
        found
    }
}

/// As [`look_up_number`], for a function that returns a pointer.
#[cold]
#[inline(never)]
#[unsafe(link_section = ".text.hot")]
pub fn look_up_pointer(next: &Next, text: &CStr, gnu_hash: u32) -> *mut () {
    let found = look_up(next, text, gnu_hash);
    if found.is_null() {
        missing_pointer as *mut ()
    } else {
        found
    }
}

#[unsafe(link_section = ".text.hot")]
fn look_up(next: &Next, text: &CStr, gnu_hash: u32) -> *mut () {
    let found = next.look_up(text, gnu_hash);
    if found.is_null() {
        elsewhere(next, text)
    } else {
        found
    }
}

/// A stand-in, or else the function of an object that the program loaded later. The latter address is kept only if
/// that object is never unloaded.
#[cold]
#[inline(never)]
fn elsewhere(next: &Next, text: &CStr) -> *mut () {
    let found = next.set(stand_in(text));
    if !found.is_null() {
        return found;
    }
    let later = link::find_later(Name::of(text));
    let address = later.address.cast_mut().cast();
    if later.stays {
        next.set(address);
    }
    address
}

extern "C" fn missing_number() -> isize {
    set_errno(libc::ENOSYS);
    -1
}

extern "C" fn missing_pointer() -> *mut () {
    set_errno(libc::ENOSYS);
    core::ptr::null_mut()
}

/// libc's function with the same type and another name, or the system call with the same arguments.
#[cold]
#[inline(never)]
fn stand_in(name: &CStr) -> *mut () {
    let mut buffer = [0; 24];
    for plain in [false, true] {
        let Some(other) = other_name(name.to_bytes(), plain, &mut buffer) else {
            continue;
        };
        let found = Next::new().address(Name::of(other));
        if !found.is_null() {
            return found;
        }
        let call = system_call(other);
        if !call.is_null() {
            return call;
        }
    }
    core::ptr::null_mut()
}

/// `name` without the 64 in it. If `plain` is set, also without the prefix and suffix of the fortified
/// names: `__open64_2` becomes `open`, `__pread_chk` becomes `pread`. The extra arguments of those
/// functions check what a compiler could not check, and are ignored.
fn other_name<'b>(name: &[u8], plain: bool, buffer: &'b mut [u8; 24]) -> Option<&'b CStr> {
    let mut name = name;
    if plain {
        name = name.strip_prefix(b"__")?;
        name = name.strip_suffix(b"_2").unwrap_or(name);
        name = name.strip_suffix(b"_chk").unwrap_or(name);
    }
    let mut other = Out::new(buffer);
    while let [byte, rest @ ..] = name {
        name = match rest {
            // `preadv64v2` is `preadv2`.
            [b'4', b'v', behind @ ..] | [b'4', behind @ ..] if *byte == b'6' => behind,
            _ => {
                other.byte(*byte);
                rest
            }
        };
    }
    other.byte(0);
    CStr::from_bytes_until_nul(other.finish()?).ok()
}

/// Makes the system call and returns its result in the way libc does.
///
/// # Safety
/// As for the system call.
#[inline(never)]
unsafe fn call(number: c_long, arguments: [usize; 6]) -> isize {
    // SAFETY: the caller guarantees it.
    match unsafe { sys::call_always(number, arguments) } {
        Ok(value) => value as isize,
        Err(errno) => {
            set_errno(errno.0);
            -1
        }
    }
}

macro_rules! system_calls {
    ($($name:ident($($argument:ident),*) = $number:ident($($passed:expr),*);)*) => {
        $(
            /// # Safety
            /// As for libc's function of this name: the arguments come from the program.
            unsafe extern "C" fn $name($($argument: usize),*) -> isize {
                // SAFETY: the caller guarantees it.
                unsafe { call(libc::$number, [$($passed),*]) }
            }
        )*

        /// The system call with the arguments of libc's function `name`; null if there is none.
        fn system_call(name: &CStr) -> *mut () {
            $(
                if name.to_bytes() == stringify!($name).as_bytes() {
                    return $name as *mut ();
                }
            )*
            core::ptr::null_mut()
        }
    };
}

/// `AT_FDCWD` as a system call argument.
const HERE: usize = libc::AT_FDCWD as usize;
const NOFOLLOW: usize = libc::AT_SYMLINK_NOFOLLOW as usize;

// On both processors, libc's `struct stat` is the kernel's.
system_calls! {
    statx(dir, path, flags, mask, status) = SYS_statx(dir, path, flags, mask, status, 0);
    execveat(dir, path, arguments, environment, flags) = SYS_execveat(dir, path, arguments, environment, flags, 0);
    // The kernel takes the offset in two halves. A 64-bit kernel needs only the first one.
    preadv2(fd, pieces, count, offset, flags) = SYS_preadv2(fd, pieces, count, offset, 0, flags);
    fstatat(dir, path, status, flags) = SYS_newfstatat(dir, path, status, flags, 0, 0);
    fstat(fd, status) = SYS_fstat(fd, status, 0, 0, 0, 0);
    stat(path, status) = SYS_newfstatat(HERE, path, status, 0, 0, 0);
    lstat(path, status) = SYS_newfstatat(HERE, path, status, NOFOLLOW, 0, 0);
}
