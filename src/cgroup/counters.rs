//! Single numbers and flat tables of the cgroup's files (`Documentation/admin-guide/cgroup-v2.rst`
//! and `cgroup-v1/{memory,cpuacct}.rst`; `kernel/sched/core.c` for `cpu.stat`).
#![forbid(unsafe_code)]

use crate::text::{cut, decimal, fields, lines, trim};
use crate::values::{Busy, CpuPressure, MemoryStat, MemoryText, PerCpu, SwapTraffic};

/// "No limit", in every unit.
pub const NO_LIMIT: u64 = u64::MAX;

/// A memory limit at or above this number means "no limit": v1 prints the largest number of whole pages
/// below 2^63 (9223372036854771712 with pages of 4 KiB), which depends on the page size.
const BEYOND_ANY_MEMORY: u64 = 1 << 62;

const NS_PER_US: u64 = 1_000;

/// A file that holds one number.
pub fn number(text: &[u8]) -> Option<u64> {
    decimal(trim(text))
}

/// A file that holds a limit of memory in bytes; `max`, -1 and v1's very large numbers are
/// [`NO_LIMIT`].
pub fn limit(text: &[u8]) -> Option<u64> {
    match trim(text) {
        b"max" | b"-1" => Some(NO_LIMIT),
        text => decimal(text).map(or_no_limit),
    }
}

fn or_no_limit(bytes: u64) -> u64 {
    if bytes < BEYOND_ANY_MEMORY {
        bytes
    } else {
        NO_LIMIT
    }
}

/// The swap that v1's two limits allow, in bytes: the second limit is for memory and swap together.
pub fn swap_limit(memory: u64, memory_and_swap: u64) -> u64 {
    if memory_and_swap == NO_LIMIT {
        NO_LIMIT
    } else {
        memory_and_swap.saturating_sub(memory)
    }
}

/// The lines `key value` of a flat table. Other lines are skipped.
pub fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], u64)> + Clone {
    lines(text).filter_map(|line| {
        let (key, value) = cut(line, b' ')?;
        Some((key, number(value)?))
    })
}

/// Parses v2's `memory.stat`. `None` if the text has another format.
pub fn memory_stat(text: &[u8]) -> Option<MemoryStat> {
    let mut stat = MemoryStat::of(pairs(text), true)?;
    // Kernels before 5.10 have no sum.
    if stat.slab == 0 {
        stat.slab = stat
            .slab_reclaimable
            .saturating_add(stat.slab_unreclaimable);
    }
    Some(stat)
}

/// The content of v1's `memory.stat`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryStatV1 {
    /// The counters of the cgroup and all below it (`total_*`), in the names of v2.
    pub stat: MemoryStat,
    /// Bytes in swap; `None` where the kernel does not account swap.
    pub swap: Option<u64>,
    /// The tightest memory limit over all ancestors, visible or not.
    pub limit: u64,
    /// The same for memory and swap together.
    pub limit_with_swap: u64,
}

/// Parses v1's `memory.stat`. `None` if the text has another format.
pub fn memory_stat_v1(text: &[u8]) -> Option<MemoryStatV1> {
    let (mut swap, mut limit, mut limit_with_swap) = (None, None, NO_LIMIT);
    let pairs = pairs(text).inspect(|(key, bytes)| match *key {
        b"total_swap" => swap = Some(*bytes),
        b"hierarchical_memory_limit" => limit = Some(or_no_limit(*bytes)),
        b"hierarchical_memsw_limit" => limit_with_swap = or_no_limit(*bytes),
        _ => {}
    });
    let stat = MemoryStat::of(pairs, false);
    if stat.is_none() && limit.is_none() {
        return None;
    }
    Some(MemoryStatV1 {
        stat: stat.unwrap_or_default(),
        swap,
        limit: limit.unwrap_or(NO_LIMIT),
        limit_with_swap,
    })
}

impl<'m> MemoryText<'m> {
    /// Its counters, in the names of v2.
    pub fn counters(self) -> impl Iterator<Item = (&'m [u8], u64)> + Clone {
        let (text, prefix): (&'m [u8], &[u8]) = match self {
            MemoryText::V2(text) => (text, b""),
            MemoryText::V1(text) => (text, b"total_"),
        };
        pairs(text).filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value)))
    }

    /// The counter that v2 calls `name`.
    pub fn counter(self, name: &[u8]) -> Option<u64> {
        self.counters()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// Pages swapped in, and out where the kernel reports them (`pswpin` and `pswpout`, Linux 6.13).
    /// Before that, the pages swapped in are the refaults of evicted anonymous pages.
    pub fn swapped(self) -> (u64, Option<u64>) {
        let pages_in = self
            .counter(b"pswpin")
            .or_else(|| self.counter(b"workingset_refault_anon"));
        (pages_in.unwrap_or(0), self.counter(b"pswpout"))
    }
}

