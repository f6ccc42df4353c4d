//! Decides where the library may start the sampler of the container: only if no program can notice that
//! the sampler exists or that it ends. Otherwise the averages are extrapolated.
//!
//! The sampler becomes a child of the PID 1 of the container. When the sampler ends, PID 1 gets a
//! signal and must reap it. PID 1 may also count its children: PostgreSQL restarts when an adopted
//! child is killed, a shell runs its CHLD trap and later executes another program, and `sleep`, Java
//! and Node.js never reap. So PID 1 must be one of [`INITS`].
//!
//! The sampler uses the namespaces, root directory and cgroups of the process that started it until it
//! ends, and keeps them alive. So these must be those of PID 1, which lives longer. It also inherits the starter's
//! priority, and may not raise it: a `nice` job would leave the container a sampler that comes too late.
#![forbid(unsafe_code)]

use crate::cgroup::locate::{ContainerCgroups, Controller};
use crate::sys::process::{effective_user, limit_of};
use crate::sys::{self, Errno, Fd};
use crate::text::{Out, decimal, lines, number_in_base, stat_fields, trim};
use core::ffi::CStr;

/// Init programs for containers (`/proc/1/comm`). Each reaps any child silently, never executes another
/// program, and does not wait for children that it did not start.
const INITS: [&[u8]; 7] = [
    b"catatonit",
    b"docker-init",
    b"dumb-init",
    b"podman-init",
    b"s6-svscan",
    b"tini",
    b"tini-static",
];

/// The `/proc` directories of this thread and of PID 1.
const OWN: &[u8] = b"/proc/thread-self/";
const INIT: &[u8] = b"/proc/1/";

/// The sampler starts only if the container's pids limit leaves this many tasks.
const FREE_TO_START: u64 = 128;
/// The sampler ends when the container's pids limit leaves fewer tasks.
const FREE_TO_STAY: u64 = 64;
/// An unprivileged user starts no sampler if the process limit (`RLIMIT_NPROC`) is lower than this.
const LEAST_PROCESS_LIMIT: u64 = 1024;

/// The reason why a process may not start a sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// PID 1 is not one of [`INITS`].
    Init,
    /// The process is in another namespace than PID 1, or may not see that of PID 1.
    Namespaces,
    /// The process has another root directory than PID 1.
    Root,
    /// The process is in another cgroup than PID 1.
    Cgroup,
    /// The process has more seccomp filters than PID 1.
    Seccomp,
    /// A sampler would keep a mount busy.
    Mount,
    /// The process has another priority than PID 1, or a limit of CPU time.
    Priority,
    /// The process limit of an unprivileged user is low.
    ProcessLimit,
}

impl Obstacle {
    /// The reason in words, after "no sampler starts here: ".
    pub fn text(self) -> &'static str {
        match self {
            Obstacle::Init => "PID 1 could notice it",
            Obstacle::Namespaces => "this process does not share its namespaces with PID 1",
            Obstacle::Root => "this process has another root directory than PID 1",
            Obstacle::Cgroup => "this process is in another cgroup than PID 1",
            Obstacle::Seccomp => "this process has more seccomp filters than PID 1",
            Obstacle::Mount => "it would keep the library's file system mounted",
            Obstacle::Priority => {
                "this process has another priority than PID 1, or a limit of CPU time"
            }
            Obstacle::ProcessLimit => "this user may start few processes",
        }
    }
}

/// Returns why a sampler that this process starts could be noticed. `None` if the process shares with
/// PID 1 everything that a sampler would keep alive, and PID 1 ignores an additional child. `library` is
/// the path of the library file, if the caller has one.
pub fn obstacle(library: Option<&CStr>) -> Option<Obstacle> {
    if !is_init_indifferent() {
        Some(Obstacle::Init)
    } else if !has_namespaces_of_init() {
        Some(Obstacle::Namespaces)
    } else if !has_text_of_init(b"mountinfo", true) {
        Some(Obstacle::Root)
    } else if !has_text_of_init(b"cgroup", false) {
        Some(Obstacle::Cgroup)
    } else if is_confined() {
        Some(Obstacle::Seccomp)
    } else if library.is_some_and(|library| !stays_mounted(library)) {
        Some(Obstacle::Mount)
    } else if !has_priority_of_init() || is_limited(libc::RLIMIT_CPU, libc::RLIM_INFINITY) {
        Some(Obstacle::Priority)
    } else if effective_user() != 0 && is_limited(libc::RLIMIT_NPROC, LEAST_PROCESS_LIMIT) {
        Some(Obstacle::ProcessLimit)
    } else {
        None
    }
}

