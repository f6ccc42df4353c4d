//! The server of `proclens run`: handles the calls that the filter stops. It opens the file as the caller
//! sees it, renders the content with the library's code, and passes the caller the same memory file that
//! the library would make. In every unexpected case it calls `proceed`, so the kernel executes the call.

use super::affinity::{Masks, Program, Rights};
use super::credentials::{Acting, Credentials, shares_namespace};
use super::filter::NEVER_VIRTUAL;
use super::lock::{Lock, Locked, futex};
use super::notify::{Listener, Page, Stopped, path_of, read_memory, read_of, write_memory};
use crate::procfs::content;
use crate::procfs::files::{self, FileSystem, MachineFile, TaskStat, VirtualFile};
use crate::runtime::live::{self, Live};
use crate::runtime::reductions::{Mask, MaskBuffer, Reader};
use crate::settings::Settings;
use crate::sys::arch::SYS_OPEN;
use crate::sys::directory::{each_entry, open_directory, terminated};
use crate::sys::{self, Errno, Fd, ProgramFd};
use crate::text::{Out, decimal, lines};
use crate::virtual_file;
use core::ffi::{CStr, c_int};
use core::mem::MaybeUninit;
use core::ptr::null;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A longer path is never a virtual file.
const LONGEST_PATH: usize = 512;

/// The size of the kernel's `struct sysinfo`. That of musl is larger.
const KERNELS_SYSINFO: usize = 112;
const _: () = assert!(KERNELS_SYSINFO <= size_of::<libc::sysinfo>());

/// The flags of a call `openat2` that can get a virtual file.
const KNOWN_FLAGS: u64 = (libc::O_CLOEXEC
    | libc::O_NONBLOCK
    | libc::O_NOCTTY
    | libc::O_NOFOLLOW
    | libc::O_NOATIME
    | libc::O_APPEND
    | libc::O_SYNC
    | libc::O_ASYNC) as u64;
const _: () = assert!(KNOWN_FLAGS & NEVER_VIRTUAL as u64 == 0);

/// The size of libc's `cpu_set_t`, which programs use for their masks. Those that want to know the size of the
/// kernel's masks begin with more (see [`Reader::probe`]).
const LIBCS_MASK: usize = 128;

/// What the threads of the server share.
pub struct Server {
    /// The listener from which calls are received.
    pub listener: Listener,
    /// The slots into which calls are received.
    pub page: &'static Page,
    /// Ensures that one thread at a time receives calls.
    pub receiving: Lock,
    /// The settings of `proclens run`, for all programs below it.
    pub settings: fn() -> &'static Settings<'static>,
    /// The server's own credentials. `None` if they are unknown: then each open is left to the kernel.
    pub credentials: Option<Credentials>,
    /// The affinity masks that were reduced.
    pub masks: Masks,
    /// Called when a program reads the load averages, so that a sampler is started.
    pub load_was_read: fn(),
    /// Starts the threads of all slots but the first. Called before the first longer work.
    pub start_helpers: fn(),
    /// True once the helpers were started.
    pub has_helpers: AtomicBool,
    /// The number of threads that serve.
    pub threads: AtomicU32,
    /// The number of threads that do longer work.
    pub working: AtomicU32,
}

/// Longer work of a thread; dropping it ends the work.
struct Work<'s>(&'s Server);

impl Drop for Work<'_> {
    fn drop(&mut self) {
        let before = self.0.working.fetch_sub(1, Ordering::Release);
        if before + 1 >= self.0.threads.load(Ordering::Relaxed) {
            futex(&self.0.working, libc::FUTEX_WAKE, 1, null());
        }
    }
}

