//! The load averages against an independent implementation of `kernel/sched/loadavg.c`, over a
//! compressed clock.

mod support;

use proclens::load::average::{Active, Averages, MOST_TASKS, PERIOD_US, Reading};
use proclens::values::FIXED_1;
use proclens::values::Load;
use support::Random;

/// A second implementation of the kernel's arithmetic: on 128 bits, powers by recursion.
mod kernel {
    pub fn calc_load(load: u128, exp: u128, active: u128) -> u128 {
        let up = if active >= load { 2047 } else { 0 };
        (load * exp + active * (2048 - exp) + up) >> 11
    }

    /// `fixed_power_int` takes the bits of `n` from the lowest; each squaring and each product is
    /// rounded to nearest.
    pub fn power(x: u128, n: u64) -> u128 {
        fn go(result: u128, x: u128, n: u64) -> u128 {
            let nearest = |v: u128| (v + 1024) / 2048;
            match n {
                0 => result,
                n if n % 2 == 1 => go(nearest(result * x), nearest(x * x), n / 2),
                n => go(result, nearest(x * x), n / 2),
            }
        }
        go(2048, x, n)
    }

    pub fn calc_load_n(load: u128, exp: u128, active: u128, n: u64) -> u128 {
        calc_load(load, power(exp, n), active)
    }
}

fn running(tasks: u64) -> Active {
    Active {
        running: tasks * FIXED_1,
        blocked: 0,
    }
}

const EXP: [u128; 3] = [1884, 2014, 2037];

fn expected(load: Load, step: impl Fn(u128, u128) -> u128) -> Load {
    let mut exp = EXP.into_iter();
    Load(
        load.0
            .map(|l| step(u128::from(l), exp.next().unwrap()) as u64),
    )
}

#[test]
fn samples_are_the_kernels() {
    let mut random = Random::seeded(1);
    let mut averages = Averages::default();
    let mut age_us = 0;
    for round in 0..60_000u64 {
        let active = match round % 4000 {
            0..1000 => random.below(4),
            1000..2000 => 0,
            2000..3000 => random.below(5000),
            _ => 16,
        };
        age_us += PERIOD_US;
        let now = Reading {
            age_us,
            cpus: 8,
            ..Reading::default()
        };
        let fixed = u128::from(active) * 2048;
        let wanted = expected(averages.load, |load, exp| {
            kernel::calc_load(load, exp, fixed)
        });
        averages = averages.sample(&now, running(active));
        assert_eq!(averages.load, wanted);
        assert_eq!(averages.last_sample_age_us, age_us);
    }
}

#[test]
fn gaps_are_extrapolated_as_the_kernel_does() {
    let mut random = Random::seeded(2);
    for _ in 0..80_000 {
        let load = Load([0; 3].map(|_| random.next() >> (42 + random.below(22))));
        let gap = if random.below(3) == 0 {
            random.below(1 << 40)
        } else {
            random.below(40 * PERIOD_US)
        };
        let cpus = 1 + random.below(256);
        let last = Averages {
            last_sample_age_us: random.below(1 << 50),
            load,
            cpu_us: random.below(1 << 50),
            pressure_us: random.below(1 << 40),
            ..Averages::default()
        };
        let used = random.below(cpus * gap / 2 + 1);
        let waited = random.below(gap + 1);
        let now = Reading {
            age_us: last.last_sample_age_us + gap,
            cpu_us: last.cpu_us + used,
            pressure_us: last.pressure_us + waited,
            cpus,
        };
        let n = gap / PERIOD_US;
        let fixed = |us: u64| u128::from(us) * 2048 / u128::from(gap.max(1));
        let active = fixed(used) + fixed(waited);
        let extrapolated = last.extrapolate(&now);
        if n == 0 {
            assert_eq!(extrapolated, last);
            assert_eq!(last.sample(&now, running(7)), last);
            continue;
        }
        let wanted = expected(load, |load, exp| kernel::calc_load_n(load, exp, active, n));
        assert_eq!(extrapolated.load, wanted, "{last:?} {now:?}");
        assert_eq!(
            extrapolated.last_sample_age_us,
            last.last_sample_age_us + n * PERIOD_US
        );
        assert!(now.age_us - extrapolated.last_sample_age_us < PERIOD_US);

        // A sample at the end of the gap: the periods before it extrapolated, then the count.
        let count = random.below(100);
        let before = if n == 1 {
            load
        } else {
            expected(load, |load, exp| {
                kernel::calc_load_n(load, exp, active, n - 1)
            })
        };
        let wanted = expected(before, |load, exp| {
            kernel::calc_load(load, exp, u128::from(count) * 2048)
        });
        assert_eq!(last.sample(&now, running(count)).load, wanted);
    }
}

