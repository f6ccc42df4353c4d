//! Affinity masks: reduces a mask to the number of CPUs of the container, and records what is needed to
//! restore a reduced mask (NUMBERS section 2).
//!
//! A program that saves its mask, pins itself and restores the mask (OpenMP at its first parallel
//! region) passes the reduced mask to the kernel. Without this record the program would stay on the
//! first CPUs forever. A `fork` child has a copy of the record. After `exec` the record is gone: a new
//! program has not read a mask yet.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Words of a mask of 8,192 CPUs, the most that a kernel can be configured for.
const WORDS: usize = 128;

/// The words of a mask in the layout of the kernel on this machine. Missing bytes of the last word are 0.
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        u64::from_ne_bytes(word)
    })
}

/// How many CPUs the mask in `bytes` has.
pub fn count(bytes: &[u8]) -> u32 {
    // Most words are 0, and not every x86-64 has an instruction that counts bits.
    let used = words(bytes).filter(|word| *word != 0);
    used.map(u64::count_ones).fold(0, u32::wrapping_add)
}

/// Keeps the first `count` CPUs of the mask in `bytes`.
pub fn keep_first(bytes: &mut [u8], count: u32) {
    let mut left = count;
    for chunk in bytes.chunks_mut(8) {
        let Some(word) = words(chunk).next().filter(|word| *word != 0) else {
            continue;
        };
        for (to, from) in chunk
            .iter_mut()
            .zip(take_first(word, &mut left).to_ne_bytes())
        {
            *to = from;
        }
    }
}

/// True if every bit of the mask is set. A thread attribute without a mask has this value.
pub fn is_full(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| *byte == u8::MAX)
}

/// A set of CPUs: CPU `c` is bit `c % 64` of word `c / 64`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mask([u64; WORDS]);

impl Default for Mask {
    fn default() -> Self {
        Mask::new()
    }
}

impl Mask {
    /// Bytes of a mask.
    pub const BYTES: usize = WORDS * 8;

    /// The empty set.
    pub const fn new() -> Mask {
        Mask([0; WORDS])
    }

    /// Makes a mask from `bytes` in the layout of the kernel on this machine. Missing bytes are 0;
    /// bytes beyond [`Mask::BYTES`] are ignored.
    pub fn from_bytes(bytes: &[u8]) -> Mask {
        let mut mask = Mask::new();
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        let words = words.iter().chain(core::iter::once(&last));
        for (to, bytes) in mask.0.iter_mut().zip(words) {
            *to = u64::from_ne_bytes(*bytes);
        }
        mask
    }

    /// The set of `cpus`. CPUs from 8,192 on are ignored.
    pub fn of(cpus: impl Iterator<Item = u32>) -> Mask {
        let mut mask = Mask::new();
        for cpu in cpus {
            if let Some(word) = mask.0.get_mut(cpu as usize / 64) {
                *word |= 1u64.wrapping_shl(cpu);
            }
        }
        mask
    }

    /// True if `cpu` is in the mask.
    pub fn contains(&self, cpu: u32) -> bool {
        let word = self.0.get(cpu as usize / 64);
        word.is_some_and(|word| word.wrapping_shr(cpu) & 1 == 1)
    }

    /// Writes the mask into the whole words of `bytes`, as many words as fit.
    pub fn write(&self, bytes: &mut [u8]) {
        let (words, _) = bytes.as_chunks_mut::<8>();
        for (to, word) in words.iter_mut().zip(&self.0) {
            *to = word.to_ne_bytes();
        }
    }

    /// The mask in the layout of the kernel on this machine.
    pub fn bytes(&self) -> [u8; Mask::BYTES] {
        let mut bytes = [0; Mask::BYTES];
        self.write(&mut bytes);
        bytes
    }

    /// The words, for a system call that reads or fills them.
    pub fn words(&mut self) -> &mut [u64; WORDS] {
        &mut self.0
    }

    /// The number of words up to the last CPU.
    fn length(&self) -> usize {
        let used = (1..).zip(&self.0).filter(|(_, word)| **word != 0);
        used.last().map_or(0, |(end, _)| end)
    }

    /// The length of the mask in bytes, in whole words, up to the last CPU.
    pub fn length_in_bytes(&self) -> usize {
        self.length().wrapping_mul(8)
    }

    /// How many CPUs the mask has.
    pub fn count(&self) -> u32 {
        let ones = self.0.iter().map(|word| word.count_ones());
        ones.fold(0, u32::wrapping_add)
    }

