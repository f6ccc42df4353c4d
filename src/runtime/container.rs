//! The [`Container`] of the running process: it keeps some results between two renderings ([`super::cache`]), and
//! shares a part with the container's other processes ([`crate::shared_state`]).
#![forbid(unsafe_code)]

use crate::cgroup::container::{self, Container};
use crate::cgroup::kernel::{self, Kernel};
use crate::cgroup::locate::{ContainerCgroups, Controller};
use crate::cgroup::{cpu, locate};
use crate::cpu_time::{Accounting, Checksum, Sample};
use crate::error::{ErrorKind, Failure};
use crate::load::average;
use crate::load::tasks::{self, Cost, Known};
use crate::mem::Arena;
#[cfg(feature = "preload")]
use crate::runtime::cache;
use crate::runtime::cache::{
    CachedCgroups, CachedSwap, CachedUse, CachedWaits, Membership, memory, remembered,
};
use crate::runtime::live::Live;
use crate::sampler::reader;
use crate::settings::Settings;
use crate::shared_state::{self, Store};
use crate::sys::{self, Errno};
use crate::values::FIXED_1;
use crate::values::{BlockIo, Load, SeenDevice, SwapTraffic, Tasks};
use core::ffi::CStr;
#[cfg(feature = "preload")]
use core::sync::atomic::{AtomicU8, Ordering};

