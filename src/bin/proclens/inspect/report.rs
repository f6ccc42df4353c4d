//! The report that `explain` prints: each number with the files and values that it came from and the rule that
//! decided. With `--json` in the format that [`crate::output::json`] documents.

use crate::inspect::numbers::{Load, Memory, Time};
use crate::inspect::sources::Given;
use serde::Serialize;

/// The version of the JSON format. It changes if a field is removed or changes its meaning.
pub const SCHEMA: u32 = 2;

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    pub schema: u32,
    pub version: &'static str,
    /// The target.
    pub target: String,
    /// The container's cgroups; empty on a host.
    pub cgroups: Vec<Cgroup>,
    /// `own` or `host`.
    pub pid_namespace: &'static str,
    pub cpus: Number<u32>,
    /// Which CPUs these are.
    pub cpu_numbers: CpuNumbers,
    pub memory: Number<Memory>,
    pub swap: Number<SwapValue>,
    pub cpu_time: Number<Time>,
    pub load: Number<Load>,
    /// The sampler of the load averages; `None` if no averages were stored yet.
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
    /// True if the cgroup is the host's own, so nothing is limited.
    pub host: bool,
}

/// The kernel's numbers of CPUs (NUMBERS section 2).
#[derive(Debug, Serialize)]
pub struct CpuNumbers {
    /// The CPUs that programs see, as a list.
    pub shown: String,
    /// The CPUs that threads can run on, as a list.
    pub allowed: String,
    /// The number of possible CPUs of the kernel; 0 if the kernel does not report it.
    pub possible: u32,
}

impl std::fmt::Display for CpuNumbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_one = self.shown.bytes().all(|b| b.is_ascii_digit());
        let name = if is_one { "CPU" } else { "CPUs" };
        write!(f, "{name} {}", self.shown)?;
        match self.possible {
            0 => Ok(()),
            possible => write!(f, " of {possible} possible"),
        }
    }
}

/// A number and the reasons for it.
#[derive(Debug, Serialize)]
pub struct Number<T> {
    pub value: T,
    /// The rule that decided, in one word.
    pub rule: &'static str,
    /// The reasons in sentences, the deciding one first.
    pub because: Vec<String>,
    /// The files that were read for it, in order.
    pub files: Vec<Source>,
}

/// A file and the part of it that matters.
#[derive(Debug, Serialize)]
pub struct Source {
    pub path: String,
    pub excerpt: String,
}

/// The container's sampler. Times are in seconds before now.
#[derive(Debug, Serialize)]
pub struct Sampler {
    /// True if its last sample is recent enough.
    pub alive: bool,
    /// True if no sampler took that sample: a program that read the averages computed it.
    pub estimated: bool,
    /// Its process ID in this PID namespace; unknown if `/proc` does not show it.
    pub pid: Option<u32>,
    /// When its process started.
    pub started_seconds: Option<f64>,
    /// Samples since the container started, including those of earlier samplers.
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
