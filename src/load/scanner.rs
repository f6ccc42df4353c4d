//! The thread scanner: lists a container's processes and threads, and reads their state from
//! `/proc/PID/task/TID/stat`. The load average's sampler and the reader of `/proc/stat` share it.
//!
//! Nothing here recurses: a program may have a stack of only 16 KiB, and sub-cgroups can be nested.
#![forbid(unsafe_code)]

use crate::sys::directory::{each_entry_in, open_directory, open_next_directory, sub_directories};
use crate::sys::{self, Errno, Fd};
use crate::text::{Out, decimal, lines, stat_fields};
use core::ffi::CStr;

/// Levels of sub-cgroups below the container's cgroup that are searched for processes.
pub const DEEPEST: usize = 16;

/// Bytes of the buffer for lists of processes.
pub const LIST_SIZE: usize = 16 << 10;

/// The fields of a `stat` file of `/proc` that this library uses (`fs/proc/array.c`, `do_task_stat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskStat {
    /// State, field 3.
    pub state: u8,
    /// User and system time, fields 14 and 15, in ticks. In `/proc/PID/stat` they are those of the
    /// whole process, else of the thread.
    pub ticks: u64,
    /// Threads of the process, field 20.
    pub threads: u64,
}

impl TaskStat {
    /// Parses the kernel's line.
    pub fn parse(stat: &[u8]) -> Option<TaskStat> {
        let mut fields = stat_fields(stat)?;
        let state = *fields.next()?.first()?;
        let user = decimal(fields.nth(10)?)?;
        let system = decimal(fields.next()?)?;
        let threads = decimal(fields.nth(4)?)?;
        Some(TaskStat {
            state,
            ticks: user.saturating_add(system),
            threads,
        })
    }

    /// True for the states that the load average counts: running or ready to run, and uninterruptible sleep.
    pub fn is_active(&self) -> bool {
        matches!(self.state, b'R' | b'D')
    }
}

/// Identifies a thread by the number of its process and its own number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct ThreadId {
    /// The process.
    pub process: u32,
    /// The thread.
    pub thread: u32,
}

/// Flags for files in a `/proc` or a cgroup that another container may control: an open never waits, even if a FIFO is
/// mounted over the file.
pub(super) const READ: core::ffi::c_int = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;

/// Reads a thread's state. Unlike reading `/proc/PID/stat`, the cost does not depend on the number of
/// threads in the process.
pub fn read_thread(proc: &Fd, id: ThreadId) -> Option<TaskStat> {
    let mut buffer = [0; 64];
    let mut path = Out::new(&mut buffer);
    path.decimal(u64::from(id.process));
    path.bytes(b"/task/");
    path.decimal(u64::from(id.thread));
    path.bytes(b"/stat\0");
    read_stat(proc, CStr::from_bytes_until_nul(path.finish()?).ok()?)
}

fn read_stat(directory: &Fd, path: &CStr) -> Option<TaskStat> {
    let mut buffer = [0; 512];
    let file = sys::open_at(directory.raw(), path, READ, 0).ok()?;
    let length = sys::read(file.raw(), &mut buffer).ok()?;
    TaskStat::parse(buffer.get(..length)?)
}

/// Reads the state of the thread that the scan has reached.
pub type ReadState<'r> = dyn FnMut() -> Option<TaskStat> + 'r;

/// Calls `visit` with each thread of `process` and a function that reads its state, until `visit` returns
/// false. Returns how many threads the process has, and `None` if it has ended.
pub fn each_thread(
    proc: &Fd,
    process: u32,
    visit: &mut dyn FnMut(ThreadId, &mut ReadState) -> bool,
) -> Option<u64> {
    let mut buffer = [0; 64];
    let whole = read_stat(proc, number_path(process, b"/stat\0", &mut buffer)?)?;
    if whole.threads <= 1 {
        // Most processes have one thread. The line of the process then describes that thread.
        let id = ThreadId {
            process,
            thread: process,
        };
        visit(id, &mut || Some(whole));
        return Some(1);
    }
    let path = number_path(process, b"/task\0", &mut buffer)?;
    let directory = open_directory(proc.raw(), path).ok()?;
    let mut entries = [0; 1024];
    let _ = each_entry_in(&directory, &mut entries, |name| {
        let Some(thread) = decimal(name).and_then(|n| u32::try_from(n).ok()) else {
            return true;
        };
        visit(ThreadId { process, thread }, &mut || {
            let mut buffer = [0; 64];
            read_stat(&directory, number_path(thread, b"/stat\0", &mut buffer)?)
        })
    });
    Some(whole.threads)
}

