//! `proclens run` and `proclens export` in real containers: programs that no preload reaches see the container,
//! and no call fails or hangs when the server or the guard is killed.

#[macro_use]
mod support;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use support::{Container, MIB, Output, Plan, c_program, fetched, field, skipped};

/// The tool, with the library beside it, in a path that shell scripts need not quote.
static TOOL: LazyLock<String> = LazyLock::new(|| {
    let tool = Path::new(env!("CARGO_BIN_EXE_proclens"));
    support::plain(&tool.with_file_name("libproclens.so"));
    text(&support::plain(tool)).to_owned()
});

/// A container of 512 MiB and one CPU.
fn small() -> Container {
    Plan::new()
        .memory(512 * MIB)
        .quota(100_000, 100_000)
        .start()
}

fn busybox() -> Option<PathBuf> {
    // The arm64 VM has only this busybox, which is static.
    let installed = if cfg!(target_arch = "aarch64") {
        "/usr/bin/busybox"
    } else {
        "/nonexistent"
    };
    let found = fetched("busybox-static/bin/busybox", installed);
    if found.is_none() {
        skipped("no static busybox (tests/support/fetch)");
    }
    found
}

/// The static C program of tests/regressions, linked with glibc and with musl.
fn readers() -> Vec<PathBuf> {
    let options = ["-O1", "-static", "-pthread"];
    ["gcc", "musl-gcc"]
        .iter()
        .filter_map(|compiler| c_program("static_reader.c", compiler, &options))
        .collect()
}

fn reader() -> Option<PathBuf> {
    readers().into_iter().next()
}

/// Runs `script` by sh in the container; $tool is the tool.
fn shell(container: &Container, script: &str, more: &[(&str, &str)]) -> Output {
    let mut program = container
        .program(&["sh", "-c", script])
        .env("tool", TOOL.as_str());
    for (name, value) in more {
        program = program.env(name, value);
    }
    program.output()
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

/// The first word after `name`.
fn value<'t>(text: &'t str, name: &str) -> &'t str {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim()
}

#[test]
fn static_busybox_sees_the_container() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    let script = "exec $tool run -- $busybox sh -c 'free; nproc; uptime; cat /proc/loadavg; top -b -n 1 | head -4'";
    let seen = shell(&container, script, &[("busybox", text(&busybox))]).text();
    let free: Vec<_> = value(&seen, "Mem:").split_whitespace().collect();
    assert_eq!(free[0], "524288", "{seen}");
    assert!(seen.lines().any(|line| line == "1"), "nproc: {seen}");
    // NUMBERS 5: the uptime is PID 1's age.
    assert!(seen.contains("up 0 min"), "{seen}");
}

/// The same bytes as with the library in the same container, for files whose content does not change by itself.
#[test]
fn files_are_the_same_as_with_the_library() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    for file in [
        "/proc/cpuinfo",
        "/proc/swaps",
        "/sys/devices/system/cpu/online",
        "/sys/devices/system/cpu/possible",
        "/sys/devices/system/cpu/present",
    ] {
        let script = "exec $tool run -- $busybox cat $file";
        let more = [("busybox", text(&busybox)), ("file", file)];
        let run = shell(&container, script, &more).text();
        let preloaded = container.with(&format!("cat {file}"));
        let stable = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with("cpu MHz"));
            lines.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(stable(&run), stable(&preloaded), "{file}");
    }
    for file in [
        "/proc/meminfo",
        "/proc/stat",
        "/proc/vmstat",
        "/proc/diskstats",
    ] {
        let script = "exec $tool run -- $busybox cat $file";
        let more = [("busybox", text(&busybox)), ("file", file)];
        let run = shell(&container, script, &more).text();
        let preloaded = container.with(&format!("cat {file}"));
        let names = |text: &str| {
            let names = text.lines().map(|line| line.split_whitespace().next());
            names
                .map(|name| name.unwrap_or("").to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&run), names(&preloaded), "{file}");
    }
}

#[test]
fn static_c_programs_see_the_container_and_refresh() {
    needs_containers!();
    let container = small();
    for reader in readers() {
        let run = |what: &str| {
            let words = [TOOL.as_str(), "run", "--", text(&reader)];
            let words: Vec<_> = words.into_iter().chain(what.split(' ')).collect();
            container.program(&words).output().text()
        };
        let seen = run("see");
        assert_eq!(value(&seen, "totalram"), "524288", "{seen}");
        assert_eq!(value(&seen, "affinity"), "1", "{seen}");
        assert!(field(&seen, "uptime") < 600.0, "{seen}");

        // lseek(0) and pread(0) show the time of the read.
        let passes = run("refresh /proc/uptime");
        let at = |name| {
            value(&passes, name)
                .split(' ')
                .next()
                .unwrap()
                .parse::<f64>()
                .unwrap()
        };
        assert!(
            at("first") < at("sought") && at("sought") < at("at"),
            "{passes}"
        );
        assert!(at("at") < 600.0, "{passes}");

        let relative = run("relative");
        assert_eq!(
            relative.matches("MemTotal:         524288 kB").count(),
            2,
            "{relative}"
        );

        let own = run("self");
        let (pid, told) = own.trim().split_once(' ').unwrap();
        assert_eq!(pid, told, "/proc/self/stat is the caller's");

        // EMFILE is the kernel's own.
        assert_eq!(run("full"), "-1 24\n");

        // No open fails if the handler has SA_RESTART.
        assert_eq!(run("interrupted"), "failed 0\n");
    }
}

/// A mask that was reduced for a program is restored; no other mask is changed (NUMBERS section 2).
#[test]
fn reduced_masks_are_restored() {
    needs_containers!();
    let container = small();
    let unprivileged =
        "setpriv --reuid 1000 --regid 1000 --clear-groups --bounding-set -all --inh-caps -all";
    for compiler in ["gcc", "musl-gcc"] {
        for name in ["affinity.c", "affinity_of_others.c", "static_affinity.c"] {
            let Some(program) = c_program(name, compiler, &["-static"]) else {
                continue;
            };
            let more = [("program", text(&program))];
            for before in ["", unprivileged, "setarch -R"] {
                let seen = shell(
                    &container,
                    &format!("exec {before} $tool run -- $program"),
                    &more,
                );
                if seen.status == Some(77) {
                    return skipped(&format!("{name}: {}", seen.stderr));
                }
                assert_eq!(seen.status, Some(0), "{name} {compiler} {before}: {seen:?}");
            }
        }
    }
}

/// The same when the limits have changed in between.
#[test]
fn reduced_masks_are_restored_after_the_limits_changed() {
    needs_containers!();
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    let last = online.trim().rsplit([',', '-']).next().unwrap();
    let Some(program) = c_program("affinity_later.c", "gcc", &["-static"]) else {
        return;
    };
    let container = Plan::new()
        .memory(512 * MIB)
        .quota(100_000, 100_000)
        .cpuset(online.trim())
        .start();
    let words = [TOOL.as_str(), "run", "--", text(&program)];
    let mut talk = container.program(&words).start();
    let cpuset = container.directory("cpuset").join("cpuset.cpus");
    let set = |cpus: &str| std::fs::write(&cpuset, cpus);
    while let Some(line) = talk.line() {
        match line.as_str() {
            "one" => container.set_quota(100_000, 100_000),
            "two" => container.set_quota(200_000, 100_000),
            // The kernel may refuse it.
            "empty" => drop(set("\n")),
            "none" => container.set_quota(-1, 100_000),
            "last" => set(last).unwrap(),
            "all" => set(online.trim()).unwrap(),
            other => panic!("{other}"),
        }
        talk.send("");
    }
    let output = talk.end();
    if output.status == Some(77) {
        return skipped(&output.stderr);
    }
    assert_eq!(output.status, Some(0), "{}", output.stderr);
}

#[test]
fn a_go_program_restores_its_mask() {
    needs_containers!();
    let source = include_str!("regressions/static_affinity.go");
    let Some(program) = go_program("static-affinity-go", source, "/nonexistent") else {
        return;
    };
    let words = [TOOL.as_str(), "run", "--", text(&program)];
    let seen = small().program(&words).output();
    if seen.status == Some(77) {
        return skipped("one CPU only");
    }
    assert_eq!(seen.text(), "CPUs 1\nseen 1\nrestored true\npinned true\n");
}

