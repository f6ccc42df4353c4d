//! Functions that return numbers without a file. They return the same numbers that the virtual files show.
//! If the library has no better value, they return `None` or libc's own result.

use super::environment::settings_if_on;
use crate::error::Failure;
use crate::mem::Arena;
use crate::procfs::content;
use crate::procfs::render::meminfo::Figures;
use crate::runtime::cache;
use crate::runtime::live::{self, Live};
use crate::runtime::log;
use crate::runtime::reductions::Mask;
use crate::settings::Settings;
use crate::sys;
use core::ffi::{c_double, c_int, c_long};

/// The `sysconf` names that concern CPUs and memory.
#[inline]
pub fn sysconf(name: c_int) -> Option<c_long> {
    match name {
        libc::_SC_NPROCESSORS_ONLN => ask(b"CPUs", content::cpu_count).map(c_long::from),
        libc::_SC_PHYS_PAGES => pages(|memory| memory.total),
        libc::_SC_AVPHYS_PAGES => pages(|memory| memory.free),
        _ => None,
    }
}

/// `get_nprocs`: the number of CPUs that the container shows.
pub fn cpu_count() -> Option<c_int> {
    ask(b"CPUs", content::cpu_count).map(|n| n as c_int)
}

/// True if sysfs lists `cpu` for the calling thread. A directory listing looks up each of its entries, so the result is cached for
/// a moment.
pub fn shows_cpu(cpu: u32) -> Option<bool> {
    const CPUS_VALID_US: u64 = 50_000;
    let now_us = sys::clock::clock_us(libc::CLOCK_MONOTONIC).ok()?;
    if let Some(recent) = cache::recent_cpus()
        && recent.read_us != 0
        && now_us.wrapping_sub(recent.read_us) < CPUS_VALID_US
        && (recent.own.count() == 0 || is_own_mask(&recent.own))
    {
        return Some(recent.shown.contains(cpu));
    }
    let (shown, own) = ask(b"CPUs", |kernel, settings, arena| {
        content::present_cpus(kernel, settings, arena, |cpus| {
            (Mask::of(cpus.shown()), Mask::from_bytes(cpus.own))
        })
    })?;
    let shows = shown.contains(cpu);
    if let Some(mut recent) = cache::recent_cpus() {
        (recent.read_us, recent.shown, recent.own) = (now_us, shown, own);
    }
    Some(shows)
}

/// True if the calling thread has this affinity mask.
fn is_own_mask(mask: &Mask) -> bool {
    let mut now = Mask::new();
    sys::affinity(0, now.words()).is_ok() && now == *mask
}

/// `getloadavg`: up to three averages, with the two digits that `/proc/loadavg` has.
///
/// # Safety
/// `averages` must have space for `count` numbers.
pub unsafe fn load(averages: *mut c_double, count: c_int) -> Option<c_int> {
    let wanted = usize::try_from(count).ok().filter(|n| *n > 0)?.min(3);
    let hundredths = ask(b"load average", content::load_hundredths)?;
    for (i, value) in hundredths.iter().enumerate().take(wanted) {
        // SAFETY: the caller guarantees the space; i is less than count.
        unsafe { averages.add(i).write(*value as c_double / 100.0) };
    }
    Some(wanted as c_int)
}

/// After `sysinfo`, which returned `result`.
///
/// # Safety
/// If `result` is 0, the kernel must have filled `info`.
pub unsafe fn sysinfo(result: c_int, info: *mut libc::sysinfo) -> c_int {
    if result == 0 {
        // SAFETY: the caller guarantees it.
        let info = unsafe { &mut *info };
        ask(b"sysinfo", |kernel, settings, arena| {
            content::sysinfo(kernel, settings, arena, info)
        });
    }
    result
}

fn pages(of: impl Fn(&Figures) -> u64) -> Option<c_long> {
    ask(b"memory", |kernel, settings, arena| {
        let memory = content::memory(kernel, settings, arena)?;
        Ok((of(&memory).saturating_mul(1024) / sys::page_size()) as c_long)
    })
}

/// Runs `question` with a memory block of its own. On an error it logs a warning and returns `None`, so
/// that libc's own result is used.
fn ask<T>(
    what: &[u8],
    mut question: impl FnMut(&Live, &Settings, &mut Arena) -> Result<T, Failure>,
) -> Option<T> {
    let (settings, signals) = settings_if_on()?;
    let answer = live::ask(
        Live {
            signals_are_blocked: signals.are_blocked(),
        },
        |kernel, mut arena| question(kernel, settings, &mut arena),
    );
    drop(signals);
    match answer {
        Ok(value) => Some(value),
        Err(failure) => {
            log::warn(settings, what, failure, b"libc's own answer is given");
            None
        }
    }
}
