//! A directory that the export holds open. All work is relative to its descriptor and follows no symbolic link. If
//! another user moves the directory, or puts a link in the place of a file, the export still writes to no other directory.

use proclens::sys::process::effective_user;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, renameat, statat,
    symlinkat, unlinkat,
};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path};

/// See the top of this file.
pub(super) struct Directory(OwnedFd);

/// With O_PATH, the directory need not be readable.
const HELD: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Directory {
    /// Opens a directory that the user named. Symbolic links in the path are the user's.
    pub(super) fn open(path: &Path) -> io::Result<Directory> {
        Ok(Directory(openat(CWD, path, HELD, Mode::empty())?))
    }

    /// Opens a directory in this one.
    pub(super) fn open_in(&self, name: &OsStr) -> io::Result<Directory> {
        let flags = HELD.union(OFlags::NOFOLLOW);
        Ok(Directory(openat(&self.0, name, flags, Mode::empty())?))
    }

    /// Makes a directory in this one. Others cannot write to it.
    pub(super) fn make(&self, name: &OsStr) -> io::Result<()> {
        Ok(mkdirat(&self.0, name, Mode::from_raw_mode(0o755))?)
    }

    /// Opens the directory `path` below this one, and makes what is missing.
    pub(super) fn descend(&self, path: &Path) -> io::Result<Directory> {
        let mut directory = self.open_in(OsStr::new("."))?;
        for component in path.components() {
            if let Component::Normal(name) = component {
                match directory.make(name) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(error);
                    }
                    _ => directory = directory.open_in(name)?,
                }
            }
        }
        Ok(directory)
    }

    pub(super) fn status(&self) -> io::Result<Stat> {
        Ok(fstat(&self.0)?)
    }

    /// True if the directory belongs to this user, and no other user can add or remove files in it.
    pub(super) fn is_own(&self) -> bool {
        self.status()
            .is_ok_and(|status| status.st_uid == effective_user() && status.st_mode & 0o022 == 0)
    }

    pub(super) fn has(&self, name: &OsStr) -> bool {
        statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// True if `name` is the open file or directory `held`.
    pub(super) fn still_has(&self, name: &OsStr, held: impl AsFd) -> bool {
        let named = statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW);
        let held = fstat(held);
        matches!((named, held), (Ok(named), Ok(held))
            if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino))
    }

    pub(super) fn is_link(&self, name: &OsStr) -> bool {
        statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::Symlink)
    }

    /// All names in the directory.
    pub(super) fn names(&self) -> io::Result<BTreeSet<OsString>> {
        let mut names = BTreeSet::new();
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        for entry in Dir::new(openat(&self.0, ".", flags, Mode::empty())?)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.insert(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    /// Opens a file that only this user can open, and creates it if it does not exist. Never waits and never
    /// changes the file: a FIFO or another user's file may have the name.
    pub(super) fn open_or_create(&self, name: &OsStr) -> io::Result<File> {
        let flags =
            OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        Ok(File::from(openat(&self.0, name, flags, mode)?))
    }

    pub(super) fn read(&self, name: &OsStr) -> io::Result<Vec<u8>> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mut text = Vec::new();
        File::from(openat(&self.0, name, flags, Mode::empty())?).read_to_end(&mut text)?;
        Ok(text)
    }

    /// Replaces a file atomically: a reader gets the old text or the new one.
    pub(super) fn replace(&self, name: &OsStr, text: &[u8]) -> io::Result<()> {
        let mut beside = name.to_owned();
        beside.push(".new");
        // A killed export may have left it.
        self.unlink(&beside);
        let replaced = self
            .create(&beside, text)
            .and_then(|()| Ok(renameat(&self.0, &beside, &self.0, name)?));
        if replaced.is_err() {
            self.unlink(&beside);
        }
        replaced
    }

    fn create(&self, name: &OsStr, text: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        File::from(openat(&self.0, name, flags, mode)?).write_all(text)
    }

    /// Makes a symbolic link to `target`.
    pub(super) fn link(&self, name: &OsStr, target: &Path) -> io::Result<()> {
        Ok(symlinkat(target, &self.0, name)?)
    }

    /// Removes a name that is no directory, if this user may.
    pub(super) fn unlink(&self, name: &OsStr) {
        let _ = unlinkat(&self.0, name, AtFlags::empty());
    }

    /// Removes an empty directory, if this user may.
    pub(super) fn remove_empty(&self, name: &OsStr) {
        let _ = unlinkat(&self.0, name, AtFlags::REMOVEDIR);
    }

    /// Removes a name, with all that is below it. Leaves alone what others could exchange meanwhile, and what is mounted
    /// there.
    pub(super) fn remove(&self, name: &OsStr) {
        self.unlink(name);
        let Ok(directory) = self.open_in(name) else {
            return;
        };
        let device = |directory: &Directory| directory.status().map(|status| status.st_dev).ok();
        if directory.is_own() && device(&directory) == device(self) {
            directory.clear();
        }
        self.remove_empty(name);
    }

    /// Removes all names in this directory.
    pub(super) fn clear(&self) {
        for name in self.names().unwrap_or_default() {
            self.remove(&name);
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