#[test]
fn one_busy_task_raises_the_average_as_on_a_machine() {
    let mut averages = Averages::default();
    let mut shown = Vec::new();
    for period in 1..=12 {
        let now = Reading {
            age_us: period * PERIOD_US,
            cpus: 2,
            ..Reading::default()
        };
        averages = averages.sample(&now, running(1));
        let hundredths = |load: u64| (load + FIXED_1 / 200) * 100 / FIXED_1;
        shown.push(hundredths(averages.load.0[0]));
    }
    assert_eq!(shown, [8, 15, 22, 28, 34, 39, 44, 49, 53, 57, 60, 63]);
}

#[test]
fn averages_without_a_sampler_come_from_the_cpu_time() {
    // Ten minutes with 1.5 CPUs busy all the time: no average is above 1.5, and that of 15 minutes is below it.
    let now = Reading {
        age_us: 600_000_000,
        cpu_us: 900_000_000,
        pressure_us: 0,
        cpus: 2,
    };
    let Load([one, five, fifteen]) = Averages::default().extrapolate(&now).load;
    assert!((3070..=3074).contains(&one), "{one}");
    assert!((2650..2700).contains(&five), "{five}");
    assert!((1450..1550).contains(&fifteen), "{fifteen}");
    let young = Reading {
        age_us: PERIOD_US - 1,
        ..now
    };
    assert_eq!(Averages::default().extrapolate(&young).load, Load([0; 3]));
}

#[test]
fn an_hour_of_pause_is_no_spike() {
    let last = Averages {
        last_sample_age_us: 1_000 * PERIOD_US,
        load: Load([3 * FIXED_1; 3]),
        cpu_us: 77,
        ..Averages::default()
    };
    let now = Reading {
        age_us: 1_720 * PERIOD_US,
        cpu_us: 77,
        pressure_us: 0,
        cpus: 4,
    };
    assert_eq!(last.extrapolate(&now).load.0[0], 0);
    assert!(last.extrapolate(&now).load.0[2] < 3 * FIXED_1 / 40);
    let Load(after) = last.sample(&now, running(4)).load;
    assert!(after.iter().all(|load| *load < FIXED_1 / 2), "{after:?}");
}

#[test]
fn counters_that_go_back_or_jump_stay_within_what_the_cpus_can_do() {
    let last = Averages {
        last_sample_age_us: 0,
        load: Load([0; 3]),
        cpu_us: 1 << 40,
        pressure_us: 9,
        ..Averages::default()
    };
    let now = Reading {
        age_us: 100 * PERIOD_US,
        cpu_us: 0,
        pressure_us: 0,
        cpus: 4,
    };
    assert_eq!(last.extrapolate(&now).load, Load([0; 3]));
    let last = Averages { cpu_us: 0, ..last };
    let now = Reading {
        cpu_us: u64::MAX,
        pressure_us: u64::MAX,
        ..now
    };
    assert!(
        last.extrapolate(&now)
            .load
            .0
            .iter()
            .all(|load| *load <= 5 * FIXED_1)
    );
    // An age before the last sample changes nothing.
    let later = Averages {
        last_sample_age_us: 200 * PERIOD_US,
        ..last
    };
    assert_eq!(later.extrapolate(&now), later);
    assert_eq!(later.sample(&now, running(9)), later);
}

#[test]
fn extremes_do_no_harm() {
    let mut random = Random::seeded(5);
    for _ in 0..60_000 {
        let last = Averages {
            last_sample_age_us: random.any(),
            load: Load([random.any(), random.any(), random.any()]),
            cpu_us: random.any(),
            pressure_us: random.any(),
            active: Active {
                running: random.any(),
                blocked: random.any(),
            },
            running: random.any(),
            used: random.any(),
        };
        let now = Reading {
            age_us: random.any(),
            cpu_us: random.any(),
            pressure_us: random.any(),
            cpus: random.any(),
        };
        for after in [
            last.extrapolate(&now),
            last.sample(
                &now,
                Active {
                    running: random.any(),
                    blocked: random.any(),
                },
            ),
        ] {
            if after.last_sample_age_us != last.last_sample_age_us {
                assert!(
                    after
                        .load
                        .0
                        .iter()
                        .all(|load| *load <= MOST_TASKS * FIXED_1)
                );
            }
        }
        last.due_us();
    }
}

