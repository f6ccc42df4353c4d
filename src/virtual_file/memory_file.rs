//! Memory files: regular files without a name that hold the content of a virtual file.
//!
//! The name of a memory file says which file it stands for, and `/proc/self/fd/N` shows that name for every
//! descriptor. A table of descriptors would not survive `dup`, `fork` and `exec`. The owner and the mode
//! show whether the name can be trusted, see `recognise.rs`.
#![forbid(unsafe_code)]

use crate::error::{ErrorKind, Failure};
use crate::procfs::files::VirtualFile;
use crate::settings::Settings;
use crate::shared_state::DIRECTORIES;
use crate::sys::process::change_mode;
use crate::sys::signals::Blocked;
use crate::sys::{self, Errno, Fd, ProgramFd};
use crate::text::Out;
use core::ffi::{CStr, c_int};
use core::sync::atomic::{AtomicU8, Ordering};

/// The permissions of a memory file. Everyone may read it, as the kernel's file; only the owner may open it
/// for writing. The sticky bit has no meaning on a regular file, so no other file without a name has this
/// mode.
pub const MODE: u32 = libc::S_ISVTX | 0o644;

/// Flags of the program's `open` that are copied to the memory file's descriptor, where they mean the same.
pub const KEPT_FLAGS: c_int = libc::O_CLOEXEC
    | libc::O_NONBLOCK
    | libc::O_APPEND
    | libc::O_SYNC
    | libc::O_ASYNC
    | libc::O_NOATIME;

/// What prevents the program from writing to a memory file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum WriteProtection {
    /// The program gets a second descriptor, opened for reading only.
    ReadOnly,
    /// A seal, if the kernel supports seals. It costs a sixth of what a second open costs. But F_GETFL then
    /// shows a file that was opened for writing, and new content needs a new memory file.
    Seal,
}

/// A new memory file.
pub struct MemoryFile {
    file: Fd,
    /// True if the descriptor is still writable, because no descriptor was free for a second open.
    is_writable: bool,
}

impl MemoryFile {
    /// Makes a memory file with the content `text`, for a descriptor with `flags`. `signals` must stay
    /// blocked during the call.
    pub fn new(
        virtual_file: VirtualFile,
        text: &[u8],
        settings: &Settings,
        flags: c_int,
        protection: WriteProtection,
        signals: &Blocked,
    ) -> Result<MemoryFile, Failure> {
        let mut buffer = [0; 48];
        let name = virtual_file
            .memory_name(&mut buffer)
            .ok_or((ErrorKind::NoMemoryFile, Errno::BUFFER_TOO_SMALL))?;
        let file = create(name, settings).map_err(|e| match e {
            Errno(libc::EMFILE | libc::ENFILE) => (ErrorKind::NoDescriptor, e),
            _ => (ErrorKind::NoMemoryFile, e),
        })?;
        write(&file, text, signals)?;
        if protection == WriteProtection::Seal && sys::seal(file.raw()).is_ok() {
            return Ok(MemoryFile {
                file,
                is_writable: false,
            });
        }
        let read_only = sys::reopen(file.raw(), libc::O_RDONLY | flags);
        let is_writable = read_only.is_err();
        Ok(MemoryFile {
            file: read_only.unwrap_or(file),
            is_writable,
        })
    }

    /// Makes `fd` a descriptor of this file.
    pub fn install(self, fd: ProgramFd, flags: c_int) -> Result<(), Failure> {
        let put = |file: &Fd| {
            fd.replace(file, flags & libc::O_CLOEXEC)
                .map_err(|e| (ErrorKind::NoDescriptor, e))
        };
        put(&self.file)?;
        if self.is_writable {
            // One descriptor is free again. Without a mounted /proc the descriptor stays writable, but its
            // content is right.
            drop(self.file);
            if let Ok(read_only) = sys::reopen(fd.raw(), libc::O_RDONLY | flags) {
                put(&read_only)?;
            }
        }
        Ok(())
    }

