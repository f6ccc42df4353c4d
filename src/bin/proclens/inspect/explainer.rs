//! Computes each number of a [`Report`] with the library's code, and describes the files and the rule that it came
//! from.

use crate::inspect::numbers::Numbers;
use crate::inspect::processes;
use crate::inspect::report::{
    Cgroup, CpuNumbers, Number, Report, SCHEMA, Sampler, Source, SwapValue,
};
use crate::inspect::sources::variable;
use crate::inspect::target::Target;
use crate::inspect::view::{Read, View};
use crate::output::failure::Result;
use crate::output::units::{duration, short, size};
use proclens::cgroup::container::{self, Container};
use proclens::cgroup::kernel::Kernel;
use proclens::cgroup::locate::{CgroupDir, ContainerCgroups, Controller};
use proclens::cgroup::{Version, counters, parse_cpus, v1, v2};
use proclens::cgroup::{cpu, kernel, memory};
use proclens::error::{self, ErrorKind};
use proclens::procfs::files::MachineFile;
use proclens::sampler::conditions;
use proclens::settings::Settings;
use proclens::shared_state::LOST_AFTER_US;
use proclens::sys::{self, Errno};
use proclens::text::Out;
use proclens::values::{CpuList, Cpus, Quota, Rounding, Swap};

/// The field of a task's stat with its start time. It is read whenever a container is located.
const START: &str = "start";
/// The lines of interest in long files.
const CPU_LINES: &[&str] = &[
    "usage_usec",
    "user_usec",
    "system_usec",
    "nice_usec",
    "nr_throttled",
    "throttled_usec",
    "throttled_time",
    "user",
    "system",
];
const MEMORY_LINES: &[&str] = &[
    "hierarchical_memory_limit",
    "anon",
    "file",
    "inactive_file",
    "active_file",
    "slab_reclaimable",
    "total_rss",
    "total_cache",
    "total_inactive_file",
    "total_active_file",
    "MemTotal:",
    "MemAvailable:",
];
const SWAP_LINES: &[&str] = &[
    "hierarchical_memory_limit",
    "hierarchical_memsw_limit",
    "total_swap",
    "SwapTotal:",
    "SwapFree:",
];

type Explained = std::result::Result<(&'static str, Vec<String>), error::Failure>;
type Arena<'m> = proclens::mem::Arena<'m>;

/// Explains each number of the container that `view` looks at.
pub fn report(view: &View) -> Result<Report> {
    let sources = view.sources();
    let settings = &sources.settings();
    let numbers = Numbers::of(view, settings)?;
    let explainer = Explainer { view, settings };
    let (cgroups, pid_namespace) = explainer.cgroups();
    let cpu_numbers = view.compute(|_, mut arena| explainer.cpu_numbers(&mut arena));
    let sampler = view
        .compute(|_, mut arena| explainer.sampler(&mut arena))
        .ok()
        .flatten();
    Ok(Report {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        target: target(view.target()),
        cgroups,
        pid_namespace,
        cpus: explainer.number(numbers.cpus, CPU_LINES, |e, arena| e.cpus(arena)),
        cpu_numbers: cpu_numbers.unwrap_or(CpuNumbers {
            shown: "unknown".to_owned(),
            allowed: "unknown".to_owned(),
            possible: 0,
        }),
        memory: explainer.number(numbers.memory, MEMORY_LINES, |e, arena| e.memory(arena)),
        swap: explainer.number(
            SwapValue {
                total: numbers.memory.swap_total,
                free: numbers.memory.swap_free,
            },
            SWAP_LINES,
            |e, arena| e.swap(arena),
        ),
        cpu_time: explainer.number(numbers.time, CPU_LINES, |e, arena| e.cpu_time(arena)),
        load: explainer.number(numbers.load, CPU_LINES, |e, arena| {
            e.load(sampler.as_ref(), arena)
        }),
        sampler,
        uptime: explainer.number(numbers.uptime, &[START], |e, arena| e.uptime(arena)),
        settings: sources.given(),
    })
}

struct Explainer<'v> {
    view: &'v View,
    settings: &'v Settings<'v>,
}

