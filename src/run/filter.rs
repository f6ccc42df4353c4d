//! The seccomp filter of `proclens run`, as classic BPF: it decides which system calls stop for the server.
//! Every call that cannot concern a virtual file passes without stopping.
#![forbid(unsafe_code)]

use crate::sys::DOOR;
use crate::sys::arch::{AUDIT_ARCH, FIRST_FOREIGN_CALL, SYS_OPEN};
use libc::{c_long, sock_filter};

/// An open with one of these flags never gets a virtual file, so it does not stop. The files of /proc and /sys know
/// no O_DIRECT. O_TMPFILE contains O_DIRECTORY.
pub const NEVER_VIRTUAL: u32 = (libc::O_WRONLY
    | libc::O_RDWR
    | libc::O_CREAT
    | libc::O_TRUNC
    | libc::O_DIRECT
    | libc::O_DIRECTORY
    | libc::O_PATH) as u32;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// The lower half of an argument; both processors are little-endian.
const fn low(argument: u32) -> u32 {
    16 + 8 * argument
}

const fn high(argument: u32) -> u32 {
    low(argument) + 4
}

/// A filter program.
pub struct Filter {
    code: [sock_filter; Filter::CAPACITY],
    length: usize,
}

/// A condition on a call. A call stops only if all conditions of its rule hold.
enum Test {
    /// This word of `struct seccomp_data` is 0.
    IsZero(u32),
    /// This word has none of these bits set.
    HasNone(u32, u32),
    /// This word differs from this number.
    IsNot(u32, u32),
}

impl Filter {
    const CAPACITY: usize = 80;

