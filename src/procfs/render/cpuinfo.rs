//! `/proc/cpuinfo` (`arch/*/kernel/cpu/proc.c` and its kin). Rule: NUMBERS section 2.
//!
//! Every architecture has its own format. These are supported:
//! - a stanza for each CPU that starts with `processor : 0` and ends with an empty line, with
//!   lines for the whole machine before or after (x86, arm, arm64, riscv, ppc, loongarch);
//! - s390's table `processor 0: …`, its number `# processors : 4`, and stanzas that start with
//!   `cpu number : 0`.
#![forbid(unsafe_code)]

use super::{Entry, copy};
use crate::cgroup::parse_cpus::Walk;
use crate::text::{Out, leading_decimal, lines};
use crate::values::Cpus;

/// Renders `/proc/cpuinfo`; `host` is the kernel's text. Keeps the stanzas of the shown CPUs with the
/// kernel's numbers. If the host's text lacks one of them (another tool has filtered or renumbered the
/// text), keeps the first stanzas instead.
pub fn render(host: &[u8], cpus: &Cpus<'_>, out: &mut Out<'_>) {
    let mut listed = choice(cpus, true);
    let stanzas = lines(host)
        .filter_map(Stanza::start)
        .filter(|s| s.kind != Kind::Detail);
    let known = stanzas.filter(|s| listed.take(s.cpu));
    let by_number = known.take(cpus.count as usize).count() == cpus.count as usize;

    let mut chosen = choice(cpus, by_number);
    // s390 lists its CPUs twice.
    let mut details = choice(cpus, by_number);
    let count = u64::from(cpus.count);
    let mut skipping = false;
    for line in lines(host) {
        if let Some(stanza) = Stanza::start(line) {
            let choice = if stanza.kind == Kind::Detail {
                &mut details
            } else {
                &mut chosen
            };
            let is_shown = choice.take(stanza.cpu);
            skipping = !is_shown && stanza.kind != Kind::Row;
            if is_shown {
                copy(line, out);
            }
        } else if skipping {
            // The empty line is part of the stanza.
            skipping = !line.is_empty();
        } else {
            match Entry::parse(line) {
                Some(entry) => match entry.name {
                    b"siblings" | b"cpu cores" => entry.print(entry.value().min(count), out),
                    b"# processors" => entry.print(count, out),
                    _ => copy(line, out),
                },
                None => copy(line, out),
            }
        }
    }
}

/// The line that starts the text of one CPU.
struct Stanza {
    kind: Kind,
    cpu: u64,
}

#[derive(PartialEq, Eq)]
enum Kind {
    /// `processor : 0`, up to the next empty line.
    Processor,
    /// `processor 0: …`, one line.
    Row,
    /// `cpu number : 0`, up to the next empty line.
    Detail,
}

impl Stanza {
    fn start(line: &[u8]) -> Option<Self> {
        if let Some(row) = line.strip_prefix(b"processor ")
            && row.first().is_some_and(u8::is_ascii_digit)
        {
            let (cpu, _) = leading_decimal(row)?;
            return Some(Stanza {
                kind: Kind::Row,
                cpu,
            });
        }
        let is_start = line.starts_with(b"processor") || line.starts_with(b"cpu number");
        let entry = is_start.then(|| Entry::parse(line)).flatten()?;
        let kind = match entry.name {
            b"processor" => Kind::Processor,
            b"cpu number" => Kind::Detail,
            _ => return None,
        };
        Some(Stanza {
            kind,
            cpu: entry.value(),
        })
    }
}

/// Selects the shown CPUs. Lookups must come in ascending order.
struct Choice<I> {
    /// The shown CPUs that are still to come. Without `by_number`, any CPU takes the place of the next
    /// one.
    shown: Walk<I>,
    by_number: bool,
}

fn choice<'m>(cpus: &Cpus<'m>, by_number: bool) -> Choice<impl Iterator<Item = u32> + use<'m>> {
    Choice {
        shown: Walk::new(cpus.shown()),
        by_number,
    }
}

