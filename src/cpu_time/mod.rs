//! The arithmetic of `/proc/stat`: what the container's CPUs have done since it started, as the time of
//! `n` CPUs. Each tick of each CPU is user, nice, system, idle or steal.
//!
//! The kernel reports totals that do not depend on `n`: CPU time (`kernel/sched/cpuacct.c`,
//! `kernel/cgroup/rstat.c`) and throttled time (`kernel/sched/fair.c`). An [`Accounting`] turns one reading
//! of them into rows ([`Accounting::first`]), and later readings into rows that continue these
//! ([`Accounting::advance`]):
//!
//! - no field of any row ever decreases, as long as the number of CPUs is at most [`MOST_ROWS`];
//! - every row grows by exactly the ticks that passed, so the sum over the rows is `n` × time;
//! - counters that only the whole machine has (interrupts, context switches) begin at the start of the
//!   container, see [`HostCounts`];
//! - time in which neighbours used the container's CPUs is steal, see [`Accounting::contended`];
//! - CPU time that does not fit into the ticks that passed (a burst inside one quota period, the
//!   kernel's own late accounting) is carried over and shown later, in place of idle time.
//!
//! Units: microseconds in, USER_HZ ticks of 10 ms out. The accounting is a few KiB of integers. Each process
//! caches it, and the container's shared state holds it in the format of [`Accounting::write`].
#![forbid(unsafe_code)]

mod checksum;
pub mod format;

pub(crate) use checksum::Checksum;

use core::num::NonZero;

use crate::values::{Busy, CpuTime, Cpus, Quota};

/// Up to this many CPUs, each CPU has its own row. Above it, the totals are spread evenly.
pub const MOST_ROWS: usize = 64;

/// Microseconds in a tick of USER_HZ (`include/asm-generic/param.h`: 100 per second).
pub const TICK_US: u64 = 10_000;

/// The number of rows for this many CPUs: a single row for all CPUs above [`MOST_ROWS`].
const fn row_count(cpus: u64) -> usize {
    if cpus > MOST_ROWS as u64 {
        1
    } else {
        cpus as usize
    }
}

/// The shortest time over which waiting becomes steal, microseconds. The kernel counts CPU time in steps
/// of up to 10 ms for each CPU, and throttled time when the quota's period ends.
const CONTENDED_US: u64 = 500_000;

/// A reading may be this much older than the last one, in microseconds: its process was overtaken by
/// another. An even older reading comes from another container, and the accounting starts anew.
pub const OVERTAKEN_US: u64 = 10_000_000;

/// True if each CPU can show its own counters: the container shows every CPU of the cpuset, and each
/// CPU has a row.
pub fn tells_apart(cpus: &Cpus<'_>) -> bool {
    cpus.count == cpus.list.count() && cpus.count as usize <= MOST_ROWS
}

/// One reading of the container.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'m> {
    /// Microseconds since the container's PID 1 started.
    pub age_us: u64,
    /// The container's CPUs and quota.
    pub cpus: Cpus<'m>,
    /// Its CPU time.
    pub time: CpuTime<'m>,
    /// Counters of the whole machine, if they were read.
    pub host: Option<HostCounts>,
}

/// Counters of the whole machine since it booted. Readers divide them by the container's age
/// (`vmstat`'s first line), so the reported counts must begin with the container. No record exists of
/// the counts at the start of the container. So the first reading assumes that the machine counted
/// evenly since boot, and computes the counts at the start of the container from that. Every later
/// report subtracts the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostCounts {
    /// Interrupts and context switches.
    pub counts: [u64; 2],
    /// Microseconds since boot.
    pub up_us: u64,
}

