//! Counts the container's threads by their state, at a cost that does not depend on their number
//! (NUMBERS section 5).
//!
//! In a container of up to [`COUNTS_ALL_UP_TO`] threads, each thread's state is read. In a larger one, the total comes
//! from the pids controller, and states come from the threads that the sampler tracks: those that were
//! active within the last minute. At most [`MOST_READS`] of these are read, and the counts are scaled.
//!
//! In the host's PID namespace, and in one that several containers share, the container's own processes
//! are those of its cgroup. In any other they are all that `/proc` shows.
#![forbid(unsafe_code)]

use super::scanner::{
    LIST_SIZE, READ, ThreadId, each_process, each_process_in_cgroups, each_thread, read_thread,
};
use crate::cgroup::container::{self, Container};
use crate::cgroup::kernel::Kernel;
use crate::cgroup::locate::ContainerCgroups;
use crate::cgroup::{host, pids};
use crate::mem::Arena;
use crate::sys::directory::open_directory;
use crate::sys::{self, Errno, Fd};
use crate::text::field;
use crate::values::FIXED_1;
use crate::values::Tasks;

/// In a container of at most this many threads, each thread is read.
pub const COUNTS_ALL_UP_TO: u64 = 32;
/// In a larger container, at most this many threads are read.
pub const MOST_READS: u64 = 31;
/// A full count gives up after this many threads: some of them belong to other containers.
const GIVE_UP_AFTER: u32 = 40;
/// A full count searches at most this many cgroups.
const MOST_CGROUPS: u32 = 16;
/// The most tracked threads that the sampler publishes.
pub const PUBLISHED: usize = 64;

/// The threads that the sampler tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Tracked {
    /// Some of these threads.
    pub threads: [ThreadId; PUBLISHED],
    /// How many of `threads` are set.
    pub published: u64,
    /// How many threads the sampler tracks.
    pub all: u64,
    /// CPUs used by threads that the sampler does not track, fixed point.
    pub untracked: u64,
}

impl Tracked {
    /// No thread is tracked.
    pub const NONE: Tracked = Tracked {
        threads: [ThreadId {
            process: 0,
            thread: 0,
        }; PUBLISHED],
        published: 0,
        all: 0,
        untracked: 0,
    };
}

/// How much a count may cost.
pub enum Cost<'t> {
    /// Reads each thread of the container.
    Whole,
    /// Costs the same for any number of threads. Above [`COUNTS_ALL_UP_TO`] threads, calls the function for an
    /// estimate that does not read each thread.
    Flat(&'t mut dyn FnMut(&mut Arena) -> Known),
}

/// The data from which the tasks of a large container are estimated.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant)] // lives for one read; nothing here allocates
pub enum Known {
    /// The sampler's threads.
    Tracked(Tracked),
    /// Without a sampler: the CPUs that the container used recently, fixed point.
    Used(u64),
}

/// Counts the container's tasks in the `/proc` below `root`: an empty path, or the `/proc/PID/root` of
/// one of the container's processes.
pub fn count<C: Container>(
    container: &C,
    root: &[u8],
    cgroups: &ContainerCgroups,
    cost: Cost,
    arena: &mut Arena,
) -> Result<Tasks, Errno> {
    let proc = open_directory(libc::AT_FDCWD, arena.path(root, b"proc")?)?;
    let initial = container::is_in_initial_pid_namespace(container);
    let Some(own) = cgroups.dir_of_processes() else {
        return count_host(container, root, &proc, arena);
    };
    let charged = match cost {
        Cost::Whole => None,
        Cost::Flat(_) => pids::charged_tasks(container, cgroups, &mut arena.reborrow()),
    };
    // The reading thread itself is running.
    let reader = u64::from(root.is_empty());
    let limits = if charged.is_some() {
        Limits::FLAT
    } else {
        Limits::NONE
    };

    let mut tasks = None;
    if !initial && charged.is_none_or(|n| n <= COUNTS_ALL_UP_TO) {
        let mut visible = Count::new(limits);
        let list = arena.reborrow().alloc(LIST_SIZE)?;
        let complete = each_process(&proc, list, &mut |process| visible.add(&proc, process))?;
        if complete && visible.complete {
            let seen = visible.tasks;
            // If the reader is the only active task, no active task of another container can be in the
            // count.
            let others = seen.running.saturating_add(seen.blocked) > reader;
            if !others || container.is_alone(&mut arena.reborrow()) {
                return Ok(seen);
            }
            // This is a pod that shares its PID namespace: the tasks of the other containers are
            // visible, but not those of the host.
            tasks = Some(seen);
        }
    }
    let total = match tasks {
        Some(seen) => seen.total,
        None if !initial && container.is_alone(&mut arena.reborrow()) => charged.unwrap_or(0),
        // The reader also sees tasks of other containers. The total is never more than the host has.
        None => host_tasks(&proc)?.1.max(charged.unwrap_or(0)),
    };
    if charged.is_none_or(|n| n <= COUNTS_ALL_UP_TO)
        && let Some(own) = count_in_cgroup(&proc, own.directory, limits, arena)?
    {
        return Ok(Tasks {
            total: total.max(own.total),
            ..own
        });
    }
    let known = match cost {
        Cost::Flat(known) => known(&mut arena.reborrow()),
        Cost::Whole => Known::Used(0),
    };
    Ok(estimate(&proc, &known, reader, total))
}