#[test]
fn static_rust_sees_the_container() {
    needs_containers!();
    let container = small();
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let program = directory.join("static-rust");
    let source = directory.join("static-rust.rs");
    std::fs::write(
        &source,
        "use std::io::{Read, Seek};
         fn main() {
             let mut file = std::fs::File::open(\"/proc/uptime\").unwrap();
             let (mut first, mut again) = (String::new(), String::new());
             file.read_to_string(&mut first).unwrap();
             std::thread::sleep(std::time::Duration::from_millis(50));
             file.rewind().unwrap();
             file.read_to_string(&mut again).unwrap();
             println!(\"refreshed {}\", first != again);
             println!(\"cpus {}\", std::thread::available_parallelism().unwrap());
             print!(\"{}\", std::fs::read_to_string(\"/proc/meminfo\").unwrap());
         }",
    )
    .unwrap();
    let built = std::process::Command::new("rustc")
        .args(["-O", "-C", "target-feature=+crt-static", "-o"])
        .args([&program, &source])
        .output();
    if !built.is_ok_and(|output| output.status.success()) {
        return skipped("rustc makes no static program here");
    }
    let seen = container
        .program(&[TOOL.as_str(), "run", "--", text(&program)])
        .output()
        .text();
    assert_eq!(value(&seen, "refreshed"), "true");
    assert_eq!(value(&seen, "cpus"), "1");
    assert_eq!(value(&seen, "MemTotal:"), "524288 kB");
}

/// Builds a static Go program of tests/regressions, with the packages in `path`.
fn go_program(name: &str, source: &str, path: &str) -> Option<PathBuf> {
    let Some(go) = fetched("go/go/bin/go", "/usr/bin/go") else {
        skipped("no Go compiler (scripts/test run fetches one)");
        return None;
    };
    let directory = support::scratch().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    let (file, program) = (directory.join("main.go"), directory.join("program"));
    std::fs::write(&file, source).unwrap();
    let built = std::process::Command::new(go)
        .args(["build", "-o"])
        .args([&program, &file])
        .envs([
            ("CGO_ENABLED", "0"),
            ("GO111MODULE", "off"),
            ("GOPATH", path),
            ("HOME", text(&directory)),
        ])
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    Some(program)
}

#[test]
fn a_static_go_program_sees_the_container() {
    needs_containers!();
    let source = include_str!("regressions/static_reader.go");
    let Some(program) = go_program("static-go", source, "/nonexistent") else {
        return;
    };
    let container = small();
    let seen = container
        .program(&[TOOL.as_str(), "run", "--", text(&program)])
        .output()
        .text();
    assert_eq!(value(&seen, "totalram"), "524288");
    assert_eq!(value(&seen, "cpus"), "1");
    assert_eq!(value(&seen, "maxprocs"), "1");
    assert_eq!(value(&seen, "sought"), "true");
    assert_eq!(value(&seen, "at"), "true");
    assert_eq!(value(&seen, "MemTotal:"), "524288 kB");
}

/// Debian's node_exporter.
fn node_exporter() -> Option<PathBuf> {
    let agent = fetched(
        "prometheus-node-exporter/usr/bin/prometheus-node-exporter",
        "/usr/bin/prometheus-node-exporter",
    );
    if agent.is_none() {
        skipped("no prometheus-node-exporter (tests/support/fetch)");
    }
    agent
}

/// A program with gopsutil, which Telegraf and the OpenTelemetry collector use. The tests share one build.
fn gopsutil() -> Option<PathBuf> {
    static PROGRAM: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let path = fetched("gopsutil/usr/share/gocode", "/usr/share/gocode")?;
        let source = include_str!("regressions/gopsutil.go");
        go_program("gopsutil", source, text(&path))
    });
    if PROGRAM.is_none() {
        skipped("no program with gopsutil (scripts/test run fetches gopsutil and Go)");
    }
    PROGRAM.clone()
}

/// A Python program that prints the metrics of the node_exporter on the port that its argument names.
const SCRAPE: &str = "
import sys, time, urllib.request
for attempt in range(100):
    try:
        text = urllib.request.urlopen('http://127.0.0.1:' + sys.argv[1] + '/metrics').read().decode()
        break
    except OSError:
        time.sleep(0.2)
print('\\n'.join(line for line in text.split('\\n') if line.startswith('node_')))";

/// gopsutil by `run` and by `export` with HOST_PROC.
#[test]
fn gopsutil_sees_the_container() {
    needs_containers!();
    let Some(program) = gopsutil() else {
        return;
    };
    let container = small();
    let more = [("program", text(&program))];
    let seen = shell(&container, "exec $tool run -- $program", &more).text();
    assert_eq!(value(&seen, "total"), "524288");
    assert_eq!(value(&seen, "cpus"), "1");
    assert!(field(&seen, "uptime") < 600.0, "{seen}");
    let script = "
        d=$(mktemp -d)/export
        $tool export $d & export=$!
        i=0; while ! [ -e $d/sys/devices/system/cpu/online ] && [ $((i += 1)) != 200 ]; do sleep 0.1; done
        eval \"$($tool env --export $d)\"; $program; echo $HOST_PROC $d/proc
        kill $export; wait $export; rmdir ${d%/*}";
    let seen = shell(&container, script, &more).text();
    assert_eq!(value(&seen, "total"), "524288");
    assert_eq!(value(&seen, "cpus"), "1");
    let mut places = seen.lines().last().unwrap().split(' ');
    assert_eq!(places.next(), places.next(), "{seen}");
}

/// The scripts of examples/agents, unchanged, in a root directory with the paths of their images: Debian's
/// node_exporter, and a program with gopsutil in the place of Telegraf.
#[test]
fn the_agent_examples_start_as_written() {
    needs_containers!();
    let (Some(agent), Some(gopsutil)) = (node_exporter(), gopsutil()) else {
        return;
    };
    let container = small();
    let setup = "
        mount -t tmpfs root /mnt && cd /mnt || exit
        mkdir usr etc proc sys dev bin tmp run run/container
        for d in usr etc proc sys dev; do mount --rbind /$d $d; done
        mount -t tmpfs -o mode=1777 container run/container
        ln -s usr/lib lib; ln -s usr/lib64 lib64; ln -s /usr/bin/sh bin/sh
        cp $tool proclens; cp $agent bin/node_exporter; cp $gopsutil bin/telegraf
        python3 -c 'import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack(\"16sh\", b\"lo\", 1))'
        PATH=/usr/bin:/bin /usr/sbin/chroot . /bin/sh -c \"$example\" & started=$!
        eval \"$then\"; wait $started
        i=0; while [ -e run/container/fs ] && [ $((i += 1)) != 100 ]; do sleep 0.1; done
        ls run/container";
    let start = |name: &str, then: &str| {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/agents");
        let example = std::fs::read_to_string(example.join(name)).unwrap();
        let (_, script) = example.split_once("      - |\n").unwrap();
        let mut program = container
            .program(&["unshare", "-m", "-n", "sh", "-c", setup])
            .env("tool", TOOL.as_str())
            .env("agent", text(&agent))
            .env("gopsutil", text(&gopsutil))
            .env("example", script)
            .env("scrape", SCRAPE)
            .env("then", then);
        for line in example.lines() {
            if let Some((name, value)) = line.trim().split_once(": ")
                && name.starts_with("HOST_")
            {
                program = program.env(name, value);
            }
        }
        program.output().stdout
    };
    let metrics = start(
        "node_exporter.yaml",
        "python3 -c \"$scrape\" 9100; kill $started",
    );
    assert_eq!(
        value(&metrics, "node_memory_MemTotal_bytes "),
        "5.36870912e+08"
    );
    assert!(metrics.contains("node_cpu_seconds_total{cpu=\"0\""));
    assert!(!metrics.contains("node_cpu_seconds_total{cpu=\"1\""));
    assert!(
        !metrics.ends_with("\nfs\n"),
        "the export outlived the agent"
    );
    let seen = start("telegraf.yaml", ":");
    assert_eq!(value(&seen, "total"), "524288");
    assert_eq!(value(&seen, "cpus"), "1");
}

/// A Go program with C libraries, from Debian, that is no agent.
#[test]
fn podman_sees_the_container() {
    needs_containers!();
    let Some(podman) = fetched("podman/usr/bin/podman", "/usr/bin/podman") else {
        return skipped("no podman (the scenarios install it)");
    };
    let container = small();
    let script = "
        d=$(mktemp -d)
        $tool run -- $podman --root $d/root --runroot $d/run --tmpdir $d/tmp --storage-driver vfs --cgroup-manager cgroupfs \
          --events-backend none info --format 'total {{.Host.MemTotal}}{{\"\\n\"}}cpus {{.Host.CPUs}}'
        rm -rf $d";
    let seen = shell(&container, script, &[("podman", text(&podman))]);
    assert_eq!(value(&seen.stdout, "total"), "536870912", "{seen:?}");
    assert_eq!(value(&seen.stdout, "cpus"), "1", "{seen:?}");
}

/// The keys of a terminal: ^C reaches the program once, and ^Z stops the job.
#[test]
fn keys_of_a_terminal() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    let script = r#"
import os, pty, select, signal, subprocess, sys, time
tool, busybox = os.environ["tool"], os.environ["busybox"]
pid, tty = pty.fork()
if pid == 0:
    # A test run in the background of a script ignores SIGINT, and so would every program below it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp("bash", ["bash", "--norc", "-i"])
seen = b""
def until(word):
    global seen
    end = time.time() + 30
    while word not in seen:
        if time.time() > end:
            look = "ps -eo pid,ppid,pgid,tpgid,stat,wchan:20,args; grep -E '^(Sig|Shd|Seccomp)' /proc/[0-9]*/status"
            sys.exit(f"no {word}: {seen}\n{subprocess.run(look, shell=True, capture_output=True, text=True).stdout}")
        if select.select([tty], [], [], 1)[0]: seen += os.read(tty, 4096)
def say(text): os.write(tty, text)
# The terminal shows the typed line too, so that no word stands in it as the program says it.
script = "trap 'echo g''ot; exit 5' INT; trap 'echo ba''ck' CONT; echo rea''dy; while :; do sleep 0.1; done"
say(f'{tool} run -- {busybox} sh -c "{script}"\n'.encode())
until(b"ready\r\n")
say(b"\x1a")
until(b"Stopped")
say(b"fg\n")
# The shell gives the terminal to the job before it continues the job.
until(b"back\r\n")
# As long as a person takes: the shell and the guard have seen the job continue.
time.sleep(0.5)
say(b"\x03")
until(b"got\r\n")
say(b"echo sta''tus $?\n")
until(b"status 5")
time.sleep(0.3)
print("got", seen.count(b"got\r\n"))
"#;
    let words = ["python3", "-c", script];
    let program = container.program(&words).env("tool", TOOL.as_str());
    let seen = program.env("busybox", text(&busybox)).output();
    assert_eq!(
        seen.stdout,
        "got 1
",
        "{seen:?}"
    );
}

/// Under tini, and below a shell that is PID 1.
#[test]
fn it_works_under_tini() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    let script = "
        unshare --fork --pid --mount-proc --kill-child tini -- $tool run -- $busybox sh -c 'head -n 1 /proc/meminfo; exit 6'; echo $?
        d=$(mktemp -d)
        unshare --fork --pid --mount-proc --kill-child tini -- $tool run -- $busybox sh -c 'trap \"exit 3\" TERM; echo >'$d'/ready; while :; do sleep 0.05; done' & outer=$!
        while ! [ -e $d/ready ]; do sleep 0.05; done; rm -r $d
        kill $(cat /proc/$outer/task/$outer/children); wait $outer; echo $?";
    let seen = shell(&container, script, &[("busybox", text(&busybox))]).text();
    assert_eq!(seen, "MemTotal:         524288 kB\n6\n3\n");
}

/// The metrics of a real agent, by `run` and by `export`.
#[test]
fn node_exporter_shows_the_container() {
    needs_containers!();
    let Some(agent) = node_exporter() else {
        return;
    };
    let container = small();
    let script = "
        $start --web.listen-address=127.0.0.1:$port >/dev/null 2>&1 & agent=$!
        python3 -c \"$scrape\" $port
        kill $agent; wait $agent; exit 0";
    let run = format!("{} run -- {}", *TOOL, text(&agent));
    let export = format!(
        "d=$(mktemp -u /run/export-XXXXXX); {} export $d --every 100ms & export=$!; trap 'kill $export' EXIT
         while ! [ -e $d/sys/devices/system/cpu/online ]; do sleep 0.1; done
         {} --path.procfs=$d/proc --path.sysfs=$d/sys",
        *TOOL,
        text(&agent)
    );
    let host = boot_time();
    for (start, port) in [(run, "19100"), (export, "19101")] {
        let script = script.replace("$start", &start).replace("$port", port);
        let metrics = shell(&container, &script, &[("scrape", SCRAPE)]).stdout;
        let number = |name: &str| value(&metrics, name).parse::<f64>().unwrap();
        assert_eq!(
            number("node_memory_MemTotal_bytes "),
            536_870_912.0,
            "{start}"
        );
        assert!(
            metrics.contains("node_cpu_seconds_total{cpu=\"0\""),
            "{start}"
        );
        assert!(
            !metrics.contains("node_cpu_seconds_total{cpu=\"1\""),
            "{start}"
        );
        assert!(number("node_boot_time_seconds ") > host, "{start}");
        assert!(number("node_load1 ") < 5.0, "{start}");
    }
}

fn boot_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    field(&stat, "btime")
}

/// The server dies between its wait for the program and its report.
#[test]
fn a_status_is_not_lost_with_the_server() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    if support::program("strace").is_none() {
        return skipped("no strace here");
    }
    let container = small();
    // The server sleeps when it has waited.
    let script = "
        d=$(mktemp -d)
        timeout -s KILL 20 strace -f -qq -o /dev/null -e trace=wait4 -e inject=wait4:delay_exit=3000000 \
          $tool run -- $busybox sh -c 'echo $PPID >$0/server; exit 7' $d >/dev/null 2>&1 & run=$!
        until [ -s $d/server ]; do sleep 0.05; done
        sleep 1; kill -9 $(cat $d/server)
        wait $run; echo \"status $?\"; rm -r $d";
    let seen = shell(&container, script, &[("busybox", text(&busybox))]);
    assert!(seen.stdout.contains("status 7\n"), "{seen:?}");
}