impl Explainer<'_> {
    fn number<T>(
        &self,
        value: T,
        lines: &[&str],
        explain: impl Fn(&Self, &mut Arena) -> Explained,
    ) -> Number<T> {
        if !self.settings.on {
            return Number {
                value,
                rule: "off",
                because: vec!["PROCLENS=off: everything is passed through".to_owned()],
                files: Vec::new(),
            };
        }
        let explained = self.view.compute(|_, mut arena| explain(self, &mut arena));
        let (rule, because) = explained.unwrap_or_else(|(kind, errno)| {
            let mut why = String::from_utf8_lossy(kind.text()).into_owned();
            if errno.0 != 0 {
                let error = std::io::Error::from_raw_os_error(errno.0);
                why = format!("{why} ({})", crate::output::failure::reason(&error));
            }
            (
                "host",
                vec![format!("{why}: the kernel's own value is shown")],
            )
        });
        Number {
            value,
            rule,
            because,
            files: excerpts(&self.view.reads(), lines),
        }
    }

    fn cgroups(&self) -> (Vec<Cgroup>, &'static str) {
        let found = self.view.compute(|view, mut arena| {
            let cgroups = view.cgroups(&mut arena).map_err(unreadable)?;
            let cgroups = Controller::ALL
                .iter()
                .filter_map(|controller| {
                    let dir = cgroups.dirs.get(*controller as usize).copied().flatten()?;
                    Some(Cgroup {
                        controller: text(controller.name()),
                        version: match dir.version {
                            Version::V1 => 1,
                            Version::V2 => 2,
                        },
                        directory: text(dir.directory),
                        host: dir.root,
                    })
                })
                .collect();
            let namespace = if container::is_in_initial_pid_namespace(view) {
                "host"
            } else {
                "own"
            };
            Ok((cgroups, namespace))
        });
        found.unwrap_or((Vec::new(), "host"))
    }

    fn cpus(&self, arena: &mut Arena) -> Explained {
        let cgroups = self.view.cgroups(arena).map_err(unreadable)?;
        let (cpus, level) = cpu::cpus(self.view, &cgroups, self.settings, arena)?;
        let allowed = cpus.list.count();
        let list = text(cpus.list.0);
        let tightest = parse_cpus::tighter(cpus.quota, self.settings.cpus);
        let by_quota =
            tightest.map(|q| parse_cpus::count(u32::MAX, Some(q), self.settings.rounding));
        let from_setting = tightest.is_some() && tightest != cpus.quota;
        let mut because = Vec::new();
        let cpuset = match cgroups.dir(Controller::Cpuset) {
            Ok(_) => format!("cpuset {list} has {allowed}"),
            Err(_) => format!("no cpuset: the host's online CPUs {list} are {allowed}"),
        };
        if let Some((quota, by_quota)) = tightest.zip(by_quota) {
            let location = match level {
                _ if from_setting => "in PROCLENS_CPUS".to_owned(),
                Some((_, directory)) => {
                    let dir = cgroups.dir(Controller::Cpu)?;
                    format!("at {}", above(dir, directory))
                }
                None => String::new(),
            };
            because.push(format!(
                "quota {} {location}{}",
                in_cpus(quota),
                rounded(quota, by_quota, self.settings.rounding)
            ));
        }
        let rule = match by_quota {
            Some(n) if n <= allowed && from_setting => "setting",
            Some(n) if n <= allowed => "quota",
            _ if cgroups.dir(Controller::Cpuset).is_ok() => "cpuset",
            _ => "host",
        };
        // Put the deciding reason first.
        let at = if matches!(rule, "cpuset" | "host") {
            0
        } else {
            because.len()
        };
        because.insert(at, cpuset);
        if tightest.is_none() {
            because.push("no quota".to_owned());
        }
        if let Some(mask) = self.affinity() {
            because.push(format!("affinity mask has {mask}"));
        }
        Ok((rule, because))
    }

    fn cpu_numbers(&self, arena: &mut Arena) -> std::result::Result<CpuNumbers, error::Failure> {
        let possible = self
            .view
            .read(c"/sys/devices/system/cpu/possible", arena)
            .ok()
            .and_then(CpuList::parse);
        let cgroups = self.view.cgroups(arena);
        let cpus = match cgroups {
            Ok(cgroups) => cpu::cpus(self.view, &cgroups, self.settings, arena).ok(),
            Err(_) => None,
        };
        let cpus = match cpus {
            Some((cpus, _)) => cpus,
            // There is no container: the number is the host's own.
            None => {
                let online = self
                    .view
                    .read(MachineFile::CpuOnline.path(), arena)
                    .map_err(unreadable)?;
                let list = CpuList::parse(online).ok_or(unreadable(Errno::MALFORMED))?;
                Cpus {
                    count: list.count(),
                    list,
                    quota: None,
                    own: &[],
                }
            }
        };
        let mut buffer = vec![0; cpus.list.0.len().max(16)];
        let mut shown = Out::new(&mut buffer);
        parse_cpus::print_list(cpus.shown(), &mut shown);
        Ok(CpuNumbers {
            shown: text(shown.finish().unwrap_or_default()),
            allowed: text(cpus.list.0),
            possible: possible.map_or(0, CpuList::count),
        })
    }

    /// The number of CPUs that the target's process may run on.
    fn affinity(&self) -> Option<u32> {
        let mut mask = [0u64; 128];
        let pid = self.view.target().representative().unwrap_or(0);
        let length = sys::affinity(i32::try_from(pid).ok()?, &mut mask).ok()?;
        Some(
            mask.get(..length / 8)?
                .iter()
                .map(|word| word.count_ones())
                .sum(),
        )
    }

    fn memory(&self, arena: &mut Arena) -> Explained {
        let cgroups = self.view.cgroups(arena).map_err(unreadable)?;
        let host = self.host_meminfo(arena)?;
        let memory = memory::memory(self.view, &cgroups, self.settings, true, arena)?;
        let dir = cgroups.dir_or_root(Controller::Memory, self.settings.memory.is_some())?;
        let mut because = Vec::new();
        let rule = if memory.limit >= host.total {
            because.push(format!("no limit below the host's {}", size(host.total)));
            "host"
        } else if self.settings.memory == Some(memory.limit)
            && self.limit_at(dir, memory.limit, arena).is_none()
        {
            because.push(format!("limit {} in PROCLENS_MEMORY", size(memory.limit)));
            "setting"
        } else {
            let at = self.limit_at(dir, memory.limit, arena).unwrap_or_else(|| {
                "an ancestor that cannot be seen (hierarchical_memory_limit)".to_owned()
            });
            because.push(format!("limit {} at {at}", size(memory.limit)));
            "limit"
        };
        because.push(format!(
            "{} are charged to the container, page cache included",
            size(memory.usage)
        ));
        if memory.room.free < memory.limit.saturating_sub(memory.usage) {
            because.push(format!(
                "others use memory below the same limit: {} are left",
                size(memory.room.free)
            ));
        }
        because.push(format!("the host can give {}", size(host.available)));
        Ok((rule, because))
    }

    /// The file that contains the limit.
    fn limit_at(&self, dir: CgroupDir, limit: u64, arena: &mut Arena) -> Option<String> {
        let files = match dir.version {
            Version::V1 => v1::MEMORY_LIMITS,
            Version::V2 => v2::MEMORY_LIMITS,
        };
        dir.ancestors().find_map(|level| {
            files.iter().find_map(|file| {
                let found = kernel::read_in(self.view, level, file, arena).ok()?;
                (counters::limit(found) == Some(limit))
                    .then(|| format!("{}/{}", above(dir, level), text(file)))
            })
        })
    }

    fn swap(&self, arena: &mut Arena) -> Explained {
        let cgroups = self.view.cgroups(arena).map_err(unreadable)?;
        let host = self.host_meminfo(arena)?;
        let memory = memory::memory(
            self.view,
            &cgroups,
            self.settings,
            host.swap_total > 0,
            arena,
        )?;
        Ok(match memory.swap {
            _ if host.swap_total == 0 => ("host", vec!["the host has none".to_owned()]),
            Swap::Unaccounted => (
                "host",
                vec!["the kernel does not count swap for cgroups: the host's values".to_owned()],
            ),
            Swap::Counted { limit, used } if limit >= host.swap_total => (
                "host",
                vec![
                    format!("no limit below the host's {}", size(host.swap_total)),
                    format!("{} are swapped out", size(used)),
                ],
            ),
            Swap::Counted { limit, used } => (
                "limit",
                vec![
                    format!("limit {}", size(limit)),
                    format!("{} are swapped out", size(used)),
                ],
            ),
        })
    }

    fn cpu_time(&self, arena: &mut Arena) -> Explained {
        let cgroups = self.view.cgroups(arena).map_err(unreadable)?;
        let (cpus, level) = cpu::cpus(self.view, &cgroups, self.settings, arena)?;
        let time = cpu::cpu_time(
            self.view,
            &cgroups,
            self.settings,
            &cpus,
            level,
            true,
            arena,
        )?;
        let seconds = |us: u64| format!("{:.2} s", us as f64 / 1e6);
        let mut because = vec![format!(
            "the container used {} in user mode and {} in the kernel; idle is what is left of {} CPUs since it started",
            seconds(time.user_us.saturating_add(time.nice_us)),
            seconds(time.system_us),
            cpus.count
        )];
        if time.nr_throttled > 0 {
            because.push(format!(
                "its quota ran out in {} periods and throttled its threads for {} in all: steal is the part above the quota that {} CPUs could have run",
                time.nr_throttled,
                seconds(time.throttled_us),
                cpus.count
            ));
        }
        match time.pressure.and_then(|waited| waited.full_us) {
            Some(us) => because.push(format!(
                "its threads waited for {} while none of them ran on their CPU (full in cpu.pressure, averaged over its CPUs): the part that the quota does not explain is the neighbours' part of steal",
                seconds(us)
            )),
            None => because.push(
                "the kernel does not count how long its threads waited for neighbours: that time is idle here"
                    .to_owned(),
            ),
        }
        Ok(("container", because))
    }

    fn load(&self, sampler: Option<&Sampler>, arena: &mut Arena) -> Explained {
        let cgroups = self.view.cgroups(arena).map_err(unreadable)?;
        cgroups.dir_or_root(Controller::Cpuacct, self.settings.cpus.is_some())?;
        let tasks = self
            .view
            .tasks(&cgroups, None, self.settings, arena)
            .map_err(unreadable)?;
        let counted = format!(
            "{} running or ready to, {} waiting for a device, in threads",
            tasks.running, tasks.blocked
        );
        let ago = |seconds: f64| format!("{seconds:.1} s");
        let mut because = Vec::new();
        let rule = match sampler {
            None => {
                because.push(
                    "no sampler has ever counted: extrapolated from CPU time since the container started"
                        .to_owned(),
                );
                because.push(self.no_sampler(&cgroups, arena));
                "extrapolated"
            }
            Some(found) if found.alive => {
                let since = match (found.pid, found.started_seconds) {
                    (Some(pid), Some(seconds)) => {
                        format!(": process {pid}, for {}", duration(seconds as u64))
                    }
                    _ => String::new(),
                };
                because.push(format!("the sampler is alive{since}"));
                "sampler"
            }
            Some(found) => {
                because.push(if found.estimated {
                    "no sampler runs: each reader extrapolates the averages from CPU time and stores them"
                        .to_owned()
                } else {
                    format!(
                        "the sampler has ended: the last {} are extrapolated from CPU time",
                        ago(found.last_sample_seconds)
                    )
                });
                because.push(self.no_sampler(&cgroups, arena));
                "extrapolated"
            }
        };
        if let Some(found) = sampler {
            let (what, how) = match found.estimated {
                true => ("estimate", "stored"),
                false => ("sample", "taken"),
            };
            because.push(format!(
                "{what} number {} was {how} {} ago",
                found.samples,
                ago(found.last_sample_seconds)
            ));
        }
        because.push(counted);
        Ok((rule, because))
    }

    /// Why no sampler runs, in a sentence.
    fn no_sampler(&self, cgroups: &ContainerCgroups, arena: &mut Arena) -> String {
        if !self.settings.sampler {
            return "none starts (PROCLENS_SAMPLER=off)".to_owned();
        }
        let init = self.view.read(c"/proc/1/comm", arena).unwrap_or_default();
        if !conditions::is_silent(init) {
            return format!(
                "none starts under this PID 1 ({}), which could notice it: see \"Load average\" in README, or run `proclens sampler`",
                String::from_utf8_lossy(init).trim()
            );
        }
        if let Target::Own = self.view.target() {
            if let Some(obstacle) = conditions::obstacle(None) {
                return format!("none starts here: {}", obstacle.text());
            }
            if !conditions::leaves_tasks_to_start(cgroups) {
                return "none starts here: pids.max leaves too few tasks".to_owned();
            }
        }
        if !self.view.has_state(cgroups, self.settings, arena) {
            return "one starts when a program with the library reads the load and can create a state file in /dev/shm, /run, /tmp or PROCLENS_STATE; there is none yet".to_owned();
        }
        "one starts when a program with the library reads the load".to_owned()
    }

    /// The state that the container's sampler left, and its process.
    fn sampler(&self, arena: &mut Arena) -> std::result::Result<Option<Sampler>, error::Failure> {
        let cgroups = self.view.cgroups(arena).map_err(unreadable)?;
        let age = cpu::age(self.view)?.age_us;
        let Some(found) = self.view.sampled(&cgroups, age, self.settings, arena) else {
            return Ok(None);
        };
        let since_us = age.saturating_sub(found.averages.last_sample_age_us);
        // Readers publish estimates under the number 0.
        let estimated = found.sampler == 0;
        let alive = !estimated && since_us < LOST_AFTER_US;
        let pid = self.view.sampler(&cgroups).filter(|_| alive);
        let now = self.view.boot_us().map_err(unreadable)? as f64 / 1e6;
        let started = pid.and_then(processes::start_ticks);
        Ok(Some(Sampler {
            alive,
            estimated,
            pid,
            started_seconds: started.map(|ticks| (now - ticks as f64 / 100.0).max(0.0)),
            samples: found.sequence,
            last_sample_seconds: since_us as f64 / 1e6,
        }))
    }

    fn uptime(&self, arena: &mut Arena) -> Explained {
        if !self.settings.container_time {
            return Ok((
                "setting",
                vec!["PROCLENS_TIME=host: the host's value".to_owned()],
            ));
        }
        let cgroups = self.view.cgroups(arena).map_err(unreadable)?;
        cgroups.dir_or_root(Controller::Cpuacct, self.settings.cpus.is_some())?;
        let age = cpu::age(self.view)?;
        let first = match self.view.target() {
            Target::Cgroup { oldest, .. } => match oldest {
                Some(pid) => format!("process {pid}, the oldest of the cgroup,"),
                None => "nothing".to_owned(),
            },
            _ if container::is_in_initial_pid_namespace(self.view) => {
                "the host's PID 1 (the container has no PID namespace of its own)".to_owned()
            }
            _ => "the container's PID 1".to_owned(),
        };
        Ok((
            "container",
            vec![format!(
                "{first} started {:.2} s after the host: field 22 of its stat",
                age.start_ticks as f64 / 100.0
            )],
        ))
    }

    /// The host's values, in bytes.
    fn host_meminfo(&self, arena: &mut Arena) -> std::result::Result<Host, error::Failure> {
        let meminfo = self
            .view
            .read(MachineFile::Meminfo.path(), arena)
            .map_err(unreadable)?;
        let field = |name: &str| {
            text(meminfo)
                .lines()
                .find_map(|line| {
                    line.strip_prefix(name)?
                        .split_whitespace()
                        .next()?
                        .parse::<u64>()
                        .ok()
                })
                .unwrap_or(0)
                .saturating_mul(1024)
        };
        Ok(Host {
            total: field("MemTotal:"),
            available: field("MemAvailable:"),
            swap_total: field("SwapTotal:"),
        })
    }
}

