//! Virtual descriptors: a real descriptor of a memory file, put in the place of the one that the
//! kernel gave the program. `sendfile`, `mmap`, `dup2`, `exec` and a child that inherits it
//! work because nothing about it is pretended.
//!
//! A virtual descriptor is known by the name of its memory file, which `/proc/self/fd/N` shows:
//! no table could survive `dup`, `fork` and `exec`.
#![forbid(unsafe_code)]

use crate::answer;
use crate::files::{self, DeviceStat, FileSystem, NodeFile, Subject, TaskStat, VirtualFile};
use crate::gather::{self, Kernel};
use crate::live;
use crate::log::{self, Failure, Trouble};
use crate::render::task_stat;
use crate::settings::Settings;
use crate::state::DIRECTORIES;
use crate::sys::{self, Errno, Fd};
use crate::text::{Out, trim};
use core::ffi::{CStr, c_int};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Who the kernel's own files are: device and inode of each, learnt when it is first met.
/// Device 0 is "not yet": no file system with files has it.
static KNOWN: [(AtomicU64, AtomicU64); VirtualFile::ALL.len()] =
    [const { (AtomicU64::new(0), AtomicU64::new(0)) }; VirtualFile::ALL.len()];

/// Puts the container's file in the place of `fd`, which the program just opened as `path` for reading,
/// if the kernel says that it is one of the virtual files.
#[cold]
#[inline(never)]
pub fn swap(fd: c_int, path: &[u8], flags: c_int, settings: fn() -> &'static Settings<'static>) {
    if let Some(subject) = subject_of(fd, path) {
        // `ps` opens as many of these as there are tasks, by just this spelling.
        let guard = match TaskStat::of_path(path) {
            Some(_) if flags & !(libc::O_CLOEXEC | libc::O_NOCTTY) == 0 => Guard::Seal,
            _ => Guard::ReadOnly,
        };
        replace(fd, subject, flags, guard, settings());
    }
}

/// A pressure file that was opened for writing waits for a trigger, which only the kernel can pull:
/// the program gets the cgroup's own file. Where the container may not write to that, the machine's
/// stays.
#[cold]
#[inline(never)]
pub fn redirect(
    fd: c_int,
    path: &[u8],
    flags: c_int,
    settings: fn() -> &'static Settings<'static>,
) {
    let last = files::last_component(path);
    let Some(file) = files::named(last).find_map(VirtualFile::pressure) else {
        return;
    };
    if !files::named(last).any(|file| is(fd, file)) || !settings().on {
        return;
    }
    let opened = live::ask(|kernel, mut arena| {
        let place = kernel
            .place(&mut arena)
            .map_err(|e| (Trouble::Unreadable, e))?;
        let path = gather::pressure_path(&place, file, &mut arena)?;
        sys::open_at(libc::AT_FDCWD, path, flags & !libc::O_CREAT, 0)
            .map_err(|e| (Trouble::Unreadable, e))
    });
    let done = opened.and_then(|own| install(own, fd, flags));
    if let Err(failure) = done {
        log::warn(settings(), last, failure, b"triggers are the machine's");
    }
}

/// The first look at a descriptor that the program was started with: could it be one of the
/// kernel's own files? And if it is a virtual one already, that is remembered.
#[inline(always)]
pub fn could_be_inherited(fd: c_int) -> bool {
    let Ok(status) = sys::status(fd) else {
        return false;
    };
    if could_be_virtual(status.st_nlink == 0, status.st_mode) {
        remember();
    }
    let (kind, permissions) = (status.st_mode & libc::S_IFMT, status.st_mode & 0o777);
    kind == libc::S_IFREG && permissions == 0o444 && status.st_nlink == 1
}