    /// The descriptor; `None` if the program could write to it.
    pub fn into_read_only(self) -> Option<Fd> {
        (!self.is_writable).then_some(self.file)
    }
}

/// Replaces the content of the memory file behind `fd`. `signals` must stay blocked during the call.
pub fn rewrite(fd: c_int, text: &[u8], signals: &Blocked) -> Result<(), Failure> {
    let file = sys::reopen(fd, libc::O_RDWR).map_err(|e| (ErrorKind::NoMemoryFile, e))?;
    write(&file, text, signals)?;
    sys::truncate(file.raw(), text.len() as u64).map_err(|e| (ErrorKind::NoMemoryFile, e))
}

/// Writes `text` at the start of `file`.
fn write(file: &Fd, text: &[u8], signals: &Blocked) -> Result<(), Failure> {
    let limit = || sys::file_size_limit().unwrap_or(u64::MAX);
    // Beyond RLIMIT_FSIZE the kernel raises SIGXFSZ. The signal stays blocked, and is discarded afterwards.
    if !signals.are_blocked() && limit() < text.len() as u64 {
        return Err((ErrorKind::FileSizeLimit, Errno(0)));
    }
    match sys::write_at(file.raw(), text, 0) {
        Ok(length) if length == text.len() => Ok(()),
        Err(Errno(libc::EFBIG)) => {
            signals.discard(libc::SIGXFSZ);
            Err((ErrorKind::FileSizeLimit, Errno(0)))
        }
        Ok(length) if limit() <= length as u64 => Err((ErrorKind::FileSizeLimit, Errno(0))),
        _ => Err((ErrorKind::NoMemoryFile, Errno(libc::ENOSPC))),
    }
}

/// Makes an empty file without a name.
fn create(name: &CStr, settings: &Settings) -> Result<Fd, Errno> {
    /// Linux 6.3. A system with vm.memfd_noexec=2 refuses a memory file without this flag.
    const MFD_NOEXEC_SEAL: u32 = 8;
    static OLD_KERNEL: AtomicU8 = AtomicU8::new(0);
    let mut made = Err(Errno(libc::EINVAL));
    if OLD_KERNEL.load(Ordering::Relaxed) == 0 {
        made = sys::memory_file(name, libc::MFD_CLOEXEC | MFD_NOEXEC_SEAL);
    }
    if made.as_ref().is_err_and(|e| *e == Errno(libc::EINVAL)) {
        OLD_KERNEL.store(1, Ordering::Relaxed);
        made = sys::memory_file(name, libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
    }
    let file = match made {
        Err(e @ Errno(libc::EMFILE | libc::ENFILE)) => return Err(e),
        // The call is forbidden (seccomp) or does not exist (before Linux 3.17).
        Err(e) => create_in_directory(name, settings).ok_or(e)?,
        Ok(file) => file,
    };
    change_mode(&file, MODE)?;
    Ok(file)
}

/// The longest path of a memory file in a directory.
pub const DIRECTORY_PATH: usize = 512;

/// Makes a file in a writable directory, and removes its name.
fn create_in_directory(name: &CStr, settings: &Settings) -> Option<Fd> {
    let now = sys::clock::clock_us(libc::CLOCK_MONOTONIC).unwrap_or(0);
    settings
        .state
        .into_iter()
        .chain(DIRECTORIES)
        .find_map(|directory| {
            let mut buffer = [0; DIRECTORY_PATH];
            let mut path = Out::new(&mut buffer);
            path.bytes(directory);
            path.byte(b'/');
            path.bytes(name.to_bytes());
            for unique in [u64::from(sys::process_id()), now] {
                path.byte(b'.');
                path.decimal(unique);
            }
            path.byte(0);
            let path = CStr::from_bytes_until_nul(path.finish()?).ok()?;
            let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
            let fd = sys::open_at(libc::AT_FDCWD, path, flags, 0o600).ok()?;
            sys::unlink(path).ok()?;
            Some(fd)
        })
}
