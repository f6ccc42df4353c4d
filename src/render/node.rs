//! `/sys/devices/system/node/node*/{meminfo,cpumap,cpulist}` (`drivers/base/node.c`): what is in
//! `/proc` again, so that the nodes together have the container's memory and its CPUs.
#![forbid(unsafe_code)]

use super::meminfo::{self, Figures};
use super::{Entry, copy};
use crate::snapshot::{CpuList, Cpus, Memory};
use crate::text::{Out, lines};

/// Where a node's memory lies in that of the whole machine, in kB: a cgroup's memory may be on
/// any of them, so each node gets its share of every figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The sum of [`total`] over the nodes of lower numbers.
    pub before: u64,
    /// The node's own [`total`].
    pub own: u64,
    /// The sum over all nodes.
    pub all: u64,
}

impl Share {
    /// The node's part of `kb`. The parts of all nodes add up to it.
    fn of(self, kb: u64) -> u64 {
        let up_to = |end: u64| {
            let part = u128::from(kb).wrapping_mul(u128::from(end));
            part.checked_div(u128::from(self.all))
                .and_then(|kb| u64::try_from(kb).ok())
                .unwrap_or(0)
        };
        up_to(self.before.saturating_add(self.own)).saturating_sub(up_to(self.before))
    }
}

/// MemTotal of a node in kB; `host` is the kernel's `meminfo` of that node.
pub fn total(host: &[u8]) -> Option<u64> {
    entries(host)
        .find(|entry| name(entry) == b"MemTotal")
        .map(|entry| entry.value())
}

/// A node's `meminfo`; `host` is the kernel's.
pub fn meminfo(host: &[u8], share: Share, figures: &Figures, memory: &Memory, out: &mut Out<'_>) {
    let total = share.of(figures.total);
    let free = share.of(figures.free).min(total);
    for line in lines(host) {
        let known = meminfo::kb_entry(line).and_then(|entry| {
            let value = match name(&entry) {
                b"MemTotal" => total,
                b"MemFree" => free,
                b"MemUsed" => total.saturating_sub(free),
                b"FilePages" => share.of(memory.stat.file / 1024),
                b"Mlocked" => share.of(memory.stat.unevictable / 1024).min(entry.value()),
                other => share.of(meminfo::value(other, &entry, figures, &memory.stat)?),
            };
            Some((entry, value))
        });
        match known {
            Some((entry, value)) => entry.print_aligned(value, meminfo::WIDTH, out),
            None => copy(line, out),
        }
    }
}

fn entries(host: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    lines(host).filter_map(meminfo::kb_entry)
}

/// The name without `Node 0 ` in front of it.
fn name<'t>(entry: &Entry<'t>) -> &'t [u8] {
    entry.name.rsplit(|&b| b == b' ').next().unwrap_or_default()
}

/// The CPUs of a node, in the container's numbers, as a map: hexadecimal digits, highest CPUs
/// first, commas between groups (`%*pb`). `host` is the kernel's `cpumap`, which says how many
/// digits, `node` its `cpulist`.
pub fn cpumap(host: &[u8], node: CpuList<'_>, cpus: &Cpus<'_>, out: &mut Out<'_>) {
    let mut left = host.iter().filter(|b| b.is_ascii_hexdigit()).count();
    for &byte in host {
        if !byte.is_ascii_hexdigit() {
            out.byte(byte);
            continue;
        }
        left = left.saturating_sub(1);
        let digit = shown(cpus)
            .skip(left.saturating_mul(4))
            .zip([1, 2, 4, 8])
            .filter(|&(cpu, _)| node.contains(cpu))
            .fold(0u8, |digit, (_, bit)| digit | bit);
        let base = if digit < 10 {
            b'0'
        } else {
            b'a'.wrapping_sub(10)
        };
        out.byte(base.wrapping_add(digit));
    }
}

/// The same as a list.
pub fn cpulist(node: CpuList<'_>, cpus: &Cpus<'_>, out: &mut Out<'_>) {
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
    for (number, cpu) in (0u32..).zip(shown(cpus)) {
        if !node.contains(cpu) {
            continue;
        }
        match &mut run {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => print(run.replace((number, number))),
        }
    }
    print(run);
    out.byte(b'\n');
}

