//! The thin edge to the kernel: raw system calls with errno as a value. libc's own wrappers are
//! never used: some of them are what the library hooks, and all of them write `errno`.
//!
//! `unsafe` ends here: the functions below take slices, references and [`Fd`]s, so that a caller
//! cannot hand the kernel memory that is not its own.

pub mod arch;
#[cfg(feature = "preload")]
pub mod link;
pub mod memory;

use crate::text::Out;
use arch::syscall6;
use core::ffi::{CStr, c_int};
use core::mem::MaybeUninit;
use core::num::NonZero;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// An error number of the kernel, as `errno` would hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub c_int);

impl Errno {
    /// What was asked does not fit the memory at hand.
    pub const NO_ROOM: Errno = Errno(libc::EFBIG);
    /// What was read makes no sense.
    pub const GARBAGE: Errno = Errno(libc::EBADMSG);
    /// There is no such thing.
    pub const MISSING: Errno = Errno(libc::ENOENT);
}

/// Makes a system call.
///
/// # Safety
/// As [`arch::syscall6`].
#[inline(always)]
pub unsafe fn call(number: libc::c_long, a: [usize; 6]) -> Result<usize, Errno> {
    // SAFETY: the caller's.
    let result = unsafe { syscall6(number as usize, a) };
    if (-4095..0).contains(&result) {
        Err(Errno(-(result as c_int)))
    } else {
        Ok(result as usize)
    }
}

macro_rules! call {
    ($number:ident $(, $a:expr)*) => {
        call(libc::$number, pad([$($a as usize),*]))
    };
}

// Behind the macro, which it uses.
pub mod process;
#[cfg(feature = "preload")]
pub mod spawn;

#[inline(always)]
fn pad<const N: usize>(given: [usize; N]) -> [usize; 6] {
    let mut all = [0; 6];
    for (to, from) in all.iter_mut().zip(given) {
        *to = from;
    }
    all
}

/// A descriptor that is ours to close.
#[derive(Debug)]
pub struct Fd(c_int);

impl Fd {
    /// The number.
    pub fn raw(&self) -> c_int {
        self.0
    }

    /// Takes over a descriptor that nobody else closes.
    pub fn owned(number: c_int) -> Fd {
        Fd(number)
    }

    /// Gives the descriptor away; nothing closes it here any more.
    pub fn give(self) -> c_int {
        let number = self.0;
        core::mem::forget(self);
        number
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: closes a number that is ours; touches no memory.
        let _ = unsafe { call!(SYS_close, self.0) };
    }
}

/// `openat(2)`; `dir` is a descriptor or `AT_FDCWD`. `O_CLOEXEC` is always added.
pub fn open_at(dir: c_int, path: &CStr, flags: c_int, mode: u32) -> Result<Fd, Errno> {
    // SAFETY: the kernel reads the path, which ends with its NUL.
    unsafe {
        call!(
            SYS_openat,
            dir,
            path.as_ptr(),
            flags | libc::O_CLOEXEC,
            mode
        )
    }
    .map(|fd| Fd(fd as c_int))
}

/// `openat(2)` from the working directory, for reading.
pub fn open(path: &CStr) -> Result<Fd, Errno> {
    open_at(libc::AT_FDCWD, path, libc::O_RDONLY, 0)
}

/// Opens a regular file for reading. Whatever else is there is an error, and nobody waits for it.
pub fn open_regular(path: &CStr) -> Result<Fd, Errno> {
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = open_at(libc::AT_FDCWD, path, flags, 0)?;
    regular(file)
}

/// The same below the directory `root`, as a process sees it whose root that is: no link leads out of
/// it (`RESOLVE_IN_ROOT` of `openat2(2)`, Linux 5.6).
pub fn open_regular_below(root: &Fd, path: &CStr) -> Result<Fd, Errno> {
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    // `struct open_how`: flags, mode, resolve.
    let how = [flags as u64, 0, libc::RESOLVE_IN_ROOT];
    // SAFETY: the kernel reads the path, which ends with its NUL, and as much of `how` as there is.
    let file = unsafe {
        call!(
            SYS_openat2,
            root.raw(),
            path.as_ptr(),
            how.as_ptr(),
            size_of_val(&how)
        )
    };
    regular(file.map(|fd| Fd(fd as c_int))?)
}

