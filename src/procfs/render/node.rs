//! `/sys/devices/system/node/node*/{meminfo,cpumap,cpulist}` (`drivers/base/node.c`): the values of
//! `/proc`, split so that all nodes together have the container's memory and CPUs.
#![forbid(unsafe_code)]

use super::meminfo::{self, Figures};
use super::{Entry, copy};
use crate::cgroup::parse_cpus::print_list;
use crate::text::{Out, lines};
use crate::values::{CpuList, Memory};

/// The range of a node's memory in the memory of the whole machine, in kB. A cgroup's memory may be on
/// any node, so each node gets its share of every figure.
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
    /// The node's part of `kb`. The parts of all nodes add up to `kb`.
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

/// Renders a node's `meminfo`; `host` is the kernel's text.
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
                other => share.of(meminfo::value(other, entry.value(), figures, &memory.stat)?),
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

/// The name without the prefix `Node 0 `.
fn name<'t>(entry: &Entry<'t>) -> &'t [u8] {
    entry.name.rsplit(|&b| b == b' ').next().unwrap_or_default()
}

/// Renders the allowed CPUs of a node as a map: hexadecimal digits, highest CPUs first, commas between
/// groups (`%*pb`). `host` is the kernel's `cpumap`, which sets the number of digits; `node` is the
/// node's `cpulist`.
pub fn cpumap(host: &[u8], node: CpuList<'_>, allowed: CpuList<'_>, out: &mut Out<'_>) {
    let mut left = host.iter().filter(|b| b.is_ascii_hexdigit()).count();
    for &byte in host {
        if !byte.is_ascii_hexdigit() {
            out.byte(byte);
            continue;
        }
        left = left.saturating_sub(1);
        let first = u32::try_from(left).unwrap_or(u32::MAX).saturating_mul(4);
        let digit = (first..)
            .zip([1, 2, 4, 8])
            .filter(|&(cpu, _)| node.contains(cpu) && allowed.contains(cpu))
            .fold(0u8, |digit, (_, bit)| digit | bit);
        let base = if digit < 10 {
            b'0'
        } else {
            b'a'.wrapping_sub(10)
        };
        out.byte(base.wrapping_add(digit));
    }
}

/// Renders the allowed CPUs of a node as a list.
pub fn cpulist(node: CpuList<'_>, allowed: CpuList<'_>, out: &mut Out<'_>) {
    print_list(allowed.iter().filter(|cpu| node.contains(*cpu)), out);
    out.byte(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::MemoryStat;

    fn text(render: impl FnOnce(&mut Out<'_>)) -> String {
        let mut buffer = [0; 4096];
        let mut out = Out::new(&mut buffer);
        render(&mut out);
        String::from_utf8(out.finish().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn maps_and_lists_have_the_allowed_cpus() {
        let list_of = |text: &'static str| CpuList(text.as_bytes());
        let map = |host: &str, node, allowed| {
            text(|out| cpumap(host.as_bytes(), list_of(node), list_of(allowed), out))
        };
        let list = |node, allowed| text(|out| cpulist(list_of(node), list_of(allowed), out));
        assert_eq!(map("f\n", "0-3", "0-3"), "f\n");
        assert_eq!(map("f\n", "0-3", "2"), "4\n");
        assert_eq!(
            map("00000000,0000ffff\n", "0-15", "4-19"),
            "00000000,0000fff0\n"
        );
        assert_eq!(
            map("00000000,ffff0000\n", "16-31", "4-19"),
            "00000000,000f0000\n"
        );
        assert_eq!(map("3ff,00000000\n", "32-41", "30-33,41"), "203,00000000\n");
        assert_eq!(map("0\n", "", "0-3"), "0\n");

        assert_eq!(list("0-3", "0-1"), "0-1\n");
        assert_eq!(list("0-3", "2"), "2\n");
        assert_eq!(list("0,2,4,6", "0-7"), "0,2,4,6\n");
        assert_eq!(list("0-3,8-11", "2-9"), "2-3,8-9\n");
        assert_eq!(list("0-3", "4-7"), "\n");
        assert_eq!(list("", "0-3"), "\n");
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
            stat,
            ..Memory::default()
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
    fn a_single_node_gets_all_memory() {
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
