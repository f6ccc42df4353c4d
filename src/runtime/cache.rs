//! What a process keeps between two renderings: values that it read ([`super::container`] fills them in), the affinity
//! masks that it reduced, and whether it watches CPUs. No thread ever waits for the cache. ARCHITECTURE.md, "What is
//! cached", lists the parts, the reason for each, and what `fork` does to it.

use crate::cgroup::Version;
use crate::cgroup::locate::{CgroupDir, ContainerCgroups, Controller};
use crate::mem::{Arena, TryCell, Zeroed, forget_on_fork};
#[cfg(feature = "preload")]
use crate::mem::{Taken, keep_on_fork};
use crate::runtime::reductions::{Mask, Reductions};
use crate::shared_state::process_accounting::ProcessAccounts;
use crate::shared_state::record::Identity;
use crate::sys::Errno;
#[cfg(feature = "preload")]
use crate::sys::signals;
use crate::text::Out;
use crate::values::{SeenDevice, SwapTraffic};
use core::ffi::CStr;
#[cfg(feature = "preload")]
use core::sync::atomic::{AtomicBool, Ordering};
use once_cell::race::OnceRef;

/// The cache of a process.
#[repr(C)]
pub(super) struct ProcessCache {
    pub(super) cgroups: TryCell<CachedCgroups>,
    pub(super) accounts: ProcessAccounts,
    pub(super) used: TryCell<OfCgroup<CachedUse>>,
    pub(super) waits: TryCell<OfCgroup<CachedWaits>>,
    pub(super) swap: TryCell<OfCgroup<CachedSwap>>,
    pub(super) devices: TryCell<OfCgroup<SeenDevices>>,
    pub(super) cpus: TryCell<RecentCpus>,
}

pub(super) fn memory() -> Result<&'static ProcessCache, Errno> {
    static MEMORY: OnceRef<'static, ProcessCache> = OnceRef::new();
    MEMORY.get_or_try_init(forget_on_fork)
}

/// Returns the cached value of `field`, or calls `read` and caches the result. The value is valid as
/// long as the cached cgroups are. `None` is not cached: a hidden value may become visible.
pub(super) fn remembered(
    field: impl Fn(&mut CachedCgroups) -> &mut u64,
    read: impl FnOnce() -> Option<u64>,
) -> Option<u64> {
    let last = || {
        let last = memory().ok().and_then(|m| m.cgroups.take());
        last.filter(|last| last.found_us != 0)
    };
    let known = last().map_or(CachedCgroups::UNKNOWN, |mut last| *field(&mut last));
    if known != CachedCgroups::UNKNOWN {
        return Some(known);
    }
    let found = read()?;
    if let Some(mut last) = last() {
        *field(&mut last) = found;
    }
    Some(found)
}

/// The cached cgroup directories of the container. Finding them costs more than most renderings:
/// reading `mountinfo` alone takes 30 µs, and more with each mount.
#[repr(C)]
pub(super) struct CachedCgroups {
    /// When the directories were found or last revalidated, on the coarse clock; 0 if never.
    pub(super) found_us: u64,
    /// See [`Container`](crate::cgroup::container::Container); [`CachedCgroups::UNKNOWN`] until first read.
    pub(super) pid_namespace: u64,
    pub(super) start_ticks: u64,
    pub(super) alone: u64,
    pub(super) dirs: [CachedDir; Controller::ALL.len()],
    /// How many bytes of `text` are in use.
    pub(super) length: usize,
    /// The directory paths, each with a NUL at its end.
    pub(super) text: [u8; 2048],
    /// Data for revalidation, from the second look-up on.
    pub(super) membership: Membership,
    /// Device and inode of each directory.
    pub(super) directories: [[u64; 2]; Controller::ALL.len()],
    pub(super) identified: bool,
    pub(super) identity: Identity,
}

impl CachedCgroups {
    /// Validity of the cache. A process that moves to another cgroup shows that cgroup within this
    /// time.
    pub(super) const VALID_US: u64 = 900_000;
    pub(super) const UNKNOWN: u64 = u64::MAX;