/// Each system call that `run` makes fails in all of its processes. The program runs once and to its end in any case,
/// and `run` returns its status.
#[test]
fn failing_system_calls_change_no_status() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    if support::program("strace").is_none() {
        return skipped("no strace here");
    }
    let container = small();
    let script = "
        for call in clone socketpair munmap sendmsg seccomp waitid wait4 signalfd4 prctl rt_sigaction \
            rt_sigprocmask close_range lseek statx fstatfs futex uname process_vm_readv; do
          for error in EPERM ENOMEM; do
            ran=$(timeout -s KILL 20 strace -f -qq -o /dev/null -e trace=$call -e inject=$call:error=$error \
              $tool run --notify -- $busybox sh -c 'read line </proc/meminfo; echo ran; exit 7' 2>/dev/null)
            echo $? $ran $call $error
          done
        done";
    let seen = shell(&container, script, &[("busybox", text(&busybox))]);
    let lines: Vec<_> = seen.stdout.lines().collect();
    assert_eq!(lines.len(), 36, "{seen:?}");
    for line in lines {
        let [status, ran, call, _] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}: {}", seen.stdout);
        };
        assert_eq!((status, ran), ("7", "ran"), "{call}: {}", seen.stdout);
    }
}

/// The kernel refuses to pass the listener, because too many descriptors of the user are on their way. The program runs
/// once, without `run`.
#[test]
fn a_listener_that_cannot_be_passed_is_not_used() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    let script = "setpriv --reuid 4322 --regid 4322 --clear-groups --inh-caps -all --bounding-set -all \
        prlimit --nofile=200 python3 -c '
