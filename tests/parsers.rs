//! The parsers against plain implementations of the same rules in std.

mod support;

use std::collections::{BTreeSet, HashMap};

use proclens::cgroup::{Hierarchy, counters, is_within, membership, mounts, parse_cpus};
use proclens::mem::Arena;
use proclens::values::{BlockIo, CpuList, DeviceIo, Quota, Rounding};
use support::{Random, text};

const ROUNDS: usize = 5_000;

#[test]
fn cpu_lists() {
    let mut random = Random::new();
    for _ in 0..ROUNDS {
        let cpus: BTreeSet<u32> = (0..=random.below(12))
            .map(|_| random.below(40) as u32)
            .collect();
        let list = print(&cpus);
        let parsed = CpuList::parse(list.as_bytes()).expect(&list);
        assert!(parsed.iter().eq(cpus.iter().copied()), "{list}");
        assert_eq!(parsed.count() as usize, cpus.len(), "{list}");
        for cpu in 0..41 {
            assert_eq!(parsed.contains(cpu), cpus.contains(&cpu), "{cpu} in {list}");
        }
        let printed =
            text(|out| proclens::cgroup::parse_cpus::print_list(cpus.iter().copied(), out));
        assert_eq!(printed, list);
    }
}

/// Prints a set of CPUs as the kernel does.
fn print(cpus: &BTreeSet<u32>) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &cpu in cpus {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => runs.push((cpu, cpu)),
        }
    }
    let runs = runs.iter().map(|(a, b)| {
        if a == b {
            a.to_string()
        } else {
            format!("{a}-{b}")
        }
    });
    runs.collect::<Vec<_>>().join(",")
}

#[test]
fn damaged_cpu_lists_are_right_or_nothing() {
    let mut random = Random::new();
    for _ in 0..ROUNDS {
        let damaged = random.damage(b"0-3,8,10-11,64-127");
        let plain = || -> Option<Vec<u64>> {
            let mut all: Vec<u64> = Vec::new();
            for part in std::str::from_utf8(&damaged).ok()?.trim_ascii().split(',') {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                if first.starts_with('+') || last.starts_with('+') {
                    return None;
                }
                let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
                if first > last || last >= 65536 || all.last().is_some_and(|&l| l >= first) {
                    return None;
                }
                all.extend(first..=last);
            }
            Some(all)
        };
        let parsed = CpuList::parse(&damaged).map(|l| l.iter().map(u64::from).collect::<Vec<_>>());
        assert_eq!(parsed, plain(), "{}", damaged.escape_ascii());
    }
}

#[test]
fn counts_of_cpus() {
    let mut random = Random::new();
    for _ in 0..ROUNDS {
        let quota = Quota {
            quota_us: random.any().max(1),
            period_us: random.any().max(1),
        };
        let allowed = random.below(300) as u32;
        let (q, p) = (u128::from(quota.quota_us), u128::from(quota.period_us));
        for (rounding, whole) in [
            (Rounding::Up, q.div_ceil(p)),
            (Rounding::Nearest, (2 * q + p) / (2 * p)),
            (Rounding::Down, q / p),
        ] {
            let expected = whole.min(u128::from(allowed)).max(1);
            let n = parse_cpus::count(allowed, Some(quota), rounding);
            assert_eq!(u128::from(n), expected, "{allowed} {quota:?} {rounding:?}");
        }
        assert_eq!(
            parse_cpus::count(allowed, None, Rounding::Up),
            allowed.max(1)
        );
    }
}

#[test]
fn the_tighter_of_two_quotas() {
    let mut random = Random::new();
    for _ in 0..ROUNDS {
        let mut any = || Quota {
            quota_us: random.any().max(1),
            period_us: random.any().max(1),
        };
        let (a, b) = (any(), any());
        let cross = |x: Quota, y: Quota| u128::from(x.quota_us) * u128::from(y.period_us);
        let min = if cross(b, a) < cross(a, b) { b } else { a };
        assert_eq!(parse_cpus::tighter(Some(a), Some(b)), Some(min));
    }
}

#[test]
fn numbers_and_limits() {
    let mut random = Random::new();
    for _ in 0..ROUNDS {
        let n = random.any();
        let line = format!("{n}\n");
        let limit = if n >= 1 << 62 { u64::MAX } else { n };
        assert_eq!(counters::number(line.as_bytes()), Some(n));
        assert_eq!(counters::limit(line.as_bytes()), Some(limit));
        let damaged = random.damage(line.as_bytes());
        let plain = std::str::from_utf8(&damaged)
            .ok()
            .map(str::trim_ascii)
            .and_then(|text| {
                let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                digits.then(|| text.parse().unwrap_or(u64::MAX))
            });
        assert_eq!(
            counters::number(&damaged),
            plain,
            "{}",
            damaged.escape_ascii()
        );
    }
}

