//! From the cgroup's files to the values of a snapshot: which files are read for which value, on
//! v1, v2 and hybrids. What a file says is parsed in [`crate::cgroup`]; how it is read is the
//! [`Kernel`]'s business, so that a directory of fixtures can stand in for it.
#![forbid(unsafe_code)]

use crate::cgroup::{Hierarchy, cpus, membership, mounts, values};
use crate::ledger::{self, Ledger, Sample};
use crate::load::FIXED_1;
use crate::log::{Failure, Trouble};
use crate::settings::Settings;
use crate::snapshot::{
    Age, BlockIo, CpuList, CpuTime, Cpus, Load, Memory, MemoryStat, MemoryText, PerCpu, Quota,
    SeenDevice, Swap, SwapTraffic, Tasks,
};
use crate::sys::Errno;
use crate::sys::memory::Arena;
use crate::text::{Out, cut, decimal, fields, leading_decimal, lines};
use core::ffi::CStr;
use core::num::NonZero;

/// What a snapshot is made from. The live one makes system calls ([`crate::live`]); tests read
/// directories.
pub trait Kernel {
    /// A file that the kernel prints in one piece (all of cgroup's, and most of /proc).
    fn read<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno>;

    /// A file of any length.
    fn read_long<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno>;

    /// What a symbolic link says.
    fn read_link<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno>;

    /// True if there is such a file.
    fn exists(&self, path: &CStr) -> bool;

    /// Microseconds since boot, suspended time included (`CLOCK_BOOTTIME`).
    fn boot_us(&self) -> Result<u64, Errno>;

    /// True if whoever asks has the time since boot from that clock, which nothing touches, and
    /// holds start times against it: then these stay the host's.
    fn holds_against_boot(&self) -> bool {
        false
    }

    /// The container's tasks; how many threads in R and D, how many at all.
    fn tasks(&self, place: &Place, arena: &mut Arena) -> Result<Tasks, Errno>;

    /// Inode of the PID namespace of whoever asks; `None` where it is hidden.
    fn pid_namespace(&self) -> Option<u64> {
        namespace_of(self)
    }

    /// When that namespace's PID 1 started, ticks since boot; `None` where it is hidden.
    fn start_ticks(&self) -> Option<u64> {
        start_of(self)
    }

    /// True if all that `/proc` shows is in the container: then its PID namespace is its own.
    fn is_alone(&self, arena: &mut Arena) -> bool {
        alone(self, arena).unwrap_or(true)
    }

    /// Where the container's files are. The live one remembers it for a second.
    fn place<'m>(&self, arena: &mut Arena<'m>) -> Result<Place<'m>, Errno> {
        locate(self, arena)
    }

    /// Hands out the CPU time accounts with `sample` entered. The live one continues from what was
    /// last said in the container.
    fn account<'m, R>(
        &self,
        place: &Place,
        settings: &Settings,
        sample: &Sample,
        arena: &mut Arena<'m>,
        with: impl FnOnce(&Ledger, &mut Arena<'m>) -> Result<R, Failure>,
    ) -> Result<R, Failure>;

    /// What was swapped out so far, on kernels whose cgroups count only what came back: `pages_in`
    /// so far and `used` now, in pages.
    fn swap_traffic(&self, _place: &Place, pages_in: u64, used: u64) -> SwapTraffic {
        SwapTraffic::default().later(pages_in, 0, used)
    }

    /// What was seen so far of the devices in `io`, this time included.
    fn seen_devices<'m>(
        &self,
        _place: &Place,
        _io: BlockIo,
        _arena: &mut Arena<'m>,
    ) -> Result<&'m [SeenDevice], Errno> {
        Ok(&[])
    }

    /// Bytes in a page: what x86-64 has, unless the kernel at hand says more.
    fn page_size(&self) -> NonZero<u64> {
        const { NonZero::new(4096).unwrap() }
    }

    /// The load averages where a sampler keeps them: then no CPU time needs to be read.
    fn sampled_load(
        &self,
        _place: &Place,
        _age_us: u64,
        _settings: &Settings,
        _arena: &mut Arena,
    ) -> Option<Load> {
        None
    }

    /// The load averages at this moment.
    fn load(
        &self,
        place: &Place,
        sample: &Sample,
        tasks: &Tasks,
        settings: &Settings,
        arena: &mut Arena,
    ) -> Load;
}

