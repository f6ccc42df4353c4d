//! Renews the content of a virtual descriptor before a read from its start.
#![forbid(unsafe_code)]

use super::kernel_file::path_of;
use super::memory_file::{self, KEPT_FLAGS, MemoryFile, WriteProtection};
use super::produce::with_content;
use super::recognise::recognise;
use crate::error::{ErrorKind, Failure};
use crate::procfs::files::VirtualFile;
use crate::procfs::render::task_stat;
use crate::runtime::log;
use crate::settings::Settings;
use crate::sys::signals::{self, Blocked};
use crate::sys::{self, Errno, ProgramFd};
use core::ffi::c_int;

/// Called before a read from the start of `fd`. If `fd` is virtual, writes the current content into it.
#[inline(always)]
pub fn refresh(fd: ProgramFd, settings: impl Fn() -> &'static Settings<'static>) {
    if let Some(virtual_file) = recognise(fd.raw()) {
        renew(fd, virtual_file, settings());
    }
}

#[cold]
#[inline(never)]
fn renew(fd: ProgramFd, virtual_file: VirtualFile, settings: &Settings) {
    /// The kernel's error for a task that has ended.
    const ENDED: Failure = (ErrorKind::Unreadable, Errno(libc::ESRCH));
    let signals = signals::block();
    let mut buffer = [0; 64];
    let kernel_file = path_of(fd.raw(), virtual_file, &mut buffer)
        .ok_or(Errno::NOT_FOUND)
        .and_then(sys::open);
    let done = match (kernel_file, virtual_file) {
        (Ok(kernel_file), _) => with_content(
            virtual_file,
            kernel_file.raw(),
            settings,
            &signals,
            &|text| {
                if is_of_another_task(fd.raw(), virtual_file, text) {
                    return Err(ENDED);
                }
                put(fd, virtual_file, text, settings, &signals)
            },
        ),
        (Err(Errno::NOT_FOUND), VirtualFile::Task(_)) => Err(ENDED),
        (Err(e), _) => Err((ErrorKind::Unreadable, e)),
    };
    // After the task has ended, its file is empty.
    let done = match done {
        Err(ENDED) => put(fd, virtual_file, b"", settings, &signals),
        done => done,
    };
    drop(signals);
    if let Err(failure) = done {
        let instead = b"the text of its last reading is kept";
        log::warn(settings, virtual_file.name(), failure, instead);
    }
}

/// True if `text` is of a task with another start time than the task of `fd`: the kernel has reused the
/// task ID.
fn is_of_another_task(fd: c_int, virtual_file: VirtualFile, text: &[u8]) -> bool {
    let mut buffer = [0; 1024];
    let old = match virtual_file {
        VirtualFile::Task(_) => sys::read_at(fd, &mut buffer, 0).ok(),
        _ => return false,
    };
    let old = old.and_then(|length| buffer.get(..length));
    !old.is_some_and(|old| task_stat::is_same_task(old, text))
}

/// Writes new content to a virtual descriptor: in place, so that every duplicate of the descriptor reads
/// the same. If the memory file is not writable, the descriptor gets a new memory file.
fn put(
    fd: ProgramFd,
    virtual_file: VirtualFile,
    text: &[u8],
    settings: &Settings,
    signals: &Blocked,
) -> Result<(), Failure> {
    memory_file::rewrite(fd.raw(), text, signals).or_else(|_| {
        let shown = |which| sys::descriptor_flags(fd.raw(), which).unwrap_or(0);
        let mut flags = shown(libc::F_GETFL) & KEPT_FLAGS;
        if shown(libc::F_GETFD) & libc::FD_CLOEXEC != 0 {
            flags |= libc::O_CLOEXEC;
        }
        let offset = sys::position(fd.raw()).unwrap_or(0);
        MemoryFile::new(
            virtual_file,
            text,
            settings,
            flags,
            WriteProtection::ReadOnly,
            signals,
        )?
        .install(fd, flags)?;
        if offset != 0 {
            let _ = sys::seek(fd.raw(), offset as u64);
        }
        Ok(())
    })
}
