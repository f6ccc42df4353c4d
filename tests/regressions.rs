//! One small C program for each fault or risk (the comment at its top describes it), for glibc and for musl, in a
//! container. Each also runs without the library: a program that checks values must fail there, and a program
//! that checks that the library does no harm must pass. A test that cannot fail proves nothing.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use proclens::preload::{Group, NAMES};
use support::{Container, MEM_KB, MIB, Output, Plan, c_program, library, skipped};

/// What a C regression test checks, and so its result without the library.
#[derive(Clone, Copy, PartialEq)]
enum Checks {
    /// It checks values: without the library it fails.
    Answers,
    /// It checks that the library does no harm: without the library it passes too.
    Harmless,
}
use Checks::{Answers, Harmless};

/// The number of CPUs that 1.5 CPUs are on this machine.
fn cpus() -> u64 {
    Plan::usual().cpus()
}

/// Runs a C regression test and sets the memory limits that it requests.
fn converse(container: &Container, program: &Path, arguments: &[&str], preload: bool) -> Output {
    let mut words = vec![program.to_str().expect("a plain path")];
    words.extend(arguments);
    support::converse(container, &words, preload)
}

/// Runs the same program with glibc and with musl, with and without the library.
fn trap(name: &str, checks: Checks, arguments: &[&str]) {
    trap_in(&Plan::usual(), name, checks, arguments);
}

fn trap_in(plan: &Plan, name: &str, checks: Checks, arguments: &[&str]) {
    needs_containers!();
    let compilers: &[&str] = if name.ends_with(".cc") {
        &["g++"]
    } else {
        &["gcc", "musl-gcc"]
    };
    let container = plan.clone().start();
    for compiler in compilers {
        let Some(program) = c_program(name, compiler, &[]) else {
            continue;
        };
        let with = converse(&container, &program, arguments, true);
        if with.status == Some(77) {
            skipped(&format!("{name} {compiler}: {}", with.stderr));
            continue;
        }
        assert_eq!(with.status, Some(0), "{name} {compiler}: {}", with.stderr);
        assert_eq!(with.stderr, "", "{name} {compiler}");
        assert_eq!(with.stdout, "", "{name} {compiler}");
        let without = converse(&container, &program, arguments, false);
        let expected = if checks == Answers { 1 } else { 0 };
        assert_eq!(
            without.status,
            Some(expected),
            "{name} {compiler} without the library: {}",
            without.stderr
        );
    }
}

macro_rules! traps {
    ($($test:ident: $file:literal $checks:ident [$($argument:expr),*];)*) => {
        $(#[test]
        fn $test() {
            trap($file, $checks, &[$($argument),*]);
        })*
    };
}

