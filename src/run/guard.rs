//! The processes of `proclens run`. The guard waits, forwards signals and returns the exit status. If the server dies, the guard lets the kernel do every call that stops, so no
//! program below fails or hangs. If seccomp notification is unavailable, the command runs without it.

use super::affinity::Masks;
use super::credentials::Credentials;
use super::filter::Filter;
use super::lock::Lock;
use super::notify::{self, Listener, Page};
use super::server::Server;
use crate::settings::Settings;
use crate::sys::{self, Errno, Fd};
use core::ffi::{CStr, c_int, c_void};
use core::mem::{MaybeUninit, size_of};
use core::ptr::{null_mut, without_provenance_mut};
use core::sync::atomic::{AtomicBool, AtomicU32};
use once_cell::race::OnceRef;

/// What `proclens run` must do.
pub struct Job<'a> {
    /// See [`Server`].
    pub settings: fn() -> &'static Settings<'static>,
    /// See [`Server`].
    pub load_was_read: fn(),
    /// Replaces this process with the command. Returns only on failure, with the exit status.
    pub execute: &'a dyn Fn() -> c_int,
    /// Prints why the command sees the host.
    pub warn: &'a dyn Fn(FallbackReason, Errno),
}

/// The reason why the command sees the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallbackReason {
    /// The kernel installs no filter with a listener.
    NoNotification,
    /// The system refuses a process, a socket or memory for the server.
    NoServer,
    /// The server ended before the command did.
    ServerEnded,
}

/// A message from the server or the command to the guard. The listener may come with it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Message {
    kind: u32,
    number: c_int,
}

/// The command's process has this process ID. The listener comes with this message, if there is one.
const STARTED: u32 = 1;
/// The command's process could not be created; the number is the errno.
const NOT_STARTED: u32 = 2;
/// The command ended with this status, and none of its processes are left.
const ENDED: u32 = 3;
/// The command ended with this status, and some of its processes are left.
const ENDED_BEFORE_OTHERS: u32 = 4;

/// The command has ended with this status. The server says so before it waits for the command: after that
/// wait only the server knows the status.
const ENDING: u32 = 5;

/// The state that the command gets back: the caller's signal mask and handling of SIGCHLD, and whether this
/// process was a subreaper before.
struct Caller {
    mask: libc::sigset_t,
    child: libc::sigaction,
    subreaper: bool,
}

impl Caller {
    /// Prepares the process for the guard: blocks all signals, and makes children waitable.
    fn take_over() -> Caller {
        let subreaper = sys::process::is_subreaper();
        let (mut mask, mut child) = (MaybeUninit::zeroed(), MaybeUninit::zeroed());
        // SAFETY: the sets and actions are filled before they are read; the default action has no handler
        // function.
        unsafe {
            let mut all = MaybeUninit::zeroed();
            libc::sigfillset(all.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), mask.as_mut_ptr());
            let mut default: libc::sigaction = MaybeUninit::zeroed().assume_init();
            default.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(libc::SIGCHLD, &default, child.as_mut_ptr());
            set_subreaper(true);
            Caller {
                mask: mask.assume_init(),
                child: child.assume_init(),
                subreaper,
            }
        }
    }

    fn give_back(&self) {
        // SAFETY: restores what `take_over` saved.
        unsafe {
            libc::sigaction(libc::SIGCHLD, &self.child, null_mut());
            libc::sigprocmask(libc::SIG_SETMASK, &self.mask, null_mut());
        }
    }

    /// Becomes the command, without a server.
    fn execute_alone(&self, job: &Job) -> c_int {
        set_subreaper(self.subreaper);
        self.give_back();
        (job.execute)()
    }
}

