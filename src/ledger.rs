//! The arithmetic of `/proc/stat`: what the container's CPUs have done since it started, as
//! the time of `n` CPUs that are always doing something.
//!
//! The kernel gives totals that know nothing of `n`: CPU time (`kernel/sched/cpuacct.c`,
//! `kernel/cgroup/rstat.c`) and what the quota withheld (`kernel/sched/fair.c`). A [`Ledger`]
//! turns one reading of them into rows ([`Ledger::first`]) and later readings into rows that
//! continue these ([`Ledger::advance`]):
//!
//! - no field of any row ever goes back, as long as the number of CPUs does not pass
//!   [`TRACKED`];
//! - every row grows by the ticks that passed, neither more nor less, so that the sum over
//!   the rows is `n` × time;
//! - what only the whole machine counts (interrupts, context switches) is counted from the start of
//!   the container on, see [`HostCounts`];
//! - CPU time that does not fit (a burst inside one quota period, the kernel's own late
//!   accounting) is owed, and paid out of what would have been idle.
//!
//! Units: microseconds in, USER_HZ ticks of 10 ms out. The ledger is a few KiB of plain
//! words: it lives in static memory, or in the shared state of the container as
//! [`Ledger::write`] puts it.
#![forbid(unsafe_code)]

use core::num::NonZero;

use crate::cgroup::values::Busy;
use crate::snapshot::{CpuTime, Cpus, Quota};

/// Rows are kept apart up to this many CPUs; above it the totals are spread evenly.
pub const TRACKED: usize = 64;

/// Microseconds in a tick of USER_HZ (`include/asm-generic/param.h`: 100 per second).
pub const TICK_US: u64 = 10_000;

/// The most bytes that [`Ledger::write`] makes.
pub const SIZE: usize = size(TRACKED as u64);

/// The bytes that it makes for so many CPUs.
pub const fn size(cpus: u64) -> usize {
    (HEAD + kept(cpus) * ROW + 2) * 8
}

/// The rows that are kept for so many CPUs: one for all of them beyond [`TRACKED`].
const fn kept(cpus: u64) -> usize {
    if cpus > TRACKED as u64 {
        1
    } else {
        cpus as usize
    }
}

/// Words of the ledger before its rows, and of one row.
const HEAD: usize = 18;
const ROW: usize = 10;

/// First word of a written ledger: "proclens" in ASCII, and the version of the layout.
const MAGIC: u64 = u64::from_be_bytes(*b"plledgr\x04");

/// How far, in microseconds, a reading may lie before the last one and still be a reader that
/// was overtaken. One further back tells of another container, and the ledger starts anew.
const OVERTAKEN_US: u64 = 10_000_000;

/// True if the counters of each CPU can be told by row: where every CPU of the cpuset is one of the
/// container's, and each has a row.
pub fn tells_apart(cpus: &Cpus<'_>) -> bool {
    cpus.count == cpus.list.count() && cpus.count as usize <= TRACKED
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
    /// What the whole machine counted, where it was looked at.
    pub host: Option<HostCounts>,
}