impl Sample<'_> {
    fn n(&self) -> NonZero<u64> {
        NonZero::new(u64::from(self.cpus.count)).unwrap_or(NonZero::<u64>::MIN)
    }

    /// The kernel's number of each row's CPU, in ascending order. A thread's own mask does not change these, so all
    /// threads of the container share the rows.
    fn row_cpus(&self) -> ([u64; MOST_ROWS], usize) {
        let (mut cpus, count) = ([0; MOST_ROWS], row_count(self.n().get()));
        if self.n().get() <= MOST_ROWS as u64 {
            // Each row needs a number of its own, even if the list is too short.
            let (mut numbers, mut next) = (self.cpus.list.iter().map(u64::from), 0);
            for cpu in cpus.iter_mut().take(count) {
                *cpu = numbers.next().unwrap_or(next);
                next = cpu.saturating_add(1);
            }
        }
        (cpus, count)
    }

    /// The most time that one throttled period can take away, in microseconds: the part of `n` CPUs
    /// above the quota.
    fn beyond_quota_us(&self) -> u64 {
        self.cpus.quota.map_or(
            0,
            |Quota {
                 quota_us,
                 period_us,
             }| {
                self.n()
                    .get()
                    .saturating_mul(period_us)
                    .saturating_sub(quota_us)
            },
        )
    }

    /// The most time that one CPU may carry over, in microseconds: two quota periods, at least one
    /// second and at most two. CPU time beyond that is more than `n` CPUs can show. The minimum is a
    /// second because a reader can lose its CPU between reading the counters and reading the clock,
    /// while its own cgroup is throttled or other tasks use the CPU. The next reading then has more CPU
    /// time than elapsed time.
    fn max_carry_us(&self) -> u64 {
        // A container can use its whole quota at once, and `cpu.max.burst` doubles it.
        let period_us = self.cpus.quota.map_or(0, |q| q.period_us).min(1_000_000);
        period_us.saturating_mul(2).max(1_000_000)
    }

    /// The least time that neighbours used since the container started, microseconds. 0 with a quota: throttled
    /// tasks wait in the same way, and no counter separates the two.
    fn contended_us(&self) -> u64 {
        let full_us = self.time.pressure.and_then(|waited| waited.full_us);
        let full_us = full_us.unwrap_or(0);
        if self.cpus.quota.is_none() {
            full_us
        } else {
            0
        }
    }

    /// The most CPU time that the container could have used in `passed_us` without neighbours,
    /// microseconds.
    fn capacity_us(&self, passed_us: u64) -> u64 {
        let all = self.n().get().saturating_mul(passed_us);
        self.cpus.quota.map_or(all, |quota| {
            let quota_us = passed_us.saturating_mul(quota.quota_us);
            all.min(quota_us / quota.period_us.max(1))
        })
    }

    /// The CPU time of each CPU of the cpuset, if the kernel counts it (v1) and [`tells_apart`] holds.
    /// Both the cpuset and the counters are sorted by CPU number.
    fn per_cpu(&self) -> Option<impl Iterator<Item = Busy> + Clone> {
        let n = self.n().get();
        let mut counted = self.time.per_cpu?.rows();
        let rows = self
            .cpus
            .list
            .iter()
            .take(MOST_ROWS + 1)
            .map_while(move |cpu| {
                let (_, busy) = counted.find(|(number, _)| *number == u64::from(cpu))?;
                Some(busy)
            });
        (tells_apart(&self.cpus) && rows.clone().count() as u64 == n).then_some(rows)
    }
}

/// The accounting of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Row {
    /// Ticks that were reported: user, nice, system, idle, steal.
    shown: [u64; 5],
    /// Microseconds not yet reported: user, nice, system. Less than a tick each, plus what is carried
    /// over.
    carried: [u64; 3],
    /// User and system microseconds of the kernel's counters for this CPU that are already in the
    /// accounting.
    seen: [u64; 2],
    /// The kernel's number of the CPU; 0 for the single row above [`MOST_ROWS`].
    cpu: u64,
}

impl Row {
    const NEW: Row = Row {
        shown: [0; 5],
        carried: [0; 3],
        seen: [0; 2],
        cpu: 0,
    };

    /// Advances the row by `ticks` of one CPU (or of all CPUs, above [`MOST_ROWS`]): CPU time first, the
    /// rest is idle. Returns the idle ticks. Carries over at most `max_carry_us`.
    fn pass(&mut self, ticks: u64, max_carry_us: u64) -> u64 {
        let Row {
            shown: [user, nice, system, idle, _],
            carried: [user_us, nice_us, system_us],
            ..
        } = self;
        let mut left = ticks;
        let mut busy = [(user, user_us), (nice, nice_us), (system, system_us)];

        let whole = busy
            .iter()
            .fold(0u64, |sum, (_, us)| sum.saturating_add(**us / TICK_US));
        // Use all whole ticks if they fit. If not, each field gets its share.
        for (shown, us) in &mut busy {
            let ready = **us / TICK_US;
            let share = if whole <= ticks {
                ready
            } else {
                ready.saturating_mul(ticks) / whole.max(1)
            };
            show_ticks(shown, us, share, &mut left);
        }
        // Shares are rounded down, so up to one tick for each field can remain.
        for _ in 0..3 {
            if let Some((shown, us)) = busy.iter_mut().max_by_key(|(_, us)| **us) {
                show_ticks(shown, us, 1, &mut left);
            }
        }
        let carried = busy
            .iter()
            .fold(0u64, |sum, (_, us)| sum.saturating_add(**us));
        if carried > max_carry_us {
            for (_, us) in &mut busy {
                **us = (us.saturating_mul(max_carry_us) / carried.max(1)).min(max_carry_us);
            }
        }

        *idle = idle.saturating_add(left);
        left
    }