const NAMES: &[&str] = &[
    "a",
    "b",
    "docker",
    "init.scope",
    "..",
    "x y",
    "c:d",
    "e\\f",
    "tab\tx",
    "(deleted)",
];

fn path(random: &mut Random) -> String {
    let names: Vec<_> = (0..random.below(5)).map(|_| *random.pick(NAMES)).collect();
    format!("/{}", names.join("/"))
}

fn names(path: &str) -> Vec<&str> {
    path.split('/').filter(|name| !name.is_empty()).collect()
}

/// The rest of `path` below `ancestor`, as names.
fn plain_below<'p>(path: &'p str, ancestor: &str) -> Option<Vec<&'p str>> {
    let (path, ancestor) = (names(path), names(ancestor));
    let rest = path
        .get(ancestor.len()..)
        .filter(|_| path.starts_with(&ancestor))?;
    (!rest.contains(&"..")).then(|| rest.to_vec())
}

#[test]
fn paths_within_paths() {
    let mut random = Random::new();
    for _ in 0..ROUNDS {
        let (a, b) = (path(&mut random), path(&mut random));
        for (x, y) in [(&a, &b), (&a, &a)] {
            let expected = plain_below(x, y).is_some();
            assert_eq!(
                is_within(x.as_bytes(), y.as_bytes()),
                expected,
                "{x} in {y}"
            );
        }
    }
}

#[test]
fn the_container_of_a_process() {
    let mut random = Random::new();
    for _ in 0..ROUNDS {
        let (own, pid1) = (path(&mut random), path(&mut random));
        let initial = random.chance(30);
        let machine = match pid1.strip_suffix("/init.scope") {
            Some("") => "/",
            Some(parent) => parent,
            None => &pid1,
        };
        let expected = if !initial && plain_below(&own, machine).is_some() {
            machine
        } else {
            &own
        };
        let found = membership::container(own.as_bytes(), pid1.as_bytes(), initial);
        assert_eq!(found, expected.as_bytes(), "{own} {pid1} {initial}");
    }
}

#[test]
fn memberships() {
    const CONTROLLERS: &[&str] = &[
        "memory",
        "cpu",
        "cpuacct",
        "cpuset",
        "pids",
        "blkio",
        "name=systemd",
    ];
    let mut random = Random::new();
    for _ in 0..ROUNDS {
        let mut table = String::new();
        let mut expected: HashMap<&str, String> = HashMap::new();
        let groups = CONTROLLERS.chunks(1 + random.below(3) as usize);
        for (id, group) in (1 + random.below(20)..).zip(groups) {
            if random.chance(70) {
                let path = path(&mut random);
                table += &format!("{id}:{}:{path}\n", group.join(","));
                expected.extend(group.iter().map(|c| (*c, path.clone())));
            }
        }
        if random.chance(70) {
            let path = path(&mut random);
            let deleted = if random.chance(20) { " (deleted)" } else { "" };
            table += &format!("0::{path}{deleted}\n");
            let known = if deleted.is_empty() {
                path.strip_suffix(" (deleted)").unwrap_or(&path)
            } else {
                &path
            };
            expected.insert("", known.to_owned());
        }
        for name in CONTROLLERS {
            let found = membership::path(table.as_bytes(), Hierarchy::V1(name.as_bytes()));
            assert_eq!(
                found,
                expected.get(name).map(|p| p.as_bytes()),
                "{name} of {table}"
            );
        }
        let found = membership::path(table.as_bytes(), Hierarchy::V2);
        assert_eq!(found, expected.get("").map(|p| p.as_bytes()), "{table}");
    }
}

fn escaped(field: &str) -> String {
    let special = |c| " \t\n\\".contains(c);
    field
        .chars()
        .map(|c| {
            if special(c) {
                format!("\\{:03o}", c as u32)
            } else {
                c.into()
            }
        })
        .collect()
}

