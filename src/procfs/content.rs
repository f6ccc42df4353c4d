//! Produces the content of each virtual file and the result of each call: reads the values that are
//! needed, and passes them to the renderer or returns the number. Files and calls use the same
//! functions here, so that they agree.
#![forbid(unsafe_code)]

use crate::cgroup::container::Container;
use crate::cgroup::kernel::Kernel;
use crate::cgroup::locate::ContainerCgroups;
use crate::cgroup::{Version, block_io, cpu, host, locate, memory, psi};
use crate::cpu_time::{HostCounts, Sample};
use crate::error::{ErrorKind, Failure};
use crate::mem::Arena;
use crate::procfs::files::{DeviceStat, MachineFile, NodeFile, last_component};
use crate::procfs::render::meminfo::Figures;
use crate::procfs::render::node::Share;
use crate::procfs::render::{
    cpuinfo, cpulist, diskstats, loadavg, meminfo, node, pressure, stat, swaps, task_stat, uptime,
    vmstat,
};
use crate::settings::Settings;
use crate::sys::Errno;
use crate::text::{Out, field};
use crate::values::{Age, CpuList, Cpus, Load, Memory, Swap, SwapTraffic, Tasks};
use core::ffi::CStr;

/// Renders the container's version of `file`. `host` is the kernel's own text, for the files whose
/// table entry needs it.
pub fn file<'m, C: Container>(
    container: &C,
    file: MachineFile,
    host: &[u8],
    settings: &Settings,
    mut arena: Arena<'m>,
) -> Result<&'m [u8], Failure> {
    let arena = &mut arena;
    let cgroups = container.cgroups(arena).map_err(unreadable)?;
    match file {
        MachineFile::Meminfo => {
            let memory = memory_of(container, &cgroups, settings, host, arena)?;
            print(arena, |out| meminfo::render(host, &memory, out))
        }
        MachineFile::Cpuinfo => {
            let cpus = cpu::cpus(container, &cgroups, settings, arena)?.0;
            let cpus = of_caller(container, cpus, arena);
            print(arena, |out| cpuinfo::render(host, &cpus, out))
        }
        MachineFile::CpuOnline | MachineFile::CpuPresent | MachineFile::CpuOffline => {
            let cpus = cpu::cpus(container, &cgroups, settings, arena)?.0;
            let present = present(container, cpus, arena);
            if file != MachineFile::CpuOffline {
                return print(arena, |out| cpulist::render(present.shown(), out));
            }
            let possible = container
                .read(c"/sys/devices/system/cpu/possible", arena)
                .and_then(|text| CpuList::parse(text).ok_or(Errno::MALFORMED))
                .map_err(unreadable)?;
            print(arena, |out| {
                cpulist::offline(possible, present.shown(), out)
            })
        }
        MachineFile::Stat => {
            let host_btime =
                field(host, b"btime").ok_or((ErrorKind::Unreadable, Errno::MALFORMED))?;
            let waits = container.waits_are_due(&cgroups);
            let (mut sample, age) = sample(container, &cgroups, settings, waits, arena)?;
            sample.host = Some(HostCounts {
                counts: stat::counts(host),
                up_us: age.up_us(),
            });
            let tasks = container
                .tasks(&cgroups, Some(&sample), settings, arena)
                .map_err(unreadable)?;
            let btime = if settings.container_time && !container.holds_against_boot() {
                btime(host_btime, &age)
            } else {
                host_btime
            };
            let cpus = of_caller(container, sample.cpus, arena);
            container.account(&cgroups, settings, &sample, arena, |accounting, arena| {
                print(arena, |out| {
                    let rows = cpus.shown().zip(accounting.rows());
                    stat::render(host, rows, accounting.before(), btime, &tasks, out)
                })
            })
        }
        MachineFile::Uptime => {
            if !settings.container_time {
                return Err((ErrorKind::HostTime, Errno(0)));
            }
            let waits = container.waits_are_due(&cgroups);
            let (sample, age) = sample(container, &cgroups, settings, waits, arena)?;
            container.account(&cgroups, settings, &sample, arena, |accounting, arena| {
                print(arena, |out| {
                    uptime::render(age.age_us, accounting.idle_ticks(), out)
                })
            })
        }
        MachineFile::Loadavg => {
            let (load, tasks) = load_and_tasks(container, &cgroups, settings, arena)?;
            print(arena, |out| loadavg::render(host, &load, &tasks, out))
        }
        MachineFile::Vmstat => {
            let inputs = vmstat_inputs(container, &cgroups, settings, arena)?;
            print(arena, |out| vmstat::render(host, &inputs, out))
        }
        MachineFile::Diskstats => {
            let io = block_io::block_io(container, &cgroups, true, arena)?;
            print(arena, |out| diskstats::render(host, io, out))
        }
        MachineFile::Swaps => {
            // Without swap on the host there is nothing to limit.
            if !swaps::any(host) {
                cgroups.dir_or_root(locate::Controller::Memory, settings.memory.is_some())?;
                return print(arena, |out| out.bytes(host));
            }
            let figures = figures(container, &cgroups, settings, arena)?;
            print(arena, |out| swaps::render(host, &figures, out))
        }
        MachineFile::CpuPressure | MachineFile::MemoryPressure | MachineFile::IoPressure => {
            let name = file.pressure().unwrap_or_default();
            match psi::pressure(container, &cgroups, name, arena) {
                Ok(own) => print(arena, |out| pressure::render(own, out)),
                // v1 does not count pressure. Where uptime is the container's, the host's totals would
                // contradict it.
                Err(failure) => {
                    let dir = cpu::dir_of_cpu_time(&cgroups, settings)?;
                    if dir.is_none_or(|dir| dir.version == Version::V2 || dir.root) {
                        return Err(failure);
                    }
                    let host = container.read(file.path(), arena).map_err(unreadable)?;
                    print(arena, |out| pressure::uncounted(host, out))
                }
            }
        }
    }
}

