//! What the limit of an ancestor leaves to the container: others below that ancestor use memory too.
#![forbid(unsafe_code)]

use crate::cgroup::counters;
use crate::cgroup::kernel::{Kernel, read_in};
use crate::mem::Arena;
use crate::values::{Memory, MemoryStat};

/// The files that one version of cgroups has.
pub struct Files {
    /// The memory that is charged to a cgroup and all below it.
    pub usage: &'static [u8],
    /// Parses `memory.stat`.
    pub stat: fn(&[u8]) -> Option<MemoryStat>,
}

/// Reduces the room of the container to what the ancestor in `directory` leaves, whose limit is `limit` bytes. Makes no
/// change if its usage cannot be read.
pub fn narrow<K: Kernel>(
    kernel: &K,
    files: &Files,
    directory: &[u8],
    limit: u64,
    memory: &mut Memory,
    arena: &mut Arena,
) {
    let mut read = |file: &[u8]| read_in(kernel, directory, file, arena);
    let Some(usage) = read(files.usage).ok().and_then(counters::number) else {
        return;
    };
    let free = limit.saturating_sub(usage);
    // The container's own limit and usage leave no more.
    if free >= memory.limit.min(limit).saturating_sub(memory.usage) {
        return;
    }
    let reclaimable = read(b"memory.stat")
        .ok()
        .and_then(files.stat)
        .unwrap_or(memory.stat)
        .reclaimable();
    let room = &mut memory.room;
    room.free = room.free.min(free);
    room.available = room.available.min(free.saturating_add(reclaimable));
}
