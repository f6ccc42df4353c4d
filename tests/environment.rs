//! Which programs see the container when a program starts another one with another environment.
//! README, "Switching it off", states the rule: an environment that lost `LD_PRELOAD` alone lost it on
//! purpose; one that was built anew keeps the preload and all settings.

mod support;

use support::{Container, Plan, c_program, library, skipped};

/// The container's limit, the user's own and the host's memory, in KiB.
const LIMIT: u64 = 512 << 10;
const USERS: u64 = 256 << 10;

/// The machine's memory as the last program of `script` reads it, in KiB. The script runs in `sh`.
fn seen(container: &Container, settings: &[(&str, &str)], words: &[&str]) -> u64 {
    let mut program = container.program(words).preloaded();
    // As in a container of Docker, which sets HOSTNAME.
    for (name, value) in [("HOSTNAME", "a")].iter().chain(settings) {
        program = program.env(name, value);
    }
    let output = program.output();
    assert_eq!(output.status, Some(0), "{words:?} {settings:?}: {output:?}");
    support::field(&output.stdout, "MemTotal") as u64
}

fn host() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").expect("meminfo");
    support::field(&text, "MemTotal") as u64
}

/// With the preload a program sees the container; after `unset LD_PRELOAD` the next one sees the host.
#[test]
fn an_unset_preload_is_respected() {
    needs_containers!();
    let container = Plan::usual().start();
    let shown = |script: &str| seen(&container, &[], &["bash", "-c", script]);
    let show = "head -n 1 /proc/meminfo";
    assert_eq!(shown(show), LIMIT);
    for script in [
        "unset LD_PRELOAD; SHOW",
        "LD_PRELOAD= SHOW",
        "export LD_PRELOAD=; SHOW",
        "env -u LD_PRELOAD SHOW",
        "env LD_PRELOAD= SHOW",
        "unset LD_PRELOAD; bash -c 'SHOW'",
        "sh -c 'unset LD_PRELOAD; SHOW'",
        "bash -c 'cd /; unset LD_PRELOAD; export A=1 B=2; SHOW'",
        "env -i sh -c 'unset LD_PRELOAD; SHOW; :'",
        "unset LD_PRELOAD; env -i /usr/bin/SHOW",
        "env -u LD_PRELOAD -u LC_ALL SHOW",
        "perl -e 'delete $ENV{LD_PRELOAD}; system(qw(SHOW))'",
        "perl -e 'delete $ENV{LD_PRELOAD}; exec(q(SHOW; :))'",
    ] {
        let script = script.replace("SHOW", show);
        assert_eq!(shown(&script), host(), "{script}");
    }
    // The program itself has no preload variable.
    assert_eq!(
        shown("unset LD_PRELOAD; read -r line </proc/meminfo; echo $line"),
        LIMIT
    );
}

#[test]
fn a_wiped_environment_keeps_the_preload_and_all_settings() {
    needs_containers!();
    let container = Plan::usual().start();
    let scripts = [
        "exec env -i /usr/bin/SHOW",
        "exec env -i A=1 B=2 /usr/bin/SHOW",
        "exec env -i PATH=$PATH HOME=$HOME SHOW",
        "exec env -i env -i /usr/bin/SHOW",
        "exec env -i /bin/sh -c 'exec env -i /usr/bin/SHOW'",
        "exec -c /usr/bin/SHOW",
        "su - nobody -s /bin/sh -c 'SHOW'",
        "exec su - root -c 'SHOW'",
        "perl -e '%ENV = (); system(qw(/usr/bin/SHOW))'",
        "perl -e '%ENV = (); exec(q(/usr/bin/SHOW; :))'",
        "perl -e '$0 = q(a) x 300; %ENV = (); exec(qw(/usr/bin/SHOW))'",
        "perl -e '%ENV = (PATH => $ENV{PATH}); print `SHOW`'",
        "perl -e '%ENV = (); open(F, q(/proc/meminfo)); print scalar <F>'",
    ];
    let python = [
        "import os; os.environ.clear(); os.execv('/usr/bin/head', ['head', '-n1', '/proc/meminfo'])",
        "import os; os.environ.clear(); os.system('/usr/bin/SHOW')",
        "import os; os.environ.clear(); print(os.popen('/usr/bin/SHOW').read())",
        "import os; os.environ.clear(); print(open('/proc/meminfo').readline())",
        "import subprocess; subprocess.run(['/usr/bin/head', '-n1', '/proc/meminfo'], env={})",
        "import subprocess; subprocess.run(['/usr/bin/head', '-n1', '/proc/meminfo'], env={'A': '1'})",
        "import os; os.environ.clear(); import subprocess; subprocess.run(['/usr/bin/head', '-n1', '/proc/meminfo'])",
    ];
    let has_python = support::program("python3").is_some();
    if !has_python {
        skipped("no python3 here");
    }
    // In the arm64 VM no package is configured, so `su` has no rules.
    let su = container.program(&["su", "-", "nobody", "-s", "/bin/sh", "-c", ":"]);
    let has_su = !cfg!(target_arch = "aarch64") || su.output().status == Some(0);
    if !has_su {
        skipped("su does not work here");
    }
    let scripts = scripts
        .iter()
        .filter(|script| has_su || !script.contains("su -"));
    let shells: Vec<_> = scripts.map(|script| ["bash", "-c", script]).collect();
    let pythons = python.map(|script| ["python3", "-c", script]);
    let all = shells.iter().chain(pythons.iter().filter(|_| has_python));
    for words in all {
        let [program, option, script] = words;
        let script = script.replace("SHOW", "head -n 1 /proc/meminfo");
        let words = [program, option, script.as_str()];
        assert_eq!(seen(&container, &[], &words), LIMIT, "{script}");
        let memory = [("PROCLENS_MEMORY", "256M")];
        assert_eq!(seen(&container, &memory, &words), USERS, "{script}");
        let off = [("PROCLENS", "off")];
        assert_eq!(seen(&container, &off, &words), host(), "{script}");
    }
}

