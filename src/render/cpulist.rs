//! `/sys/devices/system/cpu/{online,present,possible}`: the CPUs as a list (`drivers/base/cpu.c`).
#![forbid(unsafe_code)]

use crate::cgroup::cpus::print_first;
use crate::text::Out;

/// The list of `count` CPUs, numbered from 0.
pub fn render(count: u32, out: &mut Out<'_>) {
    print_first(count, out);
    out.byte(b'\n');
}
