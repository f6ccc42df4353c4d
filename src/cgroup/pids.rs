//! Reads the pids controller (NUMBERS section 5).
#![forbid(unsafe_code)]

use crate::cgroup::counters;
use crate::cgroup::kernel::{Kernel, read_in};
use crate::cgroup::locate::{ContainerCgroups, Controller};
use crate::mem::Arena;

/// Tasks charged to the container by the pids controller, zombies included. `None` where the container's
/// own cgroup does not count them: an ancestor counts other tasks too.
pub fn charged_tasks<K: Kernel + ?Sized>(
    kernel: &K,
    cgroups: &ContainerCgroups,
    arena: &mut Arena,
) -> Option<u64> {
    let dir = cgroups.dir(Controller::Pids).ok()?;
    counters::number(read_in(kernel, dir.directory, b"pids.current", arena).ok()?)
}
