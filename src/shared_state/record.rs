//! The layout of the state file: words in the machine's byte order. Each record has a magic
//! number, the container's identity and a checksum.
//!
//! ```text
//! offset   0  start claim: when a process last set out to start a sampler
//!        256  load averages, first slot
//!        512  load averages, second slot
//!       1024  CPU-time accounting, first slot
//!       7072  tracked threads, first slot
//!       7680  CPU-time accounting, second slot
//!      13728  tracked threads, second slot
//! ```
//!
//! A writer overwrites the older of two slots, so a writer that dies half-way leaves the newer
//! record intact. Readers take the newest valid record. They ignore a record of another version
//! or container, a torn record, and a record with a field out of range.
#![forbid(unsafe_code)]

use crate::cpu_time::{self, Accounting, Checksum};
use crate::load::average::{Active, Averages, MOST_TASKS};
use crate::load::tasks::{PUBLISHED, Tracked};
use crate::text::{self, Out};
use crate::values::FSHIFT;
use crate::values::{Load, Tasks};

/// Length of the file, bytes.
pub const FILE_SIZE: usize = ACCOUNTING_AT + 2 * ACCOUNTING_PITCH;
/// Length of the start of the file that holds the start claim and the load averages, bytes.
pub const LOAD_END: usize = LOAD_AT + 2 * LOAD_PITCH;
const ACCOUNTING_AT: usize = 1024;
const ACCOUNTING_PITCH: usize = 6656;
const LOAD_AT: usize = 256;
const LOAD_PITCH: usize = 256;
/// Bytes of both accounting slots.
pub const ACCOUNTING_SLOTS_SIZE: usize = 2 * ACCOUNTING_PITCH;

/// Length of a start claim and of a record of load averages, bytes.
pub const CLAIM_SIZE: usize = (HEAD + 2 + 1) * 8;
/// See [`CLAIM_SIZE`].
pub const LOAD_SIZE: usize = (HEAD + SAMPLE + 1) * 8;
/// The most bytes of an accounting record: a head with a checksum of its own, then the accounting.
pub const ACCOUNTING_SIZE: usize = ACCOUNTING_HEAD_SIZE + cpu_time::format::SIZE;
const ACCOUNTING_HEAD_SIZE: usize = (HEAD + 2 + 1) * 8;
/// Bytes of a record of tracked threads.
pub const TRACKED_SIZE: usize = (HEAD + 4 + PUBLISHED + 1) * 8;
/// Words of a sample.
const SAMPLE: usize = 15;
/// Words before the content of a record: magic and identity.
const HEAD: usize = 7;

const _: () = assert!(CLAIM_SIZE <= LOAD_AT && LOAD_SIZE <= LOAD_PITCH);
const _: () =
    assert!(LOAD_END <= ACCOUNTING_AT && ACCOUNTING_SIZE + TRACKED_SIZE <= ACCOUNTING_PITCH);

/// The start of each state file's name: "proclens", and the version of the layout, so that two
/// versions of the library in one container use two files.
pub const PREFIX: &[u8] = b"proclens-5-";

/// The part of a state file's name after [`PREFIX`], for any version of the layout: the files that an
/// older library left must be removed too.
fn after_version(name: &[u8]) -> Option<&[u8]> {
    match name.strip_prefix(b"proclens-")? {
        [version, b'-', rest @ ..] if version.is_ascii_digit() => Some(rest),
        _ => None,
    }
}

/// Returns whether `name` is that of a state file.
pub fn is_state_name(name: &[u8]) -> bool {
    after_version(name).is_some()
}

/// Kind of record, and the version of the layout.
const CLAIM: u64 = u64::from_be_bytes(*b"plclaim\x02");
const LOAD: u64 = u64::from_be_bytes(*b"plload \x02");
const TRACKED: u64 = u64::from_be_bytes(*b"pltrack\x02");
const ACCOUNTING: u64 = u64::from_be_bytes(*b"placcnt\x03");

/// The longest time that a record may name, microseconds: 285 years.
const LONGEST_US: u64 = 1 << 53;
/// The longest time for which a start claim may be valid, microseconds: an hour.
const LONGEST_CLAIM_US: u64 = 3_600_000_000;

