//! Programs that confine themselves. A program's system call filter (seccomp) may kill the program for a
//! call that the program never makes, or run a handler of the program. So after the program has installed
//! such a filter, the library makes no system call at all.
#![forbid(unsafe_code)]

use super::arch::AUDIT_ARCH;
use core::ffi::c_long;
use core::sync::atomic::{AtomicBool, Ordering};
use libc::sock_filter;

/// True once this process has installed a filter that may harm it.
static CONFINED: AtomicBool = AtomicBool::new(false);

/// From now on the library makes no system call in this process.
pub fn confine() {
    CONFINED.store(true, Ordering::Relaxed);
}

/// True if the library must make no system call.
#[inline(always)]
pub fn is_confined() -> bool {
    CONFINED.load(Ordering::Relaxed)
}

/// The system calls that the library makes in a program, without those that only the start of a sampler makes: a
/// process with more filters than PID 1 starts none (`is_confined` in sampler/conditions.rs). Not listed either are `brk`,
/// which the library calls before the program begins, and `process_vm_readv`, which it calls only in valgrind. The test
/// below compares this list with the code.
const CALLS: [c_long; 39] = [
    libc::SYS_clock_gettime,
    libc::SYS_clone,
    libc::SYS_close,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_fchmod,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_ftruncate,
    libc::SYS_getdents64,
    libc::SYS_geteuid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_memfd_create,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_ppoll,
    libc::SYS_prctl,
    libc::SYS_pread64,
    libc::SYS_prlimit64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    libc::SYS_write,
];

/// True if the filter `program` may do more to a call of the library than allow it or let it fail.
pub fn is_harmful(program: &[sock_filter]) -> bool {
    // A filter may look at the arguments, which are not known.
    CALLS.iter().any(|call| {
        [0, u32::MAX]
            .iter()
            .any(|argument| !is_harmless(program, *call as u32, *argument))
    })
}

/// True if the filter allows the system call `number`, or makes it fail, when all halves of its arguments
/// are `argument`.
fn is_harmless(program: &[sock_filter], number: u32, argument: u32) -> bool {
    let action = evaluate(program, &|offset| match offset {
        0 => number,
        4 => AUDIT_ARCH,
        // The address of the call.
        8 | 12 => 0,
        _ => argument,
    });
    action.is_some_and(|action| {
        matches!(
            action & libc::SECCOMP_RET_ACTION_FULL,
            libc::SECCOMP_RET_ALLOW | libc::SECCOMP_RET_LOG | libc::SECCOMP_RET_ERRNO
        )
    })
}

