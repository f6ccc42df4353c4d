//! The state that the processes of one container share: load averages and CPU-time accounting, in
//! one small file ([`record`]). The file is in the first usable directory of `/dev/shm`, `/run` and
//! `/tmp`, or in the one that `PROCLENS_STATE` names.
//!
//! Any user can create names in these directories and open a file that others may read. So:
//!
//! - A reader uses only a regular file of root, of the reader's own user, or of the user of the
//!   container's PID 1. It skips everything else and looks in the next directory. It reads the file
//!   and never maps it: truncating a mapped file would send SIGBUS to each reader.
//! - A writer also requires that the file has one name, or that it contains this container's records: a
//!   second name could belong to a file that only looks like the state. A writer replaces a file that
//!   it may remove (root may remove any file). Otherwise it creates a file in the next directory.
//! - No process waits for a lock. A read lock, which any reader of the file can take, does not stop a
//!   writer ([`try_lock_write`]).
//!
//! If the file cannot be used, a process uses only its own data: averages extrapolated from CPU time,
//! and CPU-time accounting of its own.
//!
//! A user who may only read the file keeps the accounting that its processes reported in a file of its own, so that
//! their numbers do not step back from one process to the next.
//!
//! The files of containers that have ended are removed ([`Store::remove_stale`]) by a process that
//! creates a state file, and once a minute by the sampler.

pub mod process_accounting;
pub mod record;

use crate::cgroup::kernel::Kernel;
use crate::cgroup::locate::{ContainerCgroups, Controller};
use crate::cpu_time::{Accounting, Joined, Sample};
use crate::load::average::{Averages, PERIOD_US};
use crate::load::tasks::Tracked;
use crate::mem::Arena;
use crate::sys::directory::{each_entry_in, open_directory, terminated};
use crate::sys::process::{
    Lock, change_mode, effective_user, let_others_run, try_lock_write, unlock,
};
use crate::sys::{self, Errno, Fd, signals};
use crate::text::{Out, decimal};
use crate::values::Tasks;
use core::ffi::{CStr, c_int};
use record::{Identity, Sampled};

/// The directories in which a process looks for the state file, and creates it, in this order.
pub const DIRECTORIES: [&[u8]; 3] = [b"/dev/shm", b"/run", b"/tmp"];

/// The bytes of the file that are locked, one for each kind of data.
const CLAIM_LOCK: i64 = 0;
const ACCOUNTING_LOCK: i64 = 1;
const SAMPLER_LOCK: i64 = 2;

/// A sampler whose last sample is older than this counts as dead. A live one takes a sample each
/// [`PERIOD_US`].
pub const LOST_AFTER_US: u64 = PERIOD_US + PERIOD_US / 2;
/// A process that claims the start of a sampler has this much time before another process may claim it.
const CLAIM_US: u64 = 2 * PERIOD_US;
/// A process that cannot save a new result returns the saved one if it is at most this old,
/// microseconds. On a busy machine the process that holds the lock may be stopped for some tenths of a
/// second.
pub const MOMENT_US: u64 = 2_000_000;
/// A process whose accounting is ahead of the shared one waits this long for it to catch up,
/// microseconds.
const LATE_US: u64 = 10_000_000;
/// Accounting under other settings may be overwritten if no process continued it for this long.
const ABANDONED_US: u64 = 60_000_000;
/// A record of the accounting may be this much newer than the reading of a process that joins it: the
/// process was overtaken by the writer. Newer records are ignored.
const OVERTAKEN_US: u64 = 10_000_000;
/// The state file of another container is stale if it was last written more than a day ago, seconds.
const STALE_SECONDS: i64 = 86_400;
/// The number of the initial time namespace (`PROC_TIME_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_TIME_NAMESPACE: u64 = 0xefff_fffa;
/// Length of a path buffer.
const PATH: usize = 512;

