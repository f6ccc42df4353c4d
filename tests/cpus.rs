//! CPUs keep the kernel's numbers (NUMBERS section 2): programs that index by CPU number, compare lists of
//! CPUs, and save and restore their affinity mask. The C programs in tests/regressions describe what each does.

mod support;

use std::fs;
use std::path::Path;

use proclens::cgroup::parse_cpus::print_list;
use proclens::values::CpuList;
use support::{Container, MIB, Plan, c_program, skipped, text};

/// The machine's online CPUs.
fn online() -> Vec<u32> {
    let text = fs::read("/sys/devices/system/cpu/online").expect("the kernel's list");
    CpuList::parse(&text).expect("a list").iter().collect()
}

fn list(cpus: &[u32]) -> String {
    text(|out| print_list(cpus.iter().copied(), out))
}

/// One CPU by quota, and all CPUs of the machine allowed.
fn quota_of_one() -> Plan {
    Plan::new().memory(512 * MIB).quota(100_000, 100_000)
}

/// Two CPUs or more, of which the container has the last one only.
fn last_cpu_only() -> Option<(Plan, u32)> {
    let online = online();
    let last = *online.last()?;
    let plan = Plan::new().memory(512 * MIB).cpuset(&last.to_string());
    (online.len() > 1).then_some((plan, last))
}

/// Runs a C program of tests/regressions, for glibc and for musl. With `same_without` it must pass without the
/// library too.
fn passes(container: &Container, name: &str, environment: &[(&str, &str)], same_without: bool) {
    for compiler in ["gcc", "musl-gcc"] {
        let Some(program) = c_program(name, compiler, &[]) else {
            continue;
        };
        let run = |preload: bool| {
            let words = [program.to_str().expect("a plain path")];
            let mut program = container.program(&words);
            for (name, value) in environment {
                program = program.env(name, value);
            }
            if preload {
                program = program.preloaded();
            }
            program.output()
        };
        let with = run(true);
        if with.status == Some(77) {
            return skipped(&format!("{name}: {}", with.stderr));
        }
        assert_eq!(with.status, Some(0), "{name} {compiler}: {}", with.stderr);
        let expected = if same_without { 0 } else { 1 };
        let without = run(false);
        assert_eq!(
            without.status,
            Some(expected),
            "{name} {compiler} without the library: {}",
            without.stderr
        );
    }
}

#[test]
fn cpu_numbers_index_arrays() {
    needs_containers!();
    let container = quota_of_one().start();
    passes(
        &container,
        "cpu_index.c",
        &[("CPUS", "1")],
        online().len() < 2,
    );
    if let Some((plan, _)) = last_cpu_only() {
        passes(&plan.start(), "cpu_index.c", &[("CPUS", "1")], false);
    }
}

#[test]
fn a_reduced_mask_is_restored() {
    needs_containers!();
    passes(&quota_of_one().start(), "affinity.c", &[], false);
}

/// A program that sets the mask of a pinned process does not give it more CPUs than it asked for.
#[test]
fn a_mask_of_another_process_is_set_as_it_is() {
    needs_containers!();
    passes(&quota_of_one().start(), "affinity_of_others.c", &[], false);
}

#[test]
fn invalid_masks() {
    needs_containers!();
    passes(&quota_of_one().start(), "affinity_bad.c", &[], true);
}

#[test]
fn a_process_that_watches_cpus_gets_the_allowed_ones() {
    needs_containers!();
    let container = quota_of_one().start();
    passes(&container, "cpu_watcher.c", &[("CPUS", "1")], false);
    let perf = [("CPUS", "1"), ("PERF", "1")];
    passes(&container, "cpu_watcher.c", &perf, false);
}

#[test]
fn a_mask_is_restored_after_the_limits_changed() {
    needs_containers!();
    let online = online();
    let (Some(program), [_, .., last]) = (c_program("affinity_later.c", "gcc", &[]), &online[..])
    else {
        return skipped("one CPU only");
    };
    let container = quota_of_one().cpuset(&list(&online)).start();
    let words = [program.to_str().expect("a plain path")];
    let mut talk = container.program(&words).preloaded().start();
    let cpuset = container.directory("cpuset").join("cpuset.cpus");
    let set = |cpus: &[u32]| fs::write(&cpuset, list(cpus)).expect("cpuset.cpus");
    while let Some(line) = talk.line() {
        match line.as_str() {
            "one" => container.set_quota(100_000, 100_000),
            "two" => container.set_quota(200_000, 100_000),
            // The kernel may refuse it.
            "empty" => drop(fs::write(&cpuset, "\n")),
            "none" => container.set_quota(-1, 100_000),
            "last" => set(&[*last]),
            "all" => set(&online),
            other => panic!("{other}"),
        }
        talk.send("");
    }
    let output = talk.end();
    assert_eq!(output.status, Some(0), "{}", output.stderr);
}

