//! `/proc/self/mountinfo`: the mount points of a hierarchy (`proc(5)`).
//!
//! `id parent major:minor root mount-point options [tag…] - type source super-options`, spaces
//! between. Root and mount point have space, tab, newline and backslash as octal escapes
//! (`seq_path`, `cgroup_show_path`).
#![forbid(unsafe_code)]

use super::{Hierarchy, below, is_within, without_slash};
use crate::text::{Out, fields, lines};

/// A mounted part of a hierarchy. Both paths are as the kernel prints them, with escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mount<'t> {
    /// The cgroup that the mount point shows, relative to the root of the reader's cgroup
    /// namespace: `/..` is the parent of that root.
    pub root: &'t [u8],
    /// The mount point.
    pub point: &'t [u8],
}

impl<'t> Mount<'t> {
    /// Parses one line of the table.
    fn parse(line: &'t [u8]) -> Option<Self> {
        let mut fields = fields(line);
        let root = fields.nth(3)?;
        let point = fields.next()?;
        Some(Mount { root, point })
    }
}

/// The part of a line after its `-`, if the mount is of a cgroup file system.
struct Source<'t> {
    kind: &'t [u8],
    options: &'t [u8],
}

impl<'t> Source<'t> {
    /// No field before the type contains ` - cgroup`.
    fn parse(line: &'t [u8]) -> Option<Self> {
        let rest = memchr::memchr_iter(b'-', line)
            .filter_map(|at| line.get(at..))
            .find(|rest| rest.starts_with(b"- cgroup"))?;
        let mut fields = fields(rest).skip(1);
        let kind = fields.next()?;
        // The last field: the source before it may be empty.
        let options = fields.last()?;
        Some(Source { kind, options })
    }

    /// The hierarchies of `wanted` that this mount shows.
    fn is_of<const N: usize>(&self, wanted: &[Option<Cgroup<'_>>; N]) -> [bool; N] {
        if self.kind != b"cgroup" {
            let unified = self.kind == b"cgroup2";
            return wanted.map(|w| unified && matches!(w, Some((Hierarchy::V2, _))));
        }
        let mut shown = [false; N];
        for option in self.options.split(|&b| b == b',') {
            for (shown, wanted) in shown.iter_mut().zip(wanted) {
                *shown |= matches!(wanted, Some((Hierarchy::V1(name), _)) if *name == option);
            }
        }
        shown
    }
}

/// A cgroup: its hierarchy, and its path as in `/proc/PID/cgroup`.
pub type Cgroup<'p> = (Hierarchy<'p>, &'p [u8]);

/// The mount that shows `path` (as in `/proc/PID/cgroup`) and most of its ancestors: of the mounts
/// whose root contains the path the one with the highest root, and of equal ones the
/// last. If no root contains the path, the first mount of the hierarchy.
///
/// A mount point that a later mount hides does not count. The mount of `/` hides nothing: after
/// `switch_root` it follows the mounts that were moved onto it.
pub fn find<'t>(table: &'t [u8], hierarchy: Hierarchy<'_>, path: &[u8]) -> Option<Mount<'t>> {
    let [found] = find_each(table, [Some((hierarchy, path))]);
    found
}

/// The mounts for several cgroups, in one pass over the table.
pub fn find_each<'t, const N: usize>(
    table: &'t [u8],
    wanted: [Option<Cgroup<'_>>; N],
) -> [Option<Mount<'t>>; N] {
    let mut best: [Option<Choice<'t>>; N] = [None; N];
    for line in lines(table) {
        let source = Source::parse(line);
        // No mount is chosen yet, so none can be hidden: most lines need no parsing.
        if source.is_none() && best.iter().all(Option::is_none) {
            continue;
        }
        let Some(mount) = Mount::parse(line) else {
            continue;
        };
        for best in &mut best {
            let hidden = |(_, old): &Choice| is_within(old.point, mount.point);
            if mount.point != b"/" && best.as_ref().is_some_and(hidden) {
                *best = None;
            }
        }
        let Some(source) = source else {
            continue;
        };
        let shown = source.is_of(&wanted).into_iter().zip(wanted);
        for (best, (shown, wanted)) in best.iter_mut().zip(shown) {
            if let (true, Some((_, path))) = (shown, wanted) {
                *best = Some(choose(*best, mount, path));
            }
        }
    }
    best.map(|best| best.map(|(_, mount)| mount))
}

/// A mount, and whether its root contains the path.
type Choice<'t> = (bool, Mount<'t>);

/// The choice after one more mount of the hierarchy.
fn choose<'t>(best: Option<Choice<'t>>, mount: Mount<'t>, path: &[u8]) -> Choice<'t> {
    let inside = contains(mount.root, path);
    match best {
        Some((true, old)) if !inside || mount.root.len() > old.root.len() => (true, old),
        Some((false, old)) if !inside => (false, old),
        _ => (inside, mount),
    }
}

impl Mount<'_> {
    /// Writes the directory in which the files of the cgroup `path` are, without a last `/`
    /// (the mount point `/` itself is therefore empty).
    ///
    /// For a path outside of the mount's root, or below it by names that the cgroup namespace
    /// hides (a root of `/..`), the directory is the mount point, the nearest visible cgroup,
    /// and the result is false.
    pub fn locate(&self, path: &[u8], out: &mut Out<'_>) -> bool {
        unescaped(without_slash(self.point)).for_each(|b| out.byte(b));
        let rest = relative(self.root, path);
        out.bytes(rest.unwrap_or_default());
        rest.is_some()
    }
}