/// Identifies the container with these `cgroups`. With `user_limit` (the user set a limit), the root
/// cgroup of the host counts as a container too.
pub fn identify<K: Kernel>(
    kernel: &K,
    cgroups: &ContainerCgroups<'_>,
    user_limit: bool,
    arena: &mut Arena<'_>,
) -> Result<Identity, Errno> {
    let dir = [
        Controller::Cpuacct,
        Controller::Cpu,
        Controller::Memory,
        Controller::Pids,
    ]
    .into_iter()
    .find_map(|controller| cgroups.dir_or_root(controller, user_limit).ok())
    .ok_or(Errno::NOT_FOUND)?;
    let cgroup = sys::status_of(arena.path(dir.directory, b".")?)?;
    let mut text = [0; 64];
    let length = sys::read(
        sys::open(c"/proc/sys/kernel/random/boot_id")?.raw(),
        &mut text,
    )?;
    Ok(Identity {
        cgroup: [cgroup.st_dev, cgroup.st_ino],
        pid_namespace: kernel.pid_namespace().ok_or(Errno::NOT_FOUND)?,
        start_ticks: kernel.start_ticks().unwrap_or(0),
        boot: text
            .get(..length)
            .and_then(Identity::boot_of)
            .ok_or(Errno::MALFORMED)?,
    })
}

/// The shared state of one container.
#[derive(Clone, Copy)]
pub struct Store<'p> {
    /// The directory that the settings name.
    pub directory: Option<&'p [u8]>,
    /// The container.
    pub identity: Identity,
    /// True if the calling thread's signals stay blocked while it uses the state. Otherwise a look at
    /// RLIMIT_FSIZE precedes each write: a write beyond it sends a fatal signal.
    pub signals_are_blocked: bool,
}

/// The load averages as a reader finds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The last sample, to be extrapolated to now.
    pub sampled: Option<Sampled>,
    /// The container has no live sampler, and no process has claimed its start
    /// ([`Store::claim_start`]).
    pub wants_sampler: bool,
}

/// What [`Store::recall_beside`] found.
enum Beside {
    /// The user's own file, locked, and the slot and sequence number of its next record.
    Save(Fd, (u64, u64)),
    /// The saved result is to be repeated.
    Repeat,
    /// The user has no file.
    Nothing,
}

/// An open state file.
struct StateFile {
    file: Fd,
    is_writable: bool,
}