impl SwapTraffic {
    /// The traffic at a later reading, on kernels that count only one direction: pages that are in swap
    /// now and were not before, and pages that came back in between, were swapped out. Pages that are freed
    /// without being read do not lower the count.
    ///
    /// `used_before` and `used` are the pages in swap then and now.
    pub fn later(self, pages_in: u64, used_before: u64, used: u64) -> SwapTraffic {
        let pages_in = pages_in.max(self.pages_in);
        let came_back = pages_in.saturating_sub(self.pages_in);
        let went = used.saturating_add(came_back).saturating_sub(used_before);
        SwapTraffic {
            pages_in,
            pages_out: self.pages_out.saturating_add(went),
        }
    }
}

/// `cpu.stat` of either version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuStat {
    /// CPU time used; v2 only.
    pub busy: Option<Busy>,
    /// Periods in which the quota ran out.
    pub nr_throttled: u64,
    /// Throttled time, summed over the host's CPUs, microseconds.
    pub throttled_us: u64,
}

/// What the CPU controllers of one cgroup count.
pub struct CpuCounters<'m> {
    /// CPU time used.
    pub busy: Busy,
    /// CPU time used on each CPU, where the kernel reports it.
    pub per_cpu: Option<PerCpu<'m>>,
    /// How long the cgroup was throttled, if the same file has that.
    pub throttled: Option<CpuStat>,
    /// How long the cgroup's tasks waited for CPUs, where the kernel counts that.
    pub pressure: Option<CpuPressure>,
}

/// `cpu.stat`: v2 counts microseconds, v1 nanoseconds under other names.
pub fn cpu_stat(text: &[u8]) -> CpuStat {
    let (mut user, mut nice, mut system) = (None, 0, None);
    let (mut nr_throttled, mut throttled_us) = (0, 0);
    for (key, value) in pairs(text) {
        match key {
            b"user_usec" => user = Some(value),
            b"nice_usec" => nice = value,
            b"system_usec" => system = Some(value),
            b"nr_throttled" => nr_throttled = value,
            b"throttled_usec" => throttled_us = value,
            b"throttled_time" => throttled_us = value / NS_PER_US,
            _ => {}
        }
    }
    let busy = user.zip(system).map(|(user, system_us)| Busy {
        user_us: user.saturating_sub(nice),
        nice_us: nice.min(user),
        system_us,
    });
    CpuStat {
        busy,
        nr_throttled,
        throttled_us,
    }
}

/// CPU time of v1: `usage_us`, which the scheduler measures, split in the ratio of `user`
/// and `system`, which the timer interrupt samples. The kernel does the same for tasks and for v2
/// (`cputime_adjust` of `kernel/sched/cputime.c`). The samples alone are up to 6 % too high where a quota
/// runs out, because the same interrupt detects that.
fn split(usage_us: u64, user: u64, system: u64) -> Busy {
    let both = u128::from(user).saturating_add(u128::from(system));
    let system_us = u128::from(usage_us)
        .saturating_mul(u128::from(system))
        .checked_div(both)
        .and_then(|us| u64::try_from(us).ok())
        .unwrap_or(0);
    Busy {
        user_us: usage_us.saturating_sub(system_us),
        nice_us: 0,
        system_us,
    }
}

/// v1's `cpuacct.usage` (nanoseconds) and `cpuacct.stat` (USER_HZ ticks).
pub fn cpuacct(usage: &[u8], stat: &[u8]) -> Option<Busy> {
    let ticks = |name: &[u8]| pairs(stat).find(|&(key, _)| key == name);
    let ((_, user), (_, system)) = (ticks(b"user")?, ticks(b"system")?);
    Some(split(number(usage)? / NS_PER_US, user, system))
}

