//! The [`Kernel`] of the running process: it reads files with system calls and caches some results
//! between two renderings. The cache is small and no thread ever waits for it. ARCHITECTURE.md lists
//! its parts and the reason for each.

use crate::cgroup::kernel::Kernel;
use crate::cgroup::locate::{CgroupDir, ContainerCgroups, Controller};
use crate::cgroup::{Version, cpu, kernel, locate};
use crate::cpu_time::{Accounting, Checksum, Sample};
use crate::error::{ErrorKind, Failure};
use crate::load::average;
use crate::load::tasks::{self, Cost, Known};
use crate::mem::{Arena, TryCell, Zeroed, forget_on_fork, work_in_block};
#[cfg(feature = "preload")]
use crate::mem::{Taken, keep_on_fork};
use crate::runtime::affinity::{Mask, Reductions};
use crate::runtime::log;
use crate::sampler;
use crate::settings::Settings;
use crate::shared_state::process_accounting::ProcessAccounts;
use crate::shared_state::record::Identity;
use crate::shared_state::{self, Store};
use crate::sys::{self, Errno, Fd};
use crate::text::Out;
use crate::values::FIXED_1;
use crate::values::{BlockIo, Load, SeenDevice, SwapTraffic, Tasks};
use core::ffi::CStr;
use core::num::NonZero;
#[cfg(feature = "preload")]
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use once_cell::race::OnceRef;

/// Reads the kernel of the running process with system calls.
#[derive(Clone, Copy, Default)]
pub struct Live {
    /// See [`Store::signals_are_blocked`].
    pub signals_are_blocked: bool,
}

/// Calls `question` with the running kernel and an arena in a memory block of its own. Tries again with
/// a larger block if the block is too small.
pub fn ask<T>(
    live: Live,
    mut question: impl FnMut(&Live, Arena) -> Result<T, Failure>,
) -> Result<T, Failure> {
    work_in_block(
        |e| (ErrorKind::NoMemory, e),
        |(_, errno)| *errno == Errno::BUFFER_TOO_SMALL,
        |arena| question(&live, arena),
    )
}

