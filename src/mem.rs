//! Working memory for one read of a virtual file or one call. The library never uses the program's heap,
//! because a hook can run inside `malloc`'s own initialisation, in a signal handler or in a `vfork` child,
//! and on a stack of 16 KiB.
//!
//! The process caches a few blocks, so that a program that reads every second does not map and fault each
//! time. Taking a block exchanges one pointer. A caller that finds no block (a fifth thread,
//! a signal handler that interrupted another read) maps its own block and waits for nothing.

use crate::sys::process::let_others_run;
use crate::sys::{Errno, map, unmap, wipe_on_fork};
use crate::text::Out;
use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::ops::{Deref, DerefMut};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Bytes of an ordinary block: enough for every file of an ordinary machine. Only touched pages cost memory.
const ORDINARY: usize = 512 << 10;
/// Bytes of a large block, for a machine of thousands of CPUs; used when [`ORDINARY`] was too small.
const LARGE: usize = 64 << 20;

/// Cached blocks, for a few threads that read at the same time. If each of them mapped and unmapped its
/// block, they would wait for each other on the lock of the program's memory map.
static CACHED: [AtomicPtr<u8>; 4] = [const { AtomicPtr::new(null_mut()) }; 4];

/// A block of working memory.
pub struct Block {
    start: *mut u8,
    length: usize,
}

impl Block {
    /// A cached block, or a new one.
    pub fn ordinary() -> Result<Block, Errno> {
        let cached = CACHED
            .iter()
            .map(|slot| slot.swap(null_mut(), Ordering::Acquire))
            .find(|cached| !cached.is_null());
        let start = match cached {
            Some(cached) => cached,
            None => map(ORDINARY)?,
        };
        Ok(Block {
            start,
            length: ORDINARY,
        })
    }

    /// A block for a result that did not fit an ordinary one.
    pub fn large() -> Result<Block, Errno> {
        Ok(Block {
            start: map(LARGE)?,
            length: LARGE,
        })
    }

    /// The whole block, to be divided.
    pub fn arena(&mut self) -> Arena<'_> {
        // SAFETY: start and length describe a mapping that this block owns. The kernel or an earlier
        // use initialised it. The exclusive borrow of `self` prevents a second arena.
        let free = unsafe { core::slice::from_raw_parts_mut(self.start, self.length) };
        Arena { free }
    }
}

/// Maps `length` bytes that stay mapped, and behind them the first cached block: one mapping costs less
/// than two.
pub fn map_before_block(length: usize) -> Result<*mut u8, Errno> {
    let start = map(length.saturating_add(ORDINARY))?;
    let block = start.wrapping_add(length);
    let keep = |slot: &AtomicPtr<u8>| {
        slot.compare_exchange(null_mut(), block, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    };
    if !CACHED.iter().any(keep) {
        // SAFETY: the end of a new mapping, which nothing else uses.
        unsafe { unmap(block, ORDINARY) };
    }
    Ok(start)
}

/// Does `work` in an ordinary block, and again in a large block if the ordinary one was too small.
pub fn work_in_block<T, E>(
    out_of_memory: impl Fn(Errno) -> E,
    is_too_small: impl Fn(&E) -> bool,
    mut work: impl FnMut(Arena) -> Result<T, E>,
) -> Result<T, E> {
    let mut block = Block::ordinary();
    let mut is_large = false;
    // One call of `work`: a second one would double the code of every renderer.
    loop {
        match work(block.map_err(&out_of_memory)?.arena()) {
            Err(e) if is_too_small(&e) && !is_large => {
                is_large = true;
                block = Block::large();
            }
            done => return done,
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let keep = |slot: &AtomicPtr<u8>| {
            slot.compare_exchange(null_mut(), self.start, Ordering::Release, Ordering::Relaxed)
                .is_ok()
        };
        if self.length == ORDINARY && CACHED.iter().any(keep) {
            return;
        }
        // SAFETY: the block is ours alone and its borrows have ended with it.
        unsafe { unmap(self.start, self.length) };
    }
}

/// A bump allocator over a block: each allocation lives as long as the block is borrowed.
pub struct Arena<'m> {
    free: &'m mut [u8],
}

impl<'m> Arena<'m> {
    /// An arena over `memory`.
    pub fn new(memory: &'m mut [u8]) -> Arena<'m> {
        Arena { free: memory }
    }

    /// Lets `fill` write into all free bytes, and allocates as many as `fill` returns.
    pub fn read_into(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<&'m [u8], Errno> {
        let written = fill(self.free)?;
        self.alloc(written).map(|allocated| &*allocated)
    }

    /// An arena over the free bytes. Its allocations end with it, and the bytes are reused: touching
    /// a new page costs more than a `read`.
    pub fn reborrow(&mut self) -> Arena<'_> {
        Arena { free: self.free }
    }

    /// The path `directory/file`.
    pub fn path(&mut self, directory: &[u8], file: &[u8]) -> Result<&'m CStr, Errno> {
        let length = directory.len().saturating_add(file.len()).saturating_add(2);
        let mut path = Out::new(self.alloc(length)?);
        path.bytes(directory);
        path.byte(b'/');
        path.bytes(file);
        path.byte(0);
        path.finish()
            .and_then(|path| CStr::from_bytes_until_nul(path).ok())
            .ok_or(Errno::BUFFER_TOO_SMALL)
    }

    /// Allocates `length` bytes.
    pub fn alloc(&mut self, length: usize) -> Result<&'m mut [u8], Errno> {
        match core::mem::take(&mut self.free).split_at_mut_checked(length) {
            Some((allocated, rest)) => {
                self.free = rest;
                Ok(allocated)
            }
            None => Err(Errno::BUFFER_TOO_SMALL),
        }
    }
}