/// The same for a descriptor that was opened before this library was there.
pub fn swap_inherited(fd: c_int, settings: impl Fn() -> &'static Settings<'static>) {
    let file = VirtualFile::ALL.iter().find(|file| is(fd, **file));
    let Some(subject) = file
        .copied()
        .map(Subject::Machine)
        .or_else(|| task_of(fd, b""))
    else {
        return;
    };
    let reads_only = sys::descriptor_flags(fd, libc::F_GETFL)
        .is_ok_and(|flags| flags & (libc::O_ACCMODE | libc::O_PATH) == libc::O_RDONLY);
    if reads_only && sys::position(fd) == Ok(0) {
        replace(fd, subject, 0, Guard::ReadOnly, settings());
    }
}

/// What of a descriptor's flags is shown, and means the same for memory.
const KEPT: c_int = libc::O_CLOEXEC
    | libc::O_NONBLOCK
    | libc::O_APPEND
    | libc::O_SYNC
    | libc::O_ASYNC
    | libc::O_NOATIME;

#[cold]
#[inline(never)]
fn replace(fd: c_int, subject: Subject, flags: c_int, guard: Guard, settings: &Settings) {
    if !settings.on {
        return;
    }
    let flags = flags & KEPT;
    let made = with_answer(subject, fd, settings, &|text| {
        install_text(subject, text, settings, fd, flags, guard)
    });
    match made {
        Ok(()) => {
            remember();
            log::debug(settings, subject.name(), b"the container's file is given");
        }
        Err(failure) => {
            let instead = b"the kernel's own file is left";
            log::warn(settings, subject.name(), failure, instead);
        }
    }
}

/// Before a read from the start of `fd`: if it is a virtual descriptor, its text becomes what is
/// true now.
pub fn refresh(fd: c_int, settings: impl Fn() -> &'static Settings<'static>) {
    if let Some(subject) = recognise(fd) {
        renew(fd, subject, settings());
    }
}

#[cold]
#[inline(never)]
fn renew(fd: c_int, subject: Subject, settings: &Settings) {
    /// What the kernel says of a task that has ended.
    const ENDED: Failure = (Trouble::Unreadable, Errno(libc::ESRCH));
    let mut room = [0; 64];
    let host = own_path(fd, subject, &mut room)
        .ok_or(Errno::MISSING)
        .and_then(sys::open);
    let done = match (host, subject) {
        (Ok(host), _) => with_answer(subject, host.raw(), settings, &|text| {
            if is_of_another_task(fd, subject, text) {
                return Err(ENDED);
            }
            put(fd, subject, text, settings)
        }),
        (Err(Errno::MISSING), Subject::Task(_)) => Err(ENDED),
        (Err(e), _) => Err((Trouble::Unreadable, e)),
    };
    // Its descriptor has nothing to read any more.
    let done = match done {
        Err(ENDED) => put(fd, subject, b"", settings),
        done => done,
    };
    if let Err(failure) = done {
        let instead = b"the text of its last reading is kept";
        log::warn(settings, subject.name(), failure, instead);
    }
}

/// Whether `text` is of a task that started at another time than the one that `fd` tells of: the number
/// is used again.
fn is_of_another_task(fd: c_int, subject: Subject, text: &[u8]) -> bool {
    let mut room = [0; 1024];
    let old = match subject {
        Subject::Task(_) => sys::read_at(fd, &mut room, 0).ok(),
        _ => return false,
    };
    let old = old.and_then(|length| gather::start_ticks(room.get(..length)?));
    old != gather::start_ticks(text)
}

/// Gives a virtual descriptor its new text: in place, so that every duplicate of the descriptor reads the
/// same, or, where that cannot be, in a file of its own that stands where the old one stood.
fn put(fd: c_int, subject: Subject, text: &[u8], settings: &Settings) -> Result<(), Failure> {
    rewrite(fd, text).or_else(|_| {
        let shown = |which| sys::descriptor_flags(fd, which).unwrap_or(0);
        let mut flags = shown(libc::F_GETFL) & KEPT;
        if shown(libc::F_GETFD) & libc::FD_CLOEXEC != 0 {
            flags |= libc::O_CLOEXEC;
        }
        let position = sys::position(fd).unwrap_or(0);
        install_text(subject, text, settings, fd, flags, Guard::ReadOnly)?;
        if position != 0 {
            let _ = sys::seek(fd, position as u64);
        }
        Ok(())
    })
}

