//! `/proc/vmstat` (`mm/vmstat.c`). Rules: NUMBERS section 7. Units: pages, but for block I/O and
//! kernel stacks (kB) and huge pages (their number).
#![forbid(unsafe_code)]

use core::num::NonZero;

use crate::snapshot::{DeviceIo, MemoryStat, MemoryText, SwapTraffic};
use crate::text::{Out, cut, decimal, lines};

/// What the container's lines are made of.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'m> {
    /// Counters of `memory.stat`.
    pub stat: MemoryStat,
    /// The same file, for the events in it.
    pub events: MemoryText<'m>,
    /// Bytes read from and written to disks; `None` where the cgroup does not count them.
    pub io: Option<DeviceIo>,
    /// Pages swapped in and out; `None` where the cgroup does not count them.
    pub swapped: Option<SwapTraffic>,
    /// Bytes in a page.
    pub page: NonZero<u64>,
}

/// `/proc/vmstat`; `host` is the kernel's. What the cgroup does not count is the host's.
pub fn render(host: &[u8], inputs: &Inputs<'_>, out: &mut Out<'_>) {
    let events = Events::of(inputs.events);
    let mut lines = lines(host);
    // What the host says from here on is not copied yet: most lines are its own, many in a row.
    let mut kept = host;
    loop {
        let before = lines.rest();
        let Some(line) = lines.next() else { break };
        let known = cut(line, b' ').and_then(|(name, host)| {
            let value = value(name, inputs, &events)?;
            decimal(host).map(|_| (name, value))
        });
        let Some((name, value)) = known else {
            continue;
        };
        let run = kept.len().saturating_sub(before.len());
        out.bytes(kept.get(..run).unwrap_or_default());
        kept = lines.rest();
        out.bytes(name);
        out.byte(b' ');
        out.decimal(value);
        out.byte(b'\n');
    }
    out.bytes(kept);
}

fn value(name: &[u8], inputs: &Inputs<'_>, events: &Events<'_>) -> Option<u64> {
    let Inputs {
        stat,
        io,
        swapped,
        page,
        ..
    } = inputs;
    let bytes = match name {
        b"pgpgin" => return io.map(|io| io.read_bytes / 1024),
        b"pgpgout" => return io.map(|io| io.written_bytes / 1024),
        b"pswpin" => return swapped.map(|s| s.pages_in),
        b"pswpout" => return swapped.map(|s| s.pages_out),
        b"nr_kernel_stack" => return Some(stat.kernel_stack / 1024),
        b"nr_anon_transparent_hugepages" => return Some(huge_pages(stat.anon_thp, *page)),
        b"nr_shmem_hugepages" => return Some(huge_pages(stat.shmem_thp, *page)),
        b"nr_file_hugepages" => return Some(huge_pages(stat.file_thp, *page)),
        b"nr_inactive_anon" | b"nr_zone_inactive_anon" => stat.inactive_anon,
        b"nr_active_anon" | b"nr_zone_active_anon" => stat.active_anon,
        b"nr_inactive_file" | b"nr_zone_inactive_file" => stat.inactive_file,
        b"nr_active_file" | b"nr_zone_active_file" => stat.active_file,
        b"nr_unevictable" | b"nr_zone_unevictable" => stat.unevictable,
        b"nr_zone_write_pending" => stat.file_dirty.saturating_add(stat.file_writeback),
        b"nr_slab_reclaimable" => stat.slab_reclaimable,
        b"nr_slab_unreclaimable" => stat.slab_unreclaimable,
        b"nr_anon_pages" => stat.anon,
        b"nr_mapped" => stat.file_mapped,
        b"nr_file_pages" => stat.file,
        b"nr_dirty" => stat.file_dirty,
        b"nr_writeback" => stat.file_writeback,
        b"nr_shmem" => stat.shmem,
        b"nr_swapcached" => stat.swapcached,
        b"nr_page_table_pages" => stat.pagetables,
        b"nr_sec_page_table_pages" => stat.sec_pagetables,
        // No event is called so, and half of the lines are.
        _ if name.starts_with(b"nr_") => return None,
        _ => return events.counter(name),
    };
    bytes.checked_div(page.get())
}

