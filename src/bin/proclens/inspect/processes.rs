//! Reads information about processes from `/proc`.

use crate::inspect::kernel_file::KernelFile;
use crate::output::style::plain;
use proclens::sys::{self, Errno};
use proclens::text;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// All visible processes.
pub fn all() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The processes of the cgroup in `directory` and of all cgroups below it.
pub fn of_cgroup(directory: &Path) -> Vec<u32> {
    let path = directory.join("cgroup.procs").into_os_string().into_vec();
    let path = CString::new(path).unwrap_or_default();
    // The directory may be one that a container controls.
    let Ok(file) = KernelFile::of_cgroup(&path) else {
        return Vec::new();
    };
    let path = file.path();
    let list = fs::read_to_string(OsStr::from_bytes(path.to_bytes())).unwrap_or_default();
    let mut found: Vec<u32> = list.lines().filter_map(|pid| pid.parse().ok()).collect();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(of_cgroup(&entry.path()));
        }
    }
    found
}

/// The start time of the process, in ticks since boot.
pub fn start_ticks(pid: u32) -> Option<u64> {
    text::decimal(&field_of_stat(pid, 22)?)
}

/// The first `most` bytes of the regular file that process `pid` calls `path`. The file is untrusted, so no
/// symbolic link leads out of the process's root, and the open never blocks.
pub fn file_inside(pid: u32, path: &CStr, most: usize) -> io::Result<Vec<u8>> {
    let of_system = |errno: Errno| io::Error::from_raw_os_error(errno.0);
    let root = CString::new(format!("/proc/{pid}/root"))?;
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let root = sys::open_at(libc::AT_FDCWD, &root, flags, 0).map_err(of_system)?;
    let file = sys::open_regular_below(&root, path).map_err(of_system)?;
    let mut text = vec![0; most];
    let length = sys::read(file.raw(), &mut text).map_err(of_system)?;
    text.truncate(length);
    Ok(text)
}

/// The parent of the process.
pub fn parent(pid: u32) -> Option<u32> {
    text::decimal(&field_of_stat(pid, 4)?)?.try_into().ok()
}

/// True if the process has ended: it does not exist, or it is a zombie.
pub fn has_ended(pid: u32) -> bool {
    field_of_stat(pid, 3).is_none_or(|state| matches!(state.as_slice(), b"Z" | b"X"))
}

/// True if the process is a kernel thread (`PF_KTHREAD`).
pub fn is_kernel_thread(pid: u32) -> bool {
    const KERNEL_THREAD: u64 = 0x20_0000;
    field_of_stat(pid, 9)
        .and_then(|flags| text::decimal(&flags))
        .is_some_and(|flags| flags & KERNEL_THREAD != 0)
}

/// The name of the process in the kernel.
pub fn name(pid: u32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(&name).trim_end().to_owned()
}

/// A field after the name, counted as proc(5) counts. Reads the kernel's own value, even if this program is
/// one that the library is loaded into.
fn field_of_stat(pid: u32, number: usize) -> Option<Vec<u8>> {
    let path = CString::new(format!("/proc/{pid}/stat")).ok()?;
    let mut stat = [0; 1024];
    let length = sys::read(sys::open(&path).ok()?.raw(), &mut stat).ok()?;
    let stat = &stat[..length];
    // The name, field 2, may contain any character.
    let end = stat.iter().rposition(|b| *b == b')')?;
    let field = text::fields(&stat[end + 1..]).nth(number - 3)?;
    Some(field.to_owned())
}

/// True if the process is a sampler of the load average, of the library or of the tool.
pub fn is_sampler(pid: u32) -> bool {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = arguments.split(|b| *b == 0);
    let name = words.next().unwrap_or_default();
    name.rsplit(|b| *b == b'/').next() == Some(b"proclens") && words.next() == Some(b"sampler")
}

/// The PID namespace of the process, as a name to compare.
pub fn pid_namespace(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// Device and inode of the root directory of the process.
pub fn root(pid: u32) -> Option<(u64, u64)> {
    let root = fs::metadata(format!("/proc/{pid}/root/.")).ok()?;
    Some((root.dev(), root.ino()))
}

/// True if the process is PID 1 of a PID namespace.
pub fn is_first(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .and_then(|pids| pids.split_whitespace().last())
        == Some("1")
}

/// The command line of the process, on one line.
pub fn command(pid: u32) -> String {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&arguments)
        .split('\0')
        .collect::<Vec<_>>()
        .join(" ");
    plain(words.trim())
}

/// The program file of the process.
pub fn executable(pid: u32) -> Option<OsString> {
    fs::read_link(format!("/proc/{pid}/exe"))
        .ok()
        .map(PathBuf::into_os_string)
}