impl<'p> Store<'p> {
    fn directories(&self) -> impl Iterator<Item = &'p [u8]> {
        let given = self.directory;
        let usual = DIRECTORIES.into_iter().filter(move |_| given.is_none());
        given.into_iter().chain(usual)
    }

    fn path_in<'b>(&self, directory: &[u8], buffer: &'b mut [u8; PATH]) -> Result<&'b CStr, Errno> {
        let mut out = Out::new(buffer);
        out.bytes(directory);
        out.byte(b'/');
        self.identity.file_name(&mut out);
        out.byte(0);
        out.finish()
            .and_then(|path| CStr::from_bytes_until_nul(path).ok())
            .ok_or(Errno::BUFFER_TOO_SMALL)
    }

    /// Opens the first trustworthy state file, for writing if this process may write to it.
    fn open(&self, for_writing: bool) -> Result<StateFile, Errno> {
        let mut buffer = [0; PATH];
        for directory in self.directories() {
            let path = self.path_in(directory, &mut buffer)?;
            if let Some(found) = self.open_at(path, for_writing) {
                return Ok(found);
            }
        }
        Err(Errno::NOT_FOUND)
    }

    fn open_at(&self, path: &CStr, for_writing: bool) -> Option<StateFile> {
        if for_writing {
            match open_file(path, libc::O_RDWR) {
                Ok(file) => {
                    return self.is_for_writing(&file).then_some(StateFile {
                        file,
                        is_writable: true,
                    });
                }
                Err(Errno(libc::EACCES | libc::EPERM | libc::EROFS)) => {}
                Err(_) => return None,
            }
        }
        let file = open_file(path, libc::O_RDONLY).ok()?;
        trusted(&file).map(|_| StateFile {
            file,
            is_writable: false,
        })
    }

    fn is_for_writing(&self, file: &Fd) -> bool {
        let Some(status) = trusted(file) else {
            return false;
        };
        let mut start = [0; record::CLAIM_SIZE];
        (status.st_nlink == 1 || record::is_own(read_at(file, &mut start, 0), &self.identity))
            && (status.st_size == record::FILE_SIZE as i64
                || (is_within_limit()
                    && sys::truncate(file.raw(), record::FILE_SIZE as u64).is_ok()))
    }

    /// Opens the state file for writing, and creates it if it does not exist. Opens it for reading if
    /// this process trusts its owner but may not write to it.
    fn open_or_create(&self) -> Result<StateFile, Errno> {
        if !self.signals_are_blocked && !is_within_limit() {
            return self.open(false);
        }
        self.open(true).or_else(|_| self.create())
    }

    fn writable(&self) -> Result<Fd, Errno> {
        let careful = Store {
            signals_are_blocked: false,
            ..*self
        };
        match careful.open_or_create()? {
            StateFile {
                file,
                is_writable: true,
            } => Ok(file),
            _ => Err(Errno(libc::EACCES)),
        }
    }

    /// Creates the state file in the first directory in which that is possible.
    fn create(&self) -> Result<StateFile, Errno> {
        if !is_within_limit() {
            return Err(Errno(libc::EFBIG));
        }
        let mut buffer = [0; PATH];
        for directory in self.directories() {
            let path = self.path_in(directory, &mut buffer)?;
            // The user is responsible for a directory that the settings name.
            if self.directory.is_none() && !is_safe_directory(directory) {
                continue;
            }
            let mut created = create_file(path);
            if matches!(created, Err(Errno(libc::EEXIST))) {
                // Another process of the container created the file first, or the name belongs to an
                // untrusted user.
                if let Some(found) = self.open_at(path, true) {
                    return Ok(found);
                }
                remove(path);
                created = create_file(path);
            }
            let Ok(file) = created else {
                continue;
            };
            if self.fill(&file).is_err() {
                // The file system is full. Without allocated space the file would be useless later.
                let _ = sys::unlink(path);
                continue;
            }
            self.remove_stale_in(directory);
            return Ok(StateFile {
                file,
                is_writable: true,
            });
        }
        Err(Errno::NOT_FOUND)
    }

    /// Writes a new file to its full length, so that a file system that fills up later cannot
    /// refuse a record.
    fn fill(&self, file: &Fd) -> Result<(), Errno> {
        change_mode(file, 0o644)?;
        write_at(file, &record::claim(&self.identity, 0, 0), 0)?;
        let zeros = [0; 512];
        let mut at = record::CLAIM_SIZE;
        while at < record::FILE_SIZE {
            let left = record::FILE_SIZE.saturating_sub(at);
            let piece = zeros.get(..left).unwrap_or(&zeros);
            write_at(file, piece, at as u64)?;
            at = at.saturating_add(piece.len());
        }
        Ok(())
    }

    /// Returns whether there is a state file that this process trusts.
    pub fn exists(&self) -> bool {
        self.open(false).is_ok()
    }

    /// Removes the state files of containers that have ended, in each directory.
    pub fn remove_stale(&self) {
        for directory in self.directories() {
            self.remove_stale_in(directory);
        }
    }

    /// Removes the files of ended containers in one directory, see [`Identity::is_stale`]. If that
    /// check proves nothing (containers share a PID namespace, or no namespace has reused the number
    /// yet), the time of the last write decides. Reads at most some 500 entries.
    fn remove_stale_in(&self, directory: &[u8]) {
        const MOST_BUFFERS: u32 = 16;
        let mut buffer = [0; PATH];
        let Some(path) = terminated(directory, b"/.", &mut buffer) else {
            return;
        };
        let Ok(directory) = open_directory(libc::AT_FDCWD, path) else {
            return;
        };
        let namespaces = own_namespaces();
        let [.., time, _, _] = namespaces;
        if time != 0 && time != INITIAL_TIME_NAMESPACE {
            // In this time namespace PID 1 has another start time than other processes of the container
            // see.
            return;
        }
        let now = sys::clock::clock_us(libc::CLOCK_REALTIME).unwrap_or(0) / 1_000_000;
        let mut left = MOST_BUFFERS.saturating_mul(32);
        let mut entries = [0; 1024];
        let _ = each_entry_in(&directory, &mut entries, |name| {
            let mut name_buffer = [0; 256];
            left = left.saturating_sub(1);
            if record::is_state_name(name)
                && let Some(path) = terminated(name, b"", &mut name_buffer)
                && (self.identity.is_stale(name, &namespaces)
                    || is_abandoned(&directory, path, now))
            {
                let _ = sys::unlink_at(&directory, path, 0);
            }
            left > 0
        });
    }

    /// The last sample. `now_us` is the age of the container.
    pub fn sampled(&self, now_us: u64) -> Found {
        let mut buffer = [0; record::LOAD_END];
        let text = match self.open(false) {
            Ok(found) => read_at(&found.file, &mut buffer, 0),
            Err(_) => &[],
        };
        let sampled = record::sampled(text, &self.identity, now_us).map(|(_, found)| found);
        Found {
            sampled,
            wants_sampler: !sampled.is_some_and(|last| is_fresh(&last, now_us))
                && !record::is_claimed(text, &self.identity, now_us),
        }
    }

    /// The threads that the sampler tracks; `None` without a live sampler.
    pub fn tracked(&self, now_us: u64) -> Option<Tracked> {
        let file = self.open(false).ok()?.file;
        let mut buffer = [0; record::LOAD_END];
        let text = read_at(&file, &mut buffer, 0);
        let (slot, sampled) = record::sampled(text, &self.identity, now_us)
            .filter(|(_, sampled)| is_fresh(sampled, now_us))?;
        let mut buffer = [0; record::TRACKED_SIZE];
        let text = read_at(&file, &mut buffer, record::tracked_at(slot) as u64);
        record::tracked(text, &self.identity, sampled.sequence)
    }

    /// Claims the start of a sampler. Returns true to only one of many processes that try at once.
    pub fn claim_start(&self, now_us: u64) -> bool {
        self.try_claim(now_us, CLAIM_US).unwrap_or(false)
    }

    /// Keeps every process from starting a sampler for `for_us` microseconds, at most an hour.
    pub fn postpone_start(&self, now_us: u64, for_us: u64) {
        if let Ok(file) = self.writable() {
            let _ = write_at(&file, &record::claim(&self.identity, now_us, for_us), 0);
        }
    }

    fn try_claim(&self, now_us: u64, for_us: u64) -> Result<bool, Errno> {
        let file = self.writable()?;
        let lock = try_lock_write(&file, CLAIM_LOCK)?;
        if lock == Lock::Busy {
            return Ok(false);
        }
        let mut buffer = [0; record::CLAIM_SIZE];
        let text = read_at(&file, &mut buffer, 0);
        let is_free = !record::is_claimed(text, &self.identity, now_us);
        let claim = record::claim(&self.identity, now_us, for_us);
        let claimed = is_free && write_at(&file, &claim, 0).is_ok();
        unlock(&file, CLAIM_LOCK);
        Ok(claimed)
    }

    /// Adds `sample` to the container's accounting and leaves the result in `accounting`, which holds
    /// what this process reported last. `key` stands for the settings under which the accounting
    /// differs. With too little memory in `arena`, returns an error and changes nothing.
    pub fn account(
        &self,
        key: u64,
        sample: &Sample<'_>,
        accounting: &mut Accounting,
        mut arena: Arena<'_>,
    ) -> Result<(), Errno> {
        let buffer = arena.alloc(record::ACCOUNTING_SLOTS_SIZE)?;
        let opened = self.open_or_create();
        let is_writable = opened.as_ref().is_ok_and(|opened| opened.is_writable);
        // Only values that this process, or its user, has reported can decrease.
        let mut other = if accounting.is_empty() && is_writable {
            None
        } else {
            Some(arena.zeroed::<Accounting>()?)
        };
        let Ok(StateFile { file, .. }) = opened else {
            accounting.advance(sample);
            return Ok(());
        };
        let mut beside = None;
        if let Some(other) = other.as_mut().filter(|_| !is_writable) {
            match self.recall_beside(key, sample, accounting, other, buffer) {
                Beside::Save(own, next) => beside = Some((own, next)),
                Beside::Repeat => return Ok(()),
                Beside::Nothing => {}
            }
        }
        let may_write = is_writable && lock_soon(&file, ACCOUNTING_LOCK);
        let mut next = Some((0, 1));
        let lengths = read_needed(&file, buffer, accounting, sample);
        let mut joined = Joined::Unusable;
        let found = record::newest_accounting(slots(buffer, lengths), &self.identity)
            .filter(|found| is_plausible(found, sample));
        if let Some(found) = found {
            // An older sample than the record's adds nothing to save.
            next = (found.age_us <= sample.age_us)
                .then(|| (1 - found.slot.min(1), found.sequence.wrapping_add(1)));
            if found.key == key {
                // Another process is saving its sample, so this process cannot save its own. If it
                // reported a result that it cannot save, a later reader might contradict it. So return
                // the saved result while it is recent.
                let passed_us = sample.age_us.abs_diff(found.age_us);
                let repeat = is_writable && !may_write && passed_us < MOMENT_US;
                joined = match &mut other {
                    Some(other) => {
                        accounting.join(found.bytes, Some(sample).filter(|_| !repeat), other)
                    }
                    None if accounting.read(found.bytes) => {
                        if !repeat {
                            accounting.advance(sample);
                        }
                        Joined::Continued
                    }
                    None => Joined::Unusable,
                };
                if repeat && joined != Joined::Unusable {
                    return Ok(());
                }
            }
            // This process reported values that it could not save. It continues alone until it can
            // join.
            if joined != Joined::Continued && sample.age_us.abs_diff(found.age_us) < ABANDONED_US {
                next = None;
            }
        }
        let since_us = sample.age_us.saturating_sub(accounting.age_us());
        match joined {
            Joined::Continued => {}
            // The shared accounting has counted less time: wait for it to catch up.
            Joined::Late if since_us < LATE_US => {}
            _ => accounting.advance(sample),
        }
        if may_write {
            if let Some(next) = next {
                self.save(&file, key, next, accounting, buffer);
            }
            unlock(&file, ACCOUNTING_LOCK);
        }
        if let Some((own, next)) = beside {
            self.of_user().save(&own, key, next, accounting, buffer);
            unlock(&own, ACCOUNTING_LOCK);
        }
        Ok(())
    }

    /// Writes a record of the accounting to `file`: to the slot, and with the sequence number, of `next`.
    fn save(
        &self,
        file: &Fd,
        key: u64,
        (slot, sequence): (u64, u64),
        accounting: &Accounting,
        buffer: &mut [u8],
    ) {
        if let Some(record) =
            record::write_accounting(&self.identity, key, sequence, accounting, buffer)
        {
            let written = write_at(file, record, record::accounting_at(slot) as u64);
            if self.signals_are_blocked && written == Err(Errno(libc::EFBIG)) {
                signals::discard(libc::SIGXFSZ);
            }
        }
    }

    /// The state of the processes of this user, for a user who may only read the container's.
    fn of_user(&self) -> Store<'p> {
        Store {
            identity: self.identity.of_user(effective_user()),
            ..*self
        }
    }

    /// Continues `accounting` with what the processes of this user reported last, for a user who may only read the
    /// container's state. Otherwise the next process of this user would not know what the one before reported.
    fn recall_beside(
        &self,
        key: u64,
        sample: &Sample<'_>,
        accounting: &mut Accounting,
        other: &mut Accounting,
        buffer: &mut [u8],
    ) -> Beside {
        let own = self.of_user();
        let Ok(StateFile {
            file,
            is_writable: true,
        }) = own.open_or_create()
        else {
            return Beside::Nothing;
        };
        let may_write = lock_soon(&file, ACCOUNTING_LOCK);
        let mut next = (0, 1);
        let lengths = read_needed(&file, buffer, accounting, sample);
        let found = record::newest_accounting(slots(buffer, lengths), &own.identity)
            .filter(|found| is_plausible(found, sample));
        if let Some(found) = found {
            next = (1 - found.slot.min(1), found.sequence.wrapping_add(1));
            if found.key == key {
                let known = if accounting.is_empty() {
                    accounting.read(found.bytes)
                } else {
                    accounting.join(found.bytes, None, other) == Joined::Continued
                };
                // Another process is saving its sample, see `account`.
                if known && !may_write && sample.age_us.abs_diff(found.age_us) < MOMENT_US {
                    return Beside::Repeat;
                }
            }
        }
        if may_write {
            Beside::Save(file, next)
        } else {
            Beside::Nothing
        }
    }

    /// Makes this process the only sampler of the container, for as long as the returned value lives.
    /// Returns EAGAIN if there is another sampler. `number` identifies this sampler.
    pub fn become_sampler(&self, now_us: u64, number: u64) -> Result<Publisher, Errno> {
        let file = self.writable()?;
        let lock = try_lock_write(&file, SAMPLER_LOCK)?;
        let mut buffer = [0; record::LOAD_END];
        let found = record::sampled(read_at(&file, &mut buffer, 0), &self.identity, now_us);
        let (slot, last) = found.unwrap_or((1, Sampled::default()));
        let is_obstructed = lock == Lock::Obstructed;
        if lock == Lock::Busy || (is_obstructed && found.is_some() && is_fresh(&last, now_us)) {
            return Err(Errno(libc::EAGAIN));
        }
        Ok(Publisher {
            file,
            identity: self.identity,
            slot,
            last,
            number,
            is_obstructed,
        })
    }
}