impl Server {
    /// Handles calls with slot number `slot`, until no process has the filter any more. Fails if the kernel passes no
    /// calls although processes have the filter, because another filter forbids it.
    pub fn serve(&self, slot: usize) -> Result<(), Errno> {
        let Some(slot) = self.page.slots().get(slot) else {
            return Ok(());
        };
        self.threads.fetch_add(1, Ordering::Relaxed);
        let mut locked = Some(self.receiving.take());
        loop {
            match self.listener.receive(slot) {
                Ok(stop) => {
                    if self.handle(&stop, &mut locked).is_none() {
                        self.listener.proceed(stop.id);
                    }
                    if locked.is_none() {
                        locked = Some(self.receiving.take());
                    }
                }
                Err(Errno(libc::EINTR)) => {}
                // The caller has ended, and perhaps all processes with the filter have.
                Err(Errno(libc::ENOENT)) if !self.listener.has_hung_up() => {}
                Err(_) if self.listener.has_hung_up() => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Begins longer work and lets another thread receive calls meanwhile. One thread always stays free. If all
    /// others work and none finishes in time, `None` leaves the call to the kernel: the others may wait for a
    /// file system whose own server waits for this one to proceed.
    fn begin_work<'t>(&'t self, locked: &mut Option<Locked<'t>>) -> Option<Work<'t>> {
        const TIMEOUT: libc::timespec = libc::timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        if !self.has_helpers.swap(true, Ordering::Relaxed) {
            (self.start_helpers)();
        }
        for timeout in [Some(&TIMEOUT), None] {
            let before = self.working.fetch_add(1, Ordering::Acquire);
            let threads = self.threads.load(Ordering::Relaxed);
            // A server that got only one thread must work with that one.
            if before + 1 < threads || threads == 1 {
                *locked = None;
                return Some(Work(self));
            }
            self.working.fetch_sub(1, Ordering::Relaxed);
            if let Some(timeout) = timeout {
                futex(&self.working, libc::FUTEX_WAIT, before, timeout);
            }
        }
        None
    }

    /// Handles one call. `None` leaves the call to the kernel.
    fn handle<'t>(&'t self, stop: &Stopped, locked: &mut Option<Locked<'t>>) -> Option<()> {
        let [a, b, c, d, ..] = stop.arguments;
        match stop.number {
            SYS_OPEN => self.open(stop, locked, libc::AT_FDCWD, a, b as c_int, 0),
            libc::SYS_openat => self.open(stop, locked, a as c_int, b, c as c_int, 0),
            libc::SYS_openat2 => {
                // `struct open_how`: flags, mode, resolve.
                let mut how = [0; 24];
                if d != how.len() as u64 || read_memory(stop.thread, c, &mut how) != Ok(how.len()) {
                    return None;
                }
                // Unlike `open`, this call fails if a flag is unknown, or if there is a mode without O_CREAT.
                let [flags, mode, resolve] = words(&how);
                // An absolute path starts at `dir` with the last flag, and at the caller's root without.
                if flags & !KNOWN_FLAGS != 0 || mode != 0 || resolve & libc::RESOLVE_IN_ROOT != 0 {
                    return None;
                }
                self.open(stop, locked, a as c_int, b, flags as c_int, resolve)
            }
            libc::SYS_sysinfo => {
                let _work = self.begin_work(locked)?;
                self.sysinfo(stop, a)
            }
            libc::SYS_sched_getaffinity => {
                let _work = self.begin_work(locked)?;
                self.affinity(stop, a as libc::pid_t, mask_at(b, c))
            }
            libc::SYS_sched_setaffinity => {
                if self.masks.is_empty() {
                    return None;
                }
                let _work = self.begin_work(locked)?;
                self.set_affinity(stop, a as libc::pid_t, mask_at(b, c))
            }
            _ => {
                self.before_read(stop.thread, locked, a as c_int);
                None
            }
        }
    }

    /// Handles `open` and similar calls with the path at `address`, relative to the directory `dir`.
    fn open<'t>(
        &'t self,
        stop: &Stopped,
        locked: &mut Option<Locked<'t>>,
        dir: c_int,
        address: u64,
        flags: c_int,
        resolve: u64,
    ) -> Option<()> {
        let mut buffer = [0; LONGEST_PATH];
        let length = read_memory(stop.thread, address, &mut buffer).ok()?;
        let path = CStr::from_bytes_until_nul(buffer.get(..length)?).ok()?;
        if !files::could_be(path.to_bytes()) {
            return None;
        }
        let _work = self.begin_work(locked)?;
        if self.is_skipped(stop.thread) {
            return None;
        }
        let mut own = [0; LONGEST_PATH + 64];
        let path = without_self(stop.thread, path, &mut own)?;
        let base = base_of(stop.thread, dir, path)?;
        // The caller's rights are in a file that the kernel makes slowly. Most virtual files are for everyone.
        let (place, acting) = match find_open_to_all(&base, path, flags, resolve) {
            Some(place) => (place, None),
            None => {
                let acting = self.act_for(stop.thread)?;
                (find(&base, path, flags, resolve)?, Some(acting))
            }
        };
        // Opening a file of another file system could block or have side effects.
        let system = sys::file_system(place.raw()).ok()?;
        if system != FileSystem::Proc as u64 && system != FileSystem::Sys as u64 {
            return None;
        }
        // The caller may have ended, and another process may have its ID now.
        if !self.listener.is_waiting(stop.id) {
            return Some(());
        }
        let checked = flags & libc::O_NOATIME;
        let file = sys::reopen(place.raw(), libc::O_RDONLY | checked).ok()?;
        let last = files::last_component(path.to_bytes());
        if last == TaskStat::LAST && is_of_the_server(&file, path.to_bytes()) {
            return None;
        }
        // What the file of a task shows depends on the rights of its reader. All other content is the same for every
        // caller, and the shared state belongs to the server's user.
        let acting = if is_of_a_task(&file) {
            Some(acting?)
        } else {
            None
        };
        // Pass only the last component. The full path of a task's file would be accepted without a check.
        // With the last component alone, the library checks that the task ID means the same task here.
        let made =
            virtual_file::memory_file_for(stop.thread, &file, last, flags, (self.settings)());
        drop(acting);
        let made = made.ok().flatten()?;
        if last == MachineFile::Loadavg.last() {
            (self.load_was_read)();
        }
        let close_on_exec = flags & libc::O_CLOEXEC != 0;
        self.listener
            .reply_with_file(stop.id, &made, close_on_exec, !self.page.is_killable())
            .ok()
    }

    fn sysinfo(&self, stop: &Stopped, address: u64) -> Option<()> {
        if self.is_skipped(stop.thread) {
            return None;
        }
        let mut info = MaybeUninit::<libc::sysinfo>::zeroed();
        let arguments = [info.as_mut_ptr() as usize, 0, 0, 0, 0, 0];
        // SAFETY: the kernel fills one structure.
        unsafe { sys::call(libc::SYS_sysinfo, arguments) }.ok()?;
        // SAFETY: the structure consists of numbers, and all of them have been written.
        let mut info = unsafe { info.assume_init() };
        // On an error the kernel's values stay, as in the library.
        let _ = live::ask(Live::default(), |kernel, mut arena| {
            content::sysinfo(kernel, (self.settings)(), &mut arena, &mut info)
        });
        (self.load_was_read)();
        // SAFETY: the bytes, including padding, of a structure that was zeroed; borrowed while the
        // structure lives.
        let bytes = unsafe {
            core::slice::from_raw_parts_mut((&raw mut info).cast::<u8>(), KERNELS_SYSINFO)
        };
        self.write(stop, address, bytes)?;
        self.listener.reply(stop.id, 0).ok()
    }

    /// Shows the first CPUs of the mask, if the caller can get the whole mask back.
    fn affinity(&self, stop: &Stopped, process: libc::pid_t, mask: MaskBuffer) -> Option<()> {
        let size = mask.size;
        // The kernel refuses a size that is not a whole number of words.
        if !size.is_multiple_of(8) || self.is_skipped(stop.thread) {
            return None;
        }
        let thread = thread_named(stop.thread, process)?;
        let mut whole = Mask::new();
        let kernel_size = sys::affinity(thread as libc::pid_t, whole.words()).ok()?;
        let count = live::ask(Live::default(), |kernel, mut arena| {
            content::cpu_count(kernel, (self.settings)(), &mut arena)
        });
        let count = count.ok()?;
        let mut shown = whole.clone();
        shown.keep_first(count);
        if shown.length_in_bytes() > size {
            return None;
        }
        if shown != whole {
            let caller = Rights::of(stop.thread)?;
            if !Rights::of(sys::process_id())?.allow(&caller) {
                return None;
            }
            let program = Program::of(stop.thread)?;
            let reader = Reader {
                thread,
                probe: (size > kernel_size && size != LIBCS_MASK).then_some(mask),
            };
            let whole = whole.bytes();
            let whole = whole.get(..kernel_size)?;
            self.masks
                .remember(program, caller.process, reader, whole, count)?;
        }
        let length = size.min(kernel_size);
        let mut bytes = shown.bytes();
        self.write(stop, mask.address as u64, bytes.get_mut(..length)?)?;
        self.listener.reply(stop.id, length as i64).ok()
    }

    /// Restores the mask that the caller had, if it sets a mask that the server reduced for it. The kernel
    /// handles all other masks, and those that it does not let the server set.
    fn set_affinity(&self, stop: &Stopped, process: libc::pid_t, mask: MaskBuffer) -> Option<()> {
        let thread = thread_named(stop.thread, process)?;
        let (mut current, mut set) = (Mask::new(), [0; Mask::BYTES]);
        let kernel_size = sys::affinity(thread as libc::pid_t, current.words()).ok()?;
        let set = set.get_mut(..mask.size.min(kernel_size))?;
        if read_memory(stop.thread, mask.address as u64, set) != Ok(set.len()) {
            return None;
        }
        let program = Program::of(stop.thread)?;
        let current = current.bytes();
        let current = current.get(..kernel_size)?;
        let rights = || Some((Rights::of(stop.thread)?, Rights::of(thread)?));
        let is_own = || {
            thread == stop.thread
                || rights().is_some_and(|(caller, other)| caller.process == other.process)
        };
        let mut whole = self
            .masks
            .restored(program, thread, set, mask, current, is_own)?;
        if thread != stop.thread {
            let (caller, other) = rights()?;
            if caller.process != other.process && !caller.allow_as_owner(&other) {
                return None;
            }
        }
        if !self.listener.is_waiting(stop.id) {
            return Some(());
        }
        let words = whole.words().get(..kernel_size / 8)?;
        sys::set_affinity(thread as libc::pid_t, words).ok()?;
        self.listener.reply(stop.id, 0).ok()
    }

    fn write(&self, stop: &Stopped, address: u64, bytes: &mut [u8]) -> Option<()> {
        if !self.listener.is_waiting(stop.id) {
            return Some(());
        }
        write_memory(stop.thread, address, bytes).ok()
    }

    /// Before a read from offset 0: renews the content of a virtual file.
    fn before_read<'t>(
        &'t self,
        thread: u32,
        locked: &mut Option<Locked<'t>>,
        fd: c_int,
    ) -> Option<()> {
        let mut name = [0; 32];
        let name = numbered(b"fd/", fd, &mut name)?;
        let (mut buffer, mut link) = ([0; 64], [0; 256]);
        let path = path_of(thread, name, &mut buffer).ok()?;
        let target = sys::read_link(path, &mut link).ok()?;
        memchr::memmem::find(target, b"proclens:")?;
        let _work = self.begin_work(locked)?;
        // The path of any file can contain this word. Opening a FIFO could block, and a device could have side effects.
        let place = sys::open_at(libc::AT_FDCWD, path, libc::O_PATH, 0).ok()?;
        let status = sys::status(place.raw()).ok()?;
        if !virtual_file::could_be_virtual(status.st_nlink == 0, status.st_mode) {
            return None;
        }
        let name = target
            .strip_prefix(b"/memfd:")
            .and_then(|name| name.strip_suffix(b" (deleted)"));
        let _acting = match name.and_then(VirtualFile::from_memory_name) {
            Some(VirtualFile::Task(_)) => Some(self.act_for(thread)?),
            _ => None,
        };
        let file = sys::reopen(place.raw(), libc::O_RDONLY).ok()?;
        virtual_file::expect();
        // SAFETY: the caller is about to read this file from the start, and nothing in the server relies on
        // it.
        let number = unsafe { ProgramFd::new(file.raw()) };
        virtual_file::refresh(number, self.settings);
        Some(())
    }

