//! Directories as `getdents64(2)` lists them.
#![forbid(unsafe_code)]

use super::{Errno, Fd, directory_entries, open_at};
use crate::text::Out;
use core::ffi::{CStr, c_int};

/// Opens a directory for [`each_entry`]. Fails if `path` is a symbolic link.
pub fn open_directory(at: c_int, path: &CStr) -> Result<Fd, Errno> {
    open_at(
        at,
        path,
        libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW,
        0,
    )
}

/// Calls `with` for each name in a directory, without names that begin with a dot.
pub fn each_entry(directory: &Fd, mut with: impl FnMut(&[u8])) -> Result<(), Errno> {
    let mut buffer = [0u8; 1024];
    each_entry_in(directory, &mut buffer, |name| {
        with(name);
        true
    })
}

/// As [`each_entry`], with a buffer for the entries of a long directory. Stops when `with` returns false.
pub fn each_entry_in(
    directory: &Fd,
    buffer: &mut [u8],
    mut with: impl FnMut(&[u8]) -> bool,
) -> Result<(), Errno> {
    loop {
        let length = directory_entries(directory.raw(), buffer)?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        while let Some((entry, more)) = first_entry(rest) {
            rest = more;
            if !entry.name.starts_with(b".") && !with(entry.name) {
                return Ok(());
            }
        }
        if !rest.is_empty() {
            return Err(Errno::MALFORMED);
        }
    }
}

/// Opens the next directory in `parent` after the offset `position`, and moves `position` past it. Skips a
/// directory that has just been removed.
pub fn open_next_directory(parent: &Fd, position: &mut u64) -> Option<Fd> {
    super::seek(parent.raw(), *position).ok()?;
    let mut buffer = [0u8; 1024];
    loop {
        let length = directory_entries(parent.raw(), &mut buffer).ok()?;
        let mut rest = buffer.get(..length).filter(|rest| !rest.is_empty())?;
        while let Some((entry, more)) = first_entry(rest) {
            rest = more;
            *position = entry.next;
            let maybe = matches!(entry.kind, libc::DT_DIR | libc::DT_UNKNOWN);
            if !maybe || entry.name.starts_with(b".") {
                continue;
            }
            let mut buffer = [0; 256];
            let path = terminated(entry.name, b"", &mut buffer);
            if let Some(directory) = path.and_then(|path| open_directory(parent.raw(), path).ok()) {
                return Some(directory);
            }
        }
    }
}

/// The number of directories in `directory`, on a file system that counts them, such as that of cgroups.
#[allow(clippy::unnecessary_cast)] // 32 bits on other processors
pub fn sub_directories(directory: &Fd) -> Option<u64> {
    (super::status(directory.raw()).ok()?.st_nlink as u64).checked_sub(2)
}

/// One entry of a directory.
struct Entry<'e> {
    name: &'e [u8],
    /// `DT_DIR` and similar values.
    kind: u8,
    /// Offset of the next entry.
    next: u64,
}

/// Parses the first entry of what `getdents64` returned. Returns it and the rest.
fn first_entry(list: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    // A struct linux_dirent64: 8 bytes each for inode and offset, 2 for length, 1 for type, then the name.
    let (head, _) = list.split_first_chunk::<19>()?;
    let [_, _, _, _, _, _, _, _, offset @ .., low, high, kind] = head;
    let length = usize::from(u16::from_ne_bytes([*low, *high]));
    let (entry, more) = list.split_at_checked(length)?;
    let name = entry.get(19..)?.split(|b| *b == 0).next()?;
    let next = u64::from_ne_bytes(*offset);
    Some((
        Entry {
            name,
            kind: *kind,
            next,
        },
        more,
    ))
}

/// Joins `name` and `tail` to a path for a system call. `None` if `buffer` is too small.
pub fn terminated<'b, const N: usize>(
    name: &[u8],
    tail: &[u8],
    buffer: &'b mut [u8; N],
) -> Option<&'b CStr> {
    let mut out = Out::new(buffer);
    out.bytes(name);
    out.bytes(tail);
    out.byte(0);
    CStr::from_bytes_until_nul(out.finish()?).ok()
}
