//! `proclens install` and `uninstall`: the library where every program of a root directory finds
//! it, and the line of `/etc/ld.so.preload` that makes them look.
//!
//! A line that names what cannot be loaded makes every program of that root complain, so it is
//! written last, at once, and after programs of that very root have been run with the library.

use crate::elf::{self, Elf, File, Libc};
use crate::failure::{Failure, Result, reason};
use crate::style::{GOOD, WARNING};
use proclens::sys::process::effective_user;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::NamedTempFile;

/// What the library is called, wherever it is.
pub const LIBRARY: &str = "libproclens.so";
/// Where glibc reads what to load into every program.
pub const PRELOAD: &str = "/etc/ld.so.preload";
/// What `$LIB` stands for, by distribution: Debian's, Red Hat's, Arch's. In the file the name
/// stays: a 32-bit program then looks in a directory of its own.
pub const LIBS: [&str; 4] = [
    if cfg!(target_arch = "aarch64") {
        "lib/aarch64-linux-gnu"
    } else {
        "lib/x86_64-linux-gnu"
    },
    "lib64",
    "lib",
    "lib32",
];
/// The line in `/etc/ld.so.preload`.
const LINE: &str = "/usr/$LIB/libproclens.so";
/// Where musl's programs find it, whose linker knows no `$LIB`.
const MUSL: &str = "/usr/lib/libproclens.so";

pub fn install(root: &Path, library: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let root = Root::open(root)?;
    let library = library.map_or_else(beside, |path| Ok(path.to_owned()))?;
    let bytes = fs::read(&library).map_err(|error| Failure::of_file(&library, &error))?;
    let File::Elf(elf) = elf::read(&library)? else {
        return Err(Failure::new(
            format_args!("{}: is no library", library.display()),
            "give libproclens.so of a release with --lib",
        ));
    };
    let trial = Trial::of(&root, &elf)?;
    match trial.libc {
        Libc::Musl => {
            let placed = Placed::put(&root, Path::new(MUSL), &bytes)?;
            trial.run(&root, Some(MUSL))?;
            placed.keep();
            writeln!(out, "{GOOD}installed{GOOD:#} {}", root.name(MUSL))?;
            writeln!(
                out,
                "{WARNING}note{WARNING:#} musl reads no {PRELOAD}: set LD_PRELOAD={MUSL} in the image (ENV LD_PRELOAD={MUSL})"
            )?;
        }
        Libc::Glibc => {
            let (placed, path) = place(&root, &trial, &bytes)?;
            let before = root.resolve(Path::new(PRELOAD))?;
            let old = read_if_any(&before)?;
            let new = with_line(old.as_deref().unwrap_or_default());
            let line = Placed::put(&root, Path::new(PRELOAD), new.as_bytes())?;
            trial.run(&root, None)?;
            line.keep();
            placed.keep();
            writeln!(out, "{GOOD}installed{GOOD:#} {}", root.name(&path))?;
            writeln!(
                out,
                "{GOOD}written{GOOD:#}   {}: {LINE}",
                root.name(PRELOAD)
            )?;
            if let Some(loader) = ["/lib/ld-linux.so.2", "/lib/ld-linux-armhf.so.3"]
                .iter()
                .find(|loader| {
                    root.resolve(Path::new(loader))
                        .is_ok_and(|path| path.exists())
                })
            {
                writeln!(
                    out,
                    "{WARNING}note{WARNING:#} there is {loader}: 32-bit programs will say on stderr that they cannot load the library, and run without it"
                )?;
            }
        }
    }
    writeln!(
        out,
        "tried with {}; take it back with `proclens uninstall{}`",
        trial.program.display(),
        root.option()
    )?;
    Ok(())
}