    /// Reduces the rights of this thread of the server to those of the caller, until the result is dropped.
    fn act_for(&self, thread: u32) -> Option<Acting<'_>> {
        self.credentials.as_ref()?.act_for(thread)
    }

    /// True if PROCLENS_SKIP names the caller's program.
    fn is_skipped(&self, thread: u32) -> bool {
        let settings = (self.settings)();
        let (mut buffer, mut link) = ([0; 64], [0; LONGEST_PATH]);
        settings.skip.is_some()
            && path_of(thread, b"exe", &mut buffer)
                .and_then(|path| sys::read_link(path, &mut link))
                .is_ok_and(|path| settings.skips(path))
    }
}

fn words(bytes: &[u8; 24]) -> [u64; 3] {
    let mut words = [0; 3];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    words
}

fn numbered<'r>(prefix: &[u8], number: c_int, buffer: &'r mut [u8; 32]) -> Option<&'r [u8]> {
    let mut name = Out::new(buffer);
    name.bytes(prefix);
    name.decimal(u64::try_from(number).ok()?);
    name.finish()
}

/// Replaces `/proc/self` and `/proc/thread-self` in the path with the caller's IDs, because the server
/// would open its own files through them. `None` if such a name is elsewhere in the path.
fn without_self<'p>(thread: u32, path: &'p CStr, buffer: &'p mut [u8]) -> Option<&'p CStr> {
    let bytes = path.to_bytes();
    let of_process = bytes.strip_prefix(b"/proc/self/");
    let of_thread = bytes.strip_prefix(b"/proc/thread-self/");
    let rest = of_process.or(of_thread).unwrap_or(bytes);
    if rest
        .split(|b| *b == b'/')
        .any(|name| name == b"self" || name == b"thread-self")
    {
        return None;
    }
    if rest.len() == bytes.len() {
        return Some(path);
    }
    let (process, thread) = numbers_inside(thread)?;
    let mut out = Out::new(buffer);
    out.bytes(b"/proc/");
    out.decimal(process);
    if of_thread.is_some() {
        out.bytes(b"/task/");
        out.decimal(thread);
    }
    out.byte(b'/');
    out.bytes(rest);
    out.byte(0);
    CStr::from_bytes_until_nul(out.finish()?).ok()
}

