//! The sampler's part of the state: claims of a start, load averages, and the threads that the sampler
//! tracks.
#![forbid(unsafe_code)]

use super::file::{CLAIM_LOCK, SAMPLER_LOCK, read_at, trusted, write_at};
use super::record::{self, Identity, Sampled};
use super::store::Store;
use crate::load::average::{Averages, PERIOD_US};
use crate::load::tasks::Tracked;
use crate::sys::process::{Lock, try_lock_write, unlock};
use crate::sys::{Errno, Fd};
use crate::values::Tasks;

/// A sampler whose last sample is older than this counts as dead. A live one takes a sample each
/// [`PERIOD_US`].
pub const LOST_AFTER_US: u64 = PERIOD_US + PERIOD_US / 2;
/// A process that claims the start of a sampler has this much time before another process may claim it.
const CLAIM_US: u64 = 2 * PERIOD_US;

/// The load averages as a reader finds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundLoad {
    /// The last sample, to be extrapolated to now.
    pub sampled: Option<Sampled>,
    /// The container has no live sampler, and no process has claimed its start
    /// ([`Store::claim_start`]).
    pub wants_sampler: bool,
}

impl Store<'_> {
    /// The last sample. `now_us` is the age of the container.
    pub fn sampled(&self, now_us: u64) -> FoundLoad {
        let mut buffer = [0; record::LOAD_END];
        let text = match self.open(false) {
            Ok(found) => read_at(&found.file, &mut buffer, 0),
            Err(_) => &[],
        };
        let sampled = record::sampled(text, &self.identity, now_us).map(|(_, found)| found);
        FoundLoad {
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

    /// Makes this process the only one that publishes averages, for as long as the returned value lives. A sampler
    /// does so for its whole life, a reader for one estimate. Returns EAGAIN if there is another publisher.
    /// `number` identifies the sampler; a reader passes 0.
    pub fn become_publisher(&self, now_us: u64, number: u64) -> Result<Publisher, Errno> {
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

    /// Stores averages that a reader extrapolated, unless another process stores averages now or this
    /// process may not write. `now_us` is the age of the container.
    pub fn publish_estimate(&self, averages: Averages, now_us: u64) {
        let Ok(mut publisher) = self.become_publisher(now_us, 0) else {
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

fn is_fresh(last: &Sampled, now_us: u64) -> bool {
    now_us.saturating_sub(last.averages.last_sample_age_us) < LOST_AFTER_US
}
