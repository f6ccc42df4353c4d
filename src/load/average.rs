//! The load average: the kernel's own arithmetic (`kernel/sched/loadavg.c`), and an estimate for
//! periods without samples.
//!
//! Fixed point as in the kernel: FSHIFT is 11, so 2048 is a load of 1.00. A sample is the number of
//! tasks in R and D, taken every 5 s. The kernel takes a sample every 5 s and one tick, so its phase
//! drifts; here a period is exactly 5 s.
//!
//! For a gap without samples, the counts are estimated from two rates over the gap: the CPU time used,
//! and the time in which some task waited for a CPU (PSI, `kernel/sched/psi.c`). CPU time does not show
//! how many more tasks waited. So the estimate uses as many runnable tasks per CPU used as in the last
//! samples. `calc_load_n` then applies the whole gap at once, as the kernel does after its own idle
//! sleep.
#![forbid(unsafe_code)]

use crate::cpu_time::Sample;
use crate::values::{FIXED_1, FSHIFT, Load};

/// The part of a load that remains after 5 s: 1/exp(5 s/1 min), 1/exp(5 s/5 min), 1/exp(5 s/15 min).
pub const EXP: [u64; 3] = [1884, 2014, 2037];
/// Microseconds between samples.
pub const PERIOD_US: u64 = 5_000_000;

/// The most tasks that Linux allows (`PID_MAX_LIMIT`, `include/linux/threads.h`). No load is above it.
pub const MOST_TASKS: u64 = 4 << 20;

/// Applies one sample: `a1 = a0 * e + a * (1 - e)`. Both loads are in fixed point, at most
/// [`MOST_TASKS`].
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

/// Applies `n` samples of the same count at once.
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

/// Counters of the container at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Microseconds since the container's PID 1 started.
    pub age_us: u64,
    /// CPU time of the container, microseconds: user, nice and system.
    pub cpu_us: u64,
    /// Microseconds in which at least one task waited for a CPU (`total` of `some` in PSI's
    /// `cpu.pressure`); 0 if the kernel does not report it.
    pub pressure_us: u64,
    /// How many CPUs the container may run on at once (the cpuset, not the quota). Limits the CPU time
    /// of a gap.
    pub cpus: u64,
}

impl Reading {
    /// Takes from `sample` what the load average needs.
    pub fn of(sample: &Sample<'_>) -> Reading {
        Reading {
            age_us: sample.age_us,
            cpu_us: sample.time.busy_us(),
            pressure_us: sample.time.pressure.map_or(0, |waited| waited.some_us),
            cpus: u64::from(sample.cpus.list.count()),
        }
    }
}

/// The averages of a container without any sample.
pub fn from_start(sample: &Sample<'_>) -> Load {
    Averages::default().extrapolate(&Reading::of(sample)).load
}

/// Tasks that the load average counts, in fixed point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Active {
    /// Tasks in R: running, or waiting for a CPU.
    pub running: u64,
    /// Tasks in D: uninterruptible sleep.
    pub blocked: u64,
}

/// The averages at the last sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Averages {
    /// Age of the container at that sample, microseconds. 0 if there is no sample yet: the estimate
    /// then begins at the start of the container.
    pub last_sample_age_us: u64,
    /// The averages.
    pub load: Load,
    /// The container's CPU time at that sample, microseconds.
    pub cpu_us: u64,
    /// The container's CPU pressure at that sample, microseconds.
    pub pressure_us: u64,
    /// The last count.
    pub active: Active,
    /// One-minute average, fixed point, of the tasks in R. Divided by `used` it is the number of
    /// runnable tasks per CPU used.
    pub running: u64,
    /// One-minute average, fixed point, of the CPUs that the container used.
    pub used: u64,
}

impl Averages {
    /// A task in D is assumed to stay in D for this many periods: a minute.
    const BLOCKED_PERIODS: u64 = 12;
    /// Below a hundredth of a CPU, the ratio of runnable tasks to CPUs used has no meaning.
    const LEAST_USED: u64 = FIXED_1 / 100;

    /// Extrapolates the averages to `now` without a new count. Without an earlier sample
    /// ([`Averages::default`]), assumes that the container was always as busy as its CPU time shows on
    /// average.
    ///
    /// Samples stay on a grid of 5 s: less than one period after the last sample, nothing changes.
    #[must_use]
    pub fn extrapolate(&self, now: &Reading) -> Averages {
        self.bridge_periods(now, self.missed(now))
    }

    /// As [`Averages::extrapolate`], for a result that is stored. The counters are those of the last grid
    /// point, so that the next extrapolation loses nothing of the time since then.
    #[must_use]
    pub fn estimate(&self, now: &Reading) -> Averages {
        let mut estimate = self.extrapolate(now);
        let since_us = now.age_us.saturating_sub(estimate.last_sample_age_us);
        if estimate.last_sample_age_us != self.last_sample_age_us {
            let Rate { used, waited } = self.rate(now);
            let part = |rate: u64| rate.saturating_mul(since_us) / FIXED_1;
            estimate.cpu_us = now.cpu_us.saturating_sub(part(used));
            estimate.pressure_us = now.pressure_us.saturating_sub(part(waited));
        }
        estimate
    }

    /// Applies one sample: `active` tasks are in R or D at `now`. Extrapolates the elapsed periods
    /// before it that have no sample. Changes nothing before the next sample is due.
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

    /// Counts the whole periods since the last sample.
    fn missed(&self, now: &Reading) -> u64 {
        now.age_us.saturating_sub(self.last_sample_age_us) / PERIOD_US
    }

    fn bridge_periods(&self, now: &Reading, periods: u64) -> Averages {
        if periods == 0 {
            return *self;
        }
        let Rate { used, waited } = self.rate(now);
        // As many runnable tasks per CPU used as in the last samples. But at least the tasks that are
        // known to have run or waited, and, unless more are known, no more than were counted.
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

    /// Applies `periods` samples of the same count.
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

    /// Computes how many CPUs the container used on average since the last sample, and how many tasks
    /// are known to have waited. In the time that PSI reports as pressure, at least one task waited.
    fn rate(&self, now: &Reading) -> Rate {
        let gap_us = now.age_us.saturating_sub(self.last_sample_age_us).max(1);
        let used_us = now
            .cpu_us
            .saturating_sub(self.cpu_us)
            .min(now.cpus.max(1).saturating_mul(gap_us));
        let waited_us = now.pressure_us.saturating_sub(self.pressure_us).min(gap_us);
        // Years of CPU time on many CPUs overflow the fixed point. Then whole tasks are precise enough.
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

/// CPUs used and tasks waiting, both in fixed point.
struct Rate {
    used: u64,
    waited: u64,
}