impl Store<'_> {
    /// Stores averages that a reader extrapolated, unless another process stores averages now or this
    /// process may not write. `now_us` is the age of the container.
    pub fn publish_estimate(&self, averages: Averages, now_us: u64) {
        let Ok(mut publisher) = self.become_sampler(now_us, 0) else {
            return;
        };
        let is_newer = averages.last_sample_age_us > publisher.last.averages.last_sample_age_us;
        if is_newer && !publisher.is_obstructed {
            let tasks = publisher.last.tasks;
            let _ = publisher.publish_averages(averages, tasks);
        }
        publisher.release();
    }
}

/// Publishes the samples of the sampler.
pub struct Publisher {
    file: Fd,
    identity: Identity,
    slot: u64,
    last: Sampled,
    number: u64,
    /// The read lock of another process prevents this process from taking the sampler lock.
    is_obstructed: bool,
}

impl Publisher {
    /// The averages at the last sample, which this sampler or an earlier one took.
    pub fn averages(&self) -> &Averages {
        &self.last.averages
    }

    /// Lets another sampler take over.
    pub fn release(&self) {
        unlock(&self.file, SAMPLER_LOCK);
    }

    /// Publishes a sample. Returns EAGAIN if another sampler has published since.
    pub fn publish(
        &mut self,
        averages: Averages,
        tasks: Tasks,
        tracked: &Tracked,
    ) -> Result<(), Errno> {
        if self.is_obstructed {
            // Without a lock the records decide: of two samplers, the one that wrote last continues.
            let mut buffer = [0; record::LOAD_END];
            let text = read_at(&self.file, &mut buffer, 0);
            let newest = record::sampled(text, &self.identity, averages.last_sample_age_us);
            if let Some((slot, newest)) = newest
                && newest.sampler != self.number
                && is_fresh(&newest, averages.last_sample_age_us)
            {
                (self.slot, self.last) = (slot, newest);
                return Err(Errno(libc::EAGAIN));
            }
        }
        let next = (1 - self.slot.min(1), self.last.sequence.wrapping_add(1));
        let record = record::track(&self.identity, next.1, tracked);
        write_at(&self.file, &record, record::tracked_at(next.0) as u64)?;
        self.publish_averages(averages, tasks)
    }

