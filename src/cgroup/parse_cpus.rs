//! CPU lists (`cpuset.cpus.effective`, `/sys/devices/system/cpu/online`), bandwidth limits
//! (`cpu.max`, `cpu.cfs_*_us`), and the number of CPUs that follows from both.
#![forbid(unsafe_code)]

use core::ops::RangeInclusive;

use crate::text::{Out, cut, decimal, fields, trim};
use crate::values::{CpuList, Cpus, Quota, Rounding};

/// More CPUs than any kernel can be configured for (`CONFIG_NR_CPUS` ends at 8,192).
pub const MAX_CPUS: u32 = 1 << 16;

impl<'m> CpuList<'m> {
    /// Parses the list in `text`. It must name at least one CPU, in ranges in ascending order below
    /// [`MAX_CPUS`], as `bitmap_print_to_pagebuf` writes them. An empty list is `None`: v1's
    /// `cpuset.cpus` is empty in a cgroup that is not configured yet and cannot hold a task.
    pub fn parse(text: &'m [u8]) -> Option<Self> {
        let list = CpuList(trim(text));
        let mut after = 0;
        for part in list.0.split(|&b| b == b',') {
            let range = parse_range(part)?;
            if *range.start() < after {
                return None;
            }
            after = range.end().saturating_add(1);
        }
        Some(list)
    }

    /// The ranges of the list. Stops at the first text that is not a range.
    pub fn ranges(self) -> impl Iterator<Item = RangeInclusive<u32>> + Clone + use<'m> {
        self.0.split(|&b| b == b',').map_while(parse_range)
    }

    /// The CPUs of the list, in its order.
    pub fn iter(self) -> impl Iterator<Item = u32> + Clone + use<'m> {
        self.ranges().flatten()
    }

    /// How many CPUs the list names.
    pub fn count(self) -> u32 {
        self.ranges().fold(0, |sum: u32, range| {
            let more = range.end().saturating_sub(*range.start()).saturating_add(1);
            sum.saturating_add(more)
        })
    }

    /// True if the list names `cpu`.
    pub fn contains(self, cpu: u32) -> bool {
        self.ranges().any(|range| range.contains(&cpu))
    }
}

/// `8` or `0-3`.
fn parse_range(part: &[u8]) -> Option<RangeInclusive<u32>> {
    let (first, last) = cut(part, b'-').unwrap_or((part, part));
    let cpu = |text| {
        decimal(text)
            .and_then(|n| u32::try_from(n).ok())
            .filter(|&n| n < MAX_CPUS)
    };
    let range = cpu(first)?..=cpu(last)?;
    (!range.is_empty()).then_some(range)
}

impl<'m> Cpus<'m> {
    /// The CPUs that the container shows, `count` allowed CPUs with the kernel's numbers: first the CPUs
    /// of the thread's own mask, then the others.
    pub fn shown(&self) -> impl Iterator<Item = u32> + Clone + use<'m> {
        let own = self.own;
        let is_own = move |cpu: u32| {
            let byte = own.get(cpu as usize / 8);
            byte.is_some_and(|byte| byte.wrapping_shr(cpu % 8) & 1 == 1)
        };
        let has = self.list.iter().filter(|cpu| is_own(*cpu)).count();
        let mut own_left = u32::try_from(has).unwrap_or(u32::MAX).min(self.count);
        let mut others_left = self.count.saturating_sub(own_left);
        self.list.iter().filter(move |cpu| {
            let left = if is_own(*cpu) {
                &mut own_left
            } else {
                &mut others_left
            };
            let shows = *left > 0;
            *left = left.saturating_sub(1);
            shows
        })
    }

    /// True if some allowed CPUs are hidden.
    pub fn hides_some(&self) -> bool {
        self.count < self.list.count()
    }
}

/// Looks up CPUs in ascending order in a list in ascending order, in one pass over both.
pub struct Walk<I> {
    next: Option<u32>,
    rest: I,
}

impl<I: Iterator<Item = u32>> Walk<I> {
    /// Starts at the first CPU of `list`.
    pub fn new(mut list: I) -> Self {
        Walk {
            next: list.next(),
            rest: list,
        }
    }

    /// Removes the next CPU from the list and returns it.
    pub fn pass(&mut self) -> Option<u32> {
        core::mem::replace(&mut self.next, self.rest.next())
    }

    /// True if the list has `cpu`. Each call must pass a larger CPU than the calls before it.
    pub fn contains(&mut self, cpu: u32) -> bool {
        while self.next.is_some_and(|next| next < cpu) {
            self.pass();
        }
        self.next == Some(cpu)
    }
}

