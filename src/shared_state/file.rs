//! The state file: how a process finds it, which file it trusts, and how it creates and locks it.
#![forbid(unsafe_code)]

use super::record;
use super::store::{DIRECTORIES, PATH, Store};
use crate::sys::directory::terminated;
use crate::sys::process::{Lock, change_mode, effective_user, let_others_run, try_lock_write};
use crate::sys::{self, Errno, Fd};
use crate::text::Out;
use core::ffi::{CStr, c_int};

/// The bytes of the file that are locked, one for each kind of data.
pub(super) const CLAIM_LOCK: i64 = 0;
pub(super) const ACCOUNTING_LOCK: i64 = 1;
pub(super) const SAMPLER_LOCK: i64 = 2;

/// An open state file.
pub(super) struct StateFile {
    pub(super) file: Fd,
    pub(super) is_writable: bool,
}

impl<'p> Store<'p> {
    pub(super) fn directories(&self) -> impl Iterator<Item = &'p [u8]> {
        let given = self.directory;
        let usual = DIRECTORIES.into_iter().filter(move |_| given.is_none());
        given.into_iter().chain(usual)
    }

    fn path_in<'b>(&self, directory: &[u8], buffer: &'b mut [u8; PATH]) -> Result<&'b CStr, Errno> {
        let mut out = Out::new(buffer);
        out.bytes(directory);
        out.byte(b'/');
        self.identity.file_name(&mut out);
        out.byte(0);
        out.finish()
            .and_then(|path| CStr::from_bytes_until_nul(path).ok())
            .ok_or(Errno::BUFFER_TOO_SMALL)
    }

    /// Opens the first trustworthy state file, for writing if this process may write to it.
    pub(super) fn open(&self, for_writing: bool) -> Result<StateFile, Errno> {
        let mut buffer = [0; PATH];
        for directory in self.directories() {
            let path = self.path_in(directory, &mut buffer)?;
            if let Some(found) = self.open_at(path, for_writing) {
                return Ok(found);
            }
        }
        Err(Errno::NOT_FOUND)
    }

    fn open_at(&self, path: &CStr, for_writing: bool) -> Option<StateFile> {
        if for_writing {
            match open_file(path, libc::O_RDWR) {
                Ok(file) => {
                    return self.is_for_writing(&file).then_some(StateFile {
                        file,
                        is_writable: true,
                    });
                }
                Err(Errno(libc::EACCES | libc::EPERM | libc::EROFS)) => {}
                Err(_) => return None,
            }
        }
        let file = open_file(path, libc::O_RDONLY).ok()?;
        trusted(&file).map(|_| StateFile {
            file,
            is_writable: false,
        })
    }

    fn is_for_writing(&self, file: &Fd) -> bool {
        let Some(status) = trusted(file) else {
            return false;
        };
        let mut start = [0; record::CLAIM_SIZE];
        (status.st_nlink == 1 || record::is_own(read_at(file, &mut start, 0), &self.identity))
            && (status.st_size == record::FILE_SIZE as i64
                || (is_within_limit()
                    && sys::truncate(file.raw(), record::FILE_SIZE as u64).is_ok()))
    }

    /// Opens the state file for writing, and creates it if it does not exist. Opens it for reading if
    /// this process trusts its owner but may not write to it.
    pub(super) fn open_or_create(&self) -> Result<StateFile, Errno> {
        if !self.signals_are_blocked && !is_within_limit() {
            return self.open(false);
        }
        self.open(true).or_else(|_| self.create())
    }

    /// Opens the state file for writing, or returns an error. A write beyond RLIMIT_FSIZE would send a signal to a caller
    /// whose signals may arrive later, so the limit is always checked.
    pub(super) fn writable(&self) -> Result<Fd, Errno> {
        let careful = Store {
            signals_are_blocked: false,
            ..*self
        };
        match careful.open_or_create()? {
            StateFile {
                file,
                is_writable: true,
            } => Ok(file),
            _ => Err(Errno(libc::EACCES)),
        }
    }

    /// Creates the state file in the first directory in which that is possible.
    fn create(&self) -> Result<StateFile, Errno> {
        if !is_within_limit() {
            return Err(Errno(libc::EFBIG));
        }
        let mut buffer = [0; PATH];
        for directory in self.directories() {
            let path = self.path_in(directory, &mut buffer)?;
            // The user is responsible for a directory that the settings name.
            if self.directory.is_none() && !is_safe_directory(directory) {
                continue;
            }
            let mut created = create_file(path);
            if matches!(created, Err(Errno(libc::EEXIST))) {
                // Another process of the container created the file first, or the name belongs to an
                // untrusted user.
                if let Some(found) = self.open_at(path, true) {
                    return Ok(found);
                }
                remove(path);
                created = create_file(path);
            }
            let Ok(file) = created else {
                continue;
            };
            if self.fill(&file).is_err() {
                // The file system is full. Without allocated space the file would be useless later.
                let _ = sys::unlink(path);
                continue;
            }
            self.remove_stale_in(directory);
            return Ok(StateFile {
                file,
                is_writable: true,
            });
        }
        Err(Errno::NOT_FOUND)
    }

    /// Writes a new file to its full length, so that a file system that fills up later cannot
    /// refuse a record.
    fn fill(&self, file: &Fd) -> Result<(), Errno> {
        change_mode(file, 0o644)?;
        write_at(file, &record::claim(&self.identity, 0, 0), 0)?;
        let zeros = [0; 512];
        let mut at = record::CLAIM_SIZE;
        while at < record::FILE_SIZE {
            let left = record::FILE_SIZE.saturating_sub(at);
            let piece = zeros.get(..left).unwrap_or(&zeros);
            write_at(file, piece, at as u64)?;
            at = at.saturating_add(piece.len());
        }
        Ok(())
    }

    /// Returns whether there is a state file that this process trusts.
    pub fn exists(&self) -> bool {
        self.open(false).is_ok()
    }
}

