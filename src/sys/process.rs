//! System calls about processes: identity, limits, file locks, sleep.

#[cfg(feature = "preload")]
use super::exists;
use super::{Errno, Fd, call, pad};
#[cfg(feature = "preload")]
use crate::text::Out;
#[cfg(feature = "preload")]
use core::ffi::CStr;
use core::ffi::c_int;
use core::mem::MaybeUninit;

/// `geteuid(2)`.
pub fn effective_user() -> u32 {
    // SAFETY: touches no memory, never fails.
    unsafe { call!(SYS_geteuid) }.map_or(u32::MAX, |user| user as u32)
}

/// The calling thread's ID in its PID namespace.
pub fn thread_id() -> u32 {
    // SAFETY: touches no memory, never fails.
    unsafe { call!(SYS_gettid) }.map_or(0, |thread| thread as u32)
}

/// True if `thread` is the ID of a thread of this process; false if that cannot be found out.
#[cfg(feature = "preload")]
pub fn is_own_thread(thread: u32) -> bool {
    let mut buffer = [0; 64];
    let mut path = Out::new(&mut buffer);
    path.bytes(b"/proc/self/task/");
    path.decimal(thread.into());
    path.byte(0);
    let path = path
        .finish()
        .and_then(|path| CStr::from_bytes_until_nul(path).ok());
    // The caller is known without a `/proc` of its PID namespace.
    thread == thread_id() || path.is_some_and(exists)
}

/// True if orphaned descendants of this process become its children (`PR_SET_CHILD_SUBREAPER`).
pub fn is_subreaper() -> bool {
    let mut set: c_int = 0;
    let option = libc::PR_GET_CHILD_SUBREAPER;
    // SAFETY: the kernel writes one int.
    unsafe { call!(SYS_prctl, option, &raw mut set, 0, 0, 0) }.is_ok() && set != 0
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

/// The outcome of [`try_lock_write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// This process now has the lock.
    Taken,
    /// Another writer has the lock.
    Busy,
    /// No writer has the lock, but a read lock of another process prevents this one.
    Obstructed,
}

/// Tries to lock one byte of `file` for as long as the open file exists (`F_OFD_SETLK`; never waits). Only
/// a process that may write to the file can take this lock. Any process that may read the file can take a
/// read lock, but no process of this library does.
pub fn try_lock_write(file: &Fd, byte: i64) -> Result<Lock, Errno> {
    // A writer may unlock between the two calls. Only a conflict that persists is a read lock.
    for _ in 0..4 {
        let mut lock = lock_of(byte, libc::F_WRLCK);
        match control(file, libc::F_OFD_SETLK, &mut lock) {
            Ok(()) => return Ok(Lock::Taken),
            Err(Errno(libc::EAGAIN | libc::EACCES)) => {}
            Err(e) => return Err(e),
        }
        lock = lock_of(byte, libc::F_RDLCK);
        control(file, libc::F_OFD_GETLK, &mut lock)?;
        if c_int::from(lock.l_type) == libc::F_WRLCK {
            return Ok(Lock::Busy);
        }
    }
    Ok(Lock::Obstructed)
}

/// Releases the lock that [`try_lock_write`] took.
pub fn unlock(file: &Fd, byte: i64) {
    let _ = control(file, libc::F_OFD_SETLK, &mut lock_of(byte, libc::F_UNLCK));
}

fn lock_of(byte: i64, kind: c_int) -> libc::flock {
    libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}

fn control(file: &Fd, command: c_int, lock: &mut libc::flock) -> Result<(), Errno> {
    // SAFETY: the kernel reads and writes one `struct flock`.
    unsafe { call!(SYS_fcntl, file.raw(), command, &raw mut *lock) }.map(drop)
}

/// The process ID of the parent; 0 if the parent is in another PID namespace.
pub fn parent() -> u32 {
    // SAFETY: touches no memory, never fails.
    unsafe { call!(SYS_getppid) }.map_or(0, |process| process as u32)
}

/// The limit of a resource, getrlimit(2).
pub fn limit_of(resource: u32) -> Result<u64, Errno> {
    let mut limit = MaybeUninit::<libc::rlimit64>::uninit();
    // SAFETY: the kernel fills one `struct rlimit64`; it is read only if the call succeeded.
    unsafe {
        call!(SYS_prlimit64, 0, resource, 0, limit.as_mut_ptr())
            .map(|_| limit.assume_init().rlim_cur)
    }
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

/// `struct stat` of the file that the parent has as its standard input.
#[cfg(feature = "preload")]
pub fn input_of_parent() -> Result<libc::stat, Errno> {
    // SAFETY: touches no memory, never fails. The result 0 means that the parent is in another PID
    // namespace.
    let parent = unsafe { call!(SYS_getppid) }?;
    let mut path = [0; 48];
    let mut path = Out::new(&mut path);
    path.bytes(b"/proc/");
    path.decimal(parent as u64);
    path.bytes(b"/fd/0\0");
    let path = path.finish().ok_or(Errno::BUFFER_TOO_SMALL)?;
    super::status_of(CStr::from_bytes_until_nul(path).map_err(|_| Errno::BUFFER_TOO_SMALL)?)
}
