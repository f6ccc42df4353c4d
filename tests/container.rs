//! Real programs in real containers print the values of the container's own cgroup files, which the tests read
//! from outside. Runs on cgroup v1, v2 and hybrids, as the machine has it.

mod support;

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use procfs::prelude::*;
use procfs::{CpuInfo, ExplicitSystemInfo, KernelStats, LoadAverage, Meminfo, Uptime};
use support::{Container, GIB, Limits, MIB, Plan, c_program, field, skipped};

/// The difference that the start and end of a program can make, bytes.
const SLACK: f64 = (8 * MIB) as f64;

/// Shared memory of 64 MiB, which a program can show.
const SHARED: u64 = 64 * MIB;
const FILL: &str =
    "mount -t tmpfs none /dev/shm; head -c 67108864 /dev/zero >/dev/shm/proclens-test";

fn host(file: &str, name: &str) -> f64 {
    field(&std::fs::read_to_string(file).expect(file), name)
}

/// Checks that `of` is between the cgroup's value before and after the program read it.
#[track_caller]
fn between(what: &str, of: f64, before: f64, after: f64, slack: f64) {
    let (low, high) = (before.min(after) - slack, before.max(after) + slack);
    assert!(
        of >= low && of <= high,
        "{what} is {of}, not {low} to {high}"
    );
}

/// The columns of a line of a table.
fn columns<'t>(text: &'t str, line: &str) -> Vec<&'t str> {
    text.lines()
        .find(|l| l.trim_start().starts_with(line))
        .unwrap_or_else(|| panic!("no {line} in {text}"))
        .split_whitespace()
        .collect()
}

/// Checks that `uptime` prints the container's age, not the machine's: minutes, or more in a slow VM.
fn is_young(uptime: &str) -> bool {
    (0..5).any(|minutes| uptime.contains(&format!(" up {minutes} min")))
}

fn number(text: &str) -> f64 {
    text.trim_end_matches([',', 'K', 'k'])
        .parse()
        .unwrap_or_else(|_| panic!("{text} is no number"))
}

/// Runs `words` and returns its output, and the headroom before and after, in bytes.
fn with_headroom(container: &Container, limit: u64, words: &str) -> (String, f64, f64) {
    let headroom = || limit.saturating_sub(container.usage()) as f64;
    let before = headroom();
    let text = container.with(words);
    (text, before, headroom())
}

fn check_free(container: &Container, limit: u64, command: &str) {
    let (text, before, after) = with_headroom(container, limit, command);
    let mem = columns(&text, "Mem:");
    let [total, used, free, shared, cache, available] = [1, 2, 3, 4, 5, 6].map(|i| number(mem[i]));
    assert_eq!(total, limit as f64, "{text}");
    between("free", free, before, after, SLACK);
    between("shared", shared, SHARED as f64, SHARED as f64, MIB as f64);
    assert!(cache >= SHARED as f64 && cache < limit as f64, "{text}");
    assert!(available >= free && available < total, "{text}");
    assert!(used > 0.0 && used < total, "{text}");
    // The control: without the library the program sees the machine.
    let text = container.without(command);
    assert_ne!(number(columns(&text, "Mem:")[1]), limit as f64, "{text}");
}

#[test]
fn free() {
    needs_containers!();
    let container = Plan::usual().setup(FILL).start();
    check_free(&container, 512 * MIB, "free -b");
}

#[test]
fn top() {
    needs_containers!();
    let container = Plan::usual().setup(FILL).start();
    let (text, before, after) = with_headroom(&container, 512 * MIB, "top -b -n1 -w 200");
    let mem = columns(&text, "MiB Mem");
    assert_eq!(mem[3..5], ["512.0", "total,"], "{text}");
    let mib = MIB as f64;
    between("free", number(mem[5]), before / mib, after / mib, 8.0);
    let tasks = number(columns(&text, "Tasks:")[1]);
    assert!((2.0..10.0).contains(&tasks), "{text}");
    // "0 min": the container's age, not the machine's.
    let header = text.lines().next().unwrap_or_default();
    assert!(is_young(header), "{header}");
    assert!(!container.without("top -b -n1").contains(" 512.0 total"));
}

