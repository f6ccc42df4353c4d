//! The accounting of `/proc/stat` against its contract (NUMBERS section 3): no field steps back, and over any
//! time the fields grow by `n` × that time.

mod support;

use proclens::cpu_time::format::{SIZE, size};
use proclens::cpu_time::{Accounting, HostCounts, MOST_ROWS, Sample, TICK_US};
use proclens::values::{CpuList, CpuPressure, CpuTime, Cpus, PerCpu, Quota};
use support::Random;

/// The counters of a container, which the tests read at chosen moments.
#[derive(Clone, Debug, Default)]
struct Machine {
    age_us: u64,
    n: u32,
    quota: Option<Quota>,
    busy: [u64; 3],
    throttled_us: u64,
    nr_throttled: u64,
    throttled_at: u64,
    /// `full` of `cpu.pressure`.
    full_us: Option<u64>,
    /// `cpuacct.usage_all` and `cpuacct.usage_percpu`.
    per_cpu: Option<[String; 2]>,
    list: String,
    host: Option<HostCounts>,
}

impl Machine {
    fn new(n: u32) -> Self {
        Machine {
            n,
            list: "0-1023".into(),
            throttled_at: 1,
            ..Machine::default()
        }
    }

    fn sample(&self) -> Sample<'_> {
        let [user_us, nice_us, system_us] = self.busy;
        Sample {
            age_us: self.age_us,
            cpus: Cpus {
                count: self.n,
                list: CpuList(self.list.as_bytes()),
                quota: self.quota,
                own: &[],
            },
            time: CpuTime {
                user_us,
                nice_us,
                system_us,
                per_cpu: self.per_cpu.as_ref().map(|[sampled, measured]| PerCpu {
                    sampled: sampled.as_bytes(),
                    measured: measured.as_bytes(),
                }),
                throttled_us: self.throttled_us,
                nr_throttled: self.nr_throttled,
                throttled_at: self.throttled_at,
                pressure: Some(CpuPressure {
                    some_us: 0,
                    full_us: self.full_us,
                }),
            },
            host: self.host,
        }
    }
}

fn rows(accounting: &Accounting) -> Vec<[u64; 5]> {
    accounting.rows().collect()
}

fn sum(rows: &[[u64; 5]]) -> [u64; 5] {
    rows.iter().fold([0; 5], |mut total, row| {
        total.iter_mut().zip(row).for_each(|(t, v)| *t += v);
        total
    })
}

fn ticks(us: u64) -> u64 {
    us / TICK_US
}

#[test]
fn the_first_reading_follows_the_contracts_formula() {
    // 1.5 CPUs on n = 2: 100 s of age, 60 s busy, 400 periods throttled for 30 s.
    let machine = Machine {
        age_us: 100_004_000,
        quota: Some(Quota {
            quota_us: 150_000,
            period_us: 100_000,
        }),
        busy: [40_015_000, 5_000_000, 15_009_999],
        throttled_us: 30_000_000,
        nr_throttled: 400,
        ..Machine::new(2)
    };
    let mut accounting = Accounting::new();
    accounting.first(&machine.sample());
    assert_eq!(
        rows(&accounting),
        [[2001, 250, 750, 5999, 1000], [2000, 250, 750, 6000, 1000]]
    );
    assert_eq!(accounting.total(), [4001, 500, 1500, 11999, 2000]);
    assert_eq!(accounting.idle_ticks(), 11999);

    let mut other = Accounting::new();
    other.first(&machine.sample());
    assert_eq!(accounting, other);
}

#[test]
fn steal_is_no_more_than_what_n_cpus_lost() {
    // A quota of whole CPUs: all of n belongs to the container, so throttled time is not steal.
    let machine = Machine {
        age_us: 10_000_000,
        quota: Some(Quota {
            quota_us: 200_000,
            period_us: 100_000,
        }),
        busy: [20_000_000, 0, 0],
        throttled_us: 90_000_000,
        nr_throttled: 100,
        ..Machine::new(2)
    };
    let mut accounting = Accounting::new();
    accounting.first(&machine.sample());
    assert_eq!(accounting.total(), [2000, 0, 0, 0, 0]);

    // 1.5 CPUs, always throttled, on a host of many CPUs: a quarter is steal.
    let mut machine = Machine {
        quota: Some(Quota {
            quota_us: 150_000,
            period_us: 100_000,
        }),
        ..machine
    };
    machine.busy = [0; 3];
    machine.age_us = 0;
    (machine.throttled_us, machine.nr_throttled) = (0, 0);
    let mut accounting = Accounting::new();
    accounting.first(&machine.sample());
    for period in 1..=100 {
        machine.age_us += 100_000;
        machine.busy[0] += 150_000;
        // The kernel updates the two counters at different moments.
        machine.throttled_us += if period % 2 == 0 { 5_000_000 } else { 0 };
        machine.nr_throttled += if period % 2 == 1 { 2 } else { 0 };
        accounting.advance(&machine.sample());
    }
    // The first 100 ms were reported as idle before the throttled time was known.
    assert_eq!(accounting.total(), [1500, 0, 0, 5, 495]);
}

