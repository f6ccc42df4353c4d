//! Functions that read and set the CPUs of a thread (NUMBERS section 2). A mask that is read has at most
//! the container's number of CPUs. A mask that is set goes to the kernel as it is, with one exception: if
//! the program sets a mask that the library reduced for it, the thread gets back the mask it had before.

use super::calls::cpu_count;
use super::errno::{errno_place, set_errno};
use crate::runtime::cache;
use crate::runtime::reductions::{self, Mask, MaskBuffer, Reader, Reductions};
use crate::sys::link::{Name, Next};
use crate::sys::{self, signals};
use core::ffi::c_int;
use libc::{cpu_set_t, pid_t, pthread_t};

/// How a function reports its result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// 0, or -1 and `errno`.
    Errno,
    /// 0, or an error number.
    Number,
    /// The system call itself: how many bytes the kernel wrote, or -1 and `errno`.
    Raw,
}

/// The thread whose mask a call reads or sets.
#[derive(Clone, Copy)]
pub enum Thread {
    /// The thread ID; 0 is the caller.
    Id(pid_t),
    /// By libc's handle.
    Handle(pthread_t),
    /// An attribute for threads that do not exist yet.
    Attribute,
}

impl Thread {
    /// The thread ID, if it is known; 0 is the caller.
    fn id(self) -> Option<pid_t> {
        match self {
            Thread::Id(id) => Some(id),
            Thread::Handle(handle) => (current_handle() == Some(handle)).then_some(0),
            Thread::Attribute => None,
        }
    }

    /// True if it belongs to this process.
    fn is_own(self) -> bool {
        match self {
            Thread::Id(0) | Thread::Handle(_) | Thread::Attribute => true,
            Thread::Id(id) => sys::process::is_own_thread(id as u32),
        }
    }

    /// A key that almost no other thread shares; 0 for an attribute.
    fn key(self) -> u32 {
        match self {
            Thread::Id(0) => caller(),
            Thread::Id(id) => id as u32,
            Thread::Handle(handle) => key_of_address(handle as usize),
            Thread::Attribute => 0,
        }
    }
}

/// [`Thread::key`] of the calling thread, without a system call. The thread pointer is libc's handle on
/// x86-64.
fn caller() -> u32 {
    key_of_address(sys::arch::thread_pointer())
}

fn key_of_address(address: usize) -> u32 {
    /// More than any thread's number (`PID_MAX_LIMIT` is 2^22).
    const ADDRESS: u32 = 1 << 31;
    // Aligned to 16 bytes at least.
    (address >> 4) as u32 | ADDRESS
}

/// The handle of the calling thread.
fn current_handle() -> Option<pthread_t> {
    static SELF: Next = Next::new();
    let address = SELF.address(const { Name::of(c"pthread_self") });
    if address.is_null() {
        return None;
    }
    // SAFETY: libc's function of this name has this type.
    Some(unsafe { core::mem::transmute::<*mut (), unsafe extern "C" fn() -> pthread_t>(address)() })
}

fn errno() -> c_int {
    // SAFETY: the calling thread's errno, or null.
    unsafe { errno_place().as_ref() }.map_or(0, |errno| *errno)
}

impl Style {
    /// The error number in `result`; 0 if the call succeeded.
    fn error(self, result: c_int) -> c_int {
        match self {
            Style::Number => result,
            _ if result < 0 => errno(),
            _ => 0,
        }
    }
}

/// `sched_getaffinity`, `pthread_getaffinity_np` and similar functions. `next(size, mask)` is libc's own
/// function for the same thread.
///
/// # Safety
/// As for `next`. This function may call `next` with another mask of another size.
#[inline(never)]
pub unsafe fn read(
    style: Style,
    thread: Thread,
    size: usize,
    mask: *mut cpu_set_t,
    next: &dyn Fn(usize, *mut cpu_set_t) -> c_int,
) -> c_int {
    let before = errno();
    let result = next(size, mask);
    match style.error(result) {
        0 => {
            let filled = if style == Style::Raw {
                result as usize
            } else {
                size
            };
            let buffer = MaskBuffer {
                size,
                address: mask as usize,
            };
            let reader = Reader {
                thread: 0,
                probe: (filled < size).then_some(buffer),
            };
            // SAFETY: the kernel or libc has filled this many bytes.
            let bytes = unsafe { bytes_of(mask, filled) };
            reduce(thread, reader, bytes);
            result
        }
        // The kernel refuses a mask that is smaller than its own, even if all CPUs of the thread would fit.
        libc::EINVAL if is_whole_words(size) => {
            let mut whole = Mask::new();
            let filled = next(Mask::BYTES, whole.words().as_mut_ptr().cast());
            if style.error(filled) == 0 {
                let reader = Reader {
                    thread: thread.key(),
                    probe: None,
                };
                // SAFETY: the caller vouches for the mask as for `next`, and nothing has written the mask
                // yet.
                if unsafe { write_if_it_fits(reader, &whole, mask, size) } {
                    set_errno(before);
                    return if style == Style::Raw {
                        (size as c_int).min(filled)
                    } else {
                        filled
                    };
                }
            }
            if style != Style::Number {
                set_errno(libc::EINVAL);
            }
            result
        }
        _ => result,
    }
}

/// The bytes of a mask, at most as many as [`Mask`] holds.
///
/// # Safety
/// `mask` must have `size` bytes.
unsafe fn bytes_of<'m>(mask: *mut cpu_set_t, size: usize) -> &'m mut [u8] {
    // SAFETY: the caller guarantees it.
    unsafe { core::slice::from_raw_parts_mut(mask.cast(), size.min(Mask::BYTES)) }
}

