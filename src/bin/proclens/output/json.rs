//! The fields of the `--json` output, for `--help` and the man pages. `tests/tool.rs` compares this text
//! with the output.

/// `explain --json` and `show --json`.
pub const REPORT: &str = "\
JSON, one object. Bytes and seconds; fields may be added; another number in `schema` means that a
field was removed or changed its meaning:
  schema         2
  version        of proclens
  target         the target, in words
  cgroups[]      controller, version (1 or 2), directory, host (true: the host's own, no limit)
  pid_namespace  own, host
  cpus           value: a number
  cpu_numbers    shown and allowed CPUs as lists, possible (how many the kernel supports)
  memory         value: total, free, available, cached, shared
  swap           value: total, free
  cpu_time       value: user, nice, system, idle, steal, neighbours (their part of steal)
  load           value: averages (of 1, 5, 15 minutes), running, total (threads)
  uptime         value: a number
  sampler        null if nothing was stored; alive, estimated (by readers, no sampler ran), pid,
                 started_seconds (before now; both null if the process is not visible), samples,
                 last_sample_seconds (before now)
  settings[]     name, value, source (environment or a file), used, reason (if not used)
Each number from cpus to uptime also has
  rule           quota, cpuset, limit, setting, container, sampler, extrapolated, host,
                 off
  because[]      the same in sentences, the deciding one first
  files[]        path, excerpt: the part of the file that matters";

/// `show --all --json`.
pub const CONTAINERS: &str = "\
JSON of --all, a list of objects. Bytes and seconds; fields may be added:
  container      the short identifier, or the cgroup's last name
  name, image    from Docker or Podman; else as container, and empty
  cgroup         as in /proc/PID/cgroup
  pid            the process that represents it
  cpus           what its programs count
  cpu_percent    over a fifth of a second; 100 is one CPU
  cpu_usage_seconds  CPU time used since the start
  cpu_seconds    since the start, as in /proc/stat: user, nice, system, idle, steal,
                 neighbours (their part of steal)
  memory_used    without page cache that was not used lately
  memory_available   as in /proc/meminfo
  memory_limit, swap_used, swap_limit
  load           averages of 1, 5, 15 minutes
  tasks          processes and threads
  uptime_seconds
  command        of that process";

/// `check --json`.
pub const CHECK: &str = "\
JSON, one object; fields may be added; another number in `schema` means that a field was
removed or changed its meaning:
  schema         1
  active         true: the library works there
  findings[]     level (good, note, problem), what, remedy (null if there is nothing to do)";