/// Throttled time counts once, also if the quota is removed and set anew, or if another cgroup's quota becomes
/// the tighter one.
#[test]
fn a_quota_that_comes_and_goes_counts_no_throttled_time_twice() {
    let quota = Some(Quota {
        quota_us: 50_000,
        period_us: 100_000,
    });
    let own = Machine {
        age_us: 100_000_000,
        quota,
        throttled_us: 40_000_000,
        nr_throttled: 800,
        ..Machine::new(1)
    };
    let none = Machine {
        quota: None,
        throttled_us: 0,
        nr_throttled: 0,
        throttled_at: 0,
        ..own.clone()
    };
    let parents = Machine {
        throttled_us: 90_000_000,
        nr_throttled: 900,
        throttled_at: 2,
        ..own.clone()
    };
    for first in [&own, &none, &parents] {
        let mut accounting = Accounting::new();
        let mut age_us = 100_000_000;
        let mut enter = |accounting: &mut Accounting, machine: &Machine| {
            let before = accounting.total();
            let mut machine = machine.clone();
            (machine.age_us, age_us) = (age_us, age_us + 3_000_000);
            accounting.advance(&machine.sample());
            accounting.total()[4] - before[4]
        };
        enter(&mut accounting, first);
        for next in [&none, &own, &own, &parents, &none, &none, &parents, &own] {
            assert_eq!(enter(&mut accounting, next), 0, "{next:?}");
        }
        // New throttled time shows.
        let more = Machine {
            throttled_us: own.throttled_us + 500_000,
            nr_throttled: own.nr_throttled + 10,
            ..own.clone()
        };
        assert_eq!(enter(&mut accounting, &none), 0);
        assert_eq!(enter(&mut accounting, &more), 50);
    }
}

/// A container of `n` CPUs at the beginning of its second minute; the tests advance it second by second.
struct Seconds {
    machine: Machine,
    accounting: Accounting,
}

impl Seconds {
    fn new(n: u32, quota: Option<Quota>) -> Self {
        let machine = Machine {
            age_us: 60_000_000,
            quota,
            throttled_at: u64::from(quota.is_some()),
            full_us: Some(0),
            list: "0-7".into(),
            ..Machine::new(n)
        };
        let mut accounting = Accounting::new();
        accounting.advance(&machine.sample());
        Seconds {
            machine,
            accounting,
        }
    }

    /// Passes `seconds`, read `readings` times a second. The counters grow by so many milliseconds a
    /// second. Returns the new ticks of busy, idle and steal, and how many of steal are the neighbours'.
    fn pass(&mut self, seconds: u64, readings: u64, [busy, full, throttled]: [u64; 3]) -> [u64; 4] {
        let (before, contended) = (self.accounting.total(), self.accounting.contended());
        for _ in 0..seconds * readings {
            let machine = &mut self.machine;
            machine.age_us += 1_000_000 / readings;
            machine.busy[0] += busy * 1_000 / readings;
            *machine.full_us.as_mut().expect("pressure") += full * 1_000 / readings;
            machine.throttled_us += throttled * 1_000 / readings;
            machine.nr_throttled += u64::from(throttled > 0) * 10 / readings;
            self.accounting.advance(&machine.sample());
        }
        let [user, _, _, idle, steal] = self.accounting.total();
        [
            user - before[0],
            idle - before[3],
            steal - before[4],
            self.accounting.contended() - contended,
        ]
    }
}

/// Time in which neighbours use the CPUs that the container wants is steal. Time in which its own threads wait
/// for each other is not.
#[test]
fn time_that_neighbours_used_is_steal() {
    // Both containers want both CPUs: each gets half.
    let mut two = Seconds::new(2, None);
    assert_eq!(two.pass(10, 1, [1000, 500, 0]), [1000, 0, 1000, 1000]);
    // A neighbour with three times the weight.
    assert_eq!(two.pass(10, 1, [500, 750, 0]), [500, 0, 1500, 1500]);
    // A container alone, with any number of threads: the kernel counts nothing in `full`.
    assert_eq!(two.pass(10, 1, [2000, 0, 0]), [2000, 0, 0, 0]);
    assert_eq!(two.pass(10, 1, [700, 0, 0]), [700, 1300, 0, 0]);
    // One thread on a machine of many CPUs shares its CPU; the others are idle.
    let mut one = Seconds::new(8, None);
    assert_eq!(one.pass(10, 1, [500, 500, 0]), [500, 7000, 500, 500]);
    // It wants CPUs for half of the time: steal is at least the kernel's average.
    let mut half = Seconds::new(2, None);
    assert_eq!(half.pass(10, 1, [500, 250, 0]), [500, 1250, 250, 250]);
    // The container never ran.
    let mut never = Seconds::new(1, None);
    assert_eq!(never.pass(10, 1, [0, 1000, 0]), [0, 0, 1000, 1000]);
}