/// Data that a process caches between reads.
///
/// # Safety
/// All bytes zero must be a value of the type, and the type must need no drop.
pub unsafe trait Zeroed {}

impl<'m> Arena<'m> {
    /// Moves `value` into the arena.
    pub fn keep<T: Copy>(&mut self, value: T) -> Result<&'m T, Errno> {
        self.align::<T>()?;
        let start = self.alloc(size_of::<T>())?.as_mut_ptr().cast::<T>();
        // SAFETY: aligned, as large as a T, and ours for 'm.
        unsafe {
            start.write(value);
            Ok(&*start)
        }
    }

    fn align<T>(&mut self) -> Result<(), Errno> {
        let misplaced = self.free.as_ptr().align_offset(align_of::<T>());
        self.alloc(misplaced).map(drop)
    }

    /// A value of zeros.
    pub fn zeroed<T: Zeroed>(&mut self) -> Result<&'m mut T, Errno> {
        self.align::<T>()?;
        let start = self.alloc(size_of::<T>())?;
        start.fill(0);
        let start = start.as_mut_ptr().cast::<T>();
        // SAFETY: aligned, as large as a T, zeroed, which is a T, and ours for 'm.
        Ok(unsafe { &mut *start })
    }
}

/// A value of zeros in its own mapping, which lives as long as the process. A child made by
/// `fork` gets zeros again (Linux 4.14 and later), so that the child inherits no half-written value
/// and no lock of its parent.
pub fn forget_on_fork<T: Zeroed + Sync>() -> Result<&'static T, Errno> {
    let start = map(size_of::<T>())?;
    wipe_on_fork(start, size_of::<T>());
    // SAFETY: a fresh mapping, page-aligned, at least as large as a T, zeroed, which is a T.
    Ok(unsafe { &*start.cast::<T>() })
}

/// The same, but a child made by `fork` gets a copy.
#[cfg(feature = "preload")]
pub fn keep_on_fork<T: Zeroed + Sync>() -> Result<&'static T, Errno> {
    let start = map(size_of::<T>())?;
    // SAFETY: a fresh mapping, page-aligned, at least as large as a T, zeroed, which is a T.
    Ok(unsafe { &*start.cast::<T>() })
}

/// A value behind a lock that is only ever tried, never waited for.
#[repr(C)]
pub struct TryCell<T> {
    taken: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: `taken` gives the value to one thread at a time.
unsafe impl<T: Send> Sync for TryCell<T> {}
// SAFETY: it has no bytes.
unsafe impl Zeroed for () {}
// SAFETY: a zero flag is "not taken".
unsafe impl<T: Zeroed> Zeroed for TryCell<T> {}

/// Exclusive access to the value of a [`TryCell`].
pub struct Taken<'c, T> {
    cell: &'c TryCell<T>,
}

impl<T> TryCell<T> {
    /// A value that no thread has taken.
    pub const fn new(value: T) -> Self {
        TryCell {
            taken: AtomicU32::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// The value, or `None` while another thread, or the function that this signal handler
    /// interrupted, uses it.
    pub fn take(&self) -> Option<Taken<'_, T>> {
        self.taken
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            // Only now: dropping a `Taken` releases the cell, also for the thread that has it.
            .then(|| Taken { cell: self })
    }

    /// As [`TryCell::take`], with a few tries: the current user may finish in a moment.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_take_releases_nothing() {
        let cell = TryCell::new(());
        let taken = cell.take();
        assert!(taken.is_some());
        for _ in 0..3 {
            assert!(cell.take().is_none());
        }
        drop(taken);
        assert!(cell.take_soon().is_some());
        assert!(cell.take().is_some());
    }
}
