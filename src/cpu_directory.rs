//! The directories in which the kernel shows the CPUs, and the names in them.
#![forbid(unsafe_code)]

use crate::text::leading_decimal;

/// Directories whose `cpuN` are the machine's, seen from the root.
const PREFIXES: [&[u8]; 2] = [b"/sys/devices/system/cpu", b"/sys/bus/cpu/devices"];
/// Each NUMA node has links to its CPUs.
const NODES: &[u8] = b"/sys/devices/system/node/node";

/// How the paths begin that may lead to a CPU: relative to a directory of them, or from the root.
pub const BEGINNINGS: [[u8; 3]; 2] = [*b"cpu", *b"/sy"];

/// A name `cpuN`, alone or in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The `N`.
    pub number: u32,
    /// The path begins with the name: what is above it is the directory that it is relative to.
    pub relative: bool,
}

impl Entry {
    /// What the whole name `cpuN` says.
    pub fn parse(name: &[u8]) -> Option<Entry> {
        let (number, rest) = leading_decimal(name.strip_prefix(b"cpu")?)?;
        let number = u32::try_from(number).ok()?;
        rest.is_empty().then_some(Entry {
            number,
            relative: true,
        })
    }

    /// The first `cpuN` in a path that leads into one of the directories, or begins with it.
    pub fn in_path(path: &[u8]) -> Option<Entry> {
        let first = |rest: &[u8]| Entry::parse(rest.split(|b| *b == b'/').next()?);
        if !path.starts_with(b"/") {
            return first(path);
        }
        let below = PREFIXES
            .iter()
            .find_map(|prefix| path.strip_prefix(*prefix))
            .or_else(|| leading_decimal(path.strip_prefix(NODES)?).map(|(_, rest)| rest))?;
        first(below.strip_prefix(b"/")?).map(|entry| Entry {
            relative: false,
            ..entry
        })
    }
}

/// True if `path`, as the kernel tells it, is one of the directories.
pub fn is_one(path: &[u8]) -> bool {
    PREFIXES.contains(&path)
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
        let number = |name: &str| Entry::parse(name.as_bytes()).map(|e| e.number);
        assert_eq!(number("cpu0"), Some(0));
        assert_eq!(number("cpu255"), Some(255));
        for name in [
            "cpu",
            "cpufreq",
            "cpuidle",
            "cpu1x",
            "xcpu1",
            "",
            "cpu99999999999",
        ] {
            assert_eq!(number(name), None, "{name}");
        }
    }

    #[test]
    fn paths() {
        let entry = |path: &str| Entry::in_path(path.as_bytes()).map(|e| (e.number, e.relative));
        assert_eq!(
            entry("/sys/devices/system/cpu/cpu3/topology/core_id"),
            Some((3, false))
        );
        assert_eq!(entry("/sys/devices/system/cpu/cpu3"), Some((3, false)));
        assert_eq!(entry("/sys/bus/cpu/devices/cpu1"), Some((1, false)));
        assert_eq!(
            entry("/sys/devices/system/node/node0/cpu7"),
            Some((7, false))
        );
        assert_eq!(entry("cpu2/cache"), Some((2, true)));
        for path in [
            "/sys/devices/system/cpu",
            "/sys/devices/system/cpu/online",
            "/sys/class/cpu1",
            "cpux",
            "/cpu1",
            "",
            "/sys/devices/system/cpux/cpu1",
        ] {
            assert_eq!(entry(path), None, "{path}");
        }
    }

    #[test]
    fn directories() {
        assert!(is_one(b"/sys/devices/system/cpu") && is_one(b"/sys/devices/system/node/node12"));
        assert!(!is_one(b"/sys/devices/system/node") && !is_one(b"/dev/cpu"));
    }
}
