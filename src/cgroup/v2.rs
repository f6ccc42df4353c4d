//! Reads the files of one cgroup of the v2 tree (`Documentation/admin-guide/cgroup-v2.rst`).
#![forbid(unsafe_code)]

use crate::cgroup::counters::CpuCounters;
use crate::cgroup::kernel::{Kernel, read_in};
use crate::cgroup::locate::CgroupDir;
use crate::cgroup::{counters, parse_cpus, psi, room};
use crate::mem::Arena;
use crate::sys::Errno;
use crate::values::{BlockIo, Memory, MemoryText, Quota, Room, Swap};

/// Files that list the allowed CPUs.
pub const ALLOWED_CPUS: &[&[u8]] = &[b"cpuset.cpus.effective"];

/// Files that contain a memory limit.
pub const MEMORY_LIMITS: &[&[u8]] = &[b"memory.max", b"memory.high"];

const FILES: room::Files = room::Files {
    usage: b"memory.current",
    stat: counters::memory_stat,
};

/// Limits, usage and counters of the memory controller. `user_limit`: the settings contain a limit.
pub fn memory<'m, K: Kernel>(
    kernel: &K,
    dir: CgroupDir,
    user_limit: bool,
    arena: &mut Arena<'m>,
) -> Result<(Memory, MemoryText<'m>), Errno> {
    let mut found: Option<(Memory, MemoryText)> = None;
    let mut limit = counters::NO_LIMIT;
    let mut swap_limit = None::<u64>;
    let mut swap_room = counters::NO_LIMIT;
    for directory in dir.ancestors() {
        let mut read = |file: &[u8]| read_in(kernel, directory, file, arena);
        // Where an ancestor lacks the controller, the kernel charges the next one above.
        let max = match read(b"memory.max") {
            Err(Errno::NOT_FOUND) if !user_limit => continue,
            // The real root has no limit file, but it has counters.
            Err(Errno::NOT_FOUND) => counters::NO_LIMIT,
            text => counters::limit(text?).ok_or(Errno::MALFORMED)?,
        };
        // memory.high is a limit: above it the kernel throttles the container until it is below.
        let high = read(b"memory.high")
            .ok()
            .and_then(counters::limit)
            .unwrap_or(counters::NO_LIMIT);
        let own_limit = max.min(high);
        limit = limit.min(own_limit);
        if let Ok(text) = read(b"memory.swap.max") {
            let here = counters::limit(text).ok_or(Errno::MALFORMED)?;
            swap_limit = Some(swap_limit.unwrap_or(counters::NO_LIMIT).min(here));
            if here != counters::NO_LIMIT
                && found.is_some()
                && let Some(used) = read(b"memory.swap.current").ok().and_then(counters::number)
            {
                swap_room = swap_room.min(here.saturating_sub(used));
            }
        }
        if let Some((memory, _)) = &mut found {
            if own_limit != counters::NO_LIMIT {
                memory.limit = limit;
                let arena = &mut arena.reborrow();
                room::narrow(kernel, &FILES, directory, own_limit, memory, arena);
            }
        } else {
            let text = match read(b"memory.stat") {
                Err(Errno::NOT_FOUND) if user_limit => continue,
                text => text?,
            };
            let stat = counters::memory_stat(text).ok_or(Errno::MALFORMED)?;
            let usage = match read(b"memory.current") {
                Err(Errno::NOT_FOUND) => stat.charged(),
                text => counters::number(text?).ok_or(Errno::MALFORMED)?,
            };
            let swap = match read(b"memory.swap.current").ok().and_then(counters::number) {
                Some(used) => Swap::Counted {
                    limit: counters::NO_LIMIT,
                    used,
                },
                None => Swap::Unaccounted,
            };
            let memory = Memory {
                limit,
                usage,
                swap,
                stat,
                room: Room::default(),
            };
            found = Some((memory, MemoryText::V2(text)));
        }
    }
    let (mut memory, events) = found.ok_or(Errno::NOT_FOUND)?;
    memory.limit = limit;
    memory.room.swap = swap_room;
    if let (Swap::Counted { limit, .. }, Some(tightest)) = (&mut memory.swap, swap_limit) {
        *limit = tightest;
    }
    Ok((memory, events))
}

/// The quota that the cgroup in `directory` sets.
pub fn quota<K: Kernel>(kernel: &K, directory: &[u8], arena: &mut Arena) -> Option<Quota> {
    parse_cpus::cpu_max(read_in(kernel, directory, b"cpu.max", arena).ok()?)
}

/// CPU time of the cgroup; with `waits` also how long its tasks waited for CPUs, and with `own_quota` (the
/// cgroup sets the tightest quota) how long it was throttled.
pub fn cpu_counters<'m, K: Kernel>(
    kernel: &K,
    dir: CgroupDir,
    waits: bool,
    own_quota: bool,
    arena: &mut Arena<'m>,
) -> Result<CpuCounters<'m>, Errno> {
    let mut read = |file: &[u8]| read_in(kernel, dir.directory, file, arena);
    // Before the CPU time: time that passes between the two reads then never counts as waiting.
    let pressure = (waits && !dir.root).then(|| read(b"cpu.pressure"));
    let stat = counters::cpu_stat(read(b"cpu.stat")?);
    Ok(CpuCounters {
        busy: stat.busy.ok_or(Errno::MALFORMED)?,
        per_cpu: None,
        throttled: own_quota.then_some(stat),
        pressure: pressure.and_then(Result::ok).map(psi::cpu_pressure),
    })
}

/// Block I/O, bytes and operations.
pub fn block_io<'m, K: Kernel>(
    kernel: &K,
    dir: CgroupDir,
    arena: &mut Arena<'m>,
) -> Result<BlockIo<'m>, Errno> {
    read_in(kernel, dir.directory, b"io.stat", arena).map(BlockIo::V2)
}
