//! Functions that answer numbers by themselves: what they say is what the files say.
//! `None`, or what libc said, is the answer wherever there is no better one.

use super::environment::settings;
use crate::answer;
use crate::live::{self, Live};
use crate::log::{self, Failure};
use crate::render::meminfo::Figures;
use crate::settings::Settings;
use crate::sys;
use crate::sys::memory::Arena;
use core::ffi::{c_double, c_int, c_long};
use core::sync::atomic::{AtomicU64, Ordering};

/// `sysconf` of the names that speak of CPUs and memory.
#[inline]
pub fn sysconf(name: c_int) -> Option<c_long> {
    match name {
        libc::_SC_NPROCESSORS_ONLN | libc::_SC_NPROCESSORS_CONF => {
            ask(b"CPUs", answer::cpu_count).map(c_long::from)
        }
        libc::_SC_PHYS_PAGES => pages(|memory| memory.total),
        libc::_SC_AVPHYS_PAGES => pages(|memory| memory.free),
        _ => None,
    }
}

/// `get_nprocs` and `get_nprocs_conf`.
pub fn cpu_count() -> Option<c_int> {
    ask(b"CPUs", answer::cpu_count).map(|n| n as c_int)
}

/// The number of CPUs at most a moment ago: for the listing of a directory, which asks for each of
/// its entries.
pub fn recent_cpu_count() -> Option<u32> {
    /// When it was asked (microseconds) and what was said, in the lower 16 bits; 0 is never.
    static LAST: AtomicU64 = AtomicU64::new(0);
    const MOMENT_US: u64 = 50_000;
    let now = sys::clock_us(libc::CLOCK_MONOTONIC).ok()?;
    let last = LAST.load(Ordering::Relaxed);
    if last != 0 && now.wrapping_sub(last >> 16) < MOMENT_US {
        return Some((last & 0xffff) as u32);
    }
    let count = ask(b"CPUs", answer::cpu_count)?;
    LAST.store(now << 16 | u64::from(count.min(0xffff)), Ordering::Relaxed);
    Some(count)
}

/// `getloadavg`: up to three averages, with the two digits that `/proc/loadavg` has.
///
/// # Safety
/// `averages` must have room for `count` numbers.
pub unsafe fn load(averages: *mut c_double, count: c_int) -> Option<c_int> {
    let wanted = usize::try_from(count).ok().filter(|n| *n > 0)?.min(3);
    let hundredths = ask(b"load average", answer::load_hundredths)?;
    for (i, value) in hundredths.iter().enumerate().take(wanted) {
        // SAFETY: the caller's; i is below count.
        unsafe { averages.add(i).write(*value as c_double / 100.0) };
    }
    Some(wanted as c_int)
}

/// After `sysinfo`, which gave back `result`.
///
/// # Safety
/// Where `result` is 0, `info` is what the kernel filled.
pub unsafe fn sysinfo(result: c_int, info: *mut libc::sysinfo) -> c_int {
    if result == 0 {
        // SAFETY: the caller's.
        let info = unsafe { &mut *info };
        ask(b"sysinfo", |kernel, settings, arena| {
            answer::sysinfo(kernel, settings, arena, info)
        });
    }
    result
}

/// After `sched_getaffinity`: of the CPUs in `mask`, the first ones of the container's number
/// stay. A process that pins itself to any of them succeeds.
///
/// # Safety
/// Where `result` is 0, `mask` has `size` bytes that the kernel or libc filled.
pub unsafe fn affinity(result: c_int, mask: *mut libc::cpu_set_t, size: usize) -> c_int {
    if result == 0
        && let Some(keep) = ask(b"CPUs", answer::cpu_count)
    {
        // SAFETY: the caller's.
        let mask = unsafe { core::slice::from_raw_parts_mut(mask.cast::<u8>(), size) };
        answer::keep_first_cpus(mask, keep);
    }
    result
}

fn pages(of: impl Fn(&Figures) -> u64) -> Option<c_long> {
    let memory = ask(b"memory", answer::memory)?;
    Some((of(&memory).saturating_mul(1024) / sys::page_size()) as c_long)
}

/// Asks in a block of memory of its own; what cannot be answered is said and left to libc.
fn ask<T>(
    what: &[u8],
    mut question: impl FnMut(&Live, &Settings, &mut Arena) -> Result<T, Failure>,
) -> Option<T> {
    let settings = settings();
    if !settings.on {
        return None;
    }
    match live::ask(|kernel, mut arena| question(kernel, settings, &mut arena)) {
        Ok(value) => Some(value),
        Err(failure) => {
            log::warn(settings, what, failure, b"libc's own answer is given");
            None
        }
    }
}