/// The steal over a longer time does not depend on how often it is read.
#[test]
fn neighbours_steal_the_same_from_frequent_readers() {
    for readings in [2, 4, 10, 100, 1000] {
        let mut two = Seconds::new(2, None);
        let [busy, idle, steal, contended] = two.pass(20, readings, [1000, 500, 0]);
        assert_eq!((busy, steal), (2000, contended), "{readings}");
        // At first up to a second is idle, until the counters are compared.
        assert!(idle <= 120 && steal + idle == 2000, "{readings}: {idle}");
    }
}

/// Throttled threads wait too. That time is the quota's part.
#[test]
fn throttled_time_is_not_the_neighbours() {
    let quota = |quota_us| {
        Some(Quota {
            quota_us,
            period_us: 100_000,
        })
    };
    // 1.5 CPUs for four busy threads on two CPUs: each CPU is throttled for a quarter of the time.
    let mut alone = Seconds::new(2, quota(150_000));
    assert_eq!(alone.pass(60, 1, [1500, 250, 500]), [9000, 0, 3000, 0]);
    // A quota of two CPUs on eight.
    let mut whole = Seconds::new(2, quota(200_000));
    assert_eq!(whole.pass(60, 1, [2000, 750, 6000]), [12000, 0, 0, 0]);
    // The kernel reports throttled time when the threads go on, up to a period after they waited.
    let mut late = Seconds::new(2, quota(150_000));
    for _ in 0..60 {
        assert_eq!(late.pass(1, 1, [750, 300, 0])[3], 0);
        assert_eq!(late.pass(1, 1, [750, 0, 900])[3], 0);
    }
    // Neighbours leave less than the quota, which never runs out. The container uses one CPU of its 1.5; half a
    // CPU is the neighbours', and half a CPU is above the quota. The result shows one reading later.
    let mut crowded = Seconds::new(2, quota(150_000));
    crowded.pass(1, 1, [1000, 500, 0]);
    assert_eq!(crowded.pass(10, 1, [1000, 500, 0]), [1000, 500, 500, 500]);
    // The rest shows once.
    assert_eq!(crowded.pass(1, 1, [1000, 0, 0]), [100, 50, 50, 50]);
    assert_eq!(crowded.pass(9, 1, [1000, 0, 0]), [900, 900, 0, 0]);
}

/// The first reading shows only the certain part, so that two processes that share nothing agree.
#[test]
fn the_first_reading_has_the_least_that_neighbours_used() {
    let mut machine = Machine {
        age_us: 100_000_000,
        busy: [60_000_000, 0, 0],
        full_us: Some(30_000_000),
        throttled_at: 0,
        ..Machine::new(2)
    };
    let first = |machine: &Machine| {
        let mut accounting = Accounting::new();
        accounting.first(&machine.sample());
        (accounting.total(), accounting.contended())
    };
    assert_eq!(first(&machine), ([6000, 0, 0, 11000, 3000], 3000));
    machine.age_us += 10_000_000;
    assert_eq!(first(&machine), ([6000, 0, 0, 13000, 3000], 3000));
    // It is never more than the remaining time.
    machine.busy[0] = 210_000_000;
    assert_eq!(first(&machine), ([21000, 0, 0, 0, 1000], 1000));
    machine.full_us = None;
    assert_eq!(first(&machine), ([21000, 0, 0, 1000, 0], 0));
    // With a quota, no counter distinguishes the two.
    machine.full_us = Some(30_000_000);
    machine.quota = Some(Quota {
        quota_us: 200_000,
        period_us: 100_000,
    });
    assert_eq!(first(&machine), ([21000, 0, 0, 1000, 0], 0));
}

/// Threads come and go on all CPUs, and those of neighbours do too. In each reading the steal is never more than
/// the time that neighbours used, and never less than the kernel's average.
#[test]
fn steal_is_never_more_than_neighbours_used() {
    const CPUS: usize = 4;
    for seed in 1..=50u64 {
        let mut random = Random::seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut run = Seconds::new(CPUS as u32, None);
        for _ in 0..50 {
            // For each CPU: how many milliseconds of the second the container ran, and waited for others.
            let mut cpus = [[0; 2]; CPUS];
            for cpu in &mut cpus {
                let wanted = random.below(1001) * random.below(2);
                let had = random.below(wanted + 1);
                *cpu = [had, wanted - had];
            }
            let used: u64 = cpus.iter().map(|[ran, _]| ran).sum();
            let had: u64 = cpus.iter().map(|[_, waited]| waited).sum();
            // As psi.c does: the mean of the CPUs, weighted with the time in which each had tasks.
            let weighted: u64 = cpus
                .iter()
                .map(|[ran, waited]| (ran + waited) * waited)
                .sum();
            let full = weighted / (used + had).max(1);
            let [.., contended] = run.pass(1, 1, [used, full, 0]);
            assert!(
                (full / 10).saturating_sub(1) <= contended && contended <= had / 10 + 1,
                "seed {seed}: {cpus:?}: {contended}"
            );
        }
    }
}