    /// Publishes averages alone. Without a record of tracked threads of the same sequence number, readers
    /// know that no sampler counts.
    fn publish_averages(&mut self, averages: Averages, tasks: Tasks) -> Result<(), Errno> {
        self.slot = 1 - self.slot.min(1);
        self.last = Sampled {
            sequence: self.last.sequence.wrapping_add(1),
            averages,
            tasks,
            sampler: self.number,
        };
        let record = record::sample(&self.identity, &self.last);
        write_at(&self.file, &record, record::load_at(self.slot) as u64)
    }

    /// The access time of the file. It changes with the first read after a write (`relatime`). `None`
    /// if the file is no longer the state of the container.
    pub fn last_read(&self) -> Option<(i64, i64)> {
        let status = trusted(&self.file)?;
        let is_whole = status.st_size == record::FILE_SIZE as i64 && status.st_nlink > 0;
        is_whole.then_some((status.st_atime, status.st_atime_nsec))
    }
}

/// Returns whether this process may write a whole state file. A write beyond RLIMIT_FSIZE sends a signal.
fn is_within_limit() -> bool {
    sys::file_size_limit().is_ok_and(|limit| limit >= record::FILE_SIZE as u64)
}

fn is_fresh(last: &Sampled, now_us: u64) -> bool {
    now_us.saturating_sub(last.averages.last_sample_age_us) < LOST_AFTER_US
}

