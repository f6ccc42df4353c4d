//! The program's environment: the current value of libc's `environ`. If the program has emptied `environ`,
//! the environment that the program started with.

use super::start_environment::{PRELOAD, StartEnvironment, is_ours, name_of, value_of};
use crate::runtime::config;
use crate::settings::{PREFIX, Settings, is_setting};
use crate::sys::signals::{self, Blocked};
use crate::sys::{self, c_string, link};
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char};
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};

/// An environment as `execve` takes it: C strings, and a null pointer at the end.
pub type Environment = *const *const c_char;

/// The environment at the program's start.
struct Start {
    environment: StartEnvironment,
    /// Strings too long to be copied: pointers to the kernel's copies on the stack.
    long: [*const c_char; 4],
    /// The end of the last string: nearly the top of the first thread's stack.
    end: usize,
    /// Where the program's heap starts. 0 if this is not known, and on musl, which does not tell where it ends.
    heap: usize,
}

/// Only [`remember`] writes this value.
struct Remembered(UnsafeCell<Start>);

// SAFETY: the dynamic linker calls `remember` before it runs any code of the program, and so before a
// second thread exists. After that, the value is only read.
unsafe impl Sync for Remembered {}

static START: Remembered = Remembered(UnsafeCell::new(Start {
    environment: StartEnvironment::EMPTY,
    long: [null(); 4],
    end: 0,
    heap: 0,
}));

fn start() -> &'static Start {
    // SAFETY: written only before the program starts, see `Remembered`.
    unsafe { &*START.0.get() }
}

/// Remembers the environment at the program's start. `given` is what glibc passes to a function of DT_INIT.
/// musl passes nothing.
///
/// # Safety
/// Only the dynamic linker's call of `start` may call this. With glibc, `given` must be the program's
/// environment.
#[unsafe(link_section = ".text.hot")]
pub unsafe fn remember(given: Environment) {
    let list = if link::is_glibc() { given } else { current() };
    // SAFETY: no other thread exists; the list is the program's environment.
    let (start, entries) = unsafe { (&mut *START.0.get(), c_string::strings(list)) };
    if link::is_glibc() {
        start.heap = sys::heap_end().unwrap_or(0);
    }
    let mut long = start.long.iter_mut();
    for entry in entries {
        start.end = start
            .end
            .max((entry.as_ptr() as usize).wrapping_add(entry.count_bytes()));
        // A string elsewhere may be freed: the library was loaded late.
        if !start.environment.add(entry)
            && is_above_on_stack(entry.as_ptr() as usize, usize::MAX)
            && let Some(slot) = long.next()
        {
            *slot = entry.as_ptr();
        }
    }
}

/// True if the environment at the start enables messages.
#[unsafe(link_section = ".text.hot")]
pub fn asks_for_messages() -> bool {
    let mut ours = start().environment.ours();
    ours.any(|entry| value_of(entry.to_bytes(), b"PROCLENS_LOG").is_some())
}

/// The settings of this process.
pub fn settings() -> &'static Settings<'static> {
    config::known().unwrap_or_else(|| read_settings(&signals::block()))
}

/// The settings of this process if the library is switched on, and the signals that are blocked from now on.
/// `None` also on a signal stack with too little space left for what follows.
pub fn settings_if_on() -> Option<(&'static Settings<'static>, Blocked)> {
    if config::known().is_some_and(|known| !known.on) || !has_space() {
        return None;
    }
    let signals = signals::block();
    let settings = read_settings(&signals);
    settings.on.then_some((settings, signals))
}

/// True unless the caller is a signal handler on a stack of its own that ends too soon. On the first thread's
/// stack this needs no system call.
fn has_space() -> bool {
    /// No virtual file or value needs as much from here on: the most is 10.7 KiB. `SIGSTKSZ` is less.
    const NEEDED: usize = 12 << 10;
    let end = start().end;
    is_above_on_stack(end.saturating_sub(1), end) || signals::space_on_own_stack() >= NEEDED
}

fn read_settings(signals: &Blocked) -> &'static Settings<'static> {
    config::settings(signals, &|visit| {
        // Of a plugin that called `putenv` and was unloaded, `environ` keeps a pointer to unmapped memory.
        let mut list = current();
        if !c_string::is_list_of_strings(list, is_readable) {
            list = null();
        }
        // SAFETY: null, or a list of C strings that ends with a null pointer. All of it is readable, and
        // everything that is used after the hook is copied before the hook returns to the program.
        let (ours, strings) =
            unsafe { (ours(list), c_string::strings_with(list, [PRELOAD, PREFIX])) };
        ours.strings().for_each(|entry| visit(entry.to_bytes()));
        if !link::is_secure() {
            // Also strings with unknown names: a message reports them.
            strings
                .filter(|entry| !is_setting(entry.to_bytes()))
                .for_each(|entry| visit(entry.to_bytes()));
        }
    })
}

/// The value of libc's `environ`.
pub fn current() -> Environment {
    static VARIABLE: AtomicPtr<Environment> = AtomicPtr::new(null_mut());
    let mut variable = VARIABLE.load(Ordering::Relaxed);
    if variable.is_null() {
        variable = link::find_first(const { link::Name::of(c"environ") })
            .cast_mut()
            .cast();
        VARIABLE.store(variable, Ordering::Relaxed);
    }
    // SAFETY: `environ` is libc's variable of that type.
    unsafe { variable.as_ref().copied().unwrap_or(null()) }
}

