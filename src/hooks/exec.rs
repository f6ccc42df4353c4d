//! Functions that start a program: the preload stays in an environment from which it was wiped
//! (`env -i`, `su -`, `subprocess(env={})`), together with the settings. An environment that
//! still has it is passed on untouched, and one with `PROCLENS=off` is the caller's word.
//!
//! Everything is built on the stack: a `vfork` child runs here in its parent's memory, and what
//! it would map its parent would have to give back. A list that is too long for that is kept.

use super::environment::{self, settings};
use crate::config;
use crate::files::last_component;
use crate::sys::link::{self, Name, Next};
use crate::sys::memory::{LongList, is_list_of_strings, strings};
use crate::sys::{self, arch};
use crate::text::{Out, cut};
use core::ffi::{CStr, c_char, c_int};
use core::ptr::null;

/// An environment as `execve` takes it: C strings, and a null pointer at the end.
type Environment = *const *const c_char;

/// Pointers that are put on the stack; more than that go to memory that is kept.
const ON_STACK: usize = 192;
/// For `LD_PRELOAD=…`.
const TEXT: usize = 768;
const PRELOAD: &[u8] = b"LD_PRELOAD";

/// What to do with an environment. Called by its address: eleven functions share what is below.
type Go<'a> = &'a mut dyn FnMut(Environment) -> c_int;

/// Calls `go` with an environment that has the preload.
///
/// # Safety
/// `given` must be an environment or null.
#[inline(never)]
pub unsafe fn with_preload(given: Environment, go: Go) -> c_int {
    // What is not there is for the kernel to say; the program's own is there.
    if !given.is_null() && given != environment::current() && !is_list_of_strings(given) {
        return go(given);
    }
    // SAFETY: the caller's.
    let entries = || unsafe { strings(given) };
    let theirs = entries().find_map(|entry| value_of(entry, PRELOAD));
    let Some(own) = link::own_path() else {
        return go(given);
    };
    let name = last_component(own.to_bytes());
    let ours = |path: &&[u8]| last_component(path) == name;
    if theirs.is_some_and(|list| paths(list).any(|path| ours(&path))) {
        return go(given);
    }
    let refused = entries().any(|entry| entry == b"PROCLENS=off");
    if refused || !settings().on || is_preloaded_by_file(own) {
        return go(given);
    }
    // As it was spelled for this process, if that is still to be read: `$LIB` finds the right
    // library for a 32-bit program too.
    let spelled = environment::entries()
        .find_map(|entry| value_of(entry, PRELOAD))
        .and_then(|list| paths(list).find(ours))
        .unwrap_or(own.to_bytes());
    // In a root without the library, the linker would complain.
    if !own.to_bytes().starts_with(b"/") || !sys::exists(own) {
        return go(given);
    }
    let mut text = [0u8; TEXT];
    let mut line = Out::new(&mut text);
    line.bytes(PRELOAD);
    line.byte(b'=');
    line.bytes(spelled);
    if let Some(theirs) = theirs.filter(|list| !list.is_empty()) {
        line.byte(b':');
        line.bytes(theirs);
    }
    line.byte(0);
    let Some(line) = line.finish() else {
        return go(given);
    };
    let kept = environment::entries().filter(|setting| {
        setting.starts_with(b"PROCLENS")
            && cut(setting, b'=')
                .is_some_and(|(name, _)| entries().all(|entry| value_of(entry, name).is_none()))
    });
    let pointers = core::iter::once(line.as_ptr().cast())
        .chain(kept.map(|setting| setting.as_ptr().cast()))
        .chain(
            entries()
                .filter(|entry| value_of(entry, PRELOAD).is_none())
                .map(|entry| entry.as_ptr().cast()),
        );
    match with_list(pointers, go) {
        Some(result) => result,
        None => go(given),
    }
}

/// The same for a function that may refuse to do without an environment (glibc's `fexecve`): what it says
/// then stays what it says.
///
/// # Safety
/// As [`with_preload`].
pub unsafe fn with_preload_unless_null(given: Environment, go: Go) -> c_int {
    if given.is_null() {
        return go(given);
    }
    // SAFETY: the caller's.
    unsafe { with_preload(given, go) }
}

/// Calls `go` with a list of pointers that ends with null; `None` where there is no room for it.
fn with_list(pointers: impl Iterator<Item = *const c_char> + Clone, go: Go) -> Option<c_int> {
    let ended = || pointers.clone().chain(core::iter::once(null()));
    let count = ended().count();
    let mut few = [null(); ON_STACK];
    if let Some(list) = few.get_mut(..count) {
        list.iter_mut()
            .zip(ended())
            .for_each(|(slot, pointer)| *slot = pointer);
        return Some(go(few.as_ptr()));
    }
    let mut long = LongList::take(super::errno_place() as usize, count).ok()?;
    let list = long.pointers();
    list.iter_mut()
        .zip(ended())
        .for_each(|(slot, pointer)| *slot = pointer);
    Some(go(list.as_ptr()))
}

