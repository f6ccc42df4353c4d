//! `/proc/PID/cgroup`: the cgroups of a process (`cgroups(7)`).
//!
//! One line per hierarchy, `id:controllers:path`; v2 is `0::path`. The path is everything
//! after the second colon, unchanged: the kernel escapes nothing here and allows no newline in
//! the name of a cgroup (`cgroup_mkdir`).
#![forbid(unsafe_code)]

use super::{Hierarchy, is_within};
use crate::text::{cut, lines};

/// The suffix that the kernel appends to the path of a removed v2 cgroup.
const DELETED: &[u8] = b" (deleted)";

/// The hierarchy that has `controller` (its v1 name), and the path of the process in it: decided per
/// controller, because hybrid hosts have some on v1 and others on v2. `None` if the process is in
/// neither.
pub fn of<'t, 'n>(text: &'t [u8], controller: &'n [u8]) -> Option<(Hierarchy<'n>, &'t [u8])> {
    let [found] = of_each(text, [controller]);
    found
}

/// Hierarchy and path for several controllers, in one pass over the table.
pub fn of_each<'t, 'n, const N: usize>(
    text: &'t [u8],
    controllers: [&'n [u8]; N],
) -> [Option<(Hierarchy<'n>, &'t [u8])>; N] {
    let mut found = [None; N];
    let mut unified = None;
    for line in lines(text).filter_map(Line::parse) {
        if unified.is_none() {
            unified = line.path_in(Hierarchy::V2);
        }
        for controller in line.controllers.split(|&b| b == b',') {
            for (found, name) in found.iter_mut().zip(controllers) {
                if found.is_none() && name == controller {
                    *found = Some((Hierarchy::V1(name), line.path));
                }
            }
        }
    }
    found.map(|found| found.or(unified.map(|path| (Hierarchy::V2, path))))
}

/// The path of the process in `hierarchy`, relative to the root of the reader's cgroup
/// namespace. The path of a removed cgroup is its former path, so that its visible
/// ancestors still count.
pub fn path<'t>(text: &'t [u8], hierarchy: Hierarchy<'_>) -> Option<&'t [u8]> {
    lines(text)
        .filter_map(Line::parse)
        .find_map(|line| line.path_in(hierarchy))
}

struct Line<'t> {
    id: &'t [u8],
    controllers: &'t [u8],
    path: &'t [u8],
}

impl<'t> Line<'t> {
    fn parse(line: &'t [u8]) -> Option<Line<'t>> {
        let (id, rest) = cut(line, b':')?;
        let (controllers, path) = cut(rest, b':')?;
        path.starts_with(b"/").then_some(Line {
            id,
            controllers,
            path,
        })
    }

    fn path_in(&self, hierarchy: Hierarchy<'_>) -> Option<&'t [u8]> {
        let path = self.path;
        match hierarchy {
            Hierarchy::V1(name) => self
                .controllers
                .split(|&b| b == b',')
                .any(|c| c == name)
                .then_some(path),
            Hierarchy::V2 => (self.id == b"0" && self.controllers.is_empty())
                .then(|| path.strip_suffix(DELETED).unwrap_or(path)),
        }
    }
}

/// The cgroup that stands for the whole container, on one hierarchy (NUMBERS section 1).
///
/// In the initial PID namespace this is the caller's own cgroup. Elsewhere it is the cgroup of PID 1,
/// without the scope that systemd makes for itself, if the caller is in it or below it. Otherwise (a
/// pod that shares its PID namespace) it is the caller's own.
pub fn container<'t>(own: &'t [u8], pid1: &'t [u8], initial_pid_namespace: bool) -> &'t [u8] {
    let of_init = without_init_scope(pid1);
    if !initial_pid_namespace && is_within(own, of_init) {
        of_init
    } else {
        own
    }
}

/// `path` without the last component if that is `init.scope`, the unit of a systemd that runs
/// as PID 1.
fn without_init_scope(path: &[u8]) -> &[u8] {
    match path.strip_suffix(b"/init.scope") {
        Some(b"") => b"/",
        Some(parent) => parent,
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"13:name=systemd:/s\n4:memory:/docker/1f\n2:cpu,cpuacct:/a:b c\n\
        1:cpuset:/\n0::/user.slice/x (deleted)\n";

    #[test]
    fn path_of_each_hierarchy() {
        assert_eq!(
            path(HYBRID, Hierarchy::V1(b"memory")),
            Some(&b"/docker/1f"[..])
        );
        assert_eq!(path(HYBRID, Hierarchy::V1(b"cpu")), Some(&b"/a:b c"[..]));
        assert_eq!(
            path(HYBRID, Hierarchy::V1(b"cpuacct")),
            Some(&b"/a:b c"[..])
        );
        assert_eq!(path(HYBRID, Hierarchy::V1(b"cpuset")), Some(&b"/"[..]));
        assert_eq!(path(HYBRID, Hierarchy::V1(b"pids")), None);
        assert_eq!(path(HYBRID, Hierarchy::V2), Some(&b"/user.slice/x"[..]));
    }

    #[test]
    fn a_name_that_only_looks_deleted_stays_on_v1() {
        let text = b"4:memory:/x (deleted)\n";
        assert_eq!(
            path(text, Hierarchy::V1(b"memory")),
            Some(&b"/x (deleted)"[..])
        );
    }

    #[test]
    fn version_is_decided_per_controller() {
        let memory = (Hierarchy::V1(b"memory"), &b"/docker/1f"[..]);
        assert_eq!(of(HYBRID, b"memory"), Some(memory));
        let pids = (Hierarchy::V2, &b"/user.slice/x"[..]);
        assert_eq!(of(HYBRID, b"pids"), Some(pids));
        assert_eq!(of(b"4:memory:/\n", b"pids"), None);
        assert_eq!(of(b"", b"memory"), None);
    }

    #[test]
    fn garbage_is_no_path() {
        for text in [
            &b"\n"[..],
            b":",
            b"::",
            b"0::",
            b"0::x",
            b"memory",
            b"0:memory",
            b"1::/x",
        ] {
            assert_eq!(path(text, Hierarchy::V2), None, "{text:?}");
        }
    }

    #[test]
    fn the_container_is_pid_1_without_its_scope() {
        let whole = |own, pid1| container(own, pid1, false);
        assert_eq!(
            whole(b"/d/x/system.slice/ssh.service", b"/d/x/init.scope"),
            b"/d/x"
        );
        assert_eq!(whole(b"/system.slice/ssh.service", b"/init.scope"), b"/");
        assert_eq!(whole(b"/d/x", b"/d/x"), b"/d/x");
        assert_eq!(whole(b"/d/xy", b"/d/x"), b"/d/xy");
        assert_eq!(whole(b"/pod/app", b"/pod/pause"), b"/pod/app");
        assert_eq!(whole(b"/", b"/../pause"), b"/");
        assert_eq!(whole(b"/d/x", b"/d/x/init.scope.d"), b"/d/x");
        assert_eq!(
            container(b"/user.slice/1", b"/init.scope", true),
            b"/user.slice/1"
        );
    }

    #[test]
    fn a_process_in_the_root_cgroup_needs_no_pid_1() {
        for pid1 in [
            &b"/"[..],
            b"/init.scope",
            b"/a",
            b"/a/init.scope",
            b"/..",
            b"/../a",
        ] {
            for initial in [false, true] {
                assert_eq!(container(b"/", pid1, initial), b"/", "{pid1:?}");
            }
        }
    }
}
