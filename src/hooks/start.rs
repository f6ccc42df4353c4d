//! What happens when a program starts, and why it cannot wait: a descriptor that the program got
//! from its parent (`cut … </proc/loadavg` in a shell without this library) is read without being
//! opened, by functions that are not hooked. One `fstat` of standard input tells; nothing else is
//! touched.

use super::environment;
use crate::descriptor;
use crate::sys;

/// Called by the dynamic linker before the program's own code.
#[unsafe(link_section = ".text.near")]
pub extern "C" fn start() {
    sys::is_first_thread();
    // glibc may not have its environment yet, and settings are read but once.
    if descriptor::could_be_inherited(libc::STDIN_FILENO) && !environment::current().is_null() {
        descriptor::swap_inherited(libc::STDIN_FILENO, environment::settings);
    }
}
