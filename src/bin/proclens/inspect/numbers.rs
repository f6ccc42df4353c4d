//! The numbers that a program of the target sees. They are parsed from the same texts that the
//! program reads, so they cannot differ from those.

use crate::inspect::view::View;
use crate::output::failure::{Failure, Result};
use proclens::procfs::content;
use proclens::procfs::files::MachineFile;
use proclens::settings::Settings;
use proclens::values::CpuList;
use serde::Serialize;

/// `sysconf(_SC_CLK_TCK)`, the same on every Linux.
const USER_HZ: f64 = 100.0;

/// See the top of this file.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    pub cpus: u32,
    pub memory: Memory,
    pub time: Time,
    pub load: Load,
    /// Seconds since boot.
    pub uptime: f64,
}

/// Bytes, from `/proc/meminfo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    pub total: u64,
    pub free: u64,
    pub available: u64,
    pub cached: u64,
    pub shared: u64,
    #[serde(skip)]
    pub swap_total: u64,
    #[serde(skip)]
    pub swap_free: u64,
}

/// Seconds of all CPUs since boot, from `/proc/stat` and the accounting behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Time {
    pub user: f64,
    pub nice: f64,
    pub system: f64,
    pub idle: f64,
    /// Time that the quota or neighbours took away from the container.
    pub steal: f64,
    /// The neighbours' part of steal.
    pub neighbours: f64,
}

/// From `/proc/loadavg`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Load {
    pub averages: [f64; 3],
    pub running: u64,
    pub total: u64,
}

impl Numbers {
    pub fn of(view: &View, settings: &Settings) -> Result<Numbers> {
        let text = |file| {
            let (text, _) = view.text(file, settings)?;
            Ok::<_, Failure>(String::from_utf8_lossy(&text).into_owned())
        };
        let part = |file: MachineFile| {
            Failure::new(
                file.path().to_string_lossy(),
                "this kernel writes it in an unknown format",
            )
        };
        let cpus = CpuList::parse(text(MachineFile::CpuOnline)?.as_bytes())
            .map(CpuList::count)
            .ok_or_else(|| part(MachineFile::CpuOnline))?;
        let mut time = time(&text(MachineFile::Stat)?).ok_or_else(|| part(MachineFile::Stat))?;
        // Read after `stat`, so that steal that is newer than that text does not count as the neighbours'.
        // Outside a container there is no steal of either.
        let quota = view
            .compute(|view, mut arena| content::steal_of_quota(view, settings, &mut arena))
            .map_or(time.steal, |ticks| ticks as f64 / USER_HZ);
        time.neighbours = (time.steal - quota).max(0.0);
        Ok(Numbers {
            cpus,
            memory: memory(&text(MachineFile::Meminfo)?),
            time,
            load: load(&text(MachineFile::Loadavg)?).ok_or_else(|| part(MachineFile::Loadavg))?,
            uptime: first_number(&text(MachineFile::Uptime)?)
                .ok_or_else(|| part(MachineFile::Uptime))?,
        })
    }
}

impl Memory {
    /// The memory that `free` calls used.
    pub fn used(&self) -> u64 {
        self.total.saturating_sub(self.available)
    }

    pub fn swap_used(&self) -> u64 {
        self.swap_total.saturating_sub(self.swap_free)
    }
}

impl Time {
    /// Seconds of CPU time that were used.
    pub fn busy(&self) -> f64 {
        self.user + self.nice + self.system
    }

    /// The quota's part of steal.
    pub fn quota(&self) -> f64 {
        self.steal - self.neighbours
    }

    pub fn all(&self) -> f64 {
        self.busy() + self.idle + self.steal
    }

    /// The time between an earlier reading and this one.
    pub fn since(&self, earlier: &Time) -> Time {
        Time {
            user: self.user - earlier.user,
            nice: self.nice - earlier.nice,
            system: self.system - earlier.system,
            idle: self.idle - earlier.idle,
            steal: self.steal - earlier.steal,
            neighbours: self.neighbours - earlier.neighbours,
        }
    }
}

fn memory(meminfo: &str) -> Memory {
    let bytes = |name: &str| {
        meminfo
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0)
            .saturating_mul(1024)
    };
    Memory {
        total: bytes("MemTotal"),
        free: bytes("MemFree"),
        available: bytes("MemAvailable"),
        cached: bytes("Cached"),
        shared: bytes("Shmem"),
        swap_total: bytes("SwapTotal"),
        swap_free: bytes("SwapFree"),
    }
}

fn time(stat: &str) -> Option<Time> {
    let mut fields = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace();
    let mut next = || Some(fields.next()?.parse::<u64>().ok()? as f64 / USER_HZ);
    let (user, nice, system, idle) = (next()?, next()?, next()?, next()?);
    let (waiting, interrupts, soft, steal) = (next()?, next()?, next()?, next()?);
    Some(Time {
        user,
        nice,
        system: system + interrupts + soft,
        idle: idle + waiting,
        steal,
        neighbours: 0.0,
    })
}

fn load(loadavg: &str) -> Option<Load> {
    let mut fields = loadavg.split_whitespace();
    let mut average = || fields.next()?.parse().ok();
    let averages = [average()?, average()?, average()?];
    let (running, total) = fields.next()?.split_once('/')?;
    Some(Load {
        averages,
        running: running.parse().ok()?,
        total: total.parse().ok()?,
    })
}

fn first_number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_as_numbers() {
        let m =
            memory("MemTotal:  512 kB\nMemAvailable: 100 kB\nSwapTotal: 8 kB\nSwapFree: 6 kB\n");
        assert_eq!(
            (m.total, m.used(), m.swap_used()),
            (512 << 10, 412 << 10, 2 << 10)
        );
        let t = time("cpu  100 0 50 850 0 0 0 25 0 0\ncpu0 1 2\n").unwrap();
        assert_eq!(
            (t.busy(), t.idle, t.steal, t.all()),
            (1.5, 8.5, 0.25, 10.25)
        );
        assert_eq!(time("intr 5\n"), None);
        let l = load("0.50 1.00 2.25 3/40 999\n").unwrap();
        assert_eq!((l.averages, l.running, l.total), ([0.5, 1.0, 2.25], 3, 40));
        assert_eq!(load("0.50 1.00"), None);
    }
}
