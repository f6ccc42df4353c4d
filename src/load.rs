//! The load average: the kernel's own arithmetic (`kernel/sched/loadavg.c`), and what stands in
//! for samples that nobody took.
//!
//! Fixed point as in the kernel: FSHIFT is 11, so 2048 is a load of 1.00. A sample is the number
//! of tasks in R and D, taken every 5 s. The kernel takes one every 5 s and one tick, so that
//! its own phase wanders; here a period is 5 s exactly.
//!
//! Where a sampler was missing, the rate of the gap stands in for its counts: CPU time used, and
//! time in which some task waited for a CPU (PSI, `kernel/sched/psi.c`), by the length of the gap.
//! How many more waited, CPU time cannot tell: as many, for the CPU time used, as when somebody
//! counted last. The gap is then caught up with as the kernel does after its own idle sleep
//! (`calc_load_n`).
#![forbid(unsafe_code)]

use crate::ledger::Sample;
use crate::snapshot::{CpuTime, Load};

/// Fixed point: bits behind the point, and 1.00 (`include/linux/sched/loadavg.h`).
pub const FSHIFT: u32 = 11;
/// A load of 1.00.
pub const FIXED_1: u64 = 1 << FSHIFT;
/// What is left of a load after 5 s: 1/exp(5 s/1 min), 1/exp(5 s/5 min), 1/exp(5 s/15 min).
pub const EXP: [u64; 3] = [1884, 2014, 2037];
/// Microseconds between samples.
pub const PERIOD_US: u64 = 5_000_000;

/// More tasks than there can be (`PID_MAX_LIMIT`, `include/linux/threads.h`): no load is above it.
pub const MOST_TASKS: u64 = 4 << 20;

/// `a1 = a0 * e + a * (1 - e)`: one sample. Both loads in fixed point, below [`MOST_TASKS`].
fn calc_load(load: u64, exp: u64, active: u64) -> u64 {
    let mut new = load
        .saturating_mul(exp)
        .saturating_add(active.saturating_mul(FIXED_1.saturating_sub(exp)));
    if active >= load {
        new = new.saturating_add(FIXED_1 - 1);
    }
    new / FIXED_1
}

/// `x` to the power of `n`, in fixed point, rounded at each step as the kernel does.
fn fixed_power_int(mut x: u64, mut n: u64) -> u64 {
    let rounded = |product: u64| product.saturating_add(1 << (FSHIFT - 1)) >> FSHIFT;
    let mut result = FIXED_1;
    while n > 0 {
        if n & 1 == 1 {
            result = rounded(result.saturating_mul(x));
        }
        n >>= 1;
        if n > 0 {
            x = rounded(x.saturating_mul(x));
        }
    }
    result
}

/// `n` samples of the same count.
fn calc_load_n(load: u64, exp: u64, active: u64, n: u64) -> u64 {
    calc_load(load, fixed_power_int(exp, n), active)
}

impl Load {
    /// The three averages after `n` samples of `active` (fixed point) running tasks.
    pub fn after(self, active: u64, n: u64) -> Load {
        let most = MOST_TASKS << FSHIFT;
        let [one, five, fifteen] = self.0.map(|load| load.min(most));
        let [e1, e5, e15] = EXP;
        let active = active.min(most);
        let step = |load, exp| match n {
            0 => load,
            1 => calc_load(load, exp, active),
            _ => calc_load_n(load, exp, active, n),
        };
        Load([step(one, e1), step(five, e5), step(fifteen, e15)])
    }
}

/// What the kernel counts for the container at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Microseconds since the container's PID 1 started.
    pub age_us: u64,
    /// CPU time of the container, microseconds: user, nice and system.
    pub cpu_us: u64,
    /// Microseconds in which at least one task waited for a CPU (`total` of `some` in PSI's
    /// `cpu.pressure`); 0 where the kernel does not tell.
    pub pressure_us: u64,
    /// How many CPUs it may run on at once (the cpuset, not the quota). Bounds what a gap can have
    /// held.
    pub cpus: u64,
}

impl Reading {
    /// The part of `sample` that load needs, beside the CPU pressure of the same moment.
    pub fn of(sample: &Sample<'_>, pressure_us: u64) -> Reading {
        let CpuTime {
            user_us,
            nice_us,
            system_us,
            ..
        } = sample.time;
        Reading {
            age_us: sample.age_us,
            cpu_us: user_us.saturating_add(nice_us).saturating_add(system_us),
            pressure_us,
            cpus: u64::from(sample.cpus.list.count()),
        }
    }
}

/// The averages of a container that nobody ever sampled and whose pressure is not known.
pub fn from_start(sample: &Sample<'_>) -> Load {
    Averages::default().bridge(&Reading::of(sample, 0)).load
}

