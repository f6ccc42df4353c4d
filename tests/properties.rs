//! Properties that every content has, for any text of the kernel.

mod support;

use std::collections::HashMap;
use std::hint::black_box;
use std::num::NonZero;
use std::time::{Duration, Instant};

use proclens::cgroup::{Hierarchy, counters, membership, mounts, parse_cpus};
use proclens::procfs::render;
use proclens::text::Out;
use proclens::values::{
    BlockIo, CpuList, Cpus, Load, Memory, MemoryStat, MemoryText, PerCpu, Room, Rounding, Swap,
    SwapTraffic, Tasks,
};
use support::{Random, text};

/// How long each parser and renderer gets random bytes and damaged files.
const FUZZED_FOR: Duration = Duration::from_secs(3);

fn memory(random: &mut Random) -> Memory {
    let swap = if random.chance(30) {
        Swap::Unaccounted
    } else {
        Swap::Counted {
            limit: random.any(),
            used: random.any(),
        }
    };
    let stat = MemoryStat {
        anon: random.any(),
        file: random.any(),
        shmem: random.any(),
        file_mapped: random.any(),
        inactive_anon: random.any(),
        active_anon: random.any(),
        inactive_file: random.any(),
        active_file: random.any(),
        unevictable: random.any(),
        slab_reclaimable: random.any(),
        slab_unreclaimable: random.any(),
        slab: random.any(),
        ..MemoryStat::default()
    };
    Memory {
        limit: random.any(),
        usage: random.any(),
        swap,
        stat,
        room: Room {
            free: random.any(),
            available: random.any(),
            swap: random.any(),
        },
    }
}

/// A consistent `/proc/meminfo` of a host.
fn host(random: &mut Random) -> String {
    let total = random.any() >> 10;
    let swap = random.any() >> 10;
    let mut line = |name: &str, max: u64| {
        let value = random.any().min(max);
        format!("{:<16}{value:>8} kB\n", format!("{name}:"))
    };
    let rest = [
        "Cached",
        "Active",
        "Inactive",
        "Active(anon)",
        "Inactive(anon)",
        "Active(file)",
        "Inactive(file)",
        "Mlocked",
        "AnonPages",
        "Committed_AS",
        "CommitLimit",
        "DirectMap4k",
    ];
    let rest: String = rest.iter().map(|name| line(name, u64::MAX >> 10)).collect();
    format!(
        "{:<16}{total:>8} kB\n{:<16}{swap:>8} kB\n",
        "MemTotal:", "SwapTotal:"
    ) + &line("MemFree", total)
        + &line("MemAvailable", total)
        + &line("SwapFree", swap)
        + &rest
}

fn kb(text: &str) -> HashMap<&str, u64> {
    let lines = text.lines().map(|line| line.split_once(':').unwrap());
    lines
        .map(|(name, value)| (name, value.trim().trim_end_matches(" kB").parse().unwrap()))
        .collect()
}

