//! `/proc/stat` (`fs/proc/stat.c`). Rules: NUMBERS section 3. Unit: ticks of USER_HZ.
#![forbid(unsafe_code)]

use super::copy;
use crate::text::{Out, cut, leading_decimal, lines};
use crate::values::Tasks;

/// Renders `/proc/stat`; `host` is the kernel's text.
///
/// `rows` has the number of each CPU and its user, nice, system, idle and steal ticks. `before` is the
/// result of [`counts`] when the container started; `btime` is that moment in seconds since 1970.
/// Interrupts and context switches are those of the host since then. Forks and softirqs are those of
/// the host since its boot.
pub fn render(
    host: &[u8],
    rows: impl Iterator<Item = (u32, [u64; 5])> + Clone,
    before: [u64; 2],
    btime: u64,
    tasks: &Tasks,
    out: &mut Out<'_>,
) {
    let total = rows.clone().fold([0; 5], |mut sum: [u64; 5], (_, row)| {
        for (sum, ticks) in sum.iter_mut().zip(row) {
            *sum = sum.saturating_add(ticks);
        }
        sum
    });
    out.bytes(b"cpu ");
    columns(total, out);
    for (cpu, row) in rows {
        out.bytes(b"cpu");
        out.decimal(u64::from(cpu));
        columns(row, out);
    }
    for line in lines(host) {
        let (name, rest) = cut(line, b' ').unwrap_or((line, b""));
        let [interrupts, switches] = before;
        let value = match name {
            b"intr" | b"ctxt" => {
                let Some((count, rest)) = leading_decimal(rest) else {
                    copy(line, out);
                    continue;
                };
                let before = if name == b"intr" {
                    interrupts
                } else {
                    switches
                };
                out.bytes(name);
                out.byte(b' ');
                out.decimal(count.saturating_sub(before));
                copy(rest, out);
                continue;
            }
            b"btime" => btime,
            b"procs_running" => tasks.running,
            b"procs_blocked" => tasks.blocked,
            [b'c', b'p', b'u', ..] => continue,
            _ => {
                copy(line, out);
                continue;
            }
        };
        out.bytes(name);
        out.byte(b' ');
        out.decimal(value);
        out.byte(b'\n');
    }
}

/// Reads the interrupts and context switches of the host since it booted; `host` is the kernel's
/// `/proc/stat`.
pub fn counts(host: &[u8]) -> [u64; 2] {
    let mut counts = [0; 2];
    for line in lines(host) {
        if let Some((name, rest)) = cut(line, b' ')
            && let Some((count, _)) = leading_decimal(rest)
        {
            match name {
                b"intr" => counts[0] = count,
                b"ctxt" => counts[1] = count,
                _ => {}
            }
        }
    }
    counts
}

/// Appends the ten numbers of a CPU: user nice system idle iowait irq softirq steal guest guest_nice.
fn columns([user, nice, system, idle, steal]: [u64; 5], out: &mut Out<'_>) {
    for ticks in [user, nice, system, idle, 0, 0, 0, steal, 0, 0] {
        out.byte(b' ');
        out.decimal(ticks);
    }
    out.byte(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &[u8] = b"cpu  8255 0 9103 191603 1534 0 203 2548 0 0\n\
        cpu0 3246 0 4168 97805 91 0 32 1337 0 0\n\
        cpu1 5008 0 4935 93797 1442 0 171 1210 0 0\n\
        intr 5 0 0 1\n\
        ctxt 77\n\
        btime 1700000000\n\
        processes 12529\n\
        procs_running 3\n\
        procs_blocked 1\n\
        softirq 9 0 1\n";

    fn text(host: &[u8], rows: &[(u32, [u64; 5])]) -> String {
        let mut buffer = [0; 4096];
        let mut out = Out::new(&mut buffer);
        let tasks = Tasks {
            running: 2,
            blocked: 0,
            total: 4,
        };
        render(
            host,
            rows.iter().copied(),
            [3, 70],
            1_800_000_000,
            &tasks,
            &mut out,
        );
        String::from_utf8(out.finish().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn the_containers_cpus_and_the_hosts_rest() {
        assert_eq!(
            text(
                HOST,
                &[
                    (0, [1, 2, 3, 4, 5]),
                    (5, [10, 20, 30, 40, 50]),
                    (70, [0; 5])
                ]
            ),
            "cpu  11 22 33 44 0 0 0 55 0 0\n\
             cpu0 1 2 3 4 0 0 0 5 0 0\n\
             cpu5 10 20 30 40 0 0 0 50 0 0\n\
             cpu70 0 0 0 0 0 0 0 0 0 0\n\
             intr 2 0 0 1\n\
             ctxt 7\n\
             btime 1800000000\n\
             processes 12529\n\
             procs_running 2\n\
             procs_blocked 0\n\
             softirq 9 0 1\n"
        );
    }

    #[test]
    fn lines_that_are_missing_stay_missing() {
        assert_eq!(
            text(b"ctxt 71", &[(0, [0; 5])]),
            "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\nctxt 1\n"
        );
    }

    #[test]
    fn huge_counters_do_not_wrap() {
        assert!(
            text(b"", &[(0, [u64::MAX; 5]), (1, [1; 5])]).starts_with("cpu  18446744073709551615 ")
        );
    }
}