/// A setting in the new environment applies.
#[test]
fn settings_given_or_taken_on_purpose_are_respected() {
    needs_containers!();
    let container = Plan::usual().start();
    let with = |settings: &[(&str, &str)], script: &str| {
        let script = script.replace("SHOW", "/usr/bin/head -n 1 /proc/meminfo");
        seen(&container, settings, &["bash", "-c", &script])
    };
    let memory = [("PROCLENS_MEMORY", "256M")];
    assert_eq!(with(&memory, "env -i PROCLENS_MEMORY=128M SHOW"), 128 << 10);
    assert_eq!(with(&memory, "unset PROCLENS_MEMORY; SHOW"), LIMIT);
    assert_eq!(with(&memory, "env -u PROCLENS_MEMORY SHOW"), LIMIT);
    assert_eq!(
        with(&memory, "unset PROCLENS_MEMORY; exec env -i SHOW"),
        LIMIT
    );
    assert_eq!(with(&memory, "env -i PROCLENS=off SHOW"), host());
    assert_eq!(with(&[("PROCLENS", "off")], "PROCLENS=on SHOW"), LIMIT);
    assert_eq!(with(&[("PROCLENS", "off")], "unset PROCLENS; SHOW"), LIMIT);
    assert_eq!(
        with(&[("PROCLENS", "off")], "env -i PROCLENS=on SHOW"),
        LIMIT
    );
    assert_eq!(
        with(&[], "export PROCLENS_MEMORY=256M; exec env -i SHOW"),
        USERS
    );
    assert_eq!(with(&[], "export PROCLENS=off; exec env -i SHOW"), host());
    // Also a long setting.
    let skip = format!("{}/usr/bin/head", "/none:".repeat(200));
    assert_eq!(
        with(&[("PROCLENS_SKIP", &skip)], "exec env -i SHOW"),
        host()
    );
}

/// Other libraries stay, in their order; this library is in the list once.
#[test]
fn other_preloads_stay() {
    needs_containers!();
    let container = Plan::usual().start();
    let own = library().display().to_string();
    let libc = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let libc = libc.lines().find_map(|line| {
        let path = &line[line.find('/')?..];
        (path.contains("libc.so") || path.contains("libc-")).then(|| path.to_owned())
    });
    // A library that is loaded anyway.
    let Some(libc) = libc else {
        return skipped("the tests are static here");
    };
    let preload = |preload: &str, script: &str| {
        let script = script.replace("LIBC", &libc).replace("OWN", &own);
        let script = format!("{script} /usr/bin/env");
        let words = ["bash", "-c", script.as_str()];
        let output = container.program(&words).preload(preload).output().text();
        let mut lines = output.lines().filter_map(|l| l.strip_prefix("LD_PRELOAD="));
        let value = lines.next().map(str::to_owned);
        assert_eq!(lines.next(), None, "{output}");
        value
    };
    let both = format!("{own}:{libc}");
    assert_eq!(preload(&both, ""), Some(both.clone()));
    assert_eq!(preload(&both, "env -i"), Some(own.clone()));
    let behind = format!("{libc}:{own}");
    assert_eq!(
        preload(&own, "env -i LD_PRELOAD=LIBC"),
        Some(behind.clone())
    );
    assert_eq!(preload(&own, "LD_PRELOAD=LIBC"), Some(behind.clone()));
    assert_eq!(preload(&own, "env -i LD_PRELOAD=OWN"), Some(own.clone()));
    assert_eq!(
        preload(&own, "env -i LD_PRELOAD='LIBC OWN'"),
        Some(format!("{libc} {own}"))
    );
    assert_eq!(preload(&own, "LD_PRELOAD="), Some(String::new()));
    assert_eq!(preload(&own, "env -u LD_PRELOAD"), None);
    assert_eq!(preload(&own, "exec env -i"), Some(own.clone()));
}