/// A kernel that supports more CPUs than the program's mask refuses the mask, although the reduced one may fit.
#[test]
fn small_masks_on_a_machine_of_many_cpus() {
    needs_containers!();
    let container = quota_of_one().start();
    let (Some(program), Some(kernel)) = (
        c_program("small_masks.c", "gcc", &[]),
        c_program("wide_kernel.c", "gcc", &["-shared", "-fPIC"]),
    ) else {
        return;
    };
    let library = support::library();
    let both = format!("{} {}", library.display(), kernel.display());
    for (first, second) in [("3", "70"), ("70", "90")] {
        let words = [program.to_str().expect("a plain path")];
        let program = container.program(&words).preload(&both);
        let output = program.env("FIRST", first).env("SECOND", second).output();
        assert_eq!(output.status, Some(0), "{first}: {}", output.stderr);
        let program = container
            .program(&words)
            .preload(kernel.to_str().expect("a plain path"));
        let output = program.env("FIRST", first).env("SECOND", second).output();
        assert_eq!(output.status, Some(1), "{first} without the library");
    }
}

/// The kernel takes ranges and strides and prints plain lists. `online` is the list of the real mask.
#[test]
fn cpusets_with_ranges_and_strides() {
    needs_containers!();
    let online = online();
    let last = online.last().copied().unwrap_or_default();
    let container = Plan::new().memory(512 * MIB).cpuset(&list(&online)).start();
    let cpuset = container.directory("cpuset").join("cpuset.cpus");
    let script =
        "cat /sys/devices/system/cpu/online; nproc; grep Cpus_allowed_list /proc/self/status";
    for cpus in [
        format!("0-{last}:1/2"),
        format!("0-{last}:2/3"),
        "0,0-0".to_owned(),
        format!("{last}\n"),
        list(&online),
    ] {
        if let Err(error) = fs::write(&cpuset, &cpus) {
            skipped(&format!("this kernel refuses the cpuset {cpus:?}: {error}"));
            continue;
        }
        let printed = container.with_shell(script);
        let lines: Vec<_> = printed.lines().collect();
        let allowed = lines[2].split_whitespace().last().unwrap_or_default();
        let count = CpuList::parse(allowed.as_bytes()).expect("a list").count();
        assert_eq!(lines[0], allowed, "{cpus:?}");
        assert_eq!(lines[1], count.to_string(), "{cpus:?}");
    }
}

/// taskset reads the size of the kernel's masks before it pins: the user's mask applies.
#[test]
fn taskset_pins() {
    needs_containers!();
    let online = online();
    let container = quota_of_one().start();
    for cpu in online.iter().take(4) {
        let words = format!("taskset -c {cpu} grep Cpus_allowed_list /proc/self/status");
        let printed = container.with(&words);
        assert_eq!(
            printed.split_whitespace().last(),
            Some(cpu.to_string().as_str())
        );
    }
}

/// Python's masks are sets of numbers, so it does not pass back the memory that was read.
#[test]
fn python_restores_its_mask() {
    needs_containers!();
    let Ok(python) = Path::new("/usr/bin/python3").canonicalize() else {
        return skipped("no python3 here");
    };
    let container = quota_of_one().start();
    let script = "import os, subprocess
def allowed(pid='self'):
    return [l.split()[1] for l in open(f'/proc/{pid}/status') if l.startswith('Cpus_allowed_list')][0]
before, mask = allowed(), os.sched_getaffinity(0)
os.sched_setaffinity(0, mask)
print(before, len(mask), allowed() == before, subprocess.check_output(
    ['grep', 'Cpus_allowed_list', '/proc/self/status'], text=True).split()[1] == before)
child = subprocess.Popen(['sleep', '9'], preexec_fn=lambda: os.sched_setaffinity(0, mask))
print(allowed(child.pid) == before); child.kill()";
    let words = [python.to_str().expect("a plain path"), "-c", script];
    let printed = container.program(&words).preloaded().output().text();
    assert_eq!(printed, format!("{} 1 True True\nTrue\n", list(&online())));
}

