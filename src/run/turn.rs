//! The lock of the server's threads, which are raw threads without libc.

use crate::sys;
use core::ffi::c_int;
use core::ptr::null;
use core::sync::atomic::{AtomicU32, Ordering};

/// A lock: one thread at a time receives calls. The thread keeps the lock as long as calls take no time, so
/// that its memory stays in the CPU cache. Before longer work it releases the lock to another thread.
#[derive(Default)]
pub struct Turn(AtomicU32);

/// The locked state; dropping it releases the lock.
pub struct Taken<'t>(&'t AtomicU32);

impl Turn {
    const FREE: u32 = 0;
    const TAKEN: u32 = 1;
    const WANTED: u32 = 2;

    /// Waits for the lock.
    pub fn take(&self) -> Option<Taken<'_>> {
        let first = self.0.compare_exchange(
            Self::FREE,
            Self::TAKEN,
            Ordering::Acquire,
            Ordering::Relaxed,
        );
        if first.is_err() {
            while self.0.swap(Self::WANTED, Ordering::Acquire) != Self::FREE {
                futex(&self.0, libc::FUTEX_WAIT, Self::WANTED, null());
            }
        }
        Some(Taken(&self.0))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.0.swap(Turn::FREE, Ordering::Release) == Turn::WANTED {
            futex(self.0, libc::FUTEX_WAKE, 1, null());
        }
    }
}

/// Without a `timeout` (null), a waiting thread waits until it is woken.
pub fn futex(word: &AtomicU32, operation: c_int, value: u32, timeout: *const libc::timespec) {
    let operation = (operation | libc::FUTEX_PRIVATE_FLAG) as usize;
    let word = word.as_ptr() as usize;
    let arguments = [word, operation, value as usize, timeout as usize, 0, 0];
    // SAFETY: the kernel reads the word and, unless it is null, the timeout, which a caller borrows.
    let _ = unsafe { sys::call(libc::SYS_futex, arguments) };
}
