//! The files as an independent reader parses them: the parsers of the `procfs` crate must accept the rendered text
//! and read the numbers that went in. Every bug that other tools had in these files is a case.

mod support;

use procfs::prelude::*;
use procfs::{
    CpuInfo, DiskStats, ExplicitSystemInfo, KernelStats, LoadAverage, Meminfo, MemoryPressure,
    Uptime, VmStat,
};
use proclens::cgroup::{counters, parse_cpus};
use proclens::procfs::render;
use proclens::values::{
    BlockIo, CpuList, Cpus, Load, Memory, MemoryStat, MemoryText, Rounding, Swap, SwapTraffic,
    Tasks,
};
use support::text;

const HOST_MEMINFO: &str = include_str!("fixtures/meminfo");
const HOST_CPUINFO: &str = include_str!("fixtures/cpuinfo");
const HOST_STAT: &str = include_str!("fixtures/stat");
const HOST_VMSTAT: &str = include_str!("fixtures/vmstat");
const HOST_DISKSTATS: &str = include_str!("fixtures/diskstats");

const MIB: u64 = 1 << 20;

fn meminfo(memory: &Memory) -> Meminfo {
    let shown = text(|out| render::meminfo::render(HOST_MEMINFO.as_bytes(), memory, out));
    Meminfo::from_read(shown.as_bytes()).expect("a meminfo")
}

fn host_meminfo() -> Meminfo {
    Meminfo::from_read(HOST_MEMINFO.as_bytes()).expect("a meminfo")
}

/// 512 MiB of memory and 256 MiB of swap, with every counter above 0.
fn half_a_gib() -> Memory {
    Memory {
        limit: 512 * MIB,
        usage: 200 * MIB,
        swap: Swap::Counted {
            limit: 256 * MIB,
            used: 6 * MIB,
        },
        stat: MemoryStat {
            anon: 90 * MIB,
            file: 80 * MIB,
            shmem: 5 * MIB,
            file_mapped: 12 * MIB,
            file_dirty: 2 * MIB,
            file_writeback: MIB,
            inactive_anon: 70 * MIB,
            active_anon: 20 * MIB,
            inactive_file: 50 * MIB,
            active_file: 25 * MIB,
            unevictable: MIB,
            slab_reclaimable: 10 * MIB,
            slab_unreclaimable: 4 * MIB,
            slab: 14 * MIB,
            kernel_stack: MIB / 2,
            pagetables: 3 * MIB,
            percpu: MIB / 4,
            swapcached: MIB,
            anon_thp: 8 * MIB,
            ..MemoryStat::default()
        },
        ..Memory::default()
    }
}

#[test]
fn meminfo_has_the_values_of_the_cgroup() {
    let info = meminfo(&half_a_gib());
    assert_eq!(info.mem_total, 512 * MIB);
    assert_eq!(info.mem_free, 312 * MIB);
    assert_eq!(info.mem_available, Some((312 + 75 + 10) * MIB));
    assert_eq!(
        (info.buffers, info.cached, info.swap_cached),
        (0, 80 * MIB, MIB)
    );
    assert_eq!((info.active, info.inactive), (45 * MIB, 120 * MIB));
    assert_eq!(
        (info.active_anon, info.inactive_anon),
        (Some(20 * MIB), Some(70 * MIB))
    );
    assert_eq!(
        (info.active_file, info.inactive_file),
        (Some(25 * MIB), Some(50 * MIB))
    );
    assert_eq!((info.unevictable, info.mlocked), (Some(MIB), Some(MIB)));
    assert_eq!((info.swap_total, info.swap_free), (256 * MIB, 250 * MIB));
    assert_eq!((info.dirty, info.writeback), (2 * MIB, MIB));
    assert_eq!((info.shmem, info.slab), (Some(5 * MIB), 14 * MIB));
    assert_eq!(
        (info.k_reclaimable, info.s_reclaimable),
        (Some(10 * MIB), Some(10 * MIB))
    );
    assert_eq!(
        (info.s_unreclaim, info.kernel_stack),
        (Some(4 * MIB), Some(MIB / 2))
    );
    assert_eq!(
        (info.page_tables, info.per_cpu),
        (Some(3 * MIB), Some(MIB / 4))
    );
    assert_eq!(
        (info.anon_hugepages, info.shmem_hugepages),
        (Some(8 * MIB), Some(0))
    );
    assert_eq!(info.commit_limit, Some(768 * MIB));
    assert!(info.committed_as >= 90 * MIB && info.committed_as <= 768 * MIB);

    let host = host_meminfo();
    assert_eq!(
        (info.vmalloc_total, info.vmalloc_used),
        (host.vmalloc_total, host.vmalloc_used)
    );
    assert_eq!(
        (info.hugepages_total, info.hugepagesize),
        (host.hugepages_total, host.hugepagesize)
    );
    assert_eq!(info.nfs_unstable, host.nfs_unstable);
}