/// /etc/ld.so.preload loads the library into every program: no environment gets a preload.
#[test]
fn a_preload_file_needs_no_variable() {
    needs_containers!();
    let file = format!(
        "mount -t tmpfs tmpfs /mnt; cp -a /etc/passwd /mnt; cp -a /etc/ld.so.cache /mnt || true; mount --bind /mnt /etc; \
         echo {} >/etc/ld.so.preload",
        library().display()
    );
    let container = Plan::usual().setup(&file).start();
    let run = |script: &str| {
        let words = ["bash", "-c", script];
        container
            .program(&words)
            .env("PROCLENS_MEMORY", "256M")
            .output()
            .text()
    };
    for script in [
        "exec env -i /usr/bin/env",
        "env -u A /usr/bin/env",
        "env -i LD_PRELOAD= /usr/bin/env",
        "exec env -i /bin/sh -c /usr/bin/env",
    ] {
        let text = run(script);
        let preload: Vec<_> = text
            .lines()
            .filter(|l| l.starts_with("LD_PRELOAD=") && l.len() > 11)
            .collect();
        assert!(preload.is_empty(), "{script}: {text}");
    }
    let total = |script: &str| support::field(&run(script), "MemTotal") as u64;
    assert_eq!(total("head -n 1 /proc/meminfo"), USERS);
    assert_eq!(total("exec env -i /usr/bin/head -n 1 /proc/meminfo"), USERS);
    assert_eq!(
        total("env -u PROCLENS_MEMORY head -n 1 /proc/meminfo"),
        LIMIT
    );
}

/// Each way in which a program empties its own environment, with each way to start another.
#[test]
fn every_way_to_empty_and_to_start() {
    needs_containers!();
    let container = Plan::usual().start();
    let starts = [
        "system",
        "popen",
        "posix_spawn",
        "posix_spawnp",
        "execv",
        "execvp",
        "execve",
        "execve-null",
        "execve-few",
        "execl",
        "execlp",
        "execle",
        "vfork",
        "vfork-execve",
    ];
    let of_glibc = ["fexecve", "execveat", "execvpe"];
    for compiler in ["gcc", "musl-gcc"] {
        let Some(program) = c_program("empties_environment.c", compiler, &[]) else {
            continue;
        };
        let program = program.to_str().expect("a plain path");
        let glibc = of_glibc.iter().filter(|_| compiler == "gcc");
        for start in starts.iter().chain(glibc) {
            for empty in [
                "clearenv",
                "null",
                "none",
                "in-place",
                "one-by-one",
                "overwritten",
            ] {
                let words = [program, empty, start];
                let memory = [("PROCLENS_MEMORY", "256M")];
                assert_eq!(
                    seen(&container, &memory, &words),
                    USERS,
                    "{compiler} {words:?}"
                );
            }
        }
    }
}

/// A shell's quotes in a setting reach the program that `system` starts.
#[test]
fn system_exports_any_value() {
    needs_containers!();
    let container = Plan::usual().start();
    let state = "/dev/shm/it's; $HOME `x` \"y\"";
    let script = "%ENV = (); system(q(printenv PROCLENS_STATE; exit 3)); print $? >> 8";
    let output = container
        .program(&["perl", "-e", script])
        .preloaded()
        .env("PROCLENS_STATE", state)
        .output();
    assert_eq!(output.text(), format!("{state}\n3"));
}

/// Starting a program makes no more system calls than without the library, unless the library adds something.
#[test]
fn starting_a_program_makes_no_system_call_of_the_library() {
    needs_containers!();
    if support::program("strace").is_none() {
        return skipped("no strace here");
    }
    let container = Plan::usual().start();
    let calls = |preload: bool, script: &str| {
        let mut words = vec!["strace", "-f", "-qq", "-o", "/dev/stdout"];
        let option = format!("LD_PRELOAD={}", library().display());
        if preload {
            words.extend(["-E", &option]);
        }
        words.extend(["sh", "-c", script]);
        let text = container.program(&words).output().text();
        // From the shell's first system call about its own process, when the linker has finished.
        let name = |line: &str| {
            let call = line.split_whitespace().nth(1)?.split('(').next()?;
            Some(call.to_owned())
        };
        let all: Vec<_> = text.lines().filter_map(name).collect();
        let of = |call: &str| all.iter().filter(|c| *c == call).count();
        [
            "rt_sigprocmask",
            "faccessat",
            "access",
            "execve",
            "stat",
            "getpid",
            "prctl",
        ]
        .map(of)
    };
    for script in [
        "/bin/true; :",
        "PATH=/bin A=1 /bin/true; :",
        "unset LD_PRELOAD; /bin/true; :",
    ] {
        let (mut with, mut without) = (calls(true, script), calls(false, script));
        // Each program's linker looks for the preload file.
        (with[2], without[2]) = (0, 0);
        assert_eq!(with, without, "{script}");
    }
}