#[test]
fn vmstat() {
    needs_containers!();
    let container = Plan::usual().setup(FILL).start();
    let (text, before, after) = with_headroom(&container, 512 * MIB, "vmstat -S k");
    let row: Vec<_> = text
        .lines()
        .nth(2)
        .expect("a row")
        .split_whitespace()
        .collect();
    between("free", number(row[3]) * 1000.0, before, after, SLACK);
    assert_eq!(row[2], "0", "swpd: {text}");
    let cpu: f64 = row[12..17].iter().map(|c| number(c)).sum();
    assert!((96.0..=104.0).contains(&cpu), "{text}");
    let text = container.with("vmstat -s");
    assert!(text.contains(" 524288 K total memory"), "{text}");
    assert!(
        !container
            .without("vmstat -s")
            .contains(" 524288 K total memory")
    );
}

#[test]
fn uptime_and_load() {
    needs_containers!();
    let container = Plan::usual().start();
    let loads = || container.with("cat /proc/loadavg");
    let before = loads();
    let text = container.with("uptime");
    let after = loads();
    assert!(is_young(&text), "{text}");
    let age = container.with("cat /proc/uptime");
    let age = number(age.split(' ').next().unwrap_or_default());
    assert!(age < 100.0, "{age}");
    // A new container has no past load, whatever the machine's is.
    let [before, load] =
        [&before, &after].map(|text| text.split_whitespace().collect::<Vec<&str>>());
    assert!(number(load[2]) < 0.2, "{load:?}");
    let shown = text.rsplit("load average: ").next().expect("load");
    let shown: Vec<_> = shown.split_whitespace().map(number).collect();
    for (i, shown) in shown.iter().enumerate() {
        between("load", *shown, number(before[i]), number(load[i]), 0.01);
    }
    let (running, total) = load[3].split_once('/').expect("running/total");
    // cat and sleep are the tasks of this PID namespace.
    assert!(
        number(running) >= 1.0 && (2.0..6.0).contains(&number(total)),
        "{load:?}"
    );
    assert!(
        number(load[4]) < 100.0,
        "the last PID of the namespace: {load:?}"
    );
}

/// The containers of a pod see each other's tasks. Only a container's own tasks count as running.
#[test]
fn shared_pid_namespace() {
    needs_containers!();
    let [one, other] = [(); 2].map(|()| Plan::usual().start());
    let burn = "for i in 1 2 3; do (while :; do :; done) >/dev/null 2>&1 & done; sleep 0.2";
    one.program(&["sh", "-c", burn]).output().text();
    let counts = |program: support::Program| {
        let program = program.preloaded().env("PROCLENS_SAMPLER", "off");
        let text = program.output().text();
        let load = columns(&text, "0.");
        let (running, total) = load[3].split_once('/').expect("running/total");
        let stat = number(columns(&text, "procs_running")[1]);
        [number(running), stat, number(total)]
    };
    let words = ["cat", "/proc/loadavg", "/proc/stat"];
    // A task that the quota throttles does not run.
    let mut own = (0..50).map(|_| counts(one.program(&words)));
    assert!(own.any(|own| own[0] >= 2.0 && own[1] >= 2.0 && own[2] >= 5.0));
    // Only cat runs, of all tasks that it sees.
    for _ in 0..10 {
        let others = counts(one.program(&words).charged_to(&other));
        assert!(others[..2] == [1.0; 2] && others[2] >= 5.0, "{others:?}");
    }
}

/// Also without shared state, when threads read at the same time.
#[test]
fn threads_see_no_step_back_in_stat() {
    needs_containers!();
    let Some(python) = std::path::Path::new("/usr/bin/python3").canonicalize().ok() else {
        return skipped("no python3 here");
    };
    let container = Plan::usual().start();
    let script = "import threading, time
end, back = time.time() + 4, []
def burn():
    while time.time() < end: sum(range(3000))
def ask():
    last = {}
    while time.time() < end:
        now = {}
        for line in open('/proc/stat'):
            if line.startswith('cpu'):
                name, *row = line.split()
                now[name] = list(map(int, row))
        for name in last:
            if any(a < b for a, b in zip(now[name], last[name])): back.append((last[name], now[name]))
        last = now
threads = [threading.Thread(target=what) for what in [burn] + [ask] * 6]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(back[:5])";
    let words = [python.to_str().expect("a plain path"), "-c", script];
    for state in ["/nonexistent", "/dev/shm"] {
        let program = container.program(&words).preloaded();
        let output = program.env("PROCLENS_STATE", state).output();
        assert_eq!(output.text(), "[]\n", "{state}");
    }
}

/// Checks the numbers of CPUs and pages that small programs print.
fn check_numbers(container: &Container, cpus: u64, limit: u64) {
    check_numbers_from(container, 0, cpus, limit);
}

