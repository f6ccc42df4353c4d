//! The shared object in programs of every kind of build, under debuggers and tracers, and beside other preload
//! libraries: it loads, prints nothing, and shows the container. Needs no container: a limit that the user sets
//! takes its place.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{fetched, library, program, skipped};

/// The first line of /proc/meminfo with `PROCLENS_MEMORY=64M`.
const LIMITED: &str = "MemTotal:          65536 kB";

const READS: &str = r#"
#include <stdio.h>
int main(void) {
    char line[128];
    FILE *f = fopen("/proc/meminfo", "r");
    if (!f || !fgets(line, sizeof line, f)) return 1;
    fputs(line, stdout);
    return fclose(f);
}
"#;

fn build(name: &str, source: &str, options: &[&str]) -> Option<PathBuf> {
    if program("gcc").is_none() {
        skipped(&format!("{name}: no gcc here"));
        return None;
    }
    let directory = support::scratch().join("compatibility");
    fs::create_dir_all(&directory).expect("a directory");
    let (file, out) = (directory.join(format!("{name}.c")), directory.join(name));
    fs::write(&file, source).expect("the source");
    let _ = fs::remove_file(&out);
    let built = Command::new("gcc")
        .args(["-O1", "-g"])
        .arg(&file)
        .args(options)
        .arg("-o")
        .arg(&out)
        .output()
        .expect("gcc");
    if !built.status.success() {
        let why = String::from_utf8_lossy(&built.stderr).into_owned();
        let why = why.lines().last().unwrap_or_default();
        skipped(&format!("{name} does not build here: {why}"));
        return None;
    }
    Some(out)
}

/// Runs `words` with these preloads, and with a limit that shows whether the library is active.
fn run<S: AsRef<std::ffi::OsStr>>(words: &[S], preload: &str, more: &[(&str, &str)]) -> Output {
    let (first, rest) = words.split_first().expect("a program");
    let mut command = Command::new("/usr/bin/env");
    command
        .arg(format!("LD_PRELOAD={preload}"))
        .arg(first)
        .args(rest);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C");
    command.env("PROCLENS_MEMORY", "64M").env("HOME", "/root");
    command.envs(more.iter().copied());
    command.output().expect("env")
}

fn ours() -> String {
    library().to_str().expect("a plain path").to_owned()
}

fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Checks that the program succeeds, prints no error and shows the container.
#[track_caller]
fn shows_container(output: &Output) {
    let (stdout, stderr) = printed(output);
    assert!(output.status.success(), "{output:?}");
    assert!(stdout.contains(LIMITED), "{stdout}{stderr}");
    assert_eq!(stderr, "");
}

/// Checks that the program succeeds, prints no error and shows the kernel's value.
#[track_caller]
fn untouched(output: &Output) {
    let (stdout, stderr) = printed(output);
    assert!(output.status.success(), "{output:?}");
    assert!(
        stdout.contains("MemTotal:") && !stdout.contains(LIMITED),
        "{stdout}"
    );
    assert_eq!(stderr, "");
}

#[test]
fn every_layout_of_a_program() {
    for (name, options) in [
        ("pie", &["-fPIE", "-pie"][..]),
        ("fixed-address", &["-no-pie"]),
        ("relro-now", &["-fPIE", "-pie", "-Wl,-z,relro,-z,now"]),
        (
            "no-relro-lazy",
            &["-no-pie", "-Wl,-z,norelro,-z,lazy,--hash-style=sysv"],
        ),
        (
            "prelinked",
            &[
                "-no-pie",
                "-Wl,-Ttext-segment=0x41000000",
                "-Wl,-z,noseparate-code",
            ],
        ),
    ] {
        let Some(program) = build(name, READS, options) else {
            continue;
        };
        for more in [&[][..], &[("LD_BIND_NOW", "1")], &[("LD_BIND_NOT", "1")]] {
            shows_container(&run(&[&program], &ours(), more));
        }
        untouched(&run(&[&program], "", &[]));
    }
}

/// A hook calls the next definition, as the program would without the hook. That definition can be in any
/// library of the program.
#[test]
fn a_function_of_the_programs_own_libraries() {
    const CALLS: &str = r#"
#include <stdio.h>
#include <unistd.h>
int main(void) {
    printf("%d %d\n", access("/none", 0), (int)sysconf(_SC_PAGESIZE));
    return 0;
}
"#;
    for (name, count, which) in [("first", 3, 0), ("last", 3, 2), ("last-of-many", 24, 23)] {
        let mut libraries = Vec::new();
        for i in 0..count {
            let source = if i == which {
                "int access(const char *path, int mode) { return path[0] + mode; }".to_owned()
            } else {
                format!("int nothing_{i}(void) {{ return 0; }}")
            };
            let Some(built) = build(&format!("{name}-{i}.so"), &source, &["-shared", "-fPIC"])
            else {
                return;
            };
            libraries.push(built.to_str().expect("a plain path").to_owned());
        }
        let mut options = vec!["-Wl,--no-as-needed"];
        options.extend(libraries.iter().map(String::as_str));
        let Some(program) = build(name, CALLS, &options) else {
            return;
        };
        for preload in ["", &ours()] {
            let output = run(&[&program], preload, &[]);
            assert_eq!(
                printed(&output),
                ("47 4096\n".to_owned(), String::new()),
                "{name}"
            );
        }
    }
}

