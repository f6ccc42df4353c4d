//! `/proc/pressure/{cpu,memory,io}` (`kernel/sched/psi.c`): on v2 a copy of the cgroup's own file,
//! which has the same format. v1 does not count pressure. Rules: NUMBERS section 7. Units: per cent,
//! microseconds.
#![forbid(unsafe_code)]

use crate::text::{Out, cut, fields, lines};

/// Renders `/proc/pressure/*` of a container; `own` is the text of its cgroup's `*.pressure`.
pub fn render(own: &[u8], out: &mut Out<'_>) {
    out.bytes(own);
}

/// Renders `/proc/pressure/*` of a container whose cgroup does not count pressure: every number is 0.
/// The host's totals would be wrong, because they began at its boot and programs divide them by the
/// container's uptime.
pub fn uncounted(host: &[u8], out: &mut Out<'_>) {
    for line in lines(host) {
        for (number, field) in fields(line).enumerate() {
            if number > 0 {
                out.byte(b' ');
            }
            match cut(field, b'=') {
                Some((name, value)) => {
                    out.bytes(name);
                    let zero: &[u8] = if value.contains(&b'.') {
                        b"=0.00"
                    } else {
                        b"=0"
                    };
                    out.bytes(zero);
                }
                None => out.bytes(field),
            }
        }
        out.byte(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uncounted_pressure_is_0_in_the_form_of_the_host() {
        let host = "some avg10=1.53 avg60=0.87 avg300=0.22 total=1234567\n\
                    full avg10=100.00 avg60=0.00 avg300=0.00 total=9\n";
        let shown = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n\
                     full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        for (host, shown) in [(host, shown), ("", ""), ("odd\n", "odd\n")] {
            let mut buffer = [0; 256];
            let mut out = Out::new(&mut buffer);
            uncounted(host.as_bytes(), &mut out);
            assert_eq!(out.finish().unwrap(), shown.as_bytes());
        }
    }
}