#[test]
fn sysfs_lists_agree() {
    needs_containers!();
    let Some((plan, last)) = last_cpu_only() else {
        return skipped("one CPU only");
    };
    let container = plan.start();
    let cpu = "/sys/devices/system/cpu";
    let printed = container.with_shell(&format!(
        "cd {cpu}; cat online present; echo cpu[0-9]*; cat possible offline; cat {cpu}/../node/node0/cpulist;
         grep ^processor /proc/cpuinfo; grep '^cpu[0-9]' /proc/stat | cut -d' ' -f1"
    ));
    let lines: Vec<_> = printed.lines().collect();
    let possible = fs::read_to_string(format!("{cpu}/possible")).expect("the kernel's list");
    let all = CpuList::parse(possible.as_bytes()).expect("a list");
    let others: Vec<_> = all.iter().filter(|other| *other != last).collect();
    let last = last.to_string();
    assert_eq!(lines[..2], [&last[..], &last]);
    assert_eq!(lines[3], possible.trim());
    assert_eq!(lines[4], list(&others));
    assert_eq!(lines[5], last);
    assert_eq!(lines[6], format!("processor\t: {last}"));
    assert_eq!(lines[7], format!("cpu{last}"));
}

/// Tools that compare lists of CPUs, on a CPU that is not the first one.
#[test]
fn tools_work_with_a_cpu_that_is_not_the_first() {
    needs_containers!();
    let Some((plan, last)) = last_cpu_only() else {
        return skipped("one CPU only");
    };
    let container = plan.start();
    for (tool, words, expected) in [
        (
            "hwloc-calc",
            "hwloc-calc --number-of pu all",
            "1".to_owned(),
        ),
        (
            "hwloc-bind",
            "hwloc-bind --get --taskset",
            format!("{:#x}", 1u64 << last),
        ),
        ("numactl", "numactl -N 0 nproc", "1".to_owned()),
        ("lscpu", "lscpu -p=cpu", last.to_string()),
        (
            "mpstat",
            "mpstat -P ALL -o JSON",
            format!("\"cpu\": \"{last}\""),
        ),
    ] {
        if support::program(tool).is_none() {
            skipped(&format!("no {tool} here"));
            continue;
        }
        let words: Vec<_> = words.split(' ').collect();
        let output = container.program(&words).preloaded().output();
        assert_eq!(output.status, Some(0), "{tool}: {}", output.stderr);
        let printed: Vec<_> = output
            .stdout
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        let found = printed
            .iter()
            .any(|line| line.trim() == expected || tool == "mpstat" && line.contains(&expected));
        assert!(found, "{tool}: {expected} is not in\n{}", output.stdout);
    }
}

/// A thread is pinned to a CPU that is hidden from others: the tools find the CPU in all lists.
#[test]
fn tools_work_in_a_thread_that_is_pinned() {
    needs_containers!();
    let online = online();
    let [_, .., last] = &online[..] else {
        return skipped("one CPU only");
    };
    let container = quota_of_one().start();
    let Some(places) = c_program("omp_places.c", "gcc", &["-fopenmp"]) else {
        return skipped("no gcc here");
    };
    for (tool, words, expected) in [
        (
            "hwloc-bind",
            "hwloc-bind --get --taskset",
            format!("{:#x}", 1u64 << last),
        ),
        ("lscpu", "lscpu -p=cpu", last.to_string()),
        ("env", "env OMP_PLACES=cores PROGRAM", "1 places".to_owned()),
        ("numactl", "numactl -N 0 nproc", "1".to_owned()),
    ] {
        if support::program(tool).is_none() {
            skipped(&format!("no {tool} here"));
            continue;
        }
        let words = words.replace("PROGRAM", places.to_str().expect("a plain path"));
        let words = format!("taskset -c {last} {words}");
        let words: Vec<_> = words.split(' ').collect();
        let output = container.program(&words).preloaded().output();
        assert_eq!(output.status, Some(0), "{tool}: {}", output.stderr);
        let found = output.stdout.lines().any(|line| line.trim() == expected);
        assert!(found, "{tool}: {expected} is not in\n{}", output.stdout);
    }
}

