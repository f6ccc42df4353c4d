//! Raw system calls, with errno as a return value. The library never uses libc's own wrappers: it hooks
//! some of them, and all of them write `errno`.
//!
//! Callers of this module need no `unsafe`. The functions below take slices, references and [`Fd`]s, so a
//! caller cannot pass the kernel memory that it does not own.

pub mod arch;
pub mod c_string;
pub mod confinement;
pub mod directory;
#[cfg(feature = "preload")]
pub mod link;

use crate::text::Out;
use arch::syscall6;
use core::ffi::{CStr, c_int};
use core::mem::MaybeUninit;
use core::num::NonZero;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// An error number of the kernel, with the values of `errno`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub c_int);

impl Errno {
    /// The result does not fit into the buffer.
    pub const BUFFER_TOO_SMALL: Errno = Errno(libc::EFBIG);
    /// The text has an unexpected format.
    pub const MALFORMED: Errno = Errno(libc::EBADMSG);
    /// The wanted entry does not exist.
    pub const NOT_FOUND: Errno = Errno(libc::ENOENT);
}

/// Makes a system call; in a program that has confined itself, fails with EPERM without one.
///
/// # Safety
/// As for [`arch::syscall6`].
#[inline(always)]
pub unsafe fn call(number: libc::c_long, a: [usize; 6]) -> Result<usize, Errno> {
    if confinement::is_confined() {
        return Err(Errno(libc::EPERM));
    }
    // SAFETY: the caller guarantees it.
    unsafe { call_always(number, a) }
}

