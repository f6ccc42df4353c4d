//! The command-line tool, run as users run it: in containers made by `scripts/lab/container`, from
//! outside of them, and on root directories. As root.

mod support;

use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use support::library;

const TOOL: &str = env!("CARGO_BIN_EXE_proclens");
const REPO: &str = env!("CARGO_MANIFEST_DIR");
const LIMITS: [&str; 6] = ["--memory", "512M", "--cpus", "1.5", "--cpuset", "0-1"];
/// With a PID 1 under which the library starts a sampler.
const SAMPLED: [&str; 8] = [
    "--memory", "512M", "--cpus", "1.5", "--cpuset", "0-1", "--init", "yes",
];

fn tool(arguments: &[&str]) -> Output {
    with_no_settings(Command::new(TOOL).args(arguments))
        .output()
        .unwrap()
}

/// Removes the library, and the variables of the lab and of these tests that look like settings.
fn with_no_settings(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PROCLENS") {
            command.env_remove(name);
        }
    }
    command.env_remove("LD_PRELOAD")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The standard output of a command that must succeed.
fn printed(output: Output) -> String {
    assert!(
        output.status.success(),
        "{}: {}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn container(options: &[&str]) -> Command {
    let mut command = Command::new(format!("{REPO}/scripts/lab/container"));
    with_no_settings(command.args(options));
    command
}

/// Runs `script` by sh in a container; `$tool` is the tool, and `$lib` is the library.
fn in_container(options: &[&str], script: &str) -> String {
    printed(
        container(options)
            .args(["--", "sh", "-c", script])
            .env("tool", support::plain(Path::new(TOOL)))
            .env("lib", library())
            .output()
            .unwrap(),
    )
}

/// A container that waits until it is dropped.
struct Waiting {
    child: Child,
    /// The host's number of its PID 1.
    pid: u32,
}

impl Waiting {
    fn start(options: &[&str], script: &str) -> Waiting {
        let mut child = container(options)
            .args([
                "--",
                "sh",
                "-c",
                &format!("{script}\necho started; read end"),
            ])
            .env("tool", support::plain(Path::new(TOOL)))
            .env("lib", library())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "started\n");
        let pid = first_below(child.id()).expect("PID 1 of the container");
        Waiting { child, pid }
    }

    /// The cgroup of its memory.
    fn cgroup(&self) -> String {
        let text = fs::read_to_string(format!("/proc/{}/cgroup", self.pid)).unwrap();
        let find = |controllers: &str| {
            text.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let here = parts.next()?.split(',').any(|c| c == controllers);
                here.then(|| parts.next().unwrap().to_owned())
            })
        };
        find("memory").or_else(|| find("")).unwrap()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(
            self.child
                .stdin
                .take()
                .map(|mut input| input.write_all(b"\n")),
        );
        self.child.wait().unwrap();
    }
}

/// The PID 1 of a namespace among the descendants of `parent`.
fn first_below(parent: u32) -> Option<u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')')
            .next()?
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()
    };
    let numbers = fs::read_dir("/proc").unwrap();
    numbers
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            let numbers: Vec<_> = numbers.unwrap_or_default().split_whitespace().collect();
            numbers.len() > 1 && numbers.last() == Some(&"1")
        })
        .find(|pid| {
            let mut above = Some(*pid);
            std::iter::from_fn(|| {
                above = parent_of(above?);
                above
            })
            .any(|ancestor| ancestor == parent)
        })
}

fn line<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines()
        .find(|line| line.starts_with(name))
        .unwrap_or_else(|| panic!("no line {name} in:\n{text}"))
}

#[test]
fn show_prints_what_programs_read() {
    let out = in_container(
        &LIMITS,
        "for f in /proc/cpuinfo /sys/devices/system/cpu/online /sys/devices/system/cpu/offline; do \
           $tool show $f >/dev/shm/tool; LD_PRELOAD=$lib cat $f | grep -v MHz >/dev/shm/program; \
           grep -v MHz /dev/shm/tool | cmp - /dev/shm/program && echo same; rm /dev/shm/tool /dev/shm/program; done; \
         $tool show meminfo; $tool show cpus; LD_PRELOAD=$lib nproc; $tool show stat; \
         $tool show sysinfo; $tool show load; $tool show uptime",
    );
    assert_eq!(out.matches("same\n").count(), 3, "{out}");
    assert_eq!(line(&out, "MemTotal:"), "MemTotal:         524288 kB");
    assert!(out.contains("\n2\n2\n"), "{out}");
    line(&out, "cpu1 ");
    assert!(!out.contains("cpu2 "), "{out}");
    assert_eq!(line(&out, "totalram"), "totalram  536870912");
    assert!(
        line(&out, "uptime ").len() < "uptime    99999".len(),
        "{out}"
    );
}

#[test]
fn explain_names_file_value_and_rule() {
    let out = in_container(
        &LIMITS,
        "$tool explain; $tool explain --json >&2; $tool explain --json",
    );
    let (text, json) = out.split_at(out.find('{').unwrap());
    let report: Value = serde_json::from_str(json).unwrap();
    assert_eq!(report["schema"], 2);
    assert_eq!(report["cpus"]["value"], 2);
    assert_eq!(report["cpus"]["rule"], "quota");
    assert_eq!(report["memory"]["value"]["total"], 512 << 20);
    assert_eq!(report["memory"]["rule"], "limit");
    assert_eq!(report["uptime"]["rule"], "container");
    let because = report["cpus"]["because"][0].as_str().unwrap();
    assert!(
        because.contains("150000/100000 → 1.5 at /sys/fs/cgroup"),
        "{because}"
    );
    assert!(
        because.contains("rounded up to 2 (PROCLENS_CPU_ROUND)"),
        "{because}"
    );
    let files = report["memory"]["files"].as_array().unwrap();
    let usage = files.iter().any(|file| {
        let path = file["path"].as_str().unwrap();
        path.ends_with("/memory.usage_in_bytes") || path.ends_with("/memory.current")
    });
    assert!(usage, "{files:?}");
    for word in [
        "2 CPUs",
        "CPUs 0-1 of ",
        "cpuset 0-1 has 2",
        "affinity mask has 2",
        "Memory 512 MiB",
    ] {
        assert!(text.contains(word), "{word}:\n{text}");
    }
    assert!(!out.contains('\x1b'), "colours without a terminal");
}

/// `explain` names a parent that is visible. In the lab's container the parent is hidden.
#[test]
fn explain_finds_a_limit_of_the_parent() {
    let options = [
        "--parent-memory",
        "256M",
        "--parent-cpus",
        "1",
        "--memory",
        "512M",
    ];
    let waiting = Waiting::start(&options, "");
    let out = printed(tool(&["explain", "--json", "--cgroup", &waiting.cgroup()]));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["memory"]["value"]["total"], 256 << 20);
    assert_eq!(report["cpus"]["value"], 1);
    let because = report["cpus"]["because"][0].as_str().unwrap();
    assert!(
        because.contains("100000/100000 → 1 at ") && because.contains("(the parent)"),
        "{because}"
    );
    let because = report["memory"]["because"][0].as_str().unwrap();
    assert!(
        because.contains("limit 256 MiB at ") && because.contains("(the parent)"),
        "{because}"
    );
    let because = report["uptime"]["because"][0].as_str().unwrap();
    assert!(because.contains("the oldest of the cgroup"), "{because}");
}

/// `explain` names the sampler while it is alive. After its end it reports extrapolated averages.
#[test]
fn explain_names_the_sampler() {
    let waiting = Waiting::start(&SAMPLED, "LD_PRELOAD=$lib cat /proc/loadavg >/dev/null");
    let pid = &waiting.pid.to_string();
    let explain = || {
        let out = printed(tool(&["explain", "--json", "--pid", pid]));
        serde_json::from_str::<Value>(&out).unwrap()
    };
    let until = |alive: bool| {
        for _ in 0..120 {
            let report = explain();
            if report["sampler"]["alive"] == alive {
                return report;
            }
            std::thread::sleep(std::time::Duration::from_millis(250));
        }
        panic!("never alive: {alive}: {}", explain());
    };
    let report = until(true);
    assert_eq!(report["load"]["rule"], "sampler");
    let sampler = &report["sampler"];
    let process = sampler["pid"].as_u64().unwrap();
    let started = sampler["started_seconds"].as_f64().unwrap();
    let last = sampler["last_sample_seconds"].as_f64().unwrap();
    assert!((0.0..600.0).contains(&started) && last < 7.5, "{sampler}");
    let because = report["load"]["because"][0].as_str().unwrap();
    assert!(
        because.starts_with(&format!("the sampler is alive: process {process}, for 00:")),
        "{because}"
    );
    let inside = printed(tool(&["explain", "--pid", pid]));
    assert!(inside.contains("the sampler is alive"), "{inside}");

    let process = i32::try_from(process).unwrap();
    // SAFETY: a signal to the sampler of this test's container.
    assert_eq!(unsafe { libc::kill(process, libc::SIGKILL) }, 0);
    let report = until(false);
    assert_eq!(report["load"]["rule"], "extrapolated");
    assert_eq!(report["sampler"]["pid"], Value::Null);
    let because = report["load"]["because"][0].as_str().unwrap();
    assert!(
        because.starts_with("the sampler has ended: the last ") && because.contains("extrapolated"),
        "{because}"
    );
}

/// If no sampler runs, `explain` prints the reason.
#[test]
fn explain_names_the_reason_for_no_sampler() {
    let out = in_container(&LIMITS, "$tool explain");
    assert!(out.contains("none starts under this PID 1 (sh)"), "{out}");
    let out = in_container(&SAMPLED, "PROCLENS_SAMPLER=off $tool explain");
    assert!(out.contains("none starts (PROCLENS_SAMPLER=off)"), "{out}");
    let out = in_container(&SAMPLED, "$tool explain");
    assert!(out.contains("one starts when a program"), "{out}");
    let out = in_container(&SAMPLED, "unshare --uts $tool explain");
    assert!(out.contains("does not share its namespaces"), "{out}");
}

