//! Clocks without a system call, through the vDSO that the kernel maps into every process.

use super::{Errno, call, pad};
use core::mem::MaybeUninit;

/// The type of the vDSO's function (`vdso(7)`): it returns 0 or a negative errno.
#[cfg(feature = "preload")]
type ClockGettime = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> core::ffi::c_int;

/// Reads a clock in microseconds. The vDSO itself makes a system call for a clock that it cannot compute.
pub fn clock_us(clock: libc::clockid_t) -> Result<u64, Errno> {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    #[cfg(feature = "preload")]
    let known = vdso::clock_gettime().is_some_and(|function| {
        // SAFETY: the function fills one `struct timespec` and returns 0, or it returns an error.
        unsafe { function(clock, time.as_mut_ptr()) == 0 }
    });
    #[cfg(not(feature = "preload"))]
    let known = false;
    if !known {
        // SAFETY: the kernel fills one `struct timespec`, or returns an error.
        unsafe { call!(SYS_clock_gettime, clock, time.as_mut_ptr()) }?;
    }
    // SAFETY: either the vDSO or the kernel has filled it.
    let time = unsafe { time.assume_init() };
    Ok((time.tv_sec as u64)
        .saturating_mul(1_000_000)
        .saturating_add(time.tv_nsec as u64 / 1000))
}

/// Finds the function once per process. A forked child uses the same address; `execve` starts anew.
#[cfg(feature = "preload")]
mod vdso {
    use super::ClockGettime;
    use crate::sys::arch::VDSO_CLOCK_GETTIME;
    use crate::sys::link::{self, Name};
    use core::ptr::null_mut;
    use core::sync::atomic::{AtomicPtr, Ordering};

    const NAME: Name = Name::of(VDSO_CLOCK_GETTIME);

    /// Null before the first look-up, [`none`] if there is no vDSO.
    static FOUND: AtomicPtr<()> = AtomicPtr::new(null_mut());

    pub(super) fn clock_gettime() -> Option<ClockGettime> {
        let mut found = FOUND.load(Ordering::Relaxed);
        if found.is_null() {
            found = link::find_in_vdso(NAME).cast_mut().cast();
            if found.is_null() {
                found = none();
            }
            FOUND.store(found, Ordering::Relaxed);
        }
        // SAFETY: the kernel's own function of that name has this type.
        (found != none()).then(|| unsafe { core::mem::transmute::<*mut (), ClockGettime>(found) })
    }

    /// An address that no function has.
    fn none() -> *mut () {
        FOUND.as_ptr().cast()
    }
}
