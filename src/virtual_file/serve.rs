//! Replaces a descriptor of the kernel's file with one of a memory file.
#![forbid(unsafe_code)]

use super::kernel_file::{Root, identify, identify_below, identify_inherited};
use super::memory_file::{KEPT_FLAGS, MemoryFile, WriteProtection};
use super::produce::with_content;
use super::recognise::expect;
use crate::cgroup::container::Container;
use crate::cgroup::psi;
use crate::error::{ErrorKind, Failure};
use crate::procfs::files::{self, MachineFile, TaskStat, VirtualFile};
use crate::runtime::live::Live;
use crate::runtime::{live, log};
use crate::settings::Settings;
use crate::sys::signals::{self, Blocked};
use crate::sys::{self, Fd, ProgramFd};
use core::ffi::c_int;

/// Blocks signals and returns the settings, if they switch the library on.
pub type SettingsIfOn = fn() -> Option<(&'static Settings<'static>, Blocked)>;

/// Called after the program opened `path` as `fd` for reading with `flags`. If `fd` is the kernel's file
/// for a virtual file, replaces it with a memory file.
#[cold]
#[inline(never)]
pub fn replace_opened(fd: ProgramFd, path: &[u8], flags: c_int, settings: SettingsIfOn) {
    if let Some(virtual_file) = identify(fd.raw(), path) {
        replace(
            fd,
            virtual_file,
            flags,
            protection_of(path, flags),
            settings,
        );
    }
}

/// The protection for an open of `path` with `flags`. `ps` opens one file per task, always with this spelling,
/// so a task's file gets the cheaper protection.
fn protection_of(path: &[u8], flags: c_int) -> WriteProtection {
    match TaskStat::of_path(path) {
        Some(_) if flags & !(libc::O_CLOEXEC | libc::O_NOCTTY) == 0 => WriteProtection::Seal,
        _ => WriteProtection::ReadOnly,
    }
}

/// Makes a memory file with the container's content for `kernel_file`, which the caller opened as `path`
/// with `flags` on behalf of the thread `caller`. `None` if that file is not virtual. The returned descriptor
/// is close-on-exec; the caller applies the program's own choice.
pub fn memory_file_for(
    caller: u32,
    kernel_file: &Fd,
    path: &[u8],
    flags: c_int,
    settings: &Settings,
) -> Result<Option<Fd>, Failure> {
    let virtual_file = identify_below(Root::Of(caller), kernel_file.raw(), path);
    let Some(virtual_file) = virtual_file.filter(|_| settings.on) else {
        return Ok(None);
    };
    let signals = signals::block();
    let flags = flags & KEPT_FLAGS;
    with_content(
        virtual_file,
        kernel_file.raw(),
        settings,
        &signals,
        &|text| {
            let made = MemoryFile::new(
                virtual_file,
                text,
                settings,
                flags,
                WriteProtection::ReadOnly,
                &signals,
            )?;
            made.into_read_only()
                .map(Some)
                .ok_or((ErrorKind::NoDescriptor, sys::Errno(libc::EMFILE)))
        },
    )
}

/// As [`replace_opened`], for a descriptor that a parent without the library opened. Replaces it only if it
/// is at offset 0.
pub fn replace_inherited(fd: ProgramFd, settings: SettingsIfOn) {
    let Some(virtual_file) = identify_inherited(fd.raw()) else {
        return;
    };
    let is_read_only = sys::descriptor_flags(fd.raw(), libc::F_GETFL)
        .is_ok_and(|flags| flags & (libc::O_ACCMODE | libc::O_PATH) == libc::O_RDONLY);
    if is_read_only && sys::position(fd.raw()) == Ok(0) {
        replace(fd, virtual_file, 0, WriteProtection::ReadOnly, settings);
    }
}

fn replace(
    fd: ProgramFd,
    virtual_file: VirtualFile,
    flags: c_int,
    protection: WriteProtection,
    settings: SettingsIfOn,
) {
    let Some((settings, signals)) = settings() else {
        return;
    };
    let flags = flags & KEPT_FLAGS;
    let done = with_content(virtual_file, fd.raw(), settings, &signals, &|text| {
        MemoryFile::new(virtual_file, text, settings, flags, protection, &signals)?
            .install(fd, flags)
    });
    drop(signals);
    match done {
        Ok(()) => {
            expect();
            log::debug(
                settings,
                virtual_file.name(),
                b"the container's file is given",
            );
        }
        Err(failure) => {
            let instead = b"the kernel's own file is left";
            log::warn(settings, virtual_file.name(), failure, instead);
        }
    }
}

/// Called when the program opened a pressure file for writing. The program then waits for a trigger, and
/// only the kernel can send one, so the program gets the cgroup's own file. If the container may not write
/// to that file, the program keeps the machine's file.
#[cold]
#[inline(never)]
pub fn redirect_pressure(fd: ProgramFd, path: &[u8], flags: c_int, settings: SettingsIfOn) {
    let last = files::last_component(path);
    let Some(file) = files::named(last).find_map(MachineFile::pressure) else {
        return;
    };
    let is_pressure = matches!(identify(fd.raw(), path), Some(VirtualFile::Machine(_)));
    if !is_pressure {
        return;
    }
    let Some((settings, signals)) = settings() else {
        return;
    };
    let opened = live::ask(Live::default(), |kernel, mut arena| {
        let unreadable = |e| (ErrorKind::Unreadable, e);
        let cgroups = kernel.cgroups(&mut arena).map_err(unreadable)?;
        let path = psi::pressure_path(&cgroups, file, &mut arena)?;
        sys::open_at(libc::AT_FDCWD, path, flags & !libc::O_CREAT, 0).map_err(unreadable)
    });
    let done = opened.and_then(|own| {
        fd.replace(&own, flags & libc::O_CLOEXEC)
            .map_err(|e| (ErrorKind::NoDescriptor, e))
    });
    drop(signals);
    if let Err(failure) = done {
        log::warn(settings, last, failure, b"triggers are the host's");
    }
}