#[test]
fn an_unknown_number_of_cpus_counts_as_one() {
    let machine = Machine {
        age_us: 1_000_000,
        ..Machine::new(0)
    };
    let mut accounting = Accounting::new();
    assert_eq!(accounting.rows().count(), 0);
    accounting.advance(&machine.sample());
    assert_eq!(rows(&accounting), [[0, 0, 0, 100, 0]]);
}

#[test]
fn a_burst_is_carried_over_and_shown_instead_of_idle_time() {
    let mut machine = Machine::new(1);
    machine.quota = Some(Quota {
        quota_us: 100_000,
        period_us: 100_000,
    });
    let mut accounting = Accounting::new();
    accounting.first(&machine.sample());
    // The whole quota of a period in its first 20 ms, on five CPUs.
    machine.age_us += 20_000;
    machine.busy = [60_000, 0, 40_000];
    accounting.advance(&machine.sample());
    assert_eq!(accounting.total().iter().sum::<u64>(), 2);
    assert_eq!(accounting.idle_ticks(), 0);
    machine.age_us += 80_000;
    accounting.advance(&machine.sample());
    assert_eq!(accounting.total(), [6, 0, 4, 0, 0]);
    machine.age_us += 100_000;
    accounting.advance(&machine.sample());
    assert_eq!(accounting.total(), [6, 0, 4, 10, 0]);
}

#[test]
fn use_beyond_n_is_forgotten_after_a_second() {
    // Two CPUs busy where one is shown (PROCLENS_CPUS=1): full, and not for ever after.
    let mut machine = Machine::new(1);
    let mut accounting = Accounting::new();
    accounting.first(&machine.sample());
    for _ in 0..60 {
        machine.age_us += 1_000_000;
        machine.busy[0] += 1_000_000;
        machine.busy[2] += 1_000_000;
        accounting.advance(&machine.sample());
    }
    let [user, _, system, idle, _] = accounting.total();
    assert_eq!((user + system, idle), (6000, 0));
    assert!(user.abs_diff(system) < 200, "{user} {system}");
    machine.age_us += 1_200_000;
    accounting.advance(&machine.sample());
    assert_eq!(accounting.idle_ticks(), 20);
}

#[test]
fn a_reader_that_loses_its_cpu_between_counters_and_clock_loses_no_busy_time() {
    // One CPU, busy three quarters of the time. Every second reader waits 0.6 s for its CPU after it has
    // read the counters.
    let mut machine = Machine::new(1);
    let mut accounting = Accounting::new();
    accounting.first(&machine.sample());
    for turn in 1..=21u64 {
        machine.age_us = turn * 1_000_000 + 600_000 * (turn % 2);
        machine.busy[0] = turn * 750_000;
        accounting.advance(&machine.sample());
    }
    let [user, _, _, idle, _] = accounting.total();
    assert_eq!((user, idle), (1575, 585));
}

#[test]
fn a_reader_whose_counters_were_overtaken_counts_nothing_twice() {
    let mut machine = Machine::new(1);
    let mut accounting = Accounting::new();
    accounting.first(&machine.sample());
    let mut late = Machine::new(1);
    late.busy[0] = 1_000_000;
    machine.age_us = 2_000_000;
    machine.busy[0] = 2_000_000;
    accounting.advance(&machine.sample());
    // This reader read its counters a second ago, and the clock only now.
    late.age_us = 2_100_000;
    accounting.advance(&late.sample());
    machine.age_us = 3_000_000;
    machine.busy[0] = 2_500_000;
    accounting.advance(&machine.sample());
    let [user, _, _, idle, _] = accounting.total();
    assert_eq!((user, idle), (250, 50));
}

/// The kernel measures the sum of user and system time, and estimates its parts.
#[test]
fn parts_that_move_back_do_not_change_the_sum() {
    let mut machine = Machine::new(1);
    machine.age_us = 100_000_000;
    machine.busy = [10_000_000, 0, 1_000_000];
    let mut accounting = Accounting::new();
    accounting.advance(&machine.sample());
    for _ in 0..100 {
        machine.age_us += 1_000_000;
        machine.busy[0] -= 20_000;
        machine.busy[2] += 520_000;
        accounting.advance(&machine.sample());
    }
    let [user, _, system, _, _] = accounting.total();
    assert_eq!((user, system), (1_000, 100 + 5_000));
    // Later the parts agree with their counters again.
    machine.age_us += 10_000_000;
    machine.busy[0] += 5_000_000;
    accounting.advance(&machine.sample());
    let [user, _, system, _, _] = accounting.total();
    assert_eq!((user, system), (1_300, 5_100 + 200));
}