/// The events of `memory.stat`, which most lines are looked for in.
struct Events<'m> {
    known: [(&'m [u8], u64); Events::MOST],
    count: usize,
}

impl<'m> Events<'m> {
    /// More than any kernel has.
    const MOST: usize = 64;

    fn of(text: MemoryText<'m>) -> Self {
        let mut events = Events {
            known: [(b"", 0); Events::MOST],
            count: 0,
        };
        let named = text.counters().filter(|(name, _)| is_event(name));
        for (slot, event) in events.known.iter_mut().zip(named) {
            *slot = event;
            events.count = events.count.wrapping_add(1);
        }
        events
    }

    fn counter(&self, name: &[u8]) -> Option<u64> {
        let known = self.known.iter().take(self.count);
        known
            .copied()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }
}

/// Counters that `memory.stat` has under the same name, with the same meaning, on some kernels.
fn is_event(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 6] = [
        b"pgscan_",
        b"pgsteal_",
        b"pgdemote_",
        b"workingset_",
        b"zswp",
        b"thp_swpout",
    ];
    const NAMES: [&[u8]; 9] = [
        b"pgfault",
        b"pgmajfault",
        b"pgrefill",
        b"pgactivate",
        b"pgdeactivate",
        b"pglazyfree",
        b"pglazyfreed",
        b"thp_fault_alloc",
        b"thp_collapse_alloc",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// `bytes` in huge pages: what one page of page table entries, of 8 bytes each, maps.
fn huge_pages(bytes: u64, page: NonZero<u64>) -> u64 {
    bytes
        .checked_div(page.get().saturating_mul(page.get() / 8))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(host: &str, inputs: &Inputs<'_>) -> String {
        let mut room = [0; 2048];
        let mut out = Out::new(&mut room);
        render(host.as_bytes(), inputs, &mut out);
        String::from_utf8(out.finish().unwrap().to_vec()).unwrap()
    }

    fn inputs() -> Inputs<'static> {
        Inputs {
            stat: MemoryStat {
                anon: 3 * 4096,
                file_dirty: 4096,
                file_writeback: 4096,
                kernel_stack: 16384,
                anon_thp: 4 << 20,
                ..MemoryStat::default()
            },
            events: MemoryText::V2(
                b"pgfault 70\npgmajfault 1\npgsteal_kswapd 6\nworkingset_nodes 8\n",
            ),
            io: Some(DeviceIo {
                read_bytes: 10_240,
                written_bytes: 1_023,
                ..DeviceIo::default()
            }),
            swapped: Some(SwapTraffic {
                pages_in: 5,
                pages_out: 6,
            }),
            page: NonZero::new(4096).unwrap(),
        }
    }

    #[test]
    fn the_containers_counters_and_the_hosts_rest() {
        let host = "nr_free_pages 9\nnr_anon_pages 9\nnr_zone_write_pending 9\nnr_kernel_stack 9\n\
            nr_anon_transparent_hugepages 9\npgpgin 9\npgpgout 9\npswpin 9\npswpout 9\npgalloc_dma 9\n\
            pgfault 9\npgmajfault 9\npgsteal_kswapd 9\npgsteal_direct 9\nworkingset_nodes 9\nnr_unstable 0\n";
        let shown = "nr_free_pages 9\nnr_anon_pages 3\nnr_zone_write_pending 2\nnr_kernel_stack 16\n\
            nr_anon_transparent_hugepages 2\npgpgin 10\npgpgout 0\npswpin 5\npswpout 6\npgalloc_dma 9\n\
            pgfault 70\npgmajfault 1\npgsteal_kswapd 6\npgsteal_direct 9\nworkingset_nodes 8\nnr_unstable 0\n";
        assert_eq!(text(host, &inputs()), shown);
    }

    #[test]
    fn what_is_not_counted_is_the_hosts() {
        let host = "pgpgin 9\npgpgout 9\npswpin 9\npswpout 9\npgfault 9\n";
        let nothing = Inputs {
            io: None,
            swapped: None,
            events: MemoryText::V1(b"pgfault 1\n"),
            ..inputs()
        };
        assert_eq!(text(host, &nothing), host);
    }

    #[test]
    fn garbage_stands() {
        for host in ["", "\n", "pgpgin\n", "pgpgin x\n", "pgpgin  5\n"] {
            assert_eq!(text(host, &inputs()), host);
        }
    }
}
