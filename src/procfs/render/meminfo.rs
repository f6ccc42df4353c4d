//! `/proc/meminfo` (`fs/proc/meminfo.c`), and the same figures for `sysinfo()` and
//! `sysconf()`. Rules: NUMBERS section 4. Unit: kB of 1,024 bytes, rounded down.
#![forbid(unsafe_code)]

use super::{Entry, copy};
use crate::text::{Out, cut, lines};
use crate::values::{Memory, MemoryStat, Swap};

/// The kernel pads the numbers to this width (`show_val_kb`).
pub(super) const WIDTH: usize = 8;

/// The figures that all memory files and calls share, in kB as `/proc/meminfo` prints them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// MemTotal: the limit, at most the memory of the host.
    pub total: u64,
    /// MemFree: the memory that can still be charged, at most [`Figures::available`].
    pub free: u64,
    /// MemAvailable: the memory that can still be charged, plus what the container's page cache and
    /// slabs can give back, at most what the host can give. It is below the total, because `free`
    /// rejects a larger value.
    pub available: u64,
    /// Buffers.
    pub buffers: u64,
    /// Shmem.
    pub shared: u64,
    /// SwapTotal: the swap that the limits allow, at most the swap of the host.
    pub swap_total: u64,
    /// SwapFree, at most the free swap of the host.
    pub swap_free: u64,
}

/// The values that are needed from the host's file.
#[derive(Default)]
struct Host {
    total: Option<u64>,
    available: Option<u64>,
    swap_total: u64,
    swap_free: u64,
}

impl Host {
    fn parse(text: &[u8]) -> Self {
        let mut host = Host::default();
        for line in lines(text) {
            // Only four of some fifty lines are needed, so parse the numbers of only these.
            let number = || kb_entry(line).map(|entry| entry.value());
            match cut(line, b':').map(|(name, _)| name) {
                Some(b"MemTotal") => host.total = number(),
                Some(b"MemAvailable") => host.available = number(),
                Some(b"SwapTotal") => host.swap_total = number().unwrap_or(0),
                Some(b"SwapFree") => {
                    host.swap_free = number().unwrap_or(0);
                    // SwapFree is the last of the four lines in every kernel.
                    break;
                }
                _ => {}
            }
        }
        host
    }
}

/// Computes the figures of the container; `host` is the kernel's `/proc/meminfo`. `None` if the text
/// lacks MemTotal.
pub fn figures(host: &[u8], memory: &Memory) -> Option<Figures> {
    let host = Host::parse(host);
    let host_total = host.total?;
    let room = memory.room;
    let total = kb(memory.limit).min(host_total);
    let headroom = total.saturating_sub(kb(memory.usage));
    let available = headroom
        .saturating_add(kb(memory.stat.reclaimable()))
        .min(kb(room.available))
        .min(host.available.unwrap_or(host_total))
        .min(total.saturating_sub(1));
    let (swap_total, swap_free) = match memory.swap {
        Swap::Unaccounted => (host.swap_total, host.swap_free.min(host.swap_total)),
        Swap::Counted { limit, used } => {
            let total = kb(limit).min(host.swap_total);
            let free = total.saturating_sub(kb(used)).min(kb(room.swap));
            (total, free.min(host.swap_free))
        }
    };
    Some(Figures {
        total,
        free: headroom.min(kb(room.free)).min(available),
        available,
        buffers: 0,
        shared: kb(memory.stat.shmem),
        swap_total,
        swap_free,
    })
}

/// Renders `/proc/meminfo`; `host` is the kernel's text.
pub fn render(host: &[u8], memory: &Memory, out: &mut Out<'_>) {
    let Some(figures) = figures(host, memory) else {
        return out.bytes(host);
    };
    for line in lines(host) {
        let known = kb_entry(line).and_then(|entry| {
            let value = value(entry.name, entry.value(), &figures, &memory.stat)?;
            Some((entry, value))
        });
        match known {
            Some((entry, value)) => entry.print_aligned(value, WIDTH, out),
            None => copy(line, out),
        }
    }
}

/// Parses a line that has a number of kB.
pub(super) fn kb_entry(line: &[u8]) -> Option<Entry<'_>> {
    Entry::parse(line).filter(|entry| entry.after == b" kB")
}