    /// Keeps the first `count` CPUs of the mask.
    pub fn keep_first(&mut self, count: u32) {
        let mut left = count;
        for word in &mut self.0 {
            *word = take_first(*word, &mut left);
        }
    }
}

/// Returns the lowest `left` bits that are set in `word`, and subtracts their number from `left`.
fn take_first(mut word: u64, left: &mut u32) -> u64 {
    if word == 0 {
        return 0;
    }
    let mut ones = word.count_ones();
    while ones > *left {
        // Remove the highest CPU of the word first.
        word &= !(1u64 << 63).wrapping_shr(word.leading_zeros());
        ones = ones.wrapping_sub(1);
    }
    *left = left.saturating_sub(ones);
    word
}

/// How a program read a mask that was then reduced.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// The thread whose mask was read, as a number that hardly any other thread has; 0 if the thread is
    /// not known.
    pub thread: u32,
    /// Set if the program may only want the size of the kernel's masks. `taskset` and libnuma make the
    /// raw system call with more space than needed, use the number of bytes that it returns, and then
    /// set the mask that the user chose.
    pub probe: Option<MaskBuffer>,
}

/// Where a mask is in the program's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskBuffer {
    /// Size of the mask in bytes, as the program passed it.
    pub size: usize,
    /// Address of the first byte.
    pub address: usize,
}

/// The number of reduced masks that are recorded. A process meets one or two masks, and one more at
/// each change of quota.
const SLOTS: usize = 16;
/// The number of threads for which the last mask is recorded.
const THREADS: usize = 64;

/// The record of the masks that the library reduced for this process. There is no lock. A slot is
/// skipped while it is being written, by another thread or by the code that a signal handler interrupted.
#[repr(C)]
pub struct Reductions {
    next: AtomicU32,
    clock: AtomicU32,
    /// Indexed by thread number modulo [`THREADS`]: the thread number, and the slot number plus 1.
    threads: [AtomicU64; THREADS],
    slots: [Slot; SLOTS],
}

/// One mask as the kernel returned it, and the number of CPUs to which it was reduced.
#[repr(C)]
struct Slot {
    /// Odd while the slot is written; 0 before the first time.
    version: AtomicU32,
    /// The number of CPUs that the reduced mask has.
    count: AtomicU32,
    /// When the program last read it, by [`Reductions::clock`].
    read: AtomicU32,
    /// Words in use.
    length: AtomicU32,
    /// [`Reader::probe`]; the size is 0 if the program wanted the mask itself.
    probe_size: AtomicUsize,
    probe_address: AtomicUsize,
    words: [AtomicU64; WORDS],
}

impl Default for Reductions {
    fn default() -> Self {
        Reductions::new()
    }
}

impl Reductions {
    /// An empty record.
    pub const fn new() -> Reductions {
        Reductions {
            next: AtomicU32::new(0),
            clock: AtomicU32::new(0),
            threads: [const { AtomicU64::new(0) }; THREADS],
            slots: [const { Slot::new() }; SLOTS],
        }
    }

    /// Forgets all masks. Nothing else may use the record meanwhile.
    #[cfg(feature = "tool")]
    pub fn forget(&self) {
        for thread in &self.threads {
            thread.store(0, Ordering::Relaxed);
        }
        for slot in &self.slots {
            slot.version.store(0, Ordering::Relaxed);
        }
    }

    /// Records that the mask in the bytes `whole` was reduced to its first `count` CPUs for `reader`.
    pub fn remember(&self, reader: Reader, whole: &[u8], count: u32) {
        let known = (0..)
            .zip(&self.slots)
            .find(|(_, slot)| slot.count() == Some(count) && slot.begins_with(whole, u32::MAX));
        let now = self.clock.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let (number, slot) = match known {
            Some((number, slot)) => {
                // A mask that was read once without a probe is not a probe any more.
                if slot.probe_size.load(Ordering::Relaxed) != 0 {
                    slot.set_probe(reader.probe);
                }
                (number, slot)
            }
            None => {
                let number = self.next.fetch_add(1, Ordering::Relaxed) as usize % SLOTS;
                let Some(slot) = self.slots.get(number) else {
                    return;
                };
                if !slot.write(whole, count, reader.probe) {
                    return;
                }
                (number as u64, slot)
            }
        };
        slot.read.store(now, Ordering::Relaxed);
        if reader.thread != 0
            && let Some(entry) = self.threads.get(reader.thread as usize % THREADS)
        {
            let entry_now = u64::from(reader.thread) << 32 | number.wrapping_add(1);
            entry.store(entry_now, Ordering::Relaxed);
        }
    }

