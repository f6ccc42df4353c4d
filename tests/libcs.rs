//! Every libc in use: copies of this machine's glibc without the names that an older one lacks, the musl
//! of Debian 12 and of Debian 13, and glibc's ABI lists. A hook whose function libc lacks behaves as if the hook did
//! not exist.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proclens::preload::NAMES;
use support::{c_program, fetched, library, skipped};

/// The oldest glibc that README promises.
const OLDEST: (u32, u32) = (2, 17);

/// The glibc that first had each name, on x86-64 and aarch64 (tests/abi/record). No glibc has a name without a
/// number.
fn introduced() -> BTreeMap<String, Option<(u32, u32)>> {
    let version = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/abi/glibc");
    let text = fs::read_to_string(path).expect("the ABI list");
    text.lines()
        .map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            assert_eq!(words.len(), 3, "{line}");
            let versions = (version(words[1]), version(words[2]));
            (words[0].to_owned(), versions.0.max(versions.1))
        })
        .collect()
}

/// Hooked names that glibc 2.17 lacks. Each has a stand-in.
const NEWER: [&str; 11] = [
    "execveat",
    "fstat",
    "fstat64",
    "fstatat",
    "fstatat64",
    "lstat",
    "lstat64",
    "preadv2",
    "preadv64v2",
    "stat",
    "stat64",
];

#[test]
fn every_name_is_in_glibc_since_the_oldest_or_has_a_stand_in() {
    let introduced = introduced();
    let mut newer = vec!["statx"];
    newer.extend(NEWER);
    newer.sort_unstable();
    let mut found = Vec::new();
    let looked_up = [
        "__errno_location",
        "fclose",
        "fflush",
        "fileno",
        "getauxval",
    ];
    for name in NAMES.iter().map(|(name, _)| *name).chain(looked_up) {
        let version = introduced
            .get(name)
            .unwrap_or_else(|| panic!("{name}: run tests/abi/record"));
        match version {
            None => panic!("{name}: no glibc has it"),
            Some(version) if *version > OLDEST => found.push(name),
            Some(_) => {}
        }
    }
    found.sort_unstable();
    assert_eq!(found, newer);
}

/// A directory with a copy of this machine's libc that lacks `names`: the symbols have an empty name, so that
/// no look-up finds them.
fn libc_without(version: &str, names: &[&str]) -> Option<PathBuf> {
    let libc = format!("/lib/{}-linux-gnu/libc.so.6", std::env::consts::ARCH);
    let Ok(mut bytes) = fs::read(&libc) else {
        skipped(&format!("no {libc} here"));
        return None;
    };
    forget(&mut bytes, names);
    let directory = support::scratch().join(format!("libc-{version}"));
    fs::create_dir_all(&directory).expect("a directory");
    let copy = directory.join("libc.so.6");
    let unfinished = directory.join(format!("libc.{}", std::process::id()));
    fs::write(&unfinished, bytes).expect("a copy");
    fs::rename(&unfinished, &copy).expect("the copy");
    Some(directory)
}

/// Removes the names of these symbols from an ELF file of 64 bits. A string of the string table cannot be
/// changed instead: the end of `__getauxval` is `getauxval`.
fn forget(file: &mut [u8], names: &[&str]) {
    const DYNAMIC_SYMBOLS: u64 = 11;
    let number = |file: &[u8], at: usize, length: usize| {
        let mut bytes = [0; 8];
        bytes[..length].copy_from_slice(&file[at..at + length]);
        u64::from_le_bytes(bytes)
    };
    let sections = number(file, 0x28, 8) as usize;
    let section = |file: &[u8], index: usize| {
        let at = sections + index * 64;
        let (kind, link) = (number(file, at + 4, 4), number(file, at + 40, 4) as usize);
        let (offset, length) = (
            number(file, at + 24, 8) as usize,
            number(file, at + 32, 8) as usize,
        );
        (kind, link, offset, length)
    };
    let count = number(file, 0x3c, 2) as usize;
    let (_, link, symbols, length) = (0..count)
        .map(|index| section(file, index))
        .find(|(kind, ..)| *kind == DYNAMIC_SYMBOLS)
        .expect("dynamic symbols");
    let strings = section(file, link).2;
    for symbol in (symbols..symbols + length).step_by(24) {
        let text = &file[strings + number(file, symbol, 4) as usize..];
        let text = text.split(|b| *b == 0).next().unwrap_or_default();
        if names.iter().any(|name| name.as_bytes() == text) {
            file[symbol..symbol + 4].fill(0);
        }
    }
}

/// Runs `words` with a memory limit of 512 MiB that the user sets. If the program requests another limit, the
/// limit stays: this machine need not support containers.
fn run(words: &[&str], preload: bool, libc: Option<&Path>) -> Output {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env_clear().env("LC_ALL", "C");
    command
        .env("PROCLENS_MEMORY", "512M")
        .env("MEM_KB", "524288");
    command.env("PROCLENS_CPUS", "1").env("CPUS", "1");
    if preload {
        command.env("LD_PRELOAD", library());
    }
    if let Some(libc) = libc {
        command.env("LD_LIBRARY_PATH", libc);
    }
    command.output().expect("the program")
}

