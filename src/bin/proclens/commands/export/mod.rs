//! `proclens export`: a directory with the container's /proc and /sys, for agents that can read a directory
//! other than the kernel's (`--path.procfs`, HOST_PROC).

mod directory;

use crate::commands::install::set_usual_umask;
use crate::inspect::sources::Sources;
use crate::inspect::target::Target;
use crate::inspect::view::View;
use crate::output::failure::{Failure, Result, reason};
use directory::Directory;
use proclens::procfs::cpu_directory;
use proclens::procfs::files::MachineFile;
use proclens::settings::Settings;
use proclens::sys::process::{self, effective_user};
use proclens::values::CpuList;
use rustix::fs::{FlockOperation, flock};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Marks a directory as made by this command. The file is locked as long as the export runs.
const MARK: &str = ".proclens-export";
/// The two trees.
const TREES: [&str; 2] = ["proc", "sys"];

/// Keeps `directory` current until a signal arrives or the parent ends, then removes everything that it
/// made.
pub fn run(directory: &Path, every: Duration) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| Failure::new("signals", reason(&error)))?;
    }
    set_usual_umask();
    // It changes when the parent ends. PR_SET_PDEATHSIG would send a signal too early, at the end of the parent's thread
    // that started this program.
    let parent = process::parent();
    let sources = Sources::own();
    let settings = sources.settings();
    let export = Export::new(directory)?;
    let goes_on = || !stop.load(Ordering::Relaxed) && process::parent() == parent;
    let done = export.keep_current(&settings, every, goes_on);
    export.remove();
    done
}

/// While refreshes fail, one line is printed in this time.
const QUIET: Duration = Duration::from_secs(60);

/// The longest sleep. After it, the loop checks for the parent and for a signal that arrived just before
/// the sleep.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// Sleeps until the time is up or a signal arrives. Rust's own function continues to sleep after a signal.
fn sleep(time: Duration) {
    let time = libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: time.subsec_nanos().into(),
    };
    // SAFETY: the kernel reads one structure.
    unsafe { libc::nanosleep(&time, std::ptr::null_mut()) };
}

struct Export {
    path: PathBuf,
    directory: Directory,
    /// Where the directory is, if this command created it. Then it removes the directory at the end.
    made_in: Option<(Directory, OsString)>,
    /// The trees that this command made, with their names.
    trees: Vec<(&'static OsStr, Directory)>,
    view: View,
    /// Holds the lock.
    mark: File,
}

impl Export {
    fn new(path: &Path) -> Result<Export> {
        let (directory, made_in) = open(path)?;
        let is_ours = directory.has(OsStr::new(MARK));
        for tree in TREES {
            if directory.has(OsStr::new(tree)) && !is_ours {
                return Err(exists(&path.join(tree)));
            }
        }
        let mark = lock(path, &directory)?;
        let mut export = Export {
            path: path.to_owned(),
            directory,
            made_in,
            trees: Vec::new(),
            view: View::new(Target::Own),
            mark,
        };
        if let Err(failure) = export.make_trees() {
            export.remove();
            return Err(failure);
        }
        Ok(export)
    }

