//! Memory to work in while a question is answered. Never the program's heap: a question can come
//! from inside `malloc`'s own initialisation, from a signal handler or a `vfork` child, and on a
//! stack of 16 KiB.
//!
//! A few blocks are kept between questions, so that a program that asks every second does not map
//! and fault each time. Taking one is an exchange of one pointer: whoever finds none (one thread
//! too many, a signal handler in the middle of another) maps a block of its own and waits for
//! nobody.

use super::process::let_others_run;
use super::{Errno, is_memory, map, unmap};
use crate::text::Out;
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char};
use core::ops::{Deref, DerefMut};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// Room for every file of an ordinary machine. Only what is touched costs memory.
const ORDINARY: usize = 512 << 10;
/// Room for a machine of thousands of CPUs; tried when [`ORDINARY`] was too small.
const LARGE: usize = 64 << 20;

/// One for each of a few threads that ask at once: to map, fault and unmap would let only one of them
/// run at a time, on the lock of the program's memory.
static KEPT: [AtomicPtr<u8>; 4] = [const { AtomicPtr::new(null_mut()) }; 4];

/// A block of memory for one question.
pub struct Block {
    start: *mut u8,
    length: usize,
}

impl Block {
    /// The kept block, or a new one.
    pub fn ordinary() -> Result<Block, Errno> {
        let kept = KEPT
            .iter()
            .map(|slot| slot.swap(null_mut(), Ordering::Acquire))
            .find(|kept| !kept.is_null());
        let start = match kept {
            Some(kept) => kept,
            None => map(ORDINARY)?,
        };
        Ok(Block {
            start,
            length: ORDINARY,
        })
    }

    /// A block for what did not fit an ordinary one.
    pub fn large() -> Result<Block, Errno> {
        Ok(Block {
            start: map(LARGE)?,
            length: LARGE,
        })
    }

    /// The whole block, to be divided.
    pub fn arena(&mut self) -> Arena<'_> {
        // SAFETY: start and length are a mapping of our own, initialised (by the kernel, or by an
        // earlier question), that the exclusive borrow of `self` lends out once.
        let free = unsafe { core::slice::from_raw_parts_mut(self.start, self.length) };
        Arena { free }
    }
}

/// Does `work` in a block of memory, and once more in a large one if it says that there was no
/// room.
pub fn work_in_block<T, E>(
    out_of_memory: impl Fn(Errno) -> E,
    is_no_room: impl Fn(&E) -> bool,
    mut work: impl FnMut(Arena) -> Result<T, E>,
) -> Result<T, E> {
    let mut attempt = |block: Result<Block, Errno>| work(block.map_err(&out_of_memory)?.arena());
    match attempt(Block::ordinary()) {
        Err(e) if is_no_room(&e) => attempt(Block::large()),
        done => done,
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let keep = |slot: &AtomicPtr<u8>| {
            slot.compare_exchange(null_mut(), self.start, Ordering::Release, Ordering::Relaxed)
                .is_ok()
        };
        if self.length == ORDINARY && KEPT.iter().any(keep) {
            return;
        }
        // SAFETY: the block is ours alone and its borrows have ended with it.
        unsafe { unmap(self.start, self.length) };
    }
}

/// Room for a list of pointers for which the stack is too small. A `vfork` child that executes another
/// program never gives it back, and its parent would have one more each time: so it stays the thread's,
/// and the parent, which is the same thread and waited for the child, takes it again.
pub struct LongList {
    start: *mut u8,
    length: usize,
    count: usize,
    kept: bool,
}

/// Whose the kept list is: a number that only one thread has at a time, 0 while nobody's.
static OWNER: AtomicUsize = AtomicUsize::new(0);
/// The memory of the kept list, and its length; 0 while there is none.
static LIST: (AtomicPtr<u8>, AtomicUsize) = (AtomicPtr::new(null_mut()), AtomicUsize::new(0));

impl LongList {
    /// Room for `count` pointers. While the kept list is another thread's, one that is given back.
    pub fn take(thread: usize, count: usize) -> Result<LongList, Errno> {
        const PAGE: usize = 4096;
        let length = count
            .saturating_mul(size_of::<*const u8>())
            .saturating_add(PAGE - 1)
            & !(PAGE - 1);
        let owner = OWNER
            .compare_exchange(0, thread, Ordering::Acquire, Ordering::Relaxed)
            .unwrap_or_else(|owner| owner);
        let mut list = LongList {
            start: null_mut(),
            length,
            count,
            kept: thread != 0 && (owner == 0 || owner == thread),
        };
        let (start, kept) = &LIST;
        let long = kept.load(Ordering::Relaxed);
        if !list.kept {
            list.start = map(length)?;
        } else if long < length {
            kept.store(0, Ordering::Relaxed);
            if long != 0 {
                // SAFETY: the list is this thread's, and whoever used it has ended.
                unsafe { unmap(start.load(Ordering::Relaxed), long) };
            }
            list.start = map(length)?;
            start.store(list.start, Ordering::Relaxed);
            kept.store(length, Ordering::Relaxed);
        } else {
            list.start = start.load(Ordering::Relaxed);
        }
        Ok(list)
    }

