//! What the processes of one container share: the load averages and the CPU time accounts, in one
//! small file ([`record`]) in the first of `/dev/shm`, `/run`, `/tmp` that can be written, or
//! where `PROCLENS_STATE` says.
//!
//! The file is data from strangers. It is opened only if it is a regular file with one name that
//! belongs to the reader, to root or to the owner of the container's PID 1 (root replaces
//! another's); it is read, never mapped, so that one who truncates it sends no signal; nothing waits for a lock. Whatever is
//! wrong with it, the answer is what a process alone would say: averages bridged from CPU time,
//! and accounts of its own.

pub mod record;

use crate::gather::{Controller, Kernel, Place};
use crate::ledger::{Ledger, Sample};
use crate::load::{Averages, PERIOD_US};
use crate::snapshot::Tasks;
use crate::sys::memory::Arena;
use crate::sys::process::{change_mode, effective_user, let_others_run, try_lock, unlock};
use crate::sys::{self, Errno, Fd};
use crate::text::Out;
use core::ffi::{CStr, c_int};
use record::{Identity, Sampled};

/// Where the state is looked for, and made.
pub const DIRECTORIES: [&[u8]; 3] = [b"/dev/shm", b"/run", b"/tmp"];

/// Bytes of the file that are locked, by what the lock protects.
const CLAIM_LOCK: i64 = 0;
const LEDGER_LOCK: i64 = 1;
const SAMPLER_LOCK: i64 = 2;

/// A sampler whose last sample is older than this is gone, or as good as gone. One that lives
/// takes one each [`PERIOD_US`].
pub const LOST_AFTER_US: u64 = PERIOD_US + PERIOD_US / 2;
/// Whoever set out to start a sampler has this long before the next one tries.
const CLAIM_US: u64 = 2 * PERIOD_US;
/// Accounts of other settings that nobody continued for so long may be written over.
const ABANDONED_US: u64 = 60_000_000;

/// Finds out which container the one at `place` is; with a limit `handed_in` also the host's root.
pub fn identify<K: Kernel>(
    kernel: &K,
    place: &Place<'_>,
    handed_in: bool,
    arena: &mut Arena<'_>,
) -> Result<Identity, Errno> {
    let home = [
        Controller::Cpuacct,
        Controller::Cpu,
        Controller::Memory,
        Controller::Pids,
    ]
    .into_iter()
    .find_map(|controller| place.home_or_root(controller, handed_in).ok())
    .ok_or(Errno::MISSING)?;
    let cgroup = sys::status_of(arena.path(home.directory, b".")?)?;
    let mut text = [0; 64];
    let length = sys::read(
        sys::open(c"/proc/sys/kernel/random/boot_id")?.raw(),
        &mut text,
    )?;
    Ok(Identity {
        cgroup: [cgroup.st_dev, cgroup.st_ino],
        pid_namespace: kernel.pid_namespace().ok_or(Errno::MISSING)?,
        start_ticks: kernel.start_ticks().unwrap_or(0),
        boot: text
            .get(..length)
            .and_then(Identity::boot_of)
            .ok_or(Errno::GARBAGE)?,
    })
}

/// The shared state of one container.
#[derive(Clone, Copy)]
pub struct Store<'p> {
    /// The directory that the settings name.
    pub directory: Option<&'p [u8]>,
    /// The container.
    pub identity: Identity,
}

/// What a reader of the averages finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The last sample, to be bridged to now.
    pub sampled: Option<Sampled>,
    /// A sampler is missing, and nobody has set out to start one: see [`Store::claim`].
    pub wants_sampler: bool,
}