/// Renders the container's version of a file of a NUMA node; `host` is the kernel's text.
pub fn node_file<'m, C: Container>(
    container: &C,
    file: NodeFile,
    number: u64,
    host: &[u8],
    settings: &Settings,
    mut arena: Arena<'m>,
) -> Result<&'m [u8], Failure> {
    let arena = &mut arena;
    let cgroups = container.cgroups(arena).map_err(unreadable)?;
    if file == NodeFile::Meminfo {
        let host_memory = container
            .read(MachineFile::Meminfo.path(), arena)
            .map_err(unreadable)?;
        let memory = memory_of(container, &cgroups, settings, host_memory, arena)?;
        let figures = meminfo::figures(host_memory, &memory)
            .ok_or((ErrorKind::Unreadable, Errno::MALFORMED))?;
        let share = share_of(container, number, host, arena).map_err(unreadable)?;
        return print(arena, |out| {
            node::meminfo(host, share, &figures, &memory, out)
        });
    }
    let cpus = cpu::cpus(container, &cgroups, settings, arena)?.0;
    let list = if file == NodeFile::Cpulist {
        host
    } else {
        let mut buffer = [0; 64];
        let path = node_path(NodeFile::Cpulist, number, &mut buffer);
        container
            .read(path.ok_or(unreadable(Errno::BUFFER_TOO_SMALL))?, arena)
            .map_err(unreadable)?
    };
    // A node without CPUs has an empty list.
    let Some(list) = CpuList::parse(list) else {
        return print(arena, |out| out.bytes(host));
    };
    print(arena, |out| match file {
        NodeFile::Cpumap => node::cpumap(host, list, cpus.list, out),
        _ => node::cpulist(list, cpus.list, out),
    })
}

/// Renders the container's counters of one block device; `host` is the kernel's text.
pub fn device_stat<'m, C: Container>(
    container: &C,
    file: DeviceStat,
    host: &[u8],
    mut arena: Arena<'m>,
) -> Result<&'m [u8], Failure> {
    let arena = &mut arena;
    let cgroups = container.cgroups(arena).map_err(unreadable)?;
    let io = block_io::block_io(container, &cgroups, true, arena)?.of(file.device);
    print(arena, |out| diskstats::device(host, &io, out))
}

/// The path of the kernel's own file of a node.
pub fn node_path(file: NodeFile, node: u64, buffer: &mut [u8; 64]) -> Option<&CStr> {
    let mut path = Out::new(buffer);
    path.bytes(NodeFile::NODES);
    path.decimal(node);
    path.byte(b'/');
    path.bytes(file.last());
    path.byte(0);
    CStr::from_bytes_until_nul(path.finish()?).ok()
}

