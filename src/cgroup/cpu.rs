//! Reads CPU limits, CPU time and age (NUMBERS sections 2 and 3).
#![forbid(unsafe_code)]

use crate::cgroup::container::Container;
use crate::cgroup::counters::CpuCounters;
use crate::cgroup::host::host_cpu_time;
use crate::cgroup::kernel::{Kernel, read_in};
use crate::cgroup::locate::{CgroupDir, ContainerCgroups, Controller};
use crate::cgroup::{Version, counters, parse_cpus, v1, v2};
use crate::cpu_time;
use crate::error::{ErrorKind, Failure};
use crate::mem::Arena;
use crate::settings::Settings;
use crate::sys::Errno;
use crate::values::{Age, CpuList, CpuTime, Cpus, Quota};

/// A quota, and the directory of the cgroup that sets it.
type QuotaAndDir<'m> = (Quota, &'m [u8]);

/// Reads the CPUs of the container (NUMBERS section 2). Also returns the tightest quota and the cgroup
/// that sets it.
pub fn cpus<'m, K: Kernel>(
    kernel: &K,
    cgroups: &ContainerCgroups<'m>,
    settings: &Settings,
    arena: &mut Arena<'m>,
) -> Result<(Cpus<'m>, Option<QuotaAndDir<'m>>), Failure> {
    let (cpu, cpuset) = (
        cgroups.dir(Controller::Cpu),
        cgroups.dir(Controller::Cpuset),
    );
    if settings.cpus.is_none() {
        cpu.or(cpuset).or(cgroups.dir(Controller::Cpuacct))?;
    }
    let unreadable = |e| (ErrorKind::Unreadable, e);
    let list = match cpuset.ok().and_then(|dir| allowed(kernel, dir, arena)) {
        Some(list) => list,
        None => kernel
            .read(c"/sys/devices/system/cpu/online", arena)
            .and_then(|text| CpuList::parse(text).ok_or(Errno::MALFORMED))
            .map_err(unreadable)?,
    };
    let of_cgroups = cpu.ok().and_then(|dir| quota(kernel, dir, arena));
    let quota = of_cgroups.map(|(quota, _)| quota);
    let tightest = parse_cpus::tighter(quota, settings.cpus);
    let count = parse_cpus::count(list.count(), tightest, settings.rounding);
    let own = &[];
    let cpus = Cpus {
        count,
        list,
        quota,
        own,
    };
    Ok((cpus, of_cgroups))
}

/// Reads the CPUs that the cpuset allows. `None` if no ancestor has a CPU list.
fn allowed<'m, K: Kernel>(
    kernel: &K,
    dir: CgroupDir,
    arena: &mut Arena<'m>,
) -> Option<CpuList<'m>> {
    let files = match dir.version {
        Version::V1 => v1::ALLOWED_CPUS,
        Version::V2 => v2::ALLOWED_CPUS,
    };
    dir.ancestors().find_map(|directory| {
        files
            .iter()
            .find_map(|file| CpuList::parse(read_in(kernel, directory, file, arena).ok()?))
    })
}

/// Finds the tightest quota of the cgroup and its ancestors.
fn quota<'m, K: Kernel>(
    kernel: &K,
    dir: CgroupDir<'m>,
    arena: &mut Arena,
) -> Option<QuotaAndDir<'m>> {
    let mut tightest: Option<QuotaAndDir<'m>> = None;
    for directory in dir.ancestors() {
        let here = match dir.version {
            Version::V1 => v1::quota(kernel, directory, arena),
            Version::V2 => v2::quota(kernel, directory, arena),
        };
        if let Some(here) = here {
            let old = tightest.map(|(quota, _)| quota);
            if parse_cpus::tighter(old, Some(here)) != old {
                tightest = Some((here, directory));
            }
        }
    }
    tightest
}

/// Finds the cgroup that counts the container's CPU time. If the user set a CPU limit, this may be the
/// host's root cgroup, or `None` where no cgroups are visible. The caller then uses the host's own
/// figures.
pub fn dir_of_cpu_time<'m>(
    cgroups: &ContainerCgroups<'m>,
    settings: &Settings,
) -> Result<Option<CgroupDir<'m>>, Failure> {
    let user_limit = settings.cpus.is_some();
    match cgroups.dir_or_root(Controller::Cpuacct, user_limit) {
        Err(_) if user_limit => Ok(None),
        dir => dir.map(Some),
    }
}

/// Reads the CPU time of the container. Also reads how long it was throttled and waited for CPUs, if
/// `waits` is set or if that needs no additional file.
pub fn cpu_time<'m, K: Kernel>(
    kernel: &K,
    cgroups: &ContainerCgroups,
    settings: &Settings,
    cpus: &Cpus,
    quota: Option<QuotaAndDir>,
    waits: bool,
    arena: &mut Arena<'m>,
) -> Result<CpuTime<'m>, Failure> {
    let unreadable = |e| (ErrorKind::Unreadable, e);
    let Some(dir) = dir_of_cpu_time(cgroups, settings)? else {
        return host_cpu_time(kernel, &mut arena.reborrow()).ok_or(unreadable(Errno::MALFORMED));
    };
    let own_quota = quota.is_some_and(|(_, directory)| directory == dir.directory);
    let counters = match dir.version {
        Version::V1 => v1::cpu_counters(kernel, dir, cpu_time::tells_apart(cpus), arena),
        Version::V2 => v2::cpu_counters(kernel, dir, waits, own_quota, arena),
    };
    let CpuCounters {
        busy,
        per_cpu,
        mut throttled,
        pressure,
    } = counters.map_err(unreadable)?;
    // The kernel counts throttled time in the cgroup that sets the quota.
    if let (None, Some((_, directory)), true) = (throttled, quota, waits) {
        let text = read_in(kernel, directory, b"cpu.stat", arena);
        throttled = text.ok().map(counters::cpu_stat);
    }
    // Report the ancestor as a number: one directory can have several paths.
    let at = |(_, directory)| {
        let mut numbered = cgroups.dir(Controller::Cpu).ok()?.ancestors().zip(1..);
        numbered.find_map(|(ancestor, number)| (ancestor == directory).then_some(number))
    };
    Ok(CpuTime {
        user_us: busy.user_us,
        nice_us: busy.nice_us,
        system_us: busy.system_us,
        per_cpu,
        throttled_us: throttled.map_or(0, |t| t.throttled_us),
        nr_throttled: throttled.map_or(0, |t| t.nr_throttled),
        throttled_at: match throttled {
            None if quota.is_some() && !waits => CpuTime::NOT_READ,
            None => 0,
            Some(_) => quota.and_then(at).unwrap_or(0),
        },
        pressure,
    })
}

/// Reads how old the container is and when it started.
pub fn age<C: Container>(container: &C) -> Result<Age, Failure> {
    let unreadable = |e| (ErrorKind::Unreadable, e);
    let start_ticks = container
        .start_ticks()
        .ok_or(unreadable(Errno::NOT_FOUND))?;
    let now = container.boot_us().map_err(unreadable)?;
    let age_us = now.saturating_sub(start_ticks.saturating_mul(cpu_time::TICK_US));
    Ok(Age {
        age_us,
        start_ticks,
    })
}