/// The same for a container whose first CPU is `first`: CPUs keep the kernel's numbers (NUMBERS section 2).
fn check_numbers_from(container: &Container, first: u64, cpus: u64, limit: u64) {
    let says = |words: &str| container.with(words).trim().to_string();
    assert_eq!(says("nproc"), cpus.to_string());
    assert_eq!(says("getconf _NPROCESSORS_ONLN"), cpus.to_string());
    assert_eq!(
        says("getconf _NPROCESSORS_CONF"),
        container.without("getconf _NPROCESSORS_CONF").trim()
    );
    let page = number(&says("getconf PAGE_SIZE"));
    let total = number(&says("getconf _PHYS_PAGES")) * page;
    let expected = (limit as f64).min(host("/proc/meminfo", "MemTotal") * 1024.0);
    assert_eq!(total, expected);
    let list = if cpus > 1 {
        format!("{first}-{}", first + cpus - 1)
    } else {
        first.to_string()
    };
    for file in ["online", "present"] {
        assert_eq!(says(&format!("cat /sys/devices/system/cpu/{file}")), list);
    }
    let text = says("cat /proc/cpuinfo /proc/stat");
    let count = |prefix: &str| text.lines().filter(|l| l.starts_with(prefix)).count() as u64;
    assert_eq!(count("processor"), cpus);
    let rows = text.lines().filter_map(|l| l.strip_prefix("cpu"));
    let rows = rows.filter(|l| l.starts_with(|c: char| c.is_ascii_digit()));
    assert_eq!(rows.count() as u64, cpus, "{text}");
    assert_eq!(
        field(&says("cat /proc/meminfo"), "MemTotal") * 1024.0,
        expected
    );
}

#[test]
fn nproc_and_getconf() {
    needs_containers!();
    let plan = Plan::usual();
    let cpus = plan.cpus();
    check_numbers(&plan.start(), cpus, 512 * MIB);
    let plan = Plan::new().memory(700 * MIB).quota(30_000, 100_000);
    let container = plan.start();
    check_numbers(&container, 1, 700 * MIB);
    if cpus > 1 {
        assert_ne!(container.without("nproc").trim(), "1");
    }
}

#[test]
fn python() {
    needs_containers!();
    // Debian's own path: another file of that name may be a script that starts it.
    let Some(python) = std::path::Path::new("/usr/bin/python3").canonicalize().ok() else {
        return skipped("no python3 here");
    };
    let container = Plan::usual().start();
    let script = "import os
print(os.cpu_count(), len(os.sched_getaffinity(0)), os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))
print(os.getloadavg()[2] < 0.2)
with open('/proc/meminfo') as f:
    first = f.read()
    f.seek(0)
    print(first.split()[1], f.read().split()[1])
with open('/proc/cpuinfo', 'rb') as f: print(f.read().count(b'processor'))
import multiprocessing; print(multiprocessing.cpu_count())";
    let words = [python.to_str().expect("a plain path"), "-c", script];
    let cpus = container.cpus;
    let expected = format!(
        "{cpus} {cpus} {}\nTrue\n524288 524288\n{cpus}\n{cpus}\n",
        512 * MIB
    );
    assert_eq!(
        container.program(&words).preloaded().output().text(),
        expected
    );
    assert_ne!(container.program(&words).output().text(), expected);
}

#[test]
fn busybox() {
    needs_containers!();
    let Some(busybox) = support::fetched("bin/busybox", "/usr/bin/busybox") else {
        return skipped("no busybox (tests/support/fetch brings it)");
    };
    let bytes = std::fs::read(&busybox).expect("busybox");
    if !bytes
        .windows(9)
        .any(|w| w == b"ld-linux-" || w == b"ld-musl-x")
    {
        return skipped("this busybox is static (tests/support/fetch brings a dynamic one)");
    }
    let busybox = busybox.display();
    let container = Plan::usual().setup(FILL).start();
    let (text, before, after) = with_headroom(&container, 512 * MIB, &format!("{busybox} free -b"));
    let mem = columns(&text, "Mem:");
    assert_eq!(number(mem[1]), (512 * MIB) as f64, "{text}");
    between("free", number(mem[3]), before, after, SLACK);
    between(
        "shared",
        number(mem[4]),
        SHARED as f64,
        SHARED as f64,
        MIB as f64,
    );
    let without = container.without(&format!("{busybox} free -b"));
    assert_ne!(number(columns(&without, "Mem:")[1]), (512 * MIB) as f64);

    let text = container.with(&format!("{busybox} top -b -n1"));
    let mem = columns(&text, "Mem:");
    let (used, free) = (number(mem[1]), number(mem[3]));
    assert_eq!(used + free, 524_288.0, "{text}");
    between("shared", number(mem[5]), 65_536.0, 65_536.0, 1024.0);
    let load = columns(&text, "Load average:");
    assert!(number(load[4]) < 0.2, "{text}");
    let text = container.with(&format!("{busybox} uptime"));
    assert!(is_young(&text), "{text}");
    let cat = container.with(&format!("{busybox} cat /proc/meminfo"));
    assert_eq!(field(&cat, "MemTotal"), 524_288.0);
}

