//! Decides which threads the sampler reads. Reading the state of a thread costs the kernel some 14 µs,
//! whatever the thread does. Most threads of a large container sleep. Reading 1,000 of them every 5 s
//! would use a third of a percent of a core.
//!
//! So the sampler tracks the threads that it found in R or D and reads them each time. It reads a few
//! of the other threads in rotation. CPU time shows without a read whether other threads ran: if not,
//! the CPU time of the container is the sum of the time of the tracked threads. If the container used
//! more, other threads ran, and the sampler reads all threads again.
#![forbid(unsafe_code)]

use crate::load::scanner::{TaskStat, ThreadId};
use crate::load::tasks::{PUBLISHED, Tracked};

/// In a container of at most this many threads, all threads are read in each period.
pub const READS_ALL_UP_TO: u64 = 150;
/// In a larger container, this many threads are read in rotation in each period.
pub const IN_TURN: u32 = 64;
/// The most threads that are tracked. If more are in R and D at once, all threads are read in each
/// period.
pub const MOST: usize = 512;

/// A thread stays tracked for this many periods after it was last in R or D: a minute. So a thread that
/// alternates between running and sleeping stays tracked.
const QUIET_PERIODS: u8 = 12;
/// CPU time of a period that no tracked thread used, microseconds. Above it, reading all threads is
/// worth its cost: 3 % of a CPU.
const UNEXPLAINED_US: u64 = 150_000;
/// CPU time of each tracked thread that rounding to ticks may hide, microseconds.
const TICK_US: u64 = 10_000;
/// The most periods between two readings of all threads that find no new active thread: a minute.
const LONGEST_WAIT: u32 = 12;

/// A tracked thread.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    id: ThreadId,
    ticks: u64,
    /// Periods since the thread was last in R or D.
    quiet: u8,
}

/// The tracked threads, and when to read all threads.
#[derive(Debug)]
pub struct Tracker {
    entries: [Entry; MOST],
    count: usize,
    /// CPU time that tracked threads used since the last reading, ticks.
    explained: u64,
    /// True if there were more active threads than entries.
    overflowed: bool,
    /// Periods until all threads may be read again, and the length of the last such wait.
    wait: u32,
    last_wait: u32,
}

impl Default for Tracker {
    fn default() -> Self {
        Tracker::new()
    }
}

impl Tracker {
    /// A tracker without threads.
    pub const fn new() -> Tracker {
        let unused = Entry {
            id: ThreadId {
                process: 0,
                thread: 0,
            },
            ticks: 0,
            quiet: 0,
        };
        Tracker {
            entries: [unused; MOST],
            count: 0,
            explained: 0,
            overflowed: false,
            wait: 0,
            last_wait: 0,
        }
    }

    /// Reads the tracked threads again with `read`, and calls `active` for those in R or D. Drops
    /// threads that have ended. With `period` (at the end of a period), also drops threads that were
    /// quiet for a minute.
    pub fn read_again(
        &mut self,
        period: bool,
        mut read: impl FnMut(ThreadId) -> Option<TaskStat>,
        mut active: impl FnMut(&TaskStat),
    ) {
        let (mut kept, mut explained) = (0, 0u64);
        for from in 0..self.count {
            let Some(mut entry) = self.entries.get(from).copied() else {
                break;
            };
            let Some(stat) = read(entry.id) else {
                continue;
            };
            explained = explained.saturating_add(stat.ticks.saturating_sub(entry.ticks));
            entry.ticks = stat.ticks;
            entry.quiet = entry.quiet.saturating_add(u8::from(period));
            if stat.is_active() {
                entry.quiet = 0;
                active(&stat);
            }
            if entry.quiet <= QUIET_PERIODS
                && let Some(to) = self.entries.get_mut(kept)
            {
                *to = entry;
                kept = kept.saturating_add(1);
            }
        }
        self.count = kept;
        self.explained = explained;
    }

    /// Returns whether `id` is tracked, and so was already read.
    pub fn tracks(&self, id: ThreadId) -> bool {
        self.entries
            .iter()
            .take(self.count)
            .any(|entry| entry.id == id)
    }

    /// Tracks a thread that was found in R or D.
    pub fn track(&mut self, id: ThreadId, stat: &TaskStat) {
        match self.entries.get_mut(self.count) {
            Some(to) => {
                *to = Entry {
                    id,
                    ticks: stat.ticks,
                    quiet: 0,
                };
                self.count = self.count.saturating_add(1);
            }
            None => self.overflowed = true,
        }
    }

    /// CPU time that no tracked thread used, of the `used_us` microseconds since the last reading,
    /// minus the time that rounding may hide.
    pub fn unexplained_us(&self, used_us: u64) -> u64 {
        let rounding = (self.count as u64).saturating_mul(TICK_US);
        used_us.saturating_sub(
            self.explained
                .saturating_mul(TICK_US)
                .saturating_add(rounding),
        )
    }