#[test]
fn counters_of_another_cpuset_are_not_compared() {
    let text = |cpu: u32, user: u64| {
        let user = user * 1000;
        let sampled = format!("cpu user system\n{cpu} {user} 0\n");
        Some([sampled, format!("{user} \n")])
    };
    let mut machine = Machine {
        list: "2".into(),
        ..Machine::new(1)
    };
    machine.per_cpu = text(2, 5_000_000);
    machine.busy[0] = 5_000_000;
    machine.age_us = 10_000_000;
    let mut accounting = Accounting::new();
    accounting.advance(&machine.sample());
    // The container moved to a CPU on which it had run less.
    machine.list = "3".into();
    for user in [1_000_000, 1_500_000] {
        machine.per_cpu = text(3, user);
        machine.age_us += 1_000_000;
        accounting.advance(&machine.sample());
    }
    let [user, _, _, idle, _] = accounting.total();
    assert_eq!((user, idle), (550, 650));
}

/// Each change of the cpuset keeps the rows of the CPUs that stay, under their numbers.
#[test]
fn the_row_of_a_cpu_stays_with_its_number() {
    let by_cpu = |machine: &Machine, accounting: &Accounting| {
        let cpus = CpuList(machine.list.as_bytes()).iter();
        cpus.zip(rows(accounting)).collect::<Vec<_>>()
    };
    let lists = [
        "1", "0-1", "1-2", "0,2-5", "4", "4,6", "0-6", "1-3", "5", "5-68", "0,5", "7",
    ];
    let mut machine = Machine::new(1);
    machine.age_us = 10_000_000;
    let mut accounting = Accounting::new();
    let mut before: Vec<(u32, [u64; 5])> = Vec::new();
    let mut sum_before = 0;
    for list in lists.iter().chain(lists.iter().rev()) {
        machine.list = (*list).into();
        machine.n = CpuList(list.as_bytes()).count();
        for _ in 0..3 {
            machine.age_us += 1_000_000;
            machine.busy[0] += 300_000;
            accounting.advance(&machine.sample());
            let now = by_cpu(&machine, &accounting);
            for (cpu, row) in &before {
                let later = now.iter().find(|(number, _)| number == cpu);
                assert!(
                    later.is_none_or(|(_, later)| later.iter().zip(row).all(|(b, a)| b >= a)),
                    "{list}: cpu{cpu} {row:?} {now:?}"
                );
            }
            let sum: u64 = now.iter().flat_map(|(_, row)| row).sum();
            if sum_before != 0 {
                assert_eq!(sum - sum_before, 100 * u64::from(machine.n), "{list}");
            }
            (before, sum_before) = (now, sum);
        }
    }
}

#[test]
fn small_loads_are_not_lost_in_rounding() {
    // A hundredth of a CPU on 64, read often: the shown value differs from the true one by at most a tick.
    let mut machine = Machine::new(64);
    let mut accounting = Accounting::new();
    accounting.first(&machine.sample());
    for _ in 0..2_000 {
        machine.age_us += 100_000;
        machine.busy[0] += 700;
        machine.busy[2] += 300;
        accounting.advance(&machine.sample());
        let [user, _, system, _, _] = accounting.total();
        assert!(user.abs_diff(ticks(machine.busy[0])) <= 1);
        assert!(system.abs_diff(ticks(machine.busy[2])) <= 1);
    }
    let (least, most) = accounting
        .rows()
        .fold((u64::MAX, 0), |(a, b), [u, _, s, _, _]| {
            (a.min(u + s), b.max(u + s))
        });
    assert!(most - least <= 2, "{least} {most}");
}

#[test]
fn per_cpu_counters_are_shown_where_every_cpu_is_the_containers() {
    let text = |a: u64, b: u64| {
        let (a, b) = (a * 1000, b * 1000);
        Some([
            format!("cpu user system\n0 9 9\n2 {a} 10000000\n3 0 0\n5 {b} 50000000\n"),
            format!("18 {} 0 {} \n", a + 10_000_000, b + 50_000_000),
        ])
    };
    let mut machine = Machine {
        list: "2,5".into(),
        age_us: 10_000_000,
        ..Machine::new(2)
    };
    machine.busy = [4_000_000, 0, 60_000];
    machine.per_cpu = text(1_000_000, 3_000_000);
    let mut accounting = Accounting::new();
    accounting.advance(&machine.sample());
    assert_eq!(
        rows(&accounting),
        [[100, 0, 1, 899, 0], [300, 0, 5, 695, 0]]
    );
    machine.age_us += 1_000_000;
    machine.busy[0] += 1_500_000;
    machine.per_cpu = text(1_500_000, 4_000_000);
    accounting.advance(&machine.sample());
    assert_eq!(
        rows(&accounting),
        [[150, 0, 1, 949, 0], [400, 0, 5, 695, 0]]
    );

    // One CPU of two: time is spread evenly from then on.
    machine.n = 1;
    machine.age_us += 1_000_000;
    machine.busy[0] += 500_000;
    accounting.advance(&machine.sample());
    assert_eq!(rows(&accounting), [[600, 0, 6, 1694, 0]]);

    // A CPU of the list has no line: time is spread evenly.
    let mut accounting = Accounting::new();
    let machine = Machine {
        list: "2,7".into(),
        n: 2,
        ..machine
    };
    accounting.advance(&machine.sample());
    assert_eq!(rows(&accounting)[0][0], rows(&accounting)[1][0]);
}

