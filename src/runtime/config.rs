//! Reads the settings once, when the program first uses a virtual file or call: `/etc/proclens.conf`,
//! and the environment as it is then, which overrides the file. The strings are copied because programs
//! overwrite their environment in place.

use crate::mem::{Arena, map_before_block};
use crate::runtime::log;
use crate::settings::{Log, Settings, could_be_setting, is_setting};
use crate::sys::signals::Blocked;
use crate::sys::{self, Errno};
use once_cell::race::OnceRef;

/// Settings for a whole image. The environment overrides them.
pub const FILE: &core::ffi::CStr = c"/etc/proclens.conf";

/// The libraries that every program loads, ld.so(8).
pub const EVERYONES_PRELOAD: &core::ffi::CStr = c"/etc/ld.so.preload";

/// Bytes of memory for the settings: the file, the copied environment and the parsed values.
const MEMORY: usize = 16 << 10;
/// The most bytes of the file that are read, so that space is left for the environment.
pub const MOST_OF_FILE: usize = 12 << 10;

static SETTINGS: OnceRef<'static, Settings<'static>> = OnceRef::new();

/// The settings of this process if they have been read.
pub fn known() -> Option<&'static Settings<'static>> {
    SETTINGS.get()
}

/// Calls a function with each environment string.
pub type Environment<'a> = &'a dyn Fn(&mut dyn FnMut(&[u8]));

/// Returns the settings of this process. Calls `environment` only the first time. Signals are blocked, because a
/// handler that leaves with `siglongjmp` would leak the file or the memory.
pub fn settings(_signals: &Blocked, environment: Environment) -> &'static Settings<'static> {
    SETTINGS
        .get_or_try_init(|| read(environment))
        .unwrap_or(&Settings::DEFAULT)
}

fn read(environment: Environment) -> Result<&'static Settings<'static>, Errno> {
    let memory: *mut [u8] = core::ptr::slice_from_raw_parts_mut(map_before_block(MEMORY)?, MEMORY);
    // SAFETY: new memory of that length. Nothing else uses it, and it is never unmapped.
    let mut arena = Arena::new(unsafe { &mut *memory });
    let file = sys::open_regular(FILE)
        .and_then(|file| {
            arena.read_into(|buffer| {
                sys::read(
                    file.raw(),
                    buffer.get_mut(..MOST_OF_FILE).unwrap_or_default(),
                )
            })
        })
        .unwrap_or_default();
    let copy = copied(environment, &mut arena);
    let parsed = |reporter: Option<&Settings>| {
        Settings::of(file, entries(copy), |entry| {
            if let Some(settings) = reporter {
                log::ignored(settings, entry);
            }
        })
    };
    let mut settings = parsed(None);
    if settings.log > Log::Off {
        log::prepare(&mut arena);
        parsed(Some(&settings));
        // Unknown names, and what did not fit.
        environment(&mut |entry| {
            let is_copied = || entries(copy).any(|copied| copied == entry);
            if could_be_setting(entry) && !is_copied() {
                log::ignored(&settings, entry);
            }
        });
    }
    let (mut buffer, mut link) = ([0; 64], [0; 512]);
    if settings.skip.is_some()
        && sys::own_path(b"exe", &mut buffer)
            .and_then(|exe| sys::read_link(exe, &mut link))
            .is_ok_and(|path| settings.skips(path))
    {
        settings.on = false;
    }
    #[cfg(feature = "preload")]
    if sys::link::has_copy_behind() {
        settings.on = false;
    }
    arena.keep(settings)
}

/// Copies the settings, each with a NUL at its end. A string that does not fit is skipped.
fn copied(environment: Environment, arena: &mut Arena<'static>) -> &'static [u8] {
    arena
        .read_into(|buffer| {
            let mut used = 0usize;
            environment(&mut |entry| {
                let end = used.saturating_add(entry.len());
                if is_setting(entry)
                    && let Some([space @ .., last]) = buffer.get_mut(used..=end)
                {
                    for (to, from) in space.iter_mut().zip(entry) {
                        *to = *from;
                    }
                    *last = 0;
                    used = end.saturating_add(1);
                }
            });
            Ok(used)
        })
        .unwrap_or_default()
}

fn entries(copy: &'static [u8]) -> impl Iterator<Item = &'static [u8]> {
    copy.split(|b| *b == 0)
}
