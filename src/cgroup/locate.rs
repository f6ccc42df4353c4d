//! Finds the container's cgroup directory for each controller (NUMBERS section 1).
#![forbid(unsafe_code)]

use crate::cgroup::kernel::{INITIAL_PID_NAMESPACE, Kernel, namespace_of};
use crate::cgroup::{Hierarchy, Version, membership, mounts};
use crate::error::{ErrorKind, Failure};
use crate::mem::Arena;
use crate::sys::Errno;
use crate::text::Out;

/// The controllers that the library reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // the names are the kernel's own
pub enum Controller {
    Memory,
    Cpu,
    Cpuacct,
    Cpuset,
    Pids,
    Blkio,
    /// Not a controller: the pressure files, which every cgroup of the v2 tree has.
    Pressure,
}

impl Controller {
    /// All of them, in order.
    pub const ALL: [Controller; 7] = [
        Controller::Memory,
        Controller::Cpu,
        Controller::Cpuacct,
        Controller::Cpuset,
        Controller::Pids,
        Controller::Blkio,
        Controller::Pressure,
    ];

    /// The controller's name on v1.
    pub const fn name(self) -> &'static [u8] {
        match self {
            Controller::Memory => b"memory",
            Controller::Cpu => b"cpu",
            Controller::Cpuacct => b"cpuacct",
            Controller::Cpuset => b"cpuset",
            Controller::Pids => b"pids",
            Controller::Blkio => b"blkio",
            Controller::Pressure => b"pressure",
        }
    }
}

/// The directory of the container's cgroup, for one controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupDir<'m> {
    /// The version of the controller's hierarchy.
    pub version: Version,
    /// True for the real root of the tree, which counts the whole host.
    pub root: bool,
    /// The path of the directory, without a trailing slash.
    pub directory: &'m [u8],
    /// The length of the mount point, which is the highest visible ancestor, in bytes of `directory`.
    pub mount_point_length: usize,
}

impl<'m> CgroupDir<'m> {
    /// The directory and its ancestors, up to the mount point.
    pub fn ancestors(self) -> impl Iterator<Item = &'m [u8]> {
        let mut next = Some(self.directory);
        core::iter::from_fn(move || {
            let here = next?;
            next = memchr::memrchr(b'/', here)
                .filter(|slash| {
                    *slash >= self.mount_point_length && here.len() > self.mount_point_length
                })
                .and_then(|slash| here.get(..slash));
            Some(here)
        })
    }
}

/// The container's cgroup directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerCgroups<'m> {
    /// By [`Controller`].
    pub dirs: [Option<CgroupDir<'m>>; Controller::ALL.len()],
    /// [`namespace_of`], if the search needed it.
    pub pid_namespace: Option<u64>,
}

impl<'m> ContainerCgroups<'m> {
    /// The container's cgroup for `controller`; an error if that is the host's root or unknown.
    pub fn dir(&self, controller: Controller) -> Result<CgroupDir<'m>, Failure> {
        self.dir_or_root(controller, false)
    }

    /// A cgroup that contains all processes of the container, from the first of these controllers that has
    /// a cgroup of the container.
    pub fn dir_of_processes(&self) -> Option<CgroupDir<'m>> {
        [
            Controller::Pids,
            Controller::Memory,
            Controller::Cpuacct,
            Controller::Cpu,
        ]
        .into_iter()
        .find_map(|controller| self.dir(controller).ok())
    }

    /// The cgroup whose number identifies the container in the shared state; with `user_limit` (the settings
    /// contain a limit) also the host's root.
    pub fn dir_of_identity(&self, user_limit: bool) -> Option<CgroupDir<'m>> {
        [
            Controller::Cpuacct,
            Controller::Cpu,
            Controller::Memory,
            Controller::Pids,
        ]
        .into_iter()
        .find_map(|controller| self.dir_or_root(controller, user_limit).ok())
    }

    /// As [`ContainerCgroups::dir`]; with `user_limit` (the settings contain a limit) also the host's root.
    pub fn dir_or_root(
        &self,
        controller: Controller,
        user_limit: bool,
    ) -> Result<CgroupDir<'m>, Failure> {
        let dir = self.dirs.get(controller as usize).copied().flatten();
        dir.filter(|dir| user_limit || !dir.root)
            .ok_or((ErrorKind::NoContainer, Errno(0)))
    }
}

/// Finds the container (NUMBERS section 1).
pub fn locate<'m, K: Kernel + ?Sized>(
    kernel: &K,
    arena: &mut Arena<'m>,
) -> Result<ContainerCgroups<'m>, Errno> {
    let own = kernel.read(c"/proc/self/cgroup", arena)?;
    // No v1 hierarchy has the name "pressure", so this entry is found on v2 only.
    let mine = membership::of_each(own, Controller::ALL.map(Controller::name));
    // The root of the cgroup namespace is the whole container, in whichever cgroup PID 1 is.
    let named = mine.iter().flatten().any(|(_, path)| *path != b"/");
    let pid_namespace = named.then(|| namespace_of(kernel)).flatten();
    let initial = pid_namespace == Some(INITIAL_PID_NAMESPACE);
    let pid1 = if named && !initial {
        kernel.read(c"/proc/1/cgroup", arena).unwrap_or(own)
    } else {
        own
    };
    let table = kernel.read_long(c"/proc/self/mountinfo", arena)?;
    let cgroups = mine.map(|found| {
        let (hierarchy, mine) = found?;
        let whole = if own == pid1 {
            mine
        } else {
            membership::path(pid1, hierarchy).unwrap_or(mine)
        };
        Some((hierarchy, membership::container(mine, whole, initial)))
    });
    let mut dirs: [Option<CgroupDir<'m>>; Controller::ALL.len()] = [None; Controller::ALL.len()];
    let mut v2_dir = None;
    let mounts = mounts::find_each(table, cgroups).into_iter().zip(cgroups);
    for ((mount, cgroup), dir) in mounts.zip(&mut dirs) {
        let (Some(mount), Some((hierarchy, cgroup))) = (mount, cgroup) else {
            continue;
        };
        if hierarchy == Hierarchy::V2 && v2_dir.is_some() {
            *dir = v2_dir;
            continue;
        }
        let buffer = arena.alloc(mount.point.len().saturating_add(cgroup.len()))?;
        let mut directory = Out::new(buffer);
        mount.locate(cgroup, &mut directory);
        let directory = directory.finish().ok_or(Errno::BUFFER_TOO_SMALL)?;
        let mount_point_length = mounts::unescaped(mount.point).count().min(directory.len());
        let (version, root) = match hierarchy {
            Hierarchy::V1(_) => {
                // Only the real root has `release_agent`; a cgroup with a name is not the root.
                let nameless = cgroup == b"/" || cgroup.starts_with(b"/..");
                let agent = arena.path(directory, b"release_agent")?;
                (Version::V1, nameless && kernel.exists(agent))
            }
            Hierarchy::V2 => {
                // All cgroups except the real root have `cgroup.events`.
                let events = arena.path(directory, b"cgroup.events")?;
                (Version::V2, !kernel.exists(events))
            }
        };
        *dir = Some(CgroupDir {
            version,
            root,
            directory,
            mount_point_length,
        });
        if version == Version::V2 {
            v2_dir = *dir;
        }
    }
    Ok(ContainerCgroups {
        dirs,
        pid_namespace,
    })
}