/// No counter says which CPU was throttled. A CPU that is always busy has no idle time to show as steal.
#[test]
fn steal_shows_on_the_cpus_that_were_idle() {
    let counters = |age_us: u64| {
        let (a, b) = (age_us * 1000, age_us * 500);
        let sampled = format!("cpu user system\n0 {a} 0\n1 {b} 0\n");
        Some([sampled, format!("{a} {b} \n")])
    };
    let at = |age_us: u64| Machine {
        age_us,
        list: "0-1".into(),
        quota: Some(Quota {
            quota_us: 150_000,
            period_us: 100_000,
        }),
        busy: [age_us * 3 / 2, 0, 0],
        per_cpu: counters(age_us),
        throttled_us: age_us / 2,
        nr_throttled: age_us / 100_000,
        ..Machine::new(2)
    };
    let mut accounting = Accounting::new();
    for second in 1..=60 {
        accounting.advance(&at(second * 1_000_000).sample());
        let expected = [[100, 0, 0, 0, 0], [50, 0, 0, 0, 50]];
        assert_eq!(
            rows(&accounting),
            expected.map(|row| row.map(|t| t * second))
        );
        let mut first = Accounting::new();
        first.advance(&at(second * 1_000_000).sample());
        assert_eq!(rows(&first), rows(&accounting));
    }
}

#[test]
fn cpus_that_vanish_leave_their_time_and_new_ones_start_at_nothing() {
    let mut machine = Machine::new(3);
    machine.age_us = 10_000_000;
    machine.busy = [3_000_000, 0, 0];
    let mut accounting = Accounting::new();
    accounting.advance(&machine.sample());
    machine.n = 2;
    accounting.advance(&machine.sample());
    assert_eq!(
        rows(&accounting),
        [[150, 0, 0, 1350, 0], [150, 0, 0, 1350, 0]]
    );
    machine.n = 4;
    machine.age_us += 10_000;
    accounting.advance(&machine.sample());
    assert_eq!(rows(&accounting)[3], [0, 0, 0, 1, 0]);
    for n in [200, 65, 1, 100, 64] {
        let before = accounting.total();
        machine.n = n;
        accounting.advance(&machine.sample());
        assert_eq!(
            (accounting.total(), accounting.rows().count()),
            (before, n as usize)
        );
        assert_eq!(sum(&rows(&accounting)), before);
    }
}

/// The invariants hold over a random walk in which everything may change at any reading.
#[test]
fn no_field_steps_back_and_rows_add_up() {
    for seed in 1..=45u64 {
        let mut random = Random::seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let wide = seed % 3 == 0;
        let most = if wide { 300 } else { MOST_ROWS as u64 };
        let mut machine = Machine::new(1 + random.below(most) as u32);
        machine.age_us = random.below(1 << 40);
        machine.busy = [
            random.below(machine.age_us + 1),
            random.below(1 << 30),
            random.below(1 << 36),
        ];
        let mut accounting = Accounting::new();
        accounting.advance(&machine.sample());
        // The current second: its start, and Σ n × Δt since.
        let mut expected = 0u64;
        let start: u64 = accounting.total().iter().sum();
        let mut before = rows(&accounting);
        let mut past = accounting.clone();
        for _ in 0..200 {
            let step = random.below(3_000_000);
            let age = ticks(machine.age_us);
            machine.age_us += step;
            if random.below(10) == 0 {
                machine.n = 1 + random.below(most) as u32;
            }
            if random.below(10) == 0 {
                let period_us = 1_000 + random.below(1_000_000);
                let quota_us = 1_000 + random.below(period_us * u64::from(machine.n));
                machine.quota = (random.below(3) > 0).then_some(Quota {
                    quota_us,
                    period_us,
                });
            }
            for busy in &mut machine.busy {
                let buffer = step * u64::from(machine.n);
                *busy += random.below(buffer / 2 + 1) * random.below(2);
            }
            if random.below(20) == 0 {
                machine.busy = [0; 3]; // moved to another cgroup
            }
            machine.throttled_us += random.below(step + 1);
            machine.nr_throttled += random.below(20);
            let full_us = machine.full_us.unwrap_or(0) + random.below(step + 1);
            machine.full_us = (random.below(10) > 0).then_some(full_us);
            if random.below(10) == 0 {
                machine.throttled_at = random.below(3);
            }

            // Sometimes through the shared state.
            if random.below(4) == 0 {
                let mut bytes = [0u8; SIZE];
                let length = accounting.write(&mut bytes).expect("buffer");
                // An accounting with more CPUs forgets the additional ones.
                let mut copy = past.clone();
                assert!(copy.read(&bytes[..length]));
                assert_eq!(copy, accounting);
                past = std::mem::replace(&mut accounting, copy);
            }
            accounting.advance(&machine.sample());

            let now = rows(&accounting);
            let (total, past) = (sum(&now), sum(&before));
            assert_eq!(now.len() as u64, u64::from(machine.n));
            assert_eq!(total, accounting.total());
            assert!(
                total.iter().zip(&past).all(|(a, b)| a >= b),
                "seed {seed}: {past:?} {total:?}"
            );
            let kept = now.len().min(before.len());
            if now.len() <= MOST_ROWS || now.len() == before.len() {
                let back = now
                    .iter()
                    .zip(&before)
                    .flat_map(|(a, b)| a.iter().zip(b))
                    .any(|(a, b)| a < b);
                assert!(!back, "seed {seed}");
            }
            let passed = ticks(machine.age_us) - age;
            if now.len() >= before.len() && now.len() <= MOST_ROWS {
                for (a, b) in now.iter().zip(&before).take(kept) {
                    assert_eq!(a.iter().sum::<u64>() - b.iter().sum::<u64>(), passed);
                }
            }
            expected += passed * u64::from(machine.n);
            assert_eq!(total.iter().sum::<u64>() - start, expected);
            before = now;
        }
    }
}

