//! From a question to its answer: takes the parts of the snapshot that the question needs and
//! hands them to the renderer, or gives the number itself. Files and calls get their numbers from
//! the same functions here, so that they agree.
#![forbid(unsafe_code)]

use crate::files::{DeviceStat, NodeFile, VirtualFile, last_component};
use crate::gather::{self, Kernel, Place};
use crate::ledger::{HostCounts, Sample};
use crate::log::{Failure, Trouble};
use crate::render::meminfo::Figures;
use crate::render::node::Share;
use crate::render::{
    cpuinfo, cpulist, diskstats, loadavg, meminfo, node, pressure, stat, swaps, uptime, vmstat,
};
use crate::settings::Settings;
use crate::snapshot::{Age, CpuList, Load, Memory, SwapTraffic, Tasks};
use crate::sys::Errno;
use crate::sys::memory::Arena;
use crate::text::{Out, field};
use core::ffi::CStr;

/// The container's text of `file`. `host` is the kernel's own, where the table says that it is
/// needed.
pub fn file<'m, K: Kernel>(
    kernel: &K,
    file: VirtualFile,
    host: &[u8],
    settings: &Settings,
    mut arena: Arena<'m>,
) -> Result<&'m [u8], Failure> {
    let arena = &mut arena;
    let place = kernel.place(arena).map_err(unreadable)?;
    match file {
        VirtualFile::Meminfo => {
            let memory = memory_of(kernel, &place, settings, host, arena)?;
            print(arena, |out| meminfo::render(host, &memory, out))
        }
        VirtualFile::Cpuinfo => {
            let cpus = gather::cpus(kernel, &place, settings, arena)?.0;
            print(arena, |out| cpuinfo::render(host, &cpus, out))
        }
        VirtualFile::CpuOnline | VirtualFile::CpuPossible | VirtualFile::CpuPresent => {
            let cpus = gather::cpus(kernel, &place, settings, arena)?.0;
            print(arena, |out| cpulist::render(cpus.count, out))
        }
        VirtualFile::Stat => {
            let host_btime = field(host, b"btime").ok_or((Trouble::Unreadable, Errno::GARBAGE))?;
            let (mut sample, age) = sample(kernel, &place, settings, arena)?;
            sample.host = Some(HostCounts {
                counts: stat::counts(host),
                up_us: age.up_us(),
            });
            let tasks = kernel.tasks(&place, arena).map_err(unreadable)?;
            let btime = if settings.container_time && !kernel.holds_against_boot() {
                btime(host_btime, &age)
            } else {
                host_btime
            };
            kernel.account(&place, settings, &sample, arena, |ledger, arena| {
                print(arena, |out| {
                    stat::render(host, ledger.rows(), ledger.before(), btime, &tasks, out)
                })
            })
        }
        VirtualFile::Uptime => {
            if !settings.container_time {
                return Err((Trouble::NoContainer, Errno(0)));
            }
            let (sample, age) = sample(kernel, &place, settings, arena)?;
            kernel.account(&place, settings, &sample, arena, |ledger, arena| {
                print(arena, |out| {
                    uptime::render(age.age_us, ledger.idle_ticks(), out)
                })
            })
        }
        VirtualFile::Loadavg => {
            let (load, tasks) = load(kernel, &place, settings, arena)?;
            print(arena, |out| loadavg::render(host, &load, &tasks, out))
        }
        VirtualFile::Vmstat => {
            let inputs = vmstat_inputs(kernel, &place, settings, arena)?;
            print(arena, |out| vmstat::render(host, &inputs, out))
        }
        VirtualFile::Diskstats => {
            let io = gather::block_io(kernel, &place, true, arena)?;
            print(arena, |out| diskstats::render(host, io, out))
        }
        VirtualFile::Swaps => {
            // A host without swap has none to limit.
            if !swaps::any(host) {
                place.home_or_root(gather::Controller::Memory, settings.memory.is_some())?;
                return print(arena, |out| out.bytes(host));
            }
            let figures = figures(kernel, &place, settings, arena)?;
            print(arena, |out| swaps::render(host, &figures, out))
        }
        VirtualFile::CpuPressure | VirtualFile::MemoryPressure | VirtualFile::IoPressure => {
            let name = file.pressure().unwrap_or_default();
            let own = gather::pressure(kernel, &place, name, arena)?;
            print(arena, |out| pressure::render(own, out))
        }
    }
}

