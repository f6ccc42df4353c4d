//! The trait through which everything above reads the kernel. The running process implements the trait
//! with system calls ([`crate::runtime::live`]); tests implement it with a directory of recorded files.
//! What outlives one reading is in [`Container`](crate::cgroup::container::Container).
#![forbid(unsafe_code)]

use crate::mem::Arena;
use crate::sys::Errno;
use crate::text::{decimal, leading_decimal, stat_fields};
use core::ffi::CStr;
use core::num::NonZero;

/// Reads the kernel. An implementation keeps nothing that changes a later result.
pub trait Kernel {
    /// Reads a file that the kernel prints in one piece (all cgroup files, and most of /proc).
    fn read<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno>;

    /// Reads a file of any length.
    fn read_long<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno>;

    /// Reads the target of a symbolic link.
    fn read_link<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno>;

    /// True if the file exists.
    fn exists(&self, path: &CStr) -> bool;

    /// Microseconds since boot, suspended time included (`CLOCK_BOOTTIME`).
    fn boot_us(&self) -> Result<u64, Errno>;

    /// The affinity mask of the calling thread, in the kernel's layout; empty if there is no such thread.
    fn own_cpus<'m>(&self, _arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        Ok(&[])
    }

    /// Bytes in a page. The default is that of x86-64; an implementation may report another size.
    fn page_size(&self) -> NonZero<u64> {
        const { NonZero::new(4096).unwrap() }
    }
}

/// Reads the file `file` in `directory`.
pub fn read_in<'m, K: Kernel + ?Sized>(
    kernel: &K,
    directory: &[u8],
    file: &[u8],
    arena: &mut Arena<'m>,
) -> Result<&'m [u8], Errno> {
    let path = arena.path(directory, file)?;
    kernel.read(path, arena)
}

/// Inode of the host's own PID namespace: `PROC_PID_INIT_INO` of linux/proc_ns.h.
pub const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Reads the inode of the caller's PID namespace from a link with the target `pid:[INODE]`.
pub fn namespace_of<K: Kernel + ?Sized>(kernel: &K) -> Option<u64> {
    let mut buffer = [0; 64];
    let link = kernel
        .read_link(c"/proc/self/ns/pid", &mut Arena::new(&mut buffer))
        .ok()?;
    decimal(link.strip_prefix(b"pid:[")?.strip_suffix(b"]")?)
}

/// Nanoseconds in a tick of USER_HZ. The kernel counts start times in nanoseconds.
const TICK_NS: u64 = 10_000_000;

/// Reads when PID 1 started, in ticks since boot, from `/proc/1/stat`.
pub fn start_of<K: Kernel + ?Sized>(kernel: &K) -> Option<u64> {
    let mut buffer = [0; 1024];
    let stat = kernel
        .read(c"/proc/1/stat", &mut Arena::new(&mut buffer))
        .ok()?;
    // In a time namespace PID 1 can start before the boot. The kernel prints that negative time as a
    // large unsigned number: ignore it.
    start_ticks(stat).filter(|ticks| *ticks < i64::MAX as u64 / TICK_NS)
}

/// Parses field 22 of `/proc/PID/stat`, the start time. Field 2, the name, may contain spaces and
/// parentheses.
pub fn start_ticks(stat: &[u8]) -> Option<u64> {
    stat_fields(stat)?
        .nth(19)
        .and_then(|field| leading_decimal(field))
        .map(|(ticks, _)| ticks)
}