/// The controllers that answers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // the names are the kernel's own
pub enum Controller {
    Memory,
    Cpu,
    Cpuacct,
    Cpuset,
    Pids,
    Blkio,
    /// No controller: the pressure files, which every cgroup of v2's tree has.
    Pressure,
}

impl Controller {
    /// All of them, in order.
    pub const ALL: [Controller; 7] = [
        Controller::Memory,
        Controller::Cpu,
        Controller::Cpuacct,
        Controller::Cpuset,
        Controller::Pids,
        Controller::Blkio,
        Controller::Pressure,
    ];

    /// What the controller is called on v1.
    pub const fn name(self) -> &'static [u8] {
        match self {
            Controller::Memory => b"memory",
            Controller::Cpu => b"cpu",
            Controller::Cpuacct => b"cpuacct",
            Controller::Cpuset => b"cpuset",
            Controller::Pids => b"pids",
            Controller::Blkio => b"blkio",
            Controller::Pressure => b"pressure",
        }
    }
}

/// Where the container's cgroup is, for one controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home<'m> {
    /// True if the controller is on the v2 tree.
    pub unified: bool,
    /// The real root of its tree: it counts the whole host.
    pub root: bool,
    /// The directory, without a slash at its end.
    pub directory: &'m [u8],
    /// How many bytes of the directory are the mount point, the highest that can be seen.
    pub top: usize,
}

impl<'m> Home<'m> {
    /// The directory and its ancestors, up to the mount point.
    pub fn levels(self) -> impl Iterator<Item = &'m [u8]> {
        let mut next = Some(self.directory);
        core::iter::from_fn(move || {
            let here = next?;
            next = memchr::memrchr(b'/', here)
                .filter(|slash| *slash >= self.top && here.len() > self.top)
                .and_then(|slash| here.get(..slash));
            Some(here)
        })
    }
}

/// Where the container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'m> {
    /// By [`Controller`].
    pub homes: [Option<Home<'m>>; Controller::ALL.len()],
    /// [`Kernel::pid_namespace`], where it had to be known to find them.
    pub pid_namespace: Option<u64>,
}

impl<'m> Place<'m> {
    /// The container's cgroup for `controller`, if it has one that is not the host's.
    pub fn home(&self, controller: Controller) -> Result<Home<'m>, Failure> {
        self.home_or_root(controller, false)
    }

    /// A cgroup that has all processes of the container: whichever controller's tree has one of the
    /// container's own.
    pub fn home_of_processes(&self) -> Option<Home<'m>> {
        [
            Controller::Pids,
            Controller::Memory,
            Controller::Cpuacct,
            Controller::Cpu,
        ]
        .into_iter()
        .find_map(|controller| self.home(controller).ok())
    }

    /// The same, or with `handed_in` (a limit in the settings makes a container of what has none)
    /// also the host's own.
    pub fn home_or_root(
        &self,
        controller: Controller,
        handed_in: bool,
    ) -> Result<Home<'m>, Failure> {
        let home = self.homes.get(controller as usize).copied().flatten();
        home.filter(|home| handed_in || !home.root)
            .ok_or((Trouble::NoContainer, Errno(0)))
    }
}

/// The file of that name in `directory`.
pub fn read_in<'m, K: Kernel + ?Sized>(
    kernel: &K,
    directory: &[u8],
    file: &[u8],
    arena: &mut Arena<'m>,
) -> Result<&'m [u8], Errno> {
    let path = arena.path(directory, file)?;
    kernel.read(path, arena)
}

/// Inode of the host's own PID namespace: `PROC_PID_INIT_INO` of linux/proc_ns.h.
pub const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Asks `kernel` for [`Kernel::pid_namespace`]: a link that says `pid:[INODE]`.
pub fn namespace_of<K: Kernel + ?Sized>(kernel: &K) -> Option<u64> {
    let mut room = [0; 64];
    let link = kernel
        .read_link(c"/proc/self/ns/pid", &mut Arena::new(&mut room))
        .ok()?;
    decimal(link.strip_prefix(b"pid:[")?.strip_suffix(b"]")?)
}

/// Nanoseconds, which is what the kernel counts in, of a tick of USER_HZ.
const TICK_NS: u64 = 10_000_000;

