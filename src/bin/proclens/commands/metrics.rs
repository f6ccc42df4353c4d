//! `proclens metrics`: this container, or every container on the host, as OpenMetrics text.
//!
//! Names are cAdvisor's where the meaning is equal (`container_…`), and `proclens_…` for the values that
//! programs in the container read.

use crate::inspect::containers::Containers;
use crate::inspect::target::Target;
use crate::inspect::usage::{Resource, Usage};
use crate::inspect::view::View;
use crate::output::failure::{Failure, Result};
use crate::output::http::{self, Response};
use crate::output::openmetrics::{Family, Format, Kind, Metrics};
use proclens::values::Swap;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The destination of the text.
pub enum Output<'a> {
    Stdout,
    /// A file for node_exporter's textfile collector; it is replaced atomically.
    Textfile(&'a Path),
    /// An HTTP server with one page, `/metrics`.
    Listen(SocketAddr),
}

pub fn run(all: bool, output: Output<'_>, out: &mut dyn Write) -> Result<()> {
    let mut scope = match all {
        true => Scope::All(Containers::new("proclens metrics --all")?),
        false => Scope::Own,
    };
    match output {
        Output::Stdout => Ok(out.write_all(scope.read()?.text(Format::OpenMetrics).as_bytes())?),
        Output::Textfile(path) => replace(path, &scope.read()?.text(Format::Prometheus)),
        Output::Listen(address) => serve(address, scope),
    }
}

/// The containers that the text is about.
enum Scope {
    Own,
    All(Containers),
}

impl Scope {
    fn read(&mut self) -> Result<Metrics> {
        let mut metrics = Metrics::default();
        let build = Family {
            name: "proclens_build",
            kind: Kind::Info,
            help: "The version of proclens.",
        };
        metrics.add(build, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        match self {
            Scope::Own => add(&Usage::read(&View::new(Target::Own))?, &mut metrics, &[]),
            Scope::All(containers) => {
                containers.find();
                for (id, view) in containers.all() {
                    // A container that ends during the read has no metrics.
                    let Ok(usage) = Usage::read(view) else {
                        continue;
                    };
                    let names = containers.names(id);
                    let labels = [
                        ("id", id.cgroup.as_str()),
                        ("name", names.name.as_str()),
                        ("image", names.image.as_str()),
                    ];
                    add(&usage, &mut metrics, &labels);
                }
            }
        }
        Ok(metrics)
    }
}

/// The regular file, or the free place, to which `path` leads. A rename would replace a symbolic link, a FIFO
/// or a device.
fn place(path: &Path) -> Result<PathBuf> {
    let refused = |error: io::Error| Failure::of_file(path, &error);
    let what = match fs::metadata(path).map(|status| status.file_type()) {
        Ok(kind) if kind.is_file() => return path.canonicalize().map_err(refused),
        Ok(kind) if kind.is_dir() => "a directory",
        Ok(kind) if kind.is_fifo() => "a FIFO",
        Ok(kind) if kind.is_socket() => "a socket",
        Ok(_) => "a device",
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut place = path.to_owned();
            // The kernel has followed all links to the place of the missing file, so they end.
            while let Ok(target) = fs::read_link(&place) {
                place.pop();
                place.push(target);
            }
            return Ok(place);
        }
        Err(error) => return Err(refused(error)),
    };
    Err(Failure::new(
        format_args!("{}: is {what}, not a regular file", path.display()),
        "name another path, or print to standard output without --textfile",
    ))
}

/// Writes `text` beside the file and renames it, so that no reader sees a part of it. A signal that ends this
/// program waits until the file is in its place: no temporary file stays.
fn replace(path: &Path, text: &str) -> Result<()> {
    let place = place(path)?;
    let directory = match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let refused = |error: &io::Error| Failure::of_file(path, error);
    let ignored = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        // Without the handler a temporary file may stay, which is no reason to fail.
        let _ = flag::register(signal, Arc::clone(&ignored));
    }
    let mut file = tempfile::Builder::new()
        .prefix(".proclens-")
        .tempfile_in(directory)
        .map_err(|error| refused(&error))?;
    file.write_all(text.as_bytes())
        // A file system may report only now that it is full.
        .and_then(|()| file.as_file().sync_data())
        // Whatever the umask: the collector may run as another user.
        .and_then(|()| {
            let mode = fs::Permissions::from_mode(0o644);
            file.as_file().set_permissions(mode)
        })
        .map_err(|error| refused(&error))?;
    file.persist(place).map_err(|error| refused(&error.error))?;
    Ok(())
}

