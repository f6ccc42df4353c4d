//! Which virtual file a descriptor of a memory file stands for.
//!
//! The name of a memory file proves nothing: any user can make a memory file with any name and pass it on.
//! So a name counts only if no user except root and the caller can have written the content:
//! - the owner is root or the effective user of this process. Only root can give a file away;
//! - the mode is [`memory_file::MODE`], which lets only the owner open the file for writing.
//!
//! A virtual file that another user made (a user's shell opens it, `sudo cat` reads it) is an ordinary
//! memory file with the container's content.
#![forbid(unsafe_code)]

use super::kernel_file::path_of;
use super::memory_file::{self, DIRECTORY_PATH};
use crate::procfs::files::{self, VirtualFile};
use crate::sys::process::effective_user;
use crate::sys::signals::{self, Blocked};
use crate::sys::{self, Errno, Fd};
use core::ffi::{CStr, c_int};
use core::sync::atomic::{AtomicBool, Ordering};

/// True once this process may have virtual descriptors: it made one, it was started with one, or it called
/// `fstat` on one. Until then the library makes no system call for a seek or a mapping. A program that
/// confines itself allows only the calls of its own libc.
static EXPECTED: AtomicBool = AtomicBool::new(false);

/// From now on, descriptors of this process may be virtual.
pub fn expect() {
    EXPECTED.store(true, Ordering::Relaxed);
}

/// The virtual file that `fd` stands for.
#[inline(always)]
pub fn recognise(fd: c_int) -> Option<VirtualFile> {
    if EXPECTED.load(Ordering::Relaxed) {
        recognise_expected(fd)
    } else {
        None
    }
}

#[cold]
#[inline(never)]
fn recognise_expected(fd: c_int) -> Option<VirtualFile> {
    let status = sys::status(fd).ok()?;
    if could_be_virtual(status.st_nlink == 0, status.st_mode) {
        recognise_by_name(fd, status.st_uid)
    } else {
        None
    }
}

/// True if a file with or without a link and with this mode could be a memory file of the library.
#[inline(always)]
pub fn could_be_virtual(has_no_link: bool, mode: u32) -> bool {
    has_no_link && mode == libc::S_IFREG | memory_file::MODE
}

/// The virtual file that `fd` stands for. `fd` could be virtual and belongs to `owner`.
#[cold]
#[inline(never)]
fn recognise_by_name(fd: c_int, owner: u32) -> Option<VirtualFile> {
    /// The owner that the kernel reports for every user without a number in this user namespace.
    const UNKNOWN: u32 = 65534;
    if owner != 0 && owner != effective_user() {
        return None;
    }
    // If this process has that number too, `fchmod` succeeds only if the process owns the file.
    if owner == UNKNOWN && sys::keep_mode(fd, memory_file::MODE) == Err(Errno(libc::EPERM)) {
        return None;
    }
    let mut link = [0; DIRECTORY_PATH + 16];
    let path = sys::descriptor_path(fd, &mut link)
        .ok()?
        .strip_suffix(b" (deleted)")?;
    let name = match path.strip_prefix(b"/memfd:") {
        Some(name) => name,
        // A file in a directory: its name ends with the process ID and a time. A user's FUSE file system
        // can claim that a file belongs to root.
        None if sys::file_system(fd) == Ok(libc::FUSE_SUPER_MAGIC as u64) => return None,
        None => files::last_component(path).split(|b| *b == b'.').next()?,
    };
    let virtual_file = VirtualFile::from_memory_name(name)?;
    expect();
    Some(virtual_file)
}

/// The kernel's file that a virtual descriptor stands for, opened for the duration of one call.
pub struct KernelFile {
    file: Fd,
    /// A signal handler must not leave with `siglongjmp` before the file is closed. Dropped last.
    _signals: Blocked,
}

impl KernelFile {
    /// The number of its descriptor.
    pub fn raw(&self) -> c_int {
        self.file.raw()
    }
}

/// Opens the kernel's file that the virtual descriptor `fd` stands for; `None` if `fd` is not virtual.
#[inline(always)]
pub fn open_kernel_file(fd: c_int) -> Option<KernelFile> {
    if EXPECTED.load(Ordering::Relaxed) {
        open_expected(fd)
    } else {
        None
    }
}

#[cold]
#[inline(never)]
fn open_expected(fd: c_int) -> Option<KernelFile> {
    let virtual_file = recognise_expected(fd)?;
    let _signals = signals::block();
    let file = sys::open(path_of(fd, virtual_file, &mut [0; 64])?).ok()?;
    Some(KernelFile { file, _signals })
}

/// Calls `with` with the path of the kernel's file that `fd` stands for. `owner` is the owner of `fd`'s
/// file, which could be virtual.
#[cold]
#[inline(never)]
pub fn with_kernel_path(fd: c_int, owner: u32, with: &mut dyn FnMut(&CStr)) {
    let mut buffer = [0; 64];
    let path = recognise_by_name(fd, owner).and_then(|file| path_of(fd, file, &mut buffer));
    if let Some(path) = path {
        with(path);
    }
}

/// As [`with_kernel_path`], for the file that `path`, relative to the directory `dir`, leads to:
/// `/dev/stdin`.
#[cold]
#[inline(never)]
pub fn with_kernel_path_at(dir: c_int, path: &CStr, with: &mut dyn FnMut(&CStr)) {
    let _signals = signals::block();
    let at = || {
        let file = sys::open_at(dir, path, libc::O_PATH, 0).ok()?;
        let virtual_file = recognise_expected(file.raw())?;
        // The content of a task's file contains the task ID, and this descriptor cannot be read.
        let file = match virtual_file {
            VirtualFile::Task(_) => sys::reopen(file.raw(), libc::O_RDONLY).ok()?,
            _ => file,
        };
        Some((file, virtual_file))
    };
    if let Some((file, virtual_file)) = at()
        && let Some(path) = path_of(file.raw(), virtual_file, &mut [0; 64])
    {
        with(path);
    }
}