/// Asks `kernel` for [`Kernel::start_ticks`].
pub fn start_of<K: Kernel + ?Sized>(kernel: &K) -> Option<u64> {
    let mut room = [0; 1024];
    let stat = kernel
        .read(c"/proc/1/stat", &mut Arena::new(&mut room))
        .ok()?;
    // A time namespace can move it to before the boot, and the kernel prints it without its sign.
    start_ticks(stat).filter(|ticks| *ticks < i64::MAX as u64 / TICK_NS)
}

/// Asks `kernel` for [`Kernel::is_alone`], outside of the host's PID namespace: whether that
/// namespace's PID 1 is in the same container.
pub fn alone<K: Kernel + ?Sized>(kernel: &K, arena: &mut Arena) -> Option<bool> {
    let init = kernel.read(c"/proc/1/cgroup", arena).ok()?;
    let own = kernel.read(c"/proc/self/cgroup", arena).ok()?;
    let mine = membership::of_each(own, Controller::ALL.map(Controller::name));
    Some(mine.into_iter().flatten().all(|(hierarchy, mine)| {
        membership::path(init, hierarchy)
            .is_none_or(|its| mine == its || membership::container(mine, its, false) != mine)
    }))
}

/// Whether `kernel` is asked from the host's own PID namespace.
pub fn is_in_initial_pid_namespace<K: Kernel + ?Sized>(kernel: &K) -> bool {
    kernel.pid_namespace() == Some(INITIAL_PID_NAMESPACE)
}

/// Finds the container (NUMBERS section 1).
pub fn locate<'m, K: Kernel + ?Sized>(
    kernel: &K,
    arena: &mut Arena<'m>,
) -> Result<Place<'m>, Errno> {
    let own = kernel.read(c"/proc/self/cgroup", arena)?;
    // No hierarchy of v1 is called pressure: that is found on v2 or nowhere.
    let mine = membership::of_each(own, Controller::ALL.map(Controller::name));
    // The root of the cgroup namespace is the whole container, wherever PID 1 is.
    let named = mine.iter().flatten().any(|(_, path)| *path != b"/");
    let pid_namespace = named.then(|| kernel.pid_namespace()).flatten();
    let initial = pid_namespace == Some(INITIAL_PID_NAMESPACE);
    let pid1 = if named && !initial {
        kernel.read(c"/proc/1/cgroup", arena).unwrap_or(own)
    } else {
        own
    };
    let table = kernel.read_long(c"/proc/self/mountinfo", arena)?;
    let cgroups = mine.map(|found| {
        let (hierarchy, mine) = found?;
        let whole = if own == pid1 {
            mine
        } else {
            membership::path(pid1, hierarchy).unwrap_or(mine)
        };
        Some((hierarchy, membership::container(mine, whole, initial)))
    });
    let mut homes: [Option<Home<'m>>; Controller::ALL.len()] = [None; Controller::ALL.len()];
    let mut unified_home = None;
    let mounts = mounts::find_each(table, cgroups).into_iter().zip(cgroups);
    for ((mount, cgroup), home) in mounts.zip(&mut homes) {
        let (Some(mount), Some((hierarchy, cgroup))) = (mount, cgroup) else {
            continue;
        };
        if hierarchy == Hierarchy::V2 && unified_home.is_some() {
            *home = unified_home;
            continue;
        }
        let room = arena.piece(mount.point.len().saturating_add(cgroup.len()))?;
        let mut directory = Out::new(room);
        mount.locate(cgroup, &mut directory);
        let directory = directory.finish().ok_or(Errno::NO_ROOM)?;
        let top = mounts::unescaped(mount.point).count().min(directory.len());
        let unified = hierarchy == Hierarchy::V2;
        // A file that all cgroups but the real root have (v2), or that only the real root has (v1): a
        // cgroup with a name is not the root.
        let root = if unified {
            !kernel.exists(arena.path(directory, b"cgroup.events")?)
        } else {
            let nameless = cgroup == b"/" || cgroup.starts_with(b"/..");
            nameless && kernel.exists(arena.path(directory, b"release_agent")?)
        };
        *home = Some(Home {
            unified,
            root,
            directory,
            top,
        });
        if unified {
            unified_home = *home;
        }
    }
    Ok(Place {
        homes,
        pid_namespace,
    })
}

