//! Writes the library's messages to the program's stderr without harm to the program.

use super::{call, pad, status};
use core::ffi::c_int;
use core::ptr::null;
use core::sync::atomic::{AtomicU64, Ordering};

const FD: c_int = libc::STDERR_FILENO;

/// The file that was stderr when the program started; [`UNKNOWN`] if messages were not enabled then.
static AT_START: AtomicU64 = AtomicU64::new(UNKNOWN);

const UNKNOWN: u64 = 0;
/// The program started without stderr.
const CLOSED: u64 = 1;

/// Records which file stderr is. Called when the program starts, if its environment enables messages.
pub fn remember() {
    AT_START.store(identity().unwrap_or(CLOSED), Ordering::Relaxed);
}

/// Device and inode in one number.
fn identity() -> Option<u64> {
    let status = status(FD).ok()?;
    Some(status.st_ino.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ status.st_dev.rotate_left(32) | 2)
}

/// True if stderr still is the same file as at the start. If that is unknown (only `/etc/proclens.conf`
/// enables messages), accepts a terminal or a pipe, and rejects a file.
fn is_stderr() -> bool {
    match AT_START.load(Ordering::Relaxed) {
        UNKNOWN => status(FD).is_ok_and(|status| {
            matches!(status.st_mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFIFO)
        }),
        at_start => identity() == Some(at_start),
    }
}

/// Writes `text`, less than a page, if stderr is the program's own and accepts the text at once. Writes
/// nothing to a full pipe, a pipe without a reader or a stopped terminal.
pub fn write(text: &[u8]) {
    const SIGNAL_SET: usize = 8;
    let bit = |signal: c_int| 1u64 << (signal.wrapping_sub(1) & 63);
    let mut poll = libc::pollfd {
        fd: FD,
        events: libc::POLLOUT,
        revents: 0,
    };
    let mut no_time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if !is_stderr() {
        return;
    }
    // SAFETY: the kernel reads and writes these variables and reads `text`, all with the lengths that are
    // passed. The thread's signal mask is restored; a signal that was pending before stays pending.
    unsafe {
        let ready = call!(
            SYS_ppoll,
            &raw mut poll,
            1,
            &raw mut no_time,
            null::<u64>(),
            SIGNAL_SET
        );
        if ready != Ok(1) || poll.revents != libc::POLLOUT {
            return;
        }
        // Meanwhile the reader may exit, the file may reach its limit, or the terminal may belong to
        // another job.
        let deadly = bit(libc::SIGPIPE) | bit(libc::SIGXFSZ);
        let blocked = deadly | bit(libc::SIGTTOU);
        let (mut before, mut pending) = (0u64, 0u64);
        let (how, back) = (libc::SIG_BLOCK, libc::SIG_SETMASK);
        if call!(
            SYS_rt_sigprocmask,
            how,
            &raw const blocked,
            &raw mut before,
            SIGNAL_SET
        )
        .is_err()
        {
            return;
        }
        let _ = call!(SYS_rt_sigpending, &raw mut pending, SIGNAL_SET);
        let written = call!(SYS_write, FD, text.as_ptr(), text.len());
        let own = deadly & !pending;
        if written.is_err() && own != 0 {
            let _ = call!(
                SYS_rt_sigtimedwait,
                &raw const own,
                0,
                &raw const no_time,
                SIGNAL_SET
            );
        }
        let _ = call!(
            SYS_rt_sigprocmask,
            back,
            &raw const before,
            null::<u64>(),
            SIGNAL_SET
        );
    }
}
