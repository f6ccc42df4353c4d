//! A model of many processes that read `/proc/stat` while the container's limit changes (NUMBERS section 3):
//! the real accounting and the real shared state, on a simulated clock and cgroup, in random order. No
//! field of the `cpu` line steps back, whichever process reads.
//!
//! `PROCLENS_MODEL_CHANGES` is the number of limit changes (2,000); the schedule is the same in every run.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use proclens::cpu_time::{Accounting, Sample};
use proclens::mem::Arena;
use proclens::shared_state::Store;
use proclens::shared_state::process_accounting::ProcessAccounts;
use proclens::shared_state::record::Identity;
use proclens::values::{CpuList, CpuPressure, CpuTime, Cpus};

const IDENTITY: Identity = Identity {
    cgroup: [1, 2],
    pid_namespace: 3,
    start_ticks: 4,
    boot: [5, 6],
};

/// xorshift64*: the same schedule in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

fn sample(age_us: u64, busy_us: [u64; 3], cpus: u32) -> Sample<'static> {
    let [user_us, nice_us, system_us] = busy_us;
    Sample {
        age_us,
        cpus: Cpus {
            count: cpus,
            list: CpuList::parse(b"0-7").unwrap(),
            quota: None,
            own: &[],
        },
        time: CpuTime {
            user_us,
            nice_us,
            system_us,
            per_cpu: None,
            throttled_us: 0,
            nr_throttled: 0,
            throttled_at: 0,
            pressure: None,
        },
        host: None,
    }
}

fn read(accounts: &ProcessAccounts, store: Option<&Store<'_>>, sample: &Sample<'_>) -> Accounting {
    let mut memory = vec![0; 128 << 10];
    let mut accounting = Accounting::new();
    accounts
        .continue_with(store, 0, sample, &mut accounting, Arena::new(&mut memory))
        .unwrap();
    accounting
}