/// Returns whether the writer of `found` can have overtaken this process, if its record is newer.
fn is_plausible(found: &record::StoredAccounting<'_>, sample: &Sample<'_>) -> bool {
    found.age_us.saturating_sub(sample.age_us) < OVERTAKEN_US
}

fn open_file(path: &CStr, flags: c_int) -> Result<Fd, Errno> {
    let flags = flags | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    sys::open_at(libc::AT_FDCWD, path, flags, 0o644)
}

fn create_file(path: &CStr) -> Result<Fd, Errno> {
    open_file(path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL)
}

/// Removes a file, link, FIFO or empty directory of that name, where this process may.
fn remove(path: &CStr) {
    if sys::unlink(path).is_err() {
        let _ = sys::remove_directory(path);
    }
}

/// The `stat` result of a regular file that belongs to a trusted user; see the top of this module.
fn trusted(file: &Fd) -> Option<libc::stat> {
    let status = sys::status(file.raw()).ok()?;
    let is_regular = status.st_mode & libc::S_IFMT == libc::S_IFREG;
    (is_regular && is_trusted_user(status.st_uid)).then_some(status)
}

fn is_trusted_user(user: u32) -> bool {
    user == 0
        || user == effective_user()
        || sys::status_of(c"/proc/1").is_ok_and(|init| init.st_uid == user)
}

