//! Which threads the sampler must look at. Looking at one costs the kernel some 14 µs, whatever
//! it does, and a container of a thousand threads mostly sleeps: to look at all of them every 5 s
//! would be a third of a percent of a core.
//!
//! So the threads that were found in R or D are looked at each time, and of the others a few in
//! turn. That nobody else runs is known without looking: then the CPU time of the container is
//! the sum of the time of those that are looked at. When it is more, somebody else ran, and all
//! are looked at again.
#![forbid(unsafe_code)]

use crate::text;

/// A container of no more threads than this is looked at whole each time.
pub const FEW: u64 = 150;
/// Of more, so many are looked at in turn.
pub const IN_TURN: u32 = 64;
/// More threads than this in R and D at once, and all are looked at each time.
pub const MOST: usize = 512;

/// Cycles that a thread stays watched after it was last in R or D: a minute, so that one that
/// runs and sleeps in turns stays known.
const REMEMBERED: u8 = 12;
/// CPU time of a period, microseconds, that nobody who is watched used, from which on it is worth
/// to look who did: 3 % of a CPU.
const UNEXPLAINED_US: u64 = 150_000;
/// What rounding to ticks may hide of each watched thread's time, microseconds.
const TICK_US: u64 = 10_000;
/// Cycles between two looks at all when they find nothing: never more than a minute.
const LONGEST_WAIT: u32 = 12;

/// What matters of a `stat` file of `/proc` (`fs/proc/array.c`, `do_task_stat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// State, field 3.
    pub state: u8,
    /// User and system time, fields 14 and 15, in ticks: of the thread, or of the whole process
    /// in the process's own file.
    pub ticks: u64,
    /// Threads of the process, field 20.
    pub threads: u64,
}

impl Line {
    /// The name, field 2, may hold spaces and parentheses: fields count from its end.
    pub fn parse(stat: &[u8]) -> Option<Line> {
        let end = memchr::memrchr(b')', stat)?;
        let mut fields = text::fields(stat.get(end.checked_add(1)?..)?);
        let state = *fields.next()?.first()?;
        let user = text::decimal(fields.nth(10)?)?;
        let system = text::decimal(fields.next()?)?;
        let threads = text::decimal(fields.nth(4)?)?;
        Some(Line {
            state,
            ticks: user.saturating_add(system),
            threads,
        })
    }

    /// Counts for the load average: running, ready to run, or in uninterruptible sleep.
    pub fn is_active(&self) -> bool {
        matches!(self.state, b'R' | b'D')
    }
}

/// A thread by its process's number and its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thread {
    /// The process.
    pub process: u32,
    /// The thread.
    pub thread: u32,
}

/// A thread that is looked at each time.
#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    who: Thread,
    ticks: u64,
    /// Cycles since it was last in R or D.
    quiet: u8,
}

/// The threads that are looked at each time, and when to look at all.
#[derive(Debug)]
pub struct Watch {
    known: [Watched; MOST],
    count: usize,
    /// CPU time in the current cycle that watched threads used, ticks.
    explained: u64,
    /// Active threads did not all find a place.
    overflowed: bool,
    /// Cycles until all may be looked at again, and how many it was to be the last time.
    wait: u32,
    last_wait: u32,
}

impl Default for Watch {
    fn default() -> Self {
        Watch::new()
    }
}

impl Watch {
    /// Nobody is watched.
    pub const fn new() -> Watch {
        let nobody = Watched {
            who: Thread {
                process: 0,
                thread: 0,
            },
            ticks: 0,
            quiet: 0,
        };
        Watch {
            known: [nobody; MOST],
            count: 0,
            explained: 0,
            overflowed: false,
            wait: 0,
            last_wait: 0,
        }
    }

    /// Begins a cycle: looks at those who are watched, as `look` finds them, and forgets who is
    /// gone or has been quiet for long.
    pub fn look_again(
        &mut self,
        mut look: impl FnMut(Thread) -> Option<Line>,
        mut active: impl FnMut(&Line),
    ) {
        self.explained = 0;
        let (mut kept, mut explained) = (0, 0u64);
        for from in 0..self.count {
            let Some(mut watched) = self.known.get(from).copied() else {
                break;
            };
            let Some(line) = look(watched.who) else {
                continue;
            };
            explained = explained.saturating_add(line.ticks.saturating_sub(watched.ticks));
            watched.ticks = line.ticks;
            watched.quiet = watched.quiet.saturating_add(1);
            if line.is_active() {
                watched.quiet = 0;
                active(&line);
            }
            if watched.quiet <= REMEMBERED
                && let Some(to) = self.known.get_mut(kept)
            {
                *to = watched;
                kept = kept.saturating_add(1);
            }
        }
        self.count = kept;
        self.explained = explained;
    }