/// What the filter returns for a call; `data` gives the word at an offset of `struct seccomp_data`. `None`
/// if the filter has an instruction that this function does not know.
fn evaluate(program: &[sock_filter], data: &dyn Fn(u32) -> u32) -> Option<u32> {
    use libc::{
        BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_IMM, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP,
        BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_LEN, BPF_LSH, BPF_MEM, BPF_MISC, BPF_OR, BPF_RET,
        BPF_RSH, BPF_ST, BPF_STX, BPF_SUB, BPF_TAX, BPF_TXA, BPF_W, BPF_X, BPF_XOR,
    };
    /// Bytes of `struct seccomp_data`.
    const SIZE: u32 = 64;
    let (mut a, mut x, mut memory) = (0u32, 0u32, [0u32; 16]);
    let mut next = 0usize;
    // Every jump is forward, so the loop ends.
    loop {
        let sock_filter { code, jt, jf, k } = *program.get(next)?;
        next = next.checked_add(1)?;
        let code = u32::from(code);
        let operand = if code & BPF_X == 0 { k } else { x };
        match code & 7 {
            BPF_LD | BPF_LDX => {
                let value = match code & !7 {
                    way if way == BPF_W | BPF_ABS => data(k),
                    way if way == BPF_W | BPF_LEN => SIZE,
                    BPF_IMM => k,
                    BPF_MEM => *memory.get(k as usize)?,
                    _ => return None,
                };
                *(if code & 7 == BPF_LD { &mut a } else { &mut x }) = value;
            }
            BPF_ST => *memory.get_mut(k as usize)? = a,
            BPF_STX => *memory.get_mut(k as usize)? = x,
            BPF_ALU => {
                a = match code & 0xf0 {
                    BPF_ADD => a.wrapping_add(operand),
                    BPF_SUB => a.wrapping_sub(operand),
                    BPF_AND => a & operand,
                    BPF_OR => a | operand,
                    BPF_XOR => a ^ operand,
                    BPF_LSH => a.checked_shl(operand)?,
                    BPF_RSH => a.checked_shr(operand)?,
                    _ => return None,
                }
            }
            BPF_JMP => {
                let holds = match code & 0xf0 {
                    BPF_JA => {
                        next = next.checked_add(k as usize)?;
                        continue;
                    }
                    BPF_JEQ => a == operand,
                    BPF_JGT => a > operand,
                    BPF_JGE => a >= operand,
                    BPF_JSET => a & operand != 0,
                    _ => return None,
                };
                next = next.checked_add(usize::from(if holds { jt } else { jf }))?;
            }
            BPF_RET => return Some(if code & 0x18 == BPF_K { k } else { a }),
            BPF_MISC => match code & 0xf8 {
                BPF_TAX => x = a,
                BPF_TXA => a = x,
                _ => return None,
            },
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
        sock_filter {
            code: code as u16,
            jt,
            jf,
            k,
        }
    }

    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;

    fn ret(action: u32) -> sock_filter {
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, action)
    }

    /// A filter as libseccomp writes it: `action` for one system call, `default` for all others, and death
    /// for the calls of another processor.
    fn filter(number: c_long, action: u32, default: u32) -> Vec<sock_filter> {
        vec![
            instruction(LOAD, 0, 0, 4),
            instruction(EQUAL, 1, 0, AUDIT_ARCH),
            ret(libc::SECCOMP_RET_KILL_PROCESS),
            instruction(LOAD, 0, 0, 0),
            instruction(EQUAL, 0, 1, number as u32),
            ret(action),
            ret(default),
        ]
    }

    #[test]
    fn a_filter_that_makes_calls_fail_is_harmless() {
        let (allow, fail) = (libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_ERRNO | 38);
        for (number, action, default) in [
            (libc::SYS_memfd_create, fail, allow),
            (libc::SYS_read, allow, fail),
            // The library makes no such call.
            (libc::SYS_socket, libc::SECCOMP_RET_KILL_PROCESS, allow),
            (libc::SYS_openat, libc::SECCOMP_RET_LOG, allow),
        ] {
            assert!(!is_harmful(&filter(number, action, default)), "{number}");
        }
    }

    #[test]
    fn a_filter_that_kills_traps_or_asks_is_harmful() {
        let allow = libc::SECCOMP_RET_ALLOW;
        for action in [
            libc::SECCOMP_RET_KILL_PROCESS,
            libc::SECCOMP_RET_KILL_THREAD,
            libc::SECCOMP_RET_TRAP,
            libc::SECCOMP_RET_TRACE,
            libc::SECCOMP_RET_USER_NOTIF,
        ] {
            assert!(is_harmful(&filter(libc::SYS_openat, action, allow)));
            assert!(is_harmful(&filter(libc::SYS_read, allow, action)));
        }
        // One that looks at an argument, and one that cannot be understood.
        let mut flags = filter(libc::SYS_openat, allow, allow);
        flags.splice(
            5..5,
            [
                instruction(LOAD, 0, 0, 32),
                instruction(libc::BPF_JMP | libc::BPF_JSET, 0, 1, 3),
                ret(libc::SECCOMP_RET_KILL_PROCESS),
            ],
        );
        assert!(is_harmful(&flags));
        assert!(is_harmful(&[]));
        assert!(is_harmful(&[instruction(
            libc::BPF_ALU | libc::BPF_DIV,
            0,
            0,
            0
        )]));
    }

    #[test]
    fn arithmetic_jumps_and_memory() {
        use libc::{BPF_ALU, BPF_LD, BPF_LDX, BPF_MISC, BPF_RET, BPF_ST, BPF_STX, BPF_X};
        let program = [
            instruction(BPF_LD | libc::BPF_IMM, 0, 0, 12),
            instruction(BPF_ST, 0, 0, 3),
            instruction(BPF_LDX | libc::BPF_MEM, 0, 0, 3),
            instruction(BPF_ALU | libc::BPF_ADD | BPF_X, 0, 0, 0), // 24
            instruction(BPF_ALU | libc::BPF_AND, 0, 0, 0x18),      // 24
            instruction(BPF_ALU | libc::BPF_LSH, 0, 0, 2),         // 96
            instruction(BPF_ALU | libc::BPF_RSH, 0, 0, 1),         // 48
            instruction(BPF_ALU | libc::BPF_OR, 0, 0, 7),          // 55
            instruction(BPF_ALU | libc::BPF_XOR, 0, 0, 1),         // 54
            instruction(BPF_ALU | libc::BPF_SUB, 0, 0, 4),         // 50
            instruction(BPF_MISC | libc::BPF_TAX, 0, 0, 0),
            instruction(BPF_STX, 0, 0, 0),
            instruction(BPF_LD | libc::BPF_MEM, 0, 0, 0),
            instruction(libc::BPF_JMP | libc::BPF_JGT, 0, 2, 49),
            instruction(libc::BPF_JMP | libc::BPF_JGE | BPF_X, 0, 1, 0),
            instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, 1),
            ret(1),
            instruction(BPF_LD | libc::BPF_W | libc::BPF_LEN, 0, 0, 0), // 64
            instruction(BPF_ALU | libc::BPF_ADD | BPF_X, 0, 0, 0),      // 114
            instruction(BPF_RET | 0x10, 0, 0, 0),
        ];
        assert_eq!(evaluate(&program, &|_| 0), Some(114));
    }

    /// The list has each call that the code of the library makes, except those before the program begins, of the start of a
    /// sampler, of the sampler's processes and of the server of `proclens run`.
    #[test]
    fn the_list_of_calls_is_complete() {
        let listed = include_str!("confinement.rs")
            .split_once("\n];")
            .expect("a list")
            .0;
        let code = [
            include_str!("mod.rs"),
            include_str!("clock.rs"),
            include_str!("directory.rs"),
            include_str!("process.rs"),
            include_str!("signals.rs"),
            include_str!("stderr.rs"),
        ];
        let not_in_a_program = [
            "brk",
            "clock_nanosleep",
            "process_vm_readv",
            "sched_setaffinity",
        ];
        let mut count = 0;
        for word in code.iter().flat_map(|text| text.split("SYS_").skip(1)) {
            let end = word
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(word.len());
            let name = &word[..end];
            count += 1;
            assert!(
                listed.contains(&format!("libc::SYS_{name},")) || not_in_a_program.contains(&name),
                "{name}"
            );
        }
        assert!(count > 30);
    }
}