/// The container's text of a file of a NUMA node; `host` is the kernel's.
pub fn node_file<'m, K: Kernel>(
    kernel: &K,
    file: NodeFile,
    number: u64,
    host: &[u8],
    settings: &Settings,
    mut arena: Arena<'m>,
) -> Result<&'m [u8], Failure> {
    let arena = &mut arena;
    let place = kernel.place(arena).map_err(unreadable)?;
    if file == NodeFile::Meminfo {
        let host_memory = kernel
            .read(VirtualFile::Meminfo.path(), arena)
            .map_err(unreadable)?;
        let memory = memory_of(kernel, &place, settings, host_memory, arena)?;
        let figures =
            meminfo::figures(host_memory, &memory).ok_or((Trouble::Unreadable, Errno::GARBAGE))?;
        let share = share_of(kernel, number, host, arena).map_err(unreadable)?;
        return print(arena, |out| {
            node::meminfo(host, share, &figures, &memory, out)
        });
    }
    let cpus = gather::cpus(kernel, &place, settings, arena)?.0;
    let list = if file == NodeFile::Cpulist {
        host
    } else {
        let mut room = [0; 64];
        let path = node_path(NodeFile::Cpulist, number, &mut room);
        kernel
            .read(path.ok_or(unreadable(Errno::NO_ROOM))?, arena)
            .map_err(unreadable)?
    };
    // A node without CPUs has an empty list.
    let Some(list) = CpuList::parse(list) else {
        return print(arena, |out| out.bytes(host));
    };
    print(arena, |out| match file {
        NodeFile::Cpumap => node::cpumap(host, list, &cpus, out),
        _ => node::cpulist(list, &cpus, out),
    })
}

/// The container's counters of one block device; `host` is the kernel's.
pub fn device_stat<'m, K: Kernel>(
    kernel: &K,
    file: DeviceStat,
    host: &[u8],
    mut arena: Arena<'m>,
) -> Result<&'m [u8], Failure> {
    let arena = &mut arena;
    let place = kernel.place(arena).map_err(unreadable)?;
    let io = gather::block_io(kernel, &place, true, arena)?.of(file.device);
    print(arena, |out| diskstats::device(host, &io, out))
}

/// Where the kernel's own file of a node is.
pub fn node_path(file: NodeFile, node: u64, room: &mut [u8; 64]) -> Option<&CStr> {
    let mut path = Out::new(room);
    path.bytes(NodeFile::NODES);
    path.decimal(node);
    path.byte(b'/');
    path.bytes(file.last());
    path.byte(0);
    CStr::from_bytes_until_nul(path.finish()?).ok()
}

/// How the memory of the machine lies on its nodes; `own` is the kernel's text of node `number`.
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
        .ok_or(Errno::GARBAGE)?
        .iter()
        .map(u64::from)
    {
        let mut room = [0; 64];
        let text = if node == number {
            own
        } else {
            let path = node_path(NodeFile::Meminfo, node, &mut room).ok_or(Errno::NO_ROOM)?;
            kernel.read(path, arena)?
        };
        let total = node::total(text).ok_or(Errno::GARBAGE)?;
        share.all = share.all.saturating_add(total);
        if node < number {
            share.before = share.before.saturating_add(total);
        } else if node == number {
            share.own = total;
        }
    }
    Ok(share)
}

fn vmstat_inputs<'m, K: Kernel>(
    kernel: &K,
    place: &Place,
    settings: &Settings,
    arena: &mut Arena<'m>,
) -> Result<vmstat::Inputs<'m>, Failure> {
    let counts = gather::memory_counts(kernel, place, settings, arena)?;
    let io = match gather::block_io(kernel, place, false, arena) {
        // The name of one is had for less than the table of all.
        Ok(io) if io.is_of_one(|device| is_disk(kernel, device, arena)) => Some(io.all()),
        Ok(io) => {
            // The host's diskstats tell which devices lie on others, whose I/O would count twice.
            let disks = kernel
                .read_long(VirtualFile::Diskstats.path(), arena)
                .map_err(unreadable)?;
            Some(diskstats::total(disks, io))
        }
        Err(_) => None,
    };
    let page = kernel.page_size();
    let (pages_in, pages_out) = counts.events.swapped();
    let swapped = counts.swapped.map(|used| match pages_out {
        Some(pages_out) => SwapTraffic {
            pages_in,
            pages_out,
        },
        None => kernel.swap_traffic(place, pages_in, used / page),
    });
    Ok(vmstat::Inputs {
        stat: counts.stat,
        events: counts.events,
        io,
        swapped,
        page,
    })
}