    /// Adds the ticks and microseconds of another row.
    fn absorb(&mut self, other: &Row) {
        for (mine, theirs) in self.shown.iter_mut().zip(&other.shown) {
            *mine = mine.saturating_add(*theirs);
        }
        for (mine, theirs) in self.carried.iter_mut().zip(&other.carried) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// Returns share `i` of this row when it is divided into `parts`.
    fn part(&self, i: u64, parts: NonZero<u64>) -> Row {
        Row {
            shown: self.shown.map(|v| even(v, i, parts)),
            carried: self.carried.map(|v| even(v, i, parts)),
            ..Row::NEW
        }
    }
}

/// Moves up to `ticks` from the carried time to the reported ticks, within the ticks that are `left`.
fn show_ticks(shown: &mut u64, carried_us: &mut u64, ticks: u64, left: &mut u64) {
    let ticks = ticks.min(*carried_us / TICK_US).min(*left);
    *shown = shown.saturating_add(ticks);
    *carried_us = carried_us.saturating_sub(ticks.saturating_mul(TICK_US));
    *left = left.saturating_sub(ticks);
}

/// Returns share `i` of `total` when it is spread evenly over `parts`. The first shares are one larger.
/// No share shrinks when `total` grows.
fn even(total: u64, i: u64, parts: NonZero<u64>) -> u64 {
    (total / parts).saturating_add(u64::from(i < total % parts))
}

fn sum<const N: usize>(times: [u64; N]) -> u64 {
    times.into_iter().fold(0, u64::saturating_add)
}

/// The busy time of a reading, in the order of the fields.
fn busy_us(time: &CpuTime<'_>) -> [u64; 3] {
    [time.user_us, time.nice_us, time.system_us]
}

/// The CPU time since `before`, by kind. The kernel measures the sum and estimates the kinds, so a kind
/// can decrease or grow too much. The result is never more than the growth of the sum.
fn since<const N: usize>(before: [u64; N], now: [u64; N]) -> [u64; N] {
    let mut left = sum(now).saturating_sub(sum(before));
    let mut new = [0; N];
    for ((new, before), now) in new.iter_mut().zip(before).zip(now) {
        *new = now.saturating_sub(before).min(left);
        left = left.saturating_sub(*new);
    }
    new
}

/// The totals in the accounting after a reading. A process that was overtaken has lower counters than
/// the accounting; they change nothing. Counters that are far lower come from another cgroup and
/// replace the totals.
fn accounted<const N: usize>(before: [u64; N], now: [u64; N]) -> [u64; N] {
    if sum(before).saturating_sub(sum(now)) >= OVERTAKEN_US {
        return now;
    }
    let mut all = before;
    for (all, new) in all.iter_mut().zip(since(before, now)) {
        *all = all.saturating_add(new);
    }
    all
}

/// The totals of a reading, for comparison with later readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Seen {
    /// User, nice and system time that is already in the accounting.
    busy_us: [u64; 3],
    throttled_us: u64,
    nr_throttled: u64,
    /// The cgroup that has these two counters, [`CpuTime::throttled_at`].
    throttled_at: u64,
}

/// The counters that [`Accounting::contended`] compares, at one moment, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Waited {
    /// Age of the container; 0 if there are no such counters.
    age_us: u64,
    busy_us: u64,
    /// [`CpuPressure::full_us`](crate::values::CpuPressure::full_us).
    full_us: u64,
    /// [`CpuTime::throttled_us`] and [`CpuTime::throttled_at`].
    throttled_us: u64,
    throttled_at: u64,
}

impl Waited {
    /// `None` if a counter was not read, or the kernel does not count it.
    fn of(sample: &Sample<'_>) -> Option<Waited> {
        let time = &sample.time;
        let full_us = time.pressure?.full_us?;
        (time.throttled_at != CpuTime::NOT_READ).then_some(Waited {
            age_us: sample.age_us,
            busy_us: sum(busy_us(time)),
            full_us,
            throttled_us: time.throttled_us,
            throttled_at: time.throttled_at,
        })
    }

    /// True if both are readings of the same counters.
    fn continues(&self, before: &Waited) -> bool {
        before.age_us != 0 && self.throttled_at == before.throttled_at
    }