impl<I: Iterator<Item = u32>> Choice<I> {
    /// True if `cpu` is shown.
    fn take(&mut self, cpu: u64) -> bool {
        if self.by_number {
            u32::try_from(cpu).is_ok_and(|cpu| self.shown.contains(cpu))
        } else {
            self.shown.pass().is_some()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::CpuList;

    fn text(host: &str, list: &str, count: u32) -> String {
        let mut buffer = vec![0; host.len() + 64];
        let mut out = Out::new(&mut buffer);
        let cpus = Cpus {
            count,
            list: CpuList(list.as_bytes()),
            quota: None,
            own: &[],
        };
        render(host.as_bytes(), &cpus, &mut out);
        String::from_utf8(out.finish().unwrap().to_vec()).unwrap()
    }

    fn x86(numbers: &[(u32, u32)], siblings: u32) -> String {
        let stanza = |(cpu, core)| {
            format!(
                "processor\t: {cpu}\nmodel name\t: AMD EPYC\nsiblings\t: {siblings}\n\
                 core id\t\t: {core}\ncpu cores\t: {siblings}\nflags\t\t: fpu vme\npower management:\n\n"
            )
        };
        numbers.iter().copied().map(stanza).collect()
    }

    #[test]
    fn x86_keeps_the_first_of_the_cpuset() {
        let host = x86(&[(0, 0), (1, 1), (2, 2), (3, 3)], 4);
        assert_eq!(text(&host, "1-3", 2), x86(&[(1, 1), (2, 2)], 2));
        assert_eq!(text(&host, "2", 1), x86(&[(2, 2)], 1));
        assert_eq!(text(&host, "0,3", 2), x86(&[(0, 0), (3, 3)], 2));
        assert_eq!(text(&host, "0-3", 4), host);
    }

    #[test]
    fn filtered_cpuinfo_is_filtered_by_position() {
        let host = x86(&[(0, 0), (1, 1)], 2);
        assert_eq!(text(&host, "5-6", 1), x86(&[(0, 0)], 1));
        assert_eq!(text(&host, "1-8", 8), host);
    }

    #[test]
    fn arm_keeps_the_lines_of_the_machine() {
        let arm = |n| {
            let cpus: String = (0..n)
                .map(|i| format!("processor\t: {i}\nBogoMIPS\t: 50.00\n\n"))
                .collect();
            cpus + "Hardware\t: BCM2835\nSerial\t\t: 0000\n"
        };
        assert_eq!(text(&arm(4), "0-3", 2), arm(2));
        assert_eq!(
            text(&arm(4), "3", 1),
            arm(1).replace("processor\t: 0", "processor\t: 3")
        );
    }

    #[test]
    fn mips_has_the_machine_in_front_of_cpu_0() {
        let host = "system type\t\t: MT7621\nprocessor\t\t: 0\ncpu model\t\t: MIPS\n\nprocessor\t\t: 1\ncpu model\t\t: MIPS\n\n";
        let one = "system type\t\t: MT7621\nprocessor\t\t: 0\ncpu model\t\t: MIPS\n\n";
        assert_eq!(text(host, "0-1", 1), one);
        assert_eq!(
            text(host, "1", 1),
            one.replace("processor\t\t: 0", "processor\t\t: 1")
        );
    }

    #[test]
    fn s390_lists_twice() {
        let s390 = |rows: &[(u32, u32)]| {
            let table: String = rows
                .iter()
                .map(|(n, id)| {
                    format!(
                        "processor {n}: version = 00,  identification = {id},  machine = 8561\n"
                    )
                })
                .collect();
            let stanzas: String = rows
                .iter()
                .map(|(n, id)| {
                    format!(
                        "\ncpu number      : {n}\nphysical id     : 1\ncpu MHz static  : {id}\n"
                    )
                })
                .collect();
            format!(
                "vendor_id       : IBM/S390\n# processors    : {}\nbogomips per cpu: 3241.00\n{table}{stanzas}",
                rows.len()
            )
        };
        let host = s390(&[(0, 10), (1, 11), (2, 12)]);
        assert_eq!(text(&host, "0-2", 3), host);
        assert_eq!(text(&host, "1-2", 2), s390(&[(1, 11), (2, 12)]));
    }

    /// Elsewhere, a buffer of fixed size truncated this text.
    #[test]
    fn machines_with_many_cpus_are_not_truncated() {
        let all: Vec<_> = (0..4096).map(|i| (i, i)).collect();
        let host = x86(&all, 4096);
        assert_eq!(text(&host, "0-4095", 4096), host);
        let odd: Vec<_> = (0..2048).map(|i| (2 * i + 1, 2 * i + 1)).collect();
        let list = odd
            .iter()
            .map(|(_, cpu)| cpu.to_string())
            .collect::<Vec<_>>()
            .join(",");
        assert_eq!(text(&host, &list, 2048), x86(&odd, 2048));
    }

    #[test]
    fn garbage_stands() {
        for host in [
            "",
            "\n",
            "processor\n",
            "processors: 4\n",
            "processor : x\n",
            "a\n\nb\n",
        ] {
            assert_eq!(text(host, "0-1", 2), host);
        }
    }
}