#[test]
fn nested_limits() {
    needs_containers!();
    let outer = |memory, quota| Limits {
        memory: Some(memory),
        quota: Some((quota, 100_000)),
        ..Limits::default()
    };
    // The outer cgroup has the tighter limits.
    // (v1 accepts no quota above that of the outer cgroup.)
    let plan = Plan::new().memory(512 * MIB);
    let container = plan.parent(outer(256 * MIB, 100_000)).start();
    check_numbers(&container, 1, 256 * MIB);
    drop(container);
    // The inner cgroup has the tighter limits.
    let plan = Plan::new().memory(128 * MIB).quota(100_000, 100_000);
    let container = plan.parent(outer(GIB, 200_000)).start();
    check_numbers(&container, 1, 128 * MIB);
}

#[test]
fn quota_on_a_parent() {
    needs_containers!();
    let parent = Limits {
        quota: Some((50_000, 100_000)),
        ..Limits::default()
    };
    let container = Plan::new().memory(512 * MIB).parent(parent).start();
    check_numbers(&container, 1, 512 * MIB);
}

#[test]
fn unlimited() {
    needs_containers!();
    let container = Plan::new().setup(FILL).start();
    let cpus = container.cpus;
    check_numbers(&container, cpus, u64::MAX);
    // The size is that of the machine, the usage is that of the container.
    let available = || host("/proc/meminfo", "MemAvailable");
    let before = available();
    let text = container.with("cat /proc/meminfo");
    let after = available();
    let shmem = container.memory_stat("total_shmem", "shmem") as f64 / 1024.0;
    between("Shmem", field(&text, "Shmem"), shmem, shmem, 1024.0);
    let anon = container.memory_stat("total_rss", "anon") as f64 / 1024.0;
    between("AnonPages", field(&text, "AnonPages"), anon, anon, 4096.0);
    assert!(field(&text, "MemFree") <= field(&text, "MemAvailable"));
    let of = field(&text, "MemAvailable");
    between("MemAvailable", of, before, after, 1e6);
}

#[test]
fn swap() {
    needs_containers!();
    let machine = host("/proc/meminfo", "SwapTotal");
    let container = Plan::usual().swap(0).start();
    let text = container.with("cat /proc/meminfo");
    assert_eq!(field(&text, "SwapTotal"), 0.0);
    assert_eq!(field(&text, "SwapFree"), 0.0);
    assert!(
        container
            .with("free -b")
            .contains("Swap:              0           0           0")
    );
    let container = Plan::usual().swap(256 * MIB).start();
    let text = container.with("cat /proc/meminfo");
    assert_eq!(field(&text, "SwapTotal"), machine.min(262_144.0));
    assert!(field(&text, "SwapFree") <= field(&text, "SwapTotal"));
}

#[test]
fn cpu_and_cpuset_in_different_cgroups() {
    needs_containers!();
    let machine = Plan::new().cpus();
    // First the quota is tighter, then the cpuset.
    let all = if machine > 1 {
        format!("0-{}", machine - 1)
    } else {
        "0".into()
    };
    let plan = Plan::new().memory(512 * MIB).split_cpu();
    let container = plan.clone().quota(100_000, 100_000).cpuset(&all).start();
    if !container.v2() {
        assert_ne!(
            container.directory("cpu").file_name(),
            container.directory("cpuset").file_name()
        );
    }
    check_numbers(&container, 1, 512 * MIB);
    drop(container);
    let last = (machine - 1).to_string();
    let container = plan.quota(800_000, 100_000).cpuset(&last).start();
    check_numbers_from(&container, machine - 1, 1, 512 * MIB);
    // The mask keeps the real number, so that a program can pin itself to it.
    let pinned = container.with(&format!("taskset -c {last} nproc"));
    assert_eq!(pinned.trim(), "1");
    let mask = container.with_shell("taskset -cp $$");
    assert!(mask.trim().ends_with(&format!(": {last}")), "{mask}");
}

