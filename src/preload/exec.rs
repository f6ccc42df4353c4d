//! Functions that start a program. A program that builds a new environment for its child (`env -i`, `su -`,
//! `subprocess(env={})`) does not mean to switch the library off, so these functions add the preload and
//! the settings again. If an environment lacks only `LD_PRELOAD`, the program removed it on purpose, and
//! the environment is passed on unchanged. README, "Switching it off", states the rule.
//!
//! Everything is built on the stack. A `vfork` child runs this code in its parent's memory, so the parent
//! would have to free whatever the child maps.

use super::environment::{
    self, Environment, Ours, at_start, is_readable, is_rebuilt, strings_about_us,
};
use super::start_environment::{PRELOAD, name_of, value_of};
use crate::procfs::files::last_component;
use crate::sys::c_string::{is_list_of_strings, strings, terminated};
use crate::sys::link::{self, Name, Next};
use crate::sys::{self, arch};
use crate::text::{Out, cut};
use core::ffi::{CStr, c_char, c_int};
use core::ptr::null;

/// Pointers in a list of ordinary length.
const FEW: usize = 192;
/// Pointers in a long list. A longer list is passed on unchanged.
const MANY: usize = 1024;
/// Bytes for `LD_PRELOAD=…`.
const LINE: usize = 768;
/// Bytes for a shell command with the variables in front.
const COMMAND: usize = 4096;

/// What to do with an environment. A trait object, so that many functions share the code below.
type Go<'a> = &'a mut dyn FnMut(Environment) -> c_int;

/// What an environment lacks.
struct Missing {
    /// The path of this library, as this process received it.
    preload: Option<&'static [u8]>,
    settings: Ours,
}

/// What must be added to the environment `given`; `None` if it lacks nothing. This looks only at `given` and at
/// the environment at the start, not at `environ`: another thread may change it meanwhile, and free what it
/// holds.
///
/// # Safety
/// `given` must be an environment or null. Parts of it may be unreadable.
#[inline(never)]
unsafe fn missing(given: Environment) -> Option<Missing> {
    let own = link::own_path()?;
    if link::is_secure() || at_start().next().is_none() {
        return None;
    }
    // The kernel refuses an environment that cannot be read.
    if !given.is_null() && !is_list_of_strings(given, is_readable) {
        return None;
    }
    let name = last_component(own.to_bytes());
    let is_own = |path: &&[u8]| last_component(path) == name;
    // SAFETY: the caller guarantees it, and all of `given` is readable.
    let is_there = |entry: &CStr| unsafe { is_in(given, entry, &is_own) };
    // Nearly every environment has everything. To find that out costs less than to find out what applies.
    if at_start().all(is_there) {
        return None;
    }
    let (mut has_preload, mut has_own) = (false, false);
    // SAFETY: as above.
    for entry in unsafe { strings(given) } {
        if let Some(list) = value_of(entry.to_bytes(), PRELOAD) {
            let mut libraries = paths(list).peekable();
            // An empty list: the program switched the preload off on purpose.
            libraries.peek()?;
            // Other libraries do not replace this one: keep it beside them.
            has_preload = true;
            has_own |= libraries.any(|path| is_own(&path));
        }
        if entry == c"PROCLENS=off" {
            return None;
        }
    }
    // SAFETY: as above.
    let rebuilt = unsafe { is_rebuilt(given) };
    // The path keeps its spelling: `$LIB` finds the right library for a 32-bit program too. It is `None` if
    // /etc/ld.so.preload loads the library, because the next program gets it anyway.
    let mut preload = None;
    let mut settings = Ours::NONE;
    for entry in at_start() {
        match value_of(entry.to_bytes(), PRELOAD) {
            Some(list) if !has_own && (rebuilt || has_preload) => {
                preload = preload.or_else(|| paths(list).find(is_own));
            }
            None if rebuilt && !is_there(entry) => settings.add(entry),
            _ => {}
        }
    }
    // In a root directory without the library, the linker would print an error. This check uses the same
    // system call as the linker's look-up of /etc/ld.so.preload, so a filter that allows starting a program
    // allows it too.
    if preload.is_some() && !(own.to_bytes().starts_with(b"/") && sys::exists(own)) {
        preload = None;
    }
    (preload.is_some() || !settings.is_empty()).then_some(Missing { preload, settings })
}

/// True if the environment `given` needs no `entry`: it sets the same setting, or also preloads this library.
/// `is_own` is true for the paths of this library.
///
/// # Safety
/// `given` must be an environment or null.
unsafe fn is_in(given: Environment, entry: &CStr, is_own: &dyn Fn(&&[u8]) -> bool) -> bool {
    let preloads = |entry: &CStr| {
        value_of(entry.to_bytes(), PRELOAD)
            .is_some_and(|list| paths(list).any(|path| is_own(&path)))
    };
    let name = name_of(entry.to_bytes());
    // SAFETY: the caller guarantees it.
    let mut those = unsafe { strings_about_us(given) };
    if name == PRELOAD {
        !preloads(entry) || those.any(preloads)
    } else {
        those.any(|that| name_of(that.to_bytes()) == name)
    }
}

