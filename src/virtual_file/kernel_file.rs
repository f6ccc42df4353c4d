//! Identifies which of the kernel's files a descriptor is, and finds the kernel's file that a virtual file
//! replaces.
#![forbid(unsafe_code)]

use crate::procfs::content;
use crate::procfs::files::{
    self, DeviceStat, FileSystem, MachineFile, NodeFile, TaskStat, VirtualFile,
};
use crate::procfs::render::task_stat;
use crate::sys::{self, signals};
use crate::text::{Out, trim};
use core::ffi::{CStr, c_int};
use core::sync::atomic::{AtomicU64, Ordering};

/// Device and inode of each of the kernel's files, stored when the file is first met. Device 0 means that
/// they are not known yet: no file system with files has this number.
static KNOWN: [(AtomicU64, AtomicU64); MachineFile::ALL.len()] =
    [const { (AtomicU64::new(0), AtomicU64::new(0)) }; MachineFile::ALL.len()];

/// The virtual file for `fd`, which was opened as `path`; `None` if `fd` is another file. An empty path
/// means that the path is unknown.
pub fn identify(fd: c_int, path: &[u8]) -> Option<VirtualFile> {
    identify_below(Root::Own, fd, path)
}

/// Whose `/proc` and `/sys` have the files that are virtual. The same files elsewhere are another machine's: a
/// monitoring agent in a container reads the host's numbers from `/host/proc`.
#[derive(Clone, Copy)]
pub enum Root {
    /// This process's.
    Own,
    /// Those of the process or thread with this ID.
    Of(u32),
}

/// As [`identify`], for a descriptor of a process with another root directory.
pub fn identify_below(root: Root, fd: c_int, path: &[u8]) -> Option<VirtualFile> {
    if let Some(file) = TaskStat::of_path(path) {
        // Another file may be mounted there.
        return (sys::file_system(fd) == Ok(PROC)).then_some(VirtualFile::Task(file));
    }
    let last = files::last_component(path);
    if let Some(file) = files::named(last).find(|file| is(root, fd, path, *file)) {
        return Some(VirtualFile::Machine(file));
    }
    let (task, device) = (last == TaskStat::LAST, last == DeviceStat::LAST);
    if !task && !device && !NodeFile::is_named(last) {
        return None;
    }
    match sys::file_system(fd) {
        Ok(PROC) if task => identify_task(fd),
        Ok(SYS) if device => identify_device(fd),
        Ok(SYS) => identify_node(fd),
        _ => None,
    }
}

const PROC: u64 = FileSystem::Proc as u64;
const SYS: u64 = FileSystem::Sys as u64;

/// As [`identify`], for a descriptor that another program opened. Finds only files of the machine and of
/// tasks.
pub fn identify_inherited(fd: c_int) -> Option<VirtualFile> {
    let file = MachineFile::ALL
        .iter()
        .copied()
        .find(|file| is(Root::Own, fd, b"", *file));
    match file {
        Some(file) => Some(VirtualFile::Machine(file)),
        None if sys::file_system(fd) == Ok(PROC) => identify_task(fd),
        None => None,
    }
}

/// Which file of a NUMA node `fd` is.
fn identify_node(fd: c_int) -> Option<VirtualFile> {
    let mut link = [0; 128];
    let path = sys::descriptor_path(fd, &mut link).ok()?;
    NodeFile::of_path(path).map(|(file, node)| VirtualFile::Node(file, node))
}

/// The block device whose counters `fd` is. The file `dev` beside `fd` has the device's number. Other
/// directories of sysfs have a `stat` too, but then no block device with that number has this same file.
fn identify_device(fd: c_int) -> Option<VirtualFile> {
    let _signals = signals::block();
    let (mut link, mut buffer) = ([0; 256], [0; 256]);
    let directory = sys::descriptor_path(fd, &mut link)
        .ok()?
        .strip_suffix(DeviceStat::LAST)?;
    let mut path = Out::new(&mut buffer);
    path.bytes(directory);
    path.bytes(b"dev\0");
    let dev = sys::open(CStr::from_bytes_until_nul(path.finish()?).ok()?).ok()?;
    let mut number = [0; 32];
    let length = sys::read(dev.raw(), &mut number).ok()?;
    let file = DeviceStat::of_number(trim(number.get(..length)?))?;
    let canonical = sys::status_of(file.path(&mut [0; 64])?).ok()?;
    let same = |own: libc::stat| own.st_ino == canonical.st_ino && own.st_dev == canonical.st_dev;
    (sys::status(fd).is_ok_and(same)).then_some(VirtualFile::Device(file))
}

