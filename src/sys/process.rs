//! System calls about processes: who one is, who waits for whom, and what a helper process needs
//! to be nobody's.

use super::{Errno, Fd, call, pad};
use core::ffi::c_int;

/// `geteuid(2)`.
pub fn effective_user() -> u32 {
    // SAFETY: touches no memory, never fails.
    unsafe { call!(SYS_geteuid) }.map_or(u32::MAX, |user| user as u32)
}

/// Whether orphans below this process become its children (`PR_SET_CHILD_SUBREAPER`).
pub fn is_subreaper() -> bool {
    let mut answer: c_int = 0;
    let option = libc::PR_GET_CHILD_SUBREAPER;
    // SAFETY: the kernel writes one int.
    unsafe { call!(SYS_prctl, option, &raw mut answer, 0, 0, 0) }.is_ok() && answer != 0
}

/// `sched_yield(2)`.
pub fn let_others_run() {
    // SAFETY: touches no memory.
    let _ = unsafe { call!(SYS_sched_yield) };
}

/// `fchmod(2)`.
pub fn change_mode(file: &Fd, mode: u32) -> Result<(), Errno> {
    // SAFETY: touches no memory.
    unsafe { call!(SYS_fchmod, file.raw(), mode) }.map(drop)
}

/// Takes the lock on one byte of `file` if nobody has it, for as long as the open file lives
/// (`F_OFD_SETLK`; never waits).
pub fn try_lock(file: &Fd, byte: i64) -> Result<(), Errno> {
    set_lock(file, byte, libc::F_WRLCK)
}

/// Gives back what [`try_lock`] took.
pub fn unlock(file: &Fd, byte: i64) {
    let _ = set_lock(file, byte, libc::F_UNLCK);
}

fn set_lock(file: &Fd, byte: i64, kind: c_int) -> Result<(), Errno> {
    let lock = libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the kernel reads one `struct flock`, and on failure writes none.
    unsafe { call!(SYS_fcntl, file.raw(), libc::F_OFD_SETLK, &raw const lock) }.map(drop)
}

/// Sleeps until `clock` shows `at_us` microseconds (`clock_nanosleep(2)`, absolute), or until a
/// signal comes.
pub fn sleep_until(clock: libc::clockid_t, at_us: u64) -> Result<(), Errno> {
    let at = libc::timespec {
        tv_sec: (at_us / 1_000_000) as i64,
        tv_nsec: (at_us % 1_000_000).wrapping_mul(1000) as i64,
    };
    let flags = libc::TIMER_ABSTIME;
    // SAFETY: the kernel reads one `struct timespec`.
    match unsafe { call!(SYS_clock_nanosleep, clock, flags, &raw const at, 0) } {
        Ok(_) | Err(Errno(libc::EINTR)) => Ok(()),
        Err(e) => Err(e),
    }
}
