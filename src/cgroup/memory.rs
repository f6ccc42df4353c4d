//! Reads the memory controller (NUMBERS section 4).
#![forbid(unsafe_code)]

use crate::cgroup::kernel::Kernel;
use crate::cgroup::locate::{ContainerCgroups, Controller};
use crate::cgroup::{Version, v1, v2};
use crate::error::{ErrorKind, Failure};
use crate::mem::Arena;
use crate::settings::Settings;
use crate::values::{Memory, MemoryText};

/// Limits, usage and counters of the container's memory, in bytes. `host_swaps`: the host has swap.
pub fn memory<K: Kernel>(
    kernel: &K,
    cgroups: &ContainerCgroups,
    settings: &Settings,
    host_swaps: bool,
    arena: &mut Arena,
) -> Result<Memory, Failure> {
    memory_and_events(kernel, cgroups, settings, host_swaps, arena).map(|(memory, _)| memory)
}

/// The same, and `memory.stat` for the events in it.
pub fn memory_and_events<'m, K: Kernel>(
    kernel: &K,
    cgroups: &ContainerCgroups,
    settings: &Settings,
    host_swaps: bool,
    arena: &mut Arena<'m>,
) -> Result<(Memory, MemoryText<'m>), Failure> {
    let dir = cgroups.dir_or_root(Controller::Memory, settings.memory.is_some())?;
    let memory = match dir.version {
        Version::V1 => v1::memory(kernel, dir, host_swaps, arena),
        Version::V2 => v2::memory(kernel, dir, settings.memory.is_some(), arena),
    };
    let (mut memory, events) = memory.map_err(|e| (ErrorKind::Unreadable, e))?;
    memory.limit = memory.limit.min(settings.memory.unwrap_or(u64::MAX));
    Ok((memory, events))
}