/// The container's CPUs by their real numbers, in order.
fn shown<'m>(cpus: &Cpus<'m>) -> impl Iterator<Item = u32> + use<'m> {
    cpus.list.iter().take(cpus.count as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{MemoryStat, Swap};

    fn text(render: impl FnOnce(&mut Out<'_>)) -> String {
        let mut room = [0; 4096];
        let mut out = Out::new(&mut room);
        render(&mut out);
        String::from_utf8(out.finish().unwrap().to_vec()).unwrap()
    }

    fn cpus(list: &str, count: u32) -> Cpus<'_> {
        Cpus {
            count,
            list: CpuList(list.as_bytes()),
            quota: None,
        }
    }

    #[test]
    fn maps_and_lists_are_in_the_containers_numbers() {
        let map = |host: &str, node: &str, cpus: Cpus<'_>| {
            text(|out| cpumap(host.as_bytes(), CpuList(node.as_bytes()), &cpus, out))
        };
        let list =
            |node: &str, cpus: Cpus<'_>| text(|out| cpulist(CpuList(node.as_bytes()), &cpus, out));
        assert_eq!(map("f\n", "0-3", cpus("0-3", 4)), "f\n");
        assert_eq!(map("f\n", "0-3", cpus("2", 1)), "1\n");
        assert_eq!(
            map("00000000,0000ffff\n", "0-15", cpus("4-19", 12)),
            "00000000,00000fff\n"
        );
        assert_eq!(
            map("00000000,ffff0000\n", "16-31", cpus("4-19", 16)),
            "00000000,0000f000\n"
        );
        assert_eq!(
            map("3ff,00000000\n", "32-41", cpus("30-41", 12)),
            "000,00000ffc\n"
        );
        assert_eq!(map("0\n", "", cpus("0-3", 4)), "0\n");

        assert_eq!(list("0-3", cpus("0-3", 2)), "0-1\n");
        assert_eq!(list("0-3", cpus("2", 1)), "0\n");
        assert_eq!(list("0,2,4,6", cpus("0-7", 8)), "0,2,4,6\n");
        assert_eq!(list("0-3,8-11", cpus("2-9", 8)), "0-1,6-7\n");
        assert_eq!(list("", cpus("0-3", 4)), "\n");
    }

    const HOST: &str = "Node 0 MemTotal:       12804676 kB\n\
        Node 0 MemFree:         4432584 kB\n\
        Node 0 MemUsed:         8372092 kB\n\
        Node 0 Active(file):    2221328 kB\n\
        Node 0 Mlocked:           20888 kB\n\
        Node 0 FilePages:       4308992 kB\n\
        Node 0 HugePages_Total:     0\n";

    fn memory() -> Memory {
        let stat = MemoryStat {
            file: 30 << 20,
            active_file: 10 << 20,
            unevictable: 1 << 20,
            ..MemoryStat::default()
        };
        Memory {
            limit: 512 << 20,
            usage: 0,
            swap: Swap::Unaccounted,
            stat,
        }
    }

    fn figures() -> Figures {
        Figures {
            total: 524_288,
            free: 400_000,
            ..Figures::default()
        }
    }

    #[test]
    fn one_node_has_it_all() {
        let own = total(HOST.as_bytes()).unwrap();
        let share = Share {
            before: 0,
            own,
            all: own,
        };
        assert_eq!(
            text(|out| meminfo(HOST.as_bytes(), share, &figures(), &memory(), out)),
            "Node 0 MemTotal:         524288 kB\n\
             Node 0 MemFree:          400000 kB\n\
             Node 0 MemUsed:          124288 kB\n\
             Node 0 Active(file):      10240 kB\n\
             Node 0 Mlocked:            1024 kB\n\
             Node 0 FilePages:         30720 kB\n\
             Node 0 HugePages_Total:     0\n"
        );
    }

    #[test]
    fn nodes_add_up() {
        let sizes = [12_804_676, 5, 0, 7_000_001, u64::MAX / 4];
        let all = sizes.iter().sum();
        for kb in [0, 1, 2, 524_288, 24_682_416, u64::MAX] {
            let mut before = 0;
            let mut sum = 0;
            for own in sizes {
                sum += Share { before, own, all }.of(kb);
                before += own;
            }
            assert_eq!(sum, kb);
        }
    }

    #[test]
    fn a_machine_without_memory_is_no_division() {
        assert_eq!(
            Share {
                before: 0,
                own: 0,
                all: 0
            }
            .of(7),
            0
        );
        assert_eq!(total(b"Node 0 MemFree: 5 kB\n"), None);
    }
}
