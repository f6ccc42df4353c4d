//! `dlsym`: a program that checks whether libc has a function gets libc's result. The hooks support all
//! versions of glibc and musl, so the library exports some names that this program's libc lacks.

use crate::sys::c_string::terminated;
use crate::sys::link::{self, Name, Next};
use core::ffi::{c_char, c_void};
use core::ptr::null_mut;

crate::sys::arch::define_dlsym!(choose);

/// Where the `dlsym` hook jumps to.
#[repr(C)]
struct Choice {
    /// libc's `dlsym`, called with the same arguments; null if the result is already known.
    jump: *mut (),
    result: *mut c_void,
}

/// Decides where the hook for `dlsym(handle, name)` jumps to.
///
/// # Safety
/// As for `dlsym(3)`.
unsafe extern "C" fn choose(handle: *mut c_void, name: *const c_char) -> Choice {
    type Dlsym = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;
    static NEXT: Next = Next::new();
    const NAME: Name = Name::of(c"dlsym");
    let mut jump = NEXT.address(NAME);
    if jump.is_null() {
        // Before glibc 2.34 the function is in libdl, which the program may have loaded later.
        jump = link::find_later(NAME).address.cast_mut().cast();
    }
    let goes_on = Choice {
        jump,
        result: null_mut(),
    };
    // A null `jump`: nobody has the function.
    if jump.is_null() || name.is_null() {
        return goes_on;
    }
    // SAFETY: the caller guarantees it.
    let wanted = Name::of(unsafe { terminated(name) });
    let hook = link::hook(wanted);
    if hook.is_null() || link::is_defined_elsewhere(wanted) {
        return goes_on;
    }
    // SAFETY: libc's function of this type, with the caller's arguments.
    let result = unsafe {
        let dlsym = core::mem::transmute::<*mut (), Dlsym>(jump);
        let found = if handle == libc::RTLD_NEXT {
            hook.cast_mut().cast()
        } else {
            dlsym(handle, name)
        };
        // No object behind this one has the name. This call fails, so that `dlerror` reports it.
        if found.cast_const().cast() == hook {
            dlsym(libc::RTLD_NEXT, name)
        } else {
            found
        }
    };
    Choice {
        jump: null_mut(),
        result,
    }
}