/// Two CPUs without pressure counters, and one or two of four samples missing: the number of tasks that wait and
/// sleep is taken from the last sample.
#[test]
fn samples_that_are_missing_now_and_then_change_little() {
    let mut random = Random::seeded(9);
    for (busy, blocked) in [(0, 0), (1, 0), (3, 0), (16, 0), (0, 4), (3, 2), (200, 0)] {
        let active = Active {
            running: busy * FIXED_1,
            blocked: blocked * FIXED_1,
        };
        let mut true_load = Averages::default();
        let mut averages = Averages::default();
        for period in 1..=120u64 {
            let noise = random.below(20_000);
            let now = Reading {
                age_us: period * PERIOD_US + random.below(50_000),
                cpu_us: period * PERIOD_US * busy.min(2) + noise,
                pressure_us: 0,
                cpus: 2,
            };
            true_load = true_load.sample(&now, active);
            let missing = period % 4 == 1 || (period % 4 == 2 && random.below(2) == 0);
            if !missing || period < 3 {
                averages = averages.sample(&now, active);
            }
            let shown = averages.extrapolate(&now).load;
            for (shown, exact) in shown.0.iter().zip(true_load.load.0) {
                let off = shown.abs_diff(exact) as f64 / 2048.0;
                let exact = exact as f64 / 2048.0;
                assert!(
                    off <= 0.1 * exact + 0.1,
                    "{busy} {blocked} at {period}: {exact} {off}"
                );
            }
        }
    }
}

#[test]
fn ended_load_does_not_continue_in_periods_without_samples() {
    let mut averages = Averages::default();
    for period in 1..=60 {
        let now = Reading {
            age_us: period * PERIOD_US,
            cpu_us: period * PERIOD_US * 2,
            pressure_us: 0,
            cpus: 2,
        };
        averages = averages.sample(&now, running(16));
    }
    // First frozen for an hour; then a minute in which only a quarter of the CPU time was used.
    let end_us = 60 * PERIOD_US;
    let frozen = Reading {
        age_us: end_us + 720 * PERIOD_US,
        cpu_us: end_us * 2,
        pressure_us: 0,
        cpus: 2,
    };
    assert_eq!(averages.extrapolate(&frozen).load.0[0], 0);
    let slower = Reading {
        age_us: end_us + 120 * PERIOD_US,
        cpu_us: end_us * 2 + 60 * PERIOD_US,
        ..frozen
    };
    let Load([one, ..]) = averages.extrapolate(&slower).load;
    assert!(
        (4 * FIXED_1 - 100..4 * FIXED_1 + 100).contains(&one),
        "{one}"
    );
}

/// Where no sampler may run, each reader stores its estimate. A program that reads every 7 s sees the load of
/// the CPU time (NUMBERS section 5).
#[test]
fn estimates_of_readers_follow_the_cpu_time() {
    let mut kept = Averages::default();
    // Idle for ten days, then one busy CPU.
    let idle_us = 864_000_000_000;
    let reading = |seconds: u64| Reading {
        age_us: idle_us + seconds * 1_000_000,
        cpu_us: seconds * 1_000_000,
        pressure_us: 0,
        cpus: 2,
    };
    kept = kept.estimate(&reading(0));
    assert_eq!(kept.load.0[0], 0);
    for round in 1..=9 {
        kept = kept.estimate(&reading(round * 7));
    }
    // 1 - exp(-63 / 60) is 0.65; the last samples may be up to one period old.
    let one = kept.load.0[0] as f64 / FIXED_1 as f64;
    assert!((0.60..=0.67).contains(&one), "{one}");
    for round in 10..=100 {
        kept = kept.estimate(&reading(round * 7));
    }
    let one = kept.load.0[0] as f64 / FIXED_1 as f64;
    assert!((0.97..=1.01).contains(&one), "{one}");
}