/// How the kernel refuses to map the file that `fd` stands for.
pub fn refuses_to_be_mapped(fd: c_int) -> Option<Errno> {
    Some(Errno(match recognise(fd)? {
        Subject::Machine(file) if file.file_system() == FileSystem::Proc => libc::EIO,
        _ => libc::ENODEV,
    }))
}

fn recognise_by_link(fd: c_int) -> Option<Subject> {
    let mut link = [0; DIRECTORY_PATH + 16];
    let name = sys::descriptor_path(fd, &mut link).ok()?;
    let name = files::last_component(name.strip_suffix(b" (deleted)")?);
    let name = name.strip_prefix(b"memfd:").unwrap_or(name);
    // A file made in a directory has its maker and moment behind the name.
    let subject = Subject::from_memory_name(name.split(|b| *b == b'.').next()?)?;
    remember();
    Some(subject)
}

/// Where `status` is what the kernel says of a virtual descriptor, it becomes what the kernel says of
/// the file that it stands for. Only a file without a name can be one.
#[inline(always)]
pub fn tell_real(fd: c_int, status: &mut libc::stat) {
    if could_be_virtual(status.st_nlink == 0, status.st_mode) {
        tell_real_of_nameless(fd, status);
    }
}

#[cold]
#[inline(never)]
fn tell_real_of_nameless(fd: c_int, status: &mut libc::stat) {
    let mut room = [0; 64];
    let real = stands_for(fd, &mut room).and_then(|path| sys::status_of(path).ok());
    if let Some(real) = real {
        *status = real;
    }
}

/// What `path` leads to, seen from `dir`, if that could be told to be a virtual descriptor: `/dev/stdin`.
#[cold]
#[inline(never)]
pub fn reached_by(dir: c_int, path: &CStr) -> Option<Fd> {
    let file = sys::open_at(dir, path, libc::O_PATH, 0).ok()?;
    match recognise_by_link(file.raw())? {
        // Its text says which task, and from this descriptor nothing is read.
        Subject::Task(_) => sys::reopen(file.raw(), libc::O_RDONLY).ok(),
        _ => Some(file),
    }
}

/// The path of the kernel's own file behind a descriptor, if it is a virtual one.
pub fn stands_for(fd: c_int, room: &mut [u8; 64]) -> Option<&CStr> {
    own_path(fd, recognise_by_link(fd)?, room)
}

/// Where the kernel's own file is that `fd` stands for. Of a task, its text says the number.
fn own_path(fd: c_int, subject: Subject, room: &mut [u8; 64]) -> Option<&CStr> {
    let file = match subject {
        Subject::Machine(file) => return Some(file.path()),
        Subject::Task(file) => file,
        Subject::Node(file, node) => return answer::node_path(file, node, room),
        Subject::Device(file) => return file.path(room),
    };
    let mut start = [0; 32];
    let length = sys::read_at(fd, &mut start, 0).ok()?;
    let number = task_stat::number(start.get(..length)?)?;
    let mut path = Out::new(room);
    path.bytes(b"/proc/");
    path.decimal(number);
    if file == TaskStat::Thread {
        // Also a thread that leads no process is found there, and lists itself.
        path.bytes(b"/task/");
        path.decimal(number);
    }
    path.bytes(b"/stat\0");
    CStr::from_bytes_until_nul(path.finish()?).ok()
}

/// What `fd`, opened as `path`, is in truth.
fn subject_of(fd: c_int, path: &[u8]) -> Option<Subject> {
    if let Some(file) = TaskStat::of_path(path) {
        return Some(Subject::Task(file));
    }
    let last = files::last_component(path);
    let file = files::named(last).find(|file| is(fd, *file));
    file.map(Subject::Machine)
        .or_else(|| task_of(fd, path))
        .or_else(|| node_of(fd, last))
        .or_else(|| device_of(fd, last))
}

