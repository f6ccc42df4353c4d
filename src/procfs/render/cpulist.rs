//! `/sys/devices/system/cpu/{online,present,offline}`: CPUs as a list (`drivers/base/cpu.c`). Rule: NUMBERS
//! section 2.
#![forbid(unsafe_code)]

use crate::cgroup::parse_cpus::{Walk, print_list};
use crate::text::Out;
use crate::values::CpuList;

/// Renders the list of `cpus`, which must be in ascending order.
pub fn render(cpus: impl Iterator<Item = u32>, out: &mut Out<'_>) {
    print_list(cpus, out);
    out.byte(b'\n');
}

/// Renders the list of the `possible` CPUs that are not `online`. Both must be in ascending order.
pub fn offline(possible: CpuList<'_>, online: impl Iterator<Item = u32>, out: &mut Out<'_>) {
    let mut online = Walk::new(online);
    render(possible.iter().filter(|cpu| !online.contains(*cpu)), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offline_of(possible: &str, online: &[u32]) -> String {
        let mut buffer = [0; 64];
        let mut out = Out::new(&mut buffer);
        offline(
            CpuList(possible.as_bytes()),
            online.iter().copied(),
            &mut out,
        );
        String::from_utf8(out.finish().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn offline_is_possible_minus_online() {
        assert_eq!(offline_of("0-3", &[2, 3]), "0-1\n");
        assert_eq!(offline_of("0-7", &[1, 5]), "0,2-4,6-7\n");
        assert_eq!(offline_of("0-1", &[0, 1]), "\n");
        assert_eq!(offline_of("0-1", &[0, 9]), "1\n");
    }
}