    /// What the counters have grown by since `before`. `None` if one is lower: then `before` is a later
    /// reading by another process, or one of another cgroup.
    fn since(&self, before: &Waited) -> Option<Waited> {
        Some(Waited {
            age_us: self.age_us.checked_sub(before.age_us)?,
            busy_us: self.busy_us.checked_sub(before.busy_us)?,
            full_us: self.full_us.checked_sub(before.full_us)?,
            throttled_us: self.throttled_us.checked_sub(before.throttled_us)?,
            throttled_at: self.throttled_at,
        })
    }
}

/// Turns `ticks` of idle time into steal, evenly over the rows that have idle ticks left. `free`
/// has the idle ticks that may be taken from each row. Ticks that do not divide evenly go to the rows
/// in rotation, beginning at `next_row`. Returns the ticks for which no row had idle time.
fn move_idle_to_steal(rows: &mut [Row], free: &mut [u64], mut ticks: u64, next_row: u64) -> u64 {
    while ticks > 0 {
        let open = free.iter().filter(|free| **free > 0).count() as u64;
        let Some(open) = NonZero::new(open) else {
            break;
        };
        let all = ticks;
        let first = open.get().saturating_sub(next_row % open);
        let idle_rows = rows
            .iter_mut()
            .zip(&mut *free)
            .filter(|(_, free)| **free > 0);
        for ((row, free), i) in idle_rows.zip(first..) {
            let [.., idle, steal] = &mut row.shown;
            let taken = even(all, i % open, open).min(*free);
            *free = free.saturating_sub(taken);
            *idle = idle.saturating_sub(taken);
            *steal = steal.saturating_add(taken);
            ticks = ticks.saturating_sub(taken);
        }
    }
    ticks
}

/// The result of [`Accounting::join`]. Only `Continued` changes the accounting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The accounting continues the other one.
    Continued,
    /// A field of the other accounting is lower, although it has counted as much time. The idle time of
    /// this accounting makes up for the difference.
    Behind,
    /// The other accounting has counted less time, so it would stay lower.
    Late,
    /// The bytes are not a record of the accounting.
    Unusable,
}

/// The rows of `/proc/stat`, and the state that is needed to continue them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Accounting {
    /// Number of CPUs at the last reading; 0 before the first one.
    cpus: u64,
    /// Age of the container at the last reading, microseconds.
    age_us: u64,
    /// Identifies the cpuset that the per-CPU counters belong to; 0 if there are no such counters.
    per_cpu: u64,
    /// The row that gets the next tick that does not divide evenly.
    next_row: u64,
    /// A number that changes with each change of the CPUs that have rows. The rows of two accountings can be compared
    /// if their numbers are equal.
    rows_id: u64,
    /// Totals at the last reading.
    seen: Seen,
    /// Microseconds of user, nice and system time that do not fill a tick yet.
    part_us: [u64; 3],
    /// Microseconds of steal that are not reported yet.
    steal_us: u64,
    /// Throttled time, and the part of `n` CPUs above the quota in throttled periods, that are not
    /// matched with each other yet, in microseconds. The kernel updates the two counters at different
    /// moments.
    throttled_us: u64,
    beyond_quota_us: u64,
    /// The counters when waiting last became steal.
    waited: Waited,
    /// CPU time that neighbours used before that, if the quota does not explain it yet, microseconds.
    held_us: u64,
    /// CPU time that neighbours used and that is not reported yet, microseconds.
    contended_us: u64,
    /// Ticks of steal that are the neighbours'.
    contended: u64,
    /// The machine's counters when the container started ([`HostCounts`]); 0 while unknown.
    before: [u64; 2],
    rows: [Row; MOST_ROWS],
}

impl Default for Accounting {
    fn default() -> Self {
        Accounting::new()
    }
}

impl Accounting {
    /// An accounting without a reading: all zeros.
    pub const fn new() -> Self {
        Accounting {
            cpus: 0,
            age_us: 0,
            per_cpu: 0,
            next_row: 0,
            rows_id: 0,
            seen: Seen {
                busy_us: [0; 3],
                throttled_us: 0,
                nr_throttled: 0,
                throttled_at: 0,
            },
            part_us: [0; 3],
            steal_us: 0,
            throttled_us: 0,
            beyond_quota_us: 0,
            waited: Waited {
                age_us: 0,
                busy_us: 0,
                full_us: 0,
                throttled_us: 0,
                throttled_at: 0,
            },
            held_us: 0,
            contended_us: 0,
            contended: 0,
            before: [0; 2],
            rows: [Row::NEW; MOST_ROWS],
        }
    }

