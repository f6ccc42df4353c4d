//! The live [`Kernel`]: its files by system calls, and what a process remembers between two
//! answers. What is remembered is small, has no lock that anyone waits for, and is named in
//! ARCHITECTURE.md with its reason.

use crate::gather::{self, Controller, Home, Kernel, Place};
use crate::ledger::{Checksum, Ledger, Sample};
use crate::load;
use crate::log::{Failure, Trouble};
use crate::sampler;
use crate::settings::Settings;
use crate::snapshot::{BlockIo, Load, SeenDevice, SwapTraffic, Tasks};
use crate::state::record::Identity;
use crate::state::{self, Store};
use crate::sys::memory::{Arena, TryCell, Zeroed, forget_on_fork, work_in_block};
use crate::sys::{self, Errno, Fd};
use crate::tasks;
use crate::text::Out;
use core::ffi::CStr;
use core::num::NonZero;
#[cfg(feature = "preload")]
use core::sync::atomic::{AtomicU8, Ordering};
use once_cell::race::OnceRef;

/// The kernel that runs this process.
pub struct Live;

/// Asks the live kernel, in a block of memory of the question's own.
pub fn ask<T>(mut question: impl FnMut(&Live, Arena) -> Result<T, Failure>) -> Result<T, Failure> {
    work_in_block(
        |e| (Trouble::NoMemory, e),
        |(_, errno)| *errno == Errno::NO_ROOM,
        |arena| question(&Live, arena),
    )
}