/// Returns whether no untrusted user can rename or remove a file in a directory: the directory belongs
/// to a trusted user, and others cannot write to it, or only to their own files (the sticky bit).
fn is_safe_directory(directory: &[u8]) -> bool {
    let mut buffer = [0; PATH];
    terminated(directory, b"/.", &mut buffer)
        .and_then(|path| sys::status_of(path).ok())
        .is_some_and(|status| {
            let others_write = status.st_mode & (libc::S_IWGRP | libc::S_IWOTH) != 0;
            let sticky = status.st_mode & libc::S_ISVTX != 0;
            (sticky || !others_write) && is_trusted_user(status.st_uid)
        })
}

/// Returns whether a file was last written too long ago. `now` is the time in seconds.
fn is_abandoned(directory: &Fd, name: &CStr, now: u64) -> bool {
    let now = i64::try_from(now).unwrap_or(0);
    sys::status_at(directory, name)
        .is_ok_and(|status| now.saturating_sub(status.st_mtime) > STALE_SECONDS)
}

/// The inode numbers of this process's namespaces; 0 for those that cannot be read.
fn own_namespaces() -> [u64; 8] {
    const DIRECTORY: &[u8] = b"/proc/thread-self/ns/";
    let names: [&[u8]; 8] = [
        b"cgroup", b"ipc", b"mnt", b"net", b"pid", b"time", b"user", b"uts",
    ];
    names.map(|name| {
        let (mut path, mut link) = ([0; 32], [0; 32]);
        let mut number = || {
            let link = sys::read_link(terminated(DIRECTORY, name, &mut path)?, &mut link).ok()?;
            let (_, number) = crate::text::cut(link.strip_suffix(b"]")?, b'[')?;
            decimal(number)
        };
        number().unwrap_or(0)
    })
}