struct Host {
    total: u64,
    available: u64,
    swap_total: u64,
}

/// `150000/100000 → 1.5`.
fn in_cpus(quota: Quota) -> String {
    let cpus = quota.quota_us as f64 / quota.period_us as f64;
    format!("{}/{} → {}", quota.quota_us, quota.period_us, short(cpus))
}

fn rounded(quota: Quota, count: u32, rounding: Rounding) -> String {
    if quota.quota_us.is_multiple_of(quota.period_us) {
        return String::new();
    }
    let how = match rounding {
        Rounding::Up => "up",
        Rounding::Nearest => "to nearest",
        Rounding::Down => "down",
    };
    let least = match count {
        1 if quota.quota_us < quota.period_us => ", at least 1",
        _ => "",
    };
    format!(
        ", rounded {how} to {count} ({}){least}",
        variable("cpu_round")
    )
}

/// The directory, and how many levels it is above the container's own.
fn above(dir: CgroupDir, level: &[u8]) -> String {
    let up = dir.ancestors().take_while(|l| *l != level).count();
    let name = text(level);
    match up {
        0 => name,
        1 => format!("{name} (the parent)"),
        up => format!("{name} ({up} cgroups up)"),
    }
}

/// Files of cgroups and of the host, each once, with the lines of interest.
fn excerpts(reads: &[Read], lines: &[&str]) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for read in reads {
        let about_where = ["/mountinfo", "/cgroup"]
            .iter()
            .any(|end| read.path.ends_with(end));
        if about_where || sources.iter().any(|s| s.path == read.path) {
            continue;
        }
        let excerpt = if read.path.ends_with("/stat") && !lines.contains(&START) {
            continue;
        } else if read.path.ends_with("/stat") {
            // For a task's stat, keep the field with the start time.
            match kernel::start_ticks(read.text.as_bytes()) {
                Some(ticks) => format!("… {ticks} …"),
                None => continue,
            }
        } else if read.text.contains('\n') {
            read.text
                .lines()
                .filter(|line| {
                    line.split_whitespace()
                        .next()
                        .is_some_and(|name| lines.contains(&name))
                })
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect::<Vec<_>>()
                .join(", ")
        } else {
            read.text.clone()
        };
        if !excerpt.is_empty() {
            sources.push(Source {
                path: read.path.clone(),
                excerpt,
            });
        }
    }
    sources
}

fn unreadable(errno: Errno) -> error::Failure {
    (ErrorKind::Unreadable, errno)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Describes the target in words.
fn target(target: &Target) -> String {
    match target {
        Target::Own => "this container".to_owned(),
        Target::Process { pid, .. } => format!("the container of process {pid}"),
        Target::Cgroup { path, .. } => format!("the cgroup {path}"),
    }
}