    /// Whether `who` is watched, and so has been looked at in this cycle.
    pub fn knows(&self, who: Thread) -> bool {
        self.known
            .iter()
            .take(self.count)
            .any(|watched| watched.who == who)
    }

    /// A thread that is not watched was found in R or D.
    pub fn found(&mut self, who: Thread, line: &Line) {
        match self.known.get_mut(self.count) {
            Some(to) => {
                *to = Watched {
                    who,
                    ticks: line.ticks,
                    quiet: 0,
                };
                self.count = self.count.saturating_add(1);
            }
            None => self.overflowed = true,
        }
    }

    /// CPU time that nobody who is watched used, of the `used_us` microseconds of this cycle;
    /// rounding allowed for.
    pub fn unexplained_us(&self, used_us: u64) -> u64 {
        let rounding = (self.count as u64).saturating_mul(TICK_US);
        used_us.saturating_sub(
            self.explained
                .saturating_mul(TICK_US)
                .saturating_add(rounding),
        )
    }

    /// Whether to look at all threads in this cycle. `threads`: how many there are, if that is
    /// known. To be asked once in each cycle.
    pub fn wants_all(&mut self, threads: Option<u64>, unexplained_us: u64) -> bool {
        self.wait = self.wait.saturating_sub(1);
        let must = self.overflowed || threads.is_none_or(|n| n <= FEW);
        must || (unexplained_us > UNEXPLAINED_US && self.wait == 0)
    }

    /// All threads were looked at, and `news` of them were active and not yet watched. Where the
    /// time goes to many who run shortly, looking is in vain: then it waits longer each time.
    pub fn looked_at_all(&mut self, news: u64) {
        self.overflowed = self.count >= MOST;
        self.last_wait = if news > 0 {
            1
        } else {
            self.last_wait.max(1).saturating_mul(2).min(LONGEST_WAIT)
        };
        self.wait = self.last_wait;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Thread = Thread {
        process: 7,
        thread: 8,
    };

    fn line(state: u8, ticks: u64) -> Line {
        Line {
            state,
            ticks,
            threads: 1,
        }
    }

    #[test]
    fn a_stat_line() {
        let text = b"4 (a) R (b c) D 1 4 4 0 -1 4194304 1 0 0 0 30 12 0 0 20 0 17 0 100 0 0";
        assert_eq!(
            Line::parse(text),
            Some(Line {
                state: b'D',
                ticks: 42,
                threads: 17
            })
        );
        for bad in [
            &b""[..],
            b"1 (x",
            b"1 (x)",
            b"1 (x) R 1 2",
            b"1 (x) R 0 0 0 0 0 0 0 0 0 0 a 0",
        ] {
            assert_eq!(Line::parse(bad), None);
        }
    }

    #[test]
    fn who_runs_is_watched_until_it_is_quiet_for_a_minute_or_gone() {
        let mut watch = Watch::new();
        watch.found(ME, &line(b'R', 100));
        for cycle in 1..=12 {
            let mut active = 0;
            watch.look_again(|_| Some(line(b'S', 100 + cycle)), |_| active += 1);
            assert_eq!((watch.knows(ME), active), (true, 0));
        }
        watch.look_again(|_| Some(line(b'S', 113)), |_| ());
        assert!(!watch.knows(ME));
        watch.found(ME, &line(b'D', 113));
        watch.look_again(|_| None, |_| ());
        assert!(!watch.knows(ME));
    }

    #[test]
    fn time_that_nobody_explains_makes_it_look_at_all() {
        let mut watch = Watch::new();
        watch.found(ME, &line(b'R', 100));
        watch.look_again(|_| Some(line(b'R', 580)), |_| ());
        assert_eq!(watch.unexplained_us(4_800_000), 0);
        assert!(!watch.wants_all(Some(1000), watch.unexplained_us(4_900_000)));
        assert_eq!(watch.unexplained_us(5_000_000), 190_000);
        assert!(watch.wants_all(Some(1000), 190_000));
        assert!(watch.wants_all(Some(FEW), 0));
        assert!(watch.wants_all(None, 0));
        // In vain, it waits 2, 4, 8 and then 12 cycles.
        let mut looked = Vec::new();
        for cycle in 0..60 {
            if watch.wants_all(Some(1000), 190_000) {
                looked.push(cycle);
                watch.looked_at_all(0);
            }
        }
        assert_eq!(looked, [0, 2, 6, 14, 26, 38, 50]);
        watch.looked_at_all(1);
        assert!(watch.wants_all(Some(1000), 190_000));
    }

    #[test]
    fn more_than_can_be_watched_are_counted_each_time() {
        let mut watch = Watch::new();
        for thread in 0..=MOST as u32 {
            watch.found(Thread { process: 1, thread }, &line(b'R', 0));
        }
        assert!(watch.wants_all(Some(100_000), 0));
        watch.looked_at_all(1);
        assert!(watch.wants_all(Some(100_000), 0));
    }
}