    /// Starts the accounting of a process that knows no earlier reading: the totals since the start of
    /// the container. Every process computes the same rows at the same moment.
    pub fn first(&mut self, sample: &Sample<'_>) {
        let n = sample.n();
        let time = &sample.time;
        let ticks = sample.age_us / TICK_US;
        let busy_us = sum(busy_us(time));
        let steal_us = time
            .throttled_us
            .min(time.nr_throttled.saturating_mul(sample.beyond_quota_us()))
            .min(
                n.get()
                    .saturating_mul(sample.age_us)
                    .saturating_sub(busy_us),
            );
        let total = [time.user_us, time.nice_us, time.system_us];
        let contended_us = sample.contended_us().min(
            n.get()
                .saturating_mul(sample.age_us)
                .saturating_sub(busy_us)
                .saturating_sub(steal_us),
        );

        self.part_us = total.map(|us| us % TICK_US);
        self.steal_us = steal_us % TICK_US;
        (self.next_row, self.throttled_us, self.beyond_quota_us) = (0, 0, 0);
        self.rows_id = 0;
        self.before = [0; 2];
        (self.waited, self.held_us) = (Waited::of(sample).unwrap_or_default(), 0);
        self.contended_us = contended_us % TICK_US;
        self.seen = Seen::default();
        self.count_from_start(sample);
        for row in self.rows.iter_mut().take(row_count(self.cpus)) {
            *row = Row::NEW;
        }
        let RowsInUse { rows, width } = rows_in_use(&mut self.rows, n);
        let count = NonZero::new(rows.len() as u64).unwrap_or(NonZero::<u64>::MIN);
        let mut own = sample.per_cpu();
        let mut free = [0; MOST_ROWS];
        let (cpus, _) = sample.row_cpus();
        for (((i, row), free), cpu) in rows.iter_mut().enumerate().zip(&mut free).zip(cpus) {
            row.cpu = cpu;
            let [mut user, mut nice, mut system] =
                total.map(|us| even(us / TICK_US, i as u64, count));
            if let Some(own) = own.as_mut().and_then(Iterator::next) {
                row.seen = [own.user_us, own.system_us];
                row.carried = [own.user_us % TICK_US, 0, own.system_us % TICK_US];
                (user, nice, system) = (own.user_us / TICK_US, 0, own.system_us / TICK_US);
            }
            *free = ticks
                .saturating_mul(width)
                .saturating_sub(sum([user, nice, system]));
            row.shown = [user, nice, system, *free, 0];
        }
        move_idle_to_steal(rows, &mut free, steal_us / TICK_US, 0);
        let ready = contended_us / TICK_US;
        self.contended = ready.saturating_sub(move_idle_to_steal(rows, &mut free, ready, 0));
        self.seen(sample);
    }

    /// Continues from the last reading. A reading that is a little older than the last one changes no
    /// row, because reported values must not decrease.
    pub fn advance(&mut self, sample: &Sample<'_>) {
        if self.cpus == 0 || sample.age_us.saturating_add(OVERTAKEN_US) < self.age_us {
            return self.first(sample);
        }
        self.count_from_start(sample);
        let n = sample.n();
        if sample.age_us < self.age_us {
            // A later sample has been accounted, perhaps with other CPUs.
            if self.reshape(sample, self.age_us) {
                (self.cpus, self.per_cpu) = (n.get(), 0);
            }
            return;
        }
        let max_carry_us = sample.max_carry_us();
        self.reshape(sample, sample.age_us);
        self.next_row %= n;

        let steal_us = self.steal(sample);
        self.steal_us = self.steal_us.saturating_add(steal_us);
        let contended_us = self.newly_contended(sample);
        self.contended_us = self.contended_us.saturating_add(contended_us);
        let mut new_us = since(self.seen.busy_us, busy_us(&sample.time));
        if let Some(own) = sample.per_cpu() {
            // Counters of another cpuset than at the last reading cannot be compared with the new ones.
            let same = self.per_cpu != 0 && self.per_cpu == list_id(sample);
            for (row, now) in self.rows.iter_mut().zip(own) {
                let now = [now.user_us, now.system_us];
                if !same {
                    row.seen = now;
                    continue;
                }
                let [user, _, system] = &mut row.carried;
                for (carried, new) in [user, system].into_iter().zip(since(row.seen, now)) {
                    *carried = carried.saturating_add(new);
                }
                row.seen = accounted(row.seen, now);
            }
            if same {
                new_us = [0; 3];
            }
        }
        self.spread(new_us, n);

        let ticks = (sample.age_us / TICK_US).saturating_sub(self.age_us / TICK_US);
        let RowsInUse { rows, width } = rows_in_use(&mut self.rows, n);
        let mut free = [0; MOST_ROWS];
        for (row, free) in rows.iter_mut().zip(&mut free) {
            *free = row.pass(
                ticks.saturating_mul(width),
                max_carry_us.saturating_mul(width),
            );
        }
        // No counter says which CPUs were throttled, so take the steal time from CPUs that were idle.
        let mut shown = 0;
        for steal_us in [&mut self.steal_us, &mut self.contended_us] {
            let ready = *steal_us / TICK_US;
            shown = ready.saturating_sub(move_idle_to_steal(rows, &mut free, ready, self.next_row));
            self.next_row = (self.next_row % n).saturating_add(shown % n) % n;
            *steal_us = steal_us
                .saturating_sub(shown.saturating_mul(TICK_US))
                .min(max_carry_us.saturating_mul(n.get()));
        }
        self.contended = self.contended.saturating_add(shown);
        self.seen(sample);
    }

