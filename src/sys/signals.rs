//! Signals of the calling thread.

use super::{Errno, call, call_always, pad};
use core::ffi::c_int;
#[cfg(feature = "preload")]
use core::mem::MaybeUninit;
use core::ptr::null;

/// Bytes of the kernel's signal set.
const SET: usize = size_of::<u64>();

/// The bit of `signal` in the kernel's signal set.
const fn bit(signal: c_int) -> u64 {
    1u64.wrapping_shl((signal as u32).wrapping_sub(1))
}

/// While this value exists, all signals of the calling thread but SIGSYS are blocked. Otherwise a handler that leaves
/// with `siglongjmp` would leak descriptors, memory and locks of the library.
#[must_use]
pub struct Blocked {
    before: Option<u64>,
}

/// Blocks all signals of the calling thread. If the kernel refuses, it blocks none.
///
/// SIGSYS stays: where a filter traps system calls, the program's handler makes them in the caller's place
/// (the brokers of browsers), and the kernel kills a program that has this signal blocked.
pub fn block() -> Blocked {
    let all = !bit(libc::SIGSYS);
    let mut before = 0u64;
    // SAFETY: the kernel reads one signal set and writes another.
    let done = unsafe {
        call!(
            SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const all,
            &raw mut before,
            SET
        )
    };
    Blocked {
        before: done.is_ok().then_some(before),
    }
}

impl Blocked {
    /// True if the kernel blocked the signals.
    pub fn are_blocked(&self) -> bool {
        self.before.is_some()
    }

    /// Discards a pending `signal` that a system call of this thread raised while signals were blocked.
    pub fn discard(&self, signal: c_int) {
        if self.are_blocked() {
            discard(signal);
        }
    }
}

/// The bytes left on the stack that the program has set up for signal handlers, if the caller is on it;
/// otherwise `usize::MAX`.
#[cfg(feature = "preload")]
pub fn space_on_own_stack() -> usize {
    let mut stack = MaybeUninit::<libc::stack_t>::uninit();
    let here = stack.as_mut_ptr();
    // SAFETY: the kernel fills one `stack_t`; it is read only if the call succeeded.
    match unsafe { call!(SYS_sigaltstack, 0, here).map(|_| stack.assume_init()) } {
        Ok(stack) if stack.ss_flags & libc::SS_ONSTACK != 0 => {
            (here as usize).wrapping_sub(stack.ss_sp as usize)
        }
        _ => usize::MAX,
    }
}

/// Discards a pending `signal` of the calling thread, which blocks it.
pub fn discard(signal: c_int) {
    let set = bit(signal);
    let at_once = [0i64; 2];
    // SAFETY: the kernel reads one signal set and one `struct timespec`.
    let _ = unsafe {
        call!(
            SYS_rt_sigtimedwait,
            &raw const set,
            null::<u8>(),
            at_once.as_ptr(),
            SET
        )
    };
}

impl Drop for Blocked {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let before: *const u64 = before;
            // SAFETY: the kernel reads one signal set.
            let _: Result<usize, Errno> = unsafe {
                call_always(
                    libc::SYS_rt_sigprocmask,
                    pad([libc::SIG_SETMASK as usize, before as usize, 0, SET]),
                )
            };
        }
    }
}
