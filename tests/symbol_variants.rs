//! Each function of libc that the library hooks has symbol variants: `open64`, `__open_2`, `__xstat`,
//! `__pread_chk`, names with `time64`. The test lists the variants in this machine's libc. A variant that is neither
//! hooked nor in the list below bypasses the library.

use proclens::preload::NAMES;
use std::collections::BTreeSet;
use std::process::Command;

/// Variants that are not hooked, and why.
const LEFT: &[(&str, &str)] = &[
    ("_IO_fopen", "an old name that no header declares"),
    ("_IO_popen", "an old name that no header declares"),
    ("__libc_system", "GLIBC_PRIVATE: only for libc's own parts"),
    ("_IO_fsetpos", "an old name that no header declares"),
    ("_IO_fsetpos64", "an old name that no header declares"),
    ("__lseek", "an old name that no header declares"),
    ("__open", "an old name that no header declares"),
    ("__open64", "an old name that no header declares"),
    ("__pread64", "an old name that no header declares"),
    ("__fseeko64", "GLIBC_PRIVATE: only for libc's own parts"),
    ("__fstat64", "GLIBC_PRIVATE: only for libc's own parts"),
    ("__libc_pread", "GLIBC_PRIVATE: only for libc's own parts"),
    (
        "__open_nocancel",
        "GLIBC_PRIVATE: only for libc's own parts",
    ),
    (
        "__open64_nocancel",
        "GLIBC_PRIVATE: only for libc's own parts",
    ),
    ("__mmap", "GLIBC_PRIVATE: only for libc's own parts"),
    (
        "__pread64_nocancel",
        "GLIBC_PRIVATE: only for libc's own parts",
    ),
];

/// The common name of all variants: `__fxstatat64` and `fstatat` are both `fstatat`.
fn root(name: &str) -> String {
    let name = name.strip_prefix("_IO_").unwrap_or(name);
    let name = name.trim_start_matches('_');
    let mut name = name.strip_prefix("libc_").unwrap_or(name).to_owned();
    for ending in ["_nocancel", "_alias"] {
        if let Some(shorter) = name.strip_suffix(ending) {
            name = shorter.to_owned();
        }
    }
    while let Some(shorter) = ["_chk", "_2", "_time64", "64"]
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
    {
        name = shorter.to_owned();
    }
    name = name.replace("64_r", "_r").replace("64v2", "2");
    for (versioned, plain) in [("fxstat", "fstat"), ("lxstat", "lstat"), ("xstat", "stat")] {
        if let Some(rest) = name.strip_prefix(versioned) {
            return format!("{plain}{rest}");
        }
    }
    name
}

/// The functions that the libc in `file` exports, `None` if there is no such file.
fn exported(file: &str) -> Option<BTreeSet<String>> {
    if !std::path::Path::new(file).exists() {
        return None;
    }
    let nm = Command::new("nm")
        .args(["-D", "--defined-only", file])
        .output()
        .expect("nm, of binutils");
    let text = String::from_utf8(nm.stdout).unwrap();
    let functions = text.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().rev();
        let name = fields.next()?.split('@').next()?;
        matches!(fields.next()?, "T" | "W" | "i").then(|| name.to_owned())
    });
    let functions: BTreeSet<String> = functions.collect();
    assert!(functions.contains("open"), "{file} has no open?");
    Some(functions)
}

fn hooked(name: &str) -> bool {
    NAMES.iter().any(|(hook, _)| *hook == name)
}

/// The variants in a libc that are neither hooked nor listed.
fn unknown(libc: &BTreeSet<String>) -> Vec<String> {
    let roots: BTreeSet<String> = NAMES.iter().map(|(name, _)| root(name)).collect();
    let variants = libc.iter().filter(|name| roots.contains(&root(name)));
    variants
        .filter(|name| !hooked(name) && !LEFT.iter().any(|(left, _)| left == name))
        .cloned()
        .collect()
}

/// The file of this process's libc.
fn own_libc() -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let files = maps.lines().filter_map(|l| l.split_whitespace().nth(5));
    let mut libc = files.filter(|file| {
        let name = file.rsplit('/').next().unwrap_or("");
        name.starts_with("libc.so") || name.starts_with("libc-") || name.starts_with("ld-musl")
    });
    libc.next().map(str::to_owned)
}

#[test]
fn every_variant_in_this_machines_libc_is_hooked_or_listed() {
    let file = own_libc().expect("a libc in /proc/self/maps");
    let unknown = unknown(&exported(&file).unwrap());
    assert!(
        unknown.is_empty(),
        "{file} has these variants of hooked functions: {unknown:?}"
    );
}

#[test]
fn every_variant_in_musl_is_hooked_or_listed() {
    let file = format!("/lib/ld-musl-{}.so.1", std::env::consts::ARCH);
    let Some(libc) = exported(&file) else {
        println!("skipped: no musl on this machine (musl-tools)");
        return;
    };
    let unknown = unknown(&libc);
    assert!(
        unknown.is_empty(),
        "musl has these variants of hooked functions: {unknown:?}"
    );
}

#[test]
fn listed_variants_are_not_hooked_and_hooked_ones_exist() {
    for (name, why) in LEFT {
        assert!(
            !hooked(name),
            "{name} is hooked, so its line ({why}) is out of date"
        );
    }
    let libc = exported(&own_libc().unwrap()).unwrap();
    let here: BTreeSet<String> = libc.iter().map(|name| root(name)).collect();
    for (name, _) in NAMES {
        assert!(
            here.contains(&root(name)),
            "no libc has anything like {name}"
        );
    }
}

#[test]
fn a_new_variant_is_detected() {
    for (variant, of) in [
        ("open64", "open"),
        ("__open_2", "open"),
        ("__open64_2", "open"),
        ("__pread64_chk", "pread"),
        ("preadv64v2", "preadv2"),
        ("__fxstatat64", "fstatat"),
        ("__lxstat", "lstat"),
        ("__stat64_time64", "stat"),
        ("__sysconf", "sysconf"),
        ("readdir64_r", "readdir_r"),
    ] {
        assert_eq!(root(variant), root(of), "{variant}");
    }
    assert_ne!(root("lstat"), root("stat"));
    let mut libc = exported(&own_libc().unwrap()).unwrap();
    libc.insert("__openat64_time64".to_owned());
    assert_eq!(unknown(&libc), ["__openat64_time64"]);
}
