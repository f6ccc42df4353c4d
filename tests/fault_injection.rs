//! Fails each system call that the library makes for each virtual file and each call, one at a time
//! (strace's fault injection), and checks the program's result: it is the container's content or the kernel's own,
//! complete; `errno` is what the real call leaves; nothing leaks; and the next read works again.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Container, MIB, Output, Plan, c_program, program, skipped};

/// How often the program reads. The error is in the first round.
const ROUNDS: &str = "3";

/// The errors that a system call is made to fail with. The kernel gives each of them for some reason:
/// a limit, a permission, a signal, a lack of memory, an old kernel or a filter.
fn errors(call: &str) -> &'static [&'static str] {
    match call {
        "openat" | "open" => &["EACCES", "EMFILE"],
        "memfd_create" => &["ENOSYS", "ENFILE"],
        "read" | "pread64" => &["EIO", "EINTR"],
        "mmap" | "mremap" | "munmap" | "brk" | "madvise" => &["ENOMEM"],
        "getdents64" | "readlinkat" | "readlink" | "faccessat" | "faccessat2" => &["EACCES"],
        "write" | "pwrite64" | "ftruncate" => &["ENOSPC"],
        // The kernel closes the descriptor in any case, which strace's injection does not.
        "close" | "exit_group" | "execve" | "getppid" => &[],
        _ => &["EPERM"],
    }
}

/// One system call between the program's marks.
struct Step {
    name: String,
    /// Its number among the calls of this name in the whole process, from 1.
    when: usize,
}

/// The calls of the first round.
fn steps(log: &str) -> Vec<Step> {
    let mut counts = std::collections::HashMap::new();
    let mut steps = Vec::new();
    let mut marks = 0;
    for line in log.lines() {
        let Some((name, _)) = line.split_once('(') else {
            continue;
        };
        let count = counts.entry(name.to_owned()).or_insert(0);
        *count += 1;
        if name == "getppid" {
            marks += 1;
        } else if marks == 1 {
            steps.push(Step {
                name: name.to_owned(),
                when: *count,
            });
        }
    }
    steps
}

/// What the program printed.
#[derive(Debug)]
struct Round<'a> {
    fd: i32,
    result: i32,
    errno: i32,
    content: &'a str,
}

fn rounds(text: &str) -> (Vec<Round<'_>>, (u32, u32)) {
    let mut rounds = Vec::new();
    for part in text.split("== ").skip(1) {
        let (head, content) = part.split_once('\n').expect("a line");
        let words: Vec<_> = head.split(' ').collect();
        if words[0] == "end" {
            let [fds, maps] = [1, 2].map(|i: usize| words[i].parse().expect("a count"));
            return (rounds, (fds, maps));
        }
        let [fd, result, errno] = [1, 2, 3].map(|i: usize| words[i].parse().expect("a number"));
        rounds.push(Round {
            fd,
            result,
            errno,
            content,
        });
    }
    panic!("the program did not end: {text}");
}

/// The shape of a text: each number becomes a placeholder, except the numbers by which container and host differ.
fn shape(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        if line.starts_with("MemTotal:") || !line.contains([' ', '\t', ':', '.']) {
            lines.push_str(line);
        } else {
            let mut number = false;
            for c in line.chars().filter(|c| !c.is_whitespace()) {
                let digit = c.is_ascii_digit() || (number && c == '.');
                if !digit {
                    lines.push(c);
                } else if !number {
                    lines.push('9');
                }
                number = digit;
            }
        }
        lines.push('\n');
    }
    lines
}

struct Bench {
    container: Container,
    program: PathBuf,
    log: PathBuf,
    item: &'static str,
}