#[test]
fn settings_come_from_environment_and_file_and_invalid_ones_are_named() {
    let out = in_container(
        &LIMITS,
        "mount -t tmpfs tmpfs /mnt; cp -a /etc/passwd /mnt; \
         printf 'memory = 64M\\ncpus = 1\\ntime = later\\n' >/mnt/proclens.conf; \
         mount --bind /mnt /etc; \
         PROCLENS_CPUS=0.5 PROCLENS_NOTHING=1 $tool explain --json; \
         LD_PRELOAD=$lib PROCLENS_LOG=warn head -n 1 /proc/meminfo; \
         LD_PRELOAD=$lib PROCLENS_CPUS=2 nproc; LD_PRELOAD=$lib nproc",
    );
    let end = out.rfind("}\n").unwrap() + 2;
    let report: Value = serde_json::from_str(&out[..end]).unwrap();
    assert_eq!(report["memory"]["value"]["total"], 64 << 20);
    assert_eq!(report["memory"]["rule"], "setting");
    assert_eq!(report["cpus"]["value"], 1);
    assert_eq!(report["cpus"]["rule"], "setting");
    let settings = report["settings"].as_array().unwrap();
    let used = |name: &str, source: &str| {
        let found = settings
            .iter()
            .find(|s| s["name"] == name && s["source"] == source)
            .unwrap_or_else(|| panic!("{name} of {source} in {settings:?}"));
        found["used"].as_bool().unwrap()
    };
    assert!(used("PROCLENS_CPUS", "environment") && used("PROCLENS_MEMORY", "/etc/proclens.conf"));
    assert!(!used("PROCLENS_CPUS", "/etc/proclens.conf"));
    assert!(!used("PROCLENS_TIME", "/etc/proclens.conf"));
    assert!(!used("PROCLENS_NOTHING", "environment"));
    // The library reads the same settings from the same file.
    assert!(
        out[end..].contains("MemTotal:          65536 kB\n2\n1\n"),
        "{out}"
    );
}

/// Another user may have replaced the file by a FIFO, a device or a link, so that a reader would wait, read
/// without end, or read another file.
#[test]
fn a_settings_file_that_is_not_regular_is_ignored() {
    // A file of the host, in a directory that the container hides.
    let hidden = tempfile::tempdir_in(support::scratch()).unwrap();
    let host = hidden.path().join("proclens.conf");
    fs::write(&host, "memory = 64M\n").unwrap();
    for (make, trouble) in [
        ("mkfifo", "not a regular file"),
        ("mkdir", "not a regular file"),
        ("ln -s /dev/zero", "not a regular file"),
        (&format!("ln -s '{}'", host.display()), ""),
    ] {
        let etc = format!(
            "mount -t tmpfs tmpfs /mnt; cp /etc/passwd /mnt; {make} /mnt/proclens.conf; \
             mount --bind /mnt /etc; mount -t tmpfs tmpfs '{}';",
            hidden.path().display()
        );
        let inside = in_container(
            &LIMITS,
            &format!(
                "{etc} \
                 LD_PRELOAD=$lib timeout 20 head -n 1 /proc/meminfo; timeout 20 $tool explain 2>&1"
            ),
        );
        assert!(
            inside.contains("MemTotal:         524288 kB"),
            "{make}: {inside}"
        );
        assert!(inside.contains(trouble), "{make}: {inside}");
        let waiting = Waiting::start(&LIMITS, &etc);
        let pid = waiting.pid.to_string();
        let outside = Command::new("timeout")
            .args(["20", TOOL, "explain", "--pid", &pid])
            .output()
            .unwrap();
        let out = format!("{}{}", text(&outside.stdout), text(&outside.stderr));
        assert!(outside.status.success(), "{make}: {out}");
        assert!(out.contains("Memory 512 MiB"), "{make}: {out}");
        assert!(out.contains(trouble), "{make}: {out}");
    }
}

/// A program that has more rights than its caller takes settings only from the file, and ignores
/// `PROCLENS_STATE` of the environment.
#[test]
fn a_setuid_program_ignores_the_environment() {
    let out = in_container(
        &LIMITS,
        "mount -t tmpfs -o mode=755 tmpfs /mnt; cp -a /etc/passwd /mnt; cp -a /etc/ld.so.cache /mnt || true; \
         install $lib /mnt/lib.so; echo /etc/lib.so >/mnt/ld.so.preload; mkdir /mnt/state; \
         install /bin/cat /mnt/plain; install -m 4755 /bin/cat /mnt/setuid; mount --bind /mnt /etc; \
         nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups \
           env PROCLENS_MEMORY=64M PROCLENS_STATE=/etc/state PROCLENS_LOG=debug \"$@\"; }; \
         nobody /etc/plain /proc/meminfo 2>/dev/null | sed 's/^/plain /;q'; \
         nobody /etc/setuid /proc/meminfo 2>&1 | sed 's/^/setuid /;q'; \
         nobody /etc/setuid /proc/loadavg >/dev/null; ls /etc/state; pgrep -x proclens; \
         echo memory = 128M >/etc/proclens.conf; \
         nobody /etc/setuid /proc/meminfo | sed 's/^/file /;q'",
    );
    let lines: Vec<_> = out.lines().collect();
    let expected = [
        "plain MemTotal:          65536 kB",
        "setuid MemTotal:         524288 kB",
        "file MemTotal:         131072 kB",
    ];
    assert_eq!(lines, expected);
}