import array, os, socket, sys
null, pairs = os.open(\"/dev/null\", os.O_RDONLY), []
try:
    while len(pairs) < 40:
        pairs.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
        pairs[-1][0].sendmsg([b\"x\"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array(\"i\", [null] * 25))])
except OSError:
    pass
sys.exit(os.spawnv(os.P_WAIT, sys.argv[1], sys.argv[1:]))
' $tool run --notify -- $busybox sh -c 'echo ran; head -n 1 /proc/meminfo >/dev/null && echo read; exit 7'; echo $?";
    let seen = shell(&container, script, &[("busybox", text(&busybox))]);
    assert_eq!(seen.stdout, "ran\nread\n7\n", "{seen:?}");
    assert_eq!(
        seen.stderr.matches("the server cannot be started").count(),
        1,
        "{seen:?}"
    );
}

/// When a process stops, continues or kills the program, the guard stops, continues or ends too.
#[test]
fn the_guard_stops_and_continues_with_the_program() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    let script = "d=$(mktemp -d)
        begin() {
            rm -f $d/pid; timeout -s KILL 20 $tool run -- $busybox sh -c 'echo $$ >$0; exec sleep 2' $d/pid & run=$!
            until [ -s $d/pid ]; do sleep 0.05; done; program=$(cat $d/pid)
        }
        begin; kill -STOP $program; kill -CONT $program; wait $run; echo $?
        begin; kill -STOP $program; sleep 0.3; kill -9 $program; wait $run; echo $?
        begin; for i in 1 2 3 4 5; do kill -STOP $program; sleep 0.0$i; kill -CONT $program; done; wait $run; echo $?
        rm -r $d";
    let seen = shell(&container, script, &[("busybox", text(&busybox))]);
    assert_eq!(seen.stdout, "0\n137\n0\n", "{seen:?}");
}

/// What belongs to the process that became `proclens run` reaches the program: a timer, the value of a signal, and
/// variables that name the process.
#[test]
fn the_program_inherits_what_belongs_to_its_process() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    let more = [("busybox", text(&busybox))];
    let script = "python3 -c '
import os, signal, sys
signal.alarm(1)
os.execv(sys.argv[1], sys.argv[1:])' $tool run -- $busybox sleep 5; echo $?
        LISTEN_PID=$$ WATCHDOG_PID=1234567 \
            exec $tool run --notify -- $busybox sh -c '[ $LISTEN_PID = $$ ] && echo same; echo $WATCHDOG_PID'";
    let seen = shell(&container, script, &more);
    assert_eq!(seen.stdout, "142\nsame\n1234567\n", "{seen:?}");
    if support::program("strace").is_none() {
        return skipped("no strace here");
    }
    let script = "d=$(mktemp -d)
        strace -f -qq -e trace=none -e signal=usr1 -o $d/trace $tool run -- $busybox sh -c \
            'trap \"exit 3\" USR1; echo $PPID >$0; while :; do sleep 0.05; done' $d/ready & run=$!
        until [ -s $d/ready ]; do sleep 0.05; done
        guard=$(awk '/^PPid:/ { print $2 }' /proc/$(cat $d/ready)/status)
        /bin/kill -q 77 -s USR1 $guard; wait $run; echo $?
        grep -o 'si_code=SI_QUEUE.*si_int=77' $d/trace | wc -l; rm -r $d";
    let seen = shell(&container, script, &more);
    assert_eq!(seen.stdout, "3\n1\n", "{seen:?}");
}

/// With RESOLVE_IN_ROOT an absolute path starts at the directory of the call.
#[test]
fn a_path_in_another_root_is_another_file() {
    needs_containers!();
    let container = small();
    let script = "d=$(mktemp -d); mkdir $d/proc; echo inner >$d/proc/meminfo
        $tool run --notify -- python3 -c '
import ctypes, os, struct, sys
directory = os.open(sys.argv[1], os.O_PATH)
how = struct.pack(\"QQQ\", 0, 0, 0x10)
file = ctypes.CDLL(None).syscall(437, directory, b\"/proc/meminfo\", how, 24)
print(os.read(file, 100).decode().split(\"\\n\")[0])' $d; rm -r $d";
    let seen = shell(&container, script, &[]);
    assert_eq!(seen.stdout, "inner\n", "{seen:?}");
}

/// Whenever the server dies, no call fails and none hangs.
#[test]
fn a_killed_server_leaves_no_call_waiting() {
    needs_containers!();
    let Some(reader) = reader() else { return };
    let container = small();
    // The guard is the shell's child, the server the guard's. A hang ends by `timeout`, with 124.
    let script = "
        i=0; d=$(mktemp -d); while [ $i -lt 60 ]; do
          timeout -k 1 20 $tool run -- $reader load 80 >$d/out 2>$d/err & time=$!
          sleep 0.0$((i % 10))$((i % 7))
          guard=$(cat /proc/$time/task/$time/children)
          server=$(cat /proc/$(echo $guard)/task/$(echo $guard)/children 2>/dev/null)
          [ -z \"$server\" ] || kill -9 $server
          wait $time || { echo \"round $i: $?: $(cat $d/out $d/err)\"; exit 1; }
          i=$((i + 1))
        done
        grep -c 'has ended' $d/err; rm -r $d";
    let done = shell(&container, script, &[("reader", text(&reader))]);
    assert_eq!(done.status, Some(0), "{done:?}");
}

/// The kernel kills the server because its memory is at its limit.
#[test]
fn a_server_out_of_memory_leaves_no_call_waiting() {
    needs_containers!();
    let Some(reader) = reader() else { return };
    let container = small();
    let own = container.directory("memory");
    let words = [TOOL.as_str(), "run", "--", text(&reader), "load", "3000"];
    let talk = container.program(&words).start();
    let name_of = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm"));
    let is_tool = |pid: &str| name_of(pid).is_ok_and(|name| name == "proclens\n");
    let servers_id = || {
        let all = std::fs::read_to_string(own.join("cgroup.procs")).unwrap();
        let mut tools = all.lines().filter(|pid| is_tool(pid));
        let server = tools.find(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
            status.is_ok_and(|status| is_tool(value(&status, "PPid:")))
        });
        let started = all
            .lines()
            .any(|pid| name_of(pid).is_ok_and(|name| name.starts_with("static_reader")));
        server.filter(|_| started).map(str::to_owned)
    };
    let pause = || std::thread::sleep(std::time::Duration::from_millis(50));
    let server = (0..200).find_map(|_| {
        servers_id().or_else(|| {
            pause();
            None
        })
    });
    let group = own.with_file_name(format!("run-{}", std::process::id()));
    std::fs::create_dir(&group).unwrap();
    let set = |file: &str, text: &str| std::fs::write(group.join(file), text).unwrap();
    // Set the limit first: the kernel refuses a limit below the server's usage.
    set(
        if container.v2() {
            "memory.max"
        } else {
            "memory.limit_in_bytes"
        },
        "4096",
    );
    set("cgroup.procs", &server.expect("a server"));
    let done = talk.end();
    while std::fs::remove_dir(&group)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::ResourceBusy)
    {
        pause();
    }
    assert_eq!(done.status, Some(0), "{done:?}");
    assert!(done.stdout.contains("failures 0"), "{done:?}");
    assert!(done.stderr.contains("has ended"), "{done:?}");
}

/// Yama lets a program's ancestors read its memory (1), or only administrators (2). In the second case the
/// program sees the host.
#[test]
#[ignore = "changes the machine's Yama scope: in_the_vm runs it"]
fn yama_scopes() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    let scope = "/proc/sys/kernel/yama/ptrace_scope";
    let Ok(before) = std::fs::read_to_string(scope) else {
        return skipped("no Yama here");
    };
    let user =
        "setpriv --reuid 1000 --regid 1000 --clear-groups --bounding-set -all --inh-caps -all";
    // The second line is from an orphan.
    let script = format!(
        "exec {user} $tool run -- $busybox sh -c 'head -n 1 /proc/meminfo; (sh -c \"sleep 0.5; head -n 1 /proc/meminfo\" &); sleep 2'"
    );
    let seen = ["0", "1", "2"].map(|value| {
        std::fs::write(scope, value).unwrap();
        shell(&container, &script, &[("busybox", text(&busybox))])
    });
    std::fs::write(scope, before).unwrap();
    let own = "MemTotal:         524288 kB\n";
    for (scope, output) in seen.iter().enumerate() {
        assert_eq!(
            (output.status, output.stderr.as_str()),
            (Some(0), ""),
            "{scope}: {output:?}"
        );
        let containers = output.stdout.matches(own).count();
        assert_eq!(output.stdout.lines().count(), 2, "{scope}: {output:?}");
        assert_eq!(
            containers,
            if scope == 2 { 0 } else { 2 },
            "{scope}: {output:?}"
        );
    }
}

#[test]
#[ignore = "boots the VM: scripts/test v2 runs it"]
fn in_the_vm() {
    let machine = ["--cpus", "2", "--timeout", "900"];
    let names = ["--ignored", "--exact", "yama_scopes"];
    let (status, printed) = support::this_program_in_the_vm(&machine, &names);
    print!("{printed}");
    assert!(status.success(), "{printed}");
    assert!(printed.contains("1 passed; 0 failed"), "{printed}");
    assert!(!printed.contains("skipped: "), "{printed}");
}

#[test]
fn a_killed_guard_leaves_the_program_as_it_is() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    let script = "
        d=$(mktemp -d)
        $tool run -- $busybox sh -c 'echo >'$d'/ready; sleep 1; head -n 1 /proc/meminfo >'$d/seen & guard=$!
        i=0; until [ -e $d/ready ] || [ $((i += 1)) = 200 ]; do sleep 0.1; done
        kill -9 $guard
        i=0; until [ -s $d/seen ] || [ $((i += 1)) = 200 ]; do sleep 0.1; done
        cat $d/seen; rm -r $d";
    let seen = shell(&container, script, &[("busybox", text(&busybox))]);
    assert_eq!(value(&seen.stdout, "MemTotal:"), "524288 kB", "{seen:?}");
}

#[test]
fn exit_statuses_and_signals_are_the_programs() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    let more = [("busybox", text(&busybox))];
    for (command, status) in [
        ("$busybox true", 0),
        ("$busybox sh -c 'exit 7'", 7),
        ("$busybox sh -c 'kill -9 $$'", 137),
        ("$busybox sh -c 'kill -15 $$'", 143),
        ("/nonexistent", 127),
        ("nonexistent", 127),
        ("/etc/passwd", 126),
        ("/etc", 126),
        ("sh -c 'exit 9'", 9),
    ] {
        let done = shell(&container, &format!("$tool run -- {command}"), &more);
        assert_eq!(done.status, Some(status), "{command}: {done:?}");
    }
    // A signal to the guard reaches the program.
    let script = "d=$(mktemp -d)
        $tool run -- $busybox sh -c 'trap \"echo got; exit 3\" TERM; echo ready >'$d'/ready; while :; do sleep 0.05; done' & guard=$!
        while ! [ -e $d/ready ]; do sleep 0.05; done; rm -r $d
        kill $guard; wait $guard; echo $?";
    let done = shell(&container, script, &more);
    assert_eq!(done.stdout, "got\n3\n", "{done:?}");
    // A stopped program stops its guard, as a shell's job.
    let script = "$tool run -- $busybox sh -c 'kill -STOP $$; exit 4' & guard=$!
        while ! grep -q '^State:.T' /proc/$guard/status; do sleep 0.05; done
        kill -CONT $guard; wait $guard; echo $?";
    let done = shell(&container, script, &more);
    assert_eq!(done.stdout, "4\n", "{done:?}");
    // Signals that the caller ignores or blocks stay so.
    let show = "$busybox grep -E 'SigIgn|SigBlk' /proc/self/status";
    let ignoring = "exec env --ignore-signal=CHLD --ignore-signal=PIPE";
    let native = shell(&container, &format!("{ignoring} {show}"), &more);
    assert!(native.stdout.contains("SigIgn:\t"), "{native:?}");
    let done = shell(
        &container,
        &format!("{ignoring} $tool run -- {show}"),
        &more,
    );
    assert_eq!(done.stdout, native.stdout, "{done:?}");
}

/// A daemon that outlives the program is served, and keeps no pipe of the caller open.
#[test]
fn a_daemon_that_outlives_the_program_is_served() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    let script = "
        d=$(mktemp -d)
        $tool run -- $busybox sh -c '(sleep 2; head -n 1 /proc/meminfo >'$d'/seen) >/dev/null 2>&1 </dev/null & exit 5' | cat
        [ -e $d/seen ] && echo waited
        i=0; until [ -s $d/seen ] || [ $((i += 1)) = 200 ]; do sleep 0.1; done
        cat $d/seen; rm -r $d
        i=0; while ps ax | grep -q '[p]roclens run' && [ $((i += 1)) != 200 ]; do sleep 0.1; done
        ps ax | grep '[p]roclens run' && exit 1 || exit 0";
    let seen = shell(&container, script, &[("busybox", text(&busybox))]).text();
    assert_eq!(seen, "MemTotal:         524288 kB\n");
}