/// True if the device is known to lie on no other: sysfs has its name.
fn is_disk<K: Kernel>(kernel: &K, device: (u64, u64), arena: &mut Arena) -> bool {
    let mut room = [0; 64];
    let link = DeviceStat { device }
        .link(&mut room)
        .and_then(|path| kernel.read_link(path, &mut arena.scratch()).ok());
    link.is_some_and(|link| !diskstats::is_stacked(last_component(link)))
}

/// When the container started, in ticks of the host's clock: what start times are counted from.
pub fn start_ticks<K: Kernel>(
    kernel: &K,
    settings: &Settings,
    arena: &mut Arena,
) -> Result<u64, Failure> {
    let place = kernel.place(arena).map_err(unreadable)?;
    // As uptime: without CPU time of its own the container has the host's clock.
    gather::home_of_cpu_time(&place, settings)?;
    if !settings.container_time || kernel.holds_against_boot() {
        return Err((Trouble::NoContainer, Errno(0)));
    }
    kernel.start_ticks().ok_or((Trouble::NoContainer, Errno(0)))
}

/// How many CPUs there are.
pub fn cpu_count<K: Kernel>(
    kernel: &K,
    settings: &Settings,
    arena: &mut Arena,
) -> Result<u32, Failure> {
    let place = kernel.place(arena).map_err(unreadable)?;
    gather::cpus(kernel, &place, settings, arena).map(|(cpus, _)| cpus.count)
}

/// What `/proc/meminfo` says, as numbers.
pub fn memory<K: Kernel>(
    kernel: &K,
    settings: &Settings,
    arena: &mut Arena,
) -> Result<Figures, Failure> {
    let place = kernel.place(arena).map_err(unreadable)?;
    figures(kernel, &place, settings, arena)
}

/// What `/proc/loadavg` says, in hundredths.
pub fn load_hundredths<K: Kernel>(
    kernel: &K,
    settings: &Settings,
    arena: &mut Arena,
) -> Result<[u64; 3], Failure> {
    let place = kernel.place(arena).map_err(unreadable)?;
    Ok(load(kernel, &place, settings, arena)?
        .0
        .0
        .map(loadavg::rounded))
}

/// Gives the fields of `info`, which the kernel filled, the container's values. Memory, and the
/// times and tasks, each only where they can be told: the other half stays the kernel's.
pub fn sysinfo<K: Kernel>(
    kernel: &K,
    settings: &Settings,
    arena: &mut Arena,
    info: &mut libc::sysinfo,
) -> Result<(), Failure> {
    let place = kernel.place(arena).map_err(unreadable)?;
    let memory = figures(kernel, &place, settings, arena).map(|memory| {
        // In the kernel's own unit: 1, unless the host has more than a word can count of.
        let unit = u64::from(info.mem_unit).max(1);
        let units = |kib: u64| kib.saturating_mul(1024).checked_div(unit).unwrap_or(0);
        info.totalram = units(memory.total);
        info.freeram = units(memory.free);
        info.sharedram = units(memory.shared);
        info.bufferram = units(memory.buffers);
        info.totalswap = units(memory.swap_total);
        info.freeswap = units(memory.swap_free);
    });
    let rest = load(kernel, &place, settings, arena).and_then(|(load, tasks)| {
        info.loads = loadavg::sysinfo_loads(&load);
        info.procs = u16::try_from(tasks.total).unwrap_or(u16::MAX);
        if settings.container_time {
            info.uptime = (gather::age(kernel)?.age_us / 1_000_000) as i64;
        }
        Ok(())
    });
    memory.and(rest)
}

