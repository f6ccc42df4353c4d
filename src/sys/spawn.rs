//! Starts a helper process as an orphan, in a way that the starting program cannot notice. Also the first
//! steps of such a helper process.

use super::arch::{RELATIVE, clone_onto};
use super::directory::{each_entry, open_directory};
use super::{Errno, affinity, call, map, pad, set_affinity, unmap};
use crate::text::{Out, decimal};
use core::ffi::{CStr, c_char, c_int};
use core::ptr::{null, null_mut};

/// Stack of each of the two children, bytes.
const STACK: usize = 16 << 10;
/// Most arguments of the program.
const ARGUMENTS: usize = 4;
/// Bytes of the kernel's signal set.
const SIGNAL_SET: usize = 8;

/// What the two children need. They run in the memory of the starting thread, which waits meanwhile.
struct Launch {
    path: *const c_char,
    arguments: [*const c_char; ARGUMENTS + 1],
    environment: [*const c_char; 1],
    second_stack_end: *mut u8,
    /// The process ID of the first child, in decimal.
    first: [u8; 16],
    /// 0, or the error of the call that failed.
    errno: c_int,
}

/// The low bits, the exit signal, are 0. So the program gets no signal when the child ends, and its `wait`
/// does not return the child (except with `__WALL` or `__WCLONE`, while the child lives). CLONE_UNTRACED: a
/// debugger or strace of the program does not follow the child.
const FLAGS: usize = (libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_UNTRACED) as usize;

/// Executes `path` with `arguments` (the first is the name; at most 3) and no environment, in a process
/// whose parent is the container's init. Until then its parent is a child of this process, which ends at once: the last
/// argument is the process ID of that child. The caller's signals are blocked during the call, so none of its
/// handlers runs in the child.
pub fn start(path: &CStr, arguments: &[&CStr]) -> Result<(), Errno> {
    let stacks = map(2 * STACK)?;
    let mut launch = Launch {
        path: path.as_ptr(),
        arguments: [null(); ARGUMENTS + 1],
        environment: [null()],
        second_stack_end: stacks.wrapping_add(STACK),
        first: [0; 16],
        errno: 0,
    };
    let first_child = (&raw const launch.first).cast();
    let arguments = arguments.iter().take(ARGUMENTS - 1);
    let arguments = arguments.map(|argument| argument.as_ptr());
    for (to, from) in launch
        .arguments
        .iter_mut()
        .zip(arguments.chain([first_child]))
    {
        *to = from;
    }
    let all = u64::MAX;
    let mut before = 0u64;
    // SAFETY: one signal set is read, one is written.
    unsafe {
        let how = libc::SIG_SETMASK;
        call!(
            SYS_rt_sigprocmask,
            how,
            &raw const all,
            &raw mut before,
            SIGNAL_SET
        )
    }?;
    // SAFETY: the child runs on a stack of its own. It uses a `Launch` that lives until the child has ended
    // or executed, because CLONE_VFORK waits for that. It calls nothing but the kernel.
    let child = unsafe {
        clone_onto(
            FLAGS,
            stacks.wrapping_add(2 * STACK),
            first,
            (&raw mut launch).cast(),
        )
    };
    // SAFETY: reaps our child, which has ended, and restores the earlier signal set. Nothing uses the
    // stacks any more.
    unsafe {
        if child > 0 {
            let _ = call!(SYS_wait4, child, null_mut::<c_int>(), libc::__WALL, 0);
        }
        let (how, old) = (libc::SIG_SETMASK, &raw const before);
        let _ = call!(SYS_rt_sigprocmask, how, old, null_mut::<u64>(), SIGNAL_SET);
        unmap(stacks, 2 * STACK);
    }
    match launch.errno {
        _ if child < 0 => Err(Errno(child.wrapping_neg() as c_int)),
        0 => Ok(()),
        errno => Err(Errno(errno)),
    }
}

/// The child: creates the grandchild and exits, so that the grandchild becomes a child of init.
unsafe extern "C" fn first(launch: *mut ()) -> usize {
    let launch = launch.cast::<Launch>();
    // SAFETY: `start` keeps the launch and the stacks until this child has ended. `start` waits meanwhile, so this
    // function alone uses the launch.
    unsafe {
        let process = call!(SYS_getpid).unwrap_or_default();
        let mut number = Out::new(&mut (*launch).first);
        number.decimal(process as u64);
        number.byte(0);
        let child = clone_onto(FLAGS, (*launch).second_stack_end, second, launch.cast());
        if child < 0 {
            (*launch).errno = child.wrapping_neg() as c_int;
        }
    }
    0
}