impl Container for Live {
    fn cgroups<'m>(&self, arena: &mut Arena<'m>) -> Result<ContainerCgroups<'m>, Errno> {
        let now_us = sys::clock::clock_us(libc::CLOCK_MONOTONIC_COARSE)?;
        let Some(mut last) = memory().ok().and_then(|m| m.cgroups.take()) else {
            return locate::locate(self, arena);
        };
        if last.found_us != 0 && now_us.wrapping_sub(last.found_us) <= CachedCgroups::VALID_US {
            return last.recall(arena);
        }
        // Skip the revalidation data on the first look-up: many processes look up only once.
        let again = last.found_us != 0;
        let membership = again
            .then(|| membership(self, &mut arena.reborrow()))
            .transpose()?;
        if let Some(now) = membership
            && last.membership == now
            && last.directories == last.numbers(device_and_inode)
        {
            last.found_us = now_us;
            return last.recall(arena);
        }
        // Keep the cached start of PID 1: a process stays in its PID namespace, but may no longer be
        // allowed to see PID 1. Compare the namespace first, because a process that shares this memory
        // may be in another one.
        let (namespace, start_ticks) = (last.pid_namespace, last.start_ticks);
        last.remember(now_us, &locate::locate(self, &mut arena.reborrow())?);
        if again && kernel::namespace_of(self) == Some(namespace) {
            (last.pid_namespace, last.start_ticks) = (namespace, start_ticks);
        }
        if let Some(now) = membership {
            last.membership = now;
            last.directories = last.numbers(device_and_inode);
        }
        if last.found_us == 0 {
            // The paths do not fit into the cache, so they are looked up each time.
            return locate::locate(self, arena);
        }
        last.recall(arena)
    }

    fn pid_namespace(&self) -> Option<u64> {
        remembered(
            |last| &mut last.pid_namespace,
            || kernel::namespace_of(self),
        )
    }

    fn start_ticks(&self) -> Option<u64> {
        remembered(|last| &mut last.start_ticks, || kernel::start_of(self))
    }

    fn is_alone(&self, arena: &mut Arena) -> bool {
        let read = || container::alone(self, arena).map(u64::from);
        remembered(|last| &mut last.alone, read) != Some(0)
    }

    /// True for programs with procps 4.0.4 or later, whose libproc2 calls `clock_gettime`. The result
    /// is cached because it does not change.
    #[cfg(feature = "preload")]
    fn holds_against_boot(&self) -> bool {
        const NO: u8 = 1;
        const YES: u8 = 2;
        static KNOWN: AtomicU8 = AtomicU8::new(0);
        let mut known = KNOWN.load(Ordering::Relaxed);
        if known == 0 {
            let refers = sys::link::refers(b"libproc2.so", c"clock_gettime");
            known = if refers { YES } else { NO };
            KNOWN.store(known, Ordering::Relaxed);
        }
        known == YES
    }

    #[cfg(feature = "preload")]
    fn watches_cpus(&self) -> bool {
        cache::watches_cpus()
    }

    fn tasks(
        &self,
        cgroups: &ContainerCgroups,
        sample: Option<&Sample>,
        settings: &Settings,
        arena: &mut Arena,
    ) -> Result<Tasks, Errno> {
        let mut known = |arena: &mut Arena| {
            let age_us = cpu::age(self).map_or(0, |age| age.age_us);
            let tracked = store(self, cgroups, settings, arena)
                .ok()
                .and_then(|store| store.tracked(age_us));
            tracked.map_or_else(|| Known::Used(used_lately(cgroups, sample)), Known::Tracked)
        };
        tasks::count(self, b"", cgroups, Cost::Flat(&mut known), arena)
    }

    fn account<'m, R>(
        &self,
        cgroups: &ContainerCgroups,
        settings: &Settings,
        sample: &Sample,
        arena: &mut Arena<'m>,
        with: impl FnOnce(&Accounting, &mut Arena<'m>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let store = store(self, cgroups, settings, arena);
        let no_memory = |e| (ErrorKind::NoMemory, e);
        let accounting = arena.zeroed::<Accounting>().map_err(no_memory)?;
        let key = key(settings);
        match memory() {
            Ok(memory) => memory
                .accounts
                .continue_with(
                    store.ok().as_ref(),
                    key,
                    sample,
                    accounting,
                    arena.reborrow(),
                )
                .map_err(no_memory)?,
            Err(_) => accounting.advance(sample),
        }
        with(accounting, arena)
    }

    fn waits_are_due(&self, cgroups: &ContainerCgroups) -> bool {
        let now_us = sys::clock::clock_us(libc::CLOCK_MONOTONIC_COARSE).unwrap_or(0);
        let Some(mut last) = memory().ok().and_then(|m| m.waits.take()) else {
            return true;
        };
        let last = last.of(number_of(cgroups, Controller::Cpu));
        let due = last.read_us == 0 || now_us.wrapping_sub(last.read_us) >= CachedWaits::VALID_US;
        if due {
            last.read_us = now_us;
        }
        due
    }

    fn swap_traffic(&self, cgroups: &ContainerCgroups, pages_in: u64, used: u64) -> SwapTraffic {
        let Some(mut last) = memory().ok().and_then(|m| m.swap.take()) else {
            return SwapTraffic::default().later(pages_in, 0, used);
        };
        let last = last.of(number_of(cgroups, Controller::Memory));
        let traffic = last.traffic.later(pages_in, last.used, used);
        *last = CachedSwap { traffic, used };
        traffic
    }

    fn seen_devices<'m>(
        &self,
        cgroups: &ContainerCgroups,
        io: BlockIo,
        arena: &mut Arena<'m>,
    ) -> Result<&'m [SeenDevice], Errno> {
        let Some(mut last) = memory().ok().and_then(|m| m.devices.take_soon()) else {
            return Ok(&[]);
        };
        let devices = last.of(number_of(cgroups, Controller::Blkio));
        io.remember(devices);
        arena.keep(*devices).map(|devices| &devices[..])
    }

    fn sampled_load(
        &self,
        cgroups: &ContainerCgroups,
        age_us: u64,
        settings: &Settings,
        arena: &mut Arena,
    ) -> Option<Load> {
        reader::live_averages(&store(self, cgroups, settings, arena).ok()?, age_us)
    }

    fn load(
        &self,
        cgroups: &ContainerCgroups,
        sample: &Sample,
        settings: &Settings,
        arena: &mut Arena,
    ) -> Load {
        let Ok(store) = store(self, cgroups, settings, arena) else {
            return average::from_start(sample);
        };
        let start = || {
            let _ = start_sampler(settings);
        };
        reader::load(&store, sample, || may_start(settings, cgroups), start)
    }
}

