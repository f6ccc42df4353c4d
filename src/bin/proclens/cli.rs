//! The command line. The man pages and the completions are made from this as well.

use crate::advice::Format;
use crate::json;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  proclens show                      what this container looks like from inside
  proclens show meminfo              the text that free and top read
  proclens explain                   why it says 2 CPUs
  proclens check -- top              would the library work in top here?
  eval \"$(proclens env)\"             GOMAXPROCS and the like for static programs
  sudo proclens show --all           every container on this host
  proclens install --root /          switch the library on for all programs

Exit status: 0 done; 1 could not be done, the line on stderr says what to do; 2 bad arguments.
Settings: PROCLENS_* in the environment and /etc/proclens.conf, see `proclens explain`.";

const SHOW: &str = "\
Examples:
  proclens show meminfo
  proclens show --pid 4711 cpuinfo
  proclens show --cgroup /docker/1d2c load
  proclens show --all --json";

const EXPLAIN: &str = "\
Examples:
  proclens explain
  proclens explain --pid 4711 --json";

const CHECK: &str = "\
Examples:
  proclens check
  proclens check -- java -version
  proclens check --pid 4711

Exit status: 0 the library is active; 1 it is not, or something wants attention; 2 the
check could not be made.";

/// See the container as its programs see it, and why.
#[derive(Debug, Parser)]
#[command(name = "proclens", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// Whose numbers.
#[derive(Debug, Default, Args)]
#[group(multiple = false)]
pub struct Whose {
    /// The container of this process instead of the own one
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
        /// A virtual file (meminfo, /proc/stat, …), sysinfo, cpus or load; without: an overview
        file: Option<String>,
        #[command(flatten)]
        whose: Whose,
        /// Every container on this host (needs root)
        #[arg(long, conflicts_with_all = ["file", "pid", "cgroup"])]
        all: bool,
        /// The overview as JSON
        #[arg(long, conflicts_with = "file")]
        json: bool,
    },
    /// Say for each number which files it came from and which rule decided
    #[command(after_help = EXPLAIN, after_long_help = format!("{EXPLAIN}\n\n{}", json::REPORT))]
    Explain {
        #[command(flatten)]
        whose: Whose,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Find out whether the library works here, in a program or in a running process
    #[command(after_help = CHECK, after_long_help = format!("{CHECK}\n\n{}", json::CHECK))]
    Check {
        /// A running process
        #[arg(long, value_name = "N", conflicts_with = "command")]
        pid: Option<u32>,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// A program and its arguments; it is looked at, not run
        #[arg(last = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Print variables for programs that no preload reaches: GOMAXPROCS, GOMEMLIMIT, …
    #[command(
        after_help = "Examples:\n  eval \"$(proclens env)\"\n  proclens env --format dotenv > limits.env\n\nA variable that is set already is left as it is, unless --all is given."
    )]
    Env {
        /// For which reader
        #[arg(long, value_enum, default_value_t = Format::Sh)]
        format: Format,
        /// Also variables that are set already
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        whose: Whose,
    },
    /// Switch the library on for all programs below a root directory
    #[command(
        after_help = "Examples:\n  proclens install\n  proclens install --root /mnt/image --lib ./libproclens.so\n\nThe library is tried in that root before anything refers to it; /etc/ld.so.preload is\nwritten last and at once. If the trial fails or is interrupted, the root is as it was."
    )]
    Install {
        /// The root directory
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
        /// The library; without: the one beside this program
        #[arg(long, value_name = "FILE")]
        lib: Option<PathBuf>,
    },
    /// Take back what install did
    #[command(
        after_help = "Examples:\n  proclens uninstall\n  proclens uninstall --root /mnt/image\n\nWhat others preload stays."
    )]
    Uninstall {
        /// The root directory
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
    },
    /// A live page of CPU, memory, swap, load and pressure; plain lines where the output is no terminal
    #[command(
        after_help = "Examples:\n  proclens watch\n  proclens watch --interval 5 --count 12 | tee log\n\nq, Esc or Ctrl-C ends the page."
    )]
    Watch {
        /// Seconds between two readings
        #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
        interval: f64,
        /// End after so many readings
        #[arg(long, value_name = "N")]
        count: Option<u64>,
        #[command(flatten)]
        whose: Whose,
    },
    /// Count this container's load, every five seconds, until the container ends
    #[command(
        after_help = "Examples:\n  proclens sampler &\n\nNot needed where programs start it by themselves; a container without /tmp, /run and\n/dev/shm that can be written needs PROCLENS_STATE."
    )]
    Sampler,
    /// Write the man pages and completions of this program
    #[command(hide = true)]
    Generate {
        /// Where they go
        directory: PathBuf,
    },
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
