//! Counts the container's threads in R and D: the system calls to what [`watch`](super::watch)
//! decides.
#![forbid(unsafe_code)]

use super::watch::{FEW, IN_TURN, Line, Thread, Watch};
use crate::gather::Place;
use crate::load::{Active, FIXED_1};
use crate::snapshot::Tasks;
use crate::sys::memory::Arena;
use crate::sys::{self, Errno, Fd};
use crate::tasks::{DEEPEST, PIECE, each_entry, each_process_in, open_directory, terminated};
use crate::text::decimal;

/// Where the container's processes are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// All that `/proc` shows are the container's.
    Proc,
    /// Those of the container's cgroup, and of the cgroups below it.
    Cgroup,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// For the load: what only CPU time tells of is a fraction.
    pub active: Active,
    /// In whole tasks.
    pub tasks: Tasks,
}

/// What the sampler knows of the container's threads.
#[derive(Default)]
pub struct Census {
    watch: Watch,
    /// The last place of the walk that was looked at in turn.
    turn: Spot,
    /// Threads at the last look at all.
    total: u64,
}

/// A place in the order of a walk: the how-manieth process, and which of its threads. Numbers of
/// processes would not do, for those of several cgroups come in no order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    process: u32,
    thread: u32,
}

/// One walk over the container's threads.
struct Walk<'c> {
    proc: &'c Fd,
    watch: &'c mut Watch,
    /// Only threads behind this one.
    after: Spot,
    /// How many to look at.
    left: u32,
    /// The last one that was looked at.
    last: Spot,
    /// Processes so far.
    processes: u32,
    own: u32,
    total: u64,
    news: u64,
    counted: Tasks,
}

impl Census {
    /// Counts. `used_us` is the CPU time that the container used since the last count, of
    /// `passed_us`; `charged` the number of its tasks, where the kernel tells.
    pub fn count(
        &mut self,
        source: Source,
        place: &Place<'_>,
        (used_us, passed_us): (u64, u64),
        charged: Option<u64>,
        arena: &mut Arena<'_>,
    ) -> Result<Counted, Errno> {
        let proc = open_directory(libc::AT_FDCWD, c"/proc")?;
        let mut counted = Tasks::default();
        self.watch
            .look_again(|who| look(&proc, who), |line| enter(line, &mut counted));
        let known = charged.or(Some(self.total).filter(|total| *total > FEW));
        let unexplained_us = self.watch.unexplained_us(used_us);
        let all = self.watch.wants_all(known, unexplained_us);

        let mut walk = Walk {
            proc: &proc,
            watch: &mut self.watch,
            after: if all { Spot::default() } else { self.turn },
            left: if all { u32::MAX } else { IN_TURN },
            last: Spot::default(),
            processes: 0,
            own: sys::process_id(),
            total: 0,
            news: 0,
            counted,
        };
        walk.walk(source, place, arena)?;
        let (news, left) = (walk.news, walk.left);
        (self.turn, counted) = (walk.last, walk.counted);
        let mut active = Active {
            running: counted.running.saturating_mul(FIXED_1),
            blocked: counted.blocked.saturating_mul(FIXED_1),
        };
        if all {
            self.total = walk.total;
            self.watch.looked_at_all(news);
        } else {
            if left > 0 {
                self.turn = Spot::default();
            }
            // Who was not looked at ran for this part of the time.
            let unseen = unexplained_us
                .saturating_mul(FIXED_1)
                .checked_div(passed_us);
            active.running = active.running.saturating_add(unseen.unwrap_or(0));
        }
        counted.total = charged.unwrap_or(self.total);
        Ok(Counted {
            active,
            tasks: counted,
        })
    }
}