#[test]
fn cgroups_are_located_through_the_mounts() {
    let mut random = Random::new();
    for _ in 0..ROUNDS {
        let cgroup = path(&mut random);
        let mut table = String::from("1 0 0:1 / / rw - ext4 /dev/vda rw\n");
        let mut best: Option<(bool, usize, String)> = None;
        for i in 0..random.below(6) {
            let (root, point) = (path(&mut random), format!("/m {i}/x"));
            let version = *random.pick(&[
                "cgroup - rw,cpu,memory",
                "cgroup2 none rw",
                "cgroup - rw,mem",
            ]);
            let tags = *random.pick(&["", " shared:1", " shared:1 master:2"]);
            let (root_field, point_field) = (escaped(&root), escaped(&point));
            table +=
                &format!("{i} 1 0:3 {root_field} {point_field} rw,relatime{tags} - {version}\n");
            if !version.contains("memory") {
                continue;
            }
            let rest = plain_below(&cgroup, &root);
            let directory = std::iter::once(point.as_str()).chain(rest.iter().flatten().copied());
            let this = (
                rest.is_some(),
                root_field.len(),
                directory.collect::<Vec<_>>().join("/"),
            );
            let better = match &best {
                None => true,
                Some((true, len, _)) => this.0 && this.1 <= *len,
                Some((false, ..)) => this.0,
            };
            if better {
                best = Some(this);
            }
        }
        let found = mounts::find(
            table.as_bytes(),
            Hierarchy::V1(b"memory"),
            cgroup.as_bytes(),
        );
        let found = found.map(|mount| {
            let mut inside = false;
            let directory = text(|out| inside = mount.locate(cgroup.as_bytes(), out));
            (inside, directory)
        });
        assert_eq!(
            found,
            best.map(|(inside, _, directory)| (inside, directory)),
            "{cgroup} in\n{table}"
        );
    }
}

#[test]
fn memory_statistics() {
    let mut random = Random::new();
    for _ in 0..ROUNDS / 10 {
        let keys = [
            "anon",
            "file",
            "slab_reclaimable",
            "slab_unreclaimable",
            "inactive_file",
            "pgfault",
            "sock",
        ];
        let numbers: HashMap<_, _> = keys
            .iter()
            .map(|key| (*key, random.below(1 << 40)))
            .collect();
        let table: String = keys
            .iter()
            .map(|key| format!("{key} {}\n", numbers[key]))
            .collect();
        let stat = counters::memory_stat(table.as_bytes()).unwrap();
        assert_eq!(
            (stat.anon, stat.file, stat.inactive_file),
            (numbers["anon"], numbers["file"], numbers["inactive_file"])
        );
        assert_eq!(
            stat.slab,
            numbers["slab_reclaimable"] + numbers["slab_unreclaimable"]
        );
    }
}

#[test]
fn block_io_is_the_same_from_both_versions() {
    let mut random = Random::new();
    for _ in 0..ROUNDS / 10 {
        let (mut stat, mut bytes, mut operations) = (String::new(), String::new(), String::new());
        let mut devices = HashMap::new();
        for minor in 0..random.below(5) {
            let [rb, wb, db, r, w, d] = std::array::from_fn(|_| random.below(1 << 50));
            stat += &format!(
                "8:{minor} rbytes={rb} wbytes={wb} rios={r} wios={w} dbytes={db} dios={d}\n"
            );
            bytes += &format!(
                "8:{minor} Read {rb}\n8:{minor} Write {wb}\n8:{minor} Sync 5\n8:{minor} Discard {db}\n8:{minor} Total 9\n"
            );
            operations += &format!(
                "8:{minor} Read {r}\n8:{minor} Write {w}\n8:{minor} Async 5\n8:{minor} Discard {d}\n8:{minor} Total 9\n"
            );
            let io = DeviceIo {
                read_bytes: rb,
                written_bytes: wb,
                discarded_bytes: db,
                reads: r,
                writes: w,
                discards: d,
            };
            devices.insert((8, minor), io);
        }
        bytes += "Total 9\n";
        operations += "Total 9\n";
        let (v1, v2) = (
            BlockIo::V1 {
                bytes: bytes.as_bytes(),
                operations: operations.as_bytes(),
                seen: &[],
            },
            BlockIo::V2(stat.as_bytes()),
        );
        for minor in 0..6 {
            let expected = devices.get(&(8, minor)).copied().unwrap_or_default();
            assert_eq!(v1.of((8, minor)), expected);
            assert_eq!(v2.of((8, minor)), expected);
        }
        assert_eq!(v1.all(), v2.all());
        assert_eq!(
            v2.all().reads,
            devices.values().map(|io| io.reads).sum::<u64>()
        );
    }
}

/// The list of the cgroup's processes is longer than a buffer.
#[test]
fn the_processes_of_a_large_cgroup() {
    let directory = std::env::temp_dir().join(format!("proclens-many-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let own = std::process::id();
    let proc = proclens::sys::open(c"/proc").expect("a /proc");
    let mut buffer = vec![0; 64 << 10];
    for processes in [0, 1, 2_000, 10_000, 30_000] {
        let list = format!("{own}\n").repeat(processes);
        std::fs::write(directory.join("cgroup.procs"), list).expect("a list");
        let path = directory.as_os_str().as_encoded_bytes();
        // This process, with some threads.
        let tasks =
            proclens::load::tasks::count_whole_cgroup(&proc, path, &mut Arena::new(&mut buffer));
        let total = tasks.expect("a count").total as usize;
        assert!(
            total >= processes && (total > 0) == (processes > 0),
            "{processes}: {total}"
        );
    }
    std::fs::remove_dir_all(&directory).expect("it was there");
}