    pub(super) fn recall<'m>(&self, arena: &mut Arena<'m>) -> Result<ContainerCgroups<'m>, Errno> {
        let text = self.text.get(..self.length).unwrap_or_default();
        let copy = arena.alloc(text.len())?;
        copy.copy_from_slice(text);
        let copy: &'m [u8] = copy;
        let dirs = self.dirs.map(|dir| {
            dir.known.then_some(CgroupDir {
                version: dir.version,
                root: dir.root,
                directory: dir.directory(copy)?,
                mount_point_length: dir.mount_point_length as usize,
            })
        });
        Ok(ContainerCgroups {
            dirs,
            pid_namespace: Some(self.pid_namespace).filter(|n| *n != Self::UNKNOWN),
        })
    }

    pub(super) fn remember(&mut self, now_us: u64, cgroups: &ContainerCgroups) {
        self.found_us = 0;
        self.identified = false;
        self.membership.process = 0;
        self.pid_namespace = cgroups.pid_namespace.unwrap_or(Self::UNKNOWN);
        self.start_ticks = Self::UNKNOWN;
        self.alone = Self::UNKNOWN;
        let mut text = Out::new(&mut self.text);
        for (slot, dir) in self.dirs.iter_mut().zip(&cgroups.dirs) {
            let Some(dir) = dir else {
                slot.known = false;
                continue;
            };
            *slot = CachedDir {
                known: true,
                version: dir.version,
                root: dir.root,
                start: text.len() as u32,
                length: dir.directory.len() as u32,
                mount_point_length: dir.mount_point_length as u32,
            };
            text.bytes(dir.directory);
            // The path needs a NUL for the `stat` call that revalidates it.
            text.byte(0);
        }
        self.length = text.len();
        if text.finish().is_some() {
            self.found_us = now_us;
        }
    }

    /// The result of `number` for each directory, which is device and inode; zeros for a directory that is missing.
    pub(super) fn numbers(
        &self,
        number: impl Fn(&CStr) -> [u64; 2],
    ) -> [[u64; 2]; Controller::ALL.len()] {
        let mut last: Option<(&[u8], [u64; 2])> = None;
        self.dirs.map(|dir| {
            let Some(path) = dir.directory(&self.text).filter(|_| dir.known) else {
                return [0; 2];
            };
            // On v2 all controllers have the same directory: reuse the result.
            if let Some((_, same)) = last.filter(|(before, _)| *before == path) {
                return same;
            }
            let path_with_nul = self.text.get(dir.start as usize..);
            let found = path_with_nul
                .and_then(|path| CStr::from_bytes_until_nul(path).ok())
                .map_or([0; 2], &number);
            last = Some((path, found));
            found
        })
    }

    /// True if the cached directories are those of `cgroups`.
    pub(super) fn is_of(&self, cgroups: &ContainerCgroups) -> bool {
        self.found_us != 0
            && self.dirs.iter().zip(&cgroups.dirs).all(|(mine, theirs)| {
                let mine = mine.directory(&self.text).filter(|_| mine.known);
                mine == theirs.map(|dir| dir.directory)
            })
    }

    pub(super) fn identity(&self, cgroups: &ContainerCgroups) -> Option<Identity> {
        (self.identified && self.is_of(cgroups)).then_some(self.identity)
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct CachedDir {
    pub(super) known: bool,
    pub(super) version: Version,
    pub(super) root: bool,
    pub(super) start: u32,
    pub(super) length: u32,
    pub(super) mount_point_length: u32,
}

impl CachedDir {
    /// The directory path, from the text that holds all paths.
    pub(super) fn directory<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let end = self.start.checked_add(self.length)?;
        text.get(self.start as usize..end as usize)
    }
}

/// The process number, and checksums of the cgroups of the process and of PID 1.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Membership {
    pub(super) process: u32,
    pub(super) own: u64,
    pub(super) of_init: u64,
}

/// A value that was read from one cgroup. It cannot be compared with counters of another cgroup.
#[derive(Default)]
#[repr(C)]
pub(super) struct OfCgroup<T> {
    /// A number for the cgroup, see `number_of` in container.rs.
    owner: u64,
    value: T,
}

impl<T: Default> OfCgroup<T> {
    /// The value of the cgroup with this number. If the value is another cgroup's, resets it first.
    pub(super) fn of(&mut self, owner: u64) -> &mut T {
        if self.owner != owner {
            (self.owner, self.value) = (owner, T::default());
        }
        &mut self.value
    }
}