/// Counters of the whole machine since it booted. A reader divides them by the container's age
/// (`vmstat`'s first line), so that they have to begin with the container. What the machine had
/// counted by then nobody kept: at the first look it is taken to have counted evenly since it
/// booted, and from then on every later count is the machine's own less the same number.
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

    /// What one throttled period withheld at most, in microseconds: the part of `n` CPUs
    /// above the quota.
    fn withheld_us(&self) -> u64 {
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

    /// How much time may be owed for one CPU, in microseconds: two periods, or a second. What is
    /// more than that is use beyond `n`, which `n` CPUs cannot show. Not less than a second, because
    /// a reader can lose its CPU between the counters and the clock, for as long as its own group
    /// is throttled or others want the CPU: the next reading then has more CPU time than time.
    fn patience_us(&self) -> u64 {
        // A quota of any size can be used up at once, and `cpu.max.burst` doubles it.
        let period_us = self.cpus.quota.map_or(0, |q| q.period_us).min(1_000_000);
        period_us.saturating_mul(2).max(1_000_000)
    }

    /// CPU time of each CPU of the cpuset, where the kernel counts it (v1) and [`tells_apart`]. Both
    /// the cpuset and the counters are in the order of the CPUs' numbers.
    fn per_cpu(&self) -> Option<impl Iterator<Item = Busy> + Clone> {
        let n = self.n().get();
        let mut counted = self.time.per_cpu?.rows();
        let rows = self
            .cpus
            .list
            .iter()
            .take(TRACKED + 1)
            .map_while(move |cpu| {
                let (_, busy) = counted.find(|(number, _)| *number == u64::from(cpu))?;
                Some(busy)
            });
        (tells_apart(&self.cpus) && rows.clone().count() as u64 == n).then_some(rows)
    }
}

/// One CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Row {
    /// Ticks that have been shown: user, nice, system, idle, steal.
    shown: [u64; 5],
    /// Microseconds not yet shown: user, nice, system. Less than a tick each, but for what is owed.
    owed: [u64; 3],
    /// User and system microseconds of the kernel's own row, as far as they are accounted for.
    seen: [u64; 2],
}

impl Row {
    const NEW: Row = Row {
        shown: [0; 5],
        owed: [0; 3],
        seen: [0; 2],
    };

    /// Lets `ticks` of one CPU (or of all, above [`TRACKED`]) pass: first what it did, the rest idle,
    /// which is returned. Keeps at most `patience_us` owed.
    fn pass(&mut self, ticks: u64, patience_us: u64) -> u64 {
        let Row {
            shown: [user, nice, system, idle, _],
            owed: [user_us, nice_us, system_us],
            ..
        } = self;
        let mut left = ticks;
        let mut busy = [(user, user_us), (nice, nice_us), (system, system_us)];

        let whole = busy
            .iter()
            .fold(0u64, |sum, (_, us)| sum.saturating_add(**us / TICK_US));
        // Room for all of it, or a share of the room for each.
        for (shown, us) in &mut busy {
            let ready = **us / TICK_US;
            let share = if whole <= ticks {
                ready
            } else {
                ready.saturating_mul(ticks) / whole.max(1)
            };
            pay(shown, us, share, &mut left);
        }
        // Shares are rounded down; at most a tick for each field is then left.
        for _ in 0..3 {
            if let Some((shown, us)) = busy.iter_mut().max_by_key(|(_, us)| **us) {
                pay(shown, us, 1, &mut left);
            }
        }
        let owed = busy
            .iter()
            .fold(0u64, |sum, (_, us)| sum.saturating_add(**us));
        if owed > patience_us {
            for (_, us) in &mut busy {
                **us = (us.saturating_mul(patience_us) / owed.max(1)).min(patience_us);
            }
        }

        *idle = idle.saturating_add(left);
        left
    }