/// The file of a NUMA node that `fd` is.
fn node_of(fd: c_int, last: &[u8]) -> Option<Subject> {
    if !NodeFile::is_named(last) || sys::file_system(fd) != Ok(files::FileSystem::Sys as u64) {
        return None;
    }
    let mut link = [0; 128];
    let path = sys::descriptor_path(fd, &mut link).ok()?;
    NodeFile::of_path(path).map(|(file, node)| Subject::Node(file, node))
}

/// The block device whose counters `fd` is: the neighbour of the file, `dev`, says its number. Other
/// things of sysfs have a `stat` too, but no block device of their number has the same one.
fn device_of(fd: c_int, last: &[u8]) -> Option<Subject> {
    if last != DeviceStat::LAST || sys::file_system(fd) != Ok(files::FileSystem::Sys as u64) {
        return None;
    }
    let (mut link, mut room) = ([0; 256], [0; 256]);
    let directory = sys::descriptor_path(fd, &mut link)
        .ok()?
        .strip_suffix(DeviceStat::LAST)?;
    let mut path = Out::new(&mut room);
    path.bytes(directory);
    path.bytes(b"dev\0");
    let dev = sys::open(CStr::from_bytes_until_nul(path.finish()?).ok()?).ok()?;
    let mut number = [0; 32];
    let length = sys::read(dev.raw(), &mut number).ok()?;
    let file = DeviceStat::of_number(trim(number.get(..length)?))?;
    let canonical = sys::status_of(file.path(&mut [0; 64])?).ok()?;
    let same = sys::status(fd).is_ok_and(|status| status.st_ino == canonical.st_ino);
    same.then_some(Subject::Device(file))
}

/// The task file that `fd` is, where its path does not tell.
fn task_of(fd: c_int, path: &[u8]) -> Option<Subject> {
    let mut link = [0; 128];
    let named = path.is_empty() || files::last_component(path) == TaskStat::LAST;
    if !named || sys::file_system(fd) != Ok(files::FileSystem::Proc as u64) {
        return None;
    }
    let link = sys::descriptor_path(fd, &mut link).ok()?;
    // Seen through another mount of /proc, the end of the path is still the same. So it is in the /proc of
    // another PID namespace, where the number is another task's.
    let (file, end) = (0..link.len()).find_map(|start| {
        let end = link.get(start..)?;
        Some((TaskStat::of_path(end)?, end))
    })?;
    let mut room = [0; 64];
    let mut path = Out::new(&mut room);
    path.bytes(end);
    path.byte(0);
    let path = CStr::from_bytes_until_nul(path.finish()?).ok()?;
    let (own, here) = (sys::status(fd).ok()?, sys::status_of(path).ok()?);
    let same = own.st_dev == here.st_dev && own.st_ino == here.st_ino;
    same.then_some(Subject::Task(file))
}

/// Is `fd` the kernel's own `file`?
fn is(fd: c_int, file: VirtualFile) -> bool {
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
    // The same file has the same inode in every mount of its file system.
    let Ok(canonical) = sys::status_of(file.path()) else {
        return false;
    };
    if canonical.st_ino != status.st_ino {
        return false;
    }
    if canonical.st_dev == status.st_dev {
        inode.store(status.st_ino, Ordering::Relaxed);
        device.store(status.st_dev, Ordering::Release);
    }
    true
}