/// Each setting, by environment and by file, in the library and in the tool.
#[test]
fn every_setting_works_everywhere() {
    let host = fs::read_to_string("/proc/meminfo").unwrap();
    let host = line(&host, "MemTotal:").to_owned();
    let total = "head -n 1 /proc/meminfo";
    // Not every kernel has the system call io_uring_setup.
    let directory = tempfile::tempdir().unwrap();
    let ring = directory.path().join("ring");
    fs::write(
        &ring,
        "import ctypes\nc = ctypes.CDLL(None, use_errno=True)\nc.syscall(425, 0, 0)\nprint(ctypes.get_errno() != 38)\n",
    )
    .unwrap();
    let ring = format!("python3 {}", ring.display());
    let can = Command::new("sh").args(["-c", &ring]).output().unwrap();
    let can = printed(can).trim().to_owned();
    let show_total = "$tool show meminfo | head -n 1";
    // Name, value, the programs that run with the library (one a word), the tool's command, and the results.
    let rows: [(&str, &str, &str, &str, &str, &str); 10] = [
        (
            "sampler",
            "off",
            "cat /proc/loadavg >/dev/null; samplers",
            "$tool explain | grep -o '(PROCLENS_SAMPLER=off)' | head -n 1",
            "0",
            "(PROCLENS_SAMPLER=off)",
        ),
        ("proclens", "off", total, show_total, &host, &host),
        ("cpus", "1", "nproc", "$tool show cpus", "1", "1"),
        (
            "memory",
            "64M",
            total,
            show_total,
            "MemTotal:          65536 kB",
            "MemTotal:          65536 kB",
        ),
        ("cpu_round", "down", "nproc", "$tool show cpus", "1", "1"),
        (
            "time",
            "host",
            "cut -d . -f 1 /proc/uptime | old",
            "$tool show uptime | cut -d . -f 1 | old",
            "old",
            "old",
        ),
        (
            "state",
            "/dev/shm/state",
            "cat /proc/stat >/dev/null; kept",
            "$tool show stat >/dev/null; kept",
            "kept",
            "kept",
        ),
        (
            "io_uring",
            "off",
            "$ring",
            "$tool explain | grep -c '^  PROCLENS_IO_URING=off'",
            "False",
            "1",
        ),
        (
            "skip",
            "/no/such:*/head",
            total,
            "LD_PRELOAD=$lib $tool check -- head | grep -o 'PROCLENS_SKIP excludes'",
            &host,
            "PROCLENS_SKIP excludes",
        ),
        (
            "log",
            "debug",
            "cat /proc/meminfo 2>&1 >/dev/null | grep -c proclens: | grep -vx 0 >/dev/null && echo out",
            "$tool explain | grep -c '^  PROCLENS_LOG=debug'",
            "out",
            "1",
        ),
    ];
    let mut script = String::from(
        "mount -t tmpfs tmpfs /mnt; cp -a /etc/passwd /mnt; cp -a /etc/ld.so.cache /mnt || true; mount --bind /mnt /etc; \
         mkdir /dev/shm/state; \
         samplers() { for i in 1 2 3 4; do sleep 0.5; s=$(grep -lszx '[s]ampler' /proc/[0-9]*/cmdline | wc -l); \
           [ \"$s\" = 0 ] || break; done; echo \"$s\"; }; \
         old() { read -r age; [ \"$age\" -ge \"$age_of_host\" ] && echo old; }; \
         kept() { ls /dev/shm/state | grep -q proclens- && echo kept || echo none; rm -f /dev/shm/state/*; };\n",
    );
    let mut expected = Vec::new();
    for (name, value, asked, of_tool, answer, answer_of_tool) in rows {
        let variable = match name {
            "proclens" => "PROCLENS".to_owned(),
            name => format!("PROCLENS_{}", name.to_uppercase()),
        };
        let by_environment = (
            format!("export {variable}='{value}'"),
            format!("unset {variable}"),
        );
        let by_file = (
            format!("echo '{name} = {value}' >/etc/proclens.conf"),
            "rm /etc/proclens.conf".to_owned(),
        );
        for (set, unset) in [by_environment, by_file] {
            script += &format!("{set}; LD_PRELOAD=$lib {asked}; {of_tool}; {unset}\n");
            expected.push(format!("{name}: {answer}"));
            expected.push(format!("{name}: {answer_of_tool}"));
        }
    }
    // Without any setting, every result differs. A reader starts no sampler while an estimate is less than 7.5 s old, and
    // the tool may have stored one.
    script += "echo; for i in 1 2 3 4 5 6 7 8; do LD_PRELOAD=$lib cat /proc/loadavg >/dev/null; s=$(samplers); \
          [ $s = 0 ] || break; done; echo $s; \
        LD_PRELOAD=$lib head -n 1 /proc/meminfo; $tool show cpus; \
        LD_PRELOAD=$lib cut -d . -f 1 /proc/uptime | old || echo young; kept; \
        LD_PRELOAD=$lib $ring; LD_PRELOAD=$lib $tool check -- head | grep -c SKIP; LD_PRELOAD=$lib cat /proc/meminfo 2>&1 >/dev/null | wc -l\n";
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let age = uptime.split('.').next().unwrap();
    let output = container(&SAMPLED)
        .args(["--", "sh", "-c", &script])
        .env("tool", support::plain(Path::new(TOOL)))
        .env("lib", library())
        .env("age_of_host", age)
        .env("ring", ring)
        .output()
        .unwrap();
    let out = text(&output.stdout);
    let (with, without) = out.split_once("\n\n").unwrap();
    let names = expected.iter().map(|line| line.split(':').next().unwrap());
    let with: Vec<_> = names
        .zip(with.lines())
        .map(|(name, line)| format!("{name}: {line}"))
        .collect();
    assert_eq!(with, expected, "{out}{}", text(&output.stderr));
    assert_eq!(
        without,
        format!("1\nMemTotal:         524288 kB\n2\nyoung\nnone\n{can}\n0\n0\n"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_library_names_settings_that_it_ignores() {
    let output = Command::new("nproc")
        .env("LD_PRELOAD", library())
        .env("PROCLENS_LOG", "warn")
        .env("PROCLENS_CPUS", "two")
        .env("PROCLENS_FOO", "1")
        .output()
        .unwrap();
    let out = text(&output.stderr);
    assert!(
        out.contains("proclens: PROCLENS_CPUS=two: invalid setting, ignored"),
        "{out}"
    );
    assert!(out.contains("PROCLENS_FOO=1"), "{out}");
    let quiet = Command::new("nproc")
        .env("LD_PRELOAD", library())
        .env("PROCLENS_CPUS", "two")
        .output()
        .unwrap();
    assert_eq!(text(&quiet.stderr), "");
}

#[test]
fn a_container_from_outside() {
    let waiting = Waiting::start(&LIMITS, "PROCLENS_MEMORY=1 true");
    let pid = &waiting.pid.to_string();
    let inside = printed(tool(&["show", "--pid", pid, "meminfo"]));
    assert_eq!(line(&inside, "MemTotal:"), "MemTotal:         524288 kB");
    assert_eq!(printed(tool(&["show", "--pid", pid, "cpus"])), "2\n");
    let uptime = printed(tool(&["show", "--pid", pid, "uptime"]));
    let age: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    assert!(age < 600.0, "{uptime}");
    let load = printed(tool(&["show", "--pid", pid, "loadavg"]));
    let tasks: u32 = load.split(['/', ' ']).nth(4).unwrap().parse().unwrap();
    assert!((1..10).contains(&tasks), "{load}");

    let cgroup = waiting.cgroup();
    for name in [cgroup.clone(), cgroup_directory(&cgroup)] {
        let out = printed(tool(&["show", "--cgroup", &name, "meminfo"]));
        assert_eq!(
            line(&out, "MemTotal:"),
            "MemTotal:         524288 kB",
            "{name}"
        );
        assert_eq!(printed(tool(&["show", "--cgroup", &name, "cpus"])), "2\n");
    }

    let all: Value = serde_json::from_str(&printed(tool(&["show", "--all", "--json"]))).unwrap();
    let row = all
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["pid"] == waiting.pid)
        .unwrap_or_else(|| panic!("{} in {all}", waiting.pid));
    assert_eq!(row["memory_limit"], 512 << 20);
    assert_eq!(row["cpus"], 2);
    let table = printed(tool(&["show", "--all"]));
    let name = row["container"].as_str().unwrap();
    assert!(line(&table, name).contains("/ 512 MiB"), "{table}");
}

/// A container mounts FIFOs over the kernel's files. The tool, which inspects it from outside, does not hang.
#[test]
fn a_container_with_fifos_for_files_from_outside() {
    let mount = |files: &str| {
        let script = format!(
            "f=$(mktemp -u); mkfifo -m 666 $f; sleep 1000 & \
             for file in {files}; do mount --bind $f $file || exit; done; rm $f"
        );
        Waiting::start(&LIMITS, &script)
    };
    let in_time = |arguments: &[&str]| {
        let mut command = Command::new("timeout");
        with_no_settings(command.args(["-k", "1", "20", TOOL]).args(arguments))
            .output()
            .unwrap()
    };
    let honest = Waiting::start(&LIMITS, "");
    // For the kernel's files of the machine, the host's own have the same text.
    let machine = mount(
        "/proc/meminfo /proc/loadavg /proc/stat /proc/uptime /proc/vmstat /proc/$!/stat \
         /sys/devices/system/cpu/online /sys/devices/system/cpu/possible",
    );
    let pid = &machine.pid.to_string();
    let inside = printed(in_time(&["show", "--pid", pid, "meminfo"]));
    assert_eq!(line(&inside, "MemTotal:"), "MemTotal:         524288 kB");
    for file in ["stat", "loadavg", "cpus", "vmstat"] {
        printed(in_time(&["show", "--pid", pid, file]));
    }
    printed(in_time(&["explain", "--pid", pid]));
    // Nothing stands for the cgroup's.
    let cgroup = mount(
        "$(find /sys/fs/cgroup/ -name 'memory.*' -type f -o -name 'cpu*.*' -type f -o -name cgroup.procs)",
    );
    let output = in_time(&["show", "--pid", &cgroup.pid.to_string(), "meminfo"]);
    assert_ne!(output.status.code(), Some(124));
    assert_eq!(text(&output.stderr).lines().count(), 1, "{output:?}");

    let all: Value = serde_json::from_str(&printed(in_time(&["show", "--all", "--json"]))).unwrap();
    let has = |waiting: &Waiting| {
        let mut rows = all.as_array().unwrap().iter();
        rows.any(|row| row["pid"] == waiting.pid && row["memory_limit"] == 512 << 20)
    };
    assert!(has(&honest) && has(&machine), "{all}");
    let metrics = printed(in_time(&["metrics", "--all"]));
    assert!(metrics.contains(&honest.cgroup()), "{metrics}");
    printed(in_time(&["watch", "--all", "--count", "1"]));
}

/// `watch` does not show the host's numbers instead.
#[test]
fn watch_reports_that_its_container_has_ended() {
    let waiting = Waiting::start(&LIMITS, "");
    let mut watch = Command::new(TOOL);
    watch.args(["watch", "--interval", "0.2", "--count", "200", "--cgroup"]);
    let mut watch = with_no_settings(watch.arg(waiting.cgroup()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let first: Vec<_> = lines.by_ref().take(2).map(Result::unwrap).collect();
    drop(waiting);
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    for line in first[1..].iter().chain(&rest) {
        assert!(line.contains("512 MiB") || line.contains("cpu%"), "{line}");
    }
    let output = watch.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("the cgroup was removed"));

    // The process has ended, and its parent has not waited for it.
    let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    let mut end = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut end).unwrap();
    let zombie = format!("/proc/{}/stat", child.id());
    while !fs::read_to_string(&zombie).unwrap().contains(") Z ") {}
    for what in ["show", "explain", "env", "watch"] {
        let output = tool(&[what, "--pid", &child.id().to_string()]);
        assert_eq!(output.status.code(), Some(1), "{what}");
        assert!(text(&output.stderr).contains("has ended"), "{what}");
    }
    child.wait().unwrap();
}

fn cgroup_directory(path: &str) -> String {
    ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"]
        .iter()
        .map(|top| format!("{top}{path}"))
        .find(|directory| Path::new(directory).is_dir())
        .unwrap()
}

/// The CPU column shows the used CPU time, as a percentage of one CPU.
#[test]
fn a_busy_container_from_outside() {
    let waiting = Waiting::start(
        &["--memory", "64M", "--cpus", "0.2"],
        "(while :; do :; done) & sleep 3",
    );
    let all: Value = serde_json::from_str(&printed(tool(&["show", "--all", "--json"]))).unwrap();
    let rows = all.as_array().unwrap();
    let row = rows.iter().find(|row| row["pid"] == waiting.pid).unwrap();
    let percent = row["cpu_percent"].as_f64().unwrap();
    assert!((1.0..40.0).contains(&percent), "{row}");
    assert!(row["tasks"].as_u64().unwrap() >= 2, "{row}");
}

/// On an error there is one line, exit status 1, and no partial output.
#[test]
fn bad_input() {
    let library = library();
    let libc = ["x86_64", "aarch64"]
        .map(|machine| PathBuf::from(format!("/lib/{machine}-linux-gnu/libc.so.6")));
    let libc = libc.iter().find(|path| path.exists()).unwrap();
    let gone = "4194303";
    for (arguments, words) in [
        (&["show", "memory"][..], "choose one of meminfo, cpuinfo"),
        (&["show", "--pid", gone], "no such process"),
        (&["explain", "--pid", gone], "no such process"),
        (&["show", "--cgroup", "/no/such"], "no such cgroup"),
        (
            &["show", "--cgroup", "/sys/fs/cgroup/no/such"],
            "no such cgroup",
        ),
        (&["install", "--root", "/no/such"], "/no/such"),
        (
            &["install", "--root", "/", "--lib", "/no/such.so"],
            "/no/such.so",
        ),
        (
            &["install", "--root", "/etc", "--lib", TOOL],
            "is not the library of proclens",
        ),
        (
            &["install", "--root", "/etc", "--lib", libc.to_str().unwrap()],
            "is not the library of proclens",
        ),
        (
            &[
                "install",
                "--root",
                "/etc",
                "--lib",
                library.to_str().unwrap(),
            ],
            "no program to test",
        ),
    ] {
        let output = tool(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        let out = text(&output.stderr);
        assert!(
            out.contains(words) && out.starts_with("proclens: "),
            "{out}"
        );
        assert_eq!(out.matches('\n').count(), 1, "{out}");
    }
    for arguments in [
        &["nonsense"][..],
        &["watch", "--interval", "0"],
        &["show", "--pid", "x"],
    ] {
        assert_eq!(tool(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn without_permission() {
    let copy = tempfile::tempdir().unwrap();
    fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = copy.path().join("proclens");
    fs::copy(TOOL, &program).unwrap();
    let nobody = |arguments: &[&str]| {
        Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&program)
            .args(arguments)
            .output()
            .unwrap()
    };
    for arguments in [&["show", "--all"][..], &["show", "--pid", "1"]] {
        let output = nobody(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_eq!(text(&output.stdout), "");
        let out = text(&output.stderr);
        assert!(out.contains("root") || out.contains("sudo"), "{out}");
        assert_eq!(out.matches('\n').count(), 1, "{out}");
    }
    // Commands that need no root work without it.
    assert!(printed(nobody(&["show"])).contains("CPUs"));
    assert!(printed(nobody(&["show", "meminfo"])).contains("MemTotal:"));
}

#[test]
fn check_names_the_obstacle() {
    // A static program, which no preloaded library reaches.
    let fixed = support::c_program("reader.c", "gcc", &["-static"]);
    let fixed = fixed.as_deref().unwrap_or(Path::new("/no/compiler"));
    let out = in_container(
        &LIMITS,
        &"r() { echo \"== $*\"; \"$@\"; echo \"exit $?\"; }; \
         r $tool check; \
         export LD_PRELOAD=$lib; \
         r $tool check; r $tool check -- nproc; r $tool check -- su; r $tool check -- ldd; \
         r $tool check -- STATIC; r $tool check -- no-such-program 2>&1; \
         PROCLENS_CPUS=x r $tool check; PROCLENS=off r $tool check; \
         r $tool check --json; \
         LD_PRELOAD=/no/libproclens.so r $tool check 2>&1; \
         r $tool check -- /no/such 2>&1; PROCLENS_SKIP=*/head r $tool check -- head"
            .replace("STATIC", &format!("'{}'", fixed.display())),
    );
    let part = |title: &str| {
        let rest = out
            .split("== ")
            .skip(1)
            .find(|part| part.lines().next().unwrap().ends_with(title))
            .unwrap_or_else(|| panic!("{title} in {out}"));
        rest.to_owned()
    };
    let parts: Vec<_> = out.split("== ").skip(1).collect();
    assert!(
        parts[0].contains("nothing loads the library") && parts[0].contains("exit 1"),
        "{out}"
    );
    assert!(
        parts[1].contains("the library is active") && parts[1].contains("exit 0"),
        "{out}"
    );
    assert!(part("-- nproc").contains("exit 0"), "{out}");
    let su = part("-- su");
    assert!(
        su.contains("another user's rights") && su.contains("exit 1"),
        "{su}"
    );
    let script = part("-- ldd");
    assert!(
        script.contains("script for") && script.contains("exit 0"),
        "{script}"
    );
    if fixed.exists() {
        let fixed = part(&format!("-- {}", fixed.display()));
        assert!(
            fixed.contains("static") && fixed.contains("proclens env"),
            "{fixed}"
        );
        assert!(fixed.contains("exit 1"), "{fixed}");
    }
    let gone = part("-- /no/such");
    assert!(
        gone.contains("/no/such: no such program\n") && gone.contains("exit 2"),
        "{gone}"
    );
    let skipped = part("-- head");
    assert!(
        skipped.contains("PROCLENS_SKIP excludes")
            && skipped.contains("the library is not active")
            && skipped.contains("exit 1"),
        "{skipped}"
    );
    let none = part("-- no-such-program");
    assert!(
        none.contains("no such program") && none.contains("exit 2"),
        "{none}"
    );
    assert!(
        parts[7].contains("PROCLENS_CPUS=x (environment) is ignored"),
        "{}",
        parts[7]
    );
    assert!(parts[7].contains("exit 1"), "{}", parts[7]);
    assert!(
        parts[8].contains("PROCLENS=off")
            && parts[8].contains("the library is not active")
            && parts[8].contains("exit 1"),
        "{}",
        parts[8]
    );
    let json = parts[9]
        .split_once('\n')
        .unwrap()
        .1
        .rsplit_once("exit")
        .unwrap()
        .0;
    let report: Value = serde_json::from_str(json).unwrap();
    assert_eq!(
        (&report["schema"], &report["active"]),
        (&1.into(), &true.into())
    );
    assert!(
        parts[10].contains("does not exist") && parts[10].contains("exit 1"),
        "{}",
        parts[10]
    );
}

#[test]
fn check_finds_a_filter_that_kills() {
    let Some(starter) = support::c_program("starter.c", "gcc", &[]) else {
        return support::skipped("no gcc here");
    };
    let script = format!(
        "export LD_PRELOAD=$lib; '{}' $tool check; echo \"exit $?\"; $tool check; echo \"exit $?\"",
        starter.display()
    );
    let out = in_container(&LIMITS, &script);
    let (confined, free) = out.split_once("exit 1\n").expect(&out);
    assert!(confined.contains("filter kills programs"), "{out}");
    assert!(
        !free.contains("filter") && free.ends_with("exit 0\n"),
        "{out}"
    );
}

/// Programs that seem to have the library but do not.
#[test]
fn check_detects_programs_that_the_library_does_not_reach() {
    let out = in_container(
        &LIMITS,
        "r() { echo \"== $title\"; \"$@\" 2>&1; echo \"exit $?\"; }; \
         mount -t tmpfs tmpfs /mnt; cp -a /etc/passwd /mnt; cp -a /etc/ld.so.cache /mnt || true; mount --bind /mnt /etc; \
         export LD_PRELOAD=$lib; \
         script() { title=$1; echo \"#!$1\" >/etc/script; chmod 755 /etc/script; r $tool check -- /etc/script; }; \
         script '/usr/bin/env no-such-program'; script '/usr/bin/env head -n 1'; script '/no/such sh'; \
         script '/usr/bin/env -S head -n 1'; script '/usr/bin/env -u X head'; script '/usr/bin/env X=y head'; \
         title=all; PROCLENS_SKIP='*' r $tool check; title=some; PROCLENS_SKIP='*/head' r $tool check; \
         echo 'skip = *' >/etc/proclens.conf; title=file; r $tool check; rm /etc/proclens.conf; \
         unset LD_PRELOAD; mkdir -m 700 /etc/d; cp $lib /etc/d; chmod 644 /etc/d/*; \
         echo /etc/d/libproclens.so >/etc/ld.so.preload; \
         title=closed; r $tool check; chmod 755 /etc/d; title=open; r $tool check; \
         chmod 600 /etc/ld.so.preload; title=unreadable; r $tool check",
    );
    let part = |title: &str| {
        let start = format!("== {title}\n");
        let rest = out
            .split(&start)
            .nth(1)
            .unwrap_or_else(|| panic!("{title} in {out}"));
        rest.split("== ").next().unwrap()
    };
    for (title, words, code) in [
        (
            "/usr/bin/env no-such-program",
            "for no-such-program, which is not a program in PATH",
            1,
        ),
        (
            "/usr/bin/env head -n 1",
            "for head -n 1, which is not a program in PATH",
            1,
        ),
        ("/no/such sh", "/no/such: no such file", 1),
        ("/usr/bin/env -S head -n 1", "/head\n", 0),
        ("/usr/bin/env -u X head", "/head\n", 0),
        ("/usr/bin/env X=y head", "/head\n", 0),
        ("all", "PROCLENS_SKIP excludes", 1),
        ("some", "the library is active", 0),
        ("file", "PROCLENS_SKIP excludes", 1),
        (
            "closed",
            "other users may not enter /etc/d: the library is not active for them",
            1,
        ),
        ("open", "the library is active", 0),
        (
            "unreadable",
            "/etc/ld.so.preload is not readable for other users",
            1,
        ),
    ] {
        let part = part(title);
        assert!(part.contains(words), "{title}: {part}");
        assert!(part.ends_with(&format!("exit {code}\n")), "{title}: {part}");
        let others_only = ["closed", "unreadable"].contains(&title);
        let verdict = if code == 0 || others_only {
            "is active"
        } else {
            "is not active"
        };
        assert!(
            part.contains(&format!("\nthe library {verdict}\n")),
            "{title}: {part}"
        );
    }
}

/// Sleeps, with `preload` in LD_PRELOAD, until it is dropped.
struct Sleeping(Child);

impl Sleeping {
    fn start(preload: &Path) -> Sleeping {
        let mut command = Command::new("sleep");
        let child = with_no_settings(command.arg("600")).env("LD_PRELOAD", preload);
        let child = child.spawn().unwrap();
        // The dynamic linker has finished when sleep sleeps.
        let wait = format!("/proc/{}/wchan", child.id());
        for _ in 0..200 {
            if fs::read_to_string(&wait).is_ok_and(|w| w.contains("nanosleep")) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Sleeping(child)
    }

    fn check(&self) -> Output {
        tool(&["check", "--pid", &self.0.id().to_string()])
    }
}

impl Drop for Sleeping {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn check_inspects_running_processes() {
    for (preload, active) in [(library(), true), (PathBuf::new(), false)] {
        let output = Sleeping::start(&preload).check();
        assert_eq!(output.status.success(), active, "{}", text(&output.stdout));
        let word = if active {
            "has loaded"
        } else {
            "has not loaded"
        };
        assert!(
            text(&output.stdout).contains(word),
            "{}",
            text(&output.stdout)
        );
    }
}

/// Exit status 2, not 1: it is unknown whether the library works there.
#[test]
fn check_reports_that_it_could_not_check() {
    let mut ended = Command::new("true").spawn().unwrap();
    let pid = ended.id().to_string();
    let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    while !stat().contains(") Z ") {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let output = tool(&["check", "--pid", &pid]);
    ended.wait().unwrap();
    let out = text(&output.stderr);
    assert!(out.contains(&format!("process {pid} has ended")), "{out}");
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(2), "")
    );

    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut check = Command::new(TOOL);
    let check = with_no_settings(check.arg("check")).stdout(full);
    assert_eq!(check.output().unwrap().status.code(), Some(2));

    let copy = tempfile::tempdir().unwrap();
    let copied = |from: &str, mode: u32| {
        let to = copy.path().join(Path::new(from).file_name().unwrap());
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(mode)).unwrap();
        to
    };
    fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (program, unreadable) = (copied(TOOL, 0o755), copied("/bin/cat", 0o711));
    for arguments in [["--pid", "1"], ["--", unreadable.to_str().unwrap()]] {
        let output = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&program)
            .arg("check")
            .args(arguments)
            .output()
            .unwrap();
        let out = text(&output.stderr);
        assert!(out.contains("try as root"), "{out}");
        assert_eq!(output.status.code(), Some(2), "{out}");
    }
}

#[test]
fn check_recognises_kernel_threads() {
    if fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n") {
        let output = tool(&["check", "--pid", "2"]);
        let out = text(&output.stdout);
        assert!(
            out.contains("process 2 (kthreadd) is a kernel thread"),
            "{out}"
        );
        assert!(!out.contains("start it again"), "{out}");
        assert_eq!(output.status.code(), Some(1));
    }
}

/// The dynamic linker resolves a path from the program's working directory, and a name in its own
/// directories.
#[test]
fn check_with_a_relative_preload() {
    let library = library();
    let check = |directory: &Path, preload: &str, libraries: &Path| {
        let mut check = Command::new(TOOL);
        with_no_settings(check.arg("check"))
            .current_dir(directory)
            .env("LD_PRELOAD", preload)
            .env("LD_LIBRARY_PATH", libraries);
        let output = check.output().unwrap();
        (text(&output.stdout), output.status.code())
    };
    let (here, none) = (library.parent().unwrap(), Path::new(""));
    let (out, code) = check(here, "./libproclens.so", none);
    assert!(
        out.contains("LD_PRELOAD names ./libproclens.so: a library"),
        "{out}"
    );
    assert!(
        out.contains("depends on the directory where a program starts"),
        "{out}"
    );
    assert!(!out.contains("does not exist"), "{out}");
    assert_eq!(code, Some(1), "{out}");
    let (out, code) = check(Path::new("/etc"), "./libproclens.so", none);
    assert!(
        out.contains("does not exist") && out.contains("unset it"),
        "{out}"
    );
    assert!(!out.contains("uninstall"), "{out}");
    assert_eq!(code, Some(1), "{out}");
    let (out, code) = check(Path::new("/etc"), "libproclens.so", here);
    assert!(out.contains("the library is active"), "{out}");
    assert_eq!(code, Some(0), "{out}");
    let (out, code) = check(here, "libproclens.so", none);
    assert!(out.contains("does not load the library"), "{out}");
    assert_eq!(code, Some(1), "{out}");
}

/// LD_PRELOAD cannot contain a space, but a link that it names can lead to a path with one.
#[test]
fn check_takes_any_name() {
    let directory = tempfile::tempdir().unwrap();
    let odd = directory.path().join(OsStr::from_bytes(b"a b\xff"));
    fs::create_dir(&odd).unwrap();
    fs::copy(library(), odd.join("libproclens.so")).unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(odd.join("libproclens.so"), &link).unwrap();
    let out = printed(Sleeping::start(&link).check());
    assert!(out.contains("/a b\u{fffd}/libproclens.so\n"), "{out}");

    fs::copy("/bin/cat", odd.join("cat")).unwrap();
    let mut check = Command::new(TOOL);
    check.args(["check", "--"]).arg(odd.join("cat"));
    let out = printed(
        with_no_settings(&mut check)
            .env("LD_PRELOAD", library())
            .output()
            .unwrap(),
    );
    assert!(out.contains("/a b\u{fffd}/cat\n"), "{out}");
}

/// A program finds its libraries beside the file behind all links, as /usr/bin/java does.
#[test]
fn check_follows_a_link_to_the_program() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("real")).unwrap();
    let build = |arguments: &[&str], source: &str| {
        fs::write(path("source.c"), source).unwrap();
        let done = Command::new("gcc")
            .current_dir(path("real"))
            .args(arguments)
            .arg("../source.c")
            .arg("-Wl,--no-as-needed,-rpath,$ORIGIN")
            .args(if arguments.contains(&"-shared") {
                &[][..]
            } else {
                &["./libown.so"]
            })
            .status();
        done.is_ok_and(|status| status.success())
    };
    if !build(&["-shared", "-Wl,-soname,libown.so", "-o", "libown.so"], "")
        || !build(&["-o", "program"], "int main(void) { return 0; }")
    {
        return support::skipped("no gcc here");
    }
    std::os::unix::fs::symlink("real/program", path("link")).unwrap();
    let mut check = Command::new(TOOL);
    with_no_settings(check.arg("check").arg("--").arg(path("link"))).env("LD_PRELOAD", library());
    let output = check.output().unwrap();
    let out = text(&output.stdout);
    assert!(
        out.contains("into ") && !out.contains("does not load"),
        "{out}"
    );
}

/// `check` runs the dynamic linker of this machine, by whatever path, and no other file that a program names as its
/// interpreter.
#[test]
fn check_runs_only_the_dynamic_linker_of_this_machine() {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let path = |name: &str| directory.path().join(name);
    let cat = fs::read("/bin/cat").unwrap();
    let starts: [&[u8]; 2] = [
        b"/lib64/ld-linux-x86-64.so.2\0",
        b"/lib/ld-linux-aarch64.so.1\0",
    ];
    let Some((at, linker)) = starts.iter().find_map(|linker| {
        let at = cat.windows(linker.len()).position(|part| part == *linker)?;
        Some((at, OsStr::from_bytes(&linker[..linker.len() - 1])))
    }) else {
        return support::skipped("cat has an unusual dynamic linker");
    };
    let mut other = cat;
    let mut name = path("ld").into_os_string().into_encoded_bytes();
    name.resize(linker.len(), 0);
    other[at..at + name.len()].copy_from_slice(&name);
    fs::write(path("cat"), other).unwrap();
    fs::set_permissions(path("cat"), fs::Permissions::from_mode(0o755)).unwrap();
    let check = || {
        let mut check = Command::new(TOOL);
        with_no_settings(check.arg("check").arg("--").arg(path("cat")))
            .env("LD_PRELOAD", library())
            .output()
            .unwrap()
    };

    fs::write(
        path("ld"),
        format!("#!/bin/sh\n: >{}\n", path("ran").display()),
    )
    .unwrap();
    fs::set_permissions(path("ld"), fs::Permissions::from_mode(0o755)).unwrap();
    let output = check();
    let out = text(&output.stdout);
    assert!(!path("ran").exists(), "{out}");
    assert!(out.contains("not this machine's dynamic linker"), "{out}");
    assert_eq!(output.status.code(), Some(1), "{out}");

    fs::remove_file(path("ld")).unwrap();
    std::os::unix::fs::symlink(linker, path("ld")).unwrap();
    let out = printed(check());
    assert!(out.contains("/ld loads "), "{out}");
}

/// For a program that opens a ring for each CPU, `check` prints a note and the remedy.
#[test]
fn check_notes_programs_that_watch_cpus() {
    let directory = tempfile::tempdir().unwrap();
    let out = |program: &Path| {
        let mut check = Command::new(TOOL);
        check.args(["check", "--"]).arg(program);
        let output = with_no_settings(&mut check)
            .env("LD_PRELOAD", library())
            .output()
            .unwrap();
        (text(&output.stdout), output.status.code())
    };
    let (plain, code) = out(Path::new("/bin/cat"));
    assert!(!plain.contains("watches CPUs"), "{plain}");
    // A note does not change the exit status.
    for text in ["libbpf: ", "/bus/event_source/devices/"] {
        let watcher = directory.path().join("watcher");
        let mut bytes = fs::read("/bin/cat").unwrap();
        bytes.extend(text.bytes());
        fs::write(&watcher, bytes).unwrap();
        fs::set_permissions(&watcher, fs::Permissions::from_mode(0o755)).unwrap();
        let (noted, same) = out(&watcher);
        assert!(
            noted.contains("watcher watches CPUs through the kernel"),
            "{text}: {noted}"
        );
        assert!(noted.contains("run it with PROCLENS=off"), "{noted}");
        assert_eq!(same, code, "{noted}");
    }
    if let Some(perf) = support::program("perf") {
        let (noted, _) = out(&perf);
        assert!(noted.contains("perf watches CPUs"), "{noted}");
    } else {
        support::skipped("no perf here");
    }
}

/// What passes through `inject` keeps each byte, and the value of each number.
#[test]
fn inject_keeps_control_characters_and_numbers() {
    let inject = |image: &str, input: &str| {
        let mut child = Command::new(TOOL)
            .args(["inject", "--image", image])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A refused image ends the program before it reads.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    };
    let other = "kind: ConfigMap\ndata: {a: \"x\x7f\x1b[1my\"}\n";
    assert_eq!(printed(inject("i", other)), other);
    let pod = "{\"kind\":\"Pod\",\"a\":\"\x7f\",\"numbers\":[12345678901234567890123,0.30000000000000000004,1E2],\
        \"spec\":{\"containers\":[{\"name\":\"a\"}]}}";
    let out = printed(inject("i", pod));
    assert!(out.contains("LD_PRELOAD"), "{out}");
    for kept in [
        "\"\x7f\"",
        "12345678901234567890123,",
        "0.30000000000000000004,",
        "1e+2\n",
    ] {
        assert!(out.contains(kept), "{kept:?} in {out}");
    }
    for image in ["", " ", "A B", "a\nb"] {
        let refused = inject(image, other);
        assert_eq!(refused.status.code(), Some(2), "{image:?}");
        assert!(text(&refused.stderr).contains("--image"), "{image:?}");
    }
}

#[test]
fn env_is_for_eval_and_keeps_variables_that_are_set() {
    let out = in_container(
        &LIMITS,
        "export OMP_NUM_THREADS=7; eval \"$($tool env)\"; \
         echo $GOMAXPROCS $OMP_NUM_THREADS $GOMEMLIMIT; $tool env --format json --all; \
         $tool env | wc -l; \
         $tool env --all --format dotenv | head -n 1; $tool env --all --format fish | head -n 1",
    );
    assert_eq!(
        out.lines().next().unwrap(),
        format!("2 7 {}", (512 << 20) - (512 << 20) / 10)
    );
    let json = &out[out.find('{').unwrap()..=out.rfind('}').unwrap()];
    let object: Value = serde_json::from_str(json).unwrap();
    assert_eq!(object["OMP_NUM_THREADS"], "2");
    assert!(
        out.ends_with("}\n0\nGOMAXPROCS=2\nset -gx GOMAXPROCS 2\n"),
        "{out}"
    );
}

#[test]
fn watch_prints_lines_where_there_is_no_terminal() {
    let out = in_container(&LIMITS, "$tool watch --interval 0.2 --count 3");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    for line in &lines[1..] {
        assert!(line.contains("512 MiB"), "{line}");
        let percent: f64 = line.split_whitespace().next().unwrap().parse().unwrap();
        assert!((0.0..=100.0).contains(&percent), "{line}");
    }
}

/// On a terminal `watch` draws a page, `q` ends it, and the terminal gets back its state.
#[test]
fn watch_draws_a_page_on_a_terminal() {
    let mut child = Command::new("script")
        .args([
            "-q",
            "-e",
            "-c",
            &format!(
                "stty rows 24 cols 90; {} watch --interval 0.2",
                support::plain(Path::new(TOOL)).display()
            ),
            "/dev/null",
        ])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    child.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    let output = child.wait_with_output().unwrap();
    let page = text(&output.stdout);
    assert!(output.status.success(), "{page}");
    for word in ["Memory", "Load", "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"] {
        assert!(page.contains(word), "{word:?} in {page:?}");
    }
}

/// A signal that ends `watch` also restores the terminal.
#[test]
fn a_signal_restores_the_terminal() {
    for signal in ["TERM", "HUP", "INT", "QUIT"] {
        ended_by(signal);
    }
}

fn ended_by(signal: &str) {
    let watch = format!(
        "(sleep 2; kill -{signal} $$; sleep 2; kill -KILL $$ 2>&-) & exec {} watch --interval 60",
        support::plain(Path::new(TOOL)).display()
    );
    let output = Command::new("script")
        .args([
            "-q",
            "-e",
            "-c",
            &format!("sh -c '{watch}'; stty -a"),
            "/dev/null",
        ])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .output()
        .unwrap();
    let page = text(&output.stdout);
    let (page, after) = page.split_once("\x1b[?1049l").expect(signal);
    assert!(page.contains("\x1b[?1049h"), "{page:?}");
    assert!(page.contains("\x1b[?25h"), "{page:?}");
    assert!(
        after.contains(" icanon") && after.contains(" echo "),
        "{after:?}"
    );
}

#[test]
fn help_has_examples_and_the_pages_are_generated() {
    let help = printed(tool(&["--help"]));
    assert!(
        help.contains("Examples:") && help.contains("Exit status"),
        "{help}"
    );
    for command in [
        "show", "explain", "check", "env", "install", "watch", "sampler",
    ] {
        let help = printed(tool(&[command, "--help"]));
        assert!(help.contains("Examples:"), "{command}");
    }
    let directory = tempfile::tempdir().unwrap();
    printed(tool(&["generate", directory.path().to_str().unwrap()]));
    let man = fs::read_to_string(directory.path().join("man/proclens.1")).unwrap();
    assert!(
        man.contains(".TH") && man.contains("PROCLENS_CPU_ROUND"),
        "{man}"
    );
    // Examples are line by line, under a heading.
    assert!(man.contains(".SH EXAMPLES\n.nf\nproclens show "), "{man}");
    assert!(!man.contains("EXTRA"), "{man}");
    assert!(directory.path().join("man/proclens-show.1").is_file());
    for file in ["proclens.bash", "proclens.fish", "_proclens"] {
        let path = directory.path().join("completions").join(file);
        assert!(
            fs::read_to_string(&path).unwrap().contains("explain"),
            "{file}"
        );
    }
    let bash = directory.path().join("completions/proclens.bash");
    assert!(
        Command::new("bash")
            .arg("-n")
            .arg(bash)
            .status()
            .unwrap()
            .success()
    );
}

/// The help of each command has exactly the fields that `--json` prints.
#[test]
fn the_forms_of_json_are_documented() {
    let waiting = Waiting::start(&SAMPLED, "LD_PRELOAD=$lib cat /proc/loadavg >/dev/null");
    let pid = &waiting.pid.to_string();
    for (command, arguments) in [
        ("explain", &["explain", "--json", "--pid", pid][..]),
        ("show", &["show", "--json", "--pid", pid]),
        ("show", &["show", "--json", "--all"]),
        ("check", &["check", "--json", "--pid", pid]),
    ] {
        let help = printed(tool(&[command, "--help"]));
        let output = tool(arguments);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let words: Vec<_> = help
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .collect();
        let mut names = Vec::new();
        names_in(&json, &mut names);
        assert!(names.len() > 4, "{json}");
        for name in &names {
            assert!(words.contains(&name.as_str()), "{name} in {command} --help");
        }
        if command == "show" {
            continue; // Its help describes two forms.
        }
        let part = &help[help.find("\nJSON").unwrap()..];
        for line in part.lines().filter(|line| !line.starts_with("   ")) {
            let Some(line) = line.strip_prefix("  ") else {
                continue;
            };
            let name = line.split(['[', ' ', ',']).next().unwrap();
            assert!(
                names.contains(&name.to_owned()),
                "{name} of the help in {json}"
            );
        }
    }
}

fn names_in(json: &Value, names: &mut Vec<String>) {
    match json {
        Value::Object(map) => {
            for (name, value) in map {
                names.push(name.clone());
                names_in(value, names);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| names_in(value, names)),
        _ => {}
    }
}

/// A Docker daemon of the lab, for one test.
struct Docker {
    host: String,
    name: String,
}

impl Docker {
    fn start() -> Docker {
        let name = format!("tool-test-{}", std::process::id());
        let host = Docker::lab(&name, "start");
        Docker { host, name }
    }

    fn lab(name: &str, verb: &str) -> String {
        let output = Command::new(format!("{REPO}/scripts/lab/dockerd"))
            .arg(verb)
            .env("PROCLENS_LAB_DOCKER", name)
            .output()
            .unwrap();
        printed(output).trim().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> String {
        let mut docker = Command::new("docker");
        docker.args(arguments).env("DOCKER_HOST", &self.host);
        printed(docker.output().unwrap()).trim().to_owned()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        Docker::lab(&self.name, "stop");
    }
}

/// The figures of `docker stats` for two containers: one with page cache and memory, and one that uses CPU time.
#[test]
#[cfg_attr(target_arch = "aarch64", ignore = "the lab's Docker is for x86-64")]
fn show_all_agrees_with_docker_stats() {
    let docker = Docker::start();
    let layers = printed(
        Command::new(format!("{REPO}/scripts/lab/image"))
            .arg("layers")
            .output()
            .unwrap(),
    );
    let cache = Path::new(layers.trim()).parent().unwrap();
    let archive = cache.join("layers/image.tar");
    docker.run(&["import", archive.to_str().unwrap(), "lab"]);
    let usr = format!("{}:/usr:ro", cache.join("bookworm/usr").display());
    for (name, options, script) in [
        (
            "keeps",
            ["--memory", "64m", "--cpus", "1"],
            "head -c 8M /dev/zero >/dev/shm/a; head -c 8M /dev/zero >/a; cat /a >/dev/null; sleep 600",
        ),
        (
            "computes",
            ["--memory", "32m", "--cpus", "0.2"],
            "sleep 600 & while :; do :; done",
        ),
    ] {
        let mut all = vec!["run", "--detach", "--pull", "never", "--network", "none"];
        all.extend(["--name", name, "--volume", &usr]);
        all.extend(options);
        all.extend(["lab", "sh", "-c", script]);
        docker.run(&all);
    }
    std::thread::sleep(std::time::Duration::from_secs(2));
    // A container changes between the two readings.
    let mut differences = Vec::new();
    for _ in 0..10 {
        let all = printed(tool(&["show", "--all", "--json"]));
        let all: Value = serde_json::from_str(&all).unwrap();
        let format = "{{json .}}";
        let stats = docker.run(&["stats", "--no-stream", "--format", format]);
        differences = stats
            .lines()
            .flat_map(|line| disagreements(&serde_json::from_str(line).unwrap(), &all))
            .collect();
        assert_eq!(stats.lines().count(), 2, "{stats}");
        if differences.is_empty() {
            return;
        }
    }
    panic!("{differences:?}");
}

fn disagreements(theirs: &Value, all: &Value) -> Vec<String> {
    let field = |name: &str| theirs[name].as_str().unwrap();
    let mut rows = all.as_array().unwrap().iter();
    let Some(ours) = rows.find(|row| row["container"] == field("ID")) else {
        return vec![format!("{theirs} is not in {all}")];
    };
    let number = |text: &str| text.trim_end_matches('%').parse::<f64>().unwrap();
    let bytes = |text: &str| {
        let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap();
        let unit = match &text[digits..] {
            "B" => 1.0,
            "KiB" => 1024.0,
            "MiB" => 1048576.0,
            "GiB" => 1073741824.0,
            unit => panic!("{unit}"),
        };
        number(&text[..digits]) * unit
    };
    let (used, limit) = field("MemUsage").split_once(" / ").unwrap();
    [
        ("memory_used", bytes(used), 128.0 * 1024.0),
        ("memory_limit", bytes(limit), 0.0),
        ("tasks", number(field("PIDs")), 0.0),
        ("cpu_percent", number(field("CPUPerc")), 4.0),
    ]
    .iter()
    .filter_map(|(name, theirs, near)| {
        let ours = ours[name].as_f64().unwrap();
        ((ours - theirs).abs() > *near).then(|| format!("{name}: {ours}, docker: {theirs}"))
    })
    .collect()
}

/// A Debian of the lab for this processor.
const DEBIAN: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "bookworm"
};

/// A writable copy of one of the lab's root directories.
struct Root {
    directory: tempfile::TempDir,
}

impl Root {
    fn of(image: &str) -> Root {
        let made = Command::new(format!("{REPO}/scripts/lab/image"))
            .arg(image)
            .output()
            .unwrap();
        let lower = printed(made);
        let lower = lower.lines().last().unwrap().trim();
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().display();
        let script = format!(
            "mount -t tmpfs tmpfs {top} && mkdir {top}/upper {top}/work {top}/root && \
             mount -t overlay overlay -o lowerdir={lower},upperdir={top}/upper,workdir={top}/work {top}/root"
        );
        printed(Command::new("sh").args(["-c", &script]).output().unwrap());
        Root { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Every file that is not in the image, with its content.
    fn changes(&self) -> Vec<String> {
        let find = Command::new("find")
            .args([".", "!", "-type", "d", "-printf", "%P %s %m\\n"])
            .current_dir(self.directory.path().join("upper"))
            .output()
            .unwrap();
        let mut lines: Vec<_> = printed(find).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    fn install(&self, arguments: &[&str]) -> Output {
        let (root, library) = (self.path(), library());
        let mut all = vec![
            "install",
            "--root",
            root.to_str().unwrap(),
            "--lib",
            library.to_str().unwrap(),
        ];
        all.extend(arguments);
        tool(&all)
    }

    fn run(&self, program: &[&str]) -> Output {
        Command::new("chroot")
            .arg(self.path())
            .args(program)
            .env_remove("LD_PRELOAD")
            .output()
            .unwrap()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let top = self.directory.path();
        let _ = Command::new("umount")
            .arg("-l")
            .arg(top.join("root"))
            .status();
        let _ = Command::new("umount").arg("-l").arg(top).status();
    }
}

#[test]
fn install_and_uninstall_a_root() {
    let older = (DEBIAN == "bookworm").then_some("bullseye");
    for image in older.into_iter().chain([DEBIAN]) {
        let root = Root::of(image);
        let before = root.changes();
        let out = printed(root.install(&[]));
        assert!(
            out.contains("installed") && out.contains("written"),
            "{out}"
        );
        let preload = fs::read_to_string(root.path().join("etc/ld.so.preload")).unwrap();
        assert_eq!(preload, "/usr/$LIB/libproclens.so\n");
        let ran = root.run(&["/bin/cat", "/etc/hostname"]);
        assert_eq!(
            text(&ran.stderr).replace("cat: /etc/hostname: No such file or directory\n", ""),
            ""
        );
        let maps = root.run(&[
            "/bin/sh",
            "-c",
            "mount -t proc proc /proc; grep -c libproclens /proc/self/maps; umount /proc",
        ]);
        assert_ne!(text(&maps.stdout), "0\n", "{image}");
        // A second install changes nothing.
        let once = root.changes();
        printed(root.install(&[]));
        assert_eq!(root.changes(), once);
        printed(tool(&[
            "uninstall",
            "--root",
            root.path().to_str().unwrap(),
        ]));
        let left: Vec<_> = root
            .changes()
            .into_iter()
            .filter(|line| !before.contains(line))
            .collect();
        // An overlay records a removal only for files of the image.
        assert_eq!(left, Vec::<String>::new(), "{image}");
    }
}

/// `/proc/PID/root` reads `/` for every root. The links in that root are absolute.
#[test]
fn install_into_the_root_of_a_running_process() {
    let image = Root::of(DEBIAN);
    let options = ["--rootfs", image.directory.path().to_str().unwrap()];
    let options = [options[0], &format!("{}/root", options[1])];
    let waiting = Waiting::start(
        &options,
        "mv /etc /other && ln -s /other /etc && rm -f /etc/ld.so.preload",
    );
    let root = format!("/proc/{}/root", waiting.pid);
    // If install took this machine's root for the other one, this would limit the damage.
    let run = |command: &str| {
        let script =
            format!("mount -o remount,bind,ro / && exec \"$0\" {command} --root {root} \"$@\"");
        let mut inside = Command::new("unshare");
        inside.args(["--mount", "sh", "-c", &script, TOOL]);
        if command == "install" {
            inside.arg("--lib").arg(library());
        }
        printed(with_no_settings(&mut inside).output().unwrap())
    };
    let out = run("install");
    assert!(
        out.contains(&format!("installed {root}/usr/lib/"))
            && out.contains(&format!("proclens uninstall --root {root}`")),
        "{out}"
    );
    let preload = PathBuf::from(format!("{root}/other/ld.so.preload"));
    assert_eq!(
        fs::read_to_string(&preload).unwrap(),
        "/usr/$LIB/libproclens.so\n"
    );
    let out = run("uninstall");
    assert!(
        out.contains("the line in") && out.contains("removed"),
        "{out}"
    );
    assert!(!preload.exists());
}

/// The mode of a file.
fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A sampler is an exec of the library. The preload file stays the administrator's.
#[test]
fn install_makes_the_library_executable() {
    let root = Root::of(DEBIAN);
    let install = || {
        let out = printed(root.install(&[]));
        let (_, path) = line(&out, "installed ").split_once(' ').unwrap();
        PathBuf::from(path)
    };
    let library = install();
    let preload = root.path().join("etc/ld.so.preload");
    assert_eq!((mode(&library), mode(&preload)), (0o755, 0o644));
    fs::set_permissions(&library, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&preload, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(install(), library);
    assert_eq!((mode(&library), mode(&preload)), (0o755, 0o640));
}

#[test]
fn check_notes_a_library_that_cannot_be_executed() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("libproclens.so");
    fs::copy(library(), &copy).unwrap();
    for (mode, noted) in [(0o755, false), (0o644, true)] {
        fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).unwrap();
        let mut check = Command::new(TOOL);
        let output = with_no_settings(check.arg("check"))
            .env("LD_PRELOAD", &copy)
            .output()
            .unwrap();
        let out = text(&output.stdout);
        assert_eq!(out.contains("cannot be executed"), noted, "{out}");
    }
}

#[test]
fn install_keeps_other_preloads() {
    let root = Root::of(DEBIAN);
    let preload = root.path().join("etc/ld.so.preload");
    fs::write(&preload, "# ours\n").unwrap();
    printed(root.install(&[]));
    assert_eq!(
        fs::read_to_string(&preload).unwrap(),
        "# ours\n/usr/$LIB/libproclens.so\n"
    );
    printed(tool(&[
        "uninstall",
        "--root",
        root.path().to_str().unwrap(),
    ]));
    assert_eq!(fs::read_to_string(&preload).unwrap(), "# ours\n");
}

/// The preload file stays the administrator's, as after `sed -i`.
#[test]
fn uninstall_keeps_owner_and_mode_of_the_preload_file() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let root = tempfile::tempdir().unwrap();
    let preload = root.path().join("etc/ld.so.preload");
    fs::create_dir(preload.parent().unwrap()).unwrap();
    fs::write(&preload, "# ours\n/usr/$LIB/libproclens.so\n").unwrap();
    fs::set_permissions(&preload, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&preload, Some(1000), Some(1001)).unwrap();
    printed(tool(&[
        "uninstall",
        "--root",
        root.path().to_str().unwrap(),
    ]));
    assert_eq!(fs::read_to_string(&preload).unwrap(), "# ours\n");
    let now = fs::metadata(&preload).unwrap();
    assert_eq!((now.uid(), now.gid()), (1000, 1001));
    assert_eq!(now.mode() & 0o7777, 0o600);
}

/// Where a user can change a root directory, a FIFO must not block install and uninstall.
#[test]
fn install_and_uninstall_do_not_wait_for_a_fifo() {
    let root = tempfile::tempdir().unwrap();
    let fifo = |name: &str| {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        printed(Command::new("mkfifo").arg(&path).output().unwrap());
        path.to_str().unwrap().to_owned()
    };
    let (preload, lib) = (fifo("etc/ld.so.preload"), fifo("lib.so"));
    fifo("usr/bin/true");
    let (path, library) = (root.path().to_str().unwrap(), library());
    let library = library.to_str().unwrap();
    let named = |path: &str| format!("proclens: {path}: is not a regular file\n");
    let untested = "has no program to test the library with";
    for (arguments, expected) in [
        (&["uninstall", "--root", path][..], named(&preload)),
        (&["install", "--root", path, "--lib", &lib], named(&lib)),
        (&["install", "--to", path, "--lib", &lib], named(&lib)),
        (
            &["install", "--root", path, "--lib", library],
            untested.to_owned(),
        ),
    ] {
        let output = Command::new("timeout")
            .args(["20", TOOL])
            .args(arguments)
            .output()
            .unwrap();
        let out = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {out}");
        assert!(out.contains(&expected), "{arguments:?}: {out}");
        assert_eq!(out.matches('\n').count(), 1, "{out}");
    }
}

#[test]
fn uninstall_where_nothing_is_installed() {
    let root = Root::of(DEBIAN);
    let path = root.path();
    let arguments = ["uninstall", "--root", path.to_str().unwrap()];
    let nothing = format!("nothing was installed in {}\n", path.display());
    assert_eq!(printed(tool(&arguments)), nothing);
    let mount = Command::new("mount")
        .args(["-o", "remount,bind,ro"])
        .arg(&path)
        .output();
    printed(mount.unwrap());
    assert_eq!(printed(tool(&arguments)), nothing);
}

/// Errors that the root's programs print without the library too are not the library's fault. If the file of the
/// library's line is missing, install writes it again.
#[test]
fn install_where_programs_print_errors_already() {
    let root = Root::of(DEBIAN);
    let preload = root.path().join("etc/ld.so.preload");
    fs::write(&preload, "/no/such.so\n").unwrap();
    let out = printed(root.install(&[]));
    assert!(
        out.contains("without the library as well") && out.contains("/no/such.so"),
        "{out}"
    );
    let installed = fs::read_to_string(&preload).unwrap();
    assert_eq!(installed, "/no/such.so\n/usr/$LIB/libproclens.so\n");
    let library = line(&out, "installed ");
    let library = Path::new(library.split(' ').nth(1).unwrap());
    fs::remove_file(library).unwrap();
    let out = printed(root.install(&[]));
    assert!(!out.contains("object '/usr/$LIB"), "{out}");
    assert!(library.is_file());
    assert_eq!(fs::read_to_string(&preload).unwrap(), installed);
    // A path that an administrator wrote.
    fs::remove_file(library).unwrap();
    fs::write(&preload, "/usr/lib/libproclens.so\n").unwrap();
    let out = printed(root.install(&[]));
    assert!(!out.contains("as well"), "{out}");
    assert!(library.is_file());
    let line = fs::read_to_string(&preload).unwrap();
    assert_eq!(line, "/usr/$LIB/libproclens.so\n");
}

/// A library with the name of proclens's and one function, which runs when a program starts.
fn library_that(directory: &Path, does: &str) -> PathBuf {
    let path = directory.join("libproclens.so");
    let mut compiler = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wl,-soname,libproclens.so", "-x", "c"])
        .args(["-", "-o"])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let text = format!(
        "#include <unistd.h>\n__attribute__((constructor)) static void f(void) {{ {does} }}\n"
    );
    let mut input = compiler.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    assert!(compiler.wait().unwrap().success());
    path
}

/// The reason names the directory in which the library failed, not those in which the linker does not look.
#[test]
fn a_failed_trial_names_the_reason() {
    let root = Root::of(DEBIAN);
    let directory = tempfile::tempdir().unwrap();
    let library = library_that(directory.path(), "_exit(7);");
    let before = root.changes();
    let path = root.path();
    let arguments = ["install", "--root", path.to_str().unwrap(), "--lib"];
    let output = tool(&[&arguments[..], &[library.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(1));
    let out = text(&output.stderr);
    assert!(out.contains("ends with exit status: 7"), "{out}");
    assert_eq!(root.changes(), before);
}

/// A program of the root fails in the trial.
#[test]
fn a_failed_trial_does_not_change_the_root() {
    let root = Root::of(DEBIAN);
    fs::copy(
        root.path().join("bin/false"),
        root.path().join("usr/bin/true"),
    )
    .unwrap();
    let before = root.changes();
    let output = root.install(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(
        text(&output.stderr).contains("nothing was changed"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(root.changes(), before);
}

/// The packages' scripts after an upgrade: a copy that is in use is renewed, and a copy that was switched off
/// stays. If the renewal fails, the package's installation succeeds all the same.
#[test]
fn packages_renew_what_is_switched_on() {
    let root = Root::of(DEBIAN);
    let put = |name: &str, text: &str| {
        let path = root.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    for script in ["post", "postinst"] {
        let path = format!("{REPO}/scripts/packaging/{script}");
        put(script, &fs::read_to_string(path).unwrap());
    }
    for (preload, renews) in [
        ("/usr/$LIB/libproclens.so\n", true),
        ("/lib/a.so:/usr/lib/libproclens.so # by hand\n", true),
        ("# /usr/$LIB/libproclens.so\n/lib/a.so\n", false),
        ("/lib/a.so # /usr/$LIB/libproclens.so\n", false),
        ("/usr/lib/libproclens.so.bak\n", false),
    ] {
        put("etc/ld.so.preload", preload);
        for (command, status) in [
            ("post 2", 0),
            ("post 2", 1),
            ("postinst configure 0.0.1", 1),
        ] {
            put(
                "usr/bin/proclens",
                &format!("#!/bin/sh\necho \"asked to $*\"; exit {status}\n"),
            );
            let words: Vec<_> = command.split(' ').collect();
            let output = root.run(&[&["sh"], &words[..]].concat());
            let out = text(&output.stderr);
            assert!(output.status.success(), "{command}: {preload}: {out}");
            let asked = if renews { "asked to install\n" } else { "" };
            assert_eq!(text(&output.stdout), asked, "{command}: {preload}");
            assert_eq!(
                out.contains("still the old one"),
                renews && status == 1,
                "{command}: {preload}: {out}"
            );
        }
    }
}

/// A trial that does not end is stopped by the user, or at its time limit.
#[test]
fn an_interrupted_install_does_not_change_the_root() {
    let root = Root::of(DEBIAN);
    let directory = tempfile::tempdir().unwrap();
    let library = library_that(directory.path(), "for (;;) pause();");
    let preload = root.path().join("etc/ld.so.preload");
    fs::write(&preload, "# mine\n").unwrap();
    let before = root.changes();
    let placed = |lib: &&str| {
        root.path()
            .join("usr")
            .join(lib)
            .join("libproclens.so")
            .exists()
    };
    let libs = ["lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu"];
    for signal in [
        Some(libc::SIGINT),
        Some(libc::SIGTERM),
        Some(libc::SIGHUP),
        None,
    ] {
        let mut install = Command::new(TOOL);
        install.arg("install").arg("--root").arg(root.path());
        let child = with_no_settings(install.arg("--lib").arg(&library))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let words = match signal {
            Some(signal) => {
                for _ in 0..1000 {
                    if libs.iter().any(placed) {
                        break;
                    }
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                // SAFETY: a signal to a child of this test.
                unsafe { libc::kill(child.id() as i32, signal) };
                "interrupted: nothing was changed"
            }
            None => "does not end within 10 s: nothing was changed",
        };
        let output = child.wait_with_output().unwrap();
        let out = text(&output.stderr);
        assert!(out.contains(words), "{out}");
        assert_eq!(output.status.code(), Some(1), "{out}");
        assert_eq!(root.changes(), before, "{out}");
    }
}

#[test]
fn files_of_a_killed_install_are_removed() {
    let root = Root::of(DEBIAN);
    let path = root.path();
    let run = |command: &str| printed(tool(&[command, "--root", path.to_str().unwrap()]));
    for name in ["etc/.proclens-AbC123", "usr/lib/.proclens-dEf456"] {
        let left = path.join(name);
        for install in [true, false] {
            fs::write(&left, "").unwrap();
            let out = if install {
                printed(root.install(&[]))
            } else {
                run("uninstall")
            };
            assert!(!left.exists(), "{name}: {out}");
        }
        // Another install is running.
        let locked = fs::File::create(&left).unwrap();
        locked.lock().unwrap();
        run("uninstall");
        assert!(left.exists(), "{name}");
    }
}

#[test]
#[cfg_attr(target_arch = "aarch64", ignore = "the lab's musl is for x86-64")]
fn musl_reads_no_preload_file_and_install_notes_it() {
    let root = Root::of("musl");
    let out = printed(root.install(&[]));
    assert!(
        out.contains("ENV LD_PRELOAD=/usr/lib/libproclens.so"),
        "{out}"
    );
    assert_eq!(mode(&root.path().join("usr/lib/libproclens.so")), 0o755);
    assert!(!root.path().join("etc/ld.so.preload").exists());
    // The tool beside it does not make it a package's.
    fs::copy(TOOL, root.path().join("usr/bin/proclens")).unwrap();
    printed(tool(&[
        "uninstall",
        "--root",
        root.path().to_str().unwrap(),
    ]));
    assert!(!root.path().join("usr/lib/libproclens.so").exists());
}

/// Go calls the kernel without libc, also in a dynamic program.
#[test]
fn check_recognises_go_programs() {
    let directory = tempfile::tempdir().unwrap();
    let by_section =
        "__attribute__((section(\".go.buildinfo\"), used)) static const char info[32] = \"Go\";\n";
    let by_note = "__asm__(\".section .note.go,\\\"a\\\",@note; .long 3, 4, 4; .asciz \\\"Go\\\"; .byte 0; .long 1; .previous\");\n";
    for (name, source, options) in [
        ("dynamic", by_section, &[][..]),
        ("static", by_section, &["-static"][..]),
        ("note", by_note, &[][..]),
    ] {
        let (file, program) = (directory.path().join("go.c"), directory.path().join(name));
        fs::write(&file, format!("{source}int main(void) {{ return 0; }}\n")).unwrap();
        let built = Command::new("gcc")
            .args(options)
            .arg("-o")
            .arg(&program)
            .arg(&file)
            .status();
        assert!(built.unwrap().success(), "{name}");
        let output = Command::new(TOOL)
            .args(["check", "--"])
            .arg(&program)
            .env("LD_PRELOAD", library())
            .output()
            .unwrap();
        let out = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{name}: {out}");
        assert!(out.contains("contains Go code"), "{name}: {out}");
        assert!(
            out.contains("proclens run") && out.contains("proclens env"),
            "{name}: {out}"
        );
    }
}