/// Identifies one container. No two containers have the same identity, even if they share directories
/// or a PID namespace, or run one after the other with the same names and numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Device and inode of the container's cgroup directory.
    pub cgroup: [u64; 2],
    /// Inode of the PID namespace.
    pub pid_namespace: u64,
    /// When PID 1 of that namespace started, ticks since boot.
    pub start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot: [u64; 2],
}

impl Identity {
    /// The fields as words.
    pub fn words(&self) -> [u64; 6] {
        let Identity {
            cgroup: [device, inode],
            pid_namespace,
            start_ticks,
            boot: [b0, b1],
        } = *self;
        [device, inode, pid_namespace, start_ticks, b0, b1]
    }

    /// The identity of the state that `user` keeps beside the container's. The name of its file begins with the same
    /// numbers, so that it goes when the container's file goes.
    pub fn of_user(&self, user: u32) -> Identity {
        let [first, second] = self.boot;
        let mut sum = Checksum::new();
        [second, u64::from(user)]
            .into_iter()
            .for_each(|word| sum.add(word));
        Identity {
            boot: [first, sum.value()],
            ..*self
        }
    }

    /// Writes the name of the container's state file: `proclens-5-NAMESPACE-START-HASH`. The first two
    /// numbers show another container whether this one still exists ([`Identity::is_stale`]).
    pub fn file_name(&self, out: &mut Out<'_>) {
        let mut sum = Checksum::new();
        self.words().into_iter().for_each(|word| sum.add(word));
        out.bytes(PREFIX);
        out.decimal(self.pid_namespace);
        out.byte(b'-');
        out.decimal(self.start_ticks);
        out.byte(b'-');
        for byte in sum.value().to_be_bytes() {
            for digit in [byte >> 4, byte & 15] {
                out.byte(if digit < 10 { b'0' } else { b'a' - 10 }.wrapping_add(digit));
            }
        }
    }

    /// Returns whether `name` is the state file of a container that has ended. The kernel reuses the
    /// inode number of a namespace only after the namespace has gone. So if one of this process's own
    /// `namespaces` has the number of that container's PID namespace, the container has ended, unless
    /// both may have the same PID 1. A start of 0 means that the process was not allowed to see PID 1.
    pub fn is_stale(&self, name: &[u8], namespaces: &[u64]) -> bool {
        let numbers = || {
            let (namespace, rest) = text::cut(after_version(name)?, b'-')?;
            let (start, _) = text::cut(rest, b'-')?;
            Some((text::decimal(namespace)?, text::decimal(start)?))
        };
        numbers().is_some_and(|(namespace, start)| {
            let other_start = start != self.start_ticks && start != 0 && self.start_ticks != 0;
            namespaces.contains(&namespace) && (namespace != self.pid_namespace || other_start)
        })
    }

    /// The 128 bits of a boot id as the kernel prints it, `8-4-4-4-12` hexadecimal digits.
    pub fn boot_of(text: &[u8]) -> Option<[u64; 2]> {
        let mut digits = 0u32;
        let mut id = 0u128;
        for byte in text.trim_ascii().iter().filter(|b| **b != b'-') {
            let digit = char::from(*byte).to_digit(16)?;
            id = id << 4 | u128::from(digit);
            digits = digits.wrapping_add(1);
        }
        (digits == 32).then_some([(id >> 64) as u64, id as u64])
    }
}

/// The record that the sampler publishes after each cycle. The age of the last sample also shows
/// whether the sampler is alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampled {
    /// Counts up with each record.
    pub sequence: u64,
    /// The averages.
    pub averages: Averages,
    /// The tasks at the last sample.
    pub tasks: Tasks,
    /// A number that identifies the sampler.
    pub sampler: u64,
}

/// Reads the words of a record in order and computes their checksum.
struct Words<'b> {
    slots: core::slice::Iter<'b, [u8; 8]>,
    sum: Checksum,
}