#[test]
fn no_process_sees_a_step_back_when_limits_change() {
    let changes: u64 = std::env::var("PROCLENS_MODEL_CHANGES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2_000);
    let directory = std::env::temp_dir().join(format!("proclens-model-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let store = Store {
        signals_are_blocked: false,
        directory: Some(directory.as_os_str().as_encoded_bytes()),
        identity: IDENTITY,
    };
    let mut random = Random(17);
    // 8 processes; now and then one ends and another begins.
    let mut processes: Vec<Box<ProcessAccounts>> = (0..8).map(|_| Box::default()).collect();
    let (mut age_us, mut busy, mut cpus) = (5_000_000u64, [0u64; 3], 2u32);
    let mut stopped: VecDeque<(u64, [u64; 3], u32)> = VecDeque::new();
    let mut last = [0; 5];
    for change in 0..changes {
        for _ in 0..1 + random.below(12) {
            let passed_us = random.below(60_000);
            age_us += passed_us;
            for kind in &mut busy {
                *kind += random.below(1 + passed_us * u64::from(cpus) / 3);
            }
            let which = random.below(8) as usize;
            if random.below(40) == 0 {
                *processes[which] = Default::default();
            }
            // A process may be stopped after its sample for some seconds, while others read and the limit changes.
            let taken = (age_us, busy, cpus);
            stopped.retain(|(taken_us, ..)| taken_us + 8_000_000 > age_us);
            let (age_us, busy, cpus) = match random.below(8) {
                0 => {
                    stopped.push_back(taken);
                    continue;
                }
                1 => stopped.pop_front().unwrap_or(taken),
                _ => taken,
            };
            let mut now = sample(age_us, busy, cpus);
            // Neighbours have a quarter of the time; not every process reads that each time.
            now.time.pressure = (age_us % 3 > 0).then_some(CpuPressure {
                some_us: age_us / 2,
                full_us: Some(age_us / 4),
            });
            let accounting = read(&processes[which], Some(&store), &now);
            let total = accounting.total();
            assert!(
                total.iter().zip(last).all(|(now, before)| *now >= before),
                "change {change}, process {which}, {cpus} CPUs: {last:?} {total:?}"
            );
            let rows = accounting.rows().fold([0; 5], |mut sum, row| {
                sum.iter_mut().zip(row).for_each(|(sum, n)| *sum += n);
                sum
            });
            assert_eq!((accounting.cpus(), rows), (u64::from(cpus), total));
            last = total;
        }
        cpus = 1 + random.below(4) as u32;
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

/// The limit is 2 CPUs, then 1, then 2 again, with an old and a new process.
#[test]
fn old_and_new_processes_agree_after_a_limit_went_down_and_up() {
    let directory = std::env::temp_dir().join(format!("proclens-agree-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let store = Store {
        signals_are_blocked: false,
        directory: Some(directory.as_os_str().as_encoded_bytes()),
        identity: IDENTITY,
    };
    let old = Box::<ProcessAccounts>::default();
    let mut last = [0; 5];
    for step in 0..60u64 {
        let cpus = if (20..40).contains(&step) { 1 } else { 2 };
        let now = sample(5_000_000 + step * 100_000, [step * 30_000, 0, 0], cpus);
        let new = Box::<ProcessAccounts>::default();
        // The old process does not read while the limit is low.
        let reader = if cpus == 2 && step % 2 == 0 {
            &old
        } else {
            &new
        };
        let total = read(reader, Some(&store), &now).total();
        assert!(
            total.iter().zip(last).all(|(now, before)| *now >= before),
            "{step}: {last:?} {total:?}"
        );
        if step != 0 {
            let expected = total.iter().sum::<u64>() - last.iter().sum::<u64>();
            assert_eq!(expected, u64::from(cpus) * 10, "{step}");
        }
        last = total;
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Threads without shared state: each takes a later moment from the same clock. A thread never reads less
/// than another thread has read before.
#[test]
fn threads_without_shared_state_see_no_step_back() {
    let accounts = Box::<ProcessAccounts>::default();
    let clock_us = AtomicU64::new(5_000_000);
    let seen = Mutex::new([0u64; 5]);
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let (accounts, clock_us, seen) = (&accounts, &clock_us, &seen);
            scope.spawn(move || {
                let mut random = Random(thread + 1);
                for _ in 0..2_000 {
                    let before = *seen.lock().unwrap();
                    // All readings are within 10 s. The accounting starts anew for a reading that is older.
                    let age_us = clock_us.fetch_add(random.below(1_000), Ordering::SeqCst);
                    // Busy for 7 of 10 microseconds, on two CPUs.
                    let mut now = sample(age_us, [age_us / 2, 0, age_us / 5], 2);
                    // Neighbours have a quarter of the time.
                    now.time.pressure = Some(CpuPressure {
                        some_us: age_us / 2,
                        full_us: Some(age_us / 4),
                    });
                    let total = read(accounts, None, &now).total();
                    assert!(
                        total.iter().zip(before).all(|(now, before)| *now >= before),
                        "{before:?} {total:?}"
                    );
                    let mut seen = seen.lock().unwrap();
                    seen.iter_mut().zip(total).for_each(|(s, n)| *s = n.max(*s));
                }
            });
        }
    });
}

/// A signal handler stops threads for a moment, also in the middle of a first reading, while the others read.
/// No thread reports less than another thread reported before.
#[test]
fn a_stopped_thread_makes_no_thread_step_back() {
    extern "C" fn stop(_: libc::c_int) {
        std::thread::sleep(std::time::Duration::from_micros(300));
    }
    // SAFETY: the handler only sleeps.
    unsafe { libc::signal(libc::SIGUSR1, stop as *const () as libc::sighandler_t) };
    for round in 0..2_000u64 {
        let accounts = Box::<ProcessAccounts>::default();
        let clock_us = AtomicU64::new(5_000_000 + round * 7_777);
        let seen = Mutex::new([0u64; 5]);
        let begin = std::sync::Barrier::new(5);
        let numbers: [AtomicU64; 4] = Default::default();
        std::thread::scope(|scope| {
            for number in &numbers {
                let (accounts, clock_us, seen, begin) = (&accounts, &clock_us, &seen, &begin);
                scope.spawn(move || {
                    // SAFETY: the call has no arguments.
                    number.store(unsafe { libc::gettid() } as u64, Ordering::SeqCst);
                    begin.wait();
                    for _ in 0..6 {
                        let before = *seen.lock().unwrap();
                        let age_us = clock_us.fetch_add(1_500, Ordering::SeqCst);
                        // The CPU time reaches its ticks at other moments than the clock.
                        let busy_us = [age_us / 2 + 3_333, 0, age_us / 5 + 7_777];
                        let now = sample(age_us, busy_us, 2);
                        let total = read(accounts, None, &now).total();
                        assert!(
                            total.iter().zip(before).all(|(now, before)| *now >= before),
                            "{round}: {before:?} {total:?}"
                        );
                        let mut seen = seen.lock().unwrap();
                        seen.iter_mut().zip(total).for_each(|(s, n)| *s = n.max(*s));
                    }
                });
            }
            begin.wait();
            let mut random = Random(round + 1);
            for _ in 0..20 {
                let number = numbers[random.below(4) as usize].load(Ordering::SeqCst);
                // SAFETY: the process has a handler for the signal. For a thread that has ended, the call fails.
                unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), number, libc::SIGUSR1) };
                for _ in 0..random.below(2_000) {
                    std::hint::spin_loop();
                }
            }
        });
    }
}