    /// Returns the whole mask if the bytes `set` are its reduced form and the program sets it for `thread`
    /// (0: not known) from `buffer`. `current` is the mask that the thread has now.
    ///
    /// Several masks can have the same first CPUs. The order of preference is: the mask that was last
    /// read of this thread, the mask that the thread has now, the mask that was last read of any
    /// thread. The last one counts only if `is_own` says that the thread belongs to the program's own
    /// process: another process may have been pinned on purpose before the program met it.
    pub fn restored(
        &self,
        thread: u32,
        set: &[u8],
        buffer: MaskBuffer,
        current: Option<&[u8]>,
        is_own: impl FnOnce() -> bool,
    ) -> Option<Mask> {
        let entry = self.threads.get(thread as usize % THREADS)?;
        let entry = entry.load(Ordering::Relaxed);
        let of_thread = (thread != 0 && entry >> 32 == u64::from(thread)).then_some(entry as u32);
        const OF_ANY_THREAD: u32 = 2;
        let mut best: Option<((u32, u32), &Slot)> = None;
        let now = self.clock.load(Ordering::Relaxed);
        for (number, slot) in (1..).zip(&self.slots) {
            let Some(count) = slot.count() else {
                continue;
            };
            let probe = MaskBuffer {
                size: slot.probe_size.load(Ordering::Relaxed),
                address: slot.probe_address.load(Ordering::Relaxed),
            };
            let was_read =
                probe.size == 0 || probe.size == buffer.size || probe.address == buffer.address;
            if !was_read || !slot.begins_with(set, count) {
                continue;
            }
            let kind = if of_thread == Some(number) {
                0
            } else if current.is_some_and(|current| slot.begins_with(current, u32::MAX)) {
                1
            } else {
                OF_ANY_THREAD
            };
            // A lower rank is better: first the kind, then the time since the mask was read.
            let rank = (kind, now.wrapping_sub(slot.read.load(Ordering::Relaxed)));
            if best.as_ref().is_none_or(|(best, _)| rank < *best) {
                best = Some((rank, slot));
            }
        }
        let ((kind, _), slot) = best?;
        if kind == OF_ANY_THREAD && !is_own() {
            return None;
        }
        let mut whole = Mask::new();
        slot.read(&mut whole)?;
        Some(whole)
    }
}

impl Slot {
    const fn new() -> Slot {
        Slot {
            version: AtomicU32::new(0),
            count: AtomicU32::new(0),
            read: AtomicU32::new(0),
            length: AtomicU32::new(0),
            probe_size: AtomicUsize::new(0),
            probe_address: AtomicUsize::new(0),
            words: [const { AtomicU64::new(0) }; WORDS],
        }
    }

    /// The number of CPUs to which the mask was reduced. `None` for an empty slot and for a slot that is
    /// being written.
    fn count(&self) -> Option<u32> {
        let version = self.version.load(Ordering::Acquire);
        let count = self.count.load(Ordering::Relaxed);
        (version != 0 && version.is_multiple_of(2)).then_some(count)
    }

    /// True if the bytes `first` are the first `count` CPUs of the mask. False for an empty slot, and for
    /// a slot that is being written.
    fn begins_with(&self, first: &[u8], count: u32) -> bool {
        let version = self.version.load(Ordering::Acquire);
        if version == 0 || !version.is_multiple_of(2) {
            return false;
        }
        let length = self.length.load(Ordering::Relaxed) as usize;
        let mut left = count;
        let mut first = words(first);
        let mut kept = self.words.iter().take(length);
        let same = kept.all(|word| {
            let word = take_first(word.load(Ordering::Relaxed), &mut left);
            word == first.next().unwrap_or(0)
        });
        let same = same && first.all(|word| word == 0);
        fence(Ordering::Acquire);
        same && self.version.load(Ordering::Relaxed) == version
    }

    /// Copies the mask and returns the number of CPUs to which it was reduced. `None` for an empty slot
    /// and for a slot that is being written.
    fn read(&self, mask: &mut Mask) -> Option<u32> {
        let version = self.version.load(Ordering::Acquire);
        if version == 0 || !version.is_multiple_of(2) {
            return None;
        }
        let count = self.count.load(Ordering::Relaxed);
        let length = self.length.load(Ordering::Relaxed) as usize;
        for (i, (to, from)) in mask.0.iter_mut().zip(&self.words).enumerate() {
            *to = if i < length {
                from.load(Ordering::Relaxed)
            } else {
                0
            };
        }
        fence(Ordering::Acquire);
        (self.version.load(Ordering::Relaxed) == version).then_some(count)
    }

