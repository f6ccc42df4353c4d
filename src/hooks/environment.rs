//! The program's environment, as libc's `environ` has it now.

use crate::config;
use crate::settings::Settings;
use crate::sys::{link, memory};
use core::ffi::c_char;
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};

/// The settings of this process.
pub fn settings() -> &'static Settings<'static> {
    config::settings(entries)
}

/// `environ`.
pub fn current() -> *const *const c_char {
    static VARIABLE: AtomicPtr<*const *const c_char> = AtomicPtr::new(null_mut());
    let mut variable = VARIABLE.load(Ordering::Relaxed);
    if variable.is_null() {
        variable = link::find_first(const { link::Name::of(c"environ") })
            .cast_mut()
            .cast();
        VARIABLE.store(variable, Ordering::Relaxed);
    }
    // SAFETY: `environ` is libc's variable of that type.
    unsafe { variable.as_ref().copied().unwrap_or(null()) }
}

/// The strings of the environment; none of a stranger's: what it says must not decide what a setuid
/// program believes, writes or starts.
pub fn entries() -> impl Iterator<Item = &'static [u8]> + Clone {
    let list = if link::is_secure() { null() } else { current() };
    // SAFETY: `environ` is null, or a list of C strings that ends with a null pointer. What outlives
    // the hook is copied before it returns to the program.
    unsafe { memory::strings(list) }
}