#[test]
fn cgroup_namespace() {
    needs_containers!();
    let container = Plan::usual().setup(FILL).cgroup_namespace().start();
    let own = container.without("cat /proc/self/cgroup");
    assert!(!own.contains("proclens-test"), "{own}");
    check_numbers(&container, container.cpus, 512 * MIB);
    check_free(&container, 512 * MIB, "free -b");
}

#[test]
fn systemd_as_pid_1() {
    needs_containers!();
    let container = Plan::usual().setup(FILL).init_scope().start();
    let first = container.without("cat /proc/1/cgroup");
    assert!(first.contains("/init.scope"), "{first}");
    check_numbers(&container, container.cpus, 512 * MIB);
    check_free(&container, 512 * MIB, "free -b");
    // A service below it, with a limit of its own, still sees the whole container.
    let mut enter = String::new();
    for controller in ["memory", "cpu", "cpuset", "cpuacct"] {
        let service = container.directory(controller).join("some.service");
        if service.exists() {
            continue;
        }
        std::fs::create_dir(&service).expect("a service's cgroup");
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(list) = std::fs::read_to_string(container.directory(controller).join(file)) {
                let _ = std::fs::write(service.join(file), list.trim());
            }
        }
        let _ = std::fs::write(service.join("memory.limit_in_bytes"), "100000000");
        enter += &format!("echo $$ >{}/cgroup.procs; ", service.display());
    }
    let script = enter + "cat /proc/self/cgroup; exec cat /proc/meminfo";
    let text = container.with_shell(&script);
    assert!(text.contains("/some.service"), "{text}");
    assert_eq!(field(&text, "MemTotal"), 524_288.0);
}

#[test]
fn limits_change_while_a_program_runs() {
    needs_containers!();
    let Some(follow) = c_program("follow.c", "gcc", &[]) else {
        return;
    };
    let container = Plan::usual().start();
    let machine = Plan::new().cpus();
    let words = [follow.to_str().expect("a plain path")];
    let mut talk = container.program(&words).preloaded().start();
    for (mib, quota) in [
        (512, 150_000),
        (300, 100_000),
        (1024, 400_000),
        (200, 50_000),
    ] {
        container.set_memory(mib * MIB);
        container.set_quota(quota, 100_000);
        talk.send("now");
        let cpus = machine.min(quota.unsigned_abs().div_ceil(100_000));
        let expected = format!("{0} {0} {cpus} {cpus}", mib << 10);
        assert_eq!(talk.line(), Some(expected));
    }
    talk.end().text();
}

#[test]
fn limit_changes_while_top_runs() {
    needs_containers!();
    let container = Plan::usual().start();
    // With a pipe as output, top writes when its buffer is full. So the test watches its reads from outside, and
    // changes the limit between two of them.
    let start = Instant::now();
    container.with("top -b -n1");
    let delay = start.elapsed().as_secs_f64().mul_add(4.0, 0.5).max(2.0);
    let pause = format!("{delay:.1}");
    let words = ["top", "-b", "-d", &pause, "-n", "3", "-w", "200"];
    let mut talk = container.program(&words).preloaded().start();
    while !container.runs("top") {
        sleep(Duration::from_millis(20));
    }
    sleep(Duration::from_secs_f64(delay * 0.75));
    container.set_memory(300 * MIB);
    let mut seen = Vec::new();
    while let Some(line) = talk.line() {
        if line.starts_with("MiB Mem") {
            seen.push(columns(&line, "MiB Mem")[3].to_string());
        }
    }
    assert_eq!(seen.first().map(String::as_str), Some("512.0"));
    assert_eq!(seen.last().map(String::as_str), Some("300.0"), "{seen:?}");
    assert_eq!(seen.len(), 3);
    assert_eq!(talk.end().status, Some(0));
}

