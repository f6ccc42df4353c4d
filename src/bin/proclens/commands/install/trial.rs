//! Tests whether programs of a root directory load the library without printing anything.

use super::preload_file::LIBRARY;
use super::root::Root;
use crate::inspect::elf::{self, Elf, File, Libc};
use crate::inspect::timed;
use crate::output::failure::{Failure, Result, reason};
use proclens::sys::process::effective_user;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

type Arguments = &'static [&'static str];

/// Programs that do nothing. Nearly every system has one of them.
const PROGRAMS: [(&str, Arguments); 7] = [
    ("/usr/bin/true", &[]),
    ("/bin/true", &[]),
    ("/bin/busybox", &["true"]),
    ("/bin/sh", &["-c", ":"]),
    ("/usr/bin/env", &[]),
    ("/bin/cat", &["/dev/null"]),
    ("/bin/bash", &["-c", ":"]),
];

/// A program of the root to try the library with.
pub struct Trial {
    /// The program that runs.
    pub program: PathBuf,
    interpreter: PathBuf,
    arguments: Arguments,
    /// Its C library.
    pub libc: Libc,
    /// Its result before any change.
    before: Ran,
    signals: Signals,
}

/// Signals that end the install. They stop the running program and make its trial fail, so that all changes
/// are reverted.
struct Signals(Arc<AtomicBool>);

/// How a program ended, and the lines that it wrote to stderr.
struct Ran {
    status: ExitStatus,
    printed: Vec<String>,
}

/// The processor's name in the file names of a release, from the machine field of an ELF file.
fn processor(machine: u16) -> String {
    match machine {
        62 => "x86_64".to_owned(),
        183 => "aarch64".to_owned(),
        other => format!("ELF machine {other}"),
    }
}

impl Trial {
    /// A program of `root` for which `library` is built.
    pub fn of(root: &Root, library: &Elf) -> Result<Trial> {
        if !root.is_own() && effective_user() != 0 {
            return Err(Failure::new(
                format_args!(
                    "{}: only root may run programs in another root directory",
                    root.path.display()
                ),
                "try sudo",
            ));
        }
        let signals = Signals::caught();
        let mut seen = None;
        for (program, arguments, elf) in programs(root) {
            let same = elf.bits == library.bits && elf.machine == library.machine;
            match (elf.libc(), elf.interpreter) {
                (Some(libc), Some(interpreter)) if same => {
                    let program = PathBuf::from(program);
                    let words = arguments.iter().map(OsStr::new);
                    let before = command(root, None, &program, words, &signals)
                        .map_err(|error| refused(root, &program, reason(&error)))?;
                    return Ok(Trial {
                        program,
                        interpreter,
                        arguments,
                        libc,
                        before: Ran::of(&before),
                        signals,
                    });
                }
                (None, _) => {
                    seen = Some("has only static programs, into which no library can be loaded")
                }
                _ if elf.bits == library.bits && elf.machine != library.machine => {
                    let (theirs, ours) = (processor(elf.machine), processor(library.machine));
                    return Err(Failure::new(
                        format_args!(
                            "{}: its programs are for {theirs}, the library is for {ours}",
                            root.path.display()
                        ),
                        format_args!("use the release for {theirs}"),
                    ));
                }
                _ => seen = Some("has programs of another word size than the library"),
            }
        }
        Err(Failure::new(
            format_args!(
                "{}: {}",
                root.path.display(),
                seen.unwrap_or("has no program to test the library with")
            ),
            "set LD_PRELOAD for single programs instead (COPY the library, ENV LD_PRELOAD=…)",
        ))
    }

    /// Runs the program in the root, with `preload` in LD_PRELOAD or with the root's own preload file, and
    /// finds out from the dynamic linker whether it loaded the library. Returns the lines that the program
    /// prints without the library too.
    pub fn run(&self, root: &Root, preload: Option<&str>) -> Result<Vec<String>> {
        let refused = |what: String| refused(root, &self.program, what);
        let words = self.arguments.iter().map(OsStr::new);
        let output = command(root, preload, &self.program, words, &self.signals)
            .map_err(|error| refused(reason(&error)))?;
        let ran = Ran::of(&output);
        // The line in the file is new, so an error that an older line caused must not be ignored.
        let known = |line: &String| {
            self.before.printed.contains(line) && (preload.is_some() || !line.contains(LIBRARY))
        };
        let (known, new): (Vec<_>, Vec<_>) = ran.printed.into_iter().partition(known);
        let first = new.first().or(known.first()).map_or("", String::as_str);
        match (ran.status.success(), self.before.status.success()) {
            (false, true) => {
                return Err(refused(format!(
                    "with the library it ends with {} ({first})",
                    ran.status
                )));
            }
            (false, false) => {
                return Err(refused(format!(
                    "it ends with {} ({first}), without the library as well",
                    ran.status
                )));
            }
            (true, _) if !new.is_empty() => {
                return Err(refused(format!("with the library it prints: {first}")));
            }
            _ => {}
        }
        let list = [OsStr::new("--list"), self.program.as_os_str()];
        let listed = command(
            root,
            preload,
            &self.interpreter,
            list.into_iter(),
            &self.signals,
        )
        .map_err(|error| refused(reason(&error)))?;
        if String::from_utf8_lossy(&listed.stdout).contains(LIBRARY) {
            Ok(known)
        } else {
            Err(refused("does not load the library".to_owned()))
        }
    }
}

impl Signals {
    fn caught() -> Signals {
        let came = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // A signal that cannot be caught still ends this process.
            let _ = flag::register(signal, came.clone());
        }
        Signals(came)
    }

    fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Ran {
    fn of(output: &Output) -> Ran {
        let printed = String::from_utf8_lossy(&output.stderr);
        Ran {
            status: output.status,
            printed: printed.lines().map(str::to_owned).collect(),
        }
    }
}

/// The C library of the programs of `root`, if they use a known one.
pub fn libc(root: &Root) -> Option<Libc> {
    programs(root).find_map(|(.., elf)| elf.libc())
}

fn programs(root: &Root) -> impl Iterator<Item = (&str, Arguments, Elf)> {
    PROGRAMS.into_iter().filter_map(|(program, arguments)| {
        match elf::read(&root.resolve(Path::new(program)).ok()?) {
            Ok(File::Elf(elf)) => Some((program, arguments, elf)),
            _ => None,
        }
    })
}

fn refused(root: &Root, program: &Path, what: String) -> Failure {
    Failure::new(
        format_args!("{}: {what}", root.name(program)),
        "nothing was changed",
    )
}

/// Runs `program` in the root until it ends, a signal arrives or the time is up.
fn command<'a>(
    root: &Root,
    preload: Option<&str>,
    program: &Path,
    arguments: impl Iterator<Item = &'a OsStr>,
    signals: &Signals,
) -> io::Result<Output> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        // Ctrl-C reaches only this process, which then ends the program.
        .process_group(0);
    if let Some(preload) = preload {
        command.env("LD_PRELOAD", preload);
    }
    if !root.is_own() {
        let path = root.reach().to_owned();
        // SAFETY: two system calls between fork and exec. The path is made before the fork.
        unsafe {
            command.pre_exec(move || {
                std::os::unix::fs::chroot(&path)?;
                std::env::set_current_dir("/")
            });
        }
    }
    timed::output(&mut command, || signals.came())
}
