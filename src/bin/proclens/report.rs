//! Each number with the files and values that it came from and the rule that decided: what
//! `explain` prints, and with `--json` in the form that [`crate::json`] promises.

use crate::failure::Result;
use crate::machine::{Load, Machine, Memory, Time};
use crate::processes;
use crate::settings::{Given, variable};
use crate::subject::Subject;
use crate::units::{duration, short, size};
use crate::view::{Read, View};
use proclens::cgroup::{cpus, values};
use proclens::files::VirtualFile;
use proclens::gather::{self, Controller, Home, Kernel};
use proclens::log::{self, Trouble};
use proclens::settings::Settings;
use proclens::snapshot::{Quota, Rounding, Swap};
use proclens::state::LOST_AFTER_US;
use proclens::sys::{self, Errno};
use serde::Serialize;

/// The form of the JSON; another number means that a field went or changed its meaning.
const SCHEMA: u32 = 1;

/// All there is to say.
#[derive(Debug, Serialize)]
pub struct Report {
    pub schema: u32,
    pub version: &'static str,
    /// Whose numbers these are.
    pub subject: String,
    /// Where the container is; empty on a host.
    pub cgroups: Vec<Cgroup>,
    /// `own` or `host`.
    pub pid_namespace: &'static str,
    pub cpus: Number<u32>,
    pub memory: Number<Memory>,
    pub swap: Number<SwapValue>,
    pub cpu_time: Number<Time>,
    pub load: Number<Load>,
    /// Who counts for the load averages; nothing where nobody ever has.
    pub sampler: Option<Sampler>,
    pub uptime: Number<f64>,
    pub settings: Vec<Given>,
}

/// The container's cgroup for one controller.
#[derive(Debug, Serialize)]
pub struct Cgroup {
    pub controller: String,
    /// 1 or 2.
    pub version: u8,
    pub directory: String,
    /// The cgroup is the host's own: nothing is limited.
    pub host: bool,
}

/// A number and its reasons.
#[derive(Debug, Serialize)]
pub struct Number<T> {
    pub value: T,
    /// Which rule decided, in one word.
    pub rule: &'static str,
    /// The same in sentences, the deciding one first.
    pub because: Vec<String>,
    /// What was read for it, in order.
    pub files: Vec<Source>,
}

/// A file and the part of it that matters.
#[derive(Debug, Serialize)]
pub struct Source {
    pub path: String,
    pub says: String,
}

/// The container's sampler. Seconds before now.
#[derive(Debug, Serialize)]
pub struct Sampler {
    /// It left a sample in time.
    pub alive: bool,
    /// Its process, as it is numbered here; unknown where `/proc` does not show it.
    pub pid: Option<u32>,
    /// When that process started.
    pub started_seconds: Option<f64>,
    /// Samples since the container started, those of earlier samplers among them.
    pub samples: u64,
    /// When the last one was taken.
    pub last_sample_seconds: f64,
}

/// Bytes.
#[derive(Debug, Serialize)]
pub struct SwapValue {
    pub total: u64,
    pub free: u64,
}

impl Report {
    pub fn of(view: &View) -> Result<Report> {
        let sources = view.sources();
        let settings = &sources.settings();
        let machine = Machine::of(view, settings)?;
        let teller = Teller { view, settings };
        let (cgroups, pid_namespace) = teller.place();
        let sampler = view
            .ask(|_, mut arena| teller.sampler(&mut arena))
            .ok()
            .flatten();
        Ok(Report {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            subject: subject(view.subject()),
            cgroups,
            pid_namespace,
            cpus: teller.number(machine.cpus, CPU_LINES, |t, arena| t.cpus(arena)),
            memory: teller.number(machine.memory, MEMORY_LINES, |t, arena| t.memory(arena)),
            swap: teller.number(
                SwapValue {
                    total: machine.memory.swap_total,
                    free: machine.memory.swap_free,
                },
                SWAP_LINES,
                |t, arena| t.swap(arena),
            ),
            cpu_time: teller.number(machine.time, CPU_LINES, |t, arena| t.cpu_time(arena)),
            load: teller.number(machine.load, CPU_LINES, |t, arena| {
                t.load(sampler.as_ref(), arena)
            }),
            sampler,
            uptime: teller.number(machine.uptime, &[START], |t, arena| t.uptime(arena)),
            settings: sources.given(),
        })
    }
}