impl Bench {
    fn run(&self, library: bool, inject: Option<&str>) -> (Output, String) {
        let log = self.log.to_str().expect("text");
        let program = self.program.to_str().expect("text");
        let mut words = vec!["timeout", "-k", "1", "60", "strace", "-X", "raw", "-o", log];
        let preload = format!("LD_PRELOAD={}", support::library().display());
        if library {
            words.extend(["-E", &preload]);
        }
        let injection = inject.map(|inject| format!("inject={inject}"));
        if let Some(injection) = &injection {
            words.extend(["-e", injection]);
        }
        // The sampler is a process of its own, which tests/sampler.rs tests.
        let sampler = ["-E", "PROCLENS_SAMPLER=off", program, self.item, ROUNDS];
        words.extend(sampler);
        let output = self.container.program(&words).output();
        let log = fs::read(&self.log).expect("strace's output");
        (output, String::from_utf8_lossy(&log).into_owned())
    }
}

fn inject_everywhere(item: &'static str) {
    needs_containers!();
    if program("strace").is_none() {
        return skipped("no strace here");
    }
    let Some(program) = c_program("faulted.c", "gcc", &[]) else {
        return;
    };
    let name = item.trim_start_matches('/').replace('/', "-");
    let directory = support::scratch().join("fault-injection");
    fs::create_dir_all(&directory).expect("a directory for strace's output");
    let bench = Bench {
        container: Plan::new()
            .memory(512 * MIB)
            .quota(100_000, 100_000)
            .start(),
        program,
        log: directory.join(format!("{name}-{}.log", std::process::id())),
        item,
    };
    let (host, _) = bench.run(false, None);
    let (own, log) = bench.run(true, None);
    if !log.contains("getppid") {
        return skipped("strace may not trace here");
    }
    let (host_rounds, _) = rounds(&host.stdout);
    let (own_rounds, (own_fds, own_maps)) = rounds(&own.stdout);
    let [host_shape, own_shape] = [&host_rounds, &own_rounds].map(|r| shape(r[0].content));
    let fd = own_rounds[0].fd;
    let mut wrong = Vec::new();
    let mut injected = 0;
    for step in steps(&log) {
        for error in errors(&step.name) {
            let inject = format!("{}:error={error}:when={}", step.name, step.when);
            let (output, log) = bench.run(true, Some(&inject));
            let mut complain = |what: &str| wrong.push(format!("{inject}: {what}"));
            let Some(line) = log.lines().find(|line| line.contains("(INJECTED)")) else {
                // The number of calls that list the processes depends on the running processes.
                continue;
            };
            // The library made fewer calls this time, and the error hit the program's own count of descriptors.
            let after = log.split("(INJECTED)").nth(1).unwrap_or_default();
            if !after.contains("getppid") {
                continue;
            }
            injected += 1;
            if output.status != Some(0) {
                complain(&format!(
                    "ended with {:?}: {}",
                    output.status, output.stderr
                ));
                continue;
            }
            let (got, (fds, maps)) = rounds(&output.stdout);
            // The program's own call failed: the program must get the error.
            let the_programs_own = line.contains(&format!("\"{item}\""))
                || line.starts_with(&format!("read({fd}, "))
                || ["sched_getaffinity(", "sysinfo("]
                    .iter()
                    .any(|call| !item.starts_with('/') && line.starts_with(call));
            let may_fail =
                |round: &Round| round.result == -1 && round.errno != 0 && the_programs_own;
            match &got[0] {
                round if may_fail(round) => {}
                Round { result: 0, .. } => {
                    let shape = shape(got[0].content);
                    if shape != own_shape && shape != host_shape {
                        complain(&format!("another text: {:.400}", got[0].content));
                    }
                }
                round => complain(&format!("{round:?} after {line}")),
            }
            for (n, round) in got.iter().enumerate().skip(1) {
                // If the first round took a call less, this is the second round.
                if may_fail(round) {
                    continue;
                }
                let shape = shape(round.content);
                if round.result != 0 || (shape != own_shape && shape != host_shape) {
                    complain(&format!("round {}: {round:?}", n + 1));
                }
            }
            if fds != own_fds {
                complain(&format!(
                    "{fds} open descriptors, {own_fds} without the error"
                ));
            }
            if maps > own_maps + 1 {
                complain(&format!("{maps} mappings, {own_maps} without the error"));
            }
        }
    }
    let _ = fs::remove_file(&bench.log);
    assert!(injected > 0, "{item}: no system call of the library");
    assert!(
        wrong.is_empty(),
        "{item}, of {injected}:\n{}",
        wrong.join("\n")
    );
}