/// Appends a list of CPUs in ascending order as the kernel prints it (`%*pbl`), without a newline.
pub fn print_list(cpus: impl Iterator<Item = u32>, out: &mut Out<'_>) {
    let mut separator: &[u8] = b"";
    let mut print = |run: Option<(u32, u32)>| {
        let Some((first, last)) = run else { return };
        out.bytes(core::mem::replace(&mut separator, b","));
        out.decimal(u64::from(first));
        if last > first {
            out.byte(b'-');
            out.decimal(u64::from(last));
        }
    };
    let mut run: Option<(u32, u32)> = None;
    for cpu in cpus {
        match &mut run {
            Some((_, last)) if last.checked_add(1) == Some(cpu) => *last = cpu,
            _ => print(run.replace((cpu, cpu))),
        }
    }
    print(run);
}

/// The number of CPUs that every file and call reports (NUMBERS section 2): the quota in whole CPUs, at
/// most the `allowed` CPUs of the cpuset, and at least 1.
pub fn count(allowed: u32, quota: Option<Quota>, rounding: Rounding) -> u32 {
    let by_quota = quota.and_then(|q| whole(q, rounding)).unwrap_or(u64::MAX);
    u32::try_from(by_quota)
        .unwrap_or(u32::MAX)
        .min(allowed)
        .max(1)
}

/// Rounds a quota to whole CPUs. `None` for a period of 0.
fn whole(quota: Quota, rounding: Rounding) -> Option<u64> {
    let full = quota.quota_us.checked_div(quota.period_us)?;
    let rest = quota.quota_us.checked_rem(quota.period_us)?;
    let one_more = match rounding {
        Rounding::Up => rest > 0,
        Rounding::Nearest => rest >= quota.period_us.wrapping_sub(rest),
        Rounding::Down => false,
    };
    Some(full.saturating_add(u64::from(one_more)))
}

/// The tighter of two limits, by the share of a CPU that each allows.
pub fn tighter(a: Option<Quota>, b: Option<Quota>) -> Option<Quota> {
    let (Some(x), Some(y)) = (a, b) else {
        return a.or(b);
    };
    // x.quota / x.period <= y.quota / y.period, without the rounding of a division.
    let cross = |q: Quota, r: Quota| u128::from(q.quota_us).wrapping_mul(u128::from(r.period_us));
    if cross(x, y) <= cross(y, x) { a } else { b }
}

/// v2's `cpu.max`: `150000 100000`, microseconds. `max` is no limit.
pub fn cpu_max(text: &[u8]) -> Option<Quota> {
    let mut fields = fields(trim(text));
    quota(decimal(fields.next()?)?, decimal(fields.next()?)?)
}

/// v1's `cpu.cfs_quota_us` and `cpu.cfs_period_us`. A quota of -1 is no limit.
pub fn cfs(quota_us: &[u8], period_us: &[u8]) -> Option<Quota> {
    quota(decimal(trim(quota_us))?, decimal(trim(period_us))?)
}