impl Kernel for Live {
    fn read<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        log::reading(path);
        let file = open(path)?;
        arena.read_into(|buffer| {
            let free = buffer.len();
            let length = sys::read(file.raw(), buffer)?;
            if length < free {
                Ok(length)
            } else {
                Err(Errno::BUFFER_TOO_SMALL)
            }
        })
    }

    fn read_long<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        log::reading(path);
        let file = open(path)?;
        arena.read_into(|buffer| sys::read_whole(file.raw(), buffer))
    }

    fn read_link<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        let mut path_buffer = [0; 64];
        let path = own(path, &mut path_buffer)?;
        arena.read_into(|buffer| sys::read_link(path, buffer).map(<[u8]>::len))
    }

    fn exists(&self, path: &CStr) -> bool {
        sys::exists(path)
    }

    fn boot_us(&self) -> Result<u64, Errno> {
        sys::clock::clock_us(libc::CLOCK_BOOTTIME)
    }

    /// True for programs with procps 4.0.4 or later, whose libproc2 calls `clock_gettime`. The result
    /// is cached because it does not change.
    #[cfg(feature = "preload")]
    fn holds_against_boot(&self) -> bool {
        const NO: u8 = 1;
        const YES: u8 = 2;
        static KNOWN: AtomicU8 = AtomicU8::new(0);
        let mut known = KNOWN.load(Ordering::Relaxed);
        if known == 0 {
            let refers = sys::link::refers(b"libproc2.so", c"clock_gettime");
            known = if refers { YES } else { NO };
            KNOWN.store(known, Ordering::Relaxed);
        }
        known == YES
    }

    #[cfg(feature = "preload")]
    fn watches_cpus(&self) -> bool {
        WATCHES_CPUS.load(Ordering::Relaxed)
    }

    #[cfg(feature = "preload")]
    fn own_cpus<'m>(&self, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        arena.read_into(|buffer| sys::affinity_into(0, buffer))
    }

    fn cgroups<'m>(&self, arena: &mut Arena<'m>) -> Result<ContainerCgroups<'m>, Errno> {
        let now_us = sys::clock::clock_us(libc::CLOCK_MONOTONIC_COARSE)?;
        let Some(mut last) = memory().ok().and_then(|m| m.cgroups.take()) else {
            return locate::locate(self, arena);
        };
        if last.found_us != 0 && now_us.wrapping_sub(last.found_us) <= CachedCgroups::VALID_US {
            return last.recall(arena);
        }
        // Skip the revalidation data on the first look-up: many processes look up only once.
        let again = last.found_us != 0;
        let membership = again
            .then(|| Membership::of_now(self, &mut arena.reborrow()))
            .transpose()?;
        if let Some(now) = membership
            && last.membership == now
            && last.directories == last.directories_now()
        {
            last.found_us = now_us;
            return last.recall(arena);
        }
        // Keep the cached start of PID 1: a process stays in its PID namespace, but may no longer be
        // allowed to see PID 1. Compare the namespace first, because a process that shares this memory
        // may be in another one.
        let (namespace, start_ticks) = (last.pid_namespace, last.start_ticks);
        last.remember(now_us, &locate::locate(self, &mut arena.reborrow())?);
        if again && kernel::namespace_of(self) == Some(namespace) {
            (last.pid_namespace, last.start_ticks) = (namespace, start_ticks);
        }
        if let Some(now) = membership {
            last.membership = now;
            last.directories = last.directories_now();
        }
        if last.found_us == 0 {
            // The paths do not fit into the cache, so they are looked up each time.
            return locate::locate(self, arena);
        }
        last.recall(arena)
    }

    fn pid_namespace(&self) -> Option<u64> {
        remembered(
            |last| &mut last.pid_namespace,
            || kernel::namespace_of(self),
        )
    }

    fn start_ticks(&self) -> Option<u64> {
        remembered(|last| &mut last.start_ticks, || kernel::start_of(self))
    }

    fn is_alone(&self, arena: &mut Arena) -> bool {
        let read = || kernel::alone(self, arena).map(u64::from);
        remembered(|last| &mut last.alone, read) != Some(0)
    }

    fn tasks(
        &self,
        cgroups: &ContainerCgroups,
        sample: Option<&Sample>,
        settings: &Settings,
        arena: &mut Arena,
    ) -> Result<Tasks, Errno> {
        let mut known = |arena: &mut Arena| {
            let age_us = cpu::age(self).map_or(0, |age| age.age_us);
            let tracked = store(self, cgroups, settings, arena)
                .ok()
                .and_then(|store| store.tracked(age_us));
            tracked.map_or_else(|| Known::Used(used_lately(cgroups, sample)), Known::Tracked)
        };
        tasks::count(self, b"", cgroups, Cost::Flat(&mut known), arena)
    }

    fn account<'m, R>(
        &self,
        cgroups: &ContainerCgroups,
        settings: &Settings,
        sample: &Sample,
        arena: &mut Arena<'m>,
        with: impl FnOnce(&Accounting, &mut Arena<'m>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let store = store(self, cgroups, settings, arena);
        let no_memory = |e| (ErrorKind::NoMemory, e);
        let accounting = arena.zeroed::<Accounting>().map_err(no_memory)?;
        let key = key(settings);
        match memory() {
            Ok(memory) => memory
                .accounts
                .continue_with(
                    store.ok().as_ref(),
                    key,
                    sample,
                    accounting,
                    arena.reborrow(),
                )
                .map_err(no_memory)?,
            Err(_) => accounting.advance(sample),
        }
        with(accounting, arena)
    }

    fn waits_are_due(&self, cgroups: &ContainerCgroups) -> bool {
        let now_us = sys::clock::clock_us(libc::CLOCK_MONOTONIC_COARSE).unwrap_or(0);
        let Some(mut last) = memory().ok().and_then(|m| m.waits.take()) else {
            return true;
        };
        let owner = number_of(cgroups, Controller::Cpu);
        if last.owner == owner && now_us.wrapping_sub(last.read_us) < CachedWaits::VALID_US {
            return false;
        }
        *last = CachedWaits {
            owner,
            read_us: now_us,
        };
        true
    }

    fn swap_traffic(&self, cgroups: &ContainerCgroups, pages_in: u64, used: u64) -> SwapTraffic {
        let Some(mut last) = memory().ok().and_then(|m| m.swap.take()) else {
            return SwapTraffic::default().later(pages_in, 0, used);
        };
        let owner = number_of(cgroups, Controller::Memory);
        if last.owner != owner {
            *last = CachedSwap::default();
        }
        let before = SwapTraffic {
            pages_in: last.pages_in,
            pages_out: last.pages_out,
        };
        let now = before.later(pages_in, last.used, used);
        *last = CachedSwap {
            owner,
            pages_in: now.pages_in,
            pages_out: now.pages_out,
            used,
        };
        now
    }

    fn seen_devices<'m>(
        &self,
        cgroups: &ContainerCgroups,
        io: BlockIo,
        arena: &mut Arena<'m>,
    ) -> Result<&'m [SeenDevice], Errno> {
        let Some(mut last) = memory().ok().and_then(|m| m.io.take_soon()) else {
            return Ok(&[]);
        };
        let owner = number_of(cgroups, Controller::Blkio);
        if last.owner != owner {
            *last = CachedIo::default();
            last.owner = owner;
        }
        io.remember(&mut last.devices);
        arena.keep(last.devices).map(|devices| &devices[..])
    }

    fn page_size(&self) -> NonZero<u64> {
        sys::page_size()
    }

    fn sampled_load(
        &self,
        cgroups: &ContainerCgroups,
        age_us: u64,
        settings: &Settings,
        arena: &mut Arena,
    ) -> Option<Load> {
        sampler::live_averages(&store(self, cgroups, settings, arena).ok()?, age_us)
    }

    fn load(
        &self,
        cgroups: &ContainerCgroups,
        sample: &Sample,
        _: &Tasks,
        settings: &Settings,
        arena: &mut Arena,
    ) -> Load {
        let Ok(store) = store(self, cgroups, settings, arena) else {
            return average::from_start(sample);
        };
        let start = || {
            let _ = start_sampler(settings);
        };
        sampler::load(&store, sample, || may_start(settings, cgroups), start)
    }
}