/// Runs the command to its end. Returns the exit status.
pub fn supervise(job: &Job) -> c_int {
    let caller = Caller::take_over();
    let made = Page::new().and_then(|page| {
        let (guards, servers) = socket_pair()?;
        let signals = all_signals()?;
        leave_room_for_listener(&signals)?;
        Ok((page, guards, servers, signals))
    });
    let (page, guards, servers, signals) = match made {
        Ok(made) => made,
        Err(errno) => {
            (job.warn)(FallbackReason::NoServer, errno);
            return caller.execute_alone(job);
        }
    };
    let guard = sys::process_id() as c_int;
    match fork() {
        Err(errno) => {
            (job.warn)(FallbackReason::NoServer, errno);
            caller.execute_alone(job)
        }
        Ok(0) => {
            drop((guards, signals));
            serve(job, &caller, page, servers, guard)
        }
        Ok(server) => {
            drop(servers);
            let guard = Guard {
                control: guards,
                server,
                page,
                listener: None,
                command: None,
                server_ended: false,
                ending: None,
                server_stopped: false,
            };
            guard.run(job, &caller, signals)
        }
    }
}

/// The server, for its threads.
static SERVER: OnceRef<'static, Server> = OnceRef::new();

/// The server process: starts the command, handles the stopped calls of it and its descendants, and reaps
/// them all. `guard` is the process ID of the guard.
fn serve(job: &Job, caller: &Caller, page: &'static Page, control: Fd, guard: c_int) -> ! {
    set_subreaper(true);
    let started = socket_pair().and_then(|(own, others)| {
        let command = start_command(&|| command(job, caller, page, [&control, &others]))?;
        Ok((own, command))
    });
    let (own, command) = match started {
        Ok(started) => started,
        Err(errno) => {
            let _ = send(&control, NOT_STARTED, errno.0, None);
            exit(1);
        }
    };
    leave_caller(&[&control, &own]);
    let listener = receive(&own).and_then(|(_, listener)| listener);
    drop(own);
    let server;
    if let Some(listener) = listener {
        let listener = Listener::new(listener);
        listener.wake_up_in_place();
        server = Server {
            listener,
            page,
            receiving: Lock::default(),
            settings: job.settings,
            credentials: Credentials::of(sys::process_id()),
            masks: Masks::default(),
            load_was_read: job.load_was_read,
            start_helpers: || {
                for slot in 1..Page::SLOTS {
                    let _ = start_thread(slot);
                }
            },
            has_helpers: AtomicBool::new(false),
            threads: AtomicU32::new(0),
            working: AtomicU32::new(0),
        };
        let place = &raw const server;
        // SAFETY: this function never returns, so its local variables live as long as the process.
        let server: &'static Server = unsafe { &*place };
        let _ = SERVER.set(server);
        if start_thread(0).is_err() {
            // From here on, the guard handles the calls.
            exit(1);
        }
    }
    let mut guard_is_stopped = false;
    // The guard is stopped as long as the command is, so that a shell sees a stopped job. Only this process stops and
    // continues the guard, so the signals arrive in the order of the events.
    let mut stop_guard = |stop: bool| {
        let signal = if stop { libc::SIGSTOP } else { libc::SIGCONT };
        if guard_is_stopped != stop && sys::process::parent() as c_int == guard {
            kill(guard, signal);
        }
        guard_is_stopped = stop;
    };
    loop {
        let process = match look(command) {
            Ok((process, None)) => process,
            Ok((process, Some(status))) => {
                let _ = send(&control, ENDING, status, None);
                process
            }
            Err(Errno(libc::EINTR)) => continue,
            // No process is left.
            Err(_) => exit(0),
        };
        // The event may be over: a stopped process was continued.
        let options = libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED | libc::__WALL;
        let status = match wait(process, options) {
            Ok((0, _)) | Err(Errno(libc::EINTR)) => continue,
            Ok((_, status)) => status,
            // A seccomp filter forbids it. The guard handles the calls from here on.
            Err(_) => exit(1),
        };
        if process != command {
            continue;
        }
        if libc::WIFSTOPPED(status) || libc::WIFCONTINUED(status) {
            stop_guard(libc::WIFSTOPPED(status));
        } else {
            let others = reap_others();
            let kind = if others { ENDED_BEFORE_OTHERS } else { ENDED };
            let _ = send(&control, kind, status, None);
            stop_guard(false);
            // A reader at the other end of the pipe waits for the end of the file.
            leave_standard_error();
        }
    }
}