    /// Adds what another row holds.
    fn absorb(&mut self, other: &Row) {
        for (mine, theirs) in self.shown.iter_mut().zip(&other.shown) {
            *mine = mine.saturating_add(*theirs);
        }
        for (mine, theirs) in self.owed.iter_mut().zip(&other.owed) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// Share `i` of this row when it is cut in `parts`.
    fn part(&self, i: u64, parts: NonZero<u64>) -> Row {
        Row {
            shown: self.shown.map(|v| even(v, i, parts)),
            owed: self.owed.map(|v| even(v, i, parts)),
            seen: [0; 2],
        }
    }
}

/// Moves up to `ticks` from what is owed to what is shown, within the ticks that are `left`.
fn pay(shown: &mut u64, owed_us: &mut u64, ticks: u64, left: &mut u64) {
    let ticks = ticks.min(*owed_us / TICK_US).min(*left);
    *shown = shown.saturating_add(ticks);
    *owed_us = owed_us.saturating_sub(ticks.saturating_mul(TICK_US));
    *left = left.saturating_sub(ticks);
}

/// Share `i` of `total` spread evenly over `parts`: the first shares are one larger. None of
/// them shrinks when `total` grows.
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

/// The CPU time that has come since `before`, by kind. The kernel measures the sum and estimates
/// the kinds, which may move either way: never more than the sum has grown by.
fn since<const N: usize>(before: [u64; N], now: [u64; N]) -> [u64; N] {
    let mut left = sum(now).saturating_sub(sum(before));
    let mut new = [0; N];
    for ((new, before), now) in new.iter_mut().zip(before).zip(now) {
        *new = now.saturating_sub(before).min(left);
        left = left.saturating_sub(*new);
    }
    new
}

/// What is accounted for after a reading, whoever read last: a reader that was overtaken knows less
/// than one before it. Counters far below what they were are other ones.
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

/// The totals of a reading that later readings are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Seen {
    /// User, nice and system time, as far as they are accounted for.
    busy_us: [u64; 3],
    throttled_us: u64,
    nr_throttled: u64,
    /// Whose these two are, [`CpuTime::throttled_at`].
    throttled_at: u64,
}

/// Turns idle ticks into withheld ones, in all rows alike as long as they have as many: `room` is what
/// may be taken from each. The odd ones go round from `turn` on. What there is no room for is returned.
fn withhold(rows: &mut [Row], room: &mut [u64], mut ticks: u64, turn: u64) -> u64 {
    while ticks > 0 {
        let open = room.iter().filter(|room| **room > 0).count() as u64;
        let Some(open) = NonZero::new(open) else {
            break;
        };
        let all = ticks;
        let first = open.get().saturating_sub(turn % open);
        let with_room = rows
            .iter_mut()
            .zip(&mut *room)
            .filter(|(_, room)| **room > 0);
        for ((row, room), i) in with_room.zip(first..) {
            let [.., idle, steal] = &mut row.shown;
            let taken = even(all, i % open, open).min(*room);
            *room = room.saturating_sub(taken);
            *idle = idle.saturating_sub(taken);
            *steal = steal.saturating_add(taken);
            ticks = ticks.saturating_sub(taken);
        }
    }
    ticks
}

/// What the rows of `/proc/stat` say, and what is needed to continue them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ledger {
    /// Number of CPUs at the last reading; 0 before the first one.
    cpus: u64,
    /// Age of the container at the last reading, microseconds.
    age_us: u64,
    /// Which CPUs the rows' own counters belong to; 0 where they have none.
    per_cpu: u64,
    /// The row that gets the next odd tick.
    turn: u64,
    /// Totals at the last reading.
    seen: Seen,
    /// Microseconds of user, nice and system that do not make a tick yet.
    part_us: [u64; 3],
    /// Microseconds of steal that are not shown yet.
    steal_us: u64,
    /// Throttled time, and the part of `n` CPUs above the quota in throttled periods, that
    /// have not met yet, microseconds: the kernel counts the two at different moments.
    throttled_us: u64,
    withheld_us: u64,
    /// What the machine had counted when the container started ([`HostCounts`]); 0 while unknown.
    before: [u64; 2],
    rows: [Row; TRACKED],
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger::new()
    }
}

impl Ledger {
    /// A ledger without a reading: all zeros, so that it costs nothing in a static.
    pub const fn new() -> Self {
        Ledger {
            cpus: 0,
            age_us: 0,
            per_cpu: 0,
            turn: 0,
            seen: Seen {
                busy_us: [0; 3],
                throttled_us: 0,
                nr_throttled: 0,
                throttled_at: 0,
            },
            part_us: [0; 3],
            steal_us: 0,
            throttled_us: 0,
            withheld_us: 0,
            before: [0; 2],
            rows: [Row::NEW; TRACKED],
        }
    }

