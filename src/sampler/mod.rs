//! The sampler, which maintains the load averages of a container.
//!
//! The sampler is one background process per container. It counts the tasks every 5 s ([`count`]) and
//! publishes the averages in the shared state ([`crate::shared_state`]). A process that reads the load ([`reader`])
//! and finds no live sampler starts one (`launch`), if no program can notice it
//! ([`conditions`]). The sampler may be killed at any moment. Without a sampler, the averages are
//! extrapolated from the CPU time of the container ([`crate::load::average`]).

pub mod conditions;
pub mod count;
#[cfg(feature = "preload")]
pub mod launch;
pub mod reader;
pub mod tracker;

use crate::cgroup::container::{self, Container};
use crate::cgroup::kernel::Kernel;
use crate::cgroup::locate::ContainerCgroups;
use crate::cgroup::{cpu, locate, pids};
use crate::cpu_time::Sample;
use crate::load::average::{Averages, PERIOD_US, Reading};
use crate::load::tasks::COUNTS_ALL_UP_TO;
use crate::mem::{Arena, Zeroed};
use crate::settings::Settings;
use crate::shared_state::{Publisher, Store, identify};
use crate::sys::process::{parent, sleep_until};
use crate::sys::{self, Errno};
use crate::values::Cpus;
use count::{Counted, Source, ThreadCounter, When};

/// The sampler ends when no process has read the load for this long, microseconds.
const UNREAD_US: u64 = 3_600_000_000;
/// A new sampler waits this long before its first sample, microseconds. The process that started it is
/// then usually idle again and does not count as load.
const SETTLE_US: u64 = 200_000;
/// How often the sampler removes the state of containers that have ended, microseconds.
const CLEAN_US: u64 = 60_000_000;
/// Below a subreaper, no sampler starts for this long, microseconds: an hour.
const POSTPONED_US: u64 = 3_600_000_000;
/// How many milliseconds a new sampler waits to become PID 1's child: its parent, which is about to end, may get no CPU
/// for a while.
const ADOPTION_TRIES: u32 = 10_000;
/// The same, if the parent could be a subreaper.
const ADOPTION_TRIES_OF_OTHERS: u32 = 50;
/// How many milliseconds a new sampler waits for the sampler lock. A reader holds it for a moment while it stores an
/// estimate, as the program does that started this sampler.
const LOCK_TRIES: u32 = 500;
/// While programs read the load, the time between two counts, microseconds.
const BETWEEN_US: u64 = 900_000;
/// Programs count as reading the load if the last read is at most this old, microseconds.
const READ_LATELY_US: u64 = 3_000_000;
/// Bytes of memory for the files that are read in one cycle.
const CYCLE: usize = 128 << 10;

/// Who starts a sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starter {
    /// The user. This sampler does not end for lack of readers, and waits while another sampler runs.
    User,
    /// A program with the library.
    Library {
        /// The process ID of the sampler's parent, which ends at once. 0 if unknown.
        helper: u32,
    },
    /// The server of `proclens run`, in a thread of its own.
    Server,
}

/// Takes samples until no process has read the load for an hour, the sampler can be noticed
/// ([`conditions::may_stay`]), another sampler runs, or the state cannot be written.
pub fn run<C: Container>(
    container: &C,
    settings: &Settings<'_>,
    starter: Starter,
    counter: &mut ThreadCounter,
    arena: &mut Arena<'_>,
) -> Result<(), Errno> {
    let cgroups = locate::locate(container, arena)?;
    let store = Store {
        directory: settings.state,
        identity: identify(container, &cgroups, settings.cpus.is_some(), arena)?,
        signals_are_blocked: false,
    };
    let start_us = container
        .start_ticks()
        .ok_or(Errno::NOT_FOUND)?
        .saturating_mul(crate::cpu_time::TICK_US);
    let source = source(container, arena);
    let cpus = cpu::cpus(container, &cgroups, settings, arena)
        .map_err(|(_, errno)| errno)?
        .0;
    let buffer = arena.alloc(CYCLE)?;

    let age_us = |container: &C| container.boot_us().map(|now| now.saturating_sub(start_us));
    let on_purpose = starter == Starter::User;
    match starter {
        Starter::Library { helper } if !is_adopted_by_init(container, helper)? => {
            store.postpone_start(age_us(container)?, POSTPONED_US);
            return Ok(());
        }
        // Another PID 1 may start samplers for the library.
        Starter::Server if parent() != 1 => return Ok(()),
        _ => {}
    }
    let number = container.boot_us()?.wrapping_mul(1 << 16) | u64::from(sys::process_id() & 0xffff);
    let mut tries = 0;
    let mut publisher = loop {
        let pause_us = match store.become_publisher(age_us(container)?, number) {
            Err(Errno(libc::EAGAIN)) if on_purpose => PERIOD_US,
            Err(Errno(libc::EAGAIN)) if tries < LOCK_TRIES => 1_000,
            publisher => break publisher?,
        };
        tries += 1;
        sleep_until(
            libc::CLOCK_BOOTTIME,
            container.boot_us()?.saturating_add(pause_us),
        )?;
    };
    if !on_purpose {
        let settled = container.boot_us()?.saturating_add(SETTLE_US);
        sleep_until(libc::CLOCK_BOOTTIME, settled)?;
    }
    let mut averages = *publisher.averages();
    // The last reading. The counter needs the CPU time used since then.
    let mut before = Reading::default();
    let mut counted_once = false;
    let mut read_us = age_us(container)?;
    let mut cleaned_us = read_us;
    let mut last_read = publisher.last_read();
    loop {
        let mut cycle = Arena::new(&mut *buffer);
        let now = reading(
            container,
            &cgroups,
            settings,
            &cpus,
            age_us(container)?,
            &mut cycle,
        )?;
        let spent = (
            now.cpu_us.saturating_sub(before.cpu_us),
            now.age_us.saturating_sub(before.age_us),
        );
        let charged = pids::charged_tasks(container, &cgroups, &mut cycle);
        let when = if counted_once && now.age_us < averages.due_us() {
            When::Between
        } else {
            When::Period
        };
        let counted = counter.count(source, &cgroups, when, spent, charged, &mut cycle)?;
        (before, counted_once) = (now, true);
        let read = publisher.last_read();
        averages = averages.sample(&now, counted.active);
        publish(
            &store,
            &mut publisher,
            (averages, &counted),
            now.age_us,
            number,
        )?;

        if read != last_read {
            read_us = now.age_us;
        }
        last_read = publisher.last_read();
        let unread_us = now.age_us.saturating_sub(read_us);
        if !on_purpose && (unread_us > UNREAD_US || !conditions::may_stay(&cgroups)) {
            return Ok(());
        }
        if now.age_us.saturating_sub(cleaned_us) > CLEAN_US {
            cleaned_us = now.age_us;
            store.remove_stale();
        }
        // For a program that reads every second, counts are at most a second old.
        let recently = now.age_us.saturating_sub(read_us) < READ_LATELY_US;
        let next_us = if recently && counted.tasks.total > COUNTS_ALL_UP_TO {
            averages.due_us().min(now.age_us.saturating_add(BETWEEN_US))
        } else {
            averages.due_us()
        };
        sleep_until(libc::CLOCK_BOOTTIME, start_us.saturating_add(next_us))?;
    }
}