/// Field 22 of `/proc/PID/stat`; the second, the name, may hold spaces and parentheses.
pub fn start_ticks(stat: &[u8]) -> Option<u64> {
    let after_name = memchr::memrchr(b')', stat).and_then(|end| stat.get(end.wrapping_add(1)..))?;
    fields(after_name)
        .nth(19)
        .and_then(|field| leading_decimal(field))
        .map(|(ticks, _)| ticks)
}

/// The memory of the container. `host_swaps`: the host has swap at all.
pub fn memory<K: Kernel>(
    kernel: &K,
    place: &Place,
    settings: &Settings,
    host_swaps: bool,
    arena: &mut Arena,
) -> Result<Memory, Failure> {
    let home = place.home_or_root(Controller::Memory, settings.memory.is_some())?;
    let memory = if home.unified {
        memory_v2(kernel, home, settings.memory.is_some(), arena)
    } else {
        memory_v1(kernel, home, host_swaps, arena)
    };
    let mut memory = memory.map_err(|e| (Trouble::Unreadable, e))?;
    memory.limit = memory.limit.min(settings.memory.unwrap_or(u64::MAX));
    Ok(memory)
}

/// What the memory controller counts, and no limit.
pub struct MemoryCounts<'m> {
    /// The counters of `memory.stat`.
    pub stat: MemoryStat,
    /// The same file, for the events in it.
    pub events: MemoryText<'m>,
    /// Bytes in swap; `None` where the kernel does not account swap.
    pub swapped: Option<u64>,
}

/// The counters of the container's memory.
pub fn memory_counts<'m, K: Kernel>(
    kernel: &K,
    place: &Place,
    settings: &Settings,
    arena: &mut Arena<'m>,
) -> Result<MemoryCounts<'m>, Failure> {
    let home = place.home_or_root(Controller::Memory, settings.memory.is_some())?;
    let mut counts = || {
        let mut read = |level: &[u8], file: &[u8]| read_in(kernel, level, file, arena);
        if !home.unified {
            let text = read(home.directory, b"memory.stat")?;
            let counted = values::memory_stat_v1(text).ok_or(Errno::GARBAGE)?;
            return Ok(MemoryCounts {
                stat: counted.stat,
                events: MemoryText::V1(text),
                swapped: counted.swap,
            });
        }
        for level in home.levels() {
            // A level without the controller is charged to the next one above.
            let text = match read(level, b"memory.stat") {
                Err(Errno(libc::ENOENT)) => continue,
                text => text?,
            };
            return Ok(MemoryCounts {
                stat: values::memory_stat(text).ok_or(Errno::GARBAGE)?,
                events: MemoryText::V2(text),
                swapped: read(level, b"memory.swap.current")
                    .ok()
                    .and_then(values::number),
            });
        }
        Err(Errno::MISSING)
    };
    counts().map_err(|e| (Trouble::Unreadable, e))
}

fn memory_v1<K: Kernel>(
    kernel: &K,
    home: Home,
    host_swaps: bool,
    arena: &mut Arena,
) -> Result<Memory, Errno> {
    let mut read = |file: &[u8]| read_in(kernel, home.directory, file, arena);
    // The kernel's own minimum over all ancestors, those that cannot be seen included.
    let stat = values::memory_stat_v1(read(b"memory.stat")?).ok_or(Errno::GARBAGE)?;
    let usage = values::number(read(b"memory.usage_in_bytes")?).ok_or(Errno::GARBAGE)?;
    let swap = match stat.swap {
        None => Swap::Unaccounted,
        Some(used) => {
            let mut limit = values::swap_limit(stat.limit, stat.limit_with_swap);
            // vmscan.c: a cgroup of swappiness 0 is not swapped out by its own limit.
            if host_swaps
                && read(b"memory.swappiness").is_ok_and(|text| values::number(text) == Some(0))
            {
                limit = 0;
            }
            Swap::Counted { limit, used }
        }
    };
    Ok(Memory {
        limit: stat.limit,
        usage,
        swap,
        stat: stat.stat,
    })
}

