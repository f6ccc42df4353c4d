//! The load averages of a container: who counts its tasks, and who asks.
//!
//! One helper process per container, the sampler, counts every 5 s ([`census`]) and leaves the
//! averages in the shared state ([`crate::state`]). It belongs to nobody: whoever first asks for
//! load starts it ([`crate::sys::spawn`]), anything may kill it at any moment, and the next who asks starts
//! another. Without one the averages are bridged from the container's CPU time ([`crate::load`]).

pub mod census;
#[cfg(feature = "preload")]
pub mod helper;
pub mod watch;

use crate::cgroup::pressure;
use crate::gather::{self, Controller, Kernel, Place};
use crate::ledger::Sample;
use crate::load::{Averages, PERIOD_US, Reading};
use crate::settings::Settings;
use crate::snapshot::{Cpus, Load};
use crate::state::{Held, LOST_AFTER_US, Store, identify};
use crate::sys::memory::{Arena, Zeroed};
use crate::sys::process::sleep_until;
use crate::sys::{self, Errno};
use census::{Census, Source};

/// A sampler that nobody asked for so long ends, microseconds.
const UNASKED_US: u64 = 3_600_000_000;
/// Whoever asked first gets so long to be done with it, microseconds: its asking is no load.
const SETTLE_US: u64 = 200_000;
/// Memory for the files that are read in one cycle.
const CYCLE: usize = 128 << 10;

/// The averages that a sampler which lives keeps, when the container is `now_us` old.
pub fn kept(store: &Store<'_>, now_us: u64) -> Option<Load> {
    let last = store.sampled(now_us).sampled?.averages;
    let since_us = now_us.saturating_sub(last.last_sample_age_us);
    (since_us < LOST_AFTER_US).then_some(last.load)
}

/// The container's averages at the moment of `sample`. `pressure_us` is asked only where they
/// must be bridged; `may_start` only where there is no sampler, and `start` if of all that ask
/// this process is the one to start it.
pub fn load(
    store: &Store<'_>,
    sample: &Sample<'_>,
    pressure_us: impl FnOnce() -> u64,
    may_start: impl FnOnce() -> bool,
    start: impl FnOnce(),
) -> Load {
    let found = store.sampled(sample.age_us);
    if found.wants_sampler && may_start() && store.claim(sample.age_us) {
        start();
    }
    let last = found
        .sampled
        .map_or(Averages::default(), |sampled| sampled.averages);
    if found.sampled.is_some()
        && sample.age_us.saturating_sub(last.last_sample_age_us) < LOST_AFTER_US
    {
        return last.load;
    }
    last.bridge(&Reading::of(sample, pressure_us())).load
}

/// CPU pressure of the container at `place`; 0 where the kernel does not tell.
pub fn pressure_us<K: Kernel + ?Sized>(
    kernel: &K,
    place: &Place<'_>,
    arena: &mut Arena<'_>,
) -> u64 {
    let mut read = || {
        let home = place
            .home(Controller::Cpu)
            .ok()
            .filter(|home| home.unified)?;
        let text = gather::read_in(kernel, home.directory, b"cpu.pressure", arena);
        pressure::some_us(text.ok()?)
    };
    read().unwrap_or(0)
}

