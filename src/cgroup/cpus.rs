//! CPU lists (`cpuset.cpus.effective`, `/sys/devices/system/cpu/online`), bandwidth limits
//! (`cpu.max`, `cpu.cfs_*_us`), and the number of CPUs that follows from both.
#![forbid(unsafe_code)]

use core::ops::RangeInclusive;

use crate::snapshot::{CpuList, Quota, Rounding};
use crate::text::{Out, cut, decimal, fields, trim};

/// More CPUs than any kernel can be configured for (`CONFIG_NR_CPUS` ends at 8,192).
pub const MAX_CPUS: u32 = 1 << 16;

impl<'m> CpuList<'m> {
    /// The list in `text`, if it is one and names at least one CPU: ranges in ascending order
    /// below [`MAX_CPUS`], as `bitmap_print_to_pagebuf` writes them. An empty list is `None`:
    /// v1's `cpuset.cpus` of a cgroup that nobody has configured, where no task can be.
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

    /// The ranges of the list. Ends where the text stops being one.
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

/// Appends the list of the CPUs 0 to `count` - 1 as the kernel prints it, without a newline.
pub fn print_first(count: u32, out: &mut Out<'_>) {
    out.byte(b'0');
    if count > 1 {
        out.byte(b'-');
        out.decimal(u64::from(count.saturating_sub(1)));
    }
}

/// The number of CPUs that every file and call agrees on (NUMBERS section 2): what the quota
/// comes to in whole CPUs, at most the `allowed` ones of the cpuset, at least 1.
pub fn count(allowed: u32, quota: Option<Quota>, rounding: Rounding) -> u32 {
    let by_quota = quota.and_then(|q| whole(q, rounding)).unwrap_or(u64::MAX);
    u32::try_from(by_quota)
        .unwrap_or(u32::MAX)
        .min(allowed)
        .max(1)
}

/// A quota in whole CPUs; `None` for a period of 0.
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

    /// lxcfs and others took the 2 for a number of CPUs.
    #[test]
    fn the_single_cpu_2_is_one_cpu() {
        let two = CpuList::parse(b"2\n").unwrap();
        assert_eq!(two.count(), 1);
        assert!(two.contains(2) && !two.contains(0) && !two.contains(1));
        assert_eq!(count(two.count(), None, Rounding::Up), 1);
    }

    /// A snapshot is only text: what was never parsed must not loop or count beyond reason.
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
        for (n, text) in [(0, "0"), (1, "0"), (2, "0-1"), (256, "0-255")] {
            let mut room = [0; 16];
            let mut out = Out::new(&mut room);
            print_first(n, &mut out);
            assert_eq!(out.finish(), Some(text.as_bytes()));
        }
    }
}
