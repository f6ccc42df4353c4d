//! The entry point of the library file when it runs as a program: the sampler process.

use crate::runtime::live::Live;
use crate::sampler::launch::SAMPLER;
use crate::sampler::{Starter, run_alone};
use crate::sys;
use crate::sys::c_string::terminated;
use crate::sys::spawn::{exit, leave_everything, relocate};
use crate::text::decimal;
use core::ffi::{CStr, c_char};

sys::arch::define_program_entry!(main);

/// The first function of the program. `stack` is as the kernel left it: the number of arguments, then the
/// arguments.
///
/// # Safety
/// Only the entry point may call it, and only once.
unsafe extern "C" fn main(stack: *const usize, base: usize, dynamic: *const [u64; 2]) -> ! {
    // SAFETY: this is the object's own header and dynamic section, and nothing has relocated the object
    // before.
    unsafe { relocate(base, dynamic) };
    // SAFETY: the kernel put the number of arguments there, then that many strings, then null.
    let argument = |n: usize| unsafe {
        let text = *stack
            .wrapping_add(n.wrapping_add(1))
            .cast::<*const c_char>();
        (n < *stack && !text.is_null()).then(|| terminated(text))
    };
    if argument(1) != Some(SAMPLER) {
        const WHAT: &[u8] = b"This is a library: LD_PRELOAD=/path/to/libproclens.so PROGRAM\n";
        let _ = sys::write(2, WHAT);
        exit(64);
    }
    leave_everything();
    let directory = argument(2)
        .map(CStr::to_bytes)
        .filter(|text| !text.is_empty());
    // A library of an earlier version passes no such argument.
    let helper = argument(3)
        .and_then(|text| decimal(text.to_bytes()))
        .and_then(|process| u32::try_from(process).ok())
        .unwrap_or(0);
    let starter = Starter::Library { helper };
    exit(i32::from(
        run_alone(&Live::default(), directory, starter).is_err(),
    ))
}