/// Waits until a child has ended, was stopped or was continued, and leaves it to [`wait`]. Returns the child, and the
/// status if it is `command` and has ended.
fn look(command: c_int) -> Result<(c_int, Option<c_int>), Errno> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let events = libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED;
    let options = events | libc::WNOWAIT | libc::__WALL;
    // SAFETY: the kernel fills the structure, which is read only if it did.
    let (process, code, number) = unsafe {
        if libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) != 0 {
            return Err(last_error());
        }
        let info = info.assume_init();
        (info.si_pid(), info.si_code, info.si_status())
    };
    let status = match code {
        libc::CLD_EXITED => Some((number & 0xff) << 8),
        libc::CLD_KILLED | libc::CLD_DUMPED => Some(number & 0x7f),
        _ => None,
    };
    Ok((process, status.filter(|_| process == command)))
}

/// Starts the thread of the server that receives calls into slot `slot`. All signals stay blocked in it.
fn start_thread(slot: usize) -> Result<(), Errno> {
    /// Enough for the buffers of one read.
    const STACK: usize = 256 << 10;
    extern "C" fn work(slot: *mut c_void) -> *mut c_void {
        // If the server cannot go on, the guard handles the calls.
        if SERVER
            .get()
            .is_some_and(|server| server.serve(slot.addr()).is_err())
        {
            exit(1);
        }
        null_mut()
    }
    let (mut attributes, mut thread) = (MaybeUninit::zeroed(), MaybeUninit::zeroed());
    // SAFETY: the attributes are set before they are read, and the thread uses only the static server.
    let failed = unsafe {
        libc::pthread_attr_init(attributes.as_mut_ptr());
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK);
        let detached = libc::PTHREAD_CREATE_DETACHED;
        libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), detached);
        let slot = without_provenance_mut(slot);
        libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), work, slot)
    };
    match failed {
        0 => Ok(()),
        number => Err(Errno(number)),
    }
}