/// Clears all but the first `count` CPUs of an affinity mask.
pub fn keep_first_cpus(mask: &mut [u8], count: u32) {
    // The kernel's mask is an array of words; on a little-endian machine bytes are in the same
    // order as CPUs.
    const { assert!(cfg!(target_endian = "little")) };
    let mut left = count;
    for byte in mask {
        while byte.count_ones() > left {
            // The highest CPU of the byte goes first.
            *byte &= !(0x80u8.wrapping_shr(byte.leading_zeros()));
        }
        left = left.saturating_sub(byte.count_ones());
    }
}

fn figures<K: Kernel>(
    kernel: &K,
    place: &Place,
    settings: &Settings,
    arena: &mut Arena,
) -> Result<Figures, Failure> {
    let host = kernel
        .read(VirtualFile::Meminfo.path(), arena)
        .map_err(unreadable)?;
    let memory = memory_of(kernel, place, settings, host, arena)?;
    meminfo::figures(host, &memory).ok_or((Trouble::Unreadable, Errno::GARBAGE))
}

fn memory_of<K: Kernel>(
    kernel: &K,
    place: &Place,
    settings: &Settings,
    host: &[u8],
    arena: &mut Arena,
) -> Result<Memory, Failure> {
    let host_swaps = field(host, b"SwapTotal:").is_some_and(|kib| kib > 0);
    gather::memory(kernel, place, settings, host_swaps, &mut arena.scratch())
}

/// Everything that the CPU time accounts are made of.
fn sample<'m, K: Kernel>(
    kernel: &K,
    place: &Place<'m>,
    settings: &Settings,
    arena: &mut Arena<'m>,
) -> Result<(Sample<'m>, Age), Failure> {
    let (cpus, level) = gather::cpus(kernel, place, settings, arena)?;
    let time = gather::cpu_time(kernel, place, settings, &cpus, level, arena)?;
    let age = gather::age(kernel)?;
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

fn load<'m, K: Kernel>(
    kernel: &K,
    place: &Place<'m>,
    settings: &Settings,
    arena: &mut Arena<'m>,
) -> Result<(Load, Tasks), Failure> {
    // Where the CPU time is the host's, so is the load.
    let home = gather::home_of_cpu_time(place, settings)?;
    let known = if home.is_none_or(|home| home.root) {
        gather::host_load(kernel, arena)
    } else {
        let age_us = gather::age(kernel)?.age_us;
        kernel.sampled_load(place, age_us, settings, arena)
    };
    if let Some(load) = known {
        return Ok((load, kernel.tasks(place, arena).map_err(unreadable)?));
    }
    let (sample, _) = sample(kernel, place, settings, arena)?;
    let tasks = kernel.tasks(place, arena).map_err(unreadable)?;
    Ok((kernel.load(place, &sample, &tasks, settings, arena), tasks))
}

/// When the container started, in seconds since 1970: as much later than the host as its PID 1
/// is younger.
fn btime(host: u64, age: &Age) -> u64 {
    const USER_HZ: u64 = 100;
    host.saturating_add(age.start_ticks / USER_HZ)
}

/// Writes a text into what is left of the arena; nothing is divided from it afterwards.
fn print<'m>(arena: &mut Arena<'m>, render: impl FnOnce(&mut Out)) -> Result<&'m [u8], Failure> {
    arena
        .fill(|room| {
            let mut out = Out::new(room);
            render(&mut out);
            out.finish().map(<[u8]>::len).ok_or(Errno::NO_ROOM)
        })
        .map_err(|e| (Trouble::NoMemory, e))
}

fn unreadable(errno: Errno) -> Failure {
    (Trouble::Unreadable, errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(mask: &[u8], count: u32) -> Vec<u8> {
        let mut mask = mask.to_vec();
        keep_first_cpus(&mut mask, count);
        mask
    }

    #[test]
    fn affinity_keeps_the_first_cpus_of_the_real_mask() {
        assert_eq!(kept(&[0b1111], 2), [0b0011]);
        assert_eq!(kept(&[0b1010], 1), [0b0010]);
        assert_eq!(kept(&[0b1010, 0xff], 3), [0b1010, 0b0001]);
        assert_eq!(kept(&[0xff, 0xff, 0xff], 9), [0xff, 0b0001, 0]);
        assert_eq!(kept(&[0b100], 4), [0b100]);
        assert_eq!(kept(&[], 4), []);
        assert_eq!(kept(&[0, 0, 0x80], 1), [0, 0, 0x80]);
    }
}