/// Calls `go` with the environment `given` and everything that it lacks.
///
/// # Safety
/// `given` must be an environment or null.
#[inline(never)]
pub unsafe fn with_preload(given: Environment, go: Go) -> c_int {
    // SAFETY: the caller guarantees it.
    unsafe {
        match missing(given) {
            Some(missing) => completed(given, &missing, go),
            None => go(given),
        }
    }
}

/// # Safety
/// As for [`with_preload`].
#[inline(never)]
unsafe fn completed(given: Environment, missing: &Missing, go: Go) -> c_int {
    let mut text = [0u8; LINE];
    let mut line = Out::new(&mut text);
    if let Some(preload) = missing.preload {
        line.bytes(PRELOAD);
        line.byte(b'=');
        // SAFETY: the caller guarantees it.
        let mut entries = unsafe { strings(given) };
        if let Some(theirs) = entries.find_map(|entry| value_of(entry.to_bytes(), PRELOAD)) {
            line.bytes(theirs);
            line.byte(b':');
        }
        line.bytes(preload);
        line.byte(0);
    }
    let Some(line) = line.finish() else {
        return go(given);
    };
    // SAFETY: the caller guarantees it.
    let length = unsafe { strings(given) }.count();
    let settings = missing.settings.strings().count();
    // One more for `line`.
    let most = length.saturating_add(settings).saturating_add(1);
    // SAFETY: the caller guarantees it.
    unsafe {
        match most {
            ..FEW => with_list::<FEW>(given, line, missing, go),
            FEW..MANY => with_list::<MANY>(given, line, missing, go),
            _ => go(given),
        }
    }
}

/// Calls `go` with a list on the stack: the preload in `line`, the settings and `given`. The list has fewer
/// than `N` pointers, and the null pointer at the end.
///
/// # Safety
/// As for [`with_preload`].
#[inline(never)]
unsafe fn with_list<const N: usize>(
    given: Environment,
    line: &[u8],
    missing: &Missing,
    go: Go,
) -> c_int {
    let mut list = [null(); N];
    let mut slots = list.iter_mut();
    let mut add = |string: *const c_char| {
        if let Some(slot) = slots.next() {
            *slot = string;
        }
    };
    if !line.is_empty() {
        add(line.as_ptr().cast());
    }
    for setting in missing.settings.strings() {
        add(setting.as_ptr());
    }
    // SAFETY: the caller guarantees it.
    for entry in unsafe { strings(given) } {
        if line.is_empty() || value_of(entry.to_bytes(), PRELOAD).is_none() {
            add(entry.as_ptr());
        }
    }
    go(list.as_ptr())
}

/// As [`with_preload`], for a function that may refuse a null environment (glibc's `fexecve`): its error is
/// preserved.
///
/// # Safety
/// As for [`with_preload`].
pub unsafe fn with_preload_unless_null(given: Environment, go: Go) -> c_int {
    if given.is_null() {
        return go(given);
    }
    // SAFETY: the caller guarantees it.
    unsafe { with_preload(given, go) }
}

/// Calls `go` with a command for the shell that `system` and `popen` start with `environ`. If `environ`
/// lacks the preload or settings, the command exports them first.
///
/// # Safety
/// `command` must be a C string or null.
pub unsafe fn with_exports(command: *const c_char, go: &mut dyn FnMut(*const c_char)) {
    // SAFETY: `environ` is an environment.
    let missing = unsafe { missing(environment::current()) };
    match missing.filter(|_| !command.is_null()) {
        // SAFETY: the caller guarantees it.
        Some(missing) => unsafe { exported(terminated(command), &missing, go) },
        None => go(command),
    }
}

#[inline(never)]
fn exported(command: &CStr, missing: &Missing, go: &mut dyn FnMut(*const c_char)) {
    let mut text = [0u8; COMMAND];
    let mut line = Out::new(&mut text);
    if let Some(preload) = missing.preload {
        export(PRELOAD, preload, &mut line);
    }
    for setting in missing.settings.strings() {
        if let Some((name, value)) = cut(setting.to_bytes(), b'=') {
            export(name, value, &mut line);
        }
    }
    line.bytes(command.to_bytes_with_nul());
    match line.finish() {
        Some(line) => go(line.as_ptr().cast()),
        None => go(command.as_ptr()),
    }
}

/// Writes `export NAME='value';`.
fn export(name: &[u8], value: &[u8], line: &mut Out) {
    let is_identifier = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    if !name.iter().all(is_identifier) {
        return;
    }
    line.bytes(b"export ");
    line.bytes(name);
    line.bytes(b"='");
    for (i, part) in value.split(|b| *b == b'\'').enumerate() {
        if i > 0 {
            line.bytes(b"'\\''");
        }
        line.bytes(part);
    }
    line.bytes(b"'; ");
}

