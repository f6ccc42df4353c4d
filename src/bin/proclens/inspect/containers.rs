//! The containers of this host.

use crate::inspect::engine::{Engines, Names};
use crate::inspect::processes;
use crate::inspect::target::Target;
use crate::inspect::view::View;
use crate::output::failure::{Failure, Result};
use proclens::cgroup::locate::Controller;
use proclens::cgroup::membership;
use proclens::sys::process::effective_user;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The containers of this host, over several readings. A container that runs at two readings keeps its
/// [`View`], and so its CPU-time accounting: its CPU time never decreases, even if its limits change.
pub struct Containers {
    known: BTreeMap<Id, View>,
    engines: Engines,
}

/// One container. The order is that of the cgroups' paths.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// The cgroup as a text: bytes that are no UTF-8 are written as `\xNN`.
    pub cgroup: String,
    /// The process that represents the container.
    pub pid: u32,
    started: Option<u64>,
}

impl Containers {
    /// Fails if this process cannot look into other users' processes. `command` is what the user ran.
    pub fn new(command: &str) -> Result<Containers> {
        if effective_user() != 0 {
            return Err(Failure::new(
                "/proc: only root can read the other users' processes",
                format_args!("run sudo {command}"),
            ));
        }
        Ok(Containers {
            known: BTreeMap::new(),
            engines: Engines::default(),
        })
    }

    /// Finds the containers that run now, their cgroups and their names.
    pub fn find(&mut self) {
        let mut known = std::mem::take(&mut self.known);
        for (cgroup, pid, first) in find() {
            let id = Id {
                cgroup,
                pid,
                started: processes::start_ticks(pid),
            };
            let view = known
                .remove(&id)
                .or_else(|| Some(View::new(Target::running(pid, first)?)));
            // A container that ends during the search is left out.
            if let Some(view) = view.filter(|view| view.locate().is_ok()) {
                self.known.insert(id, view);
            }
        }
        self.engines.update(
            Path::new("/"),
            self.known.keys().map(|id| id.cgroup.as_str()),
        );
    }

    /// The containers that ran at the last [`Containers::find`].
    pub fn all(&self) -> impl Iterator<Item = (&Id, &View)> {
        self.known.iter()
    }

    /// As [`Containers::all`], for reading with several threads.
    pub fn all_mut(&mut self) -> impl Iterator<Item = (&Id, &mut View)> {
        self.known.iter_mut()
    }

    /// The names of a container: of its engine; else its short identifier, without an image.
    pub fn names(&self, id: &Id) -> Names {
        let mut names = self.engines.names(&id.cgroup).cloned().unwrap_or_default();
        if names.name.is_empty() {
            names.name = identifier(&id.cgroup);
        }
        names
    }
}

/// The containers by their cgroup, each with the process that represents it: PID 1 of its PID namespace, or
/// the oldest process; and that PID 1.
///
/// A cgroup that also contains processes of the host is not a container (a browser's sandbox, a session
/// with a chroot). Exception: the parents of a container's PID 1, which only wait for it.
fn find() -> Vec<(String, u32, Option<u32>)> {
    let own = std::process::id();
    let (namespace, root) = (processes::pid_namespace(own), processes::root(own));
    let mut hosts = Vec::new();
    let mut first: HashMap<PathBuf, (u32, Vec<u8>)> = HashMap::new();
    let mut guests = Vec::new();
    for pid in processes::all() {
        let (Some(theirs), Some(path)) = (processes::pid_namespace(pid), cgroup_of(pid)) else {
            continue;
        };
        let outside = Some(&theirs) == namespace.as_ref();
        if outside && processes::root(pid).is_none_or(|theirs| Some(theirs) == root) {
            hosts.push((pid, path));
            continue;
        }
        if !outside && processes::is_first(pid) {
            first.insert(theirs.clone(), (pid, path.clone()));
        }
        guests.push((pid, theirs, path));
    }
    let waiting: HashSet<u32> = first
        .values()
        .filter_map(|(pid, _)| processes::parent(*pid))
        .collect();
    let hosts: HashSet<Vec<u8>> = hosts
        .into_iter()
        .filter(|(pid, _)| !waiting.contains(pid))
        .map(|(_, path)| path)
        .collect();
    let mut found = BTreeMap::new();
    for (pid, namespace, path) in guests {
        let pid1 = first.get(&namespace);
        let whole = pid1.map_or(&path, |(_, path)| path);
        let whole = membership::container(&path, whole, pid1.is_none());
        if whole == b"/" || hosts.contains(whole) {
            continue;
        }
        let pid1 = pid1.map(|(pid, _)| *pid);
        let candidate = (
            pid1 != Some(pid),
            processes::start_ticks(pid).unwrap_or(u64::MAX),
            pid,
            pid1,
        );
        let best = found.entry(whole.to_vec()).or_insert(candidate);
        *best = (*best).min(candidate);
    }
    found
        .into_iter()
        .map(|(path, (.., pid, first))| (readable(&path), pid, first))
        .collect()
}

/// The cgroup of the process in the hierarchy that distinguishes containers.
fn cgroup_of(pid: u32) -> Option<Vec<u8>> {
    let text = fs::read(format!("/proc/{pid}/cgroup")).ok()?;
    [Controller::Memory, Controller::Pids, Controller::Cpu]
        .into_iter()
        .find_map(|controller| membership::of(&text, controller.name()))
        .map(|(_, path)| path.to_vec())
}

/// `path` as a text. Two paths give two texts: bytes that are no UTF-8 are written as `\xNN`.
fn readable(path: &[u8]) -> String {
    let mut text = String::new();
    for chunk in path.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The container identifier of the runtime, shortened as in `docker ps`.
pub fn identifier(cgroup: &str) -> String {
    let last = cgroup.rsplit('/').next().unwrap_or(cgroup);
    let name = last.strip_suffix(".scope").unwrap_or(last);
    let name = ["docker-", "libpod-", "cri-containerd-", "crio-"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    let is_long = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    if is_long { &name[..12] } else { name }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        let long = "0123456789abcdef".repeat(4);
        for (cgroup, expected) in [
            (format!("/docker/{long}"), "0123456789ab"),
            (format!("/system.slice/docker-{long}.scope"), "0123456789ab"),
            (
                format!("/machine.slice/libpod-{long}.scope"),
                "0123456789ab",
            ),
            ("/lxc/web".to_owned(), "web"),
            ("/user.slice/x.scope".to_owned(), "x"),
        ] {
            assert_eq!(identifier(&cgroup), expected);
        }
    }

    #[test]
    fn bytes_that_are_no_text_stay_apart() {
        assert_eq!(readable("/lxc/wéb 1".as_bytes()), "/lxc/wéb 1");
        assert_eq!(readable(b"/a\xff"), "/a\\xff");
        assert_ne!(readable(b"/a\xff"), readable(b"/a\xfe"));
    }
}
