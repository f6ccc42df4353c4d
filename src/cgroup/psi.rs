//! Pressure stall information, `cpu.pressure` and its like (`kernel/sched/psi.c`).
#![forbid(unsafe_code)]

use crate::cgroup::kernel::Kernel;
use crate::cgroup::locate::{ContainerCgroups, Controller};
use crate::error::{ErrorKind, Failure};
use crate::mem::Arena;
use crate::text::{decimal, fields, lines};
use crate::values::CpuPressure;
use core::ffi::CStr;

/// Parses `cpu.pressure`. Before Linux 5.13 the file has no line `full`.
pub fn cpu_pressure(text: &[u8]) -> CpuPressure {
    CpuPressure {
        some_us: total_us(text, b"some").unwrap_or(0),
        full_us: total_us(text, b"full"),
    }
}

/// `total` of the line that starts with `name` (`some` or `full`), in microseconds.
pub fn total_us(text: &[u8], name: &[u8]) -> Option<u64> {
    lines(text).find_map(|line| {
        let mut fields = fields(line);
        if fields.next()? != name {
            return None;
        }
        fields.find_map(|field| decimal(field.strip_prefix(b"total=")?))
    })
}

/// The container's own pressure file, `cpu.pressure` and the like.
pub fn pressure<'m, K: Kernel>(
    kernel: &K,
    cgroups: &ContainerCgroups,
    file: &[u8],
    arena: &mut Arena<'m>,
) -> Result<&'m [u8], Failure> {
    let path = pressure_path(cgroups, file, arena)?;
    kernel
        .read(path, arena)
        .map_err(|e| (ErrorKind::Unreadable, e))
}

/// The path of the container's own pressure file.
pub fn pressure_path<'m>(
    cgroups: &ContainerCgroups,
    file: &[u8],
    arena: &mut Arena<'m>,
) -> Result<&'m CStr, Failure> {
    let dir = cgroups.dir(Controller::Pressure)?;
    arena
        .path(dir.directory, file)
        .map_err(|e| (ErrorKind::Unreadable, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals() {
        let text = b"some avg10=1.53 avg60=0.87 avg300=0.22 total=1234567\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n";
        let both = CpuPressure {
            some_us: 1_234_567,
            full_us: Some(9),
        };
        assert_eq!(cpu_pressure(text), both);
        let old = b"some avg10=1.53 avg60=0.87 avg300=0.22 total=1234567\n";
        let full_us = None;
        assert_eq!(cpu_pressure(old), CpuPressure { full_us, ..both });
        for bad in [
            &b""[..],
            b"full total=1\n",
            b"some avg10=0.00\n",
            b"some total=\n",
            b"some total=x",
        ] {
            assert_eq!(total_us(bad, b"some"), None);
        }
    }
}
