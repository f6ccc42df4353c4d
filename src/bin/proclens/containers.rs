//! `proclens show --all`: every container on the host, in the figures of `docker stats`.

use crate::failure::{Failure, Result};
use crate::machine::Machine;
use crate::processes;
use crate::style::STRONG;
use crate::subject::Subject;
use crate::units::{duration, size};
use crate::view::View;
use proclens::cgroup::membership;
use proclens::gather::{self, Controller, Kernel};
use proclens::log::Trouble;
use proclens::sys;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// CPU use is measured over this time.
const MEASURED: Duration = Duration::from_secs(1);

/// One container.
#[derive(Debug, Serialize)]
struct Row {
    /// The short identifier of a runtime, or the cgroup's last name.
    container: String,
    cgroup: String,
    /// The process that stands for it.
    pid: u32,
    cpus: u32,
    /// As in `docker stats`: 100 is one CPU.
    cpu_percent: f64,
    /// As in `docker stats`: without page cache that was not used lately. Bytes.
    memory_used: u64,
    memory_limit: u64,
    swap_used: u64,
    swap_limit: u64,
    load: [f64; 3],
    /// Processes and threads, as the pids controller counts them: `docker stats` calls them PIDS.
    tasks: u64,
    uptime_seconds: u64,
    command: String,
}

