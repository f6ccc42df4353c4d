//! Reads the settings, once, when the program first asks about the machine: the environment as
//! it is then, and below it `/etc/proclens.conf`. What is kept is a copy: programs rewrite
//! their environment in place.

use crate::log;
use crate::settings::{Log, Settings};
use crate::sys::memory::Arena;
use crate::sys::{self, Errno};
use once_cell::race::OnceRef;

/// Below the environment, for settings that hold for a whole image.
pub const FILE: &core::ffi::CStr = c"/etc/proclens.conf";

/// The libraries that every program gets, ld.so(8).
pub const EVERYONES_PRELOAD: &core::ffi::CStr = c"/etc/ld.so.preload";

/// More than this of settings is not read.
const ROOM: usize = 16 << 10;
/// More than this of the file is not read, so that room is left for the environment.
pub const FILE_ROOM: usize = 12 << 10;

static SETTINGS: OnceRef<'static, Settings<'static>> = OnceRef::new();

/// The settings of this process. `environment` is asked for only the first time.
pub fn settings<'e, E: Iterator<Item = &'e [u8]>>(
    environment: impl Fn() -> E,
) -> &'static Settings<'static> {
    SETTINGS
        .get_or_try_init(|| read(environment()))
        .unwrap_or(&Settings::DEFAULT)
}

fn read<'e>(
    environment: impl Iterator<Item = &'e [u8]>,
) -> Result<&'static Settings<'static>, Errno> {
    let memory: *mut [u8] = core::ptr::slice_from_raw_parts_mut(sys::map(ROOM)?, ROOM);
    // SAFETY: a fresh mapping of that length, ours alone, never given back.
    let mut arena = Arena::new(unsafe { &mut *memory });
    let file = sys::open_regular(FILE)
        .and_then(|file| {
            arena.fill(|room| sys::read(file.raw(), room.get_mut(..FILE_ROOM).unwrap_or_default()))
        })
        .unwrap_or_default();
    let environment = copied(environment, &mut arena);
    let mut settings = Settings::of(file, entries(environment), |_| {});
    if settings.log > Log::Off {
        Settings::of(file, entries(environment), |entry| {
            log::ignored(&settings, entry);
        });
    }
    let (mut room, mut link) = ([0; 64], [0; 512]);
    if settings.skip.is_some()
        && sys::own_path(b"exe", &mut room)
            .and_then(|exe| sys::read_link(exe, &mut link))
            .is_ok_and(|path| settings.skips(path))
    {
        settings.on = false;
    }
    arena.keep(settings)
}

/// A copy of the strings that may be ours, each with a NUL at its end; as many as there is room
/// for.
fn copied<'e>(
    environment: impl Iterator<Item = &'e [u8]>,
    arena: &mut Arena<'static>,
) -> &'static [u8] {
    arena
        .fill(|room| {
            let mut used = 0usize;
            for entry in environment.filter(|entry| entry.starts_with(b"PROCLENS")) {
                let end = used.saturating_add(entry.len());
                let Some([space @ .., last]) = room.get_mut(used..=end) else {
                    break;
                };
                for (to, from) in space.iter_mut().zip(entry) {
                    *to = *from;
                }
                *last = 0;
                used = end.saturating_add(1);
            }
            Ok(used)
        })
        .unwrap_or_default()
}

fn entries(copy: &'static [u8]) -> impl Iterator<Item = &'static [u8]> {
    copy.split(|b| *b == 0)
}