/// The container's value of the line `name` in kB; `host` is the host's value. `None` if the host's
/// line stays.
pub(super) fn value(name: &[u8], host: u64, figures: &Figures, stat: &MemoryStat) -> Option<u64> {
    let commit_limit = figures.total.saturating_add(figures.swap_total);
    let bytes = match name {
        b"MemTotal" => return Some(figures.total),
        b"MemFree" => return Some(figures.free),
        b"MemAvailable" => return Some(figures.available),
        b"Buffers" => return Some(figures.buffers),
        b"SwapTotal" => return Some(figures.swap_total),
        b"SwapFree" => return Some(figures.swap_free),
        b"CommitLimit" => return Some(commit_limit),
        b"Committed_AS" => return Some(host.max(kb(stat.anon)).min(commit_limit)),
        b"Mlocked" => return Some(mlocked(host, stat)),
        b"Active" => return Some(sum([kb(stat.active_anon), kb(stat.active_file)])),
        b"Inactive" => return Some(sum([kb(stat.inactive_anon), kb(stat.inactive_file)])),
        b"KReclaimable" => stat.slab_reclaimable,
        _ => stat.meminfo_line(name)?,
    };
    Some(kb(bytes))
}

/// Computes Mlocked in kB. The cgroup counts only unevictable memory, which includes mlocked memory. So
/// the value is at most `host`, the value of the host.
pub(super) fn mlocked(host: u64, stat: &MemoryStat) -> u64 {
    host.min(kb(stat.unevictable))
}

fn kb(bytes: u64) -> u64 {
    bytes / 1024
}

