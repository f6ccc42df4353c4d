//! The library's own memcpy, memmove, memset and memcmp (`src/sys/arch/*_memory.s`) against naive versions:
//! every size from 0 to 300 at every alignment, between pages without access. Both processors' routines
//! run, those of arm64 in qemu's user mode, which executes every instruction as the processor would.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{program, skipped};

const ROUTINES: [&str; 5] = ["memcpy", "memmove", "memset", "memcmp", "bcmp"];

fn same_as_naive(processor: &str, compiler: &str, syntax: &str, emulator: Option<&str>) {
    for needed in std::iter::once(compiler).chain(emulator) {
        if program(needed).is_none() {
            return skipped(&format!("no {needed} here"));
        }
    }
    let clone = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = clone.join(format!("src/sys/arch/{processor}_memory.s"));
    let mut text = fs::read_to_string(&source).expect("the routines");
    for name in ROUTINES {
        assert!(
            text.contains(&format!("{name}:\n")),
            "no {name} in {source:?}"
        );
        text = text.replace(name, &format!("own_{name}"));
    }
    let directory = support::scratch().join("memory_routines");
    fs::create_dir_all(&directory).expect("a directory");
    let (routines, built) = (
        directory.join(format!("{processor}.s")),
        directory.join(processor),
    );
    fs::write(&routines, format!("{syntax}{text}")).expect("the renamed routines");
    // The compiler would turn the naive loops into calls of libc's routines.
    let options = [
        "-O2",
        "-static",
        "-fno-builtin",
        "-fno-tree-loop-distribute-patterns",
        "-Wl,-z,noexecstack",
        "-o",
    ];
    let output = Command::new(compiler)
        .args(options)
        .arg(&built)
        .arg(clone.join("tests/support/memory_routines.c"))
        .arg(&routines)
        .output()
        .expect("the compiler");
    assert!(output.status.success(), "{output:?}");
    let mut command = match emulator {
        Some(emulator) => {
            let mut command = Command::new(emulator);
            command.arg(&built);
            command
        }
        None => Command::new(&built),
    };
    let output = command.output().expect("the comparison");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(printed, "all of them\n", "{output:?}");
}

#[test]
fn x86_64() {
    if cfg!(target_arch = "x86_64") {
        same_as_naive("x86_64", "gcc", ".intel_syntax noprefix\n", None);
    } else {
        skipped("x86-64's routines run on an x86-64 machine only");
    }
}

#[test]
fn aarch64() {
    if cfg!(target_arch = "aarch64") {
        same_as_naive("aarch64", "gcc", "", None);
    } else {
        let emulator = Some("qemu-aarch64-static");
        same_as_naive("aarch64", "aarch64-linux-gnu-gcc", "", emulator);
    }
}