traps! {
    sendfile: "sendfile.c" Answers [];
    mmap: "mmap.c" Answers [];
    dup2_onto_standard_input: "dup2_stdin.c" Answers [];
    child_that_inherits: "child_inherits.c" Answers [];
    ifstream: "ifstream.cc" Answers [];
    one_byte_reads: "one_byte.c" Answers [];
    streams_rewound: "stdio_rewind.c" Answers [];
    lseek_to_the_start: "lseek_start.c" Answers [];
    pread_from_the_start: "pread_start.c" Answers [];
    duplicates_refreshed: "dup_refresh.c" Answers [];
    fork_shares_a_descriptor: "fork_refresh.c" Answers [];
    exec_then_rewind: "exec_refresh.c" Answers [];
    exec_then_rewind_of_a_high_number: "exec_refresh.c" Answers ["high"];
    exec_then_rewind_of_another_number: "exec_other_number.c" Answers [];
    one_pass_is_one_text: "one_pass.c" Answers [];
    read_only: "read_only.c" Answers [];
    flags_kept: "flags.c" Answers [];
    thread_with_descriptors_of_its_own: "own_thread.c" Answers [];
    main_thread_that_has_ended: "main_thread_ended.c" Answers [];
    numbers_kept: "numbers.c" Answers [];
    errno_after_success: "errno_success.c" Harmless [];
    errno_after_failure: "errno_failure.c" Harmless [];
    paths_at_the_edge: "path_edges.c" Answers [];
    no_file_size: "file_size_limit.c" Answers [];
    no_descriptor_to_spare: "no_descriptors.c" Answers [];
    no_memfd_eperm: "no_memfd.c" Answers ["1"];
    no_memfd_enosys: "no_memfd.c" Answers ["38"];
    no_memfd_and_a_long_path: "no_memfd.c" Answers ["1", "long"];
    spellings: "spellings.c" Answers [];
    vfork: "vfork_child.c" Answers [];
    signal_handlers: "signal_handler.c" Answers [];
    threads: "threads.c" Answers [];
    fork_with_threads: "fork_in_threads.c" Answers [];
    small_stack: "small_stack.c" Answers [];
    signals_blocked: "signals_blocked.c" Answers [];
    all_descriptors_closed: "close_all.c" Answers [];
    no_memory: "no_memory.c" Harmless [];
    not_dumpable: "not_dumpable.c" Answers [];
    environment_overwritten: "environment.c" Answers [];
    no_environment: "no_environment.c" Answers [];
    environments_that_are_none: "bad_environment.c" Harmless [];
    environments_of_unloaded_plugins: "stale_environment.c" Answers [];
    environments_that_change_during_a_spawn: "spawn_and_setenv.c" Harmless [];
    small_signal_stacks: "small_signal_stack.c" Answers [];
    vfork_and_many_variables: "many_variables.c" Harmless [];
    exec_with_long_lists: "exec_lists.c" Harmless [];
    pid_namespace_of_children: "unshare_pid.c" Harmless [];
    confined_programs: "confined.c" Harmless [];
    descriptors_met_late: "met_late.c" Answers [];
    descriptors_by_path: "by_path.c" Harmless [];
    files_of_tasks: "task_stat.c" Harmless [];
    files_mounted_over_those_of_tasks: "task_stat_covered.c" Harmless [];
    other_ways_to_open: "other_opens.c" Harmless [];
    other_system_calls: "other_syscalls.c" Harmless [];
    files_of_other_users: "strangers_file.c" Harmless [];
    descriptors_handed_to_other_users: "changed_by_others.c" Answers [];
    calls_on_a_descriptor: "as_the_kernels.c" Answers [];
    handlers_that_jump_out: "jumps_out.c" Answers [];
    standard_input_that_is_shared: "shared_stdin.c" Harmless [];
    strictly_confined_programs: "strictly_confined.c" Harmless [];
    programs_that_confine_themselves: "confines_itself.c" Harmless [];
}

/// One CPU: if the machine has more, the library hides them.
fn one_cpu() -> Plan {
    Plan::new().memory(512 * MIB).quota(100_000, 100_000)
}

#[test]
fn scandir_in_a_program_with_an_allocator_of_its_own() {
    trap_in(&one_cpu(), "own_malloc.c", Harmless, &[]);
}

#[test]
fn freopen_of_a_hidden_cpu() {
    trap_in(&one_cpu(), "hidden_freopen.c", Answers, &[]);
}

#[test]
fn glob_where_all_that_matches_is_hidden() {
    trap_in(&one_cpu(), "hidden_glob.c", Answers, &[]);
}

#[test]
fn glob_frees_what_it_hides() {
    trap_in(&one_cpu(), "glob_memory.c", Harmless, &[]);
}

#[test]
fn handlers_that_jump_out_of_lookups() {
    trap_in(&one_cpu(), "jumps_out_of_lookups.c", Harmless, &[]);
}

#[test]
fn signals_are_blocked_while_the_library_opens() {
    trap_in(&one_cpu(), "signals_while_opening.c", Harmless, &[]);
}

#[test]
fn every_call_of_the_table() {
    let names: Vec<_> = NAMES
        .iter()
        .filter(|(_, group)| {
            matches!(
                group,
                Group::Open | Group::Value | Group::Refresh | Group::Raw
            )
        })
        .map(|(name, _)| *name)
        .collect();
    let plan = Plan::new().memory(512 * MIB).quota(50_000, 100_000);
    trap_in(&plan, "every_call.c", Answers, &names);
    // Each call also by itself, so that the failure of the first hides no other. On a machine of one CPU a
    // number of CPUs cannot be wrong.
    needs_containers!();
    let machine = std::thread::available_parallelism().map_or(1, |n| n.get());
    let container = plan.start();
    let Some(program) = c_program("every_call.c", "gcc", &[]) else {
        return;
    };
    for name in names {
        let output = converse(&container, &program, &[name], false);
        let fails = machine > 1 || !(name.contains("nprocs") || name.contains("affinity"));
        if fails && name != "getloadavg" {
            assert_eq!(output.status, Some(1), "{name} without the library passes");
        }
    }
}

// --- the library cannot make a memory file or find the container --------------------------------