/// Replaces `/proc/self` in `path` with the directory of the calling thread.
fn own<'p>(path: &'p CStr, buffer: &'p mut [u8; 64]) -> Result<&'p CStr, Errno> {
    match path.to_bytes().strip_prefix(b"/proc/self/") {
        Some(name) => sys::own_path(name, buffer),
        None => Ok(path),
    }
}

fn open(path: &CStr) -> Result<Fd, Errno> {
    sys::open(own(path, &mut [0; 64])?)
}

/// Returns the cached value of `field`, or calls `read` and caches the result. The value is valid as
/// long as the cached cgroups are. `None` is not cached: a hidden value may become visible.
fn remembered(
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

/// The shared state of the container with these `cgroups`.
fn store<'s>(
    live: &Live,
    cgroups: &ContainerCgroups,
    settings: &Settings<'s>,
    arena: &mut Arena,
) -> Result<Store<'s>, Errno> {
    let last = || memory().ok().and_then(|m| m.cgroups.take());
    let known = last().and_then(|last| last.identity(cgroups));
    let identity = match known {
        Some(identity) => identity,
        None => {
            let user_limit = settings.cpus.is_some();
            let identity =
                shared_state::identify(live, cgroups, user_limit, &mut arena.reborrow())?;
            if let Some(mut last) = last().filter(|last| last.is(cgroups)) {
                (last.identified, last.identity) = (true, identity);
            }
            identity
        }
    };
    Ok(Store {
        directory: settings.state,
        identity,
        signals_are_blocked: live.signals_are_blocked,
    })
}

/// CPUs that the container used recently, fixed point: between two readings of this process that are at
/// least half a second apart, or else since the container started.
fn used_lately(cgroups: &ContainerCgroups, sample: Option<&Sample>) -> u64 {
    const APART_US: u64 = 500_000;
    let last = memory().ok().and_then(|m| m.used.take());
    let (Some(sample), Some(mut last)) = (sample, last) else {
        return 0;
    };
    let cpu_us = sample.time.busy_us();
    let owner = number_of(cgroups, Controller::Cpuacct);
    if last.owner != owner || last.cpu_us > cpu_us {
        *last = CachedUse::default();
        last.owner = owner;
    }
    let passed_us = sample.age_us.saturating_sub(last.age_us);
    if passed_us >= APART_US {
        let used_us = cpu_us.saturating_sub(last.cpu_us);
        let most = u64::from(sample.cpus.list.count()).saturating_mul(FIXED_1);
        last.used = (used_us.saturating_mul(FIXED_1) / passed_us.max(1)).min(most);
        (last.age_us, last.cpu_us) = (sample.age_us, cpu_us);
    }
    last.used
}