/// Which file of a task `fd` is, if `path` does not show it.
fn identify_task(fd: c_int) -> Option<VirtualFile> {
    let mut link = [0; 128];
    let link = sys::descriptor_path(fd, &mut link).ok()?;
    // Another mount of /proc has the same end of the path. So has the /proc of another PID namespace, where
    // the same number means another task.
    let (file, end) = (0..link.len()).find_map(|start| {
        let end = link.get(start..)?;
        Some((TaskStat::of_path(end)?, end))
    })?;
    let mut buffer = [0; 64];
    let mut path = Out::new(&mut buffer);
    path.bytes(end);
    path.byte(0);
    let path = CStr::from_bytes_until_nul(path.finish()?).ok()?;
    let (own, here) = (sys::status(fd).ok()?, sys::status_of(path).ok()?);
    let same = own.st_dev == here.st_dev && own.st_ino == here.st_ino;
    same.then_some(VirtualFile::Task(file))
}

/// True if `fd`, which was opened as `path`, is the kernel's `file` in `root`.
fn is(root: Root, fd: c_int, path: &[u8], file: MachineFile) -> bool {
    let Ok(status) = sys::status(fd) else {
        return false;
    };
    let Some((device, inode)) = KNOWN.get(file as usize) else {
        return false;
    };
    let known = device.load(Ordering::Acquire);
    if known == status.st_dev {
        return inode.load(Ordering::Relaxed) == status.st_ino;
    }
    if sys::file_system(fd) != Ok(file.file_system() as u64) {
        return false;
    }
    let is_own = matches!(root, Root::Own);
    let mut buffer = [0; 96];
    let same = (is_own && path == file.path().to_bytes())
        || path_below(root, file, &mut buffer)
            .and_then(|canonical| sys::status_of(canonical).ok())
            .is_some_and(|canonical| {
                canonical.st_ino == status.st_ino && canonical.st_dev == status.st_dev
            });
    if same && is_own {
        inode.store(status.st_ino, Ordering::Relaxed);
        device.store(status.st_dev, Ordering::Release);
    }
    same
}

fn path_below(root: Root, file: MachineFile, buffer: &mut [u8; 96]) -> Option<&CStr> {
    let Root::Of(process) = root else {
        return Some(file.path());
    };
    let mut path = Out::new(buffer);
    path.bytes(b"/proc/");
    path.decimal(process.into());
    path.bytes(b"/root");
    path.bytes(file.path().to_bytes_with_nul());
    CStr::from_bytes_until_nul(path.finish()?).ok()
}

/// The path of the kernel's file for `virtual_file`. For a task's file, the task ID is read from the
/// content of the memory file `fd`.
pub fn path_of(fd: c_int, virtual_file: VirtualFile, buffer: &mut [u8; 64]) -> Option<&CStr> {
    let file = match virtual_file {
        VirtualFile::Machine(file) => return Some(file.path()),
        VirtualFile::Task(file) => file,
        VirtualFile::Node(file, node) => return content::node_path(file, node, buffer),
        VirtualFile::Device(file) => return file.path(buffer),
    };
    let mut start = [0; 32];
    let length = sys::read_at(fd, &mut start, 0).ok()?;
    let number = task_stat::number(start.get(..length)?)?;
    let mut path = Out::new(buffer);
    path.bytes(b"/proc/");
    path.decimal(number);
    if file == TaskStat::Thread {
        // /proc also has a directory for a thread that is not a process leader, with the thread itself as a
        // task.
        path.bytes(b"/task/");
        path.decimal(number);
    }
    path.bytes(b"/stat\0");
    CStr::from_bytes_until_nul(path.finish()?).ok()
}
