//! The affinity masks that the server has reduced, for each program. A program that sets such a mask gets back
//! the mask it had, as with the library (NUMBERS section 2).
//!
//! The server sees no `fork` and no `exec`, so it recognises a program by its address space: a child by
//! `fork` has a copy of it at the same addresses, and `exec` makes a new one at others.

use super::lock::Lock;
use super::notify::{path_of, read_of};
use crate::mem::{Zeroed, forget_on_fork};
use crate::runtime::reductions::{Mask, MaskBuffer, Reader, Reductions};
use crate::sys;
use crate::text::{decimal, fields, lines, number_in_base, stat_fields};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use once_cell::race::OnceRef;

/// The masks of all programs. Memory is mapped when the first mask is reduced.
#[derive(Default)]
pub struct Masks {
    table: OnceRef<'static, [Entry; Masks::PROGRAMS]>,
    /// Taken while the table is used.
    lock: Lock,
}

/// The masks of one program. Without a program, its stack is 0.
#[repr(C)]
struct Entry {
    stack: AtomicU64,
    code: AtomicU64,
    device: AtomicU64,
    inode: AtomicU64,
    /// The process that read a mask last.
    reader: AtomicU32,
    /// When a mask was last read; a larger number is later.
    read: AtomicU64,
    masks: Reductions,
}

// SAFETY: only integers, for which zeros are valid.
unsafe impl Zeroed for [Entry; Masks::PROGRAMS] {}

/// A program that runs: where its stack and its code begin, and which file it is. Stack addresses are random.
/// Without that randomness, two runs of a file with the same arguments and environment are one program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Program {
    stack: u64,
    code: u64,
    device: u64,
    inode: u64,
}

impl Program {
    /// The program that the thread or process `id` runs. `None` if this process may not look at its memory.
    pub fn of(id: u32) -> Option<Program> {
        let (stack, code) = addresses(read_of(id, b"stat", &mut [0; 1024])?)?;
        let file = sys::status_of(path_of(id, b"exe", &mut [0; 64]).ok()?).ok()?;
        Some(Program {
            stack,
            code,
            device: file.st_dev,
            inode: file.st_ino,
        })
    }
}

/// Fields 28 and 26 of `/proc/PID/stat`. The kernel shows 0 and 1 to those who may not see them.
fn addresses(stat: &[u8]) -> Option<(u64, u64)> {
    let mut fields = stat_fields(stat)?.skip(26 - 3);
    let code = decimal(fields.next()?)?;
    let stack = decimal(fields.nth(1)?)?;
    (stack != 0).then_some((stack, code))
}

impl Masks {
    /// How many programs are remembered. Most programs read a mask and never set one.
    const PROGRAMS: usize = 64;

    /// True if no mask was reduced yet, so that none can be restored.
    pub fn is_empty(&self) -> bool {
        self.table.get().is_none()
    }

    /// Records that `process`, which runs `program`, reads a mask that is reduced to `count` CPUs. `None` if
    /// there is no free entry: then the mask cannot be restored, and must not be reduced.
    pub fn remember(
        &self,
        program: Program,
        process: u32,
        reader: Reader,
        whole: &[u8],
        count: u32,
    ) -> Option<()> {
        let table = self.table.get_or_try_init(forget_on_fork).ok()?;
        let _locked = self.lock.take();
        let last = table.iter().map(|entry| entry.read.load(Ordering::Relaxed));
        let now = last.max()?.wrapping_add(1);
        let entry = match table.iter().find(|entry| entry.is_of(program)) {
            Some(entry) => entry,
            None => {
                let entry = free_entry(table, Program::of)?;
                entry.begin(program);
                entry
            }
        };
        entry.reader.store(process, Ordering::Relaxed);
        entry.read.store(now, Ordering::Relaxed);
        entry.masks.remember(reader, whole, count);
        Some(())
    }

    /// As [`Reductions::restored`], for a mask that `program` sets. `is_own` must not use the masks.
    pub fn restored(
        &self,
        program: Program,
        thread: u32,
        set: &[u8],
        buffer: MaskBuffer,
        current: &[u8],
        is_own: impl FnOnce() -> bool,
    ) -> Option<Mask> {
        let table = self.table.get()?;
        let _locked = self.lock.take();
        let entry = table.iter().find(|entry| entry.is_of(program))?;
        let current = Some(current);
        entry.masks.restored(thread, set, buffer, current, is_own)
    }
}

/// A free entry, or else the oldest one whose last reader runs another program now or has ended.
fn free_entry(table: &[Entry], now: impl Fn(u32) -> Option<Program>) -> Option<&Entry> {
    let is_over = |entry: &&Entry| {
        entry.stack.load(Ordering::Relaxed) == 0
            || !now(entry.reader.load(Ordering::Relaxed)).is_some_and(|now| entry.is_of(now))
    };
    let over = table.iter().filter(is_over);
    over.min_by_key(|entry| entry.read.load(Ordering::Relaxed))
}

impl Entry {
    fn is_of(&self, program: Program) -> bool {
        self.stack.load(Ordering::Relaxed) == program.stack
            && self.code.load(Ordering::Relaxed) == program.code
            && self.device.load(Ordering::Relaxed) == program.device
            && self.inode.load(Ordering::Relaxed) == program.inode
    }

    /// Forgets the masks of the program before.
    fn begin(&self, program: Program) {
        self.stack.store(program.stack, Ordering::Relaxed);
        self.code.store(program.code, Ordering::Relaxed);
        self.device.store(program.device, Ordering::Relaxed);
        self.inode.store(program.inode, Ordering::Relaxed);
        self.masks.forget();
    }
}