/// Makes the answer for `subject`, whose own text `host` can be read for, and hands it to `take`.
fn with_answer(
    subject: Subject,
    host: c_int,
    settings: &Settings,
    take: &dyn Fn(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let unreadable = |e| (Trouble::Unreadable, e);
    live::ask(|kernel, mut arena| match subject {
        Subject::Machine(file) => {
            let host = if file.needs_host() {
                arena
                    .fill(|room| read_own(file, host, room))
                    .map_err(unreadable)?
            } else {
                b""
            };
            take(answer::file(kernel, file, host, settings, arena)?)
        }
        Subject::Node(file, node) => {
            let host = arena
                .fill(|room| sys::read_whole(host, room))
                .map_err(unreadable)?;
            take(answer::node_file(
                kernel, file, node, host, settings, arena,
            )?)
        }
        Subject::Device(file) => {
            let host = arena
                .fill(|room| sys::read_whole(host, room))
                .map_err(unreadable)?;
            take(answer::device_stat(kernel, file, host, arena)?)
        }
        Subject::Task(_) => {
            let start = answer::start_ticks(kernel, settings, &mut arena)?;
            let text = arena
                .fill(|room| sys::read_at(host, room, 0))
                .map_err(unreadable)?;
            let mut shifted = Out::new(arena.rest());
            if !task_stat::render(text, start, &mut shifted) {
                return Err((Trouble::Unreadable, Errno::GARBAGE));
            }
            take(
                shifted
                    .finish()
                    .ok_or((Trouble::NoMemory, Errno::NO_ROOM))?,
            )
        }
    })
}

/// Reads the kernel's own text, and leaves the offset that the program sees.
fn read_own(file: VirtualFile, fd: c_int, room: &mut [u8]) -> Result<usize, Errno> {
    if !file.in_one_piece() {
        return sys::read_whole(fd, room);
    }
    let length = sys::read_at(fd, room, 0)?;
    if length < room.len() {
        Ok(length)
    } else {
        Err(Errno::NO_ROOM)
    }
}

/// A file in memory that reads `text`.
fn memory_file(subject: Subject, text: &[u8], settings: &Settings) -> Result<Fd, Failure> {
    // The kernel would answer the write with SIGXFSZ.
    match sys::file_size_limit() {
        Ok(limit) if limit >= text.len() as u64 => {}
        Ok(_) => return Err((Trouble::FileSizeLimit, Errno(0))),
        Err(e) => return Err((Trouble::FileSizeLimit, e)),
    }
    let mut room = [0; 48];
    let name = subject
        .memory_name(&mut room)
        .ok_or((Trouble::NoMemoryFile, Errno::NO_ROOM))?;
    let writable = create(name, settings).map_err(|e| match e {
        Errno(libc::EMFILE | libc::ENFILE) => (Trouble::NoDescriptor, e),
        _ => (Trouble::NoMemoryFile, e),
    })?;
    if sys::write_at(writable.raw(), text, 0) != Ok(text.len()) {
        return Err((Trouble::NoMemoryFile, Errno(libc::ENOSPC)));
    }
    Ok(writable)
}

/// An empty file that no directory shows.
fn create(name: &CStr, settings: &Settings) -> Result<Fd, Errno> {
    /// Linux 6.3; what makes a system with vm.memfd_noexec=2 allow it.
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
    match made {
        Err(Errno(libc::EMFILE | libc::ENFILE)) => made,
        // Forbidden (seccomp), or not there (before Linux 3.17).
        Err(e) => create_in_directory(name, settings).ok_or(e),
        Ok(_) => made,
    }
}

/// The longest path of a memory file in a directory.
const DIRECTORY_PATH: usize = 512;
/// Its permissions: no other program's temporary file has these.
const OWNERS: u32 = 0o700;

/// The fallback: a file in a directory that can be written, unlinked at once.
fn create_in_directory(name: &CStr, settings: &Settings) -> Option<Fd> {
    let now = sys::clock_us(libc::CLOCK_MONOTONIC).unwrap_or(0);
    settings
        .state
        .into_iter()
        .chain(DIRECTORIES)
        .find_map(|directory| {
            let mut room = [0; DIRECTORY_PATH];
            let mut path = Out::new(&mut room);
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
            let fd = sys::open_at(libc::AT_FDCWD, path, flags, OWNERS).ok()?;
            sys::unlink(path).ok()?;
            Some(fd)
        })
}

/// What keeps the program from writing to a memory file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// It is opened once more, for reading only, as the program asked for.
    ReadOnly,
    /// A seal, where the kernel has them: a sixth of the price of opening once more, but F_GETFL
    /// shows a file that was opened for writing, and the next pass needs a new memory file.
    Seal,
}

