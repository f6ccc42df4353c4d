//! The shared state of one container: how the container is identified, and where its state is.
#![forbid(unsafe_code)]

use super::record::Identity;
use crate::cgroup::container::Container;
use crate::cgroup::locate::ContainerCgroups;
use crate::mem::Arena;
use crate::sys::{self, Errno};

/// The directories in which a process looks for the state file, and creates it, in this order.
pub const DIRECTORIES: [&[u8]; 3] = [b"/dev/shm", b"/run", b"/tmp"];

/// Length of a path buffer.
pub(super) const PATH: usize = 512;

/// Identifies the container with these `cgroups`. With `user_limit` (the user set a limit), the root
/// cgroup of the host counts as a container too.
pub fn identify<C: Container>(
    container: &C,
    cgroups: &ContainerCgroups<'_>,
    user_limit: bool,
    arena: &mut Arena<'_>,
) -> Result<Identity, Errno> {
    let dir = cgroups
        .dir_of_identity(user_limit)
        .ok_or(Errno::NOT_FOUND)?;
    let cgroup = sys::status_of(arena.path(dir.directory, b".")?)?;
    let mut text = [0; 64];
    let length = sys::read(
        sys::open(c"/proc/sys/kernel/random/boot_id")?.raw(),
        &mut text,
    )?;
    Ok(Identity {
        cgroup: [cgroup.st_dev, cgroup.st_ino],
        pid_namespace: container.pid_namespace().ok_or(Errno::NOT_FOUND)?,
        start_ticks: container.start_ticks().unwrap_or(0),
        boot: text
            .get(..length)
            .and_then(Identity::boot_of)
            .ok_or(Errno::MALFORMED)?,
    })
}

/// The shared state of one container.
#[derive(Clone, Copy)]
pub struct Store<'p> {
    /// The directory that the settings name.
    pub directory: Option<&'p [u8]>,
    /// The container.
    pub identity: Identity,
    /// True if the calling thread's signals stay blocked while it uses the state. Otherwise a look at
    /// RLIMIT_FSIZE precedes each write: a write beyond it sends a fatal signal.
    pub signals_are_blocked: bool,
}
