//! Whether the dynamic linker loads the library into a program.

use super::findings::Findings;
use super::preloads::{preload_text, preload_variable};
use crate::commands::install::{LIBRARY, PRELOAD, paths_in_preload};
use crate::inspect::elf::{self, Elf, File, Libc};
use crate::inspect::sources::Sources;
use crate::inspect::timed;
use crate::output::failure::Result;
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file that runs (a script's interpreter), if the dynamic linker loads the library into it.
pub(super) fn program_file(
    path: &Path,
    findings: &mut Findings,
    depth: u32,
) -> Result<Option<PathBuf>> {
    let name = path.display();
    let file = match elf::read(path) {
        Ok(file) => file,
        // The interpreter of a script is missing, so the script does not start.
        Err(failure) if matches!(path.try_exists(), Ok(false)) => {
            findings.problem(failure.to_string(), "install it, or correct the script");
            return Ok(None);
        }
        Err(failure) => return Err(failure),
    };
    match file {
        File::Script {
            interpreter,
            argument,
        } if depth < 4 => {
            let env = interpreter.file_name() == Some(OsStr::new("env"));
            let runs = match argument.as_deref().filter(|_| env) {
                Some(argument) => {
                    let word = run_by_env(argument);
                    let Some(path) = word.and_then(found_in_path) else {
                        findings.problem(
                            format!(
                                "{name} is a script for {}, which is not a program in PATH",
                                word.unwrap_or(argument)
                            ),
                            "install it, or correct the script",
                        );
                        return Ok(None);
                    };
                    path
                }
                None => interpreter,
            };
            findings.good(format!("{name} is a script for {}", runs.display()));
            program_file(&runs, findings, depth + 1)
        }
        File::Elf(elf) => Ok(dynamic_program(path, &elf, findings).then(|| path.to_owned())),
        _ => {
            findings.problem(
                format!("{name} is not a program of this machine"),
                "name the program that runs it",
            );
            Ok(None)
        }
    }
}

/// The program in the single argument that the kernel passes to a script's `env`. All of it is the name,
/// unless it begins with an option (`-S` splits what follows into words) or sets a variable.
pub fn run_by_env(argument: &str) -> Option<&str> {
    if !argument.starts_with('-') && !argument.contains('=') {
        return Some(argument);
    }
    // Options with a value: in the same word, or else in the next one.
    const VALUED: [char; 3] = ['u', 'C', 'a'];
    fn letters(word: &str) -> Option<&str> {
        word.strip_prefix('-').filter(|rest| !rest.starts_with('-'))
    }
    let mut words = argument.split_whitespace();
    loop {
        let word = words.next()?;
        let split = letters(word)
            .and_then(|letters| letters.split_once('S'))
            .filter(|(before, _)| !before.contains(VALUED));
        let word = match split {
            Some((_, rest)) => rest,
            None => word.strip_prefix("--split-string=").unwrap_or(word),
        };
        let valued = letters(word)
            .and_then(|letters| Some(letters.find(VALUED)? + 1 == letters.len()))
            .unwrap_or(matches!(word, "--unset" | "--chdir" | "--argv0"));
        if valued {
            words.next();
        } else if !word.is_empty() && !word.starts_with('-') && !word.contains('=') {
            return Some(word);
        }
    }
}

/// The finding about a program that contains Go code.
pub(super) const GO: &str =
    "contains Go code, which calls the kernel without libc: the library cannot reach it";

/// The remedy for a program that the library cannot be loaded into.
pub(super) const UNREACHED: &str = "start it with `proclens run -- PROGRAM`; an agent that can read another /proc can use that of `proclens export DIR`; a program that needs only its limits can use `eval \"$(proclens env)\"`";

fn dynamic_program(path: &Path, elf: &Elf, findings: &mut Findings) -> bool {
    let name = path.display();
    if elf.go {
        findings.problem(format!("{name} {GO}"), UNREACHED);
        return false;
    }
    let Some(interpreter) = &elf.interpreter else {
        findings.problem(
            format!("{name} is static: no library can be loaded into it"),
            UNREACHED,
        );
        return false;
    };
    if elf.bits != 64 || elf.machine != proclens::sys::arch::ELF_MACHINE {
        findings.problem(
            format!(
                "{name} is a {}-bit program for machine number {}, the library is a 64-bit one for {}",
                elf.bits,
                elf.machine,
                proclens::sys::arch::ELF_MACHINE
            ),
            "use a program of this machine's word size",
        );
        return false;
    }
    let libc = elf.libc();
    if libc == Some(Libc::Musl) && !preload_variable().contains(LIBRARY) {
        findings.problem(
            format!("{name} uses musl, which reads LD_PRELOAD but no {PRELOAD}"),
            "set LD_PRELOAD to the path of libproclens.so in the image (ENV LD_PRELOAD=…)",
        );
        return false;
    }
    if let Some(why) = secure(path) {
        let in_file = paths_in_preload(&preload_text()).any(|path| path.contains(LIBRARY));
        if in_file {
            findings.note(
                format!("{name} {why}: LD_PRELOAD does not reach it, {PRELOAD} does"),
                "nothing to be done",
            );
        } else {
            findings.problem(
                format!("{name} {why}: LD_PRELOAD does not reach it"),
                "`proclens install` writes /etc/ld.so.preload, which does",
            );
            return false;
        }
    }
    // `check` must not run a file that the program names as it likes.
    if !is_dynamic_linker(interpreter) {
        findings.problem(
            format!(
                "{name} is loaded by {}, which is not this machine's dynamic linker and is not run for this check: whether it loads the library is unknown",
                interpreter.display()
            ),
            "start the program, then use `proclens check --pid N`",
        );
        return false;
    }
    // The linker finds `$ORIGIN` in the path that it is given. The kernel gives it the file behind all links
    // (`/usr/bin/java`).
    let mut list = Command::new(interpreter);
    list.arg("--list")
        .arg(path.canonicalize().as_deref().unwrap_or(path));
    let (text, complaint) = match timed::output(&mut list, || false) {
        Ok(output) => (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ),
        Err(error) => (String::new(), crate::output::failure::reason(&error)),
    };
    match text.lines().find(|line| line.contains(LIBRARY)) {
        Some(line) => {
            let which = line.split_whitespace().next().unwrap_or(LIBRARY);
            findings.good(format!(
                "{} loads {which} into {name}",
                interpreter.display()
            ));
            if watches_cpus(path, &text) {
                findings.note(
                    format!(
                        "{name} watches CPUs through the kernel: for it, online and present list every CPU that the \
                         container may use"
                    ),
                    "if it opens its rings by sysconf(_SC_NPROCESSORS_ONLN) or its affinity mask, run it with PROCLENS=off",
                );
            }
            true
        }
        None => {
            let said = complaint
                .lines()
                .next()
                .map(|line| format!(" ({line})"))
                .unwrap_or_default();
            findings.problem(
                format!(
                    "{} does not load the library into {name}{said}",
                    interpreter.display()
                ),
                "`proclens install`, or set LD_PRELOAD to the path of libproclens.so",
            );
            false
        }
    }
}

/// The paths of dynamic linkers that the ABIs of the processors and musl define.
const DYNAMIC_LINKERS: [&str; 4] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

/// True for a dynamic linker of this machine, by any path: one at a usual place, or that of the shell (NixOS
/// has it elsewhere).
fn is_dynamic_linker(interpreter: &Path) -> bool {
    let of_shell = match elf::read(Path::new("/bin/sh")) {
        Ok(File::Elf(shell)) => shell.interpreter,
        _ => None,
    };
    let usual = DYNAMIC_LINKERS.map(PathBuf::from);
    let real = interpreter.canonicalize().ok();
    real.is_some()
        && usual
            .into_iter()
            .chain(of_shell)
            .any(|linker| linker.canonicalize().ok() == real)
}

/// True if the program calls `bpf` or `perf_event_open`. `libraries` is the output of `ld.so --list`. True
/// for programs that contain libbpf, or read the kernel's event sources as perf does.
fn watches_cpus(path: &Path, libraries: &str) -> bool {
    let contains = |data: &[u8], text: &[u8]| memchr::memmem::find(data, text).is_some();
    libraries.contains("libbpf.so")
        || libraries.contains("libbcc")
        || std::fs::read(path).is_ok_and(|data| {
            contains(&data, b"libbpf: ") || contains(&data, b"event_source/devices")
        })
}

/// True if PROCLENS_SKIP names this program. The library compares the path with symbolic links resolved.
pub(super) fn skips(program: &Path, sources: &Sources) -> bool {
    let real = without_links(program);
    sources.settings().skips(real.as_os_str().as_bytes())
}

/// True if PROCLENS_SKIP names this program, which is then a finding.
pub(super) fn left_out(program: &Path, sources: &Sources, findings: &mut Findings) -> bool {
    let skipped = skips(program, sources);
    if skipped {
        findings.problem(
            format!(
                "PROCLENS_SKIP excludes {}",
                without_links(program).display()
            ),
            "remove it from PROCLENS_SKIP",
        );
    }
    skipped
}

fn without_links(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Why the dynamic linker would not trust the environment (`AT_SECURE`).
fn secure(path: &Path) -> Option<&'static str> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    if mode & 0o6000 != 0 {
        return Some("runs with another user's rights when others start it");
    }
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: two C strings, and a null buffer of size 0, so nothing is written.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"security.capability".as_ptr(),
            std::ptr::null_mut(),
            0,
        )
    };
    (length > 0).then_some("has capabilities of its own")
}

/// Finds a program as the shell does.
pub fn found_in_path(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    let name = name.as_ref();
    let executable = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name)).filter(executable);
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_of_env_is_found() {
        for (argument, program) in [
            ("head", Some("head")),
            ("head -n 1", Some("head -n 1")),
            ("-S head -n 1", Some("head")),
            ("-Shead -n 1", Some("head")),
            ("-vS head", Some("head")),
            ("--split-string=head -n 1", Some("head")),
            ("-u X head", Some("head")),
            ("-uX head", Some("head")),
            ("-S -i -u X --chdir /tmp A=b head c", Some("head")),
            ("A=b head", Some("head")),
            ("-S", None),
            ("-i", None),
        ] {
            assert_eq!(run_by_env(argument), program, "{argument}");
        }
    }
}