pub fn run(json: bool, out: &mut dyn Write) -> Result<()> {
    if sys::process::effective_user() != 0 {
        return Err(Failure::new(
            "/proc: other users' processes can only be looked into by root",
            "try sudo proclens show --all",
        ));
    }
    let begun = Instant::now();
    let found: Vec<_> = find()
        .into_iter()
        .filter_map(|(cgroup, pid)| {
            let view = View::new(Subject::process(pid).ok()?);
            let busy = busy_us(&view)?;
            Some((cgroup, pid, view, busy))
        })
        .collect();
    if !found.is_empty() {
        std::thread::sleep(MEASURED.saturating_sub(begun.elapsed()));
    }
    // Containers that ended meanwhile are left out.
    let rows: Vec<Row> = found
        .into_iter()
        .filter_map(|(cgroup, pid, view, busy)| row(cgroup, pid, &view, busy))
        .collect();
    if json {
        serde_json::to_writer_pretty(&mut *out, &rows).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    table(&rows, out)
}

/// The containers, by their cgroup, each with the process that stands for it: the first of its
/// PID namespace, or the oldest.
///
/// A cgroup in which processes of the host are as well is none (a browser's sandbox, a session in
/// which somebody used chroot), unless all they do there is wait for the container's first.
fn find() -> BTreeMap<String, u32> {
    let own = std::process::id();
    let (namespace, root) = (processes::pid_namespace(own), processes::root(own));
    let mut hosts = Vec::new();
    let mut first: HashMap<PathBuf, u32> = HashMap::new();
    let mut guests = Vec::new();
    for pid in processes::all() {
        let (Some(theirs), Some(path)) = (processes::pid_namespace(pid), cgroup_of(pid)) else {
            continue;
        };
        let outside = Some(&theirs) == namespace.as_ref();
        if outside && (processes::root(pid) == root || processes::root(pid).is_none()) {
            hosts.push((pid, path));
            continue;
        }
        if !outside && processes::is_first(pid) {
            first.insert(theirs.clone(), pid);
        }
        guests.push((pid, theirs, path));
    }
    let waiting: HashSet<u32> = first
        .values()
        .copied()
        .filter_map(processes::parent)
        .collect();
    let hosts: HashSet<String> = hosts
        .into_iter()
        .filter(|(pid, _)| !waiting.contains(pid))
        .map(|(_, path)| path)
        .collect();
    let mut found: BTreeMap<String, (bool, u64, u32)> = BTreeMap::new();
    for (pid, namespace, path) in guests {
        let pid1 = first.get(&namespace).copied();
        let whole = pid1.and_then(cgroup_of).unwrap_or_else(|| path.clone());
        let whole = membership::container(path.as_bytes(), whole.as_bytes(), pid1.is_none());
        let whole = String::from_utf8_lossy(whole).into_owned();
        if whole == "/" || hosts.contains(&whole) {
            continue;
        }
        let candidate = (
            pid1 != Some(pid),
            processes::start_ticks(pid).unwrap_or(u64::MAX),
            pid,
        );
        let best = found.entry(whole).or_insert(candidate);
        *best = (*best).min(candidate);
    }
    found
        .into_iter()
        .map(|(path, (.., pid))| (path, pid))
        .collect()
}

/// Its cgroup in the tree that tells containers apart.
fn cgroup_of(pid: u32) -> Option<String> {
    let text = fs::read(format!("/proc/{pid}/cgroup")).ok()?;
    [Controller::Memory, Controller::Pids, Controller::Cpu]
        .into_iter()
        .find_map(|controller| membership::of(&text, controller.name()))
        .map(|(_, path)| String::from_utf8_lossy(path).into_owned())
}

/// CPU time so far, and when that was.
fn busy_us(view: &View) -> Option<(u64, Instant)> {
    let sources = view.sources();
    let settings = sources.settings();
    let time = view.ask(|view, mut arena| {
        let place = view
            .place(&mut arena)
            .map_err(|e| (Trouble::Unreadable, e))?;
        let (cpus, level) = gather::cpus(view, &place, &settings, &mut arena)?;
        let time = gather::cpu_time(view, &place, &settings, &cpus, level, &mut arena)?;
        Ok(time.user_us + time.nice_us + time.system_us)
    });
    Some((time.ok()?, Instant::now()))
}

fn row(cgroup: String, pid: u32, view: &View, before: (u64, Instant)) -> Option<Row> {
    let sources = view.sources();
    let settings = sources.settings();
    let (busy, now) = busy_us(view)?;
    let passed = now.duration_since(before.1).as_micros().max(1) as f64;
    let machine = Machine::of(view, &settings).ok()?;
    let (memory_used, tasks) = view
        .ask(|view, mut arena| {
            let place = view
                .place(&mut arena)
                .map_err(|e| (Trouble::Unreadable, e))?;
            let memory = gather::memory(view, &place, &settings, true, &mut arena)?;
            let used = memory.usage.saturating_sub(memory.stat.inactive_file);
            Ok((used, gather::charged_tasks(view, &place, &mut arena)))
        })
        .ok()?;
    Some(Row {
        container: identifier(&cgroup),
        cgroup,
        pid,
        cpus: machine.cpus,
        cpu_percent: busy.saturating_sub(before.0) as f64 * 100.0 / passed,
        memory_used,
        memory_limit: machine.memory.total,
        swap_used: machine.memory.swap_used(),
        swap_limit: machine.memory.swap_total,
        load: machine.load.averages,
        tasks: tasks.unwrap_or(machine.load.total),
        uptime_seconds: machine.uptime as u64,
        command: processes::command(pid),
    })
}

/// What a runtime calls the container, as short as `docker ps` does.
fn identifier(cgroup: &str) -> String {
    let last = cgroup.rsplit('/').next().unwrap_or(cgroup);
    let name = last.strip_suffix(".scope").unwrap_or(last);
    let name = ["docker-", "libpod-", "cri-containerd-", "crio-"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    let is_long = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    if is_long { &name[..12] } else { name }.to_owned()
}

fn table(rows: &[Row], out: &mut dyn Write) -> Result<()> {
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
            let percent = row.memory_used as f64 * 100.0 / row.memory_limit.max(1) as f64;
            [
                row.container.clone(),
                row.cpus.to_string(),
                format!("{:.2}", row.cpu_percent),
                format!("{} / {}", size(row.memory_used), size(row.memory_limit)),
                format!("{percent:.2}"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        let long = "0123456789abcdef".repeat(4);
        for (cgroup, expected) in [
            (format!("/docker/{long}"), "0123456789ab"),
            (format!("/system.slice/docker-{long}.scope"), "0123456789ab"),
            (
                format!("/machine.slice/libpod-{long}.scope"),
                "0123456789ab",
            ),
            ("/lxc/web".to_owned(), "web"),
            ("/user.slice/x.scope".to_owned(), "x"),
        ] {
            assert_eq!(identifier(&cgroup), expected);
        }
    }
}