impl<'p> Store<'p> {
    fn directories(&self) -> impl Iterator<Item = &'p [u8]> {
        let given = self.directory;
        let usual = DIRECTORIES.into_iter().filter(move |_| given.is_none());
        given.into_iter().chain(usual)
    }

    /// Does `what` with the file's path in the first directory where that is not impossible.
    fn somewhere<T>(&self, what: impl Fn(&CStr) -> Result<T, Errno>) -> Result<T, Errno> {
        let mut room = [0; 512];
        for directory in self.directories() {
            let mut out = Out::new(&mut room);
            out.bytes(directory);
            out.byte(b'/');
            self.identity.file_name(&mut out);
            out.byte(0);
            let path = out
                .finish()
                .and_then(|path| CStr::from_bytes_until_nul(path).ok());
            match what(path.ok_or(Errno::NO_ROOM)?) {
                Err(Errno(libc::ENOENT | libc::ENOTDIR | libc::EACCES | libc::EROFS)) => {}
                done => return done,
            }
        }
        Err(Errno::MISSING)
    }

    fn open(&self, flags: c_int) -> Result<Fd, Errno> {
        let flags = flags | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        self.somewhere(|path| sys::open_at(libc::AT_FDCWD, path, flags, 0o644))
    }

    fn make(&self) -> Result<Fd, Errno> {
        let made = self.open(libc::O_RDWR | libc::O_CREAT | libc::O_EXCL)?;
        change_mode(&made, 0o644)?;
        Ok(made)
    }

    /// For reading.
    fn existing(&self) -> Result<Fd, Errno> {
        let file = self.open(libc::O_RDONLY)?;
        trusted(&file).map(|_| file)
    }

    /// For writing too; made if there is none.
    fn writable(&self) -> Result<Fd, Errno> {
        // A write beyond this limit would be a fatal signal.
        if sys::file_size_limit()? < record::FILE_SIZE as u64 {
            return Err(Errno::NO_ROOM);
        }
        let mut file = match self.open(libc::O_RDWR) {
            // One that can be read but not written is found before a second one is made.
            Err(Errno::MISSING) if self.open(libc::O_RDONLY).is_err() => self.make()?,
            opened => opened?,
        };
        let mut status = trusted(&file);
        if status == Err(STRANGERS) && effective_user() == 0 {
            // Whoever asked first was not somebody whom all believe; root is.
            self.somewhere(sys::unlink)?;
            file = self.make()?;
            status = trusted(&file);
        }
        if status? != record::FILE_SIZE as i64 {
            sys::truncate(file.raw(), record::FILE_SIZE as u64)?;
        }
        Ok(file)
    }

    /// The averages as the sampler left them; `now_us` is the age of the container.
    pub fn sampled(&self, now_us: u64) -> Found {
        let file = match self.existing() {
            Ok(file) => file,
            Err(e) => {
                return Found {
                    sampled: None,
                    wants_sampler: matches!(e, Errno::MISSING | STRANGERS),
                };
            }
        };
        let mut room = [0; record::LOAD_END];
        let text = read_at(&file, &mut room, 0);
        let sampled = record::sampled(text, &self.identity, now_us).map(|(_, found)| found);
        let lost = sampled.is_none_or(|found| {
            now_us.saturating_sub(found.averages.last_sample_age_us) >= LOST_AFTER_US
        });
        Found {
            sampled,
            wants_sampler: lost && !self.is_claimed(text, now_us),
        }
    }

    /// Makes this process the one that starts a sampler: true for one of many that ask at once.
    pub fn claim(&self, now_us: u64) -> bool {
        self.try_claim(now_us).unwrap_or(false)
    }

    fn try_claim(&self, now_us: u64) -> Result<bool, Errno> {
        let file = self.writable()?;
        try_lock(&file, CLAIM_LOCK)?;
        let mut room = [0; record::CLAIM_SIZE];
        let free = !self.is_claimed(read_at(&file, &mut room, 0), now_us);
        let claimed = free && write_at(&file, &record::claim(&self.identity, now_us), 0).is_ok();
        unlock(&file, CLAIM_LOCK);
        Ok(claimed)
    }

    fn is_claimed(&self, text: &[u8], now_us: u64) -> bool {
        record::claimed(text, &self.identity)
            .and_then(|claimed| now_us.checked_sub(claimed))
            .is_some_and(|since| since < CLAIM_US)
    }

    /// Enters `sample` into the container's accounts, and leaves them in `ledger`, which holds
    /// what this process said last. `key` tells settings apart under which the accounts differ.
    /// Without room in `arena` an error, and nothing is done.
    pub fn account(
        &self,
        key: u64,
        sample: &Sample<'_>,
        ledger: &mut Ledger,
        mut arena: Arena<'_>,
    ) -> Result<(), Errno> {
        let room = arena.piece(record::LEDGERS_SIZE)?;
        // Only what was said already can go back.
        let mut other = if ledger.is_empty() {
            None
        } else {
            Some(arena.zeroed::<Ledger>()?)
        };
        let writable = self.writable();
        let writes = writable.is_ok();
        let Ok(file) = writable.or_else(|_| self.existing()) else {
            ledger.advance(sample);
            return Ok(());
        };
        let locked = writes && lock_soon(&file, LEDGER_LOCK);
        let mut next = Some((0, 1));
        // What this process expects, or else all there can be.
        let expected = record::ledger_size(ledger.cpus().max(sample.cpus.count.into()));
        let mut lengths = read_ledgers(&file, room, expected);
        if record::goes_on(slots(room, lengths)) {
            lengths = read_ledgers(&file, room, record::LEDGER_SIZE);
        }
        let mut joined = false;
        if let Some(found) = record::entered(slots(room, lengths), &self.identity) {
            next = Some((1 - found.slot.min(1), found.sequence.wrapping_add(1)));
            let same = found.key == key;
            match &mut other {
                Some(other) => joined = same && ledger.join(found.bytes, sample, other),
                None => joined = same && ledger.read(found.bytes),
            }
            // What this process said and could not enter, it continues alone until it can join.
            if !joined && sample.age_us.abs_diff(found.age_us) < ABANDONED_US {
                next = None;
            }
        }
        if !joined || other.is_none() {
            ledger.advance(sample);
        }
        if locked {
            if let Some((slot, sequence)) = next
                && let Some(record) = record::enter(&self.identity, key, sequence, ledger, room)
            {
                let _ = write_at(&file, record, record::ledger_at(slot) as u64);
            }
            unlock(&file, LEDGER_LOCK);
        }
        Ok(())
    }

    /// Makes this process the container's only sampler for as long as what is returned lives.
    pub fn hold(&self, now_us: u64) -> Result<Held, Errno> {
        let file = self.writable()?;
        try_lock(&file, SAMPLER_LOCK)?;
        let mut room = [0; record::LOAD_END];
        let found = record::sampled(read_at(&file, &mut room, 0), &self.identity, now_us);
        let (slot, last) = found.unwrap_or((1, Sampled::default()));
        Ok(Held {
            file,
            identity: self.identity,
            slot,
            last,
        })
    }
}