#[test]
fn files_and_calls_agree() {
    needs_containers!();
    for compiler in ["gcc", "musl-gcc"] {
        let Some(values) = c_program("values.c", compiler, &[]) else {
            continue;
        };
        let container = Plan::usual().setup(FILL).start();
        let text = container.with(values.to_str().expect("a plain path"));
        let of = |name: &str| field(&text, &format!("{name} "));
        let same = |call: &str, file: &str, slack: f64| {
            let (before, after) = (of(&format!("before.{file}")), of(&format!("after.{file}")));
            between(call, of(call), before, after, slack);
        };
        for call in [
            "sysinfo.totalram",
            "raw.totalram",
            "phys_pages",
            "get_phys_pages",
        ] {
            same(call, "MemTotal", 0.0);
            assert_eq!(of(call), 524_288.0);
        }
        for call in ["sysinfo.freeram", "avphys_pages", "get_avphys_pages"] {
            same(call, "MemFree", 512.0);
        }
        same("sysinfo.sharedram", "Shmem", 0.0);
        assert!(of("sysinfo.sharedram") >= 65_536.0);
        same("sysinfo.bufferram", "Buffers", 0.0);
        same("sysinfo.totalswap", "SwapTotal", 0.0);
        same("sysinfo.freeswap", "SwapFree", 0.0);
        same("sysinfo.procs", "tasks", 1.0);
        same("sysinfo.uptime", "uptime", 1.0);
        for call in ["sysinfo.load15", "raw.load15", "getloadavg15"] {
            same(call, "load15", 0.011);
        }
        for call in ["sysinfo.load1", "getloadavg1"] {
            same(call, "load1", 0.15);
        }
        for name in [
            "nprocessors_onln",
            "get_nprocs",
            "affinity",
            "thread_affinity",
            "raw_affinity",
            "pinned",
            "cpuinfo",
            "stat",
            "online",
            "present",
        ] {
            assert_eq!(of(name) as u64, container.cpus, "{name}");
        }
        // The control: the same numbers without the library, which are the kernel's.
        let text_with = text;
        let text = container.without(values.to_str().expect("a plain path"));
        for name in ["nprocessors_conf", "get_nprocs_conf", "possible"] {
            let of = |text: &str| field(text, &format!("{name} "));
            assert_eq!(of(&text_with), of(&text), "{name}");
        }
        assert_ne!(field(&text, "sysinfo.totalram "), 524_288.0);
    }
}

