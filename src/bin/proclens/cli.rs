//! The command line. The man pages and the completions are generated from it too.

use crate::commands::env::Format;
use crate::commands::export;
use crate::commands::inject::Preload;
use crate::commands::show_all::Sort;
use crate::output::json;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  proclens show                      what this container looks like from inside
  proclens show meminfo              the text that free and top read
  proclens explain                   why programs see 2 CPUs
  proclens check -- top              would the library work in top here?
  eval \"$(proclens env)\"             GOMAXPROCS and the like for static programs
  sudo proclens show --all           every container on this host
  proclens install --root /          switch the library on for all programs
  proclens run -- /app               a static or Go program that sees the container

Exit status: 0 success; 1 failure, a line on stderr gives the remedy; 2 bad arguments.
Settings: PROCLENS_* in the environment and /etc/proclens.conf, see `proclens explain`.";

const SHOW: &str = "\
Examples:
  proclens show meminfo
  proclens show --pid 4711 cpuinfo
  proclens show --cgroup /docker/1d2c load
  sudo proclens show --all --sort cpu
  sudo proclens show --all --json";

const EXPLAIN: &str = "\
Examples:
  proclens explain
  proclens explain --pid 4711 --json";

const CHECK: &str = "\
Examples:
  proclens check
  proclens check -- java -version
  proclens check --pid 4711

Exit status: 0 the library is active; 1 it is not, or something needs attention; 2 it could
not be checked.";

const EXPORT: &str = "\
Examples:
  proclens export /run/proclens/host &
  prometheus-node-exporter --path.procfs=/run/proclens/host/proc
  HOST_PROC=/run/proclens/host/proc telegraf

Each file is replaced as a whole; all other names are links to the real /proc and /sys. Needs no
privilege. The export ends with its parent process or by a signal, and removes what it made.

Limit: start times in DIR/proc/PID/stat are the host's; with PROCLENS_TIME=host, boot time and
uptime are as well.";

const RUN: &str = "\
A setuid program below `run` keeps its caller's rights, unless `run` has CAP_SYS_ADMIN: without it
the kernel allows a seccomp filter only with no_new_privs.

A dynamic program that is not Go gets the library in LD_PRELOAD, and nothing else happens. For
every other program, two small processes stay beside it and serve its reads of virtual files.

Examples:
  proclens run -- prometheus-node-exporter
  ENTRYPOINT [\"/usr/bin/proclens\", \"run\", \"--\", \"/app\"]
  proclens run --notify -- /docker-entrypoint.sh     a script that starts a Go program

Limits:
  Each read-only open costs some 10 microseconds of CPU.
  A signal handler without SA_RESTART can make open, lseek and pread fail with EINTR.
  A program that counts CPUs by listing /sys/devices/system/cpu finds the host's.
  A program that listens to seccomp notifications itself gets EBUSY.
  If a program kills both small processes (kill -9 -1 not below PID 1), such opens fail with ENOSYS.
  32-bit programs are left as they are.

Exit status: the program's own; 128 + N if signal N ended it; 126 it cannot be executed; 127 there
is no such program.";

/// See the container as its programs see it, and why.
#[derive(Debug, Parser)]
#[command(name = "proclens", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// The order of a list of containers.
#[derive(Debug, Args)]
pub struct Order {
    /// The order of --all; numbers: the largest first
    #[arg(
        long,
        value_name = "KEY",
        value_enum,
        default_value_t,
        requires = "all"
    )]
    pub sort: Sort,
}