    /// The pointers.
    pub fn pointers<T>(&mut self) -> &mut [*const T] {
        // SAFETY: a mapping of our own, of that length at least; all bytes of it make pointers.
        unsafe { core::slice::from_raw_parts_mut(self.start.cast(), self.count) }
    }
}

impl Drop for LongList {
    fn drop(&mut self) {
        if self.kept {
            OWNER.store(0, Ordering::Release);
        } else if !self.start.is_null() {
            // SAFETY: the list is ours alone and its borrows have ended with it.
            unsafe { unmap(self.start, self.length) };
        }
    }
}

/// A block being divided from its front: each piece lives as long as the block is borrowed.
pub struct Arena<'m> {
    free: &'m mut [u8],
}

impl<'m> Arena<'m> {
    /// Divides `memory`.
    pub fn new(memory: &'m mut [u8]) -> Arena<'m> {
        Arena { free: memory }
    }

    /// Lets `fill` write into all that is free, and keeps as much as it says it wrote.
    pub fn fill(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<&'m [u8], Errno> {
        let written = fill(self.free)?;
        self.piece(written).map(|piece| &*piece)
    }

    /// What is free, for what is done with before anything else is asked of this arena: its pieces are
    /// given back. A page that is touched for the first time costs more than a `read`.
    pub fn scratch(&mut self) -> Arena<'_> {
        Arena { free: self.free }
    }

    /// The path `directory/file`.
    pub fn path(&mut self, directory: &[u8], file: &[u8]) -> Result<&'m CStr, Errno> {
        let length = directory.len().saturating_add(file.len()).saturating_add(2);
        let mut path = Out::new(self.piece(length)?);
        path.bytes(directory);
        path.byte(b'/');
        path.bytes(file);
        path.byte(0);
        path.finish()
            .and_then(|path| CStr::from_bytes_until_nul(path).ok())
            .ok_or(Errno::NO_ROOM)
    }

    /// The next `length` bytes.
    pub fn piece(&mut self, length: usize) -> Result<&'m mut [u8], Errno> {
        match core::mem::take(&mut self.free).split_at_mut_checked(length) {
            Some((piece, rest)) => {
                self.free = rest;
                Ok(piece)
            }
            None => Err(Errno::NO_ROOM),
        }
    }

    /// All that is left, for the last thing to be written.
    pub fn rest(self) -> &'m mut [u8] {
        self.free
    }
}

/// Data that a process keeps between questions.
///
/// # Safety
/// All bytes zero must be a value of the type, and the type must need no drop.
pub unsafe trait Zeroed {}

impl<'m> Arena<'m> {
    /// Moves `value` here.
    pub fn keep<T: Copy>(&mut self, value: T) -> Result<&'m T, Errno> {
        self.align::<T>()?;
        let place = self.piece(size_of::<T>())?.as_mut_ptr().cast::<T>();
        // SAFETY: aligned, as large as a T, and ours for 'm.
        unsafe {
            place.write(value);
            Ok(&*place)
        }
    }

    fn align<T>(&mut self) -> Result<(), Errno> {
        let misplaced = self.free.as_ptr().align_offset(align_of::<T>());
        self.piece(misplaced).map(drop)
    }

    /// A value of zeros.
    pub fn zeroed<T: Zeroed>(&mut self) -> Result<&'m mut T, Errno> {
        self.align::<T>()?;
        let place = self.piece(size_of::<T>())?;
        place.fill(0);
        let place = place.as_mut_ptr().cast::<T>();
        // SAFETY: aligned, as large as a T, zeroed, which is a T, and ours for 'm.
        Ok(unsafe { &mut *place })
    }
}

/// A value of zeros in a mapping of its own that lives as long as the process. A child made by
/// `fork` gets zeros again (where the kernel can do so: Linux 4.14): what its parent remembered,
/// or had half written or locked at that moment, is not the child's.
pub fn forget_on_fork<T: Zeroed + Sync>() -> Result<&'static T, Errno> {
    let place = map(size_of::<T>())?;
    super::wipe_on_fork(place, size_of::<T>());
    // SAFETY: a fresh mapping, page-aligned, at least as large as a T, zeroed, which is a T.
    Ok(unsafe { &*place.cast::<T>() })
}

