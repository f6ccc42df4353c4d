//! The record of an accounting: words in the machine's byte order, with version and checksum.
#![forbid(unsafe_code)]

use super::checksum::Checksum;
use super::{Accounting, MOST_ROWS, Row, Seen, TICK_US, Waited, row_count};

/// The most CPUs that a written record may name (`NR_CPUS` of the largest x86 kernels).
pub const MOST_CPUS: u64 = 8192;

/// The most bytes that [`Accounting::write`] makes.
pub const SIZE: usize = size(MOST_ROWS as u64);

/// The bytes that [`Accounting::write`] makes for this many CPUs.
pub const fn size(cpus: u64) -> usize {
    (HEAD + row_count(cpus) * ROW + 2) * 8
}

/// Words of the accounting before its rows, magic number not included, and words of one row.
const HEAD: usize = 27;
const ROW: usize = 11;

/// First word of a written record: a mark in ASCII, and the version of the layout.
const MAGIC: u64 = u64::from_be_bytes(*b"plcputm\x07");

impl Accounting {
    fn words(&self) -> impl Iterator<Item = u64> {
        let Accounting {
            cpus,
            age_us,
            per_cpu,
            next_row,
            rows_id,
            seen,
            part_us,
            steal_us,
            throttled_us,
            beyond_quota_us,
            waited,
            held_us,
            contended_us,
            contended,
            before,
            rows,
        } = self;
        [*cpus, *age_us, *per_cpu, *next_row, *rows_id]
            .into_iter()
            .chain(seen.busy_us)
            .chain([seen.throttled_us, seen.nr_throttled, seen.throttled_at])
            .chain(*part_us)
            .chain([*steal_us, *throttled_us, *beyond_quota_us])
            .chain([waited.age_us, waited.busy_us, waited.full_us])
            .chain([waited.throttled_us, waited.throttled_at])
            .chain([*held_us, *contended_us, *contended])
            .chain(*before)
            .chain(rows.iter().take(row_count(*cpus)).flat_map(|row| {
                let before_cpu = row.shown.into_iter().chain(row.carried).chain(row.seen);
                before_cpu.chain([row.cpu])
            }))
    }

    fn words_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        let count = row_count(self.cpus);
        let Accounting {
            cpus,
            age_us,
            per_cpu,
            next_row,
            rows_id,
            seen,
            part_us,
            steal_us,
            throttled_us,
            beyond_quota_us,
            waited,
            held_us,
            contended_us,
            contended,
            before,
            rows,
        } = self;
        let Seen {
            busy_us,
            throttled_us: seen_throttled_us,
            nr_throttled,
            throttled_at,
        } = seen;
        let Waited {
            age_us: waited_age_us,
            busy_us: waited_busy_us,
            full_us,
            throttled_us: waited_throttled_us,
            throttled_at: waited_throttled_at,
        } = waited;
        let waited = [
            waited_age_us,
            waited_busy_us,
            full_us,
            waited_throttled_us,
            waited_throttled_at,
        ];
        [cpus, age_us, per_cpu, next_row, rows_id]
            .into_iter()
            .chain(busy_us)
            .chain([seen_throttled_us, nr_throttled, throttled_at])
            .chain(part_us)
            .chain([steal_us, throttled_us, beyond_quota_us])
            .chain(waited)
            .chain([held_us, contended_us, contended])
            .chain(before)
            .chain(rows.iter_mut().take(count).flat_map(|row| {
                row.shown
                    .iter_mut()
                    .chain(&mut row.carried)
                    .chain(&mut row.seen)
                    .chain([&mut row.cpu])
            }))
    }

    /// Writes the accounting into `buffer`, with version and checksum, and returns the number of bytes.
    /// `None` if `buffer` is smaller. The byte order is that of the machine: the data never leaves it.
    pub fn write(&self, buffer: &mut [u8]) -> Option<usize> {
        let length = size(self.cpus);
        let (slots, _) = buffer.get_mut(..length)?.as_chunks_mut::<8>();
        let mut sum = Checksum::new();
        let words = core::iter::once(MAGIC)
            .chain(self.words())
            .inspect(|word| sum.add(*word));
        let mut slots = slots.iter_mut();
        // Use `for_each`: iterating over a chain of this many parts with `for` costs ten times as much.
        words.for_each(|word| {
            if let Some(slot) = slots.next() {
                *slot = word.to_ne_bytes();
            }
        });
        if let Some(slot) = slots.next() {
            *slot = sum.value().to_ne_bytes();
        }
        Some(length)
    }

    /// Reads what [`Accounting::write`] wrote. Returns false and changes nothing for any other bytes.
    pub fn read(&mut self, bytes: &[u8]) -> bool {
        if Accounting::age_in(bytes).is_none() {
            return false;
        }
        let earlier = self.before;
        let (slots, _) = bytes.as_chunks::<8>();
        let mut slots = slots.iter().skip(1);
        let cpus = slots
            .clone()
            .next()
            .map_or(0, |slot| u64::from_ne_bytes(*slot));
        // Clear the rows that the new accounting does not have.
        let had = row_count(self.cpus);
        for row in self.rows.iter_mut().take(had).skip(row_count(cpus)) {
            *row = Row::NEW;
        }
        self.cpus = cpus;
        self.words_mut().for_each(|word| {
            if let Some(slot) = slots.next() {
                *word = u64::from_ne_bytes(*slot);
            }
        });
        // Keep the lower of the two estimates, so that no reported count decreases, here or in another
        // process.
        for (before, earlier) in self.before.iter_mut().zip(earlier) {
            if earlier != 0 && (*before == 0 || earlier < *before) {
                *before = earlier;
            }
        }
        true
    }

    /// The length in bytes of the written record that begins with `bytes`. `None` for bytes that
    /// [`Accounting::write`] cannot have written.
    pub fn size_in(bytes: &[u8]) -> Option<usize> {
        let (slots, _) = bytes.as_chunks::<8>();
        let mut head = slots.iter().map(|slot| u64::from_ne_bytes(*slot));
        let (magic, cpus) = (head.next()?, head.next()?);
        (magic == MAGIC && (1..=MOST_CPUS).contains(&cpus)).then_some(size(cpus))
    }

    /// The age of the container, in microseconds, at the last reading of a written record. `None` for
    /// bytes that [`Accounting::write`] cannot have written.
    pub fn age_in(bytes: &[u8]) -> Option<u64> {
        // 2^53 µs are 285 years.
        const LONG: u64 = 1 << 53;
        let (slots, _) = bytes.as_chunks::<8>();
        let (last, words) = slots.split_last()?;
        let mut sum = Checksum::new();
        for word in words {
            sum.add(u64::from_ne_bytes(*word));
        }
        let age_us = u64::from_ne_bytes(*slots.get(2)?);
        let whole = Accounting::size_in(bytes) == Some(bytes.len());
        // The rows cannot show less time than one CPU has had, nor more than the most CPUs have had.
        let least = age_us / TICK_US;
        let most = least.saturating_add(1).saturating_mul(MOST_CPUS);
        let mut shown = 0u64;
        let (_, rows) = words.split_at_checked(HEAD.saturating_add(1))?;
        for (field, word) in (0..ROW).cycle().zip(rows) {
            if field < 5 {
                shown = shown.saturating_add(u64::from_ne_bytes(*word));
            }
        }
        let plausible = (least..=most).contains(&shown);
        (whole && sum.value() == u64::from_ne_bytes(*last) && age_us < LONG && plausible)
            .then_some(age_us)
    }
}