#[test]
fn sanitizers() {
    // The shared runtime of the address sanitizer must be the first preload. It ends a program with any other
    // one, unless an option disables this check.
    let order = ("ASAN_OPTIONS", "verify_asan_link_order=0");
    for (name, options, more) in [
        (
            "asan-static",
            &["-fsanitize=address", "-static-libasan"][..],
            &[][..],
        ),
        ("asan", &["-fsanitize=address"], &[order]),
        ("ubsan", &["-fsanitize=undefined"], &[]),
        ("tsan", &["-fsanitize=thread"], &[]),
    ] {
        let Some(program) = build(name, READS, options) else {
            continue;
        };
        let without = run(&[&program], "", more);
        if !without.status.success() {
            let (_, why) = printed(&without);
            let why = why.lines().next().unwrap_or_default();
            skipped(&format!("{name} does not run here by itself: {why}"));
            continue;
        }
        shows_container(&run(&[&program], &ours(), more));
    }
}

#[test]
fn valgrind() {
    let (Some(valgrind), Some(reads)) = (program("valgrind"), build("valgrind", READS, &[])) else {
        return skipped("no valgrind here");
    };
    let words = [
        valgrind.as_os_str(),
        "-q".as_ref(),
        "--error-exitcode=9".as_ref(),
        "--leak-check=full".as_ref(),
        reads.as_os_str(),
    ];
    shows_container(&run(&words, &ours(), &[]));
}

/// Strings in memory that is allocated to the byte: a path, and environments for other programs.
#[test]
fn valgrind_and_strings_on_the_heap() {
    const STRINGS: &str = r#"
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    /* Any length, at any distance from an aligned address. */
    for (int shift = 0; shift < 16; shift++)
        for (int length = 1; length < 40; length++) {
            char *whole = malloc(shift + length + 1), *path = whole + shift;
            memset(path, '/', length);
            path[length] = 0;
            close(open(path, O_RDONLY));
            free(whole);
        }
    char *list[] = {strdup("A="), strdup("B=22222"), 0}, *arguments[] = {"true", 0};
    pid_t child;
    if (posix_spawn(&child, "/bin/true", 0, 0, arguments, list) || waitpid(child, 0, 0) != child) return 1;
    setenv("C", "", 1);
    setenv("PROCLENS_CPUS", "1", 1);
    if (system("true") || sysconf(_SC_NPROCESSORS_ONLN) < 1) return 1;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "r");
    if (!f || !fgets(line, sizeof line, f)) return 1;
    fputs(line, stdout);
    return fclose(f);
}
"#;
    let (Some(valgrind), Some(strings)) = (program("valgrind"), build("strings", STRINGS, &[]))
    else {
        return skipped("no valgrind here");
    };
    let words = [
        valgrind.as_os_str(),
        "-q".as_ref(),
        "--error-exitcode=9".as_ref(),
        strings.as_os_str(),
    ];
    shows_container(&run(&words, &ours(), &[]));
}

#[test]
fn debugger() {
    let (Some(gdb), Some(reads)) = (program("gdb"), build("gdb", READS, &[])) else {
        return skipped("no gdb here");
    };
    let preload = format!("set environment LD_PRELOAD {}", ours());
    let words = [
        gdb.to_str().expect("a plain path"),
        "-batch",
        "-nx",
        "-ex",
        "set debuginfod enabled off",
        "-ex",
        "set startup-with-shell off",
        "-ex",
        &preload,
        "-ex",
        "break fclose",
        "-ex",
        "run",
        "-ex",
        "info sharedlibrary",
        "-ex",
        "continue",
        reads.to_str().expect("a plain path"),
    ];
    let output = run(&words, "", &[]);
    let (stdout, stderr) = printed(&output);
    if stderr.contains("ptrace") {
        return skipped("gdb may not trace here");
    }
    assert!(stdout.contains("libproclens.so"), "{stdout}{stderr}");
    assert!(stdout.contains(LIMITED), "{stdout}{stderr}");
    assert!(stdout.contains("exited normally"), "{stdout}{stderr}");
}

