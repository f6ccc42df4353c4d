//! The [`Kernel`] of the running process: it reads files with system calls.
#![forbid(unsafe_code)]

use crate::cgroup::kernel::Kernel;
use crate::error::{ErrorKind, Failure};
use crate::mem::{Arena, work_in_block};
use crate::runtime::log;
use crate::sys::{self, Errno, Fd};
use core::ffi::CStr;
use core::num::NonZero;

/// Reads the kernel of the running process with system calls.
#[derive(Clone, Copy, Default)]
pub struct Live {
    /// See [`Store::signals_are_blocked`](crate::shared_state::Store::signals_are_blocked).
    pub signals_are_blocked: bool,
}

/// Calls `question` with the running kernel and an arena in a memory block of its own. Tries again with
/// a larger block if the block is too small.
pub fn ask<T>(
    live: Live,
    mut question: impl FnMut(&Live, Arena) -> Result<T, Failure>,
) -> Result<T, Failure> {
    work_in_block(
        |e| (ErrorKind::NoMemory, e),
        |(_, errno)| *errno == Errno::BUFFER_TOO_SMALL,
        |arena| question(&live, arena),
    )
}

impl Kernel for Live {
    fn read<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        log::reading(path);
        let file = open(path)?;
        arena.read_into(|buffer| {
            let free = buffer.len();
            let length = sys::read(file.raw(), buffer)?;
            if length < free {
                Ok(length)
            } else {
                Err(Errno::BUFFER_TOO_SMALL)
            }
        })
    }

    fn read_long<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        log::reading(path);
        let file = open(path)?;
        arena.read_into(|buffer| sys::read_whole(file.raw(), buffer))
    }

    fn read_link<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        let mut path_buffer = [0; 64];
        let path = own(path, &mut path_buffer)?;
        arena.read_into(|buffer| sys::read_link(path, buffer).map(<[u8]>::len))
    }

    fn exists(&self, path: &CStr) -> bool {
        sys::exists(path)
    }

    fn boot_us(&self) -> Result<u64, Errno> {
        sys::clock::clock_us(libc::CLOCK_BOOTTIME)
    }

    #[cfg(feature = "preload")]
    fn own_cpus<'m>(&self, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        arena.read_into(|buffer| sys::affinity_into(0, buffer))
    }

    fn page_size(&self) -> NonZero<u64> {
        sys::page_size()
    }
}

/// Replaces `/proc/self` in `path` with the directory of the calling thread.
fn own<'p>(path: &'p CStr, buffer: &'p mut [u8; 64]) -> Result<&'p CStr, Errno> {
    match path.to_bytes().strip_prefix(b"/proc/self/") {
        Some(name) => sys::own_path(name, buffer),
        None => Ok(path),
    }
}

fn open(path: &CStr) -> Result<Fd, Errno> {
    sys::open(own(path, &mut [0; 64])?)
}