/// Returns whether a PID 1 of this name (`/proc/1/comm`) ignores an additional child.
pub fn is_silent(name: &[u8]) -> bool {
    INITS.contains(&trim(name))
}

/// Returns whether the pids limits of the container leave enough tasks to start a sampler.
pub fn leaves_tasks_to_start(cgroups: &ContainerCgroups<'_>) -> bool {
    leaves_tasks(cgroups, FREE_TO_START)
}

/// Returns whether a sampler in the container with these `cgroups` may go on.
pub fn may_stay(cgroups: &ContainerCgroups<'_>) -> bool {
    is_init_indifferent() && leaves_tasks(cgroups, FREE_TO_STAY)
}

fn is_init_indifferent() -> bool {
    let mut buffer = [0; 32];
    sys::open(c"/proc/1/comm")
        .is_ok_and(|file| text_at(&file, &mut buffer, 0).is_some_and(is_silent))
}

/// Returns whether this thread and PID 1 are in the same namespaces. Only root and the user of PID 1
/// can read the links. So no other user starts a sampler, and every reader trusts the owner of the
/// state file of a sampler.
fn has_namespaces_of_init() -> bool {
    const NAMESPACES: [&[u8]; 10] = [
        b"ns/cgroup",
        b"ns/ipc",
        b"ns/mnt",
        b"ns/net",
        b"ns/pid",
        b"ns/pid_for_children",
        b"ns/time",
        b"ns/time_for_children",
        b"ns/user",
        b"ns/uts",
    ];
    NAMESPACES.iter().all(|name| {
        let mut buffers = [[0; 64]; 2];
        let [own, init] = &mut buffers;
        match (
            sys::read_link(path(OWN, name, &mut [0; 64]), own),
            sys::read_link(path(INIT, name, &mut [0; 64]), init),
        ) {
            (Ok(own), Ok(init)) => own == init,
            // The kernel does not have this kind of namespace.
            (Err(own), Err(init)) => own == init && own == Errno::NOT_FOUND,
            _ => false,
        }
    })
}

/// Returns whether a file of `/proc/PID` has the same text for this thread and for PID 1, or the same
/// first line. The first line of `mountinfo` begins with the number of a mount below the root
/// directory. No other mount namespace and no other root directory has that mount.
fn has_text_of_init(file: &[u8], first_line: bool) -> bool {
    const CHUNK: usize = 512;
    const MOST_CHUNKS: u64 = 16;
    let open = |directory| sys::open(path(directory, file, &mut [0; 64]));
    let (Ok(own), Ok(init)) = (open(OWN), open(INIT)) else {
        return false;
    };
    for chunk in 0..MOST_CHUNKS {
        let mut buffers = [[0; CHUNK]; 2];
        let [mine, its] = &mut buffers;
        let at = chunk.saturating_mul(CHUNK as u64);
        let (Some(mine), Some(its)) = (text_at(&own, mine, at), text_at(&init, its, at)) else {
            return false;
        };
        if first_line {
            return !mine.is_empty() && lines(mine).next() == lines(its).next();
        }
        if mine != its {
            return false;
        }
        if mine.is_empty() {
            return chunk > 0;
        }
    }
    false
}

/// Returns whether this process has more seccomp filters than PID 1. Such a process may be killed for a
/// system call that only the start of a sampler makes, such as `execve`.
fn is_confined() -> bool {
    let filters = |directory| status_field(directory, b"Seccomp_filters:", 10);
    filters(OWN) > filters(INIT)
}

