//! Whether `LD_PRELOAD` and `/etc/ld.so.preload` name a library that every user's programs can load, also
//! those with another root directory.

use super::findings::Findings;
use crate::commands::install::{LIBRARY, LIBS, PRELOAD, paths_in_preload, quoted};
use crate::inspect::elf::{self, File};
use crate::inspect::processes;
use crate::inspect::regular::{self, LONGEST_TEXT};
use proclens::runtime::config::EVERYONES_PRELOAD;
use rustix::fs::{Access, access};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Checks the libraries in LD_PRELOAD and /etc/ld.so.preload. Returns true if this library is among them.
pub(super) fn named_by_preloads(findings: &mut Findings) -> bool {
    let mut named = false;
    let variable = preload_variable();
    for path in variable
        .split([' ', ':'])
        .filter(|path| path.contains(LIBRARY))
    {
        named = true;
        let absent = "set LD_PRELOAD to the path of libproclens.so, or unset it";
        named_library("LD_PRELOAD", path, absent, findings);
    }
    for path in paths_in_preload(&preload_text()).filter(|path| path.contains(LIBRARY)) {
        named = true;
        let absent = "`proclens install` puts it there, `proclens uninstall` removes the line";
        named_library(PRELOAD, path, absent, findings);
        for_all_users(path, findings);
        in_other_roots(path, findings);
    }
    named
}

pub(super) fn preload_variable() -> String {
    let variable = std::env::var_os("LD_PRELOAD").unwrap_or_default();
    variable.to_string_lossy().into_owned()
}

pub(super) fn preload_text() -> String {
    String::from_utf8_lossy(&regular::read(Path::new(PRELOAD), LONGEST_TEXT).unwrap_or_default())
        .into_owned()
}

/// Checks a library that a preload names. `absent` is the remedy if the file does not exist.
fn named_library(by: &str, path: &str, absent: &str, findings: &mut Findings) {
    // Without a slash, the linker searches its own directories. Running a program shows whether it finds
    // the file.
    if !path.contains('/') {
        return;
    }
    let found = expanded(path)
        .into_iter()
        .find_map(|path| elf::read(Path::new(&path)).ok().map(|file| (path, file)));
    match found {
        None => findings.problem(
            format!("{by} names {path}, which does not exist or cannot be read: every program reports that when it starts"),
            absent,
        ),
        Some((path, File::Elf(library))) if library.soname.as_deref() == Some(LIBRARY) => {
            let readable = fs::metadata(&path).is_ok_and(|m| m.permissions().mode() & 0o004 != 0);
            if library.bits != 64 || library.machine != proclens::sys::arch::ELF_MACHINE {
                findings.problem(
                    format!("{by} names {path}, which is for another machine ({}-bit, number {})", library.bits, library.machine),
                    "use the library of the release for this machine",
                );
            } else if !readable {
                findings.problem(
                    format!("{by} names {path}, which some users may not read"),
                    format!("chmod 755 {}", quoted(&path)),
                );
            } else {
                findings.good(format!("{by} names {path}: a library for this machine"));
                // The dynamic linker can do without this right, the start of a sampler cannot.
                if access(&path, Access::EXEC_OK).is_err() {
                    findings.note(
                        format!("{path} cannot be executed, so no program can start a sampler: load averages are extrapolated"),
                        "give it mode 755",
                    );
                }
            }
        }
        Some((path, _)) => findings.problem(
            format!("{by} names {path}, which is not the library of proclens"),
            "copy libproclens.so of a release there",
        ),
    }
    if !path.starts_with('/') {
        findings.problem(
            format!("{by} names {path}, which depends on the directory where a program starts"),
            "give an absolute path",
        );
    }
}

/// Checks that all users can use the preload. The dynamic linker reads the preload file and opens the
/// library with the rights of the user who starts the program.
fn for_all_users(path: &str, findings: &mut Findings) {
    let mode = |path: &Path| fs::metadata(path).map_or(0, |m| m.permissions().mode());
    if mode(Path::new(PRELOAD)) & 0o004 == 0 {
        findings.problem(
            format!(
                "{PRELOAD} is not readable for other users: the library is not active for them"
            ),
            format!("chmod 644 {PRELOAD}"),
        );
    }
    let found = expanded(path)
        .into_iter()
        .find_map(|path| Path::new(&path).canonicalize().ok());
    let closed = found.and_then(|library| {
        let directories = library.ancestors().skip(1);
        directories
            .filter(|directory| mode(directory) & 0o001 == 0)
            .last()
            .map(Path::to_owned)
    });
    if let Some(directory) = closed {
        let directory = directory.display();
        findings.problem(
            format!("{PRELOAD} names {path}, but other users may not enter {directory}: the library is not active for them"),
            "`proclens install` puts the library where all users may read it",
        );
    }
}

/// Checks that the library exists in other root directories. Programs with another root read the same
/// `/etc/ld.so.preload` only in a chroot, but the same `LD_PRELOAD` everywhere. A root with such a file
/// must have the library.
fn in_other_roots(path: &str, findings: &mut Findings) {
    let own = processes::root(std::process::id());
    let mut seen = Vec::new();
    for pid in processes::all() {
        let Some(root) =
            processes::root(pid).filter(|root| Some(*root) != own && !seen.contains(root))
        else {
            continue;
        };
        seen.push(root);
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let text = processes::file_inside(pid, EVERYONES_PRELOAD, 64 << 10).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        if paths_in_preload(&text).any(|line| line == path) {
            let there = expanded(path)
                .iter()
                .any(|path| root.join(path.trim_start_matches('/')).exists());
            if !there {
                findings.problem(
                    format!("process {pid} has a root directory of its own whose {PRELOAD} names {path}, which that root does not have"),
                    format!("proclens install --root /proc/{pid}/root"),
                );
            }
        }
    }
}

/// The path with each possible value of `$LIB`.
fn expanded(path: &str) -> Vec<String> {
    match path.contains("$LIB") || path.contains("${LIB}") {
        true => LIBS
            .iter()
            .map(|lib| path.replace("${LIB}", lib).replace("$LIB", lib))
            .collect(),
        false => vec![path.to_owned()],
    }
}
