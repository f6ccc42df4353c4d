//! Pressure stall information, `cpu.pressure` and its like (`kernel/sched/psi.c`).
#![forbid(unsafe_code)]

use crate::text::{decimal, fields, lines};

/// Microseconds since the cgroup's start in which at least one of its tasks had to wait: `total`
/// of the line `some`.
pub fn some_us(text: &[u8]) -> Option<u64> {
    lines(text).find_map(|line| {
        let mut fields = fields(line);
        if fields.next()? != b"some" {
            return None;
        }
        fields.find_map(|field| decimal(field.strip_prefix(b"total=")?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_some() {
        let text = b"some avg10=1.53 avg60=0.87 avg300=0.22 total=1234567\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n";
        assert_eq!(some_us(text), Some(1_234_567));
        for bad in [
            &b""[..],
            b"full total=1\n",
            b"some avg10=0.00\n",
            b"some total=\n",
            b"some total=x",
        ] {
            assert_eq!(some_us(bad), None);
        }
    }
}