/// Reads how the machine's memory is spread over its nodes; `own` is the kernel's text of node
/// `number`.
fn share_of<K: Kernel>(
    kernel: &K,
    number: u64,
    own: &[u8],
    arena: &mut Arena,
) -> Result<Share, Errno> {
    let nodes = kernel.read(c"/sys/devices/system/node/online", arena)?;
    let mut share = Share {
        before: 0,
        own: 0,
        all: 0,
    };
    for node in CpuList::parse(nodes)
        .ok_or(Errno::MALFORMED)?
        .iter()
        .map(u64::from)
    {
        let mut buffer = [0; 64];
        let text = if node == number {
            own
        } else {
            let path =
                node_path(NodeFile::Meminfo, node, &mut buffer).ok_or(Errno::BUFFER_TOO_SMALL)?;
            kernel.read(path, arena)?
        };
        let total = node::total(text).ok_or(Errno::MALFORMED)?;
        share.all = share.all.saturating_add(total);
        if node < number {
            share.before = share.before.saturating_add(total);
        } else if node == number {
            share.own = total;
        }
    }
    Ok(share)
}

fn vmstat_inputs<'m, C: Container>(
    container: &C,
    cgroups: &ContainerCgroups,
    settings: &Settings,
    arena: &mut Arena<'m>,
) -> Result<vmstat::Inputs<'m>, Failure> {
    let host = container
        .read(MachineFile::Meminfo.path(), arena)
        .map_err(unreadable)?;
    // No line of vmstat shows how much swap the container may use.
    let (memory, events) = memory::memory_and_events(container, cgroups, settings, false, arena)?;
    let figures =
        meminfo::figures(host, &memory).ok_or((ErrorKind::Unreadable, Errno::MALFORMED))?;
    let io = match block_io::block_io(container, cgroups, false, arena) {
        // With one device, reading its sysfs link is cheaper than reading /proc/diskstats.
        Ok(io) if io.is_of_one(|device| is_disk(container, device, arena)) => Some(io.all()),
        Ok(io) => {
            // The host's diskstats have the device names. They show which devices are stacked on
            // others, whose I/O would count twice.
            let disks = container
                .read_long(MachineFile::Diskstats.path(), arena)
                .map_err(unreadable)?;
            Some(diskstats::total(disks, io))
        }
        Err(_) => None,
    };
    let page = container.page_size();
    let (pages_in, pages_out) = events.swapped();
    let swapped = match (memory.swap, pages_out) {
        (Swap::Unaccounted, _) => None,
        (Swap::Counted { .. }, Some(pages_out)) => Some(SwapTraffic {
            pages_in,
            pages_out,
        }),
        (Swap::Counted { used, .. }, None) => {
            Some(container.swap_traffic(cgroups, pages_in, used / page))
        }
    };
    Ok(vmstat::Inputs {
        stat: memory.stat,
        free: figures.free,
        events,
        io,
        swapped,
        page,
    })
}

/// True if the device is known not to be stacked on another device. Its name comes from sysfs.
fn is_disk<K: Kernel>(kernel: &K, device: (u64, u64), arena: &mut Arena) -> bool {
    let mut buffer = [0; 64];
    let link = DeviceStat { device }
        .link(&mut buffer)
        .and_then(|path| kernel.read_link(path, &mut arena.reborrow()).ok());
    link.is_some_and(|link| !diskstats::is_stacked(last_component(link)))
}

/// Renders the container's version of a task's `stat`. `read` reads the kernel's text, if the container has a
/// clock of its own: for a process of many threads the kernel needs long for that text.
pub fn task_stat<'m, C: Container>(
    container: &C,
    settings: &Settings,
    mut arena: Arena<'m>,
    read: impl FnOnce(&mut Arena<'m>) -> Result<&'m [u8], Errno>,
) -> Result<&'m [u8], Failure> {
    let start = start_ticks(container, settings, &mut arena)?;
    let host = read(&mut arena).map_err(unreadable)?;
    let mut is_stat = false;
    let text = print(&mut arena, |out| {
        is_stat = task_stat::render(host, start, out);
    })?;
    match is_stat {
        true => Ok(text),
        false => Err((ErrorKind::Unreadable, Errno::MALFORMED)),
    }
}

/// When the container started, in ticks of the host's clock. The container's start times count from
/// there.
fn start_ticks<C: Container>(
    container: &C,
    settings: &Settings,
    arena: &mut Arena,
) -> Result<u64, Failure> {
    let cgroups = container.cgroups(arena).map_err(unreadable)?;
    // As for uptime: fails if no cgroup counts the container's CPU time. Its clock is then the host's.
    cpu::dir_of_cpu_time(&cgroups, settings)?;
    if !settings.container_time || container.holds_against_boot() {
        return Err((ErrorKind::HostTime, Errno(0)));
    }
    container
        .start_ticks()
        .ok_or((ErrorKind::NoContainer, Errno(0)))
}

