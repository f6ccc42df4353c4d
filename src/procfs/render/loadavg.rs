//! `/proc/loadavg` (`fs/proc/loadavg.c`), and the same averages for `getloadavg()` and
//! `sysinfo()`.
#![forbid(unsafe_code)]

use super::uptime::hundredths;
use crate::text::{Out, decimal, fields, trim};
use crate::values::{Load, Tasks};

/// Fraction bits of a load average (`include/linux/sched/loadavg.h`).
const FSHIFT: u32 = 11;
const FIXED_1: u64 = 1 << FSHIFT;

/// Fraction bits in `sysinfo()` (`SI_LOAD_SHIFT`).
const SI_LOAD_SHIFT: u32 = 16;

/// Renders `/proc/loadavg`. `host` is the kernel's text. Its last field is the last PID of the reader's
/// own PID namespace. Without that field, copies the text unchanged.
pub fn render(host: &[u8], load: &Load, tasks: &Tasks, out: &mut Out<'_>) {
    let last_pid = fields(trim(host)).nth(4).and_then(decimal);
    let Some(last_pid) = last_pid else {
        return out.bytes(host);
    };
    for average in load.0 {
        hundredths(rounded(average), out);
        out.byte(b' ');
    }
    out.decimal(tasks.running);
    out.byte(b'/');
    out.decimal(tasks.total.max(tasks.running));
    out.byte(b' ');
    out.decimal(last_pid);
    out.byte(b'\n');
}

/// Rounds a load average to hundredths as the kernel prints it: adds half a hundredth, then applies
/// `LOAD_INT` and `LOAD_FRAC`.
pub fn rounded(average: u64) -> u64 {
    let average = average.saturating_add(FIXED_1 / 200);
    let fraction = (average & (FIXED_1 - 1)).wrapping_mul(100) >> FSHIFT;
    (average >> FSHIFT).wrapping_mul(100).wrapping_add(fraction)
}

/// Converts the averages to the fixed point of `sysinfo().loads`.
pub fn sysinfo_loads(load: &Load) -> [u64; 3] {
    load.0
        .map(|average| average.saturating_mul(1 << (SI_LOAD_SHIFT - FSHIFT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(host: &[u8], load: [u64; 3], tasks: Tasks) -> String {
        let mut buffer = [0; 128];
        let mut out = Out::new(&mut buffer);
        render(host, &Load(load), &tasks, &mut out);
        String::from_utf8(out.finish().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn rounding_is_the_kernels() {
        let tasks = Tasks {
            running: 1,
            blocked: 9,
            total: 7,
        };
        let host = b"2.44 2.03 1.52 6/170 29503\n";
        assert_eq!(
            text(host, [0, 2048, 3072], tasks),
            "0.00 1.00 1.50 1/7 29503\n"
        );
        // 2037 / 2048 is 0.9946. The half hundredth that the kernel adds is 10 / 2048, rounded down.
        assert_eq!(
            text(host, [2037, 2038, 20], tasks),
            "0.99 1.00 0.01 1/7 29503\n"
        );
    }

    #[test]
    fn never_fewer_in_all_than_running() {
        let tasks = Tasks {
            running: 3,
            blocked: 0,
            total: 2,
        };
        assert_eq!(
            text(b"0.00 0.00 0.00 1/1 5", [0; 3], tasks),
            "0.00 0.00 0.00 3/3 5\n"
        );
    }

    #[test]
    fn garbage_stands() {
        for host in ["", "\n", "0.00 0.00 0.00 1/1", "0.00 0.00 0.00 1/1 x\n"] {
            assert_eq!(text(host.as_bytes(), [0; 3], Tasks::default()), host);
        }
    }

    #[test]
    fn sysinfo_has_the_same_averages() {
        assert_eq!(
            sysinfo_loads(&Load([2048, 1024, u64::MAX])),
            [65536, 32768, u64::MAX]
        );
        assert_eq!(rounded(u64::MAX), (u64::MAX >> FSHIFT) * 100 + 99);
    }
}