impl Kernel for Live {
    fn read<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        let file = open(path)?;
        arena.fill(|room| {
            let free = room.len();
            let length = sys::read(file.raw(), room)?;
            if length < free {
                Ok(length)
            } else {
                Err(Errno::NO_ROOM)
            }
        })
    }

    fn read_long<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        let file = open(path)?;
        arena.fill(|room| sys::read_whole(file.raw(), room))
    }

    fn read_link<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        let mut own_room = [0; 64];
        let path = own(path, &mut own_room)?;
        arena.fill(|room| sys::read_link(path, room).map(<[u8]>::len))
    }

    fn exists(&self, path: &CStr) -> bool {
        sys::exists(path)
    }

    fn boot_us(&self) -> Result<u64, Errno> {
        sys::clock_us(libc::CLOCK_BOOTTIME)
    }

    /// procps from 4.0.4 on; found out once, it does not change.
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

    fn place<'m>(&self, arena: &mut Arena<'m>) -> Result<Place<'m>, Errno> {
        let now_us = sys::clock_us(libc::CLOCK_MONOTONIC_COARSE)?;
        let Some(mut last) = memory().ok().and_then(|m| m.place.take()) else {
            return gather::locate(self, arena);
        };
        if last.found_us != 0 && now_us.wrapping_sub(last.found_us) <= LastPlace::VALID_US {
            return last.recall(arena);
        }
        // Who asks for the first time may never ask again.
        let again = last.found_us != 0;
        let membership = again
            .then(|| Membership::of_now(self, &mut arena.scratch()))
            .transpose()?;
        if let Some(now) = membership
            && last.membership == now
            && last.directories == last.directories_now()
        {
            last.found_us = now_us;
            return last.recall(arena);
        }
        // A process stays in its PID namespace, whose PID 1 it may no longer be allowed to see; another one
        // that shares its memory may be elsewhere.
        let (namespace, start_ticks) = (last.pid_namespace, last.start_ticks);
        last.remember(now_us, &gather::locate(self, &mut arena.scratch())?);
        if again && gather::namespace_of(self) == Some(namespace) {
            (last.pid_namespace, last.start_ticks) = (namespace, start_ticks);
        }
        if let Some(now) = membership {
            last.membership = now;
            last.directories = last.directories_now();
        }
        if last.found_us == 0 {
            // A path too long to be remembered is looked for each time.
            return gather::locate(self, arena);
        }
        last.recall(arena)
    }

    fn pid_namespace(&self) -> Option<u64> {
        remembered(
            |last| &mut last.pid_namespace,
            || gather::namespace_of(self),
        )
    }

    fn start_ticks(&self) -> Option<u64> {
        remembered(|last| &mut last.start_ticks, || gather::start_of(self))
    }

    fn is_alone(&self, arena: &mut Arena) -> bool {
        let ask = || gather::alone(self, arena).map(u64::from);
        remembered(|last| &mut last.alone, ask) != Some(0)
    }

    fn tasks(&self, place: &Place, arena: &mut Arena) -> Result<Tasks, Errno> {
        tasks::count(self, b"", place, &mut arena.scratch())
    }

    fn account<'m, R>(
        &self,
        place: &Place,
        settings: &Settings,
        sample: &Sample,
        arena: &mut Arena<'m>,
        with: impl FnOnce(&Ledger, &mut Arena<'m>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let store = store(place, settings, arena);
        // Where the container cannot be told from others, all are one.
        let whose = store.as_ref().map_or(Identity::default(), |s| s.identity);
        let no_room = |e| (Trouble::NoMemory, e);
        let ledger = arena.zeroed::<Ledger>().map_err(no_room)?;
        let memory = memory().ok();
        // One continues, and keeps what it said. The ledger itself is had only to be copied, so that
        // whoever comes second, another thread or a signal handler, finds one.
        let turn = memory.and_then(|m| m.turn.take_soon());
        let last = || memory.and_then(|m| m.ledger.take_soon());
        if let Some(last) = last().filter(|last| last.whose == whose) {
            ledger.clone_from(&last.ledger);
        }
        // What is said without being kept could be taken back: what was said a moment ago still holds.
        let holds = turn.is_none()
            && ledger.cpus() == u64::from(sample.cpus.count)
            && sample.age_us.saturating_sub(ledger.age_us()) < MOMENT_US;
        if !holds {
            match &store {
                Ok(store) => store
                    .account(key(settings), sample, ledger, arena.scratch())
                    .map_err(no_room)?,
                Err(_) => ledger.advance(sample),
            }
        }
        if turn.is_some()
            && let Some(mut last) = last()
        {
            last.whose = whose;
            last.ledger.clone_from(ledger);
        }
        drop(turn);
        with(ledger, arena)
    }

    fn swap_traffic(&self, place: &Place, pages_in: u64, used: u64) -> SwapTraffic {
        let Some(mut last) = memory().ok().and_then(|m| m.swap.take()) else {
            return SwapTraffic::default().later(pages_in, 0, used);
        };
        let whose = number_of(place, Controller::Memory);
        if last.whose != whose {
            *last = LastSwap::default();
        }
        let before = SwapTraffic {
            pages_in: last.pages_in,
            pages_out: last.pages_out,
        };
        let now = before.later(pages_in, last.used, used);
        *last = LastSwap {
            whose,
            pages_in: now.pages_in,
            pages_out: now.pages_out,
            used,
        };
        now
    }

    fn seen_devices<'m>(
        &self,
        place: &Place,
        io: BlockIo,
        arena: &mut Arena<'m>,
    ) -> Result<&'m [SeenDevice], Errno> {
        let Some(mut last) = memory().ok().and_then(|m| m.io.take_soon()) else {
            return Ok(&[]);
        };
        let whose = number_of(place, Controller::Blkio);
        if last.whose != whose {
            *last = LastIo::default();
            last.whose = whose;
        }
        io.remember(&mut last.devices);
        arena.keep(last.devices).map(|devices| &devices[..])
    }

    fn page_size(&self) -> NonZero<u64> {
        sys::page_size()
    }

    fn sampled_load(
        &self,
        place: &Place,
        age_us: u64,
        settings: &Settings,
        arena: &mut Arena,
    ) -> Option<Load> {
        sampler::kept(&store(place, settings, arena).ok()?, age_us)
    }

    fn load(
        &self,
        place: &Place,
        sample: &Sample,
        _: &Tasks,
        settings: &Settings,
        arena: &mut Arena,
    ) -> Load {
        let Ok(store) = store(place, settings, arena) else {
            return load::from_start(sample);
        };
        let pressure_us = || sampler::pressure_us(self, place, arena);
        let start = || {
            let _ = start_sampler(settings);
        };
        sampler::load(
            &store,
            sample,
            pressure_us,
            || may_start(self, settings, place),
            start,
        )
    }
}

/// `path`, where `/proc/self` is the thread that asks.
fn own<'p>(path: &'p CStr, room: &'p mut [u8; 64]) -> Result<&'p CStr, Errno> {
    match path.to_bytes().strip_prefix(b"/proc/self/") {
        Some(name) => sys::own_path(name, room),
        None => Ok(path),
    }
}

fn open(path: &CStr) -> Result<Fd, Errno> {
    sys::open(own(path, &mut [0; 64])?)
}