fn sum<const N: usize>(parts: [u64; N]) -> u64 {
    parts.into_iter().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Room;

    const HOST: &[u8] = b"MemTotal:       263847340 kB\n\
        MemFree:        23471868 kB\n\
        MemAvailable:   24200148 kB\n\
        Buffers:           12284 kB\n\
        Cached:           896900 kB\n\
        SwapTotal:       1048572 kB\n\
        SwapFree:        1000000 kB\n\
        Mlocked:           15096 kB\n\
        AnonPages:        149604 kB\n\
        CommitLimit:    12341208 kB\n\
        Committed_AS:     297008 kB\n\
        VmallocTotal:   34359738367 kB\n\
        HugePages_Total:       0\n";

    fn memory(limit: u64, usage: u64) -> Memory {
        Memory {
            limit,
            usage,
            ..Memory::default()
        }
    }

    fn text(host: &[u8], memory: &Memory) -> String {
        let mut buffer = [0; 4096];
        let mut out = Out::new(&mut buffer);
        render(host, memory, &mut out);
        String::from_utf8(out.finish().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn half_a_gib_with_swap() {
        let memory = Memory {
            limit: 512 << 20,
            usage: 100 << 20,
            swap: Swap::Counted {
                limit: 256 << 20,
                used: 56 << 20,
            },
            stat: MemoryStat {
                anon: 60 << 20,
                file: 30 << 20,
                active_file: 10 << 20,
                inactive_file: 20 << 20,
                unevictable: 4096,
                ..MemoryStat::default()
            },
            room: Room::default(),
        };
        assert_eq!(
            text(HOST, &memory),
            "MemTotal:         524288 kB\n\
             MemFree:          421888 kB\n\
             MemAvailable:     452608 kB\n\
             Buffers:               0 kB\n\
             Cached:            30720 kB\n\
             SwapTotal:        262144 kB\n\
             SwapFree:         204800 kB\n\
             Mlocked:               4 kB\n\
             AnonPages:         61440 kB\n\
             CommitLimit:      786432 kB\n\
             Committed_AS:     297008 kB\n\
             VmallocTotal:   34359738367 kB\n\
             HugePages_Total:       0\n"
        );
    }

    /// Others use memory and swap below an ancestor's limit.
    #[test]
    fn an_ancestor_leaves_less() {
        let mut memory = memory(512 << 20, 100 << 20);
        memory.stat.active_file = 10 << 20;
        memory.swap = Swap::Counted {
            limit: 256 << 20,
            used: 56 << 20,
        };
        let free = |memory: &Memory| {
            let figures = figures(HOST, memory).unwrap();
            [figures.free, figures.available, figures.swap_free].map(|kb| kb / 1024)
        };
        assert_eq!(free(&memory), [412, 422, 200]);
        memory.room = Room {
            free: 50 << 20,
            available: 80 << 20,
            swap: 20 << 20,
        };
        assert_eq!(free(&memory), [50, 80, 20]);
        memory.room.available = 30 << 20;
        assert_eq!(free(&memory), [30, 30, 20]);
    }

    #[test]
    fn unlimited_is_the_host_less_the_own_use() {
        let figures = figures(HOST, &memory(u64::MAX, 1 << 30)).unwrap();
        assert_eq!(figures.total, 263_847_340);
        assert_eq!(figures.available, 24_200_148);
        assert_eq!(figures.free, 24_200_148);
        assert_eq!(
            (figures.swap_total, figures.swap_free),
            (1_048_572, 1_000_000)
        );
    }

    #[test]
    fn usage_above_the_limit_leaves_no_free_memory() {
        let figures = figures(HOST, &memory(1 << 20, u64::MAX)).unwrap();
        assert_eq!(
            (figures.total, figures.free, figures.available),
            (1024, 0, 0)
        );
    }

    /// With a larger MemAvailable, `free` uses its own estimate instead.
    #[test]
    fn available_stays_below_the_total() {
        let figures = figures(HOST, &memory(1 << 20, 0)).unwrap();
        assert_eq!((figures.available, figures.free), (1023, 1023));
    }

    #[test]
    fn memory_limits_of_zero_and_one_page() {
        for limit in [0, 1, 1023] {
            let figures = figures(HOST, &memory(limit, 4096)).unwrap();
            assert_eq!((figures.total, figures.free, figures.available), (0, 0, 0));
        }
    }

    #[test]
    fn swap_that_is_forbidden_is_0() {
        let swap = Swap::Counted {
            limit: 0,
            used: 4096,
        };
        let figures = figures(
            HOST,
            &Memory {
                swap,
                ..memory(1 << 20, 0)
            },
        )
        .unwrap();
        assert_eq!((figures.swap_total, figures.swap_free), (0, 0));
    }

    #[test]
    fn swap_is_never_more_than_the_host_has_free() {
        let swap = Swap::Counted {
            limit: u64::MAX,
            used: 0,
        };
        let figures = figures(
            HOST,
            &Memory {
                swap,
                ..memory(1 << 20, 0)
            },
        )
        .unwrap();
        assert_eq!(
            (figures.swap_total, figures.swap_free),
            (1_048_572, 1_000_000)
        );
    }

    #[test]
    fn committed_as_is_at_least_the_memory_in_use() {
        let stat = MemoryStat {
            anon: 400 << 20,
            ..MemoryStat::default()
        };
        let shown = text(
            HOST,
            &Memory {
                stat,
                ..memory(512 << 20, 0)
            },
        );
        assert!(shown.contains("Committed_AS:     409600 kB\n"), "{shown}");
        let shown = text(HOST, &memory(1 << 20, 0));
        assert!(
            shown.contains("Committed_AS:    1049596 kB\n")
                || shown.contains("Committed_AS:     297008 kB\n")
        );
    }

    #[test]
    fn lines_keep_the_form_of_the_host() {
        let m = memory(512 << 20, 0);
        assert_eq!(
            text(b"MemTotal: 99999999999 kB\n", &m),
            "MemTotal:   524288 kB\n"
        );
        assert_eq!(
            text(b"MemTotal: 99999999 kB\n", &m),
            "MemTotal:   524288 kB\n"
        );
        assert_eq!(
            text(b"MemTotal:99999999 kB\n", &m),
            "MemTotal:  524288 kB\n"
        );
        assert_eq!(
            text(b"MemTotal:\t600000 kB\n", &m),
            "MemTotal:\t524288 kB\n"
        );
    }

    #[test]
    fn garbage_stands() {
        let m = memory(512 << 20, 0);
        for host in [
            "",
            "\n",
            "MemTotal: 9 MB\n",
            "MemTotal: x kB\nMemFree: 5 kB\n",
            "MemFree: 5 kB\n",
            "Mem",
        ] {
            assert_eq!(text(host.as_bytes(), &m), host);
        }
        let host = "MemTotal:       24682416 kB\nMemFree: x kB\n\nnonsense\nBuffers";
        let shown = "MemTotal:         524288 kB\nMemFree: x kB\n\nnonsense\nBuffers\n";
        assert_eq!(text(host.as_bytes(), &m), shown);
    }
}