/// The process ID and the thread ID of a thread, in the thread's own PID namespace.
fn numbers_inside(thread: u32) -> Option<(u64, u64)> {
    let mut text = [0; 2048];
    let text = read_of(thread, b"status", &mut text)?;
    // The line lists the outermost namespace first and the innermost last, separated by tabs.
    let innermost = |key: &[u8]| {
        let line = lines(text).find_map(|line| line.strip_prefix(key))?;
        decimal(line.rsplit(|b| *b == b'\t').next()?)
    };
    Some((innermost(b"NStgid:")?, innermost(b"NSpid:")?))
}

/// The mask that a call passes. The kernel takes the size as an `unsigned int`.
fn mask_at(size: u64, address: u64) -> MaskBuffer {
    MaskBuffer {
        size: size as u32 as usize,
        address: address as usize,
    }
}

/// The thread that `caller` means by the ID `number`, 0 for itself. In another PID namespace only threads of
/// the caller's own process are known.
fn thread_named(caller: u32, number: libc::pid_t) -> Option<u32> {
    let number = u32::try_from(number).ok()?;
    if number == 0 {
        return Some(caller);
    }
    if shares_namespace(caller, b"ns/pid") {
        return Some(number);
    }
    let is_meant = |thread| numbers_inside(thread).is_some_and(|(_, id)| id == u64::from(number));
    let mut buffer = [0; 64];
    let threads =
        open_directory(libc::AT_FDCWD, path_of(caller, b"task", &mut buffer).ok()?).ok()?;
    let mut found = None;
    each_entry(&threads, |name| {
        let thread = decimal(name).and_then(|id| u32::try_from(id).ok());
        found = found.or(thread.filter(|thread| is_meant(*thread)));
    })
    .ok()?;
    found
}

