//! `proclens install` and `uninstall`: copies the library to a place where every program of a root
//! directory finds it, and adds the line to `/etc/ld.so.preload` that loads it.
//!
//! If that line names a file that cannot be loaded, every program of the root prints an error. So install
//! writes the line last and atomically, after programs of the same root have run with the library.

mod copy;
mod preload_file;
mod root;
mod trial;

use crate::inspect::elf::{self, File, Libc};
use crate::inspect::regular::{self, LARGEST_LIBRARY, LONGEST_TEXT};
use crate::output::failure::{Failure, Result};
use crate::output::style::{GOOD, WARNING};
pub use copy::set_usual_umask;
pub use preload_file::{LIBRARY, LIBS, PRELOAD, paths_in_preload, quoted};
use preload_file::{LINE, MUSL, with_line, without_line};
use root::{Placed, Root};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use trial::Trial;

/// Copies library and tool into `directory`; see [`copy`].
pub fn install_to(directory: &Path, library: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let library = library.map_or_else(beside, |path| Ok(path.to_owned()))?;
    copy::copy_to(directory, &library, out)
}

pub fn install(root: &Path, library: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let root = Root::open(root)?;
    let library = library.map_or_else(beside, |path| Ok(path.to_owned()))?;
    let bytes = regular::read(&library, LARGEST_LIBRARY)
        .map_err(|error| Failure::of_file(&library, &error))?;
    let elf = match elf::read(&library)? {
        File::Elf(elf) if elf.soname.as_deref() == Some(LIBRARY) => elf,
        _ => {
            return Err(Failure::new(
                format_args!("{}: is not the library of proclens", library.display()),
                "name libproclens.so of a release with --lib",
            ));
        }
    };
    sweep(&root)?;
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
            let old = read_if_any(&root, &before)?;
            let new = with_line(old.as_deref().unwrap_or_default());
            let line = Placed::edit(&root, Path::new(PRELOAD), new.as_bytes())?;
            let already = trial.run(&root, None)?;
            line.keep();
            placed.keep();
            writeln!(out, "{GOOD}installed{GOOD:#} {}", root.name(&path))?;
            writeln!(
                out,
                "{GOOD}written{GOOD:#}   {}: {LINE}",
                root.name(PRELOAD)
            )?;
            for line in already {
                writeln!(
                    out,
                    "{WARNING}note{WARNING:#} programs print this without the library as well: {line}"
                )?;
            }
            if let Some(loader) = ["/lib/ld-linux.so.2", "/lib/ld-linux-armhf.so.3"]
                .iter()
                .find(|loader| {
                    root.resolve(Path::new(loader))
                        .is_ok_and(|path| path.exists())
                })
            {
                writeln!(
                    out,
                    "{WARNING}note{WARNING:#} there is {loader}: 32-bit programs print on stderr that they cannot load the library, and run without it"
                )?;
            }
        }
    }
    writeln!(
        out,
        "tested with {}; undo it with `proclens uninstall{}`",
        trial.program.display(),
        root.option()
    )?;
    Ok(())
}

pub fn uninstall(root: &Path, out: &mut dyn Write) -> Result<()> {
    let root = Root::open(root)?;
    sweep(&root)?;
    let mut found = false;
    // Remove the line first: without it no program looks for the library.
    let preload = root.resolve(Path::new(PRELOAD))?;
    if let Some(old) = read_if_any(&root, &preload)? {
        let new = without_line(&old);
        if new != old {
            found = true;
            if new.trim().is_empty() {
                fs::remove_file(&preload).map_err(|error| root.refused(&preload, &error))?;
            } else {
                Placed::edit(&root, Path::new(PRELOAD), new.as_bytes())?.keep();
            }
            writeln!(
                out,
                "{GOOD}removed{GOOD:#} the line in {}",
                root.name(PRELOAD)
            )?;
        }
    }
    // A package installs the library beside the tool, where musl programs find it. That copy stays. There
    // is no package for systems with musl, so a copy there was installed by this tool.
    let packaged = root.resolve(Path::new("/usr/bin/proclens"))?.exists()
        && trial::libc(&root) != Some(Libc::Musl);
    for lib in LIBS {
        let path = format!("/usr/{lib}/{LIBRARY}");
        let real = root.resolve(Path::new(&path))?;
        // Check that the file exists first: on a read-only file system, removal fails even if it does not.
        if packaged && path == MUSL || fs::symlink_metadata(&real).is_err() {
            continue;
        }
        fs::remove_file(&real).map_err(|error| root.refused(&real, &error))?;
        found = true;
        writeln!(out, "{GOOD}removed{GOOD:#} {}", root.name(&path))?;
    }
    if !found {
        writeln!(out, "nothing was installed in {}", root.path.display())?;
    }
    Ok(())
}

/// Removes the files that a killed install left.
fn sweep(root: &Root) -> Result<()> {
    root.sweep(PRELOAD)?;
    LIBS.iter()
        .try_for_each(|lib| root.sweep(&format!("/usr/{lib}/{LIBRARY}")))
}

/// Puts the library into the first directory from which a program of this root loads it by `$LIB`.
fn place(root: &Root, trial: &Trial, bytes: &[u8]) -> Result<(Placed, String)> {
    let mut refused: Option<Failure> = None;
    // True for any reason except that the dynamic linker does not look in this directory.
    let telling = |failure: &Failure| {
        let text = failure.to_string();
        !text.contains("cannot open shared object file")
    };
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
            Ok(_) => return Ok((placed, path)),
            Err(failure) => {
                let known = refused.as_ref();
                if known.is_none_or(|known| !telling(known) && telling(&failure)) {
                    refused = Some(failure);
                }
            }
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

/// The library of the release that this program belongs to.
pub fn beside() -> Result<PathBuf> {
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

fn read_if_any(root: &Root, path: &Path) -> Result<Option<String>> {
    match regular::read(path, LONGEST_TEXT) {
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| {
            Failure::new(
                format_args!("{}: is no text", root.name(PRELOAD)),
                "look at it; it was not changed",
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(root.refused(path, &error)),
    }
}
