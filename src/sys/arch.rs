//! The only file that knows the processor: how a system call is made, how the dynamic
//! linker's list is found, the hook of variadic `syscall`, and the memory routines that the
//! compiler asks for. One half for x86-64, one for aarch64.

#[cfg(target_arch = "x86_64")]
mod imp {
    use core::arch::asm;
    #[cfg(feature = "preload")]
    use core::arch::{global_asm, naked_asm};

    /// The most significant fact of a raw system call: -4095…-1 is an errno.
    ///
    /// # Safety
    /// The arguments must be what `number` wants: memory it may write must be the caller's to
    /// have written.
    #[inline(always)]
    pub unsafe fn syscall6(number: usize, a: [usize; 6]) -> isize {
        let [a0, a1, a2, a3, a4, a5] = a;
        let result: isize;
        // SAFETY: the kernel's x86-64 convention: rcx and r11 are lost, all else is kept; what the
        // call itself touches is the caller's promise.
        unsafe {
            asm!("syscall",
                inlateout("rax") number as isize => result,
                in("rdi") a0, in("rsi") a1, in("rdx") a2, in("r10") a3, in("r8") a4, in("r9") a5,
                lateout("rcx") _, lateout("r11") _, options(nostack));
        }
        result
    }

    /// The thread pointer, which tells a thread of libc's from the others.
    #[inline(always)]
    pub fn thread_pointer() -> usize {
        let pointer;
        // SAFETY: the first word behind the thread pointer is the pointer, by the psABI.
        unsafe {
            asm!("mov {0}, fs:[0]", out(reg) pointer, options(nostack, preserves_flags, readonly));
        }
        pointer
    }

    /// Addresses of glibc's `_r_debug`, musl's `_dl_debug_addr` (a pointer to the same thing;
    /// both 0 where the libc has none) and of this object's own dynamic section.
    #[cfg(feature = "preload")]
    pub fn linker_symbols() -> (usize, usize, usize) {
        let (glibc, musl, own): (usize, usize, usize);
        // SAFETY: reads two slots of our own global offset table and computes one address. Weak:
        // the linker leaves 0 in the slot of the symbol that this libc lacks.
        unsafe {
            asm!(
                ".weak _r_debug",
                ".weak _dl_debug_addr",
                ".hidden _DYNAMIC",
                "mov {0}, qword ptr [rip + _r_debug@GOTPCREL]",
                "mov {1}, qword ptr [rip + _dl_debug_addr@GOTPCREL]",
                "lea {2}, [rip + _DYNAMIC]",
                out(reg) glibc, out(reg) musl, out(reg) own, options(nostack, readonly, preserves_flags));
        }
        (glibc, musl, own)
    }

    /// `long syscall(long number, ...)`: a jump to libc's own for all but the few numbers that
    /// ask about the machine. A jump and not a call, because a child made by
    /// `syscall(SYS_vfork)` returns through our caller's frame before the parent does, and
    /// because no one should pay for what is not asked.
    ///
    /// # Safety
    /// As `syscall(2)`.
    #[cfg(feature = "preload")]
    #[unsafe(no_mangle)]
    #[unsafe(naked)]
    pub unsafe extern "C" fn syscall() {
        naked_asm!(
            "cmp rdi, {open}", "je 2f",
            "cmp rdi, {openat}", "je 2f",
            "cmp rdi, {openat2}", "je 2f",
            "cmp rdi, {affinity}", "je 2f",
            "cmp rdi, {sysinfo}", "je 2f",
            "cmp rdi, {uring}", "je 2f",
            "3: mov rax, qword ptr [rip + {slot}]",
            "test rax, rax", "jz 4f",
            "jmp rax",
            // First call: find libc's own, with every argument register kept.
            "4: push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "sub rsp, 8",
            "call {resolve}",
            "add rsp, 8", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
            "test rax, rax", "jz 5f",
            "jmp rax",
            "5: mov rax, -1", "ret",
            // The seventh argument (the sixth of the system call) is never one of ours.
            "2: jmp {asked}",
            open = const libc::SYS_open, openat = const libc::SYS_openat,
            openat2 = const libc::SYS_openat2, affinity = const libc::SYS_sched_getaffinity,
            sysinfo = const libc::SYS_sysinfo, uring = const libc::SYS_io_uring_setup,
            slot = sym crate::hooks::raw::NEXT,
            resolve = sym crate::hooks::raw::resolve,
            asked = sym crate::hooks::raw::asked,
        )
    }