/// Publishes a sample. If the file was removed or truncated, creates a new one.
fn publish(
    store: &Store<'_>,
    publisher: &mut Publisher,
    (averages, counted): (Averages, &Counted),
    now_us: u64,
    number: u64,
) -> Result<(), Errno> {
    if publisher.last_read().is_none() {
        publisher.release();
        *publisher = store.become_publisher(now_us, number)?;
    }
    publisher.publish(averages, counted.tasks, &counted.tracked)
}

/// Returns whether this sampler, whose parent `helper` is about to end, becomes a child of PID 1. If an ancestor
/// of the starting process is a subreaper, the sampler becomes its child instead.
fn is_adopted_by_init<K: Kernel>(kernel: &K, helper: u32) -> Result<bool, Errno> {
    for tries in 0..ADOPTION_TRIES {
        match parent() {
            1 => return Ok(true),
            parent if parent != helper && tries >= ADOPTION_TRIES_OF_OTHERS => return Ok(false),
            _ => {}
        }
        sleep_until(
            libc::CLOCK_BOOTTIME,
            kernel.boot_us()?.saturating_add(1_000),
        )?;
    }
    Ok(false)
}

/// Reads the counters that the load average needs.
fn reading<K: Kernel>(
    kernel: &K,
    cgroups: &ContainerCgroups<'_>,
    settings: &Settings<'_>,
    cpus: &Cpus<'_>,
    age_us: u64,
    arena: &mut Arena<'_>,
) -> Result<Reading, Errno> {
    // Pass a count of 0 so that per-CPU counters are not read.
    let totals = Cpus { count: 0, ..*cpus };
    let time = cpu::cpu_time(kernel, cgroups, settings, &totals, None, true, arena)
        .map_err(|(_, errno)| errno)?;
    let sample = Sample {
        age_us,
        cpus: *cpus,
        time,
        host: None,
    };
    Ok(Reading::of(&sample))
}

/// Selects how to list the processes of the container. If `/proc` shows only its processes, list
/// `/proc`, else its cgroup.
fn source<C: Container>(container: &C, arena: &mut Arena<'_>) -> Source {
    if container::is_in_initial_pid_namespace(container) || !container.is_alone(arena) {
        Source::Cgroup
    } else {
        Source::Proc
    }
}

// SAFETY: only integers, and a flag for which zero is false. All zeros means that no thread is tracked.
unsafe impl Zeroed for ThreadCounter {}

/// Runs the sampler in a process of its own. Its only setting is the `directory` of the shared state;
/// the container's other settings do not apply. Returns when the sampler ends, with the error that
/// ended it.
pub fn run_alone<C: Container>(
    container: &C,
    directory: Option<&[u8]>,
    starter: Starter,
) -> Result<(), Errno> {
    let memory = sys::map(MEMORY)?;
    // SAFETY: a new mapping of that length. Nothing else uses it, and it is never unmapped.
    let memory = unsafe { core::slice::from_raw_parts_mut(memory, MEMORY) };
    let mut arena = Arena::new(memory);
    let settings = Settings {
        state: directory,
        ..Settings::DEFAULT
    };
    let counter = arena.zeroed::<ThreadCounter>()?;
    run(container, &settings, starter, counter, &mut arena)
}

/// Bytes of memory for the sampler: mountinfo and paths once, and the files of a cycle. Only the pages
/// that it touches use memory.
const MEMORY: usize = 4 << 20;
