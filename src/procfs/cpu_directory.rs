//! The directories in which the kernel lists the CPUs, and the names in them.
#![forbid(unsafe_code)]

use crate::text::leading_decimal;
use core::ffi::CStr;

/// Directories whose entries `cpuN` are the machine's CPUs, below the root of sysfs.
const DIRECTORIES: [&[u8]; 2] = [b"/devices/system/cpu", b"/bus/cpu/devices"];
/// Each NUMA node has links to its CPUs.
const NODES: &[u8] = b"/devices/system/node/node";
/// The usual mount point of sysfs.
pub const ROOT: &CStr = c"/sys";
/// The first bytes of a path below [`ROOT`], for a quick comparison.
pub const SYSFS_START: [u8; 3] = *b"/sy";

/// The `N` of a name `cpuN`.
pub fn number(name: &[u8]) -> Option<u32> {
    let (number, rest) = leading_decimal(name.strip_prefix(b"cpu")?)?;
    rest.is_empty()
        .then(|| u32::try_from(number).ok())
        .flatten()
}

/// Finds each component `cpuN` of a path. Returns the number, and the path of the directory that
/// contains it, without slashes at the end. The path is empty if the component comes first.
pub fn components(path: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut start = 0usize;
    path.split(|b| *b == b'/').filter_map(move |name| {
        let directory = path.get(..start)?;
        start = start.wrapping_add(name.len()).wrapping_add(1);
        let mut end = directory;
        while let Some(shorter) = end.strip_suffix(b"/") {
            end = shorter;
        }
        // The directory is the root: keep its slash.
        let directory = if end.is_empty() { directory } else { end };
        Some((number(name)?, directory))
    })
}

/// True if `path` is the directory of the kernel's event sources (`kernel/events/core.c`), in the spelling
/// that perf uses.
pub fn is_event_sources(path: &[u8]) -> bool {
    path.strip_suffix(b"/").unwrap_or(path) == b"/sys/bus/event_source/devices"
}

/// True if `path` is one of these directories in its usual spelling.
pub fn is_usual(path: &[u8]) -> bool {
    path.strip_prefix(ROOT.to_bytes())
        .is_some_and(is_below_sysfs)
}

/// True if `path`, as the kernel reports it, can be one of these directories, at any mount point of
/// sysfs.
pub fn could_be(path: &[u8]) -> bool {
    let slashes = path.iter().enumerate().filter(|(_, b)| **b == b'/');
    slashes
        .filter_map(|(at, _)| path.get(at..))
        .any(is_below_sysfs)
}

fn is_below_sysfs(path: &[u8]) -> bool {
    DIRECTORIES.contains(&path)
        || path
            .strip_prefix(NODES)
            .and_then(leading_decimal)
            .is_some_and(|(_, rest)| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(number(b"cpu0"), Some(0));
        assert_eq!(number(b"cpu255"), Some(255));
        for name in [
            "cpu",
            "cpufreq",
            "cpuidle",
            "cpu1x",
            "xcpu1",
            "",
            "cpu99999999999",
        ] {
            assert_eq!(number(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn paths() {
        let all = |path: &'static str| {
            let found = components(path.as_bytes());
            let text = |directory| str::from_utf8(directory).unwrap();
            found
                .map(|(cpu, directory)| (cpu, text(directory)))
                .collect::<Vec<_>>()
        };
        let usual = "/sys/devices/system/cpu";
        assert_eq!(
            all("/sys/devices/system/cpu/cpu3/topology/core_id"),
            [(3, usual)]
        );
        assert_eq!(all("/sys/devices/system/cpu//cpu3"), [(3, usual)]);
        assert_eq!(all("cpu/cpu1"), [(1, "cpu")]);
        assert_eq!(all("./cpu1/"), [(1, ".")]);
        assert_eq!(all("cpu2/cache"), [(2, "")]);
        assert_eq!(all("/cpu1"), [(1, "/")]);
        assert_eq!(all("/a/cpu1/cpu2"), [(1, "/a"), (2, "/a/cpu1")]);
        for path in [
            "/sys/devices/system/cpu",
            "",
            "cpux",
            "/sys/devices/system/cpu/online",
        ] {
            assert_eq!(all(path), [], "{path}");
        }
    }

    #[test]
    fn event_sources() {
        let at = b"/sys/bus/event_source/devices/";
        assert!(is_event_sources(at) && is_event_sources(&at[..at.len() - 1]));
        assert!(!is_event_sources(b"/sys/bus/event_source/devices/cpu") && !is_event_sources(b""));
    }

    #[test]
    fn directories() {
        for path in [
            "/sys/devices/system/cpu",
            "/sys/bus/cpu/devices",
            "/sys/devices/system/node/node12",
        ] {
            assert!(
                is_usual(path.as_bytes()) && could_be(path.as_bytes()),
                "{path}"
            );
        }
        assert!(
            could_be(b"/host/sys/devices/system/cpu") && !is_usual(b"/host/sys/devices/system/cpu")
        );
        for path in [
            "/sys/devices/system/node",
            "/dev/cpu",
            "",
            "/sys/devices/system/cpu/cpu1",
            "devices/system/cpu",
        ] {
            assert!(
                !is_usual(path.as_bytes()) && !could_be(path.as_bytes()),
                "{path}"
            );
        }
    }
}