/// Programs have a ring for each CPU on which the container's threads can run, so they lose no event. On a
/// machine of one CPU nothing is hidden.
#[test]
fn programs_that_watch_cpus_lose_nothing() {
    needs_containers!();
    let online = online();
    if online.len() < 2 {
        return skipped("one CPU only");
    }
    let container = quota_of_one().start();
    if Path::new("/usr/include/bpf/libbpf.h").exists() {
        let options = ["-Wl,--no-as-needed", "-lbpf"];
        if let Some(program) = c_program("libbpf_buffer.c", "gcc", &options) {
            let words = [program.to_str().expect("a plain path")];
            let output = container.program(&words).preloaded().output();
            if output.status == Some(77) {
                skipped(&format!("libbpf: {}", output.stderr));
            } else {
                assert_eq!(output.status, Some(0), "libbpf: {}", output.stderr);
            }
        }
    } else {
        skipped("no libbpf here");
    }

    if support::program("perf").is_some() {
        let words = "perf stat -a -A -x, -e cpu-clock -- sleep 0.1";
        let words: Vec<_> = words.split(' ').collect();
        let output = container.program(&words).preloaded().output();
        assert_eq!(output.status, Some(0), "perf: {}", output.stderr);
        for cpu in &online {
            let row = format!("CPU{cpu},");
            let found = output.stderr.lines().any(|line| line.starts_with(&row));
            assert!(found, "no {row} in\n{}", output.stderr);
        }
    } else {
        skipped("no perf here");
    }

    if Path::new("/usr/sbin/bpftool").exists() && Path::new("/sys/fs/bpf").exists() {
        let printed = container.with_shell(
            "mount -t bpf none /sys/fs/bpf && cd /sys/fs/bpf &&
             bpftool map create one type percpu_array key 4 value 16384 entries 1 name one &&
             bpftool map lookup pinned one key 0 0 0 0 | grep -c '^value (CPU'; rm -f one",
        );
        let possible = fs::read("/sys/devices/system/cpu/possible").expect("the kernel's list");
        let possible = CpuList::parse(&possible).expect("a list").count();
        assert_eq!(printed.trim(), possible.to_string(), "bpftool");
    } else {
        skipped("no bpftool here");
    }

    if support::program("bpftrace").is_some() {
        let script = "profile:hz:99 { @[cpu] = count(); printf(\"on %d\\n\", cpu); } interval:s:2 { exit(); }";
        let words = ["bpftrace", "-e", script];
        let output = container.program(&words).preloaded().output();
        assert_eq!(output.status, Some(0), "bpftrace: {}", output.stderr);
        for cpu in &online {
            for expected in [format!("@[{cpu}]:"), format!("on {cpu}")] {
                let found = output
                    .stdout
                    .lines()
                    .any(|line| line.starts_with(&expected));
                assert!(found, "bpftrace: no {expected} in\n{}", output.stdout);
            }
        }
    } else {
        skipped("no bpftrace here");
    }
}

#[test]
fn lttng_loses_no_event() {
    needs_containers!();
    let online = online();
    let [_, .., last] = &online[..] else {
        return skipped("one CPU only");
    };
    let tools = ["lttng", "lttng-sessiond", "babeltrace2"];
    if tools.iter().any(|tool| support::program(tool).is_none())
        || !Path::new(&format!(
            "/usr/include/{}-linux-gnu/lttng/tracef.h",
            std::env::consts::ARCH
        ))
        .exists()
    {
        return skipped("no LTTng here");
    }
    let options = ["-Wl,--no-as-needed", "-llttng-ust"];
    let Some(program) = c_program("lttng_events.c", "gcc", &options) else {
        return skipped("no gcc here");
    };
    let directory = support::scratch().join(format!("lttng-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory for the trace");
    let container = quota_of_one().start();
    // The container has a directory of its own for the daemons.
    let script = format!(
        "mount -t tmpfs none /run; export HOME={0} LTTNG_HOME={0}; cd {0}
         lttng-sessiond --daemonize --no-kernel
         {{ lttng create cpus --output={0}/trace; lttng enable-event -u 'lttng_ust_tracef:*'; lttng start; }} >/dev/null
         {1} {last}; {{ lttng stop; lttng destroy; kill $(cat /run/lttng/lttng-sessiond.pid); }} >/dev/null
         babeltrace2 trace | grep -c 'event [0-9]* of CPU {last}'",
        directory.display(),
        program.display()
    );
    let output = container
        .program(&["sh", "-c", &script])
        .preloaded()
        .output();
    let _ = fs::remove_dir_all(&directory);
    assert_eq!(output.stdout.trim(), "1000", "{}", output.stderr);
}
