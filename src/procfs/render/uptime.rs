//! `/proc/uptime` (`fs/proc/uptime.c`): age and idle time in seconds, with two digits.
#![forbid(unsafe_code)]

use crate::text::Out;

/// Microseconds in a hundredth of a second.
const CENTI_US: u64 = 10_000;

/// Renders `/proc/uptime` of a container that is `age_us` microseconds old. `idle_ticks` is the idle
/// time of all its CPUs together, in ticks of USER_HZ (hundredths of a second).
pub fn render(age_us: u64, idle_ticks: u64, out: &mut Out<'_>) {
    hundredths(age_us / CENTI_US, out);
    out.byte(b' ');
    hundredths(idle_ticks, out);
    out.byte(b'\n');
}

/// Appends hundredths in the format `%lu.%02lu`.
pub(super) fn hundredths(value: u64, out: &mut Out<'_>) {
    out.decimal(value / 100);
    out.byte(b'.');
    out.decimal_zeros(value % 100, 2);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_digits() {
        let text = |age_us, idle_ticks| {
            let mut buffer = [0; 64];
            let mut out = Out::new(&mut buffer);
            render(age_us, idle_ticks, &mut out);
            String::from_utf8(out.finish().unwrap().to_vec()).unwrap()
        };
        assert_eq!(text(0, 0), "0.00 0.00\n");
        assert_eq!(text(1_059_999, 7), "1.05 0.07\n");
        assert_eq!(text(86_400_000_000, 17_280_000), "86400.00 172800.00\n");
        assert_eq!(
            text(u64::MAX, u64::MAX),
            "18446744073709.55 184467440737095516.15\n"
        );
    }
}
