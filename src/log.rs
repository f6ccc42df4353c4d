//! What is said on stderr, and only when `PROCLENS_LOG` asks for it: each thing that could not be
//! done and what was answered instead, once per process.
#![forbid(unsafe_code)]

use crate::settings::{Log, Settings};
use crate::sys::{self, Errno};
use crate::text::Out;
use core::sync::atomic::{AtomicU32, Ordering};

/// Why an answer is not what it could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Trouble {
    /// The container's cgroup was not found, or is the real root: nothing to tell.
    NoContainer,
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

impl Trouble {
    /// What is said of it.
    pub fn text(self) -> &'static [u8] {
        match self {
            Trouble::NoContainer => b"no cgroup of its own, or none that can be seen",
            Trouble::Unreadable => b"a file that the answer needs cannot be read",
            Trouble::NoMemoryFile => b"no memory file can be made",
            Trouble::FileSizeLimit => b"RLIMIT_FSIZE forbids writing a memory file",
            Trouble::NoDescriptor => b"no descriptor is left",
            Trouble::NoMemory => b"no memory for the answer",
        }
    }
}

/// Trouble, and the kernel's word on it.
pub type Failure = (Trouble, Errno);

static SAID: AtomicU32 = AtomicU32::new(0);

/// Says `failure` about `what`, if it was not said yet.
#[cold]
pub fn warn(settings: &Settings, what: &[u8], failure: Failure, instead: &[u8]) {
    let (trouble, errno) = failure;
    let bit = 1u32 << (trouble as u8 & 31);
    if settings.log < Log::Warn || SAID.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
        return;
    }
    let mut room = [0; 256];
    let mut line = Out::new(&mut room);
    line.bytes(b"proclens: ");
    line.bytes(what);
    line.bytes(b": ");
    line.bytes(trouble.text());
    if errno.0 != 0 {
        line.bytes(b" (errno ");
        line.decimal(u64::from(errno.0.unsigned_abs()));
        line.bytes(b")");
    }
    line.bytes(b": ");
    line.bytes(instead);
    line.byte(b'\n');
    if let Some(line) = line.finish() {
        let _ = sys::write(libc::STDERR_FILENO, line);
    }
}

/// Says that `setting`, a line of the file or a string of the environment, makes no sense. The
/// settings are read once, so that this is said once.
#[cold]
pub fn ignored(settings: &Settings, setting: &[u8]) {
    if settings.log < Log::Warn {
        return;
    }
    let mut room = [0; 256];
    let mut line = Out::new(&mut room);
    line.bytes(b"proclens: ");
    // What is longer is shown as far as it goes.
    line.bytes(setting.get(..200).unwrap_or(setting));
    line.bytes(b": makes no sense and is ignored\n");
    if let Some(line) = line.finish() {
        let _ = sys::write(libc::STDERR_FILENO, line);
    }
}

/// Says what was answered, for `PROCLENS_LOG=debug`.
pub fn debug(settings: &Settings, what: &[u8], answer: &[u8]) {
    if settings.log < Log::Debug {
        return;
    }
    let mut room = [0; 256];
    let mut line = Out::new(&mut room);
    line.bytes(b"proclens: ");
    line.bytes(what);
    line.bytes(b": ");
    line.bytes(answer);
    line.byte(b'\n');
    if let Some(line) = line.finish() {
        let _ = sys::write(libc::STDERR_FILENO, line);
    }
}
