//! Figures of the host, for containers without a cgroup that counts them.
#![forbid(unsafe_code)]

use crate::cgroup::kernel::Kernel;
use crate::cpu_time;
use crate::mem::Arena;
use crate::text::{cut, decimal, fields, lines};
use crate::values::{CpuTime, FIXED_1, Load};

/// CPU time of the host, from the first line of its `/proc/stat`.
pub fn host_cpu_time<K: Kernel>(kernel: &K, arena: &mut Arena) -> Option<CpuTime<'static>> {
    let stat = kernel.read_long(c"/proc/stat", arena).ok()?;
    let mut ticks = fields(lines(stat).next()?.strip_prefix(b"cpu ")?);
    let mut us = [0; 7];
    for us in &mut us {
        *us = decimal(ticks.next()?)?.saturating_mul(cpu_time::TICK_US);
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
        pressure: None,
    })
}

/// The fourth field of `/proc/loadavg`, `running/total`, as the host has it.
pub fn host_tasks(loadavg: &[u8]) -> Option<(u64, u64)> {
    let (running, total) = cut(fields(loadavg).nth(3)?, b'/')?;
    Some((decimal(running)?, decimal(total)?))
}

/// The host's load averages, rounded so that they print as the host prints them.
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