impl<'b> Words<'b> {
    fn of(bytes: &'b [u8], at: usize, length: usize) -> Option<Words<'b>> {
        let record = bytes.get(at..at.checked_add(length)?)?;
        Some(Words {
            slots: record.as_chunks::<8>().0.iter(),
            sum: Checksum::new(),
        })
    }

    fn next(&mut self) -> Option<u64> {
        let word = u64::from_ne_bytes(*self.slots.next()?);
        self.sum.add(word);
        Some(word)
    }

    fn head(&mut self, magic: u64, identity: &Identity) -> Option<()> {
        let ours = core::iter::once(magic).chain(identity.words());
        let mut same = true;
        for word in ours {
            same &= self.next()? == word;
        }
        same.then_some(())
    }

    fn end(self) -> Option<()> {
        let Words { mut slots, sum } = self;
        (u64::from_ne_bytes(*slots.next()?) == sum.value()).then_some(())
    }
}

/// Writes a record and its checksum into `buffer`.
fn put(buffer: &mut [u8], magic: u64, identity: &Identity, body: &[u64]) {
    let mut sum = Checksum::new();
    let mut slots = buffer.as_chunks_mut::<8>().0.iter_mut();
    let words = core::iter::once(magic)
        .chain(identity.words())
        .chain(body.iter().copied());
    for (word, slot) in words.inspect(|word| sum.add(*word)).zip(&mut slots) {
        *slot = word.to_ne_bytes();
    }
    if let Some(slot) = slots.next() {
        *slot = sum.value().to_ne_bytes();
    }
}

/// Returns whether a start claim is valid at `now_us`, the age of the container in microseconds. `file`
/// is the beginning of the state file. A claim from the future is not valid.
pub fn is_claimed(file: &[u8], identity: &Identity, now_us: u64) -> bool {
    let claim = || {
        let mut words = Words::of(file, 0, CLAIM_SIZE)?;
        words.head(CLAIM, identity)?;
        let claim = (words.next()?, words.next()?);
        words.end()?;
        Some(claim)
    };
    claim().is_some_and(|(at_us, for_us)| {
        now_us
            .checked_sub(at_us)
            .is_some_and(|since_us| since_us < for_us.min(LONGEST_CLAIM_US))
    })
}

/// Makes the start claim at the beginning of the file: made at container age `at_us`, valid for
/// `for_us` microseconds. Each state file begins with a claim, see [`is_own`].
pub fn claim(identity: &Identity, at_us: u64, for_us: u64) -> [u8; CLAIM_SIZE] {
    let mut buffer = [0; CLAIM_SIZE];
    put(&mut buffer, CLAIM, identity, &[at_us, for_us]);
    buffer
}

/// Returns whether a file that begins with `file` is the state file of this container.
pub fn is_own(file: &[u8], identity: &Identity) -> bool {
    Words::of(file, 0, CLAIM_SIZE)
        .and_then(|mut words| words.head(CLAIM, identity))
        .is_some()
}

/// Finds the newest load averages and the number of their slot. `file` is the beginning of the state
/// file, `now_us` the age of the container. A record from the future is ignored.
pub fn sampled(file: &[u8], identity: &Identity, now_us: u64) -> Option<(u64, Sampled)> {
    let first = sampled_in(file, 0, identity, now_us).map(|found| (0, found));
    let second = sampled_in(file, 1, identity, now_us).map(|found| (1, found));
    match (first, second) {
        (Some(a), Some(b)) => Some(if a.1.sequence < b.1.sequence { b } else { a }),
        (a, b) => a.or(b),
    }
}

fn sampled_in(file: &[u8], slot: u64, identity: &Identity, now_us: u64) -> Option<Sampled> {
    let mut words = Words::of(file, load_at(slot), LOAD_SIZE)?;
    words.head(LOAD, identity)?;
    let mut sample = [0; SAMPLE];
    for word in &mut sample {
        *word = words.next()?;
    }
    let [
        sequence,
        last_sample_age_us,
        one,
        five,
        fifteen,
        cpu_us,
        pressure_us,
        running_now,
        blocked_now,
        running,
        used,
        tasks_running,
        tasks_blocked,
        tasks_total,
        sampler,
    ] = sample;
    let averages = Averages {
        last_sample_age_us,
        load: Load([one, five, fifteen]),
        cpu_us,
        pressure_us,
        active: Active {
            running: running_now,
            blocked: blocked_now,
        },
        running,
        used,
    };
    let tasks = Tasks {
        running: tasks_running,
        blocked: tasks_blocked,
        total: tasks_total,
    };
    words.end()?;
    let loads = [one, five, fifteen, running_now, blocked_now, running, used];
    let in_range = last_sample_age_us <= now_us
        && pressure_us <= LONGEST_US
        && cpu_us <= LONGEST_US
        && loads.iter().all(|load| *load <= MOST_TASKS << FSHIFT)
        && [tasks_running, tasks_blocked, tasks_total]
            .iter()
            .all(|n| *n <= MOST_TASKS);
    in_range.then_some(Sampled {
        sequence,
        averages,
        tasks,
        sampler,
    })
}

/// Offset of load slot 0 or 1.
pub fn load_at(slot: u64) -> usize {
    if slot == 0 {
        LOAD_AT
    } else {
        LOAD_AT + LOAD_PITCH
    }
}

/// Makes the record of a sample, which is written at [`load_at`].
pub fn sample(identity: &Identity, sampled: &Sampled) -> [u8; LOAD_SIZE] {
    let mut buffer = [0; LOAD_SIZE];
    let Averages {
        last_sample_age_us,
        load,
        cpu_us,
        pressure_us,
        active,
        running,
        used,
    } = sampled.averages;
    let Load([one, five, fifteen]) = load;
    let tasks = sampled.tasks;
    let words: [u64; SAMPLE] = [
        sampled.sequence,
        last_sample_age_us,
        one,
        five,
        fifteen,
        cpu_us,
        pressure_us,
        active.running,
        active.blocked,
        running,
        used,
        tasks.running,
        tasks.blocked,
        tasks.total,
        sampled.sampler,
    ];
    put(&mut buffer, LOAD, identity, &words);
    buffer
}

/// Parses the tracked threads of the sample with that sequence. `record` holds the bytes at
/// [`tracked_at`].
pub fn tracked(record: &[u8], identity: &Identity, sequence: u64) -> Option<Tracked> {
    let mut words = Words::of(record, 0, TRACKED_SIZE)?;
    words.head(TRACKED, identity)?;
    let same = words.next()? == sequence;
    let mut tracked = Tracked {
        published: words.next()?,
        all: words.next()?,
        untracked: words.next()?,
        ..Tracked::NONE
    };
    for id in &mut tracked.threads {
        let word = words.next()?;
        id.process = (word >> 32) as u32;
        id.thread = word as u32;
    }
    words.end()?;
    let sensible = tracked.published <= PUBLISHED as u64
        && tracked.published <= tracked.all
        && tracked.all <= MOST_TASKS
        && tracked.untracked <= MOST_TASKS << FSHIFT;
    (same && sensible).then_some(tracked)
}

/// Offset of the tracked threads of load slot 0 or 1.
pub fn tracked_at(slot: u64) -> usize {
    accounting_at(slot) + ACCOUNTING_PITCH - TRACKED_SIZE
}

/// Makes the record of tracked threads, which is written at [`tracked_at`].
pub fn track(identity: &Identity, sequence: u64, tracked: &Tracked) -> [u8; TRACKED_SIZE] {
    let mut buffer = [0; TRACKED_SIZE];
    let mut words = [0; 4 + PUBLISHED];
    let head = [sequence, tracked.published, tracked.all, tracked.untracked];
    let threads = tracked
        .threads
        .iter()
        .map(|id| u64::from(id.process) << 32 | u64::from(id.thread));
    for (to, from) in words.iter_mut().zip(head.into_iter().chain(threads)) {
        *to = from;
    }
    put(&mut buffer, TRACKED, identity, &words);
    buffer
}

/// An accounting in the shared state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredAccounting<'b> {
    /// The number of its slot.
    pub slot: u64,
    /// The key of the settings that it was made with. Accountings with different keys are not compared.
    pub key: u64,
    /// Counts up with each record.
    pub sequence: u64,
    /// Age of the container at its last reading, microseconds.
    pub age_us: u64,
    /// The accounting, in the format of [`Accounting::read`].
    pub bytes: &'b [u8],
}