fn memory_v2<K: Kernel>(
    kernel: &K,
    home: Home,
    handed_in: bool,
    arena: &mut Arena,
) -> Result<Memory, Errno> {
    let mut found: Option<Memory> = None;
    let mut limit = values::NO_LIMIT;
    let mut swap_limit = None::<u64>;
    for level in home.levels() {
        let mut read = |file: &[u8]| read_in(kernel, level, file, arena);
        // A level without the controller is charged to the next one above.
        let max = match read(b"memory.max") {
            Err(Errno::MISSING) if !handed_in => continue,
            // The real root has no limit either, but it counts.
            Err(Errno::MISSING) => values::NO_LIMIT,
            text => values::limit(text?).ok_or(Errno::GARBAGE)?,
        };
        // Above memory.high a container is throttled until it is below: no memory to count on.
        let high = read(b"memory.high")
            .ok()
            .and_then(values::limit)
            .unwrap_or(values::NO_LIMIT);
        limit = limit.min(max).min(high);
        if let Ok(text) = read(b"memory.swap.max") {
            let here = values::limit(text).ok_or(Errno::GARBAGE)?;
            swap_limit = Some(swap_limit.unwrap_or(values::NO_LIMIT).min(here));
        }
        if found.is_none() {
            let stat = match read(b"memory.stat") {
                Err(Errno::MISSING) if handed_in => continue,
                text => values::memory_stat(text?).ok_or(Errno::GARBAGE)?,
            };
            let usage = match read(b"memory.current") {
                Err(Errno::MISSING) => stat.charged(),
                text => values::number(text?).ok_or(Errno::GARBAGE)?,
            };
            let swap = match read(b"memory.swap.current").ok().and_then(values::number) {
                Some(used) => Swap::Counted {
                    limit: values::NO_LIMIT,
                    used,
                },
                None => Swap::Unaccounted,
            };
            found = Some(Memory {
                limit,
                usage,
                swap,
                stat,
            });
        }
    }
    let mut memory = found.ok_or(Errno::MISSING)?;
    memory.limit = limit;
    if let (Swap::Counted { limit, .. }, Some(tightest)) = (&mut memory.swap, swap_limit) {
        *limit = tightest;
    }
    Ok(memory)
}

/// The quota of the cgroup, and the directory of the level that sets it.
type QuotaLevel<'m> = (Quota, &'m [u8]);

/// The CPUs of the container (NUMBERS section 2), and where its quota is set.
pub fn cpus<'m, K: Kernel>(
    kernel: &K,
    place: &Place<'m>,
    settings: &Settings,
    arena: &mut Arena<'m>,
) -> Result<(Cpus<'m>, Option<QuotaLevel<'m>>), Failure> {
    let (cpu, cpuset) = (place.home(Controller::Cpu), place.home(Controller::Cpuset));
    if settings.cpus.is_none() {
        cpu.or(cpuset).or(place.home(Controller::Cpuacct))?;
    }
    let unreadable = |e| (Trouble::Unreadable, e);
    let list = match cpuset.ok().and_then(|home| allowed(kernel, home, arena)) {
        Some(list) => list,
        None => kernel
            .read(c"/sys/devices/system/cpu/online", arena)
            .and_then(|text| CpuList::parse(text).ok_or(Errno::GARBAGE))
            .map_err(unreadable)?,
    };
    let level = cpu.ok().and_then(|home| quota(kernel, home, arena));
    let quota = level.map(|(quota, _)| quota);
    let tightest = cpus::tighter(quota, settings.cpus);
    let count = cpus::count(list.count(), tightest, settings.rounding);
    Ok((Cpus { count, list, quota }, level))
}

/// The CPUs that the cpuset allows.
fn allowed<'m, K: Kernel>(kernel: &K, home: Home, arena: &mut Arena<'m>) -> Option<CpuList<'m>> {
    let files: &[&[u8]] = if home.unified {
        &[b"cpuset.cpus.effective"]
    } else {
        &[b"cpuset.effective_cpus", b"cpuset.cpus"]
    };
    home.levels().find_map(|level| {
        files
            .iter()
            .find_map(|file| CpuList::parse(read_in(kernel, level, file, arena).ok()?))
    })
}