/// Serves `/metrics` until a signal ends the process.
fn serve(address: SocketAddr, scope: Scope) -> Result<()> {
    let listener = http::bind(address)?;
    // PID 1 of a container has no default action for these signals.
    let signals = Signals::new([SIGTERM, SIGINT]);
    std::thread::spawn(move || {
        if signals.is_ok_and(|mut signals| signals.forever().next().is_some()) {
            std::process::exit(0);
        }
    });
    let latest = Mutex::new(Latest {
        scope,
        begun: None,
        metrics: Metrics::default(),
    });
    http::serve(&listener, "/metrics", move |request| {
        let format = Format::accepted(&request.accept);
        let arrived = Instant::now();
        let mut latest = latest.lock().unwrap_or_else(|error| error.into_inner());
        match latest.since(arrived) {
            Ok(metrics) => Response {
                status: 200,
                content_type: format.content_type(),
                text: metrics.text(format),
            },
            Err(failure) => Response {
                status: 500,
                content_type: http::PLAIN,
                text: format!("{failure}\n"),
            },
        }
    })
}

/// The latest reading. Requests wait for each other: many clients cost one CPU at most, and all that wait for
/// one reading share the next one.
struct Latest {
    scope: Scope,
    begun: Option<Instant>,
    metrics: Metrics,
}

impl Latest {
    /// A reading that began after `arrived`.
    fn since(&mut self, arrived: Instant) -> Result<&Metrics> {
        if self.begun.is_none_or(|begun| begun < arrived) {
            let begun = Instant::now();
            self.metrics = self.scope.read()?;
            self.begun = Some(begun);
        }
        Ok(&self.metrics)
    }
}

const MICROSECOND: f64 = 1e-6;

/// Adds values of one container, all with the same labels.
struct Samples<'m> {
    metrics: &'m mut Metrics,
    labels: &'m [(&'m str, &'m str)],
}

impl Samples<'_> {
    fn gauge(&mut self, name: &'static str, help: &'static str, value: f64) {
        let kind = Kind::Gauge;
        self.metrics
            .add(Family { name, kind, help }, self.labels, value);
    }

    fn bytes(&mut self, name: &'static str, help: &'static str, bytes: u64) {
        self.gauge(name, help, bytes as f64);
    }

    fn counter(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.counter_with(name, help, &[], value);
    }

    fn counter_with(
        &mut self,
        name: &'static str,
        help: &'static str,
        more: &[(&str, &str)],
        value: f64,
    ) {
        let kind = Kind::Counter;
        let labels = [self.labels, more].concat();
        self.metrics
            .add(Family { name, kind, help }, &labels, value);
    }
}

/// Adds the values of one container.
fn add(usage: &Usage, metrics: &mut Metrics, labels: &[(&str, &str)]) {
    let mut samples = Samples { metrics, labels };
    add_cpu(usage, &mut samples);
    add_memory(usage, &mut samples);
    add_tasks(usage, &mut samples);
    add_io(usage, &mut samples);
}

fn add_cpu(usage: &Usage, samples: &mut Samples) {
    let numbers = &usage.numbers;
    samples.gauge(
        "proclens_cpus",
        "CPUs that programs count.",
        f64::from(numbers.cpus),
    );
    let time = &numbers.time;
    for (mode, seconds) in [
        ("user", time.user),
        ("nice", time.nice),
        ("system", time.system),
        ("idle", time.idle),
        ("steal", time.steal),
    ] {
        samples.counter_with(
            "proclens_cpu_seconds",
            "CPU time by mode, as in /proc/stat.",
            &[("mode", mode)],
            seconds,
        );
    }
    let busy = usage.cpu.map(|cpu| cpu.busy_us as f64 * MICROSECOND);
    samples.counter(
        "container_cpu_usage_seconds",
        "CPU time used.",
        busy.unwrap_or_else(|| time.busy()),
    );
    if let Some((periods, us)) = usage.cpu.and_then(|cpu| cpu.throttled) {
        samples.counter(
            "container_cpu_cfs_throttled_periods",
            "Periods in which the quota ran out.",
            periods as f64,
        );
        samples.counter(
            "container_cpu_cfs_throttled_seconds",
            "Throttled time, summed over CPUs.",
            us as f64 * MICROSECOND,
        );
    }
}

