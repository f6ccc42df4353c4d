//! What a container uses at one moment: the numbers that its programs read, and the counters of its cgroup.

use crate::inspect::numbers::Numbers;
use crate::inspect::view::View;
use crate::output::failure::Result;
use proclens::cgroup::container::Container;
use proclens::cgroup::locate::ContainerCgroups;
use proclens::cgroup::{block_io, cpu, memory, pids, psi};
use proclens::error::{ErrorKind, Failure};
use proclens::mem::Arena;
use proclens::settings::Settings;
use proclens::sys::Errno;
use proclens::values::{DeviceIo, Memory};
use std::time::{Duration, Instant};

/// See the top of this file.
pub struct Usage {
    pub numbers: Numbers,
    /// `None` where the cgroup does not count it. The same holds for the other fields.
    pub cpu: Option<Cpu>,
    pub memory: Option<Memory>,
    /// Processes and threads, as the pids controller counts them.
    pub tasks: Option<u64>,
    pub io: Option<DeviceIo>,
    pub pressure: Vec<Pressure>,
}

/// CPU time at one moment, in microseconds.
#[derive(Clone, Copy)]
pub struct Cpu {
    pub busy_us: u64,
    /// Periods in which the quota ran out, and the time that was throttled; `None` without a quota.
    pub throttled: Option<(u64, u64)>,
    pub at: Instant,
}

/// Time since the start in which tasks waited for a resource, in microseconds.
pub struct Pressure {
    pub resource: Resource,
    /// Some tasks waited.
    pub some_us: u64,
    /// All tasks waited.
    pub full_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Cpu,
    Memory,
    Io,
}

impl Resource {
    const ALL: [Resource; 3] = [Resource::Cpu, Resource::Memory, Resource::Io];

    fn file(self) -> &'static [u8] {
        match self {
            Resource::Cpu => b"cpu.pressure",
            Resource::Memory => b"memory.pressure",
            Resource::Io => b"io.pressure",
        }
    }
}

/// A reading of the CPU time that took longer was interrupted by other programs: when it was true is uncertain by
/// as much. It is repeated.
const PROMPT: Duration = Duration::from_millis(1);

type Counted<T> = std::result::Result<T, Failure>;

impl Usage {
    pub fn read(view: &View) -> Result<Usage> {
        view.at_one_moment(|| Usage::now(view))
    }

    fn now(view: &View) -> Result<Usage> {
        let sources = view.sources();
        let settings = sources.settings();
        // First, because its moment matters for rates.
        let cpu = Cpu::read(view);
        let numbers = Numbers::of(view, &settings)?;
        let counted = view.compute(|view, mut arena| {
            let cgroups = cgroups(view, &mut arena)?;
            let cgroups = &cgroups;
            let memory = memory::memory(view, cgroups, &settings, true, &mut arena.reborrow());
            let tasks = pids::charged_tasks(view, cgroups, &mut arena.reborrow());
            let io =
                block_io::block_io(view, cgroups, true, &mut arena.reborrow()).map(|io| io.all());
            let mut pressure = Vec::new();
            for resource in Resource::ALL {
                let file = resource.file();
                let text =
                    psi::pressure(view, cgroups, file, &mut arena.reborrow()).map(<[u8]>::to_vec);
                let text = if_counted(text)?.unwrap_or_default();
                let total = |name: &[u8]| psi::total_us(&text, name);
                pressure.extend(total(b"some").map(|some_us| Pressure {
                    resource,
                    some_us,
                    full_us: total(b"full").unwrap_or(0),
                }));
            }
            Ok((if_counted(memory)?, tasks, if_counted(io)?, pressure))
        });
        // The container may have ended meanwhile; then these are the numbers of nothing, or of the host.
        view.target().is_there()?;
        let (memory, tasks, io, pressure) = counted.unwrap_or_default();
        Ok(Usage {
            numbers,
            cpu,
            memory,
            tasks,
            io,
            pressure,
        })
    }

    /// Charged memory without page cache that was not used recently, as `docker stats` and cAdvisor's
    /// working set have it.
    pub fn working_set(&self) -> Option<u64> {
        let memory = self.memory.as_ref()?;
        Some(memory.usage.saturating_sub(memory.stat.inactive_file))
    }

    /// Processes and threads.
    pub fn tasks(&self) -> u64 {
        self.tasks.unwrap_or(self.numbers.load.total)
    }
}

impl Cpu {
    pub fn read(view: &View) -> Option<Cpu> {
        let sources = view.sources();
        let settings = sources.settings();
        view.compute(|view, mut arena| {
            let cgroups = cgroups(view, &mut arena)?;
            cpu_time(view, &cgroups, &settings, &mut arena)
        })
        .ok()
    }

    /// CPU time since `earlier`, as a percentage of one CPU.
    pub fn percent_since(&self, earlier: &Cpu) -> f64 {
        let passed = self.at.duration_since(earlier.at).as_secs_f64();
        let busy = self.busy_us.saturating_sub(earlier.busy_us) as f64 / 1e6;
        busy * 100.0 / passed.max(1e-6)
    }
}

fn cgroups<'m>(view: &View, arena: &mut Arena<'m>) -> Counted<ContainerCgroups<'m>> {
    view.cgroups(arena)
        .map_err(|errno| (ErrorKind::Unreadable, errno))
}

fn cpu_time<'m>(
    view: &View,
    cgroups: &ContainerCgroups<'m>,
    settings: &Settings,
    arena: &mut Arena<'m>,
) -> Counted<Cpu> {
    let (cpus, level) = cpu::cpus(view, cgroups, settings, arena)?;
    let mut left = 3;
    loop {
        let begun = Instant::now();
        let arena = &mut arena.reborrow();
        let time = cpu::cpu_time(view, cgroups, settings, &cpus, level, true, arena)?;
        let took = begun.elapsed();
        left -= 1;
        if took > PROMPT && left > 0 {
            view.forget_moment();
            continue;
        }
        return Ok(Cpu {
            busy_us: time.user_us + time.nice_us + time.system_us,
            throttled: level.map(|_| (time.nr_throttled, time.throttled_us)),
            at: begun + took / 2,
        });
    }
}

/// `None` for what the cgroup does not count. An error where the memory block is too small, so that
/// [`View::compute`] tries a larger one.
fn if_counted<T>(counted: Counted<T>) -> Counted<Option<T>> {
    match counted {
        Ok(value) => Ok(Some(value)),
        Err((_, errno)) if errno == Errno::BUFFER_TOO_SMALL => Err((ErrorKind::NoMemory, errno)),
        Err(_) => Ok(None),
    }
}
