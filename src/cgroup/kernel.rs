//! The trait through which everything above reads the kernel. The running process implements the trait
//! with system calls ([`crate::runtime::live`]); tests implement it with a directory of recorded files.
#![forbid(unsafe_code)]

use crate::cgroup::locate::{ContainerCgroups, Controller, locate};
use crate::cgroup::membership;
use crate::cpu_time::{Accounting, Sample};
use crate::error::Failure;
use crate::mem::Arena;
use crate::settings::Settings;
use crate::sys::Errno;
use crate::text::{decimal, leading_decimal, stat_fields};
use crate::values::{BlockIo, Load, SeenDevice, SwapTraffic, Tasks};
use core::ffi::CStr;
use core::num::NonZero;

/// The source of all values. The running process uses system calls ([`crate::runtime::live`]); tests
/// read directories.
pub trait Kernel {
    /// Reads a file that the kernel prints in one piece (all cgroup files, and most of /proc).
    fn read<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno>;

    /// Reads a file of any length.
    fn read_long<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno>;

    /// Reads the target of a symbolic link.
    fn read_link<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno>;

    /// True if the file exists.
    fn exists(&self, path: &CStr) -> bool;

    /// Microseconds since boot, suspended time included (`CLOCK_BOOTTIME`).
    fn boot_us(&self) -> Result<u64, Errno>;

    /// True if the calling program reads the time since boot from `CLOCK_BOOTTIME`, which the library
    /// does not change, and compares start times with it. Start times and the boot time then stay the
    /// host's.
    fn holds_against_boot(&self) -> bool {
        false
    }

    /// True if the caller watches CPUs through the kernel (it has called `bpf` or `perf_event_open`, or listed
    /// the kernel's event sources).
    fn watches_cpus(&self) -> bool {
        false
    }

    /// The affinity mask of the calling thread, in the kernel's layout; empty if there is no such thread.
    fn own_cpus<'m>(&self, _arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        Ok(&[])
    }

    /// Counts the container's tasks: threads in R, threads in D, and all threads. `sample` is the
    /// container's CPU time now, if the caller has read it.
    fn tasks(
        &self,
        cgroups: &ContainerCgroups,
        sample: Option<&Sample>,
        settings: &Settings,
        arena: &mut Arena,
    ) -> Result<Tasks, Errno>;

    /// Inode of the caller's PID namespace; `None` if the caller may not see it.
    fn pid_namespace(&self) -> Option<u64> {
        namespace_of(self)
    }

    /// When PID 1 of that namespace started, in ticks since boot; `None` if the caller may not see it.
    fn start_ticks(&self) -> Option<u64> {
        start_of(self)
    }

    /// True if every process that `/proc` shows is in the container: the container then has a PID
    /// namespace of its own.
    fn is_alone(&self, arena: &mut Arena) -> bool {
        alone(self, arena).unwrap_or(true)
    }

    /// Finds the container's cgroup directories. The running process caches them for about a second.
    fn cgroups<'m>(&self, arena: &mut Arena<'m>) -> Result<ContainerCgroups<'m>, Errno> {
        locate(self, arena)
    }

    /// Adds `sample` to the CPU-time accounting and passes the result to `with`. The running process
    /// continues from what processes of the container last reported.
    fn account<'m, R>(
        &self,
        cgroups: &ContainerCgroups,
        settings: &Settings,
        sample: &Sample,
        arena: &mut Arena<'m>,
        with: impl FnOnce(&Accounting, &mut Arena<'m>) -> Result<R, Failure>,
    ) -> Result<R, Failure>;

    /// False if the caller read so recently how long the container was throttled and waited for CPUs
    /// that it need not read that again.
    fn waits_are_due(&self, _cgroups: &ContainerCgroups) -> bool {
        true
    }

    /// The pages swapped in and out so far, for kernels whose cgroups count only the pages that came
    /// back: `pages_in` so far and `used` now, in pages.
    fn swap_traffic(&self, _cgroups: &ContainerCgroups, pages_in: u64, used: u64) -> SwapTraffic {
        SwapTraffic::default().later(pages_in, 0, used)
    }

    /// The counters seen so far of the devices in `io`, including this reading.
    fn seen_devices<'m>(
        &self,
        _cgroups: &ContainerCgroups,
        _io: BlockIo,
        _arena: &mut Arena<'m>,
    ) -> Result<&'m [SeenDevice], Errno> {
        Ok(&[])
    }

    /// Bytes in a page. The default is that of x86-64; an implementation may report another size.
    fn page_size(&self) -> NonZero<u64> {
        const { NonZero::new(4096).unwrap() }
    }

    /// The load averages of a live sampler. With them the caller need not read CPU time.
    fn sampled_load(
        &self,
        _cgroups: &ContainerCgroups,
        _age_us: u64,
        _settings: &Settings,
        _arena: &mut Arena,
    ) -> Option<Load> {
        None
    }

    /// Computes the load averages at this moment.
    fn load(
        &self,
        cgroups: &ContainerCgroups,
        sample: &Sample,
        settings: &Settings,
        arena: &mut Arena,
    ) -> Load;
}

/// Reads the file `file` in `directory`.
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

/// Reads [`Kernel::pid_namespace`] from a link with the target `pid:[INODE]`.
pub fn namespace_of<K: Kernel + ?Sized>(kernel: &K) -> Option<u64> {
    let mut buffer = [0; 64];
    let link = kernel
        .read_link(c"/proc/self/ns/pid", &mut Arena::new(&mut buffer))
        .ok()?;
    decimal(link.strip_prefix(b"pid:[")?.strip_suffix(b"]")?)
}

/// Nanoseconds in a tick of USER_HZ. The kernel counts start times in nanoseconds.
const TICK_NS: u64 = 10_000_000;

/// Reads [`Kernel::start_ticks`] from `/proc/1/stat`.
pub fn start_of<K: Kernel + ?Sized>(kernel: &K) -> Option<u64> {
    let mut buffer = [0; 1024];
    let stat = kernel
        .read(c"/proc/1/stat", &mut Arena::new(&mut buffer))
        .ok()?;
    // In a time namespace PID 1 can start before the boot. The kernel prints that negative time as a
    // large unsigned number: ignore it.
    start_ticks(stat).filter(|ticks| *ticks < i64::MAX as u64 / TICK_NS)
}

/// Reads [`Kernel::is_alone`] for a caller outside the host's PID namespace: whether PID 1 of its
/// namespace is in the same container.
pub fn alone<K: Kernel + ?Sized>(kernel: &K, arena: &mut Arena) -> Option<bool> {
    let init = kernel.read(c"/proc/1/cgroup", arena).ok()?;
    let own = kernel.read(c"/proc/self/cgroup", arena).ok()?;
    let mine = membership::of_each(own, Controller::ALL.map(Controller::name));
    Some(mine.into_iter().flatten().all(|(hierarchy, mine)| {
        membership::path(init, hierarchy)
            .is_none_or(|its| mine == its || membership::container(mine, its, false) != mine)
    }))
}

/// True if the caller is in the host's own PID namespace.
pub fn is_in_initial_pid_namespace<K: Kernel + ?Sized>(kernel: &K) -> bool {
    kernel.pid_namespace() == Some(INITIAL_PID_NAMESPACE)
}

/// Parses field 22 of `/proc/PID/stat`, the start time. Field 2, the name, may contain spaces and
/// parentheses.
pub fn start_ticks(stat: &[u8]) -> Option<u64> {
    stat_fields(stat)?
        .nth(19)
        .and_then(|field| leading_decimal(field))
        .map(|(ticks, _)| ticks)
}
