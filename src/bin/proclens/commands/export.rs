//! `proclens export`: a directory with the container's /proc and /sys, for agents that can read a directory
//! other than the kernel's (`--path.procfs`, HOST_PROC).

use crate::inspect::sources::Sources;
use crate::inspect::target::Target;
use crate::inspect::view::View;
use crate::output::failure::{Failure, Result, reason};
use proclens::procfs::files::MachineFile;
use proclens::settings::Settings;
use proclens::values::CpuList;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
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
    let parent = end_with_parent();
    let sources = Sources::own();
    let settings = sources.settings();
    let export = Export::new(directory)?;
    let mut next = Instant::now();
    let mut done = Ok(());
    while !stop.load(Ordering::Relaxed) && is_parent(parent) {
        done = export.refresh(&settings);
        if done.is_err() {
            break;
        }
        next += every;
        let now = Instant::now();
        // After a pause (the container was frozen), skip the missed refreshes.
        next = next.max(now);
        while !stop.load(Ordering::Relaxed) && is_parent(parent) && Instant::now() < next {
            sleep(
                next.saturating_duration_since(Instant::now())
                    .min(LONGEST_SLEEP),
            );
        }
    }
    export.remove();
    done
}

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

/// Requests SIGTERM for the end of the parent. Returns the parent's process ID.
fn end_with_parent() -> libc::pid_t {
    // SAFETY: touches no memory.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM, 0, 0, 0);
        libc::getppid()
    }
}

fn is_parent(parent: libc::pid_t) -> bool {
    // SAFETY: touches no memory.
    unsafe { libc::getppid() == parent }
}

struct Export {
    directory: PathBuf,
    /// True if this command created the directory. Then it removes the directory at the end.
    is_new: bool,
    view: View,
    /// Holds the lock.
    _mark: File,
}

impl Export {
    fn new(directory: &Path) -> Result<Export> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| Failure::of_file(&path, &error)
        };
        let is_new = !directory.exists();
        fs::create_dir_all(directory).map_err(failed(directory))?;
        let mark = directory.join(MARK);
        let is_ours = mark.exists();
        for tree in TREES.map(|tree| directory.join(tree)) {
            if tree.symlink_metadata().is_ok() && !is_ours {
                return Err(Failure::new(
                    format_args!("{} exists already", tree.display()),
                    "name a directory of its own for the export",
                ));
            }
        }
        let file = File::create(&mark).map_err(failed(&mark))?;
        // SAFETY: touches no memory.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } < 0 {
            return Err(Failure::new(
                format_args!("{}: another export uses it", directory.display()),
                "name another directory, or end that export",
            ));
        }
        let export = Export {
            directory: directory.to_owned(),
            is_new,
            view: View::new(Target::Own),
            _mark: file,
        };
        // Remove what a killed export left.
        export.remove_trees();
        for tree in TREES.map(|tree| directory.join(tree)) {
            fs::create_dir(&tree).map_err(failed(&tree))?;
        }
        Ok(export)
    }

    /// Updates all files and links.
    fn refresh(&self, settings: &Settings) -> Result<()> {
        for file in MachineFile::ALL {
            let real = Path::new(OsStr::from_bytes(file.path().to_bytes()));
            if real.exists() {
                let (text, _) = self.view.text(*file, settings)?;
                self.put(real, &text)?;
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
            self.link_all(Path::new(real), &hidden)?;
        }
        Ok(())
    }

    /// The path of `real` in the export.
    fn place(&self, real: &Path) -> PathBuf {
        self.directory.join(real.strip_prefix("/").unwrap_or(real))
    }

    /// Replaces a file atomically: a reader gets the old text or the new one.
    fn put(&self, real: &Path, text: &[u8]) -> Result<()> {
        let path = self.place(real);
        if fs::read(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        let mut beside = path.clone().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let parent = path.parent().unwrap_or(&self.directory);
        let write = || {
            fs::create_dir_all(parent)?;
            fs::write(&beside, text)?;
            fs::rename(&beside, &path)
        };
        write().map_err(|error| Failure::of_file(&path, &error))
    }

    /// Links every name of the directory `real` that is not a file or directory of the export. Removes
    /// links to names that no longer exist, such as those of a process that has ended.
    fn link_all(&self, real: &Path, hidden: &BTreeSet<OsString>) -> Result<()> {
        let here = self.place(real);
        let list = |directory: &Path| {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            entries
                .map(|entry| entry.file_name())
                .collect::<BTreeSet<_>>()
        };
        let wanted: BTreeSet<_> = list(real).difference(hidden).cloned().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(&here).map_err(|error| Failure::of_file(&here, &error))?;
        let present = list(&here);
        for name in wanted.difference(&present) {
            let path = here.join(name);
            match symlink(real.join(name), &path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Failure::of_file(&path, &error));
                }
                _ => {}
            }
        }
        for name in present.difference(&wanted) {
            let path = here.join(name);
            if path.is_symlink() {
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }

    /// The directories of CPUs that the container does not have, which the export hides.
    fn hidden_cpus(&self, real: &str) -> BTreeSet<OsString> {
        if real != "/sys/devices/system/cpu" {
            return BTreeSet::new();
        }
        let online = fs::read(self.place(Path::new(real)).join("online")).unwrap_or_default();
        let Some(online) = CpuList::parse(&online) else {
            return BTreeSet::new();
        };
        let entries = fs::read_dir(real).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name())
            .filter(|name| {
                let number = name.to_str().and_then(|name| name.strip_prefix("cpu"));
                let number = number.and_then(|number| number.parse::<u32>().ok());
                number.is_some_and(|number| !online.iter().any(|cpu| cpu == number))
            })
            .collect()
    }

    fn remove_trees(&self) {
        for tree in TREES {
            // This removes symbolic links and does not follow them.
            let _ = fs::remove_dir_all(self.directory.join(tree));
        }
    }

    /// Removes everything that the export made.
    fn remove(&self) {
        self.remove_trees();
        let _ = fs::remove_file(self.directory.join(MARK));
        if self.is_new {
            let _ = fs::remove_dir(&self.directory);
        }
    }
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