/// The tightest quota over the hierarchy.
fn quota<'m, K: Kernel>(kernel: &K, home: Home<'m>, arena: &mut Arena) -> Option<QuotaLevel<'m>> {
    let mut tightest: Option<QuotaLevel<'m>> = None;
    for level in home.levels() {
        let mut read = |file: &[u8]| read_in(kernel, level, file, arena).ok();
        let here = if home.unified {
            read(b"cpu.max").and_then(cpus::cpu_max)
        } else {
            // Most have none: then the period need not be read.
            read(b"cpu.cfs_quota_us")
                .filter(|quota| quota.first() != Some(&b'-'))
                .and_then(|quota| cpus::cfs(quota, read(b"cpu.cfs_period_us")?))
        };
        if let Some(here) = here {
            let old = tightest.map(|(quota, _)| quota);
            if cpus::tighter(old, Some(here)) != old {
                tightest = Some((here, level));
            }
        }
    }
    tightest
}

/// The cgroup that counts the container's CPU time: with a limit handed in the host's, or none where
/// no cgroups can be seen; then the host's own figures stand for it.
pub fn home_of_cpu_time<'m>(
    place: &Place<'m>,
    settings: &Settings,
) -> Result<Option<Home<'m>>, Failure> {
    let handed_in = settings.cpus.is_some();
    match place.home_or_root(Controller::Cpuacct, handed_in) {
        Err(_) if handed_in => Ok(None),
        home => home.map(Some),
    }
}

/// CPU time of the host, of the first line of its `/proc/stat`.
fn host_cpu_time<K: Kernel>(kernel: &K, arena: &mut Arena) -> Option<CpuTime<'static>> {
    let stat = kernel.read_long(c"/proc/stat", arena).ok()?;
    let mut ticks = fields(lines(stat).next()?.strip_prefix(b"cpu ")?);
    let mut us = [0; 7];
    for us in &mut us {
        *us = decimal(ticks.next()?)?.saturating_mul(ledger::TICK_US);
    }
    let [user_us, nice_us, system_us, _, _, irq_us, softirq_us] = us;
    Some(CpuTime {
        user_us,
        nice_us,
        system_us: system_us.saturating_add(irq_us).saturating_add(softirq_us),
        per_cpu: None,
        throttled_us: 0,
        nr_throttled: 0,
        throttled_at: 0,
    })
}

/// CPU time of the container, and what its quota withheld.
pub fn cpu_time<'m, K: Kernel>(
    kernel: &K,
    place: &Place,
    settings: &Settings,
    cpus: &Cpus,
    level: Option<QuotaLevel>,
    arena: &mut Arena<'m>,
) -> Result<CpuTime<'m>, Failure> {
    let unreadable = |e| (Trouble::Unreadable, e);
    let Some(home) = home_of_cpu_time(place, settings)? else {
        return host_cpu_time(kernel, &mut arena.scratch()).ok_or(unreadable(Errno::GARBAGE));
    };
    let mut read = |level: &[u8], file: &[u8]| read_in(kernel, level, file, arena);
    let mut throttled = None;
    let mut per_cpu = None;
    let busy = if home.unified {
        let stat = values::cpu_stat(read(home.directory, b"cpu.stat").map_err(unreadable)?);
        if level.is_some_and(|(_, directory)| directory == home.directory) {
            throttled = Some(stat);
        }
        stat.busy
    } else {
        if ledger::tells_apart(cpus) {
            let sampled = read(home.directory, b"cpuacct.usage_all").ok();
            let measured = read(home.directory, b"cpuacct.usage_percpu").ok();
            per_cpu = sampled
                .zip(measured)
                .map(|(sampled, measured)| PerCpu { sampled, measured });
        }
        match per_cpu.and_then(PerCpu::sum) {
            Some(busy) => Some(busy),
            None => {
                per_cpu = None;
                let stat = read(home.directory, b"cpuacct.stat").map_err(unreadable)?;
                let usage = read(home.directory, b"cpuacct.usage").map_err(unreadable)?;
                values::cpuacct(usage, stat)
            }
        }
    }
    .ok_or((Trouble::Unreadable, Errno::GARBAGE))?;
    // What was withheld is counted where the quota is set.
    if let (None, Some((_, directory))) = (throttled, level) {
        throttled = read(directory, b"cpu.stat").ok().map(values::cpu_stat);
    }
    // By its number: a directory can be seen under several paths.
    let at = |(_, directory)| {
        let mut levels = place.home(Controller::Cpu).ok()?.levels().zip(1..);
        levels.find_map(|(level, number)| (level == directory).then_some(number))
    };
    Ok(CpuTime {
        user_us: busy.user_us,
        nice_us: busy.nice_us,
        system_us: busy.system_us,
        per_cpu,
        throttled_us: throttled.map_or(0, |t| t.throttled_us),
        nr_throttled: throttled.map_or(0, |t| t.nr_throttled),
        throttled_at: level
            .filter(|_| throttled.is_some())
            .and_then(at)
            .unwrap_or(0),
    })
}

