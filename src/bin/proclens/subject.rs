//! Who is looked at: the container that this program runs in, that of another process, or a
//! cgroup by its name.

use crate::failure::{Failure, Result, reason};
use crate::processes;
use proclens::cgroup::{Hierarchy, membership, mounts};
use proclens::gather::Controller;
use proclens::text::Out;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// See the top of this file.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The container of this process.
    Own,
    /// The container of a process, seen as that process sees it.
    Process {
        pid: u32,
        /// PID 1 of its PID namespace, where that is another one than ours.
        first: Option<u32>,
        /// When it started: another process may get its number.
        started: Option<u64>,
    },
    /// A cgroup, seen from here.
    Cgroup {
        /// As `/proc/PID/cgroup` names it.
        path: String,
        /// What `/proc/PID/cgroup` of a process would say that is in it and nothing below.
        membership: Vec<u8>,
        /// Where it is, in each hierarchy that has it.
        directories: Vec<PathBuf>,
        /// The process in it that started first.
        oldest: Option<u32>,
    },
}

impl Subject {
    /// The container of process `pid`.
    pub fn process(pid: u32) -> Result<Subject> {
        let namespace = PathBuf::from(format!("/proc/{pid}/ns/pid"));
        let theirs = fs::read_link(&namespace).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::new(
                format_args!("/proc/{pid}: no such process"),
                "`proclens show --all` lists what runs",
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
        Ok(Subject::Process {
            pid,
            first,
            started: processes::start_ticks(pid),
        })
    }

    /// The cgroup `name`: a path as in `/proc/PID/cgroup`, or a directory of a cgroup file system.
    pub fn cgroup(name: &str) -> Result<Subject> {
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
                "give a path as in /proc/PID/cgroup or a directory below /sys/fs/cgroup",
            ));
        }
        let oldest = directories
            .iter()
            .flat_map(|directory| processes::of_cgroup(directory))
            .filter_map(|pid| Some((processes::start_ticks(pid)?, pid)))
            .min()
            .map(|(_, pid)| pid);
        Ok(Subject::Cgroup {
            path,
            membership,
            directories,
            oldest,
        })
    }

    /// Says so if the process has ended or the cgroup was removed: what is read for it then is the
    /// host's, or nobody's.
    pub fn is_there(&self) -> Result<()> {
        match self {
            Subject::Process { pid, started, .. }
                if processes::has_ended(*pid) || processes::start_ticks(*pid) != *started =>
            {
                Err(Failure::of_ended(*pid))
            }
            Subject::Cgroup {
                path, directories, ..
            } if !directories.iter().any(|directory| directory.is_dir()) => Err(Failure::new(
                format_args!("{path}: the cgroup was removed"),
                "`proclens show --all` lists what runs",
            )),
            _ => Ok(()),
        }
    }

    /// A process whose environment and root directory stand for the container's.
    pub fn representative(&self) -> Option<u32> {
        match self {
            Subject::Own => None,
            Subject::Process { pid, .. } => Some(*pid),
            Subject::Cgroup { oldest, .. } => *oldest,
        }
    }
}

/// `path` as it was on the command line, if it is a directory of a cgroup file system.
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

/// Where the cgroup `path` is in the hierarchy of a line of `/proc/self/cgroup`, if it is there.
fn directory_of(line: &[u8], table: &[u8], path: &str) -> Option<PathBuf> {
    let controllers = line.split(|b| *b == b':').nth(1)?;
    let first = controllers.split(|b| *b == b',').next()?;
    let hierarchy = match first {
        b"" => Hierarchy::V2,
        name => Hierarchy::V1(name),
    };
    membership::path(line, hierarchy)?;
    let mount = mounts::find(table, hierarchy, path.as_bytes())?;
    let mut room = vec![0; 8192];
    let mut out = Out::new(&mut room);
    let inside = mount.locate(path.as_bytes(), &mut out);
    let directory = PathBuf::from(std::ffi::OsStr::from_bytes(out.finish()?));
    (inside && directory.is_dir()).then_some(directory)
}

fn read(path: &str) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Failure::new(path, reason(&error)))
}