#[test]
fn no_memfd_and_no_shared_memory_directory() {
    let plan = Plan::usual().setup("umount -l /dev/shm; mount -t tmpfs -o ro none /dev/shm");
    trap_in(&plan, "no_memfd.c", Answers, &["1"]);
}

#[test]
fn no_memfd_and_no_writable_directory() {
    let read_only = "for d in /dev/shm /run /tmp; do mount -t tmpfs -o ro none $d; done
        mount -o remount,bind,ro /";
    // The target directory may be below one of these.
    let target = support::scratch();
    let (target, lib) = (target.display(), library());
    let lib = lib.parent().expect("a directory").display().to_string();
    let keep = format!(
        "mkdir -p /mnt/t /mnt/l; mount --bind {target} /mnt/t; mount --bind {lib} /mnt/l
         {read_only}
         mount -t tmpfs none /tmp; mkdir -p {target} {lib}
         mount --bind /mnt/t {target}; mount --bind /mnt/l {lib}; mount -o remount,ro /tmp"
    );
    let plan = Plan::usual().setup(&keep);
    trap_in(&plan, "no_memfd.c", Answers, &["1", "none"]);
    // With memfd_create a read-only root does not matter.
    trap_in(&plan, "lseek_start.c", Answers, &[]);
    trap_in(&plan, "threads.c", Answers, &[]);
}

const FILES: &str = "/proc/meminfo /proc/stat /proc/cpuinfo /proc/loadavg /proc/uptime \
     /sys/devices/system/cpu/online /sys/devices/system/cpu/present";

fn reader(rounds: u32) -> Option<String> {
    let program = c_program("reader.c", "gcc", &[])?;
    Some(format!("{} {rounds} {FILES}", program.display()))
}

/// The output of `reader` without a container: the kernel's own numbers.
fn is_hosts(text: &str, rounds: usize) {
    let own = std::fs::read_to_string("/proc/meminfo").expect("meminfo");
    let of = |text: &str| support::field(text, "MemTotal");
    assert_eq!(of(text), of(&own));
    assert_eq!(
        text.lines().filter(|l| l.starts_with("processor")).count(),
        std::fs::read_to_string("/proc/cpuinfo")
            .expect("cpuinfo")
            .lines()
            .filter(|l| l.starts_with("processor"))
            .count()
            * rounds
    );
}

const NO_CGROUP: &str =
    "awk '$3 ~ /^cgroup/ { print $2 }' /proc/self/mounts | sort -r | while read m; do umount -l $m; done
     umount -l /sys/fs/cgroup 2>/dev/null || true";

#[test]
fn no_cgroup_mounted() {
    needs_containers!();
    let Some(reader) = reader(3) else { return };
    let words: Vec<_> = reader.split(' ').filter(|w| !w.is_empty()).collect();
    let container = Plan::usual().setup(NO_CGROUP).start();
    let mounts = container.without("cat /proc/self/mounts");
    assert!(!mounts.contains(" cgroup"), "{mounts}");
    is_hosts(&container.program(&words).preloaded().output().text(), 3);

    // The message comes once for any number of reads, and only if the settings enable it.
    let warned = container
        .program(&words)
        .preloaded()
        .env("PROCLENS_LOG", "warn")
        .output();
    assert_eq!(warned.status, Some(0));
    is_hosts(&warned.stdout, 3);
    let lines: Vec<_> = warned.stderr.lines().collect();
    assert!(!lines.is_empty(), "no message");
    assert!(
        lines.iter().all(|l| l.starts_with("proclens: ")),
        "{lines:?}"
    );
    let files: BTreeSet<_> = lines.iter().map(|l| l.split(": ").nth(1)).collect();
    assert_eq!(files.len(), lines.len(), "reported twice: {lines:?}");
}