    /// Arguments of `execl` after the path that arrive in registers.
    #[cfg(feature = "preload")]
    pub const LISTED_IN_REGISTERS: usize = 5;

    /// Functions with a list of arguments, which Rust cannot define: the arguments are put where
    /// `$gathered(path, those of registers, those on the stack)` can read them.
    #[cfg(feature = "preload")]
    macro_rules! listed {
        ($($name:ident)*) => {$(
            /// See `exec(3)`.
            ///
            /// # Safety
            /// As there.
            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            pub unsafe extern "C" fn $name() {
                naked_asm!(
                    "sub rsp, 56",
                    "mov qword ptr [rsp], rsi", "mov qword ptr [rsp + 8], rdx",
                    "mov qword ptr [rsp + 16], rcx", "mov qword ptr [rsp + 24], r8",
                    "mov qword ptr [rsp + 32], r9",
                    "mov rsi, rsp",
                    "lea rdx, [rsp + 64]",
                    "call {gathered}",
                    "add rsp, 56",
                    "ret",
                    gathered = sym crate::hooks::exec::$name,
                )
            }
        )*};
    }
    #[cfg(feature = "preload")]
    listed! { execl execlp execle }

    // Run by the dynamic linker (DT_INIT) before the program. Hidden: it is no hook.
    #[cfg(feature = "preload")]
    global_asm!(
        ".section .text.near",
        ".globl proclens_start", ".hidden proclens_start", ".type proclens_start,@function",
        "proclens_start: jmp {start}",
        start = sym crate::hooks::start::start,
    );

    /// Makes a child with `flags` of `clone(2)` that calls `work(argument)` on the stack that ends at
    /// `stack_end`, and ends with what it returns. Gives the child's number, or minus an errno.
    ///
    /// # Safety
    /// As `clone(2)`; with `CLONE_VM` the child runs in the caller's memory.
    #[cfg(feature = "preload")]
    #[unsafe(naked)]
    pub unsafe extern "C" fn clone_onto(
        flags: usize,
        stack_end: *mut u8,
        work: unsafe extern "C" fn(*mut ()) -> usize,
        argument: *mut (),
    ) -> isize {
        naked_asm!(
            // Kept across the call: all but rax, rcx and r11.
            "mov r8, rdx", "mov r9, rcx",
            "and rsi, -16",
            "xor edx, edx", "xor r10d, r10d",
            "mov eax, {clone}", "syscall",
            "test rax, rax", "jnz 2f",
            "xor ebp, ebp", "mov rdi, r9", "call r8",
            "mov rdi, rax", "mov eax, {exit}", "syscall",
            "2: ret",
            clone = const libc::SYS_clone, exit = const libc::SYS_exit_group,
        )
    }

    // Where the library begins when it is executed as a program: nothing has relocated it, and
    // the stack holds the number of arguments and the arguments.
    #[cfg(feature = "preload")]
    global_asm!(
        ".section .text.near",
        ".globl proclens_sampler", ".hidden proclens_sampler", ".type proclens_sampler,@function",
        ".hidden __ehdr_start", ".hidden _DYNAMIC",
        "proclens_sampler: xor ebp, ebp", "mov rdi, rsp",
        "lea rsi, [rip + __ehdr_start]", "lea rdx, [rip + _DYNAMIC]",
        "and rsp, -16", "call {main}", "ud2",
        main = sym crate::sampler::helper::main,
    );

    /// `R_X86_64_RELATIVE`: the word is an address within the object.
    #[cfg(feature = "preload")]
    pub const RELATIVE: u64 = 8;