    /// The answer of a process that knows of no earlier reading: the totals since the start
    /// of the container. Every process gives the same one at the same moment.
    pub fn first(&mut self, sample: &Sample<'_>) {
        let n = sample.n();
        let time = &sample.time;
        let ticks = sample.age_us / TICK_US;
        let busy_us = sum(busy_us(time));
        let steal_us = time
            .throttled_us
            .min(time.nr_throttled.saturating_mul(sample.withheld_us()))
            .min(
                n.get()
                    .saturating_mul(sample.age_us)
                    .saturating_sub(busy_us),
            );
        let total = [time.user_us, time.nice_us, time.system_us];

        self.part_us = total.map(|us| us % TICK_US);
        self.steal_us = steal_us % TICK_US;
        (self.turn, self.throttled_us, self.withheld_us) = (0, 0, 0);
        self.before = [0; 2];
        self.seen = Seen::default();
        self.count_from_start(sample);
        for row in self.rows.iter_mut().take(kept(self.cpus)) {
            *row = Row::NEW;
        }
        let Tracked { rows, width } = tracked(&mut self.rows, n);
        let count = NonZero::new(rows.len() as u64).unwrap_or(NonZero::<u64>::MIN);
        let mut own = sample.per_cpu();
        let mut room = [0; TRACKED];
        for ((i, row), room) in rows.iter_mut().enumerate().zip(&mut room) {
            let [mut user, mut nice, mut system] =
                total.map(|us| even(us / TICK_US, i as u64, count));
            if let Some(own) = own.as_mut().and_then(Iterator::next) {
                row.seen = [own.user_us, own.system_us];
                row.owed = [own.user_us % TICK_US, 0, own.system_us % TICK_US];
                (user, nice, system) = (own.user_us / TICK_US, 0, own.system_us / TICK_US);
            }
            *room = ticks
                .saturating_mul(width)
                .saturating_sub(sum([user, nice, system]));
            row.shown = [user, nice, system, *room, 0];
        }
        withhold(rows, &mut room, steal_us / TICK_US, 0);
        self.seen(sample);
    }

    /// Continues from the last reading. One that is older than it changes nothing: what has
    /// been said stands.
    pub fn advance(&mut self, sample: &Sample<'_>) {
        if self.cpus == 0 || sample.age_us.saturating_add(OVERTAKEN_US) < self.age_us {
            return self.first(sample);
        }
        self.count_from_start(sample);
        if sample.age_us < self.age_us {
            return;
        }
        let n = sample.n();
        let patience_us = sample.patience_us();
        self.reshape(n);
        self.turn %= n;

        let steal_us = self.steal(sample);
        self.steal_us = self.steal_us.saturating_add(steal_us);
        let mut news = since(self.seen.busy_us, busy_us(&sample.time));
        if let Some(own) = sample.per_cpu() {
            // Rows of other CPUs than at the last reading have nothing to be compared with.
            let same = self.per_cpu != 0 && self.per_cpu == list_id(sample);
            for (row, now) in self.rows.iter_mut().zip(own) {
                let now = [now.user_us, now.system_us];
                if !same {
                    row.seen = now;
                    continue;
                }
                let [user, _, system] = &mut row.owed;
                for (owed, new) in [user, system].into_iter().zip(since(row.seen, now)) {
                    *owed = owed.saturating_add(new);
                }
                row.seen = accounted(row.seen, now);
            }
            if same {
                news = [0; 3];
            }
        }
        self.spread(news, n);

        let ticks = (sample.age_us / TICK_US).saturating_sub(self.age_us / TICK_US);
        let Tracked { rows, width } = tracked(&mut self.rows, n);
        let mut room = [0; TRACKED];
        for (row, room) in rows.iter_mut().zip(&mut room) {
            *room = row.pass(
                ticks.saturating_mul(width),
                patience_us.saturating_mul(width),
            );
        }
        // Which CPUs it was withheld from nobody counts: from those that have been idle.
        let ready = self.steal_us / TICK_US;
        let shown = ready.saturating_sub(withhold(rows, &mut room, ready, self.turn));
        self.turn = (self.turn % n).saturating_add(shown % n) % n;
        self.steal_us = self
            .steal_us
            .saturating_sub(shown.saturating_mul(TICK_US))
            .min(patience_us.saturating_mul(n.get()));
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
        let whole = self.rows.first().filter(|_| self.cpus > TRACKED as u64);
        let n = NonZero::new(self.cpus).unwrap_or(NonZero::<u64>::MIN);
        (0..self.cpus)
            .zip(self.rows.iter().map(Some).chain(core::iter::repeat(None)))
            .filter_map(move |(i, row)| match whole {
                Some(whole) => Some(whole.shown.map(|v| even(v, i, n))),
                None => row.map(|row| row.shown),
            })
    }