/// Reads the first `size` bytes of both accounting records into the halves of `buffer`, which are as far
/// apart as the records in the file, and returns their lengths.
fn read_records(file: &Fd, buffer: &mut [u8], size: usize) -> [usize; 2] {
    let half = buffer.len() / 2;
    let into = buffer
        .get_mut(..half.saturating_add(size))
        .unwrap_or_default();
    let length = read_at(file, into, record::accounting_at(0) as u64).len();
    [length.min(size), length.saturating_sub(half)]
}

/// Reads both accounting records: first the length that this process expects, then the maximum if they are longer.
fn read_needed(
    file: &Fd,
    buffer: &mut [u8],
    accounting: &Accounting,
    sample: &Sample<'_>,
) -> [usize; 2] {
    let expected = record::accounting_size(accounting.cpus().max(sample.cpus.count.into()));
    let lengths = read_records(file, buffer, expected);
    if record::is_cut_off(slots(buffer, lengths)) {
        read_records(file, buffer, record::ACCOUNTING_SIZE)
    } else {
        lengths
    }
}

/// The records that [`read_records`] has read.
fn slots(buffer: &[u8], [first, second]: [usize; 2]) -> [&[u8]; 2] {
    let (a, b) = buffer.split_at(buffer.len() / 2);
    [
        a.get(..first).unwrap_or_default(),
        b.get(..second).unwrap_or_default(),
    ]
}

/// Reads at `offset`, as much as the file has.
fn read_at<'b>(file: &Fd, into: &'b mut [u8], offset: u64) -> &'b [u8] {
    let length = sys::read_at(file.raw(), into, offset).unwrap_or(0);
    into.get(..length).unwrap_or_default()
}

/// Writes all bytes at `offset`, or returns an error.
fn write_at(file: &Fd, from: &[u8], offset: u64) -> Result<(), Errno> {
    let written = sys::write_at(file.raw(), from, offset)?;
    if written == from.len() {
        Ok(())
    } else {
        Err(Errno(libc::ENOSPC))
    }
}

/// Tries to take a lock for a short time: its holder needs it for a few microseconds. If the holder was
/// stopped, this process goes on without the lock. Returns true if this process may write.
fn lock_soon(file: &Fd, byte: i64) -> bool {
    for _ in 0..32 {
        match try_lock_write(file, byte) {
            Ok(Lock::Taken | Lock::Obstructed) => return true,
            Ok(Lock::Busy) => let_others_run(),
            Err(_) => return false,
        }
    }
    false
}