/// Returns whether this process may write a whole state file. A write beyond RLIMIT_FSIZE sends a signal.
fn is_within_limit() -> bool {
    sys::file_size_limit().is_ok_and(|limit| limit >= record::FILE_SIZE as u64)
}

fn open_file(path: &CStr, flags: c_int) -> Result<Fd, Errno> {
    let flags = flags | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    sys::open_at(libc::AT_FDCWD, path, flags, 0o644)
}

fn create_file(path: &CStr) -> Result<Fd, Errno> {
    open_file(path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL)
}

/// Removes a file, link, FIFO or empty directory of that name, where this process may.
fn remove(path: &CStr) {
    if sys::unlink(path).is_err() {
        let _ = sys::remove_directory(path);
    }
}

/// The `stat` result of a regular file that belongs to a trusted user; see [`super`].
pub(super) fn trusted(file: &Fd) -> Option<libc::stat> {
    let status = sys::status(file.raw()).ok()?;
    let is_regular = status.st_mode & libc::S_IFMT == libc::S_IFREG;
    (is_regular && is_trusted_user(status.st_uid)).then_some(status)
}

fn is_trusted_user(user: u32) -> bool {
    user == 0
        || user == effective_user()
        || sys::status_of(c"/proc/1").is_ok_and(|init| init.st_uid == user)
}

/// Returns whether no untrusted user can rename or remove a file in a directory: the directory belongs
/// to a trusted user, and others cannot write to it, or only to their own files (the sticky bit).
fn is_safe_directory(directory: &[u8]) -> bool {
    let mut buffer = [0; PATH];
    terminated(directory, b"/.", &mut buffer)
        .and_then(|path| sys::status_of(path).ok())
        .is_some_and(|status| {
            let others_write = status.st_mode & (libc::S_IWGRP | libc::S_IWOTH) != 0;
            let sticky = status.st_mode & libc::S_ISVTX != 0;
            (sticky || !others_write) && is_trusted_user(status.st_uid)
        })
}

/// Reads at `offset`, as much as the file has.
pub(super) fn read_at<'b>(file: &Fd, into: &'b mut [u8], offset: u64) -> &'b [u8] {
    let length = sys::read_at(file.raw(), into, offset).unwrap_or(0);
    into.get(..length).unwrap_or_default()
}

/// Writes all bytes at `offset`, or returns an error.
pub(super) fn write_at(file: &Fd, from: &[u8], offset: u64) -> Result<(), Errno> {
    let written = sys::write_at(file.raw(), from, offset)?;
    if written == from.len() {
        Ok(())
    } else {
        Err(Errno(libc::ENOSPC))
    }
}

/// Tries to take a lock for a short time: its holder needs it for a few microseconds. Returns true if this process
/// may write: it has the lock, or only the read lock of another process obstructs it. Returns false if another
/// writer still has the lock, because it was stopped.
pub(super) fn lock_soon(file: &Fd, byte: i64) -> bool {
    for _ in 0..32 {
        match try_lock_write(file, byte) {
            Ok(Lock::Taken | Lock::Obstructed) => return true,
            Ok(Lock::Busy) => let_others_run(),
            Err(_) => return false,
        }
    }
    false
}
