//! Removes the state files of containers that have ended.
#![forbid(unsafe_code)]

use super::record;
use super::store::{PATH, Store};
use crate::sys::directory::{each_entry_in, open_directory, terminated};
use crate::sys::{self, Fd};
use crate::text::decimal;
use core::ffi::CStr;

/// The state file of another container is stale if it was last written more than a day ago, seconds.
const STALE_SECONDS: i64 = 86_400;
/// The number of the initial time namespace (`PROC_TIME_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_TIME_NAMESPACE: u64 = 0xefff_fffa;

impl Store<'_> {
    /// Removes the state files of containers that have ended, in each directory.
    pub fn remove_stale(&self) {
        for directory in self.directories() {
            self.remove_stale_in(directory);
        }
    }

    /// Removes the files of ended containers in one directory, see [`Identity::is_stale`](record::Identity::is_stale). If that
    /// check proves nothing (containers share a PID namespace, or no namespace has reused the number
    /// yet), the time of the last write decides. Reads at most some 500 entries.
    pub(super) fn remove_stale_in(&self, directory: &[u8]) {
        const MOST_BUFFERS: u32 = 16;
        let mut buffer = [0; PATH];
        let Some(path) = terminated(directory, b"/.", &mut buffer) else {
            return;
        };
        let Ok(directory) = open_directory(libc::AT_FDCWD, path) else {
            return;
        };
        let namespaces = own_namespaces();
        let [.., time, _, _] = namespaces;
        if time != 0 && time != INITIAL_TIME_NAMESPACE {
            // In this time namespace PID 1 has another start time than other processes of the container
            // see.
            return;
        }
        let now = sys::clock::clock_us(libc::CLOCK_REALTIME).unwrap_or(0) / 1_000_000;
        let mut left = MOST_BUFFERS.saturating_mul(32);
        let mut entries = [0; 1024];
        let _ = each_entry_in(&directory, &mut entries, |name| {
            let mut name_buffer = [0; 256];
            left = left.saturating_sub(1);
            if record::is_state_name(name)
                && let Some(path) = terminated(name, b"", &mut name_buffer)
                && (self.identity.is_stale(name, &namespaces)
                    || is_abandoned(&directory, path, now))
            {
                let _ = sys::unlink_at(&directory, path, 0);
            }
            left > 0
        });
    }
}

/// Returns whether a file was last written too long ago. `now` is the time in seconds.
fn is_abandoned(directory: &Fd, name: &CStr, now: u64) -> bool {
    let now = i64::try_from(now).unwrap_or(0);
    sys::status_at(directory, name)
        .is_ok_and(|status| now.saturating_sub(status.st_mtime) > STALE_SECONDS)
}

/// The inode numbers of this process's namespaces; 0 for those that cannot be read.
fn own_namespaces() -> [u64; 8] {
    const DIRECTORY: &[u8] = b"/proc/thread-self/ns/";
    let names: [&[u8]; 8] = [
        b"cgroup", b"ipc", b"mnt", b"net", b"pid", b"time", b"user", b"uts",
    ];
    names.map(|name| {
        let (mut path, mut link) = ([0; 32], [0; 32]);
        let mut number = || {
            let link = sys::read_link(terminated(DIRECTORY, name, &mut path)?, &mut link).ok()?;
            let (_, number) = crate::text::cut(link.strip_suffix(b"]")?, b'[')?;
            decimal(number)
        };
        number().unwrap_or(0)
    })
}