fn regular(file: Fd) -> Result<Fd, Errno> {
    let kind = status(file.raw())?.st_mode & libc::S_IFMT;
    if kind == libc::S_IFREG {
        Ok(file)
    } else {
        Err(Errno::GARBAGE)
    }
}

/// `read(2)`.
pub fn read(fd: c_int, into: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most the slice.
    unsafe { call!(SYS_read, fd, into.as_mut_ptr(), into.len()) }
}

/// `pread64(2)`.
pub fn read_at(fd: c_int, into: &mut [u8], offset: u64) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most the slice.
    unsafe { call!(SYS_pread64, fd, into.as_mut_ptr(), into.len(), offset) }
}

/// Reads from the start to the end, wherever the offset is, and leaves it there.
pub fn read_whole(fd: c_int, into: &mut [u8]) -> Result<usize, Errno> {
    let mut length = 0usize;
    loop {
        let free = into
            .get_mut(length..)
            .filter(|f| !f.is_empty())
            .ok_or(Errno::NO_ROOM)?;
        match read_at(fd, free, length as u64)? {
            0 => return Ok(length),
            more => length = length.wrapping_add(more),
        }
    }
}

/// `write(2)`.
pub fn write(fd: c_int, from: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel reads the slice.
    unsafe { call!(SYS_write, fd, from.as_ptr(), from.len()) }
}

/// `pwrite64(2)`.
pub fn write_at(fd: c_int, from: &[u8], offset: u64) -> Result<usize, Errno> {
    // SAFETY: the kernel reads the slice.
    unsafe { call!(SYS_pwrite64, fd, from.as_ptr(), from.len(), offset) }
}

/// Where the offset of a descriptor is.
pub fn position(fd: c_int) -> Result<usize, Errno> {
    // SAFETY: touches no memory.
    unsafe { call!(SYS_lseek, fd, 0, libc::SEEK_CUR) }
}

/// Puts the offset of a descriptor there.
pub fn seek(fd: c_int, offset: u64) -> Result<(), Errno> {
    // SAFETY: touches no memory.
    unsafe { call!(SYS_lseek, fd, offset, libc::SEEK_SET) }.map(drop)
}

/// `ftruncate(2)`.
pub fn truncate(fd: c_int, length: u64) -> Result<(), Errno> {
    // SAFETY: touches no memory.
    unsafe { call!(SYS_ftruncate, fd, length) }.map(drop)
}

/// `dup3(2)`: makes `to` what `from` is.
pub fn duplicate_onto(from: c_int, to: c_int, flags: c_int) -> Result<(), Errno> {
    // SAFETY: touches no memory.
    unsafe { call!(SYS_dup3, from, to, flags) }.map(drop)
}

/// `memfd_create(2)`.
pub fn memory_file(name: &CStr, flags: u32) -> Result<Fd, Errno> {
    // SAFETY: the kernel reads the name, which ends with its NUL.
    unsafe { call!(SYS_memfd_create, name.as_ptr(), flags) }.map(|fd| Fd(fd as c_int))
}

/// `fcntl(2)`, F_ADD_SEALS: what is in a memory file stays as it is, whoever writes.
pub fn seal(fd: c_int) -> Result<(), Errno> {
    const ALL: c_int =
        libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
    // SAFETY: touches no memory of ours.
    unsafe { call!(SYS_fcntl, fd, libc::F_ADD_SEALS, ALL) }.map(drop)
}

/// `unlink(2)`.
pub fn unlink(path: &CStr) -> Result<(), Errno> {
    // SAFETY: the kernel reads the path, which ends with its NUL.
    unsafe { call!(SYS_unlinkat, libc::AT_FDCWD, path.as_ptr(), 0) }.map(drop)
}

/// `readlink(2)`: what the link says, as much as fits.
pub fn read_link<'b>(path: &CStr, into: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    // SAFETY: the kernel reads the path and writes at most the slice.
    let length = unsafe {
        call!(
            SYS_readlinkat,
            libc::AT_FDCWD,
            path.as_ptr(),
            into.as_mut_ptr(),
            into.len()
        )
    }?;
    into.get(..length).ok_or(Errno::NO_ROOM)
}

/// What is open as `fd`, as the kernel would call it.
pub fn descriptor_path(fd: c_int, into: &mut [u8]) -> Result<&[u8], Errno> {
    let mut room = [0; 64];
    read_link(descriptor_link(fd, &mut room)?, into)
}