/// The last counters of block devices: enough for the devices that a container is likely to use.
pub(super) type SeenDevices = [SeenDevice; 8];

/// CPU time at the last reading, and the CPUs used in the interval before it.
#[derive(Default)]
#[repr(C)]
pub(super) struct CachedUse {
    pub(super) age_us: u64,
    pub(super) cpu_us: u64,
    /// Fixed point.
    pub(super) used: u64,
}

/// When this process last read how long the container was throttled and waited for CPUs.
#[derive(Default)]
#[repr(C)]
pub(super) struct CachedWaits {
    /// Microseconds of `CLOCK_MONOTONIC_COARSE`.
    pub(super) read_us: u64,
}

impl CachedWaits {
    /// These counters change when a quota's period ends, which is 100 ms by default, and become steal
    /// over half a second. So a process that reads more often need not read them each time.
    pub(super) const VALID_US: u64 = 400_000;
}

/// Swap traffic, in pages. Pages swapped out are derived from the difference between two readings.
#[derive(Default)]
#[repr(C)]
pub(super) struct CachedSwap {
    pub(super) traffic: SwapTraffic,
    pub(super) used: u64,
}

/// The CPUs that sysfs listed recently.
#[repr(C)]
pub struct RecentCpus {
    /// When the CPUs were read, microseconds of `CLOCK_MONOTONIC`; 0 if never.
    pub read_us: u64,
    /// The CPUs that are shown.
    pub shown: Mask,
    /// The mask of the thread to which they are shown; empty if they are the same for all threads.
    pub own: Mask,
}

/// [`RecentCpus`] of this process; `None` while another thread uses them. The caller blocks signals, as for all of the
/// cache.
#[cfg(feature = "preload")]
pub fn recent_cpus() -> Option<Taken<'static, RecentCpus>> {
    memory().ok()?.cpus.take()
}

#[cfg(feature = "preload")]
static REDUCTIONS: OnceRef<'static, Reductions> = OnceRef::new();

/// The record of the affinity masks that this process reduced; `None` if it has reduced no mask.
#[cfg(feature = "preload")]
pub fn reductions() -> Option<&'static Reductions> {
    REDUCTIONS.get()
}

/// Returns the same record. Allocates the record if the process has none, so the caller blocks signals.
#[cfg(feature = "preload")]
pub fn reductions_to_write() -> Option<&'static Reductions> {
    REDUCTIONS.get_or_try_init(keep_on_fork).ok()
}

/// True after the process has called `bpf` or `perf_event_open`, or listed the kernel's event sources. A child of
/// `fork` inherits the value.
#[cfg(feature = "preload")]
static WATCHES_CPUS: AtomicBool = AtomicBool::new(false);

/// True after [`watch_cpus`].
#[cfg(feature = "preload")]
pub fn watches_cpus() -> bool {
    WATCHES_CPUS.load(Ordering::Relaxed)
}

/// Records that the process watches CPUs through the kernel.
#[cfg(feature = "preload")]
pub fn watch_cpus() {
    if watches_cpus() {
        return;
    }
    let _signals = signals::block();
    WATCHES_CPUS.store(true, Ordering::Relaxed);
    if let Some(mut recent) = recent_cpus() {
        recent.read_us = 0;
    }
}

// SAFETY: every part is `Zeroed`.
unsafe impl Zeroed for ProcessCache {}
// SAFETY: only integers, flags for which zero is false, and versions for which zero is `V1`.
unsafe impl Zeroed for CachedCgroups {}
// SAFETY: an integer and a value that is `Zeroed`.
unsafe impl<T: Zeroed> Zeroed for OfCgroup<T> {}
// SAFETY: only integers, for which zeros are valid.
unsafe impl Zeroed for SeenDevices {}
// SAFETY: only integers, for which zeros are valid.
unsafe impl Zeroed for CachedUse {}
// SAFETY: only integers, for which zeros are valid.
unsafe impl Zeroed for CachedWaits {}
// SAFETY: only integers, for which zeros are valid.
unsafe impl Zeroed for CachedSwap {}
// SAFETY: only integers, for which zeros are valid.
unsafe impl Zeroed for RecentCpus {}
// SAFETY: only integers; all zeros is the value of `Reductions::new`.
unsafe impl Zeroed for Reductions {}