/// Environment strings that concern this library.
pub struct Ours {
    strings: [Option<&'static CStr>; Ours::MOST],
    count: usize,
}

impl Ours {
    /// More than the number of settings, because a variable may be in an environment twice.
    const MOST: usize = 32;

    /// No strings.
    pub const NONE: Ours = Ours {
        strings: [None; Ours::MOST],
        count: 0,
    };

    /// Adds a string. Ignores it if the list is full.
    pub fn add(&mut self, entry: &'static CStr) {
        if let Some(slot) = self.strings.get_mut(self.count) {
            *slot = Some(entry);
            self.count = self.count.wrapping_add(1);
        }
    }

    /// The strings so far.
    pub fn strings(&self) -> impl Iterator<Item = &'static CStr> {
        self.strings.iter().map_while(|string| *string)
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// True if one of the strings sets the variable that `entry` sets.
    fn has(&self, entry: &CStr) -> bool {
        let name = name_of(entry.to_bytes());
        self.strings()
            .any(|string| name_of(string.to_bytes()) == name)
    }
}

/// The `LD_PRELOAD` and the settings that apply to this process: those in `list` and, if the program
/// emptied it, those it started with. Of several `LD_PRELOAD` entries, the first one that names this
/// library applies. A setuid program gets none of them: otherwise its caller could control what it trusts,
/// writes or starts.
///
/// # Safety
/// `list` must be a readable environment or null.
#[inline(never)]
unsafe fn ours(list: Environment) -> Ours {
    let mut ours = Ours::NONE;
    if link::is_secure() {
        return ours;
    }
    // SAFETY: the caller guarantees it.
    let rebuilt = unsafe {
        strings_about_us(list).for_each(|entry| ours.add(entry));
        is_rebuilt(list)
    };
    // Other libraries in LD_PRELOAD do not replace this one.
    let others = ours.strings().any(is_nonempty_preload);
    if !rebuilt && !others {
        return ours;
    }
    for entry in at_start() {
        if rebuilt && !ours.has(entry) || others && is_nonempty_preload(entry) {
            ours.add(entry);
        }
    }
    ours
}

/// The strings about this library in the environment `list`.
///
/// # Safety
/// `list` must be an environment or null.
pub unsafe fn strings_about_us(list: Environment) -> impl Iterator<Item = &'static CStr> {
    // SAFETY: the caller guarantees it.
    let strings = unsafe { c_string::strings_with(list, [PRELOAD, PREFIX]) };
    strings.filter(|entry| is_ours(entry.to_bytes()))
}

/// The strings about this library in the environment at the program's start.
pub fn at_start() -> impl Iterator<Item = &'static CStr> {
    let start = start();
    let long = start.long.iter().filter(|string| !string.is_null());
    // SAFETY: the kernel's copy of the string on the first thread's stack, which stays mapped and ends with
    // zeros. If the program has overwritten it, its first bytes differ, and the filter below drops it.
    let long = long.map(|string| unsafe { c_string::terminated(*string) });
    let long = long.filter(|entry| is_ours(entry.to_bytes()));
    start.environment.ours().chain(long)
}

fn is_nonempty_preload(entry: &CStr) -> bool {
    value_of(entry.to_bytes(), PRELOAD).is_some_and(|list| !list.is_empty())
}

/// True if the environment `list` was built anew, not derived from the one at the start.
///
/// # Safety
/// `list` must be an environment or null.
#[inline(never)]
pub unsafe fn is_rebuilt(list: Environment) -> bool {
    // SAFETY: the caller guarantees it.
    let entries = unsafe { c_string::strings(list) };
    start().environment.is_rebuilt(entries.map(CStr::to_bytes))
}

/// True if `address` is above this call on the first thread's stack and below `end`. That stack is mapped
/// from any call on it to its end, which holds the strings of the first environment.
fn is_above_on_stack(address: usize, end: usize) -> bool {
    /// The kernel maps nothing else this close to the top of the stack (`mmap_base`).
    const ONLY_STACK: usize = 8 << 20;
    let here = core::ptr::from_ref(&address) as usize;
    (here..end.min(here.saturating_add(ONLY_STACK))).contains(&address)
}

/// True if `address` is readable: on the first thread's stack, in the program's heap or in its image. For nearly all
/// environments this check needs no system call. Between image and heap there is a gap.
pub fn is_readable(address: usize) -> bool {
    static HEAP_END: AtomicPtr<usize> = AtomicPtr::new(null_mut());
    let Start { end, heap, .. } = *start();
    let on_first_stack = is_above_on_stack(end.saturating_sub(1), end);
    if on_first_stack && is_above_on_stack(address, end) {
        return true;
    }
    let mut heap_end = HEAP_END.load(Ordering::Relaxed);
    if heap_end.is_null() {
        // glibc's variable; musl has none.
        heap_end = link::find_first(const { link::Name::of(c"__curbrk") })
            .cast_mut()
            .cast();
        HEAP_END.store(heap_end, Ordering::Relaxed);
    }
    // SAFETY: null, or libc's variable of that type.
    let heap_end = unsafe { heap_end.as_ref().copied().unwrap_or(0) };
    heap != 0 && (heap..heap_end).contains(&address) || link::is_in_program(address)
}