impl Walk<'_> {
    fn walk(
        &mut self,
        source: Source,
        place: &Place<'_>,
        arena: &mut Arena<'_>,
    ) -> Result<(), Errno> {
        match source {
            Source::Proc => {
                let proc = self.proc;
                each_entry(proc, |name| self.process(name))
            }
            Source::Cgroup => {
                let home = place.home_of_processes().ok_or(Errno::MISSING)?;
                let top = open_directory(libc::AT_FDCWD, arena.path(home.directory, b".")?)?;
                let list = arena.piece(PIECE)?;
                self.cgroup(&top, DEEPEST, list);
                Ok(())
            }
        }
    }

    /// The processes of a cgroup and of all below it; `list` is for one list of processes after
    /// the other.
    fn cgroup(&mut self, cgroup: &Fd, depth: u32, list: &mut [u8]) {
        each_process_in(cgroup, list, |pid| self.process(pid));
        let Some(deeper) = depth.checked_sub(1) else {
            return;
        };
        let _ = each_entry(cgroup, |name| {
            let mut room = [0; 256];
            if let Some(name) = terminated(name, b"", &mut room)
                && let Ok(below) = open_directory(cgroup.raw(), name)
            {
                self.cgroup(&below, deeper, list);
            }
        });
    }

    /// One process, if `name` is one. Most have one thread, and then their own line says all.
    fn process(&mut self, name: &[u8]) {
        let Some(process) = decimal(name).and_then(|n| u32::try_from(n).ok()) else {
            return;
        };
        self.processes = self.processes.saturating_add(1);
        if self.left == 0 || self.processes < self.after.process || process == self.own {
            return;
        }
        let mut room = [0; 64];
        let path = terminated(name, b"/stat", &mut room);
        let Some(line) = path.and_then(|path| read(self.proc, path)) else {
            return;
        };
        self.total = self.total.saturating_add(line.threads.max(1));
        if line.threads <= 1 {
            return self.thread(
                Thread {
                    process,
                    thread: process,
                },
                || Some(line),
            );
        }
        let Some(path) = terminated(name, b"/task", &mut room) else {
            return;
        };
        let Ok(directory) = open_directory(self.proc.raw(), path) else {
            return;
        };
        let _ = each_entry(&directory, |name| {
            let Some(thread) = decimal(name).and_then(|n| u32::try_from(n).ok()) else {
                return;
            };
            let mut room = [0; 64];
            let path = terminated(name, b"/stat", &mut room);
            self.thread(Thread { process, thread }, || {
                path.and_then(|path| read(&directory, path))
            });
        });
    }

    /// One thread, if it is one to be looked at in this walk.
    fn thread(&mut self, who: Thread, line: impl FnOnce() -> Option<Line>) {
        let spot = Spot {
            process: self.processes,
            thread: who.thread,
        };
        if self.left == 0 || spot <= self.after {
            return;
        }
        self.left = self.left.saturating_sub(1);
        self.last = spot;
        if self.watch.knows(who) {
            return;
        }
        if let Some(line) = line().filter(Line::is_active) {
            self.news = self.news.saturating_add(1);
            enter(&line, &mut self.counted);
            self.watch.found(who, &line);
        }
    }
}

/// The state of one thread.
fn look(proc: &Fd, who: Thread) -> Option<Line> {
    let mut room = [0; 64];
    let mut out = crate::text::Out::new(&mut room);
    out.decimal(u64::from(who.process));
    out.bytes(b"/task/");
    out.decimal(u64::from(who.thread));
    out.bytes(b"/stat\0");
    let path = core::ffi::CStr::from_bytes_until_nul(out.finish()?).ok()?;
    read(proc, path)
}

fn read(directory: &Fd, path: &core::ffi::CStr) -> Option<Line> {
    let mut room = [0; 512];
    let file = sys::open_at(directory.raw(), path, libc::O_RDONLY, 0).ok()?;
    let length = sys::read(file.raw(), &mut room).ok()?;
    Line::parse(room.get(..length)?)
}

fn enter(line: &Line, tasks: &mut Tasks) {
    match line.state {
        b'R' => tasks.running = tasks.running.saturating_add(1),
        b'D' => tasks.blocked = tasks.blocked.saturating_add(1),
        _ => {}
    }
}