/// The state file in the hands of the sampler.
pub struct Held {
    file: Fd,
    identity: Identity,
    slot: u64,
    last: Sampled,
}

impl Held {
    /// The averages at the last sample, of this sampler or of the one before it.
    pub fn averages(&self) -> &Averages {
        &self.last.averages
    }

    /// Lets another sampler, or this one anew, hold the file.
    pub fn release(&self) {
        unlock(&self.file, SAMPLER_LOCK);
    }

    /// Leaves a sample for all to read.
    pub fn leave(&mut self, averages: Averages, tasks: Tasks) -> Result<(), Errno> {
        self.slot = 1 - self.slot.min(1);
        let sequence = self.last.sequence.wrapping_add(1);
        self.last = Sampled {
            sequence,
            averages,
            tasks,
        };
        let record = record::sample(&self.identity, &self.last);
        write_at(&self.file, &record, record::load_at(self.slot) as u64)
    }

    /// When somebody last read the file, in whatever unit: a number that changes with each reader
    /// since the last sample (`relatime` keeps the first read after a write). `None` if the file
    /// is not the container's state any more.
    pub fn last_read(&self) -> Option<(i64, i64)> {
        let whole = trusted(&self.file).is_ok_and(|length| length == record::FILE_SIZE as i64);
        let st = sys::status(self.file.raw()).ok().filter(|_| whole)?;
        Some((st.st_atime, st.st_atime_nsec))
    }
}

/// A file of somebody who is not believed.
const STRANGERS: Errno = Errno(libc::EPERM);

/// The length of a file that may be believed, see the top of this module.
fn trusted(file: &Fd) -> Result<i64, Errno> {
    let st = sys::status(file.raw())?;
    if st.st_mode & libc::S_IFMT != libc::S_IFREG || st.st_nlink != 1 {
        return Err(Errno::GARBAGE);
    }
    let known = st.st_uid == 0
        || st.st_uid == effective_user()
        || sys::status_of(c"/proc/1").is_ok_and(|init| init.st_uid == st.st_uid);
    if known {
        Ok(st.st_size)
    } else {
        Err(STRANGERS)
    }
}

/// Reads the first `size` bytes of both ledger records into the halves of `room`, and says how many
/// there are.
fn read_ledgers(file: &Fd, room: &mut [u8], size: usize) -> [usize; 2] {
    let (first, second) = room.split_at_mut(room.len() / 2);
    let read = |half: &mut [u8], slot| {
        let into = half.get_mut(..size).unwrap_or_default();
        read_at(file, into, record::ledger_at(slot) as u64).len()
    };
    [read(first, 0), read(second, 1)]
}

/// What [`read_ledgers`] has read.
fn slots(room: &[u8], [first, second]: [usize; 2]) -> [&[u8]; 2] {
    let (a, b) = room.split_at(room.len() / 2);
    [
        a.get(..first).unwrap_or_default(),
        b.get(..second).unwrap_or_default(),
    ]
}

/// As much as there is.
fn read_at<'b>(file: &Fd, into: &'b mut [u8], offset: u64) -> &'b [u8] {
    let length = sys::read_at(file.raw(), into, offset).unwrap_or(0);
    into.get(..length).unwrap_or_default()
}

/// All or an error.
fn write_at(file: &Fd, from: &[u8], offset: u64) -> Result<(), Errno> {
    let written = sys::write_at(file.raw(), from, offset)?;
    if written == from.len() {
        Ok(())
    } else {
        Err(Errno(libc::ENOSPC))
    }
}

/// The holder needs a few microseconds, unless it was stopped: then nobody waits for it.
fn lock_soon(file: &Fd, byte: i64) -> bool {
    for _ in 0..32 {
        match try_lock(file, byte) {
            Ok(()) => return true,
            Err(Errno(libc::EAGAIN | libc::EACCES)) => let_others_run(),
            Err(_) => return false,
        }
    }
    false
}
