//! Counts the container's threads by their state, from `/proc/PID/stat` and
//! `/proc/PID/task/TID/stat`. In the host's PID namespace, and in one that several containers share,
//! the container's own processes are those of its cgroup; in any other they are all that can be seen.
#![forbid(unsafe_code)]

use crate::gather::{self, Kernel, Place};
use crate::snapshot::Tasks;
use crate::sys::memory::Arena;
use crate::sys::{self, Errno, Fd};
use crate::text::{Out, decimal, field, fields, lines};
use core::ffi::CStr;

/// How far below the container's cgroup tasks are looked for.
pub(crate) const DEEPEST: u32 = 16;

/// The tasks of the container at `place` as `/proc` below `root` shows them to `kernel`: an empty
/// path, or the `/proc/PID/root` of one of its processes.
pub fn count<K: Kernel>(
    kernel: &K,
    root: &[u8],
    place: &Place,
    arena: &mut Arena,
) -> Result<Tasks, Errno> {
    let proc = open_directory(libc::AT_FDCWD, arena.path(root, b"proc")?)?;
    let mut tasks = Tasks::default();
    if gather::is_in_initial_pid_namespace(kernel) {
        // What the reader sees in /proc are the host's tasks, and there are never fewer.
        let mut loadavg = [0; 64];
        let file = sys::open_at(proc.raw(), c"loadavg", libc::O_RDONLY, 0)?;
        let length = sys::read(file.raw(), &mut loadavg)?;
        let seen = loadavg.get(..length).and_then(gather::host_tasks);
        let (running, total) = seen.unwrap_or_default();
        if let Some(home) = place.home_of_processes() {
            tasks = count_in_cgroup(&proc, home.directory, arena)?;
        } else {
            // A limit was handed in at the host's root: they are all the container's.
            let stat = kernel.read_long(arena.path(root, b"proc/stat")?, arena)?;
            tasks.blocked = field(stat, b"procs_blocked").ok_or(Errno::GARBAGE)?;
            tasks.running = running;
        }
        tasks.total = tasks.total.max(total);
    } else {
        let scratch = &mut arena.scratch();
        each_process(&proc, scratch, |name| {
            count_process(&proc, name, &mut tasks)
        })?;
        // Who asks runs; where nobody else does, it need not be known whose it is.
        let asker = u64::from(root.is_empty());
        if tasks.running.saturating_add(tasks.blocked) > asker
            && let Some(home) = place.home_of_processes()
            && !kernel.is_alone(&mut arena.scratch())
        {
            // A pod: the others' tasks can be seen, and no more.
            let own = count_in_cgroup(&proc, home.directory, arena)?;
            (tasks.running, tasks.blocked) = (own.running, own.blocked);
        }
    }
    Ok(tasks)
}

/// The processes that `proc` lists. In the kernel's order these are behind everything else, which
/// takes longer to list than a container's few processes: `FIRST_PROCESS_ENTRY` of fs/proc/base.c,
/// where the first entry is `self`. Where it is not, all is listed.
fn each_process(proc: &Fd, arena: &mut Arena, mut with: impl FnMut(&[u8])) -> Result<(), Errno> {
    const FIRST_PROCESS_ENTRY: u64 = 256;
    let room = arena.piece(PIECE)?;
    let mut first = true;
    let mut there = false;
    if sys::seek(proc.raw(), FIRST_PROCESS_ENTRY).is_ok() {
        each_entry_in(proc, room, |name| {
            there |= first && name == b"self";
            first = false;
            if there {
                with(name);
            }
            there
        })?;
    }
    if there {
        return Ok(());
    }
    sys::seek(proc.raw(), 0)?;
    each_entry_in(proc, room, |name| {
        with(name);
        true
    })
}

/// Room for a piece of a list of processes.
pub(crate) const PIECE: usize = 16 << 10;

/// The processes that a cgroup lists, however many they are.
pub(crate) fn each_process_in(cgroup: &Fd, room: &mut [u8], mut with: impl FnMut(&[u8])) {
    let Ok(list) = sys::open_at(cgroup.raw(), c"cgroup.procs", libc::O_RDONLY, 0) else {
        return;
    };
    let mut at = 0u64;
    while let Ok(length) = sys::read_at(list.raw(), room, at) {
        // Whole lines: the last one may go on in the next piece.
        let piece = room.get(..length).unwrap_or_default();
        let Some(whole) = memchr::memrchr(b'\n', piece).and_then(|end| piece.get(..=end)) else {
            return;
        };
        lines(whole).for_each(&mut with);
        at = at.saturating_add(whole.len() as u64);
    }
}

/// The tasks of the cgroup whose files are in `directory`, and of all cgroups below it.
pub fn count_in_cgroup(proc: &Fd, directory: &[u8], arena: &mut Arena) -> Result<Tasks, Errno> {
    let top = open_directory(libc::AT_FDCWD, arena.path(directory, b".")?)?;
    let list = arena.piece(PIECE)?;
    let mut tasks = Tasks::default();
    count_cgroup(proc, &top, DEEPEST, list, &mut tasks);
    Ok(tasks)
}