    /// Returns whether to read all threads in this period. `threads` is the number of threads, if
    /// known. Must be called once in each period.
    pub fn wants_all(&mut self, threads: Option<u64>, unexplained_us: u64) -> bool {
        self.wait = self.wait.saturating_sub(1);
        let must = self.overflowed || threads.is_none_or(|n| n <= READS_ALL_UP_TO);
        must || (unexplained_us > UNEXPLAINED_US && self.wait == 0)
    }

    /// Records that all threads were read, and that `found` of them were active and not yet tracked. If
    /// many threads run only briefly, reading all threads finds none of them. Then the wait until the
    /// next time doubles.
    pub fn read_all(&mut self, found: u64) {
        self.overflowed = self.count >= MOST;
        self.last_wait = if found > 0 {
            1
        } else {
            self.last_wait.max(1).saturating_mul(2).min(LONGEST_WAIT)
        };
        self.wait = self.last_wait;
    }

    /// The part of the tracked threads that readers need: up to [`PUBLISHED`] of them, evenly spread.
    /// For `untracked` see [`Tracked`].
    pub fn publish(&self, untracked: u64) -> Tracked {
        let mut tracked = Tracked::NONE;
        let published = self.count.min(PUBLISHED);
        for (i, slot) in tracked.threads.iter_mut().take(published).enumerate() {
            let at = i.saturating_mul(self.count).checked_div(published);
            if let Some(entry) = at.and_then(|at| self.entries.get(at)) {
                *slot = entry.id;
            }
        }
        tracked.published = published as u64;
        tracked.all = self.count as u64;
        tracked.untracked = untracked;
        tracked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ThreadId = ThreadId {
        process: 7,
        thread: 8,
    };

    fn stat(state: u8, ticks: u64) -> TaskStat {
        TaskStat {
            state,
            ticks,
            threads: 1,
        }
    }

    #[test]
    fn a_thread_is_tracked_until_it_is_quiet_for_a_minute_or_gone() {
        let mut tracker = Tracker::new();
        tracker.track(ID, &stat(b'R', 100));
        for period in 1..=12 {
            let mut active = 0;
            tracker.read_again(true, |_| Some(stat(b'S', 100 + period)), |_| active += 1);
            assert_eq!((tracker.tracks(ID), active), (true, 0));
        }
        // Readings between two periods do not count.
        for _ in 0..20 {
            tracker.read_again(false, |_| Some(stat(b'S', 112)), |_| ());
        }
        assert!(tracker.tracks(ID));
        tracker.read_again(true, |_| Some(stat(b'S', 113)), |_| ());
        assert!(!tracker.tracks(ID));
        tracker.track(ID, &stat(b'D', 113));
        tracker.read_again(true, |_| None, |_| ());
        assert!(!tracker.tracks(ID));
    }

    #[test]
    fn unexplained_cpu_time_makes_the_tracker_read_all_threads() {
        let mut tracker = Tracker::new();
        tracker.track(ID, &stat(b'R', 100));
        tracker.read_again(true, |_| Some(stat(b'R', 580)), |_| ());
        assert_eq!(tracker.unexplained_us(4_800_000), 0);
        assert!(!tracker.wants_all(Some(1000), tracker.unexplained_us(4_900_000)));
        assert_eq!(tracker.unexplained_us(5_000_000), 190_000);
        assert!(tracker.wants_all(Some(1000), 190_000));
        assert!(tracker.wants_all(Some(READS_ALL_UP_TO), 0));
        assert!(tracker.wants_all(None, 0));
        // If a reading finds nothing, the tracker waits 2, 4, 8 and then 12 periods.
        let mut read = Vec::new();
        for period in 0..60 {
            if tracker.wants_all(Some(1000), 190_000) {
                read.push(period);
                tracker.read_all(0);
            }
        }
        assert_eq!(read, [0, 2, 6, 14, 26, 38, 50]);
        tracker.read_all(1);
        assert!(tracker.wants_all(Some(1000), 190_000));
    }

    #[test]
    fn more_than_can_be_tracked_are_read_each_time() {
        let mut tracker = Tracker::new();
        for thread in 0..=MOST as u32 {
            tracker.track(ThreadId { process: 1, thread }, &stat(b'R', 0));
        }
        assert!(tracker.wants_all(Some(100_000), 0));
        tracker.read_all(1);
        assert!(tracker.wants_all(Some(100_000), 0));
    }

    #[test]
    fn published_threads_are_spread_over_all_tracked_ones() {
        let mut tracker = Tracker::new();
        assert_eq!(tracker.publish(0), Tracked::NONE);
        for thread in 0..128 {
            tracker.track(ThreadId { process: 1, thread }, &stat(b'R', 0));
        }
        let tracked = tracker.publish(5);
        assert_eq!(
            (tracked.published, tracked.all, tracked.untracked),
            (64, 128, 5)
        );
        let threads = tracked.threads.map(|id| id.thread);
        assert_eq!((threads[0], threads[1], threads[63]), (0, 2, 126));
    }
}
