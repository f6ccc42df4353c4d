//! The cost of a read does not depend on the number of threads (NUMBERS section 5): the system calls of a
//! reader in real containers of few and of many threads, counted by `tests/flat_cost/flat_cost.c`. Needs root,
//! cgroups and the shared object (`PROCLENS_LIBRARY`, or the one that `scripts/build` made).

mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const FILES: [&str; 5] = [
    "/proc/loadavg",
    "/proc/stat",
    "/proc/uptime",
    "getloadavg",
    "sysinfo",
];

/// The system calls of the first and of a later reading, and the text that was read.
struct Reading {
    first: u32,
    warm: u32,
    text: String,
}

/// Builds the program once for all tests, which run at the same time.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flat_cost/flat_cost.c");
        let program = support::scratch().join("flat_cost");
        let scratch = program.with_extension(std::process::id().to_string());
        let built = Command::new("cc")
            .args(["-O2", "-pthread", "-o"])
            .args([&scratch, &source])
            .status();
        assert!(built.expect("cc").success());
        std::fs::rename(&scratch, &program).unwrap();
        program
    })
}

/// Readings in a container with this number of processes, threads of each, and `(wide, deep)` sub-cgroups.
fn readings(
    pid: &str,
    sampler: &str,
    (wide, deep): (u32, u32),
    processes: u32,
    threads: u32,
) -> HashMap<&'static str, Reading> {
    let repo = Path::new(env!("CARGO_MANIFEST_DIR"));
    // With a PID 1 under which the library starts a sampler.
    let init: &[&str] = match (pid, sampler) {
        ("private", "on") => &["--init", "yes"],
        _ => &[],
    };
    let out = Command::new(repo.join("scripts/lab/container"))
        .args(["--memory", "max", "--pid", pid])
        .args(init)
        .arg("--")
        .arg(repo.join("tests/flat_cost/sub-cgroups"))
        .args([wide.to_string(), deep.to_string()])
        .arg(program())
        .arg(support::library())
        .args([processes.to_string(), threads.to_string()])
        .args(FILES)
        .env("PROCLENS_SAMPLER", sampler)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let mut readings = HashMap::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        let name = words.next().unwrap();
        let mut number = || words.next().unwrap().parse().unwrap();
        let (first, warm) = (number(), number());
        let text = words.next().unwrap_or("").to_owned();
        let name = *FILES.iter().find(|file| **file == name).unwrap();
        readings.insert(name, Reading { first, warm, text });
    }
    readings
}

/// The fourth field of `/proc/loadavg`.
fn tasks(loadavg: &str) -> (u32, u32) {
    let (running, total) = loadavg.split(' ').nth(3).unwrap().split_once('/').unwrap();
    (running.parse().unwrap(), total.parse().unwrap())
}

fn as_cheap(what: &str, many: &Reading, few: &Reading) {
    for (when, few, many) in [
        ("first", few.first, many.first),
        ("warm", few.warm, many.warm),
    ] {
        assert!(
            many * 10 <= few * 13,
            "{what}, {when}: {many} calls, {few} in a small container"
        );
    }
}

fn flat(pid: &str, sampler: &str) {
    needs_containers!();
    let few = readings(pid, sampler, (0, 0), 3, 9);
    if (pid, sampler) == ("private", "on") {
        // The averages of a live sampler, without a count of the tasks. The reader is a thread: one call more.
        let calls = few["getloadavg"].warm;
        assert!(calls <= 9, "getloadavg makes {calls} calls");
    }
    for (processes, threads) in [(1, 3000), (1000, 2)] {
        let many = readings(pid, sampler, (0, 0), processes, threads);
        for file in FILES {
            let (few, many) = (&few[file], &many[file]);
            let what = format!("{file}, sampler {sampler}, {processes} processes of {threads}");
            as_cheap(&what, many, few);
        }
        let (running, total) = tasks(&many["/proc/loadavg"].text);
        assert!(running >= 1 && running <= total);
        assert!(
            total >= processes * threads,
            "{total} tasks, {processes} processes of {threads} are visible"
        );
        if pid == "private" {
            // The container's other tasks: the sampler, the reader, its tracer, and the programs that started both.
            assert!(total <= processes * threads + 8, "{total} tasks");
        }
    }
}

#[test]
fn in_a_pid_namespace_of_its_own() {
    flat("private", "on");
}

#[test]
fn in_the_hosts_pid_namespace() {
    flat("host", "on");
}

#[test]
fn without_a_sampler() {
    flat("private", "off");
}

#[test]
fn without_a_sampler_in_the_hosts_pid_namespace() {
    flat("host", "off");
}

/// A thousand cgroups side by side, and sixteen nested ones.
#[test]
fn with_sub_cgroups() {
    needs_containers!();
    for pid in ["private", "host"] {
        let few = readings(pid, "on", (0, 0), 3, 9);
        for shape in [(1000, 0), (0, 16)] {
            let many = readings(pid, "on", shape, 3, 9);
            for file in FILES {
                let what = format!("{file}, PID namespace {pid}, sub-cgroups {shape:?}");
                as_cheap(&what, &many[file], &few[file]);
            }
        }
    }
}