    /// The `cpu` line: the sum of [`Ledger::rows`].
    pub fn total(&self) -> [u64; 5] {
        let mut total = Row::NEW;
        self.rows
            .iter()
            .take(kept(self.cpus))
            .for_each(|row| total.absorb(row));
        total.shown
    }

    /// The second number of `/proc/uptime`: idle ticks of all CPUs.
    pub fn idle_ticks(&self) -> u64 {
        let [_, _, _, idle, _] = self.total();
        idle
    }

    /// Time withheld by the quota since the last reading, microseconds: throttled time, but
    /// no more than the part of `n` CPUs above the quota in each throttled period.
    fn steal(&mut self, sample: &Sample<'_>) -> u64 {
        let time = &sample.time;
        if time.throttled_at != self.seen.throttled_at {
            // Another level's counters have nothing to be compared with, and none is no news.
            return 0;
        }
        let periods = time.nr_throttled.saturating_sub(self.seen.nr_throttled);
        let throttled = self
            .throttled_us
            .saturating_add(time.throttled_us.saturating_sub(self.seen.throttled_us));
        let withheld = self
            .withheld_us
            .saturating_add(periods.saturating_mul(sample.withheld_us()));
        let steal = throttled.min(withheld);
        let most = sample.patience_us().saturating_mul(sample.n().get());
        self.throttled_us = throttled.saturating_sub(steal).min(most);
        self.withheld_us = withheld.saturating_sub(steal).min(most);
        steal
    }

    /// Hands new time to the rows in whole ticks, the odd ones in turn.
    fn spread(&mut self, news: [u64; 3], n: NonZero<u64>) {
        let Tracked { rows, .. } = tracked(&mut self.rows, n);
        let count = NonZero::new(rows.len() as u64).unwrap_or(NonZero::<u64>::MIN);
        for (field, (part, new)) in self.part_us.iter_mut().zip(news).enumerate() {
            let us = part.saturating_add(new);
            *part = us % TICK_US;
            let ticks = us / TICK_US;
            for (i, row) in rows.iter_mut().enumerate() {
                let place = (i as u64)
                    .saturating_add(count.get())
                    .saturating_sub(self.turn % count)
                    % count;
                let share = even(ticks, place, count).saturating_mul(TICK_US);
                if let Some(owed) = row.owed.get_mut(field) {
                    *owed = owed.saturating_add(share);
                }
            }
            self.turn = (self.turn % count).saturating_add(ticks % count) % count;
        }
    }

    /// Changes the number of rows. The time of CPUs that vanish goes to those that stay; new
    /// ones start at 0, so that neither a row nor the sum goes back.
    fn reshape(&mut self, n: NonZero<u64>) {
        let (old, new) = (self.cpus, n.get());
        let tracked = TRACKED as u64;
        if old == new || (old > tracked && new > tracked) {
            return;
        }
        let (stay, had) = (kept(new) as u64, kept(old) as u64);
        let mut gone = Row::NEW;
        for (i, row) in self.rows.iter_mut().enumerate() {
            let i = i as u64;
            if (i >= stay && i < had) || old > tracked {
                gone.absorb(row);
            }
            if i >= stay || old > tracked {
                *row = Row::NEW;
            }
        }
        let parts = NonZero::new(stay).unwrap_or(NonZero::<u64>::MIN);
        for (i, row) in self.rows.iter_mut().enumerate().take(stay as usize) {
            row.absorb(&gone.part(i as u64, parts));
        }
    }