/// The processes of a cgroup and of all below it. `list` is for the lists of processes, one level
/// after the other.
fn count_cgroup(proc: &Fd, cgroup: &Fd, depth: u32, list: &mut [u8], tasks: &mut Tasks) {
    each_process_in(cgroup, list, |pid| count_process(proc, pid, tasks));
    if depth == 0 {
        return;
    }
    let _ = each_entry(cgroup, |name| {
        let mut room = [0; 256];
        if let Some(name) = terminated(name, b"", &mut room)
            && let Ok(below) = open_directory(cgroup.raw(), name)
        {
            count_cgroup(proc, &below, depth.wrapping_sub(1), list, tasks);
        }
    });
}

/// Counts one process, if `name` is one: most have one thread, and then its own line says all.
fn count_process(proc: &Fd, name: &[u8], tasks: &mut Tasks) {
    let mut room = [0; 64];
    if decimal(name).is_none() {
        return;
    }
    let Some((state, threads)) = terminated(name, b"/stat", &mut room).and_then(|p| state(proc, p))
    else {
        return;
    };
    tasks.total = tasks.total.saturating_add(threads.max(1));
    if threads <= 1 {
        return enter(state, tasks);
    }
    let Some(path) = terminated(name, b"/task", &mut room) else {
        return;
    };
    let Ok(directory) = open_directory(proc.raw(), path) else {
        return;
    };
    let _ = each_entry(&directory, |thread| {
        let mut room = [0; 64];
        if decimal(thread).is_some()
            && let Some(path) = terminated(thread, b"/stat", &mut room)
            && let Some((state, _)) = self::state(&directory, path)
        {
            enter(state, tasks);
        }
    });
}

fn enter(state: u8, tasks: &mut Tasks) {
    match state {
        b'R' => tasks.running = tasks.running.saturating_add(1),
        b'D' => tasks.blocked = tasks.blocked.saturating_add(1),
        _ => {}
    }
}

/// State and number of threads: fields 3 and 20 of a stat file.
fn state(directory: &Fd, path: &CStr) -> Option<(u8, u64)> {
    let mut room = [0; 512];
    let file = sys::open_at(directory.raw(), path, libc::O_RDONLY, 0).ok()?;
    let length = sys::read(file.raw(), &mut room).ok()?;
    let stat = room.get(..length)?;
    let after_name = memchr::memrchr(b')', stat).and_then(|end| stat.get(end.wrapping_add(1)..))?;
    let mut fields = fields(after_name);
    let state = *fields.next()?.first()?;
    Some((state, decimal(fields.nth(16)?)?))
}

pub(crate) fn open_directory(at: core::ffi::c_int, path: &CStr) -> Result<Fd, Errno> {
    sys::open_at(
        at,
        path,
        libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW,
        0,
    )
}

pub(crate) fn terminated<'b, const N: usize>(
    name: &[u8],
    tail: &[u8],
    room: &'b mut [u8; N],
) -> Option<&'b CStr> {
    let mut out = Out::new(room);
    out.bytes(name);
    out.bytes(tail);
    out.byte(0);
    CStr::from_bytes_until_nul(out.finish()?).ok()
}

/// The names in a directory, those that begin with a dot left out.
pub(crate) fn each_entry(directory: &Fd, mut with: impl FnMut(&[u8])) -> Result<(), Errno> {
    let mut room = [0u8; 1024];
    each_entry_in(directory, &mut room, |name| {
        with(name);
        true
    })
}

/// The same for directories that may be long: `room` is for their entries. Ends when `with` says
/// so.
pub(crate) fn each_entry_in(
    directory: &Fd,
    room: &mut [u8],
    mut with: impl FnMut(&[u8]) -> bool,
) -> Result<(), Errno> {
    // A struct linux_dirent64: inode and offset of 8 bytes each, length of 2, type of 1, name.
    const LENGTH: core::ops::Range<usize> = 16..18;
    const NAME: usize = 19;
    loop {
        let length = sys::directory_entries(directory.raw(), room)?;
        let mut rest = room.get(..length).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        while let Some([low, high]) = rest.get(LENGTH) {
            let record = usize::from(u16::from_ne_bytes([*low, *high]));
            let Some((entry, more)) = rest.split_at_checked(record).filter(|_| record > NAME)
            else {
                return Err(Errno::GARBAGE);
            };
            let name = entry
                .get(NAME..)
                .and_then(|name| name.split(|b| *b == 0).next());
            if let Some(name) = name.filter(|name| name.first().is_some_and(|b| *b != b'.'))
                && !with(name)
            {
                return Ok(());
            }
            rest = more;
        }
    }
}