#[test]
fn anon_pages_and_mapped_are_not_the_hosts() {
    let info = meminfo(&half_a_gib());
    assert_eq!((info.anon_pages, info.mapped), (Some(90 * MIB), 12 * MIB));
}

#[test]
fn a_limit_of_2_gib_and_more_does_not_overflow() {
    for gib in [2, 4, 8, 16] {
        let limit = counters::limit(format!("{}\n", gib * 1024 * MIB).as_bytes()).unwrap();
        assert_eq!(
            meminfo(&Memory {
                limit,
                ..half_a_gib()
            })
            .mem_total,
            gib * 1024 * MIB
        );
    }
}

#[test]
fn v1_unlimited_is_the_host() {
    let limit = counters::limit(b"9223372036854771712\n").unwrap();
    let swap = Swap::Counted {
        limit: counters::swap_limit(limit, limit),
        used: 0,
    };
    let (info, host) = (
        meminfo(&Memory {
            limit,
            swap,
            ..half_a_gib()
        }),
        host_meminfo(),
    );
    assert_eq!(
        (info.mem_total, info.swap_total),
        (host.mem_total, host.swap_total)
    );
    assert!(info.mem_available <= host.mem_available);
}

#[test]
fn usage_above_the_limit_does_not_wrap_around() {
    let info = meminfo(&Memory {
        usage: 600 * MIB,
        ..half_a_gib()
    });
    assert_eq!(info.mem_free, 0);
    let info = meminfo(&Memory {
        swap: Swap::Counted {
            limit: MIB,
            used: 2 * MIB,
        },
        ..half_a_gib()
    });
    assert_eq!((info.swap_total, info.swap_free), (MIB, 0));
}

#[test]
fn a_swap_limit_of_0_is_0_swap() {
    let swap = Swap::Counted {
        limit: counters::limit(b"0\n").unwrap(),
        used: 0,
    };
    let info = meminfo(&Memory {
        swap,
        ..half_a_gib()
    });
    assert_eq!((info.swap_total, info.swap_free), (0, 0));
    let same = counters::swap_limit(512 * MIB, 512 * MIB);
    let info = meminfo(&Memory {
        swap: Swap::Counted {
            limit: same,
            used: 0,
        },
        ..half_a_gib()
    });
    assert_eq!((info.swap_total, info.swap_free), (0, 0));
}

#[test]
fn available_is_below_the_total() {
    let stat = MemoryStat {
        active_file: 400 * MIB,
        inactive_file: 400 * MIB,
        ..half_a_gib().stat
    };
    for usage in [0, MIB, 512 * MIB] {
        let info = meminfo(&Memory {
            usage,
            stat,
            ..half_a_gib()
        });
        assert!(info.mem_available.unwrap() < info.mem_total, "{usage}");
        assert!(info.mem_free <= info.mem_available.unwrap(), "{usage}");
    }
}

#[test]
fn available_is_never_more_than_the_host_can_give() {
    let host = host_meminfo();
    let huge = Memory {
        limit: host.mem_total - MIB,
        usage: 0,
        ..half_a_gib()
    };
    assert_eq!(meminfo(&huge).mem_available, host.mem_available);
}

fn cpuinfo(host: &str, list: &str, quota: &str) -> (CpuInfo, u32) {
    let list = CpuList::parse(list.as_bytes()).unwrap();
    let quota = parse_cpus::cpu_max(quota.as_bytes());
    let count = parse_cpus::count(list.count(), quota, Rounding::Up);
    let shown = text(|out| {
        render::cpuinfo::render(
            host.as_bytes(),
            &Cpus {
                count,
                list,
                quota,
                own: &[],
            },
            out,
        );
    });
    (
        CpuInfo::from_read(shown.as_bytes()).expect("a cpuinfo"),
        count,
    )
}