/// Bytes of the record of an accounting with this many CPUs.
pub fn accounting_size(cpus: u64) -> usize {
    ACCOUNTING_HEAD_SIZE.saturating_add(cpu_time::format::size(cpus))
}

/// Finds the newest accounting, with any key. `slots` holds the beginnings of the records in the state file
/// at [`accounting_at`] 0 and 1.
pub fn newest_accounting<'b>(
    slots: [&'b [u8]; 2],
    identity: &Identity,
) -> Option<StoredAccounting<'b>> {
    let [first, second] = slots;
    let heads = slots.map(|slot| head_in(slot, identity));
    let [a, b] = heads.map(|head| head.map(|(_, sequence)| sequence));
    // The records are long, so check only the newer one. Check the other if the newer one is damaged.
    let (first, second) = if a < b {
        ((1, second), (0, first))
    } else {
        ((0, first), (1, second))
    };
    let of = |(slot, bytes)| {
        let [a, b] = heads;
        let (key, sequence) = if slot == 0 { a } else { b }?;
        let (age_us, bytes) = body_in(bytes)?;
        Some(StoredAccounting {
            slot,
            key,
            sequence,
            age_us,
            bytes,
        })
    };
    of(first).or_else(|| of(second))
}

/// True if one of the records is longer than the part that was read.
pub fn is_cut_off(slots: [&[u8]; 2]) -> bool {
    slots.into_iter().any(|slot| {
        let (_, body) = slot
            .split_at_checked(ACCOUNTING_HEAD_SIZE)
            .unwrap_or_default();
        Accounting::size_in(body).is_some_and(|size| size > body.len())
    })
}