/// With CPU use up to `n` CPUs, the fields follow the kernel's totals to a tick per CPU.
#[test]
fn busy_time_that_fits_is_shown_to_the_tick() {
    for seed in 1..=40u64 {
        let mut random = Random::seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut machine = Machine::new(1 + random.below(16) as u32);
        let mut accounting = Accounting::new();
        accounting.advance(&machine.sample());
        for _ in 0..300 {
            let step = 20_000 + random.below(2_000_000);
            machine.age_us += step;
            for busy in &mut machine.busy {
                *busy += random.below(step * u64::from(machine.n) / 4);
            }
            accounting.advance(&machine.sample());
        }
        machine.age_us += 100_000;
        accounting.advance(&machine.sample());
        let [user, nice, system, ..] = accounting.total();
        for (shown, us) in [user, nice, system].into_iter().zip(machine.busy) {
            assert!(
                shown.abs_diff(ticks(us)) <= u64::from(machine.n),
                "seed {seed}: {shown} {us}"
            );
        }
    }
}

#[test]
fn an_overtaken_reader_repeats_the_reported_rows() {
    let mut machine = Machine {
        age_us: 100_000_000,
        ..Machine::new(2)
    };
    let mut accounting = Accounting::new();
    accounting.advance(&machine.sample());
    let before = accounting.clone();
    machine.age_us -= 500_000;
    accounting.advance(&machine.sample());
    assert_eq!(accounting, before);
    // Counters of another container.
    machine.age_us = 1_000_000;
    accounting.advance(&machine.sample());
    assert_eq!(accounting.total(), [0, 0, 0, 200, 0]);
}

#[test]
fn extremes_do_no_harm() {
    let mut random = Random::seeded(7);
    let texts = [
        "",
        "cpu user system\n",
        "0 1",
        "0 18446744073709551615 18446744073709551616\n",
        "\n\n0 x y",
    ];
    let lists = [
        "",
        "0",
        "0-",
        "-",
        "0-18446744073709551615",
        "18446744073709551615,0",
        "3-1",
        "0,0,0",
    ];
    let mut accounting = Accounting::new();
    for _ in 0..3_000 {
        let text = texts[random.below(5) as usize];
        let measured = ["", "1 \n", "18446744073709551615 x"][random.below(3) as usize];
        let machine = Machine {
            age_us: random.any(),
            n: random.any() as u32 >> random.below(32),
            quota: (random.below(2) == 0).then(|| Quota {
                quota_us: random.any(),
                period_us: random.any(),
            }),
            busy: [random.any(), random.any(), random.any()],
            throttled_us: random.any(),
            nr_throttled: random.any(),
            throttled_at: random.below(3),
            full_us: (random.below(2) == 0).then(|| random.any()),
            per_cpu: (random.below(2) == 0).then(|| [text, measured].map(str::to_string)),
            host: (random.below(2) == 0).then(|| HostCounts {
                counts: [random.any(), random.any()],
                up_us: random.any(),
            }),
            list: lists[random.below(8) as usize].to_string(),
        };
        if random.below(4) == 0 {
            accounting.first(&machine.sample());
        } else {
            accounting.advance(&machine.sample());
        }
        assert_eq!(
            accounting.rows().take(1000).count() as u64,
            accounting.cpus().min(1000)
        );
        accounting.idle_ticks();
    }
}