    /// Builds the filter. If `io_uring` is false, `io_uring_setup` fails with ENOSYS.
    pub fn new(io_uring: bool) -> Filter {
        let mut filter = Filter {
            code: [statement(0, 0); Filter::CAPACITY],
            length: 0,
        };
        filter.load(ARCH);
        filter.jump(libc::BPF_JEQ, AUDIT_ARCH, 1, 0);
        filter.give(libc::SECCOMP_RET_ALLOW);
        filter.load(NUMBER);
        if let Some(first) = FIRST_FOREIGN_CALL {
            filter.jump(libc::BPF_JGE, first, 0, 1);
            filter.give(libc::SECCOMP_RET_ALLOW);
        }
        use Test::{HasNone, IsNot, IsZero};
        if SYS_OPEN >= 0 {
            filter.stop(SYS_OPEN, &[HasNone(low(1), NEVER_VIRTUAL)]);
        }
        // With an absolute path the kernel ignores the directory descriptor. proclens marks its own opens
        // with this number, so they do not stop.
        let door = IsNot(low(0), DOOR as u32);
        filter.stop(libc::SYS_openat, &[HasNone(low(2), NEVER_VIRTUAL), door]);
        let door = IsNot(low(0), DOOR as u32);
        filter.stop(libc::SYS_openat2, &[door]);
        filter.stop(libc::SYS_sysinfo, &[]);
        filter.stop(libc::SYS_sched_getaffinity, &[]);
        filter.stop(libc::SYS_sched_setaffinity, &[]);
        // Seeks and reads at offset 0. SEEK_SET is 0.
        let start = |argument| [IsZero(low(argument)), IsZero(high(argument))];
        let [a, b] = start(1);
        filter.stop(libc::SYS_lseek, &[a, b, IsZero(low(2))]);
        for call in [libc::SYS_pread64, libc::SYS_preadv, libc::SYS_preadv2] {
            filter.stop(call, &start(3));
        }
        if !io_uring {
            filter.when(libc::SYS_io_uring_setup, 1);
            filter.give(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
        }
        filter.give(libc::SECCOMP_RET_ALLOW);
        filter
    }

    /// The instructions.
    pub fn code(&self) -> &[sock_filter] {
        self.code.get(..self.length).unwrap_or_default()
    }

    /// `call` stops if all `tests` hold.
    fn stop(&mut self, call: c_long, tests: &[Test]) {
        self.when(call, tests.len() as u8 * 3 + 1);
        for test in tests {
            match *test {
                Test::IsZero(word) => {
                    self.load(word);
                    self.jump(libc::BPF_JEQ, 0, 1, 0);
                }
                Test::HasNone(word, bits) => {
                    self.load(word);
                    self.jump(libc::BPF_JSET, bits, 0, 1);
                }
                Test::IsNot(word, number) => {
                    self.load(word);
                    self.jump(libc::BPF_JEQ, number, 0, 1);
                }
            }
            self.give(libc::SECCOMP_RET_ALLOW);
        }
        self.give(libc::SECCOMP_RET_USER_NOTIF);
    }

    /// The next `length` instructions apply only to `call`.
    fn when(&mut self, call: c_long, length: u8) {
        self.jump(libc::BPF_JEQ, call as u32, 0, length);
    }

    fn load(&mut self, offset: u32) {
        self.add(statement(
            (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
            offset,
        ));
    }

    fn give(&mut self, result: u32) {
        self.add(statement((libc::BPF_RET | libc::BPF_K) as u16, result));
    }

    fn jump(&mut self, condition: u32, value: u32, if_true: u8, if_false: u8) {
        let code = (libc::BPF_JMP | libc::BPF_K | condition) as u16;
        self.add(sock_filter {
            code,
            jt: if_true,
            jf: if_false,
            k: value,
        });
    }

    fn add(&mut self, instruction: sock_filter) {
        if let Some(slot) = self.code.get_mut(self.length) {
            *slot = instruction;
            self.length += 1;
        }
    }
}

const fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const STOP: u32 = libc::SECCOMP_RET_USER_NOTIF;

    /// Runs the filter program as the kernel would.
    fn result(filter: &Filter, arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend(number.to_le_bytes());
        data.extend(arch.to_le_bytes());
        data.extend(0u64.to_le_bytes());
        data.extend(arguments.iter().flat_map(|a| a.to_le_bytes()));
        let (mut accumulator, mut next) = (0u32, 0usize);
        loop {
            let instruction = filter.code()[next];
            let code = u32::from(instruction.code);
            next += 1;
            if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS {
                let at = instruction.k as usize;
                accumulator = u32::from_le_bytes(data[at..at + 4].try_into().unwrap());
                continue;
            }
            if code == libc::BPF_RET | libc::BPF_K {
                return instruction.k;
            }
            let k = instruction.k;
            let condition = match code & 0xf0 {
                libc::BPF_JEQ => accumulator == k,
                libc::BPF_JGE => accumulator >= k,
                libc::BPF_JSET => accumulator & k != 0,
                _ => panic!("an instruction that the filter does not use: {code:#x}"),
            };
            next += usize::from(if condition {
                instruction.jt
            } else {
                instruction.jf
            });
        }
    }

    fn of(number: c_long, arguments: [u64; 6]) -> u32 {
        result(&Filter::new(true), AUDIT_ARCH, number as u32, arguments)
    }

    #[test]
    fn opens_for_reading_stop() {
        let here = libc::AT_FDCWD as u64;
        let flags = |flags: i32| [here, 1, flags as u64, 0, 0, 0];
        for stops in [0, libc::O_CLOEXEC, libc::O_NONBLOCK | libc::O_NOFOLLOW] {
            assert_eq!(of(libc::SYS_openat, flags(stops)), STOP, "{stops:#x}");
        }
        for passes in [
            libc::O_WRONLY,
            libc::O_RDWR,
            libc::O_CREAT,
            libc::O_DIRECT,
            libc::O_DIRECTORY,
            libc::O_PATH,
            libc::O_TMPFILE,
        ] {
            assert_eq!(of(libc::SYS_openat, flags(passes)), ALLOW, "{passes:#x}");
        }
        assert_eq!(of(libc::SYS_openat2, [here, 1, 1, 24, 0, 0]), STOP);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(of(libc::SYS_open, [1, 0, 0, 0, 0, 0]), STOP);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(of(libc::SYS_open, [1, 1, 0, 0, 0, 0]), ALLOW);
    }

    #[test]
    fn our_own_opens_pass() {
        assert_eq!(of(libc::SYS_openat, [DOOR as u64, 1, 0, 0, 0, 0]), ALLOW);
        assert_eq!(of(libc::SYS_openat2, [DOOR as u64, 1, 1, 24, 0, 0]), ALLOW);
    }

    #[test]
    fn reads_from_the_start_stop() {
        assert_eq!(of(libc::SYS_lseek, [3, 0, 0, 0, 0, 0]), STOP);
        assert_eq!(of(libc::SYS_lseek, [3, 0, 1, 0, 0, 0]), ALLOW);
        assert_eq!(of(libc::SYS_lseek, [3, 4, 0, 0, 0, 0]), ALLOW);
        assert_eq!(of(libc::SYS_lseek, [3, 1 << 32, 0, 0, 0, 0]), ALLOW);
        for call in [libc::SYS_pread64, libc::SYS_preadv, libc::SYS_preadv2] {
            assert_eq!(of(call, [3, 1, 10, 0, 0, 0]), STOP);
            assert_eq!(of(call, [3, 1, 10, 512, 0, 0]), ALLOW);
            assert_eq!(of(call, [3, 1, 10, 1 << 40, 0, 0]), ALLOW);
        }
    }

    #[test]
    fn numbers_of_the_machine_stop_and_all_else_passes() {
        assert_eq!(of(libc::SYS_sysinfo, [1; 6]), STOP);
        assert_eq!(of(libc::SYS_sched_getaffinity, [0; 6]), STOP);
        assert_eq!(of(libc::SYS_sched_setaffinity, [0; 6]), STOP);
        for call in [
            libc::SYS_read,
            libc::SYS_close,
            libc::SYS_execve,
            libc::SYS_clone,
            libc::SYS_statx,
            libc::SYS_io_uring_setup,
        ] {
            assert_eq!(of(call, [0; 6]), ALLOW);
        }
        let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        let uring = libc::SYS_io_uring_setup as u32;
        let filter = Filter::new(false);
        assert_eq!(result(&filter, AUDIT_ARCH, uring, [0; 6]), refused);
    }

    #[test]
    fn the_filter_allows_calls_of_other_architectures() {
        let filter = Filter::new(false);
        // i386, whose number 5 is `open`, and x32's openat.
        assert_eq!(result(&filter, 0x4000_0003, 5, [0; 6]), ALLOW);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(
            result(&filter, AUDIT_ARCH, 0x4000_0000 + 257, [0; 6]),
            ALLOW
        );
    }

    #[test]
    fn the_filter_fits_into_its_buffer() {
        assert!(Filter::new(false).length < Filter::CAPACITY);
    }
}