/// The CPUs that sysfs lists. A caller that watches CPUs opens a ring for each of them, and the container's
/// threads run on all allowed CPUs, so such a caller gets all of these.
fn present<'m, C: Container>(container: &C, cpus: Cpus<'m>, arena: &mut Arena<'m>) -> Cpus<'m> {
    if container.watches_cpus() {
        let count = cpus.list.count();
        Cpus { count, ..cpus }
    } else {
        of_caller(container, cpus, arena)
    }
}

/// Adds the mask of the calling thread: programs compare the CPUs that they see with it. If no CPU is
/// hidden, the mask does not matter.
fn of_caller<'m, C: Container>(container: &C, cpus: Cpus<'m>, arena: &mut Arena<'m>) -> Cpus<'m> {
    let own = if cpus.hides_some() {
        container.own_cpus(arena).unwrap_or(&[])
    } else {
        &[]
    };
    Cpus { own, ..cpus }
}

/// Passes the CPUs that sysfs lists to `with`.
pub fn present_cpus<C: Container, R>(
    container: &C,
    settings: &Settings,
    arena: &mut Arena,
    with: impl FnOnce(&Cpus) -> R,
) -> Result<R, Failure> {
    let cgroups = container.cgroups(arena).map_err(unreadable)?;
    let cpus = cpu::cpus(container, &cgroups, settings, arena)?.0;
    Ok(with(&present(container, cpus, arena)))
}

/// The number of CPUs that the container shows.
pub fn cpu_count<C: Container>(
    container: &C,
    settings: &Settings,
    arena: &mut Arena,
) -> Result<u32, Failure> {
    let cgroups = container.cgroups(arena).map_err(unreadable)?;
    cpu::cpus(container, &cgroups, settings, arena).map(|(cpus, _)| cpus.count)
}

/// The figures of `/proc/meminfo`, as numbers.
pub fn memory<C: Container>(
    container: &C,
    settings: &Settings,
    arena: &mut Arena,
) -> Result<Figures, Failure> {
    let cgroups = container.cgroups(arena).map_err(unreadable)?;
    figures(container, &cgroups, settings, arena)
}

/// The part of steal in `/proc/stat` that the quota took away, in ticks. The rest is the neighbours'.
pub fn steal_of_quota<C: Container>(
    container: &C,
    settings: &Settings,
    arena: &mut Arena,
) -> Result<u64, Failure> {
    let cgroups = container.cgroups(arena).map_err(unreadable)?;
    let (sample, _) = sample(container, &cgroups, settings, true, arena)?;
    container.account(&cgroups, settings, &sample, arena, |accounting, _| {
        let [.., steal] = accounting.total();
        Ok(steal.saturating_sub(accounting.contended()))
    })
}

/// The load averages of `/proc/loadavg`, in hundredths.
pub fn load_hundredths<C: Container>(
    container: &C,
    settings: &Settings,
    arena: &mut Arena,
) -> Result<[u64; 3], Failure> {
    let cgroups = container.cgroups(arena).map_err(unreadable)?;
    let (load, _) = load(container, &cgroups, settings, arena)?;
    Ok(load.0.map(loadavg::rounded))
}

/// Replaces the fields of `info`, which the kernel filled in, with the container's values. If the
/// memory fields cannot be computed, the times and tasks are still replaced, and vice versa; the rest
/// keeps the kernel's values.
pub fn sysinfo<C: Container>(
    container: &C,
    settings: &Settings,
    arena: &mut Arena,
    info: &mut libc::sysinfo,
) -> Result<(), Failure> {
    let cgroups = container.cgroups(arena).map_err(unreadable)?;
    let memory = figures(container, &cgroups, settings, arena).map(|memory| {
        // The kernel's unit is 1 byte, unless the host has more memory than a word can count in bytes.
        let unit = u64::from(info.mem_unit).max(1);
        let units = |kib: u64| kib.saturating_mul(1024).checked_div(unit).unwrap_or(0);
        info.totalram = units(memory.total);
        info.freeram = units(memory.free);
        info.sharedram = units(memory.shared);
        info.bufferram = units(memory.buffers);
        info.totalswap = units(memory.swap_total);
        info.freeswap = units(memory.swap_free);
    });
    let rest = load_and_tasks(container, &cgroups, settings, arena).and_then(|(load, tasks)| {
        info.loads = loadavg::sysinfo_loads(&load);
        info.procs = u16::try_from(tasks.total).unwrap_or(u16::MAX);
        if settings.container_time {
            info.uptime = (cpu::age(container)?.age_us / 1_000_000) as _;
        }
        Ok(())
    });
    memory.and(rest)
}