/// Tasks that count for the load, fixed point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Active {
    /// In R: running, or waiting for a CPU.
    pub running: u64,
    /// In D: uninterruptible sleep.
    pub blocked: u64,
}

/// The averages at the last sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Averages {
    /// Age of the container at that sample, microseconds. 0: none was taken, and all is to be
    /// bridged from the container's start.
    pub last_sample_age_us: u64,
    /// The averages.
    pub load: Load,
    /// The container's CPU time then, microseconds.
    pub cpu_us: u64,
    /// The container's CPU pressure then, microseconds.
    pub pressure_us: u64,
    /// What was counted last.
    pub active: Active,
    /// Averages over a minute, like the first of the three: of the tasks in R, and of the CPUs
    /// that were used. Fixed point. Together they say how many waited for each that ran.
    pub running: u64,
    /// See `running`.
    pub used: u64,
}

impl Averages {
    /// For so many periods a task in D is taken to be still there: a minute.
    const BLOCKED_PERIODS: u64 = 12;
    /// Below a hundredth of a CPU nothing can be said of how many wait for it.
    const LEAST_USED: u64 = FIXED_1 / 100;

    /// The averages at `now`, if nobody has counted since. Without an earlier sample
    /// ([`Averages::default`]): as if the container had been as busy all its life as on average.
    ///
    /// Samples stay on their grid of 5 s: less than one period after the last, nothing changes.
    #[must_use]
    pub fn bridge(&self, now: &Reading) -> Averages {
        self.bridge_periods(now, self.missed(now))
    }

    /// One sample: `active` tasks are in R or D at `now`. The periods before it that nobody
    /// counted are bridged; before the next one is due, nothing changes.
    #[must_use]
    pub fn sample(&self, now: &Reading, active: Active) -> Averages {
        let Some(before) = self.missed(now).checked_sub(1) else {
            return *self;
        };
        let Rate { used, .. } = self.rate(now);
        self.bridge_periods(now, before).after(now, active, used, 1)
    }

    /// When the next sample is due: age of the container in microseconds.
    pub fn due_us(&self) -> u64 {
        self.last_sample_age_us.saturating_add(PERIOD_US)
    }

    /// Whole periods since the last sample.
    fn missed(&self, now: &Reading) -> u64 {
        now.age_us.saturating_sub(self.last_sample_age_us) / PERIOD_US
    }

    fn bridge_periods(&self, now: &Reading, periods: u64) -> Averages {
        if periods == 0 {
            return *self;
        }
        let Rate { used, waited } = self.rate(now);
        // For each CPU that was used so many tasks as when they were counted; but no fewer than
        // are known to have been there, and not more than there were.
        let crowd = if self.used < Self::LEAST_USED {
            0
        } else {
            used.saturating_mul(self.running) / self.used.max(1)
        };
        let known = used.saturating_add(waited);
        let running = crowd.min(self.running.max(self.active.running)).max(known);
        let stays = periods <= Self::BLOCKED_PERIODS;
        let blocked = if stays { self.active.blocked } else { 0 };
        self.after(now, Active { running, blocked }, used, periods)
    }

    /// The averages after `periods` of the same.
    fn after(&self, now: &Reading, active: Active, used: u64, periods: u64) -> Averages {
        let one_minute = |load, rate| {
            let Load([one, ..]) = Load([load, 0, 0]).after(rate, periods);
            one
        };
        Averages {
            last_sample_age_us: self
                .last_sample_age_us
                .saturating_add(periods.saturating_mul(PERIOD_US)),
            load: self
                .load
                .after(active.running.saturating_add(active.blocked), periods),
            cpu_us: now.cpu_us,
            pressure_us: now.pressure_us,
            active,
            running: one_minute(self.running, active.running),
            used: one_minute(self.used, used),
        }
    }

    /// How many CPUs were used on average since the last sample, and how many tasks are known to
    /// have waited: in the time that PSI calls pressure at least one.
    fn rate(&self, now: &Reading) -> Rate {
        let gap_us = now.age_us.saturating_sub(self.last_sample_age_us).max(1);
        let used_us = now
            .cpu_us
            .saturating_sub(self.cpu_us)
            .min(now.cpus.max(1).saturating_mul(gap_us));
        let waited_us = now.pressure_us.saturating_sub(self.pressure_us).min(gap_us);
        // Years of many CPUs do not fit with the fixed point's bits: then whole tasks will do.
        let fixed = |us: u64| match us.checked_mul(FIXED_1) {
            Some(fixed) => fixed / gap_us,
            None => (us / gap_us).saturating_mul(FIXED_1),
        };
        Rate {
            used: fixed(used_us),
            waited: fixed(waited_us),
        }
    }
}

/// Fixed point.
struct Rate {
    used: u64,
    waited: u64,
}
