//! The program's environment, as libc's `environ` has it now.

use crate::config;
use crate::settings::Settings;
use crate::sys::{link, memory};
use core::ffi::c_char;

/// The settings of this process.
pub fn settings() -> &'static Settings<'static> {
    config::settings(entries)
}

/// `environ`.
pub fn current() -> *const *const c_char {
    let variable = link::find_first(c"environ").cast::<*const *const c_char>();
    // SAFETY: `environ` is libc's variable of that type.
    unsafe { variable.as_ref().copied().unwrap_or(core::ptr::null()) }
}

/// The strings of the environment.
pub fn entries() -> impl Iterator<Item = &'static [u8]> + Clone {
    // SAFETY: `environ` is null, or a list of C strings that ends with a null pointer. What outlives
    // the hook is copied before it returns to the program.
    unsafe { memory::strings(current()) }
}