fn figures<C: Container>(
    container: &C,
    cgroups: &ContainerCgroups,
    settings: &Settings,
    arena: &mut Arena,
) -> Result<Figures, Failure> {
    let host = container
        .read(MachineFile::Meminfo.path(), arena)
        .map_err(unreadable)?;
    let memory = memory_of(container, cgroups, settings, host, arena)?;
    meminfo::figures(host, &memory).ok_or((ErrorKind::Unreadable, Errno::MALFORMED))
}

fn memory_of<C: Container>(
    container: &C,
    cgroups: &ContainerCgroups,
    settings: &Settings,
    host: &[u8],
    arena: &mut Arena,
) -> Result<Memory, Failure> {
    let host_swaps = field(host, b"SwapTotal:").is_some_and(|kib| kib > 0);
    memory::memory(
        container,
        cgroups,
        settings,
        host_swaps,
        &mut arena.reborrow(),
    )
}

/// Reads everything that the CPU-time accounting needs; `waits` as in [`cpu::cpu_time`].
fn sample<'m, C: Container>(
    container: &C,
    cgroups: &ContainerCgroups<'m>,
    settings: &Settings,
    waits: bool,
    arena: &mut Arena<'m>,
) -> Result<(Sample<'m>, Age), Failure> {
    let (cpus, quota) = cpu::cpus(container, cgroups, settings, arena)?;
    let time = cpu::cpu_time(container, cgroups, settings, &cpus, quota, waits, arena)?;
    let age = cpu::age(container)?;
    Ok((
        Sample {
            age_us: age.age_us,
            cpus,
            time,
            host: None,
        },
        age,
    ))
}

/// The load averages. If no sampler knows them, also returns the reading of CPU time that they were computed from.
fn load<'m, C: Container>(
    container: &C,
    cgroups: &ContainerCgroups<'m>,
    settings: &Settings,
    arena: &mut Arena<'m>,
) -> Result<(Load, Option<Sample<'m>>), Failure> {
    // If the CPU time is that of the host, the load is too.
    let dir = cpu::dir_of_cpu_time(cgroups, settings)?;
    let known = if dir.is_none_or(|dir| dir.root) {
        host::host_load(container, arena)
    } else {
        let age_us = cpu::age(container)?.age_us;
        container.sampled_load(cgroups, age_us, settings, arena)
    };
    if let Some(load) = known {
        return Ok((load, None));
    }
    let (sample, _) = sample(container, cgroups, settings, true, arena)?;
    let load = container.load(cgroups, &sample, settings, arena);
    Ok((load, Some(sample)))
}

/// The load averages and the tasks.
fn load_and_tasks<'m, C: Container>(
    container: &C,
    cgroups: &ContainerCgroups<'m>,
    settings: &Settings,
    arena: &mut Arena<'m>,
) -> Result<(Load, Tasks), Failure> {
    let (load, sample) = load(container, cgroups, settings, arena)?;
    let tasks = container.tasks(cgroups, sample.as_ref(), settings, arena);
    Ok((load, tasks.map_err(unreadable)?))
}

/// When the container started, in seconds since 1970: later than the boot of the host by the start time
/// of PID 1.
fn btime(host: u64, age: &Age) -> u64 {
    const USER_HZ: u64 = 100;
    host.saturating_add(age.start_ticks / USER_HZ)
}

/// Renders a text into the rest of the arena. Nothing may be allocated from the arena afterwards.
fn print<'m>(arena: &mut Arena<'m>, render: impl FnOnce(&mut Out)) -> Result<&'m [u8], Failure> {
    arena
        .read_into(|buffer| {
            let mut out = Out::new(buffer);
            render(&mut out);
            out.finish().map(<[u8]>::len).ok_or(Errno::BUFFER_TOO_SMALL)
        })
        .map_err(|e| (ErrorKind::NoMemory, e))
}

fn unreadable(errno: Errno) -> Failure {
    (ErrorKind::Unreadable, errno)
}
