//! The CPU-time accounting in the state: how a process continues what others reported.
#![forbid(unsafe_code)]

use super::file::{ACCOUNTING_LOCK, StateFile, lock_soon, read_at, write_at};
use super::record;
use super::store::Store;
use crate::cpu_time::{Accounting, Joined, OVERTAKEN_US, Sample};
use crate::mem::Arena;
use crate::sys::process::{effective_user, unlock};
use crate::sys::{Errno, Fd, signals};

/// A process that cannot save a new result returns the saved one if it is at most this old,
/// microseconds. On a busy machine the process that holds the lock may be stopped for some tenths of a
/// second.
pub const REPEAT_US: u64 = 2_000_000;
/// A process whose accounting is ahead of the shared one waits this long for it to catch up,
/// microseconds.
const LATE_US: u64 = 10_000_000;
/// Accounting under other settings may be overwritten if no process continued it for this long.
const ABANDONED_US: u64 = 60_000_000;

/// What [`Store::recall_user_record`] found.
enum UserRecord {
    /// The user's own file, locked, and the slot and sequence number of its next record.
    Save(Fd, (u64, u64)),
    /// The saved result is to be repeated.
    Repeat,
    /// The user has no file.
    None,
}

impl<'p> Store<'p> {
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
        let mut user_record = None;
        if let Some(other) = other.as_mut().filter(|_| !is_writable) {
            match self.recall_user_record(key, sample, accounting, other, buffer) {
                UserRecord::Save(own, next) => user_record = Some((own, next)),
                UserRecord::Repeat => return Ok(()),
                UserRecord::None => {}
            }
        }
        let may_write = is_writable && lock_soon(&file, ACCOUNTING_LOCK);
        let mut next = Some((0, 1));
        let lengths = read_needed(&file, buffer, accounting, sample);
        let mut joined = Joined::Unusable;
        let found = record::newest_accounting(slots(buffer, lengths), &self.identity)
            .filter(|found| is_plausible(found, sample));
        if let Some(found) = found {
            // If the record is newer than this sample, there is nothing to save.
            next = (found.age_us <= sample.age_us)
                .then(|| (1 - found.slot.min(1), found.sequence.wrapping_add(1)));
            if found.key == key {
                // Another process is saving its sample, so this process cannot save its own. If it
                // reported a result that it cannot save, a later reader might contradict it. So return
                // the saved result while it is recent.
                let passed_us = sample.age_us.abs_diff(found.age_us);
                let repeat = is_writable && !may_write && passed_us < REPEAT_US;
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
        if let Some((own, next)) = user_record {
            self.user_store().save(&own, key, next, accounting, buffer);
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
    fn user_store(&self) -> Store<'p> {
        Store {
            identity: self.identity.of_user(effective_user()),
            ..*self
        }
    }

    /// Continues `accounting` with what the processes of this user reported last, for a user who may only read the
    /// container's state. Otherwise the next process of this user would not know what the one before reported.
    fn recall_user_record(
        &self,
        key: u64,
        sample: &Sample<'_>,
        accounting: &mut Accounting,
        other: &mut Accounting,
        buffer: &mut [u8],
    ) -> UserRecord {
        let own = self.user_store();
        let Ok(StateFile {
            file,
            is_writable: true,
        }) = own.open_or_create()
        else {
            return UserRecord::None;
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
                if known && !may_write && sample.age_us.abs_diff(found.age_us) < REPEAT_US {
                    return UserRecord::Repeat;
                }
            }
        }
        if may_write {
            UserRecord::Save(file, next)
        } else {
            UserRecord::None
        }
    }
}

/// Returns whether the writer of `found` can have overtaken this process, if its record is newer. A record that is
/// newer by more is ignored.
fn is_plausible(found: &record::StoredAccounting<'_>, sample: &Sample<'_>) -> bool {
    found.age_us.saturating_sub(sample.age_us) < OVERTAKEN_US
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