/// Reduces the mask to the container's number of CPUs, and remembers the original mask.
fn reduce(thread: Thread, reader: Reader, bytes: &mut [u8]) {
    let allowed = reductions::count(bytes);
    // One CPU is always within the limit. An attribute without a mask has all bits set.
    if allowed <= 1 || matches!(thread, Thread::Attribute) && reductions::is_full(bytes) {
        return;
    }
    let Some(count) = cpu_count().map(|count| count as u32) else {
        return;
    };
    if allowed > count {
        let thread = thread.key();
        remember(Reader { thread, ..reader }, bytes, count);
        reductions::keep_first(bytes, count);
    }
}

/// Writes the first CPUs of `whole` into the program's mask, if they fit and the mask is writable memory.
///
/// # Safety
/// `mask` must be what the program passed for a mask of `size` bytes; nothing else may use that memory.
#[cold]
#[inline(never)]
unsafe fn write_if_it_fits(
    reader: Reader,
    whole: &Mask,
    mask: *mut cpu_set_t,
    size: usize,
) -> bool {
    let Some(count) = cpu_count().map(|count| count as u32) else {
        return false;
    };
    let mut seen = whole.clone();
    seen.keep_first(count);
    // The mask is smaller than a page. So if its first and its last word are writable, all of it is.
    let last = mask.cast::<u8>().wrapping_add(size.wrapping_sub(WORD));
    if seen.length_in_bytes() > size
        || !sys::is_writable(mask.cast())
        || !sys::is_writable(last.cast())
    {
        return false;
    }
    // SAFETY: the caller guarantees the size, and the checks above show that all of the mask is writable.
    seen.write(unsafe { bytes_of(mask, size) });
    if seen != *whole {
        remember(reader, &whole.bytes(), count);
    }
    true
}

fn remember(reader: Reader, whole: &[u8], count: u32) {
    let _signals = signals::block();
    if let Some(known) = cache::reductions_to_write() {
        known.remember(reader, whole, count);
    }
}

/// The kernel's masks are arrays of words of this many bytes.
const WORD: usize = 8;

/// True for a mask size that the kernel accepts, except that it may be too small.
fn is_whole_words(size: usize) -> bool {
    size != 0 && size < Mask::BYTES && size.is_multiple_of(WORD)
}

/// `sched_setaffinity` and similar functions. `next(size, mask)` is libc's own function for the same
/// thread.
///
/// # Safety
/// As for `next`.
#[inline]
pub unsafe fn set(
    style: Style,
    thread: Thread,
    size: usize,
    mask: *const cpu_set_t,
    next: &dyn Fn(usize, *const cpu_set_t) -> c_int,
) -> c_int {
    match cache::reductions() {
        None => next(size, mask),
        // SAFETY: the caller guarantees it.
        Some(known) => unsafe { set_or_restore(known, style, thread, size, mask, next) },
    }
}

/// Sets the program's mask first. So the kernel checks the program's memory, the thread and the rights, and
/// any error is the kernel's own.
///
/// # Safety
/// As for [`set`].
#[cold]
#[inline(never)]
unsafe fn set_or_restore(
    known: &Reductions,
    style: Style,
    thread: Thread,
    size: usize,
    mask: *const cpu_set_t,
    next: &dyn Fn(usize, *const cpu_set_t) -> c_int,
) -> c_int {
    let before = errno();
    let mut current = [0; Mask::BYTES];
    let kernel_size = sys::affinity_into(thread.id().unwrap_or(0), &mut current).unwrap_or(0);
    let result = next(size, mask);
    let error = style.error(result);
    // The cpuset may have changed meanwhile, so that only CPUs are left that the program did not see.
    let was_read = matches!(error, 0 | libc::EINVAL | libc::EBUSY) && !mask.is_null();
    if !was_read {
        return result;
    }
    // SAFETY: the kernel has read the mask, up to the size of the kernel's own masks.
    let bytes = unsafe { bytes_of(mask.cast_mut(), size.min(kernel_size)) };
    let buffer = MaskBuffer {
        size,
        address: mask as usize,
    };
    let current = thread.id().and_then(|_| current.get(..kernel_size));
    let Some(mut whole) = known.restored(thread.key(), bytes, buffer, current, || thread.is_own())
    else {
        return result;
    };
    let restored = next(kernel_size, whole.words().as_ptr().cast());
    if style.error(restored) == 0 {
        set_errno(before);
        restored
    } else {
        if style != Style::Number {
            set_errno(if error == 0 { before } else { error });
        }
        result
    }
}

/// `pthread_attr_setaffinity_np`: a thread created with the attribute gets the mask without a call that the
/// library could hook.
///
/// # Safety
/// As for `next`.
#[inline]
pub unsafe fn set_attribute(
    size: usize,
    mask: *const cpu_set_t,
    next: impl Fn(usize, *const cpu_set_t) -> c_int,
) -> c_int {
    let Some(known) = cache::reductions().filter(|_| !mask.is_null() && size <= Mask::BYTES) else {
        return next(size, mask);
    };
    // SAFETY: libc copies this many bytes.
    let bytes = unsafe { bytes_of(mask.cast_mut(), size) };
    let buffer = MaskBuffer {
        size,
        address: mask as usize,
    };
    match known.restored(caller(), bytes, buffer, None, || true) {
        Some(mut whole) => {
            let size = whole.length_in_bytes().max(size);
            next(size, whole.words().as_ptr().cast())
        }
        None => next(size, mask),
    }
}
