//! The target: the container that this program runs in, the container of another process, or a cgroup with
//! a given name.

use crate::inspect::processes;
use crate::output::failure::{Failure, Result, reason};
use proclens::cgroup::locate::Controller;
use proclens::cgroup::{Hierarchy, membership, mounts};
use proclens::text::Out;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The target of a command.
#[derive(Clone, Debug)]
pub enum Target {
    /// The container of this process.
    Own,
    /// The container of a process, seen as that process sees it.
    Process {
        pid: u32,
        /// PID 1 of its PID namespace, if that is not this process's namespace.
        first: Option<u32>,
        /// Its start time, because another process may get its process ID.
        started: Option<u64>,
    },
    /// A cgroup, seen from this process.
    Cgroup {
        /// Its path as in `/proc/PID/cgroup`.
        path: String,
        /// The `/proc/PID/cgroup` of a process that is in this cgroup and in none below it.
        membership: Vec<u8>,
        /// Its directory in each hierarchy that has it.
        directories: Vec<PathBuf>,
        /// The oldest process in it.
        oldest: Option<u32>,
    },
}

impl Target {
    /// The container of process `pid`.
    pub fn process(pid: u32) -> Result<Target> {
        let namespace = PathBuf::from(format!("/proc/{pid}/ns/pid"));
        let theirs = fs::read_link(&namespace).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::new(
                format_args!("/proc/{pid}: no such process"),
                "`proclens show --all` lists the running containers",
            ),
            _ => Failure::of_file(&namespace, &error),
        })?;
        if processes::has_ended(pid) {
            return Err(Failure::of_ended(pid));
        }
        let first = processes::all()
            .find(|p| {
                processes::is_first(*p) && processes::pid_namespace(*p) == Some(theirs.clone())
            })
            .filter(|_| processes::pid_namespace(std::process::id()) != Some(theirs.clone()));
        Ok(Target::Process {
            pid,
            first,
            started: processes::start_ticks(pid),
        })
    }

    /// The container of process `pid`, if it runs. `first` is PID 1 of its PID namespace, unless that is this
    /// process's own namespace.
    pub fn running(pid: u32, first: Option<u32>) -> Option<Target> {
        let started = processes::start_ticks(pid);
        (!processes::has_ended(pid)).then_some(Target::Process {
            pid,
            first,
            started,
        })
    }

    /// The cgroup `name`: a path as in `/proc/PID/cgroup`, or a directory of a cgroup file system.
    pub fn cgroup(name: &str) -> Result<Target> {
        let table = read("/proc/self/mountinfo")?;
        let own = read("/proc/self/cgroup")?;
        let path = relative_to_mount(Path::new(name), &table).unwrap_or_else(|| {
            let path = name.trim_end_matches('/');
            match path.strip_prefix('/') {
                Some(_) => path.to_owned(),
                None => format!("/{path}"),
            }
        });
        let mut membership = Vec::new();
        let mut directories = Vec::new();
        for line in String::from_utf8_lossy(&own).lines() {
            let Some((head, _)) = line.rsplit_once(":/") else {
                continue;
            };
            if let Some(directory) = directory_of(line.as_bytes(), &table, &path) {
                membership.extend(format!("{head}:{path}\n").bytes());
                directories.push(directory);
            }
        }
        if membership.is_empty() || name.is_empty() {
            return Err(Failure::new(
                format_args!("{name}: no such cgroup"),
                "name a path as in /proc/PID/cgroup or a directory below /sys/fs/cgroup",
            ));
        }
        let oldest = directories
            .iter()
            .flat_map(|directory| processes::of_cgroup(directory))
            .filter_map(|pid| Some((processes::start_ticks(pid)?, pid)))
            .min()
            .map(|(_, pid)| pid);
        Ok(Target::Cgroup {
            path,
            membership,
            directories,
            oldest,
        })
    }

    /// Fails if the process has ended or the cgroup was removed. The values that were read for it are then
    /// the host's, or meaningless.
    pub fn is_there(&self) -> Result<()> {
        match self {
            Target::Process { pid, started, .. }
                if processes::has_ended(*pid) || processes::start_ticks(*pid) != *started =>
            {
                Err(Failure::of_ended(*pid))
            }
            Target::Cgroup {
                path, directories, ..
            } if !directories.iter().any(|directory| directory.is_dir()) => Err(Failure::new(
                format_args!("{path}: the cgroup was removed"),
                "`proclens show --all` lists the running containers",
            )),
            _ => Ok(()),
        }
    }

    /// A process whose environment and root directory are used as the container's.
    pub fn representative(&self) -> Option<u32> {
        match self {
            Target::Own => None,
            Target::Process { pid, .. } => Some(*pid),
            Target::Cgroup { oldest, .. } => *oldest,
        }
    }
}

/// `path` from the command line, relative to its mount point, if it is a directory of a cgroup file system.
fn relative_to_mount(path: &Path, table: &[u8]) -> Option<String> {
    let directory = path.canonicalize().ok()?;
    let name = directory.as_os_str().as_bytes();
    let hierarchies = Controller::ALL
        .iter()
        .map(|controller| Hierarchy::V1(controller.name()))
        .chain([Hierarchy::V2]);
    hierarchies
        .filter_map(|hierarchy| mounts::find(table, hierarchy, b"/"))
        .find_map(|mount| {
            let point: Vec<u8> = mounts::unescaped(mount.point).collect();
            let rest = name.strip_prefix(point.as_slice())?;
            let root: Vec<u8> = mounts::unescaped(mount.root).collect();
            let root = String::from_utf8_lossy(&root);
            let path = format!(
                "{}{}",
                root.trim_end_matches('/'),
                String::from_utf8_lossy(rest)
            );
            match rest {
                b"" if path.is_empty() => Some("/".to_owned()),
                [] | [b'/', ..] => Some(path),
                _ => None,
            }
        })
}

/// The directory of the cgroup `path` in the hierarchy of a line of `/proc/self/cgroup`, if it exists.
fn directory_of(line: &[u8], table: &[u8], path: &str) -> Option<PathBuf> {
    let controllers = line.split(|b| *b == b':').nth(1)?;
    let first = controllers.split(|b| *b == b',').next()?;
    let hierarchy = match first {
        b"" => Hierarchy::V2,
        name => Hierarchy::V1(name),
    };
    membership::path(line, hierarchy)?;
    let mount = mounts::find(table, hierarchy, path.as_bytes())?;
    let mut buffer = vec![0; 8192];
    let mut out = Out::new(&mut buffer);
    let inside = mount.locate(path.as_bytes(), &mut out);
    let directory = PathBuf::from(std::ffi::OsStr::from_bytes(out.finish()?));
    (inside && directory.is_dir()).then_some(directory)
}

fn read(path: &str) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Failure::new(path, reason(&error)))
}