/// As [`call`], also in a program that has confined itself: for the program's own calls, and for what must
/// be undone after another thread has confined the program.
///
/// # Safety
/// As for [`arch::syscall6`].
#[inline(always)]
pub unsafe fn call_always(number: libc::c_long, a: [usize; 6]) -> Result<usize, Errno> {
    // SAFETY: the caller guarantees it.
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

// After the macro, because these modules use it.
pub mod clock;
pub mod process;
pub mod signals;
#[cfg(feature = "preload")]
pub mod spawn;
pub mod stderr;

#[inline(always)]
fn pad<const N: usize>(given: [usize; N]) -> [usize; 6] {
    let mut all = [0; 6];
    for (to, from) in all.iter_mut().zip(given) {
        *to = from;
    }
    all
}

/// A descriptor that the library owns and closes.
#[derive(Debug)]
pub struct Fd(c_int);

impl Fd {
    /// The descriptor number.
    pub fn raw(&self) -> c_int {
        self.0
    }

    /// Takes ownership of a descriptor.
    ///
    /// # Safety
    /// `number` must be open, and nothing else may close it or rely on it.
    pub unsafe fn from_raw(number: c_int) -> Fd {
        Fd(number)
    }

    /// Takes ownership of a descriptor that the kernel has just made. The numbers 0, 1 and 2 are avoided: in a program
    /// that has closed them, another thread may still write a message to 2, or put a file there.
    fn new(number: usize) -> Fd {
        let made = Fd(number as c_int);
        if made.0 > libc::STDERR_FILENO {
            made
        } else {
            made.moved()
        }
    }

    #[cold]
    #[inline(never)]
    fn moved(self) -> Fd {
        const FIRST: c_int = libc::STDERR_FILENO + 1;
        // SAFETY: touches no memory.
        match unsafe { call!(SYS_fcntl, self.0, libc::F_DUPFD_CLOEXEC, FIRST) } {
            Ok(number) => Fd(number as c_int),
            // No other number is free.
            Err(_) => self,
        }
    }

    /// Gives up ownership: the library no longer closes the descriptor.
    pub fn give(self) -> c_int {
        let number = self.0;
        core::mem::forget(self);
        number
    }
}

/// A descriptor of the program, in a call that allows the library to replace the file behind it.
#[derive(Clone, Copy, Debug)]
pub struct ProgramFd(c_int);

impl ProgramFd {
    /// # Safety
    /// A call of the program must have just opened `number`, or must be about to read the file behind it
    /// from the start. So no descriptor of the library has this number, and the program relies on the
    /// number, not on the open file.
    pub unsafe fn new(number: c_int) -> ProgramFd {
        ProgramFd(number)
    }

    /// The descriptor number.
    pub fn raw(self) -> c_int {
        self.0
    }

    /// `dup3(2)`: makes this descriptor refer to the file of `with`.
    pub fn replace(self, with: &Fd, flags: c_int) -> Result<(), Errno> {
        // SAFETY: touches no memory; the number may be replaced, by the contract of `new`.
        unsafe { call!(SYS_dup3, with.raw(), self.0, flags) }.map(drop)
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: closes a number that the library owns; touches no memory.
        let _ = unsafe { call_always(libc::SYS_close, pad([self.0 as usize])) };
    }
}

/// The directory descriptor that the library passes with absolute paths. The kernel ignores it. The filter
/// of `proclens run` does not stop an open with this number, so below `run` too the library reads the
/// kernel's own files.
pub const DOOR: c_int = 0x7072_6f63;

/// `openat(2)`; `dir` is a descriptor or `AT_FDCWD`. `O_CLOEXEC` is always added.
pub fn open_at(dir: c_int, path: &CStr, flags: c_int, mode: u32) -> Result<Fd, Errno> {
    let absolute = path.to_bytes().first() == Some(&b'/');
    let dir = if absolute { DOOR } else { dir };
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
    .map(Fd::new)
}

/// `openat(2)` from the working directory, for reading.
pub fn open(path: &CStr) -> Result<Fd, Errno> {
    open_at(libc::AT_FDCWD, path, libc::O_RDONLY, 0)
}

/// Opens a regular file for reading. Fails on any other kind of file, and never blocks.
pub fn open_regular(path: &CStr) -> Result<Fd, Errno> {
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = open_at(libc::AT_FDCWD, path, flags, 0)?;
    regular(file)
}

/// As [`open_regular`], below the directory `root`. Resolves the path as a process with that root would, so
/// no symbolic link leads out of it (`RESOLVE_IN_ROOT` of `openat2(2)`, Linux 5.6).
pub fn open_regular_below(root: &Fd, path: &CStr) -> Result<Fd, Errno> {
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    regular(open_below(root, path, flags, libc::RESOLVE_IN_ROOT)?)
}

/// `openat2(2)` (Linux 5.6) without O_CREAT. The new descriptor is closed by exec. `resolve` consists of the flags
/// `RESOLVE_...`.
pub fn open_below(root: &Fd, path: &CStr, flags: c_int, resolve: u64) -> Result<Fd, Errno> {
    // `struct open_how`: flags, mode, resolve.
    let how = [(flags | libc::O_CLOEXEC) as u64, 0, resolve];
    // SAFETY: the kernel reads the path, which ends with its NUL, and `how`, with the size that it is passed.
    let file = unsafe {
        call!(
            SYS_openat2,
            root.raw(),
            path.as_ptr(),
            how.as_ptr(),
            size_of_val(&how)
        )
    };
    file.map(Fd::new)
}

fn regular(file: Fd) -> Result<Fd, Errno> {
    let kind = status(file.raw())?.st_mode & libc::S_IFMT;
    if kind == libc::S_IFREG {
        Ok(file)
    } else {
        Err(Errno::MALFORMED)
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

/// Reads a file from its start to its end. Does not use or change the descriptor's offset.
pub fn read_whole(fd: c_int, into: &mut [u8]) -> Result<usize, Errno> {
    let mut length = 0usize;
    loop {
        let free = into
            .get_mut(length..)
            .filter(|f| !f.is_empty())
            .ok_or(Errno::BUFFER_TOO_SMALL)?;
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

/// The offset of a descriptor.
pub fn position(fd: c_int) -> Result<usize, Errno> {
    // SAFETY: touches no memory.
    unsafe { call!(SYS_lseek, fd, 0, libc::SEEK_CUR) }
}

/// Sets the offset of a descriptor.
pub fn seek(fd: c_int, offset: u64) -> Result<(), Errno> {
    // SAFETY: touches no memory.
    unsafe { call!(SYS_lseek, fd, offset, libc::SEEK_SET) }.map(drop)
}

/// `ftruncate(2)`.
pub fn truncate(fd: c_int, length: u64) -> Result<(), Errno> {
    // SAFETY: touches no memory.
    unsafe { call!(SYS_ftruncate, fd, length) }.map(drop)
}

/// `memfd_create(2)`.
pub fn memory_file(name: &CStr, flags: u32) -> Result<Fd, Errno> {
    // SAFETY: the kernel reads the name, which ends with its NUL.
    unsafe { call!(SYS_memfd_create, name.as_ptr(), flags) }.map(Fd::new)
}

/// `fcntl(2)`, F_ADD_SEALS: makes the content of a memory file immutable for all writers.
pub fn seal(fd: c_int) -> Result<(), Errno> {
    const ALL: c_int =
        libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
    // SAFETY: touches no memory of the process.
    unsafe { call!(SYS_fcntl, fd, libc::F_ADD_SEALS, ALL) }.map(drop)
}

/// `fchmod(2)` to the mode that the file of `fd` already has. Returns EPERM if the caller does not own the
/// file.
pub fn keep_mode(fd: c_int, mode: u32) -> Result<(), Errno> {
    // SAFETY: touches no memory.
    unsafe { call!(SYS_fchmod, fd, mode) }.map(drop)
}

/// `unlink(2)`.
pub fn unlink(path: &CStr) -> Result<(), Errno> {
    // SAFETY: the kernel reads the path, which ends with its NUL.
    unsafe { call!(SYS_unlinkat, libc::AT_FDCWD, path.as_ptr(), 0) }.map(drop)
}

/// `unlinkat(2)`: removes a name in a directory.
pub fn unlink_at(directory: &Fd, name: &CStr, flags: c_int) -> Result<(), Errno> {
    // SAFETY: the kernel reads the name, which ends with its NUL.
    unsafe { call!(SYS_unlinkat, directory.raw(), name.as_ptr(), flags) }.map(drop)
}

/// `rmdir(2)`.
pub fn remove_directory(path: &CStr) -> Result<(), Errno> {
    let flags = libc::AT_REMOVEDIR;
    // SAFETY: the kernel reads the path, which ends with its NUL.
    unsafe { call!(SYS_unlinkat, libc::AT_FDCWD, path.as_ptr(), flags) }.map(drop)
}

/// `readlink(2)`: the target of a symbolic link, cut off if `into` is too small.
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
    into.get(..length).ok_or(Errno::BUFFER_TOO_SMALL)
}

/// The kernel's path of the file behind `fd`.
pub fn descriptor_path(fd: c_int, into: &mut [u8]) -> Result<&[u8], Errno> {
    let mut buffer = [0; 64];
    read_link(descriptor_link(fd, &mut buffer)?, into)
}

/// Opens the file behind `fd` again, with its own offset and other flags.
pub fn reopen(fd: c_int, flags: c_int) -> Result<Fd, Errno> {
    let mut buffer = [0; 64];
    open_at(libc::AT_FDCWD, descriptor_link(fd, &mut buffer)?, flags, 0)
}

fn descriptor_link(fd: c_int, buffer: &mut [u8; 64]) -> Result<&CStr, Errno> {
    let mut name = [0; 32];
    let mut name = Out::new(&mut name);
    name.bytes(b"fd/");
    name.decimal(u64::try_from(fd).map_err(|_| Errno(libc::EBADF))?);
    own_path(name.finish().ok_or(Errno::BUFFER_TOO_SMALL)?, buffer)
}

/// The path of the working directory.
pub fn working_directory(into: &mut [u8]) -> Result<&[u8], Errno> {
    let mut buffer = [0; 64];
    read_link(own_path(b"cwd", &mut buffer)?, into)
}

/// The thread pointer of the process's first thread; 0 until it is recorded.
static FIRST_THREAD: AtomicUsize = AtomicUsize::new(0);

/// Records that the calling thread is the process's first thread.
#[cfg(feature = "preload")]
pub fn is_first_thread() {
    FIRST_THREAD.store(arch::thread_pointer(), Ordering::Relaxed);
}

/// The path of `name` in this thread's directory of `/proc`. `/proc/self` is the first thread's directory.
/// That thread may have ended, or have other descriptors and another working directory. Every thread has
/// its own directory since Linux 3.17.
pub fn own_path<'r>(name: &[u8], buffer: &'r mut [u8; 64]) -> Result<&'r CStr, Errno> {
    // If the first thread was not recorded, there may be no libc and no thread pointer.
    let first = FIRST_THREAD.load(Ordering::Relaxed);
    let other = first != 0 && arch::thread_pointer() != first;
    let directory: &[u8] = if other && exists(c"/proc/thread-self") {
        b"/proc/thread-self/"
    } else {
        b"/proc/self/"
    };
    let mut path = Out::new(buffer);
    path.bytes(directory);
    path.bytes(name);
    path.byte(0);
    let path = path.finish().ok_or(Errno::BUFFER_TOO_SMALL)?;
    CStr::from_bytes_until_nul(path).map_err(|_| Errno::BUFFER_TOO_SMALL)
}

/// True if `address` is readable memory. A signal call with an invalid operation reads its mask first, and
/// then fails. This is the cheapest call that returns EFAULT.
pub fn is_memory(address: usize) -> bool {
    // The call reads 8 bytes. The word is aligned, so it is on one page. A null pointer is no mask.
    let word = address & !7;
    if arch::is_in_valgrind() {
        return is_byte(address);
    }
    // SAFETY: the kernel reads 8 bytes if it can, and changes nothing.
    let result = unsafe { call!(SYS_rt_sigprocmask, usize::MAX, word, 0, 8) };
    word != 0 && result == Err(Errno(libc::EINVAL))
}

/// As [`is_memory`], with a call that reads no byte beside this one, which valgrind would report. Filters more
/// often forbid it.
#[cold]
#[inline(never)]
fn is_byte(address: usize) -> bool {
    let mut byte = 0u8;
    let (to, from) = ([&raw mut byte as usize, 1], [address, 1]);
    // SAFETY: the kernel writes one byte to `byte`.
    let result = unsafe {
        call!(
            SYS_process_vm_readv,
            process_id(),
            to.as_ptr(),
            1,
            from.as_ptr(),
            1,
            0
        )
    };
    result != Err(Errno(libc::EFAULT))
}

/// True if the 8 bytes at `address` are writable. This is the cheapest call that tests it: the kernel
/// writes the signal mask there, or returns EFAULT.
#[cfg(feature = "preload")]
pub fn is_writable(address: *mut ()) -> bool {
    // SAFETY: the kernel writes 8 bytes if it can. The caller is about to write there, and the kernel
    // leaves memory that is not writable alone.
    !address.is_null() && unsafe { call!(SYS_rt_sigprocmask, 0, 0, address, 8) }.is_ok()
}

/// `faccessat(2)`, mode F_OK.
pub fn exists(path: &CStr) -> bool {
    // SAFETY: the kernel reads the path, which ends with its NUL.
    unsafe { call!(SYS_faccessat, libc::AT_FDCWD, path.as_ptr(), libc::F_OK) }.is_ok()
}

/// `struct stat` of a descriptor.
#[unsafe(link_section = ".text.hot")]
pub fn status(fd: c_int) -> Result<libc::stat, Errno> {
    let mut st = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel fills one `struct stat`; it is read only if the call succeeded.
    unsafe { call!(SYS_fstat, fd, st.as_mut_ptr()).map(|_| st.assume_init()) }
}

/// `struct stat` of a path. Follows symbolic links.
pub fn status_of(path: &CStr) -> Result<libc::stat, Errno> {
    let mut st = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel reads the path and fills one `struct stat`; it is read only if the call succeeded.
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

/// `struct stat` of a name in a directory. Does not follow a symbolic link.
pub fn status_at(directory: &Fd, name: &CStr) -> Result<libc::stat, Errno> {
    let mut st = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel reads the name and fills one `struct stat`; it is read only if the call succeeded.
    unsafe {
        call!(
            SYS_newfstatat,
            directory.raw(),
            name.as_ptr(),
            st.as_mut_ptr(),
            libc::AT_SYMLINK_NOFOLLOW
        )
        .map(|_| st.assume_init())
    }
}

/// `statx(2)` of a path. Follows symbolic links.
pub fn extended_status_of(path: &CStr, flags: c_int, mask: u32) -> Result<libc::statx, Errno> {
    let mut st = MaybeUninit::<libc::statx>::uninit();
    // SAFETY: the kernel reads the path and fills one `struct statx`; it is read only if the call
    // succeeded.
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

/// The magic number (linux/magic.h) of the file system of a descriptor's file.
pub fn file_system(fd: c_int) -> Result<u64, Errno> {
    let mut st = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the kernel fills one `struct statfs`; it is read only if the call succeeded.
    unsafe { call!(SYS_fstatfs, fd, st.as_mut_ptr()).map(|_| st.assume_init().f_type as u64) }
}

/// `F_GETFL` or `F_GETFD`.
pub fn descriptor_flags(fd: c_int, which: c_int) -> Result<c_int, Errno> {
    // SAFETY: touches no memory.
    unsafe { call!(SYS_fcntl, fd, which) }.map(|flags| flags as c_int)
}

/// The largest file that this process may write, `RLIMIT_FSIZE`.
pub fn file_size_limit() -> Result<u64, Errno> {
    let mut limit = MaybeUninit::<libc::rlimit64>::uninit();
    // SAFETY: the kernel fills one `struct rlimit64`; it is read only if the call succeeded.
    unsafe {
        call!(SYS_prlimit64, 0, libc::RLIMIT_FSIZE, 0, limit.as_mut_ptr())
            .map(|_| limit.assume_init().rlim_cur)
    }
}

/// The process ID in the PID namespace of the process.
pub fn process_id() -> u32 {
    // SAFETY: touches no memory, never fails.
    unsafe { call!(SYS_getpid) }.map_or(0, |pid| pid as u32)
}

/// Maps zeroed, private memory from the kernel. It is not part of the program's heap.
pub fn map(length: usize) -> Result<*mut u8, Errno> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address that the kernel chooses replaces nothing.
    unsafe { call!(SYS_mmap, 0, length, protection, flags, usize::MAX, 0) }
        .map(|address| address as *mut u8)
}

/// Unmaps memory that [`map`] returned.
///
/// # Safety
/// Nothing may use the mapping any more.
pub unsafe fn unmap(address: *mut u8, length: usize) {
    // SAFETY: the caller guarantees it.
    let _ = unsafe { call!(SYS_munmap, address, length) };
}

/// Where the program's heap ends at present, brk(2). The kernel changes nothing for an invalid end.
#[cfg(feature = "preload")]
#[unsafe(link_section = ".text.hot")]
pub fn heap_end() -> Result<usize, Errno> {
    // SAFETY: touches no memory.
    unsafe { call!(SYS_brk, 0) }
}

/// `madvise(2)`, MADV_WIPEONFORK: a forked child finds zeros. On an older kernel the child finds a copy.
pub fn wipe_on_fork(address: *mut u8, length: usize) {
    // SAFETY: changes what a child gets; does not change the memory.
    let _ = unsafe { call!(SYS_madvise, address, length, libc::MADV_WIPEONFORK) };
}

/// `sched_getaffinity(2)` of `pid` (0: the caller) into `mask`. Returns how many bytes the kernel wrote.
pub fn affinity(pid: libc::pid_t, mask: &mut [u64]) -> Result<usize, Errno> {
    let size = size_of_val(mask);
    // SAFETY: the kernel writes at most the slice.
    unsafe { call!(SYS_sched_getaffinity, pid, size, mask.as_mut_ptr()) }
}

/// `sched_setaffinity(2)` of `pid`.
#[cfg(any(feature = "preload", feature = "tool"))]
pub fn set_affinity(pid: libc::pid_t, mask: &[u64]) -> Result<(), Errno> {
    // SAFETY: the kernel reads the slice.
    unsafe { call!(SYS_sched_setaffinity, pid, size_of_val(mask), mask.as_ptr()) }.map(drop)
}

/// As [`affinity`], in bytes. Returns the length of the kernel's masks.
pub fn affinity_into(pid: libc::pid_t, into: &mut [u8]) -> Result<usize, Errno> {
    /// No kernel can be configured for more than 8,192 CPUs.
    const LONGEST: usize = 1024;
    let size = into.len().min(LONGEST);
    // SAFETY: the kernel writes at most `size` bytes, and the slice has them.
    unsafe { call!(SYS_sched_getaffinity, pid, size, into.as_mut_ptr()) }
}

/// `getdents64(2)`: raw directory entries. Returns 0 at the end.
pub fn directory_entries(fd: c_int, into: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most the slice.
    unsafe { call!(SYS_getdents64, fd, into.as_mut_ptr(), into.len()) }
}

/// Bytes in a page, from the auxiliary vector. The caller blocks signals.
pub fn page_size() -> NonZero<u64> {
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    const USUAL: NonZero<u64> = NonZero::new(4096).unwrap();
    if let Some(known) = NonZero::new(KNOWN.load(Ordering::Relaxed)) {
        return known;
    }
    let size = auxiliary_value(libc::AT_PAGESZ)
        .and_then(NonZero::new)
        .unwrap_or(USUAL);
    KNOWN.store(size.get(), Ordering::Relaxed);
    size
}

/// An entry of the auxiliary vector, without libc's `getauxval`; `None` if `/proc` does not show the
/// vector. The caller blocks signals.
pub fn auxiliary_value(wanted: u64) -> Option<u64> {
    let mut vector = [0; 1024];
    let file = open(c"/proc/self/auxv").ok()?;
    let length = read(file.raw(), &mut vector).ok()?;
    let entries = vector.get(..length)?.as_chunks::<8>().0.as_chunks::<2>().0;
    entries.iter().find_map(|[kind, value]| {
        (u64::from_ne_bytes(*kind) == wanted).then_some(u64::from_ne_bytes(*value))
    })
}
