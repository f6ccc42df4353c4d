//! Messages on stderr, if `PROCLENS_LOG` enables them: what failed, and what the program got instead,
//! once for each virtual file.
//!
//! By then descriptor 2 may be anything: a data file, a full pipe, a pipe without a reader. So a
//! message is written only to the file that was the stderr of the program at its start, and only if the
//! write does not block.

use crate::error::{ErrorKind, Failure};
use crate::mem::{Arena, TryCell, Zeroed};
use crate::settings::{Log, Settings};
use crate::sys::{Errno, stderr};
use crate::text::Out;
use core::ffi::CStr;
use core::sync::atomic::{AtomicU32, Ordering};
use once_cell::race::OnceRef;

/// State of a process that writes messages. Other processes do not allocate it.
#[repr(C)]
struct Messages {
    /// Hash values of the virtual files that had a message.
    reported: [AtomicU32; 32],
    /// The file that was read last.
    file: TryCell<LastFile>,
}

#[repr(C)]
struct LastFile {
    length: usize,
    path: [u8; 256],
}

// SAFETY: only integers and bytes, for which zeros are valid.
unsafe impl Zeroed for LastFile {}
// SAFETY: atomic integers and a `TryCell` of bytes, for which zeros are valid.
unsafe impl Zeroed for Messages {}

static MESSAGES: OnceRef<'static, Messages> = OnceRef::new();

/// Allocates the state for messages. Called once, when the settings are read.
pub fn prepare(arena: &mut Arena<'static>) {
    if let Ok(messages) = arena.zeroed::<Messages>() {
        let _ = MESSAGES.set(messages);
    }
}

/// Stores `path` as the file being read. A failure that follows is about this file.
#[inline(always)]
pub fn reading(path: &CStr) {
    if let Some(messages) = MESSAGES.get() {
        messages.reading(path.to_bytes());
    }
}

impl Messages {
    #[cold]
    #[inline(never)]
    fn reading(&self, path: &[u8]) {
        let Some(mut file) = self.file.take() else {
            return;
        };
        file.length = path.len();
        for (to, from) in file.path.iter_mut().zip(path) {
            *to = *from;
        }
    }

    /// True if `what` had no message yet.
    fn is_new(&self, what: &[u8]) -> bool {
        let hash = what.iter().fold(0x811c_9dc5u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        }) | 1;
        for slot in &self.reported {
            match slot.compare_exchange(0, hash, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) if other == hash => return false,
                Err(_) => {}
            }
        }
        false
    }
}

/// Reports that the virtual file `what` failed, and what the program got instead; once for each virtual file.
#[cold]
pub fn warn(settings: &Settings, what: &[u8], failure: Failure, instead: &[u8]) {
    let Some(messages) = MESSAGES.get().filter(|_| settings.log >= Log::Warn) else {
        return;
    };
    let (kind, errno) = failure;
    // The host's time is no failure: the user or the program wants it.
    let is_wanted = kind == ErrorKind::HostTime && settings.log < Log::Debug;
    if is_wanted || !messages.is_new(what) {
        return;
    }
    write(|line| {
        line.bytes(what);
        line.bytes(b": ");
        match messages.file.take() {
            Some(file) if kind == ErrorKind::Unreadable && file.length > 0 => {
                line.bytes(match errno {
                    Errno::MALFORMED => b"unexpected content in ",
                    _ => b"cannot read ",
                });
                line.bytes(file.path.get(..file.length).unwrap_or(&file.path));
            }
            _ => line.bytes(kind.text()),
        }
        if errno.0 != 0 {
            line.bytes(b" (errno ");
            line.decimal(u64::from(errno.0.unsigned_abs()));
            line.bytes(b")");
        }
        line.bytes(b": ");
        line.bytes(instead);
        line.bytes(b"; ");
        line.bytes(kind.remedy());
    });
}

/// Reports that `setting`, a line of the file or a string of the environment, has an unknown name or an
/// invalid value. The settings are read once, so each is reported once.
#[cold]
pub fn ignored(settings: &Settings, setting: &[u8]) {
    if settings.log >= Log::Warn {
        write(|line| {
            // A longer setting is truncated.
            line.bytes(setting.get(..200).unwrap_or(setting));
            line.bytes(b": invalid setting, ignored; `proclens explain` names the valid values");
        });
    }
}

/// Reports what the program got, for `PROCLENS_LOG=debug`.
pub fn debug(settings: &Settings, what: &[u8], content: &[u8]) {
    if settings.log >= Log::Debug {
        write(|line| {
            line.bytes(what);
            line.bytes(b": ");
            line.bytes(content);
        });
    }
}

#[inline(never)]
fn write(message: impl Fn(&mut Out)) {
    let mut buffer = [0; 768];
    let mut line = Out::new(&mut buffer);
    line.bytes(b"proclens: ");
    message(&mut line);
    line.byte(b'\n');
    if let Some(line) = line.finish() {
        stderr::write(line);
    }
}