    fn make_trees(&mut self) -> Result<()> {
        for tree in TREES.map(OsStr::new) {
            let path = self.path.join(tree);
            // Remove what a killed export left.
            self.directory.remove(tree);
            let made = self
                .directory
                .make(tree)
                .and_then(|()| self.directory.open_in(tree));
            let made = made.map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => exists(&path),
                _ => Failure::of_file(&path, &error),
            })?;
            // Where others can write, it may be another directory by now. Some file systems show everything as
            // another user's or as writable by everybody.
            if !made.is_own() || !made.names().is_ok_and(|names| names.is_empty()) {
                return Err(Failure::new(
                    format_args!("{}: other users can change it", path.display()),
                    "name a directory on another file system, which only you can write to",
                ));
            }
            self.trees.push((tree, made));
        }
        Ok(())
    }

    /// Refreshes all files at each interval while `goes_on` returns true. The first refresh must succeed. Later
    /// ones may fail (the file system is full for a moment): the files then keep their old text.
    fn keep_current(
        &self,
        settings: &Settings,
        every: Duration,
        goes_on: impl Fn() -> bool,
    ) -> Result<()> {
        let mut next = Instant::now();
        let mut is_first = true;
        let mut printed: Option<Instant> = None;
        while goes_on() {
            let refreshed = self.refresh(settings);
            self.is_in_place()?;
            if let Err(failure) = refreshed {
                if is_first {
                    return Err(failure);
                }
                if printed.is_none_or(|at| at.elapsed() > QUIET) {
                    printed = Some(Instant::now());
                    // The file behind standard error may be on the same full file system.
                    let _ = writeln!(
                        anstream::stderr(),
                        "proclens: {failure}: the export keeps its old files and tries again"
                    );
                }
            }
            is_first = false;
            next += every;
            let now = Instant::now();
            // After a pause (the container was frozen), skip the missed refreshes.
            next = next.max(now);
            while goes_on() && Instant::now() < next {
                sleep(
                    next.saturating_duration_since(Instant::now())
                        .min(LONGEST_SLEEP),
                );
            }
        }
        Ok(())
    }

    /// Fails if the directory or a tree has been moved, removed or exchanged. A reader then finds something else in its
    /// place.
    fn is_in_place(&self) -> Result<()> {
        let lost = |path: &Path| {
            Failure::new(
                format_args!("{}: it was moved or removed", path.display()),
                "start the export again",
            )
        };
        let held = self.directory.status();
        let named = self.path.symlink_metadata();
        if !matches!((held, named), (Ok(held), Ok(named))
            if (held.st_dev, held.st_ino) == (named.dev(), named.ino()))
        {
            return Err(lost(&self.path));
        }
        for (name, tree) in &self.trees {
            if !self.directory.still_has(name, tree) {
                return Err(lost(&self.path.join(name)));
            }
        }
        Ok(())
    }

    /// Updates all files and links. Goes on after a failure, and returns the first.
    fn refresh(&self, settings: &Settings) -> Result<()> {
        let mut done = Ok(());
        for file in MachineFile::ALL {
            let real = Path::new(OsStr::from_bytes(file.path().to_bytes()));
            if real.exists() {
                let text = self.view.text(*file, settings);
                done = done.and(text.and_then(|(text, _)| self.put(real, &text)));
            }
        }
        for real in [
            "/proc",
            "/proc/pressure",
            "/sys",
            "/sys/devices",
            "/sys/devices/system",
            "/sys/devices/system/cpu",
        ] {
            let hidden = self.hidden_cpus(real);
            done = done.and(self.link_all(Path::new(real), &hidden));
        }
        done
    }

    /// The path of `real` in the export, for messages.
    fn place(&self, real: &Path) -> PathBuf {
        self.path.join(real.strip_prefix("/").unwrap_or(real))
    }

    /// The export's directory of the kernel's directory `real`.
    fn open(&self, real: &Path) -> io::Result<Directory> {
        let (tree, below) = self
            .trees
            .iter()
            .find_map(|(name, tree)| {
                Some((tree, real.strip_prefix("/").ok()?.strip_prefix(name).ok()?))
            })
            .ok_or(io::ErrorKind::NotFound)?;
        tree.descend(below)
    }

    fn put(&self, real: &Path, text: &[u8]) -> Result<()> {
        let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
            return Ok(());
        };
        let put = self.open(parent).and_then(|directory| {
            if directory.read(name).is_ok_and(|old| old == text) {
                return Ok(());
            }
            directory.replace(name, text)
        });
        put.map_err(|error| Failure::of_file(&self.place(real), &error))
    }

    /// Links every name of the directory `real` that is not a file or directory of the export. Removes
    /// links to names that no longer exist, such as those of a process that has ended.
    fn link_all(&self, real: &Path, hidden: &BTreeSet<OsString>) -> Result<()> {
        let wanted: BTreeSet<_> = list(real).difference(hidden).cloned().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let failed = |path: &Path, error: io::Error| Failure::of_file(&self.place(path), &error);
        let here = self.open(real).map_err(|error| failed(real, error))?;
        let present = here.names().map_err(|error| failed(real, error))?;
        for name in wanted.difference(&present) {
            let target = real.join(name);
            match here.link(name, &target) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(failed(&target, error));
                }
                _ => {}
            }
        }
        for name in present.difference(&wanted) {
            if here.is_link(name) {
                here.unlink(name);
            }
        }
        Ok(())
    }

    /// The directories of CPUs that the container does not have, which the export hides.
    fn hidden_cpus(&self, real: &str) -> BTreeSet<OsString> {
        if real != "/sys/devices/system/cpu" {
            return BTreeSet::new();
        }
        let online = self
            .open(Path::new(real))
            .and_then(|directory| directory.read(OsStr::new("online")));
        let Some(online) = online.as_deref().ok().and_then(CpuList::parse) else {
            return BTreeSet::new();
        };
        let mut names = list(Path::new(real));
        names.retain(|name| {
            let number = cpu_directory::number(name.as_bytes());
            number.is_some_and(|number| !online.iter().any(|cpu| cpu == number))
        });
        names
    }

    /// Removes everything that the export made, except what others have moved.
    fn remove(&self) {
        for (name, tree) in &self.trees {
            if self.directory.still_has(name, tree) {
                tree.clear();
                self.directory.remove_empty(name);
            }
        }
        let mark = OsStr::new(MARK);
        if self.directory.still_has(mark, &self.mark) {
            self.directory.unlink(mark);
        }
        if let Some((parent, name)) = &self.made_in
            && parent.still_has(name, &self.directory)
        {
            parent.remove_empty(name);
        }
    }
}