/// Opens once more what is open as `fd`: another offset, other flags.
pub fn reopen(fd: c_int, flags: c_int) -> Result<Fd, Errno> {
    let mut room = [0; 64];
    open_at(libc::AT_FDCWD, descriptor_link(fd, &mut room)?, flags, 0)
}

fn descriptor_link(fd: c_int, room: &mut [u8; 64]) -> Result<&CStr, Errno> {
    let mut name = [0; 32];
    let mut name = Out::new(&mut name);
    name.bytes(b"fd/");
    name.decimal(u64::try_from(fd).map_err(|_| Errno(libc::EBADF))?);
    own_path(name.finish().ok_or(Errno::NO_ROOM)?, room)
}

/// The path of the working directory.
pub fn working_directory(into: &mut [u8]) -> Result<&[u8], Errno> {
    let mut room = [0; 64];
    read_link(own_path(b"cwd", &mut room)?, into)
}

/// The thread pointer of the process's first thread; 0 as long as nobody has told it.
static FIRST_THREAD: AtomicUsize = AtomicUsize::new(0);

/// Tells that this is the process's first thread.
#[cfg(feature = "preload")]
pub fn is_first_thread() {
    FIRST_THREAD.store(arch::thread_pointer(), Ordering::Relaxed);
}

/// The path of `name` in this thread's directory of `/proc`. `/proc/self` is that of the first thread,
/// which may have ended, or have other descriptors and another working directory. Each of them has a
/// directory since Linux 3.17.
pub fn own_path<'r>(name: &[u8], room: &'r mut [u8; 64]) -> Result<&'r CStr, Errno> {
    // Where nobody has told it, there may be no libc, and no thread pointer.
    let first = FIRST_THREAD.load(Ordering::Relaxed);
    let other = first != 0 && arch::thread_pointer() != first;
    let directory: &[u8] = if other && exists(c"/proc/thread-self") {
        b"/proc/thread-self/"
    } else {
        b"/proc/self/"
    };
    let mut path = Out::new(room);
    path.bytes(directory);
    path.bytes(name);
    path.byte(0);
    let path = path.finish().ok_or(Errno::NO_ROOM)?;
    CStr::from_bytes_until_nul(path).map_err(|_| Errno::NO_ROOM)
}

/// Is there memory at `address`? A signal call with a number that makes no sense reads its mask
/// first: the cheapest question that the kernel answers with EFAULT.
pub fn is_memory(address: *const ()) -> bool {
    // SAFETY: the kernel reads 8 bytes if it can, and changes nothing.
    let asked = unsafe { call!(SYS_rt_sigprocmask, usize::MAX, address, 0, 8) };
    asked != Err(Errno(libc::EFAULT))
}

/// `faccessat(2)`, mode F_OK.
pub fn exists(path: &CStr) -> bool {
    // SAFETY: the kernel reads the path, which ends with its NUL.
    unsafe { call!(SYS_faccessat, libc::AT_FDCWD, path.as_ptr(), libc::F_OK) }.is_ok()
}

/// `struct stat` of a descriptor.
#[unsafe(link_section = ".text.near")]
pub fn status(fd: c_int) -> Result<libc::stat, Errno> {
    let mut st = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel fills one `struct stat`; it is read only after it did.
    unsafe { call!(SYS_fstat, fd, st.as_mut_ptr()).map(|_| st.assume_init()) }
}

/// `struct stat` of a path; links are followed.
pub fn status_of(path: &CStr) -> Result<libc::stat, Errno> {
    let mut st = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel reads the path and fills one `struct stat`, read only after it did.
    unsafe {
        call!(
            SYS_newfstatat,
            libc::AT_FDCWD,
            path.as_ptr(),
            st.as_mut_ptr(),
            0
        )
        .map(|_| st.assume_init())
    }
}

/// `statx(2)` of a path; links are followed.
pub fn extended_status_of(path: &CStr, flags: c_int, mask: u32) -> Result<libc::statx, Errno> {
    let mut st = MaybeUninit::<libc::statx>::uninit();
    // SAFETY: the kernel reads the path and fills one `struct statx`, read only after it did.
    unsafe {
        call!(
            SYS_statx,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            mask,
            st.as_mut_ptr()
        )
        .map(|_| st.assume_init())
    }
}

