//! `proclens show --all`: every container on the host, with the numbers of `docker stats`.

use crate::inspect::containers::{Containers, Id, identifier};
use crate::inspect::engine::Names;
use crate::inspect::numbers::Time;
use crate::inspect::processes;
use crate::inspect::usage::{Cpu, Usage};
use crate::inspect::view::View;
use crate::output::failure::Result;
use crate::output::style::{STRONG, plain};
use crate::output::units::{duration, size};
use clap::ValueEnum;
use serde::Serialize;
use std::cmp::Ordering;
use std::io::Write;
use std::panic::resume_unwind;
use std::time::{Duration, Instant};

/// CPU use is measured over this interval: two periods of the usual quota.
const MEASURED: Duration = Duration::from_millis(200);

/// The order of the containers. Numbers: the largest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    #[default]
    Name,
    Cpu,
    Memory,
    Load,
    Tasks,
    Uptime,
}

/// One container.
#[derive(Clone, Debug, Serialize)]
pub struct ContainerRow {
    /// The short identifier of a runtime, or the cgroup's last name.
    pub container: String,
    /// The engine's name for the container; else as `container`.
    pub name: String,
    /// Empty if no engine has one.
    pub image: String,
    pub cgroup: String,
    /// The process that represents it.
    pub pid: u32,
    pub cpus: u32,
    /// As in `docker stats`: 100 is one CPU.
    pub cpu_percent: f64,
    /// CPU time used since the start.
    pub cpu_usage_seconds: f64,
    /// As in `/proc/stat`.
    pub cpu_seconds: Time,
    /// As in `docker stats`: without page cache that was not used recently. Bytes.
    pub memory_used: u64,
    pub memory_available: u64,
    pub memory_limit: u64,
    pub swap_used: u64,
    pub swap_limit: u64,
    pub load: [f64; 3],
    /// Processes and threads, as counted by the pids controller: `docker stats` calls them PIDS.
    pub tasks: u64,
    pub uptime_seconds: u64,
    pub command: String,
}

impl ContainerRow {
    pub fn new(id: &Id, names: Names, usage: &Usage, cpu_percent: f64) -> ContainerRow {
        let numbers = &usage.numbers;
        ContainerRow {
            container: identifier(&id.cgroup),
            name: names.name,
            image: names.image,
            pid: id.pid,
            cpus: numbers.cpus,
            cpu_percent,
            cpu_usage_seconds: usage
                .cpu
                .map_or(numbers.time.busy(), |cpu| cpu.busy_us as f64 / 1e6),
            cpu_seconds: numbers.time,
            memory_used: usage.working_set().unwrap_or(numbers.memory.used()),
            memory_available: numbers.memory.available,
            memory_limit: numbers.memory.total,
            swap_used: numbers.memory.swap_used(),
            swap_limit: numbers.memory.swap_total,
            load: numbers.load.averages,
            tasks: usage.tasks(),
            uptime_seconds: numbers.uptime as u64,
            command: processes::command(id.pid),
            cgroup: id.cgroup.clone(),
        }
    }

    pub fn memory_percent(&self) -> f64 {
        self.memory_used as f64 * 100.0 / self.memory_limit.max(1) as f64
    }
}

impl Sort {
    /// The order of two containers; equal ones by name.
    pub fn compare(self, a: &ContainerRow, b: &ContainerRow) -> Ordering {
        let by = match self {
            Sort::Name => Ordering::Equal,
            Sort::Cpu => b.cpu_percent.total_cmp(&a.cpu_percent),
            Sort::Memory => b.memory_used.cmp(&a.memory_used),
            Sort::Load => b.load[0].total_cmp(&a.load[0]),
            Sort::Tasks => b.tasks.cmp(&a.tasks),
            Sort::Uptime => b.uptime_seconds.cmp(&a.uptime_seconds),
        };
        by.then_with(|| (&a.name, &a.cgroup).cmp(&(&b.name, &b.cgroup)))
    }
}

pub fn run(json: bool, sort: Sort, out: &mut dyn Write) -> Result<()> {
    let mut containers = Containers::new("proclens show --all")?;
    containers.find();
    let begun = Instant::now();
    let before: Vec<_> = containers
        .all_mut()
        .filter_map(|(id, view)| {
            let cpu = Cpu::read(view)?;
            Some((id, view, cpu))
        })
        .collect();
    if !before.is_empty() {
        // The last container was read just now. It has some time too if the others took long.
        std::thread::sleep(MEASURED.saturating_sub(begun.elapsed()).max(MEASURED / 2));
    }
    let mut rows: Vec<ContainerRow> = read_all(before)
        .into_iter()
        .map(|(id, usage, percent)| ContainerRow::new(&id, containers.names(&id), &usage, percent))
        .collect();
    rows.sort_by(|a, b| sort.compare(a, b));
    if json {
        serde_json::to_writer_pretty(&mut *out, &rows).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    table(&rows, out)
}

/// What each container uses now, and its CPU use since an earlier reading. Containers that have ended meanwhile are left out.
/// Reads with several threads, because hundreds of containers have thousands of files.
fn read_all(mut before: Vec<(&Id, &mut View, Cpu)>) -> Vec<(Id, Usage, f64)> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
    let share = before.len().div_ceil(threads).max(1);
    let read = |(id, view, before): &mut (&Id, &mut View, Cpu)| {
        let usage = Usage::read(view).ok()?;
        let percent = usage.cpu?.percent_since(before);
        Some((id.clone(), usage, percent))
    };
    std::thread::scope(|scope| {
        let parts = before.chunks_mut(share);
        let parts: Vec<_> = parts
            .map(|part| scope.spawn(move || part.iter_mut().filter_map(read).collect::<Vec<_>>()))
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

fn table(rows: &[ContainerRow], out: &mut dyn Write) -> Result<()> {
    const HEAD: [&str; 9] = [
        "CONTAINER",
        "CPUS",
        "CPU %",
        "MEM USAGE / LIMIT",
        "MEM %",
        "SWAP",
        "LOAD",
        "TASKS",
        "UPTIME",
    ];
    let lines: Vec<[String; 9]> = rows
        .iter()
        .map(|row| {
            [
                plain(&row.name),
                row.cpus.to_string(),
                format!("{:.2}", row.cpu_percent),
                format!("{} / {}", size(row.memory_used), size(row.memory_limit)),
                format!("{:.2}", row.memory_percent()),
                format!("{} / {}", size(row.swap_used), size(row.swap_limit)),
                row.load.map(|load| format!("{load:.2}")).join(" "),
                row.tasks.to_string(),
                duration(row.uptime_seconds),
            ]
        })
        .collect();
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or(0).max(HEAD[column].len())
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    for (title, width) in HEAD.iter().zip(&widths) {
        write!(out, "{STRONG}{title:<width$}{STRONG:#}  ")?;
    }
    writeln!(out, "{STRONG}COMMAND{STRONG:#}")?;
    for (line, row) in lines.iter().zip(rows) {
        for (cell, width) in line.iter().zip(&widths) {
            write!(out, "{cell:<width$}  ")?;
        }
        let command: String = row.command.chars().take(40).collect();
        writeln!(out, "{command}")?;
    }
    Ok(())
}