/// The directory from which the caller's lookup of `path` starts.
fn base_of(thread: u32, dir: c_int, path: &CStr) -> Option<Fd> {
    let (mut name, mut buffer) = ([0; 32], [0; 64]);
    let base = match dir {
        _ if is_absolute(path) => b"root",
        libc::AT_FDCWD => &b"cwd"[..],
        dir => numbered(b"fd/", dir, &mut name)?,
    };
    let base = path_of(thread, base, &mut buffer).ok()?;
    sys::open_at(libc::AT_FDCWD, base, libc::O_PATH, 0).ok()
}

fn is_absolute(path: &CStr) -> bool {
    path.to_bytes().first() == Some(&b'/')
}

/// Finds the file at `path`, which starts at `base`, as the caller would, without opening it for reading.
fn find(base: &Fd, path: &CStr, flags: c_int, resolve: u64) -> Option<Fd> {
    if !is_absolute(path) || resolve != 0 {
        return open_below(base, path, flags, resolve);
    }
    // Absolute links start at the caller's root. But with this flag the kernel does not follow links such
    // as /proc/1/root.
    open_below(base, path, flags, libc::RESOLVE_IN_ROOT).or_else(|| {
        let skip = path.to_bytes().iter().take_while(|b| **b == b'/').count();
        let relative = path.to_bytes_with_nul().get(skip..)?;
        open_below(base, CStr::from_bytes_until_nul(relative).ok()?, flags, 0)
    })
}