/// What decides whether a process may set another one's mask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rights {
    /// The process ID.
    pub process: u32,
    real_user: u64,
    effective_user: u64,
    /// Capabilities that the process may use.
    permitted: u64,
    may_set_all: bool,
}

impl Rights {
    /// The rights of the process of thread `thread`.
    pub fn of(thread: u32) -> Option<Rights> {
        Rights::parse(read_of(thread, b"status", &mut [0; 4096])?)
    }

    fn parse(status: &[u8]) -> Option<Rights> {
        const CAP_SYS_NICE: u32 = 23;
        let after = |key: &[u8]| lines(status).find_map(|line| line.strip_prefix(key));
        let mut users = fields(after(b"Uid:")?);
        let effective = number_in_base(after(b"CapEff:\t")?, 16)?;
        Some(Rights {
            process: u32::try_from(decimal(after(b"Tgid:\t")?)?).ok()?,
            real_user: decimal(users.next()?)?,
            effective_user: decimal(users.next()?)?,
            permitted: number_in_base(after(b"CapPrm:\t")?, 16)?,
            may_set_all: effective >> CAP_SYS_NICE & 1 == 1,
        })
    }

    /// True if the kernel would let a process with these rights set the masks of `other`.
    pub fn allow(&self, other: &Rights) -> bool {
        self.may_set_all || self.allow_as_owner(other)
    }

    /// As [`Rights::allow`], without the right to set the masks of all processes, which a process may have in a
    /// user namespace of its own.
    pub fn allow_as_owner(&self, other: &Rights) -> bool {
        let users = [other.real_user, other.effective_user];
        users.contains(&self.effective_user) && other.permitted & !self.permitted == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program = Program {
        stack: 7,
        code: 1,
        device: 2,
        inode: 3,
    };
    const READER: Reader = Reader {
        thread: 5,
        probe: None,
    };
    const ANY: MaskBuffer = MaskBuffer {
        size: 8,
        address: 1,
    };

    fn restored(masks: &Masks, program: Program) -> Option<u32> {
        let whole = masks.restored(program, 5, &[1], ANY, &[1], || false);
        whole.map(|mask| mask.count())
    }

    #[test]
    fn a_mask_belongs_to_a_program() {
        let masks = Masks::default();
        assert!(masks.is_empty());
        assert_eq!(restored(&masks, PROGRAM), None);
        masks.remember(PROGRAM, 1, READER, &[7], 1).unwrap();
        assert_eq!(restored(&masks, PROGRAM), Some(3));
        for other in [
            Program {
                stack: 8,
                ..PROGRAM
            },
            Program { code: 8, ..PROGRAM },
            Program {
                inode: 8,
                ..PROGRAM
            },
        ] {
            assert_eq!(restored(&masks, other), None);
        }
    }

    #[test]
    fn the_oldest_program_that_ended_is_replaced() {
        let masks = Masks::default();
        let numbered = |stack| Program { stack, ..PROGRAM };
        // No process has the ID 0.
        for stack in 1..=Masks::PROGRAMS as u64 + 1 {
            masks.remember(numbered(stack), 0, READER, &[7], 1).unwrap();
        }
        assert_eq!(restored(&masks, numbered(1)), None);
        assert_eq!(restored(&masks, numbered(2)), Some(3));
        let table = masks.table.get().unwrap();
        let last = Masks::PROGRAMS as u64 + 1;
        assert!(free_entry(table, |_| None).unwrap().is_of(numbered(2)));
        for entry in table {
            entry.reader.store(
                entry.stack.load(Ordering::Relaxed) as u32,
                Ordering::Relaxed,
            );
        }
        let live = |id: u32| (u64::from(id) != last).then(|| numbered(id.into()));
        assert!(free_entry(table, live).unwrap().is_of(numbered(last)));
        assert!(free_entry(table, |id| Some(numbered(id.into()))).is_none());
    }

    #[test]
    fn the_addresses_of_a_process() {
        let stat = b"12 (a (b) c) S 1 2 3 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 77 99 100 1844 4194304 42 140735 0 0";
        assert_eq!(addresses(stat), Some((140_735, 4_194_304)));
        let hidden = b"12 (a) S 1 2 3 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 77 99 100 1844 1 1 0 0 0";
        assert_eq!(addresses(hidden), None);
        assert_eq!(addresses(b"12 (a) S 1"), None);
        let own = std::process::id();
        assert_eq!(Program::of(own), Program::of(own));
        assert!(Program::of(own).is_some());
    }

    #[test]
    fn rights_are_compared_as_the_kernel_does() {
        let of = |real: u32, effective: u32, permitted: &str, effective_caps: &str| {
            let status = format!(
                "Name:\tx\nTgid:\t12\nUid:\t{real}\t{effective}\t0\t0\nCapPrm:\t{permitted}\nCapEff:\t{effective_caps}\n"
            );
            Rights::parse(status.as_bytes()).unwrap()
        };
        let user = of(1000, 1000, "0", "0");
        let other = of(1001, 1001, "0", "0");
        assert!(user.allow(&user) && !user.allow(&other));
        assert!(user.allow(&of(1000, 0, "0", "0")) && !of(1000, 0, "0", "0").allow(&user));
        assert!(!user.allow(&of(1000, 1000, "1", "0")));
        assert!(of(1000, 1000, "1", "0").allow(&user));
        let nice = of(0, 0, "0000000000800000", "0000000000800000");
        assert!(nice.allow(&user) && !nice.allow_as_owner(&user));
        assert_eq!(Rights::parse(b"Tgid:\t12\n"), None);
        assert!(Rights::of(std::process::id()).is_some());
    }
}