/// The magic number of the file system that a descriptor is on, linux/magic.h.
pub fn file_system(fd: c_int) -> Result<u64, Errno> {
    let mut st = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the kernel fills one `struct statfs`; it is read only after it did.
    unsafe { call!(SYS_fstatfs, fd, st.as_mut_ptr()).map(|_| st.assume_init().f_type as u64) }
}

/// `F_GETFL` or `F_GETFD`.
pub fn descriptor_flags(fd: c_int, which: c_int) -> Result<c_int, Errno> {
    // SAFETY: touches no memory.
    unsafe { call!(SYS_fcntl, fd, which) }.map(|flags| flags as c_int)
}

/// A clock in microseconds.
pub fn clock_us(clock: libc::clockid_t) -> Result<u64, Errno> {
    let mut ts = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the kernel fills one `struct timespec`; it is read only after it did.
    let ts = unsafe { call!(SYS_clock_gettime, clock, ts.as_mut_ptr()).map(|_| ts.assume_init()) }?;
    Ok((ts.tv_sec as u64)
        .saturating_mul(1_000_000)
        .saturating_add(ts.tv_nsec as u64 / 1000))
}

/// The largest file that this process may write, `RLIMIT_FSIZE`.
pub fn file_size_limit() -> Result<u64, Errno> {
    let mut limit = MaybeUninit::<libc::rlimit64>::uninit();
    // SAFETY: the kernel fills one `struct rlimit64`; it is read only after it did.
    unsafe {
        call!(SYS_prlimit64, 0, libc::RLIMIT_FSIZE, 0, limit.as_mut_ptr())
            .map(|_| limit.assume_init().rlim_cur)
    }
}

/// The process's number in its PID namespace.
pub fn process_id() -> u32 {
    // SAFETY: touches no memory, never fails.
    unsafe { call!(SYS_getpid) }.map_or(0, |pid| pid as u32)
}

/// Memory of our own from the kernel: zeroed, private, not the program's heap.
pub fn map(length: usize) -> Result<*mut u8, Errno> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at a place of the kernel's choice replaces nothing.
    unsafe { call!(SYS_mmap, 0, length, protection, flags, usize::MAX, 0) }
        .map(|address| address as *mut u8)
}

/// Gives back what [`map`] gave.
///
/// # Safety
/// Nothing may use the mapping any more.
pub unsafe fn unmap(address: *mut u8, length: usize) {
    // SAFETY: the caller's.
    let _ = unsafe { call!(SYS_munmap, address, length) };
}

/// `madvise(2)`, MADV_WIPEONFORK: a forked child finds zeros. Older kernels cannot, and then it
/// finds a copy.
pub fn wipe_on_fork(address: *mut u8, length: usize) {
    // SAFETY: changes what a child gets, not the memory.
    let _ = unsafe { call!(SYS_madvise, address, length, libc::MADV_WIPEONFORK) };
}

/// `sched_getaffinity(2)` of `pid` (0: the caller) into `mask`; how many bytes the kernel wrote.
pub fn affinity(pid: libc::pid_t, mask: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most the slice.
    unsafe { call!(SYS_sched_getaffinity, pid, mask.len(), mask.as_mut_ptr()) }
}

/// `getdents64(2)`: raw directory entries; 0 at the end.
pub fn directory_entries(fd: c_int, into: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most the slice.
    unsafe { call!(SYS_getdents64, fd, into.as_mut_ptr(), into.len()) }
}

/// Bytes in a page, from the auxiliary vector that the kernel gave the process.
pub fn page_size() -> NonZero<u64> {
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    const USUAL: NonZero<u64> = NonZero::new(4096).unwrap();
    if let Some(known) = NonZero::new(KNOWN.load(Ordering::Relaxed)) {
        return known;
    }
    let mut vector = [0; 1024];
    let entries = open(c"/proc/self/auxv")
        .and_then(|file| read(file.raw(), &mut vector))
        .map_or(0, |length| length / 16);
    let size = vector
        .as_chunks::<8>()
        .0
        .as_chunks::<2>()
        .0
        .iter()
        .take(entries)
        .find_map(|[kind, value]| {
            let is_size = u64::from_ne_bytes(*kind) == libc::AT_PAGESZ;
            NonZero::new(u64::from_ne_bytes(*value)).filter(|_| is_size)
        });
    let size = size.unwrap_or(USUAL);
    KNOWN.store(size.get(), Ordering::Relaxed);
    size
}
