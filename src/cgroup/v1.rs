//! Reads the files of one cgroup of a v1 hierarchy (`Documentation/admin-guide/cgroup-v1/`).
#![forbid(unsafe_code)]

use crate::cgroup::container::Container;
use crate::cgroup::counters::{CpuCounters, NO_LIMIT};
use crate::cgroup::kernel::{Kernel, read_in};
use crate::cgroup::locate::{CgroupDir, ContainerCgroups};
use crate::cgroup::{counters, parse_cpus, room};
use crate::mem::Arena;
use crate::sys::Errno;
use crate::values::{BlockIo, Memory, MemoryText, PerCpu, Quota, Room, Swap};

/// Files that list the allowed CPUs, the preferred one first. Kernels before 4.0 have only the second.
pub const ALLOWED_CPUS: &[&[u8]] = &[b"cpuset.effective_cpus", b"cpuset.cpus"];

/// Files that contain a memory limit.
pub const MEMORY_LIMITS: &[&[u8]] = &[b"memory.limit_in_bytes"];

const FILES: room::Files = room::Files {
    usage: b"memory.usage_in_bytes",
    stat: |text| counters::memory_stat_v1(text).map(|found| found.stat),
};

/// Limits, usage and counters of the memory controller. `host_swaps`: the host has swap.
pub fn memory<'m, K: Kernel>(
    kernel: &K,
    dir: CgroupDir,
    host_swaps: bool,
    arena: &mut Arena<'m>,
) -> Result<(Memory, MemoryText<'m>), Errno> {
    let mut read = |file: &[u8]| read_in(kernel, dir.directory, file, arena);
    // `hierarchical_memory_limit`: the kernel's own minimum over all ancestors, visible or not.
    let text = read(b"memory.stat")?;
    let stat = counters::memory_stat_v1(text).ok_or(Errno::MALFORMED)?;
    let usage = counters::number(read(b"memory.usage_in_bytes")?).ok_or(Errno::MALFORMED)?;
    let swap = match stat.swap {
        None => Swap::Unaccounted,
        Some(used) => {
            let mut limit = counters::swap_limit(stat.limit, stat.limit_with_swap);
            // vmscan.c: a cgroup of swappiness 0 is not swapped out by its own limit.
            if host_swaps
                && read(b"memory.swappiness").is_ok_and(|text| counters::number(text) == Some(0))
            {
                limit = 0;
            }
            Swap::Counted { limit, used }
        }
    };
    let mut memory = Memory {
        limit: stat.limit,
        usage,
        swap,
        stat: stat.stat,
        room: Room::default(),
    };
    for directory in dir.ancestors().skip(1) {
        let mut read = |file: &[u8]| {
            let found = read_in(kernel, directory, file, arena);
            found.ok().and_then(counters::limit)
        };
        // Without the hierarchy, nothing of the container is charged to its ancestors.
        match read(b"memory.limit_in_bytes") {
            Some(limit) if limit != NO_LIMIT && read(b"memory.use_hierarchy") == Some(1) => {
                let arena = &mut arena.reborrow();
                room::narrow(kernel, &FILES, directory, limit, &mut memory, arena);
            }
            _ => {}
        }
    }
    Ok((memory, MemoryText::V1(text)))
}

/// The quota that the cgroup in `directory` sets. Most cgroups set none: the period is then not read.
pub fn quota<K: Kernel>(kernel: &K, directory: &[u8], arena: &mut Arena) -> Option<Quota> {
    let mut read = |file: &[u8]| read_in(kernel, directory, file, arena).ok();
    read(b"cpu.cfs_quota_us")
        .filter(|quota| quota.first() != Some(&b'-'))
        .and_then(|quota| parse_cpus::cfs(quota, read(b"cpu.cfs_period_us")?))
}

/// CPU time of the cgroup, with `each_cpu` also of each CPU where the kernel reports it.
pub fn cpu_counters<'m, K: Kernel>(
    kernel: &K,
    dir: CgroupDir,
    each_cpu: bool,
    arena: &mut Arena<'m>,
) -> Result<CpuCounters<'m>, Errno> {
    let mut read = |file: &[u8]| read_in(kernel, dir.directory, file, arena);
    let mut per_cpu = None;
    if each_cpu {
        let sampled = read(b"cpuacct.usage_all").ok();
        let measured = read(b"cpuacct.usage_percpu").ok();
        per_cpu = sampled
            .zip(measured)
            .map(|(sampled, measured)| PerCpu { sampled, measured });
    }
    let busy = match per_cpu.and_then(PerCpu::sum) {
        Some(busy) => Some(busy),
        None => {
            per_cpu = None;
            let stat = read(b"cpuacct.stat")?;
            let usage = read(b"cpuacct.usage")?;
            counters::cpuacct(usage, stat)
        }
    };
    Ok(CpuCounters {
        busy: busy.ok_or(Errno::MALFORMED)?,
        per_cpu,
        throttled: None,
        pressure: None,
    })
}

/// Block I/O. Counts of operations are read only if `operations` is true.
pub fn block_io<'m, C: Container>(
    container: &C,
    dir: CgroupDir,
    cgroups: &ContainerCgroups,
    operations: bool,
    arena: &mut Arena<'m>,
) -> Result<BlockIo<'m>, Errno> {
    let mut read = |file: &[u8]| read_in(container, dir.directory, file, arena);
    let mut whole_tree = |all: &[u8], own: &[u8]| read(all).or_else(|_| read(own));
    let bytes = whole_tree(
        b"blkio.throttle.io_service_bytes_recursive",
        b"blkio.throttle.io_service_bytes",
    )?;
    let operations = if operations {
        whole_tree(
            b"blkio.throttle.io_serviced_recursive",
            b"blkio.throttle.io_serviced",
        )?
    } else {
        b""
    };
    let io = |seen| BlockIo::V1 {
        bytes,
        operations,
        seen,
    };
    Ok(io(container.seen_devices(cgroups, io(&[]), arena)?))
}