#[test]
fn malformed_cgroup_files() {
    needs_containers!();
    let Some(reader) = reader(1) else { return };
    let container = Plan::usual().cpuset("0").start();
    let files: &[(&str, &str)] = if container.v2() {
        &[
            ("memory", "memory.max"),
            ("memory", "memory.current"),
            ("memory", "memory.stat"),
            ("memory", "memory.swap.max"),
            ("cpu", "cpu.max"),
            ("cpu", "cpu.stat"),
            ("cpuset", "cpuset.cpus.effective"),
        ]
    } else {
        &[
            ("memory", "memory.stat"),
            ("memory", "memory.usage_in_bytes"),
            ("memory", "memory.limit_in_bytes"),
            ("cpu", "cpu.cfs_quota_us"),
            ("cpu", "cpu.cfs_period_us"),
            ("cpu", "cpu.stat"),
            ("cpuset", "cpuset.effective_cpus"),
            ("cpuset", "cpuset.cpus"),
            ("cpuacct", "cpuacct.stat"),
            ("cpuacct", "cpuacct.usage"),
            ("cpuacct", "cpuacct.usage_all"),
            ("cpuacct", "cpuacct.usage_percpu"),
        ]
    };
    let contents = [
        "",
        "\n",
        "garbage\n",
        "0\n",
        "-1\n",
        "9223372036854775807\n",
        "99999999999999999999999999\n",
        "max max max\n",
        "4294967295-0,,7-\n",
        "hierarchical_memory_limit\ntotal_cache -5\nnr_throttled 99999999999999999999\n",
    ];
    let mut script = String::from("set -e; cd /proc/self/cwd; exec 3>&1\n");
    for (controller, file) in files {
        let path = container.directory(controller).join(file);
        if !path.exists() {
            continue;
        }
        for (i, content) in contents.iter().enumerate() {
            let content = content.replace('\n', "\\n");
            script.push_str(&format!(
                "printf '%b' '{content}' >/dev/shm/g{i}; mount --bind /dev/shm/g{i} {path}
                 echo 'CASE {file} {i}'; LD_PRELOAD={lib} {reader} || echo CRASHED $?
                 umount {path}; rm /dev/shm/g{i}\n",
                path = path.display(),
                lib = library().display(),
            ));
        }
    }
    let output = container.program(&["sh", "-c", &script]).output().text();
    let host = support::field(
        &std::fs::read_to_string("/proc/meminfo").expect("meminfo"),
        "MemTotal",
    );
    let host_rows = std::fs::read_to_string("/proc/stat")
        .expect("stat")
        .lines()
        .filter(|l| l.starts_with("cpu") && !l.starts_with("cpu "))
        .count();
    let cases: Vec<_> = output.split("CASE ").skip(1).collect();
    assert!(cases.len() >= 6 * contents.len(), "{}", cases.len());
    for case in cases {
        let name = case.lines().next().unwrap_or_default();
        assert!(!case.contains("CRASHED"), "{name}: {case}");
        let of = |field| support::field(case, field);
        let total = of("MemTotal");
        // The limit of case 3 is 0, on v2.
        let is_zero = name == "memory.max 3";
        assert!(is_zero || total > 0.0, "{name}: MemTotal {total}");
        assert!(total <= host, "{name}: MemTotal {total}");
        assert!(of("MemFree") <= total, "{name}: MemFree");
        assert!(of("MemAvailable") <= total, "{name}: MemAvailable");
        let processors = case.lines().filter(|l| l.starts_with("processor")).count();
        let rows = case
            .lines()
            .filter(|l| l.starts_with("cpu") && l.as_bytes()[3].is_ascii_digit())
            .count();
        assert!(processors >= 1, "{name}: no processor");
        // If the CPU time cannot be read, the program gets the kernel's own file.
        assert!(
            rows == processors || rows == host_rows,
            "{name}: /proc/stat has {rows} CPUs"
        );
        assert_eq!(of("CPUS") as usize, processors, "{name}: sysconf");
        let last = if cfg!(target_arch = "x86_64") {
            "DirectMap2M"
        } else {
            "Hugepagesize"
        };
        for field in ["btime", "ctxt", "softirq", last, "SwapTotal"] {
            of(field);
        }
        let lines: Vec<_> = case.lines().collect();
        let lists = lines
            .iter()
            .filter(|l| **l == "0" || l.starts_with("0-"))
            .count();
        assert!(lists >= 2, "{name}: CPU lists: {case}");
    }
}

// --- settings -----------------------------------------------------------------------------------

/// MemTotal in KiB and the number of CPUs, from files and calls under these settings.
fn under(container: &Container, settings: &[(&str, &str)]) -> (u64, u64, String) {
    let reader = reader(1).expect("gcc");
    let words: Vec<_> = reader.split(' ').filter(|w| !w.is_empty()).collect();
    let mut program = container.program(&words).preloaded();
    for (name, value) in settings {
        program = program.env(name, value);
    }
    let output = program.output();
    assert_eq!(output.status, Some(0), "{settings:?}: {output:?}");
    let text = &output.stdout;
    let total = support::field(text, "MemTotal");
    let cpus = support::field(text, "CPUS");
    let processors = text.lines().filter(|l| l.starts_with("processor")).count();
    assert_eq!(cpus as usize, processors, "{settings:?}");
    // SAFETY: a call without pointers.
    let page_kib = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as f64 / 1024.0;
    let pages = support::field(text, "PAGES");
    assert_eq!(total, pages * page_kib, "{settings:?}");
    (total as u64, cpus as u64, output.stderr)
}