#[test]
fn procfs_reads_the_same() {
    needs_containers!();
    let container = Plan::usual().setup(FILL).start();
    let bytes = |path: &str| container.with(&format!("cat {path}"));
    let text = bytes("/proc/meminfo");
    let usage = || container.usage() as f64;
    let before = usage();
    let meminfo = Meminfo::from_read(bytes("/proc/meminfo").as_bytes()).expect("meminfo");
    assert_eq!(meminfo.mem_total, 512 * MIB);
    let headroom = |usage: f64| (512 * MIB) as f64 - usage;
    between(
        "MemFree",
        meminfo.mem_free as f64,
        headroom(before),
        headroom(usage()),
        SLACK,
    );
    assert!(meminfo.mem_available.expect("MemAvailable") < meminfo.mem_total);
    for (ours, v1, v2) in [
        (meminfo.cached, "total_cache", "file"),
        (meminfo.shmem.expect("Shmem"), "total_shmem", "shmem"),
        (
            meminfo.active_anon.expect("Active(anon)"),
            "total_active_anon",
            "active_anon",
        ),
        (
            meminfo.inactive_anon.expect("Inactive(anon)"),
            "total_inactive_anon",
            "inactive_anon",
        ),
        (
            meminfo.active_file.expect("Active(file)"),
            "total_active_file",
            "active_file",
        ),
        (
            meminfo.inactive_file.expect("Inactive(file)"),
            "total_inactive_file",
            "inactive_file",
        ),
        (meminfo.anon_pages.expect("AnonPages"), "total_rss", "anon"),
        (meminfo.mapped, "total_mapped_file", "file_mapped"),
        (meminfo.dirty, "total_dirty", "file_dirty"),
    ] {
        let truth = container.memory_stat(v1, v2) as f64;
        between(v2, ours as f64, truth, truth, SLACK / 2.0);
    }
    // The lines are those of the machine, in the same order.
    let names = |text: &str| -> Vec<String> {
        text.lines()
            .map(|l| l.split(':').next().unwrap_or_default().to_string())
            .collect()
    };
    assert_eq!(
        names(&text),
        names(&std::fs::read_to_string("/proc/meminfo").expect("meminfo"))
    );

    let cpuinfo = CpuInfo::from_read(bytes("/proc/cpuinfo").as_bytes()).expect("cpuinfo");
    assert_eq!(cpuinfo.num_cores() as u64, container.cpus);
    let system = ExplicitSystemInfo {
        boot_time_secs: 0,
        ticks_per_second: 100,
        page_size: 4096,
        is_little_endian: true,
    };
    // Some work, so that there is CPU time to report. It takes longer on a busy machine.
    for _ in 0..60 {
        container
            .program(&["timeout", "1", "sh", "-c", "while :; do :; done"])
            .output();
        if container.cpu_us() > 400_000 {
            break;
        }
    }
    let before = container.cpu_us();
    let stat = bytes("/proc/stat");
    let after = container.cpu_us();
    let stat = KernelStats::from_read(stat.as_bytes(), &system).expect("stat");
    assert_eq!(stat.cpu_time.len() as u64, container.cpus);
    let busy = (stat.total.user + stat.total.nice + stat.total.system) as f64 * 10_000.0;
    between("CPU time", busy, before as f64, after as f64, 60_000.0);
    assert!(busy > 300_000.0, "{busy}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("time").as_secs() as f64;
    between("btime", stat.btime as f64, now - 300.0, now + 1.0, 0.0);
    assert!(stat.procs_running.expect("procs_running") >= 1);

    let uptime = Uptime::from_read(bytes("/proc/uptime").as_bytes()).expect("uptime");
    between(
        "boot time",
        now - uptime.uptime,
        stat.btime as f64,
        stat.btime as f64,
        3.0,
    );
    assert!(uptime.idle <= uptime.uptime * container.cpus as f64 + 0.1);
    let load = LoadAverage::from_read(bytes("/proc/loadavg").as_bytes()).expect("loadavg");
    assert!(load.cur >= 1 && load.max >= 2 && load.max < 10, "{load:?}");
    assert!(load.one < 3.0 && load.fifteen < 0.5, "{load:?}");
}

#[test]
fn time_adds_up() {
    needs_containers!();
    let container = Plan::usual().start();
    let cpus = container.cpus as f64;
    // Two processes of one container read: no field steps back, and the sum is the CPUs' time.
    let look = "cat /proc/uptime; head -n1 /proc/stat; cat /proc/uptime";
    let text = container.with_shell(&format!("{look}; sleep 2; {look}"));
    let rows: Vec<Vec<f64>> = text
        .lines()
        .map(|l| {
            l.split_whitespace()
                .skip_while(|w| *w == "cpu")
                .map(number)
                .collect()
        })
        .collect();
    let (cpu1, cpu2) = (&rows[1], &rows[4]);
    for (field, (before, after)) in cpu1.iter().zip(cpu2).enumerate() {
        assert!(after >= before, "field {field} goes back: {text}");
    }
    let total: f64 = cpu2.iter().sum::<f64>() - cpu1.iter().sum::<f64>();
    // Each read lies between two readings of the clock; a tick per CPU is allowed at either end.
    let ticks = |from: usize, to: usize| (rows[to][0] - rows[from][0]) * 100.0 * cpus;
    between("ticks", total, ticks(2, 3), ticks(0, 5), 2.0 * cpus + 1.0);
}

/// A process that reads again and again shows the cgroup that it was moved to within a second, however often
/// it has found its old cgroup before.
#[test]
fn moved_process() {
    needs_containers!();
    let [first, second] = [512, 300].map(|mib| Plan::new().memory(mib * MIB).start());
    let script = "while read -r l; do read -r n kib r </proc/meminfo; echo $kib; done";
    let mut reader = Reader::start(script);
    let pid = reader.shell.id().to_string();
    let mut shown = |pause_ms| reader.says_after(pause_ms) >> 10;
    let to = |container: &Container| {
        std::fs::write(container.directory("memory").join("cgroup.procs"), &pid).expect("moved");
    };
    to(&first);
    // The first read finds the cgroup, the second one stores the revalidation data, two more use it.
    for pause_ms in [0, 1100, 1100, 1100] {
        assert_eq!(shown(pause_ms), 512);
    }
    to(&second);
    for pause_ms in [1000, 1100, 0] {
        assert_eq!(shown(pause_ms), 300);
    }
    to(&first);
    assert_eq!(shown(1000), 512);
}

/// A shell with the library, outside of all containers. It prints one number for each line that it reads.
struct Reader {
    shell: Child,
    ask: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Reader {
    fn start(script: &str) -> Reader {
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .env("LD_PRELOAD", support::library())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh");
        let ask = shell.stdin.take().expect("a pipe");
        let lines = BufReader::new(shell.stdout.take().expect("a pipe")).lines();
        Reader { shell, ask, lines }
    }

    fn says_after(&mut self, pause_ms: u64) -> u64 {
        sleep(Duration::from_millis(pause_ms));
        writeln!(self.ask, "now").expect("a pipe with a reader");
        let line = self.lines.next().expect("a line").expect("text");
        line.parse().expect("a number")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// A process that moves to another container takes no CPU time along: neither it nor the other container
/// shows time of the first container.
#[test]
fn moved_process_and_cpu_time() {
    needs_containers!();
    let [first, second] = [(); 2].map(|()| Plan::new().quota(100_000, 100_000).start());
    // Two seconds of CPU time, which may take longer on the clock. `ulimit -t` would count ticks, in which the thread did
    // not run all the time on a busy machine.
    let burn = "import time\nwhile time.process_time() < 2: pass";
    first.program(&["python3", "-c", burn]).output().text();
    let script = "while read -r l; do read -r n user nice system r </proc/stat; echo $((user + nice + system)); done";
    let mut reader = Reader::start(script);
    let pid = reader.shell.id().to_string();
    for (container, least, most) in [(&first, 150, 400), (&second, 0, 100)] {
        for directory in container.all_directories() {
            std::fs::write(directory.join("cgroup.procs"), &pid).expect("moved");
        }
        let shown = reader.says_after(1100);
        assert!((least..most).contains(&shown), "{shown}");
    }
    let other = second.with("cat /proc/stat");
    let other: f64 = [1, 2, 3]
        .map(|i| number(columns(&other, "cpu ")[i]))
        .iter()
        .sum();
    assert!(other < 100.0, "{other}");
}

/// In the machine's root cgroup a limit that the user sets is the only limit, and files and calls agree.
#[test]
fn a_limit_of_the_user_in_the_root_cgroup() {
    needs_containers!();
    let script = "for list in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do
            # On v1 the first name does not exist, and the directory is a tmpfs.
            [ -e $list ] || continue
            case $list in */[a-z]*.slice/*|*.scope/*) ;; *) echo $$ >$list ;; esac
        done 2>/dev/null
        export LD_PRELOAD=$1 PROCLENS_CPUS=1; nproc; cat /proc/loadavg /proc/stat";
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(support::library())
        .output()
        .expect("sh");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(text.lines().next(), Some("1"), "{text}");
    let rows = text.lines().filter(|line| line.starts_with("cpu"));
    assert_eq!(rows.count(), 2, "{text}");
    assert!(number(columns(&text, "procs_running")[1]) >= 1.0, "{text}");
}

/// A program that gives up its rights and can then no longer see PID 1 keeps the container's time.
#[test]
fn hidden_pid_1() {
    needs_containers!();
    let Some(python) = std::path::Path::new("/usr/bin/python3").canonicalize().ok() else {
        return skipped("no python3 here");
    };
    let container = Plan::usual()
        .setup("mount -o remount,hidepid=2 /proc")
        .start();
    let script = "import os, time
def ask(): print(open('/proc/uptime').read().split()[0])
ask()
os.setgid(65534); os.setuid(65534)
for _ in range(3): time.sleep(1); ask()
try: open('/proc/1/stat')
except OSError: print('hidden')";
    let words = [python.to_str().expect("a plain path"), "-c", script];
    let text = container.program(&words).preloaded().output().text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[4..], ["hidden"], "{text}");
    let age = |at: usize| number(lines[at]);
    for second in 1..4 {
        between("uptime", age(second) - age(second - 1), 1.0, 1.5, 0.1);
    }
}

/// A monitoring agent in a container has the host's `/proc` and `/sys` at another place, and means the host. All files there
/// are the kernel's: the start times are the host's too, and a program adds them to the boot time.
#[test]
fn files_of_another_mount_are_the_kernels() {
    needs_containers!();
    let container = Plan::new()
        .memory(256 * MIB)
        .quota(100_000, 100_000)
        .setup(
            "mount -t tmpfs t /mnt; mkdir /mnt/proc /mnt/sys /mnt/same; mount -t proc p /mnt/proc
             unshare --net mount -t sysfs s /mnt/sys; mount --bind /proc /mnt/same",
        )
        .start();
    let host = "cd /mnt; grep -h MemTotal proc/meminfo; grep -h btime proc/stat
        cat sys/devices/system/cpu/online; ls -d sys/devices/system/cpu/cpu[0-9]*
        cut -d' ' -f22 proc/1/stat; cd /mnt/proc; grep MemTotal meminfo";
    assert_eq!(
        container.with_shell(host),
        container.program(&["sh", "-c", host]).output().text()
    );
    let same = "cd /mnt; head -n 1 same/meminfo; cd same; head -n 1 meminfo; head -n 1 /proc/self/root/proc/meminfo";
    let own = "MemTotal:         262144 kB\n";
    assert_eq!(container.with_shell(same), own.repeat(3));
}