    /// Interrupts and context switches of the machine before the container started, as they were
    /// told first.
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

    /// Remembers the reading.
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
        // Without a quota what was counted waits until it is set again.
        if time.throttled_at != 0 {
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

    fn words(&self) -> impl Iterator<Item = u64> {
        let Ledger {
            cpus,
            age_us,
            per_cpu,
            turn,
            seen,
            part_us,
            steal_us,
            throttled_us,
            withheld_us,
            before,
            rows,
        } = self;
        [*cpus, *age_us, *per_cpu, *turn]
            .into_iter()
            .chain(seen.busy_us)
            .chain([seen.throttled_us, seen.nr_throttled, seen.throttled_at])
            .chain(*part_us)
            .chain([*steal_us, *throttled_us, *withheld_us])
            .chain(*before)
            .chain(
                rows.iter()
                    .take(kept(*cpus))
                    .flat_map(|row| row.shown.into_iter().chain(row.owed).chain(row.seen)),
            )
    }

    fn words_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        let kept = kept(self.cpus);
        let Ledger {
            cpus,
            age_us,
            per_cpu,
            turn,
            seen,
            part_us,
            steal_us,
            throttled_us,
            withheld_us,
            before,
            rows,
        } = self;
        let Seen {
            busy_us,
            throttled_us: seen_throttled_us,
            nr_throttled,
            throttled_at,
        } = seen;
        [cpus, age_us, per_cpu, turn]
            .into_iter()
            .chain(busy_us)
            .chain([seen_throttled_us, nr_throttled, throttled_at])
            .chain(part_us)
            .chain([steal_us, throttled_us, withheld_us])
            .chain(before)
            .chain(rows.iter_mut().take(kept).flat_map(|row| {
                row.shown
                    .iter_mut()
                    .chain(&mut row.owed)
                    .chain(&mut row.seen)
            }))
    }

    /// Writes the ledger into `room`, with version and checksum, and says how many bytes that are;
    /// `None` if `room` is smaller. Byte order is the machine's: it never leaves it.
    pub fn write(&self, room: &mut [u8]) -> Option<usize> {
        let length = size(self.cpus);
        let (slots, _) = room.get_mut(..length)?.as_chunks_mut::<8>();
        let mut sum = Checksum::new();
        let words = core::iter::once(MAGIC)
            .chain(self.words())
            .inspect(|word| sum.add(*word));
        let mut slots = slots.iter_mut();
        // From the inside: a chain of that many parts costs ten times as much from the outside.
        words.for_each(|word| {
            if let Some(slot) = slots.next() {
                *slot = word.to_ne_bytes();
            }
        });
        if let Some(slot) = slots.next() {
            *slot = sum.value().to_ne_bytes();
        }
        Some(length)
    }

    /// Reads what [`Ledger::write`] wrote. For anything else false, and nothing changes.
    pub fn read(&mut self, bytes: &[u8]) -> bool {
        if Ledger::age_in(bytes).is_none() {
            return false;
        }
        let told = self.before;
        let (slots, _) = bytes.as_chunks::<8>();
        let mut slots = slots.iter().skip(1);
        let cpus = slots
            .clone()
            .next()
            .map_or(0, |slot| u64::from_ne_bytes(*slot));
        // Rows that are not kept are new ones.
        let had = kept(self.cpus);
        for row in self.rows.iter_mut().take(had).skip(kept(cpus)) {
            *row = Row::NEW;
        }
        self.cpus = cpus;
        self.words_mut().for_each(|word| {
            if let Some(slot) = slots.next() {
                *word = u64::from_ne_bytes(*slot);
            }
        });
        // The lower one, so that nothing that was said goes back, here or elsewhere.
        for (before, told) in self.before.iter_mut().zip(told) {
            if told != 0 && (*before == 0 || told < *before) {
                *before = told;
            }
        }
        true
    }

