//! Benchmarks of the pure code: parsing the kernel's texts and rendering what a program reads, without a
//! system call. Run with `scripts/bench pure` or `cargo bench`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use proclens::cgroup::{Hierarchy, counters, mounts, parse_cpus};
use proclens::procfs::render::{cpuinfo, meminfo, task_stat};
use proclens::text::Out;
use proclens::values::{CpuList, Cpus, Memory};
use std::hint::black_box;

/// A `/proc/cpuinfo` as long as that of a machine with `count` CPUs.
fn cpuinfo_of(count: u32) -> Vec<u8> {
    let own = std::fs::read_to_string("/proc/cpuinfo").expect("/proc is mounted");
    let stanza = own.split("\n\n").next().expect("one CPU at least");
    (0..count)
        .map(|n| format!("{}\n\n", stanza.replacen(": 0", &format!(": {n}"), 1)))
        .collect::<String>()
        .into_bytes()
}

/// A mount table of `count` lines. The cgroup mount is the last line.
fn mounts_of(count: usize) -> Vec<u8> {
    let other = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n";
    let own = "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n";
    (other.repeat(count) + own).into_bytes()
}

fn pure(c: &mut Criterion) {
    let mut buffer = vec![0; 1 << 20];
    let host = std::fs::read("/proc/meminfo").expect("/proc is mounted");
    let memory = Memory {
        limit: 512 << 20,
        usage: 100 << 20,
        ..Memory::default()
    };
    c.bench_function("meminfo: render", |b| {
        b.iter(|| {
            let mut out = Out::new(&mut buffer);
            meminfo::render(black_box(&host), &memory, &mut out);
            out.finish().map(<[u8]>::len)
        });
    });

    let stat = b"anon 4096\nfile 8192\nkernel_stack 1\nslab_reclaimable 1\nslab_unreclaimable 2\n"
        .repeat(10);
    c.bench_function("memory.stat: parse", |b| {
        b.iter(|| counters::memory_stat(black_box(&stat)))
    });

    let mut group = c.benchmark_group("cpuinfo: render two of");
    for count in [2, 256] {
        let host = cpuinfo_of(count);
        let cpus = Cpus {
            count: 2,
            list: CpuList(b"0-1"),
            quota: None,
            own: &[],
        };
        group.throughput(Throughput::Bytes(host.len() as u64));
        group.bench_function(count.to_string(), |b| {
            b.iter(|| {
                let mut out = Out::new(&mut buffer);
                cpuinfo::render(black_box(&host), &cpus, &mut out);
                out.finish().map(<[u8]>::len)
            });
        });
    }
    group.finish();

    let table = mounts_of(4000);
    c.bench_function("mountinfo of 4,000 lines: find", |b| {
        b.iter(|| mounts::find(black_box(&table), Hierarchy::V2, b"/"));
    });

    c.bench_function("cpu.max: parse", |b| {
        b.iter(|| parse_cpus::cpu_max(black_box(b"150000 100000\n")))
    });

    let line = std::fs::read("/proc/self/stat").expect("/proc is mounted");
    c.bench_function("task stat: shift", |b| {
        b.iter(|| {
            let mut out = Out::new(&mut buffer);
            task_stat::render(black_box(&line), 1, &mut out)
        });
    });
}

criterion_group!(benches, pure);
criterion_main!(benches);