/// Finds the machine's file at `path` if its mode and those of the directories let every user open it. Then the
/// caller's rights do not matter. `None` for all other paths.
fn find_open_to_all(root: &Fd, path: &CStr, flags: c_int, resolve: u64) -> Option<Fd> {
    let bytes = path.to_bytes();
    // O_NOATIME is for the owner of a file only.
    let mut files = files::named(files::last_component(bytes));
    let is_usual = resolve == 0 && flags & libc::O_NOATIME == 0;
    if !is_usual || !files.any(|file| file.path() == path) {
        return None;
    }
    let resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_SYMLINKS;
    let place = open_below(root, path, flags, resolve)?;
    let has = |mode: u32, bits| mode & bits == bits;
    let search = |status: libc::stat| has(status.st_mode, 0o111);
    let mut passes = has(sys::status(place.raw()).ok()?.st_mode, 0o444);
    passes &= sys::status(root.raw()).is_ok_and(search);
    let mut buffer = [0; LONGEST_PATH];
    for end in memchr::memchr_iter(b'/', bytes).skip(1) {
        let prefix = terminated(bytes.get(1..end)?, b"", &mut buffer)?;
        passes &= sys::status_at(root, prefix).is_ok_and(search);
    }
    passes.then_some(place)
}

fn open_below(base: &Fd, path: &CStr, flags: c_int, resolve: u64) -> Option<Fd> {
    // With O_NOFOLLOW, the result can be a link. The file system of a link of the caller's is not /proc.
    let flags = libc::O_PATH | flags & libc::O_NOFOLLOW;
    sys::open_below(base, path, flags, resolve).ok()
}

/// True if `file` is the `stat` of a process or thread.
fn is_of_a_task(file: &Fd) -> bool {
    let mut link = [0; 256];
    let directory = sys::descriptor_path(file.raw(), &mut link)
        .ok()
        .and_then(|path| path.strip_suffix(b"/stat"));
    directory.is_some_and(|path| decimal(files::last_component(path)).is_some())
}

/// True if `file` is the server's own `stat`, though `path` does not contain the server's ID: some symbolic
/// link leads to /proc/self.
fn is_of_the_server(file: &Fd, path: &[u8]) -> bool {
    let (mut number, mut link) = ([0; 32], [0; 256]);
    let mut out = Out::new(&mut number);
    out.byte(b'/');
    out.decimal(u64::from(sys::process_id()));
    out.byte(b'/');
    let Some(number) = out.finish() else {
        return false;
    };
    let has = |text: &[u8]| memchr::memmem::find(text, number).is_some();
    sys::descriptor_path(file.raw(), &mut link).is_ok_and(has) && !has(path)
}
