//! Why the library could not give the container's value.
#![forbid(unsafe_code)]

use crate::sys::Errno;

/// Why the library cannot give the container's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ErrorKind {
    /// The container's cgroup was not found, or is the real root: there is no value to show.
    NoContainer,
    /// The program sees the host's time: the settings say so, or the program compares start times with the boot.
    HostTime,
    /// A file of the cgroup or of the kernel could not be read or understood.
    Unreadable,
    /// No memory file could be made, nor a file in its place.
    NoMemoryFile,
    /// `RLIMIT_FSIZE` would kill the program for a write of ours.
    FileSizeLimit,
    /// No descriptor left.
    NoDescriptor,
    /// No memory, or the text does not fit it.
    NoMemory,
}

impl ErrorKind {
    /// The text for a message.
    pub fn text(self) -> &'static [u8] {
        match self {
            ErrorKind::NoContainer => b"no cgroup of its own, or none that can be seen",
            ErrorKind::HostTime => b"the program sees the host's time",
            ErrorKind::Unreadable => b"a file that the content needs cannot be read",
            ErrorKind::NoMemoryFile => b"no memory file can be made",
            ErrorKind::FileSizeLimit => b"RLIMIT_FSIZE forbids writing a memory file",
            ErrorKind::NoDescriptor => b"no descriptor is left",
            ErrorKind::NoMemory => b"no memory for the content",
        }
    }

    /// What the user can do about it.
    pub fn remedy(self) -> &'static [u8] {
        match self {
            ErrorKind::NoContainer => b"start the program in a container, or set PROCLENS_CPUS and PROCLENS_MEMORY",
            ErrorKind::HostTime => b"set PROCLENS_TIME=container (procps 4.0.4 and later always gets the host's time)",
            ErrorKind::Unreadable => b"mount /proc and /sys/fs/cgroup in the container, `proclens explain` names the files",
            ErrorKind::NoMemoryFile => b"allow memfd_create, or mount a tmpfs at /dev/shm",
            ErrorKind::FileSizeLimit => b"raise `ulimit -f`",
            ErrorKind::NoDescriptor => b"raise `ulimit -n`",
            ErrorKind::NoMemory => b"raise `ulimit -v` or the container's memory limit",
        }
    }
}

/// What went wrong, and the kernel's error number (0: none).
pub type Failure = (ErrorKind, Errno);