/// What was found out together with the place, or what `ask` says: it stays true as long as the
/// place does. What is hidden may be shown later.
fn remembered(
    field: impl Fn(&mut LastPlace) -> &mut u64,
    ask: impl FnOnce() -> Option<u64>,
) -> Option<u64> {
    let last = || {
        let last = memory().ok().and_then(|m| m.place.take());
        last.filter(|last| last.found_us != 0)
    };
    let known = last().map_or(LastPlace::UNKNOWN, |mut last| *field(&mut last));
    if known != LastPlace::UNKNOWN {
        return Some(known);
    }
    let found = ask()?;
    if let Some(mut last) = last() {
        *field(&mut last) = found;
    }
    Some(found)
}

/// The shared state of the container at `place`.
fn store<'s>(
    place: &Place,
    settings: &Settings<'s>,
    arena: &mut Arena,
) -> Result<Store<'s>, Errno> {
    let last = || memory().ok().and_then(|m| m.place.take());
    let known = last().and_then(|last| last.identity(place));
    let identity = match known {
        Some(identity) => identity,
        None => {
            let handed_in = settings.cpus.is_some();
            let identity = state::identify(&Live, place, handed_in, &mut arena.scratch())?;
            if let Some(mut last) = last().filter(|last| last.is(place)) {
                (last.identified, last.identity) = (true, identity);
            }
            identity
        }
    };
    Ok(Store {
        directory: settings.state,
        identity,
    })
}

/// CPU time that is so old, microseconds, still does for whoever cannot continue it: on a busy machine
/// whose turn it is may stand still for some tenths of a second.
const MOMENT_US: u64 = 2_000_000;

/// A number for the settings under which accounts differ.
fn key(settings: &Settings) -> u64 {
    let quota_us = settings.cpus.map_or(0, |quota| quota.quota_us);
    quota_us
        .wrapping_mul(4)
        .wrapping_add(settings.rounding as u64)
}

/// A number for the container's cgroup: counters of another one have nothing to do with each other.
fn number_of(place: &Place, controller: Controller) -> u64 {
    let home = place.homes.get(controller as usize).copied().flatten();
    home.map_or(0, |home| Checksum::of(home.directory))
}

/// Only the library's own file can be executed as a sampler; the tool says what it finds.
#[cfg(feature = "preload")]
use sampler::helper::{may_start, start_sampler};

#[cfg(not(feature = "preload"))]
fn may_start(_: &Live, _: &Settings, _: &Place) -> bool {
    false
}

#[cfg(not(feature = "preload"))]
fn start_sampler(_: &Settings) -> Result<(), Errno> {
    Ok(())
}

/// What a process remembers.
#[repr(C)]
struct Memory {
    place: TryCell<LastPlace>,
    /// Whose turn it is to continue the ledger.
    turn: TryCell<()>,
    ledger: TryCell<LastLedger>,
    swap: TryCell<LastSwap>,
    io: TryCell<LastIo>,
}

/// What was said last of disks.
#[derive(Default)]
#[repr(C)]
struct LastIo {
    /// [`number_of`] the cgroup.
    whose: u64,
    /// As many as a container is likely to touch.
    devices: [SeenDevice; 8],
}

/// What was said last of CPU time.
#[repr(C)]
struct LastLedger {
    /// Which container that was: a process can be moved to another one.
    whose: Identity,
    ledger: Ledger,
}

/// Swap traffic, in pages: what went out is counted from one reading to the next.
#[derive(Default)]
#[repr(C)]
struct LastSwap {
    /// [`number_of`] the cgroup.
    whose: u64,
    pages_in: u64,
    pages_out: u64,
    used: u64,
}

// SAFETY: numbers.
unsafe impl Zeroed for LastSwap {}
// SAFETY: numbers.
unsafe impl Zeroed for LastIo {}
// SAFETY: numbers, and an empty ledger.
unsafe impl Zeroed for LastLedger {}

// SAFETY: all parts are.
unsafe impl Zeroed for Memory {}
// SAFETY: numbers only; an empty ledger is all zeros (`Ledger::is_empty`).
unsafe impl Zeroed for Ledger {}

fn memory() -> Result<&'static Memory, Errno> {
    static MEMORY: OnceRef<'static, Memory> = OnceRef::new();
    MEMORY.get_or_try_init(forget_on_fork)
}