/// As a container's PID 1, `run` reaps processes, forwards signals and ends with the program.
#[test]
fn run_works_as_pid_1() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    let script = "
        unshare --fork --pid --mount-proc --kill-child $tool run -- $busybox sh -c '
          (sleep 0.2 &) ; sleep 0.6
          echo pid1 $(cat /proc/1/comm); echo zombies $(ps | grep -c [Z]ombie)
          head -n 1 /proc/meminfo; exit 6'
        echo $?
        d=$(mktemp -d)
        unshare --fork --pid --mount-proc $tool run -- $busybox sh -c 'trap \"exit 3\" TERM; echo ready >'$d'/ready; while :; do sleep 0.05; done' & outer=$!
        while ! [ -e $d/ready ]; do sleep 0.05; done; rm -r $d
        kill $(cat /proc/$outer/task/$outer/children); wait $outer; echo $?";
    let seen = shell(&container, script, &[("busybox", text(&busybox))]).text();
    assert_eq!(
        seen,
        "pid1 proclens\nzombies 0\nMemTotal:         524288 kB\n6\n3\n"
    );
}

/// As PID 1 of a Docker container, and in it by `docker exec`.
#[test]
fn run_works_in_docker() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let tool = PathBuf::from(env!("CARGO_BIN_EXE_proclens"))
        .with_file_name("static")
        .join("proclens");
    if !tool.exists() {
        return skipped("there is no static tool (scripts/build makes one)");
    }
    let done = std::process::Command::new("tests/support/run_in_docker")
        .args([&tool, &busybox])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    if done.status.code() == Some(77) {
        return skipped(&format!(
            "no Docker: {}",
            String::from_utf8_lossy(&done.stderr)
        ));
    }
    let total = "MemTotal:         524288 kB\n";
    let of_one = format!("{total}{total}1\nexec 6\nstop 3\n");
    let seen = String::from_utf8_lossy(&done.stdout);
    assert_eq!(seen, of_one.repeat(2), "{done:?}");
}

/// NUMBERS section 2: the directories of CPUs are the kernel's own, also when a static program lists them.
#[test]
fn a_listing_of_cpus_is_the_kernels() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    let list = "$busybox ls /sys/devices/system/cpu";
    let more = [("busybox", text(&busybox))];
    let native = shell(&container, list, &more).text();
    assert!(native.contains("cpu0\n"), "{native}");
    assert_eq!(
        shell(&container, &format!("exec $tool run -- {list}"), &more).text(),
        native
    );
}

/// Without any privilege, as Kubernetes' restricted profile requires.
#[test]
fn run_needs_no_privilege() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let Some(reader) = reader() else { return };
    let container = small();
    let unprivileged =
        "setpriv --reuid 1000 --regid 1000 --clear-groups --bounding-set -all --inh-caps -all";
    let script = format!(
        "{unprivileged} --no-new-privs $tool run -- $busybox sh -c 'id -u; nproc; head -n 1 /proc/meminfo'
         {unprivileged} $tool run -- $busybox sh -c 'head -n 1 /proc/meminfo'
         d=$(mktemp -d); chmod 755 $d; cp $reader $d/unreadable; chmod 111 $d/unreadable
         {unprivileged} $tool run -- $d/unreadable; echo $?; rm -r $d"
    );
    let more = [("busybox", text(&busybox)), ("reader", text(&reader))];
    let seen = shell(&container, &script, &more).text();
    let mut lines = seen.lines();
    let expected = [
        "1000",
        "1",
        "MemTotal:         524288 kB",
        "MemTotal:         524288 kB",
    ];
    assert!(
        expected.iter().all(|line| lines.next() == Some(line)),
        "{seen}"
    );
    // If the server cannot read the program's memory, the program gets the host's number.
    assert_ne!(value(&seen, "totalram"), "524288", "{seen}");
    assert!(seen.ends_with("0\n"), "{seen}");
}