#[test]
fn meminfo_is_consistent() {
    let mut random = Random::new();
    for round in 0..4_000 {
        let (host, memory) = (host(&mut random), memory(&mut random));
        let shown = text(|out| render::meminfo::render(host.as_bytes(), &memory, out));
        let figures = render::meminfo::figures(host.as_bytes(), &memory).unwrap();
        let (theirs, ours) = (kb(&host), kb(&shown));
        let about = format!("round {round}\n{memory:?}\n{host}\n{shown}");

        assert_eq!(host.lines().count(), shown.lines().count(), "{about}");
        assert!(ours["MemTotal"] <= theirs["MemTotal"], "{about}");
        assert!(ours["MemFree"] <= ours["MemTotal"], "{about}");
        assert!(ours["MemFree"] <= ours["MemAvailable"], "{about}");
        assert!(ours["MemAvailable"] < ours["MemTotal"].max(1), "{about}");
        assert!(ours["MemAvailable"] <= theirs["MemAvailable"], "{about}");
        assert!(ours["SwapTotal"] <= theirs["SwapTotal"], "{about}");
        assert!(ours["SwapFree"] <= ours["SwapTotal"], "{about}");
        assert!(ours["SwapFree"] <= theirs["SwapFree"], "{about}");
        assert_eq!(
            ours["CommitLimit"],
            ours["MemTotal"] + ours["SwapTotal"],
            "{about}"
        );
        assert!(ours["Committed_AS"] <= ours["CommitLimit"], "{about}");
        assert!(
            ours["Committed_AS"] >= ours["AnonPages"].min(ours["CommitLimit"]),
            "{about}"
        );
        assert_eq!(
            ours["Active"],
            ours["Active(anon)"] + ours["Active(file)"],
            "{about}"
        );
        assert_eq!(
            ours["Inactive"],
            ours["Inactive(anon)"] + ours["Inactive(file)"],
            "{about}"
        );
        assert_eq!(ours["DirectMap4k"], theirs["DirectMap4k"], "{about}");

        assert_eq!(figures.total, ours["MemTotal"], "{about}");
        assert_eq!(figures.free, ours["MemFree"], "{about}");
        assert_eq!(figures.available, ours["MemAvailable"], "{about}");
        assert_eq!(figures.swap_total, ours["SwapTotal"], "{about}");
        assert_eq!(figures.swap_free, ours["SwapFree"], "{about}");
    }
}

#[test]
fn stat_is_the_sum_of_its_rows() {
    let mut random = Random::new();
    for _ in 0..500 {
        let rows: Vec<[u64; 5]> = (0..1 + random.below(70))
            .map(|_| std::array::from_fn(|_| random.below(1 << 50)))
            .collect();
        let tasks = Tasks {
            running: random.any(),
            blocked: random.any(),
            total: random.any(),
        };
        let host = b"cpu  1 2\ncpu0 1 2\nintr 5\nprocs_running 1\nbtime 1\n";
        let shown = text(|out| {
            render::stat::render(
                host,
                (3..).zip(rows.iter().copied()),
                [0; 2],
                77,
                &tasks,
                out,
            )
        });
        let numbers = |line: &str| -> Vec<u64> {
            line.split_whitespace()
                .skip(1)
                .map(|n| n.parse().unwrap())
                .collect()
        };
        let (all, each): (Vec<_>, Vec<_>) = shown
            .lines()
            .filter(|l| l.starts_with("cpu"))
            .partition(|l| l.starts_with("cpu "));
        assert_eq!((all.len(), each.len()), (1, rows.len()));
        let mut sum = vec![0; 10];
        for line in each {
            numbers(line)
                .iter()
                .zip(&mut sum)
                .for_each(|(n, sum)| *sum += n);
        }
        assert_eq!(numbers(all[0]), sum);
        assert!(shown.contains("\nbtime 77\n"));
    }
}

#[test]
fn loads_are_those_of_sysinfo_to_half_a_hundredth() {
    let mut random = Random::new();
    for _ in 0..5_000 {
        let load = Load(std::array::from_fn(|_| random.below(1 << 30)));
        let shown = text(|out| {
            render::loadavg::render(b"0 0 0 1/2 3\n", &load, &Tasks::default(), out);
        });
        let raw = render::loadavg::sysinfo_loads(&load);
        for (field, raw) in shown.split(' ').zip(raw) {
            let (shown, exact) = (field.parse::<f64>().unwrap(), raw as f64 / 65536.0);
            assert!((shown - exact).abs() <= 0.0051, "{shown} {exact}");
        }
    }
}