/// The grandchild: executes the helper program.
unsafe extern "C" fn second(launch: *mut ()) -> usize {
    let launch = launch.cast::<Launch>();
    // SAFETY: as in `first`; `start` keeps the path, the arguments and the environment, which are valid
    // strings and lists.
    unsafe {
        let arguments = &raw const (*launch).arguments;
        let environment = &raw const (*launch).environment;
        let result = call!(SYS_execve, (*launch).path, arguments, environment);
        (*launch).errno = result.err().map_or(0, |errno| errno.0);
    }
    0
}

/// Gives up what this process inherited from the program that started it: session and terminal, directory,
/// descriptors, ignored and blocked signals, scheduling class, CPUs.
pub fn leave_everything() {
    // The starter may have a CPU for itself alone, which no other program may slow down. Init's CPUs are the
    // container's.
    let mut cpus = [0; 128];
    if let Ok(length) = affinity(1, &mut cpus) {
        let _ = set_affinity(0, cpus.get(..length / 8).unwrap_or_default());
    }
    // SAFETY: none of these calls writes memory, and all structures that the kernel reads have the size
    // that it expects.
    unsafe {
        let _ = call!(SYS_setsid);
        let _ = call!(SYS_chdir, c"/".as_ptr());
        let _ = call!(SYS_umask, 0o22);
        // `struct sigaction` of the kernel: default handler, no flags, no restorer, empty mask.
        let default = [0usize; 4];
        for signal in 1..=64 {
            let _ = call!(SYS_rt_sigaction, signal, default.as_ptr(), 0, SIGNAL_SET);
        }
        let none = 0u64;
        let _ = call!(
            SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            0,
            SIGNAL_SET
        );
        let ordinary: c_int = 0;
        let _ = call!(
            SYS_sched_setscheduler,
            0,
            libc::SCHED_OTHER,
            &raw const ordinary
        );
        let _ = call!(SYS_prctl, libc::PR_SET_NAME, c"proclens".as_ptr(), 0, 0, 0);
        if call!(SYS_close_range, 0, u32::MAX, 0).is_ok() {
            return;
        }
    }
    // Linux before 5.9, or the call is forbidden.
    if let Ok(open) = open_directory(libc::AT_FDCWD, c"/proc/self/fd") {
        let _ = each_entry(&open, |name| {
            if let Some(fd) = decimal(name).filter(|fd| *fd != open.raw() as u64) {
                // SAFETY: closes a descriptor that nothing in this program uses.
                let _ = unsafe { call!(SYS_close, fd) };
            }
        });
    }
}

/// Ends the process.
pub fn exit(code: c_int) -> ! {
    loop {
        // SAFETY: touches no memory.
        let _ = unsafe { call!(SYS_exit_group, code) };
    }
}

/// Relocates the addresses in this object's own data, as the dynamic linker would have done.
///
/// # Safety
/// `base` must be the address where the object is mapped, and `dynamic` its dynamic section. Nothing may
/// have relocated it to another base.
pub unsafe fn relocate(base: usize, dynamic: *const [u64; 2]) {
    const DT_RELA: u64 = 7;
    const DT_RELASZ: u64 = 8;
    /// Bytes of an `Elf64_Rela`: offset, kind, addend.
    const RELA: u64 = 24;
    let (mut table, mut size) = (0u64, 0u64);
    let mut entry = dynamic;
    // SAFETY: a dynamic section ends with DT_NULL and gives the right size of its table of relocations.
    // Relocations of this type concern words of the object's own writable data.
    unsafe {
        loop {
            match *entry {
                [0, _] => break,
                [DT_RELA, value] => table = value,
                [DT_RELASZ, value] => size = value,
                _ => {}
            }
            entry = entry.add(1);
        }
        if table == 0 {
            return;
        }
        let mut relocation = base.wrapping_add(table as usize) as *const [u64; 3];
        for _ in 0..size / RELA {
            let [offset, kind, addend] = *relocation;
            if kind == RELATIVE {
                let word = base.wrapping_add(offset as usize) as *mut usize;
                *word = base.wrapping_add(addend as usize);
            }
            relocation = relocation.add(1);
        }
    }
}