#[test]
fn settings() {
    needs_containers!();
    if c_program("reader.c", "gcc", &[]).is_none() {
        return;
    }
    let container = Plan::usual().start();
    let quiet = |settings: &[(&str, &str)]| {
        let (memory, cpus, message) = under(&container, settings);
        assert_eq!(message, "", "{settings:?}");
        (memory, cpus)
    };
    let usual = (MEM_KB, cpus());
    assert_eq!(quiet(&[]), usual);
    assert_eq!(quiet(&[("PROCLENS", "on")]), usual);
    let (memory, here) = quiet(&[("PROCLENS", "off")]);
    assert!(memory > MEM_KB && here >= cpus());
    is_hosts(
        &container
            .program(
                &reader(1)
                    .expect("gcc")
                    .split_whitespace()
                    .collect::<Vec<_>>(),
            )
            .preloaded()
            .env("PROCLENS", "off")
            .output()
            .text(),
        1,
    );

    assert_eq!(quiet(&[("PROCLENS_CPUS", "1")]), (MEM_KB, 1));
    assert_eq!(quiet(&[("PROCLENS_CPUS", "0.3")]), (MEM_KB, 1));
    assert_eq!(quiet(&[("PROCLENS_CPUS", "1.2")]), usual);
    // The setting is one more ancestor in every minimum: it never raises a limit.
    assert_eq!(quiet(&[("PROCLENS_CPUS", "64")]), usual);
    assert_eq!(quiet(&[("PROCLENS_MEMORY", "8G")]), usual);
    assert_eq!(quiet(&[("PROCLENS_MEMORY", "256M")]), (256 << 10, usual.1));
    assert_eq!(
        quiet(&[("PROCLENS_MEMORY", "268435456")]),
        (256 << 10, usual.1)
    );
    assert_eq!(quiet(&[("PROCLENS_CPU_ROUND", "down")]), (MEM_KB, 1));
    assert_eq!(quiet(&[("PROCLENS_CPU_ROUND", "up")]), usual);
    assert_eq!(quiet(&[("PROCLENS_CPU_ROUND", "nearest")]), usual);
    assert_eq!(
        quiet(&[("PROCLENS_CPUS", "1.4"), ("PROCLENS_CPU_ROUND", "nearest")]),
        (MEM_KB, 1)
    );
    assert_eq!(quiet(&[("PROCLENS_LOG", "warn")]), usual);
}

/// Kubernetes makes seven variables for each port of each Service, here of one named `proclens-a`.
#[test]
fn settings_among_many_and_long_strings() {
    needs_containers!();
    let Some(reader) = reader(1) else { return };
    let container = Plan::usual().start();
    let preload = format!("LD_PRELOAD={}", library().display());
    let many: Vec<_> = (0..40).map(|i| format!("PROCLENS_A{i}_PORT=1")).collect();
    let long = vec![format!("PROCLENS_SKIP={}", "x".repeat(17_000))];
    for (others, message) in [(many, "PROCLENS_A39_PORT=1"), (long, "PROCLENS_SKIP=xxx")] {
        let under = |last: &[&str]| {
            let mut words = vec!["env", &preload, "PROCLENS_MEMORY=256M"];
            words.extend(others.iter().map(String::as_str));
            words.extend(last);
            words.extend(reader.split_whitespace());
            container.program(&words).output()
        };
        is_hosts(&under(&["PROCLENS=off"]).text(), 1);
        let warned = under(&["PROCLENS_LOG=warn"]);
        assert_eq!(support::field(&warned.stdout, "MemTotal"), 262144.0);
        assert!(warned.stderr.contains(message), "{}", warned.stderr);
    }
}