/// No text makes a parser or a renderer panic, loop or write half a line. Run this in a debug build, which checks
/// every overflow.
#[test]
fn no_text_is_a_crash() {
    let corpus: Vec<Vec<u8>> = corpus();
    let mut random = Random::new();
    let until = Instant::now() + FUZZED_FOR;
    let mut buffer = vec![0; 1 << 16];
    while Instant::now() < until {
        let mut any = || match random.below(10) {
            0 => random.noise(300),
            1..=2 => random.pick(&corpus).clone(),
            _ => {
                let text = random.below(corpus.len() as u64) as usize;
                random.damage(&corpus[text])
            }
        };
        let (a, b, c) = (any(), any(), any());
        let memory = memory(&mut random);
        parse_all(&a, &b, &c);
        // The buffer is often too small.
        let len = random.below(buffer.len() as u64 + 1) as usize;
        render_all(&a, &b, &c, &memory, random.any(), &mut buffer[..len]);
    }
}

fn parse_all(a: &[u8], b: &[u8], c: &[u8]) {
    for hierarchy in [Hierarchy::V1(b"memory"), Hierarchy::V1(a), Hierarchy::V2] {
        black_box(membership::path(b, hierarchy));
        if let Some(mount) = mounts::find(b, hierarchy, c) {
            let mut buffer = [0; 512];
            black_box(mount.locate(c, &mut Out::new(&mut buffer)));
        }
    }
    black_box(membership::of(a, b"cpu"));
    black_box(membership::container(a, b, false));
    if let Some(list) = CpuList::parse(a) {
        assert!(list.count() > 0);
        assert_eq!(list.iter().count(), list.count() as usize);
    }
    black_box(CpuList(a).count());
    black_box(CpuList(a).contains(7));
    let quota = parse_cpus::tighter(parse_cpus::cpu_max(a), parse_cpus::cfs(b, c));
    for rounding in [Rounding::Up, Rounding::Nearest, Rounding::Down] {
        assert!(parse_cpus::count(0, quota, rounding) == 1);
    }
    black_box((counters::number(a), counters::limit(a)));
    black_box((
        counters::memory_stat(a),
        counters::memory_stat_v1(a),
        counters::cpu_stat(a),
    ));
    let cpus = PerCpu {
        sampled: a,
        measured: b,
    };
    black_box((counters::cpuacct(a, b), cpus.sum(), cpus.rows().count()));
    black_box(BlockIo::V2(a).all());
    black_box(
        BlockIo::V1 {
            bytes: a,
            operations: b,
            seen: &[],
        }
        .of((8, 0)),
    );
}

fn render_all(a: &[u8], b: &[u8], c: &[u8], memory: &Memory, number: u64, buffer: &mut [u8]) {
    let cpus = Cpus {
        count: (number as u32).max(1),
        list: CpuList(b),
        quota: None,
        own: &[],
    };
    let tasks = Tasks {
        running: number,
        blocked: number,
        total: 1,
    };
    let rows = c.iter().map(|&b| [u64::from(b), number, 1, 2, 3]);
    let mut whole = |render: &dyn Fn(&mut Out<'_>)| {
        let mut out = Out::new(buffer);
        render(&mut out);
        black_box(out.finish());
    };
    whole(&|out| render::meminfo::render(a, memory, out));
    whole(&|out| render::cpuinfo::render(a, &cpus, out));
    whole(&|out| {
        render::stat::render(
            a,
            cpus.shown().zip(rows.clone()),
            [number; 2],
            number,
            &tasks,
            out,
        )
    });
    whole(&|out| render::uptime::render(number, u64::from(cpus.count), out));
    whole(&|out| render::loadavg::render(a, &Load([number; 3]), &tasks, out));
    whole(&|out| render::cpulist::render(cpus.shown().take(300), out));
    whole(&|out| render::cpulist::offline(CpuList(c), cpus.shown().take(300), out));

    let io = BlockIo::V2(b);
    let traffic = SwapTraffic {
        pages_in: number,
        pages_out: number,
    };
    let inputs = render::vmstat::Inputs {
        stat: memory.stat,
        free: number,
        events: MemoryText::V1(b),
        io: Some(render::diskstats::total(a, io)),
        swapped: Some(traffic.later(number, 1, number)),
        page: NonZero::new(number).unwrap_or(NonZero::<u64>::MIN),
    };
    whole(&|out| render::vmstat::render(a, &inputs, out));
    whole(&|out| render::diskstats::render(a, io, out));
    whole(&|out| render::pressure::render(a, out));
    whole(&|out| render::pressure::uncounted(a, out));
    let figures = render::meminfo::figures(b, memory).unwrap_or_default();
    whole(&|out| render::swaps::render(a, &figures, out));
    let share = render::node::Share {
        before: number,
        own: number,
        all: figures.total,
    };
    black_box(render::node::total(a));
    whole(&|out| render::node::meminfo(a, share, &figures, memory, out));
    whole(&|out| render::node::cpumap(a, CpuList(c), cpus.list, out));
    whole(&|out| render::node::cpulist(CpuList(c), cpus.list, out));
}

