//! Control groups, v1 and v2: which cgroups are the container's, and what their files contain.
//!
//! [`locate`] finds the directories, with the parsers [`membership`] and [`mounts`]. [`memory`], [`cpu`], [`block_io`],
//! [`psi`] and [`pids`] give the container's values, [`host`] the machine's. Where the two versions of control groups differ,
//! [`v1`] and [`v2`] read the files of one cgroup. All reads pass through the trait [`kernel::Kernel`], with the
//! parsers [`counters`], [`parse_cpus`] and [`parse_io`]; the trait [`container::Container`] adds what outlives a reading. No file here makes a system call.

pub mod block_io;
pub mod container;
pub mod counters;
pub mod cpu;
pub mod host;
pub mod kernel;
pub mod locate;
pub mod membership;
pub mod memory;
pub mod mounts;
pub mod parse_cpus;
pub mod parse_io;
pub mod pids;
pub mod psi;
pub mod room;
pub mod v1;
pub mod v2;

/// The version of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Version {
    /// A hierarchy for each controller, or for a few of them.
    V1 = 0,
    /// One tree for all controllers.
    V2 = 1,
}

/// A cgroup hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchy<'n> {
    /// The v1 tree of a controller, by the controller's v1 name: `memory`, `cpu`, `cpuacct`,
    /// `cpuset`, `pids`, `blkio`.
    V1(&'n [u8]),
    /// The v2 tree, with whichever controllers it has.
    V2,
}

/// True if `path` is `ancestor` or lies below it: both are paths as `/proc/PID/cgroup` prints them,
/// `/` first. A path that leaves `ancestor` again with `..` does not lie below it.
pub fn is_within(path: &[u8], ancestor: &[u8]) -> bool {
    below(path, ancestor).is_some()
}

/// What is left of `path` after `ancestor`: empty, or a path that starts with `/`.
fn below<'p>(path: &'p [u8], ancestor: &[u8]) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(without_slash(ancestor))?;
    let whole_names = rest.is_empty() || rest.starts_with(b"/");
    (whole_names && !climbs(rest)).then_some(without_slash(rest))
}

/// `path` without a last `/`; the root is then the empty path.
fn without_slash(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"/").unwrap_or(path)
}

/// True if a component of `path` is `..`: the kernel prints it for cgroups outside of the
/// reader's cgroup namespace (`cgroup_namespaces(7)`).
fn climbs(path: &[u8]) -> bool {
    path.split(|&b| b == b'/').any(|name| name == b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within() {
        assert!(is_within(b"/a/b", b"/a"));
        assert!(is_within(b"/a", b"/a"));
        assert!(is_within(b"/a", b"/"));
        assert!(is_within(b"/", b"/"));
        assert!(is_within(b"/../x/y", b"/../x"));
        assert!(is_within(b"/../x", b"/.."));
        assert!(!is_within(b"/ab", b"/a"));
        assert!(!is_within(b"/a", b"/a/b"));
        assert!(!is_within(b"/../x", b"/"));
        assert!(!is_within(b"/../../x", b"/.."));
        assert!(is_within(b"/..data", b"/"));
    }
}