/// How old the container is.
pub fn age<K: Kernel>(kernel: &K) -> Result<Age, Failure> {
    let unreadable = |e| (Trouble::Unreadable, e);
    let start_ticks = kernel.start_ticks().ok_or(unreadable(Errno::MISSING))?;
    let now = kernel.boot_us().map_err(unreadable)?;
    let age_us = now.saturating_sub(start_ticks.saturating_mul(ledger::TICK_US));
    Ok(Age {
        age_us,
        start_ticks,
    })
}

/// What the container read from and wrote to disks; how often, only if `operations` are asked for.
pub fn block_io<'m, K: Kernel>(
    kernel: &K,
    place: &Place,
    operations: bool,
    arena: &mut Arena<'m>,
) -> Result<BlockIo<'m>, Failure> {
    let home = place.home(Controller::Blkio)?;
    let unreadable = |e| (Trouble::Unreadable, e);
    let mut read = |file: &[u8]| read_in(kernel, home.directory, file, arena);
    if home.unified {
        return read(b"io.stat").map(BlockIo::V2).map_err(unreadable);
    }
    let mut whole_tree = |all: &[u8], own: &[u8]| read(all).or_else(|_| read(own));
    let bytes = whole_tree(
        b"blkio.throttle.io_service_bytes_recursive",
        b"blkio.throttle.io_service_bytes",
    );
    let bytes = bytes.map_err(unreadable)?;
    let operations = if operations {
        whole_tree(
            b"blkio.throttle.io_serviced_recursive",
            b"blkio.throttle.io_serviced",
        )
        .map_err(unreadable)?
    } else {
        b""
    };
    let io = BlockIo::V1 {
        bytes,
        operations,
        seen: &[],
    };
    let seen = kernel.seen_devices(place, io, arena);
    Ok(BlockIo::V1 {
        bytes,
        operations,
        seen: seen.map_err(unreadable)?,
    })
}

/// The container's own pressure file, `cpu.pressure` and the like.
pub fn pressure<'m, K: Kernel>(
    kernel: &K,
    place: &Place,
    file: &[u8],
    arena: &mut Arena<'m>,
) -> Result<&'m [u8], Failure> {
    let path = pressure_path(place, file, arena)?;
    kernel
        .read(path, arena)
        .map_err(|e| (Trouble::Unreadable, e))
}

/// Where it is.
pub fn pressure_path<'m>(
    place: &Place,
    file: &[u8],
    arena: &mut Arena<'m>,
) -> Result<&'m CStr, Failure> {
    let home = place.home(Controller::Pressure)?;
    arena
        .path(home.directory, file)
        .map_err(|e| (Trouble::Unreadable, e))
}

/// Tasks charged to the container by the pids controller.
pub fn charged_tasks<K: Kernel + ?Sized>(
    kernel: &K,
    place: &Place,
    arena: &mut Arena,
) -> Option<u64> {
    let home = place.home(Controller::Pids).ok()?;
    home.levels()
        .find_map(|level| values::number(read_in(kernel, level, b"pids.current", arena).ok()?))
}

/// The fourth field of `/proc/loadavg`, `running/total`, as the host has it.
pub fn host_tasks(loadavg: &[u8]) -> Option<(u64, u64)> {
    let (running, total) = cut(fields(loadavg).nth(3)?, b'/')?;
    Some((decimal(running)?, decimal(total)?))
}

/// The averages of the host; what is printed of them is the same once more.
pub fn host_load<K: Kernel>(kernel: &K, arena: &mut Arena) -> Option<Load> {
    let loadavg = kernel.read(c"/proc/loadavg", arena).ok()?;
    let mut load = [0; 3];
    let mut averages = fields(loadavg);
    for load in &mut load {
        let (whole, hundredths) = cut(averages.next()?, b'.')?;
        let hundredths = decimal(whole)?
            .saturating_mul(100)
            .saturating_add(decimal(hundredths)?);
        *load = hundredths.saturating_mul(FIXED_1).saturating_add(50) / 100;
    }
    Some(Load(load))
}
