//! The sampler as a process of its own. The library's file is also a program: the library executes
//! the file that it was loaded from, so nothing else needs to be installed.

#![forbid(unsafe_code)]

use super::conditions;
use crate::cgroup::locate::ContainerCgroups;
use crate::settings::Settings;
use crate::sys::process::is_subreaper;
use crate::sys::spawn;
use crate::sys::{self, Errno, link};
use crate::text::Out;
use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, Ordering};

/// The argument that makes the file a sampler.
pub const SAMPLER: &CStr = c"sampler";

/// Returns whether this process may start the container's sampler, see [`conditions`].
pub fn may_start(settings: &Settings<'_>, cgroups: &ContainerCgroups<'_>) -> bool {
    // Cache a refusal, so that a program that reads the load every second pays for one check only.
    static REFUSED: AtomicBool = AtomicBool::new(false);
    if !settings.sampler || REFUSED.load(Ordering::Relaxed) {
        return false;
    }
    // The sampler would be this process's own child, so the process could notice it.
    let is_parent = sys::process_id() == 1 || is_subreaper();
    // With more rights than its caller, this process would start a sampler that the caller can kill.
    let may = !is_parent
        && !link::is_secure()
        && link::own_path().is_some_and(|library| conditions::obstacle(Some(library)).is_none());
    REFUSED.store(!may, Ordering::Relaxed);
    may && conditions::leaves_tasks_to_start(cgroups)
}

/// Starts the container's sampler.
pub fn start_sampler(settings: &Settings<'_>) -> Result<(), Errno> {
    let path = link::own_path().ok_or(Errno::NOT_FOUND)?;
    let mut buffer = [0; 512];
    let mut out = Out::new(&mut buffer);
    out.bytes(settings.state.unwrap_or_default());
    out.byte(0);
    let directory = out
        .finish()
        .and_then(|path| CStr::from_bytes_until_nul(path).ok())
        .ok_or(Errno::BUFFER_TOO_SMALL)?;
    spawn::start(path, &[c"proclens", SAMPLER, directory])
}