/// Short texts of every format that the library reads.
fn corpus() -> Vec<Vec<u8>> {
    [
        "13:name=systemd:/\n4:memory:/docker/1f\n2:cpu,cpuacct:/a:b c\n1:cpuset:/\n0::/user.slice/x (deleted)\n",
        "0::/../../pod\n",
        "/docker/1f/../init.scope",
        "22 27 0:21 / /proc rw,relatime - proc proc rw\n35 31 0:32 /../.. /sys/fs/cgroup/mem\\040ory rw,relatime shared:9 - cgroup cgroup rw,memory\n38 31 0:30 /a\\134b /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n",
        "0-3,8,10-11\n",
        "2\n",
        "max 100000\n",
        "150000 100000\n",
        "-1\n",
        "9223372036854771712\n",
        "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnice_usec 5\nnr_periods 9\nnr_throttled 4\nthrottled_usec 77\nthrottled_time 5\n",
        "anon 4096\nfile 8192\nkernel_stack 1\nslab_reclaimable 1\nslab_unreclaimable 2\nslab 3\nunevictable 9\n",
        "cache 1\nhierarchical_memory_limit 9\nhierarchical_memsw_limit 18\ntotal_cache 4096\ntotal_rss 8192\ntotal_swap 5\n",
        "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=16 dios=3\n8:0\n",
        "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 9\n8:0 Discard 1\nTotal 12288\n",
        "user 9101\nsystem 9712\n",
        "MemTotal:       24682416 kB\nMemFree:        23471868 kB\nMemAvailable:   24200148 kB\nBuffers:           12284 kB\nActive(file):     352216 kB\nSwapTotal:             0 kB\nSwapFree:              0 kB\nVmallocTotal:   34359738367 kB\nHugePages_Total:       0\n",
        "processor\t: 0\nmodel name\t: AMD EPYC\nsiblings\t: 2\ncpu cores\t: 2\n\nprocessor\t: 1\nsiblings\t: 2\n\nHardware\t: x\n",
        "# processors    : 2\nprocessor 0: version = 00\nprocessor 1: version = 00\n\ncpu number      : 0\nx : y\n\ncpu number      : 1\n",
        "cpu  8255 0 9103 191603 1534 0 203 2548 0 0\ncpu0 3246 0 4168 97805 91 0 32 1337 0 0\nintr 5 0 0 1\nctxt 77\nbtime 1700000000\nprocs_running 3\nprocs_blocked 1\n",
        "2.44 2.03 1.52 6/170 29503\n",
        "nr_free_pages 9\nnr_anon_pages 9\npgpgin 9\npswpout 9\npgfault 9\npgscan_kswapd 9\n",
        "   8       0 sda 9 9 9 9 9 9 9 9 9 9 9\n 254       0 vda 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n",
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/zram0 partition\t1048572\t\t0\t\t100\n",
        "Node 0 MemTotal:       12804676 kB\nNode 0 MemFree:         4432584 kB\nNode 0 MemUsed:         8372092 kB\n",
        "00000000,0000ffff\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