/// Where the container was found last. Finding it costs more than most answers: `mountinfo` alone
/// takes the kernel 30 µs, and more with each mount.
#[repr(C)]
struct LastPlace {
    /// When, or when it was last found to be true still, on the coarse clock; 0 is never.
    found_us: u64,
    /// See [`Kernel`]; [`LastPlace::UNKNOWN`] as long as nobody has asked.
    pid_namespace: u64,
    start_ticks: u64,
    alone: u64,
    homes: [LastHome; Controller::ALL.len()],
    /// How many bytes of `text` are in use.
    length: usize,
    /// The directories, one after the other.
    text: [u8; 2048],
    /// What was true when it was found, from the second time on.
    membership: Membership,
    /// Device and inode of each directory.
    directories: [[u64; 2]; Controller::ALL.len()],
    identified: bool,
    identity: Identity,
}

/// Who the process is and which cgroups it and the container's PID 1 are in.
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
struct LastHome {
    known: bool,
    unified: bool,
    root: bool,
    start: u32,
    length: u32,
    top: u32,
}

impl LastHome {
    /// The directory, of the text that holds all.
    fn directory<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let end = self.start.checked_add(self.length)?;
        text.get(self.start as usize..end as usize)
    }
}

// SAFETY: numbers, and flags that are false.
unsafe impl Zeroed for LastPlace {}

impl LastPlace {
    /// A process that was moved shows its new cgroup within this time.
    const VALID_US: u64 = 900_000;
    const UNKNOWN: u64 = u64::MAX;

    fn recall<'m>(&self, arena: &mut Arena<'m>) -> Result<Place<'m>, Errno> {
        let text = self.text.get(..self.length).unwrap_or_default();
        let copy = arena.piece(text.len())?;
        copy.copy_from_slice(text);
        let copy: &'m [u8] = copy;
        let homes = self.homes.map(|home| {
            home.known.then_some(Home {
                unified: home.unified,
                root: home.root,
                directory: home.directory(copy)?,
                top: home.top as usize,
            })
        });
        Ok(Place {
            homes,
            pid_namespace: Some(self.pid_namespace).filter(|n| *n != Self::UNKNOWN),
        })
    }

    fn remember(&mut self, now_us: u64, place: &Place) {
        self.found_us = 0;
        self.identified = false;
        self.membership.process = 0;
        self.pid_namespace = place.pid_namespace.unwrap_or(Self::UNKNOWN);
        self.start_ticks = Self::UNKNOWN;
        self.alone = Self::UNKNOWN;
        let mut text = Out::new(&mut self.text);
        for (slot, home) in self.homes.iter_mut().zip(&place.homes) {
            let Some(home) = home else {
                slot.known = false;
                continue;
            };
            *slot = LastHome {
                known: true,
                unified: home.unified,
                root: home.root,
                start: text.len() as u32,
                length: home.directory.len() as u32,
                top: home.top as u32,
            };
            text.bytes(home.directory);
            // For the look whether it is still there.
            text.byte(0);
        }
        self.length = text.len();
        if text.finish().is_some() {
            self.found_us = now_us;
        }
    }

    /// Device and inode of each directory, zeros where there is none.
    fn directories_now(&self) -> [[u64; 2]; Controller::ALL.len()] {
        let mut last: Option<(&[u8], [u64; 2])> = None;
        self.homes.map(|home| {
            let Some(path) = home.directory(&self.text).filter(|_| home.known) else {
                return [0; 2];
            };
            // On the v2 tree all are one.
            if let Some((_, same)) = last.filter(|(before, _)| *before == path) {
                return same;
            }
            let status = self
                .text
                .get(home.start as usize..)
                .and_then(|path| CStr::from_bytes_until_nul(path).ok())
                .and_then(|path| sys::status_of(path).ok());
            let found = status.map_or([0; 2], |status| [status.st_dev, status.st_ino]);
            last = Some((path, found));
            found
        })
    }

    /// True if what is remembered is `place`.
    fn is(&self, place: &Place) -> bool {
        self.found_us != 0
            && self.homes.iter().zip(&place.homes).all(|(mine, theirs)| {
                let mine = mine.directory(&self.text).filter(|_| mine.known);
                mine == theirs.map(|home| home.directory)
            })
    }

    fn identity(&self, place: &Place) -> Option<Identity> {
        (self.identified && self.is(place)).then_some(self.identity)
    }
}