    /// Continues from what [`Ledger::write`] wrote elsewhere, with `sample` entered, unless a field would
    /// then be below what was said here. If so, and for what it cannot have written, false, and
    /// nothing changes. `other` is a ledger to work with.
    pub fn join(&mut self, bytes: &[u8], sample: &Sample<'_>, other: &mut Ledger) -> bool {
        other.before = self.before;
        if !other.read(bytes) {
            return false;
        }
        other.advance(sample);
        let below = |now: [u64; 5], said: [u64; 5]| now.iter().zip(said).any(|(a, b)| *a < b);
        let mut rows = self.rows.iter().take(kept(self.cpus)).zip(&other.rows);
        let back = rows.any(|(said, now)| below(now.shown, said.shown))
            || below(other.total(), self.total());
        if !back {
            self.clone_from(other);
        }
        !back
    }

    /// How many bytes the written ledger has whose first ones these are. `None` for what
    /// [`Ledger::write`] cannot have written.
    pub fn size_in(bytes: &[u8]) -> Option<usize> {
        let (slots, _) = bytes.as_chunks::<8>();
        let mut head = slots.iter().map(|slot| u64::from_ne_bytes(*slot));
        let (magic, cpus) = (head.next()?, head.next()?);
        (magic == MAGIC && (1..=u64::from(u32::MAX)).contains(&cpus)).then_some(size(cpus))
    }

    /// The age of the container, in microseconds, at the last reading of a written ledger. `None`
    /// for what [`Ledger::write`] cannot have written.
    pub fn age_in(bytes: &[u8]) -> Option<u64> {
        // 2^53 µs are 285 years.
        const LONG: u64 = 1 << 53;
        let (slots, _) = bytes.as_chunks::<8>();
        let (last, words) = slots.split_last()?;
        let mut sum = Checksum::new();
        for word in words {
            sum.add(u64::from_ne_bytes(*word));
        }
        let age_us = u64::from_ne_bytes(*slots.get(2)?);
        let whole = Ledger::size_in(bytes) == Some(bytes.len());
        (whole && sum.value() == u64::from_ne_bytes(*last) && age_us < LONG).then_some(age_us)
    }
}

/// The rows in use.
struct Tracked<'l> {
    rows: &'l mut [Row],
    /// CPUs that each of them stands for.
    width: u64,
}

fn tracked(rows: &mut [Row; TRACKED], n: NonZero<u64>) -> Tracked<'_> {
    Tracked {
        rows: rows.get_mut(..kept(n.get())).unwrap_or_default(),
        width: if n.get() > TRACKED as u64 { n.get() } else { 1 },
    }
}

/// A number for the cpuset that the per-CPU counters belong to, never 0.
fn list_id(sample: &Sample<'_>) -> u64 {
    Checksum::of(sample.cpus.list.0) | 1
}

/// A checksum over words, against torn writes: FNV-1a's step on 64 bits, mixed at the end.
#[derive(Clone, Copy)]
pub(crate) struct Checksum(u64);

impl Checksum {
    pub(crate) const fn new() -> Self {
        Checksum(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(29);
    }

    /// That of a text.
    pub(crate) fn of(text: &[u8]) -> u64 {
        let mut sum = Checksum::new();
        let (words, rest) = text.as_chunks::<8>();
        words.iter().for_each(|w| sum.add(u64::from_ne_bytes(*w)));
        rest.iter().for_each(|byte| sum.add(u64::from(*byte)));
        sum.value()
    }

    pub(crate) fn value(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }
}