#[test]
fn audited() {
    let source = r#"
        unsigned la_version(unsigned version) { return version; }
        unsigned la_objopen(void *map, long lmid, unsigned long *cookie) {
            (void)map, (void)lmid, (void)cookie;
            return 3; /* LA_FLG_BINDTO | LA_FLG_BINDFROM: every symbol is looked at */
        }
    "#;
    let (Some(audit), Some(reads)) = (
        build("audit.so", source, &["-shared", "-fPIC"]),
        build("audited", READS, &[]),
    ) else {
        return;
    };
    let audit = [("LD_AUDIT", audit.to_str().expect("a plain path"))];
    shows_container(&run(&[&reads], &ours(), &audit));
    // Loaded as an auditor, the library is none and is unloaded.
    let output = run(&[&reads], "", &[("LD_AUDIT", &ours())]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn static_programs() {
    let Some(reads) = build("static", READS, &["-static"]) else {
        return;
    };
    untouched(&run(&[&reads], &ours(), &[]));
    let loads = r#"
        #include <dlfcn.h>
        #include <fcntl.h>
        #include <stdio.h>
        int main(int argc, char **argv) {
            (void)argc;
            void *ours = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
            if (!ours) { puts(dlerror()); return 1; }
            void *math = dlopen("libm.so.6", RTLD_NOW);
            if (!math) { puts(dlerror()); return 77; }
            double (*root)(double) = (double (*)(double))dlsym(math, "sqrt");
            int (*theirs)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(ours, "open");
            int fd = theirs("/proc/meminfo", O_RDONLY);
            printf("%g %d\n", root(81), fd >= -1);
            return 0;
        }
    "#;
    let Some(loads) = build("static-dlopen", loads, &["-static", "-ldl"]) else {
        return;
    };
    let output = run(&[loads.as_os_str(), library().as_os_str()], "", &[]);
    if output.status.code() == Some(77) {
        return skipped("a static program cannot load libm here");
    }
    let (stdout, stderr) = printed(&output);
    assert_eq!(
        (output.status.code(), stdout.as_str()),
        (Some(0), "9 1\n"),
        "{output:?}"
    );
    assert_eq!(stderr, "");
}

/// A program loads the library with dlopen and unloads it again.
#[test]
fn loaded_late() {
    let source = r#"
        #include <dlfcn.h>
        #include <fcntl.h>
        #include <unistd.h>
        #include <stdio.h>
        int main(int argc, char **argv) {
            (void)argc;
            for (int i = 0; i < 3; i++) {
                void *ours = dlopen(argv[1], RTLD_NOW);
                if (!ours) { puts(dlerror()); return 1; }
                int (*theirs)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(ours, "open");
                close(theirs("/proc/meminfo", O_RDONLY));
                if (dlclose(ours)) return 2;
            }
            return 0;
        }
    "#;
    let Some(loads) = build("late", source, &["-ldl"]) else {
        return;
    };
    let output = run(&[loads.as_os_str(), library().as_os_str()], "", &[]);
    assert!(output.status.success(), "{output:?}");
}

/// A program with more rights than its user: the linker ignores the path without a message.
#[test]
fn setuid_and_file_capabilities() {
    let Some(setpriv) = program("setpriv") else {
        return skipped("no setpriv (util-linux) here");
    };
    // SAFETY: touches no memory.
    if unsafe { libc::geteuid() } != 0 {
        return skipped("not root");
    }
    // A directory that another user may enter.
    let directory = std::env::temp_dir().join(format!("proclens-rights-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod")
    };
    mode(&directory, 0o755);
    let copy = |from: &Path, to: &str| {
        let to = directory.join(to);
        fs::copy(from, &to).expect("a copy");
        to
    };
    let cat = program("cat").expect("cat");
    let mine = copy(&library(), "libproclens.so");
    let preload = mine.to_str().expect("a plain path");
    let as_nobody = |path: &Path| {
        let words = [
            setpriv.as_os_str(),
            "--reuid=65534".as_ref(),
            "--regid=65534".as_ref(),
            "--clear-groups".as_ref(),
            "env".as_ref(),
            format!("LD_PRELOAD={preload}").as_ref(),
            path.as_os_str(),
            "/proc/meminfo".as_ref(),
        ]
        .map(std::ffi::OsStr::to_owned);
        run(&words, "", &[])
    };
    let plain = copy(&cat, "plain");
    mode(&plain, 0o755);
    shows_container(&as_nobody(&plain));
    let setuid = copy(&cat, "setuid");
    mode(&setuid, 0o4755);
    let (shown, status) = (as_nobody(&setuid), nosuid(&directory));
    if status {
        skipped("a file system without setuid");
    } else {
        untouched(&shown);
    }
    match program("setcap") {
        Some(setcap) if !status => {
            let capable = copy(&cat, "capable");
            mode(&capable, 0o755);
            let set = Command::new(setcap)
                .arg("cap_net_raw+ep")
                .arg(&capable)
                .output();
            if set.is_ok_and(|set| set.status.success()) {
                untouched(&as_nobody(&capable));
            } else {
                skipped("no file capabilities here");
            }
        }
        _ => skipped("no setcap (libcap2-bin) here"),
    }
    let _ = fs::remove_dir_all(&directory);
}

fn nosuid(directory: &Path) -> bool {
    let path = std::ffi::CString::new(directory.to_str().expect("a plain path")).expect("a path");
    // SAFETY: the path is a C string, and the kernel fills the struct.
    unsafe {
        let mut found: libc::statvfs = std::mem::zeroed();
        libc::statvfs(path.as_ptr(), &mut found) == 0 && found.f_flag & libc::ST_NOSUID != 0
    }
}

/// A 32-bit program runs unchanged; only the linker prints a message.
#[cfg(target_arch = "x86_64")]
#[test]
fn program_of_32_bits() {
    let (Some(linker), Some(libc)) = (
        fetched("lib32/ld-linux.so.2", "/lib32/ld-linux.so.2"),
        fetched("lib32/libc.so.6", "/lib32/libc.so.6"),
    ) else {
        return skipped("no 32-bit libc (tests/support/fetch brings libc6-i386)");
    };
    let source = r#"
        extern int puts(const char *);
        extern void exit(int) __attribute__((noreturn));
        __attribute__((force_align_arg_pointer)) void _start(void) { puts("runs"); exit(0); }
    "#;
    let linker = format!("-Wl,--dynamic-linker={}", linker.display());
    let path = format!(
        "-Wl,-rpath,{}",
        libc.parent().expect("a directory").display()
    );
    let options = [
        "-m32",
        "-nostdlib",
        "-nostartfiles",
        "-fno-pie",
        "-no-pie",
        libc.to_str().expect("a plain path"),
        &linker,
        &path,
    ];
    let Some(runs) = build("32-bit", source, &options) else {
        return;
    };
    let output = run(&[&runs], &ours(), &[]);
    let (stdout, stderr) = printed(&output);
    assert!(
        output.status.success() && stdout == "runs\n",
        "{stdout}{stderr}"
    );
    assert!(
        stderr
            .lines()
            .all(|line| line.contains("cannot be preloaded")),
        "{stderr}"
    );
}

#[test]
fn beside_other_preloads() {
    let architecture = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let cat = ["cat", "/proc/meminfo"];
    for (name, package, more) in [
        ("libjemalloc.so.2", "libjemalloc2", &[][..]),
        ("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4", &[]),
        (
            "faketime/libfaketime.so.1",
            "libfaketime",
            &[("FAKETIME", "-1d")],
        ),
    ] {
        let path = format!("{architecture}/{name}");
        let Some(other) = fetched(&path, &format!("/{path}")) else {
            skipped(&format!("no {name} (tests/support/fetch brings {package})"));
            continue;
        };
        let (ours, other) = (ours(), other.display().to_string());
        for preload in [format!("{ours}:{other}"), format!("{other}:{ours}")] {
            shows_container(&run(&cat, &preload, more));
            // A program with threads and many allocations. Not every image has its interpreter.
            if let Some(python) = program("python3") {
                let script = "import threading\n\
                    ts = [threading.Thread(target=lambda: [bytearray(999) for _ in range(999)]) for _ in range(8)]\n\
                    [t.start() for t in ts]; [t.join() for t in ts]\n\
                    print(open('/proc/meminfo').readline())";
                let words = [python.to_str().expect("a plain path"), "-c", script];
                shows_container(&run(&words, &preload, more));
            }
        }
    }
    let Some(fakeroot) = program("fakeroot") else {
        return skipped("no fakeroot here");
    };
    let fakeroot = fakeroot.to_str().expect("a plain path");
    let (inner, both) = (
        "id -u; head -n 1 /proc/meminfo",
        format!(
            "LD_PRELOAD={}:$LD_PRELOAD; export LD_PRELOAD; id -u; head -n 1 /proc/meminfo",
            ours()
        ),
    );
    // fakeroot adds its own library in front of the others.
    for (script, preload) in [(inner, ours()), (&both, String::new())] {
        let output = run(&[fakeroot, "sh", "-c", script], &preload, &[]);
        shows_container(&output);
        assert!(printed(&output).0.starts_with("0\n"), "{output:?}");
    }
}