fn quota(quota_us: u64, period_us: u64) -> Option<Quota> {
    (quota_us > 0 && period_us > 0).then_some(Quota {
        quota_us,
        period_us,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &[u8]) -> Option<Vec<u32>> {
        CpuList::parse(text).map(|l| l.iter().collect())
    }

    #[test]
    fn lists() {
        assert_eq!(list(b"0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(list(b"0\n"), Some(vec![0]));
        for garbage in [
            &b""[..],
            b"\n",
            b"x",
            b"1-",
            b"-1",
            b"3-1",
            b"0,,2",
            b"2,1",
            b"0-3,3",
            b"0-4294967295",
            b"65536",
            b"1 2",
        ] {
            assert_eq!(list(garbage), None, "{garbage:?}");
        }
    }

    /// lxcfs and other tools read the list `2` as a count of two CPUs.
    #[test]
    fn the_single_cpu_2_is_one_cpu() {
        let two = CpuList::parse(b"2\n").unwrap();
        assert_eq!(two.count(), 1);
        assert!(two.contains(2) && !two.contains(0) && !two.contains(1));
        assert_eq!(count(two.count(), None, Rounding::Up), 1);
    }

    /// `CpuList` can hold text that was never parsed. Iteration must stop at malformed text and must
    /// not count an absurd number of CPUs.
    #[test]
    fn an_unchecked_list_ends_at_the_garbage() {
        assert_eq!(
            CpuList(b"0-1,5-4294967295,7").iter().collect::<Vec<_>>(),
            [0, 1]
        );
        assert_eq!(CpuList(b"").count(), 0);
    }

    #[test]
    fn no_cpuset_is_never_0_cpus() {
        assert_eq!(count(0, None, Rounding::Up), 1);
        assert_eq!(count(0, cpu_max(b"50000 100000"), Rounding::Down), 1);
    }

    #[test]
    fn rounding_of_a_quota() {
        let n = |quota_us, rounding| {
            count(
                64,
                Some(Quota {
                    quota_us,
                    period_us: 100_000,
                }),
                rounding,
            )
        };
        for (quota_us, up, nearest, down) in [
            (1, 1, 1, 1),
            (100_000, 1, 1, 1),
            (100_001, 2, 1, 1),
            (149_999, 2, 1, 1),
            (150_000, 2, 2, 1),
            (199_999, 2, 2, 1),
            (200_000, 2, 2, 2),
            (u64::MAX, 64, 64, 64),
        ] {
            let all = [
                n(quota_us, Rounding::Up),
                n(quota_us, Rounding::Nearest),
                n(quota_us, Rounding::Down),
            ];
            assert_eq!(all, [up, nearest, down], "{quota_us}");
        }
        let extreme = Quota {
            quota_us: u64::MAX,
            period_us: u64::MAX,
        };
        assert_eq!(count(8, Some(extreme), Rounding::Nearest), 1);
        assert_eq!(
            count(
                8,
                Some(Quota {
                    period_us: 0,
                    ..extreme
                }),
                Rounding::Up
            ),
            8
        );
    }

    #[test]
    fn quotas() {
        assert_eq!(
            cpu_max(b"150000 100000\n"),
            Some(Quota {
                quota_us: 150_000,
                period_us: 100_000
            })
        );
        assert_eq!(cfs(b"150000\n", b"100000\n"), cpu_max(b"150000 100000\n"));
        assert_eq!(cfs(b"-1\n", b"100000\n"), None);
        for none in [
            &b"max 100000\n"[..],
            b"",
            b"max",
            b"5",
            b"0 100000",
            b"5 0",
            b"-5 100000",
            b"x y",
        ] {
            assert_eq!(cpu_max(none), None, "{none:?}");
        }
    }

    #[test]
    fn the_tighter_quota_by_share_not_by_quota() {
        let parent = cpu_max(b"50000 100000");
        let child = cpu_max(b"40000 50000");
        assert_eq!(tighter(parent, child), parent);
        assert_eq!(tighter(child, parent), parent);
        assert_eq!(tighter(None, child), child);
        assert_eq!(tighter(parent, None), parent);
        assert_eq!(tighter(None, None), None);
    }

    #[test]
    fn printed_lists() {
        for text in [
            "",
            "0",
            "7",
            "0-1",
            "1-3,5,7-8",
            "0,2,4",
            "0-255",
            "1023-1025,8191",
        ] {
            let mut buffer = [0; 32];
            let mut out = Out::new(&mut buffer);
            print_list(CpuList(text.as_bytes()).iter(), &mut out);
            assert_eq!(out.finish(), Some(text.as_bytes()));
        }
    }

    #[test]
    fn the_first_allowed_cpus_are_shown() {
        let shown = |count, list| shown(count, list, &[]);
        assert_eq!(shown(2, "2-3"), [2, 3]);
        assert_eq!(shown(3, "1,5-9,2047"), [1, 5, 6]);
        assert_eq!(shown(9, "1,2047"), [1, 2047]);
    }

    fn shown(count: u32, list: &'static str, own: &[u8]) -> Vec<u32> {
        let cpus = Cpus {
            count,
            list: CpuList(list.as_bytes()),
            quota: None,
            own,
        };
        cpus.shown().collect()
    }

    #[test]
    fn the_threads_own_cpus_are_shown_first() {
        // A mask that has the first CPUs changes nothing.
        for own in [&[0b1111_1111][..], &[0b11], &[0b1], &[0b10], &[]] {
            assert_eq!(shown(2, "0-7", own), [0, 1], "{own:?}");
        }
        assert_eq!(shown(2, "0-7", &[0b0010_0000]), [0, 5]);
        assert_eq!(shown(1, "0-7", &[0b0010_0000]), [5]);
        assert_eq!(shown(2, "0-7", &[0b1110_0000]), [5, 6]);
        assert_eq!(shown(3, "0-7,9", &[0b1000_0010, 0b10]), [1, 7, 9]);
        // CPUs of the mask that are not allowed, or not in the list.
        assert_eq!(shown(2, "2-3,70", &[0b0000_0001]), [2, 3]);
        assert_eq!(shown(2, "2-3,70", &[0, 0, 0, 0, 0, 0, 0, 0, 64]), [2, 70]);
        assert_eq!(shown(9, "2-3", &[0b0000_1000]), [2, 3]);
    }
}