/// A value that one may use at a time and nobody waits for.
#[repr(C)]
pub struct TryCell<T> {
    taken: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: `taken` hands the value to one at a time.
unsafe impl<T: Send> Sync for TryCell<T> {}
// SAFETY: it has no bytes.
unsafe impl Zeroed for () {}
// SAFETY: a zero flag is "not taken".
unsafe impl<T: Zeroed> Zeroed for TryCell<T> {}

/// The use of a [`TryCell`].
pub struct Taken<'c, T> {
    cell: &'c TryCell<T>,
}

impl<T> TryCell<T> {
    /// The value, unless somebody has it: another thread, or the function that this signal handler
    /// interrupted.
    pub fn take(&self) -> Option<Taken<'_, T>> {
        self.taken
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            .then_some(Taken { cell: self })
    }

    /// The same with a few tries: whoever has it may be done with it in a moment.
    pub fn take_soon(&self) -> Option<Taken<'_, T>> {
        (0..256).find_map(|_| {
            let taken = self.take();
            if taken.is_none() {
                let_others_run();
            }
            taken
        })
    }
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: taken, and by us.
        unsafe { &*self.cell.value.get() }
    }
}

impl<T> DerefMut for Taken<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: taken, and by us.
        unsafe { &mut *self.cell.value.get() }
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        self.cell.taken.store(0, Ordering::Release);
    }
}

/// A C string of the program as bytes. Searched a page at a time, so that no byte is touched on
/// a page that the string does not reach; written here because `CStr::from_ptr` calls the
/// program's `strlen`.
///
/// # Safety
/// `text` must point to a string that ends with a NUL and stays as it is for `'t`.
#[unsafe(link_section = ".text.near")]
pub unsafe fn terminated<'t>(text: *const c_char) -> &'t CStr {
    const PAGE: usize = 4096;
    let start = text.cast::<u8>();
    let mut length = 0usize;
    loop {
        // SAFETY: the string has not ended before this byte, so the byte and the rest of its page
        // are mapped.
        unsafe {
            let from = start.wrapping_add(length);
            let here = core::slice::from_raw_parts(from, PAGE - (from as usize) % PAGE);
            if let Some(at) = memchr::memchr(0, here) {
                let whole =
                    core::slice::from_raw_parts(start, length.wrapping_add(at).wrapping_add(1));
                return CStr::from_bytes_with_nul_unchecked(whole);
            }
            length = length.wrapping_add(here.len());
        }
    }
}

/// Whether all of a list of C strings that ends with a null pointer is memory: the list and the strings.
/// Asked once for each page, as long as no more than a few take turns.
pub fn is_list_of_strings(list: *const *const c_char) -> bool {
    const PAGE: usize = 4096;
    const REMEMBERED: usize = 16;
    let mut known = [usize::MAX; REMEMBERED];
    let mut is_there = |address: usize| {
        let page = address / PAGE;
        let Some(slot) = known.get_mut(page % REMEMBERED) else {
            return false;
        };
        // 8 bytes are asked for, and so aligned they are on this page. Of a null pointer nothing is.
        let asked = (address & !7) as *const ();
        if *slot != page && (asked.is_null() || !is_memory(asked)) {
            return false;
        }
        *slot = page;
        true
    };
    let mut next = list;
    loop {
        if !next.is_aligned() || !is_there(next as usize) {
            return false;
        }
        // SAFETY: that page is there, and an aligned pointer is on no other.
        let mut text = unsafe { *next }.cast::<u8>();
        if text.is_null() {
            return true;
        }
        next = next.wrapping_add(1);
        loop {
            if !is_there(text as usize) {
                return false;
            }
            // SAFETY: that page is there, to its end.
            let here = unsafe { core::slice::from_raw_parts(text, PAGE - (text as usize) % PAGE) };
            if memchr::memchr(0, here).is_some() {
                break;
            }
            text = text.wrapping_add(here.len());
        }
    }
}

/// The strings of a list of C strings that ends with a null pointer; none of a null list.
///
/// # Safety
/// `list` must be such a list or null, and stay as it is for `'t`.
pub unsafe fn strings<'t>(list: *const *const c_char) -> impl Iterator<Item = &'t [u8]> + Clone {
    let mut next = list;
    core::iter::from_fn(move || {
        // SAFETY: the caller's: neither null nor past the null at its end.
        unsafe {
            let entry = *next.as_ref()?;
            if entry.is_null() {
                return None;
            }
            next = next.wrapping_add(1);
            Some(terminated(entry).to_bytes())
        }
    })
}
