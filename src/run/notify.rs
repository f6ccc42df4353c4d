//! The kernel's interface for seccomp user notification, linux/seccomp.h: install a filter, receive a
//! stopped call, reply to it, read and write the memory of its caller. It also has the page in which the
//! server records the calls that it has received, so that the guard can complete them if the server dies.

use super::filter::Filter;
use crate::sys::{self, Errno, Fd};
use crate::text::Out;
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_int, c_ulong};
use core::mem::{MaybeUninit, size_of};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use libc::{seccomp_notif, seccomp_notif_addfd, seccomp_notif_resp};

const RECEIVE: c_ulong = 0xc050_2100;
const SEND: c_ulong = 0xc018_2101;
const ID_VALID: c_ulong = 0x4008_2102;
const ADD_FD: c_ulong = 0x4018_2103;
const SET_FLAGS: c_ulong = 0x4008_2104;
/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`, Linux 6.6: the server runs on the CPU where its caller just
/// stopped.
const SYNC_WAKE_UP: u64 = 1;

/// A system call that stopped. Its caller waits for the reply.
#[derive(Clone, Copy)]
pub struct Stopped {
    /// The kernel's number of this stop. The kernel never uses it again.
    pub id: u64,
    /// The calling thread's ID in the server's PID namespace.
    pub thread: u32,
    /// The number of the system call.
    pub number: i64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// The memory into which one thread of the server receives calls. The guard maps the same memory.
#[repr(C, align(128))]
pub struct Slot(UnsafeCell<MaybeUninit<seccomp_notif>>);

// SAFETY: only one thread of the server or the guard receives into a slot. When the server has ended or was
// stopped, the guard reads its first word atomically.
unsafe impl Sync for Slot {}

impl Slot {
    /// The stop that was received here and not completed yet; 0 if there is none.
    pub fn pending(&self) -> u64 {
        // SAFETY: `id` is the first word of the structure, aligned, and initialised: the page was zeroed.
        unsafe { &*self.0.get().cast::<AtomicU64>() }.load(Ordering::Acquire)
    }

    /// Zeroes the slot, because the kernel requires zeros before it writes.
    fn clear(&self) {
        // SAFETY: only the thread that owns the slot writes here, and the kernel on behalf of that thread.
        unsafe { self.0.get().write_bytes(0, 1) };
    }
}

/// The page that guard and server share.
pub struct Page {
    slots: [Slot; Page::SLOTS],
    /// The guard's, which may receive calls while a stopped server keeps its slots.
    guards_slot: Slot,
    /// The second result of [`install`]. The command's process sets it once.
    killable: AtomicBool,
}

impl Page {
    /// The number of the server's threads. One of them is always free to receive, so that no caller waits
    /// for long while it has pending signals.
    pub const SLOTS: usize = 4;

    /// A page of zeros that child processes share with this process.
    pub fn new() -> Result<&'static Page, Errno> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let arguments = [
            0,
            size_of::<Page>(),
            protection as usize,
            flags as usize,
            usize::MAX,
            0,
        ];
        // SAFETY: a new mapping at an address that the kernel chooses replaces nothing.
        let address = unsafe { sys::call(libc::SYS_mmap, arguments) }?;
        // SAFETY: page-aligned, as large as a Page, zeroed, and never unmapped.
        Ok(unsafe { &*(address as *const Page) })
    }

    /// Records for the server whether only a fatal signal interrupts a received caller.
    pub fn set_killable(&self, killable: bool) {
        self.killable.store(killable, Ordering::Release);
    }

    /// True if only a fatal signal interrupts a received caller.
    pub fn is_killable(&self) -> bool {
        self.killable.load(Ordering::Acquire)
    }

    /// The slots of the server's threads.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slot of the guard.
    pub fn guards_slot(&self) -> &Slot {
        &self.guards_slot
    }
}

/// The descriptor from which stopped calls are received.
pub struct Listener(Fd);

impl Listener {
    /// Takes ownership of the descriptor.
    pub fn new(file: Fd) -> Listener {
        Listener(file)
    }

    /// True if no process has the filter any more.
    pub fn has_hung_up(&self) -> bool {
        let mut poll = libc::pollfd {
            fd: self.raw(),
            events: 0,
            revents: 0,
        };
        // SAFETY: the kernel reads and writes one structure.
        unsafe { libc::poll(&mut poll, 1, 0) };
        poll.revents & libc::POLLHUP != 0
    }

    /// The descriptor.
    pub fn file(&self) -> &Fd {
        &self.0
    }

    /// The descriptor number.
    pub fn raw(&self) -> c_int {
        self.0.raw()
    }

    /// Waits for a call that stops. ENOENT means that the caller was killed or interrupted meanwhile.
    pub fn receive(&self, slot: &Slot) -> Result<Stopped, Errno> {
        slot.clear();
        // SAFETY: the kernel fills one structure, which is the slot's.
        unsafe { self.control(RECEIVE, slot.0.get() as usize) }?;
        // SAFETY: the kernel has filled it; this is a plain copy.
        let stop = unsafe { slot.0.get().cast::<seccomp_notif>().read_volatile() };
        Ok(Stopped {
            id: stop.id,
            thread: stop.pid,
            number: i64::from(stop.data.nr),
            arguments: stop.data.args,
        })
    }

    /// Lets the kernel execute the call as if it had not stopped.
    pub fn proceed(&self, id: u64) {
        let _ = self.send(id, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32);
    }

    /// Makes the call return `value`.
    pub fn reply(&self, id: u64, value: i64) -> Result<(), Errno> {
        self.send(id, value, 0)
    }

    fn send(&self, id: u64, val: i64, flags: u32) -> Result<(), Errno> {
        let response = seccomp_notif_resp {
            id,
            val,
            error: 0,
            flags,
        };
        // SAFETY: the kernel reads one structure.
        unsafe { self.control(SEND, &raw const response as usize) }.map(drop)
    }

    /// Makes the call return a new descriptor of the caller for `file`.
    ///
    /// One step (Linux 5.14) leaves no time for a signal between the descriptor and the reply. But if the
    /// server is killed within that step, the kernel returns 0, which is another descriptor. So this takes
    /// two steps if only a fatal signal can interrupt a received caller.
    pub fn reply_with_file(
        &self,
        id: u64,
        file: &Fd,
        close_on_exec: bool,
        one_step: bool,
    ) -> Result<(), Errno> {
        let flags = match one_step {
            true => libc::SECCOMP_ADDFD_FLAG_SEND as u32,
            false => 0,
        };
        let newfd_flags = match close_on_exec {
            true => libc::O_CLOEXEC as u32,
            false => 0,
        };
        let add = seccomp_notif_addfd {
            id,
            flags,
            srcfd: file.raw() as u32,
            newfd: 0,
            newfd_flags,
        };
        // SAFETY: the kernel reads one structure.
        let number = unsafe { self.control(ADD_FD, &raw const add as usize) }?;
        if !one_step {
            // This fails only if the caller has ended.
            let _ = self.reply(id, number as i64);
        }
        Ok(())
    }

    /// True if the caller still waits. Then its thread ID still belongs to it.
    pub fn is_waiting(&self, id: u64) -> bool {
        // SAFETY: the kernel reads one word.
        unsafe { self.control(ID_VALID, &raw const id as usize) }.is_ok()
    }

    /// Enables [`SYNC_WAKE_UP`]. Older kernels refuse it, which does no harm.
    pub fn wake_up_in_place(&self) {
        // SAFETY: the argument is a plain value.
        let _ = unsafe { self.control(SET_FLAGS, SYNC_WAKE_UP as usize) };
    }

    /// # Safety
    /// `argument` must be what `request` expects.
    unsafe fn control(&self, request: c_ulong, argument: usize) -> Result<usize, Errno> {
        let arguments = [self.0.raw() as usize, request as usize, argument, 0, 0, 0];
        // SAFETY: the caller guarantees it.
        unsafe { sys::call(libc::SYS_ioctl, arguments) }
    }
}

/// Installs `filter` on the calling thread and everything that it starts. Sets `no_new_privs` only if the
/// kernel requires it, because setuid programs then lose their rights. The second result is true if only a
/// fatal signal interrupts a received caller (Linux 5.19).
pub fn install(filter: &Filter) -> Result<(Listener, bool), Errno> {
    match install_once(filter) {
        Err(Errno(libc::EACCES)) => {
            let arguments = [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0, 0];
            // SAFETY: touches no memory.
            unsafe { sys::call(libc::SYS_prctl, arguments) }?;
            install_once(filter)
        }
        done => done,
    }
}

fn install_once(filter: &Filter) -> Result<(Listener, bool), Errno> {
    // SPEC_ALLOW: before Linux 5.16, a filter without this flag makes every branch slower.
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    let killable = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    match set_filter(filter, flags | killable) {
        Err(Errno(libc::EINVAL)) => Ok((set_filter(filter, flags)?, false)),
        done => Ok((done?, true)),
    }
}

fn set_filter(filter: &Filter, flags: c_ulong) -> Result<Listener, Errno> {
    let program = libc::sock_fprog {
        len: filter.code().len() as u16,
        filter: filter.code().as_ptr().cast_mut(),
    };
    let arguments = [
        libc::SECCOMP_SET_MODE_FILTER as usize,
        flags as usize,
        &raw const program as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the kernel reads the program and its instructions.
    let listener = unsafe { sys::call(libc::SYS_seccomp, arguments) }?;
    // SAFETY: a new descriptor.
    Ok(Listener(unsafe { Fd::from_raw(listener as c_int) }))
}

const PAGE: u64 = 4096;

/// Reads the memory of thread `thread` at `address` into `into`, as far as it is mapped.
pub fn read_memory(thread: u32, address: u64, into: &mut [u8]) -> Result<usize, Errno> {
    // The kernel copies each piece as a whole or not at all. So the range is split at the first page
    // boundary, because the next page may not be mapped.
    let first = into.len().min((PAGE - address % PAGE) as usize);
    let remote = [
        libc::iovec {
            iov_base: address as *mut _,
            iov_len: first,
        },
        libc::iovec {
            iov_base: address.wrapping_add(first as u64) as *mut _,
            iov_len: into.len() - first,
        },
    ];
    match transfer(libc::SYS_process_vm_readv, thread, into, &remote) {
        // A seccomp profile forbids the call.
        Err(Errno(libc::EPERM | libc::ENOSYS)) => {
            let file = memory_of(thread, libc::O_RDONLY)?;
            sys::read_at(file.raw(), into, address)
        }
        done => done,
    }
}

/// Writes `from` to the memory of thread `thread` at `address`.
pub fn write_memory(thread: u32, address: u64, from: &mut [u8]) -> Result<(), Errno> {
    let remote = [libc::iovec {
        iov_base: address as *mut _,
        iov_len: from.len(),
    }];
    let length = from.len();
    let written = match transfer(libc::SYS_process_vm_writev, thread, from, &remote) {
        Err(Errno(libc::EPERM | libc::ENOSYS)) => {
            let file = memory_of(thread, libc::O_RDWR)?;
            sys::write_at(file.raw(), from, address)
        }
        done => done,
    };
    if written? == length {
        Ok(())
    } else {
        Err(Errno(libc::EFAULT))
    }
}

fn transfer(
    call: libc::c_long,
    thread: u32,
    own: &mut [u8],
    remote: &[libc::iovec],
) -> Result<usize, Errno> {
    let own = libc::iovec {
        iov_base: own.as_mut_ptr().cast(),
        iov_len: own.len(),
    };
    let arguments = [
        thread as usize,
        &raw const own as usize,
        1,
        remote.as_ptr() as usize,
        remote.len(),
        0,
    ];
    // SAFETY: the kernel reads or writes the slice, and another process's memory.
    unsafe { sys::call(call, arguments) }
}

fn memory_of(thread: u32, flags: c_int) -> Result<Fd, Errno> {
    let mut buffer = [0; 64];
    let path = path_of(thread, b"mem", &mut buffer)?;
    sys::open_at(libc::AT_FDCWD, path, flags, 0)
}

/// The path of `name` in the /proc directory of thread `thread`.
pub fn path_of<'r>(thread: u32, name: &[u8], buffer: &'r mut [u8; 64]) -> Result<&'r CStr, Errno> {
    let mut path = Out::new(buffer);
    path.bytes(b"/proc/");
    path.decimal(u64::from(thread));
    path.byte(b'/');
    path.bytes(name);
    path.byte(0);
    let path = path.finish().ok_or(Errno::BUFFER_TOO_SMALL)?;
    CStr::from_bytes_until_nul(path).map_err(|_| Errno::BUFFER_TOO_SMALL)
}

/// Reads the file `name` in the /proc directory of thread `thread`; at most as much as fits into `text`.
pub fn read_of<'t>(thread: u32, name: &[u8], text: &'t mut [u8]) -> Option<&'t [u8]> {
    let file = sys::open(path_of(thread, name, &mut [0; 64]).ok()?).ok()?;
    let length = sys::read(file.raw(), text).ok()?;
    text.get(..length)
}