/// A number for the settings that change the accounting. Accountings with different numbers are not
/// compared.
fn key(settings: &Settings) -> u64 {
    let quota_us = settings.cpus.map_or(0, |quota| quota.quota_us);
    quota_us
        .wrapping_mul(4)
        .wrapping_add(settings.rounding as u64)
}

/// A number for the container's cgroup. Counters of another cgroup cannot be compared with cached ones.
fn number_of(cgroups: &ContainerCgroups, controller: Controller) -> u64 {
    let dir = cgroups.dirs.get(controller as usize).copied().flatten();
    dir.map_or(0, |dir| Checksum::of(dir.directory))
}

/// Only the file of the library can be executed as a sampler. The tool never starts one.
#[cfg(feature = "preload")]
use sampler::helper::{may_start, start_sampler};

#[cfg(not(feature = "preload"))]
fn may_start(_: &Settings, _: &ContainerCgroups) -> bool {
    false
}

#[cfg(not(feature = "preload"))]
fn start_sampler(_: &Settings) -> Result<(), Errno> {
    Ok(())
}

/// True after the process has called `bpf` or `perf_event_open`. A child of `fork` inherits the value.
#[cfg(feature = "preload")]
static WATCHES_CPUS: AtomicBool = AtomicBool::new(false);

/// Records that the process watches CPUs through the kernel.
#[cfg(feature = "preload")]
pub fn watch_cpus() {
    if !WATCHES_CPUS.swap(true, Ordering::Relaxed)
        && let Some(mut recent) = recent_cpus()
    {
        recent.read_us = 0;
    }
}

#[cfg(feature = "preload")]
static REDUCTIONS: OnceRef<'static, Reductions> = OnceRef::new();

/// The affinity masks that the library has reduced for this process; `None` if there are none.
#[cfg(feature = "preload")]
pub fn reductions() -> Option<&'static Reductions> {
    REDUCTIONS.get()
}

/// As [`reductions`], but allocates the record if there is none yet.
#[cfg(feature = "preload")]
pub fn reductions_to_write() -> Option<&'static Reductions> {
    REDUCTIONS.get_or_try_init(keep_on_fork).ok()
}

// SAFETY: only integers; all zeros is the value of `Reductions::new`.
unsafe impl Zeroed for Reductions {}

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

// SAFETY: only integers, for which zeros are valid.
unsafe impl Zeroed for RecentCpus {}

/// [`RecentCpus`] of this process; `None` while another thread uses them.
#[cfg(feature = "preload")]
pub fn recent_cpus() -> Option<Taken<'static, RecentCpus>> {
    memory().ok()?.cpus.take()
}

/// The cache of a process.
#[repr(C)]
struct Memory {
    cgroups: TryCell<CachedCgroups>,
    accounts: ProcessAccounts,
    used: TryCell<CachedUse>,
    waits: TryCell<CachedWaits>,
    swap: TryCell<CachedSwap>,
    io: TryCell<CachedIo>,
    cpus: TryCell<RecentCpus>,
}

/// The last counters of block devices.
#[derive(Default)]
#[repr(C)]
struct CachedIo {
    /// [`number_of`] the cgroup.
    owner: u64,
    /// Enough for the devices that a container is likely to use.
    devices: [SeenDevice; 8],
}

/// CPU time at the last reading, and the CPUs used in the interval before it.
#[derive(Default)]
#[repr(C)]
struct CachedUse {
    /// [`number_of`] the cgroup.
    owner: u64,
    age_us: u64,
    cpu_us: u64,
    /// Fixed point.
    used: u64,
}

/// When this process last read how long the container was throttled and waited for CPUs.
#[derive(Default)]
#[repr(C)]
struct CachedWaits {
    /// [`number_of`] the cgroup.
    owner: u64,
    /// Microseconds of `CLOCK_MONOTONIC_COARSE`.
    read_us: u64,
}

impl CachedWaits {
    /// These counters change when a quota's period ends, which is 100 ms by default, and become steal
    /// over half a second. So a process that reads more often need not read them each time.
    const VALID_US: u64 = 400_000;
}

/// Swap traffic, in pages. Pages swapped out are derived from the difference between two readings.
#[derive(Default)]
#[repr(C)]
struct CachedSwap {
    /// [`number_of`] the cgroup.
    owner: u64,
    pages_in: u64,
    pages_out: u64,
    used: u64,
}