/// What follows `name=`.
fn value_of<'e>(entry: &'e [u8], name: &[u8]) -> Option<&'e [u8]> {
    entry.strip_prefix(name)?.strip_prefix(b"=")
}

/// The entries of an LD_PRELOAD: spaces and colons part them.
fn paths(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|b| matches!(b, b':' | b' '))
        .filter(|path| !path.is_empty())
}

/// True if `ld.so.preload` names this library: then every program gets it anyway.
fn is_preloaded_by_file(own: &CStr) -> bool {
    let name = last_component(own.to_bytes());
    let mut text = [0; 1024];
    let Ok(file) = sys::open(config::EVERYONES_PRELOAD) else {
        return false;
    };
    let Ok(length) = sys::read(file.raw(), &mut text) else {
        return false;
    };
    text.get(..length).is_some_and(|text| {
        text.split(|b| matches!(b, b':' | b' ' | b'\t' | b'\n'))
            .any(|path| last_component(path) == name)
    })
}

/// `execv`: the environment of the process goes along.
///
/// # Safety
/// As `execv(3)`; `next` is libc's.
pub unsafe fn execv(
    next: unsafe extern "C" fn(*const c_char, Environment) -> c_int,
    path: *const c_char,
    arguments: Environment,
) -> c_int {
    static EXECVE: Next = Next::new();
    // SAFETY: the caller's; execv is execve with environ.
    unsafe {
        let address = EXECVE.address(const { Name::of(c"execve") });
        own_environment(address, path, arguments, &|| next(path, arguments))
    }
}

/// `execvp`: the same, and the path is searched for.
///
/// # Safety
/// As `execvp(3)`; `next` is libc's.
pub unsafe fn execvp(
    next: unsafe extern "C" fn(*const c_char, Environment) -> c_int,
    path: *const c_char,
    arguments: Environment,
) -> c_int {
    static EXECVPE: Next = Next::new();
    // SAFETY: the caller's; execvp is execvpe with environ.
    unsafe {
        let address = EXECVPE.address(const { Name::of(c"execvpe") });
        own_environment(address, path, arguments, &|| next(path, arguments))
    }
}

/// # Safety
/// `address` must be that of libc's `execve` or `execvpe`, or null, and the arguments theirs.
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
    // SAFETY: the caller's; `environ` is an environment.
    unsafe {
        with_preload(current, &mut |environment| {
            if environment == current {
                return without();
            }
            core::mem::transmute::<*mut (), Exec>(address)(path, arguments, environment)
        })
    }
}

/// Which of the functions with a list of arguments was called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Execl,
    Execlp,
    Execle,
}

/// `execl`, called from [`crate::sys::arch`] with its arguments from `registers` and `stack`.
///
/// # Safety
/// As `execl(3)`.
pub unsafe extern "C" fn execl(
    path: *const c_char,
    registers: Environment,
    stack: Environment,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { listed(Listed::Execl, path, registers, stack) }
}

/// `execlp`; see [`execl`].
///
/// # Safety
/// As `execlp(3)`.
pub unsafe extern "C" fn execlp(
    path: *const c_char,
    registers: Environment,
    stack: Environment,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { listed(Listed::Execlp, path, registers, stack) }
}

/// `execle`; see [`execl`].
///
/// # Safety
/// As `execle(3)`.
pub unsafe extern "C" fn execle(
    path: *const c_char,
    registers: Environment,
    stack: Environment,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { listed(Listed::Execle, path, registers, stack) }
}

/// # Safety
/// `registers` and `stack` must be the arguments after the path, where the processor's calling
/// convention put them.
unsafe fn listed(
    which: Listed,
    path: *const c_char,
    registers: Environment,
    stack: Environment,
) -> c_int {
    type Exec = unsafe extern "C" fn(*const c_char, Environment, Environment) -> c_int;
    static EXECVE: Next = Next::new();
    static EXECVPE: Next = Next::new();
    // SAFETY: the caller's: the list is read up to its null, and for execle one further.
    let argument = move |i: usize| unsafe {
        if i < arch::LISTED_IN_REGISTERS {
            *registers.wrapping_add(i)
        } else {
            *stack.wrapping_add(i.wrapping_sub(arch::LISTED_IN_REGISTERS))
        }
    };
    let arguments = (0..).map(argument).take_while(|pointer| !pointer.is_null());
    let address = match which {
        Listed::Execlp => EXECVPE.address(const { Name::of(c"execvpe") }),
        Listed::Execl | Listed::Execle => EXECVE.address(const { Name::of(c"execve") }),
    };
    if address.is_null() {
        return -1;
    }
    let environment = if which == Listed::Execle {
        argument(arguments.clone().count().wrapping_add(1)).cast()
    } else {
        environment::current()
    };
    let mut go = |list: Environment| {
        // SAFETY: an environment, by execle's contract or because it is `environ`; and libc's exec.
        unsafe {
            with_preload(environment, &mut |environment| {
                core::mem::transmute::<*mut (), Exec>(address)(path, list, environment)
            })
        }
    };
    with_list(arguments, &mut go).unwrap_or_else(|| {
        super::set_errno(libc::ENOMEM);
        -1
    })
}