macro_rules! subjects {
    ($($name:ident: $item:literal,)*) => {
        $(#[test]
        fn $name() {
            inject_everywhere($item);
        })*
    };
}

subjects! {
    meminfo_with_failing_calls: "/proc/meminfo",
    stat_with_failing_calls: "/proc/stat",
    cpuinfo_with_failing_calls: "/proc/cpuinfo",
    loadavg_with_failing_calls: "/proc/loadavg",
    uptime_with_failing_calls: "/proc/uptime",
    vmstat_with_failing_calls: "/proc/vmstat",
    diskstats_with_failing_calls: "/proc/diskstats",
    swaps_with_failing_calls: "/proc/swaps",
    pressure_with_failing_calls: "/proc/pressure/memory",
    cpu_online_with_failing_calls: "/sys/devices/system/cpu/online",
    node_meminfo_with_failing_calls: "/sys/devices/system/node/node0/meminfo",
    process_stat_with_failing_calls: "/proc/self/stat",
    sysinfo_with_failing_calls: "sysinfo",
    getloadavg_with_failing_calls: "getloadavg",
    sched_getaffinity_with_failing_calls: "affinity",
    sysconf_pages_with_failing_calls: "pages",
    sysconf_processors_with_failing_calls: "processors",
}

/// The tool prints its result, or one line with the reason and exit code 1.
#[test]
fn tool_with_failing_calls() {
    needs_containers!();
    if program("strace").is_none() {
        return skipped("no strace here");
    }
    let tool = support::plain(Path::new(env!("CARGO_BIN_EXE_proclens")));
    let log = support::scratch().join("fault-injection-tool.log");
    let container = Plan::usual().start();
    let run = |words: &[&str], inject: Option<&str>| {
        let mut all = vec!["timeout", "-k", "1", "60", "strace", "-o"];
        all.push(log.to_str().expect("text"));
        let inject = inject.map(|inject| format!("inject={inject}"));
        if let Some(inject) = &inject {
            all.extend(["-e", inject]);
        }
        all.push(tool.to_str().expect("text"));
        all.extend(words);
        let output = container.program(&all).output();
        (output, fs::read_to_string(&log).unwrap_or_default())
    };
    let mut wrong = Vec::new();
    for words in [&["show", "meminfo"][..], &["show", "stat"], &["explain"]] {
        let (_, whole) = run(words, None);
        let (mut opens, mut reads) = (0, 0);
        let mut begun = false;
        let mut injections = Vec::new();
        for line in whole.lines() {
            let (name, count) = match line.split('(').next() {
                Some("openat") => ("openat", &mut opens),
                Some("read") => ("read", &mut reads),
                _ => continue,
            };
            *count += 1;
            // The first opens are those of the loader and the standard library.
            begun |= line.contains("\"/sys/fs/cgroup") || line.contains("/mountinfo");
            if begun && line.contains(") = ") && !line.contains(" = -1") {
                injections.push(format!("{name}:error=EIO:when={count}"));
            }
        }
        for inject in injections {
            let (output, _) = run(words, Some(&inject));
            let told = output.stderr.lines().count();
            let fine = match output.status {
                Some(0) => !output.stdout.is_empty(),
                Some(1) => told == 1,
                _ => false,
            };
            if !fine || output.stderr.contains("panicked") {
                wrong.push(format!("{words:?} {inject}: {output:?}"));
            }
        }
    }
    let _ = fs::remove_file(&log);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