/// True if the cgroup at `path` is `root`, a field of the table, or below it.
fn contains(root: &[u8], path: &[u8]) -> bool {
    relative(root, path).is_some()
}

/// What is left of `path` below `root`, a field of the table.
fn relative<'p>(root: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    if !root.contains(&b'\\') {
        return below(path, root);
    }
    // With escapes, `root` is longer than the path it denotes: find the end of that path in `path`.
    let (len, same) = unescaped(root)
        .zip(path)
        .fold((0usize, true), |(len, same), (a, &b)| {
            (len.saturating_add(1), same && a == b)
        });
    let (ancestor, _) = path.split_at_checked(len)?;
    (same && len == unescaped(root).count())
        .then(|| below(path, ancestor))
        .flatten()
}

/// The bytes that a field of the table denotes: `\040` is a space. A backslash that starts
/// no escape stands for itself.
pub fn unescaped(field: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = field;
    core::iter::from_fn(move || {
        let (byte, tail) = match *rest {
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                ref tail @ ..,
            ] => {
                let digit = |d: u8| d.wrapping_sub(b'0');
                ((digit(a) << 6) | (digit(b) << 3) | digit(c), tail)
            }
            [byte, ref tail @ ..] => (byte, tail),
            [] => return None,
        };
        rest = tail;
        Some(byte)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: Hierarchy<'_> = Hierarchy::V1(b"memory");

    fn located(table: &[u8], hierarchy: Hierarchy<'_>, path: &[u8]) -> Option<(String, bool)> {
        let mut buffer = [0; 8192];
        let mut out = Out::new(&mut buffer);
        let inside = find(table, hierarchy, path)?.locate(path, &mut out);
        Some((String::from_utf8_lossy(out.finish()?).into_owned(), inside))
    }

    fn at(path: &str) -> Option<(String, bool)> {
        Some((path.to_owned(), true))
    }

    fn near(path: &str) -> Option<(String, bool)> {
        Some((path.to_owned(), false))
    }

    #[test]
    fn docker_with_the_hosts_cgroup_namespace() {
        let table = b"199 198 0:50 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
            203 199 0:32 /docker/6b /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        assert_eq!(
            located(table, V1, b"/docker/6b"),
            at("/sys/fs/cgroup/memory")
        );
        assert_eq!(
            located(table, V1, b"/docker/6b/in"),
            at("/sys/fs/cgroup/memory/in")
        );
        assert_eq!(
            located(table, V1, b"/docker/6bc"),
            near("/sys/fs/cgroup/memory")
        );
        assert_eq!(located(table, V1, b"/"), near("/sys/fs/cgroup/memory"));
        assert_eq!(located(table, Hierarchy::V1(b"cpu"), b"/docker/6b"), None);
        assert_eq!(located(table, Hierarchy::V2, b"/docker/6b"), None);
    }

    #[test]
    fn controllers_that_share_a_mount() {
        let table = b"36 34 0:32 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:2 - cgroup cgroup rw,xattr,cpu,cpuacct\n";
        for name in [&b"cpu"[..], b"cpuacct"] {
            let found = located(table, Hierarchy::V1(name), b"/a:b");
            assert_eq!(found, at("/sys/fs/cgroup/cpu,cpuacct/a:b"));
        }
        assert_eq!(located(table, Hierarchy::V1(b"cpuset"), b"/"), None);
    }

    #[test]
    fn one_pass_locates_several_hierarchies() {
        let table = b"1 0 0:4 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            2 0 0:5 /d /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            3 0 0:6 / /sys/fs/cgroup/memory rw - tmpfs tmpfs rw\n\
            4 0 0:7 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n";
        let wanted = [
            Some((V1, &b"/d"[..])),
            None,
            Some((Hierarchy::V1(b"cpu"), b"/d")),
            Some((Hierarchy::V2, b"/e")),
        ];
        let points = find_each(table, wanted).map(|found| found.map(|mount| mount.point));
        let (cpu, unified) = (&b"/sys/fs/cgroup/cpu"[..], &b"/sys/fs/cgroup/unified"[..]);
        assert_eq!(points, [None, None, Some(cpu), Some(unified)]);
    }

    #[test]
    fn a_root_outside_of_the_namespace() {
        let table = b"75 71 0:32 /../.. /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        assert_eq!(located(table, V1, b"/"), near("/sys/fs/cgroup/memory"));
        assert_eq!(located(table, V1, b"/.."), near("/sys/fs/cgroup/memory"));
        assert_eq!(located(table, V1, b"/../.."), at("/sys/fs/cgroup/memory"));
        assert_eq!(
            located(table, V1, b"/../../x"),
            at("/sys/fs/cgroup/memory/x")
        );
        let table = b"1 2 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(
            located(table, Hierarchy::V2, b"/../../y"),
            near("/sys/fs/cgroup")
        );
    }

    #[test]
    fn escapes_of_the_table() {
        let table = b"63 43 0:36 /a\\134012\\040b /m\\011\\012x rw - cgroup cgroup rw,memory\n";
        assert_eq!(located(table, V1, b"/a\\012 b"), at("/m\t\nx"));
        assert_eq!(located(table, V1, b"/a\\012 b/c"), at("/m\t\nx/c"));
        assert_eq!(located(table, V1, b"/a\\012 bc"), near("/m\t\nx"));
        assert_eq!(located(table, V1, b"/a\\012"), near("/m\t\nx"));
        let plain = |field: &[u8]| unescaped(field).collect::<Vec<_>>();
        assert_eq!(plain(b"\\04"), b"\\04");
        assert_eq!(plain(b"\\777\\"), b"\\777\\");
    }

    #[test]
    fn the_mount_that_shows_most_is_used() {
        let table = b"1 0 0:3 / / rw - ext4 /dev/vda rw\n\
            2 1 0:4 /docker/6b /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            3 1 0:4 / /host/cgroup/memory rw - cgroup cgroup rw,memory\n\
            4 1 0:4 /docker/other /x rw - cgroup cgroup rw,memory\n\
            5 1 0:4 / /again rw - cgroup cgroup rw,memory\n";
        assert_eq!(located(table, V1, b"/docker/6b"), at("/again/docker/6b"));
        assert_eq!(located(table, V1, b"/../y"), near("/sys/fs/cgroup/memory"));
    }

    #[test]
    fn the_highest_root_shows_more_ancestors_than_the_last() {
        let table = b"2 1 0:4 / /top rw - cgroup2 cgroup rw\n\
            3 1 0:4 /a /bound rw - cgroup2 cgroup rw\n";
        assert_eq!(located(table, Hierarchy::V2, b"/a/b"), at("/top/a/b"));
    }

    #[test]
    fn a_mount_below_another_mount_is_not_used() {
        let table = b"2 1 0:4 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n\
            9 2 0:4 /docker/6b /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(
            located(table, Hierarchy::V2, b"/docker/6b/y"),
            at("/sys/fs/cgroup/y")
        );
        let table = b"2 1 0:4 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n\
            9 2 0:4 / /sys/fs rw - tmpfs tmpfs rw\n";
        assert_eq!(located(table, Hierarchy::V2, b"/y"), None);
        let table = b"22 27 0:4 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n\
            27 1 254:0 / / rw - ext4 /dev/vda rw\n";
        assert_eq!(located(table, Hierarchy::V2, b"/y"), at("/sys/fs/cgroup/y"));
    }

    #[test]
    fn long_paths_and_long_tables() {
        let path = format!("/{}", "x/".repeat(1999));
        let path = path.trim_end_matches('/');
        let mut table = String::new();
        for i in 0..10_000 {
            table +=
                &format!("{i} 1 0:9 /v/{i} /mnt/{i} rw,relatime - overlay o rw,lowerdir=/l/{i}\n");
        }
        table += "7 1 0:4 / /sys/fs/cgroup rw - cgroup2 cgroup rw";
        let found = located(table.as_bytes(), Hierarchy::V2, path.as_bytes());
        assert_eq!(found, at(&format!("/sys/fs/cgroup{path}")));
    }

    #[test]
    fn garbage_is_no_mount() {
        for table in [
            &b""[..],
            b"\n",
            b"-",
            b"1 2 3 4 5",
            b"1 2 3 / /m rw -",
            b"1 2 3 / /m rw - cgroup2",
        ] {
            assert_eq!(find(table, Hierarchy::V2, b"/"), None, "{table:?}");
        }
    }
}