/// Returns whether this thread has PID 1's nice value, and is not of the class for idle time. (Every other class can be
/// left without a privilege.)
fn has_priority_of_init() -> bool {
    const SCHED_IDLE: &[u8] = b"5";
    let mut buffers = [[0; 512]; 2];
    let [own, init] = &mut buffers;
    let scheduling = |directory, buffer| {
        let file = sys::open(path(directory, b"stat", &mut [0; 64])).ok()?;
        let mut fields = stat_fields(text_at(&file, buffer, 0)?)?;
        // Fields 19 and 41, proc_pid_stat(5). The first of `fields` is field 3.
        Some((fields.nth(16)?, fields.nth(21)?))
    };
    match (scheduling(OWN, own), scheduling(INIT, init)) {
        (Some((nice, class)), Some((of_init, _))) => nice == of_init && class != SCHED_IDLE,
        _ => false,
    }
}

/// Returns whether `resource` is limited to less than `least`.
fn is_limited(resource: u32, least: u64) -> bool {
    limit_of(resource).is_ok_and(|limit| limit < least)
}

/// Returns whether a running sampler, which keeps the file system of `library` busy, cannot block an
/// unmount. True if it is the root file system, or if no process of the container may unmount anything.
fn stays_mounted(library: &CStr) -> bool {
    const MAY_UNMOUNT: u64 = 1 << 21; // CAP_SYS_ADMIN, include/uapi/linux/capability.h
    let mount = |path| {
        let status = sys::extended_status_of(path, 0, libc::STATX_MNT_ID).ok()?;
        (status.stx_mask & libc::STATX_MNT_ID != 0).then_some(status.stx_mnt_id)
    };
    let own = mount(library);
    (own.is_some() && own == mount(c"/"))
        || status_field(INIT, b"CapBnd:", 16).is_some_and(|bounding| bounding & MAY_UNMOUNT == 0)
}

/// Returns whether each visible pids limit of the container leaves at least `least` tasks.
fn leaves_tasks(cgroups: &ContainerCgroups<'_>, least: u64) -> bool {
    let Ok(dir) = cgroups.dir(Controller::Pids) else {
        return true;
    };
    let number = |directory: &[u8], file: &[u8]| {
        let mut text = [0; 32];
        let file = sys::open(path(directory, file, &mut [0; 1024])).ok()?;
        decimal(trim(text_at(&file, &mut text, 0)?))
    };
    dir.ancestors().all(|directory| {
        number(directory, b"/pids.max").is_none_or(|limit| {
            number(directory, b"/pids.current")
                .is_some_and(|current| limit.saturating_sub(current) >= least)
        })
    })
}

/// Reads a number from the `status` file of a process.
fn status_field(process: &[u8], name: &[u8], base: u64) -> Option<u64> {
    let file = sys::open(path(process, b"status", &mut [0; 64])).ok()?;
    // Read in chunks. Chunks overlap by more than the length of the line.
    let mut buffer = [0; 768];
    (0..16).find_map(|chunk| {
        let text = text_at(&file, &mut buffer, chunk * 704)?;
        // Use whole lines only.
        let text = text.get(..memchr::memrchr(b'\n', text)?)?;
        let digits = trim(lines(text).find_map(|line| line.strip_prefix(name))?);
        number_in_base(digits, base)
    })
}

/// Reads a file at an offset, as much as fits into `buffer`.
fn text_at<'b>(file: &Fd, buffer: &'b mut [u8], at: u64) -> Option<&'b [u8]> {
    let length = sys::read_at(file.raw(), buffer, at).ok()?;
    buffer.get(..length)
}

/// Makes the path `directory` + `file`. If `buffer` is too short, the path is empty, which names no
/// file.
fn path<'b>(directory: &[u8], file: &[u8], buffer: &'b mut [u8]) -> &'b CStr {
    let mut out = Out::new(buffer);
    out.bytes(directory);
    out.bytes(file);
    out.byte(0);
    out.finish()
        .and_then(|path| CStr::from_bytes_until_nul(path).ok())
        .unwrap_or_default()
}