/// The container to inspect.
#[derive(Debug, Default, Args)]
#[group(multiple = false)]
pub struct Whose {
    /// The container of process N instead of this one
    #[arg(long, value_name = "N")]
    pub pid: Option<u32>,
    /// This cgroup: a path as in /proc/PID/cgroup, or a directory below /sys/fs/cgroup
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print what a program in the container reads: one file, or an overview
    #[command(after_help = SHOW, after_long_help = format!("{SHOW}\n\n{}\n\n{}", json::REPORT, json::CONTAINERS))]
    Show {
        /// A virtual file (meminfo, /proc/stat, …), sysinfo, cpus or load; default: an overview
        file: Option<String>,
        #[command(flatten)]
        whose: Whose,
        /// Every container on this host (needs root)
        #[arg(long, conflicts_with_all = ["file", "pid", "cgroup"])]
        all: bool,
        #[command(flatten)]
        order: Order,
        /// The overview as JSON
        #[arg(long, conflicts_with = "file")]
        json: bool,
    },
    /// Print for each number the files it came from and the rule that decided
    #[command(after_help = EXPLAIN, after_long_help = format!("{EXPLAIN}\n\n{}", json::REPORT))]
    Explain {
        #[command(flatten)]
        whose: Whose,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Check whether the library works here, in a program or in a running process
    #[command(after_help = CHECK, after_long_help = format!("{CHECK}\n\n{}", json::CHECK))]
    Check {
        /// A running process
        #[arg(long, value_name = "N", conflicts_with = "command")]
        pid: Option<u32>,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// A program and its arguments; it is inspected, not run
        #[arg(last = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Print environment variables for programs that no preload reaches: GOMAXPROCS, GOMEMLIMIT, …
    #[command(
        after_help = "Examples:\n  eval \"$(proclens env)\"\n  proclens env --format dotenv > limits.env\n\nA variable that is already set is not printed, unless --all is given."
    )]
    Env {
        /// The output format
        #[arg(long, value_enum, default_value_t = Format::Sh)]
        format: Format,
        /// Include variables that are already set
        #[arg(long)]
        all: bool,
        /// Add HOST_PROC and HOST_SYS for agents that read the directory of `proclens export DIR`
        #[arg(long, value_name = "DIR")]
        export: Option<PathBuf>,
        #[command(flatten)]
        whose: Whose,
    },
    /// Add the library to Kubernetes workloads: YAML or JSON from standard input to standard output
    #[command(
        after_help = "Examples:\n  kubectl get deploy web -o yaml | proclens inject --image registry.example/proclens:0.2.0 | kubectl apply -f -\n  proclens inject --remove < pod.yaml\n\nOther documents pass through unchanged. A pod with the label proclens=off stays as it is."
    )]
    Inject {
        /// The release image, from which an init container copies the library
        #[arg(long, value_name = "REF", value_parser = image, required_unless_present = "remove")]
        image: Option<String>,
        /// How the dynamic linker finds the library
        #[arg(long, value_enum, default_value_t = Preload::Env)]
        preload: Preload,
        /// Remove what inject added
        #[arg(long)]
        remove: bool,
    },
    /// Switch the library on for all programs below a root directory
    #[command(
        after_help = "Examples:\n  proclens install\n  proclens install --root /mnt/image --lib ./libproclens.so\n\nThe library is tested in that root before anything refers to it; /etc/ld.so.preload is\nwritten last, and as a whole. If the test fails or is interrupted, the root does not change.\n\nThe test runs programs of DIR as root: use --root only on roots that you trust."
    )]
    Install {
        /// The root directory
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
        /// Only copy library and tool into this directory; works as any user
        #[arg(long, value_name = "DIR", conflicts_with = "root")]
        to: Option<PathBuf>,
        /// The library; default: the one beside this program
        #[arg(long, value_name = "FILE")]
        lib: Option<PathBuf>,
    },
    /// Undo what install did
    #[command(
        after_help = "Examples:\n  proclens uninstall\n  proclens uninstall --root /mnt/image\n\nOther libraries in /etc/ld.so.preload stay."
    )]
    Uninstall {
        /// The root directory
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
    },
    /// Show CPU, memory, swap, load and pressure live; plain lines if the output is not a terminal
    #[command(
        after_help = "Examples:\n  proclens watch\n  proclens watch --interval 5 --count 12 | tee log\n  sudo proclens watch --all --sort cpu\n\nq, Esc or Ctrl-C ends the page. In the page of --all the arrows, PgUp, PgDn, Home and End scroll;\nn, c, m, l, t and u sort by name, CPU, memory, load, tasks and uptime."
    )]
    Watch {
        /// Every container on this host, one line each (needs root)
        #[arg(long, conflicts_with_all = ["pid", "cgroup"])]
        all: bool,
        #[command(flatten)]
        order: Order,
        /// Seconds between two readings
        #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
        interval: f64,
        /// Stop after N readings
        #[arg(long, value_name = "N")]
        count: Option<u64>,
        #[command(flatten)]
        whose: Whose,
    },
    /// Print this container as OpenMetrics text, for Prometheus and its agents
    #[command(
        after_help = "Examples:\n  proclens metrics\n  sudo proclens metrics --all --textfile /var/lib/node_exporter/proclens.prom\n  sudo proclens metrics --all --listen 127.0.0.1:9717\n\nStandard output has the OpenMetrics format. --textfile writes Prometheus's older text format, the\nonly format that node_exporter reads. --listen sends the older format to clients that accept\ntext/plain and not OpenMetrics."
    )]
    Metrics {
        /// Every container on this host (needs root)
        #[arg(long)]
        all: bool,
        /// Replace this file atomically instead of printing: for node_exporter's textfile collector
        #[arg(long, value_name = "PATH")]
        textfile: Option<PathBuf>,
        /// Serve http://ADDR/metrics until killed; default address: 127.0.0.1:9717
        #[arg(
            long,
            value_name = "ADDR",
            conflicts_with = "textfile",
            num_args = 0..=1,
            default_missing_value = "127.0.0.1:9717"
        )]
        listen: Option<std::net::SocketAddr>,
    },
    /// Run a program so that it sees the container, static and Go programs too
    #[command(after_help = RUN)]
    Run {
        /// Use seccomp notification for a dynamic program too, so that its static children see the
        /// container
        #[arg(long)]
        notify: bool,
        /// The program and its arguments
        #[arg(
            required = true,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "CMD"
        )]
        command: Vec<OsString>,
    },
    /// Keep a directory with the container's /proc and /sys current, for agents that can read another one
    #[command(after_help = EXPORT)]
    Export {
        /// The directory; DIR/proc and DIR/sys are made in it
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Time between two refreshes: 1s, 500ms
        #[arg(long, value_name = "TIME", default_value = "1s", value_parser = export::interval)]
        every: Duration,
    },
    /// Count this container's load, every five seconds, until the container ends
    #[command(
        after_help = "Examples:\n  proclens sampler &\n\nNot needed where the library starts a sampler (`proclens explain` shows it). A container in which\n/dev/shm, /run and /tmp cannot be written needs PROCLENS_STATE."
    )]
    Sampler,
    /// Write the man pages and completions of this program
    #[command(hide = true)]
    Generate {
        /// The output directory
        directory: PathBuf,
    },
}

impl Command {
    /// True if the output is for programs, which get each byte as it is. Such output has no colours.
    pub fn prints_data(&self) -> bool {
        match self {
            Command::Show { file, json, .. } => file.is_some() || *json,
            Command::Explain { json, .. } | Command::Check { json, .. } => *json,
            Command::Env { .. } | Command::Inject { .. } | Command::Metrics { .. } => true,
            _ => false,
        }
    }
}

/// The reference of an image. It contains no space, so such a text is a mistake of the caller's shell quotes.
fn image(text: &str) -> Result<String, String> {
    let fits = |c: char| !c.is_whitespace() && !c.is_control();
    match !text.is_empty() && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("takes a reference such as registry.example/proclens:0.2.0".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("takes seconds from 0.1 to 86400".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definitions_agree_with_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn intervals() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "x", "nan", "1e9"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
