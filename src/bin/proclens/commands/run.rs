//! `proclens run`: starts a program so that it sees the container, in the cheapest way that works for the
//! program.

use crate::commands::check::{found_in_path, run_by_env};
use crate::commands::install::{LIBRARY, PRELOAD, beside, paths_in_preload};
use crate::inspect::elf::{self, File};
use crate::inspect::regular::{self, LONGEST_TEXT};
use crate::inspect::sources::Sources;
use crate::output::failure::reason;
use crate::output::style::plain;
use proclens::run::guard::{FallbackReason, Job, supervise};
use proclens::runtime::live::Live;
use proclens::sampler::{self, Starter};
use proclens::settings::Settings;
use proclens::sys::arch::ELF_MACHINE;
use proclens::sys::{self, Errno};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::ptr::null;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

/// The way in which a program sees the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The library in LD_PRELOAD.
    Preload,
    /// Seccomp notification.
    Notify,
}

/// Exit statuses of shells: found but not executable, not found.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// The options and the command of a command line in the usual form, `run [--notify] -- CMD`. The parser of
/// all command lines takes as long as everything else that this command does, so it parses only other forms.
pub fn usual(words: &[OsString]) -> Option<(bool, &[OsString])> {
    let [_, name, rest @ ..] = words else {
        return None;
    };
    let (notify, rest) = match rest {
        [option, rest @ ..] if option == "--notify" => (true, rest),
        _ => (false, rest),
    };
    match rest {
        [dashes, command @ ..] if name == "run" && dashes == "--" && !command.is_empty() => {
            Some((notify, command))
        }
        _ => None,
    }
}

pub fn run(notify: bool, command: &[OsString]) -> u8 {
    let Some(name) = command.first() else {
        return NOT_FOUND;
    };
    let sources: &'static Sources = Box::leak(Box::new(Sources::own()));
    let settings = SETTINGS.get_or_init(|| sources.settings());
    let Some(path) = found_in_path(name) else {
        let there = name.as_bytes().contains(&b'/') && Path::new(name).exists();
        let (code, what) = match there {
            true => (NOT_EXECUTABLE, "permission denied; is it a program?"),
            false => (NOT_FOUND, "no such program"),
        };
        print_line(&format!("{}: {what}", name.to_string_lossy()));
        return code;
    };
    // If this run is inside another one, the outer one serves the program.
    if !settings.on || is_served() {
        return execute(command) as u8;
    }
    let way = match notify {
        true => Way::Notify,
        false => way(&path),
    };
    if way == Way::Preload
        && let Some(library) = library()
    {
        preload(&library);
        return execute(command) as u8;
    }
    if !has_notification() {
        warn(FallbackReason::NoNotification, Errno(libc::ENOSYS));
        return execute(command) as u8;
    }
    STARTED_AS.store(std::process::id(), Ordering::Relaxed);
    let job = Job {
        settings: || SETTINGS.get().unwrap_or(&Settings::DEFAULT),
        load_was_read,
        execute: &|| execute(command),
        warn: &warn,
    };
    supervise(&job) as u8
}

static SETTINGS: OnceLock<Settings<'static>> = OnceLock::new();

/// The cheapest way for the program at `path`, or for its interpreter if it is a script.
pub fn way(path: &Path) -> Way {
    let mut path = path.to_owned();
    for _ in 0..4 {
        match elf::read(&path) {
            Ok(File::Script {
                interpreter,
                argument,
            }) => {
                let env = interpreter.file_name() == Some(OsStr::new("env"));
                let by_env = argument.as_deref().filter(|_| env).and_then(run_by_env);
                path = by_env.and_then(found_in_path).unwrap_or(interpreter);
            }
            Ok(File::Elf(elf)) => {
                let loads =
                    elf.interpreter.is_some() && elf.bits == 64 && elf.machine == ELF_MACHINE;
                return match loads && !elf.go {
                    true => Way::Preload,
                    false => Way::Notify,
                };
            }
            // A text file without `#!`, which the shell runs.
            Ok(File::Other) => return Way::Preload,
            Err(_) => return Way::Notify,
        }
    }
    Way::Notify
}

