//! The CPU-time accounting that the threads of one process share. It holds the last reported values, so
//! that the process never reports less, with or without shared state.
//!
//! No thread waits for another. Each thread copies the published result, continues a copy, and publishes
//! that only if no other thread has published in between. Otherwise the thread starts again from the
//! newer result. So every result that was reported is contained in each later one, also if a thread is
//! stopped in the middle.

use super::accounting::REPEAT_US;
use super::store::Store;
use crate::cpu_time::format::SIZE;
use crate::cpu_time::{Accounting, Sample};
use crate::mem::{Arena, TryCell, Zeroed};
use crate::sys::Errno;
use crate::sys::process::let_others_run;
use core::sync::atomic::{AtomicU64, Ordering, fence};

/// Number of words of the identity of the container, and of an accounting in the format of
/// [`Accounting::write`].
const OWNER: usize = 6;
const WORDS: usize = SIZE / 8;

/// Slots for results: one holds the published result, the others are for threads that write one. A
/// thread that is stopped while it writes keeps its slot.
const SLOTS: usize = 8;

/// The outcome of [`ProcessAccounts::publish`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Published {
    Yes,
    /// Another thread published first.
    Overtaken,
    /// Threads that were stopped hold all slots.
    NoSlot,
}

/// How often a thread starts again because another thread published first.
const ATTEMPTS: usize = 64;

/// The CPU-time accounting of one process.
#[repr(C)]
pub struct ProcessAccounts {
    /// The number of publications, times [`SLOTS`], plus the number of the slot with the newest result.
    published: AtomicU64,
    slots: [Slot; SLOTS],
}

#[repr(C)]
struct Slot {
    /// Taken by the thread that writes into the slot.
    writer: TryCell<()>,
    owner: [AtomicU64; OWNER],
    accounting: [AtomicU64; WORDS],
}

// SAFETY: only integers, and a cell that is not taken if it is zero.
unsafe impl Zeroed for ProcessAccounts {}
// SAFETY: numbers only; an empty accounting is all zeros (`Accounting::is_empty`).
unsafe impl Zeroed for Accounting {}

impl Default for ProcessAccounts {
    fn default() -> Self {
        ProcessAccounts::new()
    }
}

impl ProcessAccounts {
    /// Accounting without a result.
    pub const fn new() -> Self {
        ProcessAccounts {
            published: AtomicU64::new(0),
            slots: [const {
                Slot {
                    writer: TryCell::new(()),
                    owner: [const { AtomicU64::new(0) }; OWNER],
                    accounting: [const { AtomicU64::new(0) }; WORDS],
                }
            }; SLOTS],
        }
    }

    /// Adds `sample` to the accounting of the container and leaves the result in `accounting`, which must
    /// be empty. Without `store` the process has accounting of its own. `key` stands for the settings
    /// that change the accounting. With too little memory in `arena`, returns an error and changes
    /// nothing.
    pub fn continue_with(
        &self,
        store: Option<&Store<'_>>,
        key: u64,
        sample: &Sample<'_>,
        accounting: &mut Accounting,
        mut arena: Arena<'_>,
    ) -> Result<(), Errno> {
        let bytes = arena.alloc(SIZE)?;
        // Without an identity, all containers share one accounting.
        let owner = store.map_or([0; OWNER], |store| store.identity.words());
        for _ in 0..ATTEMPTS {
            let Some(published) = self.recall(&owner, accounting, bytes) else {
                continue;
            };
            match store {
                Some(store) => store.account(key, sample, accounting, arena.reborrow())?,
                None => accounting.advance(sample),
            }
            match self.publish(published, &owner, accounting, bytes) {
                Published::Yes => return Ok(()),
                // The shared state has the result.
                Published::NoSlot if store.is_some() => return Ok(()),
                Published::NoSlot => let_others_run(),
                Published::Overtaken => {}
            }
            // A later reader may contradict a result that is not published. So return the published result
            // while it is recent. If this thread was overtaken, the result is from the time of this call.
            *accounting = Accounting::new();
            let is_known = self.recall(&owner, accounting, bytes).is_some();
            let since_us = sample.age_us.saturating_sub(accounting.age_us());
            if is_known && !accounting.is_empty() && since_us < REPEAT_US {
                return Ok(());
            }
            *accounting = Accounting::new();
        }
        accounting.advance(sample);
        Ok(())
    }

