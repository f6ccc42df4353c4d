//! The live [`Kernel`]: its files by system calls, and what a process remembers between two
//! answers. What is remembered is small, has no lock that anyone waits for, and is named in
//! ARCHITECTURE.md with its reason.

use crate::gather::{self, Controller, Home, Kernel, Place};
use crate::ledger::{Ledger, Sample};
use crate::load;
use crate::log::{Failure, Trouble};
use crate::sampler;
use crate::settings::Settings;
use crate::snapshot::{Load, SwapTraffic, Tasks};
use crate::state::record::LEDGERS_SIZE;
use crate::state::{self, Store};
use crate::sys::memory::{Arena, TryCell, Zeroed, forget_on_fork, work_in_block};
use crate::sys::{self, Errno};
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
        let file = sys::open(path)?;
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
        let file = sys::open(path)?;
        arena.fill(|room| sys::read_whole(file.raw(), room))
    }

    fn read_link<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
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
        let remembered = memory().ok().and_then(|m| m.place.take());
        if let Some(place) = remembered
            .as_ref()
            .and_then(|last| last.recall(now_us, arena))
        {
            return Ok(place);
        }
        let place = gather::locate(self, arena)?;
        if let Some(mut last) = remembered {
            last.remember(now_us, &place);
        }
        Ok(place)
    }

    fn tasks(&self, place: &Place, arena: &mut Arena) -> Result<Tasks, Errno> {
        tasks::count(place, arena)
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
        let room = arena
            .piece(LEDGERS_SIZE)
            .map_err(|e| (Trouble::NoMemory, e))?;
        let mut enter = |ledger: &mut Ledger| match &store {
            Ok(store) => store.account(key(settings), sample, ledger, room),
            Err(_) => ledger.advance(sample),
        };
        if let Some(mut ledger) = memory().ok().and_then(|m| m.ledger.take()) {
            enter(&mut ledger);
            return with(&ledger, arena);
        }
        // Another thread is at it, or this is a signal handler in its middle: the answer that needs
        // no past of this process.
        let ledger = arena
            .zeroed::<Ledger>()
            .map_err(|e| (Trouble::NoMemory, e))?;
        enter(ledger);
        with(ledger, arena)
    }

    fn swap_traffic(&self, pages_in: u64, used: u64) -> SwapTraffic {
        let Some(mut last) = memory().ok().and_then(|m| m.swap.take()) else {
            return SwapTraffic::default().later(pages_in, 0, used);
        };
        let before = SwapTraffic {
            pages_in: last.pages_in,
            pages_out: last.pages_out,
        };
        let now = before.later(pages_in, last.used, used);
        *last = LastSwap {
            pages_in: now.pages_in,
            pages_out: now.pages_out,
            used,
        };
        now
    }

    fn page_size(&self) -> NonZero<u64> {
        sys::page_size()
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
            || may_start(settings, place),
            start,
        )
    }
}

/// The shared state of the container at `place`.
fn store<'s>(
    place: &Place,
    settings: &Settings<'s>,
    arena: &mut Arena,
) -> Result<Store<'s>, Errno> {
    state::identify(place, arena).map(|identity| Store {
        directory: settings.state,
        identity,
    })
}

/// A number for the settings under which accounts differ.
fn key(settings: &Settings) -> u64 {
    let quota_us = settings.cpus.map_or(0, |quota| quota.quota_us);
    quota_us
        .wrapping_mul(4)
        .wrapping_add(settings.rounding as u64)
}

/// Only the library's own file can be executed as a sampler; the tool says what it finds.
#[cfg(feature = "preload")]
use sampler::helper::{may_start, start_sampler};

#[cfg(not(feature = "preload"))]
fn may_start(_: &Settings, _: &Place) -> bool {
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
    ledger: TryCell<Ledger>,
    swap: TryCell<LastSwap>,
}

/// Swap traffic, in pages: what went out is counted from one reading to the next.
#[repr(C)]
struct LastSwap {
    pages_in: u64,
    pages_out: u64,
    used: u64,
}

// SAFETY: numbers.
unsafe impl Zeroed for LastSwap {}

// SAFETY: all parts are.
unsafe impl Zeroed for Memory {}
// SAFETY: numbers only; an empty ledger is all zeros (`Ledger::is_empty`).
unsafe impl Zeroed for Ledger {}

fn memory() -> Result<&'static Memory, Errno> {
    static MEMORY: OnceRef<'static, Memory> = OnceRef::new();
    MEMORY.get_or_try_init(forget_on_fork)
}

/// Where the container was found last. Finding it costs more than most answers: `mountinfo` alone
/// takes the kernel 64 µs.
#[repr(C)]
struct LastPlace {
    /// When, on the coarse clock; 0 is never.
    found_us: u64,
    initial_pid_namespace: bool,
    start_ticks: u64,
    homes: [LastHome; Controller::ALL.len()],
    /// The directories, one after the other.
    text: [u8; 2048],
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

// SAFETY: numbers, and flags that are false.
unsafe impl Zeroed for LastPlace {}

impl LastPlace {
    /// A process that was moved shows its new cgroup within this time.
    const VALID_US: u64 = 900_000;
    const HIDDEN: u64 = u64::MAX;

    fn recall<'m>(&self, now_us: u64, arena: &mut Arena<'m>) -> Option<Place<'m>> {
        if self.found_us == 0 || now_us.wrapping_sub(self.found_us) > Self::VALID_US {
            return None;
        }
        let copy = arena.piece(self.text.len()).ok()?;
        for (to, from) in copy.iter_mut().zip(&self.text) {
            *to = *from;
        }
        let copy: &'m [u8] = copy;
        let homes = self.homes.map(|home| {
            let end = home.start.checked_add(home.length)?;
            let directory = copy.get(home.start as usize..end as usize)?;
            home.known.then_some(Home {
                unified: home.unified,
                root: home.root,
                directory,
                top: home.top as usize,
            })
        });
        Some(Place {
            homes,
            initial_pid_namespace: self.initial_pid_namespace,
            start_ticks: Some(self.start_ticks).filter(|t| *t != Self::HIDDEN),
        })
    }

    fn remember(&mut self, now_us: u64, place: &Place) {
        self.found_us = 0;
        self.initial_pid_namespace = place.initial_pid_namespace;
        self.start_ticks = place.start_ticks.unwrap_or(Self::HIDDEN);
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
        }
        // A path too long to be remembered is looked for each time.
        if text.finish().is_some() {
            self.found_us = now_us;
        }
    }
}