/// The field of a task's stat that tells when it started; read wherever a container is looked for.
const START: &str = "start";
/// Lines that matter in files of many.
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

type Told = std::result::Result<(&'static str, Vec<String>), log::Failure>;
type Arena<'m> = proclens::sys::memory::Arena<'m>;

/// Asks the core the way the answers do, and says what it found.
struct Teller<'v> {
    view: &'v View,
    settings: &'v Settings<'v>,
}

impl Teller<'_> {
    fn number<T>(
        &self,
        value: T,
        lines: &[&str],
        tell: impl Fn(&Self, &mut Arena) -> Told,
    ) -> Number<T> {
        if !self.settings.on {
            return Number {
                value,
                rule: "off",
                because: vec!["PROCLENS=off: everything is passed through".to_owned()],
                files: Vec::new(),
            };
        }
        let told = self.view.ask(|_, mut arena| tell(self, &mut arena));
        let (rule, because) = told.unwrap_or_else(|(trouble, errno)| {
            let mut why = String::from_utf8_lossy(trouble.text()).into_owned();
            if errno.0 != 0 {
                let error = std::io::Error::from_raw_os_error(errno.0);
                why = format!("{why} ({})", crate::failure::reason(&error));
            }
            (
                "host",
                vec![format!("{why}: the kernel's own answer is given")],
            )
        });
        Number {
            value,
            rule,
            because,
            files: worth_saying(&self.view.reads(), lines),
        }
    }

    fn place(&self) -> (Vec<Cgroup>, &'static str) {
        let found = self.view.ask(|view, mut arena| {
            let place = view.place(&mut arena).map_err(unreadable)?;
            let cgroups = Controller::ALL
                .iter()
                .filter_map(|controller| {
                    let home = place.homes.get(*controller as usize).copied().flatten()?;
                    Some(Cgroup {
                        controller: text(controller.name()),
                        version: if home.unified { 2 } else { 1 },
                        directory: text(home.directory),
                        host: home.root,
                    })
                })
                .collect();
            let namespace = if gather::is_in_initial_pid_namespace(view) {
                "host"
            } else {
                "own"
            };
            Ok((cgroups, namespace))
        });
        found.unwrap_or((Vec::new(), "host"))
    }

    fn cpus(&self, arena: &mut Arena) -> Told {
        let place = self.view.place(arena).map_err(unreadable)?;
        let (cpus, level) = gather::cpus(self.view, &place, self.settings, arena)?;
        let allowed = cpus.list.count();
        let list = text(cpus.list.0);
        let tightest = cpus::tighter(cpus.quota, self.settings.cpus);
        let by_quota = tightest.map(|q| cpus::count(u32::MAX, Some(q), self.settings.rounding));
        let from_setting = tightest.is_some() && tightest != cpus.quota;
        let mut because = Vec::new();
        let cpuset = match place.home(Controller::Cpuset) {
            Ok(_) => format!("cpuset {list} has {allowed}"),
            Err(_) => format!("no cpuset: the host's online CPUs {list} are {allowed}"),
        };
        if let Some((quota, by_quota)) = tightest.zip(by_quota) {
            let place = match level {
                _ if from_setting => "in PROCLENS_CPUS".to_owned(),
                Some((_, directory)) => {
                    let home = place.home(Controller::Cpu)?;
                    format!("at {}", above(home, directory))
                }
                None => String::new(),
            };
            because.push(format!(
                "quota {} {place}{}",
                in_cpus(quota),
                rounded(quota, by_quota, self.settings.rounding)
            ));
        }
        let rule = match by_quota {
            Some(n) if n <= allowed && from_setting => "setting",
            Some(n) if n <= allowed => "quota",
            _ if place.home(Controller::Cpuset).is_ok() => "cpuset",
            _ => "host",
        };
        // The deciding one first.
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

    /// How many CPUs the subject's process may run on.
    fn affinity(&self) -> Option<u32> {
        let mut mask = [0u8; 1024];
        let pid = self.view.subject().representative().unwrap_or(0);
        let length = sys::affinity(i32::try_from(pid).ok()?, &mut mask).ok()?;
        Some(
            mask.get(..length)?
                .iter()
                .map(|byte| byte.count_ones())
                .sum(),
        )
    }

    fn memory(&self, arena: &mut Arena) -> Told {
        let place = self.view.place(arena).map_err(unreadable)?;
        let host = self.host_meminfo(arena)?;
        let memory = gather::memory(self.view, &place, self.settings, true, arena)?;
        let home = place.home_or_root(Controller::Memory, self.settings.memory.is_some())?;
        let mut because = Vec::new();
        let rule = if memory.limit >= host.total {
            because.push(format!("no limit below the host's {}", size(host.total)));
            "host"
        } else if self.settings.memory == Some(memory.limit)
            && self.limit_at(home, memory.limit, arena).is_none()
        {
            because.push(format!("limit {} in PROCLENS_MEMORY", size(memory.limit)));
            "setting"
        } else {
            let at = self.limit_at(home, memory.limit, arena).unwrap_or_else(|| {
                "an ancestor that cannot be seen (hierarchical_memory_limit)".to_owned()
            });
            because.push(format!("limit {} at {at}", size(memory.limit)));
            "limit"
        };
        because.push(format!(
            "{} are charged to the container, page cache included",
            size(memory.usage)
        ));
        because.push(format!("the host can give {}", size(host.available)));
        Ok((rule, because))
    }

    /// The file that sets the limit.
    fn limit_at(&self, home: Home, limit: u64, arena: &mut Arena) -> Option<String> {
        let files: &[&[u8]] = if home.unified {
            &[b"memory.max", b"memory.high"]
        } else {
            &[b"memory.limit_in_bytes"]
        };
        home.levels().find_map(|level| {
            files.iter().find_map(|file| {
                let found = gather::read_in(self.view, level, file, arena).ok()?;
                (values::limit(found) == Some(limit))
                    .then(|| format!("{}/{}", above(home, level), text(file)))
            })
        })
    }

    fn swap(&self, arena: &mut Arena) -> Told {
        let place = self.view.place(arena).map_err(unreadable)?;
        let host = self.host_meminfo(arena)?;
        let memory = gather::memory(self.view, &place, self.settings, host.swap_total > 0, arena)?;
        Ok(match memory.swap {
            _ if host.swap_total == 0 => ("host", vec!["the host has none".to_owned()]),
            Swap::Unaccounted => (
                "host",
                vec!["the kernel does not count swap for cgroups: the host's".to_owned()],
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

    fn cpu_time(&self, arena: &mut Arena) -> Told {
        let place = self.view.place(arena).map_err(unreadable)?;
        let (cpus, level) = gather::cpus(self.view, &place, self.settings, arena)?;
        let time = gather::cpu_time(self.view, &place, self.settings, &cpus, level, arena)?;
        let seconds = |us: u64| format!("{:.2} s", us as f64 / 1e6);
        let mut because = vec![format!(
            "the container used {} in user mode and {} in the kernel; idle is what is left of {} CPUs since it started",
            seconds(time.user_us.saturating_add(time.nice_us)),
            seconds(time.system_us),
            cpus.count
        )];
        if time.nr_throttled > 0 {
            because.push(format!(
                "its quota ran out in {} periods and held its threads back for {} together: steal is the part above the quota that {} CPUs could have given",
                time.nr_throttled,
                seconds(time.throttled_us),
                cpus.count
            ));
        }
        Ok(("container", because))
    }

    fn load(&self, sampler: Option<&Sampler>, arena: &mut Arena) -> Told {
        let place = self.view.place(arena).map_err(unreadable)?;
        place.home_or_root(Controller::Cpuacct, self.settings.cpus.is_some())?;
        let tasks = self.view.tasks(&place, arena).map_err(unreadable)?;
        let counted = format!(
            "{} running or ready to, {} waiting for a device, in threads",
            tasks.running, tasks.blocked
        );
        let off = match self.settings.sampler {
            true => "",
            false => " (PROCLENS_SAMPLER=off)",
        };
        let ago = |seconds: f64| format!("{seconds:.1} s");
        let mut because = Vec::new();
        let rule = match sampler {
            None => {
                because.push(format!(
                    "no sampler has ever counted{off}: bridged from CPU time since the container started"
                ));
                "bridged"
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
                because.push(format!(
                    "the sampler is gone{off}: the last {} are bridged from CPU time",
                    ago(found.last_sample_seconds)
                ));
                "bridged"
            }
        };
        if let Some(found) = sampler {
            because.push(format!(
                "sample number {} was taken {} ago",
                found.samples,
                ago(found.last_sample_seconds)
            ));
        }
        because.push(counted);
        Ok((rule, because))
    }

    /// What the container's sampler left, and its process.
    fn sampler(&self, arena: &mut Arena) -> std::result::Result<Option<Sampler>, log::Failure> {
        let place = self.view.place(arena).map_err(unreadable)?;
        let age = gather::age(self.view)?.age_us;
        let Some(found) = self.view.sampled(&place, age, self.settings, arena) else {
            return Ok(None);
        };
        let since_us = age.saturating_sub(found.averages.last_sample_age_us);
        let alive = since_us < LOST_AFTER_US;
        let pid = self.view.sampler(&place).filter(|_| alive);
        let now = self.view.boot_us().map_err(unreadable)? as f64 / 1e6;
        let started = pid.and_then(processes::start_ticks);
        Ok(Some(Sampler {
            alive,
            pid,
            started_seconds: started.map(|ticks| (now - ticks as f64 / 100.0).max(0.0)),
            samples: found.sequence,
            last_sample_seconds: since_us as f64 / 1e6,
        }))
    }

    fn uptime(&self, arena: &mut Arena) -> Told {
        if !self.settings.container_time {
            return Ok(("setting", vec!["PROCLENS_TIME=host: the host's".to_owned()]));
        }
        let place = self.view.place(arena).map_err(unreadable)?;
        place.home_or_root(Controller::Cpuacct, self.settings.cpus.is_some())?;
        let age = gather::age(self.view)?;
        let first = match self.view.subject() {
            Subject::Cgroup { oldest, .. } => match oldest {
                Some(pid) => format!("process {pid}, the oldest of the cgroup,"),
                None => "nothing".to_owned(),
            },
            _ if gather::is_in_initial_pid_namespace(self.view) => {
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

    /// What the host has: bytes.
    fn host_meminfo(&self, arena: &mut Arena) -> std::result::Result<Host, log::Failure> {
        let meminfo = self
            .view
            .read(VirtualFile::Meminfo.path(), arena)
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

/// Who is looked at, in words.
fn subject(subject: &Subject) -> String {
    match subject {
        Subject::Own => "this container".to_owned(),
        Subject::Process { pid, .. } => format!("the container of process {pid}"),
        Subject::Cgroup { path, .. } => format!("the cgroup {path}"),
    }
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

/// The directory, and how far it is above the container's own.
fn above(home: Home, level: &[u8]) -> String {
    let up = home.levels().take_while(|l| *l != level).count();
    let name = text(level);
    match up {
        0 => name,
        1 => format!("{name} (the parent)"),
        up => format!("{name} ({up} levels up)"),
    }
}

/// Files of cgroups and of the machine, each once, with the lines that matter.
fn worth_saying(reads: &[Read], lines: &[&str]) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for read in reads {
        let about_where = ["/mountinfo", "/cgroup"]
            .iter()
            .any(|end| read.path.ends_with(end));
        if about_where || sources.iter().any(|s| s.path == read.path) {
            continue;
        }
        let says = if read.path.ends_with("/stat") && !lines.contains(&START) {
            continue;
        } else if read.path.ends_with("/stat") {
            // Of a task: the field that tells when it started.
            match gather::start_ticks(read.text.as_bytes()) {
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
        if !says.is_empty() {
            sources.push(Source {
                path: read.path.clone(),
                says,
            });
        }
    }
    sources
}

fn unreadable(errno: Errno) -> log::Failure {
    (Trouble::Unreadable, errno)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