#[track_caller]
fn succeeds(output: &Output, what: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {text}{output:?}");
}

/// Checks that `dlsym` finds the same hooked names with the library as without it.
fn looks_up_names(runner: &[&str], program: &str, libc: Option<&Path>, what: &str) {
    let mut words = runner.to_vec();
    words.push(program);
    words.push("which");
    let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
    words.extend(&names);
    let without = run(&words, false, libc);
    succeeds(&without, what);
    let truth = String::from_utf8(without.stdout).expect("text");
    let truth: Vec<_> = truth.lines().collect();
    assert_eq!(truth.len(), names.len(), "{what}: {truth:?}");
    let mut words = runner.to_vec();
    words.push(program);
    words.extend(truth);
    succeeds(&run(&words, false, libc), what);
    succeeds(&run(&words, true, libc), what);
}

#[test]
fn glibc_of_every_age() {
    let introduced = introduced();
    let (Some(program), Some(names)) = (
        c_program("old_libc.c", "gcc", &["-ldl"]),
        c_program("absent_names.c", "gcc", &["-ldl"]),
    ) else {
        return;
    };
    let (program, names) = (
        program.to_str().expect("a plain path"),
        names.to_str().expect("a plain path"),
    );
    for age in [(2, 17), (2, 26), (2, 28), (2, 33)] {
        let version = format!("{}.{}", age.0, age.1);
        let missing: Vec<_> = introduced
            .iter()
            .filter(|(_, since)| since.is_some_and(|since| since > age))
            .map(|(name, _)| name.as_str())
            .collect();
        assert!(!missing.is_empty(), "{version}");
        let Some(libc) = libc_without(&version, &missing) else {
            return;
        };
        for preload in [false, true] {
            let what = format!("glibc {version}, preload {preload}");
            succeeds(&run(&[program, "only"], preload, Some(&libc)), &what);
        }
        succeeds(&run(&[program], true, Some(&libc)), &version);
        looks_up_names(&[], names, Some(&libc), &version);
    }
}

/// glibc before 2.16 has no `getauxval`. The library reads in the auxiliary vector that the program is not
/// setuid, so its environment counts.
#[test]
fn glibc_without_getauxval() {
    let (Some(program), Some(libc)) = (
        c_program("old_libc.c", "gcc", &["-ldl"]),
        libc_without("2.15", &["getauxval"]),
    ) else {
        return;
    };
    let program = program.to_str().expect("a plain path");
    succeeds(&run(&[program], true, Some(&libc)), "without getauxval");
}

/// musl 1.2.3 (Debian 12) and a later one (Debian 13), where programs that were built on the older one
/// refer to names that no longer exist.
#[test]
fn musl_of_every_age() {
    let path = format!(
        "musl-trixie/usr/lib/{}-linux-musl/libc.so",
        std::env::consts::ARCH
    );
    let newer = fetched(&path, "/nowhere");
    if newer.is_none() {
        skipped("no musl 1.2.4 or later (tests/support/fetch brings Debian 13's)");
    }
    let newer = newer.as_ref().and_then(|path| path.to_str());
    let (Some(program), Some(names)) = (
        c_program("large_names.c", "musl-gcc", &[]),
        c_program("absent_names.c", "musl-gcc", &[]),
    ) else {
        return;
    };
    let (program, names) = (
        program.to_str().expect("a plain path"),
        names.to_str().expect("a plain path"),
    );
    for runner in [None, newer]
        .into_iter()
        .filter(|r| r.is_none() || newer.is_some())
    {
        let what = format!("musl {runner:?}");
        let mut words: Vec<_> = runner.into_iter().collect();
        looks_up_names(&words, names, None, &what);
        words.push(program);
        succeeds(&run(&words, true, None), &what);
    }
}

/// Objects that the program loads later may be unloaded, so a look-up ignores them.
#[test]
fn objects_that_are_loaded_later() {
    let (Some(program), Some(loaded)) = (
        c_program("unloadable.c", "musl-gcc", &[]),
        c_program("unloadable_library.c", "musl-gcc", &["-shared", "-fPIC"]),
    ) else {
        return;
    };
    let words = [&program, &loaded].map(|path| path.to_str().expect("a plain path"));
    for preload in [false, true] {
        let output = run(&words, preload, None);
        succeeds(&output, "a library loaded later");
    }
}

/// Before glibc 2.34, functions for threads and `dlsym` are in libraries of their own. A plugin may bring them into a
/// program that was started without them.
#[test]
fn functions_that_come_with_a_plugin() {
    let names = ["dlsym", "pthread_getaffinity_np", "pthread_setaffinity_np"];
    let (Some(program), Some(plugin), Some(libc)) = (
        c_program("plugin.c", "gcc", &["-ldl"]),
        c_program("plugin_library.c", "gcc", &["-shared", "-fPIC"]),
        libc_without("plugins", &names),
    ) else {
        return;
    };
    let words = [&program, &plugin].map(|path| path.to_str().expect("a plain path"));
    for preload in [false, true] {
        let output = run(&words, preload, Some(&libc));
        succeeds(&output, &format!("a plugin, preload {preload}"));
    }
}