fn device_and_inode(path: &CStr) -> [u64; 2] {
    sys::status_of(path).map_or([0; 2], |status| [status.st_dev, status.st_ino])
}

fn membership(live: &Live, arena: &mut Arena) -> Result<Membership, Errno> {
    let mut sum = |path| live.read(path, arena).map(Checksum::of);
    Ok(Membership {
        process: sys::process_id(),
        own: sum(c"/proc/self/cgroup")?,
        of_init: sum(c"/proc/1/cgroup").unwrap_or(0),
    })
}

/// The shared state of the container with these `cgroups`.
fn store<'s>(
    live: &Live,
    cgroups: &ContainerCgroups,
    settings: &Settings<'s>,
    arena: &mut Arena,
) -> Result<Store<'s>, Errno> {
    let last = || memory().ok().and_then(|m| m.cgroups.take());
    let known = last().and_then(|last| last.identity(cgroups));
    let identity = match known {
        Some(identity) => identity,
        None => {
            let user_limit = settings.cpus.is_some();
            let identity =
                shared_state::identify(live, cgroups, user_limit, &mut arena.reborrow())?;
            if let Some(mut last) = last().filter(|last| last.is_of(cgroups)) {
                (last.identified, last.identity) = (true, identity);
            }
            identity
        }
    };
    Ok(Store {
        directory: settings.state,
        identity,
        signals_are_blocked: live.signals_are_blocked,
    })
}

/// CPUs that the container used recently, fixed point: between two readings of this process that are at
/// least half a second apart, or else since the container started.
fn used_lately(cgroups: &ContainerCgroups, sample: Option<&Sample>) -> u64 {
    const APART_US: u64 = 500_000;
    let last = memory().ok().and_then(|m| m.used.take());
    let (Some(sample), Some(mut last)) = (sample, last) else {
        return 0;
    };
    let cpu_us = sample.time.busy_us();
    let last = last.of(number_of(cgroups, Controller::Cpuacct));
    if last.cpu_us > cpu_us {
        *last = CachedUse::default();
    }
    let passed_us = sample.age_us.saturating_sub(last.age_us);
    if passed_us >= APART_US {
        let used_us = cpu_us.saturating_sub(last.cpu_us);
        let most = u64::from(sample.cpus.list.count()).saturating_mul(FIXED_1);
        last.used = (used_us.saturating_mul(FIXED_1) / passed_us.max(1)).min(most);
        (last.age_us, last.cpu_us) = (sample.age_us, cpu_us);
    }
    last.used
}

/// A number for the settings that change the accounting. Accountings with different numbers are not
/// compared.
fn key(settings: &Settings) -> u64 {
    let quota_us = settings.cpus.map_or(0, |quota| quota.quota_us);
    quota_us
        .wrapping_mul(4)
        .wrapping_add(settings.rounding as u64)
}

/// A number for the container's cgroup. Counters of another cgroup cannot be compared with cached ones.
fn number_of(cgroups: &ContainerCgroups, controller: Controller) -> u64 {
    let dir = cgroups.dirs.get(controller as usize).copied().flatten();
    dir.map_or(0, |dir| Checksum::of(dir.directory))
}

/// Only the file of the library can be executed as a sampler. The tool never starts one.
#[cfg(feature = "preload")]
use crate::sampler::launch::{may_start, start_sampler};

#[cfg(not(feature = "preload"))]
fn may_start(_: &Settings, _: &ContainerCgroups) -> bool {
    false
}

#[cfg(not(feature = "preload"))]
fn start_sampler(_: &Settings) -> Result<(), Errno> {
    Ok(())
}
