//! The kernel's files in the root of another process. The owner of that root can mount a FIFO, a device or a file
//! system over each of these files. An open could then wait for ever, or change something. So the tool opens a file only
//! if the file is the kernel's.

use proclens::sys::{self, Errno, Fd};
use std::ffi::{CStr, CString};

/// A file of the kernel.
pub struct KernelFile(Fd);

impl KernelFile {
    /// Finds a file of procfs or sysfs: the same that this process has at `own`. Fails with [`Errno::MALFORMED`] if `path`
    /// leads to anything else.
    pub fn same_as(own: &CStr, path: &CStr) -> Result<KernelFile, Errno> {
        let file = KernelFile(found(path)?);
        let own = sys::status_of(own).map_err(|_| Errno::MALFORMED)?;
        // The numbers are the same in each mount. Another file of procfs can wait too (/proc/kmsg). They come first, because
        // a dead FUSE server (lxcfs) does not answer for its file system.
        let is_same = file.kind_and_number() == Ok((own.st_mode, own.st_ino));
        file.checked(is_same, &[libc::PROC_SUPER_MAGIC, libc::SYSFS_MAGIC])
    }

    /// Finds a file of a cgroup. Fails with [`Errno::MALFORMED`] if `path` leads to anything else.
    pub fn of_cgroup(path: &CStr) -> Result<KernelFile, Errno> {
        let file = KernelFile(found(path)?);
        let kind = file.kind_and_number().map(|(mode, _)| mode & libc::S_IFMT);
        let is_file = kind == Ok(libc::S_IFREG);
        file.checked(is_file, &CGROUPS)
    }

    fn checked(self, is_right: bool, systems: &[i64]) -> Result<KernelFile, Errno> {
        if is_right && is_on(&self.0, systems) {
            Ok(self)
        } else {
            Err(Errno::MALFORMED)
        }
    }

    /// The mode and the inode number, as the kernel knows them without asking a server.
    fn kind_and_number(&self) -> Result<(u32, u64), Errno> {
        let mask = libc::STATX_TYPE | libc::STATX_MODE | libc::STATX_INO;
        match sys::extended_status_of(&self.path(), libc::AT_STATX_DONT_SYNC, mask) {
            // Before Linux 4.11.
            Err(Errno(libc::ENOSYS)) => {
                sys::status(self.0.raw()).map(|status| (status.st_mode, status.st_ino))
            }
            status => status.map(|status| (status.stx_mode.into(), status.stx_ino)),
        }
    }

    /// A path that leads to this file as long as `self` lives, whatever is mounted meanwhile.
    pub fn path(&self) -> CString {
        CString::new(format!("/proc/self/fd/{}", self.0.raw())).unwrap_or_default()
    }
}

/// True if `directory` is a directory of a cgroup.
pub fn is_cgroup(directory: &CStr) -> bool {
    found(directory).is_ok_and(|directory| is_on(&directory, &CGROUPS))
}

/// True if `directory` is on procfs.
pub fn is_procfs(directory: &CStr) -> bool {
    found(directory).is_ok_and(|directory| is_on(&directory, &[libc::PROC_SUPER_MAGIC]))
}

const CGROUPS: [i64; 2] = [libc::CGROUP_SUPER_MAGIC, libc::CGROUP2_SUPER_MAGIC];

/// O_PATH finds a file and does not open it.
fn found(path: &CStr) -> Result<Fd, Errno> {
    sys::open_at(libc::AT_FDCWD, path, libc::O_PATH, 0)
}

fn is_on(file: &Fd, systems: &[i64]) -> bool {
    sys::file_system(file.raw()).is_ok_and(|system| systems.contains(&(system as i64)))
}
