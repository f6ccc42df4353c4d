//! Is the library loaded by the programs of a root directory, and without a word?

use super::LIBRARY;
use super::root::Root;
use crate::elf::{self, Elf, File, Libc};
use crate::failure::{Failure, Result, reason};
use proclens::sys::process::effective_user;
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program of the root to try the library with.
pub struct Trial {
    /// What runs.
    pub program: PathBuf,
    interpreter: PathBuf,
    arguments: &'static [&'static str],
    /// Whose C library it uses.
    pub libc: Libc,
}

impl Trial {
    /// A program of `root` that `library` is made for.
    pub fn of(root: &Root, library: &Elf) -> Result<Trial> {
        const PROGRAMS: [(&str, &[&str]); 7] = [
            ("/usr/bin/true", &[]),
            ("/bin/true", &[]),
            ("/bin/busybox", &["true"]),
            ("/bin/sh", &["-c", ":"]),
            ("/usr/bin/env", &[]),
            ("/bin/cat", &["/dev/null"]),
            ("/bin/bash", &["-c", ":"]),
        ];
        if !root.is_own() && effective_user() != 0 {
            return Err(Failure::new(
                format_args!(
                    "{}: only root may run programs in another root directory",
                    root.path.display()
                ),
                "try sudo",
            ));
        }
        let mut seen = None;
        for (program, arguments) in PROGRAMS {
            let Ok(File::Elf(elf)) = root
                .resolve(Path::new(program))
                .and_then(|path| elf::read(&path))
            else {
                continue;
            };
            let same = elf.bits == library.bits && elf.machine == library.machine;
            match (elf.libc(), elf.interpreter) {
                (Some(libc), Some(interpreter)) if same => {
                    return Ok(Trial {
                        program: PathBuf::from(program),
                        interpreter,
                        arguments,
                        libc,
                    });
                }
                (None, _) => {
                    seen = Some("has only static programs, into which no library can be loaded")
                }
                _ => seen = Some("has programs of another machine or word size than the library"),
            }
        }
        Err(Failure::new(
            format_args!(
                "{}: {}",
                root.path.display(),
                seen.unwrap_or("has no program to try the library with")
            ),
            "set LD_PRELOAD for single programs instead (COPY the library, ENV LD_PRELOAD=…)",
        ))
    }

    /// Runs the program in the root, with `preload` in LD_PRELOAD or with what the root's own file
    /// says, and asks the dynamic linker whether the library was there.
    pub fn run(&self, root: &Root, preload: Option<&str>) -> Result<()> {
        let refused = |what: String| {
            Failure::new(
                format_args!("{}: {what}", root.name(&self.program)),
                "nothing was changed",
            )
        };
        let ran = self.command(
            root,
            preload,
            &self.program,
            self.arguments.iter().map(OsStr::new),
        );
        let output = ran.map_err(|error| refused(reason(&error)))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() || !said.is_empty() {
            let said = said.lines().next().unwrap_or_default();
            return Err(refused(format!(
                "with the library it ends with {} ({said})",
                output.status
            )));
        }
        let list = [OsStr::new("--list"), self.program.as_os_str()];
        let listed = self.command(root, preload, &self.interpreter, list.into_iter());
        let listed = listed.map_err(|error| refused(reason(&error)))?;
        if String::from_utf8_lossy(&listed.stdout).contains(LIBRARY) {
            Ok(())
        } else {
            Err(refused("does not load the library".to_owned()))
        }
    }

    fn command<'a>(
        &self,
        root: &Root,
        preload: Option<&str>,
        program: &Path,
        arguments: impl Iterator<Item = &'a OsStr>,
    ) -> io::Result<std::process::Output> {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().stdin(Stdio::null());
        if let Some(preload) = preload {
            command.env("LD_PRELOAD", preload);
        }
        if !root.is_own() {
            let path = root.reach().to_owned();
            // SAFETY: two system calls between fork and exec; the path is made before.
            unsafe {
                command.pre_exec(move || {
                    std::os::unix::fs::chroot(&path)?;
                    std::env::set_current_dir("/")
                });
            }
        }
        command.output()
    }
}