    /// True before the first reading.
    pub fn is_empty(&self) -> bool {
        self.cpus == 0
    }

    /// Age of the container at the last reading, microseconds.
    pub fn age_us(&self) -> u64 {
        self.age_us
    }

    /// Number of CPUs at the last reading; 0 before the first one.
    pub fn cpus(&self) -> u64 {
        self.cpus
    }

    /// The `cpuN` lines in order: ticks of user, nice, system, idle, steal.
    pub fn rows(&self) -> impl Iterator<Item = [u64; 5]> + Clone {
        let whole = self.rows.first().filter(|_| self.cpus > MOST_ROWS as u64);
        let n = NonZero::new(self.cpus).unwrap_or(NonZero::<u64>::MIN);
        (0..self.cpus)
            .zip(self.rows.iter().map(Some).chain(core::iter::repeat(None)))
            .filter_map(move |(i, row)| match whole {
                Some(whole) => Some(whole.shown.map(|v| even(v, i, n))),
                None => row.map(|row| row.shown),
            })
    }

    /// The `cpu` line: the sum of [`Accounting::rows`].
    pub fn total(&self) -> [u64; 5] {
        let mut total = Row::NEW;
        self.rows
            .iter()
            .take(row_count(self.cpus))
            .for_each(|row| total.absorb(row));
        total.shown
    }

    /// The second number of `/proc/uptime`: idle ticks of all CPUs.
    pub fn idle_ticks(&self) -> u64 {
        let [_, _, _, idle, _] = self.total();
        idle
    }

    /// Steal time since the last reading, microseconds: the throttled time, but no more than the part
    /// of `n` CPUs above the quota in each throttled period.
    fn steal(&mut self, sample: &Sample<'_>) -> u64 {
        let time = &sample.time;
        if time.throttled_at == CpuTime::NOT_READ {
            return 0;
        }
        if time.throttled_at != self.seen.throttled_at {
            // The counters of another cgroup cannot be compared with the last ones. No quota means no
            // steal.
            return 0;
        }
        let periods = time.nr_throttled.saturating_sub(self.seen.nr_throttled);
        let throttled = self
            .throttled_us
            .saturating_add(time.throttled_us.saturating_sub(self.seen.throttled_us));
        let taken_by_quota = self
            .beyond_quota_us
            .saturating_add(periods.saturating_mul(sample.beyond_quota_us()));
        let steal = throttled.min(taken_by_quota);
        let most = sample.max_carry_us().saturating_mul(sample.n().get());
        self.throttled_us = throttled.saturating_sub(steal).min(most);
        self.beyond_quota_us = taken_by_quota.saturating_sub(steal).min(most);
        steal
    }

    /// The ticks of steal that are the neighbours': they used the CPUs on which the container's tasks
    /// waited. The rest of the steal is the quota's.
    pub fn contended(&self) -> u64 {
        self.contended
    }