/// A program with fewer rights than the server opens what it can open without the server, and reads no more of
/// another user's task. Only the start time of a task differs from the kernel's, as in the library.
#[test]
fn the_rights_of_a_program_stay_its_own() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let Some(reader) = reader() else { return };
    let container = small();
    let script = "d=$(mktemp -d); chmod 755 $d; mkdir -m 700 $d/private
        ln -s /proc/meminfo $d/meminfo; ln -s /proc/meminfo $d/private/meminfo
        mkdir -p $d/root/proc; cp $busybox $d/root/busybox; mount --bind /proc $d/root/proc
        sleep 60 & other=$!
        # Its root directory is closed after the program started.
        closed() {
            chmod 755 $d/root
            { sleep 0.3; chmod 700 $d/root; echo; } | $how chroot --userspec 65534:65534 $d/root /busybox sh -c \
                'read; read line </proc/meminfo || exit; echo open: $line' 2>&1
        }
        as() { $how setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps -all \"$@\"; }
        limited() { $how setpriv --inh-caps -all --bounding-set -all \"$@\"; }
        in_group() { $how setpriv --reuid 65534 --regid 1234 --groups 7,8 --inh-caps -all \"$@\"; }
        see() {
            closed
            for who in as limited in_group; do
                $who $reader try /proc/meminfo /proc/stat $d/meminfo $d/private/meminfo /proc/$other/stat
                $who $busybox cut -d ' ' -f 1-21,23- /proc/$other/stat
                $who $busybox cut -d ' ' -f 26-30 /proc/self/stat | $busybox sed 's/[0-9][0-9]*/N/g'
            done
        }
        how=; see; echo; how=\"$tool run --notify --\"; see; echo
        mount -o remount,hidepid=2 /proc; how=; see 2>&1; echo; how=\"$tool run --notify --\"; see 2>&1; echo
        as $busybox head -n 1 /proc/meminfo; as $reader refresh /proc/self/stat | grep -o '(static' | wc -l
        $how sh -c \"for i in 1 2 3 4 5 6 7 8; do
            setpriv --reuid 65534 --clear-groups $reader try /proc/meminfo; $busybox head -n 1 $d/private/meminfo
        done\" | grep -c ' 524288 kB'; kill $other; umount $d/root/proc; rm -r $d";
    let more = [("busybox", text(&busybox)), ("reader", text(&reader))];
    let seen = shell(&container, script, &more).text();
    let parts: Vec<_> = seen.split("\n\n").collect();
    let [native, run, native_hidden, run_hidden, rest] = parts[..] else {
        panic!("{seen}");
    };
    // Only the user of the task sees its addresses.
    assert!(native.contains(" 1 1 0 0 0 "), "{native}");
    let closed = "can't open /proc/meminfo: Permission denied";
    assert!(native.contains(closed), "{native}");
    assert_eq!(run, native);
    assert_eq!(run_hidden, native_hidden);
    assert_ne!(native, native_hidden);
    // The server has its own rights back for the next program.
    assert_eq!(rest, "MemTotal:         524288 kB\n3\n8\n");
}

/// A file whose name contains that of the memory files is read as without the server.
#[test]
fn a_fifo_with_a_memory_files_name_does_not_block() {
    needs_containers!();
    let Some(reader) = reader() else { return };
    let container = small();
    let script = "d=$(mktemp -d); $reader fifo $d/proclens:a; timeout 20 $tool run --notify -- $reader fifo $d/proclens:b; echo $?; rm -r $d";
    let seen = shell(&container, script, &[("reader", text(&reader))]).text();
    assert_eq!(seen, "-1 29\n-1 29\n0\n");
}

/// If the server cannot be started, the program runs all the same, with one line on stderr.
#[test]
fn without_a_server_the_program_sees_the_host() {
    needs_containers!();
    let Some(reader) = reader() else { return };
    let container = small();
    let script = "exec prlimit --nproc=1 setpriv --reuid 4711 --regid 4711 --clear-groups $tool run -- $reader";
    let seen = shell(&container, script, &[("reader", text(&reader))]);
    assert_eq!(seen.status, Some(0), "{seen:?}");
    assert_ne!(value(&seen.stdout, "totalram"), "524288");
    assert_eq!(seen.stderr.lines().count(), 1, "{seen:?}");
    assert!(seen.stderr.contains("sees the host's numbers"), "{seen:?}");
}

#[test]
fn a_dynamic_program_is_preloaded_and_nothing_else() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    let script = "
        d=$(mktemp -d); cp $library $tool $d; here=$(sed -n 's/^Seccomp:.//p' /proc/self/status)
        exec $d/proclens run -- sh -c '
          [ $$ = '$$' ] && echo same process
          [ $(sed -n s/^Seccomp:.//p /proc/self/status) = '$here' ] && echo no filter
          echo ${LD_PRELOAD#'$d'}; head -n 1 /proc/meminfo; rm -r '$d";
    let library = support::library();
    let seen = shell(&container, script, &[("library", text(&library))]).text();
    assert_eq!(
        seen,
        "same process\nno filter\n/libproclens.so\nMemTotal:         524288 kB\n"
    );

    // A preload that only resembles the library does not take its place. An error is one line.
    let script = "
        d=$(mktemp -d); cp $library $d/libproclens.so.old
        for other in $d/libproclens.so.old $d/libproclens.so; do
          LD_PRELOAD=$other $tool run -- sh -c 'echo ${LD_PRELOAD%%:*}' 2>/dev/null
        done; rm -r $d; $tool run -- 'x\ny' 2>&1 || echo $?";
    let seen = shell(&container, script, &[("library", text(&library))]).text();
    let own = Path::new(TOOL.as_str()).with_file_name("libproclens.so");
    let own = own.canonicalize().unwrap();
    let own = own.display();
    assert_eq!(
        seen,
        format!("{own}\n{own}\nproclens: x y: no such program\n127\n")
    );

    // With --notify it gets a filter: a static child sees the container too.
    let script = "exec $tool run --notify -- sh -c 'head -n 1 /proc/meminfo; $busybox head -n 1 /proc/meminfo'";
    let seen = shell(&container, script, &[("busybox", text(&busybox))]).text();
    assert_eq!(seen.matches("524288 kB").count(), 2, "{seen}");
}

/// A `run` below another one: the outer one serves. The tool's own opens reach the host's files.
#[test]
fn nested_runs_and_the_tool_below_run() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    let script = "exec $tool run -- $tool run -- $busybox sh -c 'head -n 1 /proc/meminfo; grep Seccomp_filters /proc/self/status'";
    let more = [("busybox", text(&busybox))];
    let outer = std::fs::read_to_string("/proc/self/status").unwrap();
    let filters = field(&outer, "Seccomp_filters:") + 1.0;
    let seen = shell(&container, script, &more).text();
    assert_eq!(value(&seen, "MemTotal:"), "524288 kB");
    assert_eq!(field(&seen, "Seccomp_filters:"), filters, "{seen}");

    // The outer run may leave some of the files to the kernel.
    let of_host = script.replace("exec $tool", "export PROCLENS_TIME=host; exec $tool");
    let seen = shell(&container, &of_host, &more);
    assert_eq!(seen.stderr, "", "{seen:?}");
    assert_eq!(field(&seen.text(), "Seccomp_filters:"), filters);

    let inside = shell(
        &container,
        "exec $tool run --notify -- $tool show cpus",
        &more,
    )
    .text();
    let outside = shell(&container, "exec $tool show cpus", &more).text();
    assert_eq!(inside, outside);
    // Also with the library, which reads the host's files in the same way.
    let library = support::library();
    let script = "exec $tool run --notify -- env LD_PRELOAD=$library sh -c 'free; nproc'";
    let seen = shell(&container, script, &[("library", text(&library))]).text();
    assert!(seen.contains("524288") && seen.ends_with("1\n"), "{seen}");
}

/// In another root and in another PID namespace, and with settings of the caller.
#[test]
fn run_in_other_namespaces_and_with_settings() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    let more = [("busybox", text(&busybox))];
    let script = "
        d=$(mktemp -d); mkdir $d/proc $d/bin; cp $busybox $d/bin/busybox; mount -t proc proc $d/proc
        $tool run -- $busybox chroot $d /bin/busybox sh -c 'head -n 1 /proc/meminfo; cd /proc; head -n 1 meminfo'
        $tool run -- $busybox unshare -p -f -m --mount-proc $busybox sh -c 'head -n 1 /proc/meminfo; cut -d\" \" -f1 /proc/1/stat'
        PROCLENS_CPUS=0.5 PROCLENS_MEMORY=64Mi $tool run -- $busybox sh -c 'nproc; head -n 1 /proc/meminfo'
        PROCLENS_SKIP='*busybox' $tool run -- $busybox head -n 1 /proc/meminfo
        PROCLENS=off $tool run -- $busybox head -n 1 /proc/meminfo
        umount $d/proc; rm -r $d";
    let seen = shell(&container, script, &more).text();
    let lines: Vec<_> = seen.lines().collect();
    let own = "MemTotal:         524288 kB";
    assert_eq!(
        lines[..6],
        [own, own, own, "1", "1", "MemTotal:          65536 kB"],
        "{seen}"
    );
    assert!(
        lines[6..]
            .iter()
            .all(|line| line.starts_with("MemTotal:") && *line != own),
        "{seen}"
    );
}

/// Programs that do unusual things with processes, descriptors and seccomp.
#[test]
fn unusual_programs_see_the_container() {
    needs_containers!();
    let options = ["-static", "-pthread"];
    let Some(program) = c_program("unusual.c", "gcc", &options) else {
        return;
    };
    let container = small();
    let run = |words: &str| {
        let limit = 60 * support::PATIENCE;
        let script = format!("exec timeout -k 1 {limit} $tool run -- $program {words}");
        shell(&container, &script, &[("program", text(&program))])
    };
    for what in [
        "one", "close", "filter", "vfork", "files", "execveat", "user", "private", "traced",
    ] {
        let seen = run(what);
        assert_eq!(seen.status, Some(0), "{what}: {seen:?}");
        assert_eq!(seen.stderr, "", "{what}");
        assert_eq!(value(&seen.stdout, "MemTotal:"), "524288 kB", "{what}");
    }
    assert_eq!(run("threads 1000").text(), "failed 0 differ 0\n");
    assert_eq!(run("processes 200").text(), "bad 0\n");
    // The limit of processes is reached, so the server cannot start its own threads either.
    let script = "exec prlimit --nproc=60 setpriv --reuid 4712 --regid 4712 --clear-groups $tool run -- $program processes 200";
    let seen = shell(&container, script, &[("program", text(&program))]);
    assert_eq!(seen.stdout, "bad 0\n", "{seen:?}");
}

/// Older kernels and other profiles refuse notification: the program runs and sees the host, and one line gives
/// the reason.
#[test]
fn refused_notification_leaves_the_host() {
    needs_containers!();
    let options = ["-static", "-pthread"];
    let Some(program) = c_program("unusual.c", "gcc", &options) else {
        return;
    };
    let Some(reader) = reader() else { return };
    let container = small();
    let more = [("program", text(&program)), ("reader", text(&reader))];
    for (refusal, command) in [
        ("no seccomp", "$program refuse seccomp"),
        ("profile without seccomp", "$program refuse profile"),
        ("no listener, as in gVisor", "$program refuse listener"),
        ("an old kernel", "setarch --uname-2.6"),
    ] {
        let script = format!("exec {command} $tool run -- $program one");
        let seen = shell(&container, &script, &more);
        assert_eq!(seen.status, Some(0), "{refusal}: {seen:?}");
        assert!(seen.stdout.starts_with("MemTotal:"), "{refusal}: {seen:?}");
        assert_ne!(value(&seen.stdout, "MemTotal:"), "524288 kB", "{refusal}");
        assert_eq!(seen.stderr.lines().count(), 1, "{refusal}: {seen:?}");
        // If the line cannot be written, the program runs all the same.
        for error in ["2>/dev/full", "2>&-", "2>$d/pipe"] {
            let script = format!(
                "d=$(mktemp -d); mkfifo $d/pipe; (exec 3<$d/pipe) & {command} $tool run -- $program one {error}; rc=$?; rm -r $d; exit $rc"
            );
            let script = match error.ends_with("pipe") {
                true => script,
                false => format!("exec {command} $tool run -- $program one {error}"),
            };
            let seen = shell(&container, &script, &more);
            assert_eq!(seen.status, Some(0), "{refusal} {error}: {seen:?}");
        }
    }
    // Before Linux 5.19 a received caller can be interrupted; some profiles refuse process_vm_readv.
    for refusal in ["killable", "readv"] {
        let script = format!(
            "$program refuse {refusal} $tool run -- $program one
             $program refuse {refusal} $tool run -- $reader interrupted
             $program refuse {refusal} $tool run -- $program threads 100"
        );
        let seen = shell(&container, &script, &more).text();
        assert_eq!(
            seen, "MemTotal:         524288 kB\nfailed 0\nfailed 0 differ 0\n",
            "{refusal}"
        );
    }
}

/// Standard files that the caller closed stay closed for the program.
#[test]
fn closed_standard_files_stay_closed() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    let script = "
        $tool run -- $busybox sh -c 'head -n 1 /proc/meminfo; ls /proc/self/fd/0 2>/dev/null || echo closed' <&-
        $tool run -- $busybox sh -c 'head -n 1 /proc/meminfo >&3' 3>&1 <&- >&- 2>&-";
    let seen = shell(&container, script, &[("busybox", text(&busybox))]).text();
    let total = "MemTotal:         524288 kB\n";
    assert!(seen.matches(total).count() == 2, "{seen}");
}

/// While the server is stopped the guard completes the calls; when the server continues, the server does.
#[test]
fn a_stopped_server_delays_no_call() {
    needs_containers!();
    let Some(reader) = reader() else { return };
    let container = small();
    let script = "
        d=$(mktemp -d)
        timeout -k 1 30 $tool run -- $reader load $load >$d/out & time=$!
        i=0; until guard=$(cat /proc/$time/task/$time/children | tr -d ' ') && server=$(cat /proc/$guard/task/$guard/children 2>/dev/null | tr -d ' ') && [ -n \"$server\" ]; do
          [ $((i += 1)) -lt 100 ] || exit 9; sleep 0.05; done
        sleep 0.1; kill -STOP $server
        before=$(sed -n 's/^voluntary_ctxt_switches:.//p' /proc/$guard/status); sleep 0.4
        after=$(sed -n 's/^voluntary_ctxt_switches:.//p' /proc/$guard/status); stopped=$((after > before + 20))
        kill -CONT $server; sleep 0.2; kill -STOP $server
        wait $time; echo $? $stopped; cat $d/out; rm -r $d";
    let load = (1500 * support::PATIENCE).to_string();
    let values = [("reader", text(&reader)), ("load", &load)];
    let seen = shell(&container, script, &values).text();
    // 1: the program continued while the server was stopped.
    assert!(
        seen.starts_with("0 1\n") && seen.contains("failures 0"),
        "{seen:?}"
    );
}

/// An ordinary open costs the server three calls. A file that cannot be virtual costs none.
#[test]
fn an_ordinary_open_is_three_calls_of_the_server() {
    needs_containers!();
    let Some(busybox) = busybox() else { return };
    let container = small();
    let script = "
        d=$(mktemp -d); strace -f -o $d/trace $tool run -- $busybox sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do read line </etc/hostname; done; find /etc >/dev/null'
        grep -c process_vm_readv $d/trace; grep -c 'NOTIF_SEND.*= 0' $d/trace
        rm -r $d";
    let seen = shell(&container, script, &[("busybox", text(&busybox))]);
    let counts: Vec<u32> = seen
        .stdout
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    // One read of the path and one reply for each of the ten, and for the files that busybox opens at its start.
    assert!((10..20).contains(&counts[0]), "{seen:?}");
    assert_eq!(counts[0], counts[1], "{seen:?}");
}

/// Readers find only whole files, and the export leaves nothing behind.
#[test]
fn an_export_is_never_torn_and_ends_with_its_parent() {
    needs_containers!();
    let container = small();
    let script = "
        d=$(mktemp -u /run/export-XXXXXX)
        $tool export $d --every 1ms & export=$!
        while ! [ -e $d/proc/meminfo ]; do sleep 0.05; done
        python3 - $d <<'END'
import sys
d = sys.argv[1]
def whole(text): return text.startswith('MemTotal:         524288 kB\\n') and text.endswith('\\n') and len(text.split('\\n')) == lines
lines = len(open(d + '/proc/meminfo').read().split('\\n'))
torn = sum(not whole(open(d + '/proc/meminfo').read()) for i in range(20000))
stat = sum(not open(d + '/proc/stat').read().startswith('cpu ') for i in range(5000))
print('torn', torn + stat)
END
        cat $d/sys/devices/system/cpu/online; readlink $d/proc/self; readlink $d/sys/class
        $tool export $d 2>/dev/null || echo locked
        kill $export; wait $export; echo $?; [ -e $d ] || echo removed
        sh -c \"$tool export $d & sleep 0.5\"; i=0
        while [ -e $d ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i + 1)); done; [ -e $d ] || echo removed
        mkdir -p $d/proc; $tool export $d 2>&1 | sed \"s|$d|DIR|\"; rm -r $d";
    let seen = shell(&container, script, &[]).text();
    assert_eq!(
        seen,
        "torn 0\n0\n/proc/self\n/sys/class\nlocked\n0\nremoved\nremoved\n\
         proclens: DIR/proc exists already: name a directory of its own for the export\n"
    );
}

/// The export ends with its parent, not with the parent's thread that started it. Other users can read it whatever
/// the umask is.
#[test]
fn an_export_outlives_the_thread_that_started_it() {
    needs_containers!();
    let script = "umask 077; exec python3 - $tool $(mktemp -u /run/export-XXXXXX)/below <<'END'
import os, subprocess, sys, threading, time
tool, directory = sys.argv[1:]
def until(true):
    end = time.monotonic() + 10
    while not true() and time.monotonic() < end: time.sleep(0.05)
    return true()
child = []
starter = threading.Thread(target=lambda: child.append(subprocess.Popen([tool, 'export', directory])))
starter.start()
starter.join()
meminfo = directory + '/proc/meminfo'
until(lambda: os.path.exists(meminfo))
time.sleep(1.5)
print(child[0].poll())
paths = [os.path.dirname(directory), directory, directory + '/proc', directory + '/sys/devices', meminfo]
print(*[oct(os.stat(path).st_mode & 0o777) if os.path.exists(path) else None for path in paths])
child[0].terminate()
child[0].wait()
os.rmdir(os.path.dirname(directory))
END";
    let seen = shell(&small(), script, &[]).text();
    assert_eq!(seen, "None\n0o755 0o755 0o755 0o755 0o644\n");
}

/// Shell functions for tests of the export.
const EXPORTS: &str = "
    until_true() { i=0; until eval \"$1\"; do [ $((i += 1)) -lt 200 ] || { echo \"never: $1\"; return; }; sleep 0.05; done; }
    cd $(mktemp -d); chmod 755 .; umask 022; here=$PWD; echo precious >victim
";

/// Links, a FIFO and a directory in the place of the export's own files lead the export nowhere.
#[test]
fn an_export_touches_nothing_outside_its_directory() {
    needs_containers!();
    let container = small();
    let script = "
        export_to() { timeout -k 2 2 $tool export $1 2>&1; echo $?; }
        mkdir link; ln -s ../victim link/.proclens-export; export_to link
        mkdir fifo; mkfifo fifo/.proclens-export; export_to fifo
        mkdir theirs; chown 1234 theirs; export_to theirs
        ln -s empty elsewhere; mkdir empty; export_to elsewhere
        mkdir -m 777 left left/proc; touch left/.proclens-export; chmod 777 left/proc; touch left/proc/keep; export_to left
        cat victim; ls -A link fifo theirs empty left/proc
        timeout 20 $tool export moved --every 50ms 2>said & export=$!
        until_true '[ -e moved/proc/uptime ] && [ -e moved/sys/class ]'
        mkdir target; ln -s $here/victim target/uptime.new; ln -s /etc/hostname target/keep
        mv moved/proc moved/away; ln -s $here/target moved/proc
        wait $export; echo $?; cat said victim; ls target moved
        timeout 20 $tool export removed --every 50ms 2>said & export=$!
        until_true '[ -e removed/proc/uptime ] && [ -e removed/sys/class ]'
        mv removed away; mkdir removed; wait $export; echo $?; cat said; ls -A removed away";
    let seen = shell(&container, &format!("{EXPORTS}{script}"), &[]).text();
    let expected = "\
proclens: link/.proclens-export: no export made it: remove it
1
proclens: fifo/.proclens-export: no export made it: remove it
1
proclens: theirs: user 1234 owns it and could exchange what the export makes: name a directory of your own
1
proclens: elsewhere: it is a symbolic link: name the directory to which it leads
1
proclens: left/proc exists already: name a directory of its own for the export
1
precious
empty:

fifo:
.proclens-export

left/proc:
keep

link:
.proclens-export

theirs:
1
proclens: moved/proc: it was moved or removed: start the export again
precious
moved:
away
proc

target:
keep
uptime.new
1
proclens: removed: it was moved or removed: start the export again
away:

removed:
";
    assert_eq!(seen, expected);
}

/// In a directory that every user can write to (an emptyDir of Kubernetes), root and other users can export. A killed
/// export's files do not stop the next one. A user who exchanges a tree ends the export.
#[test]
fn an_export_into_a_directory_for_everybody() {
    needs_containers!();
    let container = small();
    let script = "
        cp $tool tool; chmod 755 tool
        mkdir empty; chmod 777 empty
        for user in 0 1234; do
            setpriv --reuid $user --clear-groups $here/tool export empty --every 50ms & export=$!
            until_true '[ -e empty/proc/meminfo ] && [ -e empty/sys/class ]'
            kill -KILL $export; wait $export 2>/dev/null; touch empty/sys/left
            setpriv --reuid $user --clear-groups timeout 20 $here/tool export empty --every 50ms 2>said & export=$!
            until_true '! [ -e empty/sys/left ] && [ -e empty/sys/class ]'; stat -c %a,%u empty/proc
            head -n 1 empty/proc/meminfo; old=$(cat empty/proc/uptime)
            until_true '[ \"$(cat empty/proc/uptime)\" != \"$old\" ]'
            kill $export; wait $export; cat said; ls -A empty
        done
        timeout 20 $here/tool export empty --every 50ms 2>said & export=$!
        until_true '[ -e empty/proc/uptime ] && [ -e empty/sys/class ]'
        mkdir target; chmod 777 target; ln -s $here/victim target/uptime.new
        setpriv --reuid 1234 --clear-groups sh -c 'mv empty/proc empty/away; ln -s ../target empty/proc'
        wait $export; echo $?; cat said victim; ls target; [ -h empty/proc ] && echo link";
    let seen = shell(&container, &format!("{EXPORTS}{script}"), &[]).text();
    assert_eq!(
        seen,
        "755,0\nMemTotal:         524288 kB\n755,1234\nMemTotal:         524288 kB\n1\n\
         proclens: empty/proc: it was moved or removed: start the export again\n\
         precious\nuptime.new\nlink\n"
    );
}

/// A full file system stops the refreshes as long as it is full. At the start it ends the export.
#[test]
fn an_export_outlives_a_full_file_system() {
    needs_containers!();
    let container = small();
    let script = "
        mkdir small; mount -t tmpfs -o size=1m small small || exit
        fill() { dd if=/dev/zero of=small/filler bs=4k 2>/dev/null; }
        $tool export small/e --every 50ms 2>said & export=$!
        until_true '[ -e small/e/proc/uptime ] && [ -e small/e/sys/class ]'
        fill; until_true 'grep -q space said'; fill; sleep 0.5
        old=$(cat small/e/proc/uptime); sleep 0.5; [ \"$(cat small/e/proc/uptime)\" = \"$old\" ] && echo stopped
        kill -0 $export && grep -c . said; cat said; ls small/e/proc | grep new; head -n 1 small/e/proc/meminfo
        rm small/filler; until_true '[ \"$(cat small/e/proc/uptime)\" != \"$old\" ]'
        kill $export; wait $export; echo $?; ls -A small
        fill; timeout 20 $tool export small/e 2>&1; echo $?; ls -A small; umount small";
    let script = script.replace('\n', " \n");
    let script = format!("{EXPORTS}{script}");
    let seen = shell(
        &container,
        &format!("unshare -m sh -c '{}'", script.replace('\'', "'\\''")),
        &[],
    )
    .text();
    let lines: Vec<_> = seen.lines().collect();
    assert_eq!(lines[..2], ["stopped", "1"], "{seen}");
    assert!(lines[2].starts_with("proclens: small/e/"), "{seen}");
    assert!(
        lines[2]
            .ends_with("no space left on device: the export keeps its old files and tries again"),
        "{seen}"
    );
    assert_eq!(lines[3..5], ["MemTotal:         524288 kB", "0"], "{seen}");
    assert!(lines[5].starts_with("proclens: small/e/"), "{seen}");
    assert_eq!(lines[6..], ["1", "filler"], "{seen}");
}
