//! What the library does when a program starts. It cannot wait until later: a program reads a descriptor
//! that it inherited (`cut … </proc/loadavg` in a shell without this library) without an open, by functions
//! that are not hooked. So it calls `fstat` on standard input, and on the descriptors from 3 on until the
//! first one that is not open.

use super::environment::{self, Environment};
use crate::sys::{self, ProgramFd, link, process};
use crate::virtual_file;
use core::ffi::c_int;
use core::mem::MaybeUninit;

/// Called by the dynamic linker before the program's own code; glibc passes the program's arguments and
/// environment, musl nothing.
///
/// # Safety
/// Only the dynamic linker may call it, as a function of DT_INIT.
#[unsafe(link_section = ".text.hot")]
unsafe extern "C" fn start(_count: usize, _arguments: usize, environment: Environment) {
    /// The first descriptor after standard input, output and error.
    const FIRST: c_int = 3;
    /// Shells and supervisors pass on fewer descriptors.
    const END: c_int = 16;
    sys::is_first_thread();
    link::remember_initial_objects();
    // SAFETY: the caller guarantees it.
    unsafe { environment::remember(environment) };
    if environment::asks_for_messages() {
        sys::stderr::remember();
    }
    let errno = super::errno::errno_place();
    // SAFETY: the calling thread's errno, or null.
    let before = unsafe { errno.as_ref() }.copied();
    let input = fstat(libc::STDIN_FILENO);
    let further = (FIRST..END).map_while(fstat);
    if input
        .iter()
        .copied()
        .chain(further)
        .any(|status| virtual_file::could_be_virtual(status.st_nlink == 0, status.st_mode))
    {
        virtual_file::expect();
    }
    // glibc may not have set `environ` yet, and the settings are read only once.
    if input.is_some_and(|status| could_be_the_kernels(&status) && !parent_has(&status))
        && !environment::current().is_null()
    {
        // SAFETY: the program has not begun; it will read this descriptor from its present offset.
        let input = unsafe { ProgramFd::new(libc::STDIN_FILENO) };
        virtual_file::replace_inherited(input, environment::settings_if_on);
    }
    // SAFETY: as above.
    if let (Some(errno), Some(before)) = (unsafe { errno.as_mut() }, before) {
        *errno = before;
    }
}

/// `fstat` by libc's own function. A system call filter written for this libc allows the call that the
/// function makes. `None` if `fd` is not open or libc has no such function.
#[unsafe(link_section = ".text.hot")]
fn fstat(fd: c_int) -> Option<libc::stat> {
    use link::{Name, Next};

    type Fstat = unsafe extern "C" fn(c_int, *mut libc::stat) -> c_int;
    type Versioned = unsafe extern "C" fn(c_int, c_int, *mut libc::stat) -> c_int;
    static FSTAT: Next = Next::new();
    static VERSIONED: Next = Next::new();
    let mut status = MaybeUninit::uninit();
    let address = FSTAT.address(const { Name::of(c"fstat") });
    // SAFETY: libc's functions have these types, and fill the structure if they return 0.
    unsafe {
        let result = if !address.is_null() {
            core::mem::transmute::<*mut (), Fstat>(address)(fd, status.as_mut_ptr())
        } else {
            // glibc before 2.33.
            let address = VERSIONED.address(const { Name::of(c"__fxstat") });
            if address.is_null() {
                return None;
            }
            let versioned = core::mem::transmute::<*mut (), Versioned>(address);
            versioned(sys::arch::STAT_VERSION, fd, status.as_mut_ptr())
        };
        (result == 0).then(|| status.assume_init())
    }
}

/// True if a file with this status could be one of the kernel's.
fn could_be_the_kernels(status: &libc::stat) -> bool {
    let (kind, permissions) = (status.st_mode & libc::S_IFMT, status.st_mode & 0o777);
    kind == libc::S_IFREG && permissions == 0o444 && status.st_nlink == 1
}

/// True if the parent's standard input is the same file. Then the parent may pass the open file to a second
/// program, which continues to read where the first one stopped (`while read line; do …; done </proc/stat`
/// in a static shell). A memory file has an offset of its own, so the kernel's file stays.
#[cold]
fn parent_has(status: &libc::stat) -> bool {
    process::input_of_parent().is_ok_and(|of_parent| {
        of_parent.st_ino == status.st_ino && of_parent.st_dev == status.st_dev
    })
}

sys::arch::define_start!(start);