    /// The CPU time that neighbours used since this was last computed, microseconds. 0 if that was too
    /// short a time ago.
    ///
    /// The kernel reports the time in which tasks waited while none of the container ran on their CPU,
    /// averaged over the CPUs with tasks of the container (`full`). Waiting behind the container's own
    /// tasks is not in it. A container that wants `k` CPUs all the time uses `k × (passed - full)`, and
    /// its neighbours use `k × full`. So the neighbours used `used × full / (passed - full)`, and never
    /// less than `full`. This is exact if the container wants its CPUs all the time. If it wants them
    /// for a part of the time, its neighbours used more.
    ///
    /// Throttled tasks wait in the same way, so throttled time is subtracted. The kernel reports
    /// throttled time late. So where there is a quota, the result is held back once, and the throttled
    /// time that is reported in the meantime is subtracted too.
    fn newly_contended(&mut self, sample: &Sample<'_>) -> u64 {
        let before = self.waited;
        let Some(now) = Waited::of(sample) else {
            return 0;
        };
        let passed_us = now.age_us.saturating_sub(before.age_us);
        let grown = now.since(&before);
        if !now.continues(&before) || (grown.is_none() && passed_us > OVERTAKEN_US) {
            (self.waited, self.held_us) = (now, 0);
            return 0;
        }
        let period_us = sample.cpus.quota.map_or(0, |quota| quota.period_us);
        let Some(grown) = grown.filter(|_| passed_us >= CONTENDED_US.max(period_us.min(1_000_000)))
        else {
            return 0;
        };
        self.waited = now;
        let (used_us, throttled_us) = (grown.busy_us, grown.throttled_us);
        let full_us = grown.full_us.min(passed_us);
        let ran_us = passed_us.saturating_sub(full_us).max(1);
        let waited_us = used_us.saturating_mul(full_us) / ran_us;
        let held_us = self.held_us.saturating_sub(throttled_us);
        let new_us = waited_us
            .max(full_us)
            .saturating_sub(throttled_us.saturating_sub(self.held_us))
            .min(sample.capacity_us(passed_us).saturating_sub(used_us));
        if sample.cpus.quota.is_none() {
            return held_us.saturating_add(new_us);
        }
        self.held_us = new_us;
        held_us
    }

    /// Spreads new CPU time over the rows in whole ticks. Ticks that do not divide evenly go to the
    /// rows in rotation.
    fn spread(&mut self, new_us: [u64; 3], n: NonZero<u64>) {
        let RowsInUse { rows, .. } = rows_in_use(&mut self.rows, n);
        let count = NonZero::new(rows.len() as u64).unwrap_or(NonZero::<u64>::MIN);
        for (field, (part, new)) in self.part_us.iter_mut().zip(new_us).enumerate() {
            let us = part.saturating_add(new);
            *part = us % TICK_US;
            let ticks = us / TICK_US;
            for (i, row) in rows.iter_mut().enumerate() {
                let position = (i as u64)
                    .saturating_add(count.get())
                    .saturating_sub(self.next_row % count)
                    % count;
                let share = even(ticks, position, count).saturating_mul(TICK_US);
                if let Some(carried) = row.carried.get_mut(field) {
                    *carried = carried.saturating_add(share);
                }
            }
            self.next_row = (self.next_row % count).saturating_add(ticks % count) % count;
        }
    }

    /// Gives each CPU of `sample` its row. A CPU keeps the row that it has, and a new CPU starts at 0. The time of CPUs
    /// that vanish goes to those that stay, or to the new CPUs if none stays. So neither a row nor the sum decreases.
    /// Returns true if anything changed.
    fn reshape(&mut self, sample: &Sample<'_>, age_us: u64) -> bool {
        let (old, new) = (self.cpus, sample.n().get());
        let (cpus, count) = sample.row_cpus();
        let cpus = cpus.get(..count).unwrap_or_default();
        let had = row_count(old);
        let most = MOST_ROWS as u64;
        let (was_single, is_single) = (old > most, new > most);
        let same = || self.rows.iter().take(had).map(|row| row.cpu);
        if was_single == is_single && (is_single || same().eq(cpus.iter().copied())) {
            return false;
        }
        let mut id = Checksum::new();
        [self.rows_id, age_us, new]
            .into_iter()
            .chain(cpus.iter().copied())
            .for_each(|word| id.add(word));
        self.rows_id = id.value();
        // First the rows that stay move together, in their order.
        let (mut gone, mut stay) = (Row::NEW, 0);
        for i in 0..had {
            let Some(row) = self.rows.get_mut(i) else {
                break;
            };
            let row = core::mem::replace(row, Row::NEW);
            if was_single || is_single || cpus.binary_search(&row.cpu).is_err() {
                gone.absorb(&row);
            } else if let Some(place) = self.rows.get_mut(stay) {
                *place = row;
                stay = stay.saturating_add(1);
            }
        }
        let all_are_new = stay == 0;
        let heirs = if all_are_new { count } else { stay } as u64;
        let heirs = NonZero::new(heirs).unwrap_or(NonZero::<u64>::MIN);
        // Then each moves up to its new place, the last one first.
        for (i, &cpu) in cpus.iter().enumerate().rev() {
            let last = stay.wrapping_sub(1);
            let kept = self.rows.get_mut(last).filter(|row| row.cpu == cpu);
            let mut row = Row { cpu, ..Row::NEW };
            if let Some(kept) = kept {
                row = core::mem::replace(kept, Row::NEW);
                row.absorb(&gone.part(last as u64, heirs));
                stay = last;
            } else if all_are_new {
                row.absorb(&gone.part(i as u64, heirs));
            }
            if let Some(place) = self.rows.get_mut(i) {
                *place = row;
            }
        }
        true
    }

