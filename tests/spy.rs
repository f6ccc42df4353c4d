//! Tests the tools of `scripts/clients`: with one hook broken on purpose, the spy (examples/spy) and strace
//! (tests/clients/leaks.awk) detect the host's values that the program gets. With all hooks they detect nothing.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Container, Plan, skipped};

fn directory() -> PathBuf {
    let directory = support::scratch().join("spied");
    fs::create_dir_all(&directory).expect("a directory for the spy");
    directory
}

/// The spy, built once for all tests of this file.
fn spy() -> &'static Path {
    static SPY: OnceLock<PathBuf> = OnceLock::new();
    SPY.get_or_init(|| {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "--manifest-path"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/spy/Cargo.toml"))
            .arg("--target-dir")
            .arg(directory())
            .output()
            .expect("cargo");
        assert!(
            built.status.success(),
            "the spy: {}",
            String::from_utf8_lossy(&built.stderr)
        );
        directory().join("release/libspy.so")
    })
}

/// The library without one of its hooks: the symbol has another name.
fn without_hook(name: &str) -> PathBuf {
    let mut bytes = fs::read(support::library()).expect("the library");
    let entry = [b"\0", name.as_bytes(), b"\0"].concat();
    let places: Vec<usize> = (0..bytes.len() - entry.len())
        .filter(|&i| bytes[i..].starts_with(&entry))
        .collect();
    assert!(!places.is_empty(), "{name} is not in the library");
    // The first match is the dynamic linker's string; the others are names that the library looks up itself.
    bytes[places[0] + 1] = b'X';
    // Each test uses a file of its own: another test may be running programs with an older one.
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    let path = directory().join(format!("libproclens-without-{name}-{made}.so"));
    fs::write(&path, bytes).expect("a broken library");
    path
}

/// The lines that the spy wrote while `command` ran.
fn watched(container: &Container, library: &Path, command: &str) -> Vec<String> {
    let name = library.file_stem().unwrap().to_string_lossy();
    let words: String = command
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let log = directory().join(format!("{name}-{words}.log"));
    let _ = fs::remove_file(&log);
    let words: Vec<&str> = command.split_whitespace().collect();
    let preload = format!("{} {}", library.display(), spy().display());
    let output = container
        .program(&words)
        .preload(&preload)
        .env("PROCLENS_SPY", log.to_str().expect("a plain path"))
        .output();
    assert_eq!(output.status, Some(0), "{command}: {output:?}");
    let lines = fs::read_to_string(&log).unwrap_or_default();
    let lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    assert!(
        lines.iter().any(|l| l.starts_with("watching ")),
        "{command}: the spy was not loaded: {output:?}"
    );
    lines
        .into_iter()
        .filter(|l| l.starts_with("leak "))
        .collect()
}

/// Hooks, a program that calls each, and the line of the spy if the hook is missing.
const BROKEN: [(&str, &str, &str); 5] = [
    ("open", "cat /proc/meminfo", "read /proc/meminfo"),
    ("open", "dd if=/proc/stat of=/dev/null", "read /proc/stat"),
    ("sysconf", "getconf _PHYS_PAGES", "sysconf -"),
    ("sched_getaffinity", "nproc", "sched_getaffinity -"),
    (
        "getloadavg",
        "python3 -c __import__('os').getloadavg()",
        "getloadavg -",
    ),
];

#[test]
fn the_spy_detects_a_broken_hook_and_no_other_difference() {
    if !support::containers() {
        return;
    }
    let container = Plan::usual().start();
    for (hook, command, what) in BROKEN {
        let program = command.split_whitespace().next().unwrap();
        if support::program(program).is_none() {
            skipped(&format!("no {program} here"));
            continue;
        }
        let leaks = watched(&container, &support::library(), command);
        assert!(leaks.is_empty(), "{command}: {leaks:?}");
        let leaks = watched(&container, &without_hook(hook), command);
        assert!(
            leaks.iter().any(|leak| leak.ends_with(what)),
            "{command} without the hook of {hook}: {leaks:?}"
        );
    }
}

/// The findings of strace and leaks.awk for `command`.
fn traced(container: &Container, library: &Path, command: &str) -> String {
    let traces = directory().join("traces");
    let awk = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/leaks.awk");
    let script = format!(
        "rm -rf {t} && mkdir {t} && \
         strace -ff -k -y -qq -o {t}/files -P /proc/meminfo -E LD_PRELOAD={l} -e trace=read,pread64 {command} >/dev/null && \
         strace -ff -k -qq -o {t}/values -E LD_PRELOAD={l} -e trace=sysinfo,sched_getaffinity {command} >/dev/null && \
         awk -v files=/proc/meminfo -f '{awk}' {t}/*",
        t = traces.display(),
        l = library.display(),
        awk = awk.display(),
    );
    container.program(&["sh", "-c", &script]).output().text()
}

#[test]
fn strace_sees_a_broken_hook_and_not_the_librarys_own_reads() {
    if !support::containers() {
        return;
    }
    if support::program("strace").is_none() {
        return skipped("no strace here");
    }
    let container = Plan::usual().start();
    let library = support::library();
    for (hook, command, what) in [
        ("open", "cat /proc/meminfo", "leak read /proc/meminfo read"),
        (
            "sched_getaffinity",
            "nproc",
            "leak sched_getaffinity - sched_getaffinity",
        ),
    ] {
        let whole = traced(&container, &library, command);
        assert_eq!(whole, "", "{command}");
        let broken = traced(&container, &without_hook(hook), command);
        assert!(
            broken.lines().any(|line| line == what),
            "{command} without the hook of {hook}: {broken:?}"
        );
    }
}