#[test]
fn cpuinfo_has_the_cpus_of_the_container() {
    for (list, quota, n) in [
        ("0-1", "max 100000", 2),
        ("0-1", "150000 100000", 2),
        ("0-1", "100000 100000", 1),
    ] {
        let (info, count) = cpuinfo(HOST_CPUINFO, list, quota);
        assert_eq!((info.num_cores(), count), (n as usize, n), "{list} {quota}");
        for cpu in 0..n as usize {
            assert_eq!(info.get_field(cpu, "processor"), Some(&*cpu.to_string()));
            let capped = |name| info.get_field(cpu, name).unwrap().parse::<u32>().unwrap() <= n;
            assert!(capped("siblings") && capped("cpu cores"));
            assert!(info.model_name(cpu).is_some() && info.flags(cpu).is_some());
        }
    }
}

#[test]
fn the_single_cpu_2_of_many_is_one_cpu() {
    let host = many_cpus(8);
    let (info, count) = cpuinfo(&host, "2", "max 100000");
    assert_eq!((info.num_cores(), count), (1, 1));
    assert_eq!(info.get_field(0, "processor"), Some("2"));
    assert_eq!(info.get_field(0, "apicid"), Some("2"));
}

#[test]
fn files_of_256_cpus_are_complete() {
    let host = many_cpus(256);
    let (info, count) = cpuinfo(&host, "0-255", "max 100000");
    assert_eq!((info.num_cores(), count), (256, 256));
    let tasks = Tasks::default();
    let rows = (0..256).map(|cpu| (cpu, [u64::from(cpu); 5]));
    let shown = text(|out| {
        render::stat::render(HOST_STAT.as_bytes(), rows.clone(), [0; 2], 1, &tasks, out)
    });
    assert_eq!(stat(&shown).cpu_time.len(), 256);
}

/// The fixture's first stanza, `n` times.
fn many_cpus(n: usize) -> String {
    let (stanza, _) = HOST_CPUINFO.split_once("\n\n").unwrap();
    let numbered = |cpu: usize| {
        let lines = stanza.lines().map(|line| match line.split_once(": ") {
            Some((name, _)) if name.starts_with("processor") || name.starts_with("apicid") => {
                format!("{name}: {cpu}\n")
            }
            _ => format!("{line}\n"),
        });
        lines.chain(["\n".to_owned()]).collect::<String>()
    };
    (0..n).map(numbered).collect()
}

fn stat(shown: &str) -> KernelStats {
    let system = ExplicitSystemInfo {
        boot_time_secs: 0,
        ticks_per_second: 100,
        page_size: 4096,
        is_little_endian: true,
    };
    KernelStats::from_read(shown.as_bytes(), &system).expect("a stat")
}

