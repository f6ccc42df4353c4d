//! The trait for a container as one of its processes knows it: all that outlives one reading, and what depends on
//! the calling program. The running process caches these values and shares some of them with the container's other
//! processes ([`crate::runtime::container`]). Tests and the tool keep fewer of them.
#![forbid(unsafe_code)]

use crate::cgroup::kernel::{INITIAL_PID_NAMESPACE, Kernel, namespace_of, start_of};
use crate::cgroup::locate::{ContainerCgroups, Controller, locate};
use crate::cgroup::membership;
use crate::cpu_time::{Accounting, Sample};
use crate::error::Failure;
use crate::mem::Arena;
use crate::settings::Settings;
use crate::sys::Errno;
use crate::values::{BlockIo, Load, SeenDevice, SwapTraffic, Tasks};

/// The container as one of its processes knows it: through the kernel, and from earlier readings.
pub trait Container: Kernel {
    /// Finds the container's cgroup directories. The running process caches them for about a second.
    fn cgroups<'m>(&self, arena: &mut Arena<'m>) -> Result<ContainerCgroups<'m>, Errno> {
        locate(self, arena)
    }

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

    /// Counts the container's tasks: threads in R, threads in D, and all threads. `sample` is the
    /// container's CPU time now, if the caller has read it.
    fn tasks(
        &self,
        cgroups: &ContainerCgroups,
        sample: Option<&Sample>,
        settings: &Settings,
        arena: &mut Arena,
    ) -> Result<Tasks, Errno>;

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

/// Reads [`Container::is_alone`] for a caller outside the host's PID namespace: whether PID 1 of its
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
pub fn is_in_initial_pid_namespace<C: Container + ?Sized>(container: &C) -> bool {
    container.pid_namespace() == Some(INITIAL_PID_NAMESPACE)
}
