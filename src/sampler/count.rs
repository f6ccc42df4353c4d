//! Counts the container's threads in R and D: makes the system calls for the decisions of
//! [`tracker`](super::tracker).
#![forbid(unsafe_code)]

use super::tracker::{IN_TURN, READS_ALL_UP_TO, Tracker};
use crate::cgroup::locate::ContainerCgroups;
use crate::load::average::Active;
use crate::load::scanner::{
    LIST_SIZE, ReadState, TaskStat, ThreadId, each_process, each_process_in_cgroups, each_thread,
    read_thread,
};
use crate::load::tasks::{Tracked, count_state};
use crate::mem::Arena;
use crate::sys::directory::open_directory;
use crate::sys::{self, Errno, Fd};
use crate::values::FIXED_1;
use crate::values::Tasks;

/// Where the container's processes are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// All processes that `/proc` shows. They all belong to the container.
    Proc,
    /// The processes of the container's cgroup, and of the cgroups below it.
    Cgroup,
}

/// Why the sampler counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// A sample of the load average is due.
    Period,
    /// Between two samples, for a program that reads every second: only tracked threads are read.
    Between,
}

/// The result of a count.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// For the load average. Threads that were not read count as a fraction, by their CPU time.
    pub active: Active,
    /// The tasks, in whole numbers.
    pub tasks: Tasks,
    /// The tracked threads, for processes that read the shared state.
    pub tracked: Tracked,
}

/// Counts the threads of the container, and keeps the tracked ones from one count to the next.
#[derive(Default)]
pub struct ThreadCounter {
    tracker: Tracker,
    /// The last thread that was read in rotation.
    cursor: Position,
    /// The number of threads when all were last read.
    total: u64,
}

/// A position in the order of a scan: the index of the process, and the number of its thread. Process
/// numbers are not used, because those of several cgroups are not in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    process: u32,
    thread: u32,
}

/// One scan over the container's threads.
struct Scan<'c> {
    tracker: &'c mut Tracker,
    /// Only threads after this position are read.
    after: Position,
    /// How many more threads to read.
    left: u32,
    /// The last thread that was read.
    last: Position,
    /// The number of processes that the scan has reached.
    processes: u32,
    own: u32,
    total: u64,
    /// Active threads that were not tracked before.
    found: u64,
    counted: Tasks,
}

impl ThreadCounter {
    /// Counts the threads. `used_us` is the CPU time that the container used in the `passed_us` since
    /// the last count. `charged` is the number of its tasks, if the kernel reports it.
    pub fn count(
        &mut self,
        source: Source,
        cgroups: &ContainerCgroups<'_>,
        when: When,
        (used_us, passed_us): (u64, u64),
        charged: Option<u64>,
        arena: &mut Arena<'_>,
    ) -> Result<Counted, Errno> {
        let proc = open_directory(libc::AT_FDCWD, c"/proc")?;
        let mut counted = Tasks::default();
        self.tracker.read_again(
            when == When::Period,
            |id| read_thread(&proc, id),
            |stat| count_state(stat.state, &mut counted),
        );
        let unexplained_us = self.tracker.unexplained_us(used_us);
        let mut all = false;
        if when == When::Period {
            let known = charged.or(Some(self.total).filter(|total| *total > READS_ALL_UP_TO));
            all = self.tracker.wants_all(known, unexplained_us);
            let mut scan = Scan {
                tracker: &mut self.tracker,
                after: if all {
                    Position::default()
                } else {
                    self.cursor
                },
                left: if all { u32::MAX } else { IN_TURN },
                last: Position::default(),
                processes: 0,
                own: sys::process_id(),
                total: 0,
                found: 0,
                counted,
            };
            scan.run(&proc, source, cgroups, arena)?;
            let (found, left, total) = (scan.found, scan.left, scan.total);
            (self.cursor, counted) = (scan.last, scan.counted);
            if all {
                self.total = total;
                self.tracker.read_all(found);
            } else if left > 0 {
                self.cursor = Position::default();
            }
        }
        let mut active = Active {
            running: counted.running.saturating_mul(FIXED_1),
            blocked: counted.blocked.saturating_mul(FIXED_1),
        };
        let mut untracked = 0;
        if !all {
            // The threads that were not read used this much CPU time per elapsed time.
            untracked = unexplained_us
                .saturating_mul(FIXED_1)
                .checked_div(passed_us)
                .unwrap_or(0);
            active.running = active.running.saturating_add(untracked);
        }
        counted.total = charged.unwrap_or(self.total);
        Ok(Counted {
            active,
            tasks: counted,
            tracked: self.tracker.publish(untracked),
        })
    }
}

impl Scan<'_> {
    fn run(
        &mut self,
        proc: &Fd,
        source: Source,
        cgroups: &ContainerCgroups<'_>,
        arena: &mut Arena<'_>,
    ) -> Result<(), Errno> {
        let mut arena = arena.reborrow();
        match source {
            Source::Proc => {
                let list = arena.alloc(LIST_SIZE)?;
                each_process(proc, list, &mut |process| self.process(proc, process))?;
            }
            Source::Cgroup => {
                let own = cgroups.dir_of_processes().ok_or(Errno::NOT_FOUND)?;
                let directory = open_directory(libc::AT_FDCWD, arena.path(own.directory, b".")?)?;
                let list = arena.alloc(LIST_SIZE)?;
                each_process_in_cgroups(directory, u32::MAX, list, &mut |process| {
                    self.process(proc, process)
                });
            }
        }
        Ok(())
    }

    /// Visits one process. Returns false when enough threads were read.
    fn process(&mut self, proc: &Fd, process: u32) -> bool {
        self.processes = self.processes.saturating_add(1);
        if self.processes >= self.after.process && process != self.own {
            let threads = each_thread(proc, process, &mut |id, read| self.thread(id, read));
            self.total = self.total.saturating_add(threads.unwrap_or(0));
        }
        self.left > 0
    }

    /// Visits one thread, and reads it if this scan needs it. Returns false when enough threads were
    /// read.
    fn thread(&mut self, id: ThreadId, read: &mut ReadState) -> bool {
        let position = Position {
            process: self.processes,
            thread: id.thread,
        };
        if position <= self.after {
            return true;
        }
        let Some(left) = self.left.checked_sub(1) else {
            return false;
        };
        self.left = left;
        self.last = position;
        if !self.tracker.tracks(id)
            && let Some(stat) = read().filter(TaskStat::is_active)
        {
            self.found = self.found.saturating_add(1);
            count_state(stat.state, &mut self.counted);
            self.tracker.track(id, &stat);
        }
        true
    }
}