    /// Writes the slot. Returns false if another thread is writing it.
    fn write(&self, mask: &[u8], count: u32, probe: Option<MaskBuffer>) -> bool {
        let version = self.version.load(Ordering::Relaxed);
        let started = version.is_multiple_of(2)
            && self
                .version
                .compare_exchange(
                    version,
                    version.wrapping_add(1),
                    Ordering::Acquire,
                    Ordering::Relaxed,
                )
                .is_ok();
        if !started {
            return false;
        }
        fence(Ordering::Release);
        let mut length = 0;
        self.count.store(count, Ordering::Relaxed);
        for ((to, from), end) in self.words.iter().zip(words(mask)).zip(1..) {
            to.store(from, Ordering::Relaxed);
            if from != 0 {
                length = end;
            }
        }
        self.length.store(length, Ordering::Relaxed);
        self.set_probe(probe);
        self.version
            .store(version.wrapping_add(2), Ordering::Release);
        true
    }

    fn set_probe(&self, probe: Option<MaskBuffer>) {
        self.probe_size
            .store(probe.map_or(0, |p| p.size), Ordering::Relaxed);
        self.probe_address
            .store(probe.map_or(0, |p| p.address), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(cpus: &[u32]) -> Mask {
        let mask = Mask::of(cpus.iter().copied());
        assert!(cpus.iter().all(|cpu| mask.contains(*cpu)) && !mask.contains(5000));
        mask
    }

    const ELSEWHERE: MaskBuffer = MaskBuffer {
        size: 128,
        address: 0x1000,
    };
    const READ: Reader = Reader {
        thread: 7,
        probe: None,
    };

    fn restored(known: &Reductions, thread: u32, set: &Mask) -> Option<Mask> {
        known.restored(thread, &set.bytes(), ELSEWHERE, None, || true)
    }

    #[test]
    fn a_mask_keeps_its_first_cpus() {
        let first = |cpus: &[u32], count| {
            let whole = mask(cpus);
            let mut first = whole.clone();
            first.keep_first(count);
            let mut bytes = whole.bytes();
            super::keep_first(&mut bytes, count);
            assert_eq!(Mask::from_bytes(&bytes), first);
            assert_eq!(super::count(&bytes), first.count());
            first
        };
        assert_eq!(first(&[1, 3, 64, 200], 2), mask(&[1, 3]));
        assert_eq!(first(&[1, 3, 64, 200], 3), mask(&[1, 3, 64]));
        assert_eq!(first(&[63, 8191], 9), mask(&[63, 8191]));
        assert_eq!(first(&[], 1), mask(&[]));
        assert_eq!(first(&[63], 0), mask(&[]));
    }

    #[test]
    fn bytes_lead_back() {
        let mask = mask(&[0, 9, 70]);
        let mut bytes = [0xff; 20];
        mask.write(&mut bytes);
        assert_eq!(bytes[..3], [1, 2, 0]);
        assert_eq!(bytes[16..], [0xff; 4]);
        assert_eq!(Mask::from_bytes(&bytes[..16]), mask);
        assert_eq!(Mask::from_bytes(&[2]), super::tests::mask(&[1]));
        assert_eq!(Mask::from_bytes(&[0xff; 1025]).count(), 8192);
        assert_eq!((mask.count(), mask.length_in_bytes()), (3, 16));
    }

    #[test]
    fn bytes_that_are_no_whole_words() {
        let mut bytes = [0xff; 9];
        super::keep_first(&mut bytes, 66);
        assert_eq!(bytes[8], 3);
        assert_eq!(super::count(&bytes), 66);
        assert!(super::is_full(&bytes[..8]) && !super::is_full(&bytes) && !super::is_full(&[]));
        // A mask is the same with and without zeros behind.
        let known = Reductions::new();
        known.remember(READ, &[7], 1);
        known.remember(READ, &[7, 0, 0, 0, 0, 0, 0, 0, 0], 1);
        assert_eq!(known.next.load(Ordering::Relaxed), 1);
        let set = |bytes: &[u8]| known.restored(7, bytes, ELSEWHERE, None, || true);
        assert_eq!(set(&[1]), Some(mask(&[0, 1, 2])));
        assert_eq!(set(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), set(&[1]));
        assert_eq!(set(&[1, 0, 0, 0, 0, 0, 0, 0, 1]), None);
        assert_eq!(set(&[]), None);
    }

    #[test]
    fn only_a_reduced_mask_is_restored() {
        let known = Reductions::new();
        assert_eq!(restored(&known, 7, &mask(&[0])), None);
        known.remember(READ, &mask(&[0, 1, 2]).bytes(), 1);
        assert_eq!(restored(&known, 7, &mask(&[0])), Some(mask(&[0, 1, 2])));
        // The mask is also restored in another thread and in a child.
        assert_eq!(restored(&known, 8, &mask(&[0])), Some(mask(&[0, 1, 2])));
        for other in [&[1][..], &[0, 1], &[], &[0, 64]] {
            assert_eq!(restored(&known, 7, &mask(other)), None);
        }
        // After a change of quota, the masks that were read before can still be restored.
        known.remember(READ, &mask(&[0, 1, 2]).bytes(), 2);
        assert_eq!(restored(&known, 7, &mask(&[0])), Some(mask(&[0, 1, 2])));
        assert_eq!(restored(&known, 7, &mask(&[0, 1])), Some(mask(&[0, 1, 2])));
    }

    #[test]
    fn of_several_masks_the_threads_own_counts() {
        let known = Reductions::new();
        let (all, node) = (mask(&[0, 1, 2, 3]), mask(&[0, 1]));
        known.remember(READ, &all.bytes(), 1);
        known.remember(Reader { thread: 8, ..READ }, &node.bytes(), 1);
        let first = mask(&[0]);
        assert_eq!(restored(&known, 7, &first), Some(all.clone()));
        assert_eq!(restored(&known, 8, &first), Some(node.clone()));
        // For a third thread: the mask that it has, else the mask that was read last.
        assert_eq!(restored(&known, 9, &first), Some(node));
        let current = known.restored(9, &first.bytes(), ELSEWHERE, Some(&all.bytes()), || false);
        assert_eq!(current, Some(all));
    }

    #[test]
    fn another_process_gets_the_mask_that_is_set() {
        let known = Reductions::new();
        let (all, first) = (mask(&[0, 1]).bytes(), mask(&[0]).bytes());
        known.remember(READ, &all, 1);
        let set = |thread, current: &[u8]| {
            let whole = known.restored(thread, &first, ELSEWHERE, Some(current), || false);
            whole.is_some()
        };
        assert!(!set(8, &mask(&[1]).bytes()));
        // It has the whole mask; its mask was read.
        assert!(set(8, &all) && set(7, &mask(&[1]).bytes()));
    }

    /// util-linux's taskset reads the size of the kernel's masks before it sets the user's mask.
    #[test]
    fn a_probe_for_the_size_is_no_reading() {
        let known = Reductions::new();
        let buffer = MaskBuffer {
            size: 256,
            address: 0x2000,
        };
        let probe = Reader {
            thread: 7,
            probe: Some(buffer),
        };
        known.remember(probe, &mask(&[0, 1]).bytes(), 1);
        let set = |buffer| {
            known
                .restored(7, &mask(&[0]).bytes(), buffer, None, || true)
                .is_some()
        };
        assert!(!set(MaskBuffer {
            size: 8,
            address: 0x3000
        }));
        // A mask in the same buffer, or of the same size, was read by the program.
        assert!(
            set(MaskBuffer { size: 8, ..buffer })
                && set(MaskBuffer {
                    address: 1,
                    ..buffer
                })
        );
        known.remember(READ, &mask(&[0, 1]).bytes(), 1);
        known.remember(probe, &mask(&[0, 1]).bytes(), 1);
        assert!(set(ELSEWHERE));
    }

    #[test]
    fn the_oldest_of_many_masks_is_forgotten() {
        let known = Reductions::new();
        for cpu in 1..=SLOTS as u32 + 1 {
            known.remember(READ, &mask(&[0, cpu]).bytes(), 1);
        }
        let last = mask(&[0, SLOTS as u32 + 1]);
        assert_eq!(restored(&known, 7, &mask(&[0])), Some(last));
        let slots = known.slots.iter();
        assert_eq!(
            slots
                .filter(|slot| slot.read(&mut Mask::new()).is_some())
                .count(),
            SLOTS
        );
    }

    #[test]
    fn a_slot_that_is_written_is_passed_over() {
        let known = Reductions::new();
        known.remember(READ, &mask(&[0, 1]).bytes(), 1);
        known.slots[0].version.fetch_add(1, Ordering::Relaxed);
        assert_eq!(restored(&known, 7, &mask(&[0])), None);
        // This is the state of a child if `fork` happens at that moment. The next slot is used.
        known.remember(READ, &mask(&[0, 1]).bytes(), 1);
        assert_eq!(restored(&known, 7, &mask(&[0])), Some(mask(&[0, 1])));
    }
}