/// Starts the process that becomes the command. As with vfork, the process uses this process's memory, and
/// this process goes on when the command runs. So no memory is copied.
fn start_command(become_command: &dyn Fn()) -> Result<c_int, Errno> {
    const STACK: usize = 64 << 10;
    extern "C" fn start(become_command: *mut c_void) -> c_int {
        // SAFETY: `start_command` passes the address of this reference, and waits.
        unsafe { (*become_command.cast::<&dyn Fn()>())() };
        1
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let arguments = [0, STACK, protection as usize, kind as usize, usize::MAX, 0];
    // SAFETY: a new mapping at an address that the kernel chooses replaces nothing.
    let stack = unsafe { sys::call(libc::SYS_mmap, arguments) }? as *mut c_void;
    let mut argument = become_command;
    // SAFETY: the process gets a stack of its own, and the kernel suspends this process until that stack and
    // the argument are no longer in use.
    unsafe {
        let top = stack.cast::<u8>().add(STACK).cast();
        let result = match libc::clone(start, top, flags, (&raw mut argument).cast()) {
            -1 => Err(last_error()),
            process => Ok(process),
        };
        libc::munmap(stack, STACK);
        result
    }
}

/// Reaps all children that have ended. Returns true if another child is still running.
fn reap_others() -> bool {
    loop {
        match wait(-1, libc::WNOHANG | libc::__WALL) {
            Ok((0, _)) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

/// The process that becomes the command: installs the filter on itself and sends the listener to guard and
/// server.
fn command(job: &Job, caller: &Caller, page: &Page, receivers: [&Fd; 2]) {
    let filter = Filter::new((job.settings)().io_uring);
    let listener = notify::install(&filter).map(|(listener, killable)| {
        page.set_killable(killable);
        listener
    });
    let [guard, _] = receivers;
    for receiver in receivers.into_iter().rev() {
        let listener = listener.as_ref().ok().map(Listener::raw);
        let sent = send(receiver, STARTED, sys::process_id() as c_int, listener);
        // Without a process that handles them, the calls that the filter stops would fail. The kernel refuses to pass
        // descriptors if too many of this user's are on their way (ETOOMANYREFS).
        if let Err(errno) = sent {
            let _ = send(guard, NOT_STARTED, errno.0, None);
            exit(1);
        }
    }
    if let Err(errno) = listener {
        (job.warn)(FallbackReason::NoNotification, errno);
    }
    caller.give_back();
    exit((job.execute)())
}

struct Guard {
    control: Fd,
    server: c_int,
    page: &'static Page,
    listener: Option<Listener>,
    command: Option<c_int>,
    server_ended: bool,
    /// The command's status, if it has ended and the server is about to report what is left of it.
    ending: Option<c_int>,
    /// Somebody stopped the server with a signal. The guard covers for it until it continues.
    server_stopped: bool,
}

impl Guard {
    fn run(mut self, job: &Job, caller: &Caller, signals: Fd) -> c_int {
        // Do not leave the caller's session, directory and files before the command has started: if there
        // is no server, this process becomes the command.
        while self.command.is_none() {
            match receive(&self.control) {
                Some((message, listener)) if message.kind == STARTED => {
                    self.command = Some(message.number);
                    self.listener = listener.map(Listener::new);
                }
                // Nothing was executed: the process that executes sends STARTED before, and keeps its end of this
                // socket until then.
                other => {
                    let errno = other.map_or(0, |(message, _)| message.number);
                    let _ = wait(self.server, 0);
                    (job.warn)(FallbackReason::NoServer, Errno(errno));
                    return caller.execute_alone(job);
                }
            }
        }
        let mut kept = [&self.control, &signals, &signals];
        let listener = self.listener.as_ref().map(Listener::file);
        if let (Some(listener), Some(place)) = (listener, kept.last_mut()) {
            *place = listener;
        }
        leave_files(&kept);
        loop {
            let [signal, message, stopped] = self.poll(Some(&signals));
            if signal != 0
                && let Some(status) = self.signalled(&signals)
            {
                return self.end(status, true);
            }
            if self.covers() {
                self.cover(stopped);
            }
            if message == 0 {
                continue;
            }
            match receive(&self.control).map(|(message, _)| (message.kind, message.number)) {
                Some((ENDING, status)) => self.ending = Some(status),
                Some((ENDED, status)) => return self.end(status, false),
                Some((ENDED_BEFORE_OTHERS, status)) => return self.end(status, true),
                Some(_) => {}
                None => {
                    self.server_ended = true;
                    self.begin_to_cover();
                    if self.listener.is_some() {
                        (job.warn)(FallbackReason::ServerEnded, Errno(0));
                    }
                    // The server's children are now children of this process, including those that have
                    // ended.
                    if let Some(status) = self.reap().or(self.ending) {
                        return self.end(status, true);
                    }
                }
            }
        }
    }

    /// True if the guard handles calls in the server's place.
    fn covers(&self) -> bool {
        self.server_ended || self.server_stopped
    }

    /// Waits for a signal, a message or, in the server's place, a call that stops.
    fn poll(&self, signals: Option<&Fd>) -> [i16; 3] {
        let on = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        let mut all = [
            on(signals.map_or(-1, Fd::raw)),
            on(match self.server_ended {
                true => -1,
                false => self.control.raw(),
            }),
            on(match &self.listener {
                Some(listener) if self.covers() => listener.raw(),
                _ => -1,
            }),
        ];
        // SAFETY: the kernel reads and writes the three structures.
        if unsafe { libc::poll(all.as_mut_ptr(), 3, -1) } < 0 {
            return [0; 3];
        }
        all.map(|one| one.revents)
    }

    /// Reads one signal. Returns the command's status if the command has ended and no server could report
    /// it.
    fn signalled(&mut self, signals: &Fd) -> Option<c_int> {
        let mut buffer = [0; size_of::<libc::signalfd_siginfo>()];
        if sys::read(signals.raw(), &mut buffer) != Ok(buffer.len()) {
            return None;
        }
        // SAFETY: the kernel has filled one structure of this size, which holds only numbers.
        let info = unsafe {
            buffer
                .as_ptr()
                .cast::<libc::signalfd_siginfo>()
                .read_unaligned()
        };
        let signal = info.ssi_signo as c_int;
        if signal == libc::SIGCHLD {
            return self.reap();
        }
        // The server continues this process when the command continues.
        let is_servers = signal == libc::SIGCONT && info.ssi_pid as c_int == self.server;
        if let Some(command) = self
            .command
            .filter(|_| is_for_command(&info) && !is_servers)
        {
            forward(command, &info);
        }
        None
    }

    /// Looks at all children that have ended, stopped or continued. Returns the command's status if it has
    /// ended.
    fn reap(&mut self) -> Option<c_int> {
        let options = libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED | libc::__WALL;
        while let Ok((process, status)) = wait(-1, options) {
            let stopped = libc::WIFSTOPPED(status);
            if process == 0 {
                return None;
            } else if process == self.server {
                if stopped {
                    self.begin_to_cover();
                }
                self.server_stopped = stopped;
            } else if Some(process) != self.command || libc::WIFCONTINUED(status) {
                continue;
            } else if stopped {
                kill(sys::process_id() as c_int, libc::SIGSTOP);
            } else {
                return Some(status);
            }
        }
        None
    }

    /// Called when the server has died or was stopped: completes the calls that the server had received and
    /// not completed.
    fn begin_to_cover(&self) {
        let Some(listener) = &self.listener else {
            return;
        };
        for slot in self.page.slots() {
            let pending = slot.pending();
            if pending != 0 {
                listener.proceed(pending);
            }
        }
    }

    /// Handles a call in the server's place: the kernel does it. Closes the listener when the last process
    /// with the filter has ended.
    fn cover(&mut self, events: i16) {
        if events & libc::POLLIN != 0 {
            if let Some(listener) = &self.listener
                && let Ok(stop) = listener.receive(self.page.guards_slot())
            {
                listener.proceed(stop.id);
            }
        } else if events != 0 {
            self.listener = None;
            if self.server_stopped {
                // Only the server can report the command's status.
                kill(self.server, libc::SIGCONT);
            }
        }
    }

    /// Returns the exit status. If other processes of the command are left, a child of this process
    /// continues to cover for the server. PID 1 just ends, because the kernel then kills all others.
    fn end(mut self, status: c_int, others: bool) -> c_int {
        let code = if libc::WIFSIGNALED(status) {
            128 + libc::WTERMSIG(status)
        } else {
            libc::WEXITSTATUS(status)
        };
        if !others {
            let _ = wait(self.server, libc::__WALL);
            return code;
        }
        let left = |listener: &Listener| !listener.has_hung_up();
        if sys::process_id() == 1 || !self.listener.as_ref().is_some_and(left) {
            return code;
        }
        if fork() != Ok(0) {
            return code;
        }
        leave_standard_error();
        leave_session();
        self.server_stopped = false;
        while self.listener.is_some() {
            let [_, message, stopped] = self.poll(None);
            if self.covers() {
                self.cover(stopped);
            } else if message != 0 && receive(&self.control).is_none() {
                self.server_ended = true;
                self.begin_to_cover();
            }
        }
        exit(0)
    }
}

/// True if a signal that the guard received is meant for the command, because it does not get the signal itself. What
/// the terminal sends reaches the whole process group, so the command too. The kernel sends other signals to the guard
/// alone: a timer that was set before the guard started (`alarm`), for example.
fn is_for_command(info: &libc::signalfd_siginfo) -> bool {
    info.ssi_code <= 0
        || matches!(
            info.ssi_signo as c_int,
            libc::SIGALRM | libc::SIGVTALRM | libc::SIGPROF | libc::SIGXCPU | libc::SIGIO
        )
}

/// Sends the command a signal that the guard received, with the value of `sigqueue(3)` if it has one.
fn forward(command: c_int, info: &libc::signalfd_siginfo) {
    let signal = info.ssi_signo as c_int;
    if info.ssi_code == libc::SI_QUEUE {
        let sival_ptr = without_provenance_mut(info.ssi_ptr as usize);
        // SAFETY: the value is passed on as it is.
        unsafe { libc::sigqueue(command, signal, libc::sigval { sival_ptr }) };
    } else {
        kill(command, signal);
    }
}

/// Leaves the caller's session and directory, and closes its files. A daemon below may outlive them.
fn leave_caller(kept: &[&Fd]) {
    leave_session();
    leave_files(kept);
}

fn leave_session() {
    // SAFETY: touches no memory, reads one string.
    unsafe {
        libc::setsid();
        libc::chdir(c"/".as_ptr());
    }
}

/// Closes all descriptors except standard error and `kept`. Otherwise the reader at the other end of a pipe
/// would not see its end when the command closes the pipe.
fn leave_files(kept: &[&Fd]) {
    let mut from = libc::STDERR_FILENO + 1;
    loop {
        let next = kept.iter().map(|file| file.raw()).filter(|fd| *fd >= from);
        let next = next.min();
        let last = next.map_or(c_int::MAX, |next| next - 1);
        if last >= from {
            let arguments = [from as usize, last as usize, 0, 0, 0, 0];
            // SAFETY: nothing in this process uses these descriptors any more.
            let _ = unsafe { sys::call(libc::SYS_close_range, arguments) };
        }
        match next {
            Some(next) => from = next + 1,
            None => break,
        }
    }
    become_null(&[libc::STDIN_FILENO, libc::STDOUT_FILENO]);
}

fn leave_standard_error() {
    become_null(&[libc::STDERR_FILENO]);
}

fn become_null(numbers: &[c_int]) {
    let null: &CStr = c"/dev/null";
    if let Ok(null) = sys::open_at(libc::AT_FDCWD, null, libc::O_RDWR, 0) {
        for number in numbers {
            // SAFETY: nothing in this process uses the number; touches no memory.
            unsafe { libc::dup2(null.raw(), *number) };
        }
    }
}

fn set_subreaper(on: bool) {
    let option = libc::PR_SET_CHILD_SUBREAPER;
    let arguments = [option as usize, usize::from(on), 0, 0, 0, 0];
    // SAFETY: touches no memory.
    let _ = unsafe { sys::call(libc::SYS_prctl, arguments) };
}

fn fork() -> Result<c_int, Errno> {
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => Err(last_error()),
        process => Ok(process),
    }
}

fn wait(process: c_int, options: c_int) -> Result<(c_int, c_int), Errno> {
    let mut status = 0;
    // SAFETY: the kernel writes one int.
    match unsafe { libc::waitpid(process, &mut status, options) } {
        -1 => Err(last_error()),
        process => Ok((process, status)),
    }
}

fn kill(process: c_int, signal: c_int) {
    // SAFETY: touches no memory.
    unsafe { libc::kill(process, signal) };
}

fn exit(code: c_int) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

fn last_error() -> Errno {
    // SAFETY: the address of the calling thread's errno.
    Errno(unsafe { *libc::__errno_location() })
}

/// A descriptor from which all signals can be read.
fn all_signals() -> Result<Fd, Errno> {
    // SAFETY: the set is filled before the kernel reads it.
    let made = unsafe {
        let mut all = MaybeUninit::zeroed();
        libc::sigfillset(all.as_mut_ptr());
        libc::signalfd(-1, all.as_ptr(), libc::SFD_CLOEXEC)
    };
    match made {
        -1 => Err(last_error()),
        // SAFETY: a new descriptor.
        fd => above_standard(unsafe { Fd::from_raw(fd) }),
    }
}

/// The same file with a number above those of the standard files. A caller may have closed these, and they
/// become /dev/null here.
fn above_standard(file: Fd) -> Result<Fd, Errno> {
    let from = libc::STDERR_FILENO + 1;
    if file.raw() >= from {
        return Ok(file);
    }
    duplicate(&file, from)
}

/// A descriptor of the same file, with a number of at least `from`.
fn duplicate(file: &Fd, from: c_int) -> Result<Fd, Errno> {
    // SAFETY: touches no memory.
    match unsafe { libc::fcntl(file.raw(), libc::F_DUPFD_CLOEXEC, from) } {
        -1 => Err(last_error()),
        // SAFETY: a new descriptor.
        fd => Ok(unsafe { Fd::from_raw(fd) }),
    }
}

fn socket_pair() -> Result<(Fd, Fd), Errno> {
    let mut pair = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two numbers.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) } < 0 {
        return Err(last_error());
    }
    // SAFETY: two new descriptors.
    let [one, other] = pair.map(|fd| unsafe { Fd::from_raw(fd) });
    Ok((above_standard(one)?, above_standard(other)?))
}

/// Fails if the process cannot have as many descriptors as guard and server open until they have the listener. A
/// descriptor that cannot be received is lost, and with the last one of the listener each call that the filter stops
/// would fail.
fn leave_room_for_listener(last: &Fd) -> Result<(), Errno> {
    const MORE: c_int = 8;
    duplicate(last, last.raw().saturating_add(MORE)).map(drop)
}

/// Buffer for one descriptor in a message.
#[repr(C, align(8))]
struct Control([u8; 32]);

fn send(socket: &Fd, kind: u32, number: c_int, file: Option<c_int>) -> Result<(), Errno> {
    let mut message = Message { kind, number };
    let mut piece = libc::iovec {
        iov_base: (&raw mut message).cast(),
        iov_len: size_of::<Message>(),
    };
    let mut control = Control([0; 32]);
    // SAFETY: the header points to the data and to the control buffer, which live until the call is done.
    // The control buffer has the size and alignment for one descriptor.
    unsafe {
        let mut header: libc::msghdr = MaybeUninit::zeroed().assume_init();
        header.msg_iov = &mut piece;
        header.msg_iovlen = 1;
        if let Some(file) = file {
            header.msg_control = (&raw mut control).cast();
            header.msg_controllen = libc::CMSG_SPACE(size_of::<c_int>() as u32) as _;
            let first = libc::CMSG_FIRSTHDR(&header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(size_of::<c_int>() as u32) as _;
            libc::CMSG_DATA(first).cast::<c_int>().write_unaligned(file);
        }
        match libc::sendmsg(socket.raw(), &header, libc::MSG_NOSIGNAL) {
            -1 => Err(last_error()),
            _ => Ok(()),
        }
    }
}

/// The next message; `None` when no process is left that could send one.
fn receive(socket: &Fd) -> Option<(Message, Option<Fd>)> {
    let mut message = Message { kind: 0, number: 0 };
    let mut piece = libc::iovec {
        iov_base: (&raw mut message).cast(),
        iov_len: size_of::<Message>(),
    };
    let mut control = Control([0; 32]);
    // SAFETY: as in `send`. The kernel reports how much of the control buffer it has filled.
    unsafe {
        let mut header: libc::msghdr = MaybeUninit::zeroed().assume_init();
        header.msg_iov = &mut piece;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut control).cast();
        header.msg_controllen = size_of::<Control>() as _;
        let length = libc::recvmsg(socket.raw(), &mut header, libc::MSG_CMSG_CLOEXEC);
        if length != size_of::<Message>() as isize {
            return None;
        }
        let first = libc::CMSG_FIRSTHDR(&header);
        let has_file = !first.is_null() && (*first).cmsg_type == libc::SCM_RIGHTS;
        let file = has_file.then(|| {
            let number = libc::CMSG_DATA(first).cast::<c_int>().read_unaligned();
            above_standard(Fd::from_raw(number)).ok()
        });
        Some((message, file.flatten()))
    }
}
