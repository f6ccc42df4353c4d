//! The arm64 library (`scripts/build --target aarch64`) on a machine of another processor: C regression tests in
//! a real container, in qemu's user mode. System calls and cgroups are the machine's own.
//!
//! This cannot show: a sampler (qemu refuses its flags of clone), programs that execute others, page sizes
//! other than the machine's, errors of invalid pointers (qemu takes some for valid), memory use, timing,
//! /proc/self/{maps,auxv,stat} (qemu's own).

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{MIB, Plan, c_program, converse, library, plain, program, skipped};

const EMULATOR: &str = "qemu-aarch64-static";
const COMPILER: &str = "aarch64-linux-gnu-gcc";
/// The directory of arm64's glibc in Debian's cross compiler.
const SYSROOT: &str = "/usr/aarch64-linux-gnu";

const REGRESSIONS: [&str; 18] = [
    "dup2_stdin.c",
    "dup_refresh.c",
    "errno_success.c",
    "flags.c",
    "fork_refresh.c",
    "lseek_start.c",
    "mmap.c",
    "numbers.c",
    "one_byte.c",
    "one_pass.c",
    "path_edges.c",
    "pread_start.c",
    "read_only.c",
    "sendfile.c",
    "signal_handler.c",
    "small_stack.c",
    "stdio_rewind.c",
    "threads.c",
];

fn arm64_library() -> Option<PathBuf> {
    if cfg!(target_arch = "aarch64") {
        skipped("this machine is arm64: the other tests use its library");
        return None;
    }
    for needed in [EMULATOR, COMPILER] {
        if program(needed).is_none() {
            skipped(&format!("no {needed} here"));
            return None;
        }
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("../aarch64-unknown-linux-gnu/release/libproclens.so");
    let found = path.canonicalize().ok();
    if found.is_none() {
        skipped("no arm64 library: scripts/build --target aarch64 makes it");
    }
    found
}

/// The names that `readelf` lists as exported functions.
fn exported(library: &Path) -> BTreeSet<String> {
    let output = Command::new("readelf")
        .args(["--wide", "--dyn-syms"])
        .arg(library)
        .output()
        .expect("readelf");
    let text = String::from_utf8(output.stdout).expect("ASCII");
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.len() == 8 && words[3] == "FUNC" && words[6] != "UND")
        .map(|words| words[7].to_owned())
        .collect()
}

#[test]
fn same_hooks_as_this_machines_library() {
    let Some(arm64) = arm64_library() else { return };
    assert_eq!(exported(&arm64), exported(&library()));
}

#[test]
fn tool() {
    let Some(arm64) = arm64_library() else { return };
    needs_containers!();
    let tool = arm64.with_file_name("proclens");
    let tool = tool.to_str().expect("a plain path");
    let container = Plan::new()
        .memory(512 * MIB)
        .quota(150_000, 100_000)
        .start();
    for (command, expected) in [
        ("meminfo", "MemTotal:         524288 kB".to_owned()),
        ("cpus", container.cpus.to_string()),
    ] {
        let output = container
            .program(&[EMULATOR, tool, "show", command])
            .output();
        assert_eq!(
            output.stdout.lines().next(),
            Some(expected.as_str()),
            "{output:?}"
        );
    }
}

/// C regression tests that execute no other program, each with and without the library.
fn regressions(compiler: &str, sysroot: &str) {
    let Some(arm64) = arm64_library() else { return };
    needs_containers!();
    let preload = format!("LD_PRELOAD={}", plain(&arm64).display());
    let container = Plan::new()
        .memory(512 * MIB)
        .quota(150_000, 100_000)
        .start();
    for name in REGRESSIONS {
        let Some(program) = c_program(name, compiler, &[]) else {
            return;
        };
        let program = program.to_str().expect("a plain path");
        let words = [EMULATOR, "-L", sysroot, "-E", &preload, program];
        let with = converse(&container, &words, false);
        assert_eq!(
            (with.status, with.stdout.as_str(), with.stderr.as_str()),
            (Some(0), "", ""),
            "{name}"
        );
        let words = [EMULATOR, "-L", sysroot, program];
        let without = converse(&container, &words, false);
        // This one checks only that the library does no harm.
        let harmless = name == "errno_success.c";
        assert_eq!(
            without.status,
            Some(i32::from(!harmless)),
            "{name} without the library"
        );
    }
}

#[test]
fn regressions_with_glibc() {
    regressions(COMPILER, SYSROOT);
}

#[test]
fn regressions_with_musl() {
    let cache = std::env::var("PROCLENS_LAB_CACHE");
    let root = cache.unwrap_or_else(|_| "/var/cache/proclens-lab".to_owned()) + "/arm64-musl";
    let compiler = root.clone() + "/bin/aarch64-linux-musl-gcc";
    if !Path::new(&compiler).exists() {
        return skipped("no musl for arm64: scripts/lab/image arm64-musl makes it");
    }
    regressions(&compiler, &root);
}

#[test]
fn install_refuses_a_root_of_the_other_processor() {
    if arm64_library().is_none() {
        return;
    }
    let Some(program) = c_program("numbers.c", COMPILER, &[]) else {
        return;
    };
    let root = support::scratch().join("arm64-root");
    fs::create_dir_all(root.join("bin")).expect("a directory");
    fs::copy(program, root.join("bin/true")).expect("a program");
    let output = Command::new(env!("CARGO_BIN_EXE_proclens"))
        .args(["install", "--root"])
        .arg(&root)
        .arg("--lib")
        .arg(library())
        .output()
        .expect("the tool");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        stderr.contains(
            "its programs are for aarch64, the library is for x86_64: use the release for aarch64"
        ),
        "{output:?}"
    );
}