/// Samples until nobody has asked for an hour, or until there is nothing to be done here: another
/// sampler lives, the state cannot be written, the container is gone. One that was started on
/// purpose goes on without being asked, and waits for the end of another.
pub fn run<K: Kernel>(
    kernel: &K,
    settings: &Settings<'_>,
    on_purpose: bool,
    census: &mut Census,
    arena: &mut Arena<'_>,
) -> Result<(), Errno> {
    let place = gather::locate(kernel, arena)?;
    let store = Store {
        directory: settings.state,
        identity: identify(kernel, &place, settings.cpus.is_some(), arena)?,
    };
    let start_us = kernel
        .start_ticks()
        .ok_or(Errno::MISSING)?
        .saturating_mul(crate::ledger::TICK_US);
    let source = source(kernel, arena);
    let cpus = gather::cpus(kernel, &place, settings, arena)
        .map_err(|(_, errno)| errno)?
        .0;
    let room = arena.piece(CYCLE)?;

    let age_us = |kernel: &K| kernel.boot_us().map(|now| now.saturating_sub(start_us));
    let mut held = loop {
        match store.hold(age_us(kernel)?) {
            Err(Errno(libc::EAGAIN)) if on_purpose => {
                sleep_until(
                    libc::CLOCK_BOOTTIME,
                    kernel.boot_us()?.saturating_add(PERIOD_US),
                )?;
            }
            held => break held?,
        }
    };
    if !on_purpose {
        let settled = kernel.boot_us()?.saturating_add(SETTLE_US);
        sleep_until(libc::CLOCK_BOOTTIME, settled)?;
    }
    let mut averages = *held.averages();
    // The reading before this one: the census must know what was used in between.
    let mut before = Reading::default();
    let mut asked_us = age_us(kernel)?;
    let mut last_read = held.last_read();
    loop {
        let mut cycle = Arena::new(&mut *room);
        let now = reading(kernel, &place, settings, &cpus, age_us(kernel)?, &mut cycle)?;
        let spent = (
            now.cpu_us.saturating_sub(before.cpu_us),
            now.age_us.saturating_sub(before.age_us),
        );
        let charged = gather::charged_tasks(kernel, &place, &mut cycle);
        let counted = census.count(source, &place, spent, charged, &mut cycle)?;
        before = now;
        averages = averages.sample(&now, counted.active);
        leave(&store, &mut held, averages, &counted.tasks, now.age_us)?;

        let read = held.last_read();
        if read != last_read {
            (last_read, asked_us) = (read, now.age_us);
        }
        if !on_purpose && now.age_us.saturating_sub(asked_us) > UNASKED_US {
            return Ok(());
        }
        sleep_until(
            libc::CLOCK_BOOTTIME,
            start_us.saturating_add(averages.due_us()),
        )?;
    }
}

/// Leaves a sample. If the file was taken away or cut, a new one is made.
fn leave(
    store: &Store<'_>,
    held: &mut Held,
    averages: Averages,
    tasks: &crate::snapshot::Tasks,
    now_us: u64,
) -> Result<(), Errno> {
    if held.last_read().is_none() {
        held.release();
        *held = store.hold(now_us)?;
    }
    held.leave(averages, *tasks)
}

/// What the kernel counts for the container now.
fn reading<K: Kernel>(
    kernel: &K,
    place: &Place<'_>,
    settings: &Settings<'_>,
    cpus: &Cpus<'_>,
    age_us: u64,
    arena: &mut Arena<'_>,
) -> Result<Reading, Errno> {
    // With a number of CPUs that is none the kernel's own rows are not read.
    let totals = Cpus { count: 0, ..*cpus };
    let time = gather::cpu_time(kernel, place, settings, &totals, None, arena)
        .map_err(|(_, errno)| errno)?;
    let sample = Sample {
        age_us,
        cpus: *cpus,
        time,
        host: None,
    };
    Ok(Reading::of(&sample, pressure_us(kernel, place, arena)))
}

/// Whether the container's processes are all that `/proc` shows: then its cgroup is that of the
/// PID namespace.
fn source<K: Kernel>(kernel: &K, arena: &mut Arena<'_>) -> Source {
    if gather::is_in_initial_pid_namespace(kernel) || !kernel.is_alone(arena) {
        Source::Cgroup
    } else {
        Source::Proc
    }
}

// SAFETY: numbers, and a flag that is false: nobody is known.
unsafe impl Zeroed for Census {}

/// The sampler in a process of its own: what is left of the container's settings is where the
/// state lives. Returns what it ended of.
pub fn run_alone(directory: Option<&[u8]>, on_purpose: bool) -> Result<(), Errno> {
    let memory = sys::map(MEMORY)?;
    // SAFETY: a fresh mapping of that length, ours alone, never given back.
    let memory = unsafe { core::slice::from_raw_parts_mut(memory, MEMORY) };
    let mut arena = Arena::new(memory);
    let settings = Settings {
        state: directory,
        ..Settings::DEFAULT
    };
    let census = arena.zeroed::<Census>()?;
    run(
        &crate::live::Live,
        &settings,
        on_purpose,
        census,
        &mut arena,
    )
}

/// Room for the sampler: mountinfo and paths once, and a cycle's files. Only what is touched
/// costs memory.
const MEMORY: usize = 4 << 20;