/// Reads the key and sequence of the accounting in a slot.
fn head_in(slot: &[u8], identity: &Identity) -> Option<(u64, u64)> {
    let mut words = Words::of(slot, 0, ACCOUNTING_HEAD_SIZE)?;
    words.head(ACCOUNTING, identity)?;
    let head = (words.next()?, words.next()?);
    words.end()?;
    Some(head)
}

/// Returns the accounting in a slot and its age, if it is intact.
fn body_in(slot: &[u8]) -> Option<(u64, &[u8])> {
    let (_, body) = slot.split_at_checked(ACCOUNTING_HEAD_SIZE)?;
    let body = body.get(..Accounting::size_in(body)?)?;
    Some((Accounting::age_in(body)?, body))
}

/// Offset of accounting slot 0 or 1.
pub fn accounting_at(slot: u64) -> usize {
    if slot == 0 {
        ACCOUNTING_AT
    } else {
        ACCOUNTING_AT + ACCOUNTING_PITCH
    }
}

/// Writes the record of an accounting, for the file at [`accounting_at`], into `buffer`. `None` if `buffer` has
/// less than [`accounting_size`] bytes.
pub fn write_accounting<'b>(
    identity: &Identity,
    key: u64,
    sequence: u64,
    accounting: &Accounting,
    buffer: &'b mut [u8],
) -> Option<&'b [u8]> {
    let (head, body) = buffer.split_at_mut_checked(ACCOUNTING_HEAD_SIZE)?;
    put(head, ACCOUNTING, identity, &[key, sequence]);
    let size = accounting.write(body)?;
    buffer.get(..ACCOUNTING_HEAD_SIZE.saturating_add(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_is_128_bits() {
        let id = Identity::boot_of(b"01234567-89ab-cdef-0011-2233445566ff\n");
        assert_eq!(id, Some([0x0123_4567_89ab_cdef, 0x0011_2233_4455_66ff]));
        for text in ["", "-", "0123", "01234567-89ab-cdef-0011-2233445566fg", "x"] {
            assert_eq!(Identity::boot_of(text.as_bytes()), None);
        }
        let long = [b'a'; 33];
        assert_eq!(Identity::boot_of(&long), None);
    }
}