/// Makes `fd` a file in memory that reads `text` and cannot be written.
fn install_text(
    subject: Subject,
    text: &[u8],
    settings: &Settings,
    fd: c_int,
    flags: c_int,
    guard: Guard,
) -> Result<(), Failure> {
    let writable = memory_file(subject, text, settings)?;
    if guard == Guard::Seal && sys::seal(writable.raw()).is_ok() {
        return install(writable, fd, flags);
    }
    match sys::reopen(writable.raw(), libc::O_RDONLY | flags) {
        Ok(read_only) => install(read_only, fd, flags),
        // Without one more descriptor: again when the first has been given back. Without a /proc
        // the writable one still reads right.
        Err(_) => {
            install(writable, fd, flags)?;
            if let Ok(read_only) = sys::reopen(fd, libc::O_RDONLY | flags) {
                install(read_only, fd, flags)?;
            }
            Ok(())
        }
    }
}

/// Makes `fd` what `made` is.
fn install(made: Fd, fd: c_int, flags: c_int) -> Result<(), Failure> {
    sys::duplicate_onto(made.raw(), fd, flags & libc::O_CLOEXEC)
        .map_err(|e| (Trouble::NoDescriptor, e))
}

/// Gives the memory file behind `fd` a new text.
fn rewrite(fd: c_int, text: &[u8]) -> Result<(), Errno> {
    if sys::file_size_limit()? < text.len() as u64 {
        return Err(Errno(libc::EFBIG));
    }
    let file = sys::reopen(fd, libc::O_RDWR)?;
    let written = sys::write_at(file.raw(), text, 0)?;
    sys::truncate(file.raw(), written as u64)?;
    if written == text.len() {
        Ok(())
    } else {
        Err(Errno(libc::ENOSPC))
    }
}

/// True once this process has met a virtual descriptor: one that it made, or that it was given.
static HOLDS: AtomicBool = AtomicBool::new(false);

/// Until then, the numbers that were looked at and are none, a bit for each (the same for those 1024
/// further on): a process that has none pays nothing for its further seeks.
static ORDINARY: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

fn remember() {
    HOLDS.store(true, Ordering::Relaxed);
}

/// What `fd` stands for, if it is a virtual descriptor.
pub fn recognise(fd: c_int) -> Option<Subject> {
    let place = fd as usize % 1024;
    let word = ORDINARY.get(place / 64)?;
    let bit = 1 << (place % 64);
    if !HOLDS.load(Ordering::Relaxed) && word.load(Ordering::Relaxed) & bit != 0 {
        return None;
    }
    look(fd, word, bit)
}

/// A file that cannot be one is asked for nothing more: programs that confine themselves allow the calls
/// that they know of.
#[cold]
#[inline(never)]
fn look(fd: c_int, word: &AtomicU64, bit: u64) -> Option<Subject> {
    /// Numbers that a parent hands on.
    const USUAL: c_int = 16;
    static LOOKED: AtomicBool = AtomicBool::new(false);
    let look_at = |fd| {
        let status = sys::status(fd).ok()?;
        could_be_virtual(status.st_nlink == 0, status.st_mode)
            .then(|| recognise_by_link(fd))
            .flatten()
    };
    // One that the program was started with may later have a number that was another's.
    if !HOLDS.load(Ordering::Relaxed) && !LOOKED.swap(true, Ordering::Relaxed) {
        (0..USUAL).any(|given| look_at(given).is_some());
    }
    let subject = look_at(fd);
    if subject.is_none() {
        word.fetch_or(bit, Ordering::Relaxed);
    }
    subject
}

/// A file that no directory has, with the permissions that only memory files have: those of
/// `memfd_create`, with and without MFD_NOEXEC_SEAL, or those of [`create_in_directory`].
#[inline(always)]
pub fn could_be_virtual(nameless: bool, mode: u32) -> bool {
    const EXECUTABLE: u32 = libc::S_IFREG | 0o777;
    const OTHERWISE: u32 = libc::S_IFREG | 0o666;
    const IN_DIRECTORY: u32 = libc::S_IFREG | OWNERS;
    nameless && matches!(mode, EXECUTABLE | OTHERWISE | IN_DIRECTORY)
}
