//! The library file as a program of its own: the sampler's process, and how the library starts
//! it. The file that is loaded into the asking program is the one that is executed, so that
//! nothing else needs to be installed.

use super::run_alone;
use crate::gather::{self, Kernel, Place};
use crate::settings::Settings;
use crate::sys::memory::terminated;
use crate::sys::process::is_subreaper;
use crate::sys::spawn::{exit, leave_everything, relocate, start};
use crate::sys::{self, Errno, link};
use crate::text::{Out, decimal, lines, trim};
use core::ffi::{CStr, c_char};

/// The argument that makes the file a sampler.
const SAMPLER: &CStr = c"sampler";

/// Whether this process is one that may start the container's sampler.
pub fn may_start<K: Kernel>(kernel: &K, settings: &Settings<'_>, place: &Place<'_>) -> bool {
    settings.sampler
        && !inherits_orphans()
        && !has_children_elsewhere()
        // It would have the rights of one user and be another's to kill.
        && !link::is_secure()
        && !is_confined(kernel, place)
}

/// Starts the container's sampler. `Err` says why it could not be.
pub fn start_sampler(settings: &Settings<'_>) -> Result<(), Errno> {
    let path = link::own_path().ok_or(Errno::MISSING)?;
    let mut room = [0; 512];
    let state = settings.state.unwrap_or_default();
    let directory = path_in(&mut room, |out| out.bytes(state)).ok_or(Errno::NO_ROOM)?;
    start(path, &[c"proclens", SAMPLER, directory])
}

/// The container's init and a subreaper would get the sampler as a child of their own, and their
/// `wait` would see it.
fn inherits_orphans() -> bool {
    sys::process_id() == 1 || is_subreaper()
}

/// After `unshare` or `setns` of a PID namespace, the next child is in that one: in a new one it is the
/// init, with which the namespace ends. That is for a child of the program's own.
fn has_children_elsewhere() -> bool {
    const CHILDREN: &CStr = c"/proc/thread-self/ns/pid_for_children";
    let (mut room, mut other) = ([0; 64], [0; 64]);
    let Ok(own) = sys::read_link(c"/proc/thread-self/ns/pid", &mut room) else {
        return false;
    };
    match sys::read_link(CHILDREN, &mut other) {
        Ok(children) => children != own,
        // As long as nobody is in it, the link leads nowhere. Before Linux 4.12 there is none.
        Err(_) => {
            let flags = libc::O_PATH | libc::O_NOFOLLOW;
            sys::open_at(libc::AT_FDCWD, CHILDREN, flags, 0).is_ok()
        }
    }
}

/// A program that has put more seccomp filters on itself than the container's init has may be
/// killed for a call that it never makes by itself, such as `execve`.
fn is_confined<K: Kernel>(kernel: &K, place: &Place<'_>) -> bool {
    let mut room = [0; 64];
    let own = sys::own_path(b"status", &mut room).ok().and_then(filters);
    if own <= filters(c"/proc/1/status").or(own) {
        return false;
    }
    // In the machine's PID namespace process 1 is not the container's: its first process is.
    !gather::is_in_initial_pid_namespace(kernel)
        || first_of(place)
            .and_then(filters_of)
            .is_none_or(|first| own > Some(first))
}

/// The process that has been in the container's cgroup for longest, unless it is this one.
fn first_of(place: &Place<'_>) -> Option<u64> {
    let home = place.home_of_processes()?;
    let mut room = [0; 1024];
    let file = sys::open(path_in(&mut room, |out| {
        out.bytes(home.directory);
        out.bytes(b"/cgroup.procs");
    })?)
    .ok()?;
    let mut text = [0; 32];
    let length = sys::read_at(file.raw(), &mut text, 0).ok()?;
    let first = decimal(lines(text.get(..length)?).next()?)?;
    (first != u64::from(sys::process_id())).then_some(first)
}

fn filters_of(process: u64) -> Option<u64> {
    let mut room = [0; 48];
    filters(path_in(&mut room, |out| {
        out.bytes(b"/proc/");
        out.decimal(process);
        out.bytes(b"/status");
    })?)
}

fn path_in(room: &mut [u8], print: impl FnOnce(&mut Out)) -> Option<&CStr> {
    let mut out = Out::new(room);
    print(&mut out);
    out.byte(0);
    CStr::from_bytes_until_nul(out.finish()?).ok()
}

/// How many seccomp filters a process has (`fs/proc/array.c`, since Linux 5.9).
fn filters(status: &CStr) -> Option<u64> {
    let file = sys::open(status).ok()?;
    // The file piece by piece; the pieces overlap by more than the line is long.
    let mut room = [0; 768];
    (0..16).find_map(|piece| {
        let length = sys::read_at(file.raw(), &mut room, piece * 704).ok()?;
        // Whole lines only.
        let end = memchr::memrchr(b'\n', room.get(..length)?)?;
        let number =
            lines(room.get(..end)?).find_map(|line| line.strip_prefix(b"Seccomp_filters:"))?;
        decimal(trim(number))
    })
}

/// Where the program begins: `stack` as the kernel left it, number of arguments and arguments.
///
/// # Safety
/// Only to be called once, by the entry point.
pub unsafe extern "C" fn main(stack: *const usize, base: usize, dynamic: *const [u64; 2]) -> ! {
    // SAFETY: this is the object's own header and dynamic section, and nobody was here before.
    unsafe { relocate(base, dynamic) };
    // SAFETY: the kernel put the number of arguments there, then so many strings, then null.
    let argument = |n: usize| unsafe {
        let text = *stack
            .wrapping_add(n.wrapping_add(1))
            .cast::<*const c_char>();
        (n < *stack && !text.is_null()).then(|| terminated(text))
    };
    if argument(1) != Some(SAMPLER) {
        const WHAT: &[u8] = b"This is a library: LD_PRELOAD=/path/to/libproclens.so PROGRAM\n";
        let _ = sys::write(2, WHAT);
        exit(64);
    }
    leave_everything();
    let directory = argument(2)
        .map(CStr::to_bytes)
        .filter(|text| !text.is_empty());
    exit(i32::from(run_alone(directory, false).is_err()))
}
