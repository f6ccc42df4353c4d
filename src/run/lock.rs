//! A lock of the server's threads, which are raw threads without libc.

use crate::sys;
use core::ffi::c_int;
use core::ptr::null;
use core::sync::atomic::{AtomicU32, Ordering};

/// A lock that a thread waits for. In the server, the thread that has it receives calls. The thread keeps it
/// as long as calls take no time, so that its memory stays in the CPU cache. Before longer work it releases
/// the lock to another thread.
#[derive(Default)]
pub struct Lock(AtomicU32);

/// The locked state; dropping it releases the lock.
pub struct Locked<'t>(&'t AtomicU32);

impl Lock {
    const FREE: u32 = 0;
    const TAKEN: u32 = 1;
    const WANTED: u32 = 2;

    /// Waits for the lock.
    pub fn take(&self) -> Locked<'_> {
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
        Locked(&self.0)
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if self.0.swap(Lock::FREE, Ordering::Release) == Lock::WANTED {
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