impl<'m> PerCpu<'m> {
    /// The CPUs, each with its number. Ends at the first malformed line.
    pub fn rows(self) -> impl Iterator<Item = (u64, Busy)> + Clone + use<'m> {
        lines(self.sampled)
            .skip(1)
            .zip(fields(trim(self.measured)))
            .map_while(|(line, usage)| {
                let mut row = fields(line).map(decimal);
                let (cpu, user, system) = (row.next()??, row.next()??, row.next()??);
                Some((cpu, split(decimal(usage)? / NS_PER_US, user, system)))
            })
    }

    /// The sum over all CPUs. `None` if either text is malformed or incomplete.
    pub fn sum(self) -> Option<Busy> {
        let (head, rows) = cut(self.sampled, b'\n').filter(|(_, rows)| !rows.is_empty())?;
        let mut sum = Busy::default();
        let mut count = 0usize;
        for (_, cpu) in self.rows() {
            sum.user_us = sum.user_us.saturating_add(cpu.user_us);
            sum.system_us = sum.system_us.saturating_add(cpu.system_us);
            count = count.saturating_add(1);
        }
        let whole = lines(rows).count() == count && fields(trim(self.measured)).count() == count;
        (head == b"cpu user system" && whole).then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        assert_eq!(limit(b"536870912\n"), Some(536_870_912));
        assert_eq!(limit(b"0\n"), Some(0));
        assert_eq!(limit(b"1"), Some(1));
        for none in [
            "max\n",
            "-1\n",
            "9223372036854771712\n",
            "9223372036854710272",
            "9223372036854775807",
            "18446744073709551615",
            "99999999999999999999999",
        ] {
            assert_eq!(limit(none.as_bytes()), Some(NO_LIMIT), "{none}");
        }
        for garbage in ["", "\n", "-5", "1 2", "1k", "maximum", "0x10"] {
            assert_eq!(limit(garbage.as_bytes()), None, "{garbage}");
        }
    }

    /// A limit of 2 GiB and more overflowed an `int` elsewhere.
    #[test]
    fn two_gib_and_v1_unlimited_are_no_overflow() {
        assert_eq!(limit(b"2147483648\n"), Some(1 << 31));
        assert_eq!(limit(b"4294967296\n"), Some(1 << 32));
        assert_eq!(limit(b"9223372036854771712\n"), Some(NO_LIMIT));
    }

    #[test]
    fn swap_of_v1_is_the_difference() {
        assert_eq!(swap_limit(512, 768), 256);
        assert_eq!(swap_limit(512, 512), 0);
        assert_eq!(swap_limit(512, 256), 0);
        assert_eq!(swap_limit(NO_LIMIT, NO_LIMIT), NO_LIMIT);
        assert_eq!(swap_limit(512, NO_LIMIT), NO_LIMIT);
    }

    #[test]
    fn memory_of_v2() {
        let stat = memory_stat(
            b"anon 4096\nfile 8192\nslab_reclaimable 1\nslab_unreclaimable 2\nfoo x\nshmem\n",
        )
        .unwrap();
        assert_eq!(
            (stat.anon, stat.file, stat.slab, stat.shmem),
            (4096, 8192, 3, 0)
        );
        assert_eq!(
            memory_stat(b"slab_reclaimable 9\nslab 7\n").unwrap().slab,
            7
        );
        assert_eq!(memory_stat(b""), None);
        assert_eq!(memory_stat(b"garbage\n"), None);
    }

    #[test]
    fn memory_of_v1() {
        let v1 = memory_stat_v1(
            b"cache 1\nrss 1\nhierarchical_memory_limit 536870912\n\
              hierarchical_memsw_limit 9223372036854771712\ntotal_cache 4096\ntotal_rss 8192\ntotal_swap 5\n",
        )
        .unwrap();
        assert_eq!((v1.stat.file, v1.stat.anon, v1.swap), (4096, 8192, Some(5)));
        assert_eq!((v1.limit, v1.limit_with_swap), (536_870_912, NO_LIMIT));
        assert_eq!(memory_stat_v1(b"total_rss 1\n").unwrap().swap, None);
        assert_eq!(memory_stat_v1(b"rss 1\n"), None);
    }

    #[test]
    fn counters_by_name() {
        let v2 = MemoryText::V2(b"pgfault 7\npgmajfault 1\nworkingset_refault_anon 3\n");
        assert_eq!(
            (v2.counter(b"pgfault"), v2.counter(b"pgscan")),
            (Some(7), None)
        );
        assert_eq!(v2.swapped(), (3, None));
        let v1 = MemoryText::V1(b"pgfault 5\ntotal_pgfault 7\n");
        assert_eq!(v1.counter(b"pgfault"), Some(7));
        assert_eq!(v1.swapped(), (0, None));
        let new = MemoryText::V2(b"pswpin 4\npswpout 9\nworkingset_refault_anon 3\n");
        assert_eq!(new.swapped(), (4, Some(9)));
    }

    #[test]
    fn pages_swapped_out_never_step_back() {
        let start = SwapTraffic::default();
        let full = start.later(0, 0, 100);
        assert_eq!(
            full,
            SwapTraffic {
                pages_in: 0,
                pages_out: 100
            }
        );
        let churned = full.later(30, 100, 100);
        assert_eq!(
            churned,
            SwapTraffic {
                pages_in: 30,
                pages_out: 130
            }
        );
        let read_back = churned.later(50, 100, 80);
        assert_eq!(
            read_back,
            SwapTraffic {
                pages_in: 50,
                pages_out: 130
            }
        );
        let freed = read_back.later(50, 80, 0);
        assert_eq!(freed, read_back);
        assert_eq!(freed.later(10, 0, 0), freed);
    }

    #[test]
    fn cpu_time_of_v2() {
        let stat = cpu_stat(
            b"usage_usec 30\nuser_usec 20\nsystem_usec 10\nnice_usec 5\nnr_periods 9\nnr_throttled 4\nthrottled_usec 77\n",
        );
        assert_eq!(
            stat.busy,
            Some(Busy {
                user_us: 15,
                nice_us: 5,
                system_us: 10
            })
        );
        assert_eq!((stat.nr_throttled, stat.throttled_us), (4, 77));
        let torn = cpu_stat(b"user_usec 1\nnice_usec 2\nsystem_usec 0\n");
        assert_eq!(
            torn.busy,
            Some(Busy {
                user_us: 0,
                nice_us: 1,
                system_us: 0
            })
        );
    }

    #[test]
    fn cpu_time_of_v1() {
        let stat = cpu_stat(b"nr_periods 9\nnr_throttled 4\nthrottled_time 77999\n");
        assert_eq!(
            stat,
            CpuStat {
                busy: None,
                nr_throttled: 4,
                throttled_us: 77
            }
        );
    }

    fn busy(user_us: u64, system_us: u64) -> Busy {
        Busy {
            user_us,
            nice_us: 0,
            system_us,
        }
    }

    #[test]
    fn usage_is_split_by_the_sampled_user_and_system_time() {
        let stat = b"user 30\nsystem 10\n";
        assert_eq!(cpuacct(b"390000999\n", stat), Some(busy(292_500, 97_500)));
        assert_eq!(cpuacct(b"7000\n", b"user 0\nsystem 0\n"), Some(busy(7, 0)));
        assert_eq!(cpuacct(b"7000\n", b"user 0\nsystem 1\n"), Some(busy(0, 7)));
        let most = format!("user {0}\nsystem {0}\n", u64::MAX);
        let half = u64::MAX / 1000 / 2;
        let split = cpuacct(b"18446744073709551615", most.as_bytes());
        assert_eq!(split, Some(busy(half + 1, half)));
        assert_eq!(cpuacct(b"x", stat), None);
        assert_eq!(cpuacct(b"1", b"user 9101\n"), None);
    }

    #[test]
    fn cpu_time_of_each_cpu_of_v1() {
        let sampled = b"cpu user system\n0 3000 1000\n2 0 0\n";
        let cpus = PerCpu {
            sampled,
            measured: b"3900000 5000 \n",
        };
        let rows: Vec<_> = cpus.rows().collect();
        assert_eq!(rows, [(0, busy(2925, 975)), (2, busy(5, 0))]);
        assert_eq!(cpus.sum(), Some(busy(2930, 975)));
        for (sampled, measured) in [
            ("", ""),
            ("cpu user system\n", ""),
            ("cpu user\n0 1 2\n", "1"),
            ("cpu user system\n0 1\n", "1"),
            ("cpu user system\n0 1 2\n", ""),
            ("cpu user system\n0 1 2\n", "x"),
            ("cpu user system\n0 1 2\n", "1 2 \n"),
            ("cpu user system\n0 1 2\n1 1 2\n", "1 \n"),
        ] {
            let (sampled, measured) = (sampled.as_bytes(), measured.as_bytes());
            assert_eq!(PerCpu { sampled, measured }.sum(), None);
        }
    }
}
