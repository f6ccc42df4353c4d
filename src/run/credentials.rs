//! What the kernel checks when a process opens a file, and a way to let the server open a file with no more rights
//! than its caller has.
//!
//! The server can have more rights than a caller: a start script of root runs the program as another user. The kernel
//! also checks rights when a file of a task is read: without them, it hides addresses in `/proc/PID/stat` (`ptrace(2)`,
//! "Ptrace access mode checking").

use super::notify::{path_of, read_of};
use crate::sys::{self, Errno};
use crate::text::{decimal, fields, lines, number_in_base};

/// What decides which files a process may open, from `/proc/PID/status` (`credentials(7)`, `capabilities(7)`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    user: u32,
    group: u32,
    others: Groups,
    /// The effective capabilities.
    capabilities: u64,
    /// True if the effective IDs can be taken back after they were changed: the saved IDs are the same.
    can_come_back: bool,
}

/// Supplementary groups.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Groups {
    numbers: [u32; Groups::MOST],
    count: usize,
}

impl Groups {
    const MOST: usize = 64;

    fn parse(line: &[u8]) -> Option<Groups> {
        let mut groups = Groups {
            numbers: [0; Groups::MOST],
            count: 0,
        };
        for field in fields(line) {
            *groups.numbers.get_mut(groups.count)? = number(field)?;
            groups.count += 1;
        }
        Some(groups)
    }
}

fn number(field: &[u8]) -> Option<u32> {
    u32::try_from(decimal(field)?).ok()
}

impl Credentials {
    /// The credentials of thread `thread`. `None` if they cannot be read, or if it is in more than 64 groups.
    pub fn of(thread: u32) -> Option<Credentials> {
        Credentials::parse(read_of(thread, b"status", &mut [0; 4096])?)
    }

    fn parse(status: &[u8]) -> Option<Credentials> {
        let after = |key: &[u8]| lines(status).find_map(|line| line.strip_prefix(key));
        // Four IDs: real, effective, saved, file system.
        let ids = |key| {
            let mut ids = fields(after(key)?).skip(1).map(number);
            Some((ids.next()??, ids.next()??, ids.next()??))
        };
        let (effective_user, saved_user, user) = ids(b"Uid:")?;
        let (effective_group, saved_group, group) = ids(b"Gid:")?;
        Some(Credentials {
            user,
            group,
            others: Groups::parse(after(b"Groups:")?)?,
            capabilities: number_in_base(after(b"CapEff:\t")?, 16)?,
            can_come_back: (effective_user, effective_group) == (saved_user, saved_group)
                && (user, group) == (saved_user, saved_group),
        })
    }

    /// Reduces the rights of the calling thread, which are `self`, to those that `caller` also has, until the result
    /// is dropped. `None` if that is not possible.
    pub fn act_for(&self, caller: u32) -> Option<Acting<'_>> {
        let mut wanted = Credentials::of(caller)?;
        // A capability is valid in the process's own user namespace only.
        wanted.capabilities &= self.capabilities;
        if wanted.capabilities != 0 && !shares_namespace(caller, b"ns/user") {
            wanted.capabilities = 0;
        }
        wanted.can_come_back = self.can_come_back;
        if wanted == *self {
            return Some(Acting(None));
        }
        if !self.can_come_back {
            return None;
        }
        let acting = Acting(Some(self));
        let taken = wanted.take_groups().and_then(|()| wanted.take_user());
        taken.ok().map(|()| acting)
    }

    /// Gives the calling thread these groups. Changes no other thread.
    fn take_groups(&self) -> Result<(), Errno> {
        let others = self.others.numbers.as_ptr() as usize;
        call(libc::SYS_setgroups, [self.others.count, others, 0])?;
        call(libc::SYS_setresgid, effective_only(self.group))
    }

    /// Gives the calling thread this user and these capabilities. Changes no other thread.
    fn take_user(&self) -> Result<(), Errno> {
        call(libc::SYS_setresuid, effective_only(self.user))?;
        set_capabilities(self.capabilities)
    }
}

/// The thread has the rights of its caller, until this is dropped. `None` inside if these are the server's.
pub struct Acting<'r>(Option<&'r Credentials>);

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        let Some(own) = self.0 else { return };
        // The saved user is still the server's. So its return needs no capability and brings back those that the groups
        // need. If a call fails, the thread keeps fewer rights, and leaves more calls to the kernel.
        let _ = own.take_user();
        let _ = own.take_groups();
    }
}

/// The arguments of `setresuid` and `setresgid` that change the effective ID only, and with it that for files.
fn effective_only(id: u32) -> [usize; 3] {
    const KEEP: usize = u32::MAX as usize;
    [KEEP, id as usize, KEEP]
}

/// True if the thread and the server are in the same namespace of the kind `name`.
pub fn shares_namespace(thread: u32, name: &[u8]) -> bool {
    let (mut buffers, mut theirs, mut ours) = ([[0; 64]; 2], [0; 64], [0; 64]);
    let [buffer, own] = &mut buffers;
    let theirs = path_of(thread, name, buffer).and_then(|path| sys::read_link(path, &mut theirs));
    let ours =
        path_of(sys::process_id(), name, own).and_then(|path| sys::read_link(path, &mut ours));
    matches!((theirs, ours), (Ok(theirs), Ok(ours)) if theirs == ours)
}

/// Sets the effective capabilities of the calling thread. The permitted ones stay (`capset(2)`).
fn set_capabilities(effective: u64) -> Result<(), Errno> {
    /// `_LINUX_CAPABILITY_VERSION_3`, include/uapi/linux/capability.h.
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    // Twice: effective, permitted, inheritable. The first three words are the lower halves.
    let mut sets = [0_u32; 6];
    let arguments = [header.as_ptr() as usize, sets.as_mut_ptr() as usize, 0];
    call(libc::SYS_capget, arguments)?;
    let [low, low_permitted, _, high, high_permitted, _] = &mut sets;
    *low = effective as u32 & *low_permitted;
    *high = (effective >> 32) as u32 & *high_permitted;
    let arguments = [header.as_ptr() as usize, sets.as_ptr() as usize, 0];
    call(libc::SYS_capset, arguments)
}

/// One of the calls above.
fn call(number: libc::c_long, [a, b, c]: [usize; 3]) -> Result<(), Errno> {
    // SAFETY: the callers pass numbers, or arrays of theirs that are as long as the kernel reads or writes.
    unsafe { sys::call(number, [a, b, c, 0, 0, 0]) }.map(|_| ())
}