/// The library for LD_PRELOAD. `None` if there is none.
fn library() -> Option<PathBuf> {
    let usual = ["/usr/lib", "/usr/local/lib"].map(|directory| Path::new(directory).join(LIBRARY));
    let found = beside().ok().into_iter().chain(usual);
    let mut absolute = found.filter_map(|path| path.canonicalize().ok());
    // Space and colon separate names in LD_PRELOAD, so they cannot be in the path.
    absolute.find(|path| {
        !path
            .as_os_str()
            .as_bytes()
            .iter()
            .any(|b| b" :".contains(b))
    })
}

/// Adds the library to LD_PRELOAD, unless LD_PRELOAD or the preload file already names it.
fn preload(library: &Path) {
    let before = std::env::var_os("LD_PRELOAD").unwrap_or_default();
    // With `$LIB`, the linker finds the file itself.
    let is_named = |text: &str| {
        let path = Path::new(text);
        path.file_name() == Some(OsStr::new(LIBRARY)) && (text.contains('$') || path.exists())
    };
    let everyones = regular::read(Path::new(PRELOAD), LONGEST_TEXT).unwrap_or_default();
    let everyones = String::from_utf8_lossy(&everyones);
    let own = before.to_string_lossy();
    if own.split([' ', ':']).any(is_named) || paths_in_preload(&everyones).any(is_named) {
        return;
    }
    let mut all = library.as_os_str().to_owned();
    if !before.is_empty() {
        all.push(":");
        all.push(before);
    }
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var("LD_PRELOAD", all) };
}

/// True if a `proclens run` around this one serves files. Such a file is a memory file with a known name.
fn is_served() -> bool {
    // SAFETY: touches no memory.
    if unsafe { libc::prctl(libc::PR_GET_SECCOMP) } == 0 {
        return false;
    }
    // PROCLENS_TIME=host leaves the uptime to the kernel. The memory is served wherever its cgroup can be read.
    is_memory_file(c"/proc/meminfo") || is_memory_file(c"/proc/uptime")
}

fn is_memory_file(path: &CStr) -> bool {
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the kernel reads the path.
    let Ok(file) = (unsafe { sys::call(libc::SYS_openat, arguments) }) else {
        return false;
    };
    // SAFETY: a new descriptor.
    let file = unsafe { sys::Fd::from_raw(file as i32) };
    let mut link = [0; 128];
    sys::descriptor_path(file.raw(), &mut link)
        .is_ok_and(|name| name.windows(9).any(|part| part == b"proclens:"))
}

/// True for Linux 5.14 and later, which can pass a descriptor and complete the call in one step.
fn has_notification() -> bool {
    let mut names = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: the kernel fills the structure, which holds only characters.
    let names = unsafe {
        libc::uname(names.as_mut_ptr());
        names.assume_init()
    };
    let release: Vec<_> = names.release.iter().map(|c| *c as u8).collect();
    is_at_least(&String::from_utf8_lossy(&release), (5, 14))
}

fn is_at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse::<u32>().ok());
    match (next(), next()) {
        (Some(major), Some(minor)) => (major, minor) >= wanted,
        // A version in an unknown format is accepted.
        _ => true,
    }
}

/// Prints on one line why the command sees the host's numbers.
fn warn(fallback: FallbackReason, errno: Errno) {
    let why = match fallback {
        FallbackReason::NoNotification => "seccomp notification is not available",
        FallbackReason::NoServer => "the server cannot be started",
        FallbackReason::ServerEnded => "the server has ended",
    };
    let error = match errno.0 {
        0 => String::new(),
        libc::EBUSY => " (another program listens to notifications already)".to_owned(),
        libc::ENOSYS => " (before Linux 5.14, or forbidden)".to_owned(),
        number => format!(" ({})", reason(&io::Error::from_raw_os_error(number))),
    };
    print_line(&format!(
        "run: {why}{error}: the program sees the host's numbers"
    ));
}

