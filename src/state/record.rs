//! The layout of the shared state: plain words in the machine's byte order, each record with its
//! own magic, the container it belongs to, and a checksum.
//!
//! ```text
//! offset   0  claim: when somebody last set out to start a sampler
//!        256  load, first slot
//!        512  load, second slot
//!       1024  ledger, first slot
//!       7168  ledger, second slot
//! ```
//!
//! Each record is written over the older of its two slots, so that a writer that dies in the
//! middle leaves the other one whole, and the newer whole one counts. What does not fit (another
//! version, another container, a torn or made-up record) is as if it were not there.
#![forbid(unsafe_code)]

use crate::ledger::{self, Checksum, Ledger};
use crate::load::{Active, Averages, FSHIFT, MOST_TASKS};
use crate::snapshot::{Load, Tasks};
use crate::text::Out;

/// Length of the file, bytes.
pub const FILE_SIZE: usize = LEDGER_AT + 2 * LEDGER_PITCH;
/// How much of the file, from its start, holds claim and load.
pub const LOAD_END: usize = LOAD_AT + 2 * LOAD_PITCH;
const LEDGER_AT: usize = 1024;
const LEDGER_PITCH: usize = 6144;
const LOAD_AT: usize = 256;
const LOAD_PITCH: usize = 256;
/// Bytes of both ledger slots.
pub const LEDGERS_SIZE: usize = 2 * LEDGER_PITCH;

/// Bytes of a claim and of a load record.
pub const CLAIM_SIZE: usize = (HEAD + 1 + 1) * 8;
/// See [`CLAIM_SIZE`].
pub const LOAD_SIZE: usize = (HEAD + SAMPLE + 1) * 8;
/// The most bytes of a ledger record: its head with a checksum of its own, then the ledger.
pub const LEDGER_SIZE: usize = LEDGER_HEAD_SIZE + ledger::SIZE;
const LEDGER_HEAD_SIZE: usize = (HEAD + 2 + 1) * 8;
/// Words of a sample.
const SAMPLE: usize = 14;
/// Words before what a record holds: magic and identity.
const HEAD: usize = 7;

const _: () = assert!(CLAIM_SIZE <= LOAD_AT && LOAD_SIZE <= LOAD_PITCH);
const _: () = assert!(LOAD_END <= LEDGER_AT && LEDGER_SIZE <= LEDGER_PITCH);

/// "proclens", with the kind of record and the version of the layout.
const CLAIM: u64 = u64::from_be_bytes(*b"plclaim\x01");
const LOAD: u64 = u64::from_be_bytes(*b"plload \x01");
const LEDGER: u64 = u64::from_be_bytes(*b"plledge\x01");

/// Which container this is. No two have the same one, also when they share directories or the
/// PID namespace, and none that comes later on the same names and numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Device and inode of the container's cgroup directory.
    pub cgroup: [u64; 2],
    /// Inode of the PID namespace.
    pub pid_namespace: u64,
    /// When its PID 1 started, ticks since boot.
    pub start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot: [u64; 2],
}

impl Identity {
    fn words(&self) -> [u64; 6] {
        let Identity {
            cgroup: [device, inode],
            pid_namespace,
            start_ticks,
            boot: [b0, b1],
        } = *self;
        [device, inode, pid_namespace, start_ticks, b0, b1]
    }