// SAFETY: only integers, for which zeros are valid.
unsafe impl Zeroed for CachedUse {}
// SAFETY: only integers, for which zeros are valid.
unsafe impl Zeroed for CachedWaits {}
// SAFETY: only integers, for which zeros are valid.
unsafe impl Zeroed for CachedSwap {}
// SAFETY: only integers, for which zeros are valid.
unsafe impl Zeroed for CachedIo {}
// SAFETY: every part is `Zeroed`.
unsafe impl Zeroed for Memory {}

fn memory() -> Result<&'static Memory, Errno> {
    static MEMORY: OnceRef<'static, Memory> = OnceRef::new();
    MEMORY.get_or_try_init(forget_on_fork)
}

/// The cached cgroup directories of the container. Finding them costs more than most renderings:
/// reading `mountinfo` alone takes 30 µs, and more with each mount.
#[repr(C)]
struct CachedCgroups {
    /// When the directories were found or last revalidated, on the coarse clock; 0 if never.
    found_us: u64,
    /// See [`Kernel`]; [`CachedCgroups::UNKNOWN`] until first read.
    pid_namespace: u64,
    start_ticks: u64,
    alone: u64,
    dirs: [CachedDir; Controller::ALL.len()],
    /// How many bytes of `text` are in use.
    length: usize,
    /// The directory paths, each with a NUL at its end.
    text: [u8; 2048],
    /// Data for revalidation, from the second look-up on.
    membership: Membership,
    /// Device and inode of each directory.
    directories: [[u64; 2]; Controller::ALL.len()],
    identified: bool,
    identity: Identity,
}

/// The process number, and checksums of the cgroups of the process and of PID 1.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct Membership {
    process: u32,
    own: u64,
    whole: u64,
}

impl Membership {
    fn of_now(kernel: &Live, arena: &mut Arena) -> Result<Membership, Errno> {
        let mut sum = |path| kernel.read(path, arena).map(Checksum::of);
        Ok(Membership {
            process: sys::process_id(),
            own: sum(c"/proc/self/cgroup")?,
            whole: sum(c"/proc/1/cgroup").unwrap_or(0),
        })
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct CachedDir {
    known: bool,
    version: Version,
    root: bool,
    start: u32,
    length: u32,
    mount_point_length: u32,
}

impl CachedDir {
    /// The directory path, from the text that holds all paths.
    fn directory<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let end = self.start.checked_add(self.length)?;
        text.get(self.start as usize..end as usize)
    }
}

// SAFETY: only integers, flags for which zero is false, and versions for which zero is `V1`.
unsafe impl Zeroed for CachedCgroups {}

impl CachedCgroups {
    /// Validity of the cache. A process that moves to another cgroup shows that cgroup within this
    /// time.
    const VALID_US: u64 = 900_000;
    const UNKNOWN: u64 = u64::MAX;

    fn recall<'m>(&self, arena: &mut Arena<'m>) -> Result<ContainerCgroups<'m>, Errno> {
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

    fn remember(&mut self, now_us: u64, cgroups: &ContainerCgroups) {
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

    /// Reads device and inode of each directory; zeros for a directory that is missing.
    fn directories_now(&self) -> [[u64; 2]; Controller::ALL.len()] {
        let mut last: Option<(&[u8], [u64; 2])> = None;
        self.dirs.map(|dir| {
            let Some(path) = dir.directory(&self.text).filter(|_| dir.known) else {
                return [0; 2];
            };
            // On v2 all controllers have the same directory: reuse the result.
            if let Some((_, same)) = last.filter(|(before, _)| *before == path) {
                return same;
            }
            let status = self
                .text
                .get(dir.start as usize..)
                .and_then(|path| CStr::from_bytes_until_nul(path).ok())
                .and_then(|path| sys::status_of(path).ok());
            let found = status.map_or([0; 2], |status| [status.st_dev, status.st_ino]);
            last = Some((path, found));
            found
        })
    }

    /// True if the cached directories are those of `cgroups`.
    fn is(&self, cgroups: &ContainerCgroups) -> bool {
        self.found_us != 0
            && self.dirs.iter().zip(&cgroups.dirs).all(|(mine, theirs)| {
                let mine = mine.directory(&self.text).filter(|_| mine.known);
                mine == theirs.map(|dir| dir.directory)
            })
    }

    fn identity(&self, cgroups: &ContainerCgroups) -> Option<Identity> {
        (self.identified && self.is(cgroups)).then_some(self.identity)
    }
}