/// Prints a line on standard error. `eprintln!` would end the process if nothing can be written there.
fn print_line(what: &str) {
    // A name can contain a newline, which must not make two lines.
    let _ = io::stderr().write_all(format!("proclens: {}\n", plain(what)).as_bytes());
}

/// Becomes the command. Returns only on failure, with the exit status.
fn execute(command: &[OsString]) -> i32 {
    name_process_in_environment();
    let words: Vec<_> = command
        .iter()
        .map(|word| CString::new(word.clone().into_vec()).unwrap_or_default())
        .collect();
    let mut pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(null());
    // The command gets back the handling of SIGPIPE that this program was started with.
    // SAFETY: a list of C strings that ends with a null pointer.
    unsafe {
        libc::signal(libc::SIGPIPE, PIPE_HANDLER.load(Ordering::Relaxed));
        libc::execvp(pointers[0], pointers.as_ptr());
    }
    let error = io::Error::last_os_error();
    let name = words[0].to_string_lossy();
    print_line(&format!("{name}: {}", reason(&error)));
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND.into(),
        _ => NOT_EXECUTABLE.into(),
    }
}

/// The ID of the process that was started as `proclens run`; 0 if that process becomes the command itself.
static STARTED_AS: AtomicU32 = AtomicU32::new(0);

/// Changes the variables that are valid for one process only, so that the command accepts them: the sockets that
/// systemd passes (`sd_listen_fds(3)`) and its watchdog (`sd_watchdog_enabled(3)`).
fn name_process_in_environment() {
    let started = STARTED_AS.load(Ordering::Relaxed);
    for name in ["LISTEN_PID", "WATCHDOG_PID"] {
        let value = std::env::var(name).ok();
        if value.is_some_and(|value| value.parse() == Ok(started)) {
            // SAFETY: this process has one thread.
            unsafe { std::env::set_var(name, std::process::id().to_string()) };
        }
    }
}

/// The handling of SIGPIPE when this program started: default or ignored.
static PIPE_HANDLER: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);

/// Ignores SIGPIPE, so that a write to a closed pipe returns an error. [`execute`] undoes this.
pub fn ignore_broken_pipes() {
    // SAFETY: no handler function is involved.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    PIPE_HANDLER.store(before, Ordering::Relaxed);
}

/// Starts a sampler of the container's load. Called when a program reads the load averages.
fn load_was_read() {
    static RUNS: AtomicBool = AtomicBool::new(false);
    /// The time until the next attempt, if another sampler runs or none can run.
    const PAUSE: Duration = Duration::from_secs(10);
    let settings = SETTINGS.get().unwrap_or(&Settings::DEFAULT);
    if !settings.sampler || RUNS.swap(true, Ordering::Relaxed) {
        return;
    }
    let started = std::thread::Builder::new().stack_size(256 << 10).spawn(|| {
        let _ = sampler::run_alone(&Live::default(), settings.state, Starter::Server);
        std::thread::sleep(PAUSE);
        RUNS.store(false, Ordering::Relaxed);
    });
    if started.is_err() {
        RUNS.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_kernel() {
        for (release, is) in [
            ("5.14.0-362.el9.x86_64\n", true),
            ("6.1.0-49-amd64\n", true),
            ("5.13.19", false),
            ("4.19", false),
            ("strange", true),
        ] {
            assert_eq!(is_at_least(release, (5, 14)), is, "{release}");
        }
    }

    #[test]
    fn usual_forms() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let of = |text: &str| {
            let words = words(text);
            usual(&words).map(|(notify, command)| (notify, command.len()))
        };
        assert_eq!(of("proclens run -- a --notify -- b"), Some((false, 4)));
        assert_eq!(of("proclens run --notify -- a"), Some((true, 1)));
        for other in [
            "proclens run a",
            "proclens run --",
            "proclens show -- a",
            "proclens run --help",
            "proclens",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn ways_of_programs_here() {
        assert_eq!(way(Path::new("/bin/sh")), Way::Preload);
    }
}