/// The names in a directory of the kernel.
fn list(directory: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).collect()
}

/// Opens the directory for the export, and creates it if it does not exist. Then also returns where it is.
///
/// Other users may be able to write to the directory, as to a volume of Kubernetes. Then they can move what the export
/// makes, but not change it. They must not own the directory: its owner could give it any mode.
fn open(path: &Path) -> Result<(Directory, Option<(Directory, OsString)>)> {
    let failed = |error: io::Error| Failure::of_file(path, &error);
    let (parent, name) = match path.file_name() {
        Some(name) => (path.parent().unwrap_or(Path::new(".")), name),
        None => (path, OsStr::new(".")),
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(parent)
        .map_err(failed)?;
    let parent = Directory::open(parent).map_err(failed)?;
    let is_new = match parent.make(name) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        made => made.is_ok(),
    };
    if parent.is_link(name) {
        return Err(Failure::new(
            format_args!("{}: it is a symbolic link", path.display()),
            "name the directory to which it leads",
        ));
    }
    let directory = parent.open_in(name).map_err(failed)?;
    let owner = directory.status().map_err(failed)?.st_uid;
    if owner != 0 && owner != effective_user() {
        return Err(Failure::new(
            format_args!(
                "{}: user {owner} owns it and could exchange what the export makes",
                path.display()
            ),
            "name a directory of your own",
        ));
    }
    Ok((directory, is_new.then(|| (parent, name.to_owned()))))
}

/// Opens the mark in the directory and locks it.
fn lock(path: &Path, directory: &Directory) -> Result<File> {
    let name = OsStr::new(MARK);
    let foreign = || {
        Failure::new(
            format_args!("{}: no export made it", path.join(MARK).display()),
            "remove it",
        )
    };
    let mark = directory.open_or_create(name).map_err(|error| {
        match error.raw_os_error() {
            // A link, a directory or a socket.
            Some(libc::ELOOP | libc::EISDIR | libc::ENXIO) => foreign(),
            _ => Failure::of_file(&path.join(MARK), &error),
        }
    })?;
    let status = mark
        .metadata()
        .map_err(|error| Failure::of_file(&path.join(MARK), &error))?;
    let is_trusted = status.uid() == 0 || status.uid() == effective_user();
    if !status.is_file() || !is_trusted || status.nlink() > 1 {
        return Err(foreign());
    }
    let locked = flock(&mark, FlockOperation::NonBlockingLockExclusive);
    // An export that ends removes its mark.
    if locked.is_err() || !directory.still_has(name, &mark) {
        return Err(Failure::new(
            format_args!("{}: another export uses it", path.display()),
            "name another directory, or end that export",
        ));
    }
    Ok(mark)
}

fn exists(tree: &Path) -> Failure {
    Failure::new(
        format_args!("{} exists already", tree.display()),
        "name a directory of its own for the export",
    )
}

/// `1s`, `500ms`, or a number of seconds.
pub fn interval(text: &str) -> std::result::Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    match number.parse::<f64>().map(|number| number * unit) {
        Ok(seconds) if (0.001..=86_400.0).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err("takes 1ms to 86400s, such as 1s or 500ms".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(interval("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["", "0", "-1s", "s", "1m", "nan", "1e9"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