    /// Writes the name of the container's state file.
    pub fn file_name(&self, out: &mut Out<'_>) {
        let mut sum = Checksum::new();
        self.words().into_iter().for_each(|word| sum.add(word));
        out.bytes(b"proclens-");
        for byte in sum.value().to_be_bytes() {
            for digit in [byte >> 4, byte & 15] {
                out.byte(if digit < 10 { b'0' } else { b'a' - 10 }.wrapping_add(digit));
            }
        }
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

/// What the sampler leaves after each of its cycles. It is also its sign of life: the age of the
/// last sample says when it last was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampled {
    /// Counts up with each record.
    pub sequence: u64,
    /// The averages.
    pub averages: Averages,
    /// What was counted.
    pub tasks: Tasks,
}

/// Reads words off a record and sums them up.
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

/// Writes a record into `room`, checksum behind it.
fn put(room: &mut [u8], magic: u64, identity: &Identity, body: &[u64]) {
    let mut sum = Checksum::new();
    let mut slots = room.as_chunks_mut::<8>().0.iter_mut();
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

/// When somebody last set out to start a sampler: age of the container in microseconds. `file` is
/// the beginning of the state file.
pub fn claimed(file: &[u8], identity: &Identity) -> Option<u64> {
    let mut words = Words::of(file, 0, CLAIM_SIZE)?;
    words.head(CLAIM, identity)?;
    let age_us = words.next()?;
    words.end()?;
    Some(age_us)
}

/// The record of a claim, to be written at the start of the file.
pub fn claim(identity: &Identity, age_us: u64) -> [u8; CLAIM_SIZE] {
    let mut room = [0; CLAIM_SIZE];
    put(&mut room, CLAIM, identity, &[age_us]);
    room
}

/// The newest load record and the number of its slot. `file` is the beginning of the state file,
/// `now_us` the age of the container: a record of the future is none.
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
    let sequence = words.next()?;
    let averages = Averages {
        last_sample_age_us: words.next()?,
        load: Load([words.next()?, words.next()?, words.next()?]),
        cpu_us: words.next()?,
        pressure_us: words.next()?,
        active: Active {
            running: words.next()?,
            blocked: words.next()?,
        },
        running: words.next()?,
        used: words.next()?,
    };
    let tasks = Tasks {
        running: words.next()?,
        blocked: words.next()?,
        total: words.next()?,
    };
    words.end()?;
    let Averages {
        load: Load(load),
        active,
        running,
        used,
        ..
    } = averages;
    let loads = [active.running, active.blocked, running, used];
    let sensible = averages.last_sample_age_us <= now_us
        && load
            .iter()
            .chain(&loads)
            .all(|load| *load <= MOST_TASKS << FSHIFT)
        && [tasks.running, tasks.blocked, tasks.total]
            .iter()
            .all(|n| *n <= MOST_TASKS);
    sensible.then_some(Sampled {
        sequence,
        averages,
        tasks,
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

/// The record of a sample, to be written at [`load_at`].
pub fn sample(identity: &Identity, sampled: &Sampled) -> [u8; LOAD_SIZE] {
    let mut room = [0; LOAD_SIZE];
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
    ];
    put(&mut room, LOAD, identity, &words);
    room
}

/// A ledger in the shared state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered<'b> {
    /// Its slot.
    pub slot: u64,
    /// What it is kept under: ledgers of other settings are other ledgers.
    pub key: u64,
    /// Counts up with each record.
    pub sequence: u64,
    /// Age of the container at its last reading, microseconds.
    pub age_us: u64,
    /// What [`Ledger::read`] takes.
    pub bytes: &'b [u8],
}

/// Bytes of the record of a ledger with so many CPUs.
pub fn ledger_size(cpus: u64) -> usize {
    LEDGER_HEAD_SIZE.saturating_add(ledger::size(cpus))
}

/// The newest ledger, whatever it is kept under. `slots` are the beginnings of what is in the state
/// file at [`ledger_at`] 0 and 1.
pub fn entered<'b>(slots: [&'b [u8]; 2], identity: &Identity) -> Option<Entered<'b>> {
    let [first, second] = slots;
    let heads = slots.map(|slot| head_in(slot, identity));
    let [a, b] = heads.map(|head| head.map(|(_, sequence)| sequence));
    // What is long is looked at in one of them only, if that is whole.
    let (first, second) = if a < b {
        ((1, second), (0, first))
    } else {
        ((0, first), (1, second))
    };
    let of = |(slot, bytes)| {
        let [a, b] = heads;
        let (key, sequence) = if slot == 0 { a } else { b }?;
        let (age_us, bytes) = body_in(bytes)?;
        Some(Entered {
            slot,
            key,
            sequence,
            age_us,
            bytes,
        })
    };
    of(first).or_else(|| of(second))
}

/// True if one of the records goes on behind what was read of it.
pub fn goes_on(slots: [&[u8]; 2]) -> bool {
    slots.into_iter().any(|slot| {
        let (_, body) = slot.split_at_checked(LEDGER_HEAD_SIZE).unwrap_or_default();
        Ledger::size_in(body).is_some_and(|size| size > body.len())
    })
}

/// Key and sequence of the ledger in a slot.
fn head_in(slot: &[u8], identity: &Identity) -> Option<(u64, u64)> {
    let mut words = Words::of(slot, 0, LEDGER_HEAD_SIZE)?;
    words.head(LEDGER, identity)?;
    let head = (words.next()?, words.next()?);
    words.end()?;
    Some(head)
}

/// The ledger in a slot and its age, if it is whole.
fn body_in(slot: &[u8]) -> Option<(u64, &[u8])> {
    let (_, body) = slot.split_at_checked(LEDGER_HEAD_SIZE)?;
    let body = body.get(..Ledger::size_in(body)?)?;
    Some((Ledger::age_in(body)?, body))
}

/// Offset of ledger slot 0 or 1.
pub fn ledger_at(slot: u64) -> usize {
    if slot == 0 {
        LEDGER_AT
    } else {
        LEDGER_AT + LEDGER_PITCH
    }
}

/// Writes the record of a ledger into `room`: what is to be written at [`ledger_at`]. `None` if
/// there is not room for [`ledger_size`] bytes.
pub fn enter<'b>(
    identity: &Identity,
    key: u64,
    sequence: u64,
    ledger: &Ledger,
    room: &'b mut [u8],
) -> Option<&'b [u8]> {
    let (head, body) = room.split_at_mut_checked(LEDGER_HEAD_SIZE)?;
    put(head, LEDGER, identity, &[key, sequence]);
    let size = ledger.write(body)?;
    room.get(..LEDGER_HEAD_SIZE.saturating_add(size))
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