/// Counts all tasks of the host. Used at the host's root cgroup with a limit that the user set: all
/// tasks then belong to the container.
fn count_host<K: Kernel>(
    kernel: &K,
    root: &[u8],
    proc: &Fd,
    arena: &mut Arena,
) -> Result<Tasks, Errno> {
    let (running, total) = host_tasks(proc)?;
    let stat = kernel.read_long(arena.path(root, b"proc/stat")?, arena)?;
    Ok(Tasks {
        running,
        blocked: field(stat, b"procs_blocked").ok_or(Errno::MALFORMED)?,
        total,
    })
}

/// Reads the number of running tasks and of all tasks of the host.
fn host_tasks(proc: &Fd) -> Result<(u64, u64), Errno> {
    let mut loadavg = [0; 64];
    let file = sys::open_at(proc.raw(), c"loadavg", READ, 0)?;
    let length = sys::read(file.raw(), &mut loadavg)?;
    let seen = loadavg.get(..length).and_then(host::host_tasks);
    Ok(seen.unwrap_or_default())
}

/// Counts each task of the cgroup whose files are in `directory`, and of all cgroups below it.
pub fn count_whole_cgroup(proc: &Fd, directory: &[u8], arena: &mut Arena) -> Result<Tasks, Errno> {
    count_in_cgroup(proc, directory, Limits::NONE, arena).map(Option::unwrap_or_default)
}

/// As [`count_whole_cgroup`], within `limits`. `None` if there are more threads or cgroups than that.
fn count_in_cgroup(
    proc: &Fd,
    directory: &[u8],
    limits: Limits,
    arena: &mut Arena,
) -> Result<Option<Tasks>, Errno> {
    let directory = open_directory(libc::AT_FDCWD, arena.path(directory, b".")?)?;
    let mut count = Count::new(limits);
    let list = arena.reborrow().alloc(LIST_SIZE)?;
    let complete = each_process_in_cgroups(directory, limits.cgroups, list, &mut |process| {
        count.add(proc, process)
    });
    Ok((complete && count.complete).then_some(count.tasks))
}

/// Limits the cost of a full count.
#[derive(Clone, Copy)]
struct Limits {
    threads: u32,
    cgroups: u32,
}

impl Limits {
    const FLAT: Limits = Limits {
        threads: GIVE_UP_AFTER,
        cgroups: MOST_CGROUPS,
    };
    const NONE: Limits = Limits {
        threads: u32::MAX,
        cgroups: u32::MAX,
    };
}

/// A running count that reads one thread after the other.
struct Count {
    tasks: Tasks,
    /// How many more threads may be read.
    left: u32,
    complete: bool,
}

impl Count {
    fn new(limits: Limits) -> Count {
        Count {
            tasks: Tasks::default(),
            left: limits.threads,
            complete: true,
        }
    }

    /// Counts the threads of a process. False if there are more threads than may be read.
    fn add(&mut self, proc: &Fd, process: u32) -> bool {
        let Count {
            tasks,
            left,
            complete,
        } = self;
        let threads = each_thread(proc, process, &mut |_, read| {
            let Some(rest) = left.checked_sub(1) else {
                *complete = false;
                return false;
            };
            *left = rest;
            if let Some(stat) = read() {
                count_state(stat.state, tasks);
            }
            true
        });
        tasks.total = tasks.total.saturating_add(threads.unwrap_or(0));
        *complete
    }
}

/// Counts one thread's state.
pub fn count_state(state: u8, tasks: &mut Tasks) {
    match state {
        b'R' => tasks.running = tasks.running.saturating_add(1),
        b'D' => tasks.blocked = tasks.blocked.saturating_add(1),
        _ => {}
    }
}

/// Estimates the tasks of a large container. `reader` is 1 if the reader is one of `total`.
fn estimate(proc: &Fd, known: &Known, reader: u64, total: u64) -> Tasks {
    let whole = |fixed: u64| fixed.saturating_add(FIXED_1 / 2) / FIXED_1;
    let mut tasks = Tasks::default();
    match known {
        Known::Used(used) => tasks.running = whole(*used),
        Known::Tracked(tracked) => {
            let published = tracked.published.min(PUBLISHED as u64);
            let own = sys::process::thread_id();
            let looked = published.min(MOST_READS);
            for i in 0..looked {
                // Read threads that are evenly spread over the published ones.
                let at = i.saturating_mul(published) / looked.max(1);
                if let Some(id) = tracked.threads.get(at as usize)
                    && !(reader == 1 && id.thread == own)
                    && let Some(stat) = read_thread(proc, *id)
                {
                    count_state(stat.state, &mut tasks);
                }
            }
            let scaled = |n: u64| {
                let half = looked / 2;
                n.saturating_mul(tracked.all.max(published))
                    .saturating_add(half)
                    .checked_div(looked)
                    .unwrap_or(0)
            };
            tasks.running = scaled(tasks.running).saturating_add(whole(tracked.untracked));
            tasks.blocked = scaled(tasks.blocked);
        }
    }
    let running = tasks.running.saturating_add(reader).min(total);
    Tasks {
        running,
        blocked: tasks.blocked.min(total.saturating_sub(running)),
        total,
    }
}