    fn slot(&self, published: u64) -> Option<&Slot> {
        self.slots.get(published as usize % SLOTS)
    }

    /// Copies the published accounting into `accounting` if it belongs to `owner`, and returns the value of
    /// `published` that it belongs to. `None` if other threads publish all the time.
    fn recall(
        &self,
        owner: &[u64; OWNER],
        accounting: &mut Accounting,
        bytes: &mut [u8],
    ) -> Option<u64> {
        (0..ATTEMPTS).find_map(|_| self.try_recall(owner, accounting, bytes))
    }

    /// As [`ProcessAccounts::recall`], with one attempt.
    fn try_recall(
        &self,
        owner: &[u64; OWNER],
        accounting: &mut Accounting,
        bytes: &mut [u8],
    ) -> Option<u64> {
        let published = self.published.load(Ordering::Acquire);
        let slot = self.slot(published)?;
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let same = slot.owner.iter().map(load).eq(owner.iter().copied());
        let head = slot
            .accounting
            .first()
            .into_iter()
            .chain(slot.accounting.get(1));
        let mut first = [0u8; 16];
        copy(head, &mut first);
        let size = Accounting::size_in(&first).unwrap_or(0);
        let bytes = bytes.get_mut(..size).unwrap_or_default();
        copy(slot.accounting.iter(), bytes);
        fence(Ordering::Acquire);
        // A later publication may have overwritten the slot meanwhile.
        if self.published.load(Ordering::Relaxed) != published {
            return None;
        }
        if same {
            accounting.read(bytes);
        }
        Some(published)
    }

    /// Publishes the accounting that continues the one of `published`.
    fn publish(
        &self,
        published: u64,
        owner: &[u64; OWNER],
        accounting: &Accounting,
        bytes: &mut [u8],
    ) -> Published {
        let Some(size) = accounting.write(bytes) else {
            return Published::NoSlot;
        };
        // Begin with the slot after the published one: a single thread uses two slots in turn.
        let next = (1..SLOTS as u64).find_map(|i| {
            let index = published.wrapping_add(i) % SLOTS as u64;
            let slot = self.slot(index)?;
            Some((index, slot, slot.writer.take()?))
        });
        let Some((index, slot, _writer)) = next else {
            return Published::NoSlot;
        };
        // The slot may have been published since. While this thread has the slot, no other thread can
        // publish it.
        if self.published.load(Ordering::Relaxed) != published {
            return Published::Overtaken;
        }
        // A reader that began to copy this slot before this point sees afterwards that it was
        // overtaken.
        fence(Ordering::Release);
        for (to, from) in slot.owner.iter().zip(owner) {
            to.store(*from, Ordering::Relaxed);
        }
        let (words, _) = bytes.get(..size).unwrap_or_default().as_chunks::<8>();
        for (to, from) in slot.accounting.iter().zip(words) {
            to.store(u64::from_ne_bytes(*from), Ordering::Relaxed);
        }
        let count = (published / SLOTS as u64).wrapping_add(1);
        let now = count.wrapping_mul(SLOTS as u64).wrapping_add(index);
        let exchanged =
            self.published
                .compare_exchange(published, now, Ordering::AcqRel, Ordering::Relaxed);
        if exchanged.is_ok() {
            Published::Yes
        } else {
            Published::Overtaken
        }
    }
}

fn copy<'w>(words: impl Iterator<Item = &'w AtomicU64>, bytes: &mut [u8]) {
    for (to, from) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *to = from.load(Ordering::Relaxed).to_ne_bytes();
    }
}