    /// Interrupts and context switches of the machine before the container started, as first estimated.
    pub fn before(&self) -> [u64; 2] {
        self.before
    }

    fn count_from_start(&mut self, sample: &Sample<'_>) {
        let Some(HostCounts { counts, up_us }) = sample.host else {
            return;
        };
        let start_us = up_us.saturating_sub(sample.age_us);
        for (before, now) in self.before.iter_mut().zip(counts) {
            if *before == 0 {
                let even = u128::from(now).wrapping_mul(u128::from(start_us));
                *before = even
                    .checked_div(u128::from(up_us))
                    .and_then(|count| u64::try_from(count).ok())
                    .unwrap_or(0);
            }
        }
    }

    /// Stores the totals of the reading for later comparison.
    fn seen(&mut self, sample: &Sample<'_>) {
        let time = &sample.time;
        self.cpus = sample.n().get();
        self.age_us = sample.age_us;
        self.per_cpu = if sample.per_cpu().is_some() {
            list_id(sample)
        } else {
            0
        };
        self.seen.busy_us = accounted(self.seen.busy_us, busy_us(time));
        // While there is no quota, keep the last counters for the time when it is set again.
        if time.throttled_at != 0 && time.throttled_at != CpuTime::NOT_READ {
            let same = time.throttled_at == self.seen.throttled_at;
            self.seen.throttled_us = if same {
                sum(accounted([self.seen.throttled_us], [time.throttled_us]))
            } else {
                time.throttled_us
            };
            self.seen.nr_throttled = time.nr_throttled;
            self.seen.throttled_at = time.throttled_at;
        }
    }

    /// Continues from the accounting that another process wrote with [`Accounting::write`], and adds `sample`
    /// to it if there is one. Changes nothing if a field would then be lower than in this accounting.
    /// `other` is a scratch accounting.
    pub fn join(
        &mut self,
        bytes: &[u8],
        sample: Option<&Sample<'_>>,
        other: &mut Accounting,
    ) -> Joined {
        other.before = self.before;
        if !other.read(bytes) {
            return Joined::Unusable;
        }
        if let Some(sample) = sample {
            other.advance(sample);
        }
        // A CPU that vanished and came back starts at 0, like a new CPU. Then only the sum over the
        // CPUs can be compared.
        let same_rows = other.rows_id == self.rows_id;
        let below = |now: [u64; 5], shown: [u64; 5]| now.iter().zip(shown).any(|(a, b)| *a < b);
        let mut rows = self.rows.iter().take(row_count(self.cpus)).zip(&other.rows);
        if (same_rows && rows.any(|(shown, now)| below(now.shown, shown.shown)))
            || below(other.total(), self.total())
        {
            let ticks = (other.age_us / TICK_US).saturating_sub(self.age_us / TICK_US);
            let alone = sum(self.total()).saturating_add(ticks.saturating_mul(self.cpus));
            return if sum(other.total()).saturating_add(self.cpus) < alone {
                Joined::Late
            } else {
                Joined::Behind
            };
        }
        self.clone_from(other);
        Joined::Continued
    }
}

/// The rows in use.
struct RowsInUse<'l> {
    rows: &'l mut [Row],
    /// The number of CPUs that each row stands for.
    width: u64,
}

fn rows_in_use(rows: &mut [Row; MOST_ROWS], n: NonZero<u64>) -> RowsInUse<'_> {
    RowsInUse {
        rows: rows.get_mut(..row_count(n.get())).unwrap_or_default(),
        width: if n.get() > MOST_ROWS as u64 {
            n.get()
        } else {
            1
        },
    }
}

/// A number for the cpuset that the per-CPU counters belong to, never 0.
fn list_id(sample: &Sample<'_>) -> u64 {
    Checksum::of(sample.cpus.list.0) | 1
}