    // What the compiler calls for copies and comparisons. Hidden: the program's own routines are
    // neither replaced nor looked up, and the object needs no libc for them. Most of what is copied is
    // shorter than a line of text, for which a `rep movsb` takes 50 cycles and these take 5. Each reads
    // its last bytes before it writes the first ones: overlapping pieces come out right.
    #[cfg(feature = "preload")]
    global_asm!(
        ".section .text.near",
        ".globl memmove",
        ".hidden memmove",
        ".type memmove,@function",
        "memmove: mov rax, rdi",
        "mov r8, rdi",
        "sub r8, rsi",
        "cmp r8, rdx",
        "jae memcpy",
        "cmp rdx, 16",
        "jb 4f",
        // The target begins within the source: from the end.
        "movups xmm1, xmmword ptr [rsi]",
        "2: movups xmm0, xmmword ptr [rsi + rdx - 16]",
        "movups xmmword ptr [rdi + rdx - 16], xmm0",
        "sub rdx, 16",
        "cmp rdx, 16",
        "ja 2b",
        "movups xmmword ptr [rdi], xmm1",
        "ret",
        ".globl memcpy",
        ".hidden memcpy",
        ".type memcpy,@function",
        "memcpy: mov rax, rdi",
        "cmp rdx, 16",
        "jb 4f",
        "movups xmm1, xmmword ptr [rsi + rdx - 16]",
        "lea r8, [rdi + rdx - 16]",
        "2: movups xmm0, xmmword ptr [rsi]",
        "movups xmmword ptr [rdi], xmm0",
        "add rsi, 16",
        "add rdi, 16",
        "cmp rdi, r8",
        "jb 2b",
        "movups xmmword ptr [r8], xmm1",
        "ret",
        // 8 to 15 bytes, 4 to 7, 1 to 3.
        "4: cmp edx, 8",
        "jb 5f",
        "mov rcx, qword ptr [rsi]",
        "mov r8, qword ptr [rsi + rdx - 8]",
        "mov qword ptr [rdi], rcx",
        "mov qword ptr [rdi + rdx - 8], r8",
        "ret",
        "5: cmp edx, 4",
        "jb 6f",
        "mov ecx, dword ptr [rsi]",
        "mov r8d, dword ptr [rsi + rdx - 4]",
        "mov dword ptr [rdi], ecx",
        "mov dword ptr [rdi + rdx - 4], r8d",
        "ret",
        "6: mov r10d, edx",
        "test edx, edx",
        "jz 7f",
        "shr r10d, 1",
        "movzx ecx, byte ptr [rsi]",
        "movzx r9d, byte ptr [rsi + r10]",
        "movzx r8d, byte ptr [rsi + rdx - 1]",
        "mov byte ptr [rdi], cl",
        "mov byte ptr [rdi + r10], r9b",
        "mov byte ptr [rdi + rdx - 1], r8b",
        "7: ret",
        ".globl memset",
        ".hidden memset",
        ".type memset,@function",
        "memset: mov rax, rdi",
        "movzx ecx, sil",
        "movabs r8, 0x0101010101010101",
        "imul rcx, r8",
        "cmp rdx, 16",
        "jb 4f",
        "movq xmm0, rcx",
        "punpcklqdq xmm0, xmm0",
        "lea r8, [rdi + rdx - 16]",
        "2: movups xmmword ptr [rdi], xmm0",
        "add rdi, 16",
        "cmp rdi, r8",
        "jb 2b",
        "movups xmmword ptr [r8], xmm0",
        "ret",
        "4: cmp edx, 8",
        "jb 5f",
        "mov qword ptr [rdi], rcx",
        "mov qword ptr [rdi + rdx - 8], rcx",
        "ret",
        "5: cmp edx, 4",
        "jb 6f",
        "mov dword ptr [rdi], ecx",
        "mov dword ptr [rdi + rdx - 4], ecx",
        "ret",
        "6: test edx, edx",
        "jz 7f",
        "mov byte ptr [rdi], cl",
        "mov byte ptr [rdi + rdx - 1], cl",
        "shr edx, 1",
        "mov byte ptr [rdi + rdx], cl",
        "7: ret",
        ".globl memcmp",
        ".hidden memcmp",
        ".type memcmp,@function",
        ".globl bcmp",
        ".hidden bcmp",
        ".type bcmp,@function",
        "memcmp:",
        "bcmp: sub rdx, 8",
        "jb 4f",
        "2: mov rax, qword ptr [rdi]",
        "mov rcx, qword ptr [rsi]",
        "cmp rax, rcx",
        "jne 3f",
        "add rdi, 8",
        "add rsi, 8",
        "sub rdx, 8",
        "jae 2b",
        "4: xor eax, eax",
        "add rdx, 8",
        "jz 6f",
        "5: movzx eax, byte ptr [rdi]",
        "movzx ecx, byte ptr [rsi]",
        "sub eax, ecx",
        "jne 6f",
        "inc rdi",
        "inc rsi",
        "dec rdx",
        "jnz 5b",
        "6: ret",
        // In memory order the first byte weighs most.
        "3: bswap rax",
        "bswap rcx",
        "cmp rax, rcx",
        "sbb eax, eax",
        "or eax, 1",
        "ret",
    );
}

