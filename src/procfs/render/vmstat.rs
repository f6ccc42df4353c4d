//! `/proc/vmstat` (`mm/vmstat.c`). Rules: NUMBERS section 7. Units: pages, except block I/O and kernel
//! stacks (kB) and huge pages (their number).
#![forbid(unsafe_code)]

use core::num::NonZero;

use super::meminfo;
use crate::text::{Out, cut, decimal, lines};
use crate::values::{DeviceIo, MemoryStat, MemoryText, SwapTraffic};

/// The values of the container's lines.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'m> {
    /// Counters of `memory.stat`.
    pub stat: MemoryStat,
    /// MemFree in kB, as `/proc/meminfo` shows it.
    pub free: u64,
    /// The text of `memory.stat`, for the events in it.
    pub events: MemoryText<'m>,
    /// The I/O on disks; `None` if the cgroup does not count it.
    pub io: Option<DeviceIo>,
    /// Pages swapped in and out; `None` if the cgroup does not count them.
    pub swapped: Option<SwapTraffic>,
    /// Bytes in a page.
    pub page: NonZero<u64>,
}

/// Renders `/proc/vmstat`; `host` is the kernel's text. Values that the cgroup does not count stay the
/// host's.
pub fn render(host: &[u8], inputs: &Inputs<'_>, out: &mut Out<'_>) {
    let events = Events::of(inputs.events);
    let mut lines = lines(host);
    // The host's text that is not copied yet. Most lines stay unchanged, many in a row, and a run is
    // copied at once.
    let mut uncopied = host;
    loop {
        let before = lines.rest();
        let Some(line) = lines.next() else { break };
        let known = cut(line, b' ')
            .and_then(|(name, host)| Some((name, value(name, decimal(host)?, inputs, &events)?)));
        let Some((name, value)) = known else {
            continue;
        };
        let run = uncopied.len().saturating_sub(before.len());
        out.bytes(uncopied.get(..run).unwrap_or_default());
        uncopied = lines.rest();
        out.bytes(name);
        out.byte(b' ');
        out.decimal(value);
        out.byte(b'\n');
    }
    out.bytes(uncopied);
}

/// The container's value of the line `name`; `host` is the host's value. `None` if the host's line
/// stays.
fn value(name: &[u8], host: u64, inputs: &Inputs<'_>, events: &Events<'_>) -> Option<u64> {
    let Inputs {
        stat,
        io,
        swapped,
        page,
        ..
    } = inputs;
    // Half of the lines have this prefix. No event has it.
    if !name.starts_with(b"nr_") {
        return match name {
            b"pgpgin" => io.map(|io| io.read_bytes / 1024),
            b"pgpgout" => io.map(|io| io.written_bytes / 1024),
            b"pswpin" => swapped.map(|s| s.pages_in),
            b"pswpout" => swapped.map(|s| s.pages_out),
            _ => events.counter(name),
        };
    }
    let bytes_of = |kb: u64| kb.saturating_mul(1024);
    let bytes = match name {
        b"nr_free_pages" => bytes_of(inputs.free),
        b"nr_free_pages_blocks" => bytes_of(inputs.free).min(host.saturating_mul(page.get())),
        b"nr_mlock" => {
            let host = host.saturating_mul(page.get()) / 1024;
            bytes_of(meminfo::mlocked(host, stat))
        }
        // The kernel's Cached is this value without swap cache and buffers.
        b"nr_file_pages" => stat.file.saturating_add(stat.swapcached),
        b"nr_zone_write_pending" => stat.file_dirty.saturating_add(stat.file_writeback),
        // This is KReclaimable without SReclaimable.
        b"nr_kernel_misc_reclaimable" => 0,
        _ => {
            let line = name.strip_prefix(b"nr_").unwrap_or_default();
            // The lines of the zones repeat the same values.
            stat.vmstat_line(line.strip_prefix(b"zone_").unwrap_or(line))?
        }
    };
    match name {
        b"nr_kernel_stack" => Some(bytes / 1024),
        _ if name.ends_with(b"hugepages") => Some(huge_pages(bytes, *page)),
        _ => bytes.checked_div(page.get()),
    }
}

/// The events of `memory.stat`, filtered once because most lines are looked up in them.
struct Events<'m> {
    known: [(&'m [u8], u64); Events::MOST],
    count: usize,
}

impl<'m> Events<'m> {
    /// More events than any kernel has.
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

/// True for a counter that `memory.stat` has under the same name and with the same meaning, on some
/// kernels.
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

/// Converts `bytes` to huge pages. A huge page is as large as the memory that one page of page table
/// entries, of 8 bytes each, maps.
fn huge_pages(bytes: u64, page: NonZero<u64>) -> u64 {
    bytes
        .checked_div(page.get().saturating_mul(page.get() / 8))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(host: &str, inputs: &Inputs<'_>) -> String {
        let mut buffer = [0; 2048];
        let mut out = Out::new(&mut buffer);
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
                unevictable: 5 * 4096,
                swapcached: 4096,
                file: 7 * 4096,
                ..MemoryStat::default()
            },
            free: 44,
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
        let host = "nr_free_pages 999\nnr_mlock 9\nnr_file_pages 9\nnr_anon_pages 9\nnr_zone_write_pending 9\nnr_kernel_stack 9\n\
            nr_anon_transparent_hugepages 9\npgpgin 9\npgpgout 9\npswpin 9\npswpout 9\npgalloc_dma 9\n\
            pgfault 9\npgmajfault 9\npgsteal_kswapd 9\npgsteal_direct 9\nworkingset_nodes 9\nnr_unstable 0\n";
        let shown = "nr_free_pages 11\nnr_mlock 5\nnr_file_pages 8\nnr_anon_pages 3\nnr_zone_write_pending 2\nnr_kernel_stack 16\n\
            nr_anon_transparent_hugepages 2\npgpgin 10\npgpgout 0\npswpin 5\npswpout 6\npgalloc_dma 9\n\
            pgfault 70\npgmajfault 1\npgsteal_kswapd 6\npgsteal_direct 9\nworkingset_nodes 8\nnr_unstable 0\n";
        assert_eq!(text(host, &inputs()), shown);
    }

    #[test]
    fn uncounted_vmstat_lines_are_those_of_the_host() {
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