#[test]
fn stat_is_the_containers() {
    let tasks = Tasks {
        running: 3,
        blocked: 1,
        total: 9,
    };
    let rows = [[100, 5, 50, 1000, 20], [200, 6, 60, 900, 30]];
    let shown = text(|out| {
        render::stat::render(
            HOST_STAT.as_bytes(),
            (0..).zip(rows),
            [0; 2],
            1_800_000_000,
            &tasks,
            out,
        );
    });
    let (ours, host) = (stat(&shown), stat(HOST_STAT));
    assert_eq!(
        (ours.total.user, ours.total.nice, ours.total.system),
        (300, 11, 110)
    );
    assert_eq!((ours.total.idle, ours.total.steal), (1900, Some(50)));
    assert_eq!(
        (ours.total.iowait, ours.total.irq, ours.total.softirq),
        (Some(0), Some(0), Some(0))
    );
    assert_eq!(
        (ours.total.guest, ours.total.guest_nice),
        (Some(0), Some(0))
    );
    assert_eq!(ours.cpu_time.len(), 2);
    assert_eq!((ours.cpu_time[1].user, ours.cpu_time[1].idle), (200, 900));
    assert_eq!(
        (ours.btime, ours.procs_running, ours.procs_blocked),
        (1_800_000_000, Some(3), Some(1))
    );
    assert_eq!((ours.ctxt, ours.processes), (host.ctxt, host.processes));
    let other = |text: &str| -> Vec<String> {
        let ours = ["cpu", "btime", "procs_"];
        text.lines()
            .filter(|l| !ours.iter().any(|o| l.starts_with(o)))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(other(&shown), other(HOST_STAT));
}

#[test]
fn uptime_and_loadavg() {
    let shown = text(|out| render::uptime::render(86_400_129_999, 12_345, out));
    let uptime = Uptime::from_read(shown.as_bytes()).unwrap();
    assert_eq!((uptime.uptime, uptime.idle), (86400.12, 123.45));

    let tasks = Tasks {
        running: 2,
        blocked: 1,
        total: 7,
    };
    let shown = text(|out| {
        render::loadavg::render(
            b"9.99 9.99 9.99 9/999 4242\n",
            &Load([2048, 3072, 0]),
            &tasks,
            out,
        );
    });
    let load = LoadAverage::from_read(shown.as_bytes()).unwrap();
    assert_eq!((load.one, load.five, load.fifteen), (1.0, 1.5, 0.0));
    assert_eq!((load.cur, load.max, load.latest_pid), (2, 7, 4242));
}

/// 200 MB written and 100 MB read, on the fixture's disk.
const IO: BlockIo<'_> =
    BlockIo::V2(b"254:0 rbytes=100000000 wbytes=200000000 rios=400 wios=800 dbytes=0 dios=0\n");

#[test]
fn vmstat_is_the_containers() {
    let inputs = render::vmstat::Inputs {
        stat: half_a_gib().stat,
        free: 400 << 10,
        events: MemoryText::V2(b"pgfault 70\npgmajfault 7\n"),
        io: Some(render::diskstats::total(HOST_DISKSTATS.as_bytes(), IO)),
        swapped: Some(SwapTraffic {
            pages_in: 11,
            pages_out: 12,
        }),
        page: std::num::NonZero::new(4096).unwrap(),
    };
    let shown = text(|out| render::vmstat::render(HOST_VMSTAT.as_bytes(), &inputs, out));
    let VmStat(ours) = VmStat::from_read(shown.as_bytes()).unwrap();
    let VmStat(host) = VmStat::from_read(HOST_VMSTAT.as_bytes()).unwrap();
    assert_eq!((ours["pgpgin"], ours["pgpgout"]), (97_656, 195_312));
    assert_eq!((ours["pswpin"], ours["pswpout"]), (11, 12));
    assert_eq!((ours["pgfault"], ours["pgmajfault"]), (70, 7));
    assert_eq!(
        (ours["nr_anon_pages"], ours["nr_mapped"]),
        (90 << 8, 12 << 8)
    );
    assert_eq!(ours["nr_zone_write_pending"], 3 << 8);
    assert_eq!(ours.len(), host.len());
    assert_eq!(ours["nr_free_pages"], 400 << 8);
    for name in ["pgalloc_dma32", "pgfree", "numa_hit"] {
        assert_eq!(ours.get(name), host.get(name), "{name}");
    }
}

#[test]
fn diskstats_has_the_containers_io_on_the_hosts_disks() {
    let shown = text(|out| render::diskstats::render(HOST_DISKSTATS.as_bytes(), IO, out));
    let DiskStats(ours) = DiskStats::from_read(shown.as_bytes()).unwrap();
    let DiskStats(host) = DiskStats::from_read(HOST_DISKSTATS.as_bytes()).unwrap();
    assert_eq!(ours.len(), host.len());
    for (ours, host) in ours.iter().zip(&host) {
        assert_eq!(
            (ours.major, ours.minor, &ours.name),
            (host.major, host.minor, &host.name)
        );
        let [reads, sectors_read, writes, sectors_written] = if ours.name == "vda" {
            [400, 195_312, 800, 390_625]
        } else {
            [0; 4]
        };
        assert_eq!((ours.reads, ours.sectors_read), (reads, sectors_read));
        assert_eq!(
            (ours.writes, ours.sectors_written),
            (writes, sectors_written)
        );
        assert_eq!(
            (ours.in_progress, ours.time_in_progress, ours.flushes),
            (0, 0, host.flushes.map(|_| 0))
        );
    }
}

#[test]
fn pressure_is_the_cgroups_own() {
    let own = "some avg10=1.53 avg60=0.87 avg300=0.22 total=1234567\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n";
    let shown = text(|out| render::pressure::render(own.as_bytes(), out));
    assert_eq!(
        MemoryPressure::from_read(shown.as_bytes())
            .unwrap()
            .some
            .total,
        1_234_567
    );
}