fn number_path<'b>(number: u32, tail: &[u8], buffer: &'b mut [u8; 64]) -> Option<&'b CStr> {
    let mut path = Out::new(buffer);
    path.decimal(u64::from(number));
    path.bytes(tail);
    CStr::from_bytes_until_nul(path.finish()?).ok()
}

/// Calls `visit` with each process that `proc` lists, until `visit` returns false. `list` is a buffer.
/// Returns true if all processes were visited.
///
/// The kernel lists the processes after all other entries, and listing those takes longer than listing
/// a container's few processes. So seek to the first process: `FIRST_PROCESS_ENTRY` of fs/proc/base.c.
/// The first entry there is `self`, which shows that the seek worked.
pub fn each_process(
    proc: &Fd,
    list: &mut [u8],
    visit: &mut dyn FnMut(u32) -> bool,
) -> Result<bool, Errno> {
    const FIRST_PROCESS_ENTRY: u64 = 256;
    let mut complete = true;
    let mut process = |name: &[u8]| {
        if let Some(process) = decimal(name).and_then(|n| u32::try_from(n).ok()) {
            complete = visit(process);
        }
        complete
    };
    let mut skipped = false;
    if sys::seek(proc.raw(), FIRST_PROCESS_ENTRY).is_ok() {
        let mut first = true;
        each_entry_in(proc, list, |name| {
            skipped |= first && name == b"self";
            first = false;
            skipped && process(name)
        })?;
    }
    if !skipped {
        sys::seek(proc.raw(), 0)?;
        each_entry_in(proc, list, process)?;
    }
    Ok(complete)
}

/// Calls `visit` with each process in the cgroup `parent` and in the cgroups below it, until `visit`
/// returns false or `most` cgroups were searched. `list` is a buffer. Returns true if all processes
/// were visited.
pub fn each_process_in_cgroups(
    parent: Fd,
    most: u32,
    list: &mut [u8],
    visit: &mut dyn FnMut(u32) -> bool,
) -> bool {
    let mut left = most;
    let mut levels = [const { None::<Level> }; DEEPEST + 1];
    let mut depth = 0usize;
    let mut found = Some(parent);
    loop {
        if let Some(directory) = found.take() {
            let Some(slot) = levels.get_mut(depth).filter(|_| left > 0) else {
                return false;
            };
            left = left.saturating_sub(1);
            let below = sub_directories(&directory);
            if below.is_some_and(|below| below > u64::from(left)) {
                return false;
            }
            if !each_process_listed(&directory, list, visit) {
                return false;
            }
            if below != Some(0) {
                *slot = Some(Level { directory, next: 0 });
            }
        }
        let Some(slot) = levels.get_mut(depth) else {
            return false;
        };
        found = slot
            .as_mut()
            .and_then(|level| open_next_directory(&level.directory, &mut level.next));
        if found.is_some() {
            depth = depth.saturating_add(1);
            continue;
        }
        *slot = None;
        match depth.checked_sub(1) {
            Some(above) => depth = above,
            None => return true,
        }
    }
}

/// A cgroup whose sub-cgroups the scan is visiting.
struct Level {
    directory: Fd,
    /// The directory offset at which the list of its entries continues.
    next: u64,
}

/// Calls `visit` with each process that `cgroup` lists, until `visit` returns false. Returns true if
/// all processes were visited.
fn each_process_listed(cgroup: &Fd, list: &mut [u8], visit: &mut dyn FnMut(u32) -> bool) -> bool {
    let Ok(file) = sys::open_at(cgroup.raw(), c"cgroup.procs", READ, 0) else {
        return true;
    };
    let mut at = 0u64;
    while let Ok(length) = sys::read_at(file.raw(), list, at) {
        // Use whole lines only: the last line may continue in the next part.
        let part = list.get(..length).unwrap_or_default();
        let Some(whole) = memchr::memrchr(b'\n', part).and_then(|end| part.get(..=end)) else {
            break;
        };
        for line in lines(whole) {
            let process = decimal(line).and_then(|n| u32::try_from(n).ok());
            if process.is_some_and(|process| !visit(process)) {
                return false;
            }
        }
        at = at.saturating_add(whole.len() as u64);
    }
    true
}