pub fn uninstall(root: &Path, out: &mut dyn Write) -> Result<()> {
    let root = Root::open(root)?;
    let mut found = false;
    // The line first: without it nobody looks for the library.
    let preload = root.resolve(Path::new(PRELOAD))?;
    if let Some(old) = read_if_any(&preload)? {
        let new = without_line(&old);
        if new != old {
            found = true;
            if new.trim().is_empty() {
                fs::remove_file(&preload).map_err(|error| Failure::of_file(&preload, &error))?;
            } else {
                Placed::put(&root, Path::new(PRELOAD), new.as_bytes())?.keep();
            }
            writeln!(
                out,
                "{GOOD}taken back{GOOD:#} the line in {}",
                root.name(PRELOAD)
            )?;
        }
    }
    // A package has the library beside the tool, where musl's programs find it: it stays.
    let packaged = root.resolve(Path::new("/usr/bin/proclens"))?.exists();
    for lib in LIBS {
        let path = format!("/usr/{lib}/{LIBRARY}");
        let real = root.resolve(Path::new(&path))?;
        if packaged && path == MUSL {
            continue;
        }
        match fs::remove_file(&real) {
            Ok(()) => {
                found = true;
                writeln!(out, "{GOOD}removed{GOOD:#} {}", root.name(&path))?;
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(error) => return Err(Failure::of_file(&real, &error)),
        }
    }
    if !found {
        writeln!(out, "nothing was installed in {}", root.path.display())?;
    }
    Ok(())
}

/// Puts the library where `$LIB` leads in this root: the first directory from which a program
/// loads it.
fn place(root: &Root, trial: &Trial, bytes: &[u8]) -> Result<(Placed, String)> {
    let mut refused = None;
    for lib in LIBS {
        let directory = format!("/usr/{lib}");
        if !root
            .resolve(Path::new(&directory))
            .is_ok_and(|path| path.is_dir())
        {
            continue;
        }
        let path = format!("{directory}/{LIBRARY}");
        let placed = Placed::put(root, Path::new(&path), bytes)?;
        match trial.run(root, Some(LINE)) {
            Ok(()) => return Ok((placed, path)),
            Err(failure) => refused = Some(failure),
        }
    }
    Err(refused.unwrap_or_else(|| {
        Failure::new(
            format_args!(
                "{}: has neither /usr/lib nor /usr/lib64",
                root.path.display()
            ),
            "is this the root directory of a system?",
        )
    }))
}

/// The paths in the text of `/etc/ld.so.preload`, as glibc reads it: anything between white space
/// and colons, up to a `#`.
pub fn paths_in_preload(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(|line| line.split([' ', '\t', ':']))
        .filter(|path| !path.is_empty())
}

/// The text with the library's line as its last, once.
fn with_line(old: &str) -> String {
    let mut text = without_line(old);
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text + LINE + "\n"
}

/// The text without any path of the library; what else is on its line stays.
fn without_line(old: &str) -> String {
    let ours = |path: &&str| path.rsplit('/').next() == Some(LIBRARY);
    old.split_inclusive('\n')
        .filter_map(|line| {
            if !paths_in_preload(line).any(|path| ours(&path)) {
                return Some(line.to_owned());
            }
            let others: Vec<_> = paths_in_preload(line).filter(|path| !ours(path)).collect();
            (!others.is_empty()).then(|| others.join(" ") + "\n")
        })
        .collect()
}

/// The library of the release that this program belongs to.
fn beside() -> Result<PathBuf> {
    let own = std::env::current_exe().unwrap_or_default();
    let directory = own.parent().unwrap_or(Path::new("/")).to_owned();
    let candidates = [
        directory.join(LIBRARY),
        directory.join("../lib").join(LIBRARY),
        directory.join("../lib/proclens").join(LIBRARY),
    ];
    candidates
        .iter()
        .find(|path| path.is_file())
        .cloned()
        .ok_or_else(|| {
            Failure::new(
                format_args!("{LIBRARY}: is not beside {}", own.display()),
                "name it with --lib",
            )
        })
}

/// A root directory. Paths in it stay in it, whatever its symbolic links say.
struct Root {
    path: PathBuf,
}

impl Root {
    fn open(path: &Path) -> Result<Root> {
        let path = path
            .canonicalize()
            .map_err(|error| Failure::of_file(path, &error))?;
        if !path.is_dir() {
            return Err(Failure::new(
                format_args!("{}: is no directory", path.display()),
                "give a root directory",
            ));
        }
        Ok(Root { path })
    }

    fn is_own(&self) -> bool {
        self.path == Path::new("/")
    }

    /// Where `path` of this root is; what does not exist yet is where it would be.
    fn resolve(&self, path: &Path) -> Result<PathBuf> {
        let mut left: Vec<_> = path
            .components()
            .rev()
            .map(|c| c.as_os_str().to_owned())
            .collect();
        let mut real = self.path.clone();
        let mut links = 0;
        while let Some(name) = left.pop() {
            match Path::new(&name).components().next() {
                Some(Component::Normal(name)) => {
                    let next = real.join(name);
                    let Ok(target) = fs::read_link(&next) else {
                        real = next;
                        continue;
                    };
                    links += 1;
                    if links > 40 {
                        return Err(Failure::new(
                            format_args!("{}: too many symbolic links", self.name(path)),
                            "mend the links",
                        ));
                    }
                    if target.is_absolute() {
                        real.clone_from(&self.path);
                    }
                    left.extend(target.components().rev().map(|c| c.as_os_str().to_owned()));
                }
                Some(Component::ParentDir) if real != self.path => {
                    real.pop();
                }
                // The root itself: absolute paths and links start there already.
                _ => {}
            }
        }
        Ok(real)
    }

    /// `path` as seen from here.
    fn name(&self, path: impl AsRef<Path>) -> String {
        let inside = path.as_ref().strip_prefix("/").unwrap_or(path.as_ref());
        self.path.join(inside).display().to_string()
    }

    fn option(&self) -> String {
        if self.is_own() {
            String::new()
        } else {
            format!(" --root {}", self.path.display())
        }
    }
}

/// A file that was put in its place, and is taken away again unless it is kept: what was there
/// before comes back.
struct Placed {
    path: PathBuf,
    before: Option<NamedTempFile>,
    kept: bool,
}

impl Placed {
    /// Writes the file beside its place and moves it there: nobody ever sees half of it.
    fn put(root: &Root, path: &Path, bytes: &[u8]) -> Result<Placed> {
        let path = root.resolve(path)?;
        let directory = path.parent().unwrap_or(&root.path);
        let refused = |error: io::Error| Failure::of_file(&path, &error);
        let write = |bytes: &[u8]| -> io::Result<NamedTempFile> {
            let mut file = NamedTempFile::with_prefix_in(".proclens-", directory)?;
            file.write_all(bytes)?;
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(0o644))?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        let before = match fs::read(&path) {
            Ok(old) => Some(write(&old).map_err(refused)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(refused(error)),
        };
        let new = write(bytes).map_err(refused)?;
        new.persist(&path).map_err(|error| refused(error.error))?;
        Ok(Placed {
            path,
            before,
            kept: false,
        })
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        match self.before.take() {
            Some(before) => drop(before.persist(&self.path)),
            None => drop(fs::remove_file(&self.path)),
        }
    }
}

/// A program of the root to try the library with.
struct Trial {
    program: PathBuf,
    interpreter: PathBuf,
    arguments: &'static [&'static str],
    libc: Libc,
}

impl Trial {
    fn of(root: &Root, library: &Elf) -> Result<Trial> {
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
    fn run(&self, root: &Root, preload: Option<&str>) -> Result<()> {
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
            let path = root.path.clone();
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

fn read_if_any(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| {
            Failure::new(
                format_args!("{}: is no text", path.display()),
                "look at it; it is left as it is",
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::of_file(path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_preload_file() {
        assert_eq!(with_line(""), "/usr/$LIB/libproclens.so\n");
        assert_eq!(
            with_line("/lib/a.so"),
            "/lib/a.so\n/usr/$LIB/libproclens.so\n"
        );
        let both = "# x\n/lib/a.so /old/libproclens.so\n";
        assert_eq!(
            with_line(both),
            "# x\n/lib/a.so\n/usr/$LIB/libproclens.so\n"
        );
        assert_eq!(without_line(&with_line("/lib/a.so\n")), "/lib/a.so\n");
        assert_eq!(
            without_line("/lib/libproclens.so.bak\n"),
            "/lib/libproclens.so.bak\n"
        );
        let paths: Vec<_> = paths_in_preload("/a:/b # /c\n\t/d\n").collect();
        assert_eq!(paths, ["/a", "/b", "/d"]);
    }

    #[test]
    fn links_do_not_lead_out_of_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        fs::create_dir_all(root.path.join("usr/lib")).unwrap();
        std::os::unix::fs::symlink("/usr/lib", root.path.join("lib")).unwrap();
        std::os::unix::fs::symlink("../../../../etc", root.path.join("usr/out")).unwrap();
        std::os::unix::fs::symlink("loop", root.path.join("loop")).unwrap();
        let at = |path: &str| {
            root.resolve(Path::new(path))
                .map(|real| real.strip_prefix(&root.path).unwrap().to_owned())
        };
        assert_eq!(at("/lib/x.so").unwrap(), Path::new("usr/lib/x.so"));
        assert_eq!(at("/usr/out/passwd").unwrap(), Path::new("etc/passwd"));
        assert_eq!(at("/../../x").unwrap(), Path::new("x"));
        assert!(at("/loop").is_err());
    }

    #[test]
    fn what_is_not_kept_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        let (old, new) = (Path::new("/old"), Path::new("/new"));
        fs::write(root.path.join("old"), "before").unwrap();
        drop(Placed::put(&root, old, b"after").unwrap());
        drop(Placed::put(&root, new, b"after").unwrap());
        assert_eq!(fs::read(root.path.join("old")).unwrap(), b"before");
        assert_eq!(fs::read_dir(&root.path).unwrap().count(), 1);
        Placed::put(&root, old, b"after").unwrap().keep();
        assert_eq!(fs::read(root.path.join("old")).unwrap(), b"after");
        assert_eq!(fs::read_dir(&root.path).unwrap().count(), 1);
    }
}