fn add_memory(usage: &Usage, samples: &mut Samples) {
    let seen = &usage.numbers.memory;
    samples.bytes("proclens_memory_total_bytes", "MemTotal.", seen.total);
    samples.bytes("proclens_memory_free_bytes", "MemFree.", seen.free);
    samples.bytes(
        "proclens_memory_available_bytes",
        "MemAvailable.",
        seen.available,
    );
    samples.bytes("proclens_memory_cached_bytes", "Cached.", seen.cached);
    samples.bytes("proclens_swap_total_bytes", "SwapTotal.", seen.swap_total);
    samples.bytes("proclens_swap_free_bytes", "SwapFree.", seen.swap_free);
    let Some(memory) = &usage.memory else { return };
    samples.bytes(
        "container_memory_usage_bytes",
        "Charged memory, page cache included.",
        memory.usage,
    );
    samples.bytes(
        "container_memory_working_set_bytes",
        "Charged memory without inactive page cache.",
        usage.working_set().unwrap_or(memory.usage),
    );
    samples.bytes(
        "container_memory_rss",
        "Anonymous memory, in bytes.",
        memory.stat.anon,
    );
    samples.bytes(
        "container_memory_cache",
        "Page cache, in bytes.",
        memory.stat.file,
    );
    let limit = match memory.limit {
        u64::MAX => 0,
        limit => limit,
    };
    samples.bytes(
        "container_spec_memory_limit_bytes",
        "The memory limit; 0 is none.",
        limit,
    );
    if let Swap::Counted { used, .. } = memory.swap {
        samples.bytes("container_memory_swap", "Swap usage, in bytes.", used);
    }
}

fn add_tasks(usage: &Usage, samples: &mut Samples) {
    let load = &usage.numbers.load;
    let [one, five, fifteen] = load.averages;
    samples.gauge("proclens_load1", "Load average over 1 minute.", one);
    samples.gauge("proclens_load5", "Load average over 5 minutes.", five);
    samples.gauge("proclens_load15", "Load average over 15 minutes.", fifteen);
    samples.gauge(
        "proclens_tasks_running",
        "Threads in state R.",
        load.running as f64,
    );
    samples.gauge("container_threads", "Threads.", usage.tasks() as f64);
    samples.gauge(
        "proclens_uptime_seconds",
        "Age of the container.",
        usage.numbers.uptime,
    );
}

fn add_io(usage: &Usage, samples: &mut Samples) {
    if let Some(io) = &usage.io {
        for (name, help, count) in [
            (
                "container_fs_reads_bytes",
                "Bytes read from disks.",
                io.read_bytes,
            ),
            (
                "container_fs_writes_bytes",
                "Bytes written to disks.",
                io.written_bytes,
            ),
            ("container_fs_reads", "Read operations on disks.", io.reads),
            (
                "container_fs_writes",
                "Write operations on disks.",
                io.writes,
            ),
        ] {
            samples.counter(name, help, count as f64);
        }
    }
    for pressure in &usage.pressure {
        let [waiting, stalled] = match pressure.resource {
            Resource::Cpu => [
                "container_pressure_cpu_waiting_seconds",
                "container_pressure_cpu_stalled_seconds",
            ],
            Resource::Memory => [
                "container_pressure_memory_waiting_seconds",
                "container_pressure_memory_stalled_seconds",
            ],
            Resource::Io => [
                "container_pressure_io_waiting_seconds",
                "container_pressure_io_stalled_seconds",
            ],
        };
        let some = pressure.some_us as f64 * MICROSECOND;
        samples.counter(waiting, "Time in which some tasks waited.", some);
        let full = pressure.full_us as f64 * MICROSECOND;
        samples.counter(stalled, "Time in which all tasks waited.", full);
    }
}