/// The entries of an LD_PRELOAD list, separated by spaces and colons.
fn paths(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|b| matches!(b, b':' | b' '))
        .filter(|path| !path.is_empty())
}

/// `execv`: passes on the environment of the process.
///
/// # Safety
/// As for `execv(3)`; `next` is libc's.
pub unsafe fn execv(
    next: unsafe extern "C" fn(*const c_char, Environment) -> c_int,
    path: *const c_char,
    arguments: Environment,
) -> c_int {
    static EXECVE: Next = Next::new();
    // SAFETY: the caller guarantees it; execv is execve with environ.
    unsafe {
        let address = EXECVE.address(const { Name::of(c"execve") });
        own_environment(address, path, arguments, &|| next(path, arguments))
    }
}

/// `execvp`: as [`execv`], with a search for the path.
///
/// # Safety
/// As for `execvp(3)`; `next` is libc's.
pub unsafe fn execvp(
    next: unsafe extern "C" fn(*const c_char, Environment) -> c_int,
    path: *const c_char,
    arguments: Environment,
) -> c_int {
    static EXECVPE: Next = Next::new();
    // SAFETY: the caller guarantees it; execvp is execvpe with environ.
    unsafe {
        let address = EXECVPE.address(const { Name::of(c"execvpe") });
        own_environment(address, path, arguments, &|| next(path, arguments))
    }
}

/// # Safety
/// `address` must be that of libc's `execve` or `execvpe`, or null. The other arguments must be valid for
/// it.
unsafe fn own_environment(
    address: *mut (),
    path: *const c_char,
    arguments: Environment,
    without: &dyn Fn() -> c_int,
) -> c_int {
    type Exec = unsafe extern "C" fn(*const c_char, Environment, Environment) -> c_int;
    if address.is_null() {
        return without();
    }
    let current = environment::current();
    // SAFETY: the caller guarantees it; `environ` is an environment.
    unsafe {
        with_preload(current, &mut |environment| {
            if environment == current {
                return without();
            }
            core::mem::transmute::<*mut (), Exec>(address)(path, arguments, environment)
        })
    }
}

/// The variadic function that was called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Execl,
    Execlp,
    Execle,
}

arch::define_listed! {
    execl => execl_gathered,
    execlp => execlp_gathered,
    execle => execle_gathered,
}

/// `execl`, with all its arguments after the path in one list.
///
/// # Safety
/// As for `execl(3)`.
unsafe extern "C" fn execl_gathered(path: *const c_char, arguments: Environment) -> c_int {
    // SAFETY: the caller guarantees it.
    unsafe { listed(Listed::Execl, path, arguments) }
}

/// `execlp`; see [`execl_gathered`].
///
/// # Safety
/// As for `execlp(3)`.
unsafe extern "C" fn execlp_gathered(path: *const c_char, arguments: Environment) -> c_int {
    // SAFETY: the caller guarantees it.
    unsafe { listed(Listed::Execlp, path, arguments) }
}

/// `execle`; see [`execl_gathered`].
///
/// # Safety
/// As for `execle(3)`.
unsafe extern "C" fn execle_gathered(path: *const c_char, arguments: Environment) -> c_int {
    // SAFETY: the caller guarantees it.
    unsafe { listed(Listed::Execle, path, arguments) }
}

/// # Safety
/// `arguments` must be the arguments after the path, followed by a null pointer and, for `execle`, by the
/// environment.
unsafe fn listed(which: Listed, path: *const c_char, arguments: Environment) -> c_int {
    type Exec = unsafe extern "C" fn(*const c_char, Environment, Environment) -> c_int;
    static EXECVE: Next = Next::new();
    static EXECVPE: Next = Next::new();
    let address = match which {
        Listed::Execlp => EXECVPE.address(const { Name::of(c"execvpe") }),
        Listed::Execl | Listed::Execle => EXECVE.address(const { Name::of(c"execve") }),
    };
    if address.is_null() {
        super::errno::set_errno(libc::ENOSYS);
        return -1;
    }
    let environment = if which == Listed::Execle {
        let mut end = arguments;
        // SAFETY: the caller guarantees that the list has an end and that the environment follows it.
        unsafe {
            while !(*end).is_null() {
                end = end.wrapping_add(1);
            }
            (*end.wrapping_add(1)).cast()
        }
    } else {
        environment::current()
    };
    // SAFETY: an environment, by execle's contract or because it is `environ`; and libc's function.
    unsafe {
        with_preload(environment, &mut |environment| {
            core::mem::transmute::<*mut (), Exec>(address)(path, arguments, environment)
        })
    }
}