#[test]
fn invalid_bytes_leave_the_accounting_empty() {
    let mut random = Random::seeded(3);
    let machine = Machine {
        age_us: 5_000_000,
        busy: [1_000_000; 3],
        ..Machine::new(3)
    };
    let mut accounting = Accounting::new();
    accounting.first(&machine.sample());
    const SIZE: usize = size(3);
    let mut good = [0u8; SIZE];
    assert_eq!(accounting.write(&mut good), Some(SIZE));
    assert_eq!(accounting.write(&mut [0u8; SIZE - 1]), None);

    let mut read = Accounting::new();
    let refused = |bytes: &[u8]| {
        let mut read = accounting.clone();
        assert!(!read.read(bytes));
        assert_eq!(read, accounting);
    };
    refused(&[]);
    refused(&[0; SIZE]);
    refused(&[0xff; SIZE]);
    refused(&good[..SIZE - 1]);
    refused(&[&good[..], &[0]].concat());
    for _ in 0..500 {
        let mut bytes = good;
        let at = random.below(SIZE as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
        refused(&bytes);
        let mut torn = good;
        let mut newer = accounting.clone();
        newer.advance(
            &Machine {
                age_us: 9_000_000,
                ..machine.clone()
            }
            .sample(),
        );
        newer.write(&mut torn);
        torn[..at].copy_from_slice(&good[..at]);
        if torn != good {
            let whole = read.read(&torn);
            assert!(!whole || read == newer);
        }
    }
    assert!(read.read(&good));
}

/// The machine at `up_us`: 1,000 interrupts and 3,000 switches a second until the container starts
/// at 100 s, then 10 and 5,000.
fn counted(up_us: u64) -> HostCounts {
    const START_US: u64 = 100_000_000;
    let (before, since) = (up_us.min(START_US), up_us.saturating_sub(START_US));
    let count = |old: u64, new: u64| (before * old + since * new) / 1_000_000;
    HostCounts {
        counts: [count(1_000, 10), count(3_000, 5_000)],
        up_us,
    }
}

fn shown(accounting: &Accounting, up_us: u64) -> [u64; 2] {
    let [(now, before), (now2, before2)] =
        [0, 1].map(|i| (counted(up_us).counts[i], accounting.before()[i]));
    [now - before, now2 - before2]
}

#[test]
fn the_machines_counters_begin_with_the_container() {
    let at = |age_us| Machine {
        age_us,
        host: Some(counted(100_000_000 + age_us)),
        ..Machine::new(2)
    };
    let mut accounting = Accounting::new();
    // The first reading is for another value: no counters are known, and none are invented.
    accounting.advance(
        &Machine {
            host: None,
            ..at(500_000)
        }
        .sample(),
    );
    assert_eq!(accounting.before(), [0; 2]);
    // The container is a second old: it shows the machine's mean of a second.
    accounting.advance(&at(1_000_000).sample());
    assert_eq!(shown(&accounting, 101_000_000), [991, 3_020]);
    // From then on each reader gets exactly the machine's growth.
    for age_us in [2_000_000, 3_500_000, 900_000_000] {
        let past_us = age_us - 1_000_000;
        let expected = [991 + past_us / 100_000, 3_020 + past_us / 200];
        let mut bytes = [0; size(2)];
        assert!(accounting.write(&mut bytes).is_some());
        let mut other = Accounting::new();
        assert!(other.read(&bytes));
        for accounting in [&mut accounting, &mut other] {
            accounting.advance(&at(age_us).sample());
            assert_eq!(shown(accounting, 100_000_000 + age_us), expected);
        }
    }
}

#[test]
fn the_machines_counters_never_go_back() {
    let at = |age_us| Machine {
        age_us,
        host: Some(counted(100_000_000 + age_us)),
        ..Machine::new(2)
    };
    // Processes without shared state.
    let mut last = [0; 2];
    for age_us in (0..200).map(|n| n * 37_000_000) {
        let mut accounting = Accounting::new();
        accounting.advance(&at(age_us).sample());
        let now = shown(&accounting, 100_000_000 + age_us);
        assert!(
            now.iter().zip(last).all(|(now, last)| *now >= last),
            "{age_us}: {now:?} {last:?}"
        );
        last = now;
    }
    // Two processes that reported different values, and then got shared state.
    let (mut early, mut late) = (Accounting::new(), Accounting::new());
    early.advance(&at(1_000_000).sample());
    late.advance(&at(500_000_000).sample());
    let by_early = shown(&early, 600_000_000);
    let by_late = shown(&late, 600_000_000);
    let mut bytes = [0; size(2)];
    assert!(late.write(&mut bytes).is_some());
    assert!(early.read(&bytes));
    let now = shown(&early, 600_000_000);
    assert!(now.iter().zip(by_early).all(|(now, shown)| *now >= shown));
    assert!(now.iter().zip(by_late).all(|(now, shown)| *now >= shown));
    // A machine that has just booted, and counters of any size.
    let mut accounting = Accounting::new();
    let host = Some(HostCounts {
        counts: [u64::MAX, 7],
        up_us: 0,
    });
    accounting.advance(
        &Machine {
            host,
            ..Machine::new(1)
        }
        .sample(),
    );
    assert_eq!(accounting.before(), [0; 2]);
}
