//! Conditions outside the library: the container's cgroup, the settings, a system call filter, and lxcfs.

use super::findings::Findings;
use super::program::found_in_path;
use crate::inspect::sources::Sources;
use crate::inspect::view::View;
use proclens::cgroup::container::Container;
use proclens::cgroup::locate::Controller;
use proclens::error::ErrorKind;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

/// Checks whether this is a container, with a cgroup of its own.
pub(super) fn container(view: &View, findings: &mut Findings) {
    let own = view.compute(|view, mut arena| {
        let cgroups = view
            .cgroups(&mut arena)
            .map_err(|e| (ErrorKind::Unreadable, e))?;
        let limited = [Controller::Memory, Controller::Cpu, Controller::Cpuset];
        Ok(limited
            .iter()
            .any(|controller| cgroups.dir(*controller).is_ok()))
    });
    match own {
        Ok(true) => findings.good("a cgroup of its own: there are numbers to show"),
        Ok(false) => findings.note(
            "no cgroup of its own: programs see the host's numbers, with the library as without",
            "run it in a container, or set limits with PROCLENS_CPUS and PROCLENS_MEMORY",
        ),
        Err((kind, _)) => findings.problem(
            String::from_utf8_lossy(kind.text()),
            "mount /proc and /sys/fs/cgroup in the container",
        ),
    }
}

/// Checks whether the starter of this process installed a system call filter that kills a program in which
/// the library answers. The library cannot see such a filter, so `cat` reads three virtual files.
pub(super) fn killing_filter(findings: &mut Findings) {
    let Some(cat) = found_in_path("cat") else {
        return;
    };
    let is_killed = |switch: Option<&str>| {
        let mut command = Command::new(&cat);
        command
            .args(["/proc/meminfo", "/proc/stat", "/proc/loadavg"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(switch) = switch {
            command.env("PROCLENS", switch);
        }
        let status = command.status();
        status.is_ok_and(|status| status.signal() == Some(libc::SIGSYS))
    };
    if is_killed(None) && !is_killed(Some("off")) {
        findings.problem(
            "a system call filter kills programs that read their container's files with the library",
            "change the filter so that it allows memfd_create, fchmod, dup3 and the other calls of the library, or fails calls instead of killing; until then set PROCLENS=off",
        );
    }
}

/// Checks for settings that are ignored, and for PROCLENS=off.
pub(super) fn settings(sources: &Sources, findings: &mut Findings) {
    if let Some(problem) = sources.problem() {
        findings.problem(
            problem,
            "make it a file of `key = value` lines that all users may read",
        );
    }
    for given in sources.given().into_iter().filter(|given| !given.used) {
        let what = format!(
            "{}={} ({}) is ignored",
            given.name, given.value, given.source
        );
        let reason = given.reason.unwrap_or_default();
        if given.overridden {
            findings.note(what, &reason);
        } else {
            findings.problem(what, reason);
        }
    }
    if !sources.settings().on {
        findings.problem(
            "PROCLENS=off: the library passes everything through",
            "unset PROCLENS",
        );
    }
}

/// Checks for lxcfs. It serves the same files from another daemon's view, so half of the numbers would be
/// its own.
pub(super) fn beside_lxcfs(pid: Option<u32>, findings: &mut Findings) {
    let process = pid.map_or("self".to_owned(), |pid| pid.to_string());
    let table = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap_or_default();
    let mounts: Vec<_> = lxcfs_mounts(&table).collect();
    if !mounts.is_empty() {
        findings.problem(
            format!(
                "lxcfs is mounted at {}: numbers of lxcfs and of proclens contradict each other",
                mounts.join(", ")
            ),
            "start the container without the lxcfs mounts, or set PROCLENS=off",
        );
    }
}

/// The mount points of lxcfs below /proc and /sys in the text of `mountinfo`.
fn lxcfs_mounts(table: &str) -> impl Iterator<Item = &str> {
    table.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        let shown = point.starts_with("/proc") || point.starts_with("/sys/devices");
        (filesystem.starts_with("fuse.lxcfs ") && shown).then_some(point)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lxcfs_is_found_by_its_file_system() {
        let table = "36 35 98:0 / /proc rw - proc proc rw\n\
            40 36 0:50 /proc/meminfo /proc/meminfo rw,nosuid - fuse.lxcfs lxcfs rw\n\
            41 36 0:50 /sys/devices/system/cpu /sys/devices/system/cpu rw - fuse.lxcfs lxcfs rw\n\
            42 36 0:50 / /var/lib/lxcfs rw - fuse.lxcfs lxcfs rw\n\
            43 36 0:51 / /proc/x rw - fuse.sshfs lxcfs rw\n";
        let found: Vec<_> = lxcfs_mounts(table).collect();
        assert_eq!(found, ["/proc/meminfo", "/sys/devices/system/cpu"]);
    }
}