#[test]
fn invalid_settings_are_ignored_and_reported() {
    needs_containers!();
    if c_program("reader.c", "gcc", &[]).is_none() {
        return;
    }
    let container = Plan::usual().start();
    for (name, value) in [
        ("PROCLENS", "maybe"),
        ("PROCLENS_CPUS", "many"),
        ("PROCLENS_CPUS", "-1"),
        ("PROCLENS_CPUS", "0"),
        ("PROCLENS_CPUS", ""),
        ("PROCLENS_MEMORY", "512X"),
        ("PROCLENS_MEMORY", "-1"),
        ("PROCLENS_MEMORY", "99999999999999999999999"),
        ("PROCLENS_CPU_ROUND", "sideways"),
        ("PROCLENS_NOTHING", "1"),
    ] {
        let (memory, cpus_here, message) = under(&container, &[(name, value)]);
        assert_eq!((memory, cpus_here), (MEM_KB, cpus()), "{name}={value}");
        assert_eq!(message, "", "{name}={value} without PROCLENS_LOG");
        for order in [0, 1] {
            let mut settings = [(name, value), ("PROCLENS_LOG", "warn")];
            settings.rotate_left(order);
            let (memory, cpus_here, message) = under(&container, &settings);
            assert_eq!((memory, cpus_here), (MEM_KB, cpus()), "{name}={value}");
            assert_eq!(message.lines().count(), 1, "{name}={value}: {message}");
            assert!(message.starts_with("proclens: "), "{message}");
            assert!(
                message.contains(name) || message.contains("setting"),
                "{message}"
            );
        }
    }
}

// --- allocators ---------------------------------------------------------------------------------

fn under_allocator(container: &Container, program: &Path, allocator: &Path) {
    let (library, allocator) = (library(), allocator.display());
    let library = library.display();
    for preload in [
        format!("{library}:{allocator}"),
        format!("{allocator}:{library}"),
    ] {
        let output = container
            .program(&[program.to_str().expect("a plain path")])
            .preload(&preload)
            .env("MEM_KB", &MEM_KB.to_string())
            .env("CPUS", &cpus().to_string())
            .output();
        assert_eq!(output.status, Some(0), "{preload}: {output:?}");
        assert_eq!(output.stderr, "", "{preload}");
    }
}

#[test]
fn calls_while_malloc_initialises() {
    needs_containers!();
    let container = Plan::usual().start();
    for compiler in ["gcc", "musl-gcc"] {
        let Some(program) = c_program("allocates.c", compiler, &[]) else {
            continue;
        };
        let options = ["-shared", "-fPIC", "-fno-builtin"];
        let allocator = c_program("early_malloc.c", compiler, &options).expect("the same compiler");
        under_allocator(&container, &program, &allocator);
    }
}

#[test]
fn jemalloc_and_tcmalloc() {
    needs_containers!();
    let container = Plan::usual().start();
    let Some(program) = c_program("allocates.c", "gcc", &[]) else {
        return;
    };
    for (name, package) in [
        ("libjemalloc.so.2", "libjemalloc2"),
        ("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
    ] {
        let path = format!("usr/lib/{}-linux-gnu/{name}", std::env::consts::ARCH);
        let Some(allocator) = support::fetched(&path, &format!("/{path}")) else {
            skipped(&format!("no {name} (tests/support/fetch brings {package})"));
            continue;
        };
        under_allocator(&container, &program, &allocator);
        // Also in a real program.
        let preload = format!("{}:{}", library().display(), allocator.display());
        let words = ["free", "-b"];
        let free = container.program(&words).preload(&preload).output().text();
        assert!(free.contains(&(512 * MIB).to_string()), "{free}");
    }
}

/// In a program that has closed its standard descriptors, another thread may still write messages to them. What the
/// library writes to is elsewhere.
#[test]
fn the_librarys_descriptors_are_no_standard_ones() {
    needs_containers!();
    if support::program("strace").is_none() {
        return skipped("no strace here");
    }
    let container = Plan::usual().start();
    let script = format!(
        "exec strace -qq -o /dev/fd/9 -e trace=pwrite64,pwritev,pread64 -E LD_PRELOAD={} cat /proc/stat 9>&1 >/dev/null <&- 2>&-",
        library().display()
    );
    let said = container.program(&["sh", "-c", &script]).output();
    let (mut reads, mut writes) = (0, 0);
    for line in said.stdout.lines() {
        let (call, arguments) = line.split_once('(').expect("a call");
        let fd: u32 = arguments
            .split_once(',')
            .and_then(|(fd, _)| fd.parse().ok())
            .expect("a descriptor");
        // The program's own descriptor is 0: the library reads the kernel's file there.
        assert!(fd > 2 || (call == "pread64" && fd == 0), "{line}");
        *(if call == "pread64" {
            &mut reads
        } else {
            &mut writes
        }) += 1;
    }
    assert!(reads > 0 && writes > 1, "{said:?}");
}