#[cfg(target_arch = "aarch64")]
mod imp {
    use core::arch::asm;
    #[cfg(feature = "preload")]
    use core::arch::{global_asm, naked_asm};

    /// See the x86-64 half.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub unsafe fn syscall6(number: usize, a: [usize; 6]) -> isize {
        let [a0, a1, a2, a3, a4, a5] = a;
        let result: isize;
        // SAFETY: the kernel's aarch64 convention: all registers but x0 are kept.
        unsafe {
            asm!("svc 0", in("x8") number,
                inlateout("x0") a0 as isize => result,
                in("x1") a1, in("x2") a2, in("x3") a3, in("x4") a4, in("x5") a5, options(nostack));
        }
        result
    }

    /// The thread pointer, which tells a thread of libc's from the others.
    #[inline(always)]
    pub fn thread_pointer() -> usize {
        let pointer;
        // SAFETY: reads a register.
        unsafe {
            asm!("mrs {0}, tpidr_el0", out(reg) pointer, options(nomem, nostack, preserves_flags));
        }
        pointer
    }

    /// See the x86-64 half.
    #[cfg(feature = "preload")]
    pub fn linker_symbols() -> (usize, usize, usize) {
        let (glibc, musl, own): (usize, usize, usize);
        // SAFETY: as in the x86-64 half.
        unsafe {
            asm!(
                ".weak _r_debug",
                ".weak _dl_debug_addr",
                ".hidden _DYNAMIC",
                "adrp {0}, :got:_r_debug", "ldr {0}, [{0}, :got_lo12:_r_debug]",
                "adrp {1}, :got:_dl_debug_addr", "ldr {1}, [{1}, :got_lo12:_dl_debug_addr]",
                "adrp {2}, _DYNAMIC", "add {2}, {2}, :lo12:_DYNAMIC",
                out(reg) glibc, out(reg) musl, out(reg) own, options(nostack, readonly, preserves_flags));
        }
        (glibc, musl, own)
    }

    /// See the x86-64 half.
    ///
    /// # Safety
    /// As there.
    #[cfg(feature = "preload")]
    #[unsafe(no_mangle)]
    #[unsafe(naked)]
    pub unsafe extern "C" fn syscall() {
        naked_asm!(
            "cmp x0, #{openat}", "b.eq 2f",
            "cmp x0, #{openat2}", "b.eq 2f",
            "cmp x0, #{affinity}", "b.eq 2f",
            "cmp x0, #{sysinfo}", "b.eq 2f",
            "cmp x0, #{uring}", "b.eq 2f",
            "adrp x16, {slot}", "ldr x16, [x16, :lo12:{slot}]",
            "cbz x16, 4f",
            "br x16",
            "4: stp x29, x30, [sp, #-80]!", "stp x0, x1, [sp, #16]", "stp x2, x3, [sp, #32]",
            "stp x4, x5, [sp, #48]", "stp x6, x7, [sp, #64]",
            "bl {resolve}",
            "mov x16, x0",
            "ldp x0, x1, [sp, #16]", "ldp x2, x3, [sp, #32]", "ldp x4, x5, [sp, #48]",
            "ldp x6, x7, [sp, #64]", "ldp x29, x30, [sp], #80",
            "cbz x16, 5f",
            "br x16",
            "5: mov x0, #-1", "ret",
            "2: b {asked}",
            openat = const libc::SYS_openat, openat2 = const libc::SYS_openat2,
            affinity = const libc::SYS_sched_getaffinity, sysinfo = const libc::SYS_sysinfo,
            uring = const libc::SYS_io_uring_setup,
            slot = sym crate::hooks::raw::NEXT,
            resolve = sym crate::hooks::raw::resolve,
            asked = sym crate::hooks::raw::asked,
        )
    }

    /// See the x86-64 half.
    #[cfg(feature = "preload")]
    pub const LISTED_IN_REGISTERS: usize = 7;

    #[cfg(feature = "preload")]
    macro_rules! listed {
        ($($name:ident)*) => {$(
            /// See `exec(3)`.
            ///
            /// # Safety
            /// As there.
            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            pub unsafe extern "C" fn $name() {
                naked_asm!(
                    "stp x29, x30, [sp, #-80]!",
                    "stp x1, x2, [sp, #16]", "stp x3, x4, [sp, #32]", "stp x5, x6, [sp, #48]",
                    "str x7, [sp, #64]",
                    "add x1, sp, #16",
                    "add x2, sp, #80",
                    "bl {gathered}",
                    "ldp x29, x30, [sp], #80",
                    "ret",
                    gathered = sym crate::hooks::exec::$name,
                )
            }
        )*};
    }
    #[cfg(feature = "preload")]
    listed! { execl execlp execle }

    #[cfg(feature = "preload")]
    global_asm!(
        ".section .text.near",
        ".globl proclens_start", ".hidden proclens_start", ".type proclens_start,@function",
        "proclens_start: b {start}",
        start = sym crate::hooks::start::start,
    );

    /// See the x86-64 half.
    ///
    /// # Safety
    /// As there.
    #[cfg(feature = "preload")]
    #[unsafe(naked)]
    pub unsafe extern "C" fn clone_onto(
        flags: usize,
        stack_end: *mut u8,
        work: unsafe extern "C" fn(*mut ()) -> usize,
        argument: *mut (),
    ) -> isize {
        naked_asm!(
            "mov x9, x2", "mov x10, x3",
            "and x1, x1, #-16",
            "mov x2, #0", "mov x3, #0", "mov x4, #0",
            "mov x8, #{clone}", "svc 0",
            "cbnz x0, 2f",
            "mov x29, #0", "mov x30, #0", "mov x0, x10", "blr x9",
            "mov x8, #{exit}", "svc 0",
            "2: ret",
            clone = const libc::SYS_clone, exit = const libc::SYS_exit_group,
        )
    }

    #[cfg(feature = "preload")]
    global_asm!(
        ".section .text.near",
        ".globl proclens_sampler", ".hidden proclens_sampler", ".type proclens_sampler,@function",
        ".hidden __ehdr_start", ".hidden _DYNAMIC",
        "proclens_sampler: mov x29, #0", "mov x30, #0", "mov x0, sp",
        "adrp x1, __ehdr_start", "add x1, x1, :lo12:__ehdr_start",
        "adrp x2, _DYNAMIC", "add x2, x2, :lo12:_DYNAMIC",
        "bl {main}", "brk #1",
        main = sym crate::sampler::helper::main,
    );

    /// `R_AARCH64_RELATIVE`.
    #[cfg(feature = "preload")]
    pub const RELATIVE: u64 = 1027;

    #[cfg(feature = "preload")]
    global_asm!(
        ".section .text.near",
        ".globl memcpy",
        ".hidden memcpy",
        ".type memcpy,@function",
        "memcpy: mov x3, x0",
        "2: cbz x2, 3f",
        "ldrb w4, [x1], #1",
        "strb w4, [x3], #1",
        "sub x2, x2, #1",
        "b 2b",
        "3: ret",
        ".globl memmove",
        ".hidden memmove",
        ".type memmove,@function",
        "memmove: sub x3, x0, x1",
        "cmp x3, x2",
        "b.hs memcpy",
        "2: cbz x2, 3f",
        "sub x2, x2, #1",
        "ldrb w4, [x1, x2]",
        "strb w4, [x0, x2]",
        "b 2b",
        "3: ret",
        ".globl memset",
        ".hidden memset",
        ".type memset,@function",
        "memset: mov x3, x0",
        "2: cbz x2, 3f",
        "strb w1, [x3], #1",
        "sub x2, x2, #1",
        "b 2b",
        "3: ret",
        ".globl memcmp",
        ".hidden memcmp",
        ".type memcmp,@function",
        "memcmp: mov x3, x0",
        "mov w0, #0",
        "2: cbz x2, 3f",
        "ldrb w4, [x3], #1",
        "ldrb w5, [x1], #1",
        "sub x2, x2, #1",
        "subs w0, w4, w5",
        "b.eq 2b",
        "3: ret",
        ".globl bcmp",
        ".hidden bcmp",
        ".type bcmp,@function",
        "bcmp: b memcmp",
    );
}

pub use imp::*;
